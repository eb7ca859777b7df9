/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include <glib.h>

#include "bench/stats.h"

#define assert_near(a, b) g_assert_cmpfloat_with_epsilon(a, b, 0.000000001)

static void test_spread(void)
{
    static const double values[] = { 7, 1, 5, 2, 10, 3 };
    Spread spread = stats_spread(values, G_N_ELEMENTS(values));

    g_assert_cmpuint(spread.n, ==, 6);
    assert_near(spread.min, 1);
    assert_near(spread.low, 2.25);
    assert_near(spread.median, 4);
    assert_near(spread.high, 6.5);
    assert_near(spread.max, 10);
    /* The caller's are where they were. */
    assert_near(values[0], 7);
}

static void test_spread_few(void)
{
    static const double values[] = { 3, 1, 2 };
    Spread one = stats_spread(values, 1);
    Spread none = stats_spread(NULL, 0);

    assert_near(one.min, 3);
    assert_near(one.low, 3);
    assert_near(one.median, 3);
    assert_near(one.max, 3);
    g_assert_cmpuint(none.n, ==, 0);
    g_assert_true(isnan(none.median) && isnan(none.min) && isnan(none.max));
    assert_near(stats_median(values, 3), 2);
    assert_near(stats_median(values, 2), 2);
    g_assert_true(isnan(stats_median(NULL, 0)));
}

static void test_fit_exact(void)
{
    static const double x[] = { 1, 2, 4, 8 };
    static const double y[] = { 5, 7, 11, 19 };
    Fit fit;

    g_assert_true(stats_fit(x, y, 4, &fit));
    g_assert_cmpuint(fit.n, ==, 4);
    assert_near(fit.slope, 2);
    assert_near(fit.intercept, 3);
    assert_near(fit.slope_error, 0);
    assert_near(fit.r2, 1);
}

/* By hand: Sxx = 5, Sxy = 4, Syy = 5. */
static void test_fit_noisy(void)
{
    static const double x[] = { 1, 2, 3, 4 };
    static const double y[] = { 2, 3, 5, 4 };
    Fit fit;

    g_assert_true(stats_fit(x, y, 4, &fit));
    assert_near(fit.slope, 0.8);
    assert_near(fit.intercept, 1.5);
    assert_near(fit.r2, 0.64);
    assert_near(fit.slope_error, sqrt(1.8 / 2 / 5));
}

static void test_fit_two(void)
{
    static const double x[] = { 0, 2 };
    static const double y[] = { 1, 1 };
    Fit fit;

    g_assert_true(stats_fit(x, y, 2, &fit));
    assert_near(fit.slope, 0);
    assert_near(fit.intercept, 1);
    g_assert_true(isnan(fit.slope_error));
    g_assert_true(isnan(fit.r2));
}

static void test_fit_none(void)
{
    static const double x[] = { 3, 3, 3 };
    static const double y[] = { 1, 2, 3 };
    Fit fit = { .slope = 42 };

    g_assert_false(stats_fit(x, y, 3, &fit));
    g_assert_false(stats_fit(x, y, 1, &fit));
    g_assert_false(stats_fit(NULL, NULL, 0, &fit));
    assert_near(fit.slope, 42);
}

/* Bytes of hosts: the squares of the values leave no digits to subtract. */
static void test_fit_far_from_zero(void)
{
    double x[5], y[5];
    Fit fit;

    for (int i = 0; i < 5; i++) {
        x[i] = 17592186044416.0 + i;
        y[i] = 3 * i;
    }
    g_assert_true(stats_fit(x, y, 5, &fit));
    assert_near(fit.slope, 3);
    assert_near(fit.r2, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stats/spread", test_spread);
    g_test_add_func("/stats/spread/few", test_spread_few);
    g_test_add_func("/stats/fit/exact", test_fit_exact);
    g_test_add_func("/stats/fit/noisy", test_fit_noisy);
    g_test_add_func("/stats/fit/two-points", test_fit_two);
    g_test_add_func("/stats/fit/no-line", test_fit_none);
    g_test_add_func("/stats/fit/far-from-zero", test_fit_far_from_zero);
    return g_test_run();
}
