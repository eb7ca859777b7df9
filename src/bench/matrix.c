/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/matrix.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "bench/run.h"

static const BenchCase quick_cases[] = {
    { BACKEND_ANON, MODE_PLAIN, 2 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_MEMFD, MODE_PLAIN, 2 * SIZE_GIB, 512 * SIZE_MIB },
};

static const BenchCase full_cases[] = {
    { BACKEND_ANON, MODE_PLAIN, 8 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_MEMFD, MODE_PLAIN, 8 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_ANON, MODE_PLAIN, 8 * SIZE_GIB, 4 * SIZE_GIB },
    { BACKEND_MEMFD, MODE_PLAIN, 8 * SIZE_GIB, 4 * SIZE_GIB },
    { BACKEND_HUGETLB, MODE_PLAIN, 2 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_ANON, MODE_MULTIFD, 4 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_MEMFD, MODE_MULTIFD, 4 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_ANON, MODE_POSTCOPY, 4 * SIZE_GIB, 512 * SIZE_MIB },
    { BACKEND_MEMFD, MODE_POSTCOPY, 4 * SIZE_GIB, 512 * SIZE_MIB },
};

static GArray *profile_cases(const char *profile)
{
    bool full = !strcmp(profile, "full");
    GArray *cases = g_array_new(FALSE, FALSE, sizeof(BenchCase));

    return full ? g_array_append_vals(cases, full_cases,
                                      G_N_ELEMENTS(full_cases))
                : g_array_append_vals(cases, quick_cases,
                                      G_N_ELEMENTS(quick_cases));
}

/* All page sizes divide it, those of hugetlbfs too. */
static uint64_t whole_huge_pages(uint64_t bytes)
{
    return bytes & ~(2 * SIZE_MIB - 1);
}

static bool parse_case(const char *const words[4], BenchCase *bench_case,
                       GError **error)
{
    if (!backend_parse(words[0], &bench_case->backend, error) ||
        !migration_mode_parse(words[1], &bench_case->mode, error) ||
        !size_parse(words[2], &bench_case->memory, error) ||
        !size_parse(words[3], &bench_case->left, error)) {
        return false;
    }
    bench_case->memory = whole_huge_pages(bench_case->memory);
    bench_case->left = whole_huge_pages(bench_case->left);
    return true;
}

static bool can_live(const BenchCase *bench_case, GError **error)
{
    g_autofree char *memory = size_format(bench_case->memory);
    g_autofree char *left = size_format(bench_case->left);

    if (run_workset(bench_case->memory, bench_case->left)) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "a guest of %s cannot live in %s, it needs about 150 MiB and "
                "1/64 of its memory for itself; ask for a larger --left",
                memory, left);
    return false;
}

/* A combination without a balloon is none, and passed over. */
static bool add_case(GArray *cases, const char *const words[4],
                     GError **error)
{
    BenchCase bench_case;

    if (!parse_case(words, &bench_case, error)) {
        return false;
    }
    if (bench_case.left >= bench_case.memory) {
        return true;
    }
    if (!can_live(&bench_case, error)) {
        return false;
    }
    g_array_append_val(cases, bench_case);
    return true;
}

static bool combine(const char *const *const lists[4], unsigned depth,
                    const char *words[4], GArray *cases, GError **error)
{
    if (depth == 4) {
        return add_case(cases, words, error);
    }
    for (const char *const *word = lists[depth]; *word; word++) {
        words[depth] = *word;
        if (!combine(lists, depth + 1, words, cases, error)) {
            return false;
        }
    }
    return true;
}

static const char *const *either(char **list, const char *const *preset)
{
    return list ? (const char *const *)list : preset;
}

GArray *bench_matrix_cases(const BenchMatrix *matrix, GError **error)
{
    static const char *const anon[] = { "anon", NULL };
    static const char *const plain[] = { "plain", NULL };
    static const char *const memory[] = { "4G", NULL };
    static const char *const left[] = { "512M", NULL };
    const char *const *const lists[4] = {
        either(matrix->backends, anon),
        either(matrix->modes, plain),
        either(matrix->memories, memory),
        either(matrix->lefts, left),
    };
    g_autoptr(GArray) cases = NULL;
    const char *words[4];

    if (!matrix->backends && !matrix->modes && !matrix->memories &&
        !matrix->lefts) {
        return profile_cases(matrix->profile);
    }
    cases = g_array_new(FALSE, FALSE, sizeof(BenchCase));
    if (!combine(lists, 0, words, cases, error)) {
        return NULL;
    }
    if (!cases->len) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "nothing is left to measure: each --left has to be less "
                    "than a --memory");
        return NULL;
    }
    return g_steal_pointer(&cases);
}
