/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver for virtio-blk, which reads */
#include "disk.h"

#include "virtio.h"

#define LEGACY_ID 0x10011af4u
#define REGISTERS 0xc100
#define NOT_DONE 0xff

static uint8_t queue_memory[VIRTIO_QUEUE_PAGES * PAGE_SIZE]
    __attribute__((aligned(PAGE_SIZE)));
static VirtioQueue queue;

bool disk_start(void)
{
    if (!virtio_find(LEGACY_ID, REGISTERS)) {
        return false;
    }
    virtio_negotiate(REGISTERS, 0);
    if (!virtio_start_queue(&queue, REGISTERS, 0, queue_memory)) {
        return false;
    }
    virtio_ready(REGISTERS);
    return true;
}

bool disk_read(void *where, uint32_t length)
{
    /* Type 0: read; from sector 0 */
    static struct {
        uint32_t type;
        uint32_t reserved;
        uint64_t sector;
    } header;
    static uint8_t status;
    const VirtioPart parts[] = {
        { &header, sizeof(header), false },
        { where, length, true },
        { &status, sizeof(status), true },
    };

    status = NOT_DONE;
    virtio_request(&queue, parts, sizeof(parts) / sizeof(parts[0]));
    return !status;
}
