/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/migrate-report.h"

#include "base/size.h"
#include "report/status-report.h"

static void add_end(GString *text, const char *label, const QemuState *state)
{
    g_string_append_printf(text, "%-13s QEMU %s, %s\n", label,
                           state->version, state->status);
}

static void add_notes(GString *text, GStrv notes)
{
    for (char **note = notes; *note; note++) {
        g_string_append_printf(text, "note          %s\n", *note);
    }
}

char *migrate_report_plan(const MigrateReport *report)
{
    const MoveSettings *settings = &report->move->settings;
    g_autofree char *skip = settings->skip ? skip_set_title(settings->skip)
                                           : g_strdup("nothing");
    GString *text = g_string_new(NULL);

    add_end(text, "source", report->source);
    if (report->destination) {
        add_end(text, "destination", report->destination);
    }
    g_string_append_printf(text, "to            %s\n", settings->uri);
    g_string_append_printf(text, "turned on     %s%s%s%s\n", skip,
                           settings->multifd ? ", multifd" : "",
                           settings->postcopy ? ", postcopy-ram" : "",
                           monitor_libvirt(report->move->source) ? "" :
                           ", return-path");
    if (report->shrinks) {
        g_string_append(text, "before that   the balloon takes what the "
                        "guest can spare, as is not in what follows\n");
    }
    add_notes(text, report->notes);
    status_report_add_forecast(text, report->forecast);
    return g_string_free(text, FALSE);
}

static void add_skipped(GString *text, const MigrationStats *stats)
{
    g_autofree char *balloon = size_format(stats->skipped_bytes);
    g_autofree char *unpopulated =
        size_format(stats->unpopulated.skipped_bytes);

    if (stats->has_skip && stats->skip_reason[0]) {
        g_string_append_printf(text, "skip-balloon disabled: %s\n",
                               stats->skip_reason);
    } else if (stats->has_skip) {
        g_string_append_printf(text, "skip-balloon skipped %s\n", balloon);
    }
    if (stats->unpopulated.known) {
        g_string_append_printf(text, "skip-unpopulated skipped %s%s\n",
                               unpopulated, stats->has_skip &&
                               !stats->skip_reason[0] ?
                               " that is not in the balloon" : "");
    }
}

static void add_shrink(GString *text, const MigrateReport *report)
{
    const Shrink *shrink = report->shrink;
    g_autofree char *taken = NULL;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    if (!shrink) {
        return;
    }
    taken = size_format(shrink->taken);
    before = size_format(report->would_send);
    after = size_format(report->forecast->would_send);
    g_string_append_printf(text,
        "The balloon took %s in %.1f s: that left %s to be sent at most, "
        "instead of %s. Giving it back took %.1f s.\n", taken,
        shrink->take_secs, after, before, shrink->give_back_secs);
}

char *migrate_report_text(const MigrateReport *report)
{
    const MigrationStats *stats = &report->move->stats;
    g_autofree char *sent = size_format(stats->transferred);
    GString *text = g_string_new(NULL);

    g_string_append_printf(text,
        "Completed in %" G_GINT64_FORMAT " ms, with the guest stopped for %"
        G_GINT64_FORMAT " ms; sent %s in %" G_GUINT64_FORMAT " passes.\n",
        stats->total_ms, stats->downtime_ms, sent, stats->passes);
    add_skipped(text, stats);
    add_shrink(text, report);
    g_string_append_printf(text, "%c%s.\n", g_ascii_toupper(report->where[0]),
                           report->where + 1);
    return g_string_free(text, FALSE);
}

/* ---- For programs ---- */

static JsonArray *notes_array(GStrv notes)
{
    JsonArray *array = json_array_new();

    for (char **note = notes; *note; note++) {
        json_array_add_string_element(array, *note);
    }
    return array;
}

static JsonArray *capabilities_array(SkipSet set)
{
    g_autofree const char **names = skip_set_capabilities(set);
    JsonArray *array = json_array_new();

    for (const char **name = names; *name; name++) {
        json_array_add_string_element(array, *name);
    }
    return array;
}

static JsonObject *forecast_object(const Forecast *forecast)
{
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "would-skip-bytes",
                               forecast->would_skip);
    json_object_set_int_member(object, "would-send-bytes",
                               forecast->would_send);
    json_object_set_int_member(object, "destination-bytes",
                               forecast->destination);
    return object;
}

static JsonObject *shrink_object(const MigrateReport *report)
{
    const Shrink *shrink = report->shrink;
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "taken-bytes", shrink->taken);
    json_object_set_int_member(object, "take-ms", shrink->take_secs * 1000);
    json_object_set_int_member(object, "give-back-ms",
                               shrink->give_back_secs * 1000);
    json_object_set_int_member(object, "would-send-bytes-before",
                               report->would_send);
    return object;
}

static void set_stats(JsonObject *object, const MigrationStats *stats)
{
    json_object_set_string_member(object, "migration", stats->status);
    json_object_set_int_member(object, "total-ms", stats->total_ms);
    json_object_set_int_member(object, "downtime-ms", stats->downtime_ms);
    json_object_set_int_member(object, "setup-ms", stats->setup_ms);
    json_object_set_int_member(object, "sent-bytes", stats->transferred);
    json_object_set_int_member(object, "passes", stats->passes);
    json_object_set_int_member(object, "postcopy-bytes",
                               stats->postcopy_bytes);
    if (stats->has_skip) {
        json_object_set_int_member(object, "balloon-skipped-bytes",
                                   stats->skipped_bytes);
    }
    if (stats->has_skip && stats->skip_reason[0]) {
        json_object_set_string_member(object, "balloon-reason",
                                      stats->skip_reason);
    }
    if (stats->unpopulated.known) {
        json_object_set_int_member(object, "unpopulated-skipped-bytes",
                                   stats->unpopulated.skipped_bytes);
    }
}

char *migrate_report_json(const MigrateReport *report)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *json = NULL;
    JsonObject *object = json_object_new();

    json_object_set_boolean_member(object, "completed",
                                   report->completed);
    if (report->end) {
        json_object_set_string_member(object, "runs-at",
            move_where_name(report->end->where));
    }
    if (report->failure) {
        json_object_set_string_member(object, "reason", report->failure);
    }
    json_object_set_array_member(object, "capabilities",
        capabilities_array(report->move->settings.skip));
    if (report->notes) {
        json_object_set_array_member(object, "notes",
                                     notes_array(report->notes));
        json_object_set_object_member(object, "forecast",
                                      forecast_object(report->forecast));
    }
    if (report->shrink) {
        json_object_set_object_member(object, "shrink",
                                      shrink_object(report));
    }
    if (report->end) {
        set_stats(object, &report->move->stats);
    }
    json_node_take_object(root, object);
    json = json_to_string(root, FALSE);
    return g_strconcat(json, "\n", NULL);
}
