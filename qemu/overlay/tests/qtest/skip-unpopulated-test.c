/*
 * Tests of migration capability skip-unpopulated: what is skipped, and what is
 * not
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "host-memory.h"
#include "skip-unpopulated.h"

/* Bytes per second: SENT soon, and BALLAST, below, in four seconds */
#define SLOW (4 * MiB)

/* What is sent before it is discarded, in four parts */
#define SENT_START BG_RAM_START
#define PART_SIZE (128 * BALLOON_PAGE)
#define SENT_SIZE (4 * PART_SIZE)
#define LAST_SENT (SENT_START + SENT_SIZE - BALLOON_PAGE)

/* A part of the memory that is used only now; no multiple of a part */
#define UNSENT_START (56 * MiB)
#define UNSENT_SIZE (102 * BALLOON_PAGE)

/* What the migration is busy with */
#define BALLAST_START (16 * MiB)
#define BALLAST_SIZE (16 * MiB)

/* What is in the balloon */
#define GIVEN_START (16 * MiB)
#define GIVEN_SIZE (24 * MiB)

typedef enum Moment {
    BEFORE,                     /* nothing happens meanwhile */
    SLOWLY,                     /* SENT is sent, and nothing more is now */
    PAUSED,                     /* all is sent, and the guest is stopped */
} Moment;

enum {
    ALPHA = 1,                  /* where pages of the target are larger, too */
    BOTH = 2,                   /* with skip-balloon, too */
    REPORT = 4,                 /* discard by free page reporting */
    HUGE = 8,                   /* needs huge pages */
    HUGE_FILE = 16,             /* as its memory */
    HUGE_PRIVATE = 32,
    WITH_DIMM = 64,             /* there is a DIMM that is not used */
};

typedef struct Case Case;
struct Case {
    const char *name;
    BGOptions options;          /* of both */
    int flags;
    const char *parameters;     /* of migration, an object in JSON, or NULL */
    BGBackend dest;             /* other memory of the destination; 0: same */
    void (*use)(BGuest *g);     /* before the migration */
    Moment moment;              /* when during() is to be called */
    void (*during)(const Case *c, BPair *p);
    uint64_t discarded;         /* bytes skipped from then on; 0: any number */
    void (*check)(BPair *p, const bool *before);    /* in the end */
};

BPair unpopulated_start(const BGOptions *options, const BGOptions *dest)
{
    BPair p = bp_start(options, dest, false);

    bg_set_capability(p.source, CAPABILITY, true);
    bg_set_capability(p.dest, CAPABILITY, true);
    return p;
}

/* ---- What guests do ---- */

static void scatter_and_inflate(BGuest *g)
{
    bp_scatter(g);
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
}

static void fill(BGuest *g)
{
    bg_fill(g, SENT_START, SENT_SIZE, 1);
    bg_fill(g, BALLAST_START, BALLAST_SIZE, 2);
}

static void discard(const Case *c, BGuest *g, uint64_t start, uint64_t length)
{
    BalloonModel *m = bm_new(g);

    if (c->flags & REPORT) {
        bm_report(m, g, start, length);
    } else {
        bg_request_range(g, BG_INFLATE, start, length);
    }
    bm_free(m);
}

/*
 * Discard a part of what was sent, and use another one of it again; use what
 * was not sent, and discard that.
 */
static void discard_parts(const Case *c, BPair *p)
{
    BGuest *g = p->source;

    discard(c, g, SENT_START, PART_SIZE);
    discard(c, g, SENT_START + PART_SIZE, PART_SIZE);
    bg_fill(g, SENT_START + PART_SIZE, PART_SIZE, 99);
    bg_fill(g, UNSENT_START, UNSENT_SIZE, 98);
    discard(c, g, UNSENT_START, UNSENT_SIZE);
}

#define PARTS_DISCARDED (PART_SIZE + UNSENT_SIZE)

static void check_parts(BPair *p, const bool *before)
{
    g_assert_true(bg_is_zero(p->dest, SENT_START));
    g_assert_false(bg_is_zero(p->dest, SENT_START + PART_SIZE));
}

/* What was sent is told to be zero, of two RAM blocks. */
static void discard_in_dimm(const Case *c, BPair *p)
{
    bg_request_range(p->source, BG_INFLATE, SENT_START, PART_SIZE);
    bg_request_range(p->source, BG_INFLATE, DIMM_START + MiB, PART_SIZE);
}

static void use_dimm(BGuest *g)
{
    fill(g);
    bg_fill(g, DIMM_START + MiB, PART_SIZE, 2);
}

static void check_dimm(BPair *p, const bool *before)
{
    g_assert_cmphex(qtest_readq(p->dest->qts, DIMM_START + MiB), ==, 0);
}

/*
 * What is discarded after a pass found it populated, and before it is sent, is
 * not read any more: no record of zeroes is sent for it, and it is populated on
 * neither side in the end.
 */
#define UNREAD_START (BALLAST_START + BALLAST_SIZE - MiB)

static void discard_before_its_turn(const Case *c, BPair *p)
{
    BGuest *g = p->source;
    int64_t zeroes = bg_migrate_stat(g, "ram", "duplicate");
    int64_t skipped = bp_skipped_pages(g);

    bg_request_range(g, BG_INFLATE, UNREAD_START, MiB);
    /* So much that there is no other pass before its turn */
    bg_migrate_limit(g, 64 * MiB);
    bp_wait_status(g, "pre-switchover");
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate"), <,
                    zeroes + MiB / BALLOON_PAGE / 2);
    /* It may be skipped in a later pass, too. */
    g_assert_cmpint(bp_skipped_pages(g), >=, skipped + MiB / BALLOON_PAGE);
}

static void check_unread(BPair *p, const bool *before)
{
    g_assert_cmpuint(bg_count_populated(p->source, UNREAD_START, MiB), ==, 0);
    g_assert_cmpuint(bg_count_populated(p->dest, UNREAD_START, MiB), ==, 0);
}

/*
 * What was sent is skipped then, and is used again.  With little bandwidth the
 * destination is told before the guest is stopped, since what it has yet to
 * drop counts as much as what is yet to be sent.
 */
static void use_again(const Case *c, BPair *p)
{
    bg_request_range(p->source, BG_INFLATE, SENT_START, SENT_SIZE);
    bg_migrate_limit(p->source, 16 * MiB);
    bp_wait_status(p->source, "pre-switchover");
    BG_WAIT(!bg_count_populated(p->dest, SENT_START, SENT_SIZE));
    bg_fill(p->source, SENT_START, SENT_SIZE, 3);
}

static void check_used_again(BPair *p, const bool *before)
{
    g_assert_true(bp_holds(p->dest, SENT_START, SENT_SIZE, 3));
}

/* ---- All is skipped that is to be, and nothing else ---- */

/* By either capability */
static int64_t all_skipped(const Case *c, BGuest *g)
{
    bool active = c->flags & BOTH && !c->options.no_must_tell_host;

    return bp_skipped_pages(g) +
           (active ? bg_skip_stat(g, "skipped-pages") : 0);
}

static void begin_and_wait(BPair *p, Moment moment)
{
    bp_begin(p, moment == SLOWLY ? SLOW : 0);
    if (moment == SLOWLY) {
        BG_WAIT(!bg_is_zero(p->dest, LAST_SENT));
        bg_migrate_limit(p->source, NEXT_TO_NOTHING);
    } else if (moment == PAUSED) {
        bp_wait_status(p->source, "pre-switchover");
    }
}

static void check_counts(const Case *c, BPair *p, const bool *before,
                         int64_t skipped)
{
    BGuest *g = p->source;
    uint64_t size = g->options.ram_size, page = bg_target_page();
    uint64_t unpopulated = bp_count_unpopulated(before, size);

    if (c->discarded) {
        /* Each page once, whether it had been sent before or not */
        g_assert_cmpint(all_skipped(c, g), ==, skipped + c->discarded / page);
    }
    if (c->during) {
        return;
    }
    g_assert_cmpuint(unpopulated, >, 0);
    g_assert_cmpint(all_skipped(c, g), ==, unpopulated +
                    (c->flags & WITH_DIMM ? DIMM_SIZE / page : 0));
    /* There are a few ROMs, too. */
    g_assert_cmpint(bg_migrate_stat(g, "ram", "duplicate") +
                    bg_migrate_stat(g, "ram", "normal"), <,
                    size / page - unpopulated + 1024);
    if (c->flags & BOTH && c->options.no_must_tell_host) {
        /* The guest does not keep to the rules. */
        bg_assert_disabled(g, "must-tell-host");
    } else if (c->flags & BOTH) {
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==,
                        GIVEN_SIZE / page);
        g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), ==, 0);
    }
}

static void run(const Case *c, const BGOptions *options, bool capable)
{
    BGOptions dest = *options;
    int64_t skipped = 0;
    g_autofree bool *before = NULL;
    BPair p;

    dest.backend = c->dest ?: dest.backend;
    p = unpopulated_start(options, &dest);
    bg_set_capability(p.dest, CAPABILITY, capable);
    bg_set_capability(p.source, "skip-balloon", c->flags & BOTH);
    bg_set_capability(p.dest, "skip-balloon", c->flags & BOTH);
    if (c->parameters) {
        bg_set_parameters(p.source, c->parameters);
    }
    (c->use ?: bp_scatter)(p.source);
    before = bp_populated_of(p.source);
    begin_and_wait(&p, c->moment);
    if (c->during) {
        skipped = all_skipped(c, p.source);
        c->during(c, &p);
        g_free(before);
        before = bp_populated_of(p.source);
    }
    bp_finish(&p);
    check_counts(c, &p, before, skipped);
    bp_assert_populated_as_before(p.source, before);
    bp_assert_populated_as_before(p.dest, before);
    if (!options->no_device && !options->no_must_tell_host) {
        bg_assert_same_map(p.source, p.dest);
    }
    if (c->check) {
        c->check(&p, before);
    }
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

static void test_case(gconstpointer data)
{
    const Case *c = data;
    BGOptions options = c->options;
    g_autofree char *dir = NULL;
    g_autofree char *file = NULL;
    bool mounted;

    if (c->flags & (HUGE_FILE | HUGE_PRIVATE)) {
        if (!g_test_subprocess()) {
            hm_test_on_hugetlbfs(2 * RAM_SIZE);
            return;
        }
        dir = hm_find_hugetlbfs(&mounted);
        g_assert_false(mounted);
        file = g_strdup_printf("%s,share=%s", dir,
                               c->flags & HUGE_FILE ? "on" : "off");
        options.ram_file = file;
    } else if (c->flags & HUGE && !g_test_subprocess()) {
        hm_test_with_huge_pages(2 * RAM_SIZE);
        return;
    }
    run(c, &options, true);
    if (!c->during && !(c->flags & BOTH) && !options.ram_size) {
        /* What the destination has on makes no difference. */
        run(c, &options, false);
    }
}

#define SMALL_WINDOWS "-global migration.x-clear-bitmap-shift=6"
#define REPORTING .device_args = "free-page-reporting=on"
#define DETECTION(how) "{ 'zero-page-detection': '" how "' }"

#define SCATTER(name, flags, ...) \
    { "scatter/" name, { .no_device = true, __VA_ARGS__ }, flags }
#define GIVEN(name, flags, ...) \
    { "both/" name, { __VA_ARGS__ }, BOTH | flags, .use = scatter_and_inflate }
#define LATER(name, flags, moment, parameters, ...) \
    { "later/" name, { __VA_ARGS__ }, flags, parameters, 0, fill, moment, \
      discard_parts, PARTS_DISCARDED, check_parts }

static const Case cases[] = {
    SCATTER("anon", ALPHA, .backend = BG_ANON),
    SCATTER("memfd", ALPHA, .backend = BG_MEMFD),
    SCATTER("small-windows/anon", ALPHA, .args = SMALL_WINDOWS),
    SCATTER("small-windows/memfd", ALPHA, .backend = BG_MEMFD,
            .args = SMALL_WINDOWS),
    SCATTER("multifd/anon", 0, .multifd = true),
    SCATTER("multifd/memfd", 0, .backend = BG_MEMFD, .multifd = true),
    SCATTER("large/anon", 0, .ram_size = 1536 * MiB),
    SCATTER("large/memfd", 0, .backend = BG_MEMFD, .ram_size = 1536 * MiB),
    SCATTER("dimm", WITH_DIMM, .args = DIMM_ARGS),
    SCATTER("private-memfd", 0, .backend = BG_PRIVATE_MEMFD),
    SCATTER("huge-memfd", HUGE, .backend = BG_HUGETLB),
    SCATTER("huge-file", HUGE_FILE),
    SCATTER("huge-private", HUGE_PRIVATE),
    /* A private mapping of what is empty stays empty. */
    { "scatter/to-private-memfd", { .no_device = true },
      .dest = BG_PRIVATE_MEMFD },

    GIVEN("anon", ALPHA, .backend = BG_ANON),
    GIVEN("memfd", ALPHA, .backend = BG_MEMFD),
    GIVEN("multifd/memfd", ALPHA, .backend = BG_MEMFD, .multifd = true),
    GIVEN("huge-memfd", HUGE, .backend = BG_HUGETLB),
    GIVEN("disabled", 0, .no_must_tell_host = true),

    LATER("anon", ALPHA, PAUSED, NULL, .backend = BG_ANON),
    LATER("memfd", ALPHA, PAUSED, NULL, .backend = BG_MEMFD),
    LATER("slow/anon", ALPHA, SLOWLY, NULL, .backend = BG_ANON),
    LATER("slow/memfd", ALPHA, SLOWLY, NULL, .backend = BG_MEMFD),
    LATER("both/anon", BOTH, PAUSED, NULL, .backend = BG_ANON),
    LATER("both/memfd", BOTH, PAUSED, NULL, .backend = BG_MEMFD),
    LATER("both-slow/memfd", BOTH, SLOWLY, NULL, .backend = BG_MEMFD),
    LATER("report/anon", REPORT, PAUSED, NULL, REPORTING),
    LATER("report/memfd", REPORT, PAUSED, NULL, REPORTING,
          .backend = BG_MEMFD),
    LATER("report-slow/memfd", REPORT, SLOWLY, NULL, REPORTING,
          .backend = BG_MEMFD),
    LATER("report-both/anon", REPORT | BOTH, PAUSED, NULL, REPORTING),
    LATER("detection-none/memfd", 0, PAUSED, DETECTION("none"),
          .backend = BG_MEMFD),
    LATER("multifd-none/anon", 0, PAUSED, DETECTION("none"),
          .multifd = true),
    LATER("multifd-none/memfd", 0, SLOWLY, DETECTION("none"),
          .backend = BG_MEMFD, .multifd = true),
    LATER("multifd-legacy/memfd", 0, PAUSED, DETECTION("legacy"),
          .backend = BG_MEMFD, .multifd = true),
    LATER("multifd-multifd/anon", 0, PAUSED, DETECTION("multifd"),
          .multifd = true),
    LATER("multifd-multifd/memfd", 0, SLOWLY, DETECTION("multifd"),
          .backend = BG_MEMFD, .multifd = true),
    { "later/dimm", { .args = DIMM_ARGS }, 0, NULL, 0, use_dimm, PAUSED,
      discard_in_dimm, 2 * PART_SIZE, check_dimm },
    { "before-its-turn/anon", { .backend = BG_ANON }, 0, NULL, 0, fill, SLOWLY,
      discard_before_its_turn, 0, check_unread },
    { "before-its-turn/memfd", { .backend = BG_MEMFD }, 0, NULL, 0, fill,
      SLOWLY, discard_before_its_turn, 0, check_unread },
    { "used-again/anon", { .backend = BG_ANON }, 0, NULL, 0, fill, SLOWLY,
      use_again, SENT_SIZE, check_used_again },
    { "used-again/memfd", { .backend = BG_MEMFD }, 0, NULL, 0, fill, SLOWLY,
      use_again, SENT_SIZE, check_used_again },
};

/* ---- Again, after a first one came to nothing ---- */

typedef enum Failure {
    CANCELLED,
    CANCELLED_LATE,             /* when what was sent has been skipped since */
    KILLED,
} Failure;

static const struct {
    const char *name;
    BGBackend backend;
    Failure failure;
} again[] = {
    { "cancel/anon", BG_ANON, CANCELLED },
    { "cancel/memfd", BG_MEMFD, CANCELLED },
    { "cancel-late/anon", BG_ANON, CANCELLED_LATE },
    { "cancel-late/memfd", BG_MEMFD, CANCELLED_LATE },
    { "killed/anon", BG_ANON, KILLED },
    { "killed/memfd", BG_MEMFD, KILLED },
};

static void test_again(gconstpointer data)
{
    int i = GPOINTER_TO_INT(data);
    Failure failure = again[i].failure;
    const Case c = { .options.backend = again[i].backend };
    BPair p = unpopulated_start(&c.options, NULL);
    g_autofree bool *before = NULL;

    fill(p.source);
    begin_and_wait(&p, SLOWLY);
    discard_parts(&c, &p);
    if (failure == CANCELLED_LATE) {
        bg_migrate_limit(p.source, 0);
        bp_wait_status(p.source, "pre-switchover");
    }
    if (failure == KILLED) {
        qtest_kill_qemu(p.dest->qts);
        bg_migrate_limit(p.source, 0);
        bp_wait_failed(p.source);
        bg_quit(p.dest);
    } else {
        bg_migrate_cancel(p.source, p.dest);
    }

    p.dest = bp_start_destination(&c.options, true);
    bg_request_range(p.source, BG_INFLATE, SENT_START, PART_SIZE);
    bg_fill(p.source, 12 * MiB, MiB, 55);
    before = bp_populated_of(p.source);
    begin_and_wait(&p, BEFORE);
    bp_finish(&p);
    check_counts(&c, &p, before, 0);
    bp_assert_populated_as_before(p.source, before);
    bp_assert_populated_as_before(p.dest, before);
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

/* ---- Unmodified QEMU, and off ---- */

/*
 * Unmodified QEMU tells nothing, so that the capability does nothing on the
 * destination.  From there on it does.
 */
static void test_from_stock(gconstpointer data)
{
    const BGOptions *options = data;
    BGOptions stock = *options;
    g_autofree bool *before = NULL;
    BPair p;
    BGuest *first;

    if (!bg_stock_or_skip()) {
        return;
    }
    stock.stock = true;
    first = bg_start(&stock);
    bp_scatter(first);
    p = (BPair) { .source = bp_start_destination(options, true) };
    bg_migrate(first, p.source);
    before = bp_populated_of(p.source);
    p.dest = bp_start_destination(options, true);
    bg_migrate(p.source, p.dest);
    g_assert_cmpint(bp_skipped_pages(p.source), ==,
                    bp_count_unpopulated(before, RAM_SIZE));
    bp_assert_populated_as_before(p.dest, before);
    bg_assert_same_memory(first, p.dest);
    bp_end(&p);
    bg_quit(first);
}

static const struct {
    const char *name;
    BGOptions options;
} from_stock[] = {
    { "anon", { .no_device = true } },
    { "memfd", { BG_MEMFD, .no_device = true } },
    { "multifd/anon", { .no_device = true, .multifd = true } },
    { "multifd/memfd", { BG_MEMFD, .no_device = true, .multifd = true } },
};

static void assert_in_hmp(BGuest *g, const char *command, const char *what,
                          bool there)
{
    g_autofree char *text = qtest_hmp(g->qts, "%s", command);

    if (!strstr(text, what) == there) {
        g_error("%s: \"%s\" is %s", command, what, there ? "missing" : "there");
    }
}

/* On, and then off again: it is as if it had never been on. */
static void test_off_again(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BPair p = unpopulated_start(&options, NULL);
    QDict *info;

    bp_scatter(p.source);
    bg_set_capability(p.source, CAPABILITY, false);
    bg_migrate(p.source, p.dest);
    info = bg_query_migrate(p.source);
    g_assert_false(qdict_haskey(info, CAPABILITY));
    qobject_unref(info);
    assert_in_hmp(p.source, "info migrate", CAPABILITY, false);
    g_assert_cmpint(bg_migrate_stat(p.source, "ram", "duplicate"), >=,
                    32 * MiB / bg_target_page());
    bg_assert_same_memory(p.source, p.dest);
    bp_end(&p);
}

static void test_hmp(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true,
                          .args = "-global migration." CAPABILITY "=on" };
    BPair p = bp_start(&options, NULL, false);
    g_autofree char *skipped = NULL;

    bp_scatter(p.source);
    assert_in_hmp(p.source, "info migrate_capabilities", CAPABILITY ": on",
                  true);
    bg_migrate(p.source, p.dest);
    skipped = g_strdup_printf(CAPABILITY " skipped: %" PRIi64 " pages, "
                              "%" PRIi64 " kbytes",
                              bp_skipped_pages(p.source),
                              bp_skipped_pages(p.source) * 4);
    assert_in_hmp(p.source, "info migrate", skipped, true);
    assert_in_hmp(p.source, "info migrate", CAPABILITY " left alone: pc.bios",
                  true);
    assert_in_hmp(p.source, "info migrate", "(not-guest-ram)", true);
    bp_end(&p);
}

int main(int argc, char **argv)
{
    bool alpha;
    int i;

    bg_init(&argc, &argv);
    alpha = !strcmp(qtest_get_arch(), "alpha");
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        if (!alpha || cases[i].flags & ALPHA) {
            bg_add_test(&cases[i], test_case, PROGRAM "/%s", cases[i].name);
        }
    }
    for (i = 0; i < ARRAY_SIZE(again); i++) {
        if (!alpha || again[i].failure == CANCELLED) {
            bg_add_test(GINT_TO_POINTER(i), test_again, PROGRAM "/%s",
                        again[i].name);
        }
    }
    if (alpha) {
        qtest_add_func(PROGRAM "/half-page", test_half_page);
        qtest_add_func(PROGRAM "/half-page/later", test_half_page_later);
        return g_test_run();
    }
    for (i = 0; i < ARRAY_SIZE(from_stock); i++) {
        bg_add_test(&from_stock[i].options, test_from_stock,
                    PROGRAM "/from-stock/%s", from_stock[i].name);
    }
    qtest_add_func(PROGRAM "/off/again", test_off_again);
    qtest_add_func(PROGRAM "/hmp", test_hmp);
    add_host_tests();
    return g_test_run();
}
