/*
 * Tests of what the stream says is zero: destinations that hold something from
 * before the migration, and files of mapped-ram
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-pair.h"
#include "host-memory.h"
#include "skip-told.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)

/* What was there before */
#define OLD 'x'

/* The ROMs above that are not memory to write to. */
#define LOW_SIZE (640 * 1024)

static void fill_with_old(BGuest *g)
{
    qtest_memset(g->qts, 0, OLD, LOW_SIZE);
    qtest_memset(g->qts, BG_RAM_START, OLD,
                 g->options.ram_size - BG_RAM_START);
}

static void listen_to(BGuest *g, const char *uri)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s } }", uri);
}

static void set_capabilities(BGuest *g, const char *const *capabilities)
{
    for (; capabilities && *capabilities; capabilities++) {
        bg_set_capability(g, *capabilities, true);
    }
}

/* ---- Files of mapped-ram ---- */

enum {
    SAVED,                      /* given back after it has been saved */
    SKIPPED,                    /* given back before, and used again later */
    GIVEN,                      /* given back before */
    NEVER_USED,
};

typedef struct MappedCase {
    const char *name;
    BGBackend backend;
    const char *const *capabilities;
} MappedCase;

static const char *const mapped[] = {
    "mapped-ram", "skip-balloon", "skip-unpopulated", NULL
};
static const char *const mapped_multifd[] = {
    "mapped-ram", "multifd", "skip-balloon", "skip-unpopulated", NULL
};

static const MappedCase mapped_cases[] = {
    { "anon", BG_ANON, mapped },
    { "memfd", BG_MEMFD, mapped },
    { "multifd/anon", BG_ANON, mapped_multifd },
    { "multifd/memfd", BG_MEMFD, mapped_multifd },
};

/* Returns the source, which has been saved. */
static BGuest *save(const MappedCase *c, const char *uri)
{
    g_autofree char *args = g_strdup_printf("-accel tcg -bios %s",
                                            bp_firmware());
    BGOptions options = { .backend = c->backend, .args = args };
    BGuest *g = bg_start(&options);

    g->options.args = NULL;
    bg_driver_start(g, MUST_TELL_HOST);
    set_capabilities(g, c->capabilities);
    bg_fill(g, TOLD_PART(SAVED), PART_SIZE, 1);
    bg_request_range(g, BG_INFLATE, TOLD_PART(SKIPPED), 2 * PART_SIZE);
    bp_wait_until_it_runs(g);
    bp_set_parameters(g, BP_HELD);
    told_set_bandwidth(g, TOLD_STEADY);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    bg_migrate_wait_pass(g, 2);

    bg_request_range(g, BG_DEFLATE, TOLD_PART(SKIPPED), PART_SIZE);
    bg_fill(g, TOLD_PART(SKIPPED), PART_SIZE, 2);
    bg_request_range(g, BG_INFLATE, TOLD_PART(SAVED), PART_SIZE);
    told_wait_passes(g, 1);
    bp_set_parameters(g, BP_RELEASED);
    bg_migrate_wait(g, NULL);
    return g;
}

static void test_mapped(gconstpointer data)
{
    const MappedCase *c = data;
    g_autofree char *path = hm_temp_path(g_get_tmp_dir(), "mapped");
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    BGuest *source = save(c, uri), *loaded;
    BGOptions options = {
        .backend = c->backend,
        .args = "-S -incoming defer",
    };

    loaded = bg_start(&options);
    fill_with_old(loaded);
    set_capabilities(loaded, c->capabilities);
    listen_to(loaded, uri);
    bg_migrate_wait(loaded, NULL);
    unlink(path);
    g_assert_cmpuint(bg_count_populated(loaded, TOLD_PART(SAVED), PART_SIZE),
                     ==, 0);
    g_assert_cmpuint(bg_count_populated(loaded, TOLD_PART(GIVEN),
                                        2 * PART_SIZE), ==, 0);
    g_assert_false(bg_is_zero(loaded, TOLD_PART(SKIPPED)));
    bg_assert_same_memory(source, loaded);
    bg_assert_same_map(source, loaded);
    bg_quit(loaded);
    bg_quit(source);
}

/* ---- Destinations that have been used ---- */

typedef enum Kind {
    USED,                       /* something was written to it */
    NAMED,                      /* a shared file */
    TEMPLATE,                   /* a private file */
    PREALLOC,                   /* populated, written to, and to stay so */
    LOADER,                     /* the machine puts something into it */
    KINDS,
} Kind;

typedef struct UsedCase {
    Kind kind;
    BGBackend backend;
    const char *capabilities[5];
} UsedCase;

static const char *const kind_names[] = {
    "used", "named-file", "template", "prealloc", "loader"
};

static void write_old_file(const char *path, uint64_t size)
{
    g_autofree char *old = g_strnfill(size, OLD);

    g_assert_true(g_file_set_contents(path, old, size, NULL));
}

static void assert_old_file(const char *path, uint64_t size)
{
    g_autofree char *content = NULL;
    gsize length, i;

    g_assert_true(g_file_get_contents(path, &content, &length, NULL));
    g_assert_cmpuint(length, ==, size);
    for (i = 0; i < length; i++) {
        if (content[i] != OLD) {
            g_error("the file has changed at 0x%zx", (size_t)i);
        }
    }
}

static const char *prealloc_machine(BGBackend backend)
{
    return backend == BG_ANON
        ? "-machine pc,memory-backend=ram0 -m 64M,slots=2,maxmem=2G "
          "-object memory-backend-ram,prealloc=on,id=ram0,size=64M"
        : "-machine pc,memory-backend=ram0 -m 64M,slots=2,maxmem=2G "
          "-object memory-backend-memfd,prealloc=on,id=ram0,size=64M";
}

#define LATER_START (48 * MiB)
#define LATER_SIZE (2 * MiB)
#define LOADED_START (36 * MiB)
#define LOADED_SIZE (8 * MiB)

static BGuest *start_used_source(const UsedCase *c, const char *loader)
{
    BGOptions options = { .backend = c->backend, .args = loader };
    BGuest *g = bg_start(&options);

    g->options.args = NULL;
    bg_driver_start(g, MUST_TELL_HOST);
    bg_fill(g, BG_RAM_START, 4 * MiB, 1);
    /* Given back, and used again in part */
    bg_fill(g, 12 * MiB, 16 * MiB, 2);
    bg_request_range(g, BG_INFLATE, 12 * MiB, 16 * MiB);
    bg_request_range(g, BG_DEFLATE, 16 * MiB, 2 * MiB);
    bg_fill(g, 16 * MiB, MiB, 3);
    /* Populated, and zero */
    qtest_memset(g->qts, 32 * MiB, 0, MiB);
    /* Of the machine's own, or never used */
    bg_request_range(g, BG_INFLATE, LOADED_START, LOADED_SIZE / 2);
    bg_fill(g, LATER_START, LATER_SIZE, 4);
    set_capabilities(g, c->capabilities);
    bg_set_capability(g, "pause-before-switchover", true);
    return g;
}

static bool has_capability(const UsedCase *c, const char *name)
{
    return g_strv_contains((const char *const *)c->capabilities, name);
}

/* The migration's own capabilities have to be the same; ours need not. */
static BGuest *start_used_destination(const UsedCase *c, const char *path,
                                      const char *loader, const char *uri)
{
    g_autofree char *file = g_strdup_printf("%s,share=off", path);
    g_autofree char *args = g_strdup_printf("-incoming defer %s",
                                            loader ?: "");
    BGOptions options = { .backend = c->backend, .args = args };
    BGuest *g;

    switch (c->kind) {
    case NAMED:
        options.ram_file = path;
        break;
    case TEMPLATE:
        options.ram_file = file;
        break;
    case PREALLOC:
        options.machine_args = prealloc_machine(c->backend);
        break;
    default:
        break;
    }
    g = bg_start(&options);
    g->options.args = g->options.ram_file = g->options.machine_args = NULL;
    if (c->kind == USED || c->kind == PREALLOC) {
        fill_with_old(g);
    }
    bg_set_capability(g, "multifd", has_capability(c, "multifd"));
    listen_to(g, uri);
    return g;
}

static void migrate_used(const UsedCase *c, BGuest *g, BGuest *dest,
                         const char *uri)
{
    bg_migrate_limit(g, 0);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    ug_wait_status(g, "pre-switchover");
    /* This one has been sent. */
    bg_request_range(g, BG_INFLATE, LATER_START, LATER_SIZE);
    ug_migrate_finish(g, dest);
}

/* Who has a file as memory: that is what is populated. */
static uint64_t blocks_of(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return st.st_blocks * UINT64_C(512) / BALLOON_PAGE;
}

static void check_populated(const UsedCase *c, BGuest *g, BGuest *dest,
                            const char *path)
{
    g_autofree bool *before = ug_populated_of(g);
    uint64_t size = g->options.ram_size;

    if (c->kind == NAMED) {
        g_assert_cmpuint(blocks_of(path), <=,
                         bg_count_populated(g, 0, size));
    } else if (c->kind != TEMPLATE && c->kind != PREALLOC) {
        g_autofree bool *there = ug_populated_of(dest);

        ug_assert_none_populated(before, there, size, "destination");
    }
}

static void run_used(const UsedCase *c, const char *path, const char *loader)
{
    g_autofree char *socket = hm_temp_path(g_get_tmp_dir(), "socket");
    g_autofree char *uri = g_strdup_printf("unix:%s", socket);
    BGuest *g = start_used_source(c, loader);
    BGuest *dest = start_used_destination(c, path, loader, uri);

    migrate_used(c, g, dest, uri);
    check_populated(c, g, dest, path);
    if (c->kind == TEMPLATE) {
        assert_old_file(path, RAM_SIZE);
    }
    ug_assert_same_content(g, dest);
    if (has_capability(c, "skip-balloon")) {
        bg_assert_same_map(g, dest);
    }
    bg_quit(dest);
    bg_quit(g);
    unlink(socket);
}

static void test_used(gconstpointer data)
{
    const UsedCase *c = data;
    const char *dir = hm_tmpfs_or_skip();
    g_autofree char *path = NULL;
    g_autofree char *loader = NULL;

    if (!dir) {
        return;
    }
    path = hm_temp_path(dir, "old");
    if (c->kind == NAMED || c->kind == TEMPLATE) {
        write_old_file(path, RAM_SIZE);
    } else if (c->kind == LOADER) {
        write_old_file(path, LOADED_SIZE);
        loader = g_strdup_printf("-device loader,file=%s,force-raw=on,"
                                 "addr=0x%" PRIx64, path,
                                 (uint64_t)LOADED_START);
    }
    run_used(c, path, loader);
    unlink(path);
}

/* ---- All of them ---- */

void told_add_file_tests(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(mapped_cases); i++) {
        g_autofree char *name = g_strdup_printf("/skip-told/mapped-ram/%s",
                                                mapped_cases[i].name);

        qtest_add_data_func(name, &mapped_cases[i], test_mapped);
    }
}

static void add_used(Kind kind, BGBackend backend, int ours, bool multifd)
{
    static const char *const names[] = { "", "balloon", "unpopulated", "both" };
    UsedCase *c = g_new0(UsedCase, 1);
    bool is_file = kind == NAMED || kind == TEMPLATE;
    g_autofree char *name = g_strdup_printf(
        "/skip-told/old-content/%s%s%s/%s", kind_names[kind],
        is_file ? "" : backend == BG_ANON ? "/anon" : "/memfd",
        multifd ? "/multifd" : "", names[ours]);
    int n = 0;

    c->kind = kind;
    c->backend = backend;
    if (ours & BP_BALLOON) {
        c->capabilities[n++] = "skip-balloon";
    }
    if (ours & BP_UNPOPULATED) {
        c->capabilities[n++] = "skip-unpopulated";
    }
    if (multifd) {
        c->capabilities[n++] = "multifd";
    }
    qtest_add_data_func_full(name, c, test_used, g_free);
}

void told_add_used_tests(void)
{
    Kind kind;
    int ours, multifd;

    for (kind = USED; kind < KINDS; kind++) {
        for (multifd = 0; multifd < 2; multifd++) {
            for (ours = BP_BALLOON; ours <= BP_BOTH; ours++) {
                add_used(kind, BG_ANON, ours, multifd);
                if (kind != NAMED && kind != TEMPLATE) {
                    add_used(kind, BG_MEMFD, ours, multifd);
                }
            }
        }
    }
}
