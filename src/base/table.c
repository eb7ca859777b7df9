/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/table.h"

#include <string.h>

#define GAP 2

struct Table {
    unsigned columns;
    GPtrArray *rows;            /* of char **, NULL for a rule */
};

Table *table_new(unsigned columns)
{
    Table *table = g_new0(Table, 1);

    table->columns = columns;
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    return table;
}

void table_free(Table *table)
{
    if (table) {
        g_ptr_array_unref(table->rows);
        g_free(table);
    }
}

void table_add_row(Table *table, const char *const *cells)
{
    char **row = g_new0(char *, table->columns + 1);

    for (unsigned i = 0; i < table->columns; i++) {
        row[i] = g_strdup(*cells ? *cells++ : "");
    }
    g_ptr_array_add(table->rows, row);
}

void table_add_rule(Table *table)
{
    g_ptr_array_add(table->rows, NULL);
}

static unsigned column_width(const Table *table, unsigned column)
{
    glong width = 0;

    for (guint i = 0; i < table->rows->len; i++) {
        char **row = table->rows->pdata[i];

        if (row) {
            width = MAX(width, g_utf8_strlen(row[column], -1));
        }
    }
    return width;
}

static void append_blanks(GString *text, glong count)
{
    for (; count > 0; count--) {
        g_string_append_c(text, ' ');
    }
}

static void append_row(GString *text, char **row, const unsigned *widths)
{
    for (unsigned i = 0; row[i]; i++) {
        glong pad = widths[i] - g_utf8_strlen(row[i], -1);

        if (i) {
            append_blanks(text, GAP + pad);
        }
        g_string_append(text, row[i]);
        if (!i) {
            append_blanks(text, pad);
        }
    }
    while (text->len && text->str[text->len - 1] == ' ') {
        g_string_truncate(text, text->len - 1);
    }
}

char *table_format(const Table *table)
{
    g_autofree unsigned *widths = g_new0(unsigned, table->columns);
    GString *text = g_string_new(NULL);
    unsigned total = GAP * (table->columns - 1);

    for (unsigned i = 0; i < table->columns; i++) {
        widths[i] = column_width(table, i);
        total += widths[i];
    }
    for (guint i = 0; i < table->rows->len; i++) {
        char **row = table->rows->pdata[i];

        if (row) {
            append_row(text, row, widths);
        } else {
            for (unsigned dash = 0; dash < total; dash++) {
                g_string_append_c(text, '-');
            }
        }
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}
