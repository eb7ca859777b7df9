/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of the kernel that crashed, as the one that was loaded for that
 * case sees it.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define CHUNK_BYTES (1 << 20)
#define MAX_SEGMENTS 64
/* The kernel's own text is there a second time, at addresses from here on. */
#define KERNEL_TEXT UINT64_C(0xffffffff80000000)

/* A page that is looked for. */
typedef struct Wanted {
    uint64_t first;             /* its first word */
    uint64_t page;
    bool found;
} Wanted;

typedef struct Search {
    Wanted *wanted;             /* in the order of their first words */
    uint64_t count;
    uint64_t found;
    uint64_t zero;              /* pages of nothing else */
    uint64_t seen;
} Search;

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const Wanted *)a)->first;
    uint64_t y = ((const Wanted *)b)->first;

    return x < y ? -1 : x > y;
}

static bool is_whole(const uint64_t *words, uint64_t page)
{
    uint64_t x = page_start(page, 1);

    for (size_t i = 0; i < PAGE_WORDS; i++) {
        x = next_word(x);
        if (words[i] != x) {
            return false;
        }
    }
    return true;
}

static bool is_zero(const uint64_t *words)
{
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        if (words[i]) {
            return false;
        }
    }
    return true;
}

/* The kernel may have copied a page elsewhere before: one of them will do. */
static void look_at(Search *search, const uint64_t *words)
{
    Wanted key = { .first = words[0] };
    Wanted *wanted = bsearch(&key, search->wanted, search->count,
                             sizeof(key), compare);

    search->seen++;
    search->zero += is_zero(words);
    if (wanted && !wanted->found && is_whole(words, wanted->page)) {
        wanted->found = true;
        search->found++;
    }
}

/* A segment need not begin or end at a page, what lies behind it does. */
static bool read_segment(Search *search, int fd, const Elf64_Phdr *segment)
{
    static uint64_t chunk[CHUNK_BYTES / sizeof(uint64_t)];
    uint64_t at = segment->p_offset & -PAGE_BYTES;
    uint64_t end = (segment->p_offset + segment->p_filesz + PAGE_BYTES - 1) &
                   -PAGE_BYTES;

    while (at < end) {
        uint64_t left = end - at;
        ssize_t n = pread(fd, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES,
                          at);

        if (n < PAGE_BYTES) {
            return false;
        }
        n -= n % PAGE_BYTES;
        for (ssize_t i = 0; i < n; i += PAGE_BYTES) {
            look_at(search, chunk + i / sizeof(uint64_t));
        }
        at += n;
    }
    return true;
}

static bool read_vmcore(Search *search)
{
    Elf64_Phdr segments[MAX_SEGMENTS];
    Elf64_Ehdr header;
    int fd = open("/proc/vmcore", O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 &&
        pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
        header.e_phnum <= MAX_SEGMENTS &&
        pread(fd, segments, header.e_phnum * sizeof(segments[0]),
              header.e_phoff) ==
        (ssize_t)(header.e_phnum * sizeof(segments[0]));

    for (int i = 0; ok && i < header.e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD &&
            segments[i].p_vaddr < KERNEL_TEXT) {
            ok = read_segment(search, fd, &segments[i]);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void search_vmcore(uint64_t pages)
{
    Search search = {
        .wanted = calloc(pages, sizeof(Wanted)),
        .count = pages,
    };

    for (uint64_t page = 0; search.wanted && page < pages; page++) {
        search.wanted[page].page = page;
        search.wanted[page].first = next_word(page_start(page, 1));
    }
    if (!search.wanted) {
        say("SB VMCORE bad: %s", strerror(errno));
        return;
    }
    qsort(search.wanted, pages, sizeof(Wanted), compare);
    if (!read_vmcore(&search)) {
        say("SB VMCORE bad: %s", strerror(errno));
    } else {
        say("SB VMCORE %s found=%" PRIu64 " of=%" PRIu64 " zero=%" PRIu64
            " seen=%" PRIu64, search.found == pages ? "ok" : "bad",
            search.found, pages, search.zero, search.seen);
    }
    free(search.wanted);
}
