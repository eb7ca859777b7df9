/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_SHRINK_H
#define SKIP_BALLOON_QEMU_SHRINK_H

#include "qemu/state.h"

/*
 * Has the balloon take what a guest can spare, before it is moved, and give
 * it back after. All sizes are in bytes.
 */
typedef struct Shrink {
    Session *session;           /* not owned */
    bool begun;                 /* there is something to give back */
    uint64_t before;            /* what the balloon left to the guest */
    uint64_t taken;             /* from that */
    double take_secs;
    double give_back_secs;
} Shrink;

/**
 * shrink_take: have the balloon take memory, step by step. Reports to the
 * session's progress. The guest keeps a reserve: of what it says it could use
 * without swapping, a 48th of its memory, and 64 MiB at least.
 * @shrink: with its session, else all zero
 * @monitor: the QEMU
 * @state: the state of the QEMU
 * @wanted: how much at most; 0 for all that can be spared
 * @error: set to SB_ERROR_GUEST if the guest has no balloon that would do, does
 *         not tell what it can spare, begins to swap, needs its reserve, or
 *         gives nothing for 10 seconds; as by monitor_execute()
 *
 * Returns: whether all went well; if not it is for shrink_give_back() to give
 * back what was taken.
 */
bool shrink_take(Shrink *shrink, Monitor *monitor, const QemuState *state,
                 uint64_t wanted, GError **error);

/**
 * shrink_give_back: have the balloon be what it was, and wait until it is.
 * @shrink: the shrinking, begun
 * @monitor: the QEMU that runs the guest now
 * @error: set with what is to be done by hand
 */
bool shrink_give_back(Shrink *shrink, Monitor *monitor, GError **error);

#endif /* SKIP_BALLOON_QEMU_SHRINK_H */
