/*
 * Balloon map: the balloon bitmaps of all RAM blocks
 *
 * What the guest gave back through virtio-balloon; and what is owed: given back
 * while nothing could be discarded, and not in the map yet.  The balloon device
 * keeps it up to date.  Whether the host has memory for a page it does not say.
 * Migration reads it, sends it along, and never changes it on the source.  All
 * functions must be called with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_BALLOON_MAP_H
#define MIGRATION_BALLOON_MAP_H

#include "exec/cpu-common.h"
#include "exec/hwaddr.h"
#include "migration/skip/page-run.h"
#include "qemu/typedefs.h"

typedef struct BalloonMap BalloonMap;

/**
 * balloon_map_new: Start to keep a balloon map, for a device being realized
 * @vdev: the virtio-balloon device; there can be one at a time
 *
 * Returns: the map, which belongs to the device
 */
BalloonMap *balloon_map_new(VirtIODevice *vdev);

/**
 * balloon_map_free: Drop the balloon map, for the device being unrealized
 */
void balloon_map_free(BalloonMap *map);

/**
 * balloon_map_get: The map of the virtio-balloon device, or NULL
 *
 * All functions that are not given a map use this one.
 */
BalloonMap *balloon_map_get(void);

/**
 * balloon_map_device: The virtio-balloon device, or NULL
 */
VirtIODevice *balloon_map_device(void);

/**
 * balloon_map_is_enforced: Is property "enforce" of the device on?
 */
bool balloon_map_is_enforced(void);

/**
 * balloon_map_rest: Somebody else is about to use a userfaultfd for guest RAM
 *
 * What is in the map is not enforced until that is over.
 */
void balloon_map_rest(void);

/**
 * balloon_map_pinned: A device needs guest memory to stay where it is
 * @on: whether it has begun to, and is about to have the kernel pin memory,
 *      which fails if nobody but a userfaultfd could populate that
 *
 * Without the BQL nothing is done.
 */
void balloon_map_pinned(bool on);

/**
 * balloon_map_takes_parts: May pages be discarded later than they are given
 * back: when the rest of their huge page is, or when discarding is possible?
 * @map: the balloon map; NULL if there is no device
 *
 * Only of a driver that negotiated MUST_TELL_HOST.  Any other may use a page
 * again before it tells, and would lose what it wrote.
 */
bool balloon_map_takes_parts(const BalloonMap *map);

/**
 * balloon_map_inhibited: Must nothing be discarded for the guest now?
 *
 * So it is while postcopy arrives, while a background snapshot is taken, and
 * while a device needs guest memory to stay where it is.
 */
bool balloon_map_inhibited(void);

/**
 * balloon_map_hold: Put off discarding what can be owed, or stop to do so
 * @on: whether to put it off; calls are not counted
 *
 * What the guest gives back meanwhile is owed, and discarded by the main loop
 * at once when this is over.  What cannot be owed, since the driver did not
 * negotiate MUST_TELL_HOST, or reported it to be free, is discarded all the
 * same: balloon_map_discards() tells.
 */
void balloon_map_hold(bool on);

/**
 * balloon_map_can_discard: Can the host let go of memory of a RAM block?
 *
 * It cannot if the memory is locked, but for shared memory of a file, and for
 * huge pages.
 */
bool balloon_map_can_discard(const RAMBlock *rb);

/**
 * balloon_map_discards_failed: Did all that was tried for the balloon fail?
 *
 * So there is nothing in the map though the guest gave something back.
 */
bool balloon_map_discards_failed(void);

/**
 * balloon_map_inflate: Discard memory that the guest gave back
 * @map: the balloon map
 * @rb: the RAM block
 * @offset: offset in the block, in bytes
 * @length: bytes
 *
 * @offset and @length are multiples of the page size of @rb or, if
 * balloon_map_takes_parts(), of a balloon page.  Parts of huge pages enter the
 * map like others.  A huge page is discarded when all of it has come to be in
 * the map, by whatever calls and in whatever order, here or on the host that
 * the guest came from; and when one call names all of it.
 *
 * If balloon_map_inhibited(), nothing is discarded now, and the map stays as it
 * is.  If moreover balloon_map_takes_parts(), the pages are owed: for those
 * that have not been taken back by then, this is done when it is over.
 *
 * What cannot be discarded is not in the map then.  An error has been reported
 * already, and the guest need not care.
 */
void balloon_map_inflate(BalloonMap *map, RAMBlock *rb, ram_addr_t offset,
                         size_t length);

/**
 * balloon_map_report: Discard memory that the guest reported to be free
 * @map: the balloon map
 * @rb: the RAM block
 * @offset: offset in the block, in bytes, a multiple of the page size of @rb
 * @length: bytes, a multiple of the page size of @rb
 *
 * It does not enter the map: the guest may use it without telling.  For the
 * same reason the caller has to see to it that discarding is not inhibited:
 * this could not be made up for.  Errors are as of balloon_map_inflate().
 */
void balloon_map_report(BalloonMap *map, RAMBlock *rb, ram_addr_t offset,
                        size_t length);

/**
 * balloon_map_deflate: Note that the guest takes memory back
 * @map: the balloon map
 * @mr: RAM memory region
 * @offset: offset in the region, in bytes
 * @length: bytes
 *
 * The rest of a huge page stays in the map, and giving back again what was
 * taken back is enough for it to be discarded again.  Whether discarding is
 * inhibited makes no difference.
 */
void balloon_map_deflate(BalloonMap *map, MemoryRegion *mr, hwaddr offset,
                         size_t length);

/**
 * balloon_map_reset: Empty the map: whatever runs in the guest next does not
 * know of the pages that its predecessor gave back.  Nothing is owed then.
 * @map: the balloon map; nothing happens if it is NULL
 */
void balloon_map_reset(BalloonMap *map);

/**
 * balloon_map_take_out: Take out of the map what the guest has accessed
 * @rb: the RAM block, which need not exist any more
 * @start: first balloon page
 * @end: the balloon page after the last one
 * @first: set to the first page that was in it, if any was
 *
 * For enforcement, which goes on to notice accesses to it.
 *
 * Returns: how many pages of these were in the map
 */
uint64_t balloon_map_take_out(RAMBlock *rb, uint64_t start, uint64_t end,
                              uint64_t *first);

/**
 * balloon_map_discards: How often memory has been discarded for the guest
 *
 * Nothing has been discarded in between if two answers are equal.
 */
uint64_t balloon_map_discards(void);

/**
 * balloon_map_changed: How many chunks (see BALLOON_CHUNK_PAGES) changed, and
 * were not taken note of since
 *
 * No lock is needed.
 */
uint64_t balloon_map_changed(void);

/**
 * balloon_map_take_change: Find chunks that changed, and take note of that
 * @rb: the RAM block
 * @start: chunk to start at; set to the first one that changed
 * @end: set to the chunk after the last adjacent one that changed
 *
 * Returns: false if no chunk at or after @start has changed
 */
bool balloon_map_take_change(RAMBlock *rb, uint64_t *start, uint64_t *end);

/**
 * balloon_map_of_block_for_load: The map of a RAM block, to be filled
 * @pages: set to where it is kept how many bits of it are set, which the caller
 *         keeps up to date
 *
 * There has to be a device.
 *
 * Returns: a bit for each balloon page of @rb, owned by the balloon map
 */
unsigned long *balloon_map_of_block_for_load(RAMBlock *rb, uint64_t **pages);

/**
 * balloon_map_of_block: The map of a RAM block
 *
 * Returns: a bit for each balloon page of @rb, owned by the balloon map; NULL
 * if no page of @rb is, or was, in it
 */
const unsigned long *balloon_map_of_block(RAMBlock *rb);

/**
 * balloon_map_pages: How many pages of a RAM block are in the map?
 */
uint64_t balloon_map_pages(RAMBlock *rb);

#endif
