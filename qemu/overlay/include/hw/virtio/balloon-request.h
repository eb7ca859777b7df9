/*
 * Balloon requests, served by runs of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_BALLOON_REQUEST_H
#define HW_VIRTIO_BALLOON_REQUEST_H

#include "exec/cpu-common.h"
#include "hw/virtio/virtio.h"

/* Memory reported to be free that is not discarded yet; empty if all zeroes */
typedef struct BalloonReport {
    RAMBlock *rb;
    ram_addr_t offset;
    size_t size;
} BalloonReport;

/**
 * balloon_request_serve: Serve pages of a request, adjacent ones together
 * @vdev: the balloon device
 * @elem: the request, an array of PFNs
 * @offset: where in the request to start, in bytes; moved on to where to go on
 * @inflate: whether the guest gives the pages back, or takes them
 *
 * Stops at the first page that it leaves to the caller: one of something else
 * than plain RAM or, unless balloon_map_takes_parts(), one that is part of a
 * larger host page.  Needs the BQL.  While discarding is inhibited, nothing is
 * asked of the host.
 *
 * Returns: false if it did nothing, and the page at @offset is the caller's
 */
bool balloon_request_serve(VirtIODevice *vdev, VirtQueueElement *elem,
                           size_t *offset, bool inflate);

/**
 * balloon_report_add: Discard memory that the guest reported to be free,
 * together with what is adjacent to it
 * @report: what was added before, of the same request; may be discarded now
 * @rb: the RAM block
 * @offset: offset in the block, in bytes, a multiple of its page size
 * @size: bytes, a multiple of its page size
 *
 * Needs the BQL.  Errors have been reported, and the guest need not care.
 */
void balloon_report_add(BalloonReport *report, RAMBlock *rb,
                        ram_addr_t offset, size_t size);

/**
 * balloon_report_flush: Discard what is left in @report
 *
 * To be called before the guest is told that its request was served.
 */
void balloon_report_flush(BalloonReport *report);

#endif
