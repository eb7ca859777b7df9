/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_PARTS_H
#define SKIP_BALLOON_BENCH_PARTS_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/bench.h"
#include "bench/case.h"

/* What bench_run() consists of. */

/**
 * bench_environment: what a benchmark runs on, as a result.
 * @session: the session; the QEMUs are asked what they are
 * @options: the options
 * @error: set if one of them does not start
 *
 * Returns: the members of the result, NULL on failure; to be freed with
 * json_object_unref().
 */
JsonObject *bench_environment(Session *session, const BenchOptions *options,
                              GError **error);

/**
 * bench_guest_plan: add to a clock what bench_guest_run() will do.
 * @clock: the clock
 * @options: the options
 */
void bench_guest_plan(BenchClock *clock, const BenchOptions *options);

/**
 * bench_guest_list: print what bench_guest_run() will do, and about how long
 * that takes.
 * @options: the options
 */
void bench_guest_list(const BenchOptions *options);

/**
 * bench_guest_run: measure real guests: all cases with all builds in turns,
 * so that a machine that gets slower does so for all of them.
 * @session: the session
 * @clock: the clock
 * @options: the options
 * @sink: where the results go
 * @error: set if a guest did not arrive intact, or results cannot be written
 */
bool bench_guest_run(Session *session, BenchClock *clock,
                     const BenchOptions *options, BenchSink *sink,
                     GError **error);

/**
 * bench_device_plan: add to a clock what bench_device_run() will do.
 * @clock: the clock
 * @options: the options
 */
void bench_device_plan(BenchClock *clock, const BenchOptions *options);

/**
 * bench_device_list: print what bench_device_run() will do, and about how
 * long that takes.
 * @options: the options
 */
void bench_device_list(const BenchOptions *options);

/**
 * bench_device_run: measure what there is to measure without a guest.
 * @session: the session
 * @clock: the clock
 * @options: the options
 * @sink: where the results go
 * @error: set if something fails, or results cannot be written
 */
bool bench_device_run(Session *session, BenchClock *clock,
                      const BenchOptions *options, BenchSink *sink,
                      GError **error);

/*
 * Makes a guest that never had a balloon have as much live data as one that
 * has: how much more memory it has to fill.
 */
typedef struct BenchLimit {
    uint64_t target;            /* bytes with content that were sent */
    BenchBuild source;          /* the build that sent them */
    uint64_t transferred;       /* bytes that it took in the stream */
    int64_t fill;               /* bytes, so far */
    unsigned tries;
} BenchLimit;

/**
 * bench_limit_note: take the live data of a guest that has a balloon for the
 * measure, unless there is a better one already.
 * @limit: the limit; all zero at first
 * @build: what migrated it
 * @stats: what QEMU counted
 */
void bench_limit_note(BenchLimit *limit, BenchBuild build,
                      const MigrationStats *stats);

/**
 * bench_limit_fill: how much more memory the guest without a balloon fills.
 * @limit: the limit
 *
 * Returns: bytes, whole MiB.
 */
uint64_t bench_limit_fill(const BenchLimit *limit);

/**
 * bench_limit_met: whether a guest without a balloon had as much live data,
 * within a few per cent; if not, bench_limit_fill() has changed.
 * @limit: the limit
 * @stats: what QEMU counted
 */
bool bench_limit_met(BenchLimit *limit, const MigrationStats *stats);

/**
 * bench_limit_refusal: why no guest without a balloon can be measured, after
 * some tries if need be.
 * @limit: the limit
 * @bench_case: the case
 *
 * Returns: a new string, which the caller frees; NULL if one can.
 */
char *bench_limit_refusal(const BenchLimit *limit,
                          const BenchCase *bench_case);

/**
 * bench_limit_bytes: how many bytes the guest with a balloon took.
 * @limit: the limit
 *
 * Returns: bytes, 0 if none was migrated.
 */
uint64_t bench_limit_bytes(const BenchLimit *limit);

/**
 * socket_cost: what it takes to move bytes from the memory of one process to
 * new memory of another, over a UNIX socket as migrations here use it.
 * @bytes: how many; as many of memory are used at both ends meanwhile
 * @huge: let the host use huge pages, as QEMU does for anonymous guest RAM
 * @ms: where to put the time from the first byte to the last
 * @error: set if the system refuses memory, a socket or a process
 */
bool socket_cost(uint64_t bytes, bool huge, double *ms, GError **error);

#endif /* SKIP_BALLOON_BENCH_PARTS_H */
