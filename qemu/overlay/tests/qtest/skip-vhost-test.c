/*
 * Another process that writes to guest RAM: the back end of a vhost-user device
 *
 * It maps the guest's memory file, writes to it whenever it wants, and tells of
 * that in a log that QEMU collects each time it synchronizes its dirty bitmap,
 * and once more when it has stopped the rings.  A page is logged only after it
 * was written.  So at any moment there are pages that hold something and that
 * nobody knows of yet, and some of them are in the balloon, since a guest may
 * give a page back that the device has yet to write to.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "host-memory.h"
#include "vhost-backend.h"
#include "standard-headers/linux/virtio_balloon.h"

#define PREFIX "/skip-vhost/"

#define RAM_SIZE (64 * MiB)
#define RAM_PAGES (RAM_SIZE / VB_PAGE)

/* Where the network device sits, and its legacy registers */
#define NET_SLOT 6
#define NET_IO 0xc100
#define REG_DRIVER_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SELECT 14
#define REG_STATUS 18
#define PCI_COMMAND_REG 0x04
#define PCI_BAR0_REG 0x10

/* Its rings, behind those of the balloon */
#define NET_RING_BASE (MiB + 5 * UINT64_C(0x8000))
#define NET_RING_STRIDE UINT64_C(0x8000)
#define NET_RINGS 2
G_STATIC_ASSERT(NET_RING_BASE + NET_RINGS * NET_RING_STRIDE <= BG_REQUEST_BASE);

/* Bytes per second: nothing is sent, and a pass takes a fraction of a second */
#define NEXT_TO_NOTHING 10
#define SLOW (8 * MiB)

#define HANG_SECONDS 60

/* As of Linux 6.5 */
#define CACHESTAT_NR 451

/*
 * What is written to all the time, so that the migration goes on: more than is
 * sent in 100 ms, so that each pass has to wait, and is written to meanwhile
 */
#define BALLAST_START (36 * MiB)
#define BALLAST_SIZE (512 * VB_PAGE)

/* What the back end writes at a time, of the ballast and at random */
#define BALLAST_BURST 16
#define ANY_BURST 2

/* The same at random when QEMU has just collected the log, and asks the host */
#define COLLECTED_BURST 32

/* What is written to at random: some of each of the ranges below */
#define ANY_START (8 * MiB)
#define ANY_SIZE (48 * MiB)

/* How many pages a back end may have written and not logged yet */
#define LATE_PAGES 32

enum {
    SKIP_BALLOON = 1,
    SKIP_UNPOPULATED = 2,
    SKIP_BOTH = SKIP_BALLOON | SKIP_UNPOPULATED,
};

typedef struct Case {
    const char *name;
    int skip;
    bool stock;
    bool multifd;
    bool huge;
    bool held;                  /* is tested with that, too */
} Case;

/* When the back end writes */
typedef enum Moment {
    BEFORE,                     /* before the migration */
    UNSENT,                     /* the first pass is made, nothing is sent */
    SENT,                       /* all was sent once */
    NEXT,                       /* another pass has been made since */
    STOPPING,                   /* QEMU stops its first ring */
    LAST,                       /* QEMU stops its last ring */
    MOMENTS,
} Moment;

/* Where it writes */
typedef struct Range {
    uint64_t start;
    uint64_t size;
    Moment first;               /* no earlier than that */
    bool used;                  /* the guest has written to it */
    bool given;                 /* it is given back at that moment */
    int kept_out;               /* capability with which no host gets it */
} Range;

enum {
    GIVEN = 0,
    GIVEN_SENT = 3,             /* after it was sent */
};

static const Range ranges[] = {
    { 8 * MiB, 8 * MiB, BEFORE, true, true, SKIP_BOTH },
    { 16 * MiB, 4 * MiB, BEFORE, true, false, 0 },
    { 24 * MiB, 4 * MiB, UNSENT, true, true, SKIP_BOTH },
    { 28 * MiB, 4 * MiB, SENT, true, true, SKIP_BOTH },
    { 40 * MiB, 8 * MiB, BEFORE, false, false, SKIP_UNPOPULATED },
};

/* Pages of a range: logged at once, logged late, and one of every moment */
#define FATES (2 * MOMENTS + 1)
#define EVERY_MOMENT (2 * MOMENTS)

typedef struct World {
    const Case *c;
    BGuest *source;
    BGuest *dest;
    VhostBackend *backend;      /* of the source */
    VhostBackend *dest_backend;
    void (*at_stop)(struct World *w, unsigned int ring);
    uint64_t written[RAM_PAGES];    /* how often the back end did */
    GQueue late;                /* addresses that are written, not logged */
    GThread *writer;
    bool stop;                  /* the writer */
    uint32_t seed;              /* of what is written at random; 0: nothing */
} World;

/* ---- Both devices ---- */

static void net_config_write(BGuest *g, unsigned int reg, uint32_t value)
{
    qtest_outl(g->qts, 0xcf8, 1U << 31 | NET_SLOT << 11 | reg);
    qtest_outl(g->qts, 0xcfc, value);
}

static void net_driver_start(BGuest *g)
{
    int i;

    net_config_write(g, PCI_BAR0_REG, NET_IO);
    net_config_write(g, PCI_COMMAND_REG, 7);
    qtest_outb(g->qts, NET_IO + REG_STATUS, 0);
    qtest_outb(g->qts, NET_IO + REG_STATUS, 3);
    qtest_outl(g->qts, NET_IO + REG_DRIVER_FEATURES, 0);
    for (i = 0; i < NET_RINGS; i++) {
        uint64_t ring = NET_RING_BASE + i * NET_RING_STRIDE;

        qtest_memset(g->qts, ring, 0, NET_RING_STRIDE);
        qtest_outw(g->qts, NET_IO + REG_QUEUE_SELECT, i);
        qtest_outl(g->qts, NET_IO + REG_QUEUE_PFN, ring / 4096);
    }
    qtest_outb(g->qts, NET_IO + REG_STATUS, 7);
}

static char *net_args(VhostBackend *b)
{
    return g_strdup_printf(
        "-chardev socket,id=backend0,path=%s "
        "-netdev vhost-user,id=net0,chardev=backend0 "
        "-device virtio-net-pci,id=nic0,addr=%d,netdev=net0,romfile=",
        vb_socket(b), NET_SLOT);
}

/* ---- What the back end does ---- */

static void content(uint64_t addr, uint64_t written, uint64_t *page)
{
    unsigned int i;

    for (i = 0; i < VB_PAGE / sizeof(*page); i++) {
        page[i] = (addr + i) ^ written << 40;
    }
}

static void write_page(World *w, uint64_t addr)
{
    uint64_t page[VB_PAGE / sizeof(uint64_t)];

    content(addr, ++w->written[addr / VB_PAGE], page);
    vb_write(w->backend, addr, page);
}

static void log_late(World *w, unsigned int left)
{
    while (g_queue_get_length(&w->late) > left) {
        uint64_t *addr = g_queue_pop_head(&w->late);

        vb_log(w->backend, *addr);
        g_free(addr);
    }
}

static void write_and_log_late(World *w, uint64_t addr)
{
    write_page(w, addr);
    g_queue_push_tail(&w->late, g_memdup2(&addr, sizeof(addr)));
}

static void write_and_log(World *w, uint64_t addr)
{
    write_page(w, addr);
    vb_log(w->backend, addr);
}

static uint64_t fate_addr(const Range *range, unsigned int fate)
{
    return QEMU_ALIGN_DOWN(range->start + range->size / FATES * fate, VB_PAGE);
}

static void act(World *w, Moment moment)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        const Range *range = &ranges[i];

        if (moment < range->first) {
            continue;
        }
        write_and_log(w, fate_addr(range, 2 * moment));
        write_and_log_late(w, fate_addr(range, 2 * moment + 1));
        write_and_log(w, fate_addr(range, EVERY_MOMENT));
    }
}

static void write_at_random(World *w, GRand *rand, bool collected)
{
    int i;

    for (i = 0; i < (collected ? COLLECTED_BURST : ANY_BURST); i++) {
        uint64_t addr = ANY_START + VB_PAGE *
                        g_rand_int_range(rand, 0, ANY_SIZE / VB_PAGE);

        if (g_rand_boolean(rand)) {
            write_and_log(w, addr);
        } else {
            write_and_log_late(w, addr);
        }
    }
    log_late(w, g_rand_int_range(rand, 0, LATE_PAGES));
}

/* What the back end does all the time */
static void *keep_writing(void *opaque)
{
    World *w = opaque;
    GRand *rand = w->seed ? g_rand_new_with_seed(w->seed) : NULL;
    unsigned int n = 0, i;

    while (!qatomic_read(&w->stop)) {
        uint64_t last = BALLAST_START + n * VB_PAGE % BALLAST_SIZE;
        bool collected = !vb_is_logged(w->backend, last);

        for (i = 0; i < BALLAST_BURST; i++) {
            write_and_log(w, BALLAST_START + ++n * VB_PAGE % BALLAST_SIZE);
        }
        if (rand) {
            write_at_random(w, rand, collected);
        }
        g_usleep(1000);
    }
    if (rand) {
        g_rand_free(rand);
    }
    return NULL;
}

static void writer_start(World *w)
{
    w->writer = g_thread_new("writer", keep_writing, w);
}

static void writer_stop(World *w)
{
    qatomic_set(&w->stop, true);
    g_clear_pointer(&w->writer, g_thread_join);
}

static void at_stop(VhostBackend *b, unsigned int ring, void *opaque)
{
    World *w = opaque;

    w->at_stop(w, ring);
}

/* ---- A world ---- */

static void give_back(World *w, uint64_t start, uint64_t size)
{
    bg_request_range(w->source, BG_INFLATE, start, size);
}

static void prepare_memory(World *w)
{
    int i;

    bg_fill(w->source, BALLAST_START, BALLAST_SIZE, 3);
    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (ranges[i].used) {
            bg_fill(w->source, ranges[i].start, ranges[i].size, i);
        }
    }
}

/* Give back what is to be given back at this moment. */
static void give_back_ranges(World *w, Moment moment)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (ranges[i].given && ranges[i].first == moment) {
            give_back(w, ranges[i].start, ranges[i].size);
        }
    }
}

static World *world_new(const Case *c,
                        void (*when_stopped)(World *w, unsigned int ring))
{
    static const char *const capabilities[][3] = {
        { NULL },
        { "skip-balloon", NULL },
        { "skip-unpopulated", NULL },
        { "skip-balloon", "skip-unpopulated", NULL },
    };
    World *w = g_new0(World, 1);
    g_autofree char *args = NULL;
    g_autofree char *dest_args = NULL;
    BGOptions options = {
        .backend = c->huge ? BG_HUGETLB : BG_MEMFD,
        .ram_size = RAM_SIZE,
        .no_must_tell_host = c->stock,
        .stock = c->stock,
        .multifd = c->multifd,
        .capabilities = capabilities[c->skip],
    };
    BGuest as;

    w->c = c;
    w->at_stop = when_stopped;
    g_queue_init(&w->late);
    w->backend = vb_new(at_stop, w);
    w->dest_backend = vb_new(NULL, NULL);

    args = net_args(w->backend);
    options.args = args;
    w->source = bg_start(&options);
    w->source->options.args = NULL;
    bg_driver_start(w->source, c->stock ? 0
                               : 1U << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    net_driver_start(w->source);
    vb_wait_started(w->backend);

    dest_args = net_args(w->dest_backend);
    as = *w->source;
    as.options.args = dest_args;
    w->dest = bg_start_incoming(&as);
    w->dest->options.args = NULL;
    return w;
}

static void world_free(World *w)
{
    bg_quit(w->dest);
    bg_quit(w->source);
    vb_free(w->dest_backend);
    vb_free(w->backend);
    g_assert_true(g_queue_is_empty(&w->late));
    g_free(w);
}

/* Start to migrate, and wait until the first pass is made. */
static void migrate_start(World *w)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    bool active = false;

    bg_migrate_limit(w->source, NEXT_TO_NOTHING);
    bg_migrate_start(w->source, w->dest);
    while (!active) {
        QDict *info = bg_query_migrate(w->source);

        active = !g_strcmp0(qdict_get_try_str(info, "status"), "active");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    g_assert_true(vb_logs(w->backend));
}

/* Wait until whatever is dirty now has been looked at by a pass, and sent. */
static void wait_two_passes(World *w)
{
    int64_t pass = bg_migrate_stat(w->source, "ram", "dirty-sync-count");

    bg_migrate_wait_pass(w->source, pass + 2);
}

static void migrate_finish(World *w)
{
    bg_migrate_limit(w->source, 0);
    bg_migrate_wait(w->source, w->dest);
    g_assert_null(w->writer);
}

/* ---- At moments that the test chooses ---- */

static void ordered_stop(World *w, unsigned int ring)
{
    if (!ring) {
        /* What it wrote long ago, and logs only now, among it */
        log_late(w, 0);
        act(w, STOPPING);
    } else {
        writer_stop(w);
        act(w, LAST);
        log_late(w, 0);
    }
}

static bool holds_what_was_written(World *w, BGuest *g, uint64_t addr)
{
    uint64_t expected[VB_PAGE / sizeof(uint64_t)];
    uint64_t page[VB_PAGE / sizeof(uint64_t)];

    content(addr, w->written[addr / VB_PAGE], expected);
    bg_read(g, addr, page, sizeof(page));
    return !memcmp(page, expected, sizeof(page));
}

static void check_written(World *w)
{
    uint64_t addr;

    for (addr = 0; addr < RAM_SIZE; addr += VB_PAGE) {
        if (w->written[addr / VB_PAGE]) {
            g_assert_true(holds_what_was_written(w, w->source, addr));
            if (!holds_what_was_written(w, w->dest, addr)) {
                g_test_message("page 0x%" PRIx64 " was written %" PRIu64
                               " times, and the last one was lost", addr,
                               w->written[addr / VB_PAGE]);
                g_test_fail();
            }
        }
    }
}

/* No other page than those that were written is populated, on both sides. */
static void check_populated(World *w)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        const Range *range = &ranges[i];
        uint64_t at, written = 0;

        if (!(range->kept_out & w->c->skip)) {
            continue;
        }
        for (at = range->start; at < range->start + range->size;
             at += VB_PAGE) {
            written += w->written[at / VB_PAGE] != 0;
        }
        g_assert_cmpuint(bg_count_populated(w->source, range->start,
                                            range->size), ==, written);
        g_assert_cmpuint(bg_count_populated(w->dest, range->start,
                                            range->size), ==, written);
    }
}

static void test_ordered(const void *opaque)
{
    const Case *c = opaque;
    World *w = world_new(c, ordered_stop);

    prepare_memory(w);
    give_back_ranges(w, BEFORE);
    act(w, BEFORE);
    migrate_start(w);
    give_back_ranges(w, UNSENT);
    act(w, UNSENT);

    writer_start(w);
    bg_migrate_limit(w->source, SLOW);
    bg_migrate_wait_pass(w->source, 3);
    give_back_ranges(w, SENT);
    act(w, SENT);
    wait_two_passes(w);
    act(w, NEXT);
    wait_two_passes(w);
    migrate_finish(w);

    check_written(w);
    if (!c->stock) {
        check_populated(w);
    }
    if (c->skip & SKIP_BALLOON) {
        g_assert_cmpint(bg_skip_stat(w->source, "vetoed-pages"), >, 0);
        g_assert_cmpint(bg_skip_stat(w->source, "skipped-pages"), >, 0);
        bg_assert_same_map(w->source, w->dest);
    }
    if (c->skip) {
        bg_assert_same_memory(w->source, w->dest);
    }
    world_free(w);
}

/* ---- Between the question and what follows from the answer ---- */

/* What is asked about in one go, at least, by a pass, and by who sends */
#define ASKED_BY_PASS (2 * MiB)
#define ASKED_BY_SENDER VB_PAGE

/* Pages at the end of a range that ordered_stop() leaves alone */
#define HELD_PAGES 4

typedef struct Hold {
    World *w;
    uint64_t addr;
    char *path;                 /* HOST_LIAR_FILE */
    GThread *thread;
} Hold;

/* QEMU has been told that there is nothing, and has not gone on yet. */
static void *write_while_held(void *opaque)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    Hold *hold = opaque;
    g_autofree char *held = g_strconcat(hold->path, ".held", NULL);

    while (access(held, F_OK)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    write_and_log(hold->w, hold->addr);
    write_and_log_late(hold->w, hold->addr + VB_PAGE);
    unlink(held);
    return NULL;
}

/*
 * Wait, in a thread, since QEMU may hold its big lock, for the question about
 * the end of a range, and write to it before QEMU has the answer.
 */
static void hold_begin(Hold *hold, const Range *range, uint64_t asked)
{
    g_autofree char *text = NULL;

    hold->addr = range->start + range->size - HELD_PAGES * VB_PAGE;
    text = g_strdup_printf("%" PRIx64 " %" PRIx64 " %" PRIx64 " 0\n",
                           hold->addr, asked, RAM_SIZE);
    g_assert_true(g_file_set_contents(hold->path, text, -1, NULL));
    hold->thread = g_thread_new("held", write_while_held, hold);
}

static void hold_end(Hold *hold)
{
    g_thread_join(hold->thread);
}

static bool can_hold(void)
{
    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
        return false;
    }
    if (syscall(CACHESTAT_NR, -1, NULL, NULL, 0) < 0 && errno == ENOSYS) {
        g_test_skip("the kernel has no cachestat()");
        return false;
    }
    return true;
}

static void test_held(const void *opaque)
{
    const Case *c = opaque;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "skip-vhost-held");
    Hold hold = { .path = path };
    World *w;

    if (!can_hold()) {
        return;
    }
    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    g_setenv("HOST_LIAR_FILE", path, true);
    g_setenv("HOST_LIAR_CALL", "held", true);
    w = world_new(c, ordered_stop);
    g_unsetenv("LD_PRELOAD");
    hold.w = w;

    prepare_memory(w);
    give_back_ranges(w, BEFORE);
    hold_begin(&hold, &ranges[GIVEN], ASKED_BY_PASS);
    migrate_start(w);
    hold_end(&hold);
    give_back_ranges(w, UNSENT);

    writer_start(w);
    bg_migrate_limit(w->source, SLOW);
    bg_migrate_wait_pass(w->source, 3);
    hold_begin(&hold, &ranges[GIVEN_SENT], ASKED_BY_SENDER);
    give_back(w, ranges[GIVEN_SENT].start, ranges[GIVEN_SENT].size);
    hold_end(&hold);
    wait_two_passes(w);
    migrate_finish(w);
    check_written(w);
    check_populated(w);
    bg_assert_same_memory(w->source, w->dest);
    world_free(w);
}

/* ---- At random, up to the very last moment ---- */

/* Pages that the guest gives back, or takes back, at once */
#define GIVEN_AT_ONCE (32 * VB_PAGE)

static void random_stop(World *w, unsigned int ring)
{
    if (ring) {
        writer_stop(w);
        log_late(w, 0);
    }
}

static void balloon_at_random(World *w, int n)
{
    while (n--) {
        bool inflate = g_test_rand_int_range(0, 3);
        uint64_t start = ANY_START + GIVEN_AT_ONCE *
                         g_test_rand_int_range(0, ANY_SIZE / GIVEN_AT_ONCE);

        bg_request_range(w->source, inflate ? BG_INFLATE : BG_DEFLATE, start,
                         GIVEN_AT_ONCE);
    }
}

/*
 * Unmodified QEMU does not tell the destination of what is given back when it
 * was sent already, so there and here the guest would read something else.
 */
static void balloon_while_migrating(World *w, int n)
{
    if (w->c->skip) {
        balloon_at_random(w, n);
    }
}

static void test_random(const void *opaque)
{
    const Case *c = opaque;
    World *w = world_new(c, random_stop);
    int i;

    prepare_memory(w);
    give_back_ranges(w, BEFORE);
    balloon_at_random(w, 40);
    w->seed = g_test_rand_int() | 1;
    writer_start(w);
    migrate_start(w);
    balloon_while_migrating(w, 40);
    bg_migrate_limit(w->source, SLOW);
    for (i = 0; i < 3; i++) {
        balloon_while_migrating(w, 40);
        wait_two_passes(w);
    }
    migrate_finish(w);
    bg_assert_same_memory(w->source, w->dest);
    world_free(w);
}

/* Both guests are all of huge pages. */
static void test_random_huge(const void *opaque)
{
    if (g_test_subprocess()) {
        test_random(opaque);
    } else {
        hm_test_with_huge_pages(2 * RAM_SIZE);
    }
}

/* ---- All of them ---- */

static const Case cases[] = {
    { "stock", .stock = true },
    { "off" },
    { "balloon", SKIP_BALLOON, .held = true },
    { "unpopulated", SKIP_UNPOPULATED, .held = true },
    { "both", SKIP_BOTH, .held = true },
    { "multifd", SKIP_BOTH, .multifd = true },
    { "huge", SKIP_BOTH, .huge = true },
};

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        const Case *c = &cases[i];
        g_autofree char *ordered = g_strconcat(PREFIX "ordered/", c->name,
                                               NULL);
        g_autofree char *held = g_strconcat(PREFIX "held/", c->name, NULL);
        g_autofree char *random = g_strconcat(PREFIX "random/", c->name, NULL);

        if (c->stock && !getenv(BG_STOCK_ENV)) {
            continue;
        }
        if (!c->huge) {
            qtest_add_data_func(ordered, c, test_ordered);
        }
        if (c->held) {
            qtest_add_data_func(held, c, test_held);
        }
        qtest_add_data_func(random, c, c->huge ? test_random_huge
                                               : test_random);
    }
    return g_test_run();
}
