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
    const char *name;           /* what it is called */
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

/*
 * Where things are in a picture, in the units of the SVG, the same in the
 * PNG. Narrow, with the legend below, so that letters can still be read when
 * it is made to fit a phone.
 */
enum {
    FIGURE_WIDTH = 512,
    FIGURE_MARGIN = 16,
    FIGURE_MAP_WIDTH = FIGURE_WIDTH - 2 * FIGURE_MARGIN,
    FIGURE_MAP_TOP = 44,
    FIGURE_TITLE_BASE = 28,     /* base line of the title */
    FIGURE_TITLE_SIZE = 17,
    FIGURE_TEXT_SIZE = 15,
    FIGURE_NOTE_SIZE = 13,
    FIGURE_KEY_HEIGHT = 24,
    FIGURE_SWATCH = 15,
    FIGURE_AMOUNT_RIGHT = 400,  /* right end of the amounts */
    FIGURE_SHARE_RIGHT = FIGURE_WIDTH - FIGURE_MARGIN,
    FIGURE_NOTE_HEIGHT = 18,
    FIGURE_NOTE_CHARS = 60,     /* in a line */
};

/* The places of what is below the picture. */
typedef struct MemoryGeometry {
    double cell;                /* side of a cell */
    double map_height;
    double keys;                /* top of the legend */
    double notes;               /* top of the notes */
    double height;              /* of it all */
} MemoryGeometry;

/**
 * memory_geometry: place the parts of a figure.
 * @figure: the figure
 */
MemoryGeometry memory_geometry(const MemoryFigure *figure);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryFigure, memory_figure_free)

#endif /* SKIP_BALLOON_MAP_FIGURE_H */
