/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_ANSWER_H
#define SKIP_BALLOON_MAP_ANSWER_H

#include <json-glib/json-glib.h>

#include "map/map.h"

/**
 * map_answer_parse: read an answer that has to be right.
 * @json: the answer
 */
MemoryMap *map_answer_parse(const char *json);

/**
 * map_answer_plausible: an answer such as that of a guest of 8 GiB, 7.5 GiB
 * of it in the balloon in a few runs, after a migration.
 *
 * Returns: JSON; the caller frees it.
 */
char *map_answer_plausible(void);

/*
 * Blocks of 6 and 2 cells of 2 pages, the latter not recorded; there are all
 * states.
 */
#define MAP_ANSWER_STATES \
    "{\"page-size\": 4096, \"cell-size\": 8192, \"recorded\": true," \
    " \"blocks\": [{\"id\": \"ram0\", \"size\": 49152," \
    " \"ballooned\":   [2, 2, 0, 0, 0, 2]," \
    " \"unpopulated\": [2, 2, 2, 0, 0, 2]," \
    " \"skipped\":     [2, 0, 2, 0, 0, 2]}," \
    " {\"id\": \"ram1\", \"size\": 16384, \"unpopulated\": [0, 0]}]}"

#endif /* SKIP_BALLOON_MAP_ANSWER_H */
