/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of bench that need no QEMU. */
#include <glib/gstdio.h>

#include "base/error.h"
#include "base/size.h"
#include "bench/bench.h"
#include "bench/parts.h"
#include "bench/record.h"
#include "bench/summary.h"
#include "commands/bench-options.h"

static BenchOptions *parse(const char *line, GError **error)
{
    g_auto(GStrv) argv = NULL;
    /* GOption moves the pointers around, so those to free are kept. */
    g_autofree char **copy = NULL;
    int argc;

    g_assert_true(g_shell_parse_argv(line, &argc, &argv, NULL));
    copy = g_memdup2(argv, (argc + 1) * sizeof(*argv));
    return bench_options_parse(argc, copy, error);
}

static char *case_names(const BenchOptions *options)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (guint i = 0; i < options->cases->len; i++) {
        g_autofree char *name = bench_case_name(
            &g_array_index(options->cases, BenchCase, i));

        g_string_append_printf(names, "%s%s", i ? " " : "", name);
    }
    return g_string_free(g_steal_pointer(&names), FALSE);
}

static void test_profiles(void)
{
    g_autoptr(BenchOptions) quick = parse("bench", NULL);
    g_autoptr(BenchOptions) full = parse("bench --profile full -r 5", NULL);
    g_autofree char *names = NULL;

    g_assert_nonnull(quick);
    g_assert_nonnull(full);
    names = case_names(quick);
    g_assert_cmpstr(names, ==, "anon/2G/512M/plain memfd/2G/512M/plain");
    g_assert_cmpstr(quick->profile, ==, "quick");
    g_assert_cmpuint(quick->repetitions, ==, 2);
    g_assert_true(quick->guest && quick->device && !quick->compare[0]);
    g_assert_cmpstr(full->profile, ==, "full");
    g_assert_cmpuint(full->repetitions, ==, 5);
    g_assert_cmpuint(full->cases->len, >, quick->cases->len);
    for (unsigned i = 0; i < BUILD_COUNT; i++) {
        g_assert_true(quick->builds[i]);
    }
}

static void test_matrix(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BenchOptions) options = parse(
        "bench -b anon,hugetlb --mode postcopy -m 1G,2G -t 300M,1G "
        "--build both,unmodified --only guest", &error);
    g_autofree char *names = NULL;

    g_assert_no_error(error);
    names = case_names(options);
    /* 1G of 1G would be no balloon. */
    g_assert_cmpstr(names, ==,
                    "anon/1G/300M/postcopy anon/2G/300M/postcopy "
                    "anon/2G/1G/postcopy hugetlb/1G/300M/postcopy "
                    "hugetlb/2G/300M/postcopy hugetlb/2G/1G/postcopy");
    g_assert_cmpstr(options->profile, ==, "custom");
    g_assert_true(options->builds[BUILD_BOTH] &&
                  options->builds[BUILD_UNMODIFIED] &&
                  !options->builds[BUILD_HINT] && !options->device);
}

static void test_bad_lines(void)
{
    static const struct {
        const char *line;
        const char *says;
    } lines[] = {
        { "bench --profile slow", "quick or full, not 'slow'" },
        { "bench -b anon,ram", "unknown backend 'ram'" },
        { "bench -b ''", "nothing is left to measure" },
        { "bench --mode live", "unknown mode 'live'" },
        { "bench -m 1X", "'1X' is not a size" },
        { "bench -m 1G -t 1G", "nothing is left to measure" },
        { "bench -m 8G -t 128M", "cannot live in 128 MiB" },
        { "bench --build stock", "unknown build 'stock'" },
        { "bench --only both", "guest or device, not 'both'" },
        { "bench --accel hvf", "tcg or kvm, not 'hvf'" },
        { "bench -r 0", "--repetitions takes" },
        { "bench -r -1", "--repetitions takes" },
        { "bench --smp 65", "--smp takes" },
        { "bench --clear-bitmap-shift 5", "--clear-bitmap-shift takes" },
        { "bench --clear-bitmap-shift 32", "--clear-bitmap-shift takes" },
        { "bench --timeout 0", "--timeout takes" },
        { "bench a", "unexpected argument 'a'" },
        { "bench --compare a", "takes two files" },
        { "bench --compare a b c", "unexpected argument 'c'" },
        { "bench --nonsense", "nonsense" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(BenchOptions) options = parse(lines[i].line, &error);

        g_test_message("%s: %s", lines[i].line,
                       error ? error->message : "accepted");
        g_assert_null(options);
        g_assert_nonnull(strstr(error->message, lines[i].says));
    }
}

static void test_compare_options(void)
{
    g_autoptr(BenchOptions) options = parse("bench --compare a b", NULL);

    g_assert_cmpstr(options->compare[0], ==, "a");
    g_assert_cmpstr(options->compare[1], ==, "b");
}

static void test_memory(void)
{
    BenchCase bench_case = {
        .backend = BACKEND_MEMFD,
        .memory = 8 * SIZE_GIB,
        .left = SIZE_GIB,
    };

    /* Shared memory is populated at both ends by what does not skip. */
    g_assert_cmpuint(bench_case_memory(&bench_case, BUILD_UNMODIFIED), >=,
                     16 * SIZE_GIB);
    g_assert_cmpuint(bench_case_memory(&bench_case, BUILD_BOTH), <,
                     10 * SIZE_GIB);
    g_assert_cmpuint(bench_case_memory(&bench_case, BUILD_NEVER), <,
                     3 * SIZE_GIB);
    g_assert_cmpuint(bench_case_huge_pages(&bench_case), ==, 0);
    bench_case.backend = BACKEND_ANON;
    g_assert_cmpuint(bench_case_memory(&bench_case, BUILD_UNMODIFIED), <,
                     10 * SIZE_GIB);
    bench_case.backend = BACKEND_HUGETLB;
    g_assert_cmpuint(bench_case_huge_pages(&bench_case), ==, 8192);
}

static void test_clock(void)
{
    BenchClock clock = { 0 };
    g_autofree char *text = NULL;

    for (unsigned i = 0; i < 4; i++) {
        bench_clock_plan(&clock, 100);
    }
    g_assert_cmpfloat(bench_clock_left(&clock), ==, 400);
    bench_clock_done(&clock, 100, 200);
    g_assert_cmpfloat(bench_clock_left(&clock), ==, 600);
    bench_clock_done(&clock, 100, -1);
    g_assert_cmpfloat(bench_clock_left(&clock), ==, 400);
    text = bench_clock_left_text(&clock);
    g_assert_cmpstr(text, ==, "7 min left");
    bench_clock_done(&clock, 100, 200);
    bench_clock_done(&clock, 100, 100);
    g_assert_cmpfloat(bench_clock_left(&clock), ==, 0);
    g_assert_cmpuint(clock.done, ==, clock.steps);
}

static void test_durations(void)
{
    g_autofree char *s = bench_duration(89);
    g_autofree char *min = bench_duration(91);
    g_autofree char *h = bench_duration(4800);

    g_assert_cmpstr(s, ==, "89 s");
    g_assert_cmpstr(min, ==, "2 min");
    g_assert_cmpstr(h, ==, "1 h 20 min");
}

static MigrationStats sent(uint64_t bytes)
{
    return (MigrationStats) {
        .normal = bytes / 4096,
        .transferred = bytes + bytes / 100,
    };
}

static void test_limit(void)
{
    BenchCase bench_case = { .memory = 4 * SIZE_GIB, .left = SIZE_GIB };
    BenchLimit limit = { 0 };
    MigrationStats unmodified = sent(500 * SIZE_MIB);
    MigrationStats ours = sent(400 * SIZE_MIB);
    MigrationStats never = sent(300 * SIZE_MIB);
    g_autofree char *nothing = bench_limit_refusal(&limit, &bench_case);
    g_autofree char *possible = NULL;
    g_autofree char *too_much = NULL;
    uint64_t fill;

    g_assert_cmpstr(nothing, ==,
                    "no build that has a balloon is measured with it");
    bench_limit_note(&limit, BUILD_UNMODIFIED, &unmodified);
    bench_limit_note(&limit, BUILD_BOTH, &ours);
    bench_limit_note(&limit, BUILD_UNMODIFIED, &unmodified);
    g_assert_cmpuint(bench_limit_bytes(&limit), ==, ours.transferred);
    fill = bench_limit_fill(&limit);
    g_assert_cmpuint(fill % SIZE_MIB, ==, 0);
    g_assert_false(bench_limit_met(&limit, &never));
    g_assert_cmpuint(bench_limit_fill(&limit), ==, fill + 100 * SIZE_MIB);
    g_assert_true(bench_limit_met(&limit, &ours));
    possible = bench_limit_refusal(&limit, &bench_case);
    g_assert_null(possible);
    bench_case.left = 256 * SIZE_MIB;
    too_much = bench_limit_refusal(&limit, &bench_case);
    g_assert_cmpstr(too_much, ==,
                    "a guest of 256 MiB cannot hold 400 MiB of live data");
}

/* What cannot be met must not be tried for ever. */
static void test_limit_ends(void)
{
    BenchCase bench_case = { .memory = 4 * SIZE_GIB, .left = SIZE_GIB };
    BenchLimit limit = { 0 };
    MigrationStats ours = sent(400 * SIZE_MIB);
    MigrationStats never = sent(450 * SIZE_MIB);
    g_autofree char *refusal = NULL;
    unsigned tries = 0;

    bench_limit_note(&limit, BUILD_BOTH, &ours);
    while (!refusal) {
        g_assert_cmpuint(++tries, <, 10);
        g_assert_false(bench_limit_met(&limit, &never));
        refusal = bench_limit_refusal(&limit, &bench_case);
    }
    g_assert_cmpuint(tries, >, 1);
    g_assert_nonnull(strstr(refusal, " tries a guest of 1 GiB did not come "
                            "near 400 MiB of live data"));
}

static char *make_dir(void)
{
    char *dir = g_dir_make_tmp("bench-test-XXXXXX", NULL);

    g_assert_nonnull(dir);
    return dir;
}

static void write_migration(BenchSink *sink, BenchBuild build,
                            unsigned repetition, int64_t ms)
{
    g_autoptr(GArray) samples =
        g_array_new(FALSE, FALSE, sizeof(MemorySample));
    const BenchCase bench_case = {
        BACKEND_MEMFD, MODE_PLAIN, 4 * SIZE_GIB, 512 * SIZE_MIB
    };
    MemorySample sample = { .ms = 1.5, .source = 10, .destination = 20 };
    RunResult result = {
        .source_before = SIZE_GIB,
        .migration = { .total_ms = ms, .transferred = 7, .has_skip = true,
                       .skipped_pages = 5 },
        .samples = samples,
    };

    g_array_append_val(samples, sample);
    g_assert_true(bench_sink_write(sink, "migration", bench_record_migration(
        &bench_case, build, repetition, &result), NULL));
}

static Results *load(const char *path)
{
    g_autoptr(Results) results = results_new();

    g_assert_true(results_load(results, path, NULL));
    return g_steal_pointer(&results);
}

static void test_sink(void)
{
    g_autofree char *dir = make_dir();
    g_autofree char *deep = g_build_filename(dir, "a", NULL);
    g_autofree char *path = g_build_filename(deep, "results", NULL);
    BenchSink *sink = bench_sink_open(path, NULL);
    g_autoptr(Results) results = NULL;
    g_autofree char *text = NULL;
    JsonObject *line;

    write_migration(sink, BUILD_BOTH, 1, 100);
    bench_sink_close(sink);
    /* As if a run had been killed in the middle of a line */
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_file_set_contents(path, text, strlen(text) - 9, NULL));
    sink = bench_sink_open(path, NULL);
    write_migration(sink, BUILD_BOTH, 2, 200);
    g_assert_true(bench_sink_left_out(sink, "a case", "no memory", NULL));
    bench_sink_close(sink);

    results = load(path);
    g_assert_cmpuint(results_warnings(results)->len, ==, 1);
    g_assert_cmpuint(results_lines(results, "migration")->len, ==, 1);
    g_assert_cmpuint(results_lines(results, "left-out")->len, ==, 1);
    line = g_ptr_array_index(results_lines(results, "migration"), 0);
    g_assert_cmpstr(result_string(line, "case"), ==, "memfd/4G/512M/plain");
    g_assert_cmpstr(result_string(line, "build"), ==, "both");
    g_assert_cmpfloat(result_number(line, "repetition"), ==, 2);
    g_assert_cmpfloat(result_number(line, "skipped-pages"), ==, 5);
    g_assert_false(json_object_has_member(line, "unpopulated-pages"));
    g_assert_cmpuint(json_array_get_length(
        json_object_get_array_member(line, "samples")), ==, 1);
    g_unlink(path);
    g_rmdir(deep);
    g_rmdir(dir);
}

static void test_sink_refused(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(bench_sink_open("/proc/none/results", &error));
    g_assert_nonnull(strstr(error->message,
                            "cannot write results to '/proc/none/results': "));
}

/* What there is no room for is told with the result. */
static void test_sink_full(void)
{
    g_autoptr(BenchSink) sink = bench_sink_open("/dev/full", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(sink);
    g_assert_false(bench_sink_left_out(sink, "a case", "no memory", &error));
    g_assert_nonnull(strstr(error->message, "cannot write results to "
                            "'/dev/full': No space left on device"));
}

/* Each build measured twice, a little apart. */
static Results *measured(const char *path, int64_t unmodified, int64_t both)
{
    g_autoptr(BenchSink) sink = bench_sink_open(path, NULL);

    for (unsigned i = 1; i <= 2; i++) {
        write_migration(sink, BUILD_UNMODIFIED, i, unmodified + i);
        write_migration(sink, BUILD_BOTH, i, both + i);
    }
    g_clear_pointer(&sink, bench_sink_close);
    return load(path);
}

static void test_compare(void)
{
    g_autofree char *dir = make_dir();
    g_autofree char *a = g_build_filename(dir, "a", NULL);
    g_autofree char *b = g_build_filename(dir, "b", NULL);
    g_autoptr(Results) old = measured(a, 1000, 100);
    g_autoptr(Results) new = measured(b, 1001, 200);
    g_autoptr(Results) none = results_new();
    g_autofree char *table = bench_compare(old, new);
    g_autofree char *back = bench_compare(new, old);
    g_autofree char *nothing = bench_compare(none, new);
    g_autofree char *summary = bench_summary(new);

    g_test_message("%s", table);
    g_test_message("%s", summary);
    g_assert_nonnull(strstr(table, "slower"));
    g_assert_null(strstr(table, "faster"));
    g_assert_nonnull(strstr(table, "same"));
    g_assert_nonnull(strstr(back, "faster"));
    g_assert_null(nothing);
    /* 1002.5 / 201.5 */
    g_assert_nonnull(strstr(summary, " 5.0 "));
    g_assert_nonnull(strstr(summary, " 201-202 "));
    g_unlink(a);
    g_unlink(b);
    g_rmdir(dir);
}

static void write_kvm(BenchSink *sink, const char *build, int64_t total,
                      double hold, int64_t shift)
{
    JsonObject *line = json_object_new();

    json_object_set_string_member(line, "series", "kvm");
    json_object_set_string_member(line, "build", build);
    json_object_set_string_member(line, "backend", "anon");
    json_object_set_string_member(line, "pattern", "none");
    json_object_set_boolean_member(line, "touched", FALSE);
    json_object_set_int_member(line, "memory", 64 * SIZE_GIB);
    json_object_set_int_member(line, "total-ms", total);
    json_object_set_double_member(line, "longest-hold-ms", hold);
    if (shift) {
        json_object_set_int_member(line, "clear-bitmap-shift", shift);
    }
    g_assert_true(bench_sink_write(sink, "device", line, NULL));
}

/* Cases with another chunk are cases of their own; holds are never averaged. */
static void test_kvm_summary(void)
{
    g_autofree char *dir = make_dir();
    g_autofree char *path = g_build_filename(dir, "a", NULL);
    BenchSink *sink = bench_sink_open(path, NULL);
    g_autoptr(Results) none = results_new();
    g_autoptr(Results) results = NULL;
    g_autofree char *nothing = bench_kvm_summary(none);
    g_autofree char *text = NULL;

    write_kvm(sink, "unmodified", 9000, 0, 0);
    write_kvm(sink, "both", 100, 7.5, 0);
    write_kvm(sink, "both", 200, 2.5, 0);
    write_kvm(sink, "both", 800, 1, 6);
    bench_sink_close(sink);
    results = load(path);
    text = bench_kvm_summary(results);
    g_test_message("%s", text);
    g_assert_null(nothing);
    /* 9000 / 150 */
    g_assert_nonnull(strstr(text, " 60 "));
    g_assert_nonnull(strstr(text, " 7.5"));
    g_assert_null(strstr(text, " 5.0"));
    g_assert_nonnull(strstr(text, "64 GiB, none, anon\n"));
    g_assert_nonnull(strstr(text, "64 GiB, none, anon, shift 6\n"));
    g_assert_nonnull(strstr(text, " 800"));
    g_unlink(path);
    g_rmdir(dir);
}

static void test_socket_cost(void)
{
    double ms = -1;

    g_assert_true(socket_cost(3 * SIZE_MIB + 5, true, &ms, NULL));
    g_assert_cmpfloat(ms, >, 0);
}

static void test_socket_refused(void)
{
    g_autoptr(GError) error = NULL;
    double ms;

    g_assert_false(socket_cost(UINT64_C(1) << 60, false, &ms, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_RESOURCE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench/options/profiles", test_profiles);
    g_test_add_func("/bench/options/matrix", test_matrix);
    g_test_add_func("/bench/options/bad", test_bad_lines);
    g_test_add_func("/bench/options/compare", test_compare_options);
    g_test_add_func("/bench/case/memory", test_memory);
    g_test_add_func("/bench/clock", test_clock);
    g_test_add_func("/bench/durations", test_durations);
    g_test_add_func("/bench/limit/met", test_limit);
    g_test_add_func("/bench/limit/ends", test_limit_ends);
    g_test_add_func("/bench/sink/append", test_sink);
    g_test_add_func("/bench/sink/refused", test_sink_refused);
    g_test_add_func("/bench/sink/full", test_sink_full);
    g_test_add_func("/bench/compare", test_compare);
    g_test_add_func("/bench/kvm-summary", test_kvm_summary);
    g_test_add_func("/bench/socket/cost", test_socket_cost);
    g_test_add_func("/bench/socket/refused", test_socket_refused);
    return g_test_run();
}
