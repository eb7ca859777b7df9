/*
 * Populated, asked of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/ramblock.h"
#include "migration/populated-block.h"

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
