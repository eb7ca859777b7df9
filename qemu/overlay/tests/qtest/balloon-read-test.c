/*
 * Tests of what reads guest memory on the host: it sees what is there, and
 * populates nothing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "elf.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-read.h"
#include "host-memory.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

void br_allow_huge_pages(bool allow)
{
    prctl(PR_SET_THP_DISABLE, !allow, 0, 0, 0);
}

/* ---- Reading ---- */

void br_dump_finish(BGuest *g)
{
    gint64 end = ug_hang_deadline();
    unsigned int times = 0;
    bool done = false;

    while (!done) {
        QDict *info = qtest_qmp_assert_success_ref(g->qts,
                                                   "{ 'execute': 'query-dump' "
                                                   "}");
        const char *status = qdict_get_str(info, "status");

        g_assert_cmpstr(status, !=, "failed");
        done = !strcmp(status, "completed");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

static void dump(BGuest *g, const Reading *reading, const char *protocol)
{
    QDict *args = qdict_new();

    qdict_put_str(args, "protocol", protocol);
    qdict_put_str(args, "format", reading->format);
    qdict_put_bool(args, "paging", reading->paging);
    qdict_put_bool(args, "detach", reading->detach);
    if (reading->size) {
        qdict_put_int(args, "begin", reading->start);
        qdict_put_int(args, "length", reading->size);
    }
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'dump-guest-memory', 'arguments': %p }", args);
}

void br_read(BGuest *g, const Reading *reading, const char *protocol)
{
    if (reading->format) {
        dump(g, reading, protocol);
        if (reading->detach) {
            br_dump_finish(g);
        }
        return;
    }
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'val': %" PRIu64 ","
        " 'size': %" PRIu64 ", 'filename': %s } }",
        reading->virtual ? "memsave" : "pmemsave", reading->start,
        reading->size ?: RAM_SIZE, protocol);
}

GMappedFile *br_map_file(const char *path)
{
    g_autoptr(GError) error = NULL;
    GMappedFile *file = g_mapped_file_new(path, false, &error);

    g_assert_no_error(error);
    return file;
}

void br_assert_pattern(const uint8_t *data, uint64_t start, uint64_t size,
                       uint8_t seed, bool (*zero)(uint64_t addr))
{
    uint64_t at;

    for (at = start; at < start + size; at += BALLOON_PAGE) {
        const uint8_t *page = data + (at - start);
        uint8_t value = zero && zero(at)
                        ? 0 : 1 + (at / BALLOON_PAGE * 7 + seed) % 255;

        if (page[0] != value || memcmp(page, page + 1, BALLOON_PAGE - 1)) {
            g_error("address 0x%" PRIx64 ": 0x%02x, not 0x%02x", at, page[0],
                    value);
        }
    }
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

typedef struct Kind {
    const char *name;
    BGBackend backend;
    bool is_template;           /* a file that is mapped privately */
} Kind;

static const Kind kinds[] = {
    { "anon", BG_ANON },
    { "memfd", BG_MEMFD },
    { "memfd-private", BG_PRIVATE_MEMFD },
    { "hugetlb", BG_HUGETLB },
    { "template", BG_ANON, true },
};

typedef struct Guest {
    const Kind *kind;
    BGuest *g;
    char *file;                 /* the template, or NULL */
} Guest;

static char *make_template(void)
{
    char *path = hm_temp_path(hm_find_tmpfs(), "template");
    g_autofree char *text = g_strnfill(MiB, 'x');
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    uint64_t at;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    for (at = 0; at < RAM_SIZE; at += MiB) {
        if (at != HOLE_START) {
            g_assert_cmpint(pwrite(fd, text, MiB, at), ==, MiB);
        }
    }
    close(fd);
    return path;
}

static Guest start_guest(const Kind *kind, bool stock)
{
    Guest guest = {
        .kind = kind,
        .file = kind->is_template ? make_template() : NULL,
    };
    g_autofree char *ram_file = guest.file
        ? g_strdup_printf("%s,share=off", guest.file) : NULL;
    BGOptions options = {
        .backend = kind->backend,
        .ram_file = ram_file,
        .stock = stock,
        .no_must_tell_host = stock,
    };
    uint32_t pfns[(MIXED_END - GIVEN_START) / BALLOON_PAGE / 2];
    int i;

    guest.g = bg_start(&options);
    guest.g->options.ram_file = NULL;
    bg_driver_start(guest.g, MUST_TELL_HOST);
    bg_fill(guest.g, BG_RAM_START, USED_END - BG_RAM_START, 1);
    bg_request_range(guest.g, BG_INFLATE, GIVEN_START, USED_END - GIVEN_START);
    for (i = 0; i < ARRAY_SIZE(pfns); i++) {
        pfns[i] = GIVEN_START / BALLOON_PAGE + 2 * i;
    }
    bg_request(guest.g, BG_DEFLATE, pfns, ARRAY_SIZE(pfns));
    for (i = 0; i < ARRAY_SIZE(pfns); i++) {
        bg_fill(guest.g, pfns[i] * BALLOON_PAGE, BALLOON_PAGE, 1);
    }
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
           bg_count_populated(guest->g, BG_RAM_START, USED_END - BG_RAM_START) +
           bg_count_populated(guest->g, HOLE_START, HOLE_END - HOLE_START);
}

/* What the guest gave back, and did not use again */
static bool is_given(uint64_t addr)
{
    return addr >= GIVEN_START &&
           (addr >= MIXED_END || (addr - GIVEN_START) / BALLOON_PAGE % 2);
}

/* Is @data what the memory of @guest holds from BG_RAM_START on? */
static void assert_content(const Guest *guest, const uint8_t *data)
{
    uint64_t at;

    br_assert_pattern(data, BG_RAM_START, USED_END - BG_RAM_START, 1, is_given);
    for (at = USED_END; at < RAM_SIZE; at++) {
        bool zero = !guest->file || (at >= HOLE_START && at < HOLE_END);

        if (data[at - BG_RAM_START] != (zero ? 0 : 'x')) {
            g_error("address 0x%" PRIx64 ": 0x%02x", at,
                    data[at - BG_RAM_START]);
        }
    }
}

/* ---- Everything that reads ---- */

static const Reading readings[] = {
    { "pmemsave" },
    /* Ends where nothing is populated, and is not aligned. */
    { "pmemsave/part", .start = 9 * MiB + 100, .size = 20 * MiB + 333 },
    /* Goes on where there is no RAM */
    { "pmemsave/beyond", .start = USED_END + 5,
      .size = RAM_SIZE - USED_END + 12345 },
    /* Without paging, virtual addresses are physical. */
    { "memsave", .virtual = true },
    { "memsave/part", .virtual = true, .start = 9 * MiB + 100,
      .size = 20 * MiB + 333 },
    { "elf", "elf" },
    { "elf/paging", "elf", .paging = true },
    { "elf/detach", "elf", .detach = true },
    { "elf/filter", "elf", .start = 9 * MiB + 4096, .size = 20 * MiB },
    { "kdump-zlib", "kdump-zlib" },
    { "kdump-zlib/detach", "kdump-zlib", .detach = true },
    { "kdump-raw-zlib", "kdump-raw-zlib" },
    { "kdump-lzo", "kdump-lzo" },
    { "kdump-raw-lzo", "kdump-raw-lzo" },
    { "kdump-snappy", "kdump-snappy" },
    { "kdump-raw-snappy", "kdump-raw-snappy" },
};

static bool can_dump(BGuest *g, const char *format)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute':"
                           " 'query-dump-guest-memory-capability' }");
    QDict *info = qdict_get_qdict(rsp, "return");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "formats"), entry) {
        QString *name = qobject_to(QString, qlist_entry_obj(entry));

        found = found || !strcmp(qstring_get_str(name), format);
    }
    qobject_unref(rsp);
    return found;
}

static char *read_to_file(const Guest *guest, const Reading *reading)
{
    char *path = hm_temp_path(g_get_tmp_dir(), "output");
    g_autofree char *protocol = g_strdup_printf("%s%s",
                                                reading->format ? "file:" : "",
                                                path);

    br_read(guest->g, reading, protocol);
    return path;
}

static void assert_same_file(const char *name, const char *a, const char *b)
{
    g_autoptr(GMappedFile) file_a = br_map_file(a);
    g_autoptr(GMappedFile) file_b = br_map_file(b);
    const char *in_a = g_mapped_file_get_contents(file_a);
    const char *in_b = g_mapped_file_get_contents(file_b);
    gsize i;

    g_assert_cmpuint(g_mapped_file_get_length(file_a), ==,
                     g_mapped_file_get_length(file_b));
    for (i = 0; i < g_mapped_file_get_length(file_a); i++) {
        if (in_a[i] != in_b[i]) {
            g_error("%s: 0x%02x at 0x%" G_GSIZE_MODIFIER "x, unmodified QEMU "
                    "has 0x%02x", name, (uint8_t)in_a[i], i, (uint8_t)in_b[i]);
        }
    }
}

/* Does the file system of the output have holes? */
static bool has_holes(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct stat st;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, MiB), ==, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    close(fd);
    return !st.st_blocks;
}

/* What of the output need not be there is not, but for compressed ones. */
static void assert_sparse(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    if (has_holes(path)) {
        g_assert_cmpuint(st.st_blocks * UINT64_C(512), <, 20 * MiB);
    }
}

static void check_elf(const Guest *guest, const char *path)
{
    g_autoptr(GMappedFile) file = br_map_file(path);
    const uint8_t *data = (uint8_t *)g_mapped_file_get_contents(file);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)data;
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(data + header->e_phoff);
    bool found = false;
    int i;

    g_assert_cmpint(header->e_ident[EI_CLASS], ==, ELFCLASS64);
    for (i = 0; i < header->e_phnum; i++) {
        uint64_t start = segment[i].p_paddr;

        if (segment[i].p_type == PT_LOAD && start <= BG_RAM_START &&
            start + segment[i].p_filesz >= RAM_SIZE) {
            assert_content(guest, data + segment[i].p_offset + BG_RAM_START -
                                  start);
            found = true;
        }
    }
    g_assert_true(found);
}

static void check_output(const Guest *guest, const Reading *reading,
                         const char *path)
{
    if (!reading->size && !reading->format) {
        g_autoptr(GMappedFile) file = br_map_file(path);

        g_assert_cmpuint(g_mapped_file_get_length(file), ==, RAM_SIZE);
        assert_content(guest, (uint8_t *)g_mapped_file_get_contents(file) +
                              BG_RAM_START);
    }
    if (!reading->size && !g_strcmp0(reading->format, "elf")) {
        check_elf(guest, path);
    }
    assert_sparse(path);
}

static void read_one(const Guest *guest, const Guest *stock,
                     const Reading *reading)
{
    uint64_t before = held(guest);
    g_autofree char *path = read_to_file(guest, reading);

    if (held(guest) != before) {
        g_error("%s: %" PRIu64 " pages of the host before, %" PRIu64 " after",
                reading->name, before, held(guest));
    }
    if (stock->g) {
        g_autofree char *other = read_to_file(stock, reading);

        assert_same_file(reading->name, path, other);
        unlink(other);
    }
    check_output(guest, reading, path);
    unlink(path);
}

static void read_in_all_ways(const Guest *guest)
{
    Guest stock = { };
    int i;

    if (g_getenv(BG_STOCK_ENV)) {
        Kind kind = *guest->kind;

        /* What memory it is of is of no interest, but for what it holds. */
        kind.backend = BG_ANON;
        stock = start_guest(&kind, true);
    }
    for (i = 0; i < ARRAY_SIZE(readings); i++) {
        const char *format = readings[i].format;

        if (!format || can_dump(guest->g, format)) {
            read_one(guest, &stock, &readings[i]);
        }
    }
    if (stock.g) {
        end_guest(&stock);
    }
}

/* ---- Migrating what was read ---- */

typedef struct Moved {
    int64_t skipped;
    int64_t vetoed;
    uint64_t held;              /* pages, on the destination */
} Moved;

static Moved migrate(BGuest *g)
{
    static const char *const capabilities[] = { "skip-balloon", NULL };
    BGOptions options = { .backend = BG_MEMFD, .capabilities = capabilities };
    BGuest *dest = ug_start_destination(&options, false);
    Moved moved;

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    moved = (Moved) {
        .skipped = bg_skip_stat(g, "skipped-pages"),
        .vetoed = bg_skip_stat(g, "vetoed-pages"),
        .held = bg_count_populated(dest, 0, RAM_SIZE),
    };
    bg_assert_same_map(g, dest);
    bg_quit(dest);
    return moved;
}

/* As if nobody had read it */
static void check_migration(const Guest *guest)
{
    Guest other = start_guest(guest->kind, false);
    Moved expected = migrate(other.g);
    Moved moved = migrate(guest->g);

    g_assert_cmpint(expected.skipped, >=,
                    (USED_END - MIXED_END) / BALLOON_PAGE);
    g_assert_cmpint(moved.skipped, ==, expected.skipped);
    g_assert_cmpint(moved.vetoed, ==, expected.vetoed);
    g_assert_cmpuint(moved.held, ==, expected.held);
    end_guest(&other);
}

static void test_read(gconstpointer data)
{
    const Kind *kind = data;
    Guest guest;

    if (kind->backend == BG_HUGETLB && !g_test_subprocess()) {
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    if (kind->is_template && !hm_tmpfs_or_skip()) {
        return;
    }
    guest = start_guest(kind, false);
    read_in_all_ways(&guest);
    check_migration(&guest);
    end_guest(&guest);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    br_allow_huge_pages(false);
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        g_autofree char *path = g_strdup_printf("balloon-read/all/%s",
                                                kinds[i].name);

        qtest_add_data_func(path, &kinds[i], test_read);
    }
    add_output_tests();
    add_populated_tests();
    return g_test_run();
}
