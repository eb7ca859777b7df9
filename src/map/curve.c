/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/curve.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

typedef struct Vector {
    int x;
    int y;
} Vector;

static Vector add(Vector a, Vector b)
{
    return (Vector) { a.x + b.x, a.y + b.y };
}

static Vector subtract(Vector a, Vector b)
{
    return (Vector) { a.x - b.x, a.y - b.y };
}

static Vector half(Vector a)
{
    return (Vector) { a.x / 2, a.y / 2 };
}

/* Vectors are parallel to an axis here. */
static int length(Vector a)
{
    return abs(a.x + a.y);
}

static Vector unit(Vector a)
{
    return (Vector) { (a.x > 0) - (a.x < 0), (a.y > 0) - (a.y < 0) };
}

/* Half of it, of even length if that is possible. */
static Vector even_half(Vector a)
{
    Vector result = half(a);

    if (length(result) % 2 && length(a) > 2) {
        result = add(result, unit(a));
    }
    return result;
}

static void go_straight(MemoryPoint **next, Vector at, Vector along)
{
    for (int i = 0; i < length(along); i++) {
        *(*next)++ = (MemoryPoint) { at.x, at.y };
        at = add(at, unit(along));
    }
}

/*
 * Hilbert's curve for rectangles of any sides, after the "generalized Hilbert
 * curve" of Jakub Cerveny. Enters at the corner @at, leaves at the other end
 * of @major; a long rectangle is cut in two along it, others in three, of
 * which the first and the last are crossed the other way.
 */
static void go(MemoryPoint **next, Vector at, Vector major, Vector minor)
{
    Vector half_major = half(major);
    Vector half_minor = half(minor);
    Vector last;

    if (length(minor) == 1) {
        go_straight(next, at, major);
    } else if (length(major) == 1) {
        go_straight(next, at, minor);
    } else if (2 * length(major) > 3 * length(minor)) {
        half_major = even_half(major);
        go(next, at, half_major, minor);
        go(next, add(at, half_major), subtract(major, half_major), minor);
    } else {
        half_minor = even_half(minor);
        go(next, at, half_minor, half_major);
        go(next, add(at, half_minor), major, subtract(minor, half_minor));
        last = add(add(at, subtract(major, unit(major))),
                   subtract(half_minor, unit(minor)));
        go(next, last, subtract((Vector) { 0, 0 }, half_minor),
           subtract(half_major, major));
    }
}

bool memory_layout_parse(const char *word, MemoryLayout *layout,
                         GError **error)
{
    if (!strcmp(word, "rows")) {
        *layout = MEMORY_ROWS;
    } else if (!strcmp(word, "hilbert")) {
        *layout = MEMORY_HILBERT;
    } else {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--layout takes 'rows' or 'hilbert', not '%s'", word);
        return false;
    }
    return true;
}

MemoryPoint *memory_curve(MemoryLayout layout, unsigned columns,
                          unsigned rows)
{
    MemoryPoint *points = g_new(MemoryPoint, (gsize)columns * rows);
    MemoryPoint *next = points;
    Vector across = { columns, 0 };
    Vector down = { 0, rows };

    if (layout == MEMORY_ROWS) {
        for (unsigned i = 0; i < rows; i++) {
            go_straight(&next, (Vector) { 0, i }, across);
        }
    } else if (columns >= rows) {
        go(&next, (Vector) { 0, 0 }, across, down);
    } else {
        go(&next, (Vector) { 0, 0 }, down, across);
    }
    return points;
}
