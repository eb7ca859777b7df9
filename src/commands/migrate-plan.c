/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/migrate-plan.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "report/status-report.h"

/* Sets an error, with which QEMU it is about; returns false. */
static bool __attribute__((format(printf, 3, 4)))
refuse(Monitor *monitor, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list values;

    va_start(values, format);
    text = g_strdup_vprintf(format, values);
    va_end(values);
    g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION, "%s %s",
                monitor_title(monitor), text);
    return false;
}

static bool is_over(const char *migration)
{
    MigrationStats stats = { 0 };

    g_strlcpy(stats.status, migration ? migration : "",
              sizeof(stats.status));
    return migration_is_over(&stats);
}

/* ---- Both ends are in the right state ---- */

static bool check_source(Monitor *monitor, const QemuState *state,
                         GError **error)
{
    if (!strcmp(state->status, "inmigrate")) {
        return refuse(monitor, error, "waits for a guest itself: it is a "
                      "destination");
    }
    if (!strcmp(state->status, "postmigrate")) {
        return refuse(monitor, error, "has no guest any more: it has been "
                      "migrated");
    }
    if (strcmp(state->status, "running")) {
        return refuse(monitor, error, "does not run its guest, which is '%s': "
                      "only one that runs is moved, so cont it first",
                      state->status);
    }
    if (!is_over(state->migration)) {
        return refuse(monitor, error, "is migrating its guest: wait, or "
                      "cancel that with migrate_cancel");
    }
    return true;
}

static bool check_destination(Monitor *monitor, const QemuState *source,
                              const QemuState *state, GError **error)
{
    if (strcmp(state->status, "inmigrate")) {
        return refuse(monitor, error, "does not wait for a guest, its own is "
                      "'%s': start it with -incoming defer", state->status);
    }
    if (state->migration && !is_over(state->migration)) {
        return refuse(monitor, error, "waits for a guest already: start it "
                      "anew, with -incoming defer");
    }
    if (state->memory != source->memory) {
        g_autofree char *here = size_format(source->memory);
        g_autofree char *there = size_format(state->memory);

        return refuse(monitor, error, "has %s of memory for the guest, which "
                      "has %s: give both the same", there, here);
    }
    return true;
}

/*
 * What the guest's driver uses has to be offered there, and so has what the
 * balloon holds, if the map is to travel.
 */
static bool check_balloon(Monitor *monitor, const QemuState *source,
                          const QemuState *state, const Forecast *forecast,
                          GError **error)
{
    const BalloonState *here = &source->balloon;
    const BalloonState *there = &state->balloon;

    if (here->present && !there->present) {
        return refuse(monitor, error, "has no virtio-balloon device, and the "
                      "guest has one: add it");
    }
    if (!there->has_features || there->offered) {
        return true;
    }
    if (here->negotiated) {
        return refuse(monitor, error, "does not offer MUST_TELL_HOST, which "
                      "the guest uses: give its virtio-balloon device "
                      "must-tell-host=on");
    }
    if (forecast->in_map && forecast->skips) {
        return refuse(monitor, error, "cannot take over the balloon map: give "
                      "its virtio-balloon device must-tell-host=on");
    }
    return true;
}

/* ---- Memory of the destination ---- */

/* How much its guest memory takes from now on is known. */
static bool takes_later(const QemuState *state, const Forecast *forecast)
{
    for (unsigned i = 0; i < state->backends->len; i++) {
        const BackendState *backend = state->backends->pdata[i];

        if (backend->preallocated) {
            return false;
        }
    }
    return !forecast->not_told && !forecast->huge_pages;
}

static bool check_memory(Monitor *monitor, const QemuState *state,
                         const Forecast *forecast, GPtrArray *notes,
                         GError **error)
{
    g_autofree char *needed = size_format(forecast->destination);
    g_autofree char *left = size_format(memory_available());

    if (!monitor_qemu_process(monitor) || !takes_later(state, forecast)) {
        g_ptr_array_add(notes, g_strdup("whether the destination has memory "
                                        "enough is not known"));
        return true;
    }
    if (forecast->destination <= memory_available()) {
        return true;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "%s is on this host, which has %s of memory left, and the "
                "guest may take %s there: free some, or shrink the guest",
                monitor_title(monitor), left, needed);
    return false;
}

/* ---- Capabilities ---- */

/* Why one of ours cannot be used; NULL if it can. */
static char *find_fault(const Move *move, const MigratePlan *plan,
                        const char *name)
{
    if (!qemu_state_capability(plan->source, name).known) {
        return g_strdup_printf("%s does not know it",
                               monitor_title(move->source));
    }
    if (plan->destination &&
        !qemu_state_capability(plan->destination, name).known) {
        return g_strdup_printf("%s does not know it",
                               monitor_title(move->destination));
    }
    if (move->refused) {
        return g_strdup_printf("%s refused the guest with it",
                               monitor_title(move->destination));
    }
    if (g_str_has_prefix(move->settings.uri, "rdma:")) {
        return g_strdup("it does not go over rdma");
    }
    return NULL;
}

static bool choose(Move *move, const MigratePlan *plan, SkipSet member,
                   bool strict, GPtrArray *notes, GError **error)
{
    g_autofree char *name = skip_set_title(member);
    g_autofree char *fault = find_fault(move, plan, name);

    if (!fault) {
        move->settings.skip |= member;
        return true;
    }
    if (strict) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "cannot migrate with %s: %s; without --strict it goes "
                    "without", name, fault);
        return false;
    }
    if (qemu_state_capability(plan->source, name).on) {
        move->settings.leave |= member;
    }
    g_ptr_array_add(notes, g_strdup_printf("goes without %s: %s", name,
                                           fault));
    return true;
}

static bool check_capability(Monitor *monitor, const QemuState *state,
                             const char *name, GError **error)
{
    return !monitor || qemu_state_capability(state, name).known ? true :
        refuse(monitor, error, "does not know the capability %s", name);
}

static bool check_modes(const Move *move, const MigratePlan *plan,
                        GError **error)
{
    const MoveSettings *settings = &move->settings;

    /* Of a domain libvirt checks them. */
    if (monitor_libvirt(move->source)) {
        return true;
    }
    return check_capability(move->source, plan->source, "return-path",
                            error) &&
           (!settings->multifd ||
            (check_capability(move->source, plan->source, "multifd",
                              error) &&
             check_capability(move->destination, plan->destination, "multifd",
                              error))) &&
           (!settings->postcopy ||
            (check_capability(move->source, plan->source, "postcopy-ram",
                              error) &&
             check_capability(move->destination, plan->destination,
                              "postcopy-ram", error)));
}

/* Some of what is cached can be had, nobody knows how much. */
static bool check_host(const Move *move, const MigratePlan *plan,
                       GPtrArray *notes, GError **error)
{
    uint64_t needed = plan->forecast->destination;
    g_autofree char *text = size_format(needed);
    g_autofree char *free = size_format(plan->host.free);
    g_autofree char *most = size_format(plan->host.free + plan->host.cached);

    if (!plan->host.known || !takes_later(plan->source, plan->forecast)) {
        g_ptr_array_add(notes, g_strdup("whether the destination has memory "
                                        "enough is not known"));
        return true;
    }
    if (needed > plan->host.free + plan->host.cached) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "%s: the host has %s of memory left, and the guest may "
                    "take %s there: free some, or shrink the guest",
                    monitor_title(move->destination), most, text);
        return false;
    }
    if (needed > plan->host.free) {
        g_ptr_array_add(notes, g_strdup_printf("the guest may take %s of "
            "memory at the destination, which has %s free, and up to %s with "
            "what its caches give back", text, free, most));
    }
    return true;
}

static void note_disabled(const MigratePlan *plan, const char *name,
                          const CapabilityState *capability,
                          const ForecastSkip *skip, GPtrArray *notes)
{
    const char *reason = forecast_reason_name(skip->if_on);

    if (capability->on && reason) {
        g_ptr_array_add(notes, g_strdup_printf("%s will be disabled, %s: %s",
            name, reason, status_report_remedy(plan->source, skip->if_on)));
    }
}

static void note_not_asked(const Move *move, bool strict, GPtrArray *notes)
{
    if (move->destination && move->settings.skip &&
        monitor_libvirt(move->destination)) {
        g_ptr_array_add(notes, g_strdup_printf("the QEMU of the destination "
            "cannot be asked before it runs: one that does not know "
            "skip-balloon refuses, and the guest %s", strict ?
            "stays where it is" : "goes without"));
    }
    if (move->destination) {
        return;
    }
    g_ptr_array_add(notes, g_strdup_printf(
        "the destination cannot be asked, which --to-qmp is for: it has to be "
        "a QEMU that knows skip-balloon%s",
        move->settings.multifd || move->settings.postcopy ?
        ", and to have the same capabilities set" : ""));
}

/* ---- All of it ---- */

static bool ask(Move *move, MigratePlan *plan, GError **error)
{
    plan->source = qemu_state_ask(move->source, error);
    if (!plan->source ||
        !check_source(move->source, plan->source, error)) {
        return false;
    }
    if (monitor_libvirt(move->source)) {
        return libvirt_move_check(move, &plan->host, error);
    }
    if (move->destination) {
        plan->destination = qemu_state_ask(move->destination, error);
        return plan->destination &&
               check_destination(move->destination, plan->source,
                                 plan->destination, error);
    }
    return true;
}

/* What would happen with the capabilities as they are going to be. */
static bool foresee(const Move *move, MigratePlan *plan, GError **error)
{
    plan->source->skip_balloon.on = move->settings.skip & SKIP_BALLOON;
    plan->source->skip_unpopulated.on =
        move->settings.skip & SKIP_UNPOPULATED;
    plan->forecast = forecast_make(plan->source, error);
    if (!plan->forecast) {
        g_prefix_error(error, "%s: ", monitor_title(move->source));
    }
    return plan->forecast;
}

bool migrate_plan_make(Move *move, bool strict, bool fits, MigratePlan *plan,
                       GError **error)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);

    if (!ask(move, plan, error) ||
        !choose(move, plan, SKIP_BALLOON, strict, notes, error) ||
        !choose(move, plan, SKIP_UNPOPULATED, strict, notes, error) ||
        !check_modes(move, plan, error) || !foresee(move, plan, error)) {
        return false;
    }
    note_disabled(plan, "skip-balloon", &plan->source->skip_balloon,
                  &plan->forecast->balloon, notes);
    note_disabled(plan, "skip-unpopulated", &plan->source->skip_unpopulated,
                  &plan->forecast->unpopulated, notes);
    note_not_asked(move, strict, notes);
    if (monitor_libvirt(move->source) && fits &&
        !check_host(move, plan, notes, error)) {
        return false;
    }
    if (plan->destination &&
        (!check_balloon(move->destination, plan->source, plan->destination,
                        plan->forecast, error) ||
         (fits && !check_memory(move->destination, plan->destination,
                                plan->forecast, notes, error)))) {
        return false;
    }
    g_ptr_array_add(notes, NULL);
    plan->notes = g_strdupv((char **)notes->pdata);
    return true;
}

void migrate_plan_clear(MigratePlan *plan)
{
    qemu_state_free(plan->source);
    qemu_state_free(plan->destination);
    forecast_free(plan->forecast);
    g_strfreev(plan->notes);
    memset(plan, 0, sizeof(*plan));
}
