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
#include "qemu/bswap.h"
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "host-memory.h"
#include "standard-headers/linux/virtio_balloon.h"

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
#define SLOW_POSTCOPY (16 * KiB)
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

static const char *const backend_names[] = {
    "anon", "memfd", "memfd-private", "huge", "huge-private",
};

static const char *const backend_args[] = {
    [ANON] = "memory-backend-ram,reserve=off",
    [MEMFD] = "memory-backend-memfd,share=on",
    [MEMFD_PRIVATE] = "memory-backend-memfd,share=off",
    [HUGE_SHARED] = "memory-backend-memfd,share=on,hugetlb=on,hugetlbsize=2M",
    [HUGE_PRIVATE] = "memory-backend-memfd,share=off,hugetlb=on,"
                     "hugetlbsize=2M",
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

static const Call *find_call(const char *name)
{
    int i = 0;

    while (strcmp(calls[i].name, name)) {
        i++;
    }
    return &calls[i];
}

static int count_errors(const Call *call)
{
    int n = 0;

    while (n < ERRORS_MAX && call->errors[n]) {
        n++;
    }
    return n;
}

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

static void disarm(void)
{
    inject->nth = 0;
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

/* An empty image: header, refcount table, refcount block, L1 table */
static char *create_disk(void)
{
    const int bits = 16;
    g_autofree uint8_t *image = g_malloc0(4 << bits);
    char *path = hm_temp_path(g_get_tmp_dir(), "inject-disk");
    int i;

    memcpy(image, "QFI\xfb", 4);
    stl_be_p(image + 4, 2);
    stl_be_p(image + 20, bits);
    stq_be_p(image + 24, MiB);
    stl_be_p(image + 36, 1);
    stq_be_p(image + 40, 3 << bits);
    stq_be_p(image + 48, 1 << bits);
    stl_be_p(image + 56, 1);
    stq_be_p(image + (1 << bits), 2 << bits);
    for (i = 0; i < 4; i++) {
        stw_be_p(image + (2 << bits) + 2 * i, 1);
    }
    g_assert_true(g_file_set_contents(path, (char *)image, 4 << bits, NULL));
    return path;
}

static BGuest *start(const Kind *kind, const char *args,
                     const char *const *capabilities, bool preload,
                     bool incoming)
{
    g_autofree char *machine = g_strdup_printf(
        "-machine pc,memory-backend=ram0 -m 12M "
        "-object %s,id=ram0,size=%" PRIu64, backend_args[kind->backend],
        (uint64_t)RAM_SIZE);
    BGOptions options = {
        .backend = kind->backend == ANON || kind->backend == HUGE_PRIVATE
                   ? BG_ANON : BG_MEMFD,
        .ram_size = RAM_SIZE,
        .machine_args = machine,
        .args = args,
        .capabilities = capabilities,
    };
    BGuest like = { .options = options };
    BGuest *g;

    if (preload) {
        g_setenv("LD_PRELOAD", g_getenv("SB_INJECT"), true);
    }
    g = incoming ? bg_start_incoming(&like) : bg_start(&options);
    g_unsetenv("LD_PRELOAD");
    /* They are gone when the caller gets it. */
    g->options.machine_args = g->options.args = NULL;
    return g;
}

static void use_memory(BGuest *g)
{
    uint64_t at;

    bg_driver_start(g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(g, DATA_START, DATA_SIZE, 1);
    bg_fill(g, GIVEN_START, GIVEN_SIZE, 2);
    for (at = 0; at < SCATTERED_SIZE; at += 2 * BALLOON_PAGE) {
        bg_fill(g, SCATTERED_START + at, BALLOON_PAGE, 3);
    }
    bg_request_range(g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    bg_fill(g, LIED_START, LIED_SIZE, 4);
}

static void set_capabilities(BGuest *g)
{
    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "skip-unpopulated", true);
}

static bool is_running(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(g->qts,
                                              "{ 'execute': 'query-status' }");
    bool running = qdict_get_bool(rsp, "running");

    qobject_unref(rsp);
    return running;
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

/* A QEMU that saves and loads */
typedef struct World {
    const Kind *kind;
    char *disk;
    BGuest *g;
    uint8_t *expected;
    /* Of migrations: on which side calls fail; how the guest goes */
    bool at_destination;
    bool postcopy;
    /* The source was to send the rest, for a page was waited for too long */
    bool released;
    bool read;
} World;

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
    disarm();
    g_assert_true(do_hmp(w->g, "loadvm base"));
    if (!is_running(w->g)) {
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
    disarm();
    check_messages(what);
    must(is_running(w->g), what, "the guest does not go on");
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
    disarm();
    check_messages(what);
    must(is_running(w->g) == loaded, what,
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
    load_base(w);
    bg_driver_start(w->g, 1 << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_fill(w->g, GIVEN_START, GIVEN_SIZE, 5);
    begin_messages();
    arm(w->g, w->kind, n, error, done);
    bg_request_range(w->g, BG_INFLATE, GIVEN_START, GIVEN_SIZE);
    check_map(w, what);
    bg_request_range(w->g, BG_DEFLATE, GIVEN_START, GIVEN_SIZE / 2);
    disarm();
    check_messages(what);
    /* What the guest did not give back is as it was; it is used anew. */
    bg_fill(w->g, GIVEN_START, GIVEN_SIZE / 2, 6);
    g_assert_true(do_hmp(w->g, "savevm other"));
    {
        g_autofree uint8_t *before = read_all(w->g);

        must(!memcmp(before + DATA_START, w->expected + DATA_START,
                     GIVEN_START - DATA_START), what,
             "what was not given back has changed");
        scribble(w->g);
        g_assert_true(do_hmp(w->g, "loadvm other"));
        check_content(w->g, before, what);
    }
}

typedef void Try(World *w, uint32_t n, int error, bool done, const char *what);

static void try_one(World *w, Try *try, uint32_t n, int error, bool done,
                    uint32_t *tried)
{
    g_autofree char *what = g_strdup_printf(
        "call %u of %s fails: %s%s", n, w->kind->call,
        error == END_OF_FILE ? "end of file" : strerror(error),
        done ? ", having been done" : "");

    try(w, n, error, done, what);
    *tried += inject->failed;
}

/* A migration takes longer, so there are fewer of them. */
static uint32_t next_n(const World *w, uint32_t n)
{
    return all ? n + 1 : !w->expected ? 2 * n : n < SMALL_N ? n + 1 : n + n / 2;
}

/* Each n up to the last call */
static void try_all(World *w, Try *try)
{
    const Call *call = find_call(w->kind->call);
    int errors = count_errors(call);
    uint32_t n, tried = 0;
    bool failed = true;

    for (n = 1; failed; n = next_n(w, n)) {
        bool each = all || (n == 1 && (w->expected || w->postcopy));
        int i;

        for (i = 0; i < (each ? errors : 1); i++) {
            int error = call->errors[each ? i : (int)(n % errors)];
            bool done = call->done && (all || (n + i) % 2);

            try_one(w, try, n, error, done, &tried);
            failed = inject->failed;
            if (all && call->done) {
                try_one(w, try, n, error, false, &tried);
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

static void refuse(const Kind *kind)
{
    memset(inject, 0, sizeof(*inject));
    g_strlcpy(inject->refuse, kind->refuse ?: "", sizeof(inject->refuse));
}

static void test_snapshots(const Kind *kind, Try *try)
{
    World w = { .kind = kind };
    g_autofree char *args = NULL;
    int saved;

    if (!can_inject(kind)) {
        return;
    }
    refuse(kind);
    saved = bg_divert_stderr(log_path);
    w.disk = create_disk();
    args = g_strdup_printf("-drive if=none,id=disk,format=qcow2,file=%s",
                           w.disk);
    w.g = start(kind, args, NULL, true, false);
    use_memory(w.g);
    set_capabilities(w.g);
    g_assert_true(do_hmp(w.g, "savevm base"));
    w.expected = read_all(w.g);
    try_all(&w, try);
    bg_quit(w.g);
    bg_restore_stderr(saved);
    unlink(w.disk);
    g_free(w.disk);
    g_free(w.expected);
}

static void test_save(gconstpointer data)
{
    test_snapshots(data, try_save);
}

static void test_load(gconstpointer data)
{
    test_snapshots(data, try_load);
}

static void test_balloon(gconstpointer data)
{
    test_snapshots(data, try_balloon);
}

/* ---- Migrations ---- */

/* By its name the library knows the thread that handles faults. */
#define NAMED_THREADS "-name debug-threads=on"

static const char *const precopy_caps[] = {
    "skip-balloon", "skip-unpopulated", "return-path",
    "pause-before-switchover", NULL
};
static const char *const postcopy_caps[] = {
    "skip-balloon", "skip-unpopulated", "return-path", "postcopy-ram", NULL
};

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

static void limit_postcopy(BGuest *g, int bytes)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'max-postcopy-bandwidth': %d } }", bytes);
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
    limit_postcopy(w->g, 0);
    return NULL;
}

/* The n-th call fails on one side of a migration. */
static void try_move(World *w, uint32_t n, int error, bool done,
                     const char *what)
{
    BGuest *g = w->g;
    BGuest *dest = start(w->kind, NAMED_THREADS,
                         w->postcopy ? postcopy_caps : precopy_caps,
                         w->at_destination, true);
    GThread *releaser;
    bool moved;

    bg_fill(g, LATE_START, LATE_SIZE, 7);
    begin_messages();
    arm(w->at_destination ? dest : g, w->kind, n, error, done);
    bg_migrate_limit(g, SLOW);
    limit_postcopy(g, SLOW_POSTCOPY);
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
    disarm();
    check_messages(what);
    check_placed(w, error, what);
    if (moved) {
        gint64 end = deadline();
        g_autofree uint8_t *content = read_all(g);

        while (!is_running(dest)) {
            must(g_get_monotonic_time() < end, what, "the guest is gone");
            g_usleep(1000);
        }
        must(!is_running(g), what, "the guest goes on in two places");
        check_content(dest, content, what);
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    } else {
        g_test_message("%s: not moved", what);
        must(!w->postcopy, what, "postcopy has failed");
        must(is_running(g), what, "the guest does not go on");
        end_failed(dest, what);
    }
    bg_quit(dest);
    bg_request_range(g, BG_DEFLATE, LATE_START, LATE_SIZE);
}

static void test_move(const Kind *kind, bool at_destination, bool postcopy)
{
    World w = {
        .kind = kind,
        .at_destination = at_destination,
        .postcopy = postcopy,
    };
    int saved;

    if (!can_inject(kind)) {
        return;
    }
    refuse(kind);
    saved = bg_divert_stderr(log_path);
    w.g = start(kind, NAMED_THREADS, postcopy ? postcopy_caps : precopy_caps,
                !at_destination, false);
    use_memory(w.g);
    try_all(&w, try_move);
    bg_quit(w.g);
    bg_restore_stderr(saved);
}

static void test_source(gconstpointer data)
{
    test_move(data, false, false);
}

static void test_destination(gconstpointer data)
{
    test_move(data, true, false);
}

static void test_postcopy(gconstpointer data)
{
    test_move(data, true, true);
}

/* ---- Cases ---- */

static void add(const char *name, const Kind *kinds, size_t n,
                GTestDataFunc func)
{
    const Kind *kind;

    for (kind = kinds; kind < kinds + n; kind++) {
        g_autofree char *path = g_strdup_printf(
            "skip-inject/%s/%s/%s%s%s", name, backend_names[kind->backend],
            kind->call, kind->refuse ? "-without-" : "", kind->refuse ?: "");

        qtest_add_data_func(path, kind, func);
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
    int ret;

    g_test_init(&argc, &argv, NULL);
    all = g_getenv("SB_INJECT_ALL");
    said = g_string_new(NULL);
    map_inject();
    add("save", asked, ARRAY_SIZE(asked), test_save);
    add("save", asked_to_skip, ARRAY_SIZE(asked_to_skip), test_save);
    add("load", asked, ARRAY_SIZE(asked), test_load);
    add("load", let_go, ARRAY_SIZE(let_go), test_load);
    add("balloon", let_go, ARRAY_SIZE(let_go), test_balloon);
    add("source", source_calls, ARRAY_SIZE(source_calls), test_source);
    add("destination", destination_calls, ARRAY_SIZE(destination_calls),
        test_destination);
    add("postcopy", postcopy_calls, ARRAY_SIZE(postcopy_calls), test_postcopy);
    ret = g_test_run();
    unlink(inject_path);
    unlink(log_path);
    g_free(inject_path);
    g_free(log_path);
    g_string_free(said, true);
    return ret;
}
