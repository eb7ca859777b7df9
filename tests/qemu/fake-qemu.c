/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/qemu/fake-qemu.h"

#include <glib/gstdio.h>

#include "qemu/vm.h"

/* Ends when the other side hangs up. */
static const char script[] =
    "#!/bin/sh\n"
    "set -- %s\n"
    "while read -r line; do\n"
    "    case $line in\n"
    "    in*) echo \"OK $1\"; shift ;;\n"
    "    *) echo OK ;;\n"
    "    esac\n"
    "done <&%d >&%d %d>&- &\n"
    "id=0\n"
    "echo '{\"QMP\": {}}' >&%d\n"
    "while read -r line; do\n"
    "    id=$((id + 1))\n"
    "    answer='{}'\n"
    "    event=\n"
    "    case $line in\n"
    "    %s\n"
    "    esac\n"
    "    printf '{\"return\": %%s, \"id\": %%d}\\n' \"$answer\" $id\n"
    "    [ -z \"$event\" ] || printf '{\"event\": \"%%s\"}\\n' $event\n"
    "done <&%d >&%d %d>&-\n";

void fake_qemu_write(const char *path, const char *answers,
                     const char *numbers)
{
    g_autofree char *text = g_strdup_printf(
        script, numbers ? numbers : "", VM_QTEST_FD, VM_QTEST_FD, VM_QMP_FD,
        VM_QMP_FD, answers ? answers : "", VM_QMP_FD, VM_QMP_FD, VM_QTEST_FD);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0700), ==, 0);
}
