/*
 * Tests of the balloon map in the migration stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

/* When to give up */
#define HANG_SECONDS 60

static BGuest *start_driven(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST);
    return g;
}

static void migrate_start(BGuest *g, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, bandwidth);
    bg_migrate_start(g, dest);
}

/* Migrate, and check all that can be said of the destination. */
static BGuest *finish(BGuest *g, BGuest *dest)
{
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    bg_assert_same_map(g, dest);
    bg_assert_map_let_go(g, dest);
    bg_assert_same_memory(g, dest);
    bg_quit(g);
    return dest;
}

/* ---- Onward ---- */

static void test_onward(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    const uint64_t start = 16 * MiB, length = 32 * MiB;
    BGuest *a = start_driven(&options);
    BGuest *b, *c;

    bg_fill(a, BG_RAM_START, a->options.ram_size - BG_RAM_START, 1);
    bg_request_range(a, BG_INFLATE, start, length);

    b = bg_start_incoming(a);
    migrate_start(a, b, 0);
    bg_migrate_wait(a, b);
    g_assert_cmpint(bg_skip_stat(a, "skipped-bytes"), ==, length);
    b = finish(a, b);

    /* On, without the balloon having moved */
    c = bg_start_incoming(b);
    migrate_start(b, c, 0);
    bg_migrate_wait(b, c);
    g_assert_cmpint(bg_skip_stat(b, "skipped-bytes"), ==, length);
    c = finish(b, c);

    /* Deflate and inflate again there, and on */
    bg_request_range(c, BG_DEFLATE, start + MiB, 4 * MiB);
    bg_fill(c, start + MiB, 4 * MiB, 7);
    bg_request_range(c, BG_INFLATE, start + 2 * MiB, MiB);
    b = bg_start_incoming(c);
    migrate_start(c, b, 0);
    bg_migrate_wait(c, b);
    /* Transparent huge pages may have populated more than was written. */
    g_assert_cmpint(bg_skip_stat(c, "skipped-bytes") +
                    bg_skip_stat(c, "vetoed-pages") * BALLOON_PAGE,
                    >=, length - 3 * MiB);
    b = finish(c, b);

    /* Without the capability the map does not travel. */
    c = bg_start_incoming(b);
    bg_migrate_start(b, c);
    bg_migrate_wait(b, c);
    g_assert_cmpuint(bg_map_pages(c, NULL), ==, 0);
    bg_assert_same_memory(b, c);
    bg_quit(b);
    bg_quit(c);
}

/* ---- Random migrations ---- */

#define RANDOM_RAM (24 * MiB)

/*
 * The end of the memory is left alone and holds something, so that a slow
 * migration is not over before the guest has done what it is to do meanwhile.
 */
#define BALLAST_START (RANDOM_RAM - 8 * MiB)

/* One thing that a guest, honest or not, may do */
static void random_step(BGuest *g)
{
    uint64_t pages = (BALLAST_START - BG_RAM_START) / BALLOON_PAGE;
    uint64_t length = 1 + g_test_rand_int_range(0, 2) *
                      g_test_rand_int_range(0, 512);
    uint64_t first = g_test_rand_int_range(0, pages - length);
    uint64_t start = BG_RAM_START + first * BALLOON_PAGE;

    switch (g_test_rand_int_range(0, 8)) {
    case 0:
    case 1:
    case 2:
        bg_request_range(g, BG_INFLATE, start, length * BALLOON_PAGE);
        break;
    case 3:
        bg_request_range(g, BG_DEFLATE, start, length * BALLOON_PAGE);
        break;
    case 4:
        bg_request_range(g, BG_DEFLATE, start, length * BALLOON_PAGE);
        /* fall through */
    case 5:
        bg_fill(g, start, length * BALLOON_PAGE, g_test_rand_int());
        break;
    case 6:
        /* A few bytes only, wherever they fall */
        qtest_writel(g->qts, start + 128, g_test_rand_int());
        break;
    case 7:
        if (g_test_rand_int_range(0, 20) == 0) {
            bg_driver_start(g, MUST_TELL_HOST);
        }
        break;
    }
}

static void random_steps(BGuest *g, int max)
{
    int n = g_test_rand_int_range(0, max);

    while (n-- > 0) {
        random_step(g);
    }
}

/*
 * Whether it is active is decided once the connection stands; a guest without
 * a driver at that moment would be right to find it disabled.
 */
static void wait_until_active(BGuest *g)
{
    QDict *skip;

    while (!(skip = bg_skip_info(g))) {
        g_usleep(100);
    }
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "active");
    qobject_unref(skip);
}

static void assert_migrating(BGuest *g)
{
    QDict *info = bg_query_migrate(g);

    g_assert_cmpstr(qdict_get_str(info, "status"), !=, "completed");
    qobject_unref(info);
}

static int random_migrations(void)
{
    const char *n = getenv("BALLOON_MAP_TEST_MIGRATIONS");

    return n ? atoi(n) : 55;
}

/*
 * Random guests, random migrations: each page has to arrive, and each page
 * in the balloon must be zero and not populated there.
 */
static void test_random(gconstpointer data)
{
    BGOptions options = *(const BGOptions *)data;
    BGuest *g = start_driven(&options);
    int n = random_migrations();
    int i;

    g_assert_cmpuint(options.ram_size, ==, RANDOM_RAM);
    bg_fill(g, BALLAST_START, RANDOM_RAM - BALLAST_START, 1);
    for (i = 0; i < n; i++) {
        BGuest *dest = bg_start_incoming(g);

        g_test_message("migration %d of %d", i + 1, n);
        random_steps(g, 20);
        migrate_start(g, dest, 4 * MiB);
        wait_until_active(g);
        random_steps(g, 20);
        assert_migrating(g);
        g = finish(g, dest);
    }
    bg_quit(g);
}

/* ---- Drivers that come and go ---- */

/*
 * The map travels if the guest has to tell, whether it had to when the
 * migration began or has to since then; if not, there is none in the end.
 */
static void test_driver_comes(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = bg_start(&options);
    BGuest *dest = bg_start_incoming(g);

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_set_capability(g, "skip-unpopulated", true);
    migrate_start(g, dest, MiB);
    bg_wait_status(g, "active", HANG_SECONDS);
    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, BG_RAM_START + 4 * MiB, 2 * MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 2 * MiB / BALLOON_PAGE);
    bg_quit(finish(g, dest));
}

static void test_driver_goes(void)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = start_driven(&options);
    BGuest *dest = bg_start_incoming(g);

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BG_RAM_START + 4 * MiB, 2 * MiB);
    migrate_start(g, dest, MiB);
    bg_wait_status(g, "active", HANG_SECONDS);
    bg_driver_reset(g);
    dest = finish(g, dest);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, 0);
    bg_quit(dest);
}

/* ---- Size ---- */

/*
 * A guest with a sparse memory of @size, all but the first 512 MiB in the
 * balloon, except for @holes pages
 */
static BGuest *start_large(uint64_t size, int holes)
{
    const uint64_t step = 512 * MiB;
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = size,
        /* One that can address it, and has no hole below 1 TiB */
        .args = "-cpu max,vendor=GenuineIntel,phys-bits=46",
    };
    BGuest *g = start_driven(&options);
    uint64_t low = 3 * GiB;     /* RAM above is moved to 4 GiB and more */
    uint64_t addr;
    int i;

    g_assert_cmpuint(size % step, ==, 0);
    for (addr = step; addr < size; addr += step) {
        uint64_t gpa = addr < low ? addr : addr - low + 4 * GiB;

        bg_inflate_unseen(g, gpa, step);
    }
    for (i = 0; i < holes; i++) {
        addr = step + (size - step) / (holes + 1) * (i + 1);
        addr = addr < low ? addr : addr - low + 4 * GiB;
        bg_request_range(g, BG_DEFLATE, addr & -BALLOON_PAGE, BALLOON_PAGE);
    }
    return g;
}

static void map_bytes(uint64_t size, int holes, int64_t *total,
                      int64_t *final)
{
    BGuest *g = start_large(size, holes);
    BGuest *dest = bg_start_incoming(g);

    migrate_start(g, dest, 0);
    bg_migrate_wait(g, dest);
    *total = bg_skip_stat(g, "map-bytes");
    *final = bg_skip_stat(g, "final-map-bytes");
    g_test_message("%" PRIu64 " GiB: map %" PRIi64 " bytes, %" PRIi64
                   " of them with the guest stopped", size / GiB, *total,
                   *final);
    bg_quit(dest);
    bg_quit(g);
}

static void test_size(void)
{
    int64_t total, final, large_total, large_final;

    map_bytes(1 * GiB, 25, &total, &final);
    g_assert_cmpint(total, >, 0);
    g_assert_cmpint(total, <, 2048);
    g_assert_cmpint(final, >, 0);
    g_assert_cmpint(final, <, 64);

    map_bytes(1024 * GiB, 25, &large_total, &large_final);
    /* A record of the map and one of the word for each 16 GiB */
    g_assert_cmpint(large_total, <, 64 * 2 * 64);
    g_assert_cmpint(large_final, ==, final);
}

/* ---- Streams ---- */

static char *temp_path(const char *name)
{
    return g_strdup_printf("%s/balloon-map-%d-%s", g_get_tmp_dir(), getpid(),
                           name);
}

/* Where in a stream a part of the section lies, its header and footer in */
typedef struct Part {
    size_t start;
    size_t end;
} Part;

typedef struct Stream {
    char *bytes;
    gsize size;
    Part setup;
    Part final;
} Stream;

static size_t find_bytes(const Stream *s, size_t from, const void *what,
                         size_t size)
{
    const char *at = memmem(s->bytes + from, s->size - from, what, size);

    g_assert_nonnull(at);
    return at - s->bytes;
}

/* Find both parts by the name of the section, and its number. */
static void find_parts(Stream *s)
{
    static const char name[] = "\x04" "skip";
    size_t at = find_bytes(s, 0, name, sizeof(name) - 1);
    char mark[5];

    memcpy(mark + 1, s->bytes + at - 4, 4);
    s->setup.start = at - 5;
    mark[0] = 0x7e;             /* footer */
    s->setup.end = find_bytes(s, at, mark, 5) + 5;
    mark[0] = 3;                /* last part of a section */
    s->final.start = find_bytes(s, s->setup.end, mark, 5);
    mark[0] = 0x7e;
    s->final.end = find_bytes(s, s->final.start, mark, 5) + 5;
}

/* Record a migration with a map, and with changes of it meanwhile. */
static void record(Stream *s)
{
    BGOptions options = { .backend = BG_ANON, .ram_size = RANDOM_RAM };
    BGuest *g = start_driven(&options);
    g_autofree char *path = temp_path("stream");
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);
    int i;

    for (i = 0; i < 6; i++) {
        bg_request_range(g, BG_INFLATE, 8 * MiB + i * MiB, MiB / 2);
    }
    bg_fill(g, BG_RAM_START, 3 * MiB, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "pause-before-switchover", true);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    bg_wait_status(g, "pre-switchover", HANG_SECONDS);
    /* The last part is about this. */
    bg_request_range(g, BG_INFLATE, 20 * MiB, MiB);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(g, NULL);
    g_assert_cmpint(bg_skip_stat(g, "final-map-bytes"), >, 20);
    bg_quit(g);

    g_assert_true(g_file_get_contents(path, &s->bytes, &s->size, NULL));
    unlink(path);
    find_parts(s);
}

/*
 * Feed @size bytes of the stream to a QEMU.  Returns whether it took them,
 * and what it wrote to stderr.
 */
static bool feed(const Stream *s, size_t size, char **messages)
{
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = RANDOM_RAM,
        .args = "-incoming defer",
    };
    g_autofree char *path = temp_path("cut");
    g_autofree char *log = temp_path("log");
    g_autofree char *uri = g_strdup_printf("exec:cat %s", path);
    int saved;
    bool ok = false;
    BGuest *g;

    g_assert_true(g_file_set_contents(path, s->bytes, size, NULL));
    saved = bg_divert_stderr(log);
    g = bg_start(&options);
    bg_restore_stderr(saved);

    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming',"
        " 'arguments': { 'uri': %s, 'exit-on-error': false } }", uri);
    for (;;) {
        QDict *info = bg_query_migrate(g);
        const char *status = qdict_get_try_str(info, "status");
        bool failed = status && !strcmp(status, "failed");

        ok = status && !strcmp(status, "completed");
        qobject_unref(info);
        if (ok || failed) {
            break;
        }
        g_usleep(1000);
    }
    bg_quit(g);
    if (messages) {
        g_assert_true(g_file_get_contents(log, messages, NULL, NULL));
    }
    unlink(path);
    unlink(log);
    return ok;
}

static void test_cut(void)
{
    Stream s = { };
    Part *parts[] = { &s.setup, &s.final };
    size_t i, at;

    record(&s);
    g_assert_true(feed(&s, s.size, NULL));
    g_test_message("setup %zu bytes, final %zu bytes",
                   s.setup.end - s.setup.start, s.final.end - s.final.start);
    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        for (at = parts[i]->start; at < parts[i]->end; at++) {
            g_assert_false(feed(&s, at, NULL));
        }
    }
    g_free(s.bytes);
}

/* Change bytes of the setup part, and see what is said of it. */
static void check_malformed(const Stream *good, size_t offset,
                            const void *bytes, size_t size,
                            const char *message)
{
    Stream s = *good;
    g_autofree char *messages = NULL;

    s.bytes = g_memdup2(good->bytes, good->size);
    memcpy(s.bytes + offset, bytes, size);
    g_assert_false(feed(&s, s.size, &messages));
    if (!strstr(messages, message)) {
        g_error("no '%s' in: %s", message, messages);
    }
    g_free(s.bytes);
}

static void test_malformed(void)
{
    Stream s = { };
    size_t header, block, word;

    record(&s);
    /* Section: type, number, name, instance, version; then our own header */
    header = s.setup.start + 1 + 4 + 5 + 4 + 4;
    block = header + 12;
    /* Kind, then the RAM block: the map comes first, last comes a word. */
    g_assert_cmpint(s.bytes[block], ==, 1);
    g_assert_cmpint(s.bytes[block + 1], ==, strlen("ram0"));

    check_malformed(&s, header, "\0\0\0\3", 4,
                    "skip: format 3 is not known");
    check_malformed(&s, header + 4, "\0\0\0\x15", 4,
                    "skip: flags 0x10 are not known");
    check_malformed(&s, header + 4, "\0\0\0\0", 4,
                    "skip: its beginning is missing");
    check_malformed(&s, header + 8, "\0\0\x20\0", 4,
                    "skip: balloon pages of 8192 bytes");
    check_malformed(&s, block, "\5", 1,
                    "skip: records of kind 5 are not known");
    check_malformed(&s, block, "\4", 1,
                    "skip: there are no channels to be synchronized");
    check_malformed(&s, block + 2, "rom0", 4,
                    "skip: there is no RAM block 'rom0' here");
    check_malformed(&s, block + 6, "\0\0\0\0\0\0\x18\1", 8,
                    "RAM block 'ram0' has 6145 pages on the source");
    check_malformed(&s, block + 14, "\x7f\xff\xff\xff", 4,
                    "bytes for RAM block 'ram0' are too many");
    check_malformed(&s, block + 18, "\5", 1,
                    "what is said of RAM block 'ram0' is malformed: "
                    "it names pages beyond the end");
    check_malformed(&s, block + 20, "\7", 1,
                    "what is said of RAM block 'ram0' is malformed: "
                    "it has a segment of an unknown kind");
    /* A second beginning, and one that is to be emptied too late */
    header = s.final.start + 1 + 4;
    check_malformed(&s, header + 4, "\0\0\0\1", 4,
                    "skip: it begins twice");
    word = header + 12;
    g_assert_cmpint(s.bytes[word], ==, 1);
    check_malformed(&s, word, "\3", 1,
                    "skip: RAM block 'ram0' is to be emptied too late");
    /* What a later QEMU would change first is the version of the section. */
    header = s.setup.start + 1 + 4 + 5 + 4 + 4;
    check_malformed(&s, header - 4, "\0\0\0\3", 4,
                    "unsupported version 3 for 'skip'");
    g_free(s.bytes);
}

static void put_bytes(GByteArray *a, const void *bytes, size_t size)
{
    g_byte_array_append(a, bytes, size);
}

static void put_be(GByteArray *a, uint64_t value, int size)
{
    while (size-- > 0) {
        uint8_t byte = value >> (8 * size);

        put_bytes(a, &byte, 1);
    }
}

/* A command in the stream: number, length, data */
static void put_command(GByteArray *a, int command, const GByteArray *data)
{
    put_be(a, 8, 1);
    put_be(a, command, 2);
    put_be(a, data ? data->len : 0, 2);
    if (data) {
        put_bytes(a, data->data, data->len);
    }
}

/* A section that comes when a thread of its own loads postcopy */
static void put_postcopy_stream(GByteArray *a, const char *machine)
{
    g_autoptr(GByteArray) package = g_byte_array_new();
    g_autoptr(GByteArray) length = g_byte_array_new();

    put_bytes(a, "QEVM", 4);
    put_be(a, 3, 4);
    put_be(a, 7, 1);
    put_be(a, strlen(machine), 4);
    put_bytes(a, machine, strlen(machine));
    put_command(a, 3, NULL);                    /* postcopy is to come */
    put_command(package, 4, NULL);              /* listen */
    put_command(package, 5, NULL);              /* run */
    put_be(length, package->len, 4);
    put_command(a, 7, length);                  /* package */
    put_bytes(a, package->data, package->len);
    put_be(a, 1, 1);                            /* section */
    put_be(a, 77, 4);
    put_bytes(a, "\x04" "skip", 5);
    put_be(a, 0, 4);
    put_be(a, 2, 4);
    put_be(a, 2, 4);
    put_be(a, 1, 4);
    put_be(a, BALLOON_PAGE, 4);
    put_be(a, 0, 1);
}

static void test_in_postcopy(void)
{
    BGOptions options = { .backend = BG_ANON, .args = "-incoming defer" };
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autofree char *path = temp_path("postcopy");
    g_autofree char *log = temp_path("log");
    g_autofree char *uri = g_strdup_printf("exec:cat %s", path);
    g_autofree char *messages = NULL;
    int saved;
    BGuest *g;
    QDict *rsp;
    char *machine;

    saved = bg_divert_stderr(log);
    g = bg_start(&options);
    bg_restore_stderr(saved);
    rsp = qtest_qmp(g->qts, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/machine', 'property': 'type' } }");
    machine = g_strdup(qdict_get_str(rsp, "return"));
    *strstr(machine, "-machine") = '\0';
    qobject_unref(rsp);
    put_postcopy_stream(stream, machine);
    g_free(machine);
    g_assert_true(g_file_set_contents(path, (char *)stream->data, stream->len,
                                      NULL));

    /* It ends with an error, neither with a signal nor with success. */
    qtest_set_expected_status(g->qts, EXIT_FAILURE);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming',"
        " 'arguments': { 'uri': %s } }", uri);
    qtest_wait_qemu(g->qts);
    bg_quit(g);
    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    unlink(path);
    unlink(log);
    g_assert_nonnull(strstr(messages, "skip: it comes too late"));
}

/* ---- Destinations that do not fit ---- */

/* Migrate to a destination that cannot take it; the source goes on. */
static void check_mismatch(const BGOptions *dest_options, const char *message)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_driven(&options);
    g_autofree char *log = temp_path("log");
    g_autofree char *messages = NULL;
    int saved;
    const char *status = "";
    QDict *info;
    BGuest *dest, like = { .options = *dest_options };

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, 32 * MiB, 16 * MiB);

    saved = bg_divert_stderr(log);
    dest = bg_start_incoming(&like);
    bg_restore_stderr(saved);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);

    migrate_start(g, dest, 4 * MiB);
    for (;;) {
        info = bg_query_migrate(g);
        status = qdict_get_str(info, "status");
        g_assert_cmpstr(status, !=, "completed");
        if (!strcmp(status, "failed")) {
            break;
        }
        qobject_unref(info);
        g_usleep(1000);
    }
    qobject_unref(info);
    qtest_wait_qemu(dest->qts);
    bg_quit(dest);

    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    unlink(log);
    if (!strstr(messages, message)) {
        g_error("no '%s' in: %s", message, messages);
    }

    /* The source runs, its balloon works, and it can migrate. */
    info = qtest_qmp_assert_success_ref(g->qts,
                                        "{ 'execute': 'query-status' }");
    g_assert_true(qdict_get_bool(info, "running"));
    qobject_unref(info);
    bg_request_range(g, BG_INFLATE, 48 * MiB, MiB);
    dest = bg_start_incoming(g);
    migrate_start(g, dest, 0);
    bg_quit(finish(g, dest));
}

static void test_no_property(void)
{
    BGOptions options = { .no_must_tell_host = true };

    check_mismatch(&options, "skip: the source has a balloon, but property "
                   "'must-tell-host'");
}

static void test_no_device(void)
{
    BGOptions options = { .no_device = true };

    check_mismatch(&options, "skip: the source has a balloon, but there is no "
                   "virtio-balloon device");
}

static void test_less_ram(void)
{
    BGOptions options = { .ram_size = 32 * MiB };

    check_mismatch(&options, "Size mismatch: ram0");
}

/* ---- Unmodified QEMU ---- */

static bool have_stock(void)
{
    if (!getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return false;
    }
    return true;
}

/* With @on, the capability is on where it is known, but has no effect. */
static void check_compat(bool source_stock, bool dest_stock, bool on)
{
    BGOptions options = {
        .backend = BG_ANON,
        .no_must_tell_host = true,
        .stock = source_stock,
    };
    BGuest *g = start_driven(&options);
    BGuest *dest, like = { .options = options };

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BG_RAM_START, MiB);
    like.options.stock = dest_stock;
    dest = bg_start_incoming(&like);
    if (on) {
        bg_set_capability(source_stock ? dest : g, "skip-balloon", true);
    }
    bg_migrate_limit(g, 4 * MiB);
    bg_migrate_start(g, dest);
    bg_migrate_wait_pass(g, 1);
    bg_request_range(g, BG_DEFLATE, BG_RAM_START, MiB / 2);
    bg_fill(g, BG_RAM_START, MiB / 4, 2);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    bg_assert_same_memory(g, dest);

    /* Its balloon works there. */
    bg_request_range(dest, BG_INFLATE, BG_RAM_START + 2 * MiB, MiB);
    g_assert_cmpuint(bg_count_populated(dest, BG_RAM_START + 2 * MiB, MiB),
                     ==, 0);
    bg_quit(dest);
    bg_quit(g);
}

static void test_compat(void)
{
    if (have_stock()) {
        check_compat(false, true, false);
        check_compat(false, true, true);
        check_compat(true, false, false);
        check_compat(true, false, true);
    }
}

static void test_to_stock(void)
{
    BGOptions options = { .no_must_tell_host = true, .stock = true };

    if (have_stock()) {
        check_mismatch(&options, "Unknown savevm section or instance "
                       "'skip'");
    }
}

static GBytes *record_off(bool stock)
{
    BGOptions options = {
        .backend = BG_ANON,
        .no_must_tell_host = true,
        .stock = stock,
        .args = "-S -rtc base=2020-01-01,clock=vm",
    };
    BGuest *g = start_driven(&options);
    GBytes *stream;

    bg_fill(g, BG_RAM_START, 4 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BG_RAM_START, MiB);
    stream = bg_record_stream(g);
    bg_quit(g);
    return stream;
}

/*
 * With the capability off, the stream is the same to the byte, provided that
 * the guest's clock stands.
 */
static void test_same_bytes(void)
{
    g_autoptr(GBytes) stock = NULL;
    g_autoptr(GBytes) ours = NULL;

    if (have_stock()) {
        stock = record_off(true);
        ours = record_off(false);
        g_assert_cmpuint(g_bytes_get_size(ours), >, 4 * MiB / 2);
        g_assert_true(g_bytes_equal(stock, ours));
    }
}

/* What the destination's memory held before must not show through. */
static void test_used_file(void)
{
    g_autofree char *path = temp_path("ram");
    g_autofree char *text = g_strnfill(64 * MiB, 'x');
    g_autofree char *args = NULL;
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_driven(&options);
    BGuest *dest, like = { .options = options };
    FILE *file;
    int i;

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, 32 * MiB, 16 * MiB);

    file = fopen(path, "w");
    g_assert_nonnull(file);
    g_assert_cmpuint(fwrite(text, 1, 64 * MiB, file), ==, 64 * MiB);
    fclose(file);
    like.options.ram_file = path;
    dest = bg_start_incoming(&like);
    migrate_start(g, dest, 0);
    bg_migrate_wait(g, dest);
    bg_assert_same_map(g, dest);
    for (i = 0; i < 16; i++) {
        g_assert_true(bg_is_zero(dest, (32 + i) * MiB));
    }
    bg_assert_same_memory(g, dest);
    unlink(path);
    bg_quit(dest);
    bg_quit(g);
}

int main(int argc, char **argv)
{
    static const char *names[] = { "anon", "memfd", "private-memfd" };
    static BGOptions random_options[] = {
        { .backend = BG_ANON, .ram_size = RANDOM_RAM },
        { .backend = BG_MEMFD, .ram_size = RANDOM_RAM },
        { .backend = BG_PRIVATE_MEMFD, .ram_size = RANDOM_RAM },
        { .backend = BG_ANON, .ram_size = RANDOM_RAM, .multifd = true },
    };
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = BG_ANON; i <= BG_PRIVATE_MEMFD; i++) {
        g_autofree char *onward = g_strdup_printf("balloon-map/onward/%s",
                                                  names[i]);
        g_autofree char *random = g_strdup_printf("balloon-map/random/%s",
                                                  names[i]);

        qtest_add_data_func(onward, GINT_TO_POINTER(i), test_onward);
        qtest_add_data_func(random, &random_options[i], test_random);
    }
    qtest_add_data_func("balloon-map/random/multifd", &random_options[3],
                        test_random);
    qtest_add_func("balloon-map/driver/comes", test_driver_comes);
    qtest_add_func("balloon-map/driver/goes", test_driver_goes);
    qtest_add_func("balloon-map/size", test_size);
    qtest_add_func("balloon-map/cut", test_cut);
    qtest_add_func("balloon-map/malformed", test_malformed);
    qtest_add_func("balloon-map/in-postcopy", test_in_postcopy);
    qtest_add_func("balloon-map/mismatch/no-property", test_no_property);
    qtest_add_func("balloon-map/mismatch/no-device", test_no_device);
    qtest_add_func("balloon-map/mismatch/less-ram", test_less_ram);
    qtest_add_func("balloon-map/used-file", test_used_file);
    qtest_add_func("balloon-map/stock/off", test_compat);
    qtest_add_func("balloon-map/stock/on", test_to_stock);
    qtest_add_func("balloon-map/stock/same-bytes", test_same_bytes);

    return g_test_run();
}
