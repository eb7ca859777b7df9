/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migrations of a real guest, each judged by the guest itself: it knows what
 * its memory has to contain.
 */
#include "harness.h"

#include <string.h>

/* How much memory a migration may add to a source that skips its balloon. */
#define GROWTH_MAX (TEST_BALLOONED / 4)
/* And to one that skips all that is unpopulated. */
#define LITTLE (16 * SIZE_MIB)

/*
 * How much more a destination may have than the source. Private memory comes
 * in huge pages, of which the source may have had single small ones.
 */
static uint64_t surplus(const Bench *bench)
{
    return bench->skip & SKIP_UNPOPULATED && bench->backend == BACKEND_MEMFD
           ? LITTLE : GROWTH_MAX;
}

static bool check_growth(const Bench *bench, Vm *source, uint64_t before,
                         Vm *destination, GError **error)
{
    uint64_t growth = bench->skip & SKIP_UNPOPULATED ? LITTLE : GROWTH_MAX;
    uint64_t after;
    uint64_t there;

    if (!memory_of_process(vm_pid(source), &after, error) ||
        !memory_of_process(vm_pid(destination), &there, error)) {
        return false;
    }
    g_test_message("source %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                   " MiB, destination %" G_GUINT64_FORMAT " MiB",
                   before / SIZE_MIB, after / SIZE_MIB, there / SIZE_MIB);
    FAIL_UNLESS(after < before + growth,
                "the source grew from %" G_GUINT64_FORMAT " to %"
                G_GUINT64_FORMAT " bytes", before, after);
    FAIL_UNLESS(there < before + surplus(bench),
                "the destination takes %" G_GUINT64_FORMAT " bytes, the "
                "source took %" G_GUINT64_FORMAT, there, before);
    return true;
}

/* A migration from one QEMU to the next, skipping what the case is about. */
static bool hop(Bench *bench, Vm *from, Vm *to, GError **error)
{
    MigrationStats stats;
    uint64_t before;

    return migrate_skip(from, to, bench->skip, error) &&
           memory_of_process(vm_pid(from), &before, error) &&
           bench_migrate(bench, from, to, &stats, error) &&
           bench_skipped(bench, &stats, TEST_BALLOONED, error) &&
           check_growth(bench, from, before, to, error);
}

static bool test_migrate(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot_and_balloon(bench, bench->qemu, error);
    g_autoptr(Vm) second = NULL;

    second = source ? bench_start(bench, "second", bench->qemu, true, error)
                    : NULL;
    return second && hop(bench, source, second, error);
}

/*
 * To a second QEMU, and from there to a third: the map has to go along. On
 * memfd with the pages of zeroes that a guest populates as it boots.
 */
static bool test_two_hops(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) second = NULL;
    g_autoptr(Vm) third = NULL;

    bench->boot_anew = bench->backend == BACKEND_MEMFD;
    source = bench_boot_and_balloon(bench, bench->qemu, error);
    second = source ? bench_start(bench, "second", bench->qemu, true, error)
                    : NULL;
    if (!second || !hop(bench, source, second, error)) {
        return false;
    }
    vm_kill(source);
    third = bench_start(bench, "third", bench->qemu, true, error);
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

/* Let a slow migration go on as fast as can be, to its good end. */
static bool finish(Bench *bench, Vm *source, Vm *destination,
                   MigrationStats *stats, GError **error)
{
    return still_active(source, error) &&
           migrate_set_bandwidth(source, 0, error) &&
           migrate_wait(bench->session, source, destination, stats, error) &&
           bench_intact(destination, error);
}

/* All memory is good for use, also what never came over the wire. */
static bool use_all(Bench *bench, Vm *vm, GError **error)
{
    g_autofree char *touched = NULL;

    if (!balloon_reach(bench->session, vm, TEST_MEMORY, error)) {
        return false;
    }
    touched = guest_command(vm_guest(vm), TEST_TOUCH, error);
    return touched && bench_intact(vm, error);
}

static bool test_deflate(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, bench->qemu, error);
    g_autoptr(Vm) destination = NULL;
    g_autofree char *filled = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    if (!destination ||
        !bench_start_slow(bench, source, destination, error) ||
        !wobble(bench, source, "touch 144", error)) {
        return false;
    }
    /* Checked memory that was ballooned when the migration began. */
    filled = guest_command(vm_guest(source), "fill 24", error);
    if (!filled || !finish(bench, source, destination, &stats, error) ||
        !bench_skipped(bench, &stats, TEST_BALLOONED - 192 * SIZE_MIB,
                       error)) {
        return false;
    }
    vm_kill(source);
    return use_all(bench, destination, error);
}

/* Let a migration send some of the memory that has something in it. */
static bool wait_sent(Bench *bench, Vm *source, uint64_t bytes,
                      GError **error)
{
    MigrationStats stats;
    Stall stall = { 0 };

    do {
        if (!migrate_query(source, &stats, error) ||
            session_stalled(bench->session, &stall, stats.transferred,
                            "the migration has sent nothing", error) ||
            !session_sleep(bench->session, 20, error)) {
            return false;
        }
    } while (stats.transferred < bytes);
    return true;
}

/* What both capabilities have skipped so far */
static uint64_t all_skipped(const MigrationStats *stats)
{
    return stats->skipped_pages + stats->unpopulated.skipped_pages;
}

/*
 * The guest gives memory back, half of whose old content is at the other end.
 * All of it is skipped, by a pass or when it is about to be sent, and the
 * destination is told to drop what it has. Neither end keeps memory for it.
 */
static bool test_inflate(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot(bench, bench->qemu, error);
    g_autoptr(Vm) destination = NULL;
    MigrationStats early, stats;
    uint64_t skipped, here, there;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    if (!destination ||
        !bench_start_slow(bench, source, destination, error) ||
        !migrate_set_bandwidth(source, 8 * TEST_SLOW, error) ||
        !wait_sent(bench, source, TEST_BALLOONED / 2, error) ||
        !migrate_set_bandwidth(source, TEST_SLOW, error) ||
        !migrate_query(source, &early, error) ||
        !balloon_reach(bench->session, source, TEST_TO, error) ||
        !finish(bench, source, destination, &stats, error) ||
        !memory_of_process(vm_pid(source), &here, error) ||
        !memory_of_process(vm_pid(destination), &there, error)) {
        return false;
    }
    skipped = (all_skipped(&stats) - all_skipped(&early)) * 4096;
    g_test_message("skipped %" G_GUINT64_FORMAT " MiB meanwhile, source %"
                   G_GUINT64_FORMAT " MiB, destination %" G_GUINT64_FORMAT
                   " MiB", skipped / SIZE_MIB, here / SIZE_MIB,
                   there / SIZE_MIB);
    FAIL_UNLESS(skipped > TEST_BALLOONED - LITTLE, "only %" G_GUINT64_FORMAT
                " bytes of what was given back were skipped", skipped);
    FAIL_UNLESS(here < TEST_TO + GROWTH_MAX, "the source takes %"
                G_GUINT64_FORMAT " bytes", here);
    FAIL_UNLESS(there < TEST_TO + GROWTH_MAX, "the destination takes %"
                G_GUINT64_FORMAT " bytes", there);
    vm_kill(source);
    return use_all(bench, destination, error);
}

/* After a migration that came to nothing, all is as before. */
static bool try_again(Bench *bench, Vm *source, GError **error)
{
    g_autoptr(Vm) second = NULL;

    if (!bench_intact(source, error)) {
        return false;
    }
    second = bench_start(bench, "second", bench->qemu, true, error);
    return second && hop(bench, source, second, error);
}

static bool test_cancel(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, bench->qemu, error);
    g_autoptr(Vm) first = NULL;

    first = source ? bench_start(bench, "first", bench->qemu, true, error)
                   : NULL;
    if (!first || !bench_start_slow(bench, source, first, error) ||
        !session_sleep(bench->session, 1000, error) ||
        !still_active(source, error)) {
        return false;
    }
    vm_expect_exit(first);
    return migrate_cancel(bench->session, source, error) &&
           try_again(bench, source, error);
}

static bool test_destination_killed(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, bench->qemu, error);
    g_autoptr(Vm) first = NULL;
    MigrationStats stats;

    first = source ? bench_start(bench, "first", bench->qemu, true, error)
                   : NULL;
    if (!first || !bench_start_slow(bench, source, first, error) ||
        !session_sleep(bench->session, 1000, error) ||
        !still_active(source, error)) {
        return false;
    }
    vm_kill(first);
    return migrate_wait_status(bench->session, source, "failed", &stats,
                               error) &&
           try_again(bench, source, error);
}

/* Without the capability nothing may show that this QEMU knows of it. */
static bool check_off(Bench *bench, const char *from, const char *to,
                      GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, from, error);
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    destination = source ? bench_start(bench, "destination", to, true, error)
                         : NULL;
    return destination &&
           bench_migrate(bench, source, destination, &stats, error) &&
           bench_skipped(bench, &stats, 0, error);
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
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    bench->config.must_tell_host = false;
    source = bench_boot_ballooned(bench, bench->qemu, error);
    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    if (!destination ||
        !migrate_skip(source, destination, bench->skip, error) ||
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

/* A guest that never used its memory and has no balloon */
static bool test_idle(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) second = NULL;
    g_autoptr(Vm) third = NULL;
    MigrationStats stats;
    uint64_t before;

    bench->config.untouched = true;
    bench->config.no_balloon = true;
    source = bench_boot(bench, bench->qemu, error);
    second = source ? bench_start(bench, "second", bench->qemu, true, error)
                    : NULL;
    /* The capability is set on the source, which is enough. */
    if (!second || !migrate_skip(source, source, bench->skip, error) ||
        !memory_of_process(vm_pid(source), &before, error) ||
        !bench_migrate(bench, source, second, &stats, error) ||
        !bench_skipped(bench, &stats, TEST_BALLOONED, error) ||
        !check_growth(bench, source, before, second, error)) {
        return false;
    }
    vm_kill(source);
    third = bench_start(bench, "third", bench->qemu, true, error);
    return third && hop(bench, second, third, error);
}

/* Wait until the host has got memory back. */
static bool wait_shrunk(Bench *bench, Vm *vm, uint64_t goal, GError **error)
{
    Stall stall = { 0 };
    uint64_t now;

    do {
        if (!memory_of_process(vm_pid(vm), &now, error) ||
            session_stalled(bench->session, &stall, now,
                            "the guest has given nothing back", error) ||
            !session_sleep(bench->session, 100, error)) {
            return false;
        }
    } while (now > goal);
    return true;
}

/* What the guest freed and has told so, without any balloon inflated. */
static bool test_reporting(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) second = NULL;

    bench->config.free_page_reporting = true;
    source = bench_boot(bench, bench->qemu, error);
    second = source ? bench_start(bench, "second", bench->qemu, true, error)
                    : NULL;
    return second && wait_shrunk(bench, source, TEST_TO, error) &&
           hop(bench, source, second, error);
}

#define STORM_LOW (TEST_TO + 32 * SIZE_MIB)
#define STORM_HIGH (TEST_TO + 192 * SIZE_MIB)
/* Changes of direction at a low bandwidth, and how many there may be then. */
#define STORM_SLOW_TURNS 4
#define STORM_MAX_TURNS 200

/* Turn the balloon around if it has arrived. */
static bool storm_step(Vm *vm, unsigned *turns, GError **error)
{
    uint64_t goal = *turns % 2 ? STORM_HIGH : STORM_LOW;
    uint64_t now;

    if (!balloon_query(vm, &now, error)) {
        return false;
    }
    if (now == goal) {
        (*turns)++;
        return balloon_set(vm, *turns % 2 ? STORM_HIGH : STORM_LOW, error);
    }
    return true;
}

/* Inflate and deflate without a pause until a migration has completed. */
static bool storm(Bench *bench, Vm *source, GError **error)
{
    MigrationStats stats;
    unsigned turns = 0;
    bool fast = false;

    for (;;) {
        if (!migrate_query(source, &stats, error)) {
            return false;
        }
        if (strcmp(stats.status, "active")) {
            break;
        }
        FAIL_UNLESS(turns < STORM_MAX_TURNS, "it does not converge");
        if (!storm_step(source, &turns, error)) {
            return false;
        }
        if (turns == STORM_SLOW_TURNS && !fast) {
            fast = true;
            if (!migrate_set_bandwidth(source, 0, error)) {
                return false;
            }
        }
        if (!session_sleep(bench->session, 10, error)) {
            return false;
        }
    }
    g_test_message("the balloon turned around %u times", turns);
    FAIL_UNLESS(fast, "the migration was to last for longer, it is %s",
                stats.status);
    return true;
}

/* Whatever the storm leaves behind in QEMU itself. */
static bool check_private(const Bench *bench, Vm *vm, uint64_t before,
                          GError **error)
{
    uint64_t after;

    if (!memory_private_of_process(vm_pid(vm), &after, error)) {
        return false;
    }
    g_test_message("private memory %" G_GUINT64_FORMAT " to %"
                   G_GUINT64_FORMAT " KiB", before >> 10, after >> 10);
    FAIL_UNLESS(bench->backend != BACKEND_MEMFD || after < before + LITTLE,
                "the private memory of QEMU grew from %" G_GUINT64_FORMAT
                " to %" G_GUINT64_FORMAT " bytes", before, after);
    return true;
}

static bool test_storm(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = bench_boot_ballooned(bench, bench->qemu, error);
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;
    uint64_t before;

    destination = source ? bench_start(bench, "destination", bench->qemu,
                                       true, error) : NULL;
    return destination &&
           /* Code translated before is no growth. */
           wobble(bench, source, "touch 144", error) &&
           memory_private_of_process(vm_pid(source), &before, error) &&
           bench_start_slow(bench, source, destination, error) &&
           storm(bench, source, error) &&
           check_private(bench, source, before, error) &&
           migrate_wait(bench->session, source, destination, &stats, error) &&
           bench_intact(destination, error) &&
           use_all(bench, destination, error);
}

#define ON_ANON (1 << BACKEND_ANON)
#define ON_MEMFD (1 << BACKEND_MEMFD)
#define ON_BOTH (ON_ANON | ON_MEMFD)

static const struct {
    const char *path;
    CaseFunc *func;
    unsigned backends;
    SkipSet skip;
    Needs needs;                /* besides a guest */
} cases[] = {
    { "two-hops", test_two_hops, ON_BOTH, SKIP_BALLOON, 0 },
    { "deflate", test_deflate, ON_BOTH, SKIP_BALLOON, 0 },
    { "cancel", test_cancel, ON_ANON, SKIP_BALLOON, 0 },
    { "killed", test_destination_killed, ON_MEMFD, SKIP_BALLOON, 0 },
    { "to-stock", test_to_stock, ON_ANON, SKIP_NOTHING, NEEDS_STOCK },
    { "from-stock", test_from_stock, ON_MEMFD, SKIP_NOTHING, NEEDS_STOCK },
    { "not-told", test_not_told, ON_MEMFD, SKIP_BALLOON, 0 },
    { "storm", test_storm, ON_MEMFD, SKIP_BALLOON, 0 },
    { "unpopulated-migrate", test_migrate, ON_BOTH, SKIP_UNPOPULATED, 0 },
    { "unpopulated-idle", test_idle, ON_BOTH, SKIP_UNPOPULATED, 0 },
    { "unpopulated-inflate", test_inflate, ON_BOTH, SKIP_UNPOPULATED, 0 },
    { "unpopulated-reporting", test_reporting, ON_BOTH, SKIP_UNPOPULATED, 0 },
    { "unpopulated-cancel", test_cancel, ON_MEMFD, SKIP_UNPOPULATED, 0 },
    { "both-two-hops", test_two_hops, ON_BOTH, SKIP_BOTH, 0 },
    { "both-inflate", test_inflate, ON_MEMFD, SKIP_BOTH, 0 },
    { "both-storm", test_storm, ON_BOTH, SKIP_BOTH, 0 },
};

static void add_case(unsigned i)
{
    g_autofree char *path = g_strconcat("/guest/", cases[i].path, NULL);

    for (Backend backend = BACKEND_ANON; backend <= BACKEND_MEMFD; backend++) {
        if (cases[i].backends & 1 << backend) {
            bench_add(path, cases[i].func, backend, cases[i].skip,
                      NEEDS_GUEST | cases[i].needs);
        }
    }
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        add_case(i);
    }
    return g_test_run();
}
