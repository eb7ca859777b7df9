/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_PARTS_H
#define SKIP_BALLOON_BENCH_PARTS_H

#include <json-glib/json-glib.h>

#include "bench/bench.h"

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

#endif /* SKIP_BALLOON_BENCH_PARTS_H */
