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
#include "balloon-guest.h"
#include "host-memory.h"

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
    BGuest *g = bg_start_driven(&options);

    bg_fill(g, DATA_START, DATA_SIZE, 1);
    bg_fill(g, MORE_START, DATA_SIZE, 2);
    return g;
}

/* The same but for what @options say of its memory, and @args for QEMU */
static BGuest *start_dest(const BGuest *g, const BGOptions *options)
{
    BGOptions own = *options;

    own.ram_size = RAM_SIZE;
    own.multifd = g->options.multifd;
    own.capabilities = caps;
    return bg_start_dest(&own);
}

/* All is read, whether it is populated or not. */
static void end(BGuest *g, BGuest *dest)
{
    g_autofree uint8_t *in_g = g_malloc(RAM_SIZE);
    g_autofree uint8_t *in_dest = g_malloc(RAM_SIZE);

    bg_read(g, BG_RAM_START, in_g, RAM_SIZE - BG_RAM_START);
    bg_read(dest, BG_RAM_START, in_dest, RAM_SIZE - BG_RAM_START);
    g_assert_cmpint(memcmp(in_g, in_dest, RAM_SIZE - BG_RAM_START), ==, 0);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Zeroes that are populated, so that they are sent ---- */

/* What has been sent becomes zero: the zeroes are loaded over it. */
static void test_later(gconstpointer data)
{
    BGuest *g = start_source(BG_ANON, data);
    BGuest *dest = bg_start_incoming(g);

    bg_migrate_pause(g, dest);
    g_assert_false(bg_is_zero(dest, DATA_START));
    qtest_memset(g->qts, DATA_START, 0, DATA_SIZE);
    bg_migrate_continue(g, dest);
    bg_assert_populated(dest, DATA_START, DATA_SIZE, 0);
    end(g, dest);
}

/* The destination holds something of an earlier use. */
static void test_old(gconstpointer data)
{
    g_autofree char *path = NULL;
    BGOptions options = { };
    BGuest *g, *dest;

    if (!hm_tmpfs_or_skip()) {
        return;
    }
    options.ram_file = path = hm_temp_path(hm_find_tmpfs(), "junk");
    hm_make_file(path, RAM_SIZE, 0, RAM_SIZE);
    g = start_source(BG_ANON, data);
    qtest_memset(g->qts, DATA_START, 0, DATA_SIZE);
    dest = start_dest(g, &options);
    bg_migrate(g, dest);
    end(g, dest);
    unlink(path);
}

/* ---- Huge pages ---- */

/* Does the mapping that @g has its memory in have a flag in smaps? */
static bool has_flag(BGuest *g, const char *flag)
{
    g_autofree char *text = bg_proc(g, "smaps");
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    bool is_ours = false, has = false;
    int i;

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
static void test_huge_pages(gconstpointer data)
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
    bg_migrate_pause(g, dest);
    g_assert_true(has_flag(dest, " nh"));
    bg_assert_populated(dest, DATA_START + DATA_SIZE / 2, DATA_SIZE / 2, 0);
    bg_migrate_continue(g, dest);
    g_assert_false(has_flag(dest, " nh"));
    g_assert_cmpuint(bg_count_populated(dest, MORE_START - MiB, 2 * MiB), <=,
                     populated);
    end(g, dest);
}

/* Of three RAM blocks 400 pages each are in the balloon, none near another. */
#define PLACES 400
#define PLACES_APART (4 * MiB)
#define PLACES_MAX 1024
#define PLACES_RAM (1792 * MiB)
#define PLACES_DIMM(n) \
    " -object memory-backend-ram,id=ram" n ",size=1792M" \
    " -device pc-dimm,id=dimm" n ",memdev=ram" n
#define PLACES_MACHINE \
    "-machine pc,memory-backend=ram0 -m 1792M,slots=2,maxmem=8G " \
    "-object memory-backend-ram,id=ram0,size=1792M" \
    PLACES_DIMM("1") PLACES_DIMM("2")

/* A process has few mappings, so huge pages are forbidden at few places. */
static void test_places(gconstpointer data)
{
    static const char *const balloon[] = { "skip-balloon", NULL };
    BGOptions options = {
        .machine_args = PLACES_MACHINE,
        .ram_size = PLACES_RAM,
        .capabilities = balloon,
    };
    BGuest *g = bg_start_driven(&options), *dest = bg_start_incoming(g);
    unsigned int before = bg_count_mappings(dest);

    bg_request_every(g, BG_INFLATE, PLACES_APART, PLACES_APART, PLACES);
    bg_request_every(g, BG_INFLATE, BG_DIMM_START, PLACES_APART, PLACES);
    bg_request_every(g, BG_INFLATE, BG_DIMM_START + PLACES_RAM, PLACES_APART,
                     PLACES);
    bg_migrate_pause(g, dest);
    g_assert_cmpuint(bg_count_mappings(dest), <=, before + 2 * PLACES_MAX);
    bg_migrate_continue(g, dest);
    bg_assert_same_map(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* The same place may be named by the map, and again by each word. */
static void test_named_again(gconstpointer data)
{
    const unsigned int places = PLACES_MAX * 3 / 4;
    static const char *const balloon[] = { "skip-balloon", NULL };
    BGOptions options = {
        .ram_size = 2 * PLACES_RAM,
        .capabilities = balloon,
    };
    BGuest *g = bg_start_driven(&options), *dest = bg_start_incoming(g);
    unsigned int before = bg_count_mappings(dest);

    bg_request_every(g, BG_INFLATE, PLACES_APART, PLACES_APART, places);
    bg_migrate_pause(g, dest);
    /* Not in all memory, which would be one mapping */
    g_assert_cmpuint(bg_count_mappings(dest), >=, before + places);
    bg_migrate_continue(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- What has to stay, and what need not ---- */

/* Given back when it has been sent: parts of huge pages, and whole ones */
#define PARTS_START (DATA_START + DATA_SIZE / 2)
#define PARTS_SIZE (5 * MiB)

static char *machine_args(const char *memory)
{
    return g_strdup_printf("-machine pc,memory-backend=ram0 -m 24M,slots=2,"
                           "maxmem=2G -object %s,id=ram0,size=24M", memory);
}

/* Returns what the destination has written to stderr. */
static char *check_given_back_late(BGBackend backend, const char *args)
{
    BGuest *g = start_source(BG_ANON, false), *dest;
    BGOptions options = { .backend = backend, .args = args, .keep_log = true };
    char *log;

    bg_fill(g, DATA_START, 8 * MiB, 3);
    dest = start_dest(g, &options);
    bg_migrate_pause(g, dest);
    bg_request_range(g, BG_INFLATE, PARTS_START, PARTS_SIZE);
    bg_migrate_continue(g, dest);
    log = bg_log(dest);
    end(g, dest);
    return log;
}

static void test_parts(gconstpointer data)
{
    if (bg_huge_or_skip(RAM_SIZE)) {
        g_free(check_given_back_late(BG_HUGETLB, NULL));
    }
}

/* Nobody tries to let go of locked memory. */
static void test_locked(gconstpointer data)
{
    g_autofree char *log = check_given_back_late(BG_ANON,
                                                 "-overcommit mem-lock=on");

    g_assert_null(strstr(log, "ram_block_discard_range"));
}

static void test_locked_source(gconstpointer data)
{
    BGOptions options = {
        .ram_size = RAM_SIZE,
        .args = "-overcommit mem-lock=on",
    };
    BGuest *g = bg_start_driven(&options);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_uri(g, "exec:cat >/dev/null");
    bg_migrate_wait(g, NULL);
    bg_assert_disabled(g, "discard-inhibited");
    bg_quit(g);
}

static void test_preallocated(gconstpointer data)
{
    g_autofree char *args = machine_args("memory-backend-ram,prealloc=on");
    BGOptions options = { .machine_args = args };
    BGuest *g = start_source(BG_ANON, false);
    BGuest *dest = start_dest(g, &options);

    bg_migrate(g, dest);
    bg_assert_populated(dest, BG_RAM_START, RAM_SIZE - BG_RAM_START,
                        (RAM_SIZE - BG_RAM_START) / BALLOON_PAGE);
    end(g, dest);
}

/* Has the file nothing from @start to its end? */
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
static void test_template(gconstpointer data)
{
    struct statfs fs;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "template");
    g_autofree char *memory = g_strdup_printf(
        "memory-backend-file,share=off,mem-path=%s", path);
    g_autofree char *args = machine_args(memory);
    g_autofree char *bytes = g_strnfill(MiB, 'x');
    BGOptions options = { .machine_args = args };
    BGuest *g, *dest;

    if (statfs(g_get_tmp_dir(), &fs) || fs.f_type != EXT4_MAGIC) {
        g_test_skip("the folder for temporary files is not on ext4");
        return;
    }
    hm_make_file(path, RAM_SIZE, 0, MiB);
    g = start_source(BG_ANON, false);
    dest = start_dest(g, &options);
    g_assert_cmpint(pwrite(dest->mem_fd, bytes, MiB, dest->hva + 16 * MiB), ==,
                    MiB);
    bg_migrate(g, dest);
    g_assert_true(ends_empty(path, DATA_START + 6 * MiB));
    bg_assert_populated(dest, 16 * MiB, MiB, 0);
    end(g, dest);
    unlink(path);
}

/*
 * Memory that has to stay, of a host that has no cachestat(): to read what is
 * not populated, to see whether it is zero, would populate it.
 */
static void test_before_6_5(gconstpointer data)
{
    BGOptions options = { .backend = BG_MEMFD,
                          .args = "-overcommit mem-lock=on-fault" };
    BGuest *g, *dest;

    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
        return;
    }
    g = start_source(BG_ANON, false);
    g_setenv("HOST_LIAR_REFUSE", "cachestat", true);
    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    dest = start_dest(g, &options);
    g_unsetenv("LD_PRELOAD");
    bg_migrate(g, dest);
    bg_assert_populated(dest, 17 * MiB, 7 * MiB, 0);
    end(g, dest);
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
    BGuest *g = start_source(BG_ANON, data);
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_begin(g, dest, SLOW);
    bg_migrate_wait_sent(g, SENT_SOON);
    bg_fill(g, USED_START, USED_SIZE, 4);
    bg_migrate_limit(g, FAST);
    BG_WAIT(!bg_is_zero(dest, USED_START + USED_SIZE - BALLOON_PAGE));
    bg_migrate_limit(g, 0);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    bg_request_range(g, BG_INFLATE, USED_START, USED_SIZE);
    bg_migrate_continue(g, dest);
    bg_assert_same_map(g, dest);
    end(g, dest);
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
static void test_file(gconstpointer data)
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
    bg_migrate_uri(g, uri);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    give_back_scattered(g, DATA_START, 64 * BALLOON_PAGE);
    bg_migrate_continue(g, NULL);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    bg_wait_status(dest, "completed", WAIT_SECONDS);
    end(g, dest);
    unlink(path);
}

static BGuest *give_back_before_its_turn(BGuest *g)
{
    BGuest *dest = bg_start_incoming(g);

    bg_migrate_begin(g, dest, SLOW);
    bg_migrate_wait_sent(g, SENT_SOON);
    g_assert_true(bg_is_zero(dest, MORE_START));
    bg_request_range(g, BG_INFLATE, MORE_START, DATA_SIZE);
    return dest;
}

/*
 * Given back as a whole before its turn, and the first page is used all the
 * same: that one is sent, and the others are not read.
 */
static void test_turn(gconstpointer data)
{
    BGuest *g = start_source(BG_MEMFD, false);
    BGuest *dest = give_back_before_its_turn(g);

    bg_fill(g, MORE_START, BALLOON_PAGE, 5);
    bg_migrate_end(g, dest);
    bg_assert_populated(g, MORE_START + BALLOON_PAGE, DATA_SIZE - BALLOON_PAGE,
                        0);
    end(g, dest);
}

/* The same, but the page is used when all that was given back is skipped. */
static void test_turn_is_over(gconstpointer data)
{
    BGuest *g = start_source(BG_ANON, false), *dest;

    bg_set_capability(g, "pause-before-switchover", true);
    dest = give_back_before_its_turn(g);
    bg_migrate_limit(g, 0);
    bg_wait_status(g, "pre-switchover", WAIT_SECONDS);
    bg_fill(g, MORE_START + DATA_SIZE / 2, BALLOON_PAGE, 5);
    bg_migrate_continue(g, dest);
    end(g, dest);
}

/* ---- Owed, and forgotten ---- */

/* Given back in postcopy, when nothing can be let go of */
#define OWED_START (18 * MiB)
#define OWED_SIZE (64 * KiB)

/*
 * A reset of the device takes away what is owed: the guest uses it then, while
 * it gives back what is below and above.
 */
static void test_owed(gconstpointer data)
{
    static const char *const postcopy[] = {
        "skip-balloon", "skip-unpopulated", "postcopy-ram", NULL
    };
    BGuest *g = start_source(BG_ANON, false), *dest;
    uint64_t at;

    g->options.capabilities = postcopy;
    dest = bg_start_incoming(g);
    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 131072 }");
    bg_migrate_begin(g, dest, SLOW);
    bg_migrate_wait_sent(g, SENT_SOON);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-start-postcopy' }");
    qtest_qmp_eventwait(dest->qts, "RESUME");
    bg_driver_start(dest, BG_MUST_TELL_HOST);
    bg_request_range(dest, BG_INFLATE, OWED_START, OWED_SIZE);
    bg_driver_start(dest, BG_MUST_TELL_HOST);
    bg_fill(dest, OWED_START, OWED_SIZE, 6);
    bg_request_range(dest, BG_INFLATE, OWED_START - MiB, OWED_SIZE);
    bg_request_range(dest, BG_INFLATE, OWED_START + MiB, OWED_SIZE);
    bg_assert_map(dest, 0);
    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 0 }");
    bg_wait_status(g, "completed", WAIT_SECONDS);
    BG_WAIT(bg_map_pages(dest, NULL) >= 2 * OWED_SIZE / BALLOON_PAGE);
    for (at = OWED_START; at < OWED_START + OWED_SIZE; at += BALLOON_PAGE) {
        g_assert_false(bg_is_zero(dest, at));
    }
    bg_quit(dest);
    bg_quit(g);
}

/* ---- What is skipped, and what is not ---- */

/* With skip-balloon alone what was never used is sent, here and there too. */
static void test_balloon_alone(gconstpointer data)
{
    BGOptions options = { .ram_size = RAM_SIZE };
    BGuest *g = bg_start_driven(&options), *dest;
    int64_t pages;

    give_back_scattered(g, USED_START, 2 * MiB);
    bg_request_range(g, BG_INFLATE, USED_START + 2 * MiB, MiB);
    bg_set_capability(g, "skip-balloon", true);
    dest = bg_start_incoming(g);
    bg_migrate(g, dest);
    pages = bg_migrate_stat(g, "ram", "normal") +
            bg_migrate_stat(g, "ram", "duplicate") +
            bg_skip_stat(g, "skipped-pages");
    g_assert_cmpint(pages, >=, RAM_SIZE / BALLOON_PAGE);
    bg_quit(dest);
    bg_quit(g);
}

/* The firmware is not the guest's to give back. */
static void test_rom(gconstpointer data)
{
    const uint64_t at = (UINT64_C(4) << 30) - BALLOON_PAGE;
    BGOptions options = { .ram_size = RAM_SIZE };
    BGuest *g = bg_start_driven(&options);
    uint8_t before[BALLOON_PAGE], after[BALLOON_PAGE];

    qtest_memread(g->qts, at, before, sizeof(before));
    bg_request_range(g, BG_INFLATE, at, BALLOON_PAGE);
    qtest_memread(g->qts, at, after, sizeof(after));
    g_assert_false(buffer_is_zero(before, sizeof(before)));
    g_assert_cmpint(memcmp(before, after, sizeof(before)), ==, 0);
    bg_quit(g);
}

static const struct {
    const char *name;
    GTestDataFunc func;
    const char *data;
} tests[] = {
    { "zeroes/later", test_later },
    { "zeroes/later-multifd", test_later, "multifd" },
    { "zeroes/old", test_old },
    { "zeroes/old-multifd", test_old, "multifd" },
    { "huge-pages", test_huge_pages },
    { "places", test_places },
    { "named-again", test_named_again },
    { "parts", test_parts },
    { "locked", test_locked },
    { "locked-source", test_locked_source },
    { "preallocated", test_preallocated },
    { "template", test_template },
    { "before-6.5", test_before_6_5 },
    { "told-twice", test_told_twice },
    { "told-twice-multifd", test_told_twice, "multifd" },
    { "file", test_file },
    { "turn", test_turn },
    { "turn-is-over", test_turn_is_over },
    { "owed", test_owed },
    { "balloon-alone", test_balloon_alone },
    { "rom", test_rom },
};

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    bg_allow_huge_pages(true);
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        bg_add_test(tests[i].data, tests[i].func, "skip-mutants/%s",
                    tests[i].name);
    }
    return g_test_run();
}
