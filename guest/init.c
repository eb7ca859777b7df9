/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole user space of the test guest: process 1 of a Linux that has
 * nothing else. It fills the memory of the guest once, keeps a working set
 * whose every byte it can recompute, and says on the first serial port
 * whether that is still so. guest/protocol.rst describes the lines.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

#define TICK_MS 250
/* Pages that one tick checks besides those it rewrites. */
#define TICK_CHECKS 64
/* Left alone when all memory is touched, for the kernel to breathe. */
#define TOUCH_RESERVE (24 * MIB)
#define TOUCH_REPORT (64 * MIB)
#define MAX_SETS 8

/* Memory of which each byte follows from the seed and the generations. */
typedef struct CheckedSet {
    uint64_t *data;
    uint32_t *generation;       /* one for each page */
    uint64_t pages;
    uint64_t rewrites;          /* the sum of all generations */
} CheckedSet;

typedef struct Params {
    uint64_t workset;           /* bytes */
    uint64_t seed;
    uint64_t dirty;             /* bytes per second */
    bool touch;
    bool balloon;               /* whether there is to be a driver for it */
} Params;

static Params params = {
    .workset = 96 * MIB,
    .seed = 1,
    .dirty = 1 * MIB,
    .touch = true,
    .balloon = true,
};
static CheckedSet sets[MAX_SETS];
static int n_sets;
static uint64_t choice_state;
static int serial_fd = -1;
static pid_t touch_pid;

/* Lines out. */

void say(const char *format, ...)
{
    char line[256];
    va_list args;
    size_t done = 0;
    size_t length;

    va_start(args, format);
    vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    length = strlen(line);
    line[length++] = '\n';
    while (done < length) {
        ssize_t n = write(serial_fd, line + done, length - done);

        if (n < 0 && errno != EINTR) {
            return;
        }
        done += n > 0 ? n : 0;
    }
}

void say_all(void)
{
    tcdrain(serial_fd);
}

static void __attribute__((noreturn)) power_off(void)
{
    say_all();
    reboot(RB_POWER_OFF);
    for (;;) {
        pause();
    }
}

static void __attribute__((noreturn)) die(const char *what)
{
    say("SB ERROR %s: %s", what, strerror(errno));
    power_off();
}

/* Checked memory. */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static uint64_t choose(uint64_t limit)
{
    choice_state = mix(choice_state);
    return choice_state % limit;
}

/* Never 0, so that xorshift never sticks. */
uint64_t page_start(uint64_t page, uint32_t generation)
{
    return mix(params.seed ^ mix(page << 32 ^ generation)) | 1;
}

uint64_t next_word(uint64_t x)
{
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void page_write(CheckedSet *set, uint64_t page)
{
    uint64_t *words = set->data + page * PAGE_WORDS;
    uint64_t x = page_start(page, set->generation[page]);

    for (size_t i = 0; i < PAGE_WORDS; i++) {
        x = next_word(x);
        words[i] = x;
    }
}

static void page_rewrite(CheckedSet *set, uint64_t page)
{
    set->generation[page]++;
    set->rewrites++;
    page_write(set, page);
}

/* Whether the page is as it was written; adds its words to *sum. */
static bool page_check(const CheckedSet *set, uint64_t page, uint64_t *sum)
{
    const uint64_t *words = set->data + page * PAGE_WORDS;
    uint64_t x = page_start(page, set->generation[page]);

    for (size_t i = 0; i < PAGE_WORDS; i++) {
        x = next_word(x);
        if (words[i] != x) {
            say("SB CORRUPT set=%d page=%" PRIu64 " word=%zu"
                " want=%016" PRIx64 " have=%016" PRIx64,
                (int)(set - sets), page, i, x, words[i]);
            return false;
        }
        *sum += x;
    }
    return true;
}

static bool set_add(uint64_t bytes)
{
    CheckedSet *set = &sets[n_sets];
    void *data;

    if (n_sets == MAX_SETS) {
        errno = ENOSPC;
        return false;
    }
    set->pages = bytes / PAGE_BYTES;
    set->rewrites = 0;
    set->generation = calloc(set->pages, sizeof(set->generation[0]));
    data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!set->generation || data == MAP_FAILED) {
        free(set->generation);
        return false;
    }
    set->data = data;
    for (uint64_t page = 0; page < set->pages; page++) {
        page_rewrite(set, page);
    }
    n_sets++;
    return true;
}

/* Drop every set but the first. */
static void sets_drop_extra(void)
{
    while (n_sets > 1) {
        CheckedSet *set = &sets[--n_sets];

        munmap(set->data, set->pages * PAGE_BYTES);
        free(set->generation);
    }
}

static void verify_all(void)
{
    uint64_t sum = 0;
    uint64_t pages = 0;
    uint64_t bad = 0;

    for (int i = 0; i < n_sets; i++) {
        uint64_t rewrites = 0;

        for (uint64_t page = 0; page < sets[i].pages; page++) {
            rewrites += sets[i].generation[page];
            bad += !page_check(&sets[i], page, &sum);
        }
        /* A generation that went back would make an old page look right. */
        if (rewrites != sets[i].rewrites) {
            say("SB CORRUPT set=%d generations=%" PRIu64 " want=%" PRIu64,
                i, rewrites, sets[i].rewrites);
            bad++;
        }
        pages += sets[i].pages;
    }
    if (bad) {
        say("SB VERIFY bad pages=%" PRIu64 " bad=%" PRIu64, pages, bad);
    } else {
        say("SB VERIFY ok pages=%" PRIu64 " sum=%016" PRIx64, pages, sum);
    }
}

static void tick(void)
{
    static uint64_t count;
    static uint64_t owed;       /* bytes that the dirty rate still asks for */
    uint64_t sum = 0;
    bool ok = true;

    for (int i = 0; i < TICK_CHECKS; i++) {
        CheckedSet *set = &sets[choose(n_sets)];

        ok &= page_check(set, choose(set->pages), &sum);
    }
    owed += params.dirty * TICK_MS / 1000;
    while (owed >= PAGE_BYTES) {
        CheckedSet *set = &sets[choose(n_sets)];
        uint64_t page = choose(set->pages);

        ok &= page_check(set, page, &sum);
        page_rewrite(set, page);
        owed -= PAGE_BYTES;
    }
    say("SB TICK %" PRIu64 " %s", ++count, ok ? "ok" : "bad");
}

/* Memory that is used once and given back. */

/* A field of /proc/meminfo in bytes, 0 if there is none such. */
static uint64_t meminfo(const char *field)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128];
    uint64_t kib = 0;

    if (!file) {
        return 0;
    }
    while (fgets(line, sizeof(line), file)) {
        if (!strncmp(line, field, strlen(field)) &&
            line[strlen(field)] == ':') {
            sscanf(line + strlen(field) + 1, "%" SCNu64, &kib);
        }
    }
    fclose(file);
    return kib * KIB;
}

static bool page_is_zero_but_first(const uint64_t *words)
{
    for (size_t i = 1; i < PAGE_WORDS; i++) {
        if (words[i]) {
            return false;
        }
    }
    return true;
}

/*
 * Use bytes of new memory: each page has to read as zero when it is first
 * touched, and as what was written when all are. Runs in a process of its
 * own, which the kernel may kill for want of memory instead of this one.
 */
static int touch_memory(uint64_t bytes)
{
    uint64_t pages = bytes / PAGE_BYTES;
    uint64_t bad = 0;
    uint64_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (data == MAP_FAILED) {
        say("SB TOUCH bad: %s", strerror(errno));
        return 1;
    }
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t *words = data + page * PAGE_WORDS;

        /* A write first: reading alone would map the shared zero page. */
        words[0] = page_start(page, 0);
        bad += !page_is_zero_but_first(words);
        words[PAGE_WORDS - 1] = page_start(page, 1);
        if ((page + 1) % (TOUCH_REPORT / PAGE_BYTES) == 0) {
            say("SB TOUCHING %" PRIu64 " of %" PRIu64 " MiB",
                (page + 1) * PAGE_BYTES / MIB, bytes / MIB);
        }
    }
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t *words = data + page * PAGE_WORDS;

        bad += words[0] != page_start(page, 0) ||
               words[PAGE_WORDS - 1] != page_start(page, 1);
    }
    if (bad) {
        say("SB TOUCH bad pages=%" PRIu64 " bad=%" PRIu64, pages, bad);
        return 1;
    }
    say("SB TOUCH ok pages=%" PRIu64, pages);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0) {
            say("SB NOTE %s: %s", path, strerror(errno));
        }
        close(fd);
    }
}

static void touch_begin(uint64_t bytes)
{
    touch_pid = fork();
    if (touch_pid < 0) {
        touch_pid = 0;
        say("SB TOUCH bad: %s", strerror(errno));
    } else if (!touch_pid) {
        write_file("/proc/self/oom_score_adj", "1000");
        _exit(touch_memory(bytes));
    }
}

/* Collect the process that touches memory; it has reported unless killed. */
static void touch_end(bool block)
{
    int status;

    if (touch_pid && waitpid(touch_pid, &status, block ? 0 : WNOHANG) > 0) {
        touch_pid = 0;
        if (WIFSIGNALED(status)) {
            say("SB TOUCH bad: killed by signal %d", WTERMSIG(status));
        }
    }
}

/* Commands in. */

static bool parse_number(const char *text, uint64_t *value)
{
    int length = 0;

    return text && sscanf(text, "%9" SCNu64 "%n", value, &length) == 1 &&
           !text[length];
}

static void command_mem(void)
{
    say("SB MEM total=%" PRIu64 " free=%" PRIu64 " available=%" PRIu64 " KiB",
        meminfo("MemTotal") / KIB, meminfo("MemFree") / KIB,
        meminfo("MemAvailable") / KIB);
}

static void command_touch(uint64_t mib)
{
    if (touch_pid) {
        say("SB TOUCH bad: one is running already");
    } else {
        touch_begin(mib * MIB);
    }
}

static void command_fill(uint64_t mib)
{
    if (!mib) {
        sets_drop_extra();
        say("SB FILL ok MiB=0");
    } else if (set_add(mib * MIB)) {
        say("SB FILL ok MiB=%" PRIu64, mib);
    } else {
        say("SB FILL bad: %s", strerror(errno));
    }
}

/* Above 4 GiB there is what was plugged, unless there was much before. */
static void command_plugged(void)
{
    uint64_t pages = 0;

    for (int i = 0; i < n_sets; i++) {
        pages += pages_above(sets[i].data, sets[i].pages, 4096 * MIB);
    }
    say("SB PLUGGED pages=%" PRIu64, pages);
}

static void command_dirty(uint64_t mib)
{
    params.dirty = mib * MIB;
    say("SB DIRTY ok MiB/s=%" PRIu64, mib);
}

static void load_modules(void)
{
    FILE *list = fopen("/modules", "r");
    char path[256];

    if (!list) {
        return;
    }
    while (fgets(path, sizeof(path), list)) {
        int fd;

        path[strcspn(path, "\n")] = '\0';
        if (!path[0] ||
            (!params.balloon && strstr(path, "/virtio_balloon."))) {
            continue;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 ||
            (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) {
            die(path);
        }
        close(fd);
    }
    fclose(list);
}

/* The balloon is taken back, and inflated anew to what the host wants. */
static void reload_balloon(void)
{
    if (syscall(SYS_delete_module, "virtio_balloon", O_NONBLOCK)) {
        say("SB RELOAD bad: %s", strerror(errno));
        return;
    }
    load_modules();
    say("SB RELOAD ok");
}

static void obey(char *line)
{
    char *save = NULL;
    const char *verb = strtok_r(line, " \r", &save);
    const char *argument = strtok_r(NULL, " \r", &save);
    uint64_t number = 0;
    bool has_number = parse_number(argument, &number);

    if (!verb) {
        return;
    }
    if (!strcmp(verb, "verify")) {
        verify_all();
    } else if (!strcmp(verb, "mem")) {
        command_mem();
    } else if (!strcmp(verb, "plugged")) {
        command_plugged();
    } else if (!strcmp(verb, "reload")) {
        reload_balloon();
    } else if (!strcmp(verb, "poweroff")) {
        power_off();
    } else if (!strcmp(verb, "touch") && has_number) {
        command_touch(number);
    } else if (!strcmp(verb, "fill") && has_number) {
        command_fill(number);
    } else if (!strcmp(verb, "dirty") && has_number) {
        command_dirty(number);
    } else if (!strcmp(verb, "vmcore") && has_number) {
        search_vmcore(number * MIB / PAGE_BYTES);
    } else if (!obey_life(verb, argument) && !obey_misuse(verb, number)) {
        say("SB UNKNOWN %s", verb);
    }
}

static void read_commands(void)
{
    static char line[128];
    static size_t length;
    char c;

    while (read(serial_fd, &c, 1) == 1) {
        if (c != '\n') {
            if (length < sizeof(line) - 1) {
                line[length++] = c;
            }
            continue;
        }
        line[length] = '\0';
        length = 0;
        obey(line);
    }
}

/* Start. */

static void mount_or_die(const char *type, const char *where)
{
    if (mount(type, where, type, 0, NULL) && errno != EBUSY) {
        die(where);
    }
}

static void open_serial(void)
{
    struct termios mode;

    serial_fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (serial_fd < 0) {
        /* Nobody hears us: the panic that follows says it on the console. */
        exit(1);
    }
    tcgetattr(serial_fd, &mode);
    cfmakeraw(&mode);
    cfsetspeed(&mode, B115200);
    /* A read returns at once, so that the tick keeps its time. */
    mode.c_cc[VMIN] = 0;
    mode.c_cc[VTIME] = 0;
    tcsetattr(serial_fd, TCSANOW, &mode);
}

/* A size such as 96M; the suffixes K, M and G are powers of 1024. */
static uint64_t parse_size(const char *text)
{
    uint64_t value = 0;
    char suffix = '\0';

    sscanf(text, "%" SCNu64 "%c", &value, &suffix);
    switch (suffix) {
    case 'G':
        return value * 1024 * MIB;
    case 'M':
        return value * MIB;
    case 'K':
        return value * KIB;
    default:
        return value;
    }
}

static void read_params(void)
{
    FILE *file = fopen("/proc/cmdline", "r");
    char line[2048] = "";
    char *save = NULL;

    if (!file || !fgets(line, sizeof(line), file)) {
        die("/proc/cmdline");
    }
    fclose(file);
    for (char *word = strtok_r(line, "\n ", &save); word;
         word = strtok_r(NULL, "\n ", &save)) {
        char *value = strchr(word, '=');

        if (!value || strncmp(word, "skip_balloon.", 13)) {
            continue;
        }
        *value++ = '\0';
        word += 13;
        if (!strcmp(word, "workset")) {
            params.workset = parse_size(value);
        } else if (!strcmp(word, "seed")) {
            params.seed = parse_size(value);
        } else if (!strcmp(word, "dirty")) {
            params.dirty = parse_size(value);
        } else if (!strcmp(word, "touch")) {
            params.touch = strcmp(value, "off");
        } else if (!strcmp(word, "balloon")) {
            params.balloon = strcmp(value, "off");
        } else {
            say("SB NOTE unknown parameter %s", word);
        }
    }
    choice_state = mix(params.seed);
}

/* Fill all memory once, so that the host has to have it all. */
static void touch_all(void)
{
    uint64_t available = meminfo("MemAvailable");

    if (available > 2 * TOUCH_RESERVE) {
        touch_begin((available - TOUCH_RESERVE) & ~(MIB - 1));
        touch_end(true);
    }
}

static void make_workset(void)
{
    uint64_t limit = meminfo("MemAvailable") / 2;

    if (params.workset > limit) {
        params.workset = limit;
    }
    params.workset &= ~(MIB - 1);
    if (!params.workset || !set_add(params.workset)) {
        die("working set");
    }
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void __attribute__((noreturn)) serve(void)
{
    int64_t next = now_ms();

    for (;;) {
        struct pollfd wanted = { .fd = serial_fd, .events = POLLIN };
        int64_t left = next - now_ms();

        if (left <= 0) {
            tick();
            touch_end(false);
            next = now_ms() + TICK_MS;
            continue;
        }
        if (poll(&wanted, 1, left) > 0) {
            read_commands();
        }
    }
}

int main(void)
{
    mount_or_die("devtmpfs", "/dev");
    mount_or_die("proc", "/proc");
    mount_or_die("sysfs", "/sys");
    open_serial();
    read_params();
    say("SB BOOT total=%" PRIu64 " KiB", meminfo("MemTotal") / KIB);
    if (params.touch) {
        touch_all();
    }
    make_workset();
    /* After the touching: what the balloon then takes was in use once. */
    load_modules();
    say("SB READY total=%" PRIu64 " workset=%" PRIu64 " KiB seed=%" PRIu64,
        meminfo("MemTotal") / KIB, params.workset / KIB, params.seed);
    serve();
}
