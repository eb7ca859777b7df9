/*
 * Migration with capabilities skip-balloon and skip-unpopulated over all that
 * carries a migration, and together with the other capabilities
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "skip-transport.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif

/*
 * A guest that is held back, on a machine that is busy, may write nothing for
 * long: let a pass take several times 0.1 s, or the migration ends too soon.
 */
#define THROTTLED_RATE (2 * MiB)

/* ---- Was the migration what it was meant to be? ---- */

static void check_multifd(Transport *t)
{
    g_assert_cmpint(bg_migrate_stat(t->p.source, "ram", "multifd-bytes"), >, 0);
}

/* Pages of one value each: what is sent is a small part of them. */
static void check_compressed(Transport *t)
{
    check_multifd(t);
    g_assert_cmpint(bg_migrate_stat(t->p.source, "ram", "multifd-bytes"), <,
                    bg_migrate_stat(t->p.source, "ram", "normal-bytes") / 4);
}

static void check_xbzrle(Transport *t)
{
    g_assert_cmpint(bg_migrate_stat(t->p.source, "xbzrle-cache", "pages"), >,
                    0);
}

static bool is_throttled(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    bool ret = qdict_get_try_int(info, "cpu-throttle-percentage", 0);

    g_assert_cmpstr(qdict_get_str(info, "status"), ==, "active");
    qobject_unref(info);
    return ret;
}

static void wait_throttle(Transport *t)
{
    BG_WAIT(is_throttled(t->p.source));
}

static void check_events(Transport *t)
{
    qtest_qmp_eventwait(t->p.source->qts, "MIGRATION_PASS");
    qtest_qmp_eventwait(t->p.dest->qts, "MIGRATION");
}

static void add_bitmap(Transport *t)
{
    qtest_qmp_assert_success(
        t->p.source->qts, "{ 'execute': 'block-dirty-bitmap-add',"
        " 'arguments': { 'node': 'disk0', 'name': 'bitmap0' } }");
}

static QDict *first_of(QDict *dict, const char *name)
{
    return qobject_to(QDict, qlist_entry_obj(
        qlist_first(qdict_get_qlist(dict, name))));
}

/* A disk of no use but for a dirty bitmap */
static void check_bitmap(Transport *t)
{
    QDict *rsp = qtest_qmp(t->p.dest->qts,
                           "{ 'execute': 'query-named-block-nodes' }");
    QDict *bitmap = first_of(first_of(rsp, "return"), "dirty-bitmaps");

    g_assert_cmpstr(qdict_get_str(bitmap, "name"), ==, "bitmap0");
    qobject_unref(rsp);
}

/* The offset is kept free: QEMU writes nothing before it. */
static void check_offset(Transport *t)
{
    static const char zero[FILE_OFFSET];
    g_autofree char *content = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(t->path, &content, &length, NULL));
    g_assert_cmpmem(content, FILE_OFFSET, zero, FILE_OFFSET);
    g_assert_cmpmem(content + FILE_OFFSET, 4, "QEVM", 4);
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

static const TransportCase cases[] = {
    { "unix", WIRE_UNIX, .alone = true },
    { "tcp", WIRE_TCP, .any_memory = true },
    { "fd", WIRE_FD, .any_memory = true },
    { "exec", WIRE_EXEC, .any_memory = true },
    { "file", WIRE_FILE, .alone = true },
    { "file-offset", WIRE_FILE_OFFSET, .check = check_offset,
      .any_memory = true },
    { "channels", WIRE_CHANNELS, .any_memory = true },
    { "fd/return-path", WIRE_FD, CAPABILITIES("return-path"),
      .any_memory = true },

    { "multifd/1", WIRE_UNIX, MULTIFD, "{ 'multifd-channels': 1 }",
      .check = check_multifd, .any_memory = true },
    { "multifd/2", WIRE_TCP, MULTIFD, "{ 'multifd-channels': 2 }",
      .check = check_multifd, .alone = true },
    { "multifd/4", WIRE_CHANNELS, MULTIFD, "{ 'multifd-channels': 4 }",
      .check = check_multifd, .any_memory = true },
    { "multifd/zero-page/none", WIRE_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'none' }", .check = check_multifd },
    { "multifd/zero-page/legacy", WIRE_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'legacy' }", .check = check_multifd },
    { "multifd/zero-page/multifd", WIRE_UNIX, MULTIFD,
      "{ 'zero-page-detection': 'multifd' }", .check = check_multifd },
    { "multifd/zlib", WIRE_UNIX, MULTIFD,
      "{ 'multifd-compression': 'zlib', 'multifd-zlib-level': 2 }",
      .check = check_compressed, COMPRESSED, .any_memory = true },
    { "multifd/zstd", WIRE_UNIX, MULTIFD,
      "{ 'multifd-compression': 'zstd', 'multifd-zstd-level': 2 }",
      .check = check_compressed, COMPRESSED },
    { "multifd/zlib/zero-page/legacy", WIRE_TCP, MULTIFD,
      "{ 'multifd-compression': 'zlib', 'zero-page-detection': 'legacy',"
      " 'multifd-channels': 4 }", .check = check_compressed, COMPRESSED,
      .any_memory = true },
    { "multifd/zstd/zero-page/none", WIRE_TCP, MULTIFD,
      "{ 'multifd-compression': 'zstd', 'zero-page-detection': 'none',"
      " 'multifd-channels': 1 }",
      .check = check_compressed, COMPRESSED },
    { "multifd/zero-copy", WIRE_TCP, CAPABILITIES("multifd", "zero-copy-send"),
      "{ 'multifd-channels': 2 }", .check = check_multifd,
      .possible = zero_copy_possible },
    { "multifd/return-path/switchover-ack", WIRE_UNIX,
      CAPABILITIES("multifd", "return-path", "switchover-ack"),
      .check = check_multifd, .any_memory = true },
    { "multifd/pause-before-switchover", WIRE_TCP,
      CAPABILITIES("multifd", "pause-before-switchover"),
      .check = check_multifd, .any_memory = true },

    { "zero-page/none", WIRE_UNIX, NULL, "{ 'zero-page-detection': 'none' }" },
    { "zero-page/legacy", WIRE_UNIX, NULL,
      "{ 'zero-page-detection': 'legacy' }" },
    { "xbzrle", WIRE_UNIX, CAPABILITIES("xbzrle"),
      "{ 'xbzrle-cache-size': 33554432 }", .check = check_xbzrle,
      .rate = COMPRESSED_RATE, .alone = true },
    { "auto-converge", WIRE_UNIX, CAPABILITIES("auto-converge"),
      "{ 'throttle-trigger-threshold': 1, 'cpu-throttle-initial': 10,"
      " 'cpu-throttle-increment': 5, 'cpu-throttle-tailslow': true,"
      " 'max-cpu-throttle': 50 }", .during = wait_throttle,
      .rate = THROTTLED_RATE, .any_memory = true },
    { "events", WIRE_UNIX, CAPABILITIES("events"), .check = check_events,
      .any_memory = true },
    { "return-path", WIRE_TCP, CAPABILITIES("return-path"),
      .any_memory = true },
    { "switchover-ack", WIRE_UNIX,
      CAPABILITIES("return-path", "switchover-ack"), .any_memory = true },
    { "pause-before-switchover", WIRE_UNIX,
      CAPABILITIES("pause-before-switchover"), .any_memory = true },
    { "late-block-activate", WIRE_UNIX, CAPABILITIES("late-block-activate"),
      .any_memory = true },
    { "validate-uuid", WIRE_UNIX, CAPABILITIES("validate-uuid"),
      .args = "-uuid 5a1d3b6e-2f0c-4a87-9e55-0c6d1f7b8a90",
      .any_memory = true },
    { "release-ram", WIRE_UNIX, CAPABILITIES("release-ram"),
      .any_memory = true },
    { "zero-blocks", WIRE_UNIX, CAPABILITIES("zero-blocks"),
      .any_memory = true },
    { "dirty-bitmaps", WIRE_UNIX, CAPABILITIES("dirty-bitmaps"),
      "{ 'block-bitmap-mapping': [ { 'node-name': 'disk0', 'alias': 'd',"
      " 'bitmaps': [ { 'name': 'bitmap0', 'alias': 'b' } ] } ] }",
      "-blockdev null-co,node-name=disk0,size=1048576,read-zeroes=on",
      .prepare = add_bitmap, .check = check_bitmap,
      .any_memory = true },
    { "announce", WIRE_UNIX, NULL,
      "{ 'announce-initial': 1, 'announce-max': 5, 'announce-rounds': 2,"
      " 'announce-step': 1, 'mode': 'normal' }",
      .any_memory = true },
    { "all-together", WIRE_TCP,
      CAPABILITIES("multifd", "events", "return-path", "switchover-ack",
                   "pause-before-switchover", "validate-uuid",
                   "late-block-activate", "release-ram"),
      "{ 'multifd-compression': 'zstd' }",
      .check = check_compressed, COMPRESSED },
};

/* ---- What QEMU refuses, with our capabilities as without ---- */

typedef struct Refused {
    const char *name;
    const char *first[3];       /* set before */
    const char *capability;     /* what is refused then, or NULL */
    const char *uri;            /* where to it cannot migrate, or NULL */
    const char *why;            /* part of the message */
    bool host;                  /* the host may not have it */
} Refused;

#define OURS { "skip-balloon", "skip-unpopulated" }
#define NOT_WITH(ours, others) \
    "Capability '" ours "' cannot be used together with capabilit" others

static const Refused refused[] = {
    { "dirty-limit", OURS, "dirty-limit", .why = "requires KVM" },
    { "switchover-ack", OURS, "switchover-ack", .why = "'return-path'" },
    { "zero-copy-send", OURS, "zero-copy-send", .why = "multifd" },
    { "x-colo", OURS, "x-colo", .why = "" },
    /* Not where QEMU was built without it */
    { "x-colo/before", { "x-colo" }, "skip-unpopulated", .why = "x-colo" },
    { "rdma-pin-all", { "skip-unpopulated" }, "rdma-pin-all",
      .why = NOT_WITH("skip-unpopulated", "y 'rdma-pin-all'") },
    { "rdma-pin-all/before", { "rdma-pin-all" }, "skip-unpopulated",
      .why = NOT_WITH("skip-unpopulated", "y 'rdma-pin-all'") },
    { "rdma-pin-all/balloon", { "skip-balloon" }, "rdma-pin-all",
      .why = NOT_WITH("skip-balloon", "y 'rdma-pin-all'") },
    { "rdma-pin-all/balloon-before", { "rdma-pin-all" }, "skip-balloon",
      .why = NOT_WITH("skip-balloon", "y 'rdma-pin-all'") },
    { "background-snapshot", { "skip-balloon", "mapped-ram" },
      "background-snapshot", .host = true,
      .why = NOT_WITH("skip-balloon",
                      "ies 'background-snapshot' and 'mapped-ram'") },
    /* More than one channel needs somewhere to connect to. */
    { "multifd-exec", { "skip-balloon", "multifd" }, NULL, "exec:true",
      "multi-channel" },
    { "multifd-file", { "skip-balloon", "multifd" }, NULL, "file:/dev/null",
      "multi-channel" },
};

/* Returns false, having skipped the test, if there is no such capability. */
static bool may_be_set(BGuest *g, const char *capability)
{
    g_autofree char *why = bg_try_capability(g, capability);

    if (why) {
        g_test_skip(why);
    }
    return !why;
}

static void test_refused(const void *opaque)
{
    const Refused *r = opaque;
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);
    g_autofree char *error = NULL;
    bool possible = !r->host || may_be_set(g, r->capability);
    int i;

    if (r->host && possible) {
        bg_set_capability(g, r->capability, false);
    }
    for (i = 0; r->first[i] && possible; i++) {
        possible = may_be_set(g, r->first[i]);
    }
    if (possible) {
        error = r->capability
            ? bg_try_capability(g, r->capability)
            : bg_qmp_error(qtest_qmp(g->qts, "{ 'execute': 'migrate',"
                                     " 'arguments': { 'uri': %s } }", r->uri));
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(error, r->why));
    }
    bg_quit(g);
}

int main(int argc, char **argv)
{
    int ret, i;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    bp_init();
    transport_add_cases("skip-transport", cases, ARRAY_SIZE(cases));
    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        bg_add_test(&refused[i], test_refused, "/skip-transport/refused/%s",
                    refused[i].name);
    }
    ret = g_test_run();
    bp_cleanup();
    return ret;
}
