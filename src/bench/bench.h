/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_BENCH_H
#define SKIP_BALLOON_BENCH_BENCH_H

#include "base/session.h"
#include "bench/case.h"
#include "bench/record.h"

/* What is to be measured. */
typedef struct BenchOptions {
    char *profile;              /* "quick", "full" or "custom" */
    bool full;                  /* as much of devices as the full profile */
    GArray *cases;              /* of BenchCase */
    bool builds[BUILD_COUNT];   /* which to measure */
    unsigned repetitions;
    bool guest;                 /* measure real guests */
    bool device;                /* measure at the level of devices */
    bool list;                  /* tell what would be done, do nothing */
    char *output;               /* directory for results and report */
    char *compare[2];           /* old and new results, or NULLs */
    char *qemu;
    char *stock;
    char *kernel;
    char *initrd;
    char **firmware;            /* NULL: QEMU finds its own */
    char *command;              /* the command line, for the results */
    int smp;
    int timeout_secs;
    bool kvm;
    int clear_bitmap_shift;     /* of migrations of devices; 0: QEMU's own */
    char *log_dir;              /* NULL: keep no logs */
} BenchOptions;

/**
 * bench_options_free: free options.
 * @options: the options, or NULL
 */
void bench_options_free(BenchOptions *options);

/**
 * bench_options_file: the name of a file in the directory of a benchmark.
 * @options: the options
 * @name: the file
 *
 * Returns: a new string; the caller frees it.
 */
char *bench_options_file(const BenchOptions *options, const char *name);

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

/**
 * bench_plan: add to a clock what bench_run() will do.
 * @clock: the clock
 * @options: the options
 */
void bench_plan(BenchClock *clock, const BenchOptions *options);

/**
 * bench_list: print what bench_run() will do, and about how long that takes.
 * @options: the options
 */
void bench_list(const BenchOptions *options);

/**
 * bench_run: measure.
 * @session: the session
 * @clock: the clock, with what bench_plan() has added
 * @options: the options
 * @sink: where the results go
 * @error: set if a guest did not arrive intact, something fails, or results
 *         cannot be written
 */
bool bench_run(Session *session, BenchClock *clock,
               const BenchOptions *options, BenchSink *sink, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchOptions, bench_options_free)

#endif /* SKIP_BALLOON_BENCH_BENCH_H */
