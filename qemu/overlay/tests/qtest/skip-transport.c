/*
 * A migration of a guest that uses its balloon meanwhile, over anything, and
 * with any capabilities
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "skip-transport.h"

#define PART_SIZE (128 * KiB)
#define PART_PAGES (PART_SIZE / BALLOON_PAGE)
#define PART(n) (BG_RAM_START + (n) * PART_SIZE)
#define SMALL_RAM (6 * MiB)
#define FD_NAME "wire"

/* Bytes per second: nearly nothing leaves before this is lifted */
#define SLOW 1000

/* The same: a pass over what the guest writes to takes 0.16 s */
#define STEADY (4 * MiB)

/* ---- The memory of the guest, in the order of its addresses ---- */

enum {
    KEPT,                       /* filled; written again and again */
    GIVEN_BACK_LATE,            /* filled; inflated after it was sent */
    GIVEN_BACK,                 /* inflated before, and left alone */
    GIVEN_BACK_TOO,
    TAKEN_BACK,                 /* inflated before, deflated, then written */
    TAKEN_BACK_UNUSED,          /* inflated before, deflated: zeroes */
    LIED_ABOUT,                 /* inflated before, written during it */
    LIED_ABOUT_EARLY,           /* inflated and written before */
    GIVEN_AND_TAKEN,            /* inflated after it was sent, deflated */
    GIVEN_AND_LIED_ABOUT,       /* inflated and written during it */
    BACK_AND_FORTH,             /* inflated before, deflated, inflated */
    NEVER_USED,
    NEVER_USED_TOO,
    FILLED,
    GIVEN_BACK_EARLY,           /* filled; inflated in the first pass */
    FIRST_USED,                 /* used for the first time during it */
    PARTS,
};
G_STATIC_ASSERT(PART(PARTS) == SMALL_RAM);

/* Of which it is to be skipped when the migration starts */
#define GIVEN_BACK_PAGES (6 * PART_PAGES)

static void fill(Transport *t, int part, uint8_t seed)
{
    bm_fill(t->p.model, t->p.source, PART(part), PART_SIZE, seed);
}

static void inflate(Transport *t, int part)
{
    bm_inflate(t->p.model, t->p.source, PART(part), PART_SIZE);
}

static void deflate(Transport *t, int part)
{
    bm_deflate(t->p.model, t->p.source, PART(part), PART_SIZE);
}

static void prepare_memory(Transport *t)
{
    int part;

    for (part = KEPT; part <= GIVEN_BACK_EARLY; part++) {
        if (part != NEVER_USED && part != NEVER_USED_TOO) {
            fill(t, part, 1);
        }
    }
    inflate(t, GIVEN_BACK);
    inflate(t, GIVEN_BACK_TOO);
    inflate(t, TAKEN_BACK);
    inflate(t, TAKEN_BACK_UNUSED);
    inflate(t, LIED_ABOUT);
    inflate(t, LIED_ABOUT_EARLY);
    inflate(t, BACK_AND_FORTH);
    fill(t, LIED_ABOUT_EARLY, 2);
}

/* Nearly nothing has been sent yet. */
static void use_memory_unsent(Transport *t)
{
    inflate(t, GIVEN_BACK_EARLY);
    fill(t, LIED_ABOUT, 3);
    fill(t, FIRST_USED, 3);
    deflate(t, BACK_AND_FORTH);
}

/* All has been sent at least once. */
static void use_memory_sent(Transport *t)
{
    fill(t, KEPT, 4);
    inflate(t, GIVEN_BACK_LATE);
    deflate(t, TAKEN_BACK);
    fill(t, TAKEN_BACK, 4);
    deflate(t, TAKEN_BACK_UNUSED);
    inflate(t, GIVEN_AND_TAKEN);
    inflate(t, GIVEN_AND_LIED_ABOUT);
    inflate(t, BACK_AND_FORTH);
}

/* And once more after that */
static void use_memory_again(Transport *t)
{
    deflate(t, GIVEN_AND_TAKEN);
    fill(t, GIVEN_AND_LIED_ABOUT, 5);
    fill(t, LIED_ABOUT, 5);
    bm_fill(t->p.model, t->p.source, PART(KEPT), PART_SIZE / 2, 5);
}

static void use_destination(Transport *t)
{
    BalloonModel *m = t->p.model;
    BGuest *g = t->p.dest;

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    bp_wait_until_it_runs(g);
    bm_deflate(m, g, PART(GIVEN_BACK), PART_SIZE);
    bm_fill(m, g, PART(GIVEN_BACK), PART_SIZE / 4, 6);
    bm_inflate(m, g, PART(FILLED), PART_SIZE);
    bm_check(m, g);
}

/* ---- Both guests ---- */

static bool has_capability(const Transport *t, const char *name)
{
    return t->c->capabilities && g_strv_contains(t->c->capabilities, name);
}

static void set_up(Transport *t, BGuest *g)
{
    const char *const *name = t->c->capabilities;

    /* Compression and zero-copy exclude each other: parameters come first. */
    if (t->c->parameters) {
        bg_set_parameters(g, t->c->parameters);
    }
    for (; name && *name; name++) {
        bg_set_capability(g, *name, true);
    }
    bp_set_capabilities(g, t->ours);
}

Transport *transport_start(const TransportCase *c, BGBackend backend, int ours)
{
    static int n;
    BGOptions options = {
        .backend = backend, .ram_size = SMALL_RAM, .args = c->args,
    };
    Transport *t = g_new0(Transport, 1);

    t->c = c;
    t->ours = ours;
    t->path = g_strdup_printf("%s/skip-transport-%d-%d", g_get_tmp_dir(),
                              getpid(), n++);
    t->p.runs = true;
    t->p.source = bp_start_source(&options, true);
    t->p.dest = bp_start_running(&options, "-S -incoming defer");
    t->p.model = bm_new(t->p.source);
    prepare_memory(t);
    set_up(t, t->p.source);
    set_up(t, t->p.dest);
    return t;
}

void transport_free(Transport *t)
{
    bp_end(&t->p);
    unlink(t->path);
    g_free(t->path);
    g_free(t);
}

/* ---- The wires ---- */

/* The address where the destination listens for TCP */
static char *tcp_uri(BGuest *dest)
{
    QDict *info = bg_query_migrate(dest);
    const QListEntry *first =
        qlist_first(qdict_get_qlist(info, "socket-address"));
    QDict *address = qobject_to(QDict, qlist_entry_obj(first));
    char *uri = g_strdup_printf("tcp:127.0.0.1:%s",
                                qdict_get_str(address, "port"));

    qobject_unref(info);
    return uri;
}

/* The URI that @g, at either end, is given */
static char *wire_uri(Transport *t, BGuest *g)
{
    bool incoming = g == t->p.dest;

    switch (t->c->wire) {
    case WIRE_UNIX:
        return g_strdup_printf("unix:%s", t->path);
    case WIRE_TCP:
        return incoming ? g_strdup("tcp:127.0.0.1:0") : tcp_uri(t->p.dest);
    case WIRE_FD:
        return g_strdup("fd:" FD_NAME);
    case WIRE_EXEC:
        return g_strdup_printf(incoming ? "exec:cat %s" : "exec:cat > %s",
                               t->path);
    case WIRE_FILE:
        return g_strdup_printf("file:%s", t->path);
    case WIRE_FILE_OFFSET:
        return g_strdup_printf("file:%s,offset=%d", t->path, FILE_OFFSET);
    default:
        g_assert_not_reached();
    }
}

static void use_wire(Transport *t, BGuest *g, const char *command)
{
    g_autofree char *uri = NULL;

    if (t->c->wire == WIRE_CHANNELS) {
        qtest_qmp_assert_success(
            g->qts, "{ 'execute': %s, 'arguments': { 'channels': [ {"
            " 'channel-type': 'main', 'addr': { 'transport': 'socket',"
            " 'type': 'unix', 'path': %s } } ] } }", command, t->path);
        return;
    }
    uri = wire_uri(t, g);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'uri': %s } }", command, uri);
}

static void pass_fd(BGuest *g, int fd)
{
    qtest_qmp_fds_assert_success(
        g->qts, &fd, 1,
        "{ 'execute': 'getfd', 'arguments': { 'fdname': %s } }", FD_NAME);
    close(fd);
}

static void lay_wire(Transport *t)
{
    int fd[2];

    if (t->c->wire == WIRE_FD) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), ==, 0);
        pass_fd(t->p.source, fd[0]);
        pass_fd(t->p.dest, fd[1]);
    } else if (t->c->wire == WIRE_EXEC) {
        g_assert_cmpint(mkfifo(t->path, 0600), ==, 0);
    }
}

/* ---- The migration ---- */

static bool is_file(const Transport *t)
{
    return t->c->wire == WIRE_FILE || t->c->wire == WIRE_FILE_OFFSET;
}

/* Memory is used all the time, whether it has been sent or not. */
static void migrate(Transport *t)
{
    BGuest *g = t->p.source;

    lay_wire(t);
    bp_hold(&t->p);
    bp_set_bandwidth(g, SLOW);
    if (!is_file(t)) {
        use_wire(t, t->p.dest, "migrate-incoming");
    }
    use_wire(t, g, "migrate");
    bg_migrate_wait_pass(g, 1);
    use_memory_unsent(t);
    bp_set_bandwidth(g, t->c->first_rate ?: STEADY);
    bg_migrate_wait_pass(g, 2);
    bp_set_bandwidth(g, t->c->rate ?: STEADY);
    use_memory_sent(t);
    bp_wait_passes(g, 1);
    use_memory_again(t);
}

static void finish(Transport *t)
{
    BGuest *g = t->p.source;

    /* A guest that has not come to write has not held it. */
    bp_wait_status(g, "active");
    bg_set_parameters(g, BP_RELEASED);
    if (has_capability(t, "pause-before-switchover")) {
        bp_wait_status(g, "pre-switchover");
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-continue',"
                                 " 'arguments': { 'state': 'pre-switchover' }"
                                 " }");
    }
    if (is_file(t)) {
        bg_migrate_wait(g, NULL);
        use_wire(t, t->p.dest, "migrate-incoming");
    }
    bg_migrate_wait(g, t->p.dest);
    bm_migrated(t->p.model);
}

/* ---- What it has to come to ---- */

/*
 * Memory that was to be sent when it was given back.  What migration has handed
 * to a thread of multifd by then is read all the same, and reading populates
 * memory, with zeroes.  Nothing else is read.
 */
static void expect_read(Transport *t, bool expect)
{
    BMPage *page = &t->p.model->page[PART(GIVEN_BACK_EARLY) / BALLOON_PAGE];
    int i;

    for (i = 0; i < PART_PAGES; i++) {
        page[i].touched = expect && has_capability(t, "multifd");
    }
}

static void check_side(Transport *t, BGuest *g, bool expect)
{
    expect_read(t, expect);
    bm_check(t->p.model, g);
    if (t->ours & BP_UNPOPULATED) {
        g_assert_cmpuint(bg_count_populated(g, PART(NEVER_USED),
                                            2 * PART_SIZE), ==, 0);
    }
}

static void check_counts(Transport *t)
{
    BGuest *g = t->p.source;

    if (t->ours & BP_BALLOON) {
        g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=,
                        GIVEN_BACK_PAGES);
        g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >, PART_PAGES);
        g_assert_cmpint(bg_skip_stat(g, "undecided-pages"), ==, 0);
    }
    if (t->ours & BP_UNPOPULATED) {
        g_assert_cmpint(bp_skipped_pages(g), >=, 2 * PART_PAGES +
                        (t->ours & BP_BALLOON ? 0 : GIVEN_BACK_PAGES));
    }
}

static void check(Transport *t)
{
    check_side(t, t->p.source, true);
    /* It is zero, and is sent as such, unless nobody looks. */
    check_side(t, t->p.dest, t->c->parameters &&
                             strstr(t->c->parameters, "'none'"));
    bg_assert_same_map(t->p.source, t->p.dest);
    bg_assert_map_let_go(t->p.source, t->p.dest);
    bg_assert_same_memory(t->p.source, t->p.dest);
    check_counts(t);
    /* It has just read on both sides what either had. */
    expect_read(t, true);
    use_destination(t);
}

/* ---- All of them ---- */

typedef struct Test {
    const TransportCase *c;
    BGBackend backend;
    int ours;
} Test;

static void test_case(const void *opaque)
{
    const Test *test = opaque;
    const TransportCase *c = test->c;
    Transport *t;

    if (c->possible && !c->possible()) {
        return;
    }
    t = transport_start(c, test->backend, test->ours);
    if (c->prepare) {
        c->prepare(t);
    }
    migrate(t);
    if (c->during) {
        c->during(t);
    }
    finish(t);
    if (c->check) {
        c->check(t);
    }
    check(t);
    transport_free(t);
}

void transport_add_cases(const char *program, const TransportCase *cases,
                         int n)
{
    Test t;

    for (t.c = cases; t.c < cases + n; t.c++) {
        for (t.backend = t.c->any_memory ? BG_MEMFD : BG_ANON;
             t.backend <= BG_MEMFD; t.backend++) {
            for (t.ours = t.c->alone ? BP_BALLOON : BP_BOTH; t.ours <= BP_BOTH;
                 t.ours++) {
                g_autofree char *path = bp_test_path(program, t.c->name,
                                                     t.backend, t.ours);

                qtest_add_data_func_full(path, g_memdup2(&t, sizeof(t)),
                                         test_case, g_free);
            }
        }
    }
}
