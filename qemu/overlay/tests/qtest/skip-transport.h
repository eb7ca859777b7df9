/*
 * A migration of a guest that uses its balloon meanwhile, over anything, and
 * with any capabilities
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_TRANSPORT_H
#define TESTS_SKIP_TRANSPORT_H

#include "balloon-pair.h"

#define CAPABILITIES(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define MULTIFD CAPABILITIES("multifd")

/* For pages of one value each: compressed they are next to nothing. */
#define COMPRESSED_RATE 20000
#define COMPRESSED .first_rate = COMPRESSED_RATE, .rate = COMPRESSED_RATE

/* What the stream goes over */
typedef enum Wire {
    WIRE_UNIX,
    WIRE_TCP,                   /* IPv4, any free port of this host */
    WIRE_FD,                    /* a socket pair, passed by getfd */
    WIRE_EXEC,                  /* cat, through a FIFO */
    WIRE_FILE,                  /* written first, loaded after that */
    WIRE_FILE_OFFSET,           /* the same, not from the start of the file */
    WIRE_CHANNELS,              /* UNIX socket, as argument channels */
} Wire;

#define FILE_OFFSET 12288

typedef struct Transport Transport;

typedef struct TransportCase {
    const char *name;
    Wire wire;
    /* more capabilities for both sides, or NULL; ends with NULL */
    const char *const *capabilities;
    const char *parameters;     /* of both sides, an object in JSON, or NULL */
    const char *args;           /* further arguments for QEMU, or NULL */
    /* Returns false, having skipped the test, where it cannot be done */
    bool (*possible)(void);
    void (*prepare)(Transport *t);  /* before the migration */
    void (*during)(Transport *t);   /* while it is under way */
    void (*check)(Transport *t);    /* after it: was it what it is to be? */
    /*
     * Bytes per second in the first pass, and after it, or 0.  What the guest
     * writes to, 160 pages of nearly nothing but zeroes, has to take more than
     * 0.1 s to send.
     */
    uint64_t first_rate;
    uint64_t rate;
    bool alone;                 /* also with one of our capabilities only */
    bool any_memory;            /* does not care what the memory is: memfd */
} TransportCase;

struct Transport {
    const TransportCase *c;
    int ours;                   /* BP_BALLOON and the like */
    BPair p;
    char *path;                 /* of the socket, FIFO or file */
};

/**
 * transport_start: Start both; the memory of the source is filled, and a part
 * of it given back
 */
Transport *transport_start(const TransportCase *c, BGBackend backend, int ours);

void transport_free(Transport *t);

/**
 * transport_add_cases: Add tests, of all kinds of memory and with either of our
 * capabilities, as each case says
 */
void transport_add_cases(const char *program, const TransportCase *cases,
                         int n);

#endif
