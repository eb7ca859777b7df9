/*
 * Passes over the dirty bitmap, to skip what need not be sent
 *
 * After each synchronization of the dirty bitmap, what is dirty, wanted and not
 * populated is cleared from the dirty bitmap, and will be told to the
 * destination (see told.c).  Wanted is what the guest gave back
 * (capability skip-balloon), or all guest RAM (skip-unpopulated).  The first
 * time that is the bulk of it, later on what came in between.
 *
 *   RAM block   |                         |                         |     |
 *               +------- window ----------+------- window ----------+-----+
 *                 writes are tracked here,  and from here on not yet
 *                 |--piece--|--piece--|...    (1 GiB, see clear_bmap_shift)
 *                  one question each, of 256 MiB at most, fewer where little
 *                  is dirty and wanted
 *   time        |slice| |slice| |slice|...
 *                2 ms with the BQL, then others have it
 *
 * A guest may write to a page at any moment of this, so for each window the
 * order is: arm the tracking of writes, then ask whether a page is populated,
 * then clear its bit.  A write before the question populates the page and makes
 * it be sent; a write after it is tracked, and makes it be sent next time.
 *
 * A page of the map that is populated is sent all the same: that veto makes it
 * safe against a guest that uses memory without telling.  Where the host cannot
 * answer, a page counts as populated.
 *
 * The BQL is dropped to arm, too, which takes KVM milliseconds for a window.
 * Between two slices the balloon may change, and be reset, so each slice looks
 * it up anew.  Another synchronization in between, by the main loop, ends the
 * pass, and makes the next one due.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "migration/ram.h"
#include "dirty.h"
#include "hooks.h"
#include "pass.h"
#include "told.h"
#include "trace.h"

/* How long to hold the BQL in one go, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

/* How long to leave it to others; a mutex is not fair to who waits for it */
#define PAUSE_US 100
#define PAUSE_NS (PAUSE_US * SCALE_US)

/* Memory that is asked about in one go */
#define PIECE (256 * MiB)

/* The same where few pages are wanted, before the guest is stopped */
#define PIECE_MIN (4 * MiB)

/* How often to count huge pages if others discard some meanwhile */
#define COUNT_TRIES 3

/* Memory of which huge pages are counted with the guest stopped: 2 to 5 ms */
#define COUNT_LATE_MAX (128 * GiB)

/* A pass, and how far it has come.  All pages are target pages. */
typedef struct SkipPass {
    SkipMigration *m;
    bool final;
    RAMBlock *rb;
    PopulatedScan *scan;
    /* What the guest gave back of @rb; NULL if that is of no interest */
    const unsigned long *map;
    /* All of @rb is wanted */
    bool all;
    /* Pages that share a host page, and are only skipped together */
    uint64_t unit;
    /* Where the unit begins that was looked up in the map last, and was it? */
    uint64_t looked_at;
    bool is_given;
    /* log2 of the balloon pages of a target page */
    int shift;
    /* Where to go on in @rb */
    uint64_t at;
    /* Pages below this one have their writes tracked */
    uint64_t armed_end;
    /* Huge pages were counted with the guest stopped */
    bool counted_late;
    /* Dirty bits cleared in this slice */
    uint64_t cleared;
    /* When this slice began */
    int64_t slice_begin;
    /* Since when nobody else may have got the BQL */
    int64_t turn_begin;
    /* When it was dropped last */
    int64_t dropped;
    /* How often the dirty bitmap had been synchronized then */
    uint64_t syncs;
    /* Of the whole pass */
    SkipCounts counts;
    uint64_t runs;
    uint64_t calls;
    uint64_t slices;
    int64_t ns;
    int64_t longest_ns;
    /* Armed, and how long that took */
    uint64_t windows;
    int64_t arm_ns;
} SkipPass;

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

/* What is wanted of the block?  It may change whenever the BQL is dropped. */
static void look_up_wanted(SkipPass *pass)
{
    pass->map = skip_balloon_active() && skip_unpopulated_can_ask(pass->rb) &&
                balloon_map_pages(pass->rb)
                ? balloon_map_of_block(pass->rb) : NULL;
    pass->looked_at = UINT64_MAX;
    pass->all = pass->rb->skip_pages && pass->rb->skip_pages->all_wanted;
}

static bool is_anything_wanted(const SkipPass *pass)
{
    return pass->map || pass->all;
}

/*
 * The main loop may wait for RCU, as device_add does if it is refused, so that
 * is left, too.  The block stays, and in the list, since its memory region is
 * referenced.
 */
static void drop_bql(SkipPass *pass)
{
    slice_end(pass);
    rcu_read_unlock();
    bql_unlock();
    pass->dropped = get_clock();
}

/* Returns false if the pass cannot go on. */
static bool take_bql(SkipPass *pass)
{
    bql_lock();
    rcu_read_lock();
    slice_begin(pass);
    if (pass->slice_begin - pass->dropped >= PAUSE_NS) {
        /* Otherwise nobody who waits may have got it. */
        pass->turn_begin = pass->slice_begin;
    }
    look_up_wanted(pass);
    return pass->m->syncs == pass->syncs;
}

/* Let others have the BQL.  Returns false if the pass cannot go on. */
static bool pause_pass(SkipPass *pass)
{
    drop_bql(pass);
    g_usleep(PAUSE_US);
    return take_bql(pass);
}

/* ---- Windows ---- */

static uint64_t pages_of_block(const SkipPass *pass)
{
    return pass->rb->used_length >> qemu_target_page_bits();
}

/* Where the window of @page ends: what is armed together */
static uint64_t window_end(const SkipPass *pass, uint64_t page)
{
    uint64_t window = MAX(UINT64_C(1) << pass->rb->clear_bmap_shift,
                          pass->unit);

    return MIN(QEMU_ALIGN_DOWN(page, window) + window, pages_of_block(pass));
}

/*
 * Track writes to the window that @page lies in, while others have the BQL.
 * With the guest stopped nobody writes, and nobody is going to look at the
 * dirty log any more.  Returns false if the pass cannot go on; what was looked
 * up in the balloon may be old.
 */
static bool arm_window(SkipPass *pass, uint64_t page)
{
    uint64_t end = window_end(pass, page);
    bool go_on = true;
    int64_t begin;

    if (!pass->final) {
        drop_bql(pass);
        begin = get_clock();
        ram_clear_dirty_log_range(pass->rb, page, end - page);
        pass->arm_ns += get_clock() - begin;
        pass->windows++;
        go_on = take_bql(pass);
    }
    pass->armed_end = end;
    populated_scan_window(pass->scan, end << qemu_target_page_bits());
    return go_on;
}

/* ---- Wanted ---- */

/*
 * Find the next pages of the map in [@from, @end), both multiples of the unit.
 * A unit counts as given back if all of it was.
 */
static bool next_given(const SkipPass *pass, uint64_t from, uint64_t end,
                       PageRun *run)
{
    from <<= pass->shift;
    end = MIN(end, pages_of_block(pass)) << pass->shift;
    while (pass->map && page_run_next(pass->map, from, end, run)) {
        /* A unit in which it ends has a gap there. */
        from = QEMU_ALIGN_UP(run->end, pass->unit << pass->shift);
        if (page_run_shrink(run, pass->unit << pass->shift)) {
            run->start >>= pass->shift;
            run->end >>= pass->shift;
            return true;
        }
    }
    return false;
}

/* The pages of a word of the dirty bitmap that are in the map */
static unsigned long given_in_word(SkipPass *pass, size_t word)
{
    uint64_t page = word * (uint64_t)BITS_PER_LONG;
    uint64_t at = QEMU_ALIGN_DOWN(page, pass->unit);
    uint64_t end = QEMU_ALIGN_UP(page + BITS_PER_LONG, pass->unit);
    unsigned long bits = 0;
    PageRun run;

    if (!pass->map) {
        return 0;
    }
    if (pass->unit == 1 && !pass->shift) {
        return pass->map[word];
    }
    if (pass->unit >= BITS_PER_LONG) {
        /* To look at all of a unit for each of its words takes 25 ms a GiB. */
        if (pass->looked_at != at) {
            pass->looked_at = at;
            pass->is_given = next_given(pass, at, end, &run);
        }
        return pass->is_given ? ~0UL : 0;
    }
    for (; next_given(pass, at, end, &run); at = run.end) {
        uint64_t first = MAX(run.start, page);
        uint64_t stop = MIN(run.end, page + BITS_PER_LONG);

        if (first < stop) {
            bits |= MAKE_64BIT_MASK(first - page, stop - first);
        }
    }
    return bits;
}

/*
 * Find the unit at or after @pass->at that is dirty and wanted, and set @run to
 * where it begins, and where what is wanted behind it ends, as far as @limit.
 */
static bool next_wanted(SkipPass *pass, uint64_t limit, PageRun *run)
{
    unsigned long *dirty = pass->rb->bmap;
    uint64_t at = pass->at;

    while ((at = find_next_bit(dirty, limit, at)) < limit) {
        run->start = QEMU_ALIGN_DOWN(at, pass->unit);
        run->end = limit;
        if (pass->all) {
            return true;
        }
        if (!next_given(pass, run->start, limit, run)) {
            return false;
        }
        if (run->start <= at) {
            run->start = QEMU_ALIGN_DOWN(at, pass->unit);
            return true;
        }
        at = run->start;
    }
    return false;
}

/* ---- Ask ---- */

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
 * populated_scan_next(), for the pages up to @next, at most @end.  A unit that
 * is so in part counts as populated.
 */
static int ask_host(SkipPass *pass, uint64_t start, uint64_t end,
                    uint64_t *next)
{
    int bits = qemu_target_page_bits();
    uint64_t stop;
    int ret = populated_scan_next(pass->scan, start << bits, end << bits,
                                  &stop);

    if (ret == -EAGAIN && pass->final && pass->unit > 1) {
        ret = count_late(pass) ? populated_scan_next(pass->scan, start << bits,
                                                     end << bits, &stop) : 1;
    }
    if (!ret && stop >> bits < start + pass->unit) {
        ret = 1;
    }
    *next = ret ? MIN(QEMU_ALIGN_UP(DIV_ROUND_UP(stop, UINT64_C(1) << bits),
                                    pass->unit), end)
                : QEMU_ALIGN_DOWN(stop >> bits, pass->unit);
    return ret;
}

/* How far to ask, if what is dirty and wanted begins at @run->start? */
static uint64_t end_of_question(const SkipPass *pass, const PageRun *run,
                                uint64_t limit)
{
    unsigned long *dirty = pass->rb->bmap;
    int bits = qemu_target_page_bits();
    uint64_t stop = MIN(run->start + (PIECE >> bits), limit);
    uint64_t end = MIN(run->end, stop);

    end = find_next_zero_bit(dirty, end, find_next_bit(dirty, end, run->start));
    if (!pass->final) {
        /* To ask about each stretch on its own takes long if they are short. */
        end = MAX(end, MIN(run->start + (PIECE_MIN >> bits), stop));
    }
    return MIN(QEMU_ALIGN_UP(end, pass->unit), limit);
}

/* ---- Skip ---- */

/* Those of the dirty pages of a word that @mask has */
static void skip_word(SkipPass *pass, size_t word, unsigned long mask)
{
    unsigned long bits = pass->rb->bmap[word] & mask;
    unsigned long given = bits & given_in_word(pass, word);

    if (!pass->all) {
        bits = given;
    }
    if (!bits) {
        return;
    }
    pass->cleared += ctpopl(bits);
    pass->counts.skipped += ctpopl(given);
    pass->counts.unpopulated += ctpopl(bits & ~given);
    skip_told_skip_word(pass->rb, word, bits);
}

/* Pages that are all dirty and wanted, and all in the map or all not */
static void skip_run(SkipPass *pass, uint64_t start, uint64_t end, bool given)
{
    pass->cleared += end - start;
    *(given ? &pass->counts.skipped : &pass->counts.unpopulated) +=
        end - start;
    skip_told_skip(pass->rb, start, end);
}

/*
 * If the word that begins at @start is dirty as a whole, and in the map as a
 * whole or not at all, set @end to where that changes, if it does before.
 */
static bool is_alike(SkipPass *pass, uint64_t start, uint64_t *end,
                     bool *given)
{
    size_t word = BIT_WORD(start);
    unsigned long bits;
    PageRun run;

    if (*end - start < BITS_PER_LONG || start % BITS_PER_LONG ||
        ~pass->rb->bmap[word]) {
        return false;
    }
    bits = given_in_word(pass, word);
    if (bits && ~bits) {
        return false;
    }
    *given = bits;
    *end = find_next_zero_bit(pass->rb->bmap, *end, start);
    if (next_given(pass, QEMU_ALIGN_DOWN(start, pass->unit),
                   QEMU_ALIGN_UP(*end, pass->unit), &run)) {
        *end = MIN(*end, *given ? run.end : run.start);
    }
    return true;
}

/* Skip what is dirty and wanted of [@start, @end), which is not populated. */
static void skip_unpopulated(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;

    while ((start = find_next_bit(dirty, end, start)) < end) {
        uint64_t stop = end;
        bool given;

        if (is_alike(pass, start, &stop, &given)) {
            if (given || pass->all) {
                skip_run(pass, start, stop, given);
            }
        } else {
            stop = MIN(ROUND_UP(start + 1, BITS_PER_LONG), end);
            skip_word(pass, BIT_WORD(start),
                      BITMAP_FIRST_WORD_MASK(start) &
                      BITMAP_LAST_WORD_MASK(stop));
        }
        pass->runs++;
        start = stop;
    }
}

/* How many pages of the map in [@start, @end) are dirty? */
static uint64_t count_given(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;
    uint64_t count = 0;

    while (pass->map && (start = find_next_bit(dirty, end, start)) < end) {
        uint64_t stop = MIN(ROUND_UP(start + 1, BITS_PER_LONG), end);
        size_t word = BIT_WORD(start);

        count += ctpopl(dirty[word] & given_in_word(pass, word) &
                        BITMAP_FIRST_WORD_MASK(start) &
                        BITMAP_LAST_WORD_MASK(stop));
        start = stop;
    }
    return count;
}

static void note_undecided(SkipPass *pass, uint64_t start, int error)
{
    SkipPages *pages = pass->rb->skip_pages;

    if (!pages->undecided) {
        trace_skip_pass_undecided(pass->rb->idstr,
                                  start << qemu_target_page_bits(),
                                  strerror(-error));
    }
    pages->undecided = true;
    if (pass->all) {
        skip_unpopulated_give_up(pass->rb);
        pass->all = false;
    }
}

/*
 * Decide about what is dirty and wanted, as far as one question goes.  Returns
 * false if the pass cannot go on.
 */
static bool skip_next(SkipPass *pass, const PageRun *run, uint64_t limit)
{
    uint64_t next, given;
    int ret;

    if (run->start >= pass->armed_end) {
        /* Then look again. */
        return arm_window(pass, run->start);
    }
    ret = ask_host(pass, run->start, end_of_question(pass, run, limit), &next);
    if (!ret) {
        skip_unpopulated(pass, run->start, next);
    } else {
        given = count_given(pass, run->start, next);
        pass->counts.vetoed += given;
        if (ret < 0) {
            pass->counts.undecided += given;
            note_undecided(pass, run->start, ret);
        }
    }
    pass->at = next;
    return true;
}

/* ---- Huge pages ---- */

/*
 * Track writes to all windows of the block in which anything is dirty.
 * Returns false if the pass cannot go on; sets @all to whether it came to the
 * end, which it does not if nothing is wanted any more.
 */
static bool arm_dirty_windows(SkipPass *pass, bool *all)
{
    uint64_t npages = pages_of_block(pass);
    uint64_t at = 0;

    *all = false;
    while ((at = find_next_bit(pass->rb->bmap, npages, at)) < npages) {
        if (!is_anything_wanted(pass)) {
            return true;
        }
        if (!arm_window(pass, at)) {
            return false;
        }
        at = pass->armed_end;
        if (time_is_up(pass) && !pause_pass(pass)) {
            return false;
        }
    }
    pass->armed_end = npages;
    *all = true;
    return true;
}

/* One try; returns false if what it found out is worth nothing. */
static bool try_to_count(SkipPass *pass, bool *go_on)
{
    uint64_t discards = balloon_map_discards();

    balloon_map_hold(true);
    drop_bql(pass);
    WITH_RCU_READ_LOCK_GUARD() {
        populated_scan_count_block(pass->scan, pass->rb);
    }
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
    bool go_on, all;
    int i;

    if (pass->rb->page_size == qemu_real_host_page_size() ||
        runstate_check(RUN_STATE_FINISH_MIGRATE)) {
        return true;
    }
    if (pass->final) {
        populated_scan_count_block(pass->scan, pass->rb);
        return true;
    }
    go_on = arm_dirty_windows(pass, &all);
    if (!all) {
        /* What is asked about later has yet to be armed. */
        return go_on;
    }
    for (i = 0; go_on && i < COUNT_TRIES && !try_to_count(pass, &go_on); i++) {
        pass->calls += populated_scan_calls(pass->scan);
        populated_scan_free(pass->scan);
        pass->scan = populated_scan_of_block(pass->rb, POPULATED_TO_SKIP);
    }
    return go_on;
}

/* ---- RAM blocks ---- */

/* Returns false if the pass cannot go on. */
static bool skip_block(SkipPass *pass)
{
    bool go_on;

    look_up_wanted(pass);
    if (!is_anything_wanted(pass)) {
        return true;
    }
    pass->scan = populated_scan_of_block(pass->rb, POPULATED_TO_SKIP);
    go_on = count_huge_pages(pass);
    while (go_on && pass->at < pages_of_block(pass)) {
        uint64_t limit = window_end(pass, pass->at);
        PageRun run;

        if (next_wanted(pass, limit, &run)) {
            go_on = skip_next(pass, &run, limit);
        } else {
            pass->at = limit;
        }
        if (go_on && time_is_up(pass)) {
            go_on = pause_pass(pass);
        }
    }
    pass->calls += populated_scan_calls(pass->scan);
    populated_scan_free(pass->scan);
    return go_on;
}

/* Returns false if the pass could not be made to its end. */
static bool skip_blocks(SkipPass *pass)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        bool go_on;

        if (!rb->skip_pages) {
            continue;
        }
        pass->rb = rb;
        pass->unit = MAX(rb->page_size >> qemu_target_page_bits(), 1);
        pass->at = 0;
        pass->armed_end = 0;
        /* Somebody may remove it whenever the BQL is dropped. */
        memory_region_ref(rb->mr);
        go_on = skip_block(pass);
        memory_region_unref(rb->mr);
        if (!go_on) {
            return false;
        }
    }
    return true;
}

static void add_counts(SkipCounts *sum, const SkipCounts *counts)
{
    sum->skipped += counts->skipped;
    sum->vetoed += counts->vetoed;
    sum->undecided += counts->undecided;
    sum->unpopulated += counts->unpopulated;
}

void skip_pass_make(SkipMigration *m, bool final)
{
    SkipPass pass = {
        .m = m,
        .final = final,
        .shift = qemu_target_page_bits() - BALLOON_MAP_PAGE_SHIFT,
    };

    assert(bql_locked());
    trace_skip_pass_begin(final);
    do {
        pass.syncs = m->syncs;
        if (!final) {
            /* That may let others have the BQL. */
            ram_reset_tlbs();
        }
    } while (pass.syncs != m->syncs);

    slice_begin(&pass);
    pass.turn_begin = pass.slice_begin;
    if (skip_blocks(&pass)) {
        qatomic_set(&m->due, false);
        m->final_made = final;
    }
    slice_end(&pass);
    add_counts(&m->counts, &pass.counts);
    trace_skip_pass_end(pass.slices, pass.runs, pass.calls,
                        pass.ns / SCALE_US, pass.longest_ns / SCALE_US,
                        pass.windows, pass.arm_ns / SCALE_US);
    trace_skip_pass_counts(pass.counts.skipped, pass.counts.vetoed,
                           pass.counts.undecided, pass.counts.unpopulated);
}
