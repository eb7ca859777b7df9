/*
 * What the balloon is worth after somebody else looked at it, or populated it
 *
 * Whatever populated it, nothing is lost, the map stays what it is, and the
 * destination does not get the memory that the source has now.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include <sys/uio.h>
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-read.h"
#include "host-memory.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define LARGE_SIZE (768 * MiB)
#define GIVEN_START (128 * MiB)
#define GIVEN_SIZE (512 * MiB)
#define GIVEN_PAGES (GIVEN_SIZE / BALLOON_PAGE)

/* Of the destination, beyond that of a guest whose balloon nobody touched */
#define MAY_TAKE (16 * MiB)
#define MAY_TAKE_COLLAPSED (64 * MiB)

static const char *const skip_balloon[] = { "skip-balloon", NULL };

/*
 * @ram_file: of this guest, and none that it goes to; or NULL
 * @mixed: the guest uses one page of each huge one that it gave back, without
 *         which the kernel would not collapse it
 */
static BGuest *start_guest(BGBackend backend, const char *ram_file, bool mixed)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = LARGE_SIZE,
        .ram_file = ram_file,
        .capabilities = skip_balloon,
    };
    BGuest *g = bg_start(&options);
    uint32_t pfns[GIVEN_SIZE / HM_HUGE_SIZE];
    int i;

    g->options.ram_file = NULL;
    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    for (i = 0; i < ARRAY_SIZE(pfns); i++) {
        pfns[i] = (GIVEN_START + i * HM_HUGE_SIZE) / BALLOON_PAGE;
    }
    if (mixed) {
        bg_request(g, BG_DEFLATE, pfns, ARRAY_SIZE(pfns));
        for (i = 0; i < ARRAY_SIZE(pfns); i++) {
            bg_fill(g, pfns[i] * BALLOON_PAGE, BALLOON_PAGE, 2);
        }
    }
    return g;
}

/* Returns the destination; @held is set to its memory, in bytes. */
static BGuest *migrate(BGuest *g, uint64_t *held)
{
    BGuest *dest = bg_start_incoming(g);

    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    *held = bg_count_populated(dest, 0, LARGE_SIZE) * BALLOON_PAGE;
    bg_assert_same_map(g, dest);
    return dest;
}

/* Bytes that the destination of a guest has whose balloon nobody touched */
static uint64_t usual(BGBackend backend, bool mixed)
{
    BGuest *g = start_guest(backend, NULL, mixed);
    uint64_t held;
    BGuest *dest = migrate(g, &held);

    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==,
                    bg_map_pages(g, NULL));
    bg_quit(dest);
    bg_quit(g);
    return held;
}

/* Two migrations of @g, which has huge pages if it is @mixed; ends it */
static void check_migrations(BGuest *g, bool mixed, uint64_t may_take)
{
    uint64_t pages = GIVEN_PAGES - (mixed ? GIVEN_SIZE / HM_HUGE_SIZE : 0);
    uint64_t expected = usual(g->options.backend, mixed);
    uint64_t held, held_next;
    BGuest *dest, *next;

    br_allow_huge_pages(mixed);
    dest = migrate(g, &held);
    g_test_message("%" PRIu64 " of %" PRIu64 " pages skipped, %" PRIu64 " MiB "
                   "on the destination, %" PRIu64 " if nobody looks",
                   bg_skip_stat(g, "skipped-pages"), pages,
                   held / MiB, expected / MiB);
    g_assert_cmpuint(held, <=, expected + may_take);
    next = migrate(dest, &held_next);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, pages);
    g_assert_cmpint(bg_skip_stat(dest, "skipped-pages"), ==, pages);
    g_assert_cmpuint(held_next, <=, expected + may_take);
    /* That populates, so it comes last. */
    ug_assert_same_content(g, next);
    br_allow_huge_pages(false);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(g);
}

static uint64_t count_given(BGuest *g)
{
    return bg_count_populated(g, GIVEN_START, GIVEN_SIZE);
}

/* ---- Who reads ---- */

static void test_reader(gconstpointer data)
{
    static const Reading readings[] = {
        { "pmemsave", .size = LARGE_SIZE },
        { "elf", "elf" },
        { "kdump", "kdump-zlib" },
    };
    BGuest *g = start_guest(GPOINTER_TO_INT(data), NULL, false);
    int i;

    for (i = 0; i < ARRAY_SIZE(readings); i++) {
        g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
        g_autofree char *protocol = g_strdup_printf(
            "%s%s", readings[i].format ? "file:" : "", path);

        br_read(g, &readings[i], protocol);
        unlink(path);
    }
    g_assert_cmpuint(count_given(g), ==, 0);
    check_migrations(g, false, MAY_TAKE);
}

/* ---- A migration without our capabilities ---- */

static void test_cancelled(gconstpointer data)
{
    BGuest *g = start_guest(GPOINTER_TO_INT(data), NULL, false);
    BGOptions options = { .backend = BG_MEMFD, .ram_size = LARGE_SIZE };
    BGuest *dest = ug_start_destination(&options, false);

    g->options.capabilities = NULL;
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    ug_wait_status(g, "pre-switchover");
    g_assert_null(bg_skip_info(g));
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    ug_wait_status(g, "cancelled");
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    qtest_wait_qemu(dest->qts);
    bg_quit(dest);
    bg_set_capability(g, "pause-before-switchover", false);
    g->options.capabilities = skip_balloon;

    if (g->options.backend == BG_MEMFD) {
        /* It has read all of it. */
        g_assert_cmpuint(count_given(g), ==, GIVEN_PAGES);
    }
    check_migrations(g, false, MAY_TAKE);
}

/* ---- Huge pages ---- */

/* Have the kernel make huge pages of what the guest gave back. */
static bool collapse(BGuest *g)
{
    int fd = syscall(SYS_pidfd_open, qtest_pid(g->qts), 0);
    uint64_t at;
    bool collapsed = fd >= 0;

    for (at = 0; collapsed && at < GIVEN_SIZE; at += HM_HUGE_SIZE) {
        struct iovec part = {
            .iov_base = (void *)(uintptr_t)(g->hva + GIVEN_START + at),
            .iov_len = HM_HUGE_SIZE,
        };

        collapsed = syscall(SYS_process_madvise, fd, &part, 1, MADV_COLLAPSE,
                            0) == HM_HUGE_SIZE;
    }
    if (!collapsed) {
        g_test_message("at %" PRIu64 " MiB: %s", at / MiB, strerror(errno));
    }
    close(fd);
    return collapsed;
}

/*
 * Only memory that is aligned to huge pages can have them, which a memfd of
 * QEMU is not.  The destination may have them, too, and must not have one for
 * the page that is in use.
 */
static void check_collapsed(BGBackend backend, const char *path)
{
    g_autofree char *ram_file = path ? g_strdup_printf("%s,align=2M", path)
                                     : NULL;
    struct stat st;
    BGuest *g;

    br_allow_huge_pages(true);
    g = start_guest(backend, ram_file, true);
    br_allow_huge_pages(false);
    if (!collapse(g)) {
        g_test_skip("the kernel does not collapse memory of another process");
        bg_quit(g);
        return;
    }
    if (path) {
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_blocks * INT64_C(512), >=, GIVEN_SIZE);
    } else {
        g_assert_cmpuint(count_given(g), ==, GIVEN_PAGES);
    }
    check_migrations(g, true, MAY_TAKE_COLLAPSED);
}

static void test_collapsed(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    const char *dir = hm_tmpfs_or_skip();
    g_autofree char *path = NULL;

    if (dir) {
        path = backend == BG_MEMFD ? hm_temp_path(dir, "ram") : NULL;
        check_collapsed(backend, path);
    }
    if (path) {
        unlink(path);
    }
}

static void add(const char *name, GTestDataFunc func)
{
    static const char *const names[] = {
        [BG_ANON] = "anon",
        [BG_MEMFD] = "memfd",
    };
    int backend;

    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        g_autofree char *path = g_strdup_printf("balloon-read/%s/%s", name,
                                                names[backend]);

        qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
    }
}

void add_populated_tests(void)
{
    add("large", test_reader);
    add("cancelled", test_cancelled);
    add("collapsed", test_collapsed);
}
