/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/stats.h"

#include <math.h>

#include <glib.h>

static int compare(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value below which that share of the sorted ones lies. */
static double quantile(const double *sorted, size_t n, double share)
{
    double place = share * (n - 1);
    size_t below = place;

    if (below + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[below] +
           (place - below) * (sorted[below + 1] - sorted[below]);
}

Spread stats_spread(const double *values, size_t n)
{
    Spread spread = { 0, NAN, NAN, NAN, NAN, NAN };
    g_autoptr(GArray) sorted = NULL;
    const double *v;

    if (!n) {
        return spread;
    }
    sorted = g_array_sized_new(FALSE, FALSE, sizeof(double), n);
    g_array_append_vals(sorted, values, n);
    g_array_sort(sorted, compare);
    v = (const double *)sorted->data;
    spread = (Spread) {
        .n = n,
        .min = v[0],
        .low = quantile(v, n, 0.25),
        .median = quantile(v, n, 0.5),
        .high = quantile(v, n, 0.75),
        .max = v[n - 1],
    };
    return spread;
}

double stats_median(const double *values, size_t n)
{
    return stats_spread(values, n).median;
}

static double mean(const double *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum / n;
}

/* The sum of the products of what each x and y are off their means. */
static double sum_products(const double *x, double mean_x, const double *y,
                           double mean_y, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (x[i] - mean_x) * (y[i] - mean_y);
    }
    return sum;
}

/* The sum of the squares of what the points are off the line. */
static double sum_residuals(const double *x, const double *y, size_t n,
                            double mean_x, double mean_y, double slope)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double off = (y[i] - mean_y) - slope * (x[i] - mean_x);

        sum += off * off;
    }
    return sum;
}

bool stats_fit(const double *x, const double *y, size_t n, Fit *fit)
{
    double mean_x = n ? mean(x, n) : 0;
    double mean_y = n ? mean(y, n) : 0;
    double sxx = sum_products(x, mean_x, x, mean_x, n);
    double syy = sum_products(y, mean_y, y, mean_y, n);
    double slope, residuals;

    if (n < 2 || !(sxx > 0)) {
        return false;
    }
    slope = sum_products(x, mean_x, y, mean_y, n) / sxx;
    residuals = sum_residuals(x, y, n, mean_x, mean_y, slope);
    *fit = (Fit) {
        .n = n,
        .slope = slope,
        .intercept = mean_y - slope * mean_x,
        .slope_error = n > 2 ? sqrt(residuals / (n - 2) / sxx) : NAN,
        .r2 = syy > 0 ? CLAMP(1 - residuals / syy, 0, 1) : NAN,
    };
    return true;
}
