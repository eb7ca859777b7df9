/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/status-report.h"

#include "base/size.h"

/* Where values begin. */
#define LABEL_WIDTH 27

/* ---- What to do about it, a line each ---- */

static const char *remedy_of_driver(const BalloonState *balloon)
{
    if (!balloon->offered) {
        return "the device does not offer MUST_TELL_HOST: give it "
               "must-tell-host=on, or use skip-unpopulated";
    }
    if (!balloon->driver) {
        return "the guest has no balloon driver that runs: load it, or use "
               "skip-unpopulated";
    }
    return "the driver has not negotiated MUST_TELL_HOST: reload it, or use "
           "skip-unpopulated";
}

/* NULL if there is nothing to do. */
static const char *remedy(const QemuState *state, ForecastReason reason,
                          const char *turn_on)
{
    switch (reason) {
    case FORECAST_NOT_SUPPORTED:
        return "this QEMU does not know it: it takes one that 'make qemu' "
               "builds";
    case FORECAST_CAPABILITY_OFF:
        return turn_on;
    case FORECAST_NO_DEVICE:
        return "there is no virtio-balloon device: add one, or use "
               "skip-unpopulated";
    case FORECAST_MUST_TELL_HOST:
        return remedy_of_driver(&state->balloon);
    case FORECAST_DISCARD_INHIBITED:
        return state->vfio ?
            "a VFIO device needs all guest memory, so there is nothing to "
            "skip: unplug it before, if that can be" :
            "guest memory is locked, or a device needs all of it: use "
            "memory-backend-memfd, or unplug the device";
    case FORECAST_PAGEMAP_DENIED:
        return "QEMU may not read /proc/self/pagemap, and the host has swap: "
               "allow AppArmor's 'owner @{PROC}/@{pid}/pagemap r,', or use "
               "memory-backend-memfd";
    default:
        return NULL;
    }
}

/* What stands in the way if it is turned on comes first. */
static const char *remedy_of(const QemuState *state, const ForecastSkip *skip,
                             const char *turn_on)
{
    return remedy(state, skip->if_on == FORECAST_ACTIVE ? skip->reason
                                                        : skip->if_on,
                  turn_on);
}

const char *status_report_remedy(const QemuState *state, ForecastReason reason)
{
    return remedy(state, reason, NULL);
}

static const char *remedy_of_balloon(const QemuState *state,
                                     const Forecast *forecast)
{
    const char *text = remedy_of(state, &forecast->balloon,
        "turn it on with migrate_set_capability skip-balloon on, or "
        "-global migration.skip-balloon=on");

    if (!text && forecast_map_is_short(forecast)) {
        return "the map knows less than the balloon holds: deflate and "
               "inflate it, or use skip-unpopulated";
    }
    return text;
}

static const char *remedy_of_unpopulated(const QemuState *state,
                                         const Forecast *forecast)
{
    return remedy_of(state, &forecast->unpopulated,
        "turn it on with migrate_set_capability skip-unpopulated on, or "
        "-global migration.skip-unpopulated=on");
}

/* ---- For people ---- */

static void __attribute__((format(printf, 3, 4)))
add_line(GString *text, const char *label, const char *format, ...)
{
    va_list values;

    g_string_append_printf(text, "%-*s", LABEL_WIDTH, label);
    va_start(values, format);
    g_string_append_vprintf(text, format, values);
    va_end(values);
    g_string_append_c(text, '\n');
}

static void add_size(GString *text, const char *label, uint64_t bytes,
                     const char *more)
{
    g_autofree char *size = size_format(bytes);

    add_line(text, label, "%s%s", size, more);
}

static void add_memory(GString *text, const QemuState *state,
                       const Forecast *forecast)
{
    add_size(text, "memory of the guest", state->memory, "");
    if (!forecast->has_map) {
        return;
    }
    add_size(text, "  populated on this host", forecast->populated, "");
    if (forecast->not_told) {
        add_size(text, "  not told by QEMU", forecast->not_told,
                 " (the host does not tell, or another process has huge "
                 "pages)");
    }
}

static void add_balloon(GString *text, const QemuState *state,
                        const Forecast *forecast)
{
    const BalloonState *balloon = &state->balloon;

    if (!balloon->present) {
        add_line(text, "balloon", "none");
        return;
    }
    if (balloon->has_actual) {
        g_autofree char *left = size_format(balloon->actual);

        add_size(text, "balloon holds", forecast->holds, "");
        add_line(text, "  leaves the guest", "%s", left);
    }
    if (forecast->has_map) {
        g_autofree char *populated =
            size_format(forecast->in_map_populated);

        add_size(text, "  in the map", forecast->in_map, "");
        add_line(text, "  of that populated", "%s%s", populated,
                 forecast->in_map_uncertain ? " at most" : "");
    }
    if (balloon->has_used) {
        add_size(text, "  of that used, about", balloon->used, "");
    }
    if (balloon->has_available) {
        add_size(text, "  the guest could spare", balloon->available, "");
    }
}

static void add_skip(GString *text, const char *name,
                     const ForecastSkip *skip, const char *what_to_do)
{
    g_autofree char *size = size_format(skip->bytes);
    const char *reason = forecast_reason_name(skip->if_on);

    if (skip->if_on == FORECAST_NOT_SUPPORTED) {
        add_line(text, name, "not known to this QEMU");
    } else if (skip->reason == FORECAST_ACTIVE) {
        add_line(text, name, "active: skips %s at least", size);
    } else if (skip->if_on == FORECAST_ACTIVE) {
        add_line(text, name, "off: would skip %s at least", size);
    } else if (skip->reason == FORECAST_CAPABILITY_OFF) {
        add_line(text, name, "off, and would be disabled: %s", reason);
    } else {
        add_line(text, name, "disabled: %s", reason);
    }
    if (what_to_do) {
        g_string_append_printf(text, "  %s\n", what_to_do);
    }
}

static void add_left_alone(GString *text, const Forecast *forecast)
{
    if (forecast->not_told && forecast->unpopulated.if_on ==
                              FORECAST_ACTIVE) {
        g_string_append(text, "  and what QEMU does not tell of, unless it "
                        "cannot tell then\n");
    }
}

void status_report_add_forecast(GString *text, const Forecast *forecast)
{
    g_string_append(text, "\nA migration now, if the guest writes nothing:\n");
    add_size(text, "  skips at least", forecast->would_skip, "");
    add_size(text, "  sends at most", forecast->would_send, "");
    add_size(text, "  takes there at most", forecast->destination,
             " of memory for the guest");
}

char *status_report_text(const QemuState *state, const Forecast *forecast)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "QEMU %s, guest %s%s%s%s\n\n",
                           state->version, state->name ? "'" : "",
                           state->name ? state->name : "",
                           state->name ? "' " : "", state->status);
    add_memory(text, state, forecast);
    add_balloon(text, state, forecast);
    if (state->migration) {
        add_line(text, "last migration", "%s", state->migration);
    }
    g_string_append_c(text, '\n');
    add_skip(text, "skip-balloon", &forecast->balloon,
             remedy_of_balloon(state, forecast));
    add_skip(text, "skip-unpopulated", &forecast->unpopulated,
             remedy_of_unpopulated(state, forecast));
    add_left_alone(text, forecast);
    status_report_add_forecast(text, forecast);
    return g_string_free(text, FALSE);
}

/* ---- For programs ---- */

static void set_text(JsonObject *object, const char *name, const char *text)
{
    if (text) {
        json_object_set_string_member(object, name, text);
    }
}

static JsonObject *guest_object(const QemuState *state,
                                const Forecast *forecast)
{
    JsonObject *guest = json_object_new();

    set_text(guest, "name", state->name);
    set_text(guest, "status", state->status);
    json_object_set_int_member(guest, "memory-bytes", state->memory);
    if (forecast->has_map) {
        json_object_set_int_member(guest, "populated-bytes",
                                   forecast->populated);
        json_object_set_int_member(guest, "not-told-bytes",
                                   forecast->not_told);
    }
    return guest;
}

static JsonObject *balloon_object(const QemuState *state,
                                  const Forecast *forecast)
{
    const BalloonState *balloon = &state->balloon;
    JsonObject *object = json_object_new();

    json_object_set_boolean_member(object, "present", balloon->present);
    if (balloon->has_actual) {
        json_object_set_int_member(object, "actual-bytes", balloon->actual);
        json_object_set_int_member(object, "held-bytes", forecast->holds);
    }
    if (balloon->present && forecast->has_map) {
        json_object_set_int_member(object, "map-bytes", forecast->in_map);
        json_object_set_int_member(object, "map-populated-bytes",
                                   forecast->in_map_populated);
    }
    if (balloon->has_used) {
        json_object_set_int_member(object, "map-used-bytes", balloon->used);
    }
    if (balloon->has_features) {
        json_object_set_boolean_member(object, "must-tell-host-offered",
                                       balloon->offered);
        json_object_set_boolean_member(object, "must-tell-host-negotiated",
                                       balloon->negotiated);
        json_object_set_boolean_member(object, "driver", balloon->driver);
    }
    if (balloon->has_available) {
        json_object_set_int_member(object, "available-bytes",
                                   balloon->available);
    }
    return object;
}

static JsonObject *skip_object(const CapabilityState *capability,
                               const ForecastSkip *skip,
                               const char *what_to_do)
{
    bool active = skip->reason == FORECAST_ACTIVE;
    JsonObject *object = json_object_new();

    json_object_set_boolean_member(object, "capability", capability->on);
    json_object_set_string_member(object, "status",
                                  active ? "active" : "disabled");
    set_text(object, "reason", forecast_reason_name(skip->reason));
    if (skip->if_on == FORECAST_ACTIVE) {
        json_object_set_int_member(object,
            active ? "would-skip-bytes" : "if-on-bytes", skip->bytes);
    } else if (skip->reason == FORECAST_CAPABILITY_OFF) {
        set_text(object, "if-on-reason", forecast_reason_name(skip->if_on));
    }
    set_text(object, "remedy", what_to_do);
    return object;
}

static JsonArray *left_alone_array(const Forecast *forecast)
{
    JsonArray *array = json_array_new();

    for (unsigned i = 0; i < forecast->left_alone->len; i++) {
        const ForecastBlock *block = forecast->left_alone->pdata[i];
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "id", block->id);
        json_object_set_int_member(object, "size", block->size);
        json_object_set_string_member(object, "reason", block->reason);
        json_array_add_object_element(array, object);
    }
    return array;
}

static JsonArray *unknown_array(const Forecast *forecast)
{
    JsonArray *array = json_array_new();

    if (forecast->not_told || !forecast->has_map) {
        json_array_add_string_element(array, "populated");
    }
    return array;
}

char *status_report_json(const QemuState *state, const Forecast *forecast)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *json = NULL;
    JsonObject *object = json_object_new();
    JsonObject *unpopulated = skip_object(
        &state->skip_unpopulated, &forecast->unpopulated,
        remedy_of_unpopulated(state, forecast));

    json_object_set_string_member(object, "qemu", state->version);
    json_object_set_object_member(object, "guest",
                                  guest_object(state, forecast));
    json_object_set_object_member(object, "balloon",
                                  balloon_object(state, forecast));
    set_text(object, "last-migration", state->migration);
    json_object_set_object_member(object, "skip-balloon", skip_object(
        &state->skip_balloon, &forecast->balloon,
        remedy_of_balloon(state, forecast)));
    if (forecast->has_map) {
        json_object_set_array_member(unpopulated, "left-alone",
                                     left_alone_array(forecast));
    }
    json_object_set_object_member(object, "skip-unpopulated", unpopulated);
    json_object_set_int_member(object, "would-skip-bytes",
                               forecast->would_skip);
    json_object_set_int_member(object, "would-send-bytes",
                               forecast->would_send);
    json_object_set_int_member(object, "destination-bytes",
                               forecast->destination);
    json_object_set_array_member(object, "unknown", unknown_array(forecast));
    json_node_take_object(root, object);
    json = json_to_string(root, FALSE);
    return g_strconcat(json, "\n", NULL);
}
