/*
 * A host that does not see a page of guest RAM for a moment, as the kernel does
 * not while it moves the page or collapses it with its neighbours
 *
 * One system call of QEMU lies once, about the page that the test names: a
 * preloaded library does it (SB_HOST_LIAR names it, tests/host-liar.c in the
 * repository of skip-balloon).  Nothing may be lost on the source, nor may old
 * content stay on the destination.  Or a call takes long: what the guest gives
 * back is discarded in the middle of being sent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "host-memory.h"
#include "standard-headers/linux/virtio_balloon.h"

#define RAM_SIZE (64 * MiB)

/* Sent, given back, and used again in the same migration */
#define AGAIN_START (8 * MiB)
#define AGAIN_SIZE (4 * MiB)

/* In the balloon before the migration */
#define GIVEN_START (32 * MiB)
#define GIVEN_SIZE (8 * MiB)

/* Old content of the destination, where the balloon of the source is */
#define OLD_START GIVEN_START
#define OLD_SIZE (1 * MiB)

/* What the migration is busy with */
#define BALLAST_START (48 * MiB)
#define BALLAST_SIZE (8 * MiB)

/* Bytes per second: what is used again is sent, and the ballast is not. */
#define SLOW (4 * MiB)

/* A migration that does not come to where the test waits for it */
#define HANG_SECONDS 60

#define USED_AGAIN_SEED 77

/* Calls that older kernels do not have */
#define BEFORE_6_5 "cachestat scan"
#define BEFORE_6_7 "scan"

typedef struct Case {
    const char *name;
    BGBackend backend;
    const char *call;           /* what lies */
    const char *refuse;         /* what the kernel does not have, or NULL */
    unsigned int truths;        /* what it says before that */
    /* It is asked about the page for certain, so it has to have lied. */
    bool is_asked;
} Case;

static const Case cases[] = {
    { "memfd/lseek", BG_MEMFD, "lseek", NULL, 0, true },
    { "memfd/lseek-second", BG_MEMFD, "lseek", NULL, 1, false },
    { "memfd/mincore", BG_MEMFD, "mincore", NULL, 0, true },
    { "memfd/cachestat", BG_MEMFD, "cachestat", NULL, 0, false },
    { "memfd/before-6.5/lseek", BG_MEMFD, "lseek", BEFORE_6_5, 0, true },
    { "memfd/before-6.5/mincore", BG_MEMFD, "mincore", BEFORE_6_5, 0, true },
    { "memfd/before-6.5/pagemap", BG_MEMFD, "pagemap", BEFORE_6_5, 0, false },
    { "hugetlb/scan", BG_HUGETLB, "scan", NULL, 0, false },
    { "hugetlb/scan-second", BG_HUGETLB, "scan", NULL, 1, false },
    { "hugetlb/scan-third", BG_HUGETLB, "scan", NULL, 2, false },
    { "hugetlb/before-6.7/mincore", BG_HUGETLB, "mincore", BEFORE_6_7, 0,
      false },
    { "hugetlb/before-6.7/mincore-second", BG_HUGETLB, "mincore", BEFORE_6_7,
      1, false },
    { "hugetlb/before-6.7/pagemap", BG_HUGETLB, "pagemap", BEFORE_6_7, 0,
      false },
    { "hugetlb/before-6.7/pagemap-second", BG_HUGETLB, "pagemap", BEFORE_6_7,
      1, false },
    { "hugetlb/before-6.7/pagemap-third", BG_HUGETLB, "pagemap", BEFORE_6_7,
      2, false },
};

static const char *const capabilities[] = {
    "skip-balloon", "skip-unpopulated",
};

/* Preload the liar into the next QEMU that is started; returns its file. */
static char *preload(const Case *c)
{
    char *path = hm_temp_path(g_get_tmp_dir(), "liar");

    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    g_setenv("HOST_LIAR_FILE", path, true);
    g_setenv("HOST_LIAR_CALL", c->call, true);
    g_setenv("HOST_LIAR_REFUSE", c->refuse ?: "", true);
    return path;
}

static void do_not_preload(void)
{
    g_unsetenv("LD_PRELOAD");
}

/* From now on the call does not see the page at @offset, once. */
static void tell_to_lie(const Case *c, const char *path, uint64_t offset)
{
    g_autofree char *temp = g_strdup_printf("%s.tmp", path);
    g_autofree char *text = g_strdup_printf(
        "%" PRIx64 " %" PRIx64 " %" PRIx64 " %u\n", offset,
        c->backend == BG_HUGETLB ? HM_HUGE_SIZE : BALLOON_PAGE, RAM_SIZE,
        c->truths);

    g_assert_true(g_file_set_contents(temp, text, -1, NULL));
    g_assert_cmpint(rename(temp, path), ==, 0);
}

static void assert_has_lied(const Case *c, const char *path)
{
    bool has_lied = access(path, F_OK) != 0;

    g_test_message("%s %s", c->call, has_lied ? "lied" : "was not asked");
    g_assert_true(has_lied || !c->is_asked);
    unlink(path);
}

static BGuest *start_source(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 1);
    bg_fill(g, GIVEN_START, GIVEN_SIZE, 2);
    bg_fill(g, AGAIN_START, AGAIN_SIZE, 3);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    return g;
}

/* When memory is given back and used again */
typedef enum Moment {
    /* While the guest runs, after that memory was sent */
    LIVE,
    /* With the guest stopped, when nothing is left but the last pass */
    FINAL,
} Moment;

static void wait_until(BGuest *g, BGuest *dest, Moment moment)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;
    bool reached = false;

    while (!reached) {
        QDict *info = bg_query_migrate(g);

        reached = moment == FINAL
                  ? !strcmp(qdict_get_str(info, "status"), "pre-switchover")
                  : !bg_is_zero(dest, AGAIN_START + AGAIN_SIZE - BALLOON_PAGE);
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

/*
 * The page that is hidden is the first one of what is used again, amid a hole:
 * whoever looks for data finds it at first.  It is dirty, and all that the
 * destination has of it is what it held before it was given back.
 */
static void check_source(const Case *c, const char *capability, bool tells,
                         Moment moment)
{
    BGOptions options = { .backend = c->backend, .ram_size = RAM_SIZE };
    uint64_t used = AGAIN_START + 2 * MiB;
    g_autofree char *path = preload(c);
    BGuest *g = start_source(&options);
    BGuest *dest;

    do_not_preload();
    dest = bg_start_incoming(g);
    bg_set_capability(g, capability, true);
    bg_set_capability(dest, capability, true);
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, moment == LIVE ? SLOW : 0);
    bg_migrate_start(g, dest);
    wait_until(g, dest, moment);
    bg_request_range(g, BG_INFLATE, AGAIN_START, AGAIN_SIZE);
    if (tells) {
        bg_request_range(g, BG_DEFLATE, used, 2 * MiB);
    }
    bg_fill(g, used, BALLOON_PAGE, USED_AGAIN_SEED);
    tell_to_lie(c, path, used);
    bg_migrate_limit(g, 0);
    wait_until(g, dest, FINAL);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(g, dest);

    assert_has_lied(c, path);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* A file of tmpfs that holds something where the source skips */
static char *write_old_content(void)
{
    char *path = hm_temp_path(hm_find_tmpfs(), "old");
    g_autofree char *old = g_malloc(OLD_SIZE);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    memset(old, 'x', OLD_SIZE);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    g_assert_cmpint(pwrite(fd, old, OLD_SIZE, OLD_START), ==, OLD_SIZE);
    close(fd);
    return path;
}

/* Of memory that is a file with a name nobody tells what is populated. */
static void assert_same(BGuest *a, BGuest *b, uint64_t start, uint64_t size)
{
    g_autofree char *in_a = g_malloc(size);
    g_autofree char *in_b = g_malloc(size);

    bg_read(a, start, in_a, size);
    bg_read(b, start, in_b, size);
    g_assert_cmpmem(in_a, size, in_b, size);
}

/* The page that is hidden is the first one of the old content. */
static void check_destination(const Case *c, const char *capability)
{
    BGOptions options = { .backend = BG_MEMFD, .ram_size = RAM_SIZE };
    BGuest *g = start_source(&options);
    g_autofree char *path = preload(c);
    g_autofree char *old = write_old_content();
    BGuest like = { .options = options };
    BGuest *dest;

    like.options.ram_file = old;
    tell_to_lie(c, path, OLD_START);
    dest = bg_start_incoming(&like);
    do_not_preload();
    bg_set_capability(g, capability, true);
    bg_set_capability(dest, capability, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);

    assert_has_lied(c, path);
    assert_same(g, dest, BALLAST_START, BALLAST_SIZE);
    assert_same(g, dest, GIVEN_START, RAM_SIZE - GIVEN_START);
    bg_quit(dest);
    bg_quit(g);
    unlink(old);
}

/* ---- A discard that takes long ---- */

/* Not sent yet when it is given back, by one run of pages */
#define HELD_START BALLAST_START
#define HELD_SIZE (4 * MiB)

/* Bytes per second; and the pages of it that QEMU sends in one go, or twice */
#define HELD_RATE (1 * MiB)
#define HELD_SENT 64

typedef struct Hold {
    BGuest *dest;
    const char *path;           /* of the liar */
} Hold;

/* The hole is made once the first pages of it have been sent. */
static void *let_go_when_sent(void *opaque)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    Hold *hold = opaque;
    g_autofree char *held = g_strconcat(hold->path, ".held", NULL);

    while (access(held, F_OK) || bg_is_zero(hold->dest, HELD_START)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    unlink(held);
    return NULL;
}

/*
 * The host was asked about these pages before they were discarded, and said
 * that they are populated.  The rest of them must not be read afterwards: that
 * would populate them again.
 */
static void check_held(const char *capability)
{
    const Case c = { .backend = BG_MEMFD, .call = "punch" };
    BGOptions options = { .backend = c.backend, .ram_size = RAM_SIZE };
    g_autofree char *path = preload(&c);
    BGuest *g = start_source(&options);
    Hold hold = { .path = path };
    uint64_t populated;
    GThread *thread;

    do_not_preload();
    hold.dest = bg_start_incoming(g);
    bg_set_capability(g, capability, true);
    bg_migrate_limit(g, SLOW);
    bg_migrate_start(g, hold.dest);
    bg_migrate_wait_sent(g, 1 * MiB);
    bg_migrate_limit(g, HELD_RATE);
    g_assert_true(bg_is_zero(hold.dest, HELD_START));
    tell_to_lie(&c, path, HELD_START);
    thread = g_thread_new("hold", let_go_when_sent, &hold);
    bg_request_range(g, BG_INFLATE, HELD_START, HELD_SIZE);
    g_thread_join(thread);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, hold.dest);

    populated = bg_count_populated(g, HELD_START, HELD_SIZE);
    g_test_message("%" PRIu64 " pages were read", populated);
    g_assert_cmpuint(populated, <, HELD_SENT);
    bg_assert_same_memory(g, hold.dest);
    bg_quit(hold.dest);
    bg_quit(g);
}

static bool can_lie(void)
{
    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
        return false;
    }
    return true;
}

static void test_source(const void *data)
{
    const Case *c = data;
    int i;

    if (!can_lie()) {
        return;
    }
    if (c->backend == BG_HUGETLB && !g_test_subprocess()) {
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        check_source(c, capabilities[i], false, LIVE);
        check_source(c, capabilities[i], true, LIVE);
        check_source(c, capabilities[i], false, FINAL);
        check_source(c, capabilities[i], true, FINAL);
    }
}

static void test_destination(const void *data)
{
    const Case *c = data;
    int i;

    if (!can_lie() || !hm_tmpfs_or_skip()) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        check_destination(c, capabilities[i]);
    }
}

static void test_held(void)
{
    int i;

    for (i = 0; can_lie() && i < ARRAY_SIZE(capabilities); i++) {
        check_held(capabilities[i]);
    }
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *source = g_strdup_printf("skip-host/source/%s",
                                                  cases[i].name);
        g_autofree char *dest = g_strdup_printf("skip-host/destination/%s",
                                                cases[i].name);

        qtest_add_data_func(source, &cases[i], test_source);
        if (cases[i].backend == BG_MEMFD) {
            qtest_add_data_func(dest, &cases[i], test_destination);
        }
    }
    qtest_add_func("skip-host/held-discard", test_held);
    return g_test_run();
}
