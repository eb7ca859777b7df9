/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/growth.h"

#include <math.h>

#include "base/size.h"
#include "report/case-results.h"

#define DECIMALS_MAX 6
#define NEGLIGIBLE 0.000001

static double ballooned_of(JsonObject *line)
{
    double ballooned = result_number(line, "ballooned");
    double rest = result_number(line, "memory") - result_number(line, "left");

    return (isnan(ballooned) ? rest : ballooned) / SIZE_GIB;
}

static double runs_of(JsonObject *line)
{
    return result_number(line, "runs");
}

const Growth growth_ballooned = {
    .axis = "GiB in the balloon",
    .zero = "0 GiB",
    .slope_unit = "ms per GiB",
    .per = 1,
    .x = ballooned_of,
};

const Growth growth_runs = {
    .axis = "runs in the balloon map",
    .zero = "0 runs",
    .slope_unit = "ms per 1000 runs",
    .per = 1000,
    .x = runs_of,
};

static GPtrArray *plain_guests(const Results *results)
{
    g_autoptr(GPtrArray) plain = results_where(
        results_lines(results, "migration"), "mode", "plain");
    GPtrArray *lines = g_ptr_array_new();

    for (unsigned i = 0; i < plain->len; i++) {
        if (g_strcmp0(result_string(plain->pdata[i], "build"), BUILD_NEVER)) {
            g_ptr_array_add(lines, plain->pdata[i]);
        }
    }
    return lines;
}

static GPtrArray *with_left(const GPtrArray *lines, double left)
{
    GPtrArray *some = g_ptr_array_new();

    for (unsigned i = 0; i < lines->len; i++) {
        if (result_number(lines->pdata[i], "left") == left) {
            g_ptr_array_add(some, lines->pdata[i]);
        }
    }
    return some;
}

GPtrArray *growth_of_guests(const Results *results, double *left)
{
    g_autoptr(GPtrArray) plain = plain_guests(results);
    g_autoptr(GPtrArray) most = g_ptr_array_new();

    *left = NAN;
    for (unsigned i = 0; i < plain->len; i++) {
        double value = result_number(plain->pdata[i], "left");
        g_autoptr(GPtrArray) some = with_left(plain, value);

        if (some->len > most->len) {
            g_ptr_array_unref(most);
            most = g_steal_pointer(&some);
            *left = value;
        }
    }
    return g_steal_pointer(&most);
}

GPtrArray *growth_of_devices(const Results *results, bool touched)
{
    g_autoptr(GPtrArray) all = results_where(
        results_lines(results, "device"), "series", "growth");
    GPtrArray *lines = g_ptr_array_new();

    for (unsigned i = 0; i < all->len; i++) {
        if (result_flag(all->pdata[i], "touched") == touched) {
            g_ptr_array_add(lines, all->pdata[i]);
        }
    }
    return lines;
}

bool growth_fit(const Growth *growth, const GPtrArray *lines, Fit *fit)
{
    g_autoptr(GArray) x = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(GArray) y = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < lines->len; i++) {
        double at = growth->x(lines->pdata[i]);
        double ms = result_number(lines->pdata[i], "total-ms");

        if (isfinite(at) && isfinite(ms)) {
            g_array_append_val(x, at);
            g_array_append_val(y, ms);
        }
    }
    return stats_fit((const double *)x->data, (const double *)y->data,
                     x->len, fit);
}

char *growth_slope(const Growth *growth, const Fit *fit, char **error)
{
    double slope = fit->slope * growth->per;
    double off = fit->slope_error * growth->per;
    int decimals;

    *error = NULL;
    if (isnan(off)) {
        return quantity_rough(slope);
    }
    /* The points are on the line, but for the rounding of their numbers. */
    if (off <= fabs(slope) * NEGLIGIBLE) {
        *error = g_strdup("0");
        return quantity_rough(slope);
    }
    decimals = CLAMP(1 - (int)floor(log10(off)), 0, DECIMALS_MAX);
    *error = quantity_fixed(off, decimals);
    return quantity_fixed(slope, decimals);
}

char *growth_slope_words(const Growth *growth, const Fit *fit)
{
    g_autofree char *error = NULL;
    g_autofree char *slope = growth_slope(growth, fit, &error);

    return error
        ? g_strdup_printf("%s \xc2\xb1 %s %s", slope, error,
                          growth->slope_unit)
        : g_strdup_printf("%s %s (two migrations, no error known)", slope,
                          growth->slope_unit);
}
