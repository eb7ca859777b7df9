/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_CLOCK_H
#define SKIP_BALLOON_BENCH_CLOCK_H

#include <glib.h>

/* How much of a benchmark is done, and how long the rest will take. */
typedef struct BenchClock {
    unsigned steps;             /* planned */
    unsigned done;
    double planned_secs;        /* of all steps, as estimated beforehand */
    double done_secs;           /* of those done, as estimated beforehand */
    double took_secs;           /* what they took */
} BenchClock;

/**
 * bench_clock_plan: plan one more step.
 * @clock: the clock; all zero at first
 * @seconds: how long it may take
 */
void bench_clock_plan(BenchClock *clock, double seconds);

/**
 * bench_clock_done: a step that was planned is done, or will not be.
 * @clock: the clock
 * @seconds: how long it was to take
 * @took: how long it took, in seconds; less than 0 if it was left out
 */
void bench_clock_done(BenchClock *clock, double seconds, double took);

/**
 * bench_clock_left: how long the rest will take: as estimated, in proportion
 * to what the steps that are done took.
 * @clock: the clock
 *
 * Returns: seconds.
 */
double bench_clock_left(const BenchClock *clock);

/**
 * bench_clock_left_text: the same for people: "12 min left".
 * @clock: the clock
 *
 * Returns: a new string; the caller frees it.
 */
char *bench_clock_left_text(const BenchClock *clock);

/**
 * bench_duration: a time for people: "40 s", "12 min", "1 h 20 min".
 * @seconds: the time
 *
 * Returns: a new string; the caller frees it.
 */
char *bench_duration(double seconds);

#endif /* SKIP_BALLOON_BENCH_CLOCK_H */
