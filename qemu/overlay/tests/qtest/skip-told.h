/*
 * What the parts of skip-told-test share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_TOLD_H
#define TESTS_SKIP_TOLD_H

void told_add_old_content_tests(void);

#endif
