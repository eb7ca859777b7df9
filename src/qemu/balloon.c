/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/balloon.h"

#include "base/error.h"
#include "base/size.h"

#define POLL_MS 100

/*
 * A guest that is left with little finds the last pages slowly, if at all.
 * Near enough is good enough once it has not moved for a while.
 */
#define NEAR_BYTES (16 << 20)
#define NEAR_US (2 * G_USEC_PER_SEC)

bool balloon_query(Vm *vm, uint64_t *bytes, GError **error)
{
    g_autoptr(JsonNode) result = vm_execute(vm, "query-balloon", NULL, error);

    if (!result) {
        return false;
    }
    *bytes = json_object_get_int_member(json_node_get_object(result),
                                        "actual");
    return true;
}

bool balloon_set(Vm *vm, uint64_t bytes, GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, "value", bytes);
    return vm_do(vm, "balloon", arguments, error);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static char *stall_text(uint64_t now, uint64_t goal)
{
    g_autofree char *have = size_format(now);
    g_autofree char *want = size_format(goal);

    return g_strdup_printf("the balloon has stopped at %s on its way to %s",
                           have, want);
}

bool balloon_reach(Session *session, Vm *vm, uint64_t bytes, GError **error)
{
    Stall stall = { 0 };
    gint64 moved = g_get_monotonic_time();
    uint64_t first, last;
    uint64_t now;

    if (!balloon_query(vm, &first, error) || !balloon_set(vm, bytes, error)) {
        return false;
    }
    for (now = last = first; now != bytes; ) {
        g_autofree char *text = stall_text(now, bytes);

        progress_update(session->progress,
                        1 - distance(now, bytes) /
                        (double)distance(first, bytes));
        if (!guest_check(vm_guest(vm), error) ||
            session_stalled(session, &stall, now, text, error) ||
            !session_sleep(session, POLL_MS, error) ||
            !balloon_query(vm, &now, error)) {
            return false;
        }
        if (now != last) {
            last = now;
            moved = g_get_monotonic_time();
        } else if (distance(now, bytes) <= NEAR_BYTES &&
                   g_get_monotonic_time() - moved >= NEAR_US) {
            break;
        }
    }
    return true;
}
