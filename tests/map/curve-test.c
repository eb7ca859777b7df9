/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "base/error.h"
#include "map/curve.h"

static void check_curve(MemoryLayout layout, unsigned columns, unsigned rows,
                        bool neighbours)
{
    g_autofree MemoryPoint *points = memory_curve(layout, columns, rows);
    g_autofree bool *seen = g_new0(bool, columns * rows);

    g_test_message("%u columns, %u rows", columns, rows);
    g_assert_cmpuint(points[0].x + points[0].y, ==, 0);
    for (unsigned i = 0; i < columns * rows; i++) {
        const MemoryPoint *p = &points[i];

        g_assert_cmpuint(p->x, <, columns);
        g_assert_cmpuint(p->y, <, rows);
        g_assert_false(seen[p->y * columns + p->x]);
        seen[p->y * columns + p->x] = true;
        if (i && neighbours) {
            g_assert_cmpint(abs((int)(p->x - p[-1].x)) +
                            abs((int)(p->y - p[-1].y)), ==, 1);
        }
    }
}

static void test_hilbert(void)
{
    for (unsigned columns = 1; columns <= 40; columns++) {
        for (unsigned rows = 1; rows <= 40; rows++) {
            check_curve(MEMORY_HILBERT, columns, rows,
                        columns % 2 == 0 && rows % 2 == 0);
        }
    }
    check_curve(MEMORY_HILBERT, 256, 256, true);
}

/* In a square of 2^n it is Hilbert's own: each quarter is a stretch. */
static void test_hilbert_square(void)
{
    g_autofree MemoryPoint *points = memory_curve(MEMORY_HILBERT, 64, 64);

    for (unsigned size = 64; size > 1; size /= 2) {
        for (unsigned i = 0; i < 64 * 64; i++) {
            const MemoryPoint *first = &points[i / (size * size) *
                                               (size * size)];

            g_assert_cmpuint(points[i].x / size, ==, first->x / size);
            g_assert_cmpuint(points[i].y / size, ==, first->y / size);
        }
    }
}

static void test_rows(void)
{
    g_autofree MemoryPoint *points = memory_curve(MEMORY_ROWS, 3, 2);

    check_curve(MEMORY_ROWS, 3, 2, false);
    g_assert_cmpuint(points[4].x, ==, 1);
    g_assert_cmpuint(points[4].y, ==, 1);
}

static void test_layout(void)
{
    g_autoptr(GError) error = NULL;
    MemoryLayout layout = MEMORY_ROWS;

    g_assert_true(memory_layout_parse("hilbert", &layout, NULL));
    g_assert_cmpint(layout, ==, MEMORY_HILBERT);
    g_assert_true(memory_layout_parse("rows", &layout, NULL));
    g_assert_cmpint(layout, ==, MEMORY_ROWS);
    g_assert_false(memory_layout_parse("spiral", &layout, &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_USAGE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory-curve/hilbert", test_hilbert);
    g_test_add_func("/memory-curve/hilbert-square", test_hilbert_square);
    g_test_add_func("/memory-curve/rows", test_rows);
    g_test_add_func("/memory-curve/layout", test_layout);
    return g_test_run();
}
