/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_MIGRATION_MODE_H
#define SKIP_BALLOON_QEMU_MIGRATION_MODE_H

#include "qemu/migrate.h"

/* How a migration moves memory. */
typedef enum MigrationMode {
    MODE_PLAIN,                 /* precopy over one connection */
    MODE_MULTIFD,               /* precopy, memory over two connections */
    MODE_POSTCOPY,              /* the guest moves first */
} MigrationMode;

#define MODE_COUNT (MODE_POSTCOPY + 1)

/**
 * migration_mode_parse: the mode that a name stands for.
 * @name: "plain", "multifd" or "postcopy"
 * @mode: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool migration_mode_parse(const char *name, MigrationMode *mode,
                          GError **error);

/**
 * migration_mode_name: what migration_mode_parse() takes.
 * @mode: the mode
 */
const char *migration_mode_name(MigrationMode mode);

/**
 * migration_mode_set: prepare both ends for a mode, before the migration.
 * @source: one end
 * @destination: the other
 * @mode: the mode
 * @error: set as by vm_execute()
 */
bool migration_mode_set(Vm *source, Vm *destination, MigrationMode mode,
                        GError **error);

/**
 * migration_mode_wait: see a migration that has been started through to its
 * end, as migrate_wait() does.
 * @session: the session of both
 * @source: the source of the migration
 * @destination: its destination
 * @mode: the mode; MODE_POSTCOPY switches as soon as the migration is active
 * @stats: where to put the last answer of the source
 * @error: as for migrate_wait(); also set if it was over before it could
 *         switch to postcopy
 */
bool migration_mode_wait(Session *session, Vm *source, Vm *destination,
                         MigrationMode mode, MigrationStats *stats,
                         GError **error);

#endif /* SKIP_BALLOON_QEMU_MIGRATION_MODE_H */
