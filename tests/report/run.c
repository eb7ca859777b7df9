/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/report/run.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

static GPtrArray *command_line(const char *const *args)
{
    const char *program = g_getenv("SKIP_BALLOON_BINARY");
    GPtrArray *argv = g_ptr_array_new();

    g_ptr_array_add(argv, (gpointer)(program && program[0] ? program
                                     : BUILD_DIR "/bin/skip-balloon"));
    g_ptr_array_add(argv, (gpointer)"report");
    for (; *args; args++) {
        g_ptr_array_add(argv, (gpointer)*args);
    }
    g_ptr_array_add(argv, NULL);
    return argv;
}

void report_call(const char *const *args, const char *path, ReportRun *run)
{
    g_autoptr(GPtrArray) argv = command_line(args);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_autoptr(GSubprocess) process = NULL;
    g_autoptr(GError) error = NULL;

    if (path) {
        g_subprocess_launcher_setenv(launcher, "PATH", path, TRUE);
    }
    process = g_subprocess_launcher_spawnv(
        launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    g_subprocess_communicate_utf8(process, NULL, NULL, &run->out, &run->err,
                                  &error);
    g_assert_no_error(error);
    run->status = g_subprocess_get_if_exited(process)
        ? g_subprocess_get_exit_status(process) : -1;
    g_test_message("status %d, says: %s%s", run->status, run->out, run->err);
}

ReportRun report_run(const char *text, const char *path)
{
    g_autoptr(GError) error = NULL;
    ReportRun run = { .dir = g_dir_make_tmp("report-XXXXXX", &error) };

    g_assert_no_error(error);
    run.results = g_build_filename(run.dir, "results.jsonl", NULL);
    run.page = g_build_filename(run.dir, "page.html", NULL);
    g_file_set_contents(run.results, text, -1, &error);
    g_assert_no_error(error);
    report_call((const char *const[]) { run.results, "-o", run.page, NULL },
                path, &run);
    g_file_get_contents(run.page, &run.html, NULL, NULL);
    return run;
}

void report_run_clear(ReportRun *run)
{
    if (run->dir) {
        g_unlink(run->results);
        g_unlink(run->page);
        /* Fails if it left anything else. */
        g_assert_cmpint(g_rmdir(run->dir), ==, 0);
    }
    g_free(run->dir);
    g_free(run->results);
    g_free(run->page);
    g_free(run->out);
    g_free(run->err);
    g_free(run->html);
}
