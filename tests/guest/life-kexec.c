/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest whose next kernel begins without the firmware, on the memory as it
 * is. By kexec Linux resets the device first. After a crash it does not: the
 * next kernel then uses what is in the balloon, without telling, until its
 * own driver resets the device.
 */
#include "commands.h"
#include "life.h"

#include <string.h>

/*
 * What is reserved for the kernel after a crash holds it, and lets it live. In
 * the memory of the one that crashed each page is to be found as it was
 * written first; those that do not end so are told to rewrite some.
 */
#define APPEND TEST_APPEND " crashkernel=96M skip_balloon.dirty=0"
#define KEXEC_MEMORY (384 * SIZE_MIB)
#define KEXEC_TO (288 * SIZE_MIB)
#define WORKSET_MIB 32
/* So slow that a kernel boots meanwhile, also on a busy host */
#define CRAWL (4 * SIZE_MIB)
#define KEXEC_BALLOONED (KEXEC_MEMORY - KEXEC_TO)

/* Where the guest finds its next kernel, which is to unpack itself. */
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

/* How the next kernel begins. */
typedef struct Kind {
    const char *load;
    const char *begin;
} Kind;

static const Kind by_kexec = { "load kexec", "kexec" };
static const Kind by_crash = { "load lie", "crash" };
static const Kind after_crash = { "load kdump", "crash" };

static bool begin(Life *life, const Kind *kind, GError **error)
{
    guest_expect_boot(vm_guest(life->vm));
    return life_say(life, kind->begin, error);
}

/* When it begins: each of these also starts the migration. */
typedef bool Moment(Life *life, const Kind *kind, GError **error);

static bool before_it(Life *life, const Kind *kind, GError **error)
{
    return begin(life, kind, error) && life_start(life, error);
}

/* The next kernel has a balloon before the migration ends. */
static bool at_setup(Life *life, const Kind *kind, GError **error)
{
    return life_start(life, error) &&
           migrate_set_bandwidth(life->vm, CRAWL, error) &&
           begin(life, kind, error) &&
           guest_wait_ready(vm_guest(life->vm), error);
}

static bool in_first_pass(Life *life, const Kind *kind, GError **error)
{
    return life_start(life, error) &&
           life_sent(life, KEXEC_TO / 4, error) &&
           begin(life, kind, error) &&
           session_sleep(life->bench->session, 1500, error);
}

static bool after_first_pass(Life *life, const Kind *kind, GError **error)
{
    return life_say(life, "dirty 64", error) &&
           command_set_parameter(life->vm, "downtime-limit", 1, error) &&
           life_start(life, error) &&
           migrate_set_bandwidth(life->vm, 4 * TEST_SLOW, error) &&
           life_sent_once(life, error) && begin(life, kind, error) &&
           command_set_parameter(life->vm, "downtime-limit", 300, error);
}

/* What comes next is the end of the migration. */
static bool at_the_end(Life *life, const Kind *kind, GError **error)
{
    return life_start(life, error) && life_sent(life, 4 * SIZE_MIB, error) &&
           begin(life, kind, error);
}

static bool hop(Life *life, Moment *moment, const Kind *kind, GError **error)
{
    return life_say(life, "dirty 1", error) &&
           life_say(life, kind->load, error) && moment(life, kind, error) &&
           life_arrive(life, error) &&
           (moment == at_setup ||
            guest_wait_ready(vm_guest(life->vm), error)) &&
           life_inflate(life, KEXEC_TO, error);
}

/* What is left of the kernel that crashed, where the guest is now. */
static bool find_workset(Life *life, GError **error)
{
    return life_say(life, "vmcore " G_STRINGIFY(WORKSET_MIB), error);
}

/* This kernel has no driver for a balloon; what it never used is skipped. */
static bool hop_after_crash(Life *life, GError **error)
{
    if (!life_map_empty(life, error) || !life_start(life, error) ||
        !life_arrive(life, error) || !bench_intact(life->vm, error)) {
        return false;
    }
    FAIL_UNLESS(!(life->bench->skip & SKIP_BALLOON) ||
                (!strcmp(life->stats.skip_status, "disabled") &&
                 !strcmp(life->stats.skip_reason, "must-tell-host")),
                "skip-balloon is '%s', reason '%s'", life->stats.skip_status,
                life->stats.skip_reason);
    FAIL_UNLESS(!(life->bench->skip & SKIP_UNPOPULATED) ||
                life->stats.unpopulated.skipped_bytes >= KEXEC_BALLOONED,
                "%" G_GUINT64_FORMAT " bytes skipped as unpopulated",
                life->stats.unpopulated.skipped_bytes);
    return life_map_empty(life, error) && find_workset(life, error);
}

/* The kernel for a crash begins in the midst of a migration. */
static bool hop_to_kdump(Life *life, GError **error)
{
    return life_say(life, "load kdump", error) &&
           in_first_pass(life, &after_crash, error) &&
           life_arrive(life, error) &&
           guest_wait_ready(vm_guest(life->vm), error) &&
           bench_intact(life->vm, error) && hop_after_crash(life, error);
}

typedef struct Hop {
    Moment *moment;
    const Kind *kind;
} Hop;

/* One kernel after the other, one more hop, and if wanted that for a crash */
static bool through_kernels(Bench *bench, const Hop *hops, unsigned n,
                            bool kdump, GError **error)
{
    g_auto(Life) life = { 0 };

    bench->config.memory = KEXEC_MEMORY;
    bench->config.workset = WORKSET_MIB * SIZE_MIB;
    bench->config.append = APPEND;
    add_disks(bench, &life);
    if (!life_boot(&life, bench, error) ||
        !life_inflate(&life, KEXEC_TO, error)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!hop(&life, hops[i].moment, hops[i].kind, error)) {
            g_prefix_error(error, "hop %u: ", i + 1);
            return false;
        }
    }
    return life_hop(&life, KEXEC_BALLOONED, error) &&
           (!kdump || hop_to_kdump(&life, error));
}

/* A crash at each moment is in one of these two. */
static bool test_lies(Bench *bench, GError **error)
{
    static const Hop hops[] = {
        { at_setup, &by_crash },
        { after_first_pass, &by_crash },
    };

    return through_kernels(bench, hops, G_N_ELEMENTS(hops), true, error);
}

static bool test_both(Bench *bench, GError **error)
{
    static const Hop hops[] = {
        { before_it, &by_crash },
        { at_setup, &by_kexec },
        { in_first_pass, &by_crash },
        { after_first_pass, &by_kexec },
        { at_the_end, &by_crash },
    };

    return through_kernels(bench, hops, G_N_ELEMENTS(hops), false, error);
}

void life_kexec_add(void)
{
    bench_add("/life/kexec", test_lies, BACKEND_ANON, SKIP_BOTH, NEEDS_GUEST);
    bench_add("/life/kexec", test_both, BACKEND_MEMFD, SKIP_BALLOON,
              NEEDS_GUEST);
}
