/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/case-results.h"
#include "report/growth.h"
#include "report/page-sections.h"

/* From this ratio on the axes are logarithmic. */
#define LOG_RATIO 200
/* In milliseconds. */
#define SECONDS_FROM 3000

/* Lines on one backend, and their builds. */
typedef struct Place {
    const Growth *growth;
    const char *backend;
    GPtrArray *lines;
    GPtrArray *builds;
} Place;

static Place place_new(const Growth *growth, const GPtrArray *lines,
                       const char *backend)
{
    Place place = { .growth = growth, .backend = backend };

    place.lines = results_where(lines, "backend", backend);
    place.builds = results_distinct(place.lines, "build");
    builds_sort(place.builds);
    return place;
}

static void place_clear(Place *place)
{
    g_ptr_array_unref(place->lines);
    g_ptr_array_unref(place->builds);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static bool wants_log(const Place *place)
{
    double low = INFINITY, high = 0;

    for (unsigned i = 0; i < place->lines->len; i++) {
        double x = place->growth->x(place->lines->pdata[i]);

        low = x > 0 ? fmin(low, x) : low;
        high = fmax(high, x);
    }
    /* There is no place for 0 on such an axis. */
    return high / low >= LOG_RATIO &&
           results_spread(place->lines, "total-ms").min > 0;
}

/* Points and line of a build; returns how many points there were. */
static unsigned add_build(XyChart *chart, const Place *place,
                          const char *build, double unit)
{
    g_autoptr(GPtrArray) lines = results_where(place->lines, "build", build);
    unsigned n = 0;
    Fit fit;

    xy_chart_series(chart, build_colour(build), XY_POINTS);
    for (unsigned i = 0; i < lines->len; i++) {
        double x = place->growth->x(lines->pdata[i]);
        double ms = result_number(lines->pdata[i], "total-ms");

        if (isfinite(x) && isfinite(ms)) {
            xy_chart_point(chart, x, ms / unit);
            n++;
        }
    }
    if (growth_fit(place->growth, lines, &fit)) {
        fit.slope /= unit;
        fit.intercept /= unit;
        xy_chart_line(chart, build_colour(build), &fit);
    }
    return n;
}

/* All builds, or only ours, which the others would press to the axis. */
static void add_chart(Page *page, const Place *place, bool only_ours,
                      bool half)
{
    bool seconds = !only_ours &&
        results_spread(place->lines, "total-ms").max >= SECONDS_FROM;
    g_autoptr(XyChart) chart = xy_chart_new(
        place->growth->axis, seconds ? "total time, s" : "total time, ms");
    g_autofree char *title = g_strdup_printf(
        "%s%s", place->backend, only_ours ? ", ours alone" : "");
    g_autofree char *label = g_strdup_printf("Total time over %s, %s",
                                             place->growth->axis, title);
    bool log = wants_log(place);
    unsigned n = 0;

    xy_chart_set_log(chart, log, log);
    if (place->growth->per >= 1e3) {
        xy_chart_set_counts(chart);
    }
    for (unsigned i = 0; i < place->builds->len; i++) {
        if (!only_ours || build_is_ours(place->builds->pdata[i])) {
            n += add_build(chart, place, place->builds->pdata[i],
                           seconds ? 1e3 : 1);
        }
    }
    if (n) {
        page_xy(page, chart, title, label, half);
    }
}

static void add_figure(Page *page, const Place *place)
{
    bool others = false, ours = false;

    for (unsigned i = 0; i < place->builds->len; i++) {
        bool is_ours = build_is_ours(place->builds->pdata[i]);

        ours = ours || is_ours;
        others = others || !is_ours;
    }
    page_figure_begin(page);
    for (unsigned i = 0; i < place->builds->len; i++) {
        unsigned colour = build_colour(place->builds->pdata[i]);

        page_legend(page, colour, xy_chart_mark(colour),
                    build_title(place->builds->pdata[i]));
    }
    add_chart(page, place, false, ours && others);
    if (ours && others) {
        add_chart(page, place, true, true);
    }
    page_figure_end(page, wants_log(place)
                    ? "A mark for each migration, and the straight line by "
                    "least squares; both axes are logarithmic, so it bends."
                    : "A mark for each migration, and the straight line by "
                    "least squares.");
}

static void add_fit(Page *page, const Place *place, const char *build)
{
    g_autoptr(GPtrArray) lines = results_where(place->lines, "build", build);
    char *slope, *error;
    Fit fit;

    if (!growth_fit(place->growth, lines, &fit)) {
        return;
    }
    page_row(page, build_colour(build), build_title(build));
    slope = growth_slope(place->growth, &fit, &error);
    page_cell(page, slope);
    page_cell(page, error);
    page_cell(page, quantity_rough(fit.intercept));
    /* Two points are always on a line. */
    page_cell(page, quantity_fixed(fit.n > 2 ? fit.r2 : NAN, 4));
    page_cell(page, quantity_fixed(fit.n, 0));
}

static char *slope_words(const Place *place, const char *build)
{
    g_autoptr(GPtrArray) lines = NULL;
    Fit fit;

    if (!build) {
        return NULL;
    }
    lines = results_where(place->lines, "build", build);
    return growth_fit(place->growth, lines, &fit)
        ? growth_slope_words(place->growth, &fit) : NULL;
}

/* Only the two that matter; the table has all of them. */
static void add_words(Page *page, const Place *place)
{
    const char *ours = builds_pick_ours(place->builds);
    g_autofree char *on = slope_words(place, ours);
    g_autofree char *off = slope_words(place, BUILD_UNMODIFIED);
    g_autofree char *item = NULL;

    if (on || off) {
        item = g_strdup_printf("%s: %s%s%s%s%s%s", place->backend,
                               on ? on : "", on ? " with " : "",
                               on ? build_title(ours) : "",
                               on && off ? ", " : "", off ? off : "",
                               off ? " with unmodified QEMU" : "");
        page_list_item(page, item);
    }
}

static void begin_table(Page *page, const Growth *growth)
{
    g_autofree char *slope = g_strdup_printf("slope|%s", growth->slope_unit);
    g_autofree char *error = g_strdup_printf("standard error|%s",
                                             growth->slope_unit);
    g_autofree char *zero = g_strdup_printf("at %s|ms", growth->zero);
    const char *const headings[] = {
        "", slope, error, zero, "R\xc2\xb2", "migrations", NULL
    };

    page_table_begin(page, "Total time as a straight line, least squares",
                     headings);
}

/* Charts, then the slopes, in words and as a table. */
static void add_part(Page *page, const Growth *growth, const char *heading,
                     const char *intro, const GPtrArray *lines)
{
    g_autoptr(GPtrArray) backends = results_distinct(lines, "backend");

    if (!backends->len) {
        return;
    }
    page_heading(page, 3, heading);
    page_text(page, "%s", intro);
    page_list_begin(page);
    for (unsigned i = 0; i < backends->len; i++) {
        g_auto(Place) place = place_new(growth, lines, backends->pdata[i]);

        add_words(page, &place);
    }
    page_list_end(page);
    for (unsigned i = 0; i < backends->len; i++) {
        g_auto(Place) place = place_new(growth, lines, backends->pdata[i]);

        add_figure(page, &place);
    }
    begin_table(page, growth);
    for (unsigned i = 0; i < backends->len; i++) {
        g_auto(Place) place = place_new(growth, lines, backends->pdata[i]);

        page_table_group(page, place.backend);
        for (unsigned j = 0; j < place.builds->len; j++) {
            add_fit(page, &place, place.builds->pdata[j]);
        }
    }
    page_table_end(page);
}

/* Only if they differ in size. */
static void add_guests(Page *page, const Results *results)
{
    double left;
    g_autoptr(GPtrArray) lines = growth_of_guests(results, &left);
    g_autofree char *size = quantity_bytes(left);
    g_autofree char *intro = NULL;
    Fit fit;

    if (!growth_fit(&growth_ballooned, lines, &fit)) {
        return;
    }
    intro = g_strdup_printf(
        "What each further GiB in the balloon adds to the total time of the "
        "plain migrations above, of guests of which it left %s:", size);
    add_part(page, &growth_ballooned, "Real guests, with memory in the "
             "balloon", intro, lines);
}

static void add_devices(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) touched = growth_of_devices(results, true);
    g_autoptr(GPtrArray) sparse = growth_of_devices(results, false);
    g_autoptr(GPtrArray) runs = results_where(
        results_lines(results, "device"), "series", "runs");

    if (!touched->len && !sparse->len && !runs->len) {
        return;
    }
    page_text(page, "What follows is measured at the level of devices: a "
              "driver of ours talks to the balloon device, no guest runs, "
              "the memory is sparse.");
    add_part(page, &growth_ballooned, "Devices, with memory in the balloon "
             "that was in use before",
             "What each further GiB in the balloon adds to the total time, "
             "all of it having been written to before:", touched);
    add_part(page, &growth_ballooned, "Devices, with memory in the balloon",
             "What each further GiB in the balloon adds to the total time, "
             "none of it ever having been used:", sparse);
    add_part(page, &growth_runs, "Devices, with runs of the balloon map",
             "What further runs add, when memory is in the balloon here and "
             "there instead of in one piece:", runs);
}

void page_growth(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) growth = growth_of_devices(results, false);
    g_autoptr(GPtrArray) touched = growth_of_devices(results, true);
    g_autoptr(GPtrArray) runs = results_where(
        results_lines(results, "device"), "series", "runs");
    double left;
    g_autoptr(GPtrArray) guests = growth_of_guests(results, &left);
    Fit fit;

    if (growth->len || touched->len || runs->len ||
        growth_fit(&growth_ballooned, guests, &fit)) {
        page_heading(page, 2, "Growth");
        page_text(page, "Slopes of straight lines, with their standard "
                  "errors.");
        add_guests(page, results);
        add_devices(page, results);
    }
}
