/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/demo-options.h"

#include <string.h>

#include "base/error.h"
#include "base/paths.h"
#include "base/size.h"
#include "bench/run.h"
#include "commands/command.h"

#define DEFAULT_MEMORY (8 * SIZE_GIB)
#define DEFAULT_TO (512 * SIZE_MIB)
#define DEFAULT_TIMEOUT_SECS 120

static bool size_option(const char *text, uint64_t preset, uint64_t *bytes,
                        GError **error)
{
    *bytes = preset;
    return !text || size_parse(text, bytes, error);
}

static bool check_sizes(DemoOptions *options, GError **error)
{
    uint64_t *left = options->idle ? &options->memory : &options->to;
    g_autofree char *memory = size_format(options->memory);
    g_autofree char *to = size_format(*left);

    /* All page sizes divide it, those of hugetlbfs too. */
    options->memory &= ~(2 * SIZE_MIB - 1);
    options->to &= ~(2 * SIZE_MIB - 1);
    if (options->to >= options->memory) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--to %s leaves nothing to take from --memory %s", to,
                    memory);
        return false;
    }
    if (!run_workset(options->memory, *left)) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "a guest of %s cannot live in %s, it needs about 150 MiB "
                    "and 1/64 of its memory for itself; ask for a larger %s",
                    memory, to, options->idle ? "--memory" : "--to");
        return false;
    }
    return true;
}

/* What does not go together with --idle, and what else then follows. */
static bool choose_idle(const char *to, const char *capabilities,
                        DemoOptions *options, GError **error)
{
    if (!options->idle) {
        return true;
    }
    if (to) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--idle is a guest without a balloon, which leaves no "
                    "meaning to --to");
        return false;
    }
    if (capabilities && options->capabilities != SKIP_UNPOPULATED) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--idle is a guest without a balloon, it takes no "
                    "--capabilities but 'unpopulated'");
        return false;
    }
    options->capabilities = SKIP_UNPOPULATED;
    options->to = 0;
    return true;
}

static bool choose_runs(const char *only, DemoOptions *options,
                        GError **error)
{
    options->off = !only || !strcmp(only, "off");
    options->on = !only || !strcmp(only, "on");
    if (!options->off && !options->on) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--only takes 'off' or 'on', not '%s'", only);
        return false;
    }
    return true;
}

static bool choose_accel(const char *accel, DemoOptions *options,
                         GError **error)
{
    options->kvm = accel && !strcmp(accel, "kvm");
    if (accel && !options->kvm && strcmp(accel, "tcg")) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--accel takes 'tcg' or 'kvm', not '%s'", accel);
        return false;
    }
    return true;
}

static bool check_numbers(const DemoOptions *options, GError **error)
{
    if (options->smp < 1 || options->smp > 64) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--smp takes a number from 1 to 64");
        return false;
    }
    if (options->timeout_secs < 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--timeout takes a number of seconds, at least 1");
        return false;
    }
    return true;
}

static GOptionContext *make_context(void)
{
    GOptionContext *context = g_option_context_new(
        "- migrate a guest without and with skip-balloon");

    g_option_context_set_summary(context,
        "Boots a Linux guest, lets it use all its memory once, takes most of\n"
        "it away with the balloon, and migrates it to a second QEMU on this\n"
        "machine: once with the capabilities off, once with them on. Compares\n"
        "what that took. Exits with 0 only if each guest arrived intact.");
    g_option_context_set_description(context,
        "SET is balloon, to skip what the balloon took (skip-balloon),\n"
        "unpopulated, to skip what the host has no memory for\n"
        "(skip-unpopulated), or both.\n\n"
        "With --idle the guest has no balloon, and most of its memory it has\n"
        "never used; SET is then unpopulated.\n\n"
        "Sizes take the suffixes K, M, G and T, powers of 1024.\n\n"
        "The memory this needs: with --backend anon about that of one guest,\n"
        "with memfd that of two, with hugetlb two guests in huge pages.");
    return context;
}

DemoOptions *demo_options_parse(int argc, char **argv, GError **error)
{
    g_autoptr(DemoOptions) options = g_new0(DemoOptions, 1);
    g_autofree char *memory = NULL;
    g_autofree char *to = NULL;
    g_autofree char *backend = NULL;
    g_autofree char *accel = NULL;
    g_autofree char *capabilities = NULL;
    g_autofree char *only = NULL;
    gboolean idle = FALSE;
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        { "memory", 'm', 0, G_OPTION_ARG_STRING, &memory,
          "Memory of the guest (8G)", "SIZE" },
        { "to", 't', 0, G_OPTION_ARG_STRING, &to,
          "What the balloon leaves of it (512M)", "SIZE" },
        { "backend", 'b', 0, G_OPTION_ARG_STRING, &backend,
          "anon, memfd or hugetlb (anon)", "KIND" },
        { "capabilities", 'c', 0, G_OPTION_ARG_STRING, &capabilities,
          "balloon, unpopulated or both (balloon)", "SET" },
        { "idle", 0, 0, G_OPTION_ARG_NONE, &idle,
          "A guest that has not used its memory; no balloon", NULL },
        { "qemu", 0, 0, G_OPTION_ARG_FILENAME, &options->qemu,
          "QEMU with skip-balloon", "PROGRAM" },
        { "stock", 0, 0, G_OPTION_ARG_FILENAME, &options->stock,
          "A QEMU without it, for the run with it off", "PROGRAM" },
        { "kernel", 0, 0, G_OPTION_ARG_FILENAME, &options->kernel,
          "Kernel of the guest", "FILE" },
        { "initrd", 0, 0, G_OPTION_ARG_FILENAME, &options->initrd,
          "Initial RAM disk of the guest", "FILE" },
        { "firmware", 'L', 0, G_OPTION_ARG_FILENAME_ARRAY,
          &options->firmware,
          "Where QEMU looks for firmware; may be repeated", "DIR" },
        { "smp", 0, 0, G_OPTION_ARG_INT, &options->smp,
          "Virtual processors (1)", "N" },
        { "accel", 0, 0, G_OPTION_ARG_STRING, &accel,
          "tcg or kvm (tcg)", "KIND" },
        { "only", 0, 0, G_OPTION_ARG_STRING, &only,
          "Make one of the two runs: off or on", "RUN" },
        { "json", 0, 0, G_OPTION_ARG_NONE, &json,
          "Print one JSON object; progress is on stderr", NULL },
        { "timeout", 0, 0, G_OPTION_ARG_INT, &options->timeout_secs,
          "Give up when nothing has moved for so long (120)", "SECONDS" },
        { "keep-logs", 0, 0, G_OPTION_ARG_FILENAME, &options->log_dir,
          "Keep the logs of QEMU and the guests there", "DIR" },
        { NULL }
    };
    g_autoptr(GOptionContext) context = make_context();

    options->capabilities = SKIP_BALLOON;
    options->smp = 1;
    options->timeout_secs = DEFAULT_TIMEOUT_SECS;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!command_parse(context, &argc, &argv, error)) {
        return NULL;
    }
    if (argc > 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "unexpected argument '%s'", argv[1]);
        return NULL;
    }
    options->json = json;
    options->idle = idle;
    if (!size_option(memory, DEFAULT_MEMORY, &options->memory, error) ||
        !size_option(to, DEFAULT_TO, &options->to, error) ||
        (capabilities && !skip_set_parse(capabilities, &options->capabilities,
                                         error)) ||
        !choose_idle(to, capabilities, options, error) ||
        !check_sizes(options, error) ||
        (backend && !backend_parse(backend, &options->backend, error)) ||
        !choose_runs(only, options, error) ||
        !choose_accel(accel, options, error) ||
        !check_numbers(options, error)) {
        return NULL;
    }
    paths_set_default(&options->qemu, PATHS_QEMU);
    paths_set_default(&options->kernel, PATHS_KERNEL);
    paths_set_default(&options->initrd, PATHS_INITRD);
    return g_steal_pointer(&options);
}

void demo_options_free(DemoOptions *options)
{
    if (!options) {
        return;
    }
    g_free(options->qemu);
    g_free(options->stock);
    g_free(options->kernel);
    g_free(options->initrd);
    g_strfreev(options->firmware);
    g_free(options->log_dir);
    g_free(options);
}
