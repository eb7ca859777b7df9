/*
 * Files: mapped-ram, plain files, snapshots, and memory that both sides share,
 * with capabilities skip-balloon and skip-unpopulated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"
#include "balloon-model.h"

#define MUST_TELL_HOST (1u << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define RAM_SIZE (64 * MiB)
#define WAIT_SECONDS 60

/* For memory: other file systems do not tell exactly what is populated */
#define TMPFS "/dev/shm"

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (4 * MiB)

enum {
    BALLOON = 1,
    UNPOPULATED = 2,
    MAPPED = 4,
    MULTIFD = 8,
    DIRECT_IO = 16,
    BACKGROUND = 32,
    OFFSET = 64,
    IGNORE_SHARED = 128,
};

typedef struct Case {
    BGBackend backend;
    int flags;
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

static char *dir;

static char *path_of(const char *name)
{
    return g_strdup_printf("%s/%s", dir, name);
}

static const char *const *capability_names(int flags)
{
    static const char *names[8];
    int n = 0;

    if (flags & BALLOON) {
        names[n++] = "skip-balloon";
    }
    if (flags & UNPOPULATED) {
        names[n++] = "skip-unpopulated";
    }
    if (flags & MAPPED) {
        names[n++] = "mapped-ram";
    }
    if (flags & MULTIFD) {
        names[n++] = "multifd";
    }
    if (flags & IGNORE_SHARED) {
        names[n++] = "x-ignore-shared";
    }
    names[n] = NULL;
    return names;
}

static void set_capabilities(BGuest *g, int flags)
{
    const char *const *name;

    for (name = capability_names(flags); *name; name++) {
        bg_set_capability(g, *name, true);
    }
    if (flags & DIRECT_IO) {
        qtest_qmp_assert_success(
            g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
            " 'direct-io': true } }");
    }
}

static BGuest *start_guest(const Case *c, const char *args)
{
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .args = args,
    };

    return bg_start(&options);
}

static BGuest *start_source(const Case *c, const char *args)
{
    BGuest *g = start_guest(c, args);

    bg_driver_start(g, MUST_TELL_HOST);
    set_capabilities(g, c->flags);
    return g;
}

static void before(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, DATA * MiB, (UNTOUCHED - DATA) * MiB, 1);
    bm_inflate(m, g, GIVEN_BACK * MiB, 8 * MiB);
    bm_inflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_inflate(m, g, LIED_ABOUT * MiB, 1 * MiB);
}

static void meanwhile(BalloonModel *m, BGuest *g)
{
    bm_deflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_fill(m, g, TAKEN_BACK * MiB, MiB / 2, 2);
    bm_fill(m, g, LIED_ABOUT * MiB, MiB / 2, 3);
    bm_inflate(m, g, INFLATED * MiB, 1 * MiB);
    /* This one has been written: it is the first of all. */
    bm_inflate(m, g, DATA * MiB, MiB / 2);
    bm_fill(m, g, REWRITTEN * MiB, 1 * MiB, 4);
}

static void migrate(BGuest *g, const char *uri)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
}

static BGuest *load(const Case *c, BGuest *source, const char *uri)
{
    BGuest *g = start_guest(c, "-incoming defer");

    set_capabilities(g, c->flags & ~BACKGROUND);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s } }", uri);
    bg_migrate_wait(g, NULL);
    memcpy(g->queue, source->queue, sizeof(g->queue));
    return g;
}

/* Bytes that the file system has allocated for the file */
static uint64_t allocated(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * UINT64_C(512);
}

/* ---- Migration to a file, and from it ---- */

static void check_loaded(const Case *c, BalloonModel *m, BGuest *source,
                         BGuest *loaded)
{
    /* The host may back anonymous memory by huge pages, with zeroes in them. */
    if (c->backend == BG_MEMFD) {
        g_assert_cmpuint(bg_count_populated(loaded, 0, RAM_SIZE), <=,
                         bg_count_populated(source, 0, RAM_SIZE));
    }
    bm_check(m, loaded);
    bg_assert_same_map(source, loaded);
    g_assert_cmpuint(bg_count_populated(source, GIVEN_BACK * MiB, 8 * MiB), ==,
                     0);
}

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

static void test_file(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = path_of("file");
    g_autofree char *uri = g_strdup_printf(
        "file:%s%s", path, c->flags & OFFSET ? ",offset=0x10000" : "");
    BGuest *source, *loaded;
    BalloonModel *m;

    if (c->flags & DIRECT_IO && !can_do_direct_io(path)) {
        return;
    }
    source = start_source(c, NULL);
    m = bm_new(source);
    before(m, source);
    bg_migrate_limit(source, SLOW);
    migrate(source, uri);
    bg_migrate_wait_pass(source, 1);
    bg_migrate_wait_sent(source, 1 * MiB);
    meanwhile(m, source);
    bg_migrate_limit(source, 0);
    bg_migrate_wait(source, NULL);
    bm_migrated(m);
    g_assert_cmpuint(allocated(path), <, (UNTOUCHED - DATA) * MiB);
    loaded = load(c, source, uri);
    check_loaded(c, m, source, loaded);
    unlink(path);
    bg_quit(loaded);
    bg_quit(source);
    bm_free(m);
}

/* ---- Background snapshot ---- */

/* The moment that the snapshot is of is over when the guest runs again. */
static void test_background(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = path_of("snapshot");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BGuest *source = start_source(c, NULL), *loaded;
    BalloonModel *m, *then;

    if (!bg_set_background_snapshot(source)) {
        bg_quit(source);
        return;
    }
    m = bm_new(source);
    before(m, source);
    bm_fill(m, source, LIED_ABOUT * MiB, MiB / 2, 3);
    bg_migrate_limit(source, SLOW);
    migrate(source, uri);
    qtest_qmp_eventwait(source->qts, "RESUME");
    then = bm_copy(m);

    bm_deflate(m, source, TAKEN_BACK * MiB, 1 * MiB);
    bm_fill(m, source, TAKEN_BACK * MiB, MiB / 2, 4);
    bm_fill(m, source, GIVEN_BACK * MiB, MiB / 2, 5);
    bm_fill(m, source, REWRITTEN * MiB, MiB / 2, 6);
    bm_fill(m, source, UNTOUCHED * MiB, MiB / 2, 7);
    bg_migrate_limit(source, 0);
    bg_migrate_wait(source, NULL);
    bm_read(m, source, DATA * MiB, (GIVEN_BACK - DATA) * MiB);
    if (c->flags & BALLOON) {
        /* Beyond the huge page that was written to */
        g_assert_cmpuint(bg_count_populated(source, (GIVEN_BACK + 2) * MiB,
                                            6 * MiB), ==, 0);
        g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), >=,
                        8 * MiB / BALLOON_PAGE);
    }
    g_assert_cmpuint(bg_count_populated(source, (UNTOUCHED + 2) * MiB,
                                        (END - UNTOUCHED - 2) * MiB), ==, 0);

    bm_empty_balloon(then);
    loaded = load(c, source, uri);
    bm_check(then, loaded);
    bm_read(then, loaded, DATA * MiB, (END - DATA) * MiB);
    unlink(path);
    bg_quit(loaded);
    bg_quit(source);
    bm_free(then);
    bm_free(m);
}

/* ---- Snapshots on qcow2 ---- */

static void wait_for_job(BGuest *g, const char *id)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    bool concluded = false;

    while (!concluded) {
        QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-jobs' }");
        QListEntry *entry;

        QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
            QDict *job = qobject_to(QDict, qlist_entry_obj(entry));

            if (!strcmp(qdict_get_str(job, "id"), id) &&
                !strcmp(qdict_get_str(job, "status"), "concluded")) {
                g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
                concluded = true;
            }
        }
        qobject_unref(rsp);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'job-dismiss', 'arguments': { 'id': %s } }", id);
}

static void add_disk(BGuest *g, const char *path)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-create', 'arguments': {"
        " 'job-id': 'file', 'options': { 'driver': 'file', 'filename': %s,"
        " 'size': 0 } } }", path);
    wait_for_job(g, "file");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-add', 'arguments': {"
        " 'driver': 'file', 'filename': %s, 'node-name': 'file' } }", path);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-create', 'arguments': {"
        " 'job-id': 'qcow2', 'options': { 'driver': 'qcow2', 'file': 'file',"
        " 'size': 1048576 } } }");
    wait_for_job(g, "qcow2");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'blockdev-add', 'arguments': {"
        " 'driver': 'qcow2', 'file': 'file', 'node-name': 'disk' } }");
}

static void snapshot(BGuest *g, const char *command)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'job-id': 'snapshot',"
        " 'tag': 'one', 'vmstate': 'disk', 'devices': [ 'disk' ] } }",
        command);
    wait_for_job(g, "snapshot");
}

/* Whatever the guest has done since must be gone when it is loaded. */
static void test_snapshot(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = path_of("disk");
    BGuest *g = start_source(c, NULL);
    BalloonModel *m = bm_new(g), *then;
    uint64_t populated;

    add_disk(g, path);
    before(m, g);
    bm_fill(m, g, LIED_ABOUT * MiB, MiB / 2, 3);
    populated = bg_count_populated(g, 0, RAM_SIZE);
    snapshot(g, "snapshot-save");
    bm_migrated(m);
    then = bm_copy(m);
    if (c->flags & BALLOON) {
        g_assert_cmpuint(bg_count_populated(g, GIVEN_BACK * MiB, 8 * MiB), ==,
                         0);
    }
    if (c->flags & UNPOPULATED) {
        g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), <=, populated);
    }

    bm_fill(m, g, DATA * MiB, 1 * MiB, 4);
    bm_fill(m, g, GIVEN_BACK * MiB, 1 * MiB, 5);
    bm_fill(m, g, UNTOUCHED * MiB, 1 * MiB, 6);
    bm_inflate(m, g, REWRITTEN * MiB, 1 * MiB);
    /* What was skipped when it was saved is emptied without being asked to. */
    bg_set_capability(g, "skip-balloon", false);
    bg_set_capability(g, "skip-unpopulated", false);
    snapshot(g, "snapshot-load");
    if (c->flags & (BALLOON | UNPOPULATED)) {
        bm_check(then, g);
    }
    if (c->flags & UNPOPULATED) {
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

/* ---- Memory that both sides share ---- */

static BGuest *start_shared(const char *ram_file, const char *args, int flags)
{
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = RAM_SIZE,
        .ram_file = ram_file,
        .args = args,
    };
    BGuest *g = bg_start(&options);

    set_capabilities(g, flags);
    return g;
}

static void set_mode(BGuest *g, const char *mode)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'mode': %s } }", mode);
}

static void test_shared(gconstpointer data)
{
    const char *mode = data;
    g_autofree char *ram_file = g_strdup_printf("%s/skip-file-%d-ram", TMPFS,
                                                getpid());
    g_autofree char *path = path_of("file");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    int flags = BALLOON | UNPOPULATED | IGNORE_SHARED;
    BGuest *source, *loaded;
    BalloonModel *m;
    uint64_t populated;

    if (access(TMPFS, W_OK)) {
        g_test_skip(TMPFS " is not there");
        return;
    }
    source = start_shared(ram_file, NULL, flags);
    m = bm_new(source);
    bg_driver_start(source, MUST_TELL_HOST);
    before(m, source);
    bm_fill(m, source, LIED_ABOUT * MiB, MiB / 2, 3);
    set_mode(source, mode);
    migrate(source, uri);
    bg_migrate_wait(source, NULL);
    bm_migrated(m);
    populated = allocated(ram_file);

    loaded = start_shared(ram_file, "-incoming defer", flags);
    set_mode(loaded, mode);
    qtest_qmp_assert_success(
        loaded->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s } }", uri);
    bg_migrate_wait(loaded, NULL);
    bg_assert_same_map(source, loaded);
    g_assert_cmpuint(bg_map_pages(loaded, NULL), ==,
                     10 * MiB / BALLOON_PAGE);
    g_assert_cmpuint(allocated(ram_file), <=, populated);
    bm_read(m, loaded, DATA * MiB, (END - DATA) * MiB);
    unlink(ram_file);
    unlink(path);
    bg_quit(loaded);
    bg_quit(source);
    bm_free(m);
}

static QDict *unix_channel(const char *type, const char *path)
{
    QDict *channel = qdict_new(), *addr = qdict_new();

    qdict_put_str(addr, "transport", "socket");
    qdict_put_str(addr, "type", "unix");
    qdict_put_str(addr, "path", path);
    qdict_put_str(channel, "channel-type", type);
    qdict_put(channel, "addr", addr);
    return channel;
}

static void wait_for_file(const char *path)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;

    while (access(path, F_OK)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* A QEMU that takes the memory over, and then migrates over @socket */
static BGuest *start_transfer(const BGuest *source, const char *cpr_socket,
                              const char *socket)
{
    g_autofree char *args = g_strdup_printf(
        "-incoming '{\"channel-type\": \"cpr\", \"addr\": {"
        " \"transport\": \"socket\", \"type\": \"unix\","
        " \"path\": \"%s\" } }' -incoming unix:%s", cpr_socket, socket);
    BGOptions options = source->options;
    BGuest *g;

    options.args = args;
    options.connect_later = true;
    g = bg_start(&options);
    wait_for_file(cpr_socket);
    return g;
}

/* The new process gets the very memory of the old one. */
static void test_cpr_transfer(void)
{
    g_autofree char *cpr_socket = path_of("cpr");
    g_autofree char *socket = path_of("main");
    BGOptions options = {
        .backend = BG_MEMFD,
        .ram_size = RAM_SIZE,
        .machine_props = "aux-ram-share=on",
    };
    BGuest *source = bg_start(&options), *dest;
    BalloonModel *m = bm_new(source);

    bg_driver_start(source, MUST_TELL_HOST);
    set_capabilities(source, BALLOON | UNPOPULATED);
    before(m, source);
    bm_fill(m, source, LIED_ABOUT * MiB, MiB / 2, 3);
    dest = start_transfer(source, cpr_socket, socket);
    set_mode(source, "cpr-transfer");
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate', 'arguments': {"
        " 'channels': [ %p, %p ] } }", unix_channel("main", socket),
        unix_channel("cpr", cpr_socket));
    bg_connect(dest);
    bg_migrate_wait(source, dest);
    bm_migrated(m);
    bg_assert_same_map(source, dest);
    bm_check(m, dest);
    bg_quit(dest);
    bg_quit(source);
    unlink(socket);
    unlink(cpr_socket);
    bm_free(m);
}

/* Without x-ignore-shared all of the memory goes to the file. */
static void test_cpr_reboot(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *path = path_of("file");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BGuest *source = start_source(c, NULL), *loaded;
    BalloonModel *m = bm_new(source);

    before(m, source);
    bm_fill(m, source, LIED_ABOUT * MiB, MiB / 2, 3);
    set_mode(source, "cpr-reboot");
    migrate(source, uri);
    bg_migrate_wait(source, NULL);
    bm_migrated(m);

    loaded = start_guest(c, "-incoming defer");
    set_capabilities(loaded, c->flags);
    set_mode(loaded, "cpr-reboot");
    qtest_qmp_assert_success(
        loaded->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s } }", uri);
    bg_migrate_wait(loaded, NULL);
    if (c->backend == BG_ANON) {
        /* What it lied about may have huge pages already. */
        bm_note_populated(m, source);
    }
    check_loaded(c, m, source, loaded);
    unlink(path);
    bg_quit(loaded);
    bg_quit(source);
    bm_free(m);
}

/* ---- All of them ---- */

static void add(const char *name, BGBackend backend, int flags,
                GTestDataFunc func)
{
    Case c = { .backend = backend, .flags = flags };
    g_autofree char *path = g_strdup_printf(
        "skip-file/%s/%s%s%s%s%s%s", name,
        backend == BG_ANON ? "anon" : "memfd",
        flags & BALLOON ? "/balloon" : "",
        flags & UNPOPULATED ? "/unpopulated" : "",
        flags & MULTIFD ? "/multifd" : "",
        flags & DIRECT_IO ? "/direct-io" : "",
        flags & OFFSET ? "/offset" : "");

    qtest_add_data_func_full(path, g_memdup2(&c, sizeof(c)), func, g_free);
}

static void add_cases(BGBackend backend)
{
    const int both = BALLOON | UNPOPULATED;

    add("plain", backend, both, test_file);
    add("plain", backend, both | OFFSET, test_file);
    add("mapped-ram", backend, BALLOON | MAPPED, test_file);
    add("mapped-ram", backend, UNPOPULATED | MAPPED, test_file);
    add("mapped-ram", backend, both | MAPPED, test_file);
    add("mapped-ram", backend, BALLOON | MAPPED | MULTIFD, test_file);
    add("mapped-ram", backend, both | MAPPED | MULTIFD, test_file);
    add("mapped-ram", backend, both | MAPPED | MULTIFD | DIRECT_IO, test_file);
    add("background", backend, BALLOON, test_background);
    add("background", backend, UNPOPULATED, test_background);
    add("background", backend, both, test_background);
    add("snapshot", backend, 0, test_snapshot);
    add("snapshot", backend, BALLOON, test_snapshot);
    add("snapshot", backend, UNPOPULATED, test_snapshot);
    add("snapshot", backend, both, test_snapshot);
    add("cpr-reboot", backend, both, test_cpr_reboot);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("skip-file-XXXXXX", NULL);
    g_assert_nonnull(dir);
    add_cases(BG_ANON);
    add_cases(BG_MEMFD);
    qtest_add_data_func("skip-file/ignore-shared/normal", "normal",
                        test_shared);
    qtest_add_data_func("skip-file/ignore-shared/cpr-reboot", "cpr-reboot",
                        test_shared);
    qtest_add_func("skip-file/cpr-transfer", test_cpr_transfer);
    ret = g_test_run();
    rmdir(dir);
    g_free(dir);
    return ret;
}
