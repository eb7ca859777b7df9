/*
 * Migration capability skip-unpopulated, on the destination
 *
 * The stream does not tell which pages the source skipped.  They read as zero
 * there, and have to do so here.  Guest RAM of a process that was started for
 * the migration does, but for what it was filled with before: by the machine,
 * by a snapshot that was loaded, by an earlier user of the file behind it.  So
 * it is emptied before the first page is loaded.
 *
 * A snapshot is loaded into a process that may have run for long, whatever the
 * capabilities say then.  So a snapshot that skips such pages has a section
 * that says so, and comes before the first page:
 *
 *   be32  version, 1
 *
 * A page of zeroes in the stream either was populated on the source, or was
 * sent before and then discarded.  In both cases there is no need to populate
 * it here.
 *
 * Pages of zeroes are many.  What nothing has been loaded into reads as zero
 * already, mostly, and if it is populated nevertheless, as part of a huge page,
 * discarding it would break the huge page.  So such a page is left to the
 * caller, who reads it to be sure.  But what is not populated must not be read:
 * memory of a file gets populated by that, and private memory as well where
 * the host was told not to use a huge page of zeroes (use_zero_page).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/colo.h"
#include "migration/populated-block.h"
#include "migration/register.h"
#include "migration/skip-balloon.h"
#include "migration/skip-drop.h"
#include "migration/skip-pass.h"
#include "migration/skip-postcopy.h"
#include "migration/skip-turns.h"
#include "migration/skip-unpopulated.h"
#include "migration.h"
#include "options.h"
#include "qemu-file.h"
#include "ram.h"
#include "trace.h"

#define SECTION_NAME "skip-unpopulated"
#define SNAPSHOT_SECTION_NAME "empty-ram"
#define SECTION_VERSION 1

/* All of it is protected by the BQL. */
static struct {
    /* Something has been loaded into this process before */
    bool loaded;
    /* Nothing is known to have been loaded into this page before */
    bool first;
    /* To ask about the RAM block that pages of zeroes arrive for */
    RAMBlock *rb;
    PopulatedScan *scan;
    /* What it says of other pages than it is asked about may be used. */
    bool ahead;
    /*
     * What guest RAM held before has been dropped; had something been loaded
     * by then?
     */
    bool emptied;
    bool emptied_loaded;
} load;

/* ---- Empty guest RAM ---- */

/* Returns NULL, and @ret set, if the RAM block has gone. */
static RAMBlock *find_block(const char *id, int *ret)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = qemu_ram_block_by_name(id);
    *ret = rb ? 0 : -ENOENT;
    return rb;
}

/* Make [@start, @end) of a RAM block, offsets in bytes, read as zero. */
static int empty_range(const char *id, uint64_t start, uint64_t end,
                       SkipDropReason reason, SkipTurns *turns)
{
    int ret;
    RAMBlock *rb = find_block(id, &ret);
    SkipDrop *drop = rb ? skip_drop_new(rb, reason) : NULL;

    while (ret >= 0 && start < end) {
        ret = skip_drop_step(drop, start, end, &start);
        if (skip_turns_take(turns)) {
            skip_drop_look_again(drop);
        }
    }
    skip_drop_free(drop);
    return MIN(ret, 0);
}

typedef struct Stretch {
    uint64_t start;
    uint64_t end;
} Stretch;

static int note_section(MemoryRegionSection *section, void *opaque)
{
    Stretch stretch = {
        .start = section->offset_within_region,
        .end = section->offset_within_region + int128_get64(section->size),
    };

    g_array_append_val((GArray *)opaque, stretch);
    return 0;
}

static void note_discarded(MemoryRegionSection *section, void *opaque)
{
    note_section(section, opaque);
}

static int empty_stretches(const char *id, const GArray *stretches,
                           SkipDropReason reason, SkipTurns *turns)
{
    int ret = 0;
    guint i;

    for (i = 0; !ret && i < stretches->len; i++) {
        const Stretch *stretch = &g_array_index(stretches, Stretch, i);

        ret = empty_range(id, stretch->start, stretch->end, reason, turns);
    }
    return ret;
}

/*
 * What is not plugged must not be populated.  Which memory is plugged the
 * device learns only when its state is loaded, and until then it keeps what a
 * file held before.  So the lists stay true while this takes turns.
 */
static int empty_managed(const char *id, RAMBlock *rb, SkipTurns *turns)
{
    g_autoptr(GArray) plugged = g_array_new(false, false, sizeof(Stretch));
    g_autoptr(GArray) unplugged = g_array_new(false, false, sizeof(Stretch));
    RamDiscardManager *manager =
        memory_region_get_ram_discard_manager(rb->mr);
    MemoryRegionSection section = {
        .mr = rb->mr,
        .size = rb->mr->size,
    };
    int ret;

    ram_discard_manager_replay_discarded(manager, &section, note_discarded,
                                         unplugged);
    ram_discard_manager_replay_populated(manager, &section, note_section,
                                         plugged);
    ret = empty_stretches(id, unplugged, SKIP_DROP_UNPLUGGED, turns);
    return ret ? ret : empty_stretches(id, plugged, SKIP_DROP_STALE, turns);
}

static int empty_block(const char *id, SkipTurns *turns)
{
    int ret;
    RAMBlock *rb = find_block(id, &ret);

    trace_skip_unpopulated_empty(id);
    if (!rb) {
        return ret;
    }
    return memory_region_has_ram_discard_manager(rb->mr)
           ? empty_managed(id, rb, turns)
           : empty_range(id, 0, rb->used_length, SKIP_DROP_STALE, turns);
}

/*
 * What is not populated is zero.  Machines put something into guest RAM before
 * they load a migration, so what is populated has to be emptied; but for all
 * of it to be populated, and zero, is usual with memory preallocated.
 */
static bool must_be_emptied(const RAMBlock *rb, bool loaded)
{
    return skip_unpopulated_is_guest_ram(rb) &&
           !memory_region_is_rom(rb->mr) &&
           (!skip_drop_stays_populated(rb) || loaded ||
            skip_unpopulated_has_name(rb));
}

/* The names of the RAM blocks that must be emptied; these may come and go. */
static GPtrArray *blocks_to_empty(bool loaded)
{
    GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (must_be_emptied(rb, loaded)) {
            g_ptr_array_add(ids, g_strdup(rb->idstr));
        }
    }
    return ids;
}

static int empty_guest_ram(bool loaded, Error **errp)
{
    g_autoptr(GPtrArray) ids = blocks_to_empty(loaded);
    SkipTurns turns;
    int ret = 0;
    guint i;

    skip_turns_begin(&turns, "empty");
    for (i = 0; !ret && i < ids->len; i++) {
        const char *id = g_ptr_array_index(ids, i);

        ret = empty_block(id, &turns);
        if (ret) {
            error_setg_errno(errp, -ret, "RAM block '%s' may hold something "
                             "of an earlier use, and cannot be emptied", id);
        }
    }
    skip_turns_end(&turns);
    return ret;
}

/* ---- Load ---- */

static int load_setup(QEMUFile *f, void *opaque, Error **errp)
{
    bool loaded = load.loaded;

    load.loaded = true;
    if (migration_incoming_get_current()->state == MIGRATION_STATUS_ACTIVE &&
        migrate_skip_unpopulated()) {
        load.emptied = true;
        load.emptied_loaded = loaded;
        return empty_guest_ram(loaded, errp);
    }
    return 0;
}

static void look_at_block(RAMBlock *rb)
{
    if (load.rb != rb) {
        populated_scan_free(load.scan);
        load.scan = rb ? populated_scan_of_block(rb, POPULATED_TO_SKIP) : NULL;
        load.rb = rb;
    }
}

static void block_changed(void *host)
{
    if (load.rb && load.rb->host == host) {
        look_at_block(NULL);
    }
}

static void block_removed(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    block_changed(host);
}

static void block_resized(RAMBlockNotifier *n, void *host, size_t old_size,
                          size_t new_size)
{
    block_changed(host);
}

static RAMBlockNotifier ram_notifier = {
    .ram_block_removed = block_removed,
    .ram_block_resized = block_resized,
};

static int load_cleanup(void *opaque)
{
    look_at_block(NULL);
    load.emptied = false;
    return 0;
}

void skip_unpopulated_load_page(RAMBlock *rb, void *host)
{
    load.first = migrate_skip_unpopulated() &&
                 !migration_incoming_in_colo_state() &&
                 !ramblock_recv_bitmap_test(rb, host);
}

/*
 * Is the page populated?  Return value as of populated_scan_next(); a page
 * that is so in part counts as populated.
 *
 * To ask for each page would take a system call for each, so of a page that
 * nothing has been loaded into before, what the host said when it was asked
 * for another page holds on, if it spoke of both: that it is not populated.
 * Until the guest runs nobody writes to guest RAM but those who load it: this
 * thread, which would have noted the page as received, and with multifd other
 * threads, which note pages at any moment, so that there the host is asked each
 * time.  The host may populate the page meanwhile, as part of a huge page that
 * it gives to a neighbour, but that reads as zero.
 *
 * That it is populated may be out of date as well, if the page was let go of
 * when the balloon map arrived.  Then it is read, which is not wrong.
 */
static int ask_host(uint64_t offset, uint64_t size)
{
    bool ahead = load.first && !migrate_multifd();
    uint64_t end;
    int ret;

    if (!ahead || !load.ahead) {
        populated_scan_window(load.scan, ahead ? load.rb->used_length
                                               : offset + size);
        load.ahead = ahead;
    }
    ret = populated_scan_next(load.scan, offset, offset + size, &end);
    return !ret && end < offset + size ? 1 : ret;
}

bool skip_unpopulated_load_zero(void *host)
{
    uint64_t size = qemu_target_page_size();
    ram_addr_t offset;
    RAMBlock *rb;
    int ret;

    if (!migrate_skip_unpopulated() || !skip_postcopy_may_lack_zeroes()) {
        return false;
    }
    rb = qemu_ram_block_from_host(host, false, &offset);
    if (!rb || !skip_unpopulated_is_guest_ram(rb)) {
        return false;
    }
    look_at_block(rb);
    ret = ask_host(offset, size);
    if (ret == -EAGAIN && load.ahead && load.emptied &&
        must_be_emptied(rb, load.emptied_loaded)) {
        /*
         * It seems to be not populated, and whether it is or not: nothing has
         * been loaded into it, and what it held before has been dropped.
         */
        return true;
    }
    return !ret || (!load.first && skip_drop_page(rb, offset, size));
}

bool skip_unpopulated_load_zero_again(RAMBlock *rb, uint64_t offset)
{
    return migrate_skip_unpopulated() &&
           ramblock_recv_bitmap_test_byte_offset(rb, offset) &&
           skip_unpopulated_is_guest_ram(rb) &&
           skip_drop_page(rb, offset, qemu_target_page_size());
}

static const SaveVMHandlers load_handlers = {
    .load_setup = load_setup,
    .load_cleanup = load_cleanup,
};

/* ---- Snapshots ---- */

static bool snapshot_is_active(void *opaque)
{
    /* A background snapshot has no map that would let go of anything. */
    return (skip_pass_in_savevm() && skip_unpopulated_active()) ||
           (migrate_background_snapshot() && skip_balloon_active());
}

static int snapshot_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    qemu_put_be32(f, SECTION_VERSION);
    return 0;
}

static int snapshot_load(QEMUFile *f, void *opaque, int version_id)
{
    uint32_t version = qemu_get_be32(f);
    Error *local_err = NULL;

    if (qemu_file_get_error(f) || version != SECTION_VERSION) {
        error_report("empty-ram: format %" PRIu32 " is not known, only %d is",
                     version, SECTION_VERSION);
        return -EINVAL;
    }
    if (!bql_locked() || migration_in_incoming_postcopy()) {
        error_report("empty-ram: it comes too late, in postcopy");
        return -EINVAL;
    }
    if (empty_guest_ram(true, &local_err)) {
        error_report_err(local_err);
        return -EINVAL;
    }
    return 0;
}

static const SaveVMHandlers snapshot_handlers = {
    .save_setup = snapshot_save_setup,
    .is_active = snapshot_is_active,
    .load_state = snapshot_load,
};

void skip_unpopulated_register(void)
{
    ram_block_notifier_add(&ram_notifier);
    register_savevm_live(SECTION_NAME, 0, SECTION_VERSION, &load_handlers,
                         NULL);
    register_savevm_live(SNAPSHOT_SECTION_NAME, 0, SECTION_VERSION,
                         &snapshot_handlers, NULL);
}
