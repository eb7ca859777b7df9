/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/qmp-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"

#define BUSY "a QMP monitor serves one client at a time: end the other one, " \
             "or give QEMU a second -qmp"

static bool make_address(const char *path, struct sockaddr_un *address,
                         GError **error)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "'%s' is too long for the name of a socket, which has %zu "
                    "bytes at most; use a relative one", path,
                    sizeof(address->sun_path) - 1);
        return false;
    }
    memcpy(address->sun_path, path, strlen(path));
    return true;
}

static bool check_socket(const char *path, GError **error)
{
    struct stat status;

    if (stat(path, &status)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there is no socket '%s': %s; start QEMU with "
                    "-qmp unix:PATH,server=on,wait=off", path,
                    g_strerror(errno));
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "'%s' is not a socket; name that of QEMU's "
                    "-qmp unix:PATH,server=on,wait=off", path);
        return false;
    }
    return true;
}

static void explain_connect(const char *path, int why, GError **error)
{
    if (why == ECONNREFUSED) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "nobody listens on '%s'; its QEMU has ended", path);
    } else if (why == EAGAIN) {
        g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT,
                    "'%s' takes no more clients; " BUSY, path);
    } else {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "cannot connect to '%s': %s", path, g_strerror(why));
    }
}

/* Without waiting: where others wait already, there is no end to it. */
static int open_socket(const char *path, GError **error)
{
    struct sockaddr_un address;
    int fd;

    if (!make_address(path, &address, error) || !check_socket(path, error)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make a socket: %s", g_strerror(errno));
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        explain_connect(path, errno, error);
        close(fd);
        return -1;
    }
    return fd;
}

Qmp *qmp_connect(Session *session, const char *path, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Qmp) qmp = NULL;
    int fd = open_socket(path, error);

    if (fd < 0) {
        return NULL;
    }
    qmp = qmp_new(session, fd, error);
    if (!qmp || qmp_negotiate(qmp, &failure)) {
        return g_steal_pointer(&qmp);
    }
    if (g_error_matches(failure, SB_ERROR, SB_ERROR_TIMEOUT)) {
        g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT,
                    "nobody speaks on '%s' within %u seconds; " BUSY, path,
                    session->stall_secs);
    } else {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                                   "'%s': ", path);
    }
    return NULL;
}
