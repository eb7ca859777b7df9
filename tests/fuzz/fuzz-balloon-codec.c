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
#include "migration/skip/balloon-codec.h"
#include "fuzz.h"

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

static BalloonBitmap *bitmap_of(const uint8_t *data)
{
    uint64_t pages = pages_of(data);
    BalloonBitmap *b = balloon_bitmap_new(pages);
    uint64_t i, step;

    switch (data[3] & 7) {
    case 0:
        break;
    case 1:
        balloon_bitmap_set(b, 0, pages);
        break;
    case 2:
        for (i = 0; i < MIN(pages, 200); i += 2) {
            balloon_bitmap_set(b, i, 1);
        }
        break;
    default:
        /* Runs of many lengths, none of which fits words or chunks */
        step = 1 + pages / (1 << (data[3] & 7));
        for (i = 0; i < pages; i += step) {
            balloon_bitmap_set(b, i + step / 3, 1 + step / 2);
        }
        break;
    }
    return b;
}

static uint8_t *raw_of(const BalloonBitmap *b)
{
    uint64_t pages = balloon_bitmap_size(b);
    /* Exactly as long as needed, so that ASan sees one byte more */
    uint8_t *raw = g_malloc(MAX((pages + 7) / 8, 1));

    if (pages) {
        balloon_bitmap_get_raw(b, 0, pages, raw);
    }
    return raw;
}

/* Count and runs again, from the bits alone. */
static void check_totals(const BalloonBitmap *b, const uint8_t *raw)
{
    uint64_t pages = balloon_bitmap_size(b);
    uint64_t count = 0, runs = 0, before = 0, i, word;
    BalloonRun run;

    for (i = 0; i < (pages + 7) / 8; i += 8) {
        word = 0;
        memcpy(&word, raw + i, MIN((pages + 7) / 8 - i, 8));
        word = GUINT64_FROM_LE(word);
        count += __builtin_popcountll(word);
        runs += __builtin_popcountll(word & ~(word << 1 | before));
        before = word >> 63;
    }
    g_assert_cmpuint(balloon_bitmap_count(b), ==, count);
    g_assert_cmpuint(balloon_bitmap_runs(b), ==, runs);
    g_assert_true(pages % 8 == 0 || raw[pages / 8] >> pages % 8 == 0);
    g_assert_false(balloon_bitmap_test(b, pages));
    g_assert_false(balloon_bitmap_next_run(b, pages, &run));
}

typedef struct Touched {
    const BalloonBitmap *bitmap;
    uint8_t *want;
    uint64_t at;
} Touched;

/* Take over what was replaced; then all the rest has to be as before. */
static void on_touched(uint64_t start, uint64_t npages, void *opaque)
{
    Touched *t = opaque;
    uint64_t pages = balloon_bitmap_size(t->bitmap);

    g_assert_cmpuint(start % BALLOON_CHUNK_PAGES, ==, 0);
    g_assert_cmpuint(start, >=, t->at);
    g_assert_cmpuint(start, <, pages);
    g_assert_cmpuint(npages, >, 0);
    g_assert_cmpuint(npages, <=, pages - start);
    t->at = start + npages;
    g_assert_true(t->at % BALLOON_CHUNK_PAGES == 0 || t->at == pages);
    balloon_bitmap_get_raw(t->bitmap, start, npages, t->want + start / 8);
}

/* Encode all of @b, and decode it into a bitmap where all is to replace. */
static void check_round_trip(const BalloonBitmap *b, const uint8_t *raw,
                             size_t room)
{
    static uint8_t *largest;
    uint64_t pages = balloon_bitmap_size(b);
    uint64_t end = balloon_codec_chunks(pages);
    BalloonBitmap *copy = balloon_bitmap_new(pages);
    uint64_t chunk = 0;
    uint8_t *buf, *again;

    /* Kept, which is faster; it ends where ASan sees one byte more. */
    if (!largest) {
        largest = g_malloc(BALLOON_CODEC_MAX);
    }
    buf = largest + BALLOON_CODEC_MAX - room;
    balloon_bitmap_set(copy, 0, pages);
    while (chunk < end) {
        uint64_t from = chunk, after = 0;
        size_t size = balloon_codec_encode(b, &chunk, end, &after, buf, room);

        g_assert_cmpuint(size, <=, room);
        g_assert_cmpuint(chunk, >, from);
        g_assert_cmpuint(chunk, <=, end);
        g_assert_cmpuint(after, ==, chunk);
        g_assert_cmpint(balloon_codec_decode(copy, buf, size, NULL, NULL), ==,
                        BALLOON_CODEC_OK);
    }
    again = raw_of(copy);
    g_assert_cmpmem(again, (pages + 7) / 8, raw, (pages + 7) / 8);
    g_assert_cmpuint(balloon_bitmap_count(copy), ==, balloon_bitmap_count(b));
    g_assert_cmpuint(balloon_bitmap_runs(copy), ==, balloon_bitmap_runs(b));
    balloon_bitmap_free(copy);
    g_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Touched touched = { 0 };
    BalloonCodecError err;
    BalloonBitmap *b;
    uint8_t *got;
    size_t same;

    if (size < HEADER) {
        return 0;
    }
    b = bitmap_of(data);
    touched.bitmap = b;
    touched.want = raw_of(b);

    err = balloon_codec_decode(b, data + HEADER, size - HEADER, on_touched,
                               &touched);
    g_assert_nonnull(balloon_codec_error(err));
    got = raw_of(b);
    check_totals(b, got);
    if (err) {
        /* Of what comes before the bad segment, all is known. */
        same = (touched.at + 7) / 8;
    } else {
        same = (balloon_bitmap_size(b) + 7) / 8;
        check_round_trip(b, got,
                         MIN(BALLOON_CODEC_MIN_ROOM + data[4] * 241,
                             BALLOON_CODEC_MAX));
    }
    g_assert_cmpmem(got, same, touched.want, same);

    balloon_bitmap_free(b);
    g_free(touched.want);
    g_free(got);
    return 0;
}
