/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The report in a real browser. With SB_REPORT_DIR the pages, and pictures of
 * them, stay there to be looked at.
 */
#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "tests/report/browser.h"
#include "tests/report/fixture.h"
#include "tests/report/run.h"

/* What a full fixture gives: figures, of which growth has two charts. */
#define CHARTS 24
#define TABLES 13

typedef struct View {
    const char *name;
    const char *media;
    const char *scheme;
    unsigned width;
    unsigned height;
    bool phone;
} View;

static const View views[] = {
    { "phone-light", "screen", "light", 360, 740, true },
    { "phone-dark", "screen", "dark", 360, 740, true },
    { "desktop-light", "screen", "light", 1280, 900, false },
    { "desktop-dark", "screen", "dark", 1280, 900, false },
    /* A4 without its margins, at 96 pixels to the inch */
    { "print", "print", "dark", 688, 1000, false },
};

static Browser *browser;
static ReportRun full;

static bool ready(void)
{
    if (!browser) {
        g_test_skip("there is no chromium, or no gnuplot");
        return false;
    }
    g_assert_cmpint(full.status, ==, 0);
    return true;
}

static void show(const char *page, const View *view)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *checks = NULL;
    g_autofree char *nothing = NULL;
    g_autofree char *script = NULL;

    browser_view(browser, view->width, view->height, view->phone);
    browser_media(browser, view->media, view->scheme);
    browser_open(browser, page);
    g_file_get_contents(SOURCE_DIR "/checks.js", &checks, NULL, &error);
    g_assert_no_error(error);
    script = g_strconcat(checks, "\n''", NULL);
    nothing = browser_evaluate(browser, script);
}

/* That a check finds nothing, or something that contains @what. */
static void check(const char *expression, const char *what)
{
    g_autofree char *found = browser_evaluate(browser, expression);

    if (what ? !strstr(found, what) : found[0] != 0) {
        g_test_fail_printf("%s found, not '%s':\n%s", expression,
                           what ? what : "", found);
    }
}

static void check_layout(const View *view)
{
    g_autofree char *wide = g_strdup_printf("findWide(%u)", view->width);

    check(wide, NULL);
    check(strcmp(view->media, "print") ? "findCutCells(false)"
                                       : "findCutCells(true)", NULL);
    check("findCutLabels()", NULL);
    check("findPale()", NULL);
}

static void check_quiet(const char *what)
{
    g_autofree char *complaints = browser_complaints(browser);

    if (what ? !strstr(complaints, what) : complaints[0] != 0) {
        g_test_fail_printf("complaints, not '%s':\n%s", what ? what : "",
                           complaints);
    }
}

static void keep(const View *view)
{
    const char *dir = g_getenv("SB_REPORT_DIR");
    g_autofree char *picture = g_strdup_printf("%s/%s.png", dir, view->name);
    g_autofree char *document = g_strdup_printf("%s/report.pdf", dir);

    if (dir) {
        browser_save(browser, "Page.captureScreenshot",
                     "{\"captureBeyondViewport\":true}", picture);
        browser_save(browser, "Page.printToPDF",
                     "{\"printBackground\":true,\"preferCSSPageSize\":true}",
                     document);
    }
}

static void test_view(gconstpointer data)
{
    const View *view = data;
    g_autofree char *counts = g_strdup_printf("findCounts(%u, %u)", CHARTS,
                                              TABLES);

    if (ready()) {
        show(full.page, view);
        check(counts, NULL);
        check_layout(view);
        check("findIds()", NULL);
        keep(view);
        check_quiet(NULL);
    }
}

static void test_hostile(gconstpointer data)
{
    g_autofree char *text = fixture_hostile();
    g_auto(ReportRun) run = { 0 };

    if (ready()) {
        run = report_run(text, NULL);
        show(run.page, data);
        check_layout(data);
        check("findIds()", NULL);
        check("'' + document.scripts.length", "0");
        check_quiet(NULL);
    }
}

/* Each of these changes to the page must be found. */
static void test_can_fail(void)
{
    static const struct {
        const char *change;
        const char *expression;
        const char *found;
    } cases[] = {
        { "document.querySelector('figure').remove()",
          "findCounts(24, 13)", "charts, not 24" },
        { "document.querySelector('table').remove()",
          "findCounts(24, 13)", "tables, not 13" },
        { "document.querySelector('.box').style.overflow = 'visible'",
          "findWide(360)", "the page is" },
        { "document.querySelector('.box').style.overflow = 'hidden'",
          "findCutCells(false)", "out of reach" },
        { "document.querySelector('table').style.cssText = "
          "'table-layout:fixed;width:200px;min-width:0'",
          "findCutCells(false)", "is cut off" },
        { "''", "findCutCells(true)", "table of" },
        { "all('svg')[0].querySelector('text').setAttribute('x', '-99')",
          "findCutLabels()", "is cut off" },
        { "all('svg')[0].querySelectorAll('text').forEach(e => "
          "{ e.parentNode.setAttribute('transform', 'translate(99,99)') })",
          "findCutLabels()", "overlap" },
        { "document.querySelector('h2').style.color = '#ccc'",
          "findPale()", "h2" },
        { "all('svg')[0].querySelector('text').style.fill = '#eee'",
          "findPale()", "text" },
        { "all('svg')[0].querySelector('polygon').style.fill = '#eee'",
          "findPale()", "polygon" },
        { "document.querySelectorAll('[id]')[1].id = "
          "document.querySelector('[id]').id",
          "findIds()", "twice" },
    };

    if (!ready()) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *change = g_strdup_printf("%s; ''", cases[i].change);

        show(full.page, &views[0]);
        check(change, NULL);
        check(cases[i].expression, cases[i].found);
    }
}

static void test_complaints(void)
{
    if (!ready()) {
        return;
    }
    show(full.page, &views[0]);
    check("console.error('spoken'); ''", NULL);
    check_quiet("spoken");
    show(full.page, &views[0]);
    check("fetch('http://127.0.0.1:9/asked').then(x => '', x => '')", NULL);
    check_quiet("asked");
}

static void start(void)
{
    g_autofree char *program = browser_find();
    g_autofree char *gnuplot = g_find_program_in_path("gnuplot");
    g_autofree char *text = fixture_results();

    if (program && gnuplot) {
        full = report_run(text, NULL);
        browser = browser_start(program);
    }
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(views); i++) {
        g_autofree char *name = g_strdup_printf("/report/browser/%s",
                                                views[i].name);

        g_test_add_data_func(name, &views[i], test_view);
    }
    g_test_add_data_func("/report/browser/hostile/phone", &views[0],
                         test_hostile);
    g_test_add_data_func("/report/browser/hostile/desktop", &views[2],
                         test_hostile);
    g_test_add_func("/report/browser/checks-can-fail", test_can_fail);
    g_test_add_func("/report/browser/complaints", test_complaints);
    start();
    status = g_test_run();
    browser_stop(browser);
    report_run_clear(&full);
    return status;
}
