/*
 * Tests of what the stream says is zero: how much of it is said with the guest
 * stopped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "balloon-pair.h"
#include "skip-told.h"
#include "stream-relay.h"

#define GiB (UINT64_C(1) << 30)

/* What the balloon leaves; memory above 3 GiB is mapped from 4 GiB on */
#define LEFT (1 * GiB)
#define LOW_RAM (3 * GiB)

/* Given back in one go, but for the end of it: each is a run of the map. */
#define STEP (512 * MiB)
#define STEP_LEFT (2 * MiB)

/*
 * What the guest has written to last may be sent with the guest stopped, which
 * is up to 1.3 MB, driver and all.  What there is to tell of 64 GiB may not.
 */
#define NEARLY "{ 'downtime-limit': 1000, "\
               "'avail-switchover-bandwidth': 1600000 }"

typedef struct Case {
    const char *name;
    BGBackend backend;
    const char *const *capabilities;
} Case;

static void inflate(BGuest *g, uint64_t size)
{
    uint64_t at;

    for (at = LEFT; at < LEFT + size; at += STEP) {
        bg_request_range(g, BG_INFLATE,
                         at < LOW_RAM ? at : at - LOW_RAM + 4 * GiB,
                         STEP - STEP_LEFT);
    }
}

static void tell(BGuest *g, uint64_t size, int64_t bytes)
{
    QDict *info = bg_query_migrate(g);

    g_test_message("%" PRIu64 " GiB given back before it converged: of %"
                   PRIi64 " bytes of ours %" PRIi64 " with the guest stopped, "
                   "which took %" PRIi64 " ms", size / GiB,
                   bg_skip_stat(g, "map-bytes"), bytes,
                   qdict_get_int(info, "downtime"));
    qobject_unref(info);
}

/* Returns bytes of ours in stop-and-copy. */
static int64_t final_bytes(const Case *c, uint64_t size)
{
    BGOptions options = {
        .backend = c->backend,
        .ram_size = LEFT + size,
        .capabilities = c->capabilities,
        /* One that can address it, and has no hole below 1 TiB */
        .args = "-cpu max,vendor=GenuineIntel,phys-bits=46",
    };
    ToldMove m = told_start(&options);
    StreamRelay *relay = relay_listen(m.dest);
    int64_t bytes;

    /* QEMU lets a migration end that has taken less than 0.1 s. */
    bg_fill(m.source, BG_RAM_START, 2 * MiB, 1);
    told_begin(&m, TOLD_STEADY);
    bg_migrate_wait_pass(m.source, 2);
    /* The source has to wait in the middle of a pass. */
    relay_set_speed(relay, RELAY_STOP);
    relay_wait_stuck(relay);
    inflate(m.source, size);
    /* When it goes on, the limit of the bandwidth comes before the word. */
    told_set_bandwidth(m.source, TOLD_SLOW);
    bp_set_parameters(m.source, NEARLY);
    relay_set_speed(relay, RELAY_FREE);
    bg_migrate_wait(m.source, m.dest);

    bytes = bg_skip_stat(m.source, "final-map-bytes");
    tell(m.source, size, bytes);
    bg_assert_same_map(m.source, m.dest);
    bg_assert_same_memory(m.source, m.dest);
    told_end(&m);
    relay_free(relay);
    return bytes;
}

static void test_size(gconstpointer data)
{
    int64_t little = final_bytes(data, 1 * GiB);
    int64_t much = final_bytes(data, 64 * GiB);

    g_assert_cmpint(ABS(much - little), <=, 64);
}

static const char *const both[] = { "skip-balloon", "skip-unpopulated", NULL };

static const Case cases[] = {
    { "anon", BG_ANON, both },
    { "memfd", BG_MEMFD, both },
};

void told_add_size_tests(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *name = g_strdup_printf("/skip-told/size/%s",
                                                cases[i].name);

        qtest_add_data_func(name, &cases[i], test_size);
    }
}
