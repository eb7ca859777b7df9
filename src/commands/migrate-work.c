/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/migrate-work.h"

#include <string.h>

#include "base/error.h"
#include "commands/command.h"
#include "commands/migrate-plan.h"
#include "report/migrate-report.h"

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MigratePlan, migrate_plan_clear)

/* What goes on. */
typedef struct Work {
    const MigrateTask *task;
    Move move;
    MigratePlan plan;
    Shrink shrink;
    uint64_t would_send;        /* before the guest was shrunk */
    bool completed;             /* the guest has moved */
    MoveEnd end;
    char *where;                /* the same, in words */
} Work;

static void append(GError **error, const char *more)
{
    char *message = g_strdup_printf("%s; %s", (*error)->message, more);

    g_free((*error)->message);
    (*error)->message = message;
}

static bool print_notes(GStrv notes, GError **error)
{
    for (char **note = notes; *note; note++) {
        g_autofree char *line = g_strdup_printf("Note: %s\n", *note);

        if (!command_print(line, error)) {
            return false;
        }
    }
    return true;
}

/* ---- Shrinking ---- */

/* The memory that is left of the guest's decides whether it fits. */
static bool shrink_guest(Work *work, GError **error)
{
    const MigrateTask *task = work->task;

    work->would_send = work->plan.forecast->would_send;
    if (!shrink_take(&work->shrink, work->move.source, work->plan.source,
                     task->shrink_bytes, error)) {
        g_prefix_error(error, "cannot shrink the guest: ");
        return false;
    }
    migrate_plan_clear(&work->plan);
    return migrate_plan_make(&work->move, task->strict, true, &work->plan,
                             error);
}

/* Wherever it is now. */
static void grow_guest(Work *work, GError **failure)
{
    bool moved = work->move.started;
    Monitor *monitor =
        !moved || work->end.where == MOVE_SOURCE ? work->move.source :
        work->end.where == MOVE_DESTINATION ? work->move.destination : NULL;
    g_autoptr(GError) fault = NULL;

    if (!work->shrink.begun) {
        return;
    }
    if (!monitor) {
        if (*failure && work->end.where == MOVE_UNKNOWN) {
            g_autofree char *text = g_strdup_printf(
                "the balloon is not what it was, which is for 'balloon' with "
                "value %" G_GUINT64_FORMAT " to mend where the guest runs",
                work->shrink.before);

            append(failure, text);
        }
        return;
    }
    session_heed_interrupts(work->move.session, true);
    if (shrink_give_back(&work->shrink, monitor, &fault)) {
        if (*failure && !moved) {
            append(failure, "the guest has got back what the balloon took");
        }
    } else if (*failure) {
        append(failure, fault->message);
    } else {
        g_propagate_prefixed_error(failure, g_steal_pointer(&fault),
                                   "the guest has moved, but ");
    }
}

/* ---- Moving ---- */

/* A domain whose guest has stayed does not keep what was turned on. */
static void turn_back(const Work *work)
{
    SkipSet set = 0;

    for (SkipSet member = SKIP_BALLOON; member <= SKIP_UNPOPULATED;
         member <<= 1) {
        g_autofree char *name = skip_set_title(member);

        if (work->move.settings.skip & member &&
            !qemu_state_capability(work->plan.source, name).on) {
            set |= member;
        }
    }
    move_turn(work->move.source, set, false, NULL);
}

/* Do it, and find out where the guest is in the end. */
static bool move_and_settle(Work *work, GError **error)
{
    Move *move = &work->move;
    bool done;

    if (monitor_libvirt(move->source)) {
        done = libvirt_move(move, error);
        libvirt_move_settle(move, &work->end);
        work->where = libvirt_move_describe(move, &work->end);
        if (work->end.where == MOVE_SOURCE) {
            turn_back(work);
        }
        return done;
    }
    done = move_start(move, error) && move_watch(move, error);
    if (move->started) {
        move_settle(move, &work->end);
        work->where = move_describe(move, &work->end);
    }
    return done;
}

/* Move the guest; whatever happens, say where it is in the end. */
static bool move_guest(Work *work, GError **error)
{
    Move *move = &work->move;
    g_autoptr(GError) failure = NULL;
    bool done;

    if (!move_set_up(move, error)) {
        return false;
    }
    progress_begin(move->session->progress, "Migrating");
    done = move_and_settle(work, &failure);
    if (!move->started) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    progress_end(move->session->progress, NULL);
    work->completed = done && work->end.where == MOVE_DESTINATION;
    if (work->completed) {
        return true;
    }
    g_set_error(error, SB_ERROR,
                done ? SB_ERROR_MIGRATION : (SbError)failure->code, "%s; %s",
                done ? "the source says that the migration has completed"
                     : failure->message, work->where);
    return false;
}

/* Whether the QEMU of the destination has refused what was sent. */
static bool was_refused(const GError *failure)
{
    return strstr(failure->message, "section or instance 'skip'") ||
           strstr(failure->message, "Sibling indicated error");
}

/*
 * The QEMU of a domain's destination shows what it knows when it runs. If it
 * refuses, the guest goes on here, and may go as it would with unmodified QEMU.
 */
static bool move_or_fall_back(Work *work, GError **error)
{
    const MigrateTask *task = work->task;
    Move *move = &work->move;
    g_autoptr(GError) failure = NULL;

    if (move_guest(work, &failure)) {
        return true;
    }
    if (!monitor_libvirt(move->source) || task->strict ||
        !move->settings.skip || work->end.where != MOVE_SOURCE ||
        !was_refused(failure)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    move->refused = true;
    move->started = false;
    move->settings.skip = 0;
    g_clear_pointer(&work->where, g_free);
    migrate_plan_clear(&work->plan);
    return migrate_plan_make(move, false, true, &work->plan, error) &&
           (task->json || print_notes(work->plan.notes, error)) &&
           move_guest(work, error);
}

/* The next migration begins there. */
static bool set_up_next(const Work *work, GError **error)
{
    const Move *move = &work->move;

    if (!monitor_libvirt(move->source) || !move->settings.skip ||
        move_turn(move->destination, move->settings.skip, true, error)) {
        return true;
    }
    g_prefix_error(error, "the guest has moved, but the capabilities are off "
                   "there: ");
    return false;
}

static bool plan_and_move(Work *work, GError **error)
{
    const MigrateTask *task = work->task;

    return migrate_plan_make(&work->move, task->strict, !task->shrink,
                             &work->plan, error) &&
           (task->dry_run ||
            ((!task->shrink || shrink_guest(work, error)) &&
             (task->json || print_notes(work->plan.notes, error)) &&
             move_or_fall_back(work, error) && set_up_next(work, error)));
}

/* ---- All of it ---- */

static bool open_ends(Work *work, GError **error)
{
    const MigrateTask *task = work->task;
    Move *move = &work->move;

    move->source = monitor_open(move->session, &task->source, error);
    if (!move->source ||
        (!task->destination.socket && !monitor_libvirt(move->source))) {
        return move->source;
    }
    move->destination = monitor_libvirt(move->source) ?
        monitor_open_destination(move->source, move->settings.uri, error) :
        monitor_open(move->session, &task->destination,
                                     error);
    return move->destination;
}

static bool print_report(const Work *work, const char *failure,
                         GError **error)
{
    const MigrateReport report = {
        .move = &work->move,
        .source = work->plan.source,
        .destination = work->plan.destination,
        .forecast = work->plan.forecast,
        .notes = work->plan.notes,
        .end = work->move.started ? &work->end : NULL,
        .where = work->where,
        .shrinks = work->task->shrink,
        .shrink = work->shrink.begun ? &work->shrink : NULL,
        .would_send = work->would_send,
        .completed = work->completed,
        .failure = failure,
    };
    g_autofree char *text =
        work->task->json ? migrate_report_json(&report) :
        report.end ? migrate_report_text(&report)
                   : migrate_report_plan(&report);

    return command_print(text, error);
}

static bool do_work(Work *work, GError **error)
{
    GError *failure = NULL;

    plan_and_move(work, &failure);
    grow_guest(work, &failure);
    if (!failure) {
        return print_report(work, NULL, error);
    }
    if (work->task->json || work->completed) {
        print_report(work, failure->message, NULL);
    }
    g_propagate_error(error, failure);
    return false;
}

bool migrate_work(Session *session, void *task, GError **error)
{
    g_auto(MigratePlan) plan = { 0 };
    Work work = {
        .task = task,
        .move = {
            .session = session,
            .settings = ((const MigrateTask *)task)->settings,
        },
        .shrink = { .session = session },
    };
    bool done;

    session->patience = "";
    done = open_ends(&work, error) && do_work(&work, error);
    if (!done && !work.move.started) {
        g_prefix_error(error, "nothing has moved: ");
    }
    plan = work.plan;
    g_free(work.where);
    monitor_free(work.move.source);
    monitor_free(work.move.destination);
    return done;
}
