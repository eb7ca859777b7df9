/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "life.h"

#include <string.h>

/* What a guest may be short of when its balloon is said to be full. */
#define NEAR_BYTES (16 * SIZE_MIB)

/* The next QEMU finds them there. */
static void use_options(Life *life)
{
    if (life->bench && life->options) {
        life->bench->config.options =
            (const char *const *)life->options->pdata;
    }
}

void life_option(Life *life, const char *option, char *value)
{
    if (!life->options) {
        life->options = g_ptr_array_new_null_terminated(0, g_free, true);
    }
    g_ptr_array_add(life->options, g_strdup(option));
    g_ptr_array_add(life->options, value);
    use_options(life);
}

bool life_boot(Life *life, Bench *bench, GError **error)
{
    life->bench = bench;
    if (bench->config.memory == TEST_MEMORY) {
        bench->config.memory = LIFE_MEMORY;
    }
    use_options(life);
    if (bench->config.workset == TEST_WORKSET) {
        bench->config.workset = LIFE_WORKSET;
    }
    life->vm = bench_boot(bench, bench->qemu, error);
    return life->vm;
}

void life_end(Life *life)
{
    g_clear_pointer(&life->next, vm_free);
    g_clear_pointer(&life->vm, vm_free);
    g_clear_pointer(&life->options, g_ptr_array_unref);
}

bool life_map_bytes(Vm *vm, const char *id, uint64_t *bytes, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) result = NULL;
    JsonArray *blocks;

    json_object_set_int_member(arguments, "max-runs", 1);
    if (id) {
        json_object_set_string_member(arguments, "id", id);
    }
    result = vm_execute(vm, "query-balloon-map", arguments, error);
    if (!result) {
        return false;
    }
    *bytes = 0;
    blocks = json_node_get_array(result);
    for (unsigned i = 0; i < json_array_get_length(blocks); i++) {
        *bytes += json_object_get_int_member(
            json_array_get_object_element(blocks, i), "pages") * 4096;
    }
    return true;
}

bool life_check_map(Life *life, uint64_t ballooned, GError **error)
{
    uint64_t left;
    uint64_t map;

    if (!balloon_query(life->vm, &left, error) ||
        !life_map_bytes(life->vm, NULL, &map, error)) {
        return false;
    }
    FAIL_UNLESS(left + map == life->bench->config.memory + life->plugged,
                "query-balloon says that %" G_GUINT64_FORMAT " bytes are left"
                " and query-balloon-map that %" G_GUINT64_FORMAT " are in the"
                " balloon", left, map);
    FAIL_UNLESS(map <= ballooned && map + NEAR_BYTES >= ballooned,
                "%" G_GUINT64_FORMAT " bytes are in the balloon, not %"
                G_GUINT64_FORMAT, map, ballooned);
    return true;
}

bool life_map_empty(Life *life, GError **error)
{
    uint64_t map;

    if (!life_map_bytes(life->vm, NULL, &map, error)) {
        return false;
    }
    FAIL_UNLESS(!map, "%" G_GUINT64_FORMAT " bytes are in the map still", map);
    return true;
}

bool life_check_gone(Life *life, GError **error)
{
    uint64_t left;

    if (!balloon_query(life->vm, &left, error)) {
        return false;
    }
    FAIL_UNLESS(left == life->bench->config.memory,
                "query-balloon says that %" G_GUINT64_FORMAT " bytes are left",
                left);
    return life_map_empty(life, error);
}

/*
 * After a reset query-balloon says what it said before, until the driver says
 * something; with both right, they agree.
 */
static bool wait_map(Life *life, uint64_t total, uint64_t ballooned,
                     GError **error)
{
    Stall stall = { 0 };
    uint64_t left;
    uint64_t map;

    do {
        if (!balloon_query(life->vm, &left, error) ||
            !life_map_bytes(life->vm, NULL, &map, error) ||
            session_stalled(life->bench->session, &stall, map,
                            "the map is not as query-balloon says", error) ||
            !session_sleep(life->bench->session, 10, error)) {
            return false;
        }
    } while (left + map != total || map + NEAR_BYTES < ballooned);
    return true;
}

bool life_inflate(Life *life, uint64_t bytes, GError **error)
{
    uint64_t total = life->bench->config.memory + life->plugged;

    return balloon_reach(life->bench->session, life->vm, bytes, error) &&
           wait_map(life, total, total - bytes, error) &&
           bench_intact(life->vm, error) &&
           life_check_map(life, total - bytes, error);
}

/* The next QEMU, where the guest is to go. */
static bool start_next(Life *life, GError **error)
{
    g_autofree char *name = g_strdup_printf("hop-%u", ++life->hops);

    life->next = bench_start(life->bench, name, life->bench->qemu, true,
                             error);
    return life->next;
}

bool life_start(Life *life, GError **error)
{
    return start_next(life, error) &&
           bench_start_slow(life->bench, life->vm, life->next, error);
}

/* What the migration that is under way has done by now. */
static bool watch(Life *life, Stall *stall, MigrationStats *stats,
                  GError **error)
{
    if (!migrate_query(life->vm, stats, error) ||
        session_stalled(life->bench->session, stall, stats->transferred,
                        "the migration has sent nothing", error) ||
        !session_sleep(life->bench->session, 10, error)) {
        return false;
    }
    FAIL_UNLESS(!strcmp(stats->status, "active"),
                "the migration was to last for longer, it is %s",
                stats->status);
    return true;
}

bool life_sent(Life *life, uint64_t bytes, GError **error)
{
    Stall stall = { 0 };
    MigrationStats stats;

    do {
        if (!watch(life, &stall, &stats, error)) {
            return false;
        }
    } while (stats.transferred < bytes);
    return true;
}

bool life_sent_once(Life *life, GError **error)
{
    Stall stall = { 0 };
    MigrationStats stats;

    do {
        if (!watch(life, &stall, &stats, error)) {
            return false;
        }
    } while (stats.passes < 3);
    return true;
}

bool life_arrive(Life *life, GError **error)
{
    if (!migrate_set_bandwidth(life->vm, 0, error) ||
        !migrate_wait(life->bench->session, life->vm, life->next,
                      &life->stats, error)) {
        return false;
    }
    g_test_message("hop %u: %" G_GINT64_FORMAT " ms, %" G_GUINT64_FORMAT
                   " KiB sent, skip-balloon %s %s, %" G_GUINT64_FORMAT
                   " pages, %" G_GUINT64_FORMAT " vetoed, skip-unpopulated %"
                   G_GUINT64_FORMAT, life->hops, life->stats.total_ms,
                   life->stats.transferred >> 10, life->stats.skip_status,
                   life->stats.skip_reason, life->stats.skipped_pages,
                   life->stats.vetoed_pages,
                   life->stats.unpopulated.skipped_pages);
    vm_free(life->vm);
    life->vm = g_steal_pointer(&life->next);
    return true;
}

bool life_hop(Life *life, uint64_t ballooned, GError **error)
{
    Bench all = *life->bench;
    uint64_t before;
    uint64_t after;

    if (!life_map_bytes(life->vm, NULL, &before, error) ||
        !start_next(life, error) ||
        !migrate_skip(life->vm, life->next, life->bench->skip, error) ||
        !migrate_start(life->bench->session, life->vm, life->next, error) ||
        !life_arrive(life, error) || !bench_intact(life->vm, error) ||
        !life_map_bytes(life->vm, NULL, &after, error)) {
        return false;
    }
    FAIL_UNLESS(before == after, "the map had %" G_GUINT64_FORMAT " bytes "
                "and has %" G_GUINT64_FORMAT, before, after);
    all.config.memory += life->plugged;
    return life_check_map(life, ballooned, error) &&
           bench_skipped(&all, &life->stats, ballooned, error);
}

bool life_say(Life *life, const char *command, GError **error)
{
    g_autofree char *answer = guest_command(vm_guest(life->vm), command,
                                            error);

    if (answer) {
        g_test_message("%s", answer);
    }
    return answer;
}

char *life_human(Vm *vm, const char *command, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) result = NULL;

    json_object_set_string_member(arguments, "command-line", command);
    result = vm_execute(vm, "human-monitor-command", arguments, error);
    return result ? g_strdup(json_node_get_string(result)) : NULL;
}
