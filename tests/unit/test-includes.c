/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folders of src/ depend on each other one way: a file includes files of
 * its own folder and of those below it, by the name of the folder, and no
 * header includes itself by way of others. CONTRIBUTING.md has the picture.
 */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

/* From top to bottom; the top folder is that of main.c. */
static const char *const folders[] = {
    ".", "commands", "report", "bench", "map", "qemu", "base",
};

#define UNKNOWN G_N_ELEMENTS(folders)

/* What is known of a tree, by the names of files: "qemu/vm.h". */
typedef struct Tree {
    char *dir;
    GHashTable *includes;       /* file -> GPtrArray of what it includes */
    GHashTable *seen;           /* files that are on no circle */
    GString *faults;            /* a line each */
} Tree;

static unsigned level_of(const char *file)
{
    g_autofree char *folder = g_path_get_dirname(file);
    unsigned level = 0;

    while (level < UNKNOWN && strcmp(folder, folders[level])) {
        level++;
    }
    return level;
}

static GPtrArray *read_includes(const Tree *tree, const char *file)
{
    static const char begin[] = "#include \"";
    g_autofree char *path = g_build_filename(tree->dir, file, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, begin)) {
            const char *name = *line + strlen(begin);

            g_ptr_array_add(found, g_strndup(name, strcspn(name, "\"")));
        }
    }
    return found;
}

static void read_folder(Tree *tree, const char *folder)
{
    g_autofree char *path = g_build_filename(tree->dir, folder, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = strcmp(folder, ".") ?
            g_build_filename(folder, name, NULL) : g_strdup(name);
        g_autofree char *full = g_build_filename(path, name, NULL);

        if (g_str_has_suffix(name, ".c") || g_str_has_suffix(name, ".h")) {
            g_hash_table_insert(tree->includes, g_strdup(file),
                                read_includes(tree, file));
        } else if (g_file_test(full, G_FILE_TEST_IS_DIR)) {
            read_folder(tree, file);
        }
    }
}

static void check_file(Tree *tree, const char *file, const GPtrArray *includes)
{
    if (level_of(file) == UNKNOWN) {
        g_string_append_printf(tree->faults, "%s is in no folder that has "
                               "its place\n", file);
    }
    for (unsigned i = 0; i < includes->len; i++) {
        const char *included = includes->pdata[i];

        if (!g_hash_table_contains(tree->includes, included)) {
            g_string_append_printf(tree->faults, "%s includes %s, which is "
                                   "not there\n", file, included);
        } else if (level_of(included) < level_of(file)) {
            g_string_append_printf(tree->faults, "%s includes %s, which is "
                                   "above it\n", file, included);
        }
    }
}

/* @path: from where we came here, "a.h > b.h > " */
static void find_circle(Tree *tree, const char *file, const char *path)
{
    const GPtrArray *includes = g_hash_table_lookup(tree->includes, file);
    g_autofree char *step = g_strconcat(file, " > ", NULL);
    g_autofree char *deeper = g_strconcat(path, step, NULL);

    if (strstr(path, step)) {
        g_string_append_printf(tree->faults, "%s%s is a circle\n", path,
                               file);
        return;
    }
    for (unsigned i = 0; includes && i < includes->len; i++) {
        if (!g_hash_table_contains(tree->seen, includes->pdata[i])) {
            find_circle(tree, includes->pdata[i], deeper);
        }
    }
    g_hash_table_add(tree->seen, g_strdup(file));
}

/* All faults of a tree of sources, a line each. */
static char *check_tree(const char *dir, unsigned *n_files)
{
    Tree tree = {
        .dir = g_strdup(dir),
        .includes = g_hash_table_new_full(
            g_str_hash, g_str_equal, g_free,
            (GDestroyNotify)g_ptr_array_unref),
        .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .faults = g_string_new(NULL),
    };
    g_autoptr(GList) files = NULL;

    read_folder(&tree, ".");
    files = g_list_sort(g_hash_table_get_keys(tree.includes),
                        (GCompareFunc)g_strcmp0);
    for (GList *i = files; i; i = i->next) {
        check_file(&tree, i->data, g_hash_table_lookup(tree.includes,
                                                       i->data));
        find_circle(&tree, i->data, "");
    }
    *n_files = g_list_length(files);
    g_hash_table_unref(tree.includes);
    g_hash_table_unref(tree.seen);
    g_free(tree.dir);
    return g_string_free(tree.faults, FALSE);
}

static void test_sources(void)
{
    unsigned n_files;
    g_autofree char *faults = check_tree(SOURCE_DIR, &n_files);

    g_assert_cmpstr(faults, ==, "");
    g_assert_cmpuint(n_files, >, 50);
}

/* A made-up file of a made-up tree */
typedef struct Source {
    const char *name;
    const char *text;
} Source;

static void assert_faults(const Source *sources, unsigned count,
                          const char *expected)
{
    g_autofree char *dir = g_dir_make_tmp("includes-XXXXXX", NULL);
    g_autofree char *faults = NULL;
    unsigned n_files;

    g_assert_nonnull(dir);
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path = g_build_filename(dir, sources[i].name, NULL);
        g_autofree char *folder = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, sources[i].text, -1, NULL));
    }
    faults = check_tree(dir, &n_files);
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path = g_build_filename(dir, sources[i].name, NULL);
        g_autofree char *folder = g_path_get_dirname(path);

        g_unlink(path);
        g_rmdir(folder);
    }
    g_rmdir(dir);
    g_assert_cmpuint(n_files, ==, count);
    g_assert_cmpstr(faults, ==, expected);
}

static void test_downwards(void)
{
    static const Source sources[] = {
        { "main.c", "#include <glib.h>\n#include \"commands/do.h\"\n" },
        { "commands/do.h", "#include \"base/b.h\"\n" },
        { "base/b.h", "#include \"base/c.h\"\n" },
        { "base/c.h", "" },
    };

    assert_faults(sources, G_N_ELEMENTS(sources), "");
}

static void test_upwards(void)
{
    static const Source sources[] = {
        { "base/b.c", "#include \"map/m.h\"\n" },
        { "map/m.h", "" },
        { "map/n.c", "#include \"report/r.h\"\n" },
        { "report/r.h", "#include \"map/m.h\"\n" },
    };

    assert_faults(sources, G_N_ELEMENTS(sources),
                  "base/b.c includes map/m.h, which is above it\n"
                  "map/n.c includes report/r.h, which is above it\n");
}

static void test_circle(void)
{
    static const Source sources[] = {
        { "qemu/a.h", "#include \"qemu/b.h\"\n" },
        { "qemu/b.h", "#include \"qemu/c.h\"\n" },
        { "qemu/c.h", "#include \"qemu/a.h\"\n" },
    };

    assert_faults(sources, G_N_ELEMENTS(sources),
                  "qemu/a.h > qemu/b.h > qemu/c.h > qemu/a.h is a circle\n");
}

/* The folder is left out, or there is no such file. */
static void test_nowhere(void)
{
    static const Source sources[] = {
        { "qemu/a.c", "#include \"a.h\"\n#include \"base/none.h\"\n" },
        { "qemu/a.h", "" },
    };

    assert_faults(sources, G_N_ELEMENTS(sources),
                  "qemu/a.c includes a.h, which is not there\n"
                  "qemu/a.c includes base/none.h, which is not there\n");
}

/* A folder that nobody has given a place */
static void test_folder(void)
{
    static const Source sources[] = {
        { "tools/t.c", "" },
    };

    assert_faults(sources, G_N_ELEMENTS(sources),
                  "tools/t.c is in no folder that has its place\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/includes/sources", test_sources);
    g_test_add_func("/includes/downwards", test_downwards);
    g_test_add_func("/includes/upwards", test_upwards);
    g_test_add_func("/includes/circle", test_circle);
    g_test_add_func("/includes/nowhere", test_nowhere);
    g_test_add_func("/includes/folder", test_folder);
    return g_test_run();
}
