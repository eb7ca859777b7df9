/*
 * Files: mapped-ram, plain files, snapshots, and memory that both sides share,
 * with capabilities skip-balloon and skip-unpopulated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "balloon-model.h"
#include "host-memory.h"

#define RAM_SIZE (64 * MiB)

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (4 * MiB)

typedef struct Case {
    const char *name;
    const char *capabilities[5];
    const char *parameters;     /* JSON, or NULL */
    const char *at;             /* where in the file it begins, or NULL */
    bool direct_io;
    bool stops;                 /* the guest does not work meanwhile */
    bool shared;                /* memory that both sides have */
    const char *props;          /* of the machine */
    BGBackend backend;
} Case;

/* Where the guest's memory is used for what, in MiB */
enum {
    DATA = 8,                   /* holds something, stays as it is */
    GIVEN_BACK = 16,            /* in the balloon */
    TAKEN_BACK = 24,            /* in the balloon before, deflated meanwhile */
    LIED_ABOUT,                 /* in the balloon before, written meanwhile */
    INFLATED,                   /* written to the file, then inflated */
    REWRITTEN,                  /* written to the file, then written again */
    UNTOUCHED,
    END = 48,
};

static bool has(const Case *c, const char *capability)
{
    return g_strv_contains(c->capabilities, capability);
}

static BGuest *start(const Case *c, const char *ram_file, const char *args)
{
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .ram_file = ram_file,
        .args = args,
        .machine_props = c->props,
    };
    BGuest *g = bg_start(&options);
    const char *const *name;

    for (name = c->capabilities; *name; name++) {
        bg_set_capability(g, *name, true);
    }
    if (c->parameters) {
        bg_set_parameters(g, c->parameters);
    }
    return g;
}

/* A guest that has used its memory; @lies: and some that it gave back, too */
static BGuest *start_source(const Case *c, const char *ram_file, bool lies,
                            BalloonModel **m)
{
    BGuest *g = start(c, ram_file, NULL);

    bg_driver_start(g, BG_MUST_TELL_HOST);
    *m = bm_new(g);
    bm_fill(*m, g, DATA * MiB, (UNTOUCHED - DATA) * MiB, 1);
    bm_inflate(*m, g, GIVEN_BACK * MiB, 8 * MiB);
    bm_inflate(*m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_inflate(*m, g, LIED_ABOUT * MiB, 1 * MiB);
    if (lies) {
        bm_fill(*m, g, LIED_ABOUT * MiB, MiB / 2, 3);
    }
    return g;
}

static void work_meanwhile(BalloonModel *m, BGuest *g)
{
    bm_deflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_fill(m, g, TAKEN_BACK * MiB, MiB / 2, 2);
    bm_fill(m, g, LIED_ABOUT * MiB, MiB / 2, 3);
    bm_inflate(m, g, INFLATED * MiB, 1 * MiB);
    /* This one has been written: it is the first of all. */
    bm_inflate(m, g, DATA * MiB, MiB / 2);
    bm_fill(m, g, REWRITTEN * MiB, 1 * MiB, 4);
}

static BGuest *load(const Case *c, BGuest *source, const char *ram_file,
                    const char *uri)
{
    BGuest *g = start(c, ram_file, "-incoming defer");

    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s } }", uri);
    bg_migrate_wait(g, NULL);
    memcpy(g->queue, source->queue, sizeof(g->queue));
    return g;
}

static void quit(BGuest *g, BGuest *loaded, BalloonModel *m, BalloonModel *n)
{
    bg_quit(loaded);
    bg_quit(g);
    bm_free(m);
    bm_free(n);
}

/* Bytes that the file system has allocated for the file */
static uint64_t allocated(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * UINT64_C(512);
}

/* ---- Migration to a file, and from it ---- */

static bool can_do_direct_io(const char *path)
{
    int fd = open(path, O_CREAT | O_RDWR | O_DIRECT, 0600);

    if (fd < 0) {
        g_test_skip("no direct I/O where files for tests go, see TMPDIR");
        return false;
    }
    close(fd);
    return true;
}

static void check_file(const Case *c, const char *path, const char *ram_file)
{
    g_autofree char *uri = g_strdup_printf("file:%s%s", path, c->at ?: "");
    BalloonModel *m;
    BGuest *g = start_source(c, ram_file, c->stops, &m), *loaded;
    uint64_t populated = 0;

    if (!c->stops) {
        bg_migrate_limit(g, SLOW);
    }
    bg_migrate_uri(g, uri);
    if (!c->stops) {
        bg_migrate_wait_pass(g, 1);
        bg_migrate_wait_sent(g, 1 * MiB);
        work_meanwhile(m, g);
        bg_migrate_limit(g, 0);
    }
    bg_migrate_wait(g, NULL);
    bm_migrated(m);
    if (c->shared) {
        populated = allocated(ram_file);
    }
    g_assert_cmpuint(allocated(path), <, (UNTOUCHED - DATA) * MiB);

    loaded = load(c, g, ram_file, uri);
    bg_assert_same_map(g, loaded);
    if (c->shared) {
        g_assert_cmpuint(bg_map_pages(loaded, NULL), ==,
                         10 * MiB / BALLOON_PAGE);
        g_assert_cmpuint(allocated(ram_file), <=, populated);
        bm_read(m, loaded, DATA * MiB, (END - DATA) * MiB);
    } else {
        if (c->backend == BG_MEMFD) {
            /* Anonymous memory may have huge pages, with zeroes in them. */
            g_assert_cmpuint(bg_count_populated(loaded, 0, RAM_SIZE), <=,
                             bg_count_populated(g, 0, RAM_SIZE));
        } else if (c->stops) {
            /* So has what it lied about, already. */
            bm_note_populated(m, g);
        }
        bm_check(m, loaded);
        g_assert_cmpuint(bg_count_populated(g, GIVEN_BACK * MiB, 8 * MiB), ==,
                         0);
    }
    quit(g, loaded, m, NULL);
}

static void test_file(gconstpointer data)
{
    const Case *c = data;
    const char *tmpfs = c->shared ? hm_tmpfs_or_skip() : g_get_tmp_dir();
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "file");
    g_autofree char *ram_file = c->shared && tmpfs ? hm_temp_path(tmpfs, "ram")
                                                   : NULL;

    if (tmpfs && (!c->direct_io || can_do_direct_io(path))) {
        check_file(c, path, ram_file);
        unlink(path);
        if (ram_file) {
            unlink(ram_file);
        }
    }
}

/* ---- Background snapshot ---- */

/* The moment that the snapshot is of is over when the guest runs again. */
static void test_background(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "snapshot");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BalloonModel *m, *then;
    BGuest *g = start_source(c, NULL, true, &m), *loaded;

    if (!bg_set_background_snapshot(g)) {
        bg_quit(g);
        return;
    }
    bg_migrate_limit(g, SLOW);
    bg_migrate_uri(g, uri);
    qtest_qmp_eventwait(g->qts, "RESUME");
    then = bm_copy(m);

    bm_deflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_fill(m, g, TAKEN_BACK * MiB, MiB / 2, 4);
    bm_fill(m, g, GIVEN_BACK * MiB, MiB / 2, 5);
    bm_fill(m, g, REWRITTEN * MiB, MiB / 2, 6);
    bm_fill(m, g, UNTOUCHED * MiB, MiB / 2, 7);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, NULL);
    bm_read(m, g, DATA * MiB, (GIVEN_BACK - DATA) * MiB);
    if (has(c, "skip-balloon")) {
        /* Beyond the huge page that was written to */
        g_assert_cmpuint(bg_count_populated(g, (GIVEN_BACK + 2) * MiB,
                                            6 * MiB), ==, 0);
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=,
                        8 * MiB / BALLOON_PAGE);
    }
    g_assert_cmpuint(bg_count_populated(g, (UNTOUCHED + 2) * MiB,
                                        (END - UNTOUCHED - 2) * MiB), ==, 0);

    bm_empty_balloon(then);
    loaded = load(c, g, NULL, uri);
    bm_check(then, loaded);
    bm_read(then, loaded, DATA * MiB, (END - DATA) * MiB);
    unlink(path);
    quit(g, loaded, m, then);
}

/* ---- Snapshots on qcow2 ---- */

/* Whatever the guest has done since must be gone when it is loaded. */
static void test_snapshot(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "disk");
    BalloonModel *m, *then;
    BGuest *g = start_source(c, NULL, true, &m);
    uint64_t populated = bg_count_populated(g, 0, RAM_SIZE);
    int times;

    hm_add_disk(g, path);
    hm_snapshot(g, "snapshot-save");
    bm_migrated(m);
    then = bm_copy(m);
    if (has(c, "skip-balloon")) {
        g_assert_cmpuint(bg_count_populated(g, GIVEN_BACK * MiB, 8 * MiB), ==,
                         0);
    }
    if (has(c, "skip-unpopulated")) {
        g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), <=, populated);
    }

    /* What was skipped when it was saved is emptied without being asked to. */
    bg_set_capability(g, "skip-balloon", false);
    bg_set_capability(g, "skip-unpopulated", false);
    for (times = 0; times < 2; times++) {
        bm_fill(m, g, DATA * MiB, 1 * MiB, 4);
        bm_fill(m, g, GIVEN_BACK * MiB, 1 * MiB, 5);
        bm_fill(m, g, UNTOUCHED * MiB, 1 * MiB, 6);
        bm_inflate(m, g, REWRITTEN * MiB, 1 * MiB);
        hm_snapshot(g, "snapshot-load");
        bm_check(then, g);
    }
    if (has(c, "skip-unpopulated")) {
        g_assert_cmpuint(bg_count_populated(g, (UNTOUCHED + 2) * MiB,
                                            (END - UNTOUCHED - 2) * MiB), ==,
                         0);
    }
    bm_read(then, g, DATA * MiB, (END - DATA) * MiB);
    unlink(path);
    bg_quit(g);
    bm_free(then);
    bm_free(m);
}

/* ---- The new process gets the very memory of the old one ---- */

static QDict *unix_channel(const char *type, const char *path)
{
    return qdict_from_jsonf_nofail(
        "{ 'channel-type': %s, 'addr': { 'transport': 'socket',"
        " 'type': 'unix', 'path': %s } }", type, path);
}

static void test_cpr_transfer(void)
{
    static const Case c = {
        .capabilities = { "skip-balloon", "skip-unpopulated" },
        .props = "aux-ram-share=on",
        .backend = BG_MEMFD,
    };
    g_autofree char *cpr_socket = hm_temp_path(g_get_tmp_dir(), "cpr");
    g_autofree char *socket = hm_temp_path(g_get_tmp_dir(), "main");
    g_autofree char *args = g_strdup_printf(
        "-incoming '{\"channel-type\": \"cpr\", \"addr\": {"
        " \"transport\": \"socket\", \"type\": \"unix\","
        " \"path\": \"%s\" } }' -incoming unix:%s", cpr_socket, socket);
    BGOptions options;
    BalloonModel *m;
    BGuest *g = start_source(&c, NULL, true, &m), *dest;

    options = g->options;
    options.args = args;
    options.connect_later = true;
    dest = bg_start(&options);
    BG_WAIT(!access(cpr_socket, F_OK));
    bg_set_parameters(g, "{ 'mode': 'cpr-transfer' }");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': {"
        " 'channels': [ %p, %p ] } }", unix_channel("main", socket),
        unix_channel("cpr", cpr_socket));
    bg_connect(dest);
    bg_migrate_wait(g, dest);
    bm_migrated(m);
    bg_assert_same_map(g, dest);
    bm_check(m, dest);
    quit(g, dest, m, NULL);
    unlink(socket);
    unlink(cpr_socket);
}

/* ---- All of them ---- */

#define B "skip-balloon"
#define U "skip-unpopulated"

static const Case file_cases[] = {
    { "plain", { B, U } },
    { "plain/offset", { B, U }, .at = ",offset=0x10000" },
    { "mapped-ram/balloon", { B, "mapped-ram" } },
    { "mapped-ram/unpopulated", { U, "mapped-ram" } },
    { "mapped-ram/both", { B, U, "mapped-ram" } },
    { "mapped-ram/multifd", { B, U, "mapped-ram", "multifd" } },
    { "mapped-ram/direct-io", { B, U, "mapped-ram", "multifd" },
      .direct_io = true, .parameters = "{ 'direct-io': true }" },
    /* Without x-ignore-shared all of the memory goes to the file. */
    { "cpr-reboot", { B, U }, .stops = true,
      .parameters = "{ 'mode': 'cpr-reboot' }" },
};

static const Case shared_cases[] = {
    { "normal", { B, U, "x-ignore-shared" }, .stops = true,
      .parameters = "{ 'mode': 'normal' }",
      .shared = true },
    { "cpr-reboot", { B, U, "x-ignore-shared" }, .stops = true,
      .parameters = "{ 'mode': 'cpr-reboot' }",
      .shared = true },
};

static const Case snapshot_cases[] = {
    { "balloon", { B } },
    { "unpopulated", { U } },
    { "both", { B, U } },
};

static void add(const char *name, const Case *cases, int n, BGBackend backend,
                GTestDataFunc func)
{
    for (; n--; cases++) {
        Case *c = g_memdup2(cases, sizeof(*c));

        c->backend = backend;
        bg_add_test(c, func, "skip-file/%s/%s/%s", name,
                    bg_backend_name(backend), c->name);
    }
}

int main(int argc, char **argv)
{
    BGBackend backend;

    bg_init(&argc, &argv);
    bg_allow_huge_pages(true);
    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        add("to", file_cases, ARRAY_SIZE(file_cases), backend, test_file);
        add("background", snapshot_cases, ARRAY_SIZE(snapshot_cases), backend,
            test_background);
        add("snapshot", snapshot_cases, ARRAY_SIZE(snapshot_cases), backend,
            test_snapshot);
    }
    add("ignore-shared", shared_cases, ARRAY_SIZE(shared_cases), BG_ANON,
        test_file);
    qtest_add_func("skip-file/cpr-transfer", test_cpr_transfer);
    return g_test_run();
}
