/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_TEST_LIFE_H
#define SKIP_BALLOON_TEST_LIFE_H

#include "harness.h"

/* Small, since each kernel that a guest boots costs enough. */
#define LIFE_MEMORY (256 * SIZE_MIB)
#define LIFE_TO (160 * SIZE_MIB)
#define LIFE_BALLOONED (LIFE_MEMORY - LIFE_TO)
#define LIFE_WORKSET (32 * SIZE_MIB)

/* A guest that goes from one QEMU to the next. */
typedef struct Life {
    Bench *bench;
    Vm *vm;                     /* where it is */
    Vm *next;                   /* where it goes, or NULL */
    unsigned hops;
    MigrationStats stats;       /* of the last one */
    GPtrArray *options;         /* of each QEMU, besides what all have */
    uint64_t plugged;           /* what DIMMs add to its memory */
} Life;

/**
 * life_option: start each QEMU from now on with one more option.
 * @life: zeroed, or what has become of it
 * @option: the option
 * @value: owned by this function
 */
void life_option(Life *life, const char *option, char *value);

/**
 * life_boot: boot a guest, of LIFE_MEMORY unless the bench says otherwise.
 * @life: zeroed but for life_option(); end it with life_end()
 * @bench: the bench; the rest of its configuration is of use
 * @error: set if any of it fails
 */
bool life_boot(Life *life, Bench *bench, GError **error);

/**
 * life_end: kill what is left.
 * @life: the life
 */
void life_end(Life *life);

/**
 * life_inflate: let the guest have so much, check that all of it is right,
 * and the map, too.
 * @life: the life
 * @bytes: the memory that the guest is to have left
 * @error: set if not
 */
bool life_inflate(Life *life, uint64_t bytes, GError **error);

/**
 * life_map_bytes: how much is in the balloon, as query-balloon-map has it.
 * @vm: the VM
 * @id: only that of this RAM block; NULL for all
 * @bytes: where to put it
 * @error: set as by vm_execute()
 */
bool life_map_bytes(Vm *vm, const char *id, uint64_t *bytes, GError **error);

/**
 * life_check_map: check that the map holds as much as query-balloon says.
 * @life: the life
 * @ballooned: how much that has to be, about
 * @error: set if not
 */
bool life_check_map(Life *life, uint64_t ballooned, GError **error);

/**
 * life_map_empty: check that nothing is in the map. After a reset, what
 * query-balloon says stays as it was until a driver is there, as in unmodified
 * QEMU.
 * @life: the life
 * @error: set if something is
 */
bool life_map_empty(Life *life, GError **error);

/**
 * life_check_gone: check that query-balloon and the map know of no balloon.
 * @life: the life
 * @error: set if they do
 */
bool life_check_gone(Life *life, GError **error);

/**
 * life_start: start the next QEMU and a slow migration to it.
 * @life: the life
 * @error: set if any of it fails
 */
bool life_start(Life *life, GError **error);

/**
 * life_sent: wait until that migration has sent so much.
 * @life: the life
 * @bytes: that much
 * @error: set if it sends nothing, or is over
 */
bool life_sent(Life *life, uint64_t bytes, GError **error);

/**
 * life_sent_once: wait until that migration has looked at all memory once.
 * @life: the life
 * @error: set if it sends nothing, or is over
 */
bool life_sent_once(Life *life, GError **error);

/**
 * life_arrive: let that migration end, as fast as can be; the guest is where
 * it went, and its source is gone. The guest need not run.
 * @life: the life
 * @error: set if it fails
 */
bool life_arrive(Life *life, GError **error);

/**
 * life_hop: migrate a guest that goes on, check it and the map, which is to
 * be the same, and what was skipped.
 * @life: the life
 * @ballooned: how much is in the balloon
 * @error: set if any of it is wrong
 */
bool life_hop(Life *life, uint64_t ballooned, GError **error);

/**
 * life_say: give the guest a command and wait for the answer, for which there
 * is no use.
 * @life: the life
 * @command: the command
 * @error: as for guest_command()
 */
bool life_say(Life *life, const char *command, GError **error);

/**
 * life_human: a command of the human monitor.
 * @vm: the VM
 * @command: the command
 * @error: set as by vm_execute()
 *
 * Returns: its answer; the caller frees it. NULL on failure.
 */
char *life_human(Vm *vm, const char *command, GError **error);

/* The cases; each is in the file of its name. */
void life_power_add(void);
void life_kexec_add(void);
void life_oom_add(void);
void life_snapshot_add(void);
void life_swap_add(void);
void life_dimm_add(void);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Life, life_end)

#endif /* SKIP_BALLOON_TEST_LIFE_H */
