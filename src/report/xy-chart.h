/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_XY_CHART_H
#define SKIP_BALLOON_REPORT_XY_CHART_H

#include <glib.h>
#include <stdbool.h>

#include "bench/stats.h"

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

#endif /* SKIP_BALLOON_REPORT_XY_CHART_H */
