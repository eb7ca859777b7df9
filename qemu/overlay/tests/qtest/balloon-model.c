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
    if (m) {
        g_free(m->page);
        g_free(m->low);
        g_free(m);
    }
}

BalloonModel *bm_copy(const BalloonModel *m)
{
    BalloonModel *copy = g_memdup2(m, sizeof(*m));

    copy->page = g_memdup2(m->page, m->npages * sizeof(*m->page));
    copy->low = g_memdup2(m->low, BG_RAM_START);
    return copy;
}

void bm_note_low(BalloonModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, BG_RAM_START);
    uint64_t addr;

    g_free(m->low);
    m->low = g_malloc0(BG_RAM_START);
    for (addr = 0; addr < BG_RAM_START; addr += BALLOON_PAGE) {
        if (populated[addr / BALLOON_PAGE]) {
            bg_read(g, addr, m->low + addr, BALLOON_PAGE);
        }
    }
}

void bm_empty_balloon(BalloonModel *m)
{
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        m->page[i].in_balloon = false;
    }
}

/* ---- What a guest does ---- */

/* The pages of a range, and one behind the last of them in @end */
static BMPage *pages(const BalloonModel *m, uint64_t start, uint64_t length,
                     BMPage **end)
{
    g_assert_cmphex(start, >=, BG_RAM_START);
    g_assert_cmphex(start + length, <=, m->npages * BALLOON_PAGE);
    *end = &m->page[(start + length) / BALLOON_PAGE];
    return &m->page[start / BALLOON_PAGE];
}

static uint64_t addr_of(const BalloonModel *m, const BMPage *page)
{
    return (page - m->page) * BALLOON_PAGE;
}

static void write_page(BalloonModel *m, BGuest *g, BMPage *page, uint8_t value)
{
    page->value = value;
    page->change = 0;
    page->touched |= page->in_balloon;
    qtest_memset(g->qts, addr_of(m, page), value, BALLOON_PAGE);
}

void bm_fill(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
             uint8_t seed)
{
    BMPage *end, *page = pages(m, start, length, &end);

    for (; page < end; page++) {
        write_page(m, g, page, bg_fill_value(addr_of(m, page), seed));
    }
}

void bm_zero(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *end, *page = pages(m, start, length, &end);

    for (; page < end; page++) {
        write_page(m, g, page, 0);
    }
}

void bm_change(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
               uint8_t bits)
{
    BMPage *end, *page = pages(m, start, length, &end);

    for (; page < end; page++) {
        page->change ^= bits;
        page->touched |= page->in_balloon;
        qtest_writeb(g->qts, addr_of(m, page) + BM_CHANGED_AT,
                     page->value ^ page->change);
    }
}

static void note_request(BMPage *page, bool inflate)
{
    if (inflate) {
        *page = (BMPage) { .in_balloon = true };
    } else {
        page->in_balloon = false;
    }
}

static void request(BalloonModel *m, BGuest *g, uint64_t start,
                    uint64_t length, bool inflate)
{
    BMPage *end, *page = pages(m, start, length, &end);

    bg_request_range(g, inflate ? BG_INFLATE : BG_DEFLATE, start, length);
    for (; page < end; page++) {
        note_request(page, inflate);
    }
}

void bm_inflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    request(m, g, start, length, true);
}

void bm_deflate(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    request(m, g, start, length, false);
}

void bm_complete(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length,
                 bool inflate)
{
    g_autofree uint32_t *pfns = g_new(uint32_t, length / BALLOON_PAGE);
    BMPage *end, *page = pages(m, start, length, &end);
    size_t n = 0;

    for (; page < end; page++) {
        if (page->in_balloon != inflate) {
            note_request(page, inflate);
            pfns[n++] = page - m->page;
        }
    }
    if (n) {
        bg_request(g, inflate ? BG_INFLATE : BG_DEFLATE, pfns, n);
    }
}

void bm_report(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *end, *page = pages(m, start, length, &end);

    bg_report(g, start, length);
    for (; page < end; page++) {
        *page = (BMPage) { .in_balloon = page->in_balloon };
    }
}

/* ---- What the host does ---- */

void bm_touch(BalloonModel *m, uint64_t start, uint64_t length)
{
    uint64_t i;

    for (i = start / BALLOON_PAGE; i < (start + length) / BALLOON_PAGE; i++) {
        m->page[i].touched = true;
    }
}

void bm_migrated(BalloonModel *m)
{
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        m->page[i].touched &= m->page[i].value || m->page[i].change;
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

/* ---- What it has to come to ---- */

/* What is wrong with what the @i-th page holds, if it is compared at all */
static char *content_fault(const BalloonModel *m, uint64_t i,
                           const uint8_t *content)
{
    const BMPage *page = &m->page[i];
    uint8_t expected[BALLOON_PAGE];
    uint64_t at = 0;

    if (i >= BG_RAM_START / BALLOON_PAGE) {
        memset(expected, page->value, sizeof(expected));
        expected[BM_CHANGED_AT] ^= page->change;
    } else if (m->low) {
        memcpy(expected, m->low + i * BALLOON_PAGE, sizeof(expected));
    } else {
        return NULL;
    }
    if (!memcmp(content, expected, sizeof(expected))) {
        return NULL;
    }
    while (content[at] == expected[at]) {
        at++;
    }
    return g_strdup_printf("page 0x%" PRIx64 " holds %02x at %" PRIu64
                           ", not %02x%s", i * BALLOON_PAGE, content[at], at,
                           expected[at],
                           page->in_balloon ? ", in the balloon" : "");
}

void bm_read(BalloonModel *m, BGuest *g, uint64_t start, uint64_t length)
{
    BMPage *end, *page = pages(m, start, length, &end);
    uint8_t content[BALLOON_PAGE];

    for (; page < end; page++) {
        char *fault;

        /* As the guest reads; then all of the page is there to be seen. */
        qtest_readb(g->qts, addr_of(m, page));
        bg_read(g, addr_of(m, page), content, sizeof(content));
        fault = content_fault(m, page - m->page, content);
        if (fault) {
            g_error("%s", fault);
        }
        page->touched = true;
    }
}

char *bm_memory_fault(const BalloonModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, g->options.ram_size);
    char *fault = NULL;
    uint64_t i;

    for (i = 0; !fault && i < m->npages; i++) {
        uint8_t content[BALLOON_PAGE] = { };

        if (populated[i]) {
            if (m->page[i].in_balloon && !m->page[i].touched) {
                return g_strdup_printf("page 0x%" PRIx64 " is in the balloon, "
                                       "and populated", i * BALLOON_PAGE);
            }
            bg_read(g, i * BALLOON_PAGE, content, sizeof(content));
        }
        fault = content_fault(m, i, content);
    }
    return fault;
}

char *bm_map_fault(const BalloonModel *m, BGuest *g)
{
    g_autofree bool *in_map = bg_map_bits(g, g->ram_id,
                                          m->npages * BALLOON_PAGE);
    uint64_t i;

    for (i = 0; i < m->npages; i++) {
        if (in_map[i] != m->page[i].in_balloon) {
            return g_strdup_printf("page 0x%" PRIx64 " is %s the map",
                                   i * BALLOON_PAGE,
                                   in_map[i] ? "in" : "missing in");
        }
    }
    return NULL;
}

void bm_check(const BalloonModel *m, BGuest *g)
{
    g_autofree char *fault = bm_memory_fault(m, g) ?: bm_map_fault(m, g);

    if (fault) {
        g_error("%s", fault);
    }
}
