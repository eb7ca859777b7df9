/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-balloon migrate --domain, with two libvirts of libvirt's test driver and
 * a made-up QEMU; tests/qemu/fake-libvirt.c has them migrate.
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

#include "tests/commands/run.h"
#include "tests/commands/status-replies.h"

#if defined(FAKE_LIBVIRT) && !defined(__SANITIZE_ADDRESS__)

#include <libvirt/libvirt.h>

#define DONE "\"return\": {}"
#define ACTIVE "\"return\": {\"status\": \"active\"}"
#define COMPLETED "\"return\": {\"status\": \"completed\", \"total-time\": " \
    "1234, \"downtime\": 56, \"ram\": {\"transferred\": 2097152, " \
    "\"dirty-sync-count\": 3}, \"skip-balloon\": {\"status\": \"active\", " \
    "\"skipped-bytes\": 1048576}}"

/* Two hosts, of which one runs a domain. */
static const char here[] = "<node><domain type='test'><name>vm</name>"
    "<uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>"
    "<memory>8388608</memory><os><type>hvm</type></os>"
    "<devices><emulator>/nowhere/qemu</emulator></devices></domain></node>";
static const char there[] = "<node></node>";

static char *here_file;
static char *there_file;
static char *here_uri;
static char *there_uri;

static const FakeReply usual[] = {
    { "query-status", NULL, "\"return\": {\"status\": \"running\", "
      "\"running\": true}", NULL },
    { "migrate-set-capabilities", NULL, DONE, NULL },
    { "migrate-set-parameters", NULL, DONE, NULL },
    { "query-migrate", NULL, ACTIVE, "migrate-domain" },
    { NULL, NULL, NULL, NULL }
};

#define MAX_REPLIES 48

static FakeReply table[MAX_REPLIES];

static FakeQmp *serve(const FakeReply *first)
{
    const FakeReply *const parts[] = { first, usual, status_replies_table() };
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        for (const FakeReply *reply = parts[i]; reply->command; reply++) {
            g_assert_cmpuint(n, <, MAX_REPLIES - 1);
            table[n++] = *reply;
        }
    }
    memset(&table[n], 0, sizeof(table[n]));
    return fake_qmp_new_table(command_run_socket(), table);
}

static GSubprocessLauncher *make_launcher(const char *mode)
{
    GSubprocessLauncher *launcher = command_run_launcher(COMMAND_RUN_PIPES);

    g_subprocess_launcher_setenv(launcher, "LD_PRELOAD", FAKE_LIBVIRT, TRUE);
    g_subprocess_launcher_setenv(launcher, "SB_FAKE_LIBVIRT",
                                 command_run_socket(), TRUE);
    g_subprocess_launcher_setenv(launcher, "SB_FAKE_MIGRATE", mode, TRUE);
    return launcher;
}

/* How a run ended, and what QEMU and libvirt were told. */
typedef struct Trial {
    Outcome outcome;
    char *told;
} Trial;

static void trial_clear(Trial *trial)
{
    outcome_clear(&trial->outcome);
    g_free(trial->told);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trial, trial_clear)

/* @memory: free at the destination, in KiB; NULL: not told */
static void try_with(Trial *trial, const char *mode, const char *memory,
                     const FakeReply *first, const char *const *more)
{
    const char *args[16] = { there_uri, "-d", "vm", "-c", here_uri };
    unsigned n = 5;
    g_autoptr(GSubprocessLauncher) launcher = make_launcher(mode);
    FakeQmp *fake = serve(first);

    if (memory) {
        g_subprocess_launcher_setenv(launcher, "SB_FAKE_MEMORY", memory,
                                     TRUE);
    }
    while (*more) {
        args[n++] = *more++;
    }
    command_run_with(launcher, args, &trial->outcome);
    trial->told = fake_qmp_end(fake);
}

#define OPTIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define FIRST(...) ((const FakeReply[]) { __VA_ARGS__, { 0 } })
#define USUAL FIRST({ 0 })

static void try(Trial *trial, const char *mode, const char *const *more)
{
    try_with(trial, mode, "1048576", USUAL, more);
}

static void assert_failed(const Trial *trial, const char *complaint)
{
    g_assert_cmpint(trial->outcome.status, ==, 1);
    assert_contains(trial->outcome.err, complaint);
}

static void assert_no(const char *text, const char *part)
{
    if (strstr(text, part)) {
        g_test_fail_printf("'%s' in '%s'", part, text);
    }
}

/* What was on stays on, what was turned on is off again. */
#define TURNED_BACK "{\"capability\":\"skip-unpopulated\",\"state\":false}"

/* ---- Before anything moves ---- */

static void test_usage(void)
{
    static const struct {
        const char *args[7];
        const char *complaint;
    } bad[] = {
        { { "-d", "vm", "-t", "s", "u" }, "--to-qmp is for a --qmp; a domai" },
        { { "-q", "s", "u", "--tls" }, "are for a --domain" },
        { { "-q", "s", "u", "--persistent" }, "are for a --domain" },
        { { "-q", "s", "u", "--undefine-source" }, "are for a --domain" },
        { { "-q", "s", "u", "--migrateuri", "tcp://h" }, "are for a --domain" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(Outcome) outcome = { 0 };

        command_run(bad[i].args, &outcome);
        g_assert_cmpint(outcome.status, ==, 2);
        assert_contains(outcome.err, bad[i].complaint);
    }
}

static void test_refused(void)
{
    g_auto(Trial) nowhere = { 0 };
    g_auto(Trial) same = { 0 };
    g_auto(Trial) emulator = { 0 };
    g_auto(Trial) memory = { 0 };
    g_auto(Trial) state = { 0 };
    g_auto(Trial) xml = { 0 };
    g_auto(Trial) paused = { 0 };
    char *uri = there_uri;

    there_uri = "test:///nowhere";
    try(&nowhere, "moves", OPTIONS(NULL));
    assert_failed(&nowhere, "nothing has moved: cannot reach the libvirt of "
                  "the destination, 'test:///nowhere': ");
    there_uri = here_uri;
    try(&same, "moves", OPTIONS(NULL));
    assert_failed(&same, "' is active already: name the libvirt of another");
    there_uri = uri;
    try(&emulator, "no-emulator", OPTIONS("-n"));
    assert_failed(&emulator, "the emulator '/nowhere/qemu': it cannot be run "
                  "there: no such file");
    assert_contains(emulator.told, "\"/nowhere/qemu\"");
    try_with(&memory, "moves", "15", USUAL, OPTIONS("-n"));
    assert_failed(&memory, "the host has 79 KiB of memory left, and the guest "
                  "may take 80 KiB there: free some, or shrink the guest");
    try(&state, "no-state", OPTIONS("-n"));
    assert_failed(&state, "nothing has moved: domain 'vm' at 'test://");
    assert_contains(state.outcome.err, "': libvirt does not tell of it: ");
    try(&xml, "no-xml", OPTIONS("-n"));
    assert_failed(&xml, "nothing has moved: domain 'vm': libvirt does not "
                  "tell of it: not today\n");
    try_with(&paused, "moves", NULL, FIRST({ "query-status", NULL,
             "\"return\": {\"status\": \"paused\"}", NULL }), OPTIONS(NULL));
    assert_failed(&paused, "domain 'vm' does not run its guest, which is ");
    assert_no(paused.told, "migrate-domain");
    assert_no(same.told, "migrate-domain");
    assert_no(same.told, "migrate-set-capabilities");
}

static void test_notes(void)
{
    g_auto(Trial) plan = { 0 };
    g_auto(Trial) little = { 0 };
    g_auto(Trial) unknown = { 0 };
    g_auto(Trial) strict = { 0 };

    try(&plan, "moves", OPTIONS("-n"));
    g_assert_cmpint(plan.outcome.status, ==, 0);
    assert_contains(plan.outcome.out,
                    "turned on     skip-balloon and skip-unpopulated\n");
    assert_contains(plan.outcome.out, "cannot be asked before it runs: one "
                    "that does not know skip-balloon refuses, and the guest "
                    "goes without\n");
    assert_no(plan.outcome.out, "memory at the destination");
    try_with(&little, "moves", "16", USUAL, OPTIONS("-n"));
    g_assert_cmpint(little.outcome.status, ==, 0);
    assert_contains(little.outcome.out, "the guest may take 80 KiB of memory "
                    "at the destination, which has 16 KiB free, and up to 80 "
                    "KiB with what its caches give back\n");
    try_with(&unknown, "moves", NULL, USUAL, OPTIONS("-n"));
    assert_contains(unknown.outcome.out, "whether the destination has memory "
                    "enough is not known\n");
    try(&strict, "moves", OPTIONS("-n", "--strict"));
    assert_contains(strict.outcome.out, "and the guest stays where it is\n");
}

/* ---- How it ends ---- */

static void test_moves(void)
{
    const unsigned flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER;
    g_autofree char *plain = g_strdup_printf("\"flags\": %u}", flags);
    g_autofree char *all = g_strdup_printf("\"flags\": %u}", flags |
        VIR_MIGRATE_PARALLEL | VIR_MIGRATE_TLS | VIR_MIGRATE_PERSIST_DEST |
        VIR_MIGRATE_UNDEFINE_SOURCE);
    g_auto(Trial) usual_way = { 0 };
    g_auto(Trial) each = { 0 };

    try(&usual_way, "moves", OPTIONS(NULL));
    g_assert_cmpint(usual_way.outcome.status, ==, 0);
    /* As libvirt counts it: QEMU was not seen to complete. */
    assert_contains(usual_way.outcome.out, "Completed in 4321 ms, with the "
                    "guest stopped for 21 ms; sent 5 MiB in 7 passes.\n");
    assert_contains(usual_way.outcome.out, "The guest runs at the destination,"
                    " domain 'vm' at 'test://");
    assert_contains(usual_way.told, plain);
    assert_contains(usual_way.told, there_uri);
    /* What libvirt sets is for libvirt to set. */
    assert_no(usual_way.told, "return-path");
    assert_no(usual_way.told, "\"multifd\"");
    /* At both ends, one after the other. */
    g_assert_nonnull(strstr(strstr(usual_way.told, "migrate-domain"),
                            "\"migrate-set-capabilities\""));
    try_with(&each, "moves", NULL,
        FIRST({ "query-migrate", NULL, COMPLETED, "migrate-domain" }),
        OPTIONS("--multifd=3", "--tls", "--persistent", "--undefine-source",
                "--bandwidth=2G", "--downtime=77", "--migrateuri",
                "tcp://h:1", "--json"));
    g_assert_cmpint(each.outcome.status, ==, 0);
    assert_contains(each.outcome.out, "\"total-ms\":1234");
    assert_contains(each.outcome.out, "\"balloon-skipped-bytes\":1048576");
    assert_contains(each.outcome.out, "\"runs-at\":\"destination\"");
    assert_contains(each.told, all);
    assert_contains(each.told, "\"" VIR_MIGRATE_PARAM_BANDWIDTH "\": 2048}");
    assert_contains(each.told, "\"" VIR_MIGRATE_PARAM_URI
                    "\": \"tcp://h:1\"}");
    assert_contains(each.told,
                    "\"" VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS "\": 3}");
    assert_contains(each.told, "\"downtime-limit\":77");
}

static void test_set_up_next(void)
{
    g_auto(Trial) trial = { 0 };

    try_with(&trial, "moves", NULL, FIRST({ "migrate-set-capabilities", NULL,
             STATUS_REFUSED, "migrate-domain" }), OPTIONS(NULL));
    assert_failed(&trial, "the guest has moved, but the capabilities are off "
                  "there: domain 'vm' at 'test://");
    assert_contains(trial.outcome.out, "The guest runs at the destination, ");
}

/* What was on before stays on. */
static void test_stays(void)
{
    g_auto(Trial) paused = { 0 };
    g_auto(Trial) deaf = { 0 };
    g_auto(Trial) late = { 0 };

    status_replies_reset(true, false);
    try(&paused, "paused", OPTIONS(NULL));
    assert_failed(&paused, "the migration has failed: a rat; the guest runs "
                  "at the source, domain 'vm'\n");
    assert_contains(paused.told, TURNED_BACK);
    assert_no(paused.told, "{\"capability\":\"skip-balloon\",\"state\":false");
    status_replies_reset(true, true);
    try(&late, "waits", OPTIONS("--timeout=1"));
    assert_failed(&late, "the migration has not completed after 1 second; the "
                  "guest runs at the source, domain 'vm'\n");
    assert_no(late.told, "\"state\":false");
    try(&deaf, "deaf", OPTIONS(NULL));
    assert_failed(&deaf, "a rat; the guest runs at the source, domain 'vm'; "
                  "the libvirt of the destination does not answer\n");
}

static void interrupt(const char *way, const char *option, Outcome *outcome)
{
    const char *args[] = {
        there_uri, "-d", "vm", "-c", here_uri, option, NULL
    };
    g_autoptr(GSubprocessLauncher) launcher = make_launcher(way);
    FakeQmp *fake = serve(USUAL);
    g_autoptr(GSubprocess) process = command_run_spawn(launcher, args);

    g_usleep(2000 * 1000);
    g_subprocess_send_signal(process, SIGINT);
    command_run_finish(process, outcome);
    g_free(fake_qmp_end(fake));
    g_assert_cmpint(outcome->status, ==, 128 + SIGINT);
}

/* In postcopy libvirt goes on with it. */
static void test_interrupted(void)
{
    g_auto(Outcome) precopy = { 0 };
    g_auto(Outcome) postcopy = { 0 };

    interrupt("waits", NULL, &precopy);
    assert_contains(precopy.err, "interrupted; the guest runs at the source, "
                    "domain 'vm'\n");
    interrupt("stays", "--postcopy-after=0", &postcopy);
    assert_contains(postcopy.err, "interrupted; the guest runs at the "
                    "destination, domain 'vm' at 'test://");
    assert_contains(postcopy.err, ", and gets the rest of its memory from the "
                    "source, which has to live until libvirt ends it\n");
}

/* Once more, without, unless that is not wanted. */
static void test_falls_back(void)
{
    g_auto(Trial) refused = { 0 };
    g_auto(Trial) strict = { 0 };

    try_with(&refused, "refused", NULL, FIRST({ "query-migrate", NULL,
             "\"return\": {\"status\": \"failed\"}", "migrate-domain" }),
             OPTIONS(NULL));
    g_assert_cmpint(refused.outcome.status, ==, 0);
    assert_contains(refused.outcome.out, "Note: goes without skip-balloon: "
                    "domain 'vm' at 'test://");
    assert_contains(refused.outcome.out, "' refused the guest with it\n");
    assert_contains(refused.told, TURNED_BACK);
    try(&strict, "refused", OPTIONS("--strict"));
    assert_failed(&strict, "the migration has failed: Sibling indicated error "
                  "1; the guest runs at the source, ");
}

static void test_postcopy(void)
{
    const unsigned flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER |
                           VIR_MIGRATE_POSTCOPY;
    g_autofree char *flag = g_strdup_printf("\"flags\": %u}", flags);
    static const char *const option[] = { "--postcopy-after=0", NULL };
    g_auto(Trial) done = { 0 };
    g_auto(Trial) lost = { 0 };
    g_auto(Trial) recover = { 0 };
    g_auto(Trial) cannot = { 0 };

    try(&done, "moves", option);
    g_assert_cmpint(done.outcome.status, ==, 0);
    assert_contains(done.told, flag);
    try(&lost, "lost", option);
    assert_failed(&lost, "a rat; the guest runs at the destination, domain '");
    assert_contains(lost.outcome.err, "without the memory that only the QEMU "
                    "of the source had, which has ended: it stands still ");
    assert_no(lost.outcome.out, "Completed");
    try(&recover, "interrupted", option);
    assert_failed(&recover, "waits there for memory that the source still has"
                  ": leave both as they are, and recover with 'virsh migrate ");
    try(&cannot, "no-postcopy", option);
    assert_failed(&cannot, "libvirt does not begin postcopy: not now; ");
}

static void test_nowhere(void)
{
    g_auto(Trial) ends = { 0 };
    g_auto(Trial) both = { 0 };

    try(&ends, "ends", OPTIONS(NULL));
    assert_failed(&ends, "a rat; the guest runs nowhere: it has ended, and "
                  "can be started at one end\n");
    try(&both, "both", OPTIONS("--json"));
    assert_failed(&both, "where the guest runs is not known: ask libvirt at "
                  "both ends with 'virsh domstate --reason' before starting ");
    assert_contains(both.outcome.out, "\"runs-at\":\"unknown\"");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("migrate");
    here_file = command_run_file("here.xml");
    there_file = command_run_file("there.xml");
    here_uri = g_strconcat("test://", here_file, NULL);
    there_uri = g_strconcat("test://", there_file, NULL);
    g_assert_true(g_file_set_contents(here_file, here, -1, NULL));
    g_assert_true(g_file_set_contents(there_file, there, -1, NULL));
    status_replies_reset(true, true);
    g_test_add_func("/migrate-domain/usage", test_usage);
    g_test_add_func("/migrate-domain/refused", test_refused);
    g_test_add_func("/migrate-domain/notes", test_notes);
    g_test_add_func("/migrate-domain/moves", test_moves);
    g_test_add_func("/migrate-domain/set-up-next", test_set_up_next);
    g_test_add_func("/migrate-domain/stays", test_stays);
    g_test_add_func("/migrate-domain/interrupted", test_interrupted);
    g_test_add_func("/migrate-domain/falls-back", test_falls_back);
    g_test_add_func("/migrate-domain/postcopy", test_postcopy);
    g_test_add_func("/migrate-domain/nowhere", test_nowhere);
    argc = g_test_run();
    g_unlink(here_file);
    g_unlink(there_file);
    g_free(here_file);
    g_free(there_file);
    g_free(here_uri);
    g_free(there_uri);
    return command_run_end(argc);
}

#else

static void test_nothing(void)
{
    g_test_skip("this was built without libvirt, or with a sanitizer");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/migrate-domain/nothing", test_nothing);
    return g_test_run();
}

#endif
