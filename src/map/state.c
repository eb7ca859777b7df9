/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/state.h"

#include <glib.h>

static const struct {
    const char *name;
    uint32_t rgb;
    uint8_t ansi;
    char character;
} looks[MEMORY_STATES] = {
    [MEMORY_SKIPPED] = { "in the balloon, skipped", 0x00885a, 29, '.' },
    [MEMORY_BALLOONED] = { "in the balloon, not skipped", 0x2ecbff, 45, 'o' },
    [MEMORY_UNPOPULATED] = { "unpopulated", 0xc0c0c0, 249, '-' },
    [MEMORY_SENT] = { "sent", 0x3c39ee, 63, '#' },
    [MEMORY_IN_USE] = { "in use, nothing recorded", 0x945294, 97, '+' },
};

void memory_state_deal(const MemoryCounts *counts, bool recorded,
                       uint64_t pages[MEMORY_STATES])
{
    uint64_t gone = MAX(counts->ballooned, counts->unpopulated);
    uint64_t left = counts->pages - gone;
    uint64_t used = MIN(left, counts->skipped - MIN(counts->skipped, gone));

    pages[MEMORY_SKIPPED] = MIN(counts->ballooned, counts->skipped);
    pages[MEMORY_BALLOONED] = counts->ballooned - pages[MEMORY_SKIPPED];
    pages[MEMORY_UNPOPULATED] = gone - counts->ballooned;
    pages[MEMORY_SKIPPED] += used;
    pages[MEMORY_SENT] = recorded ? left - used : 0;
    pages[MEMORY_IN_USE] = recorded ? 0 : left - used;
}

MemoryState memory_state_of(const MemoryCounts *counts, bool recorded)
{
    uint64_t pages[MEMORY_STATES];
    MemoryState most = 0;

    memory_state_deal(counts, recorded, pages);
    for (MemoryState i = 1; i < MEMORY_STATES; i++) {
        if (pages[i] > pages[most]) {
            most = i;
        }
    }
    return most;
}

const char *memory_state_name(MemoryState state, bool recorded)
{
    return state == MEMORY_BALLOONED && !recorded ? "in the balloon" :
           looks[state].name;
}

uint32_t memory_state_rgb(MemoryState state)
{
    return looks[state].rgb;
}

unsigned memory_state_ansi(MemoryState state)
{
    return looks[state].ansi;
}

char memory_state_char(MemoryState state)
{
    return looks[state].character;
}
