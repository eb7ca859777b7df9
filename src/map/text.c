/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/draw.h"

#include "base/size.h"
#include "base/table.h"
#include "map/figure.h"

/* Of the offset at the left of a row, and the blank after it. */
#define LABEL_WIDTH 10
#define MAX_COLUMNS 128
/* A width of that makes the offsets round numbers. */
#define COLUMN_UNIT 16
/* Of the curve, so that it fits on a screen. */
#define CURVE_COLUMNS 32
#define MIN_LINE 20

/* Two cells to a character, one above the other. */
static bool has_half_blocks(const Terminal *terminal)
{
    return terminal->colour && terminal->utf8;
}

/* Characters for a cell of the curve, which is to be as wide as high. */
static unsigned cell_width(MemoryLayout layout,
                           const Terminal *terminal)
{
    return layout == MEMORY_HILBERT && !has_half_blocks(terminal) ? 2 : 1;
}

unsigned memory_map_columns(MemoryLayout layout,
                            const Terminal *terminal)
{
    unsigned columns;

    if (layout == MEMORY_HILBERT) {
        columns = terminal->width / cell_width(layout, terminal);
        return CLAMP(columns & ~1u, 2,
                     has_half_blocks(terminal) ? 2 * CURVE_COLUMNS
                                               : CURVE_COLUMNS);
    }
    columns = terminal->width > LABEL_WIDTH ? terminal->width - LABEL_WIDTH
                                            : 1;
    columns = MIN(columns, MAX_COLUMNS);
    return columns < COLUMN_UNIT ? columns
                                 : columns / COLUMN_UNIT * COLUMN_UNIT;
}

/* Escape sequences only where the colours change. */
typedef struct Pen {
    GString *text;
    unsigned front;
    unsigned back;
} Pen;

static void pen_reset(Pen *pen)
{
    if (pen->front != MEMORY_NO_CELL || pen->back != MEMORY_NO_CELL) {
        g_string_append(pen->text, "\033[0m");
    }
    pen->front = pen->back = MEMORY_NO_CELL;
}

static void pen_set(Pen *pen, unsigned front, unsigned back)
{
    if ((front == MEMORY_NO_CELL && pen->front != front) ||
        (back == MEMORY_NO_CELL && pen->back != back)) {
        pen_reset(pen);
    }
    if (front != pen->front) {
        g_string_append_printf(pen->text, "\033[38;5;%um",
                               memory_state_ansi(front));
    }
    if (back != pen->back) {
        g_string_append_printf(pen->text, "\033[48;5;%um",
                               memory_state_ansi(back));
    }
    pen->front = front;
    pen->back = back;
}

static void put_halves(Pen *pen, unsigned upper, unsigned lower)
{
    if (upper == MEMORY_NO_CELL && lower == MEMORY_NO_CELL) {
        pen_reset(pen);
        g_string_append_c(pen->text, ' ');
    } else if (upper == MEMORY_NO_CELL) {
        pen_set(pen, lower, MEMORY_NO_CELL);
        g_string_append(pen->text, "\u2584");
    } else {
        pen_set(pen, upper, lower);
        g_string_append(pen->text, "\u2580");
    }
}

static void put_cell(Pen *pen, const Terminal *terminal,
                     unsigned width, unsigned state)
{
    char c = ' ';

    if (terminal->colour) {
        pen_set(pen, MEMORY_NO_CELL, state);
    } else if (state != MEMORY_NO_CELL) {
        c = memory_state_char(state);
    }
    for (unsigned i = 0; i < width; i++) {
        g_string_append_c(pen->text, c);
    }
}

static void append_line(GString *text, const MemoryFigure *figure,
                        const Terminal *terminal, unsigned width,
                        unsigned y)
{
    Pen pen = { text, MEMORY_NO_CELL, MEMORY_NO_CELL };

    for (unsigned x = 0; x < figure->columns; x++) {
        unsigned state = memory_figure_cell(figure, x, y);

        if (has_half_blocks(terminal)) {
            put_halves(&pen, state, memory_figure_cell(figure, x, y + 1));
        } else {
            put_cell(&pen, terminal, width, state);
        }
    }
    pen_reset(&pen);
    while (text->len && text->str[text->len - 1] == ' ') {
        g_string_truncate(text, text->len - 1);
    }
    g_string_append_c(text, '\n');
}

static void append_map(GString *text, const MemoryFigure *figure,
                       const MemoryMap *map, MemoryLayout layout,
                       const Terminal *terminal)
{
    unsigned step = has_half_blocks(terminal) ? 2 : 1;

    for (unsigned y = 0; y < figure->rows; y += step) {
        if (layout == MEMORY_ROWS) {
            g_autofree char *offset = size_format(
                (uint64_t)y * figure->columns * map->cell_size);

            g_string_append_printf(text, "%*s ", LABEL_WIDTH - 1, offset);
        }
        append_line(text, figure, terminal, cell_width(layout, terminal), y);
    }
}

static void append_swatch(GString *text, const Terminal *terminal,
                          MemoryState state)
{
    Pen pen = { text, MEMORY_NO_CELL, MEMORY_NO_CELL };

    put_cell(&pen, terminal, terminal->colour ? 2 : 1, state);
    pen_reset(&pen);
}

static void append_legend(GString *text, const MemoryFigure *figure,
                          const Terminal *terminal)
{
    g_autoptr(Table) table = table_new(3);
    g_autofree char *formatted = NULL;
    g_auto(GStrv) lines = NULL;

    for (unsigned i = 0; i < figure->n_keys; i++) {
        const MemoryKey *key = &figure->keys[i];
        const char *cells[] = {
            key->name, key->amount, key->share, NULL
        };

        table_add_row(table, cells);
    }
    formatted = table_format(table);
    lines = g_strsplit(formatted, "\n", -1);
    for (unsigned i = 0; i < figure->n_keys; i++) {
        append_swatch(text, terminal, figure->keys[i].state);
        g_string_append_printf(text, "  %s\n", lines[i]);
    }
}

char *memory_map_text(const MemoryMap *map, MemoryLayout layout,
                      const char *title, const Terminal *terminal)
{
    g_autoptr(MemoryFigure) figure = memory_figure_new(
        map, layout, memory_map_columns(layout, terminal), title,
        MAX(terminal->width, MIN_LINE));
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%s\n\n", figure->title);
    append_map(text, figure, map, layout, terminal);
    g_string_append_c(text, '\n');
    append_legend(text, figure, terminal);
    g_string_append_c(text, '\n');
    for (char **line = figure->notes; *line; line++) {
        g_string_append_printf(text, "%s\n", *line);
    }
    return g_string_free(text, FALSE);
}
