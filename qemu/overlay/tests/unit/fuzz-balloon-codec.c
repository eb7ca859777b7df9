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

typedef struct Touched {
    const Map *map;
    unsigned long *want;
    uint64_t at;
} Touched;

/* Unlike bitmap_equal() it can do with no pages. */
static bool is_equal(const unsigned long *a, const unsigned long *b,
                     uint64_t pages)
{
    return !pages || bitmap_equal(a, b, pages);
}

/* Take over what was replaced; then all the rest has to be as before. */
static void on_touched(uint64_t start, uint64_t npages, void *opaque)
{
    Touched *t = opaque;
    uint64_t pages = t->map->pages;

    g_assert_cmpuint(start % BALLOON_CHUNK_PAGES, ==, 0);
    g_assert_cmpuint(start, >=, t->at);
    g_assert_cmpuint(start, <, pages);
    g_assert_cmpuint(npages, >, 0);
    g_assert_cmpuint(npages, <=, pages - start);
    t->at = start + npages;
    g_assert_true(t->at % BALLOON_CHUNK_PAGES == 0 || t->at == pages);
    bitmap_copy(t->want + BIT_WORD(start), t->map->bits + BIT_WORD(start),
                npages);
}

/* Encode all of @b, and decode it into a map where all is to replace. */
static void check_round_trip(const Map *b, size_t room)
{
    static uint8_t *largest;
    uint64_t end = balloon_codec_chunks(b->pages);
    Map *copy = map_new(b->pages);
    uint64_t chunk = 0;
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
                                             &copy->count, buf, size, NULL,
                                             NULL), ==, BALLOON_CODEC_OK);
    }
    g_assert_true(is_equal(copy->bits, b->bits, b->pages));
    g_assert_cmpuint(copy->count, ==, b->count);
    map_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree unsigned long *want = NULL;
    Touched touched = { 0 };
    BalloonCodecError err;
    Map *b;

    if (size < HEADER) {
        return 0;
    }
    b = map_of(data);
    want = g_memdup2(b->bits, BITS_TO_LONGS(b->pages) * sizeof(*want));
    touched.map = b;
    touched.want = want;

    err = balloon_codec_decode(b->bits, b->pages, &b->count, data + HEADER,
                               size - HEADER, on_touched, &touched);
    g_assert_nonnull(balloon_codec_error(err));
    map_check(b);
    /* Of what comes before a bad segment, all is known. */
    g_assert_true(is_equal(b->bits, want, err ? touched.at : b->pages));
    if (!err) {
        check_round_trip(b, MIN(BALLOON_CODEC_MIN_ROOM + data[4] * 241,
                                BALLOON_CODEC_MAX));
    }
    map_free(b);
    return 0;
}
