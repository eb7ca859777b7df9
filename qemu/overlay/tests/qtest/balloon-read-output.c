/*
 * Reading guest memory: outputs that cannot have holes, virtual addresses, and
 * memory that is yet to come
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-read.h"
#include "host-memory.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

#define GIVEN_START (12 * MiB)
#define GIVEN_END (60 * MiB)

static bool is_given(uint64_t addr)
{
    return addr >= GIVEN_START && addr < GIVEN_END;
}

static BGuest *start_guest(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_END - GIVEN_START);
    return g;
}

/* ---- Outputs ---- */

/* QEMU gets @fd, and dumps into it. */
static void dump_to(BGuest *g, int fd, bool detach)
{
    qtest_qmp_fds_assert_success(g->qts, &fd, 1, "{ 'execute': 'getfd',"
                                 " 'arguments': { 'fdname': 'output' } }");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'dump-guest-memory', 'arguments': {"
        " 'paging': false, 'protocol': 'fd:output', 'detach': %i } }", detach);
}

/* What the same guest's dump is in a file of its own */
static GMappedFile *dump_to_file(BGuest *g)
{
    static const Reading elf = { "elf", "elf" };
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree char *protocol = g_strdup_printf("file:%s", path);
    GMappedFile *file;

    br_read(g, &elf, protocol);
    file = br_map_file(path);
    unlink(path);
    return file;
}

static void assert_equal(GMappedFile *file, const void *data, size_t size)
{
    g_assert_cmpuint(g_mapped_file_get_length(file), ==, size);
    /* g_assert_cmpmem() would print all of it. */
    g_assert_cmpint(memcmp(g_mapped_file_get_contents(file), data, size), ==,
                    0);
}

/* A file that is longer, and full of something else, keeps what lies beyond. */
static void test_old_content(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = start_guest(&options);
    uint64_t before = bg_count_populated(g, 0, RAM_SIZE);
    g_autoptr(GMappedFile) expected = dump_to_file(g);
    size_t size = g_mapped_file_get_length(expected);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "old");
    g_autofree char *text = g_strnfill(size + MiB, 'x');
    g_autoptr(GMappedFile) file = NULL;
    int fd;

    g_assert_true(g_file_set_contents(path, text, size + MiB, NULL));
    fd = open(path, O_RDWR);
    dump_to(g, fd, false);
    close(fd);
    file = br_map_file(path);
    g_assert_cmpuint(g_mapped_file_get_length(file), ==, size + MiB);
    assert_equal(expected, g_mapped_file_get_contents(file), size);
    g_assert_cmpint(memcmp(g_mapped_file_get_contents(file) + size, text, MiB),
                    ==, 0);
    g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), ==, before);
    bg_quit(g);
    unlink(path);
}

/* To seek does not move where it is written. */
static void test_append(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = start_guest(&options);
    uint64_t before = bg_count_populated(g, 0, RAM_SIZE);
    g_autoptr(GMappedFile) expected = dump_to_file(g);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "append");
    g_autoptr(GMappedFile) file = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);

    dump_to(g, fd, false);
    close(fd);
    file = br_map_file(path);
    assert_equal(expected, g_mapped_file_get_contents(file),
                 g_mapped_file_get_length(file));
    g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), ==, before);
    bg_quit(g);
    unlink(path);
}

/* What is read from @fd until it ends; closes it */
static GByteArray *drain(int fd)
{
    GByteArray *data = g_byte_array_new();
    uint8_t buf[64 * 1024];
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        g_byte_array_append(data, buf, n);
    }
    g_assert_cmpint(n, ==, 0);
    close(fd);
    return data;
}

static void test_pipe(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = start_guest(&options);
    uint64_t before = bg_count_populated(g, 0, RAM_SIZE);
    g_autoptr(GMappedFile) expected = dump_to_file(g);
    g_autoptr(GByteArray) data = NULL;
    int ends[2];

    g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
    dump_to(g, ends[1], true);
    close(ends[1]);
    data = drain(ends[0]);
    assert_equal(expected, data->data, data->len);
    br_dump_finish(g);
    g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), ==, before);
    bg_quit(g);
}

static gpointer drain_fifo(gpointer path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return drain(fd);
}

/* Ends with memory that is not populated */
static void test_fifo(void)
{
    static const Reading reading = {
        "pmemsave", .start = BG_RAM_START, .size = GIVEN_END - BG_RAM_START,
    };
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = start_guest(&options);
    uint64_t before = bg_count_populated(g, 0, RAM_SIZE);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "fifo");
    g_autoptr(GByteArray) data = NULL;
    GThread *thread;

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    thread = g_thread_new("drain", drain_fifo, path);
    br_read(g, &reading, path);
    data = g_thread_join(thread);
    g_assert_cmpuint(data->len, ==, reading.size);
    br_assert_pattern(data->data, reading.start, reading.size, 1, is_given);
    g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), ==, before);
    bg_quit(g);
    unlink(path);
}

/* ---- Virtual addresses ---- */

/*
 * A firmware that turns on paging, in the 16 bits in which a processor begins,
 * writes to FLAG and does nothing any more.
 *
 * movl $0x10, %eax ; movl %eax, %cr4            pages of 4 MiB
 * movl $DIRECTORY, %eax ; movl %eax, %cr3
 * movl $0x80000001, %eax ; movl %eax, %cr0
 * movb %al, FLAG
 * hlt
 */
static const uint8_t firmware[] = {
    0x66, 0xb8, 0x10, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0,
    0x66, 0xb8, 0x00, 0x00, 0x30, 0x00, 0x0f, 0x22, 0xd8,
    0x66, 0xb8, 0x01, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0,
    0xa2, 0x00, 0x05,
    0xf4,
};

/* Where the processor begins: jmp to the first byte */
static const uint8_t reset_vector[] = { 0xe9, 0x0d, 0x00 };

#define FIRMWARE_SIZE 0x10000
#define RESET_VECTOR 0xfff0
#define FLAG 0x500
#define DIRECTORY 0x300000
#define TABLES 0x301000
#define PRESENT 1
#define WRITABLE 2
#define LARGE 0x80

/* What is mapped there: all from BG_RAM_START on, but backwards */
#define VIRTUAL_START UINT64_C(0x40000000)
#define VIRTUAL_SIZE (RAM_SIZE - BG_RAM_START)

static void map_backwards(BGuest *g)
{
    uint64_t i;

    qtest_writel(g->qts, DIRECTORY, PRESENT | WRITABLE | LARGE);
    qtest_writel(g->qts, DIRECTORY + 1023 * 4,
                 1023U << 22 | PRESENT | WRITABLE | LARGE);
    for (i = 0; i < VIRTUAL_SIZE / (4 * MiB); i++) {
        qtest_writel(g->qts, DIRECTORY + (VIRTUAL_START / (4 * MiB) + i) * 4,
                     (TABLES + i * BALLOON_PAGE) | PRESENT | WRITABLE);
    }
    for (i = 0; i < VIRTUAL_SIZE / BALLOON_PAGE; i++) {
        qtest_writel(g->qts, TABLES + i * 4,
                     (RAM_SIZE - (i + 1) * BALLOON_PAGE) | PRESENT | WRITABLE);
    }
}

static void wait_flag(BGuest *g)
{
    gint64 end = ug_hang_deadline();

    while (!qtest_readb(g->qts, FLAG)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void check_backwards(const char *path)
{
    g_autoptr(GMappedFile) file = br_map_file(path);
    const uint8_t *data = (uint8_t *)g_mapped_file_get_contents(file);
    uint64_t at;

    g_assert_cmpuint(g_mapped_file_get_length(file), ==, VIRTUAL_SIZE);
    for (at = 0; at < VIRTUAL_SIZE; at += BALLOON_PAGE) {
        br_assert_pattern(data + at, RAM_SIZE - at - BALLOON_PAGE,
                          BALLOON_PAGE, 1, is_given);
    }
}

static void test_virtual(void)
{
    static const Reading reading = {
        "memsave", .virtual = true, .start = VIRTUAL_START,
        .size = VIRTUAL_SIZE,
    };
    g_autofree uint8_t *image = g_malloc0(FIRMWARE_SIZE);
    g_autofree char *bios = hm_temp_path(g_get_tmp_dir(), "bios");
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree char *args = g_strdup_printf("-accel tcg -S -bios %s", bios);
    BGOptions options = { .backend = BG_MEMFD, .args = args };
    QDict *error;
    uint64_t before;
    BGuest *g;

    memcpy(image, firmware, sizeof(firmware));
    memcpy(image + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    g_assert_true(g_file_set_contents(bios, (char *)image, FIRMWARE_SIZE,
                                      NULL));
    g = bg_start(&options);
    bg_fill(g, BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    map_backwards(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    wait_flag(g);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_END - GIVEN_START);
    before = bg_count_populated(g, 0, RAM_SIZE);

    br_read(g, &reading, path);
    check_backwards(path);
    g_assert_cmpuint(bg_count_populated(g, 0, RAM_SIZE), ==, before);

    error = qtest_qmp(g->qts, "{ 'execute': 'memsave', 'arguments': {"
                      " 'val': %" PRIu64 ", 'size': %" PRIu64 ","
                      " 'filename': %s } }", VIRTUAL_START + VIRTUAL_SIZE / 2,
                      (uint64_t)VIRTUAL_SIZE, path);
    g_assert_true(qdict_haskey(error, "error"));
    qobject_unref(error);
    bg_quit(g);
    unlink(bios);
    unlink(path);
}

/* ---- Memory that is yet to come ---- */

/*
 * On the destination of postcopy what is not populated is not zero, but on its
 * way.
 */
static void test_postcopy(gconstpointer data)
{
    static const char *const capabilities[] = { "postcopy-ram", NULL };
    static const Reading reading = {
        "pmemsave", .start = 20 * MiB, .size = 64 * BALLOON_PAGE,
    };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = capabilities,
    };
    BGuest *g = bg_start(&options);
    BGuest *dest = ug_start_destination(&options, false);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autoptr(GMappedFile) file = NULL;

    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'max-bandwidth': 1048576, 'max-postcopy-bandwidth': 1048576,"
        " 'downtime-limit': 1 } }");
    bg_migrate_start(g, dest);
    qtest_qmp_assert_success(g->qts,
                             "{ 'execute': 'migrate-start-postcopy' }");
    ug_wait_status(g, "postcopy-active");
    qtest_qmp_eventwait(dest->qts, "RESUME");
    g_assert_cmpuint(bg_count_populated(dest, reading.start, reading.size), ==,
                     0);

    br_read(dest, &reading, path);
    file = br_map_file(path);
    g_assert_cmpuint(g_mapped_file_get_length(file), ==, reading.size);
    br_assert_pattern((uint8_t *)g_mapped_file_get_contents(file),
                      reading.start, reading.size, 1, NULL);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters',"
        " 'arguments': { 'max-postcopy-bandwidth': 0 } }");
    bg_migrate_wait(g, NULL);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* ---- File systems with small blocks ---- */

#define BLOCK 1024
#define BLOCKS_START (8 * MiB)
#define BLOCKS_SIZE MiB

static bool run(const char *format, ...) G_GNUC_PRINTF(1, 2);

static bool run(const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list ap;
    int status;

    va_start(ap, format);
    line = g_strdup_vprintf(format, ap);
    va_end(ap);
    return g_spawn_command_line_sync(line, NULL, NULL, &status, NULL) &&
           !status;
}

/* Of each page the second block is there, and the others are holes. */
static void make_scattered(const char *path, uint8_t *expected)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    uint64_t at;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    memset(expected, 0, BLOCKS_SIZE);
    for (at = BLOCK; at < BLOCKS_SIZE; at += BALLOON_PAGE) {
        memset(expected + at, 'x', BLOCK);
        g_assert_cmpint(pwrite(fd, expected + at, BLOCK, BLOCKS_START + at),
                        ==, BLOCK);
    }
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

static void check_blocks(const char *path, const char *share)
{
    g_autofree char *ram_file = g_strdup_printf("%s,share=%s", path, share);
    g_autofree char *output = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree uint8_t *expected = g_malloc(BLOCKS_SIZE);
    BGOptions options = { .ram_file = ram_file };
    uint64_t skip;
    BGuest *g;

    make_scattered(path, expected);
    g = bg_start(&options);
    for (skip = 0; skip < BALLOON_PAGE; skip += BLOCK / 2) {
        Reading reading = {
            .start = BLOCKS_START + skip,
            .size = BLOCKS_SIZE - skip,
        };
        g_autoptr(GMappedFile) file = NULL;

        br_read(g, &reading, output);
        file = br_map_file(output);
        assert_equal(file, expected + skip, BLOCKS_SIZE - skip);
    }
    bg_quit(g);
    unlink(output);
    unlink(path);
}

/* A hole may end, and begin, within a page. */
static void test_small_blocks(void)
{
    g_autofree char *image = hm_temp_path(g_get_tmp_dir(), "ext4");
    g_autofree char *dir = hm_temp_path(g_get_tmp_dir(), "mnt");
    g_autofree char *path = g_strdup_printf("%s/ram", dir);

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    if (run("truncate -s 128M %s", image) &&
        run("mkfs.ext4 -q -F -b %d %s", BLOCK, image) &&
        run("mount -o loop %s %s", image, dir)) {
        check_blocks(path, "on");
        check_blocks(path, "off");
        g_assert_true(run("umount %s", dir));
    } else {
        g_test_skip("no file system can be made and mounted");
    }
    rmdir(dir);
    unlink(image);
}

void add_output_tests(void)
{
    qtest_add_func("balloon-read/output/old-content", test_old_content);
    qtest_add_func("balloon-read/output/append", test_append);
    qtest_add_func("balloon-read/output/pipe", test_pipe);
    qtest_add_func("balloon-read/output/fifo", test_fifo);
    qtest_add_func("balloon-read/small-blocks", test_small_blocks);
    qtest_add_func("balloon-read/virtual", test_virtual);
    qtest_add_data_func("balloon-read/postcopy/anon",
                        GINT_TO_POINTER(BG_ANON), test_postcopy);
    qtest_add_data_func("balloon-read/postcopy/memfd",
                        GINT_TO_POINTER(BG_MEMFD), test_postcopy);
}
