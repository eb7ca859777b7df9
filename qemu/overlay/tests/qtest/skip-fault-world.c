/*
 * Faults during a migration: a guest, its destinations, and what has to hold
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "skip-fault.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define WAIT_SECONDS 30

/* As it is in the stream, with its length */
#define SECTION_NAME "\4skip"

static gint64 deadline(void)
{
    return g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
}

bool blame(char **wrong, char *what)
{
    if (*wrong) {
        g_free(what);
    } else {
        *wrong = what;
    }
    return *wrong;
}

void report_case(FaultWorld *w, const char *name, char *wrong, int *failed)
{
    if (wrong) {
        g_test_message("FAILED %s: %s", name, wrong);
        g_printerr("%s: %s\n", name, wrong);
        g_free(wrong);
        ++*failed;
        /* Whatever it is, the next case begins anew. */
        if (w->source) {
            guest_kill(w->source);
            world_lose(w);
        }
    }
}

void finish_group(int failed, int n)
{
    if (failed) {
        g_test_message("%d of %d points failed", failed, n);
        g_test_fail();
    }
}

/* ---- The guest ---- */

static char *log_path(BGuest *g)
{
    return g_strdup_printf("%s.log", g->socket);
}

static void forget_log(BGuest *g)
{
    if (g->socket) {
        g_autofree char *path = log_path(g);

        unlink(path);
    }
}

void guest_quit(BGuest *g)
{
    forget_log(g);
    bg_quit(g);
}

static void set_up_source(FaultWorld *w)
{
    if (!w->options.stock) {
        bg_set_capability(w->source, "skip-balloon", true);
        bg_set_capability(w->source, "skip-unpopulated", true);
    }
    /* Without limits, and not before all is sent, so that streams repeat */
    qtest_qmp_assert_success(
        w->source->qts, "{ 'execute': 'migrate-set-parameters',"
        " 'arguments': { 'max-bandwidth': 0, 'downtime-limit': 0 } }");
}

/* All used and not in the balloon, all in it, or as if never used */
static void restore(BalloonModel *m, BGuest *g)
{
    uint64_t addr;

    bm_complete(m, g, BALLOON_START, FRESH_START - BALLOON_START, true);
    bm_complete(m, g, FRESH_START, FAULT_RAM_SIZE - FRESH_START, true);
    bm_complete(m, g, FRESH_START, FAULT_RAM_SIZE - FRESH_START, false);
    bm_complete(m, g, USED_START, BALLOON_START - USED_START, false);
    for (addr = USED_START; addr < BALLOON_START; addr += BALLOON_PAGE) {
        if (!m->page[addr / BALLOON_PAGE].value) {
            bm_fill(m, g, addr, BALLOON_PAGE, 1);
        }
    }
}

void world_prepare(FaultWorld *w)
{
    if (!w->source) {
        w->source = bg_start(&w->options);
        bm_free(w->model);
        w->model = bm_new(w->source);
        bg_driver_start(w->source, MUST_TELL_HOST);
        set_up_source(w);
    }
    if (!w->options.stock) {
        restore(w->model, w->source);
    } else {
        bm_fill(w->model, w->source, USED_START,
                BALLOON_START - USED_START, 1);
    }
    bm_note_low(w->model, w->source);
}

void world_work(FaultWorld *w)
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

void world_small_work(FaultWorld *w)
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

char *world_check(FaultWorld *w, BGuest *g)
{
    char *wrong = bm_memory_fault(w->model, g);

    if (!wrong && !w->options.stock) {
        wrong = bm_map_fault(w->model, g);
    }
    return wrong;
}

char *world_check_dest(FaultWorld *w, BGuest *g)
{
    BalloonModel *model = w->model;
    char *wrong;

    w->model = bm_copy(model);
    bm_migrated(w->model);
    wrong = world_check(w, g);
    bm_free(w->model);
    w->model = model;
    return wrong;
}

void world_lose(FaultWorld *w)
{
    w->source = NULL;
}

void world_succeed(FaultWorld *w, BGuest *dest)
{
    if (w->source) {
        memcpy(dest->queue, w->source->queue, sizeof(dest->queue));
        guest_quit(w->source);
    }
    w->source = dest;
    bm_migrated(w->model);
    set_up_source(w);
}

/* ---- Ends of QEMUs ---- */

bool guest_reap(BGuest *g, int *status)
{
    gint64 end = deadline();
    pid_t pid = qtest_pid(g->qts);
    bool ended = true;

    while (waitpid(pid, status, WNOHANG) != pid) {
        if (g_get_monotonic_time() > end) {
            ended = false;
            kill(pid, SIGKILL);
            g_assert_cmpint(waitpid(pid, status, 0), ==, pid);
            break;
        }
        g_usleep(500);
    }
    /* This finds that there is no such child, and is content. */
    qtest_probe_child(g->qts);
    qtest_set_expected_status(g->qts, 0);
    guest_quit(g);
    return ended;
}

void guest_kill(BGuest *g)
{
    int status;

    kill(qtest_pid(g->qts), SIGKILL);
    g_assert_true(guest_reap(g, &status));
    g_assert_true(WIFSIGNALED(status));
}

BGuest *dest_new(FaultWorld *w, const char *ram_file)
{
    BGuest like = { .options = w->options };
    g_autofree char *path = NULL;
    g_autofree char *final_path = NULL;
    int fd = g_file_open_tmp("skip-fault-XXXXXX", &path, NULL);
    BGuest *dest;
    int saved;

    /* Hundreds of them say why they fail, and the test looks at that. */
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    saved = bg_divert_stderr(path);
    if (ram_file) {
        like.options.ram_file = ram_file;
        like.options.backend = BG_ANON; /* ask the page tables what it has */
    }
    dest = bg_start_incoming(&like);
    bg_restore_stderr(saved);
    final_path = log_path(dest);
    g_assert_cmpint(rename(path, final_path), ==, 0);
    return dest;
}

char *dest_wait_failed(BGuest *dest)
{
    g_autofree char *path = log_path(dest);
    g_autofree char *log = NULL;
    int fd = open(path, O_RDONLY);
    char buf[4096];
    ssize_t size;
    int status;

    g_assert_cmpint(fd, >=, 0);
    if (!guest_reap(dest, &status)) {
        close(fd);
        return g_strdup("the destination neither fails nor ends");
    }
    size = pread(fd, buf, sizeof(buf) - 1, 0);
    close(fd);
    g_assert_cmpint(size, >=, 0);
    buf[size] = '\0';
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FAILURE) {
        return g_strdup_printf("the destination ends with status 0x%x: %s",
                               status, buf);
    }
    /* A sanitizer ends it with the same status. */
    if (!strstr(buf, "load of migration failed") || strstr(buf, "Sanitizer") ||
        strstr(buf, "runtime error")) {
        return g_strdup_printf("the destination says: %s", buf);
    }
    return NULL;
}

/* ---- Migration ---- */

void source_migrate(FaultWorld *w, const char *uri, bool return_path)
{
    bg_set_capability(w->source, "return-path", return_path);
    qtest_qmp_assert_success(
        w->source->qts,
        "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
}

static char *query_status(BGuest *g, const char *command)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': %s }", command);
    char *status = g_strdup(qdict_get_try_str(rsp, "status") ?: "none");

    qobject_unref(rsp);
    return status;
}

char *vm_status(BGuest *g)
{
    return query_status(g, "query-status");
}

char *check_vm_status(BGuest *g, const char *expected)
{
    g_autofree char *status = vm_status(g);

    return !strcmp(status, expected) ? NULL
           : g_strdup_printf("the guest is %s, and not %s", status, expected);
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
    gint64 end = deadline();

    while (!is_cleaned_up(g)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(200);
    }
    return query_status(g, "query-migrate");
}

char *dest_wait_completed(FaultWorld *w, BGuest *dest)
{
    gint64 end = deadline();

    for (;;) {
        g_autofree char *status = query_status(dest, "query-migrate");

        if (!strcmp(status, "completed")) {
            break;
        }
        if (g_get_monotonic_time() > end) {
            return g_strdup_printf("the destination stays %s", status);
        }
        g_usleep(200);
    }
    if (w->source) {
        memcpy(dest->queue, w->source->queue, sizeof(dest->queue));
    }
    return NULL;
}

/* All that is in the balloon has been skipped, as the guest keeps its word. */
static char *check_skipped(FaultWorld *w)
{
    int64_t skipped, vetoed, ballooned = 0, read = 0;
    uint64_t i;

    if (w->options.stock) {
        return NULL;
    }
    for (i = 0; i < w->model->npages; i++) {
        ballooned += w->model->page[i].in_balloon;
        read += w->model->page[i].in_balloon && w->model->page[i].touched;
    }
    skipped = bg_skip_stat(w->source, "skipped-pages");
    vetoed = bg_skip_stat(w->source, "vetoed-pages");
    /* If nothing changes meanwhile, the last part says nothing. */
    if (!vetoed && bg_skip_stat(w->source, "final-map-bytes") != 13) {
        return g_strdup("the last part is not empty");
    }
    return skipped + vetoed >= ballooned && vetoed <= read ? NULL
           : g_strdup_printf("%" PRIi64 " pages skipped and %" PRIi64 " sent, "
                             "of %" PRIi64 " in the balloon", skipped, vetoed,
                             ballooned);
}

char *world_onward(FaultWorld *w, BGuest *dest)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", dest->socket);
    g_autofree char *status = NULL;
    char *wrong = NULL;

    source_migrate(w, uri, false);
    status = source_settle(w->source);
    if (strcmp(status, "completed")) {
        guest_kill(dest);
        return g_strdup_printf("the next migration is %s", status);
    }
    if (blame(&wrong, dest_wait_completed(w, dest)) ||
        blame(&wrong, check_skipped(w)) ||
        blame(&wrong, world_check(w, w->source)) ||
        blame(&wrong, world_check_dest(w, dest))) {
        guest_kill(dest);
        return wrong;
    }
    world_succeed(w, dest);
    return NULL;
}

char *world_onward_plain(FaultWorld *w, BGuest *dest)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", dest->socket);
    g_autofree char *status = NULL;
    char *wrong = NULL;

    bg_set_capability(w->source, "skip-balloon", false);
    bg_set_capability(w->source, "skip-unpopulated", false);
    source_migrate(w, uri, false);
    status = source_settle(w->source);
    if (strcmp(status, "completed")) {
        blame(&wrong, g_strdup_printf("the next migration is %s", status));
    } else {
        blame(&wrong, dest_wait_completed(w, dest));
        /* Nothing is skipped, so what is in the balloon has been read. */
        bm_touch(w->model, 0, w->options.ram_size);
        blame(&wrong, world_check(w, w->source));
        blame(&wrong, bm_memory_fault(w->model, dest));
        if (bg_map_pages(dest, NULL)) {
            blame(&wrong, g_strdup("the map went along"));
        }
    }
    guest_kill(dest);
    guest_quit(w->source);
    world_lose(w);
    return wrong;
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

/* The first part of the section: where it begins, and its footer ends */
static void find_setup(FaultLayout *l, const GByteArray *bytes)
{
    uint64_t name = find_in(bytes, 0, SECTION_NAME, strlen(SECTION_NAME));
    uint8_t footer[5] = { 0x7e };

    memcpy(footer + 1, bytes->data + name - 4, 4);
    l->setup_start = name - 5;
    l->setup_end = find_in(bytes, name, footer, sizeof(footer)) + 5;
}

GByteArray *world_record(FaultWorld *w)
{
    GByteArray *stream = g_byte_array_new();
    g_autofree char *status = NULL;
    FaultLayout *l = &w->layout;
    StreamRelay *relay;

    world_prepare(w);
    relay = relay_new(w->source, NULL, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, WORK_POINT, RELAY_HOLD);
    g_assert_true(relay_wait(relay));
    world_work(w);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    g_assert_false(relay_wait(relay));
    status = source_settle(w->source);
    g_assert_cmpstr(status, ==, "completed");

    g_byte_array_append(stream, relay_bytes(relay)->data,
                        relay_bytes(relay)->len);
    l->end = stream->len;
    l->eof = relay_mark(relay, RELAY_EOF);
    g_assert_cmpuint(l->eof, <, l->end);
    if (!w->options.stock) {
        find_setup(l, stream);
        l->final = relay_mark(relay, RELAY_FINAL);
        g_assert_cmpuint(l->final, <, l->eof);
    }
    relay_free(relay);
    guest_quit(w->source);
    world_lose(w);
    return stream;
}

FaultWorld *world_new(BGBackend backend, bool stock)
{
    FaultWorld *w = g_new0(FaultWorld, 1);
    GByteArray *stream;

    w->options.backend = backend;
    w->options.ram_size = FAULT_RAM_SIZE;
    w->options.stock = stock;
    w->options.no_must_tell_host = stock;
    stream = world_record(w);
    g_byte_array_free(stream, true);
    return w;
}

void world_free(FaultWorld *w)
{
    if (w->source) {
        guest_quit(w->source);
    }
    bm_free(w->model);
    g_free(w);
}
