/*
 * Populated, asked of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_POPULATED_BLOCK_H
#define MIGRATION_POPULATED_BLOCK_H

#include "exec/cpu-common.h"
#include "populated.h"

/**
 * populated_scan_of_block: Prepare to ask which parts of @rb are populated
 * @rb: the RAM block
 * @use: what the answers are for
 *
 * @rb must neither be resized nor go away as long as the scan is used.
 *
 * Returns: the scan, for populated_scan_free()
 */
PopulatedScan *populated_scan_of_block(RAMBlock *rb, PopulatedUse use);

/**
 * populated_huge_bytes: How large are all RAM blocks in huge pages together?
 *
 * In an RCU critical section; no lock is needed.
 */
uint64_t populated_huge_bytes(void);

/**
 * populated_scan_count_block: populated_scan_count() for a RAM block
 * @scan: of @rb
 * @rb: the RAM block, in huge pages
 *
 * In an RCU critical section; no lock is needed.
 *
 * Returns: as of populated_scan_count()
 */
int populated_scan_count_block(PopulatedScan *scan, RAMBlock *rb);

#endif
