/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_INTERRUPT_H
#define SKIP_BALLOON_BASE_INTERRUPT_H

#include "base/session.h"

/**
 * interrupt_watch: from now on SIGINT, SIGTERM and SIGHUP cancel a session
 * instead of killing the process.
 * @session: the session; has to outlive the watching
 */
void interrupt_watch(Session *session);

/**
 * interrupt_unwatch: the signals are as they were.
 */
void interrupt_unwatch(void);

/**
 * interrupt_signal: the signal that came first, 0 if none came.
 */
int interrupt_signal(void);

#endif /* SKIP_BALLOON_BASE_INTERRUPT_H */
