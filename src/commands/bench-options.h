/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H
#define SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H

#include "bench/case.h"

/* What the command line of bench says. */
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
 * bench_options_parse: read the command line of bench. --help is obeyed at
 * once and ends the process.
 * @argc: how many arguments
 * @argv: the arguments, the first of them the name of the command
 * @error: set if it makes no sense
 *
 * Returns: the options, NULL on failure; free them with bench_options_free().
 */
BenchOptions *bench_options_parse(int argc, char **argv, GError **error);

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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchOptions, bench_options_free)

#endif /* SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H */
