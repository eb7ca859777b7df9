/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_SVG_H
#define SKIP_BALLOON_REPORT_SVG_H

#include <glib.h>

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

#endif /* SKIP_BALLOON_REPORT_SVG_H */
