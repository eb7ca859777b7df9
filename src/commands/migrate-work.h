/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_MIGRATE_WORK_H
#define SKIP_BALLOON_COMMANDS_MIGRATE_WORK_H

#include "qemu/move.h"

/* What skip-balloon migrate is to do. */
typedef struct MigrateTask {
    MonitorAddress source;
    MonitorAddress destination; /* all zero: cannot be asked */
    MoveSettings settings;
    bool strict;
    bool dry_run;
    bool json;
    bool shrink;
    uint64_t shrink_bytes;      /* at most; 0: all that can be spared */
} MigrateTask;

/**
 * migrate_work: do it, and print what there is to say.
 * @session: the session
 * @task: the MigrateTask
 * @error: why the guest has not moved, and where it runs; or what is not as it
 *         was
 */
bool migrate_work(Session *session, void *task, GError **error);

#endif /* SKIP_BALLOON_COMMANDS_MIGRATE_WORK_H */
