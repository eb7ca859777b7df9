/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "commands/command.h"
#include "report/status-report.h"

#define DEFAULT_INTERVAL_SECS 2
#define CLEAR_SCREEN "\033[H\033[2J"

typedef struct StatusOptions {
    MonitorAddress address;
    int timeout_secs;
    gboolean watch;
    gboolean json;
    int interval_secs;
    bool ready;                 /* out: what is on, and something is, works */
} StatusOptions;

static void status_options_clear(StatusOptions *options)
{
    monitor_address_clear(&options->address);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StatusOptions, status_options_clear)

static GOptionContext *make_context(void)
{
    GOptionContext *context = g_option_context_new(
        "- tell what a migration would do now");

    g_option_context_set_summary(context,
        "Asks a running QEMU for the state of its guest, its balloon and its\n"
        "capabilities, and says what a migration that began now would skip at\n"
        "least, send at most, and take of the destination's memory at most;\n"
        "and if nothing is skipped, why, and what to do. Changes nothing.");
    g_option_context_set_description(context,
        COMMAND_MONITOR_HELP "\n\n"
        "Exit status: 0 if at least one of skip-balloon and skip-unpopulated\n"
        "is on, and what is on is active; 3 if not; 1 if QEMU cannot be\n"
        "asked; 2 for a wrong command line.");
    return context;
}

static bool parse(int argc, char **argv, StatusOptions *options,
                  GError **error)
{
    const GOptionEntry entries[] = {
        { "watch", 'w', 0, G_OPTION_ARG_NONE, &options->watch,
          "Again and again, until it is interrupted", NULL },
        { "interval", 'i', 0, G_OPTION_ARG_INT, &options->interval_secs,
          "With --watch: how often (2)", "SECONDS" },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->json,
          "Print one JSON object, on a line", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = make_context();

    options->interval_secs = DEFAULT_INTERVAL_SECS;
    command_add_monitor(context, &options->address, &options->timeout_secs);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!command_parse(context, &argc, &argv, error)) {
        return false;
    }
    if (argc > 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "unexpected argument '%s'", argv[1]);
        return false;
    }
    if (options->interval_secs < 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--interval takes a number of seconds, at least 1");
        return false;
    }
    return command_check_monitor(&options->address, options->timeout_secs,
                                 error);
}

/* One that is on and disabled is a fault, even if the other is active. */
static bool is_ready(const QemuState *state, const Forecast *forecast)
{
    return forecast->skips &&
           (!state->skip_balloon.on ||
            forecast->balloon.reason == FORECAST_ACTIVE);
}

static bool show(Monitor *monitor, StatusOptions *options, GError **error)
{
    g_autoptr(QemuState) state = qemu_state_ask(monitor, error);
    g_autoptr(Forecast) forecast = NULL;
    g_autofree char *text = NULL;

    if (!state) {
        return false;
    }
    forecast = forecast_make(state, error);
    if (!forecast) {
        g_prefix_error(error, "%s: ", monitor_title(monitor));
        return false;
    }
    options->ready = is_ready(state, forecast);
    text = options->json ? status_report_json(state, forecast)
                         : status_report_text(state, forecast);
    return command_print(text, error);
}

/* What comes between two reports. */
static const char *separator(const StatusOptions *options)
{
    return options->json ? "" : isatty(STDOUT_FILENO) ? CLEAR_SCREEN : "\n";
}

static bool work(Session *session, void *opaque, GError **error)
{
    StatusOptions *options = opaque;
    g_autoptr(Monitor) monitor = monitor_open(session, &options->address,
                                              error);
    bool done = monitor && show(monitor, options, error);

    while (done && options->watch) {
        done = session_sleep(session, options->interval_secs * 1000, error) &&
               command_print(separator(options), error) &&
               show(monitor, options, error);
    }
    return done;
}

static int run(int argc, char **argv, GError **error)
{
    g_auto(StatusOptions) options = { 0 };
    int status;

    if (!parse(argc, argv, &options, error)) {
        return EXIT_USAGE;
    }
    status = command_work(&(CommandSetup) {
            .stall_secs = options.timeout_secs,
        }, work, &options, error);
    return status == EXIT_OK && !options.ready ? EXIT_NOT_READY : status;
}

const Command status_command = {
    .name = "status",
    .summary = "Tell what a migration of a running guest would do",
    .run = run,
};
