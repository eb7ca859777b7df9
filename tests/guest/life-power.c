/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that is suspended to memory, woken, and rebooted. Linux takes all
 * of its balloon back before it is suspended, and gives it back when it is
 * woken.
 */
#include "life.h"

#include <string.h>

static bool suspend(Life *life, GError **error)
{
    return guest_send(vm_guest(life->vm), "suspend", error) &&
           vm_wait_event(life->vm, "SUSPEND", error);
}

static bool is_suspended(Life *life, GError **error)
{
    g_autoptr(JsonNode) result = vm_execute(life->vm, "query-status", NULL,
                                            error);
    const char *status;

    if (!result) {
        return false;
    }
    status = json_object_get_string_member(json_node_get_object(result),
                                           "status");
    FAIL_UNLESS(!strcmp(status, "suspended"), "the guest is %s", status);
    return true;
}

static bool wake(Life *life, GError **error)
{
    return is_suspended(life, error) && life_check_gone(life, error) &&
           vm_do(life->vm, "system_wakeup", NULL, error) &&
           vm_wait_event(life->vm, "WAKEUP", error) &&
           bench_intact(life->vm, error) &&
           life_inflate(life, LIFE_TO, error);
}

/* What is not populated is skipped; there is no driver that has a balloon. */
static bool skipped_suspended(Life *life, GError **error)
{
    SkipSet skip = life->bench->skip;

    FAIL_UNLESS(!(skip & SKIP_BALLOON) || !life->stats.skipped_pages,
                "something was skipped as if it were in the balloon");
    FAIL_UNLESS(!(skip & SKIP_UNPOPULATED) ||
                life->stats.unpopulated.skipped_bytes >= LIFE_BALLOONED / 2,
                "%" G_GUINT64_FORMAT " bytes skipped as unpopulated",
                life->stats.unpopulated.skipped_bytes);
    return true;
}

static bool migrate_suspended(Life *life, GError **error)
{
    return suspend(life, error) && life_start(life, error) &&
           life_arrive(life, error) && skipped_suspended(life, error) &&
           wake(life, error) && life_hop(life, LIFE_BALLOONED, error);
}

/* The balloon is taken back while its map is on its way. */
static bool suspend_migrating(Life *life, GError **error)
{
    return life_start(life, error) && life_sent(life, SIZE_MIB, error) &&
           suspend(life, error) && life_arrive(life, error) &&
           wake(life, error) && life_hop(life, LIFE_BALLOONED, error);
}

static bool wait_booted(Life *life, GError **error)
{
    return guest_wait_ready(vm_guest(life->vm), error) &&
           bench_intact(life->vm, error) &&
           life_inflate(life, LIFE_TO, error);
}

static bool reboot(Life *life, GError **error)
{
    guest_expect_boot(vm_guest(life->vm));
    return life_say(life, "reboot", error) &&
           vm_wait_event(life->vm, "RESET", error) &&
           life_map_empty(life, error);
}

/* The guest boots, in the end, in the next QEMU. */
static bool reboot_migrating(Life *life, GError **error)
{
    return life_start(life, error) && life_sent(life, SIZE_MIB, error) &&
           reboot(life, error) && life_arrive(life, error) &&
           wait_booted(life, error) &&
           life_hop(life, LIFE_BALLOONED, error);
}

static bool test_power(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    bench->config.reboots = true;
    return life_boot(&life, bench, error) &&
           life_inflate(&life, LIFE_TO, error) &&
           migrate_suspended(&life, error) &&
           suspend_migrating(&life, error) &&
           reboot_migrating(&life, error);
}

void life_power_add(void)
{
    bench_add("/life/power", test_power, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_GUEST);
    bench_add("/life/power", test_power, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
}
