/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_FAKE_QEMU_H
#define SKIP_BALLOON_FAKE_QEMU_H

#include <glib.h>

/**
 * fake_qemu_write: make a program that vm_start() takes for a QEMU.
 * @path: the file to make
 * @answers: what is not answered with {}: clauses of a shell's case over the
 *           line that came, "*query-status*) answer='{}' ;;"; "event" is the
 *           name of an event that follows the answer; or NULL
 * @numbers: what it answers in turn to reads over qtest, "0x1 0x0"; or NULL
 */
void fake_qemu_write(const char *path, const char *answers,
                     const char *numbers);

#endif /* SKIP_BALLOON_FAKE_QEMU_H */
