/*
 * Tests of the balloon map and of migration capability skip-balloon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "balloon-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define MiB (UINT64_C(1) << 20)

/* The part of the memory that most tests put into the balloon */
#define BALLOON_START (16 * MiB)
#define BALLOON_LENGTH (32 * MiB)
#define BALLOON_PAGES (BALLOON_LENGTH / BALLOON_PAGE)

#define PFN(addr) ((uint32_t)((addr) / BALLOON_PAGE))

static const char *backend_names[] = {
    [BG_ANON] = "anon",
    [BG_MEMFD] = "memfd",
    [BG_PRIVATE_MEMFD] = "private-memfd",
};

static BGuest *start_driven(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    if (!options->no_device) {
        bg_driver_start(g, MUST_TELL_HOST);
    }
    return g;
}

/* A guest that used all its memory, and gave back the balloon part */
static BGuest *start_ballooned(const BGOptions *options)
{
    BGuest *g = start_driven(options);

    bg_fill(g, BG_RAM_START, g->options.ram_size - BG_RAM_START, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    return g;
}

/* ---- The map ---- */

static void test_inflate(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_driven(&options);
    uint64_t runs;

    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 0);
    bg_fill(g, BALLOON_START, BALLOON_LENGTH, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, BALLOON_PAGES);
    g_assert_cmpuint(runs, ==, 1);
    g_assert_cmpuint(bg_count_populated(g, BALLOON_START, BALLOON_LENGTH),
                     ==, 0);

    /* A hole, then its first page back */
    bg_request_range(g, BG_DEFLATE, BALLOON_START + MiB, MiB);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, BALLOON_PAGES - 256);
    g_assert_cmpuint(runs, ==, 2);
    bg_request_range(g, BG_INFLATE, BALLOON_START + MiB, BALLOON_PAGE);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, BALLOON_PAGES - 255);
    g_assert_cmpuint(runs, ==, 2);

    /* Deflate what is not in the map, and what is */
    bg_request_range(g, BG_DEFLATE, BG_RAM_START, MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES - 255);
    bg_request_range(g, BG_DEFLATE, BALLOON_START, BALLOON_LENGTH);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 0);
    g_assert_cmpuint(runs, ==, 0);
    bg_quit(g);
}

static void test_pfn_order(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_driven(&options);
    uint32_t first = PFN(BALLOON_START);
    uint32_t descending[256], twice[512];
    uint64_t runs;
    int i;

    for (i = 0; i < 256; i++) {
        descending[i] = first + 255 - i;
        twice[i] = twice[511 - i] = first + 1000 + 2 * i;
    }
    bg_request(g, BG_INFLATE, descending, 256);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 256);
    g_assert_cmpuint(runs, ==, 1);

    bg_request(g, BG_INFLATE, twice, 512);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 512);
    g_assert_cmpuint(runs, ==, 257);

    bg_request(g, BG_INFLATE, descending, 256);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 512);
    bg_request(g, BG_DEFLATE, twice, 512);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 256);
    g_assert_cmpuint(runs, ==, 1);
    bg_quit(g);
}

static void test_bad_pfn(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_driven(&options);
    const uint32_t bad[] = {
        PFN(g->options.ram_size),           /* behind the memory */
        PFN(UINT64_C(0xfee00000)),          /* MMIO */
        PFN(UINT64_C(0xfffff000)),          /* firmware */
        PFN(0xff000),                       /* its copy, ROM for the guest */
        UINT32_MAX,
        UINT32_MAX - 1,
        PFN(UINT64_C(1) << 43),
    };
    uint32_t good = PFN(BALLOON_START);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        uint32_t mixed[] = { bad[i], good + i, bad[i] };

        bg_request(g, BG_INFLATE, mixed, ARRAY_SIZE(mixed));
        g_assert_cmpuint(bg_map_pages(g, NULL), ==, i + 1);
    }
    bg_request(g, BG_DEFLATE, bad, ARRAY_SIZE(bad));
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, ARRAY_SIZE(bad));
    bg_quit(g);
}

static void test_driver_reset(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_ballooned(&options);

    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    bg_driver_reset(g);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);

    bg_driver_start(g, MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, BALLOON_START, MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 256);
    bg_quit(g);
}

static void test_system_reset(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_ballooned(&options);

    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    qtest_system_reset(g->qts);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    bg_quit(g);
}

static void assert_no_device(BGuest *g)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map' }");

    qmp_expect_error_and_unref(rsp, "DeviceNotActive");
}

/* Let go of a PCI device as the guest's ACPI code does. */
static void unplug_pci(BGuest *g, const char *id, int slot)
{
    qtest_qmp_device_del_send(g->qts, id);
    qtest_outl(g->qts, 0xae08, 1U << slot);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
}

static void test_device_unplug(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_ballooned(&options);

    unplug_pci(g, "balloon0", 5);
    assert_no_device(g);

    qtest_qmp_device_add(g->qts, "virtio-balloon-pci", "balloon0",
                         "{ 'addr': '5', 'must-tell-host': true }");
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, 0);
    bg_quit(g);
}

static void test_no_device(void)
{
    BGOptions options = { .backend = BG_ANON, .no_device = true };
    BGuest *g = bg_start(&options);

    assert_no_device(g);
    bg_quit(g);
}

/* A DIMM is a RAM block of its own, right above 4 GiB on this machine. */
#define DIMM_START (UINT64_C(4) << 30)
#define DIMM_ARGS "-object memory-backend-ram,id=dimm-ram,size=128M " \
                  "-device pc-dimm,id=dimm0,memdev=dimm-ram"

static void test_two_blocks(void)
{
    BGOptions options = { .backend = BG_ANON, .args = DIMM_ARGS };
    BGuest *g = start_driven(&options);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    uint32_t pfns[64];
    uint64_t runs;
    int i;

    for (i = 0; i < 64; i++) {
        pfns[i] = PFN(i % 2 ? DIMM_START : BALLOON_START) + i / 2;
    }
    bg_request(g, BG_INFLATE, pfns, 64);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 64);
    g_assert_cmpuint(runs, ==, 2);

    /* From the last page of one block into nowhere */
    bg_request_range(g, BG_INFLATE, g->options.ram_size - BALLOON_PAGE,
                     2 * BALLOON_PAGE);
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 65);

    /* Eject the DIMM as the guest's ACPI code does; its map goes with it. */
    qtest_qmp_device_del_send(g->qts, "dimm0");
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    /* The RAM block goes when the last reader of the memory map is done. */
    while (bg_map_pages(g, &runs) == 65) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(bg_map_pages(g, &runs), ==, 33);
    g_assert_cmpuint(runs, ==, 2);
    bg_quit(g);
}

/* What query-balloon-map lists of the main memory, asked for in pages */
static void test_query_paged(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_driven(&options);
    uint32_t pfns[100];
    uint64_t offset = 0;
    int i, seen = 0;
    QDict *rsp;

    for (i = 0; i < 100; i++) {
        pfns[i] = PFN(BALLOON_START) + 3 * i;
    }
    bg_request(g, BG_INFLATE, pfns, 100);

    for (;;) {
        QDict *info;
        const QListEntry *entry;

        rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                        " 'arguments': { 'id': %s, 'offset': %" PRIu64
                        ", 'max-runs': 7 } }", g->ram_id, offset);
        entry = qlist_first(qdict_get_qlist(rsp, "return"));
        info = qobject_to(QDict, qlist_entry_obj(entry));
        g_assert_null(qlist_next(entry));
        g_assert_cmpstr(qdict_get_str(info, "id"), ==, g->ram_id);
        g_assert_cmpint(qdict_get_int(info, "size"), ==, g->options.ram_size);
        g_assert_cmpint(qdict_get_int(info, "pages"), ==, 100);
        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "runs"), entry) {
            QDict *run = qobject_to(QDict, qlist_entry_obj(entry));

            g_assert_cmpint(qdict_get_int(run, "offset"), ==,
                            pfns[seen] * BALLOON_PAGE);
            g_assert_cmpint(qdict_get_int(run, "length"), ==, BALLOON_PAGE);
            seen++;
        }
        offset = qdict_get_try_int(info, "next-offset", 0);
        qobject_unref(rsp);
        if (!offset) {
            break;
        }
        g_assert_cmpint(seen % 7, ==, 0);
    }
    g_assert_cmpint(seen, ==, 100);

    rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                    " 'arguments': { 'id': 'nowhere' } }");
    qmp_expect_error_and_unref(rsp, "GenericError");
    rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                    " 'arguments': { 'offset': 4096 } }");
    qmp_expect_error_and_unref(rsp, "GenericError");
    rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                    " 'arguments': { 'max-runs': 65537 } }");
    qmp_expect_error_and_unref(rsp, "GenericError");
    rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map', 'arguments': {"
                    " 'id': %s, 'offset': 18446744073709551615 } }",
                    g->ram_id);
    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    bg_quit(g);
}

/* ---- Migration ---- */

/* Migrate @g, with the capability on; returns the destination. */
static BGuest *migrate(BGuest *g)
{
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    return dest;
}

static void test_migrate(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate(g);

    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES);
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==, BALLOON_LENGTH);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), ==, 0);
    g_assert_cmpuint(bg_count_populated(g, BALLOON_START, BALLOON_LENGTH),
                     ==, 0);
    g_assert_cmpuint(bg_count_populated(dest, BALLOON_START, BALLOON_LENGTH),
                     ==, 0);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* A guest that writes to pages it gave back, before the migration */
static void test_lie_before(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    uint64_t lies[] = {
        BALLOON_START,
        BALLOON_START + 5 * MiB + BALLOON_PAGE,
        BALLOON_START + BALLOON_LENGTH - BALLOON_PAGE,
    };
    BGuest *dest;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(lies); i++) {
        bg_fill(g, lies[i], BALLOON_PAGE, 100 + i);
    }
    dest = migrate(g);
    /*
     * Transparent huge pages may have populated more than was written.  Each
     * pass counts what it finds dirty; one more was made at the beginning.
     */
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, ARRAY_SIZE(lies));
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), <=,
                    ARRAY_SIZE(lies) * (2 * MiB / BALLOON_PAGE) *
                    (1 + bg_migrate_stat(g, "ram", "dirty-sync-count")));
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages") +
                    bg_skip_stat(g, "vetoed-pages"), >=, BALLOON_PAGES);
    /* The map is what the guest said. */
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    g_assert_cmpuint(bg_map_pages(dest, NULL), ==, BALLOON_PAGES);
    for (i = 0; i < ARRAY_SIZE(lies); i++) {
        g_assert_false(bg_is_zero(dest, lies[i]));
    }
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* Start a migration that goes on until bg_migrate_limit(g, 0). */
static BGuest *migrate_slowly(BGuest *g)
{
    BGuest *dest = bg_start_incoming(g);

    bg_set_capability(g, "skip-balloon", true);
    bg_migrate_limit(g, 8 * MiB);
    bg_migrate_start(g, dest);
    bg_migrate_wait_pass(g, 1);
    return dest;
}

/*
 * The same while the migration runs, and while other pages enter and leave
 * the balloon.  Page contents of pages in the balloon are not compared: they
 * were sent before they were given back.
 */
static void test_lie_during(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate_slowly(g);
    const uint64_t lie = BALLOON_START + 3 * MiB;
    const uint64_t back = BALLOON_START + 8 * MiB;
    const uint64_t reused = BALLOON_START + 12 * MiB;

    bg_fill(g, lie, MiB, 50);
    bg_request_range(g, BG_DEFLATE, back, MiB);
    bg_fill(g, back, MiB / 2, 60);
    bg_request_range(g, BG_DEFLATE, reused, MiB);
    bg_fill(g, reused, MiB, 70);
    bg_request_range(g, BG_INFLATE, reused, MiB);
    bg_fill(g, reused, MiB / 4, 80);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);

    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), >=, BALLOON_PAGES);
    g_assert_false(bg_is_zero(dest, lie));
    g_assert_false(bg_is_zero(dest, back));
    g_assert_true(bg_is_zero(dest, back + MiB - BALLOON_PAGE));
    g_assert_false(bg_is_zero(dest, reused));
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* What runs after a reset does not know of the balloon, and uses its pages. */
static void test_reset_during(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate_slowly(g);

    bg_driver_reset(g);
    bg_fill(g, BALLOON_START + 5 * MiB, MiB, 90);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/*
 * A page that was sent, then given back, and then taken back or claimed by
 * what runs after a reset, but never written to: it reads as zero here and
 * has to do so there.
 */
static void test_sent_before(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate_slowly(g);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    const uint64_t deflated = BG_RAM_START;
    const uint64_t claimed = BG_RAM_START + MiB / 2;

    while (bg_is_zero(dest, claimed + MiB / 4)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    bg_request_range(g, BG_INFLATE, deflated, MiB / 4);
    bg_request_range(g, BG_DEFLATE, deflated, MiB / 4);
    bg_request_range(g, BG_INFLATE, claimed, MiB / 4);
    bg_driver_reset(g);
    bg_migrate_limit(g, 0);
    bg_migrate_wait(g, dest);
    g_assert_true(bg_is_zero(dest, deflated));
    g_assert_true(bg_is_zero(dest, claimed));
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_cancel(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate_slowly(g);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    bool cancelled = false;

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate_cancel' }");
    while (!cancelled) {
        QDict *info = bg_query_migrate(g);

        cancelled = !strcmp(qdict_get_str(info, "status"), "cancelled");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    bg_quit(dest);

    bg_fill(g, BALLOON_START + 2 * MiB, BALLOON_PAGE, 33);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    dest = migrate(g);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, 1);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages") +
                    bg_skip_stat(g, "vetoed-pages"), >=, BALLOON_PAGES);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_multifd(void)
{
    BGOptions options = { .backend = BG_MEMFD, .multifd = true };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = migrate(g);

    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES);
    g_assert_cmpuint(bg_count_populated(dest, BALLOON_START, BALLOON_LENGTH),
                     ==, 0);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

/* ---- When it is off ---- */

static void assert_disabled(BGuest *g, const char *reason)
{
    QDict *skip = bg_skip_info(g);
    char *info = qtest_hmp(g->qts, "info migrate");
    g_autofree char *expected = g_strdup_printf("skip-balloon: disabled (%s)",
                                                reason);

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(skip, "reason"), ==, reason);
    g_assert_false(qdict_haskey(skip, "skipped-pages"));
    g_assert_nonnull(strstr(info, expected));
    qobject_unref(skip);
    g_free(info);
}

static void test_disabled(BGuest *g, const char *reason)
{
    BGuest *dest;

    dest = migrate(g);
    assert_disabled(g, reason);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_off_no_device(void)
{
    BGOptions options = { .no_device = true };

    test_disabled(bg_start(&options), "no-device");
}

static void test_off_no_driver(void)
{
    BGOptions options = { };

    test_disabled(bg_start(&options), "must-tell-host");
}

static void test_off_property(void)
{
    BGOptions options = { .no_must_tell_host = true };
    BGuest *g = bg_start(&options);

    g_assert_cmpuint(bg_driver_start(g, MUST_TELL_HOST), ==, 0);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    test_disabled(g, "must-tell-host");
}

static void test_off_not_negotiated(void)
{
    BGOptions options = { };
    BGuest *g = bg_start(&options);

    g_assert_cmpuint(bg_driver_start(g, 0), ==, 0);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    test_disabled(g, "must-tell-host");
}

/*
 * No device that inhibits discards (VFIO) can be had in a test, so a debugger
 * makes QEMU do what such a device would.
 */
static void test_off_inhibited(void)
{
    BGOptions options = { };
    g_autofree char *gdb = g_find_program_in_path("gdb");
    g_autofree char *command = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    uint64_t pages;
    BGuest *g;
    int status;

    if (!gdb) {
        g_test_skip("gdb is not installed");
        return;
    }
    g = start_ballooned(&options);
    command = g_strdup_printf(
        "%s -batch -nx -p %d -ex 'call (int)ram_block_discard_disable(1)'",
        gdb, (int)qtest_pid(g->qts));
    g_assert_true(g_spawn_command_line_sync(command, &out, &err, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);

    /* From now on nothing is discarded, so nothing enters the map... */
    pages = bg_map_pages(g, NULL);
    bg_request_range(g, BG_INFLATE, BG_RAM_START, MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, pages);
    /* ... but what the guest takes back leaves it. */
    bg_request_range(g, BG_DEFLATE, BALLOON_START, MiB);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, pages - 256);
    test_disabled(g, "discard-inhibited");
}

static void test_off_capability(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = bg_start_incoming(g);
    char *info;

    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_null(bg_skip_info(g));
    info = qtest_hmp(g->qts, "info migrate");
    g_assert_null(strstr(info, "skip-balloon:"));
    g_free(info);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_global(void)
{
    BGOptions options = { .args = "-global migration.skip-balloon=on" };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = bg_start_incoming(g);

    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    g_assert_cmpint(bg_skip_stat(g, "skipped-pages"), ==, BALLOON_PAGES);
    bg_quit(dest);
    bg_quit(g);
}

static void test_hmp(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = start_ballooned(&options);
    BGuest *dest = bg_start_incoming(g);
    char *info = qtest_hmp(g->qts, "migrate_set_capability skip-balloon on");

    g_assert_cmpstr(info, ==, "");
    g_free(info);
    info = qtest_hmp(g->qts, "info migrate_capabilities");
    g_assert_nonnull(strstr(info, "skip-balloon: on"));
    g_free(info);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    info = qtest_hmp(g->qts, "info migrate");
    g_assert_nonnull(strstr(info, "skip-balloon: active"));
    g_assert_nonnull(strstr(info, "skip-balloon skipped: 8192 pages, "
                            "32768 kbytes"));
    g_free(info);
    bg_quit(dest);
    bg_quit(g);
}

static void test_refused_together(void)
{
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);
    QDict *rsp;
    const char *desc;

    bg_set_capability(g, "skip-balloon", true);
    bg_set_capability(g, "mapped-ram", true);
    rsp = qtest_qmp(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': 'background-snapshot',"
        " 'state': true } ] } }");
    desc = qdict_get_str(qdict_get_qdict(rsp, "error"), "desc");
    if (strstr(desc, "not compatible") || strstr(desc, "not supported")) {
        g_test_skip(desc);
    } else {
        g_assert_nonnull(strstr(desc, "skip-balloon"));
        g_assert_nonnull(strstr(desc, "mapped-ram"));
    }
    qobject_unref(rsp);
    bg_quit(g);
}

static void test_refused(void)
{
    static const char *const unsupported[] = {
        "rdma-pin-all",
    };
    BGOptions options = { .backend = BG_ANON };
    BGuest *g = bg_start(&options);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(unsupported); i++) {
        int order;

        for (order = 0; order < 2; order++) {
            const char *first = order ? unsupported[i] : "skip-balloon";
            const char *second = order ? "skip-balloon" : unsupported[i];
            QDict *rsp;
            const char *desc;

            bg_set_capability(g, first, true);
            rsp = qtest_qmp(
                g->qts, "{ 'execute': 'migrate-set-capabilities',"
                " 'arguments': { 'capabilities': ["
                " { 'capability': %s, 'state': true } ] } }", second);
            desc = qdict_get_str(qdict_get_qdict(rsp, "error"), "desc");
            g_assert_nonnull(strstr(desc, "skip-balloon"));
            g_assert_nonnull(strstr(desc, unsupported[i]));
            qobject_unref(rsp);
            bg_set_capability(g, first, false);
        }
    }
    bg_quit(g);
}

/* ---- Units larger than a balloon page ---- */

static void test_target_page_8k(gconstpointer data)
{
    BGOptions options = { .backend = GPOINTER_TO_INT(data) };
    BGuest *g = start_driven(&options);
    BGuest *dest;
    int64_t skipped, vetoed;
    uint32_t odd[256];
    int i;

    bg_fill(g, BG_RAM_START, g->options.ram_size - BG_RAM_START, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START, BALLOON_LENGTH);
    /* Upper halves only: the lower ones hold data and must arrive. */
    for (i = 0; i < 256; i++) {
        odd[i] = PFN(BG_RAM_START) + 2 * i + 1;
    }
    bg_request(g, BG_INFLATE, odd, 256);
    /* Break one page of the balloon */
    bg_request_range(g, BG_DEFLATE, BALLOON_START + MiB, BALLOON_PAGE);
    bg_fill(g, BALLOON_START + MiB, BALLOON_PAGE, 9);

    dest = migrate(g);
    skipped = bg_skip_stat(g, "skipped-pages");
    vetoed = bg_skip_stat(g, "vetoed-pages");
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==,
                    skipped * 2 * BALLOON_PAGE);
    /* A transparent huge page may have come with the page that was filled. */
    g_assert_cmpint(skipped, <=, BALLOON_PAGES / 2 - 1);
    g_assert_cmpint(vetoed, <, 2 * MiB / (2 * BALLOON_PAGE));
    g_assert_cmpint(skipped + vetoed, >=, BALLOON_PAGES / 2 - 1);
    g_assert_false(bg_is_zero(dest, BG_RAM_START));
    g_assert_false(bg_is_zero(dest, BALLOON_START + MiB));
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void test_hugetlb(void)
{
    BGOptions options = { .backend = BG_HUGETLB };
    const uint64_t huge = 2 * MiB;
    BGuest *g, *dest;

    if (bg_free_huge_pages() < 64) {
        g_test_skip("fewer than 64 free huge pages of 2 MiB");
        return;
    }
    g = start_ballooned(&options);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==, BALLOON_PAGES);

    /* Half a huge page enters the map, and is not discarded. */
    bg_request_range(g, BG_INFLATE, BG_RAM_START, huge / 2);
    g_assert_cmpuint(bg_map_pages(g, NULL), ==,
                     BALLOON_PAGES + huge / 2 / BALLOON_PAGE);
    g_assert_cmpuint(bg_count_populated(g, BG_RAM_START, huge), ==,
                     huge / BALLOON_PAGE);
    /* A page taken back makes its huge page count. */
    bg_request_range(g, BG_DEFLATE, BALLOON_START, BALLOON_PAGE);
    /* A lie populates a huge page, which is vetoed as a whole. */
    bg_fill(g, BALLOON_START + 3 * huge + MiB, BALLOON_PAGE, 3);

    dest = migrate(g);
    g_assert_cmpint(bg_skip_stat(g, "skipped-bytes"), ==,
                    BALLOON_LENGTH - 2 * huge);
    g_assert_cmpint(bg_skip_stat(g, "vetoed-pages"), >=, huge / BALLOON_PAGE);
    bg_assert_same_memory(g, dest);
    bg_quit(dest);
    bg_quit(g);
}

static void add_backend_tests(const char *name, GTestDataFunc func)
{
    int backend;

    for (backend = BG_ANON; backend <= BG_PRIVATE_MEMFD; backend++) {
        g_autofree char *path = g_strdup_printf("skip-balloon/%s/%s", name,
                                                backend_names[backend]);

        qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!strcmp(qtest_get_arch(), "alpha")) {
        add_backend_tests("target-page-8k", test_target_page_8k);
        return g_test_run();
    }

    add_backend_tests("map/inflate", test_inflate);
    qtest_add_func("skip-balloon/map/pfn-order", test_pfn_order);
    qtest_add_func("skip-balloon/map/bad-pfn", test_bad_pfn);
    qtest_add_func("skip-balloon/map/driver-reset", test_driver_reset);
    qtest_add_func("skip-balloon/map/system-reset", test_system_reset);
    qtest_add_func("skip-balloon/map/device-unplug", test_device_unplug);
    qtest_add_func("skip-balloon/map/no-device", test_no_device);
    qtest_add_func("skip-balloon/map/two-blocks", test_two_blocks);
    qtest_add_func("skip-balloon/map/query-paged", test_query_paged);

    add_backend_tests("migrate", test_migrate);
    add_backend_tests("lie-before", test_lie_before);
    add_backend_tests("lie-during", test_lie_during);
    add_backend_tests("reset-during", test_reset_during);
    add_backend_tests("sent-before", test_sent_before);
    add_backend_tests("cancel", test_cancel);
    qtest_add_func("skip-balloon/multifd", test_multifd);
    qtest_add_func("skip-balloon/global", test_global);
    qtest_add_func("skip-balloon/hmp", test_hmp);

    qtest_add_func("skip-balloon/off/capability", test_off_capability);
    qtest_add_func("skip-balloon/off/no-device", test_off_no_device);
    qtest_add_func("skip-balloon/off/no-driver", test_off_no_driver);
    qtest_add_func("skip-balloon/off/property", test_off_property);
    qtest_add_func("skip-balloon/off/not-negotiated",
                   test_off_not_negotiated);
    qtest_add_func("skip-balloon/off/discard-inhibited", test_off_inhibited);

    qtest_add_func("skip-balloon/refused/capabilities", test_refused);
    qtest_add_func("skip-balloon/refused/together", test_refused_together);
    qtest_add_func("skip-balloon/hugetlb", test_hugetlb);

    return g_test_run();
}
