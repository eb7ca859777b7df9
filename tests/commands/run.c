/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/commands/run.h"

#include <glib/gstdio.h>
#include <string.h>

static char *dir;
static char *tmp_dir;
static char *socket_path;
static const char *subcommand;

void command_run_init(const char *command)
{
    subcommand = command;
    dir = g_dir_make_tmp("map-test-XXXXXX", NULL);
    tmp_dir = g_dir_make_tmp("map-test-XXXXXX", NULL);
    socket_path = command_run_file("qmp.sock");
}

int command_run_end(int status)
{
    g_rmdir(dir);
    g_rmdir(tmp_dir);
    g_clear_pointer(&socket_path, g_free);
    g_clear_pointer(&tmp_dir, g_free);
    g_clear_pointer(&dir, g_free);
    return status;
}

void outcome_clear(Outcome *outcome)
{
    g_free(outcome->out);
    g_free(outcome->err);
}

void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_test_fail_printf("no '%s' in '%s'", part, text);
    }
}

char *command_run_file(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

GSubprocessLauncher *command_run_launcher(GSubprocessFlags flags)
{
    GSubprocessLauncher *launcher = g_subprocess_launcher_new(flags);

    g_subprocess_launcher_setenv(launcher, "TMPDIR", tmp_dir, TRUE);
    g_subprocess_launcher_setenv(launcher, "LC_ALL", "C.UTF-8", TRUE);
    g_subprocess_launcher_setenv(launcher, "TERM", "xterm-256color", TRUE);
    g_subprocess_launcher_unsetenv(launcher, "COLUMNS");
    g_subprocess_launcher_unsetenv(launcher, "NO_COLOR");
    return launcher;
}

GSubprocess *command_run_spawn(GSubprocessLauncher *launcher,
                           const char *const *args)
{
    const char *program = g_getenv("SKIP_BALLOON_BINARY");
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    GSubprocess *process;

    g_ptr_array_add(argv, (gpointer)(program && program[0] ? program :
                                     BUILD_DIR "/bin/skip-balloon"));
    g_ptr_array_add(argv, (gpointer)subcommand);
    for (; *args; args++) {
        g_ptr_array_add(argv, (gpointer)*args);
    }
    g_ptr_array_add(argv, NULL);
    process = g_subprocess_launcher_spawnv(
        launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    return process;
}

void assert_empty(const char *path)
{
    g_autoptr(GDir) listing = g_dir_open(path ? path : dir, 0, NULL);

    g_assert_cmpstr(g_dir_read_name(listing), ==, NULL);
}

void command_run_finish(GSubprocess *process, Outcome *outcome)
{
    g_autoptr(GError) error = NULL;

    g_subprocess_communicate_utf8(process, NULL, NULL, &outcome->out,
                                  &outcome->err, &error);
    g_assert_no_error(error);
    outcome->status = g_subprocess_get_if_exited(process) ?
                      g_subprocess_get_exit_status(process) : -1;
    g_test_message("status %d, says: %s%s", outcome->status, outcome->out,
                   outcome->err);
}

void command_run_with(GSubprocessLauncher *launcher, const char *const *args,
                  Outcome *outcome)
{
    g_autoptr(GSubprocess) process = command_run_spawn(launcher, args);

    command_run_finish(process, outcome);
    assert_empty(tmp_dir);
}

void command_run(const char *const *args, Outcome *outcome)
{
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(
        COMMAND_RUN_PIPES);

    command_run_with(launcher, args, outcome);
}

FakeQmp *command_run_serve(const char *answer)
{
    g_autofree char *reply = g_strconcat("\"return\": ", answer, NULL);

    return fake_qmp_new(socket_path, FAKE_QMP_GREETING, reply);
}

const char *command_run_socket(void)
{
    return socket_path;
}
