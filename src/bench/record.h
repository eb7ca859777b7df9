/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_RECORD_H
#define SKIP_BALLOON_BENCH_RECORD_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "bench/case.h"
#include "bench/run.h"

/* Where results go, a JSON object on a line each. */
typedef struct BenchSink BenchSink;

/**
 * bench_sink_open: append to a file of results, which is made if needed.
 * @path: the file; so are the directories it is in
 * @error: set if that cannot be
 *
 * Returns: the sink, NULL on failure; free it with bench_sink_close().
 */
BenchSink *bench_sink_open(const char *path, GError **error);

/**
 * bench_sink_close: close the file.
 * @sink: the sink, or NULL
 */
void bench_sink_close(BenchSink *sink);

/**
 * bench_sink_write: append a result, with what all results have in common.
 * @sink: the sink
 * @kind: the kind of result
 * @result: its members; owned by this function
 * @error: set if the file takes no more
 */
bool bench_sink_write(BenchSink *sink, const char *kind, JsonObject *result,
                      GError **error);

/**
 * bench_sink_left_out: append that something was not measured, and tell it on
 * standard error.
 * @sink: the sink
 * @what: the case
 * @reason: why
 * @error: as for bench_sink_write()
 */
bool bench_sink_left_out(BenchSink *sink, const char *what,
                         const char *reason, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchSink, bench_sink_close)

/*
 * Results as docs/bench-results.md describes them, but for what all have in
 * common. Each function returns a new object, to be given to
 * bench_sink_write() or freed with json_object_unref().
 */

/**
 * bench_record_migration: one migration of a guest.
 * @bench_case: the case
 * @build: the build
 * @repetition: from 1
 * @result: what was measured
 */
JsonObject *bench_record_migration(const BenchCase *bench_case,
                                   BenchBuild build, unsigned repetition,
                                   const RunResult *result);

/**
 * bench_record_map: where the guest's memory went.
 * @bench_case: the case
 * @build: the build
 * @answer: of query-migration-map; stays the caller's
 */
JsonObject *bench_record_map(const BenchCase *bench_case, BenchBuild build,
                             JsonNode *answer);

/**
 * bench_record_socket: what only writing the bytes took.
 * @bench_case: the case
 * @repetition: from 1
 * @bytes: how many
 * @ms: the time
 */
JsonObject *bench_record_socket(const BenchCase *bench_case,
                                unsigned repetition, uint64_t bytes,
                                double ms);

#endif /* SKIP_BALLOON_BENCH_RECORD_H */
