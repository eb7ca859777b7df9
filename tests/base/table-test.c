/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/table.h"

static void test_layout(void)
{
    static const char *const head[] = { "what", "off", "on", NULL };
    static const char *const row[] = { "time", "42.5 s", "7 ms", NULL };
    static const char *const few[] = { "a longer title", NULL };
    static const char *const many[] = { "x", "1", "2", "3", "4", NULL };
    g_autoptr(Table) table = table_new(3);
    g_autofree char *text = NULL;

    table_add_row(table, head);
    table_add_rule(table);
    table_add_row(table, row);
    table_add_row(table, few);
    table_add_row(table, many);
    text = table_format(table);
    g_assert_cmpstr(text, ==,
                    "what               off    on\n"
                    "----------------------------\n"
                    "time            42.5 s  7 ms\n"
                    "a longer title\n"
                    "x                    1     2\n");
}

/* Columns are of characters, not of bytes. */
static void test_utf8(void)
{
    static const char *const wide[] = { "\u00e4\u00f6", "\u2192", NULL };
    static const char *const plain[] = { "abc", "12", NULL };
    g_autoptr(Table) table = table_new(2);
    g_autofree char *text = NULL;

    table_add_row(table, wide);
    table_add_row(table, plain);
    text = table_format(table);
    g_assert_cmpstr(text, ==,
                    "\u00e4\u00f6    \u2192\n"
                    "abc  12\n");
}

static void test_empty(void)
{
    g_autoptr(Table) table = table_new(1);
    g_autofree char *text = table_format(table);

    g_assert_cmpstr(text, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/table/layout", test_layout);
    g_test_add_func("/table/utf8", test_utf8);
    g_test_add_func("/table/empty", test_empty);
    return g_test_run();
}
