/*
 * Drop memory of the destination: make it read as zero, letting go of it where
 * that can be done
 *
 * What is let go of is asked for first, but if it takes long to be certain
 * that nothing is there, letting go costs less.  What has to stay, since it is
 * locked, preallocated, used by a device or belongs to a template, is set to
 * zero in place, page by page, where it is not zero.  For that it is read, and
 * to read a hole of a file through its mapping would allocate memory, so then
 * the answer has to be certain.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/madvise.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "system/hostmem.h"
#include "system/system.h"
#include "page-run.h"
#include "drop.h"
#include "pages.h"

/* Memory that is asked about in one go */
#define ASK (256 * MiB)

/* Small pages that are let go of in one go; about 0.2 us each */
#define LET_GO (16 * MiB)

/* The same with huge pages, about 5 us each; where there are none, 10 ns */
#define LET_GO_HUGE (256 * MiB)

/* Memory that is set to zero in one go, for which a copy may be made */
#define IN_PLACE (2 * MiB)

struct SkipDrop {
    /* Stays: its memory region is referenced; but see skip_drop_block() */
    RAMBlock *rb;
    uint64_t length;
    bool is_template;
    /* What there is could not be let go of. */
    bool failed;
    /* Why the step under way drops */
    SkipDropReason reason;
    /* Asks what has to be let go of; NULL for a template */
    PopulatedScan *scan;
    /* Asks what has to be looked at in place; NULL until there is something */
    PopulatedScan *exact;
    /* Asks what the template itself holds; the same */
    PopulatedScan *file;
    /* The huge page that was looked at last; whether it is zero */
    uint64_t edge;
    bool edge_zero;
};

#define NO_EDGE UINT64_MAX

#define TYPE_MEMORY_BACKEND_FILE "memory-backend-file"
#define TYPE_MEMORY_BACKEND_MEMFD "memory-backend-memfd"

/* ---- What can be let go of ---- */

/* Did QEMU make the file, so that nobody else can have it? */
static bool is_made_by_us(const RAMBlock *rb)
{
    Object *owner = rb->mr ? rb->mr->owner : NULL;
    g_autofree char *path = NULL;

    if (!owner) {
        return false;
    }
    if (object_dynamic_cast(owner, TYPE_MEMORY_BACKEND_MEMFD)) {
        return true;
    }
    if (object_dynamic_cast(owner, TYPE_MEMORY_BACKEND_FILE)) {
        path = object_property_get_str(owner, "mem-path", NULL);
    }
    return path && g_file_test(path, G_FILE_TEST_IS_DIR);
}

static bool is_template(RAMBlock *rb)
{
    return rb->fd >= 0 && !qemu_ram_is_shared(rb) && !is_made_by_us(rb);
}

bool skip_drop_stays_populated(const RAMBlock *rb)
{
    return (skip_unpopulated_is_guest_ram(rb) &&
            MEMORY_BACKEND(rb->mr->owner)->prealloc) ||
           (rb->mr && memory_region_has_ram_discard_manager(rb->mr));
}

/* Nobody wants it to stay populated. */
static bool may_go(const RAMBlock *rb, SkipDropReason reason)
{
    return reason == SKIP_DROP_UNPLUGGED ||
           (!ram_block_discard_is_disabled() && !should_mlock(mlock_state) &&
            (reason == SKIP_DROP_GIVEN_BACK ||
             !skip_drop_stays_populated(rb)));
}

bool skip_drop_lets_go(RAMBlock *rb)
{
    return !is_template(rb) && may_go(rb, SKIP_DROP_STALE);
}

static bool lets_go(const SkipDrop *drop, SkipDropReason reason)
{
    return !drop->is_template && !drop->failed && may_go(drop->rb, reason);
}

/* ---- What there is ---- */

/*
 * Is [@start, *@next) populated?  Return value as of populated_scan_next(), in
 * whole balloon pages: a file system may have smaller blocks.
 */
static int ask(const SkipDrop *drop, PopulatedScan *scan, uint64_t start,
               uint64_t end, uint64_t *next)
{
    /* A huge page has to be let go of as a whole. */
    uint64_t piece = MAX(ASK, drop->rb->page_size);
    uint64_t stop = MIN(QEMU_ALIGN_DOWN(start, piece) + piece, end);
    int ret = populated_scan_next(scan, start, stop, next);

    if (!ret && *next - start < BALLOON_MAP_PAGE_SIZE) {
        ret = 1;
    }
    *next = ret ? QEMU_ALIGN_UP(*next, BALLOON_MAP_PAGE_SIZE)
                : QEMU_ALIGN_DOWN(*next, BALLOON_MAP_PAGE_SIZE);
    return ret;
}

/* ---- In place ---- */

static PopulatedScan *exact_scan(SkipDrop *drop)
{
    if (!drop->exact) {
        drop->exact = populated_scan_of_block(drop->rb, POPULATED_TO_SKIP);
        if (drop->rb->page_size > qemu_real_host_page_size() &&
            !qemu_ram_is_shared(drop->rb)) {
            /* Nobody populates anything while this is used. */
            RCU_READ_LOCK_GUARD();
            populated_scan_count_block(drop->exact, drop->rb);
        }
    }
    return drop->exact;
}

/* A page that is zero stays as it is, so that none is made of it for us. */
static int zero_pages(SkipDrop *drop, uint64_t start, uint64_t end)
{
    uint64_t page = qemu_real_host_page_size();

    while (start < end) {
        uint64_t next = MIN(QEMU_ALIGN_DOWN(start, page) + page, end);
        uint8_t *host = drop->rb->host + start;

        if (!buffer_is_zero(host, next - start)) {
            if (drop->reason == SKIP_DROP_UNPLUGGED &&
                !lets_go(drop, drop->reason)) {
                return -ENOTSUP;
            }
            memset(host, 0, next - start);
        }
        start = next;
    }
    return 1;
}

static PopulatedScan *file_scan(SkipDrop *drop)
{
    if (!drop->file) {
        PopulatedMemory mem = {
            .host = drop->rb->host,
            .length = drop->length,
            .page_size = drop->rb->page_size,
            .host_page_size = qemu_real_host_page_size(),
            .fd = drop->rb->fd,
            .fd_offset = drop->rb->fd_offset,
            /* Page tables tell of our own copies, too. */
            .shared = true,
        };

        drop->file = populated_scan_new(&mem, POPULATED_TO_SKIP);
    }
    return drop->file;
}

/* Is [@start, *@next) zero in the template?  Shortens @next. */
static bool is_zero_in_template(SkipDrop *drop, uint64_t start, uint64_t *next)
{
    struct stat st;

    if (drop->rb->page_size > qemu_real_host_page_size()) {
        /* What a part of such a file holds would have to be read. */
        return !fstat(drop->rb->fd, &st) && !st.st_blocks;
    }
    return !ask(drop, file_scan(drop), start, *next, next);
}

/*
 * Where the template itself is zero there is no need for a copy that is.  This
 * does not touch the file.  Returns false if it cannot be done.
 */
static bool let_go_of_copies(SkipDrop *drop, uint64_t start, uint64_t *next)
{
    uint64_t page_size = drop->rb->page_size;

    return drop->is_template && may_go(drop->rb, drop->reason) &&
           is_zero_in_template(drop, start, next) &&
           QEMU_IS_ALIGNED(start | *next, page_size) &&
           !qemu_madvise(drop->rb->host + start, *next - start,
                         QEMU_MADV_DONTNEED);
}

static int step_in_place(SkipDrop *drop, uint64_t start, uint64_t end,
                         uint64_t *next)
{
    if (!ask(drop, exact_scan(drop), start, end, next)) {
        return 0;
    }
    *next = MIN(*next, start + MAX(IN_PLACE, drop->rb->page_size));
    if (let_go_of_copies(drop, start, next)) {
        return 1;
    }
    *next = MIN(*next, start + IN_PLACE);
    return zero_pages(drop, start, *next);
}

/*
 * A part of a huge page cannot be let go of.  If the host has to look into the
 * file to be certain, that takes long, so remember what it said: there may be
 * many parts.
 */
static int zero_edge(SkipDrop *drop, uint64_t start, uint64_t end)
{
    uint64_t page_size = drop->rb->page_size;
    uint64_t page = QEMU_ALIGN_DOWN(start, page_size);
    uint64_t next;

    if (start == end) {
        return 1;
    }
    if (drop->edge != page) {
        drop->edge_zero = !populated_scan_next(exact_scan(drop), page,
                                               page + page_size, &next) &&
                          next == page + page_size;
        drop->edge = page;
    }
    return drop->edge_zero ? 1 : zero_pages(drop, start, end);
}

/* ---- Let go ---- */

/* Returns 0 if it cannot be done. */
static int let_go(SkipDrop *drop, uint64_t start, uint64_t end)
{
    uint64_t page_size = drop->rb->page_size;
    uint64_t whole_start = QEMU_ALIGN_UP(start, page_size);
    uint64_t whole_end = QEMU_ALIGN_DOWN(end, page_size);
    int ret;

    if (whole_start >= whole_end) {
        /* Parts of two huge pages, or of one */
        uint64_t middle = MIN(whole_start, end);

        ret = zero_edge(drop, start, middle);
        return ret < 0 ? ret : zero_edge(drop, middle, end);
    }
    if (ram_block_discard_range(drop->rb, whole_start,
                                whole_end - whole_start)) {
        return 0;
    }
    ret = zero_edge(drop, start, whole_start);
    return ret < 0 ? ret : zero_edge(drop, whole_end, end);
}

static uint64_t end_of_piece(const SkipDrop *drop, uint64_t start,
                             uint64_t end)
{
    uint64_t page_size = drop->rb->page_size;
    uint64_t piece = page_size > qemu_real_host_page_size() ? LET_GO_HUGE
                                                            : LET_GO;

    return MIN(QEMU_ALIGN_DOWN(start, page_size) + MAX(piece, page_size), end);
}

int skip_drop_step(SkipDrop *drop, SkipDropReason reason, uint64_t start,
                   uint64_t end, uint64_t *next)
{
    int ret;

    if (!skip_drop_block(drop) || end > drop->length) {
        return -ENOENT;
    }
    drop->reason = reason;
    if (lets_go(drop, reason)) {
        if (!ask(drop, drop->scan, start, end, next)) {
            return 0;
        }
        *next = end_of_piece(drop, start, *next);
        ret = let_go(drop, start, *next);
        if (ret) {
            return ret;
        }
        drop->failed = true;
    }
    return step_in_place(drop, start, end, next);
}

uint64_t skip_drop_find(SkipDrop *drop, uint64_t start, uint64_t end)
{
    uint64_t next;

    return ask(drop, lets_go(drop, SKIP_DROP_STALE) ? drop->scan
                                                     : exact_scan(drop),
               start, end, &next) ? start : next;
}

bool skip_drop_page(RAMBlock *rb, uint64_t offset, uint64_t size)
{
    return rb->page_size <= size && may_go(rb, SKIP_DROP_STALE) &&
           (rb->fd < 0 || qemu_ram_is_shared(rb)) &&
           !ram_block_discard_range(rb, offset, size);
}

/* ---- The object ---- */

SkipDrop *skip_drop_new(RAMBlock *rb)
{
    SkipDrop *drop = g_new0(SkipDrop, 1);

    assert(bql_locked());
    memory_region_ref(rb->mr);
    drop->rb = rb;
    drop->length = rb->used_length;
    drop->is_template = is_template(rb);
    drop->edge = NO_EDGE;
    if (!drop->is_template) {
        drop->scan = populated_scan_of_block(rb, POPULATED_TO_DROP);
    }
    return drop;
}

void skip_drop_free(SkipDrop *drop)
{
    assert(bql_locked());
    if (drop) {
        populated_scan_free(drop->scan);
        populated_scan_free(drop->exact);
        populated_scan_free(drop->file);
        memory_region_unref(drop->rb->mr);
        g_free(drop);
    }
}

RAMBlock *skip_drop_block(const SkipDrop *drop)
{
    RAMBlock *rb = drop->rb;

    /* Its name is taken away when it is unplugged. */
    return rb->idstr[0] && rb->used_length == drop->length ? rb : NULL;
}

void skip_drop_look_again(SkipDrop *drop)
{
    if (drop->scan) {
        populated_scan_window(drop->scan, drop->length);
    }
    if (drop->exact) {
        populated_scan_window(drop->exact, drop->length);
    }
    if (drop->file) {
        populated_scan_window(drop->file, drop->length);
    }
    drop->edge = NO_EDGE;
}
