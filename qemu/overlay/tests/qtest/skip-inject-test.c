/*
 * System calls that fail: for each that skipping makes, the n-th one, for every
 * n and each error that its manual page has
 *
 * A preloaded library makes them fail (SB_INJECT names it, tests/inject.c in
 * the repository of skip-balloon).  These are
 *
 *   populated    fstat, fstatfs, lseek, cachestat, mincore, pread of the file,
 *                PAGEMAP_SCAN, pread of pagemap and of status
 *   dropping     the same, fallocate, madvise (MADV_DONTNEED: "discard"; the
 *                advice about huge pages: "advise")
 *   the balloon  fallocate, madvise (the same, and MADV_WILLNEED)
 *   postcopy     UFFDIO_ZEROPAGE, UFFDIO_COPY ("place"), UFFDIO_WAKE
 *
 * Whatever fails: no byte is lost, nothing hangs, the guest goes on in exactly
 * one place, and QEMU says so at most once.
 *
 * Snapshots take the same ways as migrations, and one QEMU saves and loads any
 * number of them, so most cases are snapshots; migrations are for what only
 * they do.  By default a call fails for small n, and ever rarer above, with one
 * error after the other.  With SB_INJECT_ALL set it does for each n, with each
 * error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "host-memory.h"

#define RAM_SIZE (12 * MiB)

/* The guest's: some of it is given back, of which some is used all the same */
#define DATA_START BG_RAM_START
#define DATA_SIZE (1 * MiB)
#define GIVEN_START (6 * MiB)
#define GIVEN_SIZE (2 * MiB)
#define LIED_START (7 * MiB)
#define LIED_SIZE (64 * KiB)
#define SCATTERED_START (9 * MiB)
#define SCATTERED_SIZE (256 * KiB)

/* Given back while a migration is under way, when it has been sent */
#define LATE_START DATA_START
#define LATE_SIZE (512 * KiB)

/*
 * Bytes per second: what is given back late has been sent in a tenth of a
 * second, and of the rest not all; and what is left then takes as long
 */
#define SLOW (12 * MiB)
#define SENT_LATE (768 * KiB)

/* What is read while postcopy is under way, of a huge page as well */
#define READ_STEP (64 * KiB)

/* How long to wait for a page, before the source sends all */
#define RELEASE_SECONDS 3

#define HANG_SECONDS 20

/* With one error each for a larger n than this, unless all are asked for */
#define SMALL_N 6

#define ERRORS_MAX 12

/* As tests/inject.c has it */
typedef struct Inject {
    char call[16];
    char refuse[32];
    uint64_t ram;
    uint64_t ram_size;
    uint32_t nth;
    uint32_t count;
    int32_t error;
    uint32_t done;
    uint32_t failed;
} Inject;

typedef struct Call {
    const char *name;
    int errors[ERRORS_MAX];     /* ends with 0, or with END_OF_FILE and 0 */
    bool done;                  /* it may have been done, and fail then */
} Call;

/* pread() has read nothing. */
#define END_OF_FILE (-1)

static const Call calls[] = {
    { "fstat", { EBADF, EFAULT, ENOMEM, EOVERFLOW } },
    { "fstatfs", { EBADF, EFAULT, EINTR, EIO, ENOMEM, ENOSYS, EOVERFLOW } },
    { "lseek", { EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE } },
    { "cachestat", { EBADF, EFAULT, EINVAL, EOPNOTSUPP, ENOSYS, EPERM } },
    { "mincore", { EAGAIN, EFAULT, EINVAL, ENOMEM } },
    { "pread", { EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR, ENXIO,
                 EOVERFLOW, ESPIPE, END_OF_FILE } },
    { "pagemap", { EBADF, EFAULT, EINTR, EINVAL, EIO, EPERM, END_OF_FILE } },
    { "sysinfo", { EFAULT, EPERM } },
    { "status", { EBADF, EFAULT, EINTR, EIO, ESRCH, END_OF_FILE } },
    { "scan", { EBADF, EFAULT, EINTR, EINVAL, ENOMEM, ENOTTY, EPERM } },
    { "discard", { EACCES, EAGAIN, EBADF, EINVAL, EIO, ENOMEM, EPERM }, true },
    { "advise", { EACCES, EAGAIN, EBADF, EINVAL, EIO, ENOMEM, EPERM } },
    { "fallocate", { EBADF, EFBIG, EINTR, EINVAL, EIO, ENODEV, ENOSPC, ENOSYS,
                     EOPNOTSUPP, EPERM, ESPIPE }, true },
    { "place", { EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC,
                 ESRCH } },
    { "wake", { EINVAL, ENOENT } },
};

typedef enum Backend {
    ANON,
    MEMFD,
    MEMFD_PRIVATE,
    HUGE_SHARED,
    HUGE_PRIVATE,
} Backend;

#define MEMORY_FD "memory-backend-memfd,share="
#define ON_HUGE ",hugetlb=on,hugetlbsize=2M"

static const struct {
    const char *name;
    const char *args;
} backends[] = {
    [ANON] = { "anon", "memory-backend-ram,reserve=off" },
    [MEMFD] = { "memfd", MEMORY_FD "on" },
    [MEMFD_PRIVATE] = { "memfd-private", MEMORY_FD "off" },
    [HUGE_SHARED] = { "huge", MEMORY_FD "on" ON_HUGE },
    [HUGE_PRIVATE] = { "huge-private", MEMORY_FD "off" ON_HUGE },
};

typedef struct Kind {
    const char *call;
    Backend backend;
    const char *refuse;         /* what the kernel does not have, or NULL */
} Kind;

/* Of a snapshot that is saved, and of one that is loaded */
static const Kind asked[] = {
    { "scan", ANON },
    { "pagemap", ANON, "scan" },
    { "mincore", ANON, "scan,pagemap" },
    { "sysinfo", ANON, "scan,pagemap" },
    { "fstat", MEMFD },
    { "fstatfs", MEMFD },
    { "lseek", MEMFD },
    { "cachestat", MEMFD },
    { "mincore", MEMFD },
    { "cachestat", MEMFD_PRIVATE },
    { "scan", MEMFD_PRIVATE },
    { "fstat", HUGE_SHARED },
    { "scan", HUGE_SHARED },
    { "mincore", HUGE_SHARED, "scan" },
    { "scan", HUGE_PRIVATE },
};

/* Only of one that is saved: where it is not certain, letting go costs less */
static const Kind asked_to_skip[] = {
    { "pread", MEMFD, "cachestat" },
    { "status", HUGE_PRIVATE },
};

/* Of one that is loaded, and of the balloon */
static const Kind let_go[] = {
    { "discard", ANON },
    { "advise", ANON },
    { "fallocate", MEMFD },
    { "discard", MEMFD },
    { "advise", MEMFD },
    { "fallocate", MEMFD_PRIVATE },
    { "discard", MEMFD_PRIVATE },
    { "fallocate", HUGE_SHARED },
};

/* Of migrations: by the source while the guest runs, and by the destination */
static const Kind source_calls[] = {
    { "scan", ANON },
    { "discard", ANON },
    { "lseek", MEMFD },
    { "cachestat", MEMFD },
    { "pread", MEMFD, "cachestat" },
    { "fallocate", MEMFD },
    { "scan", HUGE_SHARED },
};
static const Kind destination_calls[] = {
    { "scan", ANON },
    { "discard", ANON },
    { "cachestat", MEMFD },
    { "fallocate", MEMFD },
};
static const Kind postcopy_calls[] = {
    { "place", ANON },
    { "place", HUGE_SHARED },
};

static Inject *inject;
static char *inject_path;
static char *log_path;
static gsize log_start;
static GString *said;
static bool all;

/* ---- What fails ---- */

/* From now on the @nth call fails; the guest is @g. */
static void arm(BGuest *g, const Kind *kind, uint32_t nth, int error, bool done)
{
    inject->nth = 0;
    inject->ram = g->hva;
    inject->ram_size = RAM_SIZE;
    inject->count = 0;
    inject->failed = 0;
    inject->error = error == END_OF_FILE ? 0 : error;
    inject->done = done;
    g_strlcpy(inject->call, kind->call, sizeof(inject->call));
    inject->nth = nth;
}

static void must(bool is_so, const char *what, const char *otherwise)
{
    if (!is_so) {
        g_error("%s: %s", what, otherwise);
    }
}

/* ---- Messages ---- */

static void begin_messages(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(log_path, &text, &log_start, NULL));
    g_string_truncate(said, 0);
}

/* What has been said since, on stderr and by the monitor */
static char *messages(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(log_path, &text, NULL, NULL));
    return g_strconcat(text + log_start, said->str, NULL);
}

/*
 * What QEMU has said since, of which no line may be there twice, whatever the
 * numbers in it.
 */
static void check_messages(const char *what)
{
    g_autofree char *text = messages();
    g_auto(GStrv) lines = NULL;
    int i, j;

    if (strstr(text, "Sanitizer") || strstr(text, "runtime error")) {
        g_error("%s: %s", what, text);
    }
    lines = g_strsplit(g_strdelimit(text, "0123456789", '#'), "\n", -1);
    for (i = 0; lines[i]; i++) {
        for (j = 0; *lines[i] && j < i; j++) {
            if (!strcmp(lines[i], lines[j])) {
                g_error("%s: said more than once: %s", what, lines[i]);
            }
        }
    }
}

/* ---- Guests ---- */

static BGuest *start(const Kind *kind, const char *const *capabilities,
                     bool preload, bool incoming)
{
    g_autofree char *machine = g_strdup_printf(
        "-machine pc,memory-backend=ram0 -m 12M "
        "-object %s,id=ram0,size=%" PRIu64, backends[kind->backend].args,
        (uint64_t)RAM_SIZE);
    BGOptions options = {
        .backend = kind->backend == ANON || kind->backend == HUGE_PRIVATE
                   ? BG_ANON : BG_MEMFD,
        .ram_size = RAM_SIZE,
        .machine_args = machine,
        /* By its name the library knows the thread that handles faults. */
        .args = "-name debug-threads=on",
        .capabilities = capabilities,
    };
    BGuest *g;

    if (preload) {
        g_setenv("LD_PRELOAD", g_getenv("SB_INJECT"), true);
    }
    g = incoming ? bg_start_dest(&options) : bg_start(&options);
    g_unsetenv("LD_PRELOAD");
    /* It is gone when the caller gets it. */
    g->options.machine_args = NULL;
    return g;
}

static void use_memory(BGuest *g)
{
    uint64_t at;

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_fill(g, DATA_START, DATA_SIZE, 1);
    bg_fill(g, GIVEN_START, GIVEN_SIZE, 2);
    for (at = 0; at < SCATTERED_SIZE; at += 2 * BALLOON_PAGE) {
        bg_fill(g, SCATTERED_START + at, BALLOON_PAGE, 3);
    }
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    bg_fill(g, LIED_START, LIED_SIZE, 4);
}

static uint8_t *read_all(BGuest *g)
{
    uint8_t *content = g_malloc(RAM_SIZE);

    bg_read(g, 0, content, RAM_SIZE);
    return content;
}

static void check_content(BGuest *g, const uint8_t *expected, const char *what)
{
    g_autofree uint8_t *content = read_all(g);
    uint64_t at;

    for (at = DATA_START; at < RAM_SIZE; at += BALLOON_PAGE) {
        if (memcmp(content + at, expected + at, BALLOON_PAGE)) {
            g_error("%s: page 0x%" PRIx64 " begins with 0x%02x, not 0x%02x",
                    what, at, content[at], expected[at]);
        }
    }
}

/* ---- Snapshots ---- */

typedef struct World World;

/* The n-th call fails while something is done. */
typedef void Try(World *w, uint32_t n, int error, bool done, const char *what);

/* A QEMU that saves and loads, or is migrated */
struct World {
    const Kind *kind;
    Try *try;
    const char *const *capabilities;
    /* Of migrations: on which side calls fail; how the guest goes */
    bool at_destination;
    bool postcopy;
    BGuest *g;
    uint8_t *expected;          /* of snapshots */
    /* The source was to send the rest, for a page was waited for too long */
    bool released;
    bool read;
};

/* Returns whether it worked; what it says counts as a message, too. */
static bool do_hmp(BGuest *g, const char *command)
{
    g_autofree char *text = qtest_hmp(g->qts, "%s", command);

    g_string_append(said, text);
    return !strstr(text, "Error: ");
}

/* All is used, also what has to be zero once a snapshot is loaded. */
static void scribble(BGuest *g)
{
    g_autofree uint8_t *junk = g_malloc(RAM_SIZE - DATA_START);

    memset(junk, 0xa5, RAM_SIZE - DATA_START);
    g_assert_cmpint(pwrite(g->mem_fd, junk, RAM_SIZE - DATA_START,
                           g->hva + DATA_START), ==, RAM_SIZE - DATA_START);
}

static void load_base(World *w)
{
    inject->nth = 0;
    g_assert_true(do_hmp(w->g, "loadvm base"));
    if (!bg_is_running(w->g)) {
        qtest_qmp_assert_success(w->g->qts, "{ 'execute': 'cont' }");
    }
}

/* The n-th call fails while a snapshot is saved, which has to be right then. */
static void try_save(World *w, uint32_t n, int error, bool done,
                     const char *what)
{
    bool saved;

    load_base(w);
    begin_messages();
    arm(w->g, w->kind, n, error, done);
    saved = do_hmp(w->g, "savevm other");
    inject->nth = 0;
    check_messages(what);
    must(bg_is_running(w->g), what, "the guest does not go on");
    check_content(w->g, w->expected, what);
    if (saved) {
        scribble(w->g);
        must(do_hmp(w->g, "loadvm other"), what, "it cannot be loaded");
        check_content(w->g, w->expected, what);
    }
}

/* The n-th call fails while one is loaded, which has to be told, or be right */
static void try_load(World *w, uint32_t n, int error, bool done,
                     const char *what)
{
    bool loaded;

    scribble(w->g);
    begin_messages();
    arm(w->g, w->kind, n, error, done);
    loaded = do_hmp(w->g, "loadvm base");
    inject->nth = 0;
    check_messages(what);
    must(bg_is_running(w->g) == loaded, what,
         loaded ? "the guest does not go on" : "the guest goes on");
    if (!loaded) {
        g_test_message("%s: not loaded", what);
        load_base(w);
    }
    check_content(w->g, w->expected, what);
}

/* What is in the map has been let go of. */
static void check_map(World *w, const char *what)
{
    g_autoptr(GArray) runs = bg_map_runs(w->g);
    guint i;

    for (i = 0; w->kind->backend <= MEMFD && i < runs->len; i++) {
        const BGRun *run = &g_array_index(runs, BGRun, i);

        must(!bg_count_populated(w->g, run->start, run->length), what,
             "what is in the map is populated");
    }
}

/* The n-th call fails while the guest gives memory back, and takes it back. */
static void try_balloon(World *w, uint32_t n, int error, bool done,
                        const char *what)
{
    g_autofree uint8_t *before = NULL;

    load_base(w);
    bg_driver_start(w->g, BG_MUST_TELL_HOST);
    bg_fill(w->g, GIVEN_START, GIVEN_SIZE, 5);
    begin_messages();
    arm(w->g, w->kind, n, error, done);
    bg_request_range(w->g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    check_map(w, what);
    bg_request_range(w->g, BG_DEFLATE, GIVEN_START, GIVEN_SIZE / 2);
    inject->nth = 0;
    check_messages(what);
    /* What the guest did not give back is as it was; it is used anew. */
    bg_fill(w->g, GIVEN_START, GIVEN_SIZE / 2, 6);
    g_assert_true(do_hmp(w->g, "savevm other"));
    before = read_all(w->g);
    must(!memcmp(before + DATA_START, w->expected + DATA_START,
                 GIVEN_START - DATA_START), what,
         "what was not given back has changed");
    scribble(w->g);
    g_assert_true(do_hmp(w->g, "loadvm other"));
    check_content(w->g, before, what);
}

/* ---- Each call, and each error ---- */

static void try_one(World *w, uint32_t n, int error, bool done,
                    uint32_t *tried)
{
    g_autofree char *what = g_strdup_printf(
        "call %u of %s fails: %s%s", n, w->kind->call,
        error == END_OF_FILE ? "end of file" : strerror(error),
        done ? ", having been done" : "");

    w->try(w, n, error, done, what);
    *tried += inject->failed;
}

/* A migration takes longer, so there are fewer of them. */
static uint32_t next_n(const World *w, uint32_t n)
{
    return all ? n + 1 : !w->expected ? 2 * n : n < SMALL_N ? n + 1 : n + n / 2;
}

/* Each n up to the last call */
static void try_all(World *w)
{
    const Call *call = calls;
    uint32_t n, tried = 0;
    bool failed = true;
    int errors = 0;

    while (strcmp(call->name, w->kind->call)) {
        call++;
    }
    while (errors < ERRORS_MAX && call->errors[errors]) {
        errors++;
    }
    for (n = 1; failed; n = next_n(w, n)) {
        bool each = all || (n == 1 && (w->expected || w->postcopy));
        int i;

        for (i = 0; i < (each ? errors : 1); i++) {
            int error = call->errors[each ? i : (int)(n % errors)];
            bool done = call->done && (all || (n + i) % 2);

            try_one(w, n, error, done, &tried);
            failed = inject->failed;
            if (all && call->done) {
                try_one(w, n, error, false, &tried);
            }
        }
    }
    g_test_message("%u calls failed, up to number %u", tried, n);
    if (!tried) {
        g_test_message("no call of this kind was made");
        g_test_fail();
    }
}

static bool can_inject(const Kind *kind)
{
    if (!g_getenv("SB_INJECT")) {
        g_test_skip("SB_INJECT names no library to preload");
        return false;
    }
    if (kind->backend >= HUGE_SHARED &&
        bg_free_huge_pages() < 2 * RAM_SIZE / HM_HUGE_SIZE) {
        g_test_skip("there are no huge pages");
        return false;
    }
    return true;
}

/* ---- Migrations ---- */

/* When what is waited for hangs */
static gint64 deadline(void)
{
    return g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
}

/*
 * Wait until @bytes have been sent, or the migration has the status @until, or
 * it is over; has it succeeded then?
 */
static bool wait_sent(BGuest *g, int64_t bytes, const char *until,
                      const char *what)
{
    gint64 end = deadline();
    unsigned int times = 0;

    while (g_get_monotonic_time() < end) {
        QDict *info = bg_query_migrate(g);
        const char *status = qdict_get_str(info, "status");
        QDict *ram = qdict_get_qdict(info, "ram");
        bool completed = !strcmp(status, "completed");
        bool over = completed || !strcmp(status, "failed") ||
                    !strcmp(status, until) ||
                    (ram && qdict_get_int(ram, "transferred") >= bytes);

        qobject_unref(info);
        if (over) {
            return completed;
        }
        bg_wait_some(&times);
    }
    g_error("%s: the migration hangs", what);
}

/* The main loop waits for each of the pages. */
static void read_destination(BGuest *dest)
{
    uint64_t at;

    for (at = DATA_START; at < RAM_SIZE; at += READ_STEP) {
        qtest_readb(dest->qts, at);
    }
}

static void end_failed(BGuest *dest, const char *what)
{
    gint64 end = deadline();

    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    while (qtest_probe_child(dest->qts)) {
        must(g_get_monotonic_time() < end, what, "the destination stays");
        g_usleep(1000);
    }
}

/* In postcopy a page is left out only for an error that does not go away. */
static void check_placed(const World *w, int error, const char *what)
{
    bool goes = error == EAGAIN || error == EEXIST || error == ENOMEM;
    g_autofree char *text = messages();

    must((inject->failed && !goes) || !strstr(text, "cannot place"), what,
         "a page is not placed");
    must((inject->failed && !goes) || !w->released, what,
         "it takes until the end for a page to be placed");
}

/* Let the source send all, when all has been read, or that takes too long. */
static void *release(void *opaque)
{
    gint64 end = g_get_monotonic_time() + RELEASE_SECONDS * G_USEC_PER_SEC;
    World *w = opaque;

    while (!qatomic_read(&w->read) && !w->released) {
        w->released = g_get_monotonic_time() > end;
        g_usleep(1000);
    }
    bg_set_parameters(w->g, "{ 'max-postcopy-bandwidth': 0 }");
    return NULL;
}

/* The n-th call fails on one side of a migration. */
static void try_move(World *w, uint32_t n, int error, bool done,
                     const char *what)
{
    BGuest *g = w->g;
    BGuest *dest = start(w->kind, w->capabilities, w->at_destination, true);
    GThread *releaser;
    bool moved;

    bg_fill(g, LATE_START, LATE_SIZE, 7);
    begin_messages();
    arm(w->at_destination ? dest : g, w->kind, n, error, done);
    bg_migrate_limit(g, SLOW);
    bg_set_parameters(g, "{ 'max-postcopy-bandwidth': 16384 }");
    bg_migrate_start(g, dest);
    wait_sent(g, SENT_LATE, "pre-switchover", what);
    if (w->postcopy) {
        qtest_qmp_assert_success(g->qts,
                                 "{ 'execute': 'migrate-start-postcopy' }");
        qtest_qmp_eventwait(dest->qts, "RESUME");
        w->read = w->released = false;
        releaser = g_thread_new("releaser", release, w);
        read_destination(dest);
        qatomic_set(&w->read, true);
        g_thread_join(releaser);
    } else {
        bg_request_range(g, BG_INFLATE, LATE_START, LATE_SIZE);
        bg_fill(g, LATE_START, LATE_SIZE / 4, 8);
    }
    bg_migrate_limit(g, 0);
    if (!w->postcopy) {
        wait_sent(g, INT64_MAX, "pre-switchover", what);
        /* If it has failed there is nothing to go on with. */
        qobject_unref(qtest_qmp(g->qts, "{ 'execute': 'migrate-continue',"
                                " 'arguments': {"
                                " 'state': 'pre-switchover' } }"));
    }
    moved = wait_sent(g, INT64_MAX, "completed", what);
    inject->nth = 0;
    check_messages(what);
    check_placed(w, error, what);
    if (moved) {
        gint64 end = deadline();
        g_autofree uint8_t *content = read_all(g);

        while (!bg_is_running(dest)) {
            must(g_get_monotonic_time() < end, what, "the guest is gone");
            g_usleep(1000);
        }
        must(!bg_is_running(g), what, "the guest goes on in two places");
        check_content(dest, content, what);
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    } else {
        g_test_message("%s: not moved", what);
        must(!w->postcopy, what, "postcopy has failed");
        must(bg_is_running(g), what, "the guest does not go on");
        end_failed(dest, what);
    }
    bg_quit(dest);
    bg_request_range(g, BG_DEFLATE, LATE_START, LATE_SIZE);
}

/* ---- Cases ---- */

static void test(gconstpointer data)
{
    World w = *(const World *)data;
    g_autofree char *disk = hm_temp_path(g_get_tmp_dir(), "inject-disk");
    int saved;

    if (!can_inject(w.kind)) {
        return;
    }
    memset(inject, 0, sizeof(*inject));
    g_strlcpy(inject->refuse, w.kind->refuse ?: "", sizeof(inject->refuse));
    saved = bg_divert_stderr(log_path);
    w.g = start(w.kind, w.capabilities, !w.at_destination, false);
    use_memory(w.g);
    if (w.try != try_move) {
        hm_add_disk(w.g, disk);
        bg_set_capabilities(w.g);
        g_assert_true(do_hmp(w.g, "savevm base"));
        w.expected = read_all(w.g);
    }
    try_all(&w);
    bg_quit(w.g);
    bg_restore_stderr(saved);
    unlink(disk);
    g_free(w.expected);
}

static void add(const char *name, const Kind *kinds, size_t n, World like)
{
    for (like.kind = kinds; like.kind < kinds + n; like.kind++) {
        const char *refuse = like.kind->refuse;
        g_autofree char *path = g_strdup_printf(
            "skip-inject/%s/%s/%s%s%s", name, backends[like.kind->backend].name,
            like.kind->call, refuse ? "-without-" : "", refuse ?: "");

        qtest_add_data_func_full(path, g_memdup2(&like, sizeof(like)), test,
                                 g_free);
    }
}

static void map_inject(void)
{
    int fd;

    inject_path = hm_temp_path(g_get_tmp_dir(), "inject");
    log_path = hm_temp_path(g_get_tmp_dir(), "inject-log");
    fd = open(inject_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(ftruncate(fd, sizeof(*inject)), ==, 0);
    inject = mmap(NULL, sizeof(*inject), PROT_READ | PROT_WRITE, MAP_SHARED,
                  fd, 0);
    g_assert_true(inject != MAP_FAILED);
    close(fd);
    g_setenv("INJECT_FILE", inject_path, true);
    g_assert_true(g_file_set_contents(log_path, "", 0, NULL));
}

int main(int argc, char **argv)
{
    static const char *const both[] = {
        "skip-balloon", "skip-unpopulated", NULL
    };
    static const char *const precopy[] = {
        "skip-balloon", "skip-unpopulated", "return-path",
        "pause-before-switchover", NULL
    };
    static const char *const postcopy[] = {
        "skip-balloon", "skip-unpopulated", "return-path", "postcopy-ram", NULL
    };
    const World save = { .try = try_save, .capabilities = both };
    const World load = { .try = try_load, .capabilities = both };
    const World balloon = { .try = try_balloon, .capabilities = both };
    const World source = { .try = try_move, .capabilities = precopy };
    const World destination = { .try = try_move, .capabilities = precopy,
                                .at_destination = true };
    const World incoming = { .try = try_move, .capabilities = postcopy,
                             .at_destination = true, .postcopy = true };
    int ret;

    g_test_init(&argc, &argv, NULL);
    all = g_getenv("SB_INJECT_ALL");
    said = g_string_new(NULL);
    map_inject();
    add("save", asked, ARRAY_SIZE(asked), save);
    add("save", asked_to_skip, ARRAY_SIZE(asked_to_skip), save);
    add("load", asked, ARRAY_SIZE(asked), load);
    add("load", let_go, ARRAY_SIZE(let_go), load);
    add("balloon", let_go, ARRAY_SIZE(let_go), balloon);
    add("source", source_calls, ARRAY_SIZE(source_calls), source);
    add("destination", destination_calls, ARRAY_SIZE(destination_calls),
        destination);
    add("postcopy", postcopy_calls, ARRAY_SIZE(postcopy_calls), incoming);
    ret = g_test_run();
    unlink(inject_path);
    unlink(log_path);
    g_free(inject_path);
    g_free(log_path);
    g_string_free(said, true);
    return ret;
}
