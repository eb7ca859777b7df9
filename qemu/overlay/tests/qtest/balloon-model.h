/*
 * What the memory of a test's guest has to hold, and what is in its balloon
 *
 * Whatever the test does to its guest through these functions, it does to the
 * model, too.  Each page holds one value all over, but for one byte at most.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_MODEL_H
#define TESTS_BALLOON_MODEL_H

#include "balloon-guest.h"

/* Which byte of a page bm_change() changes */
#define BM_CHANGED_AT 1000

typedef struct BMPage {
    uint8_t value;              /* of all bytes of the page */
    uint8_t change;             /* what of that is inverted in one byte */
    bool in_balloon;            /* the guest gave it back; so the map has it */
    bool touched;               /* may be populated though it is in it */
} BMPage;

typedef struct BalloonModel {
    uint64_t npages;            /* of BALLOON_PAGE; the driver's included */
    BMPage *page;
    uint8_t *low;               /* memory of the driver; NULL: not compared */
} BalloonModel;

/**
 * bm_new: A model of @g, all of whose memory is zero but for the driver's
 */
BalloonModel *bm_new(const BGuest *g);

/**
 * bm_free: Free a model; NULL is none
 */
void bm_free(BalloonModel *m);

/**
 * bm_copy: The model as it is now
 */
BalloonModel *bm_copy(const BalloonModel *m);

/**
 * bm_note_low: From now on compare memory of the driver with what it is now
 */
void bm_note_low(BalloonModel *m, BGuest *g);

/**
 * bm_empty_balloon: The guest goes on where nothing knows of the balloon
 *
 * What was in it still reads as zero.
 */
void bm_empty_balloon(BalloonModel *m);

/*
 * What a guest does.  A range begins at guest physical address @start and is
 * @length bytes long, whole pages.
 */

/**
 * bm_fill: Write one value to each page of a range
 *
 * Pages that are in the balloon stay in it: the guest lies.
 */
void bm_fill(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
             uint8_t seed);

/**
 * bm_zero: The same with zeroes, which the host has memory for
 */
void bm_zero(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_change: Invert some bits of one byte in each page of a range
 */
void bm_change(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
               uint8_t bits);

/**
 * bm_inflate, bm_deflate: Give a range back, or take it back
 */
void bm_inflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);
void bm_deflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_complete: Give back (or take back) in one request what of a range is not
 * in the balloon (or is)
 */
void bm_complete(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
                 bool inflate);

/**
 * bm_report: Report a range as free, by free page reporting
 *
 * Pages that are in the balloon stay in it.
 */
void bm_report(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_read: Read a range as the guest does, and compare it with the model
 */
void bm_read(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/* What the host does */

/**
 * bm_touch: QEMU may have read a range, which populates what is in the balloon
 */
void bm_touch(BalloonModel *m, uint64_t start, uint64_t length);

/**
 * bm_migrated: The guest has been stopped to run on another host
 *
 * What was only read in the balloon is not populated there.
 */
void bm_migrated(BalloonModel *m);

/**
 * bm_note_populated: What @g has populated may be so where it goes
 *
 * The host backs memory by huge pages, of which a part is in the balloon.
 */
void bm_note_populated(BalloonModel *m, BGuest *g);

/* What it has to come to */

/**
 * bm_memory_fault: Compare all of the memory of @g
 *
 * What is in the balloon must not be populated, unless it was read or written
 * to.
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *bm_memory_fault(const BalloonModel *m, BGuest *g);

/**
 * bm_map_fault: Has the balloon map of @g what is in the balloon, and nothing
 * else?
 */
char *bm_map_fault(const BalloonModel *m, BGuest *g);

/**
 * bm_check: The test ends if there is either fault
 */
void bm_check(const BalloonModel *m, BGuest *g);

#endif
