/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "bench/results.h"

#define BEGIN "{\"schema\":\"skip-balloon-bench/1\",\"kind\":"
#define MIGRATION(name, build, ms) \
    BEGIN "\"migration\",\"case\":\"" name "\",\"build\":\"" build "\"," \
    "\"total-ms\":" ms "}\n"

/* Results of a file of that text. */
static Results *load(const char *text, gssize length)
{
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;
    Results *results = results_new();
    int fd = g_file_open_tmp("results-XXXXXX", &path, &error);

    g_assert_no_error(error);
    g_close(fd, NULL);
    g_file_set_contents(path, text, length, &error);
    g_assert_no_error(error);
    g_assert_true(results_load(results, path, &error));
    g_assert_no_error(error);
    g_unlink(path);
    return results;
}

/* The number of warnings, each for that line and with that text in it. */
static void assert_warning(const Results *results, unsigned index,
                           unsigned line, const char *text)
{
    const GPtrArray *warnings = results_warnings(results);
    g_autofree char *place = g_strdup_printf(":%u: ", line);

    g_assert_cmpuint(warnings->len, >, index);
    g_assert_nonnull(strstr(warnings->pdata[index], place));
    g_assert_nonnull(strstr(warnings->pdata[index], text));
}

static void test_kinds(void)
{
    g_autoptr(Results) results = load(
        BEGIN "\"environment\",\"cpu\":\"x\"}\n"
        MIGRATION("a", "both", "1")
        BEGIN "\"of-the-future\",\"x\":{\"y\":[1]}}\r\n"
        "\n"
        MIGRATION("a", "both", "3"), -1);

    g_assert_cmpuint(results_warnings(results)->len, ==, 0);
    g_assert_cmpuint(results_count(results), ==, 4);
    g_assert_cmpuint(results_lines(results, "migration")->len, ==, 2);
    g_assert_cmpuint(results_lines(results, "environment")->len, ==, 1);
    g_assert_cmpuint(results_lines(results, "of-the-future")->len, ==, 1);
    g_assert_cmpuint(results_lines(results, "device")->len, ==, 0);
}

static void test_bad_lines(void)
{
    static const char bad[] =
        MIGRATION("a", "both", "1")
        "not JSON\n"
        "[1, 2]\n"
        "{\"schema\":\"skip-balloon-bench/2\",\"kind\":\"migration\"}\n"
        "{\"kind\":\"migration\"}\n"
        "{\"schema\":\"skip-balloon-bench/1\"}\n"
        "{\"schema\":1,\"kind\":\"migration\"}\n"
        BEGIN "\"migration\",\"case\":\"\xff\"}\n"
        BEGIN "\"migration\",\"case\":\"\0\"}\n"
        MIGRATION("a", "both", "2");
    g_autoptr(Results) results = load(bad, sizeof(bad) - 1);

    g_assert_cmpuint(results_lines(results, "migration")->len, ==, 2);
    g_assert_cmpuint(results_warnings(results)->len, ==, 8);
    assert_warning(results, 0, 2, "left out, it is no JSON object");
    assert_warning(results, 1, 3, "no JSON object");
    assert_warning(results, 2, 4, "left out, its schema is "
                   "'skip-balloon-bench/2' and not 'skip-balloon-bench/1'");
    assert_warning(results, 3, 5, "left out, its schema is absent and not '");
    assert_warning(results, 4, 6, "left out, it does not tell its kind");
    assert_warning(results, 5, 7, "absent");
    assert_warning(results, 6, 8, "no JSON object");
    assert_warning(results, 7, 9, "no JSON object");
}

/* As a run leaves it that was killed while it wrote. */
static void test_cut_short(void)
{
    g_autoptr(Results) results = load(MIGRATION("a", "both", "1")
                                      BEGIN "\"migration\",\"ca", -1);

    g_assert_cmpuint(results_count(results), ==, 1);
    g_assert_cmpuint(results_warnings(results)->len, ==, 1);
    assert_warning(results, 0, 2, "left out, the line is cut short");
}

/* Only the newline is missing. */
static void test_no_newline(void)
{
    g_autoptr(Results) results = load(MIGRATION("a", "both", "1")
                                      BEGIN "\"map\"}", -1);

    g_assert_cmpuint(results_count(results), ==, 2);
    g_assert_cmpuint(results_warnings(results)->len, ==, 0);
}

static void test_empty(void)
{
    g_autoptr(Results) results = load("", 0);

    g_assert_cmpuint(results_count(results), ==, 0);
    g_assert_cmpuint(results_warnings(results)->len, ==, 0);
}

static void test_missing(void)
{
    g_autoptr(Results) results = results_new();
    g_autoptr(GError) error = NULL;

    g_assert_false(results_load(results, "/nonexistent/x.jsonl", &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_MISSING);
    g_assert_true(g_str_has_prefix(error->message,
                                   "the results cannot be read: "));
    g_assert_nonnull(strstr(error->message, "/nonexistent/x.jsonl"));
}

static void test_groups(void)
{
    g_autoptr(Results) results = load(
        MIGRATION("b", "both", "7")
        MIGRATION("a", "unmodified", "100")
        MIGRATION("a", "both", "3")
        MIGRATION("a", "both", "1")
        MIGRATION("a", "both", "5")
        MIGRATION("a", "both", "\"nine\""), -1);
    const GPtrArray *all = results_lines(results, "migration");
    g_autoptr(GPtrArray) cases = results_distinct(all, "case");
    g_autoptr(GPtrArray) lines = results_migrations(results, "a", "both");
    Spread spread = results_spread(lines, "total-ms");

    g_assert_cmpuint(cases->len, ==, 2);
    g_assert_cmpstr(cases->pdata[0], ==, "b");
    g_assert_cmpstr(cases->pdata[1], ==, "a");
    g_assert_cmpuint(lines->len, ==, 4);
    g_assert_cmpuint(spread.n, ==, 3);
    g_assert_cmpfloat(spread.median, ==, 3);
    g_assert_cmpfloat(spread.max, ==, 5);
    g_assert_cmpfloat(results_median(results, "a", "unmodified", "total-ms"),
                      ==, 100);
    g_assert_true(isnan(results_median(results, "c", "both", "total-ms")));
    g_assert_true(isnan(results_median(results, "a", "both", "bytes")));
}

static void test_members(void)
{
    g_autoptr(Results) results = load(
        BEGIN "\"x\",\"int\":3,\"float\":1.5,\"text\":\"t\",\"less\":-1,"
        "\"huge\":1e999,\"large\":18446744073709551616,\"null\":null,"
        "\"list\":[1],\"bool\":true}\n", -1);
    JsonObject *line = results_lines(results, "x")->pdata[0];
    static const char *const not_numbers[] = {
        "absent", "text", "less", "huge", "large", "null", "list", "bool",
    };

    g_assert_cmpfloat(result_number(line, "int"), ==, 3);
    g_assert_cmpfloat(result_number(line, "float"), ==, 1.5);
    for (unsigned i = 0; i < G_N_ELEMENTS(not_numbers); i++) {
        g_assert_true(isnan(result_number(line, not_numbers[i])));
    }
    g_assert_cmpstr(result_string(line, "text"), ==, "t");
    g_assert_true(result_flag(line, "bool"));
    g_assert_false(result_flag(line, "int"));
    g_assert_false(result_flag(line, "absent"));
    g_assert_null(result_string(line, "int"));
    g_assert_null(result_string(line, "null"));
    g_assert_null(result_string(line, "list"));
    g_assert_null(result_string(line, "absent"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/results/kinds", test_kinds);
    g_test_add_func("/results/bad-lines", test_bad_lines);
    g_test_add_func("/results/cut-short", test_cut_short);
    g_test_add_func("/results/no-newline", test_no_newline);
    g_test_add_func("/results/empty", test_empty);
    g_test_add_func("/results/missing", test_missing);
    g_test_add_func("/results/groups", test_groups);
    g_test_add_func("/results/members", test_members);
    return g_test_run();
}
