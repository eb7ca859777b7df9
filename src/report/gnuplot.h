/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_GNUPLOT_H
#define SKIP_BALLOON_REPORT_GNUPLOT_H

#include <glib.h>

#include "base/session.h"

/**
 * gnuplot_draw: run gnuplot.
 * @session: what may cancel it
 * @script: what it is to do; writes to its standard output
 * @error: set to SB_ERROR_MISSING if there is no gnuplot, SB_ERROR_PROCESS
 *         if it failed, or as for session_step()
 *
 * Returns: what it wrote, NULL on failure; the caller frees it.
 */
char *gnuplot_draw(Session *session, const char *script, GError **error);

/**
 * gnuplot_quote: text as a string in a script. No character of it means
 * anything to gnuplot; long text is cut.
 * @text: any text in UTF-8
 *
 * Returns: a new string; the caller frees it.
 */
char *gnuplot_quote(const char *text);

/* Colours of the page, as svg_embed() takes them; the first lacks its last digits. */
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

/*
 * Colours in the scripts for gnuplot stand for colours of the page: they
 * follow light and dark. Written as "#0100NN", NN one of these in hex;
 * series are those from SVG_SERIES on.
 */
enum {
    SVG_INK = 0,                /* text */
    SVG_MUTED,                  /* axes */
    SVG_LINE,                   /* grid */
    SVG_SERIES = 16,
};

/**
 * svg_embed: make an SVG of gnuplot's part of a page: ids become its own,
 * colours those of the page, fonts too, and what is empty goes.
 * @svg: what gnuplot wrote
 * @id: of the element; what ids in it begin with
 * @classes: of the element
 * @label: what it shows, for those who do not see it; any text
 * @error: set to SB_ERROR_PROCESS if @svg is no SVG
 *
 * Returns: a new string, NULL on failure; the caller frees it.
 */
char *svg_embed(const char *svg, const char *id, const char *classes,
                const char *label, GError **error);

#endif /* SKIP_BALLOON_REPORT_GNUPLOT_H */
