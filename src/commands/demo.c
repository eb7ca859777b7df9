/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/session.h"
#include "base/size.h"
#include "bench/run.h"
#include "commands/command.h"
#include "commands/demo-options.h"
#include "qemu/migration.h"
#include "report/demo-report.h"

/* What two QEMUs take besides the memory of their guests. */
#define OVERHEAD (400 * SIZE_MIB)
#define HUGE_PAGE (2 * SIZE_MIB)

static bool check_huge_pages(const DemoOptions *options, GError **error)
{
    uint64_t needed = 2 * options->memory / HUGE_PAGE;
    uint64_t have = memory_free_huge_pages();

    if (have < needed) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "two guests need %" G_GUINT64_FORMAT " huge pages of "
                    "2 MiB, %" G_GUINT64_FORMAT " are free; run "
                    "'sysctl vm.nr_hugepages=%" G_GUINT64_FORMAT "' as root "
                    "or ask for less --memory", needed, have, needed);
        return false;
    }
    return true;
}

/*
 * Never more than the guest is large while it touches its memory. When the
 * capability is off, shared memory gets populated at both ends.
 */
static bool check_memory(const DemoOptions *options, GError **error)
{
    uint64_t have = memory_available();
    uint64_t needed = OVERHEAD;
    g_autofree char *need_text = NULL;
    g_autofree char *have_text = NULL;

    if (options->backend == BACKEND_HUGETLB) {
        if (!check_huge_pages(options, error)) {
            return false;
        }
    } else if (options->backend == BACKEND_MEMFD && options->off) {
        needed += 2 * options->memory;
    } else if (options->idle) {
        needed += 2 * run_idle_used(options->memory);
    } else {
        needed += options->memory + options->to;
    }
    if (have >= needed) {
        return true;
    }
    need_text = size_format(needed);
    have_text = size_format(have);
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                "the guests need %s of memory, this host has %s to give; ask "
                "for less --memory%s", need_text, have_text,
                options->backend == BACKEND_ANON ? "" :
                " or for --backend anon");
    return false;
}

/* Rather before an hour's work than after: does this QEMU know how? */
static bool check_qemu(Session *session, const DemoOptions *options,
                       bool stock, GError **error)
{
    const char *program = stock ? options->stock : options->qemu;
    VmConfig config = {
        .name = "trial",
        .qemu = program,
        .firmware = (const char *const *)options->firmware,
        .memory = 2 * SIZE_MIB,
        .no_balloon = true,
        .incoming = true,
    };
    g_autoptr(Vm) vm = vm_start(session, &config, error);
    const char *unknown;

    if (!vm || !migrate_find_unknown(vm, options->capabilities, &unknown,
                                     error)) {
        return false;
    }
    if (stock && !unknown) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "'%s' has skip-balloon itself; 'make qemu-stock' builds "
                    "one without, for --stock", program);
        return false;
    }
    if (!stock && unknown && options->on) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "'%s' does not know the migration capability %s; build "
                    "one that does with 'make qemu', or name an unmodified "
                    "QEMU with --stock only", program, unknown);
        return false;
    }
    return true;
}

static bool run_one(Session *session, const DemoOptions *options, bool on,
                    RunResult *result, GError **error)
{
    RunConfig config = {
        .label = on ? "on" : "off",
        .vm = {
            .qemu = !on && options->stock ? options->stock : options->qemu,
            .firmware = (const char *const *)options->firmware,
            .kernel = options->kernel,
            .initrd = options->initrd,
            .memory = options->memory,
            .workset = options->idle
                ? run_idle_workset(options->memory)
                : run_workset(options->memory, options->to),
            .seed = g_random_int_range(1, G_MAXINT),
            .smp = options->smp,
            .backend = options->backend,
            .kvm = options->kvm,
        },
        .balloon_to = options->to,
        .skip = on ? options->capabilities : SKIP_NOTHING,
    };
    g_autofree char *title = skip_set_title(options->capabilities);

    if (run_migration(session, &config, result, error)) {
        return true;
    }
    g_prefix_error(error, "with %s %s: ", title, config.label);
    return false;
}

static bool run_all(Session *session, void *opaque, GError **error)
{
    const DemoOptions *options = opaque;
    g_auto(RunResult) off = { 0 };
    g_auto(RunResult) on = { 0 };
    Report report = {
        .memory = options->memory,
        .balloon_to = options->to,
        .backend = options->backend,
        .capabilities = options->capabilities,
        .off = options->off ? &off : NULL,
        .on = options->on ? &on : NULL,
    };
    g_autofree char *text = NULL;

    if (!paths_need_guest(options->kernel, options->initrd, error) ||
        !check_memory(options, error) ||
        !check_qemu(session, options, false, error) ||
        (options->off && options->stock &&
         !check_qemu(session, options, true, error)) ||
        (options->off && !run_one(session, options, false, &off, error)) ||
        (options->on && !run_one(session, options, true, &on, error))) {
        return false;
    }
    text = options->json ? report_json(&report) : report_table(&report);
    printf("%s%s", options->json ? "" : "\n", text);
    return true;
}

static int run(int argc, char **argv, GError **error)
{
    g_autoptr(DemoOptions) options = demo_options_parse(argc, argv, error);

    if (!options) {
        return EXIT_USAGE;
    }
    return command_work(&(CommandSetup) {
            .log_dir = options->log_dir,
            .stall_secs = options->timeout_secs,
            .progress = options->json ? stderr : stdout,
        }, run_all, options, error);
}

const Command demo_command = {
    .name = "demo",
    .summary = "Migrate a guest without and with skip-balloon",
    .run = run,
};
