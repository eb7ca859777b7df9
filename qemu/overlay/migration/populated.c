/*
 * Populated: does the host have memory, or swap, behind a page of guest RAM?
 *
 * Two places know.  The page cache knows of memory that belongs to a file
 * (memfd, shmem): lseek() with SEEK_DATA and SEEK_HOLE tells, swapped-out
 * pages included; mincore() helps to find where data end.  The page tables of
 * this process know of private memory: the PAGEMAP_SCAN ioctl() of
 * /proc/self/pagemap (Linux 6.7) tells in runs, and read() of the same file,
 * eight bytes a page, tells on older kernels.  A private mapping of a file has
 * pages in both places.
 *
 * hugetlbfs does not tell holes, so for that the page tables are asked, and
 * the number of blocks of the file tells if there is more than they know: a
 * page that another process (a vhost-user back end) has populated.  Whoever
 * does that behind our back, after we compared, has to log it, and is seen
 * when the page is asked for next.
 *
 * The kernel's page of zeroes, which a read of untouched private memory
 * maps, does not count as populated: it takes no memory and reads as zero.
 * Only PAGEMAP_SCAN can tell it apart.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <glib.h>

#include "migration/populated.h"

/* A look-up reads this far ahead of a shorter question: one page table. */
#define READ_AHEAD (UINT64_C(2) << 20)

/* How often to count huge pages while they may become more */
#define HUGE_TRIES 3

/* Pages to ask mincore() about at first */
#define MINCORE_FIRST 8

#define MAX_REGIONS 512
#define MAX_ENTRIES 4096

/*
 * Kernel interface as of Linux 6.7 (see the kernel's documentation of
 * pagemap).  Kernel headers may be older than the running kernel, so the
 * names are our own.
 */
#define PM_CATEGORY_PRESENT (1 << 3)
#define PM_CATEGORY_SWAPPED (1 << 4)
#define PM_CATEGORY_ZERO_PFN (1 << 5)

struct pm_region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct pm_scan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};

#define PM_SCAN_IOCTL _IOWR('f', 16, struct pm_scan)

/* Bits of an entry read from /proc/self/pagemap */
#define PM_ENTRY_PRESENT (UINT64_C(1) << 63)
#define PM_ENTRY_SWAPPED (UINT64_C(1) << 62)

/* What one source answered for [start, end): its populated runs, in order */
typedef struct Answers {
    uint64_t start;
    uint64_t end;
    unsigned int n;
    unsigned int next;
    struct {
        uint64_t start;
        uint64_t end;
    } run[MAX_REGIONS];
} Answers;

/*
 * File systems of which SEEK_HOLE is known to tell the truth about pages that
 * have been written to through a mapping only
 */
#define FS_TMPFS 0x01021994
#define FS_EXT4 0xef53
#define FS_XFS 0x58465342
#define FS_BTRFS 0x9123683e

/* /proc/self/pagemap, opened once: a later open() might not be permitted. */
static int pagemap_fd = -1;

struct PopulatedScan {
    PopulatedMemory mem;
    uint64_t limit;
    uint64_t calls;
    bool ask_file;
    bool ask_pagemap;
    bool has_scan_ioctl;
    bool checked;
    bool in_memory;
    int silent;
    Answers file;
    Answers pagemap;
    struct pm_region regions[MAX_REGIONS];
    uint64_t entries[MAX_ENTRIES];
};

static int open_pagemap(void)
{
    if (pagemap_fd < 0) {
        pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    }
    return pagemap_fd < 0 ? -errno : 0;
}

void populated_init(void)
{
    open_pagemap();
}

static bool is_huge(const PopulatedScan *scan)
{
    return scan->mem.page_size > scan->mem.host_page_size;
}

PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedMethod method)
{
    PopulatedScan *scan = g_new0(PopulatedScan, 1);

    scan->mem = *mem;
    scan->limit = mem->length;
    scan->ask_file = mem->fd >= 0 && !is_huge(scan);
    scan->ask_pagemap = !(scan->ask_file && mem->shared);
    scan->has_scan_ioctl = method == POPULATED_AUTO;
    return scan;
}

void populated_scan_free(PopulatedScan *scan)
{
    g_free(scan);
}

uint64_t populated_scan_calls(const PopulatedScan *scan)
{
    return scan->calls;
}

static void forget(Answers *a)
{
    a->start = a->end = 0;
    a->n = a->next = 0;
}

void populated_scan_window(PopulatedScan *scan, uint64_t limit)
{
    scan->limit = MIN(limit, scan->mem.length);
    forget(&scan->file);
    forget(&scan->pagemap);
}

static void begin(Answers *a, uint64_t from)
{
    forget(a);
    a->start = a->end = from;
}

static void add_run(Answers *a, uint64_t start, uint64_t end)
{
    a->run[a->n].start = start;
    a->run[a->n].end = end;
    a->n++;
}

/*
 * Where does a stretch of data of tmpfs end that begins at @data?  Returns a
 * lower bound, at most @to, or -errno.
 *
 * SEEK_HOLE would go over all of it, which may be a terabyte.  mincore() goes
 * over what it is asked for, which grows with what is found.  It does not know
 * of pages that are swapped out, so where data start with one of them, take
 * that page alone.
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

/*
 * Look up where data lies in the file from offset @from on: one hole and, if
 * it begins before @to, one stretch of data.  What the file system has no
 * hole for counts as data.
 */
static int look_up_file(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->file;
    uint64_t base = scan->mem.fd_offset;
    off_t data, hole;

    begin(a, from);
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
        if ((uint64_t)data < base + scan->limit) {
            return -ERANGE;
        }
        a->end = scan->limit;
        return 0;
    }
    if ((uint64_t)data >= base + to) {
        a->end = MIN((uint64_t)data - base, scan->limit);
        return 0;
    }
    if ((uint64_t)data < base + from) {
        return -EIO;
    }
    if (scan->in_memory) {
        uint64_t start = (uint64_t)data - base;
        int64_t end = end_of_data_in_memory(scan, start,
                                            MIN(MAX(to, start + READ_AHEAD),
                                                scan->limit));

        if (end > (int64_t)start) {
            a->end = end;
            add_run(a, start, end);
            return 0;
        }
    }
    scan->calls++;
    hole = lseek(scan->mem.fd, data, SEEK_HOLE);
    if (hole < 0) {
        return -errno;
    }
    if (hole <= data) {
        return -EIO;
    }
    a->end = MIN((uint64_t)hole - base, scan->limit);
    add_run(a, (uint64_t)data - base, a->end);
    return 0;
}

/*
 * Look up page tables with PAGEMAP_SCAN.  Wanted: (present or swapped) and
 * not the page of zeroes.
 */
static int look_up_pagemap_scan(PopulatedScan *scan, uint64_t from,
                                uint64_t to)
{
    Answers *a = &scan->pagemap;
    uint64_t host = (uintptr_t)scan->mem.host;
    struct pm_scan arg = {
        .size = sizeof(arg),
        .start = host + from,
        .end = host + to,
        .vec = (uintptr_t)scan->regions,
        .vec_len = MAX_REGIONS,
        .category_inverted = PM_CATEGORY_ZERO_PFN,
        .category_mask = PM_CATEGORY_ZERO_PFN,
        .category_anyof_mask = PM_CATEGORY_PRESENT | PM_CATEGORY_SWAPPED,
        .return_mask = PM_CATEGORY_ZERO_PFN,
    };
    int n, i;

    do {
        scan->calls++;
        n = ioctl(pagemap_fd, PM_SCAN_IOCTL, &arg);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }

    begin(a, from);
    for (i = 0; i < n; i++) {
        add_run(a, scan->regions[i].start - host, scan->regions[i].end - host);
    }
    a->end = arg.walk_end - host;
    return a->end > from ? 0 : -EIO;
}

/* Read the entries of @n host pages from @at on.  Returns how many it got. */
static int64_t read_entries(PopulatedScan *scan, uint64_t at, uint64_t n,
                            uint64_t *entries)
{
    uint64_t first = ((uintptr_t)scan->mem.host + at) /
                     scan->mem.host_page_size;
    ssize_t got;

    do {
        scan->calls++;
        got = pread(pagemap_fd, entries, n * sizeof(uint64_t),
                    first * sizeof(uint64_t));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    return got ? (int64_t)(got / sizeof(uint64_t)) : -EIO;
}

/* All entries of a huge page say the same, so one of them will do. */
static int64_t read_huge_entries(PopulatedScan *scan, uint64_t at, uint64_t n)
{
    uint64_t i;

    for (i = 0; i < n; i++) {
        int64_t got = read_entries(scan, at + i * scan->mem.page_size, 1,
                                   &scan->entries[i]);

        if (got < 0) {
            return got;
        }
    }
    return n;
}

/* Look up page tables by reading an entry for each page. */
static int look_up_pagemap_read(PopulatedScan *scan, uint64_t from,
                                uint64_t to)
{
    Answers *a = &scan->pagemap;
    uint64_t page = scan->mem.page_size;
    uint64_t want;
    int64_t i, n;

    from -= from % page;
    want = MIN((to - from + page - 1) / page, MAX_ENTRIES);
    n = is_huge(scan) ? read_huge_entries(scan, from, want)
                      : read_entries(scan, from, want, scan->entries);
    if (n < 0) {
        return n;
    }

    begin(a, from);
    for (i = 0; i < n; i++) {
        uint64_t at = from + i * page;

        if (!(scan->entries[i] & (PM_ENTRY_PRESENT | PM_ENTRY_SWAPPED))) {
            continue;
        }
        if (a->n && a->run[a->n - 1].end == at) {
            a->run[a->n - 1].end += page;
        } else if (a->n < MAX_REGIONS) {
            add_run(a, at, at + page);
        } else {
            break;
        }
    }
    a->end = from + i * page;
    return 0;
}

static int look_up_pagemap(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    uint64_t page = scan->mem.page_size;
    int ret;

    /* No run may end within a huge page only because the answer does. */
    from -= from % page;
    to += (page - to % page) % page;

    ret = open_pagemap();
    if (ret < 0) {
        return ret;
    }
    if (scan->has_scan_ioctl) {
        ret = look_up_pagemap_scan(scan, from, to);
        if (ret != -ENOTTY && ret != -EINVAL) {
            return ret;
        }
        scan->has_scan_ioctl = false;
    }
    return look_up_pagemap_read(scan, from, to);
}

/* First run of @a that overlaps [@from, @to); the caller asks in order. */
static bool next_answer(Answers *a, uint64_t from, uint64_t to,
                        uint64_t *start, uint64_t *end)
{
    while (a->next < a->n && a->run[a->next].end <= from) {
        a->next++;
    }
    if (a->next == a->n || a->run[a->next].start >= to) {
        return false;
    }
    *start = MAX(a->run[a->next].start, from);
    *end = MIN(a->run[a->next].end, to);
    return true;
}

/*
 * Next populated run according to one source, looking up more as needed.
 * Return value as of populated_scan_next().
 */
static int next_of_source(PopulatedScan *scan, Answers *a, uint64_t from,
                          uint64_t to, uint64_t *start, uint64_t *end)
{
    while (from < to) {
        int ret;

        if (from < a->start || from >= a->end) {
            uint64_t ahead = MIN(MAX(to, from + READ_AHEAD), scan->limit);

            ret = a == &scan->file ? look_up_file(scan, from, to)
                                   : look_up_pagemap(scan, from, ahead);
            if (ret < 0) {
                forget(a);
                return ret;
            }
        } else if (a->next && a->run[a->next - 1].end > from) {
            /* The caller went back; the runs are few, start over. */
            a->next = 0;
        }
        if (next_answer(a, from, to, start, end)) {
            return 1;
        }
        from = a->end;
    }
    return 0;
}

/* How many bytes of the mapping do the page tables know, or -errno? */
static int64_t count_mapped(PopulatedScan *scan)
{
    Answers *a = &scan->pagemap;
    uint64_t limit = scan->limit;
    uint64_t at = 0, start, end;
    int64_t total = 0;
    int ret;

    scan->limit = scan->mem.length;
    forget(a);
    while ((ret = next_of_source(scan, a, at, scan->limit, &start,
                                 &end)) > 0) {
        total += end - start;
        at = end;
    }
    scan->limit = limit;
    forget(a);
    return ret < 0 ? ret : total;
}

/*
 * Can another process have populated more of hugetlbfs than we know?
 *
 * The file is asked last: what this process populates meanwhile makes us know
 * too little, never too much, and then we try again.
 */
static int check_huge(PopulatedScan *scan)
{
    int i;

    for (i = 0; i < HUGE_TRIES; i++) {
        int64_t mapped = scan->mem.shared ? count_mapped(scan) : 0;
        struct stat st;

        if (mapped < 0) {
            return mapped;
        }
        scan->calls++;
        if (fstat(scan->mem.fd, &st) < 0) {
            return -errno;
        }
        if (st.st_blocks * 512 == mapped) {
            return 0;
        }
    }
    return -EBUSY;
}

static int check_file(PopulatedScan *scan)
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

/* Does the host know for certain?  0, or -errno. */
static int check(PopulatedScan *scan)
{
    if (scan->ask_file) {
        return check_file(scan);
    }
    if (scan->mem.fd >= 0) {
        return check_huge(scan);
    }
    return scan->mem.shared ? -ENOTSUP : 0;
}

int populated_scan_check(PopulatedScan *scan)
{
    if (!scan->checked) {
        scan->checked = true;
        scan->silent = check(scan);
    }
    return scan->silent;
}

int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *start, uint64_t *end)
{
    uint64_t s, e;
    int found = 0;
    int ret;

    if (populated_scan_check(scan)) {
        return scan->silent;
    }
    if (to > scan->limit) {
        return -ERANGE;
    }
    if (scan->ask_file) {
        ret = next_of_source(scan, &scan->file, from, to, start, end);
        if (ret < 0) {
            return ret;
        }
        found = ret;
    }
    if (scan->ask_pagemap) {
        ret = next_of_source(scan, &scan->pagemap, from, to, &s, &e);
        if (ret < 0) {
            return ret;
        }
        if (ret && (!found || s < *start)) {
            *start = s;
            *end = e;
            found = 1;
        }
    }
    return found;
}
