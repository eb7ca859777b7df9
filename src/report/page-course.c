/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/build-name.h"
#include "report/case-results.h"
#include "report/page-sections.h"

/* Colours of what belongs to the two hosts. */
#define SOURCE 2
#define DESTINATION 4

/* The migration whose total time is next to the median, with samples. */
static JsonObject *pick_line(const CaseResults *one, const char *build)
{
    g_autoptr(GPtrArray) lines = results_where(one->lines, "build", build);
    double median = results_spread(lines, "total-ms").median;
    double best = INFINITY;
    JsonObject *picked = NULL;

    for (unsigned i = 0; i < lines->len; i++) {
        double off = fabs(result_number(lines->pdata[i], "total-ms") -
                          median);

        if (off < best &&
            json_object_has_member(lines->pdata[i], "samples")) {
            best = off;
            picked = lines->pdata[i];
        }
    }
    return picked;
}

static JsonArray *samples_of(JsonObject *line)
{
    JsonNode *node = line ? json_object_get_member(line, "samples") : NULL;

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node)
                                               : NULL;
}

/* A number of a sample, NAN if it has none there. */
static double sample_number(JsonArray *samples, unsigned i, unsigned column)
{
    JsonNode *node = json_array_get_element(samples, i);
    JsonArray *sample = JSON_NODE_HOLDS_ARRAY(node)
        ? json_node_get_array(node) : NULL;

    if (!sample || json_array_get_length(sample) <= column) {
        return NAN;
    }
    return result_node_number(json_array_get_element(sample, column));
}

/* Returns how many points there were. */
static unsigned add_series(XyChart *chart, JsonArray *samples,
                           unsigned column, unsigned colour, XyStyle style)
{
    unsigned n = 0;

    xy_chart_series(chart, colour, style);
    for (unsigned i = 0; i < json_array_get_length(samples); i++) {
        double ms = sample_number(samples, i, 0);
        double bytes = sample_number(samples, i, column);

        if (!isnan(ms) && !isnan(bytes)) {
            xy_chart_point(chart, ms / 1e3, bytes / SIZE_MIB);
            n++;
        }
    }
    return n;
}

static double top_of(JsonArray *samples)
{
    double top = 0;

    for (unsigned i = 0; samples && i < json_array_get_length(samples); i++) {
        top = fmax(top, sample_number(samples, i, 1));
        top = fmax(top, sample_number(samples, i, 2));
    }
    return top;
}

/* The chart of one migration, as high as that of the other. */
static void add_chart(Page *page, const CaseResults *one, const char *build,
                      JsonArray *samples, double top)
{
    g_autoptr(XyChart) chart = xy_chart_new("s since the start", "MiB");
    g_autofree char *label = g_strdup_printf(
        "Memory of source and destination while %s migrates, %s",
        build_title(build), one->name);
    unsigned n;

    xy_chart_set_top(chart, top / SIZE_MIB);
    n = add_series(chart, samples, 1, SOURCE, XY_LINES);
    n += add_series(chart, samples, 2, DESTINATION, XY_DASHES);
    if (n) {
        page_xy(page, chart, build_title(build), label, true);
    }
}

static void add_case(Page *page, const CaseResults *one)
{
    const char *ours = builds_pick_ours(one->builds);
    JsonArray *off = samples_of(pick_line(one, BUILD_UNMODIFIED));
    JsonArray *on = samples_of(pick_line(one, ours));
    double top = fmax(top_of(off), top_of(on));
    g_autofree char *title = case_results_title(one);
    g_autofree char *place = case_results_place(one);
    g_autofree char *caption = g_strdup_printf(
        "%s, %s. Both charts go up to the same memory, but each has its own "
        "scale of time.", place, title);

    if (!off || !on || !json_array_get_length(off) ||
        !json_array_get_length(on)) {
        return;
    }
    page_figure_begin(page);
    page_legend(page, SOURCE, "\xe2\x94\x81", "source");
    page_legend(page, DESTINATION, "\xe2\x95\x8d", "destination");
    add_chart(page, one, BUILD_UNMODIFIED, off, top);
    add_chart(page, one, ours, on, top);
    page_figure_end(page, caption);
}

void page_course(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) cases = case_results_all(results);
    g_autoptr(GPtrArray) backends = results_distinct(
        results_lines(results, "migration"), "backend");
    bool any = false;

    for (unsigned i = 0; i < backends->len; i++) {
        const CaseResults *one =
            case_results_pick(cases, backends->pdata[i], "samples");

        if (one) {
            if (!any) {
                page_heading(page, 2, "Memory of both hosts meanwhile");
            }
            any = true;
            add_case(page, one);
        }
    }
}
