/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/report/fixture.h"

#include <math.h>
#include <string.h>

#include "tests/map/answer.h"

#define GIB 1073741824.0
#define MIB 1048576.0

/* The same numbers each time. */
static double noise(double value)
{
    static unsigned state = 1;

    state = state * 1103515245 + 12345;
    return value * (0.95 + 0.1 * ((state >> 16) & 0x3ff) / 1023);
}

static void add_environment(GString *out)
{
    g_string_append(
        out, LINE("environment") ",\"time\":\"2026-11-25T00:30:00Z\","
        "\"command\":\"skip-balloon bench --profile full --qemu "
        "build/bin/qemu-system-x86_64 --stock "
        "build/bin/qemu-system-x86_64-stock -L build/share/qemu "
        "--output results.jsonl\",\"profile\":\"full\",\"version\":\"0.1.0\","
        "\"qemu\":\"QEMU emulator version 10.0.13 (skip-balloon)\","
        "\"stock\":\"QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-1)\","
        "\"accel\":\"tcg\",\"cpu\":\"AMD EPYC 7763 64-Core Processor\","
        "\"cpus\":2,\"memory-bytes\":24696061952,"
        "\"kernel\":\"6.1.0-44-amd64\",\"guest-kernel\":\"6.12.57\","
        "\"thp\":\"madvise\"}\n");
}

/* A build of the migrations: its time is fixed + each * GiB ballooned. */
typedef struct Build {
    const char *name;
    double fixed_ms;
    double anon_ms;
    double memfd_ms;
    double sent_mib;            /* fixed */
    double each_mib;
} Build;

static const Build builds[] = {
    { "unmodified", 200, 320, 3100, 330, 2.6 },
    { "free-page-hint", 260, 330, 3200, 310, 2.5 },
    { "skip-balloon", 350, 1.2, 9, 334, 0.02 },
    { "skip-unpopulated", 340, 1.5, 4, 331, 0.02 },
    { "both", 330, 1, 3, 330, 0.02 },
    { "never-ballooned", 320, 0, 0, 328, 0 },
};

/* 24 samples, in which memory fills up where unmodified QEMU does that. */
static void add_samples(GString *out, double ms, double before, double after,
                        double destination)
{
    g_string_append(out, ",\"samples\":[");
    for (int i = 0; i <= 24; i++) {
        double share = i / 24.0;

        g_string_append_printf(out, "%s[%.0f,%.0f,%.0f]", i ? "," : "",
                               share * ms,
                               before + share * (after - before),
                               40 * MIB + share * (destination - 40 * MIB));
    }
    g_string_append(out, "]");
}

static void add_migration(GString *out, const Build *build,
                          const char *backend, int gib, int repetition)
{
    gboolean shared = !strcmp(backend, "memfd");
    gboolean fills = shared && build - builds < 2;
    double ms = noise(build->fixed_ms + (gib - 0.5) *
                      (shared ? build->memfd_ms : build->anon_ms));
    double before = noise(520 * MIB);
    double after = fills ? (gib + 0.1) * GIB : before + 2 * MIB;
    double destination = fills ? (gib + 0.05) * GIB : noise(340 * MIB);

    g_string_append_printf(
        out, LINE("migration") ",\"case\":\"%s/%dG/512M/plain\","
        "\"backend\":\"%s\",\"mode\":\"plain\",\"memory\":%.0f,"
        "\"left\":536870912,\"build\":\"%s\",\"repetition\":%d,"
        "\"total-ms\":%.0f,\"downtime-ms\":%.0f,\"setup-ms\":3,"
        "\"transferred\":%.0f,\"source-before\":%.0f,\"source-after\":%.0f,"
        "\"destination-after\":%.0f", backend, gib, backend, gib * GIB,
        build->name, repetition, ms, noise(20),
        noise((build->sent_mib + build->each_mib * gib) * MIB), before, after,
        destination);
    add_samples(out, ms, before, after, destination);
    g_string_append(out, "}\n");
}

static void add_migrations(GString *out, const char *backend)
{
    static const int sizes[] = { 2, 4, 8 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (int repetition = 1; repetition <= 3; repetition++) {
            for (unsigned j = 0; j < G_N_ELEMENTS(builds); j++) {
                add_migration(out, &builds[j], backend, sizes[i],
                              repetition);
            }
        }
        g_string_append_printf(
            out, LINE("socket") ",\"case\":\"%s/%dG/512M/plain\","
            "\"bytes\":345000000,\"repetition\":1,\"total-ms\":%.0f}\n",
            backend, sizes[i], noise(140));
    }
}

static const char *const device_builds[] = {
    "unmodified", "skip-balloon", "skip-unpopulated", "both",
};

static void add_device(GString *out, const char *series, const char *backend,
                       const char *build, const char *pattern, double memory,
                       double ballooned, double runs, double ms)
{
    gboolean ours = strcmp(build, "unmodified") != 0;

    g_string_append_printf(
        out, LINE("device") ",\"series\":\"%s\",\"backend\":\"%s\","
        "\"build\":\"%s\",\"repetition\":1,\"memory\":%.0f,"
        "\"ballooned\":%.0f,\"used\":67108864,\"pattern\":\"%s\","
        "\"runs\":%.0f,\"total-ms\":%.1f,\"downtime-ms\":3,"
        "\"setup-ms\":%.1f,\"map-bytes\":%.0f,\"final-map-bytes\":13,"
        "\"longest-wait-ms\":%.2f,\"qemu-bytes\":%.0f,"
        "\"page-table-bytes\":%.0f",
        series, backend, build, memory, ballooned, pattern, runs, noise(ms),
        1 + memory / GIB / 800, 100 + runs / 4, noise(1.5 + memory / GIB / 99),
        memory / 32768 + 40 * MIB, ours ? 50 * MIB : memory / 512);
    if (ours) {
        g_string_append_printf(out, ",\"longest-hold-ms\":%.2f",
                               noise(0.3 + memory / GIB / 220));
    }
    g_string_append(out, "}\n");
}

static void add_growth(GString *out, const char *backend)
{
    gboolean shared = !strcmp(backend, "memfd");

    for (int gib = 0; gib <= 32; gib += 4) {
        for (unsigned i = 0; i < G_N_ELEMENTS(device_builds); i++) {
            double each = i ? 0.2 : shared ? 2300 : 330;

            add_device(out, "growth", backend, device_builds[i], "whole",
                       33 * GIB, gib * GIB, gib ? 1 : 0, 40 + each * gib);
        }
    }
    for (double runs = 1; runs <= 4194304; runs *= 8) {
        for (unsigned i = 1; i < G_N_ELEMENTS(device_builds); i++) {
            add_device(out, "runs", backend, device_builds[i], "runs",
                       33 * GIB, 16 * GIB, runs, 45 + runs / 9000);
        }
    }
}

static void add_scale(GString *out, const char *backend)
{
    static const double sizes[] = { 64, 256, 1024 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        double gib = sizes[i];

        if (gib < 100) {
            add_device(out, "scale", backend, "unmodified", "whole",
                       gib * GIB, gib * GIB * 0.9, 1, 300 * gib);
        }
        add_device(out, "scale", backend, "both", "whole", gib * GIB,
                   gib * GIB * 0.9, 1, 40 + gib / 5);
        add_device(out, "scale", backend, "both", "every-other", gib * GIB,
                   gib * GIB / 2, gib * 131072, 60 + gib * 5);
    }
    add_device(out, "scale", backend, "skip-unpopulated", "none",
               16384 * GIB, 0, 0, 2600);
}

static void add_rates(GString *out, const char *backend)
{
    static const char *const operations[] = { "inflate", "deflate" };
    static const char *const patterns[] = {
        "ascending", "descending", "every-other",
    };

    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = 0; j < 2; j++) {
            g_string_append_printf(
                out, LINE("rate") ",\"operation\":\"%s\",\"pattern\":\"%s\","
                "\"backend\":\"%s\",\"build\":\"%s\",\"repetition\":1,"
                "\"pages\":1048576,\"total-ms\":%.1f}\n",
                operations[i / 3], patterns[i % 3], backend,
                device_builds[j], noise(j ? 900 : 5600));
        }
    }
}

/* Two builds, one of them twice, and a map of a case that is not shown. */
static void add_maps(GString *out)
{
    static const char *const cases[] = {
        "memfd/8G/512M/plain\",\"build\":\"skip-balloon",
        "memfd/8G/512M/plain\",\"build\":\"both",
        "memfd/8G/512M/plain\",\"build\":\"both",
        "memfd/2G/512M/plain\",\"build\":\"both",
    };
    g_autofree char *answer = g_strdelimit(map_answer_plausible(), "\n", ' ');

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_string_append_printf(
            out, LINE("map") ",\"case\":\"%s\",\"answer\":%s}\n", cases[i],
            answer);
    }
}

char *fixture_results(void)
{
    GString *out = g_string_new(NULL);
    static const char *const backends[] = { "anon", "memfd" };

    add_environment(out);
    for (unsigned i = 0; i < G_N_ELEMENTS(backends); i++) {
        add_migrations(out, backends[i]);
        add_growth(out, backends[i]);
        add_scale(out, backends[i]);
        add_rates(out, backends[i]);
    }
    add_maps(out);
    g_string_append(
        out, LINE("left-out") ",\"case\":\"hugetlb/8G/512M/plain\","
        "\"reason\":\"two guests need 8192 huge pages of 2 MiB, 0 are free\"}"
        "\n" LINE("left-out") ",\"case\":\"memfd/32G/512M/plain\","
        "\"reason\":\"the guests need 64 GiB of memory, this host has "
        "22.1 GiB to give\"}\n");
    return g_string_free(out, FALSE);
}

/* Every string of them, with the quotes of JSON escaped. */
char *fixture_hostile(void)
{
    g_autofree char *bad = g_strescape(HOSTILE, NULL);
    GString *out = g_string_new(NULL);
    static const char *const build_names[] = { "unmodified", "both", NULL };

    for (unsigned i = 0; i < G_N_ELEMENTS(build_names); i++) {
        for (int n = 1; n <= 2; n++) {
            const char *build = build_names[i] ? build_names[i] : bad;

            g_string_append_printf(
                out, LINE("migration") ",\"case\":\"%s\",\"backend\":\"%s\","
                "\"mode\":\"%s\",\"build\":\"%s\",\"total-ms\":%d,"
                "\"transferred\":%d,\"samples\":[[1,2,3],[2,3,4],7,[1],"
                "[\"x\",{},[]]]}\n", bad, bad, bad, build, 100 * n,
                1000000 * n);
            g_string_append_printf(
                out, LINE("device") ",\"series\":\"growth\","
                "\"backend\":\"%s\",\"build\":\"%s\",\"pattern\":\"%s\","
                "\"ballooned\":%d000000000,\"memory\":9000000000,"
                "\"total-ms\":%d}\n", bad, build, bad, n, 50 + n);
            g_string_append_printf(
                out, LINE("device") ",\"series\":\"scale\",\"backend\":\"%s\""
                ",\"build\":\"%s\",\"pattern\":\"%s\",\"memory\":%d000000000,"
                "\"total-ms\":%d}\n", bad, build, bad, n, 50 + n);
        }
    }
    g_string_append_printf(
        out, LINE("rate") ",\"operation\":\"%s\",\"pattern\":\"%s\","
        "\"backend\":\"%s\",\"build\":\"unmodified\",\"pages\":1000,"
        "\"total-ms\":1}\n" LINE("map") ",\"case\":\"%s\",\"answer\":"
        "{\"page-size\":\"%s\"}}\n" LINE("map") "}\n"
        LINE("left-out") ",\"case\":\"%s\","
        "\"reason\":\"%s\"}\n" LINE("environment") ",\"command\":\"%s\","
        "\"cpu\":\"%s\",\"cpus\":\"%s\"}\n%s\n", bad, bad, bad, bad, bad, bad,
        bad, bad, bad, bad, HOSTILE);
    return g_string_free(out, FALSE);
}
