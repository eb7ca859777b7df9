/*
 * Tests of migration capability skip-unpopulated
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_ring.h"
#include "balloon-guest.h"

#define CAPABILITY "skip-unpopulated"
#define ROUNDS_ENV "SKIP_UNPOPULATED_TEST_ROUNDS"
#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define REPORTING (1U << VIRTIO_BALLOON_F_REPORTING)
#define MiB (UINT64_C(1) << 20)
#define HUGE_SIZE (2 * MiB)
#define HUGE_SYSFS "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define TMPFS_MAGIC_NUMBER 0x01021994

/* What a test's guest has, unless it says otherwise */
#define RAM_SIZE (64 * MiB)

/* Bytes per second: a page is sent ten times a second, and not more. */
#define NEXT_TO_NOTHING 10

/* Nothing here depends on time, but a test that hangs has to end. */
#define HANG_SECONDS 120

static bool is_alpha(void)
{
    return !strcmp(qtest_get_arch(), "alpha");
}

static uint64_t target_page(void)
{
    return is_alpha() ? 2 * BALLOON_PAGE : BALLOON_PAGE;
}

static char *temp_path(const char *dir, const char *name)
{
    static int n;

    return g_strdup_printf("%s/skip-unpopulated-%d-%d-%s", dir, getpid(), n++,
                           name);
}

static bool have_stock(void)
{
    if (g_getenv(BG_STOCK_ENV)) {
        return true;
    }
    g_test_skip(BG_STOCK_ENV " is not set");
    return false;
}

/* A tmpfs, or NULL */
static const char *find_tmpfs(void)
{
    struct statfs fs;

    return !statfs("/dev/shm", &fs) && fs.f_type == TMPFS_MAGIC_NUMBER &&
           !access("/dev/shm", W_OK) ? "/dev/shm" : NULL;
}

static const char *tmpfs_or_skip(void)
{
    if (!find_tmpfs()) {
        g_test_skip("/dev/shm is no tmpfs to write to");
    }
    return find_tmpfs();
}

/*
 * Run the test anew in a subprocess, for what was set up on the host to be
 * undone whatever happens to it.  Returns whether it passed.
 */
static bool passes_in_subprocess(void)
{
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    return g_test_trap_has_passed();
}

/* ---- Huge pages ---- */

static uint64_t read_number(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL)
           ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static void write_number(const char *path, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64 "\n", value);
    FILE *file = fopen(path, "w");

    if (file) {
        fputs(text, file);
        fclose(file);
    }
}

/*
 * See to it that there are huge pages for @guests.  Returns how many there
 * were, for give_back_huge_pages(); skips the test, and returns -1, if there
 * are not enough.
 */
static int64_t borrow_huge_pages(uint64_t guests)
{
    uint64_t needed = guests * RAM_SIZE / HUGE_SIZE;
    uint64_t before = read_number(HUGE_SYSFS "nr_hugepages");
    uint64_t unused = read_number(HUGE_SYSFS "free_hugepages");

    if (unused < needed) {
        write_number(HUGE_SYSFS "nr_hugepages", before + needed - unused);
    }
    if (read_number(HUGE_SYSFS "free_hugepages") < needed) {
        g_autofree char *message = g_strdup_printf(
            "fewer than %" PRIu64 " free huge pages of 2 MiB", needed);

        write_number(HUGE_SYSFS "nr_hugepages", before);
        g_test_skip(message);
        return -1;
    }
    return before;
}

static void give_back_huge_pages(int64_t before)
{
    if (read_number(HUGE_SYSFS "nr_hugepages") != before) {
        write_number(HUGE_SYSFS "nr_hugepages", before);
    }
}

/* Run the test in a subprocess, with huge pages for two guests. */
static void test_with_huge_pages(void)
{
    int64_t lent = borrow_huge_pages(2);

    if (lent >= 0) {
        if (!passes_in_subprocess()) {
            g_test_fail();
        }
        give_back_huge_pages(lent);
    }
}

/* ---- What a migration tells ---- */

static QDict *query_migrate(BGuest *g)
{
    return qtest_qmp_assert_success_ref(g->qts,
                                        "{ 'execute': 'query-migrate' }");
}

/* A number in a member of query-migrate */
static int64_t migrate_stat(BGuest *g, const char *member, const char *name)
{
    QDict *info = query_migrate(g);
    QDict *dict = qdict_get_qdict(info, member);
    int64_t value;

    g_assert_nonnull(dict);
    value = qdict_get_int(dict, name);
    qobject_unref(info);
    return value;
}

static int64_t skipped_pages(BGuest *g)
{
    int64_t pages = migrate_stat(g, CAPABILITY, "skipped-pages");

    g_assert_cmpint(migrate_stat(g, CAPABILITY, "skipped-bytes"), ==,
                    pages * target_page());
    return pages;
}

static int64_t zero_pages(BGuest *g)
{
    return migrate_stat(g, CAPABILITY, "zero-pages");
}

static gint64 hang_deadline(void)
{
    return g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
}

static void wait_status(BGuest *g, const char *wanted)
{
    gint64 end = hang_deadline();
    bool reached = false;

    while (!reached) {
        QDict *info = query_migrate(g);
        const char *status = qdict_get_try_str(info, "status") ?: "none";

        reached = !strcmp(status, wanted);
        if (!reached && !strcmp(status, "failed")) {
            g_error("migration failed: %s",
                    qdict_get_try_str(info, "error-desc") ?: "");
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* Is block @id left alone, and why?  NULL if it is not. */
static char *left_alone(BGuest *g, const char *id, uint64_t *size)
{
    QDict *info = query_migrate(g);
    QDict *skip = qdict_get_qdict(info, CAPABILITY);
    char *reason = NULL;
    QListEntry *entry;

    g_assert_nonnull(skip);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(skip, "left-alone"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(value, "id"), id)) {
            g_assert_null(reason);
            reason = g_strdup(qdict_get_str(value, "reason"));
            *size = qdict_get_int(value, "size");
        }
    }
    qobject_unref(info);
    return reason;
}

static void assert_left_alone(BGuest *g, const char *id, uint64_t size,
                              const char *expected)
{
    uint64_t told = 0;
    g_autofree char *reason = left_alone(g, id, &told);

    g_assert_cmpstr(reason, ==, expected);
    g_assert_cmpuint(told, ==, size);
}

/* ---- Migrations ---- */

static void set_migrate_parameter(BGuest *g, const char *name,
                                  const char *value)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters',"
        " 'arguments': { %s: %s } }", name, value);
}

static BGuest *start_destination(const BGOptions *options, bool capable)
{
    BGuest like = { .options = *options };
    BGuest *dest = bg_start_incoming(&like);

    if (capable) {
        bg_set_capability(dest, CAPABILITY, true);
    }
    return dest;
}

static void migrate(BGuest *g, BGuest *dest)
{
    bg_set_capability(g, CAPABILITY, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
}

/* Start a migration that is not over before migrate_finish(). */
static void migrate_begin(BGuest *g, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(g, CAPABILITY, true);
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, bandwidth);
    bg_migrate_start(g, dest);
}

static void migrate_finish(BGuest *g, BGuest *dest)
{
    bg_migrate_limit(g, 0);
    wait_status(g, "pre-switchover");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(g, dest);
    bg_set_capability(g, "pause-before-switchover", false);
}

static void wait_arrival(BGuest *dest, uint64_t addr)
{
    gint64 end = hang_deadline();

    while (bg_is_zero(dest, addr)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* ---- Memory ---- */

/* The content of all memory; populates what is shared */
static void assert_same_content(BGuest *a, BGuest *b)
{
    g_autofree uint8_t *in_a = g_malloc(MiB);
    g_autofree uint8_t *in_b = g_malloc(MiB);
    uint64_t at, i;

    for (at = 0; at < a->options.ram_size; at += MiB) {
        bg_read(a, at, in_a, MiB);
        bg_read(b, at, in_b, MiB);
        for (i = 0; i < MiB && memcmp(in_a, in_b, MiB); i++) {
            if (in_a[i] != in_b[i]) {
                g_error("address 0x%" PRIx64 ": 0x%02x on the source, 0x%02x "
                        "on the destination", at + i, in_a[i], in_b[i]);
            }
        }
    }
}

static void assert_zero(BGuest *g, uint64_t start, uint64_t length)
{
    uint64_t at;

    for (at = start; at < start + length; at += BALLOON_PAGE) {
        if (!bg_is_zero(g, at)) {
            g_error("address 0x%" PRIx64 " is not zero", at);
        }
    }
}

/* Is any part of the target page populated that the @i-th page belongs to? */
static bool any_of_page(const bool *populated, uint64_t i)
{
    uint64_t per_page = target_page() / BALLOON_PAGE;

    i -= i % per_page;
    return populated[i] || populated[i + per_page - 1];
}

/* Of all target pages populated in @after, something was so in @before. */
static void assert_none_populated(const bool *before, const bool *after,
                                  uint64_t size, const char *where)
{
    uint64_t i;

    for (i = 0; i < size / BALLOON_PAGE; i++) {
        if (after[i] && !any_of_page(before, i)) {
            g_error("address 0x%" PRIx64 " is populated on the %s",
                    i * BALLOON_PAGE, where);
        }
    }
}

/* Target pages of which no part is populated */
static uint64_t count_unpopulated(const bool *populated, uint64_t size)
{
    uint64_t i, n = 0;

    for (i = 0; i < size / BALLOON_PAGE; i += target_page() / BALLOON_PAGE) {
        n += !any_of_page(populated, i);
    }
    return n;
}

static bool *populated_of(BGuest *g)
{
    return bg_populated(g, 0, g->options.ram_size);
}

/* What may not be populated after a migration, was not before on the source */
static void assert_populated_as_before(BGuest *g, BGuest *dest,
                                       const bool *before)
{
    g_autofree bool *after = populated_of(g);
    g_autofree bool *there = populated_of(dest);

    assert_none_populated(before, after, g->options.ram_size, "source");
    assert_none_populated(before, there, g->options.ram_size, "destination");
}

/* Write here and there: edges, alternating pages, long runs. */
static void scatter(BGuest *g)
{
    uint64_t size = g->options.ram_size;
    uint64_t at;

    bg_fill(g, BG_RAM_START, 2 * MiB, 1);
    for (at = 8 * MiB; at < 10 * MiB; at += 2 * target_page()) {
        bg_fill(g, at, BALLOON_PAGE, 2);
    }
    for (at = 16 * MiB; at < 32 * MiB; at += 4 * MiB) {
        bg_fill(g, at - BALLOON_PAGE, 2 * BALLOON_PAGE, 3);
    }
    bg_fill(g, 40 * MiB + BALLOON_PAGE, 8 * MiB, 4);
    /* Populated, and zero */
    qtest_memset(g->qts, 52 * MiB, 0, MiB / 4);
    bg_fill(g, size - BALLOON_PAGE, BALLOON_PAGE, 5);
}

static BGuest *start_scattered(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    scatter(g);
    return g;
}

/* ---- All that is to be skipped is skipped, and nothing else ---- */

#define DIMM_SIZE (128 * MiB)
#define DIMM_START (UINT64_C(4) << 30)
#define DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                  "-device pc-dimm,id=dimm0,memdev=dimm-ram"

static void check_scatter_to(const BGOptions *options,
                             const BGOptions *dest_options, bool capable,
                             uint64_t more_unpopulated)
{
    BGuest *g = start_scattered(options);
    BGuest *dest = start_destination(dest_options, capable);
    g_autofree bool *before = populated_of(g);
    uint64_t unpopulated = count_unpopulated(before, g->options.ram_size);
    uint64_t populated = g->options.ram_size / target_page() - unpopulated;

    g_assert_cmpuint(unpopulated, >, 0);
    migrate(g, dest);
    g_assert_cmpint(skipped_pages(g), ==, unpopulated + more_unpopulated);
    g_assert_cmpint(zero_pages(g), ==, 0);
    /* There are a few ROMs, too. */
    g_assert_cmpint(migrate_stat(g, "ram", "duplicate") +
                    migrate_stat(g, "ram", "normal"), <, populated + 1024);
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_scatter(gconstpointer data)
{
    const BGOptions *options = data;

    check_scatter_to(options, options, false,
                     options->args && !strcmp(options->args, DIMM_ARGS)
                     ? DIMM_SIZE / target_page() : 0);
    check_scatter_to(options, options, true,
                     options->args && !strcmp(options->args, DIMM_ARGS)
                     ? DIMM_SIZE / target_page() : 0);
}

/* A directory on hugetlbfs; @mounted tells if we mounted it. */
static char *find_hugetlbfs(bool *mounted)
{
    g_autofree char *text = NULL;
    g_autofree char *own = temp_path(g_get_tmp_dir(), "hugetlbfs");
    g_auto(GStrv) lines = NULL;
    int i;

    *mounted = false;
    g_assert_true(g_file_get_contents("/proc/mounts", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 4);

        if (g_strv_length(words) == 4 && !strcmp(words[2], "hugetlbfs") &&
            !access(words[1], W_OK)) {
            return g_strdup(words[1]);
        }
    }
    if (mkdir(own, 0700) < 0 ||
        mount("none", own, "hugetlbfs", 0, "pagesize=2M") < 0) {
        rmdir(own);
        return NULL;
    }
    *mounted = true;
    return g_steal_pointer(&own);
}

static void check_scatter_huge(const BGOptions *options)
{
    if (g_test_subprocess()) {
        check_scatter_to(options, options, false, 0);
        check_scatter_to(options, options, true, 0);
    } else {
        test_with_huge_pages();
    }
}

static void test_scatter_huge_memfd(void)
{
    BGOptions options = { .backend = BG_HUGETLB, .no_device = true };

    check_scatter_huge(&options);
}

/* Huge pages in a file without a name */
static void check_huge_files(bool shared)
{
    bool mounted;
    g_autofree char *dir = find_hugetlbfs(&mounted);
    g_autofree char *file = g_strdup_printf("%s,share=%s", dir,
                                            shared ? "on" : "off");
    BGOptions options = { .no_device = true, .ram_file = file };

    if (!dir) {
        g_test_skip("no hugetlbfs is mounted");
        return;
    }
    check_scatter_huge(&options);
    if (mounted) {
        umount(dir);
        rmdir(dir);
    }
}

static void test_scatter_huge_file(void)
{
    check_huge_files(true);
}

static void test_scatter_huge_private(void)
{
    check_huge_files(false);
}

/* Files without a name, on file systems that may populate more or less */
static void check_unnamed_file(const char *dir)
{
    BGOptions options = { .no_device = true, .ram_file = dir };
    BGuest *g = start_scattered(&options);
    BGuest *dest = start_destination(&options, true);

    migrate(g, dest);
    g_assert_cmpint(skipped_pages(g), >, 16 * MiB / BALLOON_PAGE);
    g_assert_cmpint(skipped_pages(g), <=, 56 * MiB / BALLOON_PAGE);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_unnamed_file(void)
{
    check_unnamed_file(g_get_tmp_dir());
}

static void test_unnamed_tmpfs(void)
{
    if (tmpfs_or_skip()) {
        check_unnamed_file(find_tmpfs());
    }
}

/* A private mapping of what is empty stays empty. */
static void test_to_private_memfd(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGOptions dest_options = { .backend = BG_PRIVATE_MEMFD,
                               .no_device = true };

    check_scatter_to(&options, &dest_options, false, 0);
    check_scatter_to(&options, &dest_options, true, 0);
}

/* ---- Unmodified QEMU ---- */

static void test_to_stock(gconstpointer data)
{
    BGOptions stock = *(const BGOptions *)data;

    stock.stock = true;
    if (have_stock()) {
        check_scatter_to(data, &stock, false, 0);
    }
}

/* What is populated holds something. */
static void assert_no_zero_populated(BGuest *g)
{
    g_autofree bool *populated = populated_of(g);
    uint64_t i;

    for (i = 0; i < g->options.ram_size / BALLOON_PAGE; i++) {
        if (populated[i] && bg_is_zero(g, i * BALLOON_PAGE)) {
            g_error("address 0x%" PRIx64 " is populated, and zero",
                    i * BALLOON_PAGE);
        }
    }
}

static void test_from_stock(gconstpointer data)
{
    const BGOptions *options = data;
    BGOptions stock = *options;
    BGuest *g, *dest;

    if (!have_stock()) {
        return;
    }
    stock.stock = true;
    g = start_scattered(&stock);
    dest = start_destination(options, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    assert_no_zero_populated(dest);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Off ---- */

static void assert_absent(BGuest *g)
{
    QDict *info = query_migrate(g);
    char *text = qtest_hmp(g->qts, "info migrate");

    g_assert_false(qdict_haskey(info, CAPABILITY));
    g_assert_null(strstr(text, CAPABILITY));
    qobject_unref(info);
    g_free(text);
}

static void record_off(bool stock, BGBackend backend, char **bytes,
                       gsize *size)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = 16 * MiB,
        .no_device = true,
        .stock = stock,
        .args = "-S -rtc base=2020-01-01,clock=vm",
    };
    BGuest *g = bg_start(&options);
    g_autofree char *path = temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);

    bg_fill(g, BG_RAM_START, 4 * MiB, 1);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    bg_migrate_wait(g, NULL);
    assert_absent(g);
    bg_quit(g);
    g_assert_true(g_file_get_contents(path, bytes, size, NULL));
    unlink(path);
}

static bool streams_are_equal(BGBackend backend)
{
    g_autofree char *stock = NULL;
    g_autofree char *ours = NULL;
    gsize stock_size, size;

    record_off(true, backend, &stock, &stock_size);
    record_off(false, backend, &ours, &size);
    g_assert_cmpuint(size, >, 4 * MiB);
    return size == stock_size && !memcmp(ours, stock, size);
}

/*
 * The stream is the same to the byte.  It is cut into sections by the clock,
 * so on a busy machine it takes some attempts to see that.
 */
static void test_off(gconstpointer data)
{
    int attempts = 20;

    if (have_stock()) {
        while (!streams_are_equal(GPOINTER_TO_INT(data))) {
            g_assert_cmpint(--attempts, >, 0);
        }
    }
}

/* On, and then off again: it is as if it had never been on. */
static void test_off_again(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = start_scattered(&options);
    BGuest *dest = start_destination(&options, false);

    bg_set_capability(g, CAPABILITY, true);
    bg_set_capability(g, CAPABILITY, false);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    assert_absent(g);
    g_assert_cmpint(migrate_stat(g, "ram", "duplicate"), >=,
                    32 * MiB / target_page());
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_hmp(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true,
                          .args = "-global migration." CAPABILITY "=on" };
    BGuest *g = start_scattered(&options);
    BGuest *dest = start_destination(&options, false);
    char *text = qtest_hmp(g->qts, "info migrate_capabilities");
    g_autofree char *skipped = NULL;

    g_assert_nonnull(strstr(text, CAPABILITY ": on"));
    g_free(text);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    skipped = g_strdup_printf(CAPABILITY " skipped: %" PRIi64 " pages, "
                              "%" PRIi64 " kbytes", skipped_pages(g),
                              skipped_pages(g) * 4);
    text = qtest_hmp(g->qts, "info migrate");
    g_assert_nonnull(strstr(text, skipped));
    g_assert_nonnull(strstr(text, CAPABILITY " sent as zeroes: 0 pages"));
    g_assert_nonnull(strstr(text, CAPABILITY " left alone: pc.bios"));
    g_assert_nonnull(strstr(text, "(not-guest-ram)"));
    g_free(text);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- What is left alone ---- */

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

/* A guest whose memory is a file that holds something; where? */
static void check_file_left_alone(const char *dir, bool shared)
{
    g_autofree char *path = temp_path(dir, "ram");
    g_autofree char *file = g_strdup_printf("%s,share=%s", path,
                                            shared ? "on" : "off");
    BGOptions options = { .no_device = true, .ram_file = file };
    BGOptions anon = { .backend = BG_ANON, .no_device = true };
    BGuest *g, *dest;
    uint8_t byte;

    write_file(path, 'x', RAM_SIZE);
    g = start_scattered(&options);
    dest = start_destination(&anon, true);
    migrate(g, dest);
    g_assert_cmpint(skipped_pages(g), ==, 0);
    assert_left_alone(g, "ram0", RAM_SIZE,
                      shared ? "named-file" : "private-file");
    assert_same_content(g, dest);
    bg_read(dest, 60 * MiB, &byte, 1);
    g_assert_cmphex(byte, ==, 'x');
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

static void test_private_file(void)
{
    check_file_left_alone(g_get_tmp_dir(), false);
}

static void test_private_tmpfs(void)
{
    if (tmpfs_or_skip()) {
        check_file_left_alone(find_tmpfs(), false);
    }
}

static void test_named_tmpfs(void)
{
    if (tmpfs_or_skip()) {
        check_file_left_alone(find_tmpfs(), true);
    }
}

static void test_named_file(void)
{
    check_file_left_alone(g_get_tmp_dir(), true);
}

static void check_all_left_alone(BGBackend backend, const char *reason)
{
    BGOptions options = { .backend = backend, .no_device = true };
    BGuest *g = start_scattered(&options);
    BGuest *dest = start_destination(&options, true);

    migrate(g, dest);
    g_assert_cmpint(skipped_pages(g), ==, 0);
    assert_left_alone(g, "ram0", RAM_SIZE, reason);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_private_memfd(void)
{
    check_all_left_alone(BG_PRIVATE_MEMFD, "private-file");
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
    g = start_scattered(&options);
    dest = start_destination(&options, true);
    migrate(g, dest);
    assert_left_alone(g, "pc.bios", 256 * 1024, "not-guest-ram");
    assert_left_alone(g, vram, 16 * MiB, "not-guest-ram");
    g_assert_null(left_alone(g, "ram0", &size));
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_silent_host(void)
{
    if (g_test_subprocess()) {
        bg_forbid_pagemap_scan(EPERM);
        check_all_left_alone(BG_ANON, "undecided");
        return;
    }
    g_assert_true(passes_in_subprocess());
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
    g = start_scattered(&options);
    dest = start_destination(&options, true);
    migrate_begin(g, dest, 0);
    wait_status(g, "pre-switchover");
    skipped = skipped_pages(g);
    g_assert_cmpint(skipped, >, 0);

    command = g_strdup_printf("%s -batch -nx -p %d -ex 'call (int)close(%d)'",
                              gdb, (int)qtest_pid(g->qts),
                              find_pagemap_fd(g));
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);
    bg_fill(g, BG_RAM_START, MiB, 77);
    migrate_finish(g, dest);
    g_assert_cmpint(skipped_pages(g), ==, skipped);
    assert_left_alone(g, "ram0", RAM_SIZE, "undecided");
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- A destination whose memory was in use before ---- */

static void check_prealloc(const BGOptions *options, bool capable)
{
    BGOptions source = { .backend = BG_MEMFD, .no_device = true };
    BGuest *g = start_scattered(&source);
    BGuest *dest = start_destination(options, capable);

    migrate(g, dest);
    g_assert_cmpint(skipped_pages(g), >, 0);
    g_assert_cmpuint(bg_count_populated(dest, 0, RAM_SIZE), ==,
                     RAM_SIZE / BALLOON_PAGE);
    assert_same_content(g, dest);
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

    if (tmpfs_or_skip()) {
        path = temp_path(find_tmpfs(), "used");
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
    g_autofree char *path = temp_path(dir, "used");
    BGOptions options = { .backend = BG_MEMFD, .no_device = true,
                          .multifd = multifd };
    BGOptions used = { .no_device = true, .ram_file = path,
                       .multifd = multifd };
    BGuest *g = start_scattered(&options);
    g_autofree bool *populated = populated_of(g);
    BGuest *dest;
    uint64_t i;

    write_file(path, 'x', RAM_SIZE);
    dest = start_destination(&used, true);
    migrate(g, dest);
    for (i = 0; exact && i < RAM_SIZE / BALLOON_PAGE; i++) {
        if (!populated[i] && count_data(path, i * BALLOON_PAGE,
                                        BALLOON_PAGE)) {
            g_error("offset 0x%" PRIx64 " of %s is populated",
                    i * BALLOON_PAGE, path);
        }
    }
    g_assert_cmpuint(count_data(path, 0, RAM_SIZE), <, RAM_SIZE);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

static void test_used_tmpfs(void)
{
    if (tmpfs_or_skip()) {
        check_used_file(find_tmpfs(), true, false);
        check_used_file(find_tmpfs(), true, true);
    }
}

static void test_used_file(void)
{
    check_used_file(g_get_tmp_dir(), false, false);
}

/* The same as a private mapping, which cannot be made empty by discarding */
static void test_used_private(void)
{
    g_autofree char *path = temp_path(g_get_tmp_dir(), "used");
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGOptions used = { .no_device = true, .ram_file = file };
    BGuest *g = start_scattered(&options);
    BGuest *dest;

    write_file(path, 'x', RAM_SIZE);
    dest = start_destination(&used, true);
    migrate(g, dest);
    assert_same_content(g, dest);
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
    g = start_scattered(&options);
    dest = start_destination(&locked, true);
    populated = bg_count_populated(dest, 0, RAM_SIZE);
    migrate(g, dest);
    if (populated == RAM_SIZE / BALLOON_PAGE) {
        g_assert_cmpuint(bg_count_populated(dest, 0, RAM_SIZE), ==, populated);
    } else {
        g_test_skip("memory is not locked; AddressSanitizer prevents it");
    }
    assert_same_content(g, dest);
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
    BGuest *dest = start_destination(&options, true);

    bg_driver_start(g, 0);
    g_assert_false(bg_is_zero(g, 16 * MiB));
    bg_request_range(g, BG_INFLATE, 16 * MiB, BALLOON_PAGE);
    migrate(g, dest);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

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
    g_autofree char *path = temp_path(g_get_tmp_dir(), "qcow2");
    g_autofree char *args = NULL;
    BGOptions options = with_snapshots(GPOINTER_TO_INT(data), path, &args);
    BGOptions dest_options = { .backend = options.backend,
                               .no_device = true };
    BGuest *g, *dest;

    create_qcow2(path);
    g = start_scattered(&options);
    bg_set_capability(g, CAPABILITY, true);
    check_snapshot(g);

    dest = start_destination(&dest_options, true);
    migrate_begin(g, dest, 0);
    wait_status(g, "pre-switchover");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    wait_status(g, "cancelled");
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_quit(dest);
    check_snapshot(g);

    dest = start_destination(&dest_options, true);
    bg_set_capability(g, "pause-before-switchover", false);
    migrate(g, dest);
    assert_same_content(g, dest);
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
    g_autofree char *path = temp_path(g_get_tmp_dir(), "sock");
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    BGOptions loaded = *options;
    BGuest *g = start_scattered(&source_options);
    g_autofree bool *before = populated_of(g);
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
    migrate(g, dest);
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_loaded(gconstpointer data)
{
    g_autofree char *path = temp_path(g_get_tmp_dir(), "qcow2");
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

static bool have_swap(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/swaps", &text, NULL, NULL) &&
           strchr(text, '\n') && strchr(text, '\n')[1];
}

/* Add a swap file.  Returns NULL if that cannot be done. */
static char *add_swap(void)
{
    char *path = temp_path(g_get_tmp_dir(), "swap");
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
    BGuest *g = start_scattered(&options);
    BGuest *dest = start_destination(&options, true);
    g_autofree bool *before = populated_of(g);

    if (swap_out(g, 40 * MiB, 8 * MiB)) {
        migrate(g, dest);
        g_assert_cmpint(skipped_pages(g), ==,
                        count_unpopulated(before, RAM_SIZE));
        assert_same_content(g, dest);
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
    if (!passes_in_subprocess()) {
        g_test_fail();
    }
    remove_swap(path);
}

/* ---- Discarded meanwhile ---- */

/* What is sent before it is discarded; in four parts, see discard_parts() */
#define SENT_START BG_RAM_START
#define PART_PAGES UINT64_C(128)
#define PART_SIZE (PART_PAGES * BALLOON_PAGE)
#define SENT_SIZE (4 * PART_SIZE)

/* A part of the memory that is used only now; no multiple of a part */
#define UNSENT_START (56 * MiB)
#define UNSENT_SIZE (102 * BALLOON_PAGE)

/* What the migration is busy with */
#define BALLAST_START (16 * MiB)
#define BALLAST_SIZE (16 * MiB)

typedef struct LaterCase {
    const char *name;
    BGOptions options;
    bool report;            /* discard by free page reporting */
    bool both;              /* capability skip-balloon, too */
    bool stock_dest;
    bool slow;              /* while the migration is sending, not after that */
    const char *detection;  /* parameter zero-page-detection */
} LaterCase;

static void report_range(BGuest *g, uint64_t start, uint64_t length)
{
    BGQueue *q = &g->queue[BG_REPORT];

    g_assert_cmpint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, start);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, VRING_DESC_F_WRITE);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, BG_REPORT);
}

static void discard(BGuest *g, bool report, uint64_t start, uint64_t length)
{
    if (report) {
        report_range(g, start, length);
    } else {
        bg_request_range(g, BG_INFLATE, start, length);
    }
}

static BGuest *start_with_balloon(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST | REPORTING);
    return g;
}

static void discard_parts(BGuest *g, bool report)
{
    /* Stays discarded */
    discard(g, report, SENT_START, PART_SIZE);
    /* Used again */
    discard(g, report, SENT_START + PART_SIZE, PART_SIZE);
    bg_fill(g, SENT_START + PART_SIZE, PART_SIZE, 99);
    /* Used for the first time, and then discarded */
    bg_fill(g, UNSENT_START, UNSENT_SIZE, 98);
    discard(g, report, UNSENT_START, UNSENT_SIZE);
}

static BGuest *start_later_destination(const LaterCase *later)
{
    BGOptions options = later->options;
    BGuest *dest;

    options.stock = later->stock_dest;
    dest = start_destination(&options, !later->stock_dest);
    if (later->both) {
        bg_set_capability(dest, "skip-balloon", true);
    }
    return dest;
}

static void begin_later(const LaterCase *later, BGuest *g, BGuest *dest)
{
    bg_set_capability(g, "skip-balloon", later->both);
    if (later->detection) {
        set_migrate_parameter(g, "zero-page-detection", later->detection);
    }
    migrate_begin(g, dest, later->slow ? MiB : 0);
    if (later->slow) {
        wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
        bg_migrate_limit(g, NEXT_TO_NOTHING);
    } else {
        wait_status(g, "pre-switchover");
    }
}

static void assert_later_counts(const LaterCase *later, BGuest *g,
                                int64_t skipped_before)
{
    int64_t per_page = target_page() / BALLOON_PAGE;

    if (later->both && !later->report) {
        g_assert_cmpint(zero_pages(g), ==, 0);
        return;
    }
    /* A page is counted each time that it was found. */
    g_assert_cmpint(zero_pages(g), >, 0);
    g_assert_cmpint(zero_pages(g) % (PART_PAGES / per_page), ==, 0);
    g_assert_cmpint(skipped_pages(g), >=,
                    skipped_before + UNSENT_SIZE / target_page());
}

static void test_later(gconstpointer data)
{
    const LaterCase *later = data;
    BGuest *g, *dest;
    g_autofree bool *before = NULL;
    int64_t skipped;

    if (later->stock_dest && !have_stock()) {
        return;
    }
    g = start_with_balloon(&later->options);
    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    dest = start_later_destination(later);
    begin_later(later, g, dest);
    skipped = skipped_pages(g);
    discard_parts(g, later->report);
    before = populated_of(g);
    migrate_finish(g, dest);

    assert_later_counts(later, g, skipped);
    if (later->stock_dest) {
        g_autofree bool *after = populated_of(g);

        assert_none_populated(before, after, RAM_SIZE, "source");
    } else {
        assert_populated_as_before(g, dest, before);
    }
    assert_zero(dest, SENT_START, PART_SIZE);
    g_assert_false(bg_is_zero(dest, SENT_START + PART_SIZE));
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* Zeroes arrive for two RAM blocks. */
static void test_later_dimm(void)
{
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    const uint64_t in_dimm = DIMM_START + UNSENT_START;
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);

    bg_fill(g, SENT_START, PART_SIZE, 1);
    bg_fill(g, in_dimm, PART_SIZE, 2);
    migrate_begin(g, dest, 0);
    wait_status(g, "pre-switchover");
    bg_request_range(g, BG_INFLATE, SENT_START, PART_SIZE);
    bg_request_range(g, BG_INFLATE, in_dimm, PART_SIZE);
    migrate_finish(g, dest);
    g_assert_cmpint(zero_pages(g), ==, 2 * PART_PAGES);
    g_assert_cmphex(qtest_readq(dest->qts, in_dimm), ==, 0);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/*
 * What is discarded before it could be sent, in a pass that was to send it:
 * whatever that costs, it is zero there in the end, and not populated.
 */
static void test_before_its_turn(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);
    const uint64_t at = BALLAST_START + BALLAST_SIZE - MiB;

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_request_range(g, BG_INFLATE, at, MiB);
    migrate_finish(g, dest);
    g_test_message("populated on the source: %" PRIu64 " pages",
                   bg_count_populated(g, at, MiB));
    g_assert_cmpuint(bg_count_populated(dest, at, MiB), ==, 0);
    assert_zero(dest, at, MiB);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* A page that was found to be sent as zeroes, and then is used again */
static void test_used_again(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_request_range(g, BG_INFLATE, SENT_START, SENT_SIZE);
    bg_migrate_limit(g, 0);
    wait_status(g, "pre-switchover");
    g_assert_cmpint(zero_pages(g), >=, SENT_SIZE / target_page());
    bg_fill(g, SENT_START, SENT_SIZE, 3);
    migrate_finish(g, dest);
    g_assert_false(bg_is_zero(dest, SENT_START));
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* Returns false if the migration stopped the guest before that. */
static bool wait_syncs(BGuest *g, int64_t n)
{
    gint64 end = hang_deadline();
    int64_t wanted = migrate_stat(g, "ram", "dirty-sync-count") + n;
    bool stopped = false;

    while (!stopped && migrate_stat(g, "ram", "dirty-sync-count") < wanted) {
        QDict *info = query_migrate(g);

        stopped = !strcmp(qdict_get_str(info, "status"), "pre-switchover");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
    return !stopped;
}

static void wait_zero_pages(BGuest *g)
{
    gint64 end = hang_deadline();

    while (!zero_pages(g)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
}

/*
 * The main loop synchronizes, too, while the migration thread sends: the timer
 * of auto-converge, which waits for a second pass that takes long.
 */
static void test_timer(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);
    g_autofree bool *before = NULL;
    bool in_time;

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    bg_set_capability(g, "auto-converge", true);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 3);
    bg_migrate_limit(g, 4 * MiB);
    in_time = wait_syncs(g, 1);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    discard_parts(g, false);
    before = populated_of(g);
    if (in_time && wait_syncs(g, 1)) {
        wait_zero_pages(g);
    } else {
        g_test_skip("the migration was faster than the test");
    }
    migrate_finish(g, dest);
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Both capabilities ---- */

static void test_both(gconstpointer data)
{
    const BGOptions *options = data;
    const uint64_t start = 16 * MiB, length = 24 * MiB;
    BGuest *g = start_with_balloon(options);
    BGuest *dest = start_destination(options, true);
    g_autofree bool *before = NULL;

    scatter(g);
    bg_request_range(g, BG_INFLATE, start, length);
    before = populated_of(g);
    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(dest, "skip-balloon", true);
    migrate(g, dest);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==,
                    length / target_page());
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), ==, 0);
    g_assert_cmpint(skipped_pages(g), ==,
                    count_unpopulated(before, RAM_SIZE) -
                    length / target_page());
    bg_assert_same_map(g, dest);
    bg_assert_map_let_go(dest);
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_both_huge(void)
{
    BGOptions options = { .backend = BG_HUGETLB };

    if (g_test_subprocess()) {
        test_both(&options);
    } else {
        test_with_huge_pages();
    }
}

/* A balloon that does not count, since the guest does not keep to the rules */
static void test_both_disabled(void)
{
    BGOptions options = { .backend = BG_ANON, .no_must_tell_host = true };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);
    g_autofree bool *before = NULL;
    QDict *info;

    scatter(g);
    bg_request_range(g, BG_INFLATE, 16 * MiB, 24 * MiB);
    before = populated_of(g);
    bg_set_capability(g, "skip-balloon", true);
    migrate(g, dest);
    info = bg_skip_info(g);
    g_assert_cmpstr(qdict_get_str(info, "status"), ==, "disabled");
    qobject_unref(info);
    g_assert_cmpint(skipped_pages(g), ==,
                    count_unpopulated(before, RAM_SIZE));
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Refused ---- */

/* Returns the error, or NULL if the capability is on now. */
static char *try_capability(BGuest *g, const char *name)
{
    QDict *rsp = qtest_qmp(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': true } ] } }", name);
    QDict *error = qdict_get_qdict(rsp, "error");
    char *desc = error ? g_strdup(qdict_get_str(error, "desc")) : NULL;

    qobject_unref(rsp);
    return desc;
}

static void check_refused(BGuest *g, const char *first, const char *second)
{
    g_autofree char *cannot = try_capability(g, first);
    g_autofree char *desc = NULL;

    if (cannot) {
        g_test_message("%s alone: %s", first, cannot);
        return;
    }
    desc = try_capability(g, second);
    g_assert_nonnull(desc);
    g_assert_nonnull(strstr(desc, first));
    g_assert_nonnull(strstr(desc, second));
    bg_set_capability(g, first, false);
}

static void test_refused(void)
{
    static const char *const unsupported[] = {
        "x-colo", "rdma-pin-all",
    };
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = bg_start(&options);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(unsupported); i++) {
        check_refused(g, CAPABILITY, unsupported[i]);
        check_refused(g, unsupported[i], CAPABILITY);
    }
    bg_quit(g);
}

static void wait_failed(BGuest *g)
{
    gint64 end = hang_deadline();
    bool failed = false;

    while (!failed) {
        QDict *info = query_migrate(g);
        const char *status = qdict_get_try_str(info, "status") ?: "none";

        g_assert_cmpstr(status, !=, "completed");
        failed = !strcmp(status, "failed");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* ---- Again ---- */

/* What changed is found by a second migration, after a first came to nothing */
static void migrate_again(BGuest *g)
{
    g_autofree bool *before = NULL;
    BGuest *dest = start_destination(&g->options, true);

    discard(g, false, SENT_START, PART_SIZE);
    bg_fill(g, 12 * MiB, MiB, 55);
    before = populated_of(g);
    bg_set_capability(g, "pause-before-switchover", false);
    migrate(g, dest);
    g_assert_cmpint(zero_pages(g), ==, 0);
    g_assert_cmpint(skipped_pages(g), ==,
                    count_unpopulated(before, RAM_SIZE));
    assert_populated_as_before(g, dest, before);
    assert_same_content(g, dest);
    bg_quit(dest);
}

static void cancel_and_again(BGuest *g, BGuest *dest)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    wait_status(g, "cancelled");
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_quit(dest);
    migrate_again(g);
}

static void test_cancel(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    discard_parts(g, false);
    cancel_and_again(g, dest);
    bg_quit(g);
}

/* When there are pages to be sent as zeroes */
static void test_cancel_late(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    bg_migrate_limit(g, NEXT_TO_NOTHING);
    discard_parts(g, false);
    bg_migrate_limit(g, 0);
    wait_status(g, "pre-switchover");
    g_assert_cmpint(zero_pages(g), >, 0);
    cancel_and_again(g, dest);
    bg_quit(g);
}

static void test_killed(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_with_balloon(&options);
    BGuest *dest = start_destination(&options, true);

    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
    migrate_begin(g, dest, MiB);
    wait_arrival(dest, SENT_START + SENT_SIZE - BALLOON_PAGE);
    discard_parts(g, false);
    qtest_kill_qemu(dest->qts);
    bg_migrate_limit(g, 0);
    wait_failed(g);
    bg_quit(dest);

    migrate_again(g);
    bg_quit(g);
}

/* ---- Random ---- */

#define RANDOM_RAM (24 * MiB)

/* Left alone, so that a slow migration has something to do */
#define RANDOM_BALLAST (RANDOM_RAM - 8 * MiB)

#define RANDOM_PAGES ((RANDOM_BALLAST - BG_RAM_START) / BALLOON_PAGE)

typedef struct RandomRun {
    BGuest *g;
    BGuest *dest;
    uint8_t *model;             /* what the guest wrote, from BG_RAM_START on */
    bool both;
} RandomRun;

static void random_write(RandomRun *run, uint64_t at, uint8_t value,
                         uint64_t length)
{
    qtest_memset(run->g->qts, BG_RAM_START + at, value, length);
    memset(run->model + at, value, length);
}

static void random_discard(RandomRun *run, bool report, uint64_t at,
                           uint64_t length)
{
    discard(run->g, report, BG_RAM_START + at, length);
    memset(run->model + at, 0, length);
}

/* One thing that a guest, honest or not, may do */
static void random_step(RandomRun *run)
{
    uint64_t pages = 1 + g_test_rand_int_range(0, 2) *
                     g_test_rand_int_range(0, 512);
    uint64_t at = g_test_rand_int_range(0, RANDOM_PAGES - pages) *
                  BALLOON_PAGE;
    uint64_t length = pages * BALLOON_PAGE;
    uint8_t value = g_test_rand_int_range(1, 256);

    switch (g_test_rand_int_range(0, 9)) {
    case 0:
    case 1:
        random_discard(run, false, at, length);
        break;
    case 2:
        random_discard(run, true, at, length);
        break;
    case 3:
        random_discard(run, g_test_rand_int_range(0, 2), at, length);
        random_write(run, at, value, length);
        break;
    case 4:
        bg_request_range(run->g, BG_DEFLATE, BG_RAM_START + at, length);
        break;
    case 5:
        /* Zeroes that are populated */
        random_write(run, at, 0, length);
        break;
    case 6:
        /* A few bytes only, wherever they fall */
        random_write(run, at + g_test_rand_int_range(0, 4000), value, 9);
        break;
    default:
        random_write(run, at, value, length);
        break;
    }
}

static void random_steps(RandomRun *run, int most)
{
    int n = g_test_rand_int_range(0, most);

    while (n--) {
        random_step(run);
    }
}

/* Returns a description of what was chosen. */
static char *random_begin(RandomRun *run)
{
    static const char *const detections[] = { "none", "legacy", "multifd" };
    BGOptions options = {
        .backend = g_test_rand_int_range(0, 2) ? BG_MEMFD : BG_ANON,
        .ram_size = RANDOM_RAM,
        .multifd = g_test_rand_int_range(0, 2),
        .device_args = "free-page-reporting=on",
        .args = g_test_rand_int_range(0, 2)
                ? "-global migration.x-clear-bitmap-shift=6" : NULL,
    };
    const char *detection = detections[g_test_rand_int_range(0, 3)];
    bool converge = g_test_rand_int_range(0, 2);
    bool xbzrle = !options.multifd && g_test_rand_int_range(0, 2);
    bool huge = g_test_rand_int_range(0, 4) == 0;
    uint64_t bandwidth = MiB << g_test_rand_int_range(0, 7);

    run->both = g_test_rand_int_range(0, 2);
    prctl(PR_SET_THP_DISABLE, !huge, 0, 0, 0);
    run->g = start_with_balloon(&options);
    run->dest = start_destination(&options, true);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    bg_set_capability(run->g, "skip-balloon", run->both);
    bg_set_capability(run->dest, "skip-balloon", run->both);
    bg_set_capability(run->g, "auto-converge", converge);
    bg_set_capability(run->g, "xbzrle", xbzrle);
    set_migrate_parameter(run->g, "zero-page-detection", detection);
    random_write(run, RANDOM_BALLAST - BG_RAM_START, 7,
                 RANDOM_RAM - RANDOM_BALLAST);
    random_steps(run, 40);
    migrate_begin(run->g, run->dest, bandwidth);
    return g_strdup_printf("%s%s%s%s%s%s, detection %s, %" PRIu64 " MiB/s%s",
                           options.backend == BG_MEMFD ? "memfd" : "anon",
                           run->both ? ", both" : "",
                           options.multifd ? ", multifd" : "",
                           converge ? ", auto-converge" : "",
                           xbzrle ? ", xbzrle" : "", huge ? ", huge" : "",
                           detection, bandwidth / MiB,
                           options.args ? ", small windows" : "");
}

static void assert_like_model(const RandomRun *run, BGuest *g,
                              const char *where)
{
    uint64_t size = RANDOM_RAM - BG_RAM_START;
    g_autofree uint8_t *content = g_malloc(size);
    uint64_t i;

    bg_read(g, BG_RAM_START, content, size);
    for (i = 0; i < size && memcmp(content, run->model, size); i++) {
        if (content[i] != run->model[i]) {
            g_error("address 0x%" PRIx64 ": 0x%02x on the %s instead of "
                    "0x%02x", BG_RAM_START + i, content[i], where,
                    run->model[i]);
        }
    }
}

/* What is populated there, and was not here, has to hold something. */
static void assert_populated_with_reason(const RandomRun *run)
{
    g_autofree bool *here = populated_of(run->g);
    g_autofree bool *there = populated_of(run->dest);
    uint64_t i, n = 0;

    for (i = BG_RAM_START / BALLOON_PAGE; i < RANDOM_RAM / BALLOON_PAGE;
         i++) {
        n += there[i] && !here[i] && bg_is_zero(run->dest, i * BALLOON_PAGE);
    }
    g_assert_cmpuint(n, ==, 0);
}

static void random_round(int round)
{
    RandomRun run = { .model = g_malloc0(RANDOM_RAM - BG_RAM_START) };
    g_autofree char *what = random_begin(&run);
    bool paused = g_test_rand_int_range(0, 2);

    g_test_message("round %d: %s%s", round, what, paused ? ", paused" : "");
    random_steps(&run, 60);
    bg_migrate_limit(run.g, 0);
    if (paused) {
        wait_status(run.g, "pre-switchover");
        random_steps(&run, 30);
    }
    migrate_finish(run.g, run.dest);
    /* With huge pages, a neighbour may have populated a page of zeroes. */
    if (!strstr(what, "huge")) {
        assert_populated_with_reason(&run);
    }
    assert_like_model(&run, run.g, "source");
    assert_like_model(&run, run.dest, "destination");
    if (run.both) {
        bg_assert_same_map(run.g, run.dest);
    }
    bg_quit(run.dest);
    bg_quit(run.g);
    g_free(run.model);
}

static void test_random(void)
{
    const char *text = g_getenv(ROUNDS_ENV);
    int rounds = text ? atoi(text) : 25;
    int i;

    for (i = 0; i < rounds; i++) {
        random_round(i);
    }
}

/* ---- All of them ---- */

static void add_backend_tests(const char *name, GTestDataFunc func)
{
    static const char *const names[] = {
        [BG_ANON] = "anon",
        [BG_MEMFD] = "memfd",
    };
    int backend;

    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/%s/%s", name,
                                                names[backend]);

        qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
    }
}

#define SMALL_WINDOWS "-global migration.x-clear-bitmap-shift=6"

typedef struct OptionsCase {
    const char *name;
    BGOptions options;
} OptionsCase;

static const OptionsCase scatter_cases[] = {
    { "anon", { .backend = BG_ANON, .no_device = true } },
    { "memfd", { .backend = BG_MEMFD, .no_device = true } },
    { "small-windows/anon",
      { .backend = BG_ANON, .no_device = true, .args = SMALL_WINDOWS } },
    { "small-windows/memfd",
      { .backend = BG_MEMFD, .no_device = true, .args = SMALL_WINDOWS } },
    /* Only these two on alpha, too, and these for both */
    { "multifd/anon",
      { .backend = BG_ANON, .no_device = true, .multifd = true } },
    { "multifd/memfd",
      { .backend = BG_MEMFD, .no_device = true, .multifd = true } },
    { "large/memfd",
      { .backend = BG_MEMFD, .no_device = true, .ram_size = 1536 * MiB } },
    { "large/anon",
      { .backend = BG_ANON, .no_device = true, .ram_size = 1536 * MiB } },
    { "dimm",
      { .backend = BG_ANON, .no_device = true, .args = DIMM_ARGS } },
};

#define SCATTER_CASES_ALPHA 4

static const OptionsCase stock_cases[] = {
    { "anon", { .backend = BG_ANON, .no_device = true } },
    { "memfd", { .backend = BG_MEMFD, .no_device = true } },
    { "multifd/anon",
      { .backend = BG_ANON, .no_device = true, .multifd = true } },
    { "multifd/memfd",
      { .backend = BG_MEMFD, .no_device = true, .multifd = true } },
};

static const OptionsCase both_cases[] = {
    { "anon", { .backend = BG_ANON } },
    { "memfd", { .backend = BG_MEMFD } },
    { "multifd/memfd", { .backend = BG_MEMFD, .multifd = true } },
};

static void add_options_tests(const char *name, const OptionsCase *cases,
                              int n, GTestDataFunc func)
{
    int i;

    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/%s/%s", name,
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i].options, func);
    }
}

#define REPORTING_ARGS "free-page-reporting=on"

static const LaterCase later_cases[] = {
    { "balloon/anon", { .backend = BG_ANON } },
    { "balloon/memfd", { .backend = BG_MEMFD } },
    { "slow/anon", { .backend = BG_ANON }, .slow = true },
    { "slow/memfd", { .backend = BG_MEMFD }, .slow = true },
    /* The following ones not on alpha */
    { "both/anon", { .backend = BG_ANON }, .both = true },
    { "both/memfd", { .backend = BG_MEMFD }, .both = true },
    { "both-slow/memfd", { .backend = BG_MEMFD }, .both = true,
      .slow = true },
    { "report/anon",
      { .backend = BG_ANON, .device_args = REPORTING_ARGS },
      .report = true },
    { "report/memfd",
      { .backend = BG_MEMFD, .device_args = REPORTING_ARGS },
      .report = true },
    { "report-slow/memfd",
      { .backend = BG_MEMFD, .device_args = REPORTING_ARGS },
      .report = true, .slow = true },
    { "report-both/anon",
      { .backend = BG_ANON, .device_args = REPORTING_ARGS },
      .report = true, .both = true },
    { "to-stock/balloon/anon",
      { .backend = BG_ANON, .no_must_tell_host = true },
      .stock_dest = true },
    { "to-stock/balloon/memfd",
      { .backend = BG_MEMFD, .no_must_tell_host = true },
      .stock_dest = true, .slow = true },
    { "to-stock/report/memfd",
      { .backend = BG_MEMFD, .no_must_tell_host = true,
        .device_args = REPORTING_ARGS },
      .stock_dest = true, .report = true },
    { "to-stock/multifd/memfd",
      { .backend = BG_MEMFD, .no_must_tell_host = true, .multifd = true },
      .stock_dest = true, .detection = "multifd" },
    { "detection-none/memfd", { .backend = BG_MEMFD },
      .detection = "none" },
    { "multifd-none/anon", { .backend = BG_ANON, .multifd = true },
      .detection = "none" },
    { "multifd-none/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "none", .slow = true },
    { "multifd-legacy/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "legacy" },
    { "multifd-multifd/anon", { .backend = BG_ANON, .multifd = true },
      .detection = "multifd" },
    { "multifd-multifd/memfd", { .backend = BG_MEMFD, .multifd = true },
      .detection = "multifd", .slow = true },
};

#define LATER_CASES_ALPHA 4

static void add_later_tests(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/later/%s",
                                                later_cases[i].name);

        qtest_add_data_func(path, &later_cases[i], test_later);
    }
}

static void add_alpha_tests(void)
{
    add_options_tests("scatter", scatter_cases, SCATTER_CASES_ALPHA,
                      test_scatter);
    add_options_tests("both", both_cases, ARRAY_SIZE(both_cases), test_both);
    add_later_tests(LATER_CASES_ALPHA);
    add_backend_tests("cancel", test_cancel);
}

static void add_x86_tests(void)
{
    add_options_tests("scatter", scatter_cases, ARRAY_SIZE(scatter_cases),
                      test_scatter);
    qtest_add_func(CAPABILITY "/scatter/huge-memfd", test_scatter_huge_memfd);
    qtest_add_func(CAPABILITY "/scatter/huge-file", test_scatter_huge_file);
    qtest_add_func(CAPABILITY "/scatter/huge-private",
                   test_scatter_huge_private);
    qtest_add_func(CAPABILITY "/scatter/to-private-memfd",
                   test_to_private_memfd);
    qtest_add_func(CAPABILITY "/scatter/unnamed-file", test_unnamed_file);
    qtest_add_func(CAPABILITY "/scatter/unnamed-tmpfs", test_unnamed_tmpfs);
    add_options_tests("to-stock", stock_cases, ARRAY_SIZE(stock_cases),
                      test_to_stock);
    add_options_tests("from-stock", stock_cases, ARRAY_SIZE(stock_cases),
                      test_from_stock);
    add_backend_tests("off/same-bytes", test_off);
    qtest_add_func(CAPABILITY "/off/again", test_off_again);
    qtest_add_func(CAPABILITY "/hmp", test_hmp);

    qtest_add_func(CAPABILITY "/alone/private-file", test_private_file);
    qtest_add_func(CAPABILITY "/alone/private-tmpfs", test_private_tmpfs);
    qtest_add_func(CAPABILITY "/alone/private-memfd", test_private_memfd);
    qtest_add_func(CAPABILITY "/alone/named-file", test_named_file);
    qtest_add_func(CAPABILITY "/alone/named-tmpfs", test_named_tmpfs);
    qtest_add_func(CAPABILITY "/alone/not-guest-ram", test_not_guest_ram);
    qtest_add_func(CAPABILITY "/alone/silent-host", test_silent_host);
    qtest_add_func(CAPABILITY "/alone/falls-silent", test_falls_silent);

    qtest_add_func(CAPABILITY "/used/prealloc", test_prealloc);
    qtest_add_func(CAPABILITY "/used/prealloc-tmpfs", test_prealloc_used);
    add_backend_tests("used/loaded", test_loaded);
    add_backend_tests("used/loader", test_loader);
    qtest_add_func(CAPABILITY "/used/locked", test_locked);
    qtest_add_func(CAPABILITY "/used/tmpfs", test_used_tmpfs);
    qtest_add_func(CAPABILITY "/used/file", test_used_file);
    qtest_add_func(CAPABILITY "/used/private-file", test_used_private);
    add_backend_tests("snapshot", test_snapshot);
    add_backend_tests("swapped-out", test_swapped_out);

    add_later_tests(ARRAY_SIZE(later_cases));
    qtest_add_func(CAPABILITY "/later/dimm", test_later_dimm);
    add_backend_tests("before-its-turn", test_before_its_turn);
    add_backend_tests("used-again", test_used_again);
    add_backend_tests("timer", test_timer);
    add_options_tests("both", both_cases, ARRAY_SIZE(both_cases), test_both);
    qtest_add_func(CAPABILITY "/both/huge-memfd", test_both_huge);
    qtest_add_func(CAPABILITY "/both/disabled", test_both_disabled);

    qtest_add_func(CAPABILITY "/refused/capabilities", test_refused);
    add_backend_tests("cancel", test_cancel);
    add_backend_tests("cancel-late", test_cancel_late);
    add_backend_tests("killed", test_killed);
    qtest_add_func(CAPABILITY "/random", test_random);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    /* A transparent huge page populates what nobody asked for. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (is_alpha()) {
        add_alpha_tests();
    } else {
        add_x86_tests();
    }
    return g_test_run();
}
