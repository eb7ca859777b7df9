/*
 * Process 1 of a guest kernel: is a populated page ever called unpopulated?
 *
 * Memory of each kind is filled once, and no byte of it becomes zero again.
 * Meanwhile threads have the kernel move its pages between two NUMA nodes,
 * collapse them into huge pages and split those, and swap them out and in.
 * So each time `populated` says that something of it is not populated, that is
 * wrong; its answer about a hole beside the memory must be just that.
 *
 * Arguments: the cases to run, by the beginning of their names; all if there
 * is none.  The environment says how much has to happen in each: GOAL.  Each
 * case ends with a line on the first serial port, RESULT, its
 * name, and pairs of a word and a number; after the last one comes DONE.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "qemu/osdep.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>

#include "migration/skip/populated.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif

#define PAGE UINT64_C(4096)
#define UNIT (UINT64_C(2) << 20)        /* a huge page */
#define MOVE_MOVABLE 2                  /* MPOL_MF_MOVE */

/* So much is filled; one unit more is mapped, and stays a hole. */
#define FILLED (4 * UNIT)
#define MAPPED (FILLED + UNIT)

/*
 * How many ranges are collapsed, and pages swapped or moved, and how many
 * answers are right, at least; the kernel makes a variable of GOAL=500 on its
 * command line.
 */
static unsigned long goal = 500;
/*
 * A collapse takes long, and there are several questions in each: by the means
 * that is wrong the least often, one in 140 answers was.
 */
#define GOAL_COLLAPSES (goal / 4)
/* Of small pages, which is quick */
#define GOAL_MOVES (2 * goal)
/* Pages that are read again: the others are still in the swap cache. */
#define GOAL_IN (goal / 4)
/* Ranges, where all is done at once */
#define GOAL_TOGETHER (goal / 10)
/* Pages that one call moves, as compaction does, and huge pages */
#define BATCH 4
#define BATCH_HUGE 2
/* Pages that one call swaps out, at most */
#define SWAP_PAGES 64
#define SPLIT_TRIES 3
/* A case ends after this time even if the movers are not through. */
#define PATIENCE_SECS 300

#define SWAP_BYTES (UINT64_C(64) << 20)
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_FRAME ((UINT64_C(1) << 55) - 1)
/* Head and tail of a compound page in /proc/kpageflags */
#define FLAGS_COMPOUND (UINT64_C(3) << 15)

typedef enum Kind {
    /*
     * Private memory of a process that may not open /proc/self/pagemap, on a
     * host without swap: first of all, since it is opened once for all others
     */
    ANONYMOUS_DENIED,
    ANONYMOUS,
    TMPFS,
    TMPFS_HUGE,
    HUGETLBFS,
    HUGETLBFS_COUNTED,          /* pages are counted first, as a pass does */
    HUGETLBFS_PRIVATE,          /* the same */
    PRIVATE_FILE,
    N_KINDS,
} Kind;

enum {
    MOVE = 1,
    COLLAPSE = 2,
    SWAP = 4,
    /* Swap is added, used and removed again and again. */
    SWAPON = 8,
};
#define N_MOVERS 4

static const char *const kind_names[N_KINDS] = {
    "anonymous-denied", "anonymous", "tmpfs", "tmpfs-huge", "hugetlbfs",
    "hugetlbfs-counted", "hugetlbfs-private", "private-file",
};

static const struct {
    const char *name;
    unsigned int movers;
} ways[] = {
    { "move", MOVE },
    { "collapse", COLLAPSE },
    { "swap", SWAP },
    { "all", MOVE | COLLAPSE | SWAP },
    { "swapon", SWAPON },
};

typedef struct Case {
    Kind kind;
    unsigned int movers;
    uint8_t *memory;
    int fd;
    uint64_t deadline;
    uint64_t swapped_out;       /* what the kernel had counted before */
    uint64_t swapped_in;

    atomic_ulong hot;           /* offset at which something happens */
    atomic_ulong moves;         /* pages that are on the other node now */
    atomic_ulong collapses;     /* ranges of small pages made a huge page */
    atomic_ulong splits;
    atomic_ulong out;           /* pages */
    atomic_ulong in;
    atomic_bool done;

    unsigned long questions;
    unsigned long counts;
    atomic_ulong yes;           /* what is populated is populated */
    unsigned long wrong;        /* what is populated is not */
    unsigned long wrong_wide;   /* of these, answers to large questions */
    unsigned long undecided;
    unsigned long holes;        /* what is not populated is not */
} Case;

static bool is_hugetlbfs(Kind kind)
{
    return kind == HUGETLBFS || kind == HUGETLBFS_COUNTED ||
           kind == HUGETLBFS_PRIVATE;
}

static bool is_anonymous(Kind kind)
{
    return kind == ANONYMOUS || kind == ANONYMOUS_DENIED;
}

static bool is_private(Kind kind)
{
    return is_anonymous(kind) || kind == HUGETLBFS_PRIVATE ||
           kind == PRIVATE_FILE;
}

static int serial_fd = -1;
static int pagemap_fd = -1;
static int flags_fd = -1;
static int split_fd = -1;
static int vmstat_fd = -1;

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    char line[512];
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

static void __attribute__((noreturn)) power_off(void)
{
    tcdrain(serial_fd);
    reboot(RB_POWER_OFF);
    for (;;) {
        pause();
    }
}

static void __attribute__((noreturn)) die(const char *what)
{
    say("ERROR %s: %s", what, strerror(errno));
    power_off();
}

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0) {
        die(path);
    }
    return fd;
}

static void put(const char *path, const char *text)
{
    int fd = open_or_die(path, O_WRONLY);

    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        die(path);
    }
    close(fd);
}

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static uint64_t pick(uint64_t *state, uint64_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % limit;
}

/* The world that the cases need */

static void mount_one(const char *type, const char *where)
{
    mkdir(where, 0755);
    if (mount(type, where, type, 0, NULL) && errno != EBUSY) {
        die(where);
    }
}

static void load_modules(void)
{
    FILE *list = fopen("/modules", "r");
    char line[256];

    while (list && fgets(line, sizeof(line), list)) {
        const char *options = strstr(line, "/brd.ko") ? "rd_nr=1 rd_size=65536"
                                                      : "";
        int fd;

        line[strcspn(line, "\n")] = '\0';
        fd = open_or_die(line, O_RDONLY);
        if (syscall(SYS_finit_module, fd, options, 0) && errno != EEXIST) {
            die(line);
        }
        close(fd);
    }
    if (list) {
        fclose(list);
    }
}

/*
 * Two devices of one priority, so that both get pages.  A disk writes while
 * the page waits in the swap cache, and the page that is touched again is
 * mostly taken from there.  A RAM disk is done at once, so that the page is
 * let go of, and read again.
 */
static void make_swap(const char *device)
{
    static uint8_t header[PAGE];
    uint32_t *words = (uint32_t *)(header + 1024);
    int fd = open_or_die(device, O_RDWR);

    words[0] = 1;                       /* version */
    words[1] = SWAP_BYTES / PAGE - 1;   /* last page */
    memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
    if (pwrite(fd, header, PAGE, 0) != (ssize_t)PAGE || fsync(fd)) {
        die(device);
    }
    close(fd);
}

static void swap_on(const char *device)
{
    if (swapon(device, SWAP_FLAG_PREFER | 1)) {
        die(device);
    }
}

static void set_up(void)
{
    mount_one("devtmpfs", "/dev");
    serial_fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    mount_one("proc", "/proc");
    mount_one("sysfs", "/sys");
    mount_one("debugfs", "/sys/kernel/debug");
    load_modules();
    make_swap("/dev/vda");
    make_swap("/dev/ram0");

    pagemap_fd = open_or_die("/proc/self/pagemap", O_RDONLY);
    flags_fd = open_or_die("/proc/kpageflags", O_RDONLY);
    split_fd = open_or_die("/sys/kernel/debug/split_huge_pages", O_WRONLY);
    vmstat_fd = open_or_die("/proc/vmstat", O_RDONLY);

    put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
    /* What collapses is the test and nothing else. */
    put("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "1");
    put("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
        "1000000");
    /* A page that is read is mapped without its neighbours. */
    put("/sys/kernel/debug/fault_around_bytes", "4096");
    /* As many on each node as are moved to and fro, and some more */
    put("/proc/sys/vm/nr_hugepages", "16");
}

static uint64_t vmstat(const char *name)
{
    static _Thread_local char text[16384];
    ssize_t n = pread(vmstat_fd, text, sizeof(text) - 1, 0);
    size_t length = strlen(name);
    char *line = text;

    if (n < 0) {
        die("/proc/vmstat");
    }
    text[n] = '\0';
    while (line) {
        line += *line == '\n';
        if (!strncmp(line, name, length) && line[length] == ' ') {
            return g_ascii_strtoull(line + length, NULL, 10);
        }
        line = strchr(line, '\n');
    }
    errno = ENOENT;
    die(name);
}

/* Memory */

static uint64_t stamp(uint64_t at)
{
    return UINT64_C(0x1122334400000000) | at / PAGE | 1;
}

/* Private pages of a file lie over a hole of it, or over other data. */
static bool over_hole(const Case *c, uint64_t at)
{
    return c->kind == PRIVATE_FILE && at < FILLED / 2;
}

/* Of the data of a file, one page in four gets a private copy. */
static bool only_in_file(const Case *c, uint64_t at)
{
    return c->kind == PRIVATE_FILE && !over_hole(c, at) && at / PAGE % 4;
}

/* Use a page, and leave it where it is. */
static void touch(const Case *c, uint64_t at)
{
    /* An access, whatever is known of the value */
    volatile uint64_t *word = (uint64_t *)(c->memory + at);

    if (only_in_file(c, at)) {
        (void)*word;
    } else {
        *word = stamp(at);
    }
}

static void fill_file(Case *c)
{
    uint64_t page[PAGE / sizeof(uint64_t)];
    uint64_t at;

    for (at = 0; at < FILLED; at += PAGE) {
        if (!over_hole(c, at)) {
            memset(page, 0x5a, sizeof(page));
            page[0] = stamp(at);
            if (pwrite(c->fd, page, PAGE, at) != (ssize_t)PAGE) {
                die("write to the file");
            }
        }
    }
}

static void make_memory(Case *c)
{
    unsigned int huge = is_hugetlbfs(c->kind) ? MFD_HUGETLB : 0;
    bool file = !is_anonymous(c->kind);
    uint8_t *at = mmap(NULL, MAPPED + UNIT, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t i;

    if (at == MAP_FAILED) {
        die("addresses");
    }
    at += UNIT - (uintptr_t)at % UNIT;
    c->fd = file ? memfd_create("memory", MFD_CLOEXEC | huge) : -1;
    if (file && (c->fd < 0 || ftruncate(c->fd, MAPPED))) {
        die("memfd");
    }
    if (c->kind == PRIVATE_FILE) {
        fill_file(c);
    }
    c->memory = mmap(at, MAPPED, PROT_READ | PROT_WRITE,
                     MAP_FIXED | (is_private(c->kind) ? MAP_PRIVATE :
                                               MAP_SHARED) |
                     (file ? 0 : MAP_ANONYMOUS), c->fd, 0);
    if (c->memory == MAP_FAILED) {
        die("mmap");
    }
    if (c->kind == TMPFS_HUGE && madvise(c->memory, MAPPED, MADV_HUGEPAGE)) {
        die("MADV_HUGEPAGE");
    }
    for (i = 0; i < FILLED; i += PAGE) {
        if (!only_in_file(c, i)) {
            memset(c->memory + i, 0x5a, PAGE);
        }
        touch(c, i);
    }
}

/* How many pages do not hold what they should? */
static unsigned long count_lost(const Case *c)
{
    unsigned long lost = 0;
    uint64_t i;

    for (i = 0; i < FILLED; i += PAGE) {
        /* For what the kernel, not the program, has made of it */
        lost += *(volatile uint64_t *)(c->memory + i) != stamp(i);
    }
    return lost;
}

/*
 * Is it mapped, and is it part of a huge page?  The second page is asked, of
 * which a file has no private copy.
 */
static bool is_huge(const Case *c, uint64_t unit)
{
    uint64_t page = (uintptr_t)(c->memory + unit + PAGE) / PAGE;
    uint64_t entry, flags;

    if (pread(pagemap_fd, &entry, 8, page * 8) != 8) {
        die("/proc/self/pagemap");
    }
    if (!(entry & ENTRY_PRESENT) ||
        pread(flags_fd, &flags, 8, (entry & ENTRY_FRAME) * 8) != 8) {
        return false;
    }
    return flags & FLAGS_COMPOUND;
}

/* The movers */

static bool goal_reached(Case *c)
{
    bool huge = is_hugetlbfs(c->kind) || c->kind == TMPFS_HUGE;
    unsigned long moves = huge || c->movers != MOVE ? goal : GOAL_MOVES;
    unsigned long collapses = c->movers != COLLAPSE ? GOAL_TOGETHER
                                                    : GOAL_COLLAPSES;

    return atomic_load(&c->yes) >= goal &&
           (!(c->movers & MOVE) || c->moves >= moves) &&
           (!(c->movers & COLLAPSE) || c->collapses >= collapses) &&
           (!(c->movers & SWAP) || (c->out >= goal && c->in >= GOAL_IN)) &&
           (!(c->movers & SWAPON) || c->out >= goal);
}

static bool go_on(Case *c)
{
    return !goal_reached(c) && now() < c->deadline;
}

static bool collapse(Case *c, uint64_t unit)
{
    bool was_huge;
    uint64_t at;

    touch(c, unit + PAGE);
    was_huge = is_huge(c, unit);
    atomic_store(&c->hot, unit);
    /*
     * Its answer does not tell: the kernel calls it a success to find the range
     * huge already, and a failure to make the file huge but not the mapping.
     */
    madvise(c->memory + unit, UNIT, MADV_COLLAPSE);
    for (at = unit; at < unit + UNIT; at += PAGE * 16) {
        touch(c, at + PAGE);
    }
    return !was_huge && is_huge(c, unit);
}

static void split(Case *c, uint64_t unit)
{
    uintptr_t page = (uintptr_t)(c->memory + unit + PAGE);
    bool was_huge = is_huge(c, unit);
    char text[80];
    unsigned int try;
    int n = snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(),
                     (unsigned long)page, (unsigned long)(page + PAGE));

    /* It fails if somebody else has taken a reference. */
    for (try = 0; was_huge && try < SPLIT_TRIES; try++) {
        atomic_store(&c->hot, unit + UNIT / 2);
        if (write(split_fd, text, n) != n) {
            die("split_huge_pages");
        }
        touch(c, unit + PAGE);
        if (!is_huge(c, unit)) {
            c->splits++;
            break;
        }
    }
}

/* Move @n pages, or huge pages, from @at on, each to the other node. */
static void move(Case *c, uint64_t at, unsigned int n, uint64_t size)
{
    int node[BATCH], moved[BATCH];
    void *page[BATCH];
    unsigned int i;

    for (i = 0; i < n; i++) {
        page[i] = c->memory + at + i * size;
        touch(c, at + i * size);
    }
    if (syscall(SYS_move_pages, 0, (unsigned long)n, page, NULL, node, 0)) {
        die("move_pages");
    }
    for (i = 0; i < n; i++) {
        /* One that is not there, for it is swapped out again, goes to 1. */
        node[i] = node[i] != 1;
        moved[i] = -1;
    }
    if (syscall(SYS_move_pages, 0, (unsigned long)n, page, node, moved,
                MOVE_MOVABLE) < 0) {
        return;
    }
    for (i = 0; i < n; i++) {
        c->moves += moved[i] == node[i];
    }
}

static void *run_moves(void *opaque)
{
    Case *c = opaque;
    bool huge = is_hugetlbfs(c->kind) ||
                (c->kind == TMPFS_HUGE && c->movers == MOVE);
    uint64_t size = huge ? UNIT : PAGE;
    unsigned int n = huge ? BATCH_HUGE : BATCH;
    uint64_t state = 1, i;

    while (go_on(c)) {
        uint64_t at = pick(&state, FILLED / size - n + 1) * size;

        /* The kernel splits one that it finds no place for. */
        for (i = at; huge && i < at + n * size; i += size) {
            if (!is_huge(c, i)) {
                collapse(c, i);
            }
        }
        atomic_store(&c->hot, at + pick(&state, n) * size);
        move(c, at, n, size);
    }
    return NULL;
}

static void *run_collapses(void *opaque)
{
    Case *c = opaque;
    /* Collapsing would fill the holes of the file. */
    uint64_t first = c->kind == PRIVATE_FILE ? FILLED / 2 : 0;
    uint64_t unit = first;

    while (go_on(c)) {
        if (collapse(c, unit)) {
            c->collapses++;
        }
        split(c, unit);
        unit += UNIT;
        if (unit == FILLED) {
            unit = first;
        }
    }
    return NULL;
}

static void count_swaps(Case *c)
{
    c->out = vmstat("pswpout") - c->swapped_out;
    c->in = vmstat("pswpin") - c->swapped_in;
}

static void *run_swaps(void *opaque)
{
    Case *c = opaque;
    uint64_t state = 2;
    uint64_t round, i;

    for (round = 0; go_on(c); round++) {
        uint64_t length = (1 + pick(&state, SWAP_PAGES)) * PAGE;
        uint64_t at = pick(&state, (FILLED - length) / PAGE) * PAGE;

        if (c->kind == TMPFS_HUGE && round % 16 == 0) {
            at -= at % UNIT;
            length = UNIT;
            collapse(c, at);
        }
        atomic_store(&c->hot, at);
        madvise(c->memory + at, length, MADV_PAGEOUT);
        for (i = at; i < at + length; i += PAGE) {
            atomic_store(&c->hot, i);
            /* What is not changed is not written again. */
            touch(c, i);
        }
        count_swaps(c);
    }
    return NULL;
}

/*
 * Whoever asks before that, and again after it, has seen no swap, though pages
 * were swapped out in between.
 */
static void *run_swapons(void *opaque)
{
    Case *c = opaque;
    uint64_t state = 4;

    while (go_on(c)) {
        uint64_t length = (1 + pick(&state, SWAP_PAGES)) * PAGE;
        uint64_t at = pick(&state, (FILLED - length) / PAGE) * PAGE;

        atomic_store(&c->hot, at);
        swap_on("/dev/ram0");
        madvise(c->memory + at, length, MADV_PAGEOUT);
        if (swapoff("/dev/ram0")) {
            die("swapoff");
        }
        count_swaps(c);
    }
    return NULL;
}

/* The questions */

typedef enum Word {
    POPULATED,
    UNPOPULATED,
    UNDECIDED,
} Word;

/* What is said of [@from, *@end), which is the beginning of [@from, @to)? */
static Word ask(PopulatedScan *scan, uint64_t from, uint64_t to, uint64_t *end)
{
    int ret = populated_scan_next(scan, from, to, end);

    if (ret < 0) {
        *end = to;
        return UNDECIDED;
    }
    return ret ? POPULATED : UNPOPULATED;
}

/* As one who has just begun to track writes to the memory asks */
static void ask_all_of(Case *c, PopulatedScan *scan, uint64_t from,
                       uint64_t to)
{
    bool wide = to - from > PAGE;
    uint64_t end;

    populated_scan_window(scan, MAPPED);
    for (; from < to; from = end) {
        Word word = ask(scan, from, to, &end);

        c->questions++;
        if (word == UNDECIDED) {
            c->undecided++;
        } else if (word == POPULATED) {
            c->yes += from < FILLED;
        } else if (from < FILLED) {
            c->wrong++;
            c->wrong_wide += wide;
        } else {
            c->holes++;
        }
        if (end <= from) {
            die("an answer without an end");
        }
    }
}

static void *run_questions(void *opaque)
{
    Case *c = opaque;
    PopulatedMemory mem = {
        .host = c->memory,
        .length = MAPPED,
        .page_size = is_hugetlbfs(c->kind) ? UNIT : PAGE,
        .host_page_size = PAGE,
        .fd = c->fd,
        .shared = !is_private(c->kind),
    };
    struct rlimit files, none = { 0, 0 };
    PopulatedScan *scan;
    uint64_t state = 3;
    unsigned long n;

    getrlimit(RLIMIT_NOFILE, &files);
    if (c->kind == ANONYMOUS_DENIED) {
        setrlimit(RLIMIT_NOFILE, &none);
    }
    scan = populated_scan_new(&mem, POPULATED_TO_SKIP);
    setrlimit(RLIMIT_NOFILE, &files);

    atomic_store(&c->hot, 0);
    for (n = 0; !c->done; n++) {
        uint64_t at = pick(&state, FILLED / PAGE) * PAGE;

        if (c->kind == HUGETLBFS_COUNTED || c->kind == HUGETLBFS_PRIVATE) {
            /* A pass counts anew; if that was right, so is all that follows. */
            populated_scan_free(scan);
            scan = populated_scan_new(&mem, POPULATED_TO_SKIP);
            c->counts += !populated_scan_count(scan, 0);
        }
        if (n % 32 == 0) {
            ask_all_of(c, scan, 0, MAPPED);
        } else if (n % 16 == 1) {
            ask_all_of(c, scan, at,
                       at + PAGE * (1 + pick(&state, (FILLED - at) / PAGE)));
        } else if (n % 16 == 2) {
            ask_all_of(c, scan, FILLED + at % UNIT,
                       FILLED + at % UNIT + PAGE);
        } else if (n % 4 == 3) {
            ask_all_of(c, scan, at, at + PAGE);
        } else {
            at = atomic_load(&c->hot);
            ask_all_of(c, scan, at, at + PAGE);
        }
    }
    populated_scan_free(scan);
    return NULL;
}

/* The cases */

static void start(pthread_t *thread, void *(*run)(void *), Case *c)
{
    errno = pthread_create(thread, NULL, run, c);
    if (errno) {
        die("pthread_create");
    }
}

static void run_case(const char *name, Kind kind, unsigned int movers)
{
    static void *(*const run[])(void *) = {
        run_moves, run_collapses, run_swaps, run_swapons,
    };
    pthread_t questions, threads[N_MOVERS];
    uint64_t began = now();
    Case c = {
        .kind = kind,
        .movers = movers,
        .swapped_out = vmstat("pswpout"),
        .swapped_in = vmstat("pswpin"),
        .deadline = began + PATIENCE_SECS,
        .hot = UINT64_MAX,
    };
    unsigned int i;

    make_memory(&c);
    start(&questions, run_questions, &c);
    while (atomic_load(&c.hot) == UINT64_MAX) {
        sched_yield();
    }
    for (i = 0; i < N_MOVERS; i++) {
        if (movers & 1 << i) {
            start(&threads[i], run[i], &c);
        }
    }
    for (i = 0; i < N_MOVERS; i++) {
        if (movers & 1 << i) {
            pthread_join(threads[i], NULL);
        }
    }
    c.done = true;
    pthread_join(questions, NULL);
    say("RESULT %s questions %lu populated %lu wrong %lu wide %lu "
        "undecided %lu holes %lu moves %lu collapses %lu splits %lu out %lu "
        "in %lu lost %lu counts %lu seconds %lu", name, c.questions, c.yes,
        c.wrong, c.wrong_wide, c.undecided, c.holes, c.moves, c.collapses,
        c.splits, c.out, c.in, count_lost(&c), c.counts, now() - began);
    munmap(c.memory, MAPPED);
    if (c.fd >= 0) {
        close(c.fd);
    }
}

static bool wanted(const char *name, int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        if (!strncmp(name, argv[i], strlen(argv[i]))) {
            return true;
        }
    }
    return argc < 2;
}

int main(int argc, char **argv)
{
    const char *wish = getenv("GOAL");
    unsigned int way;
    int kind;

    set_up();
    if (wish) {
        goal = g_ascii_strtoull(wish, NULL, 10);
    }
    for (kind = 0; kind < N_KINDS; kind++) {
        bool denied = kind == ANONYMOUS_DENIED;

        if (kind == ANONYMOUS_DENIED + 1) {
            swap_on("/dev/vda");
            swap_on("/dev/ram0");
        }
        for (way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            char name[64];

            /* Huge pages of hugetlbfs are neither split nor swapped. */
            if (is_hugetlbfs(kind) && ways[way].movers != MOVE) {
                continue;
            }
            if (denied ? ways[way].movers & SWAP
                       : ways[way].movers & SWAPON) {
                continue;
            }
            snprintf(name, sizeof(name), "%s/%s", kind_names[kind],
                     ways[way].name);
            if (wanted(name, argc, argv)) {
                run_case(name, kind, ways[way].movers);
            }
        }
    }
    say("DONE");
    power_off();
}
