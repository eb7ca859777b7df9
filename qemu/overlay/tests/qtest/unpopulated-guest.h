/*
 * What tests of migration capability skip-unpopulated share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNPOPULATED_GUEST_H
#define TESTS_UNPOPULATED_GUEST_H

#include "qobject/qdict.h"
#include "balloon-guest.h"

#define CAPABILITY "skip-unpopulated"
#define MiB (UINT64_C(1) << 20)

/* What a test's guest has, unless it says otherwise */
#define RAM_SIZE (64 * MiB)

/* Bytes per second: SENT soon, and BALLAST, below, in four seconds */
#define SLOW (4 * MiB)

/* Bytes per second: a page is sent ten times a second, and not more. */
#define NEXT_TO_NOTHING 10

/* What is sent before it is discarded; in four parts, see ug_discard_parts() */
#define SENT_START BG_RAM_START
#define PART_PAGES UINT64_C(128)
#define PART_SIZE (PART_PAGES * BALLOON_PAGE)
#define SENT_SIZE (4 * PART_SIZE)

/* A part of the memory that is used only now; no multiple of a part */
#define UNSENT_START (56 * MiB)
#define UNSENT_SIZE (102 * BALLOON_PAGE)

/* What the migration is busy with */
#define BALLAST_START (16 * MiB)
#define BALLAST_SIZE (16 * MiB)

/* A DIMM is a RAM block of its own, right above 4 GiB. */
#define DIMM_SIZE (128 * MiB)
#define DIMM_START (UINT64_C(4) << 30)
#define DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                  "-device pc-dimm,id=dimm0,memdev=dimm-ram"

typedef struct OptionsCase {
    const char *name;
    BGOptions options;
} OptionsCase;

/* The parts of skip-unpopulated-test; alpha has only some of the tests. */
void add_scatter_tests(void);
void add_scatter_alpha_tests(void);
void add_alone_tests(void);
void add_host_tests(void);
void add_later_tests(void);
void add_later_alpha_tests(void);
void add_more_tests(void);
void add_more_alpha_tests(void);
void add_random_tests(void);

/**
 * ug_add_backend_tests: Add a test for each of BG_ANON and BG_MEMFD, which
 * @func gets
 */
void ug_add_backend_tests(const char *name, GTestDataFunc func);

/**
 * ug_add_options_tests: Add a test for each of @n cases, of which @func gets
 * the options
 */
void ug_add_options_tests(const char *name, const OptionsCase *cases, int n,
                          GTestDataFunc func);

bool ug_is_alpha(void);

/**
 * ug_target_page: Bytes of a page of the target
 */
uint64_t ug_target_page(void);

/**
 * ug_have_stock: Is there an unmodified QEMU?  Skips the test otherwise.
 */
bool ug_have_stock(void);

/* ---- What a migration tells ---- */

/**
 * ug_skipped_pages: Target pages that were skipped
 */
int64_t ug_skipped_pages(BGuest *g);

/**
 * ug_hang_deadline: When a test that waits has to end, as of
 * g_get_monotonic_time()
 */
gint64 ug_hang_deadline(void);

/**
 * ug_wait_status: Wait until the migration of @g has a status, see
 * bg_wait_status()
 */
void ug_wait_status(BGuest *g, const char *status);

/**
 * ug_wait_failed: Wait until the migration has failed; it must not complete
 */
void ug_wait_failed(BGuest *g);

/**
 * ug_left_alone: Why is RAM block @id left alone?
 * @size: set to its size in bytes, if it is
 *
 * Returns: the reason, owned by the caller; NULL if it is not
 */
char *ug_left_alone(BGuest *g, const char *id, uint64_t *size);

/**
 * ug_assert_left_alone: RAM block @id, of @size bytes, is left alone
 */
void ug_assert_left_alone(BGuest *g, const char *id, uint64_t size,
                          const char *expected);

/* ---- Migrations ---- */

/**
 * ug_set_migrate_parameter: Set a migration parameter that is a string
 */
void ug_set_migrate_parameter(BGuest *g, const char *name, const char *value);

/**
 * ug_start_destination: Start a QEMU to migrate to
 * @capable: with the capability on there, too
 */
BGuest *ug_start_destination(const BGOptions *options, bool capable);

/**
 * ug_migrate: Migrate @g with the capability on
 */
void ug_migrate(BGuest *g, BGuest *dest);

/**
 * ug_migrate_begin: Start a migration that is not over before
 * ug_migrate_finish()
 * @bandwidth: bytes per second; 0 is without limit
 */
void ug_migrate_begin(BGuest *g, BGuest *dest, uint64_t bandwidth);

/**
 * ug_migrate_finish: Let a migration complete
 */
void ug_migrate_finish(BGuest *g, BGuest *dest);

/**
 * ug_wait_arrival: Wait until the page at @addr is not zero
 */
void ug_wait_arrival(BGuest *dest, uint64_t addr);

/* ---- Memory ---- */

/**
 * ug_assert_same_content: All main memory is the same; populates what is
 * shared
 */
void ug_assert_same_content(BGuest *a, BGuest *b);

/**
 * ug_assert_zero: A range holds zeroes; populates what is shared
 */
void ug_assert_zero(BGuest *g, uint64_t start, uint64_t length);

/**
 * ug_populated_of: bg_populated() of all main memory
 */
bool *ug_populated_of(BGuest *g);

/**
 * ug_count_unpopulated: Target pages of which no part is populated
 * @size: bytes
 */
uint64_t ug_count_unpopulated(const bool *populated, uint64_t size);

/**
 * ug_assert_none_populated: Of all target pages populated in @after, something
 * was so in @before
 * @where: named in the error
 */
void ug_assert_none_populated(const bool *before, const bool *after,
                              uint64_t size, const char *where);

/**
 * ug_assert_populated_as_before: What is populated after a migration, was so on
 * the source before it
 */
void ug_assert_populated_as_before(BGuest *g, BGuest *dest,
                                   const bool *before);

/* ---- Guests ---- */

/**
 * ug_scatter: Write here and there: edges, alternating pages, long runs
 */
void ug_scatter(BGuest *g);

/**
 * ug_start_scattered: Start a guest that did ug_scatter()
 */
BGuest *ug_start_scattered(const BGOptions *options);

/**
 * ug_start_with_balloon: Start a guest that drives its balloon device
 */
BGuest *ug_start_with_balloon(const BGOptions *options);

/**
 * ug_discard: Have the device discard a range
 * @report: by free page reporting, not by inflating
 */
void ug_discard(BGuest *g, bool report, uint64_t start, uint64_t length);

/**
 * ug_discard_parts: Discard a part of what was sent, and use another one of it
 * again; use what was not sent, and discard that
 *
 * So UG_PARTS_DISCARDED bytes are dirty, and not populated, in the end.
 */
void ug_discard_parts(BGuest *g, bool report);

#define UG_PARTS_DISCARDED (PART_SIZE + UNSENT_SIZE)

#endif
