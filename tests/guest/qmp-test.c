/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the capability says to management software. No guest is needed. */
#include "harness.h"

#include <string.h>

#define SMALL_MEMORY (64 * SIZE_MIB)

static bool refused_with(Vm *vm, const char *first, const char *second,
                         GError **error)
{
    g_autoptr(GError) refusal = NULL;

    if (!migrate_set_capability(vm, first, true, error)) {
        return false;
    }
    FAIL_UNLESS(!migrate_set_capability(vm, second, true, &refusal),
                "'%s' was accepted along with '%s'", second, first);
    FAIL_UNLESS(refusal->code == SB_ERROR_QMP &&
                strstr(refusal->message, first) &&
                strstr(refusal->message, second),
                "not a refusal that names '%s' and '%s': %s", first, second,
                refusal->message);
    return migrate_set_capability(vm, first, false, error);
}

static bool test_refused(Bench *bench, GError **error)
{
    g_autofree const char **ours = skip_set_capabilities(bench->skip);
    g_autoptr(Vm) vm = NULL;

    bench->config.memory = SMALL_MEMORY;
    vm = bench_start(bench, "vm", bench->qemu, false, error);
    for (const char **name = ours; vm && *name; name++) {
        if (!refused_with(vm, *name, "rdma-pin-all", error) ||
            !refused_with(vm, "rdma-pin-all", *name, error)) {
            return false;
        }
    }
    return vm;
}

static bool check_reason(Bench *bench, const char *reason, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    bench->config.memory = SMALL_MEMORY;
    source = bench_start(bench, "source", bench->qemu, false, error);
    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    if (!destination ||
        !migrate_skip(source, destination, bench->skip, error) ||
        !migrate_set_bandwidth(source, 0, error) ||
        !migrate_start(bench->session, source, destination, error) ||
        !migrate_wait(bench->session, source, destination, &stats, error)) {
        return false;
    }
    FAIL_UNLESS(stats.has_skip && !strcmp(stats.skip_status, "disabled") &&
                !strcmp(stats.skip_reason, reason),
                "skip-balloon is '%s', reason '%s', not '%s'",
                stats.skip_status, stats.skip_reason, reason);
    return true;
}

static bool test_no_device(Bench *bench, GError **error)
{
    bench->config.no_balloon = true;
    return check_reason(bench, "no-device", error);
}

/* A firmware has no driver for the balloon that could promise anything. */
static bool test_no_driver(Bench *bench, GError **error)
{
    return check_reason(bench, "must-tell-host", error);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    bench_add("/qmp/refused", test_refused, BACKEND_ANON, SKIP_BOTH,
              NEEDS_NOTHING);
    bench_add("/qmp/no-device", test_no_device, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_NOTHING);
    bench_add("/qmp/no-driver", test_no_driver, BACKEND_MEMFD, SKIP_BALLOON,
              NEEDS_NOTHING);
    return g_test_run();
}
