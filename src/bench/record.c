/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"

#define SCHEMA "skip-balloon-bench/1"

struct BenchSink {
    FILE *file;
    char *path;
    char *run;
};

static bool fail(const char *path, GError **error)
{
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "cannot write results to '%s': %s", path, g_strerror(errno));
    return false;
}

static char *name_run(void)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y%m%dT%H%M%SZ");

    return g_strdup_printf("%s-%d", time, (int)getpid());
}

/* A run that was killed may have left a line without an end. */
static bool end_last_line(BenchSink *sink)
{
    long size = fseek(sink->file, 0, SEEK_END) ? -1 : ftell(sink->file);

    if (size <= 0) {
        return !size;
    }
    return !fseek(sink->file, size - 1, SEEK_SET) &&
           (fgetc(sink->file) == '\n' ||
            (!fseek(sink->file, 0, SEEK_END) &&
             fputc('\n', sink->file) != EOF));
}

BenchSink *bench_sink_open(const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_autoptr(BenchSink) sink = g_new0(BenchSink, 1);

    sink->path = g_strdup(path);
    sink->run = name_run();
    if (!g_mkdir_with_parents(dir, 0777)) {
        sink->file = fopen(path, "a+e");
    }
    if (!sink->file || !end_last_line(sink)) {
        fail(path, error);
        return NULL;
    }
    return g_steal_pointer(&sink);
}

void bench_sink_close(BenchSink *sink)
{
    if (!sink) {
        return;
    }
    g_clear_pointer(&sink->file, fclose);
    g_free(sink->path);
    g_free(sink->run);
    g_free(sink);
}

bool bench_sink_write(BenchSink *sink, const char *kind, JsonObject *result,
                      GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *line = NULL;

    json_object_set_string_member(result, "schema", SCHEMA);
    json_object_set_string_member(result, "kind", kind);
    json_object_set_string_member(result, "run", sink->run);
    json_node_take_object(node, result);
    line = json_to_string(node, FALSE);
    if (fprintf(sink->file, "%s\n", line) < 0 || fflush(sink->file)) {
        return fail(sink->path, error);
    }
    return true;
}

bool bench_sink_left_out(BenchSink *sink, const char *what,
                         const char *reason, GError **error)
{
    JsonObject *result = json_object_new();

    fprintf(stderr, "left out: %s: %s\n", what, reason);
    json_object_set_string_member(result, "case", what);
    json_object_set_string_member(result, "reason", reason);
    return bench_sink_write(sink, "left-out", result, error);
}

static JsonObject *record_of_case(const BenchCase *bench_case)
{
    g_autofree char *name = bench_case_name(bench_case);
    JsonObject *record = json_object_new();

    json_object_set_string_member(record, "case", name);
    return record;
}

static void add_case(JsonObject *record, const BenchCase *bench_case)
{
    json_object_set_string_member(record, "backend",
                                  backend_name(bench_case->backend));
    json_object_set_string_member(record, "mode",
                                  migration_mode_name(bench_case->mode));
    json_object_set_int_member(record, "memory", bench_case->memory);
    json_object_set_int_member(record, "left", bench_case->left);
}

static void add_skipped(JsonObject *record, const MigrationStats *stats)
{
    if (stats->has_skip) {
        json_object_set_int_member(record, "skipped-pages",
                                   stats->skipped_pages);
        json_object_set_int_member(record, "map-bytes", stats->map_bytes);
        json_object_set_int_member(record, "final-map-bytes",
                                   stats->final_map_bytes);
    }
    if (stats->unpopulated.known) {
        json_object_set_int_member(record, "unpopulated-pages",
                                   stats->unpopulated.skipped_pages);
    }
}

static void add_stats(JsonObject *record, const MigrationStats *stats)
{
    json_object_set_int_member(record, "total-ms", stats->total_ms);
    json_object_set_int_member(record, "downtime-ms", stats->downtime_ms);
    json_object_set_int_member(record, "setup-ms", stats->setup_ms);
    json_object_set_int_member(record, "transferred", stats->transferred);
    json_object_set_int_member(record, "zero-pages", stats->duplicate);
    json_object_set_int_member(record, "normal-pages", stats->normal);
    add_skipped(record, stats);
}

static void add_memory(JsonObject *record, const RunResult *result)
{
    json_object_set_int_member(record, "source-before",
                               result->source_before);
    json_object_set_int_member(record, "source-after", result->source_after);
    json_object_set_int_member(record, "destination-after",
                               result->destination_after);
}

static JsonArray *samples_array(const GArray *samples)
{
    JsonArray *array = json_array_new();

    for (guint i = 0; samples && i < samples->len; i++) {
        const MemorySample *sample =
            &g_array_index(samples, MemorySample, i);
        JsonArray *element = json_array_new();

        json_array_add_int_element(element, lrint(sample->ms));
        json_array_add_int_element(element, sample->source);
        json_array_add_int_element(element, sample->destination);
        json_array_add_array_element(array, element);
    }
    return array;
}

JsonObject *bench_record_migration(const BenchCase *bench_case,
                                   BenchBuild build, unsigned repetition,
                                   const RunResult *result)
{
    JsonObject *record = record_of_case(bench_case);

    add_case(record, bench_case);
    json_object_set_string_member(record, "build", bench_build_name(build));
    json_object_set_int_member(record, "repetition", repetition);
    add_stats(record, &result->migration);
    add_memory(record, result);
    json_object_set_array_member(record, "samples",
                                 samples_array(result->samples));
    return record;
}

JsonObject *bench_record_map(const BenchCase *bench_case, BenchBuild build,
                             JsonNode *answer)
{
    JsonObject *record = record_of_case(bench_case);

    json_object_set_string_member(record, "build", bench_build_name(build));
    json_object_set_member(record, "answer", json_node_copy(answer));
    return record;
}

JsonObject *bench_record_socket(const BenchCase *bench_case,
                                unsigned repetition, uint64_t bytes,
                                double ms)
{
    JsonObject *record = record_of_case(bench_case);

    json_object_set_int_member(record, "repetition", repetition);
    json_object_set_int_member(record, "bytes", bytes);
    json_object_set_int_member(record, "total-ms", lrint(ms));
    return record;
}
