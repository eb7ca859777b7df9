/*
 * A guest of any memory layout, ballooned, migrated there and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_MEMORY_LAYOUT_H
#define TESTS_MEMORY_LAYOUT_H

#include "qemu/units.h"
#include "balloon-guest.h"

#define ML_PARTS_MAX 4

/* In MLayout.machine, and args: a file of this QEMU's own */
#define ML_FILE "@FILE@"

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
    void (*compare)(BGuest *a, BGuest *b);  /* more to compare, or NULL */
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

enum {
    ML_LIVE,                    /* the guest uses it */
    ML_SENT_TAKEN_BACK,         /* sent, given back, skipped, taken back */
    ML_GIVEN,                   /* given back before the migration */
    ML_TAKEN_BACK,              /* ... and half of it used again */
    ML_LIED,                    /* ... and a page used without telling */
    ML_GIVEN_LATER,             /* sent, or not, and then given back */
    ML_SENT_BOTH,               /* sent, given back and taken back at once */
    ML_SENT_LIED,               /* sent, given back, a page used */
    ML_UNTOUCHED,
    ML_SLICES,
};

typedef struct MLGuest {
    BGuest *g;
    char *file;                 /* NULL if there is none */
    char *machine;
    char *args;
} MLGuest;

/* Parts of skip-memory-test */
void add_device_tests(void);
void add_hint_tests(void);

/**
 * ml_start: Start a source, or a destination; see bg_start()
 */
MLGuest *ml_start(const MLayout *layout, bool incoming);

/**
 * ml_quit: End it, and remove its file
 */
void ml_quit(MLGuest *m);

/**
 * ml_slice: Bytes of a slice of @part
 */
uint64_t ml_slice(const MLPart *part);

/**
 * ml_addr: Guest physical address of a slice of @part
 */
uint64_t ml_addr(const MLPart *part, int slice);

/**
 * ml_set_mode: Set the capabilities of @g
 */
void ml_set_mode(BGuest *g, MLMode mode);

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
 * ml_add_layouts: Add tests that ml_run() layouts, each with both capabilities
 * @layouts: @n of them, static
 */
void ml_add_layouts(const MLayout *layouts, int n);

/**
 * ml_run: Balloon a guest of @layout, migrate it there and back, change
 * memory and balloon before and during that, and look at all that has to hold
 */
void ml_run(const MLayout *layout, MLMode mode);

#endif
