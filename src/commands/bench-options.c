/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/bench-options.h"

#include <string.h>

#include "base/error.h"
#include "base/paths.h"
#include "bench/case.h"
#include "commands/command.h"

#define DEFAULT_OUTPUT "skip-balloon-bench"
#define DEFAULT_TIMEOUT_SECS 180
#define DEFAULT_REPETITIONS 3
/* For 10 minutes to do */
#define QUICK_REPETITIONS 2
#define NOT_GIVEN G_MININT

/* The words of the command line that need more than to be kept. */
typedef struct Words {
    char *profile;
    char *backends;
    char *modes;
    char *memories;
    char *lefts;
    char *builds;
    char *only;
    char *accel;
    char *compare;
    int repetitions;
    gboolean list;
    char **rest;
} Words;

static void words_clear(Words *words)
{
    g_free(words->profile);
    g_free(words->backends);
    g_free(words->modes);
    g_free(words->memories);
    g_free(words->lefts);
    g_free(words->builds);
    g_free(words->only);
    g_free(words->accel);
    g_free(words->compare);
    g_strfreev(words->rest);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

static bool usage(GError **error, const char *option, const char *takes,
                  const char *word)
{
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE, "%s takes %s, not '%s'",
                option, takes, word);
    return false;
}

static bool choose_profile(const Words *words, BenchOptions *options,
                           GError **error)
{
    const char *profile = words->profile ? words->profile : "quick";

    if (strcmp(profile, "quick") && strcmp(profile, "full")) {
        return usage(error, "--profile", "quick or full", profile);
    }
    options->profile = g_strdup(profile);
    options->full = !strcmp(profile, "full");
    return true;
}

static char **split(const char *list)
{
    return list ? g_strsplit(list, ",", -1) : NULL;
}

static bool choose_cases(const Words *words, BenchOptions *options,
                         GError **error)
{
    g_auto(GStrv) backends = split(words->backends);
    g_auto(GStrv) modes = split(words->modes);
    g_auto(GStrv) memories = split(words->memories);
    g_auto(GStrv) lefts = split(words->lefts);
    BenchMatrix matrix = {
        .profile = options->profile,
        .backends = backends,
        .modes = modes,
        .memories = memories,
        .lefts = lefts,
    };

    options->cases = bench_matrix_cases(&matrix, error);
    if (backends || modes || memories || lefts) {
        g_free(options->profile);
        options->profile = g_strdup("custom");
    }
    return options->cases;
}

static bool choose_builds(const Words *words, BenchOptions *options,
                          GError **error)
{
    g_auto(GStrv) names = split(words->builds);

    for (unsigned i = 0; i < BUILD_COUNT; i++) {
        options->builds[i] = !names;
    }
    for (char **name = names; name && *name; name++) {
        BenchBuild build;

        if (!bench_build_parse(*name, &build, error)) {
            return false;
        }
        options->builds[build] = true;
    }
    return true;
}

static bool choose_parts(const Words *words, BenchOptions *options,
                         GError **error)
{
    options->guest = !words->only || !strcmp(words->only, "guest");
    options->device = !words->only || !strcmp(words->only, "device");
    if (!options->guest && !options->device) {
        return usage(error, "--only", "guest or device", words->only);
    }
    return true;
}

static bool choose_accel(const Words *words, BenchOptions *options,
                         GError **error)
{
    options->kvm = words->accel && !strcmp(words->accel, "kvm");
    if (words->accel && !options->kvm && strcmp(words->accel, "tcg")) {
        return usage(error, "--accel", "tcg or kvm", words->accel);
    }
    return true;
}

static bool choose_numbers(const Words *words, BenchOptions *options,
                           GError **error)
{
    bool quick = !strcmp(options->profile, "quick");
    int repetitions = words->repetitions;

    if (repetitions == NOT_GIVEN) {
        repetitions = quick ? QUICK_REPETITIONS : DEFAULT_REPETITIONS;
    }
    options->repetitions = repetitions;
    if (repetitions < 1 || repetitions > 1000) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--repetitions takes a number from 1 to 1000");
        return false;
    }
    if (options->smp < 1 || options->smp > 64) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--smp takes a number from 1 to 64");
        return false;
    }
    if (options->clear_bitmap_shift &&
        (options->clear_bitmap_shift < 6 || options->clear_bitmap_shift > 31)) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--clear-bitmap-shift takes a number from 6 to 31");
        return false;
    }
    if (options->timeout_secs < 1) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--timeout takes a number of seconds, at least 1");
        return false;
    }
    return true;
}

/* "--compare OLD NEW": the second is what is left of the command line. */
static bool choose_compare(Words *words, BenchOptions *options,
                           GError **error)
{
    guint n = words->rest ? g_strv_length(words->rest) : 0;

    if (n && (!words->compare || n > 1)) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "unexpected argument '%s'",
                    words->rest[words->compare ? 1 : 0]);
        return false;
    }
    if (words->compare && !n) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "--compare takes two files of results, OLD and NEW");
        return false;
    }
    if (n) {
        options->compare[0] = g_strdup(words->compare);
        options->compare[1] = g_strdup(words->rest[0]);
    }
    return true;
}

static GOptionContext *make_context(void)
{
    GOptionContext *context = g_option_context_new(
        "- measure skip-balloon against unmodified QEMU");

    g_option_context_set_summary(context,
        "Migrates real Linux guests whose balloons took most of their memory,\n"
        "with unmodified QEMU and with skip-balloon, in turns; then, without\n"
        "a guest, memory of up to 16 TiB. Appends what it measures to\n"
        "DIR/results.jsonl and draws DIR/report.html.");
    g_option_context_set_description(context,
        "The quick profile takes about 10 minutes, the full one several\n"
        "hours. Lists are separated by commas; --backend, --mode, --memory\n"
        "and --left replace the profile's guests by all combinations of what\n"
        "they name; of devices the profile says what is measured. What does\n"
        "not fit into the machine's memory is left out and named.\n\n"
        "Builds are unmodified, free-page-hint (unmodified, with it),\n"
        "skip-balloon, skip-unpopulated, both, and never-ballooned\n"
        "(unmodified, a guest with the same live data and no balloon).");
    return context;
}

static bool interpret(Words *words, BenchOptions *options, GError **error)
{
    options->list = words->list;
    return choose_compare(words, options, error) &&
           choose_profile(words, options, error) &&
           choose_cases(words, options, error) &&
           choose_builds(words, options, error) &&
           choose_parts(words, options, error) &&
           choose_accel(words, options, error) &&
           choose_numbers(words, options, error);
}

BenchOptions *bench_options_parse(int argc, char **argv, GError **error)
{
    g_autoptr(BenchOptions) options = g_new0(BenchOptions, 1);
    g_auto(Words) words = { .repetitions = NOT_GIVEN };
    const GOptionEntry entries[] = {
        { "profile", 'p', 0, G_OPTION_ARG_STRING, &words.profile,
          "quick or full (quick)", "NAME" },
        { "output", 'o', 0, G_OPTION_ARG_FILENAME, &options->output,
          "Where results and report go (" DEFAULT_OUTPUT ")", "DIR" },
        { "list", 'n', 0, G_OPTION_ARG_NONE, &words.list,
          "Tell what would be measured and how long it takes", NULL },
        { "compare", 0, 0, G_OPTION_ARG_FILENAME, &words.compare,
          "Compare two files of results; measure nothing",
          "OLD NEW" },
        { "repetitions", 'r', 0, G_OPTION_ARG_INT, &words.repetitions,
          "How often each guest is measured (quick 2, else 3)", "N" },
        { "only", 0, 0, G_OPTION_ARG_STRING, &words.only,
          "guest or device: leave the other part out", "PART" },
        { "backend", 'b', 0, G_OPTION_ARG_STRING, &words.backends,
          "anon, memfd, hugetlb", "LIST" },
        { "mode", 0, 0, G_OPTION_ARG_STRING, &words.modes,
          "plain, multifd, postcopy", "LIST" },
        { "memory", 'm', 0, G_OPTION_ARG_STRING, &words.memories,
          "Memory of the guests", "LIST" },
        { "left", 't', 0, G_OPTION_ARG_STRING, &words.lefts,
          "What the balloons leave of it", "LIST" },
        { "build", 0, 0, G_OPTION_ARG_STRING, &words.builds,
          "Builds to measure guests with (all)", "LIST" },
        { "qemu", 0, 0, G_OPTION_ARG_FILENAME, &options->qemu,
          "QEMU with skip-balloon", "PROGRAM" },
        { "stock", 0, 0, G_OPTION_ARG_FILENAME, &options->stock,
          "A QEMU without it", "PROGRAM" },
        { "kernel", 0, 0, G_OPTION_ARG_FILENAME, &options->kernel,
          "Kernel of the guests", "FILE" },
        { "initrd", 0, 0, G_OPTION_ARG_FILENAME, &options->initrd,
          "Initial RAM disk of the guests", "FILE" },
        { "firmware", 'L', 0, G_OPTION_ARG_FILENAME_ARRAY,
          &options->firmware,
          "Where QEMU looks for firmware; may be repeated", "DIR" },
        { "smp", 0, 0, G_OPTION_ARG_INT, &options->smp,
          "Virtual processors (1)", "N" },
        { "accel", 0, 0, G_OPTION_ARG_STRING, &words.accel,
          "tcg or kvm (tcg); devices too, beside a small guest", "KIND" },
        { "clear-bitmap-shift", 0, 0, G_OPTION_ARG_INT,
          &options->clear_bitmap_shift,
          "Of devices: x-clear-bitmap-shift, 6 to 31", "N" },
        { "timeout", 0, 0, G_OPTION_ARG_INT, &options->timeout_secs,
          "Give up when nothing has moved for so long (180)", "SECONDS" },
        { "keep-logs", 0, 0, G_OPTION_ARG_FILENAME, &options->log_dir,
          "Keep the logs of QEMU and the guests there", "DIR" },
        { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words.rest,
          NULL, NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = make_context();

    options->command = g_strjoinv(" ", argv);
    options->smp = 1;
    options->timeout_secs = DEFAULT_TIMEOUT_SECS;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!command_parse(context, &argc, &argv, error) ||
        !interpret(&words, options, error)) {
        return NULL;
    }
    if (!options->output) {
        options->output = g_strdup(DEFAULT_OUTPUT);
    }
    paths_set_default(&options->qemu, PATHS_QEMU);
    paths_set_default(&options->stock, PATHS_STOCK_QEMU);
    paths_set_default(&options->kernel, PATHS_KERNEL);
    paths_set_default(&options->initrd, PATHS_INITRD);
    return g_steal_pointer(&options);
}
