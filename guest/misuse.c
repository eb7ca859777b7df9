/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading what is in the balloon, without telling. A program cannot map such
 * memory, and what the kernel shows of its memory leaves it out. So a BPF
 * program reads it, by the addresses at which the kernel has all memory mapped.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

/* Offline: in a balloon. Older headers do not have it. */
#define PAGE_OFFLINE (UINT64_C(1) << 23)

/* Frames that the guest may have, and flags that are read at a time */
#define FRAMES_MAX (UINT64_C(1) << 22)
#define FLAGS_PIECE 4096

/* Where the kernel itself is, above all memory */
#define KERNEL_START UINT64_C(0xffffffff80000000)

/* Pages that the BPF program reads in one go, at most */
#define READ_MAX 256

/* What the BPF program gets */
typedef struct Reading {
    uint64_t address;
    uint64_t pages;
} Reading;

/* What processes share: a byte for each frame, it was read in the balloon */
static uint8_t *is_used;
static uint64_t *uses;
/* The frames that are in the balloon */
static uint32_t *frames;
static uint32_t n_frames;

static int program = -1;
static uint64_t direct_map;

#define INSTRUCTION(c, d, s, o, i) \
    { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }

static int load_program(void)
{
    static const struct bpf_insn code[] = {
        INSTRUCTION(BPF_LDX | BPF_MEM | BPF_DW, 6, 1, 0, 0),
        INSTRUCTION(BPF_LDX | BPF_MEM | BPF_DW, 7, 1, 8, 0),
        INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, 8, 0, 0, 0),
        /* The loop: r8 of r7 pages are read, r6 is the address of the next */
        INSTRUCTION(BPF_JMP | BPF_JGE | BPF_X, 8, 7, 9, 0),
        INSTRUCTION(BPF_JMP | BPF_JGE | BPF_K, 8, 0, 8, READ_MAX),
        INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0),
        INSTRUCTION(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -8),
        INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 8),
        INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, 3, 6, 0, 0),
        INSTRUCTION(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
        INSTRUCTION(BPF_ALU64 | BPF_ADD | BPF_K, 6, 0, 0, PAGE_BYTES),
        INSTRUCTION(BPF_ALU64 | BPF_ADD | BPF_K, 8, 0, 0, 1),
        INSTRUCTION(BPF_JMP | BPF_JA, 0, 0, -10, 0),
        INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
        INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_SYSCALL,
        .insns = (uintptr_t)code,
        .insn_cnt = sizeof(code) / sizeof(code[0]),
        .license = (uintptr_t)"GPL",
        .prog_flags = BPF_F_SLEEPABLE,
    };

    return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static bool read_pages(uint64_t frame, uint64_t pages)
{
    Reading reading = {
        .address = direct_map + frame * PAGE_BYTES,
        .pages = pages,
    };
    union bpf_attr attr = {
        .test = {
            .prog_fd = program,
            .ctx_in = (uintptr_t)&reading,
            .ctx_size_in = sizeof(reading),
        },
    };

    return !syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

/* Where the kernel has all memory mapped, by the headers of its "core dump" */
static bool find_direct_map(void)
{
    int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr elf;
    Elf64_Phdr part;

    if (fd < 0 || read(fd, &elf, sizeof(elf)) != sizeof(elf)) {
        return false;
    }
    for (int i = 0; i < elf.e_phnum && !direct_map; i++) {
        if (pread(fd, &part, sizeof(part), elf.e_phoff + i * sizeof(part)) ==
            sizeof(part) && part.p_type == PT_LOAD &&
            part.p_paddr != UINT64_MAX && part.p_vaddr < KERNEL_START) {
            direct_map = part.p_vaddr - part.p_paddr;
        }
    }
    close(fd);
    errno = ENXIO;
    return direct_map;
}

static bool prepare(void)
{
    size_t size = FRAMES_MAX + sizeof(*uses);

    if (program >= 0) {
        return true;
    }
    is_used = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    frames = mmap(NULL, FRAMES_MAX * sizeof(frames[0]), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (is_used == MAP_FAILED || frames == MAP_FAILED || !find_direct_map()) {
        return false;
    }
    uses = (uint64_t *)(is_used + FRAMES_MAX);
    program = load_program();
    return program >= 0;
}

/* List what is in the balloon now; what is not is not used any more. */
static bool list_frames(void)
{
    int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
    uint64_t flags[FLAGS_PIECE];
    uint64_t frame = 0;
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    n_frames = 0;
    while (frame < FRAMES_MAX && (n = read(fd, flags, sizeof(flags))) > 0) {
        for (size_t i = 0; i < n / sizeof(flags[0]); i++, frame++) {
            if (flags[i] != UINT64_C(1) << KPF_NOPAGE &&
                flags[i] & PAGE_OFFLINE) {
                frames[n_frames++] = frame;
            } else if (is_used[frame]) {
                is_used[frame] = 0;
            }
        }
    }
    close(fd);
    return true;
}

static void note_use(uint64_t frame)
{
    if (!is_used[frame]) {
        is_used[frame] = 1;
        __atomic_fetch_add(uses, 1, __ATOMIC_RELAXED);
    }
}

/* Read frames[@i] to frames[@end - 1], by runs. */
static bool sweep_part(uint32_t i, uint32_t end)
{
    while (i < end) {
        uint32_t n = 1;

        while (i + n < end && n < READ_MAX && frames[i + n] == frames[i] + n) {
            n++;
        }
        if (!read_pages(frames[i], n)) {
            return false;
        }
        for (uint32_t j = i; j < i + n; j++) {
            note_use(frames[j]);
        }
        i += n;
    }
    return true;
}

static bool sweep_on(int processor, int processors)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return !sched_setaffinity(0, sizeof(set), &set) &&
           sweep_part((uint64_t)n_frames * processor / processors,
                      (uint64_t)n_frames * (processor + 1) / processors);
}

/* All processors at once, each its share */
static void sweep(void)
{
    int processors = sysconf(_SC_NPROCESSORS_ONLN);
    int good = 0;
    pid_t pids[processors];

    for (int i = 0; i < processors; i++) {
        pids[i] = fork();
        if (!pids[i]) {
            _exit(!sweep_on(i, processors));
        }
    }
    for (int i = 0; i < processors; i++) {
        int status = 1;

        good += pids[i] > 0 && waitpid(pids[i], &status, 0) > 0 && !status;
    }
    say("SB SWEEP %s processors=%d pages=%" PRIu32 " uses=%" PRIu64,
        good == processors ? "ok" : "bad", processors, n_frames, *uses);
}

static void use_some(uint64_t times)
{
    uint64_t x = page_start(n_frames, 0);

    while (n_frames && times--) {
        uint32_t frame = frames[(x = next_word(x)) % n_frames];

        if (!read_pages(frame, 1)) {
            say("SB USE bad: %s", strerror(errno));
            return;
        }
        note_use(frame);
    }
    say("SB USE ok pages=%" PRIu32 " uses=%" PRIu64, n_frames, *uses);
}

bool obey_misuse(const char *verb, uint64_t number)
{
    bool all = !strcmp(verb, "sweep");

    if (!all && strcmp(verb, "use")) {
        return false;
    }
    if (!prepare() || !list_frames()) {
        say("SB %s bad: %s", all ? "SWEEP" : "USE", strerror(errno));
    } else if (all) {
        sweep();
    } else {
        use_some(number);
    }
    return true;
}
