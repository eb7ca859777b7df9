/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_GUEST_H
#define SKIP_BALLOON_QEMU_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/session.h"

/* The other end of guest/init.c; guest/protocol.rst describes the lines. */
typedef struct Guest Guest;

/**
 * guest_new: listen to the first serial port of a guest.
 * @session: does the waiting; has to outlive the guest
 * @fd: the connected socket; owned by the guest from now, closed on failure
 * @error: set if @fd is no socket
 *
 * Returns: the guest, NULL on failure; free it with guest_free().
 */
Guest *guest_new(Session *session, int fd, GError **error);

/**
 * guest_free: hang up.
 * @guest: the guest, or NULL
 */
void guest_free(Guest *guest);

/**
 * guest_check: whether the guest has found no fault with its memory and has
 * not given up, as far as it has told on this line.
 * @guest: the guest
 * @error: set to SB_ERROR_GUEST with the line that says otherwise
 */
bool guest_check(const Guest *guest, GError **error);

/**
 * guest_ticks: how many ticks came over this line.
 * @guest: the guest
 */
uint64_t guest_ticks(const Guest *guest);

/**
 * guest_wait_ready: wait until it has booted and filled its memory. Reports
 * to the session's progress.
 * @guest: the guest
 * @error: set if it fails or says nothing for too long
 */
bool guest_wait_ready(Guest *guest, GError **error);

/**
 * guest_expect_boot: it is about to boot anew; guest_wait_ready() waits for
 * that from now on.
 * @guest: the guest
 */
void guest_expect_boot(Guest *guest);

/**
 * guest_wait_ticks: wait for ticks from now on.
 * @guest: the guest
 * @count: how many
 * @error: set if it is not well or says nothing for too long
 */
bool guest_wait_ticks(Guest *guest, unsigned count, GError **error);

/**
 * guest_send: give it a command, do not wait for an answer.
 * @guest: the guest
 * @command: the command, such as "suspend"
 * @error: set if it cannot be sent
 */
bool guest_send(Guest *guest, const char *command, GError **error);

/**
 * guest_command: give it a command and wait for the answer.
 * @guest: the guest
 * @command: the command, such as "touch 64"
 * @error: set if it is not well, says nothing for too long, answers "bad", or
 *         does not know the command
 *
 * Returns: the line that answers; the caller frees it.
 */
char *guest_command(Guest *guest, const char *command, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)

#endif /* SKIP_BALLOON_QEMU_GUEST_H */
