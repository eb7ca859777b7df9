/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIBVIRT_TRIP_H
#define TESTS_LIBVIRT_TRIP_H

#include "qemu/guest.h"
#include "tests/guest/harness.h"
#include "tests/libvirt/document.h"
#include "tests/libvirt/host.h"

/* What the balloon leaves the guest of docs/libvirt.md. */
#define TRIP_LEFT (256 * SIZE_MIB)

/*
 * A guest that is booted once, in unmodified QEMU, and then moved by libvirt
 * from case to case, with what docs/libvirt.md says.
 */
typedef struct Trip {
    Session *session;
    Hosts *hosts;
    Document *document;
    Host *at;                   /* where it runs */
    Guest *guest;
    uint64_t ballooned;         /* bytes */
    bool reporting;             /* its guest reports free pages */
    bool ours;                  /* its QEMU has skip-balloon, switched on */
    bool in_case;               /* that has not ended well so far */
    unsigned cases;             /* that have */
    int64_t unmodified_ms[2];   /* to, and fro */
} Trip;

/**
 * trip_begin: begin a case, after all that has to be done for it once.
 * @bench: the bench of the case
 * @ours: whether QEMU is to have skip-balloon, switched on
 * @trip: where to put the trip, which is the same for all cases; NULL if
 *        libvirt cannot be run here, and the case is skipped
 * @error: set if anything fails
 */
bool trip_begin(const Bench *bench, bool ours, Trip **trip, GError **error);

/**
 * trip_boot_reporting: boot another guest, in a QEMU that has skip-balloon
 * switched on and no balloon to inflate: it uses all of its memory once, and
 * reports what is free then. Waits until it has.
 * @bench: the bench of the case
 * @trip: where to put it; NULL if libvirt cannot be run here
 * @error: set if anything fails
 *
 * Free it with trip_free().
 */
bool trip_boot_reporting(const Bench *bench, Trip **trip, GError **error);

/**
 * trip_free: forget the guest, and end both libvirtd.
 * @trip: the trip, or NULL
 */
void trip_free(Trip *trip);

/**
 * trip_done: a case has ended well.
 *
 * Returns: true.
 */
bool trip_done(Trip *trip);

/**
 * trip_end: trip_free() for that of trip_begin().
 */
void trip_end(void);

/**
 * trip_step: do what a block of the document says, at the host where the guest
 * runs.
 * @trip: the trip
 * @name: the block
 * @error: set as by document_block() and host_run()
 *
 * Returns: what it prints, NULL on failure; the caller frees it.
 */
char *trip_step(Trip *trip, const char *name, GError **error);

/**
 * trip_move: the same for a step that moves the guest to the other host.
 * Checks that it goes on there, with all of its memory right.
 * @trip: the trip
 * @name: the block
 * @stats: where to put what the source said last
 * @error: set if any of it fails
 */
bool trip_move(Trip *trip, const char *name, MigrationStats *stats,
               GError **error);

/**
 * trip_refused: the same for commands that have to fail, with the guest going
 * on where it is. All that virsh may say, and what the QEMU there says, has to
 * be in the document.
 * @trip: the trip
 * @script: the commands
 * @said: what virsh may say, one of several with "|" between them
 * @logged: what that QEMU has to say; NULL for nothing
 * @error: set if any of it is not so
 */
bool trip_refused(Trip *trip, const char *script, const char *said,
                  const char *logged, GError **error);

/**
 * trip_intact: check that the guest goes on where it is, with all of its
 * memory right.
 * @trip: the trip
 * @error: set if not
 */
bool trip_intact(Trip *trip, GError **error);

/**
 * trip_connect: its console is a new one, as after each start of a QEMU.
 * @trip: the trip
 * @error: set if it cannot be opened
 */
bool trip_connect(Trip *trip, GError **error);

/**
 * trip_small: check that the QEMU where it runs has no more memory than such a
 * guest needs.
 * @trip: the trip
 * @error: set if it has
 */
bool trip_small(Trip *trip, GError **error);

/**
 * trip_grown: check that the QEMU where it runs has come to no more memory.
 * @trip: the trip
 * @before: what it had, in bytes
 * @error: set if it has
 */
bool trip_grown(Trip *trip, uint64_t before, GError **error);

/**
 * trip_skipped: check that what is in the balloon was skipped, and more.
 * @trip: the trip
 * @stats: what the source said
 * @error: set if not
 */
bool trip_skipped(const Trip *trip, const MigrationStats *stats,
                  GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Trip, trip_free)

#endif /* TESTS_LIBVIRT_TRIP_H */
