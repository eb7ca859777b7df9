/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_TEST_MOVES_H
#define SKIP_BALLOON_TEST_MOVES_H

#include "harness.h"

/* A guest that is moved from QEMU to QEMU. */
typedef struct Journey {
    Bench *bench;
    Vm *vm;                     /* where it runs now; owned */
    GRand *random;
    SkipSet skip;               /* capabilities of the moves from now on */
    bool lies;                  /* the guest is in a rush as each move begins */
    unsigned vms;               /* how many QEMUs were started */
    uint64_t skipped;           /* pages, of all moves; see move_count() */
    uint64_t postcopy_bytes;    /* sent in postcopy by the last move */
    uint64_t at_switch;         /* shared memory of the source at its begin */
} Journey;

/* A way to move it. Leaves it running, in another QEMU or in the same. */
typedef bool MoveFunc(Journey *journey, GError **error);

typedef struct Move {
    const char *name;
    MoveFunc *run;
} Move;

/* All ways there are */
extern const Move moves[];
extern const unsigned n_moves;

/**
 * move_take: take one of the ways.
 * @journey: the journey
 * @move: the way
 * @error: set if the move fails
 */
bool move_take(Journey *journey, const Move *move, GError **error);

/**
 * move_precopy: the one way that is taken to and from unmodified QEMU, too.
 * @journey: the journey
 * @qemu: the QEMU to move the guest to
 * @error: set if the move fails
 */
bool move_precopy(Journey *journey, const char *qemu, GError **error);

/**
 * move_intact: check that the guest goes on, and all of its memory is right.
 * @journey: the journey
 * @error: set if not
 */
bool move_intact(Journey *journey, GError **error);

#endif /* SKIP_BALLOON_TEST_MOVES_H */
