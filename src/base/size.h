/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_SIZE_H
#define SKIP_BALLOON_BASE_SIZE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define SIZE_KIB (UINT64_C(1) << 10)
#define SIZE_MIB (UINT64_C(1) << 20)
#define SIZE_GIB (UINT64_C(1) << 30)

/**
 * size_parse: read a size such as "512M", "8G", "1.5GiB" or "4096".
 * @text: the size; a suffix K, M, G or T is a power of 1024, in either case,
 *        "B" or "iB" may follow it
 * @bytes: where to put it, in bytes; untouched on failure
 * @error: set to SB_ERROR_USAGE if @text is no size or exceeds 64 bits
 *
 * Returns: whether @text is a size.
 */
bool size_parse(const char *text, uint64_t *bytes, GError **error);

/**
 * size_format: a size for people, such as "512 MiB" or "7.5 GiB".
 * @bytes: the size in bytes
 *
 * Returns: a new string; the caller frees it.
 */
char *size_format(uint64_t bytes);

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

#endif /* SKIP_BALLOON_BASE_SIZE_H */
