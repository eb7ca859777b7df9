/*
 * Migrations that skip pages: what begins and ends with them, and when passes
 * are made
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_CONTROL_H
#define MIGRATION_SKIP_CONTROL_H

#include "exec/ramblock.h"
#include "migration/migration.h"
#include "qapi/qapi-types-migration.h"

/* What became of dirty pages, added up over passes.  All are target pages. */
typedef struct SkipCounts {
    /* In the balloon map */
    uint64_t skipped;
    uint64_t vetoed;            /* populated, or undecided */
    uint64_t undecided;
    /* Elsewhere */
    uint64_t unpopulated;
} SkipCounts;

/*
 * The source of a migration, or of a snapshot, that has a section of ours.
 * It is made when that begins, and stays until the next one begins, for
 * query-migrate.  Protected by the BQL, but for what says otherwise.
 */
typedef struct SkipMigration {
    /* Which capabilities were on when it began */
    bool balloon;
    bool unpopulated;
    /* The balloon map goes along in any case, since it is enforced */
    bool maps;
    /* It is under way; the migration thread may look at it without the BQL */
    bool running;
    /* A snapshot is saved by the main loop, with the guest stopped */
    bool in_savevm;

    /* Capability skip-balloon: does it skip anything, and if not, why? */
    SkipBalloonStatus status;
    SkipBalloonReason reason;
    /* Capability skip-unpopulated: memory that is sent whatever it is */
    SkipUnpopulatedLeftAloneList *left_alone;

    /*
     * The first pass, and that with the guest stopped, have been made.  END of
     * postcopy asks for the latter before migration_in_postcopy() says so.
     */
    bool first_made;
    bool final_made;
    /*
     * The dirty bitmap was synchronized, and no pass has been made since; with
     * the lock of the dirty bitmap held, too, and read without
     */
    bool due;
    /* How often it was synchronized */
    uint64_t syncs;
    SkipCounts counts;
    /* Pages skipped when they were to be sent; atomic */
    uint64_t late;

    /* END of the section is out */
    bool ended;
    /* Changes of the map are to be sent; the migration thread's */
    bool sends_changes;
    /* Turns waited for since the last part; the migration thread's */
    int turns;
    /*
     * Of which RAM blocks the destination has a map: their sizes in balloon
     * pages, by name
     */
    GHashTable *map_blocks;
    /* Bytes of the section, and those of END alone; the migration thread's */
    uint64_t bytes;
    uint64_t final_bytes;
} SkipMigration;

/**
 * skip_migration: The migration that skips pages, under way or the last one
 *
 * With the BQL held, or by the migration thread.
 *
 * Returns: NULL if the last migration has no section of ours
 */
static inline SkipMigration *skip_migration(void)
{
    return migrate_get_current()->skip;
}

/**
 * migrate_skip_balloon: Is the capability on?
 */
bool migrate_skip_balloon(void);

/**
 * migrate_skip_unpopulated: Is the capability on?
 */
bool migrate_skip_unpopulated(void);

/**
 * skip_balloon_active: Does the migration under way skip the balloon?
 *
 * With the BQL held, or by the migration thread.
 */
bool skip_balloon_active(void);

/**
 * skip_migration_skips: Does it skip anything?
 */
bool skip_migration_skips(void);

/**
 * skip_migration_discard_inhibited: Does memory that the guest gives back stay
 * since a device needs it, or it is locked, or the host refuses?
 * Not asked is whether it is put off, as in postcopy.
 *
 * With the BQL held.
 */
bool skip_migration_discard_inhibited(void);

/**
 * skip_migration_pagemap_denied: Can nobody be asked what of guest RAM the host
 * has memory for, for want of /proc/self/pagemap?
 *
 * With the BQL held.  Says so, and what to do about it, in QEMU's log, once.
 */
bool skip_migration_pagemap_denied(void);

/**
 * skip_unpopulated_give_up: The host does not tell what of @rb is populated
 *
 * With the BQL held.  No page of it is skipped any more only for that.
 */
void skip_unpopulated_give_up(RAMBlock *rb);

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

#endif
