/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_FIGURE_H
#define SKIP_BALLOON_MAP_FIGURE_H

#include "map/curve.h"
#include "map/map.h"

/* A place in the picture without a cell. */
#define MEMORY_NO_CELL MEMORY_STATES

/* A line of the legend. */
typedef struct MemoryKey {
    MemoryState state;
    char *amount;               /* such as "7.5 GiB" */
    char *share;                /* such as "93.7 %" */
} MemoryKey;

/* What a picture of a map shows, whatever it is drawn with. */
typedef struct MemoryFigure {
    char *title;
    unsigned columns;
    unsigned rows;
    uint8_t *cells;             /* MemoryState or MEMORY_NO_CELL, by rows */
    unsigned n_keys;            /* states that do not occur have none */
    MemoryKey keys[MEMORY_STATES];
    char **notes;               /* lines below the legend */
} MemoryFigure;

/**
 * memory_figure_new: lay a map out.
 * @map: the map
 * @layout: how cells follow each other
 * @columns: cells in a row, even for MEMORY_HILBERT; 0 for as many as fit
 *           best: from as many as there are rows to twice as many
 * @title: the title, which is not broken into lines; NULL for one of ours
 * @line_length: how many characters a line of the notes has at most
 *
 * Blocks follow each other without a gap, in the order of the answer.
 *
 * Returns: the figure; free it with memory_figure_free().
 */
MemoryFigure *memory_figure_new(const MemoryMap *map, MemoryLayout layout,
                                unsigned columns, const char *title,
                                unsigned line_length);

/**
 * memory_figure_free: free a figure.
 * @figure: the figure, or NULL
 */
void memory_figure_free(MemoryFigure *figure);

/**
 * memory_figure_cell: what is at a place.
 * @figure: the figure
 * @x: the column
 * @y: the row; places below the last row have no cell
 */
unsigned memory_figure_cell(const MemoryFigure *figure, unsigned x,
                            unsigned y);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryFigure, memory_figure_free)

#endif /* SKIP_BALLOON_MAP_FIGURE_H */
