/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_LIMIT_H
#define SKIP_BALLOON_BENCH_LIMIT_H

#include "bench/case.h"

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

#endif /* SKIP_BALLOON_BENCH_LIMIT_H */
