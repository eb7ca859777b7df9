/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_RUN_H
#define SKIP_BALLOON_BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "qemu/migration.h"
#include "qemu/vm.h"

/* One migration of a guest, and what it cost. */
typedef struct RunConfig {
    const char *label;          /* "off" or "on"; names the logs, too */
    const char *stage;          /* that the caller has begun for all, or NULL */
    VmConfig vm;                /* without what follows from the rest */
    uint64_t balloon_to;        /* what it is left with; 0: no balloon */
    uint64_t fill;              /* more memory to use and check, in bytes */
    MigrationMode mode;
    SkipSet skip;               /* the capabilities to set */
    uint64_t warm;              /* memory for memory_warm(), in bytes */
    bool ask_map;               /* where the memory went, if QEMU can tell */
} RunConfig;

typedef struct RunResult {
    uint64_t source_before;     /* bytes of the host, as are the next two */
    uint64_t source_after;
    uint64_t destination_after;
    MigrationStats migration;
    double boot_secs;
    double inflate_secs;
    GArray *samples;            /* of MemorySample, during the migration */
    JsonNode *map;              /* of query-migration-map, or NULL */
} RunResult;

/**
 * run_result_clear: free what a result has allocated.
 * @result: the result; valid or all zero
 */
void run_result_clear(RunResult *result);

/**
 * run_migration: boot a guest, fill its memory and inflate its balloon unless
 * it is not to have one, migrate it, and check on the destination that it is
 * intact and goes on.
 * @session: the session
 * @config: what to do
 * @result: where to put what was measured; all of it is only valid on success;
 *          to be cleared with run_result_clear() in any case
 * @error: set if any of it fails
 *
 * Returns: whether the guest is intact.
 */
bool run_migration(Session *session, const RunConfig *config,
                   RunResult *result, GError **error);

/**
 * run_idle_used: how much memory a guest that is idle uses.
 * @memory: of the guest, in bytes
 *
 * Returns: bytes.
 */
uint64_t run_idle_used(uint64_t memory);

/**
 * run_workset: how much memory the guest can keep and check when
 * the balloon is full.
 * @memory: of the guest, in bytes
 * @to: what the balloon leaves of it, in bytes
 *
 * Returns: bytes, 0 if @to is too little for any.
 */
uint64_t run_workset(uint64_t memory, uint64_t to);

/**
 * run_idle_workset: how much of it a guest that is idle keeps.
 * @memory: of the guest, in bytes
 *
 * Returns: bytes, 0 if @memory is too little for any.
 */
uint64_t run_idle_workset(uint64_t memory);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RunResult, run_result_clear)

#endif /* SKIP_BALLOON_BENCH_RUN_H */
