/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/session.h"
#include "commands/command.h"
#include "commands/map-options.h"
#include "qemu/qmp.h"

/* Who waits for longer is told what for. */
#define PATIENCE_MS 2000

static gboolean on_waiting(gpointer opaque)
{
    fprintf(stderr, "%s: waiting for QEMU\n", (const char *)opaque);
    return G_SOURCE_REMOVE;
}

static JsonNode *ask(Session *session, const MapOptions *options,
                     GError **error)
{
    g_autoptr(Qmp) qmp = qmp_connect(session, options->socket, error);
    JsonObject *arguments;
    JsonNode *answer;
    GError *failure = NULL;

    if (!qmp) {
        return NULL;
    }
    arguments = json_object_new();
    json_object_set_int_member(arguments, "cells", options->cells);
    answer = qmp_execute(qmp, "query-migration-map", arguments, &failure);
    if (answer) {
        return answer;
    }
    if (g_error_matches(failure, SB_ERROR, SB_ERROR_MISSING)) {
        g_error_free(failure);
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "the QEMU of '%s' does not know query-migration-map; it "
                    "takes one that 'make qemu' builds", options->socket);
    } else {
        g_propagate_prefixed_error(error, failure, "'%s': ",
                                   options->socket);
    }
    return NULL;
}

/* The file is there as a whole, or as it was. */
static bool save(const MapOptions *options, GBytes *content, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(content, &size);
    g_autoptr(GError) failure = NULL;

    if (g_file_set_contents_full(options->output, data, size,
                                 G_FILE_SET_CONTENTS_CONSISTENT, 0666,
                                 &failure)) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "cannot write '%s': %s", options->output, failure->message);
    return false;
}

static bool print(const char *text, GError **error)
{
    if (fputs(text, stdout) >= 0 && !fflush(stdout)) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "cannot write to standard output: %s", g_strerror(errno));
    return false;
}

static bool print_json(JsonNode *answer, GError **error)
{
    g_autofree char *json = json_to_string(answer, FALSE);
    g_autofree char *line = g_strconcat(json, "\n", NULL);

    return print(line, error);
}

static bool draw_file(const MapOptions *options, const MemoryMap *map,
                      GError **error)
{
    g_autoptr(GBytes) content = NULL;
    char *svg;

    if (options->format == MAP_PNG) {
        content = memory_map_png(map, options->layout, NULL, error);
    } else {
        svg = memory_map_svg(map, options->layout, NULL, true);
        content = g_bytes_new_take(svg, strlen(svg));
    }
    return content && save(options, content, error);
}

static bool draw(const MapOptions *options, JsonNode *answer, GError **error)
{
    g_autoptr(MemoryMap) map = memory_map_parse(answer, error);
    g_autofree char *text = NULL;

    if (!map) {
        g_prefix_error(error, "'%s': ", options->socket);
        return false;
    }
    if (options->format != MAP_TEXT) {
        return draw_file(options, map, error);
    }
    text = memory_map_text(map, options->layout, NULL, &options->terminal);
    return print(text, error);
}

static bool make_map(Session *session, const MapOptions *options, char *name,
                     GError **error)
{
    guint watch = g_timeout_add(PATIENCE_MS, on_waiting, name);
    g_autoptr(JsonNode) answer = ask(session, options, error);

    if (g_main_context_find_source_by_id(NULL, watch)) {
        g_source_remove(watch);
    }
    if (!answer) {
        return false;
    }
    return options->format == MAP_JSON ? print_json(answer, error)
                                       : draw(options, answer, error);
}

static int map_run(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MapOptions) options = map_options_parse(argc, argv, &error);
    g_autoptr(Session) session = NULL;
    bool done;

    if (!options) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", argv[0],
                error->message, argv[0]);
        return EXIT_USAGE;
    }
    session = session_new(NULL, options->timeout_secs, &error);
    if (!session) {
        fprintf(stderr, "%s: %s\n", argv[0], error->message);
        return EXIT_FAILED;
    }
    interrupt_watch(session);
    done = make_map(session, options, argv[0], &error);
    interrupt_unwatch();
    if (done) {
        return EXIT_OK;
    }
    fprintf(stderr, "%s: %s\n", argv[0], error->message);
    return interrupt_signal() ? EXIT_SIGNAL + interrupt_signal() : EXIT_FAILED;
}

const Command map_command = {
    .name = "map",
    .summary = "Show where the memory of a running guest went",
    .run = map_run,
};
