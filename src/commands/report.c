/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/error.h"
#include "base/session.h"
#include "commands/command.h"
#include "report/report.h"

#define DEFAULT_OUTPUT "report.html"
/* Nothing here waits for a guest; a chart takes a fraction of a second. */
#define STALL_SECS 60

typedef struct ReportOptions {
    char *output;
    char *pictures;             /* a directory, or NULL */
    char **files;               /* NULL-terminated, at least one */
} ReportOptions;

static void report_options_clear(ReportOptions *options)
{
    g_free(options->output);
    g_free(options->pictures);
    g_strfreev(options->files);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ReportOptions, report_options_clear)

static bool parse(int argc, char **argv, ReportOptions *options,
                  GError **error)
{
    const GOptionEntry entries[] = {
        { "output", 'o', 0, G_OPTION_ARG_FILENAME, &options->output,
          "The report (" DEFAULT_OUTPUT ")", "FILE" },
        { "pictures", 0, 0, G_OPTION_ARG_FILENAME, &options->pictures,
          "Also write time.svg and memory.svg", "DIR" },
        { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY,
          &options->files, NULL, "RESULTS..." },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "- show what a benchmark measured");

    g_option_context_set_summary(context,
        "Reads the results of one or more runs of the benchmark, and writes "
        "one HTML\nfile, which needs nothing else: tables, and charts drawn "
        "by gnuplot.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!command_parse(context, &argc, &argv, error)) {
        return false;
    }
    if (!options->files) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "name at least one file of results, as 'skip-balloon "
                    "bench' writes them");
        return false;
    }
    if (!options->output) {
        options->output = g_strdup(DEFAULT_OUTPUT);
    }
    return true;
}

static bool write_all(Session *session, void *opaque, GError **error)
{
    const ReportOptions *options = opaque;
    g_autoptr(Results) results = report_file_load(options->files, error);

    return results &&
           report_file_write(session, results, options->output, error) &&
           (!options->pictures ||
            report_pictures_write(session, results, options->pictures,
                                  error));
}

static int run(int argc, char **argv, GError **error)
{
    g_auto(ReportOptions) options = { 0 };

    if (!parse(argc, argv, &options, error)) {
        return EXIT_USAGE;
    }
    return command_work(&(CommandSetup) {
            .stall_secs = STALL_SECS,
            .progress = stdout,
        }, write_all, &options, error);
}

const Command report_command = {
    .name = "report",
    .summary = "Show what 'skip-balloon bench' measured, as a web page",
    .run = run,
};
