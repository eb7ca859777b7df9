/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_REPORT_FIXTURE_H
#define TESTS_REPORT_FIXTURE_H

#include <glib.h>

/* Begins every line. */
#define LINE(kind) \
    "{\"schema\":\"skip-balloon-bench/1\",\"run\":\"20261125T003000Z-1\"," \
    "\"kind\":\"" kind "\""

/* A name that must not become anything but text. */
#define HOSTILE "<script>alert('1')</script>&\"`\\"

/**
 * fixture_results: results as a full run would write them, of made-up
 * numbers: 5 builds and the limit, 2 backends, 3 sizes, 3 repetitions, and
 * what was measured at the level of devices.
 *
 * Returns: JSON Lines; the caller frees them.
 */
char *fixture_results(void);

/**
 * fixture_hostile: results with every text as bad as can be.
 *
 * Returns: JSON Lines; the caller frees them.
 */
char *fixture_hostile(void);

#endif /* TESTS_REPORT_FIXTURE_H */
