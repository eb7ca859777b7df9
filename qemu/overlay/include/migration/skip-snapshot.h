/*
 * Background snapshots of guests with pages that are skipped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_SNAPSHOT_H
#define MIGRATION_SKIP_SNAPSHOT_H

#include "exec/ramblock.h"

/**
 * skip_snapshot_populate: Populate a RAM block, but for what is skipped
 * @rb: the RAM block
 *
 * Called while the guest runs, without the BQL.
 *
 * Returns: false if it did nothing, and the caller has to populate all of it
 */
bool skip_snapshot_populate(RAMBlock *rb);

/**
 * skip_snapshot_begin: Skip what the guest has not populated
 *
 * Called with the BQL held and the guest stopped, at the moment that the
 * snapshot is of.  Everything else is populated then.
 */
void skip_snapshot_begin(void);

/**
 * skip_snapshot_protect: Trap writes to a RAM block, but for what is skipped
 * @rb: the RAM block
 * @uffd_fd: what traps them
 * @ret: set to 0, or to something negative
 *
 * Called with the BQL held and the guest stopped.
 *
 * Returns: false if it did nothing, and the caller has to do it for all of it
 */
bool skip_snapshot_protect(RAMBlock *rb, int uffd_fd, int *ret);

#endif
