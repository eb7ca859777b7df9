/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pages.h"

#include <stddef.h>

#include "balloon.h"
#include "machine.h"
#include "serial.h"

#define WORDS (PAGE_SIZE / sizeof(uint32_t))
/*
 * How many words are read of most pages, and of how many pages one is read
 * whole: a prime, so that each round over all memory takes others.
 */
#define SAMPLE 16
#define CHECKS_TO_WHOLE 7

typedef struct Page {
    uint32_t fill;              /* version of most words; 0: they are 0 */
    uint32_t patch;             /* version of one word; 0: as the others */
    bool given;
    bool vague;
    bool used;                  /* since it was given back */
} Page;

static Page *table;
static uint32_t *given_of_unit; /* how many pages of each */
static uintptr_t base;
static uint32_t count;
static uint32_t unit;
static uint32_t last_version;
static uint32_t checks;
static uint32_t uses;

void pages_start(uintptr_t first_byte, uint32_t n, uint32_t pages_of_unit,
                 void *room)
{
    table = room;
    given_of_unit = (uint32_t *)(table + n);
    base = first_byte;
    count = n;
    unit = pages_of_unit;
    for (uint32_t page = 0; page < count; page++) {
        table[page] = (Page) { 0 };
        given_of_unit[page / unit] = 0;
    }
}

uint32_t pages_table_size(uint32_t n)
{
    return n * (sizeof(Page) + sizeof(given_of_unit[0]));
}

uint32_t pages_count(void)
{
    return count;
}

uint32_t pages_unit(void)
{
    return unit;
}

uint32_t pages_number(uint32_t page)
{
    return base / PAGE_SIZE + page;
}

bool pages_is_given(uint32_t page)
{
    return table[page].given;
}

uint32_t pages_uses(void)
{
    return __atomic_load_n(&uses, __ATOMIC_RELAXED);
}

/* Both processors do it. */
static void note_use(Page *p)
{
    if (p->given && !p->used) {
        p->used = true;
        __atomic_fetch_add(&uses, 1, __ATOMIC_RELAXED);
    }
}

bool pages_is_unused(uint32_t page)
{
    return table[page].given && !table[page].used;
}

bool pages_is_vague(uint32_t page)
{
    return table[page].vague;
}

static bool is_empty(const Page *p)
{
    return !p->fill && !p->patch;
}

bool pages_is_zero(uint32_t page)
{
    return is_empty(&table[page]);
}

/* Not 0 for any version but 0 */
static uint32_t word_of(uint32_t page, uint32_t version)
{
    return version ? ((page + 1) * 0x9e3779b1u ^ version * 0x85ebca6bu) | 1
                   : 0;
}

static uint32_t *words_of(uint32_t page)
{
    return (uint32_t *)(base + page * PAGE_SIZE);
}

/* Which of the words of a page may differ from the others */
static volatile uint32_t *patched_word(uint32_t page)
{
    return words_of(page) + page * 37 % WORDS;
}

void pages_give(uint32_t page)
{
    uint32_t first = page - page % unit;
    uint32_t *n = &given_of_unit[page / unit];

    *n += !table[page].given;
    table[page].given = true;
    table[page].vague = true;
    table[page].used = false;
    /*
     * The host lets go of a unit when all of it has been given back. What the
     * guest lied about is lost then.
     */
    for (uint32_t i = first; *n == unit && i < first + unit; i++) {
        table[i].vague = true;
    }
}

void pages_let_go(uint32_t page)
{
    table[page] = (Page) { .given = true, .used = table[page].used };
}

void pages_take(uint32_t page)
{
    given_of_unit[page / unit] -= table[page].given;
    table[page].given = false;
}

static void store(uint32_t *words, uint32_t value, uint32_t n)
{
    asm volatile("rep stosl" : "+D"(words), "+c"(n) : "a"(value) : "memory");
}

void pages_use(uint32_t page)
{
    note_use(&table[page]);
    (void)*patched_word(page);
}

bool pages_device_write(uint32_t page, PagesDevice *device)
{
    bool done = device(words_of(page), PAGE_SIZE);

    /* Whatever it was: zeroes from now on, whether they are let go of or not */
    table[page].vague = true;
    pages_clear(page);
    return done;
}

void pages_fill(uint32_t page)
{
    Page *p = &table[page];

    note_use(p);
    p->fill = ++last_version;
    p->patch = 0;
    p->vague = false;
    store(words_of(page), word_of(page, p->fill), WORDS);
}

void pages_patch(uint32_t page)
{
    Page *p = &table[page];

    note_use(p);
    p->patch = ++last_version;
    *patched_word(page) = word_of(page, p->patch);
}

void pages_clear(uint32_t page)
{
    Page *p = &table[page];

    note_use(p);
    if (p->fill || p->vague) {
        store(words_of(page), 0, WORDS);
    } else {
        *patched_word(page) = 0;
    }
    *p = (Page) { .given = p->given, .used = p->used };
}

/* The first of @n words that is not @value, NULL if all are. */
static const uint32_t *find_other(const uint32_t *words, uint32_t value,
                                  uint32_t n)
{
    bool equal = true;

    if (!n) {
        return NULL;
    }
    asm volatile("repe scasl"
                 : "+D"(words), "+c"(n), "=@cce"(equal)
                 : "a"(value)
                 : "memory");
    return equal ? NULL : words - 1;
}

/*
 * The first word of a page that is not as these versions want it, or NULL: of
 * all, or of the one that may differ and some others.
 */
static const uint32_t *find_wrong(uint32_t page, uint32_t fill,
                                  uint32_t patch, bool all)
{
    const uint32_t *start = words_of(page);
    const uint32_t *end = start + WORDS;
    const uint32_t *patched = (const uint32_t *)patched_word(page);
    uint32_t value = word_of(page, fill);
    const uint32_t *wrong;

    if (*patched_word(page) != word_of(page, patch ? patch : fill)) {
        return patched;
    }
    if (!all) {
        start += checks % (WORDS / SAMPLE) * SAMPLE;
        end = start + SAMPLE;
    }
    if (patched < start || patched >= end) {
        return find_other(start, value, end - start);
    }
    wrong = find_other(start, value, patched - start);
    return wrong ? wrong : find_other(patched + 1, value, end - patched - 1);
}

static void __attribute__((noreturn)) report(uint32_t page,
                                             const uint32_t *wrong)
{
    const Page *p = &table[page];
    uint32_t version = p->patch && wrong == patched_word(page)
                       ? p->patch : p->fill;

    serial_print("SB CORRUPT address=%x wanted=%x%s found=%x given=%u",
                 (uint32_t)(uintptr_t)wrong, word_of(page, version),
                 p->vague ? " or zeroes" : "", *wrong, p->given);
    machine_halt();
}

/*
 * What the host had let go of reads as zero. A page that was zero before
 * tells nothing, while the host may still let go of it.
 */
static void found_zero(Page *p)
{
    if (!is_empty(p) || !p->given) {
        *p = (Page) { .given = p->given, .used = p->used };
    }
}

void pages_check(uint32_t page)
{
    Page *p = &table[page];
    bool all = !(++checks % CHECKS_TO_WHOLE);
    const uint32_t *wrong;

    note_use(p);
    if (p->vague && !find_wrong(page, 0, 0, all)) {
        found_zero(p);
        return;
    }
    wrong = find_wrong(page, p->fill, p->patch, all);
    if (wrong) {
        report(page, wrong);
    }
    /* It was not let go of; that may yet come unless it was taken back. */
    p->vague = p->given;
}
