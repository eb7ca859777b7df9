/*
 * Tests of what the stream says is zero: that it is said when it is true, and
 * in the right order with the pages that are sent
 *
 * The guest of most of them writes to memory for ever, so that a migration in
 * precopy goes on, pass after pass, until the test lets it end.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-pair.h"
#include "skip-told.h"
#include "stream-relay.h"
#include "unpopulated-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

#define HANG_SECONDS 60

/* ---- A migration that is held ---- */

ToldMove told_start(const BGOptions *options)
{
    g_autofree char *args = g_strdup_printf("-accel tcg -bios %s %s",
                                            bp_firmware(),
                                            options->args ?: "");
    g_autofree char *stopped = g_strdup_printf("%s -S", args);
    BGOptions own = *options;
    ToldMove m;

    own.args = args;
    m.source = bg_start(&own);
    bg_driver_start(m.source, MUST_TELL_HOST);
    own.args = stopped;
    m.dest = ug_start_destination(&own, false);
    m.source->options.args = m.dest->options.args = NULL;
    return m;
}

void told_set_bandwidth(BGuest *g, uint64_t bytes)
{
    g_autofree char *json = g_strdup_printf("{ 'max-bandwidth': %" PRIu64 " }",
                                            bytes);

    bp_set_parameters(g, json);
}

void told_begin(ToldMove *m, uint64_t bandwidth)
{
    bp_wait_until_it_runs(m->source);
    bp_set_parameters(m->source, BP_HELD);
    told_set_bandwidth(m->source, bandwidth);
    bg_migrate_start(m->source, m->dest);
}

void told_finish(ToldMove *m)
{
    bp_set_parameters(m->source, BP_RELEASED);
    bg_migrate_wait(m->source, m->dest);
}

void told_end(ToldMove *m)
{
    bg_quit(m->dest);
    bg_quit(m->source);
}

void told_fill_ballast(BGuest *g, uint64_t start, uint64_t size, uint8_t value)
{
    uint64_t at;

    for (at = start; at < start + size; at += MiB) {
        qtest_memset(g->qts, at, value, MiB);
    }
}

int64_t told_passes(BGuest *g)
{
    return bg_migrate_stat(g, "ram", "dirty-sync-count");
}

void told_wait_passes(BGuest *g, int64_t n)
{
    bg_migrate_wait_pass(g, told_passes(g) + n);
}

/* What bg_fill() writes */
static bool holds(BGuest *g, uint64_t start, uint64_t length, uint8_t seed)
{
    uint64_t at;

    /* To read what is not populated would populate it. */
    if (bg_count_populated(g, start, length) < length / BALLOON_PAGE) {
        return false;
    }
    for (at = start; at < start + length; at += BALLOON_PAGE) {
        uint8_t page[BALLOON_PAGE];
        uint8_t value = 1 + (at / BALLOON_PAGE * 7 + seed) % 255;

        bg_read(g, at, page, sizeof(page));
        if (page[0] != value || memcmp(page, page + 1, sizeof(page) - 1)) {
            return false;
        }
    }
    return true;
}

void told_wait_content(BGuest *g, uint64_t start, uint64_t length,
                       uint8_t seed)
{
    gint64 end = ug_hang_deadline();
    unsigned int times = 0;

    while (!holds(g, start, length, seed)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

static void wait_unpopulated(BGuest *g, uint64_t start, uint64_t length)
{
    gint64 end = ug_hang_deadline();

    while (bg_count_populated(g, start, length)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void take_back(BGuest *g, uint64_t start, uint64_t length, uint8_t seed)
{
    bg_request_range(g, BG_DEFLATE, start, length);
    bg_fill(g, start, length, seed);
}

/* The guest's memory, in the order of its addresses */
#define PART(n) TOLD_PART(n)

enum {
    SAME,
    CHANGED,
    NOT_YET_TOLD,
    GIVEN,
    TAKEN,
    };

/* ---- Pass by pass ---- */

/*
 * A guest that does nothing, whose migration waits in the middle of each pass
 * for the test: what is below its ballast has been sent then, or skipped, and
 * what has been skipped in this pass has not been told.
 */
typedef struct Steps {
    ToldMove m;
    StreamRelay *relay;
    uint64_t ballast;           /* its size in bytes */
    uint8_t n;
    uint8_t mark[BALLOON_PAGE];
} Steps;

/* The page below the ballast, in which each byte is another one each time */
#define MARK_TEXT "skip-told: all of this differs in each pass"
#define MARK_PAGE (TOLD_BALLAST - BALLOON_PAGE)

/*
 * There are two, in turn: of the one of this pass the rest is yet to be sent,
 * and would be with what it is to have in the next one.
 */
static void write_ballast(Steps *s)
{
    uint64_t start = TOLD_BALLAST + s->n % 2 * s->ballast;
    int i;

    for (i = 0; i < sizeof(s->mark); i++) {
        s->mark[i] = MARK_TEXT[i % sizeof(MARK_TEXT)] + s->n;
    }
    s->n++;
    qtest_memwrite(s->m.source->qts, MARK_PAGE, s->mark, sizeof(s->mark));
    told_fill_ballast(s->m.source, start, s->ballast, s->n);
}

/* Go on to the middle of the next pass. */
static void step(Steps *s)
{
    write_ballast(s);
    relay_wait_bytes(s->relay, s->mark, sizeof(s->mark), true);
}

static void begin_steps(Steps *s)
{
    bp_set_parameters(s->m.source, BP_RELEASED);
    bp_set_parameters(s->m.source, BP_HELD);
    relay_set_speed(s->relay, RELAY_STOP);
    write_ballast(s);
    bg_migrate_start(s->m.source, s->m.dest);
    relay_wait_bytes(s->relay, s->mark, sizeof(s->mark), true);
    /* QEMU lets a migration end that has taken less than 0.1 s. */
    relay_wait_stuck(s->relay);
}

static Steps start_steps(gconstpointer data, const char *const *capabilities,
                         uint64_t ballast)
{
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = capabilities,
    };
    Steps s = { .ballast = ballast };

    s.m.source = bg_start(&options);
    bg_driver_start(s.m.source, MUST_TELL_HOST);
    s.m.dest = ug_start_destination(&options, false);
    s.relay = relay_listen(s.m.dest);
    return s;
}

static void end_steps(Steps *s)
{
    relay_set_speed(s->relay, RELAY_FREE);
    told_finish(&s->m);
    bg_assert_same_memory(s->m.source, s->m.dest);
    told_end(&s->m);
    relay_free(s->relay);
}

/* ---- xbzrle ---- */

/*
 * The cache has what was sent last.  What has been told to be zero meanwhile is
 * not that any more, whether the same is written to it again, or what differs
 * in a byte.
 */
static void test_xbzrle(gconstpointer data)
{
    static const char *const capabilities[] = {
        "xbzrle", "skip-balloon", "skip-unpopulated", NULL
    };
    Steps s = start_steps(data, capabilities, TOLD_BALLAST_SIZE);
    BGuest *g = s.m.source;
    uint64_t at;

    bp_set_parameters(g, "{ 'xbzrle-cache-size': 33554432 }");
    bg_fill(g, PART(SAME), 3 * PART_SIZE, 1);
    begin_steps(&s);
    /* The first pass leaves the cache alone. */
    bg_fill(g, PART(SAME), 3 * PART_SIZE, 2);
    step(&s);
    bg_request_range(g, BG_INFLATE, PART(SAME), 2 * PART_SIZE);
    step(&s);
    step(&s);
    wait_unpopulated(s.m.dest, PART(SAME), 2 * PART_SIZE);

    take_back(g, PART(SAME), 2 * PART_SIZE, 2);
    for (at = PART(CHANGED); at < PART(CHANGED + 1); at += BALLOON_PAGE) {
        qtest_writeb(g->qts, at + 1000, 0xff);
    }
    bg_request_range(g, BG_INFLATE, PART(NOT_YET_TOLD), PART_SIZE);
    step(&s);
    g_assert_cmpuint(bg_count_populated(s.m.dest, PART(NOT_YET_TOLD),
                                        PART_SIZE), ==, PART_PAGES);
    take_back(g, PART(NOT_YET_TOLD), PART_SIZE, 2);
    end_steps(&s);
}

/* ---- Postcopy ---- */

/* What the last pass with the guest running is busy with */
#define POSTCOPY_BALLAST (24 * MiB)

static void on_alarm(int signal)
{
    abort();
}

/*
 * As the guest reads: a page that nobody sends is waited for for ever, which
 * ends the test.
 */
static void read_zero(BGuest *g, uint64_t start, uint64_t length)
{
    struct sigaction action = { .sa_handler = on_alarm };
    uint64_t at;

    sigaction(SIGALRM, &action, NULL);
    alarm(HANG_SECONDS);
    for (at = start; at < start + length; at += BALLOON_PAGE) {
        g_assert_cmphex(qtest_readq(g->qts, at), ==, 0);
    }
    alarm(0);
}

/*
 * What has been sent and is given back after the last pass with the guest
 * running is neither dirty nor missing: the last word has to name it.
 */
static void test_postcopy(gconstpointer data)
{
    static const char *const capabilities[] = {
        "postcopy-ram", "skip-balloon", "skip-unpopulated", NULL
    };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = capabilities,
    };
    ToldMove m = told_start(&options);
    int64_t passes, skipped;

    bg_fill(m.source, PART(GIVEN), 2 * PART_SIZE, 1);
    bp_set_parameters(m.source, "{ 'max-postcopy-bandwidth': 1048576 }");
    told_begin(&m, TOLD_STEADY);
    told_wait_content(m.dest, PART(GIVEN), 2 * PART_SIZE, 1);
    bg_migrate_wait_pass(m.source, 2);
    told_fill_ballast(m.source, TOLD_BALLAST, POSTCOPY_BALLAST, 2);
    told_wait_passes(m.source, 1);
    told_set_bandwidth(m.source, TOLD_SLOW);

    passes = told_passes(m.source);
    skipped = bg_skip_stat(m.source, "skipped-pages");
    bg_request_range(m.source, BG_INFLATE, PART(GIVEN), 2 * PART_SIZE);
    take_back(m.source, PART(TAKEN), PART_SIZE, 3);
    qtest_qmp_assert_success(m.source->qts,
                             "{ 'execute': 'migrate-start-postcopy' }");
    ug_wait_status(m.source, "postcopy-active");
    /* END's own, and another one of QEMU's that tells what is dirty */
    g_assert_cmpint(told_passes(m.source), ==, passes + 2);
    g_assert_cmpint(bg_skip_stat(m.source, "skipped-pages"), ==,
                    skipped + PART_PAGES);
    g_assert_cmpuint(bg_count_populated(m.source, PART(GIVEN), PART_SIZE), ==,
                     0);
    ug_wait_status(m.dest, "postcopy-active");
    read_zero(m.dest, PART(GIVEN), PART_SIZE);

    bp_set_parameters(m.source, "{ 'max-postcopy-bandwidth': 0 }");
    bg_migrate_wait(m.source, m.dest);
    g_assert_true(holds(m.dest, PART(TAKEN), PART_SIZE, 3));
    bg_assert_same_memory(m.source, m.dest);
    told_end(&m);
}

/* ---- Auto-converge ---- */

/*
 * Its timer synchronizes if 5 s, or up to 10, have passed since the last time.
 * QEMU sends 32 pages each 0.1 s, however low the limit is.
 */
#define LONG_BALLAST (23 * MiB)

/* Behind both ballasts: sent last in a pass, and right before a word */
#define LAST_START (TOLD_BALLAST + 2 * LONG_BALLAST)

/*
 * A pass has skipped pages, and the bandwidth is too low for the word.  The
 * main loop synchronizes while the migration thread sends: what is in use
 * again by then is sent before the word, which must not name it any more.
 */
static void check_late_word(gconstpointer data, const char *const *capabilities)
{
    Steps s = start_steps(data, capabilities, LONG_BALLAST);
    BGuest *g = s.m.source;
    int64_t passes;

    bg_fill(g, LAST_START, PART_SIZE, 1);
    begin_steps(&s);
    bg_fill(g, LAST_START, PART_SIZE, 2);
    step(&s);
    step(&s);
    bg_request_range(g, BG_INFLATE, LAST_START, PART_SIZE);
    step(&s);
    passes = told_passes(g);
    told_set_bandwidth(g, TOLD_SLOW);
    relay_set_speed(s.relay, RELAY_FREE);
    take_back(g, LAST_START, PART_SIZE, 2);
    bg_migrate_wait_pass(g, passes + 1);
    g_assert_cmpuint(bg_count_populated(s.m.dest, LAST_START, PART_SIZE), ==,
                     PART_PAGES);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "remaining"), >, MiB);
    /* There is nothing more to be sent, which ends it. */
    told_set_bandwidth(g, TOLD_STEADY);
    bg_migrate_wait(g, s.m.dest);
    end_steps(&s);
}

static void test_auto_converge(gconstpointer data)
{
    static const char *const capabilities[] = {
        "auto-converge", "skip-balloon", "skip-unpopulated", NULL
    };

    check_late_word(data, capabilities);
}

/* The cache has it, and so has the destination: nothing is sent for it. */
static void test_auto_converge_xbzrle(gconstpointer data)
{
    static const char *const capabilities[] = {
        "auto-converge", "xbzrle", "skip-balloon", "skip-unpopulated", NULL
    };

    check_late_word(data, capabilities);
}

/* ---- All of them ---- */

static void add(const char *name, GTestDataFunc func)
{
    g_autofree char *anon = g_strdup_printf("/skip-told/%s/anon", name);
    g_autofree char *memfd = g_strdup_printf("/skip-told/%s/memfd", name);

    qtest_add_data_func(anon, GINT_TO_POINTER(BG_ANON), func);
    qtest_add_data_func(memfd, GINT_TO_POINTER(BG_MEMFD), func);
}

/*
 * Those that wait for auto-converge's timer do nothing else nearly all the
 * time, so they may be run beside others: with --timer only these, with
 * --no-timer only the others.
 */
int main(int argc, char **argv)
{
    const char *option;
    bool timer, others;
    int ret;

    g_test_init(&argc, &argv, NULL);
    option = argc > 1 ? argv[1] : "";
    timer = strcmp(option, "--no-timer");
    others = strcmp(option, "--timer");
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    bp_init();
    if (timer) {
        add("auto-converge", test_auto_converge);
        add("auto-converge-xbzrle", test_auto_converge_xbzrle);
        told_add_timer_tests();
    }
    if (others) {
        add("xbzrle", test_xbzrle);
        add("postcopy", test_postcopy);
        told_add_channel_tests();
        told_add_file_tests();
        told_add_size_tests();
        told_add_used_tests();
    }
    ret = g_test_run();
    bp_cleanup();
    return ret;
}
