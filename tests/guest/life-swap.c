/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest part of whose memory the host has swapped out, while the guest
 * reports more of it to be free. What was swapped out has nothing in memory,
 * and is not lost; what was reported to be free is not there at all.
 */
#include "life.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* Used, left, and reported to be free, of which the kernel takes its time. */
#define FREED_MIB 40
#define FREED (FREED_MIB * SIZE_MIB)
/* Used, and swapped out. */
#define KEPT_MIB 24
/* Of the kernel, the working set and the above some is always in use. */
#define SWAPPED_LEAST (32 * SIZE_MIB)
/* Swap that the host has to have for that; what does not fit stays. */
#define SWAP_NEEDED (96 * SIZE_MIB)
#define REPORTED_SHARE 0.5

/* Beside a balloon little of what is free is free in pieces of 2 MiB. */
#define REPORT_SMALL TEST_APPEND " page_reporting.page_reporting_order=5"

static uint64_t free_swap(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) {
        return 0;
    }
    line = strstr(text, "SwapFree:");
    return line ? g_ascii_strtoull(line + strlen("SwapFree:"), NULL, 10) * 1024
                : 0;
}

/* Where QEMU has the memory of the guest. */
static bool find_memory(Vm *vm, uint64_t *address, GError **error)
{
    g_autofree char *text = life_human(vm, "info ramblock", error);
    const char *line = text ? strstr(text, "ram0 ") : NULL;

    if (!text) {
        return false;
    }
    FAIL_UNLESS(line && sscanf(line, "%*s %*s %*s %*s %*s %*s 0x%"
                               G_GINT64_MODIFIER "x", address) == 1,
                "info ramblock says: %s", text);
    return true;
}

/* How much of a range of the process's memory is swapped out. */
static bool swapped(pid_t pid, uint64_t address, uint64_t bytes,
                    uint64_t *result, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", (int)pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    bool inside = false;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        return false;
    }
    *result = 0;
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        uint64_t start;
        uint64_t end;
        uint64_t kib;

        if (sscanf(lines[i], "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x",
                   &start, &end) == 2) {
            inside = start >= address && end <= address + bytes;
        } else if (inside && sscanf(lines[i], "Swap: %" G_GUINT64_FORMAT,
                                    &kib) == 1) {
            *result += kib * 1024;
        }
    }
    return true;
}

/* Have the kernel swap out what the guest has, as if it was short of memory. */
static bool swap_out(Life *life, GError **error)
{
    uint64_t bytes = life->bench->config.memory;
    pid_t pid = vm_pid(life->vm);
    uint64_t address;
    uint64_t before;
    uint64_t after;
    uint64_t out;
    struct iovec iov = { .iov_len = bytes };
    ssize_t n = -1;
    int fd;

    if (!find_memory(life->vm, &address, error) ||
        !memory_of_process(pid, &before, error)) {
        return false;
    }
    iov.iov_base = (void *)(uintptr_t)address;
    fd = syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        n = syscall(SYS_process_madvise, fd, &iov, 1, MADV_PAGEOUT, 0);
        close(fd);
    }
    FAIL_UNLESS(n > 0, "MADV_PAGEOUT: %s", g_strerror(errno));
    if (!swapped(pid, address, bytes, &out, error) ||
        !memory_of_process(pid, &after, error)) {
        return false;
    }
    g_test_message("%" G_GUINT64_FORMAT " MiB of the guest are swapped out",
                   out / SIZE_MIB);
    FAIL_UNLESS(out >= SWAPPED_LEAST, "only %" G_GUINT64_FORMAT
                " bytes of the guest are swapped out", out);
    FAIL_UNLESS(after + out / 2 >= before,
                "what is swapped out does not count as taken: %"
                G_GUINT64_FORMAT " bytes, and %" G_GUINT64_FORMAT " before",
                after, before);
    return true;
}

/* Use memory, and stop using it: after a while the host has it back. */
static bool free_some(Life *life, GError **error)
{
    pid_t pid = vm_pid(life->vm);
    Stall stall = { 0 };
    uint64_t before;
    uint64_t now;

    if (!life_say(life, "fill " G_STRINGIFY(FREED_MIB), error) ||
        !memory_of_process(pid, &before, error) ||
        !life_say(life, "fill 0", error)) {
        return false;
    }
    do {
        if (!memory_of_process(pid, &now, error) ||
            session_stalled(life->bench->session, &stall, now,
                            "the guest reports nothing to be free", error) ||
            !session_sleep(life->bench->session, 100, error)) {
            return false;
        }
    } while (now + REPORTED_SHARE * FREED > before);
    return true;
}

/* The balloon, and what was reported to be free. */
static bool skipped_reported(Life *life, GError **error)
{
    const MigrationStats *stats = &life->stats;

    FAIL_UNLESS(!life->bench->skip ||
                stats->skipped_bytes + stats->unpopulated.skipped_bytes >=
                LIFE_BALLOONED + REPORTED_SHARE * FREED,
                "%" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT
                " bytes were skipped", stats->skipped_bytes,
                stats->unpopulated.skipped_bytes);
    return true;
}

/* What is swapped out when it begins is freed, and used, before it ends. */
static bool migrate_slowly(Life *life, GError **error)
{
    return swap_out(life, error) && life_start(life, error) &&
           life_sent(life, SIZE_MIB, error) &&
           life_say(life, "fill 0", error) && swap_out(life, error) &&
           life_sent(life, 8 * SIZE_MIB, error) &&
           life_say(life, "fill " G_STRINGIFY(KEPT_MIB), error) &&
           life_arrive(life, error) && bench_intact(life->vm, error) &&
           life_check_map(life, LIFE_BALLOONED, error);
}

static bool test_swap(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    if (free_swap() < SWAP_NEEDED) {
        g_test_skip("the host has no swap to speak of");
        return true;
    }
    bench->config.free_page_reporting = true;
    bench->config.append = REPORT_SMALL;
    return life_boot(&life, bench, error) &&
           life_inflate(&life, LIFE_TO, error) && free_some(&life, error) &&
           life_say(&life, "fill " G_STRINGIFY(KEPT_MIB), error) &&
           swap_out(&life, error) && life_hop(&life, LIFE_BALLOONED, error) &&
           migrate_slowly(&life, error) && swap_out(&life, error) &&
           life_hop(&life, LIFE_BALLOONED, error) &&
           skipped_reported(&life, error);
}

void life_swap_add(void)
{
    bench_add("/life/swap", test_swap, BACKEND_ANON, SKIP_BOTH, NEEDS_GUEST);
    bench_add("/life/swap", test_swap, BACKEND_MEMFD, SKIP_BOTH, NEEDS_GUEST);
}
