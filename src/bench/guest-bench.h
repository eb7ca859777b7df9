/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_GUEST_BENCH_H
#define SKIP_BALLOON_BENCH_GUEST_BENCH_H

#include "base/session.h"
#include "bench/clock.h"
#include "bench/sink.h"
#include "commands/bench-options.h"

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

#endif /* SKIP_BALLOON_BENCH_GUEST_BENCH_H */
