/*
 * Populated: does the host have memory, or swap, behind a page of guest RAM?
 *
 * Two places know.  The page cache knows of memory that belongs to a file
 * (memfd, shmem), see populated-file.c; the page tables of this process know of
 * private memory, see populated-tables.c.  A private mapping of a file has
 * pages in both places.  A page of the file may become one of our own while
 * they are asked, but never the other way round, so the file is asked first.
 *
 * hugetlbfs does not tell holes, so the page tables are asked, and there may be
 * a page that they do not know, since another process (a vhost-user back end)
 * has populated it.  If the file has as many pages as they know there is none.
 * Otherwise what they call empty is read from the file.  Whoever populates
 * a page behind our back, after we looked, has to log it, so that the page is
 * asked for again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <sys/stat.h>

#include "populated-internal.h"

/* How often to count huge pages while they may become more */
#define COUNT_TRIES 5

PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedUse use)
{
    PopulatedScan *scan = g_new0(PopulatedScan, 1);

    scan->mem = *mem;
    scan->use = use;
    scan->limit = mem->length;
    scan->ask_file = mem->fd >= 0 && !populated_is_huge(scan);
    scan->ask_tables = !(scan->ask_file && mem->shared);
    return scan;
}

void populated_scan_free(PopulatedScan *scan)
{
    if (scan) {
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

/* How many bytes of the mapping do the page tables know, or -errno? */
static int64_t count_mapped(PopulatedScan *scan)
{
    uint64_t length = scan->mem.length;
    int64_t total = 0;
    uint64_t at, end;

    populated_begin(&scan->tables, 0);
    for (at = 0; at < length; at = end) {
        int ret = ask(scan, &scan->tables, at, length, &end);

        if (ret < 0) {
            return ret;
        }
        total += ret ? end - at : 0;
    }
    return total;
}

/*
 * Compare what the file has with what @mapped bytes there are of it here.
 * Pages of a private mapping are not the file's.
 */
static int compare_with_file(PopulatedScan *scan, int64_t mapped)
{
    struct stat st;

    scan->calls++;
    if (fstat(scan->mem.fd, &st) < 0) {
        return -errno;
    }
    scan->all_known = st.st_blocks * 512 == mapped;
    return scan->all_known ? 0 : -EAGAIN;
}

/*
 * The file is asked last: what this process populates meanwhile makes us know
 * too little, never too much, and then we try again.
 */
int populated_scan_count(PopulatedScan *scan)
{
    uint64_t limit = scan->limit;
    int ret = 0;
    int i;

    if (!populated_is_huge(scan) || scan->mem.fd < 0 || !scan->mem.shared) {
        return 0;
    }
    populated_scan_window(scan, scan->mem.length);
    for (i = 0; i < COUNT_TRIES; i++) {
        int64_t mapped = count_mapped(scan);

        ret = mapped < 0 ? mapped : compare_with_file(scan, mapped);
        if (ret != -EAGAIN) {
            break;
        }
    }
    populated_scan_window(scan, limit);
    return ret;
}

/* Of which kind is the memory?  0, or -errno if there is nobody to ask. */
static int check(PopulatedScan *scan)
{
    int ret;

    if (scan->ask_file) {
        return populated_file_check(scan);
    }
    if (scan->mem.fd < 0) {
        return scan->mem.shared ? -ENOTSUP : 0;
    }
    if (!scan->mem.shared) {
        ret = compare_with_file(scan, 0);
        return ret == -EAGAIN ? 0 : ret;
    }
    return 0;
}

/*
 * Page tables call [@from, *@end) of hugetlbfs empty; is it so in the file?
 * Return value as of populated_scan_next().
 *
 * All of a huge page is populated if anything of it is, so all of it is read,
 * but for the largest ones.
 */
static int ask_huge_file(PopulatedScan *scan, uint64_t from, uint64_t *end)
{
    uint64_t page = scan->mem.page_size;
    Answers *a = &scan->file;
    uint64_t zero_end;
    int ret;

    if (scan->use == POPULATED_TO_DROP) {
        return -EAGAIN;
    }
    if (scan->use == POPULATED_TO_SHOW) {
        return 0;
    }
    populated_begin(a, page > POPULATED_READ_MAX ? from : from - from % page);
    ret = populated_file_read(scan, a, populated_page_end(scan, *end - 1));
    if (ret < 0) {
        return ret;
    }
    zero_end = a->n ? a->run[0].start - a->run[0].start % page : a->end;
    *end = MIN(*end, zero_end > from ? zero_end
                                     : populated_page_end(scan, from));
    return zero_end <= from;
}

int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *end)
{
    int ret = 0;

    if (!scan->checked) {
        scan->checked = true;
        scan->unusable = check(scan);
    }
    *end = to;
    if (scan->unusable || to > scan->limit) {
        return scan->unusable ? scan->unusable : -ERANGE;
    }
    if (scan->ask_file) {
        ret = ask(scan, &scan->file, from, to, end);
    }
    if (scan->ask_tables && !ret) {
        ret = ask(scan, &scan->tables, from, *end, end);
        if (!ret && populated_is_huge(scan) && scan->mem.fd >= 0 &&
            !scan->all_known) {
            ret = ask_huge_file(scan, from, end);
        }
    }
    return ret;
}
