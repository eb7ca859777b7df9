/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said when the system, or the other side, does not do its part. */
#include <fcntl.h>
#include <stdio.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "bench/parts.h"
#include "qemu/channel.h"
#include "qemu/guest.h"
#include "qemu/migration.h"
#include "qemu/qmp.h"
#include "qemu/qtest.h"
#include "qemu/vm.h"
#include "tests/qemu/fake-qemu.h"

/* Where nothing is to stall, on a busy host either */
#define STALL_SECS 60
/* A user without rights */
#define NOBODY 65534

static Session *session;

static void assert_says(GError *error, const char *text)
{
    g_assert_nonnull(error);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, text));
    g_error_free(error);
}

/* From here on no file can be opened. Returns what was allowed. */
static struct rlimit forbid_files(void)
{
    struct rlimit before;
    struct rlimit none;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = 3;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    return before;
}

/* How much address space this process has by now, in bytes. */
static uint64_t own_space(void)
{
    g_autofree char *text = NULL;
    const char *field;

    g_assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    field = strstr(text, "VmSize:");
    g_assert_nonnull(field);
    return g_ascii_strtoull(field + strlen("VmSize:"), NULL, 10) * 1024;
}

static void allow_files(const struct rlimit *before)
{
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, before), ==, 0);
}

/* A socket at @path, of a kind. */
static int make_socket(const char *path, int kind)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, kind | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)),
                    ==, 0);
    return fd;
}

static void on_line(const char *line G_GNUC_UNUSED,
                    gpointer opaque G_GNUC_UNUSED)
{
}

static void test_no_socket(void)
{
    GError *error = NULL;

    g_assert_null(channel_new(open("/dev/null", O_RDWR), on_line, NULL,
                              &error));
    assert_says(error, "cannot use a socket: ");
}

static void test_connect(void)
{
    g_autofree char *path = session_path(session, "s");
    int fd = make_socket(path, SOCK_DGRAM);
    struct rlimit before;
    GError *error = NULL;

    g_assert_null(qmp_connect(session, path, &error));
    assert_says(error, "cannot connect to '");
    error = NULL;
    before = forbid_files();
    g_assert_null(qmp_connect(session, path, &error));
    allow_files(&before);
    assert_says(error, "cannot make a socket: Too many open files");
    close(fd);
    g_unlink(path);
}

/* The other side is there no longer when something is to be said. */
static void test_send(void)
{
    GError *error = NULL;
    int fds[2];
    Qtest *qtest;
    Guest *guest;
    Qmp *qmp;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qtest = qtest_new(session, fds[0], NULL);
    close(fds[1]);
    g_assert_false(qtest_out(qtest, 1, 1, 1, &error));
    assert_says(error, "cannot send 'outb 0x1 0x1' to QEMU: ");
    qtest_free(qtest);

    error = NULL;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qmp = qmp_new(session, fds[0], NULL);
    close(fds[1]);
    g_assert_null(qmp_execute(qmp, "query-status", NULL, &error));
    assert_says(error, "cannot send 'query-status' to QEMU: ");
    qmp_free(qmp);

    error = NULL;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    guest = guest_new(session, fds[0], NULL);
    close(fds[1]);
    g_assert_false(guest_send(guest, "stat", &error));
    assert_says(error, "cannot send 'stat' to the guest: ");
    guest_free(guest);
}

static void test_qtest_answer(void)
{
    GError *error = NULL;
    int fds[2];
    Qtest *qtest;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qtest = qtest_new(session, fds[0], NULL);
    g_assert_cmpint(write(fds[1], "FAIL Unknown command\n", 21), ==, 21);
    g_assert_false(qtest_out(qtest, 1, 1, 1, &error));
    assert_says(error, "QEMU answered 'FAIL Unknown command' to 'outb 0x1 0x1'"
                " over qtest");
    error = NULL;
    g_assert_false(qtest_out(qtest, 1, 1, 1, &error));
    assert_says(error, "no answer from QEMU over qtest for 1 seconds");
    error = NULL;
    shutdown(fds[1], SHUT_WR);
    g_assert_false(qtest_out(qtest, 1, 1, 1, &error));
    assert_says(error, "QEMU closed its qtest connection");
    qtest_free(qtest);
    close(fds[1]);
}

/* What a guest has said when it was told to do something, before or after. */
static void test_guest_answer(void)
{
    static const struct {
        const char *says;
        const char *command;
        const char *complaint;
    } answers[] = {
        { "SB VERIFY bad page\n", "verify",
          "the guest answers 'SB VERIFY bad page' to 'verify'" },
        { "SB UNKNOWN fly\n", "fly",
          "the guest does not know the command 'fly'" },
        { "SB UNKNOWN fly\n", "fly 64",
          "the guest does not know the command 'fly 64'" },
        { "SB UNKNOWN fly 64\n", "fly 64",
          "the guest does not know the command 'fly 64'" },
        /* Those are other commands. */
        { "SB UNKNOWN flyer\nSB UNKNOWN f\nSB FLYER bad\n", "fly",
          "the guest has said nothing for 1 seconds" },
        { "SB ERROR no memory\nSB CORRUPT page 5\n", "verify",
          "the guest reports 'SB ERROR no memory'" },
        { "SB TICK 7 bad\n", "verify",
          "the guest reports 'SB TICK 7 bad'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(answers); i++) {
        size_t length = strlen(answers[i].says);
        GError *error = NULL;
        int fds[2];
        Guest *guest;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
        guest = guest_new(session, fds[0], NULL);
        g_assert_cmpint(write(fds[1], answers[i].says, length), ==, length);
        g_assert_null(guest_command(guest, answers[i].command, &error));
        assert_says(error, answers[i].complaint);
        guest_free(guest);
        close(fds[1]);
    }
}

/* It is what answers the next command that counts. */
static void test_guest_unknown_before(void)
{
    g_autofree char *answer = NULL;
    GError *error = NULL;
    int fds[2];
    Guest *guest;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    guest = guest_new(session, fds[0], NULL);
    g_assert_true(guest_send(guest, "fly", NULL));
    g_assert_cmpint(write(fds[1], "SB UNKNOWN fly\nSB MEM total=1\n", 30), ==,
                    30);
    answer = guest_command(guest, "mem", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(answer, ==, "SB MEM total=1");
    guest_free(guest);
    close(fds[1]);
}

static void test_start(void)
{
    VmConfig config = {
        .name = "trial",
        .qemu = "/bin/true",
        .incoming = true,
    };
    struct rlimit before = forbid_files();
    GError *error = NULL;

    g_assert_null(vm_start(session, &config, &error));
    allow_files(&before);
    assert_says(error, "cannot start QEMU '/bin/true': cannot make a socket: "
                "Too many open files");
}

/* How a QEMU has ended, and who tells why. */
static void test_end(void)
{
    static const struct {
        const char *script;
        const char *kernel;     /* what that of the guest has said, or NULL */
        const char *complaint;
    } ends[] = {
        { "kill -SEGV $$", NULL,
          "QEMU 'trial' was killed by signal 11 (Segmentation fault). It said "
          "nothing." },
        { "exit 2", NULL,
          "QEMU 'trial' ended with status 2. It said nothing." },
        { "exit 2", "Kernel panic\n", "QEMU 'trial' ended with status 2. The "
          "kernel of the guest:\nKernel panic" },
        { "echo no memory >&2; exit 1", "Kernel panic\n",
          "QEMU 'trial' ended with status 1.\nno memory" },
    };
    g_autofree char *qemu = session_path(session, "qemu");
    VmConfig config = { .name = "trial", .qemu = qemu };
    g_autofree char *console = vm_console_path(session, &config);

    for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_autofree char *script = g_strconcat("#!/bin/sh\n", ends[i].script,
                                              "\n", NULL);
        GError *error = NULL;

        g_assert_true(g_file_set_contents(qemu, script, -1, NULL));
        g_assert_cmpint(g_chmod(qemu, 0700), ==, 0);
        if (ends[i].kernel) {
            g_assert_true(g_file_set_contents(console, ends[i].kernel, -1,
                                              NULL));
        }
        session->stall_secs = STALL_SECS;
        g_assert_null(vm_start(session, &config, &error));
        session->stall_secs = 1;
        assert_says(error, ends[i].complaint);
        session_forget_failure(session);
    }
}

/* What comes of a migration of which QEMU says that, and then maybe more. */
static void test_migration(void)
{
    static const struct {
        const char *status;
        const char *more;
        MigrationMode mode;
        unsigned stall_secs;
        const char *complaint;
    } migrations[] = {
        { "failed\", \"error-desc\": \"a rat", "", MODE_PLAIN, STALL_SECS,
          "the migration has failed: a rat" },
        { "cancelled", "", MODE_PLAIN, STALL_SECS,
          "the migration has been cancelled: QEMU does not say why" },
        { "active", "", MODE_PLAIN, 1,
          "the migration has moved nothing for 1 seconds" },
        { "completed", "", MODE_PLAIN, 1,
          "no event RESUME from QEMU for 1 seconds" },
        { "active", "status=completed; event=RESUME", MODE_POSTCOPY,
          STALL_SECS,
          "the migration was over before it could switch to postcopy" },
    };
    g_autofree char *qemu = session_path(session, "qemu");
    VmConfig config = { .name = "trial", .qemu = qemu };

    for (unsigned i = 0; i < G_N_ELEMENTS(migrations); i++) {
        g_autofree char *answers = g_strdup_printf(
            "*query-migrate*) : ${status:='%s'}\n"
            "answer='{\"status\": \"'$status'\"}'\n%s ;;",
            migrations[i].status, migrations[i].more);
        MigrationStats stats;
        GError *error = NULL;
        Vm *vm;

        fake_qemu_write(qemu, answers, NULL);
        session->stall_secs = STALL_SECS;
        vm = vm_start(session, &config, &error);
        g_assert_no_error(error);
        session->stall_secs = migrations[i].stall_secs;
        g_assert_false(migration_mode_wait(session, vm, vm,
                                           migrations[i].mode, &stats,
                                           &error));
        assert_says(error, migrations[i].complaint);
        vm_free(vm);
    }
    session->stall_secs = 1;
}

static void test_memory(void)
{
    GError *error = NULL;
    uint64_t private;
    uint64_t tables;
    pid_t pid = fork();

    if (!pid) {
        _exit(0);
    }
    /* A process that has ended has no memory. */
    g_assert_cmpint(waitid(P_PID, pid, &(siginfo_t) { 0 }, WEXITED | WNOWAIT),
                    ==, 0);
    g_assert_false(memory_counters_of_process(pid, &private, &tables,
                                              &error));
    assert_says(error, "cannot measure the memory of a QEMU: no 'RssAnon:' "
                "in /proc/");
    error = NULL;
    g_assert_false(memory_of_process(pid, &private, &error));
    assert_says(error, "cannot measure the memory of a QEMU: ");
    waitpid(pid, NULL, 0);
    error = NULL;
    g_assert_false(memory_warm(1ULL << 60, &error));
    assert_says(error, "cannot have 1152921504606846976 bytes of memory: ");
}

static void test_socket_cost(void)
{
    GError *error = NULL;
    struct rlimit before;
    double ms;

    g_assert_false(socket_cost(1ULL << 60, false, &ms, &error));
    assert_says(error, "cannot measure the cost of a socket: mmap: ");
    error = NULL;
    before = forbid_files();
    g_assert_false(socket_cost(4096, false, &ms, &error));
    allow_files(&before);
    assert_says(error, "cannot measure the cost of a socket: socketpair: ");
}

/* The other process has no room for what is sent. */
static void test_socket_room(void)
{
    const uint64_t bytes = 64 << 20;
    GError *error = NULL;
    struct rlimit before;
    struct rlimit few;
    double ms;

    g_assert_cmpint(getrlimit(RLIMIT_AS, &before), ==, 0);
    few = before;
    few.rlim_cur = own_space() + bytes * 3 / 2;
    g_assert_cmpint(setrlimit(RLIMIT_AS, &few), ==, 0);
    g_assert_false(socket_cost(bytes, false, &ms, &error));
    g_assert_cmpint(setrlimit(RLIMIT_AS, &before), ==, 0);
    assert_says(error, "cannot measure the cost of a socket: send: ");
}

/* For root there is no limit, so somebody else has to meet it. */
static void test_socket_process(void)
{
    const struct rlimit none = { 0 };
    int status;
    pid_t pid = fork();

    if (!pid) {
        g_autoptr(GError) error = NULL;
        double ms;

        if ((!getuid() && setuid(NOBODY)) || setrlimit(RLIMIT_NPROC, &none)) {
            _exit(2);
        }
        _exit(socket_cost(4096, false, &ms, &error) ||
              !strstr(error->message, "cannot measure the cost of a socket: "
                      "fork: "));
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (status == W_EXITCODE(2, 0)) {
        g_test_skip("processes cannot be forbidden");
        return;
    }
    g_assert_cmpint(status, ==, 0);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    session = session_new(NULL, 1, NULL);
    g_test_add_func("/failures/no-socket", test_no_socket);
    g_test_add_func("/failures/connect", test_connect);
    g_test_add_func("/failures/send", test_send);
    g_test_add_func("/failures/qtest-answer", test_qtest_answer);
    g_test_add_func("/failures/guest-answer", test_guest_answer);
    g_test_add_func("/failures/guest-unknown-before",
                    test_guest_unknown_before);
    g_test_add_func("/failures/start", test_start);
    g_test_add_func("/failures/end", test_end);
    g_test_add_func("/failures/migration", test_migration);
    g_test_add_func("/failures/memory", test_memory);
    g_test_add_func("/failures/socket-cost", test_socket_cost);
    g_test_add_func("/failures/socket-room", test_socket_room);
    g_test_add_func("/failures/socket-process", test_socket_process);
    status = g_test_run();
    session_free(session);
    return status;
}
