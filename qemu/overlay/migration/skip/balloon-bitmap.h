/*
 * Balloon bitmap: which 4 KiB balloon pages of one RAM block the guest
 * gave back, kept as a bitmap and worked on by run
 *
 * Pure logic: no QEMU type, no I/O, no locking.  The caller serializes all
 * calls on one bitmap (QEMU holds the BQL).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_BALLOON_BITMAP_H
#define MIGRATION_BALLOON_BITMAP_H

/* log2 of the balloon page, fixed by virtio: VIRTIO_BALLOON_PFN_SHIFT */
#define BALLOON_BITMAP_PAGE_SHIFT 12
#define BALLOON_BITMAP_PAGE_SIZE (UINT64_C(1) << BALLOON_BITMAP_PAGE_SHIFT)

typedef struct BalloonBitmap BalloonBitmap;

/* A stretch of pages: first page, and the page after the last. */
typedef struct BalloonRun {
    uint64_t start;
    uint64_t end;
} BalloonRun;

/**
 * balloon_bitmap_new: Create an empty bitmap
 * @pages: how many balloon pages it covers
 *
 * The memory comes zeroed from the allocator, so that a bitmap for a huge,
 * barely ballooned block costs only the parts in use.
 *
 * Returns: the bitmap, owned by the caller; balloon_bitmap_free() ends it
 */
BalloonBitmap *balloon_bitmap_new(uint64_t pages);

/**
 * balloon_bitmap_free: Free @b; NULL is allowed
 */
void balloon_bitmap_free(BalloonBitmap *b);

/**
 * balloon_bitmap_clear_all: Clear all pages of @b
 *
 * Costs no more than freeing the memory that @b takes, since it does not look
 * at what was set.
 */
void balloon_bitmap_clear_all(BalloonBitmap *b);

/**
 * balloon_bitmap_size: How many balloon pages @b covers
 */
uint64_t balloon_bitmap_size(const BalloonBitmap *b);

/**
 * balloon_bitmap_count: How many pages of @b are set; constant time
 */
uint64_t balloon_bitmap_count(const BalloonBitmap *b);

/**
 * balloon_bitmap_count_between: Number of set pages in a range
 * @start: first page
 * @end: page after the last one; what is not in the bitmap is not set
 */
uint64_t balloon_bitmap_count_between(const BalloonBitmap *b, uint64_t start,
                                      uint64_t end);

/**
 * balloon_bitmap_runs: How many maximal runs of set pages @b has; constant
 * time
 */
uint64_t balloon_bitmap_runs(const BalloonBitmap *b);

/**
 * balloon_bitmap_test: Is @page set?  A page beyond the end is not.
 */
bool balloon_bitmap_test(const BalloonBitmap *b, uint64_t page);

/**
 * balloon_bitmap_word: Bits of the pages from @page on, the lowest one first,
 * as far as the word goes that holds them; a word begins at each multiple of
 * 64.  Pages beyond the end are not set.
 */
uint64_t balloon_bitmap_word(const BalloonBitmap *b, uint64_t page);

/**
 * balloon_bitmap_set: Set the pages of a range
 * @b: the bitmap
 * @start: first page
 * @npages: number of pages; what lies beyond the end is ignored
 *
 * Returns: how many pages were clear before
 */
uint64_t balloon_bitmap_set(BalloonBitmap *b, uint64_t start,
                            uint64_t npages);

/**
 * balloon_bitmap_clear: Clear the pages of a range
 * @b: the bitmap
 * @start: first page
 * @npages: number of pages; what lies beyond the end is ignored
 *
 * Returns: how many pages were set before
 */
uint64_t balloon_bitmap_clear(BalloonBitmap *b, uint64_t start,
                              uint64_t npages);

/**
 * balloon_bitmap_next_run: Find the next run of set pages
 * @b: the bitmap
 * @from: first page to look at
 * @run: filled in with the run; it starts at @from at the earliest, even if
 *       the pages before @from are set as well
 *
 * Returns: false if no page at or after @from is set
 */
bool balloon_bitmap_next_run(const BalloonBitmap *b, uint64_t from,
                             BalloonRun *run);

/**
 * balloon_bitmap_next_run_before: Find the next run of set pages in a range
 * @b: the bitmap
 * @from: first page to look at
 * @limit: page to stop at; neither looked at nor in @run
 * @run: filled in with the run, cut at @from and @limit
 *
 * Returns: false if no page in [@from, @limit) is set
 */
bool balloon_bitmap_next_run_before(const BalloonBitmap *b, uint64_t from,
                                    uint64_t limit, BalloonRun *run);

/**
 * balloon_bitmap_get_raw: Read the bits of a range
 * @b: the bitmap
 * @start: first page, a multiple of 64
 * @npages: number of pages; the range ends within the bitmap
 * @bits: where to put a bit for each page, the lowest bit of the first byte
 *        first; spare bits of the last byte are cleared
 */
void balloon_bitmap_get_raw(const BalloonBitmap *b, uint64_t start,
                            uint64_t npages, uint8_t *bits);

/**
 * balloon_bitmap_set_raw: Set the pages of a range whose bits are set
 * @b: the bitmap
 * @start: first page, a multiple of 64
 * @npages: number of pages; the range ends within the bitmap
 * @bits: a bit for each page as of balloon_bitmap_get_raw(); pages whose bit
 *        is clear stay as they are
 */
void balloon_bitmap_set_raw(BalloonBitmap *b, uint64_t start,
                            uint64_t npages, const uint8_t *bits);

/**
 * balloon_bitmap_or_word: Set pages of the word that @page lies in
 * @b: the bitmap
 * @page: a page of it
 * @bits: a bit for each page to be set, the lowest one for @page; none beyond
 *        the word or the end of the bitmap
 */
void balloon_bitmap_or_word(BalloonBitmap *b, uint64_t page, uint64_t bits);

/**
 * balloon_run_shrink: Keep of a run only whole units
 * @run: the run, in balloon pages
 * @unit_pages: balloon pages of the unit, a power of two
 *
 * A unit larger than a balloon page (a target page of 8 KiB, a huge page of
 * the host) counts as given back only if all its balloon pages were.
 *
 * Returns: false if no whole unit is left
 */
bool balloon_run_shrink(BalloonRun *run, uint64_t unit_pages);

#endif
