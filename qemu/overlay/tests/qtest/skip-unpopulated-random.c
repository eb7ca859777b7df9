/*
 * Tests of migration capability skip-unpopulated: anything, at any time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "unpopulated-guest.h"

/* ---- Random ---- */

#define ROUNDS_ENV "SKIP_UNPOPULATED_TEST_ROUNDS"
#define RANDOM_RAM (24 * MiB)

/* Left alone, so that a slow migration has something to do */
#define RANDOM_BALLAST (RANDOM_RAM - 8 * MiB)

#define RANDOM_PAGES ((RANDOM_BALLAST - BG_RAM_START) / BALLOON_PAGE)

typedef struct RandomRun {
    BGuest *g;
    BGuest *dest;
    uint8_t *model;             /* what the guest wrote, from BG_RAM_START on */
    bool both;
} RandomRun;

static void random_write(RandomRun *run, uint64_t at, uint8_t value,
                         uint64_t length)
{
    qtest_memset(run->g->qts, BG_RAM_START + at, value, length);
    memset(run->model + at, value, length);
}

static void random_discard(RandomRun *run, bool report, uint64_t at,
                           uint64_t length)
{
    ug_discard(run->g, report, BG_RAM_START + at, length);
    memset(run->model + at, 0, length);
}

/* One thing that a guest, honest or not, may do */
static void random_step(RandomRun *run)
{
    uint64_t pages = 1 + g_test_rand_int_range(0, 2) *
                     g_test_rand_int_range(0, 512);
    uint64_t at = g_test_rand_int_range(0, RANDOM_PAGES - pages) *
                  BALLOON_PAGE;
    uint64_t length = pages * BALLOON_PAGE;
    uint8_t value = g_test_rand_int_range(1, 256);

    switch (g_test_rand_int_range(0, 9)) {
    case 0:
    case 1:
        random_discard(run, false, at, length);
        break;
    case 2:
        random_discard(run, true, at, length);
        break;
    case 3:
        random_discard(run, g_test_rand_int_range(0, 2), at, length);
        random_write(run, at, value, length);
        break;
    case 4:
        bg_request_range(run->g, BG_DEFLATE, BG_RAM_START + at, length);
        break;
    case 5:
        /* Zeroes that are populated */
        random_write(run, at, 0, length);
        break;
    case 6:
        /* A few bytes only, wherever they fall */
        random_write(run, at + g_test_rand_int_range(0, 4000), value, 9);
        break;
    default:
        random_write(run, at, value, length);
        break;
    }
}

static void random_steps(RandomRun *run, int most)
{
    int n = g_test_rand_int_range(0, most);

    while (n--) {
        random_step(run);
    }
}

/* Returns a description of what was chosen. */
static char *random_begin(RandomRun *run)
{
    static const char *const detections[] = { "none", "legacy", "multifd" };
    BGOptions options = {
        .backend = g_test_rand_int_range(0, 2) ? BG_MEMFD : BG_ANON,
        .ram_size = RANDOM_RAM,
        .multifd = g_test_rand_int_range(0, 2),
        .device_args = "free-page-reporting=on",
        .args = g_test_rand_int_range(0, 2)
                ? "-global migration.x-clear-bitmap-shift=6" : NULL,
    };
    const char *detection = detections[g_test_rand_int_range(0, 3)];
    bool converge = g_test_rand_int_range(0, 2);
    bool xbzrle = !options.multifd && g_test_rand_int_range(0, 2);
    bool huge = g_test_rand_int_range(0, 4) == 0;
    uint64_t bandwidth = MiB << g_test_rand_int_range(0, 7);

    run->both = g_test_rand_int_range(0, 2);
    prctl(PR_SET_THP_DISABLE, !huge, 0, 0, 0);
    run->g = ug_start_with_balloon(&options);
    run->dest = ug_start_destination(&options, true);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    bg_set_capability(run->g, "skip-balloon", run->both);
    bg_set_capability(run->dest, "skip-balloon", run->both);
    bg_set_capability(run->g, "auto-converge", converge);
    bg_set_capability(run->g, "xbzrle", xbzrle);
    ug_set_migrate_parameter(run->g, "zero-page-detection", detection);
    random_write(run, RANDOM_BALLAST - BG_RAM_START, 7,
                 RANDOM_RAM - RANDOM_BALLAST);
    random_steps(run, 40);
    ug_migrate_begin(run->g, run->dest, bandwidth);
    return g_strdup_printf("%s%s%s%s%s%s, detection %s, %" PRIu64 " MiB/s%s",
                           options.backend == BG_MEMFD ? "memfd" : "anon",
                           run->both ? ", both" : "",
                           options.multifd ? ", multifd" : "",
                           converge ? ", auto-converge" : "",
                           xbzrle ? ", xbzrle" : "", huge ? ", huge" : "",
                           detection, bandwidth / MiB,
                           options.args ? ", small windows" : "");
}

static void assert_like_model(const RandomRun *run, BGuest *g,
                              const char *where)
{
    uint64_t size = RANDOM_RAM - BG_RAM_START;
    g_autofree uint8_t *content = g_malloc(size);
    uint64_t i;

    bg_read(g, BG_RAM_START, content, size);
    for (i = 0; i < size && memcmp(content, run->model, size); i++) {
        if (content[i] != run->model[i]) {
            g_error("address 0x%" PRIx64 ": 0x%02x on the %s instead of "
                    "0x%02x", BG_RAM_START + i, content[i], where,
                    run->model[i]);
        }
    }
}

/* What is populated there, and was not here, has to hold something. */
static void assert_populated_with_reason(const RandomRun *run)
{
    g_autofree bool *here = ug_populated_of(run->g);
    g_autofree bool *there = ug_populated_of(run->dest);
    uint64_t i, n = 0;

    for (i = BG_RAM_START / BALLOON_PAGE; i < RANDOM_RAM / BALLOON_PAGE;
         i++) {
        n += there[i] && !here[i] && bg_is_zero(run->dest, i * BALLOON_PAGE);
    }
    g_assert_cmpuint(n, ==, 0);
}

static void random_round(int round)
{
    RandomRun run = { .model = g_malloc0(RANDOM_RAM - BG_RAM_START) };
    g_autofree char *what = random_begin(&run);
    bool paused = g_test_rand_int_range(0, 2);

    g_test_message("round %d: %s%s", round, what, paused ? ", paused" : "");
    random_steps(&run, 60);
    bg_migrate_limit(run.g, 0);
    if (paused) {
        ug_wait_status(run.g, "pre-switchover");
        random_steps(&run, 30);
    }
    ug_migrate_finish(run.g, run.dest);
    /* With huge pages, a neighbour may have populated a page of zeroes. */
    if (!strstr(what, "huge")) {
        assert_populated_with_reason(&run);
    }
    assert_like_model(&run, run.g, "source");
    assert_like_model(&run, run.dest, "destination");
    /* The map travels with either capability. */
    bg_assert_same_map(run.g, run.dest);
    bg_quit(run.dest);
    bg_quit(run.g);
    g_free(run.model);
}

static void test_random(void)
{
    const char *text = g_getenv(ROUNDS_ENV);
    int rounds = text ? atoi(text) : 25;
    int i;

    for (i = 0; i < rounds; i++) {
        random_round(i);
    }
}

/* ---- All of these ---- */

void add_random_tests(void)
{
    qtest_add_func(CAPABILITY "/random", test_random);
}
