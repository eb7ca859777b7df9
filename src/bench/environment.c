/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "bench/parts.h"
#include "qemu/migration.h"
#include "qemu/vm.h"

/* "10.0.13 (Debian 1:10.0.13+ds-1)" */
static char *version_of(Vm *vm, GError **error)
{
    g_autoptr(JsonNode) answer =
        vm_execute(vm, "query-version", NULL, error);
    JsonObject *object;
    JsonObject *qemu;

    if (!answer) {
        return NULL;
    }
    object = json_node_get_object(answer);
    qemu = json_object_get_object_member(object, "qemu");
    return g_strchomp(g_strdup_printf(
        "%d.%d.%d %s", (int)json_object_get_int_member(qemu, "major"),
        (int)json_object_get_int_member(qemu, "minor"),
        (int)json_object_get_int_member(qemu, "micro"),
        json_object_get_string_member_with_default(object, "package", "")));
}

/* Rather before an hour's work than after: does this QEMU know how? */
static bool knows(Vm *vm, const char *program, SkipSet set, GError **error)
{
    const char *unknown;

    if (!migrate_find_unknown(vm, set, &unknown, error)) {
        return false;
    }
    if (unknown) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "'%s' does not know the migration capability %s; build "
                    "one that does with 'make qemu', and name it with --qemu",
                    program, unknown);
    }
    return !unknown;
}

static char *ask_version(Session *session, const BenchOptions *options,
                         const char *program, SkipSet set, GError **error)
{
    VmConfig config = {
        .name = "trial",
        .qemu = program,
        .firmware = (const char *const *)options->firmware,
        .memory = 2 * SIZE_MIB,
        .no_balloon = true,
        .incoming = true,
    };
    g_autoptr(Vm) vm = vm_start(session, &config, error);

    return vm && knows(vm, program, set, error) ? version_of(vm, error)
                                                : NULL;
}

/* What stands between two texts in a file, or NULL. */
static char *find_in_file(const char *path, const char *before,
                          const char *after)
{
    g_autofree char *text = NULL;
    const char *start;
    const char *end;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    start = strstr(text, before);
    if (!start) {
        return NULL;
    }
    start += strlen(before);
    end = strstr(start, after);
    return g_strstrip(g_strndup(start, end ? (gsize)(end - start)
                                           : strlen(start)));
}

static void add_text(JsonObject *object, const char *member, char *text)
{
    if (text && text[0]) {
        json_object_set_string_member(object, member, text);
    }
    g_free(text);
}

/* Its version lies beside it. */
static char *guest_kernel(const BenchOptions *options)
{
    g_autofree char *dir = g_path_get_dirname(options->kernel);
    g_autofree char *path = g_build_filename(dir, "kernel.version", NULL);

    return find_in_file(path, "", "\n");
}

static void add_host(JsonObject *object)
{
    struct utsname name;

    add_text(object, "cpu", find_in_file("/proc/cpuinfo", "model name\t:",
                                         "\n"));
    json_object_set_int_member(object, "cpus",
                               sysconf(_SC_NPROCESSORS_ONLN));
    json_object_set_int_member(object, "memory-bytes", memory_total());
    if (!uname(&name)) {
        json_object_set_string_member(object, "kernel", name.release);
    }
    add_text(object, "thp",
             find_in_file("/sys/kernel/mm/transparent_hugepage/enabled", "[",
                          "]"));
}

JsonObject *bench_environment(Session *session, const BenchOptions *options,
                              GError **error)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *qemu = ask_version(session, options, options->qemu,
                                        SKIP_BOTH, error);
    g_autofree char *stock = qemu ?
        ask_version(session, options, options->stock, SKIP_NOTHING, error) :
        NULL;
    JsonObject *object;

    if (!stock) {
        return NULL;
    }
    object = json_object_new();
    add_text(object, "time", g_date_time_format_iso8601(now));
    json_object_set_string_member(object, "command", options->command);
    json_object_set_string_member(object, "profile", options->profile);
    json_object_set_string_member(object, "version", SKIP_BALLOON_VERSION);
    json_object_set_string_member(object, "qemu", qemu);
    json_object_set_string_member(object, "stock", stock);
    json_object_set_string_member(object, "accel",
                                  options->kvm ? "kvm" : "tcg");
    add_host(object);
    add_text(object, "guest-kernel", guest_kernel(options));
    return object;
}
