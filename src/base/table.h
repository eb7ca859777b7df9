/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_TABLE_H
#define SKIP_BALLOON_BASE_TABLE_H

#include <glib.h>

/* A table of text: the first column to the left, the others to the right. */
typedef struct Table Table;

/**
 * table_new: an empty table.
 * @columns: how many cells each row has, at least 1
 *
 * Returns: the table; free it with table_free().
 */
Table *table_new(unsigned columns);

/**
 * table_free: free a table and its cells.
 * @table: the table, or NULL
 */
void table_free(Table *table);

/**
 * table_add_row: append a row.
 * @table: the table
 * @cells: the cells, NULL-terminated; copied. Missing ones are empty,
 *         those too many are dropped.
 */
void table_add_row(Table *table, const char *const *cells);

/**
 * table_add_rule: append a line of dashes.
 * @table: the table
 */
void table_add_rule(Table *table);

/**
 * table_format: the whole table, with a newline at the end of each row and
 * no blanks before it.
 * @table: the table
 *
 * Returns: a new string; the caller frees it.
 */
char *table_format(const Table *table);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

#endif /* SKIP_BALLOON_BASE_TABLE_H */
