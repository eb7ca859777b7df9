/*
 * What tests of migration capability skip-unpopulated share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_ring.h"
#include "unpopulated-guest.h"

#define MUST_TELL_HOST (1U << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define REPORTING (1U << VIRTIO_BALLOON_F_REPORTING)

/* Nothing here depends on time, but a test that hangs has to end. */
#define HANG_SECONDS 120

bool ug_is_alpha(void)
{
    return !strcmp(qtest_get_arch(), "alpha");
}

uint64_t ug_target_page(void)
{
    return ug_is_alpha() ? 2 * BALLOON_PAGE : BALLOON_PAGE;
}

bool ug_have_stock(void)
{
    if (g_getenv(BG_STOCK_ENV)) {
        return true;
    }
    g_test_skip(BG_STOCK_ENV " is not set");
    return false;
}

/* ---- What a migration tells ---- */

int64_t ug_skipped_pages(BGuest *g)
{
    QDict *info = bg_query_migrate(g);
    QDict *skip = qdict_get_qdict(info, CAPABILITY);
    int64_t pages;

    g_assert_nonnull(skip);
    pages = qdict_get_int(skip, "skipped-pages");
    g_assert_cmpint(qdict_get_int(skip, "skipped-bytes"), ==,
                    pages * ug_target_page());
    qobject_unref(info);
    return pages;
}

gint64 ug_hang_deadline(void)
{
    return g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
}

void ug_wait_status(BGuest *g, const char *status)
{
    bg_wait_status(g, status, HANG_SECONDS);
}

void ug_wait_failed(BGuest *g)
{
    gint64 end = ug_hang_deadline();
    bool failed = false;

    while (!failed) {
        QDict *info = bg_query_migrate(g);
        const char *status = qdict_get_try_str(info, "status") ?: "none";

        g_assert_cmpstr(status, !=, "completed");
        failed = !strcmp(status, "failed");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* Is block @id left alone, and why?  NULL if it is not. */
char *ug_left_alone(BGuest *g, const char *id, uint64_t *size)
{
    QDict *info = bg_query_migrate(g);
    QDict *skip = qdict_get_qdict(info, CAPABILITY);
    char *reason = NULL;
    QListEntry *entry;

    g_assert_nonnull(skip);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(skip, "left-alone"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(value, "id"), id)) {
            g_assert_null(reason);
            reason = g_strdup(qdict_get_str(value, "reason"));
            *size = qdict_get_int(value, "size");
        }
    }
    qobject_unref(info);
    return reason;
}

void ug_assert_left_alone(BGuest *g, const char *id, uint64_t size,
                              const char *expected)
{
    uint64_t told = 0;
    g_autofree char *reason = ug_left_alone(g, id, &told);

    g_assert_cmpstr(reason, ==, expected);
    g_assert_cmpuint(told, ==, size);
}

/* ---- Migrations ---- */

void ug_set_migrate_parameter(BGuest *g, const char *name,
                                  const char *value)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters',"
        " 'arguments': { %s: %s } }", name, value);
}

BGuest *ug_start_destination(const BGOptions *options, bool capable)
{
    BGuest like = { .options = *options };
    BGuest *dest = bg_start_incoming(&like);

    if (capable) {
        bg_set_capability(dest, CAPABILITY, true);
    }
    return dest;
}

void ug_migrate(BGuest *g, BGuest *dest)
{
    bg_set_capability(g, CAPABILITY, true);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
}

/* Start a migration that is not over before ug_migrate_finish(). */
void ug_migrate_begin(BGuest *g, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(g, CAPABILITY, true);
    bg_set_capability(g, "pause-before-switchover", true);
    bg_migrate_limit(g, bandwidth);
    bg_migrate_start(g, dest);
}

void ug_migrate_finish(BGuest *g, BGuest *dest)
{
    bg_migrate_limit(g, 0);
    ug_wait_status(g, "pre-switchover");
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(g, dest);
    bg_set_capability(g, "pause-before-switchover", false);
}

void ug_wait_arrival(BGuest *dest, uint64_t addr)
{
    gint64 end = ug_hang_deadline();

    while (bg_is_zero(dest, addr)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* ---- Memory ---- */

/* The content of all memory; populates what is shared */
void ug_assert_same_content(BGuest *a, BGuest *b)
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

void ug_assert_zero(BGuest *g, uint64_t start, uint64_t length)
{
    uint64_t at;

    for (at = start; at < start + length; at += BALLOON_PAGE) {
        if (!bg_is_zero(g, at)) {
            g_error("address 0x%" PRIx64 " is not zero", at);
        }
    }
}

/* Is any part of the target page populated that the @i-th page belongs to? */
static bool any_of_page(const bool *populated, uint64_t i)
{
    uint64_t per_page = ug_target_page() / BALLOON_PAGE;

    i -= i % per_page;
    return populated[i] || populated[i + per_page - 1];
}

/* Of all target pages populated in @after, something was so in @before. */
void ug_assert_none_populated(const bool *before, const bool *after,
                                  uint64_t size, const char *where)
{
    uint64_t i;

    for (i = 0; i < size / BALLOON_PAGE; i++) {
        if (after[i] && !any_of_page(before, i)) {
            g_error("address 0x%" PRIx64 " is populated on the %s",
                    i * BALLOON_PAGE, where);
        }
    }
}

/* Target pages of which no part is populated */
uint64_t ug_count_unpopulated(const bool *populated, uint64_t size)
{
    uint64_t i, n = 0;

    for (i = 0; i < size / BALLOON_PAGE; i += ug_target_page() / BALLOON_PAGE) {
        n += !any_of_page(populated, i);
    }
    return n;
}

bool *ug_populated_of(BGuest *g)
{
    return bg_populated(g, 0, g->options.ram_size);
}

/* What may not be populated after a migration, was not before on the source */
void ug_assert_populated_as_before(BGuest *g, BGuest *dest,
                                       const bool *before)
{
    g_autofree bool *after = ug_populated_of(g);
    g_autofree bool *there = ug_populated_of(dest);

    ug_assert_none_populated(before, after, g->options.ram_size, "source");
    ug_assert_none_populated(before, there, g->options.ram_size, "destination");
}

/* Write here and there: edges, alternating pages, long runs. */
void ug_scatter(BGuest *g)
{
    uint64_t size = g->options.ram_size;
    uint64_t at;

    bg_fill(g, BG_RAM_START, 2 * MiB, 1);
    for (at = 8 * MiB; at < 10 * MiB; at += 2 * ug_target_page()) {
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

BGuest *ug_start_scattered(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    ug_scatter(g);
    return g;
}

/* ---- A guest that discards ---- */

static void report_range(BGuest *g, uint64_t start, uint64_t length)
{
    BGQueue *q = &g->queue[BG_REPORT];

    g_assert_cmpint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, start);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, VRING_DESC_F_WRITE);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, BG_REPORT);
}

void ug_discard(BGuest *g, bool report, uint64_t start, uint64_t length)
{
    if (report) {
        report_range(g, start, length);
    } else {
        bg_request_range(g, BG_INFLATE, start, length);
    }
}

BGuest *ug_start_with_balloon(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, MUST_TELL_HOST | REPORTING);
    return g;
}

void ug_discard_parts(BGuest *g, bool report)
{
    /* Stays discarded */
    ug_discard(g, report, SENT_START, PART_SIZE);
    /* Used again */
    ug_discard(g, report, SENT_START + PART_SIZE, PART_SIZE);
    bg_fill(g, SENT_START + PART_SIZE, PART_SIZE, 99);
    /* Used for the first time, and then discarded */
    bg_fill(g, UNSENT_START, UNSENT_SIZE, 98);
    ug_discard(g, report, UNSENT_START, UNSENT_SIZE);
}

/* ---- Cases ---- */

void ug_add_backend_tests(const char *name, GTestDataFunc func)
{
    static const char *const names[] = {
        [BG_ANON] = "anon",
        [BG_MEMFD] = "memfd",
    };
    int backend;

    for (backend = BG_ANON; backend <= BG_MEMFD; backend++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/%s/%s", name,
                                                names[backend]);

        qtest_add_data_func(path, GINT_TO_POINTER(backend), func);
    }
}

void ug_add_options_tests(const char *name, const OptionsCase *cases,
                              int n, GTestDataFunc func)
{
    int i;

    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf(CAPABILITY "/%s/%s", name,
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i].options, func);
    }
}
