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

/* What the balloon leaves, and what of that is in use */
#define LEFT (1 * GiB)
#define USED (64 * MiB)

/* Memory above is mapped from 4 GiB on */
#define LOW_RAM (3 * GiB)

#define HUGE_SIZE (2 * MiB)

/* What is given back in one request */
#define STEP (512 * MiB)

/* The dirty log is armed by as much as that in one go. */
#define CHUNK (1 * GiB)

/* Where the driver of a guest that is busy gives back, and takes back */
#define BUSY_START (512 * MiB)

/* Of which the dirty log is armed by 256 KiB */
#define WINDOWS_RAM (64 * GiB)
#define WINDOW (256 * KiB)
/* Of each window of this a page is used while the rest is sent. */
#define SPARSE_START (4 * GiB)
#define SPARSE_SIZE (8 * GiB)

#define QEMU_ENV "QTEST_QEMU_BINARY"
#define WITHOUT_PAGEMAP_SCAN "--run-without-pagemap-scan"

typedef struct Case {
    const char *name;
    uint64_t ram_size;
    BGBackend backend;
    bool busy;                  /* the driver */
    bool enforced;              /* what the guest gave back is */
    bool old_kernel;            /* before Linux 6.7 */
} Case;

static const Case cases[] = {
    { "memfd", 1 * TiB, BG_MEMFD, .enforced = true },
    { "anon", 256 * GiB, BG_ANON },
    { "hugetlb-busy", 256 * GiB, BG_HUGETLB, .busy = true },
    { "anon-pagemap-read", 128 * GiB, BG_ANON, .old_kernel = true },
    { "hugetlb-mincore", 256 * GiB, BG_HUGETLB, .busy = true,
      .old_kernel = true },
};

/* What the test asks QEMU to write down, and where */
static char *trace_path(const char *who)
{
    return g_strdup_printf("%s/skip-scale-%d-%s", g_get_tmp_dir(), getpid(),
                           who);
}

static const char *const both[] = {
    "skip-balloon", "skip-unpopulated", NULL
};

static BGuest *start(const Case *c, const char *who, bool incoming)
{
    g_autofree char *path = trace_path(who);
    /* A CPU that can address it, and has no hole below 1 TiB */
    g_autofree char *args = g_strdup_printf(
        "-cpu max,vendor=GenuineIntel,phys-bits=46 -trace skip_* "
        "-trace migration_bitmap_clear_dirty -D %s", path);
    BGOptions options = {
        .backend = c->backend,
        .ram_size = c->ram_size,
        .capabilities = both,
        .device_args = c->enforced ? "enforce=report" : NULL,
        .args = args,
    };

    return incoming ? bg_start_dest(&options) : bg_start(&options);
}

/*
 * What QEMU wrote down about holding the BQL is told, and that no chunk was
 * armed with it.  Returns how many were.
 */
static uint64_t tell(const Case *c, const char *who)
{
    g_autofree char *path = trace_path(who);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t n = 0, longest = 0, total = 0, armed = 0, counted = 0;
    bool in_pass = false;
    int i;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    unlink(path);
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        char *at = strstr(lines[i], "skip_bql_end ");
        uint64_t us;

        if (at && sscanf(at, "skip_bql_end %*s %" SCNu64, &us) == 1) {
            n++;
            total += us;
            longest = MAX(longest, us);
        }
        counted += strstr(lines[i], "skip_bql_end enforced") != NULL;
        /* The thread that makes passes is the one that arms, too. */
        if (strstr(lines[i], "skip_bql_begin pass")) {
            in_pass = true;
        } else if (strstr(lines[i], "skip_bql_end pass")) {
            in_pass = false;
        } else if (strstr(lines[i], "migration_bitmap_clear_dirty ")) {
            armed++;
            g_assert_false(in_pass);
        }
    }
    g_test_message("%s, %s: %" PRIu64 " holds of the BQL, longest %.1f ms, "
                   "together %.1f ms", c->name, who, n, longest / 1e3,
                   total / 1e3);
    g_assert_cmpuint(n, >, 0);
    /* query-balloon-map counts what is enforced, of a terabyte in pieces. */
    g_assert_true(!counted == !c->enforced && counted != 1);
    return armed;
}

/*
 * A driver that gives back a huge page, and takes it back, all the time, until
 * the guest is stopped, and nothing has been saved of that moment yet
 */
static void keep_busy(BGuest *g)
{
    uint64_t requests = 0;

    while (!bg_has_status(g, "pre-switchover")) {
        bg_request_range(g, BG_INFLATE, BUSY_START, HUGE_SIZE);
        bg_request_range(g, BG_DEFLATE, BUSY_START, HUGE_SIZE);
        requests += 2;
        g_assert_false(bg_has_status(g, "failed"));
    }
    g_test_message("%" PRIu64 " requests during the migration", requests);
    bg_migrate_continue(g, NULL);
}

static void migrate_large(const Case *c)
{
    BGuest *g = start(c, "source", false), *dest = start(c, "dest", true);
    const int64_t pages = (c->ram_size - LEFT) / BALLOON_PAGE;
    uint64_t at;
    QDict *info;

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, USED, 1);
    for (at = LEFT; at < c->ram_size; at += STEP) {
        bg_inflate_unseen(g, at < LOW_RAM ? at : at - LOW_RAM + 4 * GiB, STEP);
    }
    if (c->enforced) {
        bg_assert_map(g, pages);
    }
    bg_set_capability(g, "pause-before-switchover", c->busy);
    bg_migrate_begin(g, dest, 0);
    if (c->busy) {
        keep_busy(g);
    }
    bg_migrate_wait(g, dest);

    info = bg_query_migrate(g);
    g_test_message("%s: %" PRIu64 " GiB, total time %" PRIi64 " ms, map %"
                   PRIi64 " bytes", c->name, c->ram_size / GiB,
                   qdict_get_int(info, "total-time"),
                   bg_skip_stat(g, "map-bytes"));
    qobject_unref(info);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=, pages);
    g_assert_true(c->busy || bg_skip_stat(g, "skipped-pages") == pages);
    /* Whoever asks where a terabyte went holds up nobody for long, either. */
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-migration-map' }");
    qtest_qmp_assert_success(dest->qts,
                             "{ 'execute': 'query-migration-map' }");
    bg_assert_same_map(g, dest);
    g_assert_cmpuint(bg_count_populated(dest, BG_RAM_START, USED), ==,
                     USED / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(g);
    g_assert_cmpuint(tell(c, "source"), >=, c->ram_size / CHUNK);
    tell(c, "dest");
}

static void test_large(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *qemu = g_strdup(getenv(QEMU_ENV));
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *hidden = g_strdup_printf("%s %s %s", self,
                                              WITHOUT_PAGEMAP_SCAN, qemu);

    if (c->backend == BG_HUGETLB &&
        !bg_huge_or_skip(2 * (USED + 4 * HUGE_SIZE))) {
        return;
    }
    if (c->old_kernel) {
        g_setenv(QEMU_ENV, hidden, true);
    }
    migrate_large(c);
    g_setenv(QEMU_ENV, qemu, true);
}

static unsigned int count_traced(const char *path, const char *event)
{
    g_autofree char *text = NULL;
    unsigned int n = 0;
    const char *at;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    for (at = text; (at = strstr(at, event)); at++) {
        n++;
    }
    return n;
}

/*
 * QEMU refuses a device during a migration, and its main loop then waits for
 * all who read by RCU: not until a pass has come to its end.  Small windows
 * make that last seconds.
 */
static void test_refused(gconstpointer data)
{
    unsigned int pass = GPOINTER_TO_UINT(data);
    g_autofree char *path = trace_path("refused");
    g_autofree char *args = g_strdup_printf(
        "-global migration.x-clear-bitmap-shift=6 -trace skip_pass_begin "
        "-trace skip_pass_end -D %s", path);
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = WINDOWS_RAM,
        .capabilities = both,
        .args = args,
    };
    BGuest *g = bg_start(&options), *dest;
    uint64_t at;

    options.args = NULL;
    dest = bg_start_dest(&options);
    bg_fill(g, BG_RAM_START, USED, 1);
    bg_migrate_begin(g, dest, MiB);
    BG_WAIT(count_traced(path, "skip_pass_begin"));
    if (pass > 1) {
        BG_WAIT(count_traced(path, "skip_pass_end"));
        for (at = SPARSE_START; at < SPARSE_START + SPARSE_SIZE; at += WINDOW) {
            qtest_writeb(g->qts, at, 1);
        }
        bg_migrate_limit(g, 0);
        BG_WAIT(count_traced(path, "skip_pass_begin") == pass);
    }
    qobject_unref(qtest_qmp_assert_failure_ref(
        g->qts, "{ 'execute': 'device_add',"
        " 'arguments': { 'driver': 'virtio-rng-pci' } }"));
    g_assert_cmpuint(count_traced(path, "skip_pass_end"), ==, pass - 1);
    bg_migrate_end(g, dest);
    bg_quit(dest);
    bg_quit(g);
    unlink(path);
}

int main(int argc, char **argv)
{
    int i;

    /* A program that cannot use PAGEMAP_SCAN, in place of this one */
    if (argc > 2 && !strcmp(argv[1], WITHOUT_PAGEMAP_SCAN)) {
        bg_forbid_pagemap_scan(ENOTTY);
        execv(argv[2], argv + 2);
        perror(argv[2]);
        return 1;
    }
    bg_init(&argc, &argv);
    bg_allow_huge_pages(true);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], test_large, "/skip-scale/%s", cases[i].name);
    }
    bg_add_test(GUINT_TO_POINTER(1), test_refused, "/skip-scale/refused");
    bg_add_test(GUINT_TO_POINTER(2), test_refused, "/skip-scale/refused-later");
    return g_test_run();
}
