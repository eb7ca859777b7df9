/*
 * Passes over the dirty bitmap, to skip what need not be sent
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_PASS_H
#define MIGRATION_SKIP_PASS_H

#include "exec/ramblock.h"

/* What became of dirty pages, added up over passes.  All are target pages. */
typedef struct SkipCounts {
    /* In the balloon map */
    uint64_t skipped;
    uint64_t vetoed;            /* populated, or undecided */
    uint64_t undecided;
    /* Elsewhere */
    uint64_t unpopulated;
} SkipCounts;

/**
 * skip_pass_reset: Forget earlier passes, a migration begins
 */
void skip_pass_reset(void);

/**
 * skip_pass_stop: No pass is due any more
 */
void skip_pass_stop(void);

/**
 * skip_pass_counts: What became of pages since skip_pass_reset()
 *
 * With the BQL held.
 */
SkipCounts skip_pass_counts(void);

/**
 * skip_pass_make: Make a pass over all of RAM
 * @final: the guest is stopped, or writes are not tracked yet: so there is
 *         nothing to arm, and no point in pausing
 *
 * By the migration thread, with the BQL held and no lock of the dirty bitmap;
 * unless @final, the BQL is dropped now and then.
 */
void skip_pass_make(bool final);

/**
 * skip_pass_final_made: Has a pass been made with the guest stopped?
 *
 * No page that is dirty now has to be looked at then.
 */
bool skip_pass_final_made(void);

/**
 * skip_pass_before_sync: Take note that the dirty bitmap gets synchronized
 *
 * A pass is due from now on.  Called by whoever synchronizes, with the BQL and
 * the lock of the dirty bitmap held, neither of which may be dropped before the
 * bits are set.
 */
void skip_pass_before_sync(void);

/**
 * skip_pass_is_due: Has the dirty bitmap been synchronized since the last pass?
 *
 * No lock is needed.
 */
bool skip_pass_is_due(void);

#endif
