/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What skip-balloon status makes of the answers of a QEMU. */
#include <json-glib/json-glib.h>
#include <string.h>
#include <unistd.h>

#include "tests/commands/run.h"
#include "tests/commands/status-replies.h"

static void run_json(Outcome *outcome)
{
    FakeQmp *fake = status_replies_serve();

    RUN(outcome, "--qmp", command_run_socket(), "--json");
    g_free(fake_qmp_free(fake));
    g_assert_cmpstr(outcome->err, ==, "");
}

static void run_text(Outcome *outcome)
{
    FakeQmp *fake = status_replies_serve();

    RUN(outcome, "--qmp", command_run_socket());
    g_free(fake_qmp_free(fake));
    g_assert_cmpstr(outcome->err, ==, "");
}

/* The member of that name, which may be "skip-balloon.reason". */
static JsonNode *find(JsonParser *parser, const Outcome *outcome,
                      const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);
    JsonNode *node;

    g_assert_true(json_parser_load_from_data(parser, outcome->out, -1, NULL));
    node = json_parser_get_root(parser);
    for (char **name = names; node && *name; name++) {
        node = json_object_get_member(json_node_get_object(node), *name);
    }
    return node;
}

static void assert_number(const Outcome *outcome, const char *path,
                          gint64 number)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *node = find(parser, outcome, path);

    g_assert_nonnull(node);
    g_assert_cmpint(json_node_get_int(node), ==, number);
}

/* NULL: there is none. */
static void assert_text(const Outcome *outcome, const char *path,
                        const char *text)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *node = find(parser, outcome, path);

    g_assert_cmpstr(node ? json_node_get_string(node) : NULL, ==, text);
}

static void assert_forecast(const Outcome *outcome, gint64 skip, gint64 send,
                            gint64 destination)
{
    assert_number(outcome, "would-skip-bytes", skip);
    assert_number(outcome, "would-send-bytes", send);
    assert_number(outcome, "destination-bytes", destination);
}

static void assert_unknown(const Outcome *outcome, const char *expected)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autofree char *text = json_to_string(find(parser, outcome, "unknown"),
                                           FALSE);

    g_assert_cmpstr(text, ==, expected);
}

static void test_help(void)
{
    g_auto(Outcome) outcome = { 0 };

    RUN(&outcome, "--help");
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.out, "--watch");
    assert_contains(outcome.out, "--domain");
    assert_contains(outcome.out, "Exit status: 0 if at least one");
}

/*
 * 32 pages of guest RAM, 14 of them unpopulated, 10 in the balloon, of which 7
 * are among the former, and two pages of firmware.
 */
static void test_both(void)
{
    g_auto(Outcome) outcome = { 0 };

    status_replies_reset(true, true);
    run_json(&outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_forecast(&outcome, 14 * 4096, 20 * 4104, 20 * 4096);
    assert_text(&outcome, "qemu", "10.0.13 (a package)");
    assert_text(&outcome, "guest.name", "vm1");
    assert_text(&outcome, "guest.status", "running");
    assert_number(&outcome, "guest.memory-bytes", 131072);
    assert_number(&outcome, "guest.populated-bytes", 18 * 4096);
    assert_number(&outcome, "guest.not-told-bytes", 0);
    assert_number(&outcome, "balloon.actual-bytes", 22 * 4096);
    assert_number(&outcome, "balloon.held-bytes", 10 * 4096);
    assert_number(&outcome, "balloon.map-bytes", 10 * 4096);
    assert_number(&outcome, "balloon.map-populated-bytes", 3 * 4096);
    assert_number(&outcome, "balloon.map-used-bytes", 2 * 4096);
    assert_number(&outcome, "balloon.available-bytes", 4321);
    assert_text(&outcome, "skip-balloon.status", "active");
    assert_text(&outcome, "skip-balloon.reason", NULL);
    assert_text(&outcome, "skip-balloon.remedy", NULL);
    assert_number(&outcome, "skip-balloon.would-skip-bytes", 7 * 4096);
    assert_text(&outcome, "skip-unpopulated.status", "active");
    assert_number(&outcome, "skip-unpopulated.would-skip-bytes", 14 * 4096);
    assert_contains(outcome.out,
                    "\"left-alone\":[{\"id\":\"pc.bios\",\"size\":8192,"
                    "\"reason\":\"not-guest-ram\"}]");
    assert_unknown(&outcome, "[]");
    g_assert_cmpstr(strchr(outcome.out, '\n'), ==, "\n");
}

static void test_text(void)
{
    g_auto(Outcome) outcome = { 0 };

    status_replies_reset(true, true);
    run_text(&outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    g_assert_cmpstr(outcome.out, ==,
        "QEMU 10.0.13 (a package), guest 'vm1' running\n"
        "\n"
        "memory of the guest        128 KiB\n"
        "  populated on this host   72 KiB\n"
        "balloon holds              40 KiB\n"
        "  leaves the guest         88 KiB\n"
        "  in the map               40 KiB\n"
        "  of that populated        12 KiB\n"
        "  of that used, about      8 KiB\n"
        "  the guest could spare    4.22 KiB\n"
        "last migration             completed\n"
        "\n"
        "skip-balloon               active: skips 28 KiB at least\n"
        "skip-unpopulated           active: skips 56 KiB at least\n"
        "\n"
        "A migration now, if the guest writes nothing:\n"
        "  skips at least           56 KiB\n"
        "  sends at most            80.2 KiB\n"
        "  takes there at most      80 KiB of memory for the guest\n");
}

/* An earlier QEMU does not audit, and of some memory no host can tell. */
static void test_no_audit(void)
{
    static const char *const answers[] = {
        STATUS_UNKNOWN_COMMAND, STATUS_REFUSED, STATUS_AUDIT("10", ""),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autoptr(JsonParser) parser = json_parser_new();
        g_auto(Outcome) outcome = { 0 };

        status_replies_reset(true, true);
        status_replies_set("query-balloon-map", NULL, answers[i]);
        run_json(&outcome);
        g_assert_cmpint(outcome.status, ==, 0);
        g_assert_null(find(parser, &outcome, "balloon.map-used-bytes"));
    }
}

/* What is unpopulated and not in the balloon goes as records of zeroes. */
static void test_balloon_only(void)
{
    g_auto(Outcome) outcome = { 0 };

    status_replies_reset(true, false);
    run_json(&outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_forecast(&outcome, 7 * 4096, 20 * 4104 + 7 * 9, 20 * 4096);
    assert_text(&outcome, "skip-unpopulated.status", "disabled");
    assert_text(&outcome, "skip-unpopulated.reason", "capability-off");
    assert_number(&outcome, "skip-unpopulated.if-on-bytes", 14 * 4096);
}

static void test_unpopulated_only(void)
{
    g_auto(Outcome) outcome = { 0 };

    status_replies_reset(false, true);
    run_json(&outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_forecast(&outcome, 14 * 4096, 20 * 4104, 20 * 4096);
    assert_text(&outcome, "skip-balloon.reason", "capability-off");
    assert_number(&outcome, "skip-balloon.if-on-bytes", 7 * 4096);
}

/* Each record of zeroes allocates a page of shared memory. */
static void test_off(void)
{
    g_auto(Outcome) shared = { 0 };
    g_auto(Outcome) private = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(false, false);
    run_json(&shared);
    g_assert_cmpint(shared.status, ==, 3);
    assert_forecast(&shared, 0, 20 * 4104 + 14 * 9, 34 * 4096);
    status_replies_set("query-memdev", NULL, STATUS_PRIVATE_BACKEND);
    run_json(&private);
    assert_forecast(&private, 0, 20 * 4104 + 14 * 9, 20 * 4096);
    run_text(&text);
    g_assert_cmpint(text.status, ==, 3);
    assert_contains(text.out, "off: would skip 28 KiB at least\n"
                    "  turn it on with migrate_set_capability skip-balloon");
    assert_contains(text.out, "off: would skip 56 KiB at least\n"
                    "  turn it on with migrate_set_capability skip-unpop");
}

/* A reason, and its line of what to do. */
static void assert_reason(const char *reason, const char *remedy, int status)
{
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    run_json(&json);
    run_text(&text);
    g_assert_cmpint(json.status, ==, status);
    g_assert_cmpint(text.status, ==, status);
    assert_text(&json, "skip-balloon.status", "disabled");
    assert_text(&json, "skip-balloon.reason", reason);
    assert_text(&json, "skip-balloon.remedy", remedy);
    assert_contains(text.out, reason);
    assert_contains(text.out, remedy);
}

static void test_no_device(void)
{
    g_auto(Outcome) text = { 0 };

    status_replies_reset(true, true);
    status_replies_set("query-balloon", NULL, STATUS_NO_BALLOON);
    status_replies_set("x-query-virtio", NULL, "\"return\": []");
    assert_reason("no-device", "there is no virtio-balloon device: add one, "
                  "or use skip-unpopulated", 3);
    run_text(&text);
    assert_contains(text.out, "balloon                    none\n");
}

static void test_must_tell_host(void)
{
    status_replies_reset(true, false);
    status_replies_set("x-query-virtio-status", NULL, STATUS_NOT_NEGOTIATED);
    assert_reason("must-tell-host", "the driver has not negotiated "
                  "MUST_TELL_HOST: reload it, or use skip-unpopulated", 3);
    status_replies_set("x-query-virtio-status", NULL, STATUS_NO_DRIVER);
    assert_reason("must-tell-host", "the guest has no balloon driver that "
                  "runs: load it, or use skip-unpopulated", 3);
    status_replies_set("x-query-virtio-status", NULL, STATUS_NOT_OFFERED);
    assert_reason("must-tell-host", "the device does not offer "
                  "MUST_TELL_HOST: give it must-tell-host=on, or use "
                  "skip-unpopulated", 3);
}

/* The capability is off, and it would not do to turn it on. */
static void test_off_and_disabled(void)
{
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(false, true);
    status_replies_set("x-query-virtio-status", NULL, STATUS_NOT_OFFERED);
    run_json(&json);
    run_text(&text);
    g_assert_cmpint(json.status, ==, 0);
    assert_text(&json, "skip-balloon.reason", "capability-off");
    assert_text(&json, "skip-balloon.if-on-reason", "must-tell-host");
    assert_contains(text.out, "off, and would be disabled: must-tell-host\n"
                    "  the device does not offer");
}

static void test_inhibited(void)
{
    status_replies_reset(true, false);
    status_replies_set("query-migration-map", NULL, STATUS_MAP_INHIBITED);
    assert_reason("discard-inhibited", "guest memory is locked, or a device "
                  "needs all of it: use memory-backend-memfd, or unplug the "
                  "device", 3);
    status_replies_set("qom-list", "peripheral-anon", STATUS_VFIO);
    assert_reason("discard-inhibited", "a VFIO device needs all guest "
                  "memory, so there is nothing to skip: unplug it before, "
                  "if that can be", 3);
}

/* Neither capability skips anything. */
static void test_denied(void)
{
    static const char remedy[] =
        "QEMU may not read /proc/self/pagemap, and the host has swap: allow "
        "AppArmor's 'owner @{PROC}/@{pid}/pagemap r,', or use "
        "memory-backend-memfd";
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(true, true);
    status_replies_set("query-migration-map", NULL, STATUS_MAP_DENIED);
    assert_reason("pagemap-denied", remedy, 3);
    run_json(&json);
    run_text(&text);
    assert_text(&json, "skip-unpopulated.status", "disabled");
    assert_text(&json, "skip-unpopulated.reason", "pagemap-denied");
    assert_text(&json, "skip-unpopulated.remedy", remedy);
    assert_contains(text.out, "skip-unpopulated           disabled: "
                    "pagemap-denied\n  QEMU may not read");
}

/*
 * A page of zeroes takes a few bytes in the stream, and no memory there; but as
 * a part of a huge page, or without any of the capabilities, it does.
 */
static void test_zeroes(void)
{
    g_auto(Outcome) small = { 0 };
    g_auto(Outcome) private = { 0 };
    g_auto(Outcome) huge = { 0 };
    g_auto(Outcome) off = { 0 };

    status_replies_reset(true, true);
    status_replies_set("query-migration-map", NULL,
                       STATUS_MAP_ZEROES_OF("4096"));
    run_json(&small);
    assert_forecast(&small, 14 * 4096, 16 * 4104 + 4 * 9, 16 * 4096);
    status_replies_set("query-memdev", NULL, STATUS_PRIVATE_BACKEND);
    run_json(&private);
    assert_forecast(&private, 14 * 4096, 16 * 4104 + 4 * 9, 20 * 4096);
    status_replies_reset(true, true);
    status_replies_set("query-migration-map", NULL,
                       STATUS_MAP_ZEROES_OF("2097152"));
    run_json(&huge);
    assert_forecast(&huge, 14 * 4096, 16 * 4104 + 4 * 9, 20 * 4096);
    status_replies_reset(false, false);
    status_replies_set("query-migration-map", NULL,
                       STATUS_MAP_ZEROES_OF("4096"));
    run_json(&off);
    assert_forecast(&off, 0, 16 * 4104 + 18 * 9, 34 * 4096);
}

/* What it does not tell is bounded by cells, and a VFIO device counts. */
static void test_earlier(void)
{
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(true, false);
    status_replies_set("query-migration-map", NULL, STATUS_MAP_EARLIER);
    run_json(&json);
    run_text(&text);
    assert_forecast(&json, 6 * 4096, 18 * 4104 + 8 * 9, 18 * 4096);
    assert_contains(text.out, "of that populated        16 KiB at most\n");
    status_replies_set("qom-list", "peripheral-anon", STATUS_VFIO);
    assert_reason("discard-inhibited", "a VFIO device needs all guest "
                  "memory, so there is nothing to skip: unplug it before, "
                  "if that can be", 3);
}

/*
 * On hugetlbfs that others use. RAM blocks may be called by their whole path.
 */
static void test_not_told(void)
{
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(true, true);
    status_replies_set("query-migration-map", NULL, STATUS_MAP_NOT_TOLD);
    run_json(&json);
    run_text(&text);
    g_assert_cmpint(json.status, ==, 0);
    assert_forecast(&json, 0, 34 * 4104, 34 * 4096);
    assert_number(&json, "guest.not-told-bytes", 131072);
    assert_unknown(&json, "[\"populated\"]");
    assert_contains(text.out,
                    "not told by QEMU         128 KiB (the host does");
}

static void test_map_short(void)
{
    g_auto(Outcome) json = { 0 };

    status_replies_reset(true, false);
    status_replies_set("query-memory-size-summary", NULL,
                       "\"return\": {\"base-memory\": 8388608}");
    run_json(&json);
    g_assert_cmpint(json.status, ==, 0);
    assert_text(&json, "skip-balloon.remedy",
                "the map knows less than the balloon holds: deflate and "
                "inflate it, or use skip-unpopulated");
}

static void test_unmodified(void)
{
    g_auto(Outcome) json = { 0 };
    g_auto(Outcome) text = { 0 };

    status_replies_reset(false, false);
    status_replies_set("query-migrate-capabilities", NULL,
                       "\"return\": []");
    status_replies_set("query-migration-map", NULL, STATUS_UNKNOWN_COMMAND);
    run_json(&json);
    run_text(&text);
    g_assert_cmpint(json.status, ==, 3);
    assert_forecast(&json, 0, 32 * 4104, 32 * 4096);
    assert_text(&json, "skip-balloon.reason", "not-supported");
    assert_text(&json, "skip-unpopulated.reason", "not-supported");
    assert_unknown(&json, "[\"populated\"]");
    assert_contains(text.out, "not known to this QEMU\n  this QEMU does not "
                    "know it: it takes one that 'make qemu' builds\n");
}

/* A QEMU that can do without some of the commands. */
static void test_sparse(void)
{
    static const char *const optional[] = {
        "query-name", "x-query-virtio", "x-query-virtio-status",
        "qom-list", "qom-get",
    };
    g_auto(Outcome) json = { 0 };

    status_replies_reset(true, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(optional); i++) {
        status_replies_set(optional[i], NULL, STATUS_UNKNOWN_COMMAND);
    }
    run_json(&json);
    g_assert_cmpint(json.status, ==, 0);
    assert_text(&json, "guest.name", NULL);
    assert_text(&json, "skip-balloon.status", "active");
    g_assert_null(strstr(json.out, "available-bytes"));
}

/* ---- Of real QEMUs ---- */

static const char *qemu_path(const char *variable, const char *preset)
{
    const char *named = g_getenv(variable);

    return named && named[0] ? named : preset;
}

/* Run it on a QEMU that stands still; false if there is none. */
static bool run_qemu(const char *qemu, const char *balloon, const char *global,
                     Outcome *outcome)
{
    g_autofree char *qmp = g_strdup_printf("unix:%s,server=on,wait=off",
                                           command_run_socket());
    g_autoptr(GSubprocess) process = NULL;

    if (access(qemu, X_OK)) {
        g_test_skip("there is no QEMU");
        return false;
    }
    process = g_subprocess_new(0, NULL, qemu, "-machine", "pc", "-accel",
        "tcg", "-nodefaults", "-display", "none", "-S", "-m", "64", "-qmp",
        qmp, "-name", "guest", "-device", balloon, global ? "-global" : NULL,
        global, NULL);
    g_assert_nonnull(process);
    while (g_subprocess_get_identifier(process) &&
           access(command_run_socket(), F_OK)) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(10 * 1000);
    }
    RUN(outcome, "--qmp", command_run_socket(), "--json");
    g_subprocess_force_exit(process);
    g_subprocess_wait(process, NULL, NULL);
    unlink(command_run_socket());
    return true;
}

static void test_qemu(void)
{
    const char *qemu = qemu_path("QEMU_BINARY",
                                 BUILD_DIR "/bin/qemu-system-x86_64");
    g_auto(Outcome) off = { 0 };
    g_auto(Outcome) no_driver = { 0 };
    g_auto(Outcome) no_property = { 0 };

    if (!run_qemu(qemu, "virtio-balloon-pci,must-tell-host=on", NULL, &off)) {
        return;
    }
    g_assert_cmpint(off.status, ==, 3);
    assert_text(&off, "guest.name", "guest");
    assert_text(&off, "guest.status", "prelaunch");
    assert_number(&off, "guest.memory-bytes", 64 << 20);
    assert_number(&off, "balloon.held-bytes", 0);
    assert_text(&off, "skip-balloon.reason", "capability-off");
    assert_text(&off, "skip-balloon.if-on-reason", "must-tell-host");
    run_qemu(qemu, "virtio-balloon-pci,must-tell-host=on",
             "migration.skip-balloon=on", &no_driver);
    g_assert_cmpint(no_driver.status, ==, 3);
    assert_text(&no_driver, "skip-balloon.reason", "must-tell-host");
    assert_text(&no_driver, "skip-balloon.remedy", "the guest has no balloon "
                "driver that runs: load it, or use skip-unpopulated");
    run_qemu(qemu, "virtio-balloon-pci", "migration.skip-balloon=on",
             &no_property);
    assert_text(&no_property, "skip-balloon.remedy", "the device does not "
                "offer MUST_TELL_HOST: give it must-tell-host=on, or use "
                "skip-unpopulated");
}

static void test_qemu_unpopulated(void)
{
    const char *qemu = qemu_path("QEMU_BINARY",
                                 BUILD_DIR "/bin/qemu-system-x86_64");
    g_auto(Outcome) outcome = { 0 };

    if (run_qemu(qemu, "virtio-balloon-pci", "migration.skip-unpopulated=on",
                 &outcome)) {
        g_assert_cmpint(outcome.status, ==, 0);
        assert_number(&outcome, "would-skip-bytes", 64 << 20);
        assert_text(&outcome, "skip-unpopulated.status", "active");
    }
}

static void test_qemu_stock(void)
{
    const char *qemu = qemu_path("QEMU_STOCK_BINARY",
                                 BUILD_DIR "/bin/qemu-system-x86_64-stock");
    g_auto(Outcome) outcome = { 0 };

    if (run_qemu(qemu, "virtio-balloon-pci", NULL, &outcome)) {
        g_assert_cmpint(outcome.status, ==, 3);
        assert_text(&outcome, "skip-balloon.reason", "not-supported");
        assert_number(&outcome, "destination-bytes", 64 << 20);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("status");
    g_test_add_func("/status/help", test_help);
    g_test_add_func("/status/both", test_both);
    g_test_add_func("/status/text", test_text);
    g_test_add_func("/status/no-audit", test_no_audit);
    g_test_add_func("/status/balloon-only", test_balloon_only);
    g_test_add_func("/status/unpopulated-only", test_unpopulated_only);
    g_test_add_func("/status/off", test_off);
    g_test_add_func("/status/no-device", test_no_device);
    g_test_add_func("/status/must-tell-host", test_must_tell_host);
    g_test_add_func("/status/off-and-disabled", test_off_and_disabled);
    g_test_add_func("/status/inhibited", test_inhibited);
    g_test_add_func("/status/denied", test_denied);
    g_test_add_func("/status/zeroes", test_zeroes);
    g_test_add_func("/status/earlier", test_earlier);
    g_test_add_func("/status/not-told", test_not_told);
    g_test_add_func("/status/map-short", test_map_short);
    g_test_add_func("/status/unmodified", test_unmodified);
    g_test_add_func("/status/sparse", test_sparse);
    g_test_add_func("/status/qemu", test_qemu);
    g_test_add_func("/status/qemu-unpopulated", test_qemu_unpopulated);
    g_test_add_func("/status/qemu-stock", test_qemu_stock);
    return command_run_end(g_test_run());
}
