/*
 * The dirty bitmap of all users, and who has to be told of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "migration/misc.h"
#include "migration/ram.h"
#include "system/tcg.h"
#include "dirty.h"

void ram_mark_dirty_range(RAMBlock *rb, ram_addr_t start, ram_addr_t length)
{
    cpu_physical_memory_set_dirty_range(rb->offset + start, length,
                                        1 << DIRTY_MEMORY_MIGRATION);
}

void ram_reset_tlbs(void)
{
    RAMBlock *rb;

    if (!tcg_enabled()) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        cpu_physical_memory_dirty_bits_cleared(rb->offset, rb->used_length);
    }
    memory_global_after_dirty_log_sync();
}
