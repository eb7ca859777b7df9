/*
 * What no other test noticed when it was broken on purpose, see tests/mutants
 * and docs/how-to-test.md in the repository of skip-balloon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/vfs.h>
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "host-memory.h"
#include "standard-headers/linux/virtio_balloon.h"

#define RAM_SIZE (24 * MiB)

/* Two stretches of data, each half a huge page; the rest is not populated. */
#define DATA_START (8 * MiB)
#define DATA_SIZE (1 * MiB)
#define MORE_START (13 * MiB)

#define WAIT_SECONDS 30

#define EXT4_MAGIC 0xef53

static const char *const caps[] = {
    "skip-balloon", "skip-unpopulated", NULL
};

static BGuest *start_source(BGBackend backend, bool multifd)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = RAM_SIZE,
        .multifd = multifd,
        .capabilities = caps,
    };
    BGuest *g = bg_start(&options);

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(g, DATA_START, DATA_SIZE, 1);
    bg_fill(g, MORE_START, DATA_SIZE, 2);
    return g;
}

static void assert_same(BGuest *a, BGuest *b)
{
    g_autofree uint8_t *in_a = g_malloc(RAM_SIZE);
    g_autofree uint8_t *in_b = g_malloc(RAM_SIZE);

    bg_read(a, BG_RAM_START, in_a, RAM_SIZE - BG_RAM_START);
    bg_read(b, BG_RAM_START, in_b, RAM_SIZE - BG_RAM_START);
    g_assert_cmpint(memcmp(in_a, in_b, RAM_SIZE - BG_RAM_START), ==, 0);
}

static void start_and_pause(BGuest *g, BGuest *dest)
{
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
}

static void go_on(BGuest *g, BGuest *dest)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(g, dest);
}

/* ---- Zeroes that are populated, so that they are sent ---- */

/* What has been sent becomes zero: the zeroes are loaded over it. */
static void test_later(gconstpointer data)
{
    BGuest *g = start_source(BG_ANON, data != NULL);
    BGuest *dest = bg_start_incoming(g);

    start_and_pause(g, dest);
    g_assert_false(bg_is_zero(dest, DATA_START));
    qtest_memset(g->qts, DATA_START, 0, DATA_SIZE);
    go_on(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, DATA_START, DATA_SIZE), ==, 0);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* The destination holds something of an earlier use. */
static void test_old(gconstpointer data)
{
    g_autofree char *path = NULL;
    g_autofree uint8_t *junk = g_malloc(RAM_SIZE);
    BGuest *g, *dest;
    BGuest like;

    if (!hm_tmpfs_or_skip()) {
        return;
    }
    path = hm_temp_path(hm_find_tmpfs(), "junk");
    memset(junk, 'x', RAM_SIZE);
    g_assert_true(g_file_set_contents(path, (char *)junk, RAM_SIZE, NULL));
    g = start_source(BG_ANON, data != NULL);
    qtest_memset(g->qts, DATA_START, 0, DATA_SIZE);
    like = *g;
    like.options.ram_file = path;
    dest = bg_start_incoming(&like);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/* ---- Huge pages ---- */

/* Does the mapping that @g has its memory in have a flag in smaps? */
static bool has_flag(BGuest *g, const char *flag)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps",
                                            (int)qtest_pid(g->qts));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    bool is_ours = false, has = false;
    int i;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        uint64_t start, end;

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            is_ours = start < g->hva + RAM_SIZE && end > g->hva;
        } else if (is_ours && g_str_has_prefix(lines[i], "VmFlags:")) {
            has |= !!strstr(lines[i], flag);
        }
    }
    return has;
}

/* Next to what is told no huge page comes into being, but later again. */
static void test_huge_pages(void)
{
    BGuest *g = start_source(BG_ANON, false);
    BGuest *dest;
    uint64_t populated;

    if (!has_flag(g, " hg")) {
        g_test_skip("QEMU does not ask for huge pages");
        bg_quit(g);
        return;
    }
    dest = bg_start_incoming(g);
    bg_request_range(g, BG_INFLATE, DATA_START + DATA_SIZE / 2, DATA_SIZE / 2);
    populated = bg_count_populated(g, MORE_START - MiB, 2 * MiB);
    start_and_pause(g, dest);
    g_assert_true(has_flag(dest, " nh"));
    g_assert_cmpuint(bg_count_populated(dest, DATA_START + DATA_SIZE / 2,
                                        DATA_SIZE / 2), ==, 0);
    go_on(g, dest);
    g_assert_false(has_flag(dest, " nh"));
    g_assert_cmpuint(bg_count_populated(dest, MORE_START - MiB, 2 * MiB), <=,
                     populated);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- What has to stay, and what need not ---- */

/* Given back when it has been sent: parts of huge pages, and whole ones */
#define PARTS_START (DATA_START + DATA_SIZE / 2)
#define PARTS_SIZE (5 * MiB)

static BGuest *start_destination(const BGuest *g, BGBackend backend,
                                 const char *machine_args, const char *args)
{
    BGuest like = *g;

    like.options.backend = backend;
    like.options.machine_args = machine_args;
    like.options.args = args;
    return bg_start_incoming(&like);
}

static char *machine_args(const char *memory)
{
    return g_strdup_printf("-machine pc,memory-backend=ram0 -m 24M,slots=2,"
                           "maxmem=2G -object %s,id=ram0,size=24M", memory);
}

/* What the destination says on stderr goes to *@messages. */
static void check_given_back_late(BGBackend backend, const char *args,
                                  char **messages)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    BGuest *g = start_source(BG_ANON, false), *dest;
    int saved;

    bg_fill(g, DATA_START, 8 * MiB, 3);
    saved = bg_divert_stderr(log);
    dest = start_destination(g, backend, NULL, args);
    bg_restore_stderr(saved);
    start_and_pause(g, dest);
    bg_request_range(g, BG_INFLATE, PARTS_START, PARTS_SIZE);
    go_on(g, dest);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
    g_assert_true(g_file_get_contents(log, messages, NULL, NULL));
    unlink(log);
}

static void test_parts(void)
{
    g_autofree char *messages = NULL;

    if (bg_free_huge_pages() < RAM_SIZE / HM_HUGE_SIZE) {
        g_test_skip("there are no huge pages");
        return;
    }
    check_given_back_late(BG_HUGETLB, NULL, &messages);
}

/* Nobody tries to let go of locked memory. */
static void test_locked(void)
{
    g_autofree char *messages = NULL;

    check_given_back_late(BG_ANON, "-overcommit mem-lock=on", &messages);
    g_assert_null(strstr(messages, "ram_block_discard_range"));
}

static void test_locked_source(void)
{
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = RAM_SIZE,
        .args = "-overcommit mem-lock=on",
    };
    BGuest *g = bg_start(&options);
    QDict *info;

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 0);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': 'exec:cat >/dev/null' } }");
    bg_wait_status(g, "completed", WAIT_SECONDS);
    info = bg_skip_info(g);
    g_assert_cmpstr(qdict_get_try_str(info, "reason"), ==,
                    "discard-inhibited");
    qobject_unref(info);
    bg_quit(g);
}

static void test_preallocated(void)
{
    g_autofree char *args = machine_args("memory-backend-ram,prealloc=on");
    BGuest *g = start_source(BG_ANON, false);
    BGuest *dest = start_destination(g, BG_ANON, args, NULL);

    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, BG_RAM_START,
                                        RAM_SIZE - BG_RAM_START), ==,
                     (RAM_SIZE - BG_RAM_START) / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(g);
}

/* Has the file nothing from  to its end? */
static bool ends_empty(const char *path, off_t start)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t data = lseek(fd, start, SEEK_DATA);
    bool is_empty = data < 0 && errno == ENXIO;

    close(fd);
    return is_empty;
}

/*
 * A template, of which a MiB is not empty.  Another one has been written to:
 * there is no need for copies where the template is zero.
 */
static void test_template(void)
{
    struct statfs fs;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "template");
    g_autofree char *memory = g_strdup_printf(
        "memory-backend-file,share=off,mem-path=%s", path);
    g_autofree char *args = machine_args(memory);
    g_autofree char *bytes = g_malloc(MiB);
    BGuest *g, *dest;

    if (statfs(g_get_tmp_dir(), &fs) || fs.f_type != EXT4_MAGIC) {
        g_test_skip("the folder for temporary files is not on ext4");
        return;
    }
    memset(bytes, 'x', MiB);
    g_assert_true(g_file_set_contents(path, bytes, MiB, NULL));
    g_assert_cmpint(truncate(path, RAM_SIZE), ==, 0);

    g = start_source(BG_ANON, false);
    dest = start_destination(g, BG_ANON, args, NULL);
    g_assert_cmpint(pwrite(dest->mem_fd, bytes, MiB, dest->hva + 16 * MiB), ==,
                    MiB);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_true(ends_empty(path, DATA_START + 6 * MiB));
    g_assert_cmpuint(bg_count_populated(dest, 16 * MiB, MiB), ==, 0);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/*
 * Memory that has to stay, of a host that has no cachestat(): to read what is
 * not populated, to see whether it is zero, would populate it.
 */
static void test_before_6_5(void)
{
    BGuest *g, *dest;

    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
        return;
    }
    g = start_source(BG_ANON, false);
    g_setenv("HOST_LIAR_REFUSE", "cachestat", true);
    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    dest = start_destination(g, BG_MEMFD, NULL,
                             "-overcommit mem-lock=on-fault");
    g_unsetenv("LD_PRELOAD");
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, 17 * MiB, 7 * MiB), ==, 0);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Told, sent, and given back ---- */

/* Not populated at first, and used, and given back when it has been sent */
#define USED_START (18 * MiB)
#define USED_SIZE (64 * KiB)

/*
 * Bytes per second, and bytes: what is told first has been told by then, and
 * all else takes two seconds.  With FAST, USED_SIZE is too much for downtime.
 */
#define SLOW (1 * MiB)
#define FAST (16 * MiB)
#define SENT_SOON (128 * KiB)

static void test_told_twice(gconstpointer data)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    BGuest *g = start_source(BG_ANON, data != NULL);
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, SLOW);
    bg_migrate_start(g, dest);
    bg_migrate_wait_sent(g, SENT_SOON);
    bg_fill(g, USED_START, USED_SIZE, 4);
    bg_migrate_limit(g, FAST);
    while (bg_is_zero(dest, USED_START + USED_SIZE - BALLOON_PAGE)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    bg_migrate_limit(g, 0);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    bg_request_range(g, BG_INFLATE, USED_START, USED_SIZE);
    go_on(g, dest);
    assert_same(g, dest);
    bg_assert_same_map(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Sent, and given back here and there ---- */

static void give_back_scattered(BGuest *g, uint64_t start, uint64_t size)
{
    uint64_t at;

    for (at = start; at < start + size; at += 2 * BALLOON_PAGE) {
        bg_request_range(g, BG_INFLATE, at, BALLOON_PAGE);
    }
}

/* The file has the pages, and must not say so. */
static void test_file(void)
{
    static const char *const file_caps[] = {
        "skip-balloon", "skip-unpopulated", "mapped-ram", NULL
    };
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "file");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BGuest *g = start_source(BG_ANON, false), *dest;
    BGOptions options = g->options;
    int i;

    options.args = "-incoming defer";
    dest = bg_start(&options);
    for (i = 0; file_caps[i]; i++) {
        bg_set_capability(g, file_caps[i], true);
        bg_set_capability(dest, file_caps[i], true);
    }
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, 0);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    give_back_scattered(g, DATA_START, 64 * BALLOON_PAGE);
    go_on(g, NULL);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    bg_wait_status(dest, "completed", WAIT_SECONDS);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

/*
 * Given back as a whole before its turn, and the first page is used all the
 * same: that one is sent, and the others are not read.
 */
static void test_turn(void)
{
    const uint64_t rest = DATA_SIZE - BALLOON_PAGE;
    BGuest *g = start_source(BG_MEMFD, false);
    BGuest *dest = bg_start_incoming(g);

    bg_migrate_limit(g, SLOW);
    bg_migrate_start(g, dest);
    bg_migrate_wait_sent(g, SENT_SOON);
    g_assert_true(bg_is_zero(dest, MORE_START));
    bg_request_range(g, BG_INFLATE, MORE_START, DATA_SIZE);
    bg_fill(g, MORE_START, BALLOON_PAGE, 5);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    g_assert_cmpuint(bg_count_populated(g, MORE_START + BALLOON_PAGE, rest),
                     ==, 0);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* The same, but the page is used when all that was given back is skipped. */
static void test_turn_is_over(void)
{
    BGuest *g = start_source(BG_ANON, false);
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, SLOW);
    bg_migrate_start(g, dest);
    bg_migrate_wait_sent(g, SENT_SOON);
    g_assert_true(bg_is_zero(dest, MORE_START));
    bg_request_range(g, BG_INFLATE, MORE_START, DATA_SIZE);
    bg_migrate_limit(g, 0);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    bg_fill(g, MORE_START + DATA_SIZE / 2, BALLOON_PAGE, 5);
    go_on(g, dest);
    assert_same(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Owed, and forgotten ---- */

/* Given back in postcopy, when nothing can be let go of */
#define OWED_START (18 * MiB)
#define OWED_SIZE (64 * KiB)

static void limit_postcopy(BGuest *g, int bytes)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'max-postcopy-bandwidth': %d } }", bytes);
}

/*
 * A reset of the device takes away what is owed: the guest uses it then, while
 * it gives back what is below and above.
 */
static void test_owed(void)
{
    static const char *const postcopy[] = {
        "skip-balloon", "skip-unpopulated", "postcopy-ram", NULL
    };
    const uint32_t features = 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST;
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    BGuest *g = start_source(BG_ANON, false), *dest;
    uint64_t at;

    g->options.capabilities = postcopy;
    dest = bg_start_incoming(g);
    bg_migrate_limit(g, SLOW);
    limit_postcopy(g, 128 * KiB);
    bg_migrate_start(g, dest);
    bg_migrate_wait_sent(g, SENT_SOON);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-start-postcopy' }");
    qtest_qmp_eventwait(dest->qts, "RESUME");
    bg_driver_start(dest, features);
    bg_request_range(dest, BG_INFLATE, OWED_START, OWED_SIZE);
    bg_driver_start(dest, features);
    bg_fill(dest, OWED_START, OWED_SIZE, 6);
    bg_request_range(dest, BG_INFLATE, OWED_START - MiB, OWED_SIZE);
    bg_request_range(dest, BG_INFLATE, OWED_START + MiB, OWED_SIZE);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, 0);
    limit_postcopy(g, 0);
    bg_wait_status(g, "completed", WAIT_SECONDS);
    while (bg_map_pages(dest, NULL) < 2 * OWED_SIZE / BALLOON_PAGE) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    for (at = OWED_START; at < OWED_START + OWED_SIZE; at += BALLOON_PAGE) {
        g_assert_false(bg_is_zero(dest, at));
    }
    bg_quit(dest);
    bg_quit(g);
}

/* ---- What is skipped, and what is not ---- */

/* With skip-balloon alone what was never used is sent, here and there too. */
static void test_balloon_alone(void)
{
    BGOptions options = { .backend = BG_ANON, .ram_size = RAM_SIZE };
    BGuest *g = bg_start(&options), *dest;
    int64_t pages;

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    give_back_scattered(g, USED_START, 2 * MiB);
    bg_request_range(g, BG_INFLATE, USED_START + 2 * MiB, MiB);
    bg_set_capability(g, "skip-balloon", true);
    dest = bg_start_incoming(g);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    pages = bg_migrate_stat(g, "ram", "normal") +
            bg_migrate_stat(g, "ram", "duplicate") +
            bg_skip_stat(g, "skipped-pages");
    g_assert_cmpint(pages, >=, RAM_SIZE / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(g);
}

/* The firmware is not the guest's to give back. */
static void test_rom(void)
{
    const uint64_t at = (UINT64_C(4) << 30) - BALLOON_PAGE;
    BGOptions options = { .backend = BG_ANON, .ram_size = RAM_SIZE };
    BGuest *g = bg_start(&options);
    uint8_t before[BALLOON_PAGE], after[BALLOON_PAGE];

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    qtest_memread(g->qts, at, before, sizeof(before));
    bg_request_range(g, BG_INFLATE, at, BALLOON_PAGE);
    qtest_memread(g->qts, at, after, sizeof(after));
    g_assert_false(buffer_is_zero(before, sizeof(before)));
    g_assert_cmpint(memcmp(before, after, sizeof(before)), ==, 0);
    bg_quit(g);
}

/* ---- Streams that nobody has sent ---- */

static void put(GByteArray *a, uint64_t value, int size)
{
    while (size-- > 0) {
        uint8_t byte = value >> (8 * size);

        g_byte_array_append(a, &byte, 1);
    }
}

static void put_string(GByteArray *a, const char *string)
{
    put(a, strlen(string), 1);
    g_byte_array_append(a, (const uint8_t *)string, strlen(string));
}

/* The beginning of a stream, of the section, and of a map of @id */
static GByteArray *begin_stream(const char *id, uint64_t pages, uint32_t size)
{
    GByteArray *a = g_byte_array_new();

    g_byte_array_append(a, (const uint8_t *)"QEVM", 4);
    put(a, 3, 4);
    /* Section: start, number, name, instance, version */
    put(a, 1, 1);
    put(a, 99, 4);
    put_string(a, "skip");
    put(a, 0, 4);
    put(a, 2, 4);
    /* Version, START with a map, page size; map, RAM block, bytes */
    put(a, 2, 4);
    put(a, 5, 4);
    put(a, BALLOON_PAGE, 4);
    put(a, 1, 1);
    put_string(a, id);
    put(a, pages, 8);
    put(a, size, 4);
    return a;
}

/* QEMU refuses the stream, with this message. */
static void check_refused(GByteArray *stream, const char *message)
{
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = RAM_SIZE,
        .args = "-global migration.send-configuration=off -incoming defer",
    };
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *uri = g_strdup_printf("exec:cat %s", path);
    g_autofree char *messages = NULL;
    int saved;
    BGuest *g;

    g_assert_true(g_file_set_contents(path, (char *)stream->data, stream->len,
                                      NULL));
    saved = bg_divert_stderr(log);
    g = bg_start(&options);
    bg_restore_stderr(saved);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming',"
        " 'arguments': { 'uri': %s, 'exit-on-error': false } }", uri);
    bg_wait_status(g, "failed", WAIT_SECONDS);
    bg_quit(g);
    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    if (!strstr(messages, message)) {
        g_error("no '%s' in: %s", message, messages);
    }
    unlink(path);
    unlink(log);
    g_byte_array_unref(stream);
}

/* One byte more than the buffer that it is read into has */
static void test_record_size(void)
{
    GByteArray *a = begin_stream("ram0", RAM_SIZE / BALLOON_PAGE, 65537);

    put(a, 0, 1);
    check_refused(a, "65537 bytes for RAM block 'ram0' are too many");
}

/* The last page of a RAM block that has 2 MiB at most, and 128 KiB now */
static void test_beyond(void)
{
    const char *id = "/rom@etc/acpi/tables";
    GByteArray *a = begin_stream(id, 512, 7);

    /* No chunk before, one, of runs, of which there is one; 511, and 1 */
    put(a, 0x00010001ff0301, 7);
    check_refused(a, "pages beyond the end of RAM block "
                  "'/rom@etc/acpi/tables' are named");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("skip-mutants/zeroes/later", NULL, test_later);
    qtest_add_data_func("skip-mutants/zeroes/later-multifd", "", test_later);
    qtest_add_data_func("skip-mutants/zeroes/old", NULL, test_old);
    qtest_add_data_func("skip-mutants/zeroes/old-multifd", "", test_old);
    qtest_add_func("skip-mutants/huge-pages", test_huge_pages);
    qtest_add_func("skip-mutants/parts", test_parts);
    qtest_add_func("skip-mutants/locked", test_locked);
    qtest_add_func("skip-mutants/locked-source", test_locked_source);
    qtest_add_func("skip-mutants/preallocated", test_preallocated);
    qtest_add_func("skip-mutants/template", test_template);
    qtest_add_func("skip-mutants/before-6.5", test_before_6_5);
    qtest_add_data_func("skip-mutants/told-twice", NULL, test_told_twice);
    qtest_add_data_func("skip-mutants/told-twice-multifd", "",
                        test_told_twice);
    qtest_add_func("skip-mutants/file", test_file);
    qtest_add_func("skip-mutants/turn", test_turn);
    qtest_add_func("skip-mutants/turn-is-over", test_turn_is_over);
    qtest_add_func("skip-mutants/owed", test_owed);
    qtest_add_func("skip-mutants/balloon-alone", test_balloon_alone);
    qtest_add_func("skip-mutants/rom", test_rom);
    qtest_add_func("skip-mutants/stream/record-size", test_record_size);
    qtest_add_func("skip-mutants/stream/beyond", test_beyond);
    return g_test_run();
}
