/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_TEST_COMMANDS_H
#define SKIP_BALLOON_TEST_COMMANDS_H

#include "harness.h"

/* Commands that several tests give, by QMP but for the last. */

/**
 * command_do: execute a QMP command that returns nothing of interest.
 * @vm: the VM
 * @command: its name
 * @error: set as by vm_execute()
 * @format: its arguments as a JSON object, as for printf(); what is put in is
 *          not escaped
 */
bool command_do(Vm *vm, const char *command, GError **error,
                const char *format, ...) G_GNUC_PRINTF(4, 5);

/**
 * command_set_parameter: set a migration parameter that is a number.
 * @vm: either end
 * @name: the parameter
 * @value: its value
 * @error: set as by vm_execute()
 */
bool command_set_parameter(Vm *vm, const char *name, int64_t value,
                           GError **error);

/**
 * command_set_both: turn a migration capability on at both ends.
 * @source: one end
 * @destination: the other, or NULL
 * @name: the capability
 * @error: set as by vm_execute()
 */
bool command_set_both(Vm *source, Vm *destination, const char *name,
                      GError **error);

/**
 * command_file: migrate to or from a file.
 * @vm: the VM
 * @command: "migrate" or "migrate-incoming"
 * @path: the file
 * @error: set as by vm_execute()
 */
bool command_file(Vm *vm, const char *command, const char *path,
                  GError **error);

/**
 * command_create_image: make an image that snapshots can be saved in.
 * @session: the session of the VM
 * @vm: the VM that makes it; does not have it open afterwards
 * @path: the file
 * @error: set if any of it fails
 */
bool command_create_image(Session *session, Vm *vm, const char *path,
                          GError **error);

/**
 * command_open_image: open such an image; one at a time.
 * @vm: the VM
 * @path: the file
 * @error: set as by vm_execute()
 */
bool command_open_image(Vm *vm, const char *path, GError **error);

/**
 * command_close_image: close it.
 * @vm: the VM
 * @error: set as by vm_execute()
 */
bool command_close_image(Vm *vm, GError **error);

/**
 * command_snapshot: save or load a snapshot in the image that is open, and
 * wait until that is done.
 * @session: the session of the VM
 * @vm: the VM
 * @command: "snapshot-save" or "snapshot-load"
 * @tag: the name of the snapshot
 * @error: set if it fails
 */
bool command_snapshot(Session *session, Vm *vm, const char *command,
                      const char *tag, GError **error);

/**
 * command_guest: give the guest a command, and take a number of its answer.
 * @vm: the VM
 * @command: as for guest_command()
 * @number: where to put it
 * @error: set as by guest_command(), or if the answer is another one
 * @format: the answer as for scanf(), with G_GUINT64_FORMAT for the number
 */
bool command_guest(Vm *vm, const char *command, uint64_t *number,
                   GError **error, const char *format);

#endif /* SKIP_BALLOON_TEST_COMMANDS_H */
