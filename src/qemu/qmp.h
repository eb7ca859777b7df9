/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_QMP_H
#define SKIP_BALLOON_QEMU_QMP_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/session.h"

/* A client of the QEMU Machine Protocol. */
typedef struct Qmp Qmp;

/**
 * qmp_new: talk QMP over a connected socket.
 * @session: does the waiting; has to outlive the client
 * @fd: the socket; owned by the client from now, closed on failure too
 * @error: set if @fd is no socket
 *
 * Returns: the client, NULL on failure; free it with qmp_free().
 */
Qmp *qmp_new(Session *session, int fd, GError **error);

/**
 * qmp_free: close the connection.
 * @qmp: the client, or NULL
 */
void qmp_free(Qmp *qmp);

/**
 * qmp_is_closed: whether QEMU has closed the connection.
 * @qmp: the client
 */
bool qmp_is_closed(const Qmp *qmp);

/**
 * qmp_peer: the process at the other end.
 * @qmp: the client
 *
 * Returns: its id; 0 if that is not known.
 */
pid_t qmp_peer(const Qmp *qmp);

/**
 * qmp_negotiate: wait for the greeting and enter command mode.
 * @qmp: the client
 * @error: set to SB_ERROR_TIMEOUT if QEMU says nothing, to SB_ERROR_QMP if
 *         it is not QMP that it speaks, to SB_ERROR_PROCESS if it goes away
 *
 * Returns: whether commands can be executed now.
 */
bool qmp_negotiate(Qmp *qmp, GError **error);

/**
 * qmp_execute: execute a command and wait for its answer.
 * @qmp: the client
 * @command: the name of the command
 * @arguments: its arguments, owned by this function; NULL for none
 * @error: set to SB_ERROR_MISSING if QEMU does not know the command, to
 *         SB_ERROR_QMP if it refuses, to SB_ERROR_PROCESS if it goes away, or
 *         as for session_step()
 *
 * Returns: the value returned, NULL on failure; the caller frees it with
 * json_node_unref().
 */
JsonNode *qmp_execute(Qmp *qmp, const char *command, JsonObject *arguments,
                      GError **error);

/**
 * qmp_format: a command as it is sent.
 * @command: its name
 * @arguments: its arguments, owned by this function; NULL for none
 * @id: comes back with the answer; 0 for none
 *
 * Returns: the JSON text, without an end of line; the caller frees it.
 */
char *qmp_format(const char *command, JsonObject *arguments, gint64 id);

/**
 * qmp_result: what an answer returns.
 * @reply: the answer
 * @command: to which command, for the message
 * @error: set to SB_ERROR_MISSING if QEMU does not know the command, to
 *         SB_ERROR_QMP if it refuses
 *
 * Returns: the value returned, NULL on failure; the caller frees it with
 * json_node_unref().
 */
JsonNode *qmp_result(JsonObject *reply, const char *command, GError **error);

/**
 * qmp_wait_event: wait for an event; those that came before are remembered.
 * @qmp: the client
 * @name: the event; it and all that came before it are forgotten then
 * @error: set if QEMU goes away, or as for session_step()
 *
 * Returns: whether it came.
 */
bool qmp_wait_event(Qmp *qmp, const char *name, GError **error);

/* What comes of an event: a JSON object with "event" and "data" */
typedef void QmpEventFunc(JsonObject *event, void *opaque);

/**
 * qmp_on_event: have a function see the events of all clients, as they come.
 * @func: the function; NULL for none any more
 * @opaque: for it
 */
void qmp_on_event(QmpEventFunc *func, void *opaque);

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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qmp, qmp_free)

#endif /* SKIP_BALLOON_QEMU_QMP_H */
