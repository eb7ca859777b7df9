/*
 * Migration capability skip-unpopulated: do not scan and do not send guest
 * RAM that the host has no memory for
 *
 * All functions need the BQL, unless they say otherwise.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_UNPOPULATED_H
#define MIGRATION_SKIP_UNPOPULATED_H

#include "exec/ramblock.h"
#include "migration/skip-pass.h"
#include "monitor/monitor.h"
#include "qapi/qapi-types-migration.h"
#include "qemu/bitops.h"

/* What becomes of dirty pages that are not in the balloon map */
extern const SkipPolicy skip_unpopulated_policy;

/**
 * migrate_skip_unpopulated: Is the capability on?
 */
bool migrate_skip_unpopulated(void);

/**
 * skip_unpopulated_forget: Forget about earlier migrations, a new one starts
 */
void skip_unpopulated_forget(void);

/**
 * skip_unpopulated_start: Decide which RAM the migration under way cares for
 */
void skip_unpopulated_start(void);

/**
 * skip_unpopulated_stop: No migration is under way any more
 */
void skip_unpopulated_stop(void);

/**
 * skip_unpopulated_active: Does the migration under way skip such pages?
 */
bool skip_unpopulated_active(void);

/**
 * skip_unpopulated_in_block: Does it do so in @rb?
 */
bool skip_unpopulated_in_block(const RAMBlock *rb);

/**
 * skip_unpopulated_give_up: The host does not tell what is unpopulated in @rb
 *
 * Leaves it alone for the rest of the migration.
 */
void skip_unpopulated_give_up(RAMBlock *rb);

/**
 * skip_unpopulated_before_sync: What was known of dirty pages is void now
 */
void skip_unpopulated_before_sync(void);

/**
 * skip_unpopulated_count_pass: Account for a pass over the dirty bitmap
 */
void skip_unpopulated_count_pass(const SkipPass *pass);

/**
 * skip_unpopulated_fill_info: Add the skip-unpopulated member to @info
 *
 * Adds nothing if the capability is off or no migration was started since it
 * was set.
 */
void skip_unpopulated_fill_info(MigrationInfo *info);

/**
 * skip_unpopulated_print_info: Print that member of @info, if present
 */
void skip_unpopulated_print_info(Monitor *mon, const MigrationInfo *info);

/**
 * skip_unpopulated_is_guest_ram: Is @rb what the guest has for its memory?
 *
 * In contrast to ROMs, and to memory of devices: that may hold something on
 * the destination before the migration begins.
 */
bool skip_unpopulated_is_guest_ram(const RAMBlock *rb);

/**
 * skip_unpopulated_has_name: Does @rb use a file that has a name?
 *
 * A memfd has none, nor has a file that QEMU made in a directory.
 */
bool skip_unpopulated_has_name(const RAMBlock *rb);

/**
 * skip_unpopulated_sends_zero: Must a page be sent as zeroes, unseen?
 * @rb: the RAM block
 * @page: target page whose dirty bit has just been cleared
 *
 * To be called by the migration thread; no lock is needed.
 */
static inline bool skip_unpopulated_sends_zero(RAMBlock *rb,
                                               unsigned long page)
{
    SkipPages *pages = skip_pages_of(rb);
    unsigned long *discarded;

    if (!pages) {
        return false;
    }
    if (pages->zero && test_bit(page, pages->zero)) {
        return true;
    }
    discarded = qatomic_load_acquire(&pages->discarded);
    return discarded && test_bit(page, discarded) &&
           skip_pass_ask_discarded(rb, page);
}

/**
 * skip_unpopulated_register: Take part in loading; once, last of all
 */
void skip_unpopulated_register(void);

/**
 * skip_unpopulated_load_page: Something is about to be loaded into a page
 * @host: the page, in @rb
 *
 * On the destination, for each page that comes in the main channel, before it
 * is noted as received.
 */
void skip_unpopulated_load_page(RAMBlock *rb, void *host);

/**
 * skip_unpopulated_load_zero: Load a page of zeroes
 * @host: the page, in a RAM block, of the last skip_unpopulated_load_page()
 *
 * On the destination, with the capability on: what is not populated stays so.
 * What has been loaded before is discarded, if that can be done.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_unpopulated_load_zero(void *host);

/**
 * skip_unpopulated_load_zero_again: Load a page of zeroes with multifd
 * @offset: in @rb, in bytes
 *
 * The same for a page that something has been loaded into before.  May be
 * called by any thread, hence it does not look whether it is populated.
 *
 * Returns: false if it did nothing, and the caller has to do it
 */
bool skip_unpopulated_load_zero_again(RAMBlock *rb, uint64_t offset);

#endif
