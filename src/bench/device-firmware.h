/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BENCH_DEVICE_FIRMWARE_H
#define SKIP_BALLOON_BENCH_DEVICE_FIRMWARE_H

#include "base/session.h"

/*
 * The whole of a guest that runs under KVM while its devices are driven from
 * outside: firmware that counts, in 32 bits at this offset in RAM.
 */
#define DEVICE_FIRMWARE_COUNTER 0x7000

/**
 * device_firmware_write: write the firmware into the session's directory.
 * @session: the session
 * @error: set if it cannot be written
 *
 * Returns: the path, NULL on failure; the caller frees it.
 */
char *device_firmware_write(Session *session, GError **error);

#endif /* SKIP_BALLOON_BENCH_DEVICE_FIRMWARE_H */
