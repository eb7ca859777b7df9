/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/shrink.h"

#include "base/error.h"
#include "base/size.h"

#define POLL_MS 100
#define POLLING "guest-stats-polling-interval"
#define POLLING_SECS 1
/* After which nothing moves. */
#define STALL_US (10 * G_USEC_PER_SEC)
/* The last pages come slowly, if at all; near enough is good enough. */
#define NEAR_BYTES (16 * SIZE_MIB)
#define NEAR_US (2 * G_USEC_PER_SEC)
#define STEPS 8
#define STEP_MIN (4 * SIZE_MIB)
#define RESERVE_SHARE 48
#define RESERVE_MIN (64 * SIZE_MIB)
/* A guest may swap that much by and by without having to. */
#define SWAP_MAX SIZE_MIB

/* A guest that is being shrunk. */
typedef struct Watch {
    Shrink *shrink;
    Monitor *monitor;
    const char *path;
    uint64_t reserve;
    uint64_t swapped;           /* before */
    GuestStatistics now;
} Watch;

static bool set_polling(Monitor *monitor, const char *path, int64_t secs,
                        GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) result = NULL;

    json_object_set_string_member(arguments, "path", path);
    json_object_set_string_member(arguments, "property", POLLING);
    json_object_set_int_member(arguments, "value", secs);
    result = monitor_execute(monitor, "qom-set", arguments, error);
    return result;
}

static bool set_balloon(Monitor *monitor, uint64_t bytes, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) result = NULL;

    json_object_set_int_member(arguments, "value", bytes);
    result = monitor_execute(monitor, "balloon", arguments, error);
    return result;
}

static bool query_balloon(Monitor *monitor, uint64_t *bytes, GError **error)
{
    g_autoptr(JsonNode) result = monitor_execute(monitor, "query-balloon",
                                                 NULL, error);

    if (!result) {
        return false;
    }
    if (!JSON_NODE_HOLDS_OBJECT(result)) {
        g_set_error(error, SB_ERROR, SB_ERROR_QMP, "%s: the answer to "
                    "'query-balloon' is not as QEMU documents it",
                    monitor_title(monitor));
        return false;
    }
    *bytes = json_object_get_int_member_with_default(
        json_node_get_object(result), "actual", 0);
    return true;
}

static bool fail(GError **error, const char *why)
{
    g_set_error_literal(error, SB_ERROR, SB_ERROR_GUEST, why);
    return false;
}

/* ---- Watching the guest ---- */

static bool ask_statistics(Watch *watch, GError **error)
{
    return qemu_statistics_ask(watch->monitor, watch->path, &watch->now,
                               error);
}

static bool check_guest(Watch *watch, GError **error)
{
    if (!ask_statistics(watch, error)) {
        return false;
    }
    if (watch->now.has_swapped &&
        watch->now.swapped > watch->swapped + SWAP_MAX) {
        return fail(error, "the guest has begun to swap");
    }
    if (watch->now.available < watch->reserve) {
        g_autofree char *left = size_format(watch->now.available);
        g_autofree char *reserve = size_format(watch->reserve);

        g_set_error(error, SB_ERROR, SB_ERROR_GUEST,
                    "the guest needs its reserve: it has %s left, of %s",
                    left, reserve);
        return false;
    }
    return true;
}

/* Wait for statistics that are newer than those that are there. */
static bool wait_for_statistics(Watch *watch, GError **error)
{
    gint64 limit = g_get_monotonic_time() + STALL_US;
    uint64_t last = watch->now.updated;

    do {
        if (!session_sleep(watch->shrink->session, POLL_MS, error) ||
            !ask_statistics(watch, error)) {
            return false;
        }
        if (watch->now.updated != last) {
            return true;
        }
    } while (g_get_monotonic_time() < limit);
    return fail(error, "the guest does not tell how it is, for 10 seconds");
}

/* ---- Moving the balloon ---- */

/* Whether it is there; false with an error if it has stopped on its way. */
typedef struct Way {
    uint64_t goal;
    uint64_t last;
    gint64 moved;
} Way;

static bool has_arrived(Way *way, uint64_t now, GError **error)
{
    uint64_t distance = now > way->goal ? now - way->goal : way->goal - now;
    gint64 time = g_get_monotonic_time();

    if (!way->moved || now != way->last) {
        way->last = now;
        way->moved = time;
    }
    if (!distance ||
        (distance <= NEAR_BYTES && time - way->moved >= NEAR_US)) {
        return true;
    }
    if (time - way->moved >= STALL_US) {
        g_autofree char *here = size_format(now);
        g_autofree char *goal = size_format(way->goal);

        g_set_error(error, SB_ERROR, SB_ERROR_GUEST, "the balloon has stopped "
                    "where it leaves the guest %s, on its way to %s", here,
                    goal);
    }
    return false;
}

/* @watch: NULL to look at nothing but the balloon */
static bool reach(Session *session, Monitor *monitor, uint64_t goal,
                  Watch *watch, uint64_t *now, GError **error)
{
    Way way = { .goal = goal };
    GError *failure = NULL;

    if (!set_balloon(monitor, goal, error)) {
        return false;
    }
    while (query_balloon(monitor, now, &failure) &&
           !has_arrived(&way, *now, &failure) && !failure) {
        g_autofree char *left = size_format(*now);
        g_autofree char *text = g_strdup_printf(
            "balloon leaves the guest %s", left);

        progress_tell(session->progress, text);
        if ((watch && !check_guest(watch, &failure)) ||
            !session_sleep(session, POLL_MS, &failure)) {
            break;
        }
    }
    if (failure) {
        g_propagate_error(error, failure);
    }
    return !failure;
}

/* ---- Taking ---- */

/* What the next step takes, in whole MiB. */
static uint64_t next_step(const Watch *watch, uint64_t memory,
                          uint64_t wanted)
{
    uint64_t keep = watch->reserve + watch->reserve / 2;
    uint64_t spare = watch->now.available > keep ? watch->now.available - keep
                                                 : 0;
    uint64_t left = !wanted ? UINT64_MAX :
                    wanted > watch->shrink->taken ?
                    wanted - watch->shrink->taken : 0;

    return MIN(MIN(spare, left), memory / STEPS) / SIZE_MIB * SIZE_MIB;
}

static bool take_steps(Watch *watch, uint64_t memory, uint64_t wanted,
                       GError **error)
{
    Shrink *shrink = watch->shrink;
    uint64_t now = shrink->before;
    uint64_t step;

    while ((step = next_step(watch, memory, wanted)) >= STEP_MIN) {
        if (!reach(shrink->session, watch->monitor, now - step, watch, &now,
                   error)) {
            return false;
        }
        shrink->taken = shrink->before - now;
        if (!wait_for_statistics(watch, error) ||
            !check_guest(watch, error)) {
            return false;
        }
    }
    return true;
}

static bool watch_and_take(Watch *watch, uint64_t memory, uint64_t wanted,
                           GError **error)
{
    if (!ask_statistics(watch, error) ||
        !wait_for_statistics(watch, error)) {
        return false;
    }
    if (!watch->now.has_available) {
        return fail(error, "the guest's balloon driver does not tell how much "
                    "memory it can spare");
    }
    watch->swapped = watch->now.swapped;
    return take_steps(watch, memory, wanted, error);
}

static double seconds_since(gint64 began)
{
    return (g_get_monotonic_time() - began) / (double)G_USEC_PER_SEC;
}

bool shrink_take(Shrink *shrink, Monitor *monitor, const QemuState *state,
                 uint64_t wanted, GError **error)
{
    const BalloonState *balloon = &state->balloon;
    gint64 began = g_get_monotonic_time();
    Watch watch = {
        .shrink = shrink,
        .monitor = monitor,
        .path = balloon->path,
        .reserve = MAX(state->memory / RESERVE_SHARE, RESERVE_MIN),
    };
    bool done;

    if (!balloon->path || !balloon->has_actual ||
        (balloon->has_features && !balloon->driver)) {
        return fail(error, "the guest has no balloon driver that runs");
    }
    if (!set_polling(monitor, balloon->path, POLLING_SECS, error)) {
        return false;
    }
    shrink->begun = true;
    shrink->before = balloon->actual;
    progress_begin(shrink->session->progress, "Shrinking the guest");
    done = watch_and_take(&watch, state->memory, wanted, error);
    progress_end(shrink->session->progress, NULL);
    shrink->take_secs = seconds_since(began);
    /* Each poll is a little work for the guest. */
    set_polling(monitor, balloon->path, balloon->polling_secs, NULL);
    return done;
}

/* ---- Giving back ---- */

bool shrink_give_back(Shrink *shrink, Monitor *monitor, GError **error)
{
    gint64 began = g_get_monotonic_time();
    uint64_t now;
    bool done;

    progress_begin(shrink->session->progress, "Giving back");
    done = reach(shrink->session, monitor, shrink->before, NULL, &now, error);
    progress_end(shrink->session->progress, NULL);
    shrink->give_back_secs = seconds_since(began);
    if (!done) {
        g_prefix_error(error, "the balloon is not what it was, which is for "
                       "'balloon' with value %" G_GUINT64_FORMAT " to mend: ",
                       shrink->before);
    }
    return done;
}
