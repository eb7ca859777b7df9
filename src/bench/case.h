/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_CASE_H
#define SKIP_BALLOON_BENCH_CASE_H

#include "qemu/migration.h"
#include "qemu/vm.h"

/* What is compared: a QEMU, and the capabilities it migrates with. */
typedef enum BenchBuild {
    BUILD_UNMODIFIED,
    BUILD_HINT,                 /* unmodified, with free-page-hint */
    BUILD_BALLOON,
    BUILD_UNPOPULATED,
    BUILD_BOTH,
    BUILD_NEVER,                /* unmodified, the guest has no balloon */
} BenchBuild;

#define BUILD_COUNT (BUILD_NEVER + 1)

/* What each build is tried with. */
typedef struct BenchCase {
    Backend backend;
    MigrationMode mode;
    uint64_t memory;            /* of the guest, in bytes */
    uint64_t left;              /* by its balloon, in bytes */
} BenchCase;

/**
 * bench_build_parse: the build that a name stands for.
 * @name: "unmodified", "free-page-hint", "skip-balloon", "skip-unpopulated",
 *        "both" or "never-ballooned"
 * @build: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool bench_build_parse(const char *name, BenchBuild *build, GError **error);

/**
 * bench_build_name: what bench_build_parse() takes.
 * @build: the build
 */
const char *bench_build_name(BenchBuild build);

/**
 * bench_build_skips: what the migrations of a build skip.
 * @build: the build
 *
 * Returns: SKIP_NOTHING for an unmodified QEMU.
 */
SkipSet bench_build_skips(BenchBuild build);

/**
 * bench_case_name: how results name a case: "memfd/8G/512M/plain".
 * @bench_case: the case
 *
 * Returns: a new string; the caller frees it.
 */
char *bench_case_name(const BenchCase *bench_case);

/**
 * bench_case_memory: how much memory of the host a case needs.
 * @bench_case: the case
 * @build: the build
 *
 * Returns: bytes, without huge pages.
 */
uint64_t bench_case_memory(const BenchCase *bench_case, BenchBuild build);

/**
 * bench_case_huge_pages: how many huge pages a case needs.
 * @bench_case: the case
 *
 * Returns: pages of 2 MiB, 0 unless the backend is hugetlb.
 */
uint64_t bench_case_huge_pages(const BenchCase *bench_case);

/**
 * bench_case_seconds: about how long one repetition takes, boot included, on
 * the machine this was written on; to be scaled by what it takes here.
 * @bench_case: the case
 * @build: the build
 */
double bench_case_seconds(const BenchCase *bench_case, BenchBuild build);

/* What a matrix is made of; a list that is NULL leaves it to the profile. */
typedef struct BenchMatrix {
    const char *profile;        /* "quick" or "full" */
    char **backends;
    char **modes;
    char **memories;
    char **lefts;
} BenchMatrix;

/**
 * bench_matrix_cases: the cases of a matrix.
 * @matrix: the matrix. If it has lists, they are combined with each other,
 *          and with anon, plain, 4 GiB and 512 MiB for those it has not;
 *          without any, the profile has cases of its own.
 * @error: set to SB_ERROR_USAGE if a word means nothing, no case remains, or
 *         a guest cannot live in what its balloon would leave
 *
 * Returns: an array of BenchCase, NULL on failure; the caller frees it.
 */
GArray *bench_matrix_cases(const BenchMatrix *matrix, GError **error);

#endif /* SKIP_BALLOON_BENCH_CASE_H */
