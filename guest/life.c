/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ends the life of this kernel, or interrupts it: suspend to memory,
 * reboot, kexec, crash; and memory that comes and goes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

/* The host puts the next kernel and its initial RAM disk on these. */
#define KERNEL_DISK "/dev/vda"
#define INITRD_DISK "/dev/vdb"

/* The largest command line of x86, with its end. */
#define COMMAND_LINE_MAX 2048

/* How a PC tells of DIMMs that come and are to go */
#define MEMORY_EVENT "/sys/firmware/acpi/interrupts/gpe03"

/* The frame of a page in /proc/PID/pagemap */
#define PAGEMAP_FRAME ((UINT64_C(1) << 55) - 1)

typedef struct NextKernel {
    const char *name;
    unsigned long flags;        /* of kexec_file_load() */
    bool small;                 /* lives in what is reserved for a crash */
    bool all_memory;            /* is told of all that this one has */
    bool blind;                 /* drives no device on a virtio bus */
} NextKernel;

static const NextKernel next_kernels[] = {
    /* What the firmware said may be lost on the way here. */
    { .name = "kexec", .all_memory = true },
    { .name = "kdump", .flags = KEXEC_FILE_ON_CRASH, .small = true },
    /* After a crash no device is reset: this one knows of no balloon. */
    { .name = "lie", .flags = KEXEC_FILE_ON_CRASH, .all_memory = true },
    /* Nor does this one ever come to. */
    { .name = "blind", .flags = KEXEC_FILE_ON_CRASH, .all_memory = true,
      .blind = true },
};

static bool write_word(const char *path, const char *word)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, word, strlen(word)) >= 0;

    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* kexec_file_load() takes regular files only. */
static int copy_disk(const char *path)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = memfd_create(path, MFD_CLOEXEC);
    ssize_t n = -1;

    if (from >= 0 && to >= 0) {
        do {
            n = sendfile(to, from, NULL, 1 << 20);
        } while (n > 0);
    }
    if (from >= 0) {
        close(from);
    }
    if (n < 0 && to >= 0) {
        close(to);
        to = -1;
    }
    return to;
}

static void append(char *line, const char *word)
{
    size_t length = strlen(line);

    snprintf(line + length, COMMAND_LINE_MAX - length, "%s%s",
             length ? " " : "", word);
}

static bool starts_with(const char *word, const char *start)
{
    return !strncmp(word, start, strlen(start));
}

/* Tell the next kernel to use all memory that this one has. */
static void append_memory(char *line)
{
    FILE *file = fopen("/proc/iomem", "r");
    char text[128];
    char word[64];
    uint64_t start;
    uint64_t last;

    while (file && fgets(text, sizeof(text), file)) {
        if (text[0] != ' ' && strstr(text, ": System RAM") &&
            sscanf(text, "%" SCNx64 "-%" SCNx64, &start, &last) == 2) {
            snprintf(word, sizeof(word), "memmap=%" PRIu64 "@%" PRIu64,
                     last + 1 - start, start);
            append(line, word);
        }
    }
    if (file) {
        fclose(file);
    }
}

/* This kernel's own, without what tells of its place in memory. */
static bool command_line(const NextKernel *next, char *line)
{
    char own[COMMAND_LINE_MAX] = "";
    FILE *file = fopen("/proc/cmdline", "r");
    char *save = NULL;

    if (!file || !fgets(own, sizeof(own), file)) {
        return false;
    }
    fclose(file);
    line[0] = '\0';
    for (char *word = strtok_r(own, " \n", &save); word;
         word = strtok_r(NULL, " \n", &save)) {
        if (!starts_with(word, "memmap=") &&
            !starts_with(word, "elfcorehdr=") &&
            !(next->small && (starts_with(word, "crashkernel=") ||
                              starts_with(word, "skip_balloon.workset=") ||
                              starts_with(word, "skip_balloon.touch=")))) {
            append(line, word);
        }
    }
    if (next->small) {
        /* As a kernel for dumps is, which a balloon would leave nothing. */
        append(line, "skip_balloon.workset=4M skip_balloon.touch=off"
               " skip_balloon.balloon=off");
    }
    if (next->all_memory) {
        append_memory(line);
    }
    if (next->blind) {
        append(line, "initcall_blacklist=virtio_pci_driver_init");
    }
    return true;
}

static void load(const char *name)
{
    const NextKernel *next = NULL;
    char line[COMMAND_LINE_MAX];
    int kernel = copy_disk(KERNEL_DISK);
    int initrd = copy_disk(INITRD_DISK);

    for (size_t i = 0; i < sizeof(next_kernels) / sizeof(next_kernels[0]);
         i++) {
        if (name && !strcmp(name, next_kernels[i].name)) {
            next = &next_kernels[i];
        }
    }
    if (!next || kernel < 0 || initrd < 0 || !command_line(next, line) ||
        syscall(SYS_kexec_file_load, kernel, initrd, strlen(line) + 1, line,
                next->flags)) {
        say("SB LOAD bad: %s", strerror(next ? errno : EINVAL));
    } else {
        say("SB LOAD ok");
    }
    if (kernel >= 0) {
        close(kernel);
    }
    if (initrd >= 0) {
        close(initrd);
    }
}

static void suspend(void)
{
    if (write_word("/sys/power/state", "mem")) {
        say("SB SUSPEND ok");
    } else {
        say("SB SUSPEND bad: %s", strerror(errno));
    }
}

static void boot_anew(const char *answer, int how)
{
    say("SB %s ok", answer);
    say_all();
    reboot(how);
    say("SB %s bad: %s", answer, strerror(errno));
}

/*
 * A DIMM that is plugged holds only what can be moved elsewhere, or it could
 * not be unplugged. To a request to let go of it this kernel answers when it
 * hears of it.
 */
static void dimm(const char *what)
{
    bool done = false;

    if (what && !strcmp(what, "movable")) {
        done = write_word("/sys/devices/system/memory/auto_online_blocks",
                          "online_movable");
    } else if (what && !strcmp(what, "deaf")) {
        done = write_word(MEMORY_EVENT, "mask\n");
    } else if (what && !strcmp(what, "listen")) {
        done = write_word(MEMORY_EVENT, "unmask\n");
    } else {
        errno = EINVAL;
    }
    if (done) {
        say("SB DIMM ok");
    } else {
        say("SB DIMM bad: %s", strerror(errno));
    }
}

uint64_t pages_above(const void *data, uint64_t pages, uint64_t address)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t first = (uintptr_t)data / PAGE_BYTES;
    uint64_t above = 0;

    for (uint64_t page = 0; fd >= 0 && page < pages; page++) {
        uint64_t entry = 0;

        if (pread(fd, &entry, sizeof(entry), (first + page) * sizeof(entry)) ==
            sizeof(entry)) {
            above += (entry & PAGEMAP_FRAME) >= address / PAGE_BYTES;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return above;
}

static void crash(void)
{
    say("SB CRASH ok");
    say_all();
    if (!write_word("/proc/sysrq-trigger", "c")) {
        say("SB CRASH bad: %s", strerror(errno));
    }
}

bool obey_life(const char *verb, const char *argument)
{
    if (!strcmp(verb, "suspend")) {
        suspend();
    } else if (!strcmp(verb, "reboot")) {
        boot_anew("REBOOT", RB_AUTOBOOT);
    } else if (!strcmp(verb, "load")) {
        load(argument);
    } else if (!strcmp(verb, "kexec")) {
        boot_anew("KEXEC", RB_KEXEC);
    } else if (!strcmp(verb, "crash")) {
        crash();
    } else if (!strcmp(verb, "dimm")) {
        dimm(argument);
    } else {
        return false;
    }
    return true;
}
