/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-bench.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "base/table.h"
#include "bench/parts.h"

/* Nobody else is to run short of memory. */
#define SPARE (512 * SIZE_MIB)

uint64_t device_bench_memory(const DeviceBenchConfig *config)
{
    uint64_t available = memory_available();

    available = available > SPARE ? available - SPARE : 0;
    return config && config->max_memory ?
           MIN(config->max_memory, available) : available;
}

static bool leave_out(const DeviceCase *step, uint64_t have,
                      const DeviceSink *sink, GError **error)
{
    g_autoptr(JsonObject) record = json_object_new();
    g_autofree char *title = device_case_title(step);
    g_autofree char *needed = size_format(device_case_memory(step));
    g_autofree char *available = size_format(have);
    g_autofree char *reason = g_strdup_printf(
        "takes up to %s of memory, there are %s to use", needed, available);

    json_object_set_string_member(record, "kind", "left-out");
    json_object_set_string_member(record, "case", title);
    json_object_set_string_member(record, "reason", reason);
    return sink->func(record, sink->opaque, error);
}

static bool run_step(Session *session, const DeviceBenchConfig *config,
                     const DeviceCase *step, const DeviceSink *sink,
                     GError **error)
{
    g_autofree char *title = device_case_title(step);
    bool done;

    progress_begin(session->progress, title);
    done = step->series == DEVICE_RATE ?
           device_run_rate(session, &config->qemus, step, sink, error) :
           device_run_migration(session, &config->qemus, step, sink, error);
    if (!done) {
        g_prefix_error(error, "%s: ", title);
        return false;
    }
    progress_end(session->progress, NULL);
    return true;
}

/* Each case is named once, however often it was to be repeated. */
static bool name_left_out(GHashTable *named, const DeviceCase *step,
                          uint64_t have, const DeviceSink *sink,
                          GError **error)
{
    return !g_hash_table_add(named, device_case_title(step)) ||
           leave_out(step, have, sink, error);
}

bool device_bench_run(Session *session, const DeviceBenchConfig *config,
                      const DeviceSink *sink, GError **error)
{
    g_autoptr(GHashTable) named =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool done = true;

    for (unsigned i = 0; done && i < config->n_steps; i++) {
        const DeviceCase *step = &config->steps[i];
        uint64_t have = device_bench_memory(config);

        if (sink->step_func) {
            sink->step_func(i, sink->opaque);
        }
        done = device_case_memory(step) <= have ?
               run_step(session, config, step, sink, error) :
               name_left_out(named, step, have, sink, error);
    }
    return done;
}

/* What the callbacks need. */
typedef struct DeviceBench {
    Progress *progress;
    BenchClock *clock;
    BenchSink *sink;
    const GArray *steps;        /* of DeviceCase */
    unsigned step;
    gint64 began;               /* the step, 0 before the first */
} DeviceBench;

static GArray *make_steps(const BenchOptions *options)
{
    DeviceProfile profile = options->kvm ? DEVICE_UNDER_KVM :
                            options->full ? DEVICE_FULL : DEVICE_QUICK;
    unsigned count;
    const DeviceEntry *entries = device_profile(profile, &count);

    return device_plan(entries, count, DEVICE_ALL_SERIES,
                       options->kvm ? options->repetitions : 0);
}

/* What does not fit will be left out, and takes no time. */
static double seconds_of(const DeviceCase *step)
{
    return device_case_memory(step) <= device_bench_memory(NULL) ?
           device_case_seconds(step) : 0;
}

void bench_device_plan(BenchClock *clock, const BenchOptions *options)
{
    g_autoptr(GArray) steps = make_steps(options);

    for (guint i = 0; i < steps->len; i++) {
        bench_clock_plan(clock, seconds_of(
            &g_array_index(steps, DeviceCase, i)));
    }
}

/* One row for all repetitions. */
static void list_step(Table *table, const GArray *steps,
                      const DeviceCase *step)
{
    g_autofree char *title = device_case_title(step);
    g_autofree char *need = size_format(device_case_memory(step));
    g_autofree char *times = NULL;
    g_autofree char *takes = NULL;
    unsigned repetitions = 0;

    for (guint i = 0; i < steps->len; i++) {
        g_autofree char *other = device_case_title(
            &g_array_index(steps, DeviceCase, i));

        repetitions += !strcmp(other, title);
    }
    times = g_strdup_printf("%u x", repetitions);
    takes = seconds_of(step) ?
            bench_duration(repetitions * seconds_of(step)) :
            g_strdup("left out");
    table_add_row(table, (const char *[]) { title, times, takes, need, NULL });
}

void bench_device_list(const BenchOptions *options)
{
    g_autoptr(GArray) steps = make_steps(options);
    g_autoptr(Table) table = table_new(4);
    g_autofree char *text = NULL;

    for (guint i = 0; i < steps->len; i++) {
        const DeviceCase *step = &g_array_index(steps, DeviceCase, i);

        if (step->repetition == 1) {
            list_step(table, steps, step);
        }
    }
    text = table_format(table);
    printf("%s", text);
}

/* The step before is over. */
static void end_step(DeviceBench *bench)
{
    const DeviceCase *step;

    if (!bench->began) {
        return;
    }
    step = &g_array_index(bench->steps, DeviceCase, bench->step);
    bench_clock_done(bench->clock, seconds_of(step),
                     (g_get_monotonic_time() - bench->began) / 1e6);
}

static void begin_step(unsigned step, void *opaque)
{
    DeviceBench *bench = opaque;
    g_autofree char *left = NULL;
    g_autofree char *note = NULL;

    end_step(bench);
    bench->step = step;
    bench->began = g_get_monotonic_time();
    left = bench_clock_left_text(bench->clock);
    note = g_strdup_printf("%u/%u; %s", bench->clock->done + 1,
                           bench->clock->steps, left);
    progress_set_note(bench->progress, note);
}

/* The record says itself of which kind it is. */
static bool take_record(JsonObject *record, void *opaque, GError **error)
{
    DeviceBench *bench = opaque;
    g_autofree char *kind =
        g_strdup(json_object_get_string_member(record, "kind"));

    if (!strcmp(kind, "left-out")) {
        return bench_sink_left_out(
            bench->sink, json_object_get_string_member(record, "case"),
            json_object_get_string_member(record, "reason"), error);
    }
    return bench_sink_write(bench->sink, kind, json_object_ref(record),
                            error);
}

bool bench_device_run(Session *session, BenchClock *clock,
                      const BenchOptions *options, BenchSink *sink,
                      GError **error)
{
    g_autoptr(GArray) steps = make_steps(options);
    DeviceBench bench = {
        .progress = session->progress,
        .clock = clock,
        .sink = sink,
        .steps = steps,
    };
    const DeviceBenchConfig config = {
        .qemus = {
            .qemu = options->qemu,
            .stock = options->stock,
            .firmware = (const char *const *)options->firmware,
            .clear_bitmap_shift = options->clear_bitmap_shift,
        },
        .steps = (const DeviceCase *)steps->data,
        .n_steps = steps->len,
    };
    const DeviceSink device_sink = {
        .func = take_record,
        .step_func = begin_step,
        .opaque = &bench,
    };
    bool done = device_bench_run(session, &config, &device_sink, error);

    progress_set_note(session->progress, NULL);
    return done;
}
