/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/memory.h"
#include "base/size.h"
#include "base/table.h"
#include "bench/parts.h"
#include "bench/record.h"
#include "bench/run.h"

#define SOCKET_SECS 1

/* What a QEMU takes besides the memory of its guest */
#define WARM_MORE (256 * SIZE_MIB)

/* A case, and what its repetitions leave for each other. */
typedef struct GuestCase {
    const BenchCase *bench_case;
    char *name;
    BenchLimit limit;
    bool left_out[BUILD_COUNT];
} GuestCase;

/* What all functions here need. */
typedef struct GuestBench {
    Session *session;
    BenchClock *clock;
    const BenchOptions *options;
    BenchSink *sink;
    unsigned repetition;
} GuestBench;

static void plan_case(BenchClock *clock, const BenchOptions *options,
                      const BenchCase *bench_case)
{
    for (unsigned build = 0; build < BUILD_COUNT; build++) {
        if (options->builds[build]) {
            bench_clock_plan(clock, bench_case_seconds(bench_case, build));
        }
    }
    bench_clock_plan(clock, SOCKET_SECS);
}

void bench_guest_plan(BenchClock *clock, const BenchOptions *options)
{
    for (unsigned r = 0; r < options->repetitions; r++) {
        for (unsigned i = 0; i < options->cases->len; i++) {
            plan_case(clock, options,
                      &g_array_index(options->cases, BenchCase, i));
        }
    }
}

/* Why a case cannot be measured here; NULL if it can. */
static char *lacks_memory(const BenchCase *bench_case, BenchBuild build)
{
    uint64_t need = bench_case_memory(bench_case, build);
    uint64_t have = memory_available();
    uint64_t need_pages = bench_case_huge_pages(bench_case);
    uint64_t have_pages = memory_free_huge_pages();
    g_autofree char *need_text = size_format(need);
    g_autofree char *have_text = size_format(have);

    if (have_pages < need_pages) {
        return g_strdup_printf(
            "needs %" G_GUINT64_FORMAT " huge pages of 2 MiB, %"
            G_GUINT64_FORMAT " are free (sysctl vm.nr_hugepages=%"
            G_GUINT64_FORMAT ")", need_pages, have_pages, need_pages);
    }
    return have >= need ? NULL :
           g_strdup_printf("needs %s of memory, the machine has %s to give",
                           need_text, have_text);
}

static RunConfig make_config(const GuestBench *bench, const GuestCase *guest,
                             BenchBuild build, const char *label,
                             const char *stage)
{
    const BenchOptions *options = bench->options;
    const BenchCase *c = guest->bench_case;
    bool never = build == BUILD_NEVER;
    SkipSet skip = bench_build_skips(build);

    return (RunConfig) {
        .label = label,
        .stage = stage,
        .vm = {
            .qemu = skip ? options->qemu : options->stock,
            .firmware = (const char *const *)options->firmware,
            .kernel = options->kernel,
            .initrd = options->initrd,
            .memory = never ? c->left : c->memory,
            .workset = run_workset(c->memory, c->left),
            .seed = g_random_int_range(1, G_MAXINT),
            .smp = options->smp,
            .backend = c->backend,
            .kvm = options->kvm,
            .free_page_hint = build == BUILD_HINT,
        },
        .balloon_to = never ? 0 : c->left,
        .fill = never ? bench_limit_fill(&guest->limit) : 0,
        .mode = c->mode,
        .skip = skip,
        /* For each build the same: what the live data takes. */
        .warm = c->left + WARM_MORE,
        .ask_map = build == BUILD_BOTH && bench->repetition == 1,
    };
}

static void list_build(Table *table, const BenchCase *bench_case,
                       BenchBuild build, unsigned repetitions)
{
    g_autofree char *name = bench_case_name(bench_case);
    g_autofree char *need = size_format(bench_case_memory(bench_case, build));
    g_autofree char *takes = bench_duration(
        repetitions * bench_case_seconds(bench_case, build));
    g_autofree char *times = g_strdup_printf("%u x", repetitions);
    g_autofree char *lacks = lacks_memory(bench_case, build);
    g_autofree char *title = g_strdup_printf("%s %s", name,
                                             bench_build_name(build));
    const char *cells[] = {
        title, times, lacks ? "left out" : takes, lacks ? lacks : need, NULL
    };

    table_add_row(table, cells);
}

void bench_guest_list(const BenchOptions *options)
{
    g_autoptr(Table) table = table_new(4);
    g_autofree char *text = NULL;

    for (guint i = 0; i < options->cases->len; i++) {
        for (unsigned build = 0; build < BUILD_COUNT; build++) {
            if (options->builds[build]) {
                list_build(table,
                           &g_array_index(options->cases, BenchCase, i),
                           build, options->repetitions);
            }
        }
    }
    text = table_format(table);
    printf("%s", text);
}

/* Names the logs. */
static char *run_label(const GuestBench *bench, const GuestCase *guest,
                       BenchBuild build)
{
    g_autofree char *label = g_strdup_printf(
        "%s-%s-%u", guest->name, bench_build_name(build), bench->repetition);

    return g_strdelimit(g_steal_pointer(&label), "/", '-');
}

static char *step_stage(const GuestBench *bench, const GuestCase *guest,
                        BenchBuild build)
{
    return g_strdup_printf("%u/%u %s %s", bench->clock->done + 1,
                           bench->clock->steps, guest->name,
                           bench_build_name(build));
}

static bool write_result(const GuestBench *bench, const GuestCase *guest,
                         BenchBuild build, const RunResult *result,
                         GError **error)
{
    JsonObject *record = bench_record_migration(
        guest->bench_case, build, bench->repetition, result);

    return bench_sink_write(bench->sink, "migration", record, error) &&
           (!result->map ||
            bench_sink_write(bench->sink, "map", bench_record_map(
                guest->bench_case, build, result->map), error));
}

/*
 * The guest that never had a balloon is to have the same live data, which
 * only its migration tells: if it had not, try again. Sets @refusal if that
 * leads to nothing.
 */
static bool measure(const GuestBench *bench, GuestCase *guest,
                    BenchBuild build, const char *stage, RunResult *result,
                    char **refusal, GError **error)
{
    g_autofree char *label = run_label(bench, guest, build);

    do {
        RunConfig config = make_config(bench, guest, build, label, stage);

        run_result_clear(result);
        if (!run_migration(bench->session, &config, result, error)) {
            return false;
        }
        if (build != BUILD_NEVER) {
            bench_limit_note(&guest->limit, build, &result->migration);
            return true;
        }
        if (bench_limit_met(&guest->limit, &result->migration)) {
            return true;
        }
        *refusal = bench_limit_refusal(&guest->limit, guest->bench_case);
    } while (!*refusal);
    return true;
}

static bool leave_out(const GuestBench *bench, GuestCase *guest,
                      BenchBuild build, const char *reason, GError **error)
{
    g_autofree char *what = g_strdup_printf("%s %s", guest->name,
                                            bench_build_name(build));
    bool known = guest->left_out[build];

    bench_clock_done(bench->clock,
                     bench_case_seconds(guest->bench_case, build), -1);
    guest->left_out[build] = true;
    if (known) {
        return true;
    }
    return bench_sink_left_out(bench->sink, what, reason, error);
}

static bool measure_build(const GuestBench *bench, GuestCase *guest,
                          BenchBuild build, GError **error)
{
    Progress *progress = bench->session->progress;
    double planned = bench_case_seconds(guest->bench_case, build);
    gint64 began = g_get_monotonic_time();
    g_autofree char *stage = step_stage(bench, guest, build);
    g_autofree char *left = NULL;
    g_autofree char *outcome = NULL;
    g_autofree char *refusal = NULL;
    g_auto(RunResult) result = { 0 };

    progress_begin(progress, stage);
    if (!measure(bench, guest, build, stage, &result, &refusal, error)) {
        g_prefix_error(error, "%s %s: ", guest->name,
                       bench_build_name(build));
        return false;
    }
    if (refusal) {
        progress_end(progress, "left out");
        return leave_out(bench, guest, build, refusal, error);
    }
    bench_clock_done(bench->clock, planned,
                     (g_get_monotonic_time() - began) / 1e6);
    left = bench_clock_left_text(bench->clock);
    outcome = g_strdup_printf("%" G_GINT64_FORMAT " ms; %s",
                              result.migration.total_ms, left);
    progress_rename(progress, stage);
    progress_end(progress, outcome);
    return write_result(bench, guest, build, &result, error);
}

static bool do_build(const GuestBench *bench, GuestCase *guest,
                     BenchBuild build, GError **error)
{
    g_autofree char *lacks = lacks_memory(guest->bench_case, build);

    if (!lacks && build == BUILD_NEVER) {
        lacks = bench_limit_refusal(&guest->limit, guest->bench_case);
    }
    return lacks ? leave_out(bench, guest, build, lacks, error)
                 : measure_build(bench, guest, build, error);
}

static bool do_socket(const GuestBench *bench, const GuestCase *guest,
                      GError **error)
{
    uint64_t bytes = bench_limit_bytes(&guest->limit);
    Progress *progress = bench->session->progress;
    g_autofree char *stage = g_strdup_printf("%u/%u %s socket",
        bench->clock->done + 1, bench->clock->steps, guest->name);
    g_autofree char *outcome = NULL;
    double ms;

    if (!bytes) {
        bench_clock_done(bench->clock, SOCKET_SECS, -1);
        return true;
    }
    progress_begin(progress, stage);
    if (!socket_cost(bytes, guest->bench_case->backend == BACKEND_ANON, &ms,
                     error)) {
        return false;
    }
    bench_clock_done(bench->clock, SOCKET_SECS, SOCKET_SECS);
    outcome = g_strdup_printf("%.0f ms", ms);
    progress_end(progress, outcome);
    return bench_sink_write(bench->sink, "socket", bench_record_socket(
        guest->bench_case, bench->repetition, bytes, ms), error);
}

/* Ours between those that it is compared with */
static bool do_case(const GuestBench *bench, GuestCase *guest, GError **error)
{
    static const BenchBuild order[] = {
        BUILD_UNMODIFIED, BUILD_BOTH, BUILD_NEVER, BUILD_HINT, BUILD_BALLOON,
        BUILD_UNPOPULATED,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        if (bench->options->builds[order[i]] &&
            !do_build(bench, guest, order[i], error)) {
            return false;
        }
    }
    return do_socket(bench, guest, error);
}

static GuestCase *make_cases(const BenchOptions *options)
{
    GuestCase *cases = g_new0(GuestCase, options->cases->len);

    for (unsigned i = 0; i < options->cases->len; i++) {
        cases[i].bench_case = &g_array_index(options->cases, BenchCase, i);
        cases[i].name = bench_case_name(cases[i].bench_case);
    }
    return cases;
}

static void free_cases(GuestCase *cases, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        g_free(cases[i].name);
    }
    g_free(cases);
}

bool bench_guest_run(Session *session, BenchClock *clock,
                     const BenchOptions *options, BenchSink *sink,
                     GError **error)
{
    GuestBench bench = {
        .session = session,
        .clock = clock,
        .options = options,
        .sink = sink,
    };
    GuestCase *cases = make_cases(options);
    bool done = true;

    for (unsigned r = 1; done && r <= options->repetitions; r++) {
        bench.repetition = r;
        for (unsigned i = 0; done && i < options->cases->len; i++) {
            done = do_case(&bench, &cases[i], error);
        }
    }
    free_cases(cases, options->cases->len);
    return done;
}
