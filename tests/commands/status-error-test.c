/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What skip-balloon status says when it cannot, and how --watch ends. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/commands/run.h"
#include "tests/commands/status-replies.h"

static void test_usage(void)
{
    static const struct {
        const char *args[5];
        const char *complaint;
    } bad[] = {
        { { "--json" }, "--qmp has to name the socket of a QEMU, or --domain" },
        { { "-q", "s", "-d", "d" }, "one is enough" },
        { { "-q", "s", "-c", "u" }, "needs a --domain" },
        { { "-q", "s", "--fly" }, "--fly" },
        { { "-q", "s", "fly" }, "unexpected argument 'fly'" },
        { { "-q", "s", "-i", "0" }, "--interval takes" },
        { { "-q", "s", "--timeout", "0" }, "--timeout takes" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        const char *args[6] = { NULL };
        g_auto(Outcome) outcome = { 0 };

        memcpy(args, bad[i].args, sizeof(bad[i].args));
        command_run(args, &outcome);
        g_assert_cmpint(outcome.status, ==, 2);
        g_assert_cmpstr(outcome.out, ==, "");
        assert_contains(outcome.err, bad[i].complaint);
        assert_contains(outcome.err, "Try 'skip-balloon status --help'");
    }
}

static void assert_failure(const Outcome *outcome, const char *complaint)
{
    g_assert_cmpint(outcome->status, ==, 1);
    g_assert_cmpstr(outcome->out, ==, "");
    assert_contains(outcome->err, complaint);
    /* Once, with which QEMU it is. */
    g_assert_cmpstr(strchr(outcome->err, '\n'), ==, "\n");
    assert_contains(outcome->err, command_run_socket());
}

/* What cannot be done without, and an answer that nobody understands. */
static void test_answers(void)
{
    static const struct {
        const char *command;
        const char *complaint;
    } needed[] = {
        { "query-version", "is not as QEMU documents it" },
        { "query-status", "is not as QEMU documents it" },
        { "query-memory-size-summary", "is not as QEMU documents it" },
        { "query-memdev", "is not as QEMU documents it" },
        { "query-migrate-capabilities", "is not as QEMU documents it" },
        { "query-migrate", "is not as QEMU documents it" },
        { "query-migration-map", "" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++) {
        g_autofree char *refused = g_strdup_printf(
            "QEMU refused '%s': not today", needed[i].command);
        g_auto(Outcome) strange = { 0 };
        g_auto(Outcome) refusal = { 0 };
        FakeQmp *fake;

        status_replies_reset(true, true);
        status_replies_set(needed[i].command, NULL, STATUS_REFUSED);
        fake = status_replies_serve();
        RUN(&refusal, "-q", command_run_socket());
        g_free(fake_qmp_free(fake));
        assert_failure(&refusal, refused);
        status_replies_set(needed[i].command, NULL, "\"return\": 5");
        fake = status_replies_serve();
        RUN(&strange, "-q", command_run_socket());
        g_free(fake_qmp_free(fake));
        assert_failure(&strange, needed[i].complaint);
    }
}

/* Anything in the place of anything else has to do no harm. */
static void test_nonsense(void)
{
    static const char *const commands[] = {
        "query-name", "query-memdev", "qom-list", "query-balloon",
        "x-query-virtio", "x-query-virtio-status", "qom-get",
        "query-balloon-map", "query-migrate-capabilities", "query-migrate",
    };
    static const char *const nonsense[] = {
        "\"return\": []", "\"return\": {}", "\"return\": null",
        "\"return\": [null, 1, {}]", "\"return\": {\"name\": [], "
        "\"status\": {}, \"stats\": 1, \"guest-features\": {}, "
        "\"host-features\": {\"dev-features\": [null, {}]}}",
        "\"return\": [{\"id\": 1, \"capability\": [], \"type\": {}, "
        "\"name\": {}, \"path\": 3}]",
        "\"return\": [{\"pages\": 1, \"used\": {}}]",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(nonsense); j++) {
            g_auto(Outcome) outcome = { 0 };
            FakeQmp *fake;

            status_replies_reset(true, true);
            status_replies_set(commands[i], NULL, nonsense[j]);
            fake = status_replies_serve();
            RUN(&outcome, "-q", command_run_socket(), "--json");
            g_free(fake_qmp_free(fake));
            g_assert_cmpint(outcome.status, >=, 0);
            assert_contains(outcome.status == 1 ? outcome.err : "documents",
                            "documents");
            g_assert_cmpint(outcome.status, !=, 2);
        }
    }
}

static void test_gone(void)
{
    g_auto(Outcome) missing = { 0 };
    g_auto(Outcome) closed = { 0 };
    g_auto(Outcome) mute = { 0 };
    FakeQmp *fake;

    RUN(&missing, "-q", command_run_socket());
    assert_failure(&missing, "there is no socket");
    status_replies_reset(true, true);
    status_replies_set("query-migrate", NULL, NULL);
    fake = status_replies_serve();
    RUN(&closed, "-q", command_run_socket());
    g_free(fake_qmp_free(fake));
    assert_failure(&closed, "QEMU closed its QMP connection");
    status_replies_set("query-migrate", NULL, "");
    fake = status_replies_serve();
    RUN(&mute, "-q", command_run_socket(), "--timeout", "1");
    g_free(fake_qmp_free(fake));
    assert_failure(&mute, "no answer from QEMU to 'query-migrate' for 1 sec");
}

static void test_full(void)
{
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(
        G_SUBPROCESS_FLAGS_STDERR_PIPE);
    const char *args[] = { "-q", command_run_socket(), NULL };
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake;

    status_replies_reset(true, true);
    fake = status_replies_serve();
    g_subprocess_launcher_take_stdout_fd(launcher,
                                         open("/dev/full", O_WRONLY));
    command_run_with(launcher, args, &outcome);
    g_free(fake_qmp_free(fake));
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.err, "cannot write to standard output");
}

/* Reports until it is interrupted, here after the second one. */
static void test_watch(void)
{
    g_autoptr(GSubprocessLauncher) launcher =
        command_run_launcher(COMMAND_RUN_PIPES);
    const char *args[] = {
        "-q", command_run_socket(), "--json", "-w", "-i", "1", NULL
    };
    g_autoptr(GSubprocess) process = NULL;
    g_autoptr(GDataInputStream) out = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    FakeQmp *fake;

    status_replies_reset(true, true);
    fake = status_replies_serve();
    process = command_run_spawn(launcher, args);
    out = g_data_input_stream_new(g_subprocess_get_stdout_pipe(process));
    first = g_data_input_stream_read_line(out, NULL, NULL, NULL);
    second = g_data_input_stream_read_line(out, NULL, NULL, NULL);
    g_subprocess_send_signal(process, SIGINT);
    g_subprocess_wait(process, NULL, NULL);
    g_free(fake_qmp_free(fake));
    g_assert_nonnull(first);
    g_assert_cmpstr(first, ==, second);
    g_assert_true(g_subprocess_get_if_exited(process));
    g_assert_cmpint(g_subprocess_get_exit_status(process), ==, 128 + SIGINT);
}

static gpointer end_later(gpointer fake)
{
    g_usleep(1500 * 1000);
    return fake_qmp_free(fake);
}

/* As text, with a line between; QEMU ends. */
static void test_watch_ends(void)
{
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake;
    GThread *thread;

    status_replies_reset(true, true);
    fake = status_replies_serve();
    thread = g_thread_new("end", end_later, fake);
    RUN(&outcome, "-q", command_run_socket(), "-w", "-i", "1");
    g_free(g_thread_join(thread));
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.out, "for the guest\n\nQEMU 10.0.13");
    assert_contains(outcome.err, "QEMU closed its QMP connection");
}

/* ---- Through libvirt ---- */

#define DOMAIN "-d", "test", "-c", "test:///default"

/* The sanitizer wants to be loaded first itself. */
#if defined(FAKE_LIBVIRT) && !defined(__SANITIZE_ADDRESS__)
#define HAVE_FAKE_LIBVIRT
#endif

#ifdef HAVE_FAKE_LIBVIRT
static void run_fake(const char *mode, const char *const *args,
                     Outcome *outcome)
{
    g_autoptr(GSubprocessLauncher) launcher =
        command_run_launcher(COMMAND_RUN_PIPES);

    g_subprocess_launcher_setenv(launcher, "LD_PRELOAD", FAKE_LIBVIRT, TRUE);
    g_subprocess_launcher_setenv(launcher, "SB_FAKE_LIBVIRT", mode, TRUE);
    command_run_with(launcher, args, outcome);
}

/* It is the same as at the socket. */
static void test_domain(void)
{
    static const char *const by_name[] = { DOMAIN, "--json", NULL };
    static const char *const by_uuid[] = {
        "-d", "6695eb01-f6a4-8304-79aa-97f2502e193f", "-c",
        "test:///default", "--json", NULL
    };
    g_auto(Outcome) name = { 0 };
    g_auto(Outcome) uuid = { 0 };
    g_auto(Outcome) socket = { 0 };
    FakeQmp *fake;

    status_replies_reset(true, true);
    fake = status_replies_serve();
    run_fake(command_run_socket(), by_name, &name);
    g_free(fake_qmp_free(fake));
    fake = status_replies_serve();
    run_fake(command_run_socket(), by_uuid, &uuid);
    g_free(fake_qmp_free(fake));
    fake = status_replies_serve();
    RUN(&socket, "-q", command_run_socket(), "--json");
    g_free(fake_qmp_free(fake));
    g_assert_cmpint(name.status, ==, 0);
    g_assert_cmpstr(name.out, ==, socket.out);
    g_assert_cmpstr(name.err, ==, "");
    g_assert_cmpstr(uuid.out, ==, socket.out);
}

static void test_domain_fails(void)
{
    static const char *const json[] = { DOMAIN, "--json", NULL };
    static const char *const soon[] = { DOMAIN, "--timeout", "1", NULL };
    g_auto(Outcome) nobody = { 0 };
    g_auto(Outcome) nowhere = { 0 };
    g_auto(Outcome) foreign = { 0 };
    g_auto(Outcome) garbage = { 0 };
    g_auto(Outcome) refused = { 0 };
    g_auto(Outcome) mute = { 0 };
    FakeQmp *fake;

    RUN(&nobody, "-d", "nobody", "-c", "test:///default");
    g_assert_cmpint(nobody.status, ==, 1);
    assert_contains(nobody.err, "libvirt has no domain 'nobody': ");
    RUN(&nowhere, "-d", "x", "-c", "qemu+unix:///system?socket=/nowhere");
    g_assert_cmpint(nowhere.status, ==, 1);
    assert_contains(nowhere.err, "cannot reach the libvirt of domain 'x': ");
    assert_contains(nowhere.err, "/nowhere");
    RUN(&foreign, DOMAIN);
    g_assert_cmpint(foreign.status, ==, 1);
    assert_contains(foreign.err, "status: domain 'test': libvirt does not "
                    "pass 'query-version' on: ");
    run_fake("garbage", json, &garbage);
    g_assert_cmpint(garbage.status, ==, 1);
    assert_contains(garbage.err, "domain 'test': what libvirt answers to "
                    "'query-version' is not QMP");
    status_replies_reset(true, true);
    status_replies_set("query-status", NULL, STATUS_REFUSED);
    fake = status_replies_serve();
    run_fake(command_run_socket(), json, &refused);
    g_free(fake_qmp_free(fake));
    g_assert_cmpint(refused.status, ==, 1);
    assert_contains(refused.err, "domain 'test': QEMU refused "
                    "'query-status': not today");
    run_fake("mute", soon, &mute);
    g_assert_cmpint(mute.status, ==, 1);
    assert_contains(mute.err, "domain 'test': no answer from libvirt for 1 ");
}
#elif !defined(HAVE_LIBVIRT)
static void test_domain(void)
{
    g_auto(Outcome) outcome = { 0 };

    RUN(&outcome, DOMAIN);
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.err, "was built without libvirt, and cannot look "
                    "for domain 'test'; install libvirt-dev");
}
#endif

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("status");
    g_test_add_func("/status/usage", test_usage);
    g_test_add_func("/status/answers", test_answers);
    g_test_add_func("/status/nonsense", test_nonsense);
    g_test_add_func("/status/gone", test_gone);
    g_test_add_func("/status/full", test_full);
    g_test_add_func("/status/watch", test_watch);
    g_test_add_func("/status/watch-ends", test_watch_ends);
#if defined(HAVE_FAKE_LIBVIRT) || !defined(HAVE_LIBVIRT)
    g_test_add_func("/status/domain", test_domain);
#endif
#ifdef HAVE_FAKE_LIBVIRT
    g_test_add_func("/status/domain-fails", test_domain_fails);
#endif
    return command_run_end(g_test_run());
}
