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
#include "hw/virtio/virtio-balloon.h"
#include "hw/virtio/balloon-map.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "trace.h"

#define BALLOON_PAGE_SIZE (UINT64_C(1) << VIRTIO_BALLOON_PFN_SHIFT)
#define PFN_SIZE sizeof(uint32_t)

/* The longest run, in pages; 4 MiB of memory */
#define RUN_MAX 1024

/* PFNs read together: few, since where pages are scattered one is used */
#define READ_PFNS 16

/* Adjacent pages of a request, in its order */
typedef struct RequestRun {
    uint32_t first;
    unsigned int npages;
    bool descending;
} RequestRun;

/* Add @pfn to the run if it is next to its last page. */
static bool extend_run(RequestRun *run, uint32_t pfn)
{
    if (run->npages == 1) {
        run->descending = pfn < run->first;
    }
    if (run->descending ? (uint64_t)pfn + run->npages != run->first
                        : pfn != (uint64_t)run->first + run->npages) {
        return false;
    }
    run->npages++;
    return true;
}

/* Read the run at @offset.  Returns false at the end of the request. */
static bool next_run(VirtIODevice *vdev, const VirtQueueElement *elem,
                     size_t offset, RequestRun *run)
{
    uint32_t raw[READ_PFNS];
    size_t n, i;

    *run = (RequestRun) { };
    do {
        n = iov_to_buf(elem->out_sg, elem->out_num,
                       offset + run->npages * PFN_SIZE, raw,
                       sizeof(raw)) / PFN_SIZE;
        for (i = 0; i < n; i++) {
            uint32_t pfn = virtio_ldl_p(vdev, &raw[i]);

            if (!run->npages) {
                *run = (RequestRun) { .first = pfn, .npages = 1 };
            } else if (!extend_run(run, pfn)) {
                return true;
            }
        }
    } while (n && run->npages < RUN_MAX);
    return run->npages > 0;
}

static hwaddr run_start(const RequestRun *run)
{
    uint32_t low = run->descending ? run->first - (run->npages - 1)
                                   : run->first;

    return (hwaddr)low << VIRTIO_BALLOON_PFN_SHIFT;
}

/*
 * Find the plain RAM behind @run, cutting the run short where the memory
 * region ends.  If there is nothing at all, @rb is set to NULL.  With @parts,
 * it may be parts of huge pages.
 *
 * Returns false, without a reference to a memory region, if the first page is
 * in something else, or in huge pages of which no part may be given back.
 */
static bool find_ram(RequestRun *run, MemoryRegionSection *section,
                     RAMBlock **rb, ram_addr_t *rb_offset, bool parts)
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
        return find_ram(run, section, rb, rb_offset, parts);
    }
    if (!section->mr) {
        *rb = NULL;
        return true;
    }
    if (memory_region_is_ram(section->mr) &&
        !memory_region_is_rom(section->mr) &&
        !memory_region_is_romd(section->mr) &&
        int128_get64(section->size) == run->npages * BALLOON_PAGE_SIZE) {
        *rb = qemu_ram_block_from_host(
            memory_region_get_ram_ptr(section->mr) +
            section->offset_within_region, false, rb_offset);
        if (qemu_ram_pagesize(*rb) == BALLOON_PAGE_SIZE || parts) {
            return true;
        }
    }
    memory_region_unref(section->mr);
    return false;
}

/* The address of page @i of @run */
static hwaddr page_addr(const RequestRun *run, unsigned int i)
{
    uint32_t pfn = run->descending ? run->first - i : run->first + i;

    return (hwaddr)pfn << VIRTIO_BALLOON_PFN_SHIFT;
}

/* @mr is NULL if there is no memory. */
static void trace_run(const MemoryRegion *mr, const RequestRun *run)
{
    const char *name = mr ? memory_region_name(mr) : NULL;
    bool traced = name
        ? trace_event_get_state_backends(TRACE_VIRTIO_BALLOON_HANDLE_OUTPUT)
        : trace_event_get_state_backends(TRACE_VIRTIO_BALLOON_BAD_ADDR);
    unsigned int i;

    for (i = 0; traced && i < run->npages; i++) {
        if (name) {
            trace_virtio_balloon_handle_output(name, page_addr(run, i));
        } else {
            trace_virtio_balloon_bad_addr(page_addr(run, i));
        }
    }
}

static void deflate(BalloonMap *map, const MemoryRegionSection *section,
                    RAMBlock *rb, ram_addr_t rb_offset, size_t size)
{
    size_t page_size = qemu_ram_pagesize(rb);
    ram_addr_t start = QEMU_ALIGN_DOWN(rb_offset, page_size);
    ram_addr_t end = QEMU_ALIGN_UP(rb_offset + size, page_size);

    balloon_map_deflate(map, section->mr, section->offset_within_region, size);
    if (!balloon_map_inhibited() &&
        qemu_madvise(qemu_ram_get_host_addr(rb) + start, end - start,
                     QEMU_MADV_WILLNEED)) {
        warn_report("Couldn't MADV_WILLNEED on balloon deflate: %s",
                    strerror(errno));
        /* Otherwise ignore, failing to hint is not fatal */
    }
}

bool balloon_request_serve(VirtIODevice *vdev, VirtQueueElement *elem,
                           size_t *offset, bool inflate)
{
    BalloonMap *map = VIRTIO_BALLOON(vdev)->map;
    bool parts = balloon_map_takes_parts(map);
    MemoryRegionSection section;
    ram_addr_t rb_offset;
    RequestRun run;
    RAMBlock *rb;
    bool served = false;

    while (next_run(vdev, elem, *offset, &run) &&
           find_ram(&run, &section, &rb, &rb_offset, parts)) {
        size_t size = run.npages * BALLOON_PAGE_SIZE;

        trace_run(section.mr, &run);
        if (rb) {
            if (inflate) {
                balloon_map_inflate(map, rb, rb_offset, size);
            } else {
                deflate(map, &section, rb, rb_offset, size);
            }
            memory_region_unref(section.mr);
        }
        *offset += run.npages * PFN_SIZE;
        served = true;
    }
    return served;
}
