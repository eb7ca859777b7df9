/*
 * Two guests for tests of migration: one runs, and moves to the other
 *
 * The source has a virtual CPU, under TCG, that writes to memory for ever.
 * So a migration in precopy goes on, pass after pass, until the test lets it
 * end, and what the test does in between it does during the migration.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_PAIR_H
#define TESTS_BALLOON_PAIR_H

#include "balloon-guest.h"
#include "balloon-model.h"

/*
 * With these the migration ends only when less than a page is left to send,
 * and there is one always.  Neither may make that nothing at all: QEMU then
 * would not look for pages that were written to.
 */
#define BP_HELD "{ 'downtime-limit': 1000, 'avail-switchover-bandwidth': 2000 }"
#define BP_RELEASED "{ 'downtime-limit': 2000, 'max-bandwidth': 0, "\
                    "'avail-switchover-bandwidth': 1000000000 }"

/* What the stream goes over */
typedef enum BPWire {
    BP_UNIX,
    BP_TCP,                     /* IPv4, any free port of this host */
    BP_FD,                      /* a socket pair, passed by getfd */
    BP_EXEC,                    /* cat, through a FIFO */
    BP_FILE,                    /* written first, loaded after that */
    BP_FILE_OFFSET,             /* the same, not from the start of the file */
    BP_CHANNELS,                /* UNIX socket, as argument channels */
} BPWire;

/* Which of our capabilities are on */
enum {
    BP_BALLOON = 1,
    BP_UNPOPULATED = 2,
    BP_BOTH = BP_BALLOON | BP_UNPOPULATED,
};

typedef struct BPOptions {
    BGBackend backend;
    int skip;                   /* BP_BALLOON and the like */
    BPWire wire;
    /* more capabilities for both sides, or NULL; ends with NULL */
    const char *const *capabilities;
    const char *parameters;     /* of both sides, an object in JSON, or NULL */
    const char *args;           /* further arguments for QEMU, or NULL */
    /*
     * Bytes per second in the first pass, and after it, or 0.  What the guest
     * writes to, 160 pages of nearly nothing but zeroes, has to take more than
     * 0.1 s to send.
     */
    uint64_t first_rate;
    uint64_t rate;
} BPOptions;

typedef struct BPair {
    BPOptions options;
    BGuest *source;
    BGuest *dest;
    BalloonModel *model;
    uint64_t given_back;        /* pages, when the migration starts */
    char *path;                 /* of the socket, FIFO or file */
} BPair;

/**
 * bp_start: Start both; the memory of the source is filled, and a part of it
 * given back
 */
BPair *bp_start(const BPOptions *options);

/**
 * bp_migrate: Start to migrate; it will not end before bp_finish()
 *
 * Then give memory back, take it back, and write to it, whether it has been
 * sent or not, and whether it is in the balloon or not.
 */
void bp_migrate(BPair *p);

/**
 * bp_finish: Let the migration end, and wait for that
 */
void bp_finish(BPair *p);

/**
 * bp_check: Compare memory and balloon map of both sides with the model, look
 * at what was counted, and use the balloon on the destination
 */
void bp_check(BPair *p);

/**
 * bp_free: End both
 */
void bp_free(BPair *p);

/**
 * bp_set_parameters: Set parameters of migration
 * @json: an object
 */
void bp_set_parameters(BGuest *g, const char *json);

/**
 * bp_test_path: What a test is called
 * @program: the name of the program
 * @name: of the case
 *
 * Returns: owned by the caller
 */
char *bp_test_path(const char *program, const char *name, BGBackend backend,
                   int skip);

/**
 * bp_init: Make what bp_start() needs; for main()
 */
void bp_init(void);

/**
 * bp_firmware: The path of the firmware that makes a guest write for ever
 */
const char *bp_firmware(void);

/**
 * bp_wait_until_it_runs: Wait until such a guest has begun to write
 *
 * Without that nothing would hold the migration.
 */
void bp_wait_until_it_runs(BGuest *g);

/**
 * bp_cleanup: Remove what bp_init() made
 */
void bp_cleanup(void);

#endif
