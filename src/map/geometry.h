/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_GEOMETRY_H
#define SKIP_BALLOON_MAP_GEOMETRY_H

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

struct MemoryFigure;

/**
 * memory_geometry: place the parts of a figure.
 * @figure: the figure
 */
MemoryGeometry memory_geometry(const struct MemoryFigure *figure);

#endif /* SKIP_BALLOON_MAP_GEOMETRY_H */
