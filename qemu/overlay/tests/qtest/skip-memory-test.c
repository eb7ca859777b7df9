/*
 * Tests of both capabilities with each memory layout that QEMU has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "host-memory.h"
#include "memory-layout.h"
#include "ram-blocks.h"
#include "standard-headers/linux/virtio_balloon.h"

#define PREFIX "skip-memory/"

/* A machine with 16 MiB of memory from a backend */
#define MACHINE(machine, backend) \
    "-machine " machine ",memory-backend=ram0 -m 16M " \
    "-object " backend ",id=ram0,size=16M"

/* The same, with slots for DIMMs */
#define SLOTS(machine, backend) MACHINE(machine, backend) \
    " -m 16M,slots=2,maxmem=1G"

/* The same, with a file for the backend */
#define FILE_BACKEND(properties) \
    MACHINE("pc", "memory-backend-file,mem-path=" ML_FILE "," properties)

/* All of its memory but what the driver has */
#define MAIN_PART .id = "ram0", .addr = 4 * MiB, .offset = 4 * MiB

/* The same, in a file on a disk */
#define DISK_PART MAIN_PART, .blurred = true

/* The same, in a private mapping of a named file */
#define TEMPLATE_PART MAIN_PART, .template = true, .full = true

/* ---- Memory backends ---- */

static const MLayout backend_layouts[] = {
    { .name = "backend/anon", .each_alone = true,
      .machine = MACHINE("pc", "memory-backend-ram"),
      .part = { { MAIN_PART } } },
    { .name = "backend/anon-shared",
      .machine = MACHINE("pc", "memory-backend-ram,share=on"),
      .part = { { MAIN_PART } } },
    { .name = "backend/memfd", .each_alone = true,
      .machine = MACHINE("pc", "memory-backend-memfd"),
      .part = { { MAIN_PART } } },
    { .name = "backend/memfd-private", .each_alone = true,
      .machine = MACHINE("pc", "memory-backend-memfd,share=off"),
      .part = { { MAIN_PART } } },
    { .name = "backend/shm", .machine = MACHINE("pc", "memory-backend-shm"),
      .part = { { MAIN_PART } } },
    { .name = "backend/file", .machine = FILE_BACKEND("share=on"),
      .file_size = 16 * MiB,
      .part = { { DISK_PART, .full = true } } },
    { .name = "backend/file-offset",
      .machine = FILE_BACKEND("share=on,offset=2M"),
      .file_size = 18 * MiB,
      .part = { { DISK_PART, .full = true } } },
    { .name = "backend/file-private", .machine = FILE_BACKEND("share=off"),
      .file_size = 16 * MiB,
      .part = { { TEMPLATE_PART, .blurred = true } } },
    { .name = "backend/file-readonly",
      .machine = FILE_BACKEND("share=off,readonly=on,rom=off"),
      .file_size = 16 * MiB,
      .part = { { DISK_PART, .full = true, .stuck = true } } },
    { .name = "backend/tmpfs", .each_alone = true,
      .machine = FILE_BACKEND("share=on"),
      .dir = "/dev/shm", .file_size = 16 * MiB,
      .part = { { MAIN_PART, .full = true } } },
    { .name = "backend/tmpfs-offset",
      .machine = FILE_BACKEND("share=on,offset=2M"),
      .dir = "/dev/shm", .file_size = 18 * MiB,
      .part = { { MAIN_PART, .full = true } } },
    { .name = "backend/tmpfs-private", .machine = FILE_BACKEND("share=off"),
      .dir = "/dev/shm", .file_size = 16 * MiB,
      .part = { { TEMPLATE_PART } } },
    { .name = "backend/unnamed-file",
      .machine = MACHINE("pc", "memory-backend-file,mem-path=/tmp,share=on"),
      .part = { { DISK_PART } } },
    { .name = "backend/discard-data",
      .machine = FILE_BACKEND("share=on,discard-data=on"),
      .file_size = 16 * MiB,
      .part = { { DISK_PART, .full = true } } },
    { .name = "backend/prealloc",
      .machine = MACHINE("pc", "memory-backend-ram,prealloc=on"),
      .part = { { MAIN_PART, .kept = true } } },
    { .name = "backend/prealloc-memfd", .each_alone = true,
      .machine = MACHINE("pc", "memory-backend-memfd,prealloc=on"),
      .part = { { MAIN_PART, .kept = true } } },
    { .name = "backend/prealloc-file",
      .machine = FILE_BACKEND("share=on,prealloc=on"),
      .file_size = 16 * MiB,
      .part = { { DISK_PART, .kept = true, .full = true } } },
    { .name = "backend/mem-prealloc",
      .machine = "-machine pc -m 16M -mem-prealloc", .ram_id = "pc.ram",
      .part = { { .id = "pc.ram", .addr = 4 * MiB, .offset = 4 * MiB,
                  .kept = true } } },
    { .name = "backend/merge-dump-reserve",
      .machine = MACHINE("pc", "memory-backend-ram,merge=on,dump=off,"
                         "reserve=off"),
      .part = { { MAIN_PART } } },
};

/* ---- Machines, and where memory is on them ---- */

#define PC_RAM(at) .id = "pc.ram", .addr = (at), .offset = (at)

/* Memory above the hole for devices */
#define HIGH_START (4 * GiB)

/* A machine with 16 MiB below the hole, and 16 MiB above it */
#define SPLIT(machine, backend) \
    "-machine " machine ",max-ram-below-4g=16M,memory-backend=ram0 -m 32M " \
    "-object " backend ",id=ram0,size=32M"
#define SPLIT_PARTS \
    { { MAIN_PART }, \
      { .id = "ram0", .addr = HIGH_START, .offset = 16 * MiB } }

/* The same where the hole is by default, most of it never touched */
#define LARGE_PART(below) \
    { { .id = "ram0", .addr = (below) - 16 * MiB, \
        .offset = (below) - 16 * MiB }, \
      { .id = "ram0", .addr = HIGH_START, .offset = (below) }, \
      { .id = "ram0", .addr = HIGH_START + (5 * GiB - (below)) - 9 * MiB, \
        .offset = 5 * GiB - 9 * MiB } }
#define LARGE(machine) \
    "-machine " machine ",memory-backend=ram0 -m 5G " \
    "-object memory-backend-memfd,id=ram0,size=5G"

static const MLayout machine_layouts[] = {
    { .name = "machine/pc", .machine = "-machine pc -m 16M",
      .ram_id = "pc.ram", .part = { { PC_RAM(4 * MiB) } } },
    { .name = "machine/q35", .machine = "-machine q35 -m 16M",
      .ram_id = "pc.ram", .part = { { PC_RAM(4 * MiB) } } },
    { .name = "machine/q35-memfd",
      .machine = MACHINE("q35", "memory-backend-memfd"),
      .part = { { MAIN_PART } } },
    { .name = "split/pc-anon", .machine = SPLIT("pc", "memory-backend-ram"),
      .part = SPLIT_PARTS },
    { .name = "split/q35-memfd", .each_alone = true,
      .machine = SPLIT("q35", "memory-backend-memfd"), .part = SPLIT_PARTS },
    { .name = "large/pc", .machine = LARGE("pc"),
      .part = LARGE_PART(3 * GiB) },
    { .name = "large/q35", .machine = LARGE("q35"),
      .part = LARGE_PART(2 * GiB) },
    { .name = "numa/anon-memfd",
      .machine = "-machine pc -m 32M "
                 "-object memory-backend-ram,id=ram0,size=16M "
                 "-object memory-backend-memfd,id=ram1,size=16M "
                 "-numa node,memdev=ram0 -numa node,memdev=ram1",
      .part = { { MAIN_PART }, { .id = "ram1", .addr = 16 * MiB } } },
};

/* ---- DIMMs ---- */

#define DIMM(backend) \
    "-object " backend ",id=dimm-ram,size=128M " \
    "-device pc-dimm,id=dimm0,memdev=dimm-ram"
#define DIMM_PART .id = "dimm-ram", .addr = HIGH_START

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

/* Eject the DIMM as the guest's ACPI code does. */
static void unplug_dimm(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    qtest_qmp_device_del_send(g->qts, "dimm0");
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    /* The RAM block goes when the last reader of the memory map is done. */
    while (rb_exists(g, "dimm-ram")) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* Give back memory of a DIMM, and the whole DIMM then. */
static void give_dimm_away(BGuest *g)
{
    bg_driver_start(g, 1u << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(g, HIGH_START, 2 * MiB, 1);
    bg_request_range(g, BG_INFLATE, HIGH_START + MiB, 4 * MiB);
    g_assert_cmpuint(rb_map_pages(g, "dimm-ram"), ==, 4 * MiB / BALLOON_PAGE);
    unplug_dimm(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
}

/* The same, and plug another one in its place. */
static void replace_dimm(BGuest *g)
{
    plug_anon_dimm(g);
    give_dimm_away(g);
    plug_anon_dimm(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
}

static void plug_and_give_away(BGuest *g)
{
    plug_anon_dimm(g);
    give_dimm_away(g);
}

#define NVDIMM(properties) \
    "-machine nvdimm=on " \
    "-object memory-backend-file,id=nv-ram,size=16M,mem-path=" ML_FILE "," \
    properties " -device nvdimm,id=nvdimm0,memdev=nv-ram"

static const MLayout dimm_layouts[] = {
    { .name = "dimm/at-start", .machine = SLOTS("pc", "memory-backend-ram"),
      .args = DIMM("memory-backend-ram"),
      .part = { { MAIN_PART }, { DIMM_PART } } },
    { .name = "dimm/hotplugged", .each_alone = true,
      .machine = SLOTS("pc", "memory-backend-memfd"),
      .prepare = plug_anon_dimm, .dest_args = DIMM("memory-backend-ram"),
      .part = { { MAIN_PART }, { DIMM_PART } } },
    { .name = "dimm/hotplugged-memfd",
      .machine = SLOTS("q35", "memory-backend-ram"),
      .prepare = plug_memfd_dimm, .dest_args = DIMM("memory-backend-memfd"),
      .part = { { MAIN_PART }, { DIMM_PART } } },
    { .name = "dimm/unplugged",
      .machine = SLOTS("pc", "memory-backend-memfd"),
      .prepare = plug_and_give_away, .part = { { MAIN_PART } } },
    { .name = "dimm/replaced", .machine = SLOTS("q35", "memory-backend-ram"),
      .prepare = replace_dimm, .dest_args = DIMM("memory-backend-ram"),
      .part = { { MAIN_PART }, { DIMM_PART } } },
    { .name = "nvdimm/shared", .each_alone = true,
      .machine = SLOTS("pc", "memory-backend-memfd"),
      .args = NVDIMM("share=on"), .dir = "/dev/shm", .file_size = 16 * MiB,
      .part = { { MAIN_PART },
                { .id = "nv-ram", .addr = HIGH_START,
                  .full = true } } },
    { .name = "nvdimm/private", .machine = SLOTS("q35", "memory-backend-ram"),
      .args = NVDIMM("share=off"), .dir = "/dev/shm", .file_size = 16 * MiB,
      .part = { { MAIN_PART },
                { .id = "nv-ram", .addr = HIGH_START,
                  .template = true, .full = true } } },
};

/* ---- Huge pages ---- */

/* Given back by requests for whole huge pages, and for parts of them */
#define HUGE_MACHINE(backend) \
    "-machine pc,memory-backend=ram0 -m 22M -object " backend \
    ",id=ram0,size=22M"
#define HUGE_MEMFD "memory-backend-memfd,hugetlb=on,hugetlbsize=2M"
#define HUGE_FILE "memory-backend-file,mem-path=" ML_FILE
#define HUGE_PART MAIN_PART, .unit = HM_HUGE_SIZE

static const MLayout huge_layouts[] = {
    { .name = "huge/memfd", .machine = HUGE_MACHINE(HUGE_MEMFD ",share=on"),
      .huge_bytes = 22 * MiB, .part = { { HUGE_PART } } },
    { .name = "huge/memfd-parts", .each_alone = true,
      .machine = HUGE_MACHINE(HUGE_MEMFD ",share=on"), .by_parts = true,
      .huge_bytes = 22 * MiB, .part = { { HUGE_PART } } },
    { .name = "huge/memfd-private",
      .machine = HUGE_MACHINE(HUGE_MEMFD ",share=off"),
      .huge_bytes = 22 * MiB, .part = { { HUGE_PART } } },
    { .name = "huge/numa", .each_alone = true,
      .machine = "-machine pc -m 50M "
                 "-object memory-backend-ram,id=ram0,size=16M "
                 "-object memory-backend-memfd,id=ram1,size=16M "
                 "-object " HUGE_MEMFD ",id=ram2,size=18M "
                 "-numa node,memdev=ram0 -numa node,memdev=ram1 "
                 "-numa node,memdev=ram2",
      .huge_bytes = 18 * MiB,
      .part = { { MAIN_PART }, { .id = "ram1", .addr = 16 * MiB },
                { .id = "ram2", .addr = 32 * MiB, .unit = HM_HUGE_SIZE } } },
    /* The following ones on hugetlbfs */
    { .name = "huge/file", .machine = HUGE_MACHINE(HUGE_FILE ",share=on"),
      .on_hugetlbfs = true, .huge_bytes = 22 * MiB,
      .part = { { HUGE_PART } } },
    { .name = "huge/file-private-parts",
      .machine = HUGE_MACHINE(HUGE_FILE ",share=off"),
      .on_hugetlbfs = true, .by_parts = true,
      .huge_bytes = 22 * MiB,
      .part = { { HUGE_PART } } },
};

/* ---- Pages of the target larger than those of the balloon ---- */

static const MLayout alpha_layouts[] = {
    { .name = "alpha/anon", .machine = MACHINE("clipper", "memory-backend-ram"),
      .each_alone = true, .part = { { MAIN_PART } } },
    { .name = "alpha/memfd",
      .machine = MACHINE("clipper", "memory-backend-memfd"),
      .each_alone = true, .part = { { MAIN_PART } } },
    { .name = "alpha/parts",
      .machine = MACHINE("clipper", "memory-backend-memfd"),
      .by_parts = true, .part = { { MAIN_PART } } },
};

/* ---- All of them ---- */

static void add_x86_tests(void)
{
    ml_add_layouts(backend_layouts, ARRAY_SIZE(backend_layouts));
    ml_add_layouts(machine_layouts, ARRAY_SIZE(machine_layouts));
    ml_add_layouts(dimm_layouts, ARRAY_SIZE(dimm_layouts));
    ml_add_layouts(huge_layouts, ARRAY_SIZE(huge_layouts));
    add_device_tests();
    add_hint_tests();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    /* A transparent huge page populates what nobody asked for. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (!strcmp(qtest_get_arch(), "alpha")) {
        ml_add_layouts(alpha_layouts, ARRAY_SIZE(alpha_layouts));
    } else {
        add_x86_tests();
    }
    return g_test_run();
}
