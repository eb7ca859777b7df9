/*
 * The told set: what the destination knows to be zero
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_TOLD_H
#define MIGRATION_SKIP_TOLD_H

#include "pages.h"
#include "qemu/bitops.h"

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
 * skip_told_next: Find a chunk of which something is pending
 * @rb: the RAM block
 * @chunk: first chunk to look at; set to the one found
 *
 * By the thread that sends pages, in an RCU critical section.
 *
 * Returns: false if there is none
 */
bool skip_told_next(RAMBlock *rb, uint64_t *chunk);

/**
 * skip_told_encode: Write what is pending, which is told from then on
 * @rb: the RAM block
 * @chunk: what skip_told_next() found; moved on to the first one not written
 * @buf: where to write
 * @size: bytes of it, BALLOON_CODEC_MAX
 *
 * By the thread that sends pages: what it has sent so far goes before.  In the
 * same RCU critical section.
 *
 * Returns: bytes written
 */
size_t skip_told_encode(RAMBlock *rb, uint64_t *chunk, uint8_t *buf,
                        size_t size);

/**
 * skip_told_pending: How many target pages are pending?
 *
 * Locks the dirty bitmap.
 */
uint64_t skip_told_pending(void);

/**
 * skip_told_note_discard: Note that a range is going to be discarded
 * @rb: the RAM block
 * @offset: in bytes
 * @length: in bytes
 *
 * With the BQL held.
 */
void skip_told_note_discard(RAMBlock *rb, uint64_t offset, uint64_t length);

#endif
