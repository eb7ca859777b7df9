/*
 * Postcopy of guests with pages that the source skipped
 *
 * Once the guest runs on the destination, a page that it touches and that is
 * missing gets requested, and the source sends what is dirty, nothing else.
 * Nobody would ever send a page that was skipped.  But the destination knows
 * which ones those are: when postcopy begins it is told, by commands to
 * discard, every page that is dirty on the source.  The source sends all of
 * these, and none but these.  So whatever was not named and is missing was
 * skipped, or arrived as zeroes that there was no need to keep, and a page of
 * zeroes is placed at once, without asking.
 *
 * The bitmap of received pages has just the room for that: everything counts
 * as received, but for what is named.  As recovery sends that bitmap to the
 * source, to tell it what is dirty, neither the source nor the format of the
 * stream need anything for a recovery.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/target_page.h"
#include "migration/migration.h"
#include "migration/options.h"
#include "migration/postcopy-ram.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "arrival.h"
#include "hooks.h"
#include "trace.h"

#ifdef CONFIG_LINUX
#include <sys/ioctl.h>
#endif

/* Where postcopy-ram.c has it */
#if defined(CONFIG_LINUX) && defined(CONFIG_EVENTFD)
#include <linux/userfaultfd.h>
#define HAVE_POSTCOPY
#endif

void skip_postcopy_prepare(void)
{
    RAMBlock *rb;

    if (!skip_arrival_begun()) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        bitmap_set(rb->receivedmap, 0,
                   rb->postcopy_length >> qemu_target_page_bits());
    }
}

bool skip_postcopy_is_settled(RAMBlock *rb, uint64_t offset)
{
    return skip_arrival_begun() &&
           ramblock_recv_bitmap_test_byte_offset(rb, offset);
}

#ifdef HAVE_POSTCOPY
/* How long to wait for memory before it is tried again */
#define RETRY_US (10 * 1000)

/* Like uffd_zero_page(), but does not complain about a page that is there. */
static int place_zero(int fd, uint64_t addr, uint64_t length)
{
    struct uffdio_zeropage zero = {
        .range = { .start = addr, .len = length },
    };

    return ioctl(fd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

/* For pages that the kernel has no page of zeroes for */
static int place_copy(int fd, uint64_t addr, void *from, uint64_t length)
{
    struct uffdio_copy copy = {
        .dst = addr,
        .src = (uintptr_t)from,
        .len = length,
    };

    return ioctl(fd, UFFDIO_COPY, &copy) ? -errno : 0;
}

static int wake(int fd, uint64_t addr, uint64_t length)
{
    struct uffdio_range range = { .start = addr, .len = length };

    return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

static int place(MigrationIncomingState *mis, RAMBlock *rb, uint64_t addr)
{
    int fd = mis->userfault_fd;
    int ret = qemu_ram_is_uf_zeroable(rb)
              ? place_zero(fd, addr, rb->page_size)
              : place_copy(fd, addr, mis->postcopy_tmp_zero_page,
                           rb->page_size);

    return ret == -EEXIST ? wake(fd, addr, rb->page_size) : ret;
}

int skip_postcopy_place(MigrationIncomingState *mis, RAMBlock *rb,
                        uint64_t offset)
{
    uint64_t addr = (uintptr_t)rb->host + offset;
    bool waited = false;
    int ret;

    while ((ret = place(mis, rb, addr)) == -EAGAIN || ret == -ENOMEM) {
        if (ret == -EAGAIN) {
            continue;
        }
        if (!waited) {
            warn_report("there is no memory for RAM block '%s', waiting",
                        rb->idstr);
        }
        waited = true;
        if (qatomic_read(&mis->fault_thread_quit)) {
            break;
        }
        g_usleep(RETRY_US);
    }
    trace_skip_postcopy_place(rb->idstr, offset, ret);
    if (ret) {
        /*
         * No recovery would help, and all other pages can still be handled.
         */
        error_report_once("cannot place a page of zeroes at offset 0x%" PRIx64
                          " of RAM block '%s': %s", offset, rb->idstr,
                          strerror(-ret));
        return 0;
    }
    return postcopy_notify_shared_wake(rb, offset);
}
#else
int skip_postcopy_place(MigrationIncomingState *mis, RAMBlock *rb,
                        uint64_t offset)
{
    g_assert_not_reached();
}
#endif
