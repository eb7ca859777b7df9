/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reports are made of: builds, slopes, SVGs, scripts, a table. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "report/case-results.h"
#include "report/chart.h"
#include "report/demo-report.h"
#include "report/gnuplot.h"
#include "report/growth.h"

/* Frees the text. */
static void assert_text(char *text, const char *expected)
{
    g_assert_cmpstr(text, ==, expected);
    g_free(text);
}

static void test_slope(void)
{
    Fit fit = { .n = 9, .slope = 0.21642, .slope_error = 0.03391 };
    Fit runs = { .n = 9, .slope = 0.0001, .slope_error = 0.00002 };
    Fit steep = { .n = 9, .slope = 2293.4, .slope_error = 29.6 };
    Fit two = { .n = 2, .slope = 2, .slope_error = NAN };

    assert_text(growth_slope_words(&growth_ballooned, &fit),
                "0.216 \u00b1 0.034 ms per GiB");
    assert_text(growth_slope_words(&growth_ballooned, &steep),
                "2293 \u00b1 30 ms per GiB");
    assert_text(growth_slope_words(&growth_runs, &runs),
                "0.100 \u00b1 0.020 ms per 1000 runs");
    assert_text(growth_slope_words(&growth_ballooned, &two),
                "2.00 ms per GiB (two migrations, no error known)");
}

static void test_builds(void)
{
    g_autoptr(GPtrArray) builds = g_ptr_array_new();
    static const char *const some[] = {
        "strange", "never-ballooned", "skip-unpopulated", "unmodified",
        "skip-balloon",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(some); i++) {
        g_ptr_array_add(builds, (gpointer)some[i]);
    }
    builds_sort(builds);
    g_assert_cmpstr(builds->pdata[0], ==, "unmodified");
    g_assert_cmpstr(builds->pdata[1], ==, "skip-balloon");
    g_assert_cmpstr(builds->pdata[4], ==, "strange");
    g_assert_cmpstr(builds_pick_ours(builds), ==, "skip-balloon");
    g_ptr_array_add(builds, (gpointer)"both");
    g_assert_cmpstr(builds_pick_ours(builds), ==, "both");
    g_assert_false(build_is_ours("never-ballooned"));
    g_assert_false(build_is_ours("strange"));
    g_assert_true(build_is_ours("skip-unpopulated"));
    g_assert_cmpuint(build_colour("strange"), <, BUILD_COLOURS);
}

static void test_quote(void)
{
    assert_text(gnuplot_quote("8 GiB, \u00e4"), "'8 GiB, \u00e4'");
    assert_text(gnuplot_quote("a'b\"c`d\\e\nf"), "'a?b?c?d?e?f'");
    assert_text(gnuplot_quote("0123456789012345678901234567890123456789"),
                "'0123456789012345678901234567890123456789'");
    assert_text(gnuplot_quote("01234567890123456789012345678901234567890"),
                "'0123456789012345678901234567890123456789\u2026'");
}

static void test_svg(void)
{
    static const char svg[] =
        "<?xml version=\"1.0\"?>\n<svg viewBox=\"0 0 1 1\" xmlns=\"x\" "
        "xmlns:xlink=\"y\"><title>secret</title><desc>of gnuplot</desc>"
        "<g id='a'><defs><circle id='p'/></defs><g/>"
        "<g color='black'><use xlink:href='#p' color='rgb(  1,   0,  18)'/>"
        "<path stroke='rgb(1, 0, 2)' stroke-linecap='butt' d='M0,0'/>"
        "<text font-family='x' fill='rgb(1,0,0)'>a&lt;b</text></g></g></svg>";

    assert_text(svg_embed(svg, "c1", "wide", "\"<", NULL),
        "<svg id=\"c1\" class=\"wide\" role=\"img\" "
        "aria-label=\"&quot;&lt;\" viewBox=\"0 0 1 1\"><g id=\"c1-a\"><defs>"
        "<circle id=\"c1-p\"/></defs><g style=\"color:var(--ink);\">"
        "<use href=\"#c1-p\" style=\"color:var(--c2);\"/>"
        "<path d=\"M0,0\" style=\"stroke:var(--line);\"/>"
        "<text style=\"fill:var(--ink);\">a&lt;b</text></g></g></svg>");
}

static void test_no_svg(void)
{
    static const char *const bad[] = { "", "text", "<svg>", "<svg></g>" };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(svg_embed(bad[i], "c1", "wide", "label", &error));
        g_assert_error(error, SB_ERROR, SB_ERROR_PROCESS);
    }
}

/* The scale is logarithmic only where short bars would not be seen. */
static void test_bar_scale(void)
{
    static const double few[] = { 5, 20 };
    Spread one = stats_spread(few, 1);
    Spread both = stats_spread(few, 2);
    double zero = 0, large = 101;
    Spread none = stats_spread(&zero, 1);
    Spread many = stats_spread(&large, 1);
    Spread empty = stats_spread(NULL, 0);
    g_autoptr(BarChart) chart = bar_chart_new("s");

    bar_chart_group(chart, "group");
    bar_chart_add(chart, "nothing", 0, &empty, "");
    g_assert_true(bar_chart_is_empty(chart));
    bar_chart_add(chart, "one", 0, &one, "5");
    bar_chart_add(chart, "both", 1, &both, "12.5");
    g_assert_false(bar_chart_is_empty(chart));
    g_assert_false(bar_chart_is_log(chart));
    bar_chart_add(chart, "many", 2, &many, "101");
    g_assert_true(bar_chart_is_log(chart));
    bar_chart_add(chart, "none", 3, &none, "0");
    g_assert_false(bar_chart_is_log(chart));
}

/* gnuplot takes whatever the numbers are. */
static void test_degenerate(void)
{
    static const double values[] = { 0, 1, 1.8e19 };
    g_autofree char *gnuplot = g_find_program_in_path("gnuplot");
    g_autoptr(Session) session = session_new(NULL, 60, NULL);
    g_autoptr(GError) error = NULL;

    if (!gnuplot) {
        g_test_skip("there is no gnuplot");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autoptr(BarChart) bars = bar_chart_new("s");
        g_autoptr(XyChart) chart = xy_chart_new("x", "y");
        Spread spread = stats_spread(&values[i], 1);
        g_autofree char *script = NULL;
        g_autofree char *drawn = NULL;
        g_autofree char *xy_script = NULL;
        g_autofree char *xy_drawn = NULL;

        bar_chart_add(bars, "", 0, &spread, "");
        script = bar_chart_script(bars, 340);
        drawn = gnuplot_draw(session, script, &error);
        g_assert_no_error(error);
        xy_chart_series(chart, 0, XY_BOTH);
        xy_chart_point(chart, values[i], values[i]);
        xy_script = xy_chart_script(chart, 340);
        xy_drawn = gnuplot_draw(session, xy_script, &error);
        g_assert_no_error(error);
        g_assert_nonnull(strstr(xy_drawn, "</svg>"));
    }
}

static void test_gnuplot_fails(void)
{
    g_autofree char *gnuplot = g_find_program_in_path("gnuplot");
    g_autoptr(Session) session = session_new(NULL, 60, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) cancelled = NULL;

    if (!gnuplot) {
        g_test_skip("there is no gnuplot");
        return;
    }
    g_assert_null(gnuplot_draw(session, "nonsense\n", &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_PROCESS);
    session->interrupted = true;
    g_assert_null(gnuplot_draw(session, "pause 600\n", &cancelled));
    g_assert_error(cancelled, SB_ERROR, SB_ERROR_CANCELLED);
}

/* What was left alone is told if it is large, and rows only where they fit. */
static void test_demo(void)
{
    RunResult on = {
        .migration.unpopulated = {
            .known = true,
            .skipped_pages = 12345,
            .left_alone = {
                { "pc.bios", 256 * SIZE_KIB, "not-guest-ram" },
                { "ram0", 8 * SIZE_GIB, "undecided" },
            },
            .n_left_alone = 2,
        },
    };
    Report report = {
        .memory = 8 * SIZE_GIB,
        .capabilities = SKIP_UNPOPULATED,
        .on = &on,
    };
    g_autofree char *text = report_table(&report);

    g_assert_nonnull(strstr(text, "unpopulated pages skipped"));
    g_assert_nonnull(strstr(text, "12345\n"));
    g_assert_nonnull(strstr(text, "All of ram0, 8 GiB, was sent: "
                            "undecided\n"));
    g_assert_null(strstr(text, "pc.bios"));
    g_assert_null(strstr(text, "vetoed"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/report/parts/demo", test_demo);
    g_test_add_func("/report/parts/slope", test_slope);
    g_test_add_func("/report/parts/builds", test_builds);
    g_test_add_func("/report/parts/gnuplot/quote", test_quote);
    g_test_add_func("/report/parts/gnuplot/fails", test_gnuplot_fails);
    g_test_add_func("/report/parts/svg", test_svg);
    g_test_add_func("/report/parts/svg/none", test_no_svg);
    g_test_add_func("/report/parts/chart/scale", test_bar_scale);
    g_test_add_func("/report/parts/chart/degenerate", test_degenerate);
    return g_test_run();
}
