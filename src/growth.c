/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "growth.h"

#include <math.h>

#include "quantity.h"
#include "size.h"

static double ballooned_of(JsonObject *line)
{
    double ballooned = result_number(line, "ballooned");
    double rest = result_number(line, "memory") - result_number(line, "left");

    return (isnan(ballooned) ? rest : ballooned) / SIZE_GIB;
}

static double runs_of(JsonObject *line)
{
    return result_number(line, "runs") / 1e3;
}

const Growth growth_ballooned = {
    .axis = "GiB in the balloon",
    .unit = "GiB",
    .slope_unit = "ms per GiB",
    .x = ballooned_of,
};

const Growth growth_runs = {
    .axis = "thousand runs",
    .unit = "thousand runs",
    .slope_unit = "ms per thousand runs",
    .x = runs_of,
};

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

char *growth_slope_words(const Growth *growth, const Fit *fit)
{
    g_autofree char *slope = quantity_rough(fit->slope);
    g_autofree char *error = quantity_rough(fit->slope_error);

    return error
        ? g_strdup_printf("%s \xc2\xb1 %s %s", slope, error,
                          growth->slope_unit)
        : g_strdup_printf("%s %s", slope, growth->slope_unit);
}
