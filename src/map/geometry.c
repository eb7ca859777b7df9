/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/geometry.h"

#include "map/figure.h"

MemoryGeometry memory_geometry(const MemoryFigure *figure)
{
    MemoryGeometry geometry;

    geometry.cell = (double)FIGURE_MAP_WIDTH / figure->columns;
    geometry.map_height = geometry.cell * figure->rows;
    geometry.keys = FIGURE_MAP_TOP + geometry.map_height + FIGURE_MARGIN;
    geometry.notes = geometry.keys + figure->n_keys * FIGURE_KEY_HEIGHT +
                     FIGURE_MARGIN / 2;
    geometry.height = geometry.notes + FIGURE_MARGIN / 2 +
        g_strv_length(figure->notes) * FIGURE_NOTE_HEIGHT;
    return geometry;
}
