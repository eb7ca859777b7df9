/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_SECOND_H
#define BARE_SECOND_H

#include <stdbool.h>
#include <stdint.h>

/* What the second processor does, without a use of devices. */
typedef void SecondFunc(void);

/**
 * second_begin: have the second processor do something, and start it before.
 * @func: what it does; it is done when second_end() returns
 *
 * Returns: whether there is one. It is idle before.
 */
bool second_begin(SecondFunc *func);

/**
 * second_end: wait until it is done.
 */
void second_end(void);

#endif /* BARE_SECOND_H */
