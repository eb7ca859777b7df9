/*
 * Migrations that skip pages: when passes are made, and what is kept for them
 *
 * Only the migration thread makes passes, one after each synchronization of the
 * dirty bitmap.  The main loop may synchronize, too, while it sends.  Pages are
 * sent then that no pass has looked at, which does no harm; the pass is made
 * before the next iteration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "hw/virtio/balloon-map.h"
#include "migration/misc.h"
#include "migration/migration.h"
#include "system/runstate.h"
#include "migration/options.h"
#include "migration/ram.h"
#include "balloon.h"
#include "control.h"
#include "drop.h"
#include "hooks.h"
#include "pass.h"
#include "told.h"
#include "unpopulated.h"

/* All of it is protected by the BQL. */
static struct {
    NotifierWithReturn setup_notifier[MIG_MODE__MAX];
    NotifierWithReturn precopy_notifier;
    /* The first pass has been made */
    bool first_done;
    /* A snapshot is saved by the main loop, with the guest stopped */
    bool savevm;
} skip_migration;

bool skip_migration_skips(void)
{
    return skip_balloon_active() || skip_unpopulated_active();
}

/* ---- Passes ---- */

void skip_migration_before_sync(void)
{
    if (skip_migration_skips()) {
        skip_pass_before_sync();
    }
}

static bool in_migration_thread(void)
{
    return skip_migration.savevm ||
           qemu_thread_is_self(&migrate_get_current()->thread);
}

static void make_pass(void)
{
    skip_pass_make(runstate_check(RUN_STATE_FINISH_MIGRATE) ||
                   skip_migration.savevm);
}

void skip_migration_first_pass(void)
{
    /* Nobody tracks what is written before a background snapshot begins. */
    if (!skip_migration.first_done && skip_migration_skips() &&
        !migrate_background_snapshot()) {
        skip_migration.first_done = true;
        make_pass();
    }
}

void skip_migration_last_pass(void)
{
    assert(bql_locked());
    if (skip_migration.first_done && !skip_pass_final_made()) {
        ram_sync_bitmap();
        make_pass();
    }
}

void skip_migration_snapshot(void)
{
    assert(bql_locked());
    assert(!runstate_is_running());
    skip_pass_make(true);
}

void skip_migration_catch_up(void)
{
    if (!skip_pass_is_due()) {
        return;
    }
    BQL_LOCK_GUARD();
    if (skip_migration.first_done && skip_migration_skips()) {
        make_pass();
    }
}

static int on_precopy(NotifierWithReturn *n, void *data, Error **errp)
{
    PrecopyNotifyData *pnd = data;

    if (pnd->reason == PRECOPY_NOTIFY_AFTER_BITMAP_SYNC &&
        skip_migration.first_done && skip_migration_skips() &&
        in_migration_thread()) {
        make_pass();
    }
    return 0;
}

/* ---- Migrations begin and end ---- */

static void start(void)
{
    skip_pass_reset();
    skip_balloon_start();
    if (skip_balloon_active() || migrate_skip_unpopulated()) {
        skip_pages_add();
        skip_told_start();
        balloon_map_track_discards(true);
    }
    skip_unpopulated_start();
}

static void stop(void)
{
    skip_pass_stop();
    skip_balloon_stop();
    skip_unpopulated_stop();
    balloon_map_track_discards(false);
    balloon_map_populate_deflated(false);
    skip_pages_keep_told();
}

static void forget(void)
{
    skip_migration.first_done = false;
    skip_pages_forget_told();
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

static int setup_notify(NotifierWithReturn *n, MigrationEvent *e,
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

void skip_migration_savevm_begin(void)
{
    assert(bql_locked());
    forget();
    /* These are not for snapshots; whoever has them set gets all of it. */
    if (!migrate_mapped_ram() && !migrate_multifd() &&
        !migrate_background_snapshot() && !migrate_postcopy_ram() &&
        !runstate_check(RUN_STATE_INMIGRATE) &&
        !migration_in_incoming_postcopy()) {
        skip_migration.savevm = true;
        start();
    }
}

void skip_migration_savevm_end(void)
{
    stop();
    skip_migration.savevm = false;
}

bool skip_migration_in_savevm(void)
{
    return skip_migration.savevm;
}

void skip_migration_fill_info(MigrationInfo *info)
{
    skip_balloon_fill_info(info);
    skip_unpopulated_fill_info(info);
}

void skip_migration_print_info(Monitor *mon, const MigrationInfo *info)
{
    skip_balloon_print_info(mon, info);
    skip_unpopulated_print_info(mon, info);
}

bool skip_migration_caps_check(const bool *caps, Error **errp)
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

void skip_migration_init(void)
{
    MigMode mode;

    populated_init();
    skip_drop_init();
    skip_pages_init();
    skip_migration.precopy_notifier.notify = on_precopy;
    precopy_add_notifier(&skip_migration.precopy_notifier);
    for (mode = 0; mode < MIG_MODE__MAX; mode++) {
        migration_add_notifier_mode(&skip_migration.setup_notifier[mode],
                                    setup_notify, mode);
    }
}
