/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/case.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"

#define HUGE_PAGE (2 * SIZE_MIB)

/* What two QEMUs take besides the memory of their guests. */
#define OVERHEAD (400 * SIZE_MIB)

static const char *const build_names[] = {
    [BUILD_UNMODIFIED] = "unmodified",
    [BUILD_HINT] = "free-page-hint",
    [BUILD_BALLOON] = "skip-balloon",
    [BUILD_UNPOPULATED] = "skip-unpopulated",
    [BUILD_BOTH] = "both",
    [BUILD_NEVER] = "never-ballooned",
};

bool bench_build_parse(const char *name, BenchBuild *build, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(build_names); i++) {
        if (!strcmp(name, build_names[i])) {
            *build = i;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "unknown build '%s'; there are unmodified, free-page-hint, "
                "skip-balloon, skip-unpopulated, both and never-ballooned",
                name);
    return false;
}

const char *bench_build_name(BenchBuild build)
{
    return build_names[build];
}

SkipSet bench_build_skips(BenchBuild build)
{
    static const SkipSet sets[BUILD_COUNT] = {
        [BUILD_BALLOON] = SKIP_BALLOON,
        [BUILD_UNPOPULATED] = SKIP_UNPOPULATED,
        [BUILD_BOTH] = SKIP_BOTH,
    };

    return sets[build];
}

/* "512M" rather than "512 MiB": a name is one word. */
static char *short_size(uint64_t bytes)
{
    if (bytes % SIZE_GIB == 0) {
        return g_strdup_printf("%" G_GUINT64_FORMAT "G", bytes / SIZE_GIB);
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT "M", bytes / SIZE_MIB);
}

char *bench_case_name(const BenchCase *bench_case)
{
    g_autofree char *memory = short_size(bench_case->memory);
    g_autofree char *left = short_size(bench_case->left);

    return g_strdup_printf("%s/%s/%s/%s", backend_name(bench_case->backend),
                           memory, left,
                           migration_mode_name(bench_case->mode));
}

/* Whether migrating populates, at both ends, what the balloon took. */
static bool undoes_ballooning(const BenchCase *bench_case, BenchBuild build)
{
    return bench_case->backend != BACKEND_ANON &&
           (build == BUILD_UNMODIFIED || build == BUILD_HINT);
}

uint64_t bench_case_memory(const BenchCase *bench_case, BenchBuild build)
{
    if (bench_case->backend == BACKEND_HUGETLB) {
        return OVERHEAD;
    }
    if (build == BUILD_NEVER) {
        return OVERHEAD + 2 * bench_case->left;
    }
    if (undoes_ballooning(bench_case, build)) {
        return OVERHEAD + 2 * bench_case->memory;
    }
    /* All of it is touched before the balloon takes it. */
    return OVERHEAD + bench_case->memory + bench_case->left;
}

uint64_t bench_case_huge_pages(const BenchCase *bench_case)
{
    return bench_case->backend == BACKEND_HUGETLB ?
           2 * bench_case->memory / HUGE_PAGE : 0;
}

double bench_case_seconds(const BenchCase *bench_case, BenchBuild build)
{
    double memory = (double)bench_case->memory / SIZE_GIB;
    double left = (double)bench_case->left / SIZE_GIB;
    double base = 7.5 + left;

    if (build == BUILD_NEVER) {
        return base + 1;
    }
    if (build != BUILD_UNMODIFIED && build != BUILD_HINT) {
        return base + 0.7 * memory;
    }
    return base + memory * (bench_case->backend == BACKEND_ANON ? 1.1 : 3.6);
}
