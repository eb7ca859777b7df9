/*
 * Two guests for tests of migration: one runs, and moves to the other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qemu/units.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "balloon-pair.h"
#include "standard-headers/linux/virtio_balloon.h"

#define PART_SIZE (128 * KiB)
#define RAM_SIZE (6 * MiB)
#define HANG_SECONDS 60
#define FD_NAME "wire"
#define FILE_OFFSET 12288

/* Bytes per second: nearly nothing leaves before this is lifted */
#define SLOW 1000

/* The same: a pass over what the guest writes to takes 0.16 s */
#define STEADY (4 * MiB)

#define FIRMWARE_SIZE (64 * KiB)
#define RESET_VECTOR (FIRMWARE_SIZE - 16)

/* One of the pages that it writes to */
#define COUNTER 0x7000

/*
 * A firmware that adds one to the first byte of each page below 640 KiB, and
 * then again, each time the timer ticks, 291 times a second: a guest that never
 * rests would keep a processor of the host busy.  So many pages, that QEMU's
 * limit of the bandwidth, which is kept by sleeping for the rest of 0.1 s,
 * makes it sleep in each pass: then the guest runs, and has written to
 * something when the pass is over.  None of them is ever zero, which would take
 * next to nothing to send.
 *
 * start:  lidtw %cs:idt
 *         movl $0x1b, %ecx ; movl $0xfee00100, %eax ; xorl %edx, %edx
 *         wrmsr                                   (no local APIC)
 *         movb $0x34, %al ; outb %al, $0x43
 *         xorw %ax, %ax ; outb %al, $0x40 ; movb $0x10, %al ; outb %al, $0x40
 * round:  sti ; hlt
 *         xorw %ax, %ax
 * page:   movw %ax, %ds ; incb 0 ; movb $1, 1
 *         addw $0x100, %ax ; cmpw $0xa000, %ax
 *         jb page
 *         jmp round
 * tick:   pushw %ax ; movb $0x20, %al ; outb %al, $0x20 ; popw %ax
 *         iretw
 * vector: .word tick, 0xf000
 * idt:    .word 3 ; .long 0xf0000 + vector
 */
static const uint8_t firmware[] = {
    0x2e, 0x0f, 0x01, 0x1e, 0x47, 0x00, 0x66, 0xb9, 0x1b, 0x00, 0x00, 0x00,
    0x66, 0xb8, 0x00, 0x01, 0xe0, 0xfe, 0x66, 0x31, 0xd2, 0x0f, 0x30, 0xb0,
    0x34, 0xe6, 0x43, 0x31, 0xc0, 0xe6, 0x40, 0xb0, 0x10, 0xe6, 0x40, 0xfb,
    0xf4, 0x31, 0xc0, 0x8e, 0xd8, 0xfe, 0x06, 0x00, 0x00, 0xc6, 0x06, 0x01,
    0x00, 0x01, 0x05, 0x00, 0x01, 0x3d, 0x00, 0xa0, 0x72, 0xed, 0xeb, 0xe7,
    0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf, 0x3c, 0x00, 0x00, 0xf0, 0x03,
    0x00, 0x43, 0x00, 0x0f, 0x00,
};

/* Where the processor begins: jmp start */
static const uint8_t reset_vector[] = { 0xe9, 0x0d, 0x00 };

static char *firmware_path;

void bp_init(void)
{
    g_autofree uint8_t *image = g_malloc0(FIRMWARE_SIZE);

    /* A huge page has memory that nobody asked for, and that was counted. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    memcpy(image, firmware, sizeof(firmware));
    memcpy(image + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    firmware_path = g_strdup_printf("%s/balloon-pair-%d.bin", g_get_tmp_dir(),
                                    getpid());
    g_assert_true(g_file_set_contents(firmware_path, (const char *)image,
                                      FIRMWARE_SIZE, NULL));
}

const char *bp_firmware(void)
{
    return firmware_path;
}

void bp_cleanup(void)
{
    unlink(firmware_path);
    g_clear_pointer(&firmware_path, g_free);
}

/* ---- The memory of the guest, in the order of its addresses ---- */

#define PART(n) (BG_RAM_START + (n) * PART_SIZE)

enum {
    KEPT,                       /* filled; written again and again */
    GIVEN_BACK_LATE,            /* filled; inflated after it was sent */
    GIVEN_BACK,                 /* inflated before, and left alone */
    GIVEN_BACK_TOO,
    TAKEN_BACK,                 /* inflated before, deflated, then written */
    TAKEN_BACK_UNUSED,          /* inflated before, deflated: zeroes */
    LIED_ABOUT,                 /* inflated before, written during it */
    LIED_ABOUT_EARLY,           /* inflated and written before */
    GIVEN_AND_TAKEN,            /* inflated after it was sent, deflated */
    GIVEN_AND_LIED_ABOUT,       /* inflated and written during it */
    BACK_AND_FORTH,             /* inflated before, deflated, inflated */
    NEVER_USED,
    NEVER_USED_TOO,
    FILLED,
    GIVEN_BACK_EARLY,           /* filled; inflated in the first pass */
    FIRST_USED,                 /* used for the first time during it */
};
G_STATIC_ASSERT(BG_RAM_START + (FIRST_USED + 1) * PART_SIZE == RAM_SIZE);

static void fill(BPair *p, int part, uint8_t seed)
{
    bm_fill(p->model, p->source, PART(part), PART_SIZE, seed);
}

static void inflate(BPair *p, int part)
{
    bm_inflate(p->model, p->source, PART(part), PART_SIZE);
}

static void deflate(BPair *p, int part)
{
    bm_deflate(p->model, p->source, PART(part), PART_SIZE);
}

static void prepare_memory(BPair *p)
{
    int part;

    for (part = KEPT; part <= GIVEN_BACK_EARLY; part++) {
        if (part != NEVER_USED && part != NEVER_USED_TOO) {
            fill(p, part, 1);
        }
    }
    inflate(p, GIVEN_BACK);
    inflate(p, GIVEN_BACK_TOO);
    inflate(p, TAKEN_BACK);
    inflate(p, TAKEN_BACK_UNUSED);
    inflate(p, LIED_ABOUT);
    inflate(p, LIED_ABOUT_EARLY);
    inflate(p, BACK_AND_FORTH);
    fill(p, LIED_ABOUT_EARLY, 2);
    p->given_back = 6 * PART_SIZE / BALLOON_PAGE;
}

/* Nearly nothing has been sent yet. */
static void use_memory_unsent(BPair *p)
{
    inflate(p, GIVEN_BACK_EARLY);
    fill(p, LIED_ABOUT, 3);
    fill(p, FIRST_USED, 3);
    deflate(p, BACK_AND_FORTH);
}

/* All has been sent at least once. */
static void use_memory_sent(BPair *p)
{
    fill(p, KEPT, 4);
    inflate(p, GIVEN_BACK_LATE);
    deflate(p, TAKEN_BACK);
    fill(p, TAKEN_BACK, 4);
    deflate(p, TAKEN_BACK_UNUSED);
    inflate(p, GIVEN_AND_TAKEN);
    inflate(p, GIVEN_AND_LIED_ABOUT);
    inflate(p, BACK_AND_FORTH);
}

/* And once more after that */
static void use_memory_again(BPair *p)
{
    deflate(p, GIVEN_AND_TAKEN);
    fill(p, GIVEN_AND_LIED_ABOUT, 5);
    fill(p, LIED_ABOUT, 5);
    bm_fill(p->model, p->source, PART(KEPT), PART_SIZE / 2, 5);
}

/* ---- Both guests ---- */

static bool has_capability(const BPair *p, const char *name)
{
    return p->options.capabilities &&
           g_strv_contains(p->options.capabilities, name);
}

static void set_capabilities(BPair *p, BGuest *g)
{
    const char *const *name = p->options.capabilities;

    for (; name && *name; name++) {
        bg_set_capability(g, *name, true);
    }
    bg_set_capability(g, "skip-balloon", p->options.skip & BP_BALLOON);
    bg_set_capability(g, "skip-unpopulated", p->options.skip & BP_UNPOPULATED);
}

void bp_set_parameters(BGuest *g, const char *json)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': %p }",
        qobject_from_json(json, &error_abort));
}

static BGuest *start(const BPair *p, const char *more_args)
{
    g_autofree char *args = g_strdup_printf(
        "-accel tcg -bios %s %s %s", firmware_path, more_args,
        p->options.args ?: "");
    BGOptions options = {
        .backend = p->options.backend,
        .ram_size = RAM_SIZE,
        .args = args,
    };
    BGuest *g = bg_start(&options);

    g->options.args = NULL;
    return g;
}

BPair *bp_start(const BPOptions *options)
{
    static int n;
    BPair *p = g_new0(BPair, 1);

    p->options = *options;
    p->path = g_strdup_printf("%s/balloon-pair-%d-%d", g_get_tmp_dir(),
                              getpid(), n++);
    p->source = start(p, "");
    p->dest = start(p, "-S -incoming defer");
    bg_driver_start(p->source, 1u << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    p->model = bm_new(p->source);
    prepare_memory(p);
    /* Compression and zero-copy exclude each other: parameters come first. */
    if (options->parameters) {
        bp_set_parameters(p->source, options->parameters);
        bp_set_parameters(p->dest, options->parameters);
    }
    set_capabilities(p, p->source);
    set_capabilities(p, p->dest);
    return p;
}

void bp_free(BPair *p)
{
    bg_quit(p->dest);
    bg_quit(p->source);
    bm_free(p->model);
    unlink(p->path);
    g_free(p->path);
    g_free(p);
}

/* ---- The wires ---- */

/* The URI that @g, at either end, is given */
static char *wire_uri(BPair *p, BGuest *g)
{
    bool incoming = g == p->dest;

    switch (p->options.wire) {
    case BP_UNIX:
        return g_strdup_printf("unix:%s", p->path);
    case BP_FD:
        return g_strdup("fd:" FD_NAME);
    case BP_EXEC:
        return g_strdup_printf(incoming ? "exec:cat %s" : "exec:cat > %s",
                               p->path);
    case BP_FILE:
        return g_strdup_printf("file:%s", p->path);
    case BP_FILE_OFFSET:
        return g_strdup_printf("file:%s,offset=%d", p->path, FILE_OFFSET);
    default:
        g_assert_not_reached();
    }
}

/* The address where the destination listens for TCP */
static char *tcp_uri(BPair *p)
{
    QDict *info = bg_query_migrate(p->dest);
    const QListEntry *first =
        qlist_first(qdict_get_qlist(info, "socket-address"));
    QDict *address = qobject_to(QDict, qlist_entry_obj(first));
    char *uri = g_strdup_printf("tcp:127.0.0.1:%s",
                                qdict_get_str(address, "port"));

    qobject_unref(info);
    return uri;
}

static void by_uri(BGuest *g, const char *command, const char *uri)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'uri': %s } }", command, uri);
}

static void by_channels(BPair *p, BGuest *g, const char *command)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': %s, 'arguments': { 'channels': [ {"
        " 'channel-type': 'main', 'addr': { 'transport': 'socket',"
        " 'type': 'unix', 'path': %s } } ] } }", command, p->path);
}

static void pass_fd(BGuest *g, int fd)
{
    qtest_qmp_fds_assert_success(
        g->qts, &fd, 1,
        "{ 'execute': 'getfd', 'arguments': { 'fdname': %s } }", FD_NAME);
    close(fd);
}

static void lay_wire(BPair *p)
{
    int fd[2];

    if (p->options.wire == BP_FD) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), ==, 0);
        pass_fd(p->source, fd[0]);
        pass_fd(p->dest, fd[1]);
    } else if (p->options.wire == BP_EXEC) {
        g_assert_cmpint(mkfifo(p->path, 0600), ==, 0);
    }
}

static bool is_file(const BPair *p)
{
    return p->options.wire == BP_FILE || p->options.wire == BP_FILE_OFFSET;
}

static void start_incoming(BPair *p)
{
    g_autofree char *uri = NULL;

    if (p->options.wire == BP_CHANNELS) {
        by_channels(p, p->dest, "migrate-incoming");
        return;
    }
    uri = p->options.wire == BP_TCP ? g_strdup("tcp:127.0.0.1:0")
                                    : wire_uri(p, p->dest);
    by_uri(p->dest, "migrate-incoming", uri);
}

static void start_outgoing(BPair *p)
{
    g_autofree char *uri = NULL;

    if (p->options.wire == BP_CHANNELS) {
        by_channels(p, p->source, "migrate");
        return;
    }
    uri = p->options.wire == BP_TCP ? tcp_uri(p) : wire_uri(p, p->source);
    by_uri(p->source, "migrate", uri);
}

/* ---- The migration ---- */

/* Wait until the dirty bitmap is synchronized once more. */
static void wait_another_pass(BPair *p)
{
    QDict *info = bg_query_migrate(p->source);
    int64_t n = qdict_get_int(qdict_get_qdict(info, "ram"),
                              "dirty-sync-count");

    qobject_unref(info);
    bg_migrate_wait_pass(p->source, n + 1);
}

void bp_wait_until_it_runs(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
    uint8_t before, now;

    bg_read(g, COUNTER, &before, 1);
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
        bg_read(g, COUNTER, &now, 1);
    } while (now == before);
}

static void set_bandwidth(BPair *p, uint64_t bytes)
{
    g_autofree char *json = g_strdup_printf("{ 'max-bandwidth': %" PRIu64 " }",
                                            bytes);

    bp_set_parameters(p->source, json);
}

void bp_migrate(BPair *p)
{
    lay_wire(p);
    bp_wait_until_it_runs(p->source);
    bp_set_parameters(p->source, BP_HELD);
    set_bandwidth(p, SLOW);
    if (!is_file(p)) {
        start_incoming(p);
    }
    start_outgoing(p);
    bg_migrate_wait_pass(p->source, 1);
    use_memory_unsent(p);
    set_bandwidth(p, p->options.first_rate ?: STEADY);
    bg_migrate_wait_pass(p->source, 2);
    set_bandwidth(p, p->options.rate ?: STEADY);
    use_memory_sent(p);
    wait_another_pass(p);
    use_memory_again(p);
}

void bp_finish(BPair *p)
{
    /* A guest that has not come to write has not held it. */
    bg_wait_status(p->source, "active", HANG_SECONDS);
    bp_set_parameters(p->source, BP_RELEASED);
    if (has_capability(p, "pause-before-switchover")) {
        bg_wait_status(p->source, "pre-switchover", HANG_SECONDS);
        qtest_qmp_assert_success(
            p->source->qts, "{ 'execute': 'migrate-continue',"
            " 'arguments': { 'state': 'pre-switchover' } }");
    }
    if (is_file(p)) {
        bg_migrate_wait(p->source, NULL);
        start_incoming(p);
    }
    bg_migrate_wait(p->source, p->dest);
    bm_migrated(p->model);
}

/* ---- What it has to come to ---- */

/*
 * Memory that was to be sent when it was given back.  What migration has handed
 * to a thread of multifd by then is read all the same, and reading populates
 * memory, with zeroes.  Nothing else is read.
 */
static void expect_read(BPair *p, bool expect)
{
    const uint64_t start = PART(GIVEN_BACK_EARLY) / BALLOON_PAGE;
    uint64_t i;

    for (i = start; i < start + PART_SIZE / BALLOON_PAGE; i++) {
        p->model->page[i].touched = expect && has_capability(p, "multifd");
    }
}

/* The host has nothing for what was given back. */
static void check_unpopulated(BPair *p, BGuest *g)
{
    g_autofree bool *populated = bg_populated(g, 0, RAM_SIZE);
    uint64_t i;

    for (i = 0; i < p->model->npages; i++) {
        const BMPage *page = &p->model->page[i];

        if (page->in_balloon && !page->touched && populated[i]) {
            g_error("page 0x%" PRIx64 " was given back, and is populated on "
                    "the %s", i * BALLOON_PAGE,
                    g == p->source ? "source" : "destination");
        }
    }
    if (p->options.skip & BP_UNPOPULATED) {
        for (i = PART(NEVER_USED) / BALLOON_PAGE;
             i < PART(FILLED) / BALLOON_PAGE; i++) {
            g_assert_false(populated[i]);
        }
    }
}

static uint64_t unpopulated_skipped(BPair *p)
{
    QDict *info = bg_query_migrate(p->source);
    QDict *skip = qdict_get_qdict(info, "skip-unpopulated");
    uint64_t n;

    g_assert_nonnull(skip);
    n = qdict_get_int(skip, "skipped-pages");
    qobject_unref(info);
    return n;
}

static void check_counts(BPair *p)
{
    uint64_t never_used = 2 * PART_SIZE / BALLOON_PAGE;

    if (p->options.skip & BP_BALLOON) {
        g_assert_cmpint(bg_skip_stat(p->source, "skipped-pages"), >=,
                        p->given_back);
        g_assert_cmpint(bg_skip_stat(p->source, "vetoed-pages"), >,
                        PART_SIZE / BALLOON_PAGE);
        g_assert_cmpint(bg_skip_stat(p->source, "undecided-pages"), ==, 0);
    }
    if (p->options.skip & BP_UNPOPULATED) {
        g_assert_cmpint(unpopulated_skipped(p), >=,
                        p->options.skip & BP_BALLOON
                        ? never_used : never_used + p->given_back);
    }
}

static void use_destination(BPair *p)
{
    qtest_qmp_assert_success(p->dest->qts, "{ 'execute': 'cont' }");
    bp_wait_until_it_runs(p->dest);
    bm_deflate(p->model, p->dest, PART(GIVEN_BACK), PART_SIZE);
    bm_fill(p->model, p->dest, PART(GIVEN_BACK), PART_SIZE / 4, 6);
    bm_inflate(p->model, p->dest, PART(FILLED), PART_SIZE);
    bm_check(p->model, p->dest);
}

char *bp_test_path(const char *program, const char *name, BGBackend backend,
                   int skip)
{
    static const char *const skip_names[] = {
        [BP_BALLOON] = "balloon",
        [BP_UNPOPULATED] = "unpopulated",
        [BP_BOTH] = "both",
    };

    return g_strdup_printf("/%s/%s/%s/%s", program, name,
                           backend == BG_ANON ? "anon" : "memfd",
                           skip_names[skip]);
}

void bp_check(BPair *p)
{
    expect_read(p, true);
    check_unpopulated(p, p->source);
    bm_check(p->model, p->source);
    /* It is zero, and is sent as such, unless nobody looks. */
    expect_read(p, p->options.parameters &&
                   strstr(p->options.parameters, "'none'"));
    check_unpopulated(p, p->dest);
    bm_check(p->model, p->dest);
    bg_assert_same_map(p->source, p->dest);
    bg_assert_map_let_go(p->source, p->dest);
    bg_assert_same_memory(p->source, p->dest);
    check_counts(p);
    /* It has just read on both sides what either had. */
    expect_read(p, true);
    use_destination(p);
}
