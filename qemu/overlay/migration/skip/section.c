/*
 * The section of a migration that skips pages: the source
 *
 * Its three parts are
 *
 *   START  at setup, once the first pass has been made: the balloon map; the
 *          first word; the RAM blocks of which all is sent or zero
 *   PART   while the guest runs: what is pending, and the chunks of the map
 *          that changed
 *   END    with the guest stopped: the same, which is what the last pass made
 *          of it.  So downtime knows neither the size of the balloon nor how
 *          much was ballooned during the migration.
 *
 * A section of QEMU's stream comes behind that of ram, in each iteration.  What
 * is pending counts as yet to be migrated, so that there is an iteration, and
 * the destination has dropped it, before the guest is stopped.
 *
 * In postcopy ram has no last part before the switch.  Then END makes the last
 * synchronization and pass by itself, before the destination is told what is
 * dirty: a page that was sent and has been given back since is not among it,
 * nor is it missing there.
 *
 * With multifd pages and words have no order but a synchronization of the
 * channels.  Before a word all that was sent has to be there, and behind it
 * nothing must be written to what it names before it has been dropped.  Behind
 * START only the latter, and before END ram has seen to the former.
 *
 *      channel    pages -> SYNC                SYNC -> pages
 *                            |                  |
 *      main       ...  SYNC record,  word,  SYNC record  ...
 *
 * A file of mapped-ram tells by the bitmap of its pages what is zero, and a
 * background snapshot has one word, of its only pass, and no map: the guest may
 * take back pages while that is saved.
 *
 * With property "enforce" of the balloon device on, and both capabilities off,
 * there are the map and the RAM blocks, and no words: all is sent, but zeroes
 * that arrive are not populated, and so the map can be enforced there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "exec/ramblock.h"
#include "hw/virtio/balloon-map.h"
#include "migration/misc.h"
#include "migration/register.h"
#include "migration/migration.h"
#include "migration/multifd.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/ram.h"
#include "arrival.h"
#include "balloon-codec.h"
#include "control.h"
#include "hooks.h"
#include "section.h"
#include "told.h"
#include "trace.h"

/* How long to leave the BQL to others; a mutex is not fair to who waits */
#define PAUSE_US 100

/*
 * To drop what had been sent takes the destination about a sixteenth of the
 * time that sending it took.  What the stream takes to tell it is less.
 */
#define DROP_SHARE 16

/*
 * How often to wait for a turn when nothing else is left to be sent: QEMU gives
 * none while the bandwidth limit is exceeded, and ram, which goes first, may
 * exceed it in each iteration, by nothing but synchronizing multifd.
 */
#define TURNS_MAX 10

static_assert(BALLOON_MAP_PAGE_SIZE == 4096, "told in each part");
static_assert(BALLOON_CODEC_MIN_ROOM <= BALLOON_CODEC_MAX, "at least a chunk");
static_assert(sizeof(((RAMBlock *)0)->idstr) <= 256, "its length is a byte");

/* ---- Records ---- */

static void put_header(QEMUFile *f, uint32_t flags)
{
    qemu_put_be32(f, SKIP_SECTION_VERSION);
    qemu_put_be32(f, flags);
    qemu_put_be32(f, BALLOON_MAP_PAGE_SIZE);
}

/* @id and @pages are the name and size of a RAM block, which may have gone. */
static void put_record(QEMUFile *f, SkipSectionRecord type, const char *id,
                       uint64_t pages)
{
    qemu_put_byte(f, type);
    qemu_put_counted_string(f, id);
    qemu_put_be64(f, pages);
}

static void put_pages(QEMUFile *f, SkipSectionRecord type, const char *id,
                      uint64_t pages, const uint8_t *buf, size_t size)
{
    put_record(f, type, id, pages);
    qemu_put_be32(f, size);
    qemu_put_buffer(f, buf, size);
}

/* With multifd: what the channels have sent before comes before what follows */
static void put_sync(QEMUFile *f)
{
    if (migrate_multifd()) {
        if (multifd_ram_sync()) {
            qemu_file_set_error(f, -EIO);
        }
        qemu_put_byte(f, SKIP_SECTION_SYNC);
        qemu_fflush(f);
    }
}

/* ---- The map ---- */

/*
 * Encode chunks of the map from @chunk on, as many as fit.  Returns the size.
 *
 * The longest run takes a few bytes, but to find its end takes time, here and
 * on the destination, so there is a limit to that, too.
 */
static size_t encode_map(RAMBlock *rb, uint64_t *chunk, uint64_t end,
                         uint8_t *buf)
{
    const unsigned long *map = balloon_map_of_block(rb);
    int64_t begin = get_clock();
    size_t size = 0;

    trace_skip_bql_begin("map");
    if (map) {
        end = MIN(end, *chunk + SKIP_SECTION_CHUNKS);
        size = balloon_codec_encode(map,
                                    skip_section_pages(rb, SKIP_SECTION_MAP),
                                    chunk, end, buf, BALLOON_CODEC_MAX);
    } else {
        /* The device was unplugged while others had the BQL. */
        *chunk = end;
    }
    trace_skip_bql_end("map", (get_clock() - begin) / SCALE_US);
    return size;
}

/*
 * Send the chunks [@chunk, @end) of the map of @rb, with the BQL held.  With
 * @pause, let others have it while a piece is written, which may take long.
 */
static void put_chunks(QEMUFile *f, RAMBlock *rb, uint64_t chunk, uint64_t end,
                       bool pause)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    /* It loses its name when its device is unplugged. */
    g_autofree char *id = g_strdup(rb->idstr);
    uint64_t pages = skip_section_pages(rb, SKIP_SECTION_MAP);

    while (chunk < end) {
        size_t size = encode_map(rb, &chunk, end, buf);

        if (pause) {
            bql_unlock();
        }
        put_pages(f, SKIP_SECTION_MAP, id, pages, buf, size);
        if (pause) {
            g_usleep(PAUSE_US);
            bql_lock();
        }
    }
}

/* Is there a map for the destination?  Only of a guest that has to tell */
static bool sends_map(void)
{
    return !migrate_background_snapshot() &&
           balloon_map_takes_parts(balloon_map_get());
}

/* Is there a map of @rb for the destination?  It may be empty. */
static bool has_map_to_send(RAMBlock *rb)
{
    return rb && qemu_ram_is_migratable(rb) && sends_map() &&
           balloon_map_of_block(rb);
}

/* Send what changed since it was sent last, or all of it. */
static void put_map_of(QEMUFile *f, RAMBlock *rb, GHashTable *known_blocks,
                       bool pause)
{
    bool has_map = has_map_to_send(rb);
    bool known = has_map && g_hash_table_contains(known_blocks, rb->idstr);
    uint64_t pages = skip_section_pages(rb, SKIP_SECTION_MAP);
    uint64_t start = 0, end;

    for (; balloon_map_take_change(rb, &start, &end); start = end) {
        if (known) {
            put_chunks(f, rb, start, end, pause);
        }
    }
    if (has_map && !known && balloon_map_pages(rb)) {
        g_hash_table_insert(known_blocks, g_strdup(rb->idstr),
                            (gpointer)(uintptr_t)pages);
        put_chunks(f, rb, 0, balloon_codec_chunks(pages), pause);
    }
}

/* Tell that nothing of a RAM block is in the map any more. */
static void put_no_map(QEMUFile *f, const char *id, uint64_t pages)
{
    uint8_t buf[BALLOON_CODEC_MIN_ROOM];

    put_pages(f, SKIP_SECTION_MAP, id, pages, buf,
              balloon_codec_encode_none(pages, buf));
}

/*
 * The guest ejected a DIMM, reset the balloon device, or ejected it, and there
 * is no map any more where the destination has one.
 */
static void put_maps_that_went(QEMUFile *f, GHashTable *known_blocks)
{
    gpointer id, pages;
    GHashTableIter iter;

    g_hash_table_iter_init(&iter, known_blocks);
    while (g_hash_table_iter_next(&iter, &id, &pages)) {
        if (!has_map_to_send(qemu_ram_block_by_name(id))) {
            put_no_map(f, id, (uintptr_t)pages);
            g_hash_table_iter_remove(&iter);
        }
    }
}

static void put_map(QEMUFile *f, SkipMigration *m, bool pause)
{
    RAMBlock *rb;

    m->sends_changes = sends_map();
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        put_map_of(f, rb, m->map_blocks, pause);
    }
    put_maps_that_went(f, m->map_blocks);
}

/* ---- Words ---- */

/*
 * Send what is pending.  With @sync, the channels are synchronized before the
 * first word.  Returns whether there was any.
 */
static bool put_words(QEMUFile *f, bool sync)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    bool any = false;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        /* It loses its name when its device is unplugged. */
        g_autofree char *id = g_strdup(rb->idstr);
        uint64_t chunk = 0;

        while (*id && skip_told_next(rb, &chunk)) {
            size_t size;

            if (sync && !any) {
                put_sync(f);
            }
            any = true;
            size = skip_told_encode(rb, &chunk, buf, BALLOON_CODEC_MAX);
            put_pages(f, SKIP_SECTION_WORD, id,
                      skip_section_pages(rb, SKIP_SECTION_WORD), buf, size);
        }
    }
    return any;
}

static void put_empty(QEMUFile *f)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (skip_unpopulated_may_look_at(rb)) {
            put_record(f, SKIP_SECTION_EMPTY, rb->idstr,
                       skip_section_pages(rb, SKIP_SECTION_EMPTY));
        }
    }
}

/* ---- Parts ---- */

/* The part began when @begin bytes had been sent. */
static int finish(QEMUFile *f, uint64_t begin, bool final)
{
    SkipMigration *m = skip_migration();
    uint64_t bytes;

    qemu_put_byte(f, SKIP_SECTION_LAST);
    bytes = qemu_file_transferred(f) - begin;
    m->bytes += bytes;
    m->final_bytes += final ? bytes : 0;
    ram_transferred_add(bytes);
    trace_skip_section_save(bytes, final);
    /* What is dropped now is not dropped when the guest has been stopped. */
    return final ? qemu_file_get_error(f) : qemu_fflush(f);
}

static int save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    SkipMigration *m = skip_migration();
    uint64_t begin = qemu_file_transferred(f);
    /* A snapshot is saved by the main loop, for which nobody else waits. */
    bool pause = !m->in_savevm;
    int ret;

    put_header(f, SKIP_FLAG_START | (sends_map() ? SKIP_FLAG_MAP : 0));
    skip_migration_first_pass();
    put_map(f, m, pause);
    if (!migrate_mapped_ram()) {
        put_empty(f);
    }
    /* The destination may take long to read what there is. */
    if (pause) {
        bql_unlock();
    }
    if (!migrate_mapped_ram()) {
        put_words(f, false);
        put_sync(f);
    }
    ret = finish(f, begin, false);
    if (pause) {
        bql_lock();
    }
    if (ret) {
        error_setg_errno(errp, -ret, "section %s cannot be sent",
                         SKIP_SECTION_NAME);
    }
    return ret;
}

/* Chunks of the map that have changed, and are to be sent */
static uint64_t map_changes(void)
{
    return skip_migration()->sends_changes ? balloon_map_changed() : 0;
}

static int save_iterate(QEMUFile *f, void *opaque)
{
    SkipMigration *m = skip_migration();
    uint64_t begin = qemu_file_transferred(f);

    m->turns = 0;
    put_header(f, 0);
    if (map_changes()) {
        BQL_LOCK_GUARD();
        put_map(f, m, !m->in_savevm);
    }
    if (put_words(f, true)) {
        put_sync(f);
    }
    return finish(f, begin, false) ?: 1;
}

static int save_complete(QEMUFile *f, void *opaque)
{
    SkipMigration *m = skip_migration();
    uint64_t begin = qemu_file_transferred(f);

    put_header(f, SKIP_FLAG_END);
    skip_migration_last_pass();
    put_map(f, m, false);
    put_words(f, false);
    m->ended = true;
    return finish(f, begin, true);
}

/*
 * Under a bandwidth limit ram goes first and alone, so it may take long until
 * there is an iteration of this section, if there is one at all.  The switch to
 * postcopy does not wait for it, nor does anything for long: END has what is
 * still pending then.
 */
static void add_pending(void *opaque, uint64_t *must_precopy,
                        uint64_t *can_postcopy)
{
    uint64_t bytes = skip_told_pending() * qemu_target_page_size() /
                     DROP_SHARE + map_changes() * BALLOON_CODEC_CHUNK_MAX;
    SkipMigration *m = skip_migration();

    if (!bytes) {
        m->turns = 0;
    } else if (!*must_precopy && !*can_postcopy) {
        m->turns++;
    }
    if (m->turns <= TURNS_MAX) {
        *can_postcopy += bytes;
    }
}

/* A driver may have come meanwhile, or gone. */
static void add_pending_exact(void *opaque, uint64_t *must_precopy,
                              uint64_t *can_postcopy)
{
    {
        BQL_LOCK_GUARD();
        skip_migration()->sends_changes = sends_map();
    }
    add_pending(opaque, must_precopy, can_postcopy);
}

static bool is_active(void *opaque)
{
    const SkipMigration *m = skip_migration();

    return m && m->running && !m->ended && (m->maps || skip_migration_skips());
}

static bool is_active_iterate(void *opaque)
{
    return skip_told_pending() || map_changes();
}

static const SaveVMHandlers handlers = {
    .save_setup = save_setup,
    .save_live_iterate = save_iterate,
    .save_live_complete_precopy = save_complete,
    .state_pending_estimate = add_pending,
    .state_pending_exact = add_pending_exact,
    .is_active = is_active,
    .is_active_iterate = is_active_iterate,
    .load_state = skip_arrival_load,
    .load_cleanup = skip_arrival_cleanup,
};

void skip_section_register(void)
{
    register_savevm_live(SKIP_SECTION_NAME, 0, SKIP_SECTION_VERSION, &handlers,
                         NULL);
}
