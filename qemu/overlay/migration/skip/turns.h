/*
 * Long work of the destination, in turns with the main loop
 *
 * What arrives is loaded by a coroutine of the main loop, which holds the BQL,
 * so that nobody else is served meanwhile.  Work that may take long is done in
 * slices, and the main loop runs in between.  It may do anything then, remove
 * a RAM block or the balloon for instance.
 *
 * All functions need the BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_TURNS_H
#define MIGRATION_SKIP_TURNS_H

#include "qemu/main-loop.h"

typedef struct SkipTurns {
    const char *what;           /* named in trace events */
    QEMUBH *bh;                 /* is called when the main loop runs */
    int64_t begin;              /* ns: since when the main loop has to wait */
    int64_t end;                /* ns: since when it runs again, or 0 */
} SkipTurns;

/**
 * skip_turns_begin: The main loop has to wait from now on
 * @what: for trace events; a string that stays
 */
void skip_turns_begin(SkipTurns *turns, const char *what);

/**
 * skip_turns_end: The work is done; frees what @turns has
 */
void skip_turns_end(SkipTurns *turns);

/**
 * skip_turns_take: Let the main loop run if it has waited for long
 *
 * It does not run if there is no coroutine to come back to: when the main loop
 * itself loads a snapshot.
 *
 * Returns: true if it did, so that all has to be looked up again
 */
bool skip_turns_take(SkipTurns *turns);

/**
 * skip_turns_read: The stream was read; all has to be looked up again
 *
 * Whenever there is nothing to read, the main loop runs.
 */
void skip_turns_read(SkipTurns *turns);

#endif
