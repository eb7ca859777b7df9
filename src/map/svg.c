/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/draw.h"

#include "map/figure.h"

/*
 * Not with Cairo, whose SVG has no room for a style sheet, and letters only
 * as outlines. Sizes are those of memory-geometry.h.
 */
static const char text_style[] =
    ".sbmap{max-width:100%;height:auto;font:15px system-ui,sans-serif;"
    "color:#1b1f24}"
    ".sbmap text{fill:currentColor}"
    ".sbmap .t{font-size:17px;font-weight:600}"
    ".sbmap .n{font-size:13px}"
    ".sbmap .e{text-anchor:end;font-variant-numeric:tabular-nums}"
    ".sbmap .b{fill:#fff}"
    ".sbmap path{fill:none;shape-rendering:crispEdges}"
    "@media(prefers-color-scheme:dark){"
    ".sbmap{color:#e6e8eb}.sbmap .b{fill:#14171a}}";

/* Around a picture that is smaller than the window. */
static const char canvas_style[] =
    ".sbmap{background:#fff}"
    "@media(prefers-color-scheme:dark){.sbmap{background:#14171a}}";

/* A number without a locale's comma, and without zeroes at its end. */
static void append_number(GString *svg, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(svg, g_ascii_formatd(text, sizeof(text), "%.6g", value));
}

static void append_escaped(GString *svg, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);

    g_string_append(svg, escaped);
}

static void append_text(GString *svg, const char *classes, unsigned x,
                        double y, const char *text)
{
    g_string_append_printf(svg, "<text class=\"%s\" x=\"%u\" y=\"", classes,
                           x);
    append_number(svg, y);
    g_string_append(svg, "\">");
    append_escaped(svg, text);
    g_string_append(svg, "</text>\n");
}

static void append_style(GString *svg, bool standalone)
{
    g_string_append_printf(svg, "<style>%s%s", text_style,
                           standalone ? canvas_style : "");
    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        g_string_append_printf(svg, ".sbmap .s%u{stroke:#%06x}", i,
                               memory_state_rgb(i));
    }
    g_string_append(svg, "</style>\n");
}

/* The amounts, for those who do not see the picture. */
static void append_description(GString *svg, const MemoryFigure *figure)
{
    g_string_append(svg, "<desc>");
    for (unsigned i = 0; i < figure->n_keys; i++) {
        const MemoryKey *key = &figure->keys[i];
        g_autofree char *text = g_strdup_printf("%s%s: %s, %s",
            i ? "; " : "", key->name, key->amount,
            key->share);

        append_escaped(svg, text);
    }
    g_string_append(svg, "</desc>\n");
}

static void append_begin(GString *svg, const MemoryFigure *figure,
                         double height, bool standalone)
{
    g_string_append_printf(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" "
                           "class=\"sbmap\" role=\"img\" width=\"%u\" "
                           "height=\"%.0f\" viewBox=\"0 0 %u %.0f\" "
                           "aria-label=\"", FIGURE_WIDTH, height,
                           FIGURE_WIDTH, height);
    append_escaped(svg, figure->title);
    g_string_append(svg, "\">\n<title>");
    append_escaped(svg, figure->title);
    g_string_append(svg, "</title>\n");
    append_description(svg, figure);
    append_style(svg, standalone);
    if (standalone) {
        g_string_append(svg, "<rect class=\"b\" width=\"100%\" "
                        "height=\"100%\"/>\n");
    }
    append_text(svg, "t", FIGURE_MARGIN, FIGURE_TITLE_BASE, figure->title);
}

/* Each run of equal cells in a row is a stroke. */
static void append_runs(GString *path, const MemoryFigure *figure,
                        MemoryState state, unsigned y)
{
    unsigned end;

    for (unsigned x = 0; x < figure->columns; x = end) {
        end = x + 1;
        if (memory_figure_cell(figure, x, y) != state) {
            continue;
        }
        while (end < figure->columns &&
               memory_figure_cell(figure, end, y) == state) {
            end++;
        }
        g_string_append_printf(path, "M%u %uh%u", x, y, end - x);
    }
}

static void append_map(GString *svg, const MemoryFigure *figure,
                       const MemoryGeometry *geometry)
{
    g_string_append_printf(svg, "<g transform=\"translate(%u,%u) scale(",
                           FIGURE_MARGIN, FIGURE_MAP_TOP);
    append_number(svg, geometry->cell);
    /* A stroke lies on both sides of its line. */
    g_string_append(svg, ") translate(0,.5)\">\n");
    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        g_autoptr(GString) path = g_string_new(NULL);

        for (unsigned y = 0; y < figure->rows; y++) {
            append_runs(path, figure, i, y);
        }
        if (path->len) {
            g_string_append_printf(svg, "<path class=\"s%u\" d=\"%s\"/>\n", i,
                                   path->str);
        }
    }
    g_string_append(svg, "</g>\n");
}

static void append_key(GString *svg, const MemoryKey *key, double top)
{
    double base = top + FIGURE_SWATCH - 2;

    g_string_append_printf(svg, "<path class=\"s%u\" stroke-width=\"%u\" "
                           "d=\"M%u ", key->state, FIGURE_SWATCH,
                           FIGURE_MARGIN);
    append_number(svg, top + FIGURE_SWATCH / 2.0);
    g_string_append_printf(svg, "h%u\"/>\n", FIGURE_SWATCH);
    append_text(svg, "k", FIGURE_MARGIN + FIGURE_SWATCH + 8, base,
                key->name);
    append_text(svg, "e", FIGURE_AMOUNT_RIGHT, base, key->amount);
    append_text(svg, "e", FIGURE_SHARE_RIGHT, base, key->share);
}

char *memory_map_svg(const MemoryMap *map, MemoryLayout layout,
                     const char *title, bool standalone)
{
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, layout, 0, title,
                                                       FIGURE_NOTE_CHARS);
    MemoryGeometry geometry = memory_geometry(figure);
    GString *svg = g_string_new(NULL);

    append_begin(svg, figure, geometry.height, standalone);
    append_map(svg, figure, &geometry);
    for (unsigned i = 0; i < figure->n_keys; i++) {
        append_key(svg, &figure->keys[i],
                   geometry.keys + i * FIGURE_KEY_HEIGHT);
    }
    for (unsigned i = 0; figure->notes[i]; i++) {
        append_text(svg, "n", FIGURE_MARGIN, geometry.notes +
                    FIGURE_NOTE_SIZE + i * FIGURE_NOTE_HEIGHT,
                    figure->notes[i]);
    }
    g_string_append(svg, "</svg>\n");
    return g_string_free(svg, FALSE);
}
