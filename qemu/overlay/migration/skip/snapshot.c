/*
 * Background snapshots of guests with pages that are skipped
 *
 * A background snapshot has the memory of one moment, and is saved while the
 * guest runs on: writes are trapped, and a page is saved before it is written
 * to.  Only what is populated can be trapped, so QEMU populates all memory
 * beforehand, which would undo all ballooning.
 *
 * But what is not populated at that moment is zero.  It need neither be saved
 * nor be trapped, and the guest may write to it at once.  So with either
 * capability nothing is populated of guest RAM, and what is not populated by
 * the moment is skipped, whether it is in the balloon or was never used.
 *
 * What is skipped must not be trapped either: on shared memory that is possible
 * for what is not populated, and a thread that holds the BQL would wait for a
 * page that is never saved, while the migration waits for the BQL to complete.
 *
 * The balloon map is not part of the snapshot: the guest may take back pages
 * while that is saved.  Who loads it starts with an empty map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/userfaultfd.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "migration/ram.h"
#include "system/runstate.h"
#include "hooks.h"
#include "pages.h"
#include "pass.h"

bool skip_snapshot_populate(RAMBlock *rb)
{
    SkipPages *pages = skip_pages_of(rb);

    /* Of a larger page that is populated in part nobody protects the rest. */
    if (!pages || !pages->all_wanted ||
        qemu_target_page_size() > qemu_real_host_page_size()) {
        return false;
    }
    pages->spared = true;
    return true;
}

/*
 * Populate what was spared, if the host does not tell all of it, so that it is
 * saved nevertheless.  The guest is stopped, so it is still what it was.
 */
static void populate_late(void)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        const SkipPages *pages = rb->skip_pages;

        if (pages && pages->spared && pages->undecided) {
            ram_block_populate_read(rb);
        }
    }
}

void skip_snapshot_begin(void)
{
    assert(bql_locked());
    assert(!runstate_is_running());
    if (skip_migration_skips()) {
        skip_pass_make(skip_migration(), true);
        populate_late();
    }
}

bool skip_snapshot_protect(RAMBlock *rb, int uffd_fd, int *ret)
{
    int bits = qemu_target_page_bits();
    uint64_t npages = rb->used_length >> bits;
    uint64_t start, end = 0;

    assert(bql_locked());
    if (!skip_migration_skips()) {
        return false;
    }
    *ret = 0;
    while (!*ret && (start = find_next_bit(rb->bmap, npages, end)) < npages) {
        end = find_next_zero_bit(rb->bmap, npages, start);
        *ret = uffd_change_protection(uffd_fd, rb->host + (start << bits),
                                      (end - start) << bits, true, false);
    }
    return true;
}
