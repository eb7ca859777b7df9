/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "base/table.h"
#include "bench/summary.h"

#define REFERENCE "unmodified"

/* All repetitions of the same thing. */
typedef struct BenchGroup {
    char *subject;              /* "anon/4G/512M/plain"; what is compared */
    char *build;
    GArray *totals;             /* of double: total-ms */
} BenchGroup;

static void group_free(gpointer opaque)
{
    BenchGroup *group = opaque;

    g_free(group->subject);
    g_free(group->build);
    g_array_unref(group->totals);
    g_free(group);
}

static const BenchGroup *find_group(const GPtrArray *groups,
                                    const char *subject, const char *build)
{
    for (guint i = 0; i < groups->len; i++) {
        const BenchGroup *group = g_ptr_array_index(groups, i);

        if (!strcmp(group->subject, subject) &&
            !strcmp(group->build, build)) {
            return group;
        }
    }
    return NULL;
}

static void add_time(GPtrArray *groups, JsonObject *line, const char *subject)
{
    const char *build = result_string(line, "build");
    double total = result_number(line, "total-ms");
    BenchGroup *group;

    if (!subject || isnan(total)) {
        return;
    }
    build = build ? build : "";
    group = (BenchGroup *)find_group(groups, subject, build);
    if (!group) {
        group = g_new0(BenchGroup, 1);
        group->subject = g_strdup(subject);
        group->build = g_strdup(build);
        group->totals = g_array_new(FALSE, FALSE, sizeof(double));
        g_ptr_array_add(groups, group);
    }
    g_array_append_val(group->totals, total);
}

static char *size_member(JsonObject *line, const char *member)
{
    double bytes = result_number(line, member);

    return isnan(bytes) ? g_strdup("?") : size_format(bytes);
}

/* "scale/anon/1024 GiB/whole/1" */
static char *device_subject(JsonObject *line)
{
    g_autofree char *memory = size_member(line, "memory");
    g_autofree char *ballooned = size_member(line, "ballooned");
    double runs = result_number(line, "runs");

    return g_strdup_printf("device/%s/%s/%s/%s/%.0f runs",
                           result_string(line, "series"),
                           result_string(line, "backend"), memory, ballooned,
                           isnan(runs) ? 0 : runs);
}

static char *rate_subject(JsonObject *line)
{
    return g_strdup_printf("rate/%s/%s/%s",
                           result_string(line, "operation"),
                           result_string(line, "pattern"),
                           result_string(line, "backend"));
}

typedef char *SubjectFunc(JsonObject *line);

static void add_kind(GPtrArray *groups, const Results *results,
                     const char *kind, SubjectFunc *subject)
{
    const GPtrArray *lines = results_lines(results, kind);

    for (guint i = 0; i < lines->len; i++) {
        JsonObject *line = g_ptr_array_index(lines, i);
        g_autofree char *text = subject(line);

        add_time(groups, line, text);
    }
}

static char *case_subject(JsonObject *line)
{
    return g_strdup(result_string(line, "case"));
}

static char *socket_subject(JsonObject *line)
{
    return g_strconcat("socket/", result_string(line, "case"), NULL);
}

/* All times among results, in the order in which they come first. */
static GPtrArray *make_groups(const Results *results)
{
    GPtrArray *groups = g_ptr_array_new_with_free_func(group_free);

    add_kind(groups, results, "migration", case_subject);
    add_kind(groups, results, "socket", socket_subject);
    add_kind(groups, results, "device", device_subject);
    add_kind(groups, results, "rate", rate_subject);
    return groups;
}

/* In milliseconds */
static Spread group_spread(const BenchGroup *group)
{
    return stats_spread((const double *)group->totals->data,
                        group->totals->len);
}

static char *format_ms(double ms)
{
    return ms < 100 ? g_strdup_printf("%.1f", ms)
                    : g_strdup_printf("%.0f", ms);
}

/* How many times as fast as unmodified QEMU in the same results. */
static double speed_up(const GPtrArray *groups, const BenchGroup *group)
{
    const BenchGroup *reference =
        find_group(groups, group->subject, REFERENCE);
    double ms = group_spread(group).median;

    return reference && reference != group && ms > 0 ?
           group_spread(reference).median / ms : NAN;
}

static char *format_speed_up(double factor)
{
    if (isnan(factor)) {
        return g_strdup("");
    }
    return g_strdup_printf("%.*f", factor < 10 ? 1 : 0, factor);
}

/*
 * A change is only told where no repetition of the one is like the other; a
 * single one says nothing of how much they differ.
 */
static const char *verdict(Spread old, Spread new)
{
    if (old.n < 2 || new.n < 2) {
        return "";
    }
    if (new.max < old.min) {
        return "faster";
    }
    return new.min > old.max ? "slower" : "same";
}

static void add_row(Table *table, const GPtrArray *olds,
                    const BenchGroup *old, const GPtrArray *news,
                    const BenchGroup *new)
{
    Spread before = group_spread(old);
    Spread after = group_spread(new);
    g_autofree char *name = g_strconcat(new->subject, " ", new->build, NULL);
    g_autofree char *before_text = format_ms(before.median);
    g_autofree char *after_text = format_ms(after.median);
    g_autofree char *change = before.median > 0 ?
        g_strdup_printf("%+.0f %%",
                        100 * (after.median / before.median - 1)) :
        g_strdup("");
    g_autofree char *old_factor = format_speed_up(speed_up(olds, old));
    g_autofree char *new_factor = format_speed_up(speed_up(news, new));
    const char *cells[] = {
        name, before_text, after_text, change, verdict(before, after),
        old_factor, new_factor, NULL
    };

    table_add_row(table, cells);
}

char *bench_compare(const Results *old, const Results *new)
{
    static const char *const head[] = {
        "total time, median", "old ms", "new ms", "change", "",
        "x, old", "x, new", NULL
    };
    g_autoptr(GPtrArray) olds = make_groups(old);
    g_autoptr(GPtrArray) news = make_groups(new);
    g_autoptr(Table) table = table_new(G_N_ELEMENTS(head) - 1);
    unsigned rows = 0;

    table_add_row(table, head);
    table_add_rule(table);
    for (guint i = 0; i < news->len; i++) {
        const BenchGroup *group = g_ptr_array_index(news, i);
        const BenchGroup *before =
            find_group(olds, group->subject, group->build);

        if (before) {
            add_row(table, olds, before, news, group);
            rows++;
        }
    }
    return rows ? table_format(table) : NULL;
}
