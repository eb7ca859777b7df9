/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_RECORD_H
#define SKIP_BALLOON_BENCH_RECORD_H

#include <json-glib/json-glib.h>

#include "bench/case.h"
#include "bench/run.h"

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
