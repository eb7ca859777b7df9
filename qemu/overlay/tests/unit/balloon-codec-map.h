/*
 * A bitmap of pages as the tests of the balloon codec use it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_BALLOON_CODEC_MAP_H
#define TESTS_UNIT_BALLOON_CODEC_MAP_H

#include "migration/skip/balloon-codec.h"

typedef struct Map {
    /* Exactly as long as needed, so that ASan sees one word more */
    unsigned long *bits;
    uint64_t pages;
    /* How many are set, as the codec keeps it */
    uint64_t count;
} Map;

static inline Map *map_new(uint64_t pages)
{
    Map *map = g_new0(Map, 1);

    map->bits = bitmap_new(MAX(pages, 1));
    map->pages = pages;
    return map;
}

static inline void map_free(Map *map)
{
    g_free(map->bits);
    g_free(map);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Map, map_free)

static inline bool map_test(const Map *map, uint64_t page)
{
    return page < map->pages && test_bit(page, map->bits);
}

/* What lies beyond the end is ignored. */
static inline void map_clear(Map *map, uint64_t start, uint64_t npages)
{
    uint64_t end = start + MIN(npages, map->pages - MIN(start, map->pages));

    for (; start < end; start++) {
        map->count -= map_test(map, start);
        clear_bit(start, map->bits);
    }
}

static inline void map_set(Map *map, uint64_t start, uint64_t npages)
{
    uint64_t end = start + MIN(npages, map->pages - MIN(start, map->pages));

    if (start < end) {
        map->count += end - start - page_run_count(map->bits, start, end);
        bitmap_set(map->bits, start, end - start);
    }
}

static inline bool map_next_run(const Map *map, uint64_t from, PageRun *run)
{
    return page_run_next(map->bits, from, map->pages, run);
}

/* What the codec keeps has to be what the bits are. */
static inline void map_check(const Map *map)
{
    g_assert_cmpuint(map->count, ==, bitmap_count_one(map->bits, map->pages));
    /* Nothing is set behind the end. */
    g_assert_cmpuint(find_next_bit(map->bits,
                                   ROUND_UP(map->pages, BITS_PER_LONG),
                                   map->pages), ==,
                     ROUND_UP(map->pages, BITS_PER_LONG));
}

#endif
