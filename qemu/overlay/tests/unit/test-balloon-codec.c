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
    g_autofree uint8_t *copy = g_memdup2(buf, size);

    return balloon_codec_decode(b->bits, b->pages, &b->count, copy, size,
                                range);

}

/* One call of the encoder, with a guard behind its room */
static size_t encode_some(const Map *b, uint64_t *chunk,
                          uint64_t end, uint8_t *buf, size_t room)
{
    g_autofree uint8_t *own = g_malloc(room + CANARY);
    size_t size, i;

    memset(own, 0xa5, room + CANARY);
    size = balloon_codec_encode(b->bits, b->pages, chunk, end, own, room);
    g_assert_cmpuint(size, <=, room);
    for (i = size; i < room + CANARY; i++) {
        g_assert_cmphex(own[i], ==, 0xa5);
    }
    memcpy(buf, own, size);
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
    uint64_t stop = MIN(end, balloon_codec_chunks(from->pages));
    g_autofree uint8_t *buf = g_malloc(room);
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
    return total;

}

/* The same of a whole map, which has to come out the same */
static size_t send_all(const Map *from, Map *to, size_t room)
{
    size_t size = send_chunks(from, to, 0, UINT64_MAX, room);

    assert_same(from, to);
    return size;
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
        g_autoptr(Map) from = drawn_map(shape, sizes[i]);

        for (j = 0; j < G_N_ELEMENTS(rooms); j++) {
            g_autoptr(Map) empty = map_new(sizes[i]);
            g_autoptr(Map) dirty = drawn_map(rnd(1) ? FULL : PER_CHUNK,
                                             sizes[i]);

            send_all(from, empty, rooms[j]);
            send_all(from, dirty, rooms[j]);
            if (j == 0) {
                map_check(empty);
            }
        }
    }

}

/* Many maps that differ from chunk to chunk, in buffers of random size */
static void test_random(void)
{
    unsigned int i, rounds = g_test_slow() ? 2000 : 60;

    for (i = 0; i < rounds; i++) {
        uint64_t pages = rnd(12 * CHUNK);
        g_autoptr(Map) from = drawn_map(PER_CHUNK, pages);
        g_autoptr(Map) to = drawn_map(PER_CHUNK, pages);

        send_all(from, to, MIN_ROOM + rnd(MAX_ROOM - MIN_ROOM));
    }

}

/* Have chunks [@chunk, @end) of @to be as those of @from. */
static void copy_chunks(Map *to, const Map *from, uint64_t chunk, uint64_t end)
{
    uint64_t stop = end < UINT64_MAX / CHUNK ? end * CHUNK : UINT64_MAX;
    uint64_t page;

    for (page = chunk * CHUNK; page < MIN(stop, to->pages); page++) {
        map_clear(to, page, 1);
        map_set(to, page, map_test(from, page));
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
        g_autoptr(Map) from = drawn_map(PER_CHUNK, pages);
        g_autoptr(Map) to = drawn_map(PER_CHUNK, pages);
        g_autoptr(Map) want = map_new(pages);

        copy_chunks(want, to, 0, UINT64_MAX);
        copy_chunks(want, from, chunk, end);
        send_chunks(from, to, chunk, end, rooms[rnd(7)]);
        map_check(to);
        assert_same(to, want);
    }

}

/* Ranges with gaps between them, in one buffer */
static void test_one_buffer(void)
{
    static const uint64_t ranges[][2] = { {1, 2}, {2, 4}, {7, 8}, {9, 99} };
    uint64_t pages = 11 * CHUNK + 77;
    g_autoptr(Map) from = drawn_map(PER_CHUNK, pages);
    g_autoptr(Map) to = drawn_map(EVERY_OTHER, pages);
    g_autoptr(Map) want = map_new(pages);
    g_autofree uint8_t *buf = g_malloc(MAX_ROOM);
    size_t size = 0;
    unsigned int i;
    PageRun t;

    copy_chunks(want, to, 0, UINT64_MAX);
    for (i = 0; i < G_N_ELEMENTS(ranges); i++) {
        uint64_t chunk = ranges[i][0];
        size_t at = size;

        size += encode_some(from, &chunk, ranges[i][1], buf + size,
                            MAX_ROOM - size);
        g_assert_cmpuint(chunk, ==, MIN(ranges[i][1], 12));
        /* Chunks are counted from the end of the segment before. */
        g_assert_cmpuint(buf[at], ==, ranges[i][0]);
        buf[at] -= i ? ranges[i - 1][1] : 0;
        copy_chunks(want, from, ranges[i][0], ranges[i][1]);
    }
    g_assert_cmpint(decode(to, buf, size, &t), ==, BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, CHUNK);
    g_assert_cmpuint(t.end, ==, pages);
    assert_same(to, want);

}

/* Without room, or without a chunk to write, nothing is written. */
static void test_nothing(void)
{
    g_autoptr(Map) b = drawn_map(FULL, 2 * CHUNK);
    g_autoptr(Map) none = map_new(0);
    uint64_t chunk = 0;
    uint8_t buf[MIN_ROOM];
    PageRun t;

    g_assert_cmpuint(encode_some(b, &chunk, 2, buf, 0), ==, 0);
    g_assert_cmpuint(encode_some(b, &chunk, 2, buf, MIN_ROOM - 1), ==, 0);
    g_assert_cmpuint(encode_some(b, &chunk, 0, buf, MIN_ROOM), ==, 0);
    g_assert_cmpuint(encode_some(none, &chunk, 1, buf, MIN_ROOM), ==, 0);
    g_assert_cmpuint(chunk, ==, 0);
    chunk = 2;
    g_assert_cmpuint(encode_some(b, &chunk, 9, buf, MIN_ROOM), ==, 0);
    g_assert_cmpuint(chunk, ==, 2);
    g_assert_cmpint(balloon_codec_decode(b->bits, b->pages, &b->count, NULL, 0,
                                         &t), ==, BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, t.end);
    g_assert_cmpuint(b->count, ==, 2 * CHUNK);

}

/* That nothing is set is said as by who has looked at each page. */
static void test_none(void)
{
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint8_t buf[MIN_ROOM], want[MIN_ROOM];
        uint64_t chunk = 0;
        size_t size;
        g_autoptr(Map) none = map_new(sizes[i]);

        if (sizes[i]) {
            size = encode_some(none, &chunk, UINT64_MAX, want, MIN_ROOM);
            g_assert_cmpmem(buf, balloon_codec_encode_none(sizes[i], buf),
                            want, size);
        }
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
    g_autoptr(Map) from = map_new(pages);
    g_autoptr(Map) to = map_new(pages);
    unsigned int i;
    size_t size;

    for (i = 0; i < 26; i++) {
        map_set(from, i * (pages / 26) + 1 + rnd(2000), 75000);
    }
    size = send_all(from, to, MAX_ROOM);
    g_test_message("26 runs: %zu bytes", size);
    g_assert_cmpuint(size, <, 2048);

}

/* The bitmap itself, plus 1 %, is the most that any pattern takes. */
static void test_size_worst(const void *data)
{
    int shape = GPOINTER_TO_INT(data);
    uint64_t pages = 64 * CHUNK;
    g_autoptr(Map) from = drawn_map(shape, pages);
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(rooms); i++) {
        g_autoptr(Map) to = map_new(pages);
        size_t size = send_all(from, to, rooms[i]);

        g_test_message("%s, room %zu: bitmap + %.2f %%", shape_names[shape],
                       rooms[i], size * 100.0 / (pages / 8) - 100);
        g_assert_cmpuint(size, <=, pages / 8 + pages / 800);
    }

}

/* Maps of a guest of 1 TiB */
static void test_size_large(void)
{
    uint64_t pages = UINT64_C(1) << 28;
    g_autoptr(Map) from = map_new(pages);
    g_autoptr(Map) to = map_new(pages);

    g_assert_cmpuint(send_all(from, to, MIN_ROOM), <=, 8);

    /* Few pages, far from each other */
    map_set(from, 0, 1);
    map_set(from, 12345678, 87654321);
    map_set(from, pages - 3 * CHUNK - 5, 9);
    map_set(from, pages - 1, 1);
    g_assert_cmpuint(send_all(from, to, MIN_ROOM), <=, 40);

    map_set(from, 0, pages);
    g_assert_cmpuint(send_all(from, to, MIN_ROOM), <=, 16);

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
        g_autoptr(Map) from = map_new(pages);
        g_autoptr(Map) to = map_new(pages);

        set_every(from, at[i], pages, CHUNK, 1);
        send_all(from, to, MIN_ROOM);
        send_all(from, to, MIN_ROOM + 1000 + i);
    }

}

/* Around the point where raw bits take less than runs */
static void test_raw_or_runs(void)
{
    uint64_t pages = 3 * CHUNK;
    uint64_t runs, full, edge = BALLOON_CHUNK_PAGES / 16;
    g_autofree uint8_t *buf = g_malloc(MAX_ROOM);

    /* Each run takes two bytes. */
    for (runs = edge - 20; runs < edge + 4; runs++) {
        for (full = 0; full < 3; full++) {
            g_autoptr(Map) from = map_new(pages);
            g_autoptr(Map) to = drawn_map(EVERY_OTHER_PAIR, pages);
            uint64_t chunk = full, i;
            size_t size, room;

            for (i = 0; i < 3; i++) {
                if (full == 0 || full == i + 1) {
                    set_every(from, i * CHUNK + 3, i * CHUNK + 3 + runs * 8,
                              8, 5);
                }
            }
            for (room = MIN_ROOM; room < 3 * MIN_ROOM; room += 997) {
                send_all(from, to, room);
            }
            chunk = full ? full - 1 : 0;
            size = encode_some(from, &chunk, chunk + 1, buf, MAX_ROOM);
            /* Header, then bits; or header, number of runs, runs */
            g_assert_cmpuint(size, ==, 3 + (runs > edge ? CHUNK / 8
                                                        : 2 + 2 * runs));
        }
    }

}

/* A run that goes on in the next chunk counts only as far as it is written. */
static void test_raw_or_runs_cut(void)
{
    uint64_t runs = CHUNK / 16;
    g_autoptr(Map) b = map_new(2 * CHUNK);
    g_autofree uint8_t *buf = g_malloc(MAX_ROOM);
    uint64_t chunk = 0;

    /* The last of as many two-byte runs as are not yet better sent raw */
    set_every(b, 11, CHUNK, 16, 5);
    map_set(b, CHUNK, CHUNK);
    g_assert_cmpuint(encode_some(b, &chunk, 1, buf, MAX_ROOM), ==,
                     5 + 2 * runs);
    g_assert_cmpuint(chunk, ==, 1);

}

/* Cut short, it is an error, or all the segments before the cut. */
static void test_truncated(const void *data)
{
    int shape = GPOINTER_TO_INT(data);
    uint64_t pages = 3 * CHUNK + 1 + rnd(CHUNK - 2);
    g_autoptr(Map) from = drawn_map(shape, pages);
    g_autofree uint8_t *buf = g_malloc(MAX_ROOM);
    uint64_t chunk = 0;
    size_t size = encode_some(from, &chunk, UINT64_MAX, buf, MAX_ROOM);
    size_t cut;

    g_assert_cmpuint(chunk, ==, 4);
    for (cut = 0; cut < size; cut += 1 + (cut > 60 && cut < size - 60) *
                                         rnd(30)) {
        g_autoptr(Map) to = map_new(pages);
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
                g_assert_true(map_test(to, chunk) == map_test(from, chunk));
            }
        }
    }

}

/* Bytes changed at random: whatever comes of it, the totals are right. */
static void test_corrupted(void)
{
    unsigned int i, j, rounds = g_test_slow() ? 20000 : 1000;
    g_autofree uint8_t *buf = g_malloc(MAX_ROOM);

    for (i = 0; i < rounds; i++) {
        uint64_t pages = 1 + rnd(i % 50 ? 1000 : 3 * CHUNK);
        g_autoptr(Map) from = drawn_map(rnd(N_SHAPES - 1), pages);
        g_autoptr(Map) to = drawn_map(rnd(N_SHAPES - 1), pages);
        uint64_t chunk = 0;
        size_t size = encode_some(from, &chunk, UINT64_MAX, buf, MAX_ROOM);
        PageRun t;

        for (j = rnd(2) + 1; j > 0; j--) {
            buf[rnd(MIN(size, 40) - 1)] = rnd(3) ? rnd(255) : rnd(1) * 255;
        }
        decode(to, buf, size, &t);
        map_check(to);
    }

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
    g_autoptr(Map) from = map_new(e->pages);
    g_autoptr(Map) to = map_new(e->pages);
    g_autoptr(Map) want = map_new(e->pages);
    uint64_t start = MIN(e->chunk * CHUNK, e->pages);
    uint64_t end = MIN(e->end * CHUNK, e->pages);
    uint64_t chunk = e->chunk;
    uint8_t buf[2 * MIN_ROOM];
    PageRun t;
    unsigned int i;
    size_t size;

    /* Into a full map, of which what is not named stays */
    map_set(to, 0, e->pages);
    map_set(want, 0, e->pages);
    map_clear(want, start, end - start);
    for (i = 0; i < G_N_ELEMENTS(e->runs); i++) {
        const PageRun *run = &e->runs[i];

        map_set(from, run->start, run->end - run->start);
        map_set(want, run->start, run->end - run->start);
    }
    size = encode_some(from, &chunk, e->end, buf, sizeof(buf));
    g_assert_cmpmem(buf, size, e->bytes.data, e->bytes.size);
    g_assert_cmpint(decode(to, e->bytes.data, e->bytes.size, &t), ==,
                    BALLOON_CODEC_OK);
    g_assert_cmpuint(t.start, ==, start);
    g_assert_cmpuint(t.end, ==, end);
    assert_same(to, want);

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

#define BAD(error, name, pages, bytes, ...) \
    { name, BALLOON_CODEC_##error, pages, BYTES(bytes), __VA_ARGS__ }

static const Bad bad[] = {
    BAD(TRUNCATED, "skip", 100, "\x80"),
    BAD(TRUNCATED, "skip-9-bytes", 100, N7F),
    BAD(TRUNCATED, "count-missing", 100, "\0"),
    BAD(TRUNCATED, "count", 100, "\0\x81"),
    BAD(TRUNCATED, "kind-missing", 100, "\0\1"),
    BAD(TRUNCATED, "nruns-missing", 100, "\0\1\0"),
    BAD(TRUNCATED, "nruns", 100, "\0\1\0\x81"),
    BAD(TRUNCATED, "gap-missing", 100, "\0\1\0\1"),
    BAD(TRUNCATED, "gap", 100, "\0\1\0\1\x81"),
    BAD(TRUNCATED, "length-missing", 100, "\0\1\0\1\0"),
    BAD(TRUNCATED, "length", 100, "\0\1\0\1\0\x81"),
    BAD(TRUNCATED, "second-run", 100, "\0\1\0\2\0\1"),
    BAD(TRUNCATED, "runs-max", 100, "\0\1\0" NFF "\1\0\1\1\1"),
    BAD(TRUNCATED, "raw-missing", 100, "\0\1\1"),
    BAD(TRUNCATED, "raw-one-byte", 16, "\0\1\1\1"),
    BAD(TRUNCATED, "raw-of-9-pages", 9, "\0\1\1\1"),
    BAD(TRUNCATED, "trailing", CHUNK + 1, "\0\1\0\0\0", CHUNK),

    BAD(NUMBER, "skip-65-bits", 100, N7F "\2\1\0\0"),
    BAD(NUMBER, "skip-endless", 100, N7F N7F "\0"),
    BAD(NUMBER, "skip-11-bytes", 100, N7F "\x80\0\1\0\0"),
    BAD(NUMBER, "skip-11-bytes-1", 100, N7F "\x81\0\1\0\0"),
    BAD(NUMBER, "count-65-bits", 100, "\0" NFF "\3\0\0"),
    BAD(NUMBER, "nruns-65-bits", 100, "\0\1\0" NFF "\x7f"),
    BAD(NUMBER, "gap-65-bits", 100, "\0\1\0\1" N7F "\2\1"),
    BAD(NUMBER, "length-65-bits", 100, "\0\1\0\1\0" N7F "\2"),
    BAD(NUMBER, "trailing", 100, "\0\1\0\0" NFF NFF, 100),

    BAD(KIND, "2", 100, "\0\1\2\0"),
    BAD(KIND, "255", 100, "\0\1\xff\0"),
    BAD(KIND, "trailing", 3 * CHUNK, "\1\1\0\0\0\1\2", CHUNK),

    BAD(EMPTY, "no-chunk", 100, "\0\0\0\0"),
    BAD(EMPTY, "no-chunk-raw", 100, "\0\0\1"),
    BAD(EMPTY, "no-page", 100, "\0\1\0\1\5\0"),
    BAD(EMPTY, "no-page-second", 100, "\0\1\0\2\5\1\1\0"),
    BAD(EMPTY, "trailing-zeroes", 100, "\0\1\0\1\0\x64\0\0\0", 100),

    BAD(ORDER, "touching", 100, "\0\1\0\2\1\1\0\1"),
    BAD(ORDER, "touching-third", 100, "\0\1\0\3\0\1\1\1\0\1"),

    BAD(RANGE, "no-chunks", 0, "\0\1\0\0"),
    BAD(RANGE, "skip", 100, "\1\1\0\0"),
    BAD(RANGE, "skip-2", 100, "\2\1\0\0"),
    BAD(RANGE, "skip-max", 100, NFF "\1\1\0\0"),
    BAD(RANGE, "count", 100, "\0\2\0\0"),
    BAD(RANGE, "count-after-skip", 3 * CHUNK, "\1\3\0\0"),
    BAD(RANGE, "count-max", 3 * CHUNK, "\1" NFF "\1\0\0"),
    BAD(RANGE, "wraps-2-to-49", 3 * CHUNK,
        "\0\x80\x80\x80\x80\x80\x80\x80\1\0\0"),
    BAD(RANGE, "second-segment", 2 * CHUNK, "\0\2\0\0\0\1\0\0", 2 * CHUNK),
    BAD(RANGE, "second-segment-skip", 2 * CHUNK, "\0\1\0\0\1\1\0\0", CHUNK),
    BAD(RANGE, "raw-two-chunks", 2 * CHUNK, "\0\2\1\0\0\0\0"),
    BAD(RANGE, "raw-spare-bit", 12, "\0\1\1\0\x10"),
    BAD(RANGE, "raw-last-spare-bit", 15, "\0\1\1\0\x80"),
    BAD(RANGE, "gap", 100, "\0\1\0\1\x64\1"),
    BAD(RANGE, "gap-more", 100, "\0\1\0\1\x65\1"),
    BAD(RANGE, "gap-max", 100, "\0\1\0\1" NFF "\1\2"),
    BAD(RANGE, "length", 100, "\0\1\0\1\0\x65"),
    BAD(RANGE, "length-after-gap", 100, "\0\1\0\1\x32\x33"),
    BAD(RANGE, "length-max", 100, "\0\1\0\1\1" NFF "\1"),
    BAD(RANGE, "second-run", 100, "\0\1\0\2\0\x32\1\x32"),
    BAD(RANGE, "other-chunk", 2 * CHUNK, "\0\1\0\1\0\x81\x80\2"),
};

static void test_bad(const void *data)
{
    const Bad *e = data;
    int full;

    for (full = 0; full < 2; full++) {
        g_autoptr(Map) b = drawn_map(full ? FULL : EVERY_OTHER, e->pages);
        PageRun t;

        g_assert_cmpint(decode(b, e->bytes.data, e->bytes.size, &t), ==,
                        e->err);
        g_assert_cmpuint(t.end - t.start, ==, e->touched);
        map_check(b);
    }

}

static const char *const error_names[] = {
    "ok", "truncated", "number", "kind", "empty", "order", "range",
};

static void add(const char *group, const char *name, const void *data,
                void (*test)(const void *data))
{
    g_autofree char *path = g_strdup_printf("/balloon-codec/%s/%s", group,
                                            name);

    g_test_add_data_func(path, data, test);

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
