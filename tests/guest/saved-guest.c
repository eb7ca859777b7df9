/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "saved-guest.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "commands.h"

#define DIR_VARIABLE "SB_SAVED_GUESTS"

/* Only what was not zero when the guest was saved is written, and loaded. */
#define CAPABILITY "mapped-ram"

/* With it goes what the guest has given back, by its own word. */
#define MAP_CAPABILITY "skip-balloon"

static char *own_dir;

static void remove_own_dir(void)
{
    g_autoptr(GDir) dir = g_dir_open(own_dir, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(own_dir, name, NULL);

        g_unlink(path);
    }
    g_rmdir(own_dir);
}

static const char *directory(GError **error)
{
    const char *shared = g_getenv(DIR_VARIABLE);

    if (shared && shared[0]) {
        return shared;
    }
    if (!own_dir) {
        own_dir = g_dir_make_tmp("saved-guests-XXXXXX", error);
        if (own_dir) {
            atexit(remove_own_dir);
        }
    }
    return own_dir;
}

/*
 * A name that two guests share if nothing tells them apart that is saved. What
 * their memory is made of is not.
 */
static char *guest_name(const VmConfig *config, const char *qemu,
                        bool ballooned)
{
    g_autofree char *options = config->options
        ? g_strjoinv(" ", (char **)config->options) : NULL;
    g_autofree char *text = g_strdup_printf(
        "%s %s %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
        " %u %u %d %d %d %d %d %d %d %d %s %s", qemu, config->kernel,
        config->initrd, config->memory, config->workset, config->seed,
        config->smp, config->kvm, config->untouched, config->no_balloon,
        config->must_tell_host, config->free_page_reporting,
        config->free_page_hint, config->reboots, ballooned,
        config->append ?: "", options ?: "");

    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}

/* The map goes along only where the device has the property that it takes. */
static bool set_capabilities(const Bench *bench, Vm *vm, bool ballooned,
                             bool on, GError **error)
{
    return migrate_set_capability(vm, CAPABILITY, on, error) &&
           (!ballooned || !bench->config.must_tell_host ||
            migrate_set_capability(vm, MAP_CAPABILITY, on, error));
}

static bool save(Bench *bench, Vm *vm, bool ballooned, const char *path,
                 GError **error)
{
    MigrationStats stats;

    return set_capabilities(bench, vm, ballooned, true, error) &&
           migrate_set_bandwidth(vm, 0, error) &&
           command_file(vm, "migrate", path, error) &&
           migrate_wait_status(bench->session, vm, "completed", &stats,
                               error);
}

static Vm *start_saved(Bench *bench, const char *name, const char *qemu,
                       bool ballooned, GError **error);

/* Inflate the balloon of one that was booted before. */
static Vm *make_ballooned(Bench *bench, const char *qemu, GError **error)
{
    g_autoptr(Vm) vm = start_saved(bench, "inflated", qemu, false, error);

    return vm && bench_balloon(bench, vm, error) ? g_steal_pointer(&vm) : NULL;
}

/* A file that has the name of a guest is whole. */
static bool boot_and_save(Bench *bench, const char *qemu, bool ballooned,
                          const char *path, GError **error)
{
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    g_autoptr(Vm) vm = ballooned ? make_ballooned(bench, qemu, error)
                                : bench_boot_anew(bench, "booted", qemu,
                                                  error);

    if (!vm || !save(bench, vm, ballooned, part, error)) {
        return false;
    }
    FAIL_UNLESS(!g_rename(part, path), "cannot rename %s: %s", part,
                g_strerror(errno));
    return true;
}

/* Whoever finds the guest being booted waits for that. */
static bool make_saved(Bench *bench, const char *qemu, bool ballooned,
                       const char *path, GError **error)
{
    g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool made;

    FAIL_UNLESS(lock >= 0 && !flock(lock, LOCK_EX), "cannot lock %s: %s",
                lock_path, g_strerror(errno));
    made = !access(path, R_OK) ||
           boot_and_save(bench, qemu, ballooned, path, error);
    close(lock);
    return made;
}

static bool load(const Bench *bench, Vm *vm, bool ballooned, const char *path,
                 GError **error)
{
    return set_capabilities(bench, vm, ballooned, true, error) &&
           command_file(vm, "migrate-incoming", path, error) &&
           vm_wait_event(vm, "RESUME", error) &&
           set_capabilities(bench, vm, ballooned, false, error);
}

/*
 * Without the property that our capabilities need, a guest of ours is one that
 * unmodified QEMU loads: there is no need to boot one there, too.
 */
static Vm *start_saved(Bench *bench, const char *name, const char *qemu,
                       bool ballooned, GError **error)
{
    const char *maker = bench->config.must_tell_host ? qemu : bench->qemu;
    g_autofree char *file = guest_name(&bench->config, maker, ballooned);
    const char *dir = directory(error);
    g_autofree char *path = dir ? g_build_filename(dir, file, NULL) : NULL;
    g_autoptr(Vm) vm = NULL;

    if (!path || !make_saved(bench, maker, ballooned, path, error)) {
        return NULL;
    }
    vm = bench_start(bench, name, qemu, true, error);
    return vm && load(bench, vm, ballooned, path, error)
           ? g_steal_pointer(&vm) : NULL;
}

Vm *saved_guest_start(Bench *bench, const char *qemu, bool ballooned,
                      GError **error)
{
    return start_saved(bench, "source", qemu, ballooned, error);
}
