/*
 * The section of a migration that skips pages: the destination
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_ARRIVAL_H
#define MIGRATION_SKIP_ARRIVAL_H

#include "exec/ramblock.h"

/**
 * skip_arrival_load: Load a part of the section
 *
 * The handler "load_state" of the section: by the coroutine that loads, or by
 * the main loop that loads a snapshot, with the BQL held; the main loop may run
 * meanwhile.
 */
int skip_arrival_load(QEMUFile *f, void *opaque, int version_id);

/**
 * skip_arrival_cleanup: Everything has been loaded, or that has failed
 */
int skip_arrival_cleanup(void *opaque);

/**
 * skip_arrival_begun: Has the source told that it skips pages?
 *
 * Does not change from the moment that it did to the end of the migration.
 */
bool skip_arrival_begun(void);

/**
 * skip_arrival_page: Something is about to be loaded into a page
 * @host: the page, in @rb
 *
 * For each page that comes in the main channel, before it is noted as received.
 */
void skip_arrival_page(RAMBlock *rb, void *host);

/**
 * skip_arrival_zero: Load a page of zeroes
 * @host: the page of the last skip_arrival_page()
 *
 * What is not populated stays so.  What has been loaded before is dropped, if
 * that can be done.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_arrival_zero(void *host);

/**
 * skip_arrival_zero_of_channel: The same for a page that comes by multifd
 * @offset: in @rb, in bytes
 *
 * By any thread; notes the page as received.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_arrival_zero_of_channel(RAMBlock *rb, uint64_t offset);

/**
 * skip_arrival_gaps: Load pages that a file of mapped-ram does not hold
 * @rb: the RAM block
 * @held: a bit for each target page that it does
 * @npages: how many bits
 * @errp: set if the others cannot be made to read as zero
 *
 * With the BQL held; the main loop may run meanwhile.
 */
bool skip_arrival_gaps(RAMBlock *rb, const unsigned long *held,
                       uint64_t npages, Error **errp);

#endif
