/*
 * Property "enforce" of virtio-balloon: a guest does not use what it gave back
 *
 * Here the main loop of QEMU accesses guest memory, as an emulated device does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/qemu_fw_cfg.h"
#include "balloon-enforce-test.h"
#include "host-memory.h"

#define RAM_SIZE (64 * MiB)
#define RAM_PAGES (RAM_SIZE / BALLOON_PAGE)

/* What the guest gives back, unless a test says otherwise */
#define GIVEN (16 * MiB)
#define GIVEN_SIZE (4 * MiB)

/* Where fw_cfg has its address of DMA, on a PC */
#define FW_CFG_DMA_PORT 0x514

/* Random accesses; SB_ENFORCE_GOAL: another number */
#define GOAL 3000

/* @events: to be noted, or NULL */
static BGuest *start(BGBackend backend, const char *mode, Events *events)
{
    g_autofree char *args = g_strdup_printf("enforce=%s", mode);
    BGOptions options = { .backend = backend, .device_args = args };
    BGuest *g = bg_start_driven(&options);

    if (events) {
        watch_events(g, events);
    }
    return g;
}

/* The same of a guest that has given memory back, which it never used */
static BGuest *start_given(BGBackend backend, const char *mode, Events *events)
{
    BGuest *g = start(backend, mode, events);

    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    return g;
}

/* ---- What is told ---- */

uint64_t info_member(BGuest *g, const char *name)
{
    QDict *info = bg_map_info(g, g->ram_id, 0, false);
    uint64_t value = qdict_get_int(info, name);

    qobject_unref(info);
    return value;
}

uint64_t not_enforced(BGuest *g, const char *reason)
{
    QDict *info = bg_map_info(g, g->ram_id, 0, false);
    uint64_t bytes = 0;
    QListEntry *entry;

    if (qdict_haskey(info, "not-enforced")) {
        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "not-enforced"), entry) {
            QDict *value = qobject_to(QDict, qlist_entry_obj(entry));

            if (!strcmp(qdict_get_str(value, "reason"), reason)) {
                bytes += qdict_get_int(value, "bytes");
            }
        }
    }
    qobject_unref(info);
    return bytes;
}

static bool on_event(QTestState *qts, const char *name, QDict *event,
                     void *opaque)
{
    Events *events = opaque;
    QDict *data;

    if (!strcmp(name, "STOP")) {
        events->stopped = true;
        events->before_stop = events->n > 0;
    }
    if (strcmp(name, EVENT)) {
        return false;
    }
    data = qdict_get_qdict(event, "data");
    events->n++;
    events->count += qdict_get_int(data, "count");
    events->offset = qdict_get_int(data, "offset");
    events->address = qdict_get_int(data, "address");
    g_assert_cmpstr(qdict_get_str(data, "device"), ==, "balloon0");
    g_assert_cmpstr(qdict_get_str(data, "qom-path"), ==,
                    "/machine/peripheral/balloon0");
    g_assert_cmpstr(qdict_get_str(data, "id"), ==, events->id);
    return true;
}

void watch_events(BGuest *g, Events *events)
{
    *events = (Events) { .id = g->ram_id };
    qtest_qmp_set_event_callback(g->qts, on_event, events);
}

void sync_events(BGuest *g)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-name' }");
}

void wait_events(BGuest *g, Events *events, uint64_t count)
{
    BG_WAIT((sync_events(g), events->count >= count));
    g_assert_cmpuint(events->count, ==, count);
}

/* ---- Off ---- */

static bool has_userfaultfd(BGuest *g)
{
    g_autofree char *fd = bg_find_fd(g, "[userfaultfd]");

    return fd;
}

/* Mappings of QEMU whose accesses are noticed */
static unsigned int count_registered(BGuest *g)
{
    g_autofree char *text = bg_proc(g, "smaps");
    const char *flags;
    unsigned int n = 0;

    for (flags = text; (flags = strstr(flags, "VmFlags:")); flags++) {
        g_autofree char *line = g_strndup(flags, strcspn(flags, "\n"));

        n += strstr(line, " um") != NULL;
    }
    return n;
}

static void test_off(gconstpointer data)
{
    BGuest *g = start_given(BG_ANON, "off", NULL);
    QDict *info;

    qtest_writeb(g->qts, GIVEN, 1);
    info = bg_map_info(g, g->ram_id, 0, false);
    g_assert(!qdict_haskey(info, "enforced"));
    g_assert(!qdict_haskey(info, "not-enforced"));
    g_assert(!qdict_haskey(info, "accesses"));
    qobject_unref(info);
    g_assert(!has_userfaultfd(g));
    g_assert_cmpuint(count_registered(g), ==, 0);
    bg_assert_map(g, GIVEN_SIZE / BALLOON_PAGE);
    g_assert(!qtest_qmp_event_ref(g->qts, EVENT));
    bg_quit(g);
}

/* A guest takes some; the test runs in a subprocess that has them. */
static bool has_huge_pages(void)
{
    if (!g_test_subprocess()) {
        hm_test_with_huge_pages(RAM_SIZE);
    }
    return g_test_subprocess();
}

/* ---- Reported ---- */

static void test_report(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    uint64_t page = backend == BG_HUGETLB ? 2 * MiB : BALLOON_PAGE;
    Events events;
    BGuest *g;

    if (backend == BG_HUGETLB && !has_huge_pages()) {
        return;
    }
    g = start(backend, "report", &events);
    g_assert(has_userfaultfd(g));
    bg_fill(g, GIVEN, GIVEN_SIZE, 1);
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, GIVEN_SIZE);
    g_assert_cmpuint(count_registered(g), ==, 1);

    bg_step("written to");
    qtest_writeb(g->qts, GIVEN + MiB + 5, 7);
    g_assert_cmpint(qtest_readb(g->qts, GIVEN + MiB + 5), ==, 7);
    g_assert_cmpint(qtest_readb(g->qts, GIVEN + MiB), ==, 0);
    wait_events(g, &events, 1);
    g_assert_cmpuint(events.offset, ==, GIVEN + MiB);
    g_assert_cmpuint(events.address, ==, GIVEN + MiB);
    assert_accesses(g, 1);
    g_assert_cmpuint(bg_in_map(g, GIVEN, GIVEN_SIZE), ==,
                     GIVEN_SIZE - BALLOON_PAGE);
    g_assert_cmpuint(bg_in_map(g, GIVEN + MiB, BALLOON_PAGE), ==, 0);
    assert_enforced(g, GIVEN_SIZE - page);
    assert_not_enforced(g, "part-of-page", page - BALLOON_PAGE);

    bg_step("read");
    g_assert_cmpint(qtest_readb(g->qts, GIVEN + 3 * MiB + 4095), ==, 0);
    wait_events(g, &events, 2);
    g_assert_cmpuint(events.offset, ==, GIVEN + 3 * MiB);

    bg_step("given back again");
    bg_request_range(g, BG_INFLATE, GIVEN + MiB, BALLOON_PAGE);
    g_assert_cmpint(qtest_readb(g->qts, GIVEN + MiB + 5), ==, 0);
    wait_events(g, &events, 3);

    bg_step("taken back");
    bg_request_range(g, BG_DEFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, 0);
    g_assert_cmpuint(count_registered(g), ==, 0);
    bg_fill(g, GIVEN, GIVEN_SIZE, 2);
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);
    g_assert_cmpuint(info_member(g, "accesses"), ==, 3);
    sync_events(g);
    g_assert_cmpuint(events.count, ==, 3);

    bg_step("next to it");
    bg_request_range(g, BG_INFLATE, GIVEN, page);
    qtest_readb(g->qts, GIVEN + page);
    qtest_readb(g->qts, GIVEN - 1);
    assert_accesses(g, 3);
    bg_quit(g);
}

/* A guest that goes through its balloon: few events, of all pages */
static void test_rate(gconstpointer data)
{
    const uint64_t pages = GIVEN_SIZE / BALLOON_PAGE;
    Events events;
    BGuest *g = start_given(BG_ANON, "report", &events);
    gint64 begin = g_get_monotonic_time();
    uint64_t i;

    for (i = 0; i < pages; i++) {
        qtest_writeb(g->qts, GIVEN + i * BALLOON_PAGE, 1);
    }
    wait_events(g, &events, pages);
    g_assert_cmpuint(events.n, <=,
                     2 + (g_get_monotonic_time() - begin) / 250000);
    assert_accesses(g, pages);
    bg_assert_map(g, 0);

    bg_step("nothing is held back when the guest stops");
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    qtest_writeb(g->qts, GIVEN, 1);
    qtest_writeb(g->qts, GIVEN + MiB, 1);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    g_assert_cmpuint(events.count, ==, pages + 2);
    bg_quit(g);
}

/* ---- Paused ---- */

static void test_pause(gconstpointer data)
{
    BGBackend backend = GPOINTER_TO_INT(data);
    uint64_t page = backend == BG_HUGETLB ? 2 * MiB : BALLOON_PAGE;
    uint64_t left = GIVEN_SIZE;
    Events events;
    BGuest *g;
    int i;

    if (backend == BG_HUGETLB && !has_huge_pages()) {
        return;
    }
    g = start_given(backend, "pause", NULL);
    for (i = 0; i < 2; i++) {
        bg_step("access %d", i);
        watch_events(g, &events);
        qtest_writeb(g->qts, GIVEN + i * 2 * MiB, 1);
        BG_WAIT((sync_events(g), events.stopped));
        g_assert(events.before_stop);
        g_assert_cmpuint(events.count, ==, 1);
        g_assert_cmpuint(events.offset, ==, GIVEN + i * 2 * MiB);
        g_assert(!bg_is_running(g));
        assert_enforced(g, 0);
        left -= BALLOON_PAGE;
        assert_not_enforced(g, "stopped", left);
        /* Whatever is done to it while it is stopped is not the guest's. */
        qtest_readb(g->qts, GIVEN + MiB + i * BALLOON_PAGE);
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
        g_assert(bg_is_running(g));
        assert_enforced(g, GIVEN_SIZE - (i + 1) * page);
        /* It is the guest's now. */
        qtest_writeb(g->qts, GIVEN + i * 2 * MiB, 2);
        assert_accesses(g, i + 1);
    }
    bg_step("an honest guest");
    bg_request_range(g, BG_DEFLATE, GIVEN, GIVEN_SIZE);
    qtest_writeb(g->qts, GIVEN + MiB / 2, 1);
    g_assert(bg_is_running(g));
    assert_accesses(g, 2);
    bg_quit(g);
}

/* ---- What is noted and what is asked for, in order ---- */

#define THE_MAP "(void *)balloon_map_get()"
#define THE_BLOCK "(void *)qemu_ram_block_by_name(\"ram0\")"
/* What a RAMBlock has behind its rcu_head */
#define THE_REGION "*(void **)((char *)" THE_BLOCK " + 16)"

/*
 * The guest uses a page of its balloon and makes a request at once: the main
 * loop has no time in between.
 */
static void access_and(BGuest *g, uint64_t addr, const char *request)
{
    g_autofree char *access = g_strdup_printf(
        "call (void)explicit_bzero(0x%" PRIx64 ", 1)", g->hva + addr);

    bg_gdb(g, "call (void)bql_lock_impl(\"test\", 1)", access, request,
           "call (void)bql_unlock()", NULL);
}

static void test_order(gconstpointer data)
{
    Events events;
    BGuest *g;

    if (!bg_gdb_or_skip()) {
        return;
    }
    g = start_given(BG_ANON, "report", &events);

    bg_step("taken back");
    access_and(g, GIVEN, "call (void)balloon_map_deflate(" THE_MAP ", "
               THE_REGION ", 0x1000000, 0x1000)");
    assert_accesses(g, 1);

    bg_step("given back, and not used since");
    access_and(g, GIVEN + MiB, "call (void)balloon_map_inflate(" THE_MAP ", "
               THE_BLOCK ", 0x1100000, 0x1000)");
    assert_accesses(g, 2);
    g_assert_cmpuint(bg_in_map(g, GIVEN + MiB, BALLOON_PAGE), ==, BALLOON_PAGE);

    bg_step("reset");
    access_and(g, GIVEN + 2 * MiB, "call (void)balloon_map_reset(" THE_MAP ")");
    assert_accesses(g, 3);
    wait_events(g, &events, 3);
    bg_quit(g);
}

/* ---- Devices, and other memory ---- */

/* fw_cfg writes its signature, and zeroes behind it: a device of QEMU. */
static void write_by_dma(BGuest *g, uint64_t address, uint32_t length)
{
    const uint64_t request = 2 * MiB;
    const struct {
        uint32_t control, length;
        uint64_t address;
    } QEMU_PACKED dma = {
        .control = cpu_to_be32(FW_CFG_SIGNATURE << 16 | FW_CFG_DMA_CTL_SELECT |
                               FW_CFG_DMA_CTL_READ),
        .length = cpu_to_be32(length),
        .address = cpu_to_be64(address),
    };

    qtest_memwrite(g->qts, request, &dma, sizeof(dma));
    qtest_outl(g->qts, FW_CFG_DMA_PORT, 0);
    qtest_outl(g->qts, FW_CFG_DMA_PORT + 4, bswap32(request));
}

static void test_dma(gconstpointer data)
{
    Events events;
    BGuest *g = start_given(GPOINTER_TO_INT(data), "report", &events);
    uint8_t signature[4];

    write_by_dma(g, GIVEN + MiB, 4);
    wait_events(g, &events, 1);
    g_assert_cmphex(events.address, ==, GIVEN + MiB);
    qtest_memread(g->qts, GIVEN + MiB, signature, sizeof(signature));
    g_assert_cmpmem(signature, 4, "QEMU", 4);
    assert_accesses(g, 1);
    bg_quit(g);
}

/* A device that writes to all of the balloon keeps the main loop from it. */
static void test_in_one_go(gconstpointer data)
{
    const char *mode = data;
    /* After so many accesses they are not noticed any more. */
    const uint64_t noticed = strcmp(mode, "pause") ? 16384 : 1000;
    const uint64_t size = 128 * MiB;
    g_autofree char *args = g_strdup_printf("enforce=%s", mode);
    BGOptions options = { .device_args = args, .ram_size = 192 * MiB };
    BGuest *g = bg_start_driven(&options);
    Events events;

    watch_events(g, &events);
    bg_request_range(g, BG_INFLATE, GIVEN, size);
    write_by_dma(g, GIVEN, size);
    wait_events(g, &events, noticed);
    g_assert_cmpuint(bg_in_map(g, GIVEN, size), ==,
                     size - noticed * BALLOON_PAGE);
    if (strcmp(mode, "pause")) {
        assert_enforced(g, size - noticed * BALLOON_PAGE);
        bg_step("given back again");
        bg_request_range(g, BG_INFLATE, GIVEN, size);
        qtest_writeb(g->qts, GIVEN + size - 1, 1);
        wait_events(g, &events, noticed + 1);
    } else {
        BG_WAIT((sync_events(g), events.stopped));
    }
    bg_quit(g);
}

static void test_dimm(gconstpointer data)
{
    BGOptions options = {
        .device_args = "enforce=report",
        .args = BG_DIMM_ARGS,
    };
    BGuest *g = bg_start_driven(&options);
    Events events;
    QDict *info;

    watch_events(g, &events);
    events.id = "dimm-ram";
    bg_request_range(g, BG_INFLATE, BG_DIMM_START + 8 * MiB, MiB);
    bg_request_range(g, BG_INFLATE, GIVEN, MiB);
    qtest_writeb(g->qts, BG_DIMM_START + 8 * MiB + 4096, 1);
    wait_events(g, &events, 1);
    g_assert_cmphex(events.offset, ==, 8 * MiB + 4096);
    g_assert_cmphex(events.address, ==, BG_DIMM_START + 8 * MiB + 4096);
    info = bg_map_info(g, "dimm-ram", 0, false);
    g_assert_cmpuint(qdict_get_int(info, "enforced"), ==, MiB - 4096);
    qobject_unref(info);
    g_assert_cmpuint(count_registered(g), ==, 2);

    bg_step("unplugged");
    bg_unplug_dimm(g);
    BG_WAIT(count_registered(g) == 1);
    assert_enforced(g, MiB);
    bg_step("plugged again");
    bg_plug_dimm(g);
    qtest_writeb(g->qts, BG_DIMM_START + 8 * MiB, 1);
    bg_request_range(g, BG_INFLATE, BG_DIMM_START + 16 * MiB, MiB);
    qtest_writeb(g->qts, BG_DIMM_START + 16 * MiB, 1);
    wait_events(g, &events, 2);
    g_assert_cmphex(events.offset, ==, 16 * MiB);
    bg_quit(g);
}

/* What was scattered over memory that was never used leaves no mappings. */
static void test_mappings(gconstpointer data)
{
    BGOptions options = {
        .device_args = "enforce=report",
        .args = BG_DIMM_ARGS,
    };
    BGuest *g = bg_start_driven(&options);
    unsigned int before = bg_count_mappings(g), i;
    const unsigned int n = 512;

    bg_request_every(g, BG_INFLATE, BG_DIMM_START, 2 * BALLOON_PAGE, n);
    g_assert_cmpuint(bg_count_mappings(g), >=, before + 2 * n - 1);
    for (i = 0; i < n; i++) {
        qtest_writeb(g->qts, BG_DIMM_START + (2 * i + 1) * BALLOON_PAGE, 1);
    }
    qtest_writeb(g->qts, BG_DIMM_START, 1);
    bg_request_every(g, BG_DEFLATE, BG_DIMM_START, 2 * BALLOON_PAGE, n);
    g_assert_cmpuint(bg_count_mappings(g), <=, before + 1);
    bg_quit(g);
}

static bool has_host_liar(void)
{
    if (!g_getenv("SB_HOST_LIAR")) {
        g_test_skip("SB_HOST_LIAR names no library to preload");
    }
    return g_getenv("SB_HOST_LIAR");
}

/* On a host that does what @lie is about, see tests/host-liar.c */
static BGuest *start_with_liar(BGBackend backend, const char *lie,
                               const char *value)
{
    BGuest *g;

    g_setenv("LD_PRELOAD", g_getenv("SB_HOST_LIAR"), true);
    g_setenv(lie, value, true);
    g = start(backend, "report", NULL);
    g_unsetenv(lie);
    g_unsetenv("LD_PRELOAD");
    return g;
}

/* It has no mapping left to split one, so what is taken back stays noticed. */
static void test_unregister(gconstpointer data)
{
    BGuest *g;

    if (!has_host_liar()) {
        return;
    }
    g = start_with_liar(BG_MEMFD, "HOST_LIAR_UNREGISTER", "1");
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    bg_request_range(g, BG_DEFLATE, GIVEN + MiB, GIVEN_SIZE - MiB);
    g_assert_cmpuint(count_registered(g), ==, 1);
    assert_enforced(g, MiB);
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);
    assert_accesses(g, 0);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    g_assert_cmpuint(count_registered(g), ==, 0);
    bg_quit(g);
}

/* When what is in the balloon is registered, a guest that lies may write. */
static void test_written_at_once(gconstpointer data)
{
    BGuest *g;

    if (!has_host_liar()) {
        return;
    }
    g = start_with_liar(BG_PRIVATE_MEMFD, "HOST_LIAR_WRITES", "1");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    assert_enforced(g, GIVEN_SIZE);
    g_assert_cmpint(qtest_readb(g->qts, GIVEN), ==, 1);
    bg_quit(g);
}

/* A QEMU that is confined and may not know takes it that there are some. */
static void test_mappings_unknown(gconstpointer data)
{
    BGuest *g;

    if (!has_host_liar()) {
        return;
    }
    g = start_with_liar(BG_ANON, "HOST_LIAR_MAPPINGS", "/nonexistent");
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, GIVEN_SIZE);
    bg_quit(g);
}

/*
 * Mappings of huge pages never merge again, so there may be so many in all: a
 * third of what the process may have.
 */
static void test_cuts(gconstpointer data)
{
    const unsigned int mappings = 51;
    g_autofree char *path = NULL, *text = g_strdup_printf("%u\n", mappings);
    unsigned int before, i;
    BGuest *g;

    if (!has_host_liar() || !has_huge_pages()) {
        return;
    }
    path = hm_temp_path(g_get_tmp_dir(), "mappings");
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g = start_with_liar(BG_HUGETLB, "HOST_LIAR_MAPPINGS", path);
    before = bg_count_mappings(g);
    /* Two requests, hence two mappings */
    bg_request_range(g, BG_INFLATE, GIVEN, 8 * MiB);
    for (i = 16; i < 48; i += 4) {
        bg_request_range(g, BG_INFLATE, GIVEN + i * MiB, 2 * MiB);
        bg_request_range(g, BG_DEFLATE, GIVEN + i * MiB, 2 * MiB);
    }
    /* QEMU may have one of its own more or less meanwhile. */
    g_assert_cmpuint(bg_count_mappings(g), >=, before + mappings / 3 - 2);
    g_assert_cmpuint(bg_count_mappings(g), <=, before + mappings / 3 + 2);
    g_assert_cmpuint(count_registered(g), ==, 2);

    bg_step("what is beyond that is told");
    bg_request_range(g, BG_INFLATE, GIVEN + 44 * MiB, 2 * MiB);
    assert_enforced(g, 8 * MiB);
    assert_not_enforced(g, "too-many-runs", 2 * MiB);

    bg_step("as far as there are such mappings already");
    bg_request_range(g, BG_INFLATE, GIVEN + 16 * MiB, 2 * MiB);
    assert_enforced(g, 10 * MiB);

    bg_step("a hole that would need another is not told the kernel");
    bg_request_range(g, BG_DEFLATE, GIVEN + 4 * MiB, BALLOON_PAGE);
    assert_enforced(g, 8 * MiB);
    assert_not_enforced(g, "part-of-page", 2 * MiB - BALLOON_PAGE);
    bg_request_range(g, BG_DEFLATE, GIVEN + 4 * MiB, 2 * MiB);
    assert_enforced(g, 8 * MiB);
    qtest_writeb(g->qts, GIVEN + 4 * MiB, 1);
    assert_accesses(g, 0);
    qtest_writeb(g->qts, GIVEN + 6 * MiB, 1);
    assert_accesses(g, 1);
    g_assert_cmpuint(bg_count_mappings(g), <=, before + mappings / 3 + 2);
    bg_quit(g);
    unlink(path);
}

/* Part of a huge page is discarded when the rest is. */
static void test_part_of_page(gconstpointer data)
{
    Events events;
    BGuest *g;

    if (!has_huge_pages()) {
        return;
    }
    g = start(BG_HUGETLB, "report", &events);
    bg_request_range(g, BG_INFLATE, GIVEN, 3 * MiB);
    assert_enforced(g, 2 * MiB);
    assert_not_enforced(g, "part-of-page", 1 * MiB);
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);
    assert_accesses(g, 0);
    bg_request_range(g, BG_INFLATE, GIVEN + 3 * MiB, MiB);
    assert_enforced(g, 4 * MiB);
    assert_not_enforced(g, "part-of-page", 0);

    bg_step("a part is taken back");
    bg_request_range(g, BG_DEFLATE, GIVEN + 2 * MiB, MiB);
    assert_enforced(g, 2 * MiB);
    assert_not_enforced(g, "part-of-page", 1 * MiB);
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);
    assert_accesses(g, 0);
    qtest_writeb(g->qts, GIVEN + MiB, 1);
    wait_events(g, &events, 1);
    g_assert_cmphex(events.offset, ==, GIVEN + MiB);
    bg_quit(g);
}

/* ---- What is no access of the guest ---- */

static bool is_measured(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-dirty-rate' }");
    bool measured = !strcmp(qdict_get_str(rsp, "status"), "measured");

    qobject_unref(rsp);
    return measured;
}

/* It reads each page at random, also in the balloon. */
static void test_dirty_rate(gconstpointer data)
{
    BGuest *g = start(BG_ANON, "pause", NULL);

    bg_request_range(g, BG_INFLATE, GIVEN, RAM_SIZE - GIVEN);
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'calc-dirty-rate', 'arguments': {"
        " 'calc-time': 100, 'calc-time-unit': 'millisecond',"
        " 'sample-pages': 4096 } }");
    BG_WAIT(is_measured(g));
    assert_accesses(g, 0);
    g_assert(bg_is_running(g));
    bg_quit(g);
}

/* A device comes that has all memory populated, and goes. */
static void test_pinned(gconstpointer data)
{
    Events events;
    BGuest *g;

    if (!bg_gdb_or_skip()) {
        return;
    }
    g = start_given(BG_ANON, "report", &events);
    /* As a device does: then the kernel can pin the memory. */
    bg_gdb(g, "call (void)bql_lock_impl(\"test\", 1)",
           "call (int)ram_block_discard_disable(1)",
           "call (void)bql_unlock()", NULL);
    g_assert_cmpuint(count_registered(g), ==, 0);
    qtest_readb(g->qts, GIVEN);
    assert_accesses(g, 0);
    assert_not_enforced(g, "discard-inhibited", GIVEN_SIZE);
    g_assert_cmpuint(count_registered(g), ==, 0);
    qtest_readb(g->qts, GIVEN + BALLOON_PAGE);
    bg_gdb(g, "call (int)ram_block_discard_disable(0)", NULL);
    BG_WAIT(info_member(g, "enforced") == GIVEN_SIZE);
    assert_accesses(g, 0);
    qtest_readb(g->qts, GIVEN + MiB);
    wait_events(g, &events, 1);
    bg_quit(g);
}

/* ---- Hosts that cannot do it ---- */

static void test_not_permitted(gconstpointer data)
{
    BGOptions options = { .device_args = "enforce=report", .keep_log = true };
    g_autofree char *log = NULL;
    BGuest *g;

    if (!g_test_subprocess()) {
        g_assert_true(hm_passes_in_subprocess());
        return;
    }
    bg_forbid_userfaultfd(EPERM);
    g = bg_start_driven(&options);
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    qtest_writeb(g->qts, GIVEN, 1);
    assert_enforced(g, 0);
    assert_not_enforced(g, "userfaultfd", GIVEN_SIZE);
    bg_driver_reset(g);
    log = bg_log(g);
    g_assert_nonnull(strstr(log, "userfaultfd is not permitted"));
    bg_unplug_balloon(g);
    bg_quit(g);
}

/* ---- Many ---- */

/* A guest that lies at times, against a model */
static void test_random(gconstpointer data)
{
    const char *text = g_getenv("SB_ENFORCE_GOAL");
    const uint64_t goal = text ? g_ascii_strtoull(text, NULL, 10) : GOAL;
    g_autofree bool *in_map = g_new0(bool, RAM_PAGES);
    uint64_t i, count = 0, done, left = 0;
    const uint32_t first = 2048, pages = 2048;
    Events events;
    BGuest *g = start(GPOINTER_TO_INT(data), "report", &events);

    for (done = 0; done < goal; done++) {
        uint32_t page = first + g_test_rand_int_range(0, pages);
        uint32_t n = MIN(1 + g_test_rand_int_range(0, 64),
                         first + pages - page);
        bool wrong;

        switch (g_test_rand_int_range(0, 8)) {
        case 0:
        case 1:
            bg_request_range(g, BG_INFLATE, page * BALLOON_PAGE,
                             n * BALLOON_PAGE);
            memset(in_map + page, true, n);
            break;
        case 2:
            bg_request_range(g, BG_DEFLATE, page * BALLOON_PAGE,
                             n * BALLOON_PAGE);
            memset(in_map + page, false, n);
            break;
        default:
            if (g_test_rand_bit()) {
                qtest_writeb(g->qts, page * BALLOON_PAGE, 1);
            } else {
                qtest_readb(g->qts, page * BALLOON_PAGE);
            }
            wrong = in_map[page];
            in_map[page] = false;
            count += wrong;
        }
        if (done % 256 == 0) {
            assert_accesses(g, count);
        }
    }
    assert_accesses(g, count);
    for (i = first; i < first + pages; i++) {
        left += in_map[i];
    }
    bg_assert_map(g, left);
    wait_events(g, &events, count);
    g_test_message("%" PRIu64 " steps, %" PRIu64 " accesses to the balloon",
                   goal, count);
    bg_quit(g);
}

/* ---- Ends ---- */

static void test_reset(gconstpointer data)
{
    BGuest *g = start_given(BG_ANON, "report", NULL);
    int i;

    g_assert_cmpuint(count_registered(g), ==, 1);
    qtest_writeb(g->qts, GIVEN, 1);
    for (i = 0; i < 2; i++) {
        bg_step("reset of the %s", i ? "machine" : "device");
        i ? qtest_system_reset(g->qts) : bg_driver_reset(g);
        g_assert_cmpuint(count_registered(g), ==, 0);
        qtest_writeb(g->qts, GIVEN + MiB, 1);
        bg_driver_start(g, BG_MUST_TELL_HOST);
        bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
        assert_accesses(g, 1);
    }
    qtest_writeb(g->qts, GIVEN + MiB, 1);
    assert_accesses(g, 2);

    bg_step("unplugged");
    bg_unplug_balloon(g);
    g_assert_cmpuint(count_registered(g), ==, 0);
    g_assert(!has_userfaultfd(g));
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);

    bg_step("plugged again");
    qtest_qmp_device_add(g->qts, "virtio-balloon-pci", "balloon0",
                         "{ 'addr': '5', 'must-tell-host': true,"
                         " 'enforce': 'report' }");
    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, GIVEN_SIZE);
    qtest_writeb(g->qts, GIVEN + 2 * MiB, 1);
    assert_accesses(g, 1);
    bg_quit(g);
}

/* Such a driver may use a page again before it tells. */
static void test_must_tell_host(gconstpointer data)
{
    BGOptions options = {
        .args = "-global virtio-balloon-pci.enforce=report",
    };
    BGuest *g = bg_start(&options);

    bg_driver_start(g, 0);
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, 0);
    assert_not_enforced(g, "must-tell-host", GIVEN_SIZE);
    qtest_writeb(g->qts, GIVEN, 1);
    assert_accesses(g, 0);
    bg_assert_map(g, GIVEN_SIZE / BALLOON_PAGE);

    bg_driver_start(g, BG_MUST_TELL_HOST);
    bg_request_range(g, BG_INFLATE, GIVEN, GIVEN_SIZE);
    assert_enforced(g, GIVEN_SIZE);
    bg_quit(g);
}

/* Each other page: there are not as many mappings. */
static void test_too_many_runs(gconstpointer data)
{
    const uint64_t first = 8 * MiB, step = 2 * BALLOON_PAGE, n = 6000;
    BGuest *g = start(BG_ANON, "report", NULL);
    uint64_t enforced, i;

    bg_request_every(g, BG_INFLATE, first, step, n);
    bg_assert_map(g, n);
    enforced = info_member(g, "enforced");
    g_assert_cmpuint(enforced, >, 0);
    g_assert_cmpuint(enforced, <, n * BALLOON_PAGE);
    assert_not_enforced(g, "too-many-runs", n * BALLOON_PAGE - enforced);
    g_assert_cmpuint(count_registered(g), ==, enforced / BALLOON_PAGE);
    g_test_message("%" PRIu64 " runs", enforced / BALLOON_PAGE);

    bg_step("an honest guest");
    bg_request_every(g, BG_DEFLATE, first, step, n);
    for (i = 0; i < n; i += 10) {
        qtest_writeb(g->qts, first + i * step, 1);
    }
    assert_accesses(g, 0);
    g_assert_cmpuint(count_registered(g), ==, 0);

    bg_step("what is full can be filled up");
    bg_request_every(g, BG_INFLATE, first, step, n);
    bg_request_range(g, BG_INFLATE, first, n * BALLOON_PAGE);
    enforced = info_member(g, "enforced");
    g_assert_cmpuint(enforced, >=, n * BALLOON_PAGE);

    bg_step("a hole more is not told the kernel, and does no harm");
    bg_request_every(g, BG_DEFLATE, first, step, n / 2);
    qtest_writeb(g->qts, first + 10 * step, 1);
    qtest_writeb(g->qts, first + (n / 2 - 10) * step, 1);
    assert_accesses(g, 0);
    qtest_writeb(g->qts, first + 10 * step + BALLOON_PAGE, 1);
    assert_accesses(g, 1);
    bg_quit(g);
}

/* ---- What it costs, for people: SB_ENFORCE_MEASURE ---- */

#define ROUNDS 9

static int compare(const void *a, const void *b)
{
    return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : 1;
}

static uint64_t median(uint64_t *times)
{
    qsort(times, ROUNDS, sizeof(*times), compare);
    return times[ROUNDS / 2];
}

/* Each other page, as many as are registered */
static void test_cost_of_runs(gconstpointer data)
{
    BGuest *g = start(BG_ANON, "report", NULL);
    gint64 began;
    unsigned int i, n;

    for (n = 32; n <= 2048; n *= 8) {
        uint64_t stop[ROUNDS], cont[ROUNDS];

        bg_request_every(g, BG_INFLATE, GIVEN, 2 * BALLOON_PAGE, n);
        assert_enforced(g, n * BALLOON_PAGE);
        for (i = 0; i < ROUNDS; i++) {
            began = g_get_monotonic_time();
            qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
            stop[i] = g_get_monotonic_time() - began;
            began = g_get_monotonic_time();
            qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
            cont[i] = g_get_monotonic_time() - began;
        }
        g_test_message("%u runs: stop %" PRIu64 ", cont %" PRIu64 " us", n,
                       median(stop), median(cont));
    }
    bg_quit(g);
}

/* From the access until the guest stands */
static void test_cost_of_access(gconstpointer data)
{
    uint64_t times[ROUNDS], access[ROUNDS];
    BGuest *g = start_given(BG_ANON, "pause", NULL);
    Events events;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        gint64 began = g_get_monotonic_time();

        watch_events(g, &events);
        qtest_writeb(g->qts, GIVEN + i * MiB / 4, 1);
        access[i] = g_get_monotonic_time() - began;
        while (!events.stopped) {
            sync_events(g);
        }
        times[i] = g_get_monotonic_time() - began;
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    }
    g_test_message("access %" PRIu64 ", until the guest stands %" PRIu64 " us",
                   median(access), median(times));
    bg_quit(g);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc func;
        BGBackend last;         /* of those it is for */
    } of_backends[] = {
        { "report", test_report, BG_HUGETLB },
        { "pause", test_pause, BG_HUGETLB },
        { "dma", test_dma, BG_PRIVATE_MEMFD },
        { "random", test_random, BG_PRIVATE_MEMFD },
    }, tests[] = {
        { "off", test_off },
        { "rate", test_rate },
        { "ends", test_reset },
        { "must-tell-host", test_must_tell_host },
        { "too-many-runs", test_too_many_runs },
        { "dimm", test_dimm },
        { "mappings", test_mappings },
        { "mappings/unknown", test_mappings_unknown },
        { "mappings/none-left", test_unregister },
        { "written-at-once", test_written_at_once },
        { "cuts", test_cuts },
        { "part-of-page", test_part_of_page },
        { "not-permitted", test_not_permitted },
        { "dirty-rate", test_dirty_rate },
        { "pinned", test_pinned },
        { "order", test_order },
        { "cost/runs", test_cost_of_runs },
        { "cost/access", test_cost_of_access },
    };
    int i, k;

    bg_init(&argc, &argv);
    bg_add_test("report", test_in_one_go, "/balloon-enforce/in-one-go/report");
    bg_add_test("pause", test_in_one_go, "/balloon-enforce/in-one-go/pause");
    for (i = 0; i < ARRAY_SIZE(of_backends); i++) {
        for (k = BG_ANON; k <= of_backends[i].last; k++) {
            bg_add_test(GINT_TO_POINTER(k), of_backends[i].func,
                        "/balloon-enforce/%s/%s", of_backends[i].name,
                        bg_backend_name(k));
        }
    }
    /* The last ones only measure, for people. */
    k = ARRAY_SIZE(tests) - (g_getenv("SB_ENFORCE_MEASURE") ? 0 : 2);
    for (i = 0; i < k; i++) {
        bg_add_test(NULL, tests[i].func, "/balloon-enforce/%s", tests[i].name);
    }
    add_migration_tests();
    return g_test_run();
}
