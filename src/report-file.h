/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_FILE_H
#define SKIP_BALLOON_REPORT_FILE_H

#include "session.h"

/**
 * report_file_write: show results of the benchmark as a web page. Lines that
 * are none are told on standard error. Reports to the session's progress.
 * @session: what may cancel it
 * @files: the files of results, NULL-terminated, at least one
 * @output: the file to write; one that is there is replaced when all is well
 * @error: set if files cannot be read or written, if there are no results, or
 *         if gnuplot is missing or fails
 */
bool report_file_write(Session *session, char **files, const char *output,
                       GError **error);

#endif /* SKIP_BALLOON_REPORT_FILE_H */
