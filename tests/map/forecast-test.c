/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is forecast of migrations, and what they then do: real QEMUs. */
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/size.h"
#include "bench/device-guest.h"
#include "map/forecast.h"
#include "qemu/migration.h"

#define MEMORY (64 * SIZE_MIB)
#define USED (8 * SIZE_MIB)
#define BALLOONED (32 * SIZE_MIB)
/* What the bounds may be off, such as by firmware */
#define SETTLED_POLLS 8
#define SETTLED_POLL_US 20000
#define NEAR (4 * SIZE_MIB)
/* What the devices are in the stream, which is no RAM */
#define DEVICES (256 * SIZE_KIB)
/* What a QEMU takes for itself while a guest comes in */
#define OVERHEAD (8 * SIZE_MIB)

/* Which memory the guest gave back, and whether it used it before or after */
typedef enum Shape {
    SHAPE_NONE,                 /* there is no balloon */
    SHAPE_EMPTY,                /* it took nothing */
    SHAPE_WHOLE,                /* one run, which was used before */
    SHAPE_FRESH,                /* one run that was never used */
    SHAPE_EVERY_OTHER,          /* every other page of what was used */
    SHAPE_BROKEN,               /* half of it written to, without telling */
    SHAPE_ZEROES,               /* none: it is populated, and holds zeroes */
    SHAPES
} Shape;

static const char *const shape_names[] = {
    "none", "empty", "whole", "fresh", "every-other", "broken", "zeroes",
};

typedef struct Case {
    Backend backend;
    SkipSet skip;
    Shape shape;
    bool untold;                /* MUST_TELL_HOST is not negotiated */
} Case;

static char **firmware;

static const char *qemu_path(void)
{
    const char *named = g_getenv("QEMU_BINARY");

    return named && named[0] ? named : BUILD_DIR "/bin/qemu-system-x86_64";
}

static Vm *start(Session *session, const Case *c, bool incoming)
{
    g_autofree char *socket = session_path(session, "extra.sock");
    g_autofree char *qmp = g_strdup_printf("unix:%s,server=on,wait=off",
                                           socket);
    const char *options[] = { "-qmp", qmp, NULL };
    const VmConfig config = {
        .name = incoming ? "destination" : "source",
        .qemu = qemu_path(),
        .firmware = (const char *const *)firmware,
        .memory = MEMORY,
        .backend = c->backend,
        .device_level = true,
        .no_balloon = c->shape == SHAPE_NONE,
        .must_tell_host = true,
        .incoming = incoming,
        .options = incoming ? NULL : options,
    };
    g_autoptr(GError) error = NULL;
    Vm *vm = vm_start(session, &config, &error);

    g_assert_no_error(error);
    return vm;
}

static void set_up(DeviceGuest *guest, const Case *c)
{
    DevicePages pages = {
        .start = MEMORY - BALLOONED,
        .runs = 1,
        .run_pages = BALLOONED / DEVICE_PAGE,
    };
    g_autoptr(GError) error = NULL;

    device_guest_fill(guest, DEVICE_RAM_START, USED, DEVICE_USED, &error);
    g_assert_no_error(error);
    if (c->shape == SHAPE_NONE) {
        return;
    }
    if (c->shape >= SHAPE_WHOLE && c->shape != SHAPE_FRESH) {
        device_guest_fill(guest, pages.start, BALLOONED,
                          c->shape == SHAPE_ZEROES ? 0 : DEVICE_USED, &error);
        g_assert_no_error(error);
    }
    device_guest_drive(guest, !c->untold, &error);
    g_assert_no_error(error);
    if (c->shape == SHAPE_EVERY_OTHER) {
        pages.runs = BALLOONED / DEVICE_PAGE / 2;
        pages.run_pages = 1;
        pages.stride = 2;
    }
    if (c->shape != SHAPE_EMPTY && c->shape != SHAPE_ZEROES) {
        device_guest_inflate(guest, &pages, DEVICE_MAX_PFNS, NULL, &error);
        g_assert_no_error(error);
    }
    if (c->shape == SHAPE_BROKEN) {
        device_guest_fill(guest, pages.start, BALLOONED / 2, DEVICE_USED,
                          &error);
        g_assert_no_error(error);
    }
}

static Forecast *look(Session *session)
{
    MonitorAddress address = { .socket = session_path(session, "extra.sock") };
    g_autoptr(GError) error = NULL;
    g_autoptr(Monitor) monitor = monitor_open(session, &address, &error);
    g_autoptr(QemuState) state = NULL;
    Forecast *forecast;

    g_assert_no_error(error);
    state = qemu_state_ask(monitor, &error);
    g_assert_no_error(error);
    forecast = forecast_make(state, &error);
    g_assert_no_error(error);
    monitor_address_clear(&address);
    return forecast;
}

static uint64_t memory_of(const Vm *vm)
{
    g_autoptr(GError) error = NULL;
    uint64_t bytes;

    memory_of_process(vm_pid(vm), &bytes, &error);
    g_assert_no_error(error);
    return bytes;
}

/* QEMU gives back what it freed as it started, a moment later (malloc_trim). */
static uint64_t settled_memory_of(const Vm *vm)
{
    uint64_t bytes = memory_of(vm);

    for (unsigned still = 0; still < SETTLED_POLLS; still++) {
        uint64_t now;

        g_usleep(SETTLED_POLL_US);
        now = memory_of(vm);
        if (now < bytes) {
            still = 0;
        }
        bytes = now;
    }
    return bytes;
}

/* A forecast of what is at most, and how far from it things may be. */
static void assert_below(const char *what, uint64_t actual, uint64_t most,
                         uint64_t slack)
{
    g_test_message("%s: %" G_GUINT64_FORMAT " KiB, forecast %"
                   G_GUINT64_FORMAT " KiB", what, actual / SIZE_KIB,
                   most / SIZE_KIB);
    g_assert_cmpuint(actual, <=, most);
    g_assert_cmpuint(actual + slack, >=, most);
}

static void check_status(const Case *c, const Forecast *forecast,
                         const MigrationStats *stats)
{
    if (!(c->skip & SKIP_BALLOON)) {
        g_assert_cmpint(forecast->balloon.reason, ==,
                        FORECAST_CAPABILITY_OFF);
        return;
    }
    if (forecast->balloon.reason == FORECAST_ACTIVE) {
        g_assert_cmpstr(stats->skip_status, ==, "active");
    } else {
        g_assert_cmpstr(stats->skip_status, ==, "disabled");
        g_assert_cmpstr(stats->skip_reason, ==,
                        forecast_reason_name(forecast->balloon.reason));
    }
}

static void check(const Case *c, const Forecast *forecast,
                  const MigrationStats *stats, uint64_t taken)
{
    uint64_t skipped = stats->skipped_bytes +
                       stats->unpopulated.skipped_bytes;

    check_status(c, forecast, stats);
    g_assert_cmpuint(skipped, >=, forecast->would_skip);
    g_assert_cmpuint(skipped, <=, forecast->would_skip + NEAR);
    assert_below("sent", stats->transferred, forecast->would_send + DEVICES,
                 NEAR);
    g_test_message("taken: %" G_GUINT64_FORMAT " KiB, forecast %"
                   G_GUINT64_FORMAT " KiB", taken / SIZE_KIB,
                   forecast->destination / SIZE_KIB);
    g_assert_cmpuint(taken, <=, forecast->destination + OVERHEAD);
    g_assert_cmpuint(taken + NEAR, >=, forecast->destination);
}

static void run_case(Session *session, const Case *c)
{
    g_autoptr(Vm) source = start(session, c, false);
    g_autoptr(Vm) destination = start(session, c, true);
    g_autoptr(GError) error = NULL;
    g_autoptr(DeviceGuest) guest = device_guest_new(session, source, MEMORY,
                                                    &error);
    g_autoptr(Forecast) forecast = NULL;
    MigrationStats stats;
    uint64_t before;

    g_assert_no_error(error);
    set_up(guest, c);
    before = settled_memory_of(destination);
    migrate_skip(source, destination, c->skip, &error);
    g_assert_no_error(error);
    forecast = look(session);
    migrate_set_bandwidth(source, 0, &error);
    g_assert_no_error(error);
    migrate_start(session, source, destination, &error);
    g_assert_no_error(error);
    migrate_wait(session, source, destination, &stats, &error);
    g_assert_no_error(error);
    check(c, forecast, &stats, memory_of(destination) - before);
}

static bool is_possible(const Case *c)
{
    if (access(qemu_path(), X_OK)) {
        g_test_skip("there is no QEMU");
        return false;
    }
    if (c->backend == BACKEND_HUGETLB &&
        memory_free_huge_pages() < 2 * MEMORY / (2 * SIZE_MIB)) {
        g_test_skip("there are too few huge pages");
        return false;
    }
    return true;
}

static void test_case(gconstpointer opaque)
{
    const Case *c = opaque;
    g_autoptr(Session) session = NULL;

    if (is_possible(c)) {
        session = session_new(NULL, 60, NULL);
        g_assert_nonnull(session);
        run_case(session, c);
    }
}

static void add(Backend backend, SkipSet skip, Shape shape, bool untold)
{
    Case *c = g_new0(Case, 1);
    g_autofree char *title = skip ? skip_set_title(skip) : g_strdup("off");
    g_autofree char *name = g_strdup_printf(
        "/forecast/%s/%s/%s%s", backend_name(backend), title,
        shape_names[shape], untold ? "/untold" : "");

    *c = (Case) { backend, skip, shape, untold };
    g_test_add_data_func_full(name, c, test_case, g_free);
}

int main(int argc, char **argv)
{
    const char *dirs = g_getenv("SB_FIRMWARE");

    g_test_init(&argc, &argv, NULL);
    firmware = dirs ? g_strsplit(dirs, ":", -1) : NULL;
    for (Backend backend = BACKEND_ANON; backend <= BACKEND_HUGETLB;
         backend++) {
        for (SkipSet skip = SKIP_NOTHING; skip <= SKIP_BOTH; skip++) {
            add(backend, skip, SHAPE_WHOLE, false);
        }
        add(backend, SKIP_BOTH, SHAPE_EVERY_OTHER, false);
        add(backend, SKIP_BALLOON, SHAPE_BROKEN, false);
        add(backend, SKIP_BALLOON, SHAPE_FRESH, false);
        add(backend, SKIP_BALLOON, SHAPE_EMPTY, false);
        add(backend, SKIP_BALLOON, SHAPE_NONE, false);
        add(backend, SKIP_BOTH, SHAPE_WHOLE, true);
        add(backend, SKIP_BALLOON, SHAPE_WHOLE, true);
    }
    /* Elsewhere they may become a part of a huge page, which counts then. */
    add(BACKEND_MEMFD, SKIP_BOTH, SHAPE_ZEROES, false);
    add(BACKEND_MEMFD, SKIP_BALLOON, SHAPE_ZEROES, false);
    return g_test_run();
}
