/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/case-results.h"
#include "report/growth.h"
#include "report/page-sections.h"

#define TIB 1024.0              /* in GiB */
/* As bad as it gets where the guest gives huge pages back. */
#define RUNS_PER_GIB 512.0

/* What one backend and one build take; NAN where not measured. */
typedef struct Constants {
    double fixed;               /* ms */
    double per_gib;             /* ms per GiB in the balloon */
    double per_run;             /* ms per run */
    double per_live;            /* ms per GiB sent */
} Constants;

static GPtrArray *of_build(const GPtrArray *lines, const char *backend,
                           const char *build)
{
    g_autoptr(GPtrArray) there = results_where(lines, "backend", backend);

    return results_where(there, "build", build);
}

static double slope_of(const Growth *growth, const GPtrArray *lines,
                       double *intercept)
{
    Fit fit;

    if (!growth_fit(growth, lines, &fit)) {
        return NAN;
    }
    if (intercept) {
        *intercept = fmax(fit.intercept, 0);
    }
    return fit.slope;
}

/* Of two series, the one that reaches further: its slope is more exact. */
static GPtrArray *further(GPtrArray *a, GPtrArray *b)
{
    Spread in_a = results_spread(a, "ballooned");
    Spread in_b = results_spread(b, "ballooned");

    return in_b.max > in_a.max || !in_a.n ? b : a;
}

/* Of guests that have nothing but live data. */
static double live_cost(const Results *results, const char *backend)
{
    g_autoptr(GPtrArray) there = results_where(
        results_lines(results, "migration"), "backend", backend);
    g_autoptr(GPtrArray) plain = results_where(there, "mode", "plain");
    g_autoptr(GPtrArray) lines = results_where(plain, "build", BUILD_NEVER);
    g_autoptr(GArray) values = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < lines->len; i++) {
        double value = result_number(lines->pdata[i], "total-ms") /
                       result_number(lines->pdata[i], "transferred") *
                       SIZE_GIB;

        if (isfinite(value)) {
            g_array_append_val(values, value);
        }
    }
    return stats_median((const double *)values->data, values->len);
}

static Constants constants_of(const Results *results, const char *backend,
                              const char *build)
{
    g_autoptr(GPtrArray) all_sparse = growth_of_devices(results, false);
    g_autoptr(GPtrArray) all_touched = growth_of_devices(results, true);
    g_autoptr(GPtrArray) all_runs = results_where(
        results_lines(results, "device"), "series", "runs");
    g_autoptr(GPtrArray) sparse = of_build(all_sparse, backend, build);
    g_autoptr(GPtrArray) touched = of_build(all_touched, backend, build);
    g_autoptr(GPtrArray) runs = of_build(all_runs, backend, build);
    Constants constants = { .fixed = NAN };

    constants.per_gib = slope_of(&growth_ballooned, further(sparse, touched),
                                 &constants.fixed);
    constants.per_run = slope_of(&growth_runs, runs, NULL);
    constants.per_live = live_cost(results, backend);
    return constants;
}

/* Unmodified QEMU knows of no runs; its pages cost the same in any order. */
static double predict(const Constants *c, double ballooned, double live,
                      bool runs)
{
    return c->fixed + c->per_gib * ballooned + c->per_live * live +
           (runs ? c->per_run * ballooned * RUNS_PER_GIB : 0);
}

static void add_constants(Page *page, const char *build, const Constants *c)
{
    page_row(page, build_colour(build), build_title(build));
    page_cell(page, quantity_rough(c->fixed));
    page_cell(page, quantity_rough(c->per_gib));
    page_cell(page, build_is_ours(build) ? quantity_rough(c->per_run * 1e3)
                                         : g_strdup("none"));
    page_cell(page, quantity_rough(c->per_live));
}

static void add_prediction(Page *page, const Constants *off,
                           const Constants *on, double tib, double share)
{
    double ballooned = tib * TIB * share;
    double live = tib * TIB - ballooned;
    double before = predict(off, ballooned, live, false) / 1e3;
    double after = predict(on, ballooned, live, true) / 1e3;
    double limit = on->per_live * live / 1e3;
    g_autofree char *title = g_strdup_printf("%.0f TiB, %.0f %%", tib,
                                             share * 100);

    page_row(page, -1, title);
    page_cell(page, quantity_fixed(live, live < 100 ? 1 : 0));
    page_cell(page, quantity_rough(limit));
    page_cell(page, quantity_rough(after - limit));
    page_cell(page, quantity_rough(after));
    page_cell(page, quantity_rough(before));
    page_cell(page, quantity_rough(before / after));
}

/* What was measured, on one backend. */
typedef struct Model {
    const char *backend;
    const char *ours;
    Constants off;
    Constants on;
} Model;

static void add_constants_table(Page *page, const Model *model)
{
    static const char *const headings[] = {
        "", "t\xe2\x82\x80|ms", "g|ms per GiB", "r|ms per 1000 runs",
        "c|ms per GiB", NULL
    };
    g_autofree char *caption = g_strdup_printf(
        "Constants of the model, measured, %s", model->backend);

    page_table_begin(page, caption, headings);
    add_constants(page, BUILD_UNMODIFIED, &model->off);
    add_constants(page, model->ours, &model->on);
    page_table_end(page);
}

static void add_predictions_table(Page *page, const Model *model)
{
    static const char *const headings[] = {
        "RAM, ballooned", "live data|GiB", "live data|s", "all else, ours|s",
        "ours|s", "unmodified|s", "ratio", NULL
    };
    static const double tib[] = { 1, 4, 16 };
    static const double shares[] = { 0.9, 0.99 };
    g_autofree char *caption = g_strdup_printf(
        "Predicted total time, not measured, %s, %s against unmodified",
        model->backend, build_title(model->ours));

    page_table_begin(page, caption, headings);
    for (unsigned i = 0; i < G_N_ELEMENTS(tib); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(shares); j++) {
            add_prediction(page, &model->off, &model->on, tib[i], shares[j]);
        }
    }
    page_table_end(page);
}

static void add_intro(Page *page)
{
    page_heading(page, 2, "Model: larger guests");
    page_text(page, "This is a prediction, not a measurement. One machine "
              "does not hold the pages of guests as large as these, so "
              "their total time is calculated from what was measured with "
              "smaller ones:");
    page_code(page, "T = t\xe2\x82\x80 + g \xc3\x97 GiB in the balloon "
              "+ r \xc3\x97 runs / 1000 + c \xc3\x97 GiB of live data");
    page_text(page, "t\xe2\x82\x80 and g are where the line of the growth "
              "with memory in the balloon begins, at 0 at least, and its slope "
              "(of two series the one with the larger balloons), r is the "
              "slope of that with runs, c the time of never ballooned "
              "guests by GiB sent, with all that they take besides. Assumed "
              "are a run for every 2 MiB in the balloon (%.0f in each GiB), "
              "straight lines far beyond where they were measured, and live "
              "data that does not change meanwhile.", RUNS_PER_GIB);
}

void page_model(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) growth = results_where(
        results_lines(results, "device"), "series", "growth");
    g_autoptr(GPtrArray) backends = results_distinct(growth, "backend");
    bool any = false;

    for (unsigned i = 0; i < backends->len; i++) {
        g_autoptr(GPtrArray) lines = results_where(growth, "backend",
                                                   backends->pdata[i]);
        g_autoptr(GPtrArray) builds = results_distinct(lines, "build");
        Model model = {
            .backend = backends->pdata[i],
            .ours = builds_pick_ours(builds),
        };

        if (!model.ours) {
            continue;
        }
        model.off = constants_of(results, model.backend, BUILD_UNMODIFIED);
        model.on = constants_of(results, model.backend, model.ours);
        if (isnan(model.on.per_gib)) {
            continue;
        }
        if (!any) {
            add_intro(page);
        }
        any = true;
        add_constants_table(page, &model);
        add_predictions_table(page, &model);
    }
}
