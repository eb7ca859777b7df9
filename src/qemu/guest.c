/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/guest.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "qemu/channel.h"

/* The share of the time until READY that a guest spends booting, roughly. */
#define BOOT_SHARE 0.1
/* How it answers what it does not know; the verb follows. */
#define UNKNOWN "SB UNKNOWN "

struct Guest {
    Session *session;
    Channel *channel;
    bool booted;
    bool ready;
    double touched;             /* from 0 to 1 */
    uint64_t ticks;
    uint64_t lines;
    char *fault;                /* the first line that reports one, or NULL */
    const char *command;        /* that waits for an answer, or NULL */
    const char *awaited;        /* how that begins, or NULL */
    char *answer;
};

static void on_touching(Guest *guest, const char *line)
{
    double done;
    double all;

    if (sscanf(line, "SB TOUCHING %lf of %lf", &done, &all) == 2 && all > 0) {
        guest->touched = done / all;
    }
}

static bool reports_fault(const char *line)
{
    return g_str_has_prefix(line, "SB CORRUPT") ||
           g_str_has_prefix(line, "SB ERROR") ||
           g_str_has_prefix(line, "SB VERIFY bad") ||
           (g_str_has_prefix(line, "SB TICK") &&
            g_str_has_suffix(line, " bad"));
}

/* Some say the verb, some all of the command. */
static bool is_unknown(const char *line, const char *command)
{
    size_t length = strcspn(command, " ");
    const char *end;

    if (!g_str_has_prefix(line, UNKNOWN) ||
        strncmp(line + strlen(UNKNOWN), command, length)) {
        return false;
    }
    end = line + strlen(UNKNOWN) + length;
    return !*end || *end == ' ';
}

static bool is_answer(const Guest *guest, const char *line)
{
    return guest->command && (g_str_has_prefix(line, guest->awaited) ||
                              is_unknown(line, guest->command));
}

static void on_line(const char *line, void *opaque)
{
    Guest *guest = opaque;

    if (!line || !g_str_has_prefix(line, "SB ")) {
        return;
    }
    guest->lines++;
    if (!guest->fault && reports_fault(line)) {
        guest->fault = g_strdup(line);
    }
    if (g_str_has_prefix(line, "SB BOOT")) {
        guest->booted = true;
    } else if (g_str_has_prefix(line, "SB TOUCHING")) {
        on_touching(guest, line);
    } else if (g_str_has_prefix(line, "SB READY")) {
        guest->ready = true;
    } else if (g_str_has_prefix(line, "SB TICK")) {
        guest->ticks++;
    } else if (!guest->answer && is_answer(guest, line)) {
        guest->answer = g_strdup(line);
    }
}

Guest *guest_new(Session *session, int fd, GError **error)
{
    Guest *guest = g_new0(Guest, 1);

    guest->session = session;
    guest->channel = channel_new(fd, on_line, guest, error);
    if (!guest->channel) {
        g_free(guest);
        return NULL;
    }
    return guest;
}

void guest_free(Guest *guest)
{
    if (!guest) {
        return;
    }
    channel_free(guest->channel);
    g_free(guest->fault);
    g_free(guest->answer);
    g_free(guest);
}

bool guest_check(const Guest *guest, GError **error)
{
    if (guest->fault) {
        g_set_error(error, SB_ERROR, SB_ERROR_GUEST, "the guest reports '%s'",
                    guest->fault);
    }
    return !guest->fault;
}

uint64_t guest_ticks(const Guest *guest)
{
    return guest->ticks;
}

/* Wait a little; false if it makes no sense to wait longer. */
static bool keep_waiting(Guest *guest, Stall *stall, GError **error)
{
    return guest_check(guest, error) &&
           !session_stalled(guest->session, stall, guest->lines,
                            "the guest has said nothing", error) &&
           session_step(guest->session, 500, error);
}

bool guest_wait_ready(Guest *guest, GError **error)
{
    Stall stall = { 0 };

    while (!guest->ready) {
        double done = guest->booted ?
            BOOT_SHARE + (1 - BOOT_SHARE) * guest->touched : 0;

        progress_update(guest->session->progress, done);
        if (!keep_waiting(guest, &stall, error)) {
            return false;
        }
    }
    return true;
}

void guest_expect_boot(Guest *guest)
{
    guest->booted = false;
    guest->ready = false;
    guest->touched = 0;
}

bool guest_wait_ticks(Guest *guest, unsigned count, GError **error)
{
    uint64_t goal = guest->ticks + count;
    Stall stall = { 0 };

    while (guest->ticks < goal) {
        if (!keep_waiting(guest, &stall, error)) {
            return false;
        }
    }
    return guest_check(guest, error);
}

/* "touch 64" is answered by a line that begins with "SB TOUCH ". */
static char *answer_prefix(const char *command)
{
    size_t length = strcspn(command, " ");
    g_autofree char *verb = g_ascii_strup(command, length);

    return g_strdup_printf("SB %s ", verb);
}

bool guest_send(Guest *guest, const char *command, GError **error)
{
    g_autofree char *text = g_strconcat(command, "\n", NULL);

    if (!channel_send(guest->channel, text, error)) {
        g_prefix_error(error, "cannot send '%s' to the guest: ", command);
        return false;
    }
    return true;
}

char *guest_command(Guest *guest, const char *command, GError **error)
{
    g_autofree char *prefix = answer_prefix(command);
    Stall stall = { 0 };

    g_clear_pointer(&guest->answer, g_free);
    guest->command = command;
    guest->awaited = prefix;
    if (!guest_send(guest, command, error)) {
        goto out;
    }
    while (!guest->answer) {
        if (!keep_waiting(guest, &stall, error)) {
            goto out;
        }
    }
    if (is_unknown(guest->answer, command)) {
        g_set_error(error, SB_ERROR, SB_ERROR_GUEST,
                    "the guest does not know the command '%s'", command);
        g_clear_pointer(&guest->answer, g_free);
        goto out;
    }
    /* An answer is "ok ...", "bad ..." or nothing but facts. */
    if (g_str_has_prefix(guest->answer + strlen(prefix), "bad")) {
        g_set_error(error, SB_ERROR, SB_ERROR_GUEST,
                    "the guest answers '%s' to '%s'", guest->answer, command);
        g_clear_pointer(&guest->answer, g_free);
    }
out:
    guest->command = NULL;
    guest->awaited = NULL;
    return g_steal_pointer(&guest->answer);
}
