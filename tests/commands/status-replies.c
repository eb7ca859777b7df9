/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/commands/status-replies.h"

#include <string.h>

#include "tests/commands/run.h"

#define CAPABILITIES(balloon, unpopulated) \
    "\"return\": [{\"capability\": \"xbzrle\", \"state\": false}, " \
    "{\"capability\": \"skip-balloon\", \"state\": " balloon "}, " \
    "{\"capability\": \"skip-unpopulated\", \"state\": " unpopulated "}]"

static const FakeReply usual[] = {
    { "query-version", NULL, "\"return\": {\"qemu\": {\"major\": 10, "
      "\"minor\": 0, \"micro\": 13}, \"package\": \"(a package)\"}" },
    { "query-status", NULL, "\"return\": {\"status\": \"running\"}" },
    { "query-name", NULL, "\"return\": {\"name\": \"vm1\"}" },
    { "query-memory-size-summary", NULL, "\"return\": {\"base-memory\": "
      "98304, \"plugged-memory\": 32768}" },
    { "query-memdev", NULL, "\"return\": [{\"id\": \"ram0\", \"size\": "
      "131072, \"share\": true}]" },
    { "qom-list", "peripheral-anon", "\"return\": [{\"name\": \"type\", "
      "\"type\": \"string\"}]" },
    { "qom-list", NULL, "\"return\": []" },
    { "query-balloon", NULL, "\"return\": {\"actual\": 90112}" },
    { "x-query-virtio", NULL, "\"return\": [{\"name\": \"virtio-net\", "
      "\"path\": \"/net\"}, {\"name\": \"virtio-balloon\", \"path\": "
      "\"/balloon\"}]" },
    { "x-query-virtio-status", "/balloon", STATUS_NEGOTIATED },
    { "qom-get", "polling", "\"return\": 2" },
    { "qom-get", "guest-stats", "\"return\": {\"last-update\": 1, "
      "\"stats\": {\"stat-available-memory\": 4321}}" },
    { "query-migrate-capabilities", NULL, NULL },
    { "query-migrate", NULL, "\"return\": {\"status\": \"completed\"}" },
    { "query-migration-map", "16384", STATUS_MAP_USUAL },
    { NULL, NULL, NULL }
};

static FakeReply replies[G_N_ELEMENTS(usual)];

void status_replies_set(const char *command, const char *argument,
                        const char *members)
{
    unsigned found = 0;

    for (FakeReply *reply = replies; reply->command; reply++) {
        if (!strcmp(reply->command, command) &&
            (!argument || !g_strcmp0(reply->argument, argument))) {
            reply->members = members;
            found++;
        }
    }
    g_assert_cmpuint(found, >, 0);
}

void status_replies_reset(bool balloon, bool unpopulated)
{
    memcpy(replies, usual, sizeof(usual));
    status_replies_set("query-migrate-capabilities", NULL,
        balloon ? unpopulated ? CAPABILITIES("true", "true")
                              : CAPABILITIES("true", "false")
                : unpopulated ? CAPABILITIES("false", "true")
                              : CAPABILITIES("false", "false"));
}

FakeQmp *status_replies_serve(void)
{
    return fake_qmp_new_table(command_run_socket(), replies);
}
