/*
 * What the guest gives back and the host cannot let go of: while discarding is
 * inhibited, and when memory is locked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/units.h"
#include "balloon-guest.h"
#include "balloon-model.h"

#define HUGE_SIZE (2 * MiB)
#define HUGE_PAGES (HUGE_SIZE / BALLOON_PAGE)
#define MIB_PAGES (MiB / BALLOON_PAGE)

/* Bytes per second: slow enough to do something meanwhile */
#define SLOW (1 * MiB)
#define STEADY (16 * MiB)
#define STILL 1024

/* Offsets in MiB; one MiB each, but for the first two */
enum {
    DATA = 8,                   /* holds something, stays as it is */
    OWED = 16,                  /* given back while that is inhibited */
    AGAIN = 24,                 /* the same, then taken back and used */
    UNREAD,                     /* the same, then taken back and left */
    FORMER,                     /* in the map, taken back meanwhile */
    KEPT,                       /* in the map, stays there */
    LAST,                       /* given back last of all */
    END,
    TAIL = 32,                  /* what a migration is busy with in the end */
};

/* What inhibits discarding */
typedef enum Cause {
    DEVICE,                     /* needs all memory to stay where it is */
    HOLD,                       /* balloon_map_hold() */
    SNAPSHOT,                   /* a background snapshot is taken */
} Cause;

/* What a case needs, or is skipped */
#define GDB 1
#define LOCK 2
#define HUGE 4

/* How the device, or its driver, goes while memory is owed */
typedef enum End {
    DRIVER_RESET,
    SYSTEM_RESET,
    UNPLUG,
    NEED_NOT_TELL,              /* may use a page again before it tells */
} End;

typedef struct Case {
    const char *name;
    /* @m: of @g, which has done nothing yet */
    void (*func)(const struct Case *c, BGuest *g, BalloonModel *m);
    int needs;
    BGBackend backend;
    Cause cause;
    End end;
    bool precopy;               /* while a migration is under way */
    bool stopped;               /* the guest is, when it is over */
    bool reported;              /* the guest reports free pages, too */
    bool dimm;
    bool some;                  /* can be discarded, all the same */
    const char *lock;           /* -overcommit mem-lock */
    const char *args;           /* for the source alone */
    uint64_t ram_size;
    const char *const *capabilities;
} Case;

static void wait_in_map(BGuest *g, uint64_t start, uint64_t length)
{
    BG_WAIT(bg_in_map(g, start, length) == length);
}

#define assert_in_map(g, start, length, bytes) \
    g_assert_cmpuint(bg_in_map(g, start, length), ==, bytes)

static void assert_resident(BGuest *g, uint64_t start, uint64_t length)
{
    assert_in_map(g, start, length, 0);
    bg_assert_populated(g, start, length, length / BALLOON_PAGE);
}

static void inhibit(BGuest *g, Cause cause, bool on)
{
    switch (cause) {
    case DEVICE:
        bg_gdb(g, on ? "call (int)ram_block_discard_disable(1)"
                     : "call (int)ram_block_discard_disable(0)", NULL);
        break;
    case HOLD:
        bg_gdb(g, "call (void)bql_lock_impl(\"test\", 1)",
               on ? "call (void)balloon_map_hold(1)"
                  : "call (void)balloon_map_hold(0)",
               "call (void)bql_unlock()", NULL);
        break;
    case SNAPSHOT:
        bg_migrate_limit(g, on ? SLOW : 0);
        if (on) {
            bg_set_capability(g, "skip-balloon", true);
            bg_migrate_uri(g, "exec:cat >/dev/null");
            qtest_qmp_eventwait(g->qts, "RESUME");
        } else {
            bg_migrate_wait(g, NULL);
        }
        break;
    }
}

/* ---- One script for all ---- */

static void before(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, DATA * MiB, (END - DATA) * MiB, 1);
    bm_inflate(m, g, FORMER * MiB, 2 * MiB);
}

/* While discarding is inhibited */
static void meanwhile(BalloonModel *m, BGuest *g)
{
    bm_inflate(m, g, OWED * MiB, 8 * MiB);
    bm_inflate(m, g, AGAIN * MiB, 1 * MiB);
    /* In vain: it stays, so the model need not know. */
    bg_request_range(g, BG_INFLATE, UNREAD * MiB, 1 * MiB);
    bg_assert_map(g, 2 * MIB_PAGES);
    bm_deflate(m, g, AGAIN * MiB, 1 * MiB);
    bm_fill(m, g, AGAIN * MiB, 1 * MiB, 2);
    bg_request_range(g, BG_DEFLATE, UNREAD * MiB, 1 * MiB);
    bm_deflate(m, g, FORMER * MiB, 1 * MiB);
    assert_in_map(g, FORMER * MiB, 1 * MiB, 0);
    assert_in_map(g, KEPT * MiB, 1 * MiB, 1 * MiB);
    bm_inflate(m, g, LAST * MiB, 1 * MiB);
}

/* When it is over */
static void after(BalloonModel *m, BGuest *g)
{
    wait_in_map(g, OWED * MiB, 8 * MiB);
    wait_in_map(g, LAST * MiB, 1 * MiB);
    bg_assert_map(g, 10 * MIB_PAGES);
    bg_assert_populated(g, OWED * MiB, 8 * MiB, 0);
    bm_check(m, g);
}

/* There is nothing to wait for: three times as long as it would take. */
static void let_time_pass(void)
{
    g_usleep(300 * 1000);
}

/*
 * Migrate until all of what the script filled has been sent.  Then the
 * migration stands still, with something left to be sent, until it is to end.
 */
static BGuest *begin_precopy(BGuest *source, BalloonModel *m)
{
    BGOptions options = source->options;
    BGuest *dest;

    options.args = NULL;
    bm_fill(m, source, TAIL * MiB, 16 * MiB, 5);
    dest = bg_start_dest(&options);
    bg_set_capability(source, "skip-balloon", true);
    bg_migrate_begin(source, dest, STEADY);
    BG_WAIT(!bg_is_zero(dest, TAIL * MiB));
    bg_migrate_limit(source, STILL);
    return dest;
}

static void end_precopy(BGuest *source, BGuest *dest, BalloonModel *m)
{
    g_assert_cmpint(bg_migrate_stat(source, "ram", "remaining"), >, 0);
    bg_migrate_end(source, dest);
    bm_migrated(m);
    bg_assert_same_memory(source, dest);
    bg_assert_same_map(source, dest);
    bm_check(m, dest);
    bg_quit(dest);
}

/*
 * What is reported to be free may be in use again, so it is never owed: a
 * device that needs it keeps it, and nobody who counts pages does.
 */
static void report_data(const Case *c, BalloonModel *m, BGuest *g)
{
    bg_report(g, DATA * MiB, 1 * MiB);
    if (c->cause == HOLD) {
        bg_assert_populated(g, DATA * MiB, 1 * MiB, 0);
        bm_fill(m, g, DATA * MiB, 1 * MiB, 3);
    }
}

static void test_script(const Case *c, BGuest *g, BalloonModel *m)
{
    BGuest *dest = NULL;

    if (c->cause == SNAPSHOT && !bg_set_background_snapshot(g)) {
        return;
    }
    before(m, g);
    if (c->precopy) {
        dest = begin_precopy(g, m);
    } else if (c->cause == SNAPSHOT) {
        /* What the guest writes to may take until all before it is saved. */
        bm_fill(m, g, TAIL * MiB, 16 * MiB, 5);
    }
    inhibit(g, c->cause, true);
    if (c->reported) {
        report_data(c, m, g);
    }
    meanwhile(m, g);
    assert_resident(g, OWED * MiB, 8 * MiB);
    assert_resident(g, UNREAD * MiB, 1 * MiB);
    if (c->stopped) {
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    }
    inhibit(g, c->cause, false);
    if (c->stopped) {
        /* It may be about to run elsewhere, in memory shared with that. */
        let_time_pass();
        assert_resident(g, OWED * MiB, 8 * MiB);
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    }
    after(m, g);
    if (c->precopy) {
        end_precopy(g, dest, m);
    } else if (c->reported) {
        assert_resident(g, DATA * MiB, 1 * MiB);
        bg_report(g, DATA * MiB, 1 * MiB);
        bg_assert_populated(g, DATA * MiB, 1 * MiB, 0);
    } else {
        /* It goes on as ever. */
        bm_inflate(m, g, DATA * MiB, 1 * MiB);
        bg_assert_map(g, 11 * MIB_PAGES);
        bm_check(m, g);
    }
}

/* Given back in pieces that are adjacent to nothing */
static void test_pieces(const Case *c, BGuest *g, BalloonModel *m)
{
    const uint64_t n = 4 * MIB_PAGES;
    uint64_t runs, i;

    bm_fill(m, g, DATA * MiB, (END - DATA) * MiB, 1);
    inhibit(g, c->cause, true);
    bg_request_every(g, BG_INFLATE, OWED * MiB, 2 * BALLOON_PAGE, n);
    for (i = 0; i < n; i++) {
        m->page[BG_PFN(OWED * MiB) + 2 * i] = (BMPage) { .in_balloon = true };
    }
    bm_inflate(m, g, LAST * MiB, 1 * MiB);
    inhibit(g, c->cause, false);
    wait_in_map(g, LAST * MiB, 1 * MiB);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, n + MIB_PAGES);
    g_assert_cmpuint(runs, ==, n + 1);
    bm_check(m, g);
}

/* ---- Who must not be owed anything ---- */

/* Whoever comes next has not given it back. */
static void test_end(const Case *c, BGuest *g, BalloonModel *m)
{
    bg_fill(g, OWED * MiB, (END - OWED) * MiB, 1);
    if (c->end == NEED_NOT_TELL) {
        bg_driver_start(g, 0);
    }
    inhibit(g, DEVICE, true);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 8 * MiB);
    switch (c->end) {
    case DRIVER_RESET:
        bg_driver_reset(g);
        break;
    case SYSTEM_RESET:
        qtest_system_reset(g->qts);
        break;
    case UNPLUG:
        bg_unplug_balloon(g);
        bg_plug_balloon(g);
        break;
    case NEED_NOT_TELL:
        break;
    }
    if (c->end != NEED_NOT_TELL) {
        bg_driver_start(g, BG_MUST_TELL_HOST);
        bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
    }
    inhibit(g, DEVICE, false);
    if (c->end != NEED_NOT_TELL) {
        wait_in_map(g, LAST * MiB, 1 * MiB);
    } else {
        let_time_pass();
    }
    assert_resident(g, OWED * MiB, 8 * MiB);
    g_assert_cmpuint(bg_byte(g, OWED * MiB), ==, bg_fill_value(OWED * MiB, 1));
    bg_request_range(g, BG_INFLATE, OWED * MiB, 2 * MiB);
    assert_in_map(g, OWED * MiB, 2 * MiB, 2 * MiB);
}

/*
 * The device, or the memory, goes before it can be let go of: a device that
 * goes when it is over, and nothing has been let go of yet; and a DIMM.
 */
static void test_unplug(const Case *c, BGuest *g, BalloonModel *m)
{
    const uint64_t start = c->dimm ? BG_DIMM_START : OWED * MiB;

    if (c->dimm) {
        bg_plug_dimm(g);
    }
    bg_fill(g, start, 4 * MiB, 1);
    bg_fill(g, LAST * MiB, 1 * MiB, 1);
    inhibit(g, c->cause, true);
    bg_request_range(g, BG_INFLATE, start, 4 * MiB);
    if (c->dimm) {
        bg_unplug_dimm(g);
        bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
        inhibit(g, c->cause, false);
    } else {
        bg_unplug_balloon(g);
        bg_plug_balloon(g);
        inhibit(g, c->cause, false);
        assert_resident(g, start, 4 * MiB);
        bg_driver_start(g, BG_MUST_TELL_HOST);
        bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
    }
    wait_in_map(g, LAST * MiB, 1 * MiB);
    bg_assert_map(g, MIB_PAGES);
}

/* ---- Huge pages ---- */

static uint64_t huge(int i)
{
    return OWED * MiB + i * HUGE_SIZE;
}

/* Ask for pages of huge page @i, from page @first on. */
static void ask(BGuest *g, int queue, int i, int first, int n)
{
    bg_request_range(g, queue, huge(i) + first * BALLOON_PAGE,
                     n * BALLOON_PAGE);
}

static void test_huge(const Case *c, BGuest *g, BalloonModel *m)
{
    const int half = HUGE_PAGES / 2;
    const uint64_t used = huge(2) + 7 * BALLOON_PAGE;
    /* In the map, of each of them, in the end; populated, if not all of it */
    const int pages[] = { HUGE_PAGES, half, HUGE_PAGES - 1, HUGE_PAGES,
                          HUGE_PAGES, half };
    int i;

    bg_fill(g, huge(0), 6 * HUGE_SIZE, 1);
    ask(g, BG_INFLATE, 0, 0, half);
    ask(g, BG_INFLATE, 3, 0, HUGE_PAGES);
    inhibit(g, c->cause, true);
    /* One in two halves, a half, one of which a page is used again */
    ask(g, BG_INFLATE, 0, half, half);
    ask(g, BG_INFLATE, 1, 0, half);
    ask(g, BG_INFLATE, 2, 0, HUGE_PAGES);
    ask(g, BG_DEFLATE, 2, 7, 1);
    bg_fill(g, used, BALLOON_PAGE, 77);
    /* One that leaves the map, and comes again; a run that is not whole */
    ask(g, BG_DEFLATE, 3, 7, 1);
    bg_assert_map(g, half + HUGE_PAGES - 1);
    ask(g, BG_INFLATE, 3, 7, 1);
    ask(g, BG_INFLATE, 4, half, HUGE_PAGES);
    ask(g, BG_INFLATE, 4, 0, half);
    inhibit(g, c->cause, false);

    /* The last one by address comes last. */
    wait_in_map(g, huge(5), HUGE_SIZE / 2);
    for (i = 0; i < ARRAY_SIZE(pages); i++) {
        bg_step("huge page %d", i);
        assert_in_map(g, huge(i), HUGE_SIZE, pages[i] * BALLOON_PAGE);
        bg_assert_populated(g, huge(i), HUGE_SIZE,
                            pages[i] == HUGE_PAGES ? 0 : HUGE_PAGES);
    }
    g_assert_cmpuint(bg_byte(g, used), ==, bg_fill_value(used, 77));

    /* The rest comes later. */
    ask(g, BG_INFLATE, 1, half, half);
    ask(g, BG_INFLATE, 2, 7, 1);
    ask(g, BG_INFLATE, 5, half, half);
    assert_in_map(g, huge(0), 6 * HUGE_SIZE, 6 * HUGE_SIZE);
    bg_assert_populated(g, huge(0), 6 * HUGE_SIZE, 0);
}

/* ---- Postcopy: the destination owes ---- */

#define POSTCOPY_RAM (192 * MiB)
#define POSTCOPY_START (64 * MiB)
#define POSTCOPY_LENGTH (100 * MiB)

static const char *const postcopy_caps[] = {
    "postcopy-ram", "skip-balloon", NULL
};

static void test_postcopy(const Case *c, BGuest *source, BalloonModel *m)
{
    BGuest *dest = bg_start_incoming(source);

    before(m, source);
    bm_fill(m, source, POSTCOPY_START, POSTCOPY_LENGTH, 3);
    bg_set_parameters(source, "{ 'max-postcopy-bandwidth': 1048576 }");
    bg_migrate_begin(source, dest, STEADY);
    bg_migrate_wait_pass(source, 1);
    bg_postcopy_begin(source, dest);

    bm_migrated(m);
    meanwhile(m, dest);
    bm_inflate(m, dest, POSTCOPY_START, POSTCOPY_LENGTH);
    /* In postcopy still, and some of it not there yet */
    bg_wait_status(source, "postcopy-active", 60);
    assert_in_map(dest, POSTCOPY_START, POSTCOPY_LENGTH, 0);
    bg_postcopy_end(source, dest);

    wait_in_map(dest, POSTCOPY_START, POSTCOPY_LENGTH);
    bg_assert_populated(dest, POSTCOPY_START, POSTCOPY_LENGTH, 0);
    wait_in_map(dest, LAST * MiB, 1 * MiB);
    bm_check(m, dest);
    bg_quit(dest);
}

/* ---- Locked memory ---- */

static bool may_lock(void)
{
    const size_t size = 512 * MiB;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool ret;

    g_assert(p != MAP_FAILED);
    ret = !mlock(p, size);
    munmap(p, size);
    if (!ret) {
        g_test_skip("not allowed to lock 512 MiB of memory");
    }
    return ret;
}

/* What has been told on stderr, once if at all */
static void assert_told(BGuest *g, const char *part)
{
    g_autofree char *log = bg_log(g);
    const char *first = strstr(log, "qemu-system");

    g_assert_cmpint(!!first, ==, !!part);
    g_assert_true(!part || (strstr(log, part) &&
                            !strstr(first + 1, "qemu-system")));
}

/* There is nothing to let go of, which is told once, and in query-migrate. */
static void test_locked_anon(const Case *c, BGuest *source, BalloonModel *m)
{
    BGuest *dest;
    int i;

    bm_fill(m, source, DATA * MiB, (END - DATA) * MiB, 1);
    for (i = 0; i < 8; i++) {
        bg_request_range(source, BG_INFLATE, (OWED + i) * MiB, 1 * MiB);
        bg_report(source, (DATA + i) * MiB, 1 * MiB);
    }
    assert_resident(source, DATA * MiB, 16 * MiB);
    dest = bg_start_incoming(source);
    bg_set_capability(source, "skip-balloon", true);
    bg_migrate(source, dest);
    bg_assert_disabled(source, "discard-inhibited");
    bg_assert_map(source, 0);
    bm_check(m, dest);
    bg_quit(dest);
    assert_told(source, "mem-lock");
}

/* The hole is punched, so the page is gone, whatever madvise() would say. */
static void test_locked_memfd(const Case *c, BGuest *source, BalloonModel *m)
{
    BGuest *dest;

    before(m, source);
    bg_assert_map(source, 2 * MIB_PAGES);
    bg_assert_populated(source, FORMER * MiB, 2 * MiB, 0);
    dest = begin_precopy(source, m);
    g_assert_false(bg_is_zero(dest, OWED * MiB));
    bm_inflate(m, source, OWED * MiB, 8 * MiB);
    bm_deflate(m, source, FORMER * MiB, 1 * MiB);
    end_precopy(source, dest, m);
    g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), >=, 8 * MIB_PAGES);
    assert_told(source, NULL);
}

/* Huge pages are never locked. */
static void test_locked_huge(const Case *c, BGuest *g, BalloonModel *m)
{
    bg_request_range(g, BG_INFLATE, huge(0), HUGE_SIZE);
    bg_assert_map(g, HUGE_PAGES);
    bg_assert_populated(g, huge(0), HUGE_SIZE, 0);
}

/* Migrate @g with skip-balloon to where nobody reads it. */
static void migrate_to_nowhere(BGuest *g)
{
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_uri(g, "exec:cat >/dev/null");
    bg_migrate_wait(g, NULL);
}

/* Some memory is locked and stays, some can be let go of. */
static void test_locked_mixed(const Case *c, BGuest *g, BalloonModel *m)
{
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    bg_assert_map(g, 0);
    bg_request_range(g, BG_INFLATE, BG_DIMM_START, 1 * MiB);
    bg_assert_map(g, MIB_PAGES);
    migrate_to_nowhere(g);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, MIB_PAGES);
}

/* Lock a part of the memory behind QEMU's back. */
static void lock_owed(BGuest *g)
{
    g_autofree char *command = g_strdup_printf(
        "call (int)mlock((void *)0x%" PRIx64 ", %u)", g->hva + OWED * MiB,
        (unsigned int)MiB);

    bg_gdb(g, command, NULL);
}

/* Discarding fails, and yet the page is gone. */
static void test_half_discarded(const Case *c, BGuest *source, BalloonModel *m)
{
    BGuest *dest;

    before(m, source);
    dest = begin_precopy(source, m);
    lock_owed(source);
    bm_inflate(m, source, OWED * MiB, 1 * MiB);
    assert_in_map(source, OWED * MiB, 1 * MiB, 0);
    bg_assert_populated(source, OWED * MiB, 1 * MiB, 0);
    /* It is not in the map, so this changes nothing but the model. */
    bm_deflate(m, source, OWED * MiB, 1 * MiB);
    end_precopy(source, dest, m);
}

/* Nothing could be discarded up to now, or something could. */
static void test_failed(const Case *c, BGuest *g, BalloonModel *m)
{
    lock_owed(g);
    bg_request_range(g, BG_INFLATE, OWED * MiB, 1 * MiB);
    bg_assert_map(g, 0);
    if (c->some) {
        bg_request_range(g, BG_INFLATE, LAST * MiB, 1 * MiB);
        bg_request_range(g, BG_DEFLATE, LAST * MiB, 1 * MiB);
    }
    migrate_to_nowhere(g);
    if (c->some) {
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, 0);
    } else {
        bg_assert_disabled(g, "discard-inhibited");
    }
}

/* ---- All of them ---- */

static const Case cases[] = {
    { "script/hold/memfd", test_script, GDB, BG_MEMFD, HOLD },
    { "script/snapshot/anon", test_script, 0, BG_ANON, SNAPSHOT },
    { "script/snapshot/memfd", test_script, 0, BG_MEMFD, SNAPSHOT },
    { "stopped/device/anon", test_script, GDB, BG_ANON, DEVICE,
      .stopped = true },
    { "reported/device/memfd", test_script, GDB, BG_MEMFD, DEVICE,
      .reported = true },
    { "reported/hold/memfd", test_script, GDB, BG_MEMFD, HOLD,
      .reported = true },
    { "precopy/device/anon", test_script, GDB, BG_ANON, DEVICE,
      .precopy = true },
    { "precopy/hold/memfd", test_script, GDB, BG_MEMFD, HOLD,
      .precopy = true },
    { "reset/driver", test_end, GDB, BG_MEMFD, .end = DRIVER_RESET },
    { "reset/system", test_end, GDB, BG_MEMFD, .end = SYSTEM_RESET },
    { "unplug/balloon", test_end, GDB, BG_MEMFD, .end = UNPLUG },
    { "need-not-tell", test_end, GDB, BG_MEMFD, .end = NEED_NOT_TELL },
    { "unplug/last", test_unplug, GDB, BG_MEMFD, HOLD },
    { "unplug/dimm", test_unplug, GDB, BG_MEMFD, DEVICE, .dimm = true },
    { "postcopy/anon", test_postcopy, 0, BG_ANON, .ram_size = POSTCOPY_RAM,
      .capabilities = postcopy_caps },
    { "postcopy/memfd", test_postcopy, 0, BG_MEMFD, .ram_size = POSTCOPY_RAM,
      .capabilities = postcopy_caps },
    { "failed/all", test_failed, GDB | LOCK, BG_ANON },
    { "failed/some", test_failed, GDB | LOCK, BG_ANON, .some = true },
    { "pieces", test_pieces, GDB, BG_MEMFD, HOLD },
    { "huge/device", test_huge, GDB | HUGE, BG_HUGETLB, DEVICE },
    { "huge/hold", test_huge, GDB | HUGE, BG_HUGETLB, HOLD },
    { "locked/anon", test_locked_anon, LOCK, BG_ANON, .lock = "on" },
    { "locked/anon-on-fault", test_locked_anon, LOCK, BG_ANON,
      .lock = "on-fault" },
    { "locked/memfd", test_locked_memfd, LOCK, BG_MEMFD, .lock = "on" },
    { "locked/memfd-on-fault", test_locked_memfd, LOCK, BG_MEMFD,
      .lock = "on-fault" },
    { "locked/huge", test_locked_huge, LOCK | HUGE, BG_HUGETLB, .lock = "on" },
    { "locked/mixed", test_locked_mixed, LOCK, BG_ANON, .lock = "on",
      .args = "-object memory-backend-memfd,id=dimm-ram,size=128M "
              "-device pc-dimm,id=dimm0,memdev=dimm-ram" },
    { "half-discarded", test_half_discarded, GDB | LOCK, BG_MEMFD },
};

static void test_case(gconstpointer data)
{
    const Case *c = data;
    g_autofree char *args = g_strdup_printf("%s%s %s",
                                            c->lock ? "-overcommit mem-lock="
                                                    : "",
                                            c->lock ?: "", c->args ?: "");
    BGOptions options = {
        .backend = c->backend,
        .ram_size = c->ram_size,
        .args = args,
        .device_args = c->reported || c->lock ? "free-page-reporting=on" : NULL,
        .capabilities = c->capabilities,
        .keep_log = c->lock,
    };
    BalloonModel *m;
    BGuest *g;

    if ((c->needs & GDB && !bg_gdb_or_skip()) ||
        (c->needs & LOCK && !may_lock()) ||
        (c->needs & HUGE && !bg_huge_or_skip(64 * MiB))) {
        return;
    }
    g = bg_start_driven(&options);
    /* Not of the destination */
    g->options.args = NULL;
    g->options.keep_log = false;
    m = bm_new(g);
    c->func(c, g, m);
    bg_quit(g);
    bm_free(m);
}

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], test_case, "balloon-owed/%s", cases[i].name);
    }
    return g_test_run();
}
