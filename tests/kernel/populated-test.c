/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a populated page ever called unpopulated while the kernel moves it,
 * collapses or splits it, or swaps it out and in?  Asked in guests that run
 * Debian's kernels, by kernel-init.c; here its answers are read and judged.
 */
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SWAP_BYTES (64 << 20)

/*
 * How much has to happen in each case, so that both kernels together make 1000
 * of it, and 2000 moves where nothing else happens; another number can be asked
 * for.  The others are as in kernel-init.c.
 */
#define GOAL_VARIABLE "SB_KERNEL_GOAL"
#define GOAL 500
#define GOAL_IN (goal / 4)
#define GOAL_COLLAPSES (goal / 4)
#define GOAL_TOGETHER (goal / 10)
/* Counts of huge pages that were right, though the pages were moved */
#define GOAL_COUNTS (goal / 20)

typedef struct Kernel {
    const char *version;
    const char *suite;
    GSubprocess *qemu;
    GDataInputStream *lines;
    GHashTable *results;        /* by case */
    char *dir;
    char *swap;
    char *console;
    char *last;                 /* what it said last, for the log */
} Kernel;

typedef struct Case {
    Kernel *kernel;
    char *name;
    uint64_t collapses;         /* at least */
    const char *way;
} Case;

static uint64_t goal = GOAL;

static Kernel kernels[] = {
    { .version = "6.1", .suite = "bookworm" },
    { .version = "6.12", .suite = "trixie" },
};

/* Runs in the child between fork() and exec(). */
static void die_with_parent(gpointer opaque)
{
    pid_t parent = *(pid_t *)opaque;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
}

static char *make_swap(Kernel *kernel)
{
    g_autoptr(GError) error = NULL;
    int fd;

    kernel->dir = g_dir_make_tmp("kernel-XXXXXX", &error);
    g_assert_no_error(error);
    kernel->swap = g_build_filename(kernel->dir, "swap", NULL);
    fd = g_open(kernel->swap, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, SWAP_BYTES), ==, 0);
    close(fd);
    return g_strdup_printf("driver=file,node-name=swap,filename=%s",
                           kernel->swap);
}

static void kernel_start(Kernel *kernel)
{
    const char *qemu = g_getenv("QEMU_BINARY");
    g_autofree char *image = g_strdup_printf(
        BUILD_DIR "/kernel/%s/vmlinux", kernel->suite);
    g_autofree char *initramfs = g_strdup_printf(
        BUILD_DIR "/kernel/%s/initramfs.cpio.gz", kernel->suite);
    g_autofree char *swap = make_swap(kernel);
    g_autofree char *console = NULL;
    g_autofree char *append = g_strdup_printf(
        "console=ttyS1 loglevel=5 panic=-1 clearcpuid=rep_good "
        "mitigations=off no_timer_check cryptomgr.notests GOAL=%"
        G_GUINT64_FORMAT, goal);
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_autoptr(GError) error = NULL;
    pid_t parent = getpid();

    kernel->console = g_strdup_printf(BUILD_DIR "/log/kernel-%s.console",
                                      kernel->version);
    console = g_strdup_printf("file:%s", kernel->console);
    g_subprocess_launcher_set_child_setup(launcher, die_with_parent, &parent,
                                          NULL);
    /*
     * Without rep_good the kernel copies pages in a loop that is much faster
     * than emulated string instructions.
     */
    kernel->qemu = g_subprocess_launcher_spawn(
        launcher, &error,
        qemu && *qemu ? qemu : BUILD_DIR "/bin/qemu-system-x86_64",
        "-accel", "tcg", "-machine", "pc", "-m", "768", "-smp", "2",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-object", "memory-backend-ram,id=node0,size=384M",
        "-object", "memory-backend-ram,id=node1,size=384M",
        "-numa", "node,memdev=node0,cpus=0",
        "-numa", "node,memdev=node1,cpus=1",
        "-blockdev", swap, "-device", "virtio-blk-pci,drive=swap",
        "-serial", "stdio", "-serial", console,
        "-kernel", image, "-initrd", initramfs,
        "-append", append, NULL);
    g_assert_no_error(error);
    kernel->lines = g_data_input_stream_new(
        g_subprocess_get_stdout_pipe(kernel->qemu));
    kernel->results = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                            g_free);
}

/* Side by side if there are processors for all; the other waits otherwise. */
static void need_kernel(Kernel *kernel)
{
    for (unsigned int i = 0; i < G_N_ELEMENTS(kernels); i++) {
        if (!kernels[i].qemu &&
            (&kernels[i] == kernel || g_get_num_processors() >= 4)) {
            kernel_start(&kernels[i]);
        }
    }
}

static void kernel_end(Kernel *kernel)
{
    if (!kernel->qemu) {
        return;
    }
    g_subprocess_force_exit(kernel->qemu);
    g_subprocess_wait(kernel->qemu, NULL, NULL);
    g_unlink(kernel->swap);
    g_rmdir(kernel->dir);
    g_clear_object(&kernel->lines);
    g_clear_object(&kernel->qemu);
    g_clear_pointer(&kernel->results, g_hash_table_unref);
    g_free(kernel->dir);
    g_free(kernel->swap);
    g_free(kernel->console);
    g_free(kernel->last);
}

/* The line of a case, once it is there; NULL if the guest ended before. */
static const char *wait_result(Kernel *kernel, const char *name)
{
    const char *result;

    while (!(result = g_hash_table_lookup(kernel->results, name))) {
        char *line = g_data_input_stream_read_line(kernel->lines, NULL, NULL,
                                                   NULL);
        const char *words;

        if (!line) {
            return NULL;
        }
        g_free(kernel->last);
        kernel->last = g_strchomp(line);
        words = g_str_has_prefix(line, "RESULT ") ? line + 7 : "";
        if (strchr(words, ' ')) {
            size_t length = strcspn(words, " ");

            g_hash_table_insert(kernel->results, g_strndup(words, length),
                                g_strdup(words + length));
        }
    }
    return result;
}

/* The number that follows a word; such a line has each word. */
static uint64_t count_of(const char *result, const char *word)
{
    g_autofree char *key = g_strdup_printf(" %s ", word);
    const char *at = strstr(result, key);

    g_assert(at);
    return g_ascii_strtoull(at + strlen(key), NULL, 10);
}

static void expect(const char *result, const char *word, uint64_t least,
                   uint64_t most)
{
    uint64_t count = count_of(result, word);

    if (count < least || count > most) {
        g_test_fail_printf("%s is %" G_GUINT64_FORMAT ", not from %"
                           G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, word,
                           count, least, most);
    }
}

static void run_case(gconstpointer opaque)
{
    const Case *test = opaque;
    bool all = !strcmp(test->way, "all");
    const char *result;

    need_kernel(test->kernel);
    result = wait_result(test->kernel, test->name);
    if (!result) {
        g_test_fail_printf("the guest ended; it said last: %s; its kernel: "
                           "see %s", test->kernel->last ?: "nothing",
                           test->kernel->console);
        return;
    }
    g_test_message("%s", result);

    expect(result, "wrong", 0, 0);
    expect(result, "lost", 0, 0);
    /* One who always says the same would not be wrong, either. */
    expect(result, "populated", goal, UINT64_MAX);
    expect(result, "holes", 1, UINT64_MAX);
    if (g_str_has_prefix(test->name, "hugetlbfs-")) {
        expect(result, "counts", GOAL_COUNTS, UINT64_MAX);
    }
    if (all || !strcmp(test->way, "move")) {
        expect(result, "moves", goal, UINT64_MAX);
    }
    if (all || !strcmp(test->way, "collapse")) {
        expect(result, "collapses", test->collapses, UINT64_MAX);
        expect(result, "splits", test->collapses / 2, UINT64_MAX);
    }
    if (!strcmp(test->way, "swapon")) {
        expect(result, "out", goal, UINT64_MAX);
    }
    if (all || !strcmp(test->way, "swap")) {
        expect(result, "out", goal, UINT64_MAX);
        expect(result, "in", GOAL_IN, UINT64_MAX);
    }
}

static void free_case(gpointer opaque)
{
    Case *test = opaque;

    g_free(test->name);
    g_free(test);
}

static void add(Kernel *kernel, const char *kind, const char *way,
                uint64_t collapses)
{
    g_autofree char *path = g_strdup_printf("/kernel/%s/%s/%s",
                                            kernel->version, kind, way);
    Case *test = g_new(Case, 1);

    *test = (Case) {
        .kernel = kernel,
        .name = g_strdup_printf("%s/%s", kind, way),
        .way = way,
        .collapses = collapses,
    };
    g_test_add_data_func_full(path, test, run_case, free_case);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {
        "anonymous", "tmpfs", "tmpfs-huge", "private-file",
    };
    static const char *const ways[] = { "move", "collapse", "swap", "all" };
    const char *wish = g_getenv(GOAL_VARIABLE);
    int status;

    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    if (wish && *wish) {
        goal = g_ascii_strtoull(wish, NULL, 10);
    }
    g_mkdir_with_parents(BUILD_DIR "/log", 0755);
    for (unsigned int k = 0; k < G_N_ELEMENTS(kernels); k++) {
        for (unsigned int i = 0; i < G_N_ELEMENTS(kinds); i++) {
            for (unsigned int w = 0; w < G_N_ELEMENTS(ways); w++) {
                add(&kernels[k], kinds[i], ways[w],
                    strcmp(ways[w], "all") ? GOAL_COLLAPSES : GOAL_TOGETHER);
            }
        }
        add(&kernels[k], "anonymous-denied", "move", 0);
        add(&kernels[k], "anonymous-denied", "collapse", GOAL_COLLAPSES);
        add(&kernels[k], "anonymous-denied", "swapon", 0);
        add(&kernels[k], "hugetlbfs", "move", 0);
        add(&kernels[k], "hugetlbfs-counted", "move", 0);
        add(&kernels[k], "hugetlbfs-private", "move", 0);
    }
    status = g_test_run();
    for (unsigned int k = 0; k < G_N_ELEMENTS(kernels); k++) {
        kernel_end(&kernels[k]);
    }
    return status;
}
