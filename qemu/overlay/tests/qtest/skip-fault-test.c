/*
 * Tests of faults during a migration with skip-balloon and skip-unpopulated
 *
 * The faults come at positions in the stream.  After each of them the guest is
 * alive and intact where it has to be, and can migrate on at once.
 *
 * Where it has to be:
 *
 * - The destination runs the guest if it got all up to RELAY_EOF, and that
 *   byte; what follows only describes the state.  If not, it ends with an
 *   error.
 * - The source runs the guest if it noticed the fault, or was told to cancel.
 *   Without capability return-path it does not notice what happens to bytes
 *   that it has written already.
 *
 * So there are positions at the very end where both run the guest, or (if the
 * destination dies) neither does before the source is told to continue.  That
 * is so in unmodified QEMU, too; the group "stock" requires the same of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include "qobject/qdict.h"
#include "skip-fault.h"

#define POINTS 50

/* Bytes that surely fit into the small buffer of the source's socket */
#define SURELY_WRITTEN 64

typedef enum FaultKind {
    KILL_SOURCE,
    KILL_DEST,
    CUT_CLOSE,
    CUT_SHUTDOWN,
    STALL_CUT,
    STALL_GO_ON,
    CANCEL,
} FaultKind;

static const char *const kind_names[] = {
    "kill source", "kill destination", "close", "shutdown",
    "stall and cut", "stall and go on", "cancel",
};

typedef struct FaultCase {
    FaultKind kind;
    RelayPoint point;
    bool return_path;
    bool plain_next;            /* the next migration is without us */
    bool roomy;                 /* a large buffer: more is written already */
} FaultCase;

typedef struct FaultGroup {
    const char *name;
    const FaultKind *kinds;
    int n_kinds;
} FaultGroup;

/* ---- Where the guest has to be ---- */

static bool dest_runs(const FaultCase *c)
{
    return c->kind == STALL_GO_ON ||
           (c->point.anchor == RELAY_EOF && c->point.offset >= 1 &&
            c->kind != KILL_DEST);
}

static bool source_completes(const FaultWorld *w, const FaultCase *c)
{
    const FaultLayout *l = &w->layout;

    return c->kind == STALL_GO_ON ||
           (!c->return_path && c->point.anchor == RELAY_EOF &&
            (c->roomy ||
             l->eof + c->point.offset + SURELY_WRITTEN >= l->end));
}

/* May the main loop of the source be asked something at this point? */
static bool source_listens(const FaultWorld *w, const FaultCase *c)
{
    return c->point.anchor == RELAY_START &&
           c->point.offset + WORK_BYTES < w->layout.eof;
}

/* ---- The fault ---- */

static void stall(FaultWorld *w, const FaultCase *c)
{
    int i;

    for (i = 0; i < 12; i++) {
        g_usleep(10000);
        if (source_listens(w, c)) {
            g_autofree char *status = vm_status(w->source);

            g_assert_cmpstr(status, ==, "running");
        }
    }
}

static char *cancel(FaultWorld *w, const FaultCase *c, StreamRelay *relay)
{
    g_autofree char *status = NULL;

    if (source_completes(w, c)) {
        status = source_settle(w->source);
    }
    qtest_qmp_send(w->source->qts, "{ 'execute': 'migrate_cancel' }");
    if (!source_listens(w, c)) {
        /* It may be waiting for the stream to go on. */
        relay_free(relay);
    }
    qobject_unref(qtest_qmp_receive(w->source->qts));
    if (source_listens(w, c)) {
        /* Cancelling needs nothing of the other side. */
        status = source_settle(w->source);
        relay_free(relay);
        /*
         * QEMU shuts the return path down first, which may be seen as an
         * error before it is told that this is on purpose.
         */
        if (strcmp(status, "cancelled") &&
            (!c->return_path || strcmp(status, "failed"))) {
            return g_strdup_printf("the source is %s", status);
        }
    }
    return NULL;
}

/* Frees @relay, and those who are killed.  Returns what is wrong. */
static char *do_fault(FaultWorld *w, const FaultCase *c, StreamRelay *relay,
                      BGuest **dest)
{
    if (c->roomy) {
        /* It writes all it has, and is content. */
        g_free(source_settle(w->source));
    }
    switch (c->kind) {
    case KILL_SOURCE:
        memcpy((*dest)->queue, w->source->queue, sizeof((*dest)->queue));
        guest_kill(w->source);
        world_lose(w);
        break;
    case KILL_DEST:
        guest_kill(*dest);
        *dest = NULL;
        break;
    case STALL_CUT:
        stall(w, c);
        break;
    case STALL_GO_ON:
        stall(w, c);
        relay_until(relay, RELAY_NEVER, RELAY_HOLD);
        relay_wait(relay);
        break;
    case CANCEL:
        return cancel(w, c, relay);
    default:
        break;
    }
    relay_free(relay);
    return NULL;
}

static RelayDeed deed(FaultKind kind)
{
    return kind == CUT_CLOSE ? RELAY_CLOSE :
           kind == CUT_SHUTDOWN ? RELAY_SHUTDOWN : RELAY_HOLD;
}

/* Migrate up to the point, with the guest working before. */
static char *migrate_to_point(FaultWorld *w, const FaultCase *c,
                              StreamRelay *relay)
{
    bool early = c->point.anchor == RELAY_START &&
                 c->point.offset <= WORK_POINT.offset;

    source_migrate(w, "fd:relay", c->return_path);
    relay_until(relay, early ? c->point : WORK_POINT, RELAY_HOLD);
    if (!relay_wait(relay)) {
        return g_strdup("the migration ends before the guest works");
    }
    world_work(w);
    if (early) {
        /*
         * QEMU waits to write the first pages that are in use, and reads them
         * once it can.
         */
        bm_touch(w->model, USED_START, MiB / 8);
    }
    relay_until(relay, c->point, deed(c->kind));
    relay_wait(relay);
    return relay_reached(relay) ? NULL
           : g_strdup("the migration ends before this point");
}

/* ---- What is left ---- */

static char *check_refused(BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'migrate', 'arguments': {"
                           " 'uri': 'exec:cat > /dev/null' } }");
    bool refused = qdict_haskey(rsp, "error");

    qobject_unref(rsp);
    return refused ? NULL : g_strdup("a guest that has left migrates again");
}

/* The source has ended its migration.  Returns what is wrong. */
static char *check_source(FaultWorld *w, const FaultCase *c, bool dest_alive)
{
    g_autofree char *status = source_settle(w->source);
    char *wrong = NULL;

    if (source_completes(w, c)) {
        if (strcmp(status, "completed")) {
            return g_strdup_printf("the source is %s", status);
        }
        if (blame(&wrong, check_vm_status(w->source, "postmigrate")) ||
            blame(&wrong, check_refused(w->source))) {
            return wrong;
        }
        if (!dest_alive) {
            /* It has the guest still, and somebody has to say so. */
            qtest_qmp_assert_success(w->source->qts, "{ 'execute': 'cont' }");
        }
    } else if (strcmp(status, "failed") &&
               (c->kind != CANCEL || strcmp(status, "cancelled"))) {
        return g_strdup_printf("the source is %s", status);
    }
    if (!source_completes(w, c) || !dest_alive) {
        blame(&wrong, check_vm_status(w->source, "running"));
    }
    blame(&wrong, world_check(w, w->source));
    return wrong;
}

/* Takes @dest unless NULL.  Returns what is wrong. */
static char *check_after(FaultWorld *w, const FaultCase *c, BGuest *dest,
                         BGuest *next)
{
    bool completed = dest_runs(c);
    char *wrong = NULL;

    if (dest && completed) {
        blame(&wrong, dest_wait_completed(w, dest));
        blame(&wrong, check_vm_status(dest, "running"));
        blame(&wrong, world_check_dest(w, dest));
    } else if (dest) {
        blame(&wrong, dest_wait_failed(dest));
        dest = NULL;
    }
    if (w->source) {
        blame(&wrong, check_source(w, c, dest));
    }
    if (dest) {
        if (!w->source || source_completes(w, c)) {
            world_succeed(w, dest);
        } else {
            guest_quit(dest);
        }
    }
    if (wrong || !w->source) {
        guest_quit(next);
        return wrong;
    }
    world_small_work(w);
    return c->plain_next ? world_onward_plain(w, next)
                         : world_onward(w, next);
}

static char *run_case(FaultWorld *w, const FaultCase *c)
{
    BGuest *dest, *next;
    StreamRelay *relay;
    char *wrong;

    world_prepare(w);
    dest = dest_new(w, NULL);
    next = dest_new(w, NULL);
    relay = relay_new(w->source, dest->socket, c->roomy);
    wrong = migrate_to_point(w, c, relay);
    if (wrong) {
        relay_free(relay);
        guest_kill(dest);
        guest_quit(next);
        return wrong;
    }
    wrong = do_fault(w, c, relay, &dest);
    blame(&wrong, check_after(w, c, dest, next));
    return wrong;
}

/* ---- Groups of cases ---- */

static void run_named_case(FaultWorld *w, const FaultCase *c, int *failed)
{
    static const char *const anchors[] = { "", "last part + ", "end + " };
    g_autofree char *name = g_strdup_printf(
        "%s at %s%" PRIu64 ", %s%s", kind_names[c->kind],
        anchors[c->point.anchor], c->point.offset,
        w->options.backend == BG_MEMFD ? "memfd" : "anon",
        c->return_path ? ", return-path" : c->roomy ? ", large buffer" : "");

    /* If the test ends at once, this tells where. */
    g_test_message("%s", name);
    report_case(w, name, run_case(w, c), failed);
}

/* Points that cannot be missed: ends of things, and right beside them */
static int special_points(const FaultLayout *l, RelayPoint *points)
{
    const uint64_t start[] = {
        0, 1, 4, 8, l->setup_start, l->setup_start + 1, l->setup_start + 18,
        l->setup_start + 30, (l->setup_start + l->setup_end) / 2,
        l->setup_end - 1, l->setup_end,
    };
    const uint64_t state = l->eof - l->final;
    const uint64_t final[] = {
        0, 1, 5, 9, 16, 20, state / 4, state / 2, state * 3 / 4, state - 1,
    };
    const uint64_t eof[] = { 0, 1, l->end - l->eof - 1, l->end - l->eof };
    int n = 0;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(start); i++) {
        points[n++] = (RelayPoint) { RELAY_START, start[i] };
    }
    for (i = 0; i < ARRAY_SIZE(final); i++) {
        points[n++] = (RelayPoint) { RELAY_FINAL, final[i] };
    }
    for (i = 0; i < ARRAY_SIZE(eof); i++) {
        points[n++] = (RelayPoint) { RELAY_EOF, eof[i] };
    }
    return n;
}

/* Spread all the others over memory. */
static void make_points(const FaultLayout *l, RelayPoint *points)
{
    int n = special_points(l, points);
    uint64_t length = l->final - l->setup_end;
    int rest = POINTS - n;
    int i;

    for (i = 0; i < rest; i++) {
        points[n + i] = (RelayPoint) {
            RELAY_START, l->setup_end + length * (i + 1) / (rest + 1),
        };
    }
}

static void test_group(gconstpointer data)
{
    const FaultGroup *group = data;
    FaultWorld *worlds[] = {
        world_new(BG_ANON, false), world_new(BG_MEMFD, false),
    };
    RelayPoint points[ARRAY_SIZE(worlds)][POINTS];
    int failed = 0;
    int i;

    for (i = 0; i < ARRAY_SIZE(worlds); i++) {
        const FaultLayout *l = &worlds[i]->layout;

        g_test_message("first part %" PRIu64 " to %" PRIu64 ", last %" PRIu64
                       ", end %" PRIu64 " to %" PRIu64, l->setup_start,
                       l->setup_end, l->final, l->eof, l->end);
        make_points(l, points[i]);
    }
    for (i = 0; i < POINTS; i++) {
        int world = (i / group->n_kinds) % ARRAY_SIZE(worlds);
        FaultCase c = {
            .kind = group->kinds[i % group->n_kinds],
            .point = points[world][i],
            .return_path = (i / group->n_kinds / ARRAY_SIZE(worlds)) % 2,
            .plain_next = i % 5 == 4,
        };

        run_named_case(worlds[world], &c, &failed);
    }
    for (i = 0; i < ARRAY_SIZE(worlds); i++) {
        world_free(worlds[i]);
    }
    finish_group(failed, POINTS);
}

/* All kinds of faults in the window where both or neither may run the guest */
static void check_window(bool stock)
{
    static const FaultKind kinds[] = {
        KILL_SOURCE, KILL_DEST, CUT_CLOSE, CANCEL,
    };
    FaultWorld *w = world_new(BG_ANON, stock);
    const uint64_t eof[] = {
        0, 1, w->layout.end - w->layout.eof - 1,
        w->layout.end - w->layout.eof,
    };
    int failed = 0, n = 0;
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(eof); i++) {
        for (j = 0; j < 2 * ARRAY_SIZE(kinds); j++) {
            FaultCase c = {
                .kind = kinds[j / 2],
                .point = { RELAY_EOF, eof[i] },
                .return_path = j % 2,
            };

            run_named_case(w, &c, &failed);
            n++;
        }
    }
    /* The destination has not got all, but the source is content. */
    for (j = 0; j < 2; j++) {
        FaultCase c = {
            .kind = j ? STALL_CUT : KILL_DEST,
            .point = { RELAY_EOF, 0 },
            .roomy = true,
        };

        run_named_case(w, &c, &failed);
        n++;
    }
    world_free(w);
    finish_group(failed, n);
}

static void test_window(void)
{
    check_window(false);
}

static void test_window_stock(void)
{
    if (getenv(BG_STOCK_ENV)) {
        check_window(true);
    } else {
        g_test_skip(BG_STOCK_ENV " is not set");
    }
}

/* ---- When a migration is refused ---- */

/* Try to migrate to nowhere, and note what QEMU says. */
static void try_to_migrate(BGuest *g, const char *when, GString *said)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'migrate', 'arguments': {"
                           " 'uri': 'exec:cat > /dev/full' } }");
    QDict *error = qdict_get_qdict(rsp, "error");

    g_string_append_printf(said, "%s: %s;\n", when,
                           error ? qdict_get_str(error, "desc") : "");
    qobject_unref(rsp);
    if (!error) {
        g_free(source_settle(g));
    }
}

static GString *try_in_all_states(bool stock)
{
    FaultWorld *w = world_new(BG_ANON, stock);
    GString *said = g_string_new(NULL);
    BGuest *dest = dest_new(w, NULL);
    StreamRelay *relay;

    world_prepare(w);
    try_to_migrate(w->source, "running", said);
    try_to_migrate(w->source, "failed", said);
    try_to_migrate(dest, "waiting for a migration", said);
    relay = relay_new(w->source, dest->socket, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, WORK_POINT, RELAY_HOLD);
    g_assert_true(relay_wait(relay));
    try_to_migrate(w->source, "migrating", said);
    try_to_migrate(dest, "receiving", said);
    qtest_qmp_assert_success(w->source->qts,
                             "{ 'execute': 'migrate_cancel' }");
    g_free(source_settle(w->source));
    relay_free(relay);
    g_assert_null(dest_wait_failed(dest));
    try_to_migrate(w->source, "cancelled", said);
    dest = dest_new(w, NULL);
    relay = relay_new(w->source, dest->socket, false);
    source_migrate(w, "fd:relay", false);
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    relay_wait(relay);
    g_free(source_settle(w->source));
    relay_free(relay);
    g_assert_null(dest_wait_completed(w, dest));
    try_to_migrate(w->source, "completed", said);
    try_to_migrate(dest, "arrived", said);
    qtest_qmp_assert_success(w->source->qts, "{ 'execute': 'cont' }");
    try_to_migrate(w->source, "continued", said);
    g_assert_null(check_vm_status(w->source, "running"));
    guest_quit(dest);
    world_free(w);
    return said;
}

/* A migration is refused where unmodified QEMU refuses it, in the same words */
static void test_refused(void)
{
    GString *ours = try_in_all_states(false);

    g_test_message("%s", ours->str);
    g_assert_nonnull(strstr(ours->str, "migrating: There's a migration"));
    g_assert_nonnull(strstr(ours->str, "cancelled: ;"));
    if (getenv(BG_STOCK_ENV)) {
        GString *stock = try_in_all_states(true);

        g_assert_cmpstr(ours->str, ==, stock->str);
        g_string_free(stock, true);
    }
    g_string_free(ours, true);
}

int main(int argc, char **argv)
{
    static const FaultKind kills[] = { KILL_SOURCE, KILL_DEST };
    static const FaultKind cuts[] = {
        CUT_CLOSE, STALL_CUT, CUT_SHUTDOWN, STALL_GO_ON,
    };
    static const FaultKind cancels[] = { CANCEL };
    static const FaultGroup groups[] = {
        { "skip-fault/kill", kills, ARRAY_SIZE(kills) },
        { "skip-fault/channel", cuts, ARRAY_SIZE(cuts) },
        { "skip-fault/cancel", cancels, ARRAY_SIZE(cancels) },
    };
    const struct rlimit no_core = { };
    int i;

    g_test_init(&argc, &argv, NULL);

    /*
     * A huge page would populate what is in the balloon beside it, whenever
     * the host likes.  Other tests have them.
     */
    g_assert_cmpint(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), ==, 0);
    /* Some QEMUs are to crash. */
    setrlimit(RLIMIT_CORE, &no_core);

    for (i = 0; i < ARRAY_SIZE(groups); i++) {
        qtest_add_data_func(groups[i].name, &groups[i], test_group);
    }
    qtest_add_func("skip-fault/window", test_window);
    qtest_add_func("skip-fault/window-stock", test_window_stock);
    qtest_add_func("skip-fault/refused", test_refused);
    add_place_tests();
    add_stream_tests();
    return g_test_run();
}
