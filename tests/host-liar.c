/*
 * Preloaded into QEMU: a system call that does not see a page of guest RAM,
 * once, as if the kernel was moving that page
 *
 * HOST_LIAR_CALL names the call: lseek (SEEK_DATA), mincore, pagemap (read()
 * of it), scan (PAGEMAP_SCAN), cachestat.  HOST_LIAR_FILE is a file that holds
 * three hexadecimal numbers, where the page is, how large it is and how large
 * guest RAM is, and a decimal one, how often the call tells the truth first.
 * It may come into being at any time, and goes when the call has lied.
 *
 * HOST_LIAR_CALL may also be "held": then no call lies, but the first
 * cachestat() that asks about the page, and about that many bytes at least, and
 * finds nothing, comes back only later.  Until then HOST_LIAR_FILE has another
 * name, with .held added to it; the call comes back when that file goes.
 *
 * Or it may be "punch": then the first fallocate() that is to make a hole there
 * is held in the same way, before it makes it.
 *
 * HOST_LIAR_REFUSE names the calls that fail as they do on a kernel that does
 * not have them: cachestat, scan (PAGEMAP_SCAN); or, as by a security policy,
 * pagemap (open() of it).
 *
 * HOST_LIAR_SWAP is how many bytes of swap the host has, as sysinfo() tells.
 * HOST_LIAR_MAPPINGS is a file that is opened as vm.max_map_count.
 * HOST_LIAR_UNREGISTER=N: the Nth UFFDIO_UNREGISTER has no memory.
 * HOST_LIAR_WRITES=1: where the main thread places a page of zeroes, somebody
 * writes a 1 at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
/* Both lseek() and lseek64() are defined here, and must not be one name. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)

/* As of Linux 6.7, and of Linux 6.5 */
#define PM_SCAN_IOCTL _IOWR('f', 16, uint64_t[12])
#define PM_SCAN_VEC 5

/* As of Linux 4.3 */
#define UFFD_UNREGISTER_IOCTL _IOR(0xaa, 0x01, uint64_t[2])
#define UFFD_ZERO_IOCTL _IOWR(0xaa, 0x04, uint64_t[4])

typedef struct PmRegion {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
} PmRegion;

#define CACHESTAT_NR 451
#define CS_CACHED 0
#define CS_EVICTED 3

typedef struct Lie {
    uint64_t offset;            /* of the hidden page, or huge page */
    uint64_t size;
    uint64_t ram_size;
    unsigned int truths;
} Lie;

static void *real(const char *name)
{
    void *func = dlsym(RTLD_NEXT, name);

    if (!func) {
        abort();
    }
    return func;
}

static bool is_named(const char *variable, const char *call)
{
    const char *names = getenv(variable);

    return names && strstr(names, call);
}

/* Is @call to lie now? */
static bool is_told(const char *call, Lie *lie)
{
    const char *path = getenv("HOST_LIAR_FILE");
    FILE *file = is_named("HOST_LIAR_CALL", call) && path ? fopen(path, "r")
                                                          : NULL;
    int n;

    if (!file) {
        return false;
    }
    n = fscanf(file, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %u", &lie->offset,
               &lie->size, &lie->ram_size, &lie->truths);
    fclose(file);
    return n == 4;
}

/* Lie now, or next time?  The page has been asked about. */
static bool lies_now(const Lie *lie)
{
    const char *path = getenv("HOST_LIAR_FILE");
    FILE *file;

    if (!lie->truths) {
        unlink(path);
        return true;
    }
    file = fopen(path, "w");
    if (file) {
        fprintf(file, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %u\n", lie->offset,
                lie->size, lie->ram_size, lie->truths - 1);
        fclose(file);
    }
    return false;
}

/*
 * Where is guest RAM mapped?  0 if that is not found.  Several adjacent
 * mappings may be it, if madvise() was called for parts.
 */
static uint64_t find_ram(const Lie *lie)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    uint64_t start, end, first = 0, last = 0, found = 0;
    char line[512];

    while (maps && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2 &&
            strstr(line, " rw-s ")) {
            first = start == last ? first : start;
            last = end;
            if (end - first >= lie->ram_size) {
                found = first;
            }
        }
    }
    if (maps) {
        fclose(maps);
    }
    return found;
}

static bool is_ram(int fd, const Lie *lie)
{
    struct stat st;

    return !fstat(fd, &st) && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == lie->ram_size;
}

static off_t lying_lseek(int fd, off_t offset, int whence)
{
    off_t (*next)(int, off_t, int) = real("lseek64");
    off_t ret = next(fd, offset, whence);
    Lie lie;

    if (whence == SEEK_DATA && is_told("lseek", &lie) && is_ram(fd, &lie) &&
        ret >= (off_t)lie.offset && ret < (off_t)(lie.offset + lie.size) &&
        lies_now(&lie)) {
        ret = next(fd, lie.offset + lie.size, whence);
    }
    return ret;
}

off_t lseek(int fd, off_t offset, int whence)
{
    return lying_lseek(fd, offset, whence);
}

off_t lseek64(int fd, off_t offset, int whence)
{
    return lying_lseek(fd, offset, whence);
}

int mincore(void *addr, size_t length, unsigned char *vec)
{
    int (*next)(void *, size_t, unsigned char *) = real("mincore");
    int ret = next(addr, length, vec);
    uint64_t start = (uintptr_t)addr;
    uint64_t hidden;
    Lie lie;

    if (ret || !is_told("mincore", &lie)) {
        return ret;
    }
    hidden = find_ram(&lie) + lie.offset;
    if (hidden >= start && hidden < start + length && lies_now(&lie)) {
        vec[(hidden - start) / PAGE] = 0;
    }
    return ret;
}

static ssize_t lying_pread(int fd, void *buf, size_t size, off_t offset)
{
    ssize_t (*next)(int, void *, size_t, off_t) = real("pread64");
    ssize_t ret = next(fd, buf, size, offset);
    uint64_t first = offset / sizeof(uint64_t);
    uint64_t *entries = buf;
    uint64_t hidden;
    Lie lie;

    if (ret <= 0 || !is_told("pagemap", &lie)) {
        return ret;
    }
    hidden = (find_ram(&lie) + lie.offset) / PAGE;
    if (hidden >= first && hidden < first + ret / sizeof(uint64_t) &&
        lies_now(&lie)) {
        entries[hidden - first] = 0;
    }
    return ret;
}

ssize_t pread(int fd, void *buf, size_t size, off_t offset)
{
    return lying_pread(fd, buf, size, offset);
}

ssize_t pread64(int fd, void *buf, size_t size, off_t offset)
{
    return lying_pread(fd, buf, size, offset);
}

/* mode is read where there is none, too, and then not used. */
static int refusing_open(const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, mode_t) = real("open64");
    const char *mappings = getenv("HOST_LIAR_MAPPINGS");

    if (mappings && !strcmp(path, "/proc/sys/vm/max_map_count")) {
        return next(mappings, flags, mode);
    }
    if (is_named("HOST_LIAR_REFUSE", "pagemap") &&
        !strcmp(path, "/proc/self/pagemap")) {
        errno = EACCES;
        return -1;
    }
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = va_arg(ap, int);
    va_end(ap);
    return refusing_open(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = va_arg(ap, int);
    va_end(ap);
    return refusing_open(path, flags, mode);
}

int sysinfo(struct sysinfo *info)
{
    int (*next)(struct sysinfo *) = real("sysinfo");
    const char *swap = getenv("HOST_LIAR_SWAP");
    int ret = next(info);

    if (swap) {
        info->totalswap = strtoul(swap, NULL, 10);
    }
    return ret;
}

/* What is hidden ends a region; the rest of that is lost as well. */
static int lying_scan(int n, const uint64_t *scan)
{
    PmRegion *region = (PmRegion *)(uintptr_t)scan[PM_SCAN_VEC];
    uint64_t hidden;
    Lie lie;
    int i;

    if (n <= 0 || !is_told("scan", &lie)) {
        return n;
    }
    hidden = find_ram(&lie) + lie.offset;
    for (i = 0; i < n; i++) {
        if (hidden < region[i].start || hidden >= region[i].end) {
            continue;
        }
        if (lies_now(&lie)) {
            region[i].end = hidden;
            if (region[i].start == hidden) {
                memmove(&region[i], &region[i + 1],
                        (n - i - 1) * sizeof(*region));
                n--;
            }
        }
        break;
    }
    return n;
}

static bool fails_to_unregister(void)
{
    const char *nth = getenv("HOST_LIAR_UNREGISTER");
    static int calls;

    return nth && ++calls == atoi(nth);
}

/* @ret is what UFFDIO_ZEROPAGE returned. */
static int write_at_once(int ret, const uint64_t *zeropage)
{
    if (!ret && getenv("HOST_LIAR_WRITES") && gettid() == getpid()) {
        *(volatile uint8_t *)(uintptr_t)zeropage[0] = 1;
    }
    return ret;
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, void *) = real("ioctl");
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request == PM_SCAN_IOCTL && is_named("HOST_LIAR_REFUSE", "scan")) {
        errno = ENOTTY;
        return -1;
    }
    if (request == PM_SCAN_IOCTL) {
        return lying_scan(next(fd, request, arg), arg);
    }
    if (request == UFFD_UNREGISTER_IOCTL && fails_to_unregister()) {
        errno = ENOMEM;
        return -1;
    }
    if (request == UFFD_ZERO_IOCTL) {
        return write_at_once(next(fd, request, arg), arg);
    }
    return next(fd, request, arg);
}

/* Keep a call, or its answer, back until the test is done. */
static void hold(void)
{
    const char *path = getenv("HOST_LIAR_FILE");
    char held[4096];

    snprintf(held, sizeof(held), "%s.held", path);
    if (!rename(path, held)) {
        while (!access(held, F_OK)) {
            usleep(1000);
        }
    }
}

static long lying_cachestat(int fd, uint64_t *range, uint64_t *counts,
                            long flags)
{
    long (*next)(long, ...) = real("syscall");
    long ret;
    Lie lie;

    if (is_named("HOST_LIAR_REFUSE", "cachestat")) {
        errno = ENOSYS;
        return -1;
    }
    ret = next(CACHESTAT_NR, fd, range, counts, flags);
    if (!ret && is_told("cachestat", &lie) && is_ram(fd, &lie) &&
        lie.offset >= range[0] && lie.offset - range[0] < range[1] &&
        counts[CS_CACHED] && lies_now(&lie)) {
        counts[CS_CACHED]--;
    }
    if (!ret && is_told("held", &lie) && is_ram(fd, &lie) &&
        lie.offset >= range[0] && lie.offset - range[0] < range[1] &&
        range[1] >= lie.size && !counts[CS_CACHED] && !counts[CS_EVICTED]) {
        hold();
    }
    return ret;
}

static int held_fallocate(int fd, int mode, off_t offset, off_t length)
{
    int (*next)(int, int, off_t, off_t) = real("fallocate64");
    Lie lie;

    if (mode & FALLOC_FL_PUNCH_HOLE && is_told("punch", &lie) &&
        is_ram(fd, &lie) && (off_t)lie.offset >= offset &&
        (off_t)lie.offset - offset < length) {
        hold();
    }
    return next(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return held_fallocate(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off_t offset, off_t length)
{
    return held_fallocate(fd, mode, offset, length);
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
    if (number == CACHESTAT_NR) {
        return lying_cachestat(arg[0], (uint64_t *)arg[1],
                               (uint64_t *)arg[2], arg[3]);
    }
    return next(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
