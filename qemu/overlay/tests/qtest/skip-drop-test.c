/*
 * Tests of memory that is dropped on the destination, of the turns that the
 * main loop has meanwhile, and of RAM blocks that go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "host-memory.h"
#include "ram-blocks.h"
#include "unpopulated-guest.h"
#include "virtio-mem-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

#define HUGE_PAGE_PAGES (HM_HUGE_SIZE / BALLOON_PAGE)

static void set_capabilities(BGuest *g, const char *const *capabilities)
{
    for (; *capabilities; capabilities++) {
        bg_set_capability(g, *capabilities, true);
    }
}

/* ---- Templates: named files that are mapped privately ---- */

#define GIVEN_START (16 * MiB)
#define GIVEN_SIZE (24 * MiB)
#define HOLE_START (20 * MiB)
#define HOLE_SIZE (4 * MiB)
#define LATER_START (44 * MiB)
#define LATER_SIZE (4 * MiB)

typedef struct TemplateCase {
    const char *name;
    bool on_tmpfs;
    const char *capabilities[3];
    bool unlinked;              /* once it is in use: others may have it open */
} TemplateCase;

static const TemplateCase template_cases[] = {
    { "tmpfs/balloon", true, { "skip-balloon" } },
    { "tmpfs/unpopulated", true, { "skip-unpopulated" } },
    { "tmpfs/both", true, { "skip-balloon", "skip-unpopulated" } },
    { "tmpfs/unlinked", true, { "skip-balloon", "skip-unpopulated" }, true },
    { "disk/balloon", false, { "skip-balloon" } },
    { "disk/unpopulated", false, { "skip-unpopulated" } },
    { "disk/both", false, { "skip-balloon", "skip-unpopulated" } },
};

/* A file that is full of old content, but for a hole */
static void make_template(const char *path)
{
    g_autofree char *text = g_strnfill(MiB, 'x');
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    uint64_t at;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    for (at = 0; at < RAM_SIZE; at += MiB) {
        if (at < HOLE_START || at >= HOLE_START + HOLE_SIZE) {
            g_assert_cmpint(pwrite(fd, text, MiB, at), ==, MiB);
        }
    }
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

static uint64_t blocks_of(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks;
}

static void assert_template_as_made(const char *path)
{
    g_autofree char *text = g_strnfill(MiB, 'x');
    g_autofree char *zero = g_malloc0(MiB);
    g_autofree char *content = g_malloc(MiB);
    int fd = open(path, O_RDONLY);
    uint64_t at;

    g_assert_cmpint(fd, >=, 0);
    for (at = 0; at < RAM_SIZE; at += MiB) {
        bool hole = at >= HOLE_START && at < HOLE_START + HOLE_SIZE;

        g_assert_cmpint(pread(fd, content, MiB, at), ==, MiB);
        if (memcmp(content, hole ? zero : text, MiB)) {
            g_error("the file has changed at 0x%" PRIx64, at);
        }
    }
    close(fd);
}

static bool has_capability(const TemplateCase *c, const char *name)
{
    return g_strv_contains((const char *const *)c->capabilities, name);
}

/* What is sent before it is given back, and what comes before the migration */
static BGuest *start_template_source(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);

    bg_driver_start(g, MUST_TELL_HOST);
    ug_scatter(g);
    bg_fill(g, LATER_START, LATER_SIZE, 6);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    return g;
}

static void check_template(const TemplateCase *c, const char *path)
{
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    BGOptions options = { .ram_file = file };
    BGuest *g = start_template_source();
    BGuest *dest = ug_start_destination(&options, false);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autofree char *opened = g_strdup_printf("/proc/self/fd/%d", fd);
    uint64_t blocks = blocks_of(opened);

    g_assert_cmpint(fd, >=, 0);
    if (c->unlinked) {
        unlink(path);
    }
    set_capabilities(g, c->capabilities);
    set_capabilities(dest, c->capabilities);
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    ug_wait_status(g, "pre-switchover");
    bg_request_range(g, BG_INFLATE, LATER_START, LATER_SIZE);
    ug_migrate_finish(g, dest);

    /* To read all memory allocates some, so this comes first. */
    g_assert_cmpuint(blocks_of(opened), ==, blocks);
    ug_assert_same_content(g, dest);
    assert_template_as_made(opened);
    close(fd);
    if (has_capability(c, "skip-balloon")) {
        g_assert_cmpuint(bg_map_pages(dest, NULL), ==,
                         (GIVEN_SIZE + LATER_SIZE) / BALLOON_PAGE);
        bg_assert_same_map(g, dest);
    }
    bg_quit(dest);
    bg_quit(g);
}

static void test_template(gconstpointer data)
{
    const TemplateCase *c = data;
    const char *dir = c->on_tmpfs ? hm_tmpfs_or_skip() : g_get_tmp_dir();
    g_autofree char *path = NULL;

    if (dir) {
        path = hm_temp_path(dir, "template");
        make_template(path);
        check_template(c, path);
        unlink(path);
    }
}

/* ---- Parts of huge pages ---- */

/*
 * The source has given back every other page; the destination's pages are huge.
 * To look what is in a part of one must not populate it.
 */
static void test_huge_parts(void)
{
    static const char *const capabilities[] = {
        "skip-balloon", "skip-unpopulated", NULL
    };
    BGOptions options = { .backend = BG_ANON };
    BGOptions huge = { .backend = BG_HUGETLB };
    const uint64_t pages = 4 * MiB / BALLOON_PAGE;
    g_autofree uint32_t *pfns = g_new(uint32_t, pages);
    BGuest *g, *dest;
    uint64_t i;

    if (!g_test_subprocess()) {
        hm_test_with_huge_pages(RAM_SIZE);
        return;
    }
    g = bg_start(&options);
    dest = ug_start_destination(&huge, false);
    bg_driver_start(g, MUST_TELL_HOST);
    for (i = 0; i < pages; i++) {
        pfns[i] = GIVEN_START / BALLOON_PAGE + 2 * i;
    }
    bg_request(g, BG_INFLATE, pfns, pages);
    set_capabilities(g, capabilities);
    set_capabilities(dest, capabilities);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    bg_assert_same_map(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, GIVEN_START, 8 * MiB), ==, 0);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/*
 * A run of the balloon that has the end of one huge page and the beginning of
 * the next one, which holds something of an earlier use
 */
static void test_huge_halves(void)
{
    static const char *const capabilities[] = { "skip-balloon", NULL };
    BGOptions options = { .backend = BG_ANON };
    BGOptions huge = { };
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    BGuest *g, *dest;
    bool mounted;
    void *old;
    int fd;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(RAM_SIZE);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    path = hm_temp_path(dir, "halves");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    old = mmap(NULL, HM_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               GIVEN_START + HM_HUGE_SIZE);
    g_assert_true(old != MAP_FAILED);
    memset(old, 'x', HM_HUGE_SIZE);
    munmap(old, HM_HUGE_SIZE);
    close(fd);

    huge.ram_file = path;
    g = bg_start(&options);
    dest = ug_start_destination(&huge, false);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, GIVEN_START + HM_HUGE_SIZE / 2,
                     HM_HUGE_SIZE);
    set_capabilities(g, capabilities);
    set_capabilities(dest, capabilities);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    bg_assert_same_map(g, dest);
    ug_assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* ---- Hosts without a huge page of zeroes ---- */

#define USE_ZERO_PAGE "/sys/kernel/mm/transparent_hugepage/use_zero_page"

static bool set_use_zero_page(const char *value)
{
    FILE *file = fopen(USE_ZERO_PAGE, "w");
    bool done = file && fputs(value, file) >= 0;

    return file && !fclose(file) && done;
}

/*
 * Zeroes arrive for memory that the destination has nothing behind: what was
 * never in the balloon, with capability skip-balloon alone.  Where the host has
 * no huge page of zeroes to map, reading it would populate 2 MiB.
 */
static void check_no_zero_page(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g, *dest;

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    g = bg_start(&options);
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    dest = ug_start_destination(&options, false);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, 16 * MiB, BALLOON_PAGE, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate"), >,
                    (RAM_SIZE - 20 * MiB) / BALLOON_PAGE);

    if (bg_count_populated(dest, 16 * MiB, HM_HUGE_SIZE) == HUGE_PAGE_PAGES) {
        g_assert_cmpuint(bg_count_populated(dest, 18 * MiB,
                                            RAM_SIZE - 20 * MiB), ==, 0);
        ug_assert_same_content(g, dest);
    } else {
        g_test_skip("the host gives no huge page");
    }
    bg_quit(dest);
    bg_quit(g);
}

static void test_no_zero_page(void)
{
    g_autofree char *before = NULL;

    if (g_test_subprocess()) {
        check_no_zero_page();
        return;
    }
    if (!g_file_get_contents(USE_ZERO_PAGE, &before, NULL, NULL) ||
        !set_use_zero_page("0\n")) {
        g_test_skip(USE_ZERO_PAGE " cannot be set");
        return;
    }
    if (!hm_passes_in_subprocess()) {
        g_test_fail();
    }
    g_assert_true(set_use_zero_page(before));
}

/* ---- What QEMU writes down ---- */

static char *trace_args(const char *log, const char *more)
{
    return g_strdup_printf("-trace skip_* "
                           "-trace qemu_loadvm_state_section_* -D %s %s",
                           log, more);
}

static uint64_t count_lines(const char *log, const char *what)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t n = 0;
    int i;

    if (!g_file_get_contents(log, &text, NULL, NULL)) {
        return 0;
    }
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        n += strstr(lines[i], what) != NULL;
    }
    return n;
}

/* Wait until it has written down @what @n times. */
static void wait_lines(const char *log, const char *what, uint64_t n)
{
    gint64 end = ug_hang_deadline();

    while (count_lines(log, what) < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* ---- Streams made by hand ---- */

/* See migration/skip-section.h */
#define SECTION_NAME "\4skip"
#define SECTION_VERSION 2
#define FLAG_START 1

typedef enum RecordKind {
    LAST,
    MAP,
    WORD,
    EMPTY,
} RecordKind;

static void put_bytes(GByteArray *a, const void *bytes, size_t size)
{
    g_byte_array_append(a, bytes, size);
}

static void put_be(GByteArray *a, uint64_t value, int size)
{
    while (size-- > 0) {
        uint8_t byte = value >> (8 * size);

        put_bytes(a, &byte, 1);
    }
}

static void put_stream_header(GByteArray *a, BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'qom-get', 'arguments': {"
                           " 'path': '/machine', 'property': 'type' } }");
    g_autofree char *machine = g_strdup(qdict_get_str(rsp, "return"));

    *strstr(machine, "-machine") = '\0';
    qobject_unref(rsp);
    put_bytes(a, "QEVM", 4);
    put_be(a, 3, 4);
    put_be(a, 7, 1);
    put_be(a, strlen(machine), 4);
    put_bytes(a, machine, strlen(machine));
}

static void put_section_header(GByteArray *a)
{
    put_be(a, 1, 1);                            /* section */
    put_be(a, 77, 4);
    put_bytes(a, SECTION_NAME, strlen(SECTION_NAME));
    put_be(a, 0, 4);
    put_be(a, SECTION_VERSION, 4);
    put_be(a, SECTION_VERSION, 4);
    put_be(a, FLAG_START, 4);
    put_be(a, BALLOON_PAGE, 4);
}

static void put_record(GByteArray *a, RecordKind kind, const char *id,
                       uint64_t size)
{
    put_be(a, kind, 1);
    put_be(a, strlen(id), 1);
    put_bytes(a, id, strlen(id));
    put_be(a, size / BALLOON_PAGE, 8);
}

/* One page of the first chunk, whose number takes two bytes */
static void put_page(GByteArray *a, uint32_t page)
{
    g_assert_cmpuint(page, <, 1 << 14);
    put_be(a, 7, 4);
    put_bytes(a, "\0\1\0\1", 4);
    put_be(a, (page & 0x7f) | 0x80, 1);
    put_be(a, page >> 7, 1);
    put_be(a, 1, 1);
}

static void load(BGuest *g, const char *uri)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s, 'exit-on-error': false } }", uri);
}

/* ---- Turns ---- */

#define MANY_BLOCKS 100000

/*
 * A map, or a word, in very many small records, each of which takes next to no
 * time: the main loop runs now and then, but not for each of them.
 */
static void test_many_records(gconstpointer data)
{
    RecordKind kind = GPOINTER_TO_INT(data);
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    g_autofree char *args = trace_args(log, "-incoming defer");
    g_autoptr(GByteArray) stream = g_byte_array_new();
    BGOptions options = { .backend = BG_ANON, .args = args };
    BGuest *g = bg_start(&options);
    uint64_t turns;
    uint32_t i;

    put_stream_header(stream, g);
    put_section_header(stream);
    for (i = 0; i < MANY_BLOCKS; i++) {
        put_record(stream, kind, "ram0", RAM_SIZE);
        put_page(stream, 0x1000 + 2 * (i % 0x1000));
    }
    put_be(stream, LAST, 1);
    g_assert_true(g_file_set_contents(path, (char *)stream->data, stream->len,
                                      NULL));
    load(g, uri);
    ug_wait_failed(g);
    /* The section was loaded; then there is no more, where ram should be. */
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, kind == MAP);
    bg_quit(g);
    g_assert_cmpuint(count_lines(log, "skip_arrival_word "), ==,
                     kind == WORD ? MANY_BLOCKS : 0);
    turns = count_lines(log, "skip_bql_begin arrival");
    g_test_message("%" PRIu64 " turns for %d records", turns, MANY_BLOCKS);
    g_assert_cmpuint(turns, ==, count_lines(log, "skip_bql_end arrival"));
    g_assert_cmpuint(turns, >=, 3);
    g_assert_cmpuint(turns, <=, MANY_BLOCKS / 8);
    unlink(path);
    unlink(log);
}

#define LARGE "1T"
#define LARGE_SIZE (UINT64_C(1) << 40)

/*
 * An old file of huge pages, of a terabyte, for memory of virtio-mem: nobody
 * empties that in one go.  It is sparse, so that it takes no huge page.
 */
static void check_virtio_mem_turns(const char *dir)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *file = hm_temp_path(dir, "used");
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    g_autofree char *args = trace_args(log, "-incoming defer");
    g_autofree char *machine = g_strdup_printf(
        "-machine pc,memory-backend=ram0 -m 64M,slots=2,maxmem=2T "
        "-cpu max,vendor=GenuineIntel,phys-bits=46 "
        "-object memory-backend-ram,id=ram0,size=64M "
        "-object memory-backend-file,id=vm-ram,size=" LARGE ",share=on,"
        "reserve=off,mem-path=%s "
        "-device virtio-mem-pci,id=vm0,addr=7,memdev=vm-ram,requested-size=0",
        file);
    g_autoptr(GByteArray) stream = g_byte_array_new();
    BGOptions options = { .no_device = true, .args = args,
                          .machine_args = machine };
    BGuest *g = bg_start(&options);
    uint64_t turns;

    put_stream_header(stream, g);
    put_section_header(stream);
    put_record(stream, EMPTY, "0000:00:07.0/vm-ram", LARGE_SIZE);
    put_be(stream, LAST, 1);
    g_assert_true(g_file_set_contents(path, (char *)stream->data, stream->len,
                                      NULL));
    load(g, uri);
    ug_wait_failed(g);
    bg_quit(g);
    g_assert_cmpuint(count_lines(log, "skip_arrival_empty 0000:00:07.0/"
                                      "vm-ram"), ==, 1);
    turns = count_lines(log, "skip_bql_begin arrival");
    g_test_message("%" PRIu64 " turns for " LARGE, turns);
    g_assert_cmpuint(turns, >=, 3);
    unlink(path);
    unlink(file);
    unlink(log);
}

static void test_virtio_mem_turns(void)
{
    g_autofree char *dir = NULL;
    bool mounted;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(0);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    g_assert_false(mounted);
    check_virtio_mem_turns(dir);
}

/* ---- Memory of virtio-mem that cannot be discarded ---- */

#define VM_BLOCK (2 * MiB)
#define VM_BLOCKS 16
#define VM_START (UINT64_C(4) << 30)
#define VM_ARGS(backend) \
    "-object " backend ",id=vm-ram,size=32M " \
    "-device virtio-mem-pci,id=vm0,addr=7,memdev=vm-ram," \
    "memaddr=0x100000000,block-size=2M,requested-size=32M"

#define RAMFS_ENV "SKIP_DROP_TEST_RAMFS"

/* A source with so many blocks of virtio-mem plugged, half of all used */
static BGuest *start_plugged(int blocks)
{
    BGOptions options = {
        .backend = BG_ANON,
        .no_device = true,
        .args = VM_ARGS("memory-backend-memfd"),
    };
    BGuest *g = bg_start(&options);

    vm_driver_start(g->qts);
    g_assert_true(vm_plug(g->qts, VM_START, blocks, true));
    bg_fill(g, VM_START, VM_BLOCKS / 2 * VM_BLOCK, 9);
    return g;
}

static BGuest *start_on_ramfs(const char *path)
{
    g_autofree char *backend = g_strdup_printf(
        "memory-backend-file,share=on,mem-path=%s", path);
    g_autofree char *args = g_strdup_printf(VM_ARGS("%s"), backend);
    BGOptions options = { .backend = BG_ANON, .no_device = true,
                          .args = args };

    return ug_start_destination(&options, true);
}

/*
 * All of it is plugged.  What the file holds need not be discarded, but is set
 * to zero where that is told.
 */
static void check_plugged_ramfs(const char *path)
{
    BGuest *g = start_plugged(VM_BLOCKS);
    BGuest *dest = start_on_ramfs(path);
    uint64_t at;

    ug_migrate(g, dest);
    g_assert_cmpuint(vm_plugged_size(dest->qts), ==, VM_BLOCKS * VM_BLOCK);
    for (at = VM_START; at < VM_START + VM_BLOCKS * VM_BLOCK;
         at += BALLOON_PAGE) {
        g_assert_cmphex(qtest_readq(dest->qts, at), ==,
                        qtest_readq(g->qts, at));
    }
    bg_quit(dest);
    bg_quit(g);
}

/*
 * The last block is not plugged.  What the file holds there cannot be
 * discarded, and would show through once it is.
 */
static void check_unplugged_ramfs(const char *path)
{
    BGuest *g = start_plugged(VM_BLOCKS - 1);
    BGuest *dest = start_on_ramfs(path);

    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_set_capability(g, CAPABILITY, true);
    bg_migrate_start(g, dest);
    ug_wait_failed(g);
    qtest_wait_qemu(dest->qts);
    bg_quit(dest);
    bg_quit(g);
}

static char *make_used_file(const char *name)
{
    char *path = hm_temp_path(getenv(RAMFS_ENV), name);
    g_autofree char *text = g_strnfill(VM_BLOCKS * VM_BLOCK, 'x');

    g_assert_true(g_file_set_contents(path, text, VM_BLOCKS * VM_BLOCK,
                                      NULL));
    return path;
}

/* A file system that cannot punch holes */
static void test_ramfs(void)
{
    g_autofree char *dir = hm_temp_path(g_get_tmp_dir(), "ramfs");
    g_autofree char *path = NULL;

    if (g_test_subprocess()) {
        path = hm_temp_path(getenv(RAMFS_ENV), "empty");
        check_plugged_ramfs(path);
        g_free(path);
        path = make_used_file("plugged");
        check_plugged_ramfs(path);
        g_free(path);
        path = make_used_file("unplugged");
        check_unplugged_ramfs(path);
        return;
    }
    if (mkdir(dir, 0700) < 0 || mount("none", dir, "ramfs", 0, NULL) < 0) {
        rmdir(dir);
        g_test_skip("no ramfs can be mounted");
        return;
    }
    g_setenv(RAMFS_ENV, dir, true);
    if (!hm_passes_in_subprocess()) {
        g_test_fail();
    }
    umount(dir);
    rmdir(dir);
}

/* ---- Memory that cannot be written to ---- */

#define READ_ONLY_SIZE (16 * MiB)

/* No guest gives it back, but a stream may name it. */
static void test_read_only(gconstpointer data)
{
    g_autofree char *file = hm_temp_path(g_get_tmp_dir(), "nvdimm");
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    g_autofree char *text = g_strnfill(READ_ONLY_SIZE, 'x');
    g_autofree char *args = g_strdup_printf(
        "-incoming defer -object memory-backend-file,id=read-only,size=16M,"
        "share=on,readonly=on,mem-path=%s "
        "-device nvdimm,memdev=read-only,unarmed=on", file);
    g_autofree char *after = NULL;
    g_autoptr(GByteArray) stream = g_byte_array_new();
    BGOptions options = { .backend = BG_ANON, .args = args,
                          .machine_props = "nvdimm=on" };
    BGuest *g;

    g_assert_true(g_file_set_contents(file, text, READ_ONLY_SIZE, NULL));
    g = bg_start(&options);
    put_stream_header(stream, g);
    put_section_header(stream);
    put_record(stream, GPOINTER_TO_INT(data), "read-only", READ_ONLY_SIZE);
    put_page(stream, 1);
    put_be(stream, LAST, 1);
    g_assert_true(g_file_set_contents(path, (char *)stream->data, stream->len,
                                      NULL));
    load(g, uri);
    ug_wait_failed(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    bg_quit(g);
    g_assert_true(g_file_get_contents(file, &after, NULL, NULL));
    g_assert_cmpstr(after, ==, text);
    unlink(path);
    unlink(file);
}

/* ---- RAM blocks that go ---- */

/* As the guest's ACPI code does */
static void eject_dimm(BGuest *g)
{
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
}

static void remove_dimm(BGuest *g)
{
    gint64 end = ug_hang_deadline();

    eject_dimm(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    /* The RAM block goes when the last reader of the memory map is done. */
    while (rb_exists(g, "dimm-ram")) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/*
 * The guest was asked for a DIMM before the migration, and ejects it while that
 * is under way.  What the migration knew of its pages goes with it.
 */
static void test_ejected_on_source(void)
{
    static const char *const capabilities[] = {
        "skip-balloon", "skip-unpopulated", NULL
    };
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *args = trace_args(log, DIMM_ARGS);
    BGOptions options = { .backend = BG_ANON, .args = args };
    BGuest *g = bg_start(&options);
    uint64_t blocks;

    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, DIMM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, DIMM_START + 32 * MiB, 16 * MiB);
    set_capabilities(g, capabilities);
    qtest_qmp_device_del_send(g->qts, "dimm0");
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': {"
        " 'uri': 'exec:cat > /dev/null' } }");
    bg_migrate_wait_pass(g, 1);
    remove_dimm(g);
    wait_lines(log, "skip_pass_pages_free", 1);
    blocks = count_lines(log, "skip_pass_pages_new");
    g_assert_cmpuint(blocks, >, 1);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    ug_wait_status(g, "cancelled");
    wait_lines(log, "skip_pass_pages_free", blocks);
    g_assert_cmpuint(count_lines(log, "skip_pass_pages_free"), ==, blocks);
    /* What was told is kept, but for what went. */
    g_assert_cmpuint(count_lines(log, "skip_pass_pages_new"), ==,
                     2 * blocks - 1);
    bg_quit(g);
    unlink(log);
}

/*
 * The guest ejects a DIMM after the destination got its part of the map.  The
 * RAM block goes at once, or stays for as long as whoever manages the guest
 * keeps its object.
 */
static void test_ejected_with_map(gconstpointer data)
{
    bool stays = GPOINTER_TO_INT(data);
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    BGuest *g = bg_start(&options);
    BGuest *dest;

    bg_driver_start(g, MUST_TELL_HOST);
    dest = bg_start_incoming(g);
    bg_fill(g, DIMM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, DIMM_START + 32 * MiB, 16 * MiB);
    bg_request_range(g, BG_INFLATE, 32 * MiB, 8 * MiB);
    qtest_qmp_device_del_send(g->qts, "dimm0");
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_migrate_start(g, dest);
    ug_wait_status(g, "active");
    if (stays) {
        eject_dimm(g);
    } else {
        remove_dimm(g);
    }
    bg_migrate_limit(g, 0);
    /* What was yet to be sent of it counts as if it still were. */
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters',"
        " 'arguments': { 'downtime-limit': 2000000 } }");
    bg_migrate_wait(g, dest);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, 8 * MiB / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(g);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

static void send_all(int fd, GByteArray *bytes)
{
    g_assert_cmpint(send(fd, bytes->data, bytes->len, MSG_NOSIGNAL), ==,
                    bytes->len);
    g_byte_array_set_size(bytes, 0);
}

/*
 * A DIMM goes on the destination, while the name of its RAM block has arrived
 * once more, and what is said of it has not.
 */
static void test_gone_on_destination(gconstpointer data)
{
    RecordKind kind = GPOINTER_TO_INT(data);
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "sock");
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    g_autofree char *args = trace_args(log, "-incoming defer " DIMM_ARGS);
    g_autoptr(GByteArray) stream = g_byte_array_new();
    BGOptions options = { .backend = BG_ANON, .args = args };
    BGuest *g = bg_start(&options);
    int fd;

    load(g, uri);
    fd = connect_to(path);
    put_stream_header(stream, g);
    put_section_header(stream);
    put_record(stream, kind, "dimm-ram", DIMM_SIZE);
    put_page(stream, 2);
    put_record(stream, kind, "dimm-ram", DIMM_SIZE);
    send_all(fd, stream);
    wait_lines(log, "qemu_loadvm_state_section_startfull", 1);

    qtest_qmp_device_del_send(g->qts, "dimm0");
    remove_dimm(g);
    put_page(stream, 1);
    put_be(stream, LAST, 1);
    send_all(fd, stream);
    ug_wait_failed(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    close(fd);
    bg_quit(g);
    unlink(path);
    unlink(log);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(template_cases); i++) {
        g_autofree char *path = g_strdup_printf("skip-drop/template/%s",
                                                template_cases[i].name);

        qtest_add_data_func(path, &template_cases[i], test_template);
    }
    qtest_add_func("skip-drop/huge-parts", test_huge_parts);
    qtest_add_func("skip-drop/huge-halves", test_huge_halves);
    qtest_add_func("skip-drop/no-zero-page", test_no_zero_page);
    qtest_add_data_func("skip-drop/turns/many-records/map",
                        GINT_TO_POINTER(MAP), test_many_records);
    qtest_add_data_func("skip-drop/turns/many-records/word",
                        GINT_TO_POINTER(WORD), test_many_records);
    qtest_add_func("skip-drop/turns/virtio-mem", test_virtio_mem_turns);
    qtest_add_func("skip-drop/virtio-mem/ramfs", test_ramfs);
    qtest_add_data_func("skip-drop/read-only/map", GINT_TO_POINTER(MAP),
                        test_read_only);
    qtest_add_data_func("skip-drop/read-only/word", GINT_TO_POINTER(WORD),
                        test_read_only);
    qtest_add_func("skip-drop/gone/source/pages", test_ejected_on_source);
    qtest_add_data_func("skip-drop/gone/source/map/removed",
                        GINT_TO_POINTER(false), test_ejected_with_map);
    qtest_add_data_func("skip-drop/gone/source/map/ejected",
                        GINT_TO_POINTER(true), test_ejected_with_map);
    qtest_add_data_func("skip-drop/gone/destination/map",
                        GINT_TO_POINTER(MAP), test_gone_on_destination);
    qtest_add_data_func("skip-drop/gone/destination/word",
                        GINT_TO_POINTER(WORD), test_gone_on_destination);
    return g_test_run();
}
