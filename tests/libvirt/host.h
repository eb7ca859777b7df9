/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIBVIRT_HOST_H
#define TESTS_LIBVIRT_HOST_H

#include "base/session.h"
#include "qemu/migration.h"

/*
 * Two unprivileged libvirtd on this machine, with directories and UUIDs of
 * their own, so that each takes the other for another host. If the test is run
 * by root, they belong to the user "nobody".
 */
typedef struct Hosts Hosts;

/* One of the two. */
typedef struct Host Host;

/**
 * hosts_missing: what keeps libvirtd from being run here.
 * @files: what its QEMUs have to be able to read, NULL-terminated
 *
 * Returns: the reason, which the caller frees; NULL if it can be run.
 */
char *hosts_missing(const char *const *files);

/**
 * hosts_start: start both, and wait until they answer.
 * @session: has their directories, and has to outlive them
 * @error: set to SB_ERROR_PROCESS if one does not come up, with the reason
 *
 * Returns: the hosts, NULL on failure; free them with hosts_free().
 */
Hosts *hosts_start(Session *session, GError **error);

/**
 * hosts_free: end them and all QEMUs that they have started, and remove their
 * directories. The same happens when the test ends without a word.
 * @hosts: the hosts, or NULL
 */
void hosts_free(Hosts *hosts);

/**
 * hosts_file: the name of a file in the directory that shell commands run in,
 * and that all QEMUs may write to.
 * @hosts: the hosts
 * @name: the file
 *
 * Returns: a new string; the caller frees it.
 */
char *hosts_file(const Hosts *hosts, const char *name);

/**
 * hosts_get: one of them.
 * @hosts: the hosts
 * @number: 0 or 1
 */
Host *hosts_get(Hosts *hosts, unsigned number);

/**
 * host_other: the other one.
 * @host: one
 */
Host *host_other(Host *host);

/**
 * host_begin: begin to run shell commands. virsh connects to this host,
 * "$THERE" is the other one.
 * @host: the host
 * @script: the commands
 * @error: set if they cannot be started
 *
 * Returns: the process, NULL on failure; the caller unrefs it.
 */
GSubprocess *host_begin(Host *host, const char *script, GError **error);

/**
 * host_end: wait for the end of what host_begin() has begun.
 * @process: the process
 * @error: set to SB_ERROR_PROCESS if a command failed, with what it wrote on
 *         standard error
 *
 * Returns: what they wrote on standard output, NULL on failure; the caller
 * frees it.
 */
char *host_end(GSubprocess *process, GError **error);

/**
 * host_run: both in one.
 */
char *host_run(Host *host, const char *script, GError **error);

/**
 * host_mark: host_migration() tells of what comes from now on.
 * @host: the host
 */
void host_mark(Host *host);

/**
 * host_log: what the latest QEMU of its domain has written on standard error.
 * @host: the host
 *
 * Returns: the text, "" if there is none; the caller frees it.
 */
char *host_log(const Host *host);

/**
 * host_migration: what the QEMU of its domain told last of a migration, of
 * libvirtd's log.
 * @host: the host
 * @stats: where to put it
 * @error: set to SB_ERROR_PROCESS if it told of none
 */
bool host_migration(const Host *host, MigrationStats *stats, GError **error);

/**
 * host_memory: how much memory of the machine the QEMU of its domain has.
 * @host: the host
 * @bytes: where to put it
 * @error: set to SB_ERROR_PROCESS if there is no such QEMU
 */
bool host_memory(const Host *host, uint64_t *bytes, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hosts, hosts_free)

#endif /* TESTS_LIBVIRT_HOST_H */
