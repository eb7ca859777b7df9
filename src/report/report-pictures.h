/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_REPORT_PICTURES_H
#define SKIP_BALLOON_REPORT_REPORT_PICTURES_H

#include "base/session.h"
#include "bench/results.h"

/**
 * report_pictures_write: the two pictures of the report that say most, each as
 * an SVG file of its own: time.svg, total time by build where the balloon is
 * largest, and memory.svg, where the memory of such a guest went. What was not
 * measured is not drawn.
 * @session: what may cancel it
 * @results: the results
 * @dir: where to put them; made if needed
 * @error: set if there is nothing to draw, gnuplot is missing or fails, or
 *         files cannot be written
 */
bool report_pictures_write(Session *session, const Results *results,
                           const char *dir, GError **error);

#endif /* SKIP_BALLOON_REPORT_REPORT_PICTURES_H */
