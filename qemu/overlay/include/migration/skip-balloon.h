/*
 * Migration capability skip-balloon: do not scan and do not send memory that
 * the guest gave back through virtio-balloon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_BALLOON_H
#define MIGRATION_SKIP_BALLOON_H

#include "monitor/monitor.h"
#include "qapi/qapi-types-migration.h"

/**
 * skip_balloon_init: Hook into migration; once, when its state is set up
 */
void skip_balloon_init(void);

/**
 * skip_balloon_caps_check: Can the capabilities be used together?
 * @caps: the capabilities as they would be, indexed by MigrationCapability
 * @errp: set if not
 *
 * Returns: false, with @errp set, if skip-balloon is among them together with
 * one that it does not support
 */
bool skip_balloon_caps_check(const bool *caps, Error **errp);

/**
 * skip_balloon_active: Does the migration under way skip the balloon?
 */
bool skip_balloon_active(void);

/**
 * skip_balloon_usable: Is the balloon map still to be relied on?
 *
 * Not if the device has been unplugged, or reset and driven by a driver that
 * may use memory without telling, since the migration began.
 */
bool skip_balloon_usable(void);

/**
 * skip_balloon_count_map_bytes: Account for a part of the map that was sent
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
