/*
 * Faults during a migration: a guest, its destinations, and what has to hold
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_FAULT_H
#define TESTS_SKIP_FAULT_H

#include "balloon-model.h"
#include "stream-relay.h"

#define MiB (UINT64_C(1) << 20)

/* What the guest does with its memory, before each migration */
#define FAULT_RAM_SIZE (16 * MiB)
#define USED_START BG_RAM_START
#define BALLOON_START (8 * MiB)
#define FRESH_START (14 * MiB)

/* When the guest works: in the middle of the first pass over memory */
#define WORK_POINT ((RelayPoint) { RELAY_START, 3 * MiB / 2 })

/* More bytes than that work makes QEMU send in the end, the guest stopped */
#define WORK_BYTES (2 * MiB)

/* Where in the stream things are, all but the first as of RELAY_START */
typedef struct FaultLayout {
    uint64_t setup_start;       /* first part of section skip */
    uint64_t setup_end;
    uint64_t final;             /* RELAY_FINAL */
    uint64_t eof;               /* RELAY_EOF */
    uint64_t end;
} FaultLayout;

typedef struct FaultWorld {
    BGOptions options;
    BGuest *source;             /* NULL if there is none any more */
    BalloonModel *model;
    FaultLayout layout;
} FaultWorld;

/**
 * world_new: A guest to come, and a measured stream of it
 * @stock: unmodified QEMU, which skips nothing
 */
FaultWorld *world_new(BGBackend backend, bool stock);

void world_free(FaultWorld *w);

/**
 * world_record: Record the stream of a migration, and note its layout; the
 * source ends with it
 */
GByteArray *world_record(FaultWorld *w);

/**
 * world_prepare: Have a running guest with the memory that each case begins
 * with
 */
void world_prepare(FaultWorld *w);

/**
 * world_work: What the guest does while it is migrated, once in a migration
 */
void world_work(FaultWorld *w);

/**
 * world_small_work: What it does after the fault
 */
void world_small_work(FaultWorld *w);

/**
 * world_lose: The source is dead; forget it
 */
void world_lose(FaultWorld *w);

/**
 * world_succeed: @dest is the running guest from now on; ends the source
 */
void world_succeed(FaultWorld *w, BGuest *dest);

/**
 * world_check: Has @g the memory and the map that the test knows?
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *world_check(FaultWorld *w, BGuest *g);

/**
 * world_check_dest: The same of a destination, which has read nothing
 */
char *world_check_dest(FaultWorld *w, BGuest *g);

/**
 * world_onward: Migrate the guest to @dest at once, with all checks; it is the
 * running guest then
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *world_onward(FaultWorld *w, BGuest *dest);

/**
 * world_onward_plain: The same with both capabilities off; the guest ends
 *
 * What an earlier migration has found out must not have an effect on it.
 */
char *world_onward_plain(FaultWorld *w, BGuest *dest);

/**
 * dest_new: Start a destination
 * @ram_file: what to use as its memory; NULL: the same as the source
 */
BGuest *dest_new(FaultWorld *w, const char *ram_file);

/**
 * dest_wait_failed: Wait until @dest ends by itself, with a message, and free
 * it
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *dest_wait_failed(BGuest *dest);

/**
 * dest_wait_completed: Wait until @dest runs the guest
 */
char *dest_wait_completed(FaultWorld *w, BGuest *dest);

/**
 * guest_quit: End a QEMU, and free it
 */
void guest_quit(BGuest *g);

/**
 * guest_kill: Kill a QEMU, without its knowing, and free it
 */
void guest_kill(BGuest *g);

/**
 * guest_reap: Wait until a QEMU has ended, and free it
 * @status: as of waitpid()
 *
 * Returns: false if it does not end; it is killed then
 */
bool guest_reap(BGuest *g, int *status);

/**
 * source_migrate: Start to migrate, all that a case needs being set
 */
void source_migrate(FaultWorld *w, const char *uri, bool return_path);

/**
 * source_settle: Wait until the migration has ended, in whatever way, and
 * another one may be started
 *
 * Returns: its status, owned by the caller
 */
char *source_settle(BGuest *g);

/**
 * vm_status: Member status of query-status, owned by the caller
 */
char *vm_status(BGuest *g);

/**
 * blame: Keep the first of several things that are wrong
 *
 * Returns: true if something is wrong by now
 */
bool blame(char **wrong, char *what);


/**
 * check_vm_status: Is the guest what it has to be?
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *check_vm_status(BGuest *g, const char *expected);

/**
 * report_case: Tell of a case that failed, and clean up behind it
 * @wrong: what is wrong, taken; NULL if nothing is
 */
void report_case(FaultWorld *w, const char *name, char *wrong, int *failed);

/**
 * finish_group: Let the test fail if cases of it did
 */
void finish_group(int failed, int n);

/* Groups of cases in files of their own */
void add_place_tests(void);
void add_stream_tests(void);

#endif
