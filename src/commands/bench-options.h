/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H
#define SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H

#include "bench/bench.h"

/**
 * bench_options_parse: read the command line of bench. --help is obeyed at
 * once and ends the process.
 * @argc: how many arguments
 * @argv: the arguments, the first of them the name of the command
 * @error: set if it makes no sense
 *
 * Returns: the options, NULL on failure; free them with bench_options_free().
 */
BenchOptions *bench_options_parse(int argc, char **argv, GError **error);

#endif /* SKIP_BALLOON_COMMANDS_BENCH_OPTIONS_H */
