/*
 * The RAM blocks of a QEMU, seen from outside: content, what of them is
 * populated, and what of them is in the balloon
 *
 * Unlike balloon-guest.h, which knows the main memory, this looks at all of
 * them, ROMs and ACPI tables included, whatever is behind them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_RAM_BLOCKS_H
#define TESTS_RAM_BLOCKS_H

#include "balloon-guest.h"

typedef struct RamBlock {
    char id[256];
    uint64_t hva;
    uint64_t size;              /* bytes that are in use */
    uint64_t page_size;         /* bytes */
    bool shared;                /* a shared mapping */
    bool of_file;               /* page cache to be asked, by @fd */
    int fd;                     /* -1 if there is none */
    uint64_t fd_offset;         /* bytes */
} RamBlock;

/**
 * rb_list: All RAM blocks of a QEMU
 *
 * Returns: an array of RamBlock, to be freed by rb_free()
 */
GArray *rb_list(BGuest *g);

/**
 * rb_free: Free what rb_list() returned
 */
void rb_free(GArray *blocks);

/**
 * rb_find: The RAM block named @id, which has to be there
 */
RamBlock *rb_find(GArray *blocks, const char *id);

/**
 * rb_exists: Is there a RAM block named @id?
 */
bool rb_exists(BGuest *g, const char *id);

/**
 * rb_populated: Which 4 KiB pages of a RAM block does the host back?
 *
 * Returns: an array with an element for each page, owned by the caller
 */
bool *rb_populated(BGuest *g, const RamBlock *block);

/**
 * rb_count_populated: How many 4 KiB pages of a range does the host back?
 * @start: offset in the RAM block, in bytes
 * @length: bytes
 */
uint64_t rb_count_populated(BGuest *g, const char *id, uint64_t start,
                            uint64_t length);

/**
 * rb_read: Read from a RAM block; may populate it
 */
void rb_read(BGuest *g, const RamBlock *block, uint64_t offset, void *buf,
             size_t size);

/**
 * rb_assert_same_memory: @a and @b have the same RAM blocks, of the same
 * sizes, with the same content
 * @unequal_id: a RAM block of which the range at @start need not be the same,
 *              or NULL
 *
 * What the host does not back is zero, and not read, for that might populate
 * it.
 */
void rb_assert_same_memory(BGuest *a, BGuest *b, const char *unequal_id,
                           uint64_t start, uint64_t length);

/**
 * rb_map: The balloon map, all RAM blocks of it
 *
 * Returns: "ID START+LENGTH\n" for each run, sorted; owned by the caller
 */
char *rb_map(BGuest *g);

/**
 * rb_assert_map_let_go: What is in the balloon map of RAM block @id and not
 * populated in @g, which has been migrated to @dest, is not populated there
 */
void rb_assert_map_let_go(BGuest *g, BGuest *dest, const char *id);

/**
 * rb_count_map_populated: Pages of RAM block @id in the balloon map that are
 * populated
 * @unit: bytes that count as populated if anything of them is
 */
uint64_t rb_count_map_populated(BGuest *g, const char *id, uint64_t unit);

/**
 * rb_map_pages: Pages of RAM block @id in the balloon map
 */
uint64_t rb_map_pages(BGuest *g, const char *id);

#endif
