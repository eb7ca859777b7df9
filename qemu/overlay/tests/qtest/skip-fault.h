/*
 * Faults during a migration: a guest, its destinations, and what has to hold
 *
 * A world is a guest that goes from one QEMU to the next, through all cases.
 * Its model knows what its memory has to hold.  Each test gets it by
 * world_get(), and each case begins with world_prepare().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_FAULT_H
#define TESTS_SKIP_FAULT_H

#include "qemu/units.h"
#include "balloon-model.h"
#include "stream-relay.h"

/* What the guest does with its memory, before each migration */
#define FAULT_RAM_SIZE (16 * MiB)
#define USED_START BG_RAM_START
#define BALLOON_START (8 * MiB)
#define FRESH_START (14 * MiB)

/* When the guest works: in the middle of the first pass over memory */
#define WORK_POINT ((RelayPoint) { RELAY_START, 3 * MiB / 2 })

typedef struct World {
    BGOptions options;
    BGuest *source;             /* NULL if there is none any more */
    BalloonModel *model;
    /* Where things are in its stream: the first part of section skip, ... */
    uint64_t setup_start;
    uint64_t setup_end;
    uint64_t final;             /* RELAY_FINAL */
    uint64_t eof;               /* RELAY_EOF */
    uint64_t end;
} World;

/* The world of a backend, whose stream has been measured */
World *world_get(BGBackend backend, bool stock);
void worlds_free(void);

/*
 * Record the stream of a migration, and note what is where.  The source ends
 * with it.
 */
GByteArray *world_record(World *w);

/* Where the part of section skip that begins at @start ends, with its footer */
uint64_t world_section_end(const GByteArray *stream, uint64_t start);

/* Have a running guest with the memory that each case begins with. */
void world_prepare(World *w);

/* What the guest does while it is migrated, once in a migration */
void world_work(World *w);

/* What it does after a fault */
void world_small_work(World *w);

/* End the source, if there is one. */
void world_end(World *w);

/* @dest is the running guest from now on; ends the source. */
void world_succeed(World *w, BGuest *dest);

/* @g has the memory and the map that the test knows; a destination read none */
void world_check(World *w, BGuest *g, bool is_dest);

/*
 * Migrate the guest to @dest at once, with all checks; it is the running guest
 * then.  With @plain both capabilities are off, which what earlier migrations
 * have found out must have no effect on, and the guest ends.
 */
void world_onward(World *w, BGuest *dest, bool plain);

/* Start a destination; @ram_file is its memory, NULL: the same as the source */
BGuest *dest_new(World *w, const char *ram_file);

/* Wait until @dest ends by itself, with a message, and free it. */
void dest_wait_failed(BGuest *dest);

/* Wait until @dest runs the guest. */
void dest_wait_completed(World *w, BGuest *dest);

void guest_quit(BGuest *g);

/* Start to migrate, all that a case needs being set. */
void source_migrate(World *w, const char *uri, bool return_path);

/*
 * Wait until the migration has ended, in whatever way, and another one may be
 * started.  Returns its status, owned by the caller.
 */
char *source_settle(BGuest *g);

/* No space where it goes, and streams that were changed */
void add_place_tests(void);

#endif
