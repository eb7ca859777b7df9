/*
 * Populated, as the page cache of the file behind the memory knows it
 *
 * lseek() with SEEK_DATA and SEEK_HOLE tells, swapped-out pages included, and
 * mincore() helps to find where data end.  But while the kernel moves a page
 * (compaction, NUMA balancing, offlining) or collapses small pages into a huge
 * one, SEEK_DATA may call a populated page a hole: it looks for pages that are
 * up to date, and the new page is in the page cache before it is that.
 * mincore() has the same fault, and the page tables may be empty as well.
 *
 * So what SEEK_DATA calls a hole is certain only if cachestat() (Linux 6.5)
 * counts nothing in it: neither pages, up to date or not, nor the entries of
 * pages that were swapped out.
 *
 *    from                              where SEEK_DATA finds data
 *     |-------- called a hole -----------|---- data ----|---- a hole again
 *     |   256 MiB    |   256 MiB   |     |              |
 *     cachestat: 0     some          all  mincore: present   absent
 *                  /       \
 *                half     half  and so on: 0 is a hole, all is a run
 *
 * It takes a microsecond or two for a hole of any size.  Where there is no
 * cachestat() a file of tmpfs can be read: pread() waits for the lock of a page
 * that is being moved, and allocates nothing over a hole.  On other file
 * systems it would fill the page cache, so there nothing is certain.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "populated-internal.h"

#define KiB UINT64_C(1024)
#define MiB (1024 * KiB)

/* Pages to ask mincore() about at first */
#define MINCORE_FIRST 8

/*
 * The most that cachestat() is asked about in one go.  A hole takes no time,
 * but pages do, about 10 ns each.
 */
#define STAT_MAX (256 * MiB)

/* What is read by one pread() */
#define READ_SIZE (128 * KiB)

/*
 * File systems of which SEEK_HOLE is known to tell the truth about pages that
 * have been written to through a mapping only
 */
#define FS_TMPFS 0x01021994
#define FS_EXT4 0xef53
#define FS_XFS 0x58465342
#define FS_BTRFS 0x9123683e

/*
 * Kernel interface as of Linux 6.5, of which kernel headers may know nothing
 * yet.  System calls that are new since Linux 5.1 have consecutive numbers on
 * all machines; openat2() is one of Linux 5.6.
 */
#ifndef SYS_cachestat
#define SYS_cachestat (SYS_openat2 + 14)
#endif

struct cs_range {
    uint64_t off;
    uint64_t len;
};

struct cs_counts {
    uint64_t cached;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

/*
 * How many pages of [@start, @end) does the page cache hold whose content is
 * nowhere else, or of how many does it know where they were swapped to?
 * Returns -errno if it is not told.
 *
 * On a disk, pages that are clean hold what the file holds: zeroes in a hole,
 * which the kernel has read ahead.
 */
static int64_t count_cached(PopulatedScan *scan, uint64_t start, uint64_t end)
{
    struct cs_range range = {
        .off = scan->mem.fd_offset + start,
        .len = end - start,
    };
    struct cs_counts counts;

    scan->calls++;
    if (syscall(SYS_cachestat, scan->mem.fd, &range, &counts, 0) < 0) {
        return -errno;
    }
    return scan->in_memory ? counts.cached + counts.evicted
                           : MAX(counts.dirty, counts.writeback);
}

static bool is_zero(const uint8_t *buf, size_t size)
{
    return !buf[0] && !memcmp(buf, buf + 1, size - 1);
}

/* Add what does not read as zero to @a; false if there is no room. */
static bool add_read(PopulatedScan *scan, Answers *a, size_t size)
{
    uint64_t start = a->end;
    uint64_t page = scan->mem.host_page_size;
    uint64_t at, next;

    if (is_zero(scan->buf, size)) {
        a->end += size;
        return true;
    }
    for (at = start; at < start + size; at = next) {
        next = MIN(at - at % page + page, start + size);
        if (!is_zero(scan->buf + (at - start), next - at)) {
            if (a->n == MAX_REGIONS && a->run[a->n - 1].end != at) {
                return false;
            }
            populated_add_run(a, at, next);
        }
        a->end = next;
    }
    return true;
}

int populated_file_read(PopulatedScan *scan, Answers *a, uint64_t end)
{
    end = MIN(end, a->end + POPULATED_READ_MAX);
    if (!scan->buf) {
        scan->buf = g_malloc(READ_SIZE);
    }
    while (a->end < end) {
        size_t size = MIN(end - a->end, READ_SIZE);
        ssize_t n;

        do {
            scan->calls++;
            n = pread(scan->mem.fd, scan->buf, size,
                      scan->mem.fd_offset + a->end);
        } while (n < 0 && errno == EINTR);
        if (n < 0) {
            return -errno;
        }
        if ((size_t)n < size) {
            /* Nothing but the end of the file ends it in the middle. */
            return -ERANGE;
        }
        if (!add_read(scan, a, size)) {
            break;
        }
    }
    return 0;
}

/*
 * Find what the page cache knows of from a->end to @end, of which it knows
 * @cached pages, in halves until a half is all or nothing.  Moves on a->end.
 * Returns 0, 1 if it ended early, or a negative errno.
 *
 * What is found in a hole may be zeroes that the host did not let go of: a huge
 * page of which a part was given back, or memory that was allocated ahead.  As
 * it is in the page cache it can be read without allocating anything.
 */
static int find_cached(PopulatedScan *scan, uint64_t end, int64_t cached)
{
    Answers *a = &scan->file;
    uint64_t start = a->end;
    uint64_t page = scan->mem.host_page_size;
    uint64_t pages = (end - start + page - 1) / page;
    uint64_t middle = start + pages / 2 * page;
    int ret;

    if (cached < 0) {
        return cached;
    }
    if (cached && (uint64_t)cached < pages) {
        ret = find_cached(scan, middle, count_cached(scan, start, middle));
        return ret ? ret : find_cached(scan, end,
                                       count_cached(scan, middle, end));
    }
    if (cached && scan->use == POPULATED_TO_SKIP) {
        ret = populated_file_read(scan, a, end);
        return ret ? ret : a->end < end;
    }
    if (cached) {
        if (a->n == MAX_REGIONS && a->run[a->n - 1].end != start) {
            return 1;
        }
        populated_add_run(a, start, end);
    }
    a->end = end;
    return 0;
}

/*
 * Where does the next stretch of data begin, at or after @from?  Returns at
 * most the limit of the window, or -errno.
 */
static int64_t start_of_data(PopulatedScan *scan, uint64_t from)
{
    uint64_t base = scan->mem.fd_offset;
    off_t data;

    scan->calls++;
    data = lseek(scan->mem.fd, base + from, SEEK_DATA);
    if (data < 0) {
        if (errno != ENXIO) {
            return -errno;
        }
        /* No data up to the end of the file; is the mapping within it? */
        scan->calls++;
        data = lseek(scan->mem.fd, 0, SEEK_END);
        if (data < 0) {
            return -errno;
        }
        return (uint64_t)data < base + scan->limit ? -ERANGE
                                                   : (int64_t)scan->limit;
    }
    if ((uint64_t)data < base + from) {
        return -EIO;
    }
    return MIN((uint64_t)data - base, scan->limit);
}

/*
 * On a disk, a page may have been written back, and its content be in the file
 * now, between the question where data begin and that which pages are dirty.
 * So the former is asked again: what is no data now was none in between, or was
 * dirty.  Whatever it leaves of the answer may be nothing.
 */
static int ask_again(PopulatedScan *scan)
{
    Answers *a = &scan->file;
    int64_t data = start_of_data(scan, a->start);

    if (data < 0) {
        return data;
    }
    if ((uint64_t)data < a->end) {
        scan->hole_end = a->end = data;
        while (a->n && a->run[a->n - 1].start >= a->end) {
            a->n--;
        }
        if (a->n) {
            a->run[a->n - 1].end = MIN(a->run[a->n - 1].end, a->end);
        }
    }
    return 0;
}

/*
 * Look into a hole, or what SEEK_DATA calls so, from a->end to
 * scan->hole_end.  Moves on a->end, not necessarily to its end.  Returns 0, or
 * a negative errno.
 */
static int look_into_hole(PopulatedScan *scan, uint64_t to)
{
    Answers *a = &scan->file;
    uint64_t end = scan->hole_end;
    int64_t cached;
    int ret;

    if (!scan->no_cachestat) {
        end = MIN(end, a->end + STAT_MAX);
        cached = count_cached(scan, a->end, end);
        if (cached >= 0) {
            ret = find_cached(scan, end, cached);
            return ret >= 0 && !scan->in_memory ? ask_again(scan)
                                                : MIN(ret, 0);
        }
        scan->no_cachestat = true;
    }
    if (scan->use == POPULATED_TO_SKIP && scan->in_memory) {
        return populated_file_read(scan, a, MIN(end, to));
    }
    a->rest = -EAGAIN;
    a->end = end;
    return 0;
}

/*
 * Where does a stretch of data of tmpfs end that begins at @data?  Returns a
 * lower bound, at most @to, or -errno.
 *
 * SEEK_HOLE would go over all of it, which may be a terabyte.  mincore() goes
 * over what it is asked for, which grows with what is found.  It does not know
 * of pages that are swapped out, so where data start with one of them, take
 * that page alone.  What it wrongly calls absent is looked at next.
 */
static int64_t end_of_data_in_memory(PopulatedScan *scan, uint64_t data,
                                     uint64_t to)
{
    uint64_t page = scan->mem.host_page_size;
    unsigned char *resident = (unsigned char *)scan->entries;
    uint64_t end = data - data % page;
    size_t n, i;

    for (n = MINCORE_FIRST; end < to; n = MIN(2 * n, sizeof(scan->entries))) {
        n = MIN(n, (to - end + page - 1) / page);
        scan->calls++;
        if (mincore((uint8_t *)scan->mem.host + end, n * page, resident) < 0) {
            return -errno;
        }
        for (i = 0; i < n && resident[i] & 1; i++) {
            end += page;
        }
        if (i < n) {
            break;
        }
    }
    return MIN(MAX(end, data + page - data % page), to);
}

/* Where do data end that begin at @data?  Returns -errno if that is unknown. */
static int64_t end_of_data(PopulatedScan *scan, uint64_t data, uint64_t to)
{
    uint64_t base = scan->mem.fd_offset;
    int64_t end;
    off_t hole;

    if (scan->in_memory) {
        end = end_of_data_in_memory(scan, data,
                                    MIN(MAX(to, data + POPULATED_AHEAD),
                                        scan->limit));
        if (end > (int64_t)data) {
            return end;
        }
    }
    scan->calls++;
    hole = lseek(scan->mem.fd, base + data, SEEK_HOLE);
    if (hole < 0) {
        return -errno;
    }
    if ((uint64_t)hole <= base + data) {
        return -EIO;
    }
    return MIN((uint64_t)hole - base, scan->limit);
}

/* One hole and, if it begins before @to, one stretch of data */
int populated_file_look_up(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->file;
    /* A hole that takes several looks is the same one for all of them. */
    bool same = from == a->end && from < scan->hole_end;
    int64_t ret = same ? (int64_t)scan->hole_end : start_of_data(scan, from);

    if (ret < 0) {
        return ret;
    }
    scan->hole_end = ret;
    populated_begin(a, from);
    if (scan->hole_end > from) {
        ret = look_into_hole(scan, to);
        if (ret < 0) {
            return ret;
        }
    }
    if (a->end == scan->hole_end && a->end < to && a->n < MAX_REGIONS) {
        ret = end_of_data(scan, a->end, to);
        if (ret < 0) {
            return ret;
        }
        populated_add_run(a, a->end, ret);
        a->end = ret;
    }
    return a->end > from ? 0 : -EIO;
}

int populated_file_check(PopulatedScan *scan)
{
    struct statfs fs;
    struct stat st;

    scan->calls += 2;
    if (fstat(scan->mem.fd, &st) < 0 || fstatfs(scan->mem.fd, &fs) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -ENOTSUP;
    }
    switch ((uint32_t)fs.f_type) {
    case FS_TMPFS:
        scan->in_memory = true;
        return 0;
    case FS_EXT4:
    case FS_XFS:
    case FS_BTRFS:
        return 0;
    default:
        return -ENOTSUP;
    }
}
