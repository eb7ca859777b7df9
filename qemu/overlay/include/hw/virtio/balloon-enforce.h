/*
 * Enforcement: a guest does not use what it gave back
 *
 * Property "enforce" of virtio-balloon.  The balloon map owns a BalloonEnforce
 * if the property is not off, and tells it what enters the map and leaves it.
 * All functions must be called with the BQL held, and take NULL for one that
 * there is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_BALLOON_ENFORCE_H
#define HW_VIRTIO_BALLOON_ENFORCE_H

#include "exec/cpu-common.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/balloon-map.h"
#include "hw/virtio/virtio.h"
#include "qapi/qapi-types-skip-balloon.h"

typedef struct BalloonEnforce BalloonEnforce;

extern const PropertyInfo qdev_prop_balloon_enforce;

#define DEFINE_PROP_BALLOON_ENFORCE(_name, _state, _field)      \
    DEFINE_PROP_SIGNED(_name, _state, _field, BALLOON_ENFORCE_MODE_OFF, \
                       qdev_prop_balloon_enforce, int)

/**
 * balloon_enforce_new: Begin to enforce what is in the balloon map
 * @vdev: the virtio-balloon device, whose map is empty
 * @mode: what to do about an access
 *
 * Returns: NULL if @mode is off: then nothing is done, not even a system call.
 * If the host cannot do it, a warning has been given, and
 * balloon_enforce_fill_info() tells why.
 */
BalloonEnforce *balloon_enforce_new(VirtIODevice *vdev,
                                    BalloonEnforceMode mode);

/**
 * balloon_enforce_free: End that
 *
 * balloon_enforce_forget() has been called for each RAM block.
 */
void balloon_enforce_free(BalloonEnforce *e);

/**
 * balloon_enforce_drain: Have accesses noted that the guest has made so far
 *
 * To be called before the map is changed, so that whatever was accessed before
 * is held against the map as it was.  The pages leave the map.
 */
void balloon_enforce_drain(BalloonEnforce *e);

/**
 * balloon_enforce_add: Notice accesses to pages from now on
 * @rb: the RAM block
 * @start: first balloon page
 * @end: the balloon page after the last one; both of whole pages of the host
 *
 * To be called before they are discarded: an access to what is populated is
 * not noticed.
 */
void balloon_enforce_add(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                         uint64_t end);

/**
 * balloon_enforce_remove: Leave pages to the guest
 * @rb: the RAM block
 * @start: first balloon page
 * @end: the balloon page after the last one
 *
 * To be called before they leave the map.  Affects the pages of the host that
 * they lie in.
 */
void balloon_enforce_remove(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                            uint64_t end);

/**
 * balloon_enforce_forget: A RAM block goes
 */
void balloon_enforce_forget(BalloonEnforce *e, RAMBlock *rb);

/**
 * balloon_enforce_rest: Somebody else needs a userfaultfd for guest memory
 *
 * Nothing is registered any more, and is again when that is over.
 */
void balloon_enforce_rest(BalloonEnforce *e);

/* Balloon pages of a RAM block */
typedef struct BalloonEnforceCounts {
    uint64_t whole;             /* in pages of the host that are in the map */
    uint64_t enforced;
} BalloonEnforceCounts;

/**
 * balloon_enforce_count: Count what is enforced of a piece of a RAM block
 * @rb: the RAM block
 * @start: first balloon page
 * @end: the balloon page after the last one; both of whole pages of the host
 * @counts: what is added to
 */
void balloon_enforce_count(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                           uint64_t end, BalloonEnforceCounts *counts);

/**
 * balloon_enforce_fill_info: Tell what is enforced of a RAM block
 * @rb: the RAM block
 * @counts: all of it, counted
 * @info: what query-balloon-map tells of it
 */
void balloon_enforce_fill_info(BalloonEnforce *e, RAMBlock *rb,
                               const BalloonEnforceCounts *counts,
                               BalloonMapInfo *info);

#endif
