/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <stdio.h>

#include "base/paths.h"
#include "base/session.h"
#include "bench/summary.h"
#include "commands/bench-options.h"
#include "commands/command.h"
#include "report/report.h"

#define RESULTS "results.jsonl"
#define REPORT "report.html"
#define STAGE_WIDTH 46

static bool show(Session *session, const BenchOptions *options, char *path,
                 GError **error)
{
    g_autofree char *report = bench_options_file(options, REPORT);
    char *files[] = { path, NULL };
    g_autoptr(Results) results = report_file_load(files, error);
    g_autofree char *summary = NULL;
    g_autofree char *kvm = NULL;

    if (!results) {
        return false;
    }
    summary = bench_summary(results);
    kvm = bench_kvm_summary(results);
    printf("\n%s%s", summary ? summary : "", summary ? "\n" : "");
    printf("%s%s", kvm ? kvm : "", kvm ? "\n" : "");
    return report_file_write(session, results, report, error);
}

static bool run_all(Session *session, const BenchOptions *options,
                    GError **error)
{
    g_autofree char *path = bench_options_file(options, RESULTS);
    g_autoptr(BenchSink) sink = NULL;
    BenchClock clock = { 0 };
    bool done;

    if (options->guest &&
        !paths_need_guest(options->kernel, options->initrd, error)) {
        return false;
    }
    sink = bench_sink_open(path, error);
    if (!sink) {
        return false;
    }
    bench_plan(&clock, options);
    done = bench_run(session, &clock, options, sink, error);
    g_clear_pointer(&sink, bench_sink_close);
    if (!done) {
        /* What there is, is worth being seen, unless the user wants to go. */
        if (!interrupt_signal() && clock.done) {
            session_forget_failure(session);
            show(session, options, path, NULL);
        }
        return false;
    }
    return show(session, options, path, error);
}

static int measure(const BenchOptions *options, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Progress) progress = NULL;
    g_autoptr(Session) session =
        session_new(options->log_dir, options->timeout_secs, &error);
    bool done;

    if (!session) {
        fprintf(stderr, "%s: %s\n", name, error->message);
        return EXIT_FAILED;
    }
    progress = progress_new(stdout);
    progress_set_stage_width(progress, STAGE_WIDTH);
    session->progress = progress;
    interrupt_watch(session);
    done = run_all(session, options, &error);
    interrupt_unwatch();
    if (done) {
        return EXIT_OK;
    }
    g_clear_pointer(&progress, progress_free);
    fprintf(stderr, "%s: %s\n", name, error->message);
    return interrupt_signal() ? EXIT_SIGNAL + interrupt_signal() : EXIT_FAILED;
}

static Results *load(char *path, GError **error)
{
    char *files[] = { path, NULL };

    return report_file_load(files, error);
}

static int compare(const BenchOptions *options, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Results) old = load(options->compare[0], &error);
    g_autoptr(Results) new = old ? load(options->compare[1], &error) : NULL;
    g_autofree char *table = NULL;

    if (!new) {
        fprintf(stderr, "%s: %s\n", name, error->message);
        return EXIT_FAILED;
    }
    table = bench_compare(old, new);
    if (!table) {
        fprintf(stderr, "%s: nothing was measured in both '%s' and '%s'\n",
                name, options->compare[0], options->compare[1]);
        return EXIT_FAILED;
    }
    printf("%s\n"
           "'same': some repetitions took as long as some in the other; "
           "nothing is said\n"
           "of what was measured once. x: times as fast as unmodified QEMU in "
           "the same\nresults.\n",
           table);
    return EXIT_OK;
}

static int run(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BenchOptions) options = bench_options_parse(argc, argv, &error);

    if (!options) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", argv[0],
                error->message, argv[0]);
        return EXIT_USAGE;
    }
    if (options->list) {
        bench_list(options);
        return EXIT_OK;
    }
    return options->compare[0] ? compare(options, argv[0])
                               : measure(options, argv[0]);
}

const Command bench_command = {
    .name = "bench",
    .summary = "Measure skip-balloon against unmodified QEMU",
    .run = run,
};
