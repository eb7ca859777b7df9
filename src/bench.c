/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <stdio.h>

#include "bench-clock.h"
#include "bench-environment.h"
#include "bench-guest.h"
#include "bench-options.h"
#include "bench-sink.h"
#include "command.h"
#include "interrupt.h"
#include "paths.h"

#define RESULTS "results.jsonl"
#define STAGE_WIDTH 46

static bool check_files(const BenchOptions *options, GError **error)
{
    return paths_need_file(options->kernel, "kernel of the guest",
                           "run 'make guest' or name one with --kernel",
                           error) &&
           paths_need_file(options->initrd, "initial RAM disk of the guest",
                           "run 'make guest' or name one with --initrd",
                           error);
}

static bool run_parts(Session *session, BenchClock *clock,
                      const BenchOptions *options, BenchSink *sink,
                      GError **error)
{
    JsonObject *environment = bench_environment(session, options, error);

    return environment &&
           bench_sink_write(sink, "environment", environment, error) &&
           (!options->guest ||
            bench_guest_run(session, clock, options, sink, error));
}

static bool run_all(Session *session, const BenchOptions *options,
                    GError **error)
{
    g_autofree char *path = bench_options_file(options, RESULTS);
    g_autoptr(BenchSink) sink = NULL;
    BenchClock clock = { 0 };

    if (options->guest && !check_files(options, error)) {
        return false;
    }
    sink = bench_sink_open(path, error);
    if (!sink) {
        return false;
    }
    if (options->guest) {
        bench_guest_plan(&clock, options);
    }
    return run_parts(session, &clock, options, sink, error);
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

static int bench_run(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BenchOptions) options = bench_options_parse(argc, argv, &error);

    if (!options) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", argv[0],
                error->message, argv[0]);
        return EXIT_USAGE;
    }
    return measure(options, argv[0]);
}

const Command bench_command = {
    .name = "bench",
    .summary = "Measure skip-balloon against unmodified QEMU",
    .run = bench_run,
};
