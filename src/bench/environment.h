/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_ENVIRONMENT_H
#define SKIP_BALLOON_BENCH_ENVIRONMENT_H

#include <json-glib/json-glib.h>

#include "base/session.h"
#include "commands/bench-options.h"

/**
 * bench_environment: what a benchmark runs on, as a result.
 * @session: the session; the QEMUs are asked what they are
 * @options: the options
 * @error: set if one of them does not start
 *
 * Returns: the members of the result, NULL on failure; to be freed with
 * json_object_unref().
 */
JsonObject *bench_environment(Session *session, const BenchOptions *options,
                              GError **error);

#endif /* SKIP_BALLOON_BENCH_ENVIRONMENT_H */
