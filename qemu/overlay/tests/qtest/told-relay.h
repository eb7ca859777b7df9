/*
 * A relay between the source and the destination of a migration, for all of its
 * channels
 *
 * Each connection of the source gets one to the destination.  What the source
 * writes is kept until the destination may have it, so that a channel, or the
 * main one, can be as late as a test wants it to be while the source goes on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_TOLD_RELAY_H
#define TESTS_TOLD_RELAY_H

#include "balloon-guest.h"

typedef struct ToldRelay ToldRelay;

/**
 * told_relay_new: Listen in place of the destination
 * @dest: the relay takes its place: dest->socket is where it listens then
 */
ToldRelay *told_relay_new(BGuest *dest);

/**
 * told_relay_free: Cut what is still connected
 */
void told_relay_free(ToldRelay *r);

/**
 * told_relay_hold_channels: Let nothing through that comes in by multifd's
 * channels from now on; or all of it
 */
void told_relay_hold_channels(ToldRelay *r, bool hold);

/**
 * told_relay_hold_main: Let nothing through of the main channel from the word
 * in the next part of section "skip" on, with the guest running; or all of it
 *
 * What comes before the word, that the channels are synchronized, gets through.
 */
void told_relay_hold_main(ToldRelay *r, bool hold);

/**
 * told_relay_stop: Do not even read, so that the source has to wait; or go on
 */
void told_relay_stop(ToldRelay *r, bool stop);

/**
 * told_relay_slow: Read 3 MiB a second of each connection at most; or go on
 */
void told_relay_slow(ToldRelay *r, bool slow);

/**
 * told_relay_stop_at: Go on to read, and stop once the source has written
 * @bytes; wait for that
 *
 * The destination gets all that has been read.
 */
void told_relay_stop_at(ToldRelay *r, const void *bytes, size_t size);

/**
 * told_relay_words: How many parts of section "skip" has the source written,
 * without the guest stopped?
 */
int told_relay_words(ToldRelay *r);

/**
 * told_relay_wait_words: Wait until it has written @n
 */
void told_relay_wait_words(ToldRelay *r, int n);

/**
 * told_relay_wait_bytes: Wait until the source has written @bytes, in any
 * channel
 */
void told_relay_wait_bytes(ToldRelay *r, const void *bytes, size_t size);

/**
 * told_relay_settle: Wait until the destination has taken all that it is going
 * to take, while something is being held
 */
void told_relay_settle(ToldRelay *r);

/**
 * told_relay_wait_stuck: Wait until the source has to wait for the relay
 */
void told_relay_wait_stuck(ToldRelay *r);

#endif
