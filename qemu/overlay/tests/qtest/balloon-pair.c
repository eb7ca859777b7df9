/*
 * Two guests for tests of migration, of which one moves to the other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "balloon-pair.h"

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

static char *firmware_path;

void bp_init(void)
{
    /* A huge page has memory that nobody asked for, and that was counted. */
    bg_allow_huge_pages(false);
    firmware_path = bg_write_firmware(firmware, sizeof(firmware));
}

void bp_cleanup(void)
{
    unlink(firmware_path);
    g_clear_pointer(&firmware_path, g_free);
}

/* ---- Waiting ---- */

bool bp_has_status(BGuest *g, const char *wanted)
{
    QDict *info = bg_query_migrate(g);
    const char *status = qdict_get_try_str(info, "status") ?: "none";
    bool ret = !strcmp(status, wanted);

    if (!ret && (!strcmp(status, "failed") || !strcmp(status, "completed"))) {
        g_error("migration is %s, not %s: %s", status, wanted,
                qdict_get_try_str(info, "error-desc") ?: "");
    }
    qobject_unref(info);
    return ret;
}

void bp_wait_status(BGuest *g, const char *status)
{
    BG_WAIT(bp_has_status(g, status));
}

static bool has_failed(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    const char *status = qdict_get_try_str(info, "status") ?: "none";
    bool failed = !strcmp(status, "failed");

    g_assert_cmpstr(status, !=, "completed");
    qobject_unref(info);
    return failed;
}

void bp_wait_failed(BGuest *g)
{
    BG_WAIT(has_failed(g));
}

void bp_wait_until_it_runs(BGuest *g)
{
    uint8_t before = bg_byte(g, COUNTER);

    BG_WAIT(bg_byte(g, COUNTER) != before);
}

int64_t bp_passes(BGuest *g)
{
    return bg_migrate_stat(g, "ram", "dirty-sync-count");
}

void bp_wait_passes(BGuest *g, int64_t n)
{
    bg_migrate_wait_pass(g, bp_passes(g) + n);
}

/* ---- Two guests ---- */

BGuest *bp_start_destination(const BGOptions *options, bool capable)
{
    BGuest like = { .options = *options };
    BGuest *dest = bg_start_incoming(&like);

    if (capable) {
        bg_set_capability(dest, CAPABILITY, true);
    }
    return dest;
}

BGuest *bp_start_running(const BGOptions *options, const char *more)
{
    g_autofree char *args = g_strdup_printf("-accel tcg -bios %s %s %s",
                                            firmware_path, more,
                                            options->args ?: "");
    BGOptions own = *options;
    BGuest *g;

    own.args = args;
    g = bg_start(&own);
    g->options.args = NULL;
    return g;
}

BGuest *bp_start_source(const BGOptions *options, bool runs)
{
    BGuest *g = runs ? bp_start_running(options, "") : bg_start(options);

    if (!options->no_device) {
        bg_driver_start(g, BG_MUST_TELL_HOST | BG_REPORTING);
    }
    return g;
}

BPair bp_start(const BGOptions *options, const BGOptions *dest_options,
               bool runs)
{
    BGOptions own = *(dest_options ?: options);
    g_autofree char *args = NULL;
    BPair p = {
        .source = bp_start_source(options, runs),
        .runs = runs,
    };

    if (runs) {
        args = g_strdup_printf("-accel tcg -bios %s -S %s", firmware_path,
                               own.args ?: "");
        own.args = args;
    }
    p.dest = bp_start_destination(&own, false);
    p.dest->options.args = NULL;
    return p;
}

void bp_end(BPair *p)
{
    if (p->dest) {
        bg_quit(p->dest);
    }
    if (p->source) {
        bg_quit(p->source);
    }
    bm_free(p->model);
}

void bp_set_capabilities(BGuest *g, int ours)
{
    bg_set_capability(g, "skip-balloon", ours & BP_BALLOON);
    bg_set_capability(g, "skip-unpopulated", ours & BP_UNPOPULATED);
}

void bp_set_bandwidth(BGuest *g, uint64_t bytes)
{
    g_autofree char *json = g_strdup_printf("{ 'max-bandwidth': %" PRIu64 " }",
                                            bytes);

    bg_set_parameters(g, json);
}

void bp_hold(BPair *p)
{
    if (p->runs) {
        bp_wait_until_it_runs(p->source);
        bg_set_parameters(p->source, BP_HELD);
    } else {
        bg_set_capability(p->source, "pause-before-switchover", true);
    }
}

void bp_begin(BPair *p, uint64_t bandwidth)
{
    bp_hold(p);
    if (p->runs) {
        bp_set_bandwidth(p->source, bandwidth);
    } else {
        bg_migrate_limit(p->source, bandwidth);
    }
    bg_migrate_start(p->source, p->dest);
}

void bp_finish(BPair *p)
{
    if (p->runs) {
        bg_set_parameters(p->source, BP_RELEASED);
        bg_migrate_wait(p->source, p->dest);
    } else {
        bg_migrate_limit(p->source, 0);
        bp_wait_status(p->source, "pre-switchover");
        bg_migrate_continue(p->source, p->dest);
        bg_set_capability(p->source, "pause-before-switchover", false);
    }
}

int64_t bp_skipped_pages(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    QDict *skip = qdict_get_qdict(info, CAPABILITY);
    int64_t pages;

    g_assert_nonnull(skip);
    pages = qdict_get_int(skip, "skipped-pages");
    g_assert_cmpint(qdict_get_int(skip, "skipped-bytes"), ==,
                    pages * bg_target_page());
    qobject_unref(info);
    return pages;
}

/* ---- Memory ---- */

void bp_fill_ballast(BGuest *g, uint64_t start, uint64_t size, uint8_t value)
{
    uint64_t at;

    for (at = start; at < start + size; at += MiB) {
        qtest_memset(g->qts, at, value, MiB);
    }
}

void bp_scatter(BGuest *g)
{
    uint64_t size = g->options.ram_size;
    uint64_t at;

    bg_fill(g, BG_RAM_START, 2 * MiB, 1);
    for (at = 8 * MiB; at < 10 * MiB; at += 2 * bg_target_page()) {
        bg_fill(g, at, BALLOON_PAGE, 2);
    }
    for (at = 16 * MiB; at < 32 * MiB; at += 4 * MiB) {
        bg_fill(g, at - BALLOON_PAGE, 2 * BALLOON_PAGE, 3);
    }
    bg_fill(g, 40 * MiB + BALLOON_PAGE, 8 * MiB, 4);
    /* Populated, and zero */
    qtest_memset(g->qts, 52 * MiB, 0, MiB / 4);
    bg_fill(g, size - BALLOON_PAGE, BALLOON_PAGE, 5);
}

bool bp_holds(BGuest *g, uint64_t start, uint64_t length, uint8_t seed)
{
    uint64_t at;

    /* To read what is not populated would populate it. */
    if (bg_count_populated(g, start, length) < length / BALLOON_PAGE) {
        return false;
    }
    for (at = start; at < start + length; at += BALLOON_PAGE) {
        uint8_t page[BALLOON_PAGE];
        uint8_t value = bg_fill_value(at, seed);

        bg_read(g, at, page, sizeof(page));
        if (page[0] != value || memcmp(page, page + 1, sizeof(page) - 1)) {
            return false;
        }
    }
    return true;
}

void bp_assert_same_content(BGuest *a, BGuest *b)
{
    g_autofree uint8_t *in_a = g_malloc(MiB);
    g_autofree uint8_t *in_b = g_malloc(MiB);
    uint64_t at, i;

    for (at = 0; at < a->options.ram_size; at += MiB) {
        bg_read(a, at, in_a, MiB);
        bg_read(b, at, in_b, MiB);
        for (i = 0; i < MiB && memcmp(in_a, in_b, MiB); i++) {
            if (in_a[i] != in_b[i]) {
                g_error("address 0x%" PRIx64 ": 0x%02x on the source, 0x%02x "
                        "on the destination", at + i, in_a[i], in_b[i]);
            }
        }
    }
}

bool *bp_populated_of(BGuest *g)
{
    return bg_populated(g, 0, g->options.ram_size);
}

/* Is any part of the target page populated that the @i-th page belongs to? */
static bool any_of_page(const bool *populated, uint64_t i)
{
    uint64_t per_page = bg_target_page() / BALLOON_PAGE;

    i -= i % per_page;
    return populated[i] || populated[i + per_page - 1];
}

uint64_t bp_count_unpopulated(const bool *populated, uint64_t size)
{
    uint64_t i, n = 0;

    for (i = 0; i < size / BALLOON_PAGE; i += bg_target_page() / BALLOON_PAGE) {
        n += !any_of_page(populated, i);
    }
    return n;
}

void bp_assert_populated_as_before(BGuest *g, const bool *before)
{
    g_autofree bool *after = bp_populated_of(g);
    uint64_t i;

    for (i = 0; i < g->options.ram_size / BALLOON_PAGE; i++) {
        if (after[i] && !any_of_page(before, i)) {
            g_error("address 0x%" PRIx64 " is populated in process %d, and was "
                    "not before on the source", i * BALLOON_PAGE,
                    (int)qtest_pid(g->qts));
        }
    }
}

/* ---- Cases ---- */

char *bp_test_path(const char *program, const char *name, BGBackend backend,
                   int ours)
{
    static const char *const names[] = {
        "", "/balloon", "/unpopulated", "/both",
    };

    return g_strdup_printf("/%s/%s/%s%s", program, name,
                           backend == BG_ANON ? "anon" : "memfd", names[ours]);
}

void bp_add_backend_tests(const char *program, const char *name,
                          GTestDataFunc func)
{
    int backend;

    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        g_autofree char *path = bp_test_path(program, name, backend, 0);

        qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
    }
}
