/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include "size.h"
#include "table.h"

/* Formats one quantity of a run; the caller frees the text. */
typedef char *CellFunc(const RunResult *run);
/* The same quantity as a number, for the ratio. */
typedef double ValueFunc(const RunResult *run);

typedef struct Line {
    const char *title;
    CellFunc *cell;
    ValueFunc *value;           /* NULL: no ratio */
} Line;

static char *format_ms(int64_t ms)
{
    return ms < 1000 ? g_strdup_printf("%" G_GINT64_FORMAT " ms", ms)
                     : g_strdup_printf("%.2f s", ms / 1e3);
}

static char *total_cell(const RunResult *run)
{
    return format_ms(run->migration.total_ms);
}

static double total_value(const RunResult *run)
{
    return run->migration.total_ms;
}

static char *downtime_cell(const RunResult *run)
{
    return format_ms(run->migration.downtime_ms);
}

static double downtime_value(const RunResult *run)
{
    return run->migration.downtime_ms;
}

static char *setup_cell(const RunResult *run)
{
    return format_ms(run->migration.setup_ms);
}

static double setup_value(const RunResult *run)
{
    return run->migration.setup_ms;
}

static char *sent_cell(const RunResult *run)
{
    return size_format(run->migration.transferred);
}

static double sent_value(const RunResult *run)
{
    return run->migration.transferred;
}

static char *zero_cell(const RunResult *run)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT, run->migration.duplicate);
}

static double zero_value(const RunResult *run)
{
    return run->migration.duplicate;
}

static char *normal_cell(const RunResult *run)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT, run->migration.normal);
}

static double normal_value(const RunResult *run)
{
    return run->migration.normal;
}

static char *skipped_cell(const RunResult *run)
{
    const MigrationStats *stats = &run->migration;

    if (!stats->has_skip) {
        return g_strdup("-");
    }
    if (stats->skip_reason[0]) {
        return g_strdup_printf("%s: %s", stats->skip_status,
                               stats->skip_reason);
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT, stats->skipped_pages);
}

/* A number that only a migration with the capability has */
static char *skip_cell(const RunResult *run, uint64_t value)
{
    return run->migration.has_skip
           ? g_strdup_printf("%" G_GUINT64_FORMAT, value) : g_strdup("-");
}

static char *vetoed_cell(const RunResult *run)
{
    return skip_cell(run, run->migration.vetoed_pages);
}

static char *map_cell(const RunResult *run)
{
    return skip_cell(run, run->migration.map_bytes);
}

static char *final_map_cell(const RunResult *run)
{
    return skip_cell(run, run->migration.final_map_bytes);
}

static char *source_before_cell(const RunResult *run)
{
    return size_format(run->source_before);
}

static char *source_after_cell(const RunResult *run)
{
    return size_format(run->source_after);
}

static double source_after_value(const RunResult *run)
{
    return run->source_after;
}

static char *destination_cell(const RunResult *run)
{
    return size_format(run->destination_after);
}

static double destination_value(const RunResult *run)
{
    return run->destination_after;
}

static const Line lines[] = {
    { "total time", total_cell, total_value },
    { "downtime", downtime_cell, downtime_value },
    { "setup", setup_cell, setup_value },
    { "bytes sent", sent_cell, sent_value },
    { "zero-page records", zero_cell, zero_value },
    { "pages sent in full", normal_cell, normal_value },
    { "pages skipped", skipped_cell, NULL },
    { "pages vetoed", vetoed_cell, NULL },
    { "balloon map, bytes", map_cell, NULL },
    { "  of these stopped", final_map_cell, NULL },
    { "source memory, before", source_before_cell, NULL },
    { "source memory, after", source_after_cell, source_after_value },
    { "destination memory", destination_cell, destination_value },
};

/* "12.3 x", "" if one side is missing, or nothing to divide by. */
static char *format_ratio(const Report *report, ValueFunc *value)
{
    if (!value || !report->off || !report->on || value(report->on) <= 0) {
        return g_strdup("");
    }
    return g_strdup_printf("%.1f", value(report->off) / value(report->on));
}

static char *run_cell(const RunResult *run, CellFunc *cell)
{
    return run ? cell(run) : g_strdup("");
}

static void add_line(Table *table, const Report *report, const Line *line)
{
    g_autofree char *off = run_cell(report->off, line->cell);
    g_autofree char *on = run_cell(report->on, line->cell);
    g_autofree char *ratio = format_ratio(report, line->value);
    const char *cells[] = { line->title, off, on, ratio, NULL };

    table_add_row(table, cells);
}

char *report_table(const Report *report)
{
    static const char *const heads[] = {
        "skip-balloon", "off", "on", "off / on", NULL
    };
    g_autoptr(Table) table = table_new(4);
    g_autofree char *memory = size_format(report->memory);
    g_autofree char *to = size_format(report->balloon_to);
    g_autofree char *body = NULL;

    table_add_row(table, heads);
    table_add_rule(table);
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        add_line(table, report, &lines[i]);
    }
    body = table_format(table);
    return g_strdup_printf("A guest of %s on %s memory, ballooned to %s:\n\n"
                           "%s", memory, backend_name(report->backend), to,
                           body);
}

static void add_int(JsonBuilder *builder, const char *name, int64_t value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, value);
}

static void add_string(JsonBuilder *builder, const char *name,
                       const char *value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, value);
}

static void add_double(JsonBuilder *builder, const char *name, double value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_double_value(builder, value);
}

static void add_skip(JsonBuilder *builder, const MigrationStats *stats)
{
    json_builder_set_member_name(builder, "skip-balloon");
    json_builder_begin_object(builder);
    add_string(builder, "status", stats->skip_status);
    if (stats->skip_reason[0]) {
        add_string(builder, "reason", stats->skip_reason);
    }
    add_int(builder, "skipped-pages", stats->skipped_pages);
    add_int(builder, "skipped-bytes", stats->skipped_bytes);
    add_int(builder, "vetoed-pages", stats->vetoed_pages);
    add_int(builder, "map-bytes", stats->map_bytes);
    add_int(builder, "final-map-bytes", stats->final_map_bytes);
    json_builder_end_object(builder);
}

static void add_run(JsonBuilder *builder, const char *name,
                    const RunResult *run)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_object(builder);
    add_int(builder, "total-ms", run->migration.total_ms);
    add_int(builder, "downtime-ms", run->migration.downtime_ms);
    add_int(builder, "setup-ms", run->migration.setup_ms);
    add_int(builder, "sent-bytes", run->migration.transferred);
    add_int(builder, "zero-page-records", run->migration.duplicate);
    add_int(builder, "normal-pages", run->migration.normal);
    if (run->migration.has_skip) {
        add_skip(builder, &run->migration);
    }
    add_int(builder, "source-before-bytes", run->source_before);
    add_int(builder, "source-after-bytes", run->source_after);
    add_int(builder, "destination-after-bytes", run->destination_after);
    add_double(builder, "boot-seconds", run->boot_secs);
    add_double(builder, "inflate-seconds", run->inflate_secs);
    json_builder_end_object(builder);
}

char *report_json(const Report *report)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *json = NULL;

    json_builder_begin_object(builder);
    add_int(builder, "memory-bytes", report->memory);
    add_int(builder, "balloon-to-bytes", report->balloon_to);
    add_string(builder, "backend", backend_name(report->backend));
    if (report->off) {
        add_run(builder, "off", report->off);
    }
    if (report->on) {
        add_run(builder, "on", report->on);
    }
    json_builder_set_member_name(builder, "intact");
    /* There is no report of a guest that was not. */
    json_builder_add_boolean_value(builder, TRUE);
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    json = json_to_string(root, FALSE);
    return g_strconcat(json, "\n", NULL);
}
