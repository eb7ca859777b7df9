/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/gnuplot.h"

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define PROGRAM "gnuplot"
/* Longer names would leave no room for what they name. */
#define TEXT_MAX 40
#define STEP_MS 200

/* A run of gnuplot, and what came of it. */
typedef struct Run {
    bool done;
    char *out;
    char *err;
    GError *error;
} Run;

static void run_clear(Run *run)
{
    g_free(run->out);
    g_free(run->err);
    g_clear_error(&run->error);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static void on_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Run *run = data;

    g_subprocess_communicate_utf8_finish(G_SUBPROCESS(source), result,
                                         &run->out, &run->err, &run->error);
    run->done = true;
}

/* Whatever happens, the callback has run before this returns. */
static bool wait_for(Session *session, GSubprocess *process, Run *run,
                     GError **error)
{
    bool stopped = false;

    while (!run->done) {
        if (stopped) {
            g_main_context_iteration(NULL, TRUE);
        } else if (!session_step(session, STEP_MS, error)) {
            stopped = true;
            g_subprocess_force_exit(process);
        }
    }
    return !stopped;
}

static char *outcome(GSubprocess *process, Run *run, GError **error)
{
    if (run->error) {
        g_propagate_prefixed_error(error, g_steal_pointer(&run->error),
                                   "gnuplot cannot be spoken to: ");
        return NULL;
    }
    if (!g_subprocess_get_successful(process)) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "gnuplot failed: %s", g_strstrip(run->err));
        return NULL;
    }
    return g_steal_pointer(&run->out);
}

char *gnuplot_draw(Session *session, const char *script, GError **error)
{
    g_autoptr(GSubprocess) process = NULL;
    g_autofree char *program = g_find_program_in_path(PROGRAM);
    g_auto(Run) run = { 0 };

    if (!program) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there is no gnuplot, which draws the charts; install "
                    "the Debian package gnuplot-nox");
        return NULL;
    }
    /* Without the user's settings. */
    process = g_subprocess_new(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
        G_SUBPROCESS_FLAGS_STDERR_PIPE, error, program, "-d", "-", NULL);
    if (!process) {
        return NULL;
    }
    /* A gnuplot that has ended is an error, and not the end of us. */
    signal(SIGPIPE, SIG_IGN);
    g_subprocess_communicate_utf8_async(process, script, NULL, on_done, &run);
    if (!wait_for(session, process, &run, error)) {
        return NULL;
    }
    return outcome(process, &run, error);
}

char *gnuplot_quote(const char *text)
{
    GString *quoted = g_string_new("'");
    unsigned length = 0;

    for (const char *p = text; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (length++ == TEXT_MAX) {
            g_string_append(quoted, "\xe2\x80\xa6");
            break;
        }
        g_string_append_unichar(
            quoted, g_unichar_isprint(c) && (c > 127 || !strchr("'\"`\\", c))
            ? c : '?');
    }
    g_string_append_c(quoted, '\'');
    return g_string_free(quoted, FALSE);
}

/* A mark has a number, and that some room at its sides. */
#define TIC_PIXELS 70

GString *chart_script_new(unsigned width, unsigned height)
{
    GString *script = g_string_new(NULL);

    /* No colour of gnuplot's own remains: each is one of the page's. */
    g_string_append_printf(
        script,
        "set encoding utf8\n"
        "set terminal svg noenhanced dynamic size %u,%u font 'sans-serif,12'\n"
        "unset key\n"
        "set tics nomirror textcolor %s\n"
        "set tics out scale 0.5,0.25\n"
        "set xlabel textcolor %s\n"
        "set ylabel textcolor %s\n"
        "set style fill solid 1 noborder\n"
        "set errorbars small\n"
        "set format '%%g'\n",
        width, height, CHART_MUTED, CHART_MUTED, CHART_MUTED);
    return script;
}

void chart_script_xtics(GString *script, double length, unsigned width)
{
    double least = length * TIC_PIXELS / width;
    double step = pow(10, floor(log10(least)));

    if (!(least > 0)) {
        return;
    }
    if (step * 2 >= least) {
        step *= 2;
    } else if (step * 5 >= least) {
        step *= 5;
    } else {
        step *= 10;
    }
    g_string_append_printf(script, "set xtics %g\n", step);
}

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
