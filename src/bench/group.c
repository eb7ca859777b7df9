/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/group.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

static void group_free(gpointer opaque)
{
    BenchGroup *group = opaque;

    g_free(group->subject);
    g_free(group->build);
    g_array_unref(group->totals);
    g_free(group);
}

const BenchGroup *bench_groups_find(const GPtrArray *groups,
                                    const char *subject, const char *build)
{
    for (guint i = 0; i < groups->len; i++) {
        const BenchGroup *group = g_ptr_array_index(groups, i);

        if (!strcmp(group->subject, subject) &&
            !strcmp(group->build, build)) {
            return group;
        }
    }
    return NULL;
}

static void add_time(GPtrArray *groups, JsonObject *line, const char *subject)
{
    const char *build = result_string(line, "build");
    double total = result_number(line, "total-ms");
    BenchGroup *group;

    if (!subject || isnan(total)) {
        return;
    }
    build = build ? build : "";
    group = (BenchGroup *)bench_groups_find(groups, subject, build);
    if (!group) {
        group = g_new0(BenchGroup, 1);
        group->subject = g_strdup(subject);
        group->build = g_strdup(build);
        group->totals = g_array_new(FALSE, FALSE, sizeof(double));
        g_ptr_array_add(groups, group);
    }
    g_array_append_val(group->totals, total);
}

static char *size_member(JsonObject *line, const char *member)
{
    double bytes = result_number(line, member);

    return isnan(bytes) ? g_strdup("?") : size_format(bytes);
}

/* "scale/anon/1024 GiB/whole/1" */
static char *device_subject(JsonObject *line)
{
    g_autofree char *memory = size_member(line, "memory");
    g_autofree char *ballooned = size_member(line, "ballooned");
    double runs = result_number(line, "runs");

    return g_strdup_printf("device/%s/%s/%s/%s/%.0f runs",
                           result_string(line, "series"),
                           result_string(line, "backend"), memory, ballooned,
                           isnan(runs) ? 0 : runs);
}

static char *rate_subject(JsonObject *line)
{
    return g_strdup_printf("rate/%s/%s/%s",
                           result_string(line, "operation"),
                           result_string(line, "pattern"),
                           result_string(line, "backend"));
}

typedef char *SubjectFunc(JsonObject *line);

static void add_kind(GPtrArray *groups, const Results *results,
                     const char *kind, SubjectFunc *subject)
{
    const GPtrArray *lines = results_lines(results, kind);

    for (guint i = 0; i < lines->len; i++) {
        JsonObject *line = g_ptr_array_index(lines, i);
        g_autofree char *text = subject(line);

        add_time(groups, line, text);
    }
}

static char *case_subject(JsonObject *line)
{
    return g_strdup(result_string(line, "case"));
}

static char *socket_subject(JsonObject *line)
{
    return g_strconcat("socket/", result_string(line, "case"), NULL);
}

GPtrArray *bench_groups(const Results *results)
{
    GPtrArray *groups = g_ptr_array_new_with_free_func(group_free);

    add_kind(groups, results, "migration", case_subject);
    add_kind(groups, results, "socket", socket_subject);
    add_kind(groups, results, "device", device_subject);
    add_kind(groups, results, "rate", rate_subject);
    return groups;
}

Spread bench_group_spread(const BenchGroup *group)
{
    return stats_spread((const double *)group->totals->data,
                        group->totals->len);
}
