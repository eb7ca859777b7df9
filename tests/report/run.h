/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_REPORT_RUN_H
#define TESTS_REPORT_RUN_H

#include <glib.h>

/* A run of `skip-balloon report` and what it left. */
typedef struct ReportRun {
    char *dir;                  /* with what follows in it */
    char *results;              /* the file that it read */
    char *page;                 /* the file that it was to write */
    int status;
    char *out;
    char *err;
    char *html;                 /* NULL if it wrote none */
} ReportRun;

/**
 * report_run: make a report.
 * @text: the results
 * @path: PATH for the program, NULL for ours
 *
 * Returns: what came of it; the caller clears it, which removes all files.
 */
ReportRun report_run(const char *text, const char *path);

/**
 * report_call: run `skip-balloon report` with arguments of one's own.
 * @args: NULL-terminated
 * @path: PATH for the program, NULL for ours
 * @run: where to put status and output
 */
void report_call(const char *const *args, const char *path, ReportRun *run);

/**
 * report_run_clear: remove the files and free everything.
 * @run: the run
 */
void report_run_clear(ReportRun *run);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ReportRun, report_run_clear)

#endif /* TESTS_REPORT_RUN_H */
