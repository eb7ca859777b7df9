/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_GUEST_H
#define SKIP_BALLOON_BENCH_DEVICE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/session.h"
#include "qemu/vm.h"

/*
 * The whole of a guest that runs under KVM while its devices are driven from
 * outside: firmware that counts, in 32 bits at this offset in RAM.
 */
#define DEVICE_FIRMWARE_COUNTER 0x7000

/**
 * device_firmware_write: write the firmware into the session's directory.
 * @session: the session
 * @error: set if it cannot be written
 *
 * Returns: the path, NULL on failure; the caller frees it.
 */
char *device_firmware_write(Session *session, GError **error);

#define DEVICE_PAGE UINT64_C(4096)

/* RAM below this is the driver's own: rings and requests. */
#define DEVICE_RAM_START (UINT64_C(4) << 20)

/* How many PFNs a request of Linux has, and how many fit into one of ours. */
#define DEVICE_LINUX_PFNS 256
#define DEVICE_MAX_PFNS (UINT32_C(1) << 17)

/*
 * A guest in which no processor runs, or one that knows nothing of devices: a
 * driver in this process talks to the balloon device, over qtest, and accesses
 * guest RAM through /proc/PID/mem, past QEMU. So QEMU does not know of what is
 * written that it is dirty, which is of no harm before a migration begins: to
 * that all memory is dirty.
 */
typedef struct DeviceGuest DeviceGuest;

/* Pages of guest RAM in the order in which the device is told of them. */
typedef struct DevicePages {
    uint64_t start;             /* offset in RAM of the first, in bytes */
    uint64_t runs;              /* stretches of adjacent pages */
    uint64_t run_pages;         /* length of each */
    uint64_t stride;            /* from one to the next, in pages */
    bool descending;            /* begin with the last page */
} DevicePages;

/**
 * device_page_offset: where a page is.
 * @pages: the pages
 * @i: which of them, from 0, in the order in which the device is told
 *
 * Returns: its offset in RAM, in bytes.
 */
uint64_t device_page_offset(const DevicePages *pages, uint64_t i);

/**
 * device_guest_new: find the RAM of a guest; drive no device yet.
 * @session: the session of the VM
 * @vm: the VM, at the level of devices; has to outlive the guest
 * @memory: of the guest, in bytes
 * @error: set as by vm_execute(), or if its memory cannot be accessed
 *
 * Returns: the guest, NULL on failure; free it with device_guest_free().
 */
DeviceGuest *device_guest_new(Session *session, Vm *vm, uint64_t memory,
                              GError **error);

/**
 * device_guest_free: forget the guest; the VM stays.
 * @guest: the guest, or NULL
 */
void device_guest_free(DeviceGuest *guest);

/**
 * device_guest_drive: start the driver.
 * @guest: the guest
 * @must_tell_host: whether to accept the feature of that name
 * @error: set to SB_ERROR_MISSING if there is no such device or it does not
 *         offer the feature, or as for qtest_out()
 */
bool device_guest_drive(DeviceGuest *guest, bool must_tell_host,
                        GError **error);

/* What memory holds that is used */
#define DEVICE_USED 0x5a

/**
 * device_guest_fill: write one value all over a part of RAM.
 * @guest: the guest
 * @start: offset in RAM, in bytes
 * @length: in bytes
 * @value: of each byte
 * @error: set if it cannot be written to
 */
bool device_guest_fill(DeviceGuest *guest, uint64_t start, uint64_t length,
                       uint8_t value, GError **error);

/**
 * device_guest_read: read RAM.
 * @guest: the guest
 * @start: offset in RAM, in bytes
 * @data: where to put it
 * @length: in bytes
 * @error: set if it cannot be read
 */
bool device_guest_read(DeviceGuest *guest, uint64_t start, void *data,
                       size_t length, GError **error);

/**
 * device_guest_inflate: give pages to the device. Reports to the session's
 * progress.
 * @guest: the guest, with its driver started
 * @pages: which
 * @request_pfns: how many in a request, at most DEVICE_MAX_PFNS
 * @secs: where to put how long the device took, in seconds; or NULL
 * @error: set if the device does not answer, or as for qtest_out()
 */
bool device_guest_inflate(DeviceGuest *guest, const DevicePages *pages,
                          unsigned request_pfns, double *secs,
                          GError **error);

/**
 * device_guest_deflate: take pages back, without writing to them; otherwise
 * like device_guest_inflate().
 * @guest: the guest, with its driver started
 * @pages: which
 * @request_pfns: how many in a request, at most DEVICE_MAX_PFNS
 * @secs: where to put how long the device took, in seconds; or NULL
 * @error: set if the device does not answer, or as for qtest_out()
 */
bool device_guest_deflate(DeviceGuest *guest, const DevicePages *pages,
                          unsigned request_pfns, double *secs,
                          GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DeviceGuest, device_guest_free)

#endif /* SKIP_BALLOON_BENCH_DEVICE_GUEST_H */
