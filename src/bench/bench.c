/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/bench.h"

#include <stdio.h>

#include "bench/parts.h"

void bench_options_free(BenchOptions *options)
{
    if (!options) {
        return;
    }
    g_free(options->profile);
    g_clear_pointer(&options->cases, g_array_unref);
    g_free(options->output);
    g_free(options->compare[0]);
    g_free(options->compare[1]);
    g_free(options->qemu);
    g_free(options->stock);
    g_free(options->kernel);
    g_free(options->initrd);
    g_strfreev(options->firmware);
    g_free(options->command);
    g_free(options->log_dir);
    g_free(options);
}

char *bench_options_file(const BenchOptions *options, const char *name)
{
    return g_build_filename(options->output, name, NULL);
}

/* Before so much is done, what it took says little of the rest. */
#define WARM_UP_SECS 20

void bench_clock_plan(BenchClock *clock, double seconds)
{
    clock->steps++;
    clock->planned_secs += seconds;
}

void bench_clock_done(BenchClock *clock, double seconds, double took)
{
    clock->done++;
    if (took < 0) {
        clock->planned_secs -= seconds;
    } else {
        clock->done_secs += seconds;
        clock->took_secs += took;
    }
}

double bench_clock_left(const BenchClock *clock)
{
    double left = MAX(clock->planned_secs - clock->done_secs, 0);

    return clock->done_secs < WARM_UP_SECS ? left :
           left * clock->took_secs / clock->done_secs;
}

char *bench_duration(double seconds)
{
    unsigned minutes = seconds / 60 + 0.5;

    if (seconds < 90) {
        return g_strdup_printf("%.0f s", seconds);
    }
    if (minutes < 60) {
        return g_strdup_printf("%u min", minutes);
    }
    return g_strdup_printf("%u h %u min", minutes / 60, minutes % 60);
}

char *bench_clock_left_text(const BenchClock *clock)
{
    g_autofree char *duration = bench_duration(bench_clock_left(clock));

    return g_strconcat(duration, " left", NULL);
}

void bench_plan(BenchClock *clock, const BenchOptions *options)
{
    if (options->guest) {
        bench_guest_plan(clock, options);
    }
    if (options->device) {
        bench_device_plan(clock, options);
    }
}

void bench_list(const BenchOptions *options)
{
    g_autofree char *takes = NULL;
    BenchClock clock = { 0 };

    if (options->guest) {
        bench_guest_list(options);
    }
    if (options->device) {
        bench_device_list(options);
    }
    bench_plan(&clock, options);
    takes = bench_duration(bench_clock_left(&clock));
    printf("about %s in all\n", takes);
}

bool bench_run(Session *session, BenchClock *clock,
               const BenchOptions *options, BenchSink *sink, GError **error)
{
    JsonObject *environment = bench_environment(session, options, error);

    return environment &&
           bench_sink_write(sink, "environment", environment, error) &&
           (!options->guest ||
            bench_guest_run(session, clock, options, sink, error)) &&
           (!options->device ||
            bench_device_run(session, clock, options, sink, error));
}
