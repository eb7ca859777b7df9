/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_DEMO_OPTIONS_H
#define SKIP_BALLOON_COMMANDS_DEMO_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "qemu/migration.h"
#include "qemu/vm.h"

/* What the command line of demo says. */
typedef struct DemoOptions {
    uint64_t memory;            /* of the guest, in bytes */
    uint64_t to;                /* what it is left with; 0 if idle */
    bool idle;                  /* memory is never used, there is no balloon */
    SkipSet capabilities;       /* of the run with the capability on */
    Backend backend;
    char *qemu;
    char *stock;                /* NULL: ours, with the capability off */
    char *kernel;
    char *initrd;
    char **firmware;            /* NULL: QEMU finds its own */
    int smp;
    int timeout_secs;
    bool kvm;
    bool json;
    bool off;                   /* make the run with the capability off */
    bool on;                    /* make the run with the capability on */
    char *log_dir;              /* NULL: keep no logs */
} DemoOptions;

/**
 * demo_options_parse: read the command line of demo. --help is obeyed at
 * once and ends the process.
 * @argc: how many arguments
 * @argv: the arguments, the first of them the name of the command
 * @error: set if it makes no sense
 *
 * Returns: the options, NULL on failure; free them with demo_options_free().
 */
DemoOptions *demo_options_parse(int argc, char **argv, GError **error);

/**
 * demo_options_free: free options.
 * @options: the options, or NULL
 */
void demo_options_free(DemoOptions *options);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DemoOptions, demo_options_free)

#endif /* SKIP_BALLOON_COMMANDS_DEMO_OPTIONS_H */
