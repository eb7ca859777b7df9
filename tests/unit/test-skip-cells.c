/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "migration/skip/cells.h"

static void test_shift(void)
{
    const uint64_t one[] = { UINT64_C(1) << 32 };
    const uint64_t odd[] = { 1000, 1, 25 };

    g_assert_cmpuint(skip_cells_shift(one, 1, 65536), ==, 16);
    g_assert_cmpuint(skip_cells_shift(one, 1, 65535), ==, 17);
    g_assert_cmpuint(skip_cells_shift(one, 1, 1), ==, 32);
    /* 63 + 1 + 2, then 32 + 1 + 1 */
    g_assert_cmpuint(skip_cells_shift(odd, 3, 66), ==, 4);
    g_assert_cmpuint(skip_cells_shift(odd, 3, 65), ==, 5);
    g_assert_cmpuint(skip_cells_shift(odd, 3, 2000), ==, 0);
    /* Each has a cell of its own, however few are asked for. */
    g_assert_cmpuint(skip_cells_shift(odd, 3, 1), ==, 10);
    g_assert_cmpuint(skip_cells_shift(NULL, 0, 1), ==, 0);
}

static void test_count(void)
{
    g_assert_cmpuint(skip_cells_count(0, 4), ==, 0);
    g_assert_cmpuint(skip_cells_count(16, 4), ==, 1);
    g_assert_cmpuint(skip_cells_count(17, 4), ==, 2);
    g_assert_cmpuint(skip_cells_count(17, 0), ==, 17);
}

static void test_add(void)
{
    uint32_t cells[4] = { 0 };

    skip_cells_add(cells, 3, 5, 27);
    g_assert_cmpuint(cells[0], ==, 3);
    g_assert_cmpuint(cells[1], ==, 8);
    g_assert_cmpuint(cells[2], ==, 8);
    g_assert_cmpuint(cells[3], ==, 3);
    skip_cells_add(cells, 3, 5, 5);
    skip_cells_add(cells, 3, 9, 10);
    g_assert_cmpuint(cells[0], ==, 3);
    g_assert_cmpuint(cells[1], ==, 9);
    cells[2] = UINT32_MAX - 2;
    skip_cells_add(cells, 3, 16, 24);
    g_assert_cmpuint(cells[2], ==, UINT32_MAX);
}

static void test_sum(void)
{
    const uint32_t cells[] = { 8, 3, 200, 0, 7 };

    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 1, 3), ==, 3);
    /* No cell has more than its 8 pages. */
    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 2, 3), ==, 8);
    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 0, 4), ==, 11);
    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 0, 6), ==, 26);
    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 2, 4), ==, 7);
    g_assert_cmpuint(skip_cells_sum(cells, 5, 3, 3, 4), ==, 0);
}

/* Whatever the cells, all of what was counted once is in the sums. */
static void test_random(void)
{
    for (int round = 0; round < 200; round++) {
        unsigned shift = g_test_rand_int_range(0, 7);
        unsigned larger = shift + g_test_rand_int_range(0, 5);
        uint64_t pages = g_test_rand_int_range(1, 3000);
        uint64_t n = skip_cells_count(pages, shift);
        g_autofree uint32_t *cells = g_new0(uint32_t, n);
        uint64_t at = 0, counted = 0, sum = 0;

        while (at < pages) {
            uint64_t end = at + g_test_rand_int_range(1, 200);

            end = MIN(end, pages);
            skip_cells_add(cells, shift, at, end);
            counted += end - at;
            at = end + g_test_rand_int_range(0, 100);
        }
        for (uint64_t i = 0; i < skip_cells_count(pages, larger); i++) {
            sum += skip_cells_sum(cells, n, shift, i, larger);
        }
        g_assert_cmpuint(sum, ==, counted);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/skip-cells/shift", test_shift);
    g_test_add_func("/skip-cells/count", test_count);
    g_test_add_func("/skip-cells/add", test_add);
    g_test_add_func("/skip-cells/sum", test_sum);
    g_test_add_func("/skip-cells/random", test_random);
    return g_test_run();
}
