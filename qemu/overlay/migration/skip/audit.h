/*
 * Audit: how much the guest uses of what it gave back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_SKIP_AUDIT_H
#define MIGRATION_SKIP_AUDIT_H

#include "qapi/qapi-types-skip-balloon.h"

/**
 * balloon_audit: Count what is populated of the balloon map, and used
 * @list: the RAM blocks; members @populated and @used are filled in
 *
 * With the BQL held, which is left to others now and then.  In a coroutine, it
 * yields.
 */
void balloon_audit(BalloonMapInfoList *list);

#endif
