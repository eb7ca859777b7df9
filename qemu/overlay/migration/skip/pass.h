/*
 * Passes over the dirty bitmap, to skip what need not be sent
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_PASS_H
#define MIGRATION_SKIP_PASS_H

#include "control.h"

/**
 * skip_pass_make: Clear the dirty bits of what need not be sent
 * @m: the migration
 * @final: nobody runs any more who could write, or wait
 *
 * Called by the migration thread, or by the main loop that saves a snapshot,
 * with the BQL held.  Unless @final, the BQL is dropped now and then.  If the
 * dirty bitmap is synchronized meanwhile, the pass ends, and remains due.
 */
void skip_pass_make(SkipMigration *m, bool final);

#endif
