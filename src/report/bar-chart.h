/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_BAR_CHART_H
#define SKIP_BALLOON_REPORT_BAR_CHART_H

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

#endif /* SKIP_BALLOON_REPORT_BAR_CHART_H */
