/*
 * What the memory and the balloon of a guest have to be, as the test knows
 *
 * All that a test does to the memory of such a guest above BG_RAM_START is
 * done here, and the balloon is the driver's that keeps its word.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_GUEST_MODEL_H
#define TESTS_GUEST_MODEL_H

#include "balloon-guest.h"

typedef struct GuestModel {
    uint64_t pages;
    uint8_t *value;             /* all bytes of a page */
    bool *ballooned;
    bool *read;                 /* given back, but QEMU may read it */
    uint8_t *low;               /* memory below BG_RAM_START */
} GuestModel;

/**
 * model_new: The model of a guest that has not used its memory
 */
GuestModel *model_new(uint64_t ram_size);

void model_free(GuestModel *m);

/**
 * model_inflate, model_deflate: Send one request for adjacent pages
 */
void model_inflate(GuestModel *m, BGuest *g, uint64_t start, uint64_t length);
void model_deflate(GuestModel *m, BGuest *g, uint64_t start, uint64_t length);

/**
 * model_may_be_read: A range that is in the balloon may have been read by QEMU
 *
 * That populates it, with zeroes.
 */
void model_may_be_read(GuestModel *m, uint64_t start, uint64_t length);

/**
 * model_none_read: That does not hold any more
 */
void model_none_read(GuestModel *m);

/**
 * model_fill: Write to memory that is not in the balloon
 */
void model_fill(GuestModel *m, BGuest *g, uint64_t start, uint64_t length,
                uint8_t seed);

/**
 * model_restore: Make a range all used (and not in the balloon), all in the
 * balloon, or all as if it had never been used
 */
void model_restore_used(GuestModel *m, BGuest *g, uint64_t start,
                        uint64_t length);
void model_restore_ballooned(GuestModel *m, BGuest *g, uint64_t start,
                             uint64_t length);
void model_restore_fresh(GuestModel *m, BGuest *g, uint64_t start,
                         uint64_t length);

/**
 * model_note_low: Remember what the memory of the driver holds
 */
void model_note_low(GuestModel *m, BGuest *g);

/**
 * model_ballooned: How many pages are in the balloon?
 * @read: if not NULL, set to how many of them may have been read
 */
uint64_t model_ballooned(const GuestModel *m, uint64_t *read);

/**
 * model_check_memory: Is each page what it has to be, and are those in the
 * balloon not populated?
 *
 * Returns: what is wrong, owned by the caller; NULL if nothing is
 */
char *model_check_memory(const GuestModel *m, BGuest *g);

/**
 * model_check_map: Is the balloon map what it has to be?
 */
char *model_check_map(const GuestModel *m, BGuest *g);

#endif
