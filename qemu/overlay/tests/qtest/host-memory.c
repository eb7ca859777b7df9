/*
 * What a test needs of the host's memory: huge pages, file systems
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/file.h>
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
 * What tests borrow and give back is one number of the host, and two that find
 * the same pages free would both take them.  So one at a time has huge pages.
 */
static int lock_huge_pages(void)
{
    int fd = open(HUGE_SYSFS "nr_hugepages", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        flock(fd, LOCK_EX);
    }
    return fd;
}

/* What there was before huge pages were borrowed, and the lock */
typedef struct Loan {
    uint64_t before;
    int fd;
} Loan;

static void give_back_huge_pages(const Loan *loan)
{
    if (read_number(HUGE_SYSFS "nr_hugepages") != loan->before) {
        write_number(HUGE_SYSFS "nr_hugepages", loan->before);
    }
    close(loan->fd);
}

/*
 * See to it that there are @needed huge pages until they are given back.  Skips
 * the test, and returns false, if there are not enough.
 */
static bool borrow_huge_pages(uint64_t needed, Loan *loan)
{
    g_autofree char *message = NULL;
    uint64_t unused;

    loan->fd = lock_huge_pages();
    loan->before = read_number(HUGE_SYSFS "nr_hugepages");
    unused = read_number(HUGE_SYSFS "free_hugepages");
    if (unused < needed) {
        write_number(HUGE_SYSFS "nr_hugepages",
                     loan->before + needed - unused);
    }
    if (read_number(HUGE_SYSFS "free_hugepages") >= needed) {
        return true;
    }
    message = g_strdup_printf("fewer than %" PRIu64 " free huge pages of 2 MiB",
                              needed);
    give_back_huge_pages(loan);
    g_test_skip(message);
    return false;
}

bool hm_passes_in_subprocess(void)
{
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    return g_test_trap_has_passed();
}

void hm_test_with_huge_pages(uint64_t bytes)
{
    Loan loan;

    if (borrow_huge_pages(DIV_ROUND_UP(bytes, HM_HUGE_SIZE), &loan)) {
        if (!hm_passes_in_subprocess()) {
            g_test_fail();
        }
        give_back_huge_pages(&loan);
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
