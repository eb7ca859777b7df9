/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/skip-set.h"

#include <string.h>

#include "base/error.h"

static const struct {
    const char *word;
    SkipSet set;
} words[] = {
    { "balloon", SKIP_BALLOON },
    { "unpopulated", SKIP_UNPOPULATED },
    { "both", SKIP_BOTH },
};

static const struct {
    const char *name;
    SkipSet member;
} capabilities[] = {
    { "skip-balloon", SKIP_BALLOON },
    { "skip-unpopulated", SKIP_UNPOPULATED },
};

bool skip_set_parse(const char *word, SkipSet *set, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!strcmp(word, words[i].word)) {
            *set = words[i].set;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "--capabilities takes 'balloon', 'unpopulated' or 'both', "
                "not '%s'", word);
    return false;
}

const char **skip_set_capabilities(SkipSet set)
{
    const char **names = g_new0(const char *, G_N_ELEMENTS(capabilities) + 1);
    unsigned count = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        if (set & capabilities[i].member) {
            names[count++] = capabilities[i].name;
        }
    }
    return names;
}

char *skip_set_title(SkipSet set)
{
    g_autofree const char **names = skip_set_capabilities(set);

    return g_strjoinv(" and ", (char **)names);
}
