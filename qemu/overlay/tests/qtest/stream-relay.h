/*
 * A relay between the source and the destination of a migration
 *
 * It lets through as many bytes as it is told to, and then holds the stream
 * or cuts it.  The source's end has a small buffer, so that the source cannot
 * be far ahead of what the destination has got.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_STREAM_RELAY_H
#define TESTS_STREAM_RELAY_H

#include "balloon-guest.h"

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

typedef struct StreamRelay StreamRelay;

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
 * Returns: true if it holds it
 */
bool relay_wait(StreamRelay *relay);

/**
 * relay_reached: Was the point given to relay_until() ever reached?
 */
bool relay_reached(StreamRelay *relay);

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

/**
 * relay_free: Cut the stream if it still goes on, and free the relay
 */
void relay_free(StreamRelay *relay);

/**
 * relay_connect: Connect to where a destination listens
 *
 * Returns: the socket
 */
int relay_connect(const char *path);

#endif
