/*
 * The RAM blocks of a QEMU, seen from outside
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/vfs.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "ram-blocks.h"

#define HUGETLBFS_NUMBER 0x958458f6
#define CHUNK (UINT64_C(1) << 20)

/* ---- What is behind a RAM block ---- */

/* Open the file that is mapped, by what /proc/PID/maps tells of it. */
static int open_mapped(BGuest *g, const char *target, uint64_t inode)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd",
                                           (int)qtest_pid(g->qts));
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    int fd = -1;

    g_assert_nonnull(d);
    while (fd < 0 && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *link = g_file_read_link(path, NULL);
        struct stat st;

        if (link && !strcmp(link, target) && !stat(path, &st) &&
            st.st_ino == inode) {
            fd = open(path, O_RDONLY);
        }
    }
    g_dir_close(d);
    return fd;
}

/* Find the mapping that a RAM block begins in, and the file behind it. */
static void find_mapping(BGuest *g, RamBlock *block)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps",
                                            (int)qtest_pid(g->qts));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    struct statfs fs;
    int i;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        uint64_t start, end, offset, inode;
        char access[5];
        int name = 0;

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %"
                   SCNu64 " %n", &start, &end, access, &offset, &inode,
                   &name) < 5 || block->hva < start || block->hva >= end) {
            continue;
        }
        block->shared = access[3] == 's';
        if (inode) {
            block->fd = open_mapped(g, lines[i] + name, inode);
            block->fd_offset = offset + block->hva - start;
        }
        /* hugetlbfs does not tell holes. */
        block->of_file = block->fd >= 0 && !fstatfs(block->fd, &fs) &&
                         (uint32_t)fs.f_type != HUGETLBFS_NUMBER;
        return;
    }
    g_error("RAM block %s is mapped nowhere", block->id);
}

GArray *rb_list(BGuest *g)
{
    GArray *blocks = g_array_new(false, true, sizeof(RamBlock));
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-ramblock' }");
    g_auto(GStrv) lines = g_strsplit(
        qdict_get_str(rsp, "human-readable-text"), "\n", -1);
    int i;

    for (i = 0; lines[i]; i++) {
        RamBlock block = { .fd = -1 };
        uint64_t offset, total;
        char unit[4];

        if (sscanf(lines[i], " %255s %" SCNu64 " %3s 0x%" SCNx64 " 0x%" SCNx64
                   " 0x%" SCNx64 " 0x%" SCNx64, block.id, &block.page_size,
                   unit, &offset, &block.size, &total, &block.hva) == 7) {
            block.page_size <<= unit[0] == 'K' ? 10 : unit[0] == 'M' ? 20 : 30;
            find_mapping(g, &block);
            g_array_append_val(blocks, block);
        }
    }
    qobject_unref(rsp);
    g_assert_cmpuint(blocks->len, >, 0);
    return blocks;
}

void rb_free(GArray *blocks)
{
    unsigned int i;

    for (i = 0; i < blocks->len; i++) {
        RamBlock *block = &g_array_index(blocks, RamBlock, i);

        if (block->fd >= 0) {
            close(block->fd);
        }
    }
    g_array_unref(blocks);
}

static RamBlock *find(GArray *blocks, const char *id)
{
    unsigned int i;

    for (i = 0; i < blocks->len; i++) {
        RamBlock *block = &g_array_index(blocks, RamBlock, i);

        if (!strcmp(block->id, id)) {
            return block;
        }
    }
    return NULL;
}

RamBlock *rb_find(GArray *blocks, const char *id)
{
    RamBlock *block = find(blocks, id);

    if (!block) {
        g_error("there is no RAM block %s", id);
    }
    return block;
}

bool rb_exists(BGuest *g, const char *id)
{
    GArray *blocks = rb_list(g);
    bool exists = find(blocks, id);

    rb_free(blocks);
    return exists;
}

/* ---- Populated ---- */

static void look_at_file(const RamBlock *block, bool *populated)
{
    off_t base = block->fd_offset, end = base + block->size;
    off_t data = base;

    while ((data = lseek(block->fd, data, SEEK_DATA)) >= 0 && data < end) {
        off_t hole = MIN(lseek(block->fd, data, SEEK_HOLE), end);

        memset(populated + (data - base) / BALLOON_PAGE, 1,
               DIV_ROUND_UP(hole - data, BALLOON_PAGE));
        data = hole;
    }
}

bool *rb_populated(BGuest *g, const RamBlock *block)
{
    BGuest view = *g;
    bool *populated;

    /* As private memory, for the page tables to be asked */
    view.hva = block->hva;
    view.options.backend = BG_ANON;
    if (block->of_file && block->shared) {
        populated = g_new0(bool, block->size / BALLOON_PAGE);
    } else {
        populated = bg_populated(&view, 0, block->size);
    }
    if (block->of_file) {
        look_at_file(block, populated);
    }
    return populated;
}

uint64_t rb_count_populated(BGuest *g, const char *id, uint64_t start,
                            uint64_t length)
{
    GArray *blocks = rb_list(g);
    g_autofree bool *populated = rb_populated(g, rb_find(blocks, id));
    uint64_t i, n = 0;

    for (i = 0; i < length / BALLOON_PAGE; i++) {
        n += populated[start / BALLOON_PAGE + i];
    }
    rb_free(blocks);
    return n;
}

/* ---- Content ---- */

void rb_read(BGuest *g, const RamBlock *block, uint64_t offset, void *buf,
             size_t size)
{
    g_assert_cmpint(pread(g->mem_fd, buf, size, block->hva + offset), ==,
                    size);
}

typedef struct Comparison {
    BGuest *a;
    BGuest *b;
    const RamBlock *in_a;
    const RamBlock *in_b;
    uint64_t unequal_start;
    uint64_t unequal_end;
} Comparison;

static void compare_page(const Comparison *c, uint64_t offset,
                         const uint8_t *page_a, const uint8_t *page_b)
{
    if (memcmp(page_a, page_b, BALLOON_PAGE) &&
        (offset < c->unequal_start || offset >= c->unequal_end)) {
        g_error("%s: page 0x%" PRIx64 " differs: %02x... on the source, "
                "%02x... on the destination", c->in_a->id, offset, page_a[0],
                page_b[0]);
    }
}

/* What is not populated is zero, and not read, for that might populate it. */
static void read_run(BGuest *g, const RamBlock *block, bool populated,
                     uint64_t offset, uint8_t *buf, size_t size)
{
    if (populated) {
        rb_read(g, block, offset, buf, size);
    } else {
        memset(buf, 0, size);
    }
}

/* Compare the run at page @i that is populated alike, and return its end. */
static uint64_t compare_run(const Comparison *c, uint64_t i,
                            const bool *populated_a, const bool *populated_b)
{
    uint64_t end = MIN(i + CHUNK / BALLOON_PAGE, c->in_a->size / BALLOON_PAGE);
    uint64_t start = i;
    g_autofree uint8_t *buf_a = NULL;
    g_autofree uint8_t *buf_b = NULL;

    while (i < end && populated_a[i] == populated_a[start] &&
           populated_b[i] == populated_b[start]) {
        i++;
    }
    if (!populated_a[start] && !populated_b[start]) {
        return i;
    }
    end = i;
    buf_a = g_malloc(CHUNK);
    buf_b = g_malloc(CHUNK);
    read_run(c->a, c->in_a, populated_a[start], start * BALLOON_PAGE, buf_a,
             (end - start) * BALLOON_PAGE);
    read_run(c->b, c->in_b, populated_b[start], start * BALLOON_PAGE, buf_b,
             (end - start) * BALLOON_PAGE);
    for (i = start; i < end; i++) {
        compare_page(c, i * BALLOON_PAGE, buf_a + (i - start) * BALLOON_PAGE,
                     buf_b + (i - start) * BALLOON_PAGE);
    }
    return end;
}

static void compare_block(const Comparison *c)
{
    g_autofree bool *populated_a = rb_populated(c->a, c->in_a);
    g_autofree bool *populated_b = rb_populated(c->b, c->in_b);
    uint64_t i = 0;

    while (i < c->in_a->size / BALLOON_PAGE) {
        i = compare_run(c, i, populated_a, populated_b);
    }
}

void rb_assert_same_memory(BGuest *a, BGuest *b, const char *unequal_id,
                           uint64_t start, uint64_t length)
{
    GArray *in_a = rb_list(a);
    GArray *in_b = rb_list(b);
    unsigned int i;

    g_assert_cmpuint(in_a->len, ==, in_b->len);
    for (i = 0; i < in_a->len; i++) {
        RamBlock *block = &g_array_index(in_a, RamBlock, i);
        Comparison c = {
            .a = a,
            .b = b,
            .in_a = block,
            .in_b = rb_find(in_b, block->id),
        };

        if (unequal_id && !strcmp(block->id, unequal_id)) {
            c.unequal_start = start;
            c.unequal_end = start + length;
        }
        g_assert_cmphex(c.in_a->size, ==, c.in_b->size);
        compare_block(&c);
    }
    rb_free(in_a);
    rb_free(in_b);
}

/* ---- The balloon map ---- */

typedef void RunFunc(const char *id, uint64_t start, uint64_t length,
                     void *opaque);

static void for_each_run(BGuest *g, RunFunc *func, void *opaque)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'max-runs': 65536 } }");
    QListEntry *block, *run;

    g_assert(qdict_haskey(rsp, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), block) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(block));

        g_assert_false(qdict_haskey(info, "next-offset"));
        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "runs"), run) {
            QDict *value = qobject_to(QDict, qlist_entry_obj(run));

            func(qdict_get_str(info, "id"), qdict_get_int(value, "offset"),
                 qdict_get_int(value, "length"), opaque);
        }
    }
    qobject_unref(rsp);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_line(const char *id, uint64_t start, uint64_t length,
                     void *opaque)
{
    g_ptr_array_add(opaque, g_strdup_printf("%s 0x%010" PRIx64 "+0x%" PRIx64
                                            "\n", id, start, length));
}

char *rb_map(BGuest *g)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    char *text;

    for_each_run(g, add_line, lines);
    g_ptr_array_sort(lines, compare_lines);
    g_ptr_array_add(lines, NULL);
    text = g_strjoinv("", (char **)lines->pdata);
    g_ptr_array_unref(lines);
    return text;
}

typedef struct BlockPages {
    const char *id;
    /* Where it has come from; NULL: only count */
    const bool *populated_before;
    const bool *populated;
    uint64_t pages;
    /* Count units of which anything is populated, instead of checking */
    uint64_t unit_pages;
    uint64_t pages_populated;
} BlockPages;

/* Was anything of the page of the target populated that @page lies in? */
static bool was_populated(const BlockPages *block, uint64_t page)
{
    uint64_t unit = bg_target_page() / BALLOON_PAGE;
    uint64_t i;

    for (i = 0; i < unit; i++) {
        if (block->populated_before[QEMU_ALIGN_DOWN(page, unit) + i]) {
            return true;
        }
    }
    return false;
}

static void check_page(const BlockPages *block, uint64_t page)
{
    if (block->populated[page] && !was_populated(block, page)) {
        g_error("%s: page 0x%" PRIx64 " is in the balloon, and populated",
                block->id, page * BALLOON_PAGE);
    }
}

static void count_unit(BlockPages *block, uint64_t page)
{
    uint64_t i;

    for (i = 0; i < block->unit_pages; i++) {
        if (block->populated[page + i]) {
            block->pages_populated += block->unit_pages;
            return;
        }
    }
}

static void add_run(const char *id, uint64_t start, uint64_t length,
                    void *opaque)
{
    BlockPages *block = opaque;
    uint64_t first = start / BALLOON_PAGE, end = first + length / BALLOON_PAGE;
    uint64_t page;

    if (strcmp(id, block->id)) {
        return;
    }
    block->pages += length / BALLOON_PAGE;
    for (page = first; block->populated_before && page < end; page++) {
        check_page(block, page);
    }
    for (page = first; block->unit_pages && page < end;
         page += block->unit_pages) {
        count_unit(block, page);
    }
}

static bool *populated_of(BGuest *g, const char *id)
{
    GArray *blocks = rb_list(g);
    bool *populated = rb_populated(g, rb_find(blocks, id));

    rb_free(blocks);
    return populated;
}

void rb_assert_map_let_go(BGuest *g, BGuest *dest, const char *id)
{
    g_autofree bool *before = populated_of(g, id);
    g_autofree bool *populated = populated_of(dest, id);
    BlockPages block = {
        .id = id,
        .populated_before = before,
        .populated = populated,
    };

    for_each_run(dest, add_run, &block);
}

uint64_t rb_count_map_populated(BGuest *g, const char *id, uint64_t unit)
{
    g_autofree bool *populated = populated_of(g, id);
    BlockPages block = {
        .id = id,
        .populated = populated,
        .unit_pages = unit / BALLOON_PAGE,
    };

    for_each_run(g, add_run, &block);
    return block.pages_populated;
}

uint64_t rb_map_pages(BGuest *g, const char *id)
{
    BlockPages block = { .id = id };

    for_each_run(g, add_run, &block);
    return block.pages;
}
