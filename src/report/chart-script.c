/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/chart-script.h"

#include <math.h>

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
