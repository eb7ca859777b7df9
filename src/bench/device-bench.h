/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_BENCH_H
#define SKIP_BALLOON_BENCH_DEVICE_BENCH_H

#include "base/session.h"
#include "bench/clock.h"
#include "bench/sink.h"
#include "commands/bench-options.h"

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

#endif /* SKIP_BALLOON_BENCH_DEVICE_BENCH_H */
