/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/terminal.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"

#define DEFAULT_WIDTH 80
#define MAX_WIDTH 10000

static unsigned find_width(void)
{
    const char *columns = g_getenv("COLUMNS");
    struct winsize size = { 0 };
    guint64 width;

    if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col) {
        return size.ws_col;
    }
    if (columns && g_ascii_string_to_unsigned(columns, 10, 1, MAX_WIDTH,
                                              &width, NULL)) {
        return width;
    }
    return DEFAULT_WIDTH;
}

static bool is_set(const char *variable)
{
    const char *value = g_getenv(variable);

    return value && value[0];
}

/* Terminals that have 256 colours, and say so in one of two ways. */
static bool has_colours(void)
{
    const char *term = g_getenv("TERM");

    return isatty(STDOUT_FILENO) && !is_set("NO_COLOR") &&
           term && strcmp(term, "dumb") &&
           (strstr(term, "256color") || strstr(term, "direct") ||
            is_set("COLORTERM"));
}

bool terminal_ask(Terminal *terminal, const char *colour, GError **error)
{
    terminal->width = find_width();
    terminal->utf8 = g_get_charset(NULL);
    if (!colour || !strcmp(colour, "auto")) {
        terminal->colour = has_colours();
    } else if (!strcmp(colour, "always") || !strcmp(colour, "never")) {
        terminal->colour = !strcmp(colour, "always");
    } else {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--color takes 'auto', 'always' or 'never', not '%s'",
                    colour);
        return false;
    }
    return true;
}
