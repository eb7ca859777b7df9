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
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"
#include "balloon-model.h"

#define MUST_TELL_HOST (1u << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define RAM_SIZE (64 * MiB)
#define HUGE_SIZE (2 * MiB)

/* Bytes per second: slow enough that what is not asked for does not come */
#define SLOW (1 * MiB)

/* Bytes per second: a pass takes some time */
#define STEADY (8 * MiB)

/* A test that hangs has to end */
#define HANG_SECONDS 60

typedef enum Moment {
    AT_ONCE,                    /* before anything was sent */
    MIDDLE,                     /* in the first pass */
    LATE,                       /* after the first pass */
} Moment;

static const char *const moment_names[] = { "at-once", "middle", "late" };

enum {
    BALLOON = 1,
    UNPOPULATED = 2,
    PREEMPT = 4,
};

typedef struct Case {
    BGBackend backend;
    Moment moment;
    int capabilities;
} Case;

/* ---- Driving a postcopy migration ---- */

static const char *const *capability_names(int capabilities)
{
    static const char *names[8];
    int n = 0;

    names[n++] = "postcopy-ram";
    if (capabilities & BALLOON) {
        names[n++] = "skip-balloon";
    }
    if (capabilities & UNPOPULATED) {
        names[n++] = "skip-unpopulated";
    }
    if (capabilities & PREEMPT) {
        names[n++] = "postcopy-preempt";
    }
    names[n] = NULL;
    return names;
}

static BGuest *start_guest(const Case *c)
{
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .capabilities = capability_names(c->capabilities),
    };
    BGuest *g = bg_start(&options);

    bg_driver_start(g, MUST_TELL_HOST);
    return g;
}

static void set_parameter(BGuest *g, const char *name, int64_t value)
{
    QDict *args = qdict_new();

    qdict_put_int(args, name, value);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': %p }",
        args);
}

static bool has_status(BGuest *g, const char *wanted)
{
    QDict *info = bg_query_migrate(g);
    const char *status = qdict_get_try_str(info, "status") ?: "none";
    bool ret = !strcmp(status, wanted);

    if (!ret && (!strcmp(status, "failed") || !strcmp(status, "completed"))) {
        g_error("migration is %s, not %s: %s", status, wanted,
                qdict_get_try_str(info, "error-desc") ?: "");
    }
    qobject_unref(info);
    return ret;
}

static void wait_for_status(BGuest *g, const char *status)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;

    while (!has_status(g, status)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

/* After this the source sends next to nothing but what is asked for. */
static void begin(BGuest *source, BGuest *dest, Moment moment)
{
    set_parameter(source, "downtime-limit", 1);
    set_parameter(source, "max-bandwidth", SLOW);
    set_parameter(source, "max-postcopy-bandwidth", SLOW);
    bg_migrate_start(source, dest);
    if (moment != AT_ONCE) {
        bg_migrate_wait_pass(source, 1);
    }
}

static void resume_destination(BGuest *source, BGuest *dest)
{
    qtest_qmp_eventwait(dest->qts, "RESUME");
    memcpy(dest->queue, source->queue, sizeof(dest->queue));
}

static void start_postcopy(BGuest *source)
{
    qtest_qmp_assert_success(source->qts,
                             "{ 'execute': 'migrate-start-postcopy' }");
}

static void switch_over(BGuest *source, BGuest *dest)
{
    start_postcopy(source);
    wait_for_status(source, "postcopy-active");
    resume_destination(source, dest);
}

static void finish(BGuest *source, BGuest *dest)
{
    set_parameter(source, "max-postcopy-bandwidth", 0);
    bg_migrate_wait(source, NULL);
    wait_for_status(dest, "completed");
}

/* ---- One script for all ---- */

/* Offsets in MiB; one MiB each, but for the first two */
enum {
    DATA = 8,                   /* holds something, stays as it is */
    GIVEN_BACK = 16,            /* in the balloon before, and touched late */
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

static void before(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, DATA * MiB, (UNTOUCHED - DATA) * MiB, 1);
    bm_inflate(m, g, GIVEN_BACK * MiB, 8 * MiB);
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
    set_parameter(g, "max-bandwidth", STEADY / 2);
    bg_migrate_wait_sent(g, (GIVEN_BACK - DATA + 1) * MiB);
    set_parameter(g, "max-bandwidth", SLOW / 16);
    bm_fill(m, g, DATA * MiB, (GIVEN_BACK - DATA) * MiB, 8);
    set_parameter(g, "max-bandwidth", STEADY / 4);
    bg_migrate_wait_pass(g, 2);
    set_parameter(g, "max-bandwidth", SLOW);
    bm_fill(m, g, REWRITTEN * MiB, MiB / 2, 9);
    bm_inflate(m, g, INFLATED * MiB + MiB / 2, MiB / 2);
}

/* Discarding is inhibited in postcopy, and made up for when that is over. */
static void wait_until_let_go(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    unsigned int times = 0;

    while (bg_count_populated(g, LATE_INFLATED * MiB, MiB / 4)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

/* A guest that has done what comes before, and where it is migrating to */
typedef struct Script {
    BGuest *source;
    BGuest *dest;
    BalloonModel *m;
} Script;

static Script begin_script(const Case *c, Moment moment)
{
    Script s = { .source = start_guest(c) };

    s.m = bm_new(s.source);
    before(s.m, s.source);
    s.dest = bg_start_incoming(s.source);
    begin(s.source, s.dest, moment);
    return s;
}

static void end_script(Script *s)
{
    bg_quit(s->dest);
    bg_quit(s->source);
    bm_free(s->m);
}

/* The source must not have populated what it skips. */
static void check_source(BGuest *g, int capabilities, Moment moment)
{
    if (moment != AT_ONCE && g->options.backend == BG_MEMFD) {
        /* Given back after it was sent, or before; either is not read. */
        g_assert_cmpuint(bg_count_populated(g, INFLATED * MiB, 1 * MiB), ==,
                         0);
    }
    if (capabilities & BALLOON) {
        g_assert_cmpuint(bg_count_populated(g, GIVEN_BACK * MiB, 8 * MiB), ==,
                         0);
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=,
                        8 * MiB / BALLOON_PAGE);
    }
    if (capabilities & UNPOPULATED) {
        g_assert_cmpuint(bg_count_populated(g, (UNTOUCHED + 1) * MiB,
                                            (END - UNTOUCHED - 1) * MiB), ==,
                         0);
    }
}

/* The map survives, whatever is skipped, and nothing is lost. */
static void migrate_on(BalloonModel *m, BGuest *g)
{
    BGuest *next = bg_start_incoming(g);

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
    Script s = begin_script(c, c->moment);

    if (c->moment != AT_ONCE) {
        meanwhile(s.m, s.source);
    }
    if (c->moment == LATE) {
        until_late(s.m, s.source);
    }
    switch_over(s.source, s.dest);
    bm_migrated(s.m);
    after_switch(s.m, s.dest);
    finish(s.source, s.dest);
    wait_until_let_go(s.dest);
    check_source(s.source, c->capabilities, c->moment);
    bm_check(s.m, s.dest);
    bm_fill(s.m, s.dest, LATE_LIE * MiB, MiB / 4, 10);
    migrate_on(s.m, s.dest);
    end_script(&s);
}

/* ---- Recovery ---- */

static void recover(BGuest *source, BGuest *dest, int n)
{
    g_autofree char *path = g_strdup_printf("%s.%d", dest->socket, n);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    qtest_qmp_assert_success(source->qts, "{ 'execute': 'migrate-pause' }");
    wait_for_status(source, "postcopy-paused");
    wait_for_status(dest, "postcopy-paused");
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'migrate-recover',"
                             " 'arguments': { 'uri': %s } }", uri);
    qtest_qmp_assert_success(source->qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s, 'resume': true } }",
                             uri);
    wait_for_status(source, "postcopy-active");
    unlink(path);
}

static void test_recover(gconstpointer data)
{
    const Case *c = data;
    Script s = begin_script(c, MIDDLE);

    meanwhile(s.m, s.source);
    switch_over(s.source, s.dest);
    bm_migrated(s.m);
    bm_read(s.m, s.dest, GIVEN_BACK * MiB, MiB / 4);
    recover(s.source, s.dest, 1);
    after_switch(s.m, s.dest);
    bm_read(s.m, s.dest, DATA * MiB, 1 * MiB);
    recover(s.source, s.dest, 2);
    bm_read(s.m, s.dest, GIVEN_BACK * MiB, MiB);
    bm_read(s.m, s.dest, (DATA + 1) * MiB, 1 * MiB);
    finish(s.source, s.dest);
    wait_until_let_go(s.dest);
    check_source(s.source, c->capabilities, MIDDLE);
    bm_check(s.m, s.dest);
    bm_read(s.m, s.dest, DATA * MiB, (END - DATA) * MiB);
    end_script(&s);
}

/* ---- A side that dies ---- */

/* QEMU must not have a chance to do anything about it. */
static void kill_guest(BGuest *g)
{
    g_assert_cmpint(kill(qtest_pid(g->qts), SIGKILL), ==, 0);
    while (qtest_probe_child(g->qts)) {
        g_usleep(1000);
    }
    /* qtest_quit() takes a death by signal for a failure. */
    if (g->socket) {
        unlink(g->socket);
    }
}

/* The destination keeps what it has, and waits to be told where to get more. */
static void test_source_dies(void)
{
    static const Case c = { BG_ANON, MIDDLE, BALLOON | UNPOPULATED };
    Script s = begin_script(&c, MIDDLE);

    switch_over(s.source, s.dest);
    bm_read(s.m, s.dest, GIVEN_BACK * MiB, MiB);
    kill_guest(s.source);
    wait_for_status(s.dest, "postcopy-paused");
    bm_read(s.m, s.dest, GIVEN_BACK * MiB, MiB);
    kill_guest(s.dest);
    bm_free(s.m);
}

/* The source keeps what was not sent; there is no guest to go on with. */
static void test_destination_dies(void)
{
    static const Case c = { BG_MEMFD, MIDDLE, BALLOON | UNPOPULATED };
    Script s = begin_script(&c, MIDDLE);

    switch_over(s.source, s.dest);
    kill_guest(s.dest);
    wait_for_status(s.source, "postcopy-paused");
    kill_guest(s.source);
    bm_free(s.m);
}

/* ---- A source that skips nothing ---- */

/* The destination must keep zeroes that arrive: nobody would place them. */
static void test_destination_alone(void)
{
    static const Case c = { BG_MEMFD, LATE, 0 };
    static const char *const caps[] = {
        "postcopy-ram", "skip-unpopulated", NULL
    };
    BGuest *source = start_guest(&c);
    BalloonModel *m = bm_new(source);
    BGuest as = *source;
    BGuest *dest;

    as.options.capabilities = caps;
    before(m, source);
    dest = bg_start_incoming(&as);
    begin(source, dest, LATE);
    until_late(m, source);
    switch_over(source, dest);
    bm_read(m, dest, GIVEN_BACK * MiB, MiB / 4);
    bm_read(m, dest, UNTOUCHED * MiB, MiB / 4);
    bm_fill(m, dest, (UNTOUCHED + 1) * MiB, MiB / 4, 11);
    g_assert_true(has_status(source, "postcopy-active"));
    finish(source, dest);
    bm_read(m, dest, DATA * MiB, (TAKEN_BACK - DATA) * MiB);
    bm_read(m, dest, UNTOUCHED * MiB, (END - UNTOUCHED) * MiB);
    bg_quit(dest);
    bg_quit(source);
    bm_free(m);
}

/* ---- Refused ---- */

/* It would leave its guest waiting for ever, so it must not begin. */
static void test_stock(void)
{
    static const Case c = { BG_ANON, MIDDLE, UNPOPULATED };
    const char *const caps[] = { "postcopy-ram", NULL };
    BGuest *source, *dest;
    BGuest as;

    if (!g_getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    source = start_guest(&c);
    bg_driver_start(source, 0);
    as = *source;
    as.options.stock = true;
    as.options.no_must_tell_host = true;
    as.options.capabilities = caps;
    dest = bg_start_incoming(&as);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_migrate_start(source, dest);
    qtest_wait_qemu(dest->qts);
    wait_for_status(source, "failed");
    bg_quit(dest);
    bg_quit(source);
}

/* ---- Huge pages ---- */

static void test_hugetlb(void)
{
    static const Case c = { BG_HUGETLB, MIDDLE, BALLOON | UNPOPULATED };
    BGuest *source, *dest;
    BalloonModel *m;

    if (bg_free_huge_pages() < 2 * RAM_SIZE / HUGE_SIZE) {
        g_test_skip("too few huge pages are free");
        return;
    }
    source = start_guest(&c);
    m = bm_new(source);
    bm_fill(m, source, DATA * MiB, 16 * MiB, 1);
    bm_inflate(m, source, GIVEN_BACK * MiB, 4 * MiB);
    dest = bg_start_incoming(source);
    begin(source, dest, MIDDLE);
    bm_inflate(m, source, DATA * MiB, 2 * MiB);
    switch_over(source, dest);
    bm_read(m, dest, GIVEN_BACK * MiB, BALLOON_PAGE);
    bm_read(m, dest, UNTOUCHED * MiB, BALLOON_PAGE);
    bm_deflate(m, dest, DATA * MiB, 2 * MiB);
    bm_fill(m, dest, DATA * MiB, 2 * MiB, 2);
    finish(source, dest);
    bm_read(m, dest, DATA * MiB, (END - DATA) * MiB);
    bg_quit(dest);
    bg_quit(source);
    bm_free(m);
}

/* ---- All of them ---- */

static const char *backend_name(BGBackend backend)
{
    return backend == BG_ANON ? "anon" : "memfd";
}

static const char *capabilities_name(int capabilities)
{
    switch (capabilities & (BALLOON | UNPOPULATED)) {
    case BALLOON:
        return "balloon";
    case UNPOPULATED:
        return "unpopulated";
    default:
        return "both";
    }
}

static void add(const char *name, const Case *c, GTestDataFunc func)
{
    g_autofree char *path = g_strdup_printf(
        "skip-postcopy/%s/%s/%s%s", name, backend_name(c->backend),
        capabilities_name(c->capabilities),
        c->capabilities & PREEMPT ? "/preempt" : "");

    qtest_add_data_func_full(path, g_memdup2(c, sizeof(*c)), func, g_free);
}

static void add_cases(BGBackend backend)
{
    static const int capabilities[] = {
        BALLOON, UNPOPULATED, BALLOON | UNPOPULATED,
        BALLOON | UNPOPULATED | PREEMPT,
    };
    Case c = { .backend = backend };
    int i;

    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        c.capabilities = capabilities[i];
        for (c.moment = AT_ONCE; c.moment <= LATE; c.moment++) {
            add(moment_names[c.moment], &c, test_script);
        }
        add("recover", &c, test_recover);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases(BG_ANON);
    add_cases(BG_MEMFD);
    qtest_add_func("skip-postcopy/hugetlb", test_hugetlb);
    qtest_add_func("skip-postcopy/source-dies", test_source_dies);
    qtest_add_func("skip-postcopy/destination-dies", test_destination_dies);
    qtest_add_func("skip-postcopy/destination-alone",
                   test_destination_alone);
    qtest_add_func("skip-postcopy/unmodified-destination", test_stock);
    return g_test_run();
}
