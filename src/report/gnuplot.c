/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/gnuplot.h"

#include <math.h>
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
