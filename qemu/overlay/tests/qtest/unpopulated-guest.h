/*
 * The names that balloon-read and skip-drop use for what is in balloon-pair.h
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNPOPULATED_GUEST_H
#define TESTS_UNPOPULATED_GUEST_H

#include "balloon-pair.h"

#define ug_assert_same_content bp_assert_same_content
#define ug_hang_deadline bp_deadline
#define ug_scatter bp_scatter
#define ug_start_destination bp_start_destination
#define ug_wait_failed bp_wait_failed
#define ug_wait_status bp_wait_status

static inline void ug_migrate_finish(BGuest *g, BGuest *dest)
{
    BPair p = { .source = g, .dest = dest };

    bp_finish(&p);
}

static inline void ug_migrate(BGuest *g, BGuest *dest)
{
    bg_set_capability(g, CAPABILITY, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
}

#endif
