/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of a guest whose balloon is being inflated or deflated, loaded
 * into the process that saved them, and into others.
 */
#include "commands.h"
#include "life.h"

/* Smaller still: it is saved and loaded often. */
#define MEMORY (144 * SIZE_MIB)
#define LEFT (96 * SIZE_MIB)
#define BALLOONED (MEMORY - LEFT)
#define WORKSET (8 * SIZE_MIB)

/* On each kind of memory, the guest being inflated and deflated in turn */
#define SNAPSHOTS 10
/* How many of them a process loads that was started for that. */
#define LOADS_EACH 5

/* Of shared memory, besides the guest's */
#define SLACK (4 * SIZE_MIB)

/* The balloon, of which some has been moved when the guest is stopped. */
typedef struct Moment {
    uint64_t left;
    uint64_t map;
} Moment;

static bool look(Life *life, Moment *moment, GError **error)
{
    return balloon_query(life->vm, &moment->left, error) &&
           life_map_bytes(life->vm, NULL, &moment->map, error);
}

/*
 * What is in the map was let go of, whatever the process had there before it
 * loaded. Private memory of the guest cannot be told from QEMU's own.
 */
static bool check_memory(Life *life, const Moment *moment, GError **error)
{
    uint64_t shared;

    if (life->bench->backend != BACKEND_MEMFD) {
        return true;
    }
    if (!bench_shared_memory(life->vm, &shared, error)) {
        return false;
    }
    FAIL_UNLESS(shared + moment->map <= MEMORY + SLACK, "%"
                G_GUINT64_FORMAT " bytes of memory are in use, and %"
                G_GUINT64_FORMAT " in the balloon", shared, moment->map);
    return true;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* Wait until the balloon has done so much of its way. */
static bool wait_moved(Life *life, uint64_t from, uint64_t bytes,
                       GError **error)
{
    Stall stall = { 0 };
    Moment now;

    do {
        if (!look(life, &now, error) ||
            session_stalled(life->bench->session, &stall, now.map,
                            "the balloon does not move", error)) {
            return false;
        }
    } while (distance(MEMORY - from, now.map) < bytes);
    return true;
}

/* A few may be saved when the balloon has arrived. */
static bool check_moving(const Moment *moments, GError **error)
{
    unsigned moving = 0;

    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        moving += moments[i].map && moments[i].map != BALLOONED;
    }
    FAIL_UNLESS(moving >= SNAPSHOTS / 2, "the balloon moved in %u snapshots",
                moving);
    return true;
}

static bool run(Life *life, const char *command, unsigned i, GError **error)
{
    g_autofree char *tag = g_strdup_printf("number-%u", i);

    return command_snapshot(life->bench->session, life->vm, command, tag,
                            error);
}

/* The guest stands still, so that what is saved is what is seen. */
static bool save(Life *life, unsigned i, Moment *moment, GError **error)
{
    uint64_t from = i % 2 ? LEFT : MEMORY;
    uint64_t goal = i % 2 ? MEMORY : LEFT;
    uint64_t way = BALLOONED * (i / 2 + 1) / (SNAPSHOTS / 2 + 4);

    if (!balloon_set(life->vm, goal, error) ||
        !wait_moved(life, from, way, error) ||
        !vm_do(life->vm, "stop", NULL, error) ||
        !run(life, "snapshot-save", i, error) ||
        !look(life, moment, error)) {
        return false;
    }
    g_test_message("%u: %" G_GUINT64_FORMAT " pages in the balloon", i,
                   moment->map / 4096);
    return vm_do(life->vm, "cont", NULL, error) &&
           balloon_reach(life->bench->session, life->vm, goal, error);
}

/* As it was saved; the guest goes on from there, and so does its balloon. */
static bool load(Life *life, unsigned i, const Moment *moment, GError **error)
{
    Moment now;

    if (!vm_do(life->vm, "stop", NULL, error) ||
        !run(life, "snapshot-load", i, error) ||
        !look(life, &now, error)) {
        return false;
    }
    FAIL_UNLESS(now.left == moment->left && now.map == moment->map,
                "number %u had %" G_GUINT64_FORMAT " bytes in its map, %"
                G_GUINT64_FORMAT " were left; now %" G_GUINT64_FORMAT " and %"
                G_GUINT64_FORMAT, i, moment->map, moment->left, now.map,
                now.left);
    /* It may have been stopped in the midst of a line, which goes first. */
    return check_memory(life, moment, error) &&
           vm_do(life->vm, "cont", NULL, error) &&
           guest_wait_ticks(vm_guest(life->vm), 2, error) &&
           life_say(life, "verify", error);
}

static bool switch_on(Life *life, GError **error)
{
    return migrate_skip(life->vm, life->vm, life->bench->skip, error);
}

/* Another process, which has the disk and nothing else. */
static bool other_process(Life *life, const char *path, GError **error)
{
    g_autofree char *name = g_strdup_printf("process-%u", ++life->hops);

    g_clear_pointer(&life->vm, vm_free);
    life->vm = bench_start(life->bench, name, life->bench->qemu, false,
                           error);
    return life->vm && command_open_image(life->vm, path, error) &&
           switch_on(life, error);
}

static bool load_all(Life *life, const char *path, const Moment *moments,
                     GError **error)
{
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        /* In the process that saved them, and then in others. */
        if (!load(life, i, &moments[i], error)) {
            return false;
        }
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if ((i % LOADS_EACH == 0 && !other_process(life, path, error)) ||
            !load(life, i, &moments[i], error)) {
            return false;
        }
    }
    return true;
}

static bool test_snapshots(Bench *bench, GError **error)
{
    g_autofree char *path = session_path(bench->session, "disk.qcow2");
    Moment moments[SNAPSHOTS];
    g_auto(Life) life = { 0 };

    bench->config.memory = MEMORY;
    bench->config.workset = WORKSET;
    if (!life_boot(&life, bench, error) || !switch_on(&life, error) ||
        !command_create_image(bench->session, life.vm, path, error) ||
        !command_open_image(life.vm, path, error)) {
        return false;
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if (!save(&life, i, &moments[i], error)) {
            return false;
        }
    }
    return check_moving(moments, error) &&
           load_all(&life, path, moments, error) &&
           life_inflate(&life, LEFT, error) &&
           life_hop(&life, BALLOONED, error);
}

void life_snapshot_add(void)
{
    bench_add("/life/snapshots", test_snapshots, BACKEND_ANON, SKIP_BOTH,
              NEEDS_GUEST);
    bench_add("/life/snapshots", test_snapshots, BACKEND_MEMFD, SKIP_BALLOON,
              NEEDS_GUEST);
}
