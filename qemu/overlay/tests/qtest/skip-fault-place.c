/*
 * Faults during a migration: no space where it goes
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
 * A folder with a file system of its own, which nobody else sees.  NULL, and
 * the test is skipped, if that cannot be had.
 */
static char *mount_small(const char *type, const char *options)
{
    static bool apart;
    char *dir;

    if (!apart && (unshare(CLONE_NEWNS) ||
                   mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))) {
        g_test_skip("file systems cannot be mounted");
        return NULL;
    }
    apart = true;
    dir = g_dir_make_tmp("skip-fault-XXXXXX", NULL);
    g_assert_nonnull(dir);
    if (mount("none", dir, type, 0, options)) {
        g_test_skip("this file system cannot be mounted");
        rmdir(dir);
        g_free(dir);
        return NULL;
    }
    return dir;
}

static void unmount(char *dir)
{
    g_assert_cmpint(umount2(dir, MNT_DETACH), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_free(dir);
}

/* ---- The destination has too little memory ---- */

/* More than the guest uses, and less than it has; and less than it uses */
#define ENOUGH "size=8M"
#define TOO_LITTLE "size=4M"

typedef struct MemoryCase {
    const char *type;           /* of the file system */
    const char *options;
    bool stock;
    bool fits;
} MemoryCase;

/* The destination was killed by the host; the source goes on. */
static char *check_bus_error(FaultWorld *w, BGuest *dest)
{
    BGuest *next;
    g_autofree char *status = NULL;
    char *wrong = NULL;
    int wstatus;

    if (!guest_reap(dest, &wstatus) || !WIFSIGNALED(wstatus) ||
        WTERMSIG(wstatus) != SIGBUS) {
        return g_strdup_printf("the destination ends with status 0x%x",
                               wstatus);
    }
    next = dest_new(w, NULL);
    status = source_settle(w->source);
    if (strcmp(status, "failed")) {
        blame(&wrong, g_strdup_printf("the source is %s", status));
    }
    blame(&wrong, check_vm_status(w->source, "running"));
    if (blame(&wrong, world_check(w, w->source))) {
        guest_quit(next);
        return wrong;
    }
    world_small_work(w);
    return world_onward(w, next);
}

static char *run_memory_case(FaultWorld *w, const MemoryCase *c,
                             const char *dir)
{
    /* Without "reserve=off", hugetlbfs would refuse to start. */
    g_autofree char *file = g_strdup_printf("%s/ram,reserve=off", dir);
    BGuest *dest = dest_new(w, file);
    StreamRelay *relay;
    char *wrong;

    world_prepare(w);
    if (c->fits) {
        return world_onward(w, dest);
    }
    /* A small buffer, so that the source notices */
    relay = relay_new(w->source, dest->socket, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    relay_wait(relay);
    relay_free(relay);
    wrong = check_bus_error(w, dest);
    return wrong;
}

static bool have_huge_pages(void)
{
    if (bg_free_huge_pages() >= 8) {
        return true;
    }
    g_test_skip("fewer than 8 free huge pages of 2 MiB");
    return false;
}

static void test_memory(gconstpointer data)
{
    const MemoryCase *c = data;
    FaultWorld *w;
    int failed = 0;
    char *dir;

    if (!strcmp(c->type, "hugetlbfs") && !have_huge_pages()) {
        return;
    }
    if (c->stock && !getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    dir = mount_small(c->type, c->options);
    if (!dir) {
        return;
    }
    w = world_new(BG_MEMFD, c->stock);
    report_case(w, c->options, run_memory_case(w, c, dir), &failed);
    world_free(w);
    unmount(dir);
    finish_group(failed, 1);
}

/* ---- The disk is full ---- */

/* Migrate to where it cannot go; some of it QEMU refuses at once. */
static void save(BGuest *g, const char *uri)
{
    QDict *rsp;

    if (!strcmp(uri, "fd:full")) {
        int fd = open("/dev/full", O_WRONLY);

        g_assert_cmpint(fd, >=, 0);
        qtest_qmp_fds_assert_success(g->qts, &fd, 1, "{ 'execute': 'getfd',"
                                     " 'arguments': { 'fdname': 'full' } }");
        close(fd);
    }
    rsp = qtest_qmp(g->qts, "{ 'execute': 'migrate', 'arguments': {"
                    " 'uri': %s } }", uri);
    qobject_unref(rsp);
}

static char *save_and_go_on(FaultWorld *w, const char *uri)
{
    g_autofree char *status = NULL;
    char *wrong = NULL;
    BGuest *next;

    world_prepare(w);
    next = dest_new(w, NULL);
    save(w->source, uri);
    status = source_settle(w->source);
    if (strcmp(status, "failed")) {
        blame(&wrong, g_strdup_printf("the migration is %s", status));
    } else {
        blame(&wrong, check_vm_status(w->source, "running"));
        blame(&wrong, world_check(w, w->source));
    }
    if (wrong) {
        guest_quit(next);
        return wrong;
    }
    world_small_work(w);
    return world_onward(w, next);
}

static void save_and_report(FaultWorld *w, const char *uri, int *failed,
                            int *n)
{
    g_test_message("%s", uri);
    report_case(w, uri, save_and_go_on(w, uri), failed);
    ++*n;
}

static void test_dev_full(void)
{
    static const char *const uris[] = {
        "file:/dev/full", "fd:full", "exec:cat > /dev/full",
        "unix:/dev/full",
    };
    int failed = 0, n = 0;
    BGBackend backend;
    size_t i;

    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        FaultWorld *w = world_new(backend, false);

        for (i = 0; i < ARRAY_SIZE(uris); i++) {
            save_and_report(w, uris[i], &failed, &n);
        }
        world_free(w);
    }
    finish_group(failed, n);
}

/* Save to file systems of @size bytes. */
static bool save_to_small(FaultWorld *w, uint64_t size, bool file_only,
                          int *failed, int *n)
{
    g_autofree char *options = g_strdup_printf("size=%" PRIu64, size);
    char *dir = mount_small("tmpfs", options);
    g_autofree char *file = NULL;
    g_autofree char *command = NULL;

    if (!dir) {
        return false;
    }
    file = g_strdup_printf("file:%s/vm", dir);
    save_and_report(w, file, failed, n);
    if (!file_only) {
        command = g_strdup_printf("exec:cat > %s/vm", dir);
        save_and_report(w, command, failed, n);
    }
    unmount(dir);
    return true;
}

/*
 * How much is saved if the guest does nothing meanwhile?  Ends the source.
 *
 * It has migrated before, as in the cases: the machine populates some pages
 * when it starts, which a destination does not have.
 */
static uint64_t saved_bytes(FaultWorld *w)
{
    g_autofree char *status = NULL;
    StreamRelay *relay;
    uint64_t size;

    world_prepare(w);
    g_assert_null(world_onward(w, dest_new(w, NULL)));
    world_prepare(w);
    relay = relay_new(w->source, NULL, true);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    g_assert_false(relay_wait(relay));
    status = source_settle(w->source);
    g_assert_cmpstr(status, ==, "completed");
    size = relay_bytes(relay)->len;
    relay_free(relay);
    guest_quit(w->source);
    world_lose(w);
    return size;
}

static void test_disk_full(void)
{
    int failed = 0, n = 0;
    BGBackend backend;
    bool mounted = true;

    for (backend = BG_ANON; mounted && backend <= BG_MEMFD; backend++) {
        FaultWorld *w = world_new(backend, false);
        const uint64_t size = (saved_bytes(w) - 1) & -BALLOON_PAGE;
        const uint64_t description = w->layout.end - w->layout.eof;

        mounted = save_to_small(w, BALLOON_PAGE, false, &failed, &n) &&
                  save_to_small(w, size / 2 & -BALLOON_PAGE, false, &failed,
                                &n) &&
                  /*
                   * In the state of devices, and all but the last bytes.  (A
                   * pipe would take those, and the source would not know that
                   * they never reach the disk.)
                   */
                  save_to_small(w, (size - description) & -BALLOON_PAGE, true,
                                &failed, &n) &&
                  save_to_small(w, size, true, &failed, &n);
        g_test_message("%" PRIu64 " bytes", size);
        world_free(w);
    }
    finish_group(failed, n);
}

void add_place_tests(void)
{
    static const MemoryCase cases[] = {
        { "tmpfs", ENOUGH, true, false },
        { "tmpfs", ENOUGH, false, true },
        { "tmpfs", TOO_LITTLE, false, false },
        { "hugetlbfs", "pagesize=2M," ENOUGH, false, true },
        { "hugetlbfs", "pagesize=2M," TOO_LITTLE, false, false },
    };
    static const char *const names[] = {
        "skip-fault/memory/stock", "skip-fault/memory/enough",
        "skip-fault/memory/too-little", "skip-fault/memory/enough-huge",
        "skip-fault/memory/too-little-huge",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        qtest_add_data_func(names[i], &cases[i], test_memory);
    }
    qtest_add_func("skip-fault/dev-full", test_dev_full);
    qtest_add_func("skip-fault/disk-full", test_disk_full);
}
