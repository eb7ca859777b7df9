/*
 * Looking at guest RAM, to show people what the host has memory for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/coroutine.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "look.h"
#include "pages.h"
#include "trace.h"

/* How long to hold the BQL in one go, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

/* Memory that is asked about in one go, and pages that are read so */
#define PIECE (256 * MiB)
#define SAMPLES_PIECE 256

void look_begin(Look *look)
{
    look->slice_begin = get_clock();
    trace_skip_bql_begin(look->what);
}

void look_end(Look *look)
{
    trace_skip_bql_end(look->what,
                       (get_clock() - look->slice_begin) / SCALE_US);
}

bool look_time_is_up(const Look *look)
{
    return get_clock() - look->slice_begin > SLICE_NS;
}

void look_pause(Look *look)
{
    look_end(look);
    if (qemu_in_coroutine()) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS);
    } else {
        bql_unlock();
        g_usleep(SCALE_MS / SCALE_US);
        bql_lock();
    }
    look_begin(look);
}

void look_sample_of(Look *look, uint64_t pages)
{
    look->stride = MAX(DIV_ROUND_UP(pages, LOOK_SAMPLES_MAX), 1);
}

/* Not what is swapped out, which would be swapped in. */
static bool is_zero_page(const Look *look, RAMBlock *rb, uint64_t page)
{
    size_t size = (size_t)1 << look->bits;
    g_autofree uint8_t *buf = g_malloc(size);

    return populated_read_resident(rb->host + page * size, buf, size) &&
           buffer_is_zero(buf, size);
}

/*
 * Of each stride of populated pages one is read, and not the first one always,
 * since memory is used in patterns.
 */
void look_at_populated(Look *look, RAMBlock *rb, uint64_t at, uint64_t end)
{
    uint64_t first = look->sums.populated;
    uint64_t i;

    look->sums.populated += end - at;
    for (i = first / look->stride;
         i * look->stride < look->sums.populated; i++) {
        uint64_t n = i * look->stride +
                     ((i * 0x9e3779b97f4a7c15) >> 32) % look->stride;

        if (n >= first && n < look->sums.populated) {
            look->sums.sampled++;
            look->sums.zeroes += is_zero_page(look, rb, at + n - first);
        }
    }
}

uint64_t look_zeroes(const Look *look)
{
    return look->sums.sampled ? muldiv64(look->sums.populated,
                                         look->sums.zeroes,
                                         look->sums.sampled) : 0;
}

static bool is_huge(const RAMBlock *rb)
{
    return rb->page_size != qemu_real_host_page_size();
}

/*
 * Page tables do not know huge pages that another process has populated, or
 * that were in the file before.  Of a private mapping they know copies, too.
 */
static bool is_more_in_file(const Look *look, RAMBlock *rb)
{
    uint64_t known = qemu_ram_is_shared(rb)
                     ? look->sums.mapped << look->bits : 0;
    struct stat st;

    return rb->fd >= 0 && is_huge(rb) &&
           (fstat(rb->fd, &st) < 0 || st.st_blocks * 512 > known);
}

int64_t look_at_block(Look *look, RAMBlock *rb, const unsigned long *only,
                      uint64_t at, uint64_t npages, LookFn *fn, void *opaque)
{
    PopulatedScan *scan = populated_scan_of_block(rb, POPULATED_TO_DROP);
    uint64_t limit = 0;
    int ret = 0;

    do {
        uint64_t end = 0, next;

        if (only && !is_huge(rb)) {
            at = find_next_bit(only, npages, at);
            if (at >= npages) {
                break;
            }
        }
        if (at << look->bits >= limit) {
            limit = MIN((at << look->bits) + PIECE, npages << look->bits);
            populated_scan_window(scan, limit);
        }
        ret = populated_scan_next(scan, at << look->bits, limit, &end);
        /* To show it to people, it need not be certain. */
        ret = ret == -EAGAIN ? 0 : ret;
        if (ret > 0) {
            end = MIN(end, (at + SAMPLES_PIECE * look->stride) << look->bits);
        }
        next = MIN(DIV_ROUND_UP(end, UINT64_C(1) << look->bits), npages);
        if (ret >= 0) {
            look->sums.mapped += ret ? next - at : 0;
            fn(look, rb, at, ret ? next : end >> look->bits, ret, opaque);
        }
        at = next;
    } while (ret >= 0 && at < npages && !look_time_is_up(look));
    populated_scan_free(scan);
    if (ret >= 0 && at >= npages && is_more_in_file(look, rb)) {
        ret = -EAGAIN;
    }
    return ret < 0 ? ret : (int64_t)at;
}
