/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "command.h"
#include "error.h"
#include "interrupt.h"
#include "page-sections.h"

#define DEFAULT_OUTPUT "report.html"
#define TITLE "skip-balloon: results of the benchmark"
/* Nothing here waits for a guest; a chart takes a fraction of a second. */
#define STALL_SECS 60

typedef struct ReportOptions {
    char *output;
    char **files;               /* NULL-terminated, at least one */
} ReportOptions;

static void report_options_clear(ReportOptions *options)
{
    g_free(options->output);
    g_strfreev(options->files);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ReportOptions, report_options_clear)

static bool parse(int argc, char **argv, ReportOptions *options,
                  GError **error)
{
    const GOptionEntry entries[] = {
        { "output", 'o', 0, G_OPTION_ARG_FILENAME, &options->output,
          "The report (" DEFAULT_OUTPUT ")", "FILE" },
        { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY,
          &options->files, NULL, "RESULTS..." },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(
        "- show what 'skip-balloon bench' measured");

    g_option_context_set_summary(context,
        "Reads the results of one or more runs of the benchmark, and writes "
        "one HTML\nfile, which needs nothing else: tables, and charts drawn "
        "by gnuplot.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error)) {
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

/* Results of all files; what is wrong with lines is told. */
static Results *load(const ReportOptions *options, GError **error)
{
    g_autoptr(Results) results = results_new();
    const GPtrArray *warnings = results_warnings(results);

    for (char **file = options->files; *file; file++) {
        if (!results_load(results, *file, error)) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < warnings->len; i++) {
        fprintf(stderr, "%s: warning: %s\n", g_get_prgname(),
                (char *)warnings->pdata[i]);
    }
    if (!results_count(results)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there are no results in '%s'%s; 'skip-balloon bench' "
                    "writes them", options->files[0],
                    options->files[1] ? " and the others" : "");
        return NULL;
    }
    return g_steal_pointer(&results);
}

static char *make_page(Session *session, const Results *results,
                       GError **error)
{
    static void (*const sections[])(Page *, const Results *) = {
        page_summary, page_cases, page_course, page_maps, page_growth,
        page_scale, page_rates, page_model, page_circumstances,
    };
    Page *page = page_new(session, TITLE);

    progress_begin(session->progress, "report: draw the charts");
    for (unsigned i = 0; i < G_N_ELEMENTS(sections); i++) {
        sections[i](page, results);
        progress_update(session->progress,
                        (i + 1.0) / G_N_ELEMENTS(sections));
    }
    return page_finish(page, error);
}

static bool write_report(Session *session, const ReportOptions *options,
                         GError **error)
{
    g_autoptr(Results) results = load(options, error);
    g_autofree char *html = NULL;

    if (!results) {
        return false;
    }
    html = make_page(session, results, error);
    if (!html || !g_file_set_contents(options->output, html, -1, error)) {
        return false;
    }
    progress_end(session->progress, options->output);
    return true;
}

static int report_run(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Progress) progress = NULL;
    g_autoptr(Session) session = NULL;
    g_auto(ReportOptions) options = { 0 };
    bool done;

    if (!parse(argc, argv, &options, &error)) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", argv[0],
                error->message, argv[0]);
        return EXIT_USAGE;
    }
    session = session_new(NULL, STALL_SECS, &error);
    if (!session) {
        fprintf(stderr, "%s: %s\n", argv[0], error->message);
        return EXIT_FAILED;
    }
    progress = progress_new(stdout);
    session->progress = progress;
    interrupt_watch(session);
    done = write_report(session, &options, &error);
    interrupt_unwatch();
    if (done) {
        return EXIT_OK;
    }
    g_clear_pointer(&progress, progress_free);
    fprintf(stderr, "%s: %s\n", argv[0], error->message);
    return interrupt_signal() ? EXIT_SIGNAL + interrupt_signal() : EXIT_FAILED;
}

const Command report_command = {
    .name = "report",
    .summary = "Show what 'skip-balloon bench' measured, as a web page",
    .run = report_run,
};
