/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "bench/device-guest.h"
#include "qemu/migration.h"
#include "qemu/vm.h"

/* Short against what counts as a long wait, yet leaves QEMU its processor */
#define POLL_MS 1

/* What a migration at the level of devices has cost. */
typedef struct Measured {
    MigrationStats stats;
    uint64_t source_before;     /* bytes, as are the next */
    uint64_t source_after;
    uint64_t destination_after;
    uint64_t private_most;
    uint64_t page_tables_most;
    gint64 longest_wait_us;
    gint64 longest_hold_us;     /* less than 0: there was none */
    uint64_t clears;            /* times that the dirty log was cleared */
    gint64 arm_us;              /* that these took our passes */
} Measured;

static VmConfig vm_config(const DeviceQemus *qemus, const DeviceCase *step,
                          const char *bios, bool incoming)
{
    bool kvm = step->series == DEVICE_KVM;
    bool ours = step->build != DEVICE_UNMODIFIED;

    return (VmConfig) {
        .name = incoming ? "device-destination" : "device-source",
        .qemu = ours ? qemus->qemu : qemus->stock,
        .firmware = qemus->firmware,
        .memory = step->memory,
        .backend = step->backend,
        .device_level = true,
        .kvm = kvm,
        .bios = bios,
        .clear_bitmap_shift = qemus->clear_bitmap_shift,
        .trace_holds = ours,
        .trace_clears = kvm && !incoming,
        .no_balloon = step->pattern == DEVICE_NONE,
        .must_tell_host = device_case_skip(step) & SKIP_BALLOON,
        .incoming = incoming,
    };
}

/* Use memory and give it back, piece by piece: there may be more than fits. */
static bool touch_and_inflate(DeviceGuest *guest, const DevicePages *all,
                              GError **error)
{
    const uint64_t most = DEVICE_TOUCH_PIECE / DEVICE_PAGE;

    for (uint64_t done = 0; done < all->run_pages; done += most) {
        DevicePages piece = {
            .start = all->start + done * DEVICE_PAGE,
            .runs = 1,
            .run_pages = MIN(most, all->run_pages - done),
        };

        if (!device_guest_fill(guest, piece.start,
                               piece.run_pages * DEVICE_PAGE, DEVICE_USED,
                               error) ||
            !device_guest_inflate(guest, &piece, DEVICE_MAX_PFNS, NULL,
                                  error)) {
            return false;
        }
    }
    return true;
}

/* The guest as it is before it migrates. */
static bool set_up(DeviceGuest *guest, const DeviceCase *step, GError **error)
{
    DevicePages pages;

    if (!device_guest_fill(guest, DEVICE_RAM_START, step->used, DEVICE_USED,
                           error)) {
        return false;
    }
    if (step->pattern == DEVICE_NONE) {
        return true;
    }
    pages = device_case_pages(step);
    if (!device_guest_drive(guest, device_case_skip(step) & SKIP_BALLOON,
                            error)) {
        return false;
    }
    return step->touched ? touch_and_inflate(guest, &pages, error) :
           device_guest_inflate(guest, &pages, DEVICE_MAX_PFNS, NULL, error);
}

/* Ask, and note how long the answer takes and how much memory is taken. */
static bool poll_once(Vm *source, Measured *measured, GError **error)
{
    gint64 began = g_get_monotonic_time();
    uint64_t private;
    uint64_t page_tables;

    if (!migrate_query(source, &measured->stats, error)) {
        return false;
    }
    measured->longest_wait_us = MAX(measured->longest_wait_us,
                                    g_get_monotonic_time() - began);
    if (!memory_counters_of_process(vm_pid(source), &private, &page_tables,
                                    error)) {
        return false;
    }
    measured->private_most = MAX(measured->private_most, private);
    measured->page_tables_most = MAX(measured->page_tables_most, page_tables);
    return true;
}

static bool is_over(const MigrationStats *stats)
{
    return !strcmp(stats->status, "completed") ||
           !strcmp(stats->status, "failed") ||
           !strcmp(stats->status, "cancelled");
}

static bool watch(Session *session, Vm *source, Vm *destination,
                  Measured *measured, GError **error)
{
    const MigrationStats *stats = &measured->stats;
    Stall stall = { 0 };

    do {
        if (!poll_once(source, measured, error) ||
            session_stalled(session, &stall,
                            stats->transferred + stats->remaining,
                            "the migration has moved nothing", error) ||
            !session_sleep(session, POLL_MS, error)) {
            return false;
        }
        if (stats->total) {
            progress_update(session->progress,
                            1 - (double)stats->remaining / stats->total);
        }
    } while (!is_over(stats));
    /* Says why if it has failed. */
    return migrate_wait(session, source, destination, &measured->stats,
                        error);
}

static bool check_skipped(const DeviceCase *step, const MigrationStats *stats,
                          GError **error)
{
    SkipSet set = device_case_skip(step);

    if (set & SKIP_BALLOON && strcmp(stats->skip_status, "active")) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "QEMU has not skipped the balloon: %s",
                    stats->skip_reason[0] ? stats->skip_reason
                                          : "it does not say why");
        return false;
    }
    if (set & SKIP_BALLOON &&
        stats->skipped_pages < step->ballooned / DEVICE_PAGE / 2) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "QEMU has skipped %" G_GUINT64_FORMAT " of %"
                    G_GUINT64_FORMAT " pages in the balloon",
                    (uint64_t)stats->skipped_pages,
                    step->ballooned / DEVICE_PAGE);
        return false;
    }
    if (set & SKIP_UNPOPULATED && !stats->unpopulated.known) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "QEMU does not tell what it found unpopulated");
        return false;
    }
    return true;
}

/* Under KVM there is a guest, which counts wherever it is. */
static bool check_runs(Session *session, const DeviceCase *step, Vm *vm,
                       GError **error)
{
    g_autoptr(DeviceGuest) guest = NULL;
    Stall stall = { 0 };
    uint32_t before, now;

    if (step->series != DEVICE_KVM) {
        return true;
    }
    guest = device_guest_new(session, vm, step->memory, error);
    if (!guest || !device_guest_read(guest, DEVICE_FIRMWARE_COUNTER, &before,
                                     sizeof(before), error)) {
        return false;
    }
    do {
        if (session_stalled(session, &stall, 0, "the guest does not run",
                            error) ||
            !session_sleep(session, POLL_MS, error) ||
            !device_guest_read(guest, DEVICE_FIRMWARE_COUNTER, &now,
                               sizeof(now), error)) {
            return false;
        }
    } while (now == before);
    return true;
}

static bool migrate(Session *session, const DeviceCase *step, Vm *source,
                    Vm *destination, Measured *measured, GError **error)
{
    return memory_of_process(vm_pid(source), &measured->source_before,
                             error) &&
           migrate_skip(source, destination, device_case_skip(step), error) &&
           migrate_set_bandwidth(source, 0, error) &&
           migrate_start(session, source, destination, error) &&
           watch(session, source, destination, measured, error) &&
           check_skipped(step, &measured->stats, error) &&
           memory_of_process(vm_pid(source), &measured->source_after,
                             error) &&
           memory_of_process(vm_pid(destination),
                             &measured->destination_after, error);
}

/* A line of what QEMU wrote down */
static void read_event(const char *line, Measured *measured)
{
    const char *hold = strstr(line, "skip_bql_end ");
    const char *pass = strstr(line, "; armed ");
    long long us;

    if (hold && sscanf(hold, "%*s %*s %lld", &us) == 1) {
        measured->longest_hold_us = MAX(measured->longest_hold_us, us);
    } else if (pass && sscanf(pass, "; armed %*s windows in %lld", &us) == 1) {
        measured->arm_us += us;
    } else if (strstr(line, "migration_bitmap_clear_dirty ")) {
        measured->clears++;
    }
}

/* Read all of it, and remove it. */
static bool read_trace(Session *session, const VmConfig *config,
                       Measured *measured, GError **error)
{
    g_autofree char *path = vm_trace_path(session, config);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!config->trace_holds && !config->trace_clears) {
        return true;
    }
    if (!g_file_get_contents(path, &text, NULL, error)) {
        g_prefix_error(error, "cannot read what QEMU has traced: ");
        return false;
    }
    unlink(path);
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        read_event(*line, measured);
    }
    return true;
}

static bool measure(Session *session, const DeviceQemus *qemus,
                    const DeviceCase *step, const char *bios,
                    Measured *measured, GError **error)
{
    VmConfig source_config = vm_config(qemus, step, bios, false);
    VmConfig destination_config = vm_config(qemus, step, bios, true);
    g_autoptr(Vm) source = vm_start(session, &source_config, error);
    g_autoptr(DeviceGuest) guest = NULL;
    g_autoptr(Vm) destination = NULL;

    if (!source) {
        return false;
    }
    guest = device_guest_new(session, source, step->memory, error);
    if (!guest || !check_runs(session, step, source, error) ||
        !set_up(guest, step, error)) {
        return false;
    }
    destination = vm_start(session, &destination_config, error);
    return destination &&
           migrate(session, step, source, destination, measured, error) &&
           check_runs(session, step, destination, error) &&
           read_trace(session, &source_config, measured, error) &&
           read_trace(session, &destination_config, measured, error);
}

static JsonObject *new_record(const DeviceCase *step, const char *kind)
{
    JsonObject *record = json_object_new();

    json_object_set_string_member(record, "kind", kind);
    json_object_set_string_member(record, "backend",
                                  backend_name(step->backend));
    json_object_set_string_member(record, "build",
                                  device_build_name(step->build));
    json_object_set_int_member(record, "repetition", step->repetition);
    return record;
}

static void add_case(JsonObject *record, const DeviceCase *step)
{
    json_object_set_string_member(record, "series",
                                  device_series_name(step->series));
    json_object_set_int_member(record, "memory", step->memory);
    json_object_set_int_member(record, "ballooned", step->ballooned);
    json_object_set_int_member(record, "used", step->used);
    json_object_set_string_member(record, "pattern",
                                  device_pattern_name(step->pattern));
    json_object_set_boolean_member(record, "touched", step->touched);
    if (step->pattern != DEVICE_NONE) {
        json_object_set_int_member(record, "runs", step->runs);
    }
}

static void add_stats(JsonObject *record, const MigrationStats *stats)
{
    json_object_set_int_member(record, "total-ms", stats->total_ms);
    json_object_set_int_member(record, "downtime-ms", stats->downtime_ms);
    json_object_set_int_member(record, "setup-ms", stats->setup_ms);
    json_object_set_int_member(record, "transferred", stats->transferred);
    json_object_set_int_member(record, "zero-pages", stats->duplicate);
    json_object_set_int_member(record, "normal-pages", stats->normal);
    if (stats->has_skip) {
        json_object_set_int_member(record, "skipped-pages",
                                   stats->skipped_pages);
        json_object_set_int_member(record, "map-bytes", stats->map_bytes);
        json_object_set_int_member(record, "final-map-bytes",
                                   stats->final_map_bytes);
    }
    if (stats->unpopulated.known) {
        json_object_set_int_member(record, "unpopulated-pages",
                                   stats->unpopulated.skipped_pages);
    }
}

static void add_measured(JsonObject *record, const Measured *measured)
{
    if (measured->longest_hold_us >= 0) {
        json_object_set_double_member(record, "longest-hold-ms",
                                      measured->longest_hold_us / 1e3);
    }
    if (measured->clears) {
        json_object_set_int_member(record, "clears", measured->clears);
    }
    if (measured->arm_us) {
        json_object_set_double_member(record, "arming-ms",
                                      measured->arm_us / 1e3);
    }
    json_object_set_double_member(record, "longest-wait-ms",
                                  measured->longest_wait_us / 1e3);
    json_object_set_int_member(record, "source-before",
                               measured->source_before);
    json_object_set_int_member(record, "source-after",
                               measured->source_after);
    json_object_set_int_member(record, "destination-after",
                               measured->destination_after);
    json_object_set_int_member(record, "qemu-bytes", measured->private_most);
    json_object_set_int_member(record, "page-table-bytes",
                               measured->page_tables_most);
}

bool device_run_migration(Session *session, const DeviceQemus *qemus,
                          const DeviceCase *step, const DeviceSink *sink,
                          GError **error)
{
    Measured measured = { .longest_hold_us = -1 };
    g_autofree char *bios = NULL;
    g_autoptr(JsonObject) record = NULL;

    if (step->series == DEVICE_KVM) {
        bios = device_firmware_write(session, error);
        if (!bios) {
            return false;
        }
    }
    if (!measure(session, qemus, step, bios, &measured, error)) {
        return false;
    }
    record = new_record(step, "device");
    add_case(record, step);
    if (qemus->clear_bitmap_shift) {
        json_object_set_int_member(record, "clear-bitmap-shift",
                                   qemus->clear_bitmap_shift);
    }
    add_stats(record, &measured.stats);
    add_measured(record, &measured);
    return sink->func(record, sink->opaque, error);
}

/* The orders in which rates are measured */
static const struct Order {
    const char *name;
    bool descending;
    unsigned stride;
} orders[] = {
    { "ascending", false, 1 },
    { "descending", true, 1 },
    { "every-other", false, 2 },
};

static bool tell_rate(const DeviceCase *step, const struct Order *order,
                      const char *operation, uint64_t pages, double secs,
                      const DeviceSink *sink, GError **error)
{
    g_autoptr(JsonObject) record = new_record(step, "rate");

    json_object_set_string_member(record, "operation", operation);
    json_object_set_string_member(record, "pattern", order->name);
    json_object_set_int_member(record, "pages", pages);
    json_object_set_double_member(record, "total-ms", secs * 1e3);
    return sink->func(record, sink->opaque, error);
}

/* Of all pages there must be some, but for those that were just given back. */
static bool rate_in_order(DeviceGuest *guest, const DeviceCase *step,
                          const struct Order *order, const DeviceSink *sink,
                          GError **error)
{
    uint64_t start = step->memory - step->ballooned;
    uint64_t n = step->ballooned / DEVICE_PAGE / order->stride;
    DevicePages pages = {
        .start = start,
        .runs = order->stride > 1 ? n : 1,
        .run_pages = order->stride > 1 ? 1 : n,
        .stride = order->stride,
        .descending = order->descending,
    };
    double inflate;
    double deflate;

    return device_guest_fill(guest, start, step->ballooned, DEVICE_USED,
                             error) &&
           device_guest_inflate(guest, &pages, DEVICE_LINUX_PFNS, &inflate,
                                error) &&
           device_guest_deflate(guest, &pages, DEVICE_LINUX_PFNS, &deflate,
                                error) &&
           tell_rate(step, order, "inflate", n, inflate, sink, error) &&
           tell_rate(step, order, "deflate", n, deflate, sink, error);
}

bool device_run_rate(Session *session, const DeviceQemus *qemus,
                     const DeviceCase *step, const DeviceSink *sink,
                     GError **error)
{
    VmConfig config = vm_config(qemus, step, NULL, false);
    g_autoptr(Vm) vm = NULL;
    g_autoptr(DeviceGuest) guest = NULL;

    config.trace_holds = false;
    vm = vm_start(session, &config, error);
    if (!vm) {
        return false;
    }
    guest = device_guest_new(session, vm, step->memory, error);
    if (!guest || !device_guest_drive(guest, config.must_tell_host, error)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++) {
        if (!rate_in_order(guest, step, &orders[i], sink, error)) {
            return false;
        }
    }
    return true;
}
