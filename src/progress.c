/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "progress.h"

#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#define BAR_WIDTH 24
#define STAGE_WIDTH 34
/* How often a terminal is redrawn, and how often others get a line. */
#define REDRAW_US (100 * 1000)
#define LINE_US (10 * G_USEC_PER_SEC)

struct Progress {
    FILE *stream;
    bool terminal;
    char *stage;                /* NULL between stages */
    gint64 began;
    gint64 shown;
};

Progress *progress_new(FILE *stream)
{
    Progress *progress = g_new0(Progress, 1);

    progress->stream = stream;
    progress->terminal = isatty(fileno(stream));
    return progress;
}

void progress_free(Progress *progress)
{
    if (!progress) {
        return;
    }
    if (progress->stage && progress->terminal) {
        fputc('\n', progress->stream);
        fflush(progress->stream);
    }
    g_free(progress->stage);
    g_free(progress);
}

static double elapsed(const Progress *progress)
{
    return (g_get_monotonic_time() - progress->began) /
           (double)G_USEC_PER_SEC;
}

static void draw_bar(Progress *progress, double fraction)
{
    char bar[BAR_WIDTH + 1];
    int full = lrint(MAX(fraction, 0) * BAR_WIDTH);

    for (int i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    fprintf(progress->stream, "\r\033[K%-*s [%s] ", STAGE_WIDTH,
            progress->stage, bar);
    if (fraction >= 0) {
        fprintf(progress->stream, "%3.0f %%", fraction * 100);
    }
    fprintf(progress->stream, " %5.1f s", elapsed(progress));
    fflush(progress->stream);
}

void progress_begin(Progress *progress, const char *stage)
{
    if (!progress) {
        return;
    }
    g_free(progress->stage);
    progress->stage = g_strdup(stage);
    progress->began = g_get_monotonic_time();
    progress->shown = progress->began;
    if (progress->terminal) {
        draw_bar(progress, -1);
    }
}

void progress_update(Progress *progress, double fraction)
{
    gint64 now = g_get_monotonic_time();

    if (!progress || !progress->stage) {
        return;
    }
    fraction = MIN(fraction, 1);
    if (progress->terminal) {
        if (now - progress->shown >= REDRAW_US) {
            progress->shown = now;
            draw_bar(progress, fraction);
        }
    } else if (now - progress->shown >= LINE_US) {
        progress->shown = now;
        fprintf(progress->stream, "%-*s ", STAGE_WIDTH, progress->stage);
        if (fraction >= 0) {
            /* Not 100 % before it is done */
            fprintf(progress->stream, "%3d %% after ", (int)(fraction * 100));
        }
        fprintf(progress->stream, "%.0f s\n", elapsed(progress));
        fflush(progress->stream);
    }
}

void progress_end(Progress *progress, const char *outcome)
{
    if (!progress || !progress->stage) {
        return;
    }
    fprintf(progress->stream, "%s%-*s %6.1f s%s%s\n",
            progress->terminal ? "\r\033[K" : "", STAGE_WIDTH,
            progress->stage, elapsed(progress), outcome ? "  " : "",
            outcome ? outcome : "");
    fflush(progress->stream);
    g_clear_pointer(&progress->stage, g_free);
}
