/*
 * Faults during a migration: no space where it goes, and streams that were
 * changed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include "qobject/qdict.h"
#include "skip-fault.h"

/* ---- File systems of a limited size ---- */

/*
 * This process, and QEMUs that it starts from now on, see file systems that
 * nobody else does.
 */
static bool apart;

/*
 * A folder with a file system of its own.  NULL, and the test is skipped, if
 * that cannot be had.
 */
static char *mount_small(const char *type, const char *options)
{
    char *dir;

    if (!apart) {
        g_test_skip("file systems cannot be mounted");
        return NULL;
    }
    dir = g_dir_make_tmp("skip-fault-XXXXXX", NULL);
    g_assert_nonnull(dir);
    if (mount("none", dir, type, 0, options)) {
        g_test_skip("this file system cannot be mounted");
        rmdir(dir);
        g_clear_pointer(&dir, g_free);
    }
    return dir;
}

static void unmount(char *dir)
{
    g_assert_cmpint(umount2(dir, MNT_DETACH), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_free(dir);
}

/* The migration to @uri fails, and the guest migrates on. */
static void fail_and_go_on(World *w, BGuest *next)
{
    g_autofree char *status = source_settle(w->source);

    g_assert_cmpstr(status, ==, "failed");
    bg_assert_vm_status(w->source, "running");
    world_check(w, w->source, false);
    world_small_work(w);
    world_onward(w, next, false);
}

/* ---- The destination has too little memory ---- */

/* More than the guest uses, and less than it has; and less than it uses */
#define ENOUGH "size=8M"
#define TOO_LITTLE "size=4M"

typedef struct MemoryCase {
    const char *name;
    const char *type;           /* of the file system */
    const char *options;
    bool stock;
    bool fits;
} MemoryCase;

static const MemoryCase memory_cases[] = {
    { "stock", "tmpfs", ENOUGH, true, false },
    { "enough", "tmpfs", ENOUGH, false, true },
    { "too-little", "tmpfs", TOO_LITTLE, false, false },
    { "enough-huge", "hugetlbfs", "pagesize=2M," ENOUGH, false, true },
    { "too-little-huge", "hugetlbfs", "pagesize=2M," TOO_LITTLE, false,
      false },
};

static void run_memory_case(World *w, const MemoryCase *c, const char *dir)
{
    /* Without "reserve=off", hugetlbfs would refuse to start. */
    g_autofree char *file = g_strdup_printf("%s/ram,reserve=off", dir);
    BGuest *dest = dest_new(w, file);
    StreamRelay *relay;
    int status;

    world_prepare(w);
    if (c->fits) {
        world_onward(w, dest, false);
        world_end(w);
        return;
    }
    /* A small buffer, so that the source notices */
    relay = relay_new(w->source, dest->socket, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    relay_wait(relay);
    relay_free(relay);
    /* The destination was killed by the host; the source goes on. */
    status = bg_reap(dest);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    fail_and_go_on(w, dest_new(w, NULL));
}

static void test_memory(gconstpointer data)
{
    const MemoryCase *c = data;
    char *dir;

    if ((c->stock && !bg_stock_or_skip()) ||
        (!strcmp(c->type, "hugetlbfs") && !bg_huge_or_skip(16 * MiB))) {
        return;
    }
    dir = mount_small(c->type, c->options);
    if (dir) {
        run_memory_case(world_get(BG_MEMFD, c->stock), c, dir);
        unmount(dir);
    }
}

/* ---- The disk is full ---- */

/* Migrate to where it cannot go; some of it QEMU refuses at once. */
static void save(World *w, const char *uri)
{
    BGuest *next;

    bg_step("%s", uri);
    world_prepare(w);
    next = dest_new(w, NULL);
    if (!strcmp(uri, "fd:full")) {
        int fd = open("/dev/full", O_WRONLY);

        g_assert_cmpint(fd, >=, 0);
        qtest_qmp_fds_assert_success(w->source->qts, &fd, 1,
                                     "{ 'execute': 'getfd',"
                                     " 'arguments': { 'fdname': 'full' } }");
        close(fd);
    }
    qobject_unref(qtest_qmp(w->source->qts, "{ 'execute': 'migrate',"
                            " 'arguments': { 'uri': %s } }", uri));
    fail_and_go_on(w, next);
}

static void test_dev_full(void)
{
    static const char *const uris[] = {
        "file:/dev/full", "fd:full", "exec:cat > /dev/full",
        "unix:/dev/full",
    };
    int i;

    for (i = 0; i < 2 * ARRAY_SIZE(uris); i++) {
        save(world_get(i % 2 ? BG_MEMFD : BG_ANON, false), uris[i / 2]);
    }
}

/* In the midst of memory: more than that is used */
static void test_disk_full(void)
{
    char *dir = mount_small("tmpfs", "size=2M");
    g_autofree char *file = g_strdup_printf("file:%s/vm", dir);
    g_autofree char *command = g_strdup_printf("exec:cat > %s/vm", dir);

    if (dir) {
        save(world_get(BG_ANON, false), file);
        save(world_get(BG_MEMFD, false), file);
        save(world_get(BG_ANON, false), command);
        unmount(dir);
    }
}

/* ---- Streams that were changed ---- */

#define CHANGES 30

/* Returns if the stream was loaded; the other way to end is to refuse it. */
static bool load_changed(World *w, const char *path, const GByteArray *stream)
{
    BGOptions options = w->options;
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    BGuest *dest;
    bool loaded;

    options.args = "-incoming defer";
    dest = bg_start(&options);
    bg_set_capability(dest, "skip-unpopulated", true);
    qtest_qmp_assert_success(
        dest->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s, 'exit-on-error': false } }", uri);
    relay_send(path, stream->data, stream->len);
    BG_WAIT(bg_has_status(dest, "completed") || bg_has_status(dest, "failed"));
    loaded = bg_has_status(dest, "completed");
    /* It still answers, and ends as it should. */
    bg_map_pages(dest, NULL);
    bg_quit(dest);
    unlink(path);
    return loaded;
}

static void test_changed(void)
{
    static const uint8_t changes[] = { 0x01, 0x80, 0xff, 0x40, 0x02 };
    g_autofree char *path = g_strdup_printf(
        "%s/skip-fault-%d-changed.sock", g_get_tmp_dir(), getpid());
    World *w = world_get(BG_ANON, false);
    GByteArray *stream;
    int i, n_loaded = 0;

    world_end(w);
    stream = world_record(w);
    for (i = 0; i < CHANGES; i++) {
        uint64_t start = i % 2 ? w->final : w->setup_start;
        uint64_t length = (i % 2 ? world_section_end(stream, w->final)
                                 : w->setup_end) - start;
        uint64_t at = start + length * (i / 2) / (CHANGES / 2);
        uint8_t change = changes[i % ARRAY_SIZE(changes)];

        bg_step("%s part + %" PRIu64 ", changed by 0x%02x",
                i % 2 ? "last" : "first", at - start, change);
        stream->data[at] ^= change;
        n_loaded += load_changed(w, path, stream);
        stream->data[at] ^= change;
    }
    g_test_message("%d of %d were loaded", n_loaded, CHANGES);
    g_assert_cmpint(n_loaded, <, CHANGES);
    g_byte_array_free(stream, true);
}

void add_place_tests(void)
{
    int i;

    apart = !unshare(CLONE_NEWNS) &&
            !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    for (i = 0; i < ARRAY_SIZE(memory_cases); i++) {
        bg_add_test(&memory_cases[i], test_memory, "skip-fault/memory/%s",
                    memory_cases[i].name);
    }
    qtest_add_func("skip-fault/dev-full", test_dev_full);
    qtest_add_func("skip-fault/disk-full", test_disk_full);
    qtest_add_func("skip-fault/changed", test_changed);
}
