/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What skip-balloon map says when it cannot. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/commands/run.h"
#include "tests/map/answer.h"

static void assert_usage(const Outcome *outcome, const char *complaint)
{
    g_assert_cmpint(outcome->status, ==, 2);
    g_assert_cmpstr(outcome->out, ==, "");
    assert_contains(outcome->err, complaint);
    assert_contains(outcome->err, "--help");
}

static void test_usage(void)
{
    static const struct {
        const char *args[5];
        const char *complaint;
    } bad[] = {
        { { "--json" }, "--qmp has to name" },
        { { "-q", "s", "--fly" }, "--fly" },
        { { "-q", "s", "fly" }, "unexpected argument 'fly'" },
        { { "-q", "s", "-o", "a.gif" }, "in .svg or .png, not 'a.gif'" },
        { { "-q", "s", "-o", "svg" }, "in .svg or .png, not 'svg'" },
        { { "-q", "s", "-o", "" }, "in .svg or .png, not ''" },
        { { "-q", "s", "--json", "-o", "a.svg" }, "does not go with --output" },
        { { "-q", "s", "-l", "spiral" }, "not 'spiral'" },
        { { "-q", "s", "-n", "0" }, "--cells takes a number from 1" },
        { { "-q", "s", "-n", "-7" }, "--cells takes a number from 1" },
        { { "-q", "s", "-n", "16385" }, "--cells takes a number from 1" },
        { { "-q", "s", "-n", "many" }, "many" },
        { { "-q", "s", "--timeout", "0" }, "--timeout takes" },
        { { "-q", "s", "--color", "red" }, "not 'red'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        const char *args[6] = { NULL };
        g_auto(Outcome) outcome = { 0 };

        memcpy(args, bad[i].args, sizeof(bad[i].args));
        command_run(args, &outcome);
        assert_usage(&outcome, bad[i].complaint);
    }
}

static void assert_failure(const Outcome *outcome, const char *complaint,
                           const char *remedy)
{
    g_assert_cmpint(outcome->status, ==, 1);
    g_assert_cmpstr(outcome->out, ==, "");
    assert_contains(outcome->err, complaint);
    assert_contains(outcome->err, remedy);
    g_assert_null(strstr(outcome->err, "CRITICAL"));
}

static void test_unwritable(void)
{
    g_auto(Outcome) outcome = { 0 };
    g_auto(Outcome) folder = { 0 };
    g_autofree char *path = command_run_file("map.png");
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);

    RUN(&outcome, "-q", command_run_socket(), "-o", "/nonexistent/map.svg");
    g_free(fake_qmp_free(fake));
    assert_failure(&outcome, "cannot write '/nonexistent/map.svg'",
                   "No such file");
    fake = command_run_serve(MAP_ANSWER_STATES);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    RUN(&folder, "-q", command_run_socket(), "-o", path);
    g_free(fake_qmp_free(fake));
    assert_failure(&folder, "cannot write", "directory");
    g_rmdir(path);
    /* Nothing of it is left. */
    assert_empty(NULL);
}

static void test_full(void)
{
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(
        G_SUBPROCESS_FLAGS_STDERR_PIPE);
    const char *args[] = { "-q", command_run_socket(), NULL };
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);

    g_subprocess_launcher_take_stdout_fd(launcher, open("/dev/full",
                                                        O_WRONLY));
    command_run_with(launcher, args, &outcome);
    g_free(fake_qmp_free(fake));
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.err, "cannot write to standard output: No space");
}

static void test_no_socket(void)
{
    g_auto(Outcome) missing = { 0 };
    g_auto(Outcome) file = { 0 };
    g_auto(Outcome) lengthy = { 0 };
    g_autofree char *path = command_run_file("plain");
    g_autofree char *name = g_strnfill(200, 'x');

    RUN(&missing, "--qmp", command_run_socket());
    assert_failure(&missing, "there is no socket", "server=on,wait=off");
    g_assert_true(g_file_set_contents(path, "", -1, NULL));
    RUN(&file, "--qmp", path);
    assert_failure(&file, "is not a socket", "server=on,wait=off");
    g_unlink(path);
    RUN(&lengthy, "--qmp", name);
    assert_failure(&lengthy, "too long", "relative");
}

/* A socket of our own, with room for so many that wait; -1: nobody listens. */
static int make_socket(int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, command_run_socket(), sizeof(address.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)),
                    ==, 0);
    if (backlog >= 0) {
        g_assert_cmpint(listen(fd, backlog), ==, 0);
    }
    return fd;
}

static void test_nobody(void)
{
    g_auto(Outcome) outcome = { 0 };
    int fd = make_socket(-1);

    RUN(&outcome, "--qmp", command_run_socket());
    assert_failure(&outcome, "nobody listens on", "has ended");
    close(fd);
    g_unlink(command_run_socket());
}

/* QEMU accepts no second client: it waits, or does not even get so far. */
static void test_busy(void)
{
    g_auto(Outcome) waits = { 0 };
    g_auto(Outcome) refused = { 0 };
    int fd = make_socket(0);

    RUN(&waits, "--qmp", command_run_socket(), "--timeout", "1");
    assert_failure(&waits, "nobody speaks on", "one client at a time");
    /* The one that gave up is still in the queue, and fills it. */
    RUN(&refused, "--qmp", command_run_socket(), "--timeout", "1");
    assert_failure(&refused, "takes no more clients", "one client at a time");
    close(fd);
    g_unlink(command_run_socket());
}

/* Who has to wait is told so. */
static void test_silent(void)
{
    g_auto(Outcome) outcome = { 0 };
    int fd = make_socket(1);

    RUN(&outcome, "--qmp", command_run_socket(), "--timeout", "4");
    assert_failure(&outcome, "map: waiting for QEMU\n", "nobody speaks on");
    close(fd);
    g_unlink(command_run_socket());
}

static void test_interrupt(void)
{
    const char *args[] = { "-q", command_run_socket(), NULL };
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(
        COMMAND_RUN_PIPES);
    int fd = make_socket(1);
    g_autoptr(GSubprocess) process = command_run_spawn(launcher, args);
    int client = accept(fd, NULL, NULL);
    g_autofree char *complaint = NULL;

    g_subprocess_send_signal(process, SIGINT);
    g_subprocess_communicate_utf8(process, NULL, NULL, NULL, &complaint,
                                  NULL);
    g_assert_true(g_subprocess_get_if_exited(process));
    g_assert_cmpint(g_subprocess_get_exit_status(process), ==, 128 + SIGINT);
    assert_contains(complaint, "interrupted");
    close(client);
    close(fd);
    g_unlink(command_run_socket());
}

static void check_server(const char *greeting, const char *reply,
                         const char *complaint)
{
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = fake_qmp_new(command_run_socket(), greeting, reply);

    RUN(&outcome, "--qmp", command_run_socket(), "--timeout", "3");
    g_free(fake_qmp_free(fake));
    assert_failure(&outcome, complaint, command_run_socket());
}

static void test_not_qmp(void)
{
    check_server("QEMU 10.0.13 monitor - type 'help' for more information",
                 NULL, "does not speak QMP");
    check_server("[]", NULL, "does not speak QMP");
    check_server("null", NULL, "does not speak QMP");
    check_server("{\"QMP", NULL, "not that of -monitor");
}

static void test_old_qemu(void)
{
    check_server(FAKE_QMP_GREETING, "\"error\": {\"class\": "
                 "\"CommandNotFound\", \"desc\": \"The command "
                 "query-migration-map has not been found\"}",
                 "': this QEMU does not know query-migration-map; it takes "
                 "one that 'make qemu' builds\n");
}

static void test_refusal(void)
{
    check_server(FAKE_QMP_GREETING, "\"error\": {\"class\": "
                 "\"GenericError\", \"desc\": \"no cells today\"}",
                 "refused 'query-migration-map': no cells today");
    check_server(FAKE_QMP_GREETING, "\"error\": {}", "no reason given");
    check_server(FAKE_QMP_GREETING, "\"error\": 7", "no reason given");
    check_server(FAKE_QMP_GREETING, "\"error\": {\"class\": [], "
                 "\"desc\": 3}", "no reason given");
    check_server(FAKE_QMP_GREETING, "\"more\": 7", "no reason given");
}

static void test_gone(void)
{
    check_server(FAKE_QMP_GREETING, NULL, "closed its QMP connection");
}

static void test_bad_answer(void)
{
    check_server(FAKE_QMP_GREETING, "\"return\": {}",
                 "'page-size' is missing");
    check_server(FAKE_QMP_GREETING, "\"return\": null", "it is no object");
    check_server(FAKE_QMP_GREETING, "\"return\": {\"page-size\": true}",
                 "'page-size' is not a size");
    check_server(FAKE_QMP_GREETING, "\"return\": {\"page-size\": 4096, "
                 "\"cell-size\": 4096, \"recorded\": false, \"blocks\": "
                 "[{\"id\": \"ram0\", \"size\": 9999999999999999}]}",
                 "more than");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("map");
    g_test_add_func("/map-error/usage", test_usage);
    g_test_add_func("/map-error/unwritable", test_unwritable);
    g_test_add_func("/map-error/full", test_full);
    g_test_add_func("/map-error/no-socket", test_no_socket);
    g_test_add_func("/map-error/nobody", test_nobody);
    g_test_add_func("/map-error/busy", test_busy);
    g_test_add_func("/map-error/silent", test_silent);
    g_test_add_func("/map-error/interrupt", test_interrupt);
    g_test_add_func("/map-error/not-qmp", test_not_qmp);
    g_test_add_func("/map-error/old-qemu", test_old_qemu);
    g_test_add_func("/map-error/refusal", test_refusal);
    g_test_add_func("/map-error/gone", test_gone);
    g_test_add_func("/map-error/bad-answer", test_bad_answer);
    return command_run_end(g_test_run());
}
