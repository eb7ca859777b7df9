/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_BENCH_H
#define SKIP_BALLOON_BENCH_DEVICE_BENCH_H

#include "base/session.h"
#include "bench/device-run.h"

/* What to measure at the level of devices. Nothing in it is owned. */
typedef struct DeviceBenchConfig {
    DeviceQemus qemus;
    const DeviceCase *steps;    /* as of device_plan() */
    unsigned n_steps;
    uint64_t max_memory;        /* of the host, in bytes; 0: all it can give */
} DeviceBenchConfig;

/**
 * device_bench_run: do all steps that fit into the memory of the host. Each is
 * a stage of the session's progress; interruption and failure leave nothing
 * behind but what was given to the sink.
 * @session: the session
 * @config: what to do
 * @sink: gets a record for each result, and one of kind "left-out" for each
 *        case that does not fit
 * @error: set as by device_run_migration() and device_run_rate()
 *
 * Returns: whether all has been done.
 */
bool device_bench_run(Session *session, const DeviceBenchConfig *config,
                      const DeviceSink *sink, GError **error);

/**
 * device_bench_memory: how much memory of the host steps can have now.
 * @config: what limits it, or NULL
 *
 * Returns: bytes.
 */
uint64_t device_bench_memory(const DeviceBenchConfig *config);

#endif /* SKIP_BALLOON_BENCH_DEVICE_BENCH_H */
