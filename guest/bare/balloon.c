/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver for virtio-balloon */
#include "balloon.h"

#include "port.h"

#define LEGACY_ID 0x10021af4u
#define REGISTERS 0xc000
#define REG_ACTUAL (REGISTERS + 24)

#define FEATURE_MUST_TELL_HOST 1

#define QUEUES 2
#define QUEUE_INFLATE 0
#define QUEUE_DEFLATE 1

static uint8_t queue_memory[QUEUES][VIRTIO_QUEUE_PAGES * PAGE_SIZE]
    __attribute__((aligned(PAGE_SIZE)));

static VirtioQueue queues[QUEUES];
static uint32_t request[BALLOON_REQUEST_MAX];
static bool must_tell_host;

bool balloon_start(void)
{
    if (!virtio_find(LEGACY_ID, REGISTERS)) {
        return false;
    }
    must_tell_host = virtio_negotiate(REGISTERS, FEATURE_MUST_TELL_HOST);
    for (unsigned i = 0; i < QUEUES; i++) {
        if (!virtio_start_queue(&queues[i], REGISTERS, i, queue_memory[i])) {
            return false;
        }
    }
    virtio_ready(REGISTERS);
    return true;
}

bool balloon_must_tell_host(void)
{
    return must_tell_host;
}

static void make_request(VirtioQueue *queue, const uint32_t *numbers,
                         unsigned count)
{
    const VirtioPart part = {
        .data = request,
        .length = count * sizeof(request[0]),
    };

    for (unsigned i = 0; i < count; i++) {
        request[i] = numbers[i];
    }
    virtio_request(queue, &part, 1);
}

void balloon_inflate(const uint32_t *numbers, unsigned count)
{
    make_request(&queues[QUEUE_INFLATE], numbers, count);
}

void balloon_deflate(const uint32_t *numbers, unsigned count)
{
    make_request(&queues[QUEUE_DEFLATE], numbers, count);
}

void balloon_tell_size(uint32_t count)
{
    port_write32(REG_ACTUAL, count);
}
