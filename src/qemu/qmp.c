/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "qemu/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "qemu/channel.h"

/* Of those events that nobody waits for the latest are enough. */
#define MAX_EVENTS 64

struct Qmp {
    Session *session;
    Channel *channel;
    pid_t peer;                 /* 0: not known */
    bool greeted;
    bool foreign;               /* something else came instead */
    guint64 id;                 /* of the last command */
    JsonObject *reply;          /* to that command; NULL while it runs */
    GQueue events;              /* of char *, the names */
};

static QmpEventFunc *event_func;
static void *event_opaque;

void qmp_on_event(QmpEventFunc *func, void *opaque)
{
    event_func = func;
    event_opaque = opaque;
}

static void on_reply(Qmp *qmp, JsonObject *message)
{
    gint64 id = json_object_get_int_member_with_default(message, "id", 0);

    /* An answer to a command that nobody waits for any more. */
    if (id == (gint64)qmp->id && !qmp->reply) {
        qmp->reply = json_object_ref(message);
    }
}

static void on_event(Qmp *qmp, JsonObject *message)
{
    if (event_func) {
        event_func(message, event_opaque);
    }
    g_queue_push_tail(&qmp->events, g_strdup(
        json_object_get_string_member(message, "event")));
    if (qmp->events.length > MAX_EVENTS) {
        g_free(g_queue_pop_head(&qmp->events));
    }
}

static void on_line(const char *line, void *opaque)
{
    Qmp *qmp = opaque;
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root;
    JsonObject *message;

    if (!line) {
        return;
    }
    root = json_parser_load_from_data(parser, line, -1, NULL) ?
           json_parser_get_root(parser) : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_debug("not a JSON object: %s", line);
        qmp->foreign = !qmp->greeted;
        return;
    }
    message = json_node_get_object(root);
    if (json_object_has_member(message, "QMP")) {
        qmp->greeted = true;
    } else if (json_object_has_member(message, "event")) {
        on_event(qmp, message);
    } else {
        on_reply(qmp, message);
    }
}

Qmp *qmp_new(Session *session, int fd, GError **error)
{
    Qmp *qmp = g_new0(Qmp, 1);
    struct ucred peer = { 0 };
    socklen_t size = sizeof(peer);

    if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
        qmp->peer = peer.pid;
    }
    qmp->session = session;
    g_queue_init(&qmp->events);
    qmp->channel = channel_new(fd, on_line, qmp, error);
    if (!qmp->channel) {
        g_free(qmp);
        return NULL;
    }
    return qmp;
}

void qmp_free(Qmp *qmp)
{
    if (!qmp) {
        return;
    }
    channel_free(qmp->channel);
    g_clear_pointer(&qmp->reply, json_object_unref);
    g_queue_clear_full(&qmp->events, g_free);
    g_free(qmp);
}

pid_t qmp_peer(const Qmp *qmp)
{
    return qmp->peer;
}

bool qmp_is_closed(const Qmp *qmp)
{
    return channel_is_closed(qmp->channel);
}

static bool check_open(const Qmp *qmp, GError **error)
{
    if (qmp_is_closed(qmp)) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "QEMU closed its QMP connection");
        return false;
    }
    return true;
}

/* Wait a little; false if it makes no sense to wait longer. */
static bool keep_waiting(Qmp *qmp, Stall *stall, const char *what,
                         GError **error)
{
    return check_open(qmp, error) &&
           !session_stalled(qmp->session, stall, 0, what, error) &&
           session_step(qmp->session, 1000, error);
}

bool qmp_negotiate(Qmp *qmp, GError **error)
{
    Stall stall = { 0 };
    g_autoptr(JsonNode) result = NULL;

    while (!qmp->greeted) {
        if (qmp->foreign) {
            g_set_error(error, SB_ERROR, SB_ERROR_QMP,
                        "what answers does not speak QMP: name the socket of "
                        "QEMU's -qmp, not that of -monitor");
            return false;
        }
        if (!keep_waiting(qmp, &stall, "no QMP greeting from QEMU", error)) {
            return false;
        }
    }
    result = qmp_execute(qmp, "qmp_capabilities", NULL, error);
    return result;
}

char *qmp_format(const char *command, JsonObject *arguments, gint64 id)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    JsonObject *message = json_object_new();

    json_object_set_string_member(message, "execute", command);
    if (id) {
        json_object_set_int_member(message, "id", id);
    }
    if (arguments) {
        json_object_set_object_member(message, "arguments", arguments);
    }
    json_node_take_object(root, message);
    return json_to_string(root, FALSE);
}

/* A string of an object, if it is one and has it. */
static const char *get_word(JsonNode *node, const char *name,
                            const char *preset)
{
    JsonNode *word = node && JSON_NODE_HOLDS_OBJECT(node) ?
        json_object_get_member(json_node_get_object(node), name) : NULL;
    const char *text = word && JSON_NODE_HOLDS_VALUE(word) ?
        json_node_get_string(word) : NULL;

    return text ? text : preset;
}

static bool is_unknown(JsonNode *refusal)
{
    return !strcmp(get_word(refusal, "class", ""), "CommandNotFound");
}

JsonNode *qmp_result(JsonObject *reply, const char *command, GError **error)
{
    JsonNode *refusal;

    if (json_object_has_member(reply, "return")) {
        return json_node_copy(json_object_get_member(reply, "return"));
    }
    refusal = json_object_get_member(reply, "error");
    g_set_error(error, SB_ERROR, is_unknown(refusal) ? SB_ERROR_MISSING :
                SB_ERROR_QMP, "QEMU refused '%s': %s", command,
                get_word(refusal, "desc", "no reason given"));
    return NULL;
}

JsonNode *qmp_execute(Qmp *qmp, const char *command, JsonObject *arguments,
                      GError **error)
{
    g_autofree char *json = qmp_format(command, arguments, ++qmp->id);
    g_autofree char *text = g_strconcat(json, "\n", NULL);
    g_autofree char *what = g_strdup_printf("no answer from QEMU to '%s'",
                                            command);
    Stall stall = { 0 };

    g_clear_pointer(&qmp->reply, json_object_unref);
    if (!check_open(qmp, error)) {
        return NULL;
    }
    if (!channel_send(qmp->channel, text, error)) {
        g_prefix_error(error, "cannot send '%s' to QEMU: ", command);
        return NULL;
    }
    while (!qmp->reply) {
        if (!keep_waiting(qmp, &stall, what, error)) {
            return NULL;
        }
    }
    return qmp_result(qmp->reply, command, error);
}

static bool take_event(Qmp *qmp, const char *name)
{
    GList *found = g_queue_find_custom(&qmp->events, name,
                                       (GCompareFunc)g_strcmp0);
    bool last = false;

    while (found && !last) {
        last = qmp->events.head == found;
        g_free(g_queue_pop_head(&qmp->events));
    }
    return found;
}

bool qmp_wait_event(Qmp *qmp, const char *name, GError **error)
{
    g_autofree char *what = g_strdup_printf("no event %s from QEMU", name);
    Stall stall = { 0 };

    while (!take_event(qmp, name)) {
        if (!keep_waiting(qmp, &stall, what, error)) {
            return false;
        }
    }
    return true;
}

#define BUSY "a QMP monitor serves one client at a time: end the other one, " \
             "or give QEMU a second -qmp; or that QEMU hangs"

static bool make_address(const char *path, struct sockaddr_un *address,
                         GError **error)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "'%s' is too long for the name of a socket, which has %zu "
                    "bytes at most; use a relative one", path,
                    sizeof(address->sun_path) - 1);
        return false;
    }
    memcpy(address->sun_path, path, strlen(path));
    return true;
}

static bool check_socket(const char *path, GError **error)
{
    struct stat status;

    if (stat(path, &status)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there is no socket '%s': %s; start QEMU with "
                    "-qmp unix:PATH,server=on,wait=off", path,
                    g_strerror(errno));
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "'%s' is not a socket; name that of QEMU's "
                    "-qmp unix:PATH,server=on,wait=off", path);
        return false;
    }
    return true;
}

static void explain_connect(const char *path, int why, GError **error)
{
    if (why == ECONNREFUSED) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "nobody listens on '%s'; its QEMU has ended", path);
    } else if (why == EAGAIN) {
        g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT,
                    "'%s' takes no more clients; " BUSY, path);
    } else {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "cannot connect to '%s': %s", path, g_strerror(why));
    }
}

/* Without waiting: where others wait already, there is no end to it. */
static int open_socket(const char *path, GError **error)
{
    struct sockaddr_un address;
    int fd;

    if (!make_address(path, &address, error) || !check_socket(path, error)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make a socket: %s", g_strerror(errno));
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        explain_connect(path, errno, error);
        close(fd);
        return -1;
    }
    return fd;
}

Qmp *qmp_connect(Session *session, const char *path, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Qmp) qmp = NULL;
    int fd = open_socket(path, error);

    if (fd < 0) {
        return NULL;
    }
    qmp = qmp_new(session, fd, error);
    if (!qmp || qmp_negotiate(qmp, &failure)) {
        return g_steal_pointer(&qmp);
    }
    if (g_error_matches(failure, SB_ERROR, SB_ERROR_TIMEOUT)) {
        g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT,
                    "nobody speaks on '%s' within %u seconds; " BUSY, path,
                    session->stall_secs);
    } else {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure),
                                   "'%s': ", path);
    }
    return NULL;
}
