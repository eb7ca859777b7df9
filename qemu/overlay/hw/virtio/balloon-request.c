/*
 * Balloon requests, served by runs of pages
 *
 * A guest gives back, and takes back, pages that are mostly adjacent, in
 * ascending or descending order.  A run of them takes one look at the memory
 * map, one system call or two, and one change of the balloon map, where the
 * pages one by one would take as many of each as they are.
 *
 * Discarding by run also lets the host free the page tables, which makes
 * asking it for populated pages faster.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/madvise.h"
#include "exec/address-spaces.h"
#include "hw/virtio/balloon-request.h"
#include "hw/virtio/virtio-access.h"
#include "migration/balloon-map.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "trace.h"

#define BALLOON_PAGE_SIZE (UINT64_C(1) << VIRTIO_BALLOON_PFN_SHIFT)
#define PFN_SIZE sizeof(uint32_t)

/* PFNs looked at together, and so the longest run; 4 MiB of memory */
#define BATCH 1024

/* Adjacent pages of a request, in its order */
typedef struct RequestRun {
    uint32_t first;
    unsigned int npages;
    bool descending;
} RequestRun;

/* Read the run at @offset.  Returns false at the end of the request. */
static bool next_run(VirtIODevice *vdev, const VirtQueueElement *elem,
                     size_t offset, RequestRun *run)
{
    uint32_t raw[BATCH];
    size_t n = iov_to_buf(elem->out_sg, elem->out_num, offset, raw,
                          sizeof(raw)) / PFN_SIZE;
    uint32_t pfn, next;

    if (n == 0) {
        return false;
    }
    pfn = virtio_ldl_p(vdev, &raw[0]);
    *run = (RequestRun) { .first = pfn, .npages = 1 };
    for (; run->npages < n; run->npages++, pfn = next) {
        next = virtio_ldl_p(vdev, &raw[run->npages]);
        if (run->npages == 1) {
            run->descending = next < pfn;
        }
        if (run->descending ? next + 1 != pfn || next == UINT32_MAX
                            : next != pfn + 1 || next == 0) {
            break;
        }
    }
    return true;
}

static hwaddr run_start(const RequestRun *run)
{
    uint32_t low = run->descending ? run->first - (run->npages - 1)
                                   : run->first;

    return (hwaddr)low << VIRTIO_BALLOON_PFN_SHIFT;
}

/*
 * Find the plain RAM behind @run, cutting the run short where the memory
 * region ends.  Returns false, without a reference to a memory region, if its
 * first page is not in such RAM.
 */
static bool find_ram(RequestRun *run, MemoryRegionSection *section,
                     RAMBlock **rb, ram_addr_t *rb_offset)
{
    hwaddr start = run_start(run);
    hwaddr size = run->npages * BALLOON_PAGE_SIZE;

    *section = memory_region_find(get_system_memory(), start, size);
    if (section->mr && (section->offset_within_address_space != start ||
                        int128_get64(section->size) != size) &&
        run->npages > 1) {
        /* It goes beyond one region, so take its first page only. */
        memory_region_unref(section->mr);
        run->npages = 1;
        return find_ram(run, section, rb, rb_offset);
    }
    if (!section->mr) {
        return false;
    }
    if (memory_region_is_ram(section->mr) &&
        !memory_region_is_rom(section->mr) &&
        !memory_region_is_romd(section->mr) &&
        int128_get64(section->size) == run->npages * BALLOON_PAGE_SIZE) {
        *rb = qemu_ram_block_from_host(
            memory_region_get_ram_ptr(section->mr) +
            section->offset_within_region, false, rb_offset);
        if (qemu_ram_pagesize(*rb) == BALLOON_PAGE_SIZE) {
            return true;
        }
    }
    memory_region_unref(section->mr);
    return false;
}

static void trace_pages(const MemoryRegionSection *section,
                        const RequestRun *run)
{
    unsigned int i;

    if (!trace_event_get_state_backends(TRACE_VIRTIO_BALLOON_HANDLE_OUTPUT)) {
        return;
    }
    for (i = 0; i < run->npages; i++) {
        uint32_t pfn = run->descending ? run->first - i : run->first + i;

        trace_virtio_balloon_handle_output(
            memory_region_name(section->mr),
            (hwaddr)pfn << VIRTIO_BALLOON_PFN_SHIFT);
    }
}

static void deflate(const MemoryRegionSection *section, size_t size)
{
    void *host = memory_region_get_ram_ptr(section->mr) +
                 section->offset_within_region;

    balloon_map_deflate(section->mr, section->offset_within_region, size);
    if (qemu_madvise(host, size, QEMU_MADV_WILLNEED)) {
        warn_report("Couldn't MADV_WILLNEED on balloon deflate: %s",
                    strerror(errno));
        /* Otherwise ignore, failing to hint is not fatal */
    }
}

size_t balloon_request_serve(VirtIODevice *vdev, VirtQueueElement *elem,
                             size_t offset, bool inflate)
{
    MemoryRegionSection section;
    ram_addr_t rb_offset;
    RequestRun run;
    RAMBlock *rb;

    while (next_run(vdev, elem, offset, &run) &&
           find_ram(&run, &section, &rb, &rb_offset)) {
        size_t size = run.npages * BALLOON_PAGE_SIZE;

        trace_pages(&section, &run);
        if (inflate) {
            balloon_map_inflate(rb, rb_offset, size);
        } else {
            deflate(&section, size);
        }
        memory_region_unref(section.mr);
        offset += run.npages * PFN_SIZE;
    }
    return offset;
}
