/*
 * The harness of the tests of skip-balloon, part one: a guest, that is a QEMU
 * with or without a driver of its balloon, its memory, and its migrations
 *
 * A program calls bg_init() first, and adds its tests with bg_add_test().
 * After that a failure of any kind ends with the step that the test was at, see
 * bg_step(), and with the command that repeats it.
 *
 * A test starts guests with bg_start() and, for the other end of a migration,
 * bg_start_incoming(); gives memory back with bg_request_range(); waits for
 * what takes its time with BG_WAIT() or bg_wait_status(); migrates with
 * bg_migrate(), or with bg_migrate_begin() and bg_migrate_end() if something
 * has to happen in between; and compares, see bg_assert_same_memory() and
 * others.  Addresses are guest physical ones, lengths are in bytes.  What is
 * returned by a pointer the caller frees, or unreferences.
 *
 * The driver is a legacy virtio-pci one of a few registers, so that it works
 * alike on x86 and on alpha.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BALLOON_GUEST_H
#define TESTS_BALLOON_GUEST_H

#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"

#define BALLOON_PAGE UINT64_C(4096)

#define BG_STOCK_ENV "QTEST_QEMU_BINARY_STOCK"

/* More runs than any test has */
#define BG_MAX_RUNS 65536

/* Features, for bg_driver_start() */
#define BG_MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define BG_REPORTING (1U << VIRTIO_BALLOON_F_REPORTING)
#define BG_PAGE_POISON (1U << VIRTIO_BALLOON_F_PAGE_POISON)

/* The number of the page at an address, as it is told to the device */
#define BG_PFN(addr) ((uint32_t)((addr) / BALLOON_PAGE))

/* A DIMM is a RAM block of its own, right above 4 GiB on this machine. */
#define BG_DIMM_START (UINT64_C(4) << 30)
#define BG_DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                     "-device pc-dimm,id=dimm0,memdev=dimm-ram"

/* The configuration of the device, behind its registers */
#define BG_CONFIG_IO (0xc000 + 20)

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
    bool keep_log;              /* for bg_log() */
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
    char *log;                  /* file with what QEMU writes to stderr */
} BGuest;

/* ---- Programs ---- */

/*
 * To be called by main(), instead of g_test_init().  Transparent huge pages
 * are forbidden, since they have memory that nobody asked for, and that is
 * counted.
 */
void bg_init(int *argc, char ***argv);

/* May QEMUs that are started now have huge pages? */
void bg_allow_huge_pages(bool allow);

/* Add a test whose path is made of @format */
void bg_add_test(const void *data, GTestDataFunc func, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* For paths of tests */
const char *bg_backend_name(BGBackend backend);

/* Say what the test is at, in case that it fails */
void bg_step(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Fail at a page of the guest. */
void bg_fail(uint64_t addr, const char *format, ...)
    G_GNUC_PRINTF(2, 3) G_NORETURN;

/* Wait until @condition is true */
#define BG_WAIT(condition) do {                                     \
        unsigned int bg_wait_times = 0;                             \
        gint64 bg_wait_end = bg_deadline();                         \
                                                                    \
        while (!(condition)) {                                      \
            g_assert_cmpint(g_get_monotonic_time(), <, bg_wait_end); \
            bg_wait_some(&bg_wait_times);                           \
        }                                                           \
    } while (0)

/* When what is waited for now must have come, as of g_get_monotonic_time() */
gint64 bg_deadline(void);

/* Is there an unmodified QEMU?  Skips the test otherwise. */
bool bg_stock_or_skip(void);

/* Does the host have huge pages for @bytes?  Skips the test otherwise. */
bool bg_huge_or_skip(uint64_t bytes);

/* Is there a debugger?  Skips the test otherwise. */
bool bg_gdb_or_skip(void);

/* Have a debugger do something to QEMU, in its main loop; NULL ends it */
void bg_gdb(BGuest *g, const char *command, ...) G_GNUC_NULL_TERMINATED;

/* Write a file for -bios, of which @code runs in 16 bits; returns its path */
char *bg_write_firmware(const uint8_t *code, size_t size);

/* ---- Guests ---- */

/* Start QEMU; its guest has no driver yet */
BGuest *bg_start(const BGOptions *options);

/*
 * The same with a driver that accepts MUST_TELL_HOST, and free page reporting
 * if the device has that
 */
BGuest *bg_start_driven(const BGOptions *options);

/* Start a QEMU that a guest with @options can migrate to */
BGuest *bg_start_dest(const BGOptions *options);

/* The same of one that is to fail, see bg_quit_failed() */
BGuest *bg_start_failing_dest(const BGOptions *options);

/*
 * Wait until the QEMU has ended with an error and without a signal, and free
 * @g.  @part: has to be a part of what it wrote to stderr.
 */
void bg_quit_failed(BGuest *g, const char *part);

/* What the QEMU wrote to stderr; it was started with keep_log */
char *bg_log(BGuest *g);

/* Connect to a QEMU that was started with connect_later */
void bg_connect(BGuest *g);

/* Start a QEMU that @source can migrate to */
BGuest *bg_start_incoming(const BGuest *source);

/* End the QEMU of @g, and free @g */
void bg_quit(BGuest *g);

/* Wait until the QEMU has ended, free @g, and return its status of waitpid() */
int bg_reap(BGuest *g);

/* Kill the QEMU, which has no chance to do anything about it, and free @g */
void bg_kill(BGuest *g);

/*
 * Reset the device and drive it.  @features: what the driver accepts of the
 * features offered.  Returns the features that were negotiated.
 */
uint32_t bg_driver_start(BGuest *g, uint32_t features);

/* Write 0 to the device status */
void bg_driver_reset(BGuest *g);

/*
 * Notify the device of a queue, and wait until all that was ever added to it,
 * BGQueue.added, is served
 */
void bg_kick(BGuest *g, int queue);

/* Send one request of @n PFNs, and wait until it is served */
void bg_request(BGuest *g, int queue, const uint32_t *pfns, size_t n);

/* Send one request for adjacent pages, ascending. */
void bg_request_range(BGuest *g, int queue, uint64_t start, uint64_t length);

/* Send one request for @n pages, one each @step bytes */
void bg_request_every(BGuest *g, int queue, uint64_t start, uint64_t step,
                      uint64_t n);

/* Report a range as free */
void bg_report(BGuest *g, uint64_t start, uint64_t length);

/* Plug a balloon device where the first one was */
void bg_plug_balloon(BGuest *g);

/* Unplug it, as the ACPI code of a guest does */
void bg_unplug_balloon(BGuest *g);

/* Plug a DIMM such as BG_DIMM_ARGS describes */
void bg_plug_dimm(BGuest *g);

/* Unplug it in the same way, and wait until its RAM block has gone */
void bg_unplug_dimm(BGuest *g);

/*
 * The second half of that: eject DIMM "dimm0", whose unplug was requested.
 * @remove: and remove its memory, RAM block "dimm-ram"
 */
void bg_eject_dimm(BGuest *g, bool remove);

/* ---- Memory ---- */

/* The same as bg_request_range() (for skip-scale) */
#define bg_inflate_unseen(g, start, length) \
    bg_request_range(g, BG_INFLATE, start, length)

/* Write a pattern that depends on @seed to guest memory. */
void bg_fill(BGuest *g, uint64_t start, uint64_t length, uint8_t seed);

/* What that writes to all of the page at @addr; never 0 */
uint8_t bg_fill_value(uint64_t addr, uint8_t seed);

/* How many huge pages of 2 MiB the host has free */
int64_t bg_free_huge_pages(void);

/* Which 4 KiB pages of a range does the host back?  An element for each */
bool *bg_populated(BGuest *g, uint64_t start, uint64_t length);

/* How many 4 KiB pages of a range does the host back? */
uint64_t bg_count_populated(BGuest *g, uint64_t start, uint64_t length);

#define bg_assert_populated(g, start, length, pages) \
    g_assert_cmpuint(bg_count_populated(g, start, length), ==, pages)

/* How many bytes of a range of the main memory are in the map? */
uint64_t bg_in_map(BGuest *g, uint64_t start, uint64_t length);

#define bg_assert_map(g, pages) \
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, pages)

/* What query-balloon-map tells of RAM block @id, with so many runs at most */
QDict *bg_map_info(BGuest *g, const char *id, int max_runs, bool audit);

/*
 * Which pages of RAM block @id, of @size bytes, are in the map?  An element for
 * each
 */
bool *bg_map_bits(BGuest *g, const char *id, uint64_t size);

/* A byte of guest memory, see bg_read() */
uint8_t bg_byte(BGuest *g, uint64_t addr);

/* What the kernel tells of QEMU, in a file of /proc/PID */
char *bg_proc(BGuest *g, const char *name);

/* How many mappings QEMU has, and one */
unsigned int bg_count_mappings(BGuest *g);

/* The path in /proc of an open file of QEMU, of whose name @what is a part */
char *bg_find_fd(BGuest *g, const char *what);

/* Make ioctl PAGEMAP_SCAN fail with @error, here and in what is started */
void bg_forbid_pagemap_scan(int error);

/* The same of userfaultfd */
void bg_forbid_userfaultfd(int error);

/* Read guest memory, from outside QEMU; may populate it */
void bg_read(BGuest *g, uint64_t addr, void *buf, size_t size);

/* Does the page at @addr read as zero?  May populate it. */
bool bg_is_zero(BGuest *g, uint64_t addr);

/*
 * The memory of @a and @b has the same content.  Pages that neither host backs
 * are zero on both sides, and not read, for that would populate them.
 */
void bg_assert_same_memory(BGuest *a, BGuest *b);

/* Pages in the balloon map, over all RAM blocks; @runs may be NULL */
uint64_t bg_map_pages(BGuest *g, uint64_t *runs);

/* The runs of the balloon map of the main memory, an array of BGRun */
GArray *bg_map_runs(BGuest *g);

/* The balloon maps of @a and @b are equal */
void bg_assert_same_map(BGuest *a, BGuest *b);

/* The size of a page of the target, which is sent as a whole */
uint64_t bg_target_page(void);

/*
 * What is in the balloon map and not populated in @g, which has been migrated
 * to @dest, is not populated there
 */
void bg_assert_map_let_go(BGuest *g, BGuest *dest);

/* ---- Migrations ---- */

/* Set a migration capability */
void bg_set_capability(BGuest *g, const char *name, bool on);

/* Turn on those of its options, which migrations to and from sockets do */
void bg_set_capabilities(BGuest *g);

/* Turn a migration capability on.  Returns NULL, or why that cannot be. */
char *bg_try_capability(BGuest *g, const char *name);

/* Set parameters of migration, those of an object */
void bg_set_parameters(BGuest *g, const char *json);

/* An object, for %p in qtest_qmp() */
QDict *bg_json(const char *json);

/* The description in an answer, which must be an error */
char *bg_qmp_error(QDict *answer);

/*
 * Have migrations be background snapshots.  Returns false, and the test is
 * skipped, if the host cannot do them.
 */
bool bg_set_background_snapshot(BGuest *g);

/* Start to migrate @source to @dest, and take the driver along */
void bg_migrate_start(BGuest *source, BGuest *dest);

/* Start to migrate to an URI; capabilities are left as they are */
void bg_migrate_uri(BGuest *source, const char *uri);

/* bg_migrate_start() with a limited bandwidth, until bg_migrate_end() */
void bg_migrate_begin(BGuest *source, BGuest *dest, uint64_t bytes);

/* Let the migration end, without limits, and wait for that */
void bg_migrate_end(BGuest *source, BGuest *dest);

/* Migrate, without limits */
void bg_migrate(BGuest *source, BGuest *dest);

/*
 * Migrate up to where the guest is stopped and all has been sent; it goes on by
 * bg_migrate_continue()
 */
void bg_migrate_pause(BGuest *source, BGuest *dest);

/* Have a migration in pre-switchover complete; @dest may be NULL */
void bg_migrate_continue(BGuest *source, BGuest *dest);

/* Have a migration go on as postcopy; the guest runs in @dest then */
void bg_postcopy_begin(BGuest *source, BGuest *dest);

/* Let all be sent that is missing there, and wait for that */
void bg_postcopy_end(BGuest *source, BGuest *dest);

/* Cancel the migration, and end @dest */
void bg_migrate_cancel(BGuest *source, BGuest *dest);

/*
 * Between two questions whether what takes its time is done.  @times: what it
 * was asked so far, 0 at first; counts on.  A question costs both sides about
 * as much as they do in a millisecond, so the longer it takes, the longer is
 * the pause: about a tenth of it, at most 16 ms.
 */
void bg_wait_some(unsigned int *times);

/* Wait until the migration is completed; @dest may be NULL */
void bg_migrate_wait(BGuest *source, BGuest *dest);

/* Wait until the @n-th pass over memory has begun */
void bg_migrate_wait_pass(BGuest *source, int64_t n);

/* What query-migrate tells */
QDict *bg_query_migrate(BGuest *g);

/* Does the guest run? */
bool bg_is_running(BGuest *g);

/* Does query-status say this of the guest? */
void bg_assert_vm_status(BGuest *g, const char *status);

/*
 * Why skip-unpopulated leaves RAM block @id alone, owned by the caller, and its
 * size in bytes; NULL and 0 if it does not.  @size may be NULL.
 */
char *bg_left_alone(BGuest *g, const char *id, int64_t *size);

/* Does query-migrate tell of this status now? */
bool bg_has_status(BGuest *g, const char *status);

/* A number in a member of query-migrate, which must be there */
int64_t bg_migrate_stat(BGuest *g, const char *member, const char *name);

/* Wait until @bytes of RAM have been sent */
void bg_migrate_wait_sent(BGuest *source, int64_t bytes);

/* Limit the bandwidth of migration, to bytes per second; 0: no limit */
void bg_migrate_limit(BGuest *source, uint64_t bytes);

/* Member skip-balloon of query-migrate, or NULL */
QDict *bg_skip_info(BGuest *source);

/* A number in member skip-balloon, which has to be active */
int64_t bg_skip_stat(BGuest *source, const char *name);

/* Member skip-balloon tells that it is off, and why */
void bg_assert_disabled(BGuest *source, const char *reason);

/*
 * Migrate the guest, and record what is sent.  Without what the clock of the
 * host makes of it: where QEMU ends a part of the section of RAM, as it does
 * each 50 ms, and begins the next one or, if little enough is left, the last
 * one, is left out.
 */
GBytes *bg_record_stream(BGuest *g);

/*
 * Wait until the migration of @g has a status.  @seconds: for how long, at
 * most.  It is an error if it ends with another one.
 */
void bg_wait_status(BGuest *g, const char *status, int seconds);

/*
 * Send what is written to stderr, also by QEMUs that are started now, to a
 * file.  Returns what bg_restore_stderr() takes.
 */
int bg_divert_stderr(const char *path);

/* Write to stderr again what is written there */
void bg_restore_stderr(int saved);

#endif
