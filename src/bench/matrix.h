/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_MATRIX_H
#define SKIP_BALLOON_BENCH_MATRIX_H

#include "bench/case.h"

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

#endif /* SKIP_BALLOON_BENCH_MATRIX_H */
