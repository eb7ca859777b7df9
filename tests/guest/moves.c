/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All ways in which QEMU moves or saves a guest. Each begins while the guest
 * is at work, and most are slowed down for a while at first, so that there is
 * more than one pass over its memory.
 */
#include "moves.h"

#include <unistd.h>

#include "commands.h"

/* For how long a migration is slow at first */
#define SLOW_MS_MIN 50
#define SLOW_MS_MAX 250
#define SLOW_BANDWIDTH_MIN (1 * SIZE_MIB)
#define SLOW_BANDWIDTH_MAX (24 * SIZE_MIB)
/* What QEMU begins with */
#define DOWNTIME_MS 300
#define POSTCOPY_TRIES 3
/* So slow that a postcopy is not over before it is interrupted */
#define CRAWL (256 * SIZE_KIB)
#define POSTCOPY_CRAWL (16 * SIZE_KIB)

/* What earlier moves have left on; all at once, since some need others. */
static bool forget_capabilities(Vm *vm, GError **error)
{
    g_autoptr(JsonNode) answer = vm_execute(vm, "query-migrate-capabilities",
                                            NULL, error);
    JsonObject *arguments;
    JsonArray *all;

    if (!answer) {
        return false;
    }
    all = json_node_get_array(answer);
    for (guint i = 0; i < json_array_get_length(all); i++) {
        json_object_set_boolean_member(json_array_get_object_element(all, i),
                                       "state", false);
    }
    arguments = json_object_new();
    json_object_set_array_member(arguments, "capabilities",
                                 json_array_ref(all));
    return vm_do(vm, "migrate-set-capabilities", arguments, error);
}

/* ---- Steps of a move ---- */

bool move_intact(Journey *journey, GError **error)
{
    Guest *guest = vm_guest(journey->vm);
    g_autofree char *answer = NULL;

    if (!guest_wait_ticks(guest, 1, error)) {
        return false;
    }
    answer = guest_command(guest, "verify", error);
    return answer;
}

static Vm *start_other(Journey *journey, const char *qemu, bool incoming,
                       GError **error)
{
    g_autofree char *name = g_strdup_printf("vm-%u", journey->vms++);

    return bench_start(journey->bench, name, qemu, incoming, error);
}

static Vm *start_next(Journey *journey, GError **error)
{
    return start_other(journey, journey->bench->qemu, true, error);
}

/* The guest runs somewhere else now. */
static void arrive(Journey *journey, Vm **next)
{
    vm_free(journey->vm);
    journey->vm = g_steal_pointer(next);
}

static void count(Journey *journey, const MigrationStats *stats)
{
    journey->skipped += stats->skipped_pages +
                        stats->unpopulated.skipped_pages;
}

static bool go_slowly(Journey *journey, GError **error)
{
    return migrate_set_bandwidth(
        journey->vm, g_rand_int_range(journey->random, SLOW_BANDWIDTH_MIN,
                                      SLOW_BANDWIDTH_MAX), error);
}

static bool stay_slow(Journey *journey, GError **error)
{
    MigrationStats stats;

    return migrate_query(journey->vm, &stats, error) &&
           session_sleep(journey->bench->session,
                         g_rand_int_range(journey->random, SLOW_MS_MIN,
                                          SLOW_MS_MAX), error);
}

/*
 * A guest that lies uses what it gave back just then: what the first pass
 * decides about most of the pages it decides within a millisecond.
 */
static bool rush(Journey *journey, GError **error)
{
    g_autofree char *answer = NULL;

    if (!journey->lies) {
        return true;
    }
    answer = guest_command(vm_guest(journey->vm), "rush", error);
    return answer;
}

static bool start(Journey *journey, Vm *next, GError **error)
{
    return rush(journey, error) &&
           migrate_start(journey->bench->session, journey->vm, next, error);
}

/* Capabilities of the journey, a slow start, and off it goes. */
static bool set_off(Journey *journey, Vm *next, GError **error)
{
    return migrate_skip(journey->vm, next, journey->skip, error) &&
           go_slowly(journey, error) && start(journey, next, error);
}

/* It goes on as fast as can be, to its end. */
static bool complete(Journey *journey, Vm **next, GError **error)
{
    MigrationStats stats;

    if (!stay_slow(journey, error) ||
        !migrate_set_bandwidth(journey->vm, 0, error) ||
        !migrate_wait(journey->bench->session, journey->vm, *next, &stats,
                      error)) {
        return false;
    }
    count(journey, &stats);
    arrive(journey, next);
    return move_intact(journey, error);
}

/* ---- Precopy ---- */

bool move_precopy(Journey *journey, const char *qemu, GError **error)
{
    g_autoptr(Vm) next = start_other(journey, qemu, true, error);

    return next && forget_capabilities(journey->vm, error) &&
           set_off(journey, next, error) &&
           complete(journey, &next, error);
}

static bool precopy(Journey *journey, GError **error)
{
    return move_precopy(journey, journey->bench->qemu, error);
}

static bool precopy_with(Journey *journey, const char *capability,
                         GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);

    return next &&
           command_set_both(journey->vm, next, capability, error) &&
           set_off(journey, next, error) && complete(journey, &next, error);
}

static bool set_zero_pages(Vm *vm, bool by_channels, GError **error)
{
    return command_do(vm, "migrate-set-parameters", error,
                      "{ \"zero-page-detection\": \"%s\","
                      " \"multifd-channels\": 2 }",
                      by_channels ? "multifd" : "legacy");
}

static bool multifd(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);
    bool by_channels = g_rand_boolean(journey->random);

    return next &&
           command_set_both(journey->vm, next, "multifd", error) &&
           set_zero_pages(journey->vm, by_channels, error) &&
           set_zero_pages(next, by_channels, error) &&
           set_off(journey, next, error) && complete(journey, &next, error);
}

static bool xbzrle(Journey *journey, GError **error)
{
    return precopy_with(journey, "xbzrle", error);
}

static bool auto_converge(Journey *journey, GError **error)
{
    return command_set_parameter(journey->vm, "throttle-trigger-threshold", 1,
                              error) &&
           precopy_with(journey, "auto-converge", error);
}

static bool cancel(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);
    Session *session = journey->bench->session;
    MigrationStats stats;

    if (!next || !migrate_skip(journey->vm, next, journey->skip, error) ||
        !migrate_set_bandwidth(journey->vm, CRAWL, error) ||
        !command_set_parameter(journey->vm, "downtime-limit", 1, error) ||
        !start(journey, next, error) ||
        !migrate_wait_status(session, journey->vm, "active", &stats, error) ||
        !stay_slow(journey, error)) {
        return false;
    }
    vm_expect_exit(next);
    return migrate_cancel(session, journey->vm, error) &&
           command_set_parameter(journey->vm, "downtime-limit", DOWNTIME_MS,
                                 error) &&
           move_intact(journey, error);
}

/* ---- Postcopy ---- */

/*
 * The guest does not run there any more: if all that is not populated is
 * skipped, nothing gets populated by being read.
 */
static bool check_source(Journey *journey, GError **error)
{
    uint64_t now;

    if (!bench_shared_memory(journey->vm, &now, error)) {
        return false;
    }
    FAIL_UNLESS(now <= journey->at_switch ||
                journey->bench->backend != BACKEND_MEMFD ||
                !(journey->skip & SKIP_UNPOPULATED),
                "the source had %" G_GUINT64_FORMAT " KiB of guest memory when "
                "postcopy began, and has %" G_GUINT64_FORMAT " KiB",
                journey->at_switch >> 10, now >> 10);
    return true;
}

/* Until the guest runs on the destination */
static bool switch_to_postcopy(Journey *journey, Vm *next, GError **error)
{
    Session *session = journey->bench->session;
    MigrationStats stats;

    return command_set_both(journey->vm, next, "postcopy-ram", error) &&
           migrate_skip(journey->vm, next, journey->skip, error) &&
           migrate_set_bandwidth(journey->vm, CRAWL, error) &&
           command_set_parameter(journey->vm, "downtime-limit", 1, error) &&
           command_set_parameter(journey->vm, "max-postcopy-bandwidth",
                              POSTCOPY_CRAWL, error) &&
           start(journey, next, error) &&
           migrate_wait_status(session, journey->vm, "active", &stats,
                               error) &&
           stay_slow(journey, error) &&
           vm_do(journey->vm, "migrate-start-postcopy", NULL, error) &&
           vm_wait_event(next, "RESUME", error) &&
           bench_shared_memory(journey->vm, &journey->at_switch, error);
}

static bool complete_postcopy(Journey *journey, Vm **next, GError **error)
{
    Session *session = journey->bench->session;
    MigrationStats stats;

    if (!command_set_parameter(journey->vm, "max-postcopy-bandwidth", 0,
                            error) ||
        !migrate_wait_status(session, journey->vm, "completed", &stats,
                             error)) {
        return false;
    }
    if (!check_source(journey, error)) {
        return false;
    }
    journey->postcopy_bytes = stats.postcopy_bytes;
    count(journey, &stats);
    arrive(journey, next);
    return move_intact(journey, error);
}

/* Seldom all has been sent by the switch: then it is made again. */
static bool take_until_sent(Journey *journey, MoveFunc *take, GError **error)
{
    for (unsigned i = 0; i < POSTCOPY_TRIES; i++) {
        if (!take(journey, error)) {
            return false;
        }
        if (journey->postcopy_bytes) {
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_GUEST,
                "nothing was sent in postcopy, %d times", POSTCOPY_TRIES);
    return false;
}

static bool take_postcopy(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);

    return next && switch_to_postcopy(journey, next, error) &&
           stay_slow(journey, error) &&
           complete_postcopy(journey, &next, error);
}

static bool postcopy(Journey *journey, GError **error)
{
    return take_until_sent(journey, take_postcopy, error);
}

static bool take_preempt(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);

    return next &&
           command_set_both(journey->vm, next, "postcopy-ram", error) &&
           command_set_both(journey->vm, next, "postcopy-preempt",
                               error) &&
           switch_to_postcopy(journey, next, error) &&
           stay_slow(journey, error) &&
           complete_postcopy(journey, &next, error);
}

static bool preempt(Journey *journey, GError **error)
{
    return take_until_sent(journey, take_preempt, error);
}

/* The connection breaks while the guest runs on the destination. */
static bool take_recovery(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);
    Session *session = journey->bench->session;
    g_autofree char *path = session_path(session, "recover.sock");
    MigrationStats stats;

    if (!next || !switch_to_postcopy(journey, next, error) ||
        !vm_do(journey->vm, "migrate-pause", NULL, error) ||
        !migrate_wait_status(session, journey->vm, "postcopy-paused", &stats,
                             error) ||
        !migrate_wait_status(session, next, "postcopy-paused", &stats,
                             error) ||
        !command_do(next, "migrate-recover", error,
                    "{ \"uri\": \"unix:%s\" }", path) ||
        !command_do(journey->vm, "migrate", error,
                    "{ \"uri\": \"unix:%s\", \"resume\": true }", path) ||
        !complete_postcopy(journey, &next, error)) {
        return false;
    }
    unlink(path);
    return true;
}

static bool recovery(Journey *journey, GError **error)
{
    return take_until_sent(journey, take_recovery, error);
}

/* ---- Files ---- */

/* The guest goes on where it was saved, in another QEMU. */
static bool load(Journey *journey, const char *path, const char *capability,
                 GError **error)
{
    g_autoptr(Vm) next = NULL;

    vm_kill(journey->vm);
    next = start_next(journey, error);
    if (!next || !migrate_skip(next, next, journey->skip, error) ||
        (capability &&
         !migrate_set_capability(next, capability, true, error)) ||
        !command_file(next, "migrate-incoming", path, error) ||
        !vm_wait_event(next, "RESUME", error)) {
        return false;
    }
    unlink(path);
    arrive(journey, &next);
    return move_intact(journey, error);
}

static bool save(Journey *journey, const char *path, const char *capability,
                 MigrationStats *stats, GError **error)
{
    Session *session = journey->bench->session;

    return migrate_skip(journey->vm, journey->vm, journey->skip, error) &&
           migrate_set_capability(journey->vm, capability, true, error) &&
           go_slowly(journey, error) && rush(journey, error) &&
           command_file(journey->vm, "migrate", path, error) &&
           stay_slow(journey, error) &&
           migrate_set_bandwidth(journey->vm, 0, error) &&
           migrate_wait_status(session, journey->vm, "completed", stats,
                               error);
}

static bool mapped_ram(Journey *journey, GError **error)
{
    g_autofree char *path = session_path(journey->bench->session, "mapped");
    MigrationStats stats;

    if (!save(journey, path, "mapped-ram", &stats, error)) {
        return false;
    }
    count(journey, &stats);
    return load(journey, path, "mapped-ram", error);
}

/* It goes on while it is saved; what is saved is of one moment. */
static bool background_snapshot(Journey *journey, GError **error)
{
    g_autofree char *path = session_path(journey->bench->session, "snapshot");
    MigrationStats stats;

    return save(journey, path, "background-snapshot", &stats, error) &&
           move_intact(journey, error) && load(journey, path, NULL, error);
}

/* ---- Snapshots in an image ---- */

/* The state of a guest is replaced by an earlier one. */
static bool load_snapshot(Journey *journey, Vm *vm, GError **error)
{
    return migrate_skip(vm, vm, journey->skip, error) &&
           vm_do(vm, "stop", NULL, error) &&
           command_snapshot(journey->bench->session, vm, "snapshot-load", "one",
                            error) &&
           vm_do(vm, "cont", NULL, error);
}

/* To where it was in this QEMU, and to the same in a new one */
static bool savevm(Journey *journey, GError **error)
{
    Session *session = journey->bench->session;
    g_autofree char *path = session_path(session, "image");
    g_autoptr(Vm) next = NULL;

    if (!command_create_image(session, journey->vm, path, error) ||
        !command_open_image(journey->vm, path, error) ||
        !migrate_skip(journey->vm, journey->vm, journey->skip, error) ||
        !command_snapshot(session, journey->vm, "snapshot-save", "one",
                          error) ||
        !move_intact(journey, error) ||
        !load_snapshot(journey, journey->vm, error) ||
        !move_intact(journey, error)) {
        return false;
    }
    vm_kill(journey->vm);
    next = start_other(journey, journey->bench->qemu, false, error);
    if (!next || !command_open_image(next, path, error) ||
        !load_snapshot(journey, next, error)) {
        return false;
    }
    unlink(path);
    arrive(journey, &next);
    return move_intact(journey, error) &&
           command_close_image(journey->vm, error);
}

const Move moves[] = {
    { "precopy", precopy },
    { "multifd", multifd },
    { "xbzrle", xbzrle },
    { "auto-converge", auto_converge },
    { "cancel", cancel },
    { "postcopy", postcopy },
    { "preempt", preempt },
    { "recovery", recovery },
    { "mapped-ram", mapped_ram },
    { "background-snapshot", background_snapshot },
    { "savevm", savevm },
};
const unsigned n_moves = G_N_ELEMENTS(moves);

bool move_take(Journey *journey, const Move *move, GError **error)
{
    return forget_capabilities(journey->vm, error) &&
           move->run(journey, error);
}
