/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_CHART_H
#define SKIP_BALLOON_REPORT_CHART_H

#include <glib.h>
#include <stdbool.h>

#include "bench/stats.h"

/* Lying bars in groups, each with its name before and its value after it. */
typedef struct BarChart BarChart;

/**
 * bar_chart_new: an empty chart.
 * @axis: what the bars are and in which unit; copied
 *
 * Returns: the chart; free it with bar_chart_free().
 */
BarChart *bar_chart_new(const char *axis);

/**
 * bar_chart_free: free a chart.
 * @chart: the chart, or NULL
 */
void bar_chart_free(BarChart *chart);

/**
 * bar_chart_group: the next bars are a group.
 * @chart: the chart
 * @title: what it is; any text, copied
 */
void bar_chart_group(BarChart *chart, const char *title);

/**
 * bar_chart_add: a bar, from 0 to the median, with a line over the spread.
 * @chart: the chart
 * @name: what it is; any text, copied
 * @colour: which of the colours for series
 * @values: in the unit of the axis; without values there is no bar
 * @text: the value for people; any text, copied
 */
void bar_chart_add(BarChart *chart, const char *name, unsigned colour,
                   const Spread *values, const char *text);

/**
 * bar_chart_is_log: whether the axis is logarithmic, since some bars are
 * many times as long as others.
 * @chart: the chart
 */
bool bar_chart_is_log(const BarChart *chart);

/**
 * bar_chart_is_empty: whether there is no bar.
 * @chart: the chart
 */
bool bar_chart_is_empty(const BarChart *chart);

/**
 * bar_chart_script: what draws it.
 * @chart: the chart, not empty
 * @width: of the picture, in pixels; the height follows from the bars
 *
 * Returns: a script for gnuplot; the caller frees it.
 */
char *bar_chart_script(const BarChart *chart, unsigned width);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BarChart, bar_chart_free)

/* Points or lines in a plane. */
typedef struct XyChart XyChart;

typedef enum XyStyle {
    XY_POINTS,
    XY_LINES,
    XY_DASHES,
    XY_BOTH,                    /* points joined by lines */
} XyStyle;

/**
 * xy_chart_new: an empty chart.
 * @x_axis: what x is and in which unit; copied
 * @y_axis: the same for y
 *
 * Returns: the chart; free it with xy_chart_free().
 */
XyChart *xy_chart_new(const char *x_axis, const char *y_axis);

/**
 * xy_chart_free: free a chart.
 * @chart: the chart, or NULL
 */
void xy_chart_free(XyChart *chart);

/**
 * xy_chart_set_log: logarithmic axes; points at 0 do not show there.
 * @chart: the chart
 * @x, @y: whether that axis is
 */
void xy_chart_set_log(XyChart *chart, bool x, bool y);

/**
 * xy_chart_set_counts: x is a number of something, so that 1000 is "1k".
 * @chart: the chart
 */
void xy_chart_set_counts(XyChart *chart);

/**
 * xy_chart_set_top: how far y goes at least.
 * @chart: the chart
 * @y: in the unit of y
 */
void xy_chart_set_top(XyChart *chart, double y);

/**
 * xy_chart_tic: a mark on the x axis, instead of those that gnuplot finds.
 * @chart: the chart
 * @x: where
 * @text: what it says; any text, copied
 */
void xy_chart_tic(XyChart *chart, double x, const char *text);

/**
 * xy_chart_series: the next points are a series.
 * @chart: the chart
 * @colour: which of the colours for series, and which mark
 * @style: how it is drawn
 */
void xy_chart_series(XyChart *chart, unsigned colour, XyStyle style);

/**
 * xy_chart_point: add to the latest series.
 * @chart: the chart, with a series
 * @x, @y: where
 */
void xy_chart_point(XyChart *chart, double x, double y);

/**
 * xy_chart_line: a straight line, from 0 or the smallest x to the largest.
 * @chart: the chart
 * @colour: which of the colours for series
 * @fit: the line; copied
 */
void xy_chart_line(XyChart *chart, unsigned colour, const Fit *fit);

/**
 * xy_chart_mark: the mark of a colour, for legends.
 * @colour: which of the colours for series
 */
const char *xy_chart_mark(unsigned colour);

/**
 * xy_chart_script: what draws it.
 * @chart: the chart, with at least one point
 * @width: of the picture, in pixels
 *
 * Returns: a script for gnuplot; the caller frees it.
 */
char *xy_chart_script(const XyChart *chart, unsigned width);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(XyChart, xy_chart_free)

#endif /* SKIP_BALLOON_REPORT_CHART_H */
