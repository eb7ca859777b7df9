/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/session.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

#include "base/error.h"

/* The name of a socket has 107 bytes; ours adds up to 40 of them. */
#define TMP_DIR_MAX 64

#define PATIENCE "; on a slow or busy host allow more with --timeout"

static char *make_log_dir(const char *name, GError **error)
{
    if (g_mkdir_with_parents(name, 0700)) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot make the directory '%s': %s", name,
                    g_strerror(errno));
        return NULL;
    }
    return g_canonicalize_filename(name, NULL);
}

static char *make_private_dir(GError **error)
{
    char *dir;

    if (strlen(g_get_tmp_dir()) > TMP_DIR_MAX) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "the name '%s' is too long for sockets in it; set TMPDIR "
                    "to a shorter one", g_get_tmp_dir());
        return NULL;
    }
    dir = g_dir_make_tmp("skip-balloon-XXXXXX", error);
    if (!dir) {
        g_prefix_error(error, "cannot make a directory, TMPDIR says where: ");
    }
    return dir;
}

Session *session_new(const char *log_dir, unsigned stall_secs, GError **error)
{
    g_autofree char *dir = NULL;
    g_autofree char *logs = NULL;
    Session *session;

    if (log_dir) {
        logs = make_log_dir(log_dir, error);
        if (!logs) {
            return NULL;
        }
    }
    dir = make_private_dir(error);
    if (!dir) {
        return NULL;
    }
    session = g_new0(Session, 1);
    session->stall_secs = stall_secs;
    session->patience = PATIENCE;
    session->log_dir = logs ? g_steal_pointer(&logs) : g_strdup(dir);
    session->dir = g_steal_pointer(&dir);
    return session;
}

static void remove_dir(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        g_unlink(file);
    }
    g_clear_pointer(&dir, g_dir_close);
    g_rmdir(path);
}

void session_free(Session *session)
{
    if (!session) {
        return;
    }
    remove_dir(session->dir);
    g_clear_error(&session->failure);
    g_free(session->dir);
    g_free(session->log_dir);
    g_free(session);
}

char *session_path(const Session *session, const char *name)
{
    return g_build_filename(session->dir, name, NULL);
}

char *session_log_path(const Session *session, const char *name)
{
    return g_build_filename(session->log_dir, name, NULL);
}

void session_fail(Session *session, GError *failure)
{
    if (session->failure) {
        g_error_free(failure);
    } else {
        session->failure = failure;
    }
}

void session_forget_failure(Session *session)
{
    g_clear_error(&session->failure);
}

void session_heed_interrupts(Session *session, bool heed)
{
    session->heedless = !heed;
    session->interrupted = false;
}

static bool session_check(const Session *session, GError **error)
{
    if (session->interrupted) {
        g_set_error(error, SB_ERROR, SB_ERROR_CANCELLED, "interrupted");
        return false;
    }
    if (session->failure) {
        if (error) {
            *error = g_error_copy(session->failure);
        }
        return false;
    }
    return true;
}

static gboolean note_timeout(gpointer opaque)
{
    *(bool *)opaque = true;
    return G_SOURCE_REMOVE;
}

bool session_step(Session *session, unsigned ms, GError **error)
{
    bool fired = false;
    guint timer;

    if (!session_check(session, error)) {
        return false;
    }
    timer = g_timeout_add(ms, note_timeout, &fired);
    g_main_context_iteration(NULL, TRUE);
    if (!fired) {
        g_source_remove(timer);
    }
    return session_check(session, error);
}

bool session_sleep(Session *session, unsigned ms, GError **error)
{
    gint64 end = g_get_monotonic_time() + ms * INT64_C(1000);
    gint64 left;

    while ((left = end - g_get_monotonic_time()) > 0) {
        if (!session_step(session, left / 1000 + 1, error)) {
            return false;
        }
    }
    return true;
}

bool session_stalled(const Session *session, Stall *stall, uint64_t value,
                     const char *what, GError **error)
{
    gint64 now = g_get_monotonic_time();

    if (!stall->since || stall->value != value) {
        stall->value = value;
        stall->since = now;
        return false;
    }
    if (now - stall->since < session->stall_secs * G_USEC_PER_SEC) {
        return false;
    }
    g_set_error(error, SB_ERROR, SB_ERROR_TIMEOUT,
                "%s for %u seconds%s", what, session->stall_secs,
                session->patience);
    return true;
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
static int first_signal;
static Session *watched;

static gboolean on_signal(gpointer opaque)
{
    if (!first_signal) {
        first_signal = *(const int *)opaque;
    }
    watched->interrupted = !watched->heedless;
    return G_SOURCE_CONTINUE;
}

void interrupt_watch(Session *session)
{
    watched = session;
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_unix_signal_add(signals[i], on_signal, (gpointer)&signals[i]);
    }
}

int interrupt_signal(void)
{
    return first_signal;
}
