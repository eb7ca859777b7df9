/*
 * Tests of what reads guest memory on the host: it sees what is there, and
 * populates nothing; and of what the balloon is worth after somebody else
 * looked at it, or populated it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include <sys/uio.h>
#include "elf.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "balloon-guest.h"
#include "host-memory.h"

#define RAM_SIZE (64 * MiB)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* ---- Reading ---- */

/* A way to read guest memory on the host */
typedef struct Reading {
    const char *name;
    const char *format;         /* of dump-guest-memory; NULL: pmemsave */
    bool virtual;               /* memsave, by virtual addresses */
    bool paging;                /* of dump-guest-memory */
    bool detach;
    uint64_t start;             /* addresses; with a size of 0, all memory */
    uint64_t size;
} Reading;

static bool dump_completed(BGuest *g)
{
    QDict *info = qtest_qmp_assert_success_ref(g->qts,
                                               "{ 'execute': 'query-dump' }");
    bool done = g_str_equal(qdict_get_str(info, "status"), "completed");

    g_assert_cmpstr(qdict_get_str(info, "status"), !=, "failed");
    qobject_unref(info);
    return done;
}

/* @path: where to; with a format, a protocol like file:PATH */
static void read_memory(BGuest *g, const Reading *reading, const char *path)
{
    QDict *args;

    if (!reading->format) {
        qtest_qmp_assert_success(
            g->qts, "{ 'execute': %s, 'arguments': { 'val': %" PRIu64 ","
            " 'size': %" PRIu64 ", 'filename': %s } }",
            reading->virtual ? "memsave" : "pmemsave", reading->start,
            reading->size ?: g->options.ram_size, path);
        return;
    }
    args = qdict_new();
    qdict_put_str(args, "protocol", path);
    qdict_put_str(args, "format", reading->format);
    qdict_put_bool(args, "paging", reading->paging);
    qdict_put_bool(args, "detach", reading->detach);
    if (reading->size) {
        qdict_put_int(args, "begin", reading->start);
        qdict_put_int(args, "length", reading->size);
    }
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'dump-guest-memory', 'arguments': %p }", args);
    if (reading->detach) {
        BG_WAIT(dump_completed(g));
    }
}

/* What it reads; its file has gone already.  @stored: bytes of it, or NULL */
static GMappedFile *read_to_file(BGuest *g, const Reading *reading,
                                 int64_t *stored)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree char *protocol = g_strdup_printf("file:%s", path);
    GMappedFile *file;
    struct stat st;

    read_memory(g, reading, reading->format ? protocol : path);
    file = g_mapped_file_new(path, false, NULL);
    g_assert_nonnull(file);
    g_assert_cmpint(stat(path, &st), ==, 0);
    if (stored) {
        *stored = st.st_blocks * INT64_C(512);
    }
    unlink(path);
    return file;
}

static const uint8_t *content(GMappedFile *file)
{
    return (const uint8_t *)g_mapped_file_get_contents(file);
}

static void assert_equal(GMappedFile *file, const void *data, size_t size)
{
    g_assert_cmpuint(g_mapped_file_get_length(file), ==, size);
    /* g_assert_cmpmem() would print all of it. */
    g_assert_cmpint(memcmp(content(file), data, size), ==, 0);
}

/* ---- A guest ---- */

/*
 * The guest's memory: filled up to USED_END, of which the guest has given back
 * all from GIVEN_START on, and uses every other page again below MIXED_END.
 * What lies above was never used.  In a template it has content, but for a
 * hole.
 */
#define GIVEN_START (12 * MiB)
#define MIXED_END (14 * MiB)
#define USED_END (60 * MiB)
#define HOLE_START (62 * MiB)
#define HOLE_END (63 * MiB)

/* What the guest gave back, and did not use again */
static bool is_given(uint64_t addr)
{
    return addr >= GIVEN_START && addr < USED_END &&
           (addr >= MIXED_END || (addr - GIVEN_START) / BALLOON_PAGE % 2);
}

/* Is @data what the memory holds from @start on, where it was filled? */
static void assert_pattern(const uint8_t *data, uint64_t start, uint64_t size)
{
    uint64_t at;

    for (at = start; at < start + size; at += BALLOON_PAGE) {
        const uint8_t *page = data + (at - start);
        uint8_t value = is_given(at) ? 0 : bg_fill_value(at, 1);

        if (page[0] != value || memcmp(page, page + 1, BALLOON_PAGE - 1)) {
            bg_fail(at, "0x%02x, not 0x%02x", page[0], value);
        }
    }
}

static void give_back(BGuest *g)
{
    const uint64_t step = 2 * BALLOON_PAGE;
    uint64_t at;

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, GIVEN_START, USED_END - GIVEN_START);
    bg_request_every(g, BG_DEFLATE, GIVEN_START, step,
                     (MIXED_END - GIVEN_START) / step);
    for (at = GIVEN_START; at < MIXED_END; at += step) {
        bg_fill(g, at, BALLOON_PAGE, 1);
    }
}

typedef struct Kind {
    const char *name;
    BGBackend backend;
    bool is_template;           /* a file that is mapped privately */
    bool all;                   /* read in all ways, not just in some */
} Kind;

static const Kind kinds[] = {
    { "anon", BG_ANON },
    { "memfd", BG_MEMFD, .all = true },
    { "memfd-private", BG_PRIVATE_MEMFD },
    { "hugetlb", BG_HUGETLB },
    { "template", BG_ANON, .is_template = true },
};

typedef struct Guest {
    const Kind *kind;
    BGuest *g;
    char *file;                 /* the template, or NULL */
} Guest;

static char *make_template(void)
{
    char *path = hm_temp_path(hm_find_tmpfs(), "template");
    g_autofree char *text = g_strnfill(RAM_SIZE, 'x');

    memset(text + HOLE_START, 0, HOLE_END - HOLE_START);
    g_assert_true(g_file_set_contents(path, text, RAM_SIZE, NULL));
    return path;
}

static Guest start_guest(const Kind *kind, bool stock)
{
    char *file = kind->is_template ? make_template() : NULL;
    g_autofree char *ram_file = g_strdup_printf("%s,share=off", file);
    BGOptions options = {
        .backend = stock ? BG_ANON : kind->backend,
        .ram_file = file ? ram_file : NULL,
        .stock = stock,
        .no_must_tell_host = stock,
    };
    Guest guest = { kind, bg_start(&options), file };

    guest.g->options.ram_file = NULL;
    bg_fill(guest.g, BG_RAM_START, USED_END - BG_RAM_START, 1);
    give_back(guest.g);
    return guest;
}

static void end_guest(Guest *guest)
{
    bg_quit(guest->g);
    if (guest->file) {
        unlink(guest->file);
        g_free(guest->file);
    }
}

/*
 * Pages that the host has memory for, but for those of a template: to read
 * them maps them.
 */
static uint64_t held(const Guest *guest)
{
    struct stat st;

    if (!guest->file) {
        return bg_count_populated(guest->g, 0, RAM_SIZE);
    }
    g_assert_cmpint(stat(guest->file, &st), ==, 0);
    return st.st_blocks * UINT64_C(512) / BALLOON_PAGE +
           bg_count_populated(guest->g, BG_RAM_START, USED_END - BG_RAM_START);
}

/* ---- Everything that reads ---- */

/* The first ones are for all kinds of memory. */
static const Reading readings[] = {
    { "pmemsave" },
    { "elf", "elf" },
    { "kdump-zlib", "kdump-zlib" },
    /* Without paging, virtual addresses are physical. */
    { "memsave/part", .virtual = true, .start = 9 * MiB + 100,
      .size = 20 * MiB + 333 },
#define SOME_READINGS 4
    /* Ends where nothing is populated, and is not aligned. */
    { "pmemsave/part", .start = 9 * MiB + 100, .size = 20 * MiB + 333 },
    /* Goes on where there is no RAM */
    { "pmemsave/beyond", .start = USED_END + 5,
      .size = RAM_SIZE - USED_END + 12345 },
    { "memsave", .virtual = true },
    { "elf/paging", "elf", .paging = true },
    { "elf/detach", "elf", .detach = true },
    { "elf/filter", "elf", .start = 9 * MiB + 4096, .size = 20 * MiB },
    { "kdump-zlib/detach", "kdump-zlib", .detach = true },
    { "kdump-raw-zlib", "kdump-raw-zlib" },
    { "kdump-lzo", "kdump-lzo" },
    { "kdump-raw-lzo", "kdump-raw-lzo" },
    { "kdump-snappy", "kdump-snappy" },
    { "kdump-raw-snappy", "kdump-raw-snappy" },
};

static bool can_dump(BGuest *g, const char *format)
{
    QDict *info = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-dump-guest-memory-capability' }");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "formats"), entry) {
        QString *name = qobject_to(QString, qlist_entry_obj(entry));

        found |= g_str_equal(qstring_get_str(name), format);
    }
    qobject_unref(info);
    return found;
}

/* What of an ELF file is the memory, from BG_RAM_START on */
static const uint8_t *elf_memory(const uint8_t *data)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)data;
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(data + header->e_phoff);
    int i;

    g_assert_cmpint(header->e_ident[EI_CLASS], ==, ELFCLASS64);
    for (i = 0; i < header->e_phnum; i++) {
        uint64_t start = segment[i].p_paddr;

        if (segment[i].p_type == PT_LOAD && start <= BG_RAM_START &&
            start + segment[i].p_filesz >= RAM_SIZE) {
            return data + segment[i].p_offset + BG_RAM_START - start;
        }
    }
    g_assert_not_reached();
}

static void check_content(const Guest *guest, const uint8_t *data)
{
    uint64_t at;

    assert_pattern(data, BG_RAM_START, USED_END - BG_RAM_START);
    for (at = USED_END; at < RAM_SIZE; at++) {
        bool zero = !guest->file || (at >= HOLE_START && at < HOLE_END);

        if (data[at - BG_RAM_START] != (zero ? 0 : 'x')) {
            bg_fail(at, "0x%02x", data[at - BG_RAM_START]);
        }
    }
}

/* Does the file system of the output have holes? */
static bool has_holes(void)
{
    FILE *file = tmpfile();
    struct stat st;

    g_assert_nonnull(file);
    g_assert_cmpint(ftruncate(fileno(file), MiB), ==, 0);
    g_assert_cmpint(fstat(fileno(file), &st), ==, 0);
    fclose(file);
    return !st.st_blocks;
}

static void read_one(const Guest *guest, const Guest *stock,
                     const Reading *reading)
{
    uint64_t before = held(guest);
    int64_t stored;
    g_autoptr(GMappedFile) file = read_to_file(guest->g, reading, &stored);

    g_assert_cmpuint(held(guest), ==, before);
    if (stock->g) {
        g_autoptr(GMappedFile) other = read_to_file(stock->g, reading, NULL);

        assert_equal(file, content(other), g_mapped_file_get_length(other));
    }
    if (!reading->size && !reading->format) {
        g_assert_cmpuint(g_mapped_file_get_length(file), ==, RAM_SIZE);
        check_content(guest, content(file) + BG_RAM_START);
    } else if (!reading->size && g_str_equal(reading->format, "elf")) {
        check_content(guest, elf_memory(content(file)));
    }
    /* What of the output need not be there is not, but for compressed ones. */
    g_assert_true(!has_holes() || stored < 20 * MiB);
}

typedef struct Moved {
    int64_t skipped;
    int64_t vetoed;
    uint64_t held;              /* pages, on the destination */
} Moved;

static const char *const skip_balloon[] = { "skip-balloon", NULL };

static Moved migrate_read(BGuest *g)
{
    BGOptions options = { .backend = BG_MEMFD, .capabilities = skip_balloon };
    BGuest *dest = bg_start_dest(&options);
    Moved moved;

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate(g, dest);
    moved = (Moved) {
        .skipped = bg_skip_stat(g, "skipped-pages"),
        .vetoed = bg_skip_stat(g, "vetoed-pages"),
        .held = bg_count_populated(dest, 0, RAM_SIZE),
    };
    bg_assert_same_map(g, dest);
    bg_quit(dest);
    return moved;
}

/* It migrates as it did before it was read. */
static void test_read(gconstpointer data)
{
    const Kind *kind = data;
    Guest guest, stock = { };
    Moved before, moved;
    int i;

    if ((kind->backend == BG_HUGETLB && !bg_huge_or_skip(2 * RAM_SIZE)) ||
        (kind->is_template && !hm_tmpfs_or_skip())) {
        return;
    }
    guest = start_guest(kind, false);
    before = migrate_read(guest.g);
    g_assert_cmpint(before.skipped, >=, BG_PFN(USED_END - MIXED_END));
    qtest_qmp_assert_success(guest.g->qts, "{ 'execute': 'cont' }");
    if (g_getenv(BG_STOCK_ENV)) {
        stock = start_guest(kind, true);
    }
    for (i = 0; i < (kind->all ? ARRAY_SIZE(readings) : SOME_READINGS); i++) {
        bg_step("%s", readings[i].name);
        if (!readings[i].format || can_dump(guest.g, readings[i].format)) {
            read_one(&guest, &stock, &readings[i]);
        }
    }
    if (stock.g) {
        end_guest(&stock);
    }
    bg_step("migration");
    moved = migrate_read(guest.g);
    g_assert_cmpint(moved.skipped, ==, before.skipped);
    g_assert_cmpint(moved.vetoed, ==, before.vetoed);
    g_assert_cmpuint(moved.held, ==, before.held);
    end_guest(&guest);
}

/* ---- Outputs that cannot have holes, or have old content ---- */

typedef enum Output {
    OLD_CONTENT,        /* a longer file, which keeps what lies beyond */
    APPEND,             /* to seek does not move where it is written */
    PIPE,
    FIFO,               /* pmemsave, which ends where nothing is populated */
    OUTPUTS,
} Output;

static const char *const output_names[] = {
    "old-content", "append", "pipe", "fifo",
};

/* Returns what can be read until it ends. */
static gpointer drain(gpointer path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
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

static void test_output(gconstpointer opaque)
{
    static const Reading elf = { "elf", "elf" };
    static const Reading pmemsave = {
        "pmemsave", .start = BG_RAM_START, .size = USED_END - BG_RAM_START,
    };
    Output output = GPOINTER_TO_INT(opaque);
    Guest guest = start_guest(&kinds[1], false);
    BGuest *g = guest.g;
    uint64_t before = held(&guest);
    g_autoptr(GMappedFile) expected = read_to_file(
        g, output == FIFO ? &pmemsave : &elf, NULL);
    size_t size = g_mapped_file_get_length(expected);
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree char *old = g_strnfill(size + MiB, 'x');
    g_autoptr(GByteArray) data = NULL;
    GThread *thread = NULL;
    int fd, ends[2];

    switch (output) {
    case OLD_CONTENT:
        g_assert_true(g_file_set_contents(path, old, size + MiB, NULL));
        fd = open(path, O_RDWR);
        break;
    case APPEND:
        fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
        break;
    case PIPE:
        g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
        g_free(path);
        path = g_strdup_printf("/proc/self/fd/%d", ends[0]);
        thread = g_thread_new("drain", drain, path);
        fd = ends[1];
        break;
    default:
        g_assert_cmpint(mkfifo(path, 0600), ==, 0);
        thread = g_thread_new("drain", drain, path);
        fd = -1;
    }
    if (output == FIFO) {
        read_memory(g, &pmemsave, path);
    } else {
        qtest_qmp_fds_assert_success(g->qts, &fd, 1, "{ 'execute': 'getfd',"
                                     " 'arguments': { 'fdname': 'out' } }");
        close(fd);
        read_memory(g, &elf, "fd:out");
    }
    data = thread ? g_thread_join(thread) : drain(path);
    if (output == PIPE) {
        close(ends[0]);
    }
    if (output == OLD_CONTENT) {
        g_assert_cmpuint(data->len, ==, size + MiB);
        g_assert_cmpint(memcmp(data->data + size, old, MiB), ==, 0);
        g_byte_array_set_size(data, size);
    }
    assert_equal(expected, data->data, data->len);
    g_assert_cmpuint(held(&guest), ==, before);
    end_guest(&guest);
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

#define FLAG 0x500
#define DIRECTORY 0x300000
#define TABLES 0x301000
#define PRESENT_WRITABLE 3
#define LARGE 0x80

/* What is mapped there: all from BG_RAM_START on, but backwards */
#define VIRTUAL_START UINT64_C(0x40000000)
#define VIRTUAL_SIZE (RAM_SIZE - BG_RAM_START)

static void map_backwards(BGuest *g)
{
    uint64_t i;

    qtest_writel(g->qts, DIRECTORY, PRESENT_WRITABLE | LARGE);
    qtest_writel(g->qts, DIRECTORY + 1023 * 4,
                 1023U << 22 | PRESENT_WRITABLE | LARGE);
    for (i = 0; i < VIRTUAL_SIZE / (4 * MiB); i++) {
        qtest_writel(g->qts, DIRECTORY + (VIRTUAL_START / (4 * MiB) + i) * 4,
                     (TABLES + i * BALLOON_PAGE) | PRESENT_WRITABLE);
    }
    for (i = 0; i < VIRTUAL_SIZE / BALLOON_PAGE; i++) {
        qtest_writel(g->qts, TABLES + i * 4,
                     (RAM_SIZE - (i + 1) * BALLOON_PAGE) | PRESENT_WRITABLE);
    }
}

static void test_virtual(gconstpointer data)
{
    static const Reading reading = {
        "memsave", .virtual = true, .start = VIRTUAL_START,
        .size = VIRTUAL_SIZE,
    };
    g_autofree char *bios = bg_write_firmware(firmware, sizeof(firmware));
    g_autofree char *args = g_strdup_printf("-accel tcg -S -bios %s", bios);
    BGOptions options = { .backend = BG_MEMFD, .args = args };
    g_autoptr(GMappedFile) file = NULL;
    uint64_t before, at;
    BGuest *g = bg_start(&options);

    bg_fill(g, BG_RAM_START, RAM_SIZE - BG_RAM_START, 1);
    map_backwards(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    BG_WAIT(qtest_readb(g->qts, FLAG));
    give_back(g);
    before = bg_count_populated(g, 0, RAM_SIZE);
    file = read_to_file(g, &reading, NULL);
    g_assert_cmpuint(g_mapped_file_get_length(file), ==, VIRTUAL_SIZE);
    for (at = 0; at < VIRTUAL_SIZE; at += BALLOON_PAGE) {
        assert_pattern(content(file) + at, RAM_SIZE - at - BALLOON_PAGE,
                       BALLOON_PAGE);
    }
    bg_assert_populated(g, 0, RAM_SIZE, before);
    g_free(bg_qmp_error(qtest_qmp(
        g->qts, "{ 'execute': 'memsave', 'arguments': { 'val': %" PRIu64 ","
        " 'size': %" PRIu64 ", 'filename': '/dev/null' } }",
        VIRTUAL_START + VIRTUAL_SIZE / 2, (uint64_t)VIRTUAL_SIZE)));
    bg_quit(g);
    unlink(bios);
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
        "pmemsave", .start = BG_RAM_START + 4 * MiB, .size = 64 * BALLOON_PAGE,
    };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = capabilities,
    };
    BGuest *g = bg_start_driven(&options);
    BGuest *dest = bg_start_incoming(g);
    g_autoptr(GMappedFile) file = NULL;

    bg_fill(g, BG_RAM_START, 8 * MiB, 1);
    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 1048576 }");
    bg_migrate_begin(g, dest, MiB);
    bg_postcopy_begin(g, dest);
    bg_assert_populated(dest, reading.start, reading.size, 0);
    file = read_to_file(dest, &reading, NULL);
    assert_pattern(content(file), reading.start, reading.size);
    bg_postcopy_end(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- File systems with small blocks ---- */

#define BLOCK 1024
#define BLOCKS_START (8 * MiB)
#define BLOCKS_SIZE MiB

static bool run(const char *format, const char *a, const char *b)
{
    g_autofree char *line = g_strdup_printf(format, a, b);
    int status;

    return g_spawn_command_line_sync(line, NULL, NULL, &status, NULL) &&
           !status;
}

/* Of each page the second block is there, and the others are holes. */
static void check_blocks(const char *path, const char *share)
{
    g_autofree char *ram_file = g_strdup_printf("%s,share=%s", path, share);
    g_autofree uint8_t *expected = g_malloc0(BLOCKS_SIZE);
    BGOptions options = { .ram_file = ram_file };
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    uint64_t at, skip;
    BGuest *g;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    for (at = BLOCK; at < BLOCKS_SIZE; at += BALLOON_PAGE) {
        memset(expected + at, 'x', BLOCK);
        g_assert_cmpint(pwrite(fd, expected + at, BLOCK, BLOCKS_START + at),
                        ==, BLOCK);
    }
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
    g = bg_start(&options);
    for (skip = 0; skip < BALLOON_PAGE; skip += BLOCK / 2) {
        Reading reading = {
            .start = BLOCKS_START + skip,
            .size = BLOCKS_SIZE - skip,
        };
        g_autoptr(GMappedFile) file = read_to_file(g, &reading, NULL);

        assert_equal(file, expected + skip, BLOCKS_SIZE - skip);
    }
    bg_quit(g);
    unlink(path);
}

/* A hole may end, and begin, within a page. */
static void test_small_blocks(gconstpointer data)
{
    g_autofree char *image = hm_temp_path(g_get_tmp_dir(), "ext4");
    g_autofree char *dir = hm_temp_path(g_get_tmp_dir(), "mnt");
    g_autofree char *path = g_strdup_printf("%s/ram", dir);

    g_assert_cmpint(mkdir(dir, 0700), ==, 0);
    if (run("truncate -s 128M %s", image, NULL) &&
        run("mkfs.ext4 -q -F -b 1024 %s", image, NULL) &&
        run("mount -o loop %s %s", image, dir)) {
        check_blocks(path, "on");
        check_blocks(path, "off");
        g_assert_true(run("umount %s", dir, NULL));
    } else {
        g_test_skip("no file system can be made and mounted");
    }
    rmdir(dir);
    unlink(image);
}

/* ---- Large guests, after somebody else looked at the balloon ---- */

/*
 * Whatever populated it, nothing is lost, the map stays what it is, and the
 * destination does not get the memory that the source has now.
 */
#define LARGE_SIZE (256 * MiB)
#define LARGE_START (64 * MiB)
#define LARGE_GIVEN (160 * MiB)
#define LARGE_PAGES (LARGE_GIVEN / BALLOON_PAGE)
#define HUGE_COUNT (LARGE_GIVEN / HM_HUGE_SIZE)

/* Of the destination, beyond that of a guest whose balloon nobody touched */
#define MAY_TAKE (4 * MiB)
#define MAY_TAKE_COLLAPSED (32 * MiB)

/*
 * @ram_file: of this guest, and none that it goes to; or NULL
 * @mixed: the guest uses one page of each huge one that it gave back, without
 *         which the kernel would not collapse it
 */
static BGuest *start_large(BGBackend backend, const char *ram_file, bool mixed)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = LARGE_SIZE,
        .ram_file = ram_file,
        .capabilities = skip_balloon,
    };
    BGuest *g = bg_start_driven(&options);
    uint64_t i;

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, LARGE_START, LARGE_GIVEN);
    if (mixed) {
        bg_request_every(g, BG_DEFLATE, LARGE_START, HM_HUGE_SIZE, HUGE_COUNT);
        for (i = 0; i < HUGE_COUNT; i++) {
            bg_fill(g, LARGE_START + i * HM_HUGE_SIZE, BALLOON_PAGE, 2);
        }
    }
    return g;
}

/* Returns the destination; @held is set to its memory, in bytes. */
static BGuest *migrate_large(BGuest *g, uint64_t *held)
{
    BGOptions options = g->options;
    BGuest *dest;

    options.ram_file = NULL;
    dest = bg_start_dest(&options);
    bg_migrate(g, dest);
    *held = bg_count_populated(dest, 0, LARGE_SIZE) * BALLOON_PAGE;
    bg_assert_same_map(g, dest);
    return dest;
}

/* Two migrations of @g, which has huge pages if it is @mixed; ends it */
static void check_migrations(BGuest *g, bool mixed, uint64_t may_take)
{
    uint64_t pages = LARGE_PAGES - (mixed ? HUGE_COUNT : 0);
    BGuest *usual = start_large(g->options.backend, NULL, mixed);
    uint64_t expected, held, held_next;
    BGuest *dest = migrate_large(usual, &expected), *next;

    g_assert_cmpint(bg_skip_stat(usual, "skipped-pages"), ==, pages);
    bg_quit(dest);
    bg_quit(usual);

    bg_allow_huge_pages(mixed);
    dest = migrate_large(g, &held);
    g_test_message("%" PRIu64 " of %" PRIu64 " pages skipped, %" PRIu64 " MiB "
                   "on the destination, %" PRIu64 " if nobody looks",
                   bg_skip_stat(g, "skipped-pages"), pages,
                   held / MiB, expected / MiB);
    g_assert_cmpuint(held, <=, expected + may_take);
    next = migrate_large(dest, &held_next);
    bg_allow_huge_pages(false);
    bg_assert_map(dest, pages);
    g_assert_cmpint(bg_skip_stat(dest, "skipped-pages"), ==, pages);
    g_assert_cmpuint(held_next, <=, expected + may_take);
    bg_assert_same_memory(g, next);
    bg_quit(next);
    bg_quit(dest);
    bg_quit(g);
}

/* A migration without our capabilities, which has read all */
static void test_cancelled(gconstpointer data)
{
    BGuest *g = start_large(GPOINTER_TO_INT(data), NULL, false);
    BGOptions options = { .backend = BG_MEMFD, .ram_size = LARGE_SIZE };
    BGuest *dest = bg_start_dest(&options);

    g->options.capabilities = NULL;
    bg_set_capability(g, "pause-before-switchover", true);
    /* With a limit, so that little is left for after the switch-over */
    bg_migrate_begin(g, dest, 16 * GiB);
    bg_wait_status(g, "pre-switchover", 60);
    g_assert_null(bg_skip_info(g));
    bg_migrate_cancel(g, dest);
    bg_set_capability(g, "pause-before-switchover", false);
    g->options.capabilities = skip_balloon;
    if (g->options.backend == BG_MEMFD) {
        bg_assert_populated(g, LARGE_START, LARGE_GIVEN, LARGE_PAGES);
    }
    check_migrations(g, false, MAY_TAKE);
}

/* Have the kernel make huge pages of what the guest gave back. */
static bool collapse(BGuest *g)
{
    int fd = syscall(SYS_pidfd_open, qtest_pid(g->qts), 0);
    uint64_t at;
    bool collapsed = fd >= 0;

    for (at = 0; collapsed && at < LARGE_GIVEN; at += HM_HUGE_SIZE) {
        struct iovec part = {
            .iov_base = (void *)(uintptr_t)(g->hva + LARGE_START + at),
            .iov_len = HM_HUGE_SIZE,
        };

        collapsed = syscall(SYS_process_madvise, fd, &part, 1, MADV_COLLAPSE,
                            0) == HM_HUGE_SIZE;
    }
    close(fd);
    return collapsed;
}

/*
 * Only memory that is aligned to huge pages can have them, which a memfd of
 * QEMU is not.  The destination may have them, too, and must not have one for
 * the page that is in use.
 */
static void test_collapsed(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    const char *dir = hm_tmpfs_or_skip();
    g_autofree char *path = hm_temp_path(dir ?: "", "ram");
    g_autofree char *ram_file = g_strdup_printf("%s,align=2M", path);
    struct stat st;
    BGuest *g;

    if (!dir) {
        return;
    }
    bg_allow_huge_pages(true);
    g = start_large(backend, backend == BG_MEMFD ? ram_file : NULL, true);
    bg_allow_huge_pages(false);
    if (!collapse(g)) {
        g_test_skip("the kernel does not collapse memory of another process");
        bg_quit(g);
    } else {
        if (backend == BG_MEMFD) {
            g_assert_cmpint(stat(path, &st), ==, 0);
            g_assert_cmpint(st.st_blocks * INT64_C(512), >=, LARGE_GIVEN);
        } else {
            bg_assert_populated(g, LARGE_START, LARGE_GIVEN, LARGE_PAGES);
        }
        check_migrations(g, true, MAY_TAKE_COLLAPSED);
    }
    unlink(path);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc func;
    } tests[] = {
        { "postcopy", test_postcopy },
        { "cancelled", test_cancelled },
        { "collapsed", test_collapsed },
    };
    int i, k;

    bg_init(&argc, &argv);
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        bg_add_test(&kinds[i], test_read, "balloon-read/all/%s", kinds[i].name);
    }
    for (i = 0; i < OUTPUTS; i++) {
        bg_add_test(GINT_TO_POINTER(i), test_output, "balloon-read/output/%s",
                    output_names[i]);
    }
    bg_add_test(NULL, test_small_blocks, "balloon-read/small-blocks");
    bg_add_test(NULL, test_virtual, "balloon-read/virtual");
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        for (k = BG_ANON; k <= BG_MEMFD; k++) {
            bg_add_test(GINT_TO_POINTER(k), tests[i].func,
                        "balloon-read/%s/%s", tests[i].name,
                        bg_backend_name(k));
        }
    }
    return g_test_run();
}
