/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static JsonObject *parse(GError **error, const char *format, va_list values)
{
    g_autofree char *text = g_strdup_vprintf(format, values);
    g_autoptr(JsonNode) node = json_from_string(text, error);

    return node ? json_node_dup_object(node) : NULL;
}

bool command_do(Vm *vm, const char *command, GError **error,
                const char *format, ...)
{
    JsonObject *arguments;
    va_list values;

    va_start(values, format);
    arguments = parse(error, format, values);
    va_end(values);
    return arguments && vm_do(vm, command, arguments, error);
}

bool command_set_parameter(Vm *vm, const char *name, int64_t value,
                           GError **error)
{
    return command_do(vm, "migrate-set-parameters", error,
                      "{ \"%s\": %" G_GINT64_FORMAT " }", name, value);
}

bool command_set_both(Vm *source, Vm *destination, const char *name,
                      GError **error)
{
    return migrate_set_capability(source, name, true, error) &&
           (!destination ||
            migrate_set_capability(destination, name, true, error));
}

bool command_file(Vm *vm, const char *command, const char *path,
                  GError **error)
{
    return command_do(vm, command, error, "{ \"uri\": \"file:%s\" }", path);
}

/* ---- Jobs ---- */

static bool job_ended(JsonNode *jobs, const char *id, const char **why)
{
    JsonArray *list = json_node_get_array(jobs);

    for (unsigned i = 0; i < json_array_get_length(list); i++) {
        JsonObject *job = json_array_get_object_element(list, i);

        if (!strcmp(json_object_get_string_member(job, "id"), id) &&
            !strcmp(json_object_get_string_member(job, "status"),
                    "concluded")) {
            *why = json_object_get_string_member_with_default(job, "error",
                                                              NULL);
            return true;
        }
    }
    return false;
}

/* Wait until a job ends, and forget it. */
static bool see_through(Session *session, Vm *vm, const char *command,
                        const char *id, GError **error)
{
    Stall stall = { 0 };

    for (;;) {
        g_autoptr(JsonNode) jobs = vm_execute(vm, "query-jobs", NULL, error);
        const char *why = NULL;

        if (!jobs) {
            return false;
        }
        if (job_ended(jobs, id, &why)) {
            FAIL_UNLESS(!why, "%s: %s", command, why);
            break;
        }
        if (session_stalled(session, &stall, 0, command, error) ||
            !session_sleep(session, 10, error)) {
            return false;
        }
    }
    return command_do(vm, "job-dismiss", error, "{ \"id\": \"%s\" }", id);
}

/* Execute a command that is a job. */
static bool G_GNUC_PRINTF(5, 6)
run_job(Session *session, Vm *vm, const char *command, GError **error,
        const char *format, ...)
{
    g_autofree char *id = NULL;
    JsonObject *arguments;
    va_list values;

    va_start(values, format);
    arguments = parse(error, format, values);
    va_end(values);
    if (!arguments) {
        return false;
    }
    id = g_strdup(json_object_get_string_member(arguments, "job-id"));
    return vm_do(vm, command, arguments, error) &&
           see_through(session, vm, command, id, error);
}

/* ---- Snapshots ---- */

bool command_create_image(Session *session, Vm *vm, const char *path,
                          GError **error)
{
    return run_job(session, vm, "blockdev-create", error,
                   "{ \"job-id\": \"create\", \"options\": {"
                   " \"driver\": \"file\", \"filename\": \"%s\","
                   " \"size\": 0 } }", path) &&
           command_do(vm, "blockdev-add", error,
                      "{ \"driver\": \"file\", \"filename\": \"%s\","
                      " \"node-name\": \"raw\" }", path) &&
           run_job(session, vm, "blockdev-create", error,
                   "{ \"job-id\": \"format\", \"options\": {"
                   " \"driver\": \"qcow2\", \"file\": \"raw\","
                   " \"size\": 1048576 } }") &&
           command_do(vm, "blockdev-del", error,
                      "{ \"node-name\": \"raw\" }");
}

bool command_open_image(Vm *vm, const char *path, GError **error)
{
    return command_do(vm, "blockdev-add", error,
                      "{ \"driver\": \"qcow2\", \"node-name\": \"image\","
                      " \"file\": { \"driver\": \"file\","
                      " \"filename\": \"%s\" } }", path);
}

bool command_close_image(Vm *vm, GError **error)
{
    return command_do(vm, "blockdev-del", error,
                      "{ \"node-name\": \"image\" }");
}

bool command_snapshot(Session *session, Vm *vm, const char *command,
                      const char *tag, GError **error)
{
    return run_job(session, vm, command, error,
                   "{ \"job-id\": \"snapshot\", \"tag\": \"%s\","
                   " \"vmstate\": \"image\", \"devices\": [ \"image\" ] }",
                   tag);
}

bool command_guest(Vm *vm, const char *command, uint64_t *number,
                   GError **error, const char *format)
{
    g_autofree char *answer = guest_command(vm_guest(vm), command, error);

    if (!answer) {
        return false;
    }
    g_test_message("%s", answer);
    FAIL_UNLESS(sscanf(answer, format, number) == 1, "the guest says '%s'",
                answer);
    return true;
}
