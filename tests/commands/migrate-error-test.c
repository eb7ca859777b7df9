/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What skip-balloon migrate refuses, and what it says of how it ends. */
#include <signal.h>
#include <string.h>

#include "tests/commands/run.h"
#include "tests/commands/status-replies.h"

#define URI "tcp:192.0.2.1:4444"

#define RETURN(text) "\"return\": " text
#define DONE RETURN("{}")
#define GUEST(status, running) \
    RETURN("{\"status\": \"" status "\", \"running\": " running "}")
#define RUNNING GUEST("running", "true")
#define WAITING GUEST("inmigrate", "false")
#define MIGRATION(status) RETURN("{\"status\": \"" status "\"}")

#define CAPABILITY(name) "{\"capability\": \"" name "\", \"state\": false}"
#define MODES CAPABILITY("return-path") ", " CAPABILITY("multifd") ", " \
    CAPABILITY("postcopy-ram")
#define STOCK RETURN("[" MODES "]")
#define OURS RETURN("[" MODES ", " CAPABILITY("skip-balloon") ", " \
    CAPABILITY("skip-unpopulated") "]")
#define ONE_ON RETURN("[" MODES ", {\"capability\": \"skip-unpopulated\", " \
    "\"state\": true}, " CAPABILITY("skip-balloon") "]")

/* A QEMU whose guest can be moved, and one that waits for it. */
static const FakeReply source_usual[] = {
    { "query-status", NULL, RUNNING, NULL },
    { "query-migrate-capabilities", NULL, OURS, NULL },
    { "migrate-set-capabilities", NULL, DONE, NULL },
    { "migrate-set-parameters", NULL, DONE, NULL },
    { "migrate", NULL, DONE, NULL },
    { NULL, NULL, NULL, NULL }
};
static const FakeReply destination_usual[] = {
    { "query-status", NULL, WAITING, NULL },
    { "query-migrate", NULL, DONE, NULL },
    { "query-migrate-capabilities", NULL, OURS, NULL },
    { "migrate-set-capabilities", NULL, DONE, NULL },
    { "migrate-set-parameters", NULL, DONE, NULL },
    { "migrate-incoming", NULL, DONE, NULL },
    { NULL, NULL, NULL, NULL }
};

#define MAX_REPLIES 64
#define MAX_FIRST 6

static FakeReply tables[2][MAX_REPLIES];

static unsigned add(FakeReply *table, unsigned n, const FakeReply *replies)
{
    while (replies && replies->command) {
        g_assert_cmpuint(n, <, MAX_REPLIES - 1);
        table[n++] = *replies++;
    }
    memset(&table[n], 0, sizeof(table[n]));
    return n;
}

static FakeQmp *serve(bool destination, const FakeReply *first)
{
    g_autofree char *path = destination ? command_run_file("to.sock") :
                            g_strdup(command_run_socket());
    FakeReply *table = tables[destination];
    unsigned n = add(table, 0, first);

    n = add(table, n, destination ? destination_usual : source_usual);
    add(table, n, status_replies_table());
    return fake_qmp_new_table(path, table);
}

/* How a run ended, and what both ends were told. */
typedef struct Trial {
    Outcome outcome;
    char *source;
    char *destination;
} Trial;

static void trial_clear(Trial *trial)
{
    outcome_clear(&trial->outcome);
    g_free(trial->source);
    g_free(trial->destination);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trial, trial_clear)

/* @more: options; without a destination only the source is named. */
static void try(Trial *trial, const FakeReply *source,
                const FakeReply *destination, const char *const *more)
{
    g_autofree char *to = command_run_file("to.sock");
    const char *args[16] = { URI, "-q", command_run_socket() };
    unsigned n = 3;
    FakeQmp *here = serve(false, source);
    FakeQmp *there = destination ? serve(true, destination) : NULL;

    if (there) {
        args[n++] = "-t";
        args[n++] = to;
    }
    while (more && *more) {
        args[n++] = *more++;
    }
    command_run(args, &trial->outcome);
    trial->source = fake_qmp_end(here);
    trial->destination = there ? fake_qmp_end(there) : NULL;
}

#define OPTIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define FIRST(...) ((const FakeReply[]) { __VA_ARGS__, { 0 } })
#define USUAL FIRST({ 0 })

static void assert_failed(const Trial *trial, const char *complaint)
{
    g_assert_cmpint(trial->outcome.status, ==, 1);
    assert_contains(trial->outcome.err, complaint);
}

/* ---- Before anything moves ---- */

static void test_usage(void)
{
    static const struct {
        const char *args[7];
        const char *complaint;
    } bad[] = {
        { { "-q", "s" }, "where the guest is to go is missing" },
        { { "-q", "s", "u", "v" }, "unexpected argument 'v'" },
        { { "u" }, "--qmp has to name the socket of a QEMU" },
        { { "-q", "s", "u", "--bandwidth", "fast" }, "--bandwidth: 'fast'" },
        { { "-q", "s", "u", "--downtime", "-1" }, "--downtime takes mill" },
        { { "-q", "s", "u", "--multifd", "256" }, "--multifd takes a numb" },
        { { "-q", "s", "u", "--postcopy-after", "-2" }, "--postcopy-after " },
        { { "-q", "s", "u", "--timeout", "-1" }, "--timeout takes a number" },
        { { "-q", "s", "u", "--multifd=2", "--postcopy-after=1" },
          "--multifd and --postcopy-after do not go together" },
        { { "-q", "s", "u", "--shrink" }, "--shrink needs --to-qmp" },
        { { "-q", "s", "u", "--shrink=tall" }, "--shrink: 'tall'" },
        { { "-q", "s", "u", "--fly" }, "--fly" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(Outcome) outcome = { 0 };

        command_run(bad[i].args, &outcome);
        g_assert_cmpint(outcome.status, ==, 2);
        assert_contains(outcome.err, bad[i].complaint);
    }
}

static void test_help(void)
{
    g_auto(Outcome) outcome = { 0 };

    RUN(&outcome, "--help");
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.out, "migrate [OPTION");
    assert_contains(outcome.out, "--postcopy-after=SECONDS");
    assert_contains(outcome.out, "Ctrl-C cancels");
}

#define FEATURES(members) { "x-query-virtio-status", NULL, members, NULL }

static void test_refused(void)
{
    static const struct {
        FakeReply source[3];
        FakeReply destination[3];
        const char *complaint;
        const char *option;
    } refused[] = {
        { { { "query-status", NULL, WAITING, NULL } }, { { 0 } },
          "waits for a guest itself: it is a destination", NULL },
        { { { "query-status", NULL, GUEST("postmigrate", "false"), NULL } },
          { { 0 } }, "has no guest any more: it has been migrated", NULL },
        { { { "query-status", NULL, GUEST("paused", "false"), NULL } },
          { { 0 } }, "does not run its guest, which is 'paused'", NULL },
        { { { "query-migrate", NULL, MIGRATION("active"), NULL } }, { { 0 } },
          "is migrating its guest: wait, or cancel", NULL },
        { { { 0 } }, { { "query-status", NULL, RUNNING, NULL } },
          "does not wait for a guest, its own is 'running'", NULL },
        { { { 0 } }, { { "query-migrate", NULL, MIGRATION("setup"), NULL } },
          "waits for a guest already: start it anew", NULL },
        { { { 0 } }, { { "query-memory-size-summary", NULL,
                         RETURN("{\"base-memory\": 65536}"), NULL } },
          "has 64 KiB of memory for the guest, which has 128 KiB", NULL },
        { { { 0 } }, { { "query-balloon", NULL, STATUS_NO_BALLOON, NULL },
                       { "x-query-virtio", NULL, RETURN("[]"), NULL } },
          "has no virtio-balloon device, and the guest has one", NULL },
        { { { 0 } }, { FEATURES(STATUS_NOT_OFFERED) },
          "does not offer MUST_TELL_HOST, which the guest uses", NULL },
        { { FEATURES(STATUS_NOT_NEGOTIATED) }, { FEATURES(STATUS_NOT_OFFERED) },
          "cannot take over the balloon map: give its virtio-balloon", NULL },
        { { { "query-migrate-capabilities", NULL, RETURN("[]"), NULL } },
          { { 0 } }, "does not know the capability return-path", NULL },
        { { { 0 } },
          { { "query-migrate-capabilities", NULL, RETURN("[]"), NULL } },
          "does not know the capability multifd", "--multifd=2" },
        { { { 0 } },
          { { "query-migrate-capabilities", NULL, RETURN("[]"), NULL } },
          "does not know the capability postcopy-ram", "--postcopy-after=0" },
        { { { "query-migration-map", NULL, RETURN("5"), NULL } }, { { 0 } },
          "migration-map", NULL },
        { { { "migrate-set-capabilities", NULL, STATUS_REFUSED, NULL } },
          { { 0 } }, "QEMU refused 'migrate-set-capabilities': not today",
          NULL },
        { { { 0 } },
          { { "migrate-set-parameters", NULL, STATUS_REFUSED, NULL } },
          "QEMU refused 'migrate-set-parameters': not today", NULL },
        { { { 0 } }, { { "migrate-incoming", NULL, STATUS_REFUSED, NULL } },
          "QEMU refused 'migrate-incoming': not today", NULL },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_auto(Trial) trial = { 0 };

        try(&trial, refused[i].source, refused[i].destination,
            OPTIONS(refused[i].option));
        assert_failed(&trial, refused[i].complaint);
        /* Nothing has begun, so there is nothing to say of it. */
        g_assert_null(strstr(trial.source, "\"migrate\""));
        g_assert_null(strstr(trial.outcome.err, "guest runs"));
    }
}

/* As an object, too, with the same reason. */
static void test_refused_json(void)
{
    g_auto(Trial) trial = { 0 };

    try(&trial, FIRST({ "query-status", NULL, WAITING, NULL }), USUAL,
        OPTIONS("--json"));
    assert_failed(&trial, "waits for a guest itself");
    assert_contains(trial.outcome.out, "{\"completed\":false,\"reason\":\"'");
    g_assert_null(strstr(trial.outcome.out, "runs-at"));
}

static void test_dry_run(void)
{
    g_auto(Trial) text = { 0 };
    g_auto(Trial) json = { 0 };

    try(&text, USUAL, USUAL, OPTIONS("--dry-run", "--multifd", "2"));
    g_assert_cmpint(text.outcome.status, ==, 0);
    g_assert_cmpstr(text.outcome.err, ==, "");
    assert_contains(text.outcome.out,
                    "turned on     skip-balloon and skip-unpopulated, "
                    "multifd, return-path\n");
    assert_contains(text.outcome.out, "  sends at most            80.2 KiB\n");
    assert_contains(text.outcome.out, "destination   QEMU 10.0.13 (a packag");
    g_assert_null(strstr(text.source, "migrate-set"));
    g_assert_null(strstr(text.destination, "migrate-incoming"));
    try(&json, USUAL, USUAL, OPTIONS("--dry-run", "--json"));
    g_assert_cmpint(json.outcome.status, ==, 0);
    assert_contains(json.outcome.out, "\"would-send-bytes\":82080");
}

/* ---- Capabilities that an end does not know ---- */

static void test_fallback(void)
{
    static const FakeReply stock[] = {
        { "query-migrate-capabilities", NULL, STOCK, NULL }, { 0 }
    };
    static const FakeReply on[] = {
        { "query-migrate-capabilities", NULL, ONE_ON, NULL },
        { "migrate-set-capabilities", NULL, STATUS_REFUSED, NULL }, { 0 }
    };
    g_auto(Trial) source = { 0 };
    g_auto(Trial) destination = { 0 };
    g_auto(Trial) strict = { 0 };
    g_auto(Trial) off = { 0 };

    try(&source, stock, USUAL, OPTIONS("--dry-run"));
    g_assert_cmpint(source.outcome.status, ==, 0);
    assert_contains(source.outcome.out, "goes without skip-balloon: '");
    assert_contains(source.outcome.out, "qmp.sock' does not know it");
    assert_contains(source.outcome.out, "turned on     nothing, return-path");
    try(&destination, USUAL, stock, OPTIONS("--dry-run"));
    g_assert_cmpint(destination.outcome.status, ==, 0);
    assert_contains(destination.outcome.out, "to.sock' does not know it");
    try(&strict, USUAL, stock, OPTIONS("--strict"));
    assert_failed(&strict, "cannot migrate with skip-balloon: '");
    assert_contains(strict.outcome.err, "without --strict it goes without");
    /* One that is on would have the destination refuse. */
    try(&off, on, stock, NULL);
    assert_contains(off.source, "{\"capability\":\"skip-unpopulated\","
                    "\"state\":false}");
    g_assert_null(strstr(off.source, "{\"capability\":\"skip-balloon\""));
}

static void test_notes(void)
{
    const char *rdma[] = {
        "rdma:h:1", "-q", command_run_socket(), "-n", NULL
    };
    g_auto(Trial) alone = { 0 };
    g_auto(Trial) disabled = { 0 };
    g_auto(Trial) denied = { 0 };
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake;

    try(&alone, USUAL, NULL, OPTIONS("-n", "--multifd", "2"));
    assert_contains(alone.outcome.out, "the destination cannot be asked, "
                    "which --to-qmp is for: it has to be a QEMU that knows "
                    "skip-balloon, and to have the same capabilities set\n");
    try(&disabled, FIRST(FEATURES(STATUS_NOT_NEGOTIATED)), USUAL,
        OPTIONS("-n"));
    assert_contains(disabled.outcome.out, "skip-balloon will be disabled, "
                    "must-tell-host: the driver has not negotiated");
    try(&denied, FIRST({ "query-migration-map", NULL, STATUS_MAP_DENIED,
                          NULL }), USUAL, OPTIONS("-n"));
    assert_contains(denied.outcome.out, "skip-balloon will be disabled, "
                    "pagemap-denied: QEMU may not read");
    assert_contains(denied.outcome.out, "skip-unpopulated will be disabled, "
                    "pagemap-denied: QEMU may not read");
    assert_contains(disabled.outcome.out,
                    "whether the destination has memory enough is not known");
    fake = serve(false, USUAL);
    command_run(rdma, &outcome);
    g_free(fake_qmp_end(fake));
    assert_contains(outcome.out, "skip-unpopulated: it does not go over rdma");
}

/* ---- How it ends ---- */

#define SOURCE(...) FIRST(__VA_ARGS__, \
    { "migrate_cancel", NULL, DONE, NULL }, \
    { "migrate-start-postcopy", NULL, DONE, NULL }, \
    { "stop", NULL, DONE, NULL })
#define ONCE(status) { "query-migrate", NULL, status, "migrate" }
#define RUNS_THERE { "query-status", NULL, RUNNING, "migrate-incoming" }
#define LEFT { "query-status", NULL, GUEST("postmigrate", "false"), "migrate" }
#define FAILED RETURN("{\"status\": \"failed\", \"error-desc\": \"a rat\"}")
#define GONE(command, after) { command, NULL, NULL, after }

static void test_completed(void)
{
    g_auto(Trial) trial = { 0 };
    g_auto(Trial) json = { 0 };
    static const char completed[] = RETURN("{\"status\": \"completed\", "
        "\"total-time\": 1234, \"downtime\": 56, \"ram\": {\"transferred\": "
        "2097152, \"dirty-sync-count\": 3}, \"skip-balloon\": {\"status\": "
        "\"active\", \"skipped-bytes\": 1048576}, \"skip-unpopulated\": "
        "{\"skipped-bytes\": 3145728}}");

    try(&trial, FIRST(ONCE(completed), LEFT), FIRST(RUNS_THERE),
        OPTIONS("--bandwidth=1G", "--downtime=77", "--multifd=3"));
    g_assert_cmpint(trial.outcome.status, ==, 0);
    assert_contains(trial.outcome.out, "Completed in 1234 ms, with the guest "
                    "stopped for 56 ms; sent 2 MiB in 3 passes.\n"
                    "skip-balloon skipped 1 MiB\n"
                    "skip-unpopulated skipped 3 MiB that is not in the ");
    assert_contains(trial.outcome.out, "The guest runs at the destination, '");
    assert_contains(trial.source, "{\"capability\":\"return-path\","
                    "\"state\":true}");
    assert_contains(trial.source, "\"max-bandwidth\":1073741824");
    assert_contains(trial.source, "\"downtime-limit\":77");
    assert_contains(trial.source, "\"multifd-channels\":3");
    assert_contains(trial.destination, "\"multifd-channels\":3");
    assert_contains(trial.destination, "{\"uri\":\"" URI "\"}");
    try(&json, FIRST(ONCE(completed), LEFT), NULL, OPTIONS("--json"));
    g_assert_cmpint(json.outcome.status, ==, 0);
    assert_contains(json.outcome.out, "{\"completed\":true,"
                    "\"runs-at\":\"destination\",");
    assert_contains(json.outcome.out, "\"total-ms\":1234");
    assert_contains(json.outcome.out, "\"balloon-skipped-bytes\":1048576");
    g_assert_null(strchr(json.outcome.out, '\n')[1] ? "more" : NULL);
}

/* A destination that was started with -S. */
static void test_held(void)
{
    g_auto(Trial) trial = { 0 };

    try(&trial, FIRST(ONCE(MIGRATION("completed")), LEFT),
        FIRST({ "query-status", NULL, RUNNING, "cont" },
              { "query-migrate", NULL, MIGRATION("completed"),
                "migrate-incoming" },
              { "query-status", NULL, GUEST("paused", "false"),
                "migrate-incoming" },
              { "cont", NULL, DONE, NULL }), NULL);
    g_assert_cmpint(trial.outcome.status, ==, 0);
    assert_contains(trial.outcome.out, "The guest runs at the destination, '");
}

static void test_failed(void)
{
    g_auto(Trial) gone = { 0 };
    g_auto(Trial) waits = { 0 };
    g_auto(Trial) refused = { 0 };
    g_auto(Trial) cancelled = { 0 };
    g_auto(Trial) alone = { 0 };

    try(&gone, FIRST(ONCE(FAILED)),
        FIRST(GONE("query-migrate", "migrate-incoming")), OPTIONS("--json"));
    assert_failed(&gone, "the migration has failed: a rat; the guest runs at "
                  "the source, '");
    assert_contains(gone.outcome.err, "; the QEMU of the destination has end");
    assert_contains(gone.outcome.out, "\"runs-at\":\"source\",\"reason\":"
                    "\"the migration has failed: a rat; ");
    try(&waits, FIRST(ONCE(RETURN("{\"status\": \"failed\"}"))), USUAL, NULL);
    assert_failed(&waits, "has failed: QEMU does not say why; the guest ");
    assert_contains(waits.outcome.err, "does not run it: end it");
    try(&refused, FIRST({ "migrate", NULL, STATUS_REFUSED, NULL }), USUAL,
        NULL);
    assert_failed(&refused, "QEMU refused 'migrate': not today; the guest "
                  "runs at the source, '");
    try(&cancelled, FIRST(ONCE(MIGRATION("cancelled"))), USUAL, NULL);
    assert_failed(&cancelled, "the migration has been cancelled: QEMU does");
    try(&alone, FIRST(ONCE(FAILED)), NULL, NULL);
    assert_failed(&alone, "a rat; the guest runs at the source, '");
    g_assert_null(strstr(alone.outcome.err, "of the destination"));
}

/* The source has forgotten, or answers something that is no answer. */
static void test_forgotten(void)
{
    g_auto(Trial) forgotten = { 0 };

    try(&forgotten, FIRST(ONCE(DONE)), USUAL, NULL);
    assert_failed(&forgotten, "the migration has been forgotten: QEMU does");
}

static void test_timeout(void)
{
    g_auto(Trial) trial = { 0 };

    try(&trial, SOURCE({ "query-migrate", NULL, MIGRATION("cancelled"),
                         "migrate_cancel" }, ONCE(MIGRATION("active"))),
        USUAL, OPTIONS("--timeout", "1"));
    assert_failed(&trial, "the migration has not completed after 1 second; "
                  "the guest runs at the source, '");
}

/* The source has not heard that the destination has it all, and goes on. */
static void test_both(void)
{
    g_auto(Trial) trial = { 0 };

    try(&trial, SOURCE(ONCE(FAILED), { "query-status", NULL,
                       GUEST("paused", "false"), "stop" }),
        FIRST(RUNS_THERE), NULL);
    assert_failed(&trial, "a rat; the guest runs at the destination, '");
    assert_contains(trial.outcome.err, "it ran at both for a moment, since ");
    assert_contains(trial.outcome.err, "the source was stopped, end it");
    assert_contains(trial.source, "\"stop\"");
    g_assert_null(strstr(trial.destination, "\"stop\""));
}

static void test_postcopy(void)
{
    static const FakeReply paused[] = {
        { "query-migrate", NULL, MIGRATION("postcopy-paused"),
          "migrate-start-postcopy" },
        LEFT, ONCE(MIGRATION("active")),
        { "migrate-start-postcopy", NULL, DONE, NULL }, { 0 }
    };
    static const FakeReply torn[] = {
        { "query-migrate", NULL, RETURN("{\"status\": \"postcopy-paused\", "
          "\"error-desc\": \"a rat\"}"), "migrate-start-postcopy" },
        LEFT, ONCE(MIGRATION("active")),
        { "migrate-start-postcopy", NULL, DONE, NULL }, { 0 }
    };
    static const FakeReply dead[] = {
        GONE("query-migrate", "migrate-start-postcopy"),
        LEFT, ONCE(MIGRATION("active")),
        { "migrate-start-postcopy", NULL, DONE, NULL }, { 0 }
    };
    static const FakeReply there[] = {
        { "query-migrate", NULL, MIGRATION("postcopy-paused"),
          "migrate-incoming" },
        RUNS_THERE, { 0 }
    };
    static const char *const option[] = { "--postcopy-after=0", NULL };
    g_auto(Trial) lost = { 0 };
    g_auto(Trial) why = { 0 };
    g_auto(Trial) ended = { 0 };
    g_auto(Trial) both = { 0 };

    try(&lost, paused, there, option);
    assert_failed(&lost, "the connection was lost after postcopy had begun; "
                  "the guest runs at the destination, '");
    assert_contains(lost.outcome.err, "and recover: migrate-recover with a ");
    assert_contains(lost.source, "{\"capability\":\"postcopy-ram\","
                    "\"state\":true}");
    try(&why, torn, there, option);
    assert_failed(&why, "the connection was lost after postcopy had begun: a "
                  "rat; the guest runs at the destination, '");
    try(&ended, dead, there, option);
    assert_failed(&ended, "QEMU closed its QMP connection; the guest runs at "
                  "the destination, '");
    assert_contains(ended.outcome.err, "so start it anew");
    try(&both, paused, FIRST(GONE("query-migrate", "migrate-incoming")),
        option);
    assert_failed(&both, "the guest runs nowhere: it has ended with the QEMU "
                  "of the destination");
}

static void test_nowhere(void)
{
    g_auto(Trial) source = { 0 };
    g_auto(Trial) alone = { 0 };
    g_auto(Trial) destination = { 0 };

    try(&source, FIRST(GONE("query-migrate", "migrate")),
        FIRST(GONE("query-migrate", "migrate-incoming")), NULL);
    assert_failed(&source, "QEMU closed its QMP connection; the guest runs "
                  "nowhere: it has ended with the QEMU of the source");
    try(&alone, FIRST(GONE("query-migrate", "migrate")), NULL, NULL);
    assert_failed(&alone, "where the guest runs is not known: ask the QEMUs");
    try(&destination, FIRST(ONCE(MIGRATION("completed")), LEFT),
        FIRST(GONE("query-migrate", "migrate-incoming")), NULL);
    assert_failed(&destination, "the source says that the migration has "
                  "completed; the guest runs nowhere: it has ended with the "
                  "QEMU of the destination");
}

/* Before it begins: nothing has been done. */
static void test_ends(void)
{
    g_autofree char *to = command_run_file("to.sock");
    g_auto(Outcome) nobody = { 0 };
    g_auto(Outcome) half = { 0 };
    FakeQmp *fake;

    RUN(&nobody, "-q", command_run_socket(), URI);
    g_assert_cmpint(nobody.status, ==, 1);
    assert_contains(nobody.err, "there is no socket '");
    fake = serve(false, USUAL);
    RUN(&half, "-q", command_run_socket(), "-t", to, URI);
    g_free(fake_qmp_end(fake));
    g_assert_cmpint(half.status, ==, 1);
    assert_contains(half.err, "to.sock': No such file");
}

/* ---- Shrinking before ---- */

#define GIB_OF_MEMORY { "query-memory-size-summary", NULL, \
    RETURN("{\"base-memory\": 1073741824}"), NULL }
#define STATISTICS(mib, swapped, after) \
    { "qom-get", "guest-stats\"", RETURN("{\"last-update\": @n, \"stats\": " \
      "{\"stat-available-memory\": " #mib "048576, \"stat-swap-in\": 0, " \
      "\"stat-swap-out\": " #swapped "}}"), after }
#define SHRINKS(...) FIRST(__VA_ARGS__, GIB_OF_MEMORY, \
    { "qom-set", NULL, DONE, NULL }, \
    { "balloon", NULL, DONE, NULL }, \
    { "query-balloon", NULL, RETURN("{\"actual\": @value}"), "balloon" }, \
    { "query-balloon", NULL, RETURN("{\"actual\": 1073741824}"), NULL })
#define MUCH_LEFT STATISTICS(600, 0, NULL)
#define LITTLE_LEFT STATISTICS(97, 0, "balloon")
#define STEP "\"arguments\":{\"value\":939524096}"
#define BEFORE "\"arguments\":{\"value\":1073741824}"
#define GOT_BACK "; the guest has got back what the balloon took"
#define SHRINK OPTIONS("--shrink")

static void assert_given_back(const Trial *trial, const char *complaint)
{
    assert_failed(trial, "nothing has moved: cannot shrink the guest: ");
    assert_contains(trial->outcome.err, complaint);
    assert_contains(trial->outcome.err, GOT_BACK);
    assert_contains(trial->source, BEFORE);
    /* As often as before, which is every other second. */
    assert_contains(trial->source, "\"property\":\"guest-stats-polling-"
                    "interval\",\"value\":2}");
    g_assert_null(strstr(trial->source, "\"migrate\""));
}

/* One step of an eighth, and the guest has little more than its reserve. */
static void test_shrink(void)
{
    g_auto(Trial) trial = { 0 };
    g_auto(Trial) some = { 0 };

    try(&trial, SHRINKS(LITTLE_LEFT, MUCH_LEFT,
        ONCE(MIGRATION("completed")), LEFT),
        SHRINKS(RUNS_THERE), SHRINK);
    g_assert_cmpint(trial.outcome.status, ==, 0);
    assert_contains(trial.source, STEP);
    assert_contains(trial.destination, BEFORE);
    assert_contains(trial.outcome.out, "\nThe balloon took 128 MiB in ");
    assert_contains(trial.outcome.out, "s: that left 80.2 KiB to be sent at "
                    "most, instead of 80.2 KiB. Giving it back took ");
    /* No more than is asked for. */
    try(&some, SHRINKS(STATISTICS(600, 0, NULL),
                     ONCE(MIGRATION("completed")), LEFT),
        SHRINKS(RUNS_THERE), OPTIONS("--shrink=200M", "--json"));
    g_assert_cmpint(some.outcome.status, ==, 0);
    assert_contains(some.outcome.out, "\"shrink\":{\"taken-bytes\":209715200,"
                    "\"take-ms\":");
}

static void test_shrink_stops(void)
{
    const FakeReply *there = SHRINKS(GIB_OF_MEMORY);
    g_auto(Trial) swaps = { 0 };
    g_auto(Trial) reserve = { 0 };
    g_auto(Trial) stuck = { 0 };

    try(&swaps, SHRINKS(STATISTICS(500, 2000000, "balloon"),
                      STATISTICS(600, 0, NULL)), there, SHRINK);
    assert_given_back(&swaps, "the guest has begun to swap");
    try(&reserve, SHRINKS(STATISTICS(10, 0, "balloon"),
                        STATISTICS(600, 0, NULL)), there, SHRINK);
    assert_given_back(&reserve, "the guest needs its reserve: it has 9.58 "
                      "MiB left, of 64 MiB; ");
    try(&stuck, SHRINKS(STATISTICS(600, 0, NULL),
                      { "query-balloon", NULL,
                        RETURN("{\"actual\": 1073741824}"), NULL }),
        there, SHRINK);
    assert_given_back(&stuck, "the balloon has stopped where it leaves the "
                      "guest 1 GiB, on its way to 896 MiB");
}

static void test_shrink_cannot(void)
{
    const FakeReply *there = SHRINKS(GIB_OF_MEMORY);
    g_auto(Trial) mute = { 0 };
    g_auto(Trial) silent = { 0 };
    g_auto(Trial) driver = { 0 };
    g_auto(Trial) refused = { 0 };
    g_auto(Trial) strange = { 0 };

    try(&mute, SHRINKS({ "qom-get", "guest-stats\"", RETURN("{\"last-update\": "
                       "@n, \"stats\": {\"stat-available-memory\": "
                       "18446744073709551615}}"), NULL }),
        there, SHRINK);
    assert_given_back(&mute, "balloon driver does not tell how much memory");
    try(&silent, SHRINKS(GIB_OF_MEMORY), there, SHRINK);
    assert_given_back(&silent, "the guest does not tell how it is, for 10 ");
    try(&driver, SHRINKS(FEATURES(STATUS_NO_DRIVER)), there, SHRINK);
    assert_failed(&driver, "shrink the guest: the guest has no balloon driver "
                  "that runs\n");
    try(&refused, SHRINKS({ "qom-set", NULL, STATUS_REFUSED, NULL }),
        there, SHRINK);
    assert_failed(&refused, "QEMU refused 'qom-set': not today\n");
    try(&strange, SHRINKS({ "query-balloon", NULL, RETURN("[]"), "balloon" },
                        STATISTICS(600, 0, NULL)), there, SHRINK);
    assert_failed(&strange, "the answer to 'query-balloon' is not as QEMU "
                  "documents it; the balloon is not what it was, which is for "
                  "'balloon' with value 1073741824 to mend: ");
}

/* Back at the source, as the guest is. */
static void test_shrink_failed(void)
{
    g_auto(Trial) failed = { 0 };
    g_auto(Trial) stays = { 0 };
    g_auto(Trial) strange = { 0 };

    try(&failed, SHRINKS(LITTLE_LEFT, MUCH_LEFT,
        ONCE(FAILED)),
        SHRINKS(GIB_OF_MEMORY), SHRINK);
    assert_failed(&failed, "a rat; the guest runs at the source, '");
    assert_contains(failed.source, BEFORE);
    g_assert_null(strstr(failed.destination, "\"balloon\""));
    try(&stays, SHRINKS(LITTLE_LEFT, MUCH_LEFT,
        ONCE(MIGRATION("completed")), LEFT),
        SHRINKS({ "balloon", NULL, STATUS_REFUSED, NULL }, RUNS_THERE),
        SHRINK);
    assert_failed(&stays, "the guest has moved, but the balloon is not what "
                  "it was, which is for 'balloon' with value 1073741824 to ");
    assert_contains(stays.outcome.out, "The guest runs at the destination, '");
    try(&strange, SHRINKS(LITTLE_LEFT, MUCH_LEFT, ONCE(RETURN("7"))),
        SHRINKS(GIB_OF_MEMORY), SHRINK);
    assert_failed(&strange, "the answer to 'query-migrate' is not as QEMU "
                  "documents it; where the guest runs is not known: ask the "
                  "QEMUs of both ends with query-status before ending any; "
                  "the balloon is not what it was, which is for 'balloon' "
                  "with value 1073741824 to mend where the guest runs\n");
}

static void test_shrink_interrupted(void)
{
    const FakeReply *here = SHRINKS(
        STATISTICS(600, 0, NULL), { "query-balloon", NULL,
            RETURN("{\"actual\": 1073741824}"), NULL });
    g_autofree char *to = command_run_file("to.sock");
    const char *args[] = {
        URI, "-q", command_run_socket(), "-t", to, "--shrink", NULL
    };
    g_autoptr(GSubprocessLauncher) launcher =
        command_run_launcher(COMMAND_RUN_PIPES);
    FakeQmp *source = serve(false, here);
    FakeQmp *destination = serve(true, SHRINKS(GIB_OF_MEMORY));
    g_autoptr(GSubprocess) process = command_run_spawn(launcher, args);
    g_autofree char *seen = NULL;
    g_autofree char *err = NULL;

    g_usleep(1500 * 1000);
    g_subprocess_send_signal(process, SIGINT);
    g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, NULL,
                                                &err, NULL));
    seen = fake_qmp_end(source);
    g_free(fake_qmp_end(destination));
    g_assert_cmpint(g_subprocess_get_exit_status(process), ==, 128 + SIGINT);
    assert_contains(err, "cannot shrink the guest: interrupted" GOT_BACK);
    assert_contains(seen, STEP);
    assert_contains(seen, BEFORE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("migrate");
    status_replies_reset(true, true);
    g_test_add_func("/migrate/usage", test_usage);
    g_test_add_func("/migrate/help", test_help);
    g_test_add_func("/migrate/refused", test_refused);
    g_test_add_func("/migrate/refused-json", test_refused_json);
    g_test_add_func("/migrate/dry-run", test_dry_run);
    g_test_add_func("/migrate/fallback", test_fallback);
    g_test_add_func("/migrate/notes", test_notes);
    g_test_add_func("/migrate/completed", test_completed);
    g_test_add_func("/migrate/held", test_held);
    g_test_add_func("/migrate/failed", test_failed);
    g_test_add_func("/migrate/forgotten", test_forgotten);
    g_test_add_func("/migrate/timeout", test_timeout);
    g_test_add_func("/migrate/both", test_both);
    g_test_add_func("/migrate/postcopy", test_postcopy);
    g_test_add_func("/migrate/nowhere", test_nowhere);
    g_test_add_func("/migrate/ends", test_ends);
    g_test_add_func("/migrate/shrink", test_shrink);
    g_test_add_func("/migrate/shrink-stops", test_shrink_stops);
    g_test_add_func("/migrate/shrink-cannot", test_shrink_cannot);
    g_test_add_func("/migrate/shrink-failed", test_shrink_failed);
    g_test_add_func("/migrate/shrink-interrupted", test_shrink_interrupted);
    return command_run_end(g_test_run());
}
