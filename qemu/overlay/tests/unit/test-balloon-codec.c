/*
 * Unit test of the balloon codec
 *
 * Maps of many shapes go through buffers of many sizes and have to come out
 * the same; worked examples, in bytes, pin the format and each error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-codec-map.h"

#define CHUNK BALLOON_CHUNK_PAGES
#define MIN_ROOM BALLOON_CODEC_MIN_ROOM
#define MAX_ROOM BALLOON_CODEC_MAX
#define CANARY 64

/* Uniform in [0, n]; n is small enough here */
static uint64_t rnd(uint64_t n)
{
    return g_test_rand_int_range(0, n + 1);
}

/* Shapes of a map, or of one chunk of it */
enum {
    EMPTY,
    FULL,
    FIRST_PAGE,
    LAST_PAGE,
    FEW_RUNS,
    MANY_RUNS,
    EVERY_OTHER,
    EVERY_OTHER_PAIR,
    RARE_BITS,
    SOME_BITS,
    HALF_THE_BITS,
    MOST_BITS,
    N_SHAPES,
    PER_CHUNK = N_SHAPES,
    N_MAPS,
};

static const char *const shape_names[N_MAPS] = {
    "empty", "full", "first-page", "last-page", "few-runs", "many-runs",
    "every-other", "every-other-pair", "rare-bits", "some-bits",
    "half-the-bits", "most-bits", "per-chunk",
};

static void set_runs(Map *b, uint64_t start, uint64_t end,
                     uint64_t gap, uint64_t length)
{
    uint64_t at = start + rnd(gap);

    while (at < end) {
        uint64_t n = MIN(1 + rnd(length - 1), end - at);

        map_set(b, at, n);
        at += n + 1 + rnd(gap);
    }
}

static void set_every(Map *b, uint64_t start, uint64_t end,
                      uint64_t step, uint64_t length)
{
    uint64_t at;

    for (at = start; at < end; at += step) {
        map_set(b, at, MIN(length, end - at));
    }
}

static void set_bits(Map *b, uint64_t start, uint64_t end,
                     unsigned int per_1000)
{
    uint64_t at;

    for (at = start; at < end; at++) {
        if (rnd(999) < per_1000) {
            map_set(b, at, 1);
        }
    }
}

static void draw(Map *b, int shape, uint64_t start, uint64_t end)
{
    if (start == end) {
        return;
    }
    switch (shape) {
    case EMPTY:
        break;
    case FULL:
        map_set(b, start, end - start);
        break;
    case FIRST_PAGE:
        map_set(b, start, 1);
        break;
    case LAST_PAGE:
        map_set(b, end - 1, 1);
        break;
    case FEW_RUNS:
        set_runs(b, start, end, (end - start) / 3 + 1, (end - start) / 3 + 1);
        break;
    case MANY_RUNS:
        set_runs(b, start, end, 30, 200);
        break;
    case EVERY_OTHER:
        set_every(b, start + rnd(1), end, 2, 1);
        break;
    case EVERY_OTHER_PAIR:
        set_every(b, start, end, 4, 2);
        break;
    case RARE_BITS:
        set_bits(b, start, end, 1);
        break;
    case SOME_BITS:
        /* About as long written as runs as it is raw */
        set_bits(b, start, end, 66);
        break;
    case HALF_THE_BITS:
        set_bits(b, start, end, 500);
        break;
    case MOST_BITS:
        set_bits(b, start, end, 970);
        break;
    case PER_CHUNK:
        for (; start < end; start += CHUNK) {
            draw(b, rnd(N_SHAPES - 1), start, MIN(start + CHUNK, end));
        }
        break;
    default:
        g_assert_not_reached();
    }
}

static Map *drawn_map(int shape, uint64_t pages)
{
    Map *b = map_new(pages);

    draw(b, shape, 0, pages);
    return b;
}

static void assert_same(const Map *a, const Map *b)
{
    uint64_t at = 0;
    PageRun run_a, run_b;

    g_assert_cmpuint(a->pages, ==, b->pages);
    g_assert_cmpuint(a->count, ==, b->count);
    while (map_next_run(a, at, &run_a)) {
        g_assert_true(map_next_run(b, at, &run_b));
        g_assert_cmpuint(run_a.start, ==, run_b.start);
        g_assert_cmpuint(run_a.end, ==, run_b.end);
        at = run_a.end;
    }
    g_assert_false(map_next_run(b, at, &run_b));
}

/* Decode from memory that ends where the buffer ends, for ASan */
static BalloonCodecError decode(Map *b, const void *buf,
                                size_t size, PageRun *range)
{
    uint8_t *copy = g_memdup2(buf, size);
    BalloonCodecError err;

    err = balloon_codec_decode(b->bits, b->pages, &b->count, copy, size, range);
    g_free(copy);
    return err;
}

/* One call of the encoder, with a guard behind its room */
static size_t encode_some(const Map *b, uint64_t *chunk,
                          uint64_t end, uint8_t *buf, size_t room)
{
    uint8_t *own = g_malloc(room + CANARY);
    size_t size, i;

    memset(own, 0xa5, room + CANARY);
    size = balloon_codec_encode(b->bits, b->pages, chunk, end, own, room);
    g_assert_cmpuint(size, <=, room);
    for (i = size; i < room + CANARY; i++) {
        g_assert_cmphex(own[i], ==, 0xa5);
    }
    memcpy(buf, own, size);
    g_free(own);
    return size;
}

static uint64_t chunk_start(const Map *b, uint64_t chunk)
{
    return MIN(chunk * CHUNK, b->pages);
}

/*
 * Send the chunks [@chunk, @end) of @from to @to, in buffers of @room bytes,
 * each of which has to name just the chunks written into it.
 * Returns the bytes it took.
 */
static size_t send_chunks(const Map *from, Map *to,
                          uint64_t chunk, uint64_t end, size_t room)
{
    uint64_t stop = MIN(end,
                        balloon_codec_chunks(from->pages));
    uint8_t *buf = g_malloc(room);
    size_t total = 0;

    while (chunk < stop) {
        uint64_t first = chunk;
        PageRun t;
        size_t size = encode_some(from, &chunk, end, buf, room);

        g_assert_cmpuint(chunk, >, first);
        g_assert_cmpuint(chunk, <=, stop);
        g_assert_cmpint(decode(to, buf, size, &t), ==, BALLOON_CODEC_OK);
        g_assert_cmpuint(t.start, ==, chunk_start(from, first));
        g_assert_cmpuint(t.end, ==, chunk_start(from, chunk));
        total += size;
    }
    g_free(buf);
    return total;
}

static const size_t rooms[] = {
    MIN_ROOM, MIN_ROOM + 1, 4999, 10007, 2 * MIN_ROOM - 1, 2 * MIN_ROOM,
    MAX_ROOM - 1, MAX_ROOM,
};

static const uint64_t sizes[] = {
    0, 1, 7, 8, 9, 63, 64, 65, 1000, CHUNK - 64, CHUNK - 1, CHUNK, CHUNK + 1,
    2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK + 100, 9 * CHUNK + 4097,
};

static void test_round_trip(const void *data)
{
    int shape = GPOINTER_TO_INT(data);
    unsigned int i, j;

    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        Map *from = drawn_map(shape, sizes[i]);

        for (j = 0; j < G_N_ELEMENTS(rooms); j++) {
            Map *empty = map_new(sizes[i]);
            Map *dirty = drawn_map(rnd(1) ? FULL : PER_CHUNK,
                                           sizes[i]);

            send_chunks(from, empty, 0, UINT64_MAX, rooms[j]);
            send_chunks(from, dirty, 0, UINT64_MAX, rooms[j]);
            if (j == 0) {
                map_check(empty);
            }
            assert_same(empty, from);
            assert_same(dirty, from);
            map_free(empty);
            map_free(dirty);
        }
        map_free(from);
    }
}

/* Many maps that differ from chunk to chunk, in buffers of random size */
static void test_random(void)
{
    unsigned int i, rounds = g_test_slow() ? 2000 : 60;

    for (i = 0; i < rounds; i++) {
        uint64_t pages = rnd(12 * CHUNK);
        Map *from = drawn_map(PER_CHUNK, pages);
        Map *to = drawn_map(PER_CHUNK, pages);

        send_chunks(from, to, 0, UINT64_MAX,
                    MIN_ROOM + rnd(MAX_ROOM - MIN_ROOM));
        assert_same(from, to);
        map_free(from);
        map_free(to);
    }
}

/* Only the chunks sent change; all others stay as they are. */
static void test_range(void)
{
    unsigned int i;

    for (i = 0; i < 60; i++) {
        uint64_t pages = 1 + rnd(7 * CHUNK);
        uint64_t chunk = rnd(balloon_codec_chunks(pages));
        uint64_t end = chunk + rnd(4);
        Map *from = drawn_map(PER_CHUNK, pages);
        Map *to = drawn_map(PER_CHUNK, pages);
        Map *want = map_new(pages);
        uint64_t page;

        for (page = 0; page < pages; page++) {
            bool sent = page / CHUNK >= chunk && page / CHUNK < end;

            if (map_test(sent ? from : to, page)) {
                map_set(want, page, 1);
            }
        }
        send_chunks(from, to, chunk, end, rooms[rnd(7)]);
        map_check(to);
        assert_same(to, want);
        map_free(from);
        map_free(to);
        map_free(want);
    }
}

/* Ranges with gaps between them, in one buffer */
static void test_one_buffer(void)
{
    static const uint64_t ranges[][2] = { {1, 2}, {2, 4}, {7, 8}, {9, 99} };
    uint64_t pages = 11 * CHUNK + 77;
    Map *from = drawn_map(PER_CHUNK, pages);
    Map *to = drawn_map(EVERY_OTHER, pages);
    Map *want = map_new(pages);
    uint8_t *buf = g_malloc(MAX_ROOM);
    size_t size = 0;
    uint64_t page;
    unsigned int i;
    PageRun t;

    for (i = 0; i < G_N_ELEMENTS(ranges); i++) {
        uint64_t chunk = ranges[i][0];

        size_t at = size;

        size += encode_some(from, &chunk, ranges[i][1], buf + size,
                            MAX_ROOM - size);
        g_assert_cmpuint(chunk, ==, MIN(ranges[i][1], 12));
        /* Chunks are counted from the end of the segment before. */
        g_assert_cmpuint(buf[at], ==, ranges[i][0]);
        buf[at] -= i ? ranges[i - 1][1] : 0;
    }
    for (page = 0; page < pages; page++) {
        uint64_t chunk = page / CHUNK;
        bool sent = (chunk >= 1 && chunk < 4) || chunk == 7 || chunk >= 9;

        if (map_test(sent ? from : to, page)) {
            map_set(want, page, 1);
        }
    }
    g_assert_cmpint(decode(to, buf, size, &t), ==, BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, CHUNK);
    g_assert_cmpuint(t.end, ==, pages);
    assert_same(to, want);
    map_free(from);
    map_free(to);
    map_free(want);
    g_free(buf);
}

/* Without room, or without a chunk to write, nothing is written. */
static void test_nothing(void)
{
    Map *b = drawn_map(FULL, 2 * CHUNK);
    Map *none = map_new(0);
    uint64_t chunk = 0;
    uint8_t buf[MIN_ROOM];
    PageRun t;

    g_assert_cmpuint(encode_some(b, &chunk, 2, buf, 0), ==, 0);
    g_assert_cmpuint(encode_some(b, &chunk, 2, buf, MIN_ROOM - 1),
                     ==, 0);
    g_assert_cmpuint(encode_some(b, &chunk, 0, buf, MIN_ROOM), ==, 0);
    g_assert_cmpuint(encode_some(none, &chunk, 1, buf, MIN_ROOM),
                     ==, 0);
    g_assert_cmpuint(chunk, ==, 0);
    chunk = 2;
    g_assert_cmpuint(encode_some(b, &chunk, 9, buf, MIN_ROOM), ==, 0);
    g_assert_cmpuint(chunk, ==, 2);
    g_assert_cmpint(balloon_codec_decode(b->bits, b->pages, &b->count, NULL, 0,
                                         &t), ==, BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, t.end);
    g_assert_cmpuint(b->count, ==, 2 * CHUNK);
    map_free(b);
    map_free(none);
}

/* That nothing is set is said as by who has looked at each page. */
static void test_none(void)
{
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint8_t buf[MIN_ROOM], want[MIN_ROOM];
        uint64_t chunk = 0;
        size_t size;
        Map *none;

        if (!sizes[i]) {
            continue;
        }
        none = map_new(sizes[i]);
        size = encode_some(none, &chunk, UINT64_MAX, want, MIN_ROOM);
        g_assert_cmpmem(buf, balloon_codec_encode_none(sizes[i], buf), want,
                        size);
        map_free(none);
    }
}

static void test_chunks(void)
{
    g_assert_cmpuint(balloon_codec_chunks(0), ==, 0);
    g_assert_cmpuint(balloon_codec_chunks(1), ==, 1);
    g_assert_cmpuint(balloon_codec_chunks(CHUNK - 1), ==, 1);
    g_assert_cmpuint(balloon_codec_chunks(CHUNK), ==, 1);
    g_assert_cmpuint(balloon_codec_chunks(CHUNK + 1), ==, 2);
    g_assert_cmpuint(balloon_codec_chunks(UINT64_MAX), ==,
                     UINT64_C(1) << 49);
}

static void test_words(void)
{
    int i, j;

    for (i = BALLOON_CODEC_OK; i <= BALLOON_CODEC_RANGE; i++) {
        g_assert_nonnull(balloon_codec_error(i));
        for (j = BALLOON_CODEC_OK; j < i; j++) {
            g_assert_cmpstr(balloon_codec_error(i), !=,
                            balloon_codec_error(j));
        }
    }
    g_assert_cmpstr(balloon_codec_error(1000), ==, "unknown error");
}

/* The map of the demonstration: 8 GiB, 7.5 of them in 26 runs */
static void test_size_demo(void)
{
    uint64_t pages = UINT64_C(8) << 18;
    Map *from = map_new(pages);
    Map *to = map_new(pages);
    unsigned int i;
    size_t size;

    for (i = 0; i < 26; i++) {
        map_set(from, i * (pages / 26) + 1 + rnd(2000), 75000);
    }
    size = send_chunks(from, to, 0, UINT64_MAX, MAX_ROOM);
    g_test_message("26 runs: %zu bytes", size);
    g_assert_cmpuint(size, <, 2048);
    assert_same(from, to);
    map_free(from);
    map_free(to);
}

/* The bitmap itself, plus 1 %, is the most that any pattern takes. */
static void test_size_worst(const void *data)
{
    int shape = GPOINTER_TO_INT(data);
    uint64_t pages = 64 * CHUNK;
    Map *from = drawn_map(shape, pages);
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(rooms); i++) {
        Map *to = map_new(pages);
        size_t size = send_chunks(from, to, 0, UINT64_MAX, rooms[i]);

        g_test_message("%s, room %zu: bitmap + %.2f %%", shape_names[shape],
                       rooms[i], size * 100.0 / (pages / 8) - 100);
        g_assert_cmpuint(size, <=, pages / 8 + pages / 800);
        assert_same(from, to);
        map_free(to);
    }
    map_free(from);
}

/* Maps of a guest of 1 TiB */
static void test_size_large(void)
{
    uint64_t pages = UINT64_C(1) << 28;
    Map *from = map_new(pages);
    Map *to = map_new(pages);

    g_assert_cmpuint(send_chunks(from, to, 0, UINT64_MAX, MIN_ROOM), <=, 8);
    assert_same(from, to);

    /* Few pages, far from each other */
    map_set(from, 0, 1);
    map_set(from, 12345678, 87654321);
    map_set(from, pages - 3 * CHUNK - 5, 9);
    map_set(from, pages - 1, 1);
    g_assert_cmpuint(send_chunks(from, to, 0, UINT64_MAX, MIN_ROOM), <=, 40);
    assert_same(from, to);

    map_set(from, 0, pages);
    g_assert_cmpuint(send_chunks(from, to, 0, UINT64_MAX, MIN_ROOM), <=, 16);
    assert_same(from, to);
    map_free(from);
    map_free(to);
}

/*
 * As many chunks as fit into a buffer, each with next to nothing in it: what
 * is between their runs takes more bytes than the runs.
 */
static void test_crowded(void)
{
    static const uint64_t at[] = { 0, 1, 127, 128, 16383, 16384, CHUNK - 1 };
    uint64_t pages = 5000 * CHUNK;
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(at); i++) {
        Map *from = map_new(pages);
        Map *to = map_new(pages);

        set_every(from, at[i], pages, CHUNK, 1);
        send_chunks(from, to, 0, UINT64_MAX, MIN_ROOM);
        send_chunks(from, to, 0, UINT64_MAX, MIN_ROOM + 1000 + i);
        assert_same(from, to);
        map_free(from);
        map_free(to);
    }
}

/* Around the point where raw bits take less than runs */
static void test_raw_or_runs(void)
{
    uint64_t pages = 3 * CHUNK;
    uint64_t runs, full, edge = BALLOON_CHUNK_PAGES / 16;
    uint8_t *buf = g_malloc(MAX_ROOM);

    /* Each run takes two bytes. */
    for (runs = edge - 20; runs < edge + 4; runs++) {
        for (full = 0; full < 3; full++) {
            Map *from = map_new(pages);
            Map *to = drawn_map(EVERY_OTHER_PAIR, pages);
            uint64_t chunk = full, i;
            size_t size, room;

            for (i = 0; i < 3; i++) {
                if (full == 0 || full == i + 1) {
                    set_every(from, i * CHUNK + 3, i * CHUNK + 3 + runs * 8,
                              8, 5);
                }
            }
            for (room = MIN_ROOM; room < 3 * MIN_ROOM; room += 997) {
                send_chunks(from, to, 0, 3, room);
                assert_same(from, to);
            }
            chunk = full ? full - 1 : 0;
            size = encode_some(from, &chunk, chunk + 1, buf,
                               MAX_ROOM);
            /* Header, then bits; or header, number of runs, runs */
            g_assert_cmpuint(size, ==, 3 + (runs > edge ? CHUNK / 8
                                                        : 2 + 2 * runs));
            map_free(from);
            map_free(to);
        }
    }
    g_free(buf);
}

/* A run that goes on in the next chunk counts only as far as it is written. */
static void test_raw_or_runs_cut(void)
{
    uint64_t runs = CHUNK / 16;
    Map *b = map_new(2 * CHUNK);
    uint8_t *buf = g_malloc(MAX_ROOM);
    uint64_t chunk = 0;

    /* The last of as many two-byte runs as are not yet better sent raw */
    set_every(b, 11, CHUNK, 16, 5);
    map_set(b, CHUNK, CHUNK);
    g_assert_cmpuint(encode_some(b, &chunk, 1, buf, MAX_ROOM), ==,
                     5 + 2 * runs);
    g_assert_cmpuint(chunk, ==, 1);
    map_free(b);
    g_free(buf);
}

/* Cut short, it is an error, or all the segments before the cut. */
static void test_truncated(const void *data)
{
    int shape = GPOINTER_TO_INT(data);
    uint64_t pages = 3 * CHUNK + 1 + rnd(CHUNK - 2);
    Map *from = drawn_map(shape, pages);
    uint8_t *buf = g_malloc(MAX_ROOM);
    uint64_t chunk = 0;
    size_t size = encode_some(from, &chunk, UINT64_MAX, buf, MAX_ROOM);
    size_t cut;

    g_assert_cmpuint(chunk, ==, 4);
    for (cut = 0; cut < size; cut += 1 + (cut > 60 && cut < size - 60) *
                                         rnd(30)) {
        Map *to = map_new(pages);
        PageRun t;
        BalloonCodecError err = decode(to, buf, cut, &t);
        PageRun a = { 0 }, b = { 0 };

        g_assert_true(err == BALLOON_CODEC_OK ||
                      err == BALLOON_CODEC_TRUNCATED);
        g_assert_cmpuint(t.start, ==, 0);
        g_assert_cmpuint(t.end, <, pages);
        g_assert_cmpuint(t.end % CHUNK, ==, 0);
        while (map_next_run(to, a.end, &a)) {
            g_assert_true(map_next_run(from, b.end, &b));
            g_assert_cmpuint(a.start, ==, b.start);
            if (a.end != b.end) {
                g_assert_cmpuint(a.end, <, b.end);
                break;
            }
        }
        if (err == BALLOON_CODEC_OK) {
            /* All of what is whole, and nothing else */
            g_assert_false(map_next_run(to, t.end, &a));
            map_set(to, t.end, pages);
            map_clear(to, t.end, pages);
            for (chunk = 0; chunk < t.end; chunk++) {
                g_assert_true(map_test(to, chunk) ==
                              map_test(from, chunk));
            }
        }
        map_free(to);
    }
    map_free(from);
    g_free(buf);
}

/* Bytes changed at random: whatever comes of it, the totals are right. */
static void test_corrupted(void)
{
    unsigned int i, j, rounds = g_test_slow() ? 20000 : 1000;
    uint8_t *buf = g_malloc(MAX_ROOM);

    for (i = 0; i < rounds; i++) {
        uint64_t pages = 1 + rnd(i % 50 ? 1000 : 3 * CHUNK);
        Map *from = drawn_map(rnd(N_SHAPES - 1), pages);
        Map *to = drawn_map(rnd(N_SHAPES - 1), pages);
        uint64_t chunk = 0;
        size_t size = encode_some(from, &chunk, UINT64_MAX, buf,
                                  MAX_ROOM);
        PageRun t;

        for (j = rnd(2) + 1; j > 0; j--) {
            buf[rnd(MIN(size, 40) - 1)] = rnd(3) ? rnd(255) : rnd(1) * 255;
        }
        decode(to, buf, size, &t);
        map_check(to);
        map_free(from);
        map_free(to);
    }
    g_free(buf);
}

typedef struct Bytes {
    const char *data;
    size_t size;
} Bytes;

#define BYTES(s) { s, sizeof(s) - 1 }

/* Worked examples: a map, and the bytes that say it */
typedef struct Example {
    const char *name;
    uint64_t pages;
    PageRun runs[4];             /* up to the first empty one */
    uint64_t chunk, end;
    Bytes bytes;
} Example;

static const Example examples[] = {
    { "clear", 100, { }, 0, 1, BYTES("\0\1\0\0") },
    { "all", 100, { { 0, 100 } }, 0, 1, BYTES("\0\1\0\1\0\x64") },
    { "one-page", 1, { { 0, 1 } }, 0, 1, BYTES("\0\1\1\1") },
    { "raw", 12, { { 0, 1 }, { 2, 5 }, { 11, 12 } }, 0, 1,
      BYTES("\0\1\1\x1d\x08") },
    { "two-runs", 300, { { 150, 200 }, { 210, 211 } }, 0, 1,
      BYTES("\0\1\0\2\x96\1\x32\x0a\1") },
    { "across", 3 * CHUNK, { { CHUNK - 1, CHUNK + 2 } }, 0, 9,
      BYTES("\0\3\0\1\xff\xff\1\3") },
    { "second-chunk", 3 * CHUNK, { { CHUNK - 1, CHUNK + 2 } }, 1, 2,
      BYTES("\1\1\0\1\0\2") },
    { "second-of-full", 4 * CHUNK, { { 0, 4 * CHUNK } }, 1, 2,
      BYTES("\1\1\0\1\0\x80\x80\2") },
    { "second-of-clear", 4 * CHUNK, { { 4 * CHUNK - 1, 4 * CHUNK } }, 1, 2,
      BYTES("\1\1\0\0") },
    { "last-chunks", 3 * CHUNK, { { CHUNK, 3 * CHUNK } }, 1, 3,
      BYTES("\1\2\0\1\0\x80\x80\4") },
    { "short-last", CHUNK + 3, { { 0, CHUNK + 1 } }, 0, 2,
      BYTES("\0\1\0\1\0\x80\x80\2\0\1\1\1") },
    { "1-TiB", UINT64_C(1) << 28, { { 0, UINT64_C(1) << 28 } }, 0, 8192,
      BYTES("\0\x80\x40\0\1\0\x80\x80\x80\x80\1") },
    { "1-TiB-end", UINT64_C(1) << 28, { { 5, UINT64_C(1) << 28 } }, 8191, 8192,
      BYTES("\xff\x3f\1\0\1\0\x80\x80\2") },
};

static void test_example(const void *data)
{
    const Example *e = data;
    Map *from = map_new(e->pages);
    Map *to = map_new(e->pages);
    Map *want = map_new(e->pages);
    uint64_t start = MIN(e->chunk * CHUNK, e->pages);
    uint64_t end = MIN(e->end * CHUNK, e->pages);
    uint64_t chunk = e->chunk;
    uint8_t buf[2 * MIN_ROOM];
    PageRun t;
    unsigned int i;
    size_t size;

    for (i = 0; i < G_N_ELEMENTS(e->runs); i++) {
        map_set(from, e->runs[i].start,
                           e->runs[i].end - e->runs[i].start);
    }
    size = encode_some(from, &chunk, e->end, buf, sizeof(buf));
    g_assert_cmpmem(buf, size, e->bytes.data, e->bytes.size);

    /* Into a full map, of which what is not named stays */
    map_set(to, 0, e->pages);
    map_set(want, 0, e->pages);
    map_clear(want, start, end - start);
    for (i = 0; i < G_N_ELEMENTS(e->runs); i++) {
        map_set(want, e->runs[i].start,
                           e->runs[i].end - e->runs[i].start);
    }
    g_assert_cmpint(decode(to, e->bytes.data, e->bytes.size, &t), ==,
                    BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, start);
    g_assert_cmpuint(t.end, ==, end);
    assert_same(to, want);
    map_free(from);
    map_free(to);
    map_free(want);
}

/* Bad buffers, and what is wrong with them */
typedef struct Bad {
    const char *name;
    BalloonCodecError err;
    uint64_t pages;
    Bytes bytes;
    uint64_t touched;           /* pages of segments before it went wrong */
} Bad;

#define N7F "\x80\x80\x80\x80\x80\x80\x80\x80\x80"
#define NFF "\xff\xff\xff\xff\xff\xff\xff\xff\xff"

static const Bad bad[] = {
    { "skip", BALLOON_CODEC_TRUNCATED, 100, BYTES("\x80"), 0 },
    { "skip-9-bytes", BALLOON_CODEC_TRUNCATED, 100, BYTES(N7F), 0 },
    { "count-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0"), 0 },
    { "count", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\x81"), 0 },
    { "kind-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1"), 0 },
    { "nruns-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0"), 0 },
    { "nruns", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\x81"), 0 },
    { "gap-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\1"), 0 },
    { "gap", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\1\x81"), 0 },
    { "length-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\1\0"), 0 },
    { "length", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\1\0\x81"), 0 },
    { "second-run", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\0\2\0\1"), 0 },
    { "runs-max", BALLOON_CODEC_TRUNCATED, 100,
      BYTES("\0\1\0" NFF "\1\0\1\1\1"), 0 },
    { "raw-missing", BALLOON_CODEC_TRUNCATED, 100, BYTES("\0\1\1"), 0 },
    { "raw-one-byte", BALLOON_CODEC_TRUNCATED, 16, BYTES("\0\1\1\1"), 0 },
    { "raw-of-9-pages", BALLOON_CODEC_TRUNCATED, 9, BYTES("\0\1\1\1"), 0 },
    { "trailing", BALLOON_CODEC_TRUNCATED, CHUNK + 1, BYTES("\0\1\0\0\0"),
      CHUNK },

    { "skip-65-bits", BALLOON_CODEC_NUMBER, 100, BYTES(N7F "\2\1\0\0"), 0 },
    { "skip-endless", BALLOON_CODEC_NUMBER, 100, BYTES(N7F N7F "\0"), 0 },
    { "skip-11-bytes", BALLOON_CODEC_NUMBER, 100,
      BYTES(N7F "\x80\0\1\0\0"), 0 },
    { "skip-11-bytes-1", BALLOON_CODEC_NUMBER, 100,
      BYTES(N7F "\x81\0\1\0\0"), 0 },
    { "count-65-bits", BALLOON_CODEC_NUMBER, 100,
      BYTES("\0" NFF "\3\0\0"), 0 },
    { "nruns-65-bits", BALLOON_CODEC_NUMBER, 100,
      BYTES("\0\1\0" NFF "\x7f"), 0 },
    { "gap-65-bits", BALLOON_CODEC_NUMBER, 100,
      BYTES("\0\1\0\1" N7F "\2\1"), 0 },
    { "length-65-bits", BALLOON_CODEC_NUMBER, 100,
      BYTES("\0\1\0\1\0" N7F "\2"), 0 },
    { "trailing", BALLOON_CODEC_NUMBER, 100,
      BYTES("\0\1\0\0" NFF NFF), 100 },

    { "2", BALLOON_CODEC_KIND, 100, BYTES("\0\1\2\0"), 0 },
    { "255", BALLOON_CODEC_KIND, 100, BYTES("\0\1\xff\0"), 0 },
    { "trailing", BALLOON_CODEC_KIND, 3 * CHUNK,
      BYTES("\1\1\0\0\0\1\2"), CHUNK },

    { "no-chunk", BALLOON_CODEC_EMPTY, 100, BYTES("\0\0\0\0"), 0 },
    { "no-chunk-raw", BALLOON_CODEC_EMPTY, 100, BYTES("\0\0\1"), 0 },
    { "no-page", BALLOON_CODEC_EMPTY, 100, BYTES("\0\1\0\1\5\0"), 0 },
    { "no-page-second", BALLOON_CODEC_EMPTY, 100,
      BYTES("\0\1\0\2\5\1\1\0"), 0 },
    { "trailing-zeroes", BALLOON_CODEC_EMPTY, 100,
      BYTES("\0\1\0\1\0\x64\0\0\0"), 100 },

    { "touching", BALLOON_CODEC_ORDER, 100, BYTES("\0\1\0\2\1\1\0\1"), 0 },
    { "touching-third", BALLOON_CODEC_ORDER, 100,
      BYTES("\0\1\0\3\0\1\1\1\0\1"), 0 },

    { "no-chunks", BALLOON_CODEC_RANGE, 0, BYTES("\0\1\0\0"), 0 },
    { "skip", BALLOON_CODEC_RANGE, 100, BYTES("\1\1\0\0"), 0 },
    { "skip-2", BALLOON_CODEC_RANGE, 100, BYTES("\2\1\0\0"), 0 },
    { "skip-max", BALLOON_CODEC_RANGE, 100, BYTES(NFF "\1\1\0\0"), 0 },
    { "count", BALLOON_CODEC_RANGE, 100, BYTES("\0\2\0\0"), 0 },
    { "count-after-skip", BALLOON_CODEC_RANGE, 3 * CHUNK,
      BYTES("\1\3\0\0"), 0 },
    { "count-max", BALLOON_CODEC_RANGE, 3 * CHUNK,
      BYTES("\1" NFF "\1\0\0"), 0 },
    { "wraps-2-to-49", BALLOON_CODEC_RANGE, 3 * CHUNK,
      BYTES("\0\x80\x80\x80\x80\x80\x80\x80\1\0\0"), 0 },
    { "second-segment", BALLOON_CODEC_RANGE, 2 * CHUNK,
      BYTES("\0\2\0\0\0\1\0\0"), 2 * CHUNK },
    { "second-segment-skip", BALLOON_CODEC_RANGE, 2 * CHUNK,
      BYTES("\0\1\0\0\1\1\0\0"), CHUNK },
    { "raw-two-chunks", BALLOON_CODEC_RANGE, 2 * CHUNK,
      BYTES("\0\2\1\0\0\0\0"), 0 },
    { "raw-spare-bit", BALLOON_CODEC_RANGE, 12, BYTES("\0\1\1\0\x10"), 0 },
    { "raw-last-spare-bit", BALLOON_CODEC_RANGE, 15,
      BYTES("\0\1\1\0\x80"), 0 },
    { "gap", BALLOON_CODEC_RANGE, 100, BYTES("\0\1\0\1\x64\1"), 0 },
    { "gap-more", BALLOON_CODEC_RANGE, 100, BYTES("\0\1\0\1\x65\1"), 0 },
    { "gap-max", BALLOON_CODEC_RANGE, 100,
      BYTES("\0\1\0\1" NFF "\1\2"), 0 },
    { "length", BALLOON_CODEC_RANGE, 100, BYTES("\0\1\0\1\0\x65"), 0 },
    { "length-after-gap", BALLOON_CODEC_RANGE, 100,
      BYTES("\0\1\0\1\x32\x33"), 0 },
    { "length-max", BALLOON_CODEC_RANGE, 100,
      BYTES("\0\1\0\1\1" NFF "\1"), 0 },
    { "second-run", BALLOON_CODEC_RANGE, 100,
      BYTES("\0\1\0\2\0\x32\1\x32"), 0 },
    { "other-chunk", BALLOON_CODEC_RANGE, 2 * CHUNK,
      BYTES("\0\1\0\1\0\x81\x80\2"), 0 },
};

static void test_bad(const void *data)
{
    const Bad *e = data;
    int full;

    for (full = 0; full < 2; full++) {
        Map *b = drawn_map(full ? FULL : EVERY_OTHER, e->pages);
        PageRun t;

        g_assert_cmpint(decode(b, e->bytes.data, e->bytes.size, &t), ==,
                        e->err);
        g_assert_cmpuint(t.end - t.start, ==, e->touched);
        map_check(b);
        map_free(b);
    }
}

static const char *const error_names[] = {
    "ok", "truncated", "number", "kind", "empty", "order", "range",
};

static void add(const char *group, const char *name, const void *data,
                void (*test)(const void *data))
{
    char *path = g_strdup_printf("/balloon-codec/%s/%s", group, name);

    g_test_add_data_func(path, data, test);
    g_free(path);
}

int main(int argc, char **argv)
{
    static const int worst[] = {
        EVERY_OTHER, EVERY_OTHER_PAIR, SOME_BITS, HALF_THE_BITS, MOST_BITS,
        PER_CHUNK,
    };
    unsigned int i;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/balloon-codec/chunks", test_chunks);
    g_test_add_func("/balloon-codec/words", test_words);
    for (i = 0; i < G_N_ELEMENTS(examples); i++) {
        add("example", examples[i].name, &examples[i], test_example);
    }
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        add(error_names[bad[i].err], bad[i].name, &bad[i], test_bad);
    }
    for (i = 0; i < N_MAPS; i++) {
        add("round-trip", shape_names[i], GINT_TO_POINTER(i),
            test_round_trip);
        add("cut", shape_names[i], GINT_TO_POINTER(i), test_truncated);
    }
    g_test_add_func("/balloon-codec/random", test_random);
    g_test_add_func("/balloon-codec/range", test_range);
    g_test_add_func("/balloon-codec/one-buffer", test_one_buffer);
    g_test_add_func("/balloon-codec/nothing", test_nothing);
    g_test_add_func("/balloon-codec/none", test_none);
    g_test_add_func("/balloon-codec/crowded", test_crowded);
    g_test_add_func("/balloon-codec/raw-or-runs/edge", test_raw_or_runs);
    g_test_add_func("/balloon-codec/raw-or-runs/cut", test_raw_or_runs_cut);
    g_test_add_func("/balloon-codec/corrupted", test_corrupted);
    g_test_add_func("/balloon-codec/size/demo", test_size_demo);
    g_test_add_func("/balloon-codec/size/large", test_size_large);
    for (i = 0; i < G_N_ELEMENTS(worst); i++) {
        add("size/worst", shape_names[worst[i]], GINT_TO_POINTER(worst[i]),
            test_size_worst);
    }
    return g_test_run();
}
