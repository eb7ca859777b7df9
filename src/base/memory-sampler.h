/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_MEMORY_SAMPLER_H
#define SKIP_BALLOON_BASE_MEMORY_SAMPLER_H

#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

/* What both ends of a migration had of their hosts at one moment. */
typedef struct MemorySample {
    double ms;                  /* since the sampler was started */
    uint64_t source;            /* bytes */
    uint64_t destination;
} MemorySample;

/* Looks at the memory of two processes, over and over again. */
typedef struct MemorySampler MemorySampler;

/**
 * memory_sampler_start: sample now, and whenever the default main context runs
 * and a time has passed.
 * @source: one process
 * @destination: the other
 * @interval_ms: the time
 *
 * Returns: the sampler; end it with memory_sampler_stop().
 */
MemorySampler *memory_sampler_start(pid_t source, pid_t destination,
                                    unsigned interval_ms);

/**
 * memory_sampler_stop: sample once more, then no more.
 * @sampler: the sampler, freed
 *
 * Returns: an array of MemorySample, in the order of time; the caller frees
 * it. A process that is gone has left no samples.
 */
GArray *memory_sampler_stop(MemorySampler *sampler);

#endif /* SKIP_BALLOON_BASE_MEMORY_SAMPLER_H */
