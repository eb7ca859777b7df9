/*
 * The dirty bitmap of all users, and who has to be told of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_DIRTY_H
#define MIGRATION_SKIP_DIRTY_H

#include "exec/cpu-common.h"

/**
 * ram_reset_tlbs: Make TCG note each write from now on
 *
 * A synchronization that found bits of the dirty bitmap set already left the
 * TLBs as they are, so more writes would go unnoticed.  To be called before
 * such bits are cleared, by whoever does not send the pages.  Needs the BQL,
 * and may drop it for a while.
 */
void ram_reset_tlbs(void);

/**
 * ram_mark_dirty_range: Make the migration under way send a range
 * @rb: the RAM block
 * @start: offset in bytes
 * @length: bytes
 *
 * Unlike memory_region_set_dirty() it leaves alone what TCG knows of
 * translated code, since the content does not change.
 */
void ram_mark_dirty_range(RAMBlock *rb, ram_addr_t start, ram_addr_t length);

#endif
