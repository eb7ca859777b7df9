/*
 * Two guests for tests of migration, of which one moves to the other
 *
 * A guest that runs has a virtual CPU, under TCG, that writes to memory for
 * ever.  So its migration in precopy goes on, pass after pass, until the test
 * lets it end, and what the test does in between it does during the migration.
 * One that does not run is held where it would be stopped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_PAIR_H
#define TESTS_BALLOON_PAIR_H

#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "balloon-model.h"

#define CAPABILITY "skip-unpopulated"

/* What a test's guest has, unless it says otherwise */
#define RAM_SIZE (64 * MiB)

#define DIMM_SIZE (128 * MiB)
#define DIMM_START BG_DIMM_START
#define DIMM_ARGS BG_DIMM_ARGS

/* Bytes per second: a page is sent ten times a second, and not more. */
#define NEXT_TO_NOTHING 10

/*
 * With these a migration ends only when less than a page is left to send, and
 * there is one always.  Neither may make that nothing at all: QEMU then would
 * not look for pages that were written to.
 */
#define BP_HELD "{ 'downtime-limit': 1000, 'avail-switchover-bandwidth': 2000 }"
#define BP_RELEASED "{ 'downtime-limit': 2000, 'max-bandwidth': 0, "\
                    "'avail-switchover-bandwidth': 1000000000 }"

/* Which of our capabilities are on */
enum {
    BP_BALLOON = 1,
    BP_UNPOPULATED = 2,
    BP_BOTH = BP_BALLOON | BP_UNPOPULATED,
};

typedef struct BPair {
    BGuest *source;
    BGuest *dest;               /* does not run once a guest has arrived */
    BalloonModel *model;        /* of the source, or NULL */
    bool runs;
} BPair;

/* ---- Waiting ---- */

/* Nothing depends on time, but a test that hangs has to end. */
#define BP_HANG_SECONDS 120

/**
 * bp_has_status: Has the migration of @g this status?
 *
 * It is an error if it has ended with another one.
 */
bool bp_has_status(BGuest *g, const char *status);

void bp_wait_status(BGuest *g, const char *status);

/**
 * bp_wait_failed: Wait until the migration has failed; it must not complete
 */
void bp_wait_failed(BGuest *g);

/* ---- Two guests ---- */

/**
 * bp_init: Make the firmware of guests that run; for main()
 */
void bp_init(void);

/**
 * bp_cleanup: Remove what bp_init() made
 */
void bp_cleanup(void);

/**
 * bp_start_destination: Start a QEMU to migrate to
 * @capable: with capability skip-unpopulated on there, too
 */
BGuest *bp_start_destination(const BGOptions *options, bool capable);

/**
 * bp_start_running: Start a guest with a virtual CPU that writes for ever, see
 * bp_init()
 * @more: arguments for QEMU
 */
BGuest *bp_start_running(const BGOptions *options, const char *more);

/**
 * bp_start_source: Start a guest, which drives its balloon device if it has one
 * @runs: see bp_start_running()
 */
BGuest *bp_start_source(const BGOptions *options, bool runs);

/**
 * bp_start: Start both
 * @dest: options of the destination; NULL: the same
 */
BPair bp_start(const BGOptions *options, const BGOptions *dest, bool runs);

/**
 * bp_end: End those that are left, and free the model
 */
void bp_end(BPair *p);

/**
 * bp_set_capabilities: Set which of our capabilities are on, see BP_BOTH
 */
void bp_set_capabilities(BGuest *g, int ours);

void bp_set_bandwidth(BGuest *g, uint64_t bytes);

/**
 * bp_hold: From now on a migration does not end before bp_finish()
 */
void bp_hold(BPair *p);

/**
 * bp_begin: Start a migration that does not end before bp_finish()
 * @bandwidth: bytes per second; 0 is without limit
 */
void bp_begin(BPair *p, uint64_t bandwidth);

/**
 * bp_finish: Let the migration complete
 */
void bp_finish(BPair *p);

/**
 * bp_wait_until_it_runs: Wait until a guest has begun to write
 *
 * Without that nothing would hold the migration.
 */
void bp_wait_until_it_runs(BGuest *g);

/**
 * bp_passes: How often the dirty bitmap has been synchronized
 */
int64_t bp_passes(BGuest *g);

/**
 * bp_wait_passes: Wait until that has been done @n times more
 */
void bp_wait_passes(BGuest *g, int64_t n);

/**
 * bp_skipped_pages: Target pages that skip-unpopulated skipped
 */
int64_t bp_skipped_pages(BGuest *g);

/* ---- Memory ---- */

/**
 * bp_fill_ballast: Write one value to a range, whole MiB
 */
void bp_fill_ballast(BGuest *g, uint64_t start, uint64_t size, uint8_t value);

/**
 * bp_scatter: Write here and there: edges, alternating pages, long runs
 */
void bp_scatter(BGuest *g);

/**
 * bp_holds: Does a range hold what bg_fill() writes?  Populates nothing.
 */
bool bp_holds(BGuest *g, uint64_t start, uint64_t length, uint8_t seed);

/**
 * bp_assert_same_content: All main memory is the same; populates what is
 * shared
 */
void bp_assert_same_content(BGuest *a, BGuest *b);

/**
 * bp_populated_of: bg_populated() of all main memory
 */
bool *bp_populated_of(BGuest *g);

/**
 * bp_count_unpopulated: Target pages of which no part is populated
 * @size: bytes
 */
uint64_t bp_count_unpopulated(const bool *populated, uint64_t size);

/**
 * bp_assert_populated_as_before: Of all target pages that @g has populated,
 * something was so in @before
 */
void bp_assert_populated_as_before(BGuest *g, const bool *before);

/* ---- Cases ---- */

/**
 * bp_test_path: What a test is called
 * @program: the name of the program
 * @name: of the case
 * @ours: which of our capabilities are on; 0: the name does not tell
 *
 * Returns: owned by the caller
 */
char *bp_test_path(const char *program, const char *name, BGBackend backend,
                   int ours);

/**
 * bp_add_backend_tests: Add a test for each of BG_ANON and BG_MEMFD, which
 * @func gets
 */
void bp_add_backend_tests(const char *program, const char *name,
                          GTestDataFunc func);

#endif
