/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_RESULTS_H
#define SKIP_BALLOON_BENCH_RESULTS_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "bench/stats.h"

#define RESULTS_SCHEMA "skip-balloon-bench/1"

/* What `skip-balloon bench` wrote; see docs/bench-results.md. */
typedef struct Results Results;

/**
 * results_new: no results yet.
 *
 * Returns: the results; free them with results_free().
 */
Results *results_new(void);

/**
 * results_free: free results and all lines.
 * @results: the results, or NULL
 */
void results_free(Results *results);

/**
 * results_load: add the lines of a file. Those that are none of the schema
 * are left out, with a warning each.
 * @results: the results
 * @path: the file, JSON Lines
 * @error: set to SB_ERROR_MISSING if the file cannot be read
 *
 * Returns: whether it could be read.
 */
bool results_load(Results *results, const char *path, GError **error);

/**
 * results_warnings: what was wrong with lines, "FILE:LINE: what", in the
 * order of the lines.
 * @results: the results
 *
 * Returns: an array of strings, owned by the results.
 */
const GPtrArray *results_warnings(const Results *results);

/**
 * results_count: how many lines there are, of all kinds, known or not.
 * @results: the results
 */
unsigned results_count(const Results *results);

/**
 * results_lines: all lines of a kind, in the order of the files.
 * @results: the results
 * @kind: such as "migration"
 *
 * Returns: an array of JsonObject, may be empty; it and the objects are owned
 *          by the results.
 */
const GPtrArray *results_lines(const Results *results, const char *kind);

/**
 * results_where: those of some lines that have a member of that value.
 * @lines: an array of JsonObject
 * @member: such as "case"
 * @value: its value, a string
 *
 * Returns: a new array of the same objects, which it does not own, in the
 *          same order; the caller unrefs it.
 */
GPtrArray *results_where(const GPtrArray *lines, const char *member,
                         const char *value);

/**
 * results_distinct: the different values of a member, in the order in which
 * they come first.
 * @lines: an array of JsonObject
 * @member: such as "case"; where it is no string, the line does not count
 *
 * Returns: a new array of strings that the lines own; the caller unrefs it.
 */
GPtrArray *results_distinct(const GPtrArray *lines, const char *member);

/**
 * results_spread: where the values of a member lie.
 * @lines: an array of JsonObject
 * @member: such as "total-ms"; where it is no number, the line does not count
 */
Spread results_spread(const GPtrArray *lines, const char *member);

/**
 * results_migrations: all `migration` lines of a case and a build.
 * @results: the results
 * @name: the case
 * @build: the build
 *
 * Returns: a new array of JsonObject, which it does not own; the caller
 *          unrefs it.
 */
GPtrArray *results_migrations(const Results *results, const char *name,
                              const char *build);

/**
 * results_median: the median of a member over the `migration` lines of a case
 * and a build.
 * @results: the results
 * @name: the case
 * @build: the build
 * @member: such as "total-ms"
 *
 * Returns: the median, NAN if that was not measured.
 */
double results_median(const Results *results, const char *name,
                      const char *build, const char *member);

/**
 * result_string: a member of a line.
 * @line: the line
 * @member: its name
 *
 * Returns: the string, owned by the line; NULL if absent or no string.
 */
const char *result_string(JsonObject *line, const char *member);

/**
 * result_number: a member of a line.
 * @line: the line
 * @member: its name
 *
 * Returns: the number, NAN if absent, no number, or below 0 or beyond 64
 *          bits, as no time, size or count is.
 */
double result_number(JsonObject *line, const char *member);

/**
 * result_flag: a member of a line.
 * @line: the line
 * @member: its name
 *
 * Returns: whether it is true; false if absent or no boolean.
 */
bool result_flag(JsonObject *line, const char *member);

/**
 * result_node_number: the same of something within a member.
 * @node: the node, or NULL
 *
 * Returns: as for result_number().
 */
double result_node_number(JsonNode *node);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Results, results_free)

#endif /* SKIP_BALLOON_BENCH_RESULTS_H */
