/*
 * Counters of pages by cells: equal shares of memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cells.h"

/* Pages of any memory are fewer than 2 to the power of this. */
#define SHIFT_MAX 52

uint64_t skip_cells_count(uint64_t pages, unsigned shift)
{
    return (pages >> shift) + !!(pages & ((UINT64_C(1) << shift) - 1));
}

unsigned skip_cells_shift(const uint64_t *pages, size_t n, uint64_t cells)
{
    unsigned shift;

    for (shift = 0; shift < SHIFT_MAX; shift++) {
        uint64_t all = 0;
        size_t i;

        for (i = 0; i < n; i++) {
            all += skip_cells_count(pages[i], shift);
        }
        if (all <= MAX(cells, n)) {
            break;
        }
    }
    return shift;
}

void skip_cells_add(uint32_t *cells, unsigned shift, uint64_t start,
                    uint64_t end)
{
    while (start < end) {
        uint64_t cell = start >> shift;
        uint64_t next = MIN((cell + 1) << shift, end);

        cells[cell] += MIN(next - start, UINT32_MAX - cells[cell]);
        start = next;
    }
}

uint64_t skip_cells_sum(const uint32_t *cells, uint64_t n, unsigned shift,
                        uint64_t cell, unsigned larger)
{
    uint64_t first = cell << (larger - shift);
    uint64_t end = MIN((cell + 1) << (larger - shift), n);
    uint64_t most = UINT64_C(1) << shift;
    uint64_t sum = 0;
    uint64_t i;

    for (i = first; i < end; i++) {
        sum += MIN(cells[i], most);
    }
    return sum;
}
