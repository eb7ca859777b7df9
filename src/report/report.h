/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_REPORT_H
#define SKIP_BALLOON_REPORT_REPORT_H

#include "base/session.h"
#include "bench/results.h"

/**
 * report_file_load: load results of the benchmark. Lines that are none are
 * told on standard error.
 * @files: the files of results, NULL-terminated, at least one
 * @error: set if files cannot be read, or if there are no results
 *
 * Returns: the results, NULL on failure; free them with results_free().
 */
Results *report_file_load(char **files, GError **error);

/**
 * report_file_write: show results of the benchmark as a web page. Reports to
 * the session's progress.
 * @session: what may cancel it
 * @results: the results
 * @output: the file to write; one that is there is replaced when all is well
 * @error: set if it cannot be written, or if gnuplot is missing or fails
 */
bool report_file_write(Session *session, const Results *results,
                       const char *output, GError **error);

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

#endif /* SKIP_BALLOON_REPORT_REPORT_H */
