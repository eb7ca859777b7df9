/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_COMMANDS_RUN_H
#define TESTS_COMMANDS_RUN_H

#include <gio/gio.h>

#include "tests/qemu/fake-qmp.h"

/* How a run of the program ended. */
typedef struct Outcome {
    int status;                 /* -1: killed by a signal */
    char *out;
    char *err;
} Outcome;

/* What a terminal's absence makes of standard output and error. */
#define COMMAND_RUN_PIPES \
    (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE)

/**
 * command_run_init: make a directory for the socket and for pictures, and one
 * for the temporary files of the program, which has to leave none.
 * @command: which command of the program is run, "map"
 */
void command_run_init(const char *command);

/**
 * command_run_end: remove them.
 * @status: what main() is to return
 *
 * Returns: @status.
 */
int command_run_end(int status);

/**
 * command_run_file: the name of a file in the directory for pictures.
 * @name: the file
 *
 * Returns: a new string; the caller frees it.
 */
char *command_run_file(const char *name);

/**
 * command_run_socket: the name of the socket.
 */
const char *command_run_socket(void);

/**
 * command_run_launcher: an environment that does not depend on where tests run.
 * @flags: what to do with standard output and error
 *
 * Returns: the launcher; the caller unrefs it.
 */
GSubprocessLauncher *command_run_launcher(GSubprocessFlags flags);

/**
 * command_run_spawn: start the command.
 * @launcher: how
 * @args: its arguments, NULL-terminated
 *
 * Returns: the process; the caller unrefs it.
 */
GSubprocess *command_run_spawn(GSubprocessLauncher *launcher,
                           const char *const *args);

/**
 * command_run_finish: wait for the end of a process whose output is piped.
 * @process: the process
 * @outcome: where to put how it ended; free it with outcome_clear()
 */
void command_run_finish(GSubprocess *process, Outcome *outcome);

/**
 * command_run_with: run the command to its end.
 * @launcher: how
 * @args: its arguments, NULL-terminated
 * @outcome: where to put how it ended; free it with outcome_clear()
 */
void command_run_with(GSubprocessLauncher *launcher, const char *const *args,
                  Outcome *outcome);

/**
 * command_run: the same, with standard output and error read.
 * @args: its arguments, NULL-terminated
 * @outcome: as above
 */
void command_run(const char *const *args, Outcome *outcome);

#define RUN(outcome, ...) \
    command_run((const char *const[]) { __VA_ARGS__, NULL }, outcome)

/**
 * command_run_serve: be a QEMU with an answer to query-migration-map.
 * @answer: the answer
 *
 * Returns: the server; free it with fake_qmp_free().
 */
FakeQmp *command_run_serve(const char *answer);

/**
 * outcome_clear: free the texts of an outcome.
 * @outcome: the outcome
 */
void outcome_clear(Outcome *outcome);

/**
 * assert_contains: fail the test if a text does not contain a part.
 */
void assert_contains(const char *text, const char *part);

/**
 * assert_empty: abort the test if there is anything in a directory.
 * @path: the directory; NULL for that of pictures
 */
void assert_empty(const char *path);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_clear)

#endif /* TESTS_COMMANDS_RUN_H */
