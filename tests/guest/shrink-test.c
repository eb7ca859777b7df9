/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-balloon migrate --shrink with a real Linux guest, which has used all of
 * its memory once and was never ballooned. SB_SHRINK_MEMORY says how large it
 * is; how long it took is in the log.
 */
#include "harness.h"

#include <gio/gio.h>
#include <string.h>

#define TAKEN_SHARE 0.5
/*
 * What is left to a guest that is shrunk, 96 MiB, is under its reserve of 64
 * after one such step, and not gone after two. Statistics come each second.
 */
#define FILL_MIB 40
#define FILL_MS 600
#define FILL_BELOW 0.6
#define PRESSURE_TRIES 4
#define PRESSURE_STALL_SECS 30
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

static bool run_start(Bench *bench, Run *run, GError **error)
{
    const char *named = g_getenv("SKIP_BALLOON_BINARY");
    const char *program = named && named[0] ? named :
                          BUILD_DIR "/bin/skip-balloon";
    g_autofree char *source = session_path(bench->session, "source");
    g_autofree char *destination = session_path(bench->session,
                                                "destination");
    g_autofree char *path = session_path(bench->session, "m.sock");
    g_autofree char *uri = g_strconcat("unix:", path, NULL);

    run->process = g_subprocess_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
        error, program, "migrate", uri, "-q", source, "-t", destination,
        "--bandwidth", "1T", "--shrink", "--json", NULL);
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
    return destination && run_start(bench, &run, error) &&
           run_wait(bench, &run, error) &&
           check_report(&run, bench->config.memory, error) &&
           check_balloon(destination, bench->config.memory, error) &&
           bench_intact(destination, error);
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
    return destination &&
           bench_migrate(bench, source, destination, &stats, error);
}

/* ---- Under pressure ---- */

/* Whatever it has left, more and more, until the program has had enough. */
static bool press(Bench *bench, Vm *vm, const Run *run, GError **error)
{
    uint64_t left;

    while (!run->ended) {
        g_autofree char *answer = NULL;

        if (!session_sleep(bench->session, FILL_MS, error) ||
            !balloon_query(vm, &left, error)) {
            return false;
        }
        if (left < FILL_BELOW * bench->config.memory) {
            answer = guest_command(vm_guest(vm),
                                   "fill " G_STRINGIFY(FILL_MIB), error);
            if (!answer) {
                return false;
            }
        }
    }
    return true;
}

/*
 * Not one process of it was killed: it would have told. Sets @late if the guest
 * had been shrunk, and had moved, before it needed more.
 */
static bool try_pressure(Bench *bench, bool *late, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;
    g_auto(Run) run = { 0 };
    g_autoptr(GError) failure = NULL;

    source = start(bench, "source", false, error);
    destination = source ? start(bench, "destination", true, error) : NULL;
    if (!destination || !run_start(bench, &run, error)) {
        return false;
    }
    if (!press(bench, source, &run, &failure) && !run.ended) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!run_wait(bench, &run, error)) {
        return false;
    }
    *late = !g_subprocess_get_exit_status(run.process);
    if (*late || failure) {
        if (!*late) {
            g_propagate_error(error, g_steal_pointer(&failure));
        }
        return *late;
    }
    FAIL_UNLESS(g_subprocess_get_exit_status(run.process) == 1 &&
                strstr(run.err, "cannot shrink the guest: ") &&
                strstr(run.err, "; the guest has got back what the balloon"),
                "it says: %s", run.err);
    return check_balloon(source, bench->config.memory, error) &&
           bench_intact(source, error);
}

static bool test_pressure(Bench *bench, GError **error)
{
    bool late = true;

    bench->config.memory = SIZE_GIB;
    /* For this long an answer is waited for of a guest that has moved. */
    bench->session->stall_secs = PRESSURE_STALL_SECS;
    for (unsigned i = 0; late && i < PRESSURE_TRIES; i++) {
        if (!try_pressure(bench, &late, error)) {
            return false;
        }
    }
    FAIL_UNLESS(!late, "it was always shrunk before it needed more");
    return true;
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    bench_add("/shrink/moved", test_moved, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
    bench_add("/shrink/unmodified", test_unmodified, BACKEND_MEMFD,
              SKIP_NOTHING, NEEDS_GUEST | NEEDS_STOCK);
    bench_add("/shrink/pressure", test_pressure, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST);
    return g_test_run();
}
