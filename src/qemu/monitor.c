/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/monitor.h"

#include "base/error.h"
#include "qemu/qmp.h"

/* One of the two is there. */
struct Monitor {
    Qmp *qmp;
    Libvirt *libvirt;
    char *title;
};

void monitor_address_clear(MonitorAddress *address)
{
    g_clear_pointer(&address->socket, g_free);
    g_clear_pointer(&address->domain, g_free);
    g_clear_pointer(&address->uri, g_free);
}

Monitor *monitor_open(Session *session, const MonitorAddress *address,
                      GError **error)
{
    g_autoptr(Monitor) monitor = g_new0(Monitor, 1);

    if (address->socket) {
        monitor->qmp = qmp_connect(session, address->socket, error);
        monitor->title = g_strdup_printf("'%s'", address->socket);
    } else {
        monitor->libvirt = libvirt_open(session, address->uri,
                                        address->domain, error);
        monitor->title = g_strdup_printf("domain '%s'", address->domain);
    }
    return monitor->qmp || monitor->libvirt ? g_steal_pointer(&monitor)
                                            : NULL;
}

Monitor *monitor_open_destination(const Monitor *source, const char *uri,
                                  GError **error)
{
    Libvirt *libvirt = libvirt_open_destination(source->libvirt, uri, error);
    Monitor *monitor;

    if (!libvirt) {
        return NULL;
    }
    monitor = g_new0(Monitor, 1);
    monitor->libvirt = libvirt;
    monitor->title = g_strdup_printf("%s at '%s'", source->title, uri);
    return monitor;
}

void monitor_free(Monitor *monitor)
{
    if (!monitor) {
        return;
    }
    qmp_free(monitor->qmp);
    libvirt_free(monitor->libvirt);
    g_free(monitor->title);
    g_free(monitor);
}

JsonNode *monitor_execute(Monitor *monitor, const char *command,
                          JsonObject *arguments, GError **error)
{
    JsonNode *result = monitor->qmp ?
        qmp_execute(monitor->qmp, command, arguments, error) :
        libvirt_execute(monitor->libvirt, command, arguments, error);

    if (!result && error &&
        !g_error_matches(*error, SB_ERROR, SB_ERROR_CANCELLED)) {
        g_prefix_error(error, "%s: ", monitor->title);
    }
    return result;
}

const char *monitor_title(const Monitor *monitor)
{
    return monitor->title;
}

Libvirt *monitor_libvirt(const Monitor *monitor)
{
    return monitor->libvirt;
}

pid_t monitor_qemu_process(const Monitor *monitor)
{
    pid_t pid = monitor->qmp ? qmp_peer(monitor->qmp) : 0;
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    return pid && g_file_get_contents(path, &name, NULL, NULL) &&
           g_str_has_prefix(name, "qemu-") ? pid : 0;
}
