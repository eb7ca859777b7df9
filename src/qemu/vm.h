/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_VM_H
#define SKIP_BALLOON_QEMU_VM_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/session.h"
#include "qemu/guest.h"
#include "qemu/qtest.h"

/* What the RAM of a guest is made of. */
typedef enum Backend {
    BACKEND_ANON,               /* private anonymous memory */
    BACKEND_MEMFD,              /* shared memory */
    BACKEND_HUGETLB,            /* shared memory in huge pages of 2 MiB */
} Backend;

/* A guest without an operating system, guest/bare/; nothing in it is owned. */
typedef struct BareGuest {
    const char *image;          /* bare.bin, which takes the firmware's place */
    const char *options;        /* guest/protocol.rst has them */
    const char *accel;          /* as QEMU's -accel takes it */
} BareGuest;

/* How to start a QEMU. Nothing in it is owned. */
typedef struct VmConfig {
    const char *name;           /* unique in its session; names the logs */
    const char *qemu;           /* path, or a program in PATH */
    const char *const *firmware; /* directories for -L, or NULL */
    const char *kernel;
    const char *initrd;
    const BareGuest *bare;      /* instead of a kernel, or NULL */
    uint64_t memory;            /* of the guest, in bytes */
    uint64_t workset;           /* that the guest checks, in bytes */
    unsigned seed;              /* of the content of the working set */
    unsigned smp;               /* virtual CPUs; 0 means 1 */
    Backend backend;
    bool kvm;                   /* rather than TCG, if the host has it */
    bool untouched;             /* the guest does not fill its memory once */
    bool no_balloon;            /* leave out the balloon device */
    bool must_tell_host;        /* properties of the balloon device */
    bool free_page_reporting;
    bool free_page_hint;
    bool device_level;          /* vm_qtest() is driven; no guest under TCG */
    const char *bios;           /* what runs at the level of devices, or NULL */
    unsigned clear_bitmap_shift; /* of the migration; 0: what QEMU takes */
    bool trace_holds;           /* of the big lock, see vm_trace_path() */
    bool trace_clears;          /* of the dirty log, likewise */
    bool incoming;              /* wait for a migration */
    bool reboots;               /* the guest may; else that ends the process */
    const char *append;         /* more of the kernel's command line, or NULL */
    const char *const *options; /* more of QEMU's, or NULL */
} VmConfig;

/* One QEMU process. */
typedef struct Vm Vm;

/**
 * backend_parse: the backend that a name stands for.
 * @name: "anon", "memfd" or "hugetlb"
 * @backend: where to put it; untouched on failure
 * @error: set to SB_ERROR_USAGE if there is none such
 */
bool backend_parse(const char *name, Backend *backend, GError **error);

/**
 * backend_name: what backend_parse() takes.
 * @backend: the backend
 */
const char *backend_name(Backend backend);

/**
 * vm_find_program: make sure that there is a QEMU.
 * @qemu: its name, or its path
 * @error: set to SB_ERROR_MISSING if there is not
 */
bool vm_find_program(const char *qemu, GError **error);

/**
 * vm_start: start a QEMU and wait until it takes QMP commands. Should it end
 * later on its own, the session fails.
 * @session: has to outlive the VM
 * @config: how to start it; not needed afterwards
 * @error: set if it does not start, with what it said on standard error
 *
 * Returns: the VM, NULL on failure; free it with vm_free().
 */
Vm *vm_start(Session *session, const VmConfig *config, GError **error);

/**
 * vm_free: kill the process, wait for its end, forget the VM.
 * @vm: the VM, or NULL
 */
void vm_free(Vm *vm);

/**
 * vm_kill: kill the process and wait for its end.
 * @vm: the VM; only vm_free() is of use afterwards
 */
void vm_kill(Vm *vm);

/**
 * vm_expect_exit: should the process end on its own from now on, as one does
 * that waits for a migration and loses its source, the session goes on.
 * @vm: the VM
 */
void vm_expect_exit(Vm *vm);

/**
 * vm_pid: the process.
 * @vm: the VM, running
 */
pid_t vm_pid(const Vm *vm);

/**
 * vm_guest: the guest in it.
 * @vm: the VM, which keeps it
 *
 * Returns: the guest; NULL at the level of devices.
 */
Guest *vm_guest(const Vm *vm);

/**
 * vm_qtest: access to its devices.
 * @vm: the VM, which keeps it
 *
 * Returns: the client; NULL unless at the level of devices.
 */
Qtest *vm_qtest(const Vm *vm);

/**
 * vm_explain_exit: if the process has ended or is about to, say so rather than
 * that it closed a connection.
 * @vm: the VM
 * @error: what failed; replaced if that is why
 */
void vm_explain_exit(Vm *vm, GError **error);

/**
 * vm_execute: execute a QMP command.
 * @vm: the VM
 * @command: its name
 * @arguments: owned by this function; NULL for none
 * @error: set as by qmp_execute(), or to how the process ended
 *
 * Returns: the value returned, NULL on failure; the caller frees it with
 * json_node_unref().
 */
JsonNode *vm_execute(Vm *vm, const char *command, JsonObject *arguments,
                     GError **error);

/**
 * vm_do: like vm_execute() for commands that return nothing of interest.
 * @vm: the VM
 * @command: its name
 * @arguments: owned by this function; NULL for none
 * @error: as for vm_execute()
 *
 * Returns: whether QEMU did it.
 */
bool vm_do(Vm *vm, const char *command, JsonObject *arguments,
           GError **error);

/**
 * vm_wait_event: wait for a QMP event.
 * @vm: the VM
 * @name: the event
 * @error: as for qmp_wait_event()
 */
bool vm_wait_event(Vm *vm, const char *name, GError **error);

/* The file descriptors that a QEMU finds its sockets under. */
#define VM_QMP_FD 3
#define VM_SERIAL_FD 4
#define VM_QTEST_FD VM_SERIAL_FD

/* Where the balloon device is at the level of devices: its PCI slot */
#define VM_BALLOON_SLOT 5

/**
 * vm_args: the command line of a QEMU, which is the same for the source and
 * the destination of a migration but for -incoming.
 * @session: whose directory gets the logs
 * @config: how to start it
 *
 * Returns: the arguments, NULL-terminated; the caller frees them with
 * g_strfreev().
 */
char **vm_args(const Session *session, const VmConfig *config);

/**
 * vm_log_path: the file that gets the standard error of a QEMU.
 * @session: whose directory it is in
 * @config: how the QEMU is started
 *
 * Returns: a new string; the caller frees it.
 */
char *vm_log_path(const Session *session, const VmConfig *config);

/**
 * vm_console_path: the file that gets the messages of the guest's kernel.
 * @session: whose directory it is in
 * @config: how the QEMU is started
 *
 * Returns: a new string; the caller frees it.
 */
char *vm_console_path(const Session *session, const VmConfig *config);

/**
 * vm_trace_path: the file that gets how long our code in QEMU held the big
 * lock, each time: lines with "skip_bql_end WHAT MICROSECONDS us"; and for
 * each pass a line with "skip_pass_end"; and for each time that the dirty log
 * is cleared one with "migration_bitmap_clear_dirty".
 * @session: whose directory it is in
 * @config: how the QEMU is started
 *
 * Returns: a new string; the caller frees it.
 */
char *vm_trace_path(const Session *session, const VmConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vm, vm_free)

#endif /* SKIP_BALLOON_QEMU_VM_H */
