/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/report/browser.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* Nothing takes that long, unless it hangs. */
#define HANG_MS 60000
/* Where Chromium reads commands and writes answers. */
#define COMMANDS_FD 3
#define ANSWERS_FD 4

struct Browser {
    GSubprocess *process;
    char *profile;
    int to;
    int from;
    GByteArray *input;          /* that has not been taken apart yet */
    GPtrArray *events;          /* of JsonObject */
    char *session;
    char *url;
    int last_id;
};

char *browser_find(void)
{
    char *program = g_find_program_in_path("chromium");

    return program ? program : g_find_program_in_path("chromium-browser");
}

static void remove_tree(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK)
        ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_remove(path);
}

static void spawn(Browser *browser, const char *program)
{
    g_autofree char *profile = g_strconcat("--user-data-dir=",
                                           browser->profile, NULL);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    g_autoptr(GError) error = NULL;
    int commands[2], answers[2];

    g_assert_true(g_unix_open_pipe(commands, FD_CLOEXEC, &error));
    g_assert_true(g_unix_open_pipe(answers, FD_CLOEXEC, &error));
    browser->to = commands[1];
    browser->from = answers[0];
    g_subprocess_launcher_take_fd(launcher, commands[0], COMMANDS_FD);
    g_subprocess_launcher_take_fd(launcher, answers[1], ANSWERS_FD);
    /* It keeps files of its own wherever these point. */
    g_subprocess_launcher_setenv(launcher, "HOME", browser->profile, TRUE);
    g_subprocess_launcher_setenv(launcher, "TMPDIR", browser->profile, TRUE);
    browser->process = g_subprocess_launcher_spawn(
        launcher, &error, program, "--headless", "--no-sandbox",
        "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-breakpad", "--disable-dev-shm-usage",
        "--hide-scrollbars", "--remote-debugging-pipe", profile,
        "about:blank", NULL);
    g_assert_no_error(error);
}

/* Wait for more input, and append it. */
static void fill(Browser *browser)
{
    GPollFD poll = { .fd = browser->from, .events = G_IO_IN };
    guint8 chunk[65536];
    ssize_t n;

    if (g_poll(&poll, 1, HANG_MS) <= 0) {
        g_error("Chromium says nothing for %d ms", HANG_MS);
    }
    n = read(browser->from, chunk, sizeof(chunk));
    if (n <= 0) {
        g_error("Chromium has ended");
    }
    g_byte_array_append(browser->input, chunk, n);
}

/* Messages end with a NUL. */
static JsonObject *receive(Browser *browser)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = NULL;
    guint8 *end;

    while (!browser->input->len ||
           !(end = memchr(browser->input->data, 0, browser->input->len))) {
        fill(browser);
    }
    node = json_from_string((char *)browser->input->data, &error);
    g_assert_no_error(error);
    g_byte_array_remove_range(browser->input, 0,
                              end - browser->input->data + 1);
    return json_node_dup_object(node);
}

static void send(Browser *browser, const char *text)
{
    size_t left = strlen(text) + 1;

    while (left) {
        ssize_t n = write(browser->to, text, left);

        if (n < 0 && errno != EINTR) {
            g_error("Chromium cannot be written to: %s", g_strerror(errno));
        }
        text += MAX(n, 0);
        left -= MAX(n, 0);
    }
}

static JsonObject *take_result(const char *method, JsonObject *answer)
{
    JsonNode *error = json_object_get_member(answer, "error");
    g_autofree char *text = error ? json_to_string(error, FALSE) : NULL;

    if (error) {
        g_error("%s: %s", method, text);
    }
    return json_object_ref(json_object_get_object_member(answer, "result"));
}

JsonObject *browser_call(Browser *browser, const char *method,
                         const char *params)
{
    g_autofree char *session = browser->session
        ? g_strdup_printf(",\"sessionId\":\"%s\"", browser->session) : NULL;
    int id = ++browser->last_id;
    g_autofree char *text = g_strdup_printf(
        "{\"id\":%d,\"method\":\"%s\",\"params\":%s%s}", id, method,
        params ? params : "{}", session ? session : "");

    send(browser, text);
    for (;;) {
        g_autoptr(JsonObject) message = receive(browser);

        if (json_object_get_int_member_with_default(message, "id", 0) == id) {
            return take_result(method, message);
        }
        g_ptr_array_add(browser->events, json_object_ref(message));
    }
}

static void call(Browser *browser, const char *method, const char *params)
{
    json_object_unref(browser_call(browser, method, params));
}

static void attach(Browser *browser)
{
    g_autoptr(JsonObject) target = browser_call(
        browser, "Target.createTarget", "{\"url\":\"about:blank\"}");
    g_autofree char *params = g_strdup_printf(
        "{\"flatten\":true,\"targetId\":\"%s\"}",
        json_object_get_string_member(target, "targetId"));
    g_autoptr(JsonObject) session = browser_call(
        browser, "Target.attachToTarget", params);

    browser->session =
        g_strdup(json_object_get_string_member(session, "sessionId"));
    call(browser, "Page.enable", NULL);
    call(browser, "Runtime.enable", NULL);
    call(browser, "Network.enable", NULL);
    call(browser, "Log.enable", NULL);
}

Browser *browser_start(const char *program)
{
    Browser *browser = g_new0(Browser, 1);
    g_autoptr(GError) error = NULL;

    browser->profile = g_dir_make_tmp("browser-XXXXXX", &error);
    g_assert_no_error(error);
    browser->input = g_byte_array_new();
    browser->events = g_ptr_array_new_with_free_func(
        (GDestroyNotify)json_object_unref);
    spawn(browser, program);
    attach(browser);
    return browser;
}

void browser_stop(Browser *browser)
{
    if (!browser) {
        return;
    }
    g_clear_pointer(&browser->session, g_free);
    call(browser, "Browser.close", NULL);
    g_subprocess_wait(browser->process, NULL, NULL);
    g_object_unref(browser->process);
    close(browser->to);
    close(browser->from);
    remove_tree(browser->profile);
    g_byte_array_unref(browser->input);
    g_ptr_array_unref(browser->events);
    g_free(browser->profile);
    g_free(browser->url);
    g_free(browser);
}

static const char *method_of(JsonObject *event)
{
    return json_object_get_string_member_with_default(event, "method", "");
}

void browser_open(Browser *browser, const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *params = NULL;

    g_free(browser->url);
    browser->url = g_filename_to_uri(path, NULL, &error);
    g_assert_no_error(error);
    params = g_strdup_printf("{\"url\":\"%s\"}", browser->url);
    g_ptr_array_set_size(browser->events, 0);
    call(browser, "Page.navigate", params);
    for (unsigned i = 0;; i++) {
        while (i >= browser->events->len) {
            g_ptr_array_add(browser->events, receive(browser));
        }
        if (!strcmp(method_of(browser->events->pdata[i]),
                    "Page.loadEventFired")) {
            return;
        }
    }
}

void browser_view(Browser *browser, unsigned width, unsigned height,
                  gboolean phone)
{
    g_autofree char *params = g_strdup_printf(
        "{\"width\":%u,\"height\":%u,\"deviceScaleFactor\":1,"
        "\"mobile\":%s}", width, height, phone ? "true" : "false");

    call(browser, "Emulation.setDeviceMetricsOverride", params);
}

void browser_media(Browser *browser, const char *media, const char *scheme)
{
    g_autofree char *params = g_strdup_printf(
        "{\"media\":\"%s\",\"features\":[{\"name\":\"prefers-color-scheme\","
        "\"value\":\"%s\"}]}", media, scheme);

    call(browser, "Emulation.setEmulatedMedia", params);
}

static char *evaluate_params(const char *expression)
{
    g_autoptr(JsonObject) params = json_object_new();
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(params, "expression", expression);
    json_object_set_boolean_member(params, "returnByValue", TRUE);
    json_object_set_boolean_member(params, "awaitPromise", TRUE);
    json_node_set_object(node, params);
    return json_to_string(node, FALSE);
}

char *browser_evaluate(Browser *browser, const char *expression)
{
    g_autofree char *params = evaluate_params(expression);
    g_autoptr(JsonObject) result = browser_call(browser, "Runtime.evaluate",
                                                params);
    JsonNode *exception = json_object_get_member(result, "exceptionDetails");
    g_autofree char *text = exception ? json_to_string(exception, FALSE)
                                      : NULL;

    if (exception) {
        g_error("%s", text);
    }
    return g_strdup(json_object_get_string_member(
        json_object_get_object_member(result, "result"), "value"));
}

/* What the page asked for, if it is not the file itself or part of it. */
static gboolean is_foreign(Browser *browser, JsonObject *event)
{
    JsonObject *request = json_object_get_object_member(
        json_object_get_object_member(event, "params"), "request");
    const char *url = json_object_get_string_member(request, "url");

    return !g_str_has_prefix(url, "data:") && strcmp(url, browser->url);
}

char *browser_complaints(Browser *browser)
{
    GString *text = g_string_new(NULL);

    /* What is under way has arrived once this has been answered. */
    call(browser, "Page.getFrameTree", NULL);
    for (unsigned i = 0; i < browser->events->len; i++) {
        JsonObject *event = browser->events->pdata[i];
        const char *method = method_of(event);

        if (!strcmp(method, "Runtime.consoleAPICalled") ||
            !strcmp(method, "Runtime.exceptionThrown") ||
            !strcmp(method, "Log.entryAdded") ||
            (!strcmp(method, "Network.requestWillBeSent") &&
             is_foreign(browser, event))) {
            g_autofree char *params = json_to_string(
                json_object_get_member(event, "params"), FALSE);

            g_string_append_printf(text, "%s: %s\n", method, params);
        }
    }
    return g_string_free(text, FALSE);
}

void browser_save(Browser *browser, const char *method, const char *params,
                  const char *path)
{
    g_autoptr(JsonObject) result = browser_call(browser, method, params);
    g_autoptr(GError) error = NULL;
    g_autofree guchar *data = NULL;
    gsize length;

    data = g_base64_decode(json_object_get_string_member(result, "data"),
                           &length);
    g_file_set_contents(path, (char *)data, length, &error);
    g_assert_no_error(error);
}
