/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <stdio.h>

#include "base/error.h"
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
    printf("\n%s%s", summary ? summary : "", summary ?
           "\nms: total time, the median of all repetitions. x: times as fast "
           "as unmodified\nQEMU. source, after, destination: memory of the host "
           "for the QEMU of the source\nbefore and after, and for the other.\n\n"
           : "");
    printf("%s%s", kvm ? kvm : "", kvm ? "\n" : "");
    return report_file_write(session, results, report, error);
}

static bool run_all(Session *session, void *opaque, GError **error)
{
    const BenchOptions *options = opaque;
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

static Results *load(char *path, GError **error)
{
    char *files[] = { path, NULL };

    return report_file_load(files, error);
}

static int compare(const BenchOptions *options, GError **error)
{
    g_autoptr(Results) old = load(options->compare[0], error);
    g_autoptr(Results) new = old ? load(options->compare[1], error) : NULL;
    g_autofree char *table = NULL;

    if (!new) {
        return EXIT_FAILED;
    }
    table = bench_compare(old, new);
    if (!table) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "nothing was measured in both '%s' and '%s'",
                    options->compare[0], options->compare[1]);
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

static int run(int argc, char **argv, GError **error)
{
    g_autoptr(BenchOptions) options = bench_options_parse(argc, argv, error);

    if (!options) {
        return EXIT_USAGE;
    }
    if (options->list) {
        if (!vm_find_program(options->qemu, error) ||
            !vm_find_program(options->stock, error)) {
            return EXIT_FAILED;
        }
        bench_list(options);
        return EXIT_OK;
    }
    if (options->compare[0]) {
        return compare(options, error);
    }
    return command_work(&(CommandSetup) {
            .log_dir = options->log_dir,
            .stall_secs = options->timeout_secs,
            .progress = stdout,
            .stage_width = STAGE_WIDTH,
        }, run_all, options, error);
}

const Command bench_command = {
    .name = "bench",
    .summary = "Measure skip-balloon against unmodified QEMU",
    .run = run,
};
