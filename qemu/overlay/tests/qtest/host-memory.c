/*
 * What a test needs of the host's memory: huge pages, file systems
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mount.h>
#include <sys/vfs.h>
#include "host-memory.h"

#define HUGE_SYSFS "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define TMPFS_MAGIC_NUMBER 0x01021994

char *hm_temp_path(const char *dir, const char *name)
{
    static int n;

    return g_strdup_printf("%s/skip-test-%d-%d-%s", dir, getpid(), n++, name);
}

/* ---- File systems ---- */

const char *hm_find_tmpfs(void)
{
    struct statfs fs;

    return !statfs("/dev/shm", &fs) && fs.f_type == TMPFS_MAGIC_NUMBER &&
           !access("/dev/shm", W_OK) ? "/dev/shm" : NULL;
}

const char *hm_tmpfs_or_skip(void)
{
    if (!hm_find_tmpfs()) {
        g_test_skip("/dev/shm is no tmpfs to write to");
    }
    return hm_find_tmpfs();
}

char *hm_find_hugetlbfs(bool *mounted)
{
    g_autofree char *text = NULL;
    g_autofree char *own = hm_temp_path(g_get_tmp_dir(), "hugetlbfs");
    g_auto(GStrv) lines = NULL;
    int i;

    *mounted = false;
    g_assert_true(g_file_get_contents("/proc/mounts", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 4);

        if (g_strv_length(words) == 4 && !strcmp(words[2], "hugetlbfs") &&
            !access(words[1], W_OK)) {
            return g_strdup(words[1]);
        }
    }
    if (mkdir(own, 0700) < 0 ||
        mount("none", own, "hugetlbfs", 0, "pagesize=2M") < 0) {
        rmdir(own);
        return NULL;
    }
    *mounted = true;
    return g_steal_pointer(&own);
}

/* ---- Huge pages ---- */

static uint64_t read_number(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL)
           ? g_ascii_strtoull(text, NULL, 10) : 0;
}

static void write_number(const char *path, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64 "\n", value);
    FILE *file = fopen(path, "w");

    if (file) {
        fputs(text, file);
        fclose(file);
    }
}

/*
 * See to it that there are @needed huge pages.  Returns how many there were,
 * for give_back_huge_pages(); skips the test, and returns -1, if there are not
 * enough.
 */
static int64_t borrow_huge_pages(uint64_t needed)
{
    uint64_t before = read_number(HUGE_SYSFS "nr_hugepages");
    uint64_t unused = read_number(HUGE_SYSFS "free_hugepages");

    if (unused < needed) {
        write_number(HUGE_SYSFS "nr_hugepages", before + needed - unused);
    }
    if (read_number(HUGE_SYSFS "free_hugepages") < needed) {
        g_autofree char *message = g_strdup_printf(
            "fewer than %" PRIu64 " free huge pages of 2 MiB", needed);

        write_number(HUGE_SYSFS "nr_hugepages", before);
        g_test_skip(message);
        return -1;
    }
    return before;
}

static void give_back_huge_pages(int64_t before)
{
    if (read_number(HUGE_SYSFS "nr_hugepages") != before) {
        write_number(HUGE_SYSFS "nr_hugepages", before);
    }
}

bool hm_passes_in_subprocess(void)
{
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    return g_test_trap_has_passed();
}

void hm_test_with_huge_pages(uint64_t bytes)
{
    int64_t lent = borrow_huge_pages(DIV_ROUND_UP(bytes, HM_HUGE_SIZE));

    if (lent >= 0) {
        if (!hm_passes_in_subprocess()) {
            g_test_fail();
        }
        give_back_huge_pages(lent);
    }
}

void hm_test_on_hugetlbfs(uint64_t bytes)
{
    bool mounted;
    g_autofree char *dir = hm_find_hugetlbfs(&mounted);

    if (!dir) {
        g_test_skip("no hugetlbfs is mounted");
        return;
    }
    hm_test_with_huge_pages(bytes);
    if (mounted) {
        umount(dir);
        rmdir(dir);
    }
}
