/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `skip-balloon report`, without a browser. */
#include <glib.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <string.h>

#include "tests/report/fixture.h"
#include "tests/report/run.h"

#define MIGRATION(build, ms, more) \
    LINE("migration") ",\"case\":\"memfd/8G/512M/plain\"," \
    "\"backend\":\"memfd\",\"mode\":\"plain\",\"memory\":8589934592," \
    "\"left\":536870912,\"build\":\"" build "\",\"total-ms\":" ms more "}\n"
#define DEVICE(series, build, x, ms) \
    LINE("device") ",\"series\":\"" series "\",\"backend\":\"memfd\"," \
    "\"build\":\"" build "\"," x ",\"total-ms\":" ms "}\n"
#define BALLOONED(gib) "\"ballooned\":" gib "073741824"

static bool has_gnuplot(void)
{
    g_autofree char *program = g_find_program_in_path("gnuplot");

    if (!program) {
        g_test_skip("there is no gnuplot");
    }
    return program;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_error("'%s' is not in: %.1000s", part, text);
    }
}

static void assert_lacks(const char *text, const char *part)
{
    const char *at = strstr(text, part);

    if (at) {
        g_error("'%s' is in it: %.200s", part, at);
    }
}

/* The row of a table that begins with that title, tags and all. */
static char *row_of(const char *html, const char *title)
{
    g_autofree char *begin = g_strdup_printf("%s</th>", title);
    const char *row = strstr(html, begin);

    g_assert_nonnull(row);
    return g_strndup(row, strstr(row, "</tr>") - row);
}

static void test_usage(void)
{
    g_auto(ReportRun) none = { 0 };
    g_auto(ReportRun) unknown = { 0 };

    report_call((const char *const[]) { NULL }, NULL, &none);
    g_assert_cmpint(none.status, ==, 2);
    assert_has(none.err, "name at least one file of results, as 'skip-ball");
    report_call((const char *const[]) { "--nonsense", NULL }, NULL, &unknown);
    g_assert_cmpint(unknown.status, ==, 2);
}

static void test_missing_file(void)
{
    g_auto(ReportRun) run = { 0 };

    report_call((const char *const[]) { "/nonexistent/r.jsonl", NULL }, NULL,
                &run);
    g_assert_cmpint(run.status, ==, 1);
    assert_has(run.err, "the results cannot be read: ");
    assert_has(run.err, "/nonexistent/r.jsonl");
}

static void test_empty(void)
{
    g_auto(ReportRun) run = report_run("", NULL);
    g_auto(ReportRun) bad = report_run("{}\nx\n", NULL);
    g_auto(ReportRun) both = { 0 };

    g_assert_cmpint(run.status, ==, 1);
    assert_has(run.err, "there are no results in");
    g_assert_null(run.html);
    g_assert_cmpint(bad.status, ==, 1);
    assert_has(bad.err, "report: warning: ");
    assert_has(bad.err, "results.jsonl:1: ");
    assert_has(bad.err, "results.jsonl:2: ");
    g_assert_null(bad.html);
    report_call((const char *const[]) {
        run.results, bad.results, "-o", run.page, NULL
    }, NULL, &both);
    g_assert_cmpint(both.status, ==, 1);
    assert_has(both.err, "' and the others; 'skip-balloon bench' writes");
}

/* A report that lacks its charts is none. */
static void test_no_gnuplot(void)
{
    g_auto(ReportRun) run = report_run(
        MIGRATION("unmodified", "100", ""), "/nonexistent");

    g_assert_cmpint(run.status, ==, 1);
    assert_has(run.err, "gnuplot-nox");
    g_assert_null(run.html);
}

/* One that does something else. */
static void run_fake_gnuplot(const char *script, const char *complaint)
{
    g_autofree char *dir = g_dir_make_tmp("gnuplot-XXXXXX", NULL);
    g_autofree char *program = g_build_filename(dir, "gnuplot", NULL);
    g_autofree char *path = g_strconcat(dir, ":/usr/bin:/bin", NULL);
    g_auto(ReportRun) run = { 0 };

    g_assert_true(g_file_set_contents(program, script, -1, NULL));
    g_assert_cmpint(g_chmod(program, 0700), ==, 0);
    run = report_run(MIGRATION("unmodified", "100", ""), path);
    g_assert_cmpint(run.status, ==, 1);
    assert_has(run.err, complaint);
    g_assert_null(run.html);
    g_unlink(program);
    g_rmdir(dir);
}

static void test_bad_gnuplot(void)
{
    run_fake_gnuplot("#!/bin/sh\ncat > /dev/null\necho no fonts >&2\nexit 1\n",
                     "gnuplot failed: no fonts");
    run_fake_gnuplot("#!/bin/sh\ncat > /dev/null\necho '<svg'\n",
                     "gnuplot wrote no SVG: ");
    run_fake_gnuplot("#!/bin/sh\ncat > /dev/null\nprintf '\\377'\n",
                     "gnuplot cannot be spoken to: ");
}

static void test_cannot_write(void)
{
    g_auto(ReportRun) run = report_run(LINE("environment") "}\n", NULL);
    g_auto(ReportRun) failed = { 0 };

    report_call((const char *const[]) {
        run.results, "-o", "/nonexistent/page.html", NULL
    }, NULL, &failed);
    g_assert_cmpint(failed.status, ==, 1);
    assert_has(failed.err, "cannot write '/nonexistent/page.html': ");
}

static char *read_and_remove(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_unlink(path);
    }
    return text;
}

static void assert_well_formed(const char *text)
{
    static const GMarkupParser parser = { 0 };
    g_autoptr(GMarkupParseContext) context =
        g_markup_parse_context_new(&parser, 0, NULL, NULL);
    g_autoptr(GError) error = NULL;

    g_markup_parse_context_parse(context, text, -1, &error);
    g_assert_no_error(error);
    g_markup_parse_context_end_parse(context, &error);
    g_assert_no_error(error);
}

#define MAP_ANSWER \
    "{\"page-size\":4096,\"cell-size\":8192,\"recorded\":false," \
    "\"blocks\":[{\"id\":\"ram0\",\"size\":16384," \
    "\"ballooned\":[2,0],\"unpopulated\":[2,1]}]}"

#define MAP(name) \
    LINE("map") ",\"case\":\"" name "\",\"build\":\"both\"," \
    "\"answer\":" MAP_ANSWER "}\n"
#define SMALL(build, ms) \
    LINE("migration") ",\"case\":\"hugetlb/2G/512M/plain\"," \
    "\"backend\":\"hugetlb\",\"mode\":\"plain\",\"memory\":2147483648," \
    "\"left\":536870912,\"build\":\"" build "\",\"total-ms\":" ms "}\n"

/* For what does not know CSS variables, a colour stands before each. */
static void assert_fixed_colours(const char *svg)
{
    g_autoptr(GRegex) fixed =
        g_regex_new("([a-z]+):#[0-9a-f]+;\\1:var\\(--", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    unsigned with = 0;
    unsigned all = 0;

    for (const char *at = svg; (at = strstr(at, "var(")); at++) {
        all++;
    }
    g_regex_match(fixed, svg, 0, &match);
    while (g_match_info_matches(match)) {
        with++;
        g_match_info_next(match, NULL);
    }
    g_assert_cmpuint(all, >, 10);
    g_assert_cmpuint(with, ==, all);
}

/* Of the maps that of the larger guest is drawn, though it is not the last. */
static void test_pictures(void)
{
    g_auto(ReportRun) first = { 0 };
    g_auto(ReportRun) run = { 0 };
    g_autofree char *dir = NULL;
    g_autofree char *times = NULL;
    g_autofree char *memory = NULL;

    if (!has_gnuplot()) {
        return;
    }
    first = report_run(
        MIGRATION("unmodified", "4000", "") MIGRATION("both", "200", "")
        MAP("memfd/8G/512M/plain")
        SMALL("unmodified", "2000") SMALL("both", "100")
        MAP("hugetlb/2G/512M/plain"), NULL);
    dir = g_build_filename(first.dir, "pictures", NULL);
    report_call((const char *const[]) {
        first.results, "-o", first.page, "--pictures", dir, NULL
    }, NULL, &run);
    g_assert_cmpint(run.status, ==, 0);
    times = read_and_remove(dir, "time.svg");
    memory = read_and_remove(dir, "memory.svg");
    g_rmdir(dir);
    g_assert_nonnull(times);
    g_assert_nonnull(memory);
    assert_well_formed(times);
    assert_well_formed(memory);
    assert_has(times, "memfd, plain: 8 GiB, 512 MiB left");
    assert_has(times, "total time of the migration, s (log)");
    assert_has(times, "4.00 s");
    assert_has(times, "--paper:");
    assert_fixed_colours(times);
    assert_has(memory, "in the balloon");
    assert_has(memory, "memfd, plain: 8 GiB, 512 MiB left");
}

static void test_no_pictures(void)
{
    g_auto(ReportRun) first = report_run(LINE("environment") "}\n", NULL);
    g_auto(ReportRun) run = { 0 };

    report_call((const char *const[]) {
        first.results, "-o", first.page, "--pictures", first.dir, NULL
    }, NULL, &run);
    g_assert_cmpint(run.status, ==, 1);
    assert_has(run.err, "there are no pictures to draw: no guest was measur");
}

static void test_pictures_refused(void)
{
    g_auto(ReportRun) first = { 0 };
    g_auto(ReportRun) no_folder = { 0 };
    g_auto(ReportRun) no_file = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    first = report_run(MIGRATION("unmodified", "4000", "")
                       MIGRATION("both", "200", ""), NULL);
    report_call((const char *const[]) {
        first.results, "-o", first.page, "--pictures", "/proc/none", NULL
    }, NULL, &no_folder);
    g_assert_cmpint(no_folder.status, ==, 1);
    assert_has(no_folder.err, "cannot make the directory '/proc/none': ");
    report_call((const char *const[]) {
        first.results, "-o", first.page, "--pictures", "/proc", NULL
    }, NULL, &no_file);
    g_assert_cmpint(no_file.status, ==, 1);
    assert_has(no_file.err, "cannot write '/proc/time.svg': ");
}

/* Nothing is there that was not measured. */
static void test_only_what_there_is(void)
{
    static const char *const absent[] = {
        "<svg", "Real guests", "meanwhile", "memory went", "Growth", "Scale",
        "Inflating",
        "Model", "Left out", "left out", "times as long", "nan",
    };
    g_auto(ReportRun) run = report_run(
        LINE("environment") ",\"cpu\":\"a machine\",\"cpus\":2}\n"
        LINE("of-the-future") "}\n", NULL);

    g_assert_cmpint(run.status, ==, 0);
    g_assert_cmpstr(run.err, ==, "");
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        assert_lacks(run.html, absent[i]);
    }
    assert_has(run.html, "a machine");
    assert_has(run.html, "Environment");
}

static void test_numbers(void)
{
    g_autofree char *both = NULL;
    g_autofree char *socket = NULL;
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(
        MIGRATION("unmodified", "20000", ",\"transferred\":1048576")
        MIGRATION("both", "300",
                  ",\"transferred\":3145728,\"source-before\":536870912,"
                  "\"source-after\":537919488,"
                  "\"destination-after\":1073741824")
        MIGRATION("both", "500", "") MIGRATION("both", "400", "")
        MIGRATION("never-ballooned", "320", "")
        LINE("socket") ",\"case\":\"memfd/8G/512M/plain\","
        "\"bytes\":2097152,\"total-ms\":50}\n", NULL);
    g_assert_cmpint(run.status, ==, 0);
    both = row_of(run.html, "both capabilities");
    g_assert_cmpstr(both, ==,
                    "both capabilities</th><td>0.40</td>"
                    "<td>50.0</td><td>1.25</td><td>0.30\u20130.50</td>"
                    "<td>3</td><td>512 \u2192 513</td><td>1024</td>");
    socket = row_of(run.html, "socket alone");
    assert_has(socket, "<td>0.05</td><td>400</td><td>0.156</td><td></td>"
               "<td>2</td>");
    assert_has(run.html, "unmodified QEMU takes 50.0 times as long");
    assert_has(run.html, "never had a balloon takes 0.320 s");
    assert_has(run.html, "not measured");
}

/* Straight lines, so that the constants are known: T = 40 + 2 G + R / 1000. */
static void test_model(void)
{
    g_autofree char *ours = NULL;
    g_autofree char *row = NULL;
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(
        DEVICE("growth", "both", BALLOONED("1"), "42")
        DEVICE("growth", "both", "\"ballooned\":2147483648", "44")
        DEVICE("growth", "both", "\"ballooned\":4294967296", "48")
        DEVICE("growth", "unmodified", BALLOONED("1"), "1000")
        DEVICE("growth", "unmodified", "\"ballooned\":2147483648", "2000")
        /* Of another series, which does not reach as far. */
        DEVICE("growth", "both", "\"touched\":true," BALLOONED("1"), "90")
        DEVICE("growth", "both", "\"touched\":true,"
               "\"ballooned\":2147483648", "190")
        DEVICE("runs", "both", "\"runs\":1000", "41")
        DEVICE("runs", "both", "\"runs\":3000", "43")
        MIGRATION("never-ballooned", "500", ",\"transferred\":536870912"),
        NULL);
    g_assert_cmpint(run.status, ==, 0);
    assert_has(run.html, "This is a prediction, not a measurement.");
    assert_has(run.html, "100 ms per GiB (two migrations, no error known) "
               "with both");
    assert_has(run.html, "2.00 \u00b1 0 ms per GiB with both capabilities, "
               "1000 ms per GiB (two migrations, no error known) with "
               "unmodified QEMU");
    ours = row_of(strstr(run.html, "Constants of the model"),
                  "both capabilities");
    assert_has(ours, "<td>40.0</td><td>2.00</td><td>1.00</td><td>1000</td>");
    /* 921.6 GiB in 471 859 runs: 0.04 + 1.84 + 0.47 s, 102.4 s of data. */
    row = row_of(run.html, "1 TiB, 90 %");
    assert_has(row, "<td>102</td><td>102</td><td>2.36</td><td>105</td>"
               "<td>1024</td><td>9.78</td>");
}

/* What the model lacks makes its sum unknown, not smaller. */
static void test_model_without_runs(void)
{
    g_autofree char *row = NULL;
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(
        DEVICE("growth", "both", BALLOONED("1"), "42")
        DEVICE("growth", "both", "\"ballooned\":2147483648", "44"), NULL);
    g_assert_cmpint(run.status, ==, 0);
    row = row_of(run.html, "16 TiB, 99 %");
    assert_has(row, "<td class=\"none\">\u2013</td>"
               "<td class=\"none\">\u2013</td>");
    assert_has(run.html, "not measured");
}

#define GUEST(memory, left, ms) \
    LINE("migration") ",\"case\":\"" memory left "\",\"backend\":\"anon\"," \
    "\"mode\":\"plain\",\"build\":\"both\",\"memory\":" memory \
    ",\"left\":" left ",\"total-ms\":" ms "}\n"

/* Of guests of which different sizes are left, only some are alike. */
static void test_growth_of_guests(void)
{
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(
        GUEST("2147483648", "1073741824", "100")
        GUEST("4294967296", "1073741824", "106")
        GUEST("8589934592", "1073741824", "118")
        GUEST("8589934592", "2147483648", "900")
        GUEST("4294967296", "2147483648", "100"), NULL);
    g_assert_cmpint(run.status, ==, 0);
    assert_has(run.html, "of which it left 1 GiB:");
    assert_has(run.html, "anon: 3.00 \u00b1 0 ms per GiB with both");
    assert_lacks(run.html, "at the level of devices");
}

static void test_all_sections(void)
{
    static const char *const headings[] = {
        "Real guests", "Memory of both hosts meanwhile",
        "Where the guest&apos;s memory went", "Growth", "Scale",
        "Inflating and deflating", "Model: larger guests", "Left out",
        "Environment", "To repeat it",
    };
    g_autofree char *text = fixture_results();
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(text, NULL);
    g_assert_cmpint(run.status, ==, 0);
    g_assert_cmpstr(run.err, ==, "");
    for (unsigned i = 0; i < G_N_ELEMENTS(headings); i++) {
        g_autofree char *heading = g_strdup_printf("<h2>%s</h2>",
                                                   headings[i]);

        assert_has(run.html, heading);
    }
    assert_lacks(run.html, "nan");
}

/* Text of the results stays text, and a bad line is named in the page. */
static void test_hostile(void)
{
    g_autofree char *text = fixture_hostile();
    g_auto(ReportRun) run = { 0 };

    if (!has_gnuplot()) {
        return;
    }
    run = report_run(text, NULL);
    g_assert_cmpint(run.status, ==, 0);
    assert_lacks(run.html, "<script");
    assert_lacks(run.html, "alert('1')");
    assert_has(run.html, "&lt;script&gt;");
    assert_has(run.err, "no JSON object");
    assert_has(run.html, "Lines left out of this report");
    assert_has(run.html, "the map cannot be drawn");
    assert_has(run.html, "results.jsonl:");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/report/pictures", test_pictures);
    g_test_add_func("/report/no-pictures", test_no_pictures);
    g_test_add_func("/report/pictures-refused", test_pictures_refused);
    g_test_add_func("/report/usage", test_usage);
    g_test_add_func("/report/missing-file", test_missing_file);
    g_test_add_func("/report/empty", test_empty);
    g_test_add_func("/report/no-gnuplot", test_no_gnuplot);
    g_test_add_func("/report/bad-gnuplot", test_bad_gnuplot);
    g_test_add_func("/report/cannot-write", test_cannot_write);
    g_test_add_func("/report/only-what-there-is", test_only_what_there_is);
    g_test_add_func("/report/numbers", test_numbers);
    g_test_add_func("/report/model", test_model);
    g_test_add_func("/report/model/without-runs", test_model_without_runs);
    g_test_add_func("/report/growth/guests", test_growth_of_guests);
    g_test_add_func("/report/all-sections", test_all_sections);
    g_test_add_func("/report/hostile", test_hostile);
    return g_test_run();
}
