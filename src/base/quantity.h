/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_QUANTITY_H
#define SKIP_BALLOON_BASE_QUANTITY_H

/*
 * Numbers for people. All return a new string that the caller frees, NULL
 * for what is not finite: not measured.
 */

/**
 * quantity_fixed: a number such as "2 017 030" or "23.68", its thousands set
 * apart by narrow spaces that do not break.
 * @value: the number
 * @decimals: how many digits follow the point
 */
char *quantity_fixed(double value, unsigned decimals);

/**
 * quantity_rough: a number to three digits, such as "51.2" or "2 310".
 * @value: the number
 */
char *quantity_rough(double value);

/**
 * quantity_ms: a time with its unit, to three digits: "0.46 s", "12.3 ms".
 * @ms: the time in milliseconds
 */
char *quantity_ms(double ms);

/**
 * quantity_bytes: a size with its unit, such as "512 MiB".
 * @bytes: the size in bytes
 */
char *quantity_bytes(double bytes);

#endif /* SKIP_BALLOON_BASE_QUANTITY_H */
