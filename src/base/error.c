/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/error.h"

#include <string.h>

GQuark sb_error_quark(void)
{
    return g_quark_from_static_string("skip-balloon-error");
}

const char *error_reason(const GError *error)
{
    const char *colon = strrchr(error->message, ':');

    return colon && colon[1] == ' ' ? colon + 2 : error->message;
}
