/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program as its users meet it. */
#define _GNU_SOURCE
#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/commands/run.h"
#include "tests/qemu/fake-qemu.h"

/* For the guest to have begun to fill its memory. */
#define BOOT_MS 2500
/* A guest so small that a run takes seconds. */
#define SMALL "--memory", "512M", "--to", "256M"

/* A directory that the program makes its own in, and that is to be empty. */
static char *tmp_dir;

static const char *setting(const char *variable, const char *preset)
{
    const char *value = g_getenv(variable);

    return value && value[0] ? value : preset;
}

static GPtrArray *command_line(const char *const *args)
{
    GPtrArray *argv = g_ptr_array_new();

    g_ptr_array_add(argv, (gpointer)setting("SKIP_BALLOON_BINARY",
                                            BUILD_DIR "/bin/skip-balloon"));
    for (; *args; args++) {
        g_ptr_array_add(argv, (gpointer)*args);
    }
    g_ptr_array_add(argv, NULL);
    return argv;
}

static GSubprocess *spawn_in(const char *tmp, const char *const *args)
{
    g_autoptr(GPtrArray) argv = command_line(args);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_autoptr(GError) error = NULL;
    GSubprocess *process;

    g_subprocess_launcher_setenv(launcher, "TMPDIR", tmp, TRUE);
    process = g_subprocess_launcher_spawnv(
        launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    return process;
}

static GSubprocess *spawn(const char *const *args)
{
    return spawn_in(tmp_dir, args);
}

static void run(const char *const *args, Outcome *outcome)
{
    g_autoptr(GSubprocess) process = spawn(args);

    command_run_finish(process, outcome);
}

static void assert_usage(const char *const *args, const char *complaint)
{
    g_auto(Outcome) outcome = { 0 };

    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 2);
    g_assert_cmpstr(outcome.out, ==, "");
    assert_contains(outcome.err, complaint);
    assert_contains(outcome.err, "--help");
}

/* It fails, with that message and without a trace. */
static void assert_failure(const char *const *args, const char *complaint,
                           const char *remedy)
{
    g_auto(Outcome) outcome = { 0 };

    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 1);
    assert_contains(outcome.err, complaint);
    assert_contains(outcome.err, remedy);
    assert_empty(tmp_dir);
}

static void test_help(void)
{
    static const char *const general[] = { "--help", NULL };
    static const char *const demo[] = { "demo", "--help", NULL };
    static const char *const word[] = { "help", "demo", NULL };
    g_auto(Outcome) first = { 0 };
    g_auto(Outcome) second = { 0 };
    g_auto(Outcome) third = { 0 };

    run(general, &first);
    g_assert_cmpint(first.status, ==, 0);
    assert_contains(first.out, "demo");
    g_assert_cmpstr(first.err, ==, "");
    run(demo, &second);
    g_assert_cmpint(second.status, ==, 0);
    assert_contains(second.out, "skip-balloon demo");
    assert_contains(second.out, "--backend");
    g_assert_cmpstr(second.err, ==, "");
    run(word, &third);
    g_assert_cmpint(third.status, ==, 0);
    g_assert_cmpstr(third.out, ==, second.out);
}

/* It fits into a terminal, and is plain in any locale. */
static void test_help_fits(void)
{
    static const char *const commands[] = {
        "demo", "bench", "map", "migrate", "report", "status",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        const char *args[] = { commands[i], "--help", NULL };
        g_auto(Outcome) outcome = { 0 };
        g_auto(GStrv) lines = NULL;

        run(args, &outcome);
        g_assert_cmpint(outcome.status, ==, 0);
        g_assert_true(g_str_is_ascii(outcome.out));
        lines = g_strsplit(outcome.out, "\n", -1);
        for (char **line = lines; *line; line++) {
            if (strlen(*line) > 80) {
                g_test_fail_printf("%s: '%s'", commands[i], *line);
            }
        }
    }
}

static void test_version(void)
{
    static const char *const args[] = { "--version", NULL };
    g_auto(Outcome) outcome = { 0 };

    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    g_assert_true(g_str_has_prefix(
        outcome.out, "skip-balloon " SKIP_BALLOON_VERSION " (with"));
    g_assert_cmpstr(strstr(outcome.out, "libvirt"), ==,
#ifdef HAVE_LIBVIRT
                    "libvirt " LIBVIRT_VERSION ")\n");
#else
                    "libvirt)\n");
#endif
}

static void test_usage(void)
{
    static const char *const unknown_option[] = { "--fly", NULL };
    static const char *const unknown_command[] = { "fly", NULL };
    static const char *const demo_option[] = { "demo", "--fly", NULL };
    static const char *const size[] = { "demo", "--memory", "big", NULL };
    static const char *const set[] = { "demo", "-c", "all", NULL };
    static const char *const large[] = { "demo", "-m", "99999999T", NULL };
    static const char *const only[] = { "demo", "--only", "both", NULL };
    static const char *const accel[] = { "demo", "--accel", "xen", NULL };
    static const char *const part[] = { "bench", "--only", "fly", NULL };
    static const char *const layout[] = { "map", "-q", "s", "-l", "x", NULL };
    static const char *const colour[] = {
        "map", "-q", "s", "--color", "blue", NULL
    };
    static const char *const idle[] = { "demo", "--idle", "-t", "1G", NULL };
    static const char *const idle_set[] = {
        "demo", "--idle", "--capabilities", "balloon", NULL
    };

    assert_usage(unknown_option, "there is no option '--fly'");
    assert_usage(unknown_command, "there is no command 'fly'");
    assert_usage(demo_option, "--fly");
    assert_usage(size, "'big' is not a size; write one like 512M");
    assert_usage(large, "the size '99999999T' is too large");
    assert_usage(only, "--only takes 'off' or 'on', not 'both'");
    assert_usage(accel, "--accel takes 'tcg' or 'kvm', not 'xen'");
    assert_usage(part, "--only takes guest or device, not 'fly'");
    assert_usage(layout, "--layout takes 'rows' or 'hilbert', not 'x'");
    assert_usage(colour, "--color takes 'auto', 'always' or 'never', not 'bl");
    assert_usage(set, "'balloon', 'unpopulated' or 'both', not 'all'");
    assert_usage(idle, "no meaning to --to");
    assert_usage(idle_set, "no --capabilities but 'unpopulated'");
}

/* What is not there */
#define NOWHERE "/nonexistent/file"

static void test_no_guest(void)
{
    static const char *const kernel[] = { "demo", "--kernel", NOWHERE, NULL };
    static const char *const initrd[] = {
        "demo", "--kernel", "/dev/null", "--initrd", NOWHERE, NULL
    };

    assert_failure(kernel, "cannot read the kernel of the guest '" NOWHERE
                   "': ", "run 'make guest' or name one with --kernel");
    assert_failure(initrd, "cannot read the initial RAM disk of the guest '"
                   NOWHERE "': ", "'make guest' or name one with --initrd");
}

#define TOO_LARGE(backend) \
    "demo", "--memory", "1000T", "--to", "999T", "--kernel", "/dev/null", \
    "--initrd", "/dev/null", "--backend", backend, NULL

static void test_too_large(void)
{
    static const char *const anon[] = { TOO_LARGE("anon") };
    static const char *const memfd[] = { TOO_LARGE("memfd") };
    static const char *const huge[] = { TOO_LARGE("hugetlb") };

    assert_failure(anon, "this host has", "less --memory\n");
    assert_failure(memfd, "this host has", "or for --backend anon\n");
    assert_failure(huge, "two guests need 1048576000 huge pages of 2 MiB, ",
                   "run 'sysctl vm.nr_hugepages=1048576000' as root");
}

/* Where a run keeps what it needs, and what is to be kept. */
static void test_no_directory(void)
{
    static const char *const logs[] = {
        "demo", "--keep-logs", "/proc/none", NULL
    };
    static const char *const plain[] = { "demo", NULL };
    g_autofree char *lengthy = g_strnfill(65, '/');
    const struct {
        const char *tmp;
        const char *complaint;
    } bad[] = {
        { lengthy, "//' is too long for sockets in it; set TMPDIR to a sho" },
        { "/proc/none", "cannot make a directory, TMPDIR says where: " },
    };

    assert_failure(logs, "cannot make the directory '/proc/none': ", "No such");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GSubprocess) process = spawn_in(bad[i].tmp, plain);
        g_auto(Outcome) outcome = { 0 };

        command_run_finish(process, &outcome);
        g_assert_cmpint(outcome.status, ==, 1);
        assert_contains(outcome.err, bad[i].complaint);
    }
}

/* Results that tell of where they come from, and of nothing else. */
static void test_nothing_to_compare(void)
{
    static const char line[] =
        "{\"schema\":\"skip-balloon-bench/1\",\"kind\":\"environment\"}\n";
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("results-XXXXXX", &path, NULL);
    const char *args[] = { "bench", "--compare", path, path, NULL };

    close(fd);
    g_assert_true(g_file_set_contents(path, line, -1, NULL));
    assert_failure(args, "nothing was measured in both '", path);
    unlink(path);
}

/* Files that are there, and a QEMU to be found wanting. */
#define WITH_QEMU(qemu) \
    "demo", SMALL, "--kernel", "/dev/null", "--initrd", "/dev/null", \
    "--qemu", qemu, NULL

static void test_no_qemu(void)
{
    static const char *const args[] = { WITH_QEMU("/nonexistent/qemu") };

    assert_failure(args, "/nonexistent/qemu", "make qemu");
}

static void test_silent_qemu(void)
{
    static const char *const args[] = { WITH_QEMU("/bin/false") };

    assert_failure(args, "ended with status 1", "said nothing");
}

/* A program that does what a script says; the caller unlinks and frees it. */
static char *make_qemu(const char *script)
{
    char *path = NULL;
    int fd = g_file_open_tmp("bogus-qemu-XXXXXX", &path, NULL);

    close(fd);
    g_assert_true(g_file_set_contents(path, script, -1, NULL));
    g_assert_cmpint(chmod(path, 0700), ==, 0);
    return path;
}

static void test_broken_qemu(void)
{
    g_autofree char *path = make_qemu(
        "#!/bin/sh\necho my hovercraft is full of eels >&2\nexit 3\n");
    const char *args[] = { WITH_QEMU(path) };

    assert_failure(args, "ended with status 3", "full of eels");
    unlink(path);
}

static void test_no_program(void)
{
    const char *list[] = {
        "bench", "--list", "--qemu", "/bin/true", "--stock", "/nonexistent",
        NULL
    };

    assert_failure(list, "there is no program '/nonexistent'", "qemu-stock");
}

/* A program that is alive but no QEMU. */
static void test_mute_qemu(void)
{
    g_autofree char *path = make_qemu("#!/bin/sh\nexec sleep 100\n");
    const char *args[] = { "demo", "--timeout", "1", SMALL, "--kernel",
                           "/dev/null", "--initrd", "/dev/null", "--qemu",
                           path, NULL };

    assert_failure(args, "no QMP greeting", "--timeout");
    unlink(path);
}

/* One that knows only the first of our capabilities. */
static char *make_old_qemu(void)
{
    return make_qemu(
        "#!/bin/sh\n"
        "id=0\n"
        "echo '{\"QMP\": {}}' >&3\n"
        "while read -r line <&3; do\n"
        "    id=$((id + 1))\n"
        "    echo '{\"return\": [{\"capability\": \"skip-balloon\"}],"
        " \"id\": '$id'}' >&3\n"
        "done\n");
}

static void test_old_qemu(void)
{
    g_autofree char *path = make_old_qemu();
    g_autofree char *out = g_dir_make_tmp("program-test-XXXXXX", NULL);
    g_autofree char *results = g_build_filename(out, "results.jsonl", NULL);
    const char *demo[] = { "demo", "-c", "both", SMALL, "--kernel",
                           "/dev/null", "--initrd", "/dev/null", "--qemu",
                           path, NULL };
    const char *bench[] = { "bench", "--only", "guest", "--kernel",
                            "/dev/null", "--initrd", "/dev/null", "--qemu",
                            path, "--output", out, NULL };

    assert_failure(demo, "does not know the migration capability "
                   "skip-unpopulated; build one", "name an unmodified QEMU "
                   "with --stock only\n");
    assert_failure(bench, "does not know the migration capability "
                   "skip-unpopulated; build one", "name it with --qemu\n");
    unlink(path);
    unlink(results);
    g_assert_cmpint(rmdir(out), ==, 0);
}

/* What is to be unmodified, and is not. */
static void test_no_stock(void)
{
    g_autofree char *path = make_old_qemu();
    const char *args[] = { "demo", SMALL, "--kernel", "/dev/null", "--initrd",
                           "/dev/null", "--qemu", path, "--stock", path,
                           NULL };

    assert_failure(args, "' has skip-balloon itself", "make qemu-stock");
    unlink(path);
}

/* What one says that knows both. */
static const char knows_both[] =
    "*query-migrate-capabilities*) answer='["
    "{\"capability\": \"skip-balloon\"}, "
    "{\"capability\": \"skip-unpopulated\"}]' ;;\n"
    "*query-version*) answer='{\"qemu\": "
    "{\"major\": 1, \"minor\": 2, \"micro\": 3}}' ;;";

/* What no machine has room for is named, and no failure. */
static void test_left_out(void)
{
    g_autofree char *path = make_qemu("");
    g_autofree char *out = g_dir_make_tmp("program-test-XXXXXX", NULL);
    g_autofree char *results = g_build_filename(out, "results.jsonl", NULL);
    g_autofree char *report = g_build_filename(out, "report.html", NULL);
    const char *args[] = { "bench", "--only", "guest", "-b", "anon,hugetlb",
                           "-m", "900T", "-t", "800T", "--build", "both",
                           "--kernel", "/dev/null", "--initrd", "/dev/null",
                           "--qemu", path, "--stock", path, "--output", out,
                           NULL };
    g_auto(Outcome) outcome = { 0 };

    fake_qemu_write(path, knows_both, NULL);
    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.err,
                    "left out: anon/921600G/819200G/plain both: needs ");
    assert_contains(outcome.err, " of memory, the machine has ");
    assert_contains(outcome.err,
                    "left out: hugetlb/921600G/819200G/plain both: needs "
                    "943718400 huge pages of 2 MiB, ");
    unlink(path);
    unlink(results);
    unlink(report);
    g_assert_cmpint(rmdir(out), ==, 0);
}

/* Which run it was that failed, here because there is no guest. */
static void test_mute_guest(void)
{
    g_autofree char *path = make_qemu("");
    g_autofree char *out = g_dir_make_tmp("program-test-XXXXXX", NULL);
    g_autofree char *results = g_build_filename(out, "results.jsonl", NULL);
    const char *demo[] = { "demo", SMALL, "--only", "off", "--kernel",
                           "/dev/null", "--initrd", "/dev/null", "--qemu",
                           path, "--timeout", "2", NULL };
    const char *bench[] = { "bench", "--only", "guest", "-m", "512M", "-t",
                            "256M", "--build", "both", "--kernel",
                            "/dev/null", "--initrd", "/dev/null", "--qemu",
                            path, "--stock", path, "--output", out,
                            "--timeout", "2", NULL };

    fake_qemu_write(path, knows_both, NULL);
    assert_failure(demo, "demo: with skip-balloon off: the guest has said "
                   "nothing for 2 seconds", "--timeout");
    assert_failure(bench, "bench: anon/512M/256M/plain both: the guest has "
                   "said nothing for 2 seconds", "--timeout");
    unlink(path);
    unlink(results);
    g_assert_cmpint(rmdir(out), ==, 0);
}

/* The options that name the QEMUs and the guest, or NULL and a skipped test. */
static const char **real_args(bool stock, const char *const *more)
{
    const char *firmware = g_getenv("SB_FIRMWARE");
    GPtrArray *args = g_ptr_array_new();
    const char *pairs[] = {
        "--qemu", setting("QEMU_BINARY", BUILD_DIR "/bin/qemu-system-x86_64"),
        "--kernel", setting("SB_KERNEL", BUILD_DIR "/guest/vmlinuz"),
        "--initrd", setting("SB_INITRD",
                            BUILD_DIR "/guest/initramfs.cpio.gz"),
        "--stock", setting("QEMU_STOCK_BINARY",
                           BUILD_DIR "/bin/qemu-system-x86_64-stock"),
    };

    g_ptr_array_add(args, "demo");
    for (unsigned i = 0; i < G_N_ELEMENTS(pairs) - (stock ? 0 : 2); i += 2) {
        if (access(pairs[i + 1], R_OK)) {
            g_autofree char *why = g_strdup_printf("there is no %s",
                                                   pairs[i + 1]);

            g_test_skip(why);
            g_ptr_array_unref(args);
            return NULL;
        }
        g_ptr_array_add(args, (gpointer)pairs[i]);
        g_ptr_array_add(args, (gpointer)pairs[i + 1]);
    }
    if (firmware) {
        g_auto(GStrv) dirs = g_strsplit(firmware, ":", -1);

        for (char **dir = dirs; *dir; dir++) {
            g_ptr_array_add(args, "--firmware");
            g_ptr_array_add(args, (gpointer)g_intern_string(*dir));
        }
    }
    for (; *more; more++) {
        g_ptr_array_add(args, (gpointer)*more);
    }
    g_ptr_array_add(args, NULL);
    return (const char **)g_ptr_array_free(args, FALSE);
}

/* How many processes have a part of their command line in common. */
static unsigned count_processes(const char *part)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;
    unsigned count = 0;

    while ((name = g_dir_read_name(proc))) {
        g_autofree char *path = g_build_filename("/proc", name, "cmdline",
                                                 NULL);
        g_autofree char *text = NULL;
        gsize length;

        if (!g_ascii_isdigit(name[0]) ||
            !g_file_get_contents(path, &text, &length, NULL)) {
            continue;
        }
        count += memmem(text, length, part, strlen(part)) != NULL;
    }
    return count;
}

static void check_signal(int signal, bool cleans_up)
{
    static const char *const more[] = { SMALL, "--only", "off", NULL };
    g_autofree const char **args = real_args(false, more);
    g_autoptr(GSubprocess) process = NULL;
    g_auto(Outcome) outcome = { 0 };

    if (!args) {
        return;
    }
    process = spawn(args);
    g_usleep(BOOT_MS * 1000);
    /* The logs of QEMU are in there, so its command line names it. */
    g_assert_cmpuint(count_processes(tmp_dir), ==, 1);
    g_subprocess_send_signal(process, signal);
    command_run_finish(process, &outcome);
    if (cleans_up) {
        g_assert_cmpint(outcome.status, ==, 128 + signal);
        assert_contains(outcome.err, "interrupted");
        g_assert_cmpuint(count_processes(tmp_dir), ==, 0);
        assert_empty(tmp_dir);
        return;
    }
    for (int i = 0; i < 50 && count_processes(tmp_dir); i++) {
        g_usleep(100 * 1000);
    }
    g_assert_cmpuint(count_processes(tmp_dir), ==, 0);
}

static void test_interrupt(void)
{
    check_signal(SIGINT, true);
}

static void test_terminate(void)
{
    check_signal(SIGTERM, true);
}

static void assert_skipped(JsonObject *run, const char *capability)
{
    JsonObject *skip = json_object_get_object_member(run, capability);

    g_assert_cmpint(json_object_get_int_member(skip, "skipped-pages"), >, 0);
}

static void assert_run(JsonObject *run)
{
    JsonObject *skip = json_object_get_object_member(run, "skip-unpopulated");

    g_assert_cmpint(json_object_get_int_member(run, "sent-bytes"), >, 0);
    assert_skipped(run, "skip-balloon");
    assert_skipped(run, "skip-unpopulated");
    /* The firmware at least. */
    g_assert_cmpuint(json_array_get_length(
        json_object_get_array_member(skip, "left-alone")), >, 0);
}

static void test_json(void)
{
    static const char *const more[] = { SMALL, "--json", "-c", "both", NULL };
    g_autofree const char **args = real_args(true, more);
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;
    g_auto(Outcome) outcome = { 0 };
    JsonObject *report;

    if (!args) {
        return;
    }
    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    json_parser_load_from_data(parser, outcome.out, -1, &error);
    g_assert_no_error(error);
    report = json_node_get_object(json_parser_get_root(parser));
    g_assert_true(json_object_get_boolean_member(report, "intact"));
    g_assert_true(json_object_has_member(report, "off"));
    g_assert_cmpuint(json_array_get_length(
        json_object_get_array_member(report, "capabilities")), ==, 2);
    assert_run(json_object_get_object_member(report, "on"));
    assert_empty(tmp_dir);
}

static void test_idle(void)
{
    static const char *const more[] = {
        "--idle", "--memory", "512M", "--only", "on", NULL
    };
    g_autofree const char **args = real_args(false, more);
    g_auto(Outcome) outcome = { 0 };

    if (!args) {
        return;
    }
    run(args, &outcome);
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.out, "512 MiB on anon memory, freshly booted");
    assert_contains(outcome.out, "\nskip-unpopulated  ");
    assert_contains(outcome.out, "unpopulated pages skipped");
    g_assert_null(strstr(outcome.out, "balloon"));
    assert_empty(tmp_dir);
}

/* The last test, since it leaves its directory behind. */
static void test_killed(void)
{
    check_signal(SIGKILL, false);
}

static void remove_tree(const char *path)
{
    g_autoptr(GSubprocess) rm = g_subprocess_new(
        G_SUBPROCESS_FLAGS_NONE, NULL, "rm", "-rf", "--", path, NULL);

    if (rm) {
        g_subprocess_wait(rm, NULL, NULL);
    }
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    tmp_dir = g_dir_make_tmp("program-test-XXXXXX", NULL);
    g_test_add_func("/program/help", test_help);
    g_test_add_func("/program/help-fits", test_help_fits);
    g_test_add_func("/program/version", test_version);
    g_test_add_func("/program/usage", test_usage);
    g_test_add_func("/program/no-guest", test_no_guest);
    g_test_add_func("/program/no-directory", test_no_directory);
    g_test_add_func("/program/nothing-to-compare", test_nothing_to_compare);
    g_test_add_func("/program/too-large", test_too_large);
    g_test_add_func("/program/no-qemu", test_no_qemu);
    g_test_add_func("/program/silent-qemu", test_silent_qemu);
    g_test_add_func("/program/broken-qemu", test_broken_qemu);
    g_test_add_func("/program/no-program", test_no_program);
    g_test_add_func("/program/mute-qemu", test_mute_qemu);
    g_test_add_func("/program/old-qemu", test_old_qemu);
    g_test_add_func("/program/no-stock", test_no_stock);
    g_test_add_func("/program/left-out", test_left_out);
    g_test_add_func("/program/mute-guest", test_mute_guest);
    g_test_add_func("/program/interrupt", test_interrupt);
    g_test_add_func("/program/terminate", test_terminate);
    g_test_add_func("/program/json", test_json);
    g_test_add_func("/program/idle", test_idle);
    g_test_add_func("/program/killed", test_killed);
    status = g_test_run();
    remove_tree(tmp_dir);
    g_free(tmp_dir);
    return status;
}
