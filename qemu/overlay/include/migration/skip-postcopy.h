/*
 * Postcopy of guests with pages that the source skipped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_POSTCOPY_H
#define MIGRATION_SKIP_POSTCOPY_H

#include "exec/ramblock.h"
#include "migration/misc.h"

struct MigrationIncomingState;

/**
 * skip_postcopy_prepare: Postcopy begins; expect nothing but what gets named
 *
 * On the destination, before the first of the discard commands is executed.
 */
void skip_postcopy_prepare(void);

/**
 * skip_postcopy_is_settled: Is a page that is missing known to be zero?
 * @rb: the RAM block
 * @offset: of the host page, in bytes
 *
 * On the destination, while the guest runs; no lock is needed.
 */
bool skip_postcopy_is_settled(RAMBlock *rb, uint64_t offset);

/**
 * skip_postcopy_place: Place a page of zeroes that the source does not send
 * @mis: the migration
 * @rb: the RAM block
 * @offset: of the host page, in bytes
 *
 * Does no harm if the page has been placed meanwhile.  Waits for the host to
 * have memory.  To be called by the thread that handles faults.
 *
 * Returns: 0; whoever waits for a page that cannot be placed goes on in the end
 */
int skip_postcopy_place(struct MigrationIncomingState *mis, RAMBlock *rb,
                        uint64_t offset);

#endif
