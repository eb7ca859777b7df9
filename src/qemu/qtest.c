/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/qtest.h"

#include <string.h>

#include "base/error.h"
#include "qemu/channel.h"

struct Qtest {
    Session *session;
    Channel *channel;
    char *reply;                /* to the last command; NULL while it runs */
};

static void on_line(const char *line, void *opaque)
{
    Qtest *qtest = opaque;

    /* Interrupts are told of without being asked for. */
    if (line && !g_str_has_prefix(line, "IRQ ")) {
        g_free(qtest->reply);
        qtest->reply = g_strdup(line);
    }
}

Qtest *qtest_new(Session *session, int fd, GError **error)
{
    Qtest *qtest = g_new0(Qtest, 1);

    qtest->session = session;
    qtest->channel = channel_new(fd, on_line, qtest, error);
    if (!qtest->channel) {
        g_free(qtest);
        return NULL;
    }
    return qtest;
}

void qtest_free(Qtest *qtest)
{
    if (!qtest) {
        return;
    }
    channel_free(qtest->channel);
    g_free(qtest->reply);
    g_free(qtest);
}

static bool wait_reply(Qtest *qtest, GError **error)
{
    Stall stall = { 0 };

    while (!qtest->reply) {
        if (channel_is_closed(qtest->channel)) {
            g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                        "QEMU closed its qtest connection");
            return false;
        }
        if (session_stalled(qtest->session, &stall, 0,
                            "no answer from QEMU over qtest", error) ||
            !session_step(qtest->session, 1000, error)) {
            return false;
        }
    }
    return true;
}

/* The number that the answer holds is only of interest to those who read. */
static bool execute(Qtest *qtest, const char *command, uint32_t *value,
                    GError **error)
{
    g_autofree char *line = g_strconcat(command, "\n", NULL);

    g_clear_pointer(&qtest->reply, g_free);
    if (!channel_send(qtest->channel, line, error)) {
        g_prefix_error(error, "cannot send '%s' to QEMU: ", command);
        return false;
    }
    if (!wait_reply(qtest, error)) {
        return false;
    }
    if (strcmp(qtest->reply, "OK") && !g_str_has_prefix(qtest->reply, "OK ")) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "QEMU answered '%s' to '%s' over qtest", qtest->reply,
                    command);
        return false;
    }
    if (value) {
        *value = g_ascii_strtoull(qtest->reply + strlen("OK"), NULL, 0);
    }
    return true;
}

static char suffix(unsigned size)
{
    return size == 1 ? 'b' : size == 2 ? 'w' : 'l';
}

bool qtest_out(Qtest *qtest, uint16_t port, unsigned size, uint32_t value,
               GError **error)
{
    g_autofree char *command = g_strdup_printf("out%c 0x%x 0x%x",
                                               suffix(size), port, value);

    return execute(qtest, command, NULL, error);
}

bool qtest_in(Qtest *qtest, uint16_t port, unsigned size, uint32_t *value,
              GError **error)
{
    g_autofree char *command = g_strdup_printf("in%c 0x%x", suffix(size),
                                               port);

    return execute(qtest, command, value, error);
}
