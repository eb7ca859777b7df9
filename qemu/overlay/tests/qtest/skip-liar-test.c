/*
 * A guest that lies: it writes to memory in the balloon, without telling, all
 * the time
 *
 * Unlike in the other tests a virtual CPU does it, under TCG, so it writes at
 * any moment of a migration, up to the very last one.  It adds one to a byte
 * of each page of a range, page by page, round by round.  So whenever it is
 * stopped, all pages up to some place have to hold one number, and all others
 * that number less one.  A single lost write shows for ever.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "balloon-guest.h"

#define RAM_SIZE (96 * MiB)

/* The range; the firmware has these numbers */
#define RANGE_START (8 * MiB)
#define RANGE_END (72 * MiB)

/* Bytes per second: the guest lies sooner than that is over, wherever it is */
#define SLOW (64 * KiB)

/*
 * start:  cli
 *         lgdtl %cs:gdt_desc
 *         movl %cr0, %eax ; orb $1, %al ; movl %eax, %cr0
 *         ljmpl $8, $0xf0000 + flat
 * flat:   movw $0x10, %ax ; movw %ax, %ds                     (32 bit)
 * round:  movl $0x00800000, %ebx
 * page:   incb (%ebx) ; addl $0x1000, %ebx
 *         cmpl $0x04800000, %ebx ; jb page
 *         jmp round
 *         .align 8
 * gdt:    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
 * gdt_desc: .word 23 ; .long 0xf0000 + gdt
 */
static const uint8_t firmware[] = {
    0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x50, 0x00, 0x0f, 0x20, 0xc0, 0x0c,
    0x01, 0x0f, 0x22, 0xc0, 0x66, 0xea, 0x18, 0x00, 0x0f, 0x00, 0x08, 0x00,
    0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0xbb, 0x00, 0x00, 0x80, 0x00, 0xfe,
    0x03, 0x81, 0xc3, 0x00, 0x10, 0x00, 0x00, 0x81, 0xfb, 0x00, 0x00, 0x80,
    0x04, 0x72, 0xf0, 0xeb, 0xe9, 0x8d, 0x76, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00, 0x17, 0x00, 0x38, 0x00,
    0x0f, 0x00,
};

/* When the guest begins to lie */
typedef enum Moment {
    BEFORE,                     /* before the migration */
    DURING,                     /* while it is under way */
    /*
     * The same, and the main loop synchronizes the dirty bitmap while the
     * migration thread sends
     */
    CONVERGING,
    /* While it is under way; postcopy begins when the guest lies */
    POSTCOPY,
} Moment;

typedef struct Case {
    const char *name;
    BGBackend backend;
    Moment moment;
    const char *capabilities[4];
} Case;

#define B "skip-balloon"
#define U "skip-unpopulated"

static const Case cases[] = {
    { "balloon/anon/before", BG_ANON, BEFORE, { B } },
    { "balloon/anon/during", BG_ANON, DURING, { B } },
    { "balloon/memfd/before", BG_MEMFD, BEFORE, { B } },
    { "balloon/memfd/during", BG_MEMFD, DURING, { B } },
    { "unpopulated/anon/before", BG_ANON, BEFORE, { U } },
    { "unpopulated/memfd/during", BG_MEMFD, DURING, { U } },
    { "both/anon/during", BG_ANON, DURING, { B, U } },
    { "both/memfd/during", BG_MEMFD, DURING, { B, U } },
    { "both/memfd/multifd/during", BG_MEMFD, DURING, { B, U, "multifd" } },
    { "balloon/memfd/converging", BG_MEMFD, CONVERGING, { B } },
    { "both/anon/multifd/converging", BG_ANON, CONVERGING,
      { B, U, "multifd" } },
    { "balloon/anon/postcopy", BG_ANON, POSTCOPY, { B, "postcopy-ram" } },
    { "unpopulated/memfd/postcopy", BG_MEMFD, POSTCOPY,
      { U, "postcopy-ram" } },
    { "both/anon/postcopy", BG_ANON, POSTCOPY, { B, U, "postcopy-ram" } },
    { "both/memfd/postcopy", BG_MEMFD, POSTCOPY, { B, U, "postcopy-ram" } },
};

static void run_until_it_lies(BGuest *g)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    BG_WAIT(bg_byte(g, RANGE_END - BALLOON_PAGE));
}

/* The guest has said that it gave all of it back, and nothing else since. */
static void check_map(BGuest *g)
{
    g_assert_cmpuint(bg_map_pages(g, NULL), ==,
                     (RANGE_END - RANGE_START) / BALLOON_PAGE);
}

/* The guest must be stopped. */
static void check_no_write_was_lost(BGuest *g)
{
    uint8_t first = bg_byte(g, RANGE_START);
    uint8_t now = first;
    uint64_t addr;

    for (addr = RANGE_START; addr < RANGE_END; addr += BALLOON_PAGE) {
        uint8_t byte = bg_byte(g, addr);

        if (now == first && byte == (uint8_t)(first - 1)) {
            now = byte;
        }
        if (byte != now) {
            bg_fail(addr, "holds %u, not %u", byte, now);
        }
    }
}

static void lie_meanwhile(BGuest *source, BGuest *dest, Moment moment)
{
    bg_set_capability(source, "auto-converge", moment == CONVERGING);
    bg_migrate_begin(source, dest, SLOW);
    bg_migrate_wait_pass(source, 1);
    run_until_it_lies(source);
    bg_migrate_limit(source, 1 * MiB);
    if (moment == CONVERGING) {
        /* The second pass has a minute to send, so the third one is not its. */
        bg_migrate_wait_pass(source, 3);
    } else if (moment == POSTCOPY) {
        qtest_qmp_assert_success(
            source->qts, "{ 'execute': 'migrate-start-postcopy' }");
        qtest_qmp_eventwait(dest->qts, "RESUME");
    }
    bg_migrate_limit(source, 0);
}

static void test_liar(const void *opaque)
{
    const Case *c = opaque;
    g_autofree char *path = bg_write_firmware(firmware, sizeof(firmware));
    g_autofree char *args = g_strdup_printf("-accel tcg -S -bios %s", path);
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .capabilities = c->capabilities,
        .args = args,
    };
    BGuest *source = bg_start(&options), *dest;

    g_free(args);
    options.args = args = g_strdup_printf("-accel tcg -bios %s", path);
    dest = bg_start_dest(&options);
    bg_driver_start(source, BG_MUST_TELL_HOST);
    bg_request_range(source, BG_INFLATE, RANGE_START, RANGE_END - RANGE_START);
    check_map(source);

    if (c->moment == BEFORE) {
        run_until_it_lies(source);
        bg_migrate_begin(source, dest, 0);
    } else {
        lie_meanwhile(source, dest, c->moment);
    }
    bg_migrate_wait(source, dest);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'stop' }");
    check_no_write_was_lost(dest);
    check_map(dest);
    bg_quit(dest);
    bg_quit(source);
    unlink(path);
}

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    bg_allow_huge_pages(true);
    for (i = 0; i < ARRAY_SIZE(cases) && qtest_has_accel("tcg"); i++) {
        bg_add_test(&cases[i], test_liar, "/skip-liar/%s", cases[i].name);
    }
    return g_test_run();
}
