/*
 * Property "enforce" of virtio-balloon: it follows the guest
 *
 * No migration is an access of the guest, whatever it reads; and the guest's
 * are noticed where it runs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qlist.h"
#include "balloon-enforce-test.h"
#include "host-memory.h"

#define RAM_SIZE (64 * MiB)

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (1 * MiB)

/* In MiB; one MiB each, but for the first two */
enum {
    DATA = 8,                   /* holds something, stays as it is */
    GIVEN = 16,                 /* in the balloon */
    TAKEN = 24,                 /* the same, taken back meanwhile */
    USED,                       /* the same, one page is used meanwhile */
    LATE,                       /* given back meanwhile */
    END,
};

#define GIVEN_MIB (TAKEN - GIVEN)
#define BEFORE ((USED + 1 - GIVEN) * MiB)
#define AFTER ((GIVEN_MIB + 2) * MiB - BALLOON_PAGE)

typedef enum Way {
    PRECOPY,
    POSTCOPY,
    TO_FILE,
} Way;

typedef struct Case {
    const char *name;
    Way way;
    const char *capabilities[4];
    BGBackend backend;
    bool cancels;
} Case;

static bool skips(const Case *c)
{
    return g_strv_contains(c->capabilities, "skip-balloon") ||
           g_strv_contains(c->capabilities, "skip-unpopulated");
}

static BGuest *start(const Case *c, const char *args)
{
    BGOptions options = {
        .backend = c->backend,
        .device_args = "enforce=report",
        .capabilities = c->capabilities,
        .args = args,
    };

    return args ? bg_start(&options) : bg_start_driven(&options);
}

/* What the guest does before and, with a migration under way, meanwhile */
static void before(BGuest *g)
{
    bg_fill(g, DATA * MiB, (END - DATA) * MiB, 1);
    bg_request_range(g, BG_INFLATE, GIVEN * MiB, BEFORE);
    BG_WAIT(info_member(g, "enforced") == BEFORE);
}

static void meanwhile(BGuest *g, Events *events)
{
    bg_request_range(g, BG_DEFLATE, TAKEN * MiB, MiB);
    bg_fill(g, TAKEN * MiB, MiB, 2);
    bg_request_range(g, BG_INFLATE, LATE * MiB, MiB);
    qtest_writeb(g->qts, USED * MiB, 3);
    wait_events(g, events, 1);
    assert_accesses(g, 1);
    assert_enforced(g, AFTER);
}

/* The guest has arrived, and lies once more. */
static void after(const Case *c, BGuest *g, Events *events)
{
    /* In postcopy some pages before that are used. */
    uint64_t populated = bg_count_populated(g, (GIVEN + 4) * MiB,
                                            (GIVEN_MIB - 4) * MiB);

    BG_WAIT(info_member(g, "enforced") == AFTER);
    assert_accesses(g, 0);
    if (c->way == POSTCOPY && !skips(c)) {
        /* Postcopy itself places zeroes that had not been sent before. */
        return;
    }
    g_assert_cmpuint(populated, ==, 0);
    qtest_writeb(g->qts, (GIVEN + 1) * MiB, 4);
    wait_events(g, events, 1);
    g_assert_cmphex(events->offset, ==, (GIVEN + 1) * MiB);
    g_assert_cmpint(qtest_readb(g->qts, USED * MiB), ==, 3);
    g_assert_cmpint(qtest_readb(g->qts, DATA * MiB), ==,
                    bg_fill_value(DATA * MiB, 1));
    assert_accesses(g, 1);
}

static void postcopy(BGuest *g, BGuest *dest)
{
    bg_postcopy_begin(g, dest);
    assert_enforced(dest, 0);
    assert_not_enforced(dest, "incoming-postcopy", AFTER);
    qtest_readb(dest->qts, (GIVEN + 2) * MiB);
    assert_accesses(dest, 0);
    bg_postcopy_end(g, dest);
}

/* A file that is loaded later */
static BGuest *to_file(const Case *c, BGuest *g)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "file");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BGuest *dest;

    bg_set_capabilities(g);
    bg_migrate_uri(g, uri);
    bg_migrate_wait(g, NULL);
    dest = start(c, "-incoming defer");
    bg_set_capabilities(dest);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    bg_migrate_wait(dest, NULL);
    memcpy(dest->queue, g->queue, sizeof(dest->queue));
    unlink(path);
    return dest;
}

static void test_migration(gconstpointer data)
{
    const Case *c = data;
    Events there, here;
    BGuest *g = start(c, NULL), *dest = NULL;

    watch_events(g, &here);
    before(g);
    if (c->way != TO_FILE) {
        dest = bg_start_incoming(g);
        watch_events(dest, &there);
        bg_migrate_begin(g, dest, SLOW);
        bg_migrate_wait_pass(g, 1);
    }
    meanwhile(g, &here);
    if (c->cancels) {
        bg_migrate_cancel(g, dest);
        assert_enforced(g, AFTER);
        qtest_writeb(g->qts, (GIVEN + 1) * MiB, 1);
        wait_events(g, &here, 2);
        bg_quit(g);
        return;
    }
    switch (c->way) {
    case PRECOPY:
        bg_migrate_end(g, dest);
        break;
    case POSTCOPY:
        postcopy(g, dest);
        break;
    case TO_FILE:
        dest = to_file(c, g);
        watch_events(dest, &there);
        break;
    }
    sync_events(g);
    g_assert_cmpuint(here.count, ==, 1);
    assert_not_enforced(g, "stopped", AFTER);
    if (skips(c)) {
        /* All but what the guest has used itself */
        bg_assert_populated(g, GIVEN * MiB, GIVEN_MIB * MiB, 0);
    }
    after(c, dest, &there);
    bg_quit(g);
    bg_quit(dest);
}

/* ---- Snapshots ---- */

/* What is loaded is enforced, as it was. */
static void test_snapshot(gconstpointer data)
{
    static const Case c = { .backend = BG_MEMFD };
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "disk");
    BGuest *g = start(&c, NULL);
    Events events;

    watch_events(g, &events);
    if (data) {
        bg_set_capability(g, data, true);
    }
    before(g);
    hm_add_disk(g, path);
    hm_snapshot(g, "snapshot-save");
    assert_enforced(g, BEFORE);
    bg_request_range(g, BG_DEFLATE, GIVEN * MiB, BEFORE);
    bg_fill(g, GIVEN * MiB, BEFORE, 5);
    assert_accesses(g, 0);
    hm_snapshot(g, "snapshot-load");
    assert_enforced(g, BEFORE);
    assert_accesses(g, 0);
    bg_assert_populated(g, GIVEN * MiB, BEFORE, 0);
    qtest_readb(g->qts, TAKEN * MiB);
    wait_events(g, &events, 1);
    bg_quit(g);
    unlink(path);
}

/* It needs a userfaultfd for the same memory. */
static void test_background(gconstpointer data)
{
    static const Case c = { .backend = BG_MEMFD };
    BGuest *g = start(&c, NULL);
    Events events;

    if (!bg_set_background_snapshot(g)) {
        bg_quit(g);
        return;
    }
    watch_events(g, &events);
    before(g);
    bg_migrate_limit(g, SLOW);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_uri(g, "exec:cat >/dev/null");
    qtest_qmp_eventwait(g->qts, "RESUME");
    assert_enforced(g, 0);
    assert_not_enforced(g, "background-snapshot", BEFORE);
    qtest_writeb(g->qts, USED * MiB, 3);
    assert_accesses(g, 0);
    if (data) {
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
        bg_wait_status(g, "cancelled", 60);
    } else {
        bg_migrate_limit(g, 0);
        bg_migrate_wait(g, NULL);
    }
    BG_WAIT(info_member(g, "enforced") == BEFORE);
    assert_accesses(g, 0);
    bg_assert_populated(g, GIVEN * MiB, GIVEN_MIB * MiB, 0);
    qtest_writeb(g->qts, TAKEN * MiB, 3);
    wait_events(g, &events, 1);
    bg_quit(g);
}

/* ---- Where it cannot go ---- */

static void test_unmodified(void)
{
    BGOptions options = { .device_args = "enforce=report", .keep_log = true };
    BGOptions stock = { .stock = true, .no_must_tell_host = true,
                        .keep_log = true };
    g_autofree char *log = NULL;
    BGuest *g, *dest;

    if (!bg_stock_or_skip()) {
        return;
    }
    g = bg_start_driven(&options);
    dest = bg_start_failing_dest(&stock);
    bg_migrate_start(g, dest);
    bg_wait_status(g, "failed", 60);
    bg_quit_failed(dest, "Unknown savevm section or instance 'skip'");
    log = bg_log(g);
    g_assert_nonnull(strstr(log, "'enforce' of virtio-balloon"));
    bg_quit(g);
}

void add_migration_tests(void)
{
    static const Case cases[] = {
        { "precopy/balloon", PRECOPY, { "skip-balloon" } },
        { "precopy/off", PRECOPY, { NULL } },
        { "precopy/off-memfd", PRECOPY, { NULL }, BG_MEMFD },
        { "precopy/both-memfd", PRECOPY, { "skip-balloon", "skip-unpopulated" },
          BG_MEMFD },
        { "precopy/cancel", PRECOPY, { "skip-balloon" }, .cancels = true },
        { "multifd/balloon", PRECOPY, { "multifd", "skip-balloon" } },
        { "multifd/off", PRECOPY, { "multifd" }, BG_MEMFD },
        { "postcopy/balloon", POSTCOPY, { "postcopy-ram", "skip-balloon" } },
        { "postcopy/off", POSTCOPY, { "postcopy-ram" } },
        { "mapped-ram/balloon", TO_FILE, { "mapped-ram", "skip-balloon" } },
        { "mapped-ram/off", TO_FILE, { "mapped-ram" }, BG_MEMFD },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], test_migration, "/balloon-enforce/%s",
                    cases[i].name);
    }
    bg_add_test(NULL, test_snapshot, "/balloon-enforce/snapshot/off");
    bg_add_test("skip-balloon", test_snapshot,
                "/balloon-enforce/snapshot/balloon");
    bg_add_test(NULL, test_background, "/balloon-enforce/background");
    bg_add_test("cancel", test_background,
                "/balloon-enforce/background-cancel");
    qtest_add_func("/balloon-enforce/unmodified", test_unmodified);
}
