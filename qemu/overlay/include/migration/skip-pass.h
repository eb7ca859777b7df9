/*
 * Passes over the dirty bitmap, to skip what need not be sent
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_PASS_H
#define MIGRATION_SKIP_PASS_H

#include "exec/ramblock.h"
#include "migration/balloon-bitmap.h"
#include "migration/populated.h"
#include "qemu/bitops.h"
#include "qemu/rcu.h"

/*
 * What a migration knows of the pages of a RAM block; a bit for each target
 * page in all bitmaps.
 *
 * RAMBlock.skip_pages is set and reset with the BQL: at the beginning and the
 * end of a migration, and when the RAM block goes.  Whoever reads it without
 * does so once, by skip_pages_of(), in an RCU critical section, during which
 * what it points to stays.
 */
typedef struct SkipPages {
    struct rcu_head rcu;
    /*
     * Pages taken to be sent before a pass had looked at them.  Protected by
     * the lock of the dirty bitmap.
     */
    unsigned long *unseen;
    bool any_unseen;
    /*
     * With skip-unpopulated: pages sent, or being sent, of which the
     * destination may hold something.  Protected by the lock of the dirty
     * bitmap.
     */
    unsigned long *sent;
    /*
     * With skip-unpopulated: dirty pages to be sent as zeroes without looking
     * at them, which would populate them.  Only the BQL is needed to change
     * it: what is dirty and is taken to be sent after a bit was cleared has
     * seen that.
     */
    unsigned long *zero;
    bool any_zero;
    /*
     * Pages that were discarded during the migration, see
     * skip-discarded.c; NULL if there were none.  Set with the BQL, and read
     * without; nobody clears it.
     */
    unsigned long *discarded;
    /* The migration thread's, before postcopy */
    PopulatedScan *discarded_scan;
    /* Where this migration is recorded, see skip-record.h */
    struct SkipRecord *record;
    /*
     * Pages that were sent with their content.  Set atomically by the threads
     * that send; nobody clears it.
     */
    unsigned long *seen;
    /* The host stopped telling what is populated */
    bool given_up;
    /* It did not tell so of some pages of the map */
    bool undecided;
    /* Not all of it was populated for a background snapshot */
    bool spared;
} SkipPages;

/**
 * skip_pages_of: What the migration under way knows of the pages of @rb
 *
 * Returns: NULL if it does not skip any in it
 */
static inline SkipPages *skip_pages_of(const RAMBlock *rb)
{
    return qatomic_rcu_read(&rb->skip_pages);
}

/* A pass, and how far it has come.  All pages are target pages. */
typedef struct SkipPass {
    /* The guest is stopped, so there is no point in pausing */
    bool final;
    RAMBlock *rb;
    PopulatedScan *scan;
    /* What the guest gave back of @rb; NULL if that is of no interest */
    const BalloonBitmap *map;
    /* Whether to skip what is unpopulated outside the map, too */
    bool unpopulated;
    /* The host does not tell what is unpopulated in @rb */
    bool silent;
    /* Where to go on in @rb */
    uint64_t at;
    /* Pages below this one have their writes tracked */
    uint64_t armed_end;
    /* Below this one, words of the bitmaps have been looked at */
    uint64_t ahead_end;
    /* Pages that may still be looked at for zeroes */
    uint64_t zero_budget;
    /* Huge pages were counted with the guest stopped */
    bool counted_late;
    /* Dirty bits cleared in this slice, less those that were set */
    int64_t cleared;
    /* When this slice began */
    int64_t slice_begin;
    /* Since when nobody else may have got the BQL */
    int64_t turn_begin;
    /* When it was dropped last */
    int64_t dropped;
    /* How often the dirty bitmap had been synchronized then */
    uint64_t syncs;
    /* Of the whole pass: for trace events, and for the statistics */
    uint64_t skipped;
    uint64_t vetoed;
    uint64_t undecided;
    uint64_t unpopulated_skipped;
    uint64_t zeroed;
    uint64_t runs;
    uint64_t calls;
    uint64_t slices;
    int64_t ns;
    int64_t longest_ns;
    /* Armed, and how long that took */
    uint64_t windows;
    int64_t arm_ns;
} SkipPass;

/*
 * What becomes of dirty pages, by what the host says about them.  All three
 * are called with the BQL and the lock of the dirty bitmap held.
 */
typedef struct SkipPolicy {
    /* There is nothing behind them */
    void (*unpopulated)(SkipPass *pass, uint64_t start, uint64_t end);
    /* There is something behind them */
    void (*populated)(SkipPass *pass, uint64_t start, uint64_t end);
    /* It does not know; @error is a negative errno */
    void (*undecided)(SkipPass *pass, uint64_t start, uint64_t end, int error);
} SkipPolicy;

/**
 * skip_pass_clear_dirty: Clear the dirty bits of pages that are all dirty
 */
void skip_pass_clear_dirty(SkipPass *pass, uint64_t start, uint64_t end);

/**
 * skip_pass_make_dirty: Make pages dirty, as if they were never taken to be
 * sent; they are not looked at again if the pass has been there
 */
void skip_pass_make_dirty(SkipPass *pass, uint64_t start, uint64_t end);

/**
 * skip_pass_first: Make the first pass of a migration, unless it was made
 *
 * To be called once all of RAM is set up and before any of it is sent, by
 * the migration thread, with the BQL held; the BQL is dropped now and then.
 */
void skip_pass_first(void);

/**
 * skip_pass_init: Hook into migration; once, when its state is set up
 */
void skip_pass_init(void);

/**
 * skip_pass_caps_check: Can the capabilities be used together?
 * @caps: the capabilities as they would be, indexed by MigrationCapability
 * @errp: set if not
 *
 * Returns: false, with @errp set, if skip-balloon or skip-unpopulated is among
 * them together with one that it does not support
 */
bool skip_pass_caps_check(const bool *caps, Error **errp);

/**
 * skip_pass_behind: Has the dirty bitmap been synchronized since the last pass?
 *
 * Protected by the lock of the dirty bitmap.
 */
extern bool skip_pass_behind;

/**
 * skip_pass_note_sending: Note that a page is going to be sent
 * @rb: the RAM block
 * @page: target page
 *
 * To be called with the lock of the dirty bitmap held, when its dirty bit is
 * cleared.
 */
static inline void skip_pass_note_sending(RAMBlock *rb, unsigned long page)
{
    SkipPages *pages = skip_pages_of(rb);

    if (!pages) {
        return;
    }
    if (pages->sent) {
        set_bit(page, pages->sent);
    }
    if (skip_pass_behind) {
        set_bit(page, pages->unseen);
        pages->any_unseen = true;
    }
}

/**
 * skip_pass_catch_up: Make a pass if one is due
 *
 * The main loop, too, synchronizes the dirty bitmap (auto-converge), and
 * leaves the pass to the migration thread.  To be called by that, without the
 * BQL, before it sends.
 */
void skip_pass_catch_up(void);

/**
 * skip_pass_last: Make the last pass, postcopy is about to begin
 *
 * Called by the migration thread with the guest stopped and the BQL held,
 * after the last synchronization and before the destination is told what is
 * dirty.  From then on all that is dirty has to be sent.
 */
void skip_pass_last(void);

/**
 * skip_pass_snapshot: Make the only pass of a background snapshot
 *
 * Called by the migration thread with the guest stopped and the BQL held.
 */
void skip_pass_snapshot(void);

/**
 * skip_pass_savevm_begin: A snapshot is going to be saved by the main loop
 */
void skip_pass_savevm_begin(void);

/**
 * skip_pass_savevm_end: It has been saved, or that has failed
 */
void skip_pass_savevm_end(void);

/**
 * skip_pass_in_savevm: Is a snapshot being saved that may skip pages?
 */
bool skip_pass_in_savevm(void);

/**
 * skip_pass_before_sync: Take note that the dirty bitmap gets synchronized
 *
 * What was found out about dirty pages is void from now on.  Called by
 * whoever synchronizes, with the BQL and the lock of the dirty bitmap held,
 * neither of which may be dropped before the bits are set.
 */
void skip_pass_before_sync(void);

/**
 * skip_pass_note_discard: Note that a range is going to be discarded
 * @rb: the RAM block
 * @offset: in bytes
 * @length: in bytes
 *
 * With the BQL held.
 */
void skip_pass_note_discard(RAMBlock *rb, uint64_t offset, uint64_t length);

/**
 * skip_pass_ask_discarded: Has a page that was discarded nothing behind it?
 * @rb: the RAM block
 * @page: target page whose dirty bit has just been cleared
 *
 * To be called by the migration thread; no lock is needed.
 */
bool skip_pass_ask_discarded(RAMBlock *rb, unsigned long page);

#endif
