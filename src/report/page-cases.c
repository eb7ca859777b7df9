/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/case-results.h"
#include "report/page-sections.h"

static char *range(const Spread *spread, double unit, unsigned decimals)
{
    g_autofree char *low = quantity_fixed(spread->min / unit, decimals);
    g_autofree char *high = quantity_fixed(spread->max / unit, decimals);

    /* One value has no spread. */
    return spread->n > 1 ? g_strdup_printf("%s\xe2\x80\x93%s", low, high)
                         : g_strdup("");
}

static char *mib(double bytes)
{
    return quantity_fixed(bytes / SIZE_MIB, 0);
}

static char *before_after(const CaseResults *one, const char *build)
{
    g_autofree char *before =
        mib(case_results_median(one, build, "source-before"));
    g_autofree char *after =
        mib(case_results_median(one, build, "source-after"));

    return before && after
        ? g_strdup_printf("%s \xe2\x86\x92 %s", before, after) : NULL;
}

static char *ratio(double a, double b)
{
    double value = a / b;

    return isfinite(value) ? quantity_rough(value) : NULL;
}

static void add_row(Page *page, const CaseResults *one, const char *build)
{
    Spread total = case_results_spread(one, build, "total-ms");
    double stock = case_results_median(one, BUILD_UNMODIFIED, "total-ms");
    double never = case_results_median(one, BUILD_NEVER, "total-ms");

    page_row(page, build_colour(build), build_title(build));
    page_cell(page, quantity_fixed(total.median / 1e3, 2));
    page_cell(page, ratio(stock, total.median));
    page_cell(page, ratio(total.median, never));
    page_cell(page, range(&total, 1e3, 2));
    page_cell(page, mib(case_results_median(one, build, "transferred")));
    page_cell(page, before_after(one, build));
    page_cell(page, mib(case_results_median(one, build, "destination-after")));
}

/* What only writing the bytes takes. */
static void add_socket(Page *page, const Results *results,
                       const CaseResults *one)
{
    g_autoptr(GPtrArray) lines = results_where(
        results_lines(results, "socket"), "case", one->name);
    Spread total = results_spread(lines, "total-ms");
    double stock = case_results_median(one, BUILD_UNMODIFIED, "total-ms");
    double never = case_results_median(one, BUILD_NEVER, "total-ms");

    if (!total.n) {
        return;
    }
    page_row(page, -1, "socket alone");
    page_cell(page, quantity_fixed(total.median / 1e3, 2));
    page_cell(page, ratio(stock, total.median));
    page_cell(page, ratio(total.median, never));
    page_cell(page, range(&total, 1e3, 2));
    page_cell(page, mib(results_spread(lines, "bytes").median));
    page_cell(page, g_strdup(""));
    page_cell(page, g_strdup(""));
}

static void begin_table(Page *page)
{
    static const char *const headings[] = {
        "", "total time|s", "unmodified takes|times as long",
        "ratio to never ballooned", "least\xe2\x80\x93most|s",
        "sent|MiB", "source before \xe2\x86\x92 after|MiB",
        "destination|MiB", NULL
    };

    page_table_begin(page, "Medians of the repetitions; memory is what each "
                     "QEMU takes of its host", headings);
}

static void add_case(Page *page, const Results *results, const CaseResults *one)
{
    g_autofree char *title = case_results_title(one);

    page_table_group(page, title);
    for (unsigned i = 0; i < one->builds->len; i++) {
        add_row(page, one, one->builds->pdata[i]);
    }
    add_socket(page, results, one);
}

/* The bars of a member, in a unit, for people by that function. */
typedef struct Bars {
    const char *member;
    const char *axis;
    const char *what;
    double unit;
    char *(*text)(double);
} Bars;

static void add_bars(Page *page, const GPtrArray *cases, const char *place,
                     const Bars *bars)
{
    g_autoptr(BarChart) chart = bar_chart_new(bars->axis);
    g_autofree char *caption = NULL;

    for (unsigned i = 0; i < cases->len; i++) {
        const CaseResults *one = cases->pdata[i];
        g_autofree char *title = case_results_title(one);

        bar_chart_group(chart, title);
        for (unsigned j = 0; j < one->builds->len; j++) {
            const char *build = one->builds->pdata[j];
            Spread spread = case_results_spread(one, build, bars->member);
            g_autofree char *text = bars->text(spread.median);

            spread.min /= bars->unit;
            spread.median /= bars->unit;
            spread.max /= bars->unit;
            bar_chart_add(chart, build_title(build), build_colour(build),
                          &spread, text ? text : "");
        }
    }
    if (bar_chart_is_empty(chart)) {
        return;
    }
    caption = g_strdup_printf(
        "%s, %s.%s", bars->what, place, bar_chart_is_log(chart)
        ? " Logarithmic: each mark of the scale is ten times the one before."
        : "");
    page_figure_begin(page);
    page_bars(page, chart, caption);
    page_figure_end(page, caption);
}

static void add_place(Page *page, const Results *results,
                      const GPtrArray *cases, const char *place)
{
    static const Bars times = {
        "total-ms", "total time, s", "Total time of the migration", 1e3,
        quantity_ms,
    };
    static const Bars bytes = {
        "transferred", "sent, MiB", "Bytes sent for RAM", SIZE_MIB,
        quantity_bytes,
    };

    page_heading(page, 3, place);
    begin_table(page);
    for (unsigned i = 0; i < cases->len; i++) {
        add_case(page, results, cases->pdata[i]);
    }
    page_table_end(page);
    add_bars(page, cases, place, &times);
    add_bars(page, cases, place, &bytes);
}

/* Cases of the same backend and mode are one after the other. */
void page_cases(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) cases = case_results_all(results);
    g_autoptr(GPtrArray) some = g_ptr_array_new();

    if (!cases->len) {
        return;
    }
    page_heading(page, 2, "Real guests");
    page_text(page, "A Linux guest used all its memory, then the balloon "
              "took most of it, then it was migrated. \"Never ballooned\" is "
              "the limit: unmodified QEMU, a guest of the size that the "
              "balloon left, with the same live data, and no balloon. "
              "\"Socket alone\" is what only writing as many bytes takes, "
              "from one process to another.");
    for (unsigned i = 0; i < cases->len; i++) {
        g_autofree char *place = case_results_place(cases->pdata[i]);
        bool last = i + 1 == cases->len;
        g_autofree char *next =
            last ? NULL : case_results_place(cases->pdata[i + 1]);

        g_ptr_array_add(some, cases->pdata[i]);
        if (g_strcmp0(place, next)) {
            add_place(page, results, some, place);
            g_ptr_array_set_size(some, 0);
        }
    }
}
