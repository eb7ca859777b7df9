/*
 * Passes over the dirty bitmap, to skip what need not be sent
 *
 * After each synchronization of the dirty bitmap, what is dirty, and not
 * populated, is cleared from the dirty bitmap, if the guest gave it back
 * (capability skip-balloon) or wherever it lies (skip-unpopulated).  The
 * first time that is the bulk of it, later on what came in between.
 *
 * A guest may write to a page at any moment of this, so for each window of
 * memory the order is: arm the tracking of writes, then ask whether a page is
 * populated, then clear its bit.  A write before the question populates the
 * page and makes it be sent; a write after it is tracked, and makes it be sent
 * next time.
 *
 * A pass is led by what is dirty, and works in slices, between which it drops
 * the BQL: with the guest running it may have to go over a terabyte.  It also
 * drops it to arm, which takes KVM milliseconds for a window.  Between two
 * slices the balloon may change, and be reset, so each slice looks at all of
 * that anew.  Another synchronization in between, by the main loop, ends the
 * pass, and makes the next one due.
 *
 * Only the migration thread makes passes, and it makes the one that is due
 * before it sends anything.  But the main loop may synchronize while it sends.
 * Pages that are sent in that state, without a pass having looked at them, are
 * noted, and the next pass looks at those of them that are in the map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/balloon-map.h"
#include "migration/misc.h"
#include "migration/populated-block.h"
#include "migration/skip-balloon.h"
#include "migration/skip-drop.h"
#include "migration/skip-pass.h"
#include "migration/skip-record.h"
#include "migration/skip-unpopulated.h"
#include "system/runstate.h"
#include "migration.h"
#include "options.h"
#include "ram.h"
#include "trace.h"

/* How long to hold the BQL in one go, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

/* How long to leave it to others; a mutex is not fair to who waits for it */
#define PAUSE_US 100
#define PAUSE_NS (PAUSE_US * SCALE_US)

/* Memory that is asked about in one go */
#define PIECE (256 * MiB)

/* How often to count huge pages if others discard some meanwhile */
#define COUNT_TRIES 3

/* Memory of which huge pages are counted with the guest stopped: 2 to 5 ms */
#define COUNT_LATE_MAX (128 * GiB)

/* Pages below which stretches are not worth a step each */
#define SHORT_PAGES (16 * BITS_PER_LONG)

/* Bytes looked at for zeroes in one pass; bounds the time it takes */
#define ZERO_BUDGET (16 * MiB)

/* All of it is protected by the BQL. */
static struct {
    NotifierWithReturn setup_notifier[MIG_MODE__MAX];
    NotifierWithReturn precopy_notifier;
    /* The first pass has been made */
    bool first_done;
    /* The last pass is made, or has been, and postcopy begins */
    bool postcopy;
    /* A snapshot is saved by the main loop, with the guest stopped */
    bool savevm;
    uint64_t syncs;
} skip_pass;

bool skip_pass_behind;

static bool is_wanted(void)
{
    return skip_balloon_active() || skip_unpopulated_active();
}

void skip_pass_before_sync(void)
{
    if (is_wanted()) {
        assert(bql_locked());
        skip_pass.syncs++;
        qatomic_set(&skip_pass_behind, true);
        skip_unpopulated_before_sync();
    }
}

void skip_pass_clear_dirty(SkipPass *pass, uint64_t start, uint64_t end)
{
    bitmap_clear(pass->rb->bmap, start, end - start);
    if (pass->rb->file_bmap) {
        /*
         * With mapped-ram: what the file may have for these pages is not to
         * be loaded.  Other threads note other pages in the same words.
         */
        bitmap_test_and_clear_atomic(pass->rb->file_bmap, start, end - start);
    }
    pass->cleared += end - start;
    skip_record_skipped(pass->rb, start, end);
}

void skip_pass_make_dirty(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;

    while ((start = find_next_zero_bit(dirty, end, start)) < end) {
        set_bit(start, dirty);
        pass->cleared--;
    }
}

/* ---- Slices ---- */

static void slice_begin(SkipPass *pass)
{
    trace_skip_bql_begin("pass");
    pass->slice_begin = get_clock();
    pass->cleared = 0;
    ram_bitmap_lock();
}

static void slice_end(SkipPass *pass)
{
    int64_t ns;

    ram_bitmap_unlock(pass->cleared);
    ns = get_clock() - pass->slice_begin;
    pass->ns += ns;
    pass->longest_ns = MAX(pass->longest_ns, ns);
    pass->slices++;
    trace_skip_bql_end("pass", ns / SCALE_US);
}

static bool time_is_up(const SkipPass *pass)
{
    return !pass->final && get_clock() - pass->turn_begin > SLICE_NS;
}

/* What is to be skipped in the block?  It may change whenever we pause. */
static void look_up_wanted(SkipPass *pass)
{
    pass->map = skip_balloon_active() && skip_balloon_usable()
                ? balloon_map_of_block(pass->rb) : NULL;
    if (pass->map && !balloon_bitmap_count(pass->map)) {
        pass->map = NULL;
    }
    pass->unpopulated = !pass->silent && skip_unpopulated_in_block(pass->rb);
}

static void drop_bql(SkipPass *pass)
{
    slice_end(pass);
    bql_unlock();
    pass->dropped = get_clock();
}

/* The BQL has been taken again.  Returns false if the pass cannot go on. */
static bool go_on_with_bql(SkipPass *pass)
{
    slice_begin(pass);
    if (pass->slice_begin - pass->dropped >= PAUSE_NS) {
        /* Otherwise nobody who waits may have got it. */
        pass->turn_begin = pass->slice_begin;
    }
    look_up_wanted(pass);
    return skip_pass.syncs == pass->syncs;
}

/* Returns false if the pass cannot go on. */
static bool take_bql(SkipPass *pass)
{
    bql_lock();
    return go_on_with_bql(pass);
}

/* Let others have the BQL.  Returns false if the pass cannot go on. */
static bool pause_pass(SkipPass *pass)
{
    drop_bql(pass);
    g_usleep(PAUSE_US);
    /* What was looked up ahead is going to be old. */
    populated_scan_window(pass->scan,
                          pass->armed_end << qemu_target_page_bits());
    return take_bql(pass);
}

/* ---- One RAM block ---- */

/* Pages that share a host page, and can only be skipped together */
static uint64_t unit_of(const RAMBlock *rb)
{
    return MAX(rb->page_size >> qemu_target_page_bits(), 1);
}

/* The end of the window that @page lies in: whole chunks, and whole units */
static uint64_t window_end(const SkipPass *pass, uint64_t page)
{
    RAMBlock *rb = pass->rb;
    uint64_t window = MAX(UINT64_C(1) << rb->clear_bmap_shift, unit_of(rb));

    return MIN(QEMU_ALIGN_DOWN(page, window) + window,
               rb->used_length >> qemu_target_page_bits());
}

/*
 * Track writes to pages, while others have the BQL.  Returns false if the pass
 * cannot go on.
 */
static bool arm_without_bql(SkipPass *pass, uint64_t start, uint64_t end)
{
    MemoryRegion *mr = pass->rb->mr;
    int64_t begin;

    /* Somebody may remove it meanwhile. */
    memory_region_ref(mr);
    drop_bql(pass);
    begin = get_clock();
    ram_clear_dirty_log_range(pass->rb, start, end - start);
    pass->arm_ns += get_clock() - begin;
    pass->windows++;
    bql_lock();
    memory_region_unref(mr);
    return go_on_with_bql(pass);
}

/*
 * Track writes to the window that @page lies in.  With the guest stopped nobody
 * writes, and nobody is going to look at the dirty log any more.  Returns false
 * if the pass cannot go on; what was looked up in the balloon may be old.
 */
static bool arm_window(SkipPass *pass, uint64_t page)
{
    uint64_t end = window_end(pass, page);
    bool go_on = pass->final || arm_without_bql(pass, page, end);

    pass->armed_end = end;
    populated_scan_window(pass->scan, end << qemu_target_page_bits());
    return go_on;
}

/*
 * Of a private mapping of hugetlbfs nobody knows for certain, but by counting,
 * that a huge page is not populated.  If such a page is dirty with the guest
 * stopped, since it was given back after the pass before, count as far as that
 * takes no longer than some milliseconds.  Otherwise it counts as populated.
 */
static bool count_late(SkipPass *pass)
{
    if (pass->counted_late || populated_huge_bytes() > COUNT_LATE_MAX) {
        return false;
    }
    pass->counted_late = true;
    return !populated_scan_count_block(pass->scan, pass->rb);
}

/*
 * Are the pages from @start on populated?  Return value as of
 * populated_scan_next(), for the pages up to @next, at most @end.  A page that
 * is so in part counts as populated.
 */
static int ask_host(SkipPass *pass, uint64_t start, uint64_t end,
                    uint64_t *next)
{
    int bits = qemu_target_page_bits();
    uint64_t stop;
    int ret = populated_scan_next(pass->scan, start << bits, end << bits,
                                  &stop);

    if (ret == -EAGAIN && pass->final && unit_of(pass->rb) > 1) {
        ret = count_late(pass) ? populated_scan_next(pass->scan, start << bits,
                                                     end << bits, &stop) : 1;
    }
    *next = DIV_ROUND_UP(stop, UINT64_C(1) << bits);
    if (!ret && stop >> bits < *next) {
        ret = stop >> bits == start;
        *next = MAX(stop >> bits, start + 1);
    }
    return ret;
}

/*
 * Decide about dirty pages that lie in an armed window.  Returns where it
 * stopped: at @end, or earlier if the time is up, but not before it has gone
 * on, nor within a unit, which would be begun anew.
 */
static uint64_t skip_pages(SkipPass *pass, const SkipPolicy *policy,
                           uint64_t start, uint64_t end)
{
    while (start < end) {
        uint64_t next;
        int ret = ask_host(pass, start, end, &next);

        if (ret < 0) {
            policy->undecided(pass, start, next, ret);
        } else if (ret) {
            policy->populated(pass, start, next);
        } else {
            policy->unpopulated(pass, start, next);
        }
        start = next;
        if (QEMU_IS_ALIGNED(start, unit_of(pass->rb)) && time_is_up(pass)) {
            break;
        }
    }
    return start;
}

/* Decide about what is dirty in a stretch; return value as of skip_pages() */
static uint64_t skip_stretch(SkipPass *pass, const SkipPolicy *policy,
                             uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;

    while ((start = find_next_bit(dirty, end, start)) < end) {
        uint64_t dirty_end = find_next_zero_bit(dirty, end, start);

        pass->runs++;
        start = skip_pages(pass, policy, start, dirty_end);
        if (start < dirty_end) {
            return start;
        }
    }
    return end;
}

/*
 * Is the page at @start in the map, together with its unit?  Sets @end to
 * where that changes, if it does before.
 */
static bool in_map(const SkipPass *pass, uint64_t start, uint64_t *end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t unit = unit_of(pass->rb) << shift;
    uint64_t from = start << shift;
    BalloonRun run, whole;

    if (!pass->map) {
        return false;
    }
    for (; balloon_bitmap_next_run_before(pass->map, from, *end << shift,
                                          &run); from = run.end) {
        whole = run;
        if (!balloon_run_shrink(&whole, unit)) {
            continue;
        }
        if (whole.start == start << shift) {
            *end = whole.end >> shift;
            return true;
        }
        *end = whole.start >> shift;
        return false;
    }
    return false;
}

/*
 * Pages of the map that share a unit with pages that are not in the map.  They
 * do not count as given back.  Those that are dirty may be going to be sent,
 * whoever wrote to them, so they leave the map.
 */
static void forget_dirty_edges(SkipPass *pass, uint64_t start, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t from = start << shift;
    BalloonRun run;

    if (!pass->map || unit_of(pass->rb) << shift == 1) {
        return;
    }
    for (; balloon_bitmap_next_run_before(pass->map, from, end << shift, &run);
         from = run.end) {
        uint64_t at, next;

        for (at = run.start; at < run.end; at = next) {
            next = MIN(((at >> shift) + 1) << shift, run.end);
            if (test_bit(at >> shift, pass->rb->bmap)) {
                balloon_map_forget(pass->rb, at, next - at);
            }
        }
    }
}

/*
 * Skip the dirty pages of a stretch that has nothing behind it, word by word.
 * Those that were sent before are left: skip-unpopulated is to tell of them.
 */
static void skip_words(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;
    unsigned long *sent = pass->rb->skip_pages->sent;
    uint64_t next;

    for (; start < end; start = next) {
        size_t i = BIT_WORD(start);
        unsigned long bits, given, other = 0;

        next = MIN((i + UINT64_C(1)) * BITS_PER_LONG, end);
        bits = dirty[i] & BITMAP_FIRST_WORD_MASK(start) &
               BITMAP_LAST_WORD_MASK(next);
        given = bits & balloon_bitmap_word(pass->map,
                                           (uint64_t)i * BITS_PER_LONG);
        if (pass->unpopulated) {
            other = bits & ~given & ~sent[i];
        }
        dirty[i] &= ~(given | other);
        pass->skipped += ctpopl(given);
        pass->unpopulated_skipped += ctpopl(other);
        pass->cleared += ctpopl(given | other);
        skip_record_skipped_word(pass->rb, i, given | other);
    }
}

/*
 * If the map has a page here and a page there, to decide about each stretch on
 * its own takes long.  But wherever there is nothing behind the pages, words
 * of the bitmaps tell what becomes of them.  Has that not been done yet?
 */
static bool can_skip_ahead(const SkipPass *pass)
{
    return pass->map && pass->at >= pass->ahead_end &&
           unit_of(pass->rb) == 1 &&
           qemu_target_page_bits() == BALLOON_BITMAP_PAGE_SHIFT &&
           !pass->rb->file_bmap;
}

/* What this leaves dirty is for the others to decide about. */
static void skip_ahead(SkipPass *pass, uint64_t limit)
{
    int bits = qemu_target_page_bits();
    uint64_t at = pass->at;
    uint64_t end = MIN(at + (PIECE >> bits), limit);

    /* What is dirty leads: with the guest stopped that is next to nothing. */
    while ((at = find_next_bit(pass->rb->bmap, end, at)) < end) {
        uint64_t next, stop = end;

        if (pass->final) {
            /* Nor is what is not dirty looked at, which may take long. */
            stop = find_next_zero_bit(pass->rb->bmap, end, at);
        }
        if (!ask_host(pass, at, stop, &next)) {
            skip_words(pass, at, next);
        }
        at = next;
        if (time_is_up(pass)) {
            break;
        }
    }
    pass->ahead_end = at;
}

/*
 * Decide about the dirty pages from @pass->at on, as far as they are alike: in
 * the map, or not.  Returns false if the pass cannot go on.
 */
static bool skip_next(SkipPass *pass, uint64_t limit)
{
    uint64_t unit = unit_of(pass->rb);
    uint64_t start = QEMU_ALIGN_DOWN(pass->at, unit);
    uint64_t piece = MAX(PIECE >> qemu_target_page_bits(), unit);
    uint64_t end = MIN(start + piece, limit);
    bool given = in_map(pass, start, &end);
    bool ahead = end - start < SHORT_PAGES && can_skip_ahead(pass);

    if ((given || ahead || pass->unpopulated) && start >= pass->armed_end) {
        /* Then look again. */
        return arm_window(pass, start);
    }
    if (ahead) {
        skip_ahead(pass, limit);
    } else if (given) {
        pass->at = skip_stretch(pass, &skip_balloon_policy, start, end);
    } else {
        forget_dirty_edges(pass, start, end);
        pass->at = pass->unpopulated
                   ? skip_stretch(pass, &skip_unpopulated_policy, start, end)
                   : end;
    }
    return true;
}

/*
 * Pages of the map that were sent before a pass could look at them may hold
 * something, and the destination would discard what it got.  So they are
 * looked at now, like those that are yet to be sent.
 */
static void look_at_unseen(SkipPass *pass)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    RAMBlock *rb = pass->rb;
    uint64_t npages = rb->used_length >> qemu_target_page_bits();
    SkipPages *pages = rb->skip_pages;
    uint64_t start, end = 0;

    if (!pages || !pages->any_unseen) {
        return;
    }
    while (pass->map &&
           (start = find_next_bit(pages->unseen, npages, end)) < npages) {
        uint64_t from = start << shift;
        BalloonRun run;

        end = find_next_zero_bit(pages->unseen, npages, start);
        for (; balloon_bitmap_next_run_before(pass->map, from, end << shift,
                                              &run); from = run.end) {
            if (skip_pass.postcopy) {
                /* The last part of the map is gone already. */
                balloon_map_forget(rb, run.start, run.end - run.start);
            } else {
                balloon_map_note_change(rb, run.start, run.end - run.start);
            }
            skip_pass_make_dirty(pass, run.start >> shift,
                                 DIV_ROUND_UP(run.end, UINT64_C(1) << shift));
        }
    }
    bitmap_zero(pages->unseen, npages);
    pages->any_unseen = false;
}

/*
 * Track writes to all windows of the block in which anything is dirty.
 * Returns false if the pass cannot go on.
 */
static bool arm_dirty_windows(SkipPass *pass)
{
    uint64_t npages = pass->rb->used_length >> qemu_target_page_bits();
    uint64_t at = 0;

    while ((at = find_next_bit(pass->rb->bmap, npages, at)) < npages) {
        if (!arm_window(pass, at)) {
            return false;
        }
        at = pass->armed_end;
        if (time_is_up(pass) && !pause_pass(pass)) {
            return false;
        }
    }
    pass->armed_end = npages;
    return true;
}

/* One try; returns false if what it found out is worth nothing. */
static bool try_to_count(SkipPass *pass, bool *go_on)
{
    uint64_t discards = balloon_map_discards();

    balloon_map_hold(true);
    drop_bql(pass);
    populated_scan_count_block(pass->scan, pass->rb);
    *go_on = take_bql(pass);
    balloon_map_hold(false);
    return discards == balloon_map_discards();
}

/*
 * On hugetlbfs, count pages.  It takes long, so others have the BQL meanwhile.
 * What they discard would void the count, so that is put off where it can be,
 * and else the pages are counted again.  As all of the block is asked about at
 * once, all that is dirty has to be armed before.
 *
 * With the guest about to go on elsewhere there is no time for that.  What is
 * dirty by then and seems to be empty is little, and is read from the file; for
 * private mappings see count_late().  A snapshot has the time, and nobody runs
 * who could discard anything.
 *
 * Returns false if the pass cannot go on.
 */
static bool count_huge_pages(SkipPass *pass)
{
    bool go_on;
    int i;

    if (pass->rb->page_size == qemu_real_host_page_size() ||
        runstate_check(RUN_STATE_FINISH_MIGRATE)) {
        return true;
    }
    if (pass->final) {
        populated_scan_count_block(pass->scan, pass->rb);
        return true;
    }
    go_on = arm_dirty_windows(pass);
    for (i = 0; go_on && i < COUNT_TRIES && !try_to_count(pass, &go_on); i++) {
        pass->calls += populated_scan_calls(pass->scan);
        populated_scan_free(pass->scan);
        pass->scan = populated_scan_of_block(pass->rb, POPULATED_TO_SKIP);
    }
    return go_on;
}

/* Returns false if the pass cannot go on. */
static bool skip_block(SkipPass *pass, RAMBlock *rb)
{
    bool go_on;

    pass->rb = rb;
    pass->at = 0;
    pass->armed_end = 0;
    pass->ahead_end = 0;
    pass->silent = false;
    look_up_wanted(pass);
    look_at_unseen(pass);
    if (!pass->map && !pass->unpopulated) {
        return true;
    }

    pass->scan = populated_scan_of_block(rb, POPULATED_TO_SKIP);
    go_on = count_huge_pages(pass);
    while (go_on && pass->at < rb->used_length >> qemu_target_page_bits()) {
        uint64_t limit = window_end(pass, pass->at);

        pass->at = find_next_bit(rb->bmap, limit, pass->at);
        if (pass->at < limit) {
            go_on = skip_next(pass, limit);
        }
        if (go_on && time_is_up(pass)) {
            go_on = pause_pass(pass);
        }
    }
    pass->calls += populated_scan_calls(pass->scan);
    populated_scan_free(pass->scan);
    pass->scan = NULL;
    if (pass->silent) {
        skip_unpopulated_give_up(rb);
    }
    return go_on;
}

/* ---- All of them ---- */

/* Returns false if the pass could not be made to its end. */
static bool skip_blocks(SkipPass *pass)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (!skip_block(pass, rb)) {
            return false;
        }
    }
    return true;
}

/* To be called by the migration thread, with the BQL held */
static void make_pass(void)
{
    SkipPass pass = {
        /* Snapshots are of a guest that is stopped, too. */
        .final = runstate_check(RUN_STATE_FINISH_MIGRATE) ||
                 migrate_background_snapshot() || skip_pass.savevm,
        .zero_budget = ZERO_BUDGET >> qemu_target_page_bits(),
    };

    trace_skip_pass_begin(pass.final);
    do {
        pass.syncs = skip_pass.syncs;
        if (!pass.final) {
            /* That may let others have the BQL. */
            ram_reset_tlbs();
        }
    } while (pass.syncs != skip_pass.syncs);

    slice_begin(&pass);
    pass.turn_begin = pass.slice_begin;
    if (skip_blocks(&pass)) {
        qatomic_set(&skip_pass_behind, false);
    }
    slice_end(&pass);
    skip_balloon_count_pass(&pass);
    skip_unpopulated_count_pass(&pass);
    trace_skip_pass_end(pass.slices, pass.runs, pass.calls,
                        pass.ns / SCALE_US, pass.longest_ns / SCALE_US,
                        pass.windows, pass.arm_ns / SCALE_US);
}

static bool in_migration_thread(void)
{
    return skip_pass.savevm ||
           qemu_thread_is_self(&migrate_get_current()->thread);
}

void skip_pass_first(void)
{
    /* Nobody tracks what is written before a background snapshot begins. */
    if (!skip_pass.first_done && is_wanted() &&
        !migrate_background_snapshot()) {
        skip_pass.first_done = true;
        /*
         * The pass makes nothing of what changes behind it, so the map that
         * is sent next is complete but for changes noted from here on.
         */
        balloon_map_changes_reset();
        make_pass();
    }
}

void skip_pass_last(void)
{
    assert(bql_locked());
    if (skip_pass.first_done && is_wanted()) {
        skip_pass.postcopy = true;
        make_pass();
        skip_pass.first_done = false;
    }
}

void skip_pass_snapshot(void)
{
    assert(bql_locked());
    assert(!runstate_is_running());
    make_pass();
}

void skip_pass_catch_up(void)
{
    if (!qatomic_read(&skip_pass_behind)) {
        return;
    }
    BQL_LOCK_GUARD();
    if (skip_pass.first_done && is_wanted()) {
        make_pass();
    }
}

static int skip_pass_precopy_notify(NotifierWithReturn *n, void *data,
                                    Error **errp)
{
    PrecopyNotifyData *pnd = data;

    switch (pnd->reason) {
    case PRECOPY_NOTIFY_SETUP:
        /*
         * The first synchronization comes with the list of RAM blocks locked,
         * which is no place to drop the BQL; this is.
         */
        skip_pass_first();
        break;
    case PRECOPY_NOTIFY_AFTER_BITMAP_SYNC:
        assert(bql_locked());
        if (skip_pass.first_done && is_wanted() && in_migration_thread()) {
            make_pass();
        }
        break;
    default:
        break;
    }
    return 0;
}

/* ---- What is known of the pages ---- */

static void free_pages(SkipPages *pages)
{
    trace_skip_pass_pages_free(pages);
    g_free(pages->unseen);
    g_free(pages->sent);
    g_free(pages->zero);
    g_free(pages->discarded);
    g_free(pages->seen);
    populated_scan_free(pages->discarded_scan);
    g_free(pages);
}

/* The threads of a migration may still be looking at them. */
static void drop_pages_of(RAMBlock *rb)
{
    SkipPages *pages = rb->skip_pages;

    if (pages) {
        qatomic_rcu_set(&rb->skip_pages, NULL);
        call_rcu(pages, free_pages, rcu);
    }
}

static void drop_pages(void)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        drop_pages_of(rb);
    }
}

static void add_pages(void)
{
    RAMBlock *rb;

    drop_pages();
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipPages *pages = g_new0(SkipPages, 1);

        trace_skip_pass_pages_new(rb->idstr, pages);
        pages->unseen = bitmap_new(rb->max_length >> qemu_target_page_bits());
        qatomic_rcu_set(&rb->skip_pages, pages);
    }
    skip_record_start();
}

/*
 * The guest may eject a DIMM while it migrates, if it was asked to before.  (It
 * is the only one to do that: a migration under way inhibits the request.)
 */
static void block_removed(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    RAMBlock *rb;

    assert(bql_locked());
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (rb->host == host) {
            drop_pages_of(rb);
        }
    }
}

static RAMBlockNotifier ram_notifier = {
    .ram_block_removed = block_removed,
};

/* ---- Migrations begin and end ---- */

static void start(void)
{
    skip_balloon_start();
    if (skip_balloon_active() || migrate_skip_unpopulated()) {
        add_pages();
    }
    skip_unpopulated_start();
}

static void stop(void)
{
    skip_balloon_stop();
    skip_unpopulated_stop();
    balloon_map_populate_deflated(false);
    qatomic_set(&skip_pass_behind, false);
    /* Postcopy still has pages to send as zeroes. */
    if (!skip_pass.postcopy || !migration_is_running()) {
        drop_pages();
    }
}

static void forget(void)
{
    skip_pass.first_done = false;
    skip_pass.postcopy = false;
    skip_record_forget();
    skip_balloon_forget();
    skip_unpopulated_forget();
}

/* What only turns out when a migration begins */
static bool check_setup(Error **errp)
{
    const char *name = migrate_skip_balloon() ? "skip-balloon"
                                              : "skip-unpopulated";

    if (!migrate_skip_balloon() && !migrate_skip_unpopulated()) {
        return true;
    }
    if (migrate_rdma()) {
        /* It registers memory with the adapter, which discarding would undo. */
        error_setg(errp, "Capability '%s' cannot be used together with RDMA",
                   name);
        return false;
    }
    if (migration_in_incoming_postcopy()) {
        /* Pages that are yet to come are not populated, and not zero. */
        error_setg(errp, "Capability '%s' cannot be used before the incoming "
                   "postcopy migration has completed", name);
        return false;
    }
    return true;
}

static int skip_pass_setup_notify(NotifierWithReturn *n, MigrationEvent *e,
                                  Error **errp)
{
    assert(bql_locked());

    if (e->type != MIG_EVENT_PRECOPY_SETUP) {
        stop();
        return 0;
    }
    forget();
    if (!check_setup(errp)) {
        return -EINVAL;
    }
    start();
    return 0;
}

void skip_pass_savevm_begin(void)
{
    assert(bql_locked());
    forget();
    /* These are not for snapshots; whoever has them set gets all of it. */
    if (!migrate_mapped_ram() && !migrate_multifd() &&
        !migrate_background_snapshot() && !migrate_postcopy_ram() &&
        !migration_in_incoming_postcopy()) {
        skip_pass.savevm = true;
        start();
    }
}

void skip_pass_savevm_end(void)
{
    stop();
    skip_pass.savevm = false;
}

bool skip_pass_in_savevm(void)
{
    return skip_pass.savevm;
}

bool skip_pass_caps_check(const bool *caps, Error **errp)
{
    static const MigrationCapability ours[] = {
        MIGRATION_CAPABILITY_SKIP_BALLOON,
        MIGRATION_CAPABILITY_SKIP_UNPOPULATED,
    };
    static const MigrationCapability unsupported[] = {
        MIGRATION_CAPABILITY_X_COLO,
        MIGRATION_CAPABILITY_RDMA_PIN_ALL,
    };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(ours); i++) {
        for (j = 0; j < ARRAY_SIZE(unsupported); j++) {
            if (caps[ours[i]] && caps[unsupported[j]]) {
                error_setg(errp, "Capability '%s' cannot be used together "
                           "with capability '%s'",
                           MigrationCapability_str(ours[i]),
                           MigrationCapability_str(unsupported[j]));
                return false;
            }
        }
    }
    if ((caps[MIGRATION_CAPABILITY_SKIP_BALLOON] ||
         caps[MIGRATION_CAPABILITY_SKIP_UNPOPULATED]) &&
        caps[MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT] &&
        caps[MIGRATION_CAPABILITY_MAPPED_RAM]) {
        /* QEMU never writes the bitmap of such a file. */
        error_setg(errp, "Capability '%s' cannot be used together with "
                   "capabilities 'background-snapshot' and 'mapped-ram'",
                   caps[MIGRATION_CAPABILITY_SKIP_BALLOON]
                   ? "skip-balloon" : "skip-unpopulated");
        return false;
    }
    return true;
}

void skip_pass_init(void)
{
    MigMode mode;

    populated_init();
    skip_drop_init();
    ram_block_notifier_add(&ram_notifier);
    skip_pass.precopy_notifier.notify = skip_pass_precopy_notify;
    precopy_add_notifier(&skip_pass.precopy_notifier);
    for (mode = 0; mode < MIG_MODE__MAX; mode++) {
        migration_add_notifier_mode(&skip_pass.setup_notifier[mode],
                                    skip_pass_setup_notify, mode);
    }
}
