/*
 * QMP command query-migration-map
 *
 * Counting what is populated takes time by the number of runs, so the command
 * is a coroutine, and works in slices, between which it leaves the BQL to
 * others.  RAM blocks may come and go meanwhile, and are looked up anew.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/ram.h"
#include "cells.h"
#include "populated-block.h"
#include "record.h"
#include "trace.h"

#define CELLS_DEFAULT 4096

/* How long to hold the BQL in one go, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

/* Memory that is asked about in one go, and pages of the map counted so */
#define PIECE (256 * MiB)
#define PIECE_PAGES (UINT64_C(1) << 23)

/* Counts of one RAM block, a counter for each cell */
typedef struct BlockCounts {
    char *id;
    uint64_t pages;             /* target pages */
    uint64_t cells;
    uint32_t *ballooned;        /* NULL: the block has no map */
    uint32_t *unpopulated;      /* NULL: the host does not tell */
} BlockCounts;

/* How far a query has come */
typedef struct MapQuery {
    GPtrArray *blocks;          /* of BlockCounts */
    unsigned shift;
    int64_t slice_begin;
} MapQuery;

static void block_counts_free(gpointer opaque)
{
    BlockCounts *counts = opaque;

    g_free(counts->id);
    g_free(counts->ballooned);
    g_free(counts->unpopulated);
    g_free(counts);
}

/* ---- Slices ---- */

static void slice_begin(MapQuery *query)
{
    query->slice_begin = get_clock();
    trace_skip_bql_begin("query");
}

static void slice_end(MapQuery *query)
{
    trace_skip_bql_end("query",
                       (get_clock() - query->slice_begin) / SCALE_US);
}

static bool time_is_up(const MapQuery *query)
{
    return get_clock() - query->slice_begin > SLICE_NS;
}

/* Nothing of RAM blocks may be kept over this. */
static void coroutine_fn pause_query(MapQuery *query)
{
    slice_end(query);
    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS);
    slice_begin(query);
}

/* ---- Which blocks, and how large their cells are ---- */

static void add_block(MapQuery *query, const RAMBlock *rb)
{
    BlockCounts *counts = g_new0(BlockCounts, 1);

    counts->id = g_strdup(rb->idstr);
    counts->pages = rb->used_length >> qemu_target_page_bits();
    g_ptr_array_add(query->blocks, counts);
}

/* What was recorded by larger cells cannot be told by smaller ones. */
static void choose_cells(MapQuery *query, uint64_t cells,
                         unsigned recorded_shift)
{
    g_autofree uint64_t *pages = g_new(uint64_t, query->blocks->len);
    guint i;

    for (i = 0; i < query->blocks->len; i++) {
        const BlockCounts *counts = g_ptr_array_index(query->blocks, i);

        pages[i] = counts->pages;
    }
    query->shift = MAX(skip_cells_shift(pages, query->blocks->len, cells),
                       recorded_shift);
    for (i = 0; i < query->blocks->len; i++) {
        BlockCounts *counts = g_ptr_array_index(query->blocks, i);

        counts->cells = skip_cells_count(counts->pages, query->shift);
    }
}

static void list_blocks(MapQuery *query, uint64_t cells)
{
    unsigned recorded_shift = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        const SkipRecord *record = skip_record_of_block(rb);

        if (qemu_ram_is_migratable(rb) && rb->used_length) {
            add_block(query, rb);
            recorded_shift = MAX(recorded_shift, record ? record->shift : 0);
        }
    }
    choose_cells(query, cells, recorded_shift);
}

/* NULL if it has gone, or is another one by now */
static RAMBlock *look_up(const BlockCounts *counts)
{
    RAMBlock *rb = qemu_ram_block_by_name(counts->id);

    return rb && rb->used_length >> qemu_target_page_bits() == counts->pages
           ? rb : NULL;
}

/* ---- Ballooned ---- */

/*
 * Count some pages of the balloon map from page @at on, all in one cell.
 * Returns the page to go on from.
 */
static uint64_t count_ballooned_piece(const MapQuery *query,
                                      BlockCounts *counts,
                                      const BalloonBitmap *map, uint64_t at)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t cell = at >> query->shift;
    uint64_t end = MIN((cell + 1) << query->shift, at + PIECE_PAGES);

    end = MIN(end, counts->pages);
    counts->ballooned[cell] +=
        balloon_bitmap_count_between(map, at << shift, end << shift) >> shift;
    return end;
}

static void coroutine_fn count_ballooned(MapQuery *query, BlockCounts *counts)
{
    uint64_t at = 0;

    while (at < counts->pages) {
        RAMBlock *rb = look_up(counts);
        const BalloonBitmap *map = rb ? balloon_map_of_block(rb) : NULL;

        if (!map) {
            return;
        }
        if (!counts->ballooned) {
            counts->ballooned = g_new0(uint32_t, counts->cells);
        }
        while (at < counts->pages && !time_is_up(query)) {
            at = count_ballooned_piece(query, counts, map, at);
        }
        if (at < counts->pages) {
            pause_query(query);
        }
    }
}

/* ---- Unpopulated ---- */

/*
 * Count what is not populated from page @at on, until time is up.  Returns
 * the page to go on from, or a negative errno if the host does not tell.
 */
static int64_t count_unpopulated_slice(MapQuery *query, BlockCounts *counts,
                                       RAMBlock *rb, uint64_t at)
{
    int bits = qemu_target_page_bits();
    PopulatedScan *scan = populated_scan_of_block(rb, POPULATED_TO_SHOW);
    uint64_t length = counts->pages << bits;
    uint64_t limit = 0;
    int ret = 0;

    do {
        uint64_t end;

        if (at << bits >= limit) {
            limit = MIN((at << bits) + PIECE, length);
            populated_scan_window(scan, limit);
        }
        ret = populated_scan_next(scan, at << bits, limit, &end);
        if (ret < 0) {
            break;
        }
        if (!ret) {
            skip_cells_add(counts->unpopulated, query->shift, at,
                           end >> bits);
        }
        at = DIV_ROUND_UP(end, UINT64_C(1) << bits);
    } while (at < counts->pages && !time_is_up(query));
    populated_scan_free(scan);
    return ret < 0 ? ret : (int64_t)at;
}

/* On hugetlbfs the host has to count all pages before it can tell of one. */
static bool tells_quickly(const RAMBlock *rb)
{
    return rb->fd < 0 || rb->page_size == qemu_real_host_page_size();
}

static void coroutine_fn count_unpopulated(MapQuery *query,
                                           BlockCounts *counts)
{
    RAMBlock *block = look_up(counts);
    int64_t at = 0;

    if (!block || !tells_quickly(block)) {
        return;
    }
    counts->unpopulated = g_new0(uint32_t, counts->cells);
    while (at < (int64_t)counts->pages) {
        RAMBlock *rb = look_up(counts);

        at = rb ? count_unpopulated_slice(query, counts, rb, at) : -ENOENT;
        if (at < 0) {
            g_clear_pointer(&counts->unpopulated, g_free);
            return;
        }
        if (at < (int64_t)counts->pages) {
            pause_query(query);
        }
    }
}

/* ---- The answer ---- */

static uint32List *list_cells(const uint32_t *cells, uint64_t n)
{
    uint32List *list = NULL, **tail = &list;
    uint64_t i;

    for (i = 0; i < n; i++) {
        QAPI_LIST_APPEND(tail, cells[i]);
    }
    return list;
}

static uint32List *list_recorded(const MapQuery *query,
                                 const BlockCounts *counts,
                                 const SkipRecord *record, SkipRecordKind kind)
{
    uint32List *list = NULL, **tail = &list;
    uint64_t cell;

    for (cell = 0; cell < counts->cells; cell++) {
        uint64_t room = counts->pages - (cell << query->shift);
        uint64_t sum = skip_cells_sum(record->count[kind], record->cells,
                                      record->shift, cell, query->shift);

        QAPI_LIST_APPEND(tail, MIN(sum, room));
    }
    return list;
}

static void add_recorded(const MapQuery *query, const BlockCounts *counts,
                         MigrationMapBlock *block)
{
    RAMBlock *rb = look_up(counts);
    const SkipRecord *record = rb ? skip_record_of_block(rb) : NULL;

    /* Another migration may have begun meanwhile, with other cells. */
    if (!record || record->shift > query->shift) {
        return;
    }
    block->has_skipped = block->has_zero = true;
    block->has_sent = block->has_sent_again = true;
    block->skipped = list_recorded(query, counts, record,
                                   SKIP_RECORD_SKIPPED);
    block->zero = list_recorded(query, counts, record, SKIP_RECORD_ZERO);
    block->sent = list_recorded(query, counts, record, SKIP_RECORD_SENT);
    block->sent_again = list_recorded(query, counts, record,
                                      SKIP_RECORD_AGAIN);
}

static MigrationMapBlock *block_answer(const MapQuery *query,
                                       const BlockCounts *counts)
{
    MigrationMapBlock *block = g_new0(MigrationMapBlock, 1);

    block->id = g_strdup(counts->id);
    block->size = counts->pages << qemu_target_page_bits();
    if (counts->ballooned) {
        block->has_ballooned = true;
        block->ballooned = list_cells(counts->ballooned, counts->cells);
    }
    if (counts->unpopulated) {
        block->has_unpopulated = true;
        block->unpopulated = list_cells(counts->unpopulated, counts->cells);
    }
    add_recorded(query, counts, block);
    return block;
}

static MigrationMapInfo *answer(const MapQuery *query)
{
    MigrationMapInfo *info = g_new0(MigrationMapInfo, 1);
    MigrationMapBlockList **tail = &info->blocks;
    guint i;

    info->page_size = qemu_target_page_size();
    info->cell_size = qemu_target_page_size() << query->shift;
    info->recorded = skip_record_exists();
    RCU_READ_LOCK_GUARD();
    for (i = 0; i < query->blocks->len; i++) {
        QAPI_LIST_APPEND(tail, block_answer(
            query, g_ptr_array_index(query->blocks, i)));
    }
    return info;
}

MigrationMapInfo *coroutine_fn
qmp_query_migration_map(bool has_cells, uint32_t cells, Error **errp)
{
    MapQuery query = { 0 };
    MigrationMapInfo *info;
    guint i;

    if (!has_cells) {
        cells = CELLS_DEFAULT;
    } else if (!cells || cells > SKIP_RECORD_CELLS_MAX) {
        error_setg(errp, "Parameter 'cells' must be from 1 to %d",
                   SKIP_RECORD_CELLS_MAX);
        return NULL;
    }
    query.blocks = g_ptr_array_new_with_free_func(block_counts_free);
    slice_begin(&query);
    list_blocks(&query, cells);
    for (i = 0; i < query.blocks->len; i++) {
        BlockCounts *counts = g_ptr_array_index(query.blocks, i);

        count_ballooned(&query, counts);
        count_unpopulated(&query, counts);
    }
    pause_query(&query);
    info = answer(&query);
    slice_end(&query);
    g_ptr_array_unref(query.blocks);
    return info;
}
