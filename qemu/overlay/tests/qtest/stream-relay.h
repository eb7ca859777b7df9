/*
 * A relay between the source and the destination of a migration
 *
 * There are two kinds of it.  One has a single stream, lets through as many
 * bytes as it is told to, and then holds the stream or cuts it.  The source's
 * end has a small buffer, so that the source cannot be far ahead of what the
 * destination has got.
 *
 * The other one listens in place of the destination, and each connection of the
 * source, such as multifd's, gets one to the destination.  What the source
 * writes is kept until the destination may have it, so that the channels, or
 * the main one, can be as late as a test wants while the source goes on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_STREAM_RELAY_H
#define TESTS_STREAM_RELAY_H

#include "balloon-guest.h"

typedef struct StreamRelay StreamRelay;

/**
 * relay_free: Cut what still goes on, and free the relay
 */
void relay_free(StreamRelay *relay);

/**
 * relay_send: Send a stream to where a destination listens, or as much of it as
 * that takes
 */
void relay_send(const char *path, const uint8_t *bytes, size_t size);

/* ---- A single stream ---- */

/* What positions in the stream are counted from */
typedef enum RelayAnchor {
    RELAY_START,                /* the first byte */
    RELAY_FINAL,                /* the last part of section skip */
    RELAY_EOF,                  /* the byte that ends the state of the guest */
    RELAY_ANCHORS,
} RelayAnchor;

typedef struct RelayPoint {
    RelayAnchor anchor;
    uint64_t offset;            /* bytes let through after the anchor */
} RelayPoint;

/* A point that is never reached */
#define RELAY_NEVER ((RelayPoint) { RELAY_START, UINT64_MAX })

typedef enum RelayDeed {
    RELAY_HOLD,                 /* read nothing, write nothing */
    RELAY_CLOSE,                /* close both ends, with bytes unread */
    RELAY_SHUTDOWN,             /* shut both ends down */
} RelayDeed;

/**
 * relay_new: Make a relay that holds the stream at its first byte
 * @source: gets the other end as file descriptor "relay", for migrate to
 *          fd:relay
 * @dest_socket: where the destination listens; NULL: go nowhere, record
 * @roomy: let the source's end have a large buffer instead
 */
StreamRelay *relay_new(BGuest *source, const char *dest_socket, bool roomy);

/**
 * relay_until: Go on, and do @deed at point @at
 *
 * The relay must hold the stream.
 */
void relay_until(StreamRelay *relay, RelayPoint at, RelayDeed deed);

/**
 * relay_wait: Wait until the relay holds the stream, or is at its end
 *
 * Returns: was the point given to relay_until() reached?
 */
bool relay_wait(StreamRelay *relay);

/**
 * relay_bytes: What was let through so far; the relay must have ended
 */
const GByteArray *relay_bytes(StreamRelay *relay);

/**
 * relay_mark: Where an anchor was found in the stream
 *
 * Returns: -1 if it was not found
 */
int64_t relay_mark(StreamRelay *relay, RelayAnchor anchor);

/* ---- Any number of connections ---- */

typedef enum RelaySpeed {
    RELAY_FREE,
    RELAY_SLOW,                 /* read 3 MiB a second of each at most */
    RELAY_STOP,                 /* do not even read: the source has to wait */
} RelaySpeed;

enum {
    /* What comes in by multifd's channels from now on */
    RELAY_CHANNELS = 1,
    /*
     * The main channel, from the word in the next part of section "skip" on,
     * with the guest running.  What comes before the word, that the channels
     * are synchronized, gets through.
     */
    RELAY_MAIN = 2,
};

/**
 * relay_listen: Listen in place of the destination
 * @dest: the relay takes its place: dest->socket is where it listens then
 */
StreamRelay *relay_listen(BGuest *dest);

void relay_set_speed(StreamRelay *relay, RelaySpeed speed);

/**
 * relay_hold: Keep what the source writes from the destination
 * @what: RELAY_CHANNELS or RELAY_MAIN; 0 lets all through again
 */
void relay_hold(StreamRelay *relay, int what);

/**
 * relay_words: How many parts of section "skip" has the source written,
 * without the guest stopped?
 */
int relay_words(StreamRelay *relay);

/**
 * relay_wait_bytes: Wait until the source has written @bytes, in any channel,
 * after what was waited for before
 * @stop: stop as soon as it has
 */
void relay_wait_bytes(StreamRelay *relay, const void *bytes, size_t size,
                      bool stop);

/**
 * relay_wait_still: Wait until nothing moves any more
 * @in: because the source has to wait for the relay; else since, while
 *      something is being held, the destination has taken all that it gets
 */
void relay_wait_still(StreamRelay *relay, bool in);

#endif
