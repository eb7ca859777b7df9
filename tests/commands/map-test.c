/* SPDX-License-Identifier: GPL-2.0-or-later */
/* skip-balloon map as its users meet it, with a QMP server of our own. */
#define _GNU_SOURCE
#include <cairo.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/commands/run.h"
#include "tests/map/answer.h"

/* What is asked for beyond what there is room for. */
#define SMALL_BLOCKS 64

static void assert_ok(const Outcome *outcome)
{
    g_assert_cmpint(outcome->status, ==, 0);
    g_assert_cmpstr(outcome->err, ==, "");
}

/* It was asked for so many cells, with a right command. */
static void assert_asked(FakeQmp *fake, int cells)
{
    g_autofree char *request = fake_qmp_free(fake);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *command;

    g_assert_true(json_parser_load_from_data(parser, request, -1, NULL));
    command = json_node_get_object(json_parser_get_root(parser));
    g_assert_cmpstr(json_object_get_string_member(command, "execute"), ==,
                    "query-migration-map");
    g_assert_cmpint(json_object_get_int_member(
        json_object_get_object_member(command, "arguments"), "cells"), ==,
        cells);
}

static void test_help(void)
{
    g_auto(Outcome) outcome = { 0 };

    RUN(&outcome, "--help");
    assert_ok(&outcome);
    assert_contains(outcome.out, "skip-balloon map");
    assert_contains(outcome.out, "--qmp");
}

/* The balloon was filled, and the map is of after a migration without it. */
static void test_short(void)
{
    static const FakeReply replies[] = {
        { "query-balloon", NULL, "\"return\": {\"actual\": 8388608}", NULL },
        { "query-memory-size-summary", NULL,
          "\"return\": {\"base-memory\": 16777216}", NULL },
        { "query-migration-map", NULL, "\"return\": " MAP_ANSWER_STATES,
          NULL },
        { NULL, NULL, NULL, NULL }
    };
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = fake_qmp_new_table(command_run_socket(), replies);

    RUN(&outcome, "--qmp", command_run_socket());
    g_free(fake_qmp_free(fake));
    g_assert_cmpint(outcome.status, ==, 0);
    assert_contains(outcome.err, "map: the balloon holds 8 MiB, of which the "
                    "map knows 24 KiB: 'skip-balloon status' says what to do");
}

/* Before a migration it is no fault that it was not skipped. */
static void test_unrecorded(void)
{
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve("{\"page-size\": 4096, \"cell-size\": "
        "8192, \"recorded\": false, \"blocks\": [{\"id\": \"ram0\", "
        "\"size\": 8192, \"ballooned\": [2], \"unpopulated\": [2]}]}");

    RUN(&outcome, "--qmp", command_run_socket());
    g_free(fake_qmp_free(fake));
    assert_ok(&outcome);
    assert_contains(outcome.out, "in the balloon");
    g_assert_null(strstr(outcome.out, "not skipped"));
}

/* No terminal: characters, as wide as is said or 80. */
static void test_text(void)
{
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);

    RUN(&outcome, "--qmp", command_run_socket());
    assert_asked(fake, 64 * 32 + SMALL_BLOCKS);
    assert_ok(&outcome);
    assert_contains(outcome.out, "      0 B .o-##.++\n");
    assert_contains(outcome.out, "in use, nothing recorded");
    g_assert_null(strchr(outcome.out, '\033'));
}

static void test_width(void)
{
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(
        COMMAND_RUN_PIPES);
    const char *args[] = {
        "-q", command_run_socket(), "--color", "always", NULL
    };
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);

    g_subprocess_launcher_setenv(launcher, "COLUMNS", "14", TRUE);
    command_run_with(launcher, args, &outcome);
    assert_asked(fake, 4 * 32 + SMALL_BLOCKS);
    assert_ok(&outcome);
    assert_contains(outcome.out, "\033[38;5;29m\033[48;5;63m\u2580");
}

static void test_json(void)
{
    g_auto(Outcome) outcome = { 0 };
    g_autoptr(JsonNode) expected = json_from_string(MAP_ANSWER_STATES, NULL);
    g_autoptr(JsonNode) printed = NULL;
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);

    RUN(&outcome, "--qmp", command_run_socket(), "--json", "--cells", "99");
    assert_asked(fake, 99);
    assert_ok(&outcome);
    printed = json_from_string(outcome.out, NULL);
    g_assert_true(printed && json_node_equal(printed, expected));
}

/* What a terminal gets, and how wide it is. */
static char *run_on_terminal(const char *no_color, unsigned width)
{
    g_autoptr(GSubprocessLauncher) launcher = command_run_launcher(0);
    const char *args[] = { "-q", command_run_socket(), NULL };
    const struct winsize size = { .ws_row = 24, .ws_col = width };
    g_autoptr(GSubprocess) process = NULL;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    GString *text = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;
    int slave;

    g_assert_cmpint(terminal, >=, 0);
    g_assert_true(!grantpt(terminal) && !unlockpt(terminal));
    slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(ioctl(slave, TIOCSWINSZ, &size), ==, 0);
    g_subprocess_launcher_take_stdout_fd(launcher, slave);
    if (no_color) {
        g_subprocess_launcher_setenv(launcher, "NO_COLOR", no_color, TRUE);
    }
    process = command_run_spawn(launcher, args);
    g_clear_object(&launcher);
    while ((n = read(terminal, buffer, sizeof(buffer))) > 0) {
        g_string_append_len(text, buffer, n);
    }
    close(terminal);
    g_assert_true(g_subprocess_wait_check(process, NULL, NULL));
    return g_string_free(text, FALSE);
}

static void test_terminal(void)
{
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);
    g_autofree char *text = run_on_terminal(NULL, 100);

    assert_asked(fake, 80 * 32 + SMALL_BLOCKS);
    assert_contains(text, "\033[38;5;29m\u2580");
}

static void test_no_color(void)
{
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);
    g_autofree char *text = run_on_terminal("1", 20);

    assert_asked(fake, 10 * 32 + SMALL_BLOCKS);
    assert_contains(text, ".o-##.++\r\n");
    g_assert_null(strchr(text, '\033'));
}

static void test_svg(void)
{
    static const GMarkupParser parser = { 0 };
    g_autofree char *path = command_run_file("map.svg");
    g_autofree char *svg = NULL;
    g_autofree char *plausible = map_answer_plausible();
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(
        &parser, 0, NULL, NULL);
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve(plausible);

    RUN(&outcome, "--qmp", command_run_socket(), "-o", path);
    assert_asked(fake, 4096 + SMALL_BLOCKS);
    assert_ok(&outcome);
    g_assert_cmpstr(outcome.out, ==, "");
    g_assert_true(g_file_get_contents(path, &svg, NULL, NULL));
    g_assert_true(g_markup_parse_context_parse(context, svg, -1, NULL));
    g_assert_true(g_markup_parse_context_end_parse(context, NULL));
    /* Runs, not cells: each would take ten bytes. */
    g_assert_cmpuint(strlen(svg), <, 20000);
    g_unlink(path);
    assert_empty(NULL);
}

/* A file that was there gives way to the new one. */
static void test_png(void)
{
    g_autofree char *path = command_run_file("map.png");
    g_auto(Outcome) outcome = { 0 };
    FakeQmp *fake = command_run_serve(MAP_ANSWER_STATES);
    cairo_surface_t *surface;
    uint32_t pixel;

    g_assert_true(g_file_set_contents(path, "old", -1, NULL));
    RUN(&outcome, "--qmp", command_run_socket(), "-o", path, "-n", "4", "-l",
        "rows");
    assert_asked(fake, 4);
    assert_ok(&outcome);
    surface = cairo_image_surface_create_from_png(path);
    g_assert_cmpint(cairo_surface_status(surface), ==, CAIRO_STATUS_SUCCESS);
    /* Somewhere in the first of four columns, in the first of two rows. */
    memcpy(&pixel, cairo_image_surface_get_data(surface) +
           200 * cairo_image_surface_get_stride(surface) + 100 * 4, 4);
    g_assert_cmphex(pixel & 0xffffff, ==, memory_state_rgb(MEMORY_SKIPPED));
    cairo_surface_destroy(surface);
    g_unlink(path);
    assert_empty(NULL);
}

/* A QEMU that stands still; its socket is there, or it has ended. */
static GSubprocess *start_qemu(const char *qemu)
{
    g_autofree char *qmp = g_strdup_printf("unix:%s,server=on,wait=off",
                                           command_run_socket());
    GSubprocess *process = g_subprocess_new(0, NULL, qemu, "-machine", "none",
        "-nodefaults", "-display", "none", "-S", "-m", "64", "-qmp", qmp,
        NULL);

    while (process && g_subprocess_get_identifier(process) &&
           access(command_run_socket(), F_OK)) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(10 * 1000);
    }
    return process;
}

/* Both sides have the same idea of the answer. */
static void test_qemu(void)
{
    const char *named = g_getenv("QEMU_BINARY");
    const char *qemu = named && named[0] ? named :
                       BUILD_DIR "/bin/qemu-system-x86_64";
    g_autoptr(GSubprocess) process = NULL;
    g_auto(Outcome) outcome = { 0 };

    if (access(qemu, X_OK)) {
        g_test_skip("there is no QEMU");
        return;
    }
    process = start_qemu(qemu);
    g_assert_nonnull(process);
    RUN(&outcome, "--qmp", command_run_socket());
    g_subprocess_force_exit(process);
    g_subprocess_wait(process, NULL, NULL);
    unlink(command_run_socket());
    assert_ok(&outcome);
    assert_contains(outcome.out, "Memory of the guest, 64 MiB\n");
    assert_contains(outcome.out, "-  unpopulated  64 MiB  100.0 %\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    command_run_init("map");
    g_test_add_func("/map/help", test_help);
    g_test_add_func("/map/text", test_text);
    g_test_add_func("/map/short", test_short);
    g_test_add_func("/map/unrecorded", test_unrecorded);
    g_test_add_func("/map/width", test_width);
    g_test_add_func("/map/terminal", test_terminal);
    g_test_add_func("/map/no-color", test_no_color);
    g_test_add_func("/map/json", test_json);
    g_test_add_func("/map/svg", test_svg);
    g_test_add_func("/map/png", test_png);
    g_test_add_func("/map/qemu", test_qemu);
    return command_run_end(g_test_run());
}
