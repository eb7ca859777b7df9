/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_MIGRATION_H
#define SKIP_BALLOON_QEMU_MIGRATION_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "qemu/vm.h"

/* Which memory a migration is to skip: the capabilities, as a set of bits. */
typedef enum SkipSet {
    SKIP_NOTHING = 0,
    SKIP_BALLOON = 1 << 0,      /* what is in the balloon */
    SKIP_UNPOPULATED = 1 << 1,  /* what the host has no memory for */
    SKIP_BOTH = SKIP_BALLOON | SKIP_UNPOPULATED,
} SkipSet;

/**
 * skip_set_parse: the set that a word of the command line stands for.
 * @word: "balloon", "unpopulated" or "both"
 * @set: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool skip_set_parse(const char *word, SkipSet *set, GError **error);

/**
 * skip_set_capabilities: the names that QEMU has for the members of a set.
 * @set: the set
 *
 * Returns: the names, NULL-terminated, to be freed with g_free(); the names
 * themselves are not owned.
 */
const char **skip_set_capabilities(SkipSet set);

/**
 * skip_set_title: the same for people: "skip-balloon and skip-unpopulated".
 * @set: the set, not empty
 *
 * Returns: a new string; the caller frees it.
 */
char *skip_set_title(SkipSet set);

/* As many RAM blocks as are kept; a guest of ours has about ten. */
#define MIGRATE_LEFT_ALONE_MAX 32

/* A RAM block of which skip-unpopulated skips nothing. */
typedef struct LeftAlone {
    char id[256];
    uint64_t size;              /* bytes */
    char reason[32];
} LeftAlone;

/* What query-migrate says of skip-unpopulated. */
typedef struct UnpopulatedStats {
    bool known;                 /* whether QEMU says anything of it */
    uint64_t skipped_pages;     /* of 4 KiB */
    uint64_t skipped_bytes;
    LeftAlone left_alone[MIGRATE_LEFT_ALONE_MAX];
    unsigned n_left_alone;
} UnpopulatedStats;

/* What query-migrate says of a migration. */
typedef struct MigrationStats {
    char status[32];            /* "active", "completed"; "" before the first */
    int64_t total_ms;
    int64_t downtime_ms;
    int64_t setup_ms;
    uint64_t transferred;       /* bytes of RAM */
    uint64_t remaining;         /* bytes of RAM */
    uint64_t total;             /* bytes of RAM */
    uint64_t duplicate;         /* zero-page records */
    uint64_t normal;            /* pages sent with their content */
    uint64_t passes;            /* synchronizations of the dirty bitmap */
    uint64_t postcopy_bytes;    /* of RAM, sent after the guest had moved */
    UnpopulatedStats unpopulated;
    bool has_skip;              /* whether QEMU says anything of what follows */
    char skip_status[32];       /* "active" or "disabled" */
    char skip_reason[32];       /* why it is disabled, or "" */
    uint64_t skipped_pages;     /* of 4 KiB */
    uint64_t skipped_bytes;
    uint64_t vetoed_pages;      /* of 4 KiB */
    uint64_t map_bytes;         /* of the section of its own in the stream */
    uint64_t final_map_bytes;   /* of these, with the guest stopped */
    char reason[256];           /* why it failed, or "" */
    double bytes_per_s;         /* that it sends */
    double dirty_per_s;         /* bytes that the guest writes to */
    int64_t expected_downtime_ms;
} MigrationStats;

/**
 * migration_parse: read an answer to query-migrate.
 * @answer: the answer
 * @stats: where to put it
 */
void migration_parse(JsonObject *answer, MigrationStats *stats);

/**
 * migration_is_over: whether a migration has ended, or there was none.
 * @stats: what QEMU says of it
 */
bool migration_is_over(const MigrationStats *stats);

/**
 * migration_has_status: whether that is its status.
 * @stats: what QEMU says of it
 * @status: "completed", or another
 */
bool migration_has_status(const MigrationStats *stats, const char *status);

/**
 * migrate_set_capability: turn a migration capability on or off.
 * @vm: either end
 * @name: the capability
 * @on: whether it is to be on
 * @error: set as by vm_execute()
 */
bool migrate_set_capability(Vm *vm, const char *name, bool on,
                            GError **error);

/**
 * migrate_skip: turn the capabilities of a set on, at both ends. Touches no
 * others, which a stock QEMU does not know.
 * @source: one end
 * @destination: the other
 * @set: the set
 * @error: set as by vm_execute()
 */
bool migrate_skip(Vm *source, Vm *destination, SkipSet set, GError **error);

/**
 * migrate_find_unknown: whether this QEMU knows all capabilities of a set.
 * @vm: the VM
 * @set: the set
 * @unknown: where to put the name of the first that it does not know, NULL if
 *           it knows them all; not owned
 * @error: set as by vm_execute()
 */
bool migrate_find_unknown(Vm *vm, SkipSet set, const char **unknown,
                          GError **error);

/**
 * migrate_set_bandwidth: limit how fast a migration sends.
 * @vm: the source; a running migration obeys at once
 * @bytes: per second; 0 for as fast as can be
 * @error: set as by vm_execute()
 */
bool migrate_set_bandwidth(Vm *vm, uint64_t bytes, GError **error);

/**
 * migrate_start: start a migration, do not wait for it.
 * @session: in whose directory the socket is made
 * @source: the VM that runs
 * @destination: a VM that waits for a migration
 * @error: set as by vm_execute()
 */
bool migrate_start(Session *session, Vm *source, Vm *destination,
                   GError **error);

/**
 * migrate_query: how a migration goes.
 * @source: its source
 * @stats: where to put it
 * @error: set as by vm_execute()
 */
bool migrate_query(Vm *source, MigrationStats *stats, GError **error);

/**
 * migrate_wait_status: wait until a migration has a status. Reports to the
 * session's progress.
 * @session: the session of the source
 * @source: the source of the migration
 * @status: "completed", "active", "cancelled" ...
 * @stats: where to put the last answer
 * @error: set as by vm_execute(), if it gets nowhere, or if it ends with
 *         another status, with what QEMU says is the reason
 */
bool migrate_wait_status(Session *session, Vm *source, const char *status,
                         MigrationStats *stats, GError **error);

/**
 * migrate_wait: wait until a migration has completed and the guest runs on
 * the destination.
 * @session: the session of both
 * @source: the source of the migration
 * @destination: its destination
 * @stats: where to put the last answer of the source
 * @error: as for migrate_wait_status()
 */
bool migrate_wait(Session *session, Vm *source, Vm *destination,
                  MigrationStats *stats, GError **error);

/**
 * migrate_cancel: cancel a migration and wait until it is; the guest goes on
 * at the source.
 * @session: the session of the source
 * @source: the source of the migration
 * @error: as for migrate_wait_status()
 */
bool migrate_cancel(Session *session, Vm *source, GError **error);

/* How a migration moves memory. */
typedef enum MigrationMode {
    MODE_PLAIN,                 /* precopy over one connection */
    MODE_MULTIFD,               /* precopy, memory over two connections */
    MODE_POSTCOPY,              /* the guest moves first */
} MigrationMode;

#define MODE_COUNT (MODE_POSTCOPY + 1)

/**
 * migration_mode_parse: the mode that a name stands for.
 * @name: "plain", "multifd" or "postcopy"
 * @mode: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool migration_mode_parse(const char *name, MigrationMode *mode,
                          GError **error);

/**
 * migration_mode_name: what migration_mode_parse() takes.
 * @mode: the mode
 */
const char *migration_mode_name(MigrationMode mode);

/**
 * migration_mode_set: prepare both ends for a mode, before the migration.
 * @source: one end
 * @destination: the other
 * @mode: the mode
 * @error: set as by vm_execute()
 */
bool migration_mode_set(Vm *source, Vm *destination, MigrationMode mode,
                        GError **error);

/**
 * migration_mode_wait: see a migration that has been started through to its
 * end, as migrate_wait() does.
 * @session: the session of both
 * @source: the source of the migration
 * @destination: its destination
 * @mode: the mode; MODE_POSTCOPY switches as soon as the migration is active
 * @stats: where to put the last answer of the source
 * @error: as for migrate_wait(); also set if it was over before it could
 *         switch to postcopy
 */
bool migration_mode_wait(Session *session, Vm *source, Vm *destination,
                         MigrationMode mode, MigrationStats *stats,
                         GError **error);

#endif /* SKIP_BALLOON_QEMU_MIGRATION_H */
