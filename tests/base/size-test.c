/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/error.h"
#include "base/size.h"

#define NARROW "\u202f"

static void test_good(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "1k", SIZE_KIB },
        { "512M", 512 * SIZE_MIB },
        { "512MB", 512 * SIZE_MIB },
        { "512MiB", 512 * SIZE_MIB },
        { "1.5g", 3 * SIZE_GIB / 2 },
        { "8G", 8 * SIZE_GIB },
        { "2T", 2048 * SIZE_GIB },
        { "7B", 7 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 1;

        g_assert_true(size_parse(good[i].text, &bytes, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(bytes, ==, good[i].bytes);
    }
}

static void test_bad(void)
{
    static const char *const bad[] = {
        "", " ", "M", "-1", "+1", " 1", "1 M", "1X", "1MM", "1iB", "0x10",
        "1e3", "inf", "nan", "..", ".", "16777216T", "99999999999999999999",
        "1,5G", "512M ",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 77;

        g_test_message("'%s'", bad[i]);
        g_assert_false(size_parse(bad[i], &bytes, &error));
        g_assert_error(error, SB_ERROR, SB_ERROR_USAGE);
        g_assert_cmpuint(bytes, ==, 77);
    }
}

static void test_format(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { SIZE_KIB, "1 KiB" },
        { 512 * SIZE_MIB, "512 MiB" },
        { 15 * SIZE_GIB / 2, "7.50 GiB" },
        { 25 * SIZE_MIB / 2, "12.5 MiB" },
        { 8 * SIZE_GIB, "8 GiB" },
        { UINT64_MAX, "16777216 TiB" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = size_format(cases[i].bytes);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

/* Frees the text. */
static void assert_text(char *text, const char *expected)
{
    g_assert_cmpstr(text, ==, expected);
    g_free(text);
}

static void test_quantity(void)
{
    assert_text(quantity_fixed(23.678, 2), "23.68");
    assert_text(quantity_fixed(2017030, 0), "2" NARROW "017" NARROW "030");
    assert_text(quantity_fixed(12345.678, 1), "12" NARROW "345.7");
    assert_text(quantity_fixed(2017, 0), "2017");
    assert_text(quantity_fixed(-128.4, 0), "\u2212128");
    assert_text(quantity_fixed(-0.001, 1), "0.0");
    assert_text(quantity_fixed(NAN, 1), NULL);
    assert_text(quantity_fixed(INFINITY, 1), NULL);
    assert_text(quantity_rough(51.23), "51.2");
    assert_text(quantity_rough(7.278), "7.28");
    assert_text(quantity_rough(0.2164), "0.216");
    assert_text(quantity_rough(2293.4), "2293");
    assert_text(quantity_rough(99.96), "100");
    assert_text(quantity_rough(0), "0");
    assert_text(quantity_rough(0.00012), "1.2e-04");
    assert_text(quantity_rough(NAN), NULL);
    assert_text(quantity_ms(12.34), "12.3 ms");
    assert_text(quantity_ms(460), "0.460 s");
    assert_text(quantity_ms(23680), "23.7 s");
    assert_text(quantity_ms(NAN), NULL);
    assert_text(quantity_bytes(536870912), "512 MiB");
    assert_text(quantity_bytes(NAN), NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/good", test_good);
    g_test_add_func("/size/bad", test_bad);
    g_test_add_func("/size/format", test_format);
    g_test_add_func("/size/quantity", test_quantity);
    return g_test_run();
}
