/*
 * Unit test of the question "is it populated?", against real memory
 *
 * Each test arranges memory so that it knows what is populated, and compares
 * the answers with that.  What depends on speed is asserted on the number of
 * system calls, never on time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "qemu/osdep.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

#include "migration/skip/populated.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define HUGE_PAGE (2 * MiB)

#ifdef SYS_cachestat
#define SYS_CACHESTAT SYS_cachestat
#else
#define SYS_CACHESTAT 451
#endif

#define PM_ENTRY_SWAPPED (UINT64_C(1) << 62)

/* As of Linux 6.7: the kernel's struct pm_scan_arg, twelve words */
#define PM_SCAN_IOCTL _IOWR('f', 16, uint64_t[12])
#define PM_SCAN_START 2
#define PM_SCAN_END 3
#define PM_SCAN_VEC 5

static uint64_t host_page;

/* Which system calls of older kernels, or of a filter, there are not */
#define NO_PAGEMAP_SCAN (1 << 0)
#define NO_CACHESTAT (1 << 1)
#define FILTERED (1 << 2)
#define NO_PAGEMAP (1 << 3)
#define DENIED (NO_PAGEMAP_SCAN | NO_CACHESTAT | FILTERED | NO_PAGEMAP)

/* Which system calls do not see a page, as if the kernel was moving it */
#define BLIND_LSEEK (1 << 0)
#define BLIND_MINCORE (1 << 1)
#define BLIND_TABLES (1 << 2)

/*
 * System calls of this program come here, those of the code under test too: to
 * see what is asked for, to play an older kernel, and one that is moving a page
 * or is interrupted.
 */
static struct {
    unsigned int kernel;
    unsigned int blind;
    /* What is not seen: offset in the file, and address */
    uint64_t hidden;
    uint64_t hidden_host;
    uint64_t hidden_size;
    /* How often it was not seen */
    unsigned int lies;
    /* How often what is asked is answered so by the real kernel */
    unsigned int interrupts;
    unsigned int scans;
    unsigned int reads;
    /* How often there is no swap; -1: never is there any */
    int no_swap;
    /* How often mincore() takes its time */
    unsigned int slow;
    uint64_t lowest;
    uint64_t highest;
} fake;

static void *real(const char *name)
{
    void *func = dlsym(RTLD_NEXT, name);

    g_assert_nonnull(func);
    return func;
}

struct region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

/* What is hidden ends a region; the rest of that is lost as well. */
static int hide_regions(int n, struct region *region)
{
    int kept = 0;
    int i;

    for (i = 0; i < n; i++) {
        struct region r = region[i];

        if (r.start < fake.hidden_host + fake.hidden_size &&
            fake.hidden_host < r.end) {
            fake.lies++;
            r.end = MAX(r.start, fake.hidden_host);
        }
        if (r.start < r.end) {
            region[kept++] = r;
        }
    }
    return n < 0 ? n : kept;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    if (request == PM_SCAN_IOCTL && arg) {
        const uint64_t *word = arg;

        if (fake.kernel & NO_PAGEMAP_SCAN) {
            errno = fake.kernel & FILTERED ? EPERM : ENOTTY;
            return -1;
        }
        if (fake.interrupts) {
            fake.interrupts--;
            errno = EINTR;
            return -1;
        }
        fake.scans++;
        fake.lowest = MIN(fake.lowest, word[PM_SCAN_START]);
        fake.highest = MAX(fake.highest, word[PM_SCAN_END]);
        if (fake.blind & BLIND_TABLES) {
            return hide_regions(syscall(SYS_ioctl, fd, request, arg, 0, 0, 0),
                                (struct region *)(uintptr_t)word[PM_SCAN_VEC]);
        }
    }
    return syscall(SYS_ioctl, fd, request, arg, 0, 0, 0);
}

long syscall(long number, ...)
{
    long (*next)(long, ...) = real("syscall");
    long arg[6];
    va_list ap;
    int i;

    va_start(ap, number);
    for (i = 0; i < 6; i++) {
        arg[i] = va_arg(ap, long);
    }
    va_end(ap);
    if (number == SYS_CACHESTAT && (fake.kernel & NO_CACHESTAT)) {
        errno = fake.kernel & FILTERED ? EPERM : ENOSYS;
        return -1;
    }
    return next(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

off_t lseek(int fd, off_t offset, int whence)
{
    off_t (*next)(int, off_t, int) = real("lseek");
    off_t end = fake.hidden + fake.hidden_size;
    off_t ret = next(fd, offset, whence);

    if (whence == SEEK_DATA && (fake.blind & BLIND_LSEEK) &&
        ret >= (off_t)fake.hidden && ret < end) {
        fake.lies++;
        ret = next(fd, end, whence);
    }
    return ret;
}

int sysinfo(struct sysinfo *info)
{
    memset(info, 0, sizeof(*info));
    info->totalswap = !fake.no_swap;
    fake.no_swap -= fake.no_swap > 0;
    return 0;
}

int mincore(void *addr, size_t length, unsigned char *vec)
{
    int (*next)(void *, size_t, unsigned char *) = real("mincore");
    int ret = next(addr, length, vec);
    uint64_t at = (uintptr_t)addr;
    size_t i;

    if (fake.slow) {
        fake.slow--;
        g_usleep(2000);
    }

    for (i = 0; (fake.blind & BLIND_MINCORE) && !ret &&
                i * host_page < length; i++) {
        if (at + i * host_page - fake.hidden_host < fake.hidden_size) {
            fake.lies++;
            vec[i] = 0;
        }
    }
    return ret;
}

ssize_t pread(int fd, void *buf, size_t size, off_t offset)
{
    ssize_t (*next)(int, void *, size_t, off_t) = real("pread");
    ssize_t ret = next(fd, buf, size, offset);
    uint64_t at = offset / sizeof(uint64_t) * host_page;
    uint64_t *entries = buf;
    ssize_t i;

    /* Addresses are far beyond the offsets of the files here. */
    if (fake.kernel & NO_PAGEMAP && offset >> 37) {
        errno = EPERM;
        return -1;
    }
    fake.reads++;
    for (i = 0; (fake.blind & BLIND_TABLES) &&
                i < ret / (ssize_t)sizeof(uint64_t); i++) {
        if (at + i * host_page - fake.hidden_host < fake.hidden_size) {
            fake.lies++;
            entries[i] = 0;
        }
    }
    return ret;
}

static void fake_reset(unsigned int kernel)
{
    memset(&fake, 0, sizeof(fake));
    fake.kernel = kernel;
    fake.no_swap = -1;
    fake.lowest = UINT64_MAX;
}

/* A kernel that knows the request objects to its argument (no size). */
static bool kernel_has_scan(void)
{
    uint64_t arg[12] = { 0 };
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int ret;

    g_assert_cmpint(fd, >=, 0);
    ret = syscall(SYS_ioctl, fd, PM_SCAN_IOCTL, arg, 0, 0, 0);
    ret = ret < 0 ? errno : 0;
    close(fd);
    return ret != ENOTTY;
}

static uint64_t pagemap_entry(const void *host)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(syscall(SYS_pread64, fd, &entry, sizeof(entry),
                            (uintptr_t)host / host_page * sizeof(entry), 0, 0),
                    ==, sizeof(entry));
    close(fd);
    return entry;
}

static bool have_swap(void)
{
    g_autofree char *text = NULL;

    /* One line is the heading. */
    return g_file_get_contents("/proc/swaps", &text, NULL, NULL) &&
           strchr(text, '\n') && strchr(text, '\n')[1];
}

/* Memory, and what of it, by host page, is populated */
typedef struct Memory {
    PopulatedMemory mem;
    uint64_t pages;
    bool *want;
} Memory;

/* What a test is run with: what the kernel lacks, how is it mapped */
typedef struct Param {
    const char *name;
    unsigned int kernel;
    uint64_t fd_pages;
    int advice;
} Param;

static void memory_map(Memory *m, uint64_t length, int fd,
                       uint64_t fd_offset, bool shared)
{
    int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;

    m->mem.length = length;
    m->mem.page_size = host_page;
    m->mem.host_page_size = host_page;
    m->mem.fd = fd;
    m->mem.fd_offset = fd_offset;
    m->mem.shared = shared;
    m->mem.host = mmap(NULL, length, PROT_READ | PROT_WRITE,
                       flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, fd_offset);
    g_assert_true(m->mem.host != MAP_FAILED);
    /* A huge page would populate more than was touched. */
    madvise(m->mem.host, length, MADV_NOHUGEPAGE);
    m->pages = length / host_page;
    m->want = g_new0(bool, m->pages);
}

static void memory_unmap(Memory *m)
{
    munmap(m->mem.host, m->mem.length);
    g_free(m->want);
}

static int new_memfd(uint64_t size)
{
    int fd = memfd_create("test-populated", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    return fd;
}

static void touch_at(void *host, uint64_t page)
{
    /* volatile: nobody reads it, the compiler may not drop it all the same */
    ((volatile char *)host)[page * host_page + page % host_page] = 1;
}

static void read_at(void *host, uint64_t page)
{
    /* volatile: as above, the access is what matters and not the value */
    (void)((volatile char *)host)[page * host_page];
}

static void touch(Memory *m, uint64_t page)
{
    touch_at(m->mem.host, page);
    m->want[page] = true;
}

static uint64_t rnd(uint64_t n)
{
    return g_test_rand_int_range(0, n + 1);
}

/* Touch stretches of random length through @alias, another mapping. */
static void touch_random_via(Memory *m, void *alias)
{
    uint64_t at = rnd(40);

    while (at < m->pages) {
        uint64_t n = 1 + (rnd(2) ? rnd(3) : rnd(80));

        for (; n && at < m->pages; n--, at++) {
            touch_at(alias, at);
            m->want[at] = true;
        }
        at += 1 + (rnd(2) ? rnd(3) : rnd(150));
    }
}

static void touch_random(Memory *m)
{
    touch_random_via(m, m->mem.host);
}

static void discard(Memory *m, uint64_t page, uint64_t n)
{
    if (m->mem.shared) {
        g_assert_cmpint(fallocate(m->mem.fd,
                                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  m->mem.fd_offset + page * host_page,
                                  n * host_page), ==, 0);
    } else {
        g_assert_cmpint(madvise(m->mem.host + page * host_page,
                                n * host_page, MADV_DONTNEED), ==, 0);
    }
    memset(m->want + page, 0, n * sizeof(bool));
}

static void discard_random(Memory *m)
{
    int i;

    for (i = 0; i < 20; i++) {
        uint64_t page = rnd(m->pages - 1);

        discard(m, page, 1 + rnd(MIN(m->pages - page - 1, 60)));
    }
}

/* The first run that is populated; 1, 0 if there is none, or -errno */
static int first_run(PopulatedScan *scan, uint64_t from, uint64_t to,
                     uint64_t *start, uint64_t *end)
{
    int ret = 0;

    for (*start = *end = from; *start < to && !ret; *start = *end) {
        ret = populated_scan_next(scan, *start, to, end);
        if (ret > 0) {
            return ret;
        }
    }
    return ret;
}

/* Collect, by host page, what is populated in the pages [@from, @to). */
static bool *collect(PopulatedScan *scan, const Memory *m, uint64_t from,
                     uint64_t to)
{
    bool *got = g_new0(bool, m->pages);
    uint64_t at = from * host_page;
    uint64_t end;
    int ret;

    to *= host_page;
    for (; at < to; at = end) {
        end = 0;
        ret = populated_scan_next(scan, at, to, &end);
        g_assert_cmpint(ret, >=, 0);
        g_assert_cmpuint(end, >, at);
        g_assert_cmpuint(end, <=, to);
        g_assert_cmpuint(end % host_page, ==, 0);
        for (; ret && at < end; at += host_page) {
            got[at / host_page] = true;
        }
    }
    return got;
}

static void check_range(PopulatedScan *scan, const Memory *m, uint64_t from,
                        uint64_t to)
{
    g_autofree bool *got = collect(scan, m, from, to);
    uint64_t i;

    for (i = from; i < to; i++) {
        if (got[i] != m->want[i]) {
            g_test_message("page %" PRIu64 " of [%" PRIu64 ", %" PRIu64 ")"
                           " is %spopulated", i, from, to,
                           m->want[i] ? "" : "not ");
            g_test_fail();
            return;
        }
    }
}

/* The whole, then random ranges with the answers at hand and with new ones */
static void check_scan(PopulatedScan *scan, const Memory *m)
{
    int i;

    populated_scan_window(scan, m->mem.length);
    check_range(scan, m, 0, m->pages);
    for (i = 0; i < 300 && !g_test_failed(); i++) {
        uint64_t from = rnd(m->pages - 1);
        uint64_t n = rnd(1) ? rnd(m->pages - from)
                            : rnd(MIN(m->pages - from, 8));

        if (rnd(7) == 0) {
            populated_scan_window(scan, m->mem.length);
        }
        check_range(scan, m, from, from + n);
    }
}

static void check_memory(const Memory *m)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_SKIP);

    check_scan(scan, m);
    populated_scan_free(scan);
}

/*
 * Where nobody knows for certain that a page is not populated, who wants to
 * know if it has to be dropped is told so, and drops it.
 */
static void check_drop(const Memory *m, bool certain)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_DROP);
    uint64_t at, end;

    for (at = 0; at < m->mem.length; at = end) {
        int ret = populated_scan_next(scan, at, m->mem.length, &end);

        g_assert_true(ret >= 0 || (ret == -EAGAIN && !certain));
        for (; at < end; at += host_page) {
            g_assert_true(ret || !m->want[at / host_page]);
            g_assert_true(ret < 1 || m->want[at / host_page]);
            g_assert_true(m->want[at / host_page] ||
                          ret == (certain ? 0 : -EAGAIN));
        }
    }
    populated_scan_free(scan);
}

static void test_private(const void *data)
{
    const Param *p = data;
    Memory m = { 0 };

    fake_reset(p->kernel);
    memory_map(&m, 8 * MiB, -1, 0, false);
    check_memory(&m);
    touch_random(&m);
    check_memory(&m);
    discard_random(&m);
    check_memory(&m);
    discard(&m, 0, m.pages);
    check_memory(&m);
    /* The whole, and the very first and last page */
    memset(m.mem.host, 1, m.mem.length);
    memset(m.want, 1, m.pages * sizeof(bool));
    check_memory(&m);
    discard(&m, 1, m.pages - 2);
    check_memory(&m);
    g_assert_true((fake.scans > 0) ==
                  (!p->kernel && kernel_has_scan()));
    memory_unmap(&m);
}

/*
 * With huge pages allowed the kernel decides how much a touch populates;
 * mincore() is a second opinion.  The kernel may form a huge page at any
 * time, so it is asked before and after.
 */
static void test_huge_allowed(const void *data)
{
    const Param *p = data;
    Memory m = { 0 };
    g_autofree unsigned char *before = NULL;
    g_autofree unsigned char *after = NULL;
    PopulatedScan *scan;
    uint64_t i;

    fake_reset(p->kernel);
    memory_map(&m, 16 * MiB, -1, 0, false);
    before = g_malloc(m.pages);
    after = g_malloc(m.pages);
    /* A new mapping in its place forgets the advice given by memory_map(). */
    g_assert_true(mmap(m.mem.host, m.mem.length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
                  m.mem.host);
    madvise(m.mem.host, m.mem.length, p->advice);
    for (i = 0; i < 10; i++) {
        touch(&m, rnd(m.pages - 1));
    }
    /* A discard within a huge page splits it. */
    discard(&m, rnd(m.pages - 1), 1);

    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    for (i = 0; i < 30; i++) {
        uint64_t from = rnd(m.pages - 1);
        uint64_t to = from + rnd(m.pages - from);
        g_autofree bool *got = NULL;
        uint64_t j;

        populated_scan_window(scan, m.mem.length);
        g_assert_cmpint(mincore(m.mem.host, m.mem.length, before), ==, 0);
        got = collect(scan, &m, from, to);
        g_assert_cmpint(mincore(m.mem.host, m.mem.length, after), ==, 0);
        for (j = from; j < to; j++) {
            g_assert_true(got[j] || !m.want[j]);
            g_assert_true(got[j] || !(before[j] & 1));
            g_assert_true(!got[j] || m.want[j] || (after[j] & 1));
        }
    }
    populated_scan_free(scan);
    memory_unmap(&m);
}

/* More runs than fit into one answer, asked for at once and page by page */
static void test_alternating(const void *data)
{
    const Param *p = data;
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t i;

    fake_reset(p->kernel);
    memory_map(&m, 64 * MiB, -1, 0, false);
    for (i = 0; i < m.pages; i += 2) {
        touch(&m, i);
    }
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    check_range(scan, &m, 0, m.pages);
    g_assert_cmpuint(populated_scan_calls(scan), <, m.pages / 2 / 100);
    check_scan(scan, &m);
    populated_scan_free(scan);

    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    for (i = 0; i < m.pages; i++) {
        uint64_t at = i * host_page;
        uint64_t start, end;
        int ret = first_run(scan, at, at + host_page, &start, &end);

        g_assert_cmpint(ret, ==, m.want[i]);
        if (ret) {
            g_assert_cmpuint(start, ==, at);
            g_assert_cmpuint(end, ==, at + host_page);
        }
    }
    g_assert_cmpuint(populated_scan_calls(scan), <, m.pages / 100);
    populated_scan_free(scan);
    memory_unmap(&m);
}

/* What this process takes of the host; the page of zeroes is not in it. */
static uint64_t resident_bytes(void)
{
    g_autofree char *text = NULL;
    uint64_t size, resident;

    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    g_assert_cmpint(sscanf(text, "%" SCNu64 " %" SCNu64, &size, &resident),
                    ==, 2);
    return resident * host_page;
}

/* Some kernels have none for untouched memory that is read: they populate it. */
static bool kernel_maps_zero_page(void)
{
    Memory m = { 0 };
    uint64_t before, i;

    memory_map(&m, 16 * MiB, -1, 0, false);
    before = resident_bytes();
    for (i = 0; i < m.pages; i++) {
        read_at(m.mem.host, i);
    }
    i = resident_bytes() - before;
    memory_unmap(&m);
    return i < 8 * MiB;
}

static void test_zero_page(const void *data)
{
    const Param *p = data;
    bool tells_apart = !(p->kernel & NO_PAGEMAP_SCAN) &&
                       kernel_maps_zero_page();
    Memory m = { 0 };
    uint64_t i;

    if (!p->kernel && !kernel_has_scan()) {
        g_test_skip("this kernel has no PAGEMAP_SCAN");
        return;
    }
    fake_reset(p->kernel);
    memory_map(&m, 4 * MiB, -1, 0, false);
    touch_random(&m);
    for (i = 0; i < m.pages; i++) {
        read_at(m.mem.host, i);
        /* Without PAGEMAP_SCAN it cannot be told apart; err on the safe side */
        if (!tells_apart) {
            m.want[i] = true;
        }
    }
    check_memory(&m);
    /* Written to after all */
    touch(&m, m.pages / 2);
    check_memory(&m);
    memory_unmap(&m);
}

/* What this test is all about: discarded memory costs next to nothing. */
static void test_discarded(const void *data)
{
    const Param *p = data;
    bool scans = !p->kernel && kernel_has_scan();
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t start, end, calls;
    int i;

    fake_reset(p->kernel);
    memory_map(&m, 8 * GiB, -1, 0, false);
    for (i = 0; i < 64; i++) {
        touch(&m, i * (m.pages / 64) + 17);
    }
    discard(&m, 0, m.pages);
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    g_assert_cmpint(first_run(scan, 0, 8 * GiB, &start, &end),
                    ==, 0);
    calls = populated_scan_calls(scan);
    /* Where the kernel tells page by page, still thousands of them a call */
    g_assert_cmpuint(calls, <=, scans ? 4 : m.pages / 4096 + 4);
    g_assert_cmpuint(calls, >, 0);

    /* Few runs do not change that. */
    for (i = 0; i < 64; i++) {
        touch(&m, i * (m.pages / 64) + 17);
    }
    populated_scan_window(scan, 8 * GiB);
    if (scans) {
        check_range(scan, &m, 0, m.pages);
        g_assert_cmpuint(populated_scan_calls(scan), <=, calls + 4);
    }
    populated_scan_free(scan);
    memory_unmap(&m);
}

static void test_discarded_file(void)
{
    int fd = new_memfd(8 * GiB);
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t start, end, calls;

    memory_map(&m, 8 * GiB, fd, 0, true);
    touch(&m, 1000);
    discard(&m, 0, m.pages);
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    g_assert_cmpint(first_run(scan, 0, 8 * GiB, &start, &end),
                    ==, 0);
    calls = populated_scan_calls(scan);
    /* The page cache is asked about 256 MiB at a time. */
    g_assert_cmpuint(calls, <=, 8 * GiB / (256 * MiB) + 6);

    touch(&m, m.pages - 1);
    populated_scan_window(scan, 8 * GiB);
    check_range(scan, &m, 0, m.pages);
    g_assert_cmpuint(populated_scan_calls(scan), <=, 2 * calls + 8);
    populated_scan_free(scan);
    memory_unmap(&m);
    close(fd);
}

static void check_window(Memory *m)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_SKIP);
    uint64_t limit = m->pages / 2;
    uint64_t start, end;

    /* Nothing is there, and the answers are at hand. */
    populated_scan_window(scan, limit * host_page);
    check_range(scan, m, 0, limit);

    /* What comes after the answer is seen at the latest by a new window. */
    touch(m, 1);
    touch(m, limit - 1);
    populated_scan_window(scan, limit * host_page);
    check_range(scan, m, 0, limit);

    /* Up to the limit; no question across it gets an answer. */
    touch(m, limit);
    touch(m, limit + 1);
    populated_scan_window(scan, limit * host_page);
    g_assert_cmpint(first_run(scan, 2 * host_page,
                                        limit * host_page, &start, &end), ==,
                    1);
    g_assert_cmpuint(start, ==, (limit - 1) * host_page);
    g_assert_cmpuint(end, ==, limit * host_page);
    g_assert_cmpint(first_run(scan, 2 * host_page, m->mem.length, &start, &end), ==, -ERANGE);
    g_assert_cmpint(first_run(scan, m->mem.length - host_page,
                                        m->mem.length, &start, &end), ==,
                    -ERANGE);

    /* A short question just below the limit does not look past it. */
    populated_scan_window(scan, limit * host_page);
    check_range(scan, m, limit - 2, limit);
    if (fake.scans) {
        g_assert_cmpuint(fake.lowest, >=, (uintptr_t)m->mem.host);
        g_assert_cmpuint(fake.highest, <=,
                         (uintptr_t)m->mem.host + limit * host_page);
    }

    /* Beyond it once the window is wider, gone what has been discarded */
    discard(m, 0, limit);
    touch(m, m->pages - 1);
    populated_scan_window(scan, m->mem.length);
    check_range(scan, m, 0, m->pages);

    /* A limit beyond the mapping is the end of the mapping. */
    populated_scan_window(scan, UINT64_MAX);
    check_range(scan, m, 0, m->pages);
    if (fake.scans) {
        g_assert_cmpuint(fake.highest, <=,
                         (uintptr_t)m->mem.host + m->mem.length);
    }
    populated_scan_free(scan);
}

static void test_window(const void *data)
{
    const Param *p = data;
    Memory m = { 0 };
    int fd;

    fake_reset(p->kernel);
    memory_map(&m, 2 * MiB, -1, 0, false);
    check_window(&m);
    memory_unmap(&m);

    fake_reset(p->kernel);
    fd = new_memfd(3 * MiB);
    memory_map(&m, 2 * MiB, fd, 16 * host_page, true);
    check_window(&m);
    memory_unmap(&m);
    close(fd);
}

/*
 * A page table entry that is neither present nor empty.  Where nothing can
 * be swapped out, the marker of a guard region looks the same.
 */
static void test_swap_entry(const void *data)
{
    const Param *p = data;
    Memory m = { 0 };
    uint64_t i;

    fake_reset(p->kernel);
    memory_map(&m, 2 * MiB, -1, 0, false);
    if (madvise(m.mem.host, host_page, MADV_GUARD_INSTALL) < 0 ||
        !(pagemap_entry(m.mem.host) & PM_ENTRY_SWAPPED)) {
        g_test_skip("this kernel has no guard regions, or shows them not");
        memory_unmap(&m);
        return;
    }
    /* What follows may touch that page. */
    g_assert_cmpint(madvise(m.mem.host, host_page, MADV_GUARD_REMOVE), ==, 0);
    touch_random(&m);
    for (i = 0; i < m.pages; i += 50) {
        g_assert_cmpint(madvise(m.mem.host + i * host_page, host_page,
                                MADV_GUARD_INSTALL), ==, 0);
        /* Nothing is there; only pagemap makes it look so. */
        m.want[i] = !(p->kernel & NO_PAGEMAP);
    }
    check_memory(&m);
    memory_unmap(&m);
}

static void test_swapped(const void *data)
{
    const Param *p = data;
    unsigned char resident;
    Memory m = { 0 };
    int tries, fd;

    if (!have_swap()) {
        g_test_skip("there is no swap");
        return;
    }

    fake_reset(p->kernel);
    memory_map(&m, 2 * MiB, -1, 0, false);
    touch_random(&m);
    touch(&m, 0);
    for (tries = 0; tries < 50; tries++) {
        madvise(m.mem.host, m.mem.length, MADV_PAGEOUT);
        if (pagemap_entry(m.mem.host) & PM_ENTRY_SWAPPED) {
            break;
        }
        g_usleep(10000);
    }
    if (tries == 50) {
        g_test_skip("the kernel does not swap out");
        memory_unmap(&m);
        return;
    }
    check_memory(&m);
    /* Asking brought nothing back. */
    g_assert_true(pagemap_entry(m.mem.host) & PM_ENTRY_SWAPPED);
    memory_unmap(&m);

    fd = new_memfd(2 * MiB);
    memory_map(&m, 2 * MiB, fd, 0, true);
    touch_random(&m);
    touch(&m, 0);
    for (tries = 0; tries < 50; tries++) {
        madvise(m.mem.host, m.mem.length, MADV_PAGEOUT);
        g_assert_cmpint(mincore(m.mem.host, host_page, &resident), ==, 0);
        if (!(resident & 1)) {
            break;
        }
        g_usleep(10000);
    }
    g_test_message("shared memory %s", tries < 50 ? "is swapped out"
                                                  : "stayed");
    check_memory(&m);
    memory_unmap(&m);
    close(fd);
}

/* A kernel without PAGEMAP_SCAN: the automatic choice reads instead. */
static void test_fallback(void)
{
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t calls;

    fake_reset(NO_PAGEMAP_SCAN);
    memory_map(&m, 8 * MiB, -1, 0, false);
    touch_random(&m);
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    check_scan(scan, &m);
    /* It was found out once: the same question again takes the reads only. */
    calls = populated_scan_calls(scan);
    populated_scan_window(scan, m.mem.length);
    check_range(scan, &m, 0, 1);
    g_assert_cmpuint(populated_scan_calls(scan), ==, calls + 1);
    populated_scan_free(scan);
    memory_unmap(&m);
    fake_reset(0);
}

static void test_interrupted(void)
{
    Memory m = { 0 };

    if (!kernel_has_scan()) {
        g_test_skip("this kernel has no PAGEMAP_SCAN");
        return;
    }
    fake_reset(0);
    fake.interrupts = 3;
    memory_map(&m, 8 * MiB, -1, 0, false);
    touch_random(&m);
    check_memory(&m);
    g_assert_cmpuint(fake.interrupts, ==, 0);
    memory_unmap(&m);
}

static void test_shared_file(const void *data)
{
    const Param *p = data;
    uint64_t offset = p->fd_pages * host_page;
    int fd = new_memfd(offset + 9 * MiB);
    Memory m = { 0 }, outside = { 0 };
    void *alias;

    fake_reset(p->kernel);
    /* Data in the file that is not in the mapping must not shine through. */
    memory_map(&outside, offset + 9 * MiB, fd, 0, true);
    memory_map(&m, 8 * MiB, fd, offset, true);
    alias = outside.mem.host + offset;
    touch(&outside, p->fd_pages + m.pages);
    if (p->fd_pages) {
        touch(&outside, 0);
        touch(&outside, p->fd_pages - 1);
    }
    check_memory(&m);

    /* The page tables of the mapping under test never see these. */
    touch_random_via(&m, alias);
    check_memory(&m);
    touch_random(&m);
    check_memory(&m);
    discard_random(&m);
    check_memory(&m);
    discard(&m, 0, m.pages);
    check_memory(&m);
    g_assert_cmpuint(fake.scans, ==, 0);
    memory_unmap(&m);
    memory_unmap(&outside);
    close(fd);
}

/* Pages of the file and pages of our own, one, the other, or both */
static void test_private_file(const void *data)
{
    const Param *p = data;
    uint64_t offset = p->fd_pages * host_page;
    int fd = new_memfd(offset + 8 * MiB);
    Memory m = { 0 }, file = { 0 };
    g_autofree bool *own = NULL;
    uint64_t i;

    fake_reset(p->kernel);
    memory_map(&file, 8 * MiB, fd, offset, true);
    memory_map(&m, 8 * MiB, fd, offset, false);

    touch_random(&file);
    memcpy(m.want, file.want, m.pages * sizeof(bool));
    check_memory(&m);

    /*
     * Writing makes a copy, of a page that the file gets for this purpose
     * where it had none; take that away again and the copy stays.
     */
    memset(m.want, 0, m.pages * sizeof(bool));
    touch_random(&m);
    own = g_new(bool, m.pages);
    memcpy(own, m.want, m.pages * sizeof(bool));
    for (i = 0; i < m.pages; i++) {
        m.want[i] |= file.want[i];
    }
    check_memory(&m);
    discard(&file, 0, file.pages / 2);
    memcpy(m.want, own, m.pages / 2 * sizeof(bool));
    check_memory(&m);

    /*
     * And a copy gone uncovers the page of the file.  One that nobody has
     * written to may be gone as well: the host does not keep its zeroes.
     */
    for (i = m.pages / 2; i < m.pages; i++) {
        if (own[i] && !file.want[i]) {
            touch(&file, i);
        }
    }
    g_assert_cmpint(madvise(m.mem.host, m.mem.length, MADV_DONTNEED), ==, 0);
    memset(m.want, 0, m.pages / 2 * sizeof(bool));
    check_memory(&m);
    memory_unmap(&m);
    memory_unmap(&file);
    close(fd);
}

static void test_short_file(void)
{
    int fd = new_memfd(1 * MiB);
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t start, end;
    int shared;

    for (shared = 0; shared < 2; shared++) {
        memory_map(&m, 2 * MiB, fd, 0, shared);
        scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
        g_assert_cmpint(first_run(scan, 0, 2 * MiB, &start, &end),
                        <, 0);
        /* No answer does not turn into one later on. */
        g_assert_cmpint(first_run(scan, 0, 2 * MiB, &start, &end),
                        <, 0);
        g_assert_cmpint(first_run(scan, 1 * MiB, 2 * MiB, &start, &end), <, 0);
        populated_scan_free(scan);
        memory_unmap(&m);
    }

    /* With data up to the end of the file, then an error at the latest */
    memory_map(&m, 2 * MiB, fd, 0, true);
    touch(&m, MiB / host_page - 1);
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    g_assert_cmpint(first_run(scan, 0, 2 * MiB, &start, &end),
                    ==, 1);
    g_assert_cmpuint(start, ==, MiB - host_page);
    g_assert_cmpuint(end, ==, MiB);
    g_assert_cmpint(first_run(scan, end, 2 * MiB, &start, &end),
                    <, 0);

    /* It shrinks while the scan is under way. */
    g_assert_cmpint(ftruncate(fd, 2 * MiB), ==, 0);
    populated_scan_window(scan, 2 * MiB);
    check_range(scan, &m, 0, m.pages);
    g_assert_cmpint(ftruncate(fd, 0), ==, 0);
    populated_scan_window(scan, 2 * MiB);
    g_assert_cmpint(first_run(scan, 0, 2 * MiB, &start, &end),
                    <, 0);
    populated_scan_free(scan);
    memory_unmap(&m);
    close(fd);
}

static void test_bad_file(void)
{
    int fd = new_memfd(1 * MiB);
    /* A number that nobody takes again in the meantime */
    int closed = fcntl(fd, F_DUPFD_CLOEXEC, 500);
    Memory m = { 0 };
    int fds[] = { closed, INT_MAX };
    int shared, pipes[2];
    uint64_t start, end;
    PopulatedScan *scan;
    unsigned int i;

    g_assert_cmpint(closed, >=, 500);
    close(closed);
    memory_map(&m, 1 * MiB, fd, 0, true);
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        for (shared = 0; shared < 2; shared++) {
            m.mem.fd = fds[i];
            m.mem.shared = shared;
            scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
            g_assert_cmpint(first_run(scan, 0, 1 * MiB, &start, &end), ==, -EBADF);
            populated_scan_free(scan);
        }
    }

    g_assert_cmpint(pipe(pipes), ==, 0);
    m.mem.fd = pipes[0];
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    g_assert_cmpint(first_run(scan, 0, 1 * MiB, &start, &end),
                    ==, -ENOTSUP);
    populated_scan_free(scan);
    close(pipes[0]);
    close(pipes[1]);
    memory_unmap(&m);
    close(fd);
}

/* What the host answers about the first page of @m */
static int answer(Memory *m)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_SKIP);
    uint64_t start, end;
    int ret = first_run(scan, 0, host_page, &start, &end);

    populated_scan_free(scan);
    return ret;
}

/* Do the page tables know all of it? */
static int count(const Memory *m)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_SKIP);
    unsigned int reads = fake.reads;
    uint64_t start, end;
    int ret = populated_scan_count(scan, 0);

    if (!ret) {
        check_scan(scan, m);
        /* That was worth something: what is empty is not read. */
        first_run(scan, 0, m->mem.length, &start, &end);
        g_assert_true(!m->mem.shared || fake.reads == reads);
    }
    populated_scan_free(scan);
    return ret;
}

/*
 * Two huge pages are populated.  Ask for a part of the first one, and then for
 * the second one: what was looked up ahead must not end within that.
 */
static void check_whole_run(Memory *m, uint64_t at)
{
    PopulatedScan *scan = populated_scan_new(&m->mem, POPULATED_TO_SKIP);
    uint64_t part = at + 5 * host_page;
    uint64_t start, end;

    g_assert_cmpint(first_run(scan, part, part + host_page, &start, &end), ==, 1);
    at += HUGE_PAGE;
    g_assert_cmpint(first_run(scan, at, at + HUGE_PAGE, &start, &end), ==, 1);
    g_assert_cmphex(start, ==, at);
    g_assert_cmphex(end, ==, at + HUGE_PAGE);
    populated_scan_free(scan);
}

/* Hide a page of @m, or a huge one, from system calls @blind. */
static void hide(const Memory *m, uint64_t page, uint64_t size,
                 unsigned int blind)
{
    fake.hidden = m->mem.fd_offset + page * host_page;
    fake.hidden_host = (uintptr_t)m->mem.host + page * host_page;
    fake.hidden_size = size;
    fake.blind = blind;
}

/* 2 MiB hugetlb memory; the page tables of this process are all there is. */
static void test_hugetlb(const void *data)
{
    const char *free_path =
        "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    const Param *p = data;
    g_autofree char *text = NULL;
    uint64_t small = HUGE_PAGE / host_page;
    Memory m = { 0 }, other = { 0 };
    int fd;

    if (!g_file_get_contents(free_path, &text, NULL, NULL) ||
        g_ascii_strtoull(text, NULL, 10) < 2) {
        g_test_skip("no two free huge pages of 2 MiB; see nr_hugepages");
        return;
    }
    fd = memfd_create("test-populated", MFD_CLOEXEC | MFD_HUGETLB |
                                        MFD_HUGE_2MB);
    if (fd < 0 || ftruncate(fd, 4 * HUGE_PAGE) < 0) {
        g_test_skip("no huge pages of 2 MiB");
        return;
    }
    fake_reset(p->kernel);
    memory_map(&m, 4 * HUGE_PAGE, fd, 0, true);
    m.mem.page_size = HUGE_PAGE;
    check_memory(&m);
    touch_at(m.mem.host, 1 * small + rnd(small - 1));
    memset(m.want + small, 1, small * sizeof(bool));
    check_memory(&m);
    touch_at(m.mem.host, 3 * small + rnd(small - 1));
    memset(m.want + 3 * small, 1, small * sizeof(bool));
    check_memory(&m);
    touch_at(m.mem.host, 2 * small);
    memset(m.want + 2 * small, 1, small * sizeof(bool));
    check_memory(&m);
    check_whole_run(&m, HUGE_PAGE);
    g_assert_cmpint(count(&m), ==, 0);
    /* A huge page that is being moved: no count is right, but the file is. */
    hide(&m, small, HUGE_PAGE, BLIND_TABLES | BLIND_MINCORE);
    g_assert_cmpint(count(&m), ==, -EAGAIN);
    check_memory(&m);
    check_drop(&m, false);
    fake.blind = 0;
    g_assert_cmpint(count(&m), ==, 0);
    discard(&m, 2 * small, small);
    discard(&m, small, small);
    check_memory(&m);
    memory_unmap(&m);

    /*
     * A private mapping reads what the file holds (its last page), while the
     * page tables here know nothing of it.
     */
    memory_map(&m, 4 * HUGE_PAGE, fd, 0, false);
    m.mem.page_size = HUGE_PAGE;
    memset(m.want + 3 * small, 1, small * sizeof(bool));
    g_assert_cmpint(count(&m), ==, 0);
    /* Nobody else knows of a private mapping. */
    g_assert_cmpint(answer(&m), ==, -EAGAIN);
    check_drop(&m, false);
    g_assert_true(memchr(m.mem.host + 3 * HUGE_PAGE, 1, HUGE_PAGE));

    /* It has a page of its own as soon as it is written to. */
    g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              0, 4 * HUGE_PAGE), ==, 0);
    touch_at(m.mem.host, 2 * small + rnd(small - 1));
    memset(m.want, 0, m.pages * sizeof(bool));
    memset(m.want + 2 * small, 1, small * sizeof(bool));
    g_assert_cmpint(count(&m), ==, 0);
    hide(&m, 2 * small, HUGE_PAGE, BLIND_TABLES | BLIND_MINCORE);
    g_assert_cmpint(count(&m), ==, -EAGAIN);
    fake.blind = 0;
    check_drop(&m, false);
    memory_unmap(&m);

    /* What another mapping of a shared file populated is not known here. */
    memory_map(&m, 4 * HUGE_PAGE, fd, 0, true);
    m.mem.page_size = HUGE_PAGE;
    touch_at(m.mem.host, rnd(small - 1));
    memset(m.want, 1, small * sizeof(bool));
    check_memory(&m);
    g_assert_cmpint(count(&m), ==, 0);
    memory_map(&other, 4 * HUGE_PAGE, fd, 0, true);
    touch_at(other.mem.host, small + rnd(small - 1));
    g_assert_cmpint(count(&m), ==, -EAGAIN);
    memset(m.want + small, 1, small * sizeof(bool));
    check_memory(&m);
    check_drop(&m, false);
    memory_unmap(&other);
    memory_unmap(&m);
    close(fd);
}

/*
 * A file that this process neither owns nor may write to: mincore() says that
 * all of it is present, and cachestat() is not permitted (since Linux 6.14).
 * The answer errs on the safe side, and holes before data are still found.
 */
static void test_no_rights(void)
{
    g_autofree char *path = NULL;
    g_autofree bool *got = NULL;
    Memory m = { 0 }, writable = { 0 };
    PopulatedScan *scan;
    uint64_t i, holes = 0;
    int fd, fd_read;

    if (geteuid() != 0 || access("/dev/shm", W_OK) < 0) {
        g_test_skip("only root can give up rights, and needs /dev/shm");
        return;
    }
    fake_reset(0);
    path = g_strdup_printf("/dev/shm/test-populated-%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 8 * MiB), ==, 0);
    memory_map(&writable, 8 * MiB, fd, 0, true);
    touch(&writable, writable.pages / 2);

    fd_read = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    m.mem = writable.mem;
    m.pages = writable.pages;
    m.mem.fd = fd_read;
    m.mem.host = mmap(NULL, 8 * MiB, PROT_READ, MAP_SHARED, fd_read, 0);
    g_assert_true(m.mem.host != MAP_FAILED);
    g_assert_cmpint(seteuid(65534), ==, 0);
    scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
    got = collect(scan, &m, 0, m.pages);
    g_assert_cmpint(seteuid(0), ==, 0);
    for (i = 0; i < m.pages; i++) {
        g_assert_true(got[i] || !writable.want[i]);
        holes += !got[i];
    }
    g_assert_cmpuint(holes, >=, m.pages / 2);
    populated_scan_free(scan);
    munmap(m.mem.host, m.mem.length);
    memory_unmap(&writable);
    close(fd_read);
    close(fd);
}

/* Locked memory is asked about like any other. */
static void test_locked(void)
{
    int fd = new_memfd(2 * MiB);
    Memory m = { 0 };

    fake_reset(0);
    memory_map(&m, 2 * MiB, fd, 0, true);
    if (syscall(SYS_mlock2, m.mem.host, m.mem.length, 1L, 0, 0, 0) < 0) {
        g_test_skip("memory cannot be locked here");
    } else {
        touch_random(&m);
        check_memory(&m);
        discard_random(&m);
        check_memory(&m);
    }
    memory_unmap(&m);
    close(fd);
}

/* Shared memory without a file: the page tables do not know what is swapped. */
static void test_shared_without_file(void)
{
    Memory m = { 0 };

    memory_map(&m, MiB, -1, 0, true);
    g_assert_cmpint(answer(&m), ==, -ENOTSUP);
    memory_unmap(&m);
}

/* mincore() is believed if there was no swap, before and after. */
static void test_swap(void)
{
    Memory m = { 0 };

    memory_map(&m, MiB, -1, 0, false);
    touch(&m, 0);
    fake_reset(DENIED);
    fake.no_swap = 0;
    g_assert_cmpint(answer(&m), ==, -EPERM);
    fake.no_swap = 1;
    g_assert_cmpint(answer(&m), ==, -EPERM);
    fake.no_swap = 2;
    g_assert_cmpint(answer(&m), ==, 1);
    memory_unmap(&m);
}

/* It is not believed if that took so long that there may have been some. */
static void test_slow_host(void)
{
    Memory m = { 0 };

    memory_map(&m, MiB, -1, 0, false);
    touch(&m, 0);
    fake_reset(DENIED);
    fake.slow = 3;
    g_assert_cmpint(answer(&m), ==, 1);
    g_assert_cmpint(fake.slow, ==, 0);
    fake.slow = UINT_MAX;
    g_assert_cmpint(answer(&m), ==, -EAGAIN);
    fake.slow = 0;
    check_memory(&m);
    memory_unmap(&m);
}

/* In a process of its own, since /proc/self/pagemap is opened only once */
static void test_no_pagemap(void)
{
    Memory m = { 0 };

    if (g_test_subprocess()) {
        struct rlimit none = { 0, 0 };

        memory_map(&m, MiB, -1, 0, false);
        touch(&m, 0);
        setrlimit(RLIMIT_NOFILE, &none);
        fake.no_swap = 0;
        g_assert_cmpint(answer(&m), ==, -EMFILE);
        g_assert_cmpint(answer(&m), ==, -EMFILE);
        fake.no_swap = -1;
        g_assert_cmpint(answer(&m), ==, 1);
        /* At once: a leak check at exit would want to open files. */
        _exit(0);
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

/* What would end the process if it read it cannot be read, and that is all. */
static void test_read(void)
{
    g_autofree uint8_t *buf = g_malloc(host_page);
    int fd = memfd_create("read", 0);
    uint8_t *host;

    g_assert_cmpint(ftruncate(fd, host_page), ==, 0);
    host = mmap(NULL, 2 * host_page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(host != MAP_FAILED);
    memset(host, 7, host_page);
    g_assert_true(populated_read_resident(host, buf, host_page));
    g_assert_cmpmem(host, host_page, buf, host_page);
    g_assert_false(populated_read_resident(host + host_page, buf, host_page));
    munmap(host, 2 * host_page);
    close(fd);
}

static void test_free(void)
{
    Memory m = { 0 };
    PopulatedScan *scan;
    uint64_t start, end;
    int before, after, i;

    populated_scan_free(NULL);

    /* No file descriptor is left behind. */
    memory_map(&m, MiB, -1, 0, false);
    before = dup(0);
    close(before);
    for (i = 0; i < 3; i++) {
        scan = populated_scan_new(&m.mem, POPULATED_TO_SKIP);
        g_assert_cmpint(first_run(scan, 0, MiB, &start, &end),
                        ==, 0);
        /* The empty question, anywhere */
        g_assert_cmpint(first_run(scan, 0, 0, &start, &end), ==, 0);
        g_assert_cmpint(first_run(scan, MiB, MiB, &start, &end),
                        ==, 0);
        populated_scan_free(scan);
    }
    after = dup(0);
    close(after);
    g_assert_cmpint(after, ==, before);
    memory_unmap(&m);
}

/* All questions, of which some find the hidden page where it was not */
static void check_with_hidden(Memory *m, const Param *p, uint64_t page,
                              uint64_t size)
{
    static const unsigned int blind[] = {
        BLIND_LSEEK, BLIND_MINCORE, BLIND_TABLES,
        BLIND_LSEEK | BLIND_MINCORE | BLIND_TABLES,
    };
    unsigned int i;

    for (i = 0; i < G_N_ELEMENTS(blind); i++) {
        hide(m, page, size, blind[i]);
        check_memory(m);
        check_drop(m, !(p->kernel & NO_CACHESTAT));
    }
    fake.blind = 0;
}

/*
 * While the kernel moves a page of tmpfs, or collapses it with its neighbours,
 * SEEK_DATA may call it a hole, and page tables and mincore() may call it
 * absent, all of them at the same moment.
 */
static void test_moved(const void *data)
{
    const Param *p = data;
    uint64_t offset = p->fd_pages * host_page;
    int fd = new_memfd(offset + 2 * MiB);
    Memory m = { 0 };
    int i;

    fake_reset(p->kernel);
    memory_map(&m, 2 * MiB, fd, offset, true);
    /* Alone in a hole, and at either end of it */
    touch(&m, 0);
    touch(&m, m.pages / 2);
    touch(&m, m.pages - 1);
    check_with_hidden(&m, p, 0, host_page);
    check_with_hidden(&m, p, m.pages / 2, host_page);
    check_with_hidden(&m, p, m.pages - 1, host_page);
    g_assert_cmpuint(fake.lies, >, 0);
    /* Amid others */
    touch_random(&m);
    for (i = 0; i < 8; i++) {
        uint64_t page = rnd(m.pages - 1);

        touch(&m, page);
        check_with_hidden(&m, p, page, host_page);
    }
    /* As a collapse does: a huge page is gone at once. */
    check_with_hidden(&m, p, 0, 2 * MiB);
    memory_unmap(&m);
    close(fd);
}

/*
 * On a disk SEEK_DATA looks into the page cache where space was allocated and
 * never written to.
 */
static void test_moved_on_disk(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(),
                                             "test-populated-XXXXXX", NULL);
    int fd = g_mkstemp(path);
    Memory m = { 0 };
    int i;

    g_assert_cmpint(fd, >=, 0);
    unlink(path);
    fake_reset(0);
    memory_map(&m, 2 * MiB, fd, 0, true);
    /* No reading ahead, which would populate the neighbours */
    madvise(m.mem.host, m.mem.length, MADV_RANDOM);
    /* -EAGAIN: there is no cachestat() */
    if (fallocate(fd, 0, 0, 2 * MiB) < 0 || answer(&m) < 0) {
        g_test_skip("no ext4, xfs or btrfs there, or no cachestat()");
    } else {
        check_memory(&m);
        touch_random(&m);
        check_memory(&m);
        for (i = 0; i < 8; i++) {
            uint64_t page = rnd(m.pages - 1);

            touch(&m, page);
            hide(&m, page, host_page, BLIND_LSEEK);
            check_memory(&m);
        }
        g_assert_cmpuint(fake.lies, >, 0);
        /* What was written back is no longer the page cache's to know. */
        fake.blind = 0;
        g_assert_cmpint(fdatasync(fd), ==, 0);
        check_memory(&m);
        /* Where nobody can confirm a hole, nothing is certain. */
        fake_reset(NO_CACHESTAT);
        discard(&m, 0, m.pages);
        g_assert_cmpint(answer(&m), ==, -EAGAIN);
    }
    memory_unmap(&m);
    close(fd);
}

static void add(const char *what, const Param *p, GTestDataFunc func)
{
    char *path = g_strdup_printf("/populated/%s/%s", what, p->name);

    g_test_add_data_func(path, p, func);
    g_free(path);
}

int main(int argc, char **argv)
{
    static const Param by_kernel[] = {
        { "now", 0, 0, 0 },
        { "before-6.5", NO_PAGEMAP_SCAN | NO_CACHESTAT, 0, 0 },
        { "filtered", NO_PAGEMAP_SCAN | NO_CACHESTAT | FILTERED, 0, 0 },
        { "denied", DENIED, 0, 0 },
    };
    static const Param by_advice[] = {
        { "now/no-advice", 0, 0, MADV_NORMAL },
        { "now/huge", 0, 0, MADV_HUGEPAGE },
        { "before-6.7/no-advice", NO_PAGEMAP_SCAN, 0, MADV_NORMAL },
        { "before-6.7/huge", NO_PAGEMAP_SCAN, 0, MADV_HUGEPAGE },
    };
    static const Param by_offset[] = {
        { "now/at-start", 0, 0, 0 },
        { "now/at-offset", 0, 37, 0 },
        { "before-6.7/at-offset", NO_PAGEMAP_SCAN, 513, 0 },
        { "before-6.5/at-start", NO_PAGEMAP_SCAN | NO_CACHESTAT, 0, 0 },
        { "before-6.5/at-offset", NO_PAGEMAP_SCAN | NO_CACHESTAT, 513, 0 },
    };
    unsigned int i;

    host_page = getauxval(AT_PAGESZ);
    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(by_kernel); i++) {
        add("private", &by_kernel[i], test_private);
        add("alternating", &by_kernel[i], test_alternating);
        add("zero-page", &by_kernel[i], test_zero_page);
        add("discarded", &by_kernel[i], test_discarded);
        add("window", &by_kernel[i], test_window);
        add("swap-entry", &by_kernel[i], test_swap_entry);
        if (!(by_kernel[i].kernel & NO_PAGEMAP)) {
            add("swapped", &by_kernel[i], test_swapped);
        }
        add("hugetlb", &by_kernel[i], test_hugetlb);
    }
    for (i = 0; i < G_N_ELEMENTS(by_advice); i++) {
        add("huge-allowed", &by_advice[i], test_huge_allowed);
    }
    for (i = 0; i < G_N_ELEMENTS(by_offset); i++) {
        add("shared-file", &by_offset[i], test_shared_file);
        add("private-file", &by_offset[i], test_private_file);
        add("moved", &by_offset[i], test_moved);
    }
    g_test_add_func("/populated/discarded-file", test_discarded_file);
    g_test_add_func("/populated/fallback", test_fallback);
    g_test_add_func("/populated/interrupted", test_interrupted);
    g_test_add_func("/populated/short-file", test_short_file);
    g_test_add_func("/populated/bad-file", test_bad_file);
    g_test_add_func("/populated/shared-without-file",
                    test_shared_without_file);
    g_test_add_func("/populated/no-pagemap", test_no_pagemap);
    g_test_add_func("/populated/swap-comes", test_swap);
    g_test_add_func("/populated/slow-host", test_slow_host);
    g_test_add_func("/populated/no-rights", test_no_rights);
    g_test_add_func("/populated/locked", test_locked);
    g_test_add_func("/populated/moved-on-disk", test_moved_on_disk);
    g_test_add_func("/populated/free", test_free);
    g_test_add_func("/populated/read", test_read);
    return g_test_run();
}
