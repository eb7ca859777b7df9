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
      "\"minor\": 0, \"micro\": 13}, \"package\": \"(a package)\"}", NULL },
    { "query-status", NULL, "\"return\": {\"status\": \"running\"}", NULL },
    { "query-name", NULL, "\"return\": {\"name\": \"vm1\"}", NULL },
    { "query-memory-size-summary", NULL, "\"return\": {\"base-memory\": "
      "98304, \"plugged-memory\": 32768}", NULL },
    { "query-memdev", NULL, "\"return\": [{\"id\": \"ram0\", \"size\": "
      "131072, \"share\": true}]", NULL },
    { "qom-list", "peripheral-anon", "\"return\": [{\"name\": \"type\", "
      "\"type\": \"string\"}]", NULL },
    { "qom-list", NULL, "\"return\": []", NULL },
    { "query-balloon", NULL, "\"return\": {\"actual\": 90112}", NULL },
    { "x-query-virtio", NULL, "\"return\": [{\"name\": \"virtio-net\", "
      "\"path\": \"/net\"}, {\"name\": \"virtio-balloon\", \"path\": "
      "\"/balloon\"}]", NULL },
    { "x-query-virtio-status", "/balloon", STATUS_NEGOTIATED, NULL },
    { "qom-get", "polling", "\"return\": 2", NULL },
    { "qom-get", "guest-stats", "\"return\": {\"last-update\": 1, "
      "\"stats\": {\"stat-available-memory\": 4321}}", NULL },
    { "query-balloon-map", "audit", STATUS_AUDIT("10", ", \"used\": 2"),
      NULL },
    { "query-migrate-capabilities", NULL, NULL, NULL },
    { "query-migrate", NULL, "\"return\": {\"status\": \"completed\"}", NULL },
    { "query-migration-map", NULL, STATUS_MAP_USUAL, NULL },
    { NULL, NULL, NULL, NULL }
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

const FakeReply *status_replies_table(void)
{
    return replies;
}
