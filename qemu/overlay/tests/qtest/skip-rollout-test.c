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
#include <sys/mman.h>
#include <sys/prctl.h>
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"
#include "balloon-model.h"
#include "stream-relay.h"

#define MUST_TELL_HOST (1u << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define HANG_SECONDS 60

/* The memory of the guest */
#define RAM_SIZE (16 * MiB)
#define FILLED_START BG_RAM_START
#define FILLED_LENGTH (8 * MiB)
#define BALLOON_START (6 * MiB)
#define BALLOON_LENGTH (4 * MiB)
#define BALLOON_PAGES (BALLOON_LENGTH / BALLOON_PAGE)

/* Register "actual" of the legacy device that balloon-guest.c drives */
#define REG_ACTUAL (0xc000 + 20 + 4)

#define FIRMWARE_SIZE (64 * KiB)
#define RESET_VECTOR (FIRMWARE_SIZE - 16)

/* Where the firmware counts */
#define COUNTER 0x7000

/*
 * start:  movw $0x700, %ax ; movw %ax, %ds
 * again:  incb 0
 *         jmp again
 */
static const uint8_t firmware[] = {
    0xb8, 0x00, 0x07, 0x8e, 0xd8, 0xfe, 0x06, 0x00, 0x00, 0xeb, 0xfa,
};

/* Where the processor begins: jmp start */
static const uint8_t reset_vector[] = { 0xe9, 0x0d, 0x00 };

static char *firmware_path;
static char *cpu_args;

/* What a host has */
typedef enum Host {
    UNMODIFIED,                 /* unmodified QEMU */
    WITHOUT,                    /* ours, property must-tell-host is off */
    WITH,                       /* ours, property must-tell-host is on */
} Host;

static const char *const host_names[] = {
    [UNMODIFIED] = "unmodified",
    [WITHOUT] = "without-property",
    [WITH] = "with-property",
};

static const char *const none[] = { NULL };
static const char *const balloon[] = { "skip-balloon", NULL };
static const char *const unpopulated[] = { "skip-unpopulated", NULL };
static const char *const both[] = { "skip-balloon", "skip-unpopulated", NULL };
static const char *const return_path[] = { "return-path", NULL };
static const char *const unpopulated_return_path[] = {
    "skip-unpopulated", "return-path", NULL,
};
static const char *const balloon_return_path[] = {
    "skip-balloon", "return-path", NULL,
};

/* What a test is about; it does not use all of it. */
typedef struct Case {
    const char *name;
    void (*run)(const struct Case *c);
    Host host;                  /* the one that differs */
    const char *const *capabilities;
    bool return_path;
    bool reboot;
    BGBackend backend;
} Case;

/* ---- Guests ---- */

static void write_firmware(void)
{
    g_autofree uint8_t *image = g_malloc0(FIRMWARE_SIZE);

    memcpy(image, firmware, sizeof(firmware));
    memcpy(image + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    firmware_path = g_strdup_printf("%s/skip-rollout-%d.bin",
                                    g_get_tmp_dir(), getpid());
    g_assert_true(g_file_set_contents(firmware_path, (const char *)image,
                                      FIRMWARE_SIZE, NULL));
    cpu_args = g_strdup_printf("-accel tcg -bios %s", firmware_path);
}

static BGOptions options_of(const Case *c, Host host,
                            const char *const *capabilities)
{
    return (BGOptions) {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .stock = host == UNMODIFIED,
        .no_must_tell_host = host != WITH,
        .args = cpu_args,
        .capabilities = host == UNMODIFIED ? none : capabilities,
    };
}

static BGuest *start_source(const Case *c, Host host,
                            const char *const *capabilities)
{
    BGOptions options = options_of(c, host, capabilities);

    return bg_start(&options);
}

static BGuest *start_dest(const Case *c, Host host,
                          const char *const *capabilities)
{
    BGuest like = { .options = options_of(c, host, capabilities) };

    return bg_start_incoming(&like);
}

/* The same of one that is going to fail; what it says goes to @log. */
static BGuest *start_failing_dest(const Case *c, Host host, const char *log)
{
    int saved = bg_divert_stderr(log);
    BGuest *dest;

    dest = start_dest(c, host, none);
    bg_restore_stderr(saved);
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    return dest;
}

static char *log_path(void)
{
    return g_strdup_printf("%s/skip-rollout-%d.log", g_get_tmp_dir(),
                           getpid());
}

/* What the destination said while it ended with an error must have @part. */
static void end_failing_dest(BGuest *dest, const char *log, const char *part)
{
    g_autofree char *messages = NULL;

    qtest_wait_qemu(dest->qts);
    bg_quit(dest);
    g_assert_true(g_file_get_contents(log, &messages, NULL, NULL));
    unlink(log);
    if (!strstr(messages, part)) {
        g_error("no '%s' in: %s", part, messages);
    }
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
    g_assert_cmphex(bg_driver_start(g, MUST_TELL_HOST), ==,
                    must_tell_host ? MUST_TELL_HOST : 0);
}

static BalloonModel *use_memory(BGuest *g)
{
    BalloonModel *m = bm_new(g);

    bm_fill(m, g, FILLED_START, FILLED_LENGTH, 1);
    give_back(m, g);
    return m;
}

/* ---- What is so ---- */

/* All of the memory holds what it has to; does not populate any of it. */
static void check_content(const BalloonModel *m, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, RAM_SIZE);
    uint8_t content[BALLOON_PAGE], want[BALLOON_PAGE];
    uint64_t i;

    for (i = BG_RAM_START / BALLOON_PAGE; i < m->npages; i++) {
        memset(want, m->page[i].value, sizeof(want));
        memset(content, 0, sizeof(content));
        if (populated[i]) {
            bg_read(g, i * BALLOON_PAGE, content, sizeof(content));
        }
        g_assert_cmpmem(content, sizeof(content), want, sizeof(want));
    }
}

static void assert_not_populated(BGuest *g)
{
    g_assert_cmpuint(bg_count_populated(g, BALLOON_START, BALLOON_LENGTH),
                     ==, 0);
}

static void assert_disabled(BGuest *source, const char *reason)
{
    QDict *skip = bg_skip_info(source);

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(skip, "reason"), ==, reason);
    qobject_unref(skip);
}

static void assert_skipped(BGuest *source, uint64_t npages)
{
    g_assert_cmpint(bg_skip_stat(source, "skipped-pages"), ==, npages);
    g_assert_cmpint(bg_skip_stat(source, "vetoed-pages"), ==, 0);
}

static void assert_status(BGuest *g, const char *status)
{
    QDict *info = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(info, "status"), ==, status);
    g_assert_cmpint(qdict_get_bool(info, "running"), ==,
                    !strcmp(status, "running"));
    qobject_unref(info);
}

static uint8_t counter(BGuest *g)
{
    uint8_t value;

    bg_read(g, COUNTER, &value, 1);
    return value;
}

static void wait_until_it_counts(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    uint8_t before = counter(g);

    while (counter(g) == before) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static void assert_runs(BGuest *g)
{
    assert_status(g, "running");
    wait_until_it_counts(g);
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

static bool offers_must_tell_host(BGuest *g)
{
    QDict *rsp = qtest_qmp(
        g->qts, "{ 'execute': 'qom-get', 'arguments': { 'path': 'balloon0',"
        " 'property': 'must-tell-host' } }");
    bool on = qdict_get_bool(rsp, "return");

    qobject_unref(rsp);
    return on;
}

/* Migrate, with the capabilities that @source was started with. */
static void hop(BGuest *source, BGuest *dest)
{
    bg_migrate_limit(source, 0);
    bg_migrate_start(source, dest);
    bg_migrate_wait(source, dest);
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
}

/* ---- Roll-out ---- */

/* Have the driver negotiate the features once more. */
static void renew_driver(const Case *c, BalloonModel *m, BGuest *g)
{
    if (c->reboot) {
        qtest_system_reset(g->qts);
        bm_empty_balloon(m);
    } else {
        /* A driver that is unloaded takes back all of it. */
        take_back(m, g);
        bg_driver_reset(g);
    }
    drive(g, true);
}

static void test_roll_out(const Case *c)
{
    BGuest *old = start_source(c, c->host, both);
    BGuest *first, *second, *third;
    BalloonModel *m;
    uint64_t populated;

    drive(old, false);
    m = use_memory(old);

    /* It gets to a host that offers the feature. */
    first = start_dest(c, WITH, both);
    hop(old, first);
    check_content(m, first);
    g_assert_true(offers_must_tell_host(first));
    g_assert_cmpuint(bg_map_pages(first, NULL), ==, 0);
    /* Unmodified QEMU does not tell what is zero: it sends it, to be read. */
    if (c->host != UNMODIFIED) {
        assert_not_populated(first);
    }
    populated = bg_count_populated(first, BALLOON_START, BALLOON_LENGTH);

    /* It does not know of it; skip-unpopulated needs nothing of it. */
    second = start_dest(c, WITH, both);
    hop(first, second);
    assert_disabled(first, "must-tell-host");
    g_assert_cmpint(bg_migrate_stat(first, "skip-unpopulated",
                                    "skipped-pages"), >=,
                    BALLOON_PAGES - populated);
    check_content(m, second);
    assert_not_populated(second);

    /* Its driver asks anew, and gives back. */
    renew_driver(c, m, second);
    give_back(m, second);
    bm_check(m, second);
    third = start_dest(c, WITH, both);
    hop(second, third);
    assert_skipped(second, BALLOON_PAGES);
    bm_check(m, third);
    bg_assert_same_map(second, third);
    assert_not_populated(second);
    assert_not_populated(third);

    bm_free(m);
    bg_quit(third);
    bg_quit(second);
    bg_quit(first);
    bg_quit(old);
}

/* ---- The guest has the feature, the destination does not ---- */

static void set_capabilities(BGuest *g)
{
    const char *const *name;

    for (name = g->options.capabilities; *name; name++) {
        bg_set_capability(g, *name, true);
    }
}

/*
 * The source has written all before the destination reads any of it.  Over a
 * network that is so for the last bytes, and they are what this is about.
 */
static void migrate_unheard(BGuest *g, BGuest *dest)
{
    StreamRelay *relay = relay_new(g, NULL, true);
    const GByteArray *stream;
    size_t sent = 0;
    ssize_t n = 0;
    int fd;

    bg_migrate_limit(g, 0);
    set_capabilities(g);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate',"
        " 'arguments': { 'uri': 'fd:relay' } }");
    relay_until(relay, RELAY_NEVER, RELAY_HOLD);
    g_assert_false(relay_wait(relay));
    bg_wait_status(g, "completed", HANG_SECONDS);

    fd = relay_connect(dest->socket);
    stream = relay_bytes(relay);
    while (sent < stream->len && n >= 0) {
        n = send(fd, stream->data + sent, stream->len - sent, MSG_NOSIGNAL);
        sent += MAX(n, 0);
    }
    close(fd);
    relay_free(relay);
}

static void test_trap(const Case *c)
{
    g_autofree char *log = log_path();
    BGuest *g = start_source(c, WITH, c->capabilities);
    BGuest *dest;
    BalloonModel *m;

    drive(g, true);
    m = use_memory(g);
    dest = start_failing_dest(c, c->host, log);
    if (c->return_path) {
        bg_migrate_limit(g, 0);
        bg_migrate_start(g, dest);
        end_failing_dest(dest, log, "virtio-balloon");
        bg_wait_status(g, "failed", HANG_SECONDS);
    } else {
        migrate_unheard(g, dest);
        end_failing_dest(dest, log, "virtio-balloon");
        /* The guest runs nowhere. */
        assert_status(g, "postmigrate");
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    }
    assert_runs(g);
    check_content(m, g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    take_back(m, g);
    give_back(m, g);
    go_elsewhere(c, m, g);
    bm_free(m);
    bg_quit(g);
}

/* With either capability on such a destination refuses at the beginning. */
static void test_refused(const Case *c)
{
    g_autofree char *log = log_path();
    BGuest *g = start_source(c, WITH, c->capabilities);
    BGuest *dest;
    BalloonModel *m;
    QDict *info;

    drive(g, true);
    m = use_memory(g);
    dest = start_failing_dest(c, c->host, log);
    bg_migrate_limit(g, 4 * MiB);
    bg_migrate_start(g, dest);
    end_failing_dest(dest, log, c->host == UNMODIFIED ? "'skip'"
                                                      : "'must-tell-host'");
    bg_wait_status(g, "failed", HANG_SECONDS);

    /* The source has not been told why. */
    info = bg_query_migrate(g);
    g_test_message("error-desc: %s", qdict_get_str(info, "error-desc"));
    g_assert_null(strstr(qdict_get_str(info, "error-desc"), "balloon"));
    g_assert_null(strstr(qdict_get_str(info, "error-desc"), "must-tell"));
    qobject_unref(info);
    assert_runs(g);
    go_elsewhere(c, m, g);
    bm_free(m);
    bg_quit(g);
}

/* ---- Back ---- */

/* With both off the guest travels, and the map stays behind. */
static void test_capability_off(const Case *c)
{
    BGuest *g = start_source(c, WITH, c->capabilities);
    BGuest *first = start_dest(c, WITH, c->capabilities);
    BGuest *second = start_dest(c, WITH, balloon);
    BalloonModel *m;

    drive(g, true);
    m = use_memory(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    hop(g, first);
    g_assert_null(bg_skip_info(g));
    check_content(m, first);
    g_assert_cmpuint(bg_map_pages(first, NULL), ==, 0);
    g_assert_cmpuint(balloon_actual(first), ==, RAM_SIZE - BALLOON_LENGTH);

    /* So there is nothing to skip the next time. */
    first->options.capabilities = balloon;
    hop(first, second);
    assert_skipped(first, 0);
    check_content(m, second);

    take_back(m, second);
    g_assert_cmpuint(balloon_actual(second), ==, RAM_SIZE);
    give_back(m, second);
    bm_check(m, second);
    go_elsewhere(c, m, second);
    bm_free(m);
    bg_quit(second);
    bg_quit(first);
    bg_quit(g);
}

/* The map goes along with skip-unpopulated, too. */
static void test_unpopulated_alone(const Case *c)
{
    BGuest *g = start_source(c, WITH, c->capabilities);
    BGuest *first = start_dest(c, WITH, none);
    BGuest *second = start_dest(c, WITH, none);
    BalloonModel *m;

    drive(g, true);
    m = use_memory(g);
    hop(g, first);
    g_assert_null(bg_skip_info(g));
    bm_check(m, first);
    bg_assert_same_map(g, first);
    assert_not_populated(first);

    /* So skip-balloon finds all of it the next time. */
    first->options.capabilities = balloon;
    hop(first, second);
    assert_skipped(first, BALLOON_PAGES);
    bm_check(m, second);

    take_back(m, second);
    give_back(m, second);
    bm_check(m, second);
    bm_free(m);
    bg_quit(second);
    bg_quit(first);
    bg_quit(g);
}

/* A guest whose driver is not loaded has negotiated nothing. */
static void test_unload(const Case *c)
{
    BGuest *g = start_source(c, WITH, balloon);
    BGuest *dest = start_dest(c, c->host, none);
    BalloonModel *m;

    drive(g, true);
    m = use_memory(g);
    take_back(m, g);
    bg_driver_reset(g);
    hop(g, dest);
    assert_disabled(g, "must-tell-host");
    check_content(m, dest);

    /* Its balloon works there, without the feature. */
    drive(dest, false);
    give_back(m, dest);
    check_content(m, dest);
    assert_not_populated(dest);
    bm_free(m);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- Somebody else ---- */

/* Write to a page through a mapping of our own, as a vhost-user back end. */
static void write_from_outside(BGuest *g, uint64_t addr, uint8_t value)
{
    g_autofree char *path = bg_find_fd(g, "memfd:memory-backend-memfd");
    int fd = open(path, O_RDWR);
    uint8_t *page;

    g_assert_cmpint(fd, >=, 0);
    page = mmap(NULL, BALLOON_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                addr);
    g_assert_true(page != MAP_FAILED);
    memset(page, value, BALLOON_PAGE);
    munmap(page, BALLOON_PAGE);
    close(fd);
}

/* What another process has populated in the balloon is sent, and stays in it. */
static void test_other_process(const Case *c)
{
    const uint64_t addr = BALLOON_START + MiB;
    BGuest *g = start_source(c, WITH, c->capabilities);
    BGuest *dest = start_dest(c, WITH, c->capabilities);
    BalloonModel *m;

    drive(g, true);
    m = use_memory(g);
    write_from_outside(g, addr, 77);
    m->page[addr / BALLOON_PAGE].value = 77;
    m->page[addr / BALLOON_PAGE].touched = true;
    hop(g, dest);
    /* Each pass counts it that finds it dirty. */
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, 1);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES - 1);
    bm_check(m, dest);
    bm_free(m);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- All of them ---- */

static const Case cases[] = {
    { "roll-out/reload", test_roll_out, WITHOUT },
    { "roll-out/reload", test_roll_out, UNMODIFIED },
    { "roll-out/reboot", test_roll_out, WITHOUT, .reboot = true },
    { "roll-out/reboot", test_roll_out, UNMODIFIED, .reboot = true },
    { "trap/off", test_trap, WITHOUT, none },
    { "trap/off", test_trap, UNMODIFIED, none },
    { "trap/off-return-path", test_trap, WITHOUT, return_path, true },
    { "trap/off-return-path", test_trap, UNMODIFIED, return_path, true },
    { "refused/balloon", test_refused, WITHOUT, balloon },
    { "refused/balloon", test_refused, UNMODIFIED, balloon },
    { "refused/balloon-return-path", test_refused, WITHOUT,
      balloon_return_path },
    { "refused/balloon-return-path", test_refused, UNMODIFIED,
      balloon_return_path },
    { "refused/unpopulated", test_refused, WITHOUT, unpopulated },
    { "refused/unpopulated", test_refused, UNMODIFIED, unpopulated },
    { "refused/unpopulated-return-path", test_refused, WITHOUT,
      unpopulated_return_path },
    { "refused/unpopulated-return-path", test_refused, UNMODIFIED,
      unpopulated_return_path },
    { "roll-back/off", test_capability_off, WITH, none },
    { "roll-back/unpopulated", test_unpopulated_alone, WITH, unpopulated },
    { "roll-back/unload", test_unload, WITHOUT },
    { "roll-back/unload", test_unload, UNMODIFIED },
};

static const Case other_process = {
    "other-process", test_other_process, WITH, balloon,
};

static void run_case(gconstpointer opaque)
{
    const Case *c = opaque;

    if (c->host == UNMODIFIED && !getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return;
    }
    c->run(c);
}

static void add_test(const Case *c, BGBackend backend)
{
    Case *copy = g_memdup2(c, sizeof(*c));
    g_autofree char *path = g_strdup_printf(
        "skip-rollout/%s/%s/%s", c->name, host_names[c->host],
        backend == BG_ANON ? "anon" : "memfd");

    copy->backend = backend;
    qtest_add_data_func_full(path, copy, run_case, g_free);
}

int main(int argc, char **argv)
{
    int i, rc;

    g_test_init(&argc, &argv, NULL);
    /* A huge page has memory that nobody asked for, and that was counted. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    write_firmware();
    add_test(&other_process, BG_MEMFD);
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        add_test(&cases[i], BG_ANON);
        add_test(&cases[i], BG_MEMFD);
    }
    rc = g_test_run();
    unlink(firmware_path);
    g_free(firmware_path);
    g_free(cpu_args);
    return rc;
}
