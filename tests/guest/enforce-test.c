/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Enforcement (property enforce of the balloon device) with guests: Linux
 * under TCG, and the one that checks itself, under KVM where that runs it. A
 * guest that lies says how many pages it used that it had given back, each of
 * them once, and QEMU has to have noticed as many.
 *
 *   SB_ENFORCE_USES=N  how many accesses at random; 1500 to 20000 else
 *   SB_ENFORCE_LONG=1  cases that boot many kernels, or that measure, too
 *   SB_BARE_ACCEL=kvm  where the guest without a system is moved, too
 *   SB_ENFORCE_GIVEN=N how many MiB the guest without a system gives back
 */
#include <signal.h>
#include <string.h>

#include "commands.h"
#include "harness.h"
#include "life.h"
#include "moves.h"
#include "qemu/qmp.h"

#define PAGE 4096
#define KVM "kvm"
#define TCG "tcg"
/* What may be taken by a guest that is to be stopped */
#define TAKEN_MAX (1 * SIZE_MIB)

/*
 * Of the guest without an operating system: what it gives back, in MiB. Nested
 * KVM takes long for each page.
 */
#define BARE_MUCH 1024
#define BARE_LITTLE 64
#define BARE_NESTED 16
#define BARE_REST (16 * SIZE_MIB)
#define BARE_SMALL (24 * SIZE_MIB)
#define BARE_SMALL_GIVEN "give 12M"
/*
 * QEMU gives back what it freed as it started when its RCU thread is idle next
 * (malloc_trim), or not yet: 5.8 MiB. To populate the balloon takes 12.
 */
#define TRIMMED (7 * SIZE_MIB)

/* Of Linux */
#define LINUX_MEMORY (SIZE_GIB + 256 * SIZE_MIB)
#define LINUX_TO (224 * SIZE_MIB)
#define LINUX_WORKSET (16 * SIZE_MIB)

#define USES 20000
#define USES_NESTED 2000
/* Each may leave a run more, of which no more than 2048 are enforced. */
#define USES_FEW 1500

/* What the events of a case told. */
typedef struct Told {
    unsigned events;
    uint64_t pages;
    uint64_t first_address;     /* of the first one */
    char *first_id;
} Told;

static Told told;

static void on_event(JsonObject *event, void *opaque)
{
    JsonObject *data;

    (void)opaque;
    if (strcmp(json_object_get_string_member(event, "event"),
               "BALLOON_PAGE_ACCESS")) {
        return;
    }
    data = json_object_get_object_member(event, "data");
    if (!told.events++) {
        told.first_address = json_object_get_int_member_with_default(
            data, "address", UINT64_MAX);
        told.first_id = g_strdup(json_object_get_string_member(data, "id"));
    }
    told.pages += json_object_get_int_member(data, "count");
}

static void forget_events(void)
{
    g_free(told.first_id);
    told = (Told) { 0 };
}

static unsigned number_from_environment(const char *name, unsigned preset)
{
    const char *text = g_getenv(name);

    return text ? g_ascii_strtoull(text, NULL, 0) : preset;
}

/* ---- What QEMU tells ---- */

typedef struct State {
    uint64_t pages;             /* in the map */
    uint64_t enforced;          /* bytes */
    uint64_t not_enforced;
    uint64_t accesses;
    char *reasons;              /* why not */
} State;

static void state_clear(State *state)
{
    g_free(state->reasons);
    *state = (State) { 0 };
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(State, state_clear)

static void add_not_enforced(State *state, JsonObject *block)
{
    JsonArray *list = json_object_has_member(block, "not-enforced")
                      ? json_object_get_array_member(block, "not-enforced")
                      : NULL;

    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *entry = json_array_get_object_element(list, i);
        g_autofree char *before = state->reasons;

        state->not_enforced += json_object_get_int_member(entry, "bytes");
        state->reasons = g_strdup_printf("%s%s%s", before ?: "",
            before ? ", " : "",
            json_object_get_string_member(entry, "reason"));
    }
}

static bool ask_state(Vm *vm, State *state, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) answer = NULL;
    JsonArray *blocks;

    state_clear(state);
    json_object_set_int_member(arguments, "max-runs", 0);
    answer = vm_execute(vm, "query-balloon-map", arguments, error);
    if (!answer) {
        return false;
    }
    blocks = json_node_get_array(answer);
    for (guint i = 0; i < json_array_get_length(blocks); i++) {
        JsonObject *block = json_array_get_object_element(blocks, i);

        FAIL_UNLESS(json_object_has_member(block, "accesses"),
                    "QEMU does not tell of enforcement");
        state->pages += json_object_get_int_member(block, "pages");
        state->enforced += json_object_get_int_member(block, "enforced");
        state->accesses += json_object_get_int_member(block, "accesses");
        add_not_enforced(state, block);
    }
    return true;
}

/* All of the map is enforced: it takes a moment for the guest to be started. */
static bool wait_enforced(Bench *bench, Vm *vm, GError **error)
{
    g_auto(State) state = { 0 };

    for (unsigned i = 0; i < 100; i++) {
        if (!ask_state(vm, &state, error)) {
            return false;
        }
        if (!state.not_enforced) {
            return true;
        }
        if (!session_sleep(bench->session, 50, error)) {
            return false;
        }
    }
    FAIL_UNLESS(false, "%" G_GUINT64_FORMAT " bytes are not enforced: %s",
                state.not_enforced, state.reasons);
}

static bool check_accesses(Vm *vm, uint64_t expected, GError **error)
{
    g_auto(State) state = { 0 };

    if (!ask_state(vm, &state, error)) {
        return false;
    }
    FAIL_UNLESS(state.accesses == expected, "%" G_GUINT64_FORMAT
                " accesses were noticed, not %" G_GUINT64_FORMAT,
                state.accesses, expected);
    FAIL_UNLESS(told.pages <= expected, "events told of %" G_GUINT64_FORMAT
                " accesses, not %" G_GUINT64_FORMAT, told.pages, expected);
    return true;
}

/* Events of a quarter of a second are told together, so the last come late. */
static bool check_told(Bench *bench, Vm *vm, uint64_t expected, GError **error)
{
    for (unsigned i = 0; i < 20 && told.pages < expected; i++) {
        if (!session_sleep(bench->session, 50, error)) {
            return false;
        }
    }
    FAIL_UNLESS(told.pages == expected, "events told of %" G_GUINT64_FORMAT
                " accesses, not %" G_GUINT64_FORMAT, told.pages, expected);
    return check_accesses(vm, expected, error);
}

static bool check_honest(Vm *vm, GError **error)
{
    FAIL_UNLESS(!told.events, "%u false reports, the first at 0x%"
                G_GINT64_MODIFIER "x", told.events, told.first_address);
    return check_accesses(vm, 0, error);
}

static bool is_running(Vm *vm, bool *running, GError **error)
{
    g_autoptr(JsonNode) answer = vm_execute(vm, "query-status", NULL, error);

    if (answer) {
        *running = json_object_get_boolean_member(
            json_node_get_object(answer), "running");
    }
    return answer;
}

/* "uses=N" of an answer of the guest */
static uint64_t uses_of(const char *answer)
{
    const char *uses = strstr(answer, "uses=");

    return uses ? g_ascii_strtoull(uses + strlen("uses="), NULL, 10) : 0;
}

/* ---- Guests ---- */

/* Have each QEMU enforce it from now on; they have no other options. */
static void set_enforce(Bench *bench, const char *mode, bool disk)
{
    static char option[64];
    static const char *const options[] = { "-global", option, NULL };
    static const char *const with_disk[] = {
        "-global", option, "-drive", "if=none,id=disk,format=raw,readonly=on,"
        "file=" BARE_IMAGE, "-device", "virtio-blk-pci,drive=disk", NULL
    };

    g_snprintf(option, sizeof(option), "virtio-balloon-device.enforce=%s",
               mode);
    bench->config.options = disk ? with_disk : options;
    bench->config.must_tell_host = true;
    forget_events();
    qmp_on_event(on_event, NULL);
}

/* Where KVM does not run it, the case is skipped. */
static bool kvm_or_skip(const Bench *bench)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.seed=1",
        .accel = KVM,
    };
    static int runs = -1;
    g_autoptr(GError) error = NULL;

    if (runs < 0) {
        runs = bench_runs_bare(bench, &bare, BARE_SMALL, &error);
        if (error) {
            g_test_message("%s", g_strdelimit(error->message, "\n", ' '));
        }
    }
    if (!runs) {
        g_test_skip("the guest does not run under KVM here");
    }
    return runs;
}

static Vm *start_bare(Bench *bench, const BareGuest *bare, uint64_t memory,
                      const char *give, GError **error)
{
    g_autoptr(Vm) vm = NULL;
    g_autofree char *answer = NULL;

    bench->config.bare = bare;
    bench->config.memory = memory;
    vm = bench_start(bench, "bare", bench->qemu, false, error);
    if (!vm || !guest_wait_ready(vm_guest(vm), error)) {
        return NULL;
    }
    answer = guest_command(vm_guest(vm), give, error);
    return answer ? g_steal_pointer(&vm) : NULL;
}

/* With two processors, that gives back so many MiB that it never used */
static Vm *start_large_bare(Bench *bench, const BareGuest *bare, unsigned mib,
                            GError **error)
{
    unsigned given = number_from_environment("SB_ENFORCE_GIVEN", mib);
    g_autofree char *give = g_strdup_printf("give %uM", given);

    bench->config.smp = 2;
    return start_bare(bench, bare, given * SIZE_MIB + BARE_REST, give, error);
}

static Vm *start_linux(Bench *bench, unsigned smp, GError **error)
{
    g_autoptr(Vm) vm = NULL;

    bench->config.memory = LINUX_MEMORY;
    bench->config.workset = LINUX_WORKSET;
    bench->config.smp = smp;
    bench->config.untouched = true;
    vm = bench_boot_anew(bench, "linux", bench->qemu, error);
    return vm && balloon_reach(bench->session, vm, LINUX_TO, error) &&
           guest_wait_ticks(vm_guest(vm), 1, error) ? g_steal_pointer(&vm)
                                                    : NULL;
}

/* ---- A guest that sweeps its balloon, and is stopped ---- */

static bool check_stopped(Vm *vm, GError **error)
{
    g_auto(State) state = { 0 };
    bool running;

    if (!vm_wait_event(vm, "STOP", error) ||
        !is_running(vm, &running, error) || !ask_state(vm, &state, error)) {
        return false;
    }
    FAIL_UNLESS(!running, "the guest runs");
    FAIL_UNLESS(state.accesses && state.accesses * PAGE <= TAKEN_MAX,
                "%" G_GUINT64_FORMAT " pages were taken", state.accesses);
    FAIL_UNLESS(told.events && told.first_address < LINUX_MEMORY,
                "no event names the first page");
    g_test_message("%" G_GUINT64_FORMAT " pages were taken, the first at 0x%"
                   G_GINT64_MODIFIER "x of '%s'", state.accesses,
                   told.first_address, told.first_id);
    return true;
}

/* Once with all vCPUs; when it may go on, it is stopped once more. */
static bool sweep(Bench *bench, Vm *vm, GError **error)
{
    if (!wait_enforced(bench, vm, error) || !check_honest(vm, error) ||
        !guest_send(vm_guest(vm), "sweep", error) ||
        !check_stopped(vm, error)) {
        return false;
    }
    return command_do(vm, "cont", error, "{}") &&
           vm_wait_event(vm, "STOP", error);
}

static bool sweep_bare(Bench *bench, const char *accel, unsigned mib,
                       GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=none skip_balloon.unused=on",
        .accel = accel,
    };
    g_autoptr(Vm) vm = NULL;

    set_enforce(bench, "pause", false);
    vm = start_large_bare(bench, &bare, mib, error);
    return vm && sweep(bench, vm, error);
}

static bool test_sweep_kvm(Bench *bench, GError **error)
{
    return !kvm_or_skip(bench) || sweep_bare(bench, KVM, BARE_NESTED, error);
}

static bool test_sweep_tcg(Bench *bench, GError **error)
{
    return sweep_bare(bench, TCG, BARE_MUCH, error);
}

/* ---- Accesses at random, and all of them ---- */

static bool use(Bench *bench, Vm *vm, const char *command, GError **error)
{
    g_autofree char *answer = guest_command(vm_guest(vm), command, error);

    return answer && check_told(bench, vm, uses_of(answer), error);
}

static unsigned uses(unsigned preset)
{
    return number_from_environment("SB_ENFORCE_USES", preset);
}

static bool use_at_random(Bench *bench, Vm *vm, unsigned times,
                          GError **error)
{
    g_autofree char *command = g_strdup_printf("use %u", times);

    if (!wait_enforced(bench, vm, error) || !check_honest(vm, error) ||
        !use(bench, vm, command, error)) {
        return false;
    }
    FAIL_UNLESS(told.pages > times / 4, "only %" G_GUINT64_FORMAT
                " pages were used", told.pages);
    g_test_message("%u accesses to %" G_GUINT64_FORMAT " pages, all noticed,"
                   " %u events", times, told.pages, told.events);
    return true;
}

/* Linux: first where it may go on, then where it may not. */
static bool test_linux(Bench *bench, GError **error)
{
    g_autoptr(Vm) vm = NULL;
    g_autoptr(Vm) next = NULL;
    MigrationStats stats;

    set_enforce(bench, "report", false);
    vm = start_linux(bench, 2, error);
    if (!vm || !use_at_random(bench, vm, uses(USES_FEW), error)) {
        return false;
    }
    if (uses(USES_FEW) > USES_FEW) {
        return bench_intact(vm, error);
    }
    set_enforce(bench, "pause", false);
    next = bench_start(bench, "next", bench->qemu, true, error);
    return next && migrate_skip(vm, next, bench->skip, error) &&
           bench_migrate(bench, vm, next, &stats, error) &&
           sweep(bench, next, error);
}

static bool random_bare(Bench *bench, const char *accel, unsigned mib,
                        unsigned preset, GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=none skip_balloon.unused=on",
        .accel = accel,
    };
    g_autoptr(Vm) vm = NULL;

    set_enforce(bench, "report", true);
    vm = start_large_bare(bench, &bare, mib, error);
    return vm && use_at_random(bench, vm, uses(preset), error) &&
           use(bench, vm, "device", error) && use(bench, vm, "disk", error) &&
           use(bench, vm, "sweep", error) &&
           bench_intact(vm, error);
}

static bool test_random_kvm(Bench *bench, GError **error)
{
    return !kvm_or_skip(bench) ||
           random_bare(bench, KVM, BARE_NESTED, USES_NESTED, error);
}

static bool test_random_tcg(Bench *bench, GError **error)
{
    return random_bare(bench, TCG, BARE_LITTLE, USES, error);
}

/* ---- A guest that goes on, and is moved ---- */

/* TCG unless KVM is wanted: nested, it takes ten times as long. */
static const char *course_accel(void)
{
    return g_getenv("SB_BARE_ACCEL") ?: TCG;
}

/* Nothing that a migration does itself is taken for an access. */
static bool test_honest(Bench *bench, GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=honest",
        .accel = course_accel(),
    };
    Journey journey = {
        .bench = bench,
        .random = g_rand_new_with_seed(1),
        .skip = bench->skip,
    };
    bool good;

    set_enforce(bench, "report", false);
    journey.vm = start_bare(bench, &bare, BARE_SMALL, "verify", error);
    good = journey.vm && wait_enforced(bench, journey.vm, error);
    for (unsigned i = 0; good && i < n_moves; i++) {
        good = move_take(&journey, &moves[i], error) &&
               check_honest(journey.vm, error) &&
               wait_enforced(bench, journey.vm, error);
        if (!good) {
            g_prefix_error(error, "%s: ", moves[i].name);
        }
    }
    vm_free(journey.vm);
    g_rand_free(journey.random);
    return good;
}

/* What the moves of a guest that rests come to */
typedef struct Figures {
    uint64_t skipped[16];       /* pages, by move */
    uint64_t memory[16];        /* of where it is then */
} Figures;

/* Some moves are over too soon if the guest writes nothing. */
static bool is_for_idle_guest(const Move *move)
{
    static const char *const names[] = {
        "precopy", "multifd", "xbzrle", "mapped-ram", "background-snapshot",
        "savevm", NULL
    };

    return g_strv_contains(names, move->name);
}

static bool take_figures(Bench *bench, const char *enforce, Figures *figures,
                         GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=none",
        .accel = TCG,
    };
    Journey journey = {
        .bench = bench,
        .random = g_rand_new_with_seed(1),
        .skip = bench->skip,
    };
    uint64_t before = 0;
    bool good;

    set_enforce(bench, enforce, false);
    journey.vm = start_bare(bench, &bare, BARE_SMALL, BARE_SMALL_GIVEN, error);
    good = journey.vm;
    for (unsigned i = 0; good && i < n_moves; i++) {
        if (!is_for_idle_guest(&moves[i])) {
            continue;
        }
        good = move_take(&journey, &moves[i], error) &&
               memory_private_of_process(vm_pid(journey.vm),
                                         &figures->memory[i], error);
        figures->skipped[i] = journey.skipped - before;
        before = journey.skipped;
    }
    vm_free(journey.vm);
    g_rand_free(journey.random);
    return good;
}

/* Within 5 %, but for what two processes differ by at any rate */
static bool are_near(uint64_t a, uint64_t b, uint64_t room)
{
    return MAX(a, b) - MIN(a, b) <= MAX(a, b) / 20 + room;
}

static bool test_figures(Bench *bench, GError **error)
{
    Figures on = { { 0 }, { 0 } }, off = { { 0 }, { 0 } };

    g_assert(n_moves <= G_N_ELEMENTS(on.skipped));
    if (!take_figures(bench, "off", &off, error) ||
        !take_figures(bench, "report", &on, error)) {
        return false;
    }
    FAIL_UNLESS(!told.events, "%u false reports", told.events);
    for (unsigned i = 0; i < n_moves; i++) {
        if (!off.memory[i]) {
            continue;
        }
        g_test_message("%s: off, on: %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT
                       " pages skipped, %" G_GUINT64_FORMAT ", %"
                       G_GUINT64_FORMAT " KiB of memory", moves[i].name,
                       off.skipped[i], on.skipped[i], off.memory[i] / 1024,
                       on.memory[i] / 1024);
        FAIL_UNLESS(are_near(off.skipped[i], on.skipped[i], 0),
                    "%s: pages skipped", moves[i].name);
        FAIL_UNLESS(are_near(off.memory[i], on.memory[i], TRIMMED),
                    "%s: memory", moves[i].name);
    }
    return true;
}

static bool order(Vm *vm, const char *command, GError **error)
{
    g_autofree char *answer = guest_command(vm_guest(vm), command, error);

    return answer;
}

static bool rest_and_compare(Bench *bench, Vm *vm, GError **error)
{
    g_autofree char *answer = NULL;

    if (!order(vm, "course off", error)) {
        return false;
    }
    answer = guest_command(vm_guest(vm), "use 0", error);
    if (!answer) {
        return false;
    }
    for (unsigned i = 0; i < 20 && told.pages < uses_of(answer); i++) {
        if (!session_sleep(bench->session, 50, error)) {
            return false;
        }
    }
    FAIL_UNLESS(told.pages == uses_of(answer), "events told of %"
                G_GUINT64_FORMAT " accesses, the guest of %" G_GUINT64_FORMAT,
                told.pages, uses_of(answer));
    g_test_message("%" G_GUINT64_FORMAT " pages used, all noticed", told.pages);
    return true;
}

/*
 * One that lies; it rests while it is moved, since what a migration reads in
 * the moment in which it is given back is populated then, and not noticed.
 */
static bool test_lying(Bench *bench, GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=lying",
        .accel = course_accel(),
    };
    Journey journey = {
        .bench = bench,
        .random = g_rand_new_with_seed(1),
        .skip = bench->skip,
    };
    bool good;

    set_enforce(bench, "report", false);
    journey.vm = start_bare(bench, &bare, BARE_SMALL, "verify", error);
    good = journey.vm && guest_wait_ticks(vm_guest(journey.vm), 50, error) &&
           rest_and_compare(bench, journey.vm, error) &&
           move_precopy(&journey, bench->qemu, error) &&
           wait_enforced(bench, journey.vm, error) &&
           order(journey.vm, "course on", error) &&
           guest_wait_ticks(vm_guest(journey.vm), 50, error) &&
           rest_and_compare(bench, journey.vm, error);
    vm_free(journey.vm);
    g_rand_free(journey.random);
    return good;
}

/* ---- The next kernel ---- */

/* Large enough for a kernel after a crash, see life-kexec.c */
#define KEXEC_APPEND TEST_APPEND " crashkernel=96M skip_balloon.dirty=0"
#define KEXEC_MEMORY (384 * SIZE_MIB)
#define KEXEC_TO (288 * SIZE_MIB)

static void add_disks(Bench *bench, Life *life)
{
    g_autofree char *dir = g_path_get_dirname(bench->config.kernel);
    g_autofree char *packed = g_build_filename(dir, "vmlinuz", NULL);
    const char *const disks[] = { packed, bench->config.initrd };

    for (unsigned i = 0; i < G_N_ELEMENTS(disks); i++) {
        life_option(life, "-drive", g_strdup_printf(
            "if=none,id=disk%u,file=%s,format=raw,readonly=on", i, disks[i]));
        life_option(life, "-device", g_strdup_printf(
            "virtio-blk-pci,drive=disk%u", i));
    }
}

/* With its balloon full, and the next kernel, of such a kind, about to begin */
static bool begin_next(Life *life, Bench *bench, const char *mode,
                       const char *load, const char *begin, GError **error)
{
    set_enforce(bench, mode, false);
    life_option(life, "-global",
                g_strdup(bench->config.options[1]));
    bench->config.memory = KEXEC_MEMORY;
    bench->config.workset = LIFE_WORKSET;
    bench->config.append = KEXEC_APPEND;
    add_disks(bench, life);
    if (!life_boot(life, bench, error) ||
        !life_inflate(life, KEXEC_TO, error) ||
        !wait_enforced(bench, life->vm, error) ||
        !life_say(life, load, error) || !check_honest(life->vm, error)) {
        return false;
    }
    guest_expect_boot(vm_guest(life->vm));
    return life_say(life, begin, error);
}

/* By kexec the device is reset before, so nothing is in the balloon then. */
static bool test_kexec(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    return begin_next(&life, bench, "pause", "load kexec", "kexec", error) &&
           guest_wait_ready(vm_guest(life.vm), error) &&
           life_inflate(&life, KEXEC_TO, error) &&
           check_honest(life.vm, error);
}

/*
 * After a crash a kernel that begins on all memory, and drives no virtio
 * device, uses it. (Debian's resets the device as it starts, before it uses
 * much.)
 */
static bool test_crash_pause(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    return begin_next(&life, bench, "pause", "load blind", "crash", error) &&
           check_stopped(life.vm, error);
}

/*
 * The kernel for a crash lives in what was reserved for it. Its virtio bus
 * resets each device that it finds, and with that the balloon is empty, before
 * anything reads the memory of the kernel that crashed.
 */
static bool test_kdump(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    return begin_next(&life, bench, "pause", "load kdump", "crash", error) &&
           guest_wait_ready(vm_guest(life.vm), error) &&
           life_map_empty(&life, error) &&
           life_say(&life, "vmcore 32", error) &&
           guest_wait_ticks(vm_guest(life.vm), 2, error) &&
           check_honest(life.vm, error);
}

/* The same where it may: it goes on, with zeroes in what it uses. */
static bool test_crash_report(Bench *bench, GError **error)
{
    g_auto(Life) life = { 0 };

    if (!begin_next(&life, bench, "report", "load blind", "crash", error) ||
        !guest_wait_ready(vm_guest(life.vm), error)) {
        return false;
    }
    FAIL_UNLESS(told.pages, "nothing was reported");
    g_test_message("%" G_GUINT64_FORMAT " pages of the balloon were used, in "
                   "%u events", told.pages, told.events);
    return bench_intact(life.vm, error);
}
/* ---- What it costs ---- */

#define ROUNDS 8

/* Pages a second, until the balloon is as it is to be */
static bool time_balloon(Bench *bench, Vm *vm, uint64_t bytes, double *rate,
                         GError **error)
{
    uint64_t before, now;
    gint64 begin;

    if (!balloon_query(vm, &before, error) || !balloon_set(vm, bytes, error)) {
        return false;
    }
    begin = g_get_monotonic_time();
    for (now = before; now != bytes;) {
        if (!session_sleep(bench->session, 2, error) ||
            !balloon_query(vm, &now, error)) {
            return false;
        }
    }
    *rate = (double)(MAX(before, now) - MIN(before, now)) / PAGE * 1e6 /
            (g_get_monotonic_time() - begin);
    return true;
}

static uint64_t mappings_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)pid);
    g_autofree char *text = NULL;
    uint64_t n = 0;

    g_file_get_contents(path, &text, NULL, NULL);
    for (const char *s = text; s && *s; s++) {
        n += *s == '\n';
    }
    return n;
}

/* To inflate and to deflate: the best of some rounds */
static bool measure_balloon(Bench *bench, const char *enforce, double *rates,
                            GError **error)
{
    uint64_t memory, tables, small;
    g_autoptr(Vm) vm = NULL;
    double rate;

    set_enforce(bench, enforce, false);
    vm = start_linux(bench, 1, error);
    rates[0] = rates[1] = 0;
    for (unsigned i = 0; vm && i < ROUNDS; i++) {
        if (!time_balloon(bench, vm, LINUX_MEMORY, &rate, error)) {
            return false;
        }
        rates[1] = MAX(rates[1], rate);
        if (!time_balloon(bench, vm, LINUX_TO, &rate, error)) {
            return false;
        }
        rates[0] = MAX(rates[0], rate);
        small = mappings_of(vm_pid(vm));
        if (!memory_counters_of_process(vm_pid(vm), &memory, &tables, error)) {
            return false;
        }
        g_test_message("enforce=%s: %.0f pages inflated, %.0f deflated a "
                       "second; with it full %" G_GUINT64_FORMAT " mappings, %"
                       G_GUINT64_FORMAT " KiB, %" G_GUINT64_FORMAT " KiB of "
                       "page tables", enforce, rates[0], rates[1], small,
                       memory / 1024, tables / 1024);
    }
    return vm;
}

static bool test_rates(Bench *bench, GError **error)
{
    double off[2], on[2];

    if (!measure_balloon(bench, "off", off, error) ||
        !measure_balloon(bench, "report", on, error)) {
        return false;
    }
    g_test_message("on against off: inflating %.2f, deflating %.2f",
                   on[0] / off[0], on[1] / off[1]);
    return true;
}

/* From one access to the answer, or to the stop: to be compared */
static bool measure_access(Bench *bench, const char *accel, const char *enforce,
                           GError **error)
{
    const BareGuest bare = {
        .image = BARE_IMAGE,
        .options = "skip_balloon.course=none skip_balloon.unused=on",
        .accel = accel,
    };
    g_autoptr(Vm) vm = NULL;
    bool pause = !strcmp(enforce, "pause");
    double best = G_MAXDOUBLE, sum = 0;

    set_enforce(bench, enforce, false);
    vm = start_bare(bench, &bare, BARE_SMALL, BARE_SMALL_GIVEN, error);
    for (unsigned i = 0; vm && i < 20; i++) {
        gint64 begin = g_get_monotonic_time();

        if (!guest_send(vm_guest(vm), "device", error) ||
            !(pause ? vm_wait_event(vm, "STOP", error)
                    : guest_wait_ticks(vm_guest(vm), 1, error))) {
            return false;
        }
        sum += g_get_monotonic_time() - begin;
        best = MIN(best, g_get_monotonic_time() - begin);
        if (pause && !command_do(vm, "cont", error, "{}")) {
            return false;
        }
    }
    g_test_message("%s, enforce=%s: %.0f us, at best %.0f us", accel, enforce,
                   sum / 20, best);
    return vm;
}

static bool test_access(Bench *bench, GError **error)
{
    return measure_access(bench, TCG, "off", error) &&
           measure_access(bench, TCG, "pause", error);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    bench_add("/enforce/sweep/kvm", test_sweep_kvm, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_NOTHING);
    bench_add("/enforce/sweep/tcg", test_sweep_tcg, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_NOTHING);
    bench_add("/enforce/random/kvm", test_random_kvm, BACKEND_ANON,
              SKIP_BALLOON, NEEDS_NOTHING);
    bench_add("/enforce/random/tcg", test_random_tcg, BACKEND_ANON,
              SKIP_BALLOON, NEEDS_NOTHING);
    bench_add("/enforce/linux", test_linux, BACKEND_ANON,
              SKIP_BALLOON, NEEDS_GUEST);
    bench_add("/enforce/honest", test_honest, BACKEND_MEMFD, SKIP_BOTH,
              NEEDS_NOTHING);
    bench_add("/enforce/lying", test_lying, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_NOTHING);
    bench_add("/enforce/figures", test_figures, BACKEND_ANON, SKIP_BALLOON,
              NEEDS_NOTHING);
    bench_add("/enforce/crash/pause", test_crash_pause, BACKEND_ANON,
              SKIP_BALLOON, NEEDS_GUEST);
    if (g_getenv("SB_ENFORCE_LONG")) {
        bench_add("/enforce/honest", test_honest, BACKEND_ANON, SKIP_BALLOON,
                  NEEDS_NOTHING);
        bench_add("/enforce/crash/report", test_crash_report, BACKEND_ANON,
                  SKIP_BALLOON, NEEDS_GUEST);
        bench_add("/enforce/kexec", test_kexec, BACKEND_ANON, SKIP_BALLOON,
                  NEEDS_GUEST);
        bench_add("/enforce/rates", test_rates, BACKEND_ANON, SKIP_BALLOON,
                  NEEDS_GUEST);
        bench_add("/enforce/access", test_access, BACKEND_ANON, SKIP_BALLOON,
                  NEEDS_NOTHING);
        bench_add("/enforce/kdump", test_kdump, BACKEND_ANON, SKIP_BALLOON,
                  NEEDS_GUEST);
    }
    return g_test_run();
}
