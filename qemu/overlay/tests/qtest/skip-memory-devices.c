/*
 * Both capabilities with devices that bring memory, and with RAM blocks that
 * are resized
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "host-memory.h"
#include "memory-layout.h"
#include "ram-blocks.h"
#include "virtio-mem-guest.h"

#define PREFIX "skip-memory/"

#define HIGH_START (4 * GiB)

#define MACHINE(machine, backend) \
    "-machine " machine ",memory-backend=ram0 -m 16M,slots=2,maxmem=1G " \
    "-object " backend ",id=ram0,size=16M"
#define MAIN_PART .id = "ram0", .addr = 4 * MiB, .offset = 4 * MiB

/* ---- virtio-mem ---- */

#define BLOCK (2 * MiB)

#define VM_SIZE (32 * MiB)
#define VIRTIO_MEM(backend, properties) \
    "-object " backend ",id=vm-ram,size=32M,reserve=off " \
    "-device virtio-mem-pci,id=vm0,addr=7,memdev=vm-ram,memaddr=0x100000000," \
    "block-size=2M," properties
#define VM_ID "0000:00:07.0/vm-ram"
#define VM_PART .id = VM_ID, .addr = HIGH_START, .stays = true

/* Plug all that is played with, leave a gap, and plug one block more. */
static void plug_partly(BGuest *g)
{
    vm_driver_start(g->qts);
    g_assert_true(vm_plug(g->qts, HIGH_START, 5, true));
    g_assert_true(vm_plug(g->qts, HIGH_START + 6 * BLOCK, 2, true));
    bg_fill(g, HIGH_START + 6 * BLOCK, 2 * BLOCK, 9);
    g_assert_true(vm_plug(g->qts, HIGH_START + 7 * BLOCK, 1, false));
    g_assert_cmpuint(vm_plugged_size(g->qts), ==, 6 * BLOCK);
}

static void assert_partly(BGuest *g)
{
    g_assert_cmpuint(vm_plugged_size(g->qts), ==, 6 * BLOCK);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 5 * BLOCK, BLOCK), ==,
                     0);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 7 * BLOCK, 9 * BLOCK), ==,
                     0);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 6 * BLOCK, BLOCK), ==,
                     BLOCK / BALLOON_PAGE);
}

static void compare_partly(BGuest *a, BGuest *b)
{
    assert_partly(a);
    assert_partly(b);
}

static void plug_nothing(BGuest *g)
{
    vm_driver_start(g->qts);
    g_assert_false(vm_plug(g->qts, HIGH_START, 1, true));
}

static void compare_nothing(BGuest *a, BGuest *b)
{
    g_assert_cmpuint(vm_plugged_size(a->qts), ==, 0);
    g_assert_cmpuint(vm_plugged_size(b->qts), ==, 0);
    g_assert_cmpuint(rb_count_populated(a, VM_ID, 0, 16 * BLOCK), ==, 0);
    g_assert_cmpuint(rb_count_populated(b, VM_ID, 0, 16 * BLOCK), ==, 0);
}

/*
 * Give back memory, and unplug it then; plug half of it again.  The balloon map
 * still has all of it.
 */
static void plug_ballooned(BGuest *g)
{
    vm_driver_start(g->qts);
    bg_driver_start(g, 1U << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    g_assert_true(vm_plug(g->qts, HIGH_START, 2, true));
    bg_fill(g, HIGH_START, 2 * BLOCK, 9);
    bg_request_range(g, BG_INFLATE, HIGH_START, 2 * BLOCK);
    g_assert_true(vm_plug(g->qts, HIGH_START, 2, false));
    g_assert_true(vm_plug(g->qts, HIGH_START, 1, true));
    bg_fill(g, HIGH_START, BLOCK / 2, 10);
}

/* ---- Memory of PCI devices ---- */

#define PCI_SLOT 6
#define PCI_MEMORY UINT64_C(0xe0000000)

static void pci_map(BGuest *g, unsigned int bar)
{
    qtest_outl(g->qts, 0xcf8, 1U << 31 | PCI_SLOT << 11 | (0x10 + 4 * bar));
    qtest_outl(g->qts, 0xcfc, PCI_MEMORY);
    qtest_outl(g->qts, 0xcf8, 1U << 31 | PCI_SLOT << 11 | 4);
    qtest_outl(g->qts, 0xcfc, 7);
}

static void map_vga(BGuest *g)
{
    pci_map(g, 0);
}

static void map_ivshmem(BGuest *g)
{
    pci_map(g, 2);
}

/* ---- RAM blocks that have another size on the destination ---- */

#define TABLES_ID "/rom@etc/acpi/tables"
#define TABLE "-acpitable sig=TEST,data=" ML_FILE
#define TABLES TABLE " " TABLE " " TABLE
#define TABLES_SMALL (128 * KiB)

static uint64_t tables_size(BGuest *g)
{
    GArray *blocks = rb_list(g);
    uint64_t size = rb_find(blocks, TABLES_ID)->size;

    rb_free(blocks);
    return size;
}

static void prepare_small(BGuest *g)
{
    g_assert_cmpuint(tables_size(g), ==, TABLES_SMALL);
}

static void prepare_large(BGuest *g)
{
    g_assert_cmpuint(tables_size(g), >, TABLES_SMALL);
}

/* That both sides have the same size is looked at by all tests. */
static void compare_small(BGuest *a, BGuest *b)
{
    g_assert_cmpuint(tables_size(b), ==, TABLES_SMALL);
}

static void compare_large(BGuest *a, BGuest *b)
{
    g_assert_cmpuint(tables_size(b), >, TABLES_SMALL);
}

/* ---- Layouts ---- */

static const MLayout layouts[] = {
    { .name = "virtio-mem/partly",
      .machine = MACHINE("pc", "memory-backend-memfd"),
      .args = VIRTIO_MEM("memory-backend-ram", "requested-size=16M"),
      .prepare = plug_partly, .compare = compare_partly, .each_alone = true,
      .part = { { MAIN_PART }, { VM_PART } } },
    { .name = "virtio-mem/partly-memfd",
      .machine = MACHINE("q35", "memory-backend-ram"),
      .args = VIRTIO_MEM("memory-backend-memfd", "requested-size=16M"),
      .prepare = plug_partly, .compare = compare_partly, .each_alone = true,
      .part = { { MAIN_PART }, { VM_PART } } },
    { .name = "virtio-mem/slots",
      .machine = MACHINE("pc", "memory-backend-memfd"),
      .args = VIRTIO_MEM("memory-backend-ram",
                         "requested-size=16M,dynamic-memslots=on"),
      .prepare = plug_partly, .compare = compare_partly,
      .part = { { MAIN_PART }, { VM_PART } } },
    { .name = "virtio-mem/nothing",
      .machine = MACHINE("pc", "memory-backend-memfd"),
      .args = VIRTIO_MEM("memory-backend-memfd", "requested-size=0"),
      .prepare = plug_nothing, .compare = compare_nothing,
      .part = { { MAIN_PART } } },
    { .name = "beside/vga", .machine = MACHINE("pc", "memory-backend-memfd"),
      .args = "-device VGA,vgamem_mb=16,addr=6", .prepare = map_vga,
      .part = { { MAIN_PART }, { .id = "0000:00:06.0/vga.vram",
                                 .addr = PCI_MEMORY,
                                 .alone = "not-guest-ram" } } },
    { .name = "beside/ivshmem",
      .machine = MACHINE("q35", "memory-backend-memfd"),
      .args = "-object memory-backend-memfd,id=shm,size=16M,share=on "
              "-device ivshmem-plain,memdev=shm,master=on,addr=6",
      .prepare = map_ivshmem,
      .part = { { MAIN_PART }, { .id = "0000:00:06.0/shm",
                                 .addr = PCI_MEMORY } } },
    { .name = "resized/smaller",
      .machine = MACHINE("pc", "memory-backend-memfd"),
      .dest_args = TABLES, .file_size = 60000,
      .prepare = prepare_small, .compare = compare_small,
      .part = { { MAIN_PART } } },
    { .name = "resized/larger",
      .machine = MACHINE("q35", "memory-backend-ram"),
      .source_args = TABLES, .file_size = 60000,
      .prepare = prepare_large, .compare = compare_large,
      .part = { { MAIN_PART } } },
};

/* ---- What QEMU does not allow ---- */

static void expect_error(QDict *rsp, const char *text)
{
    QDict *error = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(error);
    if (!strstr(qdict_get_str(error, "desc"), text)) {
        g_error("not the error expected: %s", qdict_get_str(error, "desc"));
    }
    qobject_unref(rsp);
}

static void test_second_balloon(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-ram"),
    };
    MLGuest *m = ml_start(&layout, false);

    bg_driver_start(m->g, 1U << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_request_range(m->g, BG_INFLATE, 4 * MiB, MiB);
    expect_error(qtest_qmp(m->g->qts, "{ 'execute': 'device_add',"
                           " 'arguments': { 'driver': 'virtio-balloon-pci',"
                           " 'id': 'second', 'must-tell-host': true } }"),
                 "Only one balloon device");
    /* The first one is as it was. */
    g_assert_cmpuint(bg_map_pages(m->g, NULL), ==, MiB / BALLOON_PAGE);
    bg_request_range(m->g, BG_INFLATE, 5 * MiB, MiB);
    g_assert_cmpuint(bg_map_pages(m->g, NULL), ==, 2 * MiB / BALLOON_PAGE);
    ml_quit(m);
}

#define DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                  "-device pc-dimm,id=dimm0,memdev=dimm-ram"

/* DIMMs are not plugged, nor unplugged, while a migration is under way. */
static void try_to_plug(BGuest *g)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'memory-backend-ram', 'id': 'late-ram',"
        " 'size': 134217728 } }");
    expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_add', 'arguments': {"
                           " 'driver': 'pc-dimm', 'id': 'late',"
                           " 'memdev': 'late-ram' } }"),
                 "not allowed while migrating");
    expect_error(qtest_qmp(g->qts, "{ 'execute': 'device_del',"
                           " 'arguments': { 'id': 'dimm0' } }"),
                 "not allowed while migrating");
}

static void test_plug_during(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .args = DIMM_ARGS,
    };
    MLGuest *source = ml_start(&layout, false);
    MLGuest *dest = ml_start(&layout, true);
    g_autofree char *map = NULL;
    g_autofree char *map_there = NULL;

    bg_driver_start(source->g, 1U << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(source->g, 4 * MiB, 8 * MiB, 1);
    bg_fill(source->g, HIGH_START, 4 * MiB, 2);
    bg_request_range(source->g, BG_INFLATE, HIGH_START, MiB);
    ml_set_mode(source->g, ML_BOTH);
    ml_set_mode(dest->g, ML_BOTH);
    ml_migrate_begin(source->g, dest->g, ML_SLOW);
    try_to_plug(source->g);
    bg_request_range(source->g, BG_INFLATE, HIGH_START + 2 * MiB, MiB);
    ml_migrate_finish(source->g, dest->g);

    map = rb_map(source->g);
    map_there = rb_map(dest->g);
    g_assert_cmpstr(map, ==, map_there);
    g_assert_cmpuint(rb_map_pages(dest->g, "dimm-ram"), ==,
                     2 * MiB / BALLOON_PAGE);
    rb_assert_map_let_go(source->g, dest->g, "dimm-ram");
    rb_assert_same_memory(source->g, dest->g, NULL, 0, 0);
    ml_quit(dest);
    ml_quit(source);
}

/* Unplugged while it is in the balloon, and a half of it plugged again */
static void test_virtio_mem_ballooned(void)
{
    static const MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .args = VIRTIO_MEM("memory-backend-memfd", "requested-size=16M"),
    };
    MLGuest *source = ml_start(&layout, false);
    MLGuest *dest = ml_start(&layout, true);
    g_autofree char *map = NULL;
    g_autofree char *map_there = NULL;

    plug_ballooned(source->g);
    ml_set_mode(source->g, ML_BALLOON);
    ml_migrate_begin(source->g, dest->g, ML_SLOW);
    /* The device is busy while a migration is under way. */
    g_assert_false(vm_plug(source->g->qts, HIGH_START + BLOCK, 1, true));
    g_assert_false(vm_plug(source->g->qts, HIGH_START, 1, false));
    ml_migrate_finish(source->g, dest->g);
    map = rb_map(source->g);
    map_there = rb_map(dest->g);
    g_assert_cmpstr(map, ==, map_there);
    g_assert_cmpuint(vm_plugged_size(dest->g->qts), ==, BLOCK);
    g_assert_cmpuint(rb_count_populated(dest->g, VM_ID, 0, 16 * BLOCK), ==,
                     BLOCK / 2 / BALLOON_PAGE);
    rb_assert_same_memory(source->g, dest->g, NULL, 0, 0);
    ml_quit(dest);
    ml_quit(source);
}

/* A file of huge pages that an earlier guest has left */
static void make_used_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    void *content;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, VM_SIZE), ==, 0);
    content = mmap(NULL, VM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(content != MAP_FAILED);
    memset(content, 'x', VM_SIZE);
    munmap(content, VM_SIZE);
    close(fd);
}

/*
 * The host does not tell what such a file holds, and the device on the
 * destination not yet what is plugged.
 */
static void check_virtio_mem_used(const char *path)
{
    g_autofree char *used = g_strdup_printf(
        VIRTIO_MEM("memory-backend-file,share=on,mem-path=%s",
                   "requested-size=16M"), path);
    MLayout layout = {
        .machine = MACHINE("pc", "memory-backend-memfd"),
        .source_args = VIRTIO_MEM("memory-backend-memfd,hugetlb=on,"
                                  "hugetlbsize=2M", "requested-size=16M"),
        .dest_args = used,
    };
    MLGuest *source = ml_start(&layout, false);
    MLGuest *dest = ml_start(&layout, true);
    uint64_t offset;

    vm_driver_start(source->g->qts);
    g_assert_true(vm_plug(source->g->qts, HIGH_START, 2, true));
    bg_fill(source->g, HIGH_START, BLOCK, 9);
    ml_set_mode(source->g, ML_UNPOPULATED);
    ml_set_mode(dest->g, ML_UNPOPULATED);
    ml_migrate_begin(source->g, dest->g, ML_SLOW);
    ml_migrate_finish(source->g, dest->g);
    g_assert_cmpuint(vm_plugged_size(dest->g->qts), ==, 2 * BLOCK);
    for (offset = 0; offset < 2 * BLOCK; offset += BALLOON_PAGE) {
        g_assert_cmphex(qtest_readq(dest->g->qts, HIGH_START + offset), ==,
                        qtest_readq(source->g->qts, HIGH_START + offset));
    }
    ml_quit(dest);
    ml_quit(source);
}

static void test_virtio_mem_used(void)
{
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    bool mounted;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(2 * VM_SIZE);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    g_assert_false(mounted);
    path = hm_temp_path(dir, "used");
    make_used_file(path);
    check_virtio_mem_used(path);
    unlink(path);
}

void add_device_tests(void)
{
    ml_add_layouts(layouts, ARRAY_SIZE(layouts));
    qtest_add_func(PREFIX "virtio-mem/ballooned", test_virtio_mem_ballooned);
    qtest_add_func(PREFIX "virtio-mem/used", test_virtio_mem_used);
    qtest_add_func(PREFIX "refused/second-balloon", test_second_balloon);
    qtest_add_func(PREFIX "refused/plug-during", test_plug_during);
}
