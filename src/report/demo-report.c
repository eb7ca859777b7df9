/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/demo-report.h"

#include "base/size.h"
#include "base/table.h"

/* Smaller RAM blocks are those of devices, which matter to nobody. */
#define LEFT_ALONE_MIN (16 * SIZE_MIB)

/* Formats one quantity of a run; the caller frees the text. */
typedef char *CellFunc(const RunResult *run);
/* The same quantity as a number, for the ratio. */
typedef double ValueFunc(const RunResult *run);

typedef struct Line {
    const char *title;
    SkipSet of;                 /* only with one of these; 0: always */
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

/* A number that only a migration with a capability has */
static char *optional_cell(bool known, uint64_t value)
{
    return known ? g_strdup_printf("%" G_GUINT64_FORMAT, value)
                 : g_strdup("-");
}

static char *vetoed_cell(const RunResult *run)
{
    return optional_cell(run->migration.has_skip,
                         run->migration.vetoed_pages);
}

static char *map_cell(const RunResult *run)
{
    return optional_cell(run->migration.has_skip,
                         run->migration.map_bytes);
}

static char *final_map_cell(const RunResult *run)
{
    return optional_cell(run->migration.has_skip,
                         run->migration.final_map_bytes);
}

static char *unpopulated_skipped_cell(const RunResult *run)
{
    const UnpopulatedStats *stats = &run->migration.unpopulated;

    return optional_cell(stats->known, stats->skipped_pages);
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
    { "total time", 0, total_cell, total_value },
    { "downtime", 0, downtime_cell, downtime_value },
    { "setup", 0, setup_cell, setup_value },
    { "bytes sent", 0, sent_cell, sent_value },
    { "zero-page records", 0, zero_cell, zero_value },
    { "pages sent in full", 0, normal_cell, normal_value },
    { "pages skipped", SKIP_BALLOON, skipped_cell, NULL },
    { "pages vetoed", SKIP_BALLOON, vetoed_cell, NULL },
    { "map and words, bytes", SKIP_BALLOON, map_cell, NULL },
    { "  of these stopped", SKIP_BALLOON, final_map_cell, NULL },
    { "unpopulated pages skipped", SKIP_UNPOPULATED,
      unpopulated_skipped_cell, NULL },
    { "source memory, before", 0, source_before_cell, NULL },
    { "source memory, after", 0, source_after_cell, source_after_value },
    { "destination memory", 0, destination_cell, destination_value },
};

/* "12.3 x", "" if one side is missing, or nothing to divide by. */
static char *format_ratio(const Report *report, ValueFunc *value)
{
    double ratio;

    if (!value || !report->off || !report->on || value(report->on) <= 0) {
        return g_strdup("");
    }
    ratio = value(report->off) / value(report->on);
    return g_strdup_printf("%.*f", ratio < 0.1 ? 2 : 1, ratio);
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
    const char *both[] = { line->title, off, on, ratio, NULL };
    const char *one[] = { line->title, report->off ? off : on, NULL };

    table_add_row(table, report->off && report->on ? both : one);
}

static char *format_body(const Report *report, const char *title)
{
    const char *both[] = { title, "off", "on", "off / on", NULL };
    const char *one[] = { title, report->off ? "off" : "on", NULL };
    bool two = report->off && report->on;
    g_autoptr(Table) table = table_new(two ? 4 : 2);

    table_add_row(table, two ? both : one);
    table_add_rule(table);
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        if (!lines[i].of || lines[i].of & report->capabilities) {
            add_line(table, report, &lines[i]);
        }
    }
    return table_format(table);
}

/* "freshly booted", "ballooned to 512 MiB" */
static char *format_state(const Report *report)
{
    g_autofree char *to = size_format(report->balloon_to);

    return report->balloon_to ? g_strdup_printf("ballooned to %s", to)
                              : g_strdup("freshly booted");
}

/* What of the guest's memory could not be skipped, a line for each block. */
static char *format_left_alone(const RunResult *on)
{
    GString *text = g_string_new(NULL);
    const UnpopulatedStats *stats = on ? &on->migration.unpopulated : NULL;

    for (unsigned i = 0; stats && i < stats->n_left_alone; i++) {
        const LeftAlone *block = &stats->left_alone[i];
        g_autofree char *size = size_format(block->size);

        if (block->size >= LEFT_ALONE_MIN) {
            g_string_append_printf(text, "All of %s, %s, was sent: %s\n",
                                   block->id, size, block->reason);
        }
    }
    return g_string_free(text, FALSE);
}

/* What came of it. */
static char *format_result(const Report *report)
{
    g_autofree char *ratio = format_ratio(report, total_value);

    return ratio[0] ? g_strdup_printf(
        "Both guests arrived intact, the second %s times as fast.\n"
        "Downtime is what QEMU makes of its downtime-limit, 300 ms.\n",
        ratio) : g_strdup("The guest arrived intact.\n");
}

char *report_table(const Report *report)
{
    g_autofree char *title = skip_set_title(report->capabilities);
    g_autofree char *memory = size_format(report->memory);
    g_autofree char *state = format_state(report);
    g_autofree char *body = format_body(report, title);
    g_autofree char *left_alone = format_left_alone(report->on);
    g_autofree char *result = format_result(report);

    return g_strdup_printf("A guest of %s on %s memory, %s:\n\n%s%s%s\n%s",
                           memory, backend_name(report->backend), state, body,
                           left_alone[0] ? "\n" : "", left_alone, result);
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

static void add_left_alone(JsonBuilder *builder, const LeftAlone *block)
{
    json_builder_begin_object(builder);
    add_string(builder, "id", block->id);
    add_int(builder, "size", block->size);
    add_string(builder, "reason", block->reason);
    json_builder_end_object(builder);
}

static void add_unpopulated(JsonBuilder *builder,
                            const UnpopulatedStats *stats)
{
    json_builder_set_member_name(builder, "skip-unpopulated");
    json_builder_begin_object(builder);
    add_int(builder, "skipped-pages", stats->skipped_pages);
    add_int(builder, "skipped-bytes", stats->skipped_bytes);
    json_builder_set_member_name(builder, "left-alone");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < stats->n_left_alone; i++) {
        add_left_alone(builder, &stats->left_alone[i]);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
}

static void add_capabilities(JsonBuilder *builder, SkipSet set)
{
    g_autofree const char **names = skip_set_capabilities(set);

    json_builder_set_member_name(builder, "capabilities");
    json_builder_begin_array(builder);
    for (const char **name = names; *name; name++) {
        json_builder_add_string_value(builder, *name);
    }
    json_builder_end_array(builder);
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
    if (run->migration.unpopulated.known) {
        add_unpopulated(builder, &run->migration.unpopulated);
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
    if (report->balloon_to) {
        add_int(builder, "balloon-to-bytes", report->balloon_to);
    }
    add_string(builder, "backend", backend_name(report->backend));
    add_capabilities(builder, report->capabilities);
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
