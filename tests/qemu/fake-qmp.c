/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/qemu/fake-qmp.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <string.h>

struct FakeQmp {
    GThread *thread;
    GSocketListener *listener;
    GCancellable *cancellable;
    char *path;
    char *greeting;
    char *reply;
    const FakeReply *replies;   /* or NULL; not owned */
    char *last;
    GString *seen;              /* all lines */
    unsigned n;                 /* of them */
    gint64 value;               /* of the last "balloon" */
};

static bool send_line(GSocketConnection *client, const char *line)
{
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(client));
    g_autofree char *text = g_strconcat(line, "\r\n", NULL);

    return g_output_stream_write_all(out, text, strlen(text), NULL, NULL,
                                     NULL);
}

static gint64 get_id(const char *line)
{
    g_autoptr(JsonParser) parser = json_parser_new();

    g_assert_true(json_parser_load_from_data(parser, line, -1, NULL));
    return json_object_get_int_member(
        json_node_get_object(json_parser_get_root(parser)), "id");
}

/* What the table has for a command; NULL: to close the connection. */
static bool has_seen(const FakeQmp *fake, const char *command)
{
    g_autofree char *name = g_strdup_printf("\"%s\"", command);

    return strstr(fake->seen->str, name);
}

static const char *find_reply(const FakeQmp *fake, const char *line)
{
    const FakeReply *reply = fake->replies;

    while (reply && reply->command) {
        g_autofree char *name = g_strdup_printf("\"%s\"", reply->command);

        if (strstr(line, name) &&
            (!reply->argument || strstr(line, reply->argument)) &&
            (!reply->after || has_seen(fake, reply->after))) {
            return reply->members;
        }
        reply++;
    }
    return reply ? "\"error\": {\"class\": \"CommandNotFound\", "
                   "\"desc\": \"no such command\"}" : fake->reply;
}

static void note_line(FakeQmp *fake, const char *line)
{
    const char *value = strstr(line, "\"value\":");

    fake->n++;
    if (value && strstr(line, "\"balloon\"")) {
        fake->value = g_ascii_strtoll(value + strlen("\"value\":"), NULL,
                                      10);
    }
}

static char *fill_in(const char *text, const char *token, gint64 number)
{
    g_auto(GStrv) parts = g_strsplit(text, token, -1);
    g_autofree char *digits = g_strdup_printf("%" G_GINT64_FORMAT, number);

    return g_strjoinv(digits, parts);
}

/* false: that was all. */
static bool answer(const FakeQmp *fake, GSocketConnection *client,
                   const char *line)
{
    const char *members = strstr(line, "\"qmp_capabilities\"")
                          ? "\"return\": {}" : find_reply(fake, line);
    g_autofree char *counted = NULL;
    g_autofree char *filled = NULL;
    g_autofree char *text = NULL;

    if (!members) {
        return false;
    }
    if (!members[0]) {
        return true;
    }
    counted = fill_in(members, "@n", fake->n);
    filled = fill_in(counted, "@value", fake->value);
    text = g_strdup_printf("{\"id\": %" G_GINT64_FORMAT ", %s}", get_id(line),
                           filled);
    return send_line(client, text);
}

static void serve(FakeQmp *fake, GSocketConnection *client)
{
    g_autoptr(GDataInputStream) in = g_data_input_stream_new(
        g_io_stream_get_input_stream(G_IO_STREAM(client)));
    char *line;

    if (fake->greeting && !send_line(client, fake->greeting)) {
        return;
    }
    while ((line = g_data_input_stream_read_line(in, NULL, fake->cancellable,
                                                 NULL))) {
        g_free(fake->last);
        fake->last = line;
        g_string_append(fake->seen, line);
        note_line(fake, line);
        if (!answer(fake, client, line)) {
            break;
        }
    }
}

static gpointer run(gpointer opaque)
{
    FakeQmp *fake = opaque;
    g_autoptr(GSocketConnection) client = g_socket_listener_accept(
        fake->listener, NULL, fake->cancellable, NULL);

    if (client) {
        serve(fake, client);
    }
    return NULL;
}

static FakeQmp *start(const char *path, const char *greeting,
                      const char *reply, const FakeReply *replies)
{
    FakeQmp *fake = g_new0(FakeQmp, 1);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GError) error = NULL;

    fake->path = g_strdup(path);
    fake->greeting = g_strdup(greeting);
    fake->reply = g_strdup(reply);
    fake->replies = replies;
    fake->seen = g_string_new(NULL);
    fake->cancellable = g_cancellable_new();
    fake->listener = g_socket_listener_new();
    g_socket_listener_add_address(fake->listener, address,
                                  G_SOCKET_TYPE_STREAM,
                                  G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL,
                                  &error);
    g_assert_no_error(error);
    fake->thread = g_thread_new("fake-qmp", run, fake);
    return fake;
}

FakeQmp *fake_qmp_new(const char *path, const char *greeting,
                      const char *reply)
{
    return start(path, greeting, reply, NULL);
}

FakeQmp *fake_qmp_new_table(const char *path, const FakeReply *replies)
{
    return start(path, FAKE_QMP_GREETING, NULL, replies);
}

char *fake_qmp_free(FakeQmp *fake)
{
    char *last;

    g_cancellable_cancel(fake->cancellable);
    if (fake->thread) {
        g_thread_join(fake->thread);
    }
    g_socket_listener_close(fake->listener);
    g_unlink(fake->path);
    last = fake->last;
    g_string_free(fake->seen, TRUE);
    g_object_unref(fake->listener);
    g_object_unref(fake->cancellable);
    g_free(fake->path);
    g_free(fake->greeting);
    g_free(fake->reply);
    g_free(fake);
    return last;
}

char *fake_qmp_end(FakeQmp *fake)
{
    g_autofree char *last = NULL;
    char *seen;

    g_cancellable_cancel(fake->cancellable);
    g_thread_join(g_steal_pointer(&fake->thread));
    seen = g_strdup(fake->seen->str);
    last = fake_qmp_free(fake);
    return seen;
}
