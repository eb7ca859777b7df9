/*
 * What the guest gives back and the host cannot let go of: while discarding is
 * inhibited, when memory is locked, in private mappings of files
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/prctl.h>
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_ring.h"
#include "balloon-guest.h"
#include "balloon-model.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define REPORTING (1U << VIRTIO_BALLOON_F_REPORTING)
#define WAIT_SECONDS 60
#define HUGE_SIZE (2 * MiB)
#define HUGE_PAGES (HUGE_SIZE / BALLOON_PAGE)

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (1 * MiB)
#define STEADY (16 * MiB)
#define STILL 1024

/* Offsets in MiB; one MiB each, but for the first two */
enum {
    DATA = 8,                   /* holds something, stays as it is */
    OWED = 16,                  /* given back while that is inhibited */
    AGAIN = 24,                 /* the same, then taken back and used */
    UNREAD,                     /* the same, then taken back and left */
    FORMER,                     /* in the map, taken back meanwhile */
    KEPT,                       /* in the map, stays there */
    LAST,                       /* given back last of all */
    END,
    TAIL = 32,                  /* what a migration is busy with in the end */
};

static const char *backend_name(BGBackend backend)
{
    return backend == BG_ANON ? "anon" :
           backend == BG_MEMFD ? "memfd" : "hugetlb";
}

static BGuest *start_driven(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST | REPORTING);
    return g;
}

/* How much of a range is in the map, in bytes */
static uint64_t in_map(BGuest *g, uint64_t start, uint64_t length)
{
    g_autoptr(GArray) runs = bg_map_runs(g);
    uint64_t bytes = 0;
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);
        uint64_t s = MAX(run->start, start);
        uint64_t e = MIN(run->start + run->length, start + length);

        bytes += s < e ? e - s : 0;
    }
    return bytes;
}

static void wait_in_map(BGuest *g, uint64_t start, uint64_t length)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;

    while (in_map(g, start, length) != length) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void assert_resident(BGuest *g, uint64_t start, uint64_t length)
{
    g_assert_cmpuint(in_map(g, start, length), ==, 0);
    g_assert_cmpuint(bg_count_populated(g, start, length), ==,
                     length / BALLOON_PAGE);
}

static uint8_t first_byte(BGuest *g, uint64_t addr)
{
    uint8_t value;

    bg_read(g, addr, &value, 1);
    return value;
}

/* ---- What inhibits discarding ---- */

static bool have_gdb(void)
{
    g_autofree char *gdb = g_find_program_in_path("gdb");

    if (!gdb) {
        g_test_skip("gdb is not installed");
    }
    return gdb;
}

/* Have a debugger call functions of QEMU, in its main loop. */
static void call(BGuest *g, const char *first, const char *second,
                 const char *third)
{
    g_autofree char *pid = g_strdup_printf("%d", (int)qtest_pid(g->qts));
    const char *argv[] = {
        /* Reading what QEMU has for debuggers would take most of the time. */
        "gdb", "-batch", "-nx", "-readnever", "-p", pid, "-ex", first,
        second ? "-ex" : NULL, second, "-ex", third, NULL,
    };
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH |
                               G_SPAWN_STDOUT_TO_DEV_NULL |
                               G_SPAWN_STDERR_TO_DEV_NULL,
                               NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

typedef enum Cause {
    DEVICE,                     /* needs all memory to stay where it is */
    HOLD,                       /* balloon_map_hold() */
} Cause;

static void inhibit(BGuest *g, Cause cause, bool on)
{
    if (cause == DEVICE) {
        call(g, on ? "call (int)ram_block_discard_disable(1)"
                   : "call (int)ram_block_discard_disable(0)", NULL, NULL);
    } else {
        call(g, "call (void)bql_lock_impl(\"test\", 1)",
             on ? "call (void)balloon_map_hold(1)"
                : "call (void)balloon_map_hold(0)",
             "call (void)bql_unlock()");
    }
}

/* ---- One script for all ---- */

static void before(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, DATA * MiB, (END - DATA) * MiB, 1);
    bm_inflate(m, g, FORMER * MiB, 2 * MiB);
}

/* While discarding is inhibited */
static void meanwhile(BalloonModel *m, BGuest *g)
{
    bm_inflate(m, g, OWED * MiB, 8 * MiB);
    bm_inflate(m, g, AGAIN * MiB, 1 * MiB);
    bm_inflate_in_vain(m, g, UNREAD * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 2 * MiB / BALLOON_PAGE);
    bm_deflate(m, g, AGAIN * MiB, 1 * MiB);
    bm_fill(m, g, AGAIN * MiB, 1 * MiB, 2);
    bg_request_range(g, BG_DEFLATE, UNREAD * MiB, 1 * MiB);
    bm_deflate(m, g, FORMER * MiB, 1 * MiB);
    g_assert_cmpuint(in_map(g, FORMER * MiB, 1 * MiB), ==, 0);
    g_assert_cmpuint(in_map(g, KEPT * MiB, 1 * MiB), ==, 1 * MiB);
    bm_inflate(m, g, LAST * MiB, 1 * MiB);
}

/* When it is over */
static void after(BalloonModel *m, BGuest *g)
{
    wait_in_map(g, OWED * MiB, 8 * MiB);
    wait_in_map(g, LAST * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 10 * MiB / BALLOON_PAGE);
    g_assert_cmpuint(bg_count_populated(g, OWED * MiB, 8 * MiB), ==, 0);
    bm_check(m, g);
}

typedef struct Case {
    BGBackend backend;
    Cause cause;
} Case;

static void test_script(gconstpointer data)
{
    const Case *c = data;
    BGOptions options = { .backend = c->backend };
    BalloonModel *m;
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    m = bm_new(g);
    before(m, g);
    inhibit(g, c->cause, true);
    meanwhile(m, g);
    assert_resident(g, OWED * MiB, 8 * MiB);
    assert_resident(g, UNREAD * MiB, 1 * MiB);
    inhibit(g, c->cause, false);
    after(m, g);
    /* It goes on as ever. */
    bm_inflate(m, g, DATA * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 11 * MiB / BALLOON_PAGE);
    bm_check(m, g);
    bg_quit(g);
    bm_free(m);
}

/* Given back in pieces that are adjacent to nothing */
static void test_pieces(gconstpointer data)
{
    const Case *c = data;
    BGOptions options = { .backend = c->backend };
    const size_t n = 8 * MiB / BALLOON_PAGE / 2;
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    BalloonModel *m;
    uint64_t runs;
    BGuest *g;
    size_t i;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    m = bm_new(g);
    bm_fill(m, g, DATA * MiB, (END - DATA) * MiB, 1);
    for (i = 0; i < n; i++) {
        pfns[i] = OWED * MiB / BALLOON_PAGE + 2 * i;
        m->page[pfns[i]] = (BMPage) { .in_balloon = true };
    }
    inhibit(g, c->cause, true);
    bg_request(g, BG_INFLATE, pfns, n);
    bm_inflate(m, g, LAST * MiB, 1 * MiB);
    inhibit(g, c->cause, false);
    wait_in_map(g, LAST * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, n + 1 * MiB / BALLOON_PAGE);
    g_assert_cmpuint(runs, ==, n + 1);
    bm_check(m, g);
    bg_quit(g);
    bm_free(m);
}

/* ---- Who must not be owed anything ---- */

/* The device writes to the range, as far as the driver's request goes. */
static void report(BGuest *g, uint64_t start, uint64_t length)
{
    BGQueue *q = &g->queue[BG_REPORT];

    g_assert_cmpuint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, start);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, VRING_DESC_F_WRITE);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, BG_REPORT);
}

/*
 * What is reported to be free may be in use again, so it is never owed: a
 * device that needs it keeps it, and nobody who counts pages does.
 */
static void test_reported(gconstpointer data)
{
    const Case *c = data;
    BGOptions options = {
        .backend = c->backend,
        .device_args = "free-page-reporting=on",
    };
    BalloonModel *m;
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    m = bm_new(g);
    before(m, g);
    inhibit(g, c->cause, true);
    report(g, DATA * MiB, 1 * MiB);
    if (c->cause == HOLD) {
        g_assert_cmpuint(bg_count_populated(g, DATA * MiB, 1 * MiB), ==, 0);
        bm_fill(m, g, DATA * MiB, 1 * MiB, 3);
    }
    meanwhile(m, g);
    inhibit(g, c->cause, false);
    after(m, g);
    assert_resident(g, DATA * MiB, 1 * MiB);
    report(g, DATA * MiB, 1 * MiB);
    g_assert_cmpuint(bg_count_populated(g, DATA * MiB, 1 * MiB), ==, 0);
    bg_quit(g);
    bm_free(m);
}

/* There is nothing to wait for: three times as long as it would take. */
static void let_time_pass(void)
{
    g_usleep(300 * 1000);
}

/* A driver that need not tell may use a page again before it tells. */
static void test_need_not_tell(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = bg_start(&options);
    bg_driver_start(g, 0);
    bg_fill(g, OWED * MiB, 2 * MiB, 1);
    inhibit(g, DEVICE, true);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    inhibit(g, DEVICE, false);
    let_time_pass();
    assert_resident(g, OWED * MiB, 1 * MiB);
    g_assert_false(bg_is_zero(g, OWED * MiB));
    bg_request_range(g, BG_INFLATE, OWED * MiB, 2 * MiB);
    g_assert_cmpuint(in_map(g, OWED * MiB, 2 * MiB), ==, 2 * MiB);
    bg_quit(g);
}

/*
 * With the guest stopped it may be about to run elsewhere, in memory that is
 * shared with it.
 */
static void test_stopped(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BalloonModel *m;
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    m = bm_new(g);
    before(m, g);
    inhibit(g, DEVICE, true);
    meanwhile(m, g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    inhibit(g, DEVICE, false);
    let_time_pass();
    assert_resident(g, OWED * MiB, 8 * MiB);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    after(m, g);
    bg_quit(g);
    bm_free(m);
}

/* ---- Reset and unplug ---- */

typedef enum End {
    DRIVER_RESET,
    SYSTEM_RESET,
    UNPLUG,
} End;

static void unplug_balloon(BGuest *g)
{
    qtest_qmp_device_del_send(g->qts, "balloon0");
    qtest_outl(g->qts, 0xae08, 1U << 5);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_device_add(g->qts, "virtio-balloon-pci", "balloon0",
                         "{ 'addr': '5', 'must-tell-host': true }");
}

/* Whoever comes next has not given it back. */
static void test_end(gconstpointer data)
{
    End end = GPOINTER_TO_INT(data);
    BGOptions options = { .backend = BG_MEMFD };
    uint8_t value;
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    bg_fill(g, OWED * MiB, (END - OWED) * MiB, 1);
    value = first_byte(g, OWED * MiB);
    inhibit(g, DEVICE, true);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 8 * MiB);
    switch (end) {
    case DRIVER_RESET:
        bg_driver_reset(g);
        break;
    case SYSTEM_RESET:
        qtest_system_reset(g->qts);
        break;
    case UNPLUG:
        unplug_balloon(g);
        break;
    }
    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
    inhibit(g, DEVICE, false);
    wait_in_map(g, LAST * MiB, 1 * MiB);
    assert_resident(g, OWED * MiB, 8 * MiB);
    g_assert_cmpuint(first_byte(g, OWED * MiB), ==, value);
    bg_quit(g);
}

/* A device that goes when it is over, and nothing has been let go of yet */
static void test_unplug_last(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    bg_fill(g, OWED * MiB, 8 * MiB, 1);
    inhibit(g, HOLD, true);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 8 * MiB);
    unplug_balloon(g);
    inhibit(g, HOLD, false);
    assert_resident(g, OWED * MiB, 8 * MiB);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
    g_assert_cmpuint(in_map(g, LAST * MiB, 1 * MiB), ==, 1 * MiB);
    bg_quit(g);
}

/* The memory goes before it can be let go of. */
static void test_dimm(void)
{
    const uint64_t start = 4 * GiB;
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    g = start_driven(&options);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'memory-backend-ram', 'id': 'dimm-ram',"
        " 'size': 134217728 } }");
    qtest_qmp_device_add(g->qts, "pc-dimm", "dimm0",
                         "{ 'memdev': 'dimm-ram' }");
    bg_fill(g, start, 4 * MiB, 1);
    bg_fill(g, OWED * MiB, 1 * MiB, 1);
    inhibit(g, DEVICE, true);
    bg_request_range(g, BG_INFLATE, start, 4 * MiB);
    qtest_qmp_device_del_send(g->qts, "dimm0");
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    inhibit(g, DEVICE, false);
    wait_in_map(g, OWED * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 1 * MiB / BALLOON_PAGE);
    bg_quit(g);
}

/* ---- Huge pages ---- */

static uint64_t huge(int i)
{
    return OWED * MiB + i * HUGE_SIZE;
}

/* Ask for pages of huge page @i, from page @first on. */
static void ask(BGuest *g, int queue, int i, int first, int n)
{
    bg_request_range(g, queue, huge(i) + first * BALLOON_PAGE,
                     n * BALLOON_PAGE);
}

static void test_huge(gconstpointer data)
{
    const Case *c = data;
    const int half = HUGE_PAGES / 2;
    BGOptions options = { .backend = BG_HUGETLB };
    const uint64_t used = huge(2) + 7 * BALLOON_PAGE;
    uint8_t value;
    BGuest *g;

    if (!have_gdb()) {
        return;
    }
    if (bg_free_huge_pages() < 64 * MiB / HUGE_SIZE) {
        g_test_skip("too few huge pages are free");
        return;
    }
    g = start_driven(&options);
    bg_fill(g, huge(0), 6 * HUGE_SIZE, 1);
    ask(g, BG_INFLATE, 0, 0, half);
    ask(g, BG_INFLATE, 3, 0, HUGE_PAGES);
    inhibit(g, c->cause, true);
    /* One in two halves, a half, one of which a page is used again */
    ask(g, BG_INFLATE, 0, half, HUGE_PAGES - half);
    ask(g, BG_INFLATE, 1, 0, half);
    ask(g, BG_INFLATE, 2, 0, HUGE_PAGES);
    ask(g, BG_DEFLATE, 2, 7, 1);
    bg_fill(g, used, BALLOON_PAGE, 77);
    value = first_byte(g, used);
    /* One that leaves the map, and comes again; a run that is not whole */
    ask(g, BG_DEFLATE, 3, 7, 1);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, half + HUGE_PAGES - 1);
    ask(g, BG_INFLATE, 3, 7, 1);
    ask(g, BG_INFLATE, 4, half, HUGE_PAGES);
    ask(g, BG_INFLATE, 4, 0, half);
    inhibit(g, c->cause, false);

    /* The last one by address comes last. */
    wait_in_map(g, huge(5), HUGE_SIZE / 2);
    g_assert_cmpuint(in_map(g, huge(0), HUGE_SIZE), ==, HUGE_SIZE);
    g_assert_cmpuint(in_map(g, huge(1), HUGE_SIZE), ==, HUGE_SIZE / 2);
    g_assert_cmpuint(in_map(g, huge(2), HUGE_SIZE), ==,
                     HUGE_SIZE - BALLOON_PAGE);
    g_assert_cmpuint(in_map(g, huge(3), 2 * HUGE_SIZE), ==, 2 * HUGE_SIZE);
    g_assert_cmpuint(in_map(g, huge(5), HUGE_SIZE), ==, HUGE_SIZE / 2);
    g_assert_cmpuint(bg_count_populated(g, huge(0), HUGE_SIZE), ==, 0);
    g_assert_cmpuint(bg_count_populated(g, huge(1), 2 * HUGE_SIZE), ==,
                     2 * HUGE_PAGES);
    g_assert_cmpuint(bg_count_populated(g, huge(3), 2 * HUGE_SIZE), ==, 0);
    g_assert_cmpuint(bg_count_populated(g, huge(5), HUGE_SIZE), ==,
                     HUGE_PAGES);
    g_assert_cmpuint(first_byte(g, used), ==, value);

    /* The rest comes later. */
    ask(g, BG_INFLATE, 1, half, HUGE_PAGES - half);
    ask(g, BG_INFLATE, 2, 7, 1);
    ask(g, BG_INFLATE, 5, half, HUGE_PAGES - half);
    g_assert_cmpuint(in_map(g, huge(0), 6 * HUGE_SIZE), ==, 6 * HUGE_SIZE);
    g_assert_cmpuint(bg_count_populated(g, huge(0), 6 * HUGE_SIZE), ==, 0);
    bg_quit(g);
}

/* ---- Migration ---- */

static void set_parameter(BGuest *g, const char *name, int64_t value)
{
    QDict *args = qdict_new();

    qdict_put_int(args, name, value);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': %p }",
        args);
}

static void wait_for_status(BGuest *g, const char *wanted)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    bool reached = false;

    while (!reached) {
        QDict *info = bg_query_migrate(g);
        const char *status = qdict_get_try_str(info, "status") ?: "none";

        g_assert_cmpstr(status, !=, "failed");
        reached = !strcmp(status, wanted);
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* What the host has for the file of the main memory, in bytes */
static uint64_t file_bytes(BGuest *g)
{
    g_autofree char *path = bg_find_fd(g, "memfd:memory-backend-memfd");
    struct stat st;

    g_assert_nonnull(path);
    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * UINT64_C(512);
}

#define POSTCOPY_RAM (384 * MiB)
#define POSTCOPY_START (64 * MiB)
#define POSTCOPY_LENGTH (300 * MiB)

static void test_postcopy(gconstpointer data)
{
    static const char *const capabilities[] = {
        "postcopy-ram", "skip-balloon", NULL
    };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = POSTCOPY_RAM,
        .capabilities = capabilities,
    };
    BGuest *source, *dest;
    BalloonModel *m;

    source = start_driven(&options);
    m = bm_new(source);
    before(m, source);
    bm_fill(m, source, POSTCOPY_START, POSTCOPY_LENGTH, 3);
    dest = bg_start_incoming(source);
    set_parameter(source, "max-bandwidth", STEADY);
    set_parameter(source, "downtime-limit", 1);
    set_parameter(source, "max-postcopy-bandwidth", SLOW);
    bg_migrate_start(source, dest);
    bg_migrate_wait_pass(source, 1);
    qtest_qmp_assert_success(source->qts,
                             "{ 'execute': 'migrate-start-postcopy' }");
    wait_for_status(source, "postcopy-active");
    qtest_qmp_eventwait(dest->qts, "RESUME");
    memcpy(dest->queue, source->queue, sizeof(dest->queue));

    bm_migrated(m);
    meanwhile(m, dest);
    bm_inflate(m, dest, POSTCOPY_START, POSTCOPY_LENGTH);
    /* In postcopy still, and some of it not there yet */
    wait_for_status(source, "postcopy-active");
    g_assert_cmpuint(in_map(dest, POSTCOPY_START, POSTCOPY_LENGTH), ==, 0);
    set_parameter(source, "max-postcopy-bandwidth", 0);
    bg_migrate_wait(source, NULL);
    wait_for_status(dest, "completed");

    wait_in_map(dest, POSTCOPY_START, POSTCOPY_LENGTH);
    g_assert_cmpuint(bg_count_populated(dest, POSTCOPY_START,
                                        POSTCOPY_LENGTH), ==, 0);
    if (options.backend == BG_MEMFD) {
        g_test_message("the memory takes %" PRIu64 " KiB",
                       file_bytes(dest) / KiB);
        g_assert_cmpuint(file_bytes(dest), <=, POSTCOPY_RAM - POSTCOPY_LENGTH);
    }
    wait_in_map(dest, LAST * MiB, 1 * MiB);
    bm_check(m, dest);
    bg_quit(dest);
    bg_quit(source);
    bm_free(m);
}

static void migrate_to_nowhere(BGuest *g)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': {"
        " 'uri': 'exec:cat >/dev/null' } }");
}

static void test_snapshot(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_driven(&options);
    BalloonModel *m;

    if (!bg_set_background_snapshot(g)) {
        bg_quit(g);
        return;
    }
    m = bm_new(g);
    before(m, g);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, SLOW);
    migrate_to_nowhere(g);
    qtest_qmp_eventwait(g->qts, "RESUME");
    meanwhile(m, g);
    assert_resident(g, OWED * MiB, 8 * MiB);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, NULL);
    after(m, g);
    bg_quit(g);
    bm_free(m);
}

/*
 * Migrate until all of what the script filled has been sent.  Then the
 * migration stands still, with something left to be sent, until it is to end.
 */
static BGuest *begin_precopy(BGuest *source, BalloonModel *m, bool same_args)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    BGuest as = *source;
    BGuest *dest;

    bm_fill(m, source, TAIL * MiB, 16 * MiB, 5);
    if (!same_args) {
        as.options.args = NULL;
    }
    dest = bg_start_incoming(&as);
    bg_set_capability(source, "skip-balloon", true);
    bg_migrate_limit(source, STEADY);
    bg_migrate_start(source, dest);
    while (bg_is_zero(dest, TAIL * MiB)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    bg_migrate_limit(source, STILL);
    return dest;
}

static void end_precopy(BGuest *source, BGuest *dest, BalloonModel *m)
{
    g_assert_cmpint(bg_migrate_stat(source, "ram", "remaining"), >, 0);
    bg_migrate_limit(source, 0);
    bg_migrate_wait(source, dest);
    bm_migrated(m);
    bg_assert_same_memory(source, dest);
    bg_assert_same_map(source, dest);
    bm_check(m, dest);
    bg_quit(dest);
}

/* Let go of while a migration is under way, when it has been sent already */
static void test_precopy(gconstpointer data)
{
    const Case *c = data;
    BGOptions options = { .backend = c->backend };
    BGuest *source, *dest;
    BalloonModel *m;

    if (!have_gdb()) {
        return;
    }
    source = start_driven(&options);
    m = bm_new(source);
    before(m, source);
    dest = begin_precopy(source, m, true);
    inhibit(source, c->cause, true);
    meanwhile(m, source);
    inhibit(source, c->cause, false);
    after(m, source);
    end_precopy(source, dest, m);
    bg_quit(source);
    bm_free(m);
}

/* ---- Locked memory ---- */

static bool may_lock(void)
{
    const size_t size = 512 * MiB;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool ret;

    g_assert(p != MAP_FAILED);
    ret = !mlock(p, size);
    munmap(p, size);
    if (!ret) {
        g_test_skip("not allowed to lock 512 MiB of memory");
    }
    return ret;
}

static int divert_stderr(char **path)
{
    int fd = g_file_open_tmp("balloon-owed-XXXXXX", path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return bg_divert_stderr(*path);
}

/* Returns what has been written, and how many lines of it are of QEMU. */
static char *restore_stderr(int saved, char *path, int *lines)
{
    g_auto(GStrv) line = NULL;
    char *text = NULL;
    int i;

    bg_restore_stderr(saved);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    unlink(path);
    g_free(path);
    line = g_strsplit(text, "\n", -1);
    *lines = 0;
    for (i = 0; line[i]; i++) {
        *lines += !!strstr(line[i], "qemu-system");
    }
    return text;
}

static void assert_disabled(BGuest *g, const char *reason)
{
    QDict *skip = bg_skip_info(g);

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(skip, "reason"), ==, reason);
    qobject_unref(skip);
}

/* There is nothing to let go of, which is told once, and in query-migrate. */
static void test_locked_anon(gconstpointer data)
{
    BGOptions options = {
        .backend = BG_ANON,
        .args = data,
        .device_args = "free-page-reporting=on",
    };
    g_autofree char *text = NULL;
    BGuest *source, *dest, as;
    BalloonModel *m;
    char *path;
    int saved, lines, i;

    if (!may_lock()) {
        return;
    }
    saved = divert_stderr(&path);
    source = start_driven(&options);
    m = bm_new(source);
    bm_fill(m, source, DATA * MiB, (END - DATA) * MiB, 1);
    for (i = 0; i < 8; i++) {
        bm_inflate_in_vain(m, source, (OWED + i) * MiB, 1 * MiB);
        report(source, (DATA + i) * MiB, 1 * MiB);
    }
    assert_resident(source, DATA * MiB, 16 * MiB);
    as = *source;
    as.options.args = NULL;
    dest = bg_start_incoming(&as);
    bg_set_capability(source, "skip-balloon", true);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
    assert_disabled(source, "discard-inhibited");
    g_assert_cmpuint(bg_map_pages(source, NULL), ==, 0);
    bm_check(m, dest);
    bg_quit(dest);
    bg_quit(source);
    bm_free(m);
    text = restore_stderr(saved, path, &lines);
    g_test_message("%s", text);
    g_assert_cmpint(lines, ==, 1);
    g_assert_nonnull(strstr(text, "mem-lock"));
}

/* The hole is punched, so the page is gone, whatever madvise() would say. */
static void test_locked_memfd(gconstpointer data)
{
    BGOptions options = { .backend = BG_MEMFD, .args = data };
    g_autofree char *text = NULL;
    BGuest *source, *dest;
    BalloonModel *m;
    char *path;
    int saved, lines;

    if (!may_lock()) {
        return;
    }
    saved = divert_stderr(&path);
    source = start_driven(&options);
    m = bm_new(source);
    before(m, source);
    g_assert_cmpuint(bg_map_pages(source, NULL), ==, 2 * MiB / BALLOON_PAGE);
    g_assert_cmpuint(bg_count_populated(source, FORMER * MiB, 2 * MiB), ==, 0);
    dest = begin_precopy(source, m, false);
    g_assert_false(bg_is_zero(dest, OWED * MiB));
    bm_inflate(m, source, OWED * MiB, 8 * MiB);
    bm_deflate(m, source, FORMER * MiB, 1 * MiB);
    end_precopy(source, dest, m);
    g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), >=,
                    8 * MiB / BALLOON_PAGE);
    bg_quit(source);
    bm_free(m);
    text = restore_stderr(saved, path, &lines);
    g_test_message("%s", text);
    g_assert_cmpint(lines, ==, 0);
}

/* Huge pages are never locked. */
static void test_locked_huge(void)
{
    BGOptions options = {
        .backend = BG_HUGETLB,
        .args = "-overcommit mem-lock=on",
    };
    BGuest *g;

    if (!may_lock()) {
        return;
    }
    if (bg_free_huge_pages() < 64 * MiB / HUGE_SIZE) {
        g_test_skip("too few huge pages are free");
        return;
    }
    g = start_driven(&options);
    bg_request_range(g, BG_INFLATE, huge(0), HUGE_SIZE);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, HUGE_PAGES);
    g_assert_cmpuint(bg_count_populated(g, huge(0), HUGE_SIZE), ==, 0);
    bg_quit(g);
}

/* Some memory is locked and stays, some can be let go of. */
static void test_locked_mixed(void)
{
    BGOptions options = {
        .backend = BG_ANON,
        .args = "-overcommit mem-lock=on "
                "-object memory-backend-memfd,id=dimm-ram,size=128M "
                "-device pc-dimm,id=dimm0,memdev=dimm-ram",
    };
    BGuest *g;

    if (!may_lock()) {
        return;
    }
    g = start_driven(&options);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    bg_request_range(g, BG_INFLATE, 4 * GiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 1 * MiB / BALLOON_PAGE);
    bg_set_capability(g, "skip-balloon", true);
    migrate_to_nowhere(g);
    bg_migrate_wait(g, NULL);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==,
                    1 * MiB / BALLOON_PAGE);
    bg_quit(g);
}

/* Lock, or unlock, a part of the memory behind QEMU's back. */
static void lock(BGuest *g, const char *function, uint64_t start,
                 uint64_t length)
{
    g_autofree char *command = g_strdup_printf(
        "call (int)%s((void *)0x%" PRIx64 ", %" PRIu64 ")", function,
        g->hva + start, length);

    call(g, command, NULL, NULL);
}

/* Discarding fails, and yet the page is gone. */
static void test_half_discarded(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *source, *dest;
    BalloonModel *m;

    if (!have_gdb() || !may_lock()) {
        return;
    }
    source = start_driven(&options);
    m = bm_new(source);
    before(m, source);
    dest = begin_precopy(source, m, true);
    lock(source, "mlock", OWED * MiB, 1 * MiB);
    bm_inflate(m, source, OWED * MiB, 1 * MiB);
    g_assert_cmpuint(in_map(source, OWED * MiB, 1 * MiB), ==, 0);
    g_assert_cmpuint(bg_count_populated(source, OWED * MiB, 1 * MiB), ==, 0);
    /* It is not in the map, so this changes nothing but the model. */
    bm_deflate(m, source, OWED * MiB, 1 * MiB);
    end_precopy(source, dest, m);
    bg_quit(source);
    bm_free(m);
}

/* Nothing could be discarded up to now, or something could. */
static void test_failed(gconstpointer data)
{
    bool then_works = GPOINTER_TO_INT(data);
    BGOptions options = { .backend = BG_ANON };
    BGuest *g;

    if (!have_gdb() || !may_lock()) {
        return;
    }
    g = start_driven(&options);
    lock(g, "mlock", OWED * MiB, 1 * MiB);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    if (then_works) {
        bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
        bg_request_range(g, BG_DEFLATE, LAST * MiB, 1 * MiB);
    }
    bg_set_capability(g, "skip-balloon", true);
    migrate_to_nowhere(g);
    bg_migrate_wait(g, NULL);
    if (then_works) {
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, 0);
    } else {
        assert_disabled(g, "discard-inhibited");
    }
    bg_quit(g);
}

/* ---- Private mappings of files ---- */

/*
 * Migration lets go of nothing on the source, not of zeroes in the balloon
 * either: it would change a file, which may be what others start from.
 */
static void test_private_file(void)
{
    g_autofree char *path = NULL;
    g_autofree char *args = NULL;
    BGOptions options = { .backend = BG_ANON };
    uint8_t page[BALLOON_PAGE], now[BALLOON_PAGE];
    int fd = g_file_open_tmp("balloon-owed-XXXXXX", &path, NULL);
    struct stat st, st_now;
    BGuest *g;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 64 * MiB), ==, 0);
    args = g_strdup_printf("-machine pc,memory-backend=ram0 -m 64M "
                           "-object memory-backend-file,id=ram0,size=64M,"
                           "share=off,mem-path=%s", path);
    options.machine_args = args;
    options.ram_size = 64 * MiB;
    g = start_driven(&options);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    bg_fill(g, TAIL * MiB, 1 * MiB, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, STILL);
    migrate_to_nowhere(g);
    bg_migrate_wait_pass(g, 1);
    /* Populated, zero, and dirty in the last pass */
    qtest_memset(g->qts, OWED * MiB, 0, BALLOON_PAGE);
    memset(page, 0x5a, sizeof(page));
    g_assert_cmpint(pwrite(fd, page, sizeof(page), OWED * MiB), ==,
                    sizeof(page));
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, NULL);
    g_assert_cmpint(pread(fd, now, sizeof(now), OWED * MiB), ==,
                    sizeof(now));
    g_assert_cmpmem(now, sizeof(now), page, sizeof(page));
    g_assert_cmpint(fstat(fd, &st_now), ==, 0);
    g_assert_cmpint(st_now.st_blocks, ==, st.st_blocks);
    close(fd);
    unlink(path);
    bg_quit(g);
}

/* ---- All of them ---- */

static void add(const char *name, BGBackend backend, Cause cause,
                GTestDataFunc func)
{
    Case c = { .backend = backend, .cause = cause };
    g_autofree char *path = g_strdup_printf(
        "balloon-owed/%s/%s/%s", name, cause == DEVICE ? "device" : "hold",
        backend_name(backend));

    qtest_add_data_func_full(path, g_memdup2(&c, sizeof(c)), func, g_free);
}

int main(int argc, char **argv)
{
    BGBackend backend;
    Cause cause;

    g_test_init(&argc, &argv, NULL);
    /* A transparent huge page populates what nobody asked for. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

    for (cause = DEVICE; cause <= HOLD; cause++) {
        for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
            add("script", backend, cause, test_script);
            add("precopy", backend, cause, test_precopy);
        }
        add("pieces", BG_MEMFD, cause, test_pieces);
        add("reported", BG_MEMFD, cause, test_reported);
        add("huge", BG_HUGETLB, cause, test_huge);
    }
    qtest_add_func("balloon-owed/need-not-tell", test_need_not_tell);
    qtest_add_func("balloon-owed/stopped", test_stopped);
    qtest_add_data_func("balloon-owed/reset/driver",
                        GINT_TO_POINTER(DRIVER_RESET), test_end);
    qtest_add_data_func("balloon-owed/reset/system",
                        GINT_TO_POINTER(SYSTEM_RESET), test_end);
    qtest_add_data_func("balloon-owed/unplug/balloon",
                        GINT_TO_POINTER(UNPLUG), test_end);
    qtest_add_func("balloon-owed/unplug/last", test_unplug_last);
    qtest_add_func("balloon-owed/unplug/dimm", test_dimm);
    qtest_add_data_func("balloon-owed/postcopy/anon",
                        GINT_TO_POINTER(BG_ANON), test_postcopy);
    qtest_add_data_func("balloon-owed/postcopy/memfd",
                        GINT_TO_POINTER(BG_MEMFD), test_postcopy);
    qtest_add_data_func("balloon-owed/snapshot/anon",
                        GINT_TO_POINTER(BG_ANON), test_snapshot);
    qtest_add_data_func("balloon-owed/snapshot/memfd",
                        GINT_TO_POINTER(BG_MEMFD), test_snapshot);
    qtest_add_data_func("balloon-owed/locked/anon",
                        "-overcommit mem-lock=on", test_locked_anon);
    qtest_add_data_func("balloon-owed/locked/anon-on-fault",
                        "-overcommit mem-lock=on-fault", test_locked_anon);
    qtest_add_data_func("balloon-owed/locked/memfd",
                        "-overcommit mem-lock=on", test_locked_memfd);
    qtest_add_data_func("balloon-owed/locked/memfd-on-fault",
                        "-overcommit mem-lock=on-fault", test_locked_memfd);
    qtest_add_func("balloon-owed/locked/huge", test_locked_huge);
    qtest_add_func("balloon-owed/locked/mixed", test_locked_mixed);
    qtest_add_func("balloon-owed/half-discarded", test_half_discarded);
    qtest_add_data_func("balloon-owed/failed/all", GINT_TO_POINTER(false),
                        test_failed);
    qtest_add_data_func("balloon-owed/failed/some", GINT_TO_POINTER(true),
                        test_failed);
    qtest_add_func("balloon-owed/private-file", test_private_file);
    return g_test_run();
}
