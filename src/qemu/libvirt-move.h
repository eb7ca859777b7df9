/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_LIBVIRT_MOVE_H
#define SKIP_BALLOON_QEMU_LIBVIRT_MOVE_H

#include "qemu/move.h"

/*
 * The move of a domain from one libvirt to another: theirs, so that it does not
 * depend on this program. Source and destination of the move are domains.
 */

/* What the libvirt of the destination tells of its host. */
typedef struct LibvirtHost {
    bool known;                 /* the next two are told */
    uint64_t free;              /* memory, in bytes */
    uint64_t cached;            /* the same, some of which can be had */
} LibvirtHost;

/**
 * libvirt_move_check: whether the destination can take the domain. Changes
 * nothing.
 * @move: the move
 * @host: where to put what it tells of its host
 * @error: set to SB_ERROR_MIGRATION if it has that domain already; to
 *         SB_ERROR_PROCESS if it cannot run its emulator, or does not tell; or
 *         as by libvirt_open()
 */
bool libvirt_move_check(const Move *move, LibvirtHost *host, GError **error);

/**
 * libvirt_move: have the source's libvirt migrate the domain, and wait until
 * that is over. What has failed, is interrupted or takes too long is cancelled,
 * unless postcopy has begun. Reports to the session's progress.
 * @move: the move, set up
 * @error: set to SB_ERROR_MIGRATION, with the reason that libvirt gives; to
 *         SB_ERROR_TIMEOUT if it takes longer than it may; as by
 *         session_step()
 *
 * Returns: whether libvirt says that the domain has moved.
 */
bool libvirt_move(Move *move, GError **error);

/**
 * libvirt_move_settle: find out where the domain runs. One that libvirt has
 * left paused at the source, and that is not at the destination, is resumed.
 * Interrupts are heeded no more.
 * @move: the move, started
 * @end: where to put what has become of it
 */
void libvirt_move_settle(const Move *move, MoveEnd *end);

/**
 * libvirt_move_describe: as move_describe().
 * @move: the move
 * @end: what has become of it
 */
char *libvirt_move_describe(const Move *move, const MoveEnd *end);

#endif /* SKIP_BALLOON_QEMU_LIBVIRT_MOVE_H */
