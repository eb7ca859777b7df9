/*
 * Migrations that skip pages: where they meet the rest of QEMU
 *
 * First what migration, and whatever else is not in this directory, calls at
 * the moments that are told; then what migration/ram.c and
 * migration/multifd-nocomp.c do for the files of this directory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_HOOKS_H
#define MIGRATION_SKIP_HOOKS_H

#include "exec/ramblock.h"
#include "monitor/monitor.h"
#include "qapi/qapi-types-migration.h"
#include "qemu/bitops.h"
#include "pages.h"

struct MigrationIncomingState;

/* ---- Migration in general ---- */

/**
 * skip_migration_init: Hook into migration; once, when its state is set up
 */
void skip_migration_init(void);

/**
 * skip_section_register: Make the section known
 *
 * Sections are numbered in the order in which they are registered.  Call this
 * after those of the machine, so that they keep the numbers that they have
 * without this one, and the stream its bytes.
 */
void skip_section_register(void);

/**
 * skip_migration_caps_check: Can the capabilities be used together?
 * @caps: the capabilities as they would be, indexed by MigrationCapability
 * @errp: set if not
 *
 * Returns: false, with @errp set, if skip-balloon or skip-unpopulated is among
 * them together with one that it does not support
 */
bool skip_migration_caps_check(const bool *caps, Error **errp);

/**
 * skip_migration_fill_info: Add members skip-balloon and skip-unpopulated
 *
 * Adds nothing of a capability that is off, or if no migration was started
 * since it was set.  Needs the BQL.
 */
void skip_migration_fill_info(MigrationInfo *info);

/**
 * skip_migration_print_info: Print those members of @info, if present
 */
void skip_migration_print_info(Monitor *mon, const MigrationInfo *info);

/**
 * skip_migration_savevm_begin: A snapshot is going to be saved by the main loop
 */
void skip_migration_savevm_begin(void);

/**
 * skip_migration_savevm_end: It has been saved, or that has failed
 */
void skip_migration_savevm_end(void);

/* ---- The source ---- */

/**
 * skip_migration_before_sync: Take note that the dirty bitmap gets synchronized
 *
 * With the BQL and the lock of the dirty bitmap held.  A pass is due from then
 * on.
 */
void skip_migration_before_sync(void);

/**
 * skip_migration_catch_up: Make a pass if one is due
 *
 * Whoever synchronizes the dirty bitmap while the guest runs, the main loop too
 * (auto-converge), leaves the pass to the migration thread.  To be called by
 * that, without the BQL, and not by RCU, before it looks at what is dirty.
 */
void skip_migration_catch_up(void);

/**
 * skip_migration_last_sync: The synchronization that postcopy begins with
 *
 * With the BQL held, the guest stopped, and by RCU.  If the last pass has been
 * made it is not made again: KVM would call what was skipped by that dirty once
 * more, since nothing is armed with the guest stopped.
 */
void skip_migration_last_sync(void);

/* See skip_told_before_sending() */
uint64_t skip_told_skip_discarded(RAMBlock *rb, SkipPages *pages,
                                  unsigned long page);
void skip_told_sent(RAMBlock *rb, SkipPages *pages, unsigned long page);

/**
 * skip_told_before_sending: A page is going to be sent, or skipped after all
 * @rb: the RAM block
 * @page: target page, whose dirty bit has just been cleared
 *
 * By the thread that sends it, with the lock of the dirty bitmap held.
 *
 * Returns: 0 if it is to be sent; or how many pages from @page on have been
 * skipped, none of which is dirty any more
 */
static inline uint64_t skip_told_before_sending(RAMBlock *rb,
                                                unsigned long page)
{
    SkipPages *pages = skip_pages_of(rb);
    unsigned long *discarded;

    if (!pages || !pages->told) {
        return 0;
    }
    discarded = qatomic_load_acquire(&pages->discarded);
    if (discarded && test_bit(page, discarded)) {
        uint64_t skipped = skip_told_skip_discarded(rb, pages, page);

        if (skipped) {
            return skipped;
        }
    }
    skip_told_sent(rb, pages, page);
    return 0;
}

/* ---- Background snapshots; on Linux ---- */

/**
 * skip_snapshot_populate: Leave a RAM block as it is, if that is enough
 * @rb: the RAM block
 *
 * Called while the guest runs, without the BQL.
 *
 * Returns: false if the caller has to populate all of it
 */
bool skip_snapshot_populate(RAMBlock *rb);

/**
 * skip_snapshot_begin: Skip what the guest has not populated
 *
 * Called with the BQL held and the guest stopped, at the moment that the
 * snapshot is of.  Everything else is populated then.
 */
void skip_snapshot_begin(void);

/**
 * skip_snapshot_protect: Trap writes to a RAM block, but for what is skipped
 * @rb: the RAM block
 * @uffd_fd: what traps them
 * @ret: set to 0, or to something negative
 *
 * Called with the BQL held and the guest stopped.
 *
 * Returns: false if it did nothing, and the caller has to do it for all of it
 */
bool skip_snapshot_protect(RAMBlock *rb, int uffd_fd, int *ret);

/* ---- The destination ---- */

/**
 * skip_arrival_page: Something is about to be loaded into a page
 * @host: the page, in @rb
 *
 * For each page that comes in the main channel, before it is noted as received.
 */
void skip_arrival_page(RAMBlock *rb, void *host);

/**
 * skip_arrival_zero: Load a page of zeroes
 * @host: the page of the last skip_arrival_page()
 *
 * What is not populated stays so.  What has been loaded before is dropped, if
 * that can be done.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_arrival_zero(void *host);

/**
 * skip_arrival_zero_of_channel: The same for a page that comes by multifd
 * @offset: in @rb, in bytes
 *
 * By any thread; notes the page as received.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_arrival_zero_of_channel(RAMBlock *rb, uint64_t offset);

/**
 * skip_arrival_gaps: Load pages that a file of mapped-ram does not hold
 * @rb: the RAM block
 * @held: a bit for each target page that it does
 * @npages: how many bits
 * @errp: set if the others cannot be made to read as zero
 *
 * With the BQL held; the main loop may run meanwhile.
 */
bool skip_arrival_gaps(RAMBlock *rb, const unsigned long *held,
                       uint64_t npages, Error **errp);

/**
 * skip_postcopy_prepare: Postcopy begins; expect nothing but what gets named
 *
 * On the destination, before the first of the discard commands is executed.
 */
void skip_postcopy_prepare(void);

/**
 * skip_postcopy_is_settled: Is a page that is missing known to be zero?
 * @rb: the RAM block
 * @offset: of the host page, in bytes
 *
 * On the destination, while the guest runs; no lock is needed.
 */
bool skip_postcopy_is_settled(RAMBlock *rb, uint64_t offset);

/**
 * skip_postcopy_place: Place a page of zeroes that the source does not send
 * @mis: the migration
 * @rb: the RAM block
 * @offset: of the host page, in bytes
 *
 * Does no harm if the page has been placed meanwhile.  Waits for the host to
 * have memory.  To be called by the thread that handles faults.
 *
 * Returns: 0; whoever waits for a page that cannot be placed goes on in the end
 */
int skip_postcopy_place(struct MigrationIncomingState *mis, RAMBlock *rb,
                        uint64_t offset);

/* ---- What migration/ram.c does ---- */

/**
 * ram_bitmap_lock: Lock the dirty bitmaps
 *
 * On the source, between setup and completion.
 */
void ram_bitmap_lock(void);

/**
 * ram_bitmap_unlock: Unlock the dirty bitmaps
 * @cleared: how many bits have been cleared since they were locked
 */
void ram_bitmap_unlock(uint64_t cleared);

/**
 * ram_sync_bitmap: Synchronize the dirty bitmap, with the BQL held
 */
void ram_sync_bitmap(void);

/**
 * ram_xbzrle_zero_page: The destination has zeroes in a page
 * @rb: the RAM block
 * @page: target page; what is sent of it next must not be a change of what was
 *        sent before
 *
 * By the thread that sends pages.
 */
void ram_xbzrle_zero_page(RAMBlock *rb, unsigned long page);

/**
 * ram_clear_dirty_log_range: Track writes to a range from now on
 * @rb: the RAM block
 * @start: first target page
 * @npages: target pages; the whole chunks that they lie in are affected
 *
 * To be called before it is decided about the pages.  As KVM takes milliseconds
 * for a chunk, the BQL had better not be held.  Locks the dirty bitmaps.
 */
void ram_clear_dirty_log_range(RAMBlock *rb, unsigned long start,
                               unsigned long npages);

/**
 * ram_block_populate_read: Populate all of @rb for a background snapshot
 */
void ram_block_populate_read(RAMBlock *rb);

/* ---- What migration/multifd-nocomp.c does ---- */

/**
 * multifd_ram_sync: Have the channels send what there is, and synchronize them
 *
 * Unlike multifd_ram_flush_and_sync() it writes nothing to the main channel:
 * the caller tells the destination.
 *
 * Returns: -1 if that failed
 */
int multifd_ram_sync(void);

#endif
