/*
 * Populated, as the page tables of this process know it
 *
 * The PAGEMAP_SCAN ioctl() of /proc/self/pagemap (Linux 6.7) tells in runs.
 * On older kernels read() of the same file tells, eight bytes a page, or, of
 * hugetlbfs, mincore().
 *
 * A page of private memory that is being moved, swapped or collapsed is never
 * empty for any of these: its entry is replaced at once, or under the lock of
 * the mappings that these take, too.  But a huge page of hugetlbfs is called
 * empty by all of them while it is moved: they look at its entry without a lock
 * between its being cleared and the entry of migration being written.
 *
 * The kernel's page of zeroes, which a read of untouched private memory maps,
 * does not count as populated: it takes no memory and reads as zero.  Only
 * PAGEMAP_SCAN can tell it apart.
 *
 * A security policy may deny that file (AppArmor does, unless told).  mincore()
 * is asked then.  It looks at the same entries under the same lock, and calls a
 * page of private memory absent only if its entry is empty, or that of a page
 * that is swapped out.  So it is right where there is no swap: see
 * look_up_by_residency().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "populated-internal.h"

/*
 * Kernel interface as of Linux 6.7.  Kernel headers may be older than the
 * running kernel, so the names are our own.
 */
#define PM_CATEGORY_PRESENT (1 << 3)
#define PM_CATEGORY_SWAPPED (1 << 4)
#define PM_CATEGORY_ZERO_PFN (1 << 5)

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

/*
 * The most pages that mincore() is asked about in one go, and for how long at
 * most the answer is believed, see look_up_by_residency()
 */
#define RESIDENT_PAGES 16384
#define RESIDENT_US 1000
#define RESIDENT_TRIES 16

/* /proc/self/pagemap, opened once: a later open() might not be permitted. */
static int pagemap_fd = -1;

/* The same for /proc/self/status */
static int status_fd = -1;

int populated_tables_open(void)
{
    if (pagemap_fd < 0) {
        pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    }
    return pagemap_fd < 0 ? -errno : 0;
}

int populated_status_fd(void)
{
    if (status_fd < 0) {
        status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    }
    return status_fd;
}

void populated_init(void)
{
    populated_tables_open();
    populated_status_fd();
}

/* Wanted: (present or swapped) and not the page of zeroes. */
static int look_up_by_scan(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->tables;
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

    populated_begin(a, from);
    for (i = 0; i < n; i++) {
        populated_add_run(a, scan->regions[i].start - host,
                          scan->regions[i].end - host);
    }
    a->end = arg.walk_end - host;
    return a->end > from ? 0 : -EIO;
}

/* Note [@at, @end), if @is_populated; returns false if there is no room. */
static bool add_page(Answers *a, uint64_t at, uint64_t end, bool is_populated)
{
    if (is_populated) {
        if (a->n == MAX_REGIONS && a->run[a->n - 1].end != at) {
            return false;
        }
        populated_add_run(a, at, end);
    }
    a->end = end;
    return true;
}

static int look_up_by_read(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->tables;
    uint64_t page = scan->mem.host_page_size;
    uint64_t first = ((uintptr_t)scan->mem.host + from) / page;
    uint64_t want = MIN((to - from + page - 1) / page, MAX_ENTRIES);
    ssize_t n, i;

    do {
        scan->calls++;
        n = pread(pagemap_fd, scan->entries, want * sizeof(uint64_t),
                  first * sizeof(uint64_t));
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    n /= sizeof(uint64_t);
    if (!n) {
        return -EIO;
    }

    populated_begin(a, from);
    for (i = 0; i < n; i++) {
        if (!add_page(a, from + i * page, from + (i + 1) * page,
                      scan->entries[i] & (PM_ENTRY_PRESENT |
                                          PM_ENTRY_SWAPPED))) {
            break;
        }
    }
    return 0;
}

/*
 * All of a huge page says the same, so its first small page will do.  To ask
 * about more takes longer than a system call: where there is no page table the
 * kernel looks up each small page in the page cache.
 */
static int look_up_by_mincore(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->tables;
    uint64_t page = scan->mem.page_size;
    uint64_t stop = MIN(to, from + MAX_ENTRIES * page);
    uint64_t at;

    populated_begin(a, from);
    for (at = from; at < stop; at += page) {
        unsigned char resident;

        scan->calls++;
        if (mincore((uint8_t *)scan->mem.host + at, scan->mem.host_page_size,
                    &resident) < 0) {
            return -errno;
        }
        if (!add_page(a, at, at + page, resident & 1)) {
            break;
        }
    }
    return 0;
}

/* What was swapped out comes back before swapoff() ends, and counts so long. */
bool populated_host_has_swap(void)
{
    struct sysinfo info;

    return sysinfo(&info) < 0 || info.totalswap;
}

/*
 * Without swap before and after the question, none of our pages was swapped out
 * at the time, unless all of it was in between: that swap was added, used, and
 * removed.  To remove it takes milliseconds, since the kernel waits until no
 * processor is amid something.  So an answer that took longer counts for
 * nothing, and fewer pages are asked about.
 */
static int look_up_by_residency(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    Answers *a = &scan->tables;
    uint64_t page = scan->mem.host_page_size;
    uint64_t want = MIN((to - from + page - 1) / page, RESIDENT_PAGES);
    unsigned char *resident = (unsigned char *)scan->entries;
    unsigned int try;
    int64_t begin;
    uint64_t i;

    for (try = 0; try < RESIDENT_TRIES; try++) {
        begin = g_get_monotonic_time();
        scan->calls += 3;
        if (populated_host_has_swap()) {
            return scan->no_pagemap;
        }
        if (mincore((uint8_t *)scan->mem.host + from, want * page,
                    resident) < 0) {
            return -errno;
        }
        if (populated_host_has_swap()) {
            return scan->no_pagemap;
        }
        if (g_get_monotonic_time() - begin < RESIDENT_US) {
            break;
        }
        want = MAX(want / 2, 1);
    }
    if (try == RESIDENT_TRIES) {
        return -EAGAIN;
    }
    populated_begin(a, from);
    for (i = 0; i < want; i++) {
        if (!add_page(a, from + i * page, from + (i + 1) * page,
                      resident[i] & 1)) {
            break;
        }
    }
    return 0;
}

static bool is_refused(int error)
{
    return error == -ENOTTY || error == -EINVAL || error == -ENOSYS ||
           error == -EPERM || error == -EACCES;
}

int populated_tables_look_up(PopulatedScan *scan, uint64_t from, uint64_t to)
{
    int ret;

    /* No run may end within a page only because the answer does. */
    from -= from % scan->mem.page_size;
    to = populated_page_end(scan, to - 1);

    if (!scan->no_pagemap_scan && !scan->no_pagemap) {
        ret = look_up_by_scan(scan, from, to);
        if (!is_refused(ret)) {
            return ret;
        }
        scan->no_pagemap_scan = true;
    }
    if (populated_is_huge(scan)) {
        return look_up_by_mincore(scan, from, to);
    }
    if (!scan->no_pagemap) {
        ret = look_up_by_read(scan, from, to);
        if (!is_refused(ret)) {
            return ret;
        }
        scan->no_pagemap = ret;
    }
    return look_up_by_residency(scan, from, to);
}
