/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_MIGRATE_PLAN_H
#define SKIP_BALLOON_COMMANDS_MIGRATE_PLAN_H

#include "map/forecast.h"
#include "qemu/libvirt-move.h"

/* What is found out before anything moves. Freed with migrate_plan_clear(). */
typedef struct MigratePlan {
    QemuState *source;
    QemuState *destination;     /* NULL: cannot be asked */
    LibvirtHost host;           /* of a domain's destination */
    Forecast *forecast;         /* with the capabilities that are to be on */
    GStrv notes;                /* what falls back, and what is not known */
} MigratePlan;

/**
 * migrate_plan_make: ask both ends, and check that the one can go to the other.
 * Changes nothing in them.
 * @move: the move; gets the capabilities that can be used
 * @strict: fail where one of ours is not known, rather than go without
 * @fits: check the memory of the destination, too
 * @plan: where to put it; to be cleared on failure, too
 * @error: set to SB_ERROR_MIGRATION, with what is in the way; to
 *         SB_ERROR_RESOURCE if the destination has too little memory; as by
 *         qemu_state_ask() or forecast_make()
 */
bool migrate_plan_make(Move *move, bool strict, bool fits, MigratePlan *plan,
                       GError **error);

/**
 * migrate_plan_clear: free what is in a plan.
 * @plan: the plan, or all zero
 */
void migrate_plan_clear(MigratePlan *plan);

#endif /* SKIP_BALLOON_COMMANDS_MIGRATE_PLAN_H */
