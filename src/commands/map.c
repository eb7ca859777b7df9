/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "base/terminal.h"
#include "commands/command.h"
#include "map/draw.h"
#include "qemu/monitor.h"

/* Who waits for longer is told what for. */
#define PATIENCE_MS 2000
#define FILE_CELLS 4096
#define TEXT_ROWS 32
#define MAX_CELLS 16384
/*
 * Blocks of firmware have a cell each, which are not shown. QEMU does not go
 * beyond what it is asked for, but makes all cells twice as large.
 */
#define SMALL_BLOCKS 64

/* Where a map goes. */
typedef enum MapFormat {
    MAP_TEXT,                   /* to standard output, with characters */
    MAP_JSON,                   /* the answer of QEMU, to standard output */
    MAP_SVG,
    MAP_PNG,
} MapFormat;

/* What the user asked map to do. */
typedef struct MapOptions {
    MonitorAddress address;
    char *output;               /* a file, NULL for standard output */
    MapFormat format;
    MemoryLayout layout;
    Terminal terminal;          /* for MAP_TEXT */
    int cells;
    int timeout_secs;
} MapOptions;

static void map_options_free(MapOptions *options)
{
    if (!options) {
        return;
    }
    monitor_address_clear(&options->address);
    g_free(options->output);
    g_free(options);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MapOptions, map_options_free)

static bool choose_format(MapOptions *options, bool json, GError **error)
{
    const char *file = options->output;

    if (json && file) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--json prints, and does not go with --output");
        return false;
    }
    if (!file) {
        options->format = json ? MAP_JSON : MAP_TEXT;
    } else if (g_str_has_suffix(file, ".svg")) {
        options->format = MAP_SVG;
    } else if (g_str_has_suffix(file, ".png")) {
        options->format = MAP_PNG;
    } else {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--output takes the name of a file that ends in .svg or "
                    ".png, not '%s'", file);
        return false;
    }
    return true;
}

static bool choose_layout(MapOptions *options, const char *word,
                          GError **error)
{
    options->layout = options->output ? MEMORY_HILBERT : MEMORY_ROWS;
    return !word || memory_layout_parse(word, &options->layout, error);
}

/* As many as there is room for, if nobody says otherwise. */
static bool choose_cells(MapOptions *options, GError **error)
{
    unsigned columns = memory_map_columns(options->layout,
                                          &options->terminal);

    if (options->cells == -1) {
        options->cells = FILE_CELLS;
        if (options->format == MAP_TEXT) {
            options->cells = columns * (options->layout == MEMORY_HILBERT ?
                                        columns : TEXT_ROWS);
        }
        options->cells += SMALL_BLOCKS;
    }
    if (options->cells < 1 || options->cells > MAX_CELLS) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--cells takes a number from 1 to %d", MAX_CELLS);
        return false;
    }
    return true;
}

static bool check(const MapOptions *options, int argc, char **argv,
                  GError **error)
{
    if (argc > 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "unexpected argument '%s'", argv[1]);
        return false;
    }
    return command_check_monitor(&options->address, options->timeout_secs,
                                 error);
}

static GOptionContext *make_context(void)
{
    GOptionContext *context = g_option_context_new(
        "- show where the memory of a guest went");

    g_option_context_set_summary(context,
        "Asks a running QEMU what is in the balloon, what the host has no\n"
        "memory for, and what the last migration did with the rest, and draws\n"
        "it: each cell is a fixed share of guest RAM, in the colour of what\n"
        "most of it is. Neither the guest nor a migration is disturbed.");
    g_option_context_set_description(context,
        COMMAND_MONITOR_HELP "\n\n"
        "Without --output it is drawn with characters: in colours on a\n"
        "terminal that has 256 of them, unless NO_COLOR is set.\n\n"
        "LAYOUT is hilbert, where what is near in memory is near in the\n"
        "picture, or rows. The former is preset for files, the latter for\n"
        "the terminal.");
    return context;
}

static MapOptions *parse(int argc, char **argv, GError **error)
{
    g_autoptr(MapOptions) options = g_new0(MapOptions, 1);
    g_autofree char *layout = NULL;
    g_autofree char *colour = NULL;
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        { "output", 'o', 0, G_OPTION_ARG_FILENAME, &options->output,
          "Write a picture there; the name ends in .svg or .png", "FILE" },
        { "layout", 'l', 0, G_OPTION_ARG_STRING, &layout,
          "How cells follow each other: hilbert or rows", "LAYOUT" },
        { "cells", 'n', 0, G_OPTION_ARG_INT, &options->cells,
          "About how many cells (4096, or what fits the terminal)", "N" },
        { "color", 0, 0, G_OPTION_ARG_STRING, &colour,
          "Colours in text: auto, always or never (auto)", "WHEN" },
        { "json", 0, 0, G_OPTION_ARG_NONE, &json,
          "Print what QEMU answers as it is", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = make_context();

    options->cells = -1;
    command_add_monitor(context, &options->address, &options->timeout_secs);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!command_parse(context, &argc, &argv, error) ||
        !check(options, argc, argv, error) ||
        !choose_format(options, json, error) ||
        !choose_layout(options, layout, error) ||
        !terminal_ask(&options->terminal, colour, error) ||
        !choose_cells(options, error)) {
        return NULL;
    }
    return g_steal_pointer(&options);
}

static gboolean on_waiting(gpointer opaque G_GNUC_UNUSED)
{
    fprintf(stderr, "%s: waiting for QEMU\n", g_get_prgname());
    return G_SOURCE_REMOVE;
}

/* A number in the answer to a command without arguments; 0: not told. */
static gint64 ask_number(Monitor *monitor, const char *command,
                         const char *member)
{
    g_autoptr(JsonNode) answer = monitor_execute(monitor, command, NULL, NULL);
    JsonNode *node = answer && JSON_NODE_HOLDS_OBJECT(answer) ?
        json_object_get_member(json_node_get_object(answer), member) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
}

/* What the balloon holds at least; 0: not told. */
static gint64 ask_held(Monitor *monitor)
{
    gint64 left = ask_number(monitor, "query-balloon", "actual");
    gint64 memory = ask_number(monitor, "query-memory-size-summary",
                               "base-memory");

    return left > 0 && left < memory ? memory - left : 0;
}

static JsonNode *ask(Session *session, const MapOptions *options,
                     gint64 *held, GError **error)
{
    g_autoptr(Monitor) monitor = monitor_open(session, &options->address,
                                              error);
    JsonObject *arguments;
    JsonNode *answer;
    GError *failure = NULL;

    if (!monitor) {
        return NULL;
    }
    *held = options->format == MAP_JSON ? 0 : ask_held(monitor);
    arguments = json_object_new();
    json_object_set_int_member(arguments, "cells", options->cells);
    answer = monitor_execute(monitor, "query-migration-map", arguments,
                             &failure);
    if (answer) {
        return answer;
    }
    if (g_error_matches(failure, SB_ERROR, SB_ERROR_MISSING)) {
        g_error_free(failure);
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "%s: this QEMU does not know query-migration-map; it "
                    "takes one that 'make qemu' builds",
                    monitor_title(monitor));
    } else {
        g_propagate_error(error, failure);
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
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE, "cannot write '%s': %s",
                options->output, error_reason(failure));
    return false;
}

static bool print_json(JsonNode *answer, GError **error)
{
    g_autofree char *json = json_to_string(answer, FALSE);
    g_autofree char *line = g_strconcat(json, "\n", NULL);

    return command_print(line, error);
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

/* After a migration with both capabilities off. */
static void warn(const MemoryMap *map, uint64_t held)
{
    uint64_t bytes[MEMORY_STATES];
    uint64_t known;
    g_autofree char *held_text = size_format(held);
    g_autofree char *known_text = NULL;

    memory_map_totals(map, bytes);
    known = bytes[MEMORY_SKIPPED] + bytes[MEMORY_BALLOONED];
    known_text = size_format(known);
    if (held > known + SIZE_MIB) {
        fprintf(stderr, "%s: the balloon holds %s, of which the map knows %s: "
                "'skip-balloon status' says what to do\n", g_get_prgname(),
                held_text, known_text);
    }
}

static bool draw(const MapOptions *options, JsonNode *answer, gint64 held,
                 GError **error)
{
    g_autoptr(MemoryMap) map = memory_map_parse(answer, error);
    g_autofree char *text = NULL;

    if (!map) {
        g_prefix_error(error, "%s: ", options->address.socket ?
                       options->address.socket : options->address.domain);
        return false;
    }
    if (options->format == MAP_TEXT) {
        text = memory_map_text(map, options->layout, NULL,
                               &options->terminal);
    }
    if (text ? !command_print(text, error)
             : !draw_file(options, map, error)) {
        return false;
    }
    warn(map, held);
    return true;
}

static bool make_map(Session *session, void *opaque, GError **error)
{
    const MapOptions *options = opaque;
    guint watch = g_timeout_add(PATIENCE_MS, on_waiting, NULL);
    gint64 held = 0;
    g_autoptr(JsonNode) answer = ask(session, options, &held, error);

    if (g_main_context_find_source_by_id(NULL, watch)) {
        g_source_remove(watch);
    }
    if (!answer) {
        return false;
    }
    return options->format == MAP_JSON ? print_json(answer, error)
                                       : draw(options, answer, held, error);
}

static int run(int argc, char **argv, GError **error)
{
    g_autoptr(MapOptions) options = parse(argc, argv, error);

    if (!options) {
        return EXIT_USAGE;
    }
    return command_work(&(CommandSetup) {
            .stall_secs = options->timeout_secs,
        }, make_map, options, error);
}

const Command map_command = {
    .name = "map",
    .summary = "Show where the memory of a running guest went",
    .run = run,
};
