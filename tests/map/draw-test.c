/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <cairo.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "map/draw.h"
#include "map/figure.h"
#include "tests/map/answer.h"

static const Terminal plain = { .width = 80 };
static const Terminal half_blocks = { 80, true, true };

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_test_fail_printf("no '%s' in '%s'", part, text);
    }
}

/* The cells as the paths of an SVG draw them. */
typedef struct Drawn {
    const MemoryFigure *figure;
    uint8_t *cells;
    unsigned paths;
    bool title;
} Drawn;

static void draw_run(Drawn *drawn, unsigned state, const char *run)
{
    unsigned x, y, length;

    g_assert_cmpint(sscanf(run, "%u %uh%u", &x, &y, &length), ==, 3);
    g_assert_cmpuint(x + length, <=, drawn->figure->columns);
    g_assert_cmpuint(y, <, drawn->figure->rows);
    for (; length; length--, x++) {
        uint8_t *cell = &drawn->cells[y * drawn->figure->columns + x];

        g_assert_cmpuint(*cell, ==, MEMORY_NO_CELL);
        *cell = state;
    }
}

static void on_element(GMarkupParseContext *context, const char *name,
                       const char **names, const char **values,
                       gpointer opaque, GError **error)
{
    Drawn *drawn = opaque;
    const char *class, *d, *width;
    g_auto(GStrv) runs = NULL;

    drawn->title |= !strcmp(name, "title");
    if (strcmp(name, "path")) {
        return;
    }
    g_markup_collect_attributes(name, names, values, error,
        G_MARKUP_COLLECT_STRING, "class", &class,
        G_MARKUP_COLLECT_STRING, "d", &d,
        G_MARKUP_COLLECT_STRING | G_MARKUP_COLLECT_OPTIONAL, "stroke-width",
        &width, G_MARKUP_COLLECT_INVALID);
    if (*error || width) {
        return;
    }
    drawn->paths++;
    runs = g_strsplit(d + 1, "M", -1);
    for (char **run = runs; *run; run++) {
        draw_run(drawn, class[1] - '0', *run);
    }
    g_assert_nonnull(context);
}

static void check_svg(const char *json, MemoryLayout layout, unsigned paths)
{
    static const GMarkupParser parser = { .start_element = on_element };
    g_autoptr(MemoryMap) map = map_answer_parse(json);
    g_autofree char *svg = memory_map_svg(map, layout, NULL, true);
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, layout, 0, NULL,
                                                       60);
    gsize places = figure->columns * figure->rows;
    g_autofree uint8_t *cells = g_malloc(places);
    Drawn drawn = { figure, memset(cells, MEMORY_NO_CELL, places), 0, false };
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(
        &parser, 0, &drawn, NULL);
    g_autoptr(GError) error = NULL;

    g_markup_parse_context_parse(context, svg, -1, &error);
    g_assert_no_error(error);
    g_markup_parse_context_end_parse(context, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(cells, places, figure->cells, places);
    g_assert_cmpuint(drawn.paths, ==, paths);
    g_assert_true(drawn.title);
}

static void test_svg(void)
{
    g_autofree char *plausible = map_answer_plausible();

    check_svg(MAP_ANSWER_STATES, MEMORY_HILBERT, MEMORY_STATES);
    check_svg(MAP_ANSWER_STATES, MEMORY_ROWS, MEMORY_STATES);
    /* All of it was recorded. */
    check_svg(plausible, MEMORY_HILBERT, MEMORY_STATES - 1);
    check_svg(plausible, MEMORY_ROWS, MEMORY_STATES - 1);
}

/* Names and titles are text, not markup, and a part of a page has no canvas. */
static void test_svg_embedded(void)
{
    g_auto(GStrv) parts = g_strsplit(MAP_ANSWER_STATES, "ram0", 2);
    g_autofree char *json = g_strjoinv("<&\\\">", parts);
    g_autoptr(MemoryMap) map = map_answer_parse(json);
    g_autofree char *svg = memory_map_svg(map, MEMORY_ROWS, "a<b>&\"c", false);
    g_autofree char *alone = memory_map_svg(map, MEMORY_ROWS, "a<b>", true);

    check_svg(json, MEMORY_ROWS, MEMORY_STATES);
    g_assert_true(g_str_has_prefix(svg, "<svg "));
    g_assert_true(g_str_has_suffix(svg, "</svg>\n"));
    assert_contains(svg, "aria-label=\"a&lt;b&gt;&amp;&quot;c\"");
    assert_contains(svg, "<title>a&lt;b&gt;");
    assert_contains(svg, "&lt;&amp;&quot;&gt; (48");
    assert_contains(svg, "prefers-color-scheme:dark");
    assert_contains(svg, "in the balloon, skipped: 16 KiB, 25.0 %;");
    g_assert_null(strstr(svg, " id="));
    g_assert_null(strstr(svg, "<rect"));
    assert_contains(alone, "<rect");
}

typedef struct Bytes {
    const unsigned char *data;
    gsize left;
} Bytes;

static cairo_status_t read_bytes(void *opaque, unsigned char *data,
                                 unsigned length)
{
    Bytes *bytes = opaque;

    if (length > bytes->left) {
        return CAIRO_STATUS_READ_ERROR;
    }
    memcpy(data, bytes->data, length);
    bytes->data += length;
    bytes->left -= length;
    return CAIRO_STATUS_SUCCESS;
}

static uint32_t pixel(cairo_surface_t *surface, unsigned x, unsigned y)
{
    const unsigned char *data = cairo_image_surface_get_data(surface);
    int stride = cairo_image_surface_get_stride(surface);
    uint32_t value;

    g_assert_cmpint(x, <, cairo_image_surface_get_width(surface));
    g_assert_cmpint(y, <, cairo_image_surface_get_height(surface));
    memcpy(&value, data + y * stride + x * 4, 4);
    return value & 0xffffff;
}

static void check_pixels(cairo_surface_t *surface, const MemoryFigure *figure)
{
    double side = FIGURE_MAP_WIDTH / (double)figure->columns;
    double scale = cairo_image_surface_get_width(surface) /
                   (double)FIGURE_WIDTH;

    for (unsigned y = 0; y < figure->rows; y++) {
        for (unsigned x = 0; x < figure->columns; x++) {
            unsigned state = memory_figure_cell(figure, x, y);
            uint32_t expected = state == MEMORY_NO_CELL ? 0xffffff :
                                memory_state_rgb(state);

            g_assert_cmphex(pixel(surface,
                (FIGURE_MARGIN + (x + 0.5) * side) * scale,
                (FIGURE_MAP_TOP + (y + 0.5) * side) * scale), ==, expected);
        }
    }
}

static void check_png(const char *json, MemoryLayout layout)
{
    g_autoptr(MemoryMap) map = map_answer_parse(json);
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, layout, 0, NULL,
                                                       60);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) png = memory_map_png(map, layout, NULL, &error);
    cairo_surface_t *surface;
    Bytes bytes;

    g_assert_no_error(error);
    bytes.data = g_bytes_get_data(png, &bytes.left);
    surface = cairo_image_surface_create_from_png_stream(read_bytes, &bytes);
    g_assert_cmpint(cairo_surface_status(surface), ==, CAIRO_STATUS_SUCCESS);
    check_pixels(surface, figure);
    cairo_surface_destroy(surface);
}

static void test_png(void)
{
    g_autofree char *plausible = map_answer_plausible();

    check_png(MAP_ANSWER_STATES, MEMORY_HILBERT);
    check_png(MAP_ANSWER_STATES, MEMORY_ROWS);
    check_png(plausible, MEMORY_HILBERT);
    check_png(plausible, MEMORY_ROWS);
}

/* No picture is as high as what there is to be noted of so many blocks. */
static void test_png_refused(void)
{
    g_autofree char *id = g_strnfill(250, 'x');
    g_autoptr(GString) json = g_string_new("{\"page-size\": 4096,"
        " \"cell-size\": 4096, \"recorded\": false, \"blocks\": [");
    g_autoptr(MemoryMap) map = NULL;
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < 300; i++) {
        g_string_append_printf(json, "%s{\"id\": \"%s\", \"size\": 4096}",
                               i ? "," : "", id);
    }
    g_string_append(json, "]}");
    map = map_answer_parse(json->str);
    g_assert_null(memory_map_png(map, MEMORY_ROWS, NULL, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_RESOURCE);
    g_test_message("%s", error->message);
    g_assert_true(g_str_has_prefix(error->message,
                                   "Cairo cannot draw the picture: "));
}

static void test_text(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    g_autofree char *text = memory_map_text(map, MEMORY_ROWS, "Title", &plain);

    g_assert_cmpstr(text, ==,
        "Title\n\n"
        "      0 B .o-##.++\n\n"
        ".  in the balloon, skipped      16 KiB  25.0 %\n"
        "o  in the balloon, not skipped   8 KiB  12.5 %\n"
        "-  unpopulated                   8 KiB  12.5 %\n"
        "#  sent                         16 KiB  25.0 %\n"
        "+  in use, nothing recorded     16 KiB  25.0 %\n\n"
        "One cell is 8 KiB and shows what most of it is; cells follow each "
        "other row by\nrow.\n"
        "Percentages are of what is shown: ram0 (48 KiB), ram1 (16 KiB).\n"
        "The migration did not know ram1 (16 KiB).\n");
}

/* Along the curve, each cell two characters wide. */
static void test_text_hilbert(void)
{
    const Terminal narrow = { .width = 9 };
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    g_autofree char *text = memory_map_text(map, MEMORY_HILBERT, "T", &narrow);

    assert_contains(text, "T\n\n..####++\noo--..++\n\n");
}

/* A character has the colours of two cells. */
static void test_text_colour(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    g_autofree char *text = memory_map_text(map, MEMORY_HILBERT, "T",
                                            &(Terminal) { 4, true, true });
    g_autofree char *first = g_strdup_printf(
        "T\n\n\033[38;5;%um\033[48;5;%um\u2580",
        memory_state_ansi(MEMORY_SKIPPED),
        memory_state_ansi(MEMORY_BALLOONED));

    assert_contains(text, first);
    assert_contains(text, "\033[0m\n");
}

/* Without UTF-8 a character is a cell, and the last row may be half a line. */
static void test_text_rest(void)
{
    const Terminal latin = { 80, true, false };
    const Terminal narrow = { 16, true, true };
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    g_autofree char *spaces = memory_map_text(map, MEMORY_ROWS, "T", &latin);
    g_autofree char *halves = memory_map_text(map, MEMORY_ROWS, "T", &narrow);
    g_autofree char *whole = memory_map_text(map, MEMORY_ROWS, "T",
                                             &half_blocks);

    assert_contains(spaces, "      0 B \033[48;5;29m \033[48;5;45m ");
    g_assert_null(strstr(spaces, "\u2580"));
    /* 6 columns, of which the second row fills two; 64 and one row. */
    assert_contains(halves, "29m\033[48;5;97m\u2580\033[38;5;45m\u2580");
    assert_contains(whole, "      0 B \033[38;5;29m\u2580\033[38;5;45m");
}

/* A line of the picture is never wider than the terminal. */
static void test_text_width(void)
{
    g_autofree char *plausible = map_answer_plausible();
    g_autoptr(MemoryMap) map = map_answer_parse(plausible);

    for (unsigned width = 12; width < 300; width += 7) {
        const Terminal terminal = { .width = width };

        for (MemoryLayout layout = 0; layout < 2; layout++) {
            g_autofree char *text = memory_map_text(map, layout, "T",
                                                    &terminal);
            g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

            for (unsigned i = 2; lines[i][0]; i++) {
                g_assert_cmpuint(strlen(lines[i]), <=, width);
            }
        }
    }
}

static void test_notes(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(
        "{\"page-size\": 4096, \"cell-size\": 8192, \"recorded\": false,"
        " \"blocks\": [{\"id\": \"ram0\", \"size\": 16777216},"
        "              {\"id\": \"bios\", \"size\": 4096}]}");
    g_autofree char *text = memory_map_text(map, MEMORY_ROWS, NULL, &plain);

    assert_contains(text, "Memory of the guest, 16 MiB\n");
    assert_contains(text, "Too small to be shown: bios (4 KiB).\n");
    assert_contains(text, "The host cannot tell what is unpopulated of ram0");
    assert_contains(text, "No migration with skip-balloon or skip-unpopulated "
                    "has been recorded.\n");
    assert_contains(text, "100.0 %\n");
}

static bool is_power_of_two(unsigned n)
{
    return !(n & (n - 1));
}

/* The curve needs even sides, and what is usual leaves no gap. */
static void test_sides(void)
{
    for (unsigned cells = 1; cells < 300; cells++) {
        g_autofree char *json = g_strdup_printf(
            "{\"page-size\": 1, \"cell-size\": 1, \"recorded\": false,"
            " \"blocks\": [{\"id\": \"a\", \"size\": %u}]}", cells);
        g_autoptr(MemoryMap) map = map_answer_parse(json);
        g_autoptr(MemoryFigure) figure = memory_figure_new(
            map, MEMORY_HILBERT, 0, NULL, 60);
        unsigned places = figure->columns * figure->rows;

        g_assert_cmpuint(figure->columns % 2 + figure->rows % 2, ==, 0);
        g_assert_cmpuint(figure->columns, >=, figure->rows);
        g_assert_cmpuint(places, >=, cells);
        g_assert_cmpuint(figure->columns, <=, 2 * figure->rows);
        g_assert_cmpuint(places, <, cells + 2 * figure->columns);
        if (is_power_of_two(cells) && cells >= 8) {
            g_assert_cmpuint(places, ==, cells);
        }
    }
}

/* What is there is not 0.0 %, and what is not all is not 100.0 %. */
static void test_shares(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(
        "{\"page-size\": 1, \"cell-size\": 10000, \"recorded\": false,"
        " \"blocks\": [{\"id\": \"a\", \"size\": 10000,"
        " \"ballooned\": [9999]}]}");
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, MEMORY_ROWS, 0,
                                                       NULL, 60);

    g_assert_cmpuint(figure->n_keys, ==, 2);
    g_assert_cmpstr(figure->keys[0].share, ==, "> 99.9 %");
    g_assert_cmpstr(figure->keys[1].share, ==, "< 0.1 %");
}

/* Neither sentences nor names are cut off. */
static void test_notes_width(void)
{
    g_autofree char *name = g_strnfill(200, 'x');
    g_auto(GStrv) parts = g_strsplit(MAP_ANSWER_STATES, "ram0", 2);
    g_autofree char *json = g_strjoinv(name, parts);
    g_autoptr(MemoryMap) map = map_answer_parse(json);
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, MEMORY_ROWS, 0,
                                                       NULL, 30);
    g_autofree char *all = g_strjoinv("", figure->notes);

    for (char **line = figure->notes; *line; line++) {
        g_assert_cmpuint(strlen(*line), <=, 30);
        g_assert_cmpuint(strlen(*line), >, 0);
    }
    assert_contains(all, name);
    assert_contains(all, "(48 KiB)");
}

/* A block that was plugged after the migration. */
static void test_plugged(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(
        "{\"page-size\": 1, \"cell-size\": 4, \"recorded\": true,"
        " \"blocks\": [{\"id\": \"a\", \"size\": 4, \"skipped\": [0]},"
        " {\"id\": \"b\", \"size\": 4}]}");
    g_autofree char *text = memory_map_text(map, MEMORY_ROWS, NULL, &plain);

    assert_contains(text, " #+\n");
    assert_contains(text, "The migration did not know b (4 B).\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory-draw/svg", test_svg);
    g_test_add_func("/memory-draw/svg-embedded", test_svg_embedded);
    g_test_add_func("/memory-draw/png", test_png);
    g_test_add_func("/memory-draw/png-refused", test_png_refused);
    g_test_add_func("/memory-draw/text", test_text);
    g_test_add_func("/memory-draw/text-hilbert", test_text_hilbert);
    g_test_add_func("/memory-draw/text-colour", test_text_colour);
    g_test_add_func("/memory-draw/text-rest", test_text_rest);
    g_test_add_func("/memory-draw/text-width", test_text_width);
    g_test_add_func("/memory-draw/sides", test_sides);
    g_test_add_func("/memory-draw/shares", test_shares);
    g_test_add_func("/memory-draw/notes", test_notes);
    g_test_add_func("/memory-draw/plugged", test_plugged);
    g_test_add_func("/memory-draw/notes-width", test_notes_width);
    return g_test_run();
}
