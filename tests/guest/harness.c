/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "harness.h"

#include <string.h>
#include <unistd.h>

#include "saved-guest.h"

/* How long the guest without a system may say nothing when it is tried */
#define PROBE_STALL_SECS 30
#define STALL_SECS 60
#define ALIVE_TICKS 3
#define SKIPPED_SHARE 0.8

static const char *program;

typedef struct Case {
    CaseFunc *func;
    Backend backend;
    SkipSet skip;
    Needs needs;
} Case;

/* A path from the environment, or where the build puts such a file. */
static const char *binary(const char *variable, const char *preset)
{
    const char *path = g_getenv(variable);

    return path && path[0] ? path : preset;
}

static const char *qemu_path(void)
{
    return binary("QEMU_BINARY", BUILD_DIR "/bin/qemu-system-x86_64");
}

static const char *stock_path(void)
{
    return binary("QEMU_STOCK_BINARY",
                  BUILD_DIR "/bin/qemu-system-x86_64-stock");
}

static const char *kernel_path(void)
{
    return binary("SB_KERNEL", BUILD_DIR "/guest/vmlinux");
}

static const char *initrd_path(void)
{
    return binary("SB_INITRD", BUILD_DIR "/guest/initramfs.cpio.gz");
}

/* The first of the files that a case needs and that is not there, or NULL. */
static const char *missing(Needs needs)
{
    const char *const files[] = {
        qemu_path(),
        needs & NEEDS_STOCK ? stock_path() : NULL,
        needs & NEEDS_GUEST ? kernel_path() : NULL,
        needs & NEEDS_GUEST ? initrd_path() : NULL,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        if (files[i] && access(files[i], R_OK)) {
            return files[i];
        }
    }
    return NULL;
}

/* The command that repeats a case; what it depends on is in these, too. */
static char *command_again(void)
{
    static const char *const variables[] = {
        "SB_BARE_ACCEL", "SB_BARE_HOPS", "SB_BARE_SEED",
    };
    GString *command = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(variables); i++) {
        const char *value = g_getenv(variables[i]);

        if (value) {
            g_string_append_printf(command, "%s=%s ", variables[i], value);
        }
    }
    g_string_append_printf(command, "%s -p %s", program, g_test_get_path());
    return g_string_free(command, FALSE);
}

static void run_case(gconstpointer opaque)
{
    const Case *test = opaque;
    const char *file = missing(test->needs);
    const char *firmware = g_getenv("SB_FIRMWARE");
    g_autoptr(GError) error = NULL;
    g_autoptr(Session) session = NULL;
    g_auto(GStrv) dirs = firmware ? g_strsplit(firmware, ":", -1) : NULL;
    Bench bench = {
        .backend = test->backend,
        .skip = test->skip,
        .qemu = qemu_path(),
        .stock = stock_path(),
        .config = {
            .firmware = (const char *const *)dirs,
            .kernel = test->needs & NEEDS_GUEST ? kernel_path() : NULL,
            .initrd = initrd_path(),
            .append = TEST_APPEND,
            .memory = TEST_MEMORY,
            .workset = TEST_WORKSET,
            .seed = 1,
            .backend = test->backend,
            .must_tell_host = test->skip & SKIP_BALLOON,
        },
    };

    if (file) {
        g_autofree char *why = g_strdup_printf("there is no %s", file);

        g_test_skip(why);
        return;
    }
    session = session_new(g_getenv("SB_KEEP_LOGS"), STALL_SECS, &error);
    bench.session = session;
    if (!session || !test->func(&bench, &error)) {
        g_autofree char *again = command_again();

        g_test_fail_printf("%s; again: %s", error->message, again);
    }
}

void bench_init(int argc, char **argv)
{
    /* Kept by GLib for as long as the program runs. */
    static char *args[64];
    char **kept = args;

    g_assert(argc < (int)G_N_ELEMENTS(args) - 1);
    memcpy(args, argv, argc * sizeof(*argv));
    program = argv[0];
    args[argc++] = (char *)"-k";
    g_test_init(&argc, &kept, NULL);
}

void bench_add(const char *path, CaseFunc *func, Backend backend,
               SkipSet skip, Needs needs)
{
    g_autofree char *full = g_strdup_printf("%s/%s", path,
                                            backend_name(backend));
    Case *test = g_new0(Case, 1);

    test->func = func;
    test->backend = backend;
    test->skip = skip;
    test->needs = needs;
    g_test_add_data_func_full(full, test, (GTestDataFunc)run_case, g_free);
}

Vm *bench_start(Bench *bench, const char *name, const char *qemu,
                bool incoming, GError **error)
{
    VmConfig config = bench->config;

    config.name = name;
    config.qemu = qemu;
    config.incoming = incoming;
    return vm_start(bench->session, &config, error);
}

Vm *bench_boot_anew(Bench *bench, const char *name, const char *qemu,
                    GError **error)
{
    g_autoptr(Vm) vm = bench_start(bench, name, qemu, false, error);

    if (!vm || !guest_wait_ready(vm_guest(vm), error) ||
        !guest_wait_ticks(vm_guest(vm), ALIVE_TICKS, error)) {
        return NULL;
    }
    return g_steal_pointer(&vm);
}

/*
 * Not one whose memory matters that it has never written to, or that it is
 * about to report to be free. A large one does not fit into a file everywhere.
 */
static bool may_be_saved(const Bench *bench)
{
    const VmConfig *config = &bench->config;

    return !bench->boot_anew && config->memory <= TEST_MEMORY &&
           !config->untouched && !config->free_page_reporting;
}

static Vm *start_saved(Bench *bench, const char *qemu, bool ballooned,
                       GError **error)
{
    g_autoptr(Vm) vm = saved_guest_start(bench, qemu, ballooned, error);

    if (!vm || !guest_wait_ticks(vm_guest(vm), ALIVE_TICKS, error)) {
        return NULL;
    }
    return g_steal_pointer(&vm);
}

Vm *bench_boot(Bench *bench, const char *qemu, GError **error)
{
    return may_be_saved(bench) ? start_saved(bench, qemu, false, error)
                               : bench_boot_anew(bench, "source", qemu, error);
}

bool bench_balloon(Bench *bench, Vm *vm, GError **error)
{
    return balloon_reach(bench->session, vm, TEST_TO, error) &&
           guest_wait_ticks(vm_guest(vm), ALIVE_TICKS, error);
}

Vm *bench_boot_and_balloon(Bench *bench, const char *qemu, GError **error)
{
    g_autoptr(Vm) vm = bench_boot(bench, qemu, error);

    return vm && bench_balloon(bench, vm, error) ? g_steal_pointer(&vm) : NULL;
}

Vm *bench_boot_ballooned(Bench *bench, const char *qemu, GError **error)
{
    return may_be_saved(bench) ? start_saved(bench, qemu, true, error)
                               : bench_boot_and_balloon(bench, qemu, error);
}

bool bench_intact(Vm *vm, GError **error)
{
    g_autofree char *answer = NULL;

    if (!guest_wait_ticks(vm_guest(vm), ALIVE_TICKS, error)) {
        return false;
    }
    answer = guest_command(vm_guest(vm), "verify", error);
    return answer && guest_wait_ticks(vm_guest(vm), 1, error);
}

bool bench_migrate(Bench *bench, Vm *source, Vm *destination,
                   MigrationStats *stats, GError **error)
{
    if (!migrate_set_bandwidth(source, 0, error) ||
        !migrate_start(bench->session, source, destination, error) ||
        !migrate_wait(bench->session, source, destination, stats, error)) {
        return false;
    }
    /* For the log; how long it took is nothing to test. */
    g_test_message("total time %" G_GINT64_FORMAT " ms, zero-page records %"
                   G_GUINT64_FORMAT ", pages skipped %" G_GUINT64_FORMAT
                   ", unpopulated %" G_GUINT64_FORMAT, stats->total_ms,
                   stats->duplicate, stats->skipped_pages,
                   stats->unpopulated.skipped_pages);
    return bench_intact(destination, error);
}

bool bench_start_slow(Bench *bench, Vm *source, Vm *destination,
                      GError **error)
{
    MigrationStats stats;

    return migrate_skip(source, destination, bench->skip, error) &&
           migrate_set_bandwidth(source, TEST_SLOW, error) &&
           migrate_start(bench->session, source, destination, error) &&
           migrate_wait_status(bench->session, source, "active", &stats,
                               error);
}

static bool skipped_balloon(const MigrationStats *stats, uint64_t bytes,
                            GError **error)
{
    FAIL_UNLESS(!strcmp(stats->skip_status, "active"),
                "skip-balloon is '%s', reason '%s'", stats->skip_status,
                stats->skip_reason);
    FAIL_UNLESS(stats->skipped_bytes >= SKIPPED_SHARE * bytes,
                "%" G_GUINT64_FORMAT " bytes skipped of %" G_GUINT64_FORMAT
                ", %" G_GUINT64_FORMAT " pages vetoed", stats->skipped_bytes,
                bytes, stats->vetoed_pages);
    FAIL_UNLESS(stats->skipped_bytes == stats->skipped_pages * 4096,
                "%" G_GUINT64_FORMAT " pages are not %" G_GUINT64_FORMAT
                " bytes", stats->skipped_pages, stats->skipped_bytes);
    return true;
}

/* All of it, or what skip-balloon leaves, which is nothing of the balloon. */
static bool skipped_unpopulated(const Bench *bench,
                                const UnpopulatedStats *stats,
                                uint64_t bytes, GError **error)
{
    bool alone = bench->skip == SKIP_UNPOPULATED;
    uint64_t least = alone ? SKIPPED_SHARE * bytes : 1;
    uint64_t most = bench->config.memory - (alone ? 0 : bytes);

    FAIL_UNLESS(stats->skipped_bytes >= least && stats->skipped_bytes <= most,
                "%" G_GUINT64_FORMAT " bytes skipped as unpopulated, not %"
                G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                stats->skipped_bytes, least, most);
    FAIL_UNLESS(stats->skipped_bytes == stats->skipped_pages * 4096,
                "%" G_GUINT64_FORMAT " pages are not %" G_GUINT64_FORMAT
                " bytes", stats->skipped_pages, stats->skipped_bytes);
    for (unsigned i = 0; i < stats->n_left_alone; i++) {
        FAIL_UNLESS(strcmp(stats->left_alone[i].id, "ram0"),
                    "guest RAM was left alone: %s",
                    stats->left_alone[i].reason);
    }
    return true;
}

bool bench_skipped(const Bench *bench, const MigrationStats *stats,
                   uint64_t bytes, GError **error)
{
    FAIL_UNLESS(stats->has_skip == !!(bench->skip & SKIP_BALLOON),
                "query-migrate tells %s of skip-balloon",
                stats->has_skip ? "" : "nothing");
    FAIL_UNLESS(stats->unpopulated.known ==
                !!(bench->skip & SKIP_UNPOPULATED),
                "query-migrate tells %s of skip-unpopulated",
                stats->unpopulated.known ? "" : "nothing");
    return (!stats->has_skip || skipped_balloon(stats, bytes, error)) &&
           (!stats->unpopulated.known ||
            skipped_unpopulated(bench, &stats->unpopulated, bytes, error));
}

bool bench_runs_bare(const Bench *bench, const BareGuest *bare,
                     uint64_t memory, GError **error)
{
    g_autoptr(Session) session = session_new(NULL, PROBE_STALL_SECS, error);
    Bench probe = *bench;
    g_autoptr(Vm) vm = NULL;

    if (!session) {
        return false;
    }
    probe.session = session;
    probe.config.bare = bare;
    probe.config.memory = memory;
    probe.config.backend = BACKEND_ANON;
    vm = bench_start(&probe, "probe", bench->qemu, false, error);
    return vm && guest_wait_ready(vm_guest(vm), error) &&
           guest_wait_ticks(vm_guest(vm), 1, error);
}

bool bench_shared_memory(Vm *vm, uint64_t *bytes, GError **error)
{
    uint64_t own;

    if (!memory_of_process(vm_pid(vm), bytes, error) ||
        !memory_private_of_process(vm_pid(vm), &own, error)) {
        return false;
    }
    *bytes -= own;
    return true;
}
