/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/sink.h"

#include <errno.h>
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

    json_object_set_string_member(result, "case", what);
    json_object_set_string_member(result, "reason", reason);
    return bench_sink_write(sink, "left-out", result, error);
}
