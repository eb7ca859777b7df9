/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/case-results.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

static const struct {
    const char *name;
    const char *title;
    bool ours;
} builds[] = {
    { BUILD_UNMODIFIED, "unmodified", false },
    { "free-page-hint", "free-page-hint", false },
    { "skip-balloon", "skip-balloon", true },
    { "skip-unpopulated", "skip-unpopulated", true },
    { "both", "both capabilities", true },
    { BUILD_NEVER, "never ballooned", false },
};

G_STATIC_ASSERT(G_N_ELEMENTS(builds) + 1 == BUILD_COLOURS);

unsigned build_colour(const char *build)
{
    unsigned i = 0;

    while (i < G_N_ELEMENTS(builds) && strcmp(builds[i].name, build)) {
        i++;
    }
    return i;
}

const char *build_title(const char *build)
{
    unsigned i = build_colour(build);

    return i < G_N_ELEMENTS(builds) ? builds[i].title : build;
}

bool build_is_ours(const char *build)
{
    unsigned i = build_colour(build);

    return i < G_N_ELEMENTS(builds) && builds[i].ours;
}

static gint compare_builds(gconstpointer a, gconstpointer b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;
    int order = (int)build_colour(x) - (int)build_colour(y);

    return order ? order : strcmp(x, y);
}

void builds_sort(GPtrArray *names)
{
    g_ptr_array_sort(names, compare_builds);
}

const char *builds_pick_ours(const GPtrArray *names)
{
    static const char *const order[] = {
        "both", "skip-balloon", "skip-unpopulated",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        for (unsigned j = 0; j < names->len; j++) {
            if (!strcmp(order[i], names->pdata[j])) {
                return names->pdata[j];
            }
        }
    }
    return NULL;
}

static void case_results_free(gpointer data)
{
    CaseResults *case_results = data;

    g_ptr_array_unref(case_results->lines);
    g_ptr_array_unref(case_results->builds);
    g_free(case_results);
}

static const char *string_or_empty(JsonObject *line, const char *member)
{
    const char *text = result_string(line, member);

    return text ? text : "";
}

static CaseResults *case_results_new(const GPtrArray *all, const char *name)
{
    CaseResults *case_results = g_new0(CaseResults, 1);
    JsonObject *line;

    case_results->lines = results_where(all, "case", name);
    case_results->builds = results_distinct(case_results->lines, "build");
    builds_sort(case_results->builds);
    line = case_results->lines->pdata[0];
    case_results->name = name;
    case_results->backend = string_or_empty(line, "backend");
    case_results->mode = string_or_empty(line, "mode");
    case_results->memory = result_number(line, "memory");
    case_results->left = result_number(line, "left");
    return case_results;
}

static int compare_numbers(double x, double y)
{
    return (x > y) - (x < y);
}

static gint compare_cases(gconstpointer a, gconstpointer b)
{
    const CaseResults *x = *(const CaseResults *const *)a;
    const CaseResults *y = *(const CaseResults *const *)b;
    int order = strcmp(x->backend, y->backend);

    if (!order) {
        order = g_strcmp0(y->mode, "plain") == 0 ? 1 : 0;
        order -= g_strcmp0(x->mode, "plain") == 0 ? 1 : 0;
    }
    order = order ? order : strcmp(x->mode, y->mode);
    order = order ? order : compare_numbers(x->memory, y->memory);
    order = order ? order : compare_numbers(x->left, y->left);
    return order ? order : strcmp(x->name, y->name);
}

GPtrArray *case_results_all(const Results *results)
{
    const GPtrArray *all = results_lines(results, "migration");
    g_autoptr(GPtrArray) names = results_distinct(all, "case");
    GPtrArray *cases = g_ptr_array_new_with_free_func(case_results_free);

    for (unsigned i = 0; i < names->len; i++) {
        g_ptr_array_add(cases, case_results_new(all, names->pdata[i]));
    }
    g_ptr_array_sort(cases, compare_cases);
    return cases;
}

Spread case_results_spread(const CaseResults *case_results, const char *build,
                         const char *member)
{
    g_autoptr(GPtrArray) lines =
        results_where(case_results->lines, "build", build);

    return results_spread(lines, member);
}

double case_results_median(const CaseResults *case_results, const char *build,
                         const char *member)
{
    return build ? case_results_spread(case_results, build, member).median : NAN;
}

char *case_results_title(const CaseResults *case_results)
{
    g_autofree char *memory = quantity_bytes(case_results->memory);
    g_autofree char *left = quantity_bytes(case_results->left);

    return memory && left ? g_strdup_printf("%s, %s left", memory, left)
                          : g_strdup(case_results->name);
}

char *case_results_place(const CaseResults *case_results)
{
    const char *mode = case_results->mode;

    if (!case_results->backend[0]) {
        return g_strdup("other cases");
    }
    return g_strdup_printf("%s%s%s", case_results->backend, mode[0] ? ", " : "",
                           mode);
}

static bool has_member(const CaseResults *case_results, const char *build,
                       const char *member)
{
    g_autoptr(GPtrArray) lines = NULL;

    if (!build) {
        return false;
    }
    lines = results_where(case_results->lines, "build", build);
    for (unsigned i = 0; i < lines->len; i++) {
        if (json_object_has_member(lines->pdata[i], member)) {
            return true;
        }
    }
    return false;
}

/* Larger is better; below 0 if it will not do. */
static double merit(const CaseResults *case_results, const char *member)
{
    const char *ours = builds_pick_ours(case_results->builds);
    double ballooned = case_results->memory - case_results->left;

    if (!has_member(case_results, ours, member) ||
        !has_member(case_results, BUILD_UNMODIFIED, member)) {
        return -1;
    }
    return (ballooned > 0 ? ballooned : 0) +
           (!strcmp(case_results->mode, "plain") ? ldexp(1, 62) : 0);
}

const CaseResults *case_results_pick(const GPtrArray *cases, const char *backend,
                                 const char *member)
{
    const CaseResults *best = NULL;
    double best_merit = -1;

    for (unsigned i = 0; i < cases->len; i++) {
        const CaseResults *case_results = cases->pdata[i];
        double its_merit = merit(case_results, member);

        if (!strcmp(case_results->backend, backend) && its_merit > best_merit) {
            best = case_results;
            best_merit = its_merit;
        }
    }
    return best;
}
