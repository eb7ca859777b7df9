/*
 * Tests of the audit: how much the guest uses of what it gave back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "balloon-guest.h"

#define PAGES_PER_MIB (MiB / BALLOON_PAGE)

/* What is in the balloon, and used all the same; in MiB */
#define BALLOON_START 8
#define BALLOON_END 40
#define USED_START 16
#define USED_END 20
#define ZERO_END 22

#define GIVEN_PAGES ((BALLOON_END - BALLOON_START) * PAGES_PER_MIB)
#define POPULATED_PAGES ((ZERO_END - USED_START) * PAGES_PER_MIB)
#define USED_PAGES ((USED_END - USED_START) * PAGES_PER_MIB)

/* The answer about one RAM block; -1 is a member that is absent */
typedef struct Audit {
    int64_t pages;
    int64_t populated;
    int64_t used;
} Audit;

static Audit query(BGuest *g, const char *id, bool audit)
{
    QDict *block = bg_map_info(g, id, 0, audit);
    Audit result = {
        .pages = qdict_get_int(block, "pages"),
        .populated = qdict_get_try_int(block, "populated", -1),
        .used = qdict_get_try_int(block, "used", -1),
    };

    qobject_unref(block);
    return result;
}

static void assert_audit(BGuest *g, const char *id, int64_t pages,
                         int64_t populated, int64_t used)
{
    Audit audit = query(g, id, true);

    g_assert_cmpint(audit.pages, ==, pages);
    g_assert_cmpint(audit.populated, ==, populated);
    g_assert_cmpint(audit.used, ==, used);
}

static void write_zeroes(BGuest *g, uint64_t start, uint64_t end)
{
    qtest_memset(g->qts, start * MiB, 0, (end - start) * MiB);
}

/* A guest that used what it gave back, or had it read */
static BGuest *start_liar(int backend)
{
    BGOptions options = { .backend = backend };
    BGuest *g = bg_start_driven(&options);

    bg_fill(g, BG_RAM_START, 40 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB,
                     (BALLOON_END - BALLOON_START) * MiB);
    assert_audit(g, "ram0", GIVEN_PAGES, 0, 0);
    bg_fill(g, USED_START * MiB, (USED_END - USED_START) * MiB, 2);
    write_zeroes(g, USED_END, ZERO_END);
    return g;
}

/* Nothing is told that was not asked for, and nothing is populated. */
static void test_usual(gconstpointer data)
{
    const int64_t taken = PAGES_PER_MIB / 2;
    int backend = GPOINTER_TO_INT(data) - 1;
    BGuest *g;
    Audit audit;

    if (backend == BG_HUGETLB && !bg_huge_or_skip(64 * MiB)) {
        return;
    }
    g = start_liar(backend);
    audit = query(g, g->ram_id, false);
    g_assert_cmpint(audit.populated, ==, -1);
    g_assert_cmpint(audit.used, ==, -1);
    assert_audit(g, "ram0", GIVEN_PAGES, POPULATED_PAGES, USED_PAGES);
    bg_assert_populated(g, BALLOON_START * MiB,
                        (USED_START - BALLOON_START) * MiB, 0);
    bg_assert_populated(g, ZERO_END * MiB, (BALLOON_END - ZERO_END) * MiB, 0);

    /* What the guest takes back is its own. */
    bg_request_range(g, BG_DEFLATE, USED_START * MiB + MiB / 4, MiB / 2);
    assert_audit(g, "ram0", GIVEN_PAGES - taken, POPULATED_PAGES - taken,
                 USED_PAGES - taken);
    bg_driver_reset(g);
    assert_audit(g, "ram0", 0, 0, 0);
    bg_quit(g);
}

/* Every other page is in the balloon, and every fourth is used. */
static void test_scattered(gconstpointer data)
{
    BGuest *g = bg_start_driven(&(BGOptions) { .backend = BG_ANON });
    size_t i;

    bg_fill(g, BALLOON_START * MiB, 32 * MiB, 1);
    bg_request_every(g, BG_INFLATE, BALLOON_START * MiB, 2 * BALLOON_PAGE,
                     16 * PAGES_PER_MIB / 2);
    for (i = 0; i < 16 * PAGES_PER_MIB; i += 4) {
        bg_fill(g, BALLOON_START * MiB + i * BALLOON_PAGE, BALLOON_PAGE, 2);
    }
    assert_audit(g, "ram0", 16 * PAGES_PER_MIB / 2, 16 * PAGES_PER_MIB / 4,
                 16 * PAGES_PER_MIB / 4);
    bg_quit(g);
}

/* A part of a huge page that is not in the balloon as a whole is populated. */
static void test_parts(gconstpointer data)
{
    BGuest *g;

    if (!bg_huge_or_skip(64 * MiB)) {
        return;
    }
    g = bg_start_driven(&(BGOptions) { .backend = BG_HUGETLB });
    bg_fill(g, BALLOON_START * MiB, 4 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB, 3 * MiB);
    assert_audit(g, "ram0", 3 * PAGES_PER_MIB, PAGES_PER_MIB, PAGES_PER_MIB);
    bg_quit(g);
}

/* Of much memory some pages are read, and a third of it is found to be used. */
static void test_samples(gconstpointer data)
{
    BGuest *g = bg_start_driven(&(BGOptions) { .ram_size = 512 * MiB });
    const int64_t pages = 480 * PAGES_PER_MIB;
    Audit audit;

    bg_request_range(g, BG_INFLATE, 16 * MiB, 480 * MiB);
    bg_fill(g, 16 * MiB, 160 * MiB, 1);
    write_zeroes(g, 16 + 160, 16 + 320);
    audit = query(g, g->ram_id, true);
    g_assert_cmpint(audit.pages, ==, pages);
    g_assert_cmpint(audit.populated, ==, pages / 3 * 2);
    g_assert_cmpint(audit.used, >, pages / 3 * 0.9);
    g_assert_cmpint(audit.used, <, pages / 3 * 1.1);
    bg_quit(g);
}

/* Each RAM block is asked, by its name or all at once. */
static void test_blocks(gconstpointer data)
{
    BGuest *g = bg_start_driven(&(BGOptions) { .args = BG_DIMM_ARGS });

    bg_request_range(g, BG_INFLATE, BG_DIMM_START, 64 * MiB);
    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB, MiB);
    bg_fill(g, BG_DIMM_START + MiB, 8 * BALLOON_PAGE, 1);
    assert_audit(g, "dimm-ram", 64 * PAGES_PER_MIB, 8, 8);
    assert_audit(g, "ram0", PAGES_PER_MIB, 0, 0);
    bg_unplug_dimm(g);
    assert_audit(g, "ram0", PAGES_PER_MIB, 0, 0);
    bg_quit(g);
}

/* What people are shown */
static void test_hmp(gconstpointer data)
{
    BGuest *g = start_liar(BG_ANON);
    g_autofree char *text = qtest_hmp(g->qts, "info balloon-map");
    g_autofree char *none = NULL;

    g_assert_cmpstr(text, ==, "ram0: 64 MiB\r\n"
                    "  in the balloon: 8192 pages, 32 MiB\r\n"
                    "  of these populated: 1536 pages, 6 MiB\r\n"
                    "  of these used, about: 1024 pages, 4 MiB\r\n");
    bg_driver_reset(g);
    none = qtest_hmp(g->qts, "info balloon-map");
    g_assert_cmpstr(none, ==, "Nothing is in the balloon map\r\n");
    bg_quit(g);
}

/* What was used while it is enforced is not in the balloon any more. */
static void test_hmp_enforced(gconstpointer data)
{
    BGOptions options = { .device_args = "enforce=report" };
    BGuest *g = bg_start_driven(&options);
    g_autofree char *text = NULL;

    bg_request_range(g, BG_INFLATE, BALLOON_START * MiB,
                     (BALLOON_END - BALLOON_START) * MiB);
    /* Another process (bg_fill) would get an error, and not be waited for. */
    qtest_memset(g->qts, USED_START * MiB, 2, (USED_END - USED_START) * MiB);
    text = qtest_hmp(g->qts, "info balloon-map");
    g_assert_cmpstr(text, ==, "ram0: 64 MiB\r\n"
                    "  in the balloon: 7168 pages, 28 MiB\r\n"
                    "  of these populated: 0 pages, 0 B\r\n"
                    "  of these used, about: 0 pages, 0 B\r\n"
                    "  enforced: 7168 pages, 28 MiB\r\n"
                    "  accessed so far: 1024 pages, 4 MiB\r\n");
    bg_quit(g);
}

static void test_hmp_no_device(gconstpointer data)
{
    BGuest *g = bg_start(&(BGOptions) { .no_device = true });
    g_autofree char *text = qtest_hmp(g->qts, "info balloon-map");

    g_assert_cmpstr(text, ==,
                    "Error: No balloon device has been activated\r\n");
    bg_quit(g);
}

int main(int argc, char **argv)
{
    int i;

    bg_init(&argc, &argv);
    for (i = BG_ANON; i <= BG_HUGETLB; i++) {
        bg_add_test(GINT_TO_POINTER(i + 1), test_usual, "balloon-audit/%s",
                    bg_backend_name(i));
    }
    bg_add_test(NULL, test_scattered, "balloon-audit/scattered");
    bg_add_test(NULL, test_parts, "balloon-audit/parts");
    bg_add_test(NULL, test_samples, "balloon-audit/samples");
    bg_add_test(NULL, test_blocks, "balloon-audit/blocks");
    bg_add_test(NULL, test_hmp, "balloon-audit/hmp");
    bg_add_test(NULL, test_hmp_enforced, "balloon-audit/hmp/enforced");
    bg_add_test(NULL, test_hmp_no_device, "balloon-audit/hmp/no-device");
    return g_test_run();
}
