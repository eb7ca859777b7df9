/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a release consists of: one version everywhere, a tarball of all that
 * git knows, and packages that are built with what the build asks for.
 */
#include <gio/gio.h>
#include <string.h>

static char *read_file(const char *name)
{
    g_autofree char *path = g_build_filename(SOURCE_DIR, name, NULL);
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

/* What a command prints; NULL if it fails. It runs in the source directory. */
static char *get_output(const char *const *args)
{
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    g_autoptr(GSubprocess) process = NULL;
    char *out = NULL;

    g_subprocess_launcher_set_cwd(launcher, SOURCE_DIR);
    process = g_subprocess_launcher_spawnv(launcher, args, NULL);
    if (!process) {
        return NULL;
    }
    g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, &out,
                                                NULL, NULL));
    if (!g_subprocess_get_successful(process)) {
        g_clear_pointer(&out, g_free);
    }
    return out;
}

#define OUTPUT(...) get_output((const char *const[]) { __VA_ARGS__, NULL })

/* The rest is made from meson.build's. */
static void test_version(void)
{
    g_autofree char *changes = read_file("CHANGELOG.md");
    g_autofree char *packages = read_file("debian/changelog");
    const char *entry = strstr(changes, "\n## ");

    g_assert_true(g_str_has_prefix(packages,
                                   "skip-balloon (" SKIP_BALLOON_VERSION ") "));
    g_assert_nonnull(entry);
    g_assert_true(g_str_has_prefix(entry,
                                   "\n## " SKIP_BALLOON_VERSION ", "));
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines that say a file, sorted, without a prefix of so many characters. */
static char *sorted_files(const char *text, size_t prefix)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *files = g_string_new(NULL);

    qsort(lines, g_strv_length(lines), sizeof(*lines), compare_lines);
    for (char **line = lines; *line; line++) {
        if (**line && !g_str_has_suffix(*line, "/")) {
            g_string_append_printf(files, "%s\n", *line + prefix);
        }
    }
    return g_string_free(files, FALSE);
}

static void test_tarball(void)
{
    g_autofree char *tracked = OUTPUT("git", "ls-tree", "-r", "--name-only",
                                      "HEAD");
    g_autofree char *tarball = NULL;
    g_autofree char *packed = NULL;
    g_autofree char *expected = NULL;
    g_autofree char *files = NULL;

    if (!tracked) {
        g_test_skip("this is no clone of the repository, or there is no git");
        return;
    }
    tarball = OUTPUT("scripts/dist.sh");
    g_assert_nonnull(tarball);
    g_assert_cmpstr(g_strchomp(tarball), ==,
                    "build/dist/skip-balloon-" SKIP_BALLOON_VERSION ".tar.xz");
    packed = OUTPUT("tar", "-tf", tarball);
    g_assert_nonnull(packed);
    expected = sorted_files(tracked, 0);
    files = sorted_files(packed,
                         strlen("skip-balloon-" SKIP_BALLOON_VERSION "/"));
    g_assert_cmpstr(files, ==, expected);
}

/* What the scripts would install is what the packages are built with. */
static void test_build_depends(void)
{
    static const char *const scripts[] = {
        "qemu/build.sh", "scripts/program.sh",
    };
    g_autofree char *control = read_file("debian/control");
    unsigned found = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(scripts); i++) {
        g_autofree char *script = read_file(scripts[i]);
        g_autoptr(GRegex) regex = g_regex_new("[a-z0-9][a-z0-9.+-]*-dev\\b", 0,
                                              0, NULL);
        g_autoptr(GMatchInfo) match = NULL;

        g_regex_match(regex, script, 0, &match);
        while (g_match_info_matches(match)) {
            g_autofree char *package = g_match_info_fetch(match, 0);
            g_autofree char *line = g_strdup_printf("\n %s,\n", package);

            g_test_message("%s asks for %s", scripts[i], package);
            if (strcmp(package, "dpkg-dev")) {
                g_assert_nonnull(strstr(control, line));
                found++;
            }
            g_match_info_next(match, NULL);
        }
    }
    g_assert_cmpuint(found, >, 5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/release/version", test_version);
    g_test_add_func("/release/tarball", test_tarball);
    g_test_add_func("/release/build-depends", test_build_depends);
    return g_test_run();
}
