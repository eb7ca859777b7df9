/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/report.h"

#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "base/size.h"
#include "map/draw.h"
#include "report/case-results.h"
#include "report/chart.h"
#include "report/gnuplot.h"
#include "report/page-sections.h"
#include "report/page.h"

#define TITLE "skip-balloon: results of the benchmark"

Results *report_file_load(char **files, GError **error)
{
    g_autoptr(Results) results = results_new();
    const GPtrArray *warnings = results_warnings(results);

    for (char **file = files; *file; file++) {
        if (!results_load(results, *file, error)) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < warnings->len; i++) {
        fprintf(stderr, "%s: warning: %s\n", g_get_prgname(),
                (char *)warnings->pdata[i]);
    }
    if (!results_count(results)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there are no results in '%s'%s; 'skip-balloon bench' "
                    "writes them", files[0],
                    files[1] ? " and the others" : "");
        return NULL;
    }
    return g_steal_pointer(&results);
}

static char *make_page(Session *session, const Results *results,
                       GError **error)
{
    static void (*const sections[])(Page *, const Results *) = {
        page_summary, page_cases, page_course, page_maps, page_growth,
        page_scale, page_rates, page_model, page_circumstances,
    };
    Page *page = page_new(session, TITLE);

    progress_begin(session->progress, "report: draw the charts");
    for (unsigned i = 0; i < G_N_ELEMENTS(sections); i++) {
        sections[i](page, results);
        progress_update(session->progress,
                        (i + 1.0) / G_N_ELEMENTS(sections));
    }
    return page_finish(page, error);
}

static bool write_file(const char *path, const char *text, GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (g_file_set_contents(path, text, -1, &failure)) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE, "cannot write '%s': %s",
                path, error_reason(failure));
    return false;
}

bool report_file_write(Session *session, const Results *results,
                       const char *output, GError **error)
{
    g_autofree char *html = make_page(session, results, error);

    if (!html) {
        return false;
    }
    if (!write_file(output, html, error)) {
        return false;
    }
    progress_end(session->progress, output);
    return true;
}

#define WIDTH 760
#define MS_PER_SECOND 1000

/* For each backend the case with the largest balloon */
static GPtrArray *pick_cases(const Results *results, const GPtrArray *cases)
{
    g_autoptr(GPtrArray) backends = results_distinct(
        results_lines(results, "migration"), "backend");
    GPtrArray *picked = g_ptr_array_new();

    for (unsigned i = 0; i < backends->len; i++) {
        const CaseResults *one =
            case_results_pick(cases, backends->pdata[i], "total-ms");

        if (one) {
            g_ptr_array_add(picked, (gpointer)one);
        }
    }
    return picked;
}

static void add_bar(BarChart *chart, const CaseResults *one,
                    const char *build)
{
    Spread spread = case_results_spread(one, build, "total-ms");
    g_autofree char *text = quantity_ms(spread.median);

    spread.min /= MS_PER_SECOND;
    spread.median /= MS_PER_SECOND;
    spread.max /= MS_PER_SECOND;
    bar_chart_add(chart, build_title(build), build_colour(build), &spread,
                  text ? text : "");
}

/* "memfd, plain: 8 GiB, 512 MiB left" */
static char *describe(const CaseResults *one)
{
    g_autofree char *place = case_results_place(one);
    g_autofree char *title = case_results_title(one);

    return g_strdup_printf("%s: %s", place, title);
}

static BarChart *time_chart(const GPtrArray *cases)
{
    BarChart *chart = bar_chart_new("total time of the migration, s");

    for (unsigned i = 0; i < cases->len; i++) {
        const CaseResults *one = cases->pdata[i];
        g_autofree char *title = describe(one);

        bar_chart_group(chart, title);
        for (unsigned j = 0; j < one->builds->len; j++) {
            add_bar(chart, one, one->builds->pdata[j]);
        }
    }
    return chart;
}

/* "fill:var(--ink)" becomes "fill:#1b2228;fill:var(--ink)". */
static gboolean add_fixed_colour(const GMatchInfo *match, GString *result,
                                 gpointer opaque G_GNUC_UNUSED)
{
    g_autofree char *all = g_match_info_fetch(match, 0);
    g_autofree char *property = g_match_info_fetch(match, 1);
    g_autofree char *name = g_match_info_fetch(match, 2);
    g_autofree char *definition = g_strconcat(name, ":", NULL);
    const char *found = strstr(page_colours, definition);

    if (found) {
        found += strlen(definition);
        g_string_append_printf(result, "%s:%.*s;", property,
                               (int)strcspn(found, ";"), found);
    }
    g_string_append(result, all);
    return FALSE;
}

/*
 * What the page would give it: colours, a font, and paper behind it. Not every
 * program that draws SVG knows CSS variables; one that does not passes over
 * them, and takes the colour before.
 */
static char *on_its_own(const char *svg)
{
    const char *inside = strchr(svg, '>');
    g_autofree char *with_style = g_strdup_printf(
        "%.*s xmlns=\"http://www.w3.org/2000/svg\"><style>%s"
        "text{font-family:system-ui,'Liberation Sans',sans-serif}</style>"
        "<rect width=\"100%%\" height=\"100%%\" "
        "style=\"fill:var(--paper)\"/>%s\n",
        (int)(inside - svg), svg, page_colours, inside + 1);
    g_autoptr(GRegex) variable = g_regex_new(
        "([a-z-]+):\\s*var\\((--[a-z0-9]+)\\)", 0, 0, NULL);

    return g_regex_replace_eval(variable, with_style, -1, 0, 0,
                                add_fixed_colour, NULL, NULL);
}

static char *draw_times(Session *session, const GPtrArray *cases,
                        GError **error)
{
    g_autoptr(BarChart) chart = time_chart(cases);
    g_autofree char *script = NULL;
    g_autofree char *drawn = NULL;
    g_autofree char *svg = NULL;

    if (bar_chart_is_empty(chart)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there are no pictures to draw: no guest was measured");
        return NULL;
    }
    script = bar_chart_script(chart, WIDTH);
    drawn = gnuplot_draw(session, script, error);
    svg = drawn ? svg_embed(drawn, "time", "", "Total time of the migration",
                            error) : NULL;
    return svg ? on_its_own(svg) : NULL;
}

static bool write_picture(const char *dir, const char *name, const char *svg,
                          GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return write_file(path, svg, error);
}

static JsonObject *find_map(const Results *results, const CaseResults *one)
{
    g_autoptr(GPtrArray) lines = results_where(
        results_lines(results, "map"), "case", one->name);

    return lines->len ? lines->pdata[0] : NULL;
}

/* The map of one of the cases: of the largest guest, the last such */
static char *draw_map(const Results *results, const GPtrArray *cases,
                      GError **error)
{
    const CaseResults *largest = NULL;
    JsonObject *line = NULL;
    g_autoptr(MemoryMap) map = NULL;
    g_autofree char *title = NULL;

    for (unsigned i = 0; i < cases->len; i++) {
        const CaseResults *one = cases->pdata[i];
        JsonObject *its_line = find_map(results, one);

        if (its_line && (!largest || one->memory >= largest->memory)) {
            largest = one;
            line = its_line;
        }
    }
    if (!line) {
        return g_strdup("");
    }
    map = memory_map_parse(json_object_get_member(line, "answer"), error);
    title = describe(largest);
    return map ? memory_map_svg(map, MEMORY_HILBERT, title, true) : NULL;
}

bool report_pictures_write(Session *session, const Results *results,
                           const char *dir, GError **error)
{
    g_autoptr(GPtrArray) all = case_results_all(results);
    g_autoptr(GPtrArray) cases = pick_cases(results, all);
    g_autofree char *times = draw_times(session, cases, error);
    g_autofree char *map = NULL;

    if (times) {
        map = draw_map(results, cases, error);
    }
    if (!map) {
        return false;
    }
    if (g_mkdir_with_parents(dir, 0777)) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make the directory '%s': %s", dir,
                    g_strerror(errno));
        return false;
    }
    return write_picture(dir, "time.svg", times, error) &&
           (!map[0] || write_picture(dir, "memory.svg", map, error));
}
