/*
 * Tests of migration capability skip-unpopulated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "unpopulated-guest.h"

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    /* A transparent huge page populates what nobody asked for. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (ug_is_alpha()) {
        add_scatter_alpha_tests();
        add_more_alpha_tests();
        add_later_alpha_tests();
    } else {
        add_scatter_tests();
        add_alone_tests();
        add_host_tests();
        add_later_tests();
        add_more_tests();
        add_random_tests();
    }
    return g_test_run();
}
