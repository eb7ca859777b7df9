/*
 * The told set: what the destination knows to be zero
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_TOLD_H
#define MIGRATION_SKIP_TOLD_H

#include "pages.h"
#include "qemu/bitops.h"

/* How much there is to tell of all RAM blocks together */
typedef struct SkipPending {
    uint64_t pages;             /* of 4 KiB */
    uint64_t bytes;             /* of the stream, about */
} SkipPending;

/**
 * skip_told_start: Tell the destination of what is skipped from now on
 *
 * With the BQL held, once skip_pages_add() has been called.
 */
void skip_told_start(void);

/**
 * skip_told_skip: Clear the dirty bits of pages, which are to be told
 * @rb: the RAM block
 * @start: first target page
 * @end: target page after the last one
 *
 * With the lock of the dirty bitmap held.
 */
void skip_told_skip(RAMBlock *rb, uint64_t start, uint64_t end);

/**
 * skip_told_skip_word: The same for some of the pages of a word
 * @rb: the RAM block
 * @word: of a bitmap of target pages
 * @bits: a bit for each of these pages
 *
 * With the lock of the dirty bitmap held.
 */
void skip_told_skip_word(RAMBlock *rb, size_t word, unsigned long bits);

/**
 * skip_told_encode: Write what is pending, which is told from then on
 * @rb: the RAM block
 * @chunk: first chunk to write; moved on to the first one not written
 * @end: chunk to stop at
 * @buf: where to write
 * @size: bytes of it, BALLOON_CODEC_MAX
 *
 * By the thread that sends pages: what it has sent so far goes before.
 *
 * Returns: bytes written
 */
size_t skip_told_encode(RAMBlock *rb, uint64_t *chunk, uint64_t end,
                        uint8_t *buf, size_t size);

/**
 * skip_told_next: The first chunk from @chunk on of which something is pending
 *
 * By the thread that sends pages.
 *
 * Returns: @end if there is none before it
 */
uint64_t skip_told_next(RAMBlock *rb, uint64_t chunk, uint64_t end);

/**
 * skip_told_pending: How much is pending?
 *
 * Locks the dirty bitmap.
 */
SkipPending skip_told_pending(void);

/**
 * skip_told_note_discard: Note that a range is going to be discarded
 * @rb: the RAM block
 * @offset: in bytes
 * @length: in bytes
 *
 * With the BQL held.
 */
void skip_told_note_discard(RAMBlock *rb, uint64_t offset, uint64_t length);

/**
 * skip_told_late: How many pages were skipped when they were to be sent
 *
 * Since skip_told_start(); no lock is needed.
 */
uint64_t skip_told_late(void);

#endif
