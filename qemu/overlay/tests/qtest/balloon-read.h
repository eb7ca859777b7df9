/*
 * What the parts of balloon-read-test share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_READ_H
#define TESTS_BALLOON_READ_H

#include "unpopulated-guest.h"

/* A way to read guest memory on the host */
typedef struct Reading {
    const char *name;
    const char *format;         /* of dump-guest-memory; NULL: pmemsave */
    bool virtual;               /* memsave, by virtual addresses */
    bool paging;                /* of dump-guest-memory */
    bool detach;
    uint64_t start;             /* addresses; with a size of 0, all memory */
    uint64_t size;
} Reading;

void add_output_tests(void);
void add_populated_tests(void);

/**
 * br_allow_huge_pages: May QEMUs that are started now have huge pages?
 *
 * Mostly not, since these have memory that nobody asked for, and that is
 * counted.
 */
void br_allow_huge_pages(bool allow);

/**
 * br_read: Have QEMU read guest memory, and wait until it has
 * @protocol: of dump-guest-memory, like file:PATH; for the others a path
 */
void br_read(BGuest *g, const Reading *reading, const char *protocol);

/**
 * br_dump_finish: Wait until a detached dump is complete
 */
void br_dump_finish(BGuest *g);

/**
 * br_map_file: The content of a file
 *
 * Returns: to be unreferenced by the caller
 */
GMappedFile *br_map_file(const char *path);

/**
 * br_assert_pattern: @data is what bg_fill() writes from @start on, or from
 * page to page what it writes or zeroes, where @zero says so
 */
void br_assert_pattern(const uint8_t *data, uint64_t start, uint64_t size,
                       uint8_t seed, bool (*zero)(uint64_t addr));

#endif
