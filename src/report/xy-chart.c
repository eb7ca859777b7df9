/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/chart.h"

#include <math.h>

#include "report/gnuplot.h"

#define HEIGHT_MIN 250
#define HEIGHT_MAX 320
#define LINE_POINTS 150

/* gnuplot's number of a mark, and a character that looks like it. */
static const struct {
    unsigned type;
    const char *character;
} marks[] = {
    { 7, "\xe2\x97\x8f" }, { 5, "\xe2\x96\xa0" }, { 9, "\xe2\x96\xb2" },
    { 11, "\xe2\x96\xbc" }, { 13, "\xe2\x97\x86" }, { 6, "\xe2\x97\x8b" },
    { 4, "\xe2\x96\xa1" },
};

typedef struct Series {
    unsigned colour;
    XyStyle style;
    GString *points;
} Series;

typedef struct Line {
    unsigned colour;
    Fit fit;
} Line;

struct XyChart {
    char *x_axis;
    char *y_axis;
    GArray *series;
    GArray *lines;
    GString *tics;
    bool log_x;
    bool log_y;
    bool counts;
    double low_x;               /* of all points */
    double high_x;
    double top;
};

static void series_clear(gpointer data)
{
    g_string_free(((Series *)data)->points, TRUE);
}

XyChart *xy_chart_new(const char *x_axis, const char *y_axis)
{
    XyChart *chart = g_new0(XyChart, 1);

    chart->x_axis = g_strdup(x_axis);
    chart->y_axis = g_strdup(y_axis);
    chart->series = g_array_new(FALSE, FALSE, sizeof(Series));
    chart->lines = g_array_new(FALSE, FALSE, sizeof(Line));
    chart->tics = g_string_new(NULL);
    chart->low_x = INFINITY;
    g_array_set_clear_func(chart->series, series_clear);
    return chart;
}

void xy_chart_free(XyChart *chart)
{
    if (chart) {
        g_free(chart->x_axis);
        g_free(chart->y_axis);
        g_array_unref(chart->series);
        g_array_unref(chart->lines);
        g_string_free(chart->tics, TRUE);
        g_free(chart);
    }
}

void xy_chart_set_log(XyChart *chart, bool x, bool y)
{
    chart->log_x = x;
    chart->log_y = y;
}

void xy_chart_set_counts(XyChart *chart)
{
    chart->counts = true;
}

void xy_chart_set_top(XyChart *chart, double y)
{
    chart->top = MAX(chart->top, y);
}

void xy_chart_tic(XyChart *chart, double x, const char *text)
{
    g_autofree char *quoted = gnuplot_quote(text);

    g_string_append_printf(chart->tics, "%s%s %.9g",
                           chart->tics->len ? ", " : "", quoted, x);
}

void xy_chart_series(XyChart *chart, unsigned colour, XyStyle style)
{
    Series series = { colour, style, g_string_new(NULL) };

    g_array_append_val(chart->series, series);
}

void xy_chart_point(XyChart *chart, double x, double y)
{
    Series *series = &g_array_index(chart->series, Series,
                                    chart->series->len - 1);

    g_string_append_printf(series->points, "%.9g %.9g\n", x, y);
    if (x > 0 || !chart->log_x) {
        chart->low_x = MIN(chart->low_x, x);
    }
    chart->high_x = MAX(chart->high_x, x);
    chart->top = MAX(chart->top, y);
}

void xy_chart_line(XyChart *chart, unsigned colour, const Fit *fit)
{
    Line line = { colour, *fit };

    g_array_append_val(chart->lines, line);
}

const char *xy_chart_mark(unsigned colour)
{
    return marks[colour % G_N_ELEMENTS(marks)].character;
}

/* Room around the outermost points, and none for a line of a single one. */
static void add_x_axis(const XyChart *chart, GString *script,
                       unsigned width)
{
    double low = chart->log_x ? chart->low_x / 1.25 : MIN(0, chart->low_x);
    double high = chart->log_x ? chart->high_x * 1.25 : chart->high_x * 1.03;

    if (chart->log_x) {
        g_string_append(script, "set logscale x\n");
    }
    if (low < high && isfinite(low)) {
        g_string_append_printf(script, "set xrange [%.9g:%.9g]\n", low, high);
    }
    if (!chart->log_x) {
        chart_script_xtics(script, high - low, width);
    }
    if (chart->counts) {
        g_string_append(script, "set format x '%.0s%c'\n");
    }
    if (chart->tics->len) {
        g_string_append_printf(script, "set xtics (%s)\n", chart->tics->str);
    }
}

static void add_y_axis(const XyChart *chart, GString *script)
{
    if (chart->log_y) {
        g_string_append(script, "set logscale y\n");
    } else {
        g_string_append_printf(script, "set yrange [0:%.9g]\n",
                               chart->top > 0 ? chart->top * 1.08 : 1);
    }
}

static void add_data(const XyChart *chart, GString *script)
{
    for (unsigned i = 0; i < chart->series->len; i++) {
        g_string_append_printf(
            script, "$s%u << EOD\n%sEOD\n", i,
            g_array_index(chart->series, Series, i).points->str);
    }
}

static void add_series(GString *script, unsigned i, const Series *series)
{
    static const char *const with[] = {
        [XY_POINTS] = "points", [XY_LINES] = "lines lw 2",
        [XY_DASHES] = "lines lw 2 dt (8,5)", [XY_BOTH] = "linespoints lw 1.5",
    };

    g_string_append_printf(script, "%s$s%u using 1:2 with %s lc %s%02x'",
                           i ? ", " : "plot ", i, with[series->style],
                           CHART_COLOUR, SVG_SERIES + series->colour);
    if (series->style == XY_POINTS || series->style == XY_BOTH) {
        g_string_append_printf(
            script, " pt %u ps 0.55",
            marks[series->colour % G_N_ELEMENTS(marks)].type);
    }
}

static void add_plots(const XyChart *chart, GString *script)
{
    for (unsigned i = 0; i < chart->series->len; i++) {
        add_series(script, i, &g_array_index(chart->series, Series, i));
    }
    for (unsigned i = 0; i < chart->lines->len; i++) {
        const Line *line = &g_array_index(chart->lines, Line, i);

        g_string_append_printf(
            script, ", %.12g + %.12g * x with lines lw 1 lc %s%02x'",
            line->fit.intercept, line->fit.slope, CHART_COLOUR,
            SVG_SERIES + line->colour);
    }
    g_string_append_c(script, '\n');
}

char *xy_chart_script(const XyChart *chart, unsigned width)
{
    g_autofree char *x_axis = gnuplot_quote(chart->x_axis);
    g_autofree char *y_axis = gnuplot_quote(chart->y_axis);
    GString *script = chart_script_new(
        width, CLAMP(width / 2, HEIGHT_MIN, HEIGHT_MAX));

    g_string_append_printf(
        script, "set xlabel %s\nset ylabel %s\nset border 3 lc %s\n"
        "set grid ytics lc %s lt 1\nset rmargin 3\nset samples %u\n",
        x_axis, y_axis, CHART_MUTED, CHART_LINE,
        /* A line is straight, except on a logarithmic axis. */
        chart->log_x || chart->log_y ? LINE_POINTS : 2);
    add_x_axis(chart, script, width);
    add_y_axis(chart, script);
    add_data(chart, script);
    add_plots(chart, script);
    return g_string_free(script, FALSE);
}
