/*
 * A guest's driver of virtio-mem
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_MEM_GUEST_H
#define TESTS_VIRTIO_MEM_GUEST_H

#include "libqtest.h"

/* The slot of the device, on bus 0 of a PC */
#define VM_SLOT 7

/**
 * vm_driver_start: Reset the virtio-mem device and drive it
 */
void vm_driver_start(QTestState *qts);

/**
 * vm_plug: Ask for blocks of memory, or give them back
 * @addr: guest physical address
 * @blocks: how many
 *
 * Returns: true if the device does as it is asked to
 */
bool vm_plug(QTestState *qts, uint64_t addr, uint16_t blocks, bool plug);

/**
 * vm_plugged_size: Bytes that are plugged
 */
uint64_t vm_plugged_size(QTestState *qts);

#endif
