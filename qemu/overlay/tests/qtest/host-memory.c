/*
 * Memory, as tests of all programs need it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_mem.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "host-memory.h"

#define HUGE_SYSFS "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define HUGETLBFS 0x958458f6
#define TMPFS 0x01021994

char *hm_temp_path(const char *dir, const char *name)
{
    static int n;

    return g_strdup_printf("%s/skip-test-%d-%d-%s", dir, getpid(), n++, name);
}

/* By a mapping: hugetlbfs knows no other way. */
void hm_make_file(const char *path, uint64_t size, uint64_t start,
                  uint64_t length)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *text;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    text = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
    g_assert_true(text != MAP_FAILED);
    memset(text, 'x', length);
    munmap(text, length);
    close(fd);
}

/* ---- File systems ---- */

const char *hm_find_tmpfs(void)
{
    struct statfs fs;

    return !statfs("/dev/shm", &fs) && fs.f_type == TMPFS &&
           !access("/dev/shm", W_OK) ? "/dev/shm" : NULL;
}

const char *hm_tmpfs_or_skip(void)
{
    if (!hm_find_tmpfs()) {
        g_test_skip("/dev/shm is no tmpfs to write to");
    }
    return hm_find_tmpfs();
}

char *hm_find_hugetlbfs(bool *mounted)
{
    g_autofree char *text = NULL;
    g_autofree char *own = hm_temp_path(g_get_tmp_dir(), "hugetlbfs");
    g_auto(GStrv) lines = NULL;
    int i;

    *mounted = false;
    g_assert_true(g_file_get_contents("/proc/mounts", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 4);

        if (g_strv_length(words) == 4 && !strcmp(words[2], "hugetlbfs") &&
            !access(words[1], W_OK)) {
            return g_strdup(words[1]);
        }
    }
    if (mkdir(own, 0700) < 0 ||
        mount("none", own, "hugetlbfs", 0, "pagesize=2M") < 0) {
        rmdir(own);
        return NULL;
    }
    *mounted = true;
    return g_steal_pointer(&own);
}

/* ---- Huge pages ---- */

static uint64_t read_number(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL)
           ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static void set_huge_pages(uint64_t value)
{
    FILE *file = fopen(HUGE_SYSFS "nr_hugepages", "w");

    if (file) {
        fprintf(file, "%" PRIu64 "\n", value);
        fclose(file);
    }
}

bool hm_passes_in_subprocess(void)
{
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    return g_test_trap_has_passed();
}

/* Those that are free, but for what somebody has reserved */
static uint64_t unused_huge_pages(void)
{
    return read_number(HUGE_SYSFS "free_hugepages") -
           read_number(HUGE_SYSFS "resv_hugepages");
}

void hm_test_with_huge_pages(uint64_t bytes)
{
    uint64_t needed = DIV_ROUND_UP(bytes, HM_HUGE_SIZE), before, unused;
    g_autofree char *message = g_strdup_printf(
        "fewer than %" PRIu64 " free huge pages of 2 MiB", needed);
    /*
     * What tests borrow and give back is one number of the host, and two that
     * find the same pages free would both take them.  So one at a time has
     * huge pages.
     */
    int fd = open(HUGE_SYSFS "nr_hugepages", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        flock(fd, LOCK_EX);
    }
    before = read_number(HUGE_SYSFS "nr_hugepages");
    unused = unused_huge_pages();
    if (unused < needed) {
        set_huge_pages(before + needed - unused);
    }
    if (unused_huge_pages() < needed) {
        g_test_skip(message);
    } else if (!hm_passes_in_subprocess()) {
        g_test_fail();
    }
    if (read_number(HUGE_SYSFS "nr_hugepages") != before) {
        set_huge_pages(before);
    }
    close(fd);
}

void hm_test_on_hugetlbfs(uint64_t bytes)
{
    bool mounted;
    g_autofree char *dir = hm_find_hugetlbfs(&mounted);

    if (!dir) {
        g_test_skip("no hugetlbfs is mounted");
        return;
    }
    hm_test_with_huge_pages(bytes);
    if (mounted) {
        umount(dir);
        rmdir(dir);
    }
}

/* ---- Snapshots on qcow2 ---- */

static bool is_concluded(BGuest *g, const char *id)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-jobs' }");
    bool concluded = false;
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *job = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(job, "id"), id) &&
            !strcmp(qdict_get_str(job, "status"), "concluded")) {
            g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
            concluded = true;
        }
    }
    qobject_unref(rsp);
    return concluded;
}

static void wait_for_job(BGuest *g, const char *id)
{
    BG_WAIT(is_concluded(g, id));
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'job-dismiss', 'arguments': { 'id': %s } }", id);
}

void hm_add_disk(BGuest *g, const char *path)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-create', 'arguments': {"
        " 'job-id': 'file', 'options': { 'driver': 'file', 'filename': %s,"
        " 'size': 0 } } }", path);
    wait_for_job(g, "file");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-add', 'arguments': {"
        " 'driver': 'file', 'filename': %s, 'node-name': 'file' } }", path);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-create', 'arguments': {"
        " 'job-id': 'qcow2', 'options': { 'driver': 'qcow2', 'file': 'file',"
        " 'size': 1048576 } } }");
    wait_for_job(g, "qcow2");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-add', 'arguments': {"
        " 'driver': 'qcow2', 'file': 'file', 'node-name': 'disk' } }");
}

void hm_snapshot(BGuest *g, const char *command)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'job-id': 'snapshot',"
        " 'tag': 'one', 'vmstate': 'disk', 'devices': [ 'disk' ] } }",
        command);
    wait_for_job(g, "snapshot");
}

/* ---- What is behind a RAM block ---- */

typedef struct RamBlock {
    char id[256];
    uint64_t hva;
    uint64_t size;              /* bytes that are in use */
    bool shared;                /* a shared mapping */
    int fd;                     /* of a file that tells holes, or -1 */
    uint64_t fd_offset;         /* bytes */
} RamBlock;

static void close_block(gpointer data)
{
    RamBlock *block = data;

    if (block->fd >= 0) {
        close(block->fd);
    }
}

/* Open the file that is mapped, by what /proc/PID/maps tells of it. */
static int open_mapped(BGuest *g, const char *target, uint64_t inode)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd",
                                           (int)qtest_pid(g->qts));
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    struct statfs fs;
    int fd = -1;

    g_assert_nonnull(d);
    while (fd < 0 && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *link = g_file_read_link(path, NULL);
        struct stat st;

        if (!g_strcmp0(link, target) && !stat(path, &st) &&
            st.st_ino == inode) {
            fd = open(path, O_RDONLY);
        }
    }
    g_dir_close(d);
    /* hugetlbfs does not tell holes. */
    if (fd >= 0 && !fstatfs(fd, &fs) && (uint32_t)fs.f_type == HUGETLBFS) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Find the mapping that a RAM block begins in, and the file behind it. */
static void find_mapping(BGuest *g, RamBlock *block)
{
    g_autofree char *text = bg_proc(g, "maps");
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    int i;

    for (i = 0; lines[i]; i++) {
        uint64_t start, end, offset, inode;
        char access[5];
        int name = 0;

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %"
                   SCNu64 " %n", &start, &end, access, &offset, &inode,
                   &name) >= 5 && block->hva >= start && block->hva < end) {
            block->shared = access[3] == 's';
            block->fd = inode ? open_mapped(g, lines[i] + name, inode) : -1;
            block->fd_offset = offset + block->hva - start;
            return;
        }
    }
    g_error("RAM block %s is mapped nowhere", block->id);
}

static GArray *list_blocks(BGuest *g)
{
    GArray *blocks = g_array_new(false, true, sizeof(RamBlock));
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-ramblock' }");
    g_auto(GStrv) lines = g_strsplit(
        qdict_get_str(rsp, "human-readable-text"), "\n", -1);
    int i;

    g_array_set_clear_func(blocks, close_block);
    for (i = 0; lines[i]; i++) {
        RamBlock block = { };

        if (sscanf(lines[i], " %255s %*u %*s 0x%*x 0x%" SCNx64 " 0x%*x 0x%"
                   SCNx64, block.id, &block.size, &block.hva) == 3) {
            find_mapping(g, &block);
            g_array_append_val(blocks, block);
        }
    }
    qobject_unref(rsp);
    g_assert_cmpuint(blocks->len, >, 0);
    return blocks;
}

static RamBlock *get_block(GArray *blocks, const char *id)
{
    unsigned int i;

    for (i = 0; i < blocks->len; i++) {
        RamBlock *block = &g_array_index(blocks, RamBlock, i);

        if (!strcmp(block->id, id)) {
            return block;
        }
    }
    g_error("there is no RAM block %s", id);
}

uint64_t rb_size(BGuest *g, const char *id)
{
    g_autoptr(GArray) blocks = list_blocks(g);

    return get_block(blocks, id)->size;
}

/* ---- Populated ---- */

/* An element for each page, owned by the caller */
static bool *populated_of(BGuest *g, const RamBlock *block)
{
    off_t data = block->fd_offset, end = block->fd_offset + block->size;
    BGuest view = *g;
    bool *populated;

    if (block->fd >= 0 && block->shared) {
        populated = g_new0(bool, block->size / BALLOON_PAGE);
    } else {
        /* As private memory, for the page tables to be asked */
        view.hva = block->hva;
        view.options.backend = BG_ANON;
        populated = bg_populated(&view, 0, block->size);
    }
    while (block->fd >= 0 && data < end &&
           (data = lseek(block->fd, data, SEEK_DATA)) >= 0 && data < end) {
        off_t hole = MIN(lseek(block->fd, data, SEEK_HOLE), end);

        memset(populated + (data - block->fd_offset) / BALLOON_PAGE, 1,
               DIV_ROUND_UP(hole - data, BALLOON_PAGE));
        data = hole;
    }
    return populated;
}

static bool *populated_of_id(BGuest *g, const char *id)
{
    g_autoptr(GArray) blocks = list_blocks(g);

    return populated_of(g, get_block(blocks, id));
}

uint64_t rb_count_populated(BGuest *g, const char *id, uint64_t start,
                            uint64_t length)
{
    g_autofree bool *populated = populated_of_id(g, id);
    uint64_t i, n = 0;

    for (i = 0; i < length / BALLOON_PAGE; i++) {
        n += populated[start / BALLOON_PAGE + i];
    }
    return n;
}

/* ---- The balloon map ---- */

/* Is anything populated of the unit that @page lies in? */
static bool any_populated(const bool *populated, uint64_t page, uint64_t unit)
{
    const uint64_t n = unit / BALLOON_PAGE;

    return memchr(populated + QEMU_ALIGN_DOWN(page, n), true, n);
}

uint64_t rb_map_pages(BGuest *g, const char *id, uint64_t *populated,
                      uint64_t unit)
{
    uint64_t page, pages = rb_size(g, id) / BALLOON_PAGE, n = 0;
    g_autofree bool *map = bg_map_bits(g, id, pages * BALLOON_PAGE);
    g_autofree bool *found = populated ? populated_of_id(g, id) : NULL;

    if (populated) {
        *populated = 0;
    }
    for (page = 0; page < pages; page++) {
        n += map[page];
        if (map[page] && populated) {
            *populated += any_populated(found, page, unit);
        }
    }
    return n;
}

void rb_assert_map_let_go(BGuest *g, BGuest *dest, const char *id)
{
    uint64_t page, pages = rb_size(dest, id) / BALLOON_PAGE;
    g_autofree bool *map = bg_map_bits(dest, id, pages * BALLOON_PAGE);
    g_autofree bool *before = populated_of_id(g, id);
    g_autofree bool *populated = populated_of_id(dest, id);

    for (page = 0; page < pages; page++) {
        if (map[page] && populated[page] &&
            !any_populated(before, page, bg_target_page())) {
            g_error("%s: page 0x%" PRIx64 " is in the balloon, and populated",
                    id, page * BALLOON_PAGE);
        }
    }
}

/* ---- Content ---- */

/* What is not populated is zero, and not read, for that might populate it. */
static void read_page(BGuest *g, const RamBlock *block, bool populated,
                      uint64_t offset, uint8_t *buf)
{
    memset(buf, 0, BALLOON_PAGE);
    g_assert_true(!populated ||
                  pread(g->mem_fd, buf, BALLOON_PAGE, block->hva + offset) ==
                  BALLOON_PAGE);
}

uint8_t rb_byte(BGuest *g, const char *id, uint64_t offset)
{
    g_autoptr(GArray) blocks = list_blocks(g);
    uint8_t page[BALLOON_PAGE];

    read_page(g, get_block(blocks, id), true,
              QEMU_ALIGN_DOWN(offset, BALLOON_PAGE), page);
    return page[offset % BALLOON_PAGE];
}

static void assert_same_block(BGuest *a, BGuest *b, const RamBlock *in_a,
                              const RamBlock *in_b)
{
    g_autofree bool *populated_a = populated_of(a, in_a);
    g_autofree bool *populated_b = populated_of(b, in_b);
    QDict *map_a = bg_map_info(a, in_a->id, BG_MAX_RUNS, false);
    QDict *map_b = bg_map_info(b, in_b->id, BG_MAX_RUNS, false);
    uint64_t page;

    g_assert_cmphex(in_a->size, ==, in_b->size);
    g_assert_false(qdict_haskey(map_a, "next-offset"));
    for (page = 0; page < in_a->size / BALLOON_PAGE; page++) {
        uint64_t offset = page * BALLOON_PAGE;
        uint8_t page_a[BALLOON_PAGE], page_b[BALLOON_PAGE];

        if (!populated_a[page] && !populated_b[page]) {
            continue;
        }
        read_page(a, in_a, populated_a[page], offset, page_a);
        read_page(b, in_b, populated_b[page], offset, page_b);
        if (memcmp(page_a, page_b, BALLOON_PAGE)) {
            g_error("%s: page 0x%" PRIx64 " differs: %02x... on the source, "
                    "%02x... on the destination", in_a->id, offset, page_a[0],
                    page_b[0]);
        }
    }
    if (!qobject_is_equal(QOBJECT(map_a), QOBJECT(map_b))) {
        g_autoptr(GString) is = qobject_to_json(QOBJECT(map_b));
        g_autoptr(GString) was = qobject_to_json(QOBJECT(map_a));

        g_error("the balloon map is %s, and not %s", is->str, was->str);
    }
    qobject_unref(map_a);
    qobject_unref(map_b);
}

void rb_assert_same(BGuest *a, BGuest *b)
{
    g_autoptr(GArray) in_a = list_blocks(a);
    g_autoptr(GArray) in_b = list_blocks(b);
    unsigned int i;

    g_assert_cmpuint(in_a->len, ==, in_b->len);
    for (i = 0; i < in_a->len; i++) {
        RamBlock *block = &g_array_index(in_a, RamBlock, i);

        assert_same_block(a, b, block, get_block(in_b, block->id));
    }
}

/* ---- virtio-mem, a driver of few registers ---- */

/* Where the registers are put; BAR 4 has them all */
#define BAR4_REG 0x20
#define BAR4 UINT64_C(0xf0000000)
#define COMMON(field) (BAR4 + VIRTIO_PCI_COMMON_##field)
#define CONFIG(field) (BAR4 + 0x2000 + \
                       offsetof(struct virtio_mem_config, field))
#define NOTIFY (BAR4 + 0x3000)

/* Its one queue is in low memory, which nobody else uses. */
#define QUEUE_SIZE 8
#define DESC UINT64_C(0x80000)
#define AVAIL UINT64_C(0x81000)
#define USED UINT64_C(0x82000)
#define REQUEST UINT64_C(0x83000)
#define RESPONSE UINT64_C(0x84000)

static void pci_write(QTestState *qts, unsigned int reg, uint32_t value)
{
    qtest_outl(qts, 0xcf8, 1U << 31 | VM_SLOT << 11 | reg);
    qtest_outl(qts, 0xcfc, value);
}

static void accept_all_features(QTestState *qts)
{
    int i;

    for (i = 0; i < 2; i++) {
        qtest_writel(qts, COMMON(DFSELECT), i);
        qtest_writel(qts, COMMON(GFSELECT), i);
        /* Of the others, those that are about rings would bind us. */
        qtest_writel(qts, COMMON(GF), i == 0
                     ? qtest_readl(qts, COMMON(DF)) & 0xffffff
                     : 1 << (VIRTIO_F_VERSION_1 - 32));
    }
}

void vm_driver_start(QTestState *qts)
{
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    pci_write(qts, BAR4_REG, BAR4);
    pci_write(qts, BAR4_REG + 4, 0);
    pci_write(qts, 4, 6);
    qtest_writeb(qts, COMMON(STATUS), 0);
    qtest_writeb(qts, COMMON(STATUS), status);
    accept_all_features(qts);
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    qtest_writeb(qts, COMMON(STATUS), status);
    g_assert_cmphex(qtest_readb(qts, COMMON(STATUS)), ==, status);

    qtest_memset(qts, DESC, 0, RESPONSE - DESC);
    qtest_writew(qts, COMMON(Q_SELECT), 0);
    qtest_writew(qts, COMMON(Q_SIZE), QUEUE_SIZE);
    qtest_writeq(qts, COMMON(Q_DESCLO), DESC);
    qtest_writeq(qts, COMMON(Q_AVAILLO), AVAIL);
    qtest_writeq(qts, COMMON(Q_USEDLO), USED);
    qtest_writew(qts, COMMON(Q_ENABLE), 1);
    qtest_writeb(qts, COMMON(STATUS), status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void write_desc(QTestState *qts, int i, uint64_t addr, uint32_t length,
                       uint16_t flags)
{
    qtest_writeq(qts, DESC + i * 16, addr);
    qtest_writel(qts, DESC + i * 16 + 8, length);
    qtest_writew(qts, DESC + i * 16 + 12, flags);
    qtest_writew(qts, DESC + i * 16 + 14, i + 1);
}

bool vm_plug(QTestState *qts, uint64_t addr, uint16_t blocks, bool plug)
{
    struct virtio_mem_req req = {
        .type = cpu_to_le16(plug ? VIRTIO_MEM_REQ_PLUG
                                 : VIRTIO_MEM_REQ_UNPLUG),
        .u.plug = { cpu_to_le64(addr), cpu_to_le16(blocks) },
    };
    uint16_t added = qtest_readw(qts, AVAIL + 2);

    qtest_memwrite(qts, REQUEST, &req, sizeof(req));
    write_desc(qts, 0, REQUEST, sizeof(req), VRING_DESC_F_NEXT);
    write_desc(qts, 1, RESPONSE, sizeof(struct virtio_mem_resp),
               VRING_DESC_F_WRITE);
    qtest_writew(qts, AVAIL + 4 + added % QUEUE_SIZE * 2, 0);
    qtest_writew(qts, AVAIL + 2, ++added);
    qtest_writew(qts, NOTIFY, 0);
    BG_WAIT(qtest_readw(qts, USED + 2) == added);
    return qtest_readw(qts, RESPONSE) == VIRTIO_MEM_RESP_ACK;
}

uint64_t vm_plugged_size(QTestState *qts)
{
    return qtest_readq(qts, CONFIG(plugged_size));
}
