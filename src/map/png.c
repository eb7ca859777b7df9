/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/draw.h"

#include <cairo.h>
#include <math.h>

#include "base/error.h"
#include "map/figure.h"

/* Pixels of a unit, for screens that are dense. */
#define SCALE 2
#define TEXT_RGB 0x1b1f24

static void set_rgb(cairo_t *cr, uint32_t rgb)
{
    cairo_set_source_rgb(cr, (rgb >> 16) / 255.0, (rgb >> 8 & 255) / 255.0,
                         (rgb & 255) / 255.0);
}

static void draw_text(cairo_t *cr, double size, double x, double y,
                      bool to_left, const char *text)
{
    cairo_text_extents_t extents;

    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, text, &extents);
    set_rgb(cr, TEXT_RGB);
    cairo_move_to(cr, to_left ? x - extents.x_advance : x, y);
    cairo_show_text(cr, text);
}

/* Edges lie on whole pixels, so that no two colours mix. */
static double snap(double units)
{
    return round(units * SCALE) / SCALE;
}

static void draw_cell(cairo_t *cr, const MemoryFigure *figure, double side,
                      unsigned x, unsigned y)
{
    unsigned state = memory_figure_cell(figure, x, y);
    double left = snap(x * side);
    double top = snap(y * side);

    if (state == MEMORY_NO_CELL) {
        return;
    }
    set_rgb(cr, memory_state_rgb(state));
    cairo_rectangle(cr, FIGURE_MARGIN + left, FIGURE_MAP_TOP + top,
                    snap((x + 1) * side) - left, snap((y + 1) * side) - top);
    cairo_fill(cr);
}

static void draw_key(cairo_t *cr, const MemoryKey *key, double top)
{
    double base = top + FIGURE_SWATCH - 2;

    set_rgb(cr, memory_state_rgb(key->state));
    cairo_rectangle(cr, FIGURE_MARGIN, top, FIGURE_SWATCH, FIGURE_SWATCH);
    cairo_fill(cr);
    draw_text(cr, FIGURE_TEXT_SIZE, FIGURE_MARGIN + FIGURE_SWATCH + 8, base,
              false, key->name);
    draw_text(cr, FIGURE_TEXT_SIZE, FIGURE_AMOUNT_RIGHT, base, true,
              key->amount);
    draw_text(cr, FIGURE_TEXT_SIZE, FIGURE_SHARE_RIGHT, base, true,
              key->share);
}

static void draw_title(cairo_t *cr, const char *title)
{
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_BOLD);
    draw_text(cr, FIGURE_TITLE_SIZE, FIGURE_MARGIN, FIGURE_TITLE_BASE, false,
              title);
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_NORMAL);
}

static void draw(cairo_t *cr, const MemoryFigure *figure,
                 const MemoryGeometry *geometry)
{
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    draw_title(cr, figure->title);
    for (unsigned y = 0; y < figure->rows; y++) {
        for (unsigned x = 0; x < figure->columns; x++) {
            draw_cell(cr, figure, geometry->cell, x, y);
        }
    }
    for (unsigned i = 0; i < figure->n_keys; i++) {
        draw_key(cr, &figure->keys[i],
                 snap(geometry->keys) + i * FIGURE_KEY_HEIGHT);
    }
    for (unsigned i = 0; figure->notes[i]; i++) {
        draw_text(cr, FIGURE_NOTE_SIZE, FIGURE_MARGIN, geometry->notes +
                  FIGURE_NOTE_SIZE + i * FIGURE_NOTE_HEIGHT, false,
                  figure->notes[i]);
    }
}

static cairo_status_t append_bytes(void *opaque, const unsigned char *data,
                                   unsigned length)
{
    g_byte_array_append(opaque, data, length);
    return CAIRO_STATUS_SUCCESS;
}

static cairo_status_t draw_surface(cairo_surface_t *surface,
                                   const MemoryFigure *figure,
                                   const MemoryGeometry *geometry)
{
    cairo_t *cr = cairo_create(surface);
    cairo_status_t status;

    cairo_scale(cr, SCALE, SCALE);
    draw(cr, figure, geometry);
    status = cairo_status(cr);
    cairo_destroy(cr);
    return status;
}

GBytes *memory_map_png(const MemoryMap *map, MemoryLayout layout,
                       const char *title, GError **error)
{
    g_autoptr(MemoryFigure) figure = memory_figure_new(map, layout, 0, title,
                                                       FIGURE_NOTE_CHARS);
    g_autoptr(GByteArray) png = g_byte_array_new();
    MemoryGeometry geometry = memory_geometry(figure);
    cairo_surface_t *surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, FIGURE_WIDTH * SCALE,
        ceil(geometry.height * SCALE));
    cairo_status_t status = draw_surface(surface, figure, &geometry);

    if (status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png_stream(surface, append_bytes,
                                                   png);
    }
    cairo_surface_destroy(surface);
    if (status != CAIRO_STATUS_SUCCESS) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "Cairo cannot draw the picture: %s",
                    cairo_status_to_string(status));
        return NULL;
    }
    return g_byte_array_free_to_bytes(g_steal_pointer(&png));
}
