/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_BUILD_NAME_H
#define SKIP_BALLOON_REPORT_BUILD_NAME_H

#include <glib.h>
#include <stdbool.h>

#define BUILD_UNMODIFIED "unmodified"
#define BUILD_NEVER "never-ballooned"

/* Colours of the charts: one for each build, and one for those unknown. */
#define BUILD_COLOURS 7

/**
 * build_title: what a build of the results is called.
 * @build: as in the results
 *
 * Returns: the title; @build itself if it is none that we know.
 */
const char *build_title(const char *build);

/**
 * build_colour: which colour of the charts a build has.
 * @build: as in the results
 *
 * Returns: less than BUILD_COLOURS.
 */
unsigned build_colour(const char *build);

/**
 * build_is_ours: whether that is unmodified QEMU's competitor.
 * @build: as in the results
 */
bool build_is_ours(const char *build);

/**
 * builds_sort: into the order in which they are shown; unknown ones last.
 * @builds: an array of strings
 */
void builds_sort(GPtrArray *builds);

/**
 * builds_pick_ours: the one to speak for us: both capabilities if measured,
 * else skip-balloon, else skip-unpopulated.
 * @builds: an array of strings
 *
 * Returns: one of them, NULL if none is ours.
 */
const char *builds_pick_ours(const GPtrArray *builds);

#endif /* SKIP_BALLOON_REPORT_BUILD_NAME_H */
