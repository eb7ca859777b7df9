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
#include "standard-headers/linux/virtio_balloon.h"

#define RAM_SIZE (96 * MiB)

/* The range; the firmware has these numbers */
#define RANGE_START (8 * MiB)
#define RANGE_END (72 * MiB)

#define FIRMWARE_SIZE (64 * KiB)
#define RESET_VECTOR (FIRMWARE_SIZE - 16)

/* Bytes per second: the guest lies sooner than that is over, wherever it is */
#define SLOW (64 * KiB)

/* A guest that does not come to lie has to end the test */
#define HANG_SECONDS 120

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

/* Where the processor begins: jmp start */
static const uint8_t reset_vector[] = { 0xe9, 0x0d, 0x00 };

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
    bool skip_balloon;
    bool skip_unpopulated;
    bool multifd;
    Moment moment;
} Case;

static const Case cases[] = {
    { "balloon/anon/before", BG_ANON, true, false, false, BEFORE },
    { "balloon/anon/during", BG_ANON, true, false, false, DURING },
    { "balloon/memfd/before", BG_MEMFD, true, false, false, BEFORE },
    { "balloon/memfd/during", BG_MEMFD, true, false, false, DURING },
    { "unpopulated/anon/before", BG_ANON, false, true, false, BEFORE },
    { "unpopulated/memfd/during", BG_MEMFD, false, true, false, DURING },
    { "both/anon/during", BG_ANON, true, true, false, DURING },
    { "both/memfd/before", BG_MEMFD, true, true, false, BEFORE },
    { "both/memfd/during", BG_MEMFD, true, true, false, DURING },
    { "both/memfd/multifd/during", BG_MEMFD, true, true, true, DURING },
    { "balloon/memfd/converging", BG_MEMFD, true, false, false, CONVERGING },
    { "both/anon/multifd/converging", BG_ANON, true, true, true, CONVERGING },
    { "balloon/anon/postcopy", BG_ANON, true, false, false, POSTCOPY },
    { "unpopulated/memfd/postcopy", BG_MEMFD, false, true, false, POSTCOPY },
    { "both/anon/postcopy", BG_ANON, true, true, false, POSTCOPY },
    { "both/memfd/postcopy", BG_MEMFD, true, true, false, POSTCOPY },
};

static char *firmware_path;

static void write_firmware(void)
{
    g_autofree uint8_t *image = g_malloc0(FIRMWARE_SIZE);

    memcpy(image, firmware, sizeof(firmware));
    memcpy(image + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    firmware_path = g_strdup_printf("%s/skip-liar-%d.bin", g_get_tmp_dir(),
                                    getpid());
    g_assert_true(g_file_set_contents(firmware_path, (const char *)image,
                                      FIRMWARE_SIZE, NULL));
}

static void set_capabilities(BGuest *g, const Case *c)
{
    bg_set_capability(g, "skip-balloon", c->skip_balloon);
    bg_set_capability(g, "skip-unpopulated", c->skip_unpopulated);
}

static uint8_t byte_at(BGuest *g, uint64_t addr)
{
    uint8_t byte;

    bg_read(g, addr, &byte, 1);
    return byte;
}

static void run(BGuest *g)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
}

static void wait_until_it_lies(BGuest *g)
{
    gint64 end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;

    while (!byte_at(g, RANGE_END - BALLOON_PAGE)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* The guest has said that it gave all of it back, and nothing else since. */
static void check_map(BGuest *g)
{
    g_assert_cmpuint(bg_map_pages(g, NULL), ==,
                     (RANGE_END - RANGE_START) / BALLOON_PAGE);
}

static BGuest *start_liar(const Case *c)
{
    static const char *const postcopy[] = { "postcopy-ram", NULL };
    g_autofree char *args = g_strdup_printf("-accel tcg -S -bios %s",
                                            firmware_path);
    BGOptions options = {
        .backend = c->backend,
        .ram_size = RAM_SIZE,
        .multifd = c->multifd,
        .capabilities = c->moment == POSTCOPY ? postcopy : NULL,
        .args = args,
    };
    BGuest *g = bg_start(&options);

    bg_driver_start(g, 1u << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, RANGE_START, RANGE_END - RANGE_START);
    check_map(g);
    return g;
}

static BGuest *start_liar_destination(BGuest *source)
{
    g_autofree char *args = g_strdup_printf("-accel tcg -bios %s",
                                            firmware_path);
    BGuest as = *source;

    as.options.args = args;
    return bg_start_incoming(&as);
}

/* The guest must be stopped. */
static void check_no_write_was_lost(BGuest *g)
{
    uint8_t first = byte_at(g, RANGE_START);
    uint8_t now = first;
    uint64_t addr;

    for (addr = RANGE_START; addr < RANGE_END; addr += BALLOON_PAGE) {
        uint8_t byte = byte_at(g, addr);

        if (now == first && byte == (uint8_t)(first - 1)) {
            now = byte;
        }
        if (byte != now) {
            g_test_message("page 0x%" PRIx64 " holds %u, not %u", addr, byte,
                           now);
            g_test_fail();
            return;
        }
    }
}

static void test_liar(const void *opaque)
{
    const Case *c = opaque;
    BGuest *source = start_liar(c);
    BGuest *dest = start_liar_destination(source);

    set_capabilities(source, c);
    set_capabilities(dest, c);
    if (c->moment == BEFORE) {
        run(source);
        wait_until_it_lies(source);
        bg_migrate_limit(source, 0);
        bg_migrate_start(source, dest);
    } else {
        /* It lies for the first time while this is under way. */
        bg_set_capability(source, "auto-converge", c->moment == CONVERGING);
        bg_migrate_limit(source, SLOW);
        bg_migrate_start(source, dest);
        bg_migrate_wait_pass(source, 1);
        run(source);
        wait_until_it_lies(source);
        bg_migrate_limit(source, 1 * MiB);
        if (c->moment == CONVERGING) {
            bg_migrate_wait_pass(source, 4);
        } else if (c->moment == POSTCOPY) {
            qtest_qmp_assert_success(
                source->qts, "{ 'execute': 'migrate-start-postcopy' }");
            qtest_qmp_eventwait(dest->qts, "RESUME");
        }
        bg_migrate_limit(source, 0);
    }
    bg_migrate_wait(source, dest);
    qtest_qmp_assert_success(dest->qts, "{ 'execute': 'stop' }");
    check_no_write_was_lost(dest);
    check_map(dest);
    bg_quit(dest);
    bg_quit(source);
}

int main(int argc, char **argv)
{
    int ret, i;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        g_test_message("there is no TCG");
        return g_test_run();
    }
    write_firmware();
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/skip-liar/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_liar);
    }
    ret = g_test_run();
    unlink(firmware_path);
    g_free(firmware_path);
    return ret;
}
