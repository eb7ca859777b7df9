/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_RUN_H
#define SKIP_BALLOON_BENCH_DEVICE_RUN_H

#include <json-glib/json-glib.h>

#include "bench/device-plan.h"

/**
 * DeviceSinkFunc: takes a result, see docs/bench-results.md.
 * @record: of kind "device", "rate" or "left-out", without the members schema
 *          and run; stays with who calls, take a reference to keep it
 * @opaque: what came along with the function
 * @error: to be set if it cannot be kept
 *
 * Returns: whether to go on.
 */
typedef bool DeviceSinkFunc(JsonObject *record, void *opaque, GError **error);

/**
 * DeviceStepFunc: told of each step before it begins.
 * @step: its number, from 0
 * @opaque: what came along with the function
 */
typedef void DeviceStepFunc(unsigned step, void *opaque);

/* Where results go. */
typedef struct DeviceSink {
    DeviceSinkFunc *func;
    DeviceStepFunc *step_func;  /* or NULL */
    void *opaque;
} DeviceSink;

/* The QEMUs. Nothing in it is owned. */
typedef struct DeviceQemus {
    const char *qemu;           /* ours */
    const char *stock;          /* the unmodified one */
    const char *const *firmware; /* directories for -L, or NULL */
    unsigned clear_bitmap_shift; /* x-clear-bitmap-shift; 0: their own */
} DeviceQemus;

/**
 * device_run_migration: set up a guest as a step says and migrate it.
 * @session: the session; its progress is updated
 * @qemus: the QEMUs
 * @step: the step, of any series but rate
 * @sink: gets a record of kind "device"
 * @error: set as by vm_start(), device_guest_drive() and migrate_wait(), to
 *         SB_ERROR_MIGRATION if QEMU did not skip what it should, or by @sink
 */
bool device_run_migration(Session *session, const DeviceQemus *qemus,
                          const DeviceCase *step, const DeviceSink *sink,
                          GError **error);

/**
 * device_run_rate: populate memory, give it back, take it again, in several
 * orders.
 * @session: the session; its progress is updated
 * @qemus: the QEMUs
 * @step: the step, of series rate
 * @sink: gets records of kind "rate"
 * @error: set as by vm_start() and device_guest_inflate(), or by @sink
 */
bool device_run_rate(Session *session, const DeviceQemus *qemus,
                     const DeviceCase *step, const DeviceSink *sink,
                     GError **error);

#endif /* SKIP_BALLOON_BENCH_DEVICE_RUN_H */
