/*
 * Tests of what the stream says is zero: destinations that hold something from
 * before the migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"
#include "host-memory.h"
#include "skip-told.h"

/* What was there before */
#define OLD 'x'

/* The ROMs above that are not memory to write to. */
#define LOW_SIZE (640 * 1024)

/* Sent, and given back after that */
#define LATER_START (48 * MiB)
#define LATER_SIZE (2 * MiB)

/* Given back before, and used again after a pass has skipped it */
#define AGAIN_START (20 * MiB)
#define AGAIN_SIZE (1 * MiB)

/* What the machine puts there itself, of which half is given back */
#define LOADED_START (36 * MiB)
#define LOADED_SIZE (8 * MiB)

/* Nobody has written to this part of a template; the guest gives it back. */
#define HOLE_START (22 * MiB)
#define HOLE_SIZE (4 * MiB)

/* Every third page is used, so that words have many runs. */
#define SCATTERED_START (8 * MiB)
#define SCATTERED_SIZE (4 * MiB)

typedef enum Kind {
    USED,                       /* something was written to it */
    MAPPED,                     /* the same, and a file of mapped-ram */
    NAMED,                      /* a shared file on tmpfs */
    NAMED_ON_DISK,
    NAMED_PREALLOC,             /* populated, and to stay so */
    TEMPLATE,                   /* a private file, which stays as it is */
    TEMPLATE_ON_DISK,
    TEMPLATE_UNLINKED,          /* once it is in use: others may have it open */
    PREALLOC,                   /* populated, written to, and to stay so */
    LOCKED,                     /* the same: it cannot be discarded */
    LOADER,                     /* the machine puts something into it */
    KINDS,
} Kind;

typedef struct Case {
    Kind kind;
    BGBackend backend;
    int ours;
    bool multifd;
} Case;

/* Which backends and which of our capabilities make a difference */
enum {
    ANON = 1 << BG_ANON,
    MEMFD = 1 << BG_MEMFD,
    FILE_BACKED = 4,            /* backend is the source's alone */
    BOTH_ONLY = 8,
};

static const struct {
    const char *name;
    int flags;
    const char *args;           /* of the destination */
} kinds[KINDS] = {
    [USED] = { "used", ANON | MEMFD },
    [MAPPED] = { "mapped-ram", ANON | MEMFD | BOTH_ONLY },
    [NAMED] = { "named-file", ANON | FILE_BACKED },
    [NAMED_ON_DISK] = { "named-file-on-disk",
                        MEMFD | FILE_BACKED | BOTH_ONLY },
    [NAMED_PREALLOC] = { "named-file-prealloc",
                         MEMFD | FILE_BACKED | BOTH_ONLY, "-mem-prealloc" },
    [TEMPLATE] = { "template", ANON | FILE_BACKED },
    [TEMPLATE_ON_DISK] = { "template-on-disk", ANON | FILE_BACKED },
    [TEMPLATE_UNLINKED] = { "template-unlinked",
                            ANON | FILE_BACKED | BOTH_ONLY },
    [PREALLOC] = { "prealloc", ANON | MEMFD },
    [LOCKED] = { "locked", ANON | BOTH_ONLY, "-overcommit mem-lock=on" },
    [LOADER] = { "loader", ANON | MEMFD },
};

static bool has_file(const Case *c)
{
    return kinds[c->kind].flags & FILE_BACKED;
}

static bool is_template(const Case *c)
{
    return c->kind >= TEMPLATE && c->kind <= TEMPLATE_UNLINKED;
}

static bool is_on_disk(const Case *c)
{
    return c->kind == NAMED_ON_DISK || c->kind == TEMPLATE_ON_DISK;
}

static void set_capabilities(const Case *c, BGuest *g, bool ours)
{
    bg_set_capability(g, "multifd", c->multifd);
    bg_set_capability(g, "mapped-ram", c->kind == MAPPED);
    bp_set_capabilities(g, ours ? c->ours : 0);
}

/* The content of a template is what it was. */
static void check_template(int fd)
{
    g_autofree char *old = g_strnfill(RAM_SIZE, OLD);
    g_autofree char *content = g_malloc(RAM_SIZE);

    memset(old + HOLE_START, 0, HOLE_SIZE);
    g_assert_cmpint(pread(fd, content, RAM_SIZE, 0), ==, RAM_SIZE);
    g_assert_true(!memcmp(content, old, RAM_SIZE));
}

static BGuest *start_source(const Case *c, const char *loader)
{
    BGOptions options = { .backend = c->backend, .args = loader };
    BGuest *g = bp_start_source(&options, false);
    uint64_t at;

    g->options.args = NULL;
    bg_fill(g, BG_RAM_START, MiB, 1);
    bg_fill(g, 12 * MiB, 2 * MiB, 2);
    bg_request_range(g, BG_INFLATE, 12 * MiB, 16 * MiB);
    bg_request_range(g, BG_DEFLATE, 16 * MiB, 2 * MiB);
    bg_fill(g, 16 * MiB, MiB, 3);
    for (at = 0; at < SCATTERED_SIZE; at += 3 * BALLOON_PAGE) {
        bg_fill(g, SCATTERED_START + at, BALLOON_PAGE, 6);
    }
    /* Populated, and zero */
    qtest_memset(g->qts, 32 * MiB, 0, MiB);
    bg_request_range(g, BG_INFLATE, LOADED_START, LOADED_SIZE / 2);
    bg_fill(g, LATER_START, LATER_SIZE, 4);
    set_capabilities(c, g, true);
    return g;
}

/*
 * The migration's own capabilities have to be the same; ours need not, but for
 * a file.
 */
static BGuest *start_destination(const Case *c, const char *path,
                                 const char *loader)
{
    g_autofree char *file = g_strdup_printf(
        "%s%s", path, is_template(c) ? ",share=off" : "");
    g_autofree char *args = g_strdup_printf(
        "-incoming defer %s %s", loader ?: "", kinds[c->kind].args ?: "");
    g_autofree char *prealloc = g_strdup_printf(
        "-machine pc,memory-backend=ram0 -m 64M,slots=2,maxmem=2G "
        "-object memory-backend-%s,prealloc=on,id=ram0,size=64M",
        c->backend == BG_ANON ? "ram" : "memfd");
    BGOptions options = {
        .backend = c->backend,
        .ram_file = has_file(c) ? file : NULL,
        .machine_args = c->kind == PREALLOC ? prealloc : NULL,
        .args = args,
    };
    BGuest *g = bg_start(&options);

    g->options.args = g->options.ram_file = NULL;
    g->options.machine_args = NULL;
    if (!has_file(c) && c->kind != LOADER) {
        qtest_memset(g->qts, 0, OLD, LOW_SIZE);
        qtest_memset(g->qts, BG_RAM_START, OLD, RAM_SIZE - BG_RAM_START);
    }
    set_capabilities(c, g, c->kind == MAPPED);
    return g;
}

static void receive(BGuest *g, const char *uri)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming', 'arguments': { 'uri': %s } }",
        uri);
}

static void migrate(const Case *c, BPair *p)
{
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "stream");
    g_autofree char *uri = g_strdup_printf(
        "%s:%s", c->kind == MAPPED ? "file" : "unix", path);

    if (c->kind != MAPPED) {
        receive(p->dest, uri);
    }
    bp_hold(p);
    bg_migrate_limit(p->source, 0);
    bg_migrate_uri(p->source, uri);
    bp_wait_status(p->source, "pre-switchover");
    bg_request_range(p->source, BG_INFLATE, LATER_START, LATER_SIZE);
    bg_request_range(p->source, BG_DEFLATE, AGAIN_START, AGAIN_SIZE);
    bg_fill(p->source, AGAIN_START, AGAIN_SIZE, 5);
    if (c->kind == MAPPED) {
        BPair saved = { .source = p->source };

        bp_finish(&saved);
        receive(p->dest, uri);
        bg_migrate_wait(p->dest, NULL);
    } else {
        bp_finish(p);
    }
    unlink(path);
}

/* Who has a file as memory: that is what is populated. */
static uint64_t blocks_of(int fd)
{
    struct stat st;

    g_assert_cmpint(fsync(fd), ==, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    return st.st_blocks * UINT64_C(512) / BALLOON_PAGE;
}

/* @fd: of the file that is its memory; @blocks: of it before */
static void check_populated(const Case *c, BPair *p, int fd, uint64_t blocks)
{
    g_autofree bool *before = bp_populated_of(p->source);
    uint64_t unpopulated = bp_count_unpopulated(before, RAM_SIZE);
    uint64_t pages = RAM_SIZE / BALLOON_PAGE;
    uint64_t in_balloon = bg_map_pages(p->source, NULL);
    /* Nothing but what is in the balloon there is let go of. */
    uint64_t kept = pages - in_balloon;

    g_assert_cmpuint(unpopulated, >=, in_balloon);
    switch (c->kind) {
    case NAMED:
        g_assert_cmpuint(blocks_of(fd), <=, pages - unpopulated);
        break;
    case NAMED_ON_DISK:
        /* It may populate neighbours of what is written to. */
        g_assert_cmpuint(blocks_of(fd), <, pages);
        break;
    case NAMED_PREALLOC:
        g_assert_cmpuint(blocks_of(fd), >=, kept);
        break;
    case TEMPLATE:
    case TEMPLATE_ON_DISK:
    case TEMPLATE_UNLINKED:
        g_assert_cmpuint(blocks_of(fd), ==, blocks);
        break;
    case PREALLOC:
        g_assert_cmpuint(bg_count_populated(p->dest, 0, RAM_SIZE), >=, kept);
        break;
    case LOCKED:
        g_assert_cmpuint(bg_count_populated(p->dest, 0, RAM_SIZE), ==, pages);
        break;
    default:
        bp_assert_populated_as_before(p->dest, before);
    }
}

static void check_old_content(const Case *c, const char *path,
                              const char *loader)
{
    BPair p = { .dest = start_destination(c, path, loader) };
    int fd = has_file(c) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    uint64_t blocks = fd < 0 ? 0 : blocks_of(fd);

    if (c->kind == LOCKED && bg_count_populated(p.dest, 0, RAM_SIZE) !=
                             RAM_SIZE / BALLOON_PAGE) {
        g_test_skip("memory is not locked; AddressSanitizer prevents it");
        bp_end(&p);
        return;
    }
    if (c->kind == TEMPLATE_UNLINKED) {
        unlink(path);
    }
    p.source = start_source(c, loader);
    migrate(c, &p);
    /* To read all memory may populate some, so this comes first. */
    check_populated(c, &p, fd, blocks);
    rb_assert_same(p.source, p.dest);
    if (has_file(c)) {
        bp_assert_same_content(p.source, p.dest);
    }
    if (is_template(c)) {
        check_template(fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    bp_end(&p);
}

static void test_old_content(gconstpointer data)
{
    const Case *c = data;
    const char *dir = is_on_disk(c) ? g_get_tmp_dir() : hm_tmpfs_or_skip();
    g_autofree char *path = NULL;
    g_autofree char *loader = NULL;

    if (c->kind == LOCKED && geteuid()) {
        g_test_skip("only root may lock as much memory as it likes");
        return;
    }
    if (!dir) {
        return;
    }
    path = hm_temp_path(dir, "old");
    if (has_file(c)) {
        hm_make_file(path, RAM_SIZE, 0, is_template(c) ? HOLE_START : RAM_SIZE);
    }
    if (is_template(c)) {
        hm_make_file(path, RAM_SIZE, HOLE_START + HOLE_SIZE,
                     RAM_SIZE - HOLE_START - HOLE_SIZE);
    } else if (c->kind == LOADER) {
        hm_make_file(path, LOADED_SIZE, 0, LOADED_SIZE);
        loader = g_strdup_printf("-device loader,file=%s,force-raw=on,"
                                 "addr=0x%" PRIx64, path,
                                 (uint64_t)LOADED_START);
    }
    check_old_content(c, path, loader);
    unlink(path);
}

/* ---- All of them ---- */

static void add(Case c)
{
    g_autofree char *name = g_strdup_printf("old-content/%s%s",
                                            kinds[c.kind].name,
                                            c.multifd ? "/multifd" : "");
    g_autofree char *path = bp_test_path("skip-told", name, c.backend, c.ours);

    qtest_add_data_func_full(path, g_memdup2(&c, sizeof(c)), test_old_content,
                             g_free);
}

void told_add_old_content_tests(void)
{
    Case c = { };

    for (c.kind = 0; c.kind < KINDS; c.kind++) {
        int flags = kinds[c.kind].flags;

        for (c.backend = BG_ANON; c.backend <= BG_MEMFD; c.backend++) {
            if (!(flags & 1 << c.backend)) {
                continue;
            }
            c.multifd = false;
            c.ours = flags & BOTH_ONLY ? BP_BOTH : BP_BALLOON;
            for (; c.ours <= BP_BOTH; c.ours++) {
                add(c);
            }
            c.multifd = true;
            c.ours = BP_BOTH;
            add(c);
        }
    }
}
