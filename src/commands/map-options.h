/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_MAP_OPTIONS_H
#define SKIP_BALLOON_COMMANDS_MAP_OPTIONS_H

#include "map/draw.h"

/* Where a map goes. */
typedef enum MapFormat {
    MAP_TEXT,                   /* to standard output, with characters */
    MAP_JSON,                   /* the answer of QEMU, to standard output */
    MAP_SVG,
    MAP_PNG,
} MapFormat;

/* What the user asked map to do. */
typedef struct MapOptions {
    char *socket;
    char *output;               /* a file, NULL for standard output */
    MapFormat format;
    MemoryLayout layout;
    Terminal terminal;          /* for MAP_TEXT */
    int cells;
    int timeout_secs;
} MapOptions;

/**
 * map_options_parse: read the command line.
 * @argc: number of words in @argv
 * @argv: the command and its arguments; the vector itself may be changed
 * @error: set if there is anything wrong with it
 *
 * Returns: the options, NULL on failure; free them with map_options_free().
 * --help prints a text and ends the program.
 */
MapOptions *map_options_parse(int argc, char **argv, GError **error);

/**
 * map_options_free: free options.
 * @options: the options, or NULL
 */
void map_options_free(MapOptions *options);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MapOptions, map_options_free)

#endif /* SKIP_BALLOON_COMMANDS_MAP_OPTIONS_H */
