/*
 * Pages that the guest gives back before a migration has sent them
 *
 * They are dirty, and the next pass, which would skip them, may be far away.
 * To read them would populate shared memory, and private memory, too, where the
 * kernel maps no page of zeroes: the migration would undo, on the source, the
 * ballooning that goes on meanwhile.  So what was discarded during the migration
 * is noted, and when such a page is to be sent the host is asked first.
 *
 * The page's dirty bit has been cleared by then and the tracking of writes is
 * armed, so the answer is worth as much as reading the page: a write before it
 * populates the page, a write after it makes it dirty again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "exec/target_page.h"
#include "migration/populated-block.h"
#include "migration/skip-pass.h"
#include "migration.h"

/* Private memory may be: some kernels map no page of zeroes. */
static bool is_populated_by_reading(RAMBlock *rb)
{
    return rb->page_size == qemu_real_host_page_size();
}

void skip_pass_note_discard(RAMBlock *rb, uint64_t offset, uint64_t length)
{
    int bits = qemu_target_page_bits();
    uint64_t start = DIV_ROUND_UP(offset, UINT64_C(1) << bits);
    uint64_t end = (offset + length) >> bits;
    SkipPages *pages = rb->skip_pages;

    assert(bql_locked());
    if (!pages || start >= end || !is_populated_by_reading(rb)) {
        return;
    }
    if (!pages->discarded) {
        qatomic_store_release(&pages->discarded,
                              bitmap_new(rb->max_length >> bits));
    }
    bitmap_set_atomic(pages->discarded, start, end - start);
}

bool skip_pass_ask_discarded(RAMBlock *rb, unsigned long page)
{
    SkipPages *pages = skip_pages_of(rb);
    int bits = qemu_target_page_bits();
    uint64_t offset = (uint64_t)page << bits;
    uint64_t limit = offset + (UINT64_C(1) << bits);
    uint64_t end;

    /*
     * With preempt two threads send then.  Nor is there a need: the guest is
     * stopped, and the last pass has looked at everything.
     */
    if (!pages || migration_in_postcopy()) {
        return false;
    }
    if (!pages->discarded_scan) {
        pages->discarded_scan =
            populated_scan_of_block(rb, POPULATED_TO_SKIP);
    }
    populated_scan_window(pages->discarded_scan, limit);
    return populated_scan_next(pages->discarded_scan, offset, limit,
                               &end) == 0 && end == limit;
}
