/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/vm.h"

#include <errno.h>
#include <gio/gio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "qemu/qmp.h"

/* How much of what a dead QEMU has said goes into the error. */
#define TAIL_LINES 6
/* A closed QMP connection means that the process is about to be gone. */
#define EXIT_WAIT_MS 20000

struct Vm {
    Session *session;
    char *name;
    char *log_path;
    char *console_path;
    GSubprocess *process;
    bool exited;
    bool expected;              /* we ended it ourselves */
    Qmp *qmp;
    Guest *guest;               /* NULL at the level of devices */
    Qtest *qtest;               /* NULL otherwise */
};

static const char *const backend_names[] = {
    [BACKEND_ANON] = "anon",
    [BACKEND_MEMFD] = "memfd",
    [BACKEND_HUGETLB] = "hugetlb",
};

bool backend_parse(const char *name, Backend *backend, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(backend_names); i++) {
        if (!strcmp(name, backend_names[i])) {
            *backend = i;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "unknown backend '%s'; there are anon, memfd and hugetlb",
                name);
    return false;
}

const char *backend_name(Backend backend)
{
    return backend_names[backend];
}

/* The last lines of a file, "" if there are none. */
static char *file_tail(const char *path)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    guint count;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return g_strdup("");
    }
    lines = g_strsplit(g_strchomp(text), "\n", -1);
    count = g_strv_length(lines);
    return g_strjoinv("\n", lines + (count > TAIL_LINES ?
                                     count - TAIL_LINES : 0));
}

/* How the process ended and what was heard last from it, as an error. */
static GError *exit_error(const Vm *vm)
{
    g_autofree char *said = file_tail(vm->log_path);
    g_autofree char *how = NULL;
    const char *source = "";

    if (g_subprocess_get_if_signaled(vm->process)) {
        how = g_strdup_printf(
            "was killed by signal %d (%s)",
            g_subprocess_get_term_sig(vm->process),
            g_strsignal(g_subprocess_get_term_sig(vm->process)));
    } else {
        how = g_strdup_printf("ended with status %d",
                              g_subprocess_get_exit_status(vm->process));
    }
    if (!said[0]) {
        g_free(said);
        said = file_tail(vm->console_path);
        source = " The kernel of the guest:";
    }
    if (!said[0]) {
        source = " It said nothing.";
    }
    return g_error_new(SB_ERROR, SB_ERROR_PROCESS, "QEMU '%s' %s.%s%s%s",
                       vm->name, how, source, said[0] ? "\n" : "", said);
}

static void on_process_exit(GObject *object, GAsyncResult *result,
                            gpointer opaque)
{
    Vm *vm = opaque;

    g_subprocess_wait_finish(G_SUBPROCESS(object), result, NULL);
    vm->exited = true;
    if (!vm->expected) {
        session_fail(vm->session, exit_error(vm));
    }
}

/* Runs in the child between fork() and exec(). */
static void set_up_child(gpointer opaque)
{
    pid_t parent = *(pid_t *)opaque;

    /* Ctrl-C is for us; we then end the child ourselves. */
    setpgid(0, 0);
    /* But should we be killed, it goes too. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
}

static GSubprocess *spawn(const Vm *vm, char **args, int qmp_fd,
                          int serial_fd, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
    pid_t parent = getpid();

    g_subprocess_launcher_set_stderr_file_path(launcher, vm->log_path);
    g_subprocess_launcher_take_fd(launcher, qmp_fd, VM_QMP_FD);
    g_subprocess_launcher_take_fd(launcher, serial_fd, VM_SERIAL_FD);
    g_subprocess_launcher_set_child_setup(launcher, set_up_child, &parent,
                                          NULL);
    return g_subprocess_launcher_spawnv(
        launcher, (const char *const *)args, error);
}

static bool make_pair(int fds[2], GError **error)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make a socket: %s", g_strerror(errno));
        return false;
    }
    return true;
}

/* Start the process and take our ends of its sockets. */
static bool launch(Vm *vm, const VmConfig *config, char **args,
                   GError **error)
{
    int qmp_fds[2];
    int serial_fds[2];
    GError **cause;

    if (!make_pair(qmp_fds, error)) {
        return false;
    }
    if (!make_pair(serial_fds, error)) {
        close(qmp_fds[0]);
        close(qmp_fds[1]);
        return false;
    }
    vm->process = spawn(vm, args, qmp_fds[1], serial_fds[1], error);
    vm->qmp = qmp_new(vm->session, qmp_fds[0], vm->process ? error : NULL);
    cause = vm->qmp && vm->process ? error : NULL;
    if (config->device_level) {
        vm->qtest = qtest_new(vm->session, serial_fds[0], cause);
    } else {
        vm->guest = guest_new(vm->session, serial_fds[0], cause);
    }
    if (vm->process) {
        g_subprocess_wait_async(vm->process, NULL, on_process_exit, vm);
    }
    return vm->process && vm->qmp && (vm->guest || vm->qtest);
}

void vm_explain_exit(Vm *vm, GError **error)
{
    gint64 end = g_get_monotonic_time() + EXIT_WAIT_MS * INT64_C(1000);

    if (!g_error_matches(*error, SB_ERROR, SB_ERROR_PROCESS) &&
        !g_error_matches(*error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE)) {
        return;
    }
    while (!vm->exited && g_get_monotonic_time() < end) {
        if (!session_step(vm->session, 100, NULL)) {
            break;
        }
    }
    if (vm->exited) {
        g_clear_error(error);
        *error = exit_error(vm);
    }
}

bool vm_find_program(const char *qemu, GError **error)
{
    g_autofree char *program = g_find_program_in_path(qemu);

    if (!program) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there is no program '%s'; 'make qemu' and 'make "
                    "qemu-stock' build QEMUs, or name another one", qemu);
    }
    return program;
}

Vm *vm_start(Session *session, const VmConfig *config, GError **error)
{
    g_auto(GStrv) args = vm_args(session, config);
    g_autoptr(GError) failure = NULL;
    g_autoptr(Vm) vm = NULL;

    if (!vm_find_program(config->qemu, error)) {
        return NULL;
    }
    vm = g_new0(Vm, 1);
    vm->session = session;
    vm->name = g_strdup(config->name);
    vm->log_path = vm_log_path(session, config);
    vm->console_path = vm_console_path(session, config);
    if (!launch(vm, config, args, error)) {
        g_prefix_error(error, "cannot start QEMU '%s': ", config->qemu);
        return NULL;
    }
    if (!qmp_negotiate(vm->qmp, &failure)) {
        vm_explain_exit(vm, &failure);
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    return g_steal_pointer(&vm);
}

void vm_kill(Vm *vm)
{
    vm->expected = true;
    if (!vm->process) {
        return;
    }
    g_subprocess_force_exit(vm->process);
    while (!vm->exited) {
        g_main_context_iteration(NULL, TRUE);
    }
}

void vm_free(Vm *vm)
{
    if (!vm) {
        return;
    }
    vm_kill(vm);
    g_clear_object(&vm->process);
    qmp_free(vm->qmp);
    guest_free(vm->guest);
    qtest_free(vm->qtest);
    g_free(vm->name);
    g_free(vm->log_path);
    g_free(vm->console_path);
    g_free(vm);
}

void vm_expect_exit(Vm *vm)
{
    vm->expected = true;
}

pid_t vm_pid(const Vm *vm)
{
    const char *id = g_subprocess_get_identifier(vm->process);

    return id ? g_ascii_strtoll(id, NULL, 10) : 0;
}

Guest *vm_guest(const Vm *vm)
{
    return vm->guest;
}

Qtest *vm_qtest(const Vm *vm)
{
    return vm->qtest;
}

JsonNode *vm_execute(Vm *vm, const char *command, JsonObject *arguments,
                     GError **error)
{
    g_autoptr(GError) failure = NULL;
    JsonNode *result = qmp_execute(vm->qmp, command, arguments, &failure);

    if (!result) {
        vm_explain_exit(vm, &failure);
        g_propagate_error(error, g_steal_pointer(&failure));
    }
    return result;
}

bool vm_do(Vm *vm, const char *command, JsonObject *arguments,
           GError **error)
{
    g_autoptr(JsonNode) result = vm_execute(vm, command, arguments, error);

    return result;
}

bool vm_wait_event(Vm *vm, const char *name, GError **error)
{
    return qmp_wait_event(vm->qmp, name, error);
}
