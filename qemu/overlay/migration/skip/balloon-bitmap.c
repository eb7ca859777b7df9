/*
 * Balloon bitmap: which 4 KiB balloon pages of one RAM block the guest
 * gave back, kept as a bitmap and worked on by run
 *
 * The number of set pages and the number of runs are maintained with each
 * change.  Counting them on demand would cost a pass over 32 MiB for a guest
 * of 1 TiB, under the big lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-bitmap.h"

#define WORD_BITS 64
#define WORD_ALL UINT64_MAX

struct BalloonBitmap {
    uint64_t *words;
    uint64_t pages;
    uint64_t count;
    uint64_t runs;
};

static uint64_t *new_words(uint64_t pages)
{
    return g_new0(uint64_t, (pages + WORD_BITS - 1) / WORD_BITS);
}

BalloonBitmap *balloon_bitmap_new(uint64_t pages)
{
    BalloonBitmap *b = g_new0(BalloonBitmap, 1);

    b->pages = pages;
    b->words = new_words(pages);
    return b;
}

void balloon_bitmap_clear_all(BalloonBitmap *b)
{
    g_free(b->words);
    b->words = new_words(b->pages);
    b->count = 0;
    b->runs = 0;
}

void balloon_bitmap_free(BalloonBitmap *b)
{
    if (b) {
        g_free(b->words);
        g_free(b);
    }
}

uint64_t balloon_bitmap_size(const BalloonBitmap *b)
{
    return b->pages;
}

uint64_t balloon_bitmap_count(const BalloonBitmap *b)
{
    return b->count;
}

uint64_t balloon_bitmap_runs(const BalloonBitmap *b)
{
    return b->runs;
}

bool balloon_bitmap_test(const BalloonBitmap *b, uint64_t page)
{
    return page < b->pages &&
           (b->words[page / WORD_BITS] >> (page % WORD_BITS) & 1);
}

uint64_t balloon_bitmap_word(const BalloonBitmap *b, uint64_t page)
{
    return page < b->pages ? b->words[page / WORD_BITS] >> page % WORD_BITS
                           : 0;
}

/*
 * First page in [@from, @limit) whose bit differs from those of @skip, which
 * is all zeroes to find a set page and all ones to find a clear one;
 * @limit if there is none.
 */
static uint64_t find_page(const BalloonBitmap *b, uint64_t from,
                          uint64_t limit, uint64_t skip)
{
    uint64_t i = from / WORD_BITS;
    uint64_t word;

    if (from >= limit) {
        return limit;
    }
    word = (b->words[i] ^ skip) & (WORD_ALL << (from % WORD_BITS));
    while (!word) {
        i++;
        if (i * WORD_BITS >= limit) {
            return limit;
        }
        word = b->words[i] ^ skip;
    }
    return MIN(i * WORD_BITS + __builtin_ctzll(word), limit);
}

bool balloon_bitmap_next_run_before(const BalloonBitmap *b, uint64_t from,
                                    uint64_t limit, BalloonRun *run)
{
    limit = MIN(limit, b->pages);
    run->start = find_page(b, from, limit, 0);
    if (run->start >= limit) {
        return false;
    }
    run->end = find_page(b, run->start, limit, WORD_ALL);
    return true;
}

bool balloon_bitmap_next_run(const BalloonBitmap *b, uint64_t from,
                             BalloonRun *run)
{
    return balloon_bitmap_next_run_before(b, from, b->pages, run);
}

/* The bits of word @i that lie in the pages [@start, @end) */
static uint64_t word_mask(uint64_t i, uint64_t start, uint64_t end)
{
    uint64_t mask = WORD_ALL;

    if (i == start / WORD_BITS) {
        mask &= WORD_ALL << (start % WORD_BITS);
    }
    if (i == (end - 1) / WORD_BITS) {
        mask &= WORD_ALL >> (WORD_BITS - 1 - (end - 1) % WORD_BITS);
    }
    return mask;
}

uint64_t balloon_bitmap_count_between(const BalloonBitmap *b, uint64_t start,
                                      uint64_t end)
{
    uint64_t count = 0;
    uint64_t i;

    end = MIN(end, b->pages);
    for (i = start / WORD_BITS; start < end && i * WORD_BITS < end; i++) {
        count += __builtin_popcountll(b->words[i] & word_mask(i, start, end));
    }
    return count;
}

/*
 * Make all pages of [@start, @start + @npages) equal @value, which is all
 * zeroes or all ones.  Returns how many pages changed.
 */
static uint64_t fill(BalloonBitmap *b, uint64_t start, uint64_t npages,
                     uint64_t value)
{
    uint64_t end = start + MIN(npages, b->pages - MIN(start, b->pages));
    uint64_t changed = 0, run_starts = 0;
    bool set_before, set_behind;
    uint64_t carry;
    uint64_t i;

    if (start >= end) {
        return 0;
    }

    set_before = start > 0 && balloon_bitmap_test(b, start - 1);
    set_behind = balloon_bitmap_test(b, end);

    /* A run starts where a page is set and the one before it is not. */
    carry = set_before;
    for (i = start / WORD_BITS; i <= (end - 1) / WORD_BITS; i++) {
        uint64_t mask = word_mask(i, start, end);
        uint64_t old = b->words[i] & mask;
        uint64_t before = b->words[i] << 1 | carry;

        run_starts += __builtin_popcountll(old & ~before);
        carry = b->words[i] >> (WORD_BITS - 1);
        changed += __builtin_popcountll(old ^ (value & mask));
        if (i == (end - 1) / WORD_BITS && set_behind &&
            !(old >> ((end - 1) % WORD_BITS) & 1)) {
            run_starts++;
        }
        if (old != (value & mask)) {
            /* Writing to what is equal would only allocate memory. */
            b->words[i] = (b->words[i] & ~mask) | (value & mask);
        }
    }

    b->runs -= run_starts;
    if (value) {
        b->count += changed;
        b->runs += !set_before;
    } else {
        b->count -= changed;
        b->runs += set_behind;
    }
    return changed;
}

uint64_t balloon_bitmap_set(BalloonBitmap *b, uint64_t start,
                            uint64_t npages)
{
    return fill(b, start, npages, WORD_ALL);
}

uint64_t balloon_bitmap_clear(BalloonBitmap *b, uint64_t start,
                              uint64_t npages)
{
    return fill(b, start, npages, 0);
}

void balloon_bitmap_get_raw(const BalloonBitmap *b, uint64_t start,
                            uint64_t npages, uint8_t *bits)
{
    uint64_t i = start / WORD_BITS;
    uint64_t value;

    for (; npages >= WORD_BITS; npages -= WORD_BITS, i++, bits += 8) {
        value = GUINT64_TO_LE(b->words[i]);
        memcpy(bits, &value, 8);
    }
    if (npages) {
        value = b->words[i] & (WORD_ALL >> (WORD_BITS - npages));
        value = GUINT64_TO_LE(value);
        memcpy(bits, &value, (npages + 7) / 8);
    }
}

/* How many runs start in word @i, or right behind it, if it were @value */
static int run_starts_of_word(const BalloonBitmap *b, uint64_t i,
                              uint64_t value)
{
    uint64_t before = i > 0 ? b->words[i - 1] >> (WORD_BITS - 1) : 0;
    bool set_behind = balloon_bitmap_test(b, (i + 1) * WORD_BITS);

    return __builtin_popcountll(value & ~(value << 1 | before)) +
           (set_behind && !(value >> (WORD_BITS - 1)));
}

static void set_bits_of_word(BalloonBitmap *b, uint64_t i, uint64_t bits)
{
    uint64_t old = b->words[i];
    uint64_t new = old | bits;

    b->runs += run_starts_of_word(b, i, new) - run_starts_of_word(b, i, old);
    b->count += __builtin_popcountll(old ^ new);
    b->words[i] = new;
}

void balloon_bitmap_set_raw(BalloonBitmap *b, uint64_t start,
                            uint64_t npages, const uint8_t *bits)
{
    uint64_t i = start / WORD_BITS;
    uint64_t value;

    for (; npages >= WORD_BITS; npages -= WORD_BITS, i++, bits += 8) {
        memcpy(&value, bits, 8);
        set_bits_of_word(b, i, GUINT64_FROM_LE(value));
    }
    if (npages) {
        value = 0;
        memcpy(&value, bits, (npages + 7) / 8);
        value = GUINT64_FROM_LE(value) & (WORD_ALL >> (WORD_BITS - npages));
        set_bits_of_word(b, i, value);
    }
}

void balloon_bitmap_or_word(BalloonBitmap *b, uint64_t page, uint64_t bits)
{
    set_bits_of_word(b, page / WORD_BITS, bits << page % WORD_BITS);
}

bool balloon_run_shrink(BalloonRun *run, uint64_t unit_pages)
{
    run->start = (run->start + unit_pages - 1) & ~(unit_pages - 1);
    run->end &= ~(unit_pages - 1);
    return run->start < run->end;
}
