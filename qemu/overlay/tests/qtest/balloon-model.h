/*
 * What the memory of a test's guest has to hold, and what is in its balloon
 *
 * Whatever the test does to its guest through these functions, it does to the
 * model, too.  Each page holds one value all over.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_MODEL_H
#define TESTS_BALLOON_MODEL_H

#include "balloon-guest.h"

typedef struct BMPage {
    uint8_t value;              /* of all bytes of the page */
    bool in_balloon;            /* the guest gave it back; so the map has it */
    bool touched;               /* may be populated though it is in it */
} BMPage;

typedef struct BalloonModel {
    uint64_t npages;            /* of BALLOON_PAGE; the driver's included */
    BMPage *page;
} BalloonModel;

/**
 * bm_new: A model of @g, all of whose memory is zero but for the driver's
 */
BalloonModel *bm_new(const BGuest *g);

void bm_free(BalloonModel *m);

/**
 * bm_copy: The model as it is now
 */
BalloonModel *bm_copy(const BalloonModel *m);

/**
 * bm_empty_balloon: The guest goes on where nothing knows of the balloon
 *
 * What was in it still reads as zero.
 */
void bm_empty_balloon(BalloonModel *m);

/**
 * bm_fill: Write one value to each page of a range
 * @start: guest physical address
 * @length: bytes
 *
 * Pages that are in the balloon stay in it: the guest lies.
 */
void bm_fill(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
             uint8_t seed);

/**
 * bm_inflate: Give a range back
 */
void bm_inflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_inflate_in_vain: Give a range back to a host that keeps it as it is
 */
void bm_inflate_in_vain(BalloonModel *m, BGuest *g, uint64_t start,
                        uint64_t length);

/**
 * bm_deflate: Take a range back
 */
void bm_deflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_migrated: The guest has been stopped to run on another host
 *
 * What it only read in the balloon is not populated there.
 */
void bm_migrated(BalloonModel *m);

/**
 * bm_note_populated: What @g has populated may be so where it goes
 *
 * The host backs memory by huge pages, of which a part is in the balloon.
 */
void bm_note_populated(BalloonModel *m, BGuest *g);

/**
 * bm_read: Read a range as the guest does, and compare it with the model
 */
void bm_read(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * bm_check: Compare all of the memory of @g, and its balloon map
 *
 * The map has what is in the balloon, and nothing else.  That must not be
 * populated, unless it was read or written to.
 */
void bm_check(BalloonModel *m, BGuest *g);

#endif
