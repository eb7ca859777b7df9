/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/move.h"

#include "base/error.h"
#include "base/size.h"

#define POLL_MS 50

static bool execute(Monitor *monitor, const char *command,
                    JsonObject *arguments, GError **error)
{
    g_autoptr(JsonNode) result = monitor_execute(monitor, command, arguments,
                                                 error);

    return result;
}

/* ---- Setting up ---- */

static void add_capability(JsonArray *list, const char *name, bool on)
{
    JsonObject *capability = json_object_new();

    json_object_set_string_member(capability, "capability", name);
    json_object_set_boolean_member(capability, "state", on);
    json_array_add_object_element(list, capability);
}

/* One that was left on by an earlier migration would be in the way. */
static void add_mode(JsonArray *list, const Move *move, const char *name,
                     bool on)
{
    if (on || move->destination) {
        add_capability(list, name, on);
    }
}

static void add_set(JsonArray *list, SkipSet set, bool on)
{
    g_autofree const char **names = skip_set_capabilities(set);

    for (const char **name = names; *name; name++) {
        add_capability(list, *name, on);
    }
}

static bool send_capabilities(Monitor *monitor, JsonArray *list,
                              GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_array_member(arguments, "capabilities", list);
    return execute(monitor, "migrate-set-capabilities", arguments, error);
}

bool move_turn(Monitor *monitor, SkipSet set, bool on, GError **error)
{
    JsonArray *list = json_array_new();

    add_set(list, set, on);
    return send_capabilities(monitor, list, error);
}

static bool set_capabilities(const Move *move, Monitor *monitor,
                             GError **error)
{
    const MoveSettings *settings = &move->settings;
    JsonArray *list = json_array_new();

    add_set(list, settings->skip, true);
    if (monitor == move->source) {
        add_set(list, settings->leave, false);
    }
    if (!monitor_libvirt(monitor)) {
        if (monitor == move->source) {
            add_capability(list, "return-path", true);
        }
        add_mode(list, move, "multifd", settings->multifd);
        add_mode(list, move, "postcopy-ram", settings->postcopy);
    }
    return send_capabilities(monitor, list, error);
}

static bool set_parameters(const Move *move, Monitor *monitor, GError **error)
{
    const MoveSettings *settings = &move->settings;
    JsonObject *arguments = json_object_new();

    if (settings->multifd && !monitor_libvirt(monitor)) {
        json_object_set_int_member(arguments, "multifd-channels",
                                   settings->multifd);
    }
    if (settings->bandwidth && monitor == move->source &&
        !monitor_libvirt(monitor)) {
        json_object_set_int_member(arguments, "max-bandwidth",
                                   settings->bandwidth);
    }
    if (settings->downtime_ms && monitor == move->source) {
        json_object_set_int_member(arguments, "downtime-limit",
                                   settings->downtime_ms);
    }
    return execute(monitor, "migrate-set-parameters", arguments, error);
}

bool move_set_up(const Move *move, GError **error)
{
    return set_capabilities(move, move->source, error) &&
           set_parameters(move, move->source, error) &&
           (!move->destination || monitor_libvirt(move->destination) ||
            (set_capabilities(move, move->destination, error) &&
             set_parameters(move, move->destination, error)));
}

static JsonObject *uri_argument(const Move *move)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, "uri", move->settings.uri);
    return arguments;
}

bool move_start(Move *move, GError **error)
{
    if (move->destination &&
        !execute(move->destination, "migrate-incoming", uri_argument(move),
                 error)) {
        return false;
    }
    move->started = true;
    return execute(move->source, "migrate", uri_argument(move), error);
}

/* ---- Watching ---- */

static bool query(Move *move, GError **error)
{
    g_autoptr(JsonNode) answer =
        monitor_execute(move->source, "query-migrate", NULL, error);

    if (!answer) {
        return false;
    }
    if (!JSON_NODE_HOLDS_OBJECT(answer)) {
        g_set_error(error, SB_ERROR, SB_ERROR_QMP, "%s: the answer to "
                    "'query-migrate' is not as QEMU documents it",
                    monitor_title(move->source));
        return false;
    }
    migration_parse(json_node_get_object(answer), &move->stats);
    return true;
}

/* What is left, with what the guest writes to meanwhile; 0: no end in sight. */
static double seconds_left(const MigrationStats *stats)
{
    double rate = stats->bytes_per_s - stats->dirty_per_s;

    return rate > 0 ? stats->remaining / rate : 0;
}

static char *describe_progress(const MigrationStats *stats)
{
    g_autofree char *sent = size_format(stats->transferred);
    g_autofree char *remaining = size_format(stats->remaining);
    g_autofree char *rate = size_format(stats->bytes_per_s);
    g_autofree char *skipped = size_format(
        stats->skipped_bytes + stats->unpopulated.skipped_bytes);
    g_autofree char *dirty = size_format(stats->dirty_per_s);
    double left = seconds_left(stats);
    g_autofree char *time =
        left > 0 ? g_strdup_printf("%.0f s", left) : g_strdup("?");

    return g_strdup_printf(
        "%s, pass %" G_GUINT64_FORMAT ": sent %s, %s/s, skipped %s, %s and %s "
        "left, dirty %s/s, downtime %" G_GINT64_FORMAT " ms",
        stats->status[0] ? stats->status : "none", stats->passes, sent, rate,
        skipped, remaining, time, dirty, stats->expected_downtime_ms);
}

bool move_look(Move *move, GError **error)
{
    g_autofree char *text = NULL;

    if (!query(move, error)) {
        return false;
    }
    if (!migration_is_over(&move->stats)) {
        text = describe_progress(&move->stats);
        progress_tell(move->session->progress, text);
    }
    return true;
}

bool move_is_late(const Move *move, double secs, GError **error)
{
    unsigned limit = move->settings.timeout_secs;

    if (!limit || secs < limit || move->postcopy) {
        return false;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT, "the migration has not "
                "completed after %u second%s", limit, limit == 1 ? "" : "s");
    return true;
}

bool move_wants_postcopy(const Move *move, double secs)
{
    return move->settings.postcopy && !move->postcopy &&
           secs >= move->settings.postcopy_after_secs &&
           migration_has_status(&move->stats, "active");
}

static bool start_postcopy(Move *move, GError **error)
{
    if (!execute(move->source, "migrate-start-postcopy", NULL, error)) {
        return false;
    }
    move->postcopy = true;
    return true;
}

/* Whether it may go on. */
static bool check_stats(Move *move, double secs, GError **error)
{
    const MigrationStats *stats = &move->stats;

    if (g_str_has_prefix(stats->status, "postcopy")) {
        move->postcopy = true;
    }
    if (migration_has_status(stats, "postcopy-paused")) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "the connection was lost after postcopy had begun%s%s",
                    stats->reason[0] ? ": " : "", stats->reason);
        return false;
    }
    if (move_is_late(move, secs, error)) {
        return false;
    }
    return move_wants_postcopy(move, secs) ? start_postcopy(move, error)
                                           : true;
}

static bool check_end(const MigrationStats *stats, GError **error)
{
    if (migration_has_status(stats, "completed")) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                "the migration has %s%s: %s",
                migration_has_status(stats, "failed") ? "" : "been ",
                stats->status[0] ? stats->status : "forgotten",
                stats->reason[0] ? stats->reason : "QEMU does not say why");
    return false;
}

bool move_watch(Move *move, GError **error)
{
    gint64 began = g_get_monotonic_time();

    for (;;) {
        if (!move_look(move, error)) {
            return false;
        }
        if (migration_is_over(&move->stats)) {
            return check_end(&move->stats, error);
        }
        if (!check_stats(move, (g_get_monotonic_time() - began) / 1e6,
                         error) ||
            !session_sleep(move->session, POLL_MS, error)) {
            return false;
        }
    }
}
