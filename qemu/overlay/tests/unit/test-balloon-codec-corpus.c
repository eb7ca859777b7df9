/*
 * Each file of a corpus, given to the fuzz target, is a test case
 *
 *   SB_FUZZ_CORPUS=DIR   the corpus
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "fuzz-balloon-codec.h"

static void test_file(const void *data)
{
    const char *path = data;
    g_autofree char *contents = NULL;
    g_autofree uint8_t *copy = NULL;
    GError *err = NULL;
    size_t size;

    g_file_get_contents(path, &contents, &size, &err);
    g_assert_no_error(err);
    /* Exactly as long as the file, so that ASan sees one byte more */
    copy = g_memdup2(contents, size);
    g_assert_cmpint(LLVMFuzzerTestOneInput(copy, size), ==, 0);
}

int main(int argc, char **argv)
{
    const char *corpus = g_getenv("SB_FUZZ_CORPUS");
    GError *err = NULL;
    const char *name;
    int cases = 0;
    GDir *dir;

    g_test_init(&argc, &argv, NULL);
    if (!corpus) {
        g_test_message("SB_FUZZ_CORPUS is not set");
        return 77;
    }
    dir = g_dir_open(corpus, 0, &err);
    g_assert_no_error(err);
    while ((name = g_dir_read_name(dir))) {
        char *path = g_build_filename(corpus, name, NULL);
        g_autofree char *test = g_strconcat("/corpus/", name, NULL);

        g_test_add_data_func_full(test, path, test_file, g_free);
        cases++;
    }
    g_dir_close(dir);
    g_assert_cmpint(cases, >, 0);
    return g_test_run();
}
