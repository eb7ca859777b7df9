/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_LIBVIRT_CALL_H
#define SKIP_BALLOON_QEMU_LIBVIRT_CALL_H

#include "qemu/libvirt.h"

#include <libvirt/libvirt.h>

/* A domain, as libvirt.h tells of it. */
struct Libvirt {
    Session *session;
    virConnectPtr connection;
    virDomainPtr domain;        /* NULL: it may come to be there */
    char uuid[VIR_UUID_STRING_BUFLEN];
};

/*
 * A call of libvirt, which may wait for long: made in a thread of its own, so
 * that the main loop sees signals meanwhile. Held by both.
 */
typedef struct Call Call;
struct Call {
    bool (*make)(Call *call);   /* sets @failure, or leaves it to libvirt */
    char *uri;                  /* what it is about, and what it says */
    char *text;
    virConnectPtr connection;
    virDomainPtr domain;
    virTypedParameterPtr params;
    int n_params;
    unsigned flags;
    int state;
    int reason;
    uint64_t amount[2];
    char *reply;
    char *failure;              /* what libvirt says; NULL if all went well */
    bool connected;             /* the failure came later than that */
    bool done;                  /* the main loop knows */
};

/**
 * call_new: a call for a domain.
 * @libvirt: the domain; NULL if there is none yet
 * @make: what is done in the thread; returns whether that went well
 *
 * Returns: the call, whose members may be filled in; the caller unrefs it.
 */
Call *call_new(const Libvirt *libvirt, bool (*make)(Call *call));

/**
 * call_begin: have it made.
 * @call: the call
 */
void call_begin(Call *call);

/**
 * call_wait: wait until it has been made; who gives up leaves it to itself.
 * @session: does the waiting
 * @call: the call, begun
 * @error: set to SB_ERROR_TIMEOUT, or as by session_step()
 */
bool call_wait(Session *session, Call *call, GError **error);

/**
 * call_unref: let go of a call.
 * @call: the call
 */
void call_unref(gpointer call);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, call_unref)

#endif /* SKIP_BALLOON_QEMU_LIBVIRT_CALL_H */
