/*
 * Where the guest's memory went: a record of the last migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitmap.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/ram.h"
#include "cells.h"
#include "pages.h"
#include "record.h"

/* Protected by the BQL */
static struct {
    bool notified;
    QLIST_HEAD(, SkipRecord) records;
} skip_record;

static void drop(SkipRecord *record)
{
    int kind;

    QLIST_REMOVE(record, next);
    for (kind = 0; kind < SKIP_RECORD_KINDS; kind++) {
        g_free(record->count[kind]);
    }
    g_free(record);
}

/* Threads of a migration may still be at it, so that it is only forgotten. */
static void block_removed(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    SkipRecord *record;

    assert(bql_locked());
    QLIST_FOREACH(record, &skip_record.records, next) {
        if (record->host == host) {
            record->host = NULL;
        }
    }
}

static RAMBlockNotifier ram_notifier = {
    .ram_block_removed = block_removed,
};

void skip_record_forget(void)
{
    SkipRecord *record, *next;

    assert(bql_locked());
    QLIST_FOREACH_SAFE(record, &skip_record.records, next, next) {
        drop(record);
    }
}

static uint64_t pages_of(const RAMBlock *rb)
{
    return rb->max_length >> qemu_target_page_bits();
}

static unsigned choose_shift(void)
{
    g_autoptr(GArray) pages = g_array_new(false, false, sizeof(uint64_t));
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (rb->skip_pages) {
            uint64_t n = pages_of(rb);

            g_array_append_val(pages, n);
        }
    }
    return skip_cells_shift((const uint64_t *)pages->data, pages->len,
                            SKIP_RECORD_CELLS_MAX);
}

static void add_record(RAMBlock *rb, unsigned shift)
{
    SkipRecord *record = g_new0(SkipRecord, 1);
    int kind;

    record->host = rb->host;
    record->shift = shift;
    record->cells = skip_cells_count(pages_of(rb), shift);
    for (kind = 0; kind < SKIP_RECORD_KINDS; kind++) {
        record->count[kind] = g_new0(uint32_t, record->cells);
    }
    QLIST_INSERT_HEAD(&skip_record.records, record, next);
    rb->skip_pages->record = record;
    rb->skip_pages->seen = bitmap_new(pages_of(rb));
}

void skip_record_start(void)
{
    unsigned shift = choose_shift();
    RAMBlock *rb;

    skip_record_forget();
    if (!skip_record.notified) {
        skip_record.notified = true;
        ram_block_notifier_add(&ram_notifier);
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (rb->skip_pages) {
            add_record(rb, shift);
        }
    }
}

const SkipRecord *skip_record_of_block(const RAMBlock *rb)
{
    SkipRecord *record;

    assert(bql_locked());
    QLIST_FOREACH(record, &skip_record.records, next) {
        if (record->host == rb->host) {
            return record;
        }
    }
    return NULL;
}

bool skip_record_exists(void)
{
    assert(bql_locked());
    return !QLIST_EMPTY(&skip_record.records);
}

static SkipRecord *being_recorded(const RAMBlock *rb)
{
    SkipPages *pages = skip_pages_of(rb);

    return pages ? pages->record : NULL;
}

void skip_record_skipped(RAMBlock *rb, uint64_t start, uint64_t end)
{
    SkipRecord *record = being_recorded(rb);

    if (record) {
        skip_cells_add(record->count[SKIP_RECORD_SKIPPED], record->shift,
                       start, end);
    }
}

void skip_record_skipped_word(RAMBlock *rb, size_t word, unsigned long bits)
{
    SkipRecord *record = being_recorded(rb);
    uint64_t page = word * (uint64_t)BITS_PER_LONG;

    if (!record) {
        return;
    }
    if (record->shift >= ctz32(BITS_PER_LONG)) {
        skip_cells_add(record->count[SKIP_RECORD_SKIPPED], record->shift,
                       page, page + ctpopl(bits));
        return;
    }
    for (; bits; bits &= bits - 1) {
        uint64_t at = page + ctzl(bits);

        skip_record_skipped(rb, at, at + 1);
    }
}

static void count_page(SkipRecord *record, SkipRecordKind kind, uint64_t page)
{
    qatomic_inc(&record->count[kind][page >> record->shift]);
}

/* Has the page been sent with its content before?  It has, from now on. */
static bool test_and_set_seen(SkipPages *pages, uint64_t page)
{
    unsigned long *word = &pages->seen[BIT_WORD(page)];

    return qatomic_fetch_or(word, BIT_MASK(page)) & BIT_MASK(page);
}

void skip_record_zero(RAMBlock *rb, uint64_t page)
{
    SkipRecord *record = being_recorded(rb);

    if (record) {
        count_page(record, SKIP_RECORD_ZERO, page);
    }
}

void skip_record_sent(RAMBlock *rb, uint64_t page)
{
    SkipPages *pages = skip_pages_of(rb);

    if (pages && pages->record) {
        count_page(pages->record, test_and_set_seen(pages, page)
                                  ? SKIP_RECORD_AGAIN : SKIP_RECORD_SENT,
                   page);
    }
}

void skip_record_multifd(RAMBlock *rb, const ram_addr_t *offsets,
                         uint32_t normal, uint32_t num)
{
    uint32_t i;

    RCU_READ_LOCK_GUARD();
    if (!being_recorded(rb)) {
        return;
    }
    for (i = 0; i < num; i++) {
        uint64_t page = offsets[i] >> qemu_target_page_bits();

        if (i < normal) {
            skip_record_sent(rb, page);
        } else {
            skip_record_zero(rb, page);
        }
    }
}
