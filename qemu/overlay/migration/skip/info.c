/*
 * What query-migrate and "info migrate" show of a migration that skips pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-migration.h"
#include "exec/target_page.h"
#include "control.h"
#include "hooks.h"

static SkipCounts all_counts(const SkipMigration *m)
{
    SkipCounts counts = m->counts;

    /* Those are what the balloon gave back meanwhile, mostly. */
    *(m->balloon ? &counts.skipped : &counts.unpopulated) +=
        qatomic_read(&m->late);
    return counts;
}

static SkipBalloonInfo *balloon_info(const SkipMigration *m)
{
    SkipBalloonInfo *info = g_new0(SkipBalloonInfo, 1);
    bool active = m->status == SKIP_BALLOON_STATUS_ACTIVE;
    SkipCounts counts = all_counts(m);

    info->status = m->status;
    info->has_reason = !active;
    info->reason = m->reason;
    info->has_skipped_pages = active;
    info->skipped_pages = counts.skipped;
    info->has_skipped_bytes = active;
    info->skipped_bytes = counts.skipped << qemu_target_page_bits();
    info->has_vetoed_pages = active;
    info->vetoed_pages = counts.vetoed;
    info->has_undecided_pages = active;
    info->undecided_pages = counts.undecided;
    info->has_map_bytes = active;
    info->map_bytes = m->bytes;
    info->has_final_map_bytes = active;
    info->final_map_bytes = m->final_bytes;
    return info;
}

static SkipUnpopulatedInfo *unpopulated_info(const SkipMigration *m)
{
    SkipUnpopulatedInfo *info = g_new0(SkipUnpopulatedInfo, 1);

    info->skipped_pages = all_counts(m).unpopulated;
    info->skipped_bytes = info->skipped_pages << qemu_target_page_bits();
    info->left_alone = QAPI_CLONE(SkipUnpopulatedLeftAloneList, m->left_alone);
    return info;
}

void skip_migration_fill_info(MigrationInfo *info)
{
    const SkipMigration *m = skip_migration();

    if (m && m->balloon && migrate_skip_balloon()) {
        info->skip_balloon = balloon_info(m);
    }
    if (m && m->unpopulated && migrate_skip_unpopulated()) {
        info->skip_unpopulated = unpopulated_info(m);
    }
}

static void print_balloon(Monitor *mon, const SkipBalloonInfo *info)
{
    monitor_printf(mon, "skip-balloon: %s",
                   SkipBalloonStatus_str(info->status));
    if (info->has_reason) {
        monitor_printf(mon, " (%s)\n", SkipBalloonReason_str(info->reason));
        return;
    }
    monitor_printf(mon, "\nskip-balloon skipped: %" PRIu64 " pages, "
                   "%" PRIu64 " kbytes\n",
                   info->skipped_pages, info->skipped_bytes / KiB);
    monitor_printf(mon, "skip-balloon vetoed: %" PRIu64 " pages, "
                   "%" PRIu64 " of them undecided\n",
                   info->vetoed_pages, info->undecided_pages);
    monitor_printf(mon, "skip-balloon map: %" PRIu64 " bytes, "
                   "%" PRIu64 " of them with the guest stopped\n",
                   info->map_bytes, info->final_map_bytes);
}

static void print_unpopulated(Monitor *mon, const SkipUnpopulatedInfo *info)
{
    const SkipUnpopulatedLeftAloneList *l;

    monitor_printf(mon, "skip-unpopulated skipped: %" PRIu64 " pages, "
                   "%" PRIu64 " kbytes\n",
                   info->skipped_pages, info->skipped_bytes / KiB);
    for (l = info->left_alone; l; l = l->next) {
        monitor_printf(mon, "skip-unpopulated left alone: %s, %" PRIu64
                       " kbytes (%s)\n", l->value->id, l->value->size / KiB,
                       SkipUnpopulatedReason_str(l->value->reason));
    }
}

void skip_migration_print_info(Monitor *mon, const MigrationInfo *info)
{
    if (info->skip_balloon) {
        print_balloon(mon, info->skip_balloon);
    }
    if (info->skip_unpopulated) {
        print_unpopulated(mon, info->skip_unpopulated);
    }
}
