/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "report/page-sections.h"

/* More than that, and nobody reads them. */
#define WARNINGS_MAX 50

static void add_left_out(Page *page, const Results *results)
{
    static const char *const headings[] = { "what", "why", NULL };
    const GPtrArray *lines = results_lines(results, "left-out");

    if (!lines->len) {
        return;
    }
    page_heading(page, 2, "Left out");
    page_words_begin(page, "What was not measured", headings);
    for (unsigned i = 0; i < lines->len; i++) {
        const char *name = result_string(lines->pdata[i], "case");

        page_row(page, -1, name ? name : "?");
        page_cell_text(page, result_string(lines->pdata[i], "reason"));
    }
    page_table_end(page);
}

/* A string as it is; numbers are sizes or counts. */
static char *value_of(JsonObject *line, const char *member)
{
    const char *text = result_string(line, member);

    if (text) {
        return g_strdup(text);
    }
    return g_str_has_suffix(member, "-bytes")
        ? quantity_bytes(result_number(line, member))
        : quantity_fixed(result_number(line, member), 0);
}

static void add_environment(Page *page, JsonObject *line)
{
    static const struct {
        const char *member;
        const char *title;
    } rows[] = {
        { "time", "started" }, { "profile", "profile" },
        { "version", "skip-balloon" }, { "qemu", "QEMU, ours" },
        { "stock", "QEMU, unmodified" }, { "accel", "acceleration" },
        { "cpu", "processor" }, { "cpus", "processors" },
        { "memory-bytes", "memory of the host" },
        { "kernel", "kernel of the host" },
        { "guest-kernel", "kernel of the guests" },
        { "thp", "transparent huge pages" },
    };
    const char *run = result_string(line, "run");

    page_table_group(page, run ? run : "a run without a name");
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *value = value_of(line, rows[i].member);

        if (value) {
            page_row(page, -1, rows[i].title);
            page_cell_text(page, value);
        }
    }
}

static void add_environments(Page *page, const GPtrArray *lines)
{
    static const char *const headings[] = { "", "", NULL };

    if (!lines->len) {
        return;
    }
    page_heading(page, 2, "Environment");
    if (lines->len > 1) {
        page_text(page, "These are the results of %u runs together; medians "
                  "are over all of them.", lines->len);
    }
    page_words_begin(page, "Where it ran", headings);
    for (unsigned i = 0; i < lines->len; i++) {
        add_environment(page, lines->pdata[i]);
    }
    page_table_end(page);
}

static void add_commands(Page *page, const GPtrArray *lines)
{
    g_autoptr(GPtrArray) commands = results_distinct(lines, "command");

    page_heading(page, 2, "To repeat it");
    for (unsigned i = 0; i < commands->len; i++) {
        page_code(page, commands->pdata[i]);
    }
    page_text(page, "%s, and this page is made of the file that it writes, "
              "RESULTS:", commands->len ? "That measures"
              : "'skip-balloon bench' measures");
    page_code(page, "skip-balloon report RESULTS -o report.html");
}

static void add_warnings(Page *page, const GPtrArray *warnings)
{
    if (!warnings->len) {
        return;
    }
    page_heading(page, 2, "Lines left out of this report");
    page_list_begin(page);
    for (unsigned i = 0; i < MIN(warnings->len, WARNINGS_MAX); i++) {
        page_list_item(page, warnings->pdata[i]);
    }
    page_list_end(page);
    if (warnings->len > WARNINGS_MAX) {
        page_text(page, "And %u more.", warnings->len - WARNINGS_MAX);
    }
}

void page_circumstances(Page *page, const Results *results)
{
    const GPtrArray *environments = results_lines(results, "environment");

    add_left_out(page, results);
    add_environments(page, environments);
    add_commands(page, environments);
    add_warnings(page, results_warnings(results));
}
