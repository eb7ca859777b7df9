/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench-summary.h"

#include <math.h>

#include "size.h"
#include "table.h"

#define REFERENCE "unmodified"

/* "" for what was not measured. */
static char *format_size(double bytes)
{
    return isnan(bytes) ? g_strdup("") : size_format(bytes);
}

static char *format_range(Spread spread)
{
    return spread.n < 2 ? g_strdup("") :
           g_strdup_printf("%.0f-%.0f", spread.min, spread.max);
}

static char *format_factor(double reference, double value)
{
    double factor = reference / value;

    if (isnan(factor) || value <= 0) {
        return g_strdup("");
    }
    return g_strdup_printf("%.*f", factor < 10 ? 1 : 0, factor);
}

static double median(const GPtrArray *lines, const char *member)
{
    return results_spread(lines, member).median;
}

static void add_build(Table *table, const Results *results, const char *name,
                      const char *build)
{
    g_autoptr(GPtrArray) lines = results_migrations(results, name, build);
    Spread total = results_spread(lines, "total-ms");
    g_autofree char *title = g_strconcat("  ", build, NULL);
    g_autofree char *ms = g_strdup_printf("%.0f", total.median);
    g_autofree char *range = format_range(total);
    g_autofree char *factor = format_factor(
        results_median(results, name, REFERENCE, "total-ms"), total.median);
    g_autofree char *sent = format_size(median(lines, "transferred"));
    g_autofree char *before = format_size(median(lines, "source-before"));
    g_autofree char *after = format_size(median(lines, "source-after"));
    g_autofree char *destination =
        format_size(median(lines, "destination-after"));
    const char *cells[] = {
        title, ms, range, factor, sent, before, after, destination, NULL
    };

    table_add_row(table, cells);
}

static void add_case(Table *table, const Results *results, const char *name)
{
    g_autoptr(GPtrArray) lines =
        results_where(results_lines(results, "migration"), "case", name);
    g_autoptr(GPtrArray) builds = results_distinct(lines, "build");
    const char *cells[] = { name, NULL };

    table_add_row(table, cells);
    for (guint i = 0; i < builds->len; i++) {
        add_build(table, results, name, g_ptr_array_index(builds, i));
    }
}

char *bench_summary(const Results *results)
{
    static const char *const head[] = {
        "", "ms", "min-max", "x", "sent", "source", "after", "destination",
        NULL
    };
    g_autoptr(GPtrArray) names =
        results_distinct(results_lines(results, "migration"), "case");
    g_autoptr(Table) table = table_new(G_N_ELEMENTS(head) - 1);

    table_add_row(table, head);
    table_add_rule(table);
    for (guint i = 0; i < names->len; i++) {
        add_case(table, results, g_ptr_array_index(names, i));
    }
    return names->len ? table_format(table) : NULL;
}
