/*
 * Long work of the destination, in turns with the main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "turns.h"
#include "trace.h"

/* How long to keep the main loop waiting, but for what is under way by then */
#define SLICE_NS (2 * SCALE_MS)

static void main_loop_runs(void *opaque)
{
    SkipTurns *turns = opaque;

    turns->end = get_clock();
}

static void slice_begin(SkipTurns *turns)
{
    trace_skip_bql_begin(turns->what);
    turns->end = 0;
    qemu_bh_schedule(turns->bh);
    turns->begin = get_clock();
}

static void slice_end(SkipTurns *turns, int64_t end)
{
    trace_skip_bql_end(turns->what, (end - turns->begin) / SCALE_US);
}

void skip_turns_begin(SkipTurns *turns, const char *what)
{
    assert(bql_locked());
    turns->what = what;
    turns->bh = qemu_bh_new(main_loop_runs, turns);
    slice_begin(turns);
}

void skip_turns_end(SkipTurns *turns)
{
    slice_end(turns, get_clock());
    qemu_bh_delete(turns->bh);
}

bool skip_turns_take(SkipTurns *turns)
{
    int64_t now = get_clock();

    if (now - turns->begin < SLICE_NS || !qemu_in_coroutine()) {
        return false;
    }
    slice_end(turns, now);
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
    slice_begin(turns);
    return true;
}

void skip_turns_read(SkipTurns *turns)
{
    if (turns->end) {
        slice_end(turns, turns->end);
        slice_begin(turns);
    }
}
