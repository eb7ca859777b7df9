/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/clock.h"

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
