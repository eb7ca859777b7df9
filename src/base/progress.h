/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_BASE_PROGRESS_H
#define SKIP_BALLOON_BASE_PROGRESS_H

#include <glib.h>
#include <stdio.h>

/*
 * What goes on, for people: a bar that moves if the stream is a terminal,
 * a line for each stage otherwise, now and then one in between.
 */
typedef struct Progress Progress;

/**
 * progress_new: report to a stream.
 * @stream: the stream; stays the caller's
 *
 * Returns: the reporter; free it with progress_free().
 */
Progress *progress_new(FILE *stream);

/**
 * progress_free: free a reporter; a stage that has not ended is left behind
 * on a line of its own.
 * @progress: the reporter, or NULL
 */
void progress_free(Progress *progress);

/**
 * progress_set_stage_width: make room for longer names of stages.
 * @progress: the reporter, or NULL
 * @width: columns; the bar gets what is then left of 80
 */
void progress_set_stage_width(Progress *progress, int width);

/**
 * progress_set_note: what else to say of stages that end from now on.
 * @progress: the reporter, or NULL
 * @note: a few words, copied; NULL for nothing
 */
void progress_set_note(Progress *progress, const char *note);

/**
 * progress_rename: the stage that has begun is called something else now.
 * @progress: the reporter, or NULL
 * @stage: the new name; copied
 */
void progress_rename(Progress *progress, const char *stage);

/**
 * progress_begin: a stage begins.
 * @progress: the reporter; NULL keeps this and the next two functions silent
 * @stage: what it is called; copied
 */
void progress_begin(Progress *progress, const char *stage);

/**
 * progress_update: how far the stage is.
 * @progress: the reporter, or NULL
 * @fraction: from 0 to 1, or less than 0 if that cannot be known
 */
void progress_update(Progress *progress, double fraction);

/**
 * progress_tell: how far the stage is, in words.
 * @progress: the reporter, or NULL
 * @text: the words; a terminal shows what fits into its line of them
 */
void progress_tell(Progress *progress, const char *text);

/**
 * progress_end: the stage is over.
 * @progress: the reporter, or NULL
 * @outcome: a few words on how it ended, or NULL
 */
void progress_end(Progress *progress, const char *outcome);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)

#endif /* SKIP_BALLOON_BASE_PROGRESS_H */
