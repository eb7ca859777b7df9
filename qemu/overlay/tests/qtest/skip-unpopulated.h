/*
 * What the parts of skip-unpopulated-test share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_UNPOPULATED_H
#define TESTS_SKIP_UNPOPULATED_H

#include "balloon-pair.h"

#define PROGRAM "skip-unpopulated"

/**
 * unpopulated_start: Start both; either has the capability on
 * @dest: options of the destination; NULL: the same
 */
BPair unpopulated_start(const BGOptions *options, const BGOptions *dest);

/* What depends on the host; the others are for a target with larger pages */
void add_host_tests(void);
void test_half_page(void);
void test_half_page_later(void);

#endif
