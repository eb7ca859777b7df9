/*
 * Audit: how much the guest uses of what it gave back
 *
 * A guest uses a page that it gave back if it writes to it without telling, by
 * mistake, or because its kernel was replaced by one that does not know of the
 * balloon.  Then the host has memory for the page.  So it has if something on
 * the host read it, of memory in files or huge pages; but that leaves zeroes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qapi/qapi-commands-skip-balloon.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/virtio/balloon-map.h"
#include "migration/ram.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "audit.h"
#include "look.h"

static void count_stretch(Look *look, RAMBlock *rb, uint64_t at, uint64_t end,
                          bool is_populated, void *opaque)
{
    const unsigned long *map = opaque;
    PageRun run;

    for (; is_populated && page_run_next(map, at, end, &run); at = run.end) {
        look_at_populated(look, rb, run.start, run.end);
    }
}

static void audit_block(Look *look, BalloonMapInfo *info)
{
    int64_t at = 0, npages = info->size >> look->bits;

    look->sums = (struct LookSums) { };
    while (at >= 0 && at < npages) {
        RAMBlock *rb;

        WITH_RCU_READ_LOCK_GUARD() {
            const unsigned long *map;

            rb = qemu_ram_block_by_name(info->id);
            map = rb ? balloon_map_of_block(rb) : NULL;
            /* It may have gone, or be another one by now. */
            at = map && rb->used_length == info->size
                 ? look_at_block(look, rb, map, at, npages, count_stretch,
                                 (void *)map) : -ENOENT;
        }
        if (look_time_is_up(look)) {
            look_pause(look);
        }
    }
    info->has_populated = info->has_used = at >= 0;
    /* The guest may have given back more meanwhile. */
    info->populated = MIN(look->sums.populated, info->pages);
    info->used = info->populated - MIN(look_zeroes(look), info->populated);
}

void balloon_audit(BalloonMapInfoList *list)
{
    Look look = { .what = "audit", .bits = BALLOON_MAP_PAGE_SHIFT };
    BalloonMapInfoList *l;
    uint64_t pages = 0;

    for (l = list; l; l = l->next) {
        pages += l->value->pages;
    }
    look_sample_of(&look, pages);
    look_begin(&look);
    for (l = list; l; l = l->next) {
        if (l->value->pages) {
            audit_block(&look, l->value);
        } else {
            l->value->has_populated = l->value->has_used = true;
        }
    }
    look_end(&look);
}

static void print_pages(Monitor *mon, const char *what, uint64_t pages)
{
    g_autofree char *size = size_to_str(pages << BALLOON_MAP_PAGE_SHIFT);

    monitor_printf(mon, "  %s: %" PRIu64 " pages, %s\n", what, pages, size);
}

static void print_enforcement(Monitor *mon, const BalloonMapInfo *info)
{
    const BalloonNotEnforcedList *l;

    print_pages(mon, "enforced", info->enforced >> BALLOON_MAP_PAGE_SHIFT);
    for (l = info->not_enforced; l; l = l->next) {
        g_autofree char *size = size_to_str(l->value->bytes);

        monitor_printf(mon, "  not enforced (%s): %s\n",
                       BalloonNotEnforcedReason_str(l->value->reason), size);
    }
    print_pages(mon, "accessed so far", info->accesses);
}

static void print_block(Monitor *mon, const BalloonMapInfo *info)
{
    g_autofree char *size = size_to_str(info->size);

    monitor_printf(mon, "%s: %s\n", info->id, size);
    print_pages(mon, "in the balloon", info->pages);
    if (info->has_populated) {
        print_pages(mon, "of these populated", info->populated);
        print_pages(mon, "of these used, about", info->used);
    } else {
        monitor_printf(mon, "  of these populated: not known\n");
    }
    if (info->has_enforced) {
        print_enforcement(mon, info);
    }
}

void hmp_info_balloon_map(Monitor *mon, const QDict *qdict)
{
    g_autoptr(BalloonMapInfoList) list = NULL;
    const BalloonMapInfoList *l;
    bool is_empty = true;
    Error *err = NULL;

    list = qmp_query_balloon_map(NULL, false, 0, true, 0, true, true, &err);
    if (hmp_handle_error(mon, err)) {
        return;
    }
    for (l = list; l; l = l->next) {
        if (l->value->pages) {
            print_block(mon, l->value);
            is_empty = false;
        }
    }
    if (is_empty) {
        monitor_printf(mon, "Nothing is in the balloon map\n");
    }
}
