/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/migration-mode.h"

#include <string.h>

#include "base/error.h"

#define MULTIFD_CHANNELS 2

static const char *const mode_names[] = {
    [MODE_PLAIN] = "plain",
    [MODE_MULTIFD] = "multifd",
    [MODE_POSTCOPY] = "postcopy",
};

bool migration_mode_parse(const char *name, MigrationMode *mode,
                          GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(mode_names); i++) {
        if (!strcmp(name, mode_names[i])) {
            *mode = i;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "unknown mode '%s'; there are plain, multifd and postcopy",
                name);
    return false;
}

const char *migration_mode_name(MigrationMode mode)
{
    return mode_names[mode];
}

static bool set_channels(Vm *vm, GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, "multifd-channels",
                               MULTIFD_CHANNELS);
    return vm_do(vm, "migrate-set-parameters", arguments, error);
}

bool migration_mode_set(Vm *source, Vm *destination, MigrationMode mode,
                        GError **error)
{
    static const char *const capabilities[] = {
        [MODE_MULTIFD] = "multifd",
        [MODE_POSTCOPY] = "postcopy-ram",
    };

    if (mode == MODE_PLAIN) {
        return true;
    }
    return migrate_set_capability(source, capabilities[mode], true, error) &&
           migrate_set_capability(destination, capabilities[mode], true,
                                  error) &&
           (mode != MODE_MULTIFD ||
            (set_channels(source, error) && set_channels(destination, error)));
}

static bool switch_to_postcopy(Session *session, Vm *source, GError **error)
{
    MigrationStats stats;

    return migrate_wait_status(session, source, "active", &stats, error) &&
           vm_do(source, "migrate-start-postcopy", NULL, error);
}

bool migration_mode_wait(Session *session, Vm *source, Vm *destination,
                         MigrationMode mode, MigrationStats *stats,
                         GError **error)
{
    if ((mode == MODE_POSTCOPY &&
         !switch_to_postcopy(session, source, error)) ||
        !migrate_wait(session, source, destination, stats, error)) {
        return false;
    }
    if (mode == MODE_POSTCOPY && !stats->postcopy_bytes) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "the migration was over before it could switch to "
                    "postcopy; ask for a guest with more memory in use");
        return false;
    }
    return true;
}
