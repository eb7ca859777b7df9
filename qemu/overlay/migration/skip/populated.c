/*
 * Populated: does the host have memory, or swap, behind a page of guest RAM?
 *
 * Two places know.  The page cache knows of memory that belongs to a file
 * (memfd, shmem), see populated-file.c; the page tables of this process know of
 * private memory, see populated-tables.c.  A private mapping of a file has
 * pages in both places.  A page of the file may become one of our own while
 * they are asked, but never the other way round, so the file is asked first.
 *
 * hugetlbfs does not tell holes, and its page tables may be wrong about a huge
 * page that is being moved.  Nor do they know a page that another process (a
 * vhost-user back end) has populated.  So what they call empty is read from the
 * file, or all of them are counted in one go: if they know as many pages as the
 * file has blocks, nothing was missing, since whatever is wrong makes them know
 * too little.  Of a private mapping no file knows; then the huge pages of the
 * whole process are compared.  Whoever populates a page behind our back, after
 * we looked, has to log it, so that the page is asked for again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/uio.h>

#include "populated-internal.h"

/* How often to count huge pages while they may become more */
#define COUNT_TRIES 5

static bool asks_file(const PopulatedScan *scan)
{
    return scan->mem.fd >= 0 && !populated_is_huge(scan);
}

/* Shared memory of a file is known to the file alone. */
static bool asks_tables(const PopulatedScan *scan)
{
    return !(asks_file(scan) && scan->mem.shared);
}

/* Of which kind is the memory?  0, or -errno if there is nobody to ask. */
static int check(PopulatedScan *scan)
{
    struct stat st;

    if (asks_file(scan)) {
        return populated_file_check(scan);
    }
    if (scan->mem.fd < 0) {
        scan->is_empty = true;
        return scan->mem.shared ? -ENOTSUP : 0;
    }
    scan->calls++;
    if (fstat(scan->mem.fd, &st) < 0) {
        return -errno;
    }
    scan->is_empty = !st.st_blocks;
    return 0;
}

PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedUse use)
{
    PopulatedScan *scan = g_new0(PopulatedScan, 1);

    scan->mem = *mem;
    scan->use = use;
    scan->limit = mem->length;
    scan->unusable = check(scan);
    scan->no_pagemap = asks_tables(scan) ? populated_tables_open() : 0;
    return scan;
}

int populated_scan_denied(const PopulatedScan *scan)
{
    if (scan->unusable || populated_is_huge(scan)) {
        return 0;
    }
    return populated_host_has_swap() ? scan->no_pagemap : 0;
}

void populated_scan_free(PopulatedScan *scan)
{
    if (scan) {
        g_free(scan->counted);
        g_free(scan->buf);
        g_free(scan);
    }
}

uint64_t populated_scan_calls(const PopulatedScan *scan)
{
    return scan->calls;
}

void populated_scan_window(PopulatedScan *scan, uint64_t limit)
{
    scan->limit = MIN(limit, scan->mem.length);
    scan->hole_end = 0;
    populated_begin(&scan->file, 0);
    populated_begin(&scan->tables, 0);
}

/*
 * What does one source say of the memory from @from on, and how far?  Looks up
 * more as needed.  Return value as of populated_scan_next().
 */
static int ask(PopulatedScan *scan, Answers *a, uint64_t from, uint64_t to,
               uint64_t *end)
{
    if (from < a->start || from >= a->end) {
        uint64_t ahead = MIN(MAX(to, from + POPULATED_AHEAD), scan->limit);
        int ret = a == &scan->file
                  ? populated_file_look_up(scan, from, to)
                  : populated_tables_look_up(scan, from, ahead);

        if (ret < 0) {
            populated_begin(a, 0);
            *end = to;
            return ret;
        }
    } else if (a->next && a->run[a->next - 1].end > from) {
        /* The caller went back; the runs are few, start over. */
        a->next = 0;
    }
    while (a->next < a->n && a->run[a->next].end <= from) {
        a->next++;
    }
    if (a->next < a->n && a->run[a->next].start <= from) {
        *end = MIN(a->run[a->next].end, to);
        return 1;
    }
    *end = MIN(a->next < a->n ? a->run[a->next].start : a->end, to);
    return a->rest;
}

/* Note [@start, @end) as populated, in scan->counted. */
static void note_counted(PopulatedScan *scan, uint64_t start, uint64_t end)
{
    uint64_t page;

    for (page = start / scan->mem.page_size; page * scan->mem.page_size < end;
         page++) {
        scan->counted[page / 8] |= 1 << page % 8;
    }
}

static bool is_counted(const PopulatedScan *scan, uint64_t offset)
{
    uint64_t page = offset / scan->mem.page_size;

    return scan->counted[page / 8] & 1 << page % 8;
}

int64_t populated_scan_mapped(PopulatedScan *scan)
{
    uint64_t length = scan->mem.length;
    int64_t total = 0;
    uint64_t at, end;

    populated_scan_window(scan, length);
    for (at = 0; at < length; at = end) {
        int ret = ask(scan, &scan->tables, at, length, &end);

        if (ret < 0) {
            return ret;
        }
        if (ret) {
            total += end - at;
            if (scan->counted) {
                note_counted(scan, at, end);
            }
        }
    }
    return total;
}

/* Bytes of huge pages that this process has mapped, wherever; or -errno */
static int64_t huge_pages_of_process(PopulatedScan *scan)
{
    char text[8192];
    int64_t kib = -1;
    const char *line;
    ssize_t n;

    scan->calls++;
    n = pread(populated_status_fd(), text, sizeof(text) - 1, 0);
    if (n < 0) {
        return -errno;
    }
    text[n] = 0;
    line = strstr(text, "\nHugetlbPages:");
    if (!line ||
        sscanf(line, "\nHugetlbPages: %" G_GINT64_FORMAT " kB", &kib) != 1) {
        return -ENOTSUP;
    }
    return kib * 1024;
}

/* How many bytes of huge pages are there for certain?  Or -errno */
static int64_t huge_pages_of(PopulatedScan *scan)
{
    struct stat st;

    if (!scan->mem.shared) {
        return huge_pages_of_process(scan);
    }
    scan->calls++;
    return fstat(scan->mem.fd, &st) < 0 ? -errno : st.st_blocks * 512;
}

/*
 * Who knows for certain is asked last: what this process populates meanwhile
 * makes us know too little, never too much, and then we try again.
 */
int populated_scan_count(PopulatedScan *scan, uint64_t elsewhere)
{
    uint64_t pages = scan->mem.length / scan->mem.page_size;
    uint64_t limit = scan->limit;
    int64_t mapped, all;
    int i;

    for (i = 0; i < COUNT_TRIES; i++) {
        g_free(scan->counted);
        scan->counted = g_malloc0(pages / 8 + 1);
        mapped = populated_scan_mapped(scan);
        all = mapped < 0 ? mapped : huge_pages_of(scan);
        if (all < 0 || all == mapped + (int64_t)elsewhere) {
            break;
        }
    }
    populated_scan_window(scan, limit);
    if (all < 0 || i == COUNT_TRIES) {
        g_free(scan->counted);
        scan->counted = NULL;
    }
    return all < 0 ? all : scan->counted ? 0 : -EAGAIN;
}

/*
 * Page tables call [@from, *@end) of hugetlbfs empty; is it so in the file?
 * Return value as of populated_scan_next().
 *
 * All of a huge page is populated if anything of it is, so all of it is read.
 * The largest ones would take too long, and count as populated.
 */
static int ask_huge_file(PopulatedScan *scan, uint64_t from, uint64_t *end)
{
    uint64_t page = scan->mem.page_size;
    Answers *a = &scan->file;
    uint64_t zero_end;
    int ret;

    if (page > POPULATED_READ_MAX) {
        *end = MIN(*end, populated_page_end(scan, from));
        return 1;
    }
    populated_begin(a, from - from % page);
    ret = populated_file_read(scan, a, populated_page_end(scan, *end - 1));
    if (ret < 0) {
        return ret;
    }
    zero_end = a->n ? a->run[0].start - a->run[0].start % page : a->end;
    *end = MIN(*end, zero_end > from ? zero_end
                                     : populated_page_end(scan, from));
    return zero_end <= from;
}

/* What did the count say of the memory from @from on? */
static int ask_count(PopulatedScan *scan, uint64_t from, uint64_t to,
                     uint64_t *end)
{
    bool is_populated = is_counted(scan, from);

    do {
        *end = MIN(populated_page_end(scan, from), to);
        from = *end;
    } while (*end < to && is_counted(scan, from) == is_populated);
    return is_populated;
}

/* Return value as of populated_scan_next(), of huge pages */
static int ask_huge(PopulatedScan *scan, uint64_t from, uint64_t to,
                    uint64_t *end)
{
    int ret = scan->counted ? ask_count(scan, from, to, end)
                            : ask(scan, &scan->tables, from, to, end);

    if (ret) {
        return ret;
    }
    if (scan->counted && (scan->mem.shared || scan->is_empty)) {
        return 0;
    }
    /* Of a private mapping the page tables have to be right, too. */
    return scan->use == POPULATED_TO_SKIP &&
           (scan->counted || scan->mem.shared)
           ? ask_huge_file(scan, from, end) : -EAGAIN;
}

int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *end)
{
    int ret = 0;

    *end = to;
    if (scan->unusable || to > scan->limit) {
        return scan->unusable ? scan->unusable : -ERANGE;
    }
    if (populated_is_huge(scan)) {
        return ask_huge(scan, from, to, end);
    }
    if (asks_file(scan)) {
        ret = ask(scan, &scan->file, from, to, end);
    }
    if (!ret && asks_tables(scan)) {
        ret = ask(scan, &scan->tables, from, *end, end);
    }
    return ret;
}

bool populated_is_resident(const void *host, size_t size)
{
    uintptr_t page = qemu_real_host_page_size();
    uintptr_t at = (uintptr_t)host - (uintptr_t)host % page;
    unsigned char resident = 1;

    for (; resident & 1 && at < (uintptr_t)host + size; at += page) {
        if (mincore((void *)at, page, &resident) < 0) {
            return false;
        }
    }
    return resident & 1;
}

bool populated_read_resident(const void *host, void *buf, size_t size)
{
    struct iovec from = { .iov_base = (void *)host, .iov_len = size };
    struct iovec to = { .iov_base = buf, .iov_len = size };

    return populated_is_resident(host, size) &&
           process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)size;
}
