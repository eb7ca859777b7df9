/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/parts.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

/* As much as QEMU gives to one call. */
#define CHUNK (256 * 1024)

static bool fail(const char *what, GError **error)
{
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "cannot measure the cost of a socket: %s: %s", what,
                g_strerror(errno));
    return false;
}

static void *map_memory(uint64_t bytes, bool huge)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory != MAP_FAILED) {
        /* It may not have them, which is as good. */
        madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    return memory;
}

/* Runs in the child, where only plain system calls are safe. */
static void receive(int fd, uint64_t bytes, bool huge)
{
    char *memory = map_memory(bytes, huge);
    uint64_t have = 0;
    char done = 1;

    while (memory != MAP_FAILED && have < bytes) {
        ssize_t got = read(fd, memory + have, MIN(bytes - have, CHUNK));

        if (got <= 0) {
            _exit(1);
        }
        have += got;
    }
    _exit(memory == MAP_FAILED || write(fd, &done, 1) != 1);
}

static bool transmit(int fd, const char *memory, uint64_t bytes)
{
    uint64_t sent = 0;
    char done;

    while (sent < bytes) {
        ssize_t n = send(fd, memory + sent, MIN(bytes - sent, CHUNK),
                         MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return false;
        }
        sent += MAX(n, 0);
    }
    return read(fd, &done, 1) == 1;
}

static bool measure(const char *memory, uint64_t bytes, bool huge,
                    double *ms, GError **error)
{
    gint64 began;
    int fds[2];
    bool done;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
        return fail("socketpair", error);
    }
    pid = fork();
    if (!pid) {
        close(fds[0]);
        receive(fds[1], bytes, huge);
    }
    close(fds[1]);
    began = g_get_monotonic_time();
    done = pid > 0 && transmit(fds[0], memory, bytes);
    *ms = (g_get_monotonic_time() - began) / 1e3;
    if (!done) {
        fail(pid > 0 ? "send" : "fork", error);
    }
    close(fds[0]);
    if (pid > 0) {
        waitpid(pid, NULL, 0);
    }
    return done;
}

bool socket_cost(uint64_t bytes, bool huge, double *ms, GError **error)
{
    char *memory = map_memory(bytes, huge);
    bool done;

    if (memory == MAP_FAILED) {
        return fail("mmap", error);
    }
    memset(memory, 0x5a, bytes);
    done = measure(memory, bytes, huge, ms, error);
    munmap(memory, bytes);
    return done;
}
