/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_COMMANDS_STATUS_REPLIES_H
#define TESTS_COMMANDS_STATUS_REPLIES_H

#include <stdbool.h>

#include "tests/qemu/fake-qmp.h"

/* What a made-up QEMU answers to what skip-balloon status asks. */

#define STATUS_UNKNOWN_COMMAND \
    "\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"none such\"}"
#define STATUS_REFUSED \
    "\"error\": {\"class\": \"GenericError\", \"desc\": \"not today\"}"
#define STATUS_NO_BALLOON \
    "\"error\": {\"class\": \"DeviceNotActive\", \"desc\": \"no balloon\"}"

#define STATUS_PRIVATE_BACKEND \
    "\"return\": [{\"id\": \"ram0\", \"size\": 131072, \"share\": false}]"

#define STATUS_FEATURES(offered, negotiated, driver) \
    "\"return\": {\"host-features\": {\"dev-features\": [" offered "]}, " \
    "\"guest-features\": {\"dev-features\": [" negotiated "]}, " \
    "\"status\": {\"statuses\": [" driver "]}}"
#define STATUS_FEATURE "\"VIRTIO_BALLOON_F_MUST_TELL_HOST: Tell host\""
#define STATUS_DRIVER "\"VIRTIO_CONFIG_S_DRIVER_OK: Driver ready\""
#define STATUS_NEGOTIATED \
    STATUS_FEATURES(STATUS_FEATURE, STATUS_FEATURE, STATUS_DRIVER)
#define STATUS_NOT_NEGOTIATED \
    STATUS_FEATURES(STATUS_FEATURE, "", STATUS_DRIVER)
#define STATUS_NO_DRIVER STATUS_FEATURES(STATUS_FEATURE, "", "")
#define STATUS_NOT_OFFERED STATUS_FEATURES("", "", STATUS_DRIVER)

#define STATUS_VFIO \
    "\"return\": [{\"name\": \"device[0]\", \"type\": \"child<vfio-pci>\"}]"
#define STATUS_WAS_INHIBITED \
    "\"return\": {\"status\": \"completed\", \"skip-balloon\": " \
    "{\"status\": \"disabled\", \"reason\": \"discard-inhibited\"}}"

#define STATUS_MAP(id, ballooned, unpopulated) \
    "\"return\": {\"page-size\": 4096, \"cell-size\": 16384, " \
    "\"recorded\": false, \"blocks\": [{\"id\": \"" id "\", " \
    "\"size\": 131072, \"ballooned\": [" ballooned "]" unpopulated "}, " \
    "{\"id\": \"pc.bios\", \"size\": 8192, \"unpopulated\": [0]}]}"
#define STATUS_MAP_USUAL \
    STATUS_MAP("ram0", "4, 4, 2, 0, 0, 0, 0, 0", \
               ", \"unpopulated\": [4, 3, 2, 0, 4, 1, 0, 0]")
/* Nothing of the balloon was let go of. */
#define STATUS_MAP_POPULATED \
    STATUS_MAP("ram0", "4, 4, 2, 0, 0, 0, 0, 0", \
               ", \"unpopulated\": [0, 0, 0, 0, 4, 1, 0, 0]")
#define STATUS_MAP_NOT_TOLD \
    STATUS_MAP("/objects/ram0", "4, 4, 2, 0, 0, 0, 0, 0", "")

/**
 * status_replies_reset: answer as a QEMU on shared memory whose guest has
 * negotiated MUST_TELL_HOST.
 * @balloon: whether skip-balloon is on
 * @unpopulated: whether skip-unpopulated is
 */
void status_replies_reset(bool balloon, bool unpopulated);

/**
 * status_replies_set: answer something else to a command.
 * @command: one that is known
 * @argument: only if this is in the line, too; or NULL
 * @members: of the answer; NULL: close the connection
 */
void status_replies_set(const char *command, const char *argument,
                        const char *members);

/**
 * status_replies_table: all of the answers, as they are now.
 */
const FakeReply *status_replies_table(void);

/**
 * status_replies_serve: be that QEMU, at the socket of command_run_init().
 *
 * Returns: the server; free it with fake_qmp_free().
 */
FakeQmp *status_replies_serve(void);

#endif /* TESTS_COMMANDS_STATUS_REPLIES_H */
