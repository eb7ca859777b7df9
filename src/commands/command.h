/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_COMMAND_H
#define SKIP_BALLOON_COMMANDS_COMMAND_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/session.h"
#include "qemu/monitor.h"

/* What the program returns. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_READY = 3,         /* of status: nothing would be skipped */
    EXIT_SIGNAL = 128,          /* plus the number of the signal */
};

/* A subcommand. */
typedef struct Command {
    const char *name;
    const char *summary;        /* a line for --help */
    /*
     * argv[0] is the program and the command. Returns an exit status, and sets
     * @error where that is a failure, which main() prints.
     */
    int (*run)(int argc, char **argv, GError **error);
} Command;

extern const Command bench_command;
extern const Command demo_command;
extern const Command map_command;
extern const Command migrate_command;
extern const Command report_command;
extern const Command status_command;

/* What --help says of how a QEMU is named. */
#define COMMAND_MONITOR_HELP \
    "SOCKET is that of QEMU's -qmp unix:SOCKET,server=on,wait=off. Where\n" \
    "libvirt has the monitor, name the domain instead."

/**
 * command_add_monitor: add the options that name a running QEMU: --qmp,
 * --domain, --connect and --timeout.
 * @context: what to add them to
 * @address: where the words go; has to live until all is parsed
 * @timeout_secs: where the time goes that QEMU may be silent for; set to what
 *                it is if nobody says anything; NULL: there is no such option
 */
void command_add_monitor(GOptionContext *context, MonitorAddress *address,
                         int *timeout_secs);

/**
 * command_parse: read the options. Prints the help and exits if that is what is
 * asked for: in any locale, so without GLib's own.
 * @context: the options
 * @argc: how many arguments; out: those that are no options
 * @argv: the same
 * @error: set if they are not as they should be
 */
bool command_parse(GOptionContext *context, int *argc, char ***argv,
                   GError **error);

/**
 * command_check_monitor: whether these options make sense.
 * @address: the words
 * @timeout_secs: the time
 * @error: set to SB_ERROR_USAGE if not
 */
bool command_check_monitor(const MonitorAddress *address, int timeout_secs,
                           GError **error);

/**
 * CommandWork: what a command does once its options are read.
 * @session: waits, and is cancelled by signals
 * @opaque: what command_work() was given
 * @error: set if it fails
 *
 * Returns: whether all went well.
 */
typedef bool CommandWork(Session *session, void *opaque, GError **error);

/* How a command works. */
typedef struct CommandSetup {
    const char *log_dir;        /* as of session_new() */
    unsigned stall_secs;
    FILE *progress;             /* where progress is told, NULL for nowhere */
    int stage_width;            /* as of progress_set_stage_width(), or 0 */
} CommandSetup;

/**
 * command_work: do the work of a command in a session of its own, which
 * signals cancel. What is told of progress has ended when this returns.
 * @setup: how
 * @work: the work
 * @opaque: passed to @work
 * @error: as of @work, or of session_new()
 *
 * Returns: an exit status.
 */
int command_work(const CommandSetup *setup, CommandWork *work, void *opaque,
                 GError **error);

/**
 * command_print: print to standard output, all of it.
 * @text: what
 * @error: set to SB_ERROR_RESOURCE if that is not possible
 */
bool command_print(const char *text, GError **error);

/**
 * command_report_error: print why a command failed.
 * @name: the program and the command
 * @error: why; NULL if it did not
 * @status: what the command returned
 *
 * Returns: the exit status of the program: @status, or that of a signal that
 * came.
 */
int command_report_error(const char *name, const GError *error, int status);

#endif /* SKIP_BALLOON_COMMANDS_COMMAND_H */
