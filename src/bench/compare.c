/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/compare.h"

#include <math.h>

#include "base/table.h"
#include "bench/group.h"

#define REFERENCE "unmodified"

static char *format_ms(double ms)
{
    return ms < 100 ? g_strdup_printf("%.1f", ms)
                    : g_strdup_printf("%.0f", ms);
}

/* How many times as fast as unmodified QEMU in the same results. */
static double speed_up(const GPtrArray *groups, const BenchGroup *group)
{
    const BenchGroup *reference =
        bench_groups_find(groups, group->subject, REFERENCE);
    double ms = bench_group_spread(group).median;

    return reference && reference != group && ms > 0 ?
           bench_group_spread(reference).median / ms : NAN;
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
    Spread before = bench_group_spread(old);
    Spread after = bench_group_spread(new);
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
    g_autoptr(GPtrArray) olds = bench_groups(old);
    g_autoptr(GPtrArray) news = bench_groups(new);
    g_autoptr(Table) table = table_new(G_N_ELEMENTS(head) - 1);
    unsigned rows = 0;

    table_add_row(table, head);
    table_add_rule(table);
    for (guint i = 0; i < news->len; i++) {
        const BenchGroup *group = g_ptr_array_index(news, i);
        const BenchGroup *before =
            bench_groups_find(olds, group->subject, group->build);

        if (before) {
            add_row(table, olds, before, news, group);
            rows++;
        }
    }
    return rows ? table_format(table) : NULL;
}
