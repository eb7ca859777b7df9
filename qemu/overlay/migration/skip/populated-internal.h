/*
 * Populated: what its parts share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_POPULATED_INTERNAL_H
#define MIGRATION_POPULATED_INTERNAL_H

#include "populated.h"

/* A look-up goes this far beyond a shorter question: one page table. */
#define POPULATED_AHEAD (UINT64_C(2) << 20)

/* The most of a file that is read for one answer */
#define POPULATED_READ_MAX (UINT64_C(4) << 20)

#define MAX_REGIONS 512
#define MAX_ENTRIES 4096

/* What one source answered for [start, end): its populated runs, in order */
typedef struct Answers {
    uint64_t start;
    uint64_t end;
    /*
     * What is not in a run is not populated (0), or the source may be wrong
     * about that (negative errno).
     */
    int rest;
    unsigned int n;
    unsigned int next;
    struct {
        uint64_t start;
        uint64_t end;
    } run[MAX_REGIONS];
} Answers;

/* As of Linux 6.7; see the kernel's documentation of pagemap. */
struct pm_region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct PopulatedScan {
    PopulatedMemory mem;
    PopulatedUse use;
    uint64_t limit;
    uint64_t calls;
    /* The system calls that this kernel, or a filter, refuses */
    bool no_pagemap_scan;
    bool no_cachestat;
    /* 0, or why /proc/self/pagemap is not to be had where it is needed */
    int no_pagemap;
    /* 0, or why the memory is of a kind that nobody can be asked about */
    int unusable;
    /* The file is of tmpfs */
    bool in_memory;
    /* The file holds nothing at all */
    bool is_empty;
    /*
     * Of huge pages, a bit for each: which ones were populated when they were
     * counted.  NULL if they were not, or the count was not right.
     */
    uint8_t *counted;
    Answers file;
    Answers tables;
    /* Where the hole ends, or what was called so, that file.end lies in */
    uint64_t hole_end;
    struct pm_region regions[MAX_REGIONS];
    uint64_t entries[MAX_ENTRIES];
    /* For reading the file, allocated when that is needed */
    uint8_t *buf;
};

/* The end of the page of the host that @offset lies in, a huge one maybe */
static inline uint64_t populated_page_end(const PopulatedScan *scan,
                                          uint64_t offset)
{
    return offset - offset % scan->mem.page_size + scan->mem.page_size;
}

static inline bool populated_is_huge(const PopulatedScan *scan)
{
    return scan->mem.page_size > scan->mem.host_page_size;
}

static inline void populated_begin(Answers *a, uint64_t from)
{
    a->start = a->end = from;
    a->rest = 0;
    a->n = a->next = 0;
}

/* There must be room; adjacent runs become one. */
static inline void populated_add_run(Answers *a, uint64_t start, uint64_t end)
{
    if (a->n && a->run[a->n - 1].end == start) {
        a->run[a->n - 1].end = end;
    } else {
        a->run[a->n].start = start;
        a->run[a->n].end = end;
        a->n++;
    }
}

/*
 * populated-file.c: look up which parts of the file are populated, from @from
 * on; whoever asks is interested up to @to.  Fills in scan->file, and returns
 * 0, or a negative errno.
 */
int populated_file_look_up(PopulatedScan *scan, uint64_t from, uint64_t to);

/*
 * Read [@from, @end) from the file, where the host has no memory for it, or so
 * it says.  Adds runs that do not read as zero to @a, up to a->end, which is
 * the end of what was read.  Returns 0, or a negative errno.
 */
int populated_file_read(PopulatedScan *scan, Answers *a, uint64_t end);

/* Of which kind is the file?  Returns 0, or why it is of no use. */
int populated_file_check(PopulatedScan *scan);

/*
 * populated-tables.c: look up which parts of [@from, @to) the page tables of
 * this process know.  Fills in scan->tables, and returns 0, or a negative
 * errno.
 */
int populated_tables_look_up(PopulatedScan *scan, uint64_t from, uint64_t to);

/* The same file: open /proc/self/pagemap; 0, or a negative errno */
int populated_tables_open(void);

/* The same file: may private memory be swapped out on this host? */
bool populated_host_has_swap(void);

/* The same file: a descriptor of /proc/self/status, or -1 with errno set */
int populated_status_fd(void);

#endif
