/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"

/* The unit of st_blocks, whatever the file system. */
#define BLOCK_BYTES UINT64_C(512)

/* The number that follows a field in a file of /proc, such as "MemFree:". */
static bool proc_field(const char *path, const char *field, uint64_t *value,
                       GError **error)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, field)) {
            *value = g_ascii_strtoull(*line + strlen(field), NULL, 10);
            return true;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE, "no '%s' in %s", field,
                path);
    return false;
}

/* Whether it is a memfd, and if so, which and how much is allocated in it. */
static bool stat_memfd(const char *dir, const char *fd, struct stat *status)
{
    g_autofree char *path = g_build_filename(dir, fd, NULL);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target && g_str_has_prefix(target, "/memfd:") &&
           !stat(path, status);
}

/* All that is allocated in the memfds of a process, each counted once. */
static bool memfd_bytes(pid_t pid, uint64_t *bytes, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GHashTable) seen =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, error);
    const char *fd;

    if (!dir) {
        return false;
    }
    *bytes = 0;
    while ((fd = g_dir_read_name(dir))) {
        struct stat status;
        gint64 *inode;

        if (!stat_memfd(path, fd, &status)) {
            continue;
        }
        inode = g_new(gint64, 1);
        *inode = status.st_ino;
        if (g_hash_table_add(seen, inode)) {
            *bytes += status.st_blocks * BLOCK_BYTES;
        }
    }
    return true;
}

/* With private memory that is swapped out; of memfds, blocks count that, too. */
bool memory_private_of_process(pid_t pid, uint64_t *bytes, GError **error)
{
    g_autofree char *rollup = g_strdup_printf("/proc/%d/smaps_rollup",
                                              (int)pid);
    g_autofree char *status = g_strdup_printf("/proc/%d/status", (int)pid);
    uint64_t resident_kib;
    uint64_t swapped_kib;

    if (!proc_field(rollup, "Anonymous:", &resident_kib, error) ||
        !proc_field(status, "VmSwap:", &swapped_kib, error)) {
        return false;
    }
    *bytes = (resident_kib + swapped_kib) * 1024;
    return true;
}

bool memory_of_process(pid_t pid, uint64_t *bytes, GError **error)
{
    uint64_t private;
    uint64_t shared;

    if (!memory_private_of_process(pid, &private, error) ||
        !memfd_bytes(pid, &shared, error)) {
        g_prefix_error(error, "cannot measure the memory of a QEMU: ");
        return false;
    }
    *bytes = private + shared;
    return true;
}

bool memory_glance_at_process(pid_t pid, uint64_t *bytes, GError **error)
{
    g_autofree char *status = g_strdup_printf("/proc/%d/status", (int)pid);
    uint64_t resident_kib;
    uint64_t swapped_kib;
    uint64_t shared;

    if (!proc_field(status, "RssAnon:", &resident_kib, error) ||
        !proc_field(status, "VmSwap:", &swapped_kib, error) ||
        !memfd_bytes(pid, &shared, error)) {
        return false;
    }
    *bytes = (resident_kib + swapped_kib) * 1024 + shared;
    return true;
}

bool memory_counters_of_process(pid_t pid, uint64_t *private,
                                uint64_t *page_tables, GError **error)
{
    g_autofree char *status = g_strdup_printf("/proc/%d/status", (int)pid);
    uint64_t private_kib;
    uint64_t tables_kib;

    if (!proc_field(status, "RssAnon:", &private_kib, error) ||
        !proc_field(status, "VmPTE:", &tables_kib, error)) {
        g_prefix_error(error, "cannot measure the memory of a QEMU: ");
        return false;
    }
    *private = private_kib * 1024;
    *page_tables = tables_kib * 1024;
    return true;
}

bool memory_warm(uint64_t bytes, GError **error)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        g_set_error(error, SB_ERROR, SB_ERROR_RESOURCE,
                    "cannot have %" G_GUINT64_FORMAT " bytes of memory: %s",
                    bytes, g_strerror(errno));
        return false;
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    munmap(memory, bytes);
    return true;
}

static uint64_t host_memory(const char *field)
{
    uint64_t kib;

    return proc_field("/proc/meminfo", field, &kib, NULL) ? kib * 1024
                                                          : UINT64_MAX;
}

uint64_t memory_total(void)
{
    return host_memory("MemTotal:");
}

uint64_t memory_available(void)
{
    return host_memory("MemAvailable:");
}

uint64_t memory_free_huge_pages(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/sys/kernel/mm/hugepages/hugepages-2048kB/"
                             "free_hugepages", &text, NULL, NULL)) {
        return 0;
    }
    return g_ascii_strtoull(text, NULL, 10);
}

struct MemorySampler {
    pid_t source;
    pid_t destination;
    gint64 began;               /* monotonic, in microseconds */
    guint timer;
    GArray *samples;
};

static void take_sample(MemorySampler *sampler)
{
    MemorySample sample = {
        .ms = (g_get_monotonic_time() - sampler->began) / 1e3,
    };

    if (memory_glance_at_process(sampler->source, &sample.source, NULL) &&
        memory_glance_at_process(sampler->destination, &sample.destination,
                                 NULL)) {
        g_array_append_val(sampler->samples, sample);
    }
}

static gboolean on_timer(gpointer opaque)
{
    take_sample(opaque);
    return G_SOURCE_CONTINUE;
}

MemorySampler *memory_sampler_start(pid_t source, pid_t destination,
                                    unsigned interval_ms)
{
    MemorySampler *sampler = g_new0(MemorySampler, 1);

    sampler->source = source;
    sampler->destination = destination;
    sampler->samples = g_array_new(FALSE, FALSE, sizeof(MemorySample));
    sampler->began = g_get_monotonic_time();
    take_sample(sampler);
    sampler->timer = g_timeout_add(interval_ms, on_timer, sampler);
    return sampler;
}

GArray *memory_sampler_stop(MemorySampler *sampler)
{
    GArray *samples = sampler->samples;

    take_sample(sampler);
    g_source_remove(sampler->timer);
    g_free(sampler);
    return samples;
}
