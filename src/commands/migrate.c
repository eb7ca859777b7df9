/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/error.h"
#include "base/size.h"
#include "commands/command.h"
#include "commands/migrate-work.h"

/* How long a QEMU may be silent: one that sends the last of it may be. */
#define SILENCE_SECS 30
#define NO_POSTCOPY (-1)
#define DOWNTIME_MAX_MS 2000000
#define MULTIFD_MAX 255

typedef struct MigrateOptions {
    char *uri;
    char *bandwidth;
    int downtime_ms;
    int multifd;
    int postcopy_after;
    int timeout_secs;
    gboolean strict;
    gboolean dry_run;
    gboolean json;
    char *migrate_uri;
    gboolean tls;
    gboolean persistent;
    gboolean undefine;
    MigrateTask task;
} MigrateOptions;

static void migrate_options_clear(MigrateOptions *options)
{
    monitor_address_clear(&options->task.source);
    monitor_address_clear(&options->task.destination);
    g_free(options->uri);
    g_free(options->bandwidth);
    g_free(options->migrate_uri);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MigrateOptions, migrate_options_clear)

/* ---- Options ---- */

static GOptionContext *make_context(void)
{
    GOptionContext *context = g_option_context_new(
        "URI - migrate a running guest");

    g_option_context_set_summary(context,
        "Asks both ends whether the guest can go, turns on skip-balloon,\n"
        "skip-unpopulated and return-path, migrates, and says where the guest\n"
        "runs, however it ends. URI is what QEMU's migrate takes, such as\n"
        "tcp:HOST:PORT or unix:PATH; of a domain, where the libvirt of the\n"
        "destination is, such as qemu+ssh://HOST/system.");
    g_option_context_set_description(context,
        "SOCKET is that of QEMU's -qmp unix:SOCKET,server=on,wait=off. The\n"
        "destination is started with -incoming defer, and told by --to-qmp to\n"
        "listen at URI. Without --to-qmp it listens there already, and only\n"
        "the source is set up and asked.\n\n"
        "A domain is migrated by the libvirt of the source, which connects\n"
        "to URI itself (peer to peer). At the destination it lasts until it\n"
        "ends, and here it stays defined, unless --persistent and\n"
        "--undefine-source are given.\n\n"
        "Ctrl-C cancels; once postcopy has begun there is no way back, and\n"
        "QEMU goes on without this program. If this program is killed, the\n"
        "migration goes on.\n\n"
        "Exit status: 0 if the guest has moved, or could with --dry-run; 1 if\n"
        "not; 2 for a wrong command line; 128 plus the number of a signal.");
    return context;
}

/* @opaque: of the main group of options */
static gboolean parse_shrink(const char *option G_GNUC_UNUSED,
                             const char *value, gpointer opaque,
                             GError **error)
{
    MigrateOptions *options = opaque;

    options->task.shrink = true;
    if (!value) {
        return true;
    }
    if (!size_parse(value, &options->task.shrink_bytes, error)) {
        g_prefix_error(error, "--shrink: ");
        return false;
    }
    return true;
}

static void add_options(GOptionContext *context, MigrateOptions *options)
{
    const GOptionEntry entries[] = {
        { "to-qmp", 't', 0, G_OPTION_ARG_FILENAME,
          &options->task.destination.socket,
          "The QMP socket of the destination", "SOCKET" },
        { "dry-run", 'n', 0, G_OPTION_ARG_NONE, &options->dry_run,
          "Only check, and tell what would happen", NULL },
        { "strict", 0, 0, G_OPTION_ARG_NONE, &options->strict,
          "Fail if an end does not know what to skip", NULL },
        { "bandwidth", 0, 0, G_OPTION_ARG_STRING, &options->bandwidth,
          "Send so much a second at most (as QEMU has it)", "SIZE" },
        { "downtime", 0, 0, G_OPTION_ARG_INT, &options->downtime_ms,
          "How long to stop the guest (as QEMU has it)", "MS" },
        { "multifd", 0, 0, G_OPTION_ARG_INT, &options->multifd,
          "Send through so many channels", "N" },
        { "postcopy-after", 0, 0, G_OPTION_ARG_INT, &options->postcopy_after,
          "Let the guest go ahead of its memory by then", "SECONDS" },
        { "timeout", 0, 0, G_OPTION_ARG_INT, &options->timeout_secs,
          "Cancel if it takes longer", "SECONDS" },
        { "shrink", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK,
          parse_shrink, "The balloon takes what can be spared first", "SIZE" },
        { "migrateuri", 0, 0, G_OPTION_ARG_STRING, &options->migrate_uri,
          "Of a domain: send memory to tcp://HOST:PORT", "URI" },
        { "tls", 0, 0, G_OPTION_ARG_NONE, &options->tls,
          "Of a domain: encrypt, as libvirt is set up for", NULL },
        { "persistent", 0, 0, G_OPTION_ARG_NONE, &options->persistent,
          "Of a domain: define it at the destination", NULL },
        { "undefine-source", 0, 0, G_OPTION_ARG_NONE, &options->undefine,
          "Of a domain: define it here no longer", NULL },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->json,
          "Print one JSON object, on a line", NULL },
        { NULL }
    };

    options->postcopy_after = NO_POSTCOPY;
    g_option_context_set_main_group(context, g_option_group_new(
        "main", "", "", options, NULL));
    command_add_monitor(context, &options->task.source, NULL);
    g_option_context_add_main_entries(context, entries, NULL);
}

static bool fail_usage(GError **error, const char *fault)
{
    g_set_error_literal(error, SB_ERROR, SB_ERROR_USAGE, fault);
    return false;
}

static bool check_numbers(const MigrateOptions *options, GError **error)
{
    if (options->downtime_ms < 0 || options->downtime_ms > DOWNTIME_MAX_MS) {
        return fail_usage(error, "--downtime takes milliseconds, from 1 to "
                          G_STRINGIFY(DOWNTIME_MAX_MS));
    }
    if (options->multifd < 0 || options->multifd > MULTIFD_MAX) {
        return fail_usage(error, "--multifd takes a number of channels, from "
                          "1 to " G_STRINGIFY(MULTIFD_MAX));
    }
    if (options->postcopy_after < NO_POSTCOPY) {
        return fail_usage(error, "--postcopy-after takes a number of seconds, "
                          "at least 0");
    }
    if (options->timeout_secs < 0) {
        return fail_usage(error, "--timeout takes a number of seconds, at "
                          "least 1");
    }
    if (options->multifd && options->postcopy_after != NO_POSTCOPY) {
        return fail_usage(error, "--multifd and --postcopy-after do not go "
                          "together in QEMU 10.0");
    }
    return true;
}

static bool make_task(MigrateOptions *options, GError **error)
{
    uint64_t bandwidth = 0;

    if (options->bandwidth &&
        !size_parse(options->bandwidth, &bandwidth, error)) {
        g_prefix_error(error, "--bandwidth: ");
        return false;
    }
    options->task.strict = options->strict;
    options->task.dry_run = options->dry_run;
    options->task.json = options->json;
    options->task.settings = (MoveSettings) {
        .uri = options->uri,
        .bandwidth = bandwidth,
        .downtime_ms = options->downtime_ms,
        .multifd = options->multifd,
        .postcopy = options->postcopy_after != NO_POSTCOPY,
        .postcopy_after_secs = MAX(options->postcopy_after, 0),
        .timeout_secs = options->timeout_secs,
        .migrate_uri = options->migrate_uri,
        .tls = options->tls,
        .persistent = options->persistent,
        .undefine = options->undefine,
    };
    return true;
}

static bool check(MigrateOptions *options, GError **error)
{
    if (!command_check_monitor(&options->task.source, SILENCE_SECS, error)) {
        return false;
    }
    if (options->task.source.domain && options->task.destination.socket) {
        return fail_usage(error, "--to-qmp is for a --qmp; a domain goes to "
                          "the libvirt that URI names");
    }
    if (!options->task.source.domain &&
        (options->migrate_uri || options->tls || options->persistent ||
         options->undefine)) {
        return fail_usage(error, "--migrateuri, --tls, --persistent and "
                          "--undefine-source are for a --domain");
    }
    if (options->task.shrink && !options->task.source.domain &&
        !options->task.destination.socket) {
        return fail_usage(error, "--shrink needs --to-qmp, to give back what "
                          "it took");
    }
    return check_numbers(options, error) && make_task(options, error);
}

static bool parse(int argc, char **argv, MigrateOptions *options,
                  GError **error)
{
    g_autoptr(GOptionContext) context = make_context();

    add_options(context, options);
    if (!command_parse(context, &argc, &argv, error)) {
        return false;
    }
    if (argc < 2) {
        return fail_usage(error, "where the guest is to go is missing: a URI "
                          "such as tcp:HOST:PORT, or qemu+ssh://HOST/system "
                          "of a domain");
    }
    if (argc > 2) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "unexpected argument '%s'", argv[2]);
        return false;
    }
    options->uri = g_strdup(argv[1]);
    return check(options, error);
}

static int run(int argc, char **argv, GError **error)
{
    g_auto(MigrateOptions) options = { 0 };

    if (!parse(argc, argv, &options, error)) {
        return EXIT_USAGE;
    }
    return command_work(&(CommandSetup) {
            .stall_secs = SILENCE_SECS,
            .progress = stderr,
        }, migrate_work, &options.task, error);
}

const Command migrate_command = {
    .name = "migrate",
    .summary = "Migrate a running guest, and say where it runs in the end",
    .run = run,
};
