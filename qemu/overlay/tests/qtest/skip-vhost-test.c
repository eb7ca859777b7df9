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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "host-memory.h"
#include "standard-headers/linux/vhost_types.h"
#include "standard-headers/linux/virtio_config.h"
#include "subprojects/libvhost-user/libvhost-user.h"

#define RAM_SIZE (64 * MiB)
#define RAM_PAGES (RAM_SIZE / BALLOON_PAGE)
#define WAIT_SECONDS 60

/* ---- The back end of a vhost-user network device, in this process ---- */

/*
 * It moves no packets.  It writes to memory of the guest when a test wants it
 * to, as one does that receives, and logs what it wrote when the test wants it
 * to, as one does whose writes take their time.
 */

#define RINGS 2

typedef struct World World;

typedef struct Backend {
    VuDev dev;                  /* the first member; protected by @lock */
    World *w;                   /* told when a ring stops, or NULL */
    char *path;
    int listener;
    GThread *thread;
    GMutex lock;
    GCond changed;
    unsigned int started;       /* a bit for each ring */
} Backend;

static void world_at_stop(World *w, unsigned int ring);

static uint64_t protocol_features(VuDev *dev)
{
    return 1 << VHOST_USER_PROTOCOL_F_RARP;
}

static int process_message(VuDev *dev, VhostUserMsg *m, int *do_reply)
{
    if (m->request == VHOST_USER_SET_FEATURES) {
        /* It takes no legacy driver, which makes no difference on x86. */
        m->payload.u64 |= UINT64_C(1) << VIRTIO_F_VERSION_1;
    }
    return m->request == VHOST_USER_SEND_RARP;
}

/* QEMU may have a ring back only when nothing more is written. */
static void set_started(VuDev *dev, int ring, bool started)
{
    Backend *b = (Backend *)dev;

    if (!started && b->w) {
        g_mutex_unlock(&b->lock);
        world_at_stop(b->w, ring);
        g_mutex_lock(&b->lock);
    }
    b->started = deposit32(b->started, ring, 1, started);
}

static const VuDevIface iface = {
    .get_protocol_features = protocol_features,
    .process_msg = process_message,
    .queue_set_started = set_started,
};

/* It is no device that anybody kicks. */
static void set_watch(VuDev *dev, int fd, int condition, vu_watch_cb cb,
                      void *data)
{
}

static void remove_watch(VuDev *dev, int fd)
{
}

static void panic(VuDev *dev, const char *error)
{
    g_error("%s", error);
}

static void *serve(void *opaque)
{
    Backend *b = opaque;
    int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
    char byte;

    if (fd >= 0) {
        g_assert_true(vu_init(&b->dev, RINGS, fd, panic, NULL, set_watch,
                              remove_watch, &iface));
    }
    while (recv(fd, &byte, 1, MSG_PEEK) > 0) {
        g_mutex_lock(&b->lock);
        vu_dispatch(&b->dev);
        g_cond_broadcast(&b->changed);
        g_mutex_unlock(&b->lock);
    }
    return NULL;
}

/* Wait, in a thread, for a QEMU to connect. */
static Backend *backend_new(World *w)
{
    Backend *b = g_new0(Backend, 1);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    b->w = w;
    b->path = hm_temp_path(g_get_tmp_dir(), "vhost");
    g_assert_cmpuint(g_strlcpy(addr.sun_path, b->path, sizeof(addr.sun_path)),
                     <, sizeof(addr.sun_path));
    b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(b->listener, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    g_assert_cmpint(listen(b->listener, 1), ==, 0);
    g_mutex_init(&b->lock);
    g_cond_init(&b->changed);
    b->thread = g_thread_new("vhost-backend", serve, b);
    return b;
}

/* Its QEMU has ended before. */
static void backend_free(Backend *b)
{
    /* If no QEMU came */
    shutdown(b->listener, SHUT_RDWR);
    g_thread_join(b->thread);
    if (b->dev.iface) {
        vu_deinit(&b->dev);
    }
    close(b->listener);
    unlink(b->path);
    g_free(b->path);
    g_mutex_clear(&b->lock);
    g_cond_clear(&b->changed);
    g_free(b);
}

/* Wait until QEMU has started all rings. */
static void backend_wait_started(Backend *b)
{
    gint64 end = bg_deadline();

    g_mutex_lock(&b->lock);
    while (b->started != (1U << RINGS) - 1) {
        g_assert_true(g_cond_wait_until(&b->changed, &b->lock, end));
    }
    g_mutex_unlock(&b->lock);
}

/* Write a page of guest memory, without logging that.  Any thread may. */
static void backend_write(Backend *b, uint64_t addr, const void *data)
{
    uint64_t length = BALLOON_PAGE;
    void *page;

    g_mutex_lock(&b->lock);
    page = vu_gpa_to_va(&b->dev, &length, addr);
    g_assert_true(page && length == BALLOON_PAGE);
    memcpy(page, data, BALLOON_PAGE);
    g_mutex_unlock(&b->lock);
}

/* Where the log has a page; NULL if there is nothing to log, with the lock */
static uint8_t *log_of(Backend *b, uint64_t page)
{
    return b->dev.features & 1 << VHOST_F_LOG_ALL && b->dev.log_table &&
           page / 8 < b->dev.log_size ? &b->dev.log_table[page / 8] : NULL;
}

/* Log that a page was written, if it is to log anything.  Any thread may. */
static void backend_log(Backend *b, uint64_t addr)
{
    uint64_t page = addr / BALLOON_PAGE;
    uint8_t *log;

    g_mutex_lock(&b->lock);
    log = log_of(b, page);
    if (log) {
        /* What was written is there before anybody sees the bit. */
        qatomic_or(log, 1 << page % 8);
    }
    g_mutex_unlock(&b->lock);
}

/*
 * Does the log say that a page was written?  If it did and does not, QEMU has
 * collected it.
 */
static bool backend_is_logged(Backend *b, uint64_t addr)
{
    uint64_t page = addr / BALLOON_PAGE;
    uint8_t *log;
    bool logged;

    g_mutex_lock(&b->lock);
    log = log_of(b, page);
    logged = log && qatomic_read(log) & 1 << page % 8;
    g_mutex_unlock(&b->lock);
    return logged;
}

/* ---- Cases, and what is written when ---- */

/* Bytes per second: nothing is sent, and a pass takes a fraction of a second */
#define NEXT_TO_NOTHING 10
#define SLOW (16 * MiB)

/*
 * What is written to all the time, so that the migration goes on: more than is
 * sent in 100 ms, so that each pass has to wait, and is written to meanwhile
 */
#define BALLAST_START (36 * MiB)
#define BALLAST_SIZE (768 * BALLOON_PAGE)

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

struct World {
    const Case *c;
    BGuest *source;
    BGuest *dest;
    Backend *backend;           /* of the source */
    Backend *dest_backend;
    uint64_t written[RAM_PAGES];    /* how often the back end did */
    GQueue late;                /* addresses that are written, not logged */
    GThread *writer;
    bool stop;                  /* the writer */
    uint32_t seed;              /* of what is written at random; 0: nothing */
};

/* ---- What the back end does ---- */

static void content(uint64_t addr, uint64_t written, uint64_t *page)
{
    unsigned int i;

    for (i = 0; i < BALLOON_PAGE / sizeof(*page); i++) {
        page[i] = (addr + i) ^ written << 40;
    }
}

static void log_late(World *w, unsigned int left)
{
    while (g_queue_get_length(&w->late) > left) {
        backend_log(w->backend,
                    GPOINTER_TO_SIZE(g_queue_pop_head(&w->late)));
    }
}

static void write_page(World *w, uint64_t addr, bool late)
{
    uint64_t page[BALLOON_PAGE / sizeof(uint64_t)];

    content(addr, ++w->written[addr / BALLOON_PAGE], page);
    backend_write(w->backend, addr, page);
    if (late) {
        g_queue_push_tail(&w->late, GSIZE_TO_POINTER(addr));
    } else {
        backend_log(w->backend, addr);
    }
}

static void act(World *w, Moment moment)
{
    const Range *range;

    for (range = ranges; range < ranges + ARRAY_SIZE(ranges); range++) {
        const int fates[] = { 2 * moment, 2 * moment + 1, EVERY_MOMENT };
        int i;

        for (i = 0; i < ARRAY_SIZE(fates) && moment >= range->first; i++) {
            write_page(w, QEMU_ALIGN_DOWN(range->start + range->size / FATES *
                                          fates[i], BALLOON_PAGE), i == 1);
        }
    }
}

/* What the back end does all the time */
static void *keep_writing(void *opaque)
{
    World *w = opaque;
    GRand *rand = g_rand_new_with_seed(w->seed);
    unsigned int n = 0;
    int i;

    while (!qatomic_read(&w->stop)) {
        bool collected = !backend_is_logged(
            w->backend, BALLAST_START + n * BALLOON_PAGE % BALLAST_SIZE);

        for (i = 0; i < BALLAST_BURST; i++) {
            write_page(w, BALLAST_START + ++n * BALLOON_PAGE % BALLAST_SIZE,
                       false);
        }
        for (i = 0; w->seed && i < (collected ? COLLECTED_BURST : ANY_BURST);
             i++) {
            write_page(w, ANY_START + BALLOON_PAGE *
                       g_rand_int_range(rand, 0, ANY_SIZE / BALLOON_PAGE),
                       g_rand_boolean(rand));
        }
        if (w->seed) {
            log_late(w, g_rand_int_range(rand, 0, LATE_PAGES));
        }
        g_usleep(1000);
    }
    g_rand_free(rand);
    return NULL;
}

/* What is written at chosen moments is so until the last ring stops. */
static void world_at_stop(World *w, unsigned int ring)
{
    if (!ring && !w->seed) {
        /* What it wrote long ago, and logs only now, among it */
        log_late(w, 0);
        act(w, STOPPING);
    } else if (ring) {
        qatomic_set(&w->stop, true);
        g_clear_pointer(&w->writer, g_thread_join);
        if (!w->seed) {
            act(w, LAST);
        }
        log_late(w, 0);
    }
}

/* ---- A world ---- */

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
G_STATIC_ASSERT(NET_RING_BASE + RINGS * NET_RING_STRIDE <= BG_REQUEST_BASE);

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
    for (i = 0; i < RINGS; i++) {
        uint64_t ring = NET_RING_BASE + i * NET_RING_STRIDE;

        qtest_memset(g->qts, ring, 0, NET_RING_STRIDE);
        qtest_outw(g->qts, NET_IO + REG_QUEUE_SELECT, i);
        qtest_outl(g->qts, NET_IO + REG_QUEUE_PFN, ring / 4096);
    }
    qtest_outb(g->qts, NET_IO + REG_STATUS, 7);
}

static char *net_args(Backend *b)
{
    return g_strdup_printf(
        "-chardev socket,id=backend0,path=%s "
        "-netdev vhost-user,id=net0,chardev=backend0 "
        "-device virtio-net-pci,id=nic0,addr=%d,netdev=net0,romfile=",
        b->path, NET_SLOT);
}

/* Give back what is to be given back at this moment. */
static void give_back_ranges(World *w, Moment moment)
{
    const Range *range;

    for (range = ranges; range < ranges + ARRAY_SIZE(ranges); range++) {
        if (range->given && range->first == moment) {
            bg_request_range(w->source, BG_INFLATE, range->start, range->size);
        }
    }
}

/* A guest with its memory in use, some of it given back */
static World *world_new(const Case *c)
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
    int i;

    w->c = c;
    g_queue_init(&w->late);
    w->backend = backend_new(w);
    w->dest_backend = backend_new(NULL);

    options.args = args = net_args(w->backend);
    w->source = bg_start(&options);
    bg_driver_start(w->source, c->stock ? 0 : BG_MUST_TELL_HOST);
    net_driver_start(w->source);
    backend_wait_started(w->backend);

    options.args = dest_args = net_args(w->dest_backend);
    w->dest = bg_start_dest(&options);

    bg_fill(w->source, BALLAST_START, BALLAST_SIZE, 3);
    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (ranges[i].used) {
            bg_fill(w->source, ranges[i].start, ranges[i].size, i);
        }
    }
    give_back_ranges(w, BEFORE);
    return w;
}

static void world_free(World *w)
{
    bg_quit(w->dest);
    bg_quit(w->source);
    backend_free(w->dest_backend);
    backend_free(w->backend);
    g_assert_true(g_queue_is_empty(&w->late));
    g_free(w);
}

/* Start to migrate, and wait until the first pass is made. */
static void migrate_start(World *w)
{
    bg_migrate_begin(w->source, w->dest, NEXT_TO_NOTHING);
    bg_wait_status(w->source, "active", WAIT_SECONDS);
    g_assert_true(w->backend->dev.log_table);
}

/* From now on the back end writes; wait until all has been sent once. */
static void send_all(World *w)
{
    w->writer = g_thread_new("writer", keep_writing, w);
    bg_migrate_limit(w->source, SLOW);
    bg_migrate_wait_pass(w->source, 3);
}

/* Wait until whatever is dirty now has been looked at by a pass, and sent. */
static void wait_two_passes(World *w)
{
    int64_t pass = bg_migrate_stat(w->source, "ram", "dirty-sync-count");

    bg_migrate_wait_pass(w->source, pass + 2);
}

static bool holds_what_was_written(World *w, BGuest *g, uint64_t addr)
{
    uint64_t expected[BALLOON_PAGE / sizeof(uint64_t)];
    uint64_t page[BALLOON_PAGE / sizeof(uint64_t)];

    content(addr, w->written[addr / BALLOON_PAGE], expected);
    bg_read(g, addr, page, sizeof(page));
    return !memcmp(page, expected, sizeof(page));
}

/*
 * Nothing that was written is lost, and of what is kept out nothing else is
 * populated, on both sides.
 */
static void check_ordered(World *w)
{
    const Range *range;
    uint64_t addr;

    for (addr = 0; addr < RAM_SIZE; addr += BALLOON_PAGE) {
        if (w->written[addr / BALLOON_PAGE]) {
            g_assert_true(holds_what_was_written(w, w->source, addr));
            if (!holds_what_was_written(w, w->dest, addr)) {
                bg_fail(addr, "the last one of %" PRIu64 " writes was lost",
                        w->written[addr / BALLOON_PAGE]);
            }
        }
    }
    for (range = ranges; range < ranges + ARRAY_SIZE(ranges); range++) {
        uint64_t written = 0;

        if (!(range->kept_out & w->c->skip)) {
            continue;
        }
        for (addr = range->start; addr < range->start + range->size;
             addr += BALLOON_PAGE) {
            written += w->written[addr / BALLOON_PAGE] != 0;
        }
        g_assert_cmpuint(bg_count_populated(w->source, range->start,
                                            range->size), ==, written);
        g_assert_cmpuint(bg_count_populated(w->dest, range->start,
                                            range->size), ==, written);
    }
}

static void finish(World *w)
{
    bg_migrate_end(w->source, w->dest);
    g_assert_null(w->writer);
    if (!w->seed) {
        check_ordered(w);
    }
    if (w->c->skip & SKIP_BALLOON && !w->seed) {
        g_assert_cmpint(bg_skip_stat(w->source, "vetoed-pages"), >, 0);
        g_assert_cmpint(bg_skip_stat(w->source, "skipped-pages"), >, 0);
    }
    if (w->c->skip & SKIP_BALLOON) {
        bg_assert_same_map(w->source, w->dest);
    }
    if (w->c->skip || w->seed) {
        bg_assert_same_memory(w->source, w->dest);
    }
    world_free(w);
}

/* ---- At moments that the test chooses ---- */

static void test_ordered(gconstpointer data)
{
    World *w = world_new(data);

    act(w, BEFORE);
    migrate_start(w);
    give_back_ranges(w, UNSENT);
    act(w, UNSENT);

    send_all(w);
    give_back_ranges(w, SENT);
    act(w, SENT);
    wait_two_passes(w);
    act(w, NEXT);
    wait_two_passes(w);
    finish(w);
}

/* ---- Between the question and what follows from the answer ---- */

/* As of Linux 6.5 */
#define CACHESTAT_NR 451

/* What is asked about in one go, at least, by a pass, and by who sends */
#define ASKED_BY_PASS (2 * MiB)
#define ASKED_BY_SENDER BALLOON_PAGE

/* Pages at the end of a range that world_at_stop() leaves alone */
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
    Hold *hold = opaque;
    g_autofree char *held = g_strconcat(hold->path, ".held", NULL);

    BG_WAIT(!access(held, F_OK));
    write_page(hold->w, hold->addr, false);
    write_page(hold->w, hold->addr + BALLOON_PAGE, true);
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

    hold->addr = range->start + range->size - HELD_PAGES * BALLOON_PAGE;
    text = g_strdup_printf("%" PRIx64 " %" PRIx64 " %" PRIx64 " 0\n",
                           hold->addr, asked, RAM_SIZE);
    g_assert_true(g_file_set_contents(hold->path, text, -1, NULL));
    hold->thread = g_thread_new("held", write_while_held, hold);
}

static void test_held(gconstpointer data)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "skip-vhost-held");
    Hold hold = { .path = path };
    World *w;

    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
        return;
    }
    if (syscall(CACHESTAT_NR, -1, NULL, NULL, 0) < 0 && errno == ENOSYS) {
        g_test_skip("the kernel has no cachestat()");
        return;
    }
    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    g_setenv("HOST_LIAR_FILE", path, true);
    g_setenv("HOST_LIAR_CALL", "held", true);
    hold.w = w = world_new(data);
    g_unsetenv("LD_PRELOAD");

    hold_begin(&hold, &ranges[GIVEN], ASKED_BY_PASS);
    migrate_start(w);
    g_thread_join(hold.thread);
    give_back_ranges(w, UNSENT);

    send_all(w);
    hold_begin(&hold, &ranges[GIVEN_SENT], ASKED_BY_SENDER);
    give_back_ranges(w, SENT);
    g_thread_join(hold.thread);
    wait_two_passes(w);
    finish(w);
}

/* ---- At random, up to the very last moment ---- */

/* Pages that the guest gives back, or takes back, at once */
#define GIVEN_AT_ONCE (32 * BALLOON_PAGE)

static void balloon_at_random(World *w)
{
    int n;

    for (n = 0; n < 40; n++) {
        bool inflate = g_test_rand_int_range(0, 3);
        uint64_t start = ANY_START + GIVEN_AT_ONCE *
                         g_test_rand_int_range(0, ANY_SIZE / GIVEN_AT_ONCE);

        bg_request_range(w->source, inflate ? BG_INFLATE : BG_DEFLATE, start,
                         GIVEN_AT_ONCE);
    }
}

static void test_random(gconstpointer data)
{
    const Case *c = data;
    World *w;
    int i;

    if (c->huge && !g_test_subprocess()) {
        /* Both guests are all of huge pages. */
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    w = world_new(c);
    balloon_at_random(w);
    w->seed = g_test_rand_int() | 1;
    w->writer = g_thread_new("writer", keep_writing, w);
    migrate_start(w);
    for (i = 0; i < 3; i++) {
        /*
         * Unmodified QEMU does not tell the destination of what is given back
         * when it was sent already, so there and here the guest would read
         * something else.
         */
        if (c->skip) {
            balloon_at_random(w);
        }
        bg_migrate_limit(w->source, SLOW);
        wait_two_passes(w);
    }
    finish(w);
}

/* ---- Enforcement ---- */

/* What enforcement does not notice: the back end is another process. */
static void test_enforced(void)
{
    const uint8_t data[BALLOON_PAGE] = { 1 };
    Backend *b = backend_new(NULL);
    g_autofree char *args = net_args(b);
    BGOptions options = {
        .backend = BG_MEMFD,
        .ram_size = RAM_SIZE,
        .device_args = "enforce=report",
        .args = args,
    };
    BGuest *g = bg_start_driven(&options);
    QDict *info, *shared;

    net_driver_start(g);
    backend_wait_started(b);
    bg_request_range(g, BG_INFLATE, BALLAST_START, MiB);
    backend_write(b, BALLAST_START, data);
    qtest_readb(g->qts, BALLAST_START);
    qtest_readb(g->qts, BALLAST_START + BALLOON_PAGE);
    info = bg_map_info(g, "ram0", 0, false);
    g_assert_cmpuint(qdict_get_int(info, "accesses"), ==, 1);
    g_assert_cmpuint(qdict_get_int(info, "enforced"), ==, MiB - BALLOON_PAGE);
    shared = qobject_to(QDict, qlist_peek(qdict_get_qlist(info,
                                                          "not-enforced")));
    g_assert_cmpstr(qdict_get_str(shared, "reason"), ==, "shared");
    g_assert_cmpuint(qdict_get_int(shared, "bytes"), ==, MiB - BALLOON_PAGE);
    qobject_unref(info);
    bg_quit(g);
    backend_free(b);
}

/* ---- All of them ---- */

static const Case stock = { "stock", .stock = true };
static const Case off = { "off" };
static const Case balloon = { "balloon", SKIP_BALLOON };
static const Case unpopulated = { "unpopulated", SKIP_UNPOPULATED };
static const Case both = { "both", SKIP_BOTH };
static const Case multifd = { "multifd", SKIP_BOTH, .multifd = true };
static const Case huge = { "huge", SKIP_BOTH, .huge = true };

static void add(const char *name, GTestDataFunc func,
                const Case *const *cases)
{
    for (; *cases; cases++) {
        if (!(*cases)->stock || getenv(BG_STOCK_ENV)) {
            bg_add_test(*cases, func, "/skip-vhost/%s/%s", name,
                        (*cases)->name);
        }
    }
}

int main(int argc, char **argv)
{
    static const Case *const ordered[] = {
        &stock, &off, &balloon, &unpopulated, &both, &multifd, NULL
    };
    static const Case *const held[] = { &balloon, &unpopulated, &both, NULL };
    static const Case *const random[] = {
        &off, &balloon, &unpopulated, &both, &multifd, &huge, NULL
    };

    bg_init(&argc, &argv);
    bg_allow_huge_pages(true);
    add("ordered", test_ordered, ordered);
    add("held", test_held, held);
    add("random", test_random, random);
    qtest_add_func("/skip-vhost/enforced", test_enforced);
    return g_test_run();
}
