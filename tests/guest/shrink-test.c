/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-balloon migrate with a real Linux guest, which has used all of its
 * memory once: with --shrink, never ballooned, and beside QMP by hand.
 * SB_SHRINK_MEMORY says how large it is, SB_SHRINK_CHANNELS through how many
 * channels of multifd it goes, SB_SHRINK_ROUNDS how often it goes to and fro by
 * hand and by the program; how long it took is in the log.
 */
#include "commands.h"
#include "harness.h"

#include <gio/gio.h>
#include <string.h>

#define TAKEN_SHARE 0.5
#define SENT_APART 0.1
/*
 * A guest of 512 MiB has some 270 MiB available, of which each step takes 64.
 * Its reserve is 64 MiB, so with half of that it is under it.
 */
#define PRESSURE_MEMORY (512 * SIZE_MIB)
#define PRESSURE_WORKSET (128 * SIZE_MIB)
#define PRESSURE_KIB (32 * 1024)
/* Nearly 300 MiB of 4 GiB. */
#define USED_SHARE 14

/* A run of the program. */
typedef struct Run {
    GSubprocess *process;
    bool ended;
    char *out;
    char *err;
} Run;

static void run_clear(Run *run)
{
    if (run->process && !run->ended) {
        g_subprocess_force_exit(run->process);
        g_subprocess_wait(run->process, NULL, NULL);
    }
    g_clear_object(&run->process);
    g_free(run->out);
    g_free(run->err);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static void on_end(GObject *object, GAsyncResult *result, gpointer opaque)
{
    Run *run = opaque;

    g_subprocess_communicate_utf8_finish(G_SUBPROCESS(object), result,
                                         &run->out, &run->err, NULL);
    run->ended = true;
}

/* A QEMU with a second monitor, for the program. */
static Vm *start(Bench *bench, const char *name, bool incoming,
                 GError **error)
{
    g_autofree char *path = session_path(bench->session, name);
    g_autofree char *qmp = g_strdup_printf("unix:%s,server=on,wait=off",
                                           path);
    const char *options[] = { "-qmp", qmp, NULL };
    Vm *vm;

    bench->config.options = options;
    vm = incoming ? bench_start(bench, name, bench->qemu, true, error) :
                    bench_boot_anew(bench, name, bench->qemu, error);
    bench->config.options = NULL;
    return vm;
}

static unsigned channels(void)
{
    const char *text = g_getenv("SB_SHRINK_CHANNELS");

    return text ? g_ascii_strtoull(text, NULL, 10) : 0;
}

/* From the monitor that has one name to that which has the other */
static bool run_start(Bench *bench, Run *run, const char *from, const char *to,
                      bool shrinks, GError **error)
{
    const char *named = g_getenv("SKIP_BALLOON_BINARY");
    const char *program = named && named[0] ? named :
                          BUILD_DIR "/bin/skip-balloon";
    g_autofree char *source = session_path(bench->session, from);
    g_autofree char *destination = session_path(bench->session, to);
    g_autofree char *path = session_path(bench->session, "m.sock");
    g_autofree char *uri = g_strconcat("unix:", path, NULL);
    g_autofree char *multifd = g_strdup_printf("--multifd=%u", channels());
    const char *argv[] = {
        program, "migrate", uri, "-q", source, "-t", destination,
        "--bandwidth", "1T", "--json", NULL, NULL, NULL
    };
    unsigned n = G_N_ELEMENTS(argv) - 3;

    if (shrinks) {
        argv[n++] = "--shrink";
    }
    if (channels()) {
        argv[n++] = multifd;
    }
    run->process = g_subprocess_newv(
        argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
        error);
    if (run->process) {
        g_subprocess_communicate_utf8_async(run->process, NULL, NULL, on_end,
                                            run);
    }
    return run->process;
}

static bool run_wait(Bench *bench, Run *run, GError **error)
{
    while (!run->ended) {
        if (!session_sleep(bench->session, 100, error)) {
            return false;
        }
    }
    g_test_message("says: %s%s", run->out, run->err);
    return true;
}

static bool check_balloon(Vm *vm, uint64_t expected, GError **error)
{
    uint64_t left;

    if (!balloon_query(vm, &left, error)) {
        return false;
    }
    FAIL_UNLESS(left == expected, "the balloon leaves the guest %"
                G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT, left,
                expected);
    return true;
}

/* ---- Moved ---- */

static int64_t number(JsonObject *object, const char *name)
{
    return json_object_get_int_member_with_default(object, name, -1);
}

static bool check_report(const Run *run, uint64_t memory, GError **error)
{
    g_autoptr(JsonNode) root = json_from_string(run->out, NULL);
    JsonObject *object, *shrink;

    FAIL_UNLESS(root && JSON_NODE_HOLDS_OBJECT(root) &&
                json_object_has_member(json_node_get_object(root), "shrink"),
                "no object with what shrinking took: %s%s", run->out,
                run->err);
    object = json_node_get_object(root);
    shrink = json_object_get_object_member(object, "shrink");
    FAIL_UNLESS(json_object_get_boolean_member_with_default(
                    object, "completed", false), "%s", run->err);
    FAIL_UNLESS(number(shrink, "taken-bytes") >= TAKEN_SHARE * memory,
                "the balloon took only %" G_GINT64_FORMAT " bytes",
                number(shrink, "taken-bytes"));
    FAIL_UNLESS(number(object, "sent-bytes") < (1 - TAKEN_SHARE) * memory,
                "%" G_GINT64_FORMAT " bytes were sent",
                number(object, "sent-bytes"));
    FAIL_UNLESS(number(shrink, "would-send-bytes-before") > memory *
                TAKEN_SHARE, "it would have been little anyhow");
    return true;
}

static void set_memory(Bench *bench)
{
    const char *text = g_getenv("SB_SHRINK_MEMORY");

    bench->config.memory = SIZE_GIB;
    if (text) {
        size_parse(text, &bench->config.memory, NULL);
    }
    bench->config.workset = bench->config.memory / USED_SHARE / SIZE_MIB *
                            SIZE_MIB;
}

static bool test_moved(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    g_auto(Run) run = { 0 };

    set_memory(bench);
    source = start(bench, "source", false, error);
    destination = source ? start(bench, "destination", true, error) : NULL;
    return destination &&
           run_start(bench, &run, "source", "destination", true, error) &&
           run_wait(bench, &run, error) &&
           check_report(&run, bench->config.memory, error) &&
           check_balloon(destination, bench->config.memory, error) &&
           bench_intact(destination, error);
}

static bool use_channels(Vm *source, Vm *destination, GError **error)
{
    return !channels() ||
           (command_set_both(source, destination, "multifd", error) &&
            command_set_parameter(source, "multifd-channels", channels(),
                                  error) &&
            command_set_parameter(destination, "multifd-channels", channels(),
                                  error));
}

/* What to compare it with: the log has how long it took. */
static bool test_unmodified(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    MigrationStats stats;

    set_memory(bench);
    source = bench_boot_anew(bench, "source", bench->stock, error);
    destination = source ? bench_start(bench, "destination", bench->stock,
                                       true, error) : NULL;
    return destination && use_channels(source, destination, error) &&
           bench_migrate(bench, source, destination, &stats, error);
}

/* ---- Beside QMP by hand ---- */

static bool go_by_hand(Bench *bench, Vm *from, Vm *to, uint64_t *sent,
                       GError **error)
{
    MigrationStats stats;

    if (!use_channels(from, to, error) ||
        !migrate_skip(from, to, bench->skip, error) ||
        !bench_migrate(bench, from, to, &stats, error)) {
        return false;
    }
    *sent = stats.transferred;
    return true;
}

static bool go_by_program(Bench *bench, const char *from, const char *to,
                          uint64_t *sent, GError **error)
{
    g_auto(Run) run = { 0 };
    g_autoptr(JsonNode) root = NULL;

    if (!run_start(bench, &run, from, to, false, error) ||
        !run_wait(bench, &run, error)) {
        return false;
    }
    root = json_from_string(run.out, NULL);
    FAIL_UNLESS(root && JSON_NODE_HOLDS_OBJECT(root), "it says: %s", run.err);
    *sent = number(json_node_get_object(root), "sent-bytes");
    return true;
}

/* Both send the same: what looks at a guest beforehand populates nothing. */
static bool test_by_hand(Bench *bench, GError **error)
{
    const char *text = g_getenv("SB_SHRINK_ROUNDS");
    unsigned hops = 2 * (text ? g_ascii_strtoull(text, NULL, 10) : 1);
    g_autoptr(Vm) vm = NULL;
    uint64_t by_hand = 0, sent;

    set_memory(bench);
    vm = start(bench, "0", false, error);
    if (!vm || !balloon_reach(bench->session, vm, bench->config.memory / 2,
                              error)) {
        return false;
    }
    for (unsigned i = 0; i < hops; i++) {
        g_autofree char *from = g_strdup_printf("%u", i);
        g_autofree char *to = g_strdup_printf("%u", i + 1);
        g_autoptr(Vm) next = start(bench, to, true, error);

        if (!next ||
            !(i % 2 ? go_by_program(bench, from, to, &sent, error)
                    : go_by_hand(bench, vm, next, &by_hand, error)) ||
            !bench_intact(next, error)) {
            return false;
        }
        FAIL_UNLESS(!(i % 2) || (sent > by_hand * (1 - SENT_APART) &&
                                 sent < by_hand * (1 + SENT_APART)),
                    "%" G_GUINT64_FORMAT " bytes were sent, and %"
                    G_GUINT64_FORMAT " by hand", sent, by_hand);
        vm_free(vm);
        vm = g_steal_pointer(&next);
    }
    return true;
}

/* ---- Under pressure ---- */

static bool poll_statistics(Vm *vm, unsigned secs, GError **error)
{
    return command_do(vm, "qom-set", error, "{\"path\": "
                      "\"/machine/peripheral/balloon0\", \"property\": "
                      "\"guest-stats-polling-interval\", \"value\": %u}",
                      secs);
}

/* Half of what the guest has left, again and again; the balloon takes, too. */
static bool fill(Vm *vm, GError **error)
{
    uint64_t kib;

    while (command_guest(vm, "mem", &kib, error, "SB MEM total=%*u free=%*u "
                         "available=%" G_GUINT64_FORMAT)) {
        g_autofree char *command = g_strdup_printf(
            "fill %" G_GUINT64_FORMAT, kib / 2 * SIZE_KIB / SIZE_MIB);
        g_autofree char *answer = NULL;

        if (kib < PRESSURE_KIB) {
            return true;
        }
        answer = guest_command(vm_guest(vm), command, error);
        if (!answer) {
            return false;
        }
    }
    return false;
}

/*
 * The guest needs its memory as soon as the balloon moves. Until it has next to
 * nothing left nobody polls its statistics: of a guest with one to one and a
 * half reserves the program would say that it has been shrunk.
 */
static bool press(Bench *bench, Vm *vm, const Run *run, GError **error)
{
    uint64_t left;

    do {
        if (!session_sleep(bench->session, 50, error) ||
            !balloon_query(vm, &left, error)) {
            return false;
        }
        FAIL_UNLESS(!run->ended, "it has ended before it took anything: %s",
                    run->err);
    } while (left == bench->config.memory);
    return poll_statistics(vm, 0, error) && fill(vm, error) &&
           poll_statistics(vm, 1, error);
}

/* Not one process of it was killed: it would have told. */
static bool test_pressure(Bench *bench, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    g_auto(Run) run = { 0 };

    bench->config.memory = PRESSURE_MEMORY;
    bench->config.workset = PRESSURE_WORKSET;
    source = start(bench, "source", false, error);
    destination = source ? start(bench, "destination", true, error) : NULL;
    if (!destination ||
        !run_start(bench, &run, "source", "destination", true, error) ||
        !press(bench, source, &run, error) ||
        !run_wait(bench, &run, error)) {
        return false;
    }
    FAIL_UNLESS(g_subprocess_get_exit_status(run.process) == 1 &&
                strstr(run.err, "cannot shrink the guest: the guest needs its "
                       "reserve: ") &&
                strstr(run.err, "; the guest has got back what the balloon"),
                "it says: %s", run.err);
    return check_balloon(source, bench->config.memory, error) &&
           bench_intact(source, error);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    bench_add("/shrink/moved", test_moved, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
    bench_add("/shrink/unmodified", test_unmodified, BACKEND_MEMFD,
              SKIP_NOTHING, NEEDS_GUEST | NEEDS_STOCK);
    bench_add("/shrink/by-hand", test_by_hand, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
    bench_add("/shrink/pressure", test_pressure, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
    return g_test_run();
}
