/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_QTEST_H
#define SKIP_BALLOON_QEMU_QTEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/session.h"

/*
 * A client of QEMU's qtest protocol: in place of a processor of the guest it
 * accesses the registers of devices.
 */
typedef struct Qtest Qtest;

/**
 * qtest_new: talk qtest over a connected socket.
 * @session: does the waiting; has to outlive the client
 * @fd: the socket; owned by the client from now, closed on failure too
 * @error: set if @fd is no socket
 *
 * Returns: the client, NULL on failure; free it with qtest_free().
 */
Qtest *qtest_new(Session *session, int fd, GError **error);

/**
 * qtest_free: close the connection.
 * @qtest: the client, or NULL
 */
void qtest_free(Qtest *qtest);

/**
 * qtest_out: write to an I/O port, and wait until QEMU has done what that
 * makes it do.
 * @qtest: the client
 * @port: the port
 * @size: of the access: 1, 2 or 4 bytes
 * @value: what to write
 * @error: set to SB_ERROR_PROCESS if QEMU goes away or does not know the
 *         command, or as for session_step()
 */
bool qtest_out(Qtest *qtest, uint16_t port, unsigned size, uint32_t value,
               GError **error);

/**
 * qtest_in: read from an I/O port.
 * @qtest: the client
 * @port: the port
 * @size: of the access: 1, 2 or 4 bytes
 * @value: where to put it; untouched on failure
 * @error: as for qtest_out()
 */
bool qtest_in(Qtest *qtest, uint16_t port, unsigned size, uint32_t *value,
              GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qtest, qtest_free)

#endif /* SKIP_BALLOON_QEMU_QTEST_H */
