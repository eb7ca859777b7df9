/*
 * Where the guest's memory went: a record of the last migration
 *
 * Kept while an outgoing migration with capability skip-balloon or
 * skip-unpopulated is under way, and after it until the next one begins, or
 * the RAM block goes.  Nothing is recorded of any other migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_RECORD_H
#define MIGRATION_SKIP_RECORD_H

#include "exec/ramblock.h"
#include "qemu/queue.h"

/*
 * Memory is recorded by so many cells at most, and can be asked for by them.
 * Bounds the time that an answer takes, which is made in one go.
 */
#define SKIP_RECORD_CELLS_MAX 16384

/* What happened to pages */
typedef enum SkipRecordKind {
    SKIP_RECORD_SKIPPED,
    SKIP_RECORD_ZERO,           /* sent as a page of zeroes */
    SKIP_RECORD_SENT,           /* sent with content, for the first time */
    SKIP_RECORD_AGAIN,          /* sent with content, not for the first time */
    SKIP_RECORD_KINDS,
} SkipRecordKind;

/* The record of a RAM block; all pages are target pages. */
typedef struct SkipRecord {
    void *host;                 /* of the RAM block; NULL: it has gone */
    uint64_t cells;
    unsigned shift;             /* of cells; that of all blocks */
    /*
     * A counter for each cell.  Skipped ones are changed with the BQL, the
     * others by the threads that send, atomically.
     */
    uint32_t *count[SKIP_RECORD_KINDS];
    QLIST_ENTRY(SkipRecord) next;
} SkipRecord;

/**
 * skip_record_start: Begin anew, for all RAM blocks that have SkipPages
 *
 * With the BQL held, when a migration is set up.
 */
void skip_record_start(void);

/**
 * skip_record_forget: Throw the record away
 *
 * With the BQL held, while nothing is being recorded.
 */
void skip_record_forget(void);

/**
 * skip_record_of_block: Find the record of a RAM block
 *
 * With the BQL held.
 *
 * Returns: the record; NULL if there is none
 */
const SkipRecord *skip_record_of_block(const RAMBlock *rb);

/**
 * skip_record_exists: Has anything been recorded?  With the BQL held.
 */
bool skip_record_exists(void);

/**
 * skip_record_skipped: Note that pages are skipped; with the BQL held
 * @rb: the RAM block
 * @start: first page
 * @end: page after the last one
 */
void skip_record_skipped(RAMBlock *rb, uint64_t start, uint64_t end);

/**
 * skip_record_skipped_word: Note that some of adjacent pages are skipped; with
 * the BQL held
 * @rb: the RAM block
 * @word: which word of a bitmap they are in
 * @bits: which of its pages
 */
void skip_record_skipped_word(RAMBlock *rb, size_t word, unsigned long bits);

/**
 * skip_record_zero: Note that a page is sent as zeroes
 * @rb: the RAM block
 * @page: the page
 *
 * Called by any thread that sends; no lock is needed.
 */
void skip_record_zero(RAMBlock *rb, uint64_t page);

/**
 * skip_record_sent: Note that a page is sent with its content
 * @rb: the RAM block
 * @page: the page
 *
 * Called by any thread that sends; no lock is needed.
 */
void skip_record_sent(RAMBlock *rb, uint64_t page);

/**
 * skip_record_multifd: Note the pages of a multifd packet
 * @rb: the RAM block
 * @offsets: of the pages in it, in bytes
 * @normal: how many of them, the first ones, are sent with their content
 * @num: how many there are; the rest are sent as zeroes
 *
 * Called by any thread that sends; no lock is needed.
 */
void skip_record_multifd(RAMBlock *rb, const ram_addr_t *offsets,
                         uint32_t normal, uint32_t num);

#endif
