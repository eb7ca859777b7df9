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

/*
 * The same of what changes while the guest migrates; 2 MiB each, as the host
 * may back that by a huge page
 */
#define CHANGED 2
#define REWRITTEN 4             /* sent, then written to */
#define GIVEN_BACK 6            /* sent, then inflated */
#define TAKEN_BACK 16           /* deflated and written to */
#define TAKEN_UNUSED 20         /* deflated, but not used */
#define LIED_ABOUT 24           /* written to in the balloon */
#define GIVEN_BACK_EARLY 40     /* inflated before it is sent */

/* Cells of 1 MiB, with the ROMs and whatever else there is of RAM blocks */
#define CELLS 100
#define CELL MiB

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (4 * MiB)

/* Counts by cell; -1 is a member that is absent */
typedef struct Cells {
    int64_t cell_size;
    int64_t ballooned[RAM_END];
    int64_t unpopulated[RAM_END];
    int64_t skipped[RAM_END];
} Cells;

typedef struct Case {
    const char *name;
    BGBackend backend;
    bool balloon;               /* capabilities */
    bool unpopulated;
    const char *mode[3];        /* more of them; ends with NULL */
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

static void check_unpopulated(BGuest *g, const Cells *cells)
{
    int i;

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
    check_unpopulated(g, &cells);
    assert_cells(cells.skipped, 0, RAM_END, -1);
}

static void check_ballooned(BGuest *g)
{
    Cells cells;

    read_cells(g, &cells);
    assert_cells(cells.ballooned, 0, BALLOON_START, 0);
    assert_cells(cells.ballooned, BALLOON_START, BALLOON_END, PAGES_PER_MIB);
    assert_cells(cells.ballooned, BALLOON_END, RAM_END, 0);
}

/* All of a cell is skipped, or nothing.  With @changed, see change_memory(). */
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
           (cell >= FILLED_END && c->unpopulated);
}

static void check_skipped(const Cells *cells, const Case *c, bool changed)
{
    int i;

    for (i = FILLED_START; i < RAM_END; i++) {
        assert_cells(cells->skipped, i, i + 1,
                     is_skipped(c, i, changed) ? PAGES_PER_MIB : 0);
    }
}

static void set_up(const Case *c, BGuest *g)
{
    bg_set_capability(g, "skip-balloon", c->balloon);
    bg_set_capability(g, "skip-unpopulated", c->unpopulated);
}

/* With @limit bytes per second; 0: at once */
static void migrate(const Case *c, BGuest *source, BGuest *dest, uint64_t limit)
{
    set_up(c, source);
    set_up(c, dest);
    bg_migrate_limit(source, limit);
    bg_migrate_start(source, dest);
    if (!limit) {
        bg_migrate_wait(source, dest);
    }
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

/* In postcopy all that changed is sent after the switch. */
static void finish_changed(const Case *c, BGuest *source)
{
    bg_migrate_wait_sent(source, 4 * MiB);
    change_memory(source);
    if (!g_strcmp0(c->mode[0], "postcopy-ram")) {
        qtest_qmp_assert_success(source->qts,
                                 "{ 'execute': 'migrate-start-postcopy' }");
    }
    bg_migrate_limit(source, 0);
}

static void check_record(const Case *c, BGuest *source, bool changed)
{
    Cells cells;

    read_cells(source, &cells);
    check_unpopulated(source, &cells);
    check_skipped(&cells, c, changed);
}

static void test_counts(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);

    check_ballooned(source);
    check_unrecorded(source);
    migrate(c, source, dest, SLOW);
    finish_changed(c, source);
    bg_migrate_wait(source, dest);
    check_record(c, source, true);

    /* The destination has sent nothing. */
    check_unrecorded(dest);
    bg_quit(dest);
    bg_quit(source);
}

/* ---- Files ---- */

static void migrate_to(BGuest *source, const char *uri)
{
    qtest_qmp_assert_success(source->qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
}

/* In a file of mapped-ram; with @changed, its memory changes meanwhile. */
static void save(const Case *c, BGuest *source, bool changed)
{
    g_autofree char *path = g_strdup_printf("%s/skip-record-%d",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    const char *const *mode;

    for (mode = c->mode; *mode; mode++) {
        bg_set_capability(source, *mode, true);
    }
    set_up(c, source);
    bg_migrate_limit(source, changed ? SLOW : 0);
    migrate_to(source, uri);
    if (changed) {
        finish_changed(c, source);
    }
    bg_migrate_wait(source, NULL);
    unlink(path);
}

static void test_mapped_ram(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_source(c);

    save(c, source, true);
    check_record(c, source, true);
    bg_quit(source);
}

/*
 * What changes when the guest runs again is not in the snapshot.  What it gives
 * back meanwhile is discarded some time after that has completed.  With either
 * capability all is skipped that is not populated.
 */
static void test_background(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_source(c);
    Case both = *c;
    Cells cells;

    both.unpopulated = true;
    if (bg_set_background_snapshot(source)) {
        set_up(c, source);
        bg_migrate_limit(source, SLOW);
        migrate_to(source, "exec:cat > /dev/null");
        qtest_qmp_eventwait(source->qts, "RESUME");
        change_memory(source);
        bg_migrate_limit(source, 0);
        bg_migrate_wait(source, NULL);
        read_cells(source, &cells);
        check_skipped(&cells, &both, false);
    }
    bg_quit(source);
}

/* ---- One migration after the other ---- */

static const Case off_case = { .backend = BG_ANON };
static const Case both_case = {
    .backend = BG_ANON, .balloon = true, .unpopulated = true,
};

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

/* While it is under way, what it has skipped so far is told. */
static void migrate_and_cancel(const Case *c, BGuest *source)
{
    BGuest *dest = bg_start_incoming(source);

    migrate(c, source, dest, SLOW);
    bg_migrate_wait_sent(source, MiB);
    check_record(c, source, false);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    cancel(source);
    bg_quit(dest);
}

/* A migration that was cancelled is told of; the next one begins anew. */
static void test_again(void)
{
    const Case *c = &both_case;
    BGuest *source = start_source(c);
    BGuest *dest;

    migrate_and_cancel(c, source);
    change_memory(source);
    check_record(c, source, false);

    dest = bg_start_incoming(source);
    migrate(c, source, dest, 0);
    check_record(c, source, true);
    bg_quit(dest);
    bg_quit(source);
}

/* Other migrations are not recorded, and end the record of the one before. */
static void test_off(void)
{
    BGuest *source = start_source(&both_case);
    BGuest *dest;

    migrate_and_cancel(&both_case, source);
    dest = bg_start_incoming(source);
    migrate(&off_case, source, dest, 0);
    check_unrecorded(source);
    bg_quit(dest);
    bg_quit(source);
}

/* Who was the destination is the source next, and has a record of its own. */
static void test_both_ends(void)
{
    const Case *c = &both_case;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);
    BGuest *next;

    migrate(c, source, dest, 0);
    check_unrecorded(dest);
    next = bg_start_incoming(dest);
    /* It has not populated what arrived as zeroes. */
    bg_fill(dest, ZERO_START * MiB, (ZERO_END - ZERO_START) * MiB, 5);
    change_memory(dest);
    migrate(c, dest, next, 0);
    check_record(c, source, false);
    check_record(c, dest, true);
    check_unrecorded(next);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(source);
}

/* Every other page of memory that was never used is in the balloon. */
static BGuest *start_scattered(const Case *c)
{
    BGOptions options = { .backend = c->backend };
    BGuest *source = bg_start(&options);
    uint32_t pfns[(BALLOON_END - BALLOON_START) * PAGES_PER_MIB / 2];
    int i;

    bg_driver_start(source, MUST_TELL_HOST);
    for (i = 0; i < ARRAY_SIZE(pfns); i++) {
        pfns[i] = BALLOON_START * PAGES_PER_MIB + 2 * i;
    }
    bg_request(source, BG_INFLATE, pfns, ARRAY_SIZE(pfns));
    return source;
}

static void check_scattered(const Case *c, BGuest *source)
{
    const int half = PAGES_PER_MIB / 2;
    Cells cells;

    read_cells(source, &cells);
    assert_cells(cells.ballooned, BALLOON_START, BALLOON_END, half);
    assert_cells(cells.skipped, BALLOON_START, BALLOON_END,
                 c->unpopulated ? PAGES_PER_MIB : half);
}

static void test_scattered(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_scattered(c);
    BGuest *dest = bg_start_incoming(source);

    migrate(c, source, dest, 0);
    check_scattered(c, source);
    bg_quit(dest);
    bg_quit(source);
}

static void test_scattered_mapped_ram(gconstpointer data)
{
    const Case *c = data;
    BGuest *source = start_scattered(c);

    save(c, source, false);
    check_scattered(c, source);
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
    static const char *const names[] = {
        "ballooned", "unpopulated", "skipped"
    };
    const Case *c = &both_case;
    BGuest *source = start_source(c);
    BGuest *dest = bg_start_incoming(source);
    int64_t sums[ARRAY_SIZE(names)] = { 0 };
    int64_t before = INT64_MAX;
    int i, j;

    migrate(c, source, dest, 0);
    for (i = 0; i < ARRAY_SIZE(cells); i++) {
        QDict *answer = query_map(source, cells[i]);
        QDict *block = find_block(answer, source->ram_id);
        int64_t size = qdict_get_int(answer, "cell-size");

        g_assert_true(is_power_of_2(size));
        g_assert_cmpint(size, <=, before);
        before = size;
        for (j = 0; j < ARRAY_SIZE(names); j++) {
            int64_t sum = sum_cells(block, names[j]);

            g_assert_cmpint(sum, >=,
                            (BALLOON_END - BALLOON_START) * PAGES_PER_MIB);
            g_assert_true(!i || sum == sums[j]);
            sums[j] = sum;
        }
        qobject_unref(answer);
    }
    /* Cells as large as a page: of 16384, the ROMs have some. */
    g_assert_cmpint(before, <=, 2 * BALLOON_PAGE);
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
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    bool gone = false;

    qtest_qmp_device_del_send(g->qts, "dimm0");
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    while (!gone) {
        QDict *answer = query_map(g, CELLS);

        g_assert_cmpint(g_get_monotonic_time(), <, end);
        gone = !find_block(answer, "dimm-ram");
        qobject_unref(answer);
    }
}

static void plug_dimm(BGuest *g)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'memory-backend-ram', 'id': 'dimm-ram',"
        " 'size': 134217728 } }");
    qtest_qmp_device_add(g->qts, "pc-dimm", "dimm0",
                         "{ 'memdev': 'dimm-ram' }");
}

/* What was recorded of memory goes with it. */
static void test_unplug(void)
{
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    BGuest *source = bg_start(&options);
    BGuest *dest = bg_start_incoming(source);
    QDict *answer, *block;

    migrate(&both_case, source, dest, 0);
    answer = query_map(source, CELLS);
    g_assert_cmpint(sum_cells(find_block(answer, "dimm-ram"), "skipped"), ==,
                    128 * PAGES_PER_MIB);
    qobject_unref(answer);

    qtest_qmp_assert_success(source->qts, "{ 'execute': 'cont' }");
    eject_dimm(source);
    plug_dimm(source);
    answer = query_map(source, CELLS);
    block = find_block(answer, "dimm-ram");
    g_assert_cmpint(sum_cells(block, "unpopulated"), ==, 128 * PAGES_PER_MIB);
    g_assert_false(qdict_haskey(block, "skipped"));
    block = find_block(answer, source->ram_id);
    g_assert_cmpint(sum_cells(block, "skipped"), >, 0);
    g_assert_true(qdict_get_bool(answer, "recorded"));
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
    { "both/xbzrle", BG_ANON, true, true, { "xbzrle" } },
};

static const Case mapped_cases[] = {
    { "both/mapped-ram", BG_ANON, true, true, { "mapped-ram" } },
    { "balloon/mapped-ram", BG_MEMFD, true, false, { "mapped-ram" } },
    { "both/mapped-ram-multifd", BG_ANON, true, true,
      { "mapped-ram", "multifd" } },
};

static const Case background_cases[] = {
    { "both/background", BG_ANON, true, true },
    { "balloon/background", BG_MEMFD, true, false },
    { "unpopulated/background", BG_ANON, false, true },
};

static void add_cases(const Case *all, int n, void (*test)(gconstpointer data))
{
    int i;

    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strconcat("/skip-record/counts/",
                                            all[i].name, NULL);

        qtest_add_data_func(path, &all[i], test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(cases, ARRAY_SIZE(cases), test_counts);
    add_cases(mapped_cases, ARRAY_SIZE(mapped_cases), test_mapped_ram);
    add_cases(background_cases, ARRAY_SIZE(background_cases),
              test_background);
    qtest_add_data_func("/skip-record/scattered/both", &both_case,
                        test_scattered);
    qtest_add_data_func("/skip-record/scattered/balloon", &cases[0],
                        test_scattered);
    qtest_add_data_func("/skip-record/scattered/mapped-ram", &mapped_cases[1],
                        test_scattered_mapped_ram);
    qtest_add_func("/skip-record/off", test_off);
    qtest_add_func("/skip-record/again", test_again);
    qtest_add_func("/skip-record/both-ends", test_both_ends);
    qtest_add_func("/skip-record/bad-cells", test_bad_cells);
    qtest_add_func("/skip-record/sizes", test_sizes);
    qtest_add_func("/skip-record/no-device", test_no_device);
    qtest_add_func("/skip-record/unplug", test_unplug);
    return g_test_run();
}
