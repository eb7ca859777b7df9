/*
 * Tests of migration capability skip-unpopulated: files, a host that does not
 * tell, huge pages, and anything at any time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "host-memory.h"
#include "skip-unpopulated.h"

static const BGOptions no_balloon = { .backend = BG_ANON, .no_device = true };

static void migrate(BPair *p)
{
    bp_begin(p, 0);
    bp_finish(p);
}

/* ---- Files ---- */

/*
 * What nobody has written to, in a file that is full otherwise.  On disks, to
 * write to a page may populate 2 MiB.
 */
#define HOLE_START (53 * MiB)
#define HOLE_SIZE (10 * MiB)
#define UNUSED_SIZE (HOLE_SIZE - 2 * BALLOON_PAGE)

typedef struct FileCase {
    const char *name;
    bool tmpfs;
    const char *share;          /* NULL: a new file without a name */
} FileCase;

static const FileCase file_cases[] = {
    { "file/private", false, "off" },
    { "file/private-tmpfs", true, "off" },
    { "file/shared", false, "on" },
    { "file/shared-tmpfs", true, "on" },
    { "scatter/unnamed-file", false },
    { "scatter/unnamed-tmpfs", true },
};

/* Is a range of a file nothing but a hole? */
static bool is_hole(const char *path, uint64_t start, uint64_t length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t data = lseek(fd, start, SEEK_DATA);

    close(fd);
    return data < 0 || data >= start + length;
}

/*
 * Memory that is a file which holds something, but for a hole, of which the
 * guest uses the first and the last page
 */
static void check_named_file(const FileCase *c, const char *path)
{
    g_autofree char *file = g_strdup_printf("%s,share=%s", path, c->share);
    BGOptions options = { .no_device = true, .ram_file = file };
    int64_t pages = UNUSED_SIZE / BALLOON_PAGE;
    BPair p;

    hm_make_file(path, RAM_SIZE, 0, HOLE_START);
    hm_make_file(path, RAM_SIZE, HOLE_START + HOLE_SIZE,
                 RAM_SIZE - HOLE_START - HOLE_SIZE);
    p = unpopulated_start(&options, &no_balloon);
    bp_scatter(p.source);
    bg_fill(p.source, HOLE_START, BALLOON_PAGE, 1);
    bg_fill(p.source, HOLE_START + HOLE_SIZE - BALLOON_PAGE, BALLOON_PAGE, 2);
    migrate(&p);
    if (c->tmpfs) {
        g_assert_cmpint(bp_skipped_pages(p.source), ==, pages);
        g_assert_true(is_hole(path, HOLE_START + BALLOON_PAGE, UNUSED_SIZE));
        g_assert_cmpuint(bg_count_populated(p.dest, HOLE_START + BALLOON_PAGE,
                                            UNUSED_SIZE), ==, 0);
    } else {
        /* It may populate neighbours of what is written to. */
        g_assert_cmpint(bp_skipped_pages(p.source), >, pages / 2);
        g_assert_cmpint(bp_skipped_pages(p.source), <=, pages);
    }
    bp_assert_same_content(p.source, p.dest);
    g_assert_cmphex(bg_byte(p.dest, 36 * MiB), ==, 'x');
    bp_end(&p);
    unlink(path);
}

/* On file systems that may populate more or less */
static void check_unnamed_file(const char *dir)
{
    BGOptions options = { .no_device = true, .ram_file = dir };
    BPair p = unpopulated_start(&options, NULL);

    bp_scatter(p.source);
    migrate(&p);
    g_assert_cmpint(bp_skipped_pages(p.source), >, 16 * MiB / BALLOON_PAGE);
    g_assert_cmpint(bp_skipped_pages(p.source), <=, 56 * MiB / BALLOON_PAGE);
    bp_assert_same_content(p.source, p.dest);
    bp_end(&p);
}

static void test_file(gconstpointer data)
{
    const FileCase *c = data;
    const char *dir = c->tmpfs ? hm_tmpfs_or_skip() : g_get_tmp_dir();

    if (dir && c->share) {
        g_autofree char *path = hm_temp_path(dir, "ram");

        check_named_file(c, path);
    } else if (dir) {
        check_unnamed_file(dir);
    }
}

/* ---- What is left alone ---- */

static void assert_left_alone(BGuest *g, const char *id, int64_t size,
                              const char *expected)
{
    int64_t told;
    g_autofree char *reason = bg_left_alone(g, id, &told);

    g_assert_cmpstr(reason, ==, expected);
    g_assert_cmpint(told, ==, size);
}

/* ROMs, memory of a device; and main memory is none of these. */
static void test_not_guest_ram(void)
{
    BGOptions options = { .no_device = true,
                          .args = "-device VGA,vgamem_mb=16,addr=6" };
    BPair p;

    if (!qtest_has_device("VGA")) {
        g_test_skip("there is no VGA");
        return;
    }
    p = unpopulated_start(&options, NULL);
    bp_scatter(p.source);
    migrate(&p);
    assert_left_alone(p.source, "pc.bios", 256 * KiB, "not-guest-ram");
    assert_left_alone(p.source, "0000:00:06.0/vga.vram", 16 * MiB,
                      "not-guest-ram");
    assert_left_alone(p.source, "ram0", 0, NULL);
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

static void test_silent_host(void)
{
    BPair p;

    if (!g_test_subprocess()) {
        g_assert_true(hm_passes_in_subprocess());
        return;
    }
    bg_forbid_pagemap_scan(EIO);
    p = unpopulated_start(&no_balloon, NULL);
    bp_scatter(p.source);
    migrate(&p);
    g_assert_cmpint(bp_skipped_pages(p.source), ==, 0);
    assert_left_alone(p.source, "ram0", RAM_SIZE, "undecided");
    bp_assert_same_content(p.source, p.dest);
    bp_end(&p);
}

/* A host that told at first, and then does not any more */
static void test_falls_silent(void)
{
    g_autofree char *command = NULL;
    g_autofree char *pagemap = NULL;
    int64_t skipped;
    BPair p;

    if (!bg_gdb_or_skip()) {
        return;
    }
    p = unpopulated_start(&no_balloon, NULL);
    bp_scatter(p.source);
    bp_begin(&p, 0);
    bp_wait_status(p.source, "pre-switchover");
    skipped = bp_skipped_pages(p.source);
    g_assert_cmpint(skipped, >, 0);

    pagemap = bg_find_fd(p.source, "/pagemap");
    command = g_strdup_printf("call (int)close(%s)",
                              strrchr(pagemap, '/') + 1);
    bg_gdb(p.source, command, NULL);
    bg_fill(p.source, BG_RAM_START, MiB, 77);
    bp_finish(&p);
    g_assert_cmpint(bp_skipped_pages(p.source), ==, skipped);
    assert_left_alone(p.source, "ram0", RAM_SIZE, "undecided");
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

/* ---- Huge pages that come by themselves ---- */

#define HUGE_START (16 * MiB)
#define HUGE_PAGE_PAGES (HM_HUGE_SIZE / BALLOON_PAGE)

/*
 * One page of a huge page is used, so all of it is populated, and arrives as
 * zeroes.  The destination, if its host gives a huge page there as well, leaves
 * it whole.
 */
static void test_zeroes_in_huge_page(void)
{
    g_autofree char *log = hm_temp_path(g_get_tmp_dir(), "log");
    g_autofree char *trace = g_strdup_printf(
        "-trace ram_block_discard_range -D %s", log);
    BGOptions options = { .backend = BG_ANON };
    BGOptions traced = { .backend = BG_ANON, .args = trace };
    bool huge;
    BPair p;

    bg_allow_huge_pages(true);
    p = unpopulated_start(&options, &traced);
    bg_allow_huge_pages(false);
    bg_fill(p.source, HUGE_START, BALLOON_PAGE, 1);
    huge = bg_count_populated(p.source, HUGE_START, HM_HUGE_SIZE) ==
           HUGE_PAGE_PAGES;
    if (huge) {
        migrate(&p);
        bg_assert_same_memory(p.source, p.dest);
    } else {
        g_test_skip("the host gives no huge page");
    }
    bp_end(&p);
    if (huge) {
        g_autofree char *text = NULL;
        g_auto(GStrv) pieces = NULL;

        g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
        /* It discards no more than a page only now and then. */
        pieces = g_strsplit(text, " + 0x1000:", -1);
        g_assert_cmpuint(g_strv_length(pieces), <=, HUGE_PAGE_PAGES / 4);
    }
    unlink(log);
}

/* ---- Halves of pages of the target ---- */

/* As far as the destination looks in one go */
#define FAR (256 * MiB)

/*
 * The destination has a template, with something in the second half of a page,
 * and far behind that in a page that is told, and nothing else is told there.
 */
void test_half_page(void)
{
    const char *dir = hm_tmpfs_or_skip();
    const uint64_t page = bg_target_page(), at = 16 * MiB, told = at + FAR;
    g_autofree char *path = dir ? hm_temp_path(dir, "template") : NULL;
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    BGOptions options = { .backend = BG_ANON, .ram_size = 2 * FAR };
    BGOptions template = { .ram_file = file, .ram_size = 2 * FAR };
    uint64_t i;
    BPair p;

    if (!dir) {
        return;
    }
    hm_make_file(path, 2 * FAR, at + page / 2, page / 2);
    hm_make_file(path, 2 * FAR, told, page);
    p = unpopulated_start(&options, &template);
    g_assert_cmphex(qtest_readq(p.dest->qts, told), !=, 0);
    bg_fill(p.source, at, FAR, 1);
    migrate(&p);
    for (i = told; i < told + page; i += sizeof(uint64_t)) {
        g_assert_cmphex(qtest_readq(p.dest->qts, i), ==, 0);
    }
    bp_end(&p);
    unlink(path);
}

/* When the snapshot begins half of a page is populated, later the other one. */
void test_half_page_later(void)
{
    BGOptions options = { .backend = BG_ANON };
    const uint64_t at = 16 * MiB, half = at + bg_target_page() / 2;
    BPair p = unpopulated_start(&options, NULL);

    if (bg_set_background_snapshot(p.source)) {
        /* This goes first. */
        bg_fill(p.source, at / 2, at / 4, 1);
        qtest_writeb(p.source->qts, at, 2);
        bg_migrate_begin(p.source, p.dest, MiB);
        qtest_qmp_eventwait(p.source->qts, "RESUME");
        qtest_writeb(p.source->qts, half, 3);
        bg_migrate_end(p.source, p.dest);
        g_assert_cmpint(qtest_readb(p.dest->qts, at), ==, 2);
        g_assert_cmpint(qtest_readb(p.dest->qts, half), ==, 0);
    }
    bp_end(&p);
}

/* ---- Anything, at any time ---- */

#define ROUNDS_ENV "SKIP_UNPOPULATED_TEST_ROUNDS"
#define RANDOM_RAM (24 * MiB)

/* Left alone, so that a slow migration has something to do */
#define RANDOM_BALLAST (RANDOM_RAM - 8 * MiB)
#define RANDOM_PAGES ((RANDOM_BALLAST - BG_RAM_START) / BALLOON_PAGE)

/* One thing that a guest, honest or not, may do */
static void random_step(BPair *p)
{
    uint64_t pages = 1 + g_test_rand_int_range(0, 2) *
                     g_test_rand_int_range(0, 512);
    uint64_t at = BG_RAM_START + BALLOON_PAGE *
                  g_test_rand_int_range(0, RANDOM_PAGES - pages);
    uint64_t length = pages * BALLOON_PAGE;
    uint8_t seed = g_test_rand_int_range(1, 256);
    BalloonModel *m = p->model;
    BGuest *g = p->source;

    switch (g_test_rand_int_range(0, 9)) {
    case 0:
    case 1:
        bm_inflate(m, g, at, length);
        break;
    case 2:
        bm_report(m, g, at, length);
        break;
    case 3:
        (g_test_rand_int_range(0, 2) ? bm_report : bm_inflate)(m, g, at,
                                                               length);
        bm_fill(m, g, at, length, seed);
        break;
    case 4:
        bm_deflate(m, g, at, length);
        break;
    case 5:
        bm_zero(m, g, at, length);
        break;
    case 6:
        bm_change(m, g, at, length, seed);
        break;
    default:
        bm_fill(m, g, at, length, seed);
        break;
    }
}

static void random_steps(BPair *p, int most)
{
    int n = g_test_rand_int_range(0, most);

    while (n--) {
        random_step(p);
    }
}

static void random_round(int round)
{
    static const char *const detections[] = { "none", "legacy", "multifd" };
    const char *detection = detections[g_test_rand_int_range(0, 3)];
    g_autofree char *parameters = g_strdup_printf(
        "{ 'zero-page-detection': '%s' }", detection);
    BGOptions options = {
        .backend = g_test_rand_int_range(0, 2) ? BG_MEMFD : BG_ANON,
        .ram_size = RANDOM_RAM,
        .multifd = g_test_rand_int_range(0, 2),
        .device_args = "free-page-reporting=on",
        .args = g_test_rand_int_range(0, 2)
                ? "-global migration.x-clear-bitmap-shift=6" : NULL,
    };
    int ours = g_test_rand_int_range(0, 2) ? BP_BOTH : BP_UNPOPULATED;
    bool converge = g_test_rand_int_range(0, 2);
    bool xbzrle = !options.multifd && g_test_rand_int_range(0, 2);
    bool huge = !g_test_rand_int_range(0, 4);
    bool paused = g_test_rand_int_range(0, 2);
    uint64_t bandwidth = MiB << g_test_rand_int_range(0, 7);
    g_autofree bool *populated = NULL;
    BPair p;

    g_test_message("round %d: %s%s%s%s%s%s%s%s, detection %s, %" PRIu64
                   " MiB/s", round,
                   options.backend == BG_MEMFD ? "memfd" : "anon",
                   ours == BP_BOTH ? ", both" : "",
                   options.multifd ? ", multifd" : "",
                   options.args ? ", small windows" : "",
                   converge ? ", auto-converge" : "", xbzrle ? ", xbzrle" : "",
                   huge ? ", huge" : "", paused ? ", paused" : "", detection,
                   bandwidth / MiB);
    bg_allow_huge_pages(huge);
    p = bp_start(&options, NULL, false);
    bg_allow_huge_pages(false);
    p.model = bm_new(p.source);
    bp_set_capabilities(p.source, ours);
    bp_set_capabilities(p.dest, ours);
    bg_set_capability(p.source, "auto-converge", converge);
    bg_set_capability(p.source, "xbzrle", xbzrle);
    bg_set_parameters(p.source, parameters);
    bm_fill(p.model, p.source, RANDOM_BALLAST, RANDOM_RAM - RANDOM_BALLAST, 7);
    random_steps(&p, 40);
    bp_begin(&p, bandwidth);
    random_steps(&p, 60);
    bg_migrate_limit(p.source, 0);
    if (paused) {
        bp_wait_status(p.source, "pre-switchover");
        random_steps(&p, 30);
    }
    bp_finish(&p);
    populated = bp_populated_of(p.source);
    /* With huge pages, a neighbour may have populated a page of zeroes. */
    if (!huge) {
        bp_assert_populated_as_before(p.dest, populated);
    }
    /* What was handed to a thread of multifd is read even if discarded then. */
    bm_note_populated(p.model, p.source);
    bm_check(p.model, p.source);
    if (huge) {
        bm_note_populated(p.model, p.dest);
    }
    bm_check(p.model, p.dest);
    bp_end(&p);
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

/* ---- All of these ---- */

void add_host_tests(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(file_cases); i++) {
        bg_add_test(&file_cases[i], test_file, PROGRAM "/%s",
                    file_cases[i].name);
    }
    qtest_add_func(PROGRAM "/alone/not-guest-ram", test_not_guest_ram);
    qtest_add_func(PROGRAM "/alone/silent-host", test_silent_host);
    qtest_add_func(PROGRAM "/alone/falls-silent", test_falls_silent);
    qtest_add_func(PROGRAM "/zeroes-in-huge-page", test_zeroes_in_huge_page);
    qtest_add_func(PROGRAM "/random", test_random);
}
