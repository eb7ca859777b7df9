/*
 * Tests of what the stream says is zero: that it is said when it is true, and
 * in the right order with the pages that are sent
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"
#include "skip-told.h"
#include "stream-relay.h"

/*
 * Bytes per second: a pass over what the guest writes to all the time, 160
 * pages, takes more than 0.1 s; as few as QEMU lets it be, about 1.3 MB
 */
#define STEADY (6 * MiB)
#define SLOW (100 * 1024)

/* Memory of the guest: parts, and above them what keeps a pass busy */
#define PART_PAGES 128
#define PART_SIZE (PART_PAGES * BALLOON_PAGE)
#define PART(n) (8 * MiB + (n) * PART_SIZE)
#define BALLAST_START (16 * MiB)
#define BALLAST_SIZE (4 * MiB)

#define CAPABILITIES(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* A migration, and the relay that it goes through, or NULL */
typedef struct Told {
    BPair p;
    StreamRelay *relay;
} Told;

static void finish(Told *t)
{
    if (t->relay) {
        relay_set_speed(t->relay, RELAY_FREE);
    }
    bp_finish(&t->p);
    bg_assert_same_memory(t->p.source, t->p.dest);
}

static void end(Told *t)
{
    bp_end(&t->p);
    if (t->relay) {
        relay_free(t->relay);
    }
}

/* Have the source wait in the middle of a pass. */
static void stop(Told *t)
{
    relay_set_speed(t->relay, RELAY_STOP);
    relay_wait_still(t->relay, true);
}

/* Let the destination have all of what was held. */
static void settle(Told *t)
{
    relay_wait_still(t->relay, false);
    relay_hold(t->relay, 0);
}

static int64_t balloon_skipped(Told *t)
{
    return bg_skip_stat(t->p.source, "skipped-pages");
}

static void give_back(Told *t, uint64_t start, uint64_t length)
{
    bg_request_range(t->p.source, BG_INFLATE, start, length);
}

static void take_back(Told *t, uint64_t start, uint64_t length, uint8_t seed)
{
    bg_request_range(t->p.source, BG_DEFLATE, start, length);
    bg_fill(t->p.source, start, length, seed);
}

/* ---- Pass by pass ---- */

/*
 * A guest that does nothing, whose migration waits in the middle of each pass
 * for the test: what is below its ballast has been sent then, or skipped, and
 * what has been skipped in this pass has not been told.
 */
typedef struct Steps {
    Told t;
    uint64_t ballast;           /* its size in bytes */
    uint8_t n;
    uint8_t mark[BALLOON_PAGE];
} Steps;

/* The page below the ballast, in which each byte is another one each time */
#define MARK_TEXT "skip-told: all of this differs in each pass"
#define MARK_PAGE (BALLAST_START - BALLOON_PAGE)

/*
 * There are two, in turn: of the one of this pass the rest is yet to be sent,
 * and would be with what it is to have in the next one.
 */
static void write_ballast(Steps *s)
{
    uint64_t start = BALLAST_START + s->n % 2 * s->ballast;
    int i;

    for (i = 0; i < sizeof(s->mark); i++) {
        s->mark[i] = MARK_TEXT[i % sizeof(MARK_TEXT)] + s->n;
    }
    s->n++;
    qtest_memwrite(s->t.p.source->qts, MARK_PAGE, s->mark, sizeof(s->mark));
    bp_fill_ballast(s->t.p.source, start, s->ballast, s->n);
}

/* Go on to the middle of the next pass. */
static void step(Steps *s)
{
    write_ballast(s);
    relay_wait_bytes(s->t.relay, s->mark, sizeof(s->mark), true);
}

static Steps start_steps(const BGOptions *options, uint64_t ballast)
{
    Steps s = { .t.p = bp_start(options, NULL, false), .ballast = ballast };

    s.t.relay = relay_listen(s.t.p.dest);
    return s;
}

static void begin_steps(Steps *s)
{
    /* What is left to be sent holds it. */
    s->t.p.runs = true;
    bg_set_parameters(s->t.p.source, BP_RELEASED);
    bg_set_parameters(s->t.p.source, BP_HELD);
    relay_set_speed(s->t.relay, RELAY_STOP);
    write_ballast(s);
    bg_migrate_start(s->t.p.source, s->t.p.dest);
    relay_wait_bytes(s->t.relay, s->mark, sizeof(s->mark), true);
    /* QEMU lets a migration end that has taken less than 0.1 s. */
    relay_wait_still(s->t.relay, true);
}

/*
 * The cache has what was sent last.  What has been told to be zero meanwhile is
 * not that any more, whether the same is written to it again, or what differs
 * in a byte.
 */
static void test_xbzrle(gconstpointer data)
{
    enum { SAME, CHANGED, NOT_YET_TOLD };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = CAPABILITIES("xbzrle", "skip-balloon",
                                     "skip-unpopulated"),
    };
    Steps s = start_steps(&options, BALLAST_SIZE);
    BGuest *g = s.t.p.source, *dest = s.t.p.dest;
    uint64_t at;

    bg_set_parameters(g, "{ 'xbzrle-cache-size': 33554432 }");
    bg_fill(g, PART(SAME), 3 * PART_SIZE, 1);
    begin_steps(&s);
    /* The first pass leaves the cache alone. */
    bg_fill(g, PART(SAME), 3 * PART_SIZE, 2);
    step(&s);
    give_back(&s.t, PART(SAME), 2 * PART_SIZE);
    step(&s);
    step(&s);
    BG_WAIT(!bg_count_populated(dest, PART(SAME), 2 * PART_SIZE));

    take_back(&s.t, PART(SAME), 2 * PART_SIZE, 2);
    for (at = PART(CHANGED); at < PART(CHANGED + 1); at += BALLOON_PAGE) {
        qtest_writeb(g->qts, at + 1000, 0xff);
    }
    give_back(&s.t, PART(NOT_YET_TOLD), PART_SIZE);
    step(&s);
    g_assert_cmpuint(bg_count_populated(dest, PART(NOT_YET_TOLD), PART_SIZE),
                     ==, PART_PAGES);
    take_back(&s.t, PART(NOT_YET_TOLD), PART_SIZE, 2);
    finish(&s.t);
    end(&s.t);
}

/*
 * Auto-converge's timer synchronizes if 5 s, or up to 10, have passed since the
 * last time.  QEMU sends 32 pages each 0.1 s, however low the limit is.
 */
#define TIMER_BALLAST (23 * MiB)

/* Behind both ballasts: sent last in a pass, and right before a word */
#define LAST_START (BALLAST_START + 2 * TIMER_BALLAST)

/*
 * A pass has skipped pages, and the bandwidth is too low for the word.  The
 * main loop synchronizes while the migration thread sends: what is in use
 * again by then is sent before the word, which must not name it any more, and
 * what has been given back by then is skipped.
 */
static void test_auto_converge(gconstpointer data)
{
    Steps s = start_steps(data, TIMER_BALLAST);
    BGuest *g = s.t.p.source, *dest = s.t.p.dest;
    int64_t passes, skipped;

    bg_fill(g, LAST_START, PART_SIZE, 1);
    bg_fill(g, PART(0), PART_SIZE, 1);
    begin_steps(&s);
    bg_fill(g, LAST_START, PART_SIZE, 2);
    step(&s);
    step(&s);
    give_back(&s.t, LAST_START, PART_SIZE);
    step(&s);
    passes = bp_passes(g);
    skipped = balloon_skipped(&s.t);
    bp_set_bandwidth(g, SLOW);
    relay_set_speed(s.t.relay, RELAY_FREE);
    take_back(&s.t, LAST_START, PART_SIZE, 2);
    give_back(&s.t, PART(0), PART_SIZE);
    bg_migrate_wait_pass(g, passes + 1);
    BG_WAIT(balloon_skipped(&s.t) >= skipped + PART_PAGES);
    g_assert_cmpuint(bg_count_populated(dest, LAST_START, PART_SIZE), ==,
                     PART_PAGES);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "remaining"), >, MiB);
    g_assert_cmpint(bp_passes(g), ==, passes + 1);
    /* There is nothing more to be sent, which ends it. */
    bp_set_bandwidth(g, STEADY);
    bg_migrate_wait(g, dest);
    finish(&s.t);
    end(&s.t);
}

static const BGOptions without_cache = {
    .backend = BG_ANON,
    .capabilities = CAPABILITIES("auto-converge", "skip-balloon",
                                 "skip-unpopulated"),
};

/* The cache has it, and so has the destination: nothing is sent for it. */
static const BGOptions with_cache = {
    .backend = BG_MEMFD,
    .capabilities = CAPABILITIES("auto-converge", "xbzrle", "skip-balloon",
                                 "skip-unpopulated"),
};

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
    alarm(BP_HANG_SECONDS);
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
    enum { GIVEN, TAKEN };
    BGOptions options = {
        .backend = GPOINTER_TO_INT(data),
        .capabilities = CAPABILITIES("postcopy-ram", "skip-balloon",
                                     "skip-unpopulated"),
    };
    Told t = { .p = bp_start(&options, NULL, true) };
    BGuest *g = t.p.source, *dest = t.p.dest;
    int64_t passes, skipped;

    bg_fill(g, PART(GIVEN), 2 * PART_SIZE, 1);
    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 1048576 }");
    bp_begin(&t.p, STEADY);
    BG_WAIT(bp_holds(dest, PART(GIVEN), 2 * PART_SIZE, 1));
    bg_migrate_wait_pass(g, 2);
    bp_fill_ballast(g, BALLAST_START, POSTCOPY_BALLAST, 2);
    bp_wait_passes(g, 1);
    bp_set_bandwidth(g, SLOW);

    passes = bp_passes(g);
    skipped = balloon_skipped(&t);
    give_back(&t, PART(GIVEN), 2 * PART_SIZE);
    take_back(&t, PART(TAKEN), PART_SIZE, 3);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-start-postcopy' }");
    bp_wait_status(g, "postcopy-active");
    /* END's own; KVM would call what it skipped dirty in one behind it. */
    g_assert_cmpint(bp_passes(g), ==, passes + 1);
    g_assert_cmpint(balloon_skipped(&t), ==, skipped + PART_PAGES);
    g_assert_cmpuint(bg_count_populated(g, PART(GIVEN), PART_SIZE), ==, 0);
    bp_wait_status(dest, "postcopy-active");
    read_zero(dest, PART(GIVEN), PART_SIZE);

    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 0 }");
    finish(&t);
    g_assert_true(bp_holds(dest, PART(TAKEN), PART_SIZE, 3));
    end(&t);
}

/* ---- Multifd: what comes by a channel may overtake a word ---- */

#define FLUSH "-global migration.multifd-channels=1 "\
              "-global migration.multifd-flush-after-each-section="

/*
 * What a pass is busy with for some seconds; and until auto-converge
 * synchronizes, which takes it up to 10 s, and the relay sees to it that it
 * takes longer
 */
#define SOME_BALLAST (8 * MiB)
#define LONG_BALLAST (64 * MiB)

/*
 * In a RAM block of its own, which comes behind the main memory.  Where a pass
 * begins, QEMU goes to the end of memory, and synchronizes the channels there
 * if it does so after each round.  So this is sent before that.
 */
#define BEHIND_START (DIMM_START + MiB)
#define BEHIND(backend) "-device pc-dimm,id=dimm0,memdev=dimm-ram "\
                        "-object " backend ",id=dimm-ram,size=32M "

/* What tells a page in the stream from all others */
#define FIRST_MARK "skip-told: at first"
#define SECOND_MARK "skip-told: again"

static void fill_with(BGuest *g, uint64_t start, const char *mark)
{
    size_t length = strlen(mark) + 1;
    char page[BALLOON_PAGE];
    uint64_t i;

    for (i = 0; i < sizeof(page); i++) {
        page[i] = mark[i % length];
    }
    for (i = 0; i < PART_PAGES; i++) {
        qtest_memwrite(g->qts, start + i * BALLOON_PAGE, page, sizeof(page));
    }
}

/*
 * Capability skip-unpopulated alone, and a driver that need not tell: there is
 * no map then, and each part of the section has a word.
 */
static Told start_channels(const BGOptions *flush,
                           const char *const *capabilities)
{
    BGOptions options = *flush;
    Told t;

    options.ram_size = 128 * MiB;
    options.no_must_tell_host = true;
    options.capabilities = capabilities;
    t.p = bp_start(&options, NULL, true);
    t.relay = relay_listen(t.p.dest);
    bg_fill(t.p.source, PART(0), PART_SIZE, 1);
    fill_with(t.p.source, BEHIND_START, "something");
    bp_fill_ballast(t.p.source, BALLAST_START, BALLAST_SIZE, 1);
    bp_begin(&t.p, STEADY);
    BG_WAIT(bp_holds(t.p.dest, PART(0), PART_SIZE, 1));
    bg_migrate_wait_pass(t.p.source, 2);
    return t;
}

static void end_channels(Told *t)
{
    g_autofree char *in_source = g_malloc(PART_SIZE);
    g_autofree char *in_dest = g_malloc(PART_SIZE);

    finish(t);
    qtest_memread(t->p.source->qts, BEHIND_START, in_source, PART_SIZE);
    qtest_memread(t->p.dest->qts, BEHIND_START, in_dest, PART_SIZE);
    g_assert_cmpmem(in_source, PART_SIZE, in_dest, PART_SIZE);
    end(t);
}

/*
 * A word is late, and what is sent right behind it is not: it was written to
 * after the pass that skipped it, and before the word.
 */
static void test_word_late(gconstpointer data)
{
    Told t = start_channels(data, CAPABILITIES("multifd", "skip-unpopulated"));
    BGuest *g = t.p.source;
    int64_t skipped;
    int words;

    relay_hold(t.relay, RELAY_MAIN);
    words = relay_words(t.relay);
    /* Give it back in a pass that takes long, which skips it. */
    skipped = bp_skipped_pages(g);
    stop(&t);
    bp_fill_ballast(g, BALLAST_START, SOME_BALLAST, 2);
    give_back(&t, BEHIND_START, PART_SIZE);
    bp_set_bandwidth(g, SLOW);
    relay_set_speed(t.relay, RELAY_SLOW);
    BG_WAIT(bp_skipped_pages(g) >= skipped + PART_PAGES);

    bg_request_range(g, BG_DEFLATE, BEHIND_START, PART_SIZE);
    fill_with(g, BEHIND_START, SECOND_MARK);
    g_assert_cmpint(relay_words(t.relay), ==, words);
    relay_set_speed(t.relay, RELAY_FREE);
    BG_WAIT(relay_words(t.relay) > words);
    bp_set_bandwidth(g, STEADY);
    relay_wait_bytes(t.relay, SECOND_MARK, sizeof(SECOND_MARK), false);
    settle(&t);
    end_channels(&t);
}

/*
 * The channels are late with what has been sent before the word.  QEMU
 * synchronizes them itself whenever it has been through all of memory, so this
 * takes a word before that: the main loop synchronizes the dirty bitmap, and an
 * iteration ends since it took too long.  Nor is there anything to see if
 * it is to synchronize them after each section.
 */
static void test_data_late(gconstpointer data)
{
    Told t = start_channels(data, CAPABILITIES("multifd", "auto-converge",
                                               "skip-unpopulated"));
    BGuest *g = t.p.source;
    int64_t passes;
    int words;

    /* Both have to be dirty in the same pass. */
    stop(&t);
    relay_hold(t.relay, RELAY_CHANNELS);
    bp_fill_ballast(g, BALLAST_START, LONG_BALLAST, 2);
    fill_with(g, PART(0), FIRST_MARK);
    relay_set_speed(t.relay, RELAY_FREE);
    relay_wait_bytes(t.relay, FIRST_MARK, sizeof(FIRST_MARK), false);
    relay_set_speed(t.relay, RELAY_SLOW);
    bp_set_bandwidth(g, SLOW);
    passes = bp_passes(g);
    give_back(&t, PART(0), PART_SIZE);
    bg_migrate_wait_pass(g, passes + 1);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "remaining"), >, MiB);

    words = relay_words(t.relay);
    relay_set_speed(t.relay, RELAY_STOP);
    bp_set_bandwidth(g, 0);
    relay_wait_still(t.relay, true);
    relay_set_speed(t.relay, RELAY_FREE);
    BG_WAIT(relay_words(t.relay) > words);
    bp_set_bandwidth(g, STEADY);
    settle(&t);
    end_channels(&t);
}

static const BGOptions after_section = {
    .backend = BG_ANON, .args = BEHIND("memory-backend-ram") FLUSH "on",
};

static const BGOptions after_round = {
    .backend = BG_MEMFD, .args = BEHIND("memory-backend-memfd") FLUSH "off",
};

/* ---- How much is said with the guest stopped ---- */

/* What the balloon leaves; memory above 3 GiB is mapped from 4 GiB on */
#define LEFT (1 * GiB)
#define LOW_RAM (3 * GiB)

/* Given back in one go, but for the end of it: each is a run of the map. */
#define STEP (512 * MiB)
#define STEP_LEFT (2 * MiB)

/*
 * What the guest has written to last may be sent with the guest stopped, which
 * is up to 1.3 MB, driver and all.  What there is to tell of 64 GiB may not.
 */
#define NEARLY "{ 'downtime-limit': 1000, "\
               "'avail-switchover-bandwidth': 1600000 }"

/* Returns bytes of ours in stop-and-copy. */
static int64_t final_bytes(BGBackend backend, uint64_t size)
{
    BGOptions options = {
        .backend = backend,
        .ram_size = LEFT + size,
        .capabilities = CAPABILITIES("skip-balloon", "skip-unpopulated"),
        /* One that can address it, and has no hole below 1 TiB */
        .args = "-cpu max,vendor=GenuineIntel,phys-bits=46",
    };
    Told t = { .p = bp_start(&options, NULL, true) };
    BGuest *g = t.p.source, *dest = t.p.dest;
    int64_t bytes;
    uint64_t at;

    t.relay = relay_listen(dest);
    /* QEMU lets a migration end that has taken less than 0.1 s. */
    bg_fill(g, BG_RAM_START, 2 * MiB, 1);
    bp_begin(&t.p, STEADY);
    bg_migrate_wait_pass(g, 2);
    stop(&t);
    for (at = LEFT; at < LEFT + size; at += STEP) {
        give_back(&t, at < LOW_RAM ? at : at - LOW_RAM + 4 * GiB,
                  STEP - STEP_LEFT);
    }
    /* When it goes on, the limit of the bandwidth comes before the word. */
    bp_set_bandwidth(g, SLOW);
    bg_set_parameters(g, NEARLY);
    relay_set_speed(t.relay, RELAY_FREE);
    bg_migrate_wait(g, dest);

    bytes = bg_skip_stat(g, "final-map-bytes");
    g_test_message("%" PRIu64 " GiB given back before it converged: of %"
                   PRIi64 " bytes of ours %" PRIi64 " with the guest stopped",
                   size / GiB, bg_skip_stat(g, "map-bytes"), bytes);
    bg_assert_same_map(g, dest);
    bg_assert_same_memory(g, dest);
    end(&t);
    return bytes;
}

static void test_size(gconstpointer data)
{
    int64_t little = final_bytes(GPOINTER_TO_INT(data), 1 * GiB);
    int64_t much = final_bytes(GPOINTER_TO_INT(data), 64 * GiB);

    g_assert_cmpint(ABS(much - little), <=, 64);
}

/* ---- All of them ---- */

/*
 * Those that wait for auto-converge's timer do nothing else nearly all the
 * time, so they may be run beside others: with --timer only these, with
 * --no-timer only the others.
 */
int main(int argc, char **argv)
{
    const char *option;
    int ret;

    g_test_init(&argc, &argv, NULL);
    option = argc > 1 ? argv[1] : "";
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    bp_init();
    if (strcmp(option, "--no-timer")) {
        bg_add_test(&without_cache, test_auto_converge,
                    "/skip-told/auto-converge/anon");
        bg_add_test(&with_cache, test_auto_converge,
                    "/skip-told/auto-converge-xbzrle/memfd");
        bg_add_test(&after_round, test_data_late,
                    "/skip-told/multifd/data-late/after-round");
    }
    if (strcmp(option, "--timer")) {
        bp_add_backend_tests("skip-told", "xbzrle", test_xbzrle);
        bp_add_backend_tests("skip-told", "postcopy", test_postcopy);
        bg_add_test(&after_section, test_word_late,
                    "/skip-told/multifd/word-late/after-section");
        bg_add_test(&after_round, test_word_late,
                    "/skip-told/multifd/word-late/after-round");
        bp_add_backend_tests("skip-told", "size", test_size);
        told_add_old_content_tests();
    }
    ret = g_test_run();
    bp_cleanup();
    return ret;
}
