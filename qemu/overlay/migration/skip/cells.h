/*
 * Counters of pages by cells: equal shares of memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_CELLS_H
#define MIGRATION_SKIP_CELLS_H

/**
 * skip_cells_shift: Choose how large cells are
 * @pages: the number of pages of each stretch of memory
 * @n: how many stretches
 * @cells: how many cells there may be of all of them; at least 1
 *
 * Each stretch has at least one cell, though, so that there may be more if
 * there are many stretches.
 *
 * Returns: the least s such that cells of 2^s pages are few enough
 */
unsigned skip_cells_shift(const uint64_t *pages, size_t n, uint64_t cells);

/**
 * skip_cells_count: How many cells a stretch has
 * @pages: its pages
 * @shift: of the cells
 */
uint64_t skip_cells_count(uint64_t pages, unsigned shift);

/**
 * skip_cells_add: Count pages
 * @cells: the counters; they stay at UINT32_MAX when they get there
 * @shift: of the cells
 * @start: first page
 * @end: page after the last one
 *
 * Takes time by the number of cells, not of pages.
 */
void skip_cells_add(uint32_t *cells, unsigned shift, uint64_t start,
                    uint64_t end);

/**
 * skip_cells_sum: What the counters say of larger cells
 * @cells: the counters
 * @n: how many there are
 * @shift: of them
 * @cell: which of the larger cells
 * @larger: shift of those, at least @shift
 *
 * Pages may have been counted over and over again.
 *
 * Returns: the sum, but no more than a larger cell has pages
 */
uint64_t skip_cells_sum(const uint32_t *cells, uint64_t n, unsigned shift,
                        uint64_t cell, unsigned larger);

#endif
