/*
 * Tests of migration capability skip-unpopulated: files, memory that is left
 * alone, or that was in use before
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "host-memory.h"
#include "unpopulated-guest.h"

/* ---- Files ---- */

/*
 * What nobody has written to, in a file that is full otherwise.  On disks, to
 * write to a page may populate 2 MiB.
 */
#define HOLE_START (53 * MiB)
#define HOLE_SIZE (10 * MiB)

static void write_file(const char *path, char c, uint64_t size)
{
    g_autofree char *text = g_strnfill(size, c);

    g_assert_true(g_file_set_contents(path, text, size, NULL));
}

/* How much of a file is no hole, in bytes */
static uint64_t count_data(const char *path, uint64_t start, uint64_t length)
{
    int fd = open(path, O_RDONLY);
    off_t at = start, end = start + length;
    uint64_t n = 0;

    g_assert_cmpint(fd, >=, 0);
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && at < end) {
        off_t hole = MIN(lseek(fd, at, SEEK_HOLE), end);

        n += hole - at;
        at = hole;
    }
    close(fd);
    return n;
}

/* The same, with a hole */
static void write_file_with_hole(const char *path, char c, uint64_t size)
{
    g_autofree char *text = g_strnfill(MiB, c);
    uint64_t at;
    int fd;

    write_file(path, c, HOLE_START);
    fd = open(path, O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    for (at = HOLE_START + HOLE_SIZE; at < size; at += MiB) {
        g_assert_cmpint(pwrite(fd, text, MiB, at), ==, MiB);
    }
    close(fd);
}

/*
 * A guest whose memory is a file that holds something, but for a hole, of which
 * the guest uses the first and the last page
 */
static void check_file(const char *dir, bool shared, bool exact)
{
    const uint64_t unused = HOLE_SIZE - 2 * BALLOON_PAGE;
    g_autofree char *path = hm_temp_path(dir, "ram");
    g_autofree char *file = g_strdup_printf("%s,share=%s", path,
                                            shared ? "on" : "off");
    BGOptions options = { .no_device = true, .ram_file = file };
    BGOptions anon = { .backend = BG_ANON, .no_device = true };
    BGuest *g, *dest;
    uint64_t size;
    uint8_t byte;

    write_file_with_hole(path, 'x', RAM_SIZE);
    g = ug_start_scattered(&options);
    bg_fill(g, HOLE_START, BALLOON_PAGE, 1);
    bg_fill(g, HOLE_START + HOLE_SIZE - BALLOON_PAGE, BALLOON_PAGE, 2);
    dest = ug_start_destination(&anon, true);
    ug_migrate(g, dest);
    g_assert_null(ug_left_alone(g, "ram0", &size));
    if (exact) {
        g_assert_cmpint(ug_skipped_pages(g), ==, unused / BALLOON_PAGE);
        g_assert_cmpuint(count_data(path, HOLE_START + BALLOON_PAGE, unused),
                         ==, 0);
        g_assert_cmpuint(bg_count_populated(dest, HOLE_START + BALLOON_PAGE,
                                            unused), ==, 0);
    } else {
        /* It may populate neighbours of what is written to. */
        g_assert_cmpint(ug_skipped_pages(g), >, unused / BALLOON_PAGE / 2);
        g_assert_cmpint(ug_skipped_pages(g), <=, unused / BALLOON_PAGE);
    }
    ug_assert_same_content(g, dest);
    bg_read(dest, 36 * MiB, &byte, 1);
    g_assert_cmphex(byte, ==, 'x');
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

static void test_private_file(void)
{
    check_file(g_get_tmp_dir(), false, false);
}

static void test_private_tmpfs(void)
{
    if (hm_tmpfs_or_skip()) {
        check_file(hm_find_tmpfs(), false, true);
    }
}

static void test_named_tmpfs(void)
{
    if (hm_tmpfs_or_skip()) {
        check_file(hm_find_tmpfs(), true, true);
    }
}

static void test_named_file(void)
{
    check_file(g_get_tmp_dir(), true, false);
}

/* ---- What is left alone ---- */

static void check_all_left_alone(BGBackend backend, const char *reason)
{
    BGOptions options = { .backend = backend, .no_device = true };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest = ug_start_destination(&options, true);

    ug_migrate(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), ==, 0);
    ug_assert_left_alone(g, "ram0", RAM_SIZE, reason);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ROMs, memory of a device; and main memory is none of these. */
static void test_not_guest_ram(void)
{
    BGOptions options = { .no_device = true,
                          .args = "-device VGA,vgamem_mb=16,addr=6" };
    const char *vram = "0000:00:06.0/vga.vram";
    BGuest *g, *dest;
    uint64_t size;

    if (!qtest_has_device("VGA")) {
        g_test_skip("there is no VGA");
        return;
    }
    g = ug_start_scattered(&options);
    dest = ug_start_destination(&options, true);
    ug_migrate(g, dest);
    ug_assert_left_alone(g, "pc.bios", 256 * 1024, "not-guest-ram");
    ug_assert_left_alone(g, vram, 16 * MiB, "not-guest-ram");
    g_assert_null(ug_left_alone(g, "ram0", &size));
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_silent_host(void)
{
    if (g_test_subprocess()) {
        bg_forbid_pagemap_scan(EIO);
        check_all_left_alone(BG_ANON, "undecided");
        return;
    }
    g_assert_true(hm_passes_in_subprocess());
}

/* The number of the descriptor by which QEMU asks; -1 if there is none */
static int find_pagemap_fd(BGuest *g)
{
    g_autofree char *path = bg_find_fd(g, "/pagemap");

    return path ? atoi(strrchr(path, '/') + 1) : -1;
}

/* A host that told at first, and then does not any more */
static void test_falls_silent(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    g_autofree char *gdb = g_find_program_in_path("gdb");
    g_autofree char *command = NULL;
    BGuest *g, *dest;
    int64_t skipped;
    int status;

    if (!gdb) {
        g_test_skip("gdb is not installed");
        return;
    }
    g = ug_start_scattered(&options);
    dest = ug_start_destination(&options, true);
    ug_migrate_begin(g, dest, 0);
    ug_wait_status(g, "pre-switchover");
    skipped = ug_skipped_pages(g);
    g_assert_cmpint(skipped, >, 0);

    command = g_strdup_printf("%s -batch -nx -p %d -ex 'call (int)close(%d)'",
                              gdb, (int)qtest_pid(g->qts),
                              find_pagemap_fd(g));
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);
    bg_fill(g, BG_RAM_START, MiB, 77);
    ug_migrate_finish(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), ==, skipped);
    ug_assert_left_alone(g, "ram0", RAM_SIZE, "undecided");
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- A destination whose memory was in use before ---- */

static void check_prealloc(const BGOptions *options, bool capable)
{
    BGOptions source = { .backend = BG_MEMFD, .no_device = true };
    BGuest *g = ug_start_scattered(&source);
    BGuest *dest = ug_start_destination(options, capable);

    ug_migrate(g, dest);
    g_assert_cmpint(ug_skipped_pages(g), >, 0);
    g_assert_cmpuint(bg_count_populated(dest, 0, RAM_SIZE), ==,
                     RAM_SIZE / BALLOON_PAGE);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_prealloc(void)
{
    BGOptions options = { .backend = BG_MEMFD, .no_device = true,
                          .args = "-mem-prealloc" };

    check_prealloc(&options, false);
    check_prealloc(&options, true);
}

/* It stays populated, but what it held is gone. */
static void test_prealloc_used(void)
{
    g_autofree char *path = NULL;
    BGOptions options = { .no_device = true, .args = "-mem-prealloc" };

    if (hm_tmpfs_or_skip()) {
        path = hm_temp_path(hm_find_tmpfs(), "used");
        options.ram_file = path;
        write_file(path, 'x', RAM_SIZE);
        check_prealloc(&options, true);
        unlink(path);
    }
}

/*
 * A destination with an old file for its memory.  File systems other than
 * tmpfs may populate more than what is written to.
 */
static void check_used_file(const char *dir, bool exact, bool multifd)
{
    g_autofree char *path = hm_temp_path(dir, "used");
    BGOptions options = { .backend = BG_MEMFD, .no_device = true,
                          .multifd = multifd };
    BGOptions used = { .no_device = true, .ram_file = path,
                       .multifd = multifd };
    BGuest *g = ug_start_scattered(&options);
    g_autofree bool *populated = ug_populated_of(g);
    BGuest *dest;
    uint64_t i;

    write_file(path, 'x', RAM_SIZE);
    dest = ug_start_destination(&used, true);
    ug_migrate(g, dest);
    for (i = 0; exact && i < RAM_SIZE / BALLOON_PAGE; i++) {
        if (!populated[i] && count_data(path, i * BALLOON_PAGE,
                                        BALLOON_PAGE)) {
            g_error("offset 0x%" PRIx64 " of %s is populated",
                    i * BALLOON_PAGE, path);
        }
    }
    g_assert_cmpuint(count_data(path, 0, RAM_SIZE), <, RAM_SIZE);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

static void test_used_tmpfs(void)
{
    if (hm_tmpfs_or_skip()) {
        check_used_file(hm_find_tmpfs(), true, false);
        check_used_file(hm_find_tmpfs(), true, true);
    }
}

static void test_used_file(void)
{
    check_used_file(g_get_tmp_dir(), false, false);
}

/* The same as a private mapping, which cannot be made empty by discarding */
static void test_used_private(void)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "used");
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGOptions used = { .no_device = true, .ram_file = file };
    BGuest *g = ug_start_scattered(&options);
    BGuest *dest;

    write_file(path, 'x', RAM_SIZE);
    dest = ug_start_destination(&used, true);
    ug_migrate(g, dest);
    ug_assert_same_content(g, dest);
    g_assert_cmpuint(count_data(path, 0, RAM_SIZE), ==, RAM_SIZE);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* Memory that is locked is populated, and cannot be discarded. */
static void test_locked(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGOptions locked = options;
    BGuest *g, *dest;
    uint64_t populated;

    if (geteuid()) {
        g_test_skip("only root may lock as much memory as it likes");
        return;
    }
    locked.args = "-overcommit mem-lock=on";
    g = ug_start_scattered(&options);
    dest = ug_start_destination(&locked, true);
    populated = bg_count_populated(dest, 0, RAM_SIZE);
    ug_migrate(g, dest);
    if (populated == RAM_SIZE / BALLOON_PAGE) {
        g_assert_cmpuint(bg_count_populated(dest, 0, RAM_SIZE), ==, populated);
    } else {
        g_test_skip("memory is not locked; AddressSanitizer prevents it");
    }
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* Memory that the machine fills whenever it is reset */
static void test_loader(gconstpointer data)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .no_must_tell_host = true,
        .args = "-device loader,addr=0x1000000,data=0x12345678,data-len=4",
    };
    BGuest *g = bg_start(&options);
    BGuest *dest = ug_start_destination(&options, true);

    bg_driver_start(g, 0);
    g_assert_false(bg_is_zero(g, 16 * MiB));
    bg_request_range(g, BG_INFLATE, 16 * MiB, BALLOON_PAGE);
    ug_migrate(g, dest);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- All of these ---- */

void add_alone_tests(void)
{
    qtest_add_func(CAPABILITY "/file/private", test_private_file);
    qtest_add_func(CAPABILITY "/file/private-tmpfs", test_private_tmpfs);
    qtest_add_func(CAPABILITY "/file/shared", test_named_file);
    qtest_add_func(CAPABILITY "/file/shared-tmpfs", test_named_tmpfs);
    qtest_add_func(CAPABILITY "/alone/not-guest-ram", test_not_guest_ram);
    qtest_add_func(CAPABILITY "/alone/silent-host", test_silent_host);
    qtest_add_func(CAPABILITY "/alone/falls-silent", test_falls_silent);
    qtest_add_func(CAPABILITY "/used/prealloc", test_prealloc);
    qtest_add_func(CAPABILITY "/used/prealloc-tmpfs", test_prealloc_used);
    ug_add_backend_tests("used/loader", test_loader);
    qtest_add_func(CAPABILITY "/used/locked", test_locked);
    qtest_add_func(CAPABILITY "/used/tmpfs", test_used_tmpfs);
    qtest_add_func(CAPABILITY "/used/file", test_used_file);
    qtest_add_func(CAPABILITY "/used/private-file", test_used_private);
}
