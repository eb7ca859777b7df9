/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_BALLOON_H
#define BARE_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio.h"

/* As many pages as one request may name; Linux has 256 at a time. */
#define BALLOON_REQUEST_MAX 256

/**
 * balloon_start: find the virtio-balloon device on the first PCI bus and
 * drive it as a legacy device, by its I/O ports.
 *
 * Returns: whether there is one.
 */
bool balloon_start(void);

/**
 * balloon_must_tell_host: whether the host wants to be told before memory is
 * used again.
 */
bool balloon_must_tell_host(void);

/**
 * balloon_inflate: give pages back and wait until the host has taken them.
 * @numbers: the pages by number
 * @count: how many, at most BALLOON_REQUEST_MAX
 */
void balloon_inflate(const uint32_t *numbers, unsigned count);

/**
 * balloon_deflate: take pages back and wait until the host has been told.
 * @numbers: the pages by number
 * @count: how many, at most BALLOON_REQUEST_MAX
 */
void balloon_deflate(const uint32_t *numbers, unsigned count);

/**
 * balloon_tell_size: tell the host how much memory the balloon holds.
 * @count: pages
 */
void balloon_tell_size(uint32_t count);

#endif /* BARE_BALLOON_H */
