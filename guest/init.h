/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_GUEST_INIT_H
#define SKIP_BALLOON_GUEST_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the parts of process 1 share. */

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))

/**
 * say: write a line to the host.
 * @format: as for printf(), without the end of the line
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/**
 * say_all: wait until the host has what was said.
 */
void say_all(void);

/**
 * page_start: what the words of a checked page follow from.
 * @page: its number in its set
 * @generation: how often it has been written
 */
uint64_t page_start(uint64_t page, uint32_t generation);

/**
 * next_word: the word of a checked page that follows on another one.
 * @x: the word before, or the start of the page
 */
uint64_t next_word(uint64_t x);

/**
 * obey_life: the commands that end this kernel's life or interrupt it.
 * @verb: the command
 * @argument: what follows it, or NULL
 *
 * Returns: whether there is such a command.
 */
bool obey_life(const char *verb, const char *argument);

/**
 * obey_misuse: the commands that read what is in the balloon.
 * @verb: the command
 * @number: what follows it, or 0
 *
 * Returns: whether there is such a command.
 */
bool obey_misuse(const char *verb, uint64_t number);

/**
 * pages_above: how many pages of a mapping lie at or above an address of the
 * guest's memory.
 * @data: the mapping, page by page in use
 * @pages: its size
 * @address: the address
 */
uint64_t pages_above(const void *data, uint64_t pages, uint64_t address);

/**
 * search_vmcore: look in the memory of the kernel that crashed for the pages
 * of its working set, each written once, and say whether all are there.
 * @pages: how many there have to be
 */
void search_vmcore(uint64_t pages);

#endif /* SKIP_BALLOON_GUEST_INIT_H */
