/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives virtio devices by the legacy interface of virtio-pci ("Virtio Over PCI
 * Bus", legacy interface, in the VIRTIO 1.1 specification): registers in an I/O
 * space, a queue given by the number of its page.
 */
#include "virtio.h"

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

/* The registers of the legacy interface in BAR 0 */
#define REG_HOST_FEATURES 0
#define REG_GUEST_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_QUEUE_NOTIFY 16
#define REG_STATUS 18

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4

#define QUEUE_SIZE_MAX 1024
#define DESCRIPTOR_NEXT 1
#define DESCRIPTOR_WRITE 2

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

static uint32_t pci_select(unsigned slot, unsigned reg)
{
    port_write32(PCI_ADDRESS, PCI_ENABLE | slot << 11 | reg);
    return port_read32(PCI_DATA);
}

/* Nobody else has given out any I/O ports on PCI. */
bool virtio_find(uint32_t pci_id, uint16_t registers)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        if (pci_select(slot, PCI_ID) == pci_id) {
            pci_select(slot, PCI_BAR0);
            port_write32(PCI_DATA, registers);
            pci_select(slot, PCI_COMMAND);
            port_write16(PCI_DATA, PCI_COMMAND_IO_MASTER);
            port_write8(registers + REG_STATUS, 0);
            port_write8(registers + REG_STATUS,
                        STATUS_ACKNOWLEDGE | STATUS_DRIVER);
            return true;
        }
    }
    return false;
}

uint32_t virtio_negotiate(uint16_t registers, uint32_t wanted)
{
    wanted &= port_read32(registers + REG_HOST_FEATURES);
    port_write32(registers + REG_GUEST_FEATURES, wanted);
    return wanted;
}

/* Where the used ring begins: on a page, after descriptors and available. */
static size_t used_offset(uint16_t size)
{
    size_t first = size * (sizeof(Descriptor) + sizeof(uint16_t)) +
                   3 * sizeof(uint16_t);

    return (first + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

bool virtio_start_queue(VirtioQueue *queue, uint16_t registers,
                        unsigned number, void *memory)
{
    uint8_t *bytes = memory;

    port_write16(registers + REG_QUEUE_SELECT, number);
    queue->registers = registers;
    queue->number = number;
    queue->size = port_read16(registers + REG_QUEUE_SIZE);
    if (!queue->size || queue->size > QUEUE_SIZE_MAX) {
        return false;
    }
    queue->descriptors = (Descriptor *)bytes;
    queue->available = (Available *)(bytes +
                                     queue->size * sizeof(Descriptor));
    queue->used = (Used *)(bytes + used_offset(queue->size));
    port_write32(registers + REG_QUEUE_PFN, (uintptr_t)memory / PAGE_SIZE);
    return true;
}

void virtio_ready(uint16_t registers)
{
    port_write8(registers + REG_STATUS,
                STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
}

void virtio_request(VirtioQueue *queue, const VirtioPart *parts, unsigned n)
{
    uint16_t index = queue->available->index;

    for (unsigned i = 0; i < n; i++) {
        queue->descriptors[i] = (Descriptor) {
            .address = (uintptr_t)parts[i].data,
            .length = parts[i].length,
            .flags = (i + 1 < n ? DESCRIPTOR_NEXT : 0) |
                     (parts[i].written ? DESCRIPTOR_WRITE : 0),
            .next = i + 1,
        };
    }
    queue->available->ring[index % queue->size] = 0;
    index++;
    __atomic_store_n(&queue->available->index, index, __ATOMIC_RELEASE);
    port_write16(queue->registers + REG_QUEUE_NOTIFY, queue->number);
    while (__atomic_load_n(&queue->used->index, __ATOMIC_ACQUIRE) != index) {
        asm volatile("pause" : : : "memory");
    }
}
