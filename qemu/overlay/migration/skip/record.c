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
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/ram.h"
#include "control.h"
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

/* Pages that are read, to tell how many of them hold zeroes; in one go */
#define SAMPLES_MAX 16384
#define SAMPLES_PIECE 256

/* What of a RAM block is known as a whole; all are target pages. */
typedef struct BlockSums {
    uint64_t populated;
    uint64_t both;              /* in the balloon and unpopulated */
    uint64_t sampled;           /* populated, and looked at */
    uint64_t zeroes;            /* of these, those that hold zeroes */
} BlockSums;

/* A query, and its answer as far as it has come */
typedef struct MapQuery {
    MigrationMapInfo *info;
    unsigned shift;             /* log2 of the target pages of a cell */
    uint64_t stride;            /* of so many one is looked at */
    BlockSums sums;             /* of the RAM block under way */
    int64_t slice_begin;
} MapQuery;

/*
 * Count some pages of @rb in @cells, from page @at to @npages at most.  Returns
 * the page to go on from, or a negative errno if nobody can tell.
 */
typedef int64_t Count(MapQuery *query, RAMBlock *rb, uint32_t *cells,
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
    query->stride = DIV_ROUND_UP(pages, SAMPLES_MAX);
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

/* Not what is swapped out, which would be swapped in. */
static bool is_zero_page(RAMBlock *rb, uint64_t page)
{
    size_t size = qemu_target_page_size();
    g_autofree uint8_t *buf = g_malloc(size);

    return populated_read_resident(rb->host + page * size, buf, size) &&
           buffer_is_zero(buf, size);
}

/*
 * Pages [@at, @end) are populated as a whole.  Of each stride one is looked at,
 * and not the first one always, since memory is used in patterns.
 */
static void look_at_populated(MapQuery *query, RAMBlock *rb, uint64_t at,
                              uint64_t end)
{
    BlockSums *sums = &query->sums;
    uint64_t i;

    for (i = at / query->stride; i * query->stride < end; i++) {
        uint64_t page = i * query->stride +
                        ((i * 0x9e3779b97f4a7c15) >> 32) % query->stride;

        if (page >= at && page < end) {
            sums->sampled++;
            sums->zeroes += is_zero_page(rb, page);
        }
    }
}

/* Pages [@at, @end) are unpopulated. */
static void count_in_cells(MapQuery *query, RAMBlock *rb, uint32_t *cells,
                           uint64_t at, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_MAP_PAGE_SHIFT;
    const unsigned long *map = balloon_map_of_block(rb);
    uint64_t next;

    if (map && shift >= 0) {
        query->sums.both += page_run_count(map, at << shift,
                                           end << shift) >> shift;
    }
    for (; at < end; at = next) {
        next = MIN(((at >> query->shift) + 1) << query->shift, end);
        cells[at >> query->shift] += next - at;
    }
}

/*
 * Page tables do not know huge pages that another process has populated, or
 * that were in the file before.  Of a private mapping they know copies, too.
 */
static bool is_more_in_file(const MapQuery *query, RAMBlock *rb)
{
    uint64_t known = qemu_ram_is_shared(rb)
                     ? query->sums.populated << qemu_target_page_bits() : 0;
    struct stat st;

    return rb->fd >= 0 && rb->page_size != qemu_real_host_page_size() &&
           (fstat(rb->fd, &st) < 0 || st.st_blocks * 512 > known);
}

static int64_t count_unpopulated(MapQuery *query, RAMBlock *rb,
                                 uint32_t *cells, uint64_t at, uint64_t npages)
{
    PopulatedScan *scan = populated_scan_of_block(rb, POPULATED_TO_DROP);
    int bits = qemu_target_page_bits();
    uint64_t limit = 0;
    int ret;

    do {
        uint64_t end = 0, next;

        if (at << bits >= limit) {
            limit = MIN((at << bits) + PIECE, npages << bits);
            populated_scan_window(scan, limit);
        }
        ret = populated_scan_next(scan, at << bits, limit, &end);
        /* To show it to people, it need not be certain. */
        ret = ret == -EAGAIN ? 0 : ret;
        if (ret > 0) {
            end = MIN(end, (at + SAMPLES_PIECE * query->stride) << bits);
            look_at_populated(query, rb, at, end >> bits);
        } else if (!ret) {
            count_in_cells(query, rb, cells, at, end >> bits);
        }
        next = MIN(DIV_ROUND_UP(end, UINT64_C(1) << bits), npages);
        query->sums.populated += ret > 0 ? next - at : 0;
        at = next;
    } while (ret >= 0 && at < npages && !time_is_up(query));
    populated_scan_free(scan);
    if (ret >= 0 && at >= npages && is_more_in_file(query, rb)) {
        ret = -EAGAIN;
    }
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

static void add_sums(const MapQuery *query, MigrationMapBlock *block)
{
    const BlockSums *sums = &query->sums;

    block->has_zeroes = block->has_unpopulated;
    block->zeroes = sums->sampled ? muldiv64(sums->populated, sums->zeroes,
                                             sums->sampled) : 0;
    block->has_ballooned_unpopulated = block->has_ballooned &&
                                       block->has_unpopulated;
    block->ballooned_unpopulated = sums->both;
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
        query.sums = (BlockSums) { };
        block->unpopulated = count_block(&query, block, count_unpopulated,
                                         &block->has_unpopulated);
        add_sums(&query, block);
        block->skipped = count_block(&query, block, count_skipped,
                                     &block->has_skipped);
    }
    query.info->discard_inhibited = skip_migration_discard_inhibited();
    slice_end(&query);
    return query.info;
}
