/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_QEMU_STATE_H
#define SKIP_BALLOON_QEMU_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "qemu/monitor.h"

/* A migration capability of a QEMU. */
typedef struct CapabilityState {
    bool known;                 /* QEMU has it */
    bool on;
} CapabilityState;

/* What QEMU tells of its balloon. */
typedef struct BalloonState {
    bool present;
    bool has_actual;
    uint64_t actual;            /* what it leaves to the guest, in bytes */
    bool has_features;          /* the next three are told */
    bool offered;               /* MUST_TELL_HOST, by the device */
    bool negotiated;            /* and by the guest's driver, too */
    bool driver;                /* the guest has a driver that runs */
    char *path;                 /* of the device, for QOM; NULL: not known */
    int64_t polling_secs;       /* of its statistics; 0: they are not polled */
    bool has_available;         /* the guest's statistics are polled */
    uint64_t available;         /* what it can spare, in bytes */
    bool has_used;              /* QEMU tells the next one */
    uint64_t used;              /* of the map, about, in bytes */
} BalloonState;

/* What the guest's driver tells of its memory. */
typedef struct GuestStatistics {
    uint64_t updated;           /* when; 0: never */
    bool has_available;
    uint64_t available;         /* what the guest can spare, in bytes */
    bool has_swapped;
    uint64_t swapped;           /* in and out, in bytes, since it booted */
} GuestStatistics;

/* A memory backend: what guest RAM is made of. */
typedef struct BackendState {
    char *id;
    uint64_t size;              /* in bytes */
    bool shared;
    bool preallocated;
} BackendState;

/* What a running QEMU tells of itself. Nothing of it is changed by asking. */
typedef struct QemuState {
    char *version;              /* "10.0.13 (Debian ...)" */
    char *name;                 /* of the guest; NULL if it has none */
    char *status;               /* of the guest, such as "running" */
    uint64_t memory;            /* of the guest, in bytes */
    CapabilityState skip_balloon;
    CapabilityState skip_unpopulated;
    BalloonState balloon;
    char *migration;            /* status of the last one; NULL: none yet */
    char *vfio;                 /* type of a VFIO device, or NULL */
    GPtrArray *backends;        /* of BackendState * */
    JsonNode *capabilities;     /* of query-migrate-capabilities */
    JsonNode *map;              /* of query-migration-map; NULL: not known */
} QemuState;

/**
 * qemu_state_ask: ask a QEMU for its state.
 * @monitor: the QEMU
 * @error: set as by monitor_execute(), or to SB_ERROR_QMP if an answer is not
 *         as QEMU documents it
 *
 * What a QEMU does not know, such as an unmodified one the map, is left out.
 *
 * Returns: the state, NULL on failure; free it with qemu_state_free().
 */
QemuState *qemu_state_ask(Monitor *monitor, GError **error);

/**
 * qemu_state_capability: a migration capability, by its name.
 * @state: the state
 * @name: the capability
 */
CapabilityState qemu_state_capability(const QemuState *state,
                                      const char *name);

/**
 * qemu_statistics_ask: ask for the statistics that a guest has sent last.
 * @monitor: the QEMU
 * @path: of its balloon device
 * @statistics: where to put them
 * @error: set as by monitor_execute()
 */
bool qemu_statistics_ask(Monitor *monitor, const char *path,
                         GuestStatistics *statistics, GError **error);

/**
 * qemu_state_free: free a state.
 * @state: the state, or NULL
 */
void qemu_state_free(QemuState *state);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QemuState, qemu_state_free)

#endif /* SKIP_BALLOON_QEMU_STATE_H */
