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
#include "monitor/monitor.h"
#include "qapi/qapi-types-migration.h"

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
 * skip_unpopulated_can_ask: Can the host tell what of @rb is populated?
 */
bool skip_unpopulated_can_ask(const RAMBlock *rb);

/**
 * skip_unpopulated_may_look_at: Is @rb guest RAM, of which the host can tell?
 */
bool skip_unpopulated_may_look_at(const RAMBlock *rb);

#endif
