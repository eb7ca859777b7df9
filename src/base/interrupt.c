/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/interrupt.h"

#include <glib-unix.h>
#include <signal.h>

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
static guint watches[G_N_ELEMENTS(signals)];
static int first_signal;
static Session *watched;

static gboolean on_signal(gpointer opaque)
{
    if (!first_signal) {
        first_signal = *(const int *)opaque;
    }
    g_cancellable_cancel(watched->cancellable);
    return G_SOURCE_CONTINUE;
}

void interrupt_watch(Session *session)
{
    watched = session;
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        watches[i] = g_unix_signal_add(signals[i], on_signal,
                                       (gpointer)&signals[i]);
    }
}

void interrupt_unwatch(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_source_remove(watches[i]);
    }
    watched = NULL;
}

int interrupt_signal(void)
{
    return first_signal;
}
