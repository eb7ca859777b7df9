/*
 * Populated: does the host have memory, or swap, behind a page of guest RAM?
 *
 * Pure logic over Linux system calls: no QEMU type, no locking.  Asking does
 * not populate anything.  An answer holds for the moment of the question;
 * who may still write to the memory has to be tracked by the caller from
 * before it asks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_POPULATED_H
#define MIGRATION_POPULATED_H

#include <stdbool.h>
#include <stdint.h>

/* How guest RAM is mapped; decides whom to ask. */
typedef struct PopulatedMemory {
    void *host;             /* start of the mapping, aligned to @page_size */
    uint64_t length;        /* bytes, a multiple of @page_size */
    uint64_t page_size;     /* bytes: host page, or huge page of hugetlbfs */
    uint64_t host_page_size; /* bytes */
    int fd;                 /* the file behind it, -1 if there is none */
    uint64_t fd_offset;     /* where in the file the mapping starts */
    bool shared;            /* MAP_SHARED */
} PopulatedMemory;

typedef enum PopulatedMethod {
    POPULATED_AUTO,         /* the best one this host has */
    POPULATED_PAGEMAP_READ, /* as if the kernel lacked PAGEMAP_SCAN */
} PopulatedMethod;

typedef struct PopulatedScan PopulatedScan;

/**
 * populated_init: Open what asking needs, as long as the process still may
 *
 * Optional.  A process that is going to drop privileges, or to change its
 * root directory, calls it before it does so.
 */
void populated_init(void);

/**
 * populated_scan_new: Prepare to ask for one mapping
 * @mem: the mapping; it must stay as described until the scan is freed
 * @method: POPULATED_AUTO, or what a test wants to see used
 *
 * Returns: the scan, owned by the caller; never NULL
 */
PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedMethod method);

/**
 * populated_scan_free: Free @scan; NULL is allowed
 */
void populated_scan_free(PopulatedScan *scan);

/**
 * populated_scan_check: Find out if the host can answer at all
 * @scan: the scan
 *
 * Done with the first question otherwise.  On hugetlbfs it takes long, for it
 * counts pages; nothing may be discarded meanwhile.
 *
 * Returns: 0, or -errno as of populated_scan_next()
 */
int populated_scan_check(PopulatedScan *scan);

/**
 * populated_scan_window: Forget earlier answers, and say how far to look
 * @scan: the scan
 * @limit: byte offset up to which the coming answers may be looked up ahead
 *
 * A scan reads ahead, to need few system calls where runs are short.  What
 * it read before the caller began to track writes must not be used: open a
 * window once the tracking of everything below @limit is armed.
 */
void populated_scan_window(PopulatedScan *scan, uint64_t limit);

/**
 * populated_scan_next: Find the next populated run
 * @scan: the scan
 * @from: byte offset to start at, a multiple of 4096
 * @to: byte offset to stop at, at most the limit of the window
 * @start: filled in with the start of the run, at least @from
 * @end: filled in with its end, at most @to; not necessarily maximal
 *
 * Returns: 1 if there is a run, 0 if nothing in [@from, @to) is populated, or
 * -errno if the host cannot answer, -ERANGE if @to is beyond the limit.  The
 * former also for memory about which other processes know more than the host
 * tells us: shared memory without a file descriptor, files of which the file
 * system does not tell holes reliably, and hugetlbfs files that hold pages
 * that this process has not mapped.
 */
int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *start, uint64_t *end);

/**
 * populated_scan_calls: How many system calls @scan has made so far
 */
uint64_t populated_scan_calls(const PopulatedScan *scan);

#endif
