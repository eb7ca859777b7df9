/*
 * Looking at guest RAM, to show people what the host has memory for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_LOOK_H
#define MIGRATION_SKIP_LOOK_H

#include "exec/cpu-common.h"

/* Pages that are read at most, to tell how many of them hold zeroes */
#define LOOK_SAMPLES_MAX 16384

/*
 * To look takes time by the number of runs, so it is done in slices, between
 * which the BQL is left to others.  @what is for traces of how long it is held.
 */
typedef struct Look {
    const char *what;
    int bits;                   /* log2 of the bytes of the pages counted */
    uint64_t stride;            /* of so many populated pages one is read */
    int64_t slice_begin;
    /* Of the RAM block under way, in pages; to be set to 0 for the next one */
    struct LookSums {
        uint64_t mapped;        /* populated, of all that was looked at */
        uint64_t populated;     /* of those that look_at_populated() was told */
        uint64_t sampled;       /* of these, those that were read */
        uint64_t zeroes;        /* of these, those that hold zeroes */
    } sums;
} Look;

/**
 * look_begin, look_end: Begin, or end, a slice, with the BQL held
 */
void look_begin(Look *look);
void look_end(Look *look);

/**
 * look_time_is_up: Is it time to pause?
 */
bool look_time_is_up(const Look *look);

/**
 * look_pause: Leave the BQL to others for a while
 *
 * Nothing of RAM blocks may be kept over this.  In a coroutine, it yields.
 */
void look_pause(Look *look);

/**
 * look_sample_of: Have at most LOOK_SAMPLES_MAX pages read
 * @pages: how many there are at most, of all RAM blocks
 */
void look_sample_of(Look *look, uint64_t pages);

/**
 * look_at_populated: Count populated pages, and read some of them
 * @rb: the RAM block
 * @at: first page
 * @end: page behind the last one
 *
 * What is swapped out is not read.
 */
void look_at_populated(Look *look, RAMBlock *rb, uint64_t at, uint64_t end);

/**
 * look_zeroes: About how many of the pages counted hold zeroes?
 */
uint64_t look_zeroes(const Look *look);

/* Pages [@at, @end) of @rb are populated, or are not. */
typedef void LookFn(Look *look, RAMBlock *rb, uint64_t at, uint64_t end,
                    bool is_populated, void *opaque);

/**
 * look_at_block: Look at the pages of a RAM block, until the time is up
 * @rb: the RAM block
 * @only: if it is not NULL, a bit for each page: others may be left out
 * @at: page to start at
 * @npages: how many the block has
 * @fn: is called for each stretch, in order; those of populated pages are short
 *      enough to read the samples of it in one go
 *
 * Returns: the page to go on from, or a negative errno if nobody can tell what
 * of the block is populated
 */
int64_t look_at_block(Look *look, RAMBlock *rb, const unsigned long *only,
                      uint64_t at, uint64_t npages, LookFn *fn, void *opaque);

#endif
