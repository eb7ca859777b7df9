/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/forecast.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

/* What each page takes in the stream besides its content, and one of zeroes. */
#define HEADER_BYTES 8
#define ZERO_BYTES 9

/* How many pages of all QEMU looks at to tell how many hold zeroes. */
#define SAMPLES 16384

/* Pages that are given back, and counted by the guest, but not yet by us. */
#define ON_THE_WAY SIZE_MIB

/* The pages of a RAM block, or of many. */
typedef struct Pages {
    uint64_t all;
    uint64_t ballooned;
    uint64_t unpopulated;
    uint64_t both;              /* in the balloon and unpopulated */
    uint64_t zeroes;            /* populated, and zero, at least */
} Pages;

static const char *const reason_names[] = {
    [FORECAST_NOT_SUPPORTED] = "not-supported",
    [FORECAST_CAPABILITY_OFF] = "capability-off",
    [FORECAST_NO_DEVICE] = "no-device",
    [FORECAST_MUST_TELL_HOST] = "must-tell-host",
    [FORECAST_DISCARD_INHIBITED] = "discard-inhibited",
    [FORECAST_PAGEMAP_DENIED] = "pagemap-denied",
};

const char *forecast_reason_name(ForecastReason reason)
{
    return reason_names[reason];
}

/*
 * QEMU looks at a sample of the populated pages. Of so many of them there are
 * zero, with a margin of three standard errors, at least so many.
 */
static uint64_t zeroes_at_least(uint64_t populated, uint64_t zeroes,
                                uint64_t stride)
{
    double samples = (double)populated / stride;
    double share, error;

    zeroes = MIN(zeroes, populated);
    if (stride <= 1 || !zeroes) {
        return zeroes;
    }
    share = (double)zeroes / populated;
    error = MAX(3 * sqrt(share * (1 - share) / samples), 3 / samples);
    return MAX(share - error, 0) * populated;
}

static Pages count_pages(const MemoryMap *map, const MemoryBlock *block)
{
    uint64_t stride = (map->size / map->page_size + SAMPLES - 1) / SAMPLES;
    Pages sum = { 0 };

    for (unsigned i = 0; i < block->n_cells; i++) {
        const MemoryCounts *cell = &block->cells[i];
        uint64_t gone = cell->ballooned + cell->unpopulated;

        sum.all += cell->pages;
        sum.ballooned += cell->ballooned;
        sum.unpopulated += cell->unpopulated;
        /* What is not told overlaps as little as it can. */
        sum.both += gone > cell->pages ? gone - cell->pages : 0;
    }
    if (block->has_both) {
        sum.both = MIN(block->both, MIN(sum.ballooned, sum.unpopulated));
    }
    sum.zeroes = sum.unpopulated == sum.all ? 0 :
        zeroes_at_least(sum.all - sum.unpopulated, block->zeroes, stride);
    return sum;
}

/* What a RAM block is made of; NULL for ROMs and memory of devices. */
static const BackendState *find_backend(const QemuState *state,
                                        const MemoryBlock *block)
{
    for (unsigned i = 0; i < state->backends->len; i++) {
        const BackendState *backend = state->backends->pdata[i];
        g_autofree char *path = g_strconcat("/objects/", backend->id, NULL);

        if (!strcmp(block->id, backend->id) || !strcmp(block->id, path)) {
            return backend;
        }
    }
    return NULL;
}

/* ---- Whether ---- */

static ForecastReason judge_balloon(const QemuState *state, bool inhibited,
                                    bool denied)
{
    const BalloonState *balloon = &state->balloon;

    if (!state->skip_balloon.known) {
        return FORECAST_NOT_SUPPORTED;
    }
    if (!balloon->present) {
        return FORECAST_NO_DEVICE;
    }
    if (balloon->has_features && !balloon->negotiated) {
        return FORECAST_MUST_TELL_HOST;
    }
    if (inhibited) {
        return FORECAST_DISCARD_INHIBITED;
    }
    return denied ? FORECAST_PAGEMAP_DENIED : FORECAST_ACTIVE;
}

/* What is not told by @map is guessed; NULL if there is none. */
static void judge(const QemuState *state, const MemoryMap *map,
                  Forecast *forecast)
{
    ForecastSkip *balloon = &forecast->balloon;
    ForecastSkip *unpopulated = &forecast->unpopulated;
    bool inhibited = map && map->has_inhibited ? map->discard_inhibited
                                               : state->vfio != NULL;
    bool denied = map && map->pagemap_denied;

    balloon->if_on = judge_balloon(state, inhibited, denied);
    unpopulated->if_on = !state->skip_unpopulated.known
                         ? FORECAST_NOT_SUPPORTED
                         : denied ? FORECAST_PAGEMAP_DENIED : FORECAST_ACTIVE;
    balloon->reason = state->skip_balloon.known && !state->skip_balloon.on
                      ? FORECAST_CAPABILITY_OFF : balloon->if_on;
    unpopulated->reason =
        state->skip_unpopulated.known && !state->skip_unpopulated.on
        ? FORECAST_CAPABILITY_OFF : unpopulated->if_on;
    forecast->skips = balloon->reason == FORECAST_ACTIVE ||
                      unpopulated->reason == FORECAST_ACTIVE;
}

/* ---- How much ---- */

static void leave_alone(Forecast *forecast, const MemoryBlock *block,
                        const char *reason)
{
    ForecastBlock *alone = g_new0(ForecastBlock, 1);

    alone->id = g_strdup(block->id);
    alone->size = block->size;
    alone->reason = reason;
    g_ptr_array_add(forecast->left_alone, alone);
}

/*
 * With one of the capabilities active, records of zeroes populate nothing on
 * the destination; without, each that goes to shared memory does. A page of
 * zeroes may become a part of a huge page with others: on hugetlbfs, and of
 * private memory.
 */
static void add_block(const QemuState *state, const MemoryMap *map,
                      const MemoryBlock *block, Forecast *forecast)
{
    const BackendState *backend = find_backend(state, block);
    uint64_t page_size = map->page_size;
    Pages pages = count_pages(map, block);
    bool small = backend && backend->shared &&
                 block->host_page_size <= page_size;
    uint64_t populated = pages.all - pages.unpopulated;
    bool balloon = forecast->balloon.reason == FORECAST_ACTIVE;
    bool unpopulated = forecast->unpopulated.reason == FORECAST_ACTIVE;
    uint64_t skipped = unpopulated && backend ? pages.unpopulated :
                       balloon ? pages.both : 0;
    uint64_t zeroes = pages.unpopulated - skipped + pages.zeroes;

    forecast->in_map += pages.ballooned * page_size;
    forecast->in_map_populated += (pages.ballooned - pages.both) * page_size;
    forecast->in_map_uncertain |= pages.ballooned && !block->has_both;
    forecast->balloon.bytes += pages.both * page_size;
    forecast->unpopulated.bytes +=
        (backend ? pages.unpopulated : 0) * page_size;
    forecast->would_skip += skipped * page_size;
    forecast->would_send += (populated - pages.zeroes) *
                            (page_size + HEADER_BYTES) + zeroes * ZERO_BYTES;
    forecast->destination += page_size *
        (backend && (forecast->skips || !backend->shared)
         ? populated - (small ? pages.zeroes : 0) : pages.all);
    forecast->huge_pages |= block->host_page_size > page_size;
    if (!backend) {
        leave_alone(forecast, block, "not-guest-ram");
    } else if (block->has_unpopulated) {
        forecast->populated += populated * page_size;
    } else {
        forecast->not_told += block->size;
    }
}

/* An unmodified QEMU sends all, and says nothing of what is populated. */
static void take_all(const QemuState *state, Forecast *forecast)
{
    forecast->ram = state->memory;
    forecast->would_send = state->memory / 4096 * (4096 + HEADER_BYTES);
    forecast->destination = state->memory;
}

static void block_free(gpointer opaque)
{
    ForecastBlock *block = opaque;

    g_free(block->id);
    g_free(block);
}

Forecast *forecast_make(const QemuState *state, GError **error)
{
    g_autoptr(Forecast) forecast = g_new0(Forecast, 1);
    g_autoptr(MemoryMap) map = NULL;

    forecast->left_alone = g_ptr_array_new_with_free_func(block_free);
    if (state->map) {
        map = memory_map_parse(state->map, error);
        if (!map) {
            return NULL;
        }
    }
    judge(state, map, forecast);
    if (state->balloon.has_actual && state->balloon.actual < state->memory) {
        forecast->holds = state->memory - state->balloon.actual;
    }
    if (!map) {
        take_all(state, forecast);
        return g_steal_pointer(&forecast);
    }
    forecast->has_map = true;
    forecast->ram = map->size;
    for (unsigned i = 0; i < map->blocks->len; i++) {
        add_block(state, map, map->blocks->pdata[i], forecast);
    }
    return g_steal_pointer(&forecast);
}

void forecast_free(Forecast *forecast)
{
    if (!forecast) {
        return;
    }
    g_ptr_array_unref(forecast->left_alone);
    g_free(forecast);
}

bool forecast_map_is_short(const Forecast *forecast)
{
    return forecast->has_map && forecast->holds > forecast->in_map +
                                                  ON_THE_WAY;
}
