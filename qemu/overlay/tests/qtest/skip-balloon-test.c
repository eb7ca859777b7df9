/*
 * Tests of the balloon map and of migration capability skip-balloon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "balloon-guest.h"

/* The part of the memory that most tests put into the balloon */
#define BALLOON_START (16 * MiB)
#define BALLOON_LENGTH (32 * MiB)
#define BALLOON_PAGES (BALLOON_LENGTH / BALLOON_PAGE)

/* A guest that used all its memory, and gave back the balloon part */
static BGuest *start_ballooned(BGBackend backend)
{
    BGOptions options = { .backend = backend };
    BGuest *g = bg_start_driven(&options);

    bg_fill(g, BG_RAM_START, g->options.ram_size - BG_RAM_START, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    return g;
}

/* ---- The map ---- */

static void assert_map(BGuest *g, uint64_t pages, uint64_t runs)
{
    uint64_t now;

    g_assert_cmpuint(bg_map_pages(g, &now), ==, pages);
    g_assert_cmpuint(now, ==, runs);
}

static void assert_no_device(BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map' }");

    qmp_expect_error_and_unref(rsp, "DeviceNotActive");
}

static void test_reset(gconstpointer data)
{
    BGOptions no_device = { .no_device = true };
    BGuest *g = start_ballooned(BG_ANON);

    bg_assert_map(g, BALLOON_PAGES);
    bg_driver_reset(g);
    bg_assert_map(g, 0);
    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, BALLOON_START, MiB);
    bg_assert_map(g, 256);
    qtest_system_reset(g->qts);
    bg_assert_map(g, 0);

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, BALLOON_START, MiB);
    bg_assert_map(g, 256);
    bg_unplug_balloon(g);
    assert_no_device(g);
    bg_plug_balloon(g);
    bg_assert_map(g, 0);
    bg_quit(g);

    g = bg_start(&no_device);
    assert_no_device(g);
    bg_quit(g);
}

static void test_two_blocks(gconstpointer data)
{
    BGOptions options = { .args = BG_DIMM_ARGS };
    BGuest *g = bg_start_driven(&options);
    uint32_t pfns[64];
    int i;

    for (i = 0; i < 64; i++) {
        pfns[i] = BG_PFN(i % 2 ? BG_DIMM_START : BALLOON_START) + i / 2;
    }
    bg_request(g, BG_INFLATE, pfns, 64);
    assert_map(g, 64, 2);

    /* From the last page of one block into nowhere */
    bg_request_range(g, BG_INFLATE, g->options.ram_size - BALLOON_PAGE,
                     2 * BALLOON_PAGE);
    bg_assert_map(g, 65);
    /* A map goes with its RAM block. */
    bg_unplug_dimm(g);
    assert_map(g, 33, 2);
    bg_quit(g);
}

/* What query-balloon-map lists from @offset on; returns where it goes on. */
static uint64_t list_runs(BGuest *g, uint64_t offset, const uint32_t *pfns,
                          int *seen)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'id': %s, 'offset': %" PRIu64
                           ", 'max-runs': 7 } }", g->ram_id, offset);
    const QListEntry *entry = qlist_first(qdict_get_qlist(rsp, "return"));
    QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

    g_assert_null(qlist_next(entry));
    g_assert_cmpstr(qdict_get_str(info, "id"), ==, g->ram_id);
    g_assert_cmpint(qdict_get_int(info, "size"), ==, g->options.ram_size);
    g_assert_cmpint(qdict_get_int(info, "pages"), ==, 100);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "runs"), entry) {
        QDict *run = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpint(qdict_get_int(run, "offset"), ==,
                        pfns[*seen] * BALLOON_PAGE);
        g_assert_cmpint(qdict_get_int(run, "length"), ==, BALLOON_PAGE);
        ++*seen;
    }
    offset = qdict_get_try_int(info, "next-offset", 0);
    qobject_unref(rsp);
    return offset;
}

/* query-balloon-map, asked a few runs at a time */
static void test_query_paged(gconstpointer data)
{
    static const char *const bad[] = {
        "{ 'id': 'nowhere' }", "{ 'offset': 4096 }", "{ 'max-runs': 65537 }",
    };
    BGOptions options = { };
    BGuest *g = bg_start_driven(&options);
    uint32_t pfns[100];
    uint64_t offset = 0;
    int i, seen = 0;

    for (i = 0; i < 100; i++) {
        pfns[i] = BG_PFN(BALLOON_START) + 3 * i;
    }
    bg_request(g, BG_INFLATE, pfns, 100);
    do {
        g_assert_cmpint(seen % 7, ==, 0);
        offset = list_runs(g, offset, pfns, &seen);
    } while (offset);
    g_assert_cmpint(seen, ==, 100);
    g_assert_cmpuint(list_runs(g, UINT64_MAX, pfns, &seen), ==, 0);
    g_assert_cmpint(seen, ==, 100);

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                               " 'arguments': %p }", bg_json(bad[i]));

        bg_step("%s", bad[i]);
        qmp_expect_error_and_unref(rsp, "GenericError");
    }
    bg_quit(g);
}

/* ---- Migration ---- */

static BGuest *migrate_on(BGuest *g)
{
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate(g, dest);
    return dest;
}

static void finish(BGuest *g, BGuest *dest)
{
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void assert_hmp(BGuest *g, const char *command, const char *part)
{
    g_autofree char *text = qtest_hmp(g->qts, "%s", command);

    if (!strstr(text, part)) {
        g_error("no '%s' in: %s", part, text);
    }
}

typedef struct MigrateCase {
    const char *name;
    BGOptions options;
    bool hmp;                   /* the capability is set and seen so */
} MigrateCase;

static const char *const multifd[] = { "skip-balloon", "multifd", NULL };
static const char *const skip_balloon[] = { "skip-balloon", NULL };

static const MigrateCase migrate_cases[] = {
    { "anon", { BG_ANON, .capabilities = skip_balloon } },
    { "memfd", { BG_MEMFD, .capabilities = skip_balloon } },
    { "private-memfd", { BG_PRIVATE_MEMFD, .capabilities = skip_balloon } },
    { "multifd", { BG_MEMFD, .capabilities = multifd } },
    { "global", { BG_ANON, .args = "-global migration.skip-balloon=on" } },
    { "hmp", { BG_ANON }, true },
};

static void test_migrate(gconstpointer data)
{
    const MigrateCase *c = data;
    BGuest *g = bg_start_driven(&c->options);
    BGuest *dest = bg_start_incoming(g);

    bg_fill(g, BG_RAM_START, g->options.ram_size - BG_RAM_START, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    if (c->hmp) {
        assert_hmp(g, "migrate_set_capability skip-balloon on", "");
        assert_hmp(g, "info migrate_capabilities", "skip-balloon: on");
    }
    bg_migrate(g, dest);
    if (c->hmp) {
        assert_hmp(g, "info migrate", "skip-balloon: active");
        assert_hmp(g, "info migrate",
                   "skip-balloon skipped: 8192 pages, 32768 kbytes");
    }
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES);
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==, BALLOON_LENGTH);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), ==, 0);
    bg_assert_populated(g, BALLOON_START, BALLOON_LENGTH, 0);
    bg_assert_populated(dest, BALLOON_START, BALLOON_LENGTH, 0);
    finish(g, dest);
}

/* A guest that writes to pages it gave back, before the migration */
static void test_lie(gconstpointer data)
{
    BGuest *g = start_ballooned(GPOINTER_TO_INT(data));
    const uint64_t lies[] = {
        BALLOON_START,
        BALLOON_START + 5 * MiB + BALLOON_PAGE,
        BALLOON_START + BALLOON_LENGTH - BALLOON_PAGE,
    };
    const int n = ARRAY_SIZE(lies);
    BGuest *dest;
    int i;

    for (i = 0; i < n; i++) {
        bg_fill(g, lies[i], BALLOON_PAGE, 100 + i);
    }
    dest = migrate_on(g);
    /* Each pass counts what it finds dirty; one was made at the beginning. */
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, n);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), <=, n *
                    (1 + bg_migrate_stat(g, "ram", "dirty-sync-count")));
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES - n);
    /* The map is what the guest said. */
    bg_assert_map(g, BALLOON_PAGES);
    bg_assert_map(dest, BALLOON_PAGES);
    for (i = 0; i < n; i++) {
        g_assert_false(bg_is_zero(dest, lies[i]));
    }
    finish(g, dest);
}

/* Start a migration that goes on until bg_migrate_end(). */
static BGuest *migrate_slowly(BGuest *g)
{
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_begin(g, dest, 8 * MiB);
    bg_migrate_wait_pass(g, 1);
    return dest;
}

/*
 * Pages that were sent, then given back, and then taken back or claimed by what
 * runs after a reset, but never written to: they read as zero here and have to
 * do so there.  What else runs after that uses what was in the balloon.
 */
static void test_sent_before(gconstpointer data)
{
    BGuest *g = start_ballooned(GPOINTER_TO_INT(data));
    BGuest *dest = migrate_slowly(g);
    const uint64_t deflated = BG_RAM_START;
    const uint64_t claimed = BG_RAM_START + MiB / 2;

    BG_WAIT(!bg_is_zero(dest, claimed + MiB / 4));
    bg_request_range(g, BG_INFLATE, deflated, MiB / 4);
    bg_request_range(g, BG_DEFLATE, deflated, MiB / 4);
    bg_request_range(g, BG_INFLATE, claimed, MiB / 4);
    bg_driver_reset(g);
    bg_fill(g, BALLOON_START + 5 * MiB, MiB, 90);
    bg_migrate_end(g, dest);
    g_assert_true(bg_is_zero(dest, deflated));
    g_assert_true(bg_is_zero(dest, claimed));
    g_assert_false(bg_is_zero(dest, BALLOON_START + 5 * MiB));
    finish(g, dest);
}

static void test_cancel(gconstpointer data)
{
    BGuest *g = start_ballooned(GPOINTER_TO_INT(data));
    BGuest *dest = migrate_slowly(g);

    bg_migrate_cancel(g, dest);
    bg_fill(g, BALLOON_START + 2 * MiB, BALLOON_PAGE, 33);
    bg_assert_map(g, BALLOON_PAGES);
    dest = migrate_on(g);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, 1);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES - 1);
    bg_assert_map(g, BALLOON_PAGES);
    finish(g, dest);
}

/* ---- When it is off ---- */

typedef struct OffCase {
    const char *name;
    BGOptions options;
    bool driver;                /* of the balloon */
    bool inhibited;             /* discarding is */
    const char *reason;         /* NULL: the capability is off */
} OffCase;

static const OffCase off_cases[] = {
    { "capability", .driver = true },
    { "no-device", { .no_device = true }, .reason = "no-device" },
    { "no-driver", .reason = "must-tell-host" },
    { "property", { .no_must_tell_host = true }, true,
      .reason = "must-tell-host" },
    { "not-negotiated", .driver = true, .reason = "must-tell-host" },
    { "discard-inhibited", .driver = true, .inhibited = true,
      .reason = "discard-inhibited" },
};

static void test_off(gconstpointer data)
{
    const OffCase *c = data;
    bool tells = c->driver && !g_str_equal(c->name, "not-negotiated");
    g_autofree char *expected = g_strdup_printf("skip-balloon: disabled (%s)",
                                                c->reason);
    BGuest *g, *dest;
    QDict *skip, *map;

    if (c->inhibited && !bg_gdb_or_skip()) {
        return;
    }
    g = bg_start(&c->options);
    if (c->driver) {
        g_assert_cmphex(bg_driver_start(g, tells ? BG_MUST_TELL_HOST : 0), ==,
                        tells && !c->options.no_must_tell_host
                        ? BG_MUST_TELL_HOST : 0);
        bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    }
    if (c->inhibited) {
        /* As by a device that needs all memory to stay (VFIO) */
        bg_gdb(g, "call (int)ram_block_discard_disable(1)", NULL);
        bg_request_range(g, BG_INFLATE, BG_RAM_START, MiB);
        bg_assert_map(g, BALLOON_PAGES);
        /* Nothing enters the map, but what is taken back leaves it. */
        bg_request_range(g, BG_DEFLATE, BALLOON_START, MiB);
        bg_assert_map(g, BALLOON_PAGES - 256);
    }
    map = qtest_qmp_assert_success_ref(g->qts, "{ 'execute': "
                                       "'query-migration-map' }");
    g_assert_true(qdict_get_bool(map, "discard-inhibited") == c->inhibited);
    qobject_unref(map);
    dest = bg_start_incoming(g);
    bg_set_capability(g, "skip-balloon", c->reason);
    bg_migrate(g, dest);
    skip = bg_skip_info(g);
    if (c->reason) {
        bg_assert_disabled(g, c->reason);
        g_assert_false(qdict_haskey(skip, "skipped-pages"));
        qobject_unref(skip);
        assert_hmp(g, "info migrate", expected);
    } else {
        g_autofree char *text = qtest_hmp(g->qts, "info migrate");

        g_assert_null(skip);
        g_assert_null(strstr(text, "skip-balloon:"));
    }
    finish(g, dest);
}

/* ---- Units larger than a balloon page ---- */

static void test_target_page_8k(gconstpointer data)
{
    BGuest *g = start_ballooned(GPOINTER_TO_INT(data));
    int64_t skipped;
    uint32_t odd[256];
    BGuest *dest;
    int i;

    /* Upper halves only: the lower ones hold data and must arrive. */
    for (i = 0; i < 256; i++) {
        odd[i] = BG_PFN(BG_RAM_START) + 2 * i + 1;
    }
    bg_request(g, BG_INFLATE, odd, 256);
    /* Break one page of the balloon */
    bg_request_range(g, BG_DEFLATE, BALLOON_START + MiB, BALLOON_PAGE);
    bg_fill(g, BALLOON_START + MiB, BALLOON_PAGE, 9);

    dest = migrate_on(g);
    skipped = bg_skip_stat(g, "skipped-pages");
    g_assert_cmpint(skipped, ==, BALLOON_PAGES / 2 - 1);
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==,
                    skipped * 2 * BALLOON_PAGE);
    g_assert_false(bg_is_zero(dest, BG_RAM_START));
    g_assert_false(bg_is_zero(dest, BALLOON_START + MiB));
    finish(g, dest);
}

static void test_hugetlb(gconstpointer data)
{
    const uint64_t huge = 2 * MiB;
    BGuest *g, *dest;

    if (!bg_huge_or_skip(128 * MiB)) {
        return;
    }
    g = start_ballooned(BG_HUGETLB);
    bg_assert_map(g, BALLOON_PAGES);

    /* Half a huge page enters the map, and is not discarded. */
    bg_request_range(g, BG_INFLATE, BG_RAM_START, huge / 2);
    bg_assert_map(g, BALLOON_PAGES + huge / 2 / BALLOON_PAGE);
    bg_assert_populated(g, BG_RAM_START, huge, huge / BALLOON_PAGE);
    /* A page taken back makes its huge page count. */
    bg_request_range(g, BG_DEFLATE, BALLOON_START, BALLOON_PAGE);
    /* A lie populates a huge page, which is vetoed as a whole. */
    bg_fill(g, BALLOON_START + 3 * huge + MiB, BALLOON_PAGE, 3);

    dest = migrate_on(g);
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==,
                    BALLOON_LENGTH - 2 * huge);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, huge / BALLOON_PAGE);
    finish(g, dest);
}

/* With 0, no memory of a kind; else for BG_ANON up to another one */
static const struct {
    const char *name;
    GTestDataFunc func;
    int backends;
} tests[] = {
    { "map/reset", test_reset },
    { "map/two-blocks", test_two_blocks },
    { "map/query-paged", test_query_paged },
    { "lie", test_lie, BG_PRIVATE_MEMFD + 1 },
    { "sent-before", test_sent_before, BG_MEMFD + 1 },
    { "cancel", test_cancel, BG_MEMFD + 1 },
    { "hugetlb", test_hugetlb },
};

static void add_backend_tests(const char *name, GTestDataFunc func, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        bg_add_test(GINT_TO_POINTER(i), func, "skip-balloon/%s/%s", name,
                    bg_backend_name(i));
    }
}

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    if (!strcmp(qtest_get_arch(), "alpha")) {
        add_backend_tests("target-page-8k", test_target_page_8k,
                          BG_PRIVATE_MEMFD + 1);
        return g_test_run();
    }
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        add_backend_tests(tests[i].name, tests[i].func, tests[i].backends);
        if (!tests[i].backends) {
            bg_add_test(NULL, tests[i].func, "skip-balloon/%s", tests[i].name);
        }
    }
    for (i = 0; i < ARRAY_SIZE(migrate_cases); i++) {
        bg_add_test(&migrate_cases[i], test_migrate, "skip-balloon/migrate/%s",
                    migrate_cases[i].name);
    }
    for (i = 0; i < ARRAY_SIZE(off_cases); i++) {
        bg_add_test(&off_cases[i], test_off, "skip-balloon/off/%s",
                    off_cases[i].name);
    }
    return g_test_run();
}
