/*
 * Migrations that skip pages: when passes are made, and what is kept for them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_MIGRATION_H
#define MIGRATION_SKIP_MIGRATION_H

/**
 * skip_migration_init: Hook into migration; once, when its state is set up
 */
void skip_migration_init(void);

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
 * skip_migration_skips: Does the migration under way skip anything?
 *
 * With the BQL held, or by the migration thread.
 */
bool skip_migration_skips(void);

/**
 * skip_migration_first_pass: Make the first pass, unless it was made
 *
 * To be called once all of RAM is set up and before any of it is sent, by
 * the migration thread, with the BQL held; the BQL is dropped now and then.
 */
void skip_migration_first_pass(void);

/**
 * skip_migration_last_pass: Make the pass with the guest stopped, unless it was
 * made
 *
 * Postcopy begins then: ram has not been completed.  With the BQL held.
 */
void skip_migration_last_pass(void);

/**
 * skip_migration_snapshot: Make the only pass of a background snapshot
 *
 * Called by the migration thread with the guest stopped and the BQL held.
 */
void skip_migration_snapshot(void);

/**
 * skip_migration_catch_up: Make a pass if one is due
 *
 * The main loop, too, synchronizes the dirty bitmap (auto-converge), and
 * leaves the pass to the migration thread.  To be called by that, without the
 * BQL, before it sends.
 */
void skip_migration_catch_up(void);

/**
 * skip_migration_before_sync: Take note that the dirty bitmap gets synchronized
 *
 * See skip_pass_before_sync().
 */
void skip_migration_before_sync(void);

/**
 * skip_migration_savevm_begin: A snapshot is going to be saved by the main loop
 */
void skip_migration_savevm_begin(void);

/**
 * skip_migration_savevm_end: It has been saved, or that has failed
 */
void skip_migration_savevm_end(void);

/**
 * skip_migration_in_savevm: Is a snapshot being saved that may skip pages?
 */
bool skip_migration_in_savevm(void);

#endif
