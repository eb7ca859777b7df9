/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_VIRTIO_H
#define BARE_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096u

/* Descriptors and available ring, and from the next page on the used ring */
#define VIRTIO_QUEUE_PAGES 8
#define VIRTIO_PARTS_MAX 3

/* A queue of at most 1024 entries; all members are ours. */
typedef struct VirtioQueue {
    uint16_t registers;
    uint8_t number;
    uint16_t size;
    struct Descriptor *descriptors;
    struct Available *available;
    struct Used *used;
} VirtioQueue;

/* A part of a request: memory that the device reads, or writes to */
typedef struct VirtioPart {
    void *data;
    uint32_t length;
    bool written;
} VirtioPart;

/**
 * virtio_find: find a device on the first PCI bus, and reset it. It is driven
 * as a legacy device, by its I/O ports.
 * @pci_id: device and vendor
 * @registers: where to put its ports
 *
 * Returns: whether there is one.
 */
bool virtio_find(uint32_t pci_id, uint16_t registers);

/**
 * virtio_negotiate: choose features, of those that it has.
 * @registers: of the device
 * @wanted: the features
 *
 * Returns: those of them that it has.
 */
uint32_t virtio_negotiate(uint16_t registers, uint32_t wanted);

/**
 * virtio_start_queue: start one of its queues.
 * @queue: to be filled in
 * @registers: of the device
 * @number: of the queue
 * @memory: VIRTIO_QUEUE_PAGES pages of zeroes
 *
 * Returns: whether there is such a queue.
 */
bool virtio_start_queue(VirtioQueue *queue, uint16_t registers,
                        unsigned number, void *memory);

/**
 * virtio_ready: the driver is ready.
 * @registers: of the device
 */
void virtio_ready(uint16_t registers);

/**
 * virtio_request: make a request, the only one in flight, and wait until it is
 * served.
 * @queue: the queue
 * @parts: its parts
 * @n: how many, at most VIRTIO_PARTS_MAX
 */
void virtio_request(VirtioQueue *queue, const VirtioPart *parts, unsigned n);

#endif /* BARE_VIRTIO_H */
