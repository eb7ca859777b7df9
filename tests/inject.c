/*
 * Preloaded into QEMU: the n-th system call of a kind that is about guest RAM
 * fails
 *
 * INJECT_FILE names a file that holds an Inject, which skip-inject-test maps,
 * too, and fills in while QEMU runs.  All calls are counted that are of the
 * kind named there; the one with number @nth fails with @error.  @nth is 0
 * while nothing is to fail.
 *
 * With a sanitizer: this library is built without one.  A QEMU that has
 * AddressSanitizer wants its library to be loaded first, so SB_INJECT, which
 * becomes LD_PRELOAD, has to be "PATH/libasan.so PATH/inject.so" then.
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
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The same is in skip-inject-test.c, where the calls are listed. */
typedef struct Inject {
    char call[16];
    char refuse[32];            /* calls that this kernel does not have */
    uint64_t ram;               /* where guest RAM is mapped, and its size */
    uint64_t ram_size;
    uint32_t nth;
    uint32_t count;
    int32_t error;              /* 0: it returns 0 and has done nothing */
    uint32_t done;              /* it fails when it has been done */
    uint32_t failed;            /* has it? */
} Inject;

#define CACHESTAT_NR 451

/* As of Linux 6.7 */
#define PM_SCAN_IOCTL _IOWR('f', 16, uint64_t[12])
#define PM_SCAN_START 2

/* As of Linux 4.3; where the address is in what they take */
#define UFFD_COPY_IOCTL _IOWR(0xaa, 0x03, uint64_t[5])
#define UFFD_ZERO_IOCTL _IOWR(0xaa, 0x04, uint64_t[4])
#define UFFD_WAKE_IOCTL _IOR(0xaa, 0x02, uint64_t[2])

/* The thread of QEMU that handles faults of postcopy */
#define FAULT_THREAD "mig/dst/fault"

static Inject *inject;

static void __attribute__((constructor)) map_inject(void)
{
    const char *path = getenv("INJECT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at;

    if (fd < 0) {
        return;
    }
    at = mmap(NULL, sizeof(Inject), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) {
        inject = at;
    }
}

static void *real(const char *name)
{
    void *func = dlsym(RTLD_NEXT, name);

    if (!func) {
        abort();
    }
    return func;
}

static bool is_wanted(const char *call)
{
    return inject && inject->nth && !strcmp(inject->call, call);
}

static bool is_ram(const void *addr)
{
    return (uintptr_t)addr - inject->ram < inject->ram_size;
}

static bool is_ram_file(int fd)
{
    int (*next)(int, struct stat64 *) = real("fstat64");
    struct stat64 st;

    return !next(fd, &st) && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == inject->ram_size;
}

static bool is_proc_file(int fd, const char *name)
{
    char link[64], path[256];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = 0;
    return !strncmp(path, "/proc/", 6) && strstr(path, name);
}

static bool refuses(const char *call)
{
    return inject && strstr(inject->refuse, call);
}

/* Does this one fail?  Then errno is set. */
static bool fails(void)
{
    if (__atomic_add_fetch(&inject->count, 1, __ATOMIC_SEQ_CST) !=
        inject->nth) {
        return false;
    }
    inject->failed = 1;
    errno = inject->error;
    return true;
}

/*
 * What @call is to return; with @done the call is made before it fails.  The
 * condition is evaluated only if this kind of call is wanted.
 */
#define INJECT(name, condition, call) do {                      \
        if (is_wanted(name) && (condition) && fails()) {        \
            int error = errno;                                  \
                                                                \
            if (inject->done) {                                 \
                call;                                           \
            }                                                   \
            errno = error;                                      \
            return error ? -1 : 0;                              \
        }                                                       \
        return call;                                            \
    } while (0)

static off64_t any_lseek(int fd, off64_t offset, int whence)
{
    off64_t (*next)(int, off64_t, int) = real("lseek64");

    INJECT("lseek", (whence == SEEK_DATA || whence == SEEK_HOLE ||
                     whence == SEEK_END) && is_ram_file(fd),
           next(fd, offset, whence));
}

off_t lseek(int fd, off_t offset, int whence)
{
    return any_lseek(fd, offset, whence);
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    return any_lseek(fd, offset, whence);
}

static ssize_t any_pread(int fd, void *buf, size_t size, off64_t offset)
{
    ssize_t (*next)(int, void *, size_t, off64_t) = real("pread64");
    const void *addr = (void *)(uintptr_t)(offset / 8 * 4096);

    if (refuses("pagemap") && is_ram(addr) && is_proc_file(fd, "pagemap")) {
        errno = EPERM;
        return -1;
    }
    if (is_wanted("status")) {
        INJECT("status", is_proc_file(fd, "status"),
               next(fd, buf, size, offset));
    }
    if (is_wanted("pagemap")) {
        INJECT("pagemap", is_ram(addr) && is_proc_file(fd, "pagemap"),
               next(fd, buf, size, offset));
    }
    INJECT("pread", is_ram_file(fd), next(fd, buf, size, offset));
}

ssize_t pread(int fd, void *buf, size_t size, off_t offset)
{
    return any_pread(fd, buf, size, offset);
}

ssize_t pread64(int fd, void *buf, size_t size, off64_t offset)
{
    return any_pread(fd, buf, size, offset);
}

/* Without pagemap it makes a difference whether the host has swap. */
static int sysinfo_without_swap(struct sysinfo *info)
{
    int (*next)(struct sysinfo *) = real("sysinfo");
    int ret = next(info);

    if (refuses("pagemap")) {
        info->totalswap = 0;
    }
    return ret;
}

int sysinfo(struct sysinfo *info)
{
    INJECT("sysinfo", refuses("pagemap"), sysinfo_without_swap(info));
}

int mincore(void *addr, size_t length, unsigned char *vec)
{
    int (*next)(void *, size_t, unsigned char *) = real("mincore");

    INJECT("mincore", is_ram(addr), next(addr, length, vec));
}

int madvise(void *addr, size_t length, int advice)
{
    int (*next)(void *, size_t, int) = real("madvise");
    bool discards = advice == MADV_DONTNEED || advice == MADV_REMOVE;

    INJECT(discards ? "discard" : "advise", is_ram(addr),
           next(addr, length, advice));
}

static int any_fallocate(int fd, int mode, off64_t offset, off64_t length)
{
    int (*next)(int, int, off64_t, off64_t) = real("fallocate64");

    INJECT("fallocate", is_ram_file(fd), next(fd, mode, offset, length));
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return any_fallocate(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    return any_fallocate(fd, mode, offset, length);
}

int fstat(int fd, struct stat *st)
{
    int (*next)(int, struct stat *) = real("fstat");

    INJECT("fstat", is_ram_file(fd), next(fd, st));
}

int fstat64(int fd, struct stat64 *st)
{
    int (*next)(int, struct stat64 *) = real("fstat64");

    INJECT("fstat", is_ram_file(fd), next(fd, st));
}

int fstatfs(int fd, struct statfs *fs)
{
    int (*next)(int, struct statfs *) = real("fstatfs");

    INJECT("fstatfs", is_ram_file(fd), next(fd, fs));
}

int fstatfs64(int fd, struct statfs64 *fs)
{
    int (*next)(int, struct statfs64 *) = real("fstatfs64");

    INJECT("fstatfs", is_ram_file(fd), next(fd, fs));
}

static bool is_fault_thread(void)
{
    char name[16] = "";

    return !prctl(PR_GET_NAME, name) && !strcmp(name, FAULT_THREAD);
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, void *) = real("ioctl");
    va_list ap;
    uint64_t *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case PM_SCAN_IOCTL:
        if (refuses("scan")) {
            errno = ENOTTY;
            return -1;
        }
        INJECT("scan", is_ram((void *)(uintptr_t)arg[PM_SCAN_START]),
               next(fd, request, arg));
    case UFFD_COPY_IOCTL:
    case UFFD_ZERO_IOCTL:
        INJECT("place", is_ram((void *)(uintptr_t)arg[0]) && is_fault_thread(),
               next(fd, request, arg));
    case UFFD_WAKE_IOCTL:
        INJECT("wake", is_ram((void *)(uintptr_t)arg[0]),
               next(fd, request, arg));
    default:
        return next(fd, request, arg);
    }
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
        if (refuses("cachestat")) {
            errno = ENOSYS;
            return -1;
        }
        INJECT("cachestat", is_ram_file(arg[0]),
               next(number, arg[0], arg[1], arg[2], arg[3]));
    }
    return next(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
