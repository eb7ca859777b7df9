/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_MONITOR_H
#define SKIP_BALLOON_QEMU_MONITOR_H

#include <json-glib/json-glib.h>
#include <sys/types.h>

#include "base/session.h"
#include "qemu/libvirt.h"

/* Where a running QEMU is to be found: at a socket, or through libvirt. */
typedef struct MonitorAddress {
    char *socket;               /* of -qmp unix:PATH,server=on; or NULL */
    char *domain;               /* its name or UUID; or NULL */
    char *uri;                  /* of libvirt; NULL for its preset */
} MonitorAddress;

/* Executes QMP commands in a QEMU that somebody else has started. */
typedef struct Monitor Monitor;

/**
 * monitor_address_clear: free what an address holds.
 * @address: the address; valid or all zero
 */
void monitor_address_clear(MonitorAddress *address);

/**
 * monitor_open: find a QEMU.
 * @session: does the waiting; has to outlive the monitor
 * @address: where it is, with a socket or a domain
 * @error: set as by qmp_connect() or libvirt_open()
 *
 * Returns: the monitor, NULL on failure; free it with monitor_free().
 */
Monitor *monitor_open(Session *session, const MonitorAddress *address,
                      GError **error);

/**
 * monitor_open_destination: connect to the libvirt that a domain is to go to.
 * @source: the domain
 * @uri: where that libvirt is
 * @error: set as by libvirt_open_destination()
 *
 * Returns: the monitor, through which commands get once the domain is there;
 * NULL on failure; free it with monitor_free(), before the source.
 */
Monitor *monitor_open_destination(const Monitor *source, const char *uri,
                                  GError **error);

/**
 * monitor_free: leave the QEMU alone.
 * @monitor: the monitor, or NULL
 */
void monitor_free(Monitor *monitor);

/**
 * monitor_execute: execute a command.
 * @monitor: the monitor
 * @command: its name
 * @arguments: its arguments, owned by this function; NULL for none
 * @error: set as by qmp_execute() or libvirt_execute(); begins with which
 *         QEMU it is
 *
 * Returns: the value returned, NULL on failure; the caller frees it with
 * json_node_unref().
 */
JsonNode *monitor_execute(Monitor *monitor, const char *command,
                          JsonObject *arguments, GError **error);

/**
 * monitor_libvirt: the domain, if it is one of libvirt.
 * @monitor: the monitor
 *
 * Returns: the domain, owned by the monitor; NULL if it is a socket.
 */
Libvirt *monitor_libvirt(const Monitor *monitor);

/**
 * monitor_qemu_process: the QEMU, if it is one on this host.
 * @monitor: the monitor
 *
 * Returns: its process; 0 if what answers is something else, such as a socket
 * that is forwarded, or libvirt.
 */
pid_t monitor_qemu_process(const Monitor *monitor);

/**
 * monitor_title: which QEMU it is, for messages: its socket, or its domain.
 * @monitor: the monitor
 */
const char *monitor_title(const Monitor *monitor);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Monitor, monitor_free)

#endif /* SKIP_BALLOON_QEMU_MONITOR_H */
