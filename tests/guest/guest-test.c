/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migrations of a real guest, each judged by the guest itself: it knows what
 * its memory has to contain.
 */
#include "harness.h"

#include <string.h>

#define BOTH_BACKENDS(path, func, needs)                  \
    do {                                                  \
        bench_add(path, func, BACKEND_ANON, needs);       \
        bench_add(path, func, BACKEND_MEMFD, needs);      \
    } while (0)

/* How much memory a migration may add to a source that skips its balloon. */
#define GROWTH_MAX (TEST_BALLOONED / 4)

static bool check_growth(Vm *source, uint64_t before, Vm *destination,
                         GError **error)
{
    uint64_t after;
    uint64_t there;

    if (!memory_of_process(vm_pid(source), &after, error) ||
        !memory_of_process(vm_pid(destination), &there, error)) {
        return false;
    }
    FAIL_UNLESS(after < before + GROWTH_MAX,
                "the source grew from %" G_GUINT64_FORMAT " to %"
                G_GUINT64_FORMAT " bytes", before, after);
    FAIL_UNLESS(there < before + GROWTH_MAX,
                "the destination takes %" G_GUINT64_FORMAT " bytes, the "
                "source took %" G_GUINT64_FORMAT, there, before);
    return true;
}

/* A migration from one QEMU to the next, skipping the balloon. */
static bool hop(Bench *bench, Vm *from, Vm *to, GError **error)
{
    MigrationStats stats;
    uint64_t before;

    return bench_skip(from, to, error) &&
           memory_of_process(vm_pid(from), &before, error) &&
           bench_migrate(bench, from, to, &stats, error) &&
           bench_skipped(&stats, TEST_BALLOONED, error) &&
           check_growth(from, before, to, error);
}

static bool test_migrate(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, true, error);
    g_autoptr(Vm) second = NULL;

    second = source ? bench_start(bench, "second", bench->qemu, true, true,
                                  error) : NULL;
    return second && hop(bench, source, second, error);
}

/* To a second QEMU, and from there to a third: the map has to go along. */
static bool test_two_hops(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, true, error);
    g_autoptr(Vm) second = NULL;
    g_autoptr(Vm) third = NULL;

    second = source ? bench_start(bench, "second", bench->qemu, true, true,
                                  error) : NULL;
    if (!second || !hop(bench, source, second, error)) {
        return false;
    }
    vm_kill(source);
    third = bench_start(bench, "third", bench->qemu, true, true, error);
    if (!third || !hop(bench, second, third, error)) {
        g_prefix_error(error, "the second time: ");
        return false;
    }
    return true;
}

/* Give memory back, let the guest use it, take it again. */
static bool wobble(Bench *bench, Vm *vm, const char *touch, GError **error)
{
    g_autofree char *answer = NULL;

    if (!balloon_reach(bench->session, vm, TEST_TO + 192 * SIZE_MIB, error)) {
        return false;
    }
    answer = guest_command(vm_guest(vm), touch, error);
    return answer &&
           balloon_reach(bench->session, vm, TEST_TO + 32 * SIZE_MIB, error);
}

static bool still_active(Vm *source, GError **error)
{
    MigrationStats stats;

    if (!migrate_query(source, &stats, error)) {
        return false;
    }
    FAIL_UNLESS(!strcmp(stats.status, "active"),
                "the migration was to last for longer, it is %s",
                stats.status);
    return true;
}

static bool test_deflate(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, true, error);
    g_autoptr(Vm) destination = NULL;
    g_autofree char *filled = NULL;
    g_autofree char *touched = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, true, error) : NULL;
    if (!destination || !bench_skip(source, destination, error) ||
        !bench_start_slow(bench, source, destination, error) ||
        !wobble(bench, source, "touch 144", error)) {
        return false;
    }
    /* Checked memory that was ballooned when the migration began. */
    filled = guest_command(vm_guest(source), "fill 24", error);
    if (!filled || !still_active(source, error) ||
        !migrate_set_bandwidth(source, 0, error) ||
        !migrate_wait(bench->session, source, destination, &stats, error) ||
        !bench_intact(destination, error) ||
        !bench_skipped(&stats, TEST_BALLOONED - 192 * SIZE_MIB, error)) {
        return false;
    }
    vm_kill(source);
    /* All of it is good for use, also what never came over the wire. */
    if (!balloon_reach(bench->session, destination, TEST_MEMORY, error)) {
        return false;
    }
    touched = guest_command(vm_guest(destination), "touch 600", error);
    return touched && bench_intact(destination, error);
}

static bool test_cancel(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, true, error);
    g_autoptr(Vm) first = NULL;
    g_autoptr(Vm) second = NULL;
    MigrationStats stats;

    first = source ? bench_start(bench, "first", bench->qemu, true, true,
                                 error) : NULL;
    if (!first || !bench_skip(source, first, error) ||
        !bench_start_slow(bench, source, first, error) ||
        !session_sleep(bench->session, 1000, error) ||
        !still_active(source, error)) {
        return false;
    }
    vm_expect_exit(first);
    if (!migrate_cancel(bench->session, source, error) ||
        !bench_intact(source, error)) {
        return false;
    }
    second = bench_start(bench, "second", bench->qemu, true, true, error);
    return second && bench_skip(source, second, error) &&
           bench_migrate(bench, source, second, &stats, error) &&
           bench_skipped(&stats, TEST_BALLOONED, error);
}

static bool test_destination_killed(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, true, error);
    g_autoptr(Vm) first = NULL;
    g_autoptr(Vm) second = NULL;
    MigrationStats stats;

    first = source ? bench_start(bench, "first", bench->qemu, true, true,
                                 error) : NULL;
    if (!first || !bench_skip(source, first, error) ||
        !bench_start_slow(bench, source, first, error) ||
        !session_sleep(bench->session, 1000, error) ||
        !still_active(source, error)) {
        return false;
    }
    vm_kill(first);
    if (!migrate_wait_status(bench->session, source, "failed", &stats,
                             error) ||
        !bench_intact(source, error)) {
        return false;
    }
    second = bench_start(bench, "second", bench->qemu, true, true, error);
    return second && bench_skip(source, second, error) &&
           bench_migrate(bench, source, second, &stats, error) &&
           bench_skipped(&stats, TEST_BALLOONED, error);
}

/* Without the capability nothing may show that this QEMU knows of it. */
static bool check_off(Bench *bench, const char *from, const char *to,
                        GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, from, false, error);
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", to, false, true,
                                       error) : NULL;
    if (!destination ||
        !bench_migrate(bench, source, destination, &stats, error)) {
        return false;
    }
    FAIL_UNLESS(!stats.has_skip, "query-migrate tells of skip-balloon");
    return true;
}

static bool test_to_stock(Bench *bench, GError **error)
{
    return check_off(bench, bench->qemu, bench->stock, error);
}

static bool test_from_stock(Bench *bench, GError **error)
{
    return check_off(bench, bench->stock, bench->qemu, error);
}

/* A guest that need not tell before it uses ballooned memory again. */
static bool test_not_told(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, false, error);
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       false, true, error) : NULL;
    if (!destination || !bench_skip(source, destination, error) ||
        !bench_migrate(bench, source, destination, &stats, error)) {
        return false;
    }
    FAIL_UNLESS(!strcmp(stats.skip_status, "disabled") &&
                !strcmp(stats.skip_reason, "must-tell-host"),
                "skip-balloon is '%s', reason '%s'", stats.skip_status,
                stats.skip_reason);
    FAIL_UNLESS(!stats.skipped_pages, "pages were skipped all the same");
    return true;
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    BOTH_BACKENDS("/guest/migrate", test_migrate, NEEDS_GUEST);
    BOTH_BACKENDS("/guest/two-hops", test_two_hops, NEEDS_GUEST);
    BOTH_BACKENDS("/guest/deflate", test_deflate, NEEDS_GUEST);
    bench_add("/guest/cancel", test_cancel, BACKEND_ANON, NEEDS_GUEST);
    bench_add("/guest/destination-killed", test_destination_killed,
              BACKEND_MEMFD, NEEDS_GUEST);
    bench_add("/guest/to-stock", test_to_stock, BACKEND_ANON,
              NEEDS_GUEST | NEEDS_STOCK);
    bench_add("/guest/from-stock", test_from_stock, BACKEND_MEMFD,
              NEEDS_GUEST | NEEDS_STOCK);
    bench_add("/guest/not-told", test_not_told, BACKEND_MEMFD, NEEDS_GUEST);
    return g_test_run();
}
