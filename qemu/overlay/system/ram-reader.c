/*
 * Reading guest RAM for people, without populating it
 *
 *   RAM block    |      asked about by now      |                 |
 *                +------- window ---------------+---- the next ---+-
 *                | zero |   read    | zero | ...
 *                       |  answer   |
 *
 * Readers go through memory a page at a time.  The host is asked by runs, of
 * which the last one is kept, and no further ahead than a window reaches.  A
 * window is small where somebody begins to read, since it may be one of many
 * pages that are scattered (memsave), and grows while it is read on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "migration/misc.h"
#include "migration/skip/pages.h"
#include "system/hw_accel.h"
#include "system/ram-reader.h"
#include "system/xen.h"

/* How far the answers of one window may reach, in bytes */
#define WINDOW_MIN (64 * KiB)
#define WINDOW_MAX (64 * MiB)

/* A question begins at a multiple of this. */
#define QUESTION_ALIGN (4 * KiB)

/* The most that is written in one go, so that any size_t holds it */
#define PIECE_MAX (1 * GiB)

struct RamReader {
    /* The block that was asked about last; NULL if none was */
    RAMBlock *rb;
    /* NULL if it must be read */
    PopulatedScan *scan;
    /* Size and end of the window, in bytes and as an offset in @rb */
    uint64_t window;
    uint64_t limit;
    /* The last answer: from @start to @end, it is zero, or is to be read */
    uint64_t start;
    uint64_t end;
    bool is_zero;
    /* May the file have holes? */
    bool asked_for_holes;
    bool has_holes;
    /* If a hole is the last of it so far: its end; else 0 */
    off_t hole_end;
    int hole_fd;
};

/*
 * Of memory that the machine did not allocate, nobody knows how it is mapped.
 * During incoming postcopy, what is not populated may be yet to come.
 */
static bool may_ask(const RAMBlock *rb)
{
    return !(rb->flags & RAM_PREALLOC) && !migration_in_incoming_postcopy();
}

static void begin_block(RamReader *r, RAMBlock *rb)
{
    populated_scan_free(r->scan);
    r->rb = rb;
    r->scan = NULL;
    r->window = 0;
    r->limit = 0;
    r->start = 0;
    r->end = 0;
    if (!may_ask(rb)) {
        return;
    }
    r->scan = populated_scan_of_block(rb, POPULATED_TO_SKIP);
    if (rb->page_size > qemu_real_host_page_size()) {
        /* If that fails each question takes longer, or is not answered. */
        populated_scan_count_block(r->scan, rb);
    }
}

static void begin_window(RamReader *r, uint64_t from)
{
    bool goes_on = r->window && from == r->end;

    r->window = goes_on ? MIN(2 * r->window, WINDOW_MAX) : WINDOW_MIN;
    r->limit = MIN(from + r->window, r->rb->used_length);
    populated_scan_window(r->scan, r->limit);
}

/* Ask about what lies at @offset. */
static void ask(RamReader *r, uint64_t offset)
{
    uint64_t from = QEMU_ALIGN_DOWN(offset, QUESTION_ALIGN);

    r->is_zero = false;
    if (!r->scan || offset >= r->rb->used_length) {
        r->start = from;
        r->end = r->rb->max_length;
        return;
    }
    if (from != r->end || from >= r->limit) {
        begin_window(r, from);
    }
    r->start = from;
    r->is_zero = !populated_scan_next(r->scan, from, r->limit, &r->end) &&
                 r->end - from >= QUESTION_ALIGN;
    /* A file system may have smaller blocks: what is zero in part is read. */
    r->end = r->is_zero ? QEMU_ALIGN_DOWN(r->end, QUESTION_ALIGN)
                        : QEMU_ALIGN_UP(r->end, QUESTION_ALIGN);
}

/*
 * Is what lies at @buf guest RAM that reads as zero, since it is not populated?
 * Cuts *@size to as far as the answer goes.
 */
static bool is_unpopulated(RamReader *r, const void *buf, size_t *size)
{
    uint64_t offset = r->rb ? (const uint8_t *)buf - r->rb->host : 0;

    if (!r->rb || offset < r->start || offset >= r->end) {
        ram_addr_t at;
        RAMBlock *rb;

        RCU_READ_LOCK_GUARD();
        rb = xen_enabled() ? NULL
             : qemu_ram_block_from_host((void *)buf, false, &at);
        if (!rb) {
            return false;
        }
        offset = at;
        if (rb != r->rb) {
            begin_block(r, rb);
        }
        ask(r, offset);
    }
    assert(offset >= r->start && offset < r->end);
    *size = MIN(*size, r->end - offset);
    return r->is_zero;
}

static RamReader *get_reader(RamReader **reader)
{
    if (!*reader) {
        *reader = g_new0(RamReader, 1);
    }
    return *reader;
}

bool ram_reader_is_zero(RamReader **reader, const void *buf, size_t size)
{
    RamReader *r = get_reader(reader);
    const uint8_t *at = buf;
    size_t n;

    for (; size; at += n, size -= n) {
        n = size;
        if (!is_unpopulated(r, at, &n) && !buffer_is_zero(at, n)) {
            return false;
        }
    }
    return true;
}

/* ---- Writing ---- */

/*
 * Other files have what was there before where a hole was to be, or cannot
 * seek.
 */
static bool find_out_about_holes(int fd)
{
    struct stat st;

#ifdef F_GETFL
    if (fcntl(fd, F_GETFL) & O_APPEND) {
        return false;
    }
#endif
    return !fstat(fd, &st) && S_ISREG(st.st_mode) &&
           lseek(fd, 0, SEEK_CUR) >= st.st_size;
}

static bool may_have_holes(RamReader *r, int fd)
{
    if (!r->asked_for_holes) {
        r->asked_for_holes = true;
        r->has_holes = find_out_about_holes(fd);
    }
    return r->has_holes;
}

static size_t write_zeroes(int fd, size_t size)
{
    static const uint8_t zeroes[4 * KiB];
    size_t done = 0;

    while (done < size) {
        size_t n = MIN(size - done, sizeof(zeroes));
        size_t written = qemu_write_full(fd, zeroes, n);

        done += written;
        if (written < n) {
            break;
        }
    }
    return done;
}

/* What lies in the hole is part of the file once something follows. */
static size_t write_hole(RamReader *r, int fd, size_t size)
{
    off_t end = may_have_holes(r, fd) ? lseek(fd, size, SEEK_CUR) : -1;

    if (end < 0) {
        return write_zeroes(fd, size);
    }
    r->hole_fd = fd;
    r->hole_end = end;
    return size;
}

/* Nothing follows the hole: have the file reach to its end. */
static void end_with_hole(const RamReader *r)
{
    if (r->hole_end && ftruncate(r->hole_fd, r->hole_end)) {
        error_report("The file that guest memory was written to is too short: "
                     "%s", strerror(errno));
    }
}

void ram_reader_free(RamReader **reader)
{
    if (*reader) {
        end_with_hole(*reader);
        populated_scan_free((*reader)->scan);
        g_free(*reader);
        *reader = NULL;
    }
}

/* Return value as of ram_reader_write_full() */
static size_t write_piece(RamReader *r, int fd, const uint8_t *buf, size_t size)
{
    size_t done = 0;

    /* That is to be known before anything is written. */
    may_have_holes(r, fd);
    while (done < size) {
        size_t n = size - done;
        bool is_zero = is_unpopulated(r, buf + done, &n);
        size_t written = is_zero ? write_hole(r, fd, n)
                                 : qemu_write_full(fd, buf + done, n);

        if (!is_zero && written) {
            r->hole_end = 0;
        }
        done += written;
        if (written < n) {
            break;
        }
    }
    return done;
}

size_t ram_reader_write_full(RamReader **reader, int fd, const void *buf,
                             size_t size)
{
    RamReader *own = NULL;
    size_t done = write_piece(get_reader(reader ?: &own), fd, buf, size);
    int error = errno;

    ram_reader_free(&own);
    errno = error;
    return done;
}

/* ---- Saving memory by address ---- */

/*
 * Where is the RAM that @cpu, or the machine, has at @addr?  Cuts *@size to
 * what is there.  NULL if there is none.
 */
static const uint8_t *find_ram(CPUState *cpu, uint64_t addr, hwaddr *size)
{
    AddressSpace *as = &address_space_memory;
    MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;
    MemoryRegion *mr;
    hwaddr offset;

    if (cpu) {
        uint64_t in_page = addr & ~qemu_target_page_mask();
        hwaddr page = cpu_get_phys_page_attrs_debug(cpu, addr - in_page,
                                                    &attrs);

        if (page == -1) {
            return NULL;
        }
        as = cpu_get_address_space(cpu, cpu_asidx_from_attrs(cpu, attrs));
        *size = MIN(*size, qemu_target_page_size() - in_page);
        addr = page + in_page;
    }
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(as, addr, &offset, size, false, attrs);
    if (xen_enabled() || !memory_access_is_direct(mr, false, attrs)) {
        return NULL;
    }
    /* ROM devices are not cut to what is there. */
    *size = MIN(*size, memory_region_size(mr) - offset);
    return (const uint8_t *)memory_region_get_ram_ptr(mr) + offset;
}

bool ram_reader_save(FILE *f, CPUState *cpu, uint64_t *addr, uint64_t *size)
{
    RamReader *reader = NULL;
    bool go_on = true;

    if (cpu) {
        cpu_synchronize_state(cpu);
    }
    while (go_on && *size) {
        hwaddr n = MIN(*size, PIECE_MAX);
        const uint8_t *ram = find_ram(cpu, *addr, &n);
        size_t done;

        /* What the caller has written so far comes first. */
        if (!ram || fflush(f)) {
            break;
        }
        done = write_piece(get_reader(&reader), fileno(f), ram, n);
        *addr += done;
        *size -= done;
        go_on = done == n;
    }
    ram_reader_free(&reader);
    return *size;
}
