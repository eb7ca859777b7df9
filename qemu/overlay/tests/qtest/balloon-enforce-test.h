/*
 * Property "enforce" of virtio-balloon: what its tests look at
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_ENFORCE_TEST_H
#define TESTS_BALLOON_ENFORCE_TEST_H

#include "qobject/qdict.h"
#include "balloon-guest.h"

#define EVENT "BALLOON_PAGE_ACCESS"

/* What has come of event BALLOON_PAGE_ACCESS */
typedef struct Events {
    unsigned int n;
    uint64_t count;             /* sum over all of them */
    uint64_t offset;            /* of the last one */
    uint64_t address;
    const char *id;             /* the RAM block that each has to name */
    bool stopped;               /* event STOP has come */
    bool before_stop;           /* with the access before it */
} Events;

/* Begin to note events of @g in @events, which has to be there as long as @g */
void watch_events(BGuest *g, Events *events);

/* Have events read that have come */
void sync_events(BGuest *g);

/* Wait until @count pages have been told of, in all; it must not be more */
void wait_events(BGuest *g, Events *events, uint64_t count);

/* A member of what query-balloon-map tells of the main memory */
uint64_t info_member(BGuest *g, const char *name);

/* Bytes of the main memory that are not enforced for @reason */
uint64_t not_enforced(BGuest *g, const char *reason);

#define assert_enforced(g, bytes) \
    g_assert_cmpuint(info_member(g, "enforced"), ==, bytes)
#define assert_accesses(g, n) \
    g_assert_cmpuint(info_member(g, "accesses"), ==, n)
#define assert_not_enforced(g, reason, bytes) \
    g_assert_cmpuint(not_enforced(g, reason), ==, bytes)

/* Tests of migrations and snapshots */
void add_migration_tests(void);

#endif
