/*
 * Both capabilities while a guest hints, and reports, which of its pages are
 * free
 *
 * A page that was hinted is not sent, and may hold anything on the destination,
 * until the guest uses it again.  A page that was reported is discarded.
 * Either may be put into the balloon, or be used again, right after that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_ring.h"
#include "memory-layout.h"
#include "ram-blocks.h"

#define FEATURES (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST | \
                  1U << VIRTIO_BALLOON_F_FREE_PAGE_HINT | \
                  1U << VIRTIO_BALLOON_F_REPORTING)

/* I/O port of the configuration of the legacy balloon device */
#define CONFIG_PORT (0xc000 + 20)

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

static void fill_range(BGuest *g, int i, uint8_t seed)
{
    bg_fill(g, range(i), MiB, seed);
}

/* ---- The queues ---- */

static void push(BGuest *g, int queue, uint64_t addr, uint32_t length,
                 uint16_t flags)
{
    BGQueue *q = &g->queue[queue];

    g_assert_cmpint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, addr);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, flags);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, queue);
}

static uint32_t command_id(BGuest *g)
{
    return qtest_inl(g->qts, CONFIG_PORT +
                     offsetof(struct virtio_balloon_config,
                              free_page_hint_cmd_id));
}

static void send_command(BGuest *g, uint32_t id)
{
    qtest_writel(g->qts, COMMAND_ADDR, id);
    push(g, BG_HINT, COMMAND_ADDR, sizeof(id), 0);
}

/* Wait until the device wants hints, and begin to hint. */
static void begin_hinting(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    uint32_t id;

    while ((id = command_id(g)) < COMMAND_ID_MIN) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    send_command(g, id);
}

static void hint(BGuest *g, int i)
{
    push(g, BG_HINT, range(i), MiB, VRING_DESC_F_WRITE);
}

static void report(BGuest *g, int i)
{
    push(g, BG_HINT_REPORT, range(i), MiB, VRING_DESC_F_WRITE);
    g_assert_cmpuint(bg_count_populated(g, range(i), MiB), ==, 0);
}

static void give(BGuest *g, int i)
{
    bg_request_range(g, BG_INFLATE, range(i), MiB);
}

static void take_back(BGuest *g, int i)
{
    bg_request_range(g, BG_DEFLATE, range(i), MiB);
}

/* ---- What the guest does ---- */

static void act_before(BGuest *g)
{
    int i;

    for (i = 0; i < RANGES; i++) {
        fill_range(g, i, i);
    }
    give(g, GIVEN);
    give(g, GIVEN_HINTED_USED);
}

static void act_during(BGuest *g)
{
    report(g, REPORTED);
    report(g, REPORTED_HINTED_USED);

    begin_hinting(g);
    hint(g, HINTED);
    hint(g, HINTED_USED);
    hint(g, HINTED_GIVEN);
    hint(g, HINTED_GIVEN_USED);
    hint(g, HINTED_TAKEN_BACK);
    hint(g, GIVEN_HINTED_USED);
    hint(g, REPORTED_HINTED_USED);
    hint(g, HINTED_REPORTED_USED);
    hint(g, GIVEN_LATE);
    send_command(g, VIRTIO_BALLOON_CMD_ID_STOP);

    fill_range(g, HINTED_USED, 40);
    give(g, HINTED_GIVEN);
    give(g, HINTED_GIVEN_USED);
    take_back(g, HINTED_GIVEN_USED);
    fill_range(g, HINTED_GIVEN_USED, 41);
    give(g, HINTED_TAKEN_BACK);
    take_back(g, HINTED_TAKEN_BACK);
    take_back(g, GIVEN_HINTED_USED);
    fill_range(g, GIVEN_HINTED_USED, 42);
    fill_range(g, REPORTED_HINTED_USED, 43);
    report(g, HINTED_REPORTED_USED);
    fill_range(g, HINTED_REPORTED_USED, 44);
}

/* ---- The test ---- */

static void check(BGuest *g, BGuest *dest, const HintCase *c)
{
    static const int given[] = { GIVEN, HINTED_GIVEN, GIVEN_LATE };
    g_autofree char *map = rb_map(g);
    g_autofree char *map_there = rb_map(dest);
    size_t i;

    /* It travels with either capability. */
    g_assert_cmpstr(map, ==, map_there);
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
    rb_assert_same_memory(g, dest, "ram0", range(HINTED), MiB);
}

/* Wait until something of what is going to be hinted has been sent. */
static void wait_sent(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    bg_migrate_wait_pass(g, 1);
    while (bg_migrate_stat(g, "ram", "normal") < 2 * MiB / BALLOON_PAGE) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void test_hints(gconstpointer data)
{
    const HintCase *c = data;
    MLGuest *source = ml_start(&c->layout, false);
    MLGuest *dest = ml_start(&c->layout, true);
    BGuest *g = source->g;

    g_assert_cmphex(bg_driver_start(g, FEATURES), ==, FEATURES);
    act_before(g);
    ml_set_mode(g, c->mode);
    ml_set_mode(dest->g, c->mode);
    ml_migrate_begin(g, dest->g, c->late ? ML_SLOW : ML_NEXT_TO_NOTHING);
    if (c->late) {
        wait_sent(g);
        /* No hints are taken of a guest that is stopped. */
        bg_migrate_limit(g, ML_NEXT_TO_NOTHING);
    }
    act_during(g);
    ml_migrate_wait_sent(g);
    give(g, GIVEN_LATE);
    ml_migrate_finish(g, dest->g);
    /* So the guest may use what it hinted. */
    g_assert_cmpuint(command_id(g), ==, VIRTIO_BALLOON_CMD_ID_DONE);
    g_assert_cmpuint(command_id(dest->g), ==, VIRTIO_BALLOON_CMD_ID_DONE);
    check(g, dest->g, c);
    ml_quit(dest);
    ml_quit(source);
}

#define LAYOUT(backend) { \
    .machine = "-machine pc,memory-backend=ram0 -m 16M " \
               "-object " backend ",id=ram0,size=16M", \
    .args = "-object iothread,id=thread0", \
    .device_args = "free-page-hint=on,free-page-reporting=on," \
                   "iothread=thread0" }

static const HintCase cases[] = {
    { "anon/balloon", LAYOUT("memory-backend-ram"), ML_BALLOON },
    { "memfd/balloon", LAYOUT("memory-backend-memfd"), ML_BALLOON },
    { "anon/unpopulated", LAYOUT("memory-backend-ram"), ML_UNPOPULATED },
    { "memfd/both", LAYOUT("memory-backend-memfd"), ML_BOTH },
    { "anon/balloon/late", LAYOUT("memory-backend-ram"), ML_BALLOON, true },
    { "memfd/both/late", LAYOUT("memory-backend-memfd"), ML_BOTH, true },
};

void add_hint_tests(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("skip-memory/hint/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_hints);
    }
}
