/*
 * Populated, asked of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "populated-block.h"

PopulatedScan *populated_scan_of_block(RAMBlock *rb, PopulatedUse use)
{
    PopulatedMemory mem = {
        .host = rb->host,
        .length = rb->used_length,
        .page_size = rb->page_size,
        .host_page_size = qemu_real_host_page_size(),
        .fd = rb->fd,
        .fd_offset = rb->fd_offset,
        .shared = qemu_ram_is_shared(rb),
    };

    return populated_scan_new(&mem, use);
}

/* What this process has mapped of huge pages in other RAM blocks */
static int64_t mapped_elsewhere(RAMBlock *but)
{
    int64_t total = 0;
    RAMBlock *rb;

    RAMBLOCK_FOREACH(rb) {
        PopulatedScan *scan;
        int64_t mapped;

        if (rb == but || rb->page_size == qemu_real_host_page_size()) {
            continue;
        }
        scan = populated_scan_of_block(rb, POPULATED_TO_DROP);
        mapped = populated_scan_mapped(scan);
        populated_scan_free(scan);
        if (mapped < 0) {
            return mapped;
        }
        total += mapped;
    }
    return total;
}

uint64_t populated_huge_bytes(void)
{
    uint64_t total = 0;
    RAMBlock *rb;

    RAMBLOCK_FOREACH(rb) {
        if (rb->page_size > qemu_real_host_page_size()) {
            total += rb->used_length;
        }
    }
    return total;
}

int populated_scan_count_block(PopulatedScan *scan, RAMBlock *rb)
{
    int64_t elsewhere = qemu_ram_is_shared(rb) ? 0 : mapped_elsewhere(rb);

    return elsewhere < 0 ? elsewhere : populated_scan_count(scan, elsewhere);
}
