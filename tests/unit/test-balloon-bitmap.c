/*
 * Unit test of the balloon bitmap, against a naive model
 *
 * The model is an array of bool in which everything is recounted page by
 * page, so that it shares no idea, and no mistake, with the code under test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "migration/skip/balloon-bitmap.h"

#define WORD 64

typedef struct Model {
    uint64_t pages;
    bool *page;
} Model;

static void model_init(Model *m, uint64_t pages)
{
    m->pages = pages;
    m->page = g_new0(bool, pages + 1);
}

static uint64_t model_fill(Model *m, uint64_t start, uint64_t npages,
                           bool value)
{
    uint64_t changed = 0;
    uint64_t i;

    for (i = start; i < m->pages && i - start < npages; i++) {
        changed += m->page[i] != value;
        m->page[i] = value;
    }
    return changed;
}

static void check_totals(const BalloonBitmap *b, const Model *m)
{
    uint64_t count = 0, runs = 0;
    uint64_t i;

    for (i = 0; i < m->pages; i++) {
        count += m->page[i];
        runs += m->page[i] && (i == 0 || !m->page[i - 1]);
    }
    g_assert_cmpuint(balloon_bitmap_size(b), ==, m->pages);
    g_assert_cmpuint(balloon_bitmap_count(b), ==, count);
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, runs);
}

/* Each page, and the run that is next from each page and from beyond. */
static void check_pages(const BalloonBitmap *b, const Model *m)
{
    bool any = false;
    BalloonRun want = { 0, 0 };
    BalloonRun run;
    uint64_t word = 0;
    uint64_t i;

    for (i = m->pages + 2 * WORD; i >= m->pages; i--) {
        g_assert_false(balloon_bitmap_test(b, i));
        g_assert_cmphex(balloon_bitmap_word(b, i), ==, 0);
        g_assert_false(balloon_bitmap_next_run(b, i, &run));
        if (i == 0) {
            return;
        }
    }
    g_assert_false(balloon_bitmap_test(b, UINT64_MAX));
    g_assert_false(balloon_bitmap_next_run(b, UINT64_MAX, &run));

    /* Backwards, so that the model too knows the next run of each page. */
    for (i = m->pages; i-- > 0; ) {
        if (m->page[i]) {
            if (!m->page[i + 1]) {
                want.end = i + 1;
            }
            want.start = i;
            any = true;
        }
        word = (i % 64 == 63 ? 0 : word << 1) | m->page[i];
        g_assert_cmphex(balloon_bitmap_word(b, i), ==, word);
        g_assert_true(balloon_bitmap_test(b, i) == m->page[i]);
        g_assert_true(balloon_bitmap_next_run(b, i, &run) == any);
        if (any) {
            g_assert_cmpuint(run.start, ==, want.start);
            g_assert_cmpuint(run.end, ==, want.end);
        }
    }
}

/* Iterate as users do; the runs are maximal, and as many as runs() says. */
static void check_iteration(const BalloonBitmap *b)
{
    uint64_t from = 0, count = 0, runs = 0;
    BalloonRun run;

    while (balloon_bitmap_next_run(b, from, &run)) {
        g_assert_cmpuint(run.start, <, run.end);
        g_assert_cmpuint(run.end, <=, balloon_bitmap_size(b));
        g_assert_true(runs == 0 || run.start > from);
        count += run.end - run.start;
        runs++;
        from = run.end;
    }
    g_assert_cmpuint(count, ==, balloon_bitmap_count(b));
    g_assert_cmpuint(runs, ==, balloon_bitmap_runs(b));
}

/* Ranges of all kinds: nothing, one page, across words, beyond the end. */
static void check_between(const BalloonBitmap *b, const Model *m)
{
    int round;

    for (round = 0; round < 32; round++) {
        uint64_t start = g_test_rand_int_range(0, m->pages + 2);
        uint64_t end = g_test_rand_int_range(0, m->pages + WORD);
        uint64_t count = 0;
        uint64_t i;

        for (i = start; i < MIN(end, m->pages); i++) {
            count += m->page[i];
        }
        g_assert_cmpuint(balloon_bitmap_count_between(b, start, end), ==,
                         count);
    }
    g_assert_cmpuint(balloon_bitmap_count_between(b, 0, UINT64_MAX), ==,
                     balloon_bitmap_count(b));
}

static void check(const BalloonBitmap *b, const Model *m)
{
    check_totals(b, m);
    check_between(b, m);
    check_pages(b, m);
    check_iteration(b);
}

static void apply(BalloonBitmap *b, Model *m, bool value, uint64_t start,
                  uint64_t npages)
{
    uint64_t want = model_fill(m, start, npages, value);
    uint64_t got = value ? balloon_bitmap_set(b, start, npages)
                         : balloon_bitmap_clear(b, start, npages);

    g_assert_cmpuint(got, ==, want);
}

/* The same change, checked in full. */
static void step(BalloonBitmap *b, Model *m, bool value, uint64_t start,
                 uint64_t npages)
{
    apply(b, m, value, start, npages);
    check(b, m);
}

/* Uniform in [0, n]; n is small enough here */
static uint64_t rnd(uint64_t n)
{
    return g_test_rand_int_range(0, n + 1);
}

static uint64_t rnd64(void)
{
    return (uint64_t)(uint32_t)g_test_rand_int() << 32 |
           (uint32_t)g_test_rand_int();
}

/* A place on a word boundary, or one page off it */
static uint64_t rnd_boundary(uint64_t pages)
{
    uint64_t at = rnd(pages / WORD + 1) * WORD + rnd(2);

    return at ? at - 1 : 0;
}

static uint64_t rnd_start(uint64_t pages)
{
    switch (rnd(19)) {
    case 0:
        return 0;
    case 1:
        return pages + rnd(2 * WORD);
    case 2:
        return rnd(1) ? UINT64_MAX : rnd64();
    case 3 ... 7:
        return rnd_boundary(pages);
    default:
        return rnd(pages);
    }
}

static uint64_t rnd_npages(uint64_t pages, uint64_t start)
{
    switch (rnd(39)) {
    case 0:
        return 0;
    case 1:
        /* Beyond the end, and where start + npages just does not overflow */
        return rnd(1) ? UINT64_MAX : UINT64_MAX - start;
    case 2:
        return rnd64();
    case 3:
        return rnd(pages);
    case 4:
        return start < pages ? pages - start + rnd(1) : 1;
    case 5 ... 11:
        /* Up to a word boundary, give or take one */
        return WORD - start % WORD + rnd(2) * WORD + rnd(2) - 1;
    case 12 ... 24:
        return 1;
    default:
        return 1 + rnd(MIN(pages, 100));
    }
}

static void test_random(const void *data)
{
    uint64_t pages = *(const uint64_t *)data;
    unsigned int i, steps = g_test_slow() ? 100000 : 6000;
    unsigned int each = pages > 200 ? 50 : 1;
    BalloonBitmap *b = balloon_bitmap_new(pages);
    /* A bitmap that is half full has more to get wrong than a full one. */
    unsigned int set_of_8 = 4;
    Model m;

    model_init(&m, pages);
    check(b, &m);
    for (i = 0; i < steps; i++) {
        uint64_t start = rnd_start(pages);
        uint64_t npages = rnd_npages(pages, start);

        if (i % 500 == 0) {
            set_of_8 = 1 + rnd(6);
        }
        apply(b, &m, rnd(7) < set_of_8, start, npages);
        check_totals(b, &m);
        if (i % each == 0) {
            check_pages(b, &m);
            check_iteration(b);
        }
    }
    check(b, &m);
    balloon_bitmap_free(b);
    g_free(m.page);
}

/* Both directions of raw bits over one range, in memory of exactly its size */
static void raw_step(BalloonBitmap *b, Model *m, uint64_t start,
                     uint64_t npages, unsigned int per_8)
{
    size_t size = (npages + 7) / 8;
    uint8_t *bits = g_malloc(MAX(size, 1));
    uint8_t *got = g_malloc(size + 1);
    uint64_t i;

    /* The spare bits of the last byte are set as well, to no effect. */
    memset(bits, 0, size);
    for (i = 0; i < size * 8; i++) {
        if (i >= npages || rnd(7) < per_8) {
            bits[i / 8] |= 1 << i % 8;
            if (i < npages) {
                m->page[start + i] = true;
            }
        }
    }
    balloon_bitmap_set_raw(b, start, npages, bits);
    check_totals(b, m);

    memset(got, 0xa5, size + 1);
    balloon_bitmap_get_raw(b, start, npages, got);
    for (i = 0; i < size * 8; i++) {
        g_assert_cmpint(got[i / 8] >> i % 8 & 1, ==,
                        i < npages && m->page[start + i]);
    }
    g_assert_cmphex(got[size], ==, 0xa5);
    g_free(bits);
    g_free(got);
}

static void test_raw(const void *data)
{
    uint64_t pages = *(const uint64_t *)data;
    unsigned int i, steps = g_test_slow() ? 50000 : 3000;
    BalloonBitmap *b = balloon_bitmap_new(pages);
    Model m;

    model_init(&m, pages);
    raw_step(b, &m, 0, pages, 0);
    raw_step(b, &m, 0, 0, 8);
    check(b, &m);
    for (i = 0; i < steps; i++) {
        uint64_t start = rnd(pages / WORD) * WORD;
        uint64_t rest = pages - start;
        uint64_t npages = rnd(3) ? rnd(MIN(rest, 200)) : rest;

        raw_step(b, &m, start, npages, rnd(8));
        if (i % 50 == 0) {
            check(b, &m);
        }
        /* So that it does not fill up */
        apply(b, &m, false, rnd_start(pages), rnd_npages(pages, start));
    }
    raw_step(b, &m, 0, pages, 8);
    check(b, &m);
    g_assert_cmpuint(balloon_bitmap_count(b), ==, pages);
    balloon_bitmap_free(b);
    g_free(m.page);
}

static void test_empty(void)
{
    BalloonBitmap *b = balloon_bitmap_new(0);
    BalloonRun run;

    g_assert_cmpuint(balloon_bitmap_set(b, 0, 1), ==, 0);
    g_assert_cmpuint(balloon_bitmap_set(b, 0, UINT64_MAX), ==, 0);
    g_assert_cmpuint(balloon_bitmap_clear(b, 1, UINT64_MAX), ==, 0);
    g_assert_cmpuint(balloon_bitmap_count(b), ==, 0);
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, 0);
    g_assert_false(balloon_bitmap_next_run(b, 0, &run));
    balloon_bitmap_free(b);
    balloon_bitmap_free(NULL);
}

static void test_edges(const void *data)
{
    uint64_t pages = *(const uint64_t *)data;
    BalloonBitmap *b = balloon_bitmap_new(pages);
    uint64_t i, at;
    Model m;

    model_init(&m, pages);

    /* At the start, at the end, then the whole and a hole in it */
    step(b, &m, true, 0, 1);
    step(b, &m, true, pages ? pages - 1 : 0, 1);
    step(b, &m, true, pages, 1);
    step(b, &m, true, 0, pages);
    step(b, &m, true, 0, pages);
    step(b, &m, false, pages / 2, 1);
    step(b, &m, true, pages / 2, 1);
    step(b, &m, false, 0, 1);
    step(b, &m, false, pages ? pages - 1 : 0, UINT64_MAX);
    step(b, &m, false, 0, UINT64_MAX);
    g_assert_cmpuint(balloon_bitmap_count(b), ==, 0);

    /* Alternating pages are as many runs as there can be; then close up. */
    for (i = 0; i < pages; i += 2) {
        apply(b, &m, true, i, 1);
    }
    check(b, &m);
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, (pages + 1) / 2);
    if (pages > 3) {
        step(b, &m, true, 1, pages - 3);
    }
    step(b, &m, false, 0, pages);

    /* Across each word boundary, growing and shrinking at both sides */
    for (at = WORD; at < pages; at += WORD) {
        step(b, &m, true, at - 1, 2);
        step(b, &m, true, at - 2, 1);
        step(b, &m, true, at + 1, 1);
        step(b, &m, false, at, 1);
        step(b, &m, true, at - 1, 2);
        step(b, &m, false, at - 1, 1);
        if (at > 16 * WORD) {
            break;
        }
    }
    balloon_bitmap_free(b);
    g_free(m.page);
}

static void test_clear_all(const void *data)
{
    uint64_t pages = *(const uint64_t *)data;
    BalloonBitmap *b = balloon_bitmap_new(pages);
    uint64_t i;
    Model m;

    model_init(&m, pages);
    for (i = 0; i < 3; i++) {
        step(b, &m, true, 0, pages);
        step(b, &m, false, i, 2 * i);
        balloon_bitmap_clear_all(b);
        model_fill(&m, 0, pages, false);
        check(b, &m);
    }
    balloon_bitmap_free(b);
    g_free(m.page);
}

/* The map of a guest of 1 TiB, and (slow) page numbers beyond 32 bits */
static void test_large(void)
{
    uint64_t pages = UINT64_C(1) << (g_test_slow() ? 33 : 28);
    BalloonBitmap *b = balloon_bitmap_new(pages);
    BalloonRun run;

    g_assert_cmpuint(balloon_bitmap_set(b, pages - 70, 3), ==, 3);
    g_assert_cmpuint(balloon_bitmap_set(b, pages - 2, UINT64_MAX), ==, 2);
    g_assert_true(balloon_bitmap_test(b, pages - 70));
    if (pages > UINT32_MAX) {
        g_assert_false(balloon_bitmap_test(b, (uint32_t)(pages - 70)));
    }
    g_assert_true(balloon_bitmap_next_run(b, pages - 1000, &run));
    g_assert_cmpuint(run.start, ==, pages - 70);
    g_assert_cmpuint(run.end, ==, pages - 67);
    g_assert_true(balloon_bitmap_next_run(b, run.end, &run));
    g_assert_cmpuint(run.start, ==, pages - 2);
    g_assert_cmpuint(run.end, ==, pages);
    g_assert_false(balloon_bitmap_next_run(b, run.end, &run));
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, 2);
    g_assert_cmpuint(balloon_bitmap_clear(b, pages - 69, 1), ==, 1);
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, 3);
    g_assert_cmpuint(balloon_bitmap_count(b), ==, 4);
    balloon_bitmap_free(b);
}

static void check_shrink(uint64_t start, uint64_t end, uint64_t unit)
{
    BalloonRun run = { start, end };
    BalloonRun want = { 0, 0 };
    bool any = false;
    uint64_t u;

    /* Each unit the run touches, kept if it lies within the run */
    for (u = start - start % unit; u < end; u += unit) {
        if (u >= start && u + unit <= end) {
            want.start = any ? want.start : u;
            want.end = u + unit;
            any = true;
        }
    }
    g_assert_true(balloon_run_shrink(&run, unit) == any);
    if (any) {
        g_assert_cmpuint(run.start, ==, want.start);
        g_assert_cmpuint(run.end, ==, want.end);
    }
}

static void test_shrink(const void *data)
{
    uint64_t unit = *(const uint64_t *)data;
    uint64_t base, start, length;
    int i;

    for (start = 0; start <= 2 * unit; start += MAX(unit / 8, 1)) {
        for (length = 0; length <= 3 * unit + 1; length++) {
            check_shrink(start, start + length, unit);
        }
    }
    for (i = 0; i < 20000; i++) {
        base = rnd(1) ? (rnd64() >> 8) & ~(unit - 1) : 0;
        start = base + rnd(2 * unit);
        check_shrink(start, start + rnd(4 * unit), unit);
    }
}

int main(int argc, char **argv)
{
    static const uint64_t sizes[] = {
        0, 1, 63, 64, 65, 127, 128, 129, 1000, 4097,
    };
    static const uint64_t units[] = { 1, 2, 512 };
    unsigned int i;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/balloon-bitmap/empty", test_empty);
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        char *random = g_strdup_printf("/balloon-bitmap/random/%u",
                                       (unsigned int)sizes[i]);
        char *edges = g_strdup_printf("/balloon-bitmap/edges/%u",
                                      (unsigned int)sizes[i]);
        char *raw = g_strdup_printf("/balloon-bitmap/raw/%u",
                                    (unsigned int)sizes[i]);
        char *clear_all = g_strdup_printf("/balloon-bitmap/clear-all/%u",
                                          (unsigned int)sizes[i]);

        g_test_add_data_func(random, &sizes[i], test_random);
        g_test_add_data_func(edges, &sizes[i], test_edges);
        g_test_add_data_func(raw, &sizes[i], test_raw);
        g_test_add_data_func(clear_all, &sizes[i], test_clear_all);
        g_free(clear_all);
        g_free(raw);
        g_free(random);
        g_free(edges);
    }
    g_test_add_func("/balloon-bitmap/large", test_large);
    for (i = 0; i < G_N_ELEMENTS(units); i++) {
        char *shrink = g_strdup_printf("/balloon-bitmap/shrink/%u",
                                       (unsigned int)units[i]);

        g_test_add_data_func(shrink, &units[i], test_shrink);
        g_free(shrink);
    }
    return g_test_run();
}
