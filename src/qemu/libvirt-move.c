/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/libvirt-move.h"

#ifdef HAVE_LIBVIRT

#include <string.h>

#include <libvirt/virterror.h>

#include "base/error.h"
#include "qemu/libvirt-call.h"

#define POLL_MS 20
#define SETTLE_US (20 * G_USEC_PER_SEC)
#define MIB (1024 * 1024)

/* Make a call, and wait for it; what libvirt says is why it has failed. */
static bool execute(const Libvirt *libvirt, Call *call, const char *what,
                    GError **error)
{
    call_begin(call);
    if (!call_wait(libvirt->session, call, error)) {
        return false;
    }
    if (call->failure) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS, "%s: %s", what,
                    call->failure);
        return false;
    }
    return true;
}

/* ---- Where a domain is ---- */

static bool ask_state(Call *call)
{
    virDomainPtr domain = virDomainLookupByUUIDString(call->connection,
                                                      call->text);
    bool done;

    if (!domain) {
        call->state = VIR_DOMAIN_SHUTOFF;
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
    }
    done = !virDomainGetState(domain, &call->state, &call->reason, 0);
    virDomainFree(domain);
    return done;
}

static Call *find_state(const Libvirt *libvirt, GError **error)
{
    g_autoptr(Call) call = call_new(libvirt, ask_state);

    call->text = g_strdup(libvirt->uuid);
    return execute(libvirt, call, "libvirt does not tell of it", error) ?
           g_steal_pointer(&call) : NULL;
}

/* Not there, or only defined. */
static bool is_off(const Call *call)
{
    return call && (call->state == VIR_DOMAIN_SHUTOFF ||
                    call->state == VIR_DOMAIN_CRASHED);
}

static bool is_running(const Call *call)
{
    return call && (call->state == VIR_DOMAIN_RUNNING ||
                    call->state == VIR_DOMAIN_BLOCKED);
}

static bool has_failed_postcopy(const Call *call)
{
    return call && ((call->state == VIR_DOMAIN_PAUSED &&
                     call->reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED) ||
                    (call->state == VIR_DOMAIN_RUNNING &&
                     call->reason == VIR_DOMAIN_RUNNING_POSTCOPY_FAILED));
}

static bool is_paused(const Call *call, int reason)
{
    return call && call->state == VIR_DOMAIN_PAUSED && call->reason == reason;
}

/* ---- Before ---- */

static bool get_xml(Call *call)
{
    call->reply = virDomainGetXMLDesc(call->domain, 0);
    return call->reply;
}

static void on_text(GMarkupParseContext *context, const char *text,
                    gsize length, gpointer opaque,
                    GError **error G_GNUC_UNUSED)
{
    const GSList *path = g_markup_parse_context_get_element_stack(context);
    char **emulator = opaque;

    if (!*emulator && !strcmp(path->data, "emulator")) {
        *emulator = g_strndup(text, length);
    }
}

/* Returns NULL if its XML names none. */
static char *find_emulator(const char *xml)
{
    const GMarkupParser parser = { .text = on_text };
    char *emulator = NULL;
    GMarkupParseContext *context =
        g_markup_parse_context_new(&parser, 0, &emulator, NULL);

    g_markup_parse_context_parse(context, xml, -1, NULL);
    g_markup_parse_context_free(context);
    return emulator;
}

static bool try_emulator(Call *call)
{
    call->reply = virConnectGetDomainCapabilities(call->connection,
                                                  call->text, NULL, NULL,
                                                  NULL, 0);
    return call->reply;
}

static bool check_emulator(const Libvirt *source, const Move *move,
                           GError **error)
{
    const Libvirt *destination = monitor_libvirt(move->destination);
    g_autoptr(Call) xml = call_new(source, get_xml);
    g_autoptr(Call) run = call_new(destination, try_emulator);
    g_autoptr(GError) failure = NULL;

    if (!execute(source, xml, "libvirt does not tell of it", error)) {
        g_prefix_error(error, "%s: ", monitor_title(move->source));
        return false;
    }
    run->text = find_emulator(xml->reply);
    if (!run->text || execute(destination, run, "it cannot be run there",
                              &failure)) {
        return true;
    }
    g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                               "%s: the emulator '%s': ",
                               monitor_title(move->destination), run->text);
    return false;
}

static bool ask_memory(Call *call)
{
    const int all = VIR_NODE_MEMORY_STATS_ALL_CELLS;
    g_autofree virNodeMemoryStats *stats = NULL;
    int n = 0;

    /* The number first, which has to be right. */
    if (virNodeGetMemoryStats(call->connection, all, NULL, &n, 0)) {
        return false;
    }
    stats = g_new0(virNodeMemoryStats, n);
    if (virNodeGetMemoryStats(call->connection, all, stats, &n, 0)) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (!strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_FREE)) {
            call->amount[0] = stats[i].value * 1024;
        } else if (strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL)) {
            call->amount[1] += stats[i].value * 1024;
        }
    }
    return true;
}

bool libvirt_move_check(const Move *move, LibvirtHost *host, GError **error)
{
    const Libvirt *destination = monitor_libvirt(move->destination);
    g_autoptr(Call) state = find_state(destination, error);
    g_autoptr(Call) memory = call_new(destination, ask_memory);

    if (!state) {
        g_prefix_error(error, "%s: ", monitor_title(move->destination));
        return false;
    }
    if (!is_off(state)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION, "%s is active "
                    "already: name the libvirt of another host",
                    monitor_title(move->destination));
        return false;
    }
    if (!check_emulator(monitor_libvirt(move->source), move, error)) {
        return false;
    }
    call_begin(memory);
    if (!call_wait(destination->session, memory, error)) {
        return false;
    }
    host->known = !memory->failure;
    host->free = memory->amount[0];
    host->cached = memory->amount[1];
    return true;
}

/* ---- Moving ---- */

static bool migrate(Call *call)
{
    return !virDomainMigrateToURI3(call->domain, call->uri, call->params,
                                   call->n_params, call->flags);
}

static Call *make_migration(const Move *move)
{
    const MoveSettings *settings = &move->settings;
    Call *call = call_new(monitor_libvirt(move->source), migrate);
    int allocated = 0;

    call->uri = g_strdup(settings->uri);
    call->flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER |
        (settings->postcopy ? VIR_MIGRATE_POSTCOPY : 0) |
        (settings->multifd ? VIR_MIGRATE_PARALLEL : 0) |
        (settings->tls ? VIR_MIGRATE_TLS : 0) |
        (settings->persistent ? VIR_MIGRATE_PERSIST_DEST : 0) |
        (settings->undefine ? VIR_MIGRATE_UNDEFINE_SOURCE : 0);
    if (settings->migrate_uri) {
        virTypedParamsAddString(&call->params, &call->n_params, &allocated,
                                VIR_MIGRATE_PARAM_URI, settings->migrate_uri);
    }
    if (settings->bandwidth) {
        virTypedParamsAddULLong(&call->params, &call->n_params, &allocated,
                                VIR_MIGRATE_PARAM_BANDWIDTH,
                                MAX(settings->bandwidth / MIB, 1));
    }
    if (settings->multifd) {
        virTypedParamsAddInt(&call->params, &call->n_params, &allocated,
                             VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
                             settings->multifd);
    }
    return call;
}

static bool start_postcopy(Call *call)
{
    return !virDomainMigrateStartPostCopy(call->domain, 0);
}

static bool abort_job(Call *call)
{
    return !virDomainAbortJob(call->domain);
}

/* Whether it may go on. */
static bool check_time(Move *move, double secs, GError **error)
{
    const Libvirt *source = monitor_libvirt(move->source);
    g_autoptr(Call) call = call_new(source, start_postcopy);

    if (move_is_late(move, secs, error)) {
        return false;
    }
    if (!move_wants_postcopy(move, secs)) {
        return true;
    }
    move->postcopy = execute(source, call, "libvirt does not begin postcopy",
                             error);
    return move->postcopy;
}

/* The QEMU of the source ends with the migration, which is not a fault. */
static bool watch(Move *move, const Call *migration, GError **error)
{
    gint64 began = g_get_monotonic_time();

    while (!migration->done) {
        g_autoptr(GError) failure = NULL;

        if (!move_look(move, &failure) &&
            !g_error_matches(failure, SB_ERROR, SB_ERROR_PROCESS)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return false;
        }
        if ((failure || !migration_is_over(&move->stats)) &&
            !check_time(move, (g_get_monotonic_time() - began) / 1e6, error)) {
            return false;
        }
        if (!session_sleep(move->session, POLL_MS, error)) {
            return false;
        }
    }
    return true;
}

/* A migration that goes on is cancelled, and ends. */
static void give_up(Move *move, Call *migration)
{
    const Libvirt *source = monitor_libvirt(move->source);
    gint64 limit = g_get_monotonic_time() + SETTLE_US;

    session_heed_interrupts(move->session, false);
    while (!migration->done && !move->postcopy &&
           g_get_monotonic_time() < limit) {
        /* There may be no job yet. */
        g_autoptr(Call) call = call_new(source, abort_job);

        execute(source, call, "it goes on", NULL);
        session_sleep(move->session, POLL_MS, NULL);
    }
    move->goes_on = !migration->done;
}

static bool ask_job(Call *call)
{
    virDomainPtr domain = virDomainLookupByUUIDString(call->connection,
                                                      call->text);
    bool done = domain &&
        !virDomainGetJobStats(domain, &call->state, &call->params,
                              &call->n_params,
                              VIR_DOMAIN_JOB_STATS_COMPLETED);

    if (domain) {
        virDomainFree(domain);
    }
    return done;
}

static void take(const Call *call, const char *name, uint64_t *value)
{
    unsigned long long told;

    if (virTypedParamsGetULLong(call->params, call->n_params, name, &told) ==
        1) {
        *value = told;
    }
}

/*
 * The QEMU of the source may have ended before it told its last figures.
 * libvirt has sent them on, but counts the start of the other QEMU, too.
 */
static void take_figures(Move *move)
{
    const Libvirt *destination = monitor_libvirt(move->destination);
    g_autoptr(Call) call = call_new(destination, ask_job);
    MigrationStats *stats = &move->stats;
    uint64_t total = stats->total_ms;
    uint64_t downtime = stats->downtime_ms;

    if (migration_has_status(stats, "completed")) {
        return;
    }
    g_strlcpy(stats->status, "completed", sizeof(stats->status));
    call->text = g_strdup(destination->uuid);
    if (!execute(destination, call, "no figures", NULL)) {
        return;
    }
    take(call, VIR_DOMAIN_JOB_TIME_ELAPSED, &total);
    take(call, VIR_DOMAIN_JOB_DOWNTIME, &downtime);
    take(call, VIR_DOMAIN_JOB_MEMORY_PROCESSED, &stats->transferred);
    take(call, VIR_DOMAIN_JOB_MEMORY_ITERATION, &stats->passes);
    stats->total_ms = total;
    stats->downtime_ms = downtime;
}

bool libvirt_move(Move *move, GError **error)
{
    g_autoptr(Call) migration = make_migration(move);

    move->started = true;
    call_begin(migration);
    if (!watch(move, migration, error)) {
        give_up(move, migration);
        return false;
    }
    if (migration->failure) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "the migration has failed: %s", migration->failure);
        return false;
    }
    take_figures(move);
    return true;
}

/* ---- After ---- */

static bool resume(Call *call)
{
    return !virDomainResume(call->domain);
}

/*
 * Libvirt lets the guest run at the destination only when the migration has
 * completed at the source. Then it may have run there, and must not run here.
 */
static bool has_completed(const Move *move)
{
    g_autoptr(JsonNode) answer = monitor_execute(move->source, "query-migrate",
                                                 NULL, NULL);

    return !answer || !JSON_NODE_HOLDS_OBJECT(answer) ||
           !strcmp(json_object_get_string_member_with_default(
               json_node_get_object(answer), "status", ""), "completed");
}

/* Whether it is settled. */
static bool judge(const Move *move, MoveEnd *end)
{
    const Libvirt *libvirt = monitor_libvirt(move->source);
    g_autoptr(Call) source = find_state(libvirt, NULL);
    g_autoptr(Call) destination =
        find_state(monitor_libvirt(move->destination), NULL);

    memset(end, 0, sizeof(*end));
    end->source_gone = is_off(source);
    end->source_postcopy = is_paused(source, VIR_DOMAIN_PAUSED_POSTCOPY);
    end->paused = has_failed_postcopy(source) ||
                  has_failed_postcopy(destination);
    if (end->paused || (is_running(destination) && !is_running(source))) {
        end->where = MOVE_DESTINATION;
        return true;
    }
    if (!move->goes_on && is_off(destination) &&
        is_paused(source, VIR_DOMAIN_PAUSED_MIGRATION) &&
        !has_completed(move)) {
        g_autoptr(Call) call = call_new(libvirt, resume);

        execute(libvirt, call, "it stays paused", NULL);
        return false;
    }
    /* In doubt libvirt leaves it paused. */
    end->destination_gone = !destination;
    end->where = move->goes_on ? MOVE_UNKNOWN :
                 is_running(source) && (!destination || is_off(destination)) ?
                 MOVE_SOURCE :
                 is_off(destination) && is_off(source) ? MOVE_NOWHERE :
                 MOVE_UNKNOWN;
    return end->where != MOVE_UNKNOWN;
}

void libvirt_move_settle(const Move *move, MoveEnd *end)
{
    gint64 limit = g_get_monotonic_time() + SETTLE_US;
    bool settled;

    session_heed_interrupts(move->session, false);
    do {
        settled = judge(move, end);
        if (!settled) {
            session_sleep(move->session, POLL_MS, NULL);
        }
    } while (!settled && g_get_monotonic_time() < limit);
}

static char *describe_destination(const Move *move, const MoveEnd *end)
{
    const char *rest =
        end->paused && end->source_gone ? ", without the memory that only the "
        "QEMU of the source had, which has ended: it stands still where it "
        "needs that, so start it anew" :
        end->paused ? ", and waits there for memory that the source still "
        "has: leave both as they are, and recover with 'virsh migrate "
        "--postcopy --postcopy-resume'" :
        end->source_postcopy ? ", and gets the rest of its memory from the "
        "source, which has to live until libvirt ends it" : "";

    return g_strdup_printf("the guest runs at the destination, %s%s",
                           monitor_title(move->destination), rest);
}

char *libvirt_move_describe(const Move *move, const MoveEnd *end)
{
    switch (end->where) {
    case MOVE_SOURCE:
        return g_strdup_printf("the guest runs at the source, %s%s",
            monitor_title(move->source), end->destination_gone ?
            "; the libvirt of the destination does not answer" : "");
    case MOVE_DESTINATION:
        return describe_destination(move, end);
    case MOVE_NOWHERE:
        return g_strdup("the guest runs nowhere: it has ended, and can be "
                        "started at one end");
    default:
        return g_strdup("where the guest runs is not known: ask libvirt at "
                        "both ends with 'virsh domstate --reason' before "
                        "starting or ending any");
    }
}

#else /* !HAVE_LIBVIRT */

bool libvirt_move_check(const Move *move G_GNUC_UNUSED,
                        LibvirtHost *host G_GNUC_UNUSED,
                        GError **error G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

bool libvirt_move(Move *move G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

void libvirt_move_settle(const Move *move G_GNUC_UNUSED,
                         MoveEnd *end G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

char *libvirt_move_describe(const Move *move G_GNUC_UNUSED,
                            const MoveEnd *end G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

#endif
