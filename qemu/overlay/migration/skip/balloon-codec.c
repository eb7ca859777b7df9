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

static uint64_t chunk_start(uint64_t chunk, uint64_t npages)
{
    return MIN(chunk * BALLOON_CHUNK_PAGES, npages);
}

/* Returns the bytes that a number takes; writes it, unless @buf is NULL. */
static size_t put_number(uint8_t *buf, uint64_t value)
{
    size_t n = 0;

    do {
        uint8_t byte = value & 0x7f;

        value >>= 7;
        if (buf) {
            buf[n] = byte | (value ? 0x80 : 0);
        }
        n++;
    } while (value);
    return n;
}

/*
 * Returns the bytes that the runs of [@start, @end) take, or more than @limit;
 * writes them, unless @buf is NULL.  @nruns is set to how many they are.
 */
static size_t put_runs(const unsigned long *bits, uint64_t start,
                       uint64_t end, uint8_t *buf, size_t limit,
                       uint64_t *nruns)
{
    uint64_t at = start;
    PageRun run;
    size_t n = 0;

    *nruns = 0;
    while (n <= limit && page_run_next(bits, at, end, &run)) {
        n += put_number(buf ? buf + n : NULL, run.start - at);
        n += put_number(buf ? buf + n : NULL, run.end - run.start);
        at = run.end;
        ++*nruns;
    }
    return n;
}

/* Bytes of the bits of [@start, @end) */
static size_t raw_size(uint64_t start, uint64_t end)
{
    return DIV_ROUND_UP(end - start, 8);
}

static size_t put_raw(const unsigned long *bits, uint64_t start, uint64_t end,
                      uint8_t *buf)
{
    DECLARE_BITMAP(raw, BALLOON_CHUNK_PAGES);
    size_t size = raw_size(start, end);

    bitmap_to_le(raw, bits + BIT_WORD(start), end - start);
    memcpy(buf, raw, size);
    if ((end - start) % 8) {
        buf[size - 1] &= (1 << (end - start) % 8) - 1;
    }
    return size;
}

/*
 * How many chunks from @chunk on, up to @end, are best written as runs of
 * one segment: as many as fit into @room and do not call for raw bits.
 */
static uint64_t count_run_chunks(const unsigned long *bits, uint64_t npages,
                                 uint64_t chunk, uint64_t end, size_t room)
{
    uint64_t first = chunk;
    size_t size = 0;

    while (chunk < end) {
        uint64_t start = chunk_start(chunk, npages);
        uint64_t stop = chunk_start(chunk + 1, npages);
        size_t raw = raw_size(start, stop);
        size_t runs;
        PageRun run;
        uint64_t nruns;

        /* Over what is all alike, go in one step. */
        if (!page_run_next(bits, start, chunk_start(end, npages), &run)) {
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
        runs = put_runs(bits, start, stop, NULL, raw, &nruns);
        size += runs + NUMBER_MAX;
        if (size > room || runs > raw) {
            break;
        }
        chunk++;
    }
    return chunk - first;
}

size_t balloon_codec_encode(const unsigned long *bits, uint64_t npages,
                            uint64_t *chunk, uint64_t end, uint8_t *buf,
                            size_t size)
{
    const size_t header = 3 * NUMBER_MAX + 1;
    uint64_t after = 0;
    size_t n = 0;

    end = MIN(end, balloon_codec_chunks(npages));
    while (*chunk < end && size - n >= BALLOON_CODEC_MIN_ROOM) {
        uint64_t start = chunk_start(*chunk, npages);
        uint64_t count = count_run_chunks(bits, npages, *chunk, end,
                                          size - n - header);
        uint64_t nruns;

        n += put_number(buf + n, *chunk - after);
        n += put_number(buf + n, MAX(count, 1));
        if (count) {
            uint64_t stop = chunk_start(*chunk + count, npages);

            put_runs(bits, start, stop, NULL, SIZE_MAX, &nruns);
            buf[n++] = KIND_RUNS;
            n += put_number(buf + n, nruns);
            n += put_runs(bits, start, stop, buf + n, SIZE_MAX, &nruns);
        } else {
            count = 1;
            buf[n++] = KIND_RAW;
            n += put_raw(bits, start, chunk_start(*chunk + 1, npages), buf + n);
        }
        *chunk += count;
        after = *chunk;
    }
    return n;
}

size_t balloon_codec_encode_none(uint64_t npages, uint8_t *buf)
{
    size_t n = put_number(buf, 0);

    n += put_number(buf + n, balloon_codec_chunks(npages));
    buf[n++] = KIND_RUNS;
    n += put_number(buf + n, 0);
    return n;
}

typedef struct Reader {
    const uint8_t *buf;
    size_t size;
    size_t at;
    unsigned long *bits;
    /* How many pages have been set */
    uint64_t set;
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

static BalloonCodecError get_runs(Reader *r, uint64_t start, uint64_t end)
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
        bitmap_set(r->bits, start + gap, length);
        r->set += length;
        start += gap + length;
    }
    return err;
}

static BalloonCodecError get_raw(Reader *r, uint64_t start, uint64_t end)
{
    DECLARE_BITMAP(raw, BALLOON_CHUNK_PAGES) = { 0 };
    size_t size = raw_size(start, end);
    const uint8_t *bytes = r->buf + r->at;

    if (r->size - r->at < size) {
        return BALLOON_CODEC_TRUNCATED;
    }
    if ((end - start) % 8 && bytes[size - 1] >> (end - start) % 8) {
        return BALLOON_CODEC_RANGE;
    }
    r->at += size;
    memcpy(raw, bytes, size);
    bitmap_from_le(r->bits + BIT_WORD(start), raw, end - start);
    r->set += bitmap_count_one(r->bits + BIT_WORD(start), end - start);
    return BALLOON_CODEC_OK;
}

BalloonCodecError balloon_codec_decode(unsigned long *bits, uint64_t npages,
                                       uint64_t *count, const uint8_t *buf,
                                       size_t size, PageRun *range)
{
    Reader r = { .buf = buf, .size = size, .bits = bits };
    uint64_t chunks = balloon_codec_chunks(npages);
    uint64_t chunk = 0;
    BalloonCodecError err = BALLOON_CODEC_OK;

    *range = (PageRun) { 0 };
    while (!err && r.at < size) {
        uint64_t skip = 0, n = 0, start, end;
        uint8_t kind;

        err = get_number(&r, &skip);
        err = err ?: get_number(&r, &n);
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
        if (n == 0) {
            return BALLOON_CODEC_EMPTY;
        }
        if (skip > chunks - chunk || n > chunks - chunk - skip ||
            (kind == KIND_RAW && n != 1)) {
            return BALLOON_CODEC_RANGE;
        }
        chunk += skip;
        start = chunk_start(chunk, npages);
        chunk += n;
        end = chunk_start(chunk, npages);

        r.set = 0;
        *count -= page_run_clear(bits, start, end);
        err = kind == KIND_RUNS ? get_runs(&r, start, end)
                                : get_raw(&r, start, end);
        *count += r.set;
        if (!err) {
            range->start = range->end ? range->start : start;
            range->end = end;
        }
    }
    return err;
}

const char *balloon_codec_error(BalloonCodecError error)
{
    static const char *const words[] = {
        [BALLOON_CODEC_OK] = "no error",
        [BALLOON_CODEC_TRUNCATED] = "it is cut short",
        [BALLOON_CODEC_NUMBER] = "a number in it is too large",
        [BALLOON_CODEC_KIND] = "it has a segment of an unknown kind",
        [BALLOON_CODEC_EMPTY] = "it has an empty segment or run",
        [BALLOON_CODEC_ORDER] = "its runs or segments are not in order",
        [BALLOON_CODEC_RANGE] = "it names pages beyond the end",
    };

    return (size_t)error < ARRAY_SIZE(words) ? words[error] : "unknown error";
}
