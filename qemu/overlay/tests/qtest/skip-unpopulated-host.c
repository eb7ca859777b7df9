/*
 * Tests of migration capability skip-unpopulated: snapshots, and swapped-out
 * memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "host-memory.h"
#include "unpopulated-guest.h"

/* ---- Snapshots ---- */

/* An empty image: header, refcount table, refcount block, L1 table */
static void create_qcow2(const char *path)
{
    const int bits = 16;
    g_autofree uint8_t *image = g_malloc0(4 << bits);
    int i;

    memcpy(image, "QFI\xfb", 4);
    stl_be_p(image + 4, 2);
    stl_be_p(image + 20, bits);
    stq_be_p(image + 24, MiB);
    stl_be_p(image + 36, 1);
    stq_be_p(image + 40, 3 << bits);
    stq_be_p(image + 48, 1 << bits);
    stl_be_p(image + 56, 1);
    stq_be_p(image + (1 << bits), 2 << bits);
    for (i = 0; i < 4; i++) {
        stw_be_p(image + (2 << bits) + 2 * i, 1);
    }
    g_assert_true(g_file_set_contents(path, (char *)image, 4 << bits, NULL));
}

static void do_hmp(BGuest *g, const char *command)
{
    char *text = qtest_hmp(g->qts, "%s", command);

    g_assert_cmpstr(text, ==, "");
    g_free(text);
}

/* Options that give a guest a place for snapshots */
static BGOptions with_snapshots(BGBackend backend, const char *path,
                                char **args)
{
    *args = g_strdup_printf("-drive if=none,id=disk,format=qcow2,file=%s",
                            path);
    return (BGOptions) { .backend = backend, .no_device = true,
                         .args = *args };
}

/*
 * Snapshots are not affected, before, between and after migrations: what was
 * not populated when one was made is zero once it is loaded.
 */
static void check_snapshot(BGuest *g)
{
    const uint64_t at = 12 * MiB;
    g_autofree uint8_t *before = g_malloc(RAM_SIZE);
    g_autofree uint8_t *after = g_malloc(RAM_SIZE);

    do_hmp(g, "savevm test");
    bg_read(g, 0, before, RAM_SIZE);
    bg_fill(g, at, 3 * MiB, 200);
    qtest_memset(g->qts, BG_RAM_START, 0, MiB);
    do_hmp(g, "loadvm test");
    bg_read(g, 0, after, RAM_SIZE);
    g_assert_true(buffer_is_zero(after + at, 3 * MiB));
    g_assert_cmpint(memcmp(before, after, RAM_SIZE), ==, 0);
    do_hmp(g, "delvm test");
}

static void test_snapshot(gconstpointer data)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "qcow2");
    g_autofree char *args = NULL;
    BGOptions options = with_snapshots(GPOINTER_TO_INT(data), path, &args);
    BGOptions dest_options = { .backend = options.backend,
                               .no_device = true };
    BGuest *g, *dest;

    create_qcow2(path);
    g = ug_start_scattered(&options);
    bg_set_capability(g, CAPABILITY, true);
    check_snapshot(g);

    dest = ug_start_destination(&dest_options, true);
    ug_migrate_begin(g, dest, 0);
    ug_wait_status(g, "pre-switchover");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    ug_wait_status(g, "cancelled");
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_quit(dest);
    check_snapshot(g);

    dest = ug_start_destination(&dest_options, true);
    bg_set_capability(g, "pause-before-switchover", false);
    ug_migrate(g, dest);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* A QEMU with a snapshot of memory that is filled throughout */
static void make_full_snapshot(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    qtest_memset(g->qts, BG_RAM_START, 'y', RAM_SIZE - BG_RAM_START);
    do_hmp(g, "savevm full");
    bg_quit(g);
}

/* A destination that loaded a snapshot before, and has the capability on */
static void check_loaded(const BGOptions *options)
{
    BGOptions source_options = { .backend = options->backend,
                                 .no_device = true };
    g_autofree char *args = g_strdup_printf("%s -incoming defer",
                                            options->args);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "sock");
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    BGOptions loaded = *options;
    BGuest *g = ug_start_scattered(&source_options);
    g_autofree bool *before = ug_populated_of(g);
    BGuest *dest;

    loaded.args = args;
    dest = bg_start(&loaded);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'blockdev-set-active',"
                             " 'arguments': { 'active': true } }");
    do_hmp(dest, "loadvm full");
    g_assert_false(bg_is_zero(dest, 12 * MiB));
    bg_set_capability(dest, CAPABILITY, true);
    dest->socket = g_strdup(path);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    ug_migrate(g, dest);
    ug_assert_populated_as_before(g, dest, before);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_loaded(gconstpointer data)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "qcow2");
    g_autofree char *args = NULL;
    BGOptions options = with_snapshots(GPOINTER_TO_INT(data), path, &args);

    create_qcow2(path);
    make_full_snapshot(&options);
    check_loaded(&options);
    unlink(path);
}

/* ---- Swap ---- */

#define SWAP_SIZE (32 * MiB)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* The host may have filled what there is. */
static bool have_swap(void)
{
    struct sysinfo info;

    g_assert_cmpint(sysinfo(&info), ==, 0);
    return (uint64_t)info.freeswap * info.mem_unit >= SWAP_SIZE / 2;
}

/* Add a swap file.  Returns NULL if that cannot be done. */
static char *add_swap(void)
{
    char *path = hm_temp_path(g_get_tmp_dir(), "swap");
    g_autofree uint8_t *data = g_malloc0(SWAP_SIZE);
    uint32_t version = 1, last_page = SWAP_SIZE / 4096 - 1;

    memcpy(data + 1024, &version, sizeof(version));
    memcpy(data + 1028, &last_page, sizeof(last_page));
    memcpy(data + 4086, "SWAPSPACE2", 10);
    g_assert_true(g_file_set_contents(path, (char *)data, SWAP_SIZE, NULL));
    chmod(path, 0600);
    if (swapon(path, 0) < 0) {
        unlink(path);
        g_free(path);
        return NULL;
    }
    return path;
}

static void remove_swap(char *path)
{
    if (path) {
        swapoff(path);
        unlink(path);
        g_free(path);
    }
}

static uint64_t pages_swapped_out(void)
{
    g_autofree char *text = NULL;
    char *at;

    g_assert_true(g_file_get_contents("/proc/vmstat", &text, NULL, NULL));
    at = strstr(text, "\npswpout ");
    return at ? g_ascii_strtoull(at + strlen("\npswpout "), NULL, 10) : 0;
}

/* Have the host swap out memory of the guest; returns false if it does not. */
static bool swap_out(BGuest *g, uint64_t start, uint64_t length)
{
    struct iovec iov = {
        .iov_base = (void *)(uintptr_t)(g->hva + start),
        .iov_len = length,
    };
    uint64_t before = pages_swapped_out();
    int fd = syscall(SYS_pidfd_open, qtest_pid(g->qts), 0);
    bool done;

    g_assert_cmpint(fd, >=, 0);
    done = syscall(SYS_process_madvise, fd, &iov, 1, MADV_PAGEOUT, 0) > 0;
    close(fd);
    return done && pages_swapped_out() >= before + length / BALLOON_PAGE / 2;
}

static void check_swapped_out(BGBackend backend)
{
    BGOptions options = { .backend = backend, .no_device = true };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest = ug_start_destination(&options, true);
    g_autofree bool *before = ug_populated_of(g);

    if (swap_out(g, 40 * MiB, 8 * MiB)) {
        ug_migrate(g, dest);
        g_assert_cmpint(ug_skipped_pages(g), ==,
                        ug_count_unpopulated(before, RAM_SIZE));
        ug_assert_same_content(g, dest);
    } else {
        g_test_skip("the host does not swap out when it is asked to");
    }
    bg_quit(dest);
    bg_quit(g);
}

static void test_swapped_out(gconstpointer data)
{
    char *path;

    if (g_test_subprocess()) {
        check_swapped_out(GPOINTER_TO_INT(data));
        return;
    }
    path = have_swap() ? NULL : add_swap();
    if (!have_swap()) {
        g_test_skip("there is no swap, and none can be added");
        return;
    }
    if (!hm_passes_in_subprocess()) {
        g_test_fail();
    }
    remove_swap(path);
}

/* ---- All of these ---- */

void add_host_tests(void)
{
    ug_add_backend_tests("used/loaded", test_loaded);
    ug_add_backend_tests("snapshot", test_snapshot);
    ug_add_backend_tests("swapped-out", test_swapped_out);
}
