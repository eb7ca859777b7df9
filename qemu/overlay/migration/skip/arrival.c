/*
 * The section of a migration that skips pages: the destination
 *
 * The stream says what is zero, and is not sent.  What this process holds there
 * is dropped: what was sent before the guest gave it back, and what memory held
 * before the migration, for the machine put something into it, an older file is
 * behind it, or a snapshot is loaded into a process that has run for long.
 * Nothing else is dropped.
 *
 * The first part says of which RAM blocks all is either sent or zero.  Where
 * memory can be let go of they are emptied then, before the first page.  From
 * then on a page that was not received is zero and not populated, and a page of
 * zeroes that arrives need not be written: a page that is told is not received
 * any more, as the bitmap of received pages has it.
 *
 * What is loaded into memory next to what is told, or later on in the midst of
 * it, must not make the host give a huge page to both, so huge pages are
 * forbidden there until the last part.  So they are where the map has pages: if
 * something on the host populated them on the source they are not told, but
 * arrive as pages of zeroes.
 *
 * For the format see migration/skip/section.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/madvise.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/virtio/virtio.h"
#include "migration/colo.h"
#include "hw/virtio/balloon-map.h"
#include "migration/misc.h"
#include "migration/migration.h"
#include "migration/multifd.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "arrival.h"
#include "balloon-codec.h"
#include "drop.h"
#include "hooks.h"
#include "pages.h"
#include "section.h"
#include "turns.h"
#include "trace.h"

#define HUGE_PAGE_SIZE_PATH "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
#define HUGE_PAGE_SIZE_DEFAULT (2 * MiB)

/*
 * Places where huge pages are forbidden, of all RAM blocks; each costs two
 * mappings, of which a process may have 65530.  Where more are named they are
 * forbidden in all of the RAM block.
 */
#define HUGE_PAGE_PLACES_MAX 1024

/* Memory that is looked at in one go */
#define PIECE (256 * MiB)

/*
 * The destination of a migration that skips pages: from the first part, or the
 * first gap in a file of mapped-ram, until all has been loaded.  Protected by
 * the BQL, but that threads of multifd and postcopy look whether it has begun,
 * which the latter may do after it has ended if loading fails.
 */
typedef struct SkipArrival {
    struct rcu_head rcu;
    /* The source told that it skips pages */
    bool begun;
    /* Bytes of a transparent huge page */
    uint64_t huge;
    /* Places where they are forbidden, in all RAM blocks */
    int places;
    /* The page that is being loaded: its RAM block, and was it not received? */
    RAMBlock *rb;
    bool first;
} SkipArrival;

static SkipArrival *get_arrival(void)
{
    return qatomic_rcu_read(&migration_incoming_get_current()->skip);
}

bool skip_arrival_begun(void)
{
    const SkipArrival *arrival;

    RCU_READ_LOCK_GUARD();
    arrival = get_arrival();
    return arrival && qatomic_read(&arrival->begun);
}

/* ---- Huge pages ---- */

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

static SkipArrival *get_or_add_arrival(void)
{
    SkipArrival *arrival;

    if (!get_arrival()) {
        skip_pages_add();
        arrival = g_new0(SkipArrival, 1);
        arrival->huge = huge_page_size();
        qatomic_rcu_set(&migration_incoming_get_current()->skip, arrival);
    }
    return get_arrival();
}

/* Forbid huge pages in [@start, @end), in bytes, if they are not already. */
static void forbid_place(RAMBlock *rb, uint64_t start, uint64_t end)
{
    unsigned long *forbidden = rb->skip_pages->forbidden;
    SkipArrival *arrival = get_arrival();
    uint64_t first = start / arrival->huge;
    uint64_t last = DIV_ROUND_UP(end, arrival->huge);

    if (find_next_zero_bit(forbidden, last, first) < last) {
        bitmap_set(forbidden, first, last - first);
        arrival->places++;
        start = first * arrival->huge;
        end = MIN(last * arrival->huge, rb->used_length);
        qemu_madvise(rb->host + start, end - start, QEMU_MADV_NOHUGEPAGE);
    }
}

/*
 * Forbid huge pages in all that @named has in @range, in pages of @bits bits,
 * and where that begins or ends: a page in the midst of it may still be sent.
 */
static void forbid_huge_pages(RAMBlock *rb, const unsigned long *named,
                              int bits, const PageRun *range)
{
    SkipPages *pages = rb->skip_pages;
    SkipArrival *arrival = get_arrival();
    uint64_t from = range->start;
    PageRun run;

    if (!pages || rb->page_size != qemu_real_host_page_size()) {
        return;
    }
    if (!pages->forbidden) {
        pages->forbidden = bitmap_new(DIV_ROUND_UP(rb->max_length,
                                                   arrival->huge));
    }
    for (; arrival->places < HUGE_PAGE_PLACES_MAX &&
           page_run_next(named, from, range->end, &run); from = run.end) {
        forbid_place(rb, run.start << bits, run.end << bits);
    }
    if (arrival->places >= HUGE_PAGE_PLACES_MAX) {
        forbid_place(rb, 0, rb->used_length);
    }
    trace_skip_arrival_forbid_huge_pages(rb->idstr, arrival->places);
}

static void allow_huge_pages(void)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (rb->skip_pages && rb->skip_pages->forbidden) {
            g_clear_pointer(&rb->skip_pages->forbidden, g_free);
            qemu_madvise(rb->host, rb->used_length, QEMU_MADV_HUGEPAGE);
        }
    }
}

/* ---- Records ---- */

/* A record of a RAM block, as it was read */
typedef struct Record {
    SkipSectionRecord type;
    char id[256];
    uint64_t pages;
    uint32_t size;
} Record;

/* What loading a part of the section works with */
typedef struct Arrival {
    uint32_t flags;
    uint8_t *buf;
    SkipTurns turns;
    /* The record under way, and the pages it is about */
    Record r;
    PageRun range;
    /* Of the last RAM block of which there was a word */
    SkipDrop *drop;
    /* The word under way, empty between two of them, and bytes dropped */
    unsigned long *word;
    uint64_t dropped;
} Arrival;

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
    if (version != SKIP_SECTION_VERSION) {
        error_setg(errp, "format %" PRIu32 " is not known, only %d is",
                   version, SKIP_SECTION_VERSION);
        return false;
    }
    if (*flags & ~SKIP_FLAGS) {
        error_setg(errp, "flags 0x%" PRIx32 " are not known",
                   *flags & ~SKIP_FLAGS);
        return false;
    }
    if (page_size != BALLOON_MAP_PAGE_SIZE) {
        error_setg(errp, "balloon pages of %" PRIu32 " bytes are not known",
                   page_size);
        return false;
    }
    return true;
}

static bool get_record(QEMUFile *f, Arrival *a, Error **errp)
{
    Record *r = &a->r;
    int id_len;

    r->type = qemu_get_byte(f);
    if (qemu_file_get_error(f)) {
        error_setg(errp, "the stream is cut short");
        return false;
    }
    if (r->type > SKIP_SECTION_SYNC) {
        error_setg(errp, "records of kind %d are not known", r->type);
        return false;
    }
    if (r->type == SKIP_SECTION_LAST || r->type == SKIP_SECTION_SYNC) {
        return true;
    }
    id_len = qemu_get_byte(f);
    qemu_get_buffer(f, (uint8_t *)r->id, id_len);
    r->id[id_len] = 0;
    r->pages = qemu_get_be64(f);
    r->size = r->type == SKIP_SECTION_MAP || r->type == SKIP_SECTION_WORD
              ? qemu_get_be32(f) : 0;
    if (!qemu_file_get_error(f) && r->size > BALLOON_CODEC_MAX) {
        error_setg(errp, "%" PRIu32 " bytes for RAM block '%s' are too many",
                   r->size, r->id);
        return false;
    }
    if (qemu_file_get_error(f) ||
        qemu_get_buffer(f, a->buf, r->size) != r->size) {
        error_setg(errp, "the stream is cut short");
        return false;
    }
    return true;
}

static RAMBlock *look_up_block(const char *id)
{
    RCU_READ_LOCK_GUARD();
    return qemu_ram_block_by_name(id);
}

/* Find the RAM block of a record. */
static RAMBlock *find_block(const Record *r, Error **errp)
{
    RAMBlock *rb = look_up_block(r->id);

    if (!rb || !qemu_ram_is_migratable(rb)) {
        error_setg(errp, "there is no RAM block '%s' here", r->id);
        return NULL;
    }
    if (r->pages != skip_section_pages(rb, r->type)) {
        error_setg(errp, "RAM block '%s' has %" PRIu64 " pages on the source "
                   "and %" PRIu64 " here", r->id, r->pages,
                   skip_section_pages(rb, r->type));
        return NULL;
    }
    if (rb->flags & RAM_READONLY) {
        error_setg(errp, "RAM block '%s' is read-only here", r->id);
        return NULL;
    }
    if (r->type != SKIP_SECTION_MAP &&
        (migrate_ram_is_ignored(rb) || !rb->skip_pages)) {
        error_setg(errp, "RAM block '%s' is not sent", r->id);
        return NULL;
    }
    return rb;
}

/* Decode into @bits, of which *@count are set; forbid huge pages there. */
static bool decode(Arrival *a, RAMBlock *rb, unsigned long *bits,
                   uint64_t *count, Error **errp)
{
    const Record *r = &a->r;
    uint64_t used = rb->used_length >> skip_section_page_bits(r->type);
    BalloonCodecError err;

    err = balloon_codec_decode(bits, r->pages, count, a->buf, r->size,
                               &a->range);
    if (err) {
        error_setg(errp, "what is said of RAM block '%s' is malformed: %s",
                   r->id, balloon_codec_error(err));
        return false;
    }
    if (find_next_bit(bits, r->pages, used) < r->pages) {
        error_setg(errp, "pages beyond the end of RAM block '%s' are named",
                   r->id);
        return false;
    }
    /* In END there is no need any more: they are allowed right behind it. */
    if (!(a->flags & SKIP_FLAG_END)) {
        forbid_huge_pages(rb, bits, skip_section_page_bits(r->type),
                          &a->range);
    }
    return true;
}

/* ---- Drop ---- */

static void end_block(Arrival *a)
{
    skip_drop_free(a->drop);
    g_free(a->word);
    a->drop = NULL;
    a->word = NULL;
}

/* Turn to @rb; consecutive records are mostly of the same one. */
static void begin_block(Arrival *a, RAMBlock *rb)
{
    if (!a->drop || skip_drop_block(a->drop) != rb) {
        end_block(a);
        a->drop = skip_drop_new(rb);
        a->word = bitmap_new(skip_section_pages(rb, SKIP_SECTION_WORD));
    }
    skip_drop_look_again(a->drop);
    a->dropped = 0;
}

/*
 * Let the main loop run if it has waited for long.  It may unplug the block;
 * returns false, with @errp set, if it did.
 */
static bool take_turns(Arrival *a, Error **errp)
{
    if (!skip_turns_take(&a->turns)) {
        return true;
    }
    if (!skip_drop_block(a->drop)) {
        error_setg(errp, "RAM block '%s' went, or was resized, while it was "
                   "loaded", a->r.id);
        return false;
    }
    skip_drop_look_again(a->drop);
    return true;
}

/*
 * Why is dropped what lies at @start?  Shortens @end to where that changes.
 * What the guest gave back is let go of, even if it was to stay populated.
 * Both are in bytes.
 */
static SkipDropReason reason_at(RAMBlock *rb, uint64_t start, uint64_t *end)
{
    const unsigned long *map = balloon_map_of_block(rb);
    PageRun run;

    if (!map || !skip_drop_stays_populated(rb) ||
        !page_run_next(map, start >> BALLOON_MAP_PAGE_SHIFT,
                       *end >> BALLOON_MAP_PAGE_SHIFT, &run)) {
        return SKIP_DROP_STALE;
    }
    run.start <<= BALLOON_MAP_PAGE_SHIFT;
    run.end <<= BALLOON_MAP_PAGE_SHIFT;
    *end = run.start > start ? run.start : run.end;
    return run.start > start ? SKIP_DROP_STALE : SKIP_DROP_GIVEN_BACK;
}

/* Drop a piece of [@start, @end), and set @next to where it ends; in bytes. */
static bool drop_step(Arrival *a, uint64_t start, uint64_t end, uint64_t *next,
                      Error **errp)
{
    SkipDropReason reason = reason_at(skip_drop_block(a->drop), start, &end);
    int ret = skip_drop_step(a->drop, reason, start, end, next);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "RAM block '%s' cannot be emptied",
                         a->r.id);
        return false;
    }
    a->dropped += ret ? *next - start : 0;
    return true;
}

/* Drop what the word names. */
static bool drop_named(Arrival *a, Error **errp)
{
    const RAMBlock *rb = skip_drop_block(a->drop);
    uint64_t piece = MAX(PIECE, rb->page_size);
    int bits = qemu_target_page_bits();
    uint64_t end = MIN(a->range.end << bits, rb->used_length);
    uint64_t at = a->range.start << bits;

    while (at < end) {
        /* It ends with a page of the target, wherever a piece ended. */
        uint64_t stop = MIN(QEMU_ALIGN_DOWN(at, piece) + piece, end);
        uint64_t next;
        PageRun run;

        if (!page_run_next(a->word, at >> bits, stop >> bits, &run)) {
            at = stop;
        } else {
            at = MAX(at, run.start << bits);
            /* The runs may be many, and there is mostly nothing in them. */
            next = skip_drop_find(a->drop, at, stop);
            if (next > at) {
                at = next;
            } else if (!drop_step(a, at, run.end << bits, &at, errp)) {
                return false;
            }
        }
        if (!take_turns(a, errp)) {
            return false;
        }
    }
    return true;
}

/* What is named does not count as received any more. */
static void note_not_received(Arrival *a, RAMBlock *rb)
{
    uint64_t end = MIN(a->range.end,
                       rb->used_length >> qemu_target_page_bits());
    uint64_t at = a->range.start;
    PageRun run;

    /* Little was received of what is named, and runs of that may be many. */
    while ((at = find_next_bit(rb->receivedmap, end, at)) < end &&
           page_run_next(a->word, at, end, &run)) {
        bitmap_test_and_clear_atomic(rb->receivedmap, run.start,
                                     run.end - run.start);
        at = run.end;
    }
}

/* ---- Words ---- */

static bool load_word(Arrival *a, Error **errp)
{
    RAMBlock *rb = find_block(&a->r, errp);
    uint64_t named = 0;

    if (!rb) {
        return false;
    }
    begin_block(a, rb);
    if (!decode(a, rb, a->word, &named, errp) || !drop_named(a, errp)) {
        return false;
    }
    note_not_received(a, rb);
    page_run_clear(a->word, a->range.start, a->range.end);
    trace_skip_arrival_word(a->r.id, a->r.size, a->dropped);
    return take_turns(a, errp);
}

/* ---- The map ---- */

static bool check_device(Error **errp)
{
    VirtIODevice *vdev = balloon_map_device();

    if (!vdev) {
        error_setg(errp, "the source has a balloon, but there is no "
                   "virtio-balloon device here");
        return false;
    }
    if (!virtio_host_has_feature(vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST)) {
        error_setg(errp, "the source has a balloon, but property "
                   "'must-tell-host' of the virtio-balloon device is off "
                   "here");
        return false;
    }
    return true;
}

static bool load_map(Arrival *a, Error **errp)
{
    RAMBlock *rb = find_block(&a->r, errp);
    unsigned long *map;
    uint64_t *count;

    if (!rb || !check_device(errp)) {
        return false;
    }
    map = balloon_map_of_block_for_load(rb, &count);
    if (!decode(a, rb, map, count, errp)) {
        return false;
    }
    /* Each record looks up everything anew. */
    skip_turns_take(&a->turns);
    return true;
}

/* ---- Empty RAM blocks ---- */

static void set_cannot_be_emptied(Error **errp, const char *id, int error)
{
    error_setg_errno(errp, error, "RAM block '%s' may hold something of an "
                     "earlier use, and cannot be emptied", id);
}

/* Make [@start, @end) of a RAM block, offsets in bytes, read as zero. */
static int empty_range(const char *id, uint64_t start, uint64_t end,
                       SkipDropReason reason, SkipTurns *turns)
{
    RAMBlock *rb = look_up_block(id);
    SkipDrop *drop = rb ? skip_drop_new(rb) : NULL;
    int ret = rb ? 0 : -ENOENT;

    while (ret >= 0 && start < end) {
        ret = skip_drop_step(drop, reason, start, end, &start);
        if (skip_turns_take(turns)) {
            skip_drop_look_again(drop);
        }
    }
    skip_drop_free(drop);
    return MIN(ret, 0);
}

static int note_section(MemoryRegionSection *section, void *opaque)
{
    PageRun stretch = {
        .start = section->offset_within_region,
        .end = section->offset_within_region + int128_get64(section->size),
    };

    g_array_append_val((GArray *)opaque, stretch);
    return 0;
}

static void note_discarded(MemoryRegionSection *section, void *opaque)
{
    note_section(section, opaque);
}

static int empty_stretches(const char *id, const GArray *stretches,
                           SkipDropReason reason, SkipTurns *turns)
{
    int ret = 0;
    guint i;

    for (i = 0; !ret && i < stretches->len; i++) {
        const PageRun *stretch = &g_array_index(stretches, PageRun, i);

        ret = empty_range(id, stretch->start, stretch->end, reason, turns);
    }
    return ret;
}

/*
 * What is not plugged must not be populated.  Which memory is plugged the
 * device learns only when its state is loaded, and until then it keeps what a
 * file held before.  So the lists stay true while this takes turns.
 */
static int empty_managed(const char *id, RAMBlock *rb, SkipTurns *turns)
{
    g_autoptr(GArray) plugged = g_array_new(false, false, sizeof(PageRun));
    g_autoptr(GArray) unplugged = g_array_new(false, false,
                                              sizeof(PageRun));
    RamDiscardManager *manager =
        memory_region_get_ram_discard_manager(rb->mr);
    MemoryRegionSection section = {
        .mr = rb->mr,
        .size = rb->mr->size,
    };
    int ret;

    ram_discard_manager_replay_discarded(manager, &section, note_discarded,
                                         unplugged);
    ram_discard_manager_replay_populated(manager, &section, note_section,
                                         plugged);
    ret = empty_stretches(id, unplugged, SKIP_DROP_UNPLUGGED, turns);
    return ret ? ret : empty_stretches(id, plugged, SKIP_DROP_STALE, turns);
}

/*
 * What has to stay populated would have to be read as a whole; there each page
 * is looked at that is told, or arrives as zeroes.
 */
static bool load_empty(Arrival *a, Error **errp)
{
    const Record *r = &a->r;
    RAMBlock *rb = find_block(r, errp);
    bool managed = rb && memory_region_has_ram_discard_manager(rb->mr);
    int ret;

    if (!rb) {
        return false;
    }
    if (!(a->flags & SKIP_FLAG_START)) {
        error_setg(errp, "RAM block '%s' is to be emptied too late", r->id);
        return false;
    }
    if (!managed && !skip_drop_lets_go(rb)) {
        return true;
    }
    trace_skip_arrival_empty(r->id);
    ret = managed ? empty_managed(r->id, rb, &a->turns)
                  : empty_range(r->id, 0, rb->used_length, SKIP_DROP_STALE,
                                &a->turns);
    if (ret) {
        set_cannot_be_emptied(errp, r->id, -ret);
        return false;
    }
    rb = find_block(r, errp);
    if (rb) {
        rb->skip_pages->emptied = true;
    }
    return rb;
}

/* ---- Parts ---- */

static bool load_sync(Error **errp)
{
    if (!migrate_multifd() || migrate_mapped_ram() ||
        !multifd_recv_all_channels_created()) {
        error_setg(errp, "there are no channels to be synchronized");
        return false;
    }
    multifd_recv_sync_main();
    return true;
}

static bool load_record(Arrival *a, Error **errp)
{
    switch (a->r.type) {
    case SKIP_SECTION_MAP:
        return load_map(a, errp);
    case SKIP_SECTION_WORD:
        return load_word(a, errp);
    case SKIP_SECTION_EMPTY:
        return load_empty(a, errp);
    default:
        return load_sync(errp);
    }
}

static bool load_records(QEMUFile *f, uint32_t flags, Error **errp)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    Arrival a = {
        .flags = flags,
        .buf = buf,
    };
    bool ok, last;

    skip_turns_begin(&a.turns, "arrival");
    do {
        ok = get_record(f, &a, errp);
        skip_turns_read(&a.turns);
        last = ok && a.r.type == SKIP_SECTION_LAST;
    } while (ok && !last && (ok = load_record(&a, errp)));
    end_block(&a);
    skip_turns_end(&a.turns);
    return ok;
}

static bool load(QEMUFile *f, Error **errp)
{
    uint32_t flags;

    if (migration_in_incoming_postcopy()) {
        error_setg(errp, "it comes too late, in postcopy");
        return false;
    }
    if (migration_incoming_colo_enabled()) {
        error_setg(errp, "it does not go together with COLO");
        return false;
    }
    if (!get_header(f, &flags, errp)) {
        return false;
    }
    if (skip_arrival_begun() == !!(flags & SKIP_FLAG_START)) {
        error_setg(errp, skip_arrival_begun() ? "it begins twice"
                                              : "its beginning is missing");
        return false;
    }
    if (flags & SKIP_FLAG_START) {
        qatomic_set(&get_or_add_arrival()->begun, true);
    }
    if (flags & SKIP_FLAG_MAP && !check_device(errp)) {
        return false;
    }
    if (!load_records(f, flags, errp)) {
        return false;
    }
    if (flags & SKIP_FLAG_END) {
        allow_huge_pages();
    }
    return true;
}

int skip_arrival_load(QEMUFile *f, void *opaque, int version_id)
{
    Error *err = NULL;

    if (!load(f, &err)) {
        /* In postcopy the guest runs, and another thread loads. */
        if (!migration_in_incoming_postcopy()) {
            allow_huge_pages();
            balloon_map_reset(balloon_map_get());
        }
        error_reportf_err(err, SKIP_SECTION_NAME ": ");
        return -EINVAL;
    }
    return 0;
}

/* The load may have failed elsewhere, and the process go on. */
int skip_arrival_cleanup(void *opaque)
{
    SkipArrival *arrival = get_arrival();

    if (arrival) {
        allow_huge_pages();
        skip_pages_drop(false);
        qatomic_rcu_set(&migration_incoming_get_current()->skip, NULL);
        g_free_rcu(arrival, rcu);
    }
    return 0;
}

/* ---- Pages of zeroes ---- */

void skip_arrival_page(RAMBlock *rb, void *host)
{
    SkipArrival *arrival = get_arrival();

    if (arrival) {
        /* Of COLO, @host may be in a cache, which is none of our business. */
        bool ours = arrival->begun && !migration_incoming_in_colo_state();

        arrival->rb = ours ? rb : NULL;
        arrival->first = ours && !ramblock_recv_bitmap_test(rb, host);
    }
}

bool skip_arrival_zero(void *host)
{
    const SkipArrival *arrival = get_arrival();
    RAMBlock *rb = arrival ? arrival->rb : NULL;
    SkipPages *pages = rb ? skip_pages_of(rb) : NULL;

    return pages && pages->emptied &&
           (arrival->first ||
            skip_drop_page(rb, (uint8_t *)host - rb->host,
                           qemu_target_page_size()));
}

bool skip_arrival_zero_of_channel(RAMBlock *rb, uint64_t offset)
{
    uint64_t size = qemu_target_page_size();
    SkipPages *pages;
    bool first;

    RCU_READ_LOCK_GUARD();
    pages = skip_arrival_begun() ? skip_pages_of(rb) : NULL;
    if (!pages) {
        return false;
    }
    first = !ramblock_recv_bitmap_test_byte_offset(rb, offset);
    if (pages->emptied) {
        /* Not received, it is zero, as the caller takes it to be. */
        return !first && skip_drop_page(rb, offset, size);
    }
    if (!buffer_is_zero(rb->host + offset, size)) {
        memset(rb->host + offset, 0, size);
    }
    ramblock_recv_bitmap_set_offset(rb, offset);
    return true;
}

/* ---- Files of mapped-ram ---- */

/* @npages is what the file says. */
bool skip_arrival_gaps(RAMBlock *rb, const unsigned long *held,
                       uint64_t npages, Error **errp)
{
    int bits = qemu_target_page_bits();
    PageRun all = { .end = MIN(npages, rb->used_length >> bits) };
    g_autofree unsigned long *gaps = NULL;
    g_autofree char *id = g_strdup(rb->idstr);
    SkipTurns turns;
    PageRun run = { 0 };
    int ret = 0;

    if (!skip_unpopulated_can_ask(rb) || migrate_ram_is_ignored(rb) ||
        find_next_zero_bit(held, all.end, 0) == all.end) {
        return true;
    }
    gaps = bitmap_new(all.end);
    bitmap_complement(gaps, held, all.end);
    get_or_add_arrival();
    forbid_huge_pages(rb, gaps, bits, &all);
    skip_turns_begin(&turns, "gaps");
    while (!ret && page_run_next(gaps, run.end, all.end, &run)) {
        ret = empty_range(id, run.start << bits, run.end << bits,
                          SKIP_DROP_STALE, &turns);
    }
    skip_turns_end(&turns);
    if (ret) {
        set_cannot_be_emptied(errp, id, -ret);
    }
    return !ret;
}
