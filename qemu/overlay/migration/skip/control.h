/*
 * Migrations that skip pages: when passes are made, and what is kept for them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_CONTROL_H
#define MIGRATION_SKIP_CONTROL_H

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
 * skip_migration_in_savevm: Is a snapshot being saved that may skip pages?
 */
bool skip_migration_in_savevm(void);

#endif
