/*
 * A host that does not see a page of guest RAM for a moment, as the kernel does
 * not while it moves the page or collapses it with its neighbours
 *
 * One system call of QEMU lies once, about the page that the test names: a
 * preloaded library does it (SB_HOST_LIAR names it, tests/host-liar.c in the
 * repository of skip-balloon).  Nothing may be lost on the source, nor may old
 * content stay on the destination.  Or a call takes long: what the guest gives
 * back is discarded in the middle of being sent.  Or a policy of the host does
 * not let QEMU ask.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"
#include "host-memory.h"

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
    BGuest *g = bp_start_source(options, false);

    bp_fill_ballast(g, BALLAST_START, BALLAST_SIZE, 1);
    bp_fill_ballast(g, GIVEN_START, GIVEN_SIZE, 2);
    bp_fill_ballast(g, AGAIN_START, AGAIN_SIZE, 3);
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

/*
 * The page that is hidden is the first one of what is used again, amid a hole:
 * whoever looks for data finds it at first.  It is dirty, and all that the
 * destination has of it is what it held before it was given back.  Whether the
 * guest tells makes a difference only where QEMU looks at all memory: it lies
 * in the other case.
 */
static void check_source(const Case *c, int ours, Moment moment)
{
    BGOptions options = { .backend = c->backend };
    uint64_t used = AGAIN_START + 2 * MiB;
    g_autofree char *path = preload(c);
    BPair p = { .source = start_source(&options) };

    g_unsetenv("LD_PRELOAD");
    p.dest = bg_start_incoming(p.source);
    bp_set_capabilities(p.source, ours);
    bp_set_capabilities(p.dest, ours);
    bp_begin(&p, moment == LIVE ? SLOW : 0);
    if (moment == LIVE) {
        BG_WAIT(!bg_is_zero(p.dest,
                            AGAIN_START + AGAIN_SIZE - BALLOON_PAGE));
    } else {
        bp_wait_status(p.source, "pre-switchover");
    }
    bg_request_range(p.source, BG_INFLATE, AGAIN_START, AGAIN_SIZE);
    if (ours == BP_UNPOPULATED) {
        bg_request_range(p.source, BG_DEFLATE, used, 2 * MiB);
    }
    bg_fill(p.source, used, BALLOON_PAGE, USED_AGAIN_SEED);
    tell_to_lie(c, path, used);
    bp_finish(&p);

    assert_has_lied(c, path);
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

/*
 * A file of tmpfs that holds something where the source skips.  The page that
 * is hidden is the first one of that.
 */
static void check_destination(const Case *c, int ours)
{
    BGOptions options = { .backend = BG_MEMFD };
    BPair p = { .source = start_source(&options) };
    g_autofree char *path = preload(c);
    g_autofree char *old = hm_temp_path(hm_find_tmpfs(), "old");

    hm_make_file(old, RAM_SIZE, OLD_START, OLD_SIZE);
    options.ram_file = old;
    tell_to_lie(c, path, OLD_START);
    p.dest = bp_start_destination(&options, false);
    g_unsetenv("LD_PRELOAD");
    bp_set_capabilities(p.source, ours);
    bp_set_capabilities(p.dest, ours);
    bp_begin(&p, 0);
    bp_finish(&p);

    assert_has_lied(c, path);
    /* Of memory that is a file with a name nobody tells what is populated. */
    bp_assert_same_content(p.source, p.dest);
    bp_end(&p);
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
    Hold *hold = opaque;
    g_autofree char *held = g_strconcat(hold->path, ".held", NULL);

    BG_WAIT(!access(held, F_OK) && !bg_is_zero(hold->dest, HELD_START));
    unlink(held);
    return NULL;
}

/*
 * The host was asked about these pages before they were discarded, and said
 * that they are populated.  The rest of them must not be read afterwards: that
 * would populate them again.
 */
static void check_held(int ours)
{
    const Case c = { .backend = BG_MEMFD, .call = "punch" };
    BGOptions options = { .backend = c.backend };
    g_autofree char *path = preload(&c);
    BGuest *g = start_source(&options);
    Hold hold = { .path = path };
    uint64_t populated;
    GThread *thread;

    g_unsetenv("LD_PRELOAD");
    hold.dest = bg_start_incoming(g);
    bp_set_capabilities(g, ours);
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
    int ours;

    if (!can_lie()) {
        return;
    }
    if (c->backend == BG_HUGETLB && !g_test_subprocess()) {
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    for (ours = BP_BALLOON; ours <= BP_UNPOPULATED; ours++) {
        check_source(c, ours, LIVE);
        check_source(c, ours, FINAL);
    }
}

static void test_destination(const void *data)
{
    const Case *c = data;
    int ours;

    if (!can_lie() || !hm_tmpfs_or_skip()) {
        return;
    }
    for (ours = BP_BALLOON; ours <= BP_UNPOPULATED; ours++) {
        check_destination(c, ours);
    }
}

static void test_held(const void *data)
{
    int ours;

    for (ours = BP_BALLOON; can_lie() && ours <= BP_UNPOPULATED; ours++) {
        check_held(ours);
    }
}

/* ---- A host that does not let itself be asked ---- */

/* As libvirt passes it */
#define SANDBOX "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny," \
                "resourcecontrol=deny"

#define POLICY_START (16 * MiB)
#define POLICY_SIZE (24 * MiB)

/* What the guest uses there all the same */
#define POLICY_USED (20 * MiB)

static const char *const figures[] = {
    "skipped-pages", "vetoed-pages", "undecided-pages", "map-bytes",
    "final-map-bytes",
};

typedef struct Figures {
    int64_t balloon[G_N_ELEMENTS(figures)];
    int64_t unpopulated;
    uint64_t source;            /* pages that the host backs afterwards */
    uint64_t dest;
} Figures;

/* Start a guest with a balloon; its QEMU is preloaded if @refuse is not NULL */
static BPair start_with_policy(const BGOptions *options, const char *refuse,
                               const char *swap)
{
    const Case c = { .call = "", .refuse = refuse };
    g_autofree char *path = refuse ? preload(&c) : NULL;
    BPair p = { 0 };

    /* They come or do not, and figures shall be the same. */
    bg_allow_huge_pages(false);
    if (swap) {
        g_setenv("HOST_LIAR_SWAP", swap, true);
    }
    p.source = bp_start_source(options, false);
    p.dest = bg_start_incoming(p.source);
    g_unsetenv("HOST_LIAR_SWAP");
    g_unsetenv("LD_PRELOAD");
    bp_fill_ballast(p.source, BALLAST_START, BALLAST_SIZE, 1);
    bp_fill_ballast(p.source, POLICY_START, POLICY_SIZE, 2);
    bg_request_range(p.source, BG_INFLATE, POLICY_START, POLICY_SIZE);
    bg_fill(p.source, POLICY_USED, BALLOON_PAGE, 3);
    bp_set_capabilities(p.source, BP_BOTH);
    bp_set_capabilities(p.dest, BP_BOTH);
    return p;
}

static Figures migrate_with_policy(const BGOptions *options,
                                   const char *refuse, const char *swap)
{
    BPair p = start_with_policy(options, refuse, swap);
    Figures f;
    int i;

    bp_begin(&p, 0);
    bp_finish(&p);
    f.unpopulated = bp_skipped_pages(p.source);
    for (i = 0; i < G_N_ELEMENTS(figures); i++) {
        f.balloon[i] = bg_skip_stat(p.source, figures[i]);
    }
    f.source = bg_count_populated(p.source, 0, RAM_SIZE);
    f.dest = bg_count_populated(p.dest, 0, RAM_SIZE);
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
    return f;
}

/* It makes no difference, and there is something for it to make one to. */
static void assert_same_figures(const Figures *a, const Figures *b)
{
    int i;

    for (i = 0; i < G_N_ELEMENTS(figures); i++) {
        g_test_message("%s: %" PRId64 ", %" PRId64, figures[i], a->balloon[i],
                       b->balloon[i]);
        g_assert_cmpint(a->balloon[i], ==, b->balloon[i]);
    }
    g_assert_cmpint(a->unpopulated, ==, b->unpopulated);
    g_assert_cmpuint(a->source, ==, b->source);
    g_assert_cmpuint(a->dest, ==, b->dest);
    g_assert_cmpint(a->balloon[0], >, POLICY_SIZE / 2 / BALLOON_PAGE);
    g_assert_cmpint(a->balloon[2], ==, 0);
    g_assert_cmpint(a->unpopulated, >, 0);
}

/* All that the host is asked, libvirt's filter of system calls lets through. */
static void test_sandbox(const void *data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    Figures without, with;

    if (options.backend == BG_HUGETLB && !g_test_subprocess()) {
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    without = migrate_with_policy(&options, NULL, NULL);
    options.args = SANDBOX;
    with = migrate_with_policy(&options, NULL, NULL);
    assert_same_figures(&without, &with);
}

/*
 * Without /proc/self/pagemap, but without swap, too, mincore() tells of private
 * memory; of shared memory it was not needed.
 */
static void test_no_pagemap(const void *data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    bool shared = options.backend == BG_MEMFD;
    Figures without, with;

    if (!can_lie()) {
        return;
    }
    without = migrate_with_policy(&options, NULL, NULL);
    with = migrate_with_policy(&options, "pagemap",
                               shared ? "1048576" : "0");
    assert_same_figures(&without, &with);
}

/* @reason: why RAM block @id is left alone; and is all of it, for that? */
static void assert_denied(BGuest *g, const char *id, const char *reason,
                          bool all)
{
    g_autofree char *told = bg_left_alone(g, id, NULL);
    QDict *map = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-migration-map' }");

    g_assert_cmpstr(told, ==, reason);
    g_assert_true(qdict_get_bool(map, "pagemap-denied") == all);
    qobject_unref(map);
}

/* How often does QEMU's log say what to do? */
static int count_remedies(BGuest *g)
{
    g_autofree char *log = bg_log(g);
    g_auto(GStrv) parts = g_strsplit(
        log, "'owner @{PROC}/@{pid}/pagemap r,'", -1);

    return g_strv_length(parts) - 1;
}

/* With swap nobody tells, so nothing is skipped, and QEMU says why. */
static void test_denied(const void *data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data), .keep_log = true };
    BPair p;

    if (!can_lie()) {
        return;
    }
    p = start_with_policy(&options, "pagemap", "1048576");
    bp_begin(&p, 0);
    bp_finish(&p);
    bg_assert_disabled(p.source, "pagemap-denied");
    assert_denied(p.source, "ram0", "pagemap-denied", true);
    g_assert_cmpint(bp_skipped_pages(p.source), ==, 0);
    g_assert_cmpint(count_remedies(p.source), ==, 1);
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

/* Nor is anything of a background snapshot; that is told once. */
static void test_denied_snapshot(const void *data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BPair p;

    if (!can_lie()) {
        return;
    }
    p = start_with_policy(&options, "pagemap", "1048576");
    if (bg_set_background_snapshot(p.source)) {
        bg_migrate_uri(p.source, "exec:cat >/dev/null");
        bg_migrate_wait(p.source, NULL);
        assert_denied(p.source, "ram0", "pagemap-denied", true);
        g_assert_cmpint(bp_skipped_pages(p.source), ==, 0);
    }
    bp_end(&p);
}

/* Of two RAM blocks one can be asked about. */
static void test_partly_denied(const void *data)
{
    BGOptions options = { .backend = BG_MEMFD, .args = DIMM_ARGS };
    BPair p;

    if (!can_lie()) {
        return;
    }
    p = start_with_policy(&options, "pagemap", "1048576");
    bg_fill(p.source, BG_DIMM_START, MiB, 4);
    bg_request_range(p.source, BG_INFLATE, BG_DIMM_START + MiB, MiB);
    bp_begin(&p, 0);
    bp_finish(&p);
    assert_denied(p.source, "ram0", NULL, false);
    assert_denied(p.source, "dimm-ram", "pagemap-denied", false);
    g_assert_cmpint(bg_skip_stat(p.source, "skipped-pages"), ==,
                    POLICY_SIZE / BALLOON_PAGE - 1);
    g_assert_cmpint(bg_skip_stat(p.source, "undecided-pages"), ==,
                    MiB / BALLOON_PAGE);
    rb_assert_same(p.source, p.dest);
    bp_end(&p);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc func;
        int backends;           /* bits of BGBackend */
    } policies[] = {
        { "sandbox", test_sandbox, 1 << BG_ANON | 1 << BG_MEMFD |
          1 << BG_PRIVATE_MEMFD | 1 << BG_HUGETLB },
        { "no-pagemap", test_no_pagemap, 1 << BG_ANON | 1 << BG_MEMFD |
          1 << BG_PRIVATE_MEMFD },
        { "denied", test_denied, 1 << BG_ANON | 1 << BG_PRIVATE_MEMFD },
        { "denied-snapshot", test_denied_snapshot, 1 << BG_ANON },
    };
    int i, backend;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], test_source, "skip-host/source/%s",
                    cases[i].name);
        if (cases[i].backend == BG_MEMFD) {
            bg_add_test(&cases[i], test_destination,
                        "skip-host/destination/%s", cases[i].name);
        }
    }
    bg_add_test(NULL, test_held, "skip-host/held-discard");
    for (i = 0; i < ARRAY_SIZE(policies); i++) {
        for (backend = BG_ANON; backend <= BG_HUGETLB; backend++) {
            if (policies[i].backends & 1 << backend) {
                bg_add_test(GINT_TO_POINTER(backend), policies[i].func,
                            "skip-host/%s/%s", policies[i].name,
                            bg_backend_name(backend));
            }
        }
    }
    bg_add_test(NULL, test_partly_denied, "skip-host/denied/partly");
    return g_test_run();
}
