/*
 * Migration capability skip-balloon: do not scan and do not send memory that
 * the guest gave back through virtio-balloon
 *
 * All functions need the BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_BALLOON_H
#define MIGRATION_SKIP_BALLOON_H

#include "monitor/monitor.h"
#include "qapi/qapi-types-migration.h"

/**
 * migrate_skip_balloon: Is the capability on?
 */
bool migrate_skip_balloon(void);

/**
 * skip_balloon_forget: Forget about earlier migrations, a new one starts
 */
void skip_balloon_forget(void);

/**
 * skip_balloon_start: Decide whether the migration under way skips the balloon
 */
void skip_balloon_start(void);

/**
 * skip_balloon_stop: No migration is under way any more
 */
void skip_balloon_stop(void);

/**
 * skip_balloon_active: Does the migration under way skip the balloon?
 */
bool skip_balloon_active(void);

/**
 * skip_balloon_count_map_bytes: Account for a part of the section that was sent
 * @bytes: its size
 * @final: whether the guest was stopped
 */
void skip_balloon_count_map_bytes(uint64_t bytes, bool final);

/**
 * skip_balloon_fill_info: Add the skip-balloon member to @info
 *
 * Adds nothing if the capability is off or no migration was started since it
 * was set.  Needs the BQL.
 */
void skip_balloon_fill_info(MigrationInfo *info);

/**
 * skip_balloon_print_info: Print the skip-balloon member of @info, if present
 */
void skip_balloon_print_info(Monitor *mon, const MigrationInfo *info);

#endif
