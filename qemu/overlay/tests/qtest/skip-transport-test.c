/*
 * Migration with capabilities skip-balloon and skip-unpopulated over all that
 * carries a migration, and together with the other capabilities
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "balloon-pair.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

#define HANG_SECONDS 60

#define CAPABILITIES(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define MULTIFD CAPABILITIES("multifd")

/* For pages of one value each: compressed they are next to nothing. */
#define COMPRESSED_RATE 20000
#define COMPRESSED .first_rate = COMPRESSED_RATE, .rate = COMPRESSED_RATE

/*
 * A guest that is held back, on a machine that is busy, may write nothing for
 * long: let a pass take several times 0.1 s, or the migration ends too soon.
 */
#define THROTTLED_RATE (2 * MiB)

typedef struct Case {
    const char *name;
    BPWire wire;
    const char *const *capabilities;
    const char *parameters;
    const char *args;
    /* Returns false, having skipped the test, where it cannot be done */
    bool (*possible)(void);
    void (*prepare)(BPair *p);  /* before the migration */
    void (*during)(BPair *p);   /* while it is under way */
    void (*check)(BPair *p);    /* after it: was it what it is to be? */
    uint64_t first_rate;        /* see BPOptions */
    uint64_t rate;
    bool alone;                 /* also with one of our capabilities only */
    bool any_memory;            /* does not care what the memory is: memfd */
} Case;

typedef struct Test {
    const Case *c;
    BGBackend backend;
    int skip;
} Test;

/* ---- Was the migration what it was meant to be? ---- */

static int64_t ram_stat(BPair *p, const char *name)
{
    QDict *info = bg_query_migrate(p->source);
    int64_t value = qdict_get_int(qdict_get_qdict(info, "ram"), name);

    qobject_unref(info);
    return value;
}

static void check_multifd(BPair *p)
{
    g_assert_cmpint(ram_stat(p, "multifd-bytes"), >, 0);
}

/* Pages of one value each: what is sent is a small part of them. */
static void check_compressed(BPair *p)
{
    g_assert_cmpint(ram_stat(p, "multifd-bytes"), >, 0);
    g_assert_cmpint(ram_stat(p, "multifd-bytes"), <,
                    ram_stat(p, "normal-bytes") / 4);
}

static void check_xbzrle(BPair *p)
{
    QDict *info = bg_query_migrate(p->source);

    g_assert_cmpint(qdict_get_int(qdict_get_qdict(info, "xbzrle-cache"),
                                  "pages"), >, 0);
    qobject_unref(info);
}

static void wait_throttle(BPair *p)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    int64_t percentage = 0;

    while (!percentage) {
        QDict *info = bg_query_migrate(p->source);

        percentage = qdict_get_try_int(info, "cpu-throttle-percentage", 0);
        g_assert_cmpstr(qdict_get_str(info, "status"), ==, "active");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

static void check_events(BPair *p)
{
    qtest_qmp_eventwait(p->source->qts, "MIGRATION_PASS");
    qtest_qmp_eventwait(p->dest->qts, "MIGRATION");
}

static void add_bitmap(BPair *p)
{
    qtest_qmp_assert_success(
        p->source->qts, "{ 'execute': 'block-dirty-bitmap-add',"
        " 'arguments': { 'node': 'disk0', 'name': 'bitmap0' } }");
}

/* A disk of no use but for a dirty bitmap */
static void check_bitmap(BPair *p)
{
    QDict *rsp = qtest_qmp(p->dest->qts,
                           "{ 'execute': 'query-named-block-nodes' }");
    QDict *node = qobject_to(QDict, qlist_entry_obj(
        qlist_first(qdict_get_qlist(rsp, "return"))));
    QDict *bitmap = qobject_to(QDict, qlist_entry_obj(
        qlist_first(qdict_get_qlist(node, "dirty-bitmaps"))));

    g_assert_cmpstr(qdict_get_str(bitmap, "name"), ==, "bitmap0");
    qobject_unref(rsp);
}

/* The offset is kept free: QEMU writes nothing before it. */
static void check_offset(BPair *p)
{
    g_autofree char *content = NULL;
    gsize length, i;

    g_assert_true(g_file_get_contents(p->path, &content, &length, NULL));
    for (i = 0; i < 12288; i++) {
        g_assert_cmpint(content[i], ==, 0);
    }
    g_assert_cmpmem(content + i, 4, "QEVM", 4);
}

/*
 * Does the kernel send without copying?  It may refuse a socket that, or the
 * memory that has to be locked for it.
 */
static bool zero_copy_possible(void)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof(addr);
    static char buffer[64 * 1024];
    int one = 1, error = 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(listener, (struct sockaddr *)&addr, length) ||
        listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&addr, &length) ||
        connect(fd, (struct sockaddr *)&addr, length) ||
        setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
        send(fd, buffer, sizeof(buffer), MSG_ZEROCOPY | MSG_DONTWAIT) < 0) {
        error = errno;
    }
    close(fd);
    close(listener);
    if (error) {
        g_autofree char *why = g_strdup_printf("no zero-copy: %s",
                                               strerror(error));

        g_test_skip(why);
    }
    return !error;
}

/* ---- The cases ---- */

static const Case cases[] = {
    { "unix", BP_UNIX, .alone = true },
    { "tcp", BP_TCP },
    { "fd", BP_FD },
    { "exec", BP_EXEC },
    { "file", BP_FILE, .alone = true },
    { "file-offset", BP_FILE_OFFSET, .check = check_offset },
    { "channels", BP_CHANNELS },
    { "fd/return-path", BP_FD, CAPABILITIES("return-path"),
      .any_memory = true },

    { "multifd/1", BP_UNIX, MULTIFD, "{ 'multifd-channels': 1 }",
      .check = check_multifd },
    { "multifd/2", BP_TCP, MULTIFD, "{ 'multifd-channels': 2 }",
      .check = check_multifd, .alone = true },
    { "multifd/4", BP_CHANNELS, MULTIFD, "{ 'multifd-channels': 4 }",
      .check = check_multifd },
    { "multifd/zero-page/none", BP_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'none' }", .check = check_multifd },
    { "multifd/zero-page/legacy", BP_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'legacy' }", .check = check_multifd },
    { "multifd/zero-page/multifd", BP_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'multifd' }", .check = check_multifd },
    { "multifd/zlib", BP_UNIX, MULTIFD,
      "{ 'multifd-compression': 'zlib', 'multifd-zlib-level': 2 }",
      .check = check_compressed, COMPRESSED },
    { "multifd/zstd", BP_UNIX, MULTIFD,
      "{ 'multifd-compression': 'zstd', 'multifd-zstd-level': 2 }",
      .check = check_compressed, COMPRESSED, .alone = true },
    { "multifd/zlib/zero-page/legacy", BP_TCP, MULTIFD,
      "{ 'multifd-compression': 'zlib', 'zero-page-detection': 'legacy',"
      " 'multifd-channels': 4 }", .check = check_compressed, COMPRESSED },
    { "multifd/zstd/zero-page/none", BP_TCP, MULTIFD,
      "{ 'multifd-compression': 'zstd', 'zero-page-detection': 'none',"
      " 'multifd-channels': 1 }",
      .check = check_compressed, COMPRESSED },
    { "multifd/zero-copy", BP_TCP, CAPABILITIES("multifd", "zero-copy-send"),
      "{ 'multifd-channels': 2 }", .check = check_multifd,
      .possible = zero_copy_possible },
    { "multifd/return-path/switchover-ack", BP_UNIX,
      CAPABILITIES("multifd", "return-path", "switchover-ack"),
      .check = check_multifd },
    { "multifd/pause-before-switchover", BP_TCP,
      CAPABILITIES("multifd", "pause-before-switchover"),
      .check = check_multifd },

    { "zero-page/none", BP_UNIX, NULL, "{ 'zero-page-detection': 'none' }" },
    { "zero-page/legacy", BP_UNIX, NULL,
      "{ 'zero-page-detection': 'legacy' }" },
    { "xbzrle", BP_UNIX, CAPABILITIES("xbzrle"),
      "{ 'xbzrle-cache-size': 33554432 }", .check = check_xbzrle,
      .rate = COMPRESSED_RATE,
      .alone = true },
    { "auto-converge", BP_UNIX, CAPABILITIES("auto-converge"),
      "{ 'throttle-trigger-threshold': 1, 'cpu-throttle-initial': 10,"
      " 'cpu-throttle-increment': 5, 'cpu-throttle-tailslow': true,"
      " 'max-cpu-throttle': 50 }", .during = wait_throttle,
      .rate = THROTTLED_RATE },
    { "events", BP_UNIX, CAPABILITIES("events"), .check = check_events,
      .any_memory = true },
    { "return-path", BP_TCP, CAPABILITIES("return-path") },
    { "switchover-ack", BP_UNIX,
      CAPABILITIES("return-path", "switchover-ack"), .any_memory = true },
    { "pause-before-switchover", BP_UNIX,
      CAPABILITIES("pause-before-switchover") },
    { "late-block-activate", BP_UNIX, CAPABILITIES("late-block-activate"),
      .any_memory = true },
    { "validate-uuid", BP_UNIX, CAPABILITIES("validate-uuid"),
      .args = "-uuid 5a1d3b6e-2f0c-4a87-9e55-0c6d1f7b8a90",
      .any_memory = true },
    { "release-ram", BP_UNIX, CAPABILITIES("release-ram"),
      .any_memory = true },
    { "zero-blocks", BP_UNIX, CAPABILITIES("zero-blocks"),
      .any_memory = true },
    { "dirty-bitmaps", BP_UNIX, CAPABILITIES("dirty-bitmaps"),
      "{ 'block-bitmap-mapping': [ { 'node-name': 'disk0', 'alias': 'd',"
      " 'bitmaps': [ { 'name': 'bitmap0', 'alias': 'b' } ] } ] }",
      "-blockdev null-co,node-name=disk0,size=1048576,read-zeroes=on",
      .prepare = add_bitmap, .check = check_bitmap,
      .any_memory = true },
    { "announce", BP_UNIX, NULL,
      "{ 'announce-initial': 1, 'announce-max': 5, 'announce-rounds': 2,"
      " 'announce-step': 1, 'mode': 'normal' }",
      .any_memory = true },
    { "all-together", BP_TCP,
      CAPABILITIES("multifd", "events", "return-path", "switchover-ack",
                   "pause-before-switchover", "validate-uuid",
                   "late-block-activate", "release-ram"),
      "{ 'multifd-compression': 'zstd' }",
      .check = check_compressed, COMPRESSED },
};

static void test_case(const void *opaque)
{
    const Test *t = opaque;
    const Case *c = t->c;
    BPOptions options = {
        .backend = t->backend,
        .skip = t->skip,
        .wire = c->wire,
        .capabilities = c->capabilities,
        .parameters = c->parameters,
        .args = c->args,
        .first_rate = c->first_rate,
        .rate = c->rate,
    };
    BPair *p;

    if (c->possible && !c->possible()) {
        return;
    }
    p = bp_start(&options);
    if (c->prepare) {
        c->prepare(p);
    }
    bp_migrate(p);
    if (c->during) {
        c->during(p);
    }
    bp_finish(p);
    if (c->check) {
        c->check(p);
    }
    bp_check(p);
    bp_free(p);
}

/* ---- What QEMU refuses, with our capabilities as without ---- */

typedef struct Refused {
    const char *name;
    const char *capability;     /* set with both of ours */
    const char *why;            /* part of the message */
} Refused;

static const Refused refused[] = {
    { "dirty-limit", "dirty-limit", "requires KVM" },
    { "x-colo", "x-colo", "" },
    { "switchover-ack", "switchover-ack", "'return-path'" },
    { "zero-copy-send", "zero-copy-send", "multifd" },
};

static void expect_refusal(QDict *error, const char *why)
{
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(error);
}

static void test_refused(const void *opaque)
{
    const Refused *r = opaque;
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);

    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "skip-unpopulated", true);
    expect_refusal(qtest_qmp_assert_failure_ref(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': true } ] } }",
        r->capability), r->why);
    bg_quit(g);
}

/* More than one channel needs somewhere to connect to. */
static void test_refused_multifd(const void *uri)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);

    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "multifd", true);
    expect_refusal(qtest_qmp_assert_failure_ref(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }",
        (const char *)uri), "multi-channel");
    bg_quit(g);
}

/* ---- All of them ---- */

static void add_case(const Case *c, BGBackend backend, int skip)
{
    g_autofree char *path = bp_test_path("skip-transport", c->name, backend,
                                         skip);
    Test *t = g_new(Test, 1);

    *t = (Test) { .c = c, .backend = backend, .skip = skip };
    qtest_add_data_func_full(path, t, test_case, g_free);
}

static void add_refused(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        g_autofree char *path = g_strdup_printf("/skip-transport/refused/%s",
                                                refused[i].name);

        qtest_add_data_func(path, &refused[i], test_refused);
    }
    qtest_add_data_func("/skip-transport/refused/multifd-exec", "exec:true",
                        test_refused_multifd);
    qtest_add_data_func("/skip-transport/refused/multifd-file",
                        "file:/dev/null", test_refused_multifd);
}

int main(int argc, char **argv)
{
    static const BGBackend backends[] = { BG_ANON, BG_MEMFD };
    int ret, i, b;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    bp_init();
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        for (b = 0; b < ARRAY_SIZE(backends); b++) {
            if (cases[i].any_memory && backends[b] != BG_MEMFD) {
                continue;
            }
            add_case(&cases[i], backends[b], BP_BOTH);
            if (cases[i].alone) {
                add_case(&cases[i], backends[b], BP_BALLOON);
                add_case(&cases[i], backends[b], BP_UNPOPULATED);
            }
        }
    }
    add_refused();
    ret = g_test_run();
    bp_cleanup();
    return ret;
}
