/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What it costs to notice accesses to memory that has been discarded, in two
 * ways: userfaultfd, and guard markers (Linux 6.13). docs/how-it-works.md has
 * the figures. No test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define MEMORY (UINT64_C(1) << 30)
#define FAULTS 20000

static int fd = -1;
static uint8_t *memory;

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void need(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static unsigned mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    unsigned n = 0;
    int c;

    while (file && (c = getc(file)) != EOF) {
        n += c == '\n';
    }
    if (file) {
        fclose(file);
    }
    return n;
}

/* ---- The two ways ---- */

typedef struct Way {
    const char *name;
    int (*arm)(void *at, uint64_t length);
    int (*disarm)(void *at, uint64_t length);
} Way;

static int uffd_arm(void *at, uint64_t length)
{
    struct uffdio_register reg = {
        .range = { (uintptr_t)at, length },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    return ioctl(fd, UFFDIO_REGISTER, &reg);
}

static int uffd_disarm(void *at, uint64_t length)
{
    struct uffdio_range range = { (uintptr_t)at, length };

    return ioctl(fd, UFFDIO_UNREGISTER, &range);
}

static int guard_arm(void *at, uint64_t length)
{
    return madvise(at, length, MADV_GUARD_INSTALL);
}

static int guard_disarm(void *at, uint64_t length)
{
    return madvise(at, length, MADV_GUARD_REMOVE);
}

static const Way ways[] = {
    { "userfaultfd", uffd_arm, uffd_disarm },
    { "guard markers", guard_arm, guard_disarm },
};

static void map_memory(bool shared)
{
    int file = -1;

    if (shared) {
        file = memfd_create("memory", MFD_CLOEXEC);
        need(file >= 0 && !ftruncate(file, MEMORY), "memfd");
    }
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                  (shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) |
                  MAP_NORESERVE, file, 0);
    need(memory != MAP_FAILED, "mmap");
    madvise(memory, MEMORY, MADV_NOHUGEPAGE);
    if (file >= 0) {
        close(file);
    }
}

/* ---- By run ---- */

/* Each run of @length is followed by a gap as long, unless it is all. */
static void measure_runs(const Way *way, uint64_t length)
{
    uint64_t step = length == MEMORY ? length : 2 * length;
    unsigned runs = 0, before = mappings(), most;
    double begin, armed, end;

    /* Each run may need two mappings: stay below 65530. */
    begin = now_us();
    for (uint64_t at = 0; at < MEMORY && runs < 16000; at += step, runs++) {
        need(!way->arm(memory + at, length), way->name);
    }
    armed = now_us();
    most = mappings();
    end = now_us();
    for (uint64_t at = 0, n = 0; n < runs; at += step, n++) {
        need(!way->disarm(memory + at, length), way->name);
    }
    printf("  %-13s %5u runs of %7llu KiB: arm %8.2f us, disarm %8.2f us a run;"
           " %u mappings more\n", way->name, runs,
           (unsigned long long)length / 1024, (armed - begin) / runs,
           (now_us() - end) / runs, most - before);
}

/* ---- By access ---- */

static void *place_zeroes(void *opaque)
{
    struct pollfd pollfd = { fd, POLLIN, 0 };
    struct uffd_msg msg;

    (void)opaque;
    while (poll(&pollfd, 1, -1) > 0) {
        struct uffdio_zeropage zero = { .range.len = PAGE };

        if (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
            zero.range.start = msg.arg.pagefault.address & ~(PAGE - 1);
            ioctl(fd, UFFDIO_ZEROPAGE, &zero);
        }
    }
    return NULL;
}

/* A thread that runs guest code of TCG gets this. */
static void on_segv(int number, siginfo_t *info, void *opaque)
{
    (void)number;
    (void)opaque;
    madvise((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE,
            MADV_GUARD_REMOVE);
}

static void measure_faults(const Way *way)
{
    double begin;

    need(!way->arm(memory, MEMORY), way->name);
    begin = now_us();
    for (uint64_t i = 0; i < FAULTS; i++) {
        (void)*(volatile uint8_t *)(memory + i * 7 % (MEMORY / PAGE) * PAGE);
    }
    printf("  %-13s an access: %.2f us\n", way->name,
           (now_us() - begin) / FAULTS);
    need(!way->disarm(memory, MEMORY), way->name);
    madvise(memory, MEMORY, MADV_DONTNEED);
}

/* What a system call that reads a file into the memory gets, as of a disk */
static void measure_read(const Way *way)
{
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    need(!way->arm(memory, MIB), way->name);
    n = pread(file, memory, 64, 0);
    printf("  %-13s read() into it: %zd, %s\n", way->name, n,
           n < 0 ? strerror(errno) : "as if nothing were");
    need(!way->disarm(memory, MIB), way->name);
    madvise(memory, MIB, MADV_DONTNEED);
    close(file);
}

/* ---- KVM ---- */

/* Real mode: mov 0x5000, %al; hlt */
static const uint8_t code[] = { 0xa0, 0x00, 0x50, 0xf4 };

static void ask_kvm(const Way *way)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_userspace_memory_region region = {
        .memory_size = MIB,
        .userspace_addr = (uintptr_t)memory,
    };
    struct kvm_run *run;
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
    int vcpu, ret;

    if (vm < 0) {
        printf("  %-13s no KVM here\n", way->name);
        return;
    }
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
    memcpy(memory + 0x1000, code, sizeof(code));
    need(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "memory of KVM");
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    need(vcpu >= 0, "vCPU");
    run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
               PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    need(run != MAP_FAILED, "kvm_run");
    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    ioctl(vcpu, KVM_SET_SREGS, &sregs);
    ioctl(vcpu, KVM_SET_REGS, &regs);
    need(!way->arm(memory + 0x5000, PAGE), way->name);
    run->exit_reason = 0;
    ret = ioctl(vcpu, KVM_RUN, 0);
    printf("  %-13s KVM_RUN: %d, %s, exit reason %u%s\n", way->name, ret,
           ret < 0 ? strerror(errno) : "good", run->exit_reason,
           run->exit_reason == KVM_EXIT_HLT ? " (HLT: the guest went on)" :
           run->exit_reason == 39 ? " (memory fault)" : "");
    way->disarm(memory + 0x5000, PAGE);
    close(vcpu);
    close(vm);
    close(kvm);
}

int main(void)
{
    static const uint64_t lengths[] = { PAGE, 64 * 1024, MIB, MEMORY };
    struct uffdio_api api = { .api = UFFD_API };
    struct sigaction action = {
        .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO,
    };
    pthread_t thread;

    fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    need(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "userfaultfd");
    need(!pthread_create(&thread, NULL, place_zeroes, NULL), "thread");
    sigaction(SIGSEGV, &action, NULL);
    for (int shared = 0; shared < 2; shared++) {
        printf("%s memory\n", shared ? "shared (memfd)" : "anonymous");
        map_memory(shared);
        for (unsigned w = 0; w < 2; w++) {
            if (ways[w].arm(memory, PAGE)) {
                printf("  %-13s %s\n", ways[w].name, strerror(errno));
                continue;
            }
            ways[w].disarm(memory, PAGE);
            for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]);
                 i++) {
                measure_runs(&ways[w], lengths[i]);
            }
            measure_faults(&ways[w]);
            measure_read(&ways[w]);
            ask_kvm(&ways[w]);
        }
        munmap(memory, MEMORY);
    }
    return 0;
}
