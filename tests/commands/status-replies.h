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

#define STATUS_MAP_OF(inhibited, id, host_page, ballooned, unpopulated) \
    "\"return\": {\"page-size\": 4096, \"cell-size\": 131072, " \
    "\"recorded\": false, \"discard-inhibited\": " inhibited ", " \
    "\"blocks\": [{\"id\": \"" id "\", \"size\": 131072, " \
    "\"host-page-size\": " host_page ", \"ballooned\": [" ballooned "]" \
    unpopulated "}, {\"id\": \"pc.bios\", \"size\": 8192, " \
    "\"host-page-size\": 4096, \"unpopulated\": [0], \"zeroes\": 0}]}"
#define STATUS_MAP(id, ballooned, unpopulated) \
    STATUS_MAP_OF("false", id, "4096", ballooned, unpopulated)
#define STATUS_MAP_USUAL \
    STATUS_MAP("ram0", "10", ", \"unpopulated\": [14], " \
               "\"ballooned-unpopulated\": 7, \"zeroes\": 0")
/* Four of the populated pages are zero. */
#define STATUS_MAP_ZEROES_OF(host_page) \
    STATUS_MAP_OF("false", "ram0", host_page, "10", ", " \
                  "\"unpopulated\": [14], \"ballooned-unpopulated\": 7, " \
                  "\"zeroes\": 4")
/* Nobody tells what is populated. */
#define STATUS_MAP_DENIED \
    STATUS_MAP_OF("false, \"pagemap-denied\": true", "ram0", "4096", "10", "")
/* Nothing of the balloon was let go of. */
#define STATUS_MAP_INHIBITED \
    STATUS_MAP_OF("true", "ram0", "4096", "0", ", \"unpopulated\": [5], " \
                  "\"ballooned-unpopulated\": 0, \"zeroes\": 0")
/* As of QEMUs before they told sums, and whether discarding is inhibited */
#define STATUS_MAP_EARLIER \
    "\"return\": {\"page-size\": 4096, \"cell-size\": 65536, " \
    "\"recorded\": false, \"blocks\": [{\"id\": \"ram0\", " \
    "\"size\": 131072, \"ballooned\": [10, 0], " \
    "\"unpopulated\": [12, 2]}]}"
#define STATUS_MAP_NOT_TOLD \
    STATUS_MAP_OF("false", "/objects/ram0", "2097152", "10", "")

/* A QEMU that knows no audit refuses its argument. */
#define STATUS_AUDIT(pages, used) \
    "\"return\": [{\"id\": \"ram0\", \"pages\": " pages ", " \
    "\"runs\": []" used "}, {\"id\": \"pc.bios\", \"pages\": 0, " \
    "\"runs\": []}]"

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
