/*
 * What the memory and the balloon of a guest have to be, as the test knows
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "guest-model.h"

GuestModel *model_new(uint64_t ram_size)
{
    GuestModel *m = g_new0(GuestModel, 1);

    m->pages = ram_size / BALLOON_PAGE;
    m->value = g_new0(uint8_t, m->pages);
    m->ballooned = g_new0(bool, m->pages);
    m->read = g_new0(bool, m->pages);
    m->low = g_malloc0(BG_RAM_START);
    return m;
}

void model_free(GuestModel *m)
{
    g_free(m->value);
    g_free(m->ballooned);
    g_free(m->read);
    g_free(m->low);
    g_free(m);
}

static void note_request(GuestModel *m, uint64_t page, bool inflate)
{
    if (inflate) {
        m->value[page] = 0;
    }
    m->ballooned[page] = inflate;
    m->read[page] = false;
}

static void request(GuestModel *m, BGuest *g, uint64_t start, uint64_t length,
                    bool inflate)
{
    uint64_t page;

    bg_request_range(g, inflate ? BG_INFLATE : BG_DEFLATE, start, length);
    for (page = start / BALLOON_PAGE; page < (start + length) / BALLOON_PAGE;
         page++) {
        note_request(m, page, inflate);
    }
}

void model_inflate(GuestModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    request(m, g, start, length, true);
}

void model_deflate(GuestModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    request(m, g, start, length, false);
}

void model_may_be_read(GuestModel *m, uint64_t start, uint64_t length)
{
    memset(m->read + start / BALLOON_PAGE, true, length / BALLOON_PAGE);
}

void model_none_read(GuestModel *m)
{
    memset(m->read, false, m->pages);
}

static void fill_page(GuestModel *m, BGuest *g, uint64_t page, uint8_t seed)
{
    g_assert_false(m->ballooned[page]);
    m->value[page] = 1 + (page * 7 + seed) % 255;
    qtest_memset(g->qts, page * BALLOON_PAGE, m->value[page], BALLOON_PAGE);
}

void model_fill(GuestModel *m, BGuest *g, uint64_t start, uint64_t length,
                uint8_t seed)
{
    uint64_t page;

    for (page = start / BALLOON_PAGE; page < (start + length) / BALLOON_PAGE;
         page++) {
        fill_page(m, g, page, seed);
    }
}

/* One request for all pages of the range that are not (or are) in the map */
static void request_rest(GuestModel *m, BGuest *g, uint64_t start,
                         uint64_t length, bool inflate)
{
    g_autofree uint32_t *pfns = g_new(uint32_t, length / BALLOON_PAGE);
    uint64_t page;
    size_t n = 0;

    for (page = start / BALLOON_PAGE; page < (start + length) / BALLOON_PAGE;
         page++) {
        if (m->ballooned[page] != inflate) {
            pfns[n++] = page;
            note_request(m, page, inflate);
        }
    }
    if (n) {
        bg_request(g, inflate ? BG_INFLATE : BG_DEFLATE, pfns, n);
    }
}

void model_restore_used(GuestModel *m, BGuest *g, uint64_t start,
                        uint64_t length)
{
    uint64_t page;

    request_rest(m, g, start, length, false);
    for (page = start / BALLOON_PAGE; page < (start + length) / BALLOON_PAGE;
         page++) {
        if (!m->value[page]) {
            fill_page(m, g, page, 1);
        }
    }
}

void model_restore_ballooned(GuestModel *m, BGuest *g, uint64_t start,
                             uint64_t length)
{
    request_rest(m, g, start, length, true);
}

void model_restore_fresh(GuestModel *m, BGuest *g, uint64_t start,
                         uint64_t length)
{
    request_rest(m, g, start, length, true);
    request_rest(m, g, start, length, false);
}

void model_note_low(GuestModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, BG_RAM_START);
    uint64_t addr;

    for (addr = 0; addr < BG_RAM_START; addr += BALLOON_PAGE) {
        if (populated[addr / BALLOON_PAGE]) {
            bg_read(g, addr, m->low + addr, BALLOON_PAGE);
        } else {
            memset(m->low + addr, 0, BALLOON_PAGE);
        }
    }
}

uint64_t model_ballooned(const GuestModel *m, uint64_t *read)
{
    uint64_t page, n = 0, n_read = 0;

    for (page = 0; page < m->pages; page++) {
        n += m->ballooned[page];
        n_read += m->ballooned[page] && m->read[page];
    }
    if (read) {
        *read = n_read;
    }
    return n;
}

/* Page @page as it has to be */
static void expected_page(const GuestModel *m, uint64_t page, uint8_t *buf)
{
    if (page < BG_RAM_START / BALLOON_PAGE) {
        memcpy(buf, m->low + page * BALLOON_PAGE, BALLOON_PAGE);
    } else {
        memset(buf, m->value[page], BALLOON_PAGE);
    }
}

char *model_check_memory(const GuestModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, m->pages * BALLOON_PAGE);
    uint64_t page;

    for (page = 0; page < m->pages; page++) {
        uint8_t expected[BALLOON_PAGE], found[BALLOON_PAGE] = { };

        expected_page(m, page, expected);
        if (populated[page]) {
            if (m->ballooned[page] && !m->read[page]) {
                return g_strdup_printf("page 0x%" PRIx64 " is in the balloon "
                                       "and populated", page);
            }
            bg_read(g, page * BALLOON_PAGE, found, sizeof(found));
        }
        if (memcmp(found, expected, sizeof(found))) {
            return g_strdup_printf("page 0x%" PRIx64 " is %02x..., and not "
                                   "%02x...", page, found[0], expected[0]);
        }
    }
    return NULL;
}

/* The first run at or after @page; false if there is none */
static bool next_run(const GuestModel *m, uint64_t page, BGRun *run)
{
    uint64_t end;

    while (page < m->pages && !m->ballooned[page]) {
        page++;
    }
    for (end = page; end < m->pages && m->ballooned[end]; end++) {
        continue;
    }
    run->start = page * BALLOON_PAGE;
    run->length = (end - page) * BALLOON_PAGE;
    return page < m->pages;
}

char *model_check_map(const GuestModel *m, BGuest *g)
{
    g_autoptr(GArray) found = bg_map_runs(g);
    BGRun expected = { };
    unsigned int i = 0;

    while (next_run(m, (expected.start + expected.length) / BALLOON_PAGE,
                    &expected)) {
        BGRun *run = i < found->len ? &g_array_index(found, BGRun, i) : NULL;

        if (!run || run->start != expected.start ||
            run->length != expected.length) {
            return g_strdup_printf("run %u of the balloon map is 0x%" PRIx64
                                   "+0x%" PRIx64 ", and not 0x%" PRIx64
                                   "+0x%" PRIx64, i, run ? run->start : 0,
                                   run ? run->length : 0, expected.start,
                                   expected.length);
        }
        i++;
    }
    return i == found->len ? NULL
           : g_strdup_printf("the balloon map has %u runs, and not %u",
                             found->len, i);
}
