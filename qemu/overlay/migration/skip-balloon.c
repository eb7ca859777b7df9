/*
 * Migration capability skip-balloon: do not scan and do not send memory that
 * the guest gave back through virtio-balloon
 *
 * The rule: a page is skipped only if the guest gave it back (the balloon map
 * says so) and the host has let go of it (it is not populated).  A page of
 * the map that is populated is sent all the same; that veto makes it safe
 * against a guest that uses memory without telling.
 *
 * When that is looked at, and in what order with the tracking of writes, see
 * skip-pass.c.
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
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "hw/virtio/virtio.h"
#include "migration/balloon-map.h"
#include "migration/skip-balloon.h"
#include "migration/skip-pass.h"
#include "migration/skip-unpopulated.h"
#include "migration.h"
#include "options.h"
#include "ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "trace.h"

/* All of it is protected by the BQL. */
static struct {
    /* A migration has been started since QEMU runs */
    bool decided;
    /* The migration that status is about is under way */
    bool running;
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

bool migrate_skip_balloon(void)
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

/*
 * Does the host let go of nothing that the guest gives back, since memory is
 * locked, or whatever the reason is?
 */
static bool discards_fail(void)
{
    bool locked = false;
    RAMBlock *rb;

    if (balloon_map_discards_failed()) {
        return true;
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_MIGRATABLE(rb) {
        if (skip_unpopulated_is_guest_ram(rb)) {
            if (balloon_map_can_discard(rb)) {
                return false;
            }
            locked = true;
        }
    }
    return locked;
}

void skip_balloon_forget(void)
{
    skip_balloon.decided = false;
}

void skip_balloon_stop(void)
{
    skip_balloon.running = false;
    balloon_map_track(false);
}

void skip_balloon_start(void)
{
    if (!migrate_skip_balloon()) {
        return;
    }
    skip_balloon.decided = true;
    skip_balloon.running = true;
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
    } else if (ram_block_discard_is_disabled() || discards_fail()) {
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

static void balloon_unpopulated(SkipPass *pass, uint64_t start, uint64_t end)
{
    pass->skipped += end - start;
    skip_pass_clear_dirty(pass, start, end);
}

/* Pages of the map that are populated, and hold nothing but zeroes */
static void note_zeroes(SkipPass *pass, uint64_t start, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t page = start << shift;
    uint64_t npages = (end - start) << shift;

    if (start == end) {
        return;
    }
    balloon_map_note_change(pass->rb, page, npages);
    /* With the guest stopped nobody can write between the look and this. */
    if (pass->final && balloon_map_let_go(pass->rb, page, npages)) {
        balloon_unpopulated(pass, start, end);
    } else {
        pass->vetoed += end - start;
    }
}

/* Pages of the map that somebody uses */
static void note_use(SkipPass *pass, uint64_t start, uint64_t end)
{
    int shift = qemu_target_page_bits() - BALLOON_BITMAP_PAGE_SHIFT;

    if (start < end) {
        balloon_map_forget(pass->rb, start << shift, (end - start) << shift);
        pass->vetoed += end - start;
    }
}

/*
 * Target pages that are populated; they stay dirty, and are sent.
 *
 * If they hold nothing but zeroes, it was not the guest who populated them: a
 * huge page that the host gave to a neighbour of theirs, or a reader of
 * shared memory, as migration is if a page is given back before its turn to be
 * sent.  Those stay in the map.  The destination is told, so that it discards
 * the zeroes that it is sent; in the last pass they are let go of once more,
 * and skipped.  All others leave the map.
 */
static void balloon_populated(SkipPass *pass, uint64_t start, uint64_t end)
{
    RAMBlock *rb = pass->rb;
    int bits = qemu_target_page_bits();
    uint64_t unit = MAX(rb->page_size >> bits, 1);
    uint64_t zeroes;

    /* Whatever becomes of a huge page becomes of all of it. */
    start = QEMU_ALIGN_DOWN(start, unit);
    end = QEMU_ALIGN_UP(end, unit);
    skip_pass_make_dirty(pass, start, end);
    zeroes = start;
    while (start < end && pass->zero_budget >= unit) {
        uint64_t next = start + unit;

        pass->zero_budget -= unit;
        if (!buffer_is_zero(rb->host + (start << bits),
                            (next - start) << bits)) {
            note_zeroes(pass, zeroes, start);
            note_use(pass, start, next);
            zeroes = next;
        }
        start = next;
    }
    note_zeroes(pass, zeroes, start);
    note_use(pass, start, end);
}

static void balloon_undecided(SkipPass *pass, uint64_t start, uint64_t end,
                              int error)
{
    int bits = qemu_target_page_bits();
    int shift = bits - BALLOON_BITMAP_PAGE_SHIFT;

    if (!pass->undecided) {
        trace_skip_balloon_host_silent(pass->rb->idstr, start << bits,
                                       strerror(-error));
    }
    pass->rb->skip_pages->undecided = true;
    pass->vetoed += end - start;
    pass->undecided += end - start;
    balloon_map_forget(pass->rb, start << shift, (end - start) << shift);
}

const SkipPolicy skip_balloon_policy = {
    .unpopulated = balloon_unpopulated,
    .populated = balloon_populated,
    .undecided = balloon_undecided,
};

void skip_balloon_count_pass(const SkipPass *pass)
{
    skip_balloon.skipped_pages += pass->skipped;
    skip_balloon.vetoed_pages += pass->vetoed;
    skip_balloon.undecided_pages += pass->undecided;
    if (skip_balloon_active()) {
        trace_skip_balloon_sync_end(pass->skipped, pass->vetoed, pass->runs,
                                    pass->calls, pass->ns / SCALE_US);
    }
}

void skip_balloon_count_map_bytes(uint64_t bytes, bool final)
{
    skip_balloon.map_bytes += bytes;
    if (final) {
        skip_balloon.final_map_bytes += bytes;
    }
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
