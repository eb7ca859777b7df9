/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "qemu/vm.h"

#define IMAGE_SIZE 65536
#define RESET_VECTOR (IMAGE_SIZE - 16)

/*
 * start:  movw $0x700, %ax ; movw %ax, %ds
 * again:  incl 0
 *         jmp again
 */
static const uint8_t count[] = {
    0xb8, 0x00, 0x07, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x00, 0x00, 0xeb, 0xf9,
};

/* Where the processor begins: jmp start */
static const uint8_t reset[] = { 0xe9, 0x0d, 0x00 };

char *device_firmware_write(Session *session, GError **error)
{
    g_autofree char *path = session_path(session, "firmware");
    g_autofree char *image = g_malloc0(IMAGE_SIZE);

    memcpy(image, count, sizeof(count));
    memcpy(image + RESET_VECTOR, reset, sizeof(reset));
    if (!g_file_set_contents(path, image, IMAGE_SIZE, error)) {
        g_prefix_error(error, "cannot write the firmware of a guest: ");
        return NULL;
    }
    return g_steal_pointer(&path);
}

/* Where QEMU's pc has memory: what does not fit below is above 4 GiB. */
#define LOW_RAM_MAX (3584 * SIZE_MIB)
#define LOW_RAM (3 * SIZE_GIB)
#define HIGH_RAM_ADDRESS (4 * SIZE_GIB)

/* PCI configuration, and the legacy registers of a virtio device */
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_COMMAND 0x04
#define PCI_BAR0 0x10
#define PCI_COMMAND_ALL 7       /* I/O, memory, bus master */
#define BALLOON_PCI_ID 0x10021af4
#define DEVICE_IO 0xc000
#define REG_FEATURES 0
#define REG_DRIVER_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_QUEUE_NOTIFY 16
#define REG_STATUS 18
#define STATUS_DRIVER 3
#define STATUS_DRIVER_OK 7
#define FEATURE_MUST_TELL_HOST 1u

/* The driver's memory: a ring for each queue, then the requests */
#define RING_BASE SIZE_MIB
#define RING_STRIDE UINT64_C(0x8000)
#define RING_ALIGN UINT64_C(4096)
#define QUEUE_MAX 1024u
#define REQUEST_BASE (SIZE_MIB + SIZE_MIB / 4)
#define REQUEST_MAX ((DEVICE_RAM_START - REQUEST_BASE) / sizeof(uint32_t))

enum { INFLATE, DEFLATE, QUEUES };

typedef struct Queue {
    uint64_t ring;              /* offset in RAM, which is the address too */
    uint64_t avail;
    uint64_t used;
    uint16_t size;              /* of the ring */
    uint16_t added;             /* requests since the start */
} Queue;

struct DeviceGuest {
    Session *session;
    Vm *vm;
    uint64_t low_ram;           /* bytes below 4 GiB */
    uint64_t hva;               /* where QEMU has the RAM */
    int mem_fd;
    Queue queues[QUEUES];
};

/* A descriptor of a ring, as the device reads it */
typedef struct Desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
} Desc;

static bool out(DeviceGuest *guest, unsigned port, unsigned size,
                uint32_t value, GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (qtest_out(vm_qtest(guest->vm), port, size, value, &failure)) {
        return true;
    }
    vm_explain_exit(guest->vm, &failure);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

static bool in(DeviceGuest *guest, unsigned port, unsigned size,
               uint32_t *value, GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (qtest_in(vm_qtest(guest->vm), port, size, value, &failure)) {
        return true;
    }
    vm_explain_exit(guest->vm, &failure);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

static bool fail_access(const char *what, GError **error)
{
    g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                "cannot %s the memory of the guest in QEMU: %s", what,
                g_strerror(errno));
    return false;
}

static bool write_ram(DeviceGuest *guest, uint64_t offset, const void *data,
                      size_t size, GError **error)
{
    return pwrite(guest->mem_fd, data, size, guest->hva + offset) ==
           (ssize_t)size || fail_access("write to", error);
}

bool device_guest_read(DeviceGuest *guest, uint64_t start, void *data,
                       size_t length, GError **error)
{
    return pread(guest->mem_fd, data, length, guest->hva + start) ==
           (ssize_t)length || fail_access("read", error);
}

/* The address that QEMU has the block "ram0" at; 0 if it does not say. */
static uint64_t find_block(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++) {
        unsigned long long hva;
        char id[256];

        if (sscanf(*line, " %255s %*s %*s %*s %*s %*s %llx", id, &hva) == 2 &&
            !strcmp(id, "ram0")) {
            return hva;
        }
    }
    return 0;
}

static bool find_ram(DeviceGuest *guest, GError **error)
{
    g_autoptr(JsonNode) result =
        vm_execute(guest->vm, "x-query-ramblock", NULL, error);
    g_autofree char *path = g_strdup_printf("/proc/%d/mem",
                                            (int)vm_pid(guest->vm));

    if (!result) {
        return false;
    }
    guest->hva = find_block(json_object_get_string_member_with_default(
        json_node_get_object(result), "human-readable-text", ""));
    if (!guest->hva) {
        g_set_error(error, SB_ERROR, SB_ERROR_QMP,
                    "QEMU does not tell where the memory of the guest is");
        return false;
    }
    guest->mem_fd = open(path, O_RDWR | O_CLOEXEC);
    return guest->mem_fd >= 0 || fail_access("open", error);
}

DeviceGuest *device_guest_new(Session *session, Vm *vm, uint64_t memory,
                              GError **error)
{
    g_autoptr(DeviceGuest) guest = g_new0(DeviceGuest, 1);

    guest->session = session;
    guest->vm = vm;
    guest->low_ram = memory < LOW_RAM_MAX ? memory : LOW_RAM;
    guest->mem_fd = -1;
    return find_ram(guest, error) ? g_steal_pointer(&guest) : NULL;
}

void device_guest_free(DeviceGuest *guest)
{
    if (!guest) {
        return;
    }
    if (guest->mem_fd >= 0) {
        close(guest->mem_fd);
    }
    g_free(guest);
}

static bool select_config(DeviceGuest *guest, unsigned reg, GError **error)
{
    return out(guest, PCI_ADDRESS, 4,
               1u << 31 | VM_BALLOON_SLOT << 11 | reg, error);
}

static bool enable_device(DeviceGuest *guest, GError **error)
{
    uint32_t id;

    if (!select_config(guest, 0, error) ||
        !in(guest, PCI_DATA, 4, &id, error)) {
        return false;
    }
    if (id != BALLOON_PCI_ID) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "this QEMU has no balloon device in slot %d",
                    VM_BALLOON_SLOT);
        return false;
    }
    return select_config(guest, PCI_BAR0, error) &&
           out(guest, PCI_DATA, 4, DEVICE_IO, error) &&
           select_config(guest, PCI_COMMAND, error) &&
           out(guest, PCI_DATA, 4, PCI_COMMAND_ALL, error);
}

static bool negotiate(DeviceGuest *guest, bool must_tell_host, GError **error)
{
    uint32_t wanted = must_tell_host ? FEATURE_MUST_TELL_HOST : 0;
    uint32_t offered;

    if (!out(guest, DEVICE_IO + REG_STATUS, 1, 0, error) ||
        !out(guest, DEVICE_IO + REG_STATUS, 1, STATUS_DRIVER, error) ||
        !in(guest, DEVICE_IO + REG_FEATURES, 4, &offered, error)) {
        return false;
    }
    if (wanted & ~offered) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "the balloon device does not offer MUST_TELL_HOST");
        return false;
    }
    return out(guest, DEVICE_IO + REG_DRIVER_FEATURES, 4, wanted, error);
}

static bool start_queue(DeviceGuest *guest, unsigned i, GError **error)
{
    g_autofree char *zeroes = g_malloc0(RING_STRIDE);
    Queue *queue = &guest->queues[i];
    uint32_t size;

    if (!out(guest, DEVICE_IO + REG_QUEUE_SELECT, 2, i, error) ||
        !in(guest, DEVICE_IO + REG_QUEUE_SIZE, 2, &size, error)) {
        return false;
    }
    if (!size || size > QUEUE_MAX) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "queue %u of the balloon device has %u entries", i, size);
        return false;
    }
    queue->size = size;
    queue->added = 0;
    queue->ring = RING_BASE + i * RING_STRIDE;
    queue->avail = queue->ring + size * sizeof(Desc);
    queue->used = queue->avail + 6 + size * sizeof(uint16_t);
    queue->used = (queue->used + RING_ALIGN - 1) & ~(RING_ALIGN - 1);
    return write_ram(guest, queue->ring, zeroes, RING_STRIDE, error) &&
           out(guest, DEVICE_IO + REG_QUEUE_PFN, 4,
               queue->ring / DEVICE_PAGE, error);
}

bool device_guest_drive(DeviceGuest *guest, bool must_tell_host,
                        GError **error)
{
    if (!enable_device(guest, error) ||
        !negotiate(guest, must_tell_host, error)) {
        return false;
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        if (!start_queue(guest, i, error)) {
            return false;
        }
    }
    return out(guest, DEVICE_IO + REG_STATUS, 1, STATUS_DRIVER_OK, error);
}

bool device_guest_fill(DeviceGuest *guest, uint64_t start, uint64_t length,
                       uint8_t value, GError **error)
{
    g_autofree char *data = g_malloc(SIZE_MIB);

    memset(data, value, SIZE_MIB);
    for (uint64_t done = 0; done < length; done += SIZE_MIB) {
        if (!write_ram(guest, start + done, data,
                       MIN(length - done, SIZE_MIB), error)) {
            return false;
        }
    }
    return true;
}

uint64_t device_page_offset(const DevicePages *pages, uint64_t i)
{
    uint64_t n = pages->descending ? pages->runs * pages->run_pages - 1 - i
                                   : i;
    uint64_t page = pages->run_pages == 1 ? n * pages->stride :
                    pages->runs == 1 ? n :
                    n / pages->run_pages * pages->stride +
                    n % pages->run_pages;

    return pages->start + page * DEVICE_PAGE;
}

/* The PFN of the i-th page, as the device reads it */
static uint32_t page_pfn(const DeviceGuest *guest, const DevicePages *pages,
                         uint64_t i)
{
    uint64_t address = device_page_offset(pages, i);

    if (address >= guest->low_ram) {
        address += HIGH_RAM_ADDRESS - LOW_RAM;
    }
    return GUINT32_TO_LE(address / DEVICE_PAGE);
}

/* Put PFNs where the requests are, and as many requests into the ring. */
static bool write_requests(DeviceGuest *guest, Queue *queue,
                           const uint32_t *pfns, uint64_t n,
                           unsigned request_pfns, GError **error)
{
    Desc descs[QUEUE_MAX];
    uint16_t avail[QUEUE_MAX + 2];
    unsigned requests = 0;

    memset(avail, 0, sizeof(avail));
    for (uint64_t at = 0; at < n; at += request_pfns, requests++) {
        descs[requests] = (Desc) {
            .address = GUINT64_TO_LE(REQUEST_BASE + at * sizeof(*pfns)),
            .length = GUINT32_TO_LE(MIN(request_pfns, n - at) *
                                    sizeof(*pfns)),
        };
        avail[2 + queue->added++ % queue->size] = GUINT16_TO_LE(requests);
    }
    avail[1] = GUINT16_TO_LE(queue->added);
    return write_ram(guest, REQUEST_BASE, pfns, n * sizeof(*pfns), error) &&
           write_ram(guest, queue->ring, descs, requests * sizeof(*descs),
                     error) &&
           write_ram(guest, queue->avail, avail,
                     (2 + queue->size) * sizeof(*avail), error);
}

/* Tell the device, and wait until it has served all. */
static bool kick(DeviceGuest *guest, unsigned i, GError **error)
{
    Queue *queue = &guest->queues[i];
    Stall stall = { 0 };
    uint16_t served;

    if (!out(guest, DEVICE_IO + REG_QUEUE_NOTIFY, 2, i, error)) {
        return false;
    }
    for (;;) {
        if (!device_guest_read(guest, queue->used + 2, &served, sizeof(served),
                               error)) {
            return false;
        }
        served = GUINT16_FROM_LE(served);
        if (served == queue->added) {
            return true;
        }
        if (session_stalled(guest->session, &stall, served,
                            "the balloon device has served nothing", error) ||
            !session_sleep(guest->session, 1, error)) {
            return false;
        }
    }
}

static bool request(DeviceGuest *guest, unsigned queue,
                    const DevicePages *pages, unsigned request_pfns,
                    double *secs, GError **error)
{
    uint64_t all = pages->runs * pages->run_pages;
    uint64_t most = MIN((uint64_t)request_pfns * guest->queues[queue].size,
                        REQUEST_MAX / request_pfns * request_pfns);
    g_autofree uint32_t *pfns = g_new(uint32_t, most);
    gint64 took = 0;

    for (uint64_t done = 0; done < all;) {
        uint64_t n = MIN(most, all - done);
        gint64 began;

        for (uint64_t i = 0; i < n; i++) {
            pfns[i] = page_pfn(guest, pages, done + i);
        }
        if (!write_requests(guest, &guest->queues[queue], pfns, n,
                            request_pfns, error)) {
            return false;
        }
        began = g_get_monotonic_time();
        if (!kick(guest, queue, error)) {
            return false;
        }
        took += g_get_monotonic_time() - began;
        done += n;
        progress_update(guest->session->progress, (double)done / all);
    }
    if (secs) {
        *secs = took / (double)G_USEC_PER_SEC;
    }
    return true;
}

bool device_guest_inflate(DeviceGuest *guest, const DevicePages *pages,
                          unsigned request_pfns, double *secs,
                          GError **error)
{
    return request(guest, INFLATE, pages, request_pfns, secs, error);
}

bool device_guest_deflate(DeviceGuest *guest, const DevicePages *pages,
                          unsigned request_pfns, double *secs,
                          GError **error)
{
    return request(guest, DEFLATE, pages, request_pfns, secs, error);
}
