/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_DISK_H
#define BARE_DISK_H

#include <stdbool.h>
#include <stdint.h>

/**
 * disk_start: find a virtio-blk device and drive it.
 *
 * Returns: whether there is one.
 */
bool disk_start(void);

/**
 * disk_read: have it read from its beginning.
 * @where: where to put what it reads
 * @length: bytes, a multiple of 512
 *
 * Returns: whether it did so.
 */
bool disk_read(void *where, uint32_t length);

#endif /* BARE_DISK_H */
