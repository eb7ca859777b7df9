/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_ERROR_H
#define SKIP_BALLOON_BASE_ERROR_H

#include <glib.h>

/* The domain of every error that this program makes itself. */
#define SB_ERROR (sb_error_quark())

typedef enum SbError {
    SB_ERROR_USAGE,             /* an option or an argument is wrong */
    SB_ERROR_MISSING,           /* a file or a program is not there */
    SB_ERROR_RESOURCE,          /* the host has too little of something */
    SB_ERROR_PROCESS,           /* a QEMU did not start, or ended */
    SB_ERROR_QMP,               /* QEMU refused a command */
    SB_ERROR_TIMEOUT,           /* something made no progress for too long */
    SB_ERROR_GUEST,             /* the guest is not well */
    SB_ERROR_MIGRATION,         /* a migration failed */
    SB_ERROR_CANCELLED,         /* the user asked to stop */
} SbError;

/**
 * sb_error_quark: the GError domain behind SB_ERROR.
 */
GQuark sb_error_quark(void);

/**
 * error_reason: why GLib could not write a file, without the name of the
 * temporary one that it begins with.
 * @error: what it says
 */
const char *error_reason(const GError *error);

#endif /* SKIP_BALLOON_BASE_ERROR_H */
