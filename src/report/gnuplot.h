/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_GNUPLOT_H
#define SKIP_BALLOON_REPORT_GNUPLOT_H

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

#endif /* SKIP_BALLOON_REPORT_GNUPLOT_H */
