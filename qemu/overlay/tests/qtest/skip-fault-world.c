/*
 * Faults during a migration: a guest, its destinations, and what has to hold
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "skip-fault.h"

#define WAIT_SECONDS 30

/* As it is in the stream, with its length */
#define SECTION_NAME "\4skip"

/* ---- The guest ---- */

void guest_quit(BGuest *g)
{
    qtest_set_expected_status(g->qts, 0);
    bg_quit(g);
}

static void set_capabilities(World *w, bool on)
{
    if (!w->options.stock) {
        bg_set_capability(w->source, "skip-balloon", on);
        bg_set_capability(w->source, "skip-unpopulated", on);
    }
    /* Without limits, and not before all is sent, so that streams repeat */
    bg_set_parameters(w->source, "{ 'max-bandwidth': 0,"
                                 " 'downtime-limit': 0 }");
}

void world_prepare(World *w)
{
    uint64_t addr;

    if (!w->source) {
        w->source = bg_start(&w->options);
        bm_free(w->model);
        w->model = bm_new(w->source);
        bg_driver_start(w->source, BG_MUST_TELL_HOST);
        set_capabilities(w, true);
    }
    if (!w->options.stock) {
        /* All in the balloon; as if never used; all used */
        bm_complete(w->model, w->source, BALLOON_START,
                    FAULT_RAM_SIZE - BALLOON_START, true);
        bm_complete(w->model, w->source, FRESH_START,
                    FAULT_RAM_SIZE - FRESH_START, false);
        bm_complete(w->model, w->source, USED_START,
                    BALLOON_START - USED_START, false);
    }
    for (addr = USED_START; addr < BALLOON_START; addr += BALLOON_PAGE) {
        if (w->options.stock || !w->model->page[addr / BALLOON_PAGE].value) {
            bm_fill(w->model, w->source, addr, BALLOON_PAGE, 1);
        }
    }
    bm_note_low(w->model, w->source);
}

void world_work(World *w)
{
    static uint8_t seed = 2;
    BalloonModel *m = w->model;
    BGuest *g = w->source;

    seed++;
    bm_fill(m, g, USED_START + MiB, MiB / 16, seed);
    if (!w->options.stock) {
        /* Of what was sent, and of what is to be sent */
        bm_inflate(m, g, USED_START, MiB / 8);
        bm_inflate(m, g, BALLOON_START - MiB / 8, MiB / 8);
        bm_deflate(m, g, BALLOON_START + MiB, MiB / 4);
        bm_fill(m, g, BALLOON_START + MiB, MiB / 8, seed);
        /* There and back */
        bm_inflate(m, g, USED_START + MiB / 2, MiB / 16);
        bm_deflate(m, g, USED_START + MiB / 2, MiB / 16);
    }
    bm_fill(m, g, FRESH_START, MiB / 8, seed);
    bm_note_low(m, g);
}

/* What it does after the fault */
void world_small_work(World *w)
{
    static uint8_t seed = 100;

    bm_fill(w->model, w->source, USED_START + 2 * MiB, MiB / 32, seed++);
    /* What was there and back, and to be sent as zeroes, holds something. */
    bm_fill(w->model, w->source, USED_START + MiB / 2, MiB / 32, seed);
    if (!w->options.stock) {
        bm_inflate(w->model, w->source, USED_START + 3 * MiB, MiB / 32);
    }
    bm_note_low(w->model, w->source);
}

static void check(World *w, const BalloonModel *m, BGuest *g, bool with_map)
{
    g_autofree char *memory = bm_memory_fault(m, g);
    g_autofree char *map = with_map && !w->options.stock ? bm_map_fault(m, g)
                                                         : NULL;

    g_assert_cmpstr(memory, ==, NULL);
    g_assert_cmpstr(map, ==, NULL);
}

void world_check(World *w, BGuest *g, bool is_dest)
{
    BalloonModel *m = bm_copy(w->model);

    if (is_dest) {
        bm_migrated(m);
    }
    check(w, m, g, true);
    bm_free(m);
}

void world_end(World *w)
{
    if (w->source) {
        guest_quit(w->source);
        w->source = NULL;
    }
}

void world_succeed(World *w, BGuest *dest)
{
    if (w->source) {
        memcpy(dest->queue, w->source->queue, sizeof(dest->queue));
        world_end(w);
    }
    w->source = dest;
    bm_migrated(w->model);
    set_capabilities(w, true);
}

/* ---- Destinations, and ends of QEMUs ---- */

BGuest *dest_new(World *w, const char *ram_file)
{
    BGOptions options = w->options;

    if (ram_file) {
        options.ram_file = ram_file;
        options.backend = BG_ANON;  /* ask the page tables what it has */
    }
    return bg_start_failing_dest(&options);
}

void dest_wait_failed(BGuest *dest)
{
    siginfo_t info = { };

    /* libqtest looks ten times a second only. */
    BG_WAIT(!waitid(P_PID, qtest_pid(dest->qts), &info,
                    WEXITED | WNOHANG | WNOWAIT) && info.si_pid);
    bg_quit_failed(dest, "load of migration failed");
}

void dest_wait_completed(World *w, BGuest *dest)
{
    bg_wait_status(dest, "completed", WAIT_SECONDS);
    if (w->source) {
        memcpy(dest->queue, w->source->queue, sizeof(dest->queue));
    }
}

/* ---- Migration ---- */

void source_migrate(World *w, const char *uri, bool return_path)
{
    bg_set_capability(w->source, "return-path", return_path);
    bg_migrate_uri(w->source, uri);
}

/*
 * QEMU says "failed" before it has cleaned up; a new migration would be in its
 * way until then.  Yank knows.
 */
static bool is_cleaned_up(BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-yank' }");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *instance = qobject_to(QDict, qlist_entry_obj(entry));

        found |= !strcmp(qdict_get_str(instance, "type"), "migration");
    }
    qobject_unref(rsp);
    return !found;
}

char *source_settle(BGuest *g)
{
    QDict *info;
    char *status;

    BG_WAIT(is_cleaned_up(g));
    info = bg_query_migrate(g);
    status = g_strdup(qdict_get_try_str(info, "status") ?: "none");
    qobject_unref(info);
    return status;
}

static void assert_completed(World *w)
{
    g_autofree char *status = source_settle(w->source);

    g_assert_cmpstr(status, ==, "completed");
}

/* All that is in the balloon has been skipped, as the guest keeps its word. */
static void check_skipped(World *w)
{
    int64_t skipped = bg_skip_stat(w->source, "skipped-pages");
    int64_t vetoed = bg_skip_stat(w->source, "vetoed-pages");
    int64_t ballooned = 0, read = 0;
    uint64_t i;

    for (i = 0; i < w->model->npages; i++) {
        ballooned += w->model->page[i].in_balloon;
        read += w->model->page[i].in_balloon && w->model->page[i].touched;
    }
    g_assert_cmpint(skipped + vetoed, >=, ballooned);
    g_assert_cmpint(vetoed, <=, read);
    /* If nothing changes meanwhile, the last part says nothing. */
    if (!vetoed) {
        g_assert_cmpint(bg_skip_stat(w->source, "final-map-bytes"), ==, 13);
    }
}

void world_onward(World *w, BGuest *dest, bool plain)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", dest->socket);

    if (plain) {
        set_capabilities(w, false);
    }
    source_migrate(w, uri, false);
    assert_completed(w);
    dest_wait_completed(w, dest);
    if (plain) {
        /* Nothing is skipped, so what is in the balloon has been read. */
        bm_touch(w->model, 0, FAULT_RAM_SIZE);
        world_check(w, w->source, false);
        check(w, w->model, dest, false);
        g_assert_true(w->options.stock || !bg_map_pages(dest, NULL));
        guest_quit(dest);
        world_end(w);
        return;
    }
    if (!w->options.stock) {
        check_skipped(w);
    }
    world_check(w, w->source, false);
    world_check(w, dest, true);
    world_succeed(w, dest);
}

/* ---- The stream ---- */

static uint64_t find_in(const GByteArray *bytes, uint64_t from,
                        const void *what, size_t size)
{
    const uint8_t *at = memmem(bytes->data + from, bytes->len - from, what,
                               size);

    g_assert_nonnull(at);
    return at - bytes->data;
}

uint64_t world_section_end(const GByteArray *stream, uint64_t start)
{
    uint8_t footer[5] = { 0x7e };

    memcpy(footer + 1, stream->data + start + 1, 4);
    return find_in(stream, start, footer, sizeof(footer)) + sizeof(footer);
}

GByteArray *world_record(World *w)
{
    GByteArray *stream = g_byte_array_new();
    StreamRelay *relay;

    world_prepare(w);
    relay = relay_new(w->source, NULL, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, WORK_POINT, RELAY_HOLD);
    g_assert_true(relay_wait(relay));
    world_work(w);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    g_assert_false(relay_wait(relay));
    assert_completed(w);

    g_byte_array_append(stream, relay_bytes(relay)->data,
                        relay_bytes(relay)->len);
    w->end = stream->len;
    w->eof = relay_mark(relay, RELAY_EOF);
    g_assert_cmpuint(w->eof, <, w->end);
    if (!w->options.stock) {
        w->setup_start = find_in(stream, 0, SECTION_NAME,
                                 strlen(SECTION_NAME)) - 5;
        w->setup_end = world_section_end(stream, w->setup_start);
        w->final = relay_mark(relay, RELAY_FINAL);
        g_assert_cmpuint(w->final, <, w->eof);
    }
    relay_free(relay);
    world_end(w);
    return stream;
}

static World worlds[BG_MEMFD + 1][2];

World *world_get(BGBackend backend, bool stock)
{
    World *w = &worlds[backend][stock];

    if (!w->end) {
        w->options.backend = backend;
        w->options.ram_size = FAULT_RAM_SIZE;
        w->options.stock = stock;
        w->options.no_must_tell_host = stock;
        g_byte_array_free(world_record(w), true);
    }
    return w;
}

void worlds_free(void)
{
    int i;

    for (i = 0; i < 2 * (BG_MEMFD + 1); i++) {
        world_end(&worlds[i / 2][i % 2]);
        bm_free(worlds[i / 2][i % 2].model);
    }
}
