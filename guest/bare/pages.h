/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_PAGES_H
#define BARE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The memory that is checked, and what each page of it has to hold. Pages are
 * numbered from the first that is checked. Nothing here talks to the balloon.
 *
 * All words of a page have the same value, but for one. Both values follow
 * from the page and from a version, so that an old version, another page and
 * zeroes are told from what is wanted.
 *
 * Under nested KVM each word that is read or written takes a third of a
 * microsecond. So most pages hold zeroes and the one word that differs, and
 * most checks read that word and a few others, in another place each time.
 *
 * A page is vague from when the guest gives it back until it is known that the
 * host has let go of it, or it is written after it was taken back: until then
 * the host may let go of it at any time. A guest that lies uses only pages
 * that are not vague: the host has let go of them already, and may not do so
 * again before they are given back once more.
 */

/**
 * pages_start: begin with memory that is all zeroes.
 * @base: the first byte, a multiple of the unit
 * @count: how many pages, of 4 KiB
 * @unit: how many pages the host lets go of at a time, at least 1
 * @table: room for pages_table_size() bytes
 */
void pages_start(uintptr_t base, uint32_t count, uint32_t unit, void *table);

/**
 * pages_table_size: what pages_start() needs to keep a number of pages.
 * @count: how many
 */
uint32_t pages_table_size(uint32_t count);

/**
 * pages_count: how many there are.
 */
uint32_t pages_count(void);

/**
 * pages_unit: how many pages the host lets go of at a time.
 */
uint32_t pages_unit(void);

/**
 * pages_number: the number of a page as the host counts.
 * @page: the page
 */
uint32_t pages_number(uint32_t page);

/**
 * pages_is_given: whether a page has been given back.
 * @page: the page
 */
bool pages_is_given(uint32_t page);

/**
 * pages_is_unused: whether it has, and nobody has used it since.
 * @page: the page
 */
bool pages_is_unused(uint32_t page);

/**
 * pages_is_vague: whether it is unknown what a page holds.
 * @page: the page
 */
bool pages_is_vague(uint32_t page);

/**
 * pages_is_zero: whether a page is known to hold nothing but zeroes.
 * @page: the page
 */
bool pages_is_zero(uint32_t page);

/**
 * pages_give: note that a page is about to be given back.
 * @page: the page
 */
void pages_give(uint32_t page);

/**
 * pages_let_go: note that the host has let go of a page that was given back.
 * @page: the page
 */
void pages_let_go(uint32_t page);

/**
 * pages_take: note that a page has been taken back.
 * @page: the page
 */
void pages_take(uint32_t page);

/**
 * pages_uses: how many pages have been used that were given back, each once
 * for each time that it was.
 */
uint32_t pages_uses(void);

/**
 * pages_use: read a word of a page, without a look at what it is. Any processor
 * may do so.
 * @page: the page
 */
void pages_use(uint32_t page);

/* A device that writes to memory; returns whether it did so. */
typedef bool PagesDevice(void *where, uint32_t length);

/**
 * pages_device_write: have a device write to a page that was given back, and
 * clear it.
 * @page: the page
 * @device: the device
 *
 * Returns: whether it did so.
 */
bool pages_device_write(uint32_t page, PagesDevice *device);

/**
 * pages_fill: write all words of a page.
 * @page: the page; not vague if it is given back
 */
void pages_fill(uint32_t page);

/**
 * pages_patch: write one word of a page.
 * @page: the page; not vague
 */
void pages_patch(uint32_t page);

/**
 * pages_clear: write zeroes to a page, where it is not known to hold them.
 * @page: the page; not vague if it is given back
 */
void pages_clear(uint32_t page);

/**
 * pages_check: read a few words of a page, all of one page in so many. Ends
 * the guest with a line on the serial port if they are not what they have to
 * be.
 * @page: the page
 */
void pages_check(uint32_t page);

#endif /* BARE_PAGES_H */
