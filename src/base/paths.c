/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/paths.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"

char *paths_default(const char *part)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *bin = g_path_get_dirname(program ? program : ".");
    g_autofree char *path = g_build_filename(bin, "..", part, NULL);

    return g_canonicalize_filename(path, NULL);
}

bool paths_need_file(const char *path, const char *what, const char *remedy,
                     GError **error)
{
    if (access(path, R_OK)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "cannot read the %s '%s': %s; %s", what, path,
                    g_strerror(errno), remedy);
        return false;
    }
    return true;
}

bool paths_need_guest(const char *kernel, const char *initrd, GError **error)
{
    return paths_need_file(kernel, "kernel of the guest",
                           "run 'make guest' or name one with --kernel",
                           error) &&
           paths_need_file(initrd, "initial RAM disk of the guest",
                           "run 'make guest' or name one with --initrd",
                           error);
}

void paths_set_default(char **path, const char *part)
{
    if (!*path) {
        *path = paths_default(part);
    }
}
