/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_TEST_SAVED_GUEST_H
#define SKIP_BALLOON_TEST_SAVED_GUEST_H

#include "harness.h"

/**
 * saved_guest_start: start a QEMU with a guest that was booted and saved to a
 * file before. The first to ask for a guest boots and saves it. What the
 * guest has written to its memory is loaded, and with that populated, as in
 * the QEMU in which it was booted.
 *
 * The files are in the directory that SB_SAVED_GUESTS names, for all programs
 * that have the same one, or else in one that goes when this program ends.
 *
 * @bench: the bench
 * @qemu: the QEMU to boot and to start
 * @ballooned: with its balloon inflated, before it was saved
 * @error: set if any of it fails
 */
Vm *saved_guest_start(Bench *bench, const char *qemu, bool ballooned,
                      GError **error);

#endif /* SKIP_BALLOON_TEST_SAVED_GUEST_H */
