/*
 * A guest of any memory layout, ballooned, migrated there and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "memory-layout.h"
#include "ram-blocks.h"

/* Nothing here depends on time, but a test that hangs has to end. */
#define HANG_SECONDS 10

static gint64 hang_deadline(void)
{
    return g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
}

/* ---- Start and end ---- */

/* A file that somebody has used before, or one that QEMU is to make */
static char *make_file(const MLayout *layout)
{
    static int n;
    char *path = g_strdup_printf("%s/skip-memory-%d-%d",
                                 layout->dir ?: g_get_tmp_dir(), getpid(),
                                 n++);
    g_autofree char *text = g_strnfill(layout->file_size, 'x');

    if (layout->file_size) {
        g_assert_true(g_file_set_contents(path, text, layout->file_size,
                                          NULL));
    }
    return path;
}

static char *with_file(const char *args, const char *file)
{
    g_auto(GStrv) pieces = g_strsplit(args, ML_FILE, 0);

    return g_strjoinv(file ?: ML_FILE, pieces);
}

MLGuest *ml_start(const MLayout *layout, bool incoming)
{
    MLGuest *m = g_new0(MLGuest, 1);
    g_autofree char *args = g_strdup_printf(
        "%s %s", layout->args ?: "",
        (incoming ? layout->dest_args : layout->source_args) ?: "");
    BGOptions options = {
        .ram_id = layout->ram_id,
        .device_args = layout->device_args,
    };

    m->file = layout->dir || layout->file_size ? make_file(layout) : NULL;
    m->machine = with_file(layout->machine, m->file);
    m->args = with_file(args, m->file);
    options.machine_args = m->machine;
    options.args = m->args;
    if (incoming) {
        BGuest like = { .options = options };

        m->g = bg_start_incoming(&like);
    } else {
        m->g = bg_start(&options);
    }
    return m;
}

void ml_quit(MLGuest *m)
{
    siginfo_t info;

    /* libqtest looks ten times a second only if it has ended. */
    qtest_qmp_send(m->g->qts, "{ 'execute': 'quit' }");
    g_assert_cmpint(waitid(P_PID, qtest_pid(m->g->qts), &info,
                           WEXITED | WNOWAIT), ==, 0);
    bg_quit(m->g);
    if (m->file) {
        unlink(m->file);
    }
    g_free(m->file);
    g_free(m->machine);
    g_free(m->args);
    g_free(m);
}

/* ---- Parts ---- */

static uint64_t unit_of(const MLPart *part)
{
    return part->unit ?: bg_target_page();
}

uint64_t ml_slice(const MLPart *part)
{
    return MAX(unit_of(part), MiB);
}

uint64_t ml_addr(const MLPart *part, int slice)
{
    return part->addr + slice * ml_slice(part);
}

static void fill(BGuest *g, const MLPart *part, int slice, int seed)
{
    bg_fill(g, ml_addr(part, slice), ml_slice(part), seed);
}

/* Pages here and there of a range, the first of them or the others */
static void give_every_other(BGuest *g, uint64_t addr, uint64_t length,
                             bool others)
{
    uint64_t n = length / BALLOON_PAGE / 2;
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    uint64_t i;

    for (i = 0; i < n; i++) {
        pfns[i] = addr / BALLOON_PAGE + 2 * i + others;
    }
    bg_request(g, BG_INFLATE, pfns, n);
}

static void give(BGuest *g, const MLayout *layout, const MLPart *part,
                 int slice)
{
    uint64_t addr = ml_addr(part, slice);

    if (layout->by_parts) {
        give_every_other(g, addr, ml_slice(part), true);
        give_every_other(g, addr, ml_slice(part), false);
    } else {
        bg_request_range(g, BG_INFLATE, addr, ml_slice(part));
    }
}

static void take_back(BGuest *g, const MLPart *part, int slice)
{
    bg_request_range(g, BG_DEFLATE, ml_addr(part, slice), ml_slice(part));
}

static void lie(BGuest *g, const MLPart *part, int slice)
{
    bg_fill(g, ml_addr(part, slice) + 5 * BALLOON_PAGE, BALLOON_PAGE, 50);
}

/* Nothing of a slice may be populated, but for @used bytes. */
static void assert_unpopulated(BGuest *g, const MLPart *part, int slice,
                               uint64_t used)
{
    uint64_t start = part->offset + slice * ml_slice(part);
    uint64_t n = rb_count_populated(g, part->id, start, ml_slice(part));

    if (n > used / BALLOON_PAGE) {
        g_error("%s: %" PRIu64 " pages of slice %d are populated on the %s",
                part->id, n, slice, g->socket ? "destination" : "source");
    }
}

/* ---- What the guest does ---- */

static void act_before(BGuest *g, const MLayout *layout, const MLPart *part)
{
    int slice;

    for (slice = ML_LIVE; slice < ML_UNTOUCHED; slice++) {
        fill(g, part, slice, slice);
    }
    give(g, layout, part, ML_GIVEN);
    give(g, layout, part, ML_TAKEN_BACK);
    give(g, layout, part, ML_LIED);
    if (layout->by_parts) {
        give_every_other(g, ml_addr(part, ML_LIVE), ml_slice(part), true);
    }
    if (unit_of(part) > bg_target_page()) {
        /* The host cannot let go of that, so it keeps what it holds. */
        g_assert_cmphex(qtest_readb(g->qts, ml_addr(part, ML_LIVE) +
                                    BALLOON_PAGE), !=, 0);
    }
}

static void act_during(BGuest *g, const MLayout *layout, const MLPart *part)
{
    take_back(g, part, ML_TAKEN_BACK);
    bg_fill(g, ml_addr(part, ML_TAKEN_BACK), ml_slice(part) / 2, 40);
    lie(g, part, ML_LIED);
    give(g, layout, part, ML_SENT_TAKEN_BACK);
    give(g, layout, part, ML_GIVEN_LATER);
}

static void act_late(BGuest *g, const MLayout *layout, const MLPart *part)
{
    take_back(g, part, ML_SENT_TAKEN_BACK);
    give(g, layout, part, ML_SENT_BOTH);
    take_back(g, part, ML_SENT_BOTH);
    give(g, layout, part, ML_SENT_LIED);
    lie(g, part, ML_SENT_LIED);
}

static void act_there(BGuest *g, const MLayout *layout, const MLPart *part)
{
    if (layout->by_parts && unit_of(part) > bg_target_page()) {
        /* The others were given back before the migration. */
        give_every_other(g, ml_addr(part, ML_LIVE), ml_slice(part), false);
        assert_unpopulated(g, part, ML_LIVE, 0);
    } else {
        give(g, layout, part, ML_LIVE);
    }
    fill(g, part, ML_UNTOUCHED, 60);
}

typedef void ActFunc(BGuest *g, const MLayout *layout, const MLPart *part);

static void act(BGuest *g, const MLayout *layout, ActFunc *func)
{
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        func(g, layout, part);
    }
}

/* ---- Migration ---- */

void ml_set_mode(BGuest *g, MLMode mode)
{
    bg_set_capability(g, "skip-balloon", mode & ML_BALLOON);
    bg_set_capability(g, "skip-unpopulated", mode & ML_UNPOPULATED);
}

void ml_migrate_begin(BGuest *source, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(source, "pause-before-switchover", true);
    bg_migrate_limit(source, bandwidth);
    bg_migrate_start(source, dest);
}

void ml_migrate_wait_sent(BGuest *source)
{
    gint64 end = hang_deadline();
    unsigned int times = 0;
    bool sent = false;

    bg_migrate_limit(source, 0);
    while (!sent) {
        QDict *info = bg_query_migrate(source);
        const char *status = qdict_get_str(info, "status");

        g_assert_cmpstr(status, !=, "failed");
        sent = !strcmp(status, "pre-switchover");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

void ml_migrate_finish(BGuest *source, BGuest *dest)
{
    ml_migrate_wait_sent(source);
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(source, dest);
}

static void wait_skipped(BGuest *g, const char *member, uint64_t bytes)
{
    gint64 end = hang_deadline();
    unsigned int times = 0;
    uint64_t skipped = 0;

    while (skipped < bytes) {
        QDict *info = bg_query_migrate(g);
        QDict *dict = qdict_get_qdict(info, member);

        skipped = dict ? qdict_get_int(dict, "skipped-bytes") : 0;
        qobject_unref(info);
        if (g_get_monotonic_time() > end) {
            g_error("%s: %" PRIu64 " bytes skipped, not %" PRIu64, member,
                    skipped, bytes);
        }
        bg_wait_some(&times);
    }
}

/* Slices that a migration has to skip, before anything is done during it */
static void wait_first_pass(BGuest *g, const MLayout *layout, MLMode mode)
{
    uint64_t given = 0, untouched = 0;
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        if (mode & ML_BALLOON && !part->stuck) {
            given += 3 * ml_slice(part);
        } else if (!part->stuck && !part->alone) {
            untouched += 3 * ml_slice(part);
        }
        if (!part->alone && !part->kept && !part->blurred && !part->full) {
            untouched += ml_slice(part);
        }
    }
    if (mode & ML_BALLOON) {
        wait_skipped(g, "skip-balloon", given);
    }
    if (mode & ML_UNPOPULATED) {
        wait_skipped(g, "skip-unpopulated", untouched);
    }
}

/* Wait until the slices that are to be sent first have been. */
static void wait_arrival(BGuest *g, BGuest *dest, const MLPart *part)
{
    uint64_t last = part->offset + (ML_SENT_TAKEN_BACK + 1) * ml_slice(part) -
                    BALLOON_PAGE;
    GArray *here = rb_list(g);
    GArray *there = rb_list(dest);
    gint64 end = hang_deadline();
    uint8_t wanted, byte;

    rb_read(g, rb_find(here, part->id), last, &wanted, 1);
    do {
        rb_read(dest, rb_find(there, part->id), last, &byte, 1);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    } while (byte != wanted);
    rb_free(here);
    rb_free(there);
}

/* ---- What has to hold ---- */

static void assert_left_alone(BGuest *g, const char *id, const char *reason)
{
    QDict *info = bg_query_migrate(g);
    QDict *skip = qdict_get_qdict(info, "skip-unpopulated");
    const char *found = NULL;
    QListEntry *entry;

    g_assert_nonnull(skip);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(skip, "left-alone"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(value, "id"), id)) {
            found = qdict_get_str(value, "reason");
        }
    }
    g_assert_cmpstr(found, ==, reason);
    qobject_unref(info);
}

static void assert_let_go(BGuest *g, BGuest *dest, const MLPart *part)
{
    if (!part->blurred && !part->template) {
        rb_assert_map_let_go(g, dest, part->id);
    }
}

/*
 * Pages of a RAM block in the map in the end.  What the guest lied about stays
 * there: it has not taken it back.
 */
static uint64_t expected_map(const MLayout *layout, const char *id)
{
    uint64_t given = 0;
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        if (strcmp(part->id, id) || part->stuck) {
            continue;
        }
        given += 4 * ml_slice(part);
        if (layout->by_parts) {
            /* Every other page, of huge pages that stay populated */
            given += ml_slice(part) / 2;
        }
    }
    return given / BALLOON_PAGE;
}

static void check_source(BGuest *g, const MLayout *layout, const MLPart *part,
                         MLMode mode)
{
    bool skips = !part->alone && mode & ML_UNPOPULATED;
    bool gives = !part->stuck && (mode & ML_BALLOON || skips);

    if (rb_map_pages(g, part->id) != expected_map(layout, part->id)) {
        g_autofree char *map = rb_map(g);

        g_error("%s: not the balloon map expected:\n%s", part->id, map);
    }
    if (mode & ML_UNPOPULATED) {
        assert_left_alone(g, part->id, part->alone);
    }
    if (gives && !part->blurred) {
        assert_unpopulated(g, part, ML_GIVEN, 0);
        assert_unpopulated(g, part, ML_LIED, unit_of(part));
        assert_unpopulated(g, part, ML_SENT_LIED, unit_of(part));
    }
    if (gives && !part->blurred && unit_of(part) == bg_target_page()) {
        /* A page that is just being sent may be populated by that. */
        assert_unpopulated(g, part, ML_GIVEN_LATER, bg_target_page());
    }
    if (skips && !part->kept && !part->blurred) {
        assert_unpopulated(g, part, ML_SENT_BOTH, 0);
    }
    if (skips && !part->kept && !part->blurred && !part->full) {
        assert_unpopulated(g, part, ML_UNTOUCHED, 0);
    }
}

/*
 * The map travels with either capability, and what the guest gave back is let
 * go of, even if it was preallocated there.  Of a file on a disk, where the
 * page cache has large folios, what arrives later may populate it again, as
 * what the guest writes does on the source.
 */
static void check_dest(BGuest *g, BGuest *dest, const MLPart *part,
                       MLMode mode)
{
    bool small = unit_of(part) <= bg_target_page();
    bool skips = !part->alone && !part->kept && !part->template &&
                 !part->blurred && mode & ML_UNPOPULATED;
    bool gives = !part->stuck && !part->template && !part->blurred &&
                 (mode & ML_BALLOON || !part->alone);

    if (gives) {
        assert_unpopulated(dest, part, ML_GIVEN, 0);
        assert_let_go(g, dest, part);
    }
    if (gives && small) {
        assert_unpopulated(dest, part, ML_GIVEN_LATER, bg_target_page());
        assert_unpopulated(dest, part, ML_LIED, unit_of(part));
        assert_unpopulated(dest, part, ML_SENT_LIED, unit_of(part));
    }
    if (skips && small && !part->stays) {
        assert_unpopulated(dest, part, ML_SENT_BOTH, 0);
    }
    if (skips && !part->full) {
        assert_unpopulated(dest, part, ML_UNTOUCHED, 0);
    }
}

static void check_same(BGuest *g, BGuest *dest, const MLayout *layout)
{
    g_autofree char *map = rb_map(g);
    g_autofree char *map_there = rb_map(dest);

    g_assert_cmpstr(map_there, ==, map);
    rb_assert_same_memory(g, dest, NULL, 0, 0);
    if (layout->compare) {
        layout->compare(g, dest);
    }
}

/* ---- All of it ---- */

static void go_there(const MLayout *layout, MLMode mode, BGuest *g,
                     BGuest *dest)
{
    const MLPart *part;

    ml_set_mode(g, mode);
    ml_set_mode(dest, mode);
    ml_migrate_begin(g, dest, ML_SLOW);
    wait_first_pass(g, layout, mode);
    wait_arrival(g, dest, layout->part);
    bg_migrate_limit(g, ML_NEXT_TO_NOTHING);
    act(g, layout, act_during);
    ml_migrate_wait_sent(g);
    act(g, layout, act_late);
    ml_migrate_finish(g, dest);

    for (part = layout->part; part->id; part++) {
        check_source(g, layout, part, mode);
        check_dest(g, dest, part, mode);
    }
    check_same(g, dest, layout);
}

/* Does the host tell exactly what is populated? */
static bool is_exact(const MLayout *layout)
{
    const MLPart *part = layout->part;

    while (part->id && !part->blurred) {
        part++;
    }
    return !part->id;
}

/* Pages of the map of which the host has anything, in units */
static uint64_t count_vetoes(BGuest *g, const MLayout *layout)
{
    uint64_t n = 0;
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        if (part == layout->part || strcmp(part[-1].id, part->id)) {
            n += rb_count_map_populated(g, part->id, unit_of(part));
        }
    }
    return n;
}

static bool is_stuck(const MLayout *layout)
{
    const MLPart *part = layout->part;

    while (part->id && part->stuck) {
        part++;
    }
    return !part->id;
}

/* Of what the guest gave back, nothing was let go of. */
static void assert_disabled(BGuest *g)
{
    QDict *skip = bg_skip_info(g);

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(skip, "reason"), ==, "discard-inhibited");
    qobject_unref(skip);
}

/* The map that arrived lets the next migration skip at once. */
static void go_back(const MLayout *layout, MLMode mode, BGuest *g,
                    BGuest *dest)
{
    uint64_t given, populated;
    const MLPart *part;

    act(g, layout, act_there);
    given = bg_map_pages(g, NULL) * BALLOON_PAGE;
    populated = count_vetoes(g, layout) * BALLOON_PAGE;
    ml_set_mode(g, mode);
    ml_set_mode(dest, mode);
    bg_migrate_limit(g, 0);
    bg_migrate_start(g, dest);
    bg_migrate_wait(g, dest);
    if (mode & ML_BALLOON && is_stuck(layout)) {
        g_assert_cmpuint(given, ==, 0);
        assert_disabled(g);
    } else if (mode & ML_BALLOON) {
        int64_t skipped = bg_migrate_stat(g, "skip-balloon", "skipped-bytes");
        int64_t vetoed = bg_migrate_stat(g, "skip-balloon", "vetoed-pages");

        g_assert_cmpuint(bg_map_pages(dest, NULL) * BALLOON_PAGE, ==, given);
        /* Each pass counts a veto against a page that has yet to be sent. */
        g_assert_cmpint(skipped, <=, given);
        g_assert_cmpint(skipped + vetoed * bg_target_page(), >=, given);
        if (is_exact(layout)) {
            g_assert_cmpint(skipped, ==, given - populated);
            /* The last ones may be sent before another pass sees them. */
            g_assert_cmpint(vetoed * bg_target_page(), >=, populated);
            g_assert_true(populated || !vetoed);
        }
    }
    for (part = layout->part; part->id; part++) {
        assert_let_go(g, dest, part);
    }
    check_same(g, dest, layout);
}

void ml_run(const MLayout *layout, MLMode mode)
{
    MLGuest *source = ml_start(layout, false);
    MLGuest *dest, *back;

    if (layout->prepare) {
        layout->prepare(source->g);
    }
    bg_driver_start(source->g, 1u << VIRTIO_BALLOON_F_MUST_TELL_HOST);
    act(source->g, layout, act_before);
    dest = ml_start(layout, true);
    go_there(layout, mode, source->g, dest->g);
    ml_quit(source);

    back = ml_start(layout, true);
    go_back(layout, mode, dest->g, back->g);
    ml_quit(back);
    ml_quit(dest);
}
