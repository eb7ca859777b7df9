/*
 * Migrations that skip pages: what begins and ends with them, and when passes
 * are made
 *
 * Only the migration thread makes passes, one after each synchronization of the
 * dirty bitmap.  The main loop may synchronize, too, while it sends.  Pages are
 * sent then that no pass has looked at, which does no harm; the pass is made
 * before the next iteration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/balloon-map.h"
#include "hw/virtio/virtio.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "system/runstate.h"
#include "control.h"
#include "hooks.h"
#include "pass.h"
#include "told.h"
#include "trace.h"

static NotifierWithReturn setup_notifier[MIG_MODE__MAX];
static NotifierWithReturn precopy_notifier;

bool migrate_skip_balloon(void)
{
    return migrate_get_current()->capabilities[
        MIGRATION_CAPABILITY_SKIP_BALLOON];
}

bool migrate_skip_unpopulated(void)
{
    return migrate_get_current()->capabilities[
        MIGRATION_CAPABILITY_SKIP_UNPOPULATED];
}

/* ---- What is skipped ---- */

bool skip_balloon_active(void)
{
    const SkipMigration *m = skip_migration();

    return m && m->running && m->balloon &&
           m->status == SKIP_BALLOON_STATUS_ACTIVE;
}

static bool skip_unpopulated_active(void)
{
    const SkipMigration *m = skip_migration();

    return m && m->running && m->unpopulated;
}

bool skip_migration_skips(void)
{
    return skip_balloon_active() || skip_unpopulated_active();
}

/* Of private memory that may be swapped out nobody else tells. */
static bool is_denied(RAMBlock *rb)
{
    PopulatedScan *scan = populated_scan_of_block(rb, POPULATED_TO_SKIP);
    int error = populated_scan_denied(scan);

    populated_scan_free(scan);
    if (error) {
        warn_report_once("Migrations skip no private guest memory: "
                         "/proc/self/pagemap cannot be opened (%s), and this "
                         "host has swap; if AppArmor denies it, add "
                         "'owner @{PROC}/@{pid}/pagemap r,' to the profile",
                         strerror(-error));
    }
    return error != 0;
}

static void note_left_alone(SkipMigration *m, const RAMBlock *rb,
                            SkipUnpopulatedReason reason)
{
    SkipUnpopulatedLeftAlone *value = g_new0(SkipUnpopulatedLeftAlone, 1);

    value->id = g_strdup(rb->idstr);
    value->size = rb->used_length;
    value->reason = reason;
    QAPI_LIST_PREPEND(m->left_alone, value);
    trace_skip_unpopulated_left_alone(rb->idstr, rb->used_length,
                                      SkipUnpopulatedReason_str(reason));
}

void skip_unpopulated_give_up(RAMBlock *rb)
{
    rb->skip_pages->all_wanted = false;
    note_left_alone(skip_migration(), rb, is_denied(rb)
                    ? SKIP_UNPOPULATED_REASON_PAGEMAP_DENIED
                    : SKIP_UNPOPULATED_REASON_UNDECIDED);
}

static void decide_what_is_wanted(SkipMigration *m)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        rb->skip_pages->all_wanted = skip_unpopulated_may_look_at(rb);
        if (!rb->skip_pages->all_wanted) {
            note_left_alone(m, rb, SKIP_UNPOPULATED_REASON_NOT_GUEST_RAM);
        } else if (is_denied(rb)) {
            skip_unpopulated_give_up(rb);
        }
    }
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

bool skip_migration_discard_inhibited(void)
{
    return ram_block_discard_is_disabled() || discards_fail();
}

bool skip_migration_pagemap_denied(void)
{
    bool denied = false;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_MIGRATABLE(rb) {
        if (skip_unpopulated_is_guest_ram(rb)) {
            if (!is_denied(rb)) {
                return false;
            }
            denied = true;
        }
    }
    return denied;
}

static void decide_about_balloon(SkipMigration *m)
{
    m->status = SKIP_BALLOON_STATUS_DISABLED;
    if (!balloon_map_device()) {
        m->reason = SKIP_BALLOON_REASON_NO_DEVICE;
    } else if (!virtio_vdev_has_feature(balloon_map_device(),
                                        VIRTIO_BALLOON_F_MUST_TELL_HOST)) {
        m->reason = SKIP_BALLOON_REASON_MUST_TELL_HOST;
    } else if (skip_migration_discard_inhibited()) {
        m->reason = SKIP_BALLOON_REASON_DISCARD_INHIBITED;
    } else if (skip_migration_pagemap_denied()) {
        m->reason = SKIP_BALLOON_REASON_PAGEMAP_DENIED;
    } else {
        m->status = SKIP_BALLOON_STATUS_ACTIVE;
    }
    trace_skip_balloon_setup(SkipBalloonStatus_str(m->status),
                             m->status == SKIP_BALLOON_STATUS_ACTIVE
                             ? "" : SkipBalloonReason_str(m->reason));
}

/* ---- Passes ---- */

void skip_migration_before_sync(void)
{
    SkipMigration *m = skip_migration();

    assert(bql_locked());
    if (skip_migration_skips()) {
        m->syncs++;
        qatomic_set(&m->due, true);
    }
}

static bool is_last(const SkipMigration *m)
{
    return runstate_check(RUN_STATE_FINISH_MIGRATE) || m->in_savevm;
}

static void make_pass(SkipMigration *m)
{
    skip_pass_make(m, is_last(m));
}

void skip_migration_first_pass(void)
{
    SkipMigration *m = skip_migration();

    /* Nobody tracks what is written before a background snapshot begins. */
    if (skip_migration_skips() && !m->first_made &&
        !migrate_background_snapshot()) {
        m->first_made = true;
        make_pass(m);
    }
}

void skip_migration_last_pass(void)
{
    SkipMigration *m = skip_migration();

    assert(bql_locked());
    if (m->first_made && !m->final_made) {
        ram_sync_bitmap();
        make_pass(m);
    }
}

void skip_migration_last_sync(void)
{
    const SkipMigration *m = skip_migration();

    assert(bql_locked());
    if (!m || !m->final_made) {
        ram_sync_bitmap();
    }
}

static bool makes_passes(const SkipMigration *m)
{
    return m && m->first_made && skip_migration_skips();
}

void skip_migration_catch_up(void)
{
    SkipMigration *m = skip_migration();

    if (!m || !qatomic_read(&m->due)) {
        return;
    }
    BQL_LOCK_GUARD();
    if (makes_passes(m)) {
        make_pass(m);
    }
}

/*
 * Called by RCU, for which the main loop may wait.  Only the last pass is over
 * soon.
 */
static int on_precopy(NotifierWithReturn *n, void *data, Error **errp)
{
    SkipMigration *m = skip_migration();
    PrecopyNotifyData *pnd = data;

    if (pnd->reason == PRECOPY_NOTIFY_AFTER_BITMAP_SYNC && makes_passes(m) &&
        is_last(m) &&
        (m->in_savevm || qemu_thread_is_self(&migrate_get_current()->thread))) {
        make_pass(m);
    }
    return 0;
}

/* ---- Migrations begin and end ---- */

/* Balloon pages are counted in pages of the target, not in parts of them. */
static bool target_pages_are_large(void)
{
    return qemu_target_page_size() >= BALLOON_MAP_PAGE_SIZE;
}

static void forget(void)
{
    SkipMigration *m = skip_migration();

    skip_pages_drop(true);
    if (m) {
        qapi_free_SkipUnpopulatedLeftAloneList(m->left_alone);
        g_hash_table_destroy(m->map_blocks);
        g_free(m);
        migrate_get_current()->skip = NULL;
    }
}

/*
 * Without the map enforcement would end where the guest goes.  Background
 * snapshots and COLO have no map, and over RDMA the destination must not be
 * emptied.
 */
static bool enforcement_travels(void)
{
    return balloon_map_is_enforced() && !migrate_background_snapshot() &&
           !migrate_colo() && !migrate_rdma() && target_pages_are_large();
}

static void begin(bool in_savevm)
{
    bool maps = enforcement_travels();
    SkipMigration *m;

    if (!migrate_skip_balloon() && !migrate_skip_unpopulated() && !maps) {
        return;
    }
    m = g_new0(SkipMigration, 1);
    m->maps = maps;
    m->balloon = migrate_skip_balloon();
    m->unpopulated = migrate_skip_unpopulated();
    m->in_savevm = in_savevm;
    m->map_blocks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                          NULL);
    m->running = true;
    if (m->balloon) {
        decide_about_balloon(m);
    }
    migrate_get_current()->skip = m;
    if (skip_migration_skips()) {
        skip_pages_add();
        skip_told_start();
    }
    /* A background snapshot populates nothing, also for skip-balloon alone. */
    if (m->unpopulated || (skip_migration_skips() && !in_savevm &&
                           migrate_background_snapshot())) {
        decide_what_is_wanted(m);
    }
}

static void end(void)
{
    SkipMigration *m = skip_migration();

    if (m) {
        m->running = false;
        qatomic_set(&m->due, false);
    }
    skip_pages_keep_told();
}

/* What only turns out when a migration begins */
static bool check_setup(Error **errp)
{
    const char *name = migrate_skip_balloon() ? "skip-balloon"
                                              : "skip-unpopulated";

    if (!migrate_skip_balloon() && !migrate_skip_unpopulated()) {
        return true;
    }
    if (!target_pages_are_large()) {
        error_setg(errp, "Capability '%s' cannot be used with target pages of "
                   "less than 4 KiB", name);
        return false;
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

/* The destination says that there is a section which it does not know. */
static void tell_what_maps_need(void)
{
    const SkipMigration *m = skip_migration();

    if (m && m->maps && !skip_migration_skips() &&
        migrate_get_current()->state == MIGRATION_STATUS_FAILED) {
        warn_report("If the destination does not know section 'skip': property "
                    "'enforce' of virtio-balloon is on, so the balloon map is "
                    "part of each migration, for which the destination must be "
                    "a QEMU with skip-balloon");
    }
}

static int setup_notify(NotifierWithReturn *n, MigrationEvent *e,
                        Error **errp)
{
    assert(bql_locked());

    if (e->type != MIG_EVENT_PRECOPY_SETUP) {
        tell_what_maps_need();
        end();
        return 0;
    }
    forget();
    if (!check_setup(errp)) {
        return -EINVAL;
    }
    begin(false);
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
        !migration_in_incoming_postcopy() && target_pages_are_large()) {
        begin(true);
    }
}

void skip_migration_savevm_end(void)
{
    end();
}

bool skip_migration_caps_check(const bool *caps, Error **errp)
{
    static const MigrationCapability unsupported[] = {
        MIGRATION_CAPABILITY_X_COLO,
        MIGRATION_CAPABILITY_RDMA_PIN_ALL,
    };
    const char *name = caps[MIGRATION_CAPABILITY_SKIP_BALLOON]
                       ? "skip-balloon"
                       : caps[MIGRATION_CAPABILITY_SKIP_UNPOPULATED]
                       ? "skip-unpopulated" : NULL;
    int i;

    if (caps[MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT]) {
        /* QEMU tries next whether it can be done with the guest's memory. */
        balloon_map_rest();
    }
    for (i = 0; name && i < ARRAY_SIZE(unsupported); i++) {
        if (caps[unsupported[i]]) {
            error_setg(errp, "Capability '%s' cannot be used together with "
                       "capability '%s'", name,
                       MigrationCapability_str(unsupported[i]));
            return false;
        }
    }
    if (name && caps[MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT] &&
        caps[MIGRATION_CAPABILITY_MAPPED_RAM]) {
        /* QEMU never writes the bitmap of such a file. */
        error_setg(errp, "Capability '%s' cannot be used together with "
                   "capabilities 'background-snapshot' and 'mapped-ram'",
                   name);
        return false;
    }
    return true;
}

void skip_migration_init(void)
{
    MigMode mode;

    populated_init();
    skip_pages_init();
    precopy_notifier.notify = on_precopy;
    precopy_add_notifier(&precopy_notifier);
    for (mode = 0; mode < MIG_MODE__MAX; mode++) {
        migration_add_notifier_mode(&setup_notifier[mode],
                                    setup_notify, mode);
    }
}
