/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/libvirt.h"

#include <signal.h>
#include <string.h>

#include "base/error.h"
#include "qemu/qmp.h"

#ifdef HAVE_LIBVIRT

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include "qemu/libvirt-call.h"

char *libvirt_version(void)
{
    return g_strdup_printf("%d.%d.%d", LIBVIR_VERSION_NUMBER / 1000000,
                           LIBVIR_VERSION_NUMBER / 1000 % 1000,
                           LIBVIR_VERSION_NUMBER % 1000);
}

/* ---- Calls ---- */

static void call_clear(gpointer opaque)
{
    Call *call = opaque;

    g_free(call->uri);
    g_free(call->text);
    g_free(call->reply);
    g_free(call->failure);
    virTypedParamsFree(call->params, call->n_params);
    if (call->domain) {
        virDomainFree(call->domain);
    }
    if (call->connection) {
        virConnectClose(call->connection);
    }
}

void call_unref(gpointer call)
{
    g_atomic_rc_box_release_full(call, call_clear);
}

Call *call_new(const Libvirt *libvirt, bool (*make)(Call *call))
{
    Call *call = g_atomic_rc_box_new0(Call);

    call->make = make;
    if (libvirt) {
        call->connection = libvirt->connection;
        virConnectRef(call->connection);
        call->domain = libvirt->domain;
    }
    if (call->domain) {
        virDomainRef(call->domain);
    }
    return call;
}

/* What libvirt would print is in our own message. */
static void be_quiet(void *opaque G_GNUC_UNUSED, virErrorPtr why G_GNUC_UNUSED)
{
}

static void make_call(GTask *task, gpointer source G_GNUC_UNUSED,
                      gpointer opaque,
                      GCancellable *cancellable G_GNUC_UNUSED)
{
    Call *call = opaque;
    bool done;

    virSetErrorFunc(NULL, be_quiet);
    done = call->make(call);
    if (!done && !call->failure) {
        call->failure = g_strdup(virGetLastErrorMessage());
    }
    g_task_return_boolean(task, done);
}

static void on_done(GObject *source G_GNUC_UNUSED,
                    GAsyncResult *result G_GNUC_UNUSED, gpointer opaque)
{
    Call *call = opaque;

    call->done = true;
    call_unref(call);
}

void call_begin(Call *call)
{
    g_autoptr(GTask) task = g_task_new(NULL, NULL, on_done,
                                       g_atomic_rc_box_acquire(call));

    g_task_set_task_data(task, g_atomic_rc_box_acquire(call), call_unref);
    g_task_run_in_thread(task, make_call);
}

bool call_wait(Session *session, Call *call, GError **error)
{
    Stall stall = { 0 };

    while (!call->done) {
        if (session_stalled(session, &stall, 0, "no answer from libvirt",
                            error) || !session_step(session, 1000, error)) {
            return false;
        }
    }
    return true;
}

/* ---- A domain ---- */

static bool find_domain(Call *call)
{
    if (!call->connection) {
        call->connection = virConnectOpen(call->uri);
    }
    call->connected = call->connection;
    if (call->connection && call->text) {
        call->domain = virDomainLookupByName(call->connection, call->text);
    }
    if (call->connection && call->text && !call->domain) {
        g_autofree char *why = g_strdup(virGetLastErrorMessage());

        call->domain = virDomainLookupByUUIDString(call->connection,
                                                   call->text);
        if (!call->domain) {
            call->failure = g_steal_pointer(&why);
        }
    }
    return call->connection && (!call->text || call->domain);
}

/* Make a call that connects, and take what it has found. */
static Libvirt *take_found(Session *session, Call *call, GError **error)
{
    Libvirt *libvirt;

    /* A libvirt that has ended is an error of the call that finds it so. */
    signal(SIGPIPE, SIG_IGN);
    call_begin(call);
    if (!call_wait(session, call, error) || call->failure) {
        return NULL;
    }
    libvirt = g_new0(Libvirt, 1);
    libvirt->session = session;
    libvirt->connection = g_steal_pointer(&call->connection);
    libvirt->domain = g_steal_pointer(&call->domain);
    return libvirt;
}

Libvirt *libvirt_open(Session *session, const char *uri, const char *domain,
                      GError **error)
{
    g_autoptr(Call) call = call_new(NULL, find_domain);
    Libvirt *libvirt;

    call->uri = g_strdup(uri);
    call->text = g_strdup(domain);
    libvirt = take_found(session, call, error);
    if (libvirt) {
        virDomainGetUUIDString(libvirt->domain, libvirt->uuid);
    } else if (call->failure) {
        g_set_error(error, SB_ERROR,
                    call->connected ? SB_ERROR_MISSING : SB_ERROR_PROCESS,
                    call->connected ? "libvirt has no domain '%s': %s; "
                    "--connect says where to look" :
                    "cannot reach the libvirt of domain '%s': %s; --connect "
                    "says where it is", domain, call->failure);
    }
    return libvirt;
}

Libvirt *libvirt_open_destination(const Libvirt *source, const char *uri,
                                  GError **error)
{
    g_autoptr(Call) call = call_new(NULL, find_domain);
    Libvirt *libvirt;

    call->uri = g_strdup(uri);
    libvirt = take_found(source->session, call, error);
    if (libvirt) {
        memcpy(libvirt->uuid, source->uuid, sizeof(libvirt->uuid));
    } else if (call->failure) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "cannot reach the libvirt of the destination, '%s': %s",
                    uri, call->failure);
    }
    return libvirt;
}

void libvirt_free(Libvirt *libvirt)
{
    if (!libvirt) {
        return;
    }
    if (libvirt->domain) {
        virDomainFree(libvirt->domain);
    }
    virConnectClose(libvirt->connection);
    g_free(libvirt);
}

static bool pass_on(Call *call)
{
    if (!call->domain) {
        call->domain = virDomainLookupByUUIDString(call->connection,
                                                   call->uri);
    }
    return call->domain &&
           !virDomainQemuMonitorCommand(call->domain, call->text, &call->reply,
                                   VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT);
}

JsonNode *libvirt_execute(Libvirt *libvirt, const char *command,
                          JsonObject *arguments, GError **error)
{
    g_autoptr(Call) call = call_new(libvirt, pass_on);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root;

    /* libvirt gives it an id of its own. */
    call->text = qmp_format(command, arguments, 0);
    call->uri = g_strdup(libvirt->uuid);
    call_begin(call);
    if (!call_wait(libvirt->session, call, error)) {
        return NULL;
    }
    if (call->failure) {
        g_set_error(error, SB_ERROR, SB_ERROR_PROCESS,
                    "libvirt does not pass '%s' on: %s", command,
                    call->failure);
        return NULL;
    }
    root = json_parser_load_from_data(parser, call->reply, -1, NULL) ?
           json_parser_get_root(parser) : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, SB_ERROR, SB_ERROR_QMP,
                    "what libvirt answers to '%s' is not QMP", command);
        return NULL;
    }
    return qmp_result(json_node_get_object(root), command, error);
}

#else /* !HAVE_LIBVIRT */

char *libvirt_version(void)
{
    return NULL;
}

Libvirt *libvirt_open(Session *session G_GNUC_UNUSED,
                      const char *uri G_GNUC_UNUSED, const char *domain,
                      GError **error)
{
    g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                "this skip-balloon was built without libvirt, and cannot look "
                "for domain '%s'; install libvirt-dev and build it again, or "
                "name the socket of a monitor with --qmp", domain);
    return NULL;
}

Libvirt *libvirt_open_destination(const Libvirt *source G_GNUC_UNUSED,
                                  const char *uri G_GNUC_UNUSED,
                                  GError **error G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

void libvirt_free(Libvirt *libvirt G_GNUC_UNUSED)
{
}

JsonNode *libvirt_execute(Libvirt *libvirt G_GNUC_UNUSED,
                          const char *command G_GNUC_UNUSED,
                          JsonObject *arguments G_GNUC_UNUSED,
                          GError **error G_GNUC_UNUSED)
{
    g_assert_not_reached();
}

#endif
