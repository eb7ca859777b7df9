/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of libvirt: the steps of docs/libvirt.md, with virsh and two
 * unprivileged libvirtd. Cases follow one another with one guest; one that is
 * run alone does first what the guest needs for it. SB_KEEP_LOGS has no
 * effect here: what failed is in the messages.
 */
#include "tests/libvirt/trip.h"

#include <glib/gstdio.h>
#include <string.h>

#define SLOW_MIB "16"
#define POLL_TRIES 200
#define POLL_MS 50
/* What QEMU has besides the memory of the guest, in a file. */
#define FILE_MAX (200 * SIZE_MIB)

static unsigned n_cases;

/* ---- Moves ---- */

static bool migrate_unmodified(Bench *bench, GError **error)
{
    Trip *trip;

    /* All of it is what every case begins with. */
    if (!trip_begin(bench, false, &trip, error) || !trip) {
        return !*error;
    }
    return trip_done(trip);
}

static bool migrate(Bench *bench, GError **error)
{
    static const char *const ways[] = { "to", "fro" };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        MigrationStats stats = { 0 };

        if (!trip_move(trip, "migrate", &stats, error) ||
            !trip_skipped(trip, &stats, error) || !trip_small(trip, error)) {
            return false;
        }
        g_test_message("%s: unmodified %" G_GINT64_FORMAT " ms, ours %"
                       G_GINT64_FORMAT " ms, %.1f times as fast", ways[i],
                       trip->unmodified_ms[i], stats.total_ms,
                       trip->unmodified_ms[i] / (double)MAX(stats.total_ms, 1));
        /* Unmodified QEMU had populated all before the first. */
        FAIL_UNLESS(!i || stats.unpopulated.skipped_pages,
                    "nothing else was skipped");
    }
    return trip_done(trip);
}

/* Such that precopy takes longer than the step waits. */
static bool set_speed(Host *host, const char *mib, GError **error)
{
    g_autofree char *script = g_strdup_printf("virsh migrate-setspeed vm %s",
                                              mib);
    g_autofree char *out = host_run(host, script, error);

    return out;
}

static bool migrate_postcopy(Bench *bench, GError **error)
{
    MigrationStats stats = { 0 };
    Host *source;
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    source = trip->at;
    if (!set_speed(source, SLOW_MIB, error)) {
        return false;
    }
    if (!trip_move(trip, "postcopy", &stats, error)) {
        if (strstr((*error)->message, "Userfaultfd not available")) {
            g_clear_error(error);
            g_test_skip("vm.unprivileged_userfaultfd is 0");
            return set_speed(source, "8796093022207", error) &&
                   trip_done(trip);
        }
        return false;
    }
    FAIL_UNLESS(stats.postcopy_bytes > 0, "it was not postcopy");
    /* Of a domain that is defined there, it would be kept. */
    set_speed(source, "8796093022207", NULL);
    return trip_skipped(trip, &stats, error) && trip_small(trip, error) &&
           trip_done(trip);
}

static bool migrate_parallel(Bench *bench, GError **error)
{
    MigrationStats stats = { 0 };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    return trip_move(trip, "parallel", &stats, error) &&
           trip_skipped(trip, &stats, error) && trip_small(trip, error) &&
           trip_done(trip);
}

/* skip-balloon status, map and migrate */
static bool use_program(Bench *bench, GError **error)
{
    g_autofree char *status = NULL;
    g_autofree char *map = NULL;
    MigrationStats stats = { 0 };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    status = trip_step(trip, "status", error);
    if (!status) {
        return false;
    }
    FAIL_UNLESS(strstr(status, "skip-balloon               active: skips ") &&
                strstr(status, "skip-unpopulated           active: skips "),
                "status says: %s", status);
    map = trip_step(trip, "map", error);
    if (!map) {
        return false;
    }
    FAIL_UNLESS(strstr(map, "in the balloon"), "map says: %s", map);
    return trip_move(trip, "program", &stats, error) &&
           trip_skipped(trip, &stats, error) && trip_small(trip, error) &&
           trip_done(trip);
}

/* ---- Files ---- */

static bool check_file(Trip *trip, const char *name, GError **error)
{
    g_autofree char *path = hosts_file(trip->hosts, name);
    GStatBuf info;

    FAIL_UNLESS(!g_stat(path, &info), "there is no '%s'", path);
    g_test_message("%s takes %" G_GUINT64_FORMAT " MiB of the disk", name,
                   info.st_blocks * UINT64_C(512) / SIZE_MIB);
    FAIL_UNLESS(info.st_blocks * UINT64_C(512) <= FILE_MAX,
                "'%s' is too large", name);
    g_unlink(path);
    return true;
}

static bool save_and_restore(Bench *bench, GError **error)
{
    g_autofree char *saved = NULL;
    g_autofree char *restored = NULL;
    MigrationStats stats = { 0 };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    saved = trip_step(trip, "save", error);
    if (!saved || !host_migration(trip->at, &stats, error) ||
        !trip_skipped(trip, &stats, error)) {
        return false;
    }
    restored = trip_step(trip, "restore", error);
    return restored && trip_connect(trip, error) && trip_intact(trip, error) &&
           trip_small(trip, error) && check_file(trip, "vm.save", error) &&
           trip_done(trip);
}

static bool managed_save(Bench *bench, GError **error)
{
    g_autofree char *out = NULL;
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    out = trip_step(trip, "managedsave", error);
    return out && trip_connect(trip, error) && trip_intact(trip, error) &&
           trip_small(trip, error) && trip_done(trip);
}

static bool dump(Bench *bench, GError **error)
{
    g_autofree char *out = NULL;
    MigrationStats stats = { 0 };
    uint64_t before;
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    if (!host_memory(trip->at, &before, error)) {
        return false;
    }
    out = trip_step(trip, "dump", error);
    return out && host_migration(trip->at, &stats, error) &&
           trip_skipped(trip, &stats, error) &&
           check_file(trip, "vm.core", error) && trip_intact(trip, error) &&
           trip_grown(trip, before, error) && trip_done(trip);
}

/* ---- What ends otherwise ---- */

static bool wait_for_job(Trip *trip, GError **error)
{
    for (unsigned i = 0; i < POLL_TRIES; i++) {
        g_autofree char *info = host_run(trip->at, "virsh domjobinfo vm",
                                         error);

        if (!info) {
            return false;
        }
        if (strstr(info, "Memory processed:") &&
            !strstr(info, "Memory processed: 0.000")) {
            return true;
        }
        if (!session_sleep(trip->session, POLL_MS, error)) {
            return false;
        }
    }
    FAIL_UNLESS(false, "no job begins");
}

static bool abort_job(Bench *bench, GError **error)
{
    g_autoptr(GSubprocess) migration = NULL;
    g_autoptr(GError) aborted = NULL;
    g_autofree char *told = NULL;
    g_autofree char *out = NULL;
    g_autofree char *status = NULL;
    uint64_t before;
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    if (!host_memory(trip->at, &before, error)) {
        return false;
    }
    migration = host_begin(trip->at, "virsh migrate --live --bandwidth 1 vm "
                           "\"$THERE\"", error);
    if (!migration || !wait_for_job(trip, error)) {
        return false;
    }
    told = trip_step(trip, "abort", error);
    out = host_end(migration, &aborted);
    status = told ? host_run(trip->at, "virsh qemu-monitor-command vm --hmp "
                             "info migrate", error) : NULL;
    if (!status) {
        return false;
    }
    FAIL_UNLESS(!out && strstr(aborted->message, "canceled by client"),
                "virsh was not told: %s", aborted ? aborted->message : out);
    FAIL_UNLESS(strstr(status, "cancelled"), "QEMU says: %s", status);
    return trip_intact(trip, error) && trip_grown(trip, before, error) &&
           trip_done(trip);
}

/* Its XML is changed by sed, as for --xml. */
static char *move_with(const char *sed)
{
    return g_strdup_printf("virsh dumpxml --migratable vm >other.xml\n"
                           "sed -i %s other.xml\n"
                           "virsh migrate --live --xml other.xml vm "
                           "\"$THERE\"", sed);
}

static const char unplug[] =
    "echo '<memballoon model=\"virtio\"/>' >balloon.xml\n"
    "virsh detach-device vm balloon.xml --live";

#define WITHOUT_OVERRIDE "-e '/<qemu:override>/,/<.qemu:override>/d'"

/* The one that comes first: the source notices, or libvirtd there does. */
static const char lost[] = "domain is no longer running|"
    "Unable to write to socket|Sibling indicated error|"
    "qemu unexpectedly closed the monitor|"
    "QEMU unexpectedly closed the monitor";

/* Every one of them is in the document's table. */
static bool refuse(Bench *bench, GError **error)
{
    g_autofree char *to_stock = g_strdup_printf(
        "-e '/<qemu:commandline>/,/<.qemu:override>/d' "
        "-e 's|<emulator>.*|<emulator>%s</emulator>|'", bench->stock);
    g_autofree char *other_emulator = g_strdup_printf(
        "'s|<emulator>.*|<emulator>%s</emulator>|'", bench->stock);
    const struct {
        const char *sed;
        const char *said;
        const char *logged;
    } refusals[] = {
        { to_stock,
          lost,
          "Unknown savevm section or instance 'skip' 0" },
        { WITHOUT_OVERRIDE,
          lost,
          "property 'must-tell-host' of the virtio-balloon device is off "
          "here" },
        { "'s|<emulator>.*|<emulator>/nowhere/qemu</emulator>|'",
          "Cannot check QEMU binary", NULL },
        { "-e \"s|'-global'|'-set'|\" "
          "-e 's|migration.skip-[a-z]*=on|device.balloon0.must-tell-host=on|' "
          WITHOUT_OVERRIDE,
          "there is no device \"balloon0\" defined", NULL },
        /* It ends as it starts; virsh hears why, or only that it did. */
        { other_emulator, "can't apply global migration.skip-balloon=on|"
          "Unable to write to monitor", "can't apply global "
          "migration.skip-balloon=on" },
    };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *script = move_with(refusals[i].sed);

        if (!trip_refused(trip, script, refusals[i].said, refusals[i].logged,
                          error)) {
            return false;
        }
    }
    return trip_refused(trip, unplug, "live detach of device 'memballoon' is "
                        "not supported", NULL, error) && trip_done(trip);
}

/* ---- Switching on, and what libvirt cannot ---- */

static bool has_capabilities(Trip *trip, bool expected, GError **error)
{
    g_autofree char *out = host_run(
        trip->at, "virsh qemu-monitor-command vm --hmp info "
        "migrate_capabilities", error);
    const char *state = expected ? "on" : "off";
    g_autofree char *balloon = g_strdup_printf("skip-balloon: %s", state);
    g_autofree char *unpopulated = g_strdup_printf("skip-unpopulated: %s",
                                                   state);

    FAIL_UNLESS(out && strstr(out, balloon) && strstr(out, unpopulated),
                "they are not %s: %s", state, out);
    return true;
}

/*
 * Where the XML does not have the capabilities, they are set by hand; and the
 * property as for a libvirt that knows no override.
 */
static bool set_by_hand(Bench *bench, GError **error)
{
    g_autofree char *script = move_with(
        "-e 's|migration.skip-[a-z]*=on|virtio-balloon-pci.must-tell-host=on|' "
        WITHOUT_OVERRIDE);
    g_autofree char *moved = NULL;
    g_autofree char *set = NULL;
    MigrationStats stats = { 0 };
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    moved = host_run(trip->at, script, error);
    if (!moved) {
        return false;
    }
    trip->at = host_other(trip->at);
    if (!trip_connect(trip, error) ||
        !has_capabilities(trip, false, error)) {
        return false;
    }
    set = trip_step(trip, "by-hand", error);
    return set && has_capabilities(trip, true, error) &&
           trip_move(trip, "migrate", &stats, error) &&
           trip_skipped(trip, &stats, error) &&
           has_capabilities(trip, false, error) && trip_done(trip);
}

/* The last of the guest: its domain is started anew. */
static bool define(Bench *bench, GError **error)
{
    g_autofree char *out = NULL;
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    out = trip_step(trip, "define", error);
    return out && has_capabilities(trip, true, error) && trip_done(trip);
}

/*
 * For the figures of docs/free-page-reporting.md, in the log. A guest that has
 * to use all of its memory once takes too long for each run of the tests.
 */
static bool report_free_pages(Bench *bench, GError **error)
{
    static const struct {
        const char *name;
        const char *state;
    } runs[] = {
        { "skip-unpopulated, there", "on" }, { "and back", "on" },
        { "off", "off" }, { "on again", "on" },
    };
    g_autoptr(Trip) trip = NULL;

    if (!trip_boot_reporting(bench, &trip, error) || !trip) {
        return !*error;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(runs); i++) {
        g_autofree char *script = g_strdup_printf(
            "virsh qemu-monitor-command vm --hmp migrate_set_capability "
            "skip-balloon off\n"
            "virsh qemu-monitor-command vm --hmp migrate_set_capability "
            "skip-unpopulated %s", runs[i].state);
        g_autofree char *out = host_run(trip->at, script, error);
        MigrationStats stats = { 0 };

        g_test_message("%s:", runs[i].name);
        if (!out || !trip_move(trip, "migrate", &stats, error)) {
            return false;
        }
        FAIL_UNLESS(!stats.has_skip && stats.unpopulated.known ==
                    !strcmp(runs[i].state, "on"),
                    "the capabilities are not as they were set");
    }
    return true;
}

/* After all others: no step of the document is left, and nothing unsaid. */
static bool document(Bench *bench, GError **error)
{
    Trip *trip;

    if (!trip_begin(bench, true, &trip, error) || !trip) {
        return !*error;
    }
    if (trip->cases < n_cases - 1) {
        g_test_skip("not all of the cases before it have run");
        return trip_done(trip);
    }
    return document_check_used(trip->document, error) && trip_done(trip);
}

static void add(const char *path, CaseFunc *func)
{
    g_autofree char *full = g_strconcat("/libvirt/", path, NULL);

    bench_add(full, func, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_GUEST | NEEDS_STOCK);
    n_cases++;
}

int main(int argc, char **argv)
{
    int status;

    bench_init(argc, argv);
    add("unmodified", migrate_unmodified);
    add("migrate", migrate);
    /* Where it is defined. */
    add("managedsave", managed_save);
    add("postcopy", migrate_postcopy);
    add("parallel", migrate_parallel);
    add("program", use_program);
    add("save", save_and_restore);
    add("dump", dump);
    add("abort", abort_job);
    add("refused", refuse);
    add("by-hand", set_by_hand);
    add("define", define);
    add("document", document);
    if (g_getenv("SB_REPORTING")) {
        bench_add("/libvirt/reporting", report_free_pages, BACKEND_MEMFD,
                  SKIP_UNPOPULATED, NEEDS_GUEST | NEEDS_STOCK);
    }
    status = g_test_run();
    trip_end();
    return status;
}
