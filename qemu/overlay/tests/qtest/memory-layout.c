/*
 * A guest of any memory layout, ballooned, migrated there and back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "memory-layout.h"

#define WAIT_SECONDS 60

/* What becomes of the slices of a part */
enum {
    LIVE,                       /* the guest uses it */
    SENT_TAKEN_BACK,            /* sent, given back, skipped, taken back */
    GIVEN,                      /* given back before the migration */
    TAKEN_BACK,                 /* ... and half of it used again */
    LIED,                       /* ... and a page used without telling */
    GIVEN_LATER,                /* sent, or not, and then given back */
    SENT_BOTH,                  /* sent, given back and taken back at once */
    SENT_LIED,                  /* sent, given back, a page used */
    UNTOUCHED,
    SLICES,
};

/* ---- Start and end ---- */

/* A file that somebody has used before, or one that QEMU is to make */
static char *make_file(const MLayout *layout)
{
    char *path = hm_temp_path(layout->dir ?: g_get_tmp_dir(), "layout");
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

BGuest *ml_start(const MLayout *layout, MLMode mode, bool incoming)
{
    static const char *const capabilities[][3] = {
        [ML_BALLOON] = { "skip-balloon" },
        [ML_UNPOPULATED] = { "skip-unpopulated" },
        [ML_BOTH] = { "skip-balloon", "skip-unpopulated" },
    };
    char *file = layout->dir || layout->file_size ? make_file(layout) : NULL;
    g_autofree char *all = g_strdup_printf(
        "%s %s", layout->args ?: "",
        (incoming ? layout->dest_args : layout->source_args) ?: "");
    g_autofree char *args = with_file(all, file);
    g_autofree char *machine = with_file(layout->machine, file);
    BGuest like = {
        .options = {
            .ram_id = layout->ram_id,
            .machine_args = machine,
            .args = args,
            .device_args = layout->device_args,
            .capabilities = capabilities[mode],
        },
    };
    BGuest *g = incoming ? bg_start_incoming(&like) : bg_start(&like.options);

    /*
     * With machine_args neither says anything else: the first one is for
     * ml_quit(), and bg_fill() may write by itself to as much as the other.
     */
    g->options.ram_file = file;
    g->options.ram_size = rb_size(g, g->ram_id);
    return g;
}

void ml_quit(BGuest *g)
{
    char *file = (char *)g->options.ram_file;

    bg_quit(g);
    if (file) {
        unlink(file);
    }
    g_free(file);
}

/* ---- Parts ---- */

static uint64_t unit_of(const MLPart *part)
{
    return part->unit ?: bg_target_page();
}

static uint64_t slice_size(const MLPart *part)
{
    return MAX(unit_of(part), MiB);
}

static uint64_t slice_addr(const MLPart *part, int slice)
{
    return part->addr + slice * slice_size(part);
}

static void fill(BGuest *g, const MLPart *part, int slice, int seed)
{
    bg_fill(g, slice_addr(part, slice), slice_size(part), seed);
}

/* Every other page of a slice, from the first or the second on */
static void give_every_other(BGuest *g, const MLPart *part, int slice,
                             bool second)
{
    uint64_t n = slice_size(part) / BALLOON_PAGE / 2;
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    uint64_t i;

    for (i = 0; i < n; i++) {
        pfns[i] = slice_addr(part, slice) / BALLOON_PAGE + 2 * i + second;
    }
    bg_request(g, BG_INFLATE, pfns, n);
}

static void give(BGuest *g, const MLayout *layout, const MLPart *part,
                 int slice)
{
    if (layout->by_parts) {
        give_every_other(g, part, slice, true);
        give_every_other(g, part, slice, false);
    } else {
        bg_request_range(g, BG_INFLATE, slice_addr(part, slice),
                         slice_size(part));
    }
}

static void take_back(BGuest *g, const MLPart *part, int slice)
{
    bg_request_range(g, BG_DEFLATE, slice_addr(part, slice),
                     slice_size(part));
}

static void lie(BGuest *g, const MLPart *part, int slice)
{
    bg_fill(g, slice_addr(part, slice) + 5 * BALLOON_PAGE, BALLOON_PAGE, 50);
}

/* Nothing of a slice may be populated, but for @used bytes. */
static void assert_unpopulated(BGuest *g, const MLPart *part, int slice,
                               uint64_t used)
{
    uint64_t n = rb_count_populated(g, part->id, part->offset +
                                    slice * slice_size(part),
                                    slice_size(part));

    if (n > used / BALLOON_PAGE) {
        g_error("%s: %" PRIu64 " pages of slice %d are populated on the %s",
                part->id, n, slice, g->socket ? "destination" : "source");
    }
}

/* ---- What the guest does ---- */

static void act_before(BGuest *g, const MLayout *layout, const MLPart *part)
{
    int slice;

    for (slice = LIVE; slice < UNTOUCHED; slice++) {
        fill(g, part, slice, slice);
    }
    give(g, layout, part, GIVEN);
    give(g, layout, part, TAKEN_BACK);
    give(g, layout, part, LIED);
    if (layout->by_parts) {
        give_every_other(g, part, LIVE, true);
    }
    if (unit_of(part) > bg_target_page()) {
        /* The host cannot let go of that, so it keeps what it holds. */
        g_assert_cmphex(qtest_readb(g->qts, slice_addr(part, LIVE) +
                                    BALLOON_PAGE), !=, 0);
    }
}

static void act_during(BGuest *g, const MLayout *layout, const MLPart *part)
{
    take_back(g, part, TAKEN_BACK);
    bg_fill(g, slice_addr(part, TAKEN_BACK), slice_size(part) / 2, 40);
    lie(g, part, LIED);
    give(g, layout, part, SENT_TAKEN_BACK);
    give(g, layout, part, GIVEN_LATER);
}

static void act_late(BGuest *g, const MLayout *layout, const MLPart *part)
{
    take_back(g, part, SENT_TAKEN_BACK);
    give(g, layout, part, SENT_BOTH);
    take_back(g, part, SENT_BOTH);
    give(g, layout, part, SENT_LIED);
    lie(g, part, SENT_LIED);
}

static void act_there(BGuest *g, const MLayout *layout, const MLPart *part)
{
    if (layout->by_parts && unit_of(part) > bg_target_page()) {
        /* The others were given back before the migration. */
        give_every_other(g, part, LIVE, false);
        assert_unpopulated(g, part, LIVE, 0);
    } else {
        give(g, layout, part, LIVE);
    }
    fill(g, part, UNTOUCHED, 60);
}

static void act(BGuest *g, const MLayout *layout,
                void (*func)(BGuest *, const MLayout *, const MLPart *))
{
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        func(g, layout, part);
    }
}

/* ---- Migration ---- */

void ml_migrate_begin(BGuest *source, BGuest *dest, uint64_t bandwidth)
{
    bg_set_capability(source, "pause-before-switchover", true);
    bg_migrate_begin(source, dest, bandwidth);
}

void ml_migrate_wait_sent(BGuest *source)
{
    bg_migrate_limit(source, 0);
    bg_wait_status(source, "pre-switchover", WAIT_SECONDS);
}

void ml_migrate_finish(BGuest *source, BGuest *dest)
{
    ml_migrate_wait_sent(source);
    bg_migrate_continue(source, dest);
}

static bool has_skipped(BGuest *g, const char *member, uint64_t bytes)
{
    QDict *info = bg_query_migrate(g);
    QDict *dict = qdict_get_qdict(info, member);
    bool skipped = dict && qdict_get_int(dict, "skipped-bytes") >= bytes;

    qobject_unref(info);
    return skipped;
}

/* Slices that a migration has to skip, before anything is done during it */
static void wait_first_pass(BGuest *g, const MLayout *layout, MLMode mode)
{
    uint64_t given = 0, untouched = 0;
    const MLPart *part;

    for (part = layout->part; part->id; part++) {
        if (mode & ML_BALLOON && !part->stuck) {
            given += 3 * slice_size(part);
        } else if (!part->stuck && !part->alone) {
            untouched += 3 * slice_size(part);
        }
        if (!part->alone && !part->kept && !part->blurred && !part->full) {
            untouched += slice_size(part);
        }
    }
    bg_step("%s: the first pass skips", layout->name);
    BG_WAIT(!given || has_skipped(g, "skip-balloon", given));
    BG_WAIT(!(mode & ML_UNPOPULATED) || !untouched ||
            has_skipped(g, "skip-unpopulated", untouched));
}

/* Wait until the slices that are to be sent first have been. */
static void wait_arrival(BGuest *g, BGuest *dest, const MLPart *part)
{
    uint64_t last = part->offset + (SENT_TAKEN_BACK + 1) * slice_size(part) -
                    BALLOON_PAGE;
    uint8_t wanted = rb_byte(g, part->id, last);

    BG_WAIT(rb_byte(dest, part->id, last) == wanted);
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
        if (!strcmp(part->id, id) && !part->stuck) {
            given += 4 * slice_size(part);
            /* Every other page, of huge pages that stay populated */
            given += layout->by_parts ? slice_size(part) / 2 : 0;
        }
    }
    return given / BALLOON_PAGE;
}

static void check_source(BGuest *g, const MLayout *layout, const MLPart *part,
                         MLMode mode)
{
    bool skips = !part->alone && mode & ML_UNPOPULATED;
    bool gives = !part->stuck && (mode & ML_BALLOON || skips);

    g_assert_cmpuint(rb_map_pages(g, part->id, NULL, 0), ==,
                     expected_map(layout, part->id));
    if (mode & ML_UNPOPULATED) {
        assert_left_alone(g, part->id, part->alone);
    }
    if (part->blurred) {
        return;
    }
    if (gives) {
        assert_unpopulated(g, part, GIVEN, 0);
        assert_unpopulated(g, part, LIED, unit_of(part));
        assert_unpopulated(g, part, SENT_LIED, unit_of(part));
        if (unit_of(part) == bg_target_page()) {
            /* A page that is just being sent may be populated by that. */
            assert_unpopulated(g, part, GIVEN_LATER, bg_target_page());
        }
    }
    if (skips && !part->kept) {
        assert_unpopulated(g, part, SENT_BOTH, 0);
        assert_unpopulated(g, part, UNTOUCHED,
                           part->full ? slice_size(part) : 0);
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

    if (part->template || part->blurred) {
        return;
    }
    if (!part->stuck && (mode & ML_BALLOON || !part->alone)) {
        assert_unpopulated(dest, part, GIVEN, 0);
        assert_let_go(g, dest, part);
        if (small) {
            assert_unpopulated(dest, part, GIVEN_LATER, bg_target_page());
            assert_unpopulated(dest, part, LIED, unit_of(part));
            assert_unpopulated(dest, part, SENT_LIED, unit_of(part));
        }
    }
    if (!part->alone && !part->kept && mode & ML_UNPOPULATED) {
        if (small && !part->stays) {
            assert_unpopulated(dest, part, SENT_BOTH, 0);
        }
        assert_unpopulated(dest, part, UNTOUCHED,
                           part->full ? slice_size(part) : 0);
    }
}

static void check_same(BGuest *g, BGuest *dest, const MLayout *layout)
{
    rb_assert_same(g, dest);
    if (layout->check) {
        layout->check(g);
        layout->check(dest);
    }
}

/* ---- All of it ---- */

static void go_there(const MLayout *layout, MLMode mode, BGuest *g,
                     BGuest *dest)
{
    const MLPart *part;

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

/* The map that arrived lets the next migration skip at once. */
static void go_back(const MLayout *layout, MLMode mode, BGuest *g,
                    BGuest *dest)
{
    uint64_t given, populated = 0, n;
    bool stuck = true, exact = true;
    const MLPart *part;

    act(g, layout, act_there);
    given = bg_map_pages(g, NULL) * BALLOON_PAGE;
    for (part = layout->part; part->id; part++) {
        if (part == layout->part || strcmp(part[-1].id, part->id)) {
            rb_map_pages(g, part->id, &n, unit_of(part));
            populated += n * BALLOON_PAGE;
        }
        stuck &= part->stuck;
        exact &= !part->blurred;
    }
    bg_migrate(g, dest);
    if (mode & ML_BALLOON && stuck) {
        /* Of what the guest gave back, nothing was let go of. */
        g_assert_cmpuint(given, ==, 0);
        bg_assert_disabled(g, "discard-inhibited");
    } else if (mode & ML_BALLOON) {
        uint64_t skipped = bg_skip_stat(g, "skipped-bytes");
        uint64_t vetoed = bg_skip_stat(g, "vetoed-pages") * bg_target_page();

        g_assert_cmpuint(bg_map_pages(dest, NULL) * BALLOON_PAGE, ==, given);
        /* Each pass counts a veto against a page that has yet to be sent. */
        g_assert_cmpuint(skipped, <=, given);
        g_assert_cmpuint(skipped + vetoed, >=, given);
        if (exact) {
            g_assert_cmpuint(skipped, ==, given - populated);
            /* The last ones may be sent before another pass sees them. */
            g_assert_cmpuint(vetoed, >=, populated);
            g_assert_true(populated || !vetoed);
        }
    }
    for (part = layout->part; part->id; part++) {
        assert_let_go(g, dest, part);
    }
    check_same(g, dest, layout);
}

static void run(const MLayout *layout, MLMode mode)
{
    BGuest *source = ml_start(layout, mode, false);
    BGuest *dest, *back;

    if (layout->prepare) {
        layout->prepare(source);
    }
    bg_driver_start(source, BG_MUST_TELL_HOST);
    act(source, layout, act_before);
    dest = ml_start(layout, mode, true);
    go_there(layout, mode, source, dest);
    ml_quit(source);

    back = ml_start(layout, mode, true);
    go_back(layout, mode, dest, back);
    ml_quit(back);
    ml_quit(dest);
}

/* ---- Tests ---- */

typedef struct Case {
    const MLayout *layout;
    MLMode mode;
} Case;

static void test_layout(gconstpointer data)
{
    const Case *c = data;
    MLayout layout = *c->layout;
    g_autofree char *dir = NULL;
    bool mounted;

    if (layout.dir && access(layout.dir, W_OK)) {
        g_test_skip("there is no directory to write to");
    } else if (!layout.huge_bytes || g_test_subprocess()) {
        if (layout.on_hugetlbfs) {
            layout.dir = dir = hm_find_hugetlbfs(&mounted);
            g_assert_false(mounted);
        }
        run(&layout, c->mode);
    } else if (layout.on_hugetlbfs) {
        /* Two guests are alive at a time. */
        hm_test_on_hugetlbfs(2 * layout.huge_bytes);
    } else {
        hm_test_with_huge_pages(2 * layout.huge_bytes);
    }
}

void ml_add_layouts(const MLayout *layouts, int n)
{
    static const char *const modes[] = {
        [ML_BALLOON] = "balloon",
        [ML_UNPOPULATED] = "unpopulated",
        [ML_BOTH] = "both",
    };
    int i, mode;

    for (i = 0; i < n; i++) {
        for (mode = layouts[i].each_alone ? ML_BALLOON : ML_BOTH;
             mode <= ML_BOTH; mode++) {
            Case c = { &layouts[i], mode };

            bg_add_test(g_memdup2(&c, sizeof(c)), test_layout,
                        "skip-memory/%s/%s", layouts[i].name, modes[mode]);
        }
    }
}
