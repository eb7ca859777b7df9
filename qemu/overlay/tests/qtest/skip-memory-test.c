/*
 * Tests of both capabilities with each memory layout that QEMU has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "memory-layout.h"

/* ---- DIMMs ---- */

static void plug_dimm(BGuest *g, const char *backend)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': { 'qom-type': %s,"
        " 'id': 'dimm-ram', 'size': %" PRIu64 " } }", backend, 128 * MiB);
    qtest_qmp_device_add(g->qts, "pc-dimm", "dimm0",
                         "{ 'memdev': 'dimm-ram' }");
}

static void plug_anon_dimm(BGuest *g)
{
    plug_dimm(g, "memory-backend-ram");
}

static void plug_memfd_dimm(BGuest *g)
{
    plug_dimm(g, "memory-backend-memfd");
}

/* Give back memory of a DIMM, and the whole DIMM then. */
static void plug_and_give_away(BGuest *g)
{
    plug_anon_dimm(g);
    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_fill(g, HM_HIGH_START, 2 * MiB, 1);
    bg_request_range(g, BG_INFLATE, HM_HIGH_START + MiB, 4 * MiB);
    g_assert_cmpuint(rb_map_pages(g, "dimm-ram", NULL, 0), ==,
                     4 * MiB / BALLOON_PAGE);
    bg_unplug_dimm(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
}

/* The same, and plug another one in its place. */
static void replace_dimm(BGuest *g)
{
    plug_and_give_away(g);
    plug_anon_dimm(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
}

/* ---- virtio-mem ---- */

/* Plug all that is played with, leave a gap, and plug one block more. */
static void plug_partly(BGuest *g)
{
    vm_driver_start(g->qts);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, 5, true));
    g_assert_true(vm_plug(g->qts, HM_HIGH_START + 6 * VM_BLOCK, 2, true));
    bg_fill(g, HM_HIGH_START + 6 * VM_BLOCK, 2 * VM_BLOCK, 9);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START + 7 * VM_BLOCK, 1, false));
}

static void check_partly(BGuest *g)
{
    g_assert_cmpuint(vm_plugged_size(g->qts), ==, 6 * VM_BLOCK);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 5 * VM_BLOCK, VM_BLOCK), ==,
                     0);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 6 * VM_BLOCK, 10 * VM_BLOCK),
                     ==, VM_BLOCK / BALLOON_PAGE);
}

static void plug_nothing(BGuest *g)
{
    vm_driver_start(g->qts);
    g_assert_false(vm_plug(g->qts, HM_HIGH_START, 1, true));
}

static void check_nothing(BGuest *g)
{
    g_assert_cmpuint(vm_plugged_size(g->qts), ==, 0);
    g_assert_cmpuint(rb_count_populated(g, VM_ID, 0, VM_SIZE), ==, 0);
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

/* ---- A RAM block that has another size on the destination ---- */

/* That both sides have the same size in the end is looked at by all tests. */
#define TABLES_ID "/rom@etc/acpi/tables"
#define TABLE "-acpitable sig=TEST,data=" ML_FILE
#define TABLES TABLE " " TABLE " " TABLE
#define TABLES_SMALL (128 * KiB)

static void check_small(BGuest *g)
{
    g_assert_cmpuint(rb_size(g, TABLES_ID), ==, TABLES_SMALL);
}

static void check_large(BGuest *g)
{
    g_assert_cmpuint(rb_size(g, TABLES_ID), >, TABLES_SMALL);
}

/* ---- Layouts ---- */

#define PC(backend) .machine = MACHINE("pc", backend)
#define Q35(backend) .machine = MACHINE("q35", backend)
#define RAM "memory-backend-ram"
#define MEMFD "memory-backend-memfd"
#define FILE_RAM(properties) "memory-backend-file,mem-path=" ML_FILE "," \
                             properties

#define MAIN .part = { { MAIN_PART } }
#define MAIN_AND(...) .part = { { MAIN_PART }, { __VA_ARGS__ } }

/* Memory in a file of a file system that populates more than is asked for */
#define ON_DISK .part = { { MAIN_PART, .blurred = true } }
#define ON_FULL_DISK .part = { { MAIN_PART, .blurred = true, .full = true } }

/* A file on tmpfs that was used before */
#define TMPFS .dir = "/dev/shm", .file_size = 16 * MiB

/* The main memory without a backend */
#define PC_RAM .id = "pc.ram", .addr = 4 * MiB, .offset = 4 * MiB

/* A machine with 16 MiB below the hole for devices, and 16 MiB above it */
#define SPLIT(machine, backend) \
    "-machine " machine ",max-ram-below-4g=16M,memory-backend=ram0 -m 32M " \
    "-object " backend ",id=ram0,size=32M"
#define SPLIT_PARTS \
    { { MAIN_PART }, \
      { .id = "ram0", .addr = HM_HIGH_START, .offset = 16 * MiB } }

/* The same where the hole is by default, most of it never touched */
#define LARGE(machine) \
    "-machine " machine ",memory-backend=ram0 -m 5G " \
    "-object memory-backend-memfd,id=ram0,size=5G"
#define LARGE_PART(below) \
    { { .id = "ram0", .addr = (below) - 16 * MiB, \
        .offset = (below) - 16 * MiB }, \
      { .id = "ram0", .addr = HM_HIGH_START, .offset = (below) }, \
      { .id = "ram0", .addr = HM_HIGH_START + (5 * GiB - (below)) - 9 * MiB, \
        .offset = 5 * GiB - 9 * MiB } }

#define NVDIMM(properties) \
    "-machine nvdimm=on " \
    "-object memory-backend-file,id=nv-ram,size=16M,mem-path=" ML_FILE "," \
    properties " -device nvdimm,id=nvdimm0,memdev=nv-ram"

/* Given back by requests for whole huge pages, and for parts of them */
#define HUGE(backend) \
    .machine = "-machine pc,memory-backend=ram0 -m 22M " \
               "-object " backend ",id=ram0,size=22M", \
    .huge_bytes = 22 * MiB, .part = { { MAIN_PART, .unit = HM_HUGE_SIZE } }
#define HUGE_MEMFD MEMFD ",hugetlb=on,hugetlbsize=2M"

static const MLayout x86_layouts[] = {
    { "backend/anon", PC(RAM), MAIN, .each_alone = true },
    { "backend/anon-shared", PC(RAM ",share=on"), MAIN },
    { "backend/memfd", PC(MEMFD), MAIN, .each_alone = true },
    { "backend/memfd-private", PC(MEMFD ",share=off"), MAIN },
    { "backend/shm", PC("memory-backend-shm"), MAIN },
    { "backend/file", PC(FILE_RAM("share=on,discard-data=on")), ON_FULL_DISK,
      .file_size = 16 * MiB },
    { "backend/file-private", PC(FILE_RAM("share=off")),
      .file_size = 16 * MiB,
      .part = { { MAIN_PART, .template = true, .full = true,
                  .blurred = true } } },
    { "backend/file-readonly",
      PC(FILE_RAM("share=off,readonly=on,rom=off")), .file_size = 16 * MiB,
      .part = { { MAIN_PART, .blurred = true, .full = true,
                  .stuck = true } } },
    { "backend/tmpfs", PC(FILE_RAM("share=on")), TMPFS, .each_alone = true,
      .part = { { MAIN_PART, .full = true } } },
    { "backend/tmpfs-offset", PC(FILE_RAM("share=on,offset=2M")),
      .dir = "/dev/shm", .file_size = 18 * MiB,
      .part = { { MAIN_PART, .full = true } } },
    { "backend/tmpfs-private", PC(FILE_RAM("share=off")), TMPFS,
      .part = { { MAIN_PART, .template = true, .full = true } } },
    { "backend/unnamed-file",
      PC("memory-backend-file,mem-path=/tmp,share=on"), ON_DISK },
    { "backend/prealloc", PC(RAM ",prealloc=on,merge=on,dump=off"),
      .part = { { MAIN_PART, .kept = true } } },
    { "backend/prealloc-memfd", PC(MEMFD ",prealloc=on"), .each_alone = true,
      .part = { { MAIN_PART, .kept = true } } },
    { "backend/prealloc-file", PC(FILE_RAM("share=on,prealloc=on")),
      .file_size = 16 * MiB,
      .part = { { MAIN_PART, .blurred = true, .full = true, .kept = true } } },

    { "machine/pc", "-machine pc -m 16M", "pc.ram", .part = { { PC_RAM } } },
    { "machine/q35-prealloc", "-machine q35 -m 16M -mem-prealloc", "pc.ram",
      .part = { { PC_RAM, .kept = true } } },
    { "split/pc-anon", SPLIT("pc", RAM), .part = SPLIT_PARTS },
    { "split/q35-memfd", SPLIT("q35", MEMFD), .part = SPLIT_PARTS },
    { "large/pc", LARGE("pc"), .part = LARGE_PART(3 * GiB) },
    { "large/q35", LARGE("q35"), .part = LARGE_PART(2 * GiB) },
    { "numa/anon-memfd",
      "-machine pc -m 32M "
      "-object memory-backend-ram,id=ram0,size=16M "
      "-object memory-backend-memfd,id=ram1,size=16M "
      "-numa node,memdev=ram0 -numa node,memdev=ram1",
      MAIN_AND(.id = "ram1", .addr = 16 * MiB) },

    { "dimm/at-start", PC(RAM), .args = HM_DIMM(RAM),
      MAIN_AND(.id = "dimm-ram", .addr = HM_HIGH_START) },
    { "dimm/hotplugged", PC(MEMFD),
      .prepare = plug_anon_dimm, .dest_args = HM_DIMM(RAM),
      MAIN_AND(.id = "dimm-ram", .addr = HM_HIGH_START) },
    { "dimm/hotplugged-memfd", Q35(RAM),
      .prepare = plug_memfd_dimm, .dest_args = HM_DIMM(MEMFD),
      MAIN_AND(.id = "dimm-ram", .addr = HM_HIGH_START) },
    { "dimm/unplugged", PC(MEMFD), MAIN, .prepare = plug_and_give_away },
    { "dimm/replaced", Q35(RAM),
      .prepare = replace_dimm, .dest_args = HM_DIMM(RAM),
      MAIN_AND(.id = "dimm-ram", .addr = HM_HIGH_START) },
    { "nvdimm/shared", PC(MEMFD), TMPFS, .args = NVDIMM("share=on"),
      MAIN_AND(.id = "nv-ram", .addr = HM_HIGH_START, .full = true) },
    { "nvdimm/private", Q35(RAM), TMPFS, .args = NVDIMM("share=off"),
      MAIN_AND(.id = "nv-ram", .addr = HM_HIGH_START, .template = true,
               .full = true) },

    { "huge/memfd", HUGE(HUGE_MEMFD ",share=on") },
    { "huge/memfd-parts", HUGE(HUGE_MEMFD ",share=on"), .by_parts = true,
      .each_alone = true },
    { "huge/memfd-private", HUGE(HUGE_MEMFD ",share=off") },
    { "huge/numa",
      "-machine pc -m 50M "
      "-object memory-backend-ram,id=ram0,size=16M "
      "-object memory-backend-memfd,id=ram1,size=16M "
      "-object " HUGE_MEMFD ",id=ram2,size=18M "
      "-numa node,memdev=ram0 -numa node,memdev=ram1 -numa node,memdev=ram2",
      .huge_bytes = 18 * MiB,
      .part = { { MAIN_PART }, { .id = "ram1", .addr = 16 * MiB },
                { .id = "ram2", .addr = 32 * MiB, .unit = HM_HUGE_SIZE } } },
    { "huge/file", HUGE(FILE_RAM("share=on")), .on_hugetlbfs = true },
    { "huge/file-private-parts", HUGE(FILE_RAM("share=off")),
      .on_hugetlbfs = true, .by_parts = true },

    { "virtio-mem/partly", PC(MEMFD), .each_alone = true,
      .args = VM_ARGS(RAM, "requested-size=16M"),
      .prepare = plug_partly, .check = check_partly,
      MAIN_AND(.id = VM_ID, .addr = HM_HIGH_START, .stays = true) },
    { "virtio-mem/partly-memfd", Q35(RAM),
      .args = VM_ARGS(MEMFD, "requested-size=16M"),
      .prepare = plug_partly, .check = check_partly,
      MAIN_AND(.id = VM_ID, .addr = HM_HIGH_START, .stays = true) },
    { "virtio-mem/slots", PC(MEMFD),
      .args = VM_ARGS(RAM, "requested-size=16M,dynamic-memslots=on"),
      .prepare = plug_partly, .check = check_partly,
      MAIN_AND(.id = VM_ID, .addr = HM_HIGH_START, .stays = true) },
    { "virtio-mem/nothing", PC(MEMFD), MAIN,
      .args = VM_ARGS(MEMFD, "requested-size=0"),
      .prepare = plug_nothing, .check = check_nothing },
    { "beside/vga", PC(MEMFD),
      .args = "-device VGA,vgamem_mb=16,addr=6", .prepare = map_vga,
      MAIN_AND(.id = "0000:00:06.0/vga.vram", .addr = PCI_MEMORY,
               .alone = "not-guest-ram") },
    { "beside/ivshmem", Q35(MEMFD),
      .args = "-object memory-backend-memfd,id=shm,size=16M,share=on "
              "-device ivshmem-plain,memdev=shm,master=on,addr=6",
      .prepare = map_ivshmem,
      MAIN_AND(.id = "0000:00:06.0/shm", .addr = PCI_MEMORY) },
    { "resized/smaller", PC(MEMFD), MAIN, .dest_args = TABLES,
      .file_size = 60000, .prepare = check_small },
    { "resized/larger", Q35(RAM), MAIN, .source_args = TABLES,
      .file_size = 60000, .prepare = check_large },
};

/* Where a page of the target has two of the balloon */
#define CLIPPER(backend) \
    "-machine clipper,memory-backend=ram0 -m 16M " \
    "-object " backend ",id=ram0,size=16M"

static const MLayout alpha_layouts[] = {
    { "alpha/anon", CLIPPER(RAM), MAIN, .each_alone = true },
    { "alpha/memfd", CLIPPER(MEMFD), MAIN, .each_alone = true },
    { "alpha/parts", CLIPPER(MEMFD), MAIN, .by_parts = true },
};

int main(int argc, char **argv)
{
    bg_init(&argc, &argv);
    if (!strcmp(qtest_get_arch(), "alpha")) {
        ml_add_layouts(alpha_layouts, ARRAY_SIZE(alpha_layouts));
    } else {
        ml_add_layouts(x86_layouts, ARRAY_SIZE(x86_layouts));
        add_more_tests();
    }
    return g_test_run();
}
