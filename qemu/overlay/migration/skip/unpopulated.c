/*
 * Migration capability skip-unpopulated: do not scan and do not send guest
 * RAM that the host has no memory for
 *
 * Whatever is not populated reads as zero, whether the guest never touched it,
 * or gave it back and it was discarded.  (In a private mapping of a file that
 * is a hole in the file of which there is no copy of our own.)
 *
 * Here it is decided in which RAM blocks a migration looks for it, and said
 * what came of it.  For how it is done see pass.c.  Left alone is all that
 * is not memory the guest was given as such (ROMs, memory of devices), and what
 * the host does not tell.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-migration.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "system/hostmem.h"
#include "migration/migration.h"
#include "migration/ram.h"
#include "pages.h"
#include "pass.h"
#include "unpopulated.h"
#include "trace.h"

/* All of it is protected by the BQL. */
static struct {
    /* A migration has been started with the capability on */
    bool started;
    /* It is under way */
    bool running;
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
           rb->skip_pages->all_wanted && !rb->skip_pages->given_up;
}

bool skip_unpopulated_is_guest_ram(const RAMBlock *rb)
{
    return rb->mr && object_dynamic_cast(rb->mr->owner, TYPE_MEMORY_BACKEND);
}

/* ---- Which RAM blocks ---- */

bool skip_unpopulated_can_ask(const RAMBlock *rb)
{
    return rb->mr && !memory_region_is_rom(rb->mr) && rb->guest_memfd < 0;
}

bool skip_unpopulated_may_look_at(const RAMBlock *rb)
{
    return skip_unpopulated_is_guest_ram(rb) && skip_unpopulated_can_ask(rb);
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
    qapi_free_SkipUnpopulatedLeftAloneList(skip_unpopulated.left_alone);
    skip_unpopulated.left_alone = NULL;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        rb->skip_pages->all_wanted = skip_unpopulated_may_look_at(rb);
        if (!rb->skip_pages->all_wanted) {
            note_left_alone(rb, SKIP_UNPOPULATED_REASON_NOT_GUEST_RAM);
        }
    }
}

void skip_unpopulated_stop(void)
{
    skip_unpopulated.running = false;
}

/* ---- Statistics ---- */

void skip_unpopulated_fill_info(MigrationInfo *info)
{
    SkipUnpopulatedInfo *skip;

    if (!skip_unpopulated.started || !migrate_skip_unpopulated()) {
        return;
    }
    skip = g_new0(SkipUnpopulatedInfo, 1);
    skip->skipped_pages = skip_pass_counts().unpopulated;
    skip->skipped_bytes = skip->skipped_pages << qemu_target_page_bits();
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
    for (l = skip->left_alone; l; l = l->next) {
        monitor_printf(mon, "skip-unpopulated left alone: %s, %" PRIu64
                       " kbytes (%s)\n", l->value->id, l->value->size / KiB,
                       SkipUnpopulatedReason_str(l->value->reason));
    }
}
