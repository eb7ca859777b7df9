/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/command.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

#define TIMEOUT_SECS 10

void command_add_monitor(GOptionContext *context, MonitorAddress *address,
                         int *timeout_secs)
{
    const GOptionEntry entries[] = {
        { "qmp", 'q', 0, G_OPTION_ARG_FILENAME, &address->socket,
          "The QMP socket of the QEMU", "SOCKET" },
        { "domain", 'd', 0, G_OPTION_ARG_STRING, &address->domain,
          "Instead: its domain of libvirt, by name or UUID", "NAME" },
        { "connect", 'c', 0, G_OPTION_ARG_STRING, &address->uri,
          "Which libvirt (what LIBVIRT_DEFAULT_URI says)", "URI" },
        { NULL }
    };
    const GOptionEntry timeout[] = {
        { "timeout", 0, 0, G_OPTION_ARG_INT, timeout_secs,
          "Give up when QEMU is silent for so long (10)", "SECONDS" },
        { NULL }
    };

    g_option_context_add_main_entries(context, entries, NULL);
    if (timeout_secs) {
        *timeout_secs = TIMEOUT_SECS;
        g_option_context_add_main_entries(context, timeout, NULL);
    }
}

static void print_help(GOptionContext *context)
{
    g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);
    g_auto(GStrv) parts = g_strsplit(help, "\342\200\246", -1);
    g_autofree char *text = g_strjoinv("...", parts);

    fputs(text, stdout);
}

bool command_parse(GOptionContext *context, int *argc, char ***argv,
                   GError **error)
{
    gboolean help = FALSE;
    const GOptionEntry entries[] = {
        { "help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show this", NULL },
        { NULL }
    };

    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error)) {
        return false;
    }
    if (help) {
        print_help(context);
        exit(EXIT_OK);
    }
    return true;
}

bool command_check_monitor(const MonitorAddress *address, int timeout_secs,
                           GError **error)
{
    const char *fault = NULL;

    if (!address->socket && !address->domain) {
        fault = "--qmp has to name the socket of a QEMU, or --domain a "
                "domain of libvirt";
    } else if (address->socket && address->domain) {
        fault = "--qmp and --domain name a QEMU each, and one is enough";
    } else if (address->uri && !address->domain) {
        fault = "--connect says where libvirt is, and needs a --domain";
    } else if (timeout_secs < 1) {
        fault = "--timeout takes a number of seconds, at least 1";
    }
    if (fault) {
        g_set_error_literal(error, SB_ERROR, SB_ERROR_USAGE, fault);
    }
    return !fault;
}

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
    return done ? EXIT_OK : EXIT_FAILED;
}

bool command_print(const char *text, GError **error)
{
    if (fputs(text, stdout) >= 0 && !fflush(stdout)) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "cannot write to standard output: %s", g_strerror(errno));
    return false;
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
