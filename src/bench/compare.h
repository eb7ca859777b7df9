/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_COMPARE_H
#define SKIP_BALLOON_BENCH_COMPARE_H

#include "bench/results.h"

/**
 * bench_compare: what has become faster or slower, as a table. Where the
 * times of both overlap, nothing is said to have changed.
 * @old: results
 * @new: results
 *
 * Returns: a new string, which the caller frees; NULL if nothing was measured
 * in both.
 */
char *bench_compare(const Results *old, const Results *new);

#endif /* SKIP_BALLOON_BENCH_COMPARE_H */
