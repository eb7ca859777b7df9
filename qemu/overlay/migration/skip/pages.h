/*
 * What a migration that skips pages knows of the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_PAGES_H
#define MIGRATION_SKIP_PAGES_H

#include "exec/ramblock.h"
#include "populated.h"
#include "qemu/rcu.h"

/*
 * A bit for each target page in all bitmaps.
 *
 * RAMBlock.skip_pages is set and reset with the BQL: at the beginning and the
 * end of a migration, and when the RAM block goes.  Whoever reads it without
 * does so once, by skip_pages_of(), in an RCU critical section, during which
 * what it points to stays.
 *
 * At the end the source keeps @told, for query-migration-map, and nothing else:
 * a bit for each page, 32 MiB for 1 TiB of pages of 4 KiB.  It goes when the
 * next migration begins, or one that skips pages arrives here.
 */
typedef struct SkipPages {
    struct rcu_head rcu;

    /* ---- Source ---- */

    /* Capability skip-unpopulated, or a snapshot: any page may be skipped */
    bool all_wanted;
    /* The host did not tell of some pages */
    bool undecided;
    /* Not all of it was populated for a background snapshot */
    bool spared;
    /*
     * Pages that the destination knows to be zero, and that were not sent
     * since; NULL on the destination.  Protected by the lock of the dirty
     * bitmap.  query-migration-map counts them with the BQL only: what changes
     * at that moment counts or does not.
     */
    unsigned long *told;
    /* Another SkipPages has it by now */
    bool told_kept;
    /*
     * Pages that were skipped, which the destination has yet to be told, and
     * how many these are.  NULL if it never is: a file of mapped-ram tells by
     * its own bitmap.  Protected by the lock of the dirty bitmap.
     */
    unsigned long *pending;
    uint64_t npending;
    /*
     * Pages that were discarded during the migration, but for huge ones; NULL
     * if there were none.  Set with the BQL; the thread that sends clears what
     * turns out to be used again.
     */
    unsigned long *discarded;
    /* Asks about them; the migration thread's, before postcopy */
    PopulatedScan *discarded_scan;

    /* ---- Destination ---- */

    /*
     * Nothing was left of what it held when the migration began.  Set before
     * the first page arrives.
     */
    bool emptied;
    /* A bit for each huge page that is forbidden, or NULL; with the BQL */
    unsigned long *forbidden;
} SkipPages;

/**
 * skip_pages_of: What the migration under way, or else the last one, knows of
 * the pages of @rb
 *
 * Returns: NULL if it does not skip any in it
 */
static inline SkipPages *skip_pages_of(const RAMBlock *rb)
{
    return qatomic_rcu_read(&rb->skip_pages);
}

/**
 * skip_pages_init: Take note of RAM blocks that go; once
 */
void skip_pages_init(void);

/**
 * skip_pages_add: Begin to keep this for all RAM blocks that are migrated
 *
 * With the BQL held.  What there was of an earlier migration goes.
 */
void skip_pages_add(void);

/**
 * skip_pages_keep_told: The source has migrated, or will send what is dirty
 *
 * With the BQL held.  All but what was told is thrown away.  Of that is taken,
 * in postcopy, what is sent from now on.
 */
void skip_pages_keep_told(void);

/**
 * skip_pages_drop: Throw all of it away, for all RAM blocks
 * @told_only: only where it is what was told by an earlier migration, and not
 *             what a migration that arrives keeps
 *
 * With the BQL held.  Other threads may still be looking at it, in an RCU
 * critical section.
 */
void skip_pages_drop(bool told_only);

/* ---- Which RAM blocks ---- */

/**
 * skip_unpopulated_is_guest_ram: Is @rb what the guest has for its memory?
 *
 * In contrast to ROMs, and to memory of devices: that may hold something on
 * the destination before the migration begins.
 */
bool skip_unpopulated_is_guest_ram(const RAMBlock *rb);

/**
 * skip_unpopulated_can_ask: Can the host tell what of @rb is populated?
 */
bool skip_unpopulated_can_ask(const RAMBlock *rb);

/**
 * skip_unpopulated_may_look_at: Is @rb guest RAM, of which the host can tell?
 */
bool skip_unpopulated_may_look_at(const RAMBlock *rb);

/* ---- What of them is populated ---- */

/**
 * populated_scan_of_block: Prepare to ask which parts of @rb are populated
 * @rb: the RAM block
 * @use: what the answers are for
 *
 * @rb must neither be resized nor go away as long as the scan is used.
 *
 * Returns: the scan, for populated_scan_free()
 */
PopulatedScan *populated_scan_of_block(RAMBlock *rb, PopulatedUse use);

/**
 * populated_huge_bytes: How large are all RAM blocks in huge pages together?
 *
 * In an RCU critical section; no lock is needed.
 */
uint64_t populated_huge_bytes(void);

/**
 * populated_scan_count_block: populated_scan_count() for a RAM block
 * @scan: of @rb
 * @rb: the RAM block, in huge pages
 *
 * In an RCU critical section; no lock is needed.
 *
 * Returns: as of populated_scan_count()
 */
int populated_scan_count_block(PopulatedScan *scan, RAMBlock *rb);

#endif
