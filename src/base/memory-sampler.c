/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/memory-sampler.h"

#include "base/memory.h"

struct MemorySampler {
    pid_t source;
    pid_t destination;
    gint64 began;               /* monotonic, in microseconds */
    guint timer;
    GArray *samples;
};

static void take_sample(MemorySampler *sampler)
{
    MemorySample sample = {
        .ms = (g_get_monotonic_time() - sampler->began) / 1e3,
    };

    if (memory_glance_at_process(sampler->source, &sample.source, NULL) &&
        memory_glance_at_process(sampler->destination, &sample.destination,
                                 NULL)) {
        g_array_append_val(sampler->samples, sample);
    }
}

static gboolean on_timer(gpointer opaque)
{
    take_sample(opaque);
    return G_SOURCE_CONTINUE;
}

MemorySampler *memory_sampler_start(pid_t source, pid_t destination,
                                    unsigned interval_ms)
{
    MemorySampler *sampler = g_new0(MemorySampler, 1);

    sampler->source = source;
    sampler->destination = destination;
    sampler->samples = g_array_new(FALSE, FALSE, sizeof(MemorySample));
    sampler->began = g_get_monotonic_time();
    take_sample(sampler);
    sampler->timer = g_timeout_add(interval_ms, on_timer, sampler);
    return sampler;
}

GArray *memory_sampler_stop(MemorySampler *sampler)
{
    GArray *samples = sampler->samples;

    take_sample(sampler);
    g_source_remove(sampler->timer);
    g_free(sampler);
    return samples;
}
