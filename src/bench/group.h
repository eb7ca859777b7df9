/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_GROUP_H
#define SKIP_BALLOON_BENCH_GROUP_H

#include "bench/results.h"

/* All repetitions of the same thing. */
typedef struct BenchGroup {
    char *subject;              /* "anon/4G/512M/plain"; what is compared */
    char *build;
    GArray *totals;             /* of double: total-ms */
} BenchGroup;

/**
 * bench_groups: all times among results: of guests, devices, and rates.
 * @results: the results
 *
 * Returns: an array of BenchGroup in the order in which they come first; the
 * caller unrefs it.
 */
GPtrArray *bench_groups(const Results *results);

/**
 * bench_groups_find: one of them.
 * @groups: what bench_groups() returned
 * @subject: its subject
 * @build: its build
 *
 * Returns: the group, owned by @groups; NULL if there is none.
 */
const BenchGroup *bench_groups_find(const GPtrArray *groups,
                                    const char *subject, const char *build);

/**
 * bench_group_spread: where the times of a group lie, in milliseconds.
 * @group: the group
 */
Spread bench_group_spread(const BenchGroup *group);

#endif /* SKIP_BALLOON_BENCH_GROUP_H */
