/*
 * Tests of query-migration-map: where the guest's memory went
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "balloon-guest.h"

#define PAGES_PER_MIB 256

/* The memory of the guest, by what is done to it; in MiB */
#define FILLED_START 4
#define ZERO_START 8
#define ZERO_END 10
#define BALLOON_START 16
#define BALLOON_END 32
#define FILLED_END 48
#define RAM_END 64

/* The same of what changes while the guest migrates; 2 MiB each */
#define CHANGED 2
#define REWRITTEN 4             /* sent, then written to */
#define GIVEN_BACK 6            /* sent, then inflated */
#define TAKEN_BACK 16           /* deflated and written to */
#define TAKEN_UNUSED 20         /* deflated, but not used */
#define LIED_ABOUT 24           /* written to in the balloon */
#define GIVEN_BACK_EARLY 40     /* inflated before it is sent */

/* Cells of 1 MiB, with the ROMs and whatever else there is of RAM blocks */
#define CELLS 100

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (4 * MiB)

/* Counts by cell; -1 is a member that is absent */
typedef struct Cells {
    int64_t ballooned[RAM_END];
    int64_t unpopulated[RAM_END];
    int64_t skipped[RAM_END];
} Cells;

/* How the guest migrates, or is saved */
typedef struct Case {
    const char *name;
    BGBackend backend;
    bool balloon;               /* capabilities */
    bool unpopulated;
    const char *mode[3];        /* more of them; ends with NULL */
    bool scattered;             /* every other page is in the balloon */
} Case;

static QDict *query_map(BGuest *g, int cells)
{
    return qtest_qmp_assert_success_ref(g->qts, "{ 'execute':"
                                        " 'query-migration-map', 'arguments':"
                                        " { 'cells': %d } }", cells);
}

static QDict *find_block(QDict *answer, const char *id)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(answer, "blocks"), entry) {
        QDict *block = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(block, "id"), id)) {
            return block;
        }
    }
    return NULL;
}

/* Returns the sum; @cells may be NULL. */
static int64_t read_member(QDict *block, const char *name, int64_t *cells)
{
    QList *list = qdict_get_qlist(block, name);
    const QListEntry *entry;
    int64_t sum = 0;
    int i;

    for (i = 0; cells && i < RAM_END; i++) {
        cells[i] = -1;
    }
    i = 0;
    if (list) {
        g_assert_true(!cells || qlist_size(list) == RAM_END);
        QLIST_FOREACH_ENTRY(list, entry) {
            int64_t n = qnum_get_int(qobject_to(QNum, qlist_entry_obj(entry)));

            sum += n;
            if (cells) {
                cells[i++] = n;
            }
        }
    }
    return sum;
}

static void assert_cells(const int64_t *cells, int start, int end,
                         int64_t value)
{
    int i;

    for (i = start; i < end; i++) {
        if (cells[i] != value) {
            bg_fail(i * MiB, "its cell counts %" PRIi64 ", not %" PRIi64,
                    cells[i], value);
        }
    }
}

/* The counts of the main memory by cells of 1 MiB */
static void read_cells(BGuest *g, Cells *cells)
{
    QDict *answer = query_map(g, CELLS);
    QDict *block = find_block(answer, g->ram_id);
    int i;

    g_assert_nonnull(block);
    g_assert_cmpint(qdict_get_int(answer, "page-size"), ==, BALLOON_PAGE);
    g_assert_cmpint(qdict_get_int(answer, "cell-size"), ==, MiB);
    g_assert_cmpint(qdict_get_int(block, "size"), ==, RAM_END * MiB);
    read_member(block, "ballooned", cells->ballooned);
    read_member(block, "unpopulated", cells->unpopulated);
    read_member(block, "skipped", cells->skipped);
    g_assert_true(qdict_get_bool(answer, "recorded") ==
                  (cells->skipped[0] >= 0));
    qobject_unref(answer);
    for (i = FILLED_START; i < RAM_END; i++) {
        assert_cells(cells->unpopulated, i, i + 1, PAGES_PER_MIB -
                     bg_count_populated(g, i * MiB, MiB));
    }
}

/* Nothing is recorded of a guest that did not leave. */
static void check_unrecorded(BGuest *g)
{
    Cells cells;

    read_cells(g, &cells);
    assert_cells(cells.skipped, 0, RAM_END, -1);
}

static bool has_mode(const Case *c, const char *mode)
{
    return !g_strcmp0(c->mode[0], mode);
}

static bool in_background(const Case *c)
{
    return has_mode(c, "background-snapshot");
}

/*
 * All of a cell is skipped, or nothing.  With @changed, see change_memory().
 * In the background either capability skips all that is not populated.
 */
static bool is_skipped(const Case *c, int cell, bool changed)
{
    if (changed) {
        switch (QEMU_ALIGN_DOWN(cell, CHANGED)) {
        case GIVEN_BACK:
        case GIVEN_BACK_EARLY:
            return true;
        case TAKEN_BACK:
        case LIED_ABOUT:
            return false;
        }
    }
    return (cell >= BALLOON_START && cell < BALLOON_END) ||
           (cell >= FILLED_END && (c->unpopulated || in_background(c)));
}

static void check_record(const Case *c, BGuest *source, bool changed)
{
    const int half = PAGES_PER_MIB / 2;
    Cells cells;
    int i;

    read_cells(source, &cells);
    if (c->scattered) {
        assert_cells(cells.ballooned, BALLOON_START, BALLOON_END, half);
        assert_cells(cells.skipped, BALLOON_START, BALLOON_END,
                     c->unpopulated ? PAGES_PER_MIB : half);
        return;
    }
    for (i = FILLED_START; i < RAM_END; i++) {
        assert_cells(cells.skipped, i, i + 1,
                     is_skipped(c, i, changed) ? PAGES_PER_MIB : 0);
    }
}

/* ---- Guests and migrations ---- */

static char *file;              /* what is not sent to a QEMU goes there */

static BGuest *start_source(const Case *c)
{
    BGOptions options = { .backend = c->backend };
    BGuest *g = bg_start_driven(&options);
    uint32_t pfns[(BALLOON_END - BALLOON_START) * PAGES_PER_MIB / 2];
    Cells cells;
    int i;

    if (c->scattered) {
        for (i = 0; i < ARRAY_SIZE(pfns); i++) {
            pfns[i] = BALLOON_START * PAGES_PER_MIB + 2 * i;
        }
        bg_request(g, BG_INFLATE, pfns, ARRAY_SIZE(pfns));
        return g;
    }
    bg_fill(g, FILLED_START * MiB, (FILLED_END - FILLED_START) * MiB, 1);
    qtest_memset(g->qts, ZERO_START * MiB, 0, (ZERO_END - ZERO_START) * MiB);
    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB,
                     (BALLOON_END - BALLOON_START) * MiB);
    read_cells(g, &cells);
    assert_cells(cells.ballooned, 0, BALLOON_START, 0);
    assert_cells(cells.ballooned, BALLOON_START, BALLOON_END, PAGES_PER_MIB);
    assert_cells(cells.ballooned, BALLOON_END, RAM_END, 0);
    assert_cells(cells.skipped, 0, RAM_END, -1);
    return g;
}

static BGuest *start_dest(const Case *c)
{
    BGOptions options = {
        .backend = c->backend,
        .capabilities = c->mode[0] ? c->mode : NULL,
    };

    return bg_start_dest(&options);
}

/* Start to migrate, to @dest or, if that is NULL, to a file. */
static void begin(const Case *c, BGuest *source, BGuest *dest, uint64_t limit)
{
    const char *const *mode;

    bg_set_capability(source, "skip-balloon", c->balloon);
    bg_set_capability(source, "skip-unpopulated", c->unpopulated);
    for (mode = c->mode; *mode; mode++) {
        bg_set_capability(source, *mode, true);
    }
    if (dest) {
        bg_migrate_begin(source, dest, limit);
    } else {
        g_autofree char *uri = g_strdup_printf("file:%s", file);

        bg_migrate_limit(source, limit);
        bg_migrate_uri(source, uri);
    }
}

static void migrate(const Case *c, BGuest *source, BGuest *dest)
{
    begin(c, source, dest, 0);
    bg_migrate_wait(source, dest);
}

/* Of each kind of change that makes a page be skipped, or sent after all */
static void change_memory(BGuest *g)
{
    const uint64_t size = CHANGED * MiB;

    bg_fill(g, REWRITTEN * MiB, size, 2);
    bg_request_range(g, BG_INFLATE, GIVEN_BACK * MiB, size);
    bg_request_range(g, BG_DEFLATE, TAKEN_BACK * MiB, size);
    bg_fill(g, TAKEN_BACK * MiB, size, 3);
    bg_request_range(g, BG_DEFLATE, TAKEN_UNUSED * MiB, size);
    bg_fill(g, LIED_ABOUT * MiB, size, 4);
    bg_request_range(g, BG_INFLATE, GIVEN_BACK_EARLY * MiB, size);
}

/* What is given back while there is a snapshot is discarded some time later. */
static void wait_until_discarded(BGuest *g)
{
    BG_WAIT(!bg_count_populated(g, GIVEN_BACK * MiB, CHANGED * MiB));
    BG_WAIT(!bg_count_populated(g, GIVEN_BACK_EARLY * MiB, CHANGED * MiB));
}

/*
 * In postcopy all that changed is sent after the switch.  What changes when the
 * guest runs again is not in a snapshot in the background.
 */
static void test_counts(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_source(c), *dest = NULL;

    if (in_background(c) && !bg_set_background_snapshot(source)) {
        bg_quit(source);
        return;
    }
    if (!in_background(c) && !has_mode(c, "mapped-ram")) {
        dest = start_dest(c);
    }
    begin(c, source, dest, c->scattered ? 0 : SLOW);
    if (!c->scattered) {
        if (in_background(c)) {
            qtest_qmp_eventwait(source->qts, "RESUME");
        } else {
            bg_migrate_wait_sent(source, 4 * MiB);
        }
        change_memory(source);
        if (has_mode(c, "postcopy-ram")) {
            qtest_qmp_assert_success(source->qts,
                                     "{ 'execute': 'migrate-start-postcopy' }");
        }
        bg_migrate_limit(source, 0);
    }
    bg_migrate_wait(source, dest);
    if (in_background(c)) {
        wait_until_discarded(source);
    }
    check_record(c, source, !in_background(c));
    if (dest) {
        /* The destination has sent nothing. */
        check_unrecorded(dest);
        bg_quit(dest);
    }
    bg_quit(source);
}

/* ---- One migration after the other ---- */

static const Case off = { .backend = BG_ANON };
static const Case both = { .balloon = true, .unpopulated = true };

/*
 * While it is under way, what it has skipped so far is told; so is a migration
 * that was cancelled.  The next one begins anew; one that is not recorded ends
 * the record.
 */
static void test_again(gconstpointer data)
{
    const Case *next = data;
    BGuest *source = start_source(&both);
    BGuest *dest = start_dest(&both);

    begin(&both, source, dest, SLOW);
    bg_migrate_wait_sent(source, MiB);
    check_record(&both, source, false);
    bg_migrate_cancel(source, dest);
    change_memory(source);
    check_record(&both, source, false);

    dest = start_dest(next);
    migrate(next, source, dest);
    if (next->balloon) {
        check_record(next, source, true);
    } else {
        check_unrecorded(source);
    }
    bg_quit(dest);
    bg_quit(source);
}

/* Who was the destination is the source next, and has a record of its own. */
static void test_both_ends(gconstpointer data)
{
    const Case *c = &both;
    BGuest *source = start_source(c);
    BGuest *dest = start_dest(c), *next = start_dest(c);

    migrate(c, source, dest);
    check_unrecorded(dest);
    /* It has not populated what arrived as zeroes. */
    bg_fill(dest, ZERO_START * MiB, (ZERO_END - ZERO_START) * MiB, 5);
    change_memory(dest);
    migrate(c, dest, next);
    check_record(c, source, false);
    check_record(c, dest, true);
    check_unrecorded(next);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(source);
}

/* Whatever the cells, the sums are the same. */
static void test_sizes(gconstpointer data)
{
    static const int cells[] = { 1, 7, 64, 4096, 16384 };
    static const int bad[] = { 0, 16385, -1 };
    static const char *const names[] = {
        "ballooned", "unpopulated", "skipped"
    };
    BGuest *source = start_source(&both);
    BGuest *dest = start_dest(&both);
    int64_t sums[ARRAY_SIZE(names)] = { 0 };
    int64_t before = INT64_MAX;
    int i, j;

    migrate(&both, source, dest);
    for (i = 0; i < ARRAY_SIZE(cells); i++) {
        QDict *answer = query_map(source, cells[i]);
        QDict *block = find_block(answer, source->ram_id);
        int64_t size = qdict_get_int(answer, "cell-size");

        g_assert_true(is_power_of_2(size));
        g_assert_cmpint(size, <=, before);
        before = size;
        for (j = 0; j < ARRAY_SIZE(names); j++) {
            int64_t sum = read_member(block, names[j], NULL);

            g_assert_cmpint(sum, >=,
                            (BALLOON_END - BALLOON_START) * PAGES_PER_MIB);
            g_assert_true(!i || sum == sums[j]);
            sums[j] = sum;
        }
        qobject_unref(answer);
    }
    /* Cells as large as a page: of 16384, the ROMs have some. */
    g_assert_cmpint(before, <=, 2 * BALLOON_PAGE);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_free(bg_qmp_error(qtest_qmp(source->qts, "{ 'execute':"
                                      " 'query-migration-map', 'arguments':"
                                      " { 'cells': %d } }", bad[i])));
    }
    bg_quit(dest);
    bg_quit(source);
}

static void test_no_device(gconstpointer data)
{
    BGOptions options = { .no_device = true };
    BGuest *g = bg_start(&options);
    Cells cells;

    read_cells(g, &cells);
    assert_cells(cells.ballooned, 0, RAM_END, -1);
    assert_cells(cells.unpopulated, FILLED_START, RAM_END, PAGES_PER_MIB);
    bg_quit(g);
}

/* What was recorded of memory goes with it. */
static void test_unplug(gconstpointer data)
{
    BGOptions options = { .args = BG_DIMM_ARGS };
    BGuest *source = bg_start(&options);
    BGuest *dest = bg_start_incoming(source);
    QDict *answer, *block;

    migrate(&both, source, dest);
    answer = query_map(source, CELLS);
    g_assert_cmpint(read_member(find_block(answer, "dimm-ram"), "skipped",
                                NULL), ==, 128 * PAGES_PER_MIB);
    qobject_unref(answer);

    qtest_qmp_assert_success(source->qts, "{ 'execute': 'cont' }");
    bg_unplug_dimm(source);
    bg_plug_dimm(source);
    answer = query_map(source, CELLS);
    block = find_block(answer, "dimm-ram");
    g_assert_cmpint(read_member(block, "unpopulated", NULL), ==,
                    128 * PAGES_PER_MIB);
    g_assert_false(qdict_haskey(block, "skipped"));
    block = find_block(answer, source->ram_id);
    g_assert_cmpint(read_member(block, "skipped", NULL), >, 0);
    g_assert_true(qdict_get_bool(answer, "recorded"));
    qobject_unref(answer);
    bg_quit(dest);
    bg_quit(source);
}

static const Case cases[] = {
    { "counts/balloon/anon", BG_ANON, true, false },
    { "counts/unpopulated/anon", BG_ANON, false, true },
    { "counts/both/memfd", BG_MEMFD, true, true },
    { "counts/both/multifd", BG_ANON, true, true, { "multifd" } },
    { "counts/balloon/multifd", BG_ANON, true, false, { "multifd" } },
    { "counts/both/postcopy", BG_MEMFD, true, true, { "postcopy-ram" } },
    { "counts/balloon/postcopy", BG_ANON, true, false, { "postcopy-ram" } },
    { "counts/both/xbzrle", BG_ANON, true, true, { "xbzrle" } },
    { "counts/both/mapped-ram", BG_ANON, true, true, { "mapped-ram" } },
    { "counts/balloon/mapped-ram", BG_MEMFD, true, false, { "mapped-ram" } },
    { "counts/both/mapped-ram-multifd", BG_ANON, true, true,
      { "mapped-ram", "multifd" } },
    { "counts/both/scattered", BG_ANON, true, true, .scattered = true },
    { "counts/balloon/scattered", BG_ANON, true, false, .scattered = true },
    { "counts/balloon/scattered-mapped-ram", BG_MEMFD, true, false,
      { "mapped-ram" }, .scattered = true },
    { "background/both", BG_ANON, true, true, { "background-snapshot" } },
    { "background/balloon", BG_MEMFD, true, false, { "background-snapshot" } },
    { "background/unpopulated", BG_ANON, false, true,
      { "background-snapshot" } },
};

int main(int argc, char **argv)
{
    int i, rc;

    bg_init(&argc, &argv);
    file = g_strdup_printf("%s/skip-record-%d", g_get_tmp_dir(), getpid());
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], test_counts, "skip-record/%s", cases[i].name);
    }
    bg_add_test(&off, test_again, "skip-record/off");
    bg_add_test(&both, test_again, "skip-record/again");
    bg_add_test(NULL, test_both_ends, "skip-record/both-ends");
    bg_add_test(NULL, test_sizes, "skip-record/sizes");
    bg_add_test(NULL, test_no_device, "skip-record/no-device");
    bg_add_test(NULL, test_unplug, "skip-record/unplug");
    rc = g_test_run();
    unlink(file);
    g_free(file);
    return rc;
}
