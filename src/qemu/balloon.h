/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_BALLOON_H
#define SKIP_BALLOON_QEMU_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "qemu/vm.h"

/**
 * balloon_query: the memory that the guest has left.
 * @vm: the VM
 * @bytes: where to put it
 * @error: set as by vm_execute()
 */
bool balloon_query(Vm *vm, uint64_t *bytes, GError **error);

/**
 * balloon_set: ask the guest to have that much memory left, do not wait.
 * @vm: the VM
 * @bytes: the memory
 * @error: set as by vm_execute()
 */
bool balloon_set(Vm *vm, uint64_t bytes, GError **error);

/**
 * balloon_reach: ask and wait until it is so. Reports to the session's
 * progress.
 * @session: the session of the VM
 * @vm: the VM
 * @bytes: the memory that the guest is to have left
 * @error: set as by vm_execute(), or if the guest gets no further
 */
bool balloon_reach(Session *session, Vm *vm, uint64_t bytes, GError **error);

#endif /* SKIP_BALLOON_QEMU_BALLOON_H */
