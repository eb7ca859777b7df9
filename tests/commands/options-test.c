/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "bench/run.h"
#include "commands/demo-options.h"

static DemoOptions *parse(const char *line, GError **error)
{
    g_auto(GStrv) argv = NULL;
    /* GOption moves the pointers around, so those to free are kept. */
    g_autofree char **copy = NULL;
    int argc;

    g_assert_true(g_shell_parse_argv(line, &argc, &argv, NULL));
    copy = g_memdup2(argv, (argc + 1) * sizeof(*argv));
    return demo_options_parse(argc, copy, error);
}

static void test_defaults(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DemoOptions) options = parse("demo", &error);

    g_assert_no_error(error);
    g_assert_cmpuint(options->memory, ==, 8 * SIZE_GIB);
    g_assert_cmpuint(options->to, ==, 512 * SIZE_MIB);
    g_assert_cmpint(options->backend, ==, BACKEND_ANON);
    g_assert_true(options->off && options->on);
    g_assert_cmpint(options->capabilities, ==, SKIP_BALLOON);
    g_assert_false(options->json || options->kvm || options->idle);
    g_assert_null(options->stock);
    g_assert_true(g_str_has_suffix(options->qemu, "/bin/qemu-system-x86_64"));
    g_assert_true(g_str_has_suffix(options->kernel, "/guest/vmlinuz"));
}

static void test_all(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DemoOptions) options = parse(
        "demo --memory=2G --to 300M -b memfd --qemu q --stock s --kernel k "
        "--initrd i -L a -L b --smp 2 --accel kvm --only on --json "
        "--timeout 5 --keep-logs d --capabilities both", &error);

    g_assert_no_error(error);
    g_assert_cmpuint(options->memory, ==, 2 * SIZE_GIB);
    g_assert_cmpuint(options->to, ==, 300 * SIZE_MIB);
    g_assert_cmpint(options->backend, ==, BACKEND_MEMFD);
    g_assert_cmpstr(options->qemu, ==, "q");
    g_assert_cmpstr(options->stock, ==, "s");
    g_assert_cmpstr(options->firmware[1], ==, "b");
    g_assert_cmpint(options->smp, ==, 2);
    g_assert_true(options->kvm && options->json && options->on);
    g_assert_false(options->off);
    g_assert_cmpint(options->capabilities, ==, SKIP_BOTH);
    g_assert_cmpint(options->timeout_secs, ==, 5);
    g_assert_cmpstr(options->log_dir, ==, "d");
}

static void test_idle(void)
{
    static const char *const lines[] = {
        "demo --idle",
        "demo --idle -c unpopulated",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DemoOptions) options = parse(lines[i], &error);

        g_assert_no_error(error);
        g_assert_true(options->idle);
        g_assert_cmpint(options->capabilities, ==, SKIP_UNPOPULATED);
        g_assert_cmpuint(options->to, ==, 0);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *line;
        const char *complaint;
    } refused[] = {
        { "demo --memory lots", "'lots' is not a size; write one like" },
        { "demo --memory 99999999T", "the size '99999999T' is too large" },
        { "demo --memory 1G --to 1G",
          "--to 1 GiB leaves nothing to take from --memory 1 GiB" },
        { "demo --memory 1G --to 2G",
          "--to 2 GiB leaves nothing to take from --memory 1 GiB" },
        { "demo --to 32M", "a guest of 8 GiB cannot live in 32 MiB, it needs" },
        { "demo --to 32M", "ask for a larger --to" },
        { "demo --to 1M", "a guest of 8 GiB cannot live in 1 MiB" },
        { "demo --backend paper", "unknown backend 'paper'; there are anon" },
        { "demo --only both", "--only takes 'off' or 'on', not 'both'" },
        { "demo --accel warp", "--accel takes 'tcg' or 'kvm', not 'warp'" },
        { "demo --smp 0", "--smp takes a number from 1 to 64" },
        { "demo --smp 65", "--smp takes a number from 1 to 64" },
        { "demo --timeout 0", "--timeout takes a number of seconds, at least" },
        { "demo --capabilities none", "or 'both', not 'none'" },
        { "demo --capabilities balloon,unpopulated",
          "or 'both', not 'balloon,unpopulated'" },
        { "demo --idle --to 1G", "which leaves no meaning to --to" },
        { "demo --idle -c balloon", "no --capabilities but 'unpopulated'" },
        { "demo --idle -c both", "no --capabilities but 'unpopulated'" },
        { "demo --idle --memory 64M", "ask for a larger --memory" },
        { "demo surplus", "unexpected argument 'surplus'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(parse(refused[i].line, &error));
        g_assert_error(error, SB_ERROR, SB_ERROR_USAGE);
        g_test_message("%s: %s", refused[i].line, error->message);
        g_assert_nonnull(strstr(error->message, refused[i].complaint));
    }
}

static void test_workset(void)
{
    g_assert_cmpuint(run_workset(8 * SIZE_GIB, 512 * SIZE_MIB), ==,
                     96 * SIZE_MIB);
    g_assert_cmpuint(run_workset(1 * SIZE_GIB, 192 * SIZE_MIB), ==,
                     16 * SIZE_MIB);
    g_assert_cmpuint(run_workset(64 * SIZE_GIB, 512 * SIZE_MIB), ==,
                     0);
}

static void test_capabilities(void)
{
    g_autofree char *one = skip_set_title(SKIP_UNPOPULATED);
    g_autofree char *two = skip_set_title(SKIP_BOTH);
    g_autofree const char **none = skip_set_capabilities(SKIP_NOTHING);

    g_assert_cmpstr(one, ==, "skip-unpopulated");
    g_assert_cmpstr(two, ==, "skip-balloon and skip-unpopulated");
    g_assert_null(none[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/defaults", test_defaults);
    g_test_add_func("/options/all", test_all);
    g_test_add_func("/options/idle", test_idle);
    g_test_add_func("/options/refused", test_refused);
    g_test_add_func("/options/capabilities", test_capabilities);
    g_test_add_func("/options/workset", test_workset);
    return g_test_run();
}
