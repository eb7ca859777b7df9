/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/migration.h"

#include <string.h>

#include "base/error.h"

static const struct {
    const char *word;
    SkipSet set;
} words[] = {
    { "balloon", SKIP_BALLOON },
    { "unpopulated", SKIP_UNPOPULATED },
    { "both", SKIP_BOTH },
};

static const struct {
    const char *name;
    SkipSet member;
} capabilities[] = {
    { "skip-balloon", SKIP_BALLOON },
    { "skip-unpopulated", SKIP_UNPOPULATED },
};

bool skip_set_parse(const char *word, SkipSet *set, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!strcmp(word, words[i].word)) {
            *set = words[i].set;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "--capabilities takes 'balloon', 'unpopulated' or 'both', "
                "not '%s'", word);
    return false;
}

const char **skip_set_capabilities(SkipSet set)
{
    const char **names = g_new0(const char *, G_N_ELEMENTS(capabilities) + 1);
    unsigned count = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        if (set & capabilities[i].member) {
            names[count++] = capabilities[i].name;
        }
    }
    return names;
}

char *skip_set_title(SkipSet set)
{
    g_autofree const char **names = skip_set_capabilities(set);

    return g_strjoinv(" and ", (char **)names);
}

#define POLL_MS 20
/* 1 TiB/s: more than any host can do, less than what QEMU takes for none. */
#define UNLIMITED (INT64_C(1) << 40)

bool migrate_set_capability(Vm *vm, const char *name, bool on, GError **error)
{
    JsonArray *list = json_array_new();
    JsonObject *capability = json_object_new();
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(capability, "capability", name);
    json_object_set_boolean_member(capability, "state", on);
    json_array_add_object_element(list, capability);
    json_object_set_array_member(arguments, "capabilities", list);
    return vm_do(vm, "migrate-set-capabilities", arguments, error);
}

bool migrate_skip(Vm *source, Vm *destination, SkipSet set, GError **error)
{
    g_autofree const char **names = skip_set_capabilities(set);

    for (const char **name = names; *name; name++) {
        if (!migrate_set_capability(source, *name, true, error) ||
            !migrate_set_capability(destination, *name, true, error)) {
            return false;
        }
    }
    return true;
}

static bool lists_capability(JsonArray *list, const char *name)
{
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *entry = json_array_get_object_element(list, i);

        if (!g_strcmp0(name, json_object_get_string_member(entry,
                                                           "capability"))) {
            return true;
        }
    }
    return false;
}

bool migrate_find_unknown(Vm *vm, SkipSet set, const char **unknown,
                          GError **error)
{
    g_autofree const char **names = skip_set_capabilities(set);
    g_autoptr(JsonNode) result =
        vm_execute(vm, "query-migrate-capabilities", NULL, error);
    const char **name = names;

    if (!result) {
        return false;
    }
    while (*name && lists_capability(json_node_get_array(result), *name)) {
        name++;
    }
    *unknown = *name;
    return true;
}

bool migrate_set_bandwidth(Vm *vm, uint64_t bytes, GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, "max-bandwidth",
                               bytes ? bytes : UNLIMITED);
    return vm_do(vm, "migrate-set-parameters", arguments, error);
}

static bool set_uri(Vm *vm, const char *command, const char *uri,
                    GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, "uri", uri);
    return vm_do(vm, command, arguments, error);
}

bool migrate_start(Session *session, Vm *source, Vm *destination,
                   GError **error)
{
    static unsigned count;
    g_autofree char *name = g_strdup_printf("migration-%u.sock", count++);
    g_autofree char *path = session_path(session, name);
    g_autofree char *uri = g_strconcat("unix:", path, NULL);

    return set_uri(destination, "migrate-incoming", uri, error) &&
           set_uri(source, "migrate", uri, error);
}

static gint64 get_int(JsonObject *object, const char *member)
{
    return json_object_get_int_member_with_default(object, member, 0);
}

static void get_string(JsonObject *object, const char *member, char *text,
                       size_t size)
{
    g_strlcpy(text, json_object_get_string_member_with_default(
        object, member, ""), size);
}

static void parse_ram(JsonObject *ram, MigrationStats *stats)
{
    stats->transferred = get_int(ram, "transferred");
    stats->remaining = get_int(ram, "remaining");
    stats->total = get_int(ram, "total");
    stats->duplicate = get_int(ram, "duplicate");
    stats->normal = get_int(ram, "normal");
    stats->passes = get_int(ram, "dirty-sync-count");
    stats->postcopy_bytes = get_int(ram, "postcopy-bytes");
    stats->dirty_per_s = (double)get_int(ram, "dirty-pages-rate") *
                         get_int(ram, "page-size");
    stats->bytes_per_s = json_object_get_double_member_with_default(
        ram, "mbps", 0) * 1e6 / 8;
}

static void parse_skip(JsonObject *skip, MigrationStats *stats)
{
    stats->has_skip = true;
    get_string(skip, "status", stats->skip_status,
               sizeof(stats->skip_status));
    get_string(skip, "reason", stats->skip_reason,
               sizeof(stats->skip_reason));
    stats->skipped_pages = get_int(skip, "skipped-pages");
    stats->skipped_bytes = get_int(skip, "skipped-bytes");
    stats->vetoed_pages = get_int(skip, "vetoed-pages");
    stats->map_bytes = get_int(skip, "map-bytes");
    stats->final_map_bytes = get_int(skip, "final-map-bytes");
}

static void parse_left_alone(JsonArray *blocks, UnpopulatedStats *stats)
{
    stats->n_left_alone = MIN(json_array_get_length(blocks),
                              MIGRATE_LEFT_ALONE_MAX);
    for (guint i = 0; i < stats->n_left_alone; i++) {
        JsonObject *block = json_array_get_object_element(blocks, i);
        LeftAlone *left_alone = &stats->left_alone[i];

        get_string(block, "id", left_alone->id, sizeof(left_alone->id));
        left_alone->size = get_int(block, "size");
        get_string(block, "reason", left_alone->reason,
                   sizeof(left_alone->reason));
    }
}

static void parse_unpopulated(JsonObject *skip, UnpopulatedStats *stats)
{
    stats->known = true;
    stats->skipped_pages = get_int(skip, "skipped-pages");
    stats->skipped_bytes = get_int(skip, "skipped-bytes");
    if (json_object_has_member(skip, "left-alone")) {
        parse_left_alone(json_object_get_array_member(skip, "left-alone"),
                         stats);
    }
}

void migration_parse(JsonObject *answer, MigrationStats *stats)
{
    memset(stats, 0, sizeof(*stats));
    get_string(answer, "status", stats->status, sizeof(stats->status));
    get_string(answer, "error-desc", stats->reason, sizeof(stats->reason));
    stats->total_ms = get_int(answer, "total-time");
    stats->downtime_ms = get_int(answer, "downtime");
    stats->expected_downtime_ms = get_int(answer, "expected-downtime");
    stats->setup_ms = get_int(answer, "setup-time");
    if (json_object_has_member(answer, "ram")) {
        parse_ram(json_object_get_object_member(answer, "ram"), stats);
    }
    if (json_object_has_member(answer, "skip-balloon")) {
        parse_skip(json_object_get_object_member(answer, "skip-balloon"),
                   stats);
    }
    if (json_object_has_member(answer, "skip-unpopulated")) {
        parse_unpopulated(json_object_get_object_member(answer,
                                                        "skip-unpopulated"),
                          &stats->unpopulated);
    }
}

bool migration_has_status(const MigrationStats *stats, const char *status)
{
    return !strcmp(stats->status, status);
}

bool migration_is_over(const MigrationStats *stats)
{
    return !stats->status[0] || migration_has_status(stats, "none") ||
           migration_has_status(stats, "completed") ||
           migration_has_status(stats, "failed") ||
           migration_has_status(stats, "cancelled");
}

/* Fails also if the migration has, with the reason that QEMU gives. */
static bool query(Vm *source, MigrationStats *stats, const char *wanted,
                  GError **error)
{
    g_autoptr(JsonNode) result =
        vm_execute(source, "query-migrate", NULL, error);
    JsonObject *answer;
    bool over;

    if (!result) {
        return false;
    }
    answer = json_node_get_object(result);
    migration_parse(answer, stats);
    over = !strcmp(stats->status, "failed") ||
           !strcmp(stats->status, "cancelled") ||
           !strcmp(stats->status, "completed");
    if (wanted && over && strcmp(stats->status, wanted)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "the migration has %s%s: %s",
                    strcmp(stats->status, "cancelled") ? "" : "been ",
                    stats->status, json_object_get_string_member_with_default(
                        answer, "error-desc", "QEMU does not say why"));
        return false;
    }
    return true;
}

bool migrate_query(Vm *source, MigrationStats *stats, GError **error)
{
    return query(source, stats, NULL, error);
}

static double fraction_done(const MigrationStats *stats)
{
    return stats->total ? 1 - (double)stats->remaining / stats->total : 0;
}

bool migrate_wait_status(Session *session, Vm *source, const char *status,
                         MigrationStats *stats, GError **error)
{
    Stall stall = { 0 };

    for (;;) {
        if (!query(source, stats, status, error)) {
            return false;
        }
        if (!strcmp(stats->status, status)) {
            return true;
        }
        progress_update(session->progress, fraction_done(stats));
        if (session_stalled(session, &stall,
                            stats->transferred + stats->remaining,
                            "the migration has moved nothing", error) ||
            !session_sleep(session, POLL_MS, error)) {
            return false;
        }
    }
}

bool migrate_wait(Session *session, Vm *source, Vm *destination,
                  MigrationStats *stats, GError **error)
{
    return migrate_wait_status(session, source, "completed", stats, error) &&
           vm_wait_event(destination, "RESUME", error);
}

bool migrate_cancel(Session *session, Vm *source, GError **error)
{
    MigrationStats stats;

    return vm_do(source, "migrate_cancel", NULL, error) &&
           migrate_wait_status(session, source, "cancelled", &stats, error);
}

#define MULTIFD_CHANNELS 2

static const char *const mode_names[] = {
    [MODE_PLAIN] = "plain",
    [MODE_MULTIFD] = "multifd",
    [MODE_POSTCOPY] = "postcopy",
};

bool migration_mode_parse(const char *name, MigrationMode *mode,
                          GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(mode_names); i++) {
        if (!strcmp(name, mode_names[i])) {
            *mode = i;
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "unknown mode '%s'; there are plain, multifd and postcopy",
                name);
    return false;
}

const char *migration_mode_name(MigrationMode mode)
{
    return mode_names[mode];
}

static bool set_channels(Vm *vm, GError **error)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, "multifd-channels",
                               MULTIFD_CHANNELS);
    return vm_do(vm, "migrate-set-parameters", arguments, error);
}

bool migration_mode_set(Vm *source, Vm *destination, MigrationMode mode,
                        GError **error)
{
    static const char *const capabilities[] = {
        [MODE_MULTIFD] = "multifd",
        [MODE_POSTCOPY] = "postcopy-ram",
    };

    if (mode == MODE_PLAIN) {
        return true;
    }
    return migrate_set_capability(source, capabilities[mode], true, error) &&
           migrate_set_capability(destination, capabilities[mode], true,
                                  error) &&
           (mode != MODE_MULTIFD ||
            (set_channels(source, error) && set_channels(destination, error)));
}

static bool switch_to_postcopy(Session *session, Vm *source, GError **error)
{
    MigrationStats stats;

    return migrate_wait_status(session, source, "active", &stats, error) &&
           vm_do(source, "migrate-start-postcopy", NULL, error);
}

bool migration_mode_wait(Session *session, Vm *source, Vm *destination,
                         MigrationMode mode, MigrationStats *stats,
                         GError **error)
{
    if ((mode == MODE_POSTCOPY &&
         !switch_to_postcopy(session, source, error)) ||
        !migrate_wait(session, source, destination, stats, error)) {
        return false;
    }
    if (mode == MODE_POSTCOPY && !stats->postcopy_bytes) {
        g_set_error(error, SB_ERROR, SB_ERROR_MIGRATION,
                    "the migration was over before it could switch to "
                    "postcopy; ask for a guest with more memory in use");
        return false;
    }
    return true;
}
