/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_GROWTH_H
#define SKIP_BALLOON_REPORT_GROWTH_H

#include "bench/results.h"

/* What total time grows over. */
typedef struct Growth {
    const char *axis;           /* of charts */
    const char *zero;           /* x = 0, in words */
    const char *slope_unit;     /* "ms per" as many as follows */
    double per;
    /* x of a line, NAN if the line does not tell. */
    double (*x)(JsonObject *line);
} Growth;

/* Over what is in the balloon, in GiB; also of lines of real guests. */
extern const Growth growth_ballooned;
/* Over runs of the balloon map. */
extern const Growth growth_runs;

/**
 * growth_of_guests: migrations of real guests that differ in their size and
 * not in what the balloon left of it: those of the most usual such size,
 * plain, and not without a balloon.
 * @results: the results
 * @left: where to put what the balloon left, in bytes; NAN if there are none
 *
 * Returns: a new array of JsonObject, which it does not own; the caller
 *          unrefs it.
 */
GPtrArray *growth_of_guests(const Results *results, double *left);

/**
 * growth_of_devices: migrations at the level of devices of which the balloon
 * grows.
 * @results: the results
 * @touched: those where what is in it had been in use before, or the others
 *
 * Returns: a new array of JsonObject, which it does not own; the caller
 *          unrefs it.
 */
GPtrArray *growth_of_devices(const Results *results, bool touched);

/**
 * growth_fit: the line through the total times, in milliseconds.
 * @growth: over what
 * @lines: an array of JsonObject; of one build and one backend, if it is to
 *         mean something
 * @fit: the line; untouched on failure
 *
 * Returns: false if there are fewer than two different x.
 */
bool growth_fit(const Growth *growth, const GPtrArray *lines, Fit *fit);

/**
 * growth_slope: a slope for people, in growth->slope_unit.
 * @growth: over what
 * @fit: the line
 * @error: where to put the standard error, NULL if there is none; the caller
 *         frees it. It has two digits, and the slope is as exact.
 *
 * Returns: a new string; the caller frees it.
 */
char *growth_slope(const Growth *growth, const Fit *fit, char **error);

/**
 * growth_slope_words: a slope with its error, such as "0.12 ± 0.03 ms per
 * GiB".
 * @growth: over what
 * @fit: the line
 *
 * Returns: a new string; the caller frees it.
 */
char *growth_slope_words(const Growth *growth, const Fit *fit);

#endif /* SKIP_BALLOON_REPORT_GROWTH_H */
