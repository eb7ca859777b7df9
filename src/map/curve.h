/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_CURVE_H
#define SKIP_BALLOON_MAP_CURVE_H

#include <glib.h>
#include <stdbool.h>

/* How the cells of a picture follow each other. */
typedef enum MemoryLayout {
    MEMORY_ROWS,                /* from left to right, row by row */
    MEMORY_HILBERT,             /* along a Hilbert curve */
} MemoryLayout;

/* A place in a picture, in cells from its upper left corner. */
typedef struct MemoryPoint {
    unsigned x;
    unsigned y;
} MemoryPoint;

/**
 * memory_layout_parse: the layout of a name.
 * @word: "rows" or "hilbert"
 * @layout: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is no such layout
 *
 * Returns: whether there is one.
 */
bool memory_layout_parse(const char *word, MemoryLayout *layout,
                         GError **error);

/**
 * memory_curve: the places in a rectangle, in the order of its cells.
 * @layout: which way to go
 * @columns: the width of the rectangle, at least 1
 * @rows: its height, at least 1
 *
 * With MEMORY_HILBERT what is near in memory is near in the picture; if
 * @columns and @rows are even, each place is beside the one before it.
 *
 * Returns: @columns * @rows places, each once; the caller frees them.
 */
MemoryPoint *memory_curve(MemoryLayout layout, unsigned columns,
                          unsigned rows);

#endif /* SKIP_BALLOON_MAP_CURVE_H */
