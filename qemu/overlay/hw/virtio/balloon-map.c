/*
 * Balloon map: the balloon bitmaps of all RAM blocks
 *
 * A bitmap belongs to a RAM block, not to a range of ram_addr_t, which may
 * differ on the other host, and covers it up to its maximum length, so that
 * a resize does not have to move it.  It comes into being with the first page
 * of the block that the guest gives back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/virtio/balloon-enforce.h"
#include "hw/virtio/balloon-map.h"
#include "hw/virtio/virtio-balloon.h"
#include "migration/skip/audit.h"
#include "migration/skip/balloon-codec.h"
#include "migration/misc.h"
#include "migration/skip/control.h"
#include "migration/skip/dirty.h"
#include "migration/skip/look.h"
#include "migration/skip/told.h"
#include "system/runstate.h"
#include "system/system.h"
#include "migration/ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "migration/skip/trace.h"

/* Bounds the work and the answer of one query-balloon-map */
#define QUERY_RUNS_DEFAULT 1024
#define QUERY_RUNS_MAX 65536

/* How often to look whether owed memory can be let go of, at last */
#define OWED_POLL_MS 100

/* How long to let go of it in one go, and to leave the BQL to others then */
#define OWED_SLICE_NS (2 * SCALE_MS)
#define OWED_PAUSE_MS 1

/* Balloon pages that are let go of between two looks at the clock: 2 MiB */
#define OWED_PIECE_PAGES ((2 * MiB) >> BALLOON_MAP_PAGE_SHIFT)

/* Balloon pages that are counted between two looks at the clock: 32 GiB */
#define COUNT_PIECE_PAGES ((32 * GiB) >> BALLOON_MAP_PAGE_SHIFT)

typedef struct BalloonMapBlock {
    BalloonMap *map;
    RAMBlock *rb;
    /* A bit for each balloon page; how many there are, and how many are set */
    unsigned long *given;
    uint64_t size;
    uint64_t pages;
    /*
     * Owed: pages that the guest gave back while discarding was inhibited,
     * which are not in the map before that is over.  NULL until there are such
     * pages.  Another host does not learn of them: there they stay populated.
     */
    unsigned long *owed;
    /* Where they are; empty if it does not end above its start */
    PageRun due;
    /* A bit for each chunk: it changed, and nobody took note of that yet */
    unsigned long *changed;
    QLIST_ENTRY(BalloonMapBlock) next;
} BalloonMapBlock;

/* With the BQL, but for @changed */
struct BalloonMap {
    struct rcu_head rcu;
    VirtIODevice *vdev;
    RAMBlockNotifier notifier;
    /* How often something has been discarded */
    uint64_t discards;
    /* Did discarding for the balloon ever succeed, or fail? */
    bool succeeded;
    bool failed;
    /* See balloon_map_hold() */
    bool held;
    /* Chunks that changed, of all blocks; read without a lock, too */
    uint64_t changed;
    /* Lets go of what is owed */
    QEMUTimer *owed_timer;
    /* NULL if it is off */
    BalloonEnforce *enforce;
    QLIST_HEAD(, BalloonMapBlock) blocks;
};

/* Of the balloon device, if there is one */
static BalloonMap *the_map;

static uint64_t to_page(uint64_t bytes)
{
    return bytes >> BALLOON_MAP_PAGE_SHIFT;
}

/* Returns NULL, too, if there is no map. */
static BalloonMapBlock *find_block(const BalloonMap *map, const RAMBlock *rb)
{
    BalloonMapBlock *block = NULL;

    assert(bql_locked());
    if (map) {
        QLIST_FOREACH(block, &map->blocks, next) {
            if (block->rb == rb) {
                break;
            }
        }
    }
    return block;
}

static uint64_t block_chunks(const BalloonMapBlock *block)
{
    return balloon_codec_chunks(block->size);
}

static BalloonMapBlock *find_or_add_block(BalloonMap *map, RAMBlock *rb)
{
    BalloonMapBlock *block = find_block(map, rb);

    if (!block) {
        block = g_new0(BalloonMapBlock, 1);
        block->map = map;
        block->rb = rb;
        block->size = to_page(rb->max_length);
        block->given = bitmap_new(block->size);
        block->changed = bitmap_new(block_chunks(block));
        QLIST_INSERT_HEAD(&map->blocks, block, next);
    }
    return block;
}

/* @chunks more of @block have changed; less than 0 if note was taken of them */
static void count_changed(BalloonMapBlock *block, int64_t chunks)
{
    qatomic_set(&block->map->changed, block->map->changed + chunks);
}

static void drop_block(BalloonMapBlock *block)
{
    QLIST_REMOVE(block, next);
    count_changed(block, -bitmap_count_one(block->changed,
                                           block_chunks(block)));
    g_free(block->given);
    g_free(block->owed);
    g_free(block->changed);
    g_free(block);
}

static void note_change(BalloonMapBlock *block, uint64_t page,
                        uint64_t npages)
{
    uint64_t chunk = page >> BALLOON_CHUNK_SHIFT;
    uint64_t end = ((page + npages - 1) >> BALLOON_CHUNK_SHIFT) + 1;

    while ((chunk = find_next_zero_bit(block->changed, end, chunk)) < end) {
        set_bit(chunk, block->changed);
        count_changed(block, 1);
    }
}

static uint64_t take_out(BalloonMapBlock *block, uint64_t page,
                         uint64_t npages)
{
    uint64_t n = page_run_clear(block->given, page, page + npages);

    if (n) {
        block->pages -= n;
        note_change(block, page, npages);
    }
    return n;
}

static void clear_range(BalloonMapBlock *block, uint64_t page,
                        uint64_t npages)
{
    balloon_enforce_remove(block->map->enforce, block->rb, page, page + npages);
    take_out(block, page, npages);
}

static void clear_owed(BalloonMapBlock *block, uint64_t page,
                       uint64_t npages)
{
    if (block->owed) {
        page_run_clear(block->owed, page, page + npages);
    }
}

static BalloonMapBlock *find_block_of_notifier(RAMBlockNotifier *n, void *host)
{
    ram_addr_t offset;

    return find_block(container_of(n, BalloonMap, notifier),
                      qemu_ram_block_from_host(host, false, &offset));
}

static void balloon_map_block_removed(RAMBlockNotifier *n, void *host,
                                      size_t size, size_t max_size)
{
    BalloonMapBlock *block = find_block_of_notifier(n, host);

    if (block) {
        balloon_enforce_drain(block->map->enforce);
        balloon_enforce_forget(block->map->enforce, block->rb);
        drop_block(block);
    }
}

static void balloon_map_block_resized(RAMBlockNotifier *n, void *host,
                                      size_t old_size, size_t new_size)
{
    BalloonMapBlock *block = find_block_of_notifier(n, host);

    if (block && new_size < old_size) {
        balloon_enforce_drain(block->map->enforce);
        clear_range(block, to_page(new_size), to_page(old_size - new_size));
        clear_owed(block, to_page(new_size), to_page(old_size - new_size));
    }
}

static void empty_block(BalloonMapBlock *block)
{
    balloon_enforce_remove(block->map->enforce, block->rb, 0, block->size);
    if (block->pages) {
        note_change(block, 0, block->size);
        /* This takes no longer than freeing it, whatever is set. */
        g_free(block->given);
        block->given = bitmap_new(block->size);
        block->pages = 0;
    }
    g_clear_pointer(&block->owed, g_free);
    block->due = (PageRun) { };
}

static void let_go_of_owed(void *opaque);

BalloonMap *balloon_map_new(VirtIODevice *vdev)
{
    BalloonMap *map = g_new0(BalloonMap, 1);

    assert(bql_locked());
    assert(!the_map);
    map->vdev = vdev;
    map->owed_timer = timer_new_ms(QEMU_CLOCK_REALTIME, let_go_of_owed, map);
    map->notifier.ram_block_removed = balloon_map_block_removed;
    map->notifier.ram_block_resized = balloon_map_block_resized;
    ram_block_notifier_add(&map->notifier);
    map->enforce = balloon_enforce_new(vdev, VIRTIO_BALLOON(vdev)->enforce);
    qatomic_rcu_set(&the_map, map);
    return map;
}

void balloon_map_free(BalloonMap *map)
{
    assert(bql_locked());
    assert(map == the_map);
    balloon_enforce_drain(map->enforce);
    qatomic_rcu_set(&the_map, NULL);
    /* That says of each RAM block that it goes. */
    ram_block_notifier_remove(&map->notifier);
    balloon_enforce_free(map->enforce);
    timer_free(map->owed_timer);
    g_free_rcu(map, rcu);
}

BalloonMap *balloon_map_get(void)
{
    assert(bql_locked());
    return the_map;
}

VirtIODevice *balloon_map_device(void)
{
    assert(bql_locked());
    return the_map ? the_map->vdev : NULL;
}

bool balloon_map_is_enforced(void)
{
    assert(bql_locked());
    return the_map && the_map->enforce &&
           virtio_host_has_feature(the_map->vdev,
                                   VIRTIO_BALLOON_F_MUST_TELL_HOST);
}

void balloon_map_rest(void)
{
    assert(bql_locked());
    if (the_map) {
        balloon_enforce_rest(the_map->enforce);
    }
}

void balloon_map_pinned(bool on)
{
    if (on && bql_locked()) {
        balloon_map_rest();
    }
}

bool balloon_map_takes_parts(const BalloonMap *map)
{
    assert(bql_locked());
    return map && virtio_vdev_has_feature(map->vdev,
                                          VIRTIO_BALLOON_F_MUST_TELL_HOST);
}

uint64_t balloon_map_discards(void)
{
    assert(bql_locked());
    return the_map ? the_map->discards : UINT64_MAX;
}

static bool is_empty(const BalloonMap *map)
{
    BalloonMapBlock *block;

    QLIST_FOREACH(block, &map->blocks, next) {
        if (block->pages) {
            return false;
        }
    }
    return true;
}

bool balloon_map_discards_failed(void)
{
    assert(bql_locked());
    return the_map && the_map->failed && !the_map->succeeded &&
           is_empty(the_map);
}

bool balloon_map_inhibited(void)
{
    assert(bql_locked());
    /*
     * Postcopy cannot deal with concurrent discards, and a background
     * snapshot has to save what a page held.
     */
    return ram_block_discard_is_disabled() ||
           migration_in_incoming_postcopy() || migration_in_bg_snapshot();
}

/* madvise() fails there; on hugetlbfs nothing is locked, and it is not used. */
static bool is_locked(const RAMBlock *rb)
{
    return should_mlock(mlock_state) &&
           rb->page_size == qemu_real_host_page_size();
}

static bool is_shared_file(const RAMBlock *rb)
{
    return rb->fd >= 0 && (rb->flags & RAM_SHARED);
}

bool balloon_map_can_discard(const RAMBlock *rb)
{
    return !is_locked(rb) || is_shared_file(rb);
}

/*
 * The same as ram_block_discard_range(), for memory that is locked: a hole in
 * the file takes the memory out of the page tables as well.
 */
static int punch_hole(RAMBlock *rb, uint64_t offset, uint64_t length)
{
    int ret = -ENOSYS;

#ifdef CONFIG_FALLOCATE_PUNCH_HOLE
    ret = fallocate(rb->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    rb->fd_offset + offset, length) ? -errno : 0;
#endif
    if (ret) {
        error_report_once("Memory that the guest gives back is not let go "
                          "of: %s: %s", rb->idstr, strerror(-ret));
    }
    return ret;
}

static bool discard(BalloonMap *map, RAMBlock *rb, uint64_t offset,
                    uint64_t length)
{
    /*
     * A migration that takes unpopulated memory for zeroes, and skips it, has
     * to look at this: it may have sent the old content, and nothing else tells
     * it that a page which the guest did not write to has changed.
     */
    bool tell = skip_migration_skips();
    int ret;

    if (!balloon_map_can_discard(rb)) {
        warn_report_once("Memory that the guest gives back is not let go of, "
                         "since it is locked. Use memory-backend-memfd for "
                         "it, or no -overcommit mem-lock");
        return false;
    }
    map->discards++;
    if (tell) {
        skip_told_note_discard(rb, offset, length);
    }
    ret = is_locked(rb) ? punch_hole(rb, offset, length)
                        : ram_block_discard_range(rb, offset, length);
    if (tell) {
        /*
         * It was noted before, so that the host is asked about a page whose
         * turn to be sent comes in the middle of this.  Whoever asked too early
         * took the note away, also for pages that are sent later, so it is
         * noted again.
         */
        skip_told_note_discard(rb, offset, length);
        /*
         * Only now, or the old content might be sent once more instead.  What
         * could not be discarded may be gone all the same, in part or, where
         * the hole was punched and madvise() failed then, as a whole.
         */
        ram_mark_dirty_range(rb, offset, length);
    }
    return !ret;
}

static bool is_in_map(const BalloonMapBlock *block, uint64_t page, uint64_t end)
{
    return find_next_zero_bit(block->given, end, page) >= end;
}

/* Is it [@page, @end), a part of one page of the host, that it lacks? */
static bool completes(const BalloonMapBlock *block, uint64_t page, uint64_t end)
{
    uint64_t unit = to_page(block->rb->page_size);
    uint64_t start = QEMU_ALIGN_DOWN(page, unit);

    return page < end && !is_in_map(block, page, end) &&
           is_in_map(block, start, page) &&
           is_in_map(block, end, start + unit);
}

/*
 * Put pages into the map, and discard the pages of the host that were named as
 * a whole, or that are in the map as a whole by now and were not before.  (If
 * one was before, it has been discarded, and what a guest that lies has written
 * to the rest of it since is not lost.)  What cannot be discarded leaves the
 * map.
 */
static void put_in(BalloonMapBlock *block, uint64_t page, uint64_t npages)
{
    BalloonMap *map = block->map;
    uint64_t unit = to_page(block->rb->page_size);
    uint64_t end = page + npages;
    PageRun whole = {
        .start = QEMU_ALIGN_UP(page, unit),
        .end = QEMU_ALIGN_DOWN(end, unit),
    };
    bool discarded = true;
    bool first, last;

    balloon_enforce_drain(map->enforce);
    first = completes(block, page, MIN(whole.start, end));
    last = completes(block, MAX(whole.end, page), end);
    whole.start -= first ? unit : 0;
    whole.end += last ? unit : 0;
    if (whole.start < whole.end) {
        balloon_enforce_add(map->enforce, block->rb, whole.start, whole.end);
        discarded = discard(map, block->rb,
                            whole.start << BALLOON_MAP_PAGE_SHIFT,
                            (whole.end - whole.start)
                            << BALLOON_MAP_PAGE_SHIFT);
        *(discarded ? &map->succeeded : &map->failed) = true;
    }
    block->pages += npages - page_run_count(block->given, page, end);
    bitmap_set(block->given, page, npages);
    note_change(block, page, npages);
    if (!discarded) {
        clear_range(block, whole.start, whole.end - whole.start);
    }
}

static bool is_due(const BalloonMapBlock *block)
{
    return block->due.start < block->due.end && block->owed &&
           find_next_bit(block->owed, block->due.end, block->due.start) <
           block->due.end;
}

/* Look after @ms at what is due, if anything is. */
static void schedule_owed(BalloonMap *map, int64_t ms)
{
    BalloonMapBlock *block;

    QLIST_FOREACH(block, &map->blocks, next) {
        if (is_due(block)) {
            timer_mod(map->owed_timer,
                      qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms);
            return;
        }
    }
}

/* Note pages that must not be discarded now. */
static void owe(BalloonMapBlock *block, uint64_t page, uint64_t npages)
{
    bool due = is_due(block);

    if (!block->owed) {
        block->owed = bitmap_new(block->size);
    }
    bitmap_set(block->owed, page, npages);
    block->due = (PageRun) {
        .start = due ? MIN(page, block->due.start) : page,
        .end = due ? MAX(page + npages, block->due.end) : page + npages,
    };
    if (!timer_pending(block->map->owed_timer)) {
        schedule_owed(block->map, OWED_POLL_MS);
    }
}

/* Returns false if there is more to do, but no time for it. */
static bool let_go_of_due(BalloonMapBlock *block, int64_t until)
{
    while (is_due(block)) {
        uint64_t at = find_next_bit(block->owed, block->due.end,
                                    block->due.start);
        PageRun run;

        page_run_next(block->owed, at,
                      MIN(ROUND_DOWN(at, OWED_PIECE_PAGES) + OWED_PIECE_PAGES,
                          block->due.end), &run);
        clear_owed(block, run.start, run.end - run.start);
        put_in(block, run.start, run.end - run.start);
        block->due.start = run.end;
        if (get_clock() >= until) {
            return false;
        }
    }
    block->due = (PageRun) { };
    return true;
}

/*
 * Nobody tells when discarding is not inhibited any more, so this looks at
 * times, as long as anything is due.
 *
 * With the guest stopped nothing is done: a migration may be about to end, or
 * has ended, and another QEMU may have the guest, and share its memory.
 */
static void let_go_of_owed(void *opaque)
{
    int64_t begin = get_clock();
    BalloonMap *map = opaque;
    BalloonMapBlock *block;
    bool done = true;

    if (balloon_map_inhibited() || map->held || !runstate_is_running()) {
        schedule_owed(map, OWED_POLL_MS);
        return;
    }
    trace_skip_bql_begin("owed");
    QLIST_FOREACH(block, &map->blocks, next) {
        done = done && let_go_of_due(block, begin + OWED_SLICE_NS);
    }
    trace_skip_bql_end("owed", (get_clock() - begin) / SCALE_US);
    if (!done) {
        schedule_owed(map, OWED_PAUSE_MS);
    }
}

void balloon_map_hold(bool on)
{
    assert(bql_locked());
    if (the_map) {
        the_map->held = on;
        if (!on) {
            schedule_owed(the_map, 0);
        }
    }
}

void balloon_map_inflate(BalloonMap *map, RAMBlock *rb, ram_addr_t offset,
                         size_t length)
{
    BalloonMapBlock *block = find_or_add_block(map, rb);
    bool inhibited = balloon_map_inhibited();

    if (balloon_map_takes_parts(map) && (inhibited || map->held)) {
        owe(block, to_page(offset), to_page(length));
    } else if (!inhibited) {
        clear_owed(block, to_page(offset), to_page(length));
        put_in(block, to_page(offset), to_page(length));
    }
    /* What cannot be owed may be in use again by the time that this is over. */
}

void balloon_map_report(BalloonMap *map, RAMBlock *rb, ram_addr_t offset,
                        size_t length)
{
    assert(bql_locked());
    discard(map, rb, offset, length);
}

void balloon_map_deflate(BalloonMap *map, MemoryRegion *mr, hwaddr offset,
                         size_t length)
{
    BalloonMapBlock *block = find_block(map, mr->ram_block);

    if (block) {
        uint64_t page = to_page(offset);
        uint64_t end = to_page(QEMU_ALIGN_UP(offset + length,
                                             BALLOON_MAP_PAGE_SIZE));

        balloon_enforce_drain(map->enforce);
        clear_owed(block, page, end - page);
        clear_range(block, page, end - page);
    }
}

void balloon_map_reset(BalloonMap *map)
{
    BalloonMapBlock *block;

    assert(bql_locked());
    if (!map) {
        return;
    }
    balloon_enforce_drain(map->enforce);
    QLIST_FOREACH(block, &map->blocks, next) {
        trace_balloon_map_reset(block->rb->idstr, block->pages);
        empty_block(block);
    }
}

uint64_t balloon_map_take_out(RAMBlock *rb, uint64_t start, uint64_t end,
                              uint64_t *first)
{
    BalloonMapBlock *block = find_block(the_map, rb);

    if (!block) {
        return 0;
    }
    *first = find_next_bit(block->given, end, start);
    return take_out(block, start, end - start);
}

const unsigned long *balloon_map_of_block(RAMBlock *rb)
{
    BalloonMapBlock *block = find_block(the_map, rb);

    return block ? block->given : NULL;
}

uint64_t balloon_map_pages(RAMBlock *rb)
{
    BalloonMapBlock *block = find_block(the_map, rb);

    return block ? block->pages : 0;
}

unsigned long *balloon_map_of_block_for_load(RAMBlock *rb, uint64_t **pages)
{
    BalloonMapBlock *block = find_or_add_block(the_map, rb);

    *pages = &block->pages;
    return block->given;
}

uint64_t balloon_map_changed(void)
{
    BalloonMap *map;

    RCU_READ_LOCK_GUARD();
    map = qatomic_rcu_read(&the_map);
    return map ? qatomic_read(&map->changed) : 0;
}

bool balloon_map_take_change(RAMBlock *rb, uint64_t *start, uint64_t *end)
{
    BalloonMapBlock *block = find_block(the_map, rb);
    uint64_t chunks;

    if (!block) {
        return false;
    }
    chunks = block_chunks(block);
    *start = find_next_bit(block->changed, chunks, *start);
    if (*start == chunks) {
        return false;
    }
    *end = find_next_zero_bit(block->changed, chunks, *start);
    bitmap_clear(block->changed, *start, *end - *start);
    count_changed(block, *start - *end);
    return true;
}

/*
 * List runs from page @from on, @max_runs at most.  Returns the page to go on
 * from, or the size of the map if there is nothing left.
 */
static uint64_t list_runs(const BalloonMapBlock *block, uint64_t from,
                          uint32_t max_runs, BalloonMapRunList **runs)
{
    PageRun run;

    for (; page_run_next(block->given, from, block->size, &run);
         from = run.end) {
        BalloonMapRun *value;

        if (!max_runs--) {
            return run.start;
        }
        value = g_new0(BalloonMapRun, 1);
        value->offset = run.start << BALLOON_MAP_PAGE_SHIFT;
        value->length = (run.end - run.start) << BALLOON_MAP_PAGE_SHIFT;
        QAPI_LIST_APPEND(runs, value);
    }
    return block->size;
}

static BalloonMapInfo *query_block(RAMBlock *rb, uint64_t offset,
                                   uint32_t max_runs)
{
    const BalloonMapBlock *block = find_block(the_map, rb);
    BalloonMapInfo *info = g_new0(BalloonMapInfo, 1);
    uint64_t next;

    info->id = g_strdup(rb->idstr);
    info->size = rb->used_length;
    if (!block) {
        return info;
    }
    info->pages = block->pages;
    next = list_runs(block, to_page(offset), max_runs, &info->runs);
    if (next < block->size) {
        info->has_next_offset = true;
        info->next_offset = next << BALLOON_MAP_PAGE_SHIFT;
    }
    return info;
}

/* Returns false if the RAM block, or the device, has gone. */
static bool count_enforced(BalloonMapInfo *info, uint64_t at, uint64_t end,
                           BalloonEnforceCounts *counts)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = qemu_ram_block_by_name(info->id);
    if (!rb || rb->used_length != info->size || !the_map ||
        !the_map->enforce) {
        return false;
    }
    balloon_enforce_count(the_map->enforce, rb, at, end, counts);
    if (end == to_page(info->size)) {
        balloon_enforce_fill_info(the_map->enforce, rb, counts, info);
    }
    return true;
}

/* To count the pages of 1 TiB takes 20 ms, so others have the BQL meanwhile. */
static void tell_enforced(BalloonMapInfoList *list)
{
    Look look = { .what = "enforced" };

    look_begin(&look);
    for (; list; list = list->next) {
        BalloonEnforceCounts counts = { };
        uint64_t size = to_page(list->value->size), at = 0, end;

        do {
            if (look_time_is_up(&look)) {
                look_pause(&look);
            }
            end = MIN(at + COUNT_PIECE_PAGES, size);
        } while (count_enforced(list->value, at, end, &counts) &&
                 (at = end) < size);
    }
    look_end(&look);
}

BalloonMapInfoList *qmp_query_balloon_map(const char *id, bool has_offset,
                                          uint64_t offset, bool has_max_runs,
                                          uint32_t max_runs, bool has_audit,
                                          bool audit, Error **errp)
{
    BalloonMapInfoList *list = NULL, **tail = &list;
    RAMBlock *rb;

    if (!balloon_map_get()) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_ACTIVE,
                  "No balloon device has been activated");
        return NULL;
    }
    if (has_offset && !id) {
        error_setg(errp, "Parameter 'offset' needs parameter 'id'");
        return NULL;
    }
    if (!has_max_runs) {
        max_runs = QUERY_RUNS_DEFAULT;
    } else if (max_runs > QUERY_RUNS_MAX) {
        error_setg(errp, "Parameter 'max-runs' must be at most %d",
                   QUERY_RUNS_MAX);
        return NULL;
    }

    balloon_enforce_drain(the_map->enforce);
    rcu_read_lock();
    RAMBLOCK_FOREACH(rb) {
        BalloonMapInfo *info;
        BalloonMapRunList *run;

        if (id ? strcmp(id, rb->idstr) : !rb->idstr[0]) {
            continue;
        }
        info = query_block(rb, has_offset ? offset : 0, max_runs);
        for (run = info->runs; run; run = run->next) {
            max_runs--;
        }
        QAPI_LIST_APPEND(tail, info);
    }
    rcu_read_unlock();
    if (the_map->enforce) {
        tell_enforced(list);
    }
    if (audit) {
        balloon_audit(list);
    }
    if (id && !list) {
        error_setg(errp, "There is no RAM block '%s'", id);
    }
    return list;
}
