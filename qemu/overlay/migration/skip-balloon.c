/*
 * Migration capability skip-balloon: do not scan and do not send memory that
 * the guest gave back through virtio-balloon
 *
 * The rule: a page is skipped only if the guest gave it back (the balloon map
 * says so) and the host has let go of it (it is not populated).  A page of
 * the map that is populated is sent all the same; that veto makes it safe
 * against a guest that uses memory without telling.
 *
 * After each synchronization of the dirty bitmap, what is dirty, in the map
 * and not populated is cleared from the dirty bitmap.  The first time that is
 * the whole balloon, later on what was ballooned in between.  A guest may
 * write to a page at any moment of this, so for each chunk of memory the
 * order is: arm the tracking of writes, then ask whether the page is
 * populated, then clear its bit.  A write before the question populates the
 * page and makes it be sent; a write after it is tracked, and makes it be sent
 * next time.
 *
 * Where the host cannot answer, a page counts as populated: only a guest that
 * keeps its word would be safe if the map alone decided.
 *
 * A page with a veto leaves the balloon map unless it holds zeroes only: the
 * guest, or something else, uses it.  So what is in the map in the end reads
 * as zero, and the destination, which gets the map (see balloon-section.c),
 * may discard it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "hw/virtio/virtio.h"
#include "migration/balloon-map.h"
#include "migration/misc.h"
#include "migration/populated-block.h"
#include "migration/skip-balloon.h"
#include "migration.h"
#include "options.h"
#include "ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "trace.h"

/* Bytes looked at for zeroes in one pass; bounds the time it takes */
#define ZERO_BUDGET (16 * MiB)

/* All of it is protected by the BQL. */
static struct {
    NotifierWithReturn setup_notifier[MIG_MODE__MAX];
    NotifierWithReturn precopy_notifier;
    /* A migration has been started since QEMU runs */
    bool decided;
    /* The migration that status is about is under way */
    bool running;
    /* No pass over the dirty bitmap has been made yet */
    bool first_pass;
    /* The map was not to be relied on at some moment of this migration */
    bool lost;
    SkipBalloonStatus status;
    SkipBalloonReason reason;
    uint64_t skipped_pages;
    uint64_t vetoed_pages;
    uint64_t undecided_pages;
    uint64_t map_bytes;
    uint64_t final_map_bytes;
} skip_balloon;

/* One pass over the dirty bitmap of one RAM block */
typedef struct SkipPass {
    RAMBlock *rb;
    PopulatedScan *scan;
    /* Target pages below this one have their writes tracked */
    uint64_t armed_end;
    /* Target pages that may still be looked at for zeroes */
    uint64_t zero_budget;
    uint64_t skipped;
    uint64_t vetoed;
    /* Of these, how many because the host could not answer */
    uint64_t undecided;
    uint64_t runs;
    uint64_t calls;
    /* Time spent, without waiting for locks and virtual CPUs */
    int64_t ns;
} SkipPass;

static bool migrate_skip_balloon(void)
{
    return migrate_get_current()->capabilities[
        MIGRATION_CAPABILITY_SKIP_BALLOON];
}

static bool must_tell_host(void)
{
    return virtio_vdev_has_feature(balloon_map_device(),
                                   VIRTIO_BALLOON_F_MUST_TELL_HOST);
}

bool skip_balloon_active(void)
{
    return skip_balloon.running &&
           skip_balloon.status == SKIP_BALLOON_STATUS_ACTIVE;
}

bool skip_balloon_usable(void)
{
    bool usable = balloon_map_device() && must_tell_host() &&
                  !ram_block_discard_is_disabled();

    if (!usable && !balloon_map_is_empty()) {
        /* Nobody looks at what is in the map now, so it stays unusable. */
        skip_balloon.lost = true;
    }
    return usable && !skip_balloon.lost;
}

static void decide(void)
{
    skip_balloon.decided = true;
    skip_balloon.running = true;
    skip_balloon.first_pass = true;
    skip_balloon.lost = false;
    skip_balloon.skipped_pages = 0;
    skip_balloon.vetoed_pages = 0;
    skip_balloon.undecided_pages = 0;
    skip_balloon.map_bytes = 0;
    skip_balloon.final_map_bytes = 0;
    skip_balloon.status = SKIP_BALLOON_STATUS_DISABLED;

    if (!balloon_map_device()) {
        skip_balloon.reason = SKIP_BALLOON_REASON_NO_DEVICE;
    } else if (!must_tell_host()) {
        skip_balloon.reason = SKIP_BALLOON_REASON_MUST_TELL_HOST;
    } else if (ram_block_discard_is_disabled()) {
        skip_balloon.reason = SKIP_BALLOON_REASON_DISCARD_INHIBITED;
    } else {
        skip_balloon.status = SKIP_BALLOON_STATUS_ACTIVE;
    }

    balloon_map_track(skip_balloon_active());
    trace_skip_balloon_setup(
        SkipBalloonStatus_str(skip_balloon.status),
        skip_balloon.status == SKIP_BALLOON_STATUS_ACTIVE
        ? "" : SkipBalloonReason_str(skip_balloon.reason));
}

/* Arm the tracking of writes for the chunk of memory that @page lies in. */
static void arm_chunk(SkipPass *pass, uint64_t page)
{
    RAMBlock *rb = pass->rb;
    uint64_t chunk = UINT64_C(1) << rb->clear_bmap_shift;

    pass->armed_end = QEMU_ALIGN_DOWN(page, chunk) + chunk;
    ram_clear_dirty_log_range(rb, page, 1);
    populated_scan_window(pass->scan,
                          pass->armed_end << qemu_target_page_bits());
}

/*
 * Target pages that are populated; they stay dirty, and are sent.
 *
 * If they hold nothing but zeroes, it was not the guest who populated them: a
 * huge page that the host gave to a neighbour of theirs, or a reader of
 * shared memory.  Those stay in the map.  The destination is told, so that it
 * discards the zeroes that it is sent.  All others leave the map.
 */
static void veto(SkipPass *pass, uint64_t start, uint64_t end)
{
    RAMBlock *rb = pass->rb;
    int bits = qemu_target_page_bits();
    int shift = bits - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t unit = MAX(rb->page_size >> bits, 1);

    pass->vetoed += end - start;
    while (start < end && pass->zero_budget >= unit) {
        uint64_t next = MIN(QEMU_ALIGN_DOWN(start, unit) + unit, end);
        uint64_t npages = next - start;

        pass->zero_budget -= unit;
        if (buffer_is_zero(rb->host + (start << bits), npages << bits)) {
            balloon_map_note_change(rb, start << shift, npages << shift);
        } else {
            balloon_map_forget(rb, start << shift, npages << shift);
        }
        start = next;
    }
    if (start < end) {
        balloon_map_forget(rb, start << shift, (end - start) << shift);
    }
}

/* Target pages of which the host does not tell whether they are populated */
static void undecided(SkipPass *pass, uint64_t start, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;

    pass->vetoed += end - start;
    pass->undecided += end - start;
    balloon_map_forget(pass->rb, start << shift, (end - start) << shift);
}

/* Skip dirty target pages that lie in one chunk, but for the populated ones. */
static void skip_pages(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;
    int bits = qemu_target_page_bits();

    while (start < end) {
        uint64_t s = end << bits, e = end << bits;
        int ret = populated_scan_next(pass->scan, start << bits, end << bits,
                                      &s, &e);
        uint64_t veto_start = s >> bits;
        uint64_t veto_end = DIV_ROUND_UP(e, UINT64_C(1) << bits);

        if (ret < 0) {
            if (!pass->undecided) {
                trace_skip_balloon_host_silent(pass->rb->idstr, start << bits,
                                               strerror(-ret));
            }
            undecided(pass, start, end);
            return;
        }
        bitmap_clear(dirty, start, veto_start - start);
        pass->skipped += veto_start - start;
        if (veto_start < veto_end) {
            veto(pass, veto_start, veto_end);
        }
        start = veto_end;
    }
}

/* Skip what is dirty in a run of target pages that the guest gave back. */
static void skip_run(SkipPass *pass, uint64_t start, uint64_t end)
{
    unsigned long *dirty = pass->rb->bmap;

    while ((start = find_next_bit(dirty, end, start)) < end) {
        uint64_t dirty_end = find_next_zero_bit(dirty, end, start);

        pass->runs++;
        while (start < dirty_end) {
            uint64_t piece_end;

            if (start >= pass->armed_end) {
                arm_chunk(pass, start);
            }
            piece_end = MIN(dirty_end, pass->armed_end);
            skip_pages(pass, start, piece_end);
            start = piece_end;
        }
    }
}

/*
 * Pages of the map that share a unit with pages that are not in the map.  They
 * cannot be skipped.  Those that are dirty are going to be sent, whoever wrote
 * to them, so they leave the map.
 */
static void forget_dirty_edge(RAMBlock *rb, uint64_t start, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;

    while (start < end) {
        uint64_t next = MIN(((start >> shift) + 1) << shift, end);

        if (test_bit(start >> shift, rb->bmap)) {
            balloon_map_forget(rb, start, next - start);
        }
        start = next;
    }
}

/* Skip what can be skipped of a run of the map. */
static void skip_map_run(SkipPass *pass, BalloonRun run, uint64_t unit)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    BalloonRun whole = run;

    if (balloon_run_shrink(&whole, unit)) {
        forget_dirty_edge(pass->rb, run.start, whole.start);
        forget_dirty_edge(pass->rb, whole.end, run.end);
        skip_run(pass, whole.start >> shift, whole.end >> shift);
    } else {
        forget_dirty_edge(pass->rb, run.start, run.end);
    }
}

/*
 * Skip what is both dirty and in the map.  Led by what is dirty: that is all
 * in the first pass, and little in the last one, when the guest is stopped.
 */
static void skip_dirty(SkipPass *pass, const BalloonBitmap *bitmap)
{
    RAMBlock *rb = pass->rb;
    int bits = qemu_target_page_bits();
    int shift = bits - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t npages = rb->used_length >> bits;
    uint64_t unit = MAX(1, rb->page_size >> bits);
    uint64_t start = 0;

    while ((start = find_next_bit(rb->bmap, npages, start)) < npages) {
        uint64_t end = find_next_zero_bit(rb->bmap, npages, start);
        BalloonRun run;
        uint64_t from;

        end = MIN(QEMU_ALIGN_UP(end, unit), npages);
        for (from = QEMU_ALIGN_DOWN(start, unit) << shift;
             balloon_bitmap_next_run_before(bitmap, from, end << shift, &run);
             from = run.end) {
            skip_map_run(pass, run, unit << shift);
        }
        start = end;
    }
}

/* Called with the bitmap_mutex held, for each RAM block that is migrated */
static uint64_t skip_block(RAMBlock *rb, void *opaque)
{
    SkipPass *total = opaque;
    const BalloonBitmap *bitmap = balloon_map_of_block(rb);
    SkipPass pass = { .rb = rb, .zero_budget = total->zero_budget };
    int64_t begin = get_clock();

    /* Getting here may have let the guest reset the device. */
    if (!bitmap || !skip_balloon_usable()) {
        return 0;
    }

    pass.scan = populated_scan_of_block(rb);
    skip_dirty(&pass, bitmap);
    total->calls += populated_scan_calls(pass.scan);
    populated_scan_free(pass.scan);

    total->zero_budget = pass.zero_budget;
    total->skipped += pass.skipped;
    total->vetoed += pass.vetoed;
    total->undecided += pass.undecided;
    total->runs += pass.runs;
    total->ns += get_clock() - begin;
    return pass.skipped;
}

static void skip_dirty_pages(void)
{
    SkipPass total = {
        .zero_budget = ZERO_BUDGET >> qemu_target_page_bits(),
    };

    trace_skip_balloon_sync_begin();
    ram_skip_dirty_pages(skip_block, &total);
    skip_balloon.skipped_pages += total.skipped;
    skip_balloon.vetoed_pages += total.vetoed;
    skip_balloon.undecided_pages += total.undecided;
    trace_skip_balloon_sync_end(total.skipped, total.vetoed, total.runs,
                                total.calls, total.ns / SCALE_US);
}

static int skip_balloon_precopy_notify(NotifierWithReturn *n, void *data,
                                       Error **errp)
{
    PrecopyNotifyData *pnd = data;

    if (pnd->reason != PRECOPY_NOTIFY_AFTER_BITMAP_SYNC ||
        !skip_balloon_active()) {
        return 0;
    }
    assert(bql_locked());

    /*
     * This pass makes nothing of what changes behind it, so the map that is
     * sent at setup is complete but for changes noted from here on.
     */
    if (skip_balloon.first_pass) {
        skip_balloon.first_pass = false;
        balloon_map_changes_reset();
    }

    if (skip_balloon_usable() && !balloon_map_is_empty()) {
        skip_dirty_pages();
    }
    return 0;
}

static int skip_balloon_setup_notify(NotifierWithReturn *n, MigrationEvent *e,
                                     Error **errp)
{
    assert(bql_locked());

    if (e->type != MIG_EVENT_PRECOPY_SETUP) {
        skip_balloon.running = false;
        balloon_map_track(false);
        return 0;
    }
    skip_balloon.decided = false;
    if (!migrate_skip_balloon()) {
        return 0;
    }
    if (migrate_mode() != MIG_MODE_NORMAL) {
        error_setg(errp, "Capability 'skip-balloon' does not support "
                   "migration mode '%s'", MigMode_str(migrate_mode()));
        return -EINVAL;
    }
    decide();
    return 0;
}

void skip_balloon_count_map_bytes(uint64_t bytes, bool final)
{
    skip_balloon.map_bytes += bytes;
    if (final) {
        skip_balloon.final_map_bytes += bytes;
    }
}

bool skip_balloon_caps_check(const bool *caps, Error **errp)
{
    static const MigrationCapability unsupported[] = {
        MIGRATION_CAPABILITY_POSTCOPY_RAM,
        MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT,
        MIGRATION_CAPABILITY_MAPPED_RAM,
        MIGRATION_CAPABILITY_X_IGNORE_SHARED,
        MIGRATION_CAPABILITY_X_COLO,
        MIGRATION_CAPABILITY_RDMA_PIN_ALL,
    };
    int i;

    if (!caps[MIGRATION_CAPABILITY_SKIP_BALLOON]) {
        return true;
    }
    for (i = 0; i < ARRAY_SIZE(unsupported); i++) {
        if (caps[unsupported[i]]) {
            error_setg(errp, "Capability 'skip-balloon' cannot be used "
                       "together with capability '%s'",
                       MigrationCapability_str(unsupported[i]));
            return false;
        }
    }
    return true;
}

void skip_balloon_fill_info(MigrationInfo *info)
{
    SkipBalloonInfo *skip;

    if (!skip_balloon.decided || !migrate_skip_balloon()) {
        return;
    }
    skip = g_new0(SkipBalloonInfo, 1);
    skip->status = skip_balloon.status;
    if (skip->status == SKIP_BALLOON_STATUS_ACTIVE) {
        skip->has_skipped_pages = true;
        skip->skipped_pages = skip_balloon.skipped_pages;
        skip->has_skipped_bytes = true;
        skip->skipped_bytes =
            skip_balloon.skipped_pages << qemu_target_page_bits();
        skip->has_vetoed_pages = true;
        skip->vetoed_pages = skip_balloon.vetoed_pages;
        skip->has_undecided_pages = true;
        skip->undecided_pages = skip_balloon.undecided_pages;
        skip->has_map_bytes = true;
        skip->map_bytes = skip_balloon.map_bytes;
        skip->has_final_map_bytes = true;
        skip->final_map_bytes = skip_balloon.final_map_bytes;
    } else {
        skip->has_reason = true;
        skip->reason = skip_balloon.reason;
    }
    info->skip_balloon = skip;
}

void skip_balloon_print_info(Monitor *mon, const MigrationInfo *info)
{
    const SkipBalloonInfo *skip = info->skip_balloon;

    if (!skip) {
        return;
    }
    monitor_printf(mon, "skip-balloon: %s",
                   SkipBalloonStatus_str(skip->status));
    if (skip->has_reason) {
        monitor_printf(mon, " (%s)", SkipBalloonReason_str(skip->reason));
    }
    monitor_printf(mon, "\n");
    if (skip->status == SKIP_BALLOON_STATUS_ACTIVE) {
        monitor_printf(mon, "skip-balloon skipped: %" PRIu64 " pages, "
                       "%" PRIu64 " kbytes\n",
                       skip->skipped_pages, skip->skipped_bytes / KiB);
        monitor_printf(mon, "skip-balloon vetoed: %" PRIu64 " pages, "
                       "%" PRIu64 " of them undecided\n",
                       skip->vetoed_pages, skip->undecided_pages);
        monitor_printf(mon, "skip-balloon map: %" PRIu64 " bytes, "
                       "%" PRIu64 " of them with the guest stopped\n",
                       skip->map_bytes, skip->final_map_bytes);
    }
}

void skip_balloon_init(void)
{
    MigMode mode;

    populated_init();
    skip_balloon.precopy_notifier.notify = skip_balloon_precopy_notify;
    precopy_add_notifier(&skip_balloon.precopy_notifier);
    for (mode = 0; mode < MIG_MODE__MAX; mode++) {
        migration_add_notifier_mode(&skip_balloon.setup_notifier[mode],
                                    skip_balloon_setup_notify, mode);
    }
}
