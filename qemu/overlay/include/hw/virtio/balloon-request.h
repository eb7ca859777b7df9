/*
 * Balloon requests, served by runs of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_BALLOON_REQUEST_H
#define HW_VIRTIO_BALLOON_REQUEST_H

#include "hw/virtio/virtio.h"

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

#endif
