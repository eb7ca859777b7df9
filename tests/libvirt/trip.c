/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/libvirt/trip.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qemu/qmp.h"

#define DOCUMENT BUILD_DIR "/../docs/libvirt.md"
/* In the document: where the program, QEMU and guest are, and whose QEMU */
#define DOCUMENT_DIR "/usr/local/lib/skip-balloon"
#define DOCUMENT_STOCK "/usr/bin/qemu-system-x86_64"
#define DOCUMENT_BALLOON "<memballoon model='virtio'"
#define STALL_SECS 60
#define ALIVE_TICKS 3
#define BALLOON_TRIES 300
#define BALLOON_STEP_MS 100
/* A guest reports every 2 seconds, in pieces. */
#define REPORT_MS 5000
#define REPORT_LEAST (8 * SIZE_MIB)
#define SKIPPED_SHARE 0.98
/* Of a QEMU whose guest has TRIP_LEFT. */
#define SMALL (200 * SIZE_MIB)
/* What a QEMU may take to migrate, and its guest meanwhile. */
#define GROWN (32 * SIZE_MIB)
/* Both ends have all of it when an unmodified QEMU has sent it. */
#define NEEDED (7 * SIZE_GIB)

static Trip *the_trip;
static char *why_not;

/* ---- Set-up ---- */

static bool link_file(const Hosts *hosts, const char *name, const char *target,
                      GError **error)
{
    g_autofree char *path = hosts_file(hosts, name);
    g_autofree char *dir = g_path_get_dirname(path);

    FAIL_UNLESS(!g_mkdir_with_parents(dir, 0755) && !symlink(target, path),
                "cannot make '%s'", path);
    return true;
}

/* A file of the document, with the paths of this machine. */
static bool write_xml(Trip *trip, const Bench *bench, const char *name,
                      GError **error)
{
    const char *text = document_block(trip->document, "xml", name, error);
    g_autofree char *path = hosts_file(trip->hosts, name);
    g_autofree char *dir = g_path_get_dirname(path);
    g_autoptr(GString) xml = g_string_new(text);

    if (!text) {
        return false;
    }
    g_string_replace(xml, DOCUMENT_DIR, dir, 0);
    g_string_replace(xml, DOCUMENT_STOCK, bench->stock, 0);
    if (trip->reporting) {
        g_string_replace(xml, DOCUMENT_BALLOON,
                         DOCUMENT_BALLOON " freePageReporting='on'", 0);
        g_string_replace(xml, "touch=off", "touch=on", 0);
    }
    return g_file_set_contents(path, xml->str, -1, error);
}

/* What the reader has to fill in is what host_begin() does. */
static bool check_settings(Trip *trip, GError **error)
{
    const char *text = document_block(trip->document, "sh", "settings",
                                      error);

    FAIL_UNLESS(text && g_regex_match_simple(
                    "^DIR=" DOCUMENT_DIR "( *#.*)?\nTHERE=[^\n]*\n$", text,
                    0, 0), "settings are not DIR and THERE");
    return true;
}

static bool prepare(Trip *trip, const Bench *bench, GError **error)
{
    trip->session = session_new(NULL, STALL_SECS, error);
    trip->document = document_read(DOCUMENT, error);
    if (!trip->session || !trip->document) {
        return false;
    }
    trip->hosts = hosts_start(trip->session, error);
    if (!trip->hosts) {
        return false;
    }
    trip->at = hosts_get(trip->hosts, 0);
    return check_settings(trip, error) &&
           link_file(trip->hosts, "bin/qemu-system-x86_64", bench->qemu,
                     error) &&
           link_file(trip->hosts, "guest/vmlinuz", bench->config.kernel,
                     error) &&
           link_file(trip->hosts, "guest/initramfs.cpio.gz",
                     bench->config.initrd, error) &&
           write_xml(trip, bench, "vm.xml", error) &&
           write_xml(trip, bench, "skip-balloon.xml", error);
}

static bool enough_memory(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) {
        return false;
    }
    line = strstr(text, "MemAvailable:");
    return line && g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10) *
                   1024 >= NEEDED;
}

static char *find_why_not(const Bench *bench)
{
    const char *const files[] = {
        bench->qemu, bench->stock, bench->config.kernel, bench->config.initrd,
        NULL
    };

    return enough_memory() ? hosts_missing(files) :
           g_strdup_printf("both ends need %" G_GUINT64_FORMAT " GiB of "
                           "memory", (uint64_t)(NEEDED / SIZE_GIB));
}

/* ---- The guest ---- */

/* Ends when either side does. */
#define BRIDGE "cat <\"$0\" & exec cat >\"$0\""

bool trip_connect(Trip *trip, GError **error)
{
    g_autofree char *path = host_run(trip->at, "virsh ttyconsole vm", error);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    g_autoptr(GSubprocess) bridge = NULL;
    int pair[2];

    g_clear_pointer(&trip->guest, guest_free);
    if (!path) {
        return false;
    }
    FAIL_UNLESS(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                "no sockets");
    g_strchomp(path);
    g_subprocess_launcher_take_stdin_fd(launcher, dup(pair[1]));
    g_subprocess_launcher_take_stdout_fd(launcher, pair[1]);
    bridge = g_subprocess_launcher_spawn(launcher, error, "sh", "-c", BRIDGE,
                                         path, NULL);
    trip->guest = guest_new(trip->session, pair[0], error);
    return bridge && trip->guest;
}

bool trip_intact(Trip *trip, GError **error)
{
    g_autofree char *answer = NULL;

    if (!guest_wait_ticks(trip->guest, ALIVE_TICKS, error)) {
        return false;
    }
    answer = guest_command(trip->guest, "verify", error);
    return answer && guest_wait_ticks(trip->guest, 1, error);
}

/* Until it has what it was told. */
static bool wait_for_balloon(Trip *trip, GError **error)
{
    for (unsigned i = 0; i < BALLOON_TRIES; i++) {
        g_autofree char *text = host_run(trip->at, "virsh dommemstat vm",
                                         error);
        const char *actual = text ? strstr(text, "actual ") : NULL;

        if (!actual) {
            return false;
        }
        if (g_ascii_strtoull(actual + strlen("actual "), NULL, 10) * 1024 ==
            TRIP_LEFT) {
            return true;
        }
        if (!session_sleep(trip->session, BALLOON_STEP_MS, error)) {
            return false;
        }
    }
    FAIL_UNLESS(false, "the balloon does not come to what it was told");
}

static bool boot(Trip *trip, GError **error)
{
    g_autofree char *started = trip_step(trip, "start", error);
    g_autofree char *told = NULL;
    MigrationStats stats = { 0 };

    if (!started || !trip_connect(trip, error) ||
        !guest_wait_ticks(trip->guest, ALIVE_TICKS, error)) {
        return false;
    }
    told = trip_step(trip, "balloon", error);
    if (!told || !wait_for_balloon(trip, error)) {
        return false;
    }
    /* There and back, unmodified QEMU to itself and then to ours. */
    if (!trip_move(trip, "migrate", &stats, error)) {
        return false;
    }
    FAIL_UNLESS(!stats.has_skip && !stats.unpopulated.known,
                "unmodified QEMU skips");
    trip->unmodified_ms[0] = stats.total_ms;
    return true;
}

/* The document has the guest's own modprobe do it. */
static bool reload_driver(Trip *trip, GError **error)
{
    g_autofree char *answer = guest_command(trip->guest, "reload", error);

    return answer && wait_for_balloon(trip, error) &&
           trip_intact(trip, error);
}

static bool switch_on(Trip *trip, GError **error)
{
    g_autofree char *edited = trip_step(trip, "edit", error);
    MigrationStats stats = { 0 };

    if (!edited || !trip_move(trip, "switch-on", &stats, error)) {
        return false;
    }
    FAIL_UNLESS(!stats.has_skip, "unmodified QEMU skips");
    trip->unmodified_ms[1] = stats.total_ms;
    trip->ours = true;
    return reload_driver(trip, error);
}

/* ---- Cases ---- */

bool trip_begin(const Bench *bench, bool ours, Trip **trip, GError **error)
{
    *trip = NULL;
    if (!the_trip && !why_not) {
        why_not = find_why_not(bench);
    }
    if (the_trip && the_trip->in_case) {
        g_test_skip("an earlier case has failed");
        return true;
    }
    if (why_not) {
        g_test_skip(why_not);
        return true;
    }
    if (!the_trip) {
        the_trip = g_new0(Trip, 1);
        the_trip->in_case = true;
        if (!prepare(the_trip, bench, error) || !boot(the_trip, error)) {
            return false;
        }
    }
    the_trip->in_case = true;
    if (ours && !the_trip->ours && !switch_on(the_trip, error)) {
        return false;
    }
    *trip = the_trip;
    return true;
}

/* Until the host has got back what there is to get. */
static bool wait_reported(Trip *trip, GError **error)
{
    uint64_t last = 0;
    uint64_t now = 0;

    if (!host_memory(trip->at, &now, error)) {
        return false;
    }
    g_test_message("memory of QEMU when the guest has used it: %"
                   G_GUINT64_FORMAT " MiB", now / SIZE_MIB);
    do {
        last = now;
        if (!session_sleep(trip->session, REPORT_MS, error) ||
            !host_memory(trip->at, &now, error)) {
            return false;
        }
    } while (now + REPORT_LEAST < last);
    return true;
}

bool trip_boot_reporting(const Bench *bench, Trip **trip, GError **error)
{
    g_autofree char *reason = find_why_not(bench);
    g_autoptr(Trip) new = NULL;
    g_autofree char *defined = NULL;
    g_autofree char *edited = NULL;
    g_autofree char *started = NULL;

    *trip = NULL;
    if (reason) {
        g_test_skip(reason);
        return true;
    }
    new = g_new0(Trip, 1);
    new->reporting = true;
    if (!prepare(new, bench, error)) {
        return false;
    }
    defined = host_run(new->at, "virsh define vm.xml", error);
    edited = defined ? trip_step(new, "edit", error) : NULL;
    started = edited ? host_run(new->at, "virsh define vm.xml\n"
                                "virsh start vm", error) : NULL;
    if (!started || !trip_connect(new, error) ||
        !guest_wait_ready(new->guest, error) || !wait_reported(new, error)) {
        return false;
    }
    *trip = g_steal_pointer(&new);
    return true;
}

bool trip_done(Trip *trip)
{
    trip->in_case = false;
    trip->cases++;
    return true;
}

void trip_free(Trip *trip)
{
    if (!trip) {
        return;
    }
    guest_free(trip->guest);
    hosts_free(trip->hosts);
    document_free(trip->document);
    session_free(trip->session);
    g_free(trip);
}

void trip_end(void)
{
    g_clear_pointer(&the_trip, trip_free);
    g_clear_pointer(&why_not, g_free);
}

/* ---- Steps ---- */

char *trip_step(Trip *trip, const char *name, GError **error)
{
    const char *script = document_block(trip->document, "sh", name, error);
    char *out;

    if (!script) {
        return NULL;
    }
    host_mark(trip->at);
    host_mark(host_other(trip->at));
    out = host_run(trip->at, script, error);
    if (!out) {
        g_autofree char *log = host_log(host_other(trip->at));

        g_prefix_error(error, "step '%s': ", name);
        g_test_message("log of the other QEMU: %s", log);
    }
    return out;
}

bool trip_move(Trip *trip, const char *name, MigrationStats *stats,
               GError **error)
{
    Host *source = trip->at;
    g_autofree char *out = NULL;
    uint64_t before = 0;
    uint64_t after = 0;

    if (!host_memory(source, &before, error)) {
        return false;
    }
    out = trip_step(trip, name, error);
    if (!out) {
        return false;
    }
    trip->at = host_other(source);
    if (!host_memory(trip->at, &after, error) ||
        !host_migration(source, stats, error) || !trip_connect(trip, error)) {
        return false;
    }
    /* For the log; how long it took is nothing to test. */
    g_test_message("%s: %s, total time %" G_GINT64_FORMAT " ms, downtime %"
                   G_GINT64_FORMAT " ms, zero-page records %" G_GUINT64_FORMAT
                   ", skipped of the balloon %" G_GUINT64_FORMAT " MiB, other "
                   "%" G_GUINT64_FORMAT " MiB; memory of the source before %"
                   G_GUINT64_FORMAT " MiB, of the destination %"
                   G_GUINT64_FORMAT " MiB", name, stats->status,
                   stats->total_ms, stats->downtime_ms, stats->duplicate,
                   stats->skipped_bytes / SIZE_MIB,
                   stats->unpopulated.skipped_bytes / SIZE_MIB,
                   before / SIZE_MIB, after / SIZE_MIB);
    FAIL_UNLESS(migration_has_status(stats, "completed"),
                "the source's last word is '%s'", stats->status);
    return trip_intact(trip, error);
}

bool trip_refused(Trip *trip, const char *script, const char *said,
                  const char *logged, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    g_autofree char *out = NULL;
    g_autofree char *log = NULL;
    g_auto(GStrv) words = g_strsplit(said, "|", -1);
    bool found = false;

    host_mark(host_other(trip->at));
    out = host_run(trip->at, script, &refusal);
    log = host_log(host_other(trip->at));
    FAIL_UNLESS(!out, "it is not refused: %s", script);
    g_test_message("virsh says: %s", refusal->message);
    for (char **word = words; *word; word++) {
        found |= !!strstr(refusal->message, *word);
        if (!document_says(trip->document, *word, error)) {
            return false;
        }
    }
    FAIL_UNLESS(found, "virsh does not say '%s': %s", said,
                refusal->message);
    FAIL_UNLESS(!logged || strstr(log, logged),
                "that QEMU does not say '%s': %s", logged, log);
    return (!logged || document_says(trip->document, logged, error)) &&
           trip_intact(trip, error);
}

/* ---- Checks ---- */

bool trip_small(Trip *trip, GError **error)
{
    uint64_t bytes;

    if (!host_memory(trip->at, &bytes, error)) {
        return false;
    }
    FAIL_UNLESS(bytes <= SMALL, "QEMU has %" G_GUINT64_FORMAT " MiB",
                bytes / SIZE_MIB);
    return true;
}

bool trip_grown(Trip *trip, uint64_t before, GError **error)
{
    uint64_t after;

    if (!host_memory(trip->at, &after, error)) {
        return false;
    }
    FAIL_UNLESS(after <= before + GROWN, "QEMU had %" G_GUINT64_FORMAT
                " MiB, and has %" G_GUINT64_FORMAT, before / SIZE_MIB,
                after / SIZE_MIB);
    return true;
}

bool trip_skipped(const Trip *trip, const MigrationStats *stats,
                  GError **error)
{
    FAIL_UNLESS(stats->has_skip && !strcmp(stats->skip_status, "active"),
                "skip-balloon is '%s', reason '%s'", stats->skip_status,
                stats->skip_reason);
    FAIL_UNLESS(stats->skipped_pages * 4096 >= SKIPPED_SHARE * trip->ballooned,
                "%" G_GUINT64_FORMAT " pages of the balloon were skipped, of "
                "%" G_GUINT64_FORMAT " bytes", stats->skipped_pages,
                trip->ballooned);
    FAIL_UNLESS(stats->unpopulated.known, "skip-unpopulated is off");
    return true;
}
