/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_STATE_H
#define SKIP_BALLOON_MAP_STATE_H

#include <stdbool.h>
#include <stdint.h>

/* What became of a page. Each page counts for one state. */
typedef enum MemoryState {
    MEMORY_SKIPPED,             /* in the balloon, and skipped */
    MEMORY_BALLOONED,           /* in the balloon, not skipped */
    MEMORY_UNPOPULATED,         /* not in the balloon, no memory behind it */
    MEMORY_SENT,                /* populated, and not skipped */
    MEMORY_IN_USE,              /* populated, and nothing recorded */
    MEMORY_STATES
} MemoryState;

/* The pages of a cell, as QEMU counts them: a page may count several times. */
typedef struct MemoryCounts {
    uint64_t pages;             /* of the cell; none of the others exceeds it */
    uint64_t ballooned;
    uint64_t unpopulated;
    uint64_t skipped;
} MemoryCounts;

/**
 * memory_state_deal: tell the pages of a cell apart by state.
 * @counts: the counts of the cell
 * @recorded: a migration was recorded, of which @counts->skipped tells
 * @pages: where to put the number of pages in each state; their sum is
 *         @counts->pages
 *
 * How far counts overlap is not known, so that they are taken to overlap as
 * far as they can, in favour of what is usual: what is in the balloon is
 * unpopulated, and what was skipped is in the balloon or at least
 * unpopulated. With the letters B(allooned), U(npopulated) and K (skipped),
 * and gone = max(B, U) for the pages that are in the balloon or unpopulated,
 * these are
 *
 *   skipped       min(B, K), and K - min(K, gone) if there are so many left:
 *                 the guest has used them since
 *   ballooned     B - min(B, K)
 *   unpopulated   gone - B
 *   sent          the rest, if @recorded; else it is in use
 */
void memory_state_deal(const MemoryCounts *counts, bool recorded,
                       uint64_t pages[MEMORY_STATES]);

/**
 * memory_state_of: the state that a cell is drawn in, which is the one that
 * most of its pages have; of equal ones the first in the order of MemoryState.
 * @counts: the counts of the cell
 * @recorded: as of memory_state_deal()
 */
MemoryState memory_state_of(const MemoryCounts *counts, bool recorded);

/**
 * memory_state_name: what a state is called in a legend.
 * @state: the state
 * @recorded: whether it is known what a migration skipped
 */
const char *memory_state_name(MemoryState state, bool recorded);

/**
 * memory_state_rgb: the colour of a state, 0xRRGGBB.
 * @state: the state
 *
 * Any two of them differ by 30 at least (CIE 1976), also for those who cannot
 * see red, green or blue; the contrast is at least 1.8 to white, 3 to black.
 */
uint32_t memory_state_rgb(MemoryState state);

/**
 * memory_state_ansi: the colour nearest to it of the 256 that terminals have.
 * @state: the state
 */
unsigned memory_state_ansi(MemoryState state);

/**
 * memory_state_char: the character that stands for it where there are no
 * colours.
 * @state: the state
 */
char memory_state_char(MemoryState state);

#endif /* SKIP_BALLOON_MAP_STATE_H */
