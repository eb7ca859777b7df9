/*
 * Balloon section: the balloon map in the migration stream
 *
 * A section "balloon-map" of its own, present only if capability skip-balloon
 * is active on the source.  It is sent twice.  At setup it holds the whole
 * map, so that with the guest stopped it need hold only the chunks that
 * changed since: downtime does not depend on the size of the balloon.
 *
 * The destination replaces its own map by what arrives, and drops what it has
 * in the pages of the map (see skip-drop.h).  With the first part that is what
 * the memory may have held before the migration; with the second one, in what
 * changed, what loading RAM has filled: pages that were sent before the guest
 * gave them back.  What did not change was never sent.  Every page that is in
 * the map in the end thus reads as zero on the destination, and is not
 * populated where memory can be let go of.  (The source takes pages out of its
 * map that turn out to hold something, so nothing is lost.)
 *
 * Format, all numbers big-endian:
 *
 *   be32  version, 1
 *   be32  flags
 *           1: forget what arrived before, the map is empty
 *           2: the last part, sent with the guest stopped
 *   be32  size of a balloon page in bytes, 4096
 *   then any number of blocks of
 *     u8    length of the name of a RAM block, at least 1
 *     ...   name
 *     be64  size of the RAM block in balloon pages (its maximum, if it can be
 *           resized)
 *     be32  bytes that follow, at most 65536
 *     ...   segments as described in migration/balloon-codec.c
 *   u8    0
 *
 * The same RAM block may come several times.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "qemu/madvise.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/ramblock.h"
#include "hw/virtio/virtio.h"
#include "migration/balloon-codec.h"
#include "migration/balloon-map.h"
#include "migration/balloon-section.h"
#include "migration/misc.h"
#include "migration/populated-block.h"
#include "migration/register.h"
#include "migration/skip-balloon.h"
#include "migration/skip-drop.h"
#include "migration/skip-pass.h"
#include "migration/skip-turns.h"
#include "options.h"
#include "qemu-file.h"
#include "ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "trace.h"

#define SECTION_NAME "balloon-map"
#define SECTION_VERSION 1

#define HUGE_PAGE_SIZE_PATH "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
#define HUGE_PAGE_SIZE_DEFAULT (2 * MiB)
#define HUGE_PAGE_PLACES_MAX 1024

/* Chunks that are encoded, and decoded, in one go: 64 GiB of memory */
#define STEP_CHUNKS 512

/* How long to leave the BQL to others; a mutex is not fair to who waits */
#define PAUSE_US 100

/* Balloon pages that are looked at in one go on arrival */
#define PIECE_PAGES ((256 * MiB) >> BALLOON_BITMAP_PAGE_SHIFT)

#define FLAG_EMPTY 1
#define FLAG_FINAL 2
#define FLAGS_KNOWN (FLAG_EMPTY | FLAG_FINAL)

static uint64_t block_pages(const RAMBlock *rb)
{
    return rb->max_length >> BALLOON_BITMAP_PAGE_SHIFT;
}

/* ---- Source ---- */

static size_t put_header(QEMUFile *f, uint32_t flags)
{
    qemu_put_be32(f, SECTION_VERSION);
    qemu_put_be32(f, flags);
    qemu_put_be32(f, BALLOON_BITMAP_PAGE_SIZE);
    return 12;
}

static size_t put_end(QEMUFile *f)
{
    qemu_put_byte(f, 0);
    return 1;
}

/*
 * Encode chunks from @chunk on, as many as fit.  Returns the size.
 *
 * The longest run takes a few bytes, but to find its end takes time, here and
 * on the destination, so there is a limit to that, too.
 */
static size_t encode_chunks(RAMBlock *rb, uint64_t *chunk, uint64_t end,
                            uint8_t *buf)
{
    const BalloonBitmap *bitmap = balloon_map_of_block(rb);
    int64_t begin = get_clock();
    uint64_t after = 0;
    size_t size = 0;

    trace_skip_bql_begin("map");
    if (bitmap) {
        size = balloon_codec_encode(bitmap, chunk,
                                    MIN(end, *chunk + STEP_CHUNKS), &after,
                                    buf, BALLOON_CODEC_MAX);
    } else {
        /* The device was unplugged while others had the BQL. */
        *chunk = end;
    }
    trace_skip_bql_end("map", (get_clock() - begin) / SCALE_US);
    return size;
}

/*
 * Send the chunks [@chunk, @end) of the map of @rb.  With @pause, let others
 * have the BQL while a piece is written, which may take long.  Returns bytes
 * sent.
 */
static size_t put_chunks(QEMUFile *f, RAMBlock *rb, uint64_t chunk,
                         uint64_t end, bool pause)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    size_t id_len = strlen(rb->idstr);
    size_t total = 0;

    while (chunk < end) {
        size_t size = encode_chunks(rb, &chunk, end, buf);

        if (pause) {
            bql_unlock();
        }
        qemu_put_byte(f, id_len);
        qemu_put_buffer(f, (const uint8_t *)rb->idstr, id_len);
        qemu_put_be64(f, block_pages(rb));
        qemu_put_be32(f, size);
        qemu_put_buffer(f, buf, size);
        total += 1 + id_len + 8 + 4 + size;
        if (pause) {
            g_usleep(PAUSE_US);
            bql_lock();
        }
    }
    return total;
}

static void finish(QEMUFile *f, size_t bytes, bool final)
{
    skip_balloon_count_map_bytes(bytes, final);
    ram_transferred_add(bytes);
    trace_balloon_section_save(bytes, final);
}

/* Names of the RAM blocks that the first part has told of */
static GPtrArray *told_blocks;

/*
 * The destination still has a DIMM that the guest ejected while it migrated,
 * and the map of it.
 */
static bool told_of_blocks_that_went(void)
{
    guint i;

    RCU_READ_LOCK_GUARD();
    for (i = 0; i < told_blocks->len; i++) {
        if (!qemu_ram_block_by_name(g_ptr_array_index(told_blocks, i))) {
            return true;
        }
    }
    return false;
}

/* Send all of the map of @rb.  Returns bytes sent. */
static size_t put_map(QEMUFile *f, RAMBlock *rb, bool pause)
{
    const BalloonBitmap *bitmap = balloon_map_of_block(rb);

    if (!bitmap || !balloon_bitmap_count(bitmap)) {
        return 0;
    }
    return put_chunks(f, rb, 0,
                      balloon_codec_chunks(balloon_bitmap_size(bitmap)),
                      pause);
}

static int balloon_section_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    size_t bytes = put_header(f, FLAG_EMPTY);
    /* A snapshot is saved by the main loop, for which nobody else waits. */
    bool pause = !skip_pass_in_savevm();
    RAMBlock *rb;

    /* What it finds to be in use leaves the map, so it comes first. */
    skip_pass_first();
    g_clear_pointer(&told_blocks, g_ptr_array_unref);
    told_blocks = g_ptr_array_new_with_free_func(g_free);
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_MIGRATABLE(rb) {
        g_autofree char *id = g_strdup(rb->idstr);
        size_t size = put_map(f, rb, pause);

        if (size) {
            /* It may be gone by now, and nameless. */
            g_ptr_array_add(told_blocks, g_steal_pointer(&id));
        }
        bytes += size;
    }
    bytes += put_end(f);
    finish(f, bytes, false);
    return 0;
}

/*
 * Memory that both sides share is not sent, so no pass looks at it.  Take out
 * of the map what the guest turns out to use.  It does no harm to miss a page
 * that the kernel moves just now: there nothing is dropped, and the next
 * migration asks anew.
 */
static void forget_populated(RAMBlock *rb)
{
    const BalloonBitmap *bitmap = balloon_map_of_block(rb);
    PopulatedScan *scan = populated_scan_of_block(rb, POPULATED_TO_SHOW);
    uint64_t from = 0, end;
    BalloonRun run;

    while (bitmap && balloon_bitmap_next_run(bitmap, from, &run)) {
        int ret = populated_scan_next(scan,
                                      run.start << BALLOON_BITMAP_PAGE_SHIFT,
                                      run.end << BALLOON_BITMAP_PAGE_SHIFT,
                                      &end);

        from = DIV_ROUND_UP(end, BALLOON_BITMAP_PAGE_SIZE);
        if (ret) {
            balloon_map_forget(rb, run.start, from - run.start);
        }
    }
    populated_scan_free(scan);
}

static int balloon_section_save_complete(QEMUFile *f, void *opaque)
{
    bool usable = skip_balloon_usable();
    bool anew = told_of_blocks_that_went();
    size_t bytes = put_header(f, FLAG_FINAL |
                                 (usable && !anew ? 0 : FLAG_EMPTY));
    RAMBlock *rb;

    /*
     * If the device is gone, or its driver does not tell any more, nobody has
     * looked which pages of the map are populated.
     */
    if (usable) {
        RCU_READ_LOCK_GUARD();
        RAMBLOCK_FOREACH_MIGRATABLE(rb) {
            uint64_t start, end;

            if (migrate_ram_is_ignored(rb)) {
                forget_populated(rb);
            }
            if (anew) {
                bytes += put_map(f, rb, false);
                continue;
            }
            for (start = 0; balloon_map_next_change(rb, &start, &end);
                 start = end) {
                bytes += put_chunks(f, rb, start, end, false);
            }
        }
    }
    bytes += put_end(f);
    finish(f, bytes, true);
    return 0;
}

static bool balloon_section_is_active(void *opaque)
{
    /* See skip-snapshot.c */
    return skip_balloon_active() && !migrate_background_snapshot();
}

/* ---- Destination ---- */

static bool check_device(Error **errp)
{
    VirtIODevice *vdev = balloon_map_device();

    if (!vdev) {
        error_setg(errp, "the source skips the memory in the balloon, but "
                   "there is no virtio-balloon device here");
        return false;
    }
    if (!virtio_host_has_feature(vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST)) {
        error_setg(errp, "the source skips the memory in the balloon, but "
                   "property 'must-tell-host' of the virtio-balloon device "
                   "is off here");
        return false;
    }
    return true;
}

/* One block of the section, as it was read */
typedef struct ArrivedBlock {
    char id[256];
    uint64_t pages;
    uint32_t size;
} ArrivedBlock;

/* What loading a part of the section works with */
typedef struct Arrival {
    uint8_t *buf;
    SkipTurns turns;
    /* Of the RAM block under way, to be looked up after each turn */
    char *id;
    SkipDrop *drop;
    BalloonBitmap *bitmap;
    /* Stretches of the map that arrived, as BalloonRun */
    GArray *stretches;
    uint64_t discarded;
} Arrival;

/* Turn to @rb; consecutive blocks are mostly of the same one. */
static void arrival_set_block(Arrival *a, RAMBlock *rb)
{
    if (!a->drop || skip_drop_block(a->drop) != rb) {
        skip_drop_free(a->drop);
        a->drop = skip_drop_new(rb, SKIP_DROP_GIVEN_BACK);
        g_free(a->id);
        a->id = g_strdup(rb->idstr);
    }
    a->bitmap = balloon_map_of_block_for_load(rb);
    a->discarded = 0;
    skip_drop_look_again(a->drop);
}

/*
 * The main loop ran: it may have unplugged the balloon, or the RAM block.
 * Returns false, with @errp set, if this cannot go on.
 */
static bool look_up_again(Arrival *a, Error **errp)
{
    RAMBlock *rb = skip_drop_block(a->drop);

    if (!check_device(errp)) {
        return false;
    }
    if (!rb) {
        error_setg(errp, "RAM block '%s' went, or was resized, while its map "
                   "was loaded", a->id);
        return false;
    }
    a->bitmap = balloon_map_of_block_for_load(rb);
    skip_drop_look_again(a->drop);
    return true;
}

/* Let the main loop run if it has waited for long. */
static bool take_turns(Arrival *a, Error **errp)
{
    return !skip_turns_take(&a->turns) || look_up_again(a, errp);
}

/* Drop a piece of @run, and set @page to where it ends. */
static bool let_go_step(Arrival *a, const BalloonRun *run, uint64_t *page,
                        Error **errp)
{
    uint64_t start = run->start << BALLOON_BITMAP_PAGE_SHIFT;
    uint64_t next;
    int ret = skip_drop_step(a->drop, start,
                             run->end << BALLOON_BITMAP_PAGE_SHIFT, &next);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "RAM block '%s' cannot be emptied",
                         a->id);
        return false;
    }
    a->discarded += ret ? next - start : 0;
    *page = next >> BALLOON_BITMAP_PAGE_SHIFT;
    return true;
}

/* Drop what is in the map in [@page, @end). */
static bool let_go_arrived(Arrival *a, uint64_t page, uint64_t end,
                           Error **errp)
{
    uint64_t used = skip_drop_block(a->drop)->used_length
                    >> BALLOON_BITMAP_PAGE_SHIFT;
    BalloonRun run;

    for (end = MIN(end, used); page < end; ) {
        uint64_t stop = MIN(end, page + PIECE_PAGES);
        uint64_t start = page << BALLOON_BITMAP_PAGE_SHIFT;
        uint64_t next = skip_drop_find(a->drop, start,
                                       stop << BALLOON_BITMAP_PAGE_SHIFT);

        /* The runs may be many, and there is mostly nothing in them. */
        if (next > start) {
            page = next >> BALLOON_BITMAP_PAGE_SHIFT;
        } else if (!balloon_bitmap_next_run_before(a->bitmap, page, stop,
                                                   &run)) {
            page = stop;
        } else if (!let_go_step(a, &run, &page, errp)) {
            return false;
        }
        if (!take_turns(a, errp)) {
            return false;
        }
    }
    return true;
}

static void note_arrived(uint64_t page, uint64_t npages, void *opaque)
{
    GArray *stretches = opaque;
    BalloonRun stretch = { .start = page, .end = page + npages };

    g_array_append_val(stretches, stretch);
}

/* Size of a transparent huge page, in bytes */
static uint64_t huge_page_size(void)
{
    g_autofree char *text = NULL;
    uint64_t size;

    if (g_file_get_contents(HUGE_PAGE_SIZE_PATH, &text, NULL, NULL) &&
        !qemu_strtou64(g_strchomp(text), NULL, 10, &size) &&
        is_power_of_2(size)) {
        return size;
    }
    return HUGE_PAGE_SIZE_DEFAULT;
}

/*
 * While RAM is loaded, the host must not give a huge page to a page next to
 * the balloon: that would populate the balloon, in chunks that nobody looks
 * at again.  So forbid huge pages where the balloon begins or ends.  Each
 * place costs a mapping of its own, until they are allowed again; if there
 * are too many, take the whole block.
 */
static void forbid_huge_pages(RAMBlock *rb)
{
    const BalloonBitmap *bitmap = balloon_map_of_block(rb);
    uint64_t huge = huge_page_size();
    uint64_t done = 0;
    int places = 0;
    BalloonRun run;
    uint64_t from;

    if (!bitmap || rb->page_size != qemu_real_host_page_size()) {
        return;
    }
    if (balloon_bitmap_runs(bitmap) > HUGE_PAGE_PLACES_MAX) {
        qemu_madvise(rb->host, rb->used_length, QEMU_MADV_NOHUGEPAGE);
        return;
    }
    for (from = 0; balloon_bitmap_next_run(bitmap, from, &run);
         from = run.end) {
        uint64_t edge[] = {
            run.start << BALLOON_BITMAP_PAGE_SHIFT,
            run.end << BALLOON_BITMAP_PAGE_SHIFT,
        };
        int i;

        for (i = 0; i < ARRAY_SIZE(edge); i++) {
            uint64_t start = QEMU_ALIGN_DOWN(edge[i], huge);
            uint64_t end = MIN(start + huge, rb->used_length);

            if (edge[i] != start && start >= done) {
                qemu_madvise(rb->host + start, end - start,
                             QEMU_MADV_NOHUGEPAGE);
                done = end;
                places++;
            }
        }
    }
    trace_balloon_section_forbid_huge_pages(rb->idstr, places);
}

static void allow_huge_pages(RAMBlock *rb)
{
    if (balloon_map_of_block(rb) &&
        rb->page_size == qemu_real_host_page_size()) {
        qemu_madvise(rb->host, rb->used_length, QEMU_MADV_HUGEPAGE);
    }
}

/* Huge pages are forbidden at places until the last part has arrived. */
static bool huge_pages_forbidden;

static void for_each_block(void (*func)(RAMBlock *rb))
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        func(rb);
    }
}

static bool get_header(QEMUFile *f, uint32_t *flags, Error **errp)
{
    uint32_t version = qemu_get_be32(f);
    uint32_t page_size;

    *flags = qemu_get_be32(f);
    page_size = qemu_get_be32(f);
    if (qemu_file_get_error(f)) {
        error_setg(errp, "the stream is cut short");
        return false;
    }
    if (version != SECTION_VERSION) {
        error_setg(errp, "format %" PRIu32 " is not known, only %d is",
                   version, SECTION_VERSION);
        return false;
    }
    if (*flags & ~FLAGS_KNOWN) {
        error_setg(errp, "flags 0x%" PRIx32 " are not known",
                   *flags & ~FLAGS_KNOWN);
        return false;
    }
    if (page_size != BALLOON_BITMAP_PAGE_SIZE) {
        error_setg(errp, "balloon pages of %" PRIu32 " bytes are not known",
                   page_size);
        return false;
    }
    return true;
}

/* Find the RAM block of what was read. */
static RAMBlock *find_block(const ArrivedBlock *arrived, Error **errp)
{
    RAMBlock *rb;

    WITH_RCU_READ_LOCK_GUARD() {
        rb = qemu_ram_block_by_name(arrived->id);
    }
    if (!rb || !qemu_ram_is_migratable(rb)) {
        error_setg(errp, "there is no RAM block '%s' here", arrived->id);
        return NULL;
    }
    if (arrived->pages != block_pages(rb)) {
        error_setg(errp, "RAM block '%s' has %" PRIu64 " pages on the source "
                   "and %" PRIu64 " here", arrived->id, arrived->pages,
                   block_pages(rb));
        return NULL;
    }
    if (rb->flags & RAM_READONLY) {
        error_setg(errp, "RAM block '%s' is read-only here", arrived->id);
        return NULL;
    }
    return rb;
}

/*
 * With multifd, pages arrive in other channels, in no order with this section
 * until all of them are there, and with mapped-ram they are all loaded before
 * it: what the first part named could hold content that was sent after it.  So
 * discard nothing before the last part, which comes when all pages are there,
 * and then look at the whole map.
 *
 * What both sides share is never discarded: what is in the map has been there,
 * and if something is there all the same, the guest is running on it.
 */
static bool discard_on_arrival(RAMBlock *rb)
{
    return !migrate_multifd() && !migrate_mapped_ram() &&
           !migrate_ram_is_ignored(rb);
}

/*
 * Read one block of the section; the main loop may run meanwhile.  Returns
 * false at the end of the section, or with @errp set.
 */
static bool read_block(QEMUFile *f, Arrival *a, ArrivedBlock *arrived,
                       Error **errp)
{
    int id_len = qemu_get_byte(f);

    if (id_len) {
        qemu_get_buffer(f, (uint8_t *)arrived->id, id_len);
        arrived->id[id_len] = 0;
        arrived->pages = qemu_get_be64(f);
        arrived->size = qemu_get_be32(f);
        if (!qemu_file_get_error(f) && arrived->size > BALLOON_CODEC_MAX) {
            error_setg(errp, "%" PRIu32 " bytes for RAM block '%s' are too "
                       "many", arrived->size, arrived->id);
            return false;
        }
    }
    if (qemu_file_get_error(f) ||
        (id_len && qemu_get_buffer(f, a->buf, arrived->size) !=
                   arrived->size)) {
        error_setg(errp, "the stream is cut short");
        return false;
    }
    return id_len;
}

/* Put a block of the section into the map, and drop what it names. */
static bool load_block(Arrival *a, const ArrivedBlock *arrived, Error **errp)
{
    RAMBlock *rb = find_block(arrived, errp);
    BalloonCodecError err;
    BalloonRun run;
    guint i;

    /* The main loop may have run while that was read. */
    if (!rb || !check_device(errp)) {
        return false;
    }
    arrival_set_block(a, rb);
    g_array_set_size(a->stretches, 0);
    err = balloon_codec_decode(a->bitmap, a->buf, arrived->size,
                               discard_on_arrival(rb) ? note_arrived : NULL,
                               a->stretches);
    if (err) {
        error_setg(errp, "the map of RAM block '%s' is malformed: %s",
                   a->id, balloon_codec_error(err));
        return false;
    }
    if (balloon_bitmap_next_run(a->bitmap, rb->used_length
                                >> BALLOON_BITMAP_PAGE_SHIFT, &run)) {
        error_setg(errp, "the map of RAM block '%s' names pages beyond the "
                   "end", a->id);
        return false;
    }
    for (i = 0; i < a->stretches->len; i++) {
        run = g_array_index(a->stretches, BalloonRun, i);
        if (!let_go_arrived(a, run.start, run.end, errp)) {
            return false;
        }
    }
    trace_balloon_section_load(a->id, arrived->size,
                               balloon_bitmap_count(a->bitmap), a->discarded);
    return take_turns(a, errp);
}

static bool get_blocks(QEMUFile *f, Arrival *a, Error **errp)
{
    ERRP_GUARD();
    ArrivedBlock arrived;
    bool more;

    do {
        skip_turns_read_begin(&a->turns);
        more = read_block(f, a, &arrived, errp);
        skip_turns_read_end(&a->turns);
    } while (more && load_block(a, &arrived, errp));
    return !*errp;
}

/* The names of the RAM blocks of which the map had to wait */
static GPtrArray *blocks_that_wait(void)
{
    GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (!discard_on_arrival(rb) && balloon_map_of_block(rb)) {
            g_ptr_array_add(ids, g_strdup(rb->idstr));
        }
    }
    return ids;
}

/* Drop what the whole map names where that had to wait. */
static bool drop_rest(Arrival *a, Error **errp)
{
    g_autoptr(GPtrArray) ids = blocks_that_wait();
    guint i;

    for (i = 0; i < ids->len; i++) {
        const char *id = g_ptr_array_index(ids, i);
        RAMBlock *rb;

        WITH_RCU_READ_LOCK_GUARD() {
            rb = qemu_ram_block_by_name(id);
        }
        if (!rb) {
            error_setg(errp, "RAM block '%s' went while the map was loaded",
                       id);
            return false;
        }
        arrival_set_block(a, rb);
        if (!let_go_arrived(a, 0, balloon_bitmap_size(a->bitmap), errp)) {
            return false;
        }
    }
    return true;
}

static bool load_parts(QEMUFile *f, uint32_t flags, Error **errp)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    g_autoptr(GArray) stretches = g_array_new(false, false,
                                              sizeof(BalloonRun));
    Arrival a = {
        .buf = buf,
        .stretches = stretches,
    };
    bool ok;

    skip_turns_begin(&a.turns, "arrival");
    ok = get_blocks(f, &a, errp) &&
         (!(flags & FLAG_FINAL) || drop_rest(&a, errp));
    skip_turns_end(&a.turns);
    skip_drop_free(a.drop);
    g_free(a.id);
    return ok;
}

static bool load(QEMUFile *f, Error **errp)
{
    uint32_t flags;

    if (!bql_locked() || migration_in_incoming_postcopy()) {
        error_setg(errp, "it comes too late, in postcopy");
        return false;
    }
    if (!get_header(f, &flags, errp) || !check_device(errp)) {
        return false;
    }
    if (flags & FLAG_EMPTY) {
        balloon_map_reset();
    }
    if (!load_parts(f, flags, errp)) {
        return false;
    }
    huge_pages_forbidden = !(flags & FLAG_FINAL);
    for_each_block(huge_pages_forbidden ? forbid_huge_pages
                                        : allow_huge_pages);
    return true;
}

static int balloon_section_load(QEMUFile *f, void *opaque, int version_id)
{
    Error *err = NULL;

    if (!load(f, &err)) {
        if (bql_locked()) {
            for_each_block(allow_huge_pages);
            balloon_map_reset();
        }
        error_reportf_err(err, "balloon map: ");
        return -EINVAL;
    }
    return 0;
}

/* The load may have failed elsewhere, and the process go on. */
static int balloon_section_load_cleanup(void *opaque)
{
    if (huge_pages_forbidden) {
        huge_pages_forbidden = false;
        for_each_block(allow_huge_pages);
    }
    return 0;
}

static const SaveVMHandlers balloon_section_handlers = {
    .save_setup = balloon_section_save_setup,
    .save_live_complete_precopy = balloon_section_save_complete,
    .is_active = balloon_section_is_active,
    .load_state = balloon_section_load,
    .load_cleanup = balloon_section_load_cleanup,
};

void balloon_section_register(void)
{
    register_savevm_live(SECTION_NAME, 0, SECTION_VERSION,
                         &balloon_section_handlers, NULL);
}
