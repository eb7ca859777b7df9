/*
 * Background snapshots of guests with pages that are skipped
 *
 * A background snapshot has the memory of one moment, and is saved while the
 * guest runs on: writes are trapped, and a page is saved before it is written
 * to.  Only what is populated can be trapped, so all memory is populated
 * beforehand, which would undo all ballooning.
 *
 * But what is not populated at that moment is zero.  It need neither be saved
 * nor be trapped, and the guest may write to it at once.  So capability
 * skip-unpopulated populates nothing, and skips what is not populated by the
 * guest.  Capability skip-balloon populates all but the balloon.  It skips what
 * is still in the balloon at that moment; what the guest took back before it
 * is populated when it does so (see balloon-map.c).
 *
 * What is skipped must not be trapped either: on shared memory that is possible
 * for what is not populated, and a thread that holds the BQL would wait for a
 * page that is never saved, while the migration waits for the BQL to complete.
 *
 * The balloon map is not part of the snapshot: the guest may take back pages
 * while that is saved.  Who loads it starts with an empty map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qemu/userfaultfd.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/misc.h"
#include "migration/migration.h"
#include "migration/ram.h"
#include "control.h"
#include "hooks.h"
#include "pages.h"

/* Balloon pages that the BQL is held for in one go, to look at the map */
#define PIECE_PAGES ((256 * MiB) >> BALLOON_MAP_PAGE_SHIFT)

/* Stretches of the balloon in one piece; more than that are populated */
#define RUNS_MAX 1024

static void populate_pages(RAMBlock *rb, uint64_t page, uint64_t end)
{
    balloon_map_populate(rb, page << BALLOON_MAP_PAGE_SHIFT,
                         MIN(end << BALLOON_MAP_PAGE_SHIFT,
                             rb->used_length));
}

/* Returns the number of runs of the map in [@page, @end). */
static int look_up_runs(RAMBlock *rb, uint64_t page, uint64_t end,
                        PageRun *runs)
{
    const unsigned long *map;
    int n = 0;

    BQL_LOCK_GUARD();
    map = balloon_map_of_block(rb);
    while (map && n < RUNS_MAX && page_run_next(map, page, end, &runs[n])) {
        page = runs[n++].end;
    }
    return n;
}

static void populate_around_balloon(RAMBlock *rb)
{
    g_autofree PageRun *runs = g_new(PageRun, RUNS_MAX);
    uint64_t npages = DIV_ROUND_UP(rb->used_length, BALLOON_MAP_PAGE_SIZE);
    uint64_t piece;

    for (piece = 0; piece < npages; piece += PIECE_PAGES) {
        uint64_t end = MIN(piece + PIECE_PAGES, npages);
        uint64_t page = piece;
        int n = look_up_runs(rb, piece, end, runs);
        int i;

        for (i = 0; i < n; i++) {
            populate_pages(rb, page, runs[i].start);
            page = runs[i].end;
        }
        populate_pages(rb, page, end);
    }
}

typedef enum Spared {
    NOTHING,
    BALLOON,
    ALL,
} Spared;

static Spared what_to_spare(RAMBlock *rb)
{
    if (!migrate_skip_balloon() && !migrate_skip_unpopulated()) {
        return NOTHING;
    }
    BQL_LOCK_GUARD();
    if (skip_unpopulated_in_block(rb)) {
        rb->skip_pages->spared = true;
        return ALL;
    }
    if (!skip_balloon_active() || !balloon_map_of_block(rb) ||
        memory_region_has_ram_discard_manager(rb->mr)) {
        return NOTHING;
    }
    balloon_map_populate_deflated(true);
    rb->skip_pages->spared = true;
    return BALLOON;
}

bool skip_snapshot_populate(RAMBlock *rb)
{
    Spared spared = what_to_spare(rb);

    if (spared == BALLOON) {
        populate_around_balloon(rb);
    }
    return spared != NOTHING;
}

/*
 * Populate what was spared, and is saved nevertheless.  The guest is stopped,
 * so what is not populated is still zero.
 */
static void populate_late(bool all)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        const SkipPages *pages = rb->skip_pages;

        if (pages && pages->spared &&
            ((all && !skip_unpopulated_in_block(rb)) || pages->undecided)) {
            ram_block_populate_read(rb);
        }
    }
}

void skip_snapshot_begin(void)
{
    bool all;

    assert(bql_locked());
    /* Was the map emptied meanwhile? */
    all = !balloon_map_populate_deflated(false);
    if (skip_migration_skips()) {
        skip_migration_snapshot();
        populate_late(all);
    }
}

bool skip_snapshot_protect(RAMBlock *rb, int uffd_fd, int *ret)
{
    int bits = qemu_target_page_bits();
    uint64_t npages = rb->used_length >> bits;
    uint64_t start, end = 0;

    assert(bql_locked());
    if (!skip_migration_skips()) {
        return false;
    }
    *ret = 0;
    while (!*ret && (start = find_next_bit(rb->bmap, npages, end)) < npages) {
        end = find_next_zero_bit(rb->bmap, npages, start);
        *ret = uffd_change_protection(uffd_fd, rb->host + (start << bits),
                                      (end - start) << bits, true, false);
    }
    return true;
}
