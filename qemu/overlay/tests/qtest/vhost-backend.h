/*
 * The back end of a vhost-user network device, in this process
 *
 * It moves no packets.  It writes to memory of the guest when a test wants it
 * to, as one does that receives, and logs what it wrote when the test wants it
 * to, as one does whose writes take their time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VHOST_BACKEND_H
#define TESTS_VHOST_BACKEND_H

/* What a bit of the log is for, in bytes */
#define VB_PAGE UINT64_C(4096)

typedef struct VhostBackend VhostBackend;

/**
 * VBStopFunc: QEMU stops a ring, and waits until this returns.  What has been
 * written and logged by then has to be migrated.  Called in a thread of the
 * back end.
 * @ring: its number
 */
typedef void VBStopFunc(VhostBackend *b, unsigned int ring, void *opaque);

/**
 * vb_new: Wait, in a thread, for a QEMU to connect
 * @at_stop: called when QEMU stops a ring; NULL if there is nothing to do
 * @opaque: for @at_stop
 */
VhostBackend *vb_new(VBStopFunc *at_stop, void *opaque);

/**
 * vb_free: End it; its QEMU has ended before
 */
void vb_free(VhostBackend *b);

/**
 * vb_socket: Where it waits for QEMU; owned by @b
 */
const char *vb_socket(VhostBackend *b);

/**
 * vb_wait_started: Wait until QEMU has started all rings
 */
void vb_wait_started(VhostBackend *b);

/**
 * vb_logs: Has QEMU told it to log what it writes?
 */
bool vb_logs(VhostBackend *b);

/**
 * vb_write: Write a page of guest memory, without logging that.  Any thread may
 * do so.
 * @addr: guest physical address, aligned to VB_PAGE
 * @data: a page
 */
void vb_write(VhostBackend *b, uint64_t addr, const void *data);

/**
 * vb_log: Log that a page was written, if it is to log anything.  Any thread
 * may do so.
 * @addr: guest physical address
 */
void vb_log(VhostBackend *b, uint64_t addr);

/**
 * vb_is_logged: Does the log say that a page was written?  QEMU has collected
 * it since if it does not.
 */
bool vb_is_logged(VhostBackend *b, uint64_t addr);

#endif
