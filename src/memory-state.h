/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MEMORY_STATE_H
#define SKIP_BALLOON_MEMORY_STATE_H

#include <stdint.h>

/*
 * What became of a page. Each page counts for one state. The first three say
 * how it is now, the next three what the last migration did with it.
 */
typedef enum MemoryState {
    MEMORY_SKIPPED,             /* in the balloon, and skipped */
    MEMORY_BALLOONED,           /* in the balloon, not skipped */
    MEMORY_UNPOPULATED,         /* not in the balloon, no memory behind it */
    MEMORY_ZERO,                /* told to be zero */
    MEMORY_SENT,                /* sent with its content, in the first pass */
    MEMORY_SENT_AGAIN,          /* in a later pass */
    MEMORY_IN_USE,              /* populated, and nothing recorded */
    MEMORY_STATES
} MemoryState;

/* The pages of a cell, as QEMU counts them: a page may count several times. */
typedef struct MemoryCounts {
    uint64_t pages;             /* of the cell; none of the others exceeds it */
    uint64_t ballooned;
    uint64_t unpopulated;
    uint64_t skipped;
    uint64_t zero;
    uint64_t sent;
    uint64_t sent_again;
} MemoryCounts;

/**
 * memory_state_deal: tell the pages of a cell apart by state.
 * @counts: the counts of the cell
 * @pages: where to put the number of pages in each state; their sum is
 *         @counts->pages
 *
 * How far counts overlap is not known, so that they are taken to overlap as
 * far as they can, in favour of what is usual: what is in the balloon is
 * unpopulated, what was skipped is in the balloon or at least unpopulated,
 * and what was sent again was sent before. With the letters B(allooned),
 * U(npopulated), K (skipped), Z(ero), S(ent) and A (sent again), and gone =
 * max(B, U) for the pages that are in the balloon or unpopulated, these are
 *
 *   skipped       min(B, K)
 *   ballooned     B - min(B, K)
 *   unpopulated   gone - B
 *
 * and the rest of the cell is dealt out in this order, to each as much as is
 * left at most:
 *
 *   sent again    A
 *   sent          S - min(S, A)
 *   zero          Z, less the pages that are gone but were not skipped, since
 *                 it is them that zero-page records were sent for
 *   skipped       K - min(K, gone): the guest has used them since
 *   in use        what remains
 *
 * QEMU counts a page that is sent again each time, if not beyond the size of
 * the cell, so that few pages written to often look like more of them.
 */
void memory_state_deal(const MemoryCounts *counts,
                       uint64_t pages[MEMORY_STATES]);

/**
 * memory_state_of: the state that a cell is drawn in, which is the one that
 * most of its pages have; of equal ones the first in the order of MemoryState.
 * @counts: the counts of the cell
 */
MemoryState memory_state_of(const MemoryCounts *counts);

/**
 * memory_state_name: what a state is called in a legend.
 * @state: the state
 */
const char *memory_state_name(MemoryState state);

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

#endif /* SKIP_BALLOON_MEMORY_STATE_H */
