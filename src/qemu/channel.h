/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_CHANNEL_H
#define SKIP_BALLOON_QEMU_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Lines of text over a connected stream socket. */
typedef struct Channel Channel;

/**
 * ChannelLineFunc: called in the default main context for each line.
 * @line: the line without its end; NULL once, when the other side has closed
 * @opaque: what channel_new() was given
 */
typedef void ChannelLineFunc(const char *line, void *opaque);

/**
 * channel_new: read lines from a socket.
 * @fd: the socket; owned by the channel from now, closed on failure too
 * @line_func: called for each line
 * @opaque: passed to @line_func
 * @error: set if @fd is no socket
 *
 * Returns: the channel, NULL on failure; free it with channel_free().
 */
Channel *channel_new(int fd, ChannelLineFunc *line_func, void *opaque,
                     GError **error);

/**
 * channel_free: close the socket; @line_func is not called any more.
 * @channel: the channel, or NULL
 */
void channel_free(Channel *channel);

/**
 * channel_is_closed: whether the other side has closed the connection.
 * @channel: the channel
 */
bool channel_is_closed(const Channel *channel);

/**
 * channel_send: send text as it is, all of it.
 * @channel: the channel
 * @text: the text, with a newline at its end
 * @error: set if the other side has gone, or does not read for 10 seconds
 *
 * Returns: whether it was sent.
 */
bool channel_send(Channel *channel, const char *text, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)

#endif /* SKIP_BALLOON_QEMU_CHANNEL_H */
