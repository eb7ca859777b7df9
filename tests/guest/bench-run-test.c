/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The benchmark as its users meet it, with guests as small as they come. That
 * one thing takes longer than another is not for a test; that it is counted
 * right is.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/wait.h>

#include "bench/results.h"

typedef struct Outcome {
    int status;
    char *out;
    char *err;
    char *dir;                  /* where the results went */
    Results *results;
} Outcome;

static void outcome_clear(Outcome *outcome)
{
    g_autoptr(GDir) dir = g_dir_open(outcome->dir, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(outcome->dir, name, NULL);

        g_unlink(path);
    }
    g_rmdir(outcome->dir);
    g_free(outcome->out);
    g_free(outcome->err);
    g_free(outcome->dir);
    results_free(outcome->results);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_clear)

static const char *setting(const char *variable, const char *preset)
{
    const char *value = g_getenv(variable);

    return value && value[0] ? value : preset;
}

static bool have(const char *path)
{
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        return true;
    }
    g_test_skip("QEMU or the guest was not built");
    return false;
}

static bool have_all(void)
{
    return have(setting("QEMU_BINARY", BUILD_DIR "/bin/qemu-system-x86_64")) &&
           have(setting("QEMU_STOCK_BINARY",
                        BUILD_DIR "/bin/qemu-system-x86_64-stock")) &&
           have(setting("SB_KERNEL", BUILD_DIR "/guest/vmlinux"));
}

static GPtrArray *command_line(const char *dir, const char *line)
{
    const char *const fixed[] = {
        setting("SKIP_BALLOON_BINARY", BUILD_DIR "/bin/skip-balloon"),
        "bench", "--qemu",
        setting("QEMU_BINARY", BUILD_DIR "/bin/qemu-system-x86_64"),
        "--stock", setting("QEMU_STOCK_BINARY",
                           BUILD_DIR "/bin/qemu-system-x86_64-stock"),
        "--kernel", setting("SB_KERNEL", BUILD_DIR "/guest/vmlinux"),
        "--output", dir,
    };
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) more = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        g_ptr_array_add(argv, g_strdup(fixed[i]));
    }
    g_assert_true(g_shell_parse_argv(line, NULL, &more, NULL));
    for (char **word = more; *word; word++) {
        g_ptr_array_add(argv, g_strdup(*word));
    }
    g_ptr_array_add(argv, NULL);
    return argv;
}

static void run(const char *line, Outcome *outcome)
{
    g_autoptr(GPtrArray) argv = NULL;
    g_autofree char *path = NULL;
    int status;

    outcome->dir = g_dir_make_tmp("bench-run-XXXXXX", NULL);
    g_assert_nonnull(outcome->dir);
    argv = command_line(outcome->dir, line);
    g_assert_true(g_spawn_sync(NULL, (char **)argv->pdata, NULL,
                               G_SPAWN_DEFAULT, NULL, NULL, &outcome->out,
                               &outcome->err, &status, NULL));
    g_test_message("%s: %s%s", line, outcome->out, outcome->err);
    outcome->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome->results = results_new();
    path = g_build_filename(outcome->dir, "results.jsonl", NULL);
    results_load(outcome->results, path, NULL);
}

static JsonObject *migration(const Outcome *outcome, const char *name,
                             const char *build)
{
    g_autoptr(GPtrArray) lines = results_migrations(outcome->results, name,
                                                    build);

    g_assert_cmpuint(lines->len, ==, 1);
    return g_ptr_array_index(lines, 0);
}

/* What the balloon took from these guests, less what moves meanwhile */
#define PAGES (350 * 256)

static void check_ours(JsonObject *line)
{
    double pages = result_number(line, "skipped-pages") +
                   result_number(line, "unpopulated-pages");

    g_assert_cmpfloat(pages, >, PAGES);
    g_assert_cmpfloat(result_number(line, "map-bytes"), >, 0);
    /* Shared memory that was in the balloon stays there. */
    g_assert_cmpfloat(result_number(line, "source-after"), <,
                      result_number(line, "source-before") + (64 << 20));
    g_assert_cmpuint(json_array_get_length(
        json_object_get_array_member(line, "samples")), >=, 2);
}

static void check_unmodified(JsonObject *line)
{
    g_assert_false(json_object_has_member(line, "skipped-pages"));
    g_assert_cmpfloat(result_number(line, "zero-pages"), >, PAGES);
    g_assert_cmpfloat(result_number(line, "destination-after"), >,
                      PAGES * 4096.0);
}

static void check_never(JsonObject *never, JsonObject *ours)
{
    g_assert_cmpfloat(result_number(never, "normal-pages"), >,
                      0.8 * result_number(ours, "normal-pages"));
    g_assert_cmpfloat(result_number(never, "normal-pages"), <,
                      1.25 * result_number(ours, "normal-pages"));
}

static void assert_kind(const Outcome *outcome, const char *kind,
                        unsigned count)
{
    g_assert_cmpuint(results_lines(outcome->results, kind)->len, ==, count);
}

static void test_builds(void)
{
    static const char name[] = "memfd/640M/256M/plain";
    g_auto(Outcome) outcome = { 0 };
    JsonObject *ours;

    if (!have_all()) {
        return;
    }
    run("-m 640M -t 256M -r 1 -b memfd --only guest "
        "--build unmodified,both,never-ballooned", &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    g_assert_cmpuint(results_warnings(outcome.results)->len, ==, 0);
    assert_kind(&outcome, "environment", 1);
    assert_kind(&outcome, "socket", 1);
    assert_kind(&outcome, "left-out", 0);
    ours = migration(&outcome, name, "both");
    check_ours(ours);
    check_unmodified(migration(&outcome, name, "unmodified"));
    check_never(migration(&outcome, name, "never-ballooned"), ours);
}

static void test_modes(void)
{
    g_auto(Outcome) outcome = { 0 };

    if (!have_all()) {
        return;
    }
    run("-m 640M -t 256M -r 1 --mode multifd,postcopy --build both "
        "--only guest", &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    check_ours(migration(&outcome, "anon/640M/256M/multifd", "both"));
    check_ours(migration(&outcome, "anon/640M/256M/postcopy", "both"));
}

/* What no machine has room for is named, and no failure. */
static void test_left_out(void)
{
    g_auto(Outcome) outcome = { 0 };

    if (!have_all()) {
        return;
    }
    run("-m 900T -t 800T -r 2 --build both --only guest", &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_kind(&outcome, "migration", 0);
    assert_kind(&outcome, "left-out", 1);
    g_assert_nonnull(strstr(outcome.err, "anon/921600G/819200G/plain both"));
}

static void test_bad_qemu(void)
{
    g_auto(Outcome) outcome = { 0 };

    if (!have_all()) {
        return;
    }
    run("--qemu /bin/false --only guest", &outcome);
    g_assert_cmpint(outcome.status, ==, 1);
    g_assert_nonnull(strstr(outcome.err, "ended with status 1"));
    assert_kind(&outcome, "migration", 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-run/builds", test_builds);
    g_test_add_func("/bench-run/modes", test_modes);
    g_test_add_func("/bench-run/left-out", test_left_out);
    g_test_add_func("/bench-run/bad-qemu", test_bad_qemu);
    return g_test_run();
}
