/*
 * The section of a migration that skips pages: its format, and the source
 *
 * All numbers are big-endian.
 *
 *   be32  version, SKIP_SECTION_VERSION
 *   be32  flags, see below
 *   be32  size of a balloon page in bytes, 4096
 *   then any number of records, each of which begins with
 *     u8  its kind
 *   u8    SKIP_SECTION_LAST
 *
 * A record of a RAM block goes on with
 *
 *     u8    length of the name of the RAM block, at least 1
 *     ...   name
 *     be64  size of the RAM block (its maximum, if it can be resized) in pages:
 *           those of the balloon for SKIP_SECTION_MAP, of the target for others
 *
 * and, if it names pages, with
 *
 *     be32  bytes that follow, at most 65536
 *     ...   segments as described in migration/skip/balloon-codec.c
 *
 * There may be several records of a kind for the same RAM block.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_SECTION_H
#define MIGRATION_SKIP_SECTION_H

#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "balloon-codec.h"

#define SKIP_SECTION_NAME "skip"
#define SKIP_SECTION_VERSION 2

/* The first part, before any page: the map is empty */
#define SKIP_FLAG_START 1
/* The last part, with the guest stopped */
#define SKIP_FLAG_END 2
/* In the first part: the source has a balloon, whose map comes, too */
#define SKIP_FLAG_MAP 4
#define SKIP_FLAGS (SKIP_FLAG_START | SKIP_FLAG_END | SKIP_FLAG_MAP)

typedef enum SkipSectionRecord {
    SKIP_SECTION_LAST,
    /* Names pages: which ones of some chunks are in the balloon map */
    SKIP_SECTION_MAP,
    /* Names pages: these are zero, and are not sent unless that changes */
    SKIP_SECTION_WORD,
    /* Of a RAM block, in the first part: all of it is sent, or is zero */
    SKIP_SECTION_EMPTY,
    /* With multifd: the channels are synchronized here */
    SKIP_SECTION_SYNC,
} SkipSectionRecord;

/*
 * Chunks that are encoded, and decoded, in one go: 16 GiB of memory.  Both
 * sides hold the BQL for as long as that takes.
 */
#define SKIP_SECTION_CHUNKS 128
#define SKIP_SECTION_PAGES (SKIP_SECTION_CHUNKS * BALLOON_CHUNK_PAGES)

/**
 * skip_section_page_bits: log2 of the size of a page in records of a kind
 */
static inline int skip_section_page_bits(SkipSectionRecord type)
{
    return type == SKIP_SECTION_MAP ? BALLOON_MAP_PAGE_SHIFT
                                    : qemu_target_page_bits();
}

/**
 * skip_section_pages: The size of @rb as a record of a kind has it
 */
static inline uint64_t skip_section_pages(const RAMBlock *rb,
                                          SkipSectionRecord type)
{
    return rb->max_length >> skip_section_page_bits(type);
}

#endif
