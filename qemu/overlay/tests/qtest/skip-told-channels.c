/*
 * Tests of what the stream says is zero: multifd, where what comes by a channel
 * may overtake what comes by the main one, or be overtaken
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"
#include "skip-told.h"
#include "stream-relay.h"

#define FLUSH "-global migration.multifd-channels=1 "\
              "-global migration.multifd-flush-after-each-section="

/*
 * What a pass is busy with until auto-converge synchronizes, which takes it up
 * to 10 s; the relay sees to it that it takes longer.
 */
#define LONG_BALLAST (64 * MiB)
#define RAM (128 * MiB)

/* The same for some seconds */
#define BALLAST (8 * MiB)

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

typedef struct Channels {
    ToldMove m;
    StreamRelay *relay;
} Channels;

typedef struct Case {
    const char *name;
    BGBackend backend;
    const char *args;
} Case;

static void fill_with(BGuest *g, uint64_t start, const char *mark)
{
    size_t length = strlen(mark) + 1;
    char page[BALLOON_PAGE];
    uint64_t i;

    for (i = 0; i < sizeof(page); i++) {
        page[i] = mark[i % length];
    }
    for (i = 0; i < PART_PAGES; i++) {
        qtest_memwrite(g->qts, start + i * BALLOON_PAGE, page,
                       sizeof(page));
    }
}

/*
 * Capability skip-unpopulated alone, and a driver that need not tell: there is
 * no map then, and each part of the section has a word.
 */
static Channels start_channels(const Case *c, const char *const *capabilities)
{
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM,
        .no_must_tell_host = true,
        .args = c->args,
        .capabilities = capabilities,
    };
    Channels ch = { .m = told_start(&options) };

    ch.relay = relay_listen(ch.m.dest);
    bg_fill(ch.m.source, TOLD_PART(0), PART_SIZE, 1);
    fill_with(ch.m.source, BEHIND_START, "something");
    told_fill_ballast(ch.m.source, TOLD_BALLAST, TOLD_BALLAST_SIZE, 1);
    told_begin(&ch.m, TOLD_STEADY);
    told_wait_content(ch.m.dest, TOLD_PART(0), PART_SIZE, 1);
    bg_migrate_wait_pass(ch.m.source, 2);
    return ch;
}

static void assert_same_behind(BGuest *a, BGuest *b)
{
    uint8_t in_a[BALLOON_PAGE], in_b[BALLOON_PAGE];
    uint64_t at;

    for (at = BEHIND_START; at < BEHIND_START + PART_SIZE;
         at += BALLOON_PAGE) {
        qtest_memread(a->qts, at, in_a, sizeof(in_a));
        qtest_memread(b->qts, at, in_b, sizeof(in_b));
        g_assert_cmpmem(in_a, sizeof(in_a), in_b, sizeof(in_b));
    }
}

static void end_channels(Channels *ch)
{
    told_finish(&ch->m);
    bg_assert_same_memory(ch->m.source, ch->m.dest);
    assert_same_behind(ch->m.source, ch->m.dest);
    told_end(&ch->m);
    relay_free(ch->relay);
}

/* Give a range back in a pass that takes long, and wait until it is skipped. */
static void inflate_in_long_pass(Channels *ch)
{
    BGuest *g = ch->m.source;
    int64_t before = ug_skipped_pages(g);
    gint64 end = ug_hang_deadline();
    unsigned int times = 0;

    relay_set_speed(ch->relay, RELAY_STOP);
    relay_wait_stuck(ch->relay);
    told_fill_ballast(g, TOLD_BALLAST, BALLAST, 2);
    bg_request_range(g, BG_INFLATE, BEHIND_START, PART_SIZE);
    told_set_bandwidth(g, TOLD_SLOW);
    relay_set_speed(ch->relay, RELAY_SLOW);
    while (ug_skipped_pages(g) < before + PART_PAGES) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

/*
 * A word is late, and what is sent right behind it is not: it was written to
 * after the pass that skipped it, and before the word.
 */
static void test_word_late(gconstpointer data)
{
    static const char *const capabilities[] = {
        "multifd", "skip-unpopulated", NULL
    };
    Channels ch = start_channels(data, capabilities);
    BGuest *g = ch.m.source;
    int words;

    relay_hold(ch.relay, RELAY_MAIN);
    words = relay_words(ch.relay);
    inflate_in_long_pass(&ch);
    bg_request_range(g, BG_DEFLATE, BEHIND_START, PART_SIZE);
    fill_with(g, BEHIND_START, SECOND_MARK);
    g_assert_cmpint(relay_words(ch.relay), ==, words);
    relay_set_speed(ch.relay, RELAY_FREE);
    relay_wait_words(ch.relay, words + 1);
    told_set_bandwidth(g, TOLD_STEADY);
    relay_wait_bytes(ch.relay, SECOND_MARK, sizeof(SECOND_MARK), false);
    relay_settle(ch.relay);
    relay_hold(ch.relay, 0);
    end_channels(&ch);
}

/*
 * The channels are late with what has been sent before the word.  QEMU
 * synchronizes them itself whenever it has been through all of memory, so this
 * takes a word before that: the main loop synchronizes the dirty bitmap, and an
 * iteration ends since it took too long.
 */
static void test_data_late(gconstpointer data)
{
    static const char *const capabilities[] = {
        "multifd", "auto-converge", "skip-unpopulated", NULL
    };
    Channels ch = start_channels(data, capabilities);
    BGuest *g = ch.m.source;
    int64_t passes;
    int words;

    /* Both have to be dirty in the same pass. */
    relay_set_speed(ch.relay, RELAY_STOP);
    relay_wait_stuck(ch.relay);
    relay_hold(ch.relay, RELAY_CHANNELS);
    told_fill_ballast(g, TOLD_BALLAST, LONG_BALLAST, 2);
    fill_with(g, TOLD_PART(0), FIRST_MARK);
    relay_set_speed(ch.relay, RELAY_FREE);
    relay_wait_bytes(ch.relay, FIRST_MARK, sizeof(FIRST_MARK), false);
    relay_set_speed(ch.relay, RELAY_SLOW);
    told_set_bandwidth(g, TOLD_SLOW);
    passes = told_passes(g);
    bg_request_range(g, BG_INFLATE, TOLD_PART(0), PART_SIZE);
    bg_migrate_wait_pass(g, passes + 1);
    g_assert_cmpint(bg_migrate_stat(g, "ram", "remaining"), >, MiB);

    words = relay_words(ch.relay);
    relay_set_speed(ch.relay, RELAY_STOP);
    told_set_bandwidth(g, 0);
    relay_wait_stuck(ch.relay);
    relay_set_speed(ch.relay, RELAY_FREE);
    relay_wait_words(ch.relay, words + 1);
    told_set_bandwidth(g, TOLD_STEADY);
    relay_settle(ch.relay);
    relay_hold(ch.relay, 0);
    end_channels(&ch);
}

static const Case cases[] = {
    { "after-section/anon", BG_ANON,
      BEHIND("memory-backend-ram") FLUSH "on" },
    { "after-section/memfd", BG_MEMFD,
      BEHIND("memory-backend-memfd") FLUSH "on" },
    { "after-round/anon", BG_ANON,
      BEHIND("memory-backend-ram") FLUSH "off" },
    { "after-round/memfd", BG_MEMFD,
      BEHIND("memory-backend-memfd") FLUSH "off" },
};

static void add(const char *name, GTestDataFunc func)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/skip-told/multifd/%s/%s",
                                                name, cases[i].name);

        qtest_add_data_func(path, &cases[i], func);
    }
}

void told_add_channel_tests(void)
{
    add("word-late", test_word_late);
}

void told_add_timer_tests(void)
{
    add("data-late", test_data_late);
}
