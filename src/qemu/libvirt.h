/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_LIBVIRT_H
#define SKIP_BALLOON_QEMU_LIBVIRT_H

#include <json-glib/json-glib.h>

#include "base/session.h"

/* A domain of libvirt, whose QEMU is spoken to through libvirt's monitor. */
typedef struct Libvirt Libvirt;

/**
 * libvirt_version: the library that this program was built with.
 *
 * Returns: its version, "9.0.0"; NULL if it was built without. To be freed
 * with g_free().
 */
char *libvirt_version(void);

/**
 * libvirt_open: find a domain.
 * @session: does the waiting; has to outlive what is returned
 * @uri: where libvirt is, such as "qemu:///system"; NULL for its preset
 * @domain: the name of the domain, or its UUID
 * @error: set to SB_ERROR_MISSING if this program was built without libvirt,
 *         or there is no such domain; to SB_ERROR_PROCESS if libvirt cannot be
 *         reached, SB_ERROR_TIMEOUT if it does not answer, or as for
 *         session_step()
 *
 * Returns: the domain, NULL on failure; free it with libvirt_free().
 */
Libvirt *libvirt_open(Session *session, const char *uri, const char *domain,
                      GError **error);

/**
 * libvirt_open_destination: connect to the libvirt that a domain is to go to.
 * @source: the domain; has to outlive what is returned
 * @uri: where that libvirt is
 * @error: set to SB_ERROR_PROCESS if it cannot be reached, or as by
 *         libvirt_open()
 *
 * Returns: the same domain there, which may come to be there later; NULL on
 * failure; free it with libvirt_free().
 */
Libvirt *libvirt_open_destination(const Libvirt *source, const char *uri,
                                  GError **error);

/**
 * libvirt_free: leave the domain alone.
 * @libvirt: the domain, or NULL
 */
void libvirt_free(Libvirt *libvirt);

/**
 * libvirt_execute: execute a QMP command in the domain's QEMU.
 * @libvirt: the domain
 * @command: its name
 * @arguments: its arguments, owned by this function; NULL for none
 * @error: set to SB_ERROR_PROCESS if libvirt does not pass it on, as when the
 *         domain does not run; else as by libvirt_open() and qmp_execute()
 *
 * Returns: the value returned, NULL on failure; the caller frees it with
 * json_node_unref().
 */
JsonNode *libvirt_execute(Libvirt *libvirt, const char *command,
                          JsonObject *arguments, GError **error);

#endif /* SKIP_BALLOON_QEMU_LIBVIRT_H */
