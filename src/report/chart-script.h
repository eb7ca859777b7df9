/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_CHART_SCRIPT_H
#define SKIP_BALLOON_REPORT_CHART_SCRIPT_H

#include <glib.h>

#include "report/svg.h"

/* Colours of the page, as svg.h tells; the first lacks its last digits. */
#define CHART_COLOUR "rgb '#0100"
#define CHART_INK "rgb '#010000'"
#define CHART_MUTED "rgb '#010001'"
#define CHART_LINE "rgb '#010002'"

/**
 * chart_script_new: how every chart begins.
 * @width: of the picture, in pixels
 * @height: of the picture, in pixels
 *
 * Returns: the first lines of a script for gnuplot; the caller frees it.
 */
GString *chart_script_new(unsigned width, unsigned height);

/**
 * chart_script_xtics: marks on a linear x axis, as many as there is room for.
 * @script: the script
 * @length: of the axis, in its unit, from 0
 * @width: of the picture, in pixels
 */
void chart_script_xtics(GString *script, double length, unsigned width);

#endif /* SKIP_BALLOON_REPORT_CHART_SCRIPT_H */
