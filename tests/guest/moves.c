/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All ways in which QEMU moves or saves a guest. Each begins while the guest
 * is at work, and most are slowed down for a while at first, so that there is
 * more than one pass over its memory.
 */
#include "moves.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* For how long a migration is slow at first */
#define SLOW_MS_MIN 50
#define SLOW_MS_MAX 400
#define SLOW_BANDWIDTH_MIN (1 * SIZE_MIB)
#define SLOW_BANDWIDTH_MAX (24 * SIZE_MIB)
/* So slow that a postcopy is not over before it is interrupted */
#define CRAWL (256 * SIZE_KIB)
#define POSTCOPY_CRAWL (16 * SIZE_KIB)

/* ---- QMP ---- */

static bool __attribute__((format(printf, 4, 5)))
do_json(Vm *vm, const char *command, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) node = NULL;
    va_list values;

    va_start(values, format);
    text = g_strdup_vprintf(format, values);
    va_end(values);
    node = json_from_string(text, error);
    return node && vm_do(vm, command, json_node_dup_object(node), error);
}

bool move_set_parameter(Vm *vm, const char *name, int64_t value,
                        GError **error)
{
    return do_json(vm, "migrate-set-parameters", error,
                   "{ \"%s\": %" G_GINT64_FORMAT " }", name, value);
}

bool move_set_capability(Vm *source, Vm *destination, const char *name,
                         GError **error)
{
    return migrate_set_capability(source, name, true, error) &&
           migrate_set_capability(destination, name, true, error);
}

static bool set_uri(Vm *vm, const char *command, const char *uri,
                    GError **error)
{
    return do_json(vm, command, error, "{ \"uri\": \"%s\" }", uri);
}

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

/* Capabilities of the journey, a slow start, and off it goes. */
static bool set_off(Journey *journey, Vm *next, GError **error)
{
    return migrate_skip(journey->vm, next, journey->skip, error) &&
           go_slowly(journey, error) &&
           migrate_start(journey->bench->session, journey->vm, next, error);
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
           move_set_capability(journey->vm, next, capability, error) &&
           set_off(journey, next, error) && complete(journey, &next, error);
}

static bool set_zero_pages(Vm *vm, bool by_channels, GError **error)
{
    return do_json(vm, "migrate-set-parameters", error,
                   "{ \"zero-page-detection\": \"%s\","
                   " \"multifd-channels\": 2 }",
                   by_channels ? "multifd" : "legacy");
}

static bool multifd(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);
    bool by_channels = g_rand_boolean(journey->random);

    return next &&
           move_set_capability(journey->vm, next, "multifd", error) &&
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
    return move_set_parameter(journey->vm, "throttle-trigger-threshold", 1,
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
        !migrate_start(session, journey->vm, next, error) ||
        !migrate_wait_status(session, journey->vm, "active", &stats, error) ||
        !stay_slow(journey, error)) {
        return false;
    }
    vm_expect_exit(next);
    return migrate_cancel(session, journey->vm, error) &&
           move_intact(journey, error);
}

/* ---- Postcopy ---- */

/* Until the guest runs on the destination */
static bool switch_to_postcopy(Journey *journey, Vm *next, GError **error)
{
    Session *session = journey->bench->session;
    MigrationStats stats;

    return move_set_capability(journey->vm, next, "postcopy-ram", error) &&
           migrate_skip(journey->vm, next, journey->skip, error) &&
           migrate_set_bandwidth(journey->vm, CRAWL, error) &&
           move_set_parameter(journey->vm, "downtime-limit", 1, error) &&
           move_set_parameter(journey->vm, "max-postcopy-bandwidth",
                              POSTCOPY_CRAWL, error) &&
           migrate_start(session, journey->vm, next, error) &&
           migrate_wait_status(session, journey->vm, "active", &stats,
                               error) &&
           stay_slow(journey, error) &&
           vm_do(journey->vm, "migrate-start-postcopy", NULL, error) &&
           vm_wait_event(next, "RESUME", error);
}

static bool complete_postcopy(Journey *journey, Vm **next, GError **error)
{
    Session *session = journey->bench->session;
    MigrationStats stats;

    if (!move_set_parameter(journey->vm, "max-postcopy-bandwidth", 0,
                            error) ||
        !migrate_wait_status(session, journey->vm, "completed", &stats,
                             error)) {
        return false;
    }
    FAIL_UNLESS(stats.postcopy_bytes, "nothing was sent in postcopy");
    count(journey, &stats);
    arrive(journey, next);
    return move_intact(journey, error);
}

static bool postcopy(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);

    return next && switch_to_postcopy(journey, next, error) &&
           stay_slow(journey, error) &&
           complete_postcopy(journey, &next, error);
}

static bool preempt(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);

    return next &&
           move_set_capability(journey->vm, next, "postcopy-ram", error) &&
           move_set_capability(journey->vm, next, "postcopy-preempt",
                               error) &&
           switch_to_postcopy(journey, next, error) &&
           stay_slow(journey, error) &&
           complete_postcopy(journey, &next, error);
}

/* The connection breaks while the guest runs on the destination. */
static bool recovery(Journey *journey, GError **error)
{
    g_autoptr(Vm) next = start_next(journey, error);
    Session *session = journey->bench->session;
    g_autofree char *path = session_path(session, "recover.sock");
    g_autofree char *uri = g_strconcat("unix:", path, NULL);
    MigrationStats stats;

    if (!next || !switch_to_postcopy(journey, next, error) ||
        !vm_do(journey->vm, "migrate-pause", NULL, error) ||
        !migrate_wait_status(session, journey->vm, "postcopy-paused", &stats,
                             error) ||
        !migrate_wait_status(session, next, "postcopy-paused", &stats,
                             error) ||
        !set_uri(next, "migrate-recover", uri, error) ||
        !do_json(journey->vm, "migrate", error,
                 "{ \"uri\": \"%s\", \"resume\": true }", uri) ||
        !complete_postcopy(journey, &next, error)) {
        return false;
    }
    unlink(path);
    return true;
}

/* ---- Files ---- */

static char *file_uri(const char *path)
{
    return g_strconcat("file:", path, NULL);
}

/* The guest goes on where it was saved, in another QEMU. */
static bool load(Journey *journey, const char *path, const char *capability,
                 GError **error)
{
    g_autoptr(Vm) next = NULL;
    g_autofree char *uri = file_uri(path);

    vm_kill(journey->vm);
    next = start_next(journey, error);
    if (!next || !migrate_skip(next, next, journey->skip, error) ||
        (capability &&
         !migrate_set_capability(next, capability, true, error)) ||
        !set_uri(next, "migrate-incoming", uri, error) ||
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
    g_autofree char *uri = file_uri(path);

    return migrate_skip(journey->vm, journey->vm, journey->skip, error) &&
           migrate_set_capability(journey->vm, capability, true, error) &&
           go_slowly(journey, error) &&
           set_uri(journey->vm, "migrate", uri, error) &&
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

/* Wait for a job to end, and forget it. */
static bool finish_job(Journey *journey, Vm *vm, const char *id,
                       GError **error)
{
    for (;;) {
        g_autoptr(JsonNode) answer = vm_execute(vm, "query-jobs", NULL,
                                                error);
        JsonObject *job;

        if (!answer) {
            return false;
        }
        job = json_array_get_object_element(json_node_get_array(answer), 0);
        FAIL_UNLESS(!json_object_has_member(job, "error"), "%s: %s", id,
                    json_object_get_string_member(job, "error"));
        if (!strcmp(json_object_get_string_member(job, "status"),
                    "concluded")) {
            return do_json(vm, "job-dismiss", error, "{ \"id\": \"%s\" }",
                           id);
        }
        if (!session_sleep(journey->bench->session, 10, error)) {
            return false;
        }
    }
}

static bool create_image(Journey *journey, const char *path, GError **error)
{
    Vm *vm = journey->vm;

    return do_json(vm, "blockdev-create", error,
                   "{ \"job-id\": \"create\", \"options\": {"
                   " \"driver\": \"file\", \"filename\": \"%s\","
                   " \"size\": 0 } }", path) &&
           finish_job(journey, vm, "create", error) &&
           do_json(vm, "blockdev-add", error,
                   "{ \"driver\": \"file\", \"filename\": \"%s\","
                   " \"node-name\": \"raw\" }", path) &&
           do_json(vm, "blockdev-create", error,
                   "{ \"job-id\": \"format\", \"options\": {"
                   " \"driver\": \"qcow2\", \"file\": \"raw\","
                   " \"size\": 1048576 } }") &&
           finish_job(journey, vm, "format", error) &&
           do_json(vm, "blockdev-del", error, "{ \"node-name\": \"raw\" }");
}

static bool open_image(Vm *vm, const char *path, GError **error)
{
    return do_json(vm, "blockdev-add", error,
                   "{ \"driver\": \"qcow2\", \"node-name\": \"image\","
                   " \"file\": { \"driver\": \"file\","
                   " \"filename\": \"%s\" } }", path);
}

static bool snapshot_job(Journey *journey, Vm *vm, const char *command,
                         GError **error)
{
    return do_json(vm, command, error,
                   "{ \"job-id\": \"snapshot\", \"tag\": \"one\","
                   " \"vmstate\": \"image\", \"devices\": [ \"image\" ] }") &&
           finish_job(journey, vm, "snapshot", error);
}

/* The state of a guest is replaced by an earlier one. */
static bool load_snapshot(Journey *journey, Vm *vm, GError **error)
{
    return migrate_skip(vm, vm, journey->skip, error) &&
           vm_do(vm, "stop", NULL, error) &&
           snapshot_job(journey, vm, "snapshot-load", error) &&
           vm_do(vm, "cont", NULL, error);
}

/* To where it was in this QEMU, and to the same in a new one */
static bool savevm(Journey *journey, GError **error)
{
    g_autofree char *path = session_path(journey->bench->session, "image");
    g_autoptr(Vm) next = NULL;

    if (!create_image(journey, path, error) ||
        !open_image(journey->vm, path, error) ||
        !migrate_skip(journey->vm, journey->vm, journey->skip, error) ||
        !snapshot_job(journey, journey->vm, "snapshot-save", error) ||
        !move_intact(journey, error) ||
        !load_snapshot(journey, journey->vm, error) ||
        !move_intact(journey, error)) {
        return false;
    }
    vm_kill(journey->vm);
    next = start_other(journey, journey->bench->qemu, false, error);
    if (!next || !open_image(next, path, error) ||
        !load_snapshot(journey, next, error)) {
        return false;
    }
    unlink(path);
    arrive(journey, &next);
    return move_intact(journey, error) &&
           do_json(journey->vm, "blockdev-del", error,
                   "{ \"node-name\": \"image\" }");
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
