/*
 * Tests of balloon requests served by runs: huge pages, random and hostile
 * requests, free page reporting, rate
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_ring.h"
#include "balloon-guest.h"

#define FEATURES (BG_MUST_TELL_HOST | BG_REPORTING)
#define HUGE_SIZE (2 * MiB)
#define HUGE_PAGES (HUGE_SIZE / BALLOON_PAGE)

/* The memory of most guests here */
#define RAM_SIZE (32 * MiB)
#define PAGES (RAM_SIZE / BALLOON_PAGE)
#define FIRST_PAGE BG_PFN(BG_RAM_START)

static void shuffle(uint32_t *pfns, size_t n)
{
    for (; n > 1; n--) {
        size_t j = g_test_rand_int_range(0, n);
        uint32_t pfn = pfns[j];

        pfns[j] = pfns[n - 1];
        pfns[n - 1] = pfn;
    }
}

/* NULL, and the test is skipped, if there are not enough huge pages. */
static BGuest *start(BGBackend backend, const char *device_args)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = RAM_SIZE,
        .device_args = device_args,
    };

    return backend == BG_HUGETLB && !bg_huge_or_skip(RAM_SIZE)
           ? NULL : bg_start_driven(&options);
}

/* ---- Many requests at once ---- */

/* A part of a request, or of a report, which the device may write to */
typedef struct Segment {
    uint64_t addr;
    uint32_t length;
    bool device_writes;
} Segment;

/* The largest ring that virtio allows */
#define BATCH_MAX 1024

/* Requests that the device is told of together */
typedef struct Batch {
    BGuest *g;
    int queue;
    unsigned int descs;
    unsigned int max;           /* of descs */
    struct vring_desc desc[BATCH_MAX];
    uint16_t avail[BATCH_MAX];
    size_t size;
    uint8_t data[BG_REQUEST_SIZE]; /* what goes to BG_REQUEST_BASE */
} Batch;

static Batch *batch_new(BGuest *g, int queue)
{
    Batch *b = g_new0(Batch, 1);

    b->g = g;
    b->queue = queue;
    b->max = g->queue[queue].size;
    g_assert_cmpuint(b->max, <=, BATCH_MAX);
    return b;
}

static unsigned int batch_room(const Batch *b)
{
    return b->max - b->descs;
}

static void batch_add(Batch *b, const Segment *segments, unsigned int n)
{
    BGQueue *q = &b->g->queue[b->queue];
    unsigned int i;

    g_assert_cmpuint(n, <=, batch_room(b));
    b->avail[q->added++ % q->size] = cpu_to_le16(b->descs);
    for (i = 0; i < n; i++, b->descs++) {
        b->desc[b->descs] = (struct vring_desc) {
            .addr = cpu_to_le64(segments[i].addr),
            .len = cpu_to_le32(segments[i].length),
            .flags = cpu_to_le16((i + 1 < n ? VRING_DESC_F_NEXT : 0) |
                                 (segments[i].device_writes
                                  ? VRING_DESC_F_WRITE : 0)),
            .next = cpu_to_le16(b->descs + 1),
        };
    }
}

/* Put PFNs where a segment can be; returns their address. */
static uint64_t batch_data(Batch *b, const uint32_t *pfns, size_t n)
{
    uint32_t *le_pfns = (uint32_t *)(b->data + b->size);
    uint64_t addr = BG_REQUEST_BASE + b->size;

    b->size += n * sizeof(*pfns);
    g_assert_cmpuint(b->size, <=, sizeof(b->data));
    while (n--) {
        le_pfns[n] = cpu_to_le32(pfns[n]);
    }
    return addr;
}

static void batch_add_pfns(Batch *b, const uint32_t *pfns, size_t n)
{
    batch_add(b, &(Segment) { batch_data(b, pfns, n), n * sizeof(*pfns) }, 1);
}

/* All but the notification; then there is room again. */
static void batch_write(Batch *b)
{
    BGQueue *q = &b->g->queue[b->queue];

    if (b->size) {
        qtest_bufwrite(b->g->qts, BG_REQUEST_BASE, b->data, b->size);
    }
    qtest_bufwrite(b->g->qts, q->ring, b->desc, b->descs * sizeof(*b->desc));
    qtest_bufwrite(b->g->qts, q->avail + 4, b->avail,
                   q->size * sizeof(*b->avail));
    qtest_writew(b->g->qts, q->avail + 2, q->added);
    b->descs = b->size = 0;
}

static void batch_send(Batch *b)
{
    batch_write(b);
    bg_kick(b->g, b->queue);
}

/* ---- Huge pages that are given back in parts ---- */

#define HUGE_START (16 * MiB)

/* A guest that used all its memory */
static BGuest *start_huge(void)
{
    BGuest *g = start(BG_HUGETLB, NULL);

    if (g) {
        bg_fill(g, BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    }
    return g;
}

/* Is all of the @i-th huge page in the map, and let go of; or populated? */
static bool is_given_back(BGuest *g, int i)
{
    uint64_t start = HUGE_START + i * HUGE_SIZE;
    bool given_back = bg_in_map(g, start, HUGE_SIZE) == HUGE_SIZE;

    bg_assert_populated(g, start, HUGE_SIZE, given_back ? 0 : HUGE_PAGES);
    return given_back;
}

/*
 * What a guest does, word by word.  A place is a huge page, a point, and the
 * page within it; *N after it are N pages, else it is one.
 *
 * +PLACE     inflate
 * -PLACE     deflate
 * wPLACE     write to it
 * kPLACE     its first page has to hold what was written to it last
 * zPLACE     its first page has to be zero
 * =001       whether the first, second, ... huge page is given back as a whole
 * #N         as many pages are in the map
 * r          the driver is reset, and begins anew
 * R          the machine is reset; a driver begins
 * n          the same as r, with a driver that need not tell
 * x, X       the memory cannot be discarded, or can again
 */
typedef struct HugeScript {
    const char *name;
    const char *words;
} HugeScript;

static const HugeScript huge_scripts[] = {
    /* One page short of a huge page; more of the same is not what is missing */
    { "missing", "+0.0*511 +1.1*511 +2.0*100 +2.101*411 =000 #1533 "
                 "+0.0*511 +1.1 +2.99 =000 +2.100 =001 "
                 /* The last page of the first, the first one of the second */
                 "+0.511*2 =111 "
                 /* A run of two whole ones, and parts at both its ends */
                 "+3.256*1536 =11101100 +6.256*256 +3.0*256 =11111110" },
    /* A run that goes on where the memory has ended */
    { "end", "+7.0*256 =00000000 +7.256*512 =00000001" },
    /* What could not be discarded is not in the map, nor waits for it. */
    { "fail", "x +0.0*256 +0.256*256 +1.0*512 =00 #0 X +0.7 +1.7 =00 "
              "+0.0*512 =10" },
    /* What was taken back, and used, must not be lost. */
    { "deflate", "+0.7 -0.7 w0.7 +0.0*7 +0.8*504 =0 k0.7 +0.7 =1 "
                 /* Taken from a whole one: the others stay given back. */
                 "-0.7 #511 w0.7 =0 +0.7 =1 z0.7 "
                 /* With a run that begins and ends within huge pages */
                 "+0.0*2048 =1111 -0.500*1046 #1002 w0.0*2048 "
                 "+0.500*11 +1.1*1023 +3.0*9 =0010 +0.511*2 +3.9 =1111" },
    /* What was used without a word is not lost if another page comes again: */
    { "lie", "+0.0*256 +0.256*256 =1 w0.7 +0.0*7 +0.8*504 k0.7 +0.7 k0.7 "
             /* it is when that page is given back once more, or all of it. */
             "-0.7 +0.7 =1 w0.7 +0.0*512 =1" },
    /* Whoever comes after a reset gave nothing back. */
    { "reset", "+0.0*256 r +0.256*256 =0 R +0.0*256 =0 +0.256*256 =1" },
    /* Who need not tell may use it before: only whole ones count. */
    { "need-not-tell", "n +0.0*8 w0.7 +0.8*504 =0 k0.7 "
                       "+1.0*1024 =011 -1.7 +1.7 #1023" },
};

/* Have a debugger put another file in the place of the memory, or back. */
static void swap_memory_file(BGuest *g, bool back)
{
    g_autofree char *path = bg_find_fd(g, back ? "memfd" : "memory-backend");
    static int fd;
    const int spare = 900;
    g_autofree char *first = NULL, *second = NULL;

    if (!back) {
        fd = atoi(strrchr(path, '/') + 1);
    }
    first = g_strdup_printf("call (int)dup2(%d, %d)", back ? spare : fd,
                            back ? fd : spare);
    second = g_strdup_printf("call (int)dup2(0, %d)", back ? spare : fd);
    bg_gdb(g, first, second, NULL);
}

static void do_word(BGuest *g, const char *word)
{
    static uint8_t seed;
    int huge = 0, page = 0, n = 1, i;
    uint64_t start;

    sscanf(word + 1, "%d.%d*%d", &huge, &page, &n);
    start = HUGE_START + (huge * HUGE_PAGES + page) * BALLOON_PAGE;
    switch (word[0]) {
    case '+':
    case '-':
        bg_request_range(g, word[0] == '+' ? BG_INFLATE : BG_DEFLATE, start,
                         n * BALLOON_PAGE);
        break;
    case 'w':
        bg_fill(g, start, n * BALLOON_PAGE, ++seed);
        break;
    case 'k':
        g_assert_cmpuint(bg_byte(g, start), ==, bg_fill_value(start, seed));
        break;
    case 'z':
        g_assert_true(bg_is_zero(g, start));
        break;
    case '=':
        for (i = 0; word[1 + i]; i++) {
            g_assert_cmpint(is_given_back(g, i), ==, word[1 + i] == '1');
        }
        break;
    case '#':
        bg_assert_map(g, huge);
        break;
    case 'R':
        qtest_system_reset(g->qts);
        /* fall through */
    case 'r':
        bg_driver_start(g, FEATURES);
        break;
    case 'n':
        bg_driver_start(g, 0);
        break;
    case 'x':
    case 'X':
        swap_memory_file(g, word[0] == 'X');
        break;
    default:
        g_assert_not_reached();
    }
}

static void test_huge_script(gconstpointer data)
{
    const HugeScript *script = data;
    g_auto(GStrv) words = g_strsplit(script->words, " ", -1);
    BGuest *g;
    int i;

    if (words[0][0] == 'x' && !bg_gdb_or_skip()) {
        return;
    }
    g = start_huge();
    if (!g) {
        return;
    }
    for (i = 0; words[i]; i++) {
        bg_step("word %d, %s", i, words[i]);
        do_word(g, words[i]);
    }
    bg_quit(g);
}

/* ---- Random requests against a model ---- */

/* What is known of each page of the guest */
typedef struct Model {
    BGuest *g;
    uint64_t unit;              /* pages that are discarded together */
    bool given[PAGES];          /* by the guest, and not taken back */
    bool populated[PAGES];
    uint8_t value[PAGES];
} Model;

static void model_write(Model *m, uint64_t page, uint64_t npages,
                        uint8_t value)
{
    uint64_t start = page / m->unit * m->unit;

    qtest_memset(m->g->qts, page * BALLOON_PAGE, value, npages * BALLOON_PAGE);
    memset(m->value + page, value, npages);
    memset(m->populated + start, true,
           QEMU_ALIGN_UP(page + npages, m->unit) - start);
}

static void model_inflate(Model *m, uint64_t page)
{
    uint64_t start = page / m->unit * m->unit;

    m->given[page] = true;
    if (!memchr(m->given + start, false, m->unit)) {
        memset(m->populated + start, false, m->unit);
        memset(m->value + start, 0, m->unit);
    }
}

static void model_check(Model *m)
{
    g_autofree bool *populated = bg_populated(m->g, 0, RAM_SIZE);
    g_autofree bool *in_map = bg_map_bits(m->g, m->g->ram_id, RAM_SIZE);
    uint64_t page;

    for (page = FIRST_PAGE; page < PAGES; page++) {
        uint8_t bytes[BALLOON_PAGE];

        if (in_map[page] != m->given[page] ||
            populated[page] != m->populated[page]) {
            bg_fail(page * BALLOON_PAGE, "in the map: %d, populated: %d; "
                    "expected %d, %d", in_map[page], populated[page],
                    m->given[page], m->populated[page]);
        }
        if (!populated[page]) {
            continue;
        }
        bg_read(m->g, page * BALLOON_PAGE, bytes, sizeof(bytes));
        if (bytes[0] != m->value[page] ||
            memcmp(bytes, bytes + 1, sizeof(bytes) - 1)) {
            bg_fail(page * BALLOON_PAGE, "holds %02x..., not %02x", bytes[0],
                    m->value[page]);
        }
    }
}

#define RUN_MAX 700
#define REQUEST_MAX (3 * RUN_MAX)

/* Runs of either direction, now and then shuffled; pages may come twice. */
static size_t random_pfns(uint32_t *pfns)
{
    int runs = g_test_rand_int_range(1, 4);
    size_t n = 0;

    for (; runs; runs--) {
        unsigned int length = g_test_rand_int_range(0, 3)
                              ? g_test_rand_int_range(1, 20)
                              : g_test_rand_int_range(1, RUN_MAX);
        uint32_t first = g_test_rand_int_range(FIRST_PAGE, PAGES - length);
        bool descending = g_test_rand_bit();
        unsigned int i;

        for (i = 0; i < length; i++) {
            pfns[n++] = descending ? first + length - 1 - i : first + i;
        }
    }
    if (g_test_rand_int_range(0, 5) == 0) {
        shuffle(pfns, n);
    }
    return n;
}

/* Drop what was given back already, and what comes twice. */
static size_t only_new(const Model *m, uint32_t *pfns, size_t n)
{
    g_autofree bool *seen = g_new0(bool, PAGES);
    size_t i, k = 0;

    for (i = 0; i < n; i++) {
        if (!m->given[pfns[i]] && !seen[pfns[i]]) {
            seen[pfns[i]] = true;
            pfns[k++] = pfns[i];
        }
    }
    return k;
}

static void random_step(Model *m)
{
    uint32_t pfns[REQUEST_MAX];
    size_t n = random_pfns(pfns), i;
    int what = g_test_rand_int_range(0, 8);

    if (what < 4) {
        /*
         * If parts of a huge page are given back twice, nothing is done; if all
         * of it is, it is discarded again: what is adjacent decides.
         */
        n = m->unit > 1 ? only_new(m, pfns, n) : n;
        if (n) {
            bg_request(m->g, BG_INFLATE, pfns, n);
        }
        for (i = 0; i < n; i++) {
            model_inflate(m, pfns[i]);
        }
    } else if (what < 7) {
        bg_request(m->g, BG_DEFLATE, pfns, n);
        for (i = 0; i < n; i++) {
            m->given[pfns[i]] = false;
            if (what == 6) {
                model_write(m, pfns[i], 1, 1 + g_test_rand_int_range(0, 255));
            }
        }
    } else {
        /* Use without a word */
        n = g_test_rand_int_range(1, 64);
        model_write(m, g_test_rand_int_range(FIRST_PAGE, PAGES - n), n,
                    1 + g_test_rand_int_range(0, 255));
    }
}

static void test_random(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    g_autofree Model *m = g_new0(Model, 1);
    uint64_t page;
    int i;

    m->g = start(backend, NULL);
    if (!m->g) {
        return;
    }
    m->unit = backend == BG_HUGETLB ? HUGE_PAGES : 1;
    for (page = FIRST_PAGE; page < PAGES; page++) {
        model_write(m, page, 1, 1 + page % 255);
    }
    for (i = 0; i < 500; i++) {
        bg_step("random step %d", i);
        random_step(m);
        if (i % 10 == 0) {
            model_check(m);
        }
        if (g_test_rand_int_range(0, 100) == 0) {
            bg_driver_start(m->g, BG_MUST_TELL_HOST);
            memset(m->given, 0, sizeof(m->given));
        }
    }
    model_check(m);
    bg_quit(m->g);
}

/* ---- Hostile guests, and the same as without us ---- */

/* Stays off the pages of the driver, which would only lose the requests. */
static uint32_t hostile_pfn(void)
{
    switch (g_test_rand_int_range(0, 8)) {
    case 0:
        return UINT32_MAX - g_test_rand_int_range(0, 4);
    case 1:
        return PAGES + g_test_rand_int_range(-4, 4);
    case 2:
        return BG_PFN(0xa0000) + g_test_rand_int_range(-4, 4);
    case 3:
        return BG_PFN(0xe0000) + g_test_rand_int_range(-32, 32);
    case 4:
        return BG_PFN(0xfee00000) + g_test_rand_int_range(-2, 2);
    case 5:
        return g_test_rand_int_range(PAGES, INT32_MAX);
    default:
        return g_test_rand_int_range(FIRST_PAGE, PAGES);
    }
}

static bool is_drivers(uint32_t pfn)
{
    return pfn >= BG_PFN(MiB) && pfn < FIRST_PAGE;
}

#define HOSTILE_PFNS 256

/* Some runs of whatever there is, and is not */
static size_t hostile_pfns(uint32_t *pfns)
{
    size_t n = 0, max = g_test_rand_int_range(1, HOSTILE_PFNS);

    while (n < max) {
        uint32_t pfn = hostile_pfn();
        int step = g_test_rand_int_range(-1, 2);
        unsigned int run = g_test_rand_int_range(1, 64);

        for (; run && n < max && !is_drivers(pfn); run--, pfn += step) {
            pfns[n++] = pfn;
        }
    }
    return n;
}

/*
 * Each page is traced as by unmodified QEMU, good or bad, in the same order;
 * and the same pages are populated, and hold the same.
 */
static void test_equal(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    char *log[2], *name;
    bool *populated[2];
    BGuest *g[2];
    int k, i;

    if (!bg_stock_or_skip() ||
        (backend == BG_HUGETLB && !bg_huge_or_skip(2 * RAM_SIZE))) {
        return;
    }
    for (k = 0; k < 2; k++) {
        BGOptions options = {
            .backend = backend,
            .ram_size = RAM_SIZE,
            .args = "-d trace:virtio_balloon_handle_output,"
                    "trace:virtio_balloon_bad_addr",
            .keep_log = true,
            .stock = k,
            /* Unmodified QEMU forgets parts of huge pages: do as it does. */
            .no_must_tell_host = k || backend == BG_HUGETLB,
        };

        g[k] = bg_start_driven(&options);
        bg_fill(g[k], BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    }
    for (i = 0; i < 400; i++) {
        uint32_t pfns[REQUEST_MAX];
        size_t n = i % 2 ? hostile_pfns(pfns) : random_pfns(pfns);
        int what = g_test_rand_int_range(0, 5);

        bg_step("request %d", i);
        for (k = 0; k < 2; k++) {
            bg_request(g[k], what < 3 ? BG_INFLATE : BG_DEFLATE, pfns, n);
            if (what == 4 && i % 2 == 0) {
                bg_fill(g[k], pfns[0] * BALLOON_PAGE, BALLOON_PAGE, i);
            }
            populated[k] = bg_populated(g[k], BG_RAM_START,
                                        RAM_SIZE - BG_RAM_START);
        }
        g_assert_cmpmem(populated[0], PAGES - FIRST_PAGE, populated[1],
                        PAGES - FIRST_PAGE);
        g_free(populated[0]);
        g_free(populated[1]);
    }
    /* The first pages are the driver's, and alike, but for features. */
    bg_assert_same_memory(g[0], g[1]);
    for (k = 0; k < 2; k++) {
        log[k] = bg_log(g[k]);
        bg_quit(g[k]);
    }
    g_assert_nonnull(strstr(log[0], "virtio_balloon_handle_output"));
    g_assert_nonnull(strstr(log[0], "virtio_balloon_bad_addr"));
    name = strstr(log[1], "-stock:");
    if (name) {
        memmove(name, name + 6, strlen(name + 6) + 1);
    }
    for (i = 0; log[0][i] && log[0][i] == log[1][i]; i++) {
        /* Find where they differ. */
    }
    if (log[0][i] != log[1][i]) {
        g_error("traced: ...%.80s\n, unmodified QEMU: ...%.80s\n", log[0] + i,
                log[1] + i);
    }
    g_free(log[0]);
    g_free(log[1]);
}

/* A request that is cut into segments wherever */
static void hostile_request(Batch *b)
{
    uint32_t pfns[HOSTILE_PFNS];
    Segment segments[16];
    size_t n = hostile_pfns(pfns);
    unsigned int left = n * sizeof(*pfns) - g_test_rand_int_range(0, 4);
    uint64_t addr = batch_data(b, pfns, n);
    unsigned int max = g_test_rand_int_range(1, MIN(ARRAY_SIZE(segments),
                                                    batch_room(b)) + 1);
    unsigned int k = 0;

    while (left && k < max) {
        unsigned int length = k + 1 < max && g_test_rand_bit()
                              ? g_test_rand_int_range(1, MIN(left, 9) + 1)
                              : left;

        segments[k++] = (Segment) { addr, length };
        addr += length;
        left -= length;
    }
    if (k < max && g_test_rand_bit()) {
        /* Nobody asked for this. */
        segments[k++] = (Segment) {
            BG_REQUEST_BASE, 1 + g_test_rand_int_range(0, 64), true,
        };
    }
    batch_add(b, segments, k);
}

/* A report of whatever lies in memory, if badly */
static void hostile_report(Batch *b)
{
    Segment segments[8];
    unsigned int n = g_test_rand_int_range(1, MIN(ARRAY_SIZE(segments),
                                                  batch_room(b)) + 1);
    unsigned int i;

    for (i = 0; i < n; i++) {
        uint64_t mask = g_test_rand_bit() ? -BALLOON_PAGE : -1;
        uint64_t addr = g_test_rand_int_range(BG_RAM_START, RAM_SIZE) & mask;
        uint64_t length = g_test_rand_int_range(BALLOON_PAGE, 4 * MiB) & mask;

        segments[i] = (Segment) {
            addr, MIN(length, RAM_SIZE - addr),
            i > 0 || g_test_rand_int_range(0, 4),
        };
    }
    batch_add(b, segments, n);
}

/* What a device answers by going out of order, until it is reset */
static void hostile_break(BGuest *g, int queue)
{
    const Segment good = { BG_REQUEST_BASE, 4 };
    const Segment bad[][2] = {
        /* No bytes; what the device reads behind what it writes; nowhere */
        { { BG_REQUEST_BASE, 0 } },
        { { BG_REQUEST_BASE, 4, true }, good },
        { { UINT64_C(0xfffffffffffff000), 0xffffffff, queue == BG_REPORT } },
    };
    int what = g_test_rand_int_range(0, 6);
    g_autofree Batch *b = batch_new(g, queue);

    if (what < ARRAY_SIZE(bad)) {
        batch_add(b, bad[what], what == 1 ? 2 : 1);
    } else if (what == 3) {
        /* Its own ring: there is nothing left in it to be served. */
        batch_add_pfns(b, &(uint32_t) { BG_PFN(g->queue[queue].ring) }, 1);
    } else {
        /* A chain without an end, or one that leads out of the ring */
        batch_add(b, &good, 1);
        b->desc[0].flags = cpu_to_le16(VRING_DESC_F_NEXT);
        b->desc[0].next = cpu_to_le16(what == 4 ? 0 : 0xffff);
    }
    batch_write(b);
    qtest_outw(g->qts, BG_CONFIG_IO - 4, queue);
    bg_driver_start(g, FEATURES);
}

/* Memory of QEMU that is not the guest's, in KiB */
static int64_t own_memory(BGuest *g)
{
    g_autofree char *text = bg_proc(g, "status");
    const char *line = strstr(text, "RssAnon:");

    g_assert_nonnull(line);
    return g_ascii_strtoll(line + strlen("RssAnon:"), NULL, 10);
}

static void test_hostile(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    const int requests = 20000;
    int64_t before = 0, after;
    int done = 0, batches = 0;
    BGuest *g = start(backend, "free-page-reporting=on");

    if (!g) {
        return;
    }
    while (done < requests) {
        int kind = g_test_rand_int_range(0, 8);
        int queue = kind == 0 ? BG_REPORT : kind < 5 ? BG_INFLATE : BG_DEFLATE;
        g_autofree Batch *b = batch_new(g, queue);

        bg_step("batch %d, after %d requests", ++batches, done);
        b->max = g_test_rand_int_range(1, 200);
        while (batch_room(b) && b->size + 1024 <= BG_REQUEST_SIZE) {
            queue == BG_REPORT ? hostile_report(b) : hostile_request(b);
            done++;
        }
        batch_send(b);
        if (batches % 20 == 0) {
            bg_driver_reset(g);
            bg_driver_start(g, FEATURES);
            hostile_break(g, queue);
        }
        if (!before && done > requests / 10) {
            before = own_memory(g);
        }
    }
    after = own_memory(g);
    g_test_message("%d requests; memory of QEMU itself: %" PRIi64 " KiB, "
                   "after them %" PRIi64 " KiB", done, before, after);
#ifndef QEMU_SANITIZE_ADDRESS
    if (backend != BG_ANON) {
        g_assert_cmpint(after, <, before + 4096);
    }
#endif

    /* Still a device like any other */
    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_assert_map(g, 0);
    bg_fill(g, HUGE_START, HUGE_SIZE, 1);
    bg_request_range(g, BG_INFLATE, HUGE_START, HUGE_SIZE);
    bg_assert_map(g, HUGE_PAGES);
    bg_assert_populated(g, HUGE_START, HUGE_SIZE, 0);
    bg_quit(g);
}

/* ---- Free page reporting ---- */

static void report(BGuest *g, const Segment *segments, unsigned int n)
{
    g_autofree Batch *b = batch_new(g, BG_REPORT);

    batch_add(b, segments, n);
    batch_send(b);
}

/* What of HUGE_START on, unit by unit, is still there after a report */
static void check_units(BGuest *g, const bool *there, int n, uint64_t unit)
{
    int i;

    for (i = 0; i < n; i++) {
        uint64_t addr = HUGE_START + i * unit;

        bg_step("unit %d", i);
        bg_assert_populated(g, addr, unit, there[i] ? unit / BALLOON_PAGE : 0);
        g_assert_true(!there[i] || !bg_is_zero(g, addr));
    }
    /* It may be used again without a word, so it is not in the map. */
    bg_assert_map(g, 0);
}

#define REPORT_UNITS 8

static void test_report(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    /* Ascending, descending, apart, twice: with pages, as many of them */
    const uint8_t place[] = { 0, 1, 2, 4, 3, 6, 6, 0 };
    const bool expected[REPORT_UNITS] = { [5] = true, [7] = true };
    uint64_t unit = backend == BG_HUGETLB ? HUGE_SIZE : BALLOON_PAGE;
    /* What is not whole is left alone; what is next to it is not. */
    const Segment bad[] = {
        { HUGE_START, unit, true },
        { HUGE_START + unit, unit - 1, true },
        { HUGE_START + 2 * unit, unit, true },
        { HUGE_START + 3 * unit + 1, unit, true },
        { HUGE_START + 5 * unit, unit + 512, true },
        { HUGE_START + 7 * unit, unit, true },
        { HUGE_START + 6 * unit, unit, true },
    };
    const bool bad_expected[REPORT_UNITS] = { 0, 1, 0, 1, 1, 1, 0, 0 };
    const Segment read_only[] = {
        { HUGE_START + unit, unit, false },
        { HUGE_START + unit, unit / 2, true },
    };
    Segment segments[ARRAY_SIZE(place)];
    BGuest *g = start(backend, "free-page-reporting=on");
    int back, i;

    if (!g) {
        return;
    }
    for (back = 0; back < 2; back++) {
        bg_fill(g, HUGE_START, REPORT_UNITS * unit, back);
        for (i = 0; i < ARRAY_SIZE(place); i++) {
            int k = back ? ARRAY_SIZE(place) - 1 - i : i;

            segments[k] = (Segment) {
                HUGE_START + place[i] * unit, unit, true,
            };
        }
        report(g, segments, ARRAY_SIZE(segments));
        check_units(g, expected, REPORT_UNITS, unit);
    }
    bg_fill(g, HUGE_START, REPORT_UNITS * unit, 2);
    report(g, bad, ARRAY_SIZE(bad));
    report(g, read_only, ARRAY_SIZE(read_only));
    check_units(g, bad_expected, REPORT_UNITS, unit);

    /* A guest that wants its poison back keeps its pages. */
    bg_driver_start(g, FEATURES | BG_PAGE_POISON);
    qtest_outl(g->qts, BG_CONFIG_IO + 12, 0xaa);
    bg_fill(g, HUGE_START, unit, 1);
    report(g, bad, 1);
    check_units(g, (bool[]) { true }, 1, unit);
    bg_quit(g);
}

/* ---- Reset ---- */

/*
 * A reset during a migration, when the balloon is in more pieces than are
 * looked at one by one.  Each was sent before it was given back, and reads as
 * zero now.
 */
static void test_reset_pieces(gconstpointer data)
{
    BGOptions options = { .ram_size = 256 * MiB };
    const uint64_t end = 160 * MiB, step = 2 * BALLOON_PAGE;
    /* With a large part of the memory that has no piece of it in between */
    const uint64_t low = 28 * MiB / step, high = 30 * MiB / step;
    BGuest *g = bg_start_driven(&options);
    BGuest *dest = bg_start_incoming(g);
    uint64_t runs;

    bg_fill(g, BG_RAM_START, end + MiB - BG_RAM_START, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_begin(g, dest, 256 * MiB);
    BG_WAIT(!bg_is_zero(dest, end));
    bg_migrate_limit(g, MiB);

    bg_request_every(g, BG_INFLATE, BG_RAM_START, step, low);
    bg_request_every(g, BG_INFLATE, end - high * step, step, high);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, low + high);
    g_assert_cmpuint(runs, ==, low + high);
    bg_driver_reset(g);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 0);
    g_assert_cmpuint(runs, ==, 0);

    bg_migrate_end(g, dest);
    g_assert_true(bg_is_zero(dest, BG_RAM_START));
    g_assert_true(bg_is_zero(dest, end - step));
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Rate ---- */

#define RATE_START (16 * MiB)
#define RATE_LENGTH (96 * MiB)

/* Give back, or take back, all of it.  Returns microseconds. */
static gint64 rate_pass(BGuest *g, int queue)
{
    gint64 begin = g_get_monotonic_time();

    bg_request_range(g, queue, RATE_START, RATE_LENGTH);
    return g_get_monotonic_time() - begin;
}

/*
 * It is faster than unmodified QEMU, several times, although most of its time
 * goes into the driver of the test.
 */
static void test_rate(gconstpointer data)
{
    gint64 best[2][2] = { { INT64_MAX, INT64_MAX }, { INT64_MAX, INT64_MAX } };
    int stock, round;

    for (round = 0; round < 3 && bg_stock_or_skip(); round++) {
        for (stock = 0; stock < 2; stock++) {
            BGOptions options = {
                .backend = GPOINTER_TO_INT(data),
                .ram_size = RATE_START + RATE_LENGTH,
                .stock = stock,
                .no_must_tell_host = stock,
            };
            BGuest *g = bg_start_driven(&options);
            gint64 *us = best[stock];

            qtest_memset(g->qts, RATE_START, 1, RATE_LENGTH);
            us[0] = MIN(us[0], rate_pass(g, BG_INFLATE));
            bg_assert_populated(g, RATE_START, RATE_LENGTH, 0);
            us[1] = MIN(us[1], rate_pass(g, BG_DEFLATE));
            bg_quit(g);
        }
    }
    g_test_message("inflate %" PRIi64 " us, unmodified QEMU %" PRIi64 "; "
                   "deflate %" PRIi64 ", %" PRIi64, best[0][0], best[1][0],
                   best[0][1], best[1][1]);
    if (round) {
        g_assert_cmpint(2 * best[0][0], <, best[1][0]);
        g_assert_cmpint(4 * best[0][1], <, best[1][1]);
    }
}

int main(int argc, char **argv)
{
    static const BGBackend backends[] = { BG_ANON, BG_MEMFD, BG_HUGETLB };
    static const struct {
        const char *name;
        GTestDataFunc func;
    } tests[] = {
        { "random", test_random },
        { "equal", test_equal },
        { "hostile", test_hostile },
        { "report", test_report },
    };
    int i, k;

    bg_init(&argc, &argv);
    for (i = 0; i < ARRAY_SIZE(huge_scripts); i++) {
        bg_add_test(&huge_scripts[i], test_huge_script,
                    "balloon-request/huge/%s", huge_scripts[i].name);
    }
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        for (k = 0; k < ARRAY_SIZE(backends); k++) {
            bg_add_test(GINT_TO_POINTER(backends[k]), tests[i].func,
                        "balloon-request/%s/%s", tests[i].name,
                        bg_backend_name(backends[k]));
        }
    }
    bg_add_test(NULL, test_reset_pieces, "balloon-request/reset-pieces");
    for (k = BG_ANON; k <= BG_MEMFD; k++) {
        bg_add_test(GINT_TO_POINTER(k), test_rate, "balloon-request/rate/%s",
                    bg_backend_name(k));
    }
    return g_test_run();
}
