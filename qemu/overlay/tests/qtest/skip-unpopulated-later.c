/*
 * Tests of migration capability skip-unpopulated: what is discarded while the
 * migration runs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "unpopulated-guest.h"

/* ---- Discarded meanwhile ---- */

typedef struct LaterCase {
    const char *name;
    BGOptions options;
    bool report;            /* discard by free page reporting */
    bool both;              /* capability skip-balloon, too */
    bool slow;              /* while the migration is sending, not after that */
    const char *detection;  /* parameter zero-page-detection */
} LaterCase;

static BGuest *start_later_destination(const LaterCase *later)
{
    BGuest *dest = ug_start_destination(&later->options, true);

    if (later->both) {
        bg_set_capability(dest, "skip-balloon", true);
    }
    return dest;
}

static void begin_later(const LaterCase *later, BGuest *g, BGuest *dest)
{
    bg_set_capability(g, "skip-balloon", later->both);
    if (later->detection) {
        ug_set_migrate_parameter(g, "zero-page-detection", later->detection);
    }
    ug_migrate_begin(g, dest, later->slow ? SLOW : 0);
    if (later->slow) {
        ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
        bg_migrate_limit(g, NEXT_TO_NOTHING);
    } else {
        ug_wait_status(g, "pre-switchover");
    }
}

/* Pages skipped by either capability */
static int64_t skipped_by_any(const LaterCase *later, BGuest *g)
{
    return ug_skipped_pages(g) +
           (later->both ? bg_skip_stat(g, "skipped-pages") : 0);
}

static void test_later(gconstpointer data)
{
    const LaterCase *later = data;
    BGuest *g, *dest;
    g_autofree bool *before = NULL;
    int64_t skipped;

    g = ug_start_with_balloon(&later->options);
    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    dest = start_later_destination(later);
    begin_later(later, g, dest);
    skipped = skipped_by_any(later, g);
    ug_discard_parts(g, later->report);
    before = ug_populated_of(g);
    ug_migrate_finish(g, dest);

    /* Each page once, whether it had been sent before or not */
    g_assert_cmpint(skipped_by_any(later, g), ==,
                    skipped + UG_PARTS_DISCARDED / ug_target_page());
    ug_assert_populated_as_before(g, dest, before);
    bg_assert_same_map(g, dest);
    ug_assert_zero(dest, SENT_START, PART_SIZE);
    g_assert_false(bg_is_zero(dest, SENT_START + PART_SIZE));
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* What was sent is told to be zero, of two RAM blocks. */
static void test_later_dimm(void)
{
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    const uint64_t in_dimm = DIMM_START + UNSENT_START;
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);
    int64_t skipped;

    bg_fill(g, SENT_START, PART_SIZE, 1);
    bg_fill(g, in_dimm, PART_SIZE, 2);
    ug_migrate_begin(g, dest, 0);
    ug_wait_status(g, "pre-switchover");
    skipped = ug_skipped_pages(g);
    bg_request_range(g, BG_INFLATE, SENT_START, PART_SIZE);
    bg_request_range(g, BG_INFLATE, in_dimm, PART_SIZE);
    ug_migrate_finish(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), ==, skipped + 2 * PART_PAGES);
    g_assert_cmphex(qtest_readq(dest->qts, in_dimm), ==, 0);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/*
 * What is discarded after a pass found it populated, and before it is sent, is
 * not read any more: it is populated on neither side in the end.
 */
static void test_before_its_turn(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);
    const uint64_t at = BALLAST_START + BALLAST_SIZE - MiB;
    int64_t skipped;

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    ug_migrate_begin(g, dest, SLOW);
    ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    skipped = ug_skipped_pages(g);
    bg_request_range(g, BG_INFLATE, at, MiB);
    /* So much that there is no other pass before its turn */
    bg_migrate_limit(g, 64 * MiB);
    ug_wait_status(g, "pre-switchover");
    ug_migrate_finish(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), >=, skipped + MiB / BALLOON_PAGE);
    g_assert_cmpuint(bg_count_populated(g, at, MiB), ==, 0);
    g_assert_cmpuint(bg_count_populated(dest, at, MiB), ==, 0);
    ug_assert_zero(dest, at, MiB);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void wait_zero(BGuest *g, uint64_t addr)
{
    gint64 end = ug_hang_deadline();

    while (!bg_is_zero(g, addr)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/*
 * What was sent is skipped then, and is used again.  With little bandwidth the
 * destination is told before the guest is stopped, since what it has yet to
 * drop counts as much as what is yet to be sent.
 */
static void test_used_again(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);
    int64_t skipped;

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    ug_migrate_begin(g, dest, SLOW);
    ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    skipped = ug_skipped_pages(g);
    bg_request_range(g, BG_INFLATE, SENT_START, SENT_SIZE);
    bg_migrate_limit(g, 16 * MiB);
    ug_wait_status(g, "pre-switchover");
    g_assert_cmpint(ug_skipped_pages(g), ==,
                    skipped + SENT_SIZE / ug_target_page());
    wait_zero(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    ug_assert_zero(dest, SENT_START, SENT_SIZE);
    bg_fill(g, SENT_START, SENT_SIZE, 3);
    ug_migrate_finish(g, dest);
    g_assert_false(bg_is_zero(dest, SENT_START));
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* Returns false if the migration stopped the guest before that. */
static bool wait_syncs(BGuest *g, int64_t n)
{
    gint64 end = ug_hang_deadline();
    int64_t wanted = bg_migrate_stat(g, "ram", "dirty-sync-count") + n;
    bool stopped = false;

    while (!stopped && bg_migrate_stat(g, "ram", "dirty-sync-count") < wanted) {
        QDict *info = bg_query_migrate(g);

        stopped = !strcmp(qdict_get_str(info, "status"), "pre-switchover");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
    return !stopped;
}

static void wait_skipped(BGuest *g, int64_t pages)
{
    gint64 end = ug_hang_deadline();

    while (ug_skipped_pages(g) < pages) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
}

/*
 * The main loop synchronizes, too, while the migration thread sends: the timer
 * of auto-converge, which waits for a second pass that takes long.
 */
static void test_timer(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);
    g_autofree bool *before = NULL;
    int64_t skipped;
    bool in_time;

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    bg_set_capability(g, "auto-converge", true);
    ug_migrate_begin(g, dest, SLOW);
    ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 3);
    bg_migrate_limit(g, 4 * MiB);
    in_time = wait_syncs(g, 1);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    skipped = ug_skipped_pages(g);
    ug_discard_parts(g, false);
    before = ug_populated_of(g);
    if (in_time && wait_syncs(g, 1)) {
        wait_skipped(g, skipped + UG_PARTS_DISCARDED / ug_target_page());
    } else {
        g_test_skip("the migration was faster than the test");
    }
    ug_migrate_finish(g, dest);
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- All of these ---- */

#define REPORTING_ARGS "free-page-reporting=on"

static const LaterCase later_cases[] = {
    { "balloon/anon", { .backend = BG_ANON } },
    { "balloon/memfd", { .backend = BG_MEMFD } },
    { "slow/anon", { .backend = BG_ANON }, .slow = true },
    { "slow/memfd", { .backend = BG_MEMFD }, .slow = true },
    /* The following ones not on alpha */
    { "both/anon", { .backend = BG_ANON }, .both = true },
    { "both/memfd", { .backend = BG_MEMFD }, .both = true },
    { "both-slow/memfd", { .backend = BG_MEMFD }, .both = true,
      .slow = true },
    { "report/anon",
      { .backend = BG_ANON, .device_args = REPORTING_ARGS },
      .report = true },
    { "report/memfd",
      { .backend = BG_MEMFD, .device_args = REPORTING_ARGS },
      .report = true },
    { "report-slow/memfd",
      { .backend = BG_MEMFD, .device_args = REPORTING_ARGS },
      .report = true, .slow = true },
    { "report-both/anon",
      { .backend = BG_ANON, .device_args = REPORTING_ARGS },
      .report = true, .both = true },
    { "detection-none/memfd", { .backend = BG_MEMFD },
      .detection = "none" },
    { "multifd-none/anon", { .backend = BG_ANON, .multifd = true },
      .detection = "none" },
    { "multifd-none/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "none", .slow = true },
    { "multifd-legacy/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "legacy" },
    { "multifd-multifd/anon", { .backend = BG_ANON, .multifd = true },
      .detection = "multifd" },
    { "multifd-multifd/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "multifd", .slow = true },
};

#define LATER_CASES_ALPHA 4

static void add_later_cases(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/later/%s",
                                                later_cases[i].name);

        qtest_add_data_func(path, &later_cases[i], test_later);
    }
}

void add_later_tests(void)
{
    add_later_cases(ARRAY_SIZE(later_cases));
    qtest_add_func(CAPABILITY "/later/dimm", test_later_dimm);
    ug_add_backend_tests("before-its-turn", test_before_its_turn);
    ug_add_backend_tests("used-again", test_used_again);
    ug_add_backend_tests("timer", test_timer);
}

void add_later_alpha_tests(void)
{
    add_later_cases(LATER_CASES_ALPHA);
}
