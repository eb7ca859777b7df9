/*
 * The tests of memory layouts, as they are named and run
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "host-memory.h"
#include "memory-layout.h"

typedef struct Case {
    const MLayout *layout;
    MLMode mode;
} Case;

/* On huge pages, which a parent has seen to */
static void run_with_huge_pages(const Case *c)
{
    MLayout layout = *c->layout;
    g_autofree char *dir = NULL;
    bool mounted;

    if (layout.on_hugetlbfs) {
        dir = hm_find_hugetlbfs(&mounted);
        g_assert_false(mounted);
        layout.dir = dir;
    }
    ml_run(&layout, c->mode);
}

static void test_layout(gconstpointer data)
{
    const Case *c = data;

    if (c->layout->dir && access(c->layout->dir, W_OK)) {
        g_test_skip("there is no directory to write to");
    } else if (!c->layout->huge_bytes) {
        ml_run(c->layout, c->mode);
    } else if (g_test_subprocess()) {
        run_with_huge_pages(c);
    } else if (c->layout->on_hugetlbfs) {
        hm_test_on_hugetlbfs(2 * c->layout->huge_bytes);
    } else {
        /* Two guests are alive at a time. */
        hm_test_with_huge_pages(2 * c->layout->huge_bytes);
    }
}

static void add_case(const MLayout *layout, MLMode mode)
{
    static const char *const modes[] = {
        [ML_BALLOON] = "balloon",
        [ML_UNPOPULATED] = "unpopulated",
        [ML_BOTH] = "both",
    };
    g_autofree char *path = g_strdup_printf("skip-memory/%s/%s", layout->name,
                                            modes[mode]);
    Case *c = g_new0(Case, 1);

    c->layout = layout;
    c->mode = mode;
    qtest_add_data_func_full(path, c, test_layout, g_free);
}

void ml_add_layouts(const MLayout *layouts, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        if (layouts[i].each_alone) {
            add_case(&layouts[i], ML_BALLOON);
            add_case(&layouts[i], ML_UNPOPULATED);
        }
        add_case(&layouts[i], ML_BOTH);
    }
}
