/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_FAKE_QMP_H
#define SKIP_BALLOON_FAKE_QMP_H

#include <glib.h>

/* A QMP monitor of our own, which says what a test wants it to say. */
typedef struct FakeQmp FakeQmp;

#define FAKE_QMP_GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}"

/**
 * fake_qmp_new: serve one client, in a thread of its own.
 * @path: the socket to make
 * @greeting: the first line to send; NULL to say nothing at all
 * @reply: members of the answer to any command but qmp_capabilities, such as
 *         "\"return\": {}"; NULL to close the connection instead
 *
 * Returns: the server; free it with fake_qmp_free().
 */
FakeQmp *fake_qmp_new(const char *path, const char *greeting,
                      const char *reply);

/*
 * What it answers to a command. The first one that fits counts. In the answer
 * @n is the number of commands so far, @value that of the last "balloon".
 */
typedef struct FakeReply {
    const char *command;        /* NULL: the end of the table */
    const char *argument;       /* text that is in the line, too; or NULL */
    const char *members;        /* as of fake_qmp_new(); "": say nothing */
    const char *after;          /* only once this was executed; or NULL */
} FakeReply;

/**
 * fake_qmp_new_table: the same, with an answer for each command.
 * @path: the socket to make
 * @replies: the answers; have to outlive the server. A command that is not
 *           among them is not known.
 *
 * Returns: the server; free it with fake_qmp_free().
 */
FakeQmp *fake_qmp_new_table(const char *path, const FakeReply *replies);

/**
 * fake_qmp_free: end the server, and remove its socket.
 * @fake: the server
 *
 * Returns: the last line that it got, or NULL; the caller frees it.
 */
char *fake_qmp_free(FakeQmp *fake);

/**
 * fake_qmp_end: the same.
 * @fake: the server
 *
 * Returns: all lines that it got, one after the other; the caller frees it.
 */
char *fake_qmp_end(FakeQmp *fake);

#endif /* SKIP_BALLOON_FAKE_QMP_H */
