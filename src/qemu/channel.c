/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/channel.h"

#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#define SEND_TIMEOUT_SECS 10

struct Channel {
    GSocket *socket;
    GSource *source;
    GString *pending;           /* what came without its newline */
    ChannelLineFunc *line_func;
    void *opaque;
    bool closed;
};

/* Hand over all whole lines. */
static void deliver(Channel *channel)
{
    char *start = channel->pending->str;
    char *end;

    while ((end = strchr(start, '\n'))) {
        *end = '\0';
        if (end > start && end[-1] == '\r') {
            end[-1] = '\0';
        }
        channel->line_func(start, channel->opaque);
        start = end + 1;
    }
    g_string_erase(channel->pending, 0, start - channel->pending->str);
}

static gboolean on_readable(GSocket *socket, GIOCondition condition,
                            gpointer opaque)
{
    Channel *channel = opaque;
    g_autoptr(GError) error = NULL;
    char buffer[4096];
    gssize n;

    (void)condition;
    n = g_socket_receive_with_blocking(socket, buffer, sizeof(buffer), FALSE,
                                       NULL, &error);
    if (n > 0) {
        /* A NUL would hide what follows it. */
        for (gssize i = 0; i < n; i++) {
            g_string_append_c(channel->pending, buffer[i] ? buffer[i] : '?');
        }
        deliver(channel);
        return G_SOURCE_CONTINUE;
    }
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        return G_SOURCE_CONTINUE;
    }
    channel->closed = true;
    channel->line_func(NULL, channel->opaque);
    return G_SOURCE_REMOVE;
}

Channel *channel_new(int fd, ChannelLineFunc *line_func, void *opaque,
                     GError **error)
{
    GSocket *socket = g_socket_new_from_fd(fd, error);
    Channel *channel;

    if (!socket) {
        g_prefix_error(error, "cannot use a socket: ");
        close(fd);
        return NULL;
    }
    channel = g_new0(Channel, 1);
    channel->socket = socket;
    channel->pending = g_string_new(NULL);
    channel->line_func = line_func;
    channel->opaque = opaque;
    channel->source = g_socket_create_source(socket, G_IO_IN, NULL);
    g_source_set_callback(channel->source, G_SOURCE_FUNC(on_readable), channel,
                          NULL);
    g_source_attach(channel->source, NULL);
    return channel;
}

void channel_free(Channel *channel)
{
    if (!channel) {
        return;
    }
    g_source_destroy(channel->source);
    g_source_unref(channel->source);
    g_object_unref(channel->socket);
    g_string_free(channel->pending, TRUE);
    g_free(channel);
}

bool channel_is_closed(const Channel *channel)
{
    return channel->closed;
}

bool channel_send(Channel *channel, const char *text, GError **error)
{
    size_t left = strlen(text);
    gssize n = 0;

    /* Only here: reading may well have to wait for longer. */
    g_socket_set_timeout(channel->socket, SEND_TIMEOUT_SECS);
    while (left && n >= 0) {
        n = g_socket_send_with_blocking(channel->socket, text, left, TRUE,
                                        NULL, error);
        if (n > 0) {
            text += n;
            left -= n;
        }
    }
    g_socket_set_timeout(channel->socket, 0);
    return n >= 0;
}
