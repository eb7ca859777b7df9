/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "bench/device-bench.h"
#include "tests/qemu/fake-qemu.h"

#define STALL_SECS 60
#define MEMORY (256 * SIZE_MIB)
#define BALLOONED (128 * SIZE_MIB)
#define USED (64 * SIZE_MIB)
/* Each migration takes along some that is not RAM of the guest. */
#define FIRMWARE_PAGES 4096

static char **firmware;

static const char *setting(const char *variable, const char *preset)
{
    const char *value = g_getenv(variable);

    return value && value[0] ? value : preset;
}

static const char *qemu_path(void)
{
    return setting("QEMU_BINARY", BUILD_DIR "/bin/qemu-system-x86_64");
}

static const char *stock_path(void)
{
    return setting("QEMU_STOCK_BINARY",
                   BUILD_DIR "/bin/qemu-system-x86_64-stock");
}

/* Skips the test, and returns false, if there is one that is not there. */
static bool have_qemus(void)
{
    const char *missing = access(qemu_path(), X_OK) ? qemu_path() :
                          access(stock_path(), X_OK) ? stock_path() : NULL;
    g_autofree char *why = g_strdup_printf("there is no %s", missing);

    if (missing) {
        g_test_skip(why);
    }
    return !missing;
}

static Session *new_session(unsigned stall_secs)
{
    g_autoptr(GError) error = NULL;
    Session *session = session_new(NULL, stall_secs, &error);

    g_assert_no_error(error);
    return session;
}

/* ---- The plan ---- */

/* The patterns leave the driver's and the used memory alone, and fit. */
static void check_step(const DeviceCase *step)
{
    DevicePages pages;
    uint64_t end;

    g_assert_cmpuint(device_case_memory(step), >, step->used);
    g_assert_cmpfloat(device_case_seconds(step), >, 0);
    if (step->pattern == DEVICE_NONE) {
        g_assert_cmpuint(step->ballooned, ==, 0);
        return;
    }
    pages = device_case_pages(step);
    g_assert_cmpuint(pages.runs * pages.run_pages * DEVICE_PAGE, ==,
                     step->ballooned);
    g_assert_cmpuint(pages.runs, ==, step->runs);
    g_assert_cmpuint(pages.start, >=, DEVICE_RAM_START + step->used);
    end = pages.start + ((pages.runs - 1) * pages.stride + pages.run_pages) *
          DEVICE_PAGE;
    g_assert_cmpuint(end, <=, step->memory);
    if (step->pattern == DEVICE_WHOLE) {
        g_assert_cmpuint(end, ==, step->memory);
    } else {
        g_assert_cmpuint(pages.stride, >, pages.run_pages);
    }
}

static void test_profile(gconstpointer opaque)
{
    unsigned count;
    const DeviceEntry *entries = device_profile(GPOINTER_TO_INT(opaque),
                                                &count);
    g_autoptr(GArray) plan = device_plan(entries, count, DEVICE_ALL_SERIES,
                                         0);
    unsigned repetition = 1;

    for (unsigned i = 0; i < plan->len; i++) {
        const DeviceCase *step = &g_array_index(plan, DeviceCase, i);

        check_step(step);
        g_assert_cmpuint(step->repetition, >=, repetition);
        repetition = step->repetition;
    }
    g_assert_cmpuint(repetition, >, 1);
}

static void test_plan_choice(void)
{
    const DeviceEntry entries[] = {
        { DEVICE_SCALE, 1 << BACKEND_ANON | 1 << BACKEND_MEMFD,
          DEVICE_UNMODIFIED | DEVICE_BOTH, DEVICE_WHOLE, SIZE_GIB,
          SIZE_GIB / 2, 0, 3, false },
        { DEVICE_RATE, 1 << BACKEND_MEMFD, DEVICE_SKIP_BALLOON, DEVICE_WHOLE,
          SIZE_GIB, SIZE_GIB / 2, 0, 1, false },
    };
    g_autoptr(GArray) all = device_plan(entries, 2, DEVICE_ALL_SERIES, 0);
    g_autoptr(GArray) once = device_plan(entries, 2, DEVICE_ALL_SERIES, 1);
    g_autoptr(GArray) rate = device_plan(entries, 2, DEVICE_RATE, 0);
    const DeviceCase *steps = (const DeviceCase *)all->data;

    g_assert_cmpuint(all->len, ==, 3 * 4 + 1);
    g_assert_cmpuint(once->len, ==, 4 + 1);
    g_assert_cmpuint(rate->len, ==, 1);
    g_assert_cmpint(steps[0].build, ==, DEVICE_UNMODIFIED);
    g_assert_cmpint(steps[1].build, ==, DEVICE_BOTH);
    g_assert_cmpint(steps[1].backend, ==, BACKEND_ANON);
    g_assert_cmpint(steps[3].backend, ==, BACKEND_MEMFD);
    g_assert_cmpint(steps[4].series, ==, DEVICE_RATE);
    g_assert_cmpuint(steps[5].repetition, ==, 2);
}

/* Without the capability shared memory gets populated, at both ends. */
static void test_plan_memory(void)
{
    DeviceCase step = {
        .series = DEVICE_SCALE,
        .backend = BACKEND_MEMFD,
        .build = DEVICE_UNMODIFIED,
        .pattern = DEVICE_WHOLE,
        .memory = 64 * SIZE_GIB,
        .ballooned = 32 * SIZE_GIB,
        .used = USED,
        .runs = 1,
    };

    g_assert_cmpuint(device_case_memory(&step), >, 128 * SIZE_GIB);
    step.build = DEVICE_SKIP_BALLOON;
    g_assert_cmpuint(device_case_memory(&step), >, 64 * SIZE_GIB);
    g_assert_cmpuint(device_case_memory(&step), <, 66 * SIZE_GIB);
    step.build = DEVICE_BOTH;
    g_assert_cmpuint(device_case_memory(&step), <, SIZE_GIB);
    step.build = DEVICE_UNMODIFIED;
    step.backend = BACKEND_ANON;
    g_assert_cmpuint(device_case_memory(&step), <, SIZE_GIB);
}

/* ---- The driver ---- */

typedef struct Driven {
    Session *session;
    Vm *vm;
    DeviceGuest *guest;
} Driven;

static VmConfig vm_config(uint64_t memory)
{
    return (VmConfig) {
        .name = "test",
        .qemu = qemu_path(),
        .firmware = (const char *const *)firmware,
        .memory = memory,
        .backend = BACKEND_MEMFD,
        .device_level = true,
        .must_tell_host = true,
    };
}

static void start(Driven *driven, const VmConfig *config, unsigned stall_secs)
{
    g_autoptr(GError) error = NULL;

    driven->session = new_session(stall_secs);
    driven->vm = vm_start(driven->session, config, &error);
    g_assert_no_error(error);
    driven->guest = device_guest_new(driven->session, driven->vm,
                                     config->memory, &error);
    g_assert_no_error(error);
}

static void end(Driven *driven)
{
    device_guest_free(driven->guest);
    vm_free(driven->vm);
    session_free(driven->session);
}

static void drive(Driven *driven)
{
    g_autoptr(GError) error = NULL;

    device_guest_drive(driven->guest, true, &error);
    g_assert_no_error(error);
}

static void assert_map(Driven *driven, uint64_t pages, uint64_t runs,
                       uint64_t first, uint64_t first_length)
{
    g_autoptr(GError) error = NULL;
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) result = NULL;
    JsonObject *block;
    JsonObject *run;

    json_object_set_string_member(arguments, "id", "ram0");
    json_object_set_int_member(arguments, "max-runs", 65536);
    result = vm_execute(driven->vm, "query-balloon-map", arguments, &error);
    g_assert_no_error(error);
    block = json_array_get_object_element(json_node_get_array(result), 0);
    g_assert_cmpuint(json_object_get_int_member(block, "pages"), ==, pages);
    g_assert_cmpuint(json_array_get_length(
                         json_object_get_array_member(block, "runs")), ==,
                     runs);
    if (runs) {
        run = json_array_get_object_element(
            json_object_get_array_member(block, "runs"), 0);
        g_assert_cmpuint(json_object_get_int_member(run, "offset"), ==,
                         first);
        g_assert_cmpuint(json_object_get_int_member(run, "length"), ==,
                         first_length);
    }
}

static void inflate(Driven *driven, const DevicePages *pages,
                    unsigned request_pfns)
{
    g_autoptr(GError) error = NULL;
    double secs = -1;

    device_guest_inflate(driven->guest, pages, request_pfns, &secs, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(secs, >=, 0);
}

static void test_order(void)
{
    const DevicePages up = { .start = SIZE_GIB, .runs = 3, .run_pages = 2,
                             .stride = 5 };
    static const unsigned want[] = { 0, 1, 5, 6, 10, 11 };
    DevicePages down = up;

    down.descending = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(want); i++) {
        uint64_t offset = SIZE_GIB + want[i] * DEVICE_PAGE;

        g_assert_cmpuint(device_page_offset(&up, i), ==, offset);
        g_assert_cmpuint(device_page_offset(&down, 5 - i), ==, offset);
    }
}

static void test_pattern(gconstpointer opaque)
{
    const DevicePages *pages = opaque;
    uint64_t all = pages->runs * pages->run_pages;
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    start(&driven, &config, STALL_SECS);
    drive(&driven);
    inflate(&driven, pages, DEVICE_LINUX_PFNS);
    assert_map(&driven, all, pages->runs, pages->start,
               pages->run_pages * DEVICE_PAGE);
    device_guest_deflate(driven.guest, pages, DEVICE_LINUX_PFNS, NULL,
                         &error);
    g_assert_no_error(error);
    assert_map(&driven, 0, 0, 0, 0);
    inflate(&driven, pages, DEVICE_MAX_PFNS);
    assert_map(&driven, all, pages->runs, pages->start,
               pages->run_pages * DEVICE_PAGE);
    end(&driven);
}

/* What is above 3 GiB has addresses from 4 GiB on. */
static void test_high_memory(void)
{
    const DevicePages pages = {
        .start = 2 * SIZE_GIB,
        .runs = 1,
        .run_pages = 3 * SIZE_GIB / DEVICE_PAGE,
    };
    VmConfig config = vm_config(5 * SIZE_GIB);
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    start(&driven, &config, STALL_SECS);
    drive(&driven);
    inflate(&driven, &pages, DEVICE_MAX_PFNS);
    assert_map(&driven, pages.run_pages, 1, pages.start, 3 * SIZE_GIB);
    end(&driven);
}

static void test_fill(void)
{
    const DevicePages pages = {
        .start = BALLOONED,
        .runs = 1,
        .run_pages = USED / DEVICE_PAGE,
    };
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    uint64_t before, filled, after;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    start(&driven, &config, STALL_SECS);
    drive(&driven);
    g_assert_true(memory_of_process(vm_pid(driven.vm), &before, NULL));
    device_guest_fill(driven.guest, pages.start, USED, DEVICE_USED, &error);
    g_assert_no_error(error);
    g_assert_true(memory_of_process(vm_pid(driven.vm), &filled, NULL));
    inflate(&driven, &pages, DEVICE_LINUX_PFNS);
    g_assert_true(memory_of_process(vm_pid(driven.vm), &after, NULL));
    /* QEMU takes and gives back some memory of its own meanwhile. */
    g_assert_cmpuint(filled, >, before + USED / 4 * 3);
    g_assert_cmpuint(after, <, before + USED / 4);
    end(&driven);
}

/* ---- Results ---- */

static bool keep(JsonObject *record, void *opaque, GError **error)
{
    (void)error;
    g_ptr_array_add(opaque, json_object_ref(record));
    return true;
}

static bool refuse(JsonObject *record, void *opaque, GError **error)
{
    (void)record;
    (void)opaque;
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE, "the disk is full");
    return false;
}

static GPtrArray *bench_with_shift(const DeviceEntry *entry, unsigned shift,
                                   uint64_t max_memory, GError **error)
{
    g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func(
        (GDestroyNotify)json_object_unref);
    g_autoptr(GArray) plan = device_plan(entry, 1, DEVICE_ALL_SERIES, 0);
    g_autoptr(Session) session = new_session(STALL_SECS);
    DeviceBenchConfig config = {
        .qemus = { qemu_path(), stock_path(),
                   (const char *const *)firmware, shift },
        .steps = (const DeviceCase *)plan->data,
        .n_steps = plan->len,
        .max_memory = max_memory,
    };
    DeviceSink sink = { .func = keep, .opaque = records };

    return device_bench_run(session, &config, &sink, error) ?
           g_steal_pointer(&records) : NULL;
}

static GPtrArray *bench(const DeviceEntry *entry, uint64_t max_memory,
                        GError **error)
{
    return bench_with_shift(entry, 0, max_memory, error);
}

static int64_t number(JsonObject *record, const char *member)
{
    g_assert_true(json_object_has_member(record, member));
    return json_object_get_int_member(record, member);
}

static const char *text(JsonObject *record, const char *member)
{
    g_assert_true(json_object_has_member(record, member));
    return json_object_get_string_member(record, member);
}

static void check_members(JsonObject *record, const DeviceEntry *entry,
                          uint64_t runs)
{
    static const char *const positive[] = {
        "total-ms", "transferred", "zero-pages", "longest-wait-ms",
        "source-before", "source-after", "destination-after", "qemu-bytes",
        "page-table-bytes",
    };

    g_assert_cmpstr(text(record, "kind"), ==, "device");
    g_assert_cmpstr(text(record, "series"), ==,
                    device_series_name(entry->series));
    g_assert_cmpuint(number(record, "repetition"), ==, 1);
    g_assert_cmpuint(number(record, "memory"), ==, entry->memory);
    g_assert_cmpuint(number(record, "used"), ==, USED);
    g_assert_cmpuint(number(record, "ballooned"), ==, entry->ballooned);
    g_assert_cmpstr(text(record, "pattern"), ==,
                    device_pattern_name(entry->pattern));
    g_assert_true(json_object_get_boolean_member(record, "touched") ==
                  entry->touched);
    g_assert_cmpint(number(record, "setup-ms"), >=, 0);
    g_assert_cmpint(number(record, "downtime-ms"), >=, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(positive); i++) {
        g_assert_true(json_object_has_member(record, positive[i]));
        g_assert_cmpfloat(json_object_get_double_member(record, positive[i]),
                          >, 0);
    }
    g_assert_cmpuint(number(record, "transferred"), >, USED);
    g_assert_cmpuint(number(record, "source-before"), >, USED);
    if (entry->pattern == DEVICE_NONE) {
        g_assert_false(json_object_has_member(record, "runs"));
    } else {
        g_assert_cmpuint(number(record, "runs"), ==, runs);
    }
}

/* What skipped what, and what that saved */
static void check_skipped(JsonObject *record, const DeviceEntry *entry)
{
    const char *build = text(record, "build");
    bool balloon = !strcmp(build, "skip-balloon") || !strcmp(build, "both");
    bool unpopulated = !strcmp(build, "skip-unpopulated") ||
                       !strcmp(build, "both");
    uint64_t empty = entry->memory - USED - DEVICE_RAM_START;
    uint64_t skipped = balloon ? entry->ballooned : 0;

    g_assert_true(balloon == json_object_has_member(record, "map-bytes"));
    g_assert_true((balloon || unpopulated) ==
                  json_object_has_member(record, "longest-hold-ms"));
    if (balloon) {
        g_assert_cmpuint(number(record, "skipped-pages"), ==,
                         entry->ballooned / DEVICE_PAGE);
        g_assert_cmpint(number(record, "final-map-bytes"), >, 0);
        g_assert_cmpint(number(record, "map-bytes"), >,
                        number(record, "final-map-bytes"));
    }
    if (unpopulated) {
        g_assert_cmpuint(number(record, "unpopulated-pages"), >=,
                         (empty - skipped) / DEVICE_PAGE);
        skipped = empty;
    }
    g_assert_cmpuint(number(record, "zero-pages"), >=,
                     (empty - skipped) / DEVICE_PAGE);
    g_assert_cmpuint(number(record, "zero-pages"), <,
                     (empty - skipped) / DEVICE_PAGE + FIRMWARE_PAGES);
    if (!strcmp(text(record, "backend"), "memfd")) {
        g_assert_cmpuint(number(record, "source-after"), >=,
                         entry->memory - skipped - DEVICE_RAM_START);
        g_assert_cmpuint(number(record, "destination-after"), <,
                         entry->memory - skipped + 100 * SIZE_MIB);
    }
}

static void check_migrations(DevicePattern pattern, unsigned builds,
                             uint64_t ballooned, uint64_t runs, bool touched)
{
    const DeviceEntry entry = {
        DEVICE_SCALE, 1 << BACKEND_ANON | 1 << BACKEND_MEMFD, builds, pattern,
        MEMORY, ballooned, runs, 1, touched,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) records = NULL;

    if (!have_qemus()) {
        return;
    }
    records = bench(&entry, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(records->len, ==, 2 * __builtin_popcount(builds));
    for (unsigned i = 0; i < records->len; i++) {
        check_members(records->pdata[i], &entry, runs);
        check_skipped(records->pdata[i], &entry);
    }
}

static void test_whole(void)
{
    check_migrations(DEVICE_WHOLE, DEVICE_ALL_BUILDS, BALLOONED, 1, false);
}

static void test_touched(void)
{
    check_migrations(DEVICE_WHOLE, DEVICE_ALL_BUILDS, BALLOONED, 1, true);
}

static void test_every_other(void)
{
    check_migrations(DEVICE_EVERY_OTHER, DEVICE_BOTH, BALLOONED / 2,
                     BALLOONED / 2 / DEVICE_PAGE, false);
}

static void test_runs(void)
{
    check_migrations(DEVICE_SOME_RUNS, DEVICE_BOTH | DEVICE_SKIP_BALLOON,
                     BALLOONED / 2, 16, false);
}

static void test_no_balloon(void)
{
    check_migrations(DEVICE_NONE, DEVICE_SKIP_UNPOPULATED | DEVICE_UNMODIFIED,
                     0, 0, false);
}

/* ---- Under KVM ---- */

/* Skips the test, and returns false, if this host has no KVM to be used. */
static bool have_kvm(void)
{
    bool have = !access("/dev/kvm", R_OK | W_OK);

    if (!have) {
        g_test_skip("/dev/kvm cannot be used");
    }
    return have;
}

/* The dirty log of all memory is cleared, by either, in chunks of @chunk. */
static void check_clears(JsonObject *record, uint64_t chunk)
{
    bool ours = strcmp(text(record, "build"), "unmodified");

    g_assert_cmpuint(number(record, "clears"), >=,
                     (MEMORY + chunk - 1) / chunk);
    g_assert_true(ours == json_object_has_member(record, "arming-ms"));
    if (ours) {
        g_assert_cmpfloat(json_object_get_double_member(record, "arming-ms"),
                          <, number(record, "total-ms") + 1);
    }
}

/* A guest runs, and goes on running on the destination, or this fails. */
static void test_kvm(gconstpointer opaque)
{
    unsigned shift = GPOINTER_TO_UINT(opaque);
    const DeviceEntry entry = {
        DEVICE_KVM, 1 << BACKEND_ANON | 1 << BACKEND_MEMFD,
        DEVICE_UNMODIFIED | DEVICE_BOTH, DEVICE_WHOLE, MEMORY, BALLOONED, 0,
        1, false,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) records = NULL;

    if (!have_qemus() || !have_kvm()) {
        return;
    }
    records = bench_with_shift(&entry, shift, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(records->len, ==, 4);
    for (unsigned i = 0; i < records->len; i++) {
        JsonObject *record = records->pdata[i];

        check_members(record, &entry, 1);
        check_skipped(record, &entry);
        check_clears(record, shift ? DEVICE_PAGE << shift : SIZE_GIB);
        g_assert_true(!!shift ==
                      json_object_has_member(record, "clear-bitmap-shift"));
    }
}

static void test_rate(void)
{
    static const char *const patterns[] = {
        "ascending", "descending", "every-other",
    };
    const DeviceEntry entry = {
        DEVICE_RATE, 1 << BACKEND_ANON | 1 << BACKEND_MEMFD,
        DEVICE_UNMODIFIED | DEVICE_SKIP_BALLOON, DEVICE_WHOLE, MEMORY,
        BALLOONED / 4, 0, 1, false,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) records = NULL;

    if (!have_qemus()) {
        return;
    }
    records = bench(&entry, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(records->len, ==, 4 * 6);
    for (unsigned i = 0; i < records->len; i++) {
        JsonObject *record = records->pdata[i];
        unsigned order = i % 6 / 2;

        g_assert_cmpstr(text(record, "kind"), ==, "rate");
        g_assert_cmpstr(text(record, "backend"), ==,
                        i < 12 ? "anon" : "memfd");
        g_assert_cmpstr(text(record, "build"), ==,
                        i / 6 % 2 ? "skip-balloon" : "unmodified");
        g_assert_cmpstr(text(record, "operation"), ==,
                        i % 2 ? "deflate" : "inflate");
        g_assert_cmpstr(text(record, "pattern"), ==, patterns[order]);
        g_assert_cmpuint(number(record, "pages"), ==,
                         BALLOONED / 4 / DEVICE_PAGE / (order == 2 ? 2 : 1));
        g_assert_cmpfloat(json_object_get_double_member(record, "total-ms"),
                          >, 0);
    }
}

/* Named once, however often it was to be done */
static void test_left_out(void)
{
    const DeviceEntry entry = {
        DEVICE_SCALE, 1 << BACKEND_MEMFD, DEVICE_UNMODIFIED | DEVICE_BOTH,
        DEVICE_WHOLE, 1024 * SIZE_GIB, 512 * SIZE_GIB, 0, 2, false,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) records = bench(&entry, SIZE_MIB, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(records->len, ==, 2);
    g_assert_cmpstr(text(records->pdata[0], "kind"), ==, "left-out");
    g_assert_cmpstr(text(records->pdata[0], "case"), ==,
                    "scale 1 TiB, whole, memfd, unmodified");
    g_assert_cmpstr(text(records->pdata[1], "case"), ==,
                    "scale 1 TiB, whole, memfd, both");
    g_assert_true(g_str_has_prefix(text(records->pdata[0], "reason"),
                                   "takes up to "));
    g_assert_nonnull(strstr(text(records->pdata[0], "reason"),
                            " of memory, there are 1 MiB to use"));
}

/* ---- Errors ---- */

static void test_death(void)
{
    const DevicePages pages = { .start = BALLOONED, .runs = 1,
                                .run_pages = 1 };
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    start(&driven, &config, STALL_SECS);
    drive(&driven);
    kill(vm_pid(driven.vm), SIGKILL);
    g_assert_false(device_guest_inflate(driven.guest, &pages, 1, NULL,
                                        &error) &&
                   device_guest_inflate(driven.guest, &pages, 1, NULL,
                                        &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_PROCESS);
    end(&driven);
}

static void test_no_device(void)
{
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    config.no_balloon = true;
    start(&driven, &config, STALL_SECS);
    g_assert_false(device_guest_drive(driven.guest, true, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_MISSING);
    g_assert_nonnull(strstr(error->message, "no balloon device"));
    end(&driven);
}

static void test_no_feature(void)
{
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    config.qemu = stock_path();
    config.must_tell_host = false;
    start(&driven, &config, STALL_SECS);
    g_assert_false(device_guest_drive(driven.guest, true, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_MISSING);
    g_assert_nonnull(strstr(error->message, "MUST_TELL_HOST"));
    end(&driven);
}

/* A device that was reset does not serve what it is notified of. */
static void test_silent_device(void)
{
    const uint16_t status_register = 0xc000 + 18;
    const DevicePages pages = { .start = BALLOONED, .runs = 1,
                                .run_pages = 1 };
    VmConfig config = vm_config(MEMORY);
    g_autoptr(GError) error = NULL;
    Driven driven;

    if (!have_qemus()) {
        return;
    }
    start(&driven, &config, 1);
    drive(&driven);
    inflate(&driven, &pages, 1);
    g_assert_true(qtest_out(vm_qtest(driven.vm), status_register, 1, 0,
                            NULL));
    g_assert_false(device_guest_inflate(driven.guest, &pages, 1, NULL,
                                        &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "has served nothing"));
    end(&driven);
}

/* In place of a QEMU that was built without it */
static void test_no_qtest(void)
{
    static const char script[] =
        "#!/bin/sh\necho 'invalid accelerator qtest' >&2\nexit 1\n";
    const DeviceCase step = {
        .series = DEVICE_SCALE,
        .build = DEVICE_BOTH,
        .memory = MEMORY,
        .repetition = 1,
    };
    g_autoptr(Session) session = new_session(STALL_SECS);
    g_autofree char *path = session_path(session, "qemu");
    DeviceBenchConfig config = {
        .qemus = { path, path, NULL },
        .steps = &step,
        .n_steps = 1,
    };
    DeviceSink sink = { .func = refuse };
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(path, script, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
    g_assert_false(device_bench_run(session, &config, &sink, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_PROCESS);
    g_assert_nonnull(strstr(error->message, "invalid accelerator qtest"));
    g_assert_nonnull(strstr(error->message, "scale 256 MiB, none"));
}

static void test_full_sink(void)
{
    const DeviceCase step = {
        .series = DEVICE_SCALE,
        .memory = 1024 * SIZE_GIB,
        .build = DEVICE_BOTH,
        .repetition = 1,
    };
    g_autoptr(Session) session = new_session(STALL_SECS);
    DeviceBenchConfig config = {
        .steps = &step,
        .n_steps = 1,
        .max_memory = 1,
    };
    DeviceSink sink = { .func = refuse };
    g_autoptr(GError) error = NULL;

    g_assert_false(device_bench_run(session, &config, &sink, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_RESOURCE);
}

/* ---- Errors of a made-up QEMU, which all hosts have ---- */

/* The memory of the guest is at an address, in hexadecimal digits. */
#define MEMORY_AT(address) \
    "*x-query-ramblock*) answer='{\"human-readable-text\": " \
    "\" ram0 a b c d e 0x" address "\"}' ;;\n"
/* Where a guest would count is what the program begins with, and that stays. */
#define MEMORY_THERE \
    "*x-query-ramblock*) read -r range rest < /proc/$$/maps\n" \
    "hva=$(printf %x $((0x${range%%-*} - 0x7000)))\n" \
    "answer='{\"human-readable-text\": \" ram0 a b c d e 0x'$hva'\"}' ;;\n"
#define MIGRATION(members) \
    "*migrate-incoming*) event=RESUME ;;\n" \
    "*query-migrate*) answer='{\"status\": " members "}' ;;\n"
#define SKIPS(members) ", \"skip-balloon\": {\"status\": " members "}"

static void test_fake(void)
{
    static const struct {
        DeviceSeries series;
        DevicePattern pattern;
        unsigned stall_secs;
        const char *answers;
        const char *numbers;
        const char *complaint;
    } fakes[] = {
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS, NULL, NULL,
          "QEMU does not tell where the memory of the guest is" },
        { DEVICE_SCALE, DEVICE_WHOLE, STALL_SECS, MEMORY_AT("1"), "0x1",
          "this QEMU has no balloon device in slot " },
        { DEVICE_SCALE, DEVICE_WHOLE, STALL_SECS, MEMORY_AT("1"),
          "0x10021af4 0x0", "the balloon device does not offer MUST_TELL_" },
        { DEVICE_SCALE, DEVICE_WHOLE, STALL_SECS, MEMORY_AT("1"),
          "0x10021af4 0x1 0x0", "queue 0 of the balloon device has 0 entries" },
        { DEVICE_SCALE, DEVICE_WHOLE, STALL_SECS, MEMORY_AT("1"),
          "0x10021af4 0x1 0x401", "queue 0 of the balloon device has 1025 e" },
        { DEVICE_SCALE, DEVICE_WHOLE, STALL_SECS, MEMORY_AT("1"),
          "0x10021af4 0x1 0x80", "cannot write to the memory of the guest in "
          "QEMU: Input/output error" },
        { DEVICE_KVM, DEVICE_NONE, STALL_SECS, MEMORY_AT("1"), NULL,
          "cannot read the memory of the guest in QEMU: Input/output error" },
        { DEVICE_KVM, DEVICE_NONE, 1, MEMORY_THERE, NULL,
          "the guest does not run for 1 seconds" },
        { DEVICE_SCALE, DEVICE_NONE, 1,
          MEMORY_AT("1") MIGRATION("\"active\""), NULL,
          "the migration has moved nothing for 1 seconds" },
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS,
          MEMORY_AT("1") MIGRATION("\"completed\""), NULL,
          "QEMU has not skipped the balloon: it does not say why" },
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS, MEMORY_AT("1")
          MIGRATION("\"completed\"" SKIPS("\"disabled\", \"reason\": \"rat\"")),
          NULL, "QEMU has not skipped the balloon: rat" },
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS, MEMORY_AT("1")
          MIGRATION("\"completed\"" SKIPS("\"active\", \"skipped-pages\": 7")),
          NULL, "QEMU has skipped 7 of 16 pages in the balloon" },
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS, MEMORY_AT("1")
          MIGRATION("\"completed\"" SKIPS("\"active\", \"skipped-pages\": 8")),
          NULL, "QEMU does not tell what it found unpopulated" },
        { DEVICE_SCALE, DEVICE_NONE, STALL_SECS, MEMORY_AT("1")
          MIGRATION("\"completed\"" SKIPS("\"active\", \"skipped-pages\": 8")
                    ", \"skip-unpopulated\": {}"),
          NULL, "cannot read what QEMU has traced: " },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(fakes); i++) {
        g_autoptr(Session) session = new_session(fakes[i].stall_secs);
        g_autofree char *path = session_path(session, "qemu");
        const DeviceCase step = {
            .series = fakes[i].series,
            .build = DEVICE_BOTH,
            .pattern = fakes[i].pattern,
            .memory = MEMORY,
            .ballooned = 16 * DEVICE_PAGE,
            .runs = 1,
        };
        const DeviceQemus qemus = { path, path, NULL, 0 };
        const DeviceSink sink = { .func = refuse };
        g_autoptr(GError) error = NULL;

        fake_qemu_write(path, fakes[i].answers, fakes[i].numbers);
        g_assert_false(device_run_migration(session, &qemus, &step, &sink,
                                            &error));
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, fakes[i].complaint));
    }
}

/* The memory of another process is a file, too. */
static void test_no_files(void)
{
    g_autoptr(Session) session = new_session(STALL_SECS);
    g_autofree char *path = session_path(session, "qemu");
    const VmConfig config = {
        .name = "test", .qemu = path, .device_level = true,
    };
    g_autoptr(Vm) vm = NULL;
    g_autoptr(GError) error = NULL;
    struct rlimit before;
    struct rlimit none;

    fake_qemu_write(path, MEMORY_AT("1"), NULL);
    vm = vm_start(session, &config, &error);
    g_assert_no_error(error);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = 3;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    g_assert_null(device_guest_new(session, vm, MEMORY, &error));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    g_assert_nonnull(strstr(error->message, "cannot open the memory of the "
                            "guest in QEMU: Too many open files"));
}

static void test_no_firmware(void)
{
    g_autoptr(Session) session = new_session(STALL_SECS);
    g_autofree char *path = session_path(session, "firmware");
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    g_assert_null(device_firmware_write(session, &error));
    g_rmdir(path);
    g_assert_nonnull(strstr(error->message,
                            "cannot write the firmware of a guest: "));
}

static const DevicePages whole = {
    .start = BALLOONED, .runs = 1, .run_pages = BALLOONED / DEVICE_PAGE,
};
static const DevicePages descending = {
    .start = BALLOONED, .runs = 1, .run_pages = 1000, .descending = true,
};
static const DevicePages every_other = {
    .start = BALLOONED, .runs = 5000, .run_pages = 1, .stride = 2,
};
static const DevicePages few_runs = {
    .start = BALLOONED, .runs = 10, .run_pages = 300, .stride = 1000,
    .descending = true,
};

int main(int argc, char **argv)
{
    const char *dirs = g_getenv("SB_FIRMWARE");

    g_test_init(&argc, &argv, NULL);
    firmware = dirs ? g_strsplit(dirs, ":", -1) : NULL;
    g_test_add_data_func("/device/plan/quick", GINT_TO_POINTER(DEVICE_QUICK),
                         test_profile);
    g_test_add_data_func("/device/plan/full", GINT_TO_POINTER(DEVICE_FULL),
                         test_profile);
    g_test_add_data_func("/device/plan/kvm",
                         GINT_TO_POINTER(DEVICE_UNDER_KVM), test_profile);
    g_test_add_func("/device/plan/choice", test_plan_choice);
    g_test_add_func("/device/plan/memory", test_plan_memory);
    g_test_add_func("/device/driver/order", test_order);
    g_test_add_data_func("/device/driver/whole", &whole, test_pattern);
    g_test_add_data_func("/device/driver/descending", &descending,
                         test_pattern);
    g_test_add_data_func("/device/driver/every-other", &every_other,
                         test_pattern);
    g_test_add_data_func("/device/driver/runs", &few_runs, test_pattern);
    g_test_add_func("/device/driver/high-memory", test_high_memory);
    g_test_add_func("/device/driver/fill", test_fill);
    g_test_add_func("/device/migration/whole", test_whole);
    g_test_add_func("/device/migration/touched", test_touched);
    g_test_add_func("/device/migration/every-other", test_every_other);
    g_test_add_func("/device/migration/runs", test_runs);
    g_test_add_func("/device/migration/no-balloon", test_no_balloon);
    g_test_add_data_func("/device/kvm/chunks-of-1g", GUINT_TO_POINTER(0),
                         test_kvm);
    g_test_add_data_func("/device/kvm/chunks-of-16m", GUINT_TO_POINTER(12),
                         test_kvm);
    g_test_add_func("/device/rate", test_rate);
    g_test_add_func("/device/left-out", test_left_out);
    g_test_add_func("/device/error/death", test_death);
    g_test_add_func("/device/error/no-device", test_no_device);
    g_test_add_func("/device/error/no-feature", test_no_feature);
    g_test_add_func("/device/error/silent-device", test_silent_device);
    g_test_add_func("/device/error/no-qtest", test_no_qtest);
    g_test_add_func("/device/error/full-sink", test_full_sink);
    g_test_add_func("/device/error/fake", test_fake);
    g_test_add_func("/device/error/no-files", test_no_files);
    g_test_add_func("/device/error/no-firmware", test_no_firmware);
    return g_test_run();
}
