/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_TERMINAL_H
#define SKIP_BALLOON_BASE_TERMINAL_H

#include <glib.h>
#include <stdbool.h>

/* What a terminal can show. */
typedef struct Terminal {
    unsigned width;             /* in characters */
    bool colour;                /* it has 256 colours */
    bool utf8;                  /* it has block characters */
} Terminal;

/**
 * terminal_ask: find out what standard output can show.
 * @terminal: where to put it
 * @colour: "always" or "never"; "auto" or NULL for what the terminal has,
 *          with NO_COLOR, TERM and COLORTERM of the environment
 * @error: set to SB_ERROR_USAGE if @colour is something else
 *
 * The width is that of the terminal, else COLUMNS of the environment, else 80.
 *
 * Returns: whether @colour makes sense.
 */
bool terminal_ask(Terminal *terminal, const char *colour, GError **error);

#endif /* SKIP_BALLOON_BASE_TERMINAL_H */
