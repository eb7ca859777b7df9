/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/draw.h"
#include "report/build-name.h"
#include "report/case-results.h"
#include "report/page-sections.h"

/* A picture is large, and the last of many says nothing new. */
#define MAPS_MAX 8

static void append(GPtrArray *lines, const GPtrArray *more)
{
    for (unsigned i = 0; i < more->len; i++) {
        g_ptr_array_add(lines, more->pdata[i]);
    }
}

/* Those of the cases that the summary is about, or all if there are none. */
static GPtrArray *pick_lines(const Results *results)
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
    g_autoptr(GPtrArray) lines = pick_lines(results);
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
