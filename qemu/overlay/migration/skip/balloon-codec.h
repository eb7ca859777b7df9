/*
 * Balloon codec: the part of a balloon bitmap that travels to another host
 *
 * Pure logic: no I/O, no locking.  The format is described in
 * migration/skip/balloon-codec.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_BALLOON_CODEC_H
#define MIGRATION_BALLOON_CODEC_H

#include "page-run.h"

/* Pages of a chunk, the unit in which changes are noted and bits sent raw */
#define BALLOON_CHUNK_SHIFT 15
#define BALLOON_CHUNK_PAGES (UINT64_C(1) << BALLOON_CHUNK_SHIFT)

/* Upper limit of what an encoder writes, and a decoder reads, at once */
#define BALLOON_CODEC_MAX 65536

typedef enum BalloonCodecError {
    BALLOON_CODEC_OK,
    BALLOON_CODEC_TRUNCATED,    /* ends within a number or a bitmap */
    BALLOON_CODEC_NUMBER,       /* a number of more than 64 bits */
    BALLOON_CODEC_KIND,         /* an unknown kind of segment */
    BALLOON_CODEC_EMPTY,        /* a segment of no chunk, or run of no page */
    BALLOON_CODEC_ORDER,        /* runs that touch each other */
    BALLOON_CODEC_RANGE,        /* beyond the end of its segment or the block */
} BalloonCodecError;

/**
 * balloon_codec_chunks: How many chunks a bitmap of @pages pages has
 */
uint64_t balloon_codec_chunks(uint64_t pages);

/**
 * balloon_codec_encode: Write a part of a bitmap
 * @bits: the bitmap
 * @npages: how many pages it has
 * @chunk: first chunk to write; moved on to the first one not written
 * @end: chunk to stop at
 * @buf: where to write
 * @size: bytes of it; BALLOON_CODEC_MIN_ROOM suffice for at least one chunk
 *
 * Returns: bytes written; call again, with another buffer, as long as *@chunk
 * is below @end
 */
size_t balloon_codec_encode(const unsigned long *bits, uint64_t npages,
                            uint64_t *chunk, uint64_t end, uint8_t *buf,
                            size_t size);

/* Bytes that a chunk takes at most, about */
#define BALLOON_CODEC_CHUNK_MAX (BALLOON_CHUNK_PAGES / 8)
#define BALLOON_CODEC_MIN_ROOM (BALLOON_CODEC_CHUNK_MAX + 32)

/**
 * balloon_codec_encode_none: Write that no page of a bitmap is set
 * @npages: how many pages it has, at least 1
 * @buf: where to write, BALLOON_CODEC_MIN_ROOM bytes
 *
 * Returns: bytes written
 */
size_t balloon_codec_encode_none(uint64_t npages, uint8_t *buf);

/**
 * balloon_codec_decode: Read what balloon_codec_encode() wrote to one buffer
 * @bits: the bitmap to change; what is not mentioned stays as it is
 * @npages: how many pages it has
 * @count: how many of them are set, which is kept up to date
 * @buf: the buffer
 * @size: its bytes
 * @range: set to the pages it is about, from the start of the first segment to
 *         the end of the last one
 *
 * One pass over the buffer, without allocating anything.  After an error the
 * bitmap may have been changed in part, but never beyond its end, and @range is
 * that of the segments before the bad one.
 *
 * Returns: BALLOON_CODEC_OK, or what is wrong
 */
BalloonCodecError balloon_codec_decode(unsigned long *bits, uint64_t npages,
                                       uint64_t *count, const uint8_t *buf,
                                       size_t size, PageRun *range);

/**
 * balloon_codec_error: What @error means, in words
 */
const char *balloon_codec_error(BalloonCodecError error);

#endif
