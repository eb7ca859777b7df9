/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Man pages and completion, which scripts/man.sh makes of --help. */
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>

#include "tests/commands/run.h"

static const char *const commands[] = {
    "demo", "bench", "map", "migrate", "report", "status",
};

static char *dir;
static const char *program;

/* What a program prints; NULL if it fails. */
static char *get_output(const char *const *args)
{
    g_autoptr(GSubprocess) process = g_subprocess_newv(args,
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE,
        NULL);
    char *out = NULL;

    if (!process) {
        return NULL;
    }
    g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, &out,
                                                NULL, NULL));
    if (!g_subprocess_get_successful(process)) {
        g_test_message("%s", out);
        g_clear_pointer(&out, g_free);
    }
    return out;
}

#define OUTPUT(...) get_output((const char *const[]) { __VA_ARGS__, NULL })

static char *read_page(const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/man1/%s.1", dir, name);
    g_autofree char *warnings = OUTPUT("groff", "-man", "-ww", "-z", path);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    if (warnings) {
        g_assert_cmpstr(warnings, ==, "");
    }
    return text;
}

/* All that --help says is there. */
static void test_pages(void)
{
    g_autofree char *main_page = read_page("skip-balloon");

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *name = g_strconcat("skip-balloon-", commands[i], NULL);
        g_autofree char *page = read_page(name);
        g_autofree char *help = OUTPUT(program, commands[i], "--help");
        g_autofree char *plain = NULL;
        g_auto(GStrv) parts = g_strsplit(page, "\\-", -1);
        g_auto(GStrv) lines = g_strsplit(help, "\n", -1);

        assert_contains(main_page, commands[i]);
        plain = g_strjoinv("-", parts);
        /* Without the heads, and options parted from what they do. */
        for (char **line = lines + 2; *line; line++) {
            g_auto(GStrv) words = g_strsplit(g_strstrip(*line), "  ", 2);

            if (words[0] && !g_str_has_suffix(words[0], "ptions:")) {
                assert_contains(plain, words[0]);
                assert_contains(plain, words[1] ? g_strstrip(words[1]) : "");
            }
        }
    }
}

/* What is offered for the last of some words. */
static void assert_offered(const char *words, unsigned at,
                           const char *offered)
{
    g_autofree char *script = g_strdup_printf(
        "source %s/completions/skip-balloon; COMP_WORDS=(%s); COMP_CWORD=%u; "
        "_skip_balloon; echo -n \"${COMPREPLY[*]}\"", dir, words, at);
    g_autofree char *out = OUTPUT("bash", "-c", script);

    g_assert_cmpstr(out, ==, offered);
}

static void test_completion(void)
{
    assert_offered("skip-balloon m", 1, "map migrate");
    assert_offered("skip-balloon help s", 2, "status");
    assert_offered("skip-balloon migrate --ban", 2, "--bandwidth=");
    assert_offered("skip-balloon migrate -q s --mu", 4, "--multifd=");
    assert_offered("skip-balloon status --wa", 2, "--watch");
    assert_offered("skip-balloon status --multifd", 2, "");
    /* A file, which is for bash to complete. */
    assert_offered("skip-balloon report res", 2, "");
}

int main(int argc, char **argv)
{
    g_autofree char *made = NULL;
    int status;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("man-test-XXXXXX", NULL);
    program = g_getenv("SKIP_BALLOON_BINARY");
    if (!program || !program[0]) {
        program = BUILD_DIR "/bin/skip-balloon";
    }
    made = OUTPUT(BUILD_DIR "/../scripts/man.sh", program, dir);
    g_assert_cmpstr(made, ==, "");
    g_test_add_func("/man/pages", test_pages);
    g_test_add_func("/man/completion", test_completion);
    status = g_test_run();
    g_free(OUTPUT("rm", "-r", dir));
    g_free(dir);
    return status;
}
