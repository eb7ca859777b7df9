/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_MOVE_H
#define SKIP_BALLOON_QEMU_MOVE_H

#include "qemu/migration.h"
#include "qemu/monitor.h"

/* How a guest is to be moved. Nothing in it is owned. */
typedef struct MoveSettings {
    const char *uri;            /* as QEMU's migrate takes it, or of libvirt */
    const char *migrate_uri;    /* of a domain's memory; NULL: libvirt's */
    SkipSet skip;               /* to be on */
    SkipSet leave;              /* the source is to turn off */
    uint64_t bandwidth;         /* bytes per second; 0: as it is */
    unsigned downtime_ms;       /* 0: as it is */
    unsigned multifd;           /* channels; 0: without */
    bool postcopy;
    unsigned postcopy_after_secs;
    unsigned timeout_secs;      /* 0: as long as it takes */
    bool tls;                   /* these are libvirt's, too */
    bool persistent;            /* define the domain there */
    bool undefine;              /* and no longer here */
} MoveSettings;

/*
 * The move of a guest from a QEMU to another, which somebody else has started.
 * Nothing in it is owned.
 */
typedef struct Move {
    Session *session;
    Monitor *source;
    Monitor *destination;       /* waits, or a domain to be; NULL: unknown */
    MoveSettings settings;
    bool refused;               /* by the destination, with our capabilities */
    bool goes_on;               /* libvirt migrates, and does not let it go */
    bool started;               /* out: something may have been sent */
    bool postcopy;              /* out: from where there is no way back */
    MigrationStats stats;       /* out: what the source said last */
} Move;

/* Where a guest is. */
typedef enum MoveWhere {
    MOVE_UNKNOWN,
    MOVE_SOURCE,
    MOVE_DESTINATION,
    MOVE_NOWHERE,
    MOVE_WHERES
} MoveWhere;

/* How a move has ended. */
typedef struct MoveEnd {
    MoveWhere where;            /* the guest runs */
    bool stopped;               /* it ran at both, and the source was stopped */
    bool source_gone;           /* its QEMU has ended */
    bool destination_gone;
    bool source_postcopy;       /* the source has memory that is to be moved */
    bool paused;                /* the connection for it is lost */
    bool incomplete;            /* the destination has not got all of it */
} MoveEnd;

/**
 * move_turn: turn capabilities of ours on or off.
 * @monitor: either end
 * @set: which
 * @on: whether they are to be on
 * @error: set as by monitor_execute()
 */
bool move_turn(Monitor *monitor, SkipSet set, bool on, GError **error);

/**
 * move_set_up: set capabilities and parameters, at both ends, or at the source
 * if the destination cannot be asked. Of a domain only those that libvirt does
 * not set.
 * @move: the move
 * @error: set as by monitor_execute()
 */
bool move_set_up(const Move *move, GError **error);

/**
 * move_start: have the source begin.
 * @move: the move, set up
 * @error: set as by monitor_execute()
 */
bool move_start(Move *move, GError **error);

/**
 * move_watch: wait until a migration is over. Reports to the session's
 * progress.
 * @move: the move, started
 * @error: set to SB_ERROR_MIGRATION, with the reason that QEMU gives, if it
 *         has failed; to SB_ERROR_TIMEOUT if it takes longer than it may; as
 *         by monitor_execute() or session_step()
 *
 * Returns: whether the source says that it has completed.
 */
bool move_watch(Move *move, GError **error);

/**
 * move_look: ask the source how far it is, and report to the session's
 * progress.
 * @move: the move, started
 * @error: set as by monitor_execute()
 */
bool move_look(Move *move, GError **error);

/**
 * move_is_late: whether a migration takes longer than it may.
 * @move: the move
 * @secs: what it has taken
 * @error: set to SB_ERROR_TIMEOUT if so
 */
bool move_is_late(const Move *move, double secs, GError **error);

/**
 * move_wants_postcopy: whether it is time to begin postcopy.
 * @move: the move
 * @secs: what it has taken
 */
bool move_wants_postcopy(const Move *move, double secs);

/**
 * move_settle: whatever has happened, see to it that the guest runs at one
 * end. A migration that goes on is cancelled, unless postcopy has begun. Where
 * it has completed, a destination that was started with -S is told to go on.
 * Interrupts are heeded no more.
 * @move: the move, started
 * @end: where to put what has become of it
 */
void move_settle(Move *move, MoveEnd *end);

/**
 * move_where_name: what a place is called, "source".
 * @where: the place
 */
const char *move_where_name(MoveWhere where);

/**
 * move_describe: a sentence that says where the guest runs, and what is to be
 * done if something is.
 * @move: the move
 * @end: what has become of it
 *
 * Returns: a new string; the caller frees it.
 */
char *move_describe(const Move *move, const MoveEnd *end);

#endif /* SKIP_BALLOON_QEMU_MOVE_H */
