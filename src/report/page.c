/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/page.h"

#include <string.h>

#include "report/gnuplot.h"

/* In pixels; a phone has 360, of which margins take some. */
#define NARROW 340
#define WIDE 780
#define HALF 380
/* Longer words may break anywhere in code; a phone has 36 characters. */
#define WORD_MAX 34

struct Page {
    Session *session;
    GString *html;
    GError *error;
    unsigned charts;
    unsigned columns;           /* of the table */
    bool in_row;
    bool in_body;
    bool in_legend;
    bool in_charts;
    bool has_gap;               /* something in the table was not measured */
};

static void add(Page *page, const char *html)
{
    g_string_append(page->html, html);
}

static void add_text(Page *page, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);

    g_string_append(page->html, escaped);
}

/* <tag>text</tag> */
static void add_element(Page *page, const char *tag, const char *text)
{
    g_string_append_printf(page->html, "<%s>", tag);
    add_text(page, text);
    g_string_append_printf(page->html, "</%s>\n", tag);
}

Page *page_new(Session *session, const char *title)
{
    Page *page = g_new0(Page, 1);

    page->session = session;
    page->html = g_string_new(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
        "<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n"
        "<meta name=\"generator\" content=\"skip-balloon "
        SKIP_BALLOON_VERSION "\">\n"
        /* Browsers ask for one if it is not named. */
        "<link rel=\"icon\" href=\"data:,\">\n");
    add_element(page, "title", title);
    add(page, "<style>\n");
    add(page, page_style);
    add(page, "</style>\n</head>\n<body>\n<main>\n");
    add_element(page, "h1", title);
    return page;
}

void page_free(Page *page)
{
    if (page) {
        g_string_free(page->html, TRUE);
        g_clear_error(&page->error);
        g_free(page);
    }
}

char *page_finish(Page *page, GError **error)
{
    char *html = NULL;

    add(page, "</main>\n</body>\n</html>\n");
    if (page->error) {
        g_propagate_error(error, g_steal_pointer(&page->error));
    } else {
        html = g_strdup(page->html->str);
    }
    page_free(page);
    return html;
}

void page_heading(Page *page, unsigned level, const char *text)
{
    add_element(page, level == 2 ? "h2" : "h3", text);
}

void page_text(Page *page, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    add_element(page, "p", text);
}

/* Lines break between words, not after the hyphens of options. */
void page_code(Page *page, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);

    add(page, "<pre>");
    for (unsigned i = 0; words[i]; i++) {
        bool whole = g_utf8_strlen(words[i], -1) <= WORD_MAX;

        add(page, i ? " " : "");
        add(page, whole ? "<span>" : "");
        add_text(page, words[i]);
        add(page, whole ? "</span>" : "");
    }
    add(page, "</pre>\n");
}

void page_list_begin(Page *page)
{
    add(page, "<ul>\n");
}

void page_list_item(Page *page, const char *item)
{
    add_element(page, "li", item);
}

void page_list_end(Page *page)
{
    add(page, "</ul>\n");
}

static void add_heading_cell(Page *page, const char *heading)
{
    g_auto(GStrv) parts = g_strsplit(heading, "|", 2);

    add(page, "<th scope=\"col\">");
    add_text(page, parts[0] ? parts[0] : "");
    if (parts[0] && parts[1]) {
        add(page, "<small>");
        add_text(page, parts[1]);
        add(page, "</small>");
    }
    add(page, "</th>");
}

static void begin_table(Page *page, const char *classes, const char *caption,
                        const char *const *headings)
{
    /* Focus lets the keyboard scroll it. */
    g_string_append_printf(page->html, "<div class=\"%s\" role=\"region\" "
                           "tabindex=\"0\" aria-label=\"", classes);
    add_text(page, caption);
    add(page, "\">\n<table>\n<caption><span>");
    add_text(page, caption);
    add(page, "</span></caption>\n<thead><tr>");
    for (page->columns = 0; headings[page->columns]; page->columns++) {
        add_heading_cell(page, headings[page->columns]);
    }
    add(page, "</tr></thead>\n");
    page->has_gap = false;
}

void page_table_begin(Page *page, const char *caption,
                      const char *const *headings)
{
    begin_table(page, "box", caption, headings);
}

void page_words_begin(Page *page, const char *caption,
                      const char *const *headings)
{
    begin_table(page, "box list", caption, headings);
}

static void end_row(Page *page)
{
    add(page, page->in_row ? "</tr>\n" : "");
    page->in_row = false;
}

static void end_body(Page *page)
{
    end_row(page);
    add(page, page->in_body ? "</tbody>\n" : "");
    page->in_body = false;
}

static void begin_body(Page *page)
{
    end_row(page);
    add(page, page->in_body ? "" : "<tbody>\n");
    page->in_body = true;
}

void page_table_group(Page *page, const char *title)
{
    end_body(page);
    begin_body(page);
    g_string_append_printf(page->html, "<tr class=\"group\">"
                           "<th scope=\"rowgroup\" colspan=\"%u\"><span>",
                           page->columns);
    add_text(page, title);
    add(page, "</span></th></tr>\n");
}

void page_row(Page *page, int colour, const char *title)
{
    begin_body(page);
    page->in_row = true;
    add(page, "<tr><th scope=\"row\">");
    if (colour >= 0) {
        g_string_append_printf(page->html, "<span class=\"dot\" "
                               "style=\"--c:var(--c%d)\"></span>", colour);
    }
    add_text(page, title);
    add(page, "</th>");
}

static void add_cell(Page *page, const char *class, const char *text)
{
    if (!text) {
        page->has_gap = true;
        class = " class=\"none\"";
        text = "\xe2\x80\x93";
    }
    g_string_append_printf(page->html, "<td%s>", class);
    add_text(page, text);
    add(page, "</td>");
}

void page_cell(Page *page, char *text)
{
    add_cell(page, "", text);
    g_free(text);
}

void page_cell_text(Page *page, const char *text)
{
    add_cell(page, " class=\"words\"", text);
}

void page_table_end(Page *page)
{
    end_body(page);
    add(page, "</table>\n</div>\n");
    if (page->has_gap) {
        add(page, "<p class=\"note\">\xe2\x80\x93 not measured</p>\n");
    }
}

void page_figure_begin(Page *page)
{
    add(page, "<figure>\n");
    page->in_legend = page->in_charts = false;
}

static void end_legend(Page *page)
{
    add(page, page->in_legend ? "</ul>\n" : "");
    page->in_legend = false;
}

void page_legend(Page *page, unsigned colour, const char *mark,
                 const char *text)
{
    add(page, page->in_legend ? "" : "<ul class=\"legend\">\n");
    page->in_legend = true;
    g_string_append_printf(page->html, "<li><b style=\"--c:var(--c%u)\" "
                           "aria-hidden=\"true\">%s</b> ", colour, mark);
    add_text(page, text);
    add(page, "</li>\n");
}

static void begin_charts(Page *page)
{
    end_legend(page);
    add(page, page->in_charts ? "" : "<div class=\"charts\">\n");
    page->in_charts = true;
}

/* Draws it, unless something went wrong already; frees the script. */
static void add_svg(Page *page, const char *classes, const char *label,
                    char *script)
{
    g_autofree char *owned = script;
    g_autofree char *id = g_strdup_printf("chart%u", ++page->charts);
    g_autofree char *drawn = NULL;
    g_autofree char *svg = NULL;

    if (page->error) {
        return;
    }
    drawn = gnuplot_draw(page->session, script, &page->error);
    if (drawn) {
        svg = svg_embed(drawn, id, classes, label, &page->error);
    }
    if (svg) {
        add(page, svg);
        add(page, "\n");
    }
}

static void begin_chart(Page *page, const char *title, bool half)
{
    begin_charts(page);
    g_string_append_printf(page->html, "<div class=\"chart%s\">\n",
                           half ? " half" : "");
    if (title) {
        add_element(page, "p", title);
    }
}

/* Text as large as that of the page wants one for each width. */
void page_bars(Page *page, const BarChart *chart, const char *label)
{
    begin_chart(page, NULL, false);
    add_svg(page, "wide", label, bar_chart_script(chart, WIDE));
    add_svg(page, "narrow", label, bar_chart_script(chart, NARROW));
    add(page, "</div>\n");
}

void page_xy(Page *page, const XyChart *chart, const char *title,
             const char *label, bool half)
{
    begin_chart(page, title, half);
    add_svg(page, "wide", label, xy_chart_script(chart, half ? HALF : WIDE));
    add_svg(page, "narrow", label, xy_chart_script(chart, NARROW));
    add(page, "</div>\n");
}

void page_figure_html(Page *page, const char *html)
{
    begin_chart(page, NULL, true);
    add(page, html);
    add(page, "</div>\n");
}

void page_figure_end(Page *page, const char *caption)
{
    end_legend(page);
    add(page, page->in_charts ? "</div>\n" : "");
    add_element(page, "figcaption", caption);
    add(page, "</figure>\n");
}
