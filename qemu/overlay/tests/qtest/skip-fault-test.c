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
#include <sys/resource.h>
#include "qobject/qdict.h"
#include "skip-fault.h"

/* Bytes that surely fit into the small buffer of the source's socket */
#define SURELY_WRITTEN 64

/* More bytes than world_work() makes QEMU send in the end, the guest stopped */
#define WORK_BYTES (2 * MiB)

typedef enum FaultKind {
    KILL_SOURCE,
    KILL_DEST,
    CUT_CLOSE,
    CUT_SHUTDOWN,
    STALL_CUT,
    STALL_GO_ON,
    CANCEL,
} FaultKind;

/* What comes after the fault, if the source runs the guest */
typedef enum Next {
    NOTHING,                    /* but the next case */
    ONWARD,                     /* it migrates at once */
    PLAIN,                      /* the same without our capabilities */
} Next;

typedef struct FaultCase {
    FaultKind kind;
    RelayPoint point;
    bool return_path;
    bool roomy;                 /* a large buffer: more is written already */
    Next next;
} FaultCase;

/* ---- Where the guest has to be ---- */

static bool dest_runs(const FaultCase *c)
{
    return c->kind == STALL_GO_ON ||
           (c->point.anchor == RELAY_EOF && c->point.offset >= 1 &&
            c->kind != KILL_DEST);
}

static bool source_completes(const World *w, const FaultCase *c)
{
    return c->kind == STALL_GO_ON ||
           (!c->return_path && c->point.anchor == RELAY_EOF &&
            (c->roomy ||
             w->eof + c->point.offset + SURELY_WRITTEN >= w->end));
}

/* May the main loop of the source be asked something at this point? */
static bool source_listens(const World *w, const FaultCase *c)
{
    return c->point.anchor == RELAY_START &&
           c->point.offset + WORK_BYTES < w->eof;
}

/* ---- The fault ---- */

static void assert_migrates_not(BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'migrate', 'arguments': {"
                           " 'uri': 'exec:true' } }");

    g_assert_true(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
}

static void stall(World *w, const FaultCase *c)
{
    int i;

    for (i = 0; i < 12; i++) {
        g_usleep(10000);
        if (source_listens(w, c)) {
            bg_assert_vm_status(w->source, "running");
            assert_migrates_not(w->source);
        }
    }
}

static void cancel(World *w, const FaultCase *c, StreamRelay *relay)
{
    g_autofree char *status = NULL;

    if (source_completes(w, c)) {
        g_free(source_settle(w->source));
    }
    qtest_qmp_send(w->source->qts, "{ 'execute': 'migrate_cancel' }");
    if (!source_listens(w, c)) {
        /* It may be waiting for the stream to go on. */
        relay_free(relay);
        qobject_unref(qtest_qmp_receive(w->source->qts));
        return;
    }
    qobject_unref(qtest_qmp_receive(w->source->qts));
    /* Cancelling needs nothing of the other side. */
    status = source_settle(w->source);
    relay_free(relay);
    /*
     * QEMU shuts the return path down first, which may be seen as an error
     * before it is told that this is on purpose.
     */
    if (!c->return_path || strcmp(status, "failed")) {
        g_assert_cmpstr(status, ==, "cancelled");
    }
}

/* Frees @relay, and those who are killed */
static void do_fault(World *w, const FaultCase *c, StreamRelay *relay,
                     BGuest **dest)
{
    if (c->roomy) {
        /* It writes all it has, and is content. */
        g_free(source_settle(w->source));
    }
    switch (c->kind) {
    case KILL_SOURCE:
        memcpy((*dest)->queue, w->source->queue, sizeof((*dest)->queue));
        bg_kill(w->source);
        w->source = NULL;
        break;
    case KILL_DEST:
        bg_kill(*dest);
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
        cancel(w, c, relay);
        return;
    default:
        break;
    }
    relay_free(relay);
}

/* Migrate up to the point, with the guest working before. */
static void migrate_to_point(World *w, const FaultCase *c, StreamRelay *relay)
{
    bool early = c->point.anchor == RELAY_START &&
                 c->point.offset <= WORK_POINT.offset;

    source_migrate(w, "fd:relay", c->return_path);
    relay_until(relay, early ? c->point : WORK_POINT, RELAY_HOLD);
    g_assert_true(relay_wait(relay));
    world_work(w);
    if (early) {
        /*
         * QEMU waits to write the first pages that are in use, and reads them
         * once it can.
         */
        bm_touch(w->model, USED_START, MiB / 8);
    }
    relay_until(relay, c->point, c->kind == CUT_CLOSE ? RELAY_CLOSE :
                                 c->kind == CUT_SHUTDOWN ? RELAY_SHUTDOWN
                                                         : RELAY_HOLD);
    g_assert_true(relay_wait(relay));
}

/* ---- What is left ---- */

/* The source has ended its migration. */
static void check_source(World *w, const FaultCase *c, bool dest_alive)
{
    g_autofree char *status = source_settle(w->source);

    if (source_completes(w, c)) {
        g_assert_cmpstr(status, ==, "completed");
        bg_assert_vm_status(w->source, "postmigrate");
        /* A guest that has left does not migrate again. */
        assert_migrates_not(w->source);
        if (!dest_alive) {
            /* It has the guest still, and somebody has to say so. */
            qtest_qmp_assert_success(w->source->qts, "{ 'execute': 'cont' }");
        }
    } else if (c->kind != CANCEL || strcmp(status, "cancelled")) {
        g_assert_cmpstr(status, ==, "failed");
    }
    if (!source_completes(w, c) || !dest_alive) {
        bg_assert_vm_status(w->source, "running");
    }
    world_check(w, w->source, false);
}

/* Takes @dest unless NULL */
static void check_after(World *w, const FaultCase *c, BGuest *dest)
{
    if (dest && dest_runs(c)) {
        dest_wait_completed(w, dest);
        bg_assert_vm_status(dest, "running");
        world_check(w, dest, true);
    } else if (dest) {
        dest_wait_failed(dest);
        dest = NULL;
    }
    if (w->source) {
        check_source(w, c, dest);
    }
    if (dest && (!w->source || source_completes(w, c))) {
        world_succeed(w, dest);
    } else if (dest) {
        guest_quit(dest);
    }
}

static void run_case(World *w, const FaultCase *c)
{
    static const char *const kinds[] = {
        "kill source", "kill destination", "close", "shutdown",
        "stall and cut", "stall and go on", "cancel",
    };
    static const char *const anchors[] = { "", "last part + ", "end + " };
    BGuest *dest, *next;
    StreamRelay *relay;

    bg_step("%s at %s%" PRIu64 ", %s%s%s", kinds[c->kind],
                   anchors[c->point.anchor], c->point.offset,
                   w->options.backend == BG_MEMFD ? "memfd" : "anon",
                   c->return_path ? ", return-path" : "",
                   c->roomy ? ", large buffer" : "");
    world_prepare(w);
    dest = dest_new(w, NULL);
    next = c->next ? dest_new(w, NULL) : NULL;
    relay = relay_new(w->source, dest->socket, c->roomy);
    migrate_to_point(w, c, relay);
    do_fault(w, c, relay, &dest);
    check_after(w, c, dest);
    if (next && w->source) {
        world_small_work(w);
        world_onward(w, next, c->next == PLAIN);
    } else if (next) {
        guest_quit(next);
    }
}

/* ---- Groups of cases ---- */

#define SPREAD 5

/* Points that cannot be missed, and some that are spread over memory */
static GArray *make_points(const World *w)
{
    const uint64_t start[] = {
        0, 1, 4, 8, w->setup_start, w->setup_start + 1, w->setup_start + 18,
        w->setup_start + 30, (w->setup_start + w->setup_end) / 2,
        w->setup_end - 1, w->setup_end,
    };
    const uint64_t state = w->eof - w->final;
    const uint64_t final[] = {
        0, 1, 5, 9, 16, 20, state / 4, state / 2, state * 3 / 4, state - 1,
    };
    const uint64_t eof[] = { 0, 1, w->end - w->eof - 1, w->end - w->eof };
    GArray *points = g_array_new(false, true, sizeof(RelayPoint));
    RelayPoint point;
    int i;

    for (i = 0; i < ARRAY_SIZE(start); i++) {
        point = (RelayPoint) { RELAY_START, start[i] };
        g_array_append_val(points, point);
    }
    for (i = 1; i <= SPREAD; i++) {
        point = (RelayPoint) { RELAY_START, w->setup_end + i *
                               (w->final - w->setup_end) / (SPREAD + 1) };
        g_array_append_val(points, point);
    }
    for (i = 0; i < ARRAY_SIZE(final); i++) {
        point = (RelayPoint) { RELAY_FINAL, final[i] };
        g_array_append_val(points, point);
    }
    for (i = 0; i < ARRAY_SIZE(eof); i++) {
        point = (RelayPoint) { RELAY_EOF, eof[i] };
        g_array_append_val(points, point);
    }
    return points;
}

/* The kinds of faults by turns, ends with CANCEL */
static void test_group(gconstpointer data)
{
    const FaultKind *kinds = data;
    GArray *points[] = {
        make_points(world_get(BG_ANON, false)),
        make_points(world_get(BG_MEMFD, false)),
    };
    int i, n = 1;

    while (kinds[n - 1] != CANCEL) {
        n++;
    }
    n = MAX(n - 1, 1);
    for (i = 0; i < points[0]->len; i++) {
        BGBackend backend = i / n % 2 ? BG_MEMFD : BG_ANON;
        FaultCase c = {
            .kind = kinds[i % n],
            .point = g_array_index(points[i / n % 2], RelayPoint, i),
            .return_path = i / n / 2 % 2,
            .next = i % 5 == 4 ? PLAIN : i % 3 ? ONWARD : NOTHING,
        };

        run_case(world_get(backend, false), &c);
    }
    g_array_unref(points[0]);
    g_array_unref(points[1]);
}

/* All kinds of faults in the window where both or neither may run the guest */
static void check_window(bool stock)
{
    static const FaultKind kinds[] = {
        KILL_SOURCE, KILL_DEST, CUT_CLOSE, CANCEL,
    };
    World *w = world_get(BG_ANON, stock);
    const uint64_t eof[] = { 0, 1, w->end - w->eof - 1, w->end - w->eof };
    int i, j;

    for (i = 0; i < (stock ? 2 : ARRAY_SIZE(eof)); i++) {
        for (j = 0; j < 2 * ARRAY_SIZE(kinds); j++) {
            FaultCase c = {
                .kind = kinds[j / 2],
                .point = { RELAY_EOF, eof[i] },
                .return_path = j % 2,
                .next = stock || (i + j) % 2 ? NOTHING : ONWARD,
            };

            run_case(w, &c);
        }
    }
    /* The destination has not got all, but the source is content. */
    for (j = 0; j < 2; j++) {
        FaultCase c = {
            .kind = j ? STALL_CUT : KILL_DEST,
            .point = { RELAY_EOF, 0 },
            .roomy = true,
            .next = ONWARD,
        };

        run_case(w, &c);
    }
}

static void test_window(void)
{
    check_window(false);
}

static void test_window_stock(void)
{
    if (bg_stock_or_skip()) {
        check_window(true);
    }
}

int main(int argc, char **argv)
{
    static const FaultKind kills[] = { KILL_SOURCE, KILL_DEST, CANCEL };
    static const FaultKind cuts[] = {
        CUT_CLOSE, STALL_CUT, CUT_SHUTDOWN, STALL_GO_ON, CANCEL,
    };
    static const FaultKind cancels[] = { CANCEL };
    const struct rlimit no_core = { };
    int ret;

    bg_init(&argc, &argv);

    /* Some QEMUs are to crash. */
    setrlimit(RLIMIT_CORE, &no_core);

    qtest_add_data_func("skip-fault/kill", kills, test_group);
    qtest_add_data_func("skip-fault/channel", cuts, test_group);
    qtest_add_data_func("skip-fault/cancel", cancels, test_group);
    qtest_add_func("skip-fault/window", test_window);
    qtest_add_func("skip-fault/window-stock", test_window_stock);
    add_place_tests();
    ret = g_test_run();
    worlds_free();
    return ret;
}
