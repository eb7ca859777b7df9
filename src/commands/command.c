/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/command.h"

int command_work(const CommandSetup *setup, CommandWork *work, void *opaque,
                 GError **error)
{
    g_autoptr(Progress) progress = NULL;
    g_autoptr(Session) session =
        session_new(setup->log_dir, setup->stall_secs, error);
    bool done;

    if (!session) {
        return EXIT_FAILED;
    }
    if (setup->progress) {
        progress = progress_new(setup->progress);
        session->progress = progress;
    }
    if (setup->stage_width) {
        progress_set_stage_width(progress, setup->stage_width);
    }
    interrupt_watch(session);
    done = work(session, opaque, error);
    interrupt_unwatch();
    return done ? EXIT_OK : EXIT_FAILED;
}

int command_report_error(const char *name, const GError *error, int status)
{
    if (!error) {
        return status;
    }
    fprintf(stderr, "%s: %s\n", name, error->message);
    if (status == EXIT_USAGE) {
        fprintf(stderr, "Try '%s --help'.\n", name);
        return EXIT_USAGE;
    }
    return interrupt_signal() ? EXIT_SIGNAL + interrupt_signal() : status;
}
