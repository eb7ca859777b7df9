/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_STATS_H
#define SKIP_BALLOON_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Where values lie; of no values, n is 0 and the others are NAN. */
typedef struct Spread {
    size_t n;
    double min;
    double low;                 /* lower quartile */
    double median;
    double high;                /* upper quartile */
    double max;
} Spread;

/* y = intercept + slope * x, by least squares. */
typedef struct Fit {
    size_t n;                   /* points, at least 2 */
    double slope;               /* in units of y per unit of x */
    double intercept;           /* in units of y */
    double slope_error;         /* standard error; NAN with only 2 points */
    double r2;                  /* 0 to 1; NAN if all y are the same */
} Fit;

/**
 * stats_spread: where values lie. Quartiles are interpolated between the
 * two values next to them, as R and most spreadsheets do.
 * @values: the values, in any order, all finite; may be NULL if @n is 0
 * @n: how many
 */
Spread stats_spread(const double *values, size_t n);

/**
 * stats_median: the median.
 * @values: the values, in any order, all finite; may be NULL if @n is 0
 * @n: how many
 *
 * Returns: the median, NAN if there are no values.
 */
double stats_median(const double *values, size_t n);

/**
 * stats_fit: a straight line through points, by least squares.
 * @x, @y: the points, all finite
 * @n: how many
 * @fit: the line; untouched on failure
 *
 * Returns: false if there is no such line: fewer than two different x.
 */
bool stats_fit(const double *x, const double *y, size_t n, Fit *fit);

#endif /* SKIP_BALLOON_BENCH_STATS_H */
