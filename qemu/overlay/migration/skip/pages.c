/*
 * What a migration that skips pages knows of the pages of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "exec/memory.h"
#include "exec/ramlist.h"
#include "migration/misc.h"
#include "migration/ram.h"
#include "system/hostmem.h"
#include "pages.h"
#include "trace.h"

static void free_pages(SkipPages *pages)
{
    trace_skip_pass_pages_free(pages);
    if (!pages->told_kept) {
        g_free(pages->told);
    }
    g_free(pages->pending);
    g_free(pages->discarded);
    g_free(pages->forbidden);
    populated_scan_free(pages->discarded_scan);
    g_free(pages);
}

static void drop_pages_of(RAMBlock *rb)
{
    SkipPages *pages = rb->skip_pages;

    if (pages) {
        qatomic_rcu_set(&rb->skip_pages, NULL);
        call_rcu(pages, free_pages, rcu);
    }
}

void skip_pages_drop(bool told_only)
{
    RAMBlock *rb;

    assert(bql_locked());
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (!told_only || (rb->skip_pages && rb->skip_pages->told)) {
            drop_pages_of(rb);
        }
    }
}

void skip_pages_add(void)
{
    RAMBlock *rb;

    skip_pages_drop(false);
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipPages *pages = g_new0(SkipPages, 1);

        trace_skip_pass_pages_new(rb->idstr, pages);
        qatomic_rcu_set(&rb->skip_pages, pages);
    }
}

void skip_pages_keep_told(void)
{
    RAMBlock *rb;

    assert(bql_locked());
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        SkipPages *old = rb->skip_pages, *pages;

        if (!old || !old->told) {
            continue;
        }
        pages = g_new0(SkipPages, 1);
        pages->told = old->told;
        old->told_kept = true;
        trace_skip_pass_pages_new(rb->idstr, pages);
        qatomic_rcu_set(&rb->skip_pages, pages);
        call_rcu(old, free_pages, rcu);
    }
}

/*
 * The guest may eject a DIMM while it migrates, if it was asked to before.  (It
 * is the only one to do that: a migration under way inhibits the request.)
 */
static void block_removed(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    RAMBlock *rb;

    assert(bql_locked());
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (rb->host == host) {
            drop_pages_of(rb);
        }
    }
}

static RAMBlockNotifier ram_notifier = {
    .ram_block_removed = block_removed,
};

void skip_pages_init(void)
{
    ram_block_notifier_add(&ram_notifier);
}

/* ---- Which RAM blocks ---- */

bool skip_unpopulated_is_guest_ram(const RAMBlock *rb)
{
    return rb->mr && object_dynamic_cast(rb->mr->owner, TYPE_MEMORY_BACKEND);
}

bool skip_unpopulated_can_ask(const RAMBlock *rb)
{
    return rb->mr && !memory_region_is_rom(rb->mr) && rb->guest_memfd < 0;
}

bool skip_unpopulated_may_look_at(const RAMBlock *rb)
{
    return skip_unpopulated_is_guest_ram(rb) && skip_unpopulated_can_ask(rb);
}

/* ---- What of them is populated ---- */

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
