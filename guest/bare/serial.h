/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_SERIAL_H
#define BARE_SERIAL_H

#include <stdint.h>

/**
 * serial_print: send a line over the first serial port. As printf() does, but
 * it knows %s, %u and %x (8 digits) only, and adds the end of the line.
 * @format: the format
 */
void serial_print(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/**
 * serial_poll_line: take what has been received.
 *
 * Returns: a whole line without its end, valid until the next call; NULL
 * while there is none.
 */
const char *serial_poll_line(void);

#endif /* BARE_SERIAL_H */
