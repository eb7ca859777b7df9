/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/libvirt/host.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define UNPRIVILEGED "nobody"
#define DOMAIN "vm"
#define LIBRARIES "/usr/lib"
#define DRIVER "libvirt/connection-driver/libvirt_driver_qemu.so"
#define PACKAGES "apt-get install --no-install-recommends libvirt-daemon " \
    "libvirt-daemon-driver-qemu libvirt-clients"
#define PATH_OF_DAEMONS "/usr/sbin:/usr/bin:/sbin:/bin"
#define START_TRIES 200
#define START_STEP_MS 50
/* Commands that hang end with it, and the test goes on. */
#define RUN "exec timeout -k 5 120 sh -ec \"$0\""
/*
 * Waits until the test has ended, or has enough of it. Then ends what is not
 * its child, since libvirtd leaves QEMUs running.
 */
#define KEEPER "read -r _; kill -9 $(grep -rhs --include='*.pid' . \"$0\");" \
    " rm -rf \"$0\""

struct Host {
    Hosts *hosts;
    char *dir;
    char *uri;
    GSubprocess *daemon;
    gsize marked;               /* bytes of its log that do not count */
};

struct Hosts {
    Session *session;
    char *dir;
    char *files;
    GSubprocess *keeper;
    Host host[2];
};

static const struct passwd *user(void)
{
    return getuid() ? NULL : getpwnam(UNPRIVILEGED);
}

/* In the child, of which only some functions may be called */
static void become_unprivileged(void *opaque)
{
    const struct passwd *entry = opaque;

    if (entry && (setgroups(0, NULL) || setgid(entry->pw_gid) ||
                  setuid(entry->pw_uid))) {
        _exit(126);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Neither a signal to the test's group nor one to a terminal's ends it. */
static void leave_group(void *opaque)
{
    (void)opaque;
    setsid();
}

static GSubprocessLauncher *new_launcher(GSubprocessFlags flags,
                                         bool unprivileged)
{
    GSubprocessLauncher *launcher = g_subprocess_launcher_new(flags);

    if (unprivileged) {
        g_subprocess_launcher_set_child_setup(launcher, become_unprivileged,
                                              (void *)user(), NULL);
    }
    g_subprocess_launcher_setenv(launcher, "LC_ALL", "C.UTF-8", TRUE);
    return launcher;
}

/* ---- Whether it can be run ---- */

static char *find_daemon(void)
{
    char *path = g_find_program_in_path("libvirtd");

    /* Debian's users do not have /usr/sbin on PATH. */
    return path ?: g_file_test("/usr/sbin/libvirtd",
                               G_FILE_TEST_IS_EXECUTABLE) ?
                   g_strdup("/usr/sbin/libvirtd") : NULL;
}

/* The file of libvirt's driver for QEMU, or NULL. */
static char *find_driver(void)
{
    g_autoptr(GDir) dir = g_dir_open(LIBRARIES, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(LIBRARIES, name, DRIVER, NULL);

        if (g_file_test(path, G_FILE_TEST_EXISTS)) {
            return g_steal_pointer(&path);
        }
    }
    return NULL;
}

static bool may_read(const char *file)
{
    g_autoptr(GSubprocessLauncher) launcher = new_launcher(0, true);
    g_autoptr(GSubprocess) process = g_subprocess_launcher_spawn(
        launcher, NULL, "test", "-r", file, NULL);

    return process && g_subprocess_wait_check(process, NULL, NULL);
}

char *hosts_missing(const char *const *files)
{
    g_autofree char *daemon = find_daemon();
    g_autofree char *driver = find_driver();
    g_autofree char *virsh = g_find_program_in_path("virsh");

    if (!daemon || !driver || !virsh) {
        return g_strdup_printf("there is no %s; %s", !daemon ? "libvirtd" :
                               !driver ? "driver of libvirtd for QEMU" :
                               "virsh", PACKAGES);
    }
    for (const char *const *file = files; *file; file++) {
        if (!may_read(*file)) {
            return g_strdup_printf("the user '%s' may not read %s",
                                   user() ? UNPRIVILEGED : g_get_user_name(),
                                   *file);
        }
    }
    return NULL;
}

/* ---- Starting and ending ---- */

static bool make_dir(const char *dir, GError **error)
{
    const struct passwd *entry = user();

    if (g_mkdir(dir, 0700) ||
        (entry && chown(dir, entry->pw_uid, entry->pw_gid))) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make the directory '%s': %s", dir,
                    g_strerror(errno));
        return false;
    }
    return true;
}

static bool write_file(const Host *host, const char *name, const char *text,
                       GError **error)
{
    g_autofree char *path = g_build_filename(host->dir, name, NULL);

    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE,
                                    0644, error);
}

/*
 * Without more than QEMU's driver, nothing of this machine but processes is
 * touched. Where a guest is to be sent to must not be 127.0.0.1.
 */
static bool set_up(const Host *host, unsigned number, GError **error)
{
    static const char *const dirs[] = {
        "", "run", "config", "config/libvirt", "data", "cache", "drivers",
    };
    g_autofree char *driver = find_driver();
    g_autofree char *link = g_build_filename(host->dir, "drivers",
                                             "libvirt_driver_qemu.so", NULL);
    g_autofree char *daemon = g_strdup_printf(
        "auth_unix_rw = \"none\"\n"
        "auth_unix_ro = \"none\"\n"
        "host_uuid = \"%u1111111-1111-4111-8111-111111111111\"\n"
        "log_filters = \"2:qemu.qemu_monitor 3:*\"\n"
        "log_outputs = \"1:file:%s/log\"\n", number, host->dir);
    g_autofree char *qemu = g_strdup_printf(
        "security_driver = \"none\"\n"
        "stdio_handler = \"file\"\n"
        "migration_address = \"127.0.0.%u\"\n"
        "migration_host = \"127.0.0.%u\"\n", number + 1, number + 1);

    for (unsigned i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *dir = g_build_filename(host->dir, dirs[i], NULL);

        if (!make_dir(dir, error)) {
            return false;
        }
    }
    if (symlink(driver, link)) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE, "cannot make '%s': %s",
                    link, g_strerror(errno));
        return false;
    }
    return write_file(host, "config/libvirt/libvirtd.conf", daemon, error) &&
           write_file(host, "config/libvirt/qemu.conf", qemu, error);
}

static void set_dirs(GSubprocessLauncher *launcher, const char *dir)
{
    static const struct {
        const char *variable;
        const char *dir;
    } dirs[] = {
        { "HOME", "" },
        { "XDG_RUNTIME_DIR", "run" },
        { "XDG_CONFIG_HOME", "config" },
        { "XDG_DATA_HOME", "data" },
        { "XDG_CACHE_HOME", "cache" },
        { "LIBVIRT_DRIVER_DIR", "drivers" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *path = g_build_filename(dir, dirs[i].dir, NULL);

        g_subprocess_launcher_setenv(launcher, dirs[i].variable, path, TRUE);
    }
    g_subprocess_launcher_setenv(launcher, "PATH", PATH_OF_DAEMONS, TRUE);
}

/* The last line that libvirtd has written anywhere. */
static char *last_words(const Host *host)
{
    static const char *const names[] = { "out", "log" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(host->dir, names[i], NULL);
        g_autofree char *text = NULL;
        char *line;

        if (g_file_get_contents(path, &text, NULL, NULL) && text[0]) {
            g_strchomp(text);
            line = strrchr(text, '\n');
            return g_strdup(line ? line + 1 : text);
        }
    }
    return g_strdup("it says nothing");
}

static bool start(Host *host, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher = new_launcher(
        G_SUBPROCESS_FLAGS_STDERR_MERGE, true);
    g_autofree char *daemon = find_daemon();
    g_autofree char *out = g_build_filename(host->dir, "out", NULL);
    g_autofree char *config = g_build_filename(
        host->dir, "config/libvirt/libvirtd.conf", NULL);

    set_dirs(launcher, host->dir);
    g_subprocess_launcher_set_stdout_file_path(launcher, out);
    host->daemon = g_subprocess_launcher_spawn(launcher, error, daemon,
                                               "--config", config, NULL);
    for (unsigned i = 0; host->daemon && i < START_TRIES; i++) {
        g_autofree char *answer = host_run(host, "virsh -q list", NULL);

        if (answer) {
            return true;
        }
        if (!session_sleep(host->hosts->session, START_STEP_MS, error)) {
            return false;
        }
    }
    if (host->daemon) {
        g_autofree char *words = last_words(host);

        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "libvirtd does not come up: %s", words);
    }
    return false;
}

static bool start_keeper(Hosts *hosts, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher = new_launcher(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE |
        G_SUBPROCESS_FLAGS_STDERR_SILENCE, false);

    g_subprocess_launcher_set_child_setup(launcher, leave_group, NULL, NULL);
    hosts->keeper = g_subprocess_launcher_spawn(launcher, error, "sh", "-c",
                                                KEEPER, hosts->dir, NULL);
    return hosts->keeper;
}

Hosts *hosts_start(Session *session, GError **error)
{
    g_autoptr(Hosts) hosts = g_new0(Hosts, 1);

    hosts->session = session;
    hosts->dir = session_path(session, "hosts");
    hosts->files = g_build_filename(hosts->dir, "files", NULL);
    /* The session's own is nobody else's. */
    if (chmod(session->dir, 0711) || !make_dir(hosts->dir, error) ||
        !start_keeper(hosts, error) || !make_dir(hosts->files, error)) {
        return NULL;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(hosts->host); i++) {
        Host *host = &hosts->host[i];

        host->hosts = hosts;
        host->dir = g_build_filename(hosts->dir, i ? "b" : "a", NULL);
        host->uri = g_strdup_printf("qemu+unix:///session?socket=%s/run/"
                                    "libvirt/libvirt-sock", host->dir);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(hosts->host); i++) {
        if (!set_up(&hosts->host[i], i + 1, error) ||
            !start(&hosts->host[i], error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&hosts);
}

void hosts_free(Hosts *hosts)
{
    if (!hosts) {
        return;
    }
    if (hosts->keeper) {
        g_output_stream_close(g_subprocess_get_stdin_pipe(hosts->keeper),
                              NULL, NULL);
        g_subprocess_wait(hosts->keeper, NULL, NULL);
        g_object_unref(hosts->keeper);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(hosts->host); i++) {
        Host *host = &hosts->host[i];

        if (host->daemon) {
            g_subprocess_force_exit(host->daemon);
            g_subprocess_wait(host->daemon, NULL, NULL);
            g_object_unref(host->daemon);
        }
        g_free(host->dir);
        g_free(host->uri);
    }
    g_free(hosts->dir);
    g_free(hosts->files);
    g_free(hosts);
}

char *hosts_file(const Hosts *hosts, const char *name)
{
    return g_build_filename(hosts->files, name, NULL);
}

Host *hosts_get(Hosts *hosts, unsigned number)
{
    return &hosts->host[number];
}

Host *host_other(Host *host)
{
    return host == &host->hosts->host[0] ? host + 1 : host - 1;
}

/* ---- Commands ---- */

GSubprocess *host_begin(Host *host, const char *script, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher = new_launcher(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
        false);
    const char *program = g_getenv("SKIP_BALLOON_BINARY");
    g_autofree char *tools = g_path_get_dirname(
        program && program[0] ? program : BUILD_DIR "/bin/skip-balloon");
    g_autofree char *path = g_strdup_printf("%s:%s", tools,
                                            g_getenv("PATH"));

    g_subprocess_launcher_set_cwd(launcher, host->hosts->files);
    g_subprocess_launcher_setenv(launcher, "HOME", host->hosts->files, TRUE);
    g_subprocess_launcher_setenv(launcher, "PATH", path, TRUE);
    g_subprocess_launcher_setenv(launcher, "DIR", host->hosts->files, TRUE);
    g_subprocess_launcher_setenv(launcher, "LIBVIRT_DEFAULT_URI", host->uri,
                                 TRUE);
    g_subprocess_launcher_setenv(launcher, "THERE", host_other(host)->uri,
                                 TRUE);
    return g_subprocess_launcher_spawn(launcher, error, "sh", "-c", RUN,
                                       script, NULL);
}

char *host_end(GSubprocess *process, GError **error)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    if (!g_subprocess_communicate_utf8(process, NULL, NULL, &out, &err,
                                       error)) {
        return NULL;
    }
    if (!g_subprocess_get_successful(process)) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS, "%s%s", err, out);
        return NULL;
    }
    return g_steal_pointer(&out);
}

char *host_run(Host *host, const char *script, GError **error)
{
    g_autoptr(GSubprocess) process = host_begin(host, script, error);

    return process ? host_end(process, error) : NULL;
}

/* ---- What is known of its QEMU ---- */

static char *text_of(const Host *host, const char *name, gsize *length)
{
    g_autofree char *path = g_build_filename(host->dir, name, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, length, NULL) ? text :
           g_strdup("");
}

#define LOG "log"
#define QEMU_LOG "cache/libvirt/qemu/log/" DOMAIN ".log"

void host_mark(Host *host)
{
    g_autofree char *log = text_of(host, LOG, &host->marked);
}

char *host_log(const Host *host)
{
    return text_of(host, QEMU_LOG, NULL);
}

/* The answer to query-migrate in a line of the log, or NULL. */
static JsonNode *answer_in(const char *line)
{
    const char *reply = strstr(line, "reply={\"return\": ");
    g_autoptr(JsonNode) node = reply ?
        json_from_string(strchr(reply, '{'), NULL) : NULL;
    JsonObject *object = node ? json_node_get_object(node) : NULL;
    JsonNode *value = object ? json_object_get_member(object, "return") :
                      NULL;

    return value && JSON_NODE_HOLDS_OBJECT(value) &&
           json_object_has_member(json_node_get_object(value), "ram") ?
           json_node_copy(value) : NULL;
}

bool host_migration(const Host *host, MigrationStats *stats, GError **error)
{
    g_autofree char *text = text_of(host, LOG, NULL);
    g_auto(GStrv) lines = g_strsplit(text + MIN(strlen(text),
                                                host->marked), "\n", -1);

    for (unsigned i = g_strv_length(lines); i--;) {
        g_autoptr(JsonNode) answer = answer_in(lines[i]);

        if (answer) {
            migration_parse(json_node_get_object(answer), stats);
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                "there is no migration in libvirtd's log");
    return false;
}

bool host_memory(const Host *host, uint64_t *bytes, GError **error)
{
    g_autofree char *pid = text_of(host, "run/libvirt/qemu/run/" DOMAIN
                                   ".pid", NULL);

    if (!pid[0]) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS, "there is no QEMU");
        return false;
    }
    return memory_of_process(g_ascii_strtoull(pid, NULL, 10), bytes, error);
}
