/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into the program: has a domain of libvirt's test driver pass QMP
 * on, to the socket that SB_FAKE_LIBVIRT names. With "garbage" it answers
 * something else, with "mute" nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libvirt/libvirt-qemu.h>

static FILE *qmp;

static char *get_line(void)
{
    char *line = NULL;
    size_t size = 0;

    return getline(&line, &size, qmp) > 0 ? line : NULL;
}

static int begin(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        return -1;
    }
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        return -1;
    }
    qmp = fdopen(fd, "r+");
    free(get_line());
    fprintf(qmp, "{\"execute\": \"qmp_capabilities\", \"id\": 1}\n");
    fflush(qmp);
    free(get_line());
    return 0;
}

int virDomainQemuMonitorCommand(virDomainPtr domain, const char *command,
                                char **result, unsigned int flags)
{
    const char *path = getenv("SB_FAKE_LIBVIRT");

    (void)domain;
    if (flags || !path) {
        return -1;
    }
    if (!strcmp(path, "mute")) {
        sleep(600);
    }
    if (!strcmp(path, "garbage")) {
        *result = strdup("OK");
        return 0;
    }
    if (!qmp && begin(path)) {
        return -1;
    }
    fprintf(qmp, "{\"id\": 2, %s\n", command + 1);
    fflush(qmp);
    *result = get_line();
    return *result ? 0 : -1;
}
