/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/summary.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "base/table.h"

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

/* "1 TiB, whole, anon": the same for all that are to be compared */
static char *kvm_subject(JsonObject *line)
{
    double shift = result_number(line, "clear-bitmap-shift");
    g_autofree char *memory = format_size(result_number(line, "memory"));
    g_autofree char *chunks = isnan(shift) ? g_strdup("") :
        g_strdup_printf(", shift %.0f", shift);

    return g_strdup_printf(
        "%s, %s%s, %s%s", memory, result_string(line, "pattern"),
        result_flag(line, "touched") ? " touched" : "",
        result_string(line, "backend"), chunks);
}

/* What was measured of one subject, by one build or all of them */
static GPtrArray *kvm_lines(const GPtrArray *all, const char *subject,
                            const char *build)
{
    GPtrArray *lines = g_ptr_array_new();

    for (guint i = 0; i < all->len; i++) {
        JsonObject *line = g_ptr_array_index(all, i);
        g_autofree char *other = kvm_subject(line);

        if (!strcmp(subject, other) &&
            (!build || !g_strcmp0(build, result_string(line, "build")))) {
            g_ptr_array_add(lines, line);
        }
    }
    return lines;
}

static char *format_ms(double ms)
{
    return isnan(ms) ? g_strdup("") : g_strdup_printf("%.1f", ms);
}

static char *format_count(double count)
{
    return isnan(count) ? g_strdup("") : g_strdup_printf("%.0f", count);
}

static void add_kvm_build(Table *table, const GPtrArray *all,
                          const char *subject, const char *build)
{
    g_autoptr(GPtrArray) lines = kvm_lines(all, subject, build);
    g_autoptr(GPtrArray) reference = kvm_lines(all, subject, REFERENCE);
    double total = median(lines, "total-ms");
    Spread hold = results_spread(lines, "longest-hold-ms");
    g_autofree char *title = g_strconcat("  ", build, NULL);
    g_autofree char *ms = format_count(total);
    g_autofree char *factor = format_factor(median(reference, "total-ms"),
                                            total);
    g_autofree char *clears = format_count(median(lines, "clears"));
    g_autofree char *arming = format_ms(median(lines, "arming-ms"));
    g_autofree char *longest = format_ms(hold.n ? hold.max : NAN);
    const char *cells[] = {
        title, ms, factor, clears, arming, longest, NULL
    };

    table_add_row(table, cells);
}

static void add_subject(Table *table, const char *subject)
{
    const char *cells[] = { subject, NULL };

    table_add_row(table, cells);
}

char *bench_kvm_summary(const Results *results)
{
    static const char *const head[] = {
        "under KVM", "ms", "x", "clears", "arming", "longest hold", NULL
    };
    g_autoptr(GPtrArray) all =
        results_where(results_lines(results, "device"), "series", "kvm");
    g_autoptr(GHashTable) known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(Table) table = table_new(G_N_ELEMENTS(head) - 1);

    table_add_row(table, head);
    table_add_rule(table);
    for (guint i = 0; i < all->len; i++) {
        char *subject = kvm_subject(g_ptr_array_index(all, i));
        g_autoptr(GPtrArray) lines = kvm_lines(all, subject, NULL);
        g_autoptr(GPtrArray) builds = results_distinct(lines, "build");

        if (!g_hash_table_add(known, subject)) {
            continue;
        }
        add_subject(table, subject);
        for (guint j = 0; j < builds->len; j++) {
            add_kvm_build(table, all, subject, g_ptr_array_index(builds, j));
        }
    }
    return all->len ? table_format(table) : NULL;
}
