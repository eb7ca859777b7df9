/*
 * A guest of any memory layout, ballooned, migrated there and back
 *
 * An MLayout says what its memory is made of; ml_add_layouts() makes a test of
 * it, which changes memory and balloon before and during the migrations, and
 * looks at all that has to hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MEMORY_LAYOUT_H
#define TESTS_MEMORY_LAYOUT_H

#include "qemu/units.h"
#include "host-memory.h"

#define ML_PARTS_MAX 4

/* In MLayout.machine, and args: a file of this QEMU's own */
#define ML_FILE "@FILE@"

/* A machine with 16 MiB of memory from a backend, and slots for DIMMs */
#define MACHINE(machine, backend) \
    "-machine " machine ",memory-backend=ram0 -m 16M,slots=2,maxmem=1G " \
    "-object " backend ",id=ram0,size=16M"

/* All of its memory but what the driver has */
#define MAIN_PART .id = "ram0", .addr = 4 * MiB, .offset = 4 * MiB

/*
 * A part of a RAM block to play with: ML_SLICES slices, each with a fate of
 * its own
 */
typedef struct MLPart {
    const char *id;             /* RAM block */
    uint64_t addr;              /* guest physical address */
    uint64_t offset;            /* the same in the RAM block, in bytes */
    uint64_t unit;              /* bytes that go together; 0: a target page */
    bool stuck;                 /* the host cannot let go of it */
    bool kept;                  /* preallocated: the host has all of it */
    bool stays;                 /* a destination keeps what it populates */
    bool blurred;               /* the host populates neighbours, too */
    bool template;              /* a named file, which migration keeps whole */
    bool full;                  /* a file that holds something everywhere */
    const char *alone;          /* why skip-unpopulated does, or NULL */
} MLPart;

typedef struct MLayout {
    const char *name;
    const char *machine;        /* arguments for machine and main memory */
    const char *ram_id;         /* RAM block at address 0; NULL: ram0 */
    const char *args;           /* more arguments, or NULL */
    const char *source_args;    /* more arguments for the source, or NULL */
    const char *dest_args;      /* for destinations, as what @prepare plugs */
    const char *device_args;    /* properties of the balloon, or NULL */
    void (*prepare)(BGuest *g); /* what to do to the source first, or NULL */
    void (*check)(BGuest *g);   /* more to check of both sides, or NULL */
    const char *dir;            /* where ML_FILE is; NULL: /tmp */
    uint64_t file_size;         /* bytes of it; 0: QEMU makes it, in @dir */
    bool on_hugetlbfs;          /* @dir is one */
    uint64_t huge_bytes;        /* that are on huge pages */
    bool each_alone;            /* each capability alone is tested, too */
    bool by_parts;              /* huge pages are given back by parts */
    MLPart part[ML_PARTS_MAX];  /* ends with one without an id */
} MLayout;

/* Bytes per second: as much as is soon sent, and a page ten times a second */
#define ML_SLOW (24 * MiB)
#define ML_NEXT_TO_NOTHING 10

typedef enum MLMode {
    ML_BALLOON = 1,
    ML_UNPOPULATED = 2,
    ML_BOTH = 3,
} MLMode;

/* The tests that are no layouts */
void add_more_tests(void);

/**
 * ml_start: Start a source, or a destination; see bg_start()
 */
BGuest *ml_start(const MLayout *layout, MLMode mode, bool incoming);

/**
 * ml_quit: End it, and remove its file
 */
void ml_quit(BGuest *g);

/**
 * ml_migrate_begin: Start a migration that is not over before
 * ml_migrate_finish()
 * @bandwidth: bytes per second
 */
void ml_migrate_begin(BGuest *source, BGuest *dest, uint64_t bandwidth);

/**
 * ml_migrate_wait_sent: Let all of it be sent, up to the switchover
 */
void ml_migrate_wait_sent(BGuest *source);

/**
 * ml_migrate_finish: Complete it
 */
void ml_migrate_finish(BGuest *source, BGuest *dest);

/**
 * ml_add_layouts: Add a test for each layout, with both capabilities
 * @layouts: @n of them, static
 */
void ml_add_layouts(const MLayout *layouts, int n);

#endif
