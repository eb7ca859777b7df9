/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Journeys of the guest that checks itself (guest/bare/): from QEMU to QEMU
 * in all ways there are, under KVM where it runs, while it gives memory back,
 * takes it back, writes, and, if it lies, uses what it gave back. It ends at
 * the first word of its memory that is wrong.
 *
 *   SB_BARE_HOPS=N   moves in a journey; with more than the preset the ways
 *                    are chosen at random
 *   SB_BARE_SEED=N   another course of guest and journey
 *   SB_BARE_ACCEL=A  "kvm" or "tcg", without a look at what runs here
 */
#include "harness.h"
#include "moves.h"

#define BARE_MEMORY (20 * SIZE_MIB)
#define HUGE_PAGE (2 * SIZE_MIB)
#define FREE_HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/" \
    "free_hugepages"
/* Two guests, and what fragments of a page cost */
#define HUGE_PAGES_NEEDED (2 * (BARE_MEMORY / HUGE_PAGE))
#define HOPS 3
/* How often unmodified QEMU has to survive what ours did not */
#define STOCK_JOURNEYS 25
#define RING_HOPS 2
/* With the dirty ring a guest may well hang, and hold a processor. */
#define RING_STALL_SECS 20
#define TCG "tcg"
#define KVM "kvm"
#define KVM_RING "kvm,dirty-ring-size=4096"

static unsigned number_from_environment(const char *name, unsigned preset)
{
    const char *text = g_getenv(name);

    return text ? g_ascii_strtoull(text, NULL, 0) : preset;
}

static unsigned hops(void)
{
    return number_from_environment("SB_BARE_HOPS", HOPS);
}

/* ---- The guest ---- */

static bool runs_with(const Bench *bench, const char *accel, GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.seed=1",
        .accel = accel,
    };

    return bench_runs_bare(bench, &bare, BARE_MEMORY, error);
}

/* KVM where it runs the guest; where not, the reason is told once. */
static const char *best_accel(const Bench *bench)
{
    static const char *accel;
    g_autoptr(GError) error = NULL;

    accel = accel ?: g_getenv("SB_BARE_ACCEL");
    if (!accel) {
        accel = runs_with(bench, KVM, &error) ? KVM : TCG;
        if (error) {
            g_strdelimit(error->message, "\n", ' ');
            g_test_message("under TCG, since the guest does not run under "
                           "KVM: %s", error->message);
        }
    }
    return accel;
}

static bool enough_huge_pages(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(FREE_HUGE_PAGES, &text, NULL, NULL) &&
           g_ascii_strtoull(text, NULL, 10) >= HUGE_PAGES_NEEDED;
}

static bool boot(Journey *journey, GError **error)
{
    journey->vm = bench_start(journey->bench, "first", journey->bench->qemu,
                              false, error);
    return journey->vm && guest_wait_ready(vm_guest(journey->vm), error) &&
           guest_wait_ticks(vm_guest(journey->vm), 1, error);
}

/* ---- Journeys ---- */

typedef bool TravelFunc(Journey *journey, unsigned number, GError **error);

/* The next ways in turn, so that all journeys together take each. */
static bool take_ways(Journey *journey, unsigned number, GError **error)
{
    for (unsigned i = 0; i < hops(); i++) {
        unsigned way = (hops() == HOPS ? number * HOPS + i
                                       : g_rand_int(journey->random)) %
                       n_moves;

        g_test_message("move %u: %s", i, moves[way].name);
        if (!move_take(journey, &moves[way], error)) {
            g_prefix_error(error, "move %u, %s: ", i, moves[way].name);
            return false;
        }
    }
    FAIL_UNLESS(journey->skipped || journey->skip == SKIP_NOTHING,
                "no page was skipped on the whole way");
    return true;
}

/* To and fro between ours and unmodified QEMU */
static bool visit_stock(Journey *journey, unsigned number, GError **error)
{
    const Bench *bench = journey->bench;

    (void)number;
    for (unsigned i = 0; i < hops(); i++) {
        if (!move_precopy(journey, i % 2 ? bench->qemu : bench->stock,
                          error)) {
            g_prefix_error(error, "move %u: ", i);
            return false;
        }
    }
    FAIL_UNLESS(!journey->skipped, "pages were skipped");
    return true;
}

/* Precopy all the way */
static bool repeat_precopy(Journey *journey, unsigned number, GError **error)
{
    (void)number;
    for (unsigned i = 0; i < RING_HOPS; i++) {
        if (!move_precopy(journey, journey->bench->qemu, error)) {
            g_prefix_error(error, "move %u: ", i);
            return false;
        }
    }
    return true;
}

/* @course: "honest", or another that guest/protocol.rst has */
static bool travel(Bench *bench, const char *accel, const char *course,
                   TravelFunc *func, unsigned number, GError **error)
{
    unsigned seed = number_from_environment("SB_BARE_SEED", 1) * 1000 +
                    number;
    g_autofree char *options = g_strdup_printf(
        "skip_balloon.seed=%u skip_balloon.course=%s skip_balloon.unit=%s",
        seed, course, bench->backend == BACKEND_HUGETLB ? "2M" : "4K");
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = options,
        .accel = accel,
    };
    Journey journey = {
        .bench = bench,
        .random = g_rand_new_with_seed(seed),
        .skip = bench->skip,
        /* Of huge pages the guest never knows what has been let go of. */
        .lies = g_str_equal(course, "lying") &&
                bench->backend != BACKEND_HUGETLB,
    };
    bool intact;

    bench->config.bare = &bare;
    bench->config.memory = BARE_MEMORY;
    g_test_message("-accel %s, %s", accel, options);
    intact = boot(&journey, error) && func(&journey, number, error);
    if (!intact) {
        g_prefix_error(error, "seed %u under %s: ", seed, accel);
    }
    vm_free(journey.vm);
    g_rand_free(journey.random);
    return intact;
}

/* ---- Cases ---- */

/* @first: number of the first of these journeys */
static bool all_ways(Bench *bench, const char *course, unsigned first,
                     GError **error)
{
    if (bench->backend == BACKEND_HUGETLB && !enough_huge_pages()) {
        g_test_skip("there are not enough free huge pages");
        return true;
    }
    if (bench->backend == BACKEND_HUGETLB) {
        /* Parts of a huge page count together only if the guest tells. */
        bench->config.must_tell_host = true;
    }
    return travel(bench, best_accel(bench), course, take_ways,
                  first + bench->backend * 3 + bench->skip - 1, error);
}

static bool test_honest(Bench *bench, GError **error)
{
    return all_ways(bench, "honest", 0, error);
}

static bool test_lying(Bench *bench, GError **error)
{
    return all_ways(bench, "lying", 9, error);
}

/*
 * With both capabilities off, what the guest gave back during a migration may
 * read otherwise on the other side, as with unmodified QEMU.
 */
static bool test_stock(Bench *bench, GError **error)
{
    return travel(bench, best_accel(bench), "cautious", visit_stock, 0, error);
}

/* Unmodified QEMU, by precopy alone */
static bool stock_survives(const Bench *bench, const char *accel,
                           GError **error)
{
    Bench stock = *bench;

    stock.qemu = bench->stock;
    stock.skip = SKIP_NOTHING;
    stock.config.must_tell_host = false;
    for (unsigned i = 0; i < STOCK_JOURNEYS; i++) {
        if (!travel(&stock, accel, "cautious", repeat_precopy, i, error)) {
            return false;
        }
    }
    return true;
}

/*
 * The dirty ring of nested KVM loses writes now and then, with unmodified QEMU
 * as well. Where that does not survive, ours need not.
 */
static bool test_dirty_ring(Bench *bench, GError **error)
{
    g_autoptr(GError) ours = NULL;
    g_autoptr(GError) failure = NULL;
    g_autofree char *why = NULL;

    bench->session->stall_secs = RING_STALL_SECS;
    if (runs_with(bench, KVM_RING, &failure) &&
        travel(bench, KVM_RING, "cautious", repeat_precopy, 0, &ours)) {
        return true;
    }
    if (!failure && stock_survives(bench, KVM_RING, &failure)) {
        g_propagate_error(error, g_steal_pointer(&ours));
        return false;
    }
    why = g_strdup_printf("unmodified QEMU fails with the dirty ring: %s",
                          g_strdelimit(failure->message, "\n", ' '));
    g_test_skip(why);
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        SkipSet skip;
    } sets[] = {
        { "skip-balloon", SKIP_BALLOON },
        { "skip-unpopulated", SKIP_UNPOPULATED },
        { "both", SKIP_BOTH },
    };

    bench_init(argc, argv);
    for (Backend b = BACKEND_ANON; b <= BACKEND_HUGETLB; b++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++) {
            g_autofree char *honest = g_strdup_printf("/bare/honest/%s",
                                                      sets[i].name);
            g_autofree char *lying = g_strdup_printf("/bare/lying/%s",
                                                     sets[i].name);

            bench_add(honest, test_honest, b, sets[i].skip, NEEDS_NOTHING);
            bench_add(lying, test_lying, b, sets[i].skip, NEEDS_NOTHING);
        }
    }
    for (Backend b = BACKEND_ANON; b <= BACKEND_MEMFD; b++) {
        bench_add("/bare/stock", test_stock, b, SKIP_NOTHING, NEEDS_STOCK);
        bench_add("/bare/dirty-ring", test_dirty_ring, b, SKIP_BOTH,
                  NEEDS_STOCK);
    }
    return g_test_run();
}
