/*
 * Migration capability skip-balloon: do not scan and do not send memory that
 * the guest gave back through virtio-balloon
 *
 * The rule: a page is skipped only if the guest gave it back (the balloon map
 * says so) and the host has let go of it (it is not populated).
 *
 * Here it is decided whether a migration does that, and said what came of it.
 * For how it is done see pass.c.
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
#include "hw/virtio/balloon-map.h"
#include "migration/migration.h"
#include "migration/options.h"
#include "migration/ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon.h"
#include "pass.h"
#include "unpopulated.h"
#include "trace.h"

/* All of it is protected by the BQL. */
static struct {
    /* A migration has been started since QEMU runs */
    bool decided;
    /* The migration that status is about is under way */
    bool running;
    SkipBalloonStatus status;
    SkipBalloonReason reason;
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
}

void skip_balloon_start(void)
{
    if (!migrate_skip_balloon()) {
        return;
    }
    skip_balloon.decided = true;
    skip_balloon.running = true;
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

    trace_skip_balloon_setup(
        SkipBalloonStatus_str(skip_balloon.status),
        skip_balloon.status == SKIP_BALLOON_STATUS_ACTIVE
        ? "" : SkipBalloonReason_str(skip_balloon.reason));
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
        SkipCounts counts = skip_pass_counts();

        skip->has_skipped_pages = true;
        skip->skipped_pages = counts.skipped;
        skip->has_skipped_bytes = true;
        skip->skipped_bytes = counts.skipped << qemu_target_page_bits();
        skip->has_vetoed_pages = true;
        skip->vetoed_pages = counts.vetoed;
        skip->has_undecided_pages = true;
        skip->undecided_pages = counts.undecided;
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
