/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_QMP_SOCKET_H
#define SKIP_BALLOON_QEMU_QMP_SOCKET_H

#include "qemu/qmp.h"

/**
 * qmp_connect: talk to a running QEMU.
 * @session: does the waiting; has to outlive the client
 * @path: the socket that QEMU listens on, of "-qmp unix:PATH,server=on"
 * @error: set, with the path and what to do, to SB_ERROR_USAGE if @path is
 *         too long, to SB_ERROR_MISSING if there is no such socket or nobody
 *         listens on it, to SB_ERROR_TIMEOUT if QEMU does not greet, which it
 *         does only to one client at a time, or as for qmp_negotiate()
 *
 * Returns: a client that commands can be executed with, NULL on failure; free
 * it with qmp_free().
 */
Qmp *qmp_connect(Session *session, const char *path, GError **error);

#endif /* SKIP_BALLOON_QEMU_QMP_SOCKET_H */
