/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "commands/migrate-work.h"

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
    MoveEnd end;
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

    if (!work->shrink.begun || !monitor) {
        return;
    }
    session_forget_interrupt(work->move.session);
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

/* Move the guest; whatever happens, say where it is in the end. */
static bool move_guest(Work *work, GError **error)
{
    Move *move = &work->move;
    g_autofree char *where = NULL;
    g_autoptr(GError) failure = NULL;
    bool done;

    if (!move_set_up(move, error)) {
        return false;
    }
    progress_begin(move->session->progress, "Migrating");
    done = move_start(move, &failure) && move_watch(move, &failure);
    if (!move->started) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    move_settle(move, &work->end);
    progress_end(move->session->progress, NULL);
    if (done && work->end.where == MOVE_DESTINATION) {
        return true;
    }
    where = move_describe(move, &work->end);
    g_set_error(error, SB_ERROR,
                done ? SB_ERROR_MIGRATION : (SbError)failure->code, "%s; %s",
                done ? "the source says that the migration has completed"
                     : failure->message, where);
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
             move_guest(work, error)));
}

/* ---- All of it ---- */

static bool open_ends(Work *work, GError **error)
{
    const MigrateTask *task = work->task;
    Move *move = &work->move;

    move->source = monitor_open(move->session, &task->source, error);
    if (!move->source || !task->destination.socket) {
        return move->source;
    }
    move->destination = monitor_open(move->session, &task->destination,
                                     error);
    return move->destination;
}

static bool print_report(const Work *work, bool completed,
                         const char *failure, GError **error)
{
    const MigrateReport report = {
        .move = &work->move,
        .source = work->plan.source,
        .destination = work->plan.destination,
        .forecast = work->plan.forecast,
        .notes = work->plan.notes,
        .end = work->move.started ? &work->end : NULL,
        .shrinks = work->task->shrink,
        .shrink = work->shrink.begun ? &work->shrink : NULL,
        .would_send = work->would_send,
        .completed = completed,
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
    bool moved = plan_and_move(work, &failure) && !work->task->dry_run;

    grow_guest(work, &failure);
    if (!failure) {
        return print_report(work, moved, NULL, error);
    }
    if (work->task->json || moved) {
        print_report(work, moved, failure->message, NULL);
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
    monitor_free(work.move.source);
    monitor_free(work.move.destination);
    return done;
}
