/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A DIMM that is plugged, ballooned, and migrated, and that the guest ejects
 * while it migrates once more, since it was asked to before. Linux moves what
 * is in it to other memory, its balloon page by page.
 */
#include "commands.h"
#include "life.h"

/* One block of memory, as small guests have it */
#define DIMM (128 * SIZE_MIB)
#define TOTAL (LIFE_MEMORY + DIMM)
/* In the balloon, most of it in the DIMM; the rest of that is checked. */
#define BALLOONED (96 * SIZE_MIB)
#define CHECKED_MIB 24
#define BALLOONED_IN_DIMM (64 * SIZE_MIB)
#define CHECKED_IN_DIMM (16 * SIZE_MIB)

#define BLOCK "dimm-ram"
#define DEVICE "dimm"

/* So slow that a migration outlasts what the guest does meanwhile */
#define CRAWL (2 * SIZE_MIB)

/* Of a guest that may stand still for as long as it takes, in milliseconds */
#define ANY_DOWNTIME 2000000

static const char *memory_type(const Bench *bench)
{
    return bench->backend == BACKEND_MEMFD ? "memory-backend-memfd"
                                           : "memory-backend-ram";
}

static bool plug(Life *life, GError **error)
{
    life->plugged = DIMM;
    return command_do(life->vm, "object-add", error,
                      "{ \"qom-type\": \"%s\", \"id\": \"" BLOCK "\","
                      " \"size\": %" G_GUINT64_FORMAT " }",
                      memory_type(life->bench), DIMM) &&
           command_do(life->vm, "device_add", error,
                      "{ \"driver\": \"pc-dimm\", \"id\": \"" DEVICE "\","
                      " \"memdev\": \"" BLOCK "\" }");
}

/* Whoever is started from now on has it from the beginning. */
static void have_plugged(Life *life)
{
    life_option(life, "-object", g_strdup_printf(
        "%s,id=" BLOCK ",size=%" G_GUINT64_FORMAT "B",
        memory_type(life->bench), DIMM));
    life_option(life, "-device", g_strdup("pc-dimm,id=" DEVICE
                                          ",memdev=" BLOCK));
}

static bool guest_total(Life *life, uint64_t *bytes, GError **error)
{
    if (!command_guest(life->vm, "mem", bytes, error,
                       "SB MEM total=%" G_GUINT64_FORMAT)) {
        return false;
    }
    *bytes *= SIZE_KIB;
    return true;
}

/* Wait until the guest uses the DIMM, but for what describes its pages. */
static bool wait_plugged(Life *life, uint64_t before, GError **error)
{
    Stall stall = { 0 };
    uint64_t total;

    do {
        if (!guest_total(life, &total, error) ||
            session_stalled(life->bench->session, &stall, total,
                            "the guest does not use the DIMM", error) ||
            !session_sleep(life->bench->session, 100, error)) {
            return false;
        }
    } while (total < before + DIMM / 2);
    return true;
}

/*
 * How many pages of the DIMM does the guest check, and how many bytes of it are
 * in the balloon?
 */
static bool in_dimm(Life *life, uint64_t *pages, uint64_t *map,
                    GError **error)
{
    return command_guest(life->vm, "plugged", pages, error,
                         "SB PLUGGED pages=%" G_GUINT64_FORMAT) &&
           life_map_bytes(life->vm, BLOCK, map, error);
}

/* Not nothing, or the rest would test little. */
static bool check_in_dimm(Life *life, GError **error)
{
    uint64_t pages;
    uint64_t map;

    if (!in_dimm(life, &pages, &map, error)) {
        return false;
    }
    g_test_message("of the DIMM, %" G_GUINT64_FORMAT " MiB are in the balloon"
                   ", %" G_GUINT64_FORMAT " MiB checked", map / SIZE_MIB,
                   pages * 4096 / SIZE_MIB);
    FAIL_UNLESS(map >= BALLOONED_IN_DIMM && pages * 4096 >= CHECKED_IN_DIMM,
                "%" G_GUINT64_FORMAT " bytes of the DIMM are in the balloon, "
                "and %" G_GUINT64_FORMAT " pages checked", map, pages);
    return true;
}

static bool plug_and_use(Life *life, GError **error)
{
    uint64_t before;

    return guest_total(life, &before, error) &&
           life_say(life, "dimm movable", error) && plug(life, error) &&
           wait_plugged(life, before, error) &&
           life_say(life, "fill " G_STRINGIFY(CHECKED_MIB), error) &&
           life_inflate(life, TOTAL - BALLOONED, error) &&
           check_in_dimm(life, error);
}

/* The guest is asked, and hears of it in the midst of the migration. */
static bool unplug_migrating(Life *life, GError **error)
{
    return life_say(life, "dimm deaf", error) &&
           command_do(life->vm, "device_del", error,
                      "{ \"id\": \"" DEVICE "\" }") &&
           life_start(life, error) &&
           migrate_set_bandwidth(life->vm, CRAWL, error) &&
           life_sent(life, 4 * SIZE_MIB, error) &&
           life_say(life, "dimm listen", error) &&
           vm_wait_event(life->vm, "DEVICE_DELETED", error) &&
           /* As whoever manages it does then */
           command_do(life->vm, "object-del", error,
                      "{ \"id\": \"" BLOCK "\" }");
}

/*
 * What was yet to be sent of the DIMM counts as if it still were: unmodified
 * QEMU goes on for ever, too, unless that is little enough for the downtime
 * that it may take.
 */
static bool arrive_without(Life *life, GError **error)
{
    life->plugged = 0;
    if (!life_check_map(life, BALLOONED, error) ||
        !life_sent(life, 0, error) ||
        !command_set_parameter(life->vm, "downtime-limit", ANY_DOWNTIME,
                               error) ||
        !life_arrive(life, error)) {
        return false;
    }
    /* Nor does the next QEMU ever get rid of it: the guest knows of none. */
    life->plugged = DIMM;
    return true;
}

static bool check_no_dimm(Life *life, GError **error)
{
    uint64_t pages;
    uint64_t map;

    if (!in_dimm(life, &pages, &map, error)) {
        return false;
    }
    FAIL_UNLESS(!map && !pages, "of a DIMM that is gone, %" G_GUINT64_FORMAT
                " bytes are in the balloon, and %" G_GUINT64_FORMAT
                " pages checked", map, pages);
    return true;
}

static bool test_dimm(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    /* Memory above 4 GiB would have Linux set 64 MiB aside for old devices. */
    bench->config.append = TEST_APPEND " swiotlb=512";
    life_option(&life, "-m", g_strdup("slots=2,maxmem=1G"));
    if (!life_boot(&life, bench, error) || !plug_and_use(&life, error)) {
        return false;
    }
    have_plugged(&life);
    return life_hop(&life, BALLOONED, error) &&
           check_in_dimm(&life, error) &&
           unplug_migrating(&life, error) &&
           arrive_without(&life, error) && bench_intact(life.vm, error) &&
           check_no_dimm(&life, error) &&
           life_check_map(&life, BALLOONED, error) &&
           life_hop(&life, BALLOONED, error);
}

void life_dimm_add(void)
{
    bench_add("/life/dimm", test_dimm, BACKEND_ANON, SKIP_BOTH, NEEDS_GUEST);
    bench_add("/life/dimm", test_dimm, BACKEND_MEMFD, SKIP_BALLOON,
              NEEDS_GUEST);
}
