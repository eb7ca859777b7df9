/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-balloon migrate between real QEMUs, and what becomes of the guest when
 * the program, either QEMU, or the connection is done away with on the way.
 * SB_MIGRATE_POINTS says at how many points of a migration each of them is.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/size.h"
#include "qemu/monitor.h"
#include "tests/commands/run.h"

/* Two monitors: one is the program's, one ours. */
#define MONITORS 2
#define WAIT_US (20 * G_USEC_PER_SEC)
#define POLL_US 20000
#define USED (32 * SIZE_MIB)
/* A migration of that with so many bytes a second takes about so long. */
#define BANDWIDTH "48M"
#define POSTCOPY_BANDWIDTH (48 * SIZE_MIB)
#define WHOLE_US 900000
#define POINTS 5

static Session *session;
static char *content;

/* A QEMU. */
typedef struct Machine {
    GSubprocess *process;
    char *sockets[MONITORS];
    Monitor *monitor;           /* ours */
} Machine;

typedef struct Pair {
    Machine source;
    Machine destination;
    char *uri;
} Pair;

static const char *qemu_path(void)
{
    const char *named = g_getenv("QEMU_BINARY");

    return named && named[0] ? named : BUILD_DIR "/bin/qemu-system-x86_64";
}

static const char *stock_path(void)
{
    const char *named = g_getenv("QEMU_STOCK_BINARY");

    return named && named[0] ? named :
           BUILD_DIR "/bin/qemu-system-x86_64-stock";
}

static bool have(const char *qemu)
{
    g_autofree char *why = g_strdup_printf("there is no %s", qemu);

    if (access(qemu, X_OK)) {
        g_test_skip(why);
        return false;
    }
    return true;
}

static void append(GPtrArray *args, const char *const *more)
{
    while (*more) {
        g_ptr_array_add(args, g_strdup(*more++));
    }
}

/* Runs in the child: should a test be aborted, it goes too. */
static void set_up_child(gpointer opaque G_GNUC_UNUSED)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void machine_start(Machine *machine, const char *name,
                          const char *path, const char *const *more)
{
    g_autofree char *loader = g_strdup_printf(
        "loader,file=%s,addr=0x4000000,force-raw=on", content);
    const char *usual[] = {
        path, "-machine", "pc,memory-backend=ram0,usb=off", "-accel", "qtest",
        "-nodefaults", "-display", "none", "-vga", "none", "-m", "256M",
        "-device", loader, "-device", "virtio-balloon-pci", NULL
    };
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    append(args, usual);
    append(args, more);
    for (unsigned i = 0; i < MONITORS; i++) {
        g_autofree char *file = g_strdup_printf("%s%u.sock", name, i);

        machine->sockets[i] = command_run_file(file);
        g_ptr_array_add(args, g_strdup("-qmp"));
        g_ptr_array_add(args, g_strdup_printf("unix:%s,server=on,wait=off",
                                              machine->sockets[i]));
    }
    g_ptr_array_add(args, NULL);
    g_subprocess_launcher_set_child_setup(launcher, set_up_child, NULL, NULL);
    machine->process = g_subprocess_launcher_spawnv(
        launcher, (const char *const *)args->pdata, &error);
    g_assert_no_error(error);
}

/* Whether it is there yet; the last of its sockets is made last. */
static void machine_open(Machine *machine)
{
    MonitorAddress address = { .socket = machine->sockets[MONITORS - 1] };
    gint64 limit = g_get_monotonic_time() + WAIT_US;

    while (!machine->monitor && g_get_monotonic_time() < limit) {
        machine->monitor = monitor_open(session, &address, NULL);
        if (!machine->monitor) {
            g_usleep(POLL_US);
        }
    }
    g_assert_nonnull(machine->monitor);
}

static void machine_kill(Machine *machine)
{
    g_subprocess_force_exit(machine->process);
    g_subprocess_wait(machine->process, NULL, NULL);
}

static void machine_end(Machine *machine)
{
    monitor_free(machine->monitor);
    machine_kill(machine);
    g_object_unref(machine->process);
    for (unsigned i = 0; i < MONITORS; i++) {
        unlink(machine->sockets[i]);
        g_free(machine->sockets[i]);
    }
}

#define MEMORY "-object", "memory-backend-memfd,share=on,id=ram0,size=256M"

static void pair_start(Pair *pair, const char *source,
                       const char *destination)
{
    static const char *const here[] = { MEMORY, NULL };
    static const char *const there[] = { MEMORY, "-incoming", "defer", NULL };
    g_autofree char *path = command_run_file("m.sock");

    memset(pair, 0, sizeof(*pair));
    pair->uri = g_strconcat("unix:", path, NULL);
    machine_start(&pair->source, "s", source, here);
    machine_start(&pair->destination, "d", destination, there);
    machine_open(&pair->source);
    machine_open(&pair->destination);
}

static void pair_end(Pair *pair)
{
    machine_end(&pair->source);
    machine_end(&pair->destination);
    unlink(pair->uri + strlen("unix:"));
    g_free(pair->uri);
}

/* A text that an end says; NULL if its QEMU has ended. */
static char *ask(const Machine *machine, const char *command, const char *name)
{
    g_autoptr(JsonNode) answer =
        monitor_execute(machine->monitor, command, NULL, NULL);

    return answer ? g_strdup(json_object_get_string_member_with_default(
        json_node_get_object(answer), name, "")) : NULL;
}

static bool runs(const Machine *machine)
{
    g_autofree char *status = ask(machine, "query-status", "status");

    return !g_strcmp0(status, "running");
}

/* Of a source: nothing of a migration is under way. */
static bool is_still(const Machine *machine)
{
    static const char *const still[] = {
        "", "none", "completed", "failed", "cancelled", "postcopy-paused",
    };
    g_autofree char *status = ask(machine, "query-migrate", "status");

    for (unsigned i = 0; status && i < G_N_ELEMENTS(still); i++) {
        if (!strcmp(status, still[i])) {
            return true;
        }
    }
    return !status;
}

static GSubprocess *start(const Pair *pair, const char *const *more)
{
    g_autoptr(GSubprocessLauncher) launcher =
        command_run_launcher(COMMAND_RUN_PIPES);
    const char *args[16] = {
        pair->uri, "-q", pair->source.sockets[0], "-t",
        pair->destination.sockets[0], "--bandwidth", BANDWIDTH,
        "--downtime", "10",
    };
    unsigned n = 9;

    while (more && *more) {
        args[n++] = *more++;
    }
    return command_run_spawn(launcher, args);
}

static void move(const Pair *pair, const char *const *more, Outcome *outcome)
{
    g_autoptr(GSubprocess) process = start(pair, more);

    command_run_finish(process, outcome);
}

#define OPTIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* ---- As it should be ---- */

static void check_moved(const char *source, const char *destination,
                        const char *const *more, const char *says)
{
    g_auto(Outcome) outcome = { 0 };
    Pair pair;

    if (!have(source) || !have(destination)) {
        return;
    }
    pair_start(&pair, source, destination);
    move(&pair, more, &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.out, says);
    g_assert_false(runs(&pair.source));
    g_assert_true(runs(&pair.destination));
    pair_end(&pair);
}

static void test_moved(void)
{
    check_moved(qemu_path(), qemu_path(), NULL,
                "\nskip-unpopulated skipped 22");
}

static void test_multifd(void)
{
    check_moved(qemu_path(), qemu_path(), OPTIONS("--multifd", "2"),
                "The guest runs at the destination");
}

static void test_to_stock(void)
{
    check_moved(qemu_path(), stock_path(), NULL, "goes without skip-balloon");
}

static void test_from_stock(void)
{
    check_moved(stock_path(), qemu_path(), NULL, "goes without skip-unpop");
}

static void test_json(void)
{
    check_moved(qemu_path(), qemu_path(), OPTIONS("--json"),
                "{\"completed\":true,\"runs-at\":\"destination\",");
}

/* Not even a capability is set. */
static void test_dry_run(void)
{
    g_auto(Outcome) outcome = { 0 };
    g_autoptr(JsonNode) before = NULL;
    g_autoptr(JsonNode) after = NULL;
    Pair pair;

    if (!have(qemu_path())) {
        return;
    }
    pair_start(&pair, qemu_path(), qemu_path());
    before = monitor_execute(pair.source.monitor, "query-migrate-capabilities",
                             NULL, NULL);
    move(&pair, OPTIONS("--dry-run"), &outcome);
    after = monitor_execute(pair.source.monitor, "query-migrate-capabilities",
                            NULL, NULL);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.out, "A migration now");
    g_assert_true(before && after && json_node_equal(before, after));
    g_assert_true(runs(&pair.source));
    pair_end(&pair);
}

/* An unmodified QEMU may populate all of it, which no host has. */
static void test_memory(void)
{
    static const char *const here[] = {
        "-m", "8T", "-cpu", "max,phys-bits=46", "-object",
        "memory-backend-ram,reserve=off,id=ram0,size=8T", NULL
    };
    static const char *const there[] = {
        "-m", "8T", "-cpu", "max,phys-bits=46", "-object",
        "memory-backend-ram,reserve=off,id=ram0,size=8T", "-incoming",
        "defer", NULL
    };
    g_auto(Outcome) outcome = { 0 };
    Pair pair = { .uri = g_strdup("unix:nowhere") };

    if (!have(stock_path())) {
        g_free(pair.uri);
        return;
    }
    machine_start(&pair.source, "s", stock_path(), here);
    machine_start(&pair.destination, "d", stock_path(), there);
    machine_open(&pair.source);
    machine_open(&pair.destination);
    move(&pair, NULL, &outcome);
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.err, "is on this host, which has ");
    assert_contains(outcome.err, "and the guest may take 8 TiB there: free");
    g_assert_true(runs(&pair.source));
    pair_end(&pair);
}

/* ---- Done away with ---- */

typedef enum Victim {
    PROGRAM_KILLED,
    PROGRAM_INTERRUPTED,
    PROGRAM_TERMINATED,
    SOURCE_KILLED,
    DESTINATION_KILLED,
    SOURCE_YANKED,              /* shuts down its end of the connection */
    DESTINATION_YANKED,
    VICTIMS
} Victim;

static const char *const victim_names[] = {
    "program-killed", "program-interrupted", "program-terminated",
    "source-killed", "destination-killed", "source-yanked",
    "destination-yanked",
};

static void yank(const Machine *machine)
{
    static const char text[] = "{\"instances\": [{\"type\": \"migration\"}]}";
    g_autoptr(JsonNode) instances = json_from_string(text, NULL);
    g_autoptr(JsonNode) answer = monitor_execute(
        machine->monitor, "yank",
        json_object_ref(json_node_get_object(instances)), NULL);
}

static void strike(Pair *pair, GSubprocess *program, Victim victim)
{
    switch (victim) {
    case PROGRAM_KILLED:
        g_subprocess_send_signal(program, SIGKILL);
        break;
    case PROGRAM_INTERRUPTED:
        /* Whoever is impatient gets no other answer. */
        while (g_subprocess_get_identifier(program)) {
            g_subprocess_send_signal(program, SIGINT);
            g_usleep(1000);
        }
        break;
    case PROGRAM_TERMINATED:
        g_subprocess_send_signal(program, SIGTERM);
        break;
    case SOURCE_KILLED:
        machine_kill(&pair->source);
        break;
    case DESTINATION_KILLED:
        machine_kill(&pair->destination);
        break;
    case SOURCE_YANKED:
        yank(&pair->source);
        break;
    default:
        yank(&pair->destination);
        break;
    }
}

/*
 * What it says is so. It need not say where if nothing has begun; a signal may
 * come before it listens for any; and once it has ended the destination may be
 * killed.
 */
static void check_said(const Outcome *outcome, bool here, bool there)
{
    g_autofree char *said = g_strconcat(outcome->out, outcome->err, NULL);

    if (strstr(said, "nothing has moved: ") ||
        (outcome->status < 0 && !said[0])) {
        g_assert_false(there);
        return;
    }
    if (!outcome->status) {
        assert_contains(said, "The guest runs at the destination, ");
        g_assert_false(here);
        return;
    }
    g_assert_cmpint(!!strstr(said, "guest runs at the source, "), ==, here);
    g_assert_cmpint(!!strstr(said, "guest runs at the destination, "), ==,
                    there);
    g_assert_cmpint(!!strstr(said, "guest runs nowhere: "), ==,
                    !here && !there);
}

/* A guest ends with its QEMU; else it runs. */
static void check_one(const Pair *pair, Victim victim, const Outcome *outcome)
{
    gint64 limit = g_get_monotonic_time() + WAIT_US;
    bool here, there;

    while (!is_still(&pair->source) && g_get_monotonic_time() < limit) {
        g_usleep(POLL_US);
    }
    /* The program has seen to that; without it QEMU does. */
    do {
        here = runs(&pair->source);
        there = runs(&pair->destination);
    } while (victim == PROGRAM_KILLED && !here && !there &&
             g_get_monotonic_time() < limit);
    g_test_message("runs %d %d", here, there);
    g_assert_false(here && there);
    if (victim != SOURCE_KILLED && victim != DESTINATION_KILLED) {
        g_assert_true(here || there);
    }
    if (victim != PROGRAM_KILLED) {
        check_said(outcome, here, there);
    }
}

static void limit_postcopy(const Machine *machine)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) answer = NULL;

    json_object_set_int_member(arguments, "max-postcopy-bandwidth",
                               POSTCOPY_BANDWIDTH);
    answer = monitor_execute(machine->monitor, "migrate-set-parameters",
                             arguments, NULL);
    g_assert_nonnull(answer);
}

static void check_point(Victim victim, gulong us, const char *const *more)
{
    g_autoptr(GSubprocess) program = NULL;
    g_auto(Outcome) outcome = { 0 };
    Pair pair;

    pair_start(&pair, qemu_path(), qemu_path());
    limit_postcopy(&pair.source);
    program = start(&pair, more);
    g_usleep(us);
    g_test_message("%s after %lu us", victim_names[victim], us);
    strike(&pair, program, victim);
    command_run_finish(program, &outcome);
    check_one(&pair, victim, &outcome);
    pair_end(&pair);
}

static unsigned points(void)
{
    const char *number = g_getenv("SB_MIGRATE_POINTS");

    return number ? g_ascii_strtoull(number, NULL, 10) : POINTS;
}

static void check_points(Victim victim, const char *const *more)
{
    if (!have(qemu_path())) {
        return;
    }
    for (unsigned i = 0; i < points(); i++) {
        check_point(victim, (i + 1) * WHOLE_US / points(), more);
    }
}

static void test_precopy(gconstpointer victim)
{
    check_points(GPOINTER_TO_INT(victim), NULL);
}

/* It needs userfaultfd. */
static void test_postcopy(gconstpointer victim)
{
    if (geteuid()) {
        g_test_skip("postcopy may need to be root");
        return;
    }
    check_points(GPOINTER_TO_INT(victim),
                 OPTIONS("--postcopy-after", "0"));
}

static void make_content(void)
{
    g_autofree char *data = g_malloc(USED);
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < USED; i++) {
        data[i] = 1 + i % 251;
    }
    content = command_run_file("content");
    g_file_set_contents(content, data, USED, &error);
    g_assert_no_error(error);
}

static void add_victims(const char *prefix, GTestDataFunc func)
{
    for (unsigned i = 0; i < VICTIMS; i++) {
        g_autofree char *path = g_strconcat(prefix, victim_names[i], NULL);

        g_test_add_data_func(path, GINT_TO_POINTER(i), func);
    }
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    command_run_init("migrate");
    session = session_new(NULL, 20, NULL);
    make_content();
    g_test_add_func("/migrate/moved", test_moved);
    g_test_add_func("/migrate/multifd", test_multifd);
    g_test_add_func("/migrate/to-stock", test_to_stock);
    g_test_add_func("/migrate/from-stock", test_from_stock);
    g_test_add_func("/migrate/json", test_json);
    g_test_add_func("/migrate/dry-run", test_dry_run);
    g_test_add_func("/migrate/memory", test_memory);
    add_victims("/migrate/precopy/", test_precopy);
    add_victims("/migrate/postcopy/", test_postcopy);
    status = g_test_run();
    unlink(content);
    g_free(content);
    session_free(session);
    return command_run_end(status);
}
