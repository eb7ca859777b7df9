/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/progress.h"

#include <math.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_WIDTH 24
#define BAR_WIDTH_MIN 4
#define STAGE_WIDTH 34
#define LINE_WIDTH 80
/* " [] 100 % 9999.9 s", and the cursor */
#define REST_WIDTH 19
/* How often a terminal is redrawn, and how often others get a line. */
#define REDRAW_US (100 * 1000)
#define LINE_US (10 * G_USEC_PER_SEC)

struct Progress {
    FILE *stream;
    bool terminal;
    int stage_width;
    char *stage;                /* NULL between stages */
    char *note;                 /* to say of each that ends, or NULL */
    gint64 began;
    gint64 shown;
};

Progress *progress_new(FILE *stream)
{
    Progress *progress = g_new0(Progress, 1);

    progress->stream = stream;
    progress->terminal = isatty(fileno(stream));
    progress->stage_width = STAGE_WIDTH;
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
    g_free(progress->note);
    g_free(progress);
}

static double elapsed(const Progress *progress)
{
    return (g_get_monotonic_time() - progress->began) /
           (double)G_USEC_PER_SEC;
}

static int line_width(const Progress *progress)
{
    struct winsize size = { 0 };

    return !ioctl(fileno(progress->stream), TIOCGWINSZ, &size) &&
           size.ws_col ? size.ws_col : LINE_WIDTH;
}

/* A line that is too long would wrap, and could not be written over. */
static void draw_bar(Progress *progress, double fraction)
{
    char bar[BAR_WIDTH + 1];
    int line = MIN(line_width(progress), LINE_WIDTH) - REST_WIDTH;
    int width = CLAMP(line - progress->stage_width, BAR_WIDTH_MIN, BAR_WIDTH);
    int stage = CLAMP(line - width, 1, progress->stage_width);
    int full = lrint(MAX(fraction, 0) * width);

    for (int i = 0; i < width; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[width] = '\0';
    fprintf(progress->stream, "\r\033[K%-*.*s [%s] ", stage, stage,
            progress->stage, bar);
    if (fraction >= 0) {
        fprintf(progress->stream, "%3.0f %%", fraction * 100);
    }
    fprintf(progress->stream, " %5.1f s", elapsed(progress));
    fflush(progress->stream);
}

void progress_set_stage_width(Progress *progress, int width)
{
    if (progress) {
        progress->stage_width = width;
    }
}

void progress_set_note(Progress *progress, const char *note)
{
    if (progress) {
        g_free(progress->note);
        progress->note = g_strdup(note);
    }
}

void progress_rename(Progress *progress, const char *stage)
{
    if (progress && progress->stage) {
        g_free(progress->stage);
        progress->stage = g_strdup(stage);
        progress_update(progress, -1);
    }
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
        fprintf(progress->stream, "%-*s ", progress->stage_width,
                progress->stage);
        if (fraction >= 0) {
            /* Not 100 % before it is done */
            fprintf(progress->stream, "%3d %% after ", (int)(fraction * 100));
        }
        fprintf(progress->stream, "%.0f s\n", elapsed(progress));
        fflush(progress->stream);
    }
}

/* Whether it is time to show something again. */
static bool is_due(Progress *progress)
{
    gint64 now = g_get_monotonic_time();
    bool due = now - progress->shown >= (progress->terminal ? REDRAW_US
                                                            : LINE_US);

    if (due) {
        progress->shown = now;
    }
    return due;
}

void progress_tell(Progress *progress, const char *text)
{
    if (!progress || !progress->stage || !is_due(progress)) {
        return;
    }
    if (progress->terminal) {
        fprintf(progress->stream, "\r\033[K%.*s", line_width(progress) - 1,
                text);
    } else {
        fprintf(progress->stream, "%s\n", text);
    }
    fflush(progress->stream);
}

void progress_end(Progress *progress, const char *outcome)
{
    if (!progress || !progress->stage) {
        return;
    }
    fprintf(progress->stream, "%s%-*s %6.1f s%s%s%s%s\n",
            progress->terminal ? "\r\033[K" : "", progress->stage_width,
            progress->stage, elapsed(progress), outcome ? "  " : "",
            outcome ? outcome : "", progress->note ? "  " : "",
            progress->note ? progress->note : "");
    fflush(progress->stream);
    g_clear_pointer(&progress->stage, g_free);
}
