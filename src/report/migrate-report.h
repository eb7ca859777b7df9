/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_MIGRATE_REPORT_H
#define SKIP_BALLOON_REPORT_MIGRATE_REPORT_H

#include "map/forecast.h"
#include "qemu/move.h"
#include "qemu/shrink.h"

/* What there is to say of a migration. Nothing in it is owned. */
typedef struct MigrateReport {
    const Move *move;
    const QemuState *source;
    const QemuState *destination; /* NULL: cannot be asked */
    const Forecast *forecast;   /* with the capabilities as they are set */
    GStrv notes;                /* what falls back; NULL: it was refused */
    bool shrinks;               /* it was asked for */
    const Shrink *shrink;       /* NULL: it has not begun */
    uint64_t would_send;        /* at most, before that */
    const MoveEnd *end;         /* NULL: nothing has begun */
    const char *where;          /* the same, in words */
    bool completed;             /* the guest has moved */
    const char *failure;        /* what is not as it should be, or NULL */
} MigrateReport;

/**
 * migrate_report_plan: what is going to be done, for people.
 * @report: what there is to say
 *
 * Returns: lines of text; the caller frees them.
 */
char *migrate_report_plan(const MigrateReport *report);

/**
 * migrate_report_text: what a migration that has completed took.
 * @report: what there is to say
 *
 * Returns: lines of text; the caller frees them.
 */
char *migrate_report_text(const MigrateReport *report);

/**
 * migrate_report_json: all of it, for programs, as docs/operating.md says: one
 * JSON object on a line.
 * @report: what there is to say
 *
 * Returns: a new string; the caller frees it.
 */
char *migrate_report_json(const MigrateReport *report);

#endif /* SKIP_BALLOON_REPORT_MIGRATE_REPORT_H */
