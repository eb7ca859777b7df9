/*
 * QMP command query-migration-map
 *
 * What a migration skipped is what the destination was told, a bit for each
 * page, which is kept when the migration has ended (see pages.h).
 *
 * To count takes time by the number of runs, or of pages, so the command is a
 * coroutine, and works in slices (see look.h).  RAM blocks may come and go
 * meanwhile, and are looked up anew.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/ram.h"
#include "control.h"
#include "look.h"
#include "pages.h"

#define CELLS_DEFAULT 4096
#define CELLS_MAX 16384

/* Pages of a bitmap that are counted in one go */
#define PIECE_PAGES (UINT64_C(1) << 23)

/* A query, and its answer as far as it has come */
typedef struct MapQuery {
    MigrationMapInfo *info;
    unsigned shift;             /* log2 of the target pages of a cell */
    Look look;
    uint64_t both;              /* of the block: in the map, unpopulated */
} MapQuery;

/*
 * Count some pages of @rb in @cells, from page @at to @npages at most.  Returns
 * the page to go on from, or a negative errno if nobody can tell.
 */
typedef int64_t Count(MapQuery *query, RAMBlock *rb, uint32_t *cells,
                      uint64_t at, uint64_t npages);

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
    uint64_t n = 0, pages = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (qemu_ram_is_migratable(rb) && rb->used_length) {
            MigrationMapBlock *block = g_new0(MigrationMapBlock, 1);

            block->id = g_strdup(rb->idstr);
            block->size = rb->used_length;
            block->host_page_size = rb->page_size;
            pages += rb->used_length >> qemu_target_page_bits();
            QAPI_LIST_APPEND(tail, block);
            n++;
        }
        query->info->recorded |= !!told_of_block(rb);
    }
    /* A block has one at least. */
    while (cells_of_all(query) > MAX(cells, n)) {
        query->shift++;
    }
    look_sample_of(&query->look, pages);
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

static int64_t count_ballooned(MapQuery *query, RAMBlock *rb,
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
static int64_t count_skipped(MapQuery *query, RAMBlock *rb,
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

/* Pages [@at, @end) are unpopulated. */
static void count_in_cells(MapQuery *query, RAMBlock *rb, uint32_t *cells,
                           uint64_t at, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_MAP_PAGE_SHIFT;
    const unsigned long *map = balloon_map_of_block(rb);
    uint64_t next;

    if (map && shift >= 0) {
        query->both += page_run_count(map, at << shift,
                                           end << shift) >> shift;
    }
    for (; at < end; at = next) {
        next = MIN(((at >> query->shift) + 1) << query->shift, end);
        cells[at >> query->shift] += next - at;
    }
}

static void count_stretch(Look *look, RAMBlock *rb, uint64_t at, uint64_t end,
                          bool is_populated, void *opaque)
{
    if (is_populated) {
        look_at_populated(look, rb, at, end);
    } else {
        count_in_cells(container_of(look, MapQuery, look), rb, opaque, at, end);
    }
}

static int64_t count_unpopulated(MapQuery *query, RAMBlock *rb,
                                 uint32_t *cells, uint64_t at, uint64_t npages)
{
    return look_at_block(&query->look, rb, NULL, at, npages, count_stretch,
                         cells);
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
        if (look_time_is_up(&query->look)) {
            look_pause(&query->look);
        }
    }
    *there = at >= 0;
    for (i = 0; *there && i < cells_of(query, block); i++) {
        QAPI_LIST_APPEND(tail, cells[i]);
    }
    return list;
}

static void add_sums(const MapQuery *query, MigrationMapBlock *block)
{
    block->has_zeroes = block->has_unpopulated;
    block->zeroes = look_zeroes(&query->look);
    block->has_ballooned_unpopulated = block->has_ballooned &&
                                       block->has_unpopulated;
    block->ballooned_unpopulated = query->both;
}

MigrationMapInfo *coroutine_fn
qmp_query_migration_map(bool has_cells, uint32_t cells, Error **errp)
{
    MapQuery query = {
        .look = { .what = "query", .bits = qemu_target_page_bits() },
    };
    MigrationMapBlockList *l;

    if (!has_cells) {
        cells = CELLS_DEFAULT;
    } else if (!cells || cells > CELLS_MAX) {
        error_setg(errp, "Parameter 'cells' must be from 1 to %d", CELLS_MAX);
        return NULL;
    }
    query.info = g_new0(MigrationMapInfo, 1);
    look_begin(&query.look);
    list_blocks(&query, cells);
    for (l = query.info->blocks; l; l = l->next) {
        MigrationMapBlock *block = l->value;

        block->ballooned = count_block(&query, block, count_ballooned,
                                       &block->has_ballooned);
        query.look.sums = (struct LookSums) { };
        query.both = 0;
        block->unpopulated = count_block(&query, block, count_unpopulated,
                                         &block->has_unpopulated);
        add_sums(&query, block);
        block->skipped = count_block(&query, block, count_skipped,
                                     &block->has_skipped);
    }
    query.info->discard_inhibited = skip_migration_discard_inhibited();
    query.info->pagemap_denied = skip_migration_pagemap_denied();
    look_end(&query.look);
    return query.info;
}
