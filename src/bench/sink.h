/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_SINK_H
#define SKIP_BALLOON_BENCH_SINK_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

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
 * bench_sink_left_out: append that something was not measured.
 * @sink: the sink
 * @what: the case
 * @reason: why
 * @error: as for bench_sink_write()
 */
bool bench_sink_left_out(BenchSink *sink, const char *what,
                         const char *reason, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchSink, bench_sink_close)

#endif /* SKIP_BALLOON_BENCH_SINK_H */
