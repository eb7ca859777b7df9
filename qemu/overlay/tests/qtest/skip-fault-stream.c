/*
 * Faults during a migration: streams that end early, and that were changed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qobject/qdict.h"
#include "skip-fault.h"

#define POINTS 50

static void send_and_close(const char *path, const uint8_t *bytes,
                           size_t size)
{
    int fd = relay_connect(path);

    while (size) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        if (n < 0) {
            break;              /* it has seen enough */
        }
        bytes += n;
        size -= n;
    }
    close(fd);
}

/* ---- Streams that end early ---- */

/* In the parts that are ours, and spread over all that is needed */
static uint64_t cut_point(const FaultLayout *l, int i)
{
    const uint64_t setup = l->setup_end - l->setup_start;

    if (i < 15) {
        return l->setup_start + setup * i / 15;
    } else if (i < 30) {
        return l->final + i - 15;
    } else if (i < 35) {
        return l->eof - (i - 30);
    } else {
        return l->eof * (i - 35) / 15;
    }
}

static void test_truncated(void)
{
    FaultWorld *worlds[] = {
        world_new(BG_ANON, false), world_new(BG_MEMFD, false),
    };
    int failed = 0;
    int i;

    for (i = 0; i < ARRAY_SIZE(worlds); i++) {
        FaultWorld *w = worlds[i];
        GByteArray *stream = world_record(w);
        int j;

        for (j = i; j < POINTS; j += ARRAY_SIZE(worlds)) {
            uint64_t size = cut_point(&w->layout, j);
            g_autofree char *name = g_strdup_printf(
                "cut at %" PRIu64 " of %u", size, stream->len);
            BGuest *dest = dest_new(w, NULL);

            g_test_message("%s", name);
            send_and_close(dest->socket, stream->data, size);
            report_case(w, name, dest_wait_failed(dest), &failed);
        }
        g_byte_array_free(stream, true);
        world_free(w);
    }
    finish_group(failed, POINTS);
}

/* ---- Streams with a byte changed ---- */

/* A destination that stays when it fails */
static BGuest *patient_dest(FaultWorld *w, const char *path)
{
    BGOptions options = w->options;
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    BGuest *dest;

    options.args = "-incoming defer";
    dest = bg_start(&options);
    bg_set_capability(dest, "skip-unpopulated", true);
    qtest_qmp_assert_success(
        dest->qts, "{ 'execute': 'migrate-incoming', 'arguments': {"
        " 'uri': %s, 'exit-on-error': false } }", uri);
    return dest;
}

/* NULL if the stream was loaded or refused */
static char *wait_loaded_or_failed(BGuest *dest, bool *loaded)
{
    gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

    for (;;) {
        QDict *rsp = bg_query_migrate(dest);
        const char *status = qdict_get_try_str(rsp, "status") ?: "none";
        bool failed = !strcmp(status, "failed");

        *loaded = !strcmp(status, "completed");
        qobject_unref(rsp);
        if (*loaded || failed) {
            return NULL;
        }
        if (g_get_monotonic_time() > end) {
            return g_strdup("the destination hangs");
        }
        g_usleep(500);
    }
}

/* Where the last part of the section ends, its footer included */
static uint64_t final_end(const GByteArray *stream, const FaultLayout *l)
{
    uint8_t footer[5] = { 0x7e };
    const uint8_t *at;

    memcpy(footer + 1, stream->data + l->final + 1, 4);
    at = memmem(stream->data + l->final, stream->len - l->final, footer,
                sizeof(footer));
    g_assert_nonnull(at);
    return at + sizeof(footer) - stream->data;
}

static void test_changed(void)
{
    static const uint8_t changes[] = { 0x01, 0x80, 0xff, 0x40, 0x02 };
    g_autofree char *path = g_strdup_printf(
        "%s/skip-fault-%d-changed.sock", g_get_tmp_dir(), getpid());
    FaultWorld *w = world_new(BG_ANON, false);
    GByteArray *stream = world_record(w);
    FaultLayout *l = &w->layout;
    uint64_t setup = l->setup_end - l->setup_start;
    uint64_t final = final_end(stream, l) - l->final;
    int failed = 0, n_loaded = 0;
    int i;

    for (i = 0; i < POINTS; i++) {
        uint64_t at = i % 2 ? l->final + final * (i / 2) / (POINTS / 2)
                            : l->setup_start + setup * (i / 2) / (POINTS / 2);
        uint8_t change = changes[i % ARRAY_SIZE(changes)];
        g_autofree char *name = g_strdup_printf(
            "%s part + %" PRIu64 ", changed by 0x%02x",
            i % 2 ? "last" : "first",
            at - (i % 2 ? l->final : l->setup_start), change);
        BGuest *dest = patient_dest(w, path);
        bool loaded = false;

        g_test_message("%s", name);
        stream->data[at] ^= change;
        send_and_close(path, stream->data, stream->len);
        stream->data[at] ^= change;
        report_case(w, name, wait_loaded_or_failed(dest, &loaded), &failed);
        n_loaded += loaded;
        /* It still answers, and ends as it should. */
        bg_map_pages(dest, NULL);
        bg_quit(dest);
        unlink(path);
    }
    g_test_message("%d of %d were loaded", n_loaded, POINTS);
    g_assert_cmpint(n_loaded, <, POINTS);
    g_byte_array_free(stream, true);
    world_free(w);
    finish_group(failed, POINTS);
}

void add_stream_tests(void)
{
    qtest_add_func("skip-fault/truncated", test_truncated);
    qtest_add_func("skip-fault/changed", test_changed);
}
