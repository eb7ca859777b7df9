/*
 * Tests of migration capability skip-unpopulated: what is skipped, and what is
 * not
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "host-memory.h"
#include "unpopulated-guest.h"

/* ---- All that is to be skipped is skipped, and nothing else ---- */

static void check_scatter_to(const BGOptions *options,
                             const BGOptions *dest_options, bool capable,
                             uint64_t more_unpopulated)
{
    BGuest *g = ug_start_scattered(options);
    BGuest *dest = ug_start_destination(dest_options, capable);
    g_autofree bool *before = ug_populated_of(g);
    uint64_t unpopulated = ug_count_unpopulated(before, g->options.ram_size);
    uint64_t populated = g->options.ram_size / ug_target_page() - unpopulated;

    g_assert_cmpuint(unpopulated, >, 0);
    ug_migrate(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), ==, unpopulated + more_unpopulated);
    /* There are a few ROMs, too. */
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate") +
                    bg_migrate_stat(g, "ram", "normal"), <, populated + 1024);
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_scatter(gconstpointer data)
{
    const BGOptions *options = data;

    check_scatter_to(options, options, false,
                     options->args && !strcmp(options->args, DIMM_ARGS)
                     ? DIMM_SIZE / ug_target_page() : 0);
    check_scatter_to(options, options, true,
                     options->args && !strcmp(options->args, DIMM_ARGS)
                     ? DIMM_SIZE / ug_target_page() : 0);
}

static void check_scatter_huge(const BGOptions *options)
{
    if (g_test_subprocess()) {
        check_scatter_to(options, options, false, 0);
        check_scatter_to(options, options, true, 0);
    } else {
        hm_test_with_huge_pages(2 * RAM_SIZE);
    }
}

static void test_scatter_huge_memfd(void)
{
    BGOptions options = { .backend = BG_HUGETLB, .no_device = true };

    check_scatter_huge(&options);
}

/* Huge pages in a file without a name */
static void check_huge_files(bool shared)
{
    g_autofree char *dir = NULL;
    g_autofree char *file = NULL;
    bool mounted;

    if (g_test_subprocess()) {
        BGOptions options = { .no_device = true };

        dir = hm_find_hugetlbfs(&mounted);
        g_assert_false(mounted);
        file = g_strdup_printf("%s,share=%s", dir, shared ? "on" : "off");
        options.ram_file = file;
        check_scatter_huge(&options);
    } else {
        hm_test_on_hugetlbfs(2 * RAM_SIZE);
    }
}

static void test_scatter_huge_file(void)
{
    check_huge_files(true);
}

static void test_scatter_huge_private(void)
{
    check_huge_files(false);
}

/* Files without a name, on file systems that may populate more or less */
static void check_unnamed_file(const char *dir)
{
    BGOptions options = { .no_device = true, .ram_file = dir };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest = ug_start_destination(&options, true);

    ug_migrate(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), >, 16 * MiB / BALLOON_PAGE);
    g_assert_cmpint(ug_skipped_pages(g), <=, 56 * MiB / BALLOON_PAGE);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_unnamed_file(void)
{
    check_unnamed_file(g_get_tmp_dir());
}

static void test_unnamed_tmpfs(void)
{
    if (hm_tmpfs_or_skip()) {
        check_unnamed_file(hm_find_tmpfs());
    }
}

/* A private mapping of what is empty stays empty. */
static void test_to_private_memfd(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGOptions dest_options = { .backend = BG_PRIVATE_MEMFD,
                               .no_device = true };

    check_scatter_to(&options, &dest_options, false, 0);
    check_scatter_to(&options, &dest_options, true, 0);
}

/* ---- Unmodified QEMU ---- */

/* With what it says while it fails going to a file */
static BGuest *start_failing_dest(const BGOptions *options, const char *log)
{
    int saved = bg_divert_stderr(log);
    BGuest *dest;

    dest = ug_start_destination(options, false);
    bg_restore_stderr(saved);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    return dest;
}

/* It refuses at the beginning: at this rate a MiB would take half a minute. */
static void check_refused_by_stock(BGuest *g, const BGOptions *stock)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "stderr");
    g_autofree char *messages = NULL;
    BGuest *dest = start_failing_dest(stock, log);

    bg_set_capability(g, CAPABILITY, true);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_migrate_start(g, dest);
    ug_wait_failed(g);
    qtest_wait_qemu(dest->qts);
    bg_quit(dest);
    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    unlink(log);
    if (!strstr(messages, "Unknown savevm section or instance 'skip'")) {
        g_error("not the error expected: %s", messages);
    }
}

/*
 * An unmodified destination would not drop what it is told.  The guest goes on
 * where it is, and goes there with the capability off.
 */
static void test_to_stock(gconstpointer data)
{
    const BGOptions *options = data;
    BGOptions stock = *options;
    g_autofree bool *before = NULL;
    g_autofree bool *after = NULL;
    BGuest *g, *dest;

    if (!ug_have_stock()) {
        return;
    }
    stock.stock = true;
    g = ug_start_scattered(options);
    before = ug_populated_of(g);
    check_refused_by_stock(g, &stock);
    after = ug_populated_of(g);
    ug_assert_none_populated(before, after, g->options.ram_size, "source");
    bg_fill(g, 12 * MiB, MiB, 6);

    dest = ug_start_destination(&stock, false);
    bg_set_capability(g, CAPABILITY, false);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/*
 * Unmodified QEMU tells nothing, so that the capability does nothing on the
 * destination.  From there on it does.
 */
static void test_from_stock(gconstpointer data)
{
    const BGOptions *options = data;
    BGOptions stock = *options;
    BGuest *g, *dest, *next;
    g_autofree bool *before = NULL;

    if (!ug_have_stock()) {
        return;
    }
    stock.stock = true;
    g = ug_start_scattered(&stock);
    dest = ug_start_destination(options, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    before = ug_populated_of(dest);
    next = ug_start_destination(options, true);
    ug_migrate(dest, next);
    g_assert_cmpint(ug_skipped_pages(dest), ==,
                    ug_count_unpopulated(before, g->options.ram_size));
    ug_assert_populated_as_before(dest, next, before);
    ug_assert_same_content(g, next);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Off ---- */

static void assert_absent(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    char *text = qtest_hmp(g->qts, "info migrate");

    g_assert_false(qdict_haskey(info, CAPABILITY));
    g_assert_null(strstr(text, CAPABILITY));
    qobject_unref(info);
    g_free(text);
}

static GBytes *record_off(bool stock, BGBackend backend)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = 16 * MiB,
        .no_device = true,
        .stock = stock,
        .args = "-S -rtc base=2020-01-01,clock=vm",
    };
    BGuest *g = bg_start(&options);
    GBytes *stream;

    bg_fill(g, BG_RAM_START, 4 * MiB, 1);
    stream = bg_record_stream(g);
    assert_absent(g);
    bg_quit(g);
    return stream;
}

/* The stream is the same to the byte. */
static void test_off(gconstpointer data)
{
    g_autoptr(GBytes) stock = NULL;
    g_autoptr(GBytes) ours = NULL;

    if (ug_have_stock()) {
        stock = record_off(true, GPOINTER_TO_INT(data));
        ours = record_off(false, GPOINTER_TO_INT(data));
        g_assert_cmpuint(g_bytes_get_size(ours), >, 4 * MiB);
        g_assert_true(g_bytes_equal(stock, ours));
    }
}

/* On, and then off again: it is as if it had never been on. */
static void test_off_again(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest = ug_start_destination(&options, false);

    bg_set_capability(g, CAPABILITY, true);
    bg_set_capability(g, CAPABILITY, false);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    assert_absent(g);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate"), >=,
                    32 * MiB / ug_target_page());
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_hmp(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true,
                          .args = "-global migration." CAPABILITY "=on" };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest = ug_start_destination(&options, false);
    char *text = qtest_hmp(g->qts, "info migrate_capabilities");
    g_autofree char *skipped = NULL;

    g_assert_nonnull(strstr(text, CAPABILITY ": on"));
    g_free(text);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    skipped = g_strdup_printf(CAPABILITY " skipped: %" PRIi64 " pages, "
                              "%" PRIi64 " kbytes", ug_skipped_pages(g),
                              ug_skipped_pages(g) * 4);
    text = qtest_hmp(g->qts, "info migrate");
    g_assert_nonnull(strstr(text, skipped));
    g_assert_nonnull(strstr(text, CAPABILITY " left alone: pc.bios"));
    g_assert_nonnull(strstr(text, "(not-guest-ram)"));
    g_free(text);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- All of these ---- */

#define SMALL_WINDOWS "-global migration.x-clear-bitmap-shift=6"

static const OptionsCase scatter_cases[] = {
    { "anon", { .backend = BG_ANON, .no_device = true } },
    { "memfd", { .backend = BG_MEMFD, .no_device = true } },
    { "small-windows/anon",
      { .backend = BG_ANON, .no_device = true, .args = SMALL_WINDOWS } },
    { "small-windows/memfd",
      { .backend = BG_MEMFD, .no_device = true, .args = SMALL_WINDOWS } },
    /* Only these two on alpha, too, and these for both */
    { "multifd/anon",
      { .backend = BG_ANON, .no_device = true, .multifd = true } },
    { "multifd/memfd",
      { .backend = BG_MEMFD, .no_device = true, .multifd = true } },
    { "large/memfd",
      { .backend = BG_MEMFD, .no_device = true, .ram_size = 1536 * MiB } },
    { "large/anon",
      { .backend = BG_ANON, .no_device = true, .ram_size = 1536 * MiB } },
    { "dimm",
      { .backend = BG_ANON, .no_device = true, .args = DIMM_ARGS } },
    { "private-memfd", { .backend = BG_PRIVATE_MEMFD, .no_device = true } },
};

#define SCATTER_CASES_ALPHA 4

static const OptionsCase stock_cases[] = {
    { "anon", { .backend = BG_ANON, .no_device = true } },
    { "memfd", { .backend = BG_MEMFD, .no_device = true } },
    { "multifd/anon",
      { .backend = BG_ANON, .no_device = true, .multifd = true } },
    { "multifd/memfd",
      { .backend = BG_MEMFD, .no_device = true, .multifd = true } },
};

void add_scatter_alpha_tests(void)
{
    ug_add_options_tests("scatter", scatter_cases, SCATTER_CASES_ALPHA,
                         test_scatter);
}

void add_scatter_tests(void)
{
    ug_add_options_tests("scatter", scatter_cases, ARRAY_SIZE(scatter_cases),
                         test_scatter);
    qtest_add_func(CAPABILITY "/scatter/huge-memfd", test_scatter_huge_memfd);
    qtest_add_func(CAPABILITY "/scatter/huge-file", test_scatter_huge_file);
    qtest_add_func(CAPABILITY "/scatter/huge-private",
                   test_scatter_huge_private);
    qtest_add_func(CAPABILITY "/scatter/to-private-memfd",
                   test_to_private_memfd);
    qtest_add_func(CAPABILITY "/scatter/unnamed-file", test_unnamed_file);
    qtest_add_func(CAPABILITY "/scatter/unnamed-tmpfs", test_unnamed_tmpfs);
    ug_add_options_tests("to-stock", stock_cases, ARRAY_SIZE(stock_cases),
                         test_to_stock);
    ug_add_options_tests("from-stock", stock_cases, ARRAY_SIZE(stock_cases),
                         test_from_stock);
    ug_add_backend_tests("off/same-bytes", test_off);
    qtest_add_func(CAPABILITY "/off/again", test_off_again);
    qtest_add_func(CAPABILITY "/hmp", test_hmp);
}
