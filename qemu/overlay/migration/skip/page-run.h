/*
 * Runs of pages in a bitmap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_PAGE_RUN_H
#define MIGRATION_SKIP_PAGE_RUN_H

#include "qemu/bitmap.h"

/* log2 of the balloon page, fixed by virtio: VIRTIO_BALLOON_PFN_SHIFT */
#define BALLOON_MAP_PAGE_SHIFT 12
#define BALLOON_MAP_PAGE_SIZE (UINT64_C(1) << BALLOON_MAP_PAGE_SHIFT)

/* A stretch of pages, or of bytes: the first one, and behind the last one */
typedef struct PageRun {
    uint64_t start;
    uint64_t end;
} PageRun;

/**
 * page_run_next: Find the next run of set bits in [@from, @end)
 * @bits: the bitmap
 * @run: filled in with the run, cut at @from and @end
 *
 * Returns: false if no bit is set there
 */
static inline bool page_run_next(const unsigned long *bits, uint64_t from,
                                 uint64_t end, PageRun *run)
{
    run->start = find_next_bit(bits, end, from);
    run->end = find_next_zero_bit(bits, end, run->start);
    return run->start < end;
}

/**
 * page_run_shrink: Keep of a run only whole units
 * @run: the run
 * @unit: pages of the unit, a power of two
 *
 * A unit larger than a balloon page (a target page of 8 KiB, a huge page of
 * the host) counts as given back only if all its balloon pages were.
 *
 * Returns: false if no whole unit is left
 */
static inline bool page_run_shrink(PageRun *run, uint64_t unit)
{
    run->start = ROUND_UP(run->start, unit);
    run->end = ROUND_DOWN(run->end, unit);
    return run->start < run->end;
}

/**
 * page_run_count: How many bits are set in [@start, @end)?
 */
static inline uint64_t page_run_count(const unsigned long *bits,
                                      uint64_t start, uint64_t end)
{
    start = find_next_bit(bits, end, start);
    return start < end ? bitmap_count_one_with_offset(bits, start, end - start)
                       : 0;
}

/**
 * page_run_clear: Clear the bits of [@start, @end)
 *
 * By pieces of 4 KiB, and only where anything is set: to write zeroes where
 * nothing was ever written would allocate memory.
 *
 * Returns: how many bits were set
 */
static inline uint64_t page_run_clear(unsigned long *bits, uint64_t start,
                                      uint64_t end)
{
    const uint64_t piece = 4096 * BITS_PER_BYTE;
    uint64_t count = 0;

    while ((start = find_next_bit(bits, end, start)) < end) {
        uint64_t stop = MIN(ROUND_DOWN(start, piece) + piece, end);

        count += bitmap_count_one_with_offset(bits, start, stop - start);
        bitmap_clear(bits, start, stop - start);
        start = stop;
    }
    return count;
}

#endif
