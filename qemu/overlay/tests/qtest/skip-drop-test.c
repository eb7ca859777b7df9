/*
 * Tests of memory that is dropped on the destination, of the turns that the
 * main loop has meanwhile, and of RAM blocks that go; for templates see
 * skip-told-test
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "host-memory.h"

#define PREFIX "skip-drop/"
#define RAM_SIZE (64 * MiB)
#define WAIT_SECONDS 60

/* Bytes per second: a page is sent ten times a second, and not more. */
#define NEXT_TO_NOTHING 10

static const char *const both[] = { "skip-balloon", "skip-unpopulated", NULL };

static void quit(BGuest *g, BGuest *dest)
{
    bg_quit(dest);
    bg_quit(g);
}

/* What the guest gives back */
#define GIVEN_START (16 * MiB)

/* ---- Parts of huge pages ---- */

/*
 * The source has given back every other page; the destination's pages are huge.
 * To look what is in a part of one must not populate it.
 */
static void test_huge_parts(void)
{
    BGOptions options = { .capabilities = both };
    const uint64_t pages = 4 * MiB / BALLOON_PAGE;
    g_autofree uint32_t *pfns = g_new(uint32_t, pages);
    BGuest *g, *dest;
    uint64_t i;

    if (!g_test_subprocess()) {
        hm_test_with_huge_pages(RAM_SIZE);
        return;
    }
    g = bg_start_driven(&options);
    options.backend = BG_HUGETLB;
    dest = bg_start_dest(&options);
    for (i = 0; i < pages; i++) {
        pfns[i] = GIVEN_START / BALLOON_PAGE + 2 * i;
    }
    bg_request(g, BG_INFLATE, pfns, pages);
    bg_migrate(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, GIVEN_START, 8 * MiB), ==, 0);
    rb_assert_same(g, dest);
    quit(g, dest);
}

/*
 * A run of the balloon that has the end of one huge page and the beginning of
 * the next one, which holds something of an earlier use
 */
static void test_huge_halves(void)
{
    static const char *const balloon[] = { "skip-balloon", NULL };
    BGOptions options = { .capabilities = balloon };
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    BGuest *g, *dest;
    uint64_t addr;
    bool mounted;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(RAM_SIZE);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    path = hm_temp_path(dir, "halves");
    hm_make_file(path, RAM_SIZE, GIVEN_START + HM_HUGE_SIZE, HM_HUGE_SIZE);
    g = bg_start_driven(&options);
    options.ram_file = path;
    dest = bg_start_dest(&options);
    bg_request_range(g, BG_INFLATE, GIVEN_START + HM_HUGE_SIZE / 2,
                     HM_HUGE_SIZE);
    bg_migrate(g, dest);
    rb_assert_same(g, dest);
    /* Nobody but those who read see what a file of huge pages holds. */
    for (addr = GIVEN_START; addr < GIVEN_START + 2 * HM_HUGE_SIZE;
         addr += BALLOON_PAGE) {
        g_assert_true(bg_is_zero(dest, addr));
    }
    quit(g, dest);
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
    BGOptions options = { };
    BGuest *g, *dest;

    g = bg_start_driven(&options);
    bg_allow_huge_pages(true);
    dest = bg_start_dest(&options);
    bg_fill(g, 16 * MiB, BALLOON_PAGE, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate(g, dest);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate"), >,
                    (RAM_SIZE - 20 * MiB) / BALLOON_PAGE);

    if (bg_count_populated(dest, 16 * MiB, HM_HUGE_SIZE) ==
        HM_HUGE_SIZE / BALLOON_PAGE) {
        g_assert_cmpuint(bg_count_populated(dest, 18 * MiB,
                                            RAM_SIZE - 20 * MiB), ==, 0);
        rb_assert_same(g, dest);
    } else {
        g_test_skip("the host gives no huge page");
    }
    quit(g, dest);
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
    const char *at;
    uint64_t n = 0;

    if (g_file_get_contents(log, &text, NULL, NULL)) {
        for (at = text; (at = strstr(at, what)); at++) {
            n++;
        }
    }
    return n;
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

/* A QEMU that loads a stream, and what the stream is made of */
typedef struct Loader {
    BGuest *g;
    char *log;
    char *path;                 /* of a file, or a socket */
    GByteArray *stream;
} Loader;

static void put_bytes(Loader *l, const void *bytes, size_t size)
{
    g_byte_array_append(l->stream, bytes, size);
}

static void put_be(Loader *l, uint64_t value, int size)
{
    while (size-- > 0) {
        uint8_t byte = value >> (8 * size);

        put_bytes(l, &byte, 1);
    }
}

static void put_record(Loader *l, RecordKind kind, const char *id,
                       uint64_t size)
{
    put_be(l, kind, 1);
    put_be(l, strlen(id), 1);
    put_bytes(l, id, strlen(id));
    put_be(l, size / BALLOON_PAGE, 8);
}

/* One page of the first chunk, whose number takes two bytes */
static void put_page(Loader *l, uint32_t page)
{
    g_assert_cmpuint(page, <, 1 << 14);
    put_be(l, 7, 4);
    put_bytes(l, "\0\1\0\1", 4);
    put_be(l, (page & 0x7f) | 0x80, 1);
    put_be(l, page >> 7, 1);
    put_be(l, 1, 1);
}

/* Start one, and a stream up to the first record of our section. */
static Loader *loader_new(const BGOptions *options)
{
    Loader *l = g_new0(Loader, 1);
    g_autofree char *more = g_strdup_printf("-incoming defer %s",
                                            options->args ?: "");
    g_autofree char *args = NULL;
    g_autofree char *machine = NULL;
    BGOptions with_trace = *options;
    QDict *rsp;

    l->log = hm_temp_path(g_get_tmp_dir(), "log");
    l->path = hm_temp_path(g_get_tmp_dir(), "stream");
    l->stream = g_byte_array_new();
    with_trace.args = args = trace_args(l->log, more);
    l->g = bg_start(&with_trace);
    rsp = qtest_qmp(l->g->qts, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/machine', 'property': 'type' } }");
    machine = g_strdup(qdict_get_str(rsp, "return"));
    qobject_unref(rsp);
    *strstr(machine, "-machine") = '\0';

    put_bytes(l, "QEVM", 4);
    put_be(l, 3, 4);
    put_be(l, 7, 1);                            /* configuration */
    put_be(l, strlen(machine), 4);
    put_bytes(l, machine, strlen(machine));
    put_be(l, 1, 1);                            /* section */
    put_be(l, 77, 4);
    put_bytes(l, SECTION_NAME, strlen(SECTION_NAME));
    put_be(l, 0, 4);
    put_be(l, SECTION_VERSION, 4);
    put_be(l, SECTION_VERSION, 4);
    put_be(l, FLAG_START, 4);
    put_be(l, BALLOON_PAGE, 4);
    return l;
}

static void load_from(Loader *l, const char *kind)
{
    g_autofree char *uri = g_strdup_printf("%s:%s", kind, l->path);

    qtest_qmp_assert_success(
        l->g->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s, 'exit-on-error': false } }", uri);
}

/* The section is loaded, or refused; there is no more, where ram should be. */
static void load_all(Loader *l)
{
    put_be(l, LAST, 1);
    g_assert_true(g_file_set_contents(l->path, (char *)l->stream->data,
                                      l->stream->len, NULL));
    load_from(l, "file");
    bg_wait_status(l->g, "failed", WAIT_SECONDS);
}

static void loader_free(Loader *l)
{
    unlink(l->path);
    unlink(l->log);
    g_free(l->path);
    g_free(l->log);
    g_byte_array_unref(l->stream);
    g_free(l);
}

/* What is refused in the first record, a map */
typedef struct Refused {
    const char *name;
    const char *id;
    uint64_t size;              /* of the RAM block, in bytes */
    uint32_t bytes;             /* how many follow, and these */
    uint64_t chunk;
    const char *message;
} Refused;

static const Refused refused[] = {
    /* One byte more than the buffer that it is read into has */
    { "record-size", "ram0", RAM_SIZE, 65537, 0,
      "65537 bytes for RAM block 'ram0' are too many" },
    /*
     * The last page of a RAM block that has 2 MiB at most, and 128 KiB now: no
     * chunk before, one, of runs, of which there is one; 511, and 1
     */
    { "beyond", "/rom@etc/acpi/tables", 2 * MiB, 7, 0x00010001ff0301,
      "pages beyond the end of RAM block '/rom@etc/acpi/tables' are named" },
};

static void test_refused(gconstpointer data)
{
    const Refused *r = data;
    BGOptions options = { .keep_log = true };
    Loader *l = loader_new(&options);
    g_autofree char *messages = NULL;

    put_record(l, MAP, r->id, r->size);
    put_be(l, r->bytes, 4);
    put_be(l, r->chunk, 7);
    load_all(l);
    messages = bg_log(l->g);
    if (!strstr(messages, r->message)) {
        g_error("no '%s' in: %s", r->message, messages);
    }
    bg_quit(l->g);
    loader_free(l);
}

/* ---- Turns ---- */

#define MANY_RECORDS 100000

/*
 * A map, or a word, in very many small records, each of which takes next to no
 * time: the main loop runs now and then, but not for each of them.
 */
static void test_many_records(gconstpointer data)
{
    RecordKind kind = GPOINTER_TO_INT(data);
    BGOptions options = { };
    Loader *l = loader_new(&options);
    uint64_t turns;
    uint32_t i;

    for (i = 0; i < MANY_RECORDS; i++) {
        put_record(l, kind, "ram0", RAM_SIZE);
        put_page(l, 0x1000 + 2 * (i % 0x1000));
    }
    load_all(l);
    g_assert_cmpuint(bg_map_pages(l->g, NULL), ==, kind == MAP);
    bg_quit(l->g);
    g_assert_cmpuint(count_lines(l->log, "skip_arrival_word "), ==,
                     kind == WORD ? MANY_RECORDS : 0);
    turns = count_lines(l->log, "skip_bql_begin arrival");
    g_test_message("%" PRIu64 " turns for %d records", turns, MANY_RECORDS);
    g_assert_cmpuint(turns, ==, count_lines(l->log, "skip_bql_end arrival"));
    g_assert_cmpuint(turns, >=, 3);
    g_assert_cmpuint(turns, <=, MANY_RECORDS / 8);
    loader_free(l);
}

/*
 * An old file of huge pages, of a terabyte, for memory of virtio-mem: nobody
 * empties that in one go.  It is sparse, so that it takes no huge page.
 */
static void test_virtio_mem_turns(void)
{
    g_autofree char *dir = NULL;
    g_autofree char *file = NULL;
    g_autofree char *machine = NULL;
    BGOptions options = { .no_device = true };
    uint64_t turns;
    bool mounted;
    Loader *l;

    if (!g_test_subprocess()) {
        hm_test_on_hugetlbfs(0);
        return;
    }
    dir = hm_find_hugetlbfs(&mounted);
    g_assert_false(mounted);
    file = hm_temp_path(dir, "used");
    machine = g_strdup_printf(
        "-machine pc,memory-backend=ram0 -m 64M,slots=2,maxmem=2T "
        "-cpu max,vendor=GenuineIntel,phys-bits=46 "
        "-object memory-backend-ram,id=ram0,size=64M "
        "-object memory-backend-file,id=vm-ram,size=1T,share=on,"
        "reserve=off,mem-path=%s "
        "-device virtio-mem-pci,id=vm0,addr=7,memdev=vm-ram,requested-size=0",
        file);
    options.machine_args = machine;
    l = loader_new(&options);
    put_record(l, EMPTY, VM_ID, TiB);
    load_all(l);
    bg_quit(l->g);
    g_assert_cmpuint(count_lines(l->log, "skip_arrival_empty " VM_ID), ==, 1);
    turns = count_lines(l->log, "skip_bql_begin arrival");
    g_test_message("%" PRIu64 " turns for 1 TiB", turns);
    g_assert_cmpuint(turns, >=, 3);
    unlink(file);
    loader_free(l);
}

/* ---- Memory of virtio-mem that cannot be discarded ---- */

#define VM_BLOCKS (VM_SIZE / VM_BLOCK)
#define RAMFS_ENV "SKIP_DROP_TEST_RAMFS"

/*
 * If all of it is plugged, what the file holds need not be discarded, but is
 * set to zero where that is told.  If a block is not, what the file holds there
 * cannot be discarded, and would show through once it is plugged.
 */
static void check_ramfs(const char *name, bool used, int plugged)
{
    static const char *const unpopulated[] = { "skip-unpopulated", NULL };
    g_autofree char *path = hm_temp_path(getenv(RAMFS_ENV), name);
    g_autofree char *file = g_strdup_printf(
        VM_ARGS("memory-backend-file,share=on,mem-path=%s",
                "requested-size=32M"), path);
    BGOptions options = {
        .args = VM_ARGS("memory-backend-memfd", "requested-size=32M"),
        .capabilities = unpopulated,
    };
    BGuest *g = bg_start_driven(&options), *dest;

    if (used) {
        hm_make_file(path, VM_SIZE, 0, VM_SIZE);
    }
    options.args = file;
    dest = plugged == VM_BLOCKS ? bg_start_dest(&options)
                                : bg_start_failing_dest(&options);
    vm_driver_start(g->qts);
    g_assert_true(vm_plug(g->qts, HM_HIGH_START, plugged, true));
    bg_fill(g, HM_HIGH_START, VM_SIZE / 2, 9);
    if (plugged == VM_BLOCKS) {
        bg_migrate(g, dest);
        g_assert_cmpuint(vm_plugged_size(dest->qts), ==, VM_SIZE);
        rb_assert_same(g, dest);
        quit(g, dest);
    } else {
        bg_migrate_start(g, dest);
        bg_wait_status(g, "failed", WAIT_SECONDS);
        bg_quit_failed(dest, "cannot be emptied");
        bg_quit(g);
    }
}

/* A file system that cannot punch holes */
static void test_ramfs(void)
{
    g_autofree char *dir = hm_temp_path(g_get_tmp_dir(), "ramfs");

    if (g_test_subprocess()) {
        check_ramfs("empty", false, VM_BLOCKS);
        check_ramfs("plugged", true, VM_BLOCKS);
        check_ramfs("unplugged", true, VM_BLOCKS - 1);
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
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autofree char *args = g_strdup_printf(
        "-object memory-backend-file,id=read-only,size=16M,"
        "share=on,readonly=on,mem-path=%s "
        "-device nvdimm,memdev=read-only,unarmed=on", file);
    BGOptions options = { .args = args, .machine_props = "nvdimm=on" };
    Loader *l;

    hm_make_file(file, READ_ONLY_SIZE, 0, READ_ONLY_SIZE);
    g_assert_true(g_file_get_contents(file, &before, NULL, NULL));
    l = loader_new(&options);
    put_record(l, GPOINTER_TO_INT(data), "read-only", READ_ONLY_SIZE);
    put_page(l, 1);
    load_all(l);
    g_assert_cmpuint(bg_map_pages(l->g, NULL), ==, 0);
    bg_quit(l->g);
    g_assert_true(g_file_get_contents(file, &after, NULL, NULL));
    g_assert_cmpmem(after, READ_ONLY_SIZE, before, READ_ONLY_SIZE);
    unlink(file);
    loader_free(l);
}

/* ---- RAM blocks that go ---- */

/* A guest that was asked for its DIMM, some of which is in the balloon */
static BGuest *start_with_dimm(const BGOptions *options)
{
    BGuest *g = bg_start_driven(options);

    bg_fill(g, HM_HIGH_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, HM_HIGH_START + 32 * MiB, 16 * MiB);
    bg_request_range(g, BG_INFLATE, 32 * MiB, 8 * MiB);
    qtest_qmp_device_del_send(g->qts, "dimm0");
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    return g;
}

/*
 * The guest ejects a DIMM while it is being migrated.  What the migration knew
 * of its pages goes with it.
 */
static void test_ejected_on_source(void)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *args = trace_args(log, HM_DIMM("memory-backend-ram"));
    BGOptions options = { .args = args };
    BGuest *g = start_with_dimm(&options);
    uint64_t blocks;

    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "skip-unpopulated", true);
    bg_migrate_uri(g, "exec:cat > /dev/null");
    bg_migrate_wait_pass(g, 1);
    bg_eject_dimm(g, true);
    BG_WAIT(count_lines(log, "skip_pass_pages_free") >= 1);
    blocks = count_lines(log, "skip_pass_pages_new");
    g_assert_cmpuint(blocks, >, 1);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    bg_wait_status(g, "cancelled", WAIT_SECONDS);
    BG_WAIT(count_lines(log, "skip_pass_pages_free") >= blocks);
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
    static const char *const balloon[] = { "skip-balloon", NULL };
    BGOptions options = { .args = HM_DIMM("memory-backend-ram"),
                          .capabilities = balloon };
    BGuest *dest = bg_start_dest(&options);
    BGuest *g = start_with_dimm(&options);

    bg_migrate_start(g, dest);
    bg_wait_status(g, "active", WAIT_SECONDS);
    bg_eject_dimm(g, GPOINTER_TO_INT(data));
    bg_migrate_limit(g, 0);
    /* What was yet to be sent of it counts as if it still were. */
    bg_set_parameters(g, "{ 'downtime-limit': 2000000 }");
    bg_migrate_wait(g, dest);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, 8 * MiB / BALLOON_PAGE);
    quit(g, dest);
}

static void send_all(int fd, Loader *l)
{
    g_assert_cmpint(send(fd, l->stream->data, l->stream->len, MSG_NOSIGNAL),
                    ==, l->stream->len);
    g_byte_array_set_size(l->stream, 0);
}

/*
 * A DIMM goes on the destination, while the name of its RAM block has arrived
 * once more, and what is said of it has not.
 */
static void test_gone_on_destination(gconstpointer data)
{
    RecordKind kind = GPOINTER_TO_INT(data);
    BGOptions options = { .args = HM_DIMM("memory-backend-ram") };
    Loader *l = loader_new(&options);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    load_from(l, "unix");
    g_strlcpy(addr.sun_path, l->path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    put_record(l, kind, "dimm-ram", HM_DIMM_SIZE);
    put_page(l, 2);
    put_record(l, kind, "dimm-ram", HM_DIMM_SIZE);
    send_all(fd, l);
    BG_WAIT(count_lines(l->log, "qemu_loadvm_state_section_startfull") >= 1);

    qtest_qmp_device_del_send(l->g->qts, "dimm0");
    bg_eject_dimm(l->g, true);
    put_page(l, 1);
    put_be(l, LAST, 1);
    send_all(fd, l);
    bg_wait_status(l->g, "failed", WAIT_SECONDS);
    g_assert_cmpuint(bg_map_pages(l->g, NULL), ==, 0);
    close(fd);
    bg_quit(l->g);
    loader_free(l);
}

static void add(const char *name, RecordKind kind, GTestDataFunc func)
{
    bg_add_test(GINT_TO_POINTER(kind), func, PREFIX "%s/%s", name,
                kind == MAP ? "map" : "word");
}

int main(int argc, char **argv)
{
    RecordKind kind;
    int i;

    bg_init(&argc, &argv);
    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        bg_add_test(&refused[i], test_refused, PREFIX "stream/%s",
                    refused[i].name);
    }
    qtest_add_func(PREFIX "huge-parts", test_huge_parts);
    qtest_add_func(PREFIX "huge-halves", test_huge_halves);
    qtest_add_func(PREFIX "no-zero-page", test_no_zero_page);
    qtest_add_func(PREFIX "turns/virtio-mem", test_virtio_mem_turns);
    qtest_add_func(PREFIX "virtio-mem/ramfs", test_ramfs);
    for (kind = MAP; kind <= WORD; kind++) {
        add("turns/many-records", kind, test_many_records);
        add("read-only", kind, test_read_only);
        add("gone/destination", kind, test_gone_on_destination);
    }
    qtest_add_func(PREFIX "gone/source/pages", test_ejected_on_source);
    bg_add_test(GINT_TO_POINTER(true), test_ejected_with_map,
                PREFIX "gone/source/map/removed");
    bg_add_test(NULL, test_ejected_with_map, PREFIX "gone/source/map/ejected");
    return g_test_run();
}
