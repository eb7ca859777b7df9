/*
 * A guest for tests of virtio-balloon: driver, memory and migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "balloon-guest.h"

#define RAM_SIZE_DEFAULT (UINT64_C(64) << 20)
#define WAIT_SECONDS 60

/* Where the device sits */
#define DEVICE_SLOT 5
#define DEVICE_IO 0xc000

/* Legacy virtio-pci registers, and PCI configuration registers */
#define REG_FEATURES 0
#define REG_DRIVER_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_QUEUE_NOTIFY 16
#define REG_STATUS 18
#define PCI_COMMAND_REG 0x04
#define PCI_BAR0_REG 0x10

/* Memory of the driver: a ring for each queue, and the requests */
#define RING_BASE (UINT64_C(1) << 20)
#define RING_STRIDE UINT64_C(0x8000)
#define RING_ALIGN 4096
#define REQUEST_MAX (BG_REQUEST_SIZE / sizeof(uint32_t))
G_STATIC_ASSERT(RING_BASE + BG_QUEUES * RING_STRIDE <= BG_REQUEST_BASE);

/* Alpha (clipper): where PCI configuration and I/O space are in memory */
#define ALPHA_PCI_IO UINT64_C(0x801fc000000)
#define ALPHA_PCI_CONF UINT64_C(0x801fe000000)

static bool is_alpha(void)
{
    return !strcmp(qtest_get_arch(), "alpha");
}

uint64_t bg_target_page(void)
{
    return is_alpha() ? 2 * BALLOON_PAGE : BALLOON_PAGE;
}

static void pci_config_write(BGuest *g, unsigned int reg, uint32_t value)
{
    if (is_alpha()) {
        qtest_writel(g->qts, ALPHA_PCI_CONF | DEVICE_SLOT << 11 | reg, value);
    } else {
        qtest_outl(g->qts, 0xcf8, 1U << 31 | DEVICE_SLOT << 11 | reg);
        qtest_outl(g->qts, 0xcfc, value);
    }
}

static void reg_write(BGuest *g, unsigned int reg, unsigned int size,
                      uint32_t value)
{
    if (is_alpha()) {
        uint64_t addr = ALPHA_PCI_IO + DEVICE_IO + reg;

        size == 1 ? qtest_writeb(g->qts, addr, value) :
        size == 2 ? qtest_writew(g->qts, addr, value) :
                    qtest_writel(g->qts, addr, value);
    } else {
        size == 1 ? qtest_outb(g->qts, DEVICE_IO + reg, value) :
        size == 2 ? qtest_outw(g->qts, DEVICE_IO + reg, value) :
                    qtest_outl(g->qts, DEVICE_IO + reg, value);
    }
}

static uint32_t reg_readl(BGuest *g, unsigned int reg)
{
    return is_alpha() ? qtest_readl(g->qts, ALPHA_PCI_IO + DEVICE_IO + reg)
                      : qtest_inl(g->qts, DEVICE_IO + reg);
}

static uint16_t reg_readw(BGuest *g, unsigned int reg)
{
    return is_alpha() ? qtest_readw(g->qts, ALPHA_PCI_IO + DEVICE_IO + reg)
                      : qtest_inw(g->qts, DEVICE_IO + reg);
}

static char *backend_args(const BGOptions *options)
{
    if (options->ram_file) {
        return g_strdup_printf("memory-backend-file,share=on,mem-path=%s",
                               options->ram_file);
    }
    switch (options->backend) {
    case BG_ANON:
        return g_strdup("memory-backend-ram,reserve=off");
    case BG_MEMFD:
        return g_strdup("memory-backend-memfd,share=on");
    case BG_PRIVATE_MEMFD:
        return g_strdup("memory-backend-memfd,share=off");
    case BG_HUGETLB:
        return g_strdup("memory-backend-memfd,share=on,hugetlb=on,"
                        "hugetlbsize=2M,reserve=off");
    default:
        g_assert_not_reached();
    }
}

static char *device_args(const BGOptions *options)
{
    if (options->no_device) {
        return g_strdup("");
    }
    return g_strdup_printf("-device virtio-balloon-pci,id=balloon0,addr=%d,"
                           "ioeventfd=off%s%s%s", DEVICE_SLOT,
                           options->no_must_tell_host ? ""
                                                      : ",must-tell-host=on",
                           options->device_args ? "," : "",
                           options->device_args ? options->device_args : "");
}

/* Find the address that QEMU has the main memory at. */
static void find_ram(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-ramblock' }");
    g_auto(GStrv) lines = g_strsplit(
        qdict_get_str(rsp, "human-readable-text"), "\n", -1);
    g_autofree char *path = NULL;
    int i;

    g->ram_id = g->options.ram_id ?: "ram0";
    for (i = 0; lines[i]; i++) {
        char id[256], size[16], unit[16];
        uint64_t offset, used, total, hva;

        if (sscanf(lines[i], " %255s %15s %15s 0x%" SCNx64 " 0x%" SCNx64
                   " 0x%" SCNx64 " 0x%" SCNx64, id, size, unit, &offset,
                   &used, &total, &hva) == 7 && !strcmp(id, g->ram_id)) {
            g->hva = hva;
        }
    }
    qobject_unref(rsp);
    g_assert_cmphex(g->hva, !=, 0);

    path = g_strdup_printf("/proc/%d/mem", (int)qtest_pid(g->qts));
    g->mem_fd = open(path, O_RDWR);
    g_assert_cmpint(g->mem_fd, >=, 0);
}

static char *machine_args(const BGOptions *options)
{
    g_autofree char *backend = NULL;
    uint64_t size = options->ram_size;
    const char *maxmem = "";

    if (options->machine_args) {
        return g_strdup(options->machine_args);
    }
    backend = backend_args(options);
    if (!is_alpha() && size < UINT64_C(1) << 30) {
        maxmem = ",slots=2,maxmem=2G";
    }
    return g_strdup_printf("-machine %s,memory-backend=ram0%s%s "
                           "-object %s,id=ram0,size=%" PRIu64 " "
                           "-m %" PRIu64 "M%s",
                           is_alpha() ? "clipper" : "pc",
                           options->machine_props ? "," : "",
                           options->machine_props ?: "",
                           backend, size, size >> 20, maxmem);
}

static BGuest *start(const BGOptions *options, const char *socket)
{
    BGuest *g = g_new0(BGuest, 1);
    g_autofree char *device = device_args(options);
    g_autofree char *machine = NULL;
    g_autofree char *incoming = NULL;
    g_autofree char *args = NULL;

    g->options = *options;
    if (!g->options.ram_size) {
        g->options.ram_size = RAM_SIZE_DEFAULT;
    }
    machine = machine_args(&g->options);
    g->socket = g_strdup(socket);
    incoming = socket ? g_strdup_printf("-incoming unix:%s", socket)
                      : g_strdup("");
    args = g_strdup_printf("%s -nodefaults %s %s %s", machine, device,
                           incoming, options->args ? options->args : "");
    /* qtest_init_with_env() connects in any case. */
    g->qts = qtest_init_with_env_and_capabilities(
        options->stock ? BG_STOCK_ENV : NULL, args, NULL,
        !options->connect_later);
    if (!options->connect_later) {
        find_ram(g);
    }
    return g;
}

void bg_connect(BGuest *g)
{
    qtest_connect(g->qts);
    qtest_qmp_handshake(g->qts, NULL);
    find_ram(g);
}

static BGuest *start_deferred(const BGOptions *options)
{
    BGOptions deferred = *options;
    g_autofree char *args = g_strdup_printf("-incoming defer %s",
                                            options->args ? options->args
                                                          : "");
    BGuest *g;

    deferred.args = args;
    g = start(&deferred, NULL);
    g->options.args = options->args;
    return g;
}

BGuest *bg_start(const BGOptions *options)
{
    return start(options, NULL);
}

static void set_capabilities(BGuest *g)
{
    const char *const *name = g->options.capabilities;

    if (g->options.multifd) {
        bg_set_capability(g, "multifd", true);
    }
    for (; name && *name; name++) {
        bg_set_capability(g, *name, true);
    }
}

BGuest *bg_start_incoming(const BGuest *source)
{
    static int n;
    g_autofree char *socket = g_strdup_printf(
        "%s/skip-balloon-%d-%d.sock", g_get_tmp_dir(), getpid(), n++);
    g_autofree char *uri = g_strdup_printf("unix:%s", socket);
    BGuest *g;

    if (!source->options.multifd && !source->options.capabilities) {
        return start(&source->options, socket);
    }

    /* The capabilities have to be set before anybody connects. */
    g = start_deferred(&source->options);
    g->socket = g_strdup(socket);
    set_capabilities(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    return g;
}

/*
 * End QEMU, and wait until it is a zombie: libqtest would look only every
 * 100 ms, which is longer than many a test takes.  It has still to reap it,
 * and to deal with one that does not end.
 */
static void end_qemu(BGuest *g)
{
    pid_t pid = qtest_pid(g->qts);
    int fd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1;
    struct pollfd ended = { .fd = fd, .events = POLLIN };

    if (fd >= 0) {
        kill(pid, SIGTERM);
        poll(&ended, 1, WAIT_SECONDS * 1000);
        close(fd);
    }
}

void bg_quit(BGuest *g)
{
    end_qemu(g);
    qtest_quit(g->qts);
    close(g->mem_fd);
    if (g->socket) {
        unlink(g->socket);
        g_free(g->socket);
    }
    g_free(g);
}

uint32_t bg_driver_start(BGuest *g, uint32_t features)
{
    int i;

    pci_config_write(g, PCI_BAR0_REG, DEVICE_IO);
    pci_config_write(g, PCI_COMMAND_REG, 7);
    reg_write(g, REG_STATUS, 1, 0);
    reg_write(g, REG_STATUS, 1, 3);
    features &= reg_readl(g, REG_FEATURES);
    reg_write(g, REG_DRIVER_FEATURES, 4, features);
    for (i = 0; i < BG_QUEUES; i++) {
        BGQueue *q = &g->queue[i];

        q->ring = RING_BASE + i * RING_STRIDE;
        q->added = 0;
        reg_write(g, REG_QUEUE_SELECT, 2, i);
        q->size = reg_readw(g, REG_QUEUE_SIZE);
        if (!q->size) {
            continue;
        }
        q->avail = q->ring + q->size * 16;
        q->used = QEMU_ALIGN_UP(q->avail + 6 + q->size * 2, RING_ALIGN);
        g_assert_cmphex(q->used + 6 + q->size * 8, <=,
                        q->ring + RING_STRIDE);
        qtest_memset(g->qts, q->ring, 0, RING_STRIDE);
        reg_write(g, REG_QUEUE_PFN, 4, q->ring / 4096);
    }
    reg_write(g, REG_STATUS, 1, 7);
    return features;
}

void bg_driver_reset(BGuest *g)
{
    reg_write(g, REG_STATUS, 1, 0);
}

void bg_kick(BGuest *g, int queue)
{
    BGQueue *q = &g->queue[queue];
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;

    reg_write(g, REG_QUEUE_NOTIFY, 2, queue);
    while (qtest_readw(g->qts, q->used + 2) != q->added) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Tell the device of @n PFNs at BG_REQUEST_BASE. */
static void send_request(BGuest *g, int queue, size_t n)
{
    BGQueue *q = &g->queue[queue];
    uint64_t desc = q->ring;

    g_assert_cmpuint(n, <=, REQUEST_MAX);
    qtest_writeq(g->qts, desc, BG_REQUEST_BASE);
    qtest_writel(g->qts, desc + 8, n * sizeof(uint32_t));
    qtest_writel(g->qts, desc + 12, 0);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, queue);
}

void bg_request(BGuest *g, int queue, const uint32_t *pfns, size_t n)
{
    g_autofree uint32_t *le_pfns = g_new(uint32_t, n);
    size_t i;

    g_assert_cmpuint(n, <=, REQUEST_MAX);
    for (i = 0; i < n; i++) {
        le_pfns[i] = cpu_to_le32(pfns[i]);
    }
    qtest_bufwrite(g->qts, BG_REQUEST_BASE, le_pfns, n * sizeof(*le_pfns));
    send_request(g, queue, n);
}

void bg_request_range(BGuest *g, int queue, uint64_t start, uint64_t length)
{
    uint64_t n = length / BALLOON_PAGE;
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    uint64_t i;

    for (i = 0; i < n; i++) {
        pfns[i] = start / BALLOON_PAGE + i;
    }
    bg_request(g, queue, pfns, n);
}

void bg_inflate_unseen(BGuest *g, uint64_t start, uint64_t length)
{
    size_t n = length / BALLOON_PAGE;
    size_t size = n * sizeof(uint32_t);
    g_autofree uint32_t *le_pfns = g_new(uint32_t, n);
    size_t i;

    g_assert_cmpuint(size, <=, BG_REQUEST_SIZE);
    for (i = 0; i < n; i++) {
        le_pfns[i] = cpu_to_le32(start / BALLOON_PAGE + i);
    }
    g_assert_cmpint(pwrite(g->mem_fd, le_pfns, size,
                           g->hva + BG_REQUEST_BASE), ==, size);
    send_request(g, BG_INFLATE, n);
}

void bg_fill(BGuest *g, uint64_t start, uint64_t length, uint8_t seed)
{
    uint64_t addr;

    for (addr = start; addr < start + length; addr += BALLOON_PAGE) {
        uint8_t value = 1 + (addr / BALLOON_PAGE * 7 + seed) % 255;

        qtest_memset(g->qts, addr, value, BALLOON_PAGE);
    }
}

char *bg_find_fd(BGuest *g, const char *what)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd",
                                           (int)qtest_pid(g->qts));
    GDir *d = g_dir_open(dir, 0, NULL);
    char *found = NULL;
    const char *name;

    g_assert_nonnull(d);
    while (!found && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *target = g_file_read_link(path, NULL);

        if (target && strstr(target, what)) {
            found = g_steal_pointer(&path);
        }
    }
    g_dir_close(d);
    return found;
}

/* The memfd of the main memory, opened anew so that seeking is harmless */
static int open_memfd(BGuest *g)
{
    g_autofree char *path = bg_find_fd(g, "memfd:memory-backend-memfd");
    int fd;

    g_assert_nonnull(path);
    fd = open(path, O_RDONLY);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* The kernel's PAGEMAP_SCAN (Linux 6.7), whatever the headers know of it */
#define PAGE_PRESENT (1 << 3)
#define PAGE_SWAPPED (1 << 4)
#define PAGE_ZERO (1 << 5)

typedef struct PageRegion {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
} PageRegion;

typedef struct PagemapScan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
} PagemapScan;

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, PagemapScan)

void bg_forbid_pagemap_scan(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PAGEMAP_SCAN_IOCTL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==,
                    0);
}

/* The same on older kernels, which do not tell zeroes apart */
static void read_page_tables(int fd, uint64_t hva, uint64_t npages,
                             bool *populated)
{
    g_autofree uint64_t *entry = g_new(uint64_t, npages);
    uint64_t i;

    g_assert_cmpint(pread(fd, entry, npages * sizeof(*entry),
                          hva / BALLOON_PAGE * sizeof(*entry)),
                    ==, npages * sizeof(*entry));
    for (i = 0; i < npages; i++) {
        populated[i] = entry[i] >> 62 != 0;
    }
}

/*
 * Set @populated[i] for the pages that QEMU's page tables know, but for the
 * kernel's page of zeroes, which is mapped where untouched memory is read.
 */
static void look_at_page_tables(BGuest *g, uint64_t start, uint64_t npages,
                                bool *populated)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/pagemap",
                                            (int)qtest_pid(g->qts));
    PageRegion regions[256];
    PagemapScan scan = {
        .size = sizeof(scan),
        .start = g->hva + start,
        .end = g->hva + start + npages * BALLOON_PAGE,
        .vec = (uintptr_t)regions,
        .vec_len = ARRAY_SIZE(regions),
        .category_inverted = PAGE_ZERO,
        .category_mask = PAGE_ZERO,
        .category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
        .return_mask = PAGE_ZERO,
    };
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(fd, >=, 0);
    while (scan.start < scan.end) {
        int n = ioctl(fd, PAGEMAP_SCAN_IOCTL, &scan);
        int i;

        if (n < 0) {
            g_assert_cmpint(errno, ==, ENOTTY);
            read_page_tables(fd, g->hva + start, npages, populated);
            break;
        }
        for (i = 0; i < n; i++) {
            uint64_t first = (regions[i].start - g->hva - start)
                             / BALLOON_PAGE;

            memset(populated + first, 1,
                   (regions[i].end - regions[i].start) / BALLOON_PAGE);
        }
        scan.start = scan.walk_end;
    }
    close(fd);
}

/* Set @populated[i] for the pages that the memfd has */
static void look_at_file(BGuest *g, uint64_t start, uint64_t npages,
                         bool *populated)
{
    uint64_t end = start + npages * BALLOON_PAGE;
    int fd = open_memfd(g);
    off_t data = start;

    while ((data = lseek(fd, data, SEEK_DATA)) >= 0 && data < end) {
        off_t hole = MIN(lseek(fd, data, SEEK_HOLE), end);

        memset(populated + (data - start) / BALLOON_PAGE, 1,
               (hole - data) / BALLOON_PAGE);
        data = hole;
    }
    close(fd);
}

int64_t bg_free_huge_pages(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/sys/kernel/mm/hugepages/hugepages-2048kB/"
                               "free_hugepages", &text, NULL, NULL)
           ? g_ascii_strtoll(text, NULL, 10) : 0;
}

bool *bg_populated(BGuest *g, uint64_t start, uint64_t length)
{
    uint64_t npages = length / BALLOON_PAGE;
    bool *populated = g_new0(bool, npages);

    if (g->options.backend == BG_MEMFD ||
        g->options.backend == BG_PRIVATE_MEMFD) {
        look_at_file(g, start, npages, populated);
    }
    if (g->options.backend != BG_MEMFD) {
        look_at_page_tables(g, start, npages, populated);
    }
    return populated;
}

uint64_t bg_count_populated(BGuest *g, uint64_t start, uint64_t length)
{
    g_autofree bool *populated = bg_populated(g, start, length);
    uint64_t i, n = 0;

    for (i = 0; i < length / BALLOON_PAGE; i++) {
        n += populated[i];
    }
    return n;
}

void bg_read(BGuest *g, uint64_t addr, void *buf, size_t size)
{
    g_assert_cmpint(pread(g->mem_fd, buf, size, g->hva + addr), ==, size);
}

bool bg_is_zero(BGuest *g, uint64_t addr)
{
    static const uint8_t zero[BALLOON_PAGE];
    uint8_t page[BALLOON_PAGE];

    bg_read(g, addr, page, sizeof(page));
    return !memcmp(page, zero, sizeof(page));
}

void bg_assert_same_memory(BGuest *a, BGuest *b)
{
    uint64_t size = a->options.ram_size;
    g_autofree bool *populated_a = bg_populated(a, 0, size);
    g_autofree bool *populated_b = bg_populated(b, 0, size);
    uint64_t addr;

    for (addr = 0; addr < size; addr += BALLOON_PAGE) {
        uint8_t page_a[BALLOON_PAGE], page_b[BALLOON_PAGE];

        if (!populated_a[addr / BALLOON_PAGE] &&
            !populated_b[addr / BALLOON_PAGE]) {
            continue;
        }
        bg_read(a, addr, page_a, sizeof(page_a));
        bg_read(b, addr, page_b, sizeof(page_b));
        if (memcmp(page_a, page_b, sizeof(page_a))) {
            g_error("page 0x%" PRIx64 " differs: %02x... on the source, "
                    "%02x... on the destination", addr, page_a[0], page_b[0]);
        }
    }
}

GArray *bg_map_runs(BGuest *g)
{
    GArray *runs = g_array_new(false, false, sizeof(BGRun));
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'id': %s, 'max-runs': 65536 } }",
                           g->ram_id);
    QListEntry *entry;
    QDict *info;

    g_assert(qdict_haskey(rsp, "return"));
    info = qobject_to(QDict,
                      qlist_entry_obj(qlist_first(qdict_get_qlist(rsp,
                                                                  "return"))));
    g_assert_false(qdict_haskey(info, "next-offset"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "runs"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));
        BGRun run = {
            .start = qdict_get_int(value, "offset"),
            .length = qdict_get_int(value, "length"),
        };

        g_array_append_val(runs, run);
    }
    qobject_unref(rsp);
    return runs;
}

void bg_assert_same_map(BGuest *a, BGuest *b)
{
    g_autoptr(GArray) runs_a = bg_map_runs(a);
    g_autoptr(GArray) runs_b = bg_map_runs(b);

    g_assert_cmpmem(runs_a->data, runs_a->len * sizeof(BGRun),
                    runs_b->data, runs_b->len * sizeof(BGRun));
}

void bg_assert_map_let_go(BGuest *g, BGuest *dest)
{
    uint64_t size = g->options.ram_size;
    g_autofree bool *before = bg_populated(g, 0, size);
    g_autofree bool *populated = bg_populated(dest, 0, size);
    g_autoptr(GArray) runs = bg_map_runs(dest);
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);
        uint64_t addr;

        for (addr = run->start; addr < run->start + run->length;
             addr += BALLOON_PAGE) {
            if (populated[addr / BALLOON_PAGE] &&
                !before[addr / BALLOON_PAGE]) {
                g_error("address 0x%" PRIx64 " is in the balloon, and "
                        "populated", addr);
            }
        }
    }
}

uint64_t bg_map_pages(BGuest *g, uint64_t *runs)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'max-runs': %d } }",
                           runs ? 65536 : 0);
    QListEntry *entry;
    uint64_t pages = 0, n = 0;

    g_assert(qdict_haskey(rsp, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        pages += qdict_get_int(info, "pages");
        n += qlist_size(qdict_get_qlist(info, "runs"));
        g_assert(!runs || !qdict_haskey(info, "next-offset"));
    }
    qobject_unref(rsp);
    if (runs) {
        *runs = n;
    }
    return pages;
}

void bg_set_capability(BGuest *g, const char *name, bool on)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': %i } ] } }",
        name, on);
}

bool bg_set_background_snapshot(BGuest *g)
{
    QDict *rsp = qtest_qmp(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': 'background-snapshot',"
        " 'state': true } ] } }");
    bool ret = qdict_haskey(rsp, "return");

    if (!ret) {
        g_test_skip(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"));
    }
    qobject_unref(rsp);
    return ret;
}

void bg_migrate_start(BGuest *source, BGuest *dest)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", dest->socket);

    set_capabilities(source);
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }",
        uri);
}

QDict *bg_query_migrate(BGuest *g)
{
    return qtest_qmp_assert_success_ref(g->qts,
                                        "{ 'execute': 'query-migrate' }");
}

int64_t bg_migrate_stat(BGuest *g, const char *member, const char *name)
{
    QDict *info = bg_query_migrate(g);
    QDict *dict = qdict_get_qdict(info, member);
    int64_t value;

    g_assert_nonnull(dict);
    value = qdict_get_int(dict, name);
    qobject_unref(info);
    return value;
}

/* True once the migration is completed; a failed one ends the test. */
static bool migrate_completed(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    const char *status = qdict_get_try_str(info, "status") ?: "none";
    bool completed;

    if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
        g_error("migration %s: %s", status,
                qdict_get_try_str(info, "error-desc") ?: "");
    }
    completed = !strcmp(status, "completed");
    qobject_unref(info);
    return completed;
}

void bg_wait_some(unsigned int *times)
{
    g_usleep(1000 * MIN(1 + *times / 8, 16));
    (*times)++;
}

void bg_migrate_wait(BGuest *source, BGuest *dest)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;

    while (!migrate_completed(source) ||
           (dest && !migrate_completed(dest))) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
    if (dest) {
        memcpy(dest->queue, source->queue, sizeof(dest->queue));
    }
}

/*
 * Is there, at @bytes, the end of a part of the section of RAM, its footer, and
 * the beginning of the next part, or of the last one, before which the
 * destination is told that the guest has been stopped?  Returns how long that
 * is, or 0.
 */
static gsize is_cut(const uint8_t *bytes, gsize size)
{
    static const uint8_t end[] = { 0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e };
    static const uint8_t stopped[] = { 8, 0, 0xb, 0, 0 };
    gsize id = sizeof(end);
    gsize next = id + 4;
    uint8_t part = 2;

    if (size < next + sizeof(stopped) + 5 || memcmp(bytes, end, sizeof(end))) {
        return 0;
    }
    if (!memcmp(bytes + next, stopped, sizeof(stopped))) {
        next += sizeof(stopped);
        part = 3;
    }
    return bytes[next] == part && !memcmp(bytes + id, bytes + next + 1, 4)
           ? next + 5 : 0;
}

GBytes *bg_record_stream(BGuest *g)
{
    g_autofree char *path = g_strdup_printf("%s/bg-stream-%d",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);
    GByteArray *kept = g_byte_array_new();
    g_autofree char *bytes = NULL;
    gsize size, at, cut, from = 0;

    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    bg_migrate_wait(g, NULL);
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    unlink(path);
    for (at = 0; at < size; at += MAX(cut, 1)) {
        cut = is_cut((uint8_t *)bytes + at, size - at);
        if (cut) {
            g_byte_array_append(kept, (uint8_t *)bytes + from, at - from);
            from = at + cut;
        }
    }
    g_byte_array_append(kept, (uint8_t *)bytes + from, size - from);
    return g_byte_array_free_to_bytes(kept);
}

void bg_migrate_wait_pass(BGuest *source, int64_t n)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;
    int64_t pass = 0;

    while (pass < n) {
        QDict *info = bg_query_migrate(source);
        QDict *ram = qdict_get_qdict(info, "ram");

        g_assert_cmpstr(qdict_get_str(info, "status"), !=, "completed");
        pass = ram ? qdict_get_int(ram, "dirty-sync-count") : 0;
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

/* Nothing is told of RAM while the migration is being set up. */
static int64_t bytes_sent(BGuest *source)
{
    QDict *info = bg_query_migrate(source);
    QDict *ram = qdict_get_qdict(info, "ram");
    int64_t bytes = ram ? qdict_get_int(ram, "transferred") : 0;

    qobject_unref(info);
    return bytes;
}

void bg_migrate_wait_sent(BGuest *source, int64_t bytes)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;

    while (bytes_sent(source) < bytes) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

void bg_migrate_limit(BGuest *source, uint64_t bytes)
{
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'max-bandwidth': %" PRIu64 ", 'downtime-limit': %d } }",
        bytes, bytes ? 1 : 2000);
}

QDict *bg_skip_info(BGuest *source)
{
    QDict *info = bg_query_migrate(source);
    QDict *skip = qdict_get_qdict(info, "skip-balloon");

    if (skip) {
        qobject_ref(skip);
    }
    qobject_unref(info);
    return skip;
}

int64_t bg_skip_stat(BGuest *source, const char *name)
{
    QDict *skip = bg_skip_info(source);
    int64_t value;

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "active");
    value = qdict_get_int(skip, name);
    qobject_unref(skip);
    return value;
}

void bg_wait_status(BGuest *g, const char *status, int seconds)
{
    gint64 end = g_get_monotonic_time() + seconds * (gint64)G_USEC_PER_SEC;
    unsigned int times = 0;
    bool reached = false;

    while (!reached) {
        QDict *info = bg_query_migrate(g);
        const char *now = qdict_get_try_str(info, "status") ?: "none";

        reached = !strcmp(now, status);
        if (!reached && (!strcmp(now, "completed") ||
                         !strcmp(now, "failed"))) {
            g_error("migration %s: %s", now,
                    qdict_get_try_str(info, "error-desc") ?: "");
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

int bg_divert_stderr(const char *path)
{
    int saved = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    g_assert_cmpint(fd, >=, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
    return saved;
}

void bg_restore_stderr(int saved)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
}
