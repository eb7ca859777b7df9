/*
 * Balloon codec: the part of a balloon bitmap that travels to another host
 *
 * A buffer holds segments, in ascending order.  Each says of a range of
 * chunks (a chunk is 32768 pages, 128 MiB) which of their pages are set:
 *
 *   number   chunks between the end of the previous segment, or chunk 0, and
 *            the start of this one
 *   number   chunks of this segment, at least 1
 *   byte     kind: 0 runs, 1 raw
 *
 * and then, for runs,
 *
 *   number   how many runs follow
 *   for each run:
 *     number   clear pages before it, counted from the end of the previous
 *              run or the start of the segment; 0 only for the first run
 *     number   set pages, at least 1
 *
 * or, for raw, which has one chunk,
 *
 *   bytes    a bit for each page of the chunk, the lowest bit of the first
 *            byte first; of a last chunk cut short by the end of the block,
 *            only as many bytes as it needs, the spare bits being 0
 *
 * A number is unsigned, seven bits a byte, low ones first, the top bit of a
 * byte telling that another one follows (LEB128).
 *
 * A chunk is written raw if its runs would take more bytes, so that no pattern
 * costs more than the bitmap and a few bytes a chunk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-codec.h"

enum {
    KIND_RUNS = 0,
    KIND_RAW = 1,
};

/* Bytes of the longest number */
#define NUMBER_MAX 10

uint64_t balloon_codec_chunks(uint64_t pages)
{
    return pages / BALLOON_CHUNK_PAGES + (pages % BALLOON_CHUNK_PAGES != 0);
}

static uint64_t chunk_start(const BalloonBitmap *bitmap, uint64_t chunk)
{
    return MIN(chunk * BALLOON_CHUNK_PAGES, balloon_bitmap_size(bitmap));
}

static size_t number_size(uint64_t value)
{
    size_t n = 1;

    while (value >>= 7) {
        n++;
    }
    return n;
}

static size_t put_number(uint8_t *buf, uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        buf[n++] = (uint8_t)value | 0x80;
        value >>= 7;
    }
    buf[n++] = value;
    return n;
}

/* What the runs of [@start, @end) would take, and how many they are */
static size_t runs_size(const BalloonBitmap *bitmap, uint64_t start,
                        uint64_t end, size_t limit, uint64_t *nruns)
{
    uint64_t at = start;
    BalloonRun run;
    size_t size = 0;

    *nruns = 0;
    while (size <= limit &&
           balloon_bitmap_next_run_before(bitmap, at, end, &run)) {
        size += number_size(run.start - at) + number_size(run.end - run.start);
        at = run.end;
        ++*nruns;
    }
    return size;
}

static size_t put_runs(const BalloonBitmap *bitmap, uint64_t start,
                       uint64_t end, uint8_t *buf)
{
    uint64_t at = start;
    BalloonRun run;
    size_t n = 0;

    while (balloon_bitmap_next_run_before(bitmap, at, end, &run)) {
        n += put_number(buf + n, run.start - at);
        n += put_number(buf + n, run.end - run.start);
        at = run.end;
    }
    return n;
}

static size_t raw_size(const BalloonBitmap *bitmap, uint64_t chunk)
{
    return (chunk_start(bitmap, chunk + 1) -
            chunk_start(bitmap, chunk) + 7) / 8;
}

/*
 * How many chunks from @chunk on, up to @end, are best written as runs of
 * one segment: as many as fit into @room and do not call for raw bits.
 */
static uint64_t count_run_chunks(const BalloonBitmap *bitmap, uint64_t chunk,
                                 uint64_t end, size_t room)
{
    uint64_t first = chunk;
    size_t size = 0;

    while (chunk < end) {
        uint64_t start = chunk_start(bitmap, chunk);
        size_t raw = raw_size(bitmap, chunk);
        size_t runs;
        BalloonRun run;
        uint64_t nruns;

        /* Over what is all alike, go in one step. */
        if (!balloon_bitmap_next_run_before(bitmap, start,
                                            chunk_start(bitmap, end), &run)) {
            return end - first;
        }
        if (run.start == start) {
            run.start = run.end;
        }
        if (run.start / BALLOON_CHUNK_PAGES > chunk) {
            size += 2 * NUMBER_MAX;
            if (size > room) {
                break;
            }
            chunk = MIN(run.start / BALLOON_CHUNK_PAGES, end);
            continue;
        }
        runs = runs_size(bitmap, start, chunk_start(bitmap, chunk + 1), raw,
                         &nruns);
        size += runs + NUMBER_MAX;
        if (size > room || runs > raw) {
            break;
        }
        chunk++;
    }
    return chunk - first;
}

size_t balloon_codec_encode(const BalloonBitmap *bitmap, uint64_t *chunk,
                            uint64_t end, uint64_t *after, uint8_t *buf,
                            size_t size)
{
    const size_t header = 3 * NUMBER_MAX + 1;
    size_t n = 0;

    end = MIN(end, balloon_codec_chunks(balloon_bitmap_size(bitmap)));
    while (*chunk < end && size - n >= BALLOON_CODEC_MIN_ROOM) {
        uint64_t start = chunk_start(bitmap, *chunk);
        uint64_t count = count_run_chunks(bitmap, *chunk, end,
                                          size - n - header);
        uint64_t nruns;

        n += put_number(buf + n, *chunk - *after);
        n += put_number(buf + n, MAX(count, 1));
        if (count) {
            uint64_t stop = chunk_start(bitmap, *chunk + count);

            runs_size(bitmap, start, stop, SIZE_MAX, &nruns);
            buf[n++] = KIND_RUNS;
            n += put_number(buf + n, nruns);
            n += put_runs(bitmap, start, stop, buf + n);
        } else {
            count = 1;
            buf[n++] = KIND_RAW;
            balloon_bitmap_get_raw(bitmap, start,
                                   chunk_start(bitmap, *chunk + 1) - start,
                                   buf + n);
            n += raw_size(bitmap, *chunk);
        }
        *chunk += count;
        *after = *chunk;
    }
    return n;
}

typedef struct Reader {
    const uint8_t *buf;
    size_t size;
    size_t at;
} Reader;

static BalloonCodecError get_number(Reader *r, uint64_t *value)
{
    unsigned int shift;

    *value = 0;
    for (shift = 0; shift < 64; shift += 7) {
        uint64_t byte;

        if (r->at == r->size) {
            return BALLOON_CODEC_TRUNCATED;
        }
        byte = r->buf[r->at++];
        if (shift == 63 && byte > 1) {
            return BALLOON_CODEC_NUMBER;
        }
        *value |= (byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return BALLOON_CODEC_OK;
        }
    }
    return BALLOON_CODEC_NUMBER;
}

static BalloonCodecError get_runs(Reader *r, BalloonBitmap *bitmap,
                                  uint64_t start, uint64_t end)
{
    BalloonCodecError err;
    uint64_t nruns, i;

    err = get_number(r, &nruns);
    for (i = 0; !err && i < nruns; i++) {
        uint64_t gap = 0, length = 0;

        err = get_number(r, &gap);
        err = err ?: get_number(r, &length);
        if (err) {
            break;
        }
        if (length == 0) {
            return BALLOON_CODEC_EMPTY;
        }
        if (gap == 0 && i > 0) {
            return BALLOON_CODEC_ORDER;
        }
        if (gap > end - start || length > end - start - gap) {
            return BALLOON_CODEC_RANGE;
        }
        balloon_bitmap_set(bitmap, start + gap, length);
        start += gap + length;
    }
    return err;
}

static BalloonCodecError get_raw(Reader *r, BalloonBitmap *bitmap,
                                 uint64_t start, uint64_t end)
{
    size_t size = (end - start + 7) / 8;
    const uint8_t *bits = r->buf + r->at;

    if (r->size - r->at < size) {
        return BALLOON_CODEC_TRUNCATED;
    }
    if ((end - start) % 8 && bits[size - 1] >> (end - start) % 8) {
        return BALLOON_CODEC_RANGE;
    }
    r->at += size;
    balloon_bitmap_set_raw(bitmap, start, end - start, bits);
    return BALLOON_CODEC_OK;
}

BalloonCodecError balloon_codec_decode(BalloonBitmap *bitmap,
                                       const uint8_t *buf, size_t size,
                                       void (*touched)(uint64_t start,
                                                       uint64_t npages,
                                                       void *opaque),
                                       void *opaque)
{
    Reader r = { .buf = buf, .size = size };
    uint64_t chunks = balloon_codec_chunks(balloon_bitmap_size(bitmap));
    uint64_t chunk = 0;
    BalloonCodecError err = BALLOON_CODEC_OK;

    while (!err && r.at < size) {
        uint64_t skip = 0, count = 0, start, end;
        uint8_t kind;

        err = get_number(&r, &skip);
        err = err ?: get_number(&r, &count);
        if (err) {
            break;
        }
        if (r.at == size) {
            return BALLOON_CODEC_TRUNCATED;
        }
        kind = buf[r.at++];
        if (kind > KIND_RAW) {
            return BALLOON_CODEC_KIND;
        }
        if (count == 0) {
            return BALLOON_CODEC_EMPTY;
        }
        if (skip > chunks - chunk || count > chunks - chunk - skip ||
            (kind == KIND_RAW && count != 1)) {
            return BALLOON_CODEC_RANGE;
        }
        chunk += skip;
        start = chunk_start(bitmap, chunk);
        chunk += count;
        end = chunk_start(bitmap, chunk);

        balloon_bitmap_clear(bitmap, start, end - start);
        err = kind == KIND_RUNS ? get_runs(&r, bitmap, start, end)
                                : get_raw(&r, bitmap, start, end);
        if (!err && touched) {
            touched(start, end - start, opaque);
        }
    }
    return err;
}

const char *balloon_codec_error(BalloonCodecError error)
{
    switch (error) {
    case BALLOON_CODEC_OK:
        return "no error";
    case BALLOON_CODEC_TRUNCATED:
        return "it is cut short";
    case BALLOON_CODEC_NUMBER:
        return "a number in it is too large";
    case BALLOON_CODEC_KIND:
        return "it has a segment of an unknown kind";
    case BALLOON_CODEC_EMPTY:
        return "it has an empty segment or run";
    case BALLOON_CODEC_ORDER:
        return "its runs or segments are not in order";
    case BALLOON_CODEC_RANGE:
        return "it names pages beyond the end";
    }
    return "unknown error";
}
