/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_SKIP_SET_H
#define SKIP_BALLOON_QEMU_SKIP_SET_H

#include <glib.h>
#include <stdbool.h>

/* Which memory a migration is to skip: the capabilities, as a set of bits. */
typedef enum SkipSet {
    SKIP_NOTHING = 0,
    SKIP_BALLOON = 1 << 0,      /* what is in the balloon */
    SKIP_UNPOPULATED = 1 << 1,  /* what the host has no memory for */
    SKIP_BOTH = SKIP_BALLOON | SKIP_UNPOPULATED,
} SkipSet;

/**
 * skip_set_parse: the set that a word of the command line stands for.
 * @word: "balloon", "unpopulated" or "both"
 * @set: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool skip_set_parse(const char *word, SkipSet *set, GError **error);

/**
 * skip_set_capabilities: the names that QEMU has for the members of a set.
 * @set: the set
 *
 * Returns: the names, NULL-terminated, to be freed with g_free(); the names
 * themselves are not owned.
 */
const char **skip_set_capabilities(SkipSet set);

/**
 * skip_set_title: the same for people: "skip-balloon and skip-unpopulated".
 * @set: the set, not empty
 *
 * Returns: a new string; the caller frees it.
 */
char *skip_set_title(SkipSet set);

#endif /* SKIP_BALLOON_QEMU_SKIP_SET_H */
