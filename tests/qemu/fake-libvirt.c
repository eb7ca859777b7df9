/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into the program: has a domain of libvirt's test driver pass QMP
 * on, to the socket that SB_FAKE_LIBVIRT names. With "garbage" it answers
 * something else, with "mute" nothing. SB_FAKE_MIGRATE says what becomes of a
 * migration, which that driver does not do; what it was asked for is noted at
 * the socket. SB_FAKE_MEMORY: what is free at the destination, in KiB.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

static FILE *qmp;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static virConnectPtr destination;   /* what was connected to last */
static const char *why;             /* the last call failed */
static atomic_bool aborted;
static atomic_bool in_postcopy;

static bool mode_is(const char *mode)
{
    const char *wanted = getenv("SB_FAKE_MIGRATE");

    return wanted && !strcmp(wanted, mode);
}

static char *get_line(void)
{
    char *line = NULL;
    size_t size = 0;

    return getline(&line, &size, qmp) > 0 ? line : NULL;
}

static int begin(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        return -1;
    }
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        return -1;
    }
    qmp = fdopen(fd, "r+");
    free(get_line());
    fprintf(qmp, "{\"execute\": \"qmp_capabilities\", \"id\": 1}\n");
    fflush(qmp);
    free(get_line());
    return 0;
}

static int pass_on(const char *command, char **result)
{
    const char *path = getenv("SB_FAKE_LIBVIRT");

    if (!strcmp(path, "mute")) {
        sleep(600);
    }
    if (!strcmp(path, "garbage")) {
        *result = strdup("OK");
        return 0;
    }
    if (!qmp && begin(path)) {
        return -1;
    }
    fprintf(qmp, "{\"id\": 2, %s\n", command + 1);
    fflush(qmp);
    *result = get_line();
    return *result ? 0 : -1;
}

int virDomainQemuMonitorCommand(virDomainPtr domain, const char *command,
                                char **result, unsigned int flags)
{
    int status;

    if (flags || !getenv("SB_FAKE_LIBVIRT") ||
        virDomainIsActive(domain) != 1) {
        return -1;
    }
    pthread_mutex_lock(&mutex);
    status = pass_on(command, result);
    pthread_mutex_unlock(&mutex);
    return status;
}

/* ---- Migration ---- */

static void note(const char *format, ...)
{
    char *reply = NULL;
    char *line = NULL;
    va_list values;

    va_start(values, format);
    if (vasprintf(&line, format, values) >= 0) {
        pthread_mutex_lock(&mutex);
        pass_on(line, &reply);
        pthread_mutex_unlock(&mutex);
    }
    va_end(values);
    free(reply);
    free(line);
}

const char *virGetLastErrorMessage(void)
{
    const char *(*real)(void) = dlsym(RTLD_NEXT, "virGetLastErrorMessage");

    return why ? why : real();
}

int virGetLastErrorCode(void)
{
    int (*real)(void) = dlsym(RTLD_NEXT, "virGetLastErrorCode");

    return mode_is("no-state") || (mode_is("deaf") && why) ? VIR_ERR_RPC :
           real();
}

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags)
{
    char *(*real)(virDomainPtr, unsigned int) =
        dlsym(RTLD_NEXT, "virDomainGetXMLDesc");

    why = mode_is("no-xml") ? "not today" : NULL;
    return why ? NULL : real(domain, flags);
}

virConnectPtr virConnectOpen(const char *name)
{
    virConnectPtr (*real)(const char *) = dlsym(RTLD_NEXT, "virConnectOpen");

    destination = real(name);
    return destination;
}

int virDomainGetState(virDomainPtr domain, int *state, int *reason,
                      unsigned int flags)
{
    int (*real)(virDomainPtr, int *, int *, unsigned int) =
        dlsym(RTLD_NEXT, "virDomainGetState");
    int status = real(domain, state, reason, flags);

    if (*state == VIR_DOMAIN_PAUSED) {
        *reason = mode_is("interrupted") ? VIR_DOMAIN_PAUSED_POSTCOPY_FAILED :
                  in_postcopy ? VIR_DOMAIN_PAUSED_POSTCOPY :
                  VIR_DOMAIN_PAUSED_MIGRATION;
    } else if (*state == VIR_DOMAIN_RUNNING && mode_is("lost")) {
        *reason = VIR_DOMAIN_RUNNING_POSTCOPY_FAILED;
    }
    return status;
}

char *virConnectGetDomainCapabilities(virConnectPtr connection,
                                      const char *emulator, const char *arch,
                                      const char *machine, const char *type,
                                      unsigned int flags)
{
    (void)connection;
    (void)arch;
    (void)machine;
    (void)type;
    (void)flags;
    why = mode_is("no-emulator") ? "no such file" : NULL;
    note("{\"execute\": \"try-emulator\", \"arguments\": \"%s\"}", emulator);
    return why ? NULL : strdup("");
}

int virNodeGetMemoryStats(virConnectPtr connection, int cell,
                          virNodeMemoryStatsPtr stats, int *n,
                          unsigned int flags)
{
    const char *told = getenv("SB_FAKE_MEMORY");

    (void)connection;
    (void)flags;
    if (!told || cell != VIR_NODE_MEMORY_STATS_ALL_CELLS) {
        return -1;
    }
    if (*n) {
        strcpy(stats[0].field, VIR_NODE_MEMORY_STATS_TOTAL);
        stats[0].value = 1ULL << 40;
        strcpy(stats[1].field, VIR_NODE_MEMORY_STATS_FREE);
        stats[1].value = atol(told);
        strcpy(stats[2].field, VIR_NODE_MEMORY_STATS_CACHED);
        stats[2].value = 64;
    }
    *n = 3;
    return 0;
}

static void arrive(virDomainPtr domain)
{
    char *xml = virDomainGetXMLDesc(domain, 0);
    virDomainPtr there = virDomainCreateXML(destination, xml, 0);

    free(xml);
    if (there) {
        virDomainFree(there);
    }
}

static int fail(const char *text)
{
    why = text;
    return -1;
}

/* What comes of it. */
static int migrate(virDomainPtr domain, unsigned int flags)
{
    static int times;

    if (mode_is("waits")) {
        while (!aborted) {
            usleep(10000);
        }
        return fail("cancelled by client");
    }
    if (mode_is("refused") && !times++) {
        return fail("Sibling indicated error 1");
    }
    if (mode_is("paused") || mode_is("interrupted")) {
        virDomainSuspend(domain);
        return fail("a rat");
    }
    if (mode_is("deaf")) {
        return fail("a rat");
    }
    if (mode_is("ends")) {
        virDomainDestroy(domain);
        return fail("a rat");
    }
    if (mode_is("both")) {
        arrive(domain);
        return fail("a rat");
    }
    while (flags & VIR_MIGRATE_POSTCOPY && !in_postcopy && !aborted) {
        usleep(10000);
    }
    if (aborted) {
        return fail("cancelled by client");
    }
    arrive(domain);
    if (mode_is("stays")) {
        virDomainSuspend(domain);
        sleep(600);
    }
    virDomainDestroy(domain);
    return mode_is("lost") ? fail("a rat") : 0;
}

int virDomainMigrateToURI3(virDomainPtr domain, const char *uri,
                           virTypedParameterPtr params, unsigned int n,
                           unsigned int flags)
{
    why = NULL;
    note("{\"execute\": \"migrate-domain\", \"uri\": \"%s\", \"flags\": %u}",
         uri, flags);
    for (unsigned int i = 0; i < n; i++) {
        if (params[i].type == VIR_TYPED_PARAM_STRING) {
            note("{\"execute\": \"with\", \"%s\": \"%s\"}",
                 params[i].field, params[i].value.s);
        } else {
            note("{\"execute\": \"with\", \"%s\": %llu}", params[i].field,
                 params[i].type == VIR_TYPED_PARAM_INT ?
                 (unsigned long long)params[i].value.i : params[i].value.ul);
        }
    }
    usleep(300000);
    return migrate(domain, flags);
}

int virDomainMigrateStartPostCopy(virDomainPtr domain, unsigned int flags)
{
    (void)domain;
    (void)flags;
    if (mode_is("no-postcopy")) {
        return fail("not now");
    }
    in_postcopy = true;
    return 0;
}

int virDomainAbortJob(virDomainPtr domain)
{
    (void)domain;
    aborted = true;
    return 0;
}

int virDomainGetJobStats(virDomainPtr domain, int *type,
                         virTypedParameterPtr *params, int *n,
                         unsigned int flags)
{
    int allocated = 0;

    (void)domain;
    if (flags != VIR_DOMAIN_JOB_STATS_COMPLETED) {
        return -1;
    }
    *type = VIR_DOMAIN_JOB_COMPLETED;
    *n = 0;
    *params = NULL;
    virTypedParamsAddULLong(params, n, &allocated,
                            VIR_DOMAIN_JOB_TIME_ELAPSED, 4321);
    virTypedParamsAddULLong(params, n, &allocated, VIR_DOMAIN_JOB_DOWNTIME,
                            21);
    virTypedParamsAddULLong(params, n, &allocated,
                            VIR_DOMAIN_JOB_MEMORY_PROCESSED, 5 << 20);
    virTypedParamsAddULLong(params, n, &allocated,
                            VIR_DOMAIN_JOB_MEMORY_ITERATION, 7);
    return 0;
}
