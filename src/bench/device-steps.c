/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-steps.h"

#include "base/memory.h"
#include "base/size.h"

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
