/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_TEST_HARNESS_H
#define SKIP_BALLOON_TEST_HARNESS_H

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "qemu/balloon.h"
#include "qemu/migration.h"
#include "qemu/vm.h"

/* Large enough that the balloon matters, small enough to boot in seconds. */
#define TEST_MEMORY (768 * SIZE_MIB)
#define TEST_TO (288 * SIZE_MIB)
#define TEST_BALLOONED (TEST_MEMORY - TEST_TO)
#define TEST_WORKSET (64 * SIZE_MIB)
/* Has the guest use most of it when there is no balloon any more. */
#define TEST_TOUCH "touch 450"
/*
 * Without what takes long as Linux starts, and has nothing to do with memory
 */
#define TEST_APPEND "mitigations=off cryptomgr.notests " \
    "initcall_blacklist=" \
    "load_system_certificate_list,jent_mod_init,cec_init," \
    "bpf_tcp_ca_kfunc_init,bpf_sk_storage_map_iter_init," \
    "bpf_dummy_struct_ops_init"
/* The bandwidth of a migration that takes many seconds. */
#define TEST_SLOW (20 * SIZE_MIB)

/*
 * What a test case gets. Cases report failures as errors instead of aborting,
 * so that no QEMU and no directory outlives them.
 */
typedef struct Bench {
    Session *session;
    Backend backend;
    SkipSet skip;               /* what the case is about */
    const char *qemu;           /* with skip-balloon */
    const char *stock;          /* without */
    bool boot_anew;             /* rather than load a guest from a file */
    VmConfig config;            /* of all that follow; cases may change it */
} Bench;

typedef bool CaseFunc(Bench *bench, GError **error);

/* What a case needs besides the QEMU with skip-balloon. */
typedef enum Needs {
    NEEDS_NOTHING = 0,
    NEEDS_GUEST = 1,            /* the kernel and the initial RAM disk */
    NEEDS_STOCK = 2,            /* a stock QEMU */
} Needs;

/**
 * FAIL_UNLESS: leave the function with an error unless a condition holds.
 */
#define FAIL_UNLESS(condition, ...)                                     \
    do {                                                                \
        if (!(condition)) {                                             \
            g_set_error(error, SB_ERROR, SB_ERROR_GUEST, __VA_ARGS__);  \
            return false;                                               \
        }                                                               \
    } while (0)

/**
 * bench_init: g_test_init(), and let the other cases run when one has failed.
 * @argc: how many arguments main() got
 * @argv: the arguments
 */
void bench_init(int argc, char **argv);

/**
 * bench_add: add a test case.
 * @path: its path; "/anon" or "/memfd" is appended
 * @func: the case
 * @backend: what it runs on
 * @skip: what it is about; if SKIP_BALLOON is, the balloon device of each QEMU
 *        has the property that it takes
 * @needs: what it needs; it is skipped where that is missing
 */
void bench_add(const char *path, CaseFunc *func, Backend backend,
               SkipSet skip, Needs needs);

/**
 * bench_start: start one more QEMU.
 * @bench: the bench
 * @name: unique within the case
 * @qemu: the QEMU to start
 * @incoming: whether it is to wait for a migration
 * @error: set as by vm_start()
 */
Vm *bench_start(Bench *bench, const char *name, const char *qemu,
                bool incoming, GError **error);

/**
 * bench_boot_anew: start a QEMU, boot the guest in it, wait until it has filled
 * its memory.
 * @bench: the bench
 * @name: unique within the case
 * @qemu: the QEMU to start
 * @error: set if any of it fails
 */
Vm *bench_boot_anew(Bench *bench, const char *name, const char *qemu,
                    GError **error);

/**
 * bench_boot: the same with the name "source", or, where that makes no
 * difference and boot_anew is not set, start a QEMU with a guest that was
 * booted before. Pages of zeroes are not populated then.
 * @bench: the bench
 * @qemu: the QEMU to start
 * @error: set if any of it fails
 */
Vm *bench_boot(Bench *bench, const char *qemu, GError **error);

/**
 * bench_balloon: inflate the balloon of a guest, and wait until it goes on.
 * @bench: the bench
 * @vm: its VM
 * @error: set if any of it fails
 */
bool bench_balloon(Bench *bench, Vm *vm, GError **error);

/**
 * bench_boot_and_balloon: bench_boot(), and inflate the balloon there.
 * @bench: the bench
 * @qemu: the QEMU to start
 * @error: set if any of it fails
 */
Vm *bench_boot_and_balloon(Bench *bench, const char *qemu, GError **error);

/**
 * bench_boot_ballooned: the same, or, where bench_boot() would load a guest,
 * load one whose balloon was inflated before it was saved. The QEMU has never
 * had the memory that is in it.
 * @bench: the bench
 * @qemu: the QEMU to start
 * @error: set if any of it fails
 */
Vm *bench_boot_ballooned(Bench *bench, const char *qemu, GError **error);

/**
 * bench_migrate: migrate as fast as can be and check that the guest is
 * intact and goes on.
 * @bench: the bench
 * @source: its source
 * @destination: its destination
 * @stats: where to put what QEMU counted
 * @error: set if any of it fails
 */
bool bench_migrate(Bench *bench, Vm *source, Vm *destination,
                   MigrationStats *stats, GError **error);

/**
 * bench_start_slow: start a migration with the capabilities of the case, such
 * that it takes many seconds, and wait until it sends.
 * @bench: the bench
 * @source: its source
 * @destination: its destination
 * @error: set if any of it fails
 */
bool bench_start_slow(Bench *bench, Vm *source, Vm *destination,
                      GError **error);

/**
 * bench_intact: check that a guest goes on and all of its memory is right.
 * @vm: its VM
 * @error: set if not
 */
bool bench_intact(Vm *vm, GError **error);

/**
 * bench_shared_memory: how much memory of the host the guest's memfds take.
 * @vm: its VM
 * @bytes: where to put it
 * @error: set if /proc does not say
 */
bool bench_shared_memory(Vm *vm, uint64_t *bytes, GError **error);

/**
 * bench_skipped: check that most of what could be was skipped, by the
 * capabilities of the case, and that each counts for itself.
 * @bench: the bench
 * @stats: what QEMU counted
 * @bytes: how much is in the balloon, or is unpopulated for another reason
 * @error: set if not
 */
bool bench_skipped(const Bench *bench, const MigrationStats *stats,
                   uint64_t bytes, GError **error);

/**
 * bench_runs_bare: whether the guest without a system runs, and does anything.
 * @bench: the bench, which is left as it is
 * @bare: the guest, and the accelerator
 * @memory: bytes of memory
 * @error: set to why not
 */
bool bench_runs_bare(const Bench *bench, const BareGuest *bare,
                     uint64_t memory, GError **error);

#endif /* SKIP_BALLOON_TEST_HARNESS_H */
