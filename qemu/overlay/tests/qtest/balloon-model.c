/*
 * What the memory of a test's guest has to hold, and what is in its balloon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-model.h"

BalloonModel *bm_new(const BGuest *g)
{
    BalloonModel *m = g_new0(BalloonModel, 1);

    m->npages = g->options.ram_size / BALLOON_PAGE;
    m->page = g_new0(BMPage, m->npages);
    return m;
}

void bm_free(BalloonModel *m)
{
    g_free(m->page);
    g_free(m);
}

BalloonModel *bm_copy(const BalloonModel *m)
{
    BalloonModel *copy = g_memdup2(m, sizeof(*m));

    copy->page = g_memdup2(m->page, m->npages * sizeof(*m->page));
    return copy;
}

void bm_empty_balloon(BalloonModel *m)
{
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        m->page[i].in_balloon = false;
    }
}

static BMPage *first_page(BalloonModel *m, uint64_t start, uint64_t length)
{
    g_assert_cmphex(start, >=, BG_RAM_START);
    g_assert_cmphex(start + length, <=, m->npages * BALLOON_PAGE);
    return &m->page[start / BALLOON_PAGE];
}

void bm_fill(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
             uint8_t seed)
{
    BMPage *page = first_page(m, start, length);
    uint64_t addr;

    for (addr = start; addr < start + length; addr += BALLOON_PAGE, page++) {
        page->value = 1 + (addr / BALLOON_PAGE * 7 + seed) % 255;
        page->touched |= page->in_balloon;
        qtest_memset(g->qts, addr, page->value, BALLOON_PAGE);
    }
}

void bm_inflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *page = first_page(m, start, length);
    uint64_t i;

    bg_request_range(g, BG_INFLATE, start, length);
    for (i = 0; i < length / BALLOON_PAGE; i++) {
        page[i] = (BMPage) { .in_balloon = true };
    }
}

void bm_inflate_in_vain(BalloonModel *m, BGuest *g, uint64_t start,
                        uint64_t length)
{
    first_page(m, start, length);
    bg_request_range(g, BG_INFLATE, start, length);
}

void bm_deflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *page = first_page(m, start, length);
    uint64_t i;

    bg_request_range(g, BG_DEFLATE, start, length);
    for (i = 0; i < length / BALLOON_PAGE; i++) {
        page[i].in_balloon = false;
    }
}

void bm_migrated(BalloonModel *m)
{
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        m->page[i].touched &= m->page[i].value != 0;
    }
}

void bm_note_populated(BalloonModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, g->options.ram_size);
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        m->page[i].touched |= populated[i];
    }
}

static void compare(const uint8_t *content, const BMPage *page, uint64_t addr)
{
    uint64_t i;

    for (i = 0; i < BALLOON_PAGE; i++) {
        if (content[i] != page->value) {
            g_error("page 0x%" PRIx64 " holds %02x at %" PRIu64 ", not %02x%s",
                    addr, content[i], i, page->value,
                    page->in_balloon ? ", in the balloon" : "");
        }
    }
}

void bm_read(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *page = first_page(m, start, length);
    uint8_t content[BALLOON_PAGE];
    uint64_t addr;

    for (addr = start; addr < start + length; addr += BALLOON_PAGE, page++) {
        /* As the guest reads; then all of the page is there to be seen. */
        qtest_readb(g->qts, addr);
        bg_read(g, addr, content, sizeof(content));
        compare(content, page, addr);
        page->touched = true;
    }
}

static bool *pages_of_map(BalloonModel *m, BGuest *g)
{
    bool *in_map = g_new0(bool, m->npages);
    g_autoptr(GArray) runs = bg_map_runs(g);
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);

        memset(in_map + run->start / BALLOON_PAGE, 1,
               run->length / BALLOON_PAGE);
    }
    return in_map;
}

void bm_check(BalloonModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, g->options.ram_size);
    g_autofree bool *in_map = pages_of_map(m, g);
    uint8_t content[BALLOON_PAGE];
    uint64_t i;

    for (i = BG_RAM_START / BALLOON_PAGE; i < m->npages; i++) {
        const BMPage *page = &m->page[i];
        uint64_t addr = i * BALLOON_PAGE;

        if (in_map[i] && !page->in_balloon) {
            g_error("page 0x%" PRIx64 " is in the map, and in use", addr);
        }
        if (page->in_balloon && !in_map[i]) {
            g_error("page 0x%" PRIx64 " is missing in the map", addr);
        }
        if (page->in_balloon && !page->touched && populated[i]) {
            g_error("page 0x%" PRIx64 " is in the balloon, and populated",
                    addr);
        }
        if (populated[i]) {
            bg_read(g, addr, content, sizeof(content));
            compare(content, page, addr);
        } else if (page->value) {
            g_error("page 0x%" PRIx64 " is not populated", addr);
        }
    }
}
