/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other ways to move and to save a real guest than plain precopy: postcopy,
 * mapped-ram and background snapshots.
 */
#include "commands.h"

#include <string.h>
#include <sys/stat.h>

/* Memory of the guest that is saved to files; "8G" is what README.md tells. */
#define MEMORY_VARIABLE "SB_FILE_MEMORY"
#define FILE_TO (512 * SIZE_MIB)

/* ---- Postcopy ---- */

/* Take memory back and use it, while most of the rest is not there yet. */
static bool use_early(Bench *bench, Vm *vm, GError **error)
{
    g_autofree char *touched = NULL;
    g_autofree char *verified = NULL;

    if (!guest_wait_ticks(vm_guest(vm), 1, error) ||
        !balloon_reach(bench->session, vm, TEST_TO + 192 * SIZE_MIB, error)) {
        return false;
    }
    touched = guest_command(vm_guest(vm), "touch 128", error);
    verified = touched ? guest_command(vm_guest(vm), "verify", error) : NULL;
    return verified;
}

static bool switch_over(Bench *bench, Vm *source, Vm *destination,
                        GError **error)
{
    MigrationStats stats;

    return vm_do(source, "migrate-start-postcopy", NULL, error) &&
           migrate_wait_status(bench->session, source, "postcopy-active",
                               &stats, error) &&
           vm_wait_event(destination, "RESUME", error);
}

static bool postcopy(Bench *bench, bool preempt, GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, bench->qemu, error);
    g_autoptr(Vm) destination = NULL;
    g_autofree char *touched = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    if (!destination ||
        !command_set_both(source, destination, "postcopy-ram", error) ||
        (preempt &&
         !command_set_both(source, destination, "postcopy-preempt", error)) ||
        !command_set_parameter(source, "max-postcopy-bandwidth", TEST_SLOW,
                               error) ||
        !bench_start_slow(bench, source, destination, error) ||
        !balloon_reach(bench->session, source, TEST_TO + 32 * SIZE_MIB,
                       error) ||
        !switch_over(bench, source, destination, error) ||
        !use_early(bench, destination, error) ||
        !command_set_parameter(source, "max-postcopy-bandwidth", 0,
                               error) ||
        !migrate_wait_status(bench->session, source, "completed", &stats,
                             error) ||
        !bench_intact(destination, error) ||
        !bench_skipped(bench, &stats, TEST_BALLOONED - 32 * SIZE_MIB,
                       error)) {
        return false;
    }
    vm_kill(source);
    if (!balloon_reach(bench->session, destination, TEST_MEMORY, error)) {
        return false;
    }
    touched = guest_command(vm_guest(destination), TEST_TOUCH, error);
    return touched && bench_intact(destination, error);
}

static bool test_postcopy(Bench *bench, GError **error)
{
    return postcopy(bench, false, error);
}

static bool test_preempt(Bench *bench, GError **error)
{
    return postcopy(bench, true, error);
}

/* ---- Files ---- */

static bool allocated(const char *path, uint64_t *bytes, GError **error)
{
    struct stat st;

    FAIL_UNLESS(!stat(path, &st), "%s: %s", path, g_strerror(errno));
    *bytes = st.st_blocks * UINT64_C(512);
    return true;
}

static bool memory_from_environment(Bench *bench, GError **error)
{
    const char *text = g_getenv(MEMORY_VARIABLE);

    return !text || size_parse(text, &bench->config.memory, error);
}

/* Save a guest, and load it again. */
static bool through_file(Bench *bench, const char *qemu, bool skip,
                         const char *capability, uint64_t *file_bytes,
                         GError **error)
{
    g_autofree char *path = session_path(bench->session, "file");
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) loaded = NULL;
    uint64_t before, saved, after;
    MigrationStats stats;

    bench->config.must_tell_host = skip;
    source = bench_boot(bench, qemu, error);
    if (!source ||
        !balloon_reach(bench->session, source, FILE_TO, error) ||
        !guest_wait_ticks(vm_guest(source), 3, error) ||
        !memory_of_process(vm_pid(source), &before, error) ||
        (skip && !migrate_skip(source, source, bench->skip, error)) ||
        !command_set_both(source, NULL, capability, error) ||
        !migrate_set_bandwidth(source, 0, error) ||
        !command_file(source, "migrate", path, error) ||
        !migrate_wait_status(bench->session, source, "completed", &stats,
                             error) ||
        !memory_of_process(vm_pid(source), &saved, error) ||
        !allocated(path, file_bytes, error)) {
        return false;
    }
    vm_kill(source);
    loaded = bench_start(bench, "loaded", qemu, true, error);
    if (!loaded || (skip && !migrate_skip(loaded, loaded, bench->skip,
                                          error)) ||
        /* A background snapshot is loaded like any other stream. */
        (strcmp(capability, "background-snapshot") &&
         !migrate_set_capability(loaded, capability, true, error)) ||
        !command_file(loaded, "migrate-incoming", path, error) ||
        !vm_wait_event(loaded, "RESUME", error) ||
        !memory_of_process(vm_pid(loaded), &after, error) ||
        !bench_intact(loaded, error)) {
        return false;
    }
    unlink(path);
    g_test_message("%s: file %" G_GUINT64_FORMAT " MiB, source %"
                   G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                   " MiB, loaded %" G_GUINT64_FORMAT " MiB",
                   skip ? "ours" : "unmodified", *file_bytes / SIZE_MIB,
                   before / SIZE_MIB, saved / SIZE_MIB, after / SIZE_MIB);
    if (skip && bench->backend == BACKEND_MEMFD) {
        FAIL_UNLESS(saved < before + 16 * SIZE_MIB &&
                    after < before + 16 * SIZE_MIB,
                    "%" G_GUINT64_FORMAT " bytes became %" G_GUINT64_FORMAT
                    ", and %" G_GUINT64_FORMAT " when loaded", before, saved,
                    after);
    }
    return true;
}

static bool test_mapped_ram(Bench *bench, GError **error)
{
    uint64_t stock, ours;

    if (!memory_from_environment(bench, error) ||
        !through_file(bench, bench->stock, false, "mapped-ram", &stock,
                      error) ||
        !through_file(bench, bench->qemu, true, "mapped-ram", &ours, error)) {
        return false;
    }
    FAIL_UNLESS(ours < FILE_TO + 64 * SIZE_MIB, "the file takes %"
                G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT
                " with unmodified QEMU", ours, stock);
    return true;
}

/* It goes on while it is saved, and the snapshot is of one moment. */
static bool test_background(Bench *bench, GError **error)
{
    uint64_t ours;

    return memory_from_environment(bench, error) &&
           through_file(bench, bench->qemu, true, "background-snapshot",
                        &ours, error);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    for (Backend backend = BACKEND_ANON; backend <= BACKEND_MEMFD;
         backend++) {
        bench_add("/modes/postcopy", test_postcopy, backend, SKIP_BOTH,
                  NEEDS_GUEST);
        bench_add("/modes/mapped-ram", test_mapped_ram, backend, SKIP_BOTH,
                  NEEDS_GUEST | NEEDS_STOCK);
        bench_add("/modes/background-snapshot", test_background, backend,
                  SKIP_BOTH, NEEDS_GUEST);
    }
    bench_add("/modes/postcopy-balloon", test_postcopy, BACKEND_ANON,
              SKIP_BALLOON, NEEDS_GUEST);
    bench_add("/modes/postcopy-unpopulated", test_postcopy, BACKEND_MEMFD,
              SKIP_UNPOPULATED, NEEDS_GUEST);
    bench_add("/modes/postcopy-preempt", test_preempt, BACKEND_MEMFD,
              SKIP_BOTH, NEEDS_GUEST);
    return g_test_run();
}
