/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "map/draw.h"
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

/* A picture is large, and the last of many says nothing new. */
#define MAPS_MAX 8

static void append(GPtrArray *lines, const GPtrArray *more)
{
    for (unsigned i = 0; i < more->len; i++) {
        g_ptr_array_add(lines, more->pdata[i]);
    }
}

/* Those of the cases that the summary is about, or all if there are none. */
static GPtrArray *pick_maps(const Results *results)
{
    g_autoptr(GPtrArray) cases = case_results_all(results);
    g_autoptr(GPtrArray) backends = results_distinct(
        results_lines(results, "migration"), "backend");
    const GPtrArray *all = results_lines(results, "map");
    GPtrArray *picked = g_ptr_array_new();

    for (unsigned i = 0; i < backends->len; i++) {
        const CaseResults *one =
            case_results_pick(cases, backends->pdata[i], "total-ms");
        g_autoptr(GPtrArray) lines = one
            ? results_where(all, "case", one->name) : g_ptr_array_new();

        append(picked, lines);
    }
    if (!picked->len) {
        append(picked, all);
    }
    return picked;
}

/* Whether an earlier line is of the same case and build. */
static bool is_repeated(const GPtrArray *lines, unsigned index)
{
    for (unsigned i = 0; i < index; i++) {
        if (!g_strcmp0(result_string(lines->pdata[i], "case"),
                       result_string(lines->pdata[index], "case")) &&
            !g_strcmp0(result_string(lines->pdata[i], "build"),
                       result_string(lines->pdata[index], "build"))) {
            return true;
        }
    }
    return false;
}

static void add_map(Page *page, JsonObject *line)
{
    const char *name = result_string(line, "case");
    const char *build = result_string(line, "build");
    g_autofree char *title = g_strdup_printf(
        "%s, %s", name ? name : "?", build ? build_title(build) : "?");
    JsonNode *answer = json_object_get_member(line, "answer");
    g_autoptr(GError) why = NULL;
    g_autoptr(MemoryMap) map = answer ? memory_map_parse(answer, &why) : NULL;
    g_autofree char *svg = map
        ? memory_map_svg(map, MEMORY_HILBERT, title, false) : NULL;

    if (svg) {
        page_figure_html(page, svg);
    } else {
        page_text(page, "%s: the map cannot be drawn%s%s", title,
                  why ? ": " : "", why ? why->message : "");
    }
}

void page_maps(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) lines = pick_maps(results);
    unsigned n = 0;

    if (!lines->len) {
        return;
    }
    page_heading(page, 2, "Where the guest's memory went");
    page_figure_begin(page);
    for (unsigned i = 0; i < lines->len && n < MAPS_MAX; i++) {
        if (!is_repeated(lines, i)) {
            add_map(page, lines->pdata[i]);
            n++;
        }
    }
    page_figure_end(page, "All memory of the guest after its migration, a "
                    "cell for a fixed share of it, in the colour of what "
                    "most of the share is. What is near in memory is near "
                    "in the picture, along a Hilbert curve.");
}
