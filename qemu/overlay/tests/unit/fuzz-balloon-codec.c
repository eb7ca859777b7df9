/*
 * Fuzz target: the decoder of the balloon map, fed by a hostile stream
 *
 * The input starts with five bytes that say what the buffer is decoded into
 * and how the result is encoded again; the rest is the buffer.
 *
 *   bytes 0..2   a number, low byte first: how many pages, see pages_of()
 *   byte 3       bits 0..2 what is set before; all of it the scale of pages
 *   byte 4       how much room the encoder gets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-codec-map.h"
#include "fuzz-balloon-codec.h"

#define HEADER 5
/* Values that mutations do not favour */
#define MEDIUM (0xd0 >> 3)
#define LARGE 0xdb
#define PAGES_MAX (UINT64_C(1) << 22)

/*
 * Mostly small: a pass over the largest bitmap takes longer than all the
 * rest, and what is special about it is little.
 */
static uint64_t pages_of(const uint8_t *data)
{
    uint64_t value = data[0] | data[1] << 8 | data[2] << 16;

    if (data[3] == LARGE && data[4] == LARGE) {
        return value % (PAGES_MAX + 1);
    }
    if (data[3] >> 3 == MEDIUM) {
        return value % (3 * BALLOON_CHUNK_PAGES + 1);
    }
    return value % 1025;
}

static Map *map_of(const uint8_t *data)
{
    uint64_t pages = pages_of(data);
    Map *b = map_new(pages);
    uint64_t i, step;

    switch (data[3] & 7) {
    case 0:
        break;
    case 1:
        map_set(b, 0, pages);
        break;
    case 2:
        for (i = 0; i < MIN(pages, 200); i += 2) {
            map_set(b, i, 1);
        }
        break;
    default:
        /* Runs of many lengths, none of which fits words or chunks */
        step = 1 + pages / (1 << (data[3] & 7));
        for (i = 0; i < pages; i += step) {
            map_set(b, i + step / 3, 1 + step / 2);
        }
        break;
    }
    return b;
}

/* Unlike bitmap_equal() it can do with no pages. */
static bool is_equal(const unsigned long *a, const unsigned long *b,
                     uint64_t pages)
{
    return !pages || bitmap_equal(a, b, pages);
}

/*
 * @a and @b, of which each page was set in just one, have read the same.  Each
 * chunk was replaced in both, or is as it was: then each page is set in @before
 * as it is in @a.  What was replaced by good segments is in @range.
 */
static void check_replaced(const Map *a, const Map *b,
                           const unsigned long *before, const PageRun *range,
                           bool good)
{
    PageRun replaced = { 0 };
    uint64_t start, end;

    for (start = 0; start < a->pages; start = end) {
        const unsigned long *in_a = a->bits + BIT_WORD(start);
        const unsigned long *in_b = b->bits + BIT_WORD(start);

        end = MIN(start + BALLOON_CHUNK_PAGES, a->pages);
        if (bitmap_equal(in_a, in_b, end - start)) {
            replaced.start = replaced.end ? replaced.start : start;
            replaced.end = end;
        } else {
            g_autofree unsigned long *not_b = bitmap_new(end - start);

            bitmap_complement(not_b, in_b, end - start);
            g_assert_true(bitmap_equal(in_a, not_b, end - start));
            g_assert_true(bitmap_equal(in_a, before + BIT_WORD(start),
                                       end - start));
        }
    }
    g_assert_cmpuint(range->end, <=, replaced.end);
    if (range->end) {
        g_assert_cmpuint(range->start, ==, replaced.start);
    }
    if (good) {
        g_assert_cmpuint(range->end, ==, replaced.end);
    }
}

/* Encode all of @b, and decode it into a map where all is to replace. */
static void check_round_trip(const Map *b, size_t room)
{
    static uint8_t *largest;
    uint64_t end = balloon_codec_chunks(b->pages);
    g_autoptr(Map) copy = map_new(b->pages);
    uint64_t chunk = 0;
    PageRun range;
    uint8_t *buf;

    /* Kept, which is faster; it ends where ASan sees one byte more. */
    if (!largest) {
        largest = g_malloc(BALLOON_CODEC_MAX);
    }
    buf = largest + BALLOON_CODEC_MAX - room;
    map_set(copy, 0, b->pages);
    while (chunk < end) {
        uint64_t from = chunk;
        size_t size = balloon_codec_encode(b->bits, b->pages, &chunk, end, buf,
                                           room);

        g_assert_cmpuint(size, <=, room);
        g_assert_cmpuint(chunk, >, from);
        g_assert_cmpuint(chunk, <=, end);
        g_assert_cmpint(balloon_codec_decode(copy->bits, copy->pages,
                                             &copy->count, buf, size,
                                             &range), ==,
                        BALLOON_CODEC_OK);
        g_assert_cmpuint(range.start, ==, from * BALLOON_CHUNK_PAGES);
        g_assert_cmpuint(range.end, ==,
                         MIN(chunk * BALLOON_CHUNK_PAGES, b->pages));
    }
    g_assert_true(is_equal(copy->bits, b->bits, b->pages));
    g_assert_cmpuint(copy->count, ==, b->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree unsigned long *before = NULL;
    PageRun range, other_range;
    BalloonCodecError err;
    g_autoptr(Map) b = NULL;
    g_autoptr(Map) other = NULL;

    if (size < HEADER) {
        return 0;
    }
    b = map_of(data);
    before = g_memdup2(b->bits, BITS_TO_LONGS(b->pages) * sizeof(*before));
    other = map_new(b->pages);
    if (b->pages) {
        bitmap_complement(other->bits, b->bits, b->pages);
    }
    other->count = b->pages - b->count;

    err = balloon_codec_decode(b->bits, b->pages, &b->count, data + HEADER,
                               size - HEADER, &range);
    g_assert_nonnull(balloon_codec_error(err));
    g_assert_cmpint(balloon_codec_decode(other->bits, other->pages,
                                         &other->count, data + HEADER,
                                         size - HEADER, &other_range), ==,
                    err);
    g_assert_cmpmem(&range, sizeof(range), &other_range, sizeof(other_range));
    map_check(b);
    map_check(other);
    check_replaced(b, other, before, &range, !err);
    if (!err) {
        check_round_trip(b, MIN(BALLOON_CODEC_MIN_ROOM + data[4] * 241,
                                BALLOON_CODEC_MAX));
    }
    return 0;
}
