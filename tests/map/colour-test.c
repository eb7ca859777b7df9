/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib.h>
#include <math.h>

#include "map/state.h"

/*
 * How colours look to those who see all of them, and without red, green or
 * blue: Machado, Oliveira, Fernandes 2009, on linear RGB.
 */
static const double eyes[][3][3] = {
    { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } },
    { { 0.152286, 1.052583, -0.204868 }, { 0.114503, 0.786281, 0.099216 },
      { -0.003882, -0.048116, 1.051998 } },
    { { 0.367322, 0.860646, -0.227968 }, { 0.280085, 0.672501, 0.047413 },
      { -0.011820, 0.042940, 0.968881 } },
    { { 1.255528, -0.076749, -0.178779 }, { -0.078411, 0.930809, 0.147602 },
      { 0.004733, 0.691367, 0.303900 } },
};
static const double to_xyz[3][3] = {
    { 0.4124, 0.3576, 0.1805 }, { 0.2126, 0.7152, 0.0722 },
    { 0.0193, 0.1192, 0.9505 },
};
static const double white[3] = { 0.9505, 1, 1.089 };

static void multiply(const double m[3][3], const double v[3], double out[3])
{
    for (unsigned i = 0; i < 3; i++) {
        out[i] = CLAMP(m[i][0] * v[0] + m[i][1] * v[1] + m[i][2] * v[2],
                       0, 1.1);
    }
}

static void linear(uint32_t rgb, double out[3])
{
    for (unsigned i = 0; i < 3; i++) {
        double c = (rgb >> (16 - 8 * i) & 255) / 255.0;

        out[i] = c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
    }
}

static void lab(uint32_t rgb, unsigned eye, double out[3])
{
    double full[3], seen[3], xyz[3], f[3];

    linear(rgb, full);
    multiply(eyes[eye], full, seen);
    multiply(to_xyz, seen, xyz);
    for (unsigned i = 0; i < 3; i++) {
        double t = xyz[i] / white[i];

        f[i] = t > 0.008856 ? cbrt(t) : 7.787 * t + 16 / 116.0;
    }
    out[0] = 116 * f[1] - 16;
    out[1] = 500 * (f[0] - f[1]);
    out[2] = 200 * (f[1] - f[2]);
}

static double distance(uint32_t a, uint32_t b, unsigned eye)
{
    double p[3], q[3];

    lab(a, eye, p);
    lab(b, eye, q);
    return sqrt(pow(p[0] - q[0], 2) + pow(p[1] - q[1], 2) +
                pow(p[2] - q[2], 2));
}

static double luminance(uint32_t rgb)
{
    double full[3], xyz[3];

    linear(rgb, full);
    multiply(to_xyz, full, xyz);
    return xyz[1];
}

static void test_colours(void)
{
    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        uint32_t rgb = memory_state_rgb(i);

        g_test_message("%s", memory_state_name(i, true));
        g_assert_cmpfloat(1.05 / (luminance(rgb) + 0.05), >=, 1.8);
        g_assert_cmpfloat((luminance(rgb) + 0.05) / 0.05, >=, 3);
        for (MemoryState j = 0; j < i; j++) {
            for (unsigned eye = 0; eye < G_N_ELEMENTS(eyes); eye++) {
                g_assert_cmpfloat(distance(rgb, memory_state_rgb(j), eye),
                                  >=, 30);
            }
        }
    }
}

/* A colour of the cube of 6 x 6 x 6, or of the greys, of terminals. */
static uint32_t terminal_rgb(unsigned ansi)
{
    static const uint8_t levels[] = { 0, 95, 135, 175, 215, 255 };
    unsigned grey = 8 + 10 * (ansi - 232);

    g_assert_cmpuint(ansi, >=, 16);
    if (ansi >= 232) {
        return grey << 16 | grey << 8 | grey;
    }
    ansi -= 16;
    return levels[ansi / 36] << 16 | levels[ansi / 6 % 6] << 8 |
           levels[ansi % 6];
}

static void test_terminal_colours(void)
{
    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        uint32_t rgb = terminal_rgb(memory_state_ansi(i));

        g_test_message("%s", memory_state_name(i, true));
        g_assert_cmpfloat(distance(rgb, memory_state_rgb(i), 0), <, 24);
        for (MemoryState j = 0; j < i; j++) {
            uint32_t other = terminal_rgb(memory_state_ansi(j));

            g_assert_cmpint(memory_state_char(i), !=, memory_state_char(j));
            for (unsigned eye = 0; eye < G_N_ELEMENTS(eyes); eye++) {
                g_assert_cmpfloat(distance(rgb, other, eye), >=, 25);
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory-colour/files", test_colours);
    g_test_add_func("/memory-colour/terminal", test_terminal_colours);
    return g_test_run();
}
