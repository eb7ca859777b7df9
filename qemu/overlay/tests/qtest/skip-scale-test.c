/*
 * A terabyte of guest RAM: how long does our code hold the BQL?
 *
 * Nothing here fails because something takes long: machines differ.  The
 * figures are told, and what is checked is that nobody goes over a terabyte
 * in one go, and that a pass does not hold the BQL while KVM arms its dirty
 * log.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "standard-headers/linux/virtio_balloon.h"

#define RAM_SIZE (1024 * GiB)

/* What the balloon leaves, and what of that is in use */
#define LEFT (1 * GiB)
#define USED (64 * MiB)

/* Memory above is mapped from 4 GiB on */
#define LOW_RAM (3 * GiB)

#define HUGE_SIZE (2 * MiB)

/* The dirty log is armed by as much as that in one go. */
#define CHUNK (1 * GiB)

/* Where the driver of a guest that is busy gives back, and takes back */
#define BUSY_START (512 * MiB)

#define QEMU_ENV "QTEST_QEMU_BINARY"
#define WITHOUT_PAGEMAP_SCAN "--run-without-pagemap-scan"

/* What the test asks QEMU to write down, and where */
static char *trace_path(const char *who)
{
    return g_strdup_printf("%s/skip-scale-%d-%s", g_get_tmp_dir(), getpid(),
                           who);
}

static char *large_machine_args(const char *who)
{
    g_autofree char *path = trace_path(who);

    /* A CPU that can address it, and has no hole below 1 TiB */
    return g_strdup_printf("-cpu max,vendor=GenuineIntel,phys-bits=46 "
                           "-trace skip_* "
                           "-trace migration_bitmap_clear_dirty -D %s", path);
}

static BGuest *start_large(BGBackend backend)
{
    g_autofree char *args = large_machine_args("source");
    BGOptions options = {
        .backend = backend,
        .ram_size = RAM_SIZE,
        .args = args,
    };
    BGuest *g = bg_start(&options);
    const uint64_t step = 512 * MiB;
    uint64_t at;

    bg_driver_start(g, 1u << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, USED, 1);
    for (at = LEFT; at < RAM_SIZE; at += step) {
        bg_inflate_unseen(g, at < LOW_RAM ? at : at - LOW_RAM + 4 * GiB,
                          step);
    }
    return g;
}

static BGuest *start_large_destination(BGuest *source)
{
    g_autofree char *args = large_machine_args("destination");
    BGuest as = *source;

    as.options.args = args;
    return bg_start_incoming(&as);
}

/* What QEMU wrote down about holding the BQL, in microseconds */
typedef struct Holds {
    uint64_t n;
    uint64_t longest;
    uint64_t total;
    /* Chunks that were armed, and how many of them by a pass with the BQL */
    uint64_t armed;
    uint64_t armed_with_bql;
} Holds;

static Holds read_holds(const char *who)
{
    g_autofree char *path = trace_path(who);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    Holds holds = { 0 };
    bool in_pass = false;
    int i;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    unlink(path);
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        char *at = strstr(lines[i], "skip_bql_end ");
        uint64_t us;

        if (at && sscanf(at, "skip_bql_end %*s %" SCNu64, &us) == 1) {
            holds.n++;
            holds.total += us;
            holds.longest = MAX(holds.longest, us);
        }
        /* The thread that makes passes is the one that arms, too. */
        if (strstr(lines[i], "skip_bql_begin pass")) {
            in_pass = true;
        } else if (strstr(lines[i], "skip_bql_end pass")) {
            in_pass = false;
        } else if (strstr(lines[i], "migration_bitmap_clear_dirty ")) {
            holds.armed++;
            holds.armed_with_bql += in_pass;
        }
    }
    return holds;
}

/* Whoever asks where a terabyte went holds up nobody for long, either. */
static void query_map(BGuest *g)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-migration-map' }");
}

static int64_t total_time(BGuest *g)
{
    QDict *answer = bg_query_migrate(g);
    int64_t ms = qdict_get_int(answer, "total-time");

    qobject_unref(answer);
    return ms;
}

/* Returns how many chunks were armed. */
static uint64_t tell(const char *what, const char *who)
{
    Holds holds = read_holds(who);

    g_test_message("%s, %s: %" PRIu64 " holds of the BQL, longest %.1f ms, "
                   "together %.1f ms", what, who, holds.n,
                   holds.longest / 1e3, holds.total / 1e3);
    g_assert_cmpuint(holds.n, >, 0);
    g_assert_cmpuint(holds.armed_with_bql, ==, 0);
    return holds.armed;
}

/*
 * A driver that gives back a huge page, and takes it back, all the time, until
 * the guest is stopped, and nothing has been saved of that moment yet
 */
static void keep_busy(BGuest *g)
{
    uint64_t requests = 0;
    bool running = true;

    while (running) {
        QDict *info = bg_query_migrate(g);

        running = strcmp(qdict_get_str(info, "status"), "pre-switchover");
        g_assert_cmpstr(qdict_get_str(info, "status"), !=, "failed");
        qobject_unref(info);
        if (running) {
            bg_request_range(g, BG_INFLATE, BUSY_START, HUGE_SIZE);
            bg_request_range(g, BG_DEFLATE, BUSY_START, HUGE_SIZE);
            requests += 2;
        }
    }
    g_test_message("%" PRIu64 " requests during the migration", requests);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
}

static void migrate_large(BGBackend backend, bool busy, const char *what)
{
    BGuest *source = start_large(backend);
    BGuest *dest = start_large_destination(source);

    bg_set_capability(source, "skip-balloon", true);
    bg_set_capability(dest, "skip-balloon", true);
    bg_set_capability(source, "skip-unpopulated", true);
    bg_set_capability(dest, "skip-unpopulated", true);
    bg_set_capability(source, "pause-before-switchover", busy);
    bg_migrate_limit(source, 0);
    bg_migrate_start(source, dest);
    if (busy) {
        keep_busy(source);
    }
    bg_migrate_wait(source, dest);

    g_test_message("%s: total time %" PRIi64 " ms, map %" PRIi64 " bytes",
                   what, total_time(source),
                   bg_skip_stat(source, "map-bytes"));
    g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), >=,
                    (RAM_SIZE - LEFT) / BALLOON_PAGE);
    g_assert_true(busy || bg_skip_stat(source, "skipped-pages") ==
                          (RAM_SIZE - LEFT) / BALLOON_PAGE);
    query_map(source);
    query_map(dest);
    bg_assert_same_map(source, dest);
    g_assert_cmpuint(bg_count_populated(dest, BG_RAM_START, USED), ==,
                     USED / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(source);
    g_assert_cmpuint(tell(what, "source"), >=, RAM_SIZE / CHUNK);
    tell(what, "destination");
}

static void test_anon(void)
{
    migrate_large(BG_ANON, false, "1 TiB, anonymous");
}

static void test_memfd(void)
{
    migrate_large(BG_MEMFD, false, "1 TiB, memfd");
}

static void migrate_large_huge(bool busy, const char *what)
{
    if (bg_free_huge_pages() < 2 * (USED / HUGE_SIZE + 4)) {
        g_test_skip("there are not enough huge pages of 2 MiB");
        return;
    }
    migrate_large(BG_HUGETLB, busy, what);
}

static void test_hugetlb(void)
{
    migrate_large_huge(false, "1 TiB, hugetlbfs");
}

static void test_hugetlb_busy(void)
{
    migrate_large_huge(true, "1 TiB, hugetlbfs, busy driver");
}

/* Run a program that cannot use PAGEMAP_SCAN, in place of this one. */
static int run_without_pagemap_scan(char **argv)
{
    bg_forbid_pagemap_scan(ENOTTY);
    execv(argv[0], argv);
    perror(argv[0]);
    return 1;
}

/* Run a test with a QEMU on a kernel before Linux 6.7. */
static void without_pagemap_scan(void (*test)(void))
{
    g_autofree char *qemu = g_strdup(getenv(QEMU_ENV));
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *hidden = g_strdup_printf("%s %s %s", self,
                                              WITHOUT_PAGEMAP_SCAN, qemu);

    g_setenv(QEMU_ENV, hidden, true);
    test();
    g_setenv(QEMU_ENV, qemu, true);
}

static void test_pagemap_read(void)
{
    without_pagemap_scan(test_anon);
}

static void test_hugetlb_mincore(void)
{
    without_pagemap_scan(test_hugetlb_busy);
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], WITHOUT_PAGEMAP_SCAN)) {
        return run_without_pagemap_scan(argv + 2);
    }
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/skip-scale/anon", test_anon);
    qtest_add_func("/skip-scale/memfd", test_memfd);
    qtest_add_func("/skip-scale/hugetlb", test_hugetlb);
    qtest_add_func("/skip-scale/hugetlb-busy", test_hugetlb_busy);
    qtest_add_func("/skip-scale/pagemap-read", test_pagemap_read);
    qtest_add_func("/skip-scale/hugetlb-mincore", test_hugetlb_mincore);
    return g_test_run();
}
