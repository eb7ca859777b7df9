/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver for virtio-balloon by the legacy interface of virtio-pci ("Virtio
 * Over PCI Bus", legacy interface, in the VIRTIO 1.1 specification): registers
 * in an I/O space, a queue given by the number of its page.
 */
#include "balloon.h"

#include <stddef.h>

#include "port.h"

/* PCI: configuration mechanism 1 and the registers that we need */
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_SLOTS 32
#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO_MASTER 5
#define PCI_BAR0 0x10
#define BALLOON_LEGACY_ID 0x10021af4u

/* Where we put BAR 0, and the registers of the legacy interface in it */
#define REGISTERS 0xc000
#define REG_HOST_FEATURES (REGISTERS + 0)
#define REG_GUEST_FEATURES (REGISTERS + 4)
#define REG_QUEUE_PFN (REGISTERS + 8)
#define REG_QUEUE_SIZE (REGISTERS + 12)
#define REG_QUEUE_SELECT (REGISTERS + 14)
#define REG_QUEUE_NOTIFY (REGISTERS + 16)
#define REG_STATUS (REGISTERS + 18)
#define REG_ACTUAL (REGISTERS + 24)

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define FEATURE_MUST_TELL_HOST 1

#define QUEUES 2
#define QUEUE_INFLATE 0
#define QUEUE_DEFLATE 1
#define QUEUE_SIZE_MAX 1024

typedef struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
} Descriptor;

typedef struct Available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[];
} Available;

typedef struct Used {
    uint16_t flags;
    uint16_t index;
} Used;

typedef struct Queue {
    uint8_t number;
    uint16_t size;
    Descriptor *descriptors;
    Available *available;
    Used *used;
} Queue;

/* Descriptors and available ring, and from the next page on the used ring */
#define QUEUE_PAGES 8
static uint8_t queue_memory[QUEUES][QUEUE_PAGES * PAGE_SIZE]
    __attribute__((aligned(PAGE_SIZE)));

static Queue queues[QUEUES];
static uint32_t request[BALLOON_REQUEST_MAX];
static bool must_tell_host;

static uint32_t pci_select(unsigned slot, unsigned reg)
{
    port_write32(PCI_ADDRESS, PCI_ENABLE | slot << 11 | reg);
    return port_read32(PCI_DATA);
}

/* Nobody else has given out any I/O ports on PCI. */
static bool find_device(void)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        if (pci_select(slot, PCI_ID) == BALLOON_LEGACY_ID) {
            pci_select(slot, PCI_BAR0);
            port_write32(PCI_DATA, REGISTERS);
            pci_select(slot, PCI_COMMAND);
            port_write16(PCI_DATA, PCI_COMMAND_IO_MASTER);
            return true;
        }
    }
    return false;
}

/* Where the used ring begins: on a page, after descriptors and available. */
static size_t used_offset(uint16_t size)
{
    size_t first = size * (sizeof(Descriptor) + sizeof(uint16_t)) +
                   3 * sizeof(uint16_t);

    return (first + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

static bool start_queue(unsigned number)
{
    Queue *queue = &queues[number];
    uint8_t *memory = queue_memory[number];

    port_write16(REG_QUEUE_SELECT, number);
    queue->number = number;
    queue->size = port_read16(REG_QUEUE_SIZE);
    if (!queue->size || queue->size > QUEUE_SIZE_MAX) {
        return false;
    }
    queue->descriptors = (Descriptor *)memory;
    queue->available = (Available *)(memory +
                                     queue->size * sizeof(Descriptor));
    queue->used = (Used *)(memory + used_offset(queue->size));
    port_write32(REG_QUEUE_PFN, (uintptr_t)memory / PAGE_SIZE);
    return true;
}

bool balloon_start(void)
{
    uint32_t features;

    if (!find_device()) {
        return false;
    }
    port_write8(REG_STATUS, 0);
    port_write8(REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    features = port_read32(REG_HOST_FEATURES);
    must_tell_host = features & FEATURE_MUST_TELL_HOST;
    port_write32(REG_GUEST_FEATURES,
                 features & FEATURE_MUST_TELL_HOST);
    if (!start_queue(QUEUE_INFLATE) || !start_queue(QUEUE_DEFLATE)) {
        return false;
    }
    port_write8(REG_STATUS,
                STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
    return true;
}

bool balloon_must_tell_host(void)
{
    return must_tell_host;
}

/* One descriptor that the device reads; it is the only one in flight. */
static void make_request(Queue *queue, const uint32_t *numbers,
                         unsigned count)
{
    uint16_t index = queue->available->index;

    for (unsigned i = 0; i < count; i++) {
        request[i] = numbers[i];
    }
    queue->descriptors[0] = (Descriptor) {
        .address = (uintptr_t)request,
        .length = count * sizeof(request[0]),
    };
    queue->available->ring[index % queue->size] = 0;
    index++;
    __atomic_store_n(&queue->available->index, index, __ATOMIC_RELEASE);
    port_write16(REG_QUEUE_NOTIFY, queue->number);
    while (__atomic_load_n(&queue->used->index, __ATOMIC_ACQUIRE) != index) {
        asm volatile("pause" : : : "memory");
    }
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
