/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "report/case-results.h"
#include "report/page-sections.h"

/* Lines of one backend and one pattern; sizes of guests in them, sorted. */
typedef struct Place {
    char *title;
    GPtrArray *lines;
    GPtrArray *builds;
    GArray *sizes;              /* of double, in bytes */
} Place;

static const char *pattern_words(const char *pattern)
{
    static const struct {
        const char *pattern;
        const char *words;
    } known[] = {
        { "none", "no balloon" },
        { "whole", "balloon in one run" },
        { "every-other", "every other page in the balloon" },
        { "runs", "balloon in many runs" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (!strcmp(pattern, known[i].pattern)) {
            return known[i].words;
        }
    }
    return pattern;
}

static gint compare_sizes(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static GArray *sizes_of(const GPtrArray *lines)
{
    GArray *sizes = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < lines->len; i++) {
        double size = result_number(lines->pdata[i], "memory");
        bool known = !(size > 0);

        for (unsigned j = 0; j < sizes->len && !known; j++) {
            known = g_array_index(sizes, double, j) == size;
        }
        if (!known) {
            g_array_append_val(sizes, size);
        }
    }
    g_array_sort(sizes, compare_sizes);
    return sizes;
}

static void place_free(gpointer data)
{
    Place *place = data;

    g_free(place->title);
    g_ptr_array_unref(place->lines);
    g_ptr_array_unref(place->builds);
    g_array_unref(place->sizes);
    g_free(place);
}

static void add_places(GPtrArray *places, const GPtrArray *scale,
                       const char *backend)
{
    g_autoptr(GPtrArray) lines = results_where(scale, "backend", backend);
    g_autoptr(GPtrArray) patterns = results_distinct(lines, "pattern");

    for (unsigned i = 0; i < patterns->len; i++) {
        const char *pattern = patterns->pdata[i];
        Place *place = g_new0(Place, 1);

        place->title = g_strdup_printf("%s, %s", backend,
                                       pattern_words(pattern));
        place->lines = results_where(lines, "pattern", pattern);
        place->builds = results_distinct(place->lines, "build");
        place->sizes = sizes_of(place->lines);
        builds_sort(place->builds);
        g_ptr_array_add(places, place);
    }
}

static GPtrArray *places_of(const GPtrArray *scale)
{
    GPtrArray *places = g_ptr_array_new_with_free_func(place_free);
    g_autoptr(GPtrArray) backends = results_distinct(scale, "backend");

    for (unsigned i = 0; i < backends->len; i++) {
        add_places(places, scale, backends->pdata[i]);
    }
    return places;
}

/* Those of a build with guests of that size. */
static GPtrArray *lines_at(const Place *place, const char *build, double size)
{
    g_autoptr(GPtrArray) lines = results_where(place->lines, "build", build);
    GPtrArray *some = g_ptr_array_new();

    for (unsigned i = 0; i < lines->len; i++) {
        if (result_number(lines->pdata[i], "memory") == size) {
            g_ptr_array_add(some, lines->pdata[i]);
        }
    }
    return some;
}

static void add_cell(Page *page, const GPtrArray *lines, const char *member,
                     double unit, unsigned decimals)
{
    double median = results_spread(lines, member).median;

    page_cell(page, quantity_fixed(median / unit, decimals));
}

static void add_row(Page *page, const Place *place, const char *build,
                    double size)
{
    g_autoptr(GPtrArray) lines = lines_at(place, build, size);
    g_autofree char *memory = quantity_bytes(size);
    g_autofree char *title = g_strdup_printf("%s, %s", memory,
                                             build_title(build));

    if (!lines->len) {
        return;
    }
    page_row(page, build_colour(build), title);
    add_cell(page, lines, "total-ms", 1, 0);
    add_cell(page, lines, "setup-ms", 1, 0);
    add_cell(page, lines, "longest-hold-ms", 1, 1);
    add_cell(page, lines, "longest-wait-ms", 1, 1);
    add_cell(page, lines, "map-bytes", 1, 0);
    add_cell(page, lines, "final-map-bytes", 1, 0);
    add_cell(page, lines, "qemu-bytes", SIZE_MIB, 0);
    add_cell(page, lines, "page-table-bytes", SIZE_MIB, 0);
}

static void add_table(Page *page, const GPtrArray *places)
{
    static const char *const headings[] = {
        "", "total time|ms", "setup|ms", "longest hold|ms",
        "longest wait|ms", "map|bytes", "map, stopped|bytes", "QEMU|MiB",
        "page tables|MiB", NULL
    };

    page_table_begin(page, "Large guests, medians", headings);
    for (unsigned i = 0; i < places->len; i++) {
        const Place *place = places->pdata[i];

        page_table_group(page, place->title);
        for (unsigned j = 0; j < place->sizes->len; j++) {
            for (unsigned k = 0; k < place->builds->len; k++) {
                add_row(page, place, place->builds->pdata[k],
                        g_array_index(place->sizes, double, j));
            }
        }
    }
    page_table_end(page);
}

/* Returns how many points there were. */
static unsigned add_series(XyChart *chart, const Place *place,
                           const char *build)
{
    unsigned n = 0;

    xy_chart_series(chart, build_colour(build), XY_BOTH);
    for (unsigned i = 0; i < place->sizes->len; i++) {
        double size = g_array_index(place->sizes, double, i);
        g_autoptr(GPtrArray) lines = lines_at(place, build, size);
        double ms = results_spread(lines, "total-ms").median;

        if (ms > 0) {
            xy_chart_point(chart, size / SIZE_GIB, ms / 1e3);
            n++;
        }
    }
    return n;
}

static void add_chart(Page *page, const Place *place)
{
    g_autoptr(XyChart) chart = xy_chart_new("guest RAM", "total time, s");
    g_autofree char *label = g_strdup_printf("Total time over guest RAM, %s",
                                             place->title);
    unsigned n = 0;

    xy_chart_set_log(chart, true, true);
    for (unsigned i = 0; i < place->sizes->len; i++) {
        double size = g_array_index(place->sizes, double, i);
        g_autofree char *text = quantity_bytes(size);

        xy_chart_tic(chart, size / SIZE_GIB, text);
    }
    for (unsigned i = 0; i < place->builds->len; i++) {
        n += add_series(chart, place, place->builds->pdata[i]);
    }
    if (n) {
        page_xy(page, chart, place->title, label, true);
    }
}

static void add_figure(Page *page, const GPtrArray *places,
                       const GPtrArray *scale)
{
    g_autoptr(GPtrArray) builds = results_distinct(scale, "build");

    builds_sort(builds);
    page_figure_begin(page);
    for (unsigned i = 0; i < builds->len; i++) {
        unsigned colour = build_colour(builds->pdata[i]);

        page_legend(page, colour, xy_chart_mark(colour),
                    build_title(builds->pdata[i]));
    }
    for (unsigned i = 0; i < places->len; i++) {
        const Place *place = places->pdata[i];

        /* A point is no chart. */
        if (place->sizes->len > 1) {
            add_chart(page, place);
        }
    }
    page_figure_end(page, "Total time over guest RAM; both axes are "
                    "logarithmic.");
}

void page_scale(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) scale = results_where(
        results_lines(results, "device"), "series", "scale");
    g_autoptr(GPtrArray) places = places_of(scale);

    if (!places->len) {
        return;
    }
    page_heading(page, 2, "Scale");
    page_text(page, "At the level of devices as well, with guests so large "
              "that their memory has to be sparse. The longest hold is that "
              "of the big lock by code of skip-balloon, the longest wait "
              "that of a QMP command on the source. The map is that of the "
              "balloon in the stream, and the bytes of it that are sent "
              "with the guest stopped. QEMU is the private memory of the "
              "source, its page tables not included, at its largest.");
    add_figure(page, places, scale);
    add_table(page, places);
}

#define PAGE_BYTES 4096

/* In GiB a second, the median; NAN if not measured. */
static double rate_of(const GPtrArray *lines, const char *build)
{
    g_autoptr(GPtrArray) some = results_where(lines, "build", build);
    g_autoptr(GArray) rates = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < some->len; i++) {
        double rate = result_number(some->pdata[i], "pages") * PAGE_BYTES /
                      SIZE_GIB /
                      (result_number(some->pdata[i], "total-ms") / 1e3);

        if (isfinite(rate)) {
            g_array_append_val(rates, rate);
        }
    }
    return stats_median((const double *)rates->data, rates->len);
}

static void add_rate(Page *page, const GPtrArray *lines, const char *operation,
                     const char *pattern)
{
    g_autoptr(GPtrArray) of_operation = results_where(lines, "operation",
                                                      operation);
    g_autoptr(GPtrArray) some = results_where(of_operation, "pattern",
                                              pattern);
    g_autofree char *title = g_strdup_printf("%s, %s", operation, pattern);
    double off = rate_of(some, BUILD_UNMODIFIED);
    double on = rate_of(some, "skip-balloon");

    if (some->len) {
        page_row(page, -1, title);
        page_cell(page, quantity_fixed(off, 2));
        page_cell(page, quantity_fixed(on, 2));
        page_cell(page, quantity_rough(on / off));
    }
}

static void add_backend(Page *page, const GPtrArray *all, const char *backend)
{
    g_autoptr(GPtrArray) lines = results_where(all, "backend", backend);
    g_autoptr(GPtrArray) operations = results_distinct(lines, "operation");
    g_autoptr(GPtrArray) patterns = results_distinct(lines, "pattern");

    page_table_group(page, backend);
    for (unsigned i = 0; i < operations->len; i++) {
        for (unsigned j = 0; j < patterns->len; j++) {
            add_rate(page, lines, operations->pdata[i], patterns->pdata[j]);
        }
    }
}

void page_rates(Page *page, const Results *results)
{
    static const char *const headings[] = {
        "", "unmodified|GiB a second", "skip-balloon|GiB a second", "ratio",
        NULL
    };
    const GPtrArray *all = results_lines(results, "rate");
    g_autoptr(GPtrArray) backends = results_distinct(all, "backend");

    if (!backends->len) {
        return;
    }
    page_heading(page, 2, "Inflating and deflating");
    page_text(page, "How fast the balloon device serves the requests of a "
              "driver, without a guest, by the order of the pages in them.");
    page_table_begin(page, "Rates of the balloon device, medians", headings);
    for (unsigned i = 0; i < backends->len; i++) {
        add_backend(page, all, backends->pdata[i]);
    }
    page_table_end(page);
}
