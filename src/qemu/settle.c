/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU itself leaves one guest running, with two exceptions. A source whose
 * connection is lost when the destination has all of it, and has started,
 * goes on as well: then it is stopped here. And a destination that was started
 * with -S does not start by itself.
 */
#include "qemu/move.h"

#include <string.h>

#include "base/error.h"

#define POLL_MS 50
#define SETTLE_US (20 * G_USEC_PER_SEC)

/* What one end says. */
typedef struct End {
    bool gone;                  /* its QEMU has ended */
    bool told;                  /* the next two are known */
    bool running;
    char status[32];            /* of the guest */
    char migration[32];         /* status */
} End;

static JsonNode *ask(Monitor *monitor, const char *command, End *end)
{
    g_autoptr(GError) failure = NULL;
    JsonNode *answer = monitor_execute(monitor, command, NULL, &failure);

    end->gone |= g_error_matches(failure, SB_ERROR, SB_ERROR_PROCESS);
    return answer && JSON_NODE_HOLDS_OBJECT(answer) ? answer : NULL;
}

static void copy_status(JsonNode *answer, char *status, size_t size)
{
    g_strlcpy(status, json_object_get_string_member_with_default(
        json_node_get_object(answer), "status", ""), size);
}

/* The migration first: while it is under way its end may change the guest. */
static void ask_end(Monitor *monitor, End *end)
{
    g_autoptr(JsonNode) migration = NULL;
    g_autoptr(JsonNode) status = NULL;

    memset(end, 0, sizeof(*end));
    migration = ask(monitor, "query-migrate", end);
    status = end->gone ? NULL : ask(monitor, "query-status", end);
    end->told = migration && status;
    if (end->told) {
        copy_status(migration, end->migration, sizeof(end->migration));
        copy_status(status, end->status, sizeof(end->status));
        end->running = json_object_get_boolean_member_with_default(
            json_node_get_object(status), "running", false);
    }
}

static void tell(Monitor *monitor, const char *command)
{
    g_autoptr(JsonNode) answer = monitor_execute(monitor, command, NULL,
                                                 NULL);
}

static bool is_under_way(const End *end)
{
    static const char *const over[] = {
        "", "none", "completed", "failed", "cancelled",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(over); i++) {
        if (!strcmp(end->migration, over[i])) {
            return false;
        }
    }
    return true;
}

/* Waits for a source: nothing came yet. */
static bool still_waits(const End *destination)
{
    return !strcmp(destination->status, "inmigrate") &&
           (!is_under_way(destination) ||
            !strcmp(destination->migration, "setup"));
}

static bool is_postcopy(const End *source)
{
    return g_str_has_prefix(source->migration, "postcopy");
}

/* With both ends asked. Returns whether it is settled. */
static bool judge_both(const Move *move, const End *source,
                       const End *destination, MoveEnd *end)
{
    bool source_over = source->told && !is_under_way(source);

    if (source->running && destination->running) {
        tell(move->source, "stop");
        end->stopped = true;
        return false;
    }
    if (destination->running) {
        end->where = MOVE_DESTINATION;
        return source->gone || source_over || is_postcopy(source);
    }
    if (source->running) {
        end->where = MOVE_SOURCE;
        return source_over && (destination->gone ||
                               still_waits(destination) ||
                               !is_under_way(destination));
    }
    if ((source->gone || !strcmp(source->migration, "completed")) &&
        !strcmp(destination->migration, "completed") &&
        !strcmp(destination->status, "paused")) {
        tell(move->destination, "cont");
        return false;
    }
    end->where = MOVE_NOWHERE;
    return destination->gone ? source->gone || is_postcopy(source) ||
                               !strcmp(source->migration, "completed") :
           source->gone && still_waits(destination);
}

/* A source with return-path completes when the destination has confirmed it. */
static bool judge_source(const End *source, MoveEnd *end)
{
    bool over = source->told && !is_under_way(source);

    end->where = source->gone ? MOVE_UNKNOWN :
                 source->running ? MOVE_SOURCE :
                 !strcmp(source->migration, "completed") ||
                 is_postcopy(source) ? MOVE_DESTINATION : MOVE_UNKNOWN;
    return source->gone || over || is_postcopy(source);
}

static bool judge(const Move *move, MoveEnd *end)
{
    End source, destination = { 0 };

    ask_end(move->source, &source);
    if (move->destination) {
        ask_end(move->destination, &destination);
    }
    end->where = MOVE_UNKNOWN;
    end->source_gone = source.gone;
    end->destination_gone = destination.gone;
    end->source_postcopy = is_postcopy(&source);
    end->paused = !strcmp(source.migration, "postcopy-paused") ||
                  !strcmp(destination.migration, "postcopy-paused");
    end->incomplete = is_under_way(&destination);
    if (!source.gone && !source.told) {
        return false;
    }
    if (!move->destination) {
        return judge_source(&source, end);
    }
    return (destination.gone || destination.told) &&
           judge_both(move, &source, &destination, end);
}

static void cancel(const Move *move)
{
    End source;

    ask_end(move->source, &source);
    if (source.told && is_under_way(&source) && !move->postcopy &&
        !is_postcopy(&source)) {
        tell(move->source, "migrate_cancel");
    }
}

void move_settle(Move *move, MoveEnd *end)
{
    gint64 limit = g_get_monotonic_time() + SETTLE_US;
    bool settled;

    memset(end, 0, sizeof(*end));
    session_heed_interrupts(move->session, false);
    do {
        cancel(move);
        settled = judge(move, end);
        if (!settled) {
            session_sleep(move->session, POLL_MS, NULL);
        }
    } while (!settled && g_get_monotonic_time() < limit);
    if (!settled) {
        end->where = MOVE_UNKNOWN;
    }
}

const char *move_where_name(MoveWhere where)
{
    static const char *const names[MOVE_WHERES] = {
        [MOVE_UNKNOWN] = "unknown",
        [MOVE_SOURCE] = "source",
        [MOVE_DESTINATION] = "destination",
        [MOVE_NOWHERE] = "nowhere",
    };

    return names[where];
}

/* ---- In words ---- */

static char *describe_source(const Move *move, const MoveEnd *end)
{
    return g_strdup_printf("the guest runs at the source, %s%s",
        monitor_title(move->source),
        !move->destination ? "" : end->destination_gone ?
        "; the QEMU of the destination has ended, and says why on its "
        "standard error" :
        "; the QEMU of the destination does not run it: end it");
}

#define RECOVER \
    ", and waits there for memory that the source still has: leave both as " \
    "they are, and recover: migrate-recover with a new URI at the " \
    "destination, then migrate with that URI and resume at the source"
#define LOST \
    ", without the memory that only the QEMU of the source had, which has " \
    "ended: it stands still where it needs that, so start it anew"

static char *describe_destination(const Move *move, const MoveEnd *end)
{
    bool lost = end->source_gone && end->incomplete;

    return g_strdup_printf("the guest runs at the destination%s%s%s%s",
        move->destination ? ", " : "",
        move->destination ? monitor_title(move->destination) : "",
        lost ? LOST : end->paused ? RECOVER : end->source_postcopy ?
        ", and gets the rest of its memory from the source, which has to live "
        "until its query-migrate says completed" : "",
        end->stopped ? "; it ran at both for a moment, since the source did "
        "not get to know that the destination had all of it: the source was "
        "stopped, end it" : "");
}

static char *describe_nowhere(const MoveEnd *end)
{
    return g_strdup_printf("the guest runs nowhere: it has ended with the "
        "QEMU of the %s", end->destination_gone && !end->source_gone ?
        "destination" : "source");
}

char *move_describe(const Move *move, const MoveEnd *end)
{
    switch (end->where) {
    case MOVE_SOURCE:
        return describe_source(move, end);
    case MOVE_DESTINATION:
        return describe_destination(move, end);
    case MOVE_NOWHERE:
        return describe_nowhere(end);
    default:
        return g_strdup("where the guest runs is not known: ask the QEMUs of "
                        "both ends with query-status before ending any");
    }
}
