/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/case.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "bench/run.h"

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
