/*
 * Drop memory of the destination: make it read as zero, letting go of it where
 * that can be done
 *
 * Asked for anew is what the host has memory for; the rest reads as zero.
 *
 * A file that is mapped privately is never changed, unless QEMU made it itself
 * (a memfd, or a file in the directory that mem-path names): it is a template,
 * which is not the guest's, and others may use it, too.  (Unmodified QEMU
 * changes it when the guest inflates its balloon, and when postcopy begins.)
 *
 * All functions need the BQL, unless they say otherwise.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_DROP_H
#define MIGRATION_SKIP_DROP_H

#include "exec/cpu-common.h"

/* Why memory is dropped; decides what is let go of. */
typedef enum SkipDropReason {
    /*
     * The guest gave it back.  It is let go of even if it was preallocated, as
     * it is when the guest inflates its balloon.
     */
    SKIP_DROP_GIVEN_BACK,
    /* It holds what is out of date.  Preallocated memory stays populated. */
    SKIP_DROP_STALE,
    /*
     * It is memory of virtio-mem that is not plugged.  It must not be
     * populated, and what cannot be let go of must be zero already.
     */
    SKIP_DROP_UNPLUGGED,
} SkipDropReason;

typedef struct SkipDrop SkipDrop;

/**
 * skip_drop_lets_go: Can, and may, memory of @rb that is out of date be let go
 * of?
 */
bool skip_drop_lets_go(RAMBlock *rb);

/**
 * skip_drop_stays_populated: Is memory of @rb to be kept populated?
 *
 * It is if it was preallocated; virtio-mem may want that, too.
 */
bool skip_drop_stays_populated(const RAMBlock *rb);

/**
 * skip_drop_new: Prepare to drop memory of @rb
 *
 * Its memory region is referenced as long as the drop is there.
 *
 * Returns: the drop, owned by the caller
 */
SkipDrop *skip_drop_new(RAMBlock *rb);

/**
 * skip_drop_free: Free @drop; NULL is allowed
 */
void skip_drop_free(SkipDrop *drop);

/**
 * skip_drop_block: The RAM block that @drop is for
 *
 * Returns: NULL if it was unplugged, or resized; @drop is of no use then
 */
RAMBlock *skip_drop_block(const SkipDrop *drop);

/**
 * skip_drop_look_again: Forget what the host said before
 *
 * To be called before each use behind which memory may have been populated:
 * whenever others had a turn, or the stream was read.
 */
void skip_drop_look_again(SkipDrop *drop);

/**
 * skip_drop_find: Look for something to drop, as far as one question goes
 * @start: in bytes, a multiple of 4096
 * @end: the same; more than @start, and no more than the length in use
 *
 * Returns: up to where there is nothing; @start if there may be something
 */
uint64_t skip_drop_find(SkipDrop *drop, uint64_t start, uint64_t end);

/**
 * skip_drop_step: Drop a piece of memory, of as much as takes a millisecond or
 * two
 * @reason: why
 * @start: in bytes, a multiple of 4096
 * @end: the same; no more than the length in use
 * @next: set to how far it came, more than @start and at most @end
 *
 * Returns: 1 if there may have been something in [@start, @next), 0 if there
 * was nothing; -ENOENT if the RAM block was unplugged or resized; or a negative
 * errno, see SKIP_DROP_UNPLUGGED
 */
int skip_drop_step(SkipDrop *drop, SkipDropReason reason, uint64_t start,
                   uint64_t end, uint64_t *next);

/**
 * skip_drop_page: Let go of a page that holds what is out of date
 * @offset: in bytes
 * @size: of a page of the target
 *
 * May be called by any thread that loads.
 *
 * Returns: false if it cannot be let go of
 */
bool skip_drop_page(RAMBlock *rb, uint64_t offset, uint64_t size);

#endif
