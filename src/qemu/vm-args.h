/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_VM_ARGS_H
#define SKIP_BALLOON_QEMU_VM_ARGS_H

#include "qemu/vm.h"

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

#endif /* SKIP_BALLOON_QEMU_VM_ARGS_H */
