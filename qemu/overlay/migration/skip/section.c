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
#include "balloon.h"
#include "control.h"
#include "hooks.h"
#include "section.h"
#include "told.h"
#include "unpopulated.h"
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

/* Turns that were waited for since the last part; the migration thread's */
static int turns;

/* With the BQL */
static struct {
    /* END is out */
    bool ended;
    /* Changes of the map are to be sent; the migration thread's */
    bool sends_changes;
    /*
     * Of which RAM blocks the destination has a map: their sizes in balloon
     * pages, by name
     */
    GHashTable *map_blocks;
} sent;

/* ---- Records ---- */

static size_t put_header(QEMUFile *f, uint32_t flags)
{
    qemu_put_be32(f, SKIP_SECTION_VERSION);
    qemu_put_be32(f, flags);
    qemu_put_be32(f, BALLOON_MAP_PAGE_SIZE);
    return 12;
}

/* @id and @pages are the name and size of a RAM block, which may have gone. */
static size_t put_record(QEMUFile *f, SkipSectionRecord type, const char *id,
                         uint64_t pages)
{
    size_t id_len = strlen(id);

    qemu_put_byte(f, type);
    qemu_put_byte(f, id_len);
    qemu_put_buffer(f, (const uint8_t *)id, id_len);
    qemu_put_be64(f, pages);
    return 1 + 1 + id_len + 8;
}

static size_t put_pages(QEMUFile *f, SkipSectionRecord type, const char *id,
                        uint64_t pages, const uint8_t *buf, size_t size)
{
    size_t head = put_record(f, type, id, pages);

    qemu_put_be32(f, size);
    qemu_put_buffer(f, buf, size);
    return head + 4 + size;
}

static size_t put_sync(QEMUFile *f, bool needed)
{
    if (!needed || !migrate_multifd()) {
        return 0;
    }
    if (multifd_ram_sync()) {
        qemu_file_set_error(f, -EIO);
    }
    qemu_put_byte(f, SKIP_SECTION_SYNC);
    qemu_fflush(f);
    return 1;
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
        /* It was emptied while others had the BQL. */
        *chunk = end;
    }
    trace_skip_bql_end("map", (get_clock() - begin) / SCALE_US);
    return size;
}

/*
 * Send the chunks [@chunk, @end) of the map of @rb, with the BQL held.  With
 * @pause, let others have it while a piece is written, which may take long.
 */
static size_t put_chunks(QEMUFile *f, RAMBlock *rb, uint64_t chunk,
                         uint64_t end, bool pause)
{
    g_autofree uint8_t *buf = g_malloc(BALLOON_CODEC_MAX);
    /* It loses its name when its device is unplugged. */
    g_autofree char *id = g_strdup(rb->idstr);
    uint64_t pages = skip_section_pages(rb, SKIP_SECTION_MAP);
    size_t total = 0;

    while (chunk < end) {
        size_t size = encode_map(rb, &chunk, end, buf);

        if (pause) {
            bql_unlock();
        }
        total += put_pages(f, SKIP_SECTION_MAP, id, pages, buf, size);
        if (pause) {
            g_usleep(PAUSE_US);
            bql_lock();
        }
    }
    return total;
}

/* Is there a map for the destination?  Only of a guest that has to tell */
static bool sends_map(void)
{
    return !migrate_background_snapshot() && balloon_map_takes_parts();
}

/* Does the destination need a map of @rb? */
static bool has_map_to_send(RAMBlock *rb)
{
    return rb && qemu_ram_is_migratable(rb) && sends_map() &&
           balloon_map_of_block(rb);
}

/* Send what changed since it was sent last, or all of it. */
static size_t put_map_of(QEMUFile *f, RAMBlock *rb, bool pause)
{
    bool has_map = has_map_to_send(rb);
    bool known = has_map && g_hash_table_contains(sent.map_blocks, rb->idstr);
    uint64_t pages = skip_section_pages(rb, SKIP_SECTION_MAP);
    uint64_t start = 0, end;
    size_t total = 0;

    for (; balloon_map_take_change(rb, &start, &end); start = end) {
        if (known) {
            total += put_chunks(f, rb, start, end, pause);
        }
    }
    if (has_map && !known) {
        g_hash_table_insert(sent.map_blocks, g_strdup(rb->idstr),
                            (gpointer)(uintptr_t)pages);
        total += put_chunks(f, rb, 0, balloon_codec_chunks(pages), pause);
    }
    return total;
}

/* Tell that nothing of a RAM block is in the map any more. */
static size_t put_no_map(QEMUFile *f, const char *id, uint64_t pages)
{
    g_autofree unsigned long *none = bitmap_new(pages);
    uint8_t buf[BALLOON_CODEC_MIN_ROOM];
    uint64_t chunk = 0;
    size_t size = balloon_codec_encode(none, pages, &chunk, UINT64_MAX, buf,
                                       sizeof(buf));

    assert(chunk == balloon_codec_chunks(pages));
    return put_pages(f, SKIP_SECTION_MAP, id, pages, buf, size);
}

/*
 * The guest took all back, ejected a DIMM, reset the balloon device, or ejected
 * it, and there is no map any more where the destination has one.
 */
static size_t put_maps_that_went(QEMUFile *f)
{
    gpointer id, pages;
    GHashTableIter iter;
    size_t total = 0;

    g_hash_table_iter_init(&iter, sent.map_blocks);
    while (g_hash_table_iter_next(&iter, &id, &pages)) {
        if (!has_map_to_send(qemu_ram_block_by_name(id))) {
            total += put_no_map(f, id, (uintptr_t)pages);
            g_hash_table_iter_remove(&iter);
        }
    }
    return total;
}

static size_t put_map(QEMUFile *f, bool pause)
{
    size_t total = 0;
    RAMBlock *rb;

    sent.sends_changes = sends_map();
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        total += put_map_of(f, rb, pause);
    }
    return total + put_maps_that_went(f);
}

/* ---- Words ---- */

static size_t put_words_of(QEMUFile *f, RAMBlock *rb, bool *sync)
{
    g_autofree char *id = g_strdup(rb->idstr);
    g_autofree uint8_t *buf = NULL;
    uint64_t chunk = 0;
    size_t total = 0;

    while (*id && skip_told_next(rb, &chunk)) {
        size_t size;

        if (!buf) {
            buf = g_malloc(BALLOON_CODEC_MAX);
        }
        /* Once, before the first one */
        total += put_sync(f, *sync);
        *sync = false;
        size = skip_told_encode(rb, &chunk, buf, BALLOON_CODEC_MAX);
        total += put_pages(f, SKIP_SECTION_WORD, id,
                           skip_section_pages(rb, SKIP_SECTION_WORD), buf,
                           size);
    }
    return total;
}

/* With @sync, the channels are synchronized before the first word. */
static size_t put_words(QEMUFile *f, bool sync)
{
    size_t total = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        total += put_words_of(f, rb, &sync);
    }
    return total;
}

static size_t put_empty(QEMUFile *f)
{
    size_t total = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (skip_unpopulated_may_look_at(rb)) {
            total += put_record(f, SKIP_SECTION_EMPTY, rb->idstr,
                                skip_section_pages(rb, SKIP_SECTION_EMPTY));
        }
    }
    return total;
}

/* ---- Parts ---- */

static int finish(QEMUFile *f, size_t bytes, bool final)
{
    qemu_put_byte(f, SKIP_SECTION_LAST);
    bytes++;
    skip_balloon_count_map_bytes(bytes, final);
    ram_transferred_add(bytes);
    trace_skip_section_save(bytes, final);
    /* What is dropped now is not dropped when the guest has been stopped. */
    return final ? qemu_file_get_error(f) : qemu_fflush(f);
}

static int save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    /* A snapshot is saved by the main loop, for which nobody else waits. */
    bool pause = !skip_migration_in_savevm();
    size_t bytes;
    int ret;

    turns = 0;
    sent.map_blocks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                            NULL);
    bytes = put_header(f, SKIP_FLAG_START | (sends_map() ? SKIP_FLAG_MAP : 0));
    skip_migration_first_pass();
    bytes += put_map(f, pause);
    if (!migrate_mapped_ram()) {
        bytes += put_empty(f);
    }
    /* The destination may take long to read what there is. */
    if (pause) {
        bql_unlock();
    }
    if (!migrate_mapped_ram()) {
        bytes += put_words(f, false);
        bytes += put_sync(f, true);
    }
    ret = finish(f, bytes, false);
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
    return sent.sends_changes ? balloon_map_changed() : 0;
}

static int save_iterate(QEMUFile *f, void *opaque)
{
    size_t bytes = put_header(f, 0);
    size_t words;

    turns = 0;
    if (map_changes()) {
        BQL_LOCK_GUARD();
        bytes += put_map(f, !skip_migration_in_savevm());
    }
    words = put_words(f, true);
    bytes += words + put_sync(f, words);
    return finish(f, bytes, false) ?: 1;
}

static int save_complete(QEMUFile *f, void *opaque)
{
    size_t bytes = put_header(f, SKIP_FLAG_END);

    skip_migration_last_pass();
    bytes += put_map(f, false);
    bytes += put_words(f, false);
    sent.ended = true;
    return finish(f, bytes, true);
}

static void save_cleanup(void *opaque)
{
    sent.ended = false;
    g_clear_pointer(&sent.map_blocks, g_hash_table_destroy);
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

    if (!bytes) {
        turns = 0;
    } else if (!*must_precopy && !*can_postcopy) {
        turns++;
    }
    if (turns <= TURNS_MAX) {
        *can_postcopy += bytes;
    }
}

/* A driver may have come meanwhile, or gone. */
static void add_pending_exact(void *opaque, uint64_t *must_precopy,
                              uint64_t *can_postcopy)
{
    {
        BQL_LOCK_GUARD();
        sent.sends_changes = sends_map();
    }
    add_pending(opaque, must_precopy, can_postcopy);
}

static bool is_active(void *opaque)
{
    return skip_migration_skips() && !sent.ended;
}

static bool is_active_iterate(void *opaque)
{
    return skip_told_pending() || map_changes();
}

static const SaveVMHandlers handlers = {
    .save_setup = save_setup,
    .save_cleanup = save_cleanup,
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
