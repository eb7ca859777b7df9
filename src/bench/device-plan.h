/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_PLAN_H
#define SKIP_BALLOON_BENCH_DEVICE_PLAN_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/device-guest.h"
#include "qemu/migration.h"
#include "qemu/vm.h"

/* How much is in use at a time of what is going to be ballooned, in bytes */
#define DEVICE_TOUCH_PIECE (UINT64_C(256) << 20)

/* What is measured at the level of devices; docs/bench-results.md. */
typedef enum DeviceSeries {
    DEVICE_SCALE = 1 << 0,
    DEVICE_GROWTH = 1 << 1,
    DEVICE_RUNS = 1 << 2,
    DEVICE_RATE = 1 << 3,
    DEVICE_KVM = 1 << 4,        /* with a guest that runs, under KVM */
    DEVICE_ALL_SERIES = (1 << 5) - 1,
} DeviceSeries;

/* Which table of what is to be measured. */
typedef enum DeviceProfile {
    DEVICE_QUICK,
    DEVICE_FULL,                /* for the night */
    DEVICE_UNDER_KVM,
} DeviceProfile;

/* What does it, as bits of a set. */
typedef enum DeviceBuild {
    DEVICE_UNMODIFIED = 1 << 0,
    DEVICE_SKIP_BALLOON = 1 << 1,
    DEVICE_SKIP_UNPOPULATED = 1 << 2,
    DEVICE_BOTH = 1 << 3,
    DEVICE_ALL_BUILDS = (1 << 4) - 1,
} DeviceBuild;

/* Which memory is in the balloon. */
typedef enum DevicePattern {
    DEVICE_NONE,                /* there is no balloon */
    DEVICE_WHOLE,               /* one run, up to the end of RAM */
    DEVICE_EVERY_OTHER,         /* every other page */
    DEVICE_SOME_RUNS,           /* equal runs, as far apart as they are long */
} DevicePattern;

/* A row of the table of what is to be measured. */
typedef struct DeviceEntry {
    DeviceSeries series;        /* one of them */
    unsigned backends;          /* bits 1 << BACKEND_... */
    unsigned builds;            /* bits of DeviceBuild */
    DevicePattern pattern;
    uint64_t memory;            /* guest RAM, in bytes */
    uint64_t ballooned;         /* in bytes; for a rate: given back at most */
    uint64_t runs;              /* for DEVICE_SOME_RUNS */
    unsigned repetitions;
    bool touched;               /* what is ballooned was in use before */
} DeviceEntry;

/* One step: one migration, or the rates of one QEMU. */
typedef struct DeviceCase {
    DeviceSeries series;
    Backend backend;
    DeviceBuild build;
    DevicePattern pattern;
    uint64_t memory;            /* guest RAM, in bytes */
    uint64_t used;              /* written by the guest, in bytes */
    uint64_t ballooned;         /* in bytes */
    uint64_t runs;              /* that these are; 0 without a balloon */
    bool touched;               /* all of it was written to before; one run */
    unsigned repetition;        /* from 1 */
} DeviceCase;

/**
 * device_profile: the table of a profile.
 * @profile: which
 * @count: where to put how many entries it has
 *
 * Returns: the entries, not owned.
 */
const DeviceEntry *device_profile(DeviceProfile profile, unsigned *count);

/**
 * device_plan: all steps in the order in which they are done: one repetition
 * of all cases after the other, builds that are compared side by side.
 * @entries: the table
 * @count: how many entries it has
 * @series: bits of DeviceSeries: others are not wanted
 * @repetitions: at most so many of each; 0 for as many as the table says
 *
 * Returns: an array of DeviceCase; the caller frees it with g_array_unref().
 */
GArray *device_plan(const DeviceEntry *entries, unsigned count,
                    unsigned series, unsigned repetitions);

/**
 * device_case_memory: how much memory of the host a step takes at most.
 * @step: the step
 *
 * Returns: bytes.
 */
uint64_t device_case_memory(const DeviceCase *step);

/**
 * device_case_seconds: about how long a step takes on a usual machine.
 * @step: the step
 */
double device_case_seconds(const DeviceCase *step);

/**
 * device_case_pages: the pages that are in the balloon.
 * @step: the step, with a balloon
 */
DevicePages device_case_pages(const DeviceCase *step);

/**
 * device_case_skip: the capabilities that a step migrates with.
 * @step: the step
 */
SkipSet device_case_skip(const DeviceCase *step);

/**
 * device_case_title: a step in words: "scale, 64 GiB, anon, both".
 * @step: the step
 *
 * Returns: a new string; the caller frees it.
 */
char *device_case_title(const DeviceCase *step);

/**
 * device_series_name: the name of a series.
 * @series: one of them
 */
const char *device_series_name(DeviceSeries series);

/**
 * device_build_name: the name of a build.
 * @build: one of them
 */
const char *device_build_name(DeviceBuild build);

/**
 * device_pattern_name: the name of a pattern.
 * @pattern: the pattern
 */
const char *device_pattern_name(DevicePattern pattern);

#endif /* SKIP_BALLOON_BENCH_DEVICE_PLAN_H */
