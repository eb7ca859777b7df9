/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_SOCKET_COST_H
#define SKIP_BALLOON_BENCH_SOCKET_COST_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * socket_cost: what it takes to move bytes from the memory of one process to
 * new memory of another, over a UNIX socket as migrations here use it.
 * @bytes: how many; as many of memory are used at both ends meanwhile
 * @huge: let the host use huge pages, as QEMU does for anonymous guest RAM
 * @ms: where to put the time from the first byte to the last
 * @error: set if the system refuses memory, a socket or a process
 */
bool socket_cost(uint64_t bytes, bool huge, double *ms, GError **error);

#endif /* SKIP_BALLOON_BENCH_SOCKET_COST_H */
