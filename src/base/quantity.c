/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/quantity.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

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
