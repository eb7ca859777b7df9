/*
 * Populated, on hosts other than Linux: they do not tell
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "populated.h"

struct PopulatedScan {
    char dummy;
};

void populated_init(void)
{
}

PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedUse use)
{
    return g_new0(PopulatedScan, 1);
}

void populated_scan_free(PopulatedScan *scan)
{
    g_free(scan);
}

void populated_scan_window(PopulatedScan *scan, uint64_t limit)
{
}

int populated_scan_denied(const PopulatedScan *scan)
{
    return 0;
}

int64_t populated_scan_mapped(PopulatedScan *scan)
{
    return -ENOSYS;
}

int populated_scan_count(PopulatedScan *scan, uint64_t elsewhere)
{
    return -ENOSYS;
}

int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *end)
{
    *end = to;
    return -ENOSYS;
}

uint64_t populated_scan_calls(const PopulatedScan *scan)
{
    return 0;
}

bool populated_read_resident(const void *host, void *buf, size_t size)
{
    return false;
}
