/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/svg.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* What is being rewritten. */
typedef struct Embed {
    GString *out;
    const char *id;
    const char *classes;
    const char *label;
    GString *pending;           /* a start tag that may turn out empty */
    unsigned depth;
    unsigned dropping;          /* depth inside of what is dropped, or 0 */
} Embed;

static void append_attribute(GString *tag, const char *name,
                             const char *value)
{
    g_autofree char *escaped = g_markup_escape_text(value, -1);

    g_string_append_printf(tag, " %s=\"%s\"", name, escaped);
}

/* The colour of the page that a colour of gnuplot's stands for, or NULL. */
static char *page_colour(const char *value)
{
    unsigned red, green, blue;

    if (!strcmp(value, "black")) {
        return g_strdup("var(--ink)");
    }
    if (sscanf(value, "rgb(%u,%u,%u)", &red, &green, &blue) != 3 ||
        red != 1 || green != 0) {
        return NULL;
    }
    if (blue >= SVG_SERIES) {
        return g_strdup_printf("var(--c%u)", blue - SVG_SERIES);
    }
    return g_strdup(blue == SVG_MUTED ? "var(--muted)" :
                    blue == SVG_LINE ? "var(--line)" : "var(--ink)");
}

/* var() is for style sheets: not all browsers take it in an attribute. */
static void append_colour(GString *tag, GString *style, const char *name,
                          const char *value)
{
    g_autofree char *colour = page_colour(value);

    if (colour) {
        g_string_append_printf(style, "%s:%s;", name, colour);
    } else {
        append_attribute(tag, name, value);
    }
}

/* What the page decides, what is so anyway, and what HTML does not want. */
static bool is_needless(const char *name, const char *value)
{
    return !strcmp(name, "font-family") || !strcmp(name, "class") ||
           g_str_has_prefix(name, "xmlns") ||
           (!strcmp(name, "stroke-linecap") && !strcmp(value, "butt")) ||
           (!strcmp(name, "stroke-linejoin") && !strcmp(value, "miter"));
}

static void append_own(Embed *embed, GString *tag, GString *style,
                       const char *name, const char *value)
{
    g_autofree char *own = NULL;

    if (!strcmp(name, "fill") || !strcmp(name, "stroke") ||
        !strcmp(name, "color")) {
        append_colour(tag, style, name, value);
    } else if (!strcmp(name, "id")) {
        own = g_strdup_printf("%s-%s", embed->id, value);
        append_attribute(tag, name, own);
    } else if (!strcmp(name, "xlink:href") && value[0] == '#') {
        own = g_strdup_printf("#%s-%s", embed->id, value + 1);
        append_attribute(tag, "href", own);
    } else if (!is_needless(name, value)) {
        append_attribute(tag, name, value);
    }
}

static void begin_root(Embed *embed, GString *tag)
{
    append_attribute(tag, "id", embed->id);
    append_attribute(tag, "class", embed->classes);
    append_attribute(tag, "role", "img");
    append_attribute(tag, "aria-label", embed->label);
}

static void flush_pending(Embed *embed)
{
    g_string_append(embed->out, embed->pending->str);
    g_string_truncate(embed->pending, 0);
}

/* Texts that gnuplot adds for itself, and filters that nothing here uses. */
static bool is_dropped(const char *element)
{
    return !strcmp(element, "title") || !strcmp(element, "desc") ||
           !strcmp(element, "filter");
}

static void on_start(GMarkupParseContext *context G_GNUC_UNUSED,
                     const char *element, const char **names,
                     const char **values, gpointer data,
                     GError **error G_GNUC_UNUSED)
{
    Embed *embed = data;
    g_autoptr(GString) style = g_string_new(NULL);

    embed->depth++;
    if (embed->dropping || is_dropped(element)) {
        embed->dropping = embed->dropping ? embed->dropping : embed->depth;
        return;
    }
    flush_pending(embed);
    g_string_append_printf(embed->pending, "<%s", element);
    if (embed->depth == 1) {
        begin_root(embed, embed->pending);
    }
    for (unsigned i = 0; names[i]; i++) {
        append_own(embed, embed->pending, style, names[i], values[i]);
    }
    if (style->len) {
        append_attribute(embed->pending, "style", style->str);
    }
    g_string_append_c(embed->pending, '>');
}

static void on_end(GMarkupParseContext *context G_GNUC_UNUSED,
                   const char *element, gpointer data,
                   GError **error G_GNUC_UNUSED)
{
    Embed *embed = data;
    unsigned depth = embed->depth--;

    if (embed->dropping) {
        embed->dropping = depth == embed->dropping ? 0 : embed->dropping;
    } else if (!embed->pending->len) {
        g_string_append_printf(embed->out, "</%s>", element);
    } else if (!strcmp(element, "g")) {
        g_string_truncate(embed->pending, 0);
    } else {
        embed->pending->str[embed->pending->len - 1] = '/';
        g_string_append_c(embed->pending, '>');
        flush_pending(embed);
    }
}

static void on_text(GMarkupParseContext *context G_GNUC_UNUSED,
                    const char *text, gsize length, gpointer data,
                    GError **error G_GNUC_UNUSED)
{
    Embed *embed = data;
    g_autofree char *copy = g_strstrip(g_strndup(text, length));
    g_autofree char *escaped = g_markup_escape_text(copy, -1);

    if (!embed->dropping && escaped[0]) {
        flush_pending(embed);
        g_string_append(embed->out, escaped);
    }
}

char *svg_embed(const char *svg, const char *id, const char *classes,
                const char *label, GError **error)
{
    static const GMarkupParser parser = {
        .start_element = on_start,
        .end_element = on_end,
        .text = on_text,
    };
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GString) pending = g_string_new(NULL);
    g_autoptr(GError) why = NULL;
    Embed embed = {
        .out = out,
        .pending = pending,
        .id = id,
        .classes = classes,
        .label = label,
    };
    g_autoptr(GMarkupParseContext) context =
        g_markup_parse_context_new(&parser, 0, &embed, NULL);

    if (!g_markup_parse_context_parse(context, svg, -1, &why) ||
        !g_markup_parse_context_end_parse(context, &why)) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "gnuplot wrote no SVG: %s", why->message);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}
