/*
 * Both capabilities while a guest hints, and reports, which of its pages are
 * free, with virtio-mem that was ballooned, and what QEMU does not allow
 *
 * A page that was hinted is not sent, and may hold anything on the destination,
 * until the guest uses it again.  A page that was reported is discarded.
 * Either may be put into the balloon, or be used again, right after that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_ring.h"
#include "memory-layout.h"

#define PREFIX "skip-memory/"

/* ---- Hints ---- */

#define FEATURES (BG_MUST_TELL_HOST | 1U << VIRTIO_BALLOON_F_FREE_PAGE_HINT | \
                  1U << VIRTIO_BALLOON_F_REPORTING)

/* Where the driver writes its command ids */
#define COMMAND_ADDR (BG_RAM_START - BALLOON_PAGE)

/* The first command id of a device that wants hints */
#define COMMAND_ID_MIN 0x80000000

/* Memory by what becomes of it, a MiB each */
enum {
    SENT,                       /* before anything could be hinted */
    GIVEN,                      /* in the balloon from before */
    HINTED,                     /* the only one that may differ */
    HINTED_USED,
    HINTED_GIVEN,
    HINTED_GIVEN_USED,          /* taken back in between */
    HINTED_TAKEN_BACK,          /* given back, taken back, not used */
    GIVEN_HINTED_USED,          /* hinted while it is in the balloon */
    REPORTED,
    REPORTED_HINTED_USED,
    HINTED_REPORTED_USED,
    GIVEN_LATE,                 /* hinted in the first pass, given in the end */
    RANGES,
};

typedef struct HintCase {
    const char *name;
    MLayout layout;
    MLMode mode;
    bool late;                  /* pages may have been sent before */
} HintCase;

static uint64_t range(int i)
{
    return BG_RAM_START + i * MiB;
}

static void fill(BGuest *g, int i, uint8_t seed)
{
    bg_fill(g, range(i), MiB, seed);
}

/* @queue: BG_INFLATE or BG_DEFLATE */
static void request(BGuest *g, int queue, int i)
{
    bg_request_range(g, queue, range(i), MiB);
}

static void push(BGuest *g, int queue, uint64_t addr, uint32_t length,
                 uint16_t flags)
{
    BGQueue *q = &g->queue[queue];

    g_assert_cmpint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, addr);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, flags);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    qtest_writew(g->qts, q->avail + 2, ++q->added);
    bg_kick(g, queue);
}

static uint32_t command_id(BGuest *g)
{
    return qtest_inl(g->qts, BG_CONFIG_IO +
                     offsetof(struct virtio_balloon_config,
                              free_page_hint_cmd_id));
}

static void send_command(BGuest *g, uint32_t id)
{
    qtest_writel(g->qts, COMMAND_ADDR, id);
    push(g, BG_HINT, COMMAND_ADDR, sizeof(id), 0);
}

static void hint(BGuest *g, int i)
{
    push(g, BG_HINT, range(i), MiB, VRING_DESC_F_WRITE);
}

static void report(BGuest *g, int i)
{
    push(g, BG_HINT_REPORT, range(i), MiB, VRING_DESC_F_WRITE);
    bg_assert_populated(g, range(i), MiB, 0);
}

static void act_during(BGuest *g)
{
    static const int hinted[] = {
        HINTED, HINTED_USED, HINTED_GIVEN, HINTED_GIVEN_USED,
        HINTED_TAKEN_BACK, GIVEN_HINTED_USED, REPORTED_HINTED_USED,
        HINTED_REPORTED_USED, GIVEN_LATE,
    };
    int i;

    report(g, REPORTED);
    report(g, REPORTED_HINTED_USED);

    BG_WAIT(command_id(g) >= COMMAND_ID_MIN);
    send_command(g, command_id(g));
    for (i = 0; i < ARRAY_SIZE(hinted); i++) {
        hint(g, hinted[i]);
    }
    send_command(g, VIRTIO_BALLOON_CMD_ID_STOP);

    fill(g, HINTED_USED, 40);
    request(g, BG_INFLATE, HINTED_GIVEN);
    request(g, BG_INFLATE, HINTED_GIVEN_USED);
    request(g, BG_DEFLATE, HINTED_GIVEN_USED);
    fill(g, HINTED_GIVEN_USED, 41);
    request(g, BG_INFLATE, HINTED_TAKEN_BACK);
    request(g, BG_DEFLATE, HINTED_TAKEN_BACK);
    request(g, BG_DEFLATE, GIVEN_HINTED_USED);
    fill(g, GIVEN_HINTED_USED, 42);
    fill(g, REPORTED_HINTED_USED, 43);
    report(g, HINTED_REPORTED_USED);
    fill(g, HINTED_REPORTED_USED, 44);
}

static void check_hints(BGuest *g, BGuest *dest, const HintCase *c)
{
    static const int given[] = { GIVEN, HINTED_GIVEN, GIVEN_LATE };
    int i;

    /* So the guest may use what it hinted. */
    g_assert_cmpuint(command_id(g), ==, VIRTIO_BALLOON_CMD_ID_DONE);
    g_assert_cmpuint(command_id(dest), ==, VIRTIO_BALLOON_CMD_ID_DONE);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==,
                     ARRAY_SIZE(given) * MiB / BALLOON_PAGE);
    for (i = 0; i < ARRAY_SIZE(given); i++) {
        g_assert_cmpuint(rb_count_populated(dest, "ram0", range(given[i]),
                                            MiB), ==, 0);
    }
    if (!c->late) {
        /* It was not sent, so this did test hints. */
        g_assert_cmpuint(rb_count_populated(dest, "ram0", range(HINTED), MiB),
                         ==, 0);
    }
    /* Until it is used again, it need not be the same. */
    fill(g, HINTED, 45);
    fill(dest, HINTED, 45);
    rb_assert_same(g, dest);
}

static void test_hints(gconstpointer data)
{
    const HintCase *c = data;
    BGuest *g = ml_start(&c->layout, c->mode, false);
    BGuest *dest = ml_start(&c->layout, c->mode, true);
    int i;

    g_assert_cmphex(bg_driver_start(g, FEATURES), ==, FEATURES);
    for (i = 0; i < RANGES; i++) {
        fill(g, i, i);
    }
    request(g, BG_INFLATE, GIVEN);
    request(g, BG_INFLATE, GIVEN_HINTED_USED);
    ml_migrate_begin(g, dest, c->late ? ML_SLOW : ML_NEXT_TO_NOTHING);
    if (c->late) {
        /* Something of what is going to be hinted is to be sent first. */
        bg_migrate_wait_pass(g, 1);
        BG_WAIT(bg_migrate_stat(g, "ram", "normal") >= 2 * MiB / BALLOON_PAGE);
        /* No hints are taken of a guest that is stopped. */
        bg_migrate_limit(g, ML_NEXT_TO_NOTHING);
    }
    act_during(g);
    ml_migrate_wait_sent(g);
    request(g, BG_INFLATE, GIVEN_LATE);
    ml_migrate_finish(g, dest);
    check_hints(g, dest, c);
    ml_quit(dest);
    ml_quit(g);
}

#define LAYOUT(backend) { \
    .machine = MACHINE("pc", backend), \
    .args = "-object iothread,id=thread0", \
    .device_args = "free-page-hint=on,free-page-reporting=on," \
                   "iothread=thread0" }

static const HintCase hint_cases[] = {
    { "anon/balloon", LAYOUT("memory-backend-ram"), ML_BALLOON },
    { "memfd/balloon", LAYOUT("memory-backend-memfd"), ML_BALLOON },
    { "anon/unpopulated", LAYOUT("memory-backend-ram"), ML_UNPOPULATED },
    { "memfd/both", LAYOUT("memory-backend-memfd"), ML_BOTH },
    { "anon/balloon/late", LAYOUT("memory-backend-ram"), ML_BALLOON, true },
    { "memfd/both/late", LAYOUT("memory-backend-memfd"), ML_BOTH, true },
};

/* ---- virtio-mem ---- */

/*
 * Memory is given back, unplugged then, and a half of it plugged again.  The
 * balloon map still has all of it.
 */
static void test_virtio_mem_ballooned(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .args = VM_ARGS("memory-backend-memfd", "requested-size=16M"),
    };
    BGuest *g = ml_start(&layout, ML_BALLOON, false);
    BGuest *dest = ml_start(&layout, ML_BALLOON, true);

    vm_driver_start(g->qts);
    bg_driver_start(g, BG_MUST_TELL_HOST);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, 2, true));
    bg_fill(g, HM_HIGH_START, 2 * VM_BLOCK, 9);
    bg_request_range(g, BG_INFLATE, HM_HIGH_START, 2 * VM_BLOCK);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, 2, false));
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, 1, true));
    bg_fill(g, HM_HIGH_START, VM_BLOCK / 2, 10);
    ml_migrate_begin(g, dest, ML_SLOW);
    /* The device is busy while a migration is under way. */
    g_assert_false(vm_plug(g->qts, HM_HIGH_START + VM_BLOCK, 1, true));
    g_assert_false(vm_plug(g->qts, HM_HIGH_START, 1, false));
    ml_migrate_finish(g, dest);
    g_assert_cmpuint(vm_plugged_size(dest->qts), ==, VM_BLOCK);
    g_assert_cmpuint(rb_count_populated(dest, VM_ID, 0, VM_SIZE), ==,
                     VM_BLOCK / 2 / BALLOON_PAGE);
    rb_assert_same(g, dest);
    ml_quit(dest);
    ml_quit(g);
}

/*
 * The host does not tell what a file of huge pages that an earlier guest has
 * left holds, and the device on the destination not yet what is plugged.
 */
static void check_virtio_mem_used(const char *path)
{
    g_autofree char *used = g_strdup_printf(
        VM_ARGS("memory-backend-file,share=on,mem-path=%s",
                   "requested-size=16M"), path);
    MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .source_args = VM_ARGS("memory-backend-memfd,hugetlb=on,"
                                  "hugetlbsize=2M", "requested-size=16M"),
        .dest_args = used,
    };
    BGuest *g = ml_start(&layout, ML_UNPOPULATED, false);
    BGuest *dest = ml_start(&layout, ML_UNPOPULATED, true);
    uint64_t at;

    vm_driver_start(g->qts);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, 2, true));
    bg_fill(g, HM_HIGH_START, VM_BLOCK, 9);
    ml_migrate_begin(g, dest, ML_SLOW);
    ml_migrate_finish(g, dest);
    g_assert_cmpuint(vm_plugged_size(dest->qts), ==, 2 * VM_BLOCK);
    for (at = HM_HIGH_START; at < HM_HIGH_START + 2 * VM_BLOCK;
         at += BALLOON_PAGE) {
        g_assert_cmphex(qtest_readq(dest->qts, at), ==,
                        qtest_readq(g->qts, at));
    }
    ml_quit(dest);
    ml_quit(g);
}

static void test_virtio_mem_used(void)
{
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    bool mounted;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(2 * VM_SIZE);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    g_assert_false(mounted);
    path = hm_temp_path(dir, "used");
    hm_make_file(path, VM_SIZE, 0, VM_SIZE);
    check_virtio_mem_used(path);
    unlink(path);
}

/* ---- What QEMU does not allow ---- */

static void expect_error(QDict *rsp, const char *text)
{
    g_autofree char *error = bg_qmp_error(rsp);

    g_assert_nonnull(strstr(error, text));
}

/* The first balloon is as it was when a second one is refused. */
static void test_second_balloon(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-ram"),
    };
    BGuest *g = ml_start(&layout, ML_BOTH, false);

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, 4 * MiB, MiB);
    expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_add',"
                           " 'arguments': { 'driver': 'virtio-balloon-pci',"
                           " 'id': 'second', 'must-tell-host': true } }"),
                 "Only one balloon device");
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, MiB / BALLOON_PAGE);
    bg_request_range(g, BG_INFLATE, 5 * MiB, MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 2 * MiB / BALLOON_PAGE);
    ml_quit(g);
}

/* DIMMs are not plugged, nor unplugged, while a migration is under way. */
static void test_plug_during(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .args = HM_DIMM("memory-backend-ram"),
    };
    BGuest *g = ml_start(&layout, ML_BOTH, false);
    BGuest *dest = ml_start(&layout, ML_BOTH, true);

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_fill(g, 4 * MiB, 8 * MiB, 1);
    bg_fill(g, HM_HIGH_START, 4 * MiB, 2);
    bg_request_range(g, BG_INFLATE, HM_HIGH_START, MiB);
    ml_migrate_begin(g, dest, ML_SLOW);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'memory-backend-ram', 'id': 'late-ram',"
        " 'size': 134217728 } }");
    expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_add', 'arguments': {"
                           " 'driver': 'pc-dimm', 'id': 'late',"
                           " 'memdev': 'late-ram' } }"),
                 "not allowed while migrating");
    expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_del',"
                           " 'arguments': { 'id': 'dimm0' } }"),
                 "not allowed while migrating");
    bg_request_range(g, BG_INFLATE, HM_HIGH_START + 2 * MiB, MiB);
    ml_migrate_finish(g, dest);

    g_assert_cmpuint(rb_map_pages(dest, "dimm-ram", NULL, 0), ==,
                     2 * MiB / BALLOON_PAGE);
    rb_assert_map_let_go(g, dest, "dimm-ram");
    rb_assert_same(g, dest);
    ml_quit(dest);
    ml_quit(g);
}

void add_more_tests(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(hint_cases); i++) {
        bg_add_test(&hint_cases[i], test_hints, PREFIX "hint/%s",
                    hint_cases[i].name);
    }
    qtest_add_func(PREFIX "virtio-mem/ballooned", test_virtio_mem_ballooned);
    qtest_add_func(PREFIX "virtio-mem/used", test_virtio_mem_used);
    qtest_add_func(PREFIX "refused/second-balloon", test_second_balloon);
    qtest_add_func(PREFIX "refused/plug-during", test_plug_during);
}
