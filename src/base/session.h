/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_SESSION_H
#define SKIP_BALLOON_BASE_SESSION_H

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/progress.h"

/*
 * What all parts of one piece of work share: the wish of the user to stop,
 * the first process that died on us, a private directory, and how long
 * something may go on without progress. All waiting is done here, in the
 * default main context, so that lines, signals and deaths are seen meanwhile.
 */
typedef struct Session {
    bool interrupted;           /* the user wants it to end: waiting fails */
    bool heedless;              /* of that: see session_heed_interrupts() */
    GError *failure;            /* sticky; the death of a process */
    unsigned stall_secs;        /* without progress, after which we give up */
    char *dir;                  /* private, removed at the end */
    char *log_dir;              /* the same, or one that is kept */
    Progress *progress;         /* NULL: silent; not owned */
    const char *patience;       /* how to have more of it; preset: --timeout */
} Session;

/* Watches a number that has to change now and then. */
typedef struct Stall {
    uint64_t value;
    gint64 since;               /* monotonic, in microseconds */
} Stall;

/**
 * session_new: begin, with a private directory.
 * @log_dir: where to put logs, made if needed and kept; NULL for the private
 *           directory, which session_free() removes
 * @stall_secs: how long anything may go on without progress, in seconds
 * @error: set if a directory cannot be made
 *
 * Returns: the session, NULL on failure; free it with session_free().
 */
Session *session_new(const char *log_dir, unsigned stall_secs, GError **error);

/**
 * session_free: end; removes the private directory and what is in it.
 * @session: the session, or NULL
 */
void session_free(Session *session);

/**
 * session_path: the name of a file in the session's private directory, short
 * enough for a socket.
 * @session: the session
 * @name: the file
 *
 * Returns: a new string; the caller frees it.
 */
char *session_path(const Session *session, const char *name);

/**
 * session_log_path: the name of a file in the directory for logs.
 * @session: the session
 * @name: the file
 *
 * Returns: a new string; the caller frees it.
 */
char *session_log_path(const Session *session, const char *name);

/**
 * session_fail: note that the work cannot go on; all waiting fails from now.
 * @session: the session
 * @failure: why; owned by the session from now. Only the first is kept.
 */
void session_fail(Session *session, GError *failure);

/**
 * session_forget_failure: go on, with something else.
 * @session: the session
 */
void session_forget_failure(Session *session);

/**
 * session_heed_interrupts: whether a signal makes all waiting fail from now on,
 * as it does at first. What came before is forgotten, and so is what comes
 * while it does not: what the user asks for is being done.
 * @session: the session
 * @heed: whether it does
 */
void session_heed_interrupts(Session *session, bool heed);

/**
 * session_step: wait until something happens, or for a time.
 * @session: the session
 * @ms: how long at most, in milliseconds
 * @error: set to SB_ERROR_CANCELLED or to the session's failure
 *
 * Returns: false if the work cannot go on.
 */
bool session_step(Session *session, unsigned ms, GError **error);

/**
 * session_sleep: wait for the whole of a time.
 * @session: the session
 * @ms: how long, in milliseconds
 * @error: as for session_step()
 *
 * Returns: false if the work cannot go on.
 */
bool session_sleep(Session *session, unsigned ms, GError **error);

/**
 * session_stalled: whether a number has not changed for too long.
 * @session: the session
 * @stall: the memory of it; all zero at first
 * @value: the number now
 * @what: what made no progress, for the message
 * @error: set to SB_ERROR_TIMEOUT if so
 */
bool session_stalled(const Session *session, Stall *stall, uint64_t value,
                     const char *what, GError **error);

/**
 * interrupt_watch: from now on SIGINT, SIGTERM and SIGHUP interrupt a session
 * instead of killing the process, which tells in the end what it has to tell,
 * however many come.
 * @session: the session; has to outlive the last run of the main loop
 */
void interrupt_watch(Session *session);

/**
 * interrupt_signal: the signal that came first, 0 if none came.
 */
int interrupt_signal(void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_free)

#endif /* SKIP_BALLOON_BASE_SESSION_H */
