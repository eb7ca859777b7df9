/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/figure.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

/* A blank at which no line ends; names of blocks hold none. */
#define FIXED_BLANK '\001'

static unsigned count_cells(const MemoryMap *map)
{
    unsigned count = 0;

    for (unsigned i = 0; i < map->blocks->len; i++) {
        const MemoryBlock *block = map->blocks->pdata[i];

        count += memory_map_shows(map, block) ? block->n_cells : 0;
    }
    return count;
}

static unsigned round_up(unsigned n, unsigned unit)
{
    return (n + unit - 1) / unit * unit;
}

/* The curve needs both sides to be even. */
static unsigned choose_rows(MemoryLayout layout, unsigned columns,
                            unsigned cells)
{
    unsigned rows = (cells + columns - 1) / columns;

    return layout == MEMORY_HILBERT ? round_up(rows, 2) : rows;
}

/* Of all that are not twice as wide as high, the one with least left over. */
static unsigned choose_columns(MemoryLayout layout, unsigned cells)
{
    unsigned best = round_up(ceil(sqrt(cells)), 2);
    unsigned limit = MAX(best, sqrt(2.0 * cells));

    for (unsigned columns = best; columns <= limit; columns += 2) {
        if (columns * choose_rows(layout, columns, cells) <
            best * choose_rows(layout, best, cells)) {
            best = columns;
        }
    }
    return best;
}

static void place_cells(MemoryFigure *figure, const MemoryMap *map,
                        MemoryLayout layout)
{
    g_autofree MemoryPoint *points = memory_curve(layout, figure->columns,
                                                  figure->rows);
    const MemoryPoint *next = points;
    gsize places = (gsize)figure->columns * figure->rows;

    figure->cells = g_malloc(places);
    memset(figure->cells, MEMORY_NO_CELL, places);
    for (unsigned i = 0; i < map->blocks->len; i++) {
        const MemoryBlock *block = map->blocks->pdata[i];

        if (!memory_map_shows(map, block)) {
            continue;
        }
        for (unsigned j = 0; j < block->n_cells; j++, next++) {
            figure->cells[(gsize)next->y * figure->columns + next->x] =
                memory_state_of(&block->cells[j], block->has_record);
        }
    }
}

/* Neither 0.0 % of what is there nor 100.0 % of what is not all. */
static char *format_share(uint64_t part, uint64_t whole)
{
    double percent = 100.0 * part / whole;

    if (part < whole && percent > 99.9) {
        return g_strdup("> 99.9 %");
    }
    return percent < 0.1 ? g_strdup("< 0.1 %")
                         : g_strdup_printf("%.1f %%", percent);
}

static void fill_legend(MemoryFigure *figure, const MemoryMap *map)
{
    uint64_t bytes[MEMORY_STATES];
    uint64_t sum = memory_map_totals(map, bytes);

    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        if (bytes[i]) {
            figure->keys[figure->n_keys++] = (MemoryKey) {
                .state = i,
                .name = memory_state_name(i, map->recorded),
                .amount = size_format(bytes[i]),
                .share = format_share(bytes[i], sum),
            };
        }
    }
}

static void add_line(GPtrArray *notes, const char *text)
{
    const char fixed[] = { FIXED_BLANK, '\0' };

    g_ptr_array_add(notes, g_strdelimit(g_strdup(text), fixed, ' '));
}

/* Lines of a word that is too long for one; what is left of it stays. */
static void break_word(GPtrArray *notes, GString *line, unsigned length)
{
    while (g_utf8_strlen(line->str, -1) > length) {
        g_autofree char *head = g_utf8_substring(line->str, 0, length);

        add_line(notes, head);
        g_string_erase(line, 0, strlen(head));
    }
}

/* Break a sentence into lines, between its words if possible. */
static void add_note(GPtrArray *notes, const char *text, unsigned length)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    g_autoptr(GString) line = g_string_new(words[0]);

    for (unsigned i = 1; words[0] && words[i]; i++) {
        if (g_utf8_strlen(line->str, -1) + 1 +
            g_utf8_strlen(words[i], -1) > length) {
            add_line(notes, line->str);
            g_string_assign(line, words[i]);
        } else {
            g_string_append_printf(line, " %s", words[i]);
        }
        break_word(notes, line, length);
    }
    add_line(notes, line->str);
}

/* The names of those blocks for which a question has that answer, or NULL. */
static char *list_blocks(const MemoryMap *map, bool shown,
                         bool (*asked)(const MemoryBlock *block))
{
    g_autoptr(GString) list = g_string_new(NULL);

    for (unsigned i = 0; i < map->blocks->len; i++) {
        const MemoryBlock *block = map->blocks->pdata[i];
        g_autofree char *size = size_format(block->size);

        if (memory_map_shows(map, block) == shown &&
            (!asked || asked(block))) {
            g_strdelimit(size, " ", FIXED_BLANK);
            g_string_append_printf(list, "%s%s (%s)", list->len ? ", " : "",
                                   block->id, size);
        }
    }
    return list->len ? g_strdup(list->str) : NULL;
}

static bool is_untold(const MemoryBlock *block)
{
    return !block->has_unpopulated;
}

static bool is_unrecorded(const MemoryBlock *block)
{
    return !block->has_record;
}

G_GNUC_PRINTF(4, 5)
static void note(GPtrArray *notes, unsigned length, const char *names,
                 const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (!names) {
        return;
    }
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    add_note(notes, text, length);
}

static char **make_notes(const MemoryMap *map, MemoryLayout layout,
                         unsigned length)
{
    GPtrArray *notes = g_ptr_array_new();
    g_autofree char *cell = size_format(map->cell_size);
    g_autofree char *shown = list_blocks(map, true, NULL);
    g_autofree char *left_out = list_blocks(map, false, NULL);
    g_autofree char *untold = list_blocks(map, true, is_untold);
    g_autofree char *unrecorded = map->recorded ?
        list_blocks(map, true, is_unrecorded) : NULL;

    note(notes, length, cell, "One cell is %s and shows what most of it is; "
         "cells follow each other %s.", cell, layout == MEMORY_HILBERT ?
         "along a Hilbert curve that begins in the upper left corner" :
         "row by row");
    note(notes, length, shown, "Percentages are of what is shown: %s.", shown);
    note(notes, length, left_out, "Too small to be shown: %s.", left_out);
    note(notes, length, untold, "The host cannot tell what is unpopulated of "
         "%s.", untold);
    note(notes, length, unrecorded, "The migration did not know %s.",
         unrecorded);
    if (!map->recorded) {
        add_note(notes, "No migration with skip-balloon or skip-unpopulated "
                 "has been recorded.", length);
    }
    g_ptr_array_add(notes, NULL);
    return (char **)g_ptr_array_free(notes, FALSE);
}

static char *make_title(const MemoryMap *map)
{
    uint64_t bytes[MEMORY_STATES];
    g_autofree char *size = size_format(memory_map_totals(map, bytes));

    return g_strdup_printf(map->recorded
                           ? "Memory of the guest, %s, and its migration"
                           : "Memory of the guest, %s", size);
}

MemoryFigure *memory_figure_new(const MemoryMap *map, MemoryLayout layout,
                                unsigned columns, const char *title,
                                unsigned line_length)
{
    MemoryFigure *figure = g_new0(MemoryFigure, 1);
    unsigned cells = count_cells(map);

    figure->title = title ? g_strdup(title) : make_title(map);
    figure->columns = columns ? columns : choose_columns(layout, cells);
    figure->rows = choose_rows(layout, figure->columns, cells);
    place_cells(figure, map, layout);
    fill_legend(figure, map);
    figure->notes = make_notes(map, layout, line_length);
    return figure;
}

void memory_figure_free(MemoryFigure *figure)
{
    if (!figure) {
        return;
    }
    for (unsigned i = 0; i < figure->n_keys; i++) {
        g_free(figure->keys[i].amount);
        g_free(figure->keys[i].share);
    }
    g_strfreev(figure->notes);
    g_free(figure->cells);
    g_free(figure->title);
    g_free(figure);
}

unsigned memory_figure_cell(const MemoryFigure *figure, unsigned x,
                            unsigned y)
{
    return y < figure->rows ? figure->cells[(gsize)y * figure->columns + x]
                            : MEMORY_NO_CELL;
}

MemoryGeometry memory_geometry(const MemoryFigure *figure)
{
    MemoryGeometry geometry;

    geometry.cell = (double)FIGURE_MAP_WIDTH / figure->columns;
    geometry.map_height = geometry.cell * figure->rows;
    geometry.keys = FIGURE_MAP_TOP + geometry.map_height + FIGURE_MARGIN;
    geometry.notes = geometry.keys + figure->n_keys * FIGURE_KEY_HEIGHT +
                     FIGURE_MARGIN / 2;
    geometry.height = geometry.notes + FIGURE_MARGIN / 2 +
        g_strv_length(figure->notes) * FIGURE_NOTE_HEIGHT;
    return geometry;
}
