/*
 * Balloon section: the balloon map in the migration stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_BALLOON_SECTION_H
#define MIGRATION_BALLOON_SECTION_H

/**
 * balloon_section_register: Make the section known
 *
 * Sections are numbered in the order in which they are registered.  Call this
 * after those of the machine, so that they keep the numbers that they have
 * without this one, and the stream its bytes.
 */
void balloon_section_register(void);

#endif
