/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_SUMMARY_H
#define SKIP_BALLOON_BENCH_SUMMARY_H

#include "bench/results.h"

/**
 * bench_summary: what was measured of guests, as a table for a terminal.
 * @results: the results
 *
 * Returns: a new string, which the caller frees; NULL if no guest was
 * measured.
 */
char *bench_summary(const Results *results);

/**
 * bench_kvm_summary: what was measured of devices under KVM, likewise.
 * @results: the results
 *
 * Returns: a new string, which the caller frees; NULL if there is nothing.
 */
char *bench_kvm_summary(const Results *results);

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

#endif /* SKIP_BALLOON_BENCH_SUMMARY_H */
