/*
 * What a test needs of the host's memory: huge pages, file systems
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_HOST_MEMORY_H
#define TESTS_HOST_MEMORY_H

#define HM_HUGE_SIZE (UINT64_C(2) << 20)

/**
 * hm_temp_path: A path that is not in use
 *
 * Returns: the path, owned by the caller
 */
char *hm_temp_path(const char *dir, const char *name);

/**
 * hm_find_tmpfs: A tmpfs that can be written to, or NULL
 */
const char *hm_find_tmpfs(void);

/**
 * hm_tmpfs_or_skip: The same; skips the test if there is none
 */
const char *hm_tmpfs_or_skip(void);

/**
 * hm_find_hugetlbfs: A directory on hugetlbfs, with pages of 2 MiB
 * @mounted: set if it has been mounted now, by which the caller is to unmount
 *           and remove it
 *
 * Returns: the path, owned by the caller; NULL if there is none
 */
char *hm_find_hugetlbfs(bool *mounted);

/**
 * hm_passes_in_subprocess: Run the test anew in a subprocess, for what was set
 * up on the host to be undone whatever happens to it
 */
bool hm_passes_in_subprocess(void);

/**
 * hm_test_with_huge_pages: Run the test in a subprocess, with @bytes of free
 * huge pages; skips it where there are none to be had
 */
void hm_test_with_huge_pages(uint64_t bytes);

/**
 * hm_test_on_hugetlbfs: The same, with a hugetlbfs mounted, which
 * hm_find_hugetlbfs() finds in the subprocess
 */
void hm_test_on_hugetlbfs(uint64_t bytes);

#endif
