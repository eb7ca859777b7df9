/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/chart.h"

#include <math.h>

#include "report/gnuplot.h"

/* In heights of a row. */
#define GAP 0.5
#define THICKNESS 0.36
#define ROW_PIXELS 20
/* What gnuplot takes above and below */
#define AXIS_PIXELS 80
/* A bar to this share of the longest is still seen. */
#define LOG_RATIO 20.0

typedef struct Bar {
    double y;
    char *name;                 /* quoted for gnuplot, as is text */
    char *text;
    unsigned colour;
    Spread values;
} Bar;

typedef struct Group {
    double y;
    char *title;                /* quoted */
} Group;

struct BarChart {
    char *axis;
    GArray *bars;
    GArray *groups;
    double height;              /* of what is there so far, in rows */
};

static void bar_clear(gpointer data)
{
    Bar *bar = data;

    g_free(bar->name);
    g_free(bar->text);
}

static void group_clear(gpointer data)
{
    g_free(((Group *)data)->title);
}

BarChart *bar_chart_new(const char *axis)
{
    BarChart *chart = g_new0(BarChart, 1);

    chart->axis = g_strdup(axis);
    chart->bars = g_array_new(FALSE, FALSE, sizeof(Bar));
    chart->groups = g_array_new(FALSE, FALSE, sizeof(Group));
    g_array_set_clear_func(chart->bars, bar_clear);
    g_array_set_clear_func(chart->groups, group_clear);
    return chart;
}

void bar_chart_free(BarChart *chart)
{
    if (chart) {
        g_free(chart->axis);
        g_array_unref(chart->bars);
        g_array_unref(chart->groups);
        g_free(chart);
    }
}

void bar_chart_group(BarChart *chart, const char *title)
{
    Group group = { .title = gnuplot_quote(title) };

    chart->height += chart->groups->len ? GAP : 0;
    group.y = chart->height + 0.5;
    chart->height++;
    g_array_append_val(chart->groups, group);
}

void bar_chart_add(BarChart *chart, const char *name, unsigned colour,
                   const Spread *values, const char *text)
{
    Bar bar = { .colour = colour, .values = *values };

    if (!values->n) {
        return;
    }
    bar.name = gnuplot_quote(name);
    bar.text = gnuplot_quote(text);
    bar.y = chart->height + 0.5;
    chart->height++;
    g_array_append_val(chart->bars, bar);
}

static const Bar *bar_at(const BarChart *chart, unsigned i)
{
    return &g_array_index(chart->bars, Bar, i);
}

/* The largest and the smallest value; the latter is INFINITY without any. */
static void extent(const BarChart *chart, double *low, double *high)
{
    *low = INFINITY;
    *high = 0;
    for (unsigned i = 0; i < chart->bars->len; i++) {
        *low = MIN(*low, bar_at(chart, i)->values.min);
        *high = MAX(*high, bar_at(chart, i)->values.max);
    }
}

bool bar_chart_is_empty(const BarChart *chart)
{
    return !chart->bars->len;
}

bool bar_chart_is_log(const BarChart *chart)
{
    double low, high;

    extent(chart, &low, &high);
    return low > 0 && high / low >= LOG_RATIO;
}

/* Returns where the bars begin. */
static double add_axis(const BarChart *chart, GString *script,
                       unsigned width)
{
    g_autofree char *title = g_strconcat(chart->axis, bar_chart_is_log(chart) ?
                                         " (log)" : "", NULL);
    g_autofree char *axis = gnuplot_quote(title);
    double low, high;

    extent(chart, &low, &high);
    g_string_append_printf(script, "set xlabel %s\n", axis);
    if (!bar_chart_is_log(chart)) {
        g_string_append_printf(script, "set xrange [0:%g]\n",
                               high > 0 ? high * 1.02 : 1);
        chart_script_xtics(script, high, width);
        return 0;
    }
    /* Below the smallest, so that it is a bar as well. */
    low = pow(10, floor(log10(low / 1.5)));
    g_string_append_printf(script, "set logscale x\nset xrange [%g:%g]\n",
                           low, high * 1.1);
    return low;
}

static void add_names(const BarChart *chart, GString *script)
{
    g_string_append(script, "set ytics scale 0 (");
    for (unsigned i = 0; i < chart->bars->len; i++) {
        const Bar *bar = bar_at(chart, i);

        g_string_append_printf(script, "%s%s %g", i ? ", " : "", bar->name,
                               bar->y);
    }
    g_string_append(script, ")\n");
    for (unsigned i = 0; i < chart->groups->len; i++) {
        const Group *group = &g_array_index(chart->groups, Group, i);

        g_string_append_printf(
            script, "set label %s at screen 0, first %g left tc %s\n",
            group->title, group->y, CHART_INK);
    }
}

static void add_bars(const BarChart *chart, GString *script, double from)
{
    for (unsigned i = 0; i < chart->bars->len; i++) {
        const Bar *bar = bar_at(chart, i);
        const Spread *v = &bar->values;

        /* Centre, then both edges of the box; range; where the text goes. */
        g_string_append_printf(
            script, "$b%u << EOD\n%.9g %g %.9g %.9g %g %g\nEOD\n"
            "$t%u << EOD\n%.9g %g\nEOD\n", i, v->median, bar->y, from,
            v->median, bar->y - THICKNESS, bar->y + THICKNESS,
            i, v->max, bar->y);
        g_string_append_printf(
            script, "$r%u << EOD\n%.9g %g %.9g %.9g\nEOD\n", i, v->median,
            bar->y, v->min, v->max);
    }
}

static void add_plots(const BarChart *chart, GString *script)
{
    g_string_append(script, "plot ");
    for (unsigned i = 0; i < chart->bars->len; i++) {
        const Bar *bar = bar_at(chart, i);

        g_string_append_printf(
            script, "%s$b%u using 1:2:3:4:5:6 with boxxyerror lc %s%02x'",
            i ? ", " : "", i, CHART_COLOUR, SVG_SERIES + bar->colour);
        if (bar->values.max > bar->values.min) {
            g_string_append_printf(
                script, ", $r%u using 1:2:3:4 with xerrorbars pt 0 lc %s", i,
                CHART_INK);
        }
        g_string_append_printf(
            script, ", $t%u using 1:2:(%s) with labels left "
            "offset char 0.6,0 tc %s", i, bar->text, CHART_INK);
    }
    g_string_append_c(script, '\n');
}

char *bar_chart_script(const BarChart *chart, unsigned width)
{
    GString *script = chart_script_new(
        width, AXIS_PIXELS + chart->height * ROW_PIXELS);
    double from;

    g_string_append_printf(script, "set yrange [%g:0]\nset rmargin 8\n"
                           "set border 1 lc %s\nset grid xtics lc %s lt 1\n",
                           chart->height, CHART_MUTED, CHART_LINE);
    from = add_axis(chart, script, width);
    add_names(chart, script);
    add_bars(chart, script, from);
    add_plots(chart, script);
    return g_string_free(script, FALSE);
}
