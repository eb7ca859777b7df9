/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/build-name.h"

#include <string.h>

static const struct {
    const char *name;
    const char *title;
    bool ours;
} builds[] = {
    { BUILD_UNMODIFIED, "unmodified", false },
    { "free-page-hint", "free-page-hint", false },
    { "skip-balloon", "skip-balloon", true },
    { "skip-unpopulated", "skip-unpopulated", true },
    { "both", "both capabilities", true },
    { BUILD_NEVER, "never ballooned", false },
};

G_STATIC_ASSERT(G_N_ELEMENTS(builds) + 1 == BUILD_COLOURS);

unsigned build_colour(const char *build)
{
    unsigned i = 0;

    while (i < G_N_ELEMENTS(builds) && strcmp(builds[i].name, build)) {
        i++;
    }
    return i;
}

const char *build_title(const char *build)
{
    unsigned i = build_colour(build);

    return i < G_N_ELEMENTS(builds) ? builds[i].title : build;
}

bool build_is_ours(const char *build)
{
    unsigned i = build_colour(build);

    return i < G_N_ELEMENTS(builds) && builds[i].ours;
}

static gint compare(gconstpointer a, gconstpointer b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;
    int order = (int)build_colour(x) - (int)build_colour(y);

    return order ? order : strcmp(x, y);
}

void builds_sort(GPtrArray *names)
{
    g_ptr_array_sort(names, compare);
}

const char *builds_pick_ours(const GPtrArray *names)
{
    static const char *const order[] = {
        "both", "skip-balloon", "skip-unpopulated",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        for (unsigned j = 0; j < names->len; j++) {
            if (!strcmp(order[i], names->pdata[j])) {
                return names->pdata[j];
            }
        }
    }
    return NULL;
}
