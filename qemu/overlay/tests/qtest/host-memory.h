/*
 * Memory, as tests of all programs need it: what the host has to put it on,
 * RAM blocks seen from outside QEMU, and virtio-mem
 *
 * hm_: file systems and huge pages of the host, which are given back whatever
 *      becomes of the test.
 * rb_: all RAM blocks of a QEMU, ROMs and ACPI tables included, whatever is
 *      behind them: what they hold, what of them is populated, and what of them
 *      is in the balloon.  (bg_ functions of balloon-guest.h do the same for
 *      the main memory alone.)
 * vm_: a guest's driver of virtio-mem.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_HOST_MEMORY_H
#define TESTS_HOST_MEMORY_H

#include "balloon-guest.h"

#define HM_HUGE_SIZE (UINT64_C(2) << 20)

/* Where DIMMs, and other memory above 4 GiB, begin */
#define HM_HIGH_START (UINT64_C(4) << 30)

#define HM_DIMM_SIZE (UINT64_C(128) << 20)
#define HM_DIMM(backend) \
    "-object " backend ",id=dimm-ram,size=128M " \
    "-device pc-dimm,id=dimm0,memdev=dimm-ram"

/* ---- The host ---- */

/* A path that is not in use */
char *hm_temp_path(const char *dir, const char *name);

/**
 * hm_make_file: Make a file, or make it larger, that holds the letter x in a
 * range, and nothing elsewhere
 * @size, @start, @length: bytes
 */
void hm_make_file(const char *path, uint64_t size, uint64_t start,
                  uint64_t length);

/* A tmpfs that can be written to, or NULL */
const char *hm_find_tmpfs(void);

/* The same; skips the test if there is none */
const char *hm_tmpfs_or_skip(void);

/**
 * hm_find_hugetlbfs: A directory on hugetlbfs, with pages of 2 MiB
 * @mounted: set if it has been mounted now, by which the caller is to unmount
 *           and remove it
 *
 * Returns: the path, owned by the caller; NULL if there is none
 */
char *hm_find_hugetlbfs(bool *mounted);

/**
 * hm_passes_in_subprocess: Run the test anew in a subprocess, for what was set
 * up on the host to be undone whatever happens to it
 */
bool hm_passes_in_subprocess(void);

/**
 * hm_test_with_huge_pages: Run the test in a subprocess, with @bytes of free
 * huge pages; skips it where there are none to be had
 */
void hm_test_with_huge_pages(uint64_t bytes);

/**
 * hm_test_on_hugetlbfs: The same, with a hugetlbfs mounted, which
 * hm_find_hugetlbfs() finds in the subprocess
 */
void hm_test_on_hugetlbfs(uint64_t bytes);

/* Make a disk at @path, which snapshots can be saved to */
void hm_add_disk(BGuest *g, const char *path);

/* Save a snapshot to that, or load it: "snapshot-save", "snapshot-load" */
void hm_snapshot(BGuest *g, const char *command);

/* ---- RAM blocks ---- */

/* Bytes of RAM block @id that are in use */
uint64_t rb_size(BGuest *g, const char *id);

/**
 * rb_count_populated: How many 4 KiB pages of a range does the host back?
 * @start: offset in the RAM block, in bytes
 * @length: bytes
 */
uint64_t rb_count_populated(BGuest *g, const char *id, uint64_t start,
                            uint64_t length);

/* A byte of a RAM block; reading it may populate the page */
uint8_t rb_byte(BGuest *g, const char *id, uint64_t offset);

/**
 * rb_assert_same: @a and @b have the same RAM blocks, of the same sizes, with
 * the same content, and the same balloon map
 *
 * What the host does not back is zero, and not read, for that might populate
 * it.
 */
void rb_assert_same(BGuest *a, BGuest *b);

/**
 * rb_map_pages: Pages of RAM block @id in the balloon map
 * @populated: if not NULL, set to how many of them are populated
 * @unit: bytes that count as populated if anything of them is
 */
uint64_t rb_map_pages(BGuest *g, const char *id, uint64_t *populated,
                      uint64_t unit);

/**
 * rb_assert_map_let_go: What is in the balloon map of RAM block @id and not
 * populated in @g, which has been migrated to @dest, is not populated there
 */
void rb_assert_map_let_go(BGuest *g, BGuest *dest, const char *id);

/* ---- virtio-mem ---- */

/* The slot of the device, on bus 0 of a PC */
#define VM_SLOT 7

#define VM_ID "0000:00:07.0/vm-ram"
#define VM_SIZE (UINT64_C(32) << 20)
#define VM_BLOCK (UINT64_C(2) << 20)
#define VM_ARGS(backend, properties) \
    "-object " backend ",id=vm-ram,size=32M,reserve=off " \
    "-device virtio-mem-pci,id=vm0,addr=7,memdev=vm-ram,memaddr=0x100000000," \
    "block-size=2M," properties

/* Reset the virtio-mem device and drive it */
void vm_driver_start(QTestState *qts);

/**
 * vm_plug: Ask for blocks of memory, or give them back
 * @addr: guest physical address
 * @blocks: how many
 *
 * Returns: true if the device does as it is asked to
 */
bool vm_plug(QTestState *qts, uint64_t addr, uint16_t blocks, bool plug);

/* Bytes that are plugged */
uint64_t vm_plugged_size(QTestState *qts);

#endif
