/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that needs more than its balloon leaves it, while it migrates. With
 * deflate-on-oom Linux takes pages out of the balloon rather than kill.
 */
#include "life.h"

/* Of the 96 MiB in the balloon, and what is free. */
#define NEEDED_MIB 112

static bool was_deflated(Life *life, uint64_t *ballooned, GError **error)
{
    uint64_t left;

    if (!balloon_query(life->vm, &left, error)) {
        return false;
    }
    FAIL_UNLESS(left > LIFE_TO, "nothing was taken out of the balloon");
    *ballooned = life->bench->config.memory - left;
    g_test_message("%" G_GUINT64_FORMAT " MiB are in the balloon still",
                   *ballooned / SIZE_MIB);
    return life_check_map(life, *ballooned, error);
}

static bool test_oom(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };
    uint64_t ballooned;

    life_option(&life, "-global",
                g_strdup("virtio-balloon-pci.deflate-on-oom=on"));
    return life_boot(&life, bench, error) &&
           life_inflate(&life, LIFE_TO, error) &&
           life_start(&life, error) &&
           life_sent(&life, LIFE_TO / 4, error) &&
           life_say(&life, "fill " G_STRINGIFY(NEEDED_MIB), error) &&
           was_deflated(&life, &ballooned, error) &&
           bench_intact(life.vm, error) && life_arrive(&life, error) &&
           bench_intact(life.vm, error) &&
           life_check_map(&life, ballooned, error) &&
           life_say(&life, "fill 0", error) &&
           life_hop(&life, ballooned, error);
}

void life_oom_add(void)
{
    bench_add("/life/oom", test_oom, BACKEND_ANON, SKIP_BOTH, NEEDS_GUEST);
    bench_add("/life/oom", test_oom, BACKEND_MEMFD, SKIP_BALLOON,
              NEEDS_GUEST);
}
