/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_PAGE_H
#define SKIP_BALLOON_REPORT_PAGE_H

#include "base/session.h"
#include "report/chart.h"

/*
 * An HTML page that needs nothing but itself. Text is escaped by whoever puts
 * it in, here; functions whose names end in _html take what is HTML already.
 * The first error stays: all after it does nothing.
 */
typedef struct Page Page;

/**
 * page_new: begin a page.
 * @session: what may cancel it; outlives the page
 * @title: its title and first heading; any text
 *
 * Returns: the page; free it with page_free() or page_finish().
 */
Page *page_new(Session *session, const char *title);

/**
 * page_free: drop a page.
 * @page: the page, or NULL
 */
void page_free(Page *page);

/**
 * page_finish: the page is complete; frees it.
 * @page: the page
 * @error: set if a chart could not be drawn
 *
 * Returns: the HTML, NULL on failure; the caller frees it.
 */
char *page_finish(Page *page, GError **error);

/**
 * page_heading: a heading, of a section or within one.
 * @page: the page
 * @level: 2 or 3
 * @text: any text
 */
void page_heading(Page *page, unsigned level, const char *text);

/**
 * page_text: a paragraph.
 * @page: the page
 * @format: what it says; what comes of it is escaped
 */
void page_text(Page *page, const char *format, ...) G_GNUC_PRINTF(2, 3);

/**
 * page_code: something to type.
 * @page: the page
 * @text: any text
 */
void page_code(Page *page, const char *text);

/**
 * page_list: a list, item by item.
 * @page: the page
 * @item: any text
 */
void page_list_begin(Page *page);
void page_list_item(Page *page, const char *item);
void page_list_end(Page *page);

/**
 * page_table_begin: a table begins.
 * @page: the page
 * @caption: what it shows; any text
 * @headings: of the columns, NULL-terminated; after a '|' the unit
 */
void page_table_begin(Page *page, const char *caption,
                      const char *const *headings);

/**
 * page_words_begin: a table of words begins, two columns.
 * @page: the page
 * @caption: what it shows; any text
 * @headings: of the columns, NULL-terminated
 */
void page_words_begin(Page *page, const char *caption,
                      const char *const *headings);

/**
 * page_table_group: the next rows are a group.
 * @page: the page, in a table
 * @title: of the group; any text
 */
void page_table_group(Page *page, const char *title);

/**
 * page_row: a row begins; ends the one before.
 * @page: the page, in a table
 * @colour: which of the colours for series marks it, -1 for none
 * @title: its first cell; any text
 */
void page_row(Page *page, int colour, const char *title);

/**
 * page_cell: a cell, to the right.
 * @page: the page, in a row
 * @text: any text, freed; NULL: not measured
 */
void page_cell(Page *page, char *text);

/**
 * page_cell_text: a cell of words, to the left.
 * @page: the page, in a row
 * @text: any text; NULL: not measured
 */
void page_cell_text(Page *page, const char *text);

/**
 * page_table_end: the table is complete.
 * @page: the page, in a table
 */
void page_table_end(Page *page);

/**
 * page_figure_begin: a figure begins; charts follow.
 * @page: the page
 */
void page_figure_begin(Page *page);

/**
 * page_legend: a mark and what it stands for.
 * @page: the page, in a figure
 * @colour: which of the colours for series
 * @mark: the mark, a character or two
 * @text: any text
 */
void page_legend(Page *page, unsigned colour, const char *mark,
                 const char *text);

/**
 * page_bars: a chart in a figure.
 * @page: the page, in a figure
 * @chart: the chart, not empty
 * @label: what it shows, for those who do not see it; any text
 */
void page_bars(Page *page, const BarChart *chart, const char *label);

/**
 * page_xy: a chart in a figure.
 * @page: the page, in a figure
 * @chart: the chart, not empty
 * @title: above it; any text, NULL for none
 * @label: what it shows, for those who do not see it; any text
 * @half: leave room for another one at its side
 */
void page_xy(Page *page, const XyChart *chart, const char *title,
             const char *label, bool half);

/**
 * page_figure_html: something else in a figure, beside others if there is
 * room.
 * @page: the page, in a figure
 * @html: such as an SVG, with ids of its own
 */
void page_figure_html(Page *page, const char *html);

/**
 * page_figure_end: the figure is complete.
 * @page: the page, in a figure
 * @caption: what it shows and how to read it; any text
 */
void page_figure_end(Page *page, const char *caption);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Page, page_free)

/* What its colours are, light and dark; a style sheet, too. */
extern const char page_colours[];

/* The style sheet of the report: light, dark, phone, desktop and print. */
extern const char page_style[];

#endif /* SKIP_BALLOON_REPORT_PAGE_H */
