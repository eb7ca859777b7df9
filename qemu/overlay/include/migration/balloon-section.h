/*
 * Balloon section: the balloon map in the migration stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_BALLOON_SECTION_H
#define MIGRATION_BALLOON_SECTION_H

/**
 * balloon_section_init: Register the section; once, when migration is set up
 */
void balloon_section_init(void);

#endif
