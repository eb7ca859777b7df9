/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_PATHS_H
#define SKIP_BALLOON_BASE_PATHS_H

#include <glib.h>
#include <stdbool.h>

/* Where the parts are, seen from the directory above the program's own. */
#define PATHS_QEMU "bin/qemu-system-x86_64"
#define PATHS_STOCK_QEMU "bin/qemu-system-x86_64-stock"
#define PATHS_KERNEL "guest/vmlinuz"
#define PATHS_INITRD "guest/initramfs.cpio.gz"

/**
 * paths_default: where a part is that was built or installed along with the
 * program, whether it exists or not.
 * @part: one of the above
 *
 * Returns: a new string; the caller frees it.
 */
char *paths_default(const char *part);

/**
 * paths_set_default: set a path that was not given to paths_default().
 * @path: the path, NULL if it was not given
 * @part: as of paths_default()
 */
void paths_set_default(char **path, const char *part);

/**
 * paths_need_file: make sure that a file can be read.
 * @path: the file
 * @what: what it is, for the message
 * @remedy: what to do if it is not there, for the message
 * @error: set to SB_ERROR_MISSING if not
 */
bool paths_need_file(const char *path, const char *what, const char *remedy,
                     GError **error);

/**
 * paths_need_guest: make sure that the parts of the guest can be read.
 * @kernel: its kernel
 * @initrd: its initial RAM disk
 * @error: set to SB_ERROR_MISSING if not
 */
bool paths_need_guest(const char *kernel, const char *initrd, GError **error);

#endif /* SKIP_BALLOON_BASE_PATHS_H */
