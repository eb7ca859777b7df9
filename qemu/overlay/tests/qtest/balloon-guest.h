/*
 * A guest for tests of virtio-balloon: driver, memory and migration
 *
 * The driver is a legacy virtio-pci one of a few registers, so that it works
 * alike on x86 and on alpha.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_GUEST_H
#define TESTS_BALLOON_GUEST_H

#include "libqtest.h"

#define BALLOON_PAGE UINT64_C(4096)

#define BG_STOCK_ENV "QTEST_QEMU_BINARY_STOCK"

/* Guest memory below this offset is the driver's, and the firmware's. */
#define BG_RAM_START (UINT64_C(4) << 20)

/* What of it holds the requests */
#define BG_REQUEST_BASE (UINT64_C(1) << 20 | UINT64_C(4) << 16)
#define BG_REQUEST_SIZE (BG_RAM_START - BG_REQUEST_BASE)

enum {
    BG_INFLATE = 0,
    BG_DEFLATE = 1,
    BG_STATS = 2,
    BG_REPORT = 3,              /* needs property free-page-reporting=on */
    /* With property free-page-hint=on there is one before that. */
    BG_HINT = 3,
    BG_HINT_REPORT = 4,
    BG_QUEUES = 5,
};

typedef enum BGBackend {
    BG_ANON,
    BG_MEMFD,
    BG_PRIVATE_MEMFD,
    BG_HUGETLB,
} BGBackend;

typedef struct BGOptions {
    BGBackend backend;
    uint64_t ram_size;          /* bytes; 0: 64 MiB */
    bool no_device;             /* no balloon device */
    bool no_must_tell_host;     /* property must-tell-host is off */
    bool stock;                 /* unmodified QEMU, see BG_STOCK_ENV */
    bool multifd;               /* migrate with capability multifd */
    const char *ram_file;       /* file to use as shared memory, or NULL */
    /*
     * Arguments for machine and memory, in place of all the above; NULL for
     * the usual ones
     */
    const char *machine_args;
    const char *ram_id;         /* RAM block at address 0; NULL: ram0 */
    const char *device_args;    /* more properties of the device, or NULL */
    const char *args;           /* further arguments for QEMU, or NULL */
    /* capabilities to migrate with on both sides, or NULL; ends with NULL */
    const char *const *capabilities;
    const char *machine_props;  /* more properties of the machine, or NULL */
    bool connect_later;         /* QEMU waits for something; bg_connect() */
} BGOptions;

typedef struct BGRun {
    uint64_t start;             /* bytes */
    uint64_t length;
} BGRun;

typedef struct BGQueue {
    uint64_t ring;              /* guest physical addresses */
    uint64_t avail;
    uint64_t used;
    uint16_t size;              /* entries; 0 if there is no such queue */
    uint16_t added;             /* how many requests were ever added */
} BGQueue;

typedef struct BGuest {
    QTestState *qts;
    BGOptions options;
    BGQueue queue[BG_QUEUES];
    const char *ram_id;         /* RAM block of the main memory */
    uint64_t hva;               /* where QEMU has the main memory */
    int mem_fd;                 /* /proc/PID/mem of QEMU */
    char *socket;               /* incoming migration */
} BGuest;

/**
 * bg_start: Start QEMU; its guest has no driver yet
 */
BGuest *bg_start(const BGOptions *options);

/**
 * bg_connect: Connect to a QEMU that was started with connect_later
 */
void bg_connect(BGuest *g);

/**
 * bg_start_incoming: Start a QEMU that @source can migrate to
 */
BGuest *bg_start_incoming(const BGuest *source);

/**
 * bg_quit: End the QEMU of @g, and free @g
 */
void bg_quit(BGuest *g);

/**
 * bg_driver_start: Reset the device and drive it
 * @features: what the driver accepts of the features offered
 *
 * Returns: the features that were negotiated
 */
uint32_t bg_driver_start(BGuest *g, uint32_t features);

/**
 * bg_driver_reset: Write 0 to the device status
 */
void bg_driver_reset(BGuest *g);

/**
 * bg_kick: Notify the device of a queue, and wait until all that was ever
 * added to it, BGQueue.added, is served
 */
void bg_kick(BGuest *g, int queue);

/**
 * bg_request: Send one request of @n PFNs, and wait until it is served
 */
void bg_request(BGuest *g, int queue, const uint32_t *pfns, size_t n);

/**
 * bg_request_range: Send one request for adjacent pages, ascending
 * @start: guest physical address
 * @length: bytes
 */
void bg_request_range(BGuest *g, int queue, uint64_t start, uint64_t length);

/**
 * bg_inflate_unseen: The same to inflate, for very large balloons
 *
 * The PFNs do not go through QEMU, which takes its time for them.  It does not
 * know that this memory of the driver is dirty, so that this is not for a
 * guest that migrates.
 */
void bg_inflate_unseen(BGuest *g, uint64_t start, uint64_t length);

/**
 * bg_fill: Write a pattern that depends on @seed to guest memory
 * @start: guest physical address
 * @length: bytes
 */
void bg_fill(BGuest *g, uint64_t start, uint64_t length, uint8_t seed);

/**
 * bg_free_huge_pages: How many huge pages of 2 MiB the host has free
 */
int64_t bg_free_huge_pages(void);

/**
 * bg_populated: Which 4 KiB pages of a range does the host back?
 * @start: guest physical address
 * @length: bytes
 *
 * Returns: an array with an element for each page, owned by the caller
 */
bool *bg_populated(BGuest *g, uint64_t start, uint64_t length);

/**
 * bg_count_populated: How many 4 KiB pages of a range does the host back?
 */
uint64_t bg_count_populated(BGuest *g, uint64_t start, uint64_t length);

/**
 * bg_find_fd: Find an open file of QEMU
 * @what: a part of the name of the file
 *
 * Returns: its path in /proc, owned by the caller; NULL if there is none
 */
char *bg_find_fd(BGuest *g, const char *what);

/**
 * bg_forbid_pagemap_scan: Make ioctl PAGEMAP_SCAN fail from now on, for this
 * process and all that it starts
 * @error: the errno it fails with
 */
void bg_forbid_pagemap_scan(int error);

/**
 * bg_read: Read guest memory, from outside QEMU; may populate it
 */
void bg_read(BGuest *g, uint64_t addr, void *buf, size_t size);

/**
 * bg_is_zero: Does the page at @addr read as zero?  May populate it.
 */
bool bg_is_zero(BGuest *g, uint64_t addr);

/**
 * bg_assert_same_memory: The memory of @a and @b has the same content
 *
 * Pages that neither host backs are zero on both sides, and not read, for that
 * would populate them.
 */
void bg_assert_same_memory(BGuest *a, BGuest *b);

/**
 * bg_map_pages: Pages in the balloon map, over all RAM blocks
 * @runs: if not NULL, set to the number of runs
 */
uint64_t bg_map_pages(BGuest *g, uint64_t *runs);

/**
 * bg_map_runs: The runs of the balloon map of the main memory
 *
 * Returns: an array of BGRun, owned by the caller
 */
GArray *bg_map_runs(BGuest *g);

/**
 * bg_assert_same_map: The balloon maps of @a and @b are equal
 */
void bg_assert_same_map(BGuest *a, BGuest *b);

/**
 * bg_target_page: The size of a page of the target, which is sent as a whole
 */
uint64_t bg_target_page(void);

/**
 * bg_assert_map_let_go: What is in the balloon map and not populated in @g,
 * which has been migrated to @dest, is not populated there
 */
void bg_assert_map_let_go(BGuest *g, BGuest *dest);

/**
 * bg_set_capability: Set a migration capability
 */
void bg_set_capability(BGuest *g, const char *name, bool on);

/**
 * bg_set_background_snapshot: Have migrations be background snapshots
 *
 * Returns: false, and the test is skipped, if the host cannot do them
 */
bool bg_set_background_snapshot(BGuest *g);

/**
 * bg_migrate_start: Start to migrate @source to @dest, and take the driver
 * along
 */
void bg_migrate_start(BGuest *source, BGuest *dest);

/**
 * bg_wait_some: Between two questions whether what takes its time is done
 * @times: what it was asked so far, 0 at first; counts on
 *
 * A question costs both sides about as much as they do in a millisecond, so the
 * longer it takes, the longer is the pause: about a tenth of it, at most 16 ms.
 */
void bg_wait_some(unsigned int *times);

/**
 * bg_migrate_wait: Wait until the migration is completed
 * @dest: NULL if it does not go to a QEMU
 */
void bg_migrate_wait(BGuest *source, BGuest *dest);

/**
 * bg_migrate_wait_pass: Wait until the @n-th pass over memory has begun
 */
void bg_migrate_wait_pass(BGuest *source, int64_t n);

/**
 * bg_query_migrate: What query-migrate tells
 *
 * Returns: to be unreferenced by the caller
 */
QDict *bg_query_migrate(BGuest *g);

/**
 * bg_migrate_stat: A number in a member of query-migrate, which must be there
 */
int64_t bg_migrate_stat(BGuest *g, const char *member, const char *name);

/**
 * bg_migrate_wait_sent: Wait until @bytes of RAM have been sent
 */
void bg_migrate_wait_sent(BGuest *source, int64_t bytes);

/**
 * bg_migrate_limit: Limit the bandwidth of migration
 * @bytes: bytes per second; 0 is without limit
 */
void bg_migrate_limit(BGuest *source, uint64_t bytes);

/**
 * bg_skip_info: Member skip-balloon of query-migrate
 *
 * Returns: NULL if it is absent; else to be unreferenced by the caller
 */
QDict *bg_skip_info(BGuest *source);

/**
 * bg_skip_stat: A number in member skip-balloon, which has to be active
 */
int64_t bg_skip_stat(BGuest *source, const char *name);

/**
 * bg_record_stream: Migrate the guest, and record what is sent
 *
 * Without what the clock of the host makes of it: where QEMU ends a part of the
 * section of RAM, as it does each 50 ms, and begins the next one or, if little
 * enough is left, the last one, is left out.
 */
GBytes *bg_record_stream(BGuest *g);

/**
 * bg_wait_status: Wait until the migration of @g has a status
 * @seconds: for how long, at most
 *
 * It is an error if it ends with another one.
 */
void bg_wait_status(BGuest *g, const char *status, int seconds);

/**
 * bg_divert_stderr: Send what is written to stderr, also by QEMUs that are
 * started now, to a file
 *
 * Returns: what bg_restore_stderr() takes
 */
int bg_divert_stderr(const char *path);

/**
 * bg_restore_stderr: Write to stderr again what is written there
 */
void bg_restore_stderr(int saved);

#endif
