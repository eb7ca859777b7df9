/*
 * Tests of migration capability skip-unpopulated: both capabilities, what is
 * refused, migrations that come to nothing, and huge pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qobject/qdict.h"
#include "host-memory.h"
#include "unpopulated-guest.h"

/* ---- Both capabilities ---- */

static void test_both(gconstpointer data)
{
    const BGOptions *options = data;
    const uint64_t start = 16 * MiB, length = 24 * MiB;
    BGuest *g = ug_start_with_balloon(options);
    BGuest *dest = ug_start_destination(options, true);
    g_autofree bool *before = NULL;

    ug_scatter(g);
    bg_request_range(g, BG_INFLATE, start, length);
    before = ug_populated_of(g);
    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(dest, "skip-balloon", true);
    ug_migrate(g, dest);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==,
                    length / ug_target_page());
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), ==, 0);
    g_assert_cmpint(ug_skipped_pages(g), ==,
                    ug_count_unpopulated(before, RAM_SIZE) -
                    length / ug_target_page());
    bg_assert_same_map(g, dest);
    bg_assert_map_let_go(g, dest);
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_both_huge(void)
{
    BGOptions options = { .backend = BG_HUGETLB };

    if (g_test_subprocess()) {
        test_both(&options);
    } else {
        hm_test_with_huge_pages(2 * RAM_SIZE);
    }
}

/* A balloon that does not count, since the guest does not keep to the rules */
static void test_both_disabled(void)
{
    BGOptions options = { .backend = BG_ANON, .no_must_tell_host = true };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);
    g_autofree bool *before = NULL;
    QDict *info;

    ug_scatter(g);
    bg_request_range(g, BG_INFLATE, 16 * MiB, 24 * MiB);
    before = ug_populated_of(g);
    bg_set_capability(g, "skip-balloon", true);
    ug_migrate(g, dest);
    info = bg_skip_info(g);
    g_assert_cmpstr(qdict_get_str(info, "status"), ==, "disabled");
    qobject_unref(info);
    g_assert_cmpint(ug_skipped_pages(g), ==,
                    ug_count_unpopulated(before, RAM_SIZE));
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Refused ---- */

/* Returns the error, or NULL if the capability is on now. */
static char *try_capability(BGuest *g, const char *name)
{
    QDict *rsp = qtest_qmp(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': true } ] } }", name);
    QDict *error = qdict_get_qdict(rsp, "error");
    char *desc = error ? g_strdup(qdict_get_str(error, "desc")) : NULL;

    qobject_unref(rsp);
    return desc;
}

static void check_refused(BGuest *g, const char *first, const char *second)
{
    g_autofree char *cannot = try_capability(g, first);
    g_autofree char *desc = NULL;

    if (cannot) {
        g_test_message("%s alone: %s", first, cannot);
        return;
    }
    desc = try_capability(g, second);
    g_assert_nonnull(desc);
    g_assert_nonnull(strstr(desc, first));
    g_assert_nonnull(strstr(desc, second));
    bg_set_capability(g, first, false);
}

static void test_refused(void)
{
    static const char *const unsupported[] = {
        "x-colo", "rdma-pin-all",
    };
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = bg_start(&options);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(unsupported); i++) {
        check_refused(g, CAPABILITY, unsupported[i]);
        check_refused(g, unsupported[i], CAPABILITY);
    }
    bg_quit(g);
}

/* ---- Again ---- */

/* What changed is found by a second migration, after a first came to nothing */
static void migrate_again(BGuest *g)
{
    g_autofree bool *before = NULL;
    BGuest *dest = ug_start_destination(&g->options, true);

    ug_discard(g, false, SENT_START, PART_SIZE);
    bg_fill(g, 12 * MiB, MiB, 55);
    before = ug_populated_of(g);
    bg_set_capability(g, "pause-before-switchover", false);
    ug_migrate(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), ==,
                    ug_count_unpopulated(before, RAM_SIZE));
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
}

static void cancel_and_again(BGuest *g, BGuest *dest)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    ug_wait_status(g, "cancelled");
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_quit(dest);
    migrate_again(g);
}

static void test_cancel(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    ug_migrate_begin(g, dest, SLOW);
    ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    ug_discard_parts(g, false);
    cancel_and_again(g, dest);
    bg_quit(g);
}

/* When what was sent has been skipped since */
static void test_cancel_late(gconstpointer data)
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
    ug_discard_parts(g, false);
    bg_migrate_limit(g, 0);
    ug_wait_status(g, "pre-switchover");
    g_assert_cmpint(ug_skipped_pages(g), ==,
                    skipped + UG_PARTS_DISCARDED / ug_target_page());
    cancel_and_again(g, dest);
    bg_quit(g);
}

static void test_killed(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = ug_start_with_balloon(&options);
    BGuest *dest = ug_start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    ug_migrate_begin(g, dest, SLOW);
    ug_wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    ug_discard_parts(g, false);
    qtest_kill_qemu(dest->qts);
    bg_migrate_limit(g, 0);
    ug_wait_failed(g);
    bg_quit(dest);

    migrate_again(g);
    bg_quit(g);
}

/* ---- Huge pages that come by themselves ---- */

#define HUGE_PAGE (2 * MiB)
#define HUGE_PAGE_PAGES (HUGE_PAGE / BALLOON_PAGE)

/* How often the destination discarded no more than a page */
static int count_discards(const char *log)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) pieces = NULL;

    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    pieces = g_strsplit(text, " + 0x1000:", -1);
    return g_strv_length(pieces) - 1;
}

/*
 * One page of a huge page is used, so all of it is populated, and arrives as
 * zeroes.  The destination, if its host gives a huge page there as well, leaves
 * it whole.
 */
static void test_zeroes_in_huge_page(void)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *trace = g_strdup_printf(
        "-trace ram_block_discard_range -D %s", log);
    BGOptions options = { .backend = BG_ANON };
    BGOptions traced = { .backend = BG_ANON, .args = trace };
    BGuest *g, *dest;
    bool huge;

    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    g = bg_start(&options);
    dest = ug_start_destination(&traced, true);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    bg_fill(g, BALLAST_START, BALLOON_PAGE, 1);
    huge = bg_count_populated(g, BALLAST_START, HUGE_PAGE) == HUGE_PAGE_PAGES;
    if (huge) {
        ug_migrate(g, dest);
        ug_assert_same_content(g, dest);
    } else {
        g_test_skip("the host gives no huge page");
    }
    bg_quit(dest);
    bg_quit(g);
    if (huge) {
        g_assert_cmpint(count_discards(log), <, HUGE_PAGE_PAGES / 4);
    }
    unlink(log);
}

/* ---- Halves of pages of the target ---- */

/* As far as the destination looks in one go */
#define FAR (256 * MiB)

static void write_old(const char *path, uint64_t offset, uint64_t size)
{
    g_autofree char *text = g_strnfill(size, 'x');
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, text, size, offset), ==, size);
    close(fd);
}

/*
 * The destination has a template, with something in the second half of a page,
 * and far behind that in a page that is told, and nothing else is told there.
 */
static void test_half_page(void)
{
    const char *dir = hm_tmpfs_or_skip();
    const uint64_t page = ug_target_page(), told = BALLAST_START + FAR;
    g_autofree char *path = dir ? hm_temp_path(dir, "template") : NULL;
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    BGOptions options = { .backend = BG_ANON, .ram_size = 2 * FAR };
    BGOptions template = { .ram_file = file, .ram_size = 2 * FAR };
    BGuest *g, *dest;
    uint64_t at;

    if (!dir) {
        return;
    }
    write_old(path, BALLAST_START + page / 2, page / 2);
    write_old(path, told, page);
    g_assert_cmpint(truncate(path, 2 * FAR), ==, 0);
    g = bg_start(&options);
    dest = ug_start_destination(&template, true);
    g_assert_cmphex(qtest_readq(dest->qts, told), !=, 0);
    bg_fill(g, BALLAST_START, FAR, 1);
    ug_migrate(g, dest);
    for (at = told; at < told + page; at += sizeof(uint64_t)) {
        g_assert_cmphex(qtest_readq(dest->qts, at), ==, 0);
    }
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* ---- All of these ---- */

static const OptionsCase both_cases[] = {
    { "anon", { .backend = BG_ANON } },
    { "memfd", { .backend = BG_MEMFD } },
    { "multifd/memfd", { .backend = BG_MEMFD, .multifd = true } },
};

void add_more_alpha_tests(void)
{
    ug_add_options_tests("both", both_cases, ARRAY_SIZE(both_cases), test_both);
    ug_add_backend_tests("cancel", test_cancel);
    qtest_add_func(CAPABILITY "/half-page", test_half_page);
}

void add_more_tests(void)
{
    ug_add_options_tests("both", both_cases, ARRAY_SIZE(both_cases), test_both);
    qtest_add_func(CAPABILITY "/both/huge-memfd", test_both_huge);
    qtest_add_func(CAPABILITY "/both/disabled", test_both_disabled);
    qtest_add_func(CAPABILITY "/refused/capabilities", test_refused);
    ug_add_backend_tests("cancel", test_cancel);
    ug_add_backend_tests("cancel-late", test_cancel_late);
    ug_add_backend_tests("killed", test_killed);
    qtest_add_func(CAPABILITY "/zeroes-in-huge-page",
                   test_zeroes_in_huge_page);
}
