/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_DEMO_REPORT_H
#define SKIP_BALLOON_REPORT_DEMO_REPORT_H

#include "bench/run.h"

/* What demo found. A run that was not made is NULL. */
typedef struct Report {
    uint64_t memory;            /* of the guest, in bytes */
    uint64_t balloon_to;        /* in bytes; 0: an idle guest, no balloon */
    Backend backend;
    SkipSet capabilities;       /* of the run with them on */
    const RunResult *off;
    const RunResult *on;
} Report;

/**
 * report_table: the report for people.
 * @report: the report
 *
 * Returns: a new string; the caller frees it.
 */
char *report_table(const Report *report);

/**
 * report_json: the report for programs, one JSON object on a line.
 * @report: the report
 *
 * Returns: a new string; the caller frees it.
 */
char *report_json(const Report *report);

#endif /* SKIP_BALLOON_REPORT_DEMO_REPORT_H */
