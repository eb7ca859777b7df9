/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_MAP_H
#define SKIP_BALLOON_MAP_MAP_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "map/state.h"

/* More than that no picture can show, and no answer may make us allocate. */
#define MEMORY_MAP_MAX_CELLS (1 << 20)

/* A RAM block, cut into cells. */
typedef struct MemoryBlock {
    char *id;                   /* what QEMU calls it; printable UTF-8 */
    uint64_t size;              /* in bytes */
    uint64_t host_page_size;    /* in bytes; 0: not told */
    bool has_both;              /* the next is told; not by earlier QEMUs */
    uint64_t both;              /* pages in the balloon and unpopulated */
    uint64_t zeroes;            /* pages populated with zeroes, about */
    unsigned n_cells;           /* the last one may be smaller */
    MemoryCounts *cells;
    bool has_unpopulated;       /* false: the host cannot tell */
    bool has_ballooned;         /* false: it has no balloon map */
    bool has_record;            /* false: nothing of it was recorded */
} MemoryBlock;

/* What query-migration-map answered. */
typedef struct MemoryMap {
    uint64_t page_size;         /* in bytes; all counts are of such pages */
    uint64_t cell_size;         /* in bytes */
    bool recorded;              /* a migration that may skip was recorded */
    bool has_inhibited;         /* the next is told; not by earlier QEMUs */
    bool discard_inhibited;     /* what the guest gives back is not let go of */
    bool pagemap_denied;        /* nobody tells what is populated */
    uint64_t size;              /* of all blocks, in bytes */
    uint64_t largest;           /* of them, in bytes */
    GPtrArray *blocks;          /* of MemoryBlock *, at least one */
} MemoryMap;

/**
 * memory_map_parse: read an answer to query-migration-map.
 * @answer: the value that QEMU returned, or that was stored; not changed
 * @error: set to SB_ERROR_QMP, with the member at fault, if it is not as the
 *         documentation of the command says
 *
 * Members that are not known are ignored, such as those by which earlier
 * versions told how pages were sent, and so is what a migration skipped if the
 * answer says that none was recorded. A block that was not recorded, since it
 * was plugged later, has no such member.
 *
 * Returns: the map, NULL on failure; free it with memory_map_free().
 */
MemoryMap *memory_map_parse(JsonNode *answer, GError **error);

/**
 * memory_map_free: free a map.
 * @map: the map, or NULL
 */
void memory_map_free(MemoryMap *map);

/**
 * memory_map_shows: whether a picture shows a block. Those smaller than 1/256
 * of the largest, as the firmware is, would be hardly a cell: they are only
 * named below it.
 * @map: the map
 * @block: one of its blocks
 */
bool memory_map_shows(const MemoryMap *map, const MemoryBlock *block);

/**
 * memory_map_totals: how much is in each state, of the blocks that a picture
 * shows.
 * @map: the map
 * @bytes: where to put the sizes, in bytes, by state
 *
 * Returns: the sum of them, in bytes.
 */
uint64_t memory_map_totals(const MemoryMap *map,
                           uint64_t bytes[MEMORY_STATES]);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryMap, memory_map_free)

#endif /* SKIP_BALLOON_MAP_MAP_H */
