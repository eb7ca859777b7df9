/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a terminal is told while something is under way. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/progress.h"

#define ERASE "\r\033[K"

/* What is seen on a terminal of so many columns; the caller frees it. */
static char *show(int columns)
{
    struct winsize size = { .ws_row = 24, .ws_col = columns };
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    char buffer[4096] = "";
    size_t have = 0;
    FILE *terminal;
    Progress *progress;

    g_assert_cmpint(master, >=, 0);
    g_assert_cmpint(grantpt(master), ==, 0);
    g_assert_cmpint(unlockpt(master), ==, 0);
    terminal = fopen(ptsname(master), "w");
    g_assert_nonnull(terminal);
    g_assert_cmpint(ioctl(fileno(terminal), TIOCSWINSZ, &size), ==, 0);
    progress = progress_new(terminal);
    progress_begin(progress, "With skip-balloon off: the guest uses memory");
    g_usleep(150 * 1000);
    progress_update(progress, 0.5);
    g_usleep(150 * 1000);
    progress_tell(progress, "active, pass 1: sent 12 MiB, 1.5 GiB/s, skipped "
                  "7.5 GiB, 500 MiB and 3 s left, dirty 0 B/s, downtime 5 ms");
    while (!strstr(buffer, "active")) {
        ssize_t n = read(master, buffer + have, sizeof(buffer) - 1 - have);

        g_assert_cmpint(n, >, 0);
        have += n;
    }
    progress_free(progress);
    fclose(terminal);
    close(master);
    return g_strdup(buffer);
}

/* A line that wrapped would stay when the next one is written over it. */
static void test_width(gconstpointer opaque)
{
    int columns = GPOINTER_TO_INT(opaque);
    g_autofree char *seen = show(columns);
    g_auto(GStrv) lines = g_strsplit(seen, ERASE, -1);

    g_assert_cmpuint(g_strv_length(lines), ==, 4);
    for (char **line = lines; *line; line++) {
        g_test_message("'%s'", *line);
        g_assert_cmpuint(strlen(*line), <, columns);
    }
    g_assert_nonnull(strstr(lines[2], " 50 %"));
    g_assert_true(g_str_has_prefix(lines[3], "active, pass 1"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/progress/narrow", GINT_TO_POINTER(40), test_width);
    g_test_add_data_func("/progress/usual", GINT_TO_POINTER(80), test_width);
    g_test_add_data_func("/progress/wide", GINT_TO_POINTER(200), test_width);
    return g_test_run();
}
