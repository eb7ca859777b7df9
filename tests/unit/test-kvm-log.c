/*
 * What KVM's dirty log promises, and a pass relies on; and what it costs
 *
 *   test-kvm-log --tap -m perf    measures, too
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)
#define WORD_PAGES 64
#define GIB (UINT64_C(1) << 30)
#define HUGE (UINT64_C(2) << 20)

/* The guest's, and where its program is; mapped before anything is logged */
#define CODE 0x1000
#define MAPPED (GIB / 2)
#define UNMAPPED (GIB / 4)
/* Where KVM may keep what it needs on Intel's processors */
#define TSS_ADDRESS 0xfffbd000ul

/*
 * again:  movl %ebx, (%ebx) ; addl $4096, %ebx
 *         cmpl %ecx, %ebx ; jb again ; hlt
 */
static const uint8_t code[] = {
    0x89, 0x1b, 0x81, 0xc3, 0x00, 0x10, 0x00, 0x00, 0x39, 0xcb, 0x72, 0xf4,
    0xf4,
};

typedef struct Guest {
    int kvm;
    int vm;
    int cpu;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *mapping;
    uint8_t *ram;
    uint64_t size;
    struct kvm_userspace_memory_region slot;
    unsigned long *log;         /* as it was synchronized last */
} Guest;

static void open_kvm(Guest *g)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
                  KVM_DIRTY_LOG_INITIALLY_SET },
    };

    g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (g->kvm < 0) {
        return;
    }
    g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
    if (g->vm < 0 || ioctl(g->vm, KVM_ENABLE_CAP, &cap)) {
        close(g->kvm);
        g->kvm = -1;
    }
}

static void add_memory(Guest *g)
{
    g->mapping = mmap(NULL, g->size + HUGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert_true(g->mapping != MAP_FAILED);
    g->ram = (uint8_t *)(((uintptr_t)g->mapping + HUGE - 1) & ~(HUGE - 1));
    memcpy(g->ram + CODE, code, sizeof(code));
    g->slot = (struct kvm_userspace_memory_region) {
        .memory_size = g->size,
        .userspace_addr = (uintptr_t)g->ram,
    };
    g_assert_no_errno(ioctl(g->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS));
    g_assert_no_errno(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &g->slot));
    g->log = g_malloc0(g->size / PAGE / 8);
}

static void add_cpu(Guest *g)
{
    struct kvm_segment text = {
        .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1,
        .db = 1, .g = 1,
    };
    struct kvm_segment data = text;
    struct kvm_sregs sregs;

    g->cpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
    g_assert_cmpint(g->cpu, >=, 0);
    g->run_size = ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    g->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                  g->cpu, 0);
    g_assert_true(g->run != MAP_FAILED);
    g_assert_no_errno(ioctl(g->cpu, KVM_GET_SREGS, &sregs));
    data.type = 3;
    data.selector = 16;
    sregs.cs = text;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 |= 1;
    g_assert_no_errno(ioctl(g->cpu, KVM_SET_SREGS, &sregs));
}

/* Skips the test, and returns false, where there is no such KVM. */
static bool start(Guest *g, uint64_t size)
{
    *g = (Guest) { .size = size };
    open_kvm(g);
    if (g->kvm < 0) {
        g_test_skip("there is no KVM with a dirty log that is cleared by hand");
        return false;
    }
    add_memory(g);
    add_cpu(g);
    return true;
}

static void end(Guest *g)
{
    munmap(g->run, g->run_size);
    close(g->cpu);
    close(g->vm);
    close(g->kvm);
    munmap(g->mapping, g->size + HUGE);
    g_free(g->log);
}

/* The guest writes to so many pages. */
static void guest_writes(Guest *g, uint64_t start, uint64_t pages)
{
    struct kvm_regs regs = {
        .rflags = 2, .rip = CODE, .rbx = start, .rcx = start + pages * PAGE,
    };
    int ret;

    g_assert_no_errno(ioctl(g->cpu, KVM_SET_REGS, &regs));
    do {
        ret = ioctl(g->cpu, KVM_RUN, 0);
    } while (ret < 0 && errno == EINTR);
    g_assert_no_errno(ret);
    g_assert_cmpuint(g->run->exit_reason, ==, KVM_EXIT_HLT);
}

static void begin_to_log(Guest *g)
{
    g->slot.flags = 0;
    g_assert_no_errno(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &g->slot));
    g->slot.flags = KVM_MEM_LOG_DIRTY_PAGES;
    g_assert_no_errno(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &g->slot));
}

static bool is_dirty(const Guest *g, uint64_t page)
{
    return g->log[page / WORD_PAGES] >> page % WORD_PAGES & 1;
}

/* Returns how many pages of a range are dirty. */
static uint64_t synchronize(Guest *g, uint64_t start, uint64_t length)
{
    struct kvm_dirty_log log = { .dirty_bitmap = g->log };
    uint64_t dirty = 0;

    g_assert_no_errno(ioctl(g->vm, KVM_GET_DIRTY_LOG, &log));
    for (uint64_t page = start / PAGE; page < (start + length) / PAGE;
         page++) {
        dirty += is_dirty(g, page);
    }
    return dirty;
}

static void clear(Guest *g, uint64_t start, uint64_t length)
{
    struct kvm_clear_dirty_log log = {
        .first_page = start / PAGE,
        .num_pages = length / PAGE,
        .dirty_bitmap = g->log + start / PAGE / WORD_PAGES,
    };

    g_assert_no_errno(ioctl(g->vm, KVM_CLEAR_DIRTY_LOG, &log));
}

/* What is not cleared comes again each time, written to or not. */
static void test_uncleared(void)
{
    Guest g;

    if (!start(&g, GIB)) {
        return;
    }
    guest_writes(&g, MAPPED, 100);
    begin_to_log(&g);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(synchronize(&g, 0, GIB), ==, GIB / PAGE);
    }
    clear(&g, UNMAPPED, GIB / 8);
    g_assert_cmpuint(synchronize(&g, 0, GIB), ==, (GIB - GIB / 8) / PAGE);
    end(&g);
}

/* Memory that nobody had touched when it was armed is logged like any other. */
static void test_first_write(void)
{
    Guest g;

    if (!start(&g, GIB)) {
        return;
    }
    guest_writes(&g, MAPPED, 100);
    begin_to_log(&g);
    synchronize(&g, 0, GIB);
    clear(&g, 0, GIB);
    g_assert_cmpuint(synchronize(&g, 0, GIB), ==, 0);
    guest_writes(&g, UNMAPPED, 10);
    guest_writes(&g, MAPPED, 5);
    g_assert_cmpuint(synchronize(&g, 0, GIB), ==, 15);
    g_assert_cmpuint(synchronize(&g, UNMAPPED, 10 * PAGE), ==, 10);
    g_assert_cmpuint(synchronize(&g, MAPPED, 5 * PAGE), ==, 5);
    end(&g);
}

/* A write between the synchronization and the clearing is lost to the log. */
static void test_write_before_clear(void)
{
    Guest g;

    if (!start(&g, GIB)) {
        return;
    }
    begin_to_log(&g);
    synchronize(&g, 0, GIB);
    guest_writes(&g, UNMAPPED, 1);
    clear(&g, 0, GIB);
    g_assert_cmpuint(synchronize(&g, UNMAPPED, PAGE), ==, 0);
    g_assert_cmpuint(*(uint32_t *)(g.ram + UNMAPPED), ==, UNMAPPED);
    end(&g);
}

/* ---- What it costs ---- */

static double processor_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static double clear_all(Guest *g, uint64_t chunk)
{
    double began = processor_ms();

    for (uint64_t at = 0; at < g->size; at += chunk) {
        clear(g, at, chunk);
    }
    return (processor_ms() - began) / (g->size / GIB);
}

static double clear_anew(Guest *g, uint64_t chunk, unsigned long mask)
{
    begin_to_log(g);
    synchronize(g, 0, g->size);
    for (uint64_t i = 0; i < g->size / PAGE / WORD_PAGES; i++) {
        g->log[i] &= mask;
    }
    return clear_all(g, chunk);
}

static void test_cost(void)
{
    static const uint64_t chunks[] = {
        64 * GIB, 4 * GIB, GIB, GIB / 16, HUGE, HUGE / 8,
    };
    Guest g;

    if (!start(&g, 64 * GIB)) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(chunks); i++) {
        g_test_message("never mapped, chunks of %" G_GUINT64_FORMAT " KiB: "
                       "%.2f ms a GiB", chunks[i] >> 10,
                       clear_anew(&g, chunks[i], ~0ul));
        g_assert_cmpuint(synchronize(&g, 0, g.size), ==, 0);
    }
    g_test_message("one bit of each word: %.3f ms a GiB",
                   clear_anew(&g, GIB, 1));
    g_test_message("no bit: %.3f ms a GiB", clear_anew(&g, GIB, 0));
    end(&g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-log/uncleared", test_uncleared);
    g_test_add_func("/kvm-log/first-write", test_first_write);
    g_test_add_func("/kvm-log/write-before-clear", test_write_before_clear);
    if (g_test_perf()) {
        g_test_add_func("/kvm-log/cost", test_cost);
    }
    return g_test_run();
}
