/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-plan.h"

#include "base/size.h"

#define TIB (1024 * SIZE_GIB)

/* What the guest has written to, however large it is */
#define USED (64 * SIZE_MIB)
/* What no pattern takes of the guest */
#define LEFT SIZE_GIB

#define ANON (1u << BACKEND_ANON)
#define MEMFD (1u << BACKEND_MEMFD)
#define BACKENDS (ANON | MEMFD)
#define OURS (DEVICE_SKIP_BALLOON | DEVICE_BOTH)

#define WHOLE(backends, builds, memory, repetitions) \
    { DEVICE_SCALE, backends, builds, DEVICE_WHOLE, memory, \
      (memory) / 10 * 9 & ~(DEVICE_PAGE - 1), 0, repetitions, false }
#define EVERY_OTHER(backends, builds, memory, repetitions) \
    { DEVICE_SCALE, backends, builds, DEVICE_EVERY_OTHER, memory, \
      ((memory) - LEFT) / 2, 0, repetitions, false }
#define NO_BALLOON(backends, builds, memory, repetitions) \
    { DEVICE_SCALE, backends, builds, DEVICE_NONE, memory, 0, 0, \
      repetitions, false }
#define KVM_UNUSED(backends, builds, memory) \
    { DEVICE_KVM, backends, builds, DEVICE_NONE, memory, 0, 0, 3, false }
#define KVM_WHOLE(backends, builds, memory, touched) \
    { DEVICE_KVM, backends, builds, DEVICE_WHOLE, memory, (memory) - LEFT, 0, \
      3, touched }
#define GROWTH(backends, builds, ballooned, repetitions) \
    { DEVICE_GROWTH, backends, builds, DEVICE_WHOLE, (ballooned) + LEFT, \
      ballooned, 0, repetitions, false }
/* To read what was never in use costs much less than what once was. */
#define TOUCHED(backends, builds, ballooned, repetitions) \
    { DEVICE_GROWTH, backends, builds, DEVICE_WHOLE, (ballooned) + LEFT, \
      ballooned, 0, repetitions, true }
#define RUNS(backends, builds, runs, repetitions) \
    { DEVICE_RUNS, backends, builds, DEVICE_SOME_RUNS, 64 * SIZE_GIB + LEFT, \
      32 * SIZE_GIB, runs, repetitions, false }
#define RATE(backends, builds, memory, repetitions) \
    { DEVICE_RATE, backends, builds, DEVICE_WHOLE, (memory) + LEFT, memory, \
      0, repetitions, false }

/* As many runs as every other page of 64 GiB makes */
#define MOST_RUNS (UINT64_C(8) << 20)

static const DeviceEntry quick[] = {
    WHOLE(ANON, DEVICE_ALL_BUILDS, 8 * SIZE_GIB, 1),
    WHOLE(MEMFD, DEVICE_ALL_BUILDS, 2 * SIZE_GIB, 1),
    WHOLE(BACKENDS, DEVICE_SKIP_UNPOPULATED | DEVICE_BOTH, 64 * SIZE_GIB, 1),
    WHOLE(BACKENDS, DEVICE_BOTH, TIB, 1),
    EVERY_OTHER(ANON, DEVICE_BOTH, 64 * SIZE_GIB, 1),
    TOUCHED(ANON, DEVICE_UNMODIFIED | OURS, 1 * SIZE_GIB, 1),
    TOUCHED(ANON, DEVICE_UNMODIFIED | OURS, 4 * SIZE_GIB, 1),
    TOUCHED(MEMFD, DEVICE_UNMODIFIED | OURS, 1 * SIZE_GIB, 1),
    TOUCHED(MEMFD, DEVICE_UNMODIFIED | OURS, 2 * SIZE_GIB, 1),
    GROWTH(BACKENDS, OURS, 64 * SIZE_GIB, 2),
    GROWTH(BACKENDS, OURS, 512 * SIZE_GIB, 2),
    RUNS(BACKENDS, DEVICE_BOTH, 1, 1),
    RUNS(BACKENDS, DEVICE_BOTH, 4096, 1),
    RUNS(BACKENDS, DEVICE_BOTH, 1 << 20, 1),
    RATE(BACKENDS, DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, 512 * SIZE_MIB, 1),
};

static const DeviceEntry full[] = {
    WHOLE(ANON, DEVICE_ALL_BUILDS, 64 * SIZE_GIB, 3),
    WHOLE(MEMFD, DEVICE_ALL_BUILDS, 64 * SIZE_GIB, 3),
    WHOLE(ANON, DEVICE_UNMODIFIED, 256 * SIZE_GIB, 1),
    WHOLE(ANON, DEVICE_ALL_BUILDS & ~DEVICE_UNMODIFIED, 256 * SIZE_GIB, 3),
    WHOLE(MEMFD, DEVICE_ALL_BUILDS, 256 * SIZE_GIB, 3),
    WHOLE(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, TIB, 1),
    WHOLE(ANON, DEVICE_SKIP_UNPOPULATED | DEVICE_BOTH, TIB, 3),
    WHOLE(MEMFD, DEVICE_ALL_BUILDS, TIB, 3),
    EVERY_OTHER(BACKENDS, DEVICE_BOTH, 64 * SIZE_GIB, 3),
    EVERY_OTHER(BACKENDS, DEVICE_BOTH, TIB, 1),
    NO_BALLOON(BACKENDS, DEVICE_SKIP_UNPOPULATED, 16 * TIB, 1),
    TOUCHED(ANON, DEVICE_UNMODIFIED | OURS, 2 * SIZE_GIB, 3),
    TOUCHED(ANON, DEVICE_UNMODIFIED | OURS, 4 * SIZE_GIB, 3),
    TOUCHED(ANON, DEVICE_UNMODIFIED | OURS, 8 * SIZE_GIB, 3),
    TOUCHED(MEMFD, DEVICE_UNMODIFIED | OURS, 2 * SIZE_GIB, 3),
    TOUCHED(MEMFD, DEVICE_UNMODIFIED | OURS, 4 * SIZE_GIB, 3),
    GROWTH(BACKENDS, OURS, 64 * SIZE_GIB, 5),
    GROWTH(BACKENDS, OURS, 256 * SIZE_GIB, 5),
    GROWTH(BACKENDS, OURS, 512 * SIZE_GIB, 5),
    GROWTH(BACKENDS, OURS, 1023 * SIZE_GIB, 5),
    RUNS(BACKENDS, DEVICE_BOTH, 1, 3),
    RUNS(BACKENDS, DEVICE_BOTH, 16, 3),
    RUNS(BACKENDS, DEVICE_BOTH, 256, 3),
    RUNS(BACKENDS, DEVICE_BOTH, 4096, 3),
    RUNS(BACKENDS, DEVICE_BOTH, 65536, 3),
    RUNS(BACKENDS, DEVICE_BOTH, 1 << 20, 3),
    RUNS(BACKENDS, DEVICE_BOTH, MOST_RUNS, 3),
    RATE(BACKENDS, DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, 2 * SIZE_GIB, 3),
};

/* The kernel arms the dirty log of whatever memory is skipped, or scanned. */
static const DeviceEntry kvm[] = {
    KVM_UNUSED(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_UNPOPULATED,
               64 * SIZE_GIB),
    KVM_UNUSED(MEMFD, DEVICE_SKIP_UNPOPULATED, 64 * SIZE_GIB),
    KVM_WHOLE(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, 64 * SIZE_GIB,
              false),
    KVM_WHOLE(MEMFD, DEVICE_SKIP_BALLOON, 64 * SIZE_GIB, false),
    KVM_WHOLE(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, 8 * SIZE_GIB,
              true),
    KVM_UNUSED(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_UNPOPULATED,
               256 * SIZE_GIB),
    KVM_UNUSED(MEMFD, DEVICE_SKIP_UNPOPULATED, 256 * SIZE_GIB),
    KVM_WHOLE(BACKENDS, DEVICE_SKIP_BALLOON, 256 * SIZE_GIB, false),
    KVM_UNUSED(ANON, DEVICE_UNMODIFIED | DEVICE_SKIP_UNPOPULATED, TIB),
    KVM_UNUSED(MEMFD, DEVICE_SKIP_UNPOPULATED, TIB),
    KVM_WHOLE(BACKENDS, DEVICE_SKIP_BALLOON, TIB, false),
};

const DeviceEntry *device_profile(DeviceProfile profile, unsigned *count)
{
    switch (profile) {
    case DEVICE_QUICK:
        *count = G_N_ELEMENTS(quick);
        return quick;
    case DEVICE_FULL:
        *count = G_N_ELEMENTS(full);
        return full;
    case DEVICE_UNDER_KVM:
        *count = G_N_ELEMENTS(kvm);
        return kvm;
    }
    g_return_val_if_reached(NULL);
}

static uint64_t count_runs(const DeviceEntry *entry)
{
    switch (entry->pattern) {
    case DEVICE_NONE:
        return 0;
    case DEVICE_WHOLE:
        return 1;
    case DEVICE_EVERY_OTHER:
        return entry->ballooned / DEVICE_PAGE;
    case DEVICE_SOME_RUNS:
        return entry->runs;
    }
    g_return_val_if_reached(0);
}

/* The builds of one backend side by side. */
static void plan_entry(GArray *plan, const DeviceEntry *entry,
                       unsigned repetition)
{
    for (unsigned backend = 0; entry->backends >> backend; backend++) {
        for (unsigned build = 1; build <= entry->builds; build <<= 1) {
            DeviceCase step = {
                .series = entry->series,
                .backend = backend,
                .build = build,
                .pattern = entry->pattern,
                .memory = entry->memory,
                .used = MIN(USED, entry->memory / 4),
                .ballooned = entry->ballooned,
                .runs = count_runs(entry),
                .touched = entry->touched,
                .repetition = repetition,
            };

            if (entry->backends & 1u << backend && entry->builds & build) {
                g_array_append_val(plan, step);
            }
        }
    }
}

GArray *device_plan(const DeviceEntry *entries, unsigned count,
                    unsigned series, unsigned repetitions)
{
    GArray *plan = g_array_new(FALSE, FALSE, sizeof(DeviceCase));
    unsigned most = 0;

    for (unsigned i = 0; i < count; i++) {
        most = MAX(most, entries[i].repetitions);
    }
    if (repetitions) {
        most = MIN(most, repetitions);
    }
    for (unsigned repetition = 1; repetition <= most; repetition++) {
        for (unsigned i = 0; i < count; i++) {
            if (entries[i].series & series &&
                repetition <= entries[i].repetitions) {
                plan_entry(plan, &entries[i], repetition);
            }
        }
    }
    return plan;
}

/* What is read, page by page, since nothing says that it is empty */
static uint64_t scanned(const DeviceCase *step)
{
    switch (step->build) {
    case DEVICE_UNMODIFIED:
        return step->memory;
    case DEVICE_SKIP_BALLOON:
        return step->memory - step->ballooned;
    default:
        return step->used;
    }
}

/*
 * Two QEMUs, each with some bitmaps of a bit for each page; KVM adds a word for
 * each page where it cannot leave the guest's page tables to the processor
 */
static uint64_t overhead(const DeviceCase *step)
{
    const uint64_t bits = step->series == DEVICE_KVM ? 6 + 64 : 6;

    return 2 * (100 * SIZE_MIB + bits * step->memory / DEVICE_PAGE / 8);
}

uint64_t device_case_memory(const DeviceCase *step)
{
    const uint64_t page_entry = 8;
    uint64_t read;

    if (step->series == DEVICE_RATE) {
        return overhead(step) + step->ballooned;
    }
    read = MAX(scanned(step), step->used);
    /* Reading takes shared memory; private memory only page tables. */
    return overhead(step) + 2 * step->used +
           (step->touched ? DEVICE_TOUCH_PIECE : 0) + 2 *
           (step->backend == BACKEND_ANON ? read / DEVICE_PAGE * page_entry
                                          : read);
}

/* Measured on 2 processors; only for the time left. */
double device_case_seconds(const DeviceCase *step)
{
    bool anon = step->backend == BACKEND_ANON;
    double gib = step->memory / (double)SIZE_GIB;
    double millions = step->ballooned / DEVICE_PAGE * 0.000001;
    /* To inflate a million pages, by runs or page by page */
    double inflate = step->runs > 1 ? anon ? 0.8 : 1.3 :
                     step->build == DEVICE_UNMODIFIED ? 0.4 : 0.004;
    /* A migration, for each run */
    double run_secs = step->runs * 0.0000002;
    double scan = !anon ? 3.5 : step->touched ? 0.4 : 0.05;
    /* To arm, and for the kernel to set up and take down memory for KVM */
    double kvm = step->series == DEVICE_KVM ? 0.025 : 0;
    double touch = step->touched ? 0.5 * step->ballooned / SIZE_GIB : 0;

    if (step->series == DEVICE_RATE) {
        return 0.2 + 3 * millions * (anon ? 2 : 4);
    }
    return 0.15 + (0.001 + kvm) * gib + inflate * millions + touch +
           run_secs + scan * scanned(step) / SIZE_GIB;
}

DevicePages device_case_pages(const DeviceCase *step)
{
    uint64_t run_pages = step->ballooned / DEVICE_PAGE / step->runs;
    uint64_t stride = step->runs > 1 || step->pattern != DEVICE_WHOLE ?
                      2 * run_pages : run_pages;

    return (DevicePages) {
        .start = step->memory - step->runs * stride * DEVICE_PAGE,
        .runs = step->runs,
        .run_pages = run_pages,
        .stride = stride,
    };
}

SkipSet device_case_skip(const DeviceCase *step)
{
    switch (step->build) {
    case DEVICE_SKIP_BALLOON:
        return SKIP_BALLOON;
    case DEVICE_SKIP_UNPOPULATED:
        return SKIP_UNPOPULATED;
    case DEVICE_BOTH:
        return SKIP_BOTH;
    default:
        return SKIP_NOTHING;
    }
}

const char *device_series_name(DeviceSeries series)
{
    return series == DEVICE_SCALE ? "scale" :
           series == DEVICE_GROWTH ? "growth" :
           series == DEVICE_RUNS ? "runs" :
           series == DEVICE_KVM ? "kvm" : "rate";
}

const char *device_build_name(DeviceBuild build)
{
    return build == DEVICE_UNMODIFIED ? "unmodified" :
           build == DEVICE_SKIP_BALLOON ? "skip-balloon" :
           build == DEVICE_SKIP_UNPOPULATED ? "skip-unpopulated" : "both";
}

const char *device_pattern_name(DevicePattern pattern)
{
    static const char *const names[] = {
        [DEVICE_NONE] = "none",
        [DEVICE_WHOLE] = "whole",
        [DEVICE_EVERY_OTHER] = "every-other",
        [DEVICE_SOME_RUNS] = "runs",
    };

    return names[pattern];
}

char *device_case_title(const DeviceCase *step)
{
    g_autofree char *size = size_format(
        step->series == DEVICE_SCALE || step->series == DEVICE_KVM ?
        step->memory : step->ballooned);
    g_autofree char *pattern = step->pattern == DEVICE_SOME_RUNS ?
        g_strdup_printf("%" G_GUINT64_FORMAT " runs", step->runs) :
        g_strdup(device_pattern_name(step->pattern));

    return g_strdup_printf("%s %s, %s%s, %s, %s",
                           device_series_name(step->series), size, pattern,
                           step->touched ? " touched" : "",
                           backend_name(step->backend),
                           device_build_name(step->build));
}
