/*
 * The told set: what the destination knows to be zero
 *
 * A page that is skipped has to be told: the destination may hold something of
 * it, which was sent before, or was there before the migration.
 *
 *                 a pass skips it           a word names it
 *      (to be sent) ----------> (pending) ------------------> (told)
 *            ^                      |                            |
 *            +----------------------+----------------------------+
 *                 it is dirty, not to be skipped, and is sent
 *
 * The thread that sends pages is the one that writes words, so the order of
 * both in the stream is the order in which this happens, and what was sent
 * after it was skipped is not named.
 *
 * What the guest gives back after a pass was made is dirty, and the next pass
 * may be far away.  To read it would populate shared memory, and private
 * memory, too, where the kernel maps no page of zeroes: the migration would
 * undo, on the source, the ballooning that goes on meanwhile.  So what is
 * discarded during the migration is noted, and when such a page is to be sent
 * the host is asked first.  Its dirty bit has been cleared by then and the
 * tracking of writes is armed, so the answer is worth as much as reading the
 * page: a write before it populates the page, a write after it makes it dirty
 * again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "exec/target_page.h"
#include "migration/migration.h"
#include "migration/options.h"
#include "migration/ram.h"
#include "balloon-codec.h"
#include "control.h"
#include "hooks.h"
#include "section.h"
#include "told.h"

/* Of @rb, however large it becomes: a bit for each in all bitmaps */
static uint64_t pages_of(const RAMBlock *rb)
{
    return rb->max_length >> qemu_target_page_bits();
}

void skip_told_start(void)
{
    RAMBlock *rb;

    assert(bql_locked());
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipPages *pages = rb->skip_pages;

        pages->told = bitmap_new(pages_of(rb));
        if (!migrate_mapped_ram()) {
            pages->pending = bitmap_new(pages_of(rb));
        }
    }
}

void skip_told_skip(RAMBlock *rb, uint64_t start, uint64_t end)
{
    SkipPages *pages = skip_pages_of(rb);

    bitmap_clear(rb->bmap, start, end - start);
    if (rb->file_bmap) {
        /*
         * With mapped-ram: what the file may have for these pages is not to
         * be loaded.  Other threads note other pages in the same words.
         */
        bitmap_test_and_clear_atomic(rb->file_bmap, start, end - start);
    }
    if (pages && !pages->pending) {
        /* The file tells it. */
        bitmap_set(pages->told, start, end - start);
        return;
    }
    while (pages &&
           (start = find_next_zero_bit(pages->told, end, start)) < end) {
        uint64_t stop = find_next_bit(pages->told, end, start);

        pages->npending += stop - start -
                           page_run_count(pages->pending, start, stop);
        bitmap_set(pages->pending, start, stop - start);
        start = stop;
    }
}

void skip_told_skip_word(RAMBlock *rb, size_t word, unsigned long bits)
{
    SkipPages *pages = skip_pages_of(rb);

    rb->bmap[word] &= ~bits;
    if (rb->file_bmap) {
        qatomic_and(&rb->file_bmap[word], ~bits);
    }
    if (!pages) {
        return;
    }
    if (!pages->pending) {
        pages->told[word] |= bits;
        return;
    }
    bits &= ~pages->told[word];
    pages->npending += ctpopl(bits & ~pages->pending[word]);
    pages->pending[word] |= bits;
}

/* ---- Words ---- */

/* What is pending in [@page, @end) has been told; @page begins a word. */
static void make_told(SkipPages *pages, uint64_t page, uint64_t end)
{
    while ((page = find_next_bit(pages->pending, end, page)) < end) {
        size_t word = BIT_WORD(page);

        pages->told[word] |= pages->pending[word];
        pages->npending -= ctpopl(pages->pending[word]);
        pages->pending[word] = 0;
    }
}

bool skip_told_next(RAMBlock *rb, uint64_t *chunk)
{
    SkipPages *pages = skip_pages_of(rb);
    uint64_t page = *chunk << BALLOON_CHUNK_SHIFT;
    uint64_t npages = pages_of(rb);
    bool found = false;

    /* The main loop may wait for the lock with the BQL held. */
    while (pages && pages->pending && !found && page < npages) {
        uint64_t stop = MIN(page + SKIP_SECTION_PAGES, npages);

        ram_bitmap_lock();
        page = pages->npending ? find_next_bit(pages->pending, stop, page)
                               : npages;
        ram_bitmap_unlock(0);
        found = page < stop;
    }
    *chunk = page >> BALLOON_CHUNK_SHIFT;
    return found;
}

size_t skip_told_encode(RAMBlock *rb, uint64_t *chunk, uint8_t *buf,
                        size_t size)
{
    SkipPages *pages = skip_pages_of(rb);
    uint64_t npages = pages_of(rb), first = *chunk;

    if (!pages || !pages->pending) {
        /* The guest ejected it meanwhile. */
        *chunk = balloon_codec_chunks(npages);
        return 0;
    }
    ram_bitmap_lock();
    size = balloon_codec_encode(pages->pending, npages, chunk,
                                first + SKIP_SECTION_CHUNKS, buf, size);
    make_told(pages, first << BALLOON_CHUNK_SHIFT,
              MIN(*chunk << BALLOON_CHUNK_SHIFT, npages));
    ram_bitmap_unlock(0);
    return size;
}

uint64_t skip_told_pending(void)
{
    uint64_t sum = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        SkipPages *pages = skip_pages_of(rb);

        if (pages) {
            ram_bitmap_lock();
            sum += pages->npending;
            ram_bitmap_unlock(0);
        }
    }
    return sum;
}

/* ---- Sending ---- */

void skip_told_sent(RAMBlock *rb, SkipPages *pages, unsigned long page)
{
    if (test_bit(page, pages->told)) {
        clear_bit(page, pages->told);
        /* What was sent before it was told is not what it is changed from. */
        ram_xbzrle_zero_page(rb, page);
    }
    if (pages->pending && test_bit(page, pages->pending)) {
        clear_bit(page, pages->pending);
        pages->npending--;
    }
}

void skip_told_note_discard(RAMBlock *rb, uint64_t offset, uint64_t length)
{
    int bits = qemu_target_page_bits();
    /* A part of a target page may complete it. */
    uint64_t start = offset >> bits;
    uint64_t end = DIV_ROUND_UP(offset + length, UINT64_C(1) << bits);
    SkipPages *pages = rb->skip_pages;

    assert(bql_locked());
    if (!pages || !skip_unpopulated_can_ask(rb) ||
        rb->page_size != qemu_real_host_page_size()) {
        return;
    }
    if (!pages->discarded) {
        qatomic_store_release(&pages->discarded,
                              bitmap_new(pages_of(rb)));
    }
    bitmap_set_atomic(pages->discarded, start, end - start);
}

/* Where pages from @page on that are alike end: dirty, discarded, and armed */
static uint64_t end_of_discarded(const RAMBlock *rb, const SkipPages *pages,
                                 uint64_t page)
{
    uint64_t armed = MIN(((page >> rb->clear_bmap_shift) + 1)
                         << rb->clear_bmap_shift,
                         rb->used_length >> qemu_target_page_bits());
    uint64_t end = find_next_zero_bit(pages->discarded, armed, page);

    return find_next_zero_bit(rb->bmap, end, page + 1);
}

uint64_t skip_told_skip_discarded(RAMBlock *rb, SkipPages *pages,
                                  unsigned long page)
{
    SkipMigration *m = skip_migration();
    int bits = qemu_target_page_bits();
    uint64_t first = page;
    uint64_t end, next;
    int ret;

    /*
     * In postcopy two threads may send.  Nor is there a need: the guest is
     * stopped, and the last pass has looked at everything.
     *
     * If the main loop has synchronized the dirty bitmap and no pass has been
     * made since, TCG may not note what is written next: where all that it
     * found was dirty before, it left the TLBs as they are.
     */
    if (migration_in_postcopy() || qatomic_read(&m->due)) {
        return 0;
    }
    if (!pages->discarded_scan) {
        pages->discarded_scan = populated_scan_of_block(rb, POPULATED_TO_SKIP);
    }
    end = end_of_discarded(rb, pages, page);
    /*
     * Before the question: what is discarded behind it, and noted then, must
     * not be taken for what the answer is about.
     */
    bitmap_test_and_clear_atomic(pages->discarded, first, end - first);
    populated_scan_window(pages->discarded_scan, end << bits);
    ret = populated_scan_next(pages->discarded_scan, first << bits,
                              end << bits, &next);
    next >>= bits;
    if (ret) {
        /* It is used again, or not decided: do not ask about it once more. */
        next = MAX(next, first + 1);
        bitmap_set_atomic(pages->discarded, next, end - next);
        return 0;
    }
    bitmap_set_atomic(pages->discarded, first, end - first);
    if (next > first) {
        skip_told_skip(rb, first, next);
        qatomic_set(&m->late, m->late + next - first);
    }
    return next - first;
}
