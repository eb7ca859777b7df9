/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/state.h"

#include <string.h>

#include "base/error.h"

#define FEATURE "VIRTIO_BALLOON_F_MUST_TELL_HOST"
#define DRIVER_OK "VIRTIO_CONFIG_S_DRIVER_OK"
/* As many as QEMU makes, since earlier ones told no sums */
#define CELLS 16384
/* What the balloon map counts, in bytes */
#define BALLOON_PAGE 4096
/* Of a statistic that the guest does not tell */
#define NO_STATISTIC UINT64_MAX

/* ---- Answers ---- */

/*
 * Ask, and do without an answer if QEMU does not know the command or, with
 * @optional, refuses it. Returns false on failure.
 */
static bool ask(Monitor *monitor, const char *command, JsonObject *arguments,
                bool optional, JsonNode **answer, GError **error)
{
    GError *failure = NULL;

    *answer = monitor_execute(monitor, command, arguments, &failure);
    if (*answer || g_error_matches(failure, SB_ERROR, SB_ERROR_MISSING) ||
        (optional && g_error_matches(failure, SB_ERROR, SB_ERROR_QMP))) {
        g_clear_error(&failure);
        return true;
    }
    g_propagate_error(error, failure);
    return false;
}

static JsonObject *object_of(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node)
                                                : NULL;
}

static JsonArray *array_of(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node)
                                               : NULL;
}

static JsonNode *member(JsonObject *object, const char *name)
{
    return object ? json_object_get_member(object, name) : NULL;
}

/* NULL if there is none; owned by @object. */
static const char *text_of(JsonObject *object, const char *name)
{
    JsonNode *node = member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node)
                                               : NULL;
}

static bool number_of(JsonObject *object, const char *name, uint64_t *number)
{
    JsonNode *node = member(object, name);

    if (!node || !JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_INT64) {
        return false;
    }
    *number = json_node_get_int(node);
    return true;
}

static bool is_true(JsonObject *object, const char *name)
{
    JsonNode *node = member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_boolean(node);
}

/* Whether a string among others begins so. */
static bool lists(JsonArray *array, const char *prefix)
{
    for (guint i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        const char *text = JSON_NODE_HOLDS_VALUE(element) ?
            json_node_get_string(element) : NULL;

        if (text && g_str_has_prefix(text, prefix)) {
            return true;
        }
    }
    return false;
}

static bool not_as_documented(Monitor *monitor, const char *command,
                              GError **error)
{
    g_set_error(error, SB_ERROR, SB_ERROR_QMP,
                "%s: the answer to '%s' is not as QEMU documents it",
                monitor_title(monitor), command);
    return false;
}

static JsonObject *argument(const char *name, const char *value)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, name, value);
    return arguments;
}

/* ---- The machine ---- */

static bool ask_version(Monitor *monitor, QemuState *state, GError **error)
{
    g_autoptr(JsonNode) answer =
        monitor_execute(monitor, "query-version", NULL, error);
    JsonObject *numbers = object_of(member(object_of(answer), "qemu"));
    const char *package = text_of(object_of(answer), "package");
    uint64_t major, minor, micro;

    if (!answer) {
        return false;
    }
    if (!number_of(numbers, "major", &major) ||
        !number_of(numbers, "minor", &minor) ||
        !number_of(numbers, "micro", &micro)) {
        return not_as_documented(monitor, "query-version", error);
    }
    state->version = g_strdup_printf(
        "%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT
        "%s%s", major, minor, micro, package && package[0] ? " " : "",
        package ? package : "");
    return true;
}

static bool ask_guest(Monitor *monitor, QemuState *state, GError **error)
{
    g_autoptr(JsonNode) status = NULL;
    g_autoptr(JsonNode) name = NULL;
    g_autoptr(JsonNode) memory = NULL;
    uint64_t plugged = 0;

    status = monitor_execute(monitor, "query-status", NULL, error);
    if (!status || !ask(monitor, "query-name", NULL, true, &name, error)) {
        return false;
    }
    memory = monitor_execute(monitor, "query-memory-size-summary", NULL,
                             error);
    if (!memory) {
        return false;
    }
    state->status = g_strdup(text_of(object_of(status), "status"));
    if (!state->status) {
        return not_as_documented(monitor, "query-status", error);
    }
    state->name = g_strdup(text_of(object_of(name), "name"));
    if (!number_of(object_of(memory), "base-memory", &state->memory)) {
        return not_as_documented(monitor, "query-memory-size-summary", error);
    }
    number_of(object_of(memory), "plugged-memory", &plugged);
    state->memory += plugged;
    return true;
}

static void backend_free(gpointer opaque)
{
    BackendState *backend = opaque;

    g_free(backend->id);
    g_free(backend);
}

static bool ask_backends(Monitor *monitor, QemuState *state, GError **error)
{
    g_autoptr(JsonNode) answer =
        monitor_execute(monitor, "query-memdev", NULL, error);
    JsonArray *list = array_of(answer);

    if (!answer) {
        return false;
    }
    if (!list) {
        return not_as_documented(monitor, "query-memdev", error);
    }
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *entry = object_of(json_array_get_element(list, i));
        BackendState *backend;

        /* One without an id is not known by it. */
        if (text_of(entry, "id")) {
            backend = g_new0(BackendState, 1);
            backend->id = g_strdup(text_of(entry, "id"));
            number_of(entry, "size", &backend->size);
            backend->shared = is_true(entry, "share");
            backend->preallocated = is_true(entry, "prealloc");
            g_ptr_array_add(state->backends, backend);
        }
    }
    return true;
}

/* VFIO needs all guest memory to stay where it is, so nothing is discarded. */
static bool ask_vfio(Monitor *monitor, QemuState *state, GError **error)
{
    static const char *const folders[] = {
        "/machine/peripheral", "/machine/peripheral-anon",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(folders) && !state->vfio; i++) {
        g_autoptr(JsonNode) answer = NULL;
        JsonArray *list;

        if (!ask(monitor, "qom-list", argument("path", folders[i]), true,
                 &answer, error)) {
            return false;
        }
        list = array_of(answer);
        for (guint j = 0; list && j < json_array_get_length(list); j++) {
            const char *type = text_of(
                object_of(json_array_get_element(list, j)), "type");

            if (type && g_str_has_prefix(type, "child<vfio-")) {
                g_free(state->vfio);
                state->vfio = g_strndup(type + strlen("child<"),
                                        strlen(type) - strlen("child<>"));
            }
        }
    }
    return true;
}

/* ---- The balloon ---- */

static bool find_balloon(Monitor *monitor, char **path, GError **error)
{
    g_autoptr(JsonNode) answer = NULL;
    JsonArray *list;

    if (!ask(monitor, "x-query-virtio", NULL, true, &answer, error)) {
        return false;
    }
    list = array_of(answer);
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *entry = object_of(json_array_get_element(list, i));

        if (!g_strcmp0(text_of(entry, "name"), "virtio-balloon")) {
            g_free(*path);
            *path = g_strdup(text_of(entry, "path"));
        }
    }
    return true;
}

static bool ask_features(Monitor *monitor, const char *path,
                         BalloonState *balloon, GError **error)
{
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *status, *guest, *host;

    if (!ask(monitor, "x-query-virtio-status", argument("path", path), true,
             &answer, error)) {
        return false;
    }
    status = object_of(answer);
    guest = object_of(member(status, "guest-features"));
    host = object_of(member(status, "host-features"));
    if (guest && host) {
        balloon->has_features = true;
        balloon->negotiated =
            lists(array_of(member(guest, "dev-features")), FEATURE);
        balloon->offered =
            lists(array_of(member(host, "dev-features")), FEATURE);
        balloon->driver = lists(array_of(member(object_of(
            member(status, "status")), "statuses")), DRIVER_OK);
    }
    return true;
}

static bool ask_property(Monitor *monitor, const char *path,
                         const char *property, JsonNode **answer,
                         GError **error)
{
    JsonObject *arguments = argument("path", path);

    json_object_set_string_member(arguments, "property", property);
    return ask(monitor, "qom-get", arguments, true, answer, error);
}

static bool statistic(JsonNode *answer, const char *name, uint64_t *number)
{
    *number = NO_STATISTIC;
    return number_of(object_of(member(object_of(answer), "stats")), name,
                     number) && *number != NO_STATISTIC;
}

bool qemu_statistics_ask(Monitor *monitor, const char *path,
                         GuestStatistics *statistics, GError **error)
{
    g_autoptr(JsonNode) answer = NULL;
    uint64_t in, out;

    memset(statistics, 0, sizeof(*statistics));
    if (!ask_property(monitor, path, "guest-stats", &answer, error)) {
        return false;
    }
    number_of(object_of(answer), "last-update", &statistics->updated);
    statistics->has_available = statistics->updated && statistic(
        answer, "stat-available-memory", &statistics->available);
    statistics->has_swapped = statistics->updated &&
        statistic(answer, "stat-swap-in", &in) &&
        statistic(answer, "stat-swap-out", &out);
    statistics->swapped = statistics->has_swapped ? in + out : 0;
    return true;
}

/* Unless QEMU polls them they are as old as the driver. */
static bool ask_statistics(Monitor *monitor, BalloonState *balloon,
                           GError **error)
{
    g_autoptr(JsonNode) interval = NULL;
    GuestStatistics statistics;

    if (!ask_property(monitor, balloon->path, "guest-stats-polling-interval",
                      &interval, error) ||
        !qemu_statistics_ask(monitor, balloon->path, &statistics, error)) {
        return false;
    }
    if (interval && JSON_NODE_HOLDS_VALUE(interval) &&
        json_node_get_value_type(interval) == G_TYPE_INT64) {
        balloon->polling_secs = json_node_get_int(interval);
    }
    balloon->has_available = balloon->polling_secs &&
                             statistics.has_available;
    balloon->available = statistics.available;
    return true;
}

/* Sum up what QEMU counted of the blocks whose pages are in the balloon. */
static void read_audit(JsonArray *list, BalloonState *balloon)
{
    uint64_t pages, used;

    balloon->has_used = list;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *block = object_of(json_array_get_element(list, i));

        if (number_of(block, "pages", &pages) && pages) {
            used = 0;
            balloon->has_used &= number_of(block, "used", &used);
            balloon->used += used * BALLOON_PAGE;
        }
    }
}

/* Earlier QEMUs know the command, but do not audit. */
static bool ask_audit(Monitor *monitor, BalloonState *balloon, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) answer = NULL;

    json_object_set_int_member(arguments, "max-runs", 0);
    json_object_set_boolean_member(arguments, "audit", TRUE);
    if (!ask(monitor, "query-balloon-map", arguments, true, &answer, error)) {
        return false;
    }
    read_audit(array_of(answer), balloon);
    return true;
}

static bool ask_balloon(Monitor *monitor, QemuState *state, GError **error)
{
    BalloonState *balloon = &state->balloon;
    g_autoptr(JsonNode) answer = NULL;

    if (!ask(monitor, "query-balloon", NULL, true, &answer, error) ||
        !find_balloon(monitor, &balloon->path, error)) {
        return false;
    }
    balloon->has_actual = number_of(object_of(answer), "actual",
                                    &balloon->actual);
    balloon->present = balloon->path || answer;
    return !balloon->path ||
           (ask_features(monitor, balloon->path, balloon, error) &&
            ask_statistics(monitor, balloon, error) &&
            ask_audit(monitor, balloon, error));
}

/* ---- Migration ---- */

CapabilityState qemu_state_capability(const QemuState *state,
                                      const char *name)
{
    JsonArray *list = array_of(state->capabilities);
    CapabilityState capability = { 0 };

    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *entry = object_of(json_array_get_element(list, i));

        if (!g_strcmp0(text_of(entry, "capability"), name)) {
            capability.known = true;
            capability.on = is_true(entry, "state");
        }
    }
    return capability;
}

static bool ask_capabilities(Monitor *monitor, QemuState *state,
                             GError **error)
{
    state->capabilities = monitor_execute(
        monitor, "query-migrate-capabilities", NULL, error);
    if (!state->capabilities) {
        return false;
    }
    if (!array_of(state->capabilities)) {
        return not_as_documented(monitor, "query-migrate-capabilities",
                                 error);
    }
    state->skip_balloon = qemu_state_capability(state, "skip-balloon");
    state->skip_unpopulated = qemu_state_capability(state,
                                                    "skip-unpopulated");
    return true;
}

static bool ask_migration(Monitor *monitor, QemuState *state, GError **error)
{
    g_autoptr(JsonNode) answer =
        monitor_execute(monitor, "query-migrate", NULL, error);
    JsonObject *info = object_of(answer);

    if (!answer) {
        return false;
    }
    if (!info) {
        return not_as_documented(monitor, "query-migrate", error);
    }
    state->migration = g_strdup(text_of(info, "status"));
    return true;
}

static bool ask_map(Monitor *monitor, QemuState *state, GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, "cells", CELLS);
    return ask(monitor, "query-migration-map", arguments, false, &state->map,
               error);
}

QemuState *qemu_state_ask(Monitor *monitor, GError **error)
{
    g_autoptr(QemuState) state = g_new0(QemuState, 1);

    state->backends = g_ptr_array_new_with_free_func(backend_free);
    if (!ask_version(monitor, state, error) ||
        !ask_guest(monitor, state, error) ||
        !ask_backends(monitor, state, error) ||
        !ask_vfio(monitor, state, error) ||
        !ask_balloon(monitor, state, error) ||
        !ask_capabilities(monitor, state, error) ||
        !ask_migration(monitor, state, error) ||
        !ask_map(monitor, state, error)) {
        return NULL;
    }
    return g_steal_pointer(&state);
}

void qemu_state_free(QemuState *state)
{
    if (!state) {
        return;
    }
    g_free(state->version);
    g_free(state->name);
    g_free(state->status);
    g_free(state->migration);
    g_free(state->vfio);
    g_free(state->balloon.path);
    g_ptr_array_unref(state->backends);
    g_clear_pointer(&state->capabilities, json_node_unref);
    g_clear_pointer(&state->map, json_node_unref);
    g_free(state);
}
