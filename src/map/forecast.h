/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_MAP_FORECAST_H
#define SKIP_BALLOON_MAP_FORECAST_H

#include "map/map.h"
#include "qemu/state.h"

/* What becomes of a capability when a migration begins. */
typedef enum ForecastReason {
    FORECAST_ACTIVE,
    FORECAST_NOT_SUPPORTED,     /* QEMU does not know it */
    FORECAST_CAPABILITY_OFF,
    FORECAST_NO_DEVICE,         /* this and the rest as QMP names them */
    FORECAST_MUST_TELL_HOST,
    FORECAST_DISCARD_INHIBITED,
    FORECAST_PAGEMAP_DENIED,
    FORECAST_REASONS
} ForecastReason;

/* A capability. */
typedef struct ForecastSkip {
    ForecastReason reason;      /* as things are */
    ForecastReason if_on;       /* the same, were the capability on */
    uint64_t bytes;             /* that it skips at least, if it is active */
} ForecastSkip;

/* A RAM block of which skip-unpopulated skips nothing. */
typedef struct ForecastBlock {
    char *id;
    uint64_t size;              /* in bytes */
    const char *reason;         /* as QMP names it */
} ForecastBlock;

/*
 * What a migration would do that began now, and during which the guest wrote
 * nothing. Bounds, not estimates: what cannot be known is on the safe side.
 * All sizes are in bytes.
 */
typedef struct Forecast {
    ForecastSkip balloon;
    ForecastSkip unpopulated;
    bool skips;                 /* at least one of them is active */

    uint64_t ram;               /* all that is migrated as RAM */
    bool has_map;               /* the next six are known */
    uint64_t populated;         /* of guest RAM, as far as it is told */
    uint64_t not_told;          /* guest RAM of which that is not told */
    bool huge_pages;            /* some of it is in huge pages of hugetlbfs */
    uint64_t in_map;            /* of the guest, in the balloon map */
    uint64_t in_map_populated;  /* of that */
    bool in_map_uncertain;      /* it may be less; earlier QEMUs do not tell */
    uint64_t holds;             /* by the balloon; 0 if it is not known */

    uint64_t would_skip;        /* at least */
    uint64_t would_send;        /* at most */
    uint64_t destination;       /* at most, what guest memory takes there */
    GPtrArray *left_alone;      /* of ForecastBlock * */
} Forecast;

/**
 * forecast_make: what a migration would do.
 * @state: the state of the source
 * @error: set to SB_ERROR_QMP if its map is not as QEMU documents it
 *
 * Returns: the forecast, NULL on failure; free it with forecast_free().
 */
Forecast *forecast_make(const QemuState *state, GError **error);

/**
 * forecast_free: free a forecast.
 * @forecast: the forecast, or NULL
 */
void forecast_free(Forecast *forecast);

/**
 * forecast_reason_name: what a reason is called; as in QMP if it is there.
 * @reason: the reason
 *
 * Returns: the name, NULL for FORECAST_ACTIVE.
 */
const char *forecast_reason_name(ForecastReason reason);

/**
 * forecast_map_is_short: whether the balloon map knows of less than the
 * balloon holds, by more than the guest's kernel may have on its way.
 * @forecast: the forecast
 */
bool forecast_map_is_short(const Forecast *forecast);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Forecast, forecast_free)

#endif /* SKIP_BALLOON_MAP_FORECAST_H */
