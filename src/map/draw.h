/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_DRAW_H
#define SKIP_BALLOON_MAP_DRAW_H

#include "base/terminal.h"
#include "map/curve.h"
#include "map/map.h"

/**
 * memory_map_svg: draw a map as an <svg> element.
 * @map: the map
 * @layout: how cells follow each other
 * @title: the title, also the accessible name; NULL for one of ours
 * @standalone: whether it is to be a file of its own, with a background,
 *              rather than a part of an HTML page
 *
 * It is never wider than what it stands in; colours of text follow
 * prefers-color-scheme. Its classes begin with "sbmap", and it has no ids, so
 * that a page can hold several.
 *
 * Returns: the text; the caller frees it.
 */
char *memory_map_svg(const MemoryMap *map, MemoryLayout layout,
                     const char *title, bool standalone);

/**
 * memory_map_png: draw a map as a PNG file, on white.
 * @map: the map
 * @layout: how cells follow each other
 * @title: the title; NULL for one of ours
 * @error: set to SB_ERROR_RESOURCE if Cairo cannot do it
 *
 * Returns: the content of the file, NULL on failure; the caller frees it.
 */
GBytes *memory_map_png(const MemoryMap *map, MemoryLayout layout,
                       const char *title, GError **error);

/**
 * memory_map_columns: how many cells a terminal has room for in a line.
 * @layout: how cells follow each other
 * @terminal: the terminal
 */
unsigned memory_map_columns(MemoryLayout layout,
                            const Terminal *terminal);

/**
 * memory_map_text: draw a map for a terminal.
 * @map: the map
 * @layout: how cells follow each other
 * @title: the title; NULL for one of ours
 * @terminal: the terminal
 *
 * Returns: lines of text; the caller frees them.
 */
char *memory_map_text(const MemoryMap *map, MemoryLayout layout,
                      const char *title, const Terminal *terminal);

#endif /* SKIP_BALLOON_MAP_DRAW_H */
