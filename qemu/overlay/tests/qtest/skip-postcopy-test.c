/*
 * Postcopy with capabilities skip-balloon and skip-unpopulated
 *
 * What the guest touches on the destination, and the source skipped, nobody
 * sends: a guest that waits for it waits for ever, and here the test ends with
 * it.  And what the source sends must not have been placed already.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"

/* Bytes per second: slow enough that what is not asked for does not come */
#define SLOW (1 * MiB)

/* Bytes per second: a pass takes some time */
#define STEADY (8 * MiB)

typedef enum Moment {
    AT_ONCE,                    /* before anything was sent */
    MIDDLE,                     /* in the first pass */
    LATE,                       /* after the first pass */
} Moment;

enum {
    PREEMPT = 4,                /* besides BP_BALLOON and BP_UNPOPULATED */
};

typedef struct Case {
    BGBackend backend;
    Moment moment;
    int capabilities;
} Case;

/* ---- Driving a postcopy migration ---- */

static BPair start(const Case *c)
{
    static const char *const capabilities[][5] = {
        { "postcopy-ram" },
        [BP_BALLOON] = { "postcopy-ram", "skip-balloon" },
        [BP_UNPOPULATED] = { "postcopy-ram", "skip-unpopulated" },
        [BP_BOTH] = { "postcopy-ram", "skip-balloon", "skip-unpopulated" },
        [BP_BOTH | PREEMPT] = { "postcopy-ram", "skip-balloon",
                                "skip-unpopulated", "postcopy-preempt" },
    };
    BGOptions options = {
        .backend = c->backend, .capabilities = capabilities[c->capabilities],
    };
    BPair p = { .source = bp_start_source(&options, false) };

    p.model = bm_new(p.source);
    return p;
}

/* After this the source sends next to nothing but what is asked for. */
static void begin(BPair *p, Moment moment)
{
    bg_set_parameters(p->source, "{ 'downtime-limit': 1,"
                      " 'max-bandwidth': 1048576,"
                      " 'max-postcopy-bandwidth': 1048576 }");
    bg_migrate_start(p->source, p->dest);
    if (moment != AT_ONCE) {
        bg_migrate_wait_pass(p->source, 1);
    }
}

static void switch_over(BPair *p)
{
    bg_postcopy_begin(p->source, p->dest);
    bm_migrated(p->model);
}

/* ---- One script for all ---- */

/* Offsets in MiB; one MiB each, but for the first two */
enum {
    DATA = 16,                  /* holds something, stays as it is */
    GIVEN_BACK = 20,            /* in the balloon before, and touched late */
    TAKEN_BACK = 24,            /* in the balloon before, deflated meanwhile */
    LIED_ABOUT,                 /* in the balloon before, written meanwhile */
    INFLATED,                   /* inflated meanwhile */
    REWRITTEN,                  /* sent, then written again */
    LATE_DEFLATED,              /* in the balloon, deflated after the switch */
    LATE_INFLATED,              /* inflated after the switch */
    LATE_WRITTEN,               /* written after the switch, maybe not there */
    LATE_LIE,                   /* in the balloon, written after the switch */
    UNTOUCHED,                  /* never touched before the switch */
    END = 48,
};

#define GIVEN_SIZE ((TAKEN_BACK - GIVEN_BACK) * MiB)

static void before(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, DATA * MiB, (UNTOUCHED - DATA) * MiB, 1);
    bm_inflate(m, g, GIVEN_BACK * MiB, GIVEN_SIZE);
    bm_inflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_inflate(m, g, LIED_ABOUT * MiB, 1 * MiB);
    bm_inflate(m, g, LATE_DEFLATED * MiB, 1 * MiB);
    bm_inflate(m, g, LATE_LIE * MiB, 1 * MiB);
}

static void meanwhile(BalloonModel *m, BGuest *g)
{
    bm_deflate(m, g, TAKEN_BACK * MiB, 1 * MiB);
    bm_fill(m, g, TAKEN_BACK * MiB, MiB / 2, 2);
    bm_fill(m, g, LIED_ABOUT * MiB, MiB / 2, 3);
    bm_inflate(m, g, INFLATED * MiB, 1 * MiB);
    bm_fill(m, g, REWRITTEN * MiB, 1 * MiB, 4);
}

static void after_switch(BalloonModel *m, BGuest *g)
{
    bm_read(m, g, GIVEN_BACK * MiB, MiB / 2);
    bm_read(m, g, INFLATED * MiB, MiB / 4);
    bm_read(m, g, UNTOUCHED * MiB, MiB / 4);
    bm_read(m, g, LIED_ABOUT * MiB, MiB / 4);
    bm_read(m, g, REWRITTEN * MiB, MiB / 4);
    bm_deflate(m, g, LATE_DEFLATED * MiB, 1 * MiB);
    bm_read(m, g, LATE_DEFLATED * MiB, MiB / 4);
    bm_fill(m, g, LATE_DEFLATED * MiB + MiB / 8, MiB / 4, 5);
    bm_inflate(m, g, LATE_INFLATED * MiB, MiB / 4);
    bm_fill(m, g, LATE_WRITTEN * MiB, MiB / 4, 6);
    bm_fill(m, g, UNTOUCHED * MiB + MiB / 8, MiB / 4, 7);
}

/*
 * What was sent gets dirty again: enough to be busy with in a second pass.  On
 * a busy host writing it takes long, so next to nothing is sent meanwhile: else
 * all might be sent before there is anything new.  For that pass to be over
 * before this sees it, it would have to look away for two seconds.
 */
static void until_late(BalloonModel *m, BGuest *g)
{
    bp_set_bandwidth(g, STEADY / 2);
    bg_migrate_wait_sent(g, (GIVEN_BACK - DATA + 1) * MiB);
    bp_set_bandwidth(g, SLOW / 16);
    bm_fill(m, g, DATA * MiB, (GIVEN_BACK - DATA) * MiB, 8);
    bp_set_bandwidth(g, STEADY / 4);
    bg_migrate_wait_pass(g, 2);
    bp_set_bandwidth(g, SLOW);
    bm_fill(m, g, REWRITTEN * MiB, MiB / 2, 9);
    bm_inflate(m, g, INFLATED * MiB + MiB / 2, MiB / 2);
}

/* Discarding is inhibited in postcopy, and made up for when that is over. */
static void wait_until_let_go(BPair *p)
{
    BG_WAIT(!bg_count_populated(p->dest, LATE_INFLATED * MiB, MiB / 4));
}

static BPair begin_script(const Case *c, Moment moment)
{
    BPair p = start(c);

    before(p.model, p.source);
    p.dest = bg_start_incoming(p.source);
    begin(&p, moment);
    return p;
}

/* The source must not have populated what it skips. */
static void check_source(BGuest *g, int capabilities, Moment moment)
{
    if (moment != AT_ONCE && g->options.backend == BG_MEMFD) {
        /* Given back after it was sent, or before; either is not read. */
        g_assert_cmpuint(bg_count_populated(g, INFLATED * MiB, 1 * MiB), ==,
                         0);
    }
    if (capabilities & BP_BALLOON) {
        g_assert_cmpuint(bg_count_populated(g, GIVEN_BACK * MiB, GIVEN_SIZE),
                         ==, 0);
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=,
                        GIVEN_SIZE / BALLOON_PAGE);
    }
    if (capabilities & BP_UNPOPULATED) {
        g_assert_cmpuint(bg_count_populated(g, (UNTOUCHED + 1) * MiB,
                                            (END - UNTOUCHED - 1) * MiB), ==,
                         0);
    }
}

/* The map survives, whatever is skipped, and nothing is lost. */
static void migrate_on(BalloonModel *m, BGuest *g, const BGuest *like)
{
    BGuest *next;

    g->options.capabilities = like->options.capabilities;
    next = bg_start_incoming(g);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, next);
    bg_migrate_wait(g, next);
    bm_migrated(m);
    if (g->options.backend == BG_ANON) {
        /* What it lied about may have huge pages already. */
        bm_note_populated(m, g);
    }
    bm_check(m, next);
    bg_quit(next);
}

static void test_script(gconstpointer data)
{
    const Case *c = data;
    BPair p = begin_script(c, c->moment);

    if (c->moment != AT_ONCE) {
        meanwhile(p.model, p.source);
    }
    if (c->moment == LATE) {
        until_late(p.model, p.source);
    }
    switch_over(&p);
    after_switch(p.model, p.dest);
    bg_postcopy_end(p.source, p.dest);
    wait_until_let_go(&p);
    check_source(p.source, c->capabilities, c->moment);
    bm_check(p.model, p.dest);
    bm_fill(p.model, p.dest, LATE_LIE * MiB, MiB / 4, 10);
    migrate_on(p.model, p.dest, p.source);
    bp_end(&p);
}

/* ---- Recovery ---- */

static void recover(BPair *p, int n)
{
    g_autofree char *path = g_strdup_printf("%s.%d", p->dest->socket, n);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    qtest_qmp_assert_success(p->source->qts, "{ 'execute': 'migrate-pause' }");
    bp_wait_status(p->source, "postcopy-paused");
    bp_wait_status(p->dest, "postcopy-paused");
    qtest_qmp_assert_success(p->dest->qts, "{ 'execute': 'migrate-recover',"
                             " 'arguments': { 'uri': %s } }", uri);
    qtest_qmp_assert_success(p->source->qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s, 'resume': true } }",
                             uri);
    bp_wait_status(p->source, "postcopy-active");
    unlink(path);
}

static void test_recover(gconstpointer data)
{
    const Case *c = data;
    BPair p = begin_script(c, MIDDLE);

    meanwhile(p.model, p.source);
    switch_over(&p);
    bm_read(p.model, p.dest, GIVEN_BACK * MiB, MiB / 4);
    recover(&p, 1);
    after_switch(p.model, p.dest);
    bm_read(p.model, p.dest, DATA * MiB, 1 * MiB);
    recover(&p, 2);
    bm_read(p.model, p.dest, GIVEN_BACK * MiB, MiB);
    bm_read(p.model, p.dest, (DATA + 1) * MiB, 1 * MiB);
    bg_postcopy_end(p.source, p.dest);
    wait_until_let_go(&p);
    check_source(p.source, c->capabilities, MIDDLE);
    bm_check(p.model, p.dest);
    bm_read(p.model, p.dest, DATA * MiB, (END - DATA) * MiB);
    bp_end(&p);
}

/* ---- A side that dies ---- */

/* The destination keeps what it has, and waits to be told where to get more. */
static void test_source_dies(gconstpointer data)
{
    static const Case c = { BG_ANON, MIDDLE, BP_BOTH };
    BPair p = begin_script(&c, MIDDLE);

    switch_over(&p);
    bm_read(p.model, p.dest, GIVEN_BACK * MiB, MiB);
    bg_kill(p.source);
    bp_wait_status(p.dest, "postcopy-paused");
    bm_read(p.model, p.dest, GIVEN_BACK * MiB, MiB);
    bg_kill(p.dest);
    bm_free(p.model);
}

/* The source keeps what was not sent; there is no guest to go on with. */
static void test_destination_dies(gconstpointer data)
{
    static const Case c = { BG_MEMFD, MIDDLE, BP_BOTH };
    BPair p = begin_script(&c, MIDDLE);

    switch_over(&p);
    bg_kill(p.dest);
    bp_wait_status(p.source, "postcopy-paused");
    bg_kill(p.source);
    bm_free(p.model);
}

/* ---- A source that skips nothing ---- */

/* The destination must keep zeroes that arrive: nobody would place them. */
static void test_destination_alone(gconstpointer data)
{
    static const Case c = { BG_MEMFD, LATE, 0 };
    BPair p = start(&c);

    before(p.model, p.source);
    p.dest = bg_start_incoming(p.source);
    bg_set_capability(p.dest, "skip-unpopulated", true);
    begin(&p, LATE);
    until_late(p.model, p.source);
    switch_over(&p);
    bm_read(p.model, p.dest, GIVEN_BACK * MiB, MiB / 4);
    bm_read(p.model, p.dest, UNTOUCHED * MiB, MiB / 4);
    bm_fill(p.model, p.dest, (UNTOUCHED + 1) * MiB, MiB / 4, 11);
    g_assert_true(bp_has_status(p.source, "postcopy-active"));
    bg_postcopy_end(p.source, p.dest);
    bm_read(p.model, p.dest, DATA * MiB, (TAKEN_BACK - DATA) * MiB);
    bm_read(p.model, p.dest, UNTOUCHED * MiB, (END - UNTOUCHED) * MiB);
    bp_end(&p);
}

/* ---- Refused ---- */

/* It would leave its guest waiting for ever, so it must not begin. */
static void test_stock(gconstpointer data)
{
    static const char *const capabilities[] = { "postcopy-ram", NULL };
    static const Case c = { BG_ANON, MIDDLE, BP_UNPOPULATED };
    BGOptions stock = {
        .no_must_tell_host = true, .capabilities = capabilities, .stock = true,
    };
    BGuest *dest;
    BPair p;

    if (!bg_stock_or_skip()) {
        return;
    }
    p = start(&c);
    bg_driver_start(p.source, 0);
    dest = bg_start_failing_dest(&stock);
    bg_migrate_start(p.source, dest);
    bg_quit_failed(dest, "'skip'");
    bp_wait_failed(p.source);
    bp_end(&p);
}

/* ---- Huge pages ---- */

static void test_hugetlb(gconstpointer data)
{
    static const Case c = { BG_HUGETLB, MIDDLE, BP_BOTH };
    BalloonModel *m;
    BPair p;

    if (!bg_huge_or_skip(2 * RAM_SIZE)) {
        return;
    }
    p = start(&c);
    m = p.model;
    bm_fill(m, p.source, DATA * MiB, (TAKEN_BACK - DATA) * MiB, 1);
    bm_inflate(m, p.source, GIVEN_BACK * MiB, GIVEN_SIZE);
    p.dest = bg_start_incoming(p.source);
    begin(&p, MIDDLE);
    bm_inflate(m, p.source, DATA * MiB, 2 * MiB);
    switch_over(&p);
    bm_read(m, p.dest, GIVEN_BACK * MiB, BALLOON_PAGE);
    bm_read(m, p.dest, UNTOUCHED * MiB, BALLOON_PAGE);
    bm_deflate(m, p.dest, DATA * MiB, 2 * MiB);
    bm_fill(m, p.dest, DATA * MiB, 2 * MiB, 2);
    bg_postcopy_end(p.source, p.dest);
    bm_read(m, p.dest, DATA * MiB, (END - DATA) * MiB);
    bp_end(&p);
}

/* ---- All of them ---- */

static void add(const char *name, const Case *c, GTestDataFunc func)
{
    g_autofree char *path = bp_test_path("skip-postcopy", name, c->backend,
                                         c->capabilities & BP_BOTH);

    bg_add_test(g_memdup2(c, sizeof(*c)), func, "%s%s", path,
                c->capabilities & PREEMPT ? "/preempt" : "");
}

static void add_cases(BGBackend backend)
{
    static const int capabilities[] = {
        BP_BALLOON, BP_UNPOPULATED, BP_BOTH, BP_BOTH | PREEMPT,
    };
    static const char *const moments[] = { "at-once", "middle", "late" };
    Case c = { .backend = backend };
    int i;

    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        c.capabilities = capabilities[i];
        for (c.moment = AT_ONCE; c.moment <= LATE; c.moment++) {
            add(moments[c.moment], &c, test_script);
        }
        /* What is missing is known by the bitmap, whoever skipped it. */
        if ((c.capabilities & BP_BOTH) == BP_BOTH) {
            add("recover", &c, test_recover);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(BG_ANON);
    add_cases(BG_MEMFD);
    bg_add_test(NULL, test_hugetlb, "skip-postcopy/hugetlb");
    bg_add_test(NULL, test_source_dies, "skip-postcopy/source-dies");
    bg_add_test(NULL, test_destination_dies, "skip-postcopy/destination-dies");
    bg_add_test(NULL, test_destination_alone,
                "skip-postcopy/destination-alone");
    bg_add_test(NULL, test_stock, "skip-postcopy/unmodified-destination");
    return g_test_run();
}
