/*
 * Tests of balloon requests served by runs: huge pages, random and hostile
 * requests, free page reporting, rate
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_ring.h"
#include "balloon-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define REPORTING (1U << VIRTIO_BALLOON_F_REPORTING)
#define PAGE_POISON (1U << VIRTIO_BALLOON_F_PAGE_POISON)
#define MiB (UINT64_C(1) << 20)
#define HUGE_SIZE (2 * MiB)
#define HUGE_PAGES (HUGE_SIZE / BALLOON_PAGE)

#define PFN(addr) ((uint32_t)((addr) / BALLOON_PAGE))

static const char *backend_names[] = {
    [BG_ANON] = "anon",
    [BG_MEMFD] = "memfd",
    [BG_PRIVATE_MEMFD] = "private-memfd",
    [BG_HUGETLB] = "hugetlb",
};

/*
 * A transparent huge page populates what nobody asked for.  The setting is
 * inherited by the QEMUs started from now on.
 */
static void allow_huge_pages(bool allow)
{
    g_assert_cmpint(prctl(PR_SET_THP_DISABLE, !allow, 0, 0, 0), ==, 0);
}

/* Skips the test, and returns false, if there are not enough huge pages. */
static bool have_huge_pages(const BGOptions *options, int guests)
{
    int needed = guests * (options->ram_size ?: 64 * MiB) / HUGE_SIZE;

    if (options->backend == BG_HUGETLB && bg_free_huge_pages() < needed) {
        g_autofree char *message = g_strdup_printf(
            "fewer than %d free huge pages of 2 MiB", needed);

        g_test_skip(message);
        return false;
    }
    return true;
}

static BGuest *start_driven(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST | REPORTING);
    return g;
}

static void shuffle(uint32_t *pfns, size_t n)
{
    size_t i;

    for (i = n; i > 1; i--) {
        size_t j = g_test_rand_int_range(0, i);
        uint32_t pfn = pfns[j];

        pfns[j] = pfns[i - 1];
        pfns[i - 1] = pfn;
    }
}

static uint8_t first_byte(BGuest *g, uint64_t addr)
{
    uint8_t value;

    bg_read(g, addr, &value, 1);
    return value;
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
    GByteArray *data;           /* what goes to BG_REQUEST_BASE */
} Batch;

static void batch_init(Batch *b, BGuest *g, int queue)
{
    *b = (Batch) {
        .g = g,
        .queue = queue,
        .max = g->queue[queue].size,
        .data = g_byte_array_new(),
    };
    g_assert_cmpuint(b->max, <=, ARRAY_SIZE(b->desc));
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

/* Put data where a segment can be; returns its address. */
static uint64_t batch_data(Batch *b, const void *data, size_t size)
{
    uint64_t addr = BG_REQUEST_BASE + b->data->len;

    g_assert_cmpuint(b->data->len + size, <=, BG_REQUEST_SIZE);
    g_byte_array_append(b->data, data, size);
    return addr;
}

static void batch_add_pfns(Batch *b, const uint32_t *pfns, size_t n)
{
    g_autofree uint32_t *le_pfns = g_new(uint32_t, n);
    Segment segment = { .length = n * sizeof(*le_pfns) };
    size_t i;

    for (i = 0; i < n; i++) {
        le_pfns[i] = cpu_to_le32(pfns[i]);
    }
    segment.addr = batch_data(b, le_pfns, segment.length);
    batch_add(b, &segment, 1);
}

/* All but the notification */
static void batch_write(Batch *b)
{
    BGQueue *q = &b->g->queue[b->queue];

    if (b->data->len) {
        qtest_bufwrite(b->g->qts, BG_REQUEST_BASE, b->data->data,
                       b->data->len);
    }
    qtest_bufwrite(b->g->qts, q->ring, b->desc, b->descs * sizeof(*b->desc));
    qtest_bufwrite(b->g->qts, q->avail + 4, b->avail,
                   q->size * sizeof(*b->avail));
    qtest_writew(b->g->qts, q->avail + 2, q->added);
}

static void batch_clear(Batch *b)
{
    b->descs = 0;
    g_byte_array_set_size(b->data, 0);
}

static void batch_send(Batch *b)
{
    batch_write(b);
    bg_kick(b->g, b->queue);
    batch_clear(b);
}

static void batch_end(Batch *b)
{
    g_byte_array_unref(b->data);
}

/* ---- Huge pages that are given back in parts ---- */

#define HUGE_START (16 * MiB)
#define HUGE_COUNT 8

/* A guest that used all its memory */
static BGuest *start_huge(void)
{
    BGOptions options = { .backend = BG_HUGETLB };
    BGuest *g;

    if (!have_huge_pages(&options, 1)) {
        return NULL;
    }
    g = start_driven(&options);
    bg_fill(g, BG_RAM_START, g->options.ram_size - BG_RAM_START, 1);
    return g;
}

/* Is all of the @i-th huge page in the map, and let go of; or populated? */
static bool is_given_back(BGuest *g, int i)
{
    g_autoptr(GArray) runs = bg_map_runs(g);
    uint64_t start = HUGE_START + i * HUGE_SIZE;
    uint64_t populated = bg_count_populated(g, start, HUGE_SIZE);
    uint64_t in_map = 0;
    unsigned int r;

    for (r = 0; r < runs->len; r++) {
        BGRun *run = &g_array_index(runs, BGRun, r);
        uint64_t s = MAX(run->start, start);
        uint64_t e = MIN(run->start + run->length, start + HUGE_SIZE);

        in_map += s < e ? e - s : 0;
    }
    if (in_map < HUGE_SIZE) {
        g_assert_cmpuint(populated, ==, HUGE_PAGES);
        return false;
    }
    g_assert_cmpuint(populated, ==, 0);
    return true;
}

static void assert_given_back(BGuest *g, const char *expected)
{
    int i;

    for (i = 0; i < HUGE_COUNT && expected[i]; i++) {
        g_assert_cmpint(is_given_back(g, i), ==, expected[i] == '1');
    }
}

/* Pages of huge page @i, from page @first on */
static void inflate_part(BGuest *g, int i, int first, int n)
{
    bg_request_range(g, BG_INFLATE,
                     HUGE_START + i * HUGE_SIZE + first * BALLOON_PAGE,
                     n * BALLOON_PAGE);
}

static void deflate_part(BGuest *g, int i, int first, int n)
{
    bg_request_range(g, BG_DEFLATE,
                     HUGE_START + i * HUGE_SIZE + first * BALLOON_PAGE,
                     n * BALLOON_PAGE);
}

typedef enum Order { ASCENDING, DESCENDING, RANDOM, ORDERS } Order;

static const char *order_names[] = { "ascending", "descending", "random" };

/* All pages of some huge pages, in requests of as many as Linux makes */
static void test_huge_order(gconstpointer data)
{
    Order order = GPOINTER_TO_INT(data);
    const size_t n = HUGE_COUNT * HUGE_PAGES, request = 256;
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    BGuest *g = start_huge();
    bool given_back[HUGE_COUNT] = { };
    int missing[HUGE_COUNT];
    size_t i;

    if (!g) {
        return;
    }
    for (i = 0; i < n; i++) {
        pfns[i] = PFN(HUGE_START) + (order == DESCENDING ? n - 1 - i : i);
    }
    if (order == RANDOM) {
        shuffle(pfns, n);
    }
    for (i = 0; i < HUGE_COUNT; i++) {
        missing[i] = HUGE_PAGES;
    }
    for (i = 0; i < n; i += request) {
        size_t k;

        bg_request(g, BG_INFLATE, pfns + i, request);
        for (k = i; k < i + request; k++) {
            missing[(pfns[k] - PFN(HUGE_START)) / HUGE_PAGES]--;
        }
        for (k = 0; k < HUGE_COUNT; k++) {
            given_back[k] = is_given_back(g, k);
            g_assert_cmpint(given_back[k], ==, missing[k] == 0);
        }
    }
    for (i = 0; i < HUGE_COUNT; i++) {
        g_assert_true(given_back[i]);
        g_assert_true(bg_is_zero(g, HUGE_START + i * HUGE_SIZE));
    }
    bg_quit(g);
}

/* Page after page of all huge pages in turn */
static void test_huge_interleaved(void)
{
    BGuest *g = start_huge();
    uint32_t pfns[HUGE_COUNT];
    int i, k;

    if (!g) {
        return;
    }
    for (k = 0; k < HUGE_PAGES; k++) {
        /* To list a map of thousands of runs takes time. */
        if (k % 64 == 0 || k == HUGE_PAGES - 1) {
            assert_given_back(g, "00000000");
        }
        for (i = 0; i < HUGE_COUNT; i++) {
            pfns[i] = PFN(HUGE_START) + i * HUGE_PAGES + k * 5 % HUGE_PAGES;
        }
        bg_request(g, BG_INFLATE, pfns, HUGE_COUNT);
    }
    assert_given_back(g, "11111111");
    bg_quit(g);
}

/* One page short of a huge page; a run that ends what others began */
static void test_huge_missing(void)
{
    BGuest *g = start_huge();

    if (!g) {
        return;
    }
    inflate_part(g, 0, 0, HUGE_PAGES - 1);
    inflate_part(g, 1, 1, HUGE_PAGES - 1);
    inflate_part(g, 2, 0, 100);
    inflate_part(g, 2, 101, HUGE_PAGES - 101);
    assert_given_back(g, "000");
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 3 * (HUGE_PAGES - 1));
    /* More of the same is not what is missing. */
    inflate_part(g, 0, 0, HUGE_PAGES - 1);
    inflate_part(g, 1, 1, 1);
    inflate_part(g, 2, 99, 1);
    assert_given_back(g, "000");

    inflate_part(g, 2, 100, 1);
    assert_given_back(g, "001");
    /* The last page of the first, the first page of the second */
    inflate_part(g, 0, HUGE_PAGES - 1, 2);
    assert_given_back(g, "111");

    /* A run of two whole ones, and parts at both its ends */
    inflate_part(g, 3, 256, 256 + 2 * HUGE_PAGES + 256);
    assert_given_back(g, "11101100");
    inflate_part(g, 6, 256, 256);
    inflate_part(g, 3, 0, 256);
    assert_given_back(g, "11111110");
    bg_quit(g);
}

/* A run that goes on where the memory has ended */
static void test_huge_end(void)
{
    BGuest *g = start_huge();
    int last;

    if (!g) {
        return;
    }
    last = (g->options.ram_size - HUGE_START) / HUGE_SIZE - 1;
    inflate_part(g, last, 0, HUGE_PAGES / 2);
    g_assert_false(is_given_back(g, last));
    inflate_part(g, last, HUGE_PAGES / 2, HUGE_PAGES);
    g_assert_true(is_given_back(g, last));
    bg_quit(g);
}

/* Have a debugger put another file in the place of the memory, or back. */
static void swap_memory_file(BGuest *g, const char *gdb, bool back)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd",
                                           (int)qtest_pid(g->qts));
    static int fd = -1;
    const int spare = 900;
    g_autofree char *command = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    int status;

    if (!back) {
        GDir *d = g_dir_open(dir, 0, NULL);
        const char *name;

        g_assert_nonnull(d);
        while ((name = g_dir_read_name(d))) {
            g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
            g_autofree char *target = g_file_read_link(path, NULL);

            if (target && strstr(target, "memfd:memory-backend-memfd")) {
                fd = atoi(name);
            }
        }
        g_dir_close(d);
        g_assert_cmpint(fd, >=, 0);
    }
    command = g_strdup_printf(
        "%s -batch -nx -p %d -ex 'call (int)dup2(%d, %d)'"
        " -ex 'call (int)dup2(%d, %d)'", gdb, (int)qtest_pid(g->qts),
        back ? spare : fd, back ? fd : spare,
        0, back ? spare : fd);
    g_assert_true(g_spawn_command_line_sync(command, &out, &err, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);
}

/* What could not be discarded is neither in the map nor waiting for it. */
static void test_huge_fail(void)
{
    g_autofree char *gdb = g_find_program_in_path("gdb");
    BGuest *g;

    if (!gdb) {
        g_test_skip("gdb is not installed");
        return;
    }
    g = start_huge();
    if (!g) {
        return;
    }
    swap_memory_file(g, gdb, false);
    inflate_part(g, 0, 0, 256);
    inflate_part(g, 0, 256, 256);
    inflate_part(g, 1, 0, HUGE_PAGES);
    assert_given_back(g, "00");
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    swap_memory_file(g, gdb, true);
    inflate_part(g, 0, 7, 1);
    inflate_part(g, 1, 7, 1);
    assert_given_back(g, "00");
    inflate_part(g, 0, 0, HUGE_PAGES);
    assert_given_back(g, "10");
    bg_quit(g);
}

/* What was taken back, and used, must not be lost. */
static void test_huge_deflate(void)
{
    BGuest *g = start_huge();
    const uint64_t page = HUGE_START + 7 * BALLOON_PAGE;
    uint8_t value;

    if (!g) {
        return;
    }
    /* Given back, taken back, used; then the others are given back. */
    inflate_part(g, 0, 7, 1);
    deflate_part(g, 0, 7, 1);
    bg_fill(g, page, BALLOON_PAGE, 77);
    value = first_byte(g, page);
    inflate_part(g, 0, 0, 7);
    inflate_part(g, 0, 8, HUGE_PAGES - 8);
    assert_given_back(g, "0");
    g_assert_cmpuint(first_byte(g, page), ==, value);
    inflate_part(g, 0, 7, 1);
    assert_given_back(g, "1");

    /* Taken from a whole one: the others stay given back. */
    deflate_part(g, 0, 7, 1);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, HUGE_PAGES - 1);
    bg_fill(g, page, BALLOON_PAGE, 78);
    g_assert_false(is_given_back(g, 0));
    inflate_part(g, 0, 7, 1);
    assert_given_back(g, "1");
    g_assert_true(bg_is_zero(g, page));

    /* The same with a run that begins and ends within huge pages */
    inflate_part(g, 0, 0, 4 * HUGE_PAGES);
    assert_given_back(g, "1111");
    deflate_part(g, 0, 500, 12 + 2 * HUGE_PAGES + 10);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 500 + HUGE_PAGES - 10);
    bg_fill(g, HUGE_START, 4 * HUGE_SIZE, 79);
    inflate_part(g, 0, 500, 11);
    inflate_part(g, 1, 1, 2 * HUGE_PAGES - 1);
    inflate_part(g, 3, 0, 9);
    assert_given_back(g, "0010");
    inflate_part(g, 0, 511, 2);
    inflate_part(g, 3, 9, 1);
    assert_given_back(g, "1111");
    bg_quit(g);
}

/* What was used without a word is not lost when another page comes again. */
static void test_huge_lie(void)
{
    BGuest *g = start_huge();
    const uint64_t page = HUGE_START + 7 * BALLOON_PAGE;
    uint8_t value;

    if (!g) {
        return;
    }
    inflate_part(g, 0, 0, HUGE_PAGES / 2);
    inflate_part(g, 0, HUGE_PAGES / 2, HUGE_PAGES / 2);
    assert_given_back(g, "1");
    bg_fill(g, page, BALLOON_PAGE, 77);
    value = first_byte(g, page);
    inflate_part(g, 0, 0, 7);
    inflate_part(g, 0, 8, HUGE_PAGES - 8);
    g_assert_cmpuint(first_byte(g, page), ==, value);
    g_assert_cmpuint(bg_count_populated(g, HUGE_START, HUGE_SIZE), ==,
                     HUGE_PAGES);

    inflate_part(g, 0, 7, 1);
    g_assert_cmpuint(first_byte(g, page), ==, value);
    /* It is let go of when that page is given back once more. */
    deflate_part(g, 0, 7, 1);
    inflate_part(g, 0, 7, 1);
    assert_given_back(g, "1");
    /* Or when all of it is, by one request */
    bg_fill(g, page, BALLOON_PAGE, 78);
    inflate_part(g, 0, 0, HUGE_PAGES);
    assert_given_back(g, "1");
    bg_quit(g);
}

/* Whoever comes after a reset gave nothing back. */
static void test_huge_reset(void)
{
    BGuest *g = start_huge();

    if (!g) {
        return;
    }
    inflate_part(g, 0, 0, HUGE_PAGES / 2);
    bg_driver_start(g, MUST_TELL_HOST);
    inflate_part(g, 0, HUGE_PAGES / 2, HUGE_PAGES / 2);
    assert_given_back(g, "0");

    qtest_system_reset(g->qts);
    bg_driver_start(g, MUST_TELL_HOST);
    inflate_part(g, 0, 0, HUGE_PAGES / 2);
    assert_given_back(g, "0");
    inflate_part(g, 0, HUGE_PAGES / 2, HUGE_PAGES / 2);
    assert_given_back(g, "1");
    bg_quit(g);
}

/*
 * A driver that need not tell may use again what it gave back, before it
 * tells; so nothing is remembered beyond a request.
 */
static void test_huge_need_not_tell(void)
{
    BGuest *g = start_huge();
    const uint64_t page = HUGE_START + 7 * BALLOON_PAGE;
    uint8_t value;

    if (!g) {
        return;
    }
    bg_driver_start(g, 0);
    inflate_part(g, 0, 0, 8);
    bg_fill(g, page, BALLOON_PAGE, 77);
    value = first_byte(g, page);
    inflate_part(g, 0, 8, HUGE_PAGES - 8);
    assert_given_back(g, "0");
    g_assert_cmpuint(first_byte(g, page), ==, value);

    inflate_part(g, 1, 0, 2 * HUGE_PAGES);
    assert_given_back(g, "011");
    deflate_part(g, 1, 7, 1);
    inflate_part(g, 1, 7, 1);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 2 * HUGE_PAGES - 1);
    bg_quit(g);
}

/* ---- Random requests against a model ---- */

#define MODEL_RAM (32 * MiB)
#define MODEL_PAGES (MODEL_RAM / BALLOON_PAGE)

/* What is known of each page of the guest */
typedef struct Model {
    BGuest *g;
    uint64_t unit;                      /* pages that are discarded together */
    bool given[MODEL_PAGES];            /* by the guest, and not taken back */
    bool populated[MODEL_PAGES];
    uint8_t value[MODEL_PAGES];
} Model;

static void model_write(Model *m, uint64_t page, uint64_t npages,
                        uint8_t value)
{
    uint64_t i;

    qtest_memset(m->g->qts, page * BALLOON_PAGE, value,
                 npages * BALLOON_PAGE);
    memset(m->value + page, value, npages);
    for (i = page / m->unit * m->unit;
         i < QEMU_ALIGN_UP(page + npages, m->unit); i++) {
        m->populated[i] = true;
    }
}

static void model_inflate(Model *m, uint64_t page)
{
    uint64_t start = page / m->unit * m->unit, i;

    m->given[page] = true;
    for (i = start; i < start + m->unit; i++) {
        if (!m->given[i]) {
            return;
        }
    }
    memset(m->populated + start, false, m->unit);
    memset(m->value + start, 0, m->unit);
}

static void model_deflate(Model *m, uint64_t page)
{
    m->given[page] = false;
}

static void model_check(Model *m)
{
    g_autofree bool *populated = bg_populated(m->g, 0, MODEL_RAM);
    g_autofree bool *in_map = g_new0(bool, MODEL_PAGES);
    g_autoptr(GArray) runs = bg_map_runs(m->g);
    uint64_t page;
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);

        memset(in_map + run->start / BALLOON_PAGE, true,
               run->length / BALLOON_PAGE);
    }
    for (page = PFN(BG_RAM_START); page < MODEL_PAGES; page++) {
        uint8_t bytes[BALLOON_PAGE];

        if (in_map[page] != m->given[page] ||
            populated[page] != m->populated[page]) {
            g_error("page 0x%" PRIx64 ": %s the map, %spopulated; expected "
                    "%s the map, %spopulated", page,
                    in_map[page] ? "in" : "not in",
                    populated[page] ? "" : "not ",
                    m->given[page] ? "in" : "not in",
                    m->populated[page] ? "" : "not ");
        }
        if (!populated[page]) {
            continue;
        }
        bg_read(m->g, page * BALLOON_PAGE, bytes, sizeof(bytes));
        if (bytes[0] != m->value[page] ||
            memcmp(bytes, bytes + 1, sizeof(bytes) - 1)) {
            g_error("page 0x%" PRIx64 " holds %02x..., not %02x", page,
                    bytes[0], m->value[page]);
        }
    }
}

#define RANDOM_RUN_MAX 700
#define RANDOM_REQUEST_MAX (3 * RANDOM_RUN_MAX)

/*
 * Runs of either direction, now and then shuffled.  With @twice, pages may
 * come more than once.
 */
static size_t random_pfns(uint32_t *pfns, uint64_t limit)
{
    int runs = g_test_rand_int_range(1, 4);
    size_t n = 0;

    for (; runs; runs--) {
        unsigned int length = g_test_rand_int_range(0, 3)
                              ? g_test_rand_int_range(1, 20)
                              : g_test_rand_int_range(1, RANDOM_RUN_MAX);
        uint32_t first = g_test_rand_int_range(PFN(BG_RAM_START),
                                               limit - length);
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
    g_autofree bool *seen = g_new0(bool, MODEL_PAGES);
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
    uint32_t pfns[RANDOM_REQUEST_MAX];
    size_t n = random_pfns(pfns, MODEL_PAGES), i;

    switch (g_test_rand_int_range(0, 8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        /*
         * If parts of a huge page are given back twice, nothing is done; if all
         * of it is, it is discarded again: what is adjacent decides.
         */
        if (m->unit > 1) {
            n = only_new(m, pfns, n);
        }
        if (n) {
            bg_request(m->g, BG_INFLATE, pfns, n);
        }
        for (i = 0; i < n; i++) {
            model_inflate(m, pfns[i]);
        }
        break;
    case 4:
    case 5:
        bg_request(m->g, BG_DEFLATE, pfns, n);
        for (i = 0; i < n; i++) {
            model_deflate(m, pfns[i]);
        }
        break;
    case 6:
        /* Take back, use */
        bg_request(m->g, BG_DEFLATE, pfns, n);
        for (i = 0; i < n; i++) {
            model_deflate(m, pfns[i]);
            model_write(m, pfns[i], 1, 1 + g_test_rand_int_range(0, 255));
        }
        break;
    case 7:
        /* Use without a word */
        i = g_test_rand_int_range(1, 64);
        model_write(m, g_test_rand_int_range(PFN(BG_RAM_START),
                                             MODEL_PAGES - i), i,
                    1 + g_test_rand_int_range(0, 255));
        break;
    }
}

static void test_random(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = MODEL_RAM,
    };
    g_autofree Model *m = g_new0(Model, 1);
    uint64_t page;
    int i;

    if (!have_huge_pages(&options, 1)) {
        return;
    }
    m->g = start_driven(&options);
    m->unit = options.backend == BG_HUGETLB ? HUGE_PAGES : 1;
    for (page = PFN(BG_RAM_START); page < MODEL_PAGES; page++) {
        model_write(m, page, 1, 1 + page % 255);
    }
    for (i = 0; i < 500; i++) {
        random_step(m);
        if (i % 10 == 0) {
            model_check(m);
        }
        if (g_test_rand_int_range(0, 100) == 0) {
            bg_driver_start(m->g, MUST_TELL_HOST);
            memset(m->given, 0, sizeof(m->given));
        }
    }
    model_check(m);
    bg_quit(m->g);
}

/* ---- The same as without us ---- */

static void test_equal(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = MODEL_RAM,
        .no_must_tell_host = true,
    };
    BGuest *g[2];
    int i, k;

    if (!getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    if (!have_huge_pages(&options, 2)) {
        return;
    }
    /* Of huge pages, an unmodified QEMU forgets parts: do as it does. */
    options.no_must_tell_host = options.backend == BG_HUGETLB;
    g[0] = start_driven(&options);
    options.no_must_tell_host = true;
    options.stock = true;
    g[1] = start_driven(&options);

    for (k = 0; k < 2; k++) {
        bg_fill(g[k], BG_RAM_START, MODEL_RAM - BG_RAM_START, 1);
    }
    for (i = 0; i < 200; i++) {
        uint32_t pfns[RANDOM_REQUEST_MAX];
        size_t n = random_pfns(pfns, MODEL_PAGES);
        int what = g_test_rand_int_range(0, 5);

        for (k = 0; k < 2; k++) {
            bg_request(g[k], what < 3 ? BG_INFLATE : BG_DEFLATE, pfns, n);
            if (what == 4) {
                bg_fill(g[k], pfns[0] * BALLOON_PAGE, BALLOON_PAGE, i);
            }
        }
        if (i % 20 == 0 || i == 199) {
            g_autofree bool *ours = bg_populated(g[0], 0, MODEL_RAM);
            g_autofree bool *stock = bg_populated(g[1], 0, MODEL_RAM);

            g_assert_cmpmem(ours + PFN(BG_RAM_START),
                            MODEL_PAGES - PFN(BG_RAM_START),
                            stock + PFN(BG_RAM_START),
                            MODEL_PAGES - PFN(BG_RAM_START));
        }
    }
    /* The first pages are the driver's, and alike, but for features. */
    bg_assert_same_memory(g[0], g[1]);
    bg_quit(g[0]);
    bg_quit(g[1]);
}

/* ---- Hostile guests ---- */

#define HOSTILE_RAM (32 * MiB)

#define TRACE_EVENTS "-d trace:virtio_balloon_handle_output," \
                     "trace:virtio_balloon_bad_addr"

/* Stays off the pages of the driver, which would only lose the requests. */
static uint32_t hostile_pfn(void)
{
    switch (g_test_rand_int_range(0, 8)) {
    case 0:
        return UINT32_MAX - g_test_rand_int_range(0, 4);
    case 1:
        return PFN(HOSTILE_RAM) + g_test_rand_int_range(-4, 4);
    case 2:
        return PFN(0xa0000) + g_test_rand_int_range(-4, 4);
    case 3:
        return PFN(0xe0000) + g_test_rand_int_range(-32, 32);
    case 4:
        return PFN(0xfee00000) + g_test_rand_int_range(-2, 2);
    case 5:
        return g_test_rand_int_range(PFN(HOSTILE_RAM), INT32_MAX);
    default:
        return g_test_rand_int_range(PFN(BG_RAM_START), PFN(HOSTILE_RAM));
    }
}

static bool is_drivers(uint32_t pfn)
{
    return pfn >= PFN(MiB) && pfn < PFN(BG_RAM_START);
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

/* A request that is cut into segments wherever */
static void hostile_request(Batch *b)
{
    uint32_t pfns[HOSTILE_PFNS];
    Segment segments[16];
    size_t n = hostile_pfns(pfns);
    unsigned int k = 0, max, left = n * sizeof(*pfns);
    uint64_t addr;

    for (; n; n--) {
        pfns[n - 1] = cpu_to_le32(pfns[n - 1]);
    }
    left -= MIN(left - 1, g_test_rand_int_range(0, 4));
    addr = batch_data(b, pfns, left);
    max = g_test_rand_int_range(1, MIN(ARRAY_SIZE(segments),
                                       batch_room(b)) + 1);
    while (left && k < max) {
        unsigned int length = k + 1 < max && g_test_rand_bit()
                              ? g_test_rand_int_range(1, MIN(left, 9) + 1)
                              : left;

        segments[k++] = (Segment) { .addr = addr, .length = length };
        addr += length;
        left -= length;
    }
    if (k < max && g_test_rand_bit()) {
        /* Nobody asked for this. */
        segments[k++] = (Segment) {
            .addr = BG_REQUEST_BASE,
            .length = 1 + g_test_rand_int_range(0, 64),
            .device_writes = true,
        };
    }
    batch_add(b, segments, k);
}

/* Each page is traced as without us, good or bad, and in the same order. */
static void test_trace(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = HOSTILE_RAM,
    };
    char *path[2], *args[2], *log[2];
    size_t length[2];
    BGuest *g[2];
    Batch b[2];
    int k, i;

    if (!getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    if (!have_huge_pages(&options, 1)) {
        return;
    }
    for (k = 0; k < 2; k++) {
        path[k] = g_strdup_printf("%s/balloon-request-%d-%d.log",
                                  g_get_tmp_dir(), getpid(), k);
        args[k] = g_strdup_printf(TRACE_EVENTS " -D %s", path[k]);
        options.args = args[k];
        options.stock = options.no_must_tell_host = k;
        g[k] = start_driven(&options);
        batch_init(&b[k], g[k], BG_INFLATE);
    }
    for (i = 0; i < 300; i++) {
        uint32_t pfns[HOSTILE_PFNS];
        size_t n = hostile_pfns(pfns);

        for (k = 0; k < 2; k++) {
            b[k].queue = i % 3 == 2 ? BG_DEFLATE : BG_INFLATE;
            batch_add_pfns(&b[k], pfns, n);
            batch_send(&b[k]);
        }
    }
    for (k = 0; k < 2; k++) {
        batch_end(&b[k]);
        bg_quit(g[k]);
        g_assert_true(g_file_get_contents(path[k], &log[k], &length[k],
                                          NULL));
        unlink(path[k]);
        g_free(path[k]);
        g_free(args[k]);
    }
    g_assert_nonnull(strstr(log[0], "virtio_balloon_handle_output"));
    g_assert_nonnull(strstr(log[0], "virtio_balloon_bad_addr"));
    g_assert_cmpmem(log[0], length[0], log[1], length[1]);
    g_free(log[0]);
    g_free(log[1]);
}

/* A report of whatever lies in memory, if badly */
static void hostile_report(Batch *b)
{
    Segment segments[8];
    unsigned int n = g_test_rand_int_range(1, MIN(ARRAY_SIZE(segments),
                                                  batch_room(b)) + 1);
    unsigned int i;

    for (i = 0; i < n; i++) {
        bool whole = g_test_rand_bit();
        uint64_t addr = g_test_rand_int_range(BG_RAM_START, HOSTILE_RAM);
        uint64_t length = g_test_rand_int_range(1, 4 * MiB);

        addr = whole ? QEMU_ALIGN_DOWN(addr, BALLOON_PAGE) : addr;
        length = whole ? QEMU_ALIGN_UP(length, BALLOON_PAGE) : length;
        segments[i] = (Segment) {
            .addr = addr,
            .length = MIN(length, HOSTILE_RAM - addr),
            .device_writes = i > 0 || g_test_rand_int_range(0, 4),
        };
    }
    batch_add(b, segments, n);
}

/* What a device answers by going out of order, until it is reset */
static void hostile_break(BGuest *g, int queue)
{
    BGQueue *q = &g->queue[queue];
    uint32_t pfn = cpu_to_le32(PFN(q->ring));
    Batch b;

    batch_init(&b, g, queue);
    switch (g_test_rand_int_range(0, 6)) {
    case 0:
        /* No bytes */
        batch_add(&b, &(Segment) { .addr = BG_REQUEST_BASE }, 1);
        break;
    case 1:
        /* What the device reads behind what it writes */
        batch_add(&b, (Segment[]) {
            { .addr = BG_REQUEST_BASE, .length = 4, .device_writes = true },
            { .addr = BG_REQUEST_BASE, .length = 4 },
        }, 2);
        break;
    case 2:
        /* A chain without an end */
        batch_add(&b, &(Segment) { .addr = BG_REQUEST_BASE, .length = 4 }, 1);
        b.desc[0].flags = cpu_to_le16(VRING_DESC_F_NEXT);
        b.desc[0].next = 0;
        break;
    case 3:
        /* A chain that leads out of the ring */
        batch_add(&b, &(Segment) { .addr = BG_REQUEST_BASE, .length = 4 }, 1);
        b.desc[0].flags = cpu_to_le16(VRING_DESC_F_NEXT);
        b.desc[0].next = cpu_to_le16(0xffff);
        break;
    case 4:
        /* Nowhere */
        batch_add(&b, &(Segment) {
            .addr = UINT64_C(0xfffffffffffff000), .length = 0xffffffff,
            .device_writes = queue == BG_REPORT,
        }, 1);
        break;
    case 5:
        /* Its own ring: there is nothing left in it to be served. */
        batch_add(&b, &(Segment) {
            .addr = batch_data(&b, &pfn, sizeof(pfn)), .length = sizeof(pfn),
        }, 1);
        break;
    }
    batch_write(&b);
    qtest_outw(g->qts, 0xc000 + 16, queue);
    batch_end(&b);
    bg_driver_start(g, MUST_TELL_HOST | REPORTING);
}

/* Memory of QEMU that is not the guest's, in KiB */
static int64_t own_memory(BGuest *g)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            (int)qtest_pid(g->qts));
    g_autofree char *text = NULL;
    const char *line;
    int64_t kib;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "RssAnon:");
    g_assert_nonnull(line);
    g_assert_cmpint(sscanf(line, "RssAnon: %" SCNd64, &kib), ==, 1);
    return kib;
}

static void test_hostile(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = HOSTILE_RAM,
        .device_args = "free-page-reporting=on",
    };
    const int requests = options.backend == BG_MEMFD ? 100000 : 20000;
    int64_t before = 0, after;
    int done = 0, resets = 0;
    BGuest *g;
    Batch b;

    if (!have_huge_pages(&options, 1)) {
        return;
    }
    g = start_driven(&options);
    g_assert_cmpuint(g->queue[BG_REPORT].size, >, 0);
    while (done < requests) {
        int kind = g_test_rand_int_range(0, 8);
        int queue = kind == 0 ? BG_REPORT : kind < 5 ? BG_INFLATE : BG_DEFLATE;

        batch_init(&b, g, queue);
        b.max = g_test_rand_int_range(1, 200);
        while (batch_room(&b) &&
               b.data->len + 1024 <= BG_REQUEST_SIZE) {
            queue == BG_REPORT ? hostile_report(&b) : hostile_request(&b);
            done++;
        }
        batch_send(&b);
        batch_end(&b);
        if (g_test_rand_int_range(0, 50) == 0) {
            bg_driver_reset(g);
            bg_driver_start(g, MUST_TELL_HOST | REPORTING);
            resets++;
        }
        if (resets == 4) {
            resets = 0;
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
    if (options.backend != BG_ANON) {
        g_assert_cmpint(after, <, before + 4096);
    }
#endif

    /* Still a device like any other */
    bg_driver_start(g, MUST_TELL_HOST);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    bg_fill(g, 16 * MiB, HUGE_SIZE, 1);
    bg_request_range(g, BG_INFLATE, 16 * MiB, HUGE_SIZE);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, HUGE_PAGES);
    g_assert_cmpuint(bg_count_populated(g, 16 * MiB, HUGE_SIZE), ==, 0);
    bg_quit(g);
}

/* ---- Free page reporting ---- */

/* Report ranges of memory, from page @first[i] on, by one request */
static void report(BGuest *g, const Segment *segments, unsigned int n)
{
    Batch b;

    batch_init(&b, g, BG_REPORT);
    batch_add(&b, segments, n);
    batch_send(&b);
    batch_end(&b);
}

static void test_report(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .device_args = "free-page-reporting=on",
    };
    const uint64_t start = 16 * MiB;
    uint64_t unit = options.backend == BG_HUGETLB ? HUGE_SIZE : BALLOON_PAGE;
    g_autofree bool *expected = g_new(bool, 16);
    Segment segments[16];
    BGuest *g;
    int order, i;

    if (!have_huge_pages(&options, 1)) {
        return;
    }
    g = start_driven(&options);
    g_assert_cmpuint(g->queue[BG_REPORT].size, >, 0);

    for (order = 0; order < ORDERS; order++) {
        uint32_t place[16] = {
            /* Ascending, on from there, descending, apart, overlapping */
            0, 1, 2, 3, 4, 8, 7, 6, 5, 12, 11, 14, 14, 14, 0, 1,
        };

        bg_fill(g, start, 16 * unit, order);
        if (order == RANDOM) {
            shuffle(place, ARRAY_SIZE(place));
        }
        memset(expected, true, 16);
        for (i = 0; i < 16; i++) {
            int k = order == DESCENDING ? 15 - i : i;

            segments[k] = (Segment) {
                .addr = start + place[i] * unit,
                .length = unit,
                .device_writes = true,
            };
            expected[place[i]] = false;
        }
        report(g, segments, 16);
        for (i = 0; i < 16; i++) {
            uint64_t addr = start + i * unit;

            g_assert_cmpuint(bg_count_populated(g, addr, unit), ==,
                             expected[i] ? unit / BALLOON_PAGE : 0);
            if (expected[i]) {
                g_assert_false(bg_is_zero(g, addr));
                g_assert_false(bg_is_zero(g, addr + unit - BALLOON_PAGE));
            }
        }
        /* It may be used again without a word, so it is not in the map. */
        g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    }
    bg_quit(g);
}

/* What is not whole is left alone; what is next to it is not. */
static void test_report_bad(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .device_args = "free-page-reporting=on",
    };
    const uint64_t start = 16 * MiB;
    uint64_t unit = options.backend == BG_HUGETLB ? HUGE_SIZE : BALLOON_PAGE;
    const Segment segments[] = {
        { start, unit, true },
        { start + unit, unit - 1, true },
        { start + 2 * unit, unit, true },
        { start + 3 * unit + 1, unit, true },
        { start + 5 * unit, unit + 512, true },
        { start + 7 * unit, 2 * unit, true },
        { start + 10 * unit, unit, true },
        { start + 9 * unit, unit, true },
    };
    const bool expected[] = { 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1 };
    const Segment read_only[] = {
        { start + 11 * unit, unit, false },
        { start + 11 * unit, unit / 2, true },
    };
    BGuest *g;
    int i;

    if (!have_huge_pages(&options, 1)) {
        return;
    }
    g = start_driven(&options);
    bg_fill(g, start, ARRAY_SIZE(expected) * unit, 1);
    report(g, segments, ARRAY_SIZE(segments));
    report(g, read_only, ARRAY_SIZE(read_only));
    for (i = 0; i < ARRAY_SIZE(expected); i++) {
        g_assert_cmpuint(bg_count_populated(g, start + i * unit, unit), ==,
                         expected[i] ? unit / BALLOON_PAGE : 0);
        g_assert_true(!expected[i] || !bg_is_zero(g, start + i * unit));
    }

    /* A guest that wants its poison back keeps its pages. */
    bg_driver_start(g, MUST_TELL_HOST | REPORTING | PAGE_POISON);
    qtest_outl(g->qts, 0xc000 + 20 + 12, 0xaa);
    bg_fill(g, start, unit, 1);
    report(g, segments, 1);
    g_assert_cmpuint(bg_count_populated(g, start, unit), ==,
                     unit / BALLOON_PAGE);
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
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .ram_size = 256 * MiB,
    };
    const uint64_t end = 160 * MiB;
    gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    g_autofree uint32_t *pfns = g_new(uint32_t, PFN(end));
    BGuest *g = start_driven(&options);
    BGuest *dest = bg_start_incoming(g);
    uint64_t addr, runs;
    size_t n = 0;

    bg_fill(g, BG_RAM_START, options.ram_size - BG_RAM_START, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 64 * MiB);
    bg_migrate_start(g, dest);
    while (bg_is_zero(dest, end)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(1000);
    }

    /* With a large part of the memory that has no piece of it */
    for (addr = BG_RAM_START; addr < end; addr += 2 * BALLOON_PAGE) {
        if (addr < 32 * MiB || addr >= 130 * MiB) {
            pfns[n++] = PFN(addr);
        }
    }
    bg_request(g, BG_INFLATE, pfns, n);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, n);
    g_assert_cmpuint(runs, ==, n);
    bg_driver_reset(g);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 0);
    g_assert_cmpuint(runs, ==, 0);

    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    g_assert_true(bg_is_zero(dest, pfns[0] * BALLOON_PAGE));
    g_assert_true(bg_is_zero(dest, pfns[n - 1] * BALLOON_PAGE));
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Rate ---- */

#define RATE_START (64 * MiB)
#define RATE_LENGTH (256 * MiB)
#define RATE_PFNS 256           /* of a request of Linux */

/*
 * Give back, or take back, all of it.  Returns seconds that the device took,
 * but for one trip over the socket for each ring full of requests.
 */
static double rate_pass(BGuest *g, int queue)
{
    uint32_t pfns[RATE_PFNS];
    uint32_t next = PFN(RATE_START + RATE_LENGTH);
    gint64 total = 0;
    Batch b;

    batch_init(&b, g, queue);
    while (next > PFN(RATE_START)) {
        gint64 begin;

        while (batch_room(&b) && next > PFN(RATE_START)) {
            int i;

            for (i = 0; i < RATE_PFNS; i++) {
                pfns[i] = --next;
            }
            batch_add_pfns(&b, pfns, RATE_PFNS);
        }
        batch_write(&b);
        begin = g_get_monotonic_time();
        bg_kick(g, queue);
        total += g_get_monotonic_time() - begin;
        batch_clear(&b);
    }
    batch_end(&b);
    return total / (double)G_USEC_PER_SEC;
}

typedef struct RateCase {
    const char *name;
    BGBackend backend;
    bool huge_pages;
} RateCase;

static void test_rate(gconstpointer data)
{
    const RateCase *c = data;
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RATE_START + RATE_LENGTH,
    };
    const double pages = RATE_LENGTH / BALLOON_PAGE;
    double best[2][2] = { };
    int stock, round;
    uint64_t addr;

    if (!getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    allow_huge_pages(c->huge_pages);
    for (round = 0; round < 3; round++) {
        for (stock = 0; stock < 2; stock++) {
            double rate[2];
            BGuest *g;
            int i;

            options.stock = stock;
            options.no_must_tell_host = stock;
            g = start_driven(&options);
            for (addr = RATE_START; addr < RATE_START + RATE_LENGTH;
                 addr += 16 * MiB) {
                qtest_memset(g->qts, addr, 1, 16 * MiB);
            }
            rate[0] = pages / rate_pass(g, BG_INFLATE);
            g_assert_cmpuint(bg_count_populated(g, RATE_START, RATE_LENGTH),
                             ==, 0);
            rate[1] = pages / rate_pass(g, BG_DEFLATE);
            bg_quit(g);
            for (i = 0; i < 2; i++) {
                best[stock][i] = MAX(best[stock][i], rate[i]);
            }
        }
    }
    allow_huge_pages(false);
    g_test_message("%s: inflate %.0f pages/s, unmodified QEMU %.0f, ratio "
                   "%.1f; deflate %.0f, %.0f, ratio %.1f", c->name,
                   best[0][0], best[1][0], best[0][0] / best[1][0],
                   best[0][1], best[1][1], best[0][1] / best[1][1]);
}

static const RateCase rate_cases[] = {
    { "anon", BG_ANON, false },
    { "anon-thp", BG_ANON, true },
    { "memfd", BG_MEMFD, false },
};

static void add_backend_tests(const char *name, GTestDataFunc func)
{
    int backend;

    for (backend = BG_ANON; backend <= BG_HUGETLB; backend++) {
        g_autofree char *path = g_strdup_printf("balloon-request/%s/%s", name,
                                                backend_names[backend]);

        if (backend != BG_PRIVATE_MEMFD) {
            qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
        }
    }
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    allow_huge_pages(false);

    for (i = 0; i < ORDERS; i++) {
        g_autofree char *path = g_strdup_printf("balloon-request/huge/%s",
                                                order_names[i]);

        qtest_add_data_func(path, GINT_TO_POINTER(i), test_huge_order);
    }
    qtest_add_func("balloon-request/huge/interleaved", test_huge_interleaved);
    qtest_add_func("balloon-request/huge/missing", test_huge_missing);
    qtest_add_func("balloon-request/huge/end", test_huge_end);
    qtest_add_func("balloon-request/huge/fail", test_huge_fail);
    qtest_add_func("balloon-request/huge/deflate", test_huge_deflate);
    qtest_add_func("balloon-request/huge/lie", test_huge_lie);
    qtest_add_func("balloon-request/huge/reset", test_huge_reset);
    qtest_add_func("balloon-request/huge/need-not-tell",
                   test_huge_need_not_tell);
    add_backend_tests("random", test_random);
    add_backend_tests("equal", test_equal);
    add_backend_tests("trace", test_trace);
    add_backend_tests("hostile", test_hostile);
    add_backend_tests("report/order", test_report);
    add_backend_tests("report/bad", test_report_bad);
    qtest_add_data_func("balloon-request/reset-pieces",
                        GINT_TO_POINTER(BG_ANON), test_reset_pieces);
    for (i = 0; i < ARRAY_SIZE(rate_cases); i++) {
        g_autofree char *path = g_strdup_printf("balloon-request/rate/%s",
                                                rate_cases[i].name);

        qtest_add_data_func(path, &rate_cases[i], test_rate);
    }

    return g_test_run();
}
