/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/run.h"

#include <string.h>

#include "base/memory.h"
#include "base/size.h"
#include "qemu/balloon.h"

/* Ticks without which a guest is not taken to be at rest, or to go on. */
#define SETTLE_TICKS 6
#define ALIVE_TICKS 4
/* Rarely enough that it takes no time of a processor worth mentioning. */
#define SAMPLE_MS 20
/* 64 by 64 for RAM, and some for blocks of firmware */
#define MAP_CELLS 4160

/* What a Linux needs for itself, and what it needs to describe a page. */
#define KERNEL_BYTES (144 * SIZE_MIB)
#define BYTES_PER_PAGE_STRUCT 64
#define WORKSET_MAX (96 * SIZE_MIB)
#define WORKSET_MIN (4 * SIZE_MIB)
#define WORKSET_IDLE (16 * SIZE_MIB)

static uint64_t kernel_bytes(uint64_t memory)
{
    return KERNEL_BYTES + memory / 4096 * BYTES_PER_PAGE_STRUCT;
}

uint64_t run_workset(uint64_t memory, uint64_t to)
{
    uint64_t needed = kernel_bytes(memory);

    if (to < needed + 2 * WORKSET_MIN) {
        return 0;
    }
    return MIN((to - needed) / 2, WORKSET_MAX);
}

uint64_t run_idle_workset(uint64_t memory)
{
    return MIN(run_workset(memory, memory), WORKSET_IDLE);
}

uint64_t run_idle_used(uint64_t memory)
{
    return kernel_bytes(memory) + run_idle_workset(memory);
}

void run_result_clear(RunResult *result)
{
    g_clear_pointer(&result->samples, g_array_unref);
    g_clear_pointer(&result->map, json_node_unref);
}

static void begin(Session *session, const RunConfig *config, const char *what)
{
    g_autofree char *stage = g_strdup_printf(
        "%s: %s", config->stage ? config->stage : config->label, what);

    if (config->stage) {
        progress_rename(session->progress, stage);
    } else {
        progress_begin(session->progress, stage);
    }
}

static void end(Session *session, const RunConfig *config, const char *outcome)
{
    if (!config->stage) {
        progress_end(session->progress, outcome);
    }
}

static Vm *start(Session *session, const RunConfig *config, const char *role,
                 bool incoming, GError **error)
{
    g_autofree char *name = g_strdup_printf("%s-%s", config->label, role);
    VmConfig vm = config->vm;

    vm.name = name;
    vm.incoming = incoming;
    vm.untouched = !config->balloon_to;
    vm.no_balloon = !config->balloon_to;
    vm.must_tell_host = config->skip & SKIP_BALLOON;
    return vm_start(session, &vm, error);
}

static bool boot(Session *session, const RunConfig *config, Vm *vm,
                 RunResult *result, GError **error)
{
    gint64 began = g_get_monotonic_time();

    begin(session, config, config->balloon_to ? "boot, fill all memory"
                                              : "boot");
    if (!guest_wait_ready(vm_guest(vm), error)) {
        return false;
    }
    result->boot_secs = (g_get_monotonic_time() - began) / 1e6;
    end(session, config, NULL);
    return true;
}

static bool inflate(Session *session, const RunConfig *config, Vm *vm,
                    RunResult *result, GError **error)
{
    gint64 began = g_get_monotonic_time();

    if (!balloon_reach(session, vm, config->balloon_to, error)) {
        return false;
    }
    result->inflate_secs = (g_get_monotonic_time() - began) / 1e6;
    return true;
}

static bool fill(const RunConfig *config, Vm *vm, GError **error)
{
    g_autofree char *command =
        g_strdup_printf("fill %" G_GUINT64_FORMAT, config->fill / SIZE_MIB);
    g_autofree char *answer = guest_command(vm_guest(vm), command, error);

    return answer;
}

static bool settle(Session *session, const RunConfig *config, Vm *vm,
                   RunResult *result, GError **error)
{
    g_autofree char *left = NULL;

    begin(session, config, config->balloon_to ? "inflate the balloon"
                                              : "come to rest");
    result->inflate_secs = 0;
    if ((config->balloon_to && !inflate(session, config, vm, result, error)) ||
        (config->fill && !fill(config, vm, error))) {
        return false;
    }
    if (!guest_wait_ticks(vm_guest(vm), SETTLE_TICKS, error) ||
        !memory_of_process(vm_pid(vm), &result->source_before, error)) {
        return false;
    }
    left = size_format(result->source_before);
    end(session, config, left);
    return true;
}

/* What QEMU answers is for whoever draws it; an unmodified one cannot. */
static void ask_map(const RunConfig *config, Vm *source, RunResult *result)
{
    JsonObject *arguments;

    if (config->ask_map) {
        arguments = json_object_new();
        json_object_set_int_member(arguments, "cells", MAP_CELLS);
        result->map = vm_execute(source, "query-migration-map", arguments,
                                 NULL);
    }
}

/* Start it, see it through, and watch the memory of both ends meanwhile. */
static bool move(Session *session, const RunConfig *config, Vm *source,
                 Vm *destination, RunResult *result, GError **error)
{
    MemorySampler *sampler = memory_sampler_start(
        vm_pid(source), vm_pid(destination), SAMPLE_MS);
    bool moved =
        migrate_start(session, source, destination, error) &&
        migration_mode_wait(session, source, destination, config->mode,
                            &result->migration, error);

    result->samples = memory_sampler_stop(sampler);
    return moved;
}

static bool migrate(Session *session, const RunConfig *config, Vm *source,
                    Vm *destination, RunResult *result, GError **error)
{
    g_autofree char *took = NULL;

    begin(session, config, "migrate");
    if (!migrate_skip(source, destination, config->skip, error) ||
        !migration_mode_set(source, destination, config->mode, error) ||
        !migrate_set_bandwidth(source, 0, error) ||
        (config->warm && !memory_warm(config->warm, error)) ||
        !move(session, config, source, destination, result, error) ||
        !memory_of_process(vm_pid(source), &result->source_after, error) ||
        !memory_of_process(vm_pid(destination), &result->destination_after,
                           error)) {
        return false;
    }
    ask_map(config, source, result);
    took = g_strdup_printf("%.2f s by QEMU's count",
                           result->migration.total_ms / 1e3);
    end(session, config, took);
    return true;
}

static bool verify(Session *session, const RunConfig *config, Vm *vm,
                   GError **error)
{
    g_autofree char *answer = NULL;

    begin(session, config, "verify on the destination");
    if (!guest_wait_ticks(vm_guest(vm), ALIVE_TICKS, error)) {
        return false;
    }
    answer = guest_command(vm_guest(vm), "verify", error);
    if (!answer || !guest_wait_ticks(vm_guest(vm), 1, error)) {
        return false;
    }
    end(session, config, "intact");
    return true;
}

bool run_migration(Session *session, const RunConfig *config,
                   RunResult *result, GError **error)
{
    g_autoptr(Vm) source = NULL;
    g_autoptr(Vm) destination = NULL;

    memset(result, 0, sizeof(*result));
    source = start(session, config, "source", false, error);
    if (!source || !boot(session, config, source, result, error) ||
        !settle(session, config, source, result, error)) {
        return false;
    }
    destination = start(session, config, "destination", true, error);
    return destination &&
           migrate(session, config, source, destination, result, error) &&
           verify(session, config, destination, error);
}
