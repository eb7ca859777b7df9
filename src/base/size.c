/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/size.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

static const char units[] = "KMGT";

/* The power of 1024 that a suffix stands for, -1 if it stands for nothing. */
static int suffix_power(const char *suffix)
{
    const char *unit;

    if (!*suffix || !g_ascii_strcasecmp(suffix, "B")) {
        return 0;
    }
    unit = strchr(units, g_ascii_toupper(*suffix));
    if (!unit || !*unit) {
        return -1;
    }
    suffix++;
    if (*suffix && g_ascii_strcasecmp(suffix, "B") &&
        g_ascii_strcasecmp(suffix, "iB")) {
        return -1;
    }
    return unit - units + 1;
}

bool size_parse(const char *text, uint64_t *bytes, GError **error)
{
    char *end;
    double value;
    int power;

    /* Not what strtod() takes as well: "inf", "nan", "-1", "0x10". */
    if (strspn(text, "0123456789.") == 0 || strpbrk(text, "xXeE")) {
        goto bad;
    }
    value = g_ascii_strtod(text, &end);
    power = suffix_power(end);
    if (end == text || power < 0) {
        goto bad;
    }
    value = ldexp(value, 10 * power);
    if (!(value < ldexp(1, 64))) {
        g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                    "the size '%s' is too large", text);
        return false;
    }
    *bytes = value;
    return true;

bad:
    g_set_error(error, SB_ERROR, SB_ERROR_USAGE,
                "'%s' is not a size; write one like 512M or 8G", text);
    return false;
}

char *size_format(uint64_t bytes)
{
    double value = bytes;
    int power = 0;

    while (value >= 1024 && units[power]) {
        value /= 1024;
        power++;
    }
    if (!power) {
        return g_strdup_printf("%" G_GUINT64_FORMAT " B", bytes);
    }
    /* Three digits at least, and no decimals that are all zero. */
    if (value >= 100 || value == (uint64_t)value) {
        return g_strdup_printf("%.0f %ciB", value, units[power - 1]);
    }
    return g_strdup_printf("%.*f %ciB", value < 10 ? 2 : 1, value,
                           units[power - 1]);
}

#define NARROW_SPACE "\xe2\x80\xaf"
#define MINUS "\xe2\x88\x92"

char *quantity_fixed(double value, unsigned decimals)
{
    g_autofree char *digits = NULL;
    GString *text;
    size_t whole;

    if (!isfinite(value)) {
        return NULL;
    }
    digits = g_strdup_printf("%.*f", (int)decimals, fabs(value));
    whole = strcspn(digits, ".");
    /* What is rounded to 0 has no sign. */
    text = g_string_new(value < 0 && strpbrk(digits, "123456789") ? MINUS
                                                                  : "");
    for (size_t i = 0; digits[i]; i++) {
        /* "1000" is read at a glance, "10 000" is not without the space. */
        if (i > 0 && i < whole && (whole - i) % 3 == 0 && whole > 4) {
            g_string_append(text, NARROW_SPACE);
        }
        g_string_append_c(text, digits[i]);
    }
    return g_string_free(text, FALSE);
}

char *quantity_rough(double value)
{
    double size = fabs(value);
    unsigned decimals = 0;

    if (!isfinite(value)) {
        return NULL;
    }
    if (size > 0 && size < 0.0005) {
        return g_strdup_printf("%.1e", value);
    }
    for (double limit = 99.95; decimals < 4 && size < limit; limit /= 10) {
        decimals++;
    }
    return quantity_fixed(value, size == 0 ? 0 : decimals);
}

char *quantity_ms(double ms)
{
    g_autofree char *number = NULL;

    if (isnan(ms)) {
        return NULL;
    }
    number = quantity_rough(ms >= 100 ? ms / 1000 : ms);
    return g_strdup_printf("%s%s", number, ms >= 100 ? " s" : " ms");
}

char *quantity_bytes(double bytes)
{
    return isnan(bytes) ? NULL : size_format(bytes);
}
