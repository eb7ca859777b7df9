/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_CASE_RESULTS_H
#define SKIP_BALLOON_REPORT_CASE_RESULTS_H

#include <glib.h>
#include <stdbool.h>

#include "bench/results.h"

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

/* All migrations that are to be compared. Strings are those of the lines. */
typedef struct CaseResults {
    const char *name;
    const char *backend;        /* "" if the lines do not tell, as is mode */
    const char *mode;
    double memory;              /* of the guest, in bytes, or NAN */
    double left;                /* by the balloon, in bytes, or NAN */
    GPtrArray *lines;           /* of JsonObject */
    GPtrArray *builds;          /* of strings, in the order to show them */
} CaseResults;

/**
 * case_results_all: the cases of all `migration` lines, sorted by backend, mode
 * and sizes.
 * @results: the results; outlive what is returned
 *
 * Returns: a new array of CaseResults, which it owns; the caller unrefs it.
 */
GPtrArray *case_results_all(const Results *results);

/**
 * case_results_spread: where the values of a member lie, for a build.
 * @case_results: the case
 * @build: the build
 * @member: such as "total-ms"
 */
Spread case_results_spread(const CaseResults *case_results, const char *build,
                         const char *member);

/**
 * case_results_median: the median of the same; NAN if not measured.
 * @case_results: the case
 * @build: the build, or NULL for none
 * @member: such as "total-ms"
 */
double case_results_median(const CaseResults *case_results, const char *build,
                         const char *member);

/**
 * case_results_title: its sizes, such as "8 GiB, 512 MiB left".
 * @case_results: the case
 *
 * Returns: a new string; the caller frees it.
 */
char *case_results_title(const CaseResults *case_results);

/**
 * case_results_place: what it has in common with cases of other sizes, such as
 * "memfd, plain".
 * @case_results: the case
 *
 * Returns: a new string; the caller frees it.
 */
char *case_results_place(const CaseResults *case_results);

/**
 * case_results_pick: of those on a backend, the one with the largest balloon
 * for which unmodified QEMU and one of ours have a member; plain migration
 * before other modes.
 * @cases: of case_results_all()
 * @backend: the backend
 * @member: such as "samples"
 *
 * Returns: one of @cases, NULL if there is none.
 */
const CaseResults *case_results_pick(const GPtrArray *cases, const char *backend,
                                 const char *member);

#endif /* SKIP_BALLOON_REPORT_CASE_RESULTS_H */
