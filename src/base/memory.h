/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_MEMORY_H
#define SKIP_BALLOON_BASE_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * memory_of_process: how much memory of the host a process is the reason of:
 * its private memory, and all that is allocated in its memfds, whether mapped
 * at this moment or not.
 * @pid: the process
 * @bytes: where to put it
 * @error: set if /proc does not say
 */
bool memory_of_process(pid_t pid, uint64_t *bytes, GError **error);

/**
 * memory_glance_at_process: the same from counters that the kernel keeps, so
 * that looking does not disturb the process; some 256 KiB less exact for each
 * of its threads.
 * @pid: the process
 * @bytes: where to put it
 * @error: set if /proc does not say
 */
bool memory_glance_at_process(pid_t pid, uint64_t *bytes, GError **error);

/**
 * memory_private_of_process: the private part of that: with shared guest RAM
 * what QEMU takes for itself.
 * @pid: the process
 * @bytes: where to put it
 * @error: set if /proc does not say
 */
bool memory_private_of_process(pid_t pid, uint64_t *bytes, GError **error);

/**
 * memory_warm: use memory and give it back. In a virtual machine whose own
 * host takes free memory away, memory that has been used a moment ago is soon
 * had, and any other is not.
 * @bytes: how much
 * @error: set if the host has not so much
 */
bool memory_warm(uint64_t bytes, GError **error);

/**
 * memory_total: how much memory the host has.
 *
 * Returns: bytes, UINT64_MAX if /proc does not say.
 */
uint64_t memory_total(void);

/**
 * memory_counters_of_process: the private memory of a process, as the kernel
 * counts it, and its page tables: soon told however much memory is mapped.
 * @pid: the process
 * @private: where to put the private memory, in bytes
 * @page_tables: where to put what the page tables take, in bytes
 * @error: set if /proc does not say
 */
bool memory_counters_of_process(pid_t pid, uint64_t *private,
                                uint64_t *page_tables, GError **error);

/**
 * memory_available: how much memory the host can give without swapping.
 *
 * Returns: bytes, UINT64_MAX if /proc does not say.
 */
uint64_t memory_available(void);

/**
 * memory_free_huge_pages: how many huge pages of 2 MiB the host has free.
 *
 * Returns: their number; 0 if it has none at all.
 */
uint64_t memory_free_huge_pages(void);

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

#endif /* SKIP_BALLOON_BASE_MEMORY_H */
