/*
 * Tests of the balloon map in the migration stream
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"

static void migrate_start(BGuest *g, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_begin(g, dest, bandwidth);
}

/* Migrate, and check all that can be said of the destination. */
static BGuest *finish(BGuest *g, BGuest *dest)
{
    bg_migrate_end(g, dest);
    bg_assert_same_map(g, dest);
    bg_assert_map_let_go(g, dest);
    bg_assert_same_memory(g, dest);
    bg_quit(g);
    return dest;
}

/* ---- Random migrations ---- */

#define RANDOM_RAM (24 * MiB)

/*
 * The end of the memory is left alone and holds something, so that a slow
 * migration is not over before the guest has done what it is to do meanwhile.
 */
#define BALLAST_START (RANDOM_RAM - 8 * MiB)

/* What a guest, honest or not, may do */
typedef enum Deed { INFLATE, DEFLATE, REUSE, FILL, WRITE, RESET, DEEDS } Deed;

/* Some of what is in @deeds, bits of Deed */
static void random_steps(BGuest *g, unsigned int deeds)
{
    uint64_t pages = (BALLAST_START - BG_RAM_START) / BALLOON_PAGE;
    int n = g_test_rand_int_range(0, 30);

    while (n > 0) {
        uint64_t length = 1 + g_test_rand_int_range(0, 2) *
                          g_test_rand_int_range(0, 512);
        uint64_t first = g_test_rand_int_range(0, pages - length);
        uint64_t start = BG_RAM_START + first * BALLOON_PAGE;
        Deed deed = g_test_rand_int_range(0, DEEDS);

        if (!(deeds & 1u << deed)) {
            continue;
        }
        n--;
        switch (deed) {
        case INFLATE:
            bg_request_range(g, BG_INFLATE, start, length * BALLOON_PAGE);
            break;
        case DEFLATE:
        case REUSE:
            bg_request_range(g, BG_DEFLATE, start, length * BALLOON_PAGE);
            if (deed == DEFLATE) {
                break;
            }
            /* fall through */
        case FILL:
            bg_fill(g, start, length * BALLOON_PAGE, g_test_rand_int());
            break;
        case WRITE:
            /* A few bytes only, wherever they fall */
            qtest_writel(g->qts, start + 128, g_test_rand_int());
            break;
        default:
            if (g_test_rand_int_range(0, 20) == 0) {
                bg_driver_start(g, BG_MUST_TELL_HOST);
            }
        }
    }
}

/*
 * Whether it is active is decided once the connection stands; a guest without
 * a driver at that moment would be right to find it disabled.
 */
static bool is_active(BGuest *g)
{
    QDict *skip = bg_skip_info(g);
    bool ret = skip;

    if (skip) {
        g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "active");
        qobject_unref(skip);
    }
    return ret;
}

/*
 * Random guests, honest or not, and random migrations: each page has to arrive,
 * the map has to be the same, and what of it is not populated must not be so
 * there.
 */
static void test_random(gconstpointer data)
{
    static const char *const multifd[] = { "multifd", NULL };
    BGOptions options = {
        .backend = data ? GPOINTER_TO_INT(data) - 1 : BG_ANON,
        .ram_size = RANDOM_RAM,
        .capabilities = data ? NULL : multifd,
    };
    const char *s = getenv("BALLOON_MAP_TEST_MIGRATIONS");
    BGuest *g = bg_start_driven(&options);
    int n = s ? atoi(s) : 15;
    int i;

    bg_fill(g, BALLAST_START, RANDOM_RAM - BALLAST_START, 1);
    for (i = 0; i < n; i++) {
        BGuest *dest = bg_start_incoming(g);

        bg_step("migration %d of %d", i + 1, n);
        random_steps(g, -1);
        bg_request_range(g, BG_INFLATE, BG_RAM_START, 4 * MiB);
        migrate_start(g, dest, 4 * MiB);
        BG_WAIT(is_active(g));
        /* Not all of it in each migration, or one would hide the other. */
        random_steps(g, g_test_rand_int_range(1, 1 << DEEDS));
        g_assert_false(bg_has_status(g, "completed"));
        g = finish(g, dest);
    }
    bg_quit(g);
}

/* ---- Drivers that come and go ---- */

/*
 * The map travels if the guest has to tell, whether it had to when the
 * migration began or has to since then; if not, there is none in the end.
 */
static void test_driver(gconstpointer comes)
{
    BGOptions options = { .backend = BG_MEMFD };
    BGuest *g = comes ? bg_start(&options) : bg_start_driven(&options);
    BGuest *dest = bg_start_incoming(g);
    const uint64_t start = BG_RAM_START + 4 * MiB, pages = 512;

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    if (comes) {
        bg_set_capability(g, "skip-unpopulated", true);
    } else {
        bg_request_range(g, BG_INFLATE, start, pages * BALLOON_PAGE);
    }
    migrate_start(g, dest, MiB);
    bg_wait_status(g, "active", 60);
    if (comes) {
        bg_driver_start(g, BG_MUST_TELL_HOST);
        bg_request_range(g, BG_INFLATE, start, pages * BALLOON_PAGE);
        bg_assert_map(g, pages);
    } else {
        bg_driver_reset(g);
    }
    dest = finish(g, dest);
    bg_assert_map(dest, comes ? pages : 0);
    bg_quit(dest);
}

/* ---- Size ---- */

/*
 * A guest with a sparse memory of @size, all but the first 512 MiB in the
 * balloon, except for @holes pages
 */
static BGuest *start_large(uint64_t size, int holes)
{
    const uint64_t step = 512 * MiB, low = 3 * GiB;
    BGOptions options = {
        .backend = BG_ANON,
        .ram_size = size,
        /* One that can address it, and has no hole below 1 TiB */
        .args = "-cpu max,vendor=GenuineIntel,phys-bits=46",
    };
    BGuest *g = bg_start_driven(&options);
    uint64_t addr;
    int i;

    for (addr = step; addr < size; addr += step) {
        /* RAM above 3 GiB is at 4 GiB and more. */
        bg_request_range(g, BG_INFLATE, addr < low ? addr : addr + GiB,
                         step);
    }
    for (i = 0; i < holes; i++) {
        addr = step + (size - step) / (holes + 1) * (i + 1);
        bg_request_range(g, BG_DEFLATE,
                         (addr < low ? addr : addr + GiB) & -BALLOON_PAGE,
                         BALLOON_PAGE);
    }
    return g;
}

static void map_bytes(uint64_t size, int holes, int64_t *total,
                      int64_t *final)
{
    BGuest *g = start_large(size, holes);
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate(g, dest);
    *total = bg_skip_stat(g, "map-bytes");
    *final = bg_skip_stat(g, "final-map-bytes");
    g_test_message("%" PRIu64 " GiB: map %" PRIi64 " bytes, %" PRIi64
                   " of them with the guest stopped", size / GiB, *total,
                   *final);
    bg_quit(dest);
    bg_quit(g);
}

static void test_size(gconstpointer data)
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
    BGuest *g = bg_start_driven(&options);
    g_autofree char *path = g_strdup_printf("%s/balloon-map-%d",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);
    int i;

    for (i = 0; i < 6; i++) {
        bg_request_range(g, BG_INFLATE, 8 * MiB + i * MiB, MiB / 2);
    }
    bg_fill(g, BG_RAM_START, 3 * MiB, 1);
    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_uri(g, uri);
    bg_wait_status(g, "pre-switchover", 60);
    /* The last part is about this. */
    bg_request_range(g, BG_INFLATE, 20 * MiB, MiB);
    bg_migrate_continue(g, NULL);
    g_assert_cmpint(bg_skip_stat(g, "final-map-bytes"), >, 20);
    bg_quit(g);

    g_assert_true(g_file_get_contents(path, &s->bytes, &s->size, NULL));
    unlink(path);
    find_parts(s);
}

/*
 * Feed @size bytes to a QEMU.  Returns NULL if it took
 * them, or what it wrote to stderr; owned by the caller.
 */
static char *feed(const void *bytes, size_t size, bool exits)
{
    BGOptions options = {
        .ram_size = RANDOM_RAM,
        .args = "-incoming defer",
        .keep_log = true,
    };
    BGuest *g = bg_start(&options);
    g_autofree char *path = g_strdup_printf("%s.in", g->log);
    g_autofree char *uri = g_strdup_printf("exec:cat %s", path);
    char *log = NULL;
    bool ok = false;

    g_assert_true(g_file_set_contents(path, bytes, size, NULL));
    if (exits) {
        qtest_set_expected_status(g->qts, EXIT_FAILURE);
    }
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming',"
        " 'arguments': { 'uri': %s, 'exit-on-error': %i } }", uri, exits);
    if (exits) {
        qtest_wait_qemu(g->qts);
    } else {
        BG_WAIT((ok = bg_has_status(g, "completed")) ||
                bg_has_status(g, "failed"));
    }
    if (!ok) {
        log = bg_log(g);
    }
    bg_quit(g);
    unlink(path);
    return log;
}

/* What is changed in the stream, and what is said of that */
typedef struct Change {
    bool in_final;
    int offset;                 /* see below */
    const char *bytes;
    int size;
    const char *message;
} Change;

/*
 * Offsets are from where our own header begins, behind what QEMU has in front
 * of each part of a section; then, 12 bytes later, come the kind of a record
 * and the RAM block's name: the map comes first, last comes a word.  What a
 * later QEMU would change first is the version of the section, 4 bytes before.
 */
static const Change changes[] = {
    { false, -4, "\0\0\0\3", 4, "unsupported version 3 for 'skip'" },
    { false, 0, "\0\0\0\3", 4, "skip: format 3 is not known" },
    { false, 4, "\0\0\0\x15", 4, "skip: flags 0x10 are not known" },
    { false, 4, "\0\0\0\0", 4, "skip: its beginning is missing" },
    { false, 8, "\0\0\x20\0", 4, "skip: balloon pages of 8192 bytes" },
    { false, 12, "\5", 1, "skip: records of kind 5 are not known" },
    { false, 12, "\4", 1, "skip: there are no channels to be synchronized" },
    { false, 14, "rom0", 4, "skip: there is no RAM block 'rom0' here" },
    { false, 18, "\0\0\0\0\0\0\x18\1", 8,
      "RAM block 'ram0' has 6145 pages on the source" },
    { false, 26, "\x7f\xff\xff\xff", 4,
      "bytes for RAM block 'ram0' are too many" },
    { false, 30, "\5", 1, "what is said of RAM block 'ram0' is malformed: "
      "it names pages beyond the end" },
    { false, 32, "\7", 1, "what is said of RAM block 'ram0' is malformed: "
      "it has a segment of an unknown kind" },
    { true, 4, "\0\0\0\1", 4, "skip: it begins twice" },
    { true, 12, "\3", 1, "skip: RAM block 'ram0' is to be emptied too late" },
};

/* Streams that end early, anywhere in what is ours, or have been changed */
static void test_malformed(gconstpointer data)
{
    Stream s = { };
    const Part *parts[] = { &s.setup, &s.final };
    size_t at;
    int i;

    record(&s);
    g_assert_null(feed(s.bytes, s.size, false));
    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        for (at = parts[i]->start; at < parts[i]->end;
             at += g_test_rand_int_range(1, 20)) {
            g_autofree char *log = NULL;

            bg_step("cut at %zu, part %d", at - parts[i]->start, i);
            log = feed(s.bytes, at, false);
            g_assert_nonnull(log);
        }
    }
    for (i = 0; i < ARRAY_SIZE(changes); i++) {
        const Change *c = &changes[i];
        g_autofree char *bytes = g_memdup2(s.bytes, s.size);
        g_autofree char *log = NULL;

        bg_step("change %d", i);
        /* Type, number, name, instance, version; or type and number */
        at = c->in_final ? s.final.start + 5 : s.setup.start + 18;
        g_assert_cmpint(bytes[at + 12], ==, 1);
        memcpy(bytes + at + c->offset, c->bytes, c->size);
        log = feed(bytes, s.size, false);
        g_assert_nonnull(log);
        if (!strstr(log, c->message)) {
            g_error("no '%s' in: %s", c->message, log);
        }
    }
    g_free(s.bytes);
}

/* ---- A section that comes when a thread of its own loads postcopy ---- */

static void put_be(GByteArray *a, uint64_t value, int size)
{
    while (size-- > 0) {
        uint8_t byte = value >> (8 * size);

        g_byte_array_append(a, &byte, 1);
    }
}

/* A command in the stream, without data */
static void put_command(GByteArray *a, int command)
{
    put_be(a, 8, 1);
    put_be(a, command, 2);
    put_be(a, 0, 2);
}

static void test_in_postcopy(gconstpointer data)
{
    BGOptions options = { .ram_size = RANDOM_RAM };
    BGuest *g = bg_start(&options);
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autofree char *machine = NULL, *log = NULL;
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'qom-get', 'arguments': {"
                           " 'path': '/machine', 'property': 'type' } }");

    machine = g_strdup(qdict_get_str(rsp, "return"));
    *strstr(machine, "-machine") = '\0';
    qobject_unref(rsp);
    bg_quit(g);

    put_be(a, 0x5145564d00000003, 8);           /* QEVM, version */
    put_be(a, 7, 1);                            /* configuration */
    put_be(a, strlen(machine), 4);
    g_byte_array_append(a, (uint8_t *)machine, strlen(machine));
    put_command(a, 3);                          /* postcopy is to come */
    put_be(a, 8, 1);                            /* package, of 10 bytes */
    put_be(a, 7, 2);
    put_be(a, 4, 2);
    put_be(a, 10, 4);
    put_command(a, 4);                          /* listen */
    put_command(a, 5);                          /* run */
    put_be(a, 1, 1);                            /* section, its number */
    put_be(a, 77, 4);
    g_byte_array_append(a, (uint8_t *)"\x04" "skip", 5);
    put_be(a, 0, 4);                            /* instance, version */
    put_be(a, 2, 4);
    put_be(a, 2, 4);                            /* our header, no records */
    put_be(a, 1, 4);
    put_be(a, BALLOON_PAGE, 4);
    put_be(a, 0, 1);

    /* It ends with an error, neither with a signal nor with success. */
    log = feed(a->data, a->len, true);
    g_assert_nonnull(strstr(log, "skip: it comes too late"));
}

/* ---- Unmodified QEMU ---- */

/* With @on, the capability is on where it is known, but has no effect. */
static void check_compat(bool source_stock, bool dest_stock, bool on)
{
    BGOptions options = {
        .backend = BG_ANON,
        .no_must_tell_host = true,
        .stock = source_stock,
    };
    BGuest *g = bg_start_driven(&options);
    BGuest *dest;

    bg_fill(g, BG_RAM_START, 16 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BG_RAM_START, MiB);
    options.stock = dest_stock;
    dest = bg_start_dest(&options);
    if (on) {
        bg_set_capability(source_stock ? dest : g, "skip-balloon", true);
    }
    bg_migrate_begin(g, dest, 4 * MiB);
    bg_migrate_wait_pass(g, 1);
    bg_request_range(g, BG_DEFLATE, BG_RAM_START, MiB / 2);
    bg_fill(g, BG_RAM_START, MiB / 4, 2);
    bg_migrate_end(g, dest);
    bg_assert_same_memory(g, dest);

    /* Its balloon works there. */
    bg_request_range(dest, BG_INFLATE, BG_RAM_START + 2 * MiB, MiB);
    bg_assert_populated(dest, BG_RAM_START + 2 * MiB, MiB, 0);
    bg_quit(dest);
    bg_quit(g);
}

static void test_compat(gconstpointer data)
{
    int i;

    for (i = 0; i < 4 && bg_stock_or_skip(); i++) {
        check_compat(i & 1, !(i & 1), i & 2);
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
    BGuest *g = bg_start_driven(&options);
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
static void test_same_bytes(gconstpointer data)
{
    g_autoptr(GBytes) stock = NULL;
    g_autoptr(GBytes) ours = NULL;

    if (bg_stock_or_skip()) {
        stock = record_off(true);
        ours = record_off(false);
        g_assert_cmpuint(g_bytes_get_size(ours), >, 4 * MiB / 2);
        g_assert_true(g_bytes_equal(stock, ours));
    }
}

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    for (i = BG_ANON; i <= BG_PRIVATE_MEMFD; i++) {
        bg_add_test(GINT_TO_POINTER(i + 1), test_random,
                    "balloon-map/random/%s", bg_backend_name(i));
    }
    bg_add_test(NULL, test_random, "balloon-map/random/multifd");
    bg_add_test("", test_driver, "balloon-map/driver/comes");
    bg_add_test(NULL, test_driver, "balloon-map/driver/goes");
    bg_add_test(NULL, test_size, "balloon-map/size");
    bg_add_test(NULL, test_malformed, "balloon-map/malformed");
    bg_add_test(NULL, test_in_postcopy, "balloon-map/in-postcopy");
    bg_add_test(NULL, test_compat, "balloon-map/stock/off");
    bg_add_test(NULL, test_same_bytes, "balloon-map/stock/same-bytes");
    return g_test_run();
}
