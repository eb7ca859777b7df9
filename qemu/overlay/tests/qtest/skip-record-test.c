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
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"

#define MUST_TELL_HOST (1u << VIRTIO_BALLOON_F_MUST_TELL_HOST)

#define PAGES_PER_MIB 256

/* The memory of the guest, by what is done to it; in MiB */
#define FILLED_START 4
#define ZERO_START 8
#define ZERO_END 10
#define BALLOON_START 16
#define BALLOON_END 32
#define FILLED_END 48
#define RAM_END 64

/* Cells of 1 MiB, with the ROMs and whatever else there is of RAM blocks */
#define CELLS 100
#define CELL MiB

#define RATE (64 * MiB)

/* Counts by cell; -1 is a member that is absent */
typedef struct Cells {
    int64_t cell_size;
    int64_t ballooned[RAM_END];
    int64_t unpopulated[RAM_END];
    int64_t skipped[RAM_END];
    int64_t zero[RAM_END];
    int64_t sent[RAM_END];
    int64_t again[RAM_END];
} Cells;

typedef struct Case {
    const char *name;
    BGBackend backend;
    bool balloon;               /* capabilities */
    bool unpopulated;
    const char *mode[2];        /* one more, or NULL; ends with NULL */
    const char *detection;      /* of zero pages; NULL: the usual one */
} Case;

static QDict *query_map(BGuest *g, int cells)
{
    QDict *response = qtest_qmp(g->qts,
                                "{ 'execute': 'query-migration-map',"
                                "  'arguments': { 'cells': %d } }", cells);
    QDict *answer;

    g_assert_true(qdict_haskey(response, "return"));
    answer = qdict_get_qdict(response, "return");
    qobject_ref(answer);
    qobject_unref(response);
    return answer;
}

static QDict *find_block(QDict *answer, const char *id)
{
    QList *blocks = qdict_get_qlist(answer, "blocks");
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(blocks, entry) {
        QDict *block = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(block, "id"), id)) {
            return block;
        }
    }
    return NULL;
}

static void read_member(QDict *block, const char *name, int64_t *cells)
{
    QList *list = qdict_get_qlist(block, name);
    const QListEntry *entry;
    int i = 0;

    if (!list) {
        for (i = 0; i < RAM_END; i++) {
            cells[i] = -1;
        }
        return;
    }
    g_assert_cmpint(qlist_size(list), ==, RAM_END);
    QLIST_FOREACH_ENTRY(list, entry) {
        cells[i++] = qnum_get_int(qobject_to(QNum, qlist_entry_obj(entry)));
    }
}

/* The counts of the main memory by cells of 1 MiB */
static void read_cells(BGuest *g, Cells *cells)
{
    QDict *answer = query_map(g, CELLS);
    QDict *block = find_block(answer, g->ram_id);

    g_assert_nonnull(block);
    g_assert_cmpint(qdict_get_int(answer, "page-size"), ==, BALLOON_PAGE);
    g_assert_cmpint(qdict_get_int(answer, "cell-size"), ==, CELL);
    g_assert_cmpint(qdict_get_int(block, "size"), ==, RAM_END * MiB);
    read_member(block, "ballooned", cells->ballooned);
    read_member(block, "unpopulated", cells->unpopulated);
    read_member(block, "skipped", cells->skipped);
    read_member(block, "zero", cells->zero);
    read_member(block, "sent", cells->sent);
    read_member(block, "sent-again", cells->again);
    g_assert_true(qdict_get_bool(answer, "recorded") ==
                  (cells->skipped[0] >= 0));
    qobject_unref(answer);
}

static void assert_cells(const int64_t *cells, int start, int end,
                         int64_t value)
{
    int i;

    for (i = start; i < end; i++) {
        if (cells[i] != value) {
            g_test_message("cell %d", i);
        }
        g_assert_cmpint(cells[i], ==, value);
    }
}

static BGuest *start_source(const Case *c)
{
    BGOptions options = {
        .backend = c->backend,
        .capabilities = c->mode[0] ? c->mode : NULL,
    };
    BGuest *g = bg_start(&options);

    g_assert_cmpuint(g->options.ram_size, ==, RAM_END * MiB);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, FILLED_START * MiB, (FILLED_END - FILLED_START) * MiB, 1);
    qtest_memset(g->qts, ZERO_START * MiB, 0, (ZERO_END - ZERO_START) * MiB);
    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB,
                     (BALLOON_END - BALLOON_START) * MiB);
    return g;
}

/* What is true of it on both sides; zeroes may not be populated where loaded */
static void check_memory(const Cells *cells)
{
    assert_cells(cells->unpopulated, FILLED_START, ZERO_START, 0);
    assert_cells(cells->unpopulated, ZERO_END, BALLOON_START, 0);
    assert_cells(cells->unpopulated, BALLOON_START, BALLOON_END,
                 PAGES_PER_MIB);
    assert_cells(cells->unpopulated, BALLOON_END, FILLED_END, 0);
}

static void check_ballooned(const Cells *cells)
{
    assert_cells(cells->ballooned, 0, BALLOON_START, 0);
    assert_cells(cells->ballooned, BALLOON_START, BALLOON_END, PAGES_PER_MIB);
    assert_cells(cells->ballooned, BALLOON_END, RAM_END, 0);
}

/*
 * Nothing is recorded of a guest that did not leave.  It has a balloon map,
 * which travels with either capability.  If a migration with none of them has
 * @read all of its memory, there are hosts that have populated it by that.
 */
static void check_unrecorded(BGuest *g, bool read)
{
    Cells cells;
    int i;

    read_cells(g, &cells);
    if (!read) {
        check_memory(&cells);
    }
    for (i = FILLED_START; i < RAM_END; i++) {
        assert_cells(cells.unpopulated, i, i + 1, PAGES_PER_MIB -
                     bg_count_populated(g, i * MiB, MiB));
    }
    check_ballooned(&cells);
    assert_cells(cells.skipped, 0, RAM_END, -1);
    assert_cells(cells.zero, 0, RAM_END, -1);
    assert_cells(cells.sent, 0, RAM_END, -1);
    assert_cells(cells.again, 0, RAM_END, -1);
}

static void check_skipped(const Cells *cells, const Case *c)
{
    assert_cells(cells->skipped, FILLED_START, BALLOON_START, 0);
    assert_cells(cells->skipped, BALLOON_START, BALLOON_END, PAGES_PER_MIB);
    assert_cells(cells->skipped, BALLOON_END, FILLED_END, 0);
    assert_cells(cells->skipped, FILLED_END, RAM_END,
                 c->unpopulated ? PAGES_PER_MIB : 0);
}

/* @again: the cell that was written to in between, or 0 */
static void check_sent(const Cells *cells, const Case *c, int again)
{
    bool detected = g_strcmp0(c->detection, "none");
    int i;

    assert_cells(cells->zero, FILLED_START, ZERO_START, 0);
    assert_cells(cells->zero, ZERO_START, ZERO_END,
                 detected ? PAGES_PER_MIB : 0);
    assert_cells(cells->zero, ZERO_END, FILLED_END, 0);
    assert_cells(cells->zero, FILLED_END, RAM_END,
                 c->unpopulated ? 0 : PAGES_PER_MIB);
    assert_cells(cells->sent, FILLED_START, ZERO_START, PAGES_PER_MIB);
    assert_cells(cells->sent, ZERO_START, ZERO_END,
                 detected ? 0 : PAGES_PER_MIB);
    assert_cells(cells->sent, ZERO_END, BALLOON_START, PAGES_PER_MIB);
    assert_cells(cells->sent, BALLOON_START, BALLOON_END, 0);
    assert_cells(cells->sent, BALLOON_END, FILLED_END, PAGES_PER_MIB);
    assert_cells(cells->sent, FILLED_END, RAM_END, 0);
    for (i = FILLED_START; i < RAM_END; i++) {
        g_assert_cmpint(cells->again[i], ==,
                        i == again ? PAGES_PER_MIB : 0);
    }
}

static void set_up(const Case *c, BGuest *source, BGuest *dest)
{
    bg_set_capability(source, "skip-balloon", c->balloon);
    bg_set_capability(dest, "skip-balloon", c->balloon);
    bg_set_capability(source, "skip-unpopulated", c->unpopulated);
    bg_set_capability(dest, "skip-unpopulated", c->unpopulated);
    bg_migrate_limit(source, RATE);
    if (c->detection) {
        qtest_qmp_assert_success(source->qts,
                                 "{ 'execute': 'migrate-set-parameters',"
                                 "  'arguments': {"
                                 "    'zero-page-detection': %s } }",
                                 c->detection);
    }
}

static bool is_postcopy(const Case *c)
{
    return !g_strcmp0(c->mode[0], "postcopy-ram");
}

/*
 * Either write to what has been sent, or have the rest sent after the switch,
 * which must not count as sending it again.  Returns the cell written to.
 */
static int disturb(const Case *c, BGuest *source)
{
    if (is_postcopy(c)) {
        qtest_qmp_assert_success(source->qts,
                                 "{ 'execute': 'migrate-start-postcopy' }");
        return 0;
    }
    bg_migrate_wait_sent(source, 12 * MiB);
    bg_fill(source, FILLED_START * MiB, MiB, 2);
    bg_migrate_limit(source, 0);
    return FILLED_START;
}

static void test_counts(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);
    Cells cells;
    int again;

    check_unrecorded(source, false);
    set_up(c, source, dest);
    bg_migrate_start(source, dest);
    again = disturb(c, source);
    bg_migrate_wait(source, dest);
    read_cells(source, &cells);
    check_memory(&cells);
    check_ballooned(&cells);
    assert_cells(cells.unpopulated, ZERO_START, ZERO_END, 0);
    check_skipped(&cells, c);
    check_sent(&cells, c, again);

    /* The destination has sent nothing. */
    check_unrecorded(dest, false);
    bg_quit(dest);
    bg_quit(source);
}

static const Case off_case = { .backend = BG_ANON };
static const Case both_case = {
    .backend = BG_ANON, .balloon = true, .unpopulated = true,
};

/* Other migrations are not recorded, and end the record of the one before. */
static void test_off(void)
{
    BGuest *source = start_source(&both_case);
    BGuest *dest = bg_start_incoming(source);
    BGuest *next;

    set_up(&both_case, source, dest);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    next = bg_start_incoming(dest);
    set_up(&off_case, dest, next);
    bg_migrate_start(dest, next);
    bg_migrate_wait(dest, next);
    check_unrecorded(dest, true);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(source);
}

static void cancel(BGuest *source)
{
    bool cancelled = false;

    qtest_qmp_assert_success(source->qts, "{ 'execute': 'migrate_cancel' }");
    while (!cancelled) {
        QDict *info = bg_query_migrate(source);

        cancelled = !strcmp(qdict_get_str(info, "status"), "cancelled");
        qobject_unref(info);
    }
}

/* A migration that was cancelled is told of; the next one begins anew. */
static void test_again(void)
{
    const Case *c = &both_case;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);
    Cells cells;

    set_up(c, source, dest);
    bg_migrate_limit(source, 4 * MiB);
    bg_migrate_start(source, dest);
    bg_migrate_wait_sent(source, MiB);
    read_cells(source, &cells);
    check_skipped(&cells, c);
    assert_cells(cells.sent, FILLED_END, RAM_END, 0);
    g_assert_cmpint(cells.sent[FILLED_START], >, 0);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    cancel(source);
    bg_quit(dest);

    dest = bg_start_incoming(source);
    set_up(c, source, dest);
    bg_migrate_limit(source, 0);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    read_cells(source, &cells);
    check_skipped(&cells, c);
    check_sent(&cells, c, 0);
    bg_quit(dest);
    bg_quit(source);
}

/* Every other page of memory that was never used is in the balloon. */
static void test_scattered(gconstpointer data)
{
    const Case *c = data;
    const int half = PAGES_PER_MIB / 2;
    BGOptions options = { .backend = c->backend };
    BGuest *source = bg_start(&options);
    BGuest *dest = bg_start_incoming(source);
    uint32_t pfns[(BALLOON_END - BALLOON_START) * PAGES_PER_MIB / 2];
    Cells cells;
    int i;

    bg_driver_start(source, MUST_TELL_HOST);
    for (i = 0; i < ARRAY_SIZE(pfns); i++) {
        pfns[i] = BALLOON_START * PAGES_PER_MIB + 2 * i;
    }
    bg_request(source, BG_INFLATE, pfns, ARRAY_SIZE(pfns));
    set_up(c, source, dest);
    bg_migrate_limit(source, 0);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    read_cells(source, &cells);
    assert_cells(cells.ballooned, BALLOON_START, BALLOON_END, half);
    assert_cells(cells.skipped, BALLOON_START, BALLOON_END,
                 c->unpopulated ? PAGES_PER_MIB : half);
    assert_cells(cells.zero, BALLOON_START, BALLOON_END,
                 c->unpopulated ? 0 : half);
    assert_cells(cells.sent, BALLOON_START, BALLOON_END, 0);
    bg_quit(dest);
    bg_quit(source);
}

static void assert_refused(BGuest *g, int cells)
{
    QDict *response = qtest_qmp(g->qts,
                                "{ 'execute': 'query-migration-map',"
                                "  'arguments': { 'cells': %d } }", cells);

    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
}

static void test_bad_cells(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);

    assert_refused(g, 0);
    assert_refused(g, 16385);
    assert_refused(g, -1);
    bg_quit(g);
}

static int64_t sum_cells(QDict *block, const char *name)
{
    QList *list = qdict_get_qlist(block, name);
    const QListEntry *entry;
    int64_t sum = 0;

    g_assert_nonnull(list);
    QLIST_FOREACH_ENTRY(list, entry) {
        sum += qnum_get_int(qobject_to(QNum, qlist_entry_obj(entry)));
    }
    return sum;
}

/* Whatever the cells, the sums are the same. */
static void test_sizes(void)
{
    static const int cells[] = { 1, 7, 64, 4096, 16384 };
    const Case *c = &both_case;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);
    int64_t before = INT64_MAX;
    int i;

    set_up(c, source, dest);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    for (i = 0; i < ARRAY_SIZE(cells); i++) {
        QDict *answer = query_map(source, cells[i]);
        QDict *block = find_block(answer, source->ram_id);
        int64_t size = qdict_get_int(answer, "cell-size");

        g_assert_true(is_power_of_2(size));
        g_assert_cmpint(size, <=, before);
        before = size;
        g_assert_cmpint(sum_cells(block, "ballooned"), ==,
                        (BALLOON_END - BALLOON_START) * PAGES_PER_MIB);
        g_assert_cmpint(sum_cells(block, "skipped"), >=,
                        (BALLOON_END - BALLOON_START + RAM_END - FILLED_END) *
                        PAGES_PER_MIB);
        g_assert_cmpint(sum_cells(block, "sent"), >=,
                        (FILLED_END - FILLED_START - ZERO_END + ZERO_START -
                         BALLOON_END + BALLOON_START) * PAGES_PER_MIB);
        qobject_unref(answer);
    }
    bg_quit(dest);
    bg_quit(source);
}

static void test_no_device(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = bg_start(&options);
    Cells cells;

    read_cells(g, &cells);
    assert_cells(cells.ballooned, 0, RAM_END, -1);
    assert_cells(cells.unpopulated, FILLED_START, RAM_END, PAGES_PER_MIB);
    bg_quit(g);
}

#define DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                  "-device pc-dimm,id=dimm0,memdev=dimm-ram"

/* As the guest's ACPI code does; the RAM block goes some time later. */
static void eject_dimm(BGuest *g)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    qtest_qmp_device_del_send(g->qts, "dimm0");
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
}

/* What was recorded of memory goes with it. */
static void test_unplug(void)
{
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    BGuest *source = bg_start(&options);
    BGuest *dest = bg_start_incoming(source);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    QDict *answer;

    set_up(&both_case, source, dest);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    answer = query_map(source, CELLS);
    g_assert_cmpint(sum_cells(find_block(answer, "dimm-ram"), "skipped"), ==,
                    128 * PAGES_PER_MIB);

    eject_dimm(source);
    do {
        qobject_unref(answer);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        answer = query_map(source, CELLS);
    } while (find_block(answer, "dimm-ram"));
    g_assert_nonnull(find_block(answer, source->ram_id));
    qobject_unref(answer);
    bg_quit(dest);
    bg_quit(source);
}

static const Case cases[] = {
    { "balloon/anon", BG_ANON, true, false },
    { "unpopulated/anon", BG_ANON, false, true },
    { "both/anon", BG_ANON, true, true },
    { "both/memfd", BG_MEMFD, true, true },
    { "both/multifd", BG_ANON, true, true, { "multifd" } },
    { "balloon/multifd", BG_ANON, true, false, { "multifd" } },
    { "both/postcopy", BG_MEMFD, true, true, { "postcopy-ram" } },
    { "balloon/postcopy", BG_ANON, true, false, { "postcopy-ram" } },
    { "both/detect-none", BG_ANON, true, true, { NULL }, "none" },
    { "both/multifd-detect-none", BG_ANON, true, true, { "multifd" }, "none" },
    { "both/multifd-legacy", BG_ANON, true, true, { "multifd" }, "legacy" },
    { "both/xbzrle", BG_ANON, true, true, { "xbzrle" } },
};

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strconcat("/skip-record/counts/",
                                            cases[i].name, NULL);

        qtest_add_data_func(path, &cases[i], test_counts);
    }
    qtest_add_data_func("/skip-record/scattered/both", &both_case,
                        test_scattered);
    qtest_add_data_func("/skip-record/scattered/balloon", &cases[0],
                        test_scattered);
    qtest_add_func("/skip-record/off", test_off);
    qtest_add_func("/skip-record/again", test_again);
    qtest_add_func("/skip-record/bad-cells", test_bad_cells);
    qtest_add_func("/skip-record/sizes", test_sizes);
    qtest_add_func("/skip-record/no-device", test_no_device);
    qtest_add_func("/skip-record/unplug", test_unplug);
    return g_test_run();
}
