/*
 * Tests of how skip-balloon is brought to guests that run already, of the way
 * back, and of destinations that do not fit the guest
 *
 * The guest has a virtual CPU, under TCG, that counts, so that a test can see
 * whether it runs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"
#include "balloon-model.h"
#include "stream-relay.h"

/* The memory of the guest */
#define RAM_SIZE (16 * MiB)
#define FILLED_LENGTH (8 * MiB)
#define BALLOON_START (6 * MiB)
#define BALLOON_LENGTH (4 * MiB)
#define BALLOON_PAGES (BALLOON_LENGTH / BALLOON_PAGE)

/* Register "actual" of the device */
#define REG_ACTUAL (BG_CONFIG_IO + 4)

/* Where the firmware counts */
#define COUNTER 0x7000

/*
 *         movw $0x700, %ax ; movw %ax, %ds
 * again:  incb 0
 *         jmp again
 */
static const uint8_t firmware[] = {
    0xb8, 0x00, 0x07, 0x8e, 0xd8, 0xfe, 0x06, 0x00, 0x00, 0xeb, 0xfa,
};

static char *cpu_args;

/* What a host has */
typedef enum Host {
    UNMODIFIED,                 /* unmodified QEMU */
    WITHOUT,                    /* ours, property must-tell-host is off */
    WITH,                       /* ours, property must-tell-host is on */
    NO_DEVICE,                  /* ours, there is no balloon device */
    LESS_RAM,                   /* the same as WITH */
} Host;

static const char *const host_names[] = {
    "unmodified", "without-property", "with-property", "no-device", "less-ram",
};

/* What each says when it refuses one of our capabilities */
static const char *const refusals[] = {
    [UNMODIFIED] = "Unknown savevm section or instance 'skip'",
    [WITHOUT] = "skip: the source has a balloon, but property "
                "'must-tell-host'",
    [NO_DEVICE] = "skip: the source has a balloon, but there is no "
                  "virtio-balloon device",
    [LESS_RAM] = "Size mismatch: ram0",
};

static const char *const none[] = { NULL };
static const char *const balloon[] = { "skip-balloon", NULL };
static const char *const unpopulated[] = { "skip-unpopulated", NULL };
static const char *const both[] = { "skip-balloon", "skip-unpopulated", NULL };
static const char *const off_rp[] = { "return-path", NULL };
static const char *const balloon_rp[] = {
    "skip-balloon", "return-path", NULL,
};
static const char *const unpopulated_rp[] = {
    "skip-unpopulated", "return-path", NULL,
};

/* What a test is about; it does not use all of it. */
typedef struct Case {
    const char *name;
    void (*run)(const struct Case *c);
    Host host;                  /* the one that differs */
    BGBackend backend;
    const char *const *capabilities;
    bool flag;                  /* see there */
} Case;

/* ---- Guests ---- */

static BGOptions options_of(const Case *c, Host host,
                            const char *const *capabilities)
{
    return (BGOptions) {
        .backend = c->backend,
        .ram_size = host == LESS_RAM ? RAM_SIZE / 2 : RAM_SIZE,
        .stock = host == UNMODIFIED,
        .no_device = host == NO_DEVICE,
        .no_must_tell_host = host == UNMODIFIED || host == WITHOUT,
        .args = cpu_args,
        .capabilities = host == UNMODIFIED ? none : capabilities,
    };
}

static BGuest *start_dest(const Case *c, Host host,
                          const char *const *capabilities)
{
    BGOptions options = options_of(c, host, capabilities);

    return bg_start_dest(&options);
}

static void give_back(BalloonModel *m, BGuest *g)
{
    bm_fill(m, g, BALLOON_START, BALLOON_LENGTH, 2);
    bm_inflate(m, g, BALLOON_START, BALLOON_LENGTH);
    qtest_outl(g->qts, REG_ACTUAL, BALLOON_PAGES);
}

static void take_back(BalloonModel *m, BGuest *g)
{
    bm_deflate(m, g, BALLOON_START, BALLOON_LENGTH);
    qtest_outl(g->qts, REG_ACTUAL, 0);
}

static void drive(BGuest *g, bool must_tell_host)
{
    g_assert_cmphex(bg_driver_start(g, BG_MUST_TELL_HOST), ==,
                    must_tell_host ? BG_MUST_TELL_HOST : 0);
}

/* A guest that has given back a part of its memory */
static BGuest *start_source(const Case *c, Host host,
                            const char *const *capabilities, BalloonModel **m)
{
    BGOptions options = options_of(c, host, capabilities);
    BGuest *g = bg_start(&options);

    drive(g, host == WITH);
    *m = bm_new(g);
    bm_fill(*m, g, BG_RAM_START, FILLED_LENGTH, 1);
    give_back(*m, g);
    return g;
}

/* ---- What is so ---- */

static void assert_not_populated(BGuest *g)
{
    bg_assert_populated(g, BALLOON_START, BALLOON_LENGTH, 0);
}

static void assert_skipped(BGuest *source, uint64_t npages)
{
    g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), ==, npages);
    g_assert_cmpint(bg_skip_stat(source, "vetoed-pages"), ==, 0);
}

static void assert_runs(BGuest *g)
{
    uint8_t before = bg_byte(g, COUNTER);

    bg_assert_vm_status(g, "running");
    BG_WAIT(bg_byte(g, COUNTER) != before);
}

/* What the guest takes itself to have, by its driver */
static uint64_t balloon_actual(BGuest *g)
{
    QDict *info = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-balloon' }");
    uint64_t actual = qdict_get_int(info, "actual");

    qobject_unref(info);
    return actual;
}

/* Migrate, with the capabilities that @source was started with. */
static void hop(BGuest *source, BGuest *dest)
{
    bg_migrate(source, dest);
    assert_runs(dest);
}

/* Nothing was lost: the guest gets to a host that fits, and is skipped. */
static void go_elsewhere(const Case *c, BalloonModel *m, BGuest *g)
{
    BGuest *dest = start_dest(c, WITH, balloon);

    g->options.capabilities = balloon;
    hop(g, dest);
    assert_skipped(g, BALLOON_PAGES);
    bm_check(m, dest);
    bg_quit(dest);
    bg_quit(g);
    bm_free(m);
}

/* ---- Roll-out ---- */

/* Have the driver negotiate the features once more. */
static void renew_driver(const Case *c, BalloonModel *m, BGuest *g)
{
    if (c->flag) {
        qtest_system_reset(g->qts);
    } else {
        /* A driver that is unloaded takes back all of it. */
        take_back(m, g);
        bg_driver_reset(g);
    }
    drive(g, true);
}

/* With flag, the guest reboots; else it loads its driver anew. */
static void roll_out(const Case *c)
{
    BalloonModel *m;
    BGuest *old = start_source(c, c->host, both, &m);
    BGuest *first = start_dest(c, WITH, both);
    BGuest *second = start_dest(c, WITH, both);
    BGuest *third = start_dest(c, WITH, both);
    uint64_t populated;

    /* It gets to a host that offers the feature, and knows of no balloon. */
    hop(old, first);
    bm_empty_balloon(m);
    bm_check(m, first);
    /* Unmodified QEMU does not tell what is zero: it sends it, to be read. */
    if (c->host != UNMODIFIED) {
        assert_not_populated(first);
    }
    populated = bg_count_populated(first, BALLOON_START, BALLOON_LENGTH);

    /* skip-unpopulated needs nothing of the guest. */
    hop(first, second);
    bg_assert_disabled(first, "must-tell-host");
    g_assert_cmpint(bg_migrate_stat(first, "skip-unpopulated",
                                    "skipped-pages"), >=,
                    BALLOON_PAGES - populated);
    bm_check(m, second);
    assert_not_populated(second);

    /* Its driver asks anew, and gives back. */
    renew_driver(c, m, second);
    give_back(m, second);
    bm_check(m, second);
    hop(second, third);
    assert_skipped(second, BALLOON_PAGES);
    bm_check(m, third);
    assert_not_populated(second);
    assert_not_populated(third);
    bm_free(m);
    bg_quit(third);
    bg_quit(second);
    bg_quit(first);
    bg_quit(old);
}

/* ---- The guest has the feature, the destination does not ---- */

/*
 * The source has written all before the destination reads any of it.  Over a
 * network that is so for the last bytes, and they are what this is about.
 */
static void migrate_unheard(BGuest *g, BGuest *dest)
{
    StreamRelay *relay = relay_new(g, NULL, true);
    const GByteArray *stream;

    bg_migrate_limit(g, 0);
    bg_migrate_uri(g, "fd:relay");
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    g_assert_false(relay_wait(relay));
    bg_wait_status(g, "completed", 60);

    stream = relay_bytes(relay);
    relay_send(dest->socket, stream->data, stream->len);
    relay_free(relay);
}

/*
 * With either capability on such a destination refuses at the beginning; with
 * both off it fails at the device.  With flag, the source does not hear of it.
 */
static void misfit(const Case *c)
{
    BGOptions options = options_of(c, c->host, none);
    BalloonModel *m;
    BGuest *g = start_source(c, WITH, c->capabilities, &m);
    BGuest *dest = bg_start_failing_dest(&options);
    bool off = c->capabilities == none || c->capabilities == off_rp;

    if (c->flag) {
        migrate_unheard(g, dest);
    } else {
        bg_migrate_begin(g, dest, off ? 0 : 4 * MiB);
    }
    bg_quit_failed(dest, off ? "virtio-balloon" : refusals[c->host]);
    if (c->flag) {
        /* The guest runs nowhere. */
        bg_assert_vm_status(g, "postmigrate");
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    } else {
        g_autofree char *desc = NULL;
        QDict *info;

        bg_wait_status(g, "failed", 60);
        info = bg_query_migrate(g);
        desc = g_strdup(qdict_get_str(info, "error-desc"));
        qobject_unref(info);
        /* The source has not been told why. */
        g_assert_null(strstr(desc, "balloon"));
        g_assert_null(strstr(desc, "must-tell"));
    }
    assert_runs(g);
    if (off) {
        /* It has read all of its memory. */
        bm_note_populated(m, g);
    }
    bm_check(m, g);
    take_back(m, g);
    give_back(m, g);
    go_elsewhere(c, m, g);
}

/* ---- Back ---- */

/* With both off the guest travels, and the map stays behind. */
static void capability_off(const Case *c)
{
    BalloonModel *m;
    BGuest *g = start_source(c, WITH, none, &m);
    BGuest *first = start_dest(c, WITH, none);
    BGuest *second = start_dest(c, WITH, balloon);

    hop(g, first);
    g_assert_null(bg_skip_info(g));
    bm_empty_balloon(m);
    bm_check(m, first);
    g_assert_cmpuint(balloon_actual(first), ==, RAM_SIZE - BALLOON_LENGTH);

    /* So there is nothing to skip the next time. */
    first->options.capabilities = balloon;
    hop(first, second);
    assert_skipped(first, 0);
    bm_check(m, second);

    take_back(m, second);
    g_assert_cmpuint(balloon_actual(second), ==, RAM_SIZE);
    give_back(m, second);
    bm_check(m, second);
    bg_quit(first);
    bg_quit(g);
    go_elsewhere(c, m, second);
}

/* The map goes along with skip-unpopulated, too. */
static void unpopulated_alone(const Case *c)
{
    BalloonModel *m;
    BGuest *g = start_source(c, WITH, unpopulated, &m);
    BGuest *first = start_dest(c, WITH, none);

    hop(g, first);
    g_assert_null(bg_skip_info(g));
    bm_check(m, first);
    assert_not_populated(first);
    bg_quit(g);
    /* So skip-balloon finds all of it the next time. */
    go_elsewhere(c, m, first);
}

/* A guest whose driver is not loaded has negotiated nothing. */
static void unload(const Case *c)
{
    BalloonModel *m;
    BGuest *g = start_source(c, WITH, balloon, &m);
    BGuest *dest = start_dest(c, c->host, none);

    take_back(m, g);
    bg_driver_reset(g);
    hop(g, dest);
    bg_assert_disabled(g, "must-tell-host");

    /* Its balloon works there, without the feature. */
    drive(dest, false);
    give_back(m, dest);
    assert_not_populated(dest);
    if (c->host == UNMODIFIED) {
        /* It has no command to ask it for its map. */
        g_assert_cmpuint(bg_byte(dest, BALLOON_START - BALLOON_PAGE), ==,
                         m->page[BG_PFN(BALLOON_START) - 1].value);
    } else {
        bm_check(m, dest);
    }
    bm_free(m);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- All of them ---- */

static const Case cases[] = {
    { "roll-out/reload", roll_out, WITHOUT, BG_ANON },
    { "roll-out/reload", roll_out, UNMODIFIED, BG_MEMFD },
    { "roll-out/reboot", roll_out, WITHOUT, BG_MEMFD, .flag = true },
    { "roll-out/reboot", roll_out, UNMODIFIED, BG_ANON, .flag = true },
    { "trap/off", misfit, WITHOUT, BG_ANON, none, .flag = true },
    { "trap/off", misfit, UNMODIFIED, BG_MEMFD, none, .flag = true },
    { "trap/off-return-path", misfit, WITHOUT, BG_MEMFD, off_rp },
    { "trap/off-return-path", misfit, UNMODIFIED, BG_ANON, off_rp },
    { "refused/balloon", misfit, WITHOUT, BG_ANON, balloon },
    { "refused/balloon", misfit, UNMODIFIED, BG_MEMFD, balloon },
    { "refused/balloon", misfit, NO_DEVICE, BG_ANON, balloon },
    { "refused/balloon", misfit, LESS_RAM, BG_MEMFD, balloon },
    { "refused/balloon-return-path", misfit, WITHOUT, BG_MEMFD, balloon_rp },
    { "refused/balloon-return-path", misfit, UNMODIFIED, BG_ANON, balloon_rp },
    { "refused/unpopulated", misfit, WITHOUT, BG_MEMFD, unpopulated },
    { "refused/unpopulated", misfit, UNMODIFIED, BG_ANON, unpopulated },
    { "refused/unpopulated-return-path", misfit, WITHOUT, BG_ANON,
      unpopulated_rp },
    { "refused/unpopulated-return-path", misfit, UNMODIFIED, BG_MEMFD,
      unpopulated_rp },
    { "roll-back/off", capability_off, WITH, BG_ANON },
    { "roll-back/off", capability_off, WITH, BG_MEMFD },
    { "roll-back/unpopulated", unpopulated_alone, WITH, BG_ANON },
    { "roll-back/unpopulated", unpopulated_alone, WITH, BG_MEMFD },
    { "roll-back/unload", unload, WITHOUT, BG_ANON },
    { "roll-back/unload", unload, UNMODIFIED, BG_MEMFD },
};

static void run_case(gconstpointer opaque)
{
    const Case *c = opaque;

    if (c->host != UNMODIFIED || bg_stock_or_skip()) {
        c->run(c);
    }
}

int main(int argc, char **argv)
{
    g_autofree char *path = NULL;
    int i, rc;

    bg_init(&argc, &argv);
    path = bg_write_firmware(firmware, sizeof(firmware));
    cpu_args = g_strdup_printf("-accel tcg -bios %s", path);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        bg_add_test(&cases[i], run_case, "skip-rollout/%s/%s/%s",
                    cases[i].name, host_names[cases[i].host],
                    bg_backend_name(cases[i].backend));
    }
    rc = g_test_run();
    unlink(path);
    g_free(cpu_args);
    return rc;
}
