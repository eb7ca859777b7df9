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

#endif
