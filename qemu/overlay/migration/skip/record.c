/*
 * QMP command query-migration-map
 *
 * What a migration skipped is what the destination was told, a bit for each
 * page, which is kept when the migration has ended (see skip-pages.h).
 *
 * To count takes time by the number of runs, or of pages, so the command is a
 * coroutine, and works in slices, between which it leaves the BQL to others.
 * RAM blocks may come and go meanwhile, and are looked up anew.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/coroutine.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/ram.h"
#include "pages.h"
#include "populated-block.h"
#include "trace.h"

#define CELLS_DEFAULT 4096
#define CELLS_MAX 16384

/* How long to hold the BQL in one go, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

/* Memory that is asked about in one go, and pages of a bitmap counted so */
#define PIECE (256 * MiB)
#define PIECE_PAGES (UINT64_C(1) << 23)

/* A query, and its answer as far as it has come */
typedef struct MapQuery {
    MigrationMapInfo *info;
    unsigned shift;             /* log2 of the target pages of a cell */
    int64_t slice_begin;
} MapQuery;

/*
 * Count some pages of @rb in @cells, from page @at to @npages at most.  Returns
 * the page to go on from, or a negative errno if nobody can tell.
 */
typedef int64_t Count(const MapQuery *query, RAMBlock *rb, uint32_t *cells,
                      uint64_t at, uint64_t npages);

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

static const unsigned long *told_of_block(const RAMBlock *rb)
{
    return rb->skip_pages ? rb->skip_pages->told : NULL;
}

static uint64_t cells_of(const MapQuery *query, const MigrationMapBlock *block)
{
    return DIV_ROUND_UP(block->size, qemu_target_page_size() << query->shift);
}

static uint64_t cells_of_all(const MapQuery *query)
{
    const MigrationMapBlockList *l;
    uint64_t sum = 0;

    for (l = query->info->blocks; l; l = l->next) {
        sum += cells_of(query, l->value);
    }
    return sum;
}

static void list_blocks(MapQuery *query, uint64_t cells)
{
    MigrationMapBlockList **tail = &query->info->blocks;
    uint64_t n = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (qemu_ram_is_migratable(rb) && rb->used_length) {
            MigrationMapBlock *block = g_new0(MigrationMapBlock, 1);

            block->id = g_strdup(rb->idstr);
            block->size = rb->used_length;
            QAPI_LIST_APPEND(tail, block);
            n++;
        }
        query->info->recorded |= !!told_of_block(rb);
    }
    /* A block has one at least. */
    while (cells_of_all(query) > MAX(cells, n)) {
        query->shift++;
    }
    query->info->page_size = qemu_target_page_size();
    query->info->cell_size = qemu_target_page_size() << query->shift;
}

/* ---- Count ---- */

/* Where to stop counting bits: in the same cell, and before long */
static uint64_t end_of_piece(const MapQuery *query, uint64_t at,
                             uint64_t npages)
{
    uint64_t cell_end = ((at >> query->shift) + 1) << query->shift;

    return MIN(MIN(cell_end, at + PIECE_PAGES), npages);
}

static int64_t count_ballooned(const MapQuery *query, RAMBlock *rb,
                               uint32_t *cells, uint64_t at, uint64_t npages)
{
    int shift = qemu_target_page_bits() - BALLOON_MAP_PAGE_SHIFT;
    const unsigned long *map = balloon_map_of_block(rb);
    uint64_t end = end_of_piece(query, at, npages);

    if (!map || shift < 0) {
        return -ENOENT;
    }
    cells[at >> query->shift] +=
        page_run_count(map, at << shift, end << shift) >> shift;
    return end;
}

/* The lock of the bitmap is not needed: what changes now counts or does not. */
static int64_t count_skipped(const MapQuery *query, RAMBlock *rb,
                             uint32_t *cells, uint64_t at, uint64_t npages)
{
    const unsigned long *told = told_of_block(rb);
    uint64_t end = end_of_piece(query, at, npages);

    if (!told) {
        return -ENOENT;
    }
    cells[at >> query->shift] += bitmap_count_one_with_offset(told, at,
                                                              end - at);
    return end;
}

static int64_t count_unpopulated(const MapQuery *query, RAMBlock *rb,
                                 uint32_t *cells, uint64_t at, uint64_t npages)
{
    int bits = qemu_target_page_bits();
    uint64_t limit = 0;
    PopulatedScan *scan;
    int ret;

    /* On hugetlbfs the host has to count all pages before it tells of one. */
    if (rb->fd >= 0 && rb->page_size != qemu_real_host_page_size()) {
        return -EOPNOTSUPP;
    }
    scan = populated_scan_of_block(rb, POPULATED_TO_DROP);
    do {
        uint64_t end = 0, next;

        if (at << bits >= limit) {
            limit = MIN((at << bits) + PIECE, npages << bits);
            populated_scan_window(scan, limit);
        }
        ret = populated_scan_next(scan, at << bits, limit, &end);
        /* To show it to people, it need not be certain. */
        ret = ret == -EAGAIN ? 0 : ret;
        for (; !ret && at < end >> bits; at = next) {
            next = MIN(((at >> query->shift) + 1) << query->shift,
                       end >> bits);
            cells[at >> query->shift] += next - at;
        }
        at = DIV_ROUND_UP(end, UINT64_C(1) << bits);
    } while (ret >= 0 && at < npages && !time_is_up(query));
    populated_scan_free(scan);
    return ret < 0 ? ret : (int64_t)at;
}

/* Returns a count for each cell, and sets @there to whether there are any. */
static uint32List *coroutine_fn count_block(MapQuery *query,
                                            const MigrationMapBlock *block,
                                            Count *count, bool *there)
{
    g_autofree uint32_t *cells = g_new0(uint32_t, cells_of(query, block));
    int64_t at = 0, npages = block->size >> qemu_target_page_bits();
    uint32List *list = NULL, **tail = &list;
    uint64_t i;

    while (at >= 0 && at < npages) {
        RAMBlock *rb = qemu_ram_block_by_name(block->id);

        /* It may have gone, or be another one by now. */
        at = rb && rb->used_length == block->size
             ? count(query, rb, cells, at, npages) : -ENOENT;
        if (time_is_up(query)) {
            pause_query(query);
        }
    }
    *there = at >= 0;
    for (i = 0; *there && i < cells_of(query, block); i++) {
        QAPI_LIST_APPEND(tail, cells[i]);
    }
    return list;
}

MigrationMapInfo *coroutine_fn
qmp_query_migration_map(bool has_cells, uint32_t cells, Error **errp)
{
    MapQuery query = { 0 };
    MigrationMapBlockList *l;

    if (!has_cells) {
        cells = CELLS_DEFAULT;
    } else if (!cells || cells > CELLS_MAX) {
        error_setg(errp, "Parameter 'cells' must be from 1 to %d", CELLS_MAX);
        return NULL;
    }
    query.info = g_new0(MigrationMapInfo, 1);
    slice_begin(&query);
    list_blocks(&query, cells);
    for (l = query.info->blocks; l; l = l->next) {
        MigrationMapBlock *block = l->value;

        block->ballooned = count_block(&query, block, count_ballooned,
                                       &block->has_ballooned);
        block->unpopulated = count_block(&query, block, count_unpopulated,
                                         &block->has_unpopulated);
        block->skipped = count_block(&query, block, count_skipped,
                                     &block->has_skipped);
    }
    slice_end(&query);
    return query.info;
}
