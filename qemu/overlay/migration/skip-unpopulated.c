/*
 * Migration capability skip-unpopulated: do not scan and do not send guest
 * RAM that the host has no memory for
 *
 * Whatever is not populated reads as zero, whether the guest never touched it,
 * or gave it back and it was discarded.  On a destination that was started for
 * this migration the same memory reads as zero, too, so nothing has to be
 * sent, and any QEMU can be the destination.
 *
 * That takes memory of which both is certain.  Left alone are: all that is not
 * memory the guest was given as such (ROMs, memory of devices), since machines
 * fill it on their own; private mappings of a file, where a page that is not
 * populated is what the file holds; files that have a name, since the file of
 * that name that the destination uses may hold what an earlier run left there;
 * and what the host does not tell.
 *
 * What was sent already, and is discarded while the migration runs, is marked
 * dirty (see balloon-map.c), and sent as zeroes, without reading it.  To tell
 * the two apart it is noted what has been sent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-migration.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/balloon-map.h"
#include "migration/skip-unpopulated.h"
#include "system/hostmem.h"
#include "migration.h"
#include "ram.h"
#include "trace.h"

/* All of it is protected by the BQL. */
static struct {
    /* A migration has been started with the capability on */
    bool started;
    /* It is under way */
    bool running;
    uint64_t skipped_pages;
    uint64_t zero_pages;
    SkipUnpopulatedLeftAloneList *left_alone;
} skip_unpopulated;

bool migrate_skip_unpopulated(void)
{
    return migrate_get_current()->capabilities[
        MIGRATION_CAPABILITY_SKIP_UNPOPULATED];
}

bool skip_unpopulated_active(void)
{
    return skip_unpopulated.running;
}

bool skip_unpopulated_in_block(const RAMBlock *rb)
{
    return skip_unpopulated.running && rb->skip_pages &&
           rb->skip_pages->sent && !rb->skip_pages->given_up;
}

bool skip_unpopulated_is_guest_ram(const RAMBlock *rb)
{
    return rb->mr && object_dynamic_cast(rb->mr->owner, TYPE_MEMORY_BACKEND);
}

/* ---- Which RAM blocks ---- */

/* Where a file of hugetlbfs holds anything, the host is not sure. */
static bool shows_file(RAMBlock *rb)
{
    return rb->fd >= 0 && !qemu_ram_is_shared(rb) &&
           rb->page_size == qemu_real_host_page_size();
}

bool skip_unpopulated_has_name(const RAMBlock *rb)
{
    struct stat st;

    return rb->fd >= 0 && (fstat(rb->fd, &st) < 0 || st.st_nlink);
}

/*
 * Returns SKIP_UNPOPULATED_REASON__MAX if there is no reason.  If the host can
 * tell is seen by the first pass.
 */
static SkipUnpopulatedReason reason_to_leave_alone(RAMBlock *rb)
{
    if (!skip_unpopulated_is_guest_ram(rb) ||
        memory_region_is_rom(rb->mr) || rb->guest_memfd >= 0) {
        return SKIP_UNPOPULATED_REASON_NOT_GUEST_RAM;
    }
    if (shows_file(rb)) {
        return SKIP_UNPOPULATED_REASON_PRIVATE_FILE;
    }
    if (skip_unpopulated_has_name(rb)) {
        return SKIP_UNPOPULATED_REASON_NAMED_FILE;
    }
    return SKIP_UNPOPULATED_REASON__MAX;
}

static void note_left_alone(const RAMBlock *rb, SkipUnpopulatedReason reason)
{
    SkipUnpopulatedLeftAlone *value = g_new0(SkipUnpopulatedLeftAlone, 1);

    value->id = g_strdup(rb->idstr);
    value->size = rb->used_length;
    value->reason = reason;
    QAPI_LIST_PREPEND(skip_unpopulated.left_alone, value);
    trace_skip_unpopulated_left_alone(rb->idstr, rb->used_length,
                                      SkipUnpopulatedReason_str(reason));
}

void skip_unpopulated_give_up(RAMBlock *rb)
{
    /* The block may have gone while the pass let others have the BQL. */
    if (!rb->skip_pages) {
        return;
    }
    /* The bitmaps are still looked at without a lock. */
    rb->skip_pages->given_up = true;
    note_left_alone(rb, SKIP_UNPOPULATED_REASON_UNDECIDED);
}

void skip_unpopulated_forget(void)
{
    skip_unpopulated.started = false;
}

void skip_unpopulated_start(void)
{
    RAMBlock *rb;

    if (!migrate_skip_unpopulated()) {
        return;
    }
    skip_unpopulated.started = true;
    skip_unpopulated.running = true;
    skip_unpopulated.skipped_pages = 0;
    skip_unpopulated.zero_pages = 0;
    qapi_free_SkipUnpopulatedLeftAloneList(skip_unpopulated.left_alone);
    skip_unpopulated.left_alone = NULL;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipUnpopulatedReason reason = reason_to_leave_alone(rb);

        if (reason == SKIP_UNPOPULATED_REASON__MAX) {
            uint64_t npages = rb->max_length >> qemu_target_page_bits();

            rb->skip_pages->sent = bitmap_new(npages);
            rb->skip_pages->zero = bitmap_new(npages);
        } else {
            note_left_alone(rb, reason);
        }
    }
    balloon_map_track_discards(true);
}

void skip_unpopulated_stop(void)
{
    if (skip_unpopulated.running) {
        skip_unpopulated.running = false;
        balloon_map_track_discards(false);
    }
}

/* ---- What becomes of dirty pages ---- */

void skip_unpopulated_before_sync(void)
{
    RAMBlock *rb;

    if (!skip_unpopulated.running) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipPages *pages = rb->skip_pages;

        if (pages && pages->any_zero) {
            bitmap_zero(pages->zero,
                        rb->max_length >> qemu_target_page_bits());
            pages->any_zero = false;
        }
    }
}

static void unpopulated(SkipPass *pass, uint64_t start, uint64_t end)
{
    SkipPages *pages = pass->rb->skip_pages;

    while (start < end) {
        uint64_t sent = find_next_bit(pages->sent, end, start);
        uint64_t sent_end = find_next_zero_bit(pages->sent, end, sent);

        if (start < sent) {
            skip_pass_clear_dirty(pass, start, sent);
            pass->unpopulated_skipped += sent - start;
        }
        if (sent < sent_end) {
            bitmap_set(pages->zero, sent, sent_end - sent);
            pages->any_zero = true;
            pass->zeroed += sent_end - sent;
        }
        start = sent_end;
    }
}

static void populated(SkipPass *pass, uint64_t start, uint64_t end)
{
    /* It is dirty, and gets sent. */
}

static void undecided(SkipPass *pass, uint64_t start, uint64_t end, int error)
{
    trace_skip_unpopulated_host_silent(pass->rb->idstr,
                                       start << qemu_target_page_bits(),
                                       strerror(-error));
    pass->unpopulated = false;
    pass->silent = true;
}

const SkipPolicy skip_unpopulated_policy = {
    .unpopulated = unpopulated,
    .populated = populated,
    .undecided = undecided,
};

void skip_unpopulated_count_pass(const SkipPass *pass)
{
    if (skip_unpopulated.running) {
        skip_unpopulated.skipped_pages += pass->unpopulated_skipped;
        skip_unpopulated.zero_pages += pass->zeroed;
        trace_skip_unpopulated_sync_end(pass->unpopulated_skipped,
                                        pass->zeroed);
    }
}

/* ---- Statistics ---- */

void skip_unpopulated_fill_info(MigrationInfo *info)
{
    SkipUnpopulatedInfo *skip;

    if (!skip_unpopulated.started || !migrate_skip_unpopulated()) {
        return;
    }
    skip = g_new0(SkipUnpopulatedInfo, 1);
    skip->skipped_pages = skip_unpopulated.skipped_pages;
    skip->skipped_bytes =
        skip_unpopulated.skipped_pages << qemu_target_page_bits();
    skip->zero_pages = skip_unpopulated.zero_pages;
    skip->left_alone = QAPI_CLONE(SkipUnpopulatedLeftAloneList,
                                  skip_unpopulated.left_alone);
    info->skip_unpopulated = skip;
}

void skip_unpopulated_print_info(Monitor *mon, const MigrationInfo *info)
{
    const SkipUnpopulatedInfo *skip = info->skip_unpopulated;
    const SkipUnpopulatedLeftAloneList *l;

    if (!skip) {
        return;
    }
    monitor_printf(mon, "skip-unpopulated skipped: %" PRIu64 " pages, "
                   "%" PRIu64 " kbytes\n",
                   skip->skipped_pages, skip->skipped_bytes / KiB);
    monitor_printf(mon, "skip-unpopulated sent as zeroes: %" PRIu64 " pages\n",
                   skip->zero_pages);
    for (l = skip->left_alone; l; l = l->next) {
        monitor_printf(mon, "skip-unpopulated left alone: %s, %" PRIu64
                       " kbytes (%s)\n", l->value->id, l->value->size / KiB,
                       SkipUnpopulatedReason_str(l->value->reason));
    }
}
