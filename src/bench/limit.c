/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/parts.h"

#include "base/size.h"

#define PAGE 4096

/* Live data of a guest that has filled nothing yet. */
#define FIRST_GUESS (190 * SIZE_MIB)

/* What the kernel and its reserves do not let a guest fill. */
#define NOT_TO_FILL (112 * SIZE_MIB)

#define NEAR 0.03
#define TRIES 3

/* A build that skips is nearer to what there is than one that scans. */
static bool better(const BenchLimit *limit, BenchBuild build)
{
    return !limit->target || build == limit->source || build == BUILD_BOTH;
}

void bench_limit_note(BenchLimit *limit, BenchBuild build,
                      const MigrationStats *stats)
{
    bool first = !limit->target;

    if (!better(limit, build)) {
        return;
    }
    limit->target = stats->normal * PAGE;
    limit->source = build;
    limit->transferred = stats->transferred;
    if (first && limit->target > FIRST_GUESS) {
        limit->fill = limit->target - FIRST_GUESS;
    }
}

uint64_t bench_limit_fill(const BenchLimit *limit)
{
    return MAX(limit->fill, 0) & ~(SIZE_MIB - 1);
}

bool bench_limit_met(BenchLimit *limit, const MigrationStats *stats)
{
    int64_t missing = limit->target - stats->normal * PAGE;

    if (ABS(missing) <= NEAR * limit->target) {
        limit->tries = 0;
        return true;
    }
    limit->tries++;
    limit->fill = MAX(limit->fill + missing, 0);
    return false;
}

char *bench_limit_refusal(const BenchLimit *limit,
                          const BenchCase *bench_case)
{
    uint64_t room = bench_case->left - MIN(bench_case->left, NOT_TO_FILL);
    g_autofree char *target = size_format(limit->target);
    g_autofree char *left = size_format(bench_case->left);

    if (!limit->target) {
        return g_strdup("no build that has a balloon is measured with it");
    }
    if (limit->tries >= TRIES) {
        return g_strdup_printf("in %d tries a guest of %s did not come near "
                               "%s of live data", TRIES, left, target);
    }
    return bench_limit_fill(limit) <= room ? NULL :
           g_strdup_printf("a guest of %s cannot hold %s of live data", left,
                           target);
}

uint64_t bench_limit_bytes(const BenchLimit *limit)
{
    return limit->transferred;
}
