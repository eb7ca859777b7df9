/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/results.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

struct Results {
    GHashTable *kinds;          /* name -> GPtrArray of JsonObject */
    GPtrArray *none;
    GPtrArray *warnings;
    unsigned count;
};

/* A line of a file while it is read. */
typedef struct Place {
    const char *path;
    unsigned number;
    bool cut;                   /* no newline at its end */
} Place;

Results *results_new(void)
{
    Results *results = g_new0(Results, 1);

    results->kinds = g_hash_table_new_full(
        g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    results->none = g_ptr_array_new();
    results->warnings = g_ptr_array_new_with_free_func(g_free);
    return results;
}

void results_free(Results *results)
{
    if (results) {
        g_hash_table_unref(results->kinds);
        g_ptr_array_unref(results->none);
        g_ptr_array_unref(results->warnings);
        g_free(results);
    }
}

static void G_GNUC_PRINTF(3, 4)
warn(Results *results, const Place *place, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(results->warnings,
                    g_strdup_printf("%s:%u: %s", place->path, place->number,
                                    what));
}

static JsonObject *parse(const char *text, size_t length)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    JsonNode *root;

    /* Also fails if it is no UTF-8, or a NUL is in it. */
    if (!json_parser_load_from_data(parser, text, length, NULL)) {
        return NULL;
    }
    root = json_parser_get_root(parser);
    return root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_dup_object(root)
                                                : NULL;
}

static void keep(Results *results, const char *kind, JsonObject *line)
{
    GPtrArray *lines = g_hash_table_lookup(results->kinds, kind);

    if (!lines) {
        lines = g_ptr_array_new_with_free_func(
            (GDestroyNotify)json_object_unref);
        g_hash_table_insert(results->kinds, g_strdup(kind), lines);
    }
    g_ptr_array_add(lines, json_object_ref(line));
    results->count++;
}

static bool is_blank(const char *text, size_t length)
{
    return length == 0 || (length == 1 && text[0] == '\r');
}

static void add_line(Results *results, const Place *place, const char *text,
                     size_t length)
{
    g_autoptr(JsonObject) line = NULL;
    const char *schema;
    const char *kind;

    if (is_blank(text, length)) {
        return;
    }
    line = parse(text, length);
    if (!line) {
        warn(results, place, "left out, %s",
             place->cut ? "the line is cut short" : "it is no JSON object");
        return;
    }
    schema = result_string(line, "schema");
    kind = result_string(line, "kind");
    if (!schema || strcmp(schema, RESULTS_SCHEMA)) {
        warn(results, place, "left out, its schema is %s%s%s and not '%s'",
             schema ? "'" : "", schema ? schema : "absent",
             schema ? "'" : "", RESULTS_SCHEMA);
    } else if (!kind) {
        warn(results, place, "left out, it does not tell its kind");
    } else {
        keep(results, kind, line);
    }
}

bool results_load(Results *results, const char *path, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *text = NULL;
    Place place = { .path = path };
    size_t length;

    if (!g_file_get_contents(path, &text, &length, &why)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "the results cannot be read: %s", why->message);
        return false;
    }
    for (const char *p = text, *end = text + length; p < end; ) {
        const char *newline = memchr(p, '\n', end - p);

        place.number++;
        place.cut = !newline;
        add_line(results, &place, p, (newline ? newline : end) - p);
        p = newline ? newline + 1 : end;
    }
    return true;
}

const GPtrArray *results_warnings(const Results *results)
{
    return results->warnings;
}

unsigned results_count(const Results *results)
{
    return results->count;
}

const GPtrArray *results_lines(const Results *results, const char *kind)
{
    const GPtrArray *lines = g_hash_table_lookup(results->kinds, kind);

    return lines ? lines : results->none;
}

GPtrArray *results_where(const GPtrArray *lines, const char *member,
                         const char *value)
{
    GPtrArray *some = g_ptr_array_new();

    for (unsigned i = 0; i < lines->len; i++) {
        if (!g_strcmp0(result_string(lines->pdata[i], member), value)) {
            g_ptr_array_add(some, lines->pdata[i]);
        }
    }
    return some;
}

GPtrArray *results_distinct(const GPtrArray *lines, const char *member)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *values = g_ptr_array_new();

    for (unsigned i = 0; i < lines->len; i++) {
        const char *value = result_string(lines->pdata[i], member);

        if (value && g_hash_table_add(seen, (gpointer)value)) {
            g_ptr_array_add(values, (gpointer)value);
        }
    }
    return values;
}

Spread results_spread(const GPtrArray *lines, const char *member)
{
    g_autoptr(GArray) values = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < lines->len; i++) {
        double value = result_number(lines->pdata[i], member);

        if (!isnan(value)) {
            g_array_append_val(values, value);
        }
    }
    return stats_spread((const double *)values->data, values->len);
}

GPtrArray *results_migrations(const Results *results, const char *name,
                              const char *build)
{
    g_autoptr(GPtrArray) of_case =
        results_where(results_lines(results, "migration"), "case", name);

    return results_where(of_case, "build", build);
}

double results_median(const Results *results, const char *name,
                      const char *build, const char *member)
{
    g_autoptr(GPtrArray) lines = results_migrations(results, name, build);

    return results_spread(lines, member).median;
}

const char *result_string(JsonObject *line, const char *member)
{
    JsonNode *node = json_object_get_member(line, member);

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node)
                                               : NULL;
}

bool result_flag(JsonObject *line, const char *member)
{
    JsonNode *node = json_object_get_member(line, member);

    return node && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
           json_node_get_boolean(node);
}

double result_number(JsonObject *line, const char *member)
{
    return result_node_number(json_object_get_member(line, member));
}

double result_node_number(JsonNode *node)
{
    GType type = node && JSON_NODE_HOLDS_VALUE(node)
        ? json_node_get_value_type(node) : G_TYPE_INVALID;
    double value;

    if (type != G_TYPE_INT64 && type != G_TYPE_DOUBLE) {
        return NAN;
    }
    value = json_node_get_double(node);
    return value >= 0 && value < ldexp(1, 64) ? value : NAN;
}
