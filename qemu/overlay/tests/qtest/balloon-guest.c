/*
 * A guest for tests of virtio-balloon: driver, memory and migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "qobject/qjson.h"
#include "standard-headers/linux/virtio_ring.h"
#include "balloon-guest.h"

#define RAM_SIZE_DEFAULT (UINT64_C(64) << 20)
#define WAIT_SECONDS 120

/*
 * What is written without QEMU: much at a time, and up to where main memory is
 * where the guest has it, on the machines of machine_args() here
 */
#define DIRECT_MIN (16 * BALLOON_PAGE)
#define DIRECT_MAX (UINT64_C(3) << 30)

/* Where the device sits */
#define DEVICE_SLOT 5
#define DEVICE_IO 0xc000
G_STATIC_ASSERT(BG_CONFIG_IO == DEVICE_IO + 20);

/* Legacy virtio-pci registers, and PCI configuration registers */
#define REG_FEATURES 0
#define REG_DRIVER_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_QUEUE_NOTIFY 16
#define REG_STATUS 18
#define PCI_COMMAND_REG 0x04
#define PCI_BAR0_REG 0x10

/* Memory of the driver: a ring for each queue, and the requests */
#define RING_BASE (UINT64_C(1) << 20)
#define RING_STRIDE UINT64_C(0x8000)
#define RING_ALIGN 4096
#define REQUEST_MAX (BG_REQUEST_SIZE / sizeof(uint32_t))
G_STATIC_ASSERT(RING_BASE + BG_QUEUES * RING_STRIDE <= BG_REQUEST_BASE);

/* Alpha (clipper): where PCI configuration and I/O space are in memory */
#define ALPHA_PCI_IO UINT64_C(0x801fc000000)
#define ALPHA_PCI_CONF UINT64_C(0x801fe000000)

/* ---- Programs ---- */

static char *seed, *program;
static char step[256], step_path[256];

static const char *test_path(void)
{
#if GLIB_CHECK_VERSION(2, 68, 0)
    G_GNUC_BEGIN_IGNORE_DEPRECATIONS
    return g_test_get_path();
    G_GNUC_END_IGNORE_DEPRECATIONS
#else
    return "";
#endif
}

/* Whatever a test fails by, it comes here. */
static void tell_how_to_repeat(void *opaque)
{
    if (step[0] && !strcmp(step_path, test_path())) {
        fprintf(stderr, "# at: %s\n", step);
    }
    fprintf(stderr, "# repeat: QTEST_QEMU_BINARY=%s " BG_STOCK_ENV "=%s"
            " %s --tap -k --seed=%s -p %s\n",
            g_getenv("QTEST_QEMU_BINARY") ?: "", g_getenv(BG_STOCK_ENV) ?: "",
            program, seed, test_path());
}

/* g_error() traps, and libqtest and we want to know of it. */
static void trapped(int sig)
{
    abort();
}

void bg_init(int *argc, char ***argv)
{
    char **more = g_new0(char *, *argc + 2);
    int i;

    program = (*argv)[0];
    for (i = 0; i < *argc; i++) {
        more[i] = (*argv)[i];
        if (g_str_has_prefix(more[i], "--seed=")) {
            seed = g_strdup(more[i] + strlen("--seed="));
        }
    }
    if (!seed) {
        /* glib makes one, and keeps it to itself. */
        seed = g_strdup_printf("R02S%08x%08x%08x%08x", g_random_int(),
                               g_random_int(), g_random_int(), g_random_int());
        more[(*argc)++] = g_strdup_printf("--seed=%s", seed);
    }
    *argv = more;
    g_test_init(argc, argv, NULL);
    bg_allow_huge_pages(false);
    sigaction(SIGTRAP, &(struct sigaction) { .sa_handler = trapped }, NULL);
    qtest_add_abrt_handler(tell_how_to_repeat, "");
}

void bg_allow_huge_pages(bool allow)
{
    g_assert_cmpint(prctl(PR_SET_THP_DISABLE, !allow, 0, 0, 0), ==, 0);
}

void bg_add_test(const void *data, GTestDataFunc func, const char *format, ...)
{
    g_autofree char *path = NULL;
    va_list ap;

    va_start(ap, format);
    path = g_strdup_vprintf(format, ap);
    va_end(ap);
    qtest_add_data_func(path, data, func);
}

const char *bg_backend_name(BGBackend backend)
{
    static const char *const names[] = {
        [BG_ANON] = "anon",
        [BG_MEMFD] = "memfd",
        [BG_PRIVATE_MEMFD] = "private-memfd",
        [BG_HUGETLB] = "hugetlb",
    };

    return names[backend];
}

void bg_step(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(step, sizeof(step), format, ap);
    va_end(ap);
    g_strlcpy(step_path, test_path(), sizeof(step_path));
}

void bg_fail(uint64_t addr, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    fprintf(stderr, "# page 0x%" PRIx64 ": %s\n", addr, message);
    abort();
}

gint64 bg_deadline(void)
{
    return g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
}

void bg_wait_some(unsigned int *times)
{
    g_usleep(1000 << MIN(*times / 2, 4));
    (*times)++;
}

bool bg_stock_or_skip(void)
{
    if (!g_getenv(BG_STOCK_ENV)) {
        g_test_skip(BG_STOCK_ENV " is not set");
        return false;
    }
    return true;
}

int64_t bg_free_huge_pages(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/sys/kernel/mm/hugepages/hugepages-2048kB/"
                               "free_hugepages", &text, NULL, NULL)
           ? g_ascii_strtoll(text, NULL, 10) : 0;
}

bool bg_huge_or_skip(uint64_t bytes)
{
    if (bg_free_huge_pages() < bytes >> 21) {
        g_test_skip("too few huge pages of 2 MiB are free");
        return false;
    }
    return true;
}

bool bg_gdb_or_skip(void)
{
    g_autofree char *gdb = g_find_program_in_path("gdb");

    if (!gdb) {
        g_test_skip("gdb is not installed");
    }
    return gdb;
}

void bg_gdb(BGuest *g, const char *command, ...)
{
    g_autofree char *pid = g_strdup_printf("%d", (int)qtest_pid(g->qts));
    /* Reading what QEMU has for debuggers would take most of the time. */
    const char *argv[20] = { "gdb", "-batch", "-nx", "-readnever", "-p", pid };
    int n = 6, status;
    va_list ap;

    va_start(ap, command);
    for (; command; command = va_arg(ap, const char *)) {
        g_assert_cmpint(n + 2, <, ARRAY_SIZE(argv));
        argv[n++] = "-ex";
        argv[n++] = command;
    }
    va_end(ap);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH |
                               G_SPAWN_STDOUT_TO_DEV_NULL |
                               G_SPAWN_STDERR_TO_DEV_NULL,
                               NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

#define FIRMWARE_SIZE 0x10000
#define RESET_VECTOR (FIRMWARE_SIZE - 16)

char *bg_write_firmware(const uint8_t *code, size_t size)
{
    /* Where the processor begins: jmp to the first byte */
    static const uint8_t reset_vector[] = { 0xe9, 0x0d, 0x00 };
    g_autofree uint8_t *image = g_malloc0(FIRMWARE_SIZE);
    char *path = g_strdup_printf("%s/bg-%d.bin", g_get_tmp_dir(), getpid());

    memcpy(image, code, size);
    memcpy(image + RESET_VECTOR, reset_vector, sizeof(reset_vector));
    g_assert_true(g_file_set_contents(path, (const char *)image, FIRMWARE_SIZE,
                                      NULL));
    return path;
}

/* ---- Guests ---- */

static bool is_alpha(void)
{
    return !strcmp(qtest_get_arch(), "alpha");
}

uint64_t bg_target_page(void)
{
    return is_alpha() ? 2 * BALLOON_PAGE : BALLOON_PAGE;
}

static void pci_config_write(BGuest *g, unsigned int reg, uint32_t value)
{
    if (is_alpha()) {
        qtest_writel(g->qts, ALPHA_PCI_CONF | DEVICE_SLOT << 11 | reg, value);
    } else {
        qtest_outl(g->qts, 0xcf8, 1U << 31 | DEVICE_SLOT << 11 | reg);
        qtest_outl(g->qts, 0xcfc, value);
    }
}

static void reg_write(BGuest *g, unsigned int reg, unsigned int size,
                      uint32_t value)
{
    if (is_alpha()) {
        uint64_t addr = ALPHA_PCI_IO + DEVICE_IO + reg;

        size == 1 ? qtest_writeb(g->qts, addr, value) :
        size == 2 ? qtest_writew(g->qts, addr, value) :
                    qtest_writel(g->qts, addr, value);
    } else {
        size == 1 ? qtest_outb(g->qts, DEVICE_IO + reg, value) :
        size == 2 ? qtest_outw(g->qts, DEVICE_IO + reg, value) :
                    qtest_outl(g->qts, DEVICE_IO + reg, value);
    }
}

static uint32_t reg_readl(BGuest *g, unsigned int reg)
{
    return is_alpha() ? qtest_readl(g->qts, ALPHA_PCI_IO + DEVICE_IO + reg)
                      : qtest_inl(g->qts, DEVICE_IO + reg);
}

static uint16_t reg_readw(BGuest *g, unsigned int reg)
{
    return is_alpha() ? qtest_readw(g->qts, ALPHA_PCI_IO + DEVICE_IO + reg)
                      : qtest_inw(g->qts, DEVICE_IO + reg);
}

static char *backend_args(const BGOptions *options)
{
    if (options->ram_file) {
        return g_strdup_printf("memory-backend-file,share=on,mem-path=%s",
                               options->ram_file);
    }
    switch (options->backend) {
    case BG_ANON:
        return g_strdup("memory-backend-ram,reserve=off");
    case BG_MEMFD:
        return g_strdup("memory-backend-memfd,share=on");
    case BG_PRIVATE_MEMFD:
        return g_strdup("memory-backend-memfd,share=off");
    case BG_HUGETLB:
        return g_strdup("memory-backend-memfd,share=on,hugetlb=on,"
                        "hugetlbsize=2M,reserve=off");
    default:
        g_assert_not_reached();
    }
}

static char *device_args(const BGOptions *options)
{
    if (options->no_device) {
        return g_strdup("");
    }
    return g_strdup_printf("-device virtio-balloon-pci,id=balloon0,addr=%d,"
                           "ioeventfd=off%s%s%s", DEVICE_SLOT,
                           options->no_must_tell_host ? ""
                                                      : ",must-tell-host=on",
                           options->device_args ? "," : "",
                           options->device_args ? options->device_args : "");
}

/* Find the address that QEMU has the main memory at. */
static void find_ram(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-ramblock' }");
    g_auto(GStrv) lines = g_strsplit(
        qdict_get_str(rsp, "human-readable-text"), "\n", -1);
    g_autofree char *path = NULL;
    int i;

    g->ram_id = g->options.ram_id ?: "ram0";
    for (i = 0; lines[i]; i++) {
        char id[256], size[16], unit[16];
        uint64_t offset, used, total, hva;

        if (sscanf(lines[i], " %255s %15s %15s 0x%" SCNx64 " 0x%" SCNx64
                   " 0x%" SCNx64 " 0x%" SCNx64, id, size, unit, &offset,
                   &used, &total, &hva) == 7 && !strcmp(id, g->ram_id)) {
            g->hva = hva;
        }
    }
    qobject_unref(rsp);
    g_assert_cmphex(g->hva, !=, 0);

    path = g_strdup_printf("/proc/%d/mem", (int)qtest_pid(g->qts));
    g->mem_fd = open(path, O_RDWR);
    g_assert_cmpint(g->mem_fd, >=, 0);
}

static char *machine_args(const BGOptions *options)
{
    g_autofree char *backend = NULL;
    uint64_t size = options->ram_size;
    const char *maxmem = "";

    if (options->machine_args) {
        return g_strdup(options->machine_args);
    }
    backend = backend_args(options);
    if (!is_alpha() && size < UINT64_C(1) << 30) {
        maxmem = ",slots=2,maxmem=2G";
    }
    return g_strdup_printf("-machine %s,memory-backend=ram0%s%s "
                           "-object %s,id=ram0,size=%" PRIu64 " "
                           "-m %" PRIu64 "M%s",
                           is_alpha() ? "clipper" : "pc",
                           options->machine_props ? "," : "",
                           options->machine_props ?: "",
                           backend, size, size >> 20, maxmem);
}

BGuest *bg_start(const BGOptions *options)
{
    BGuest *g = g_new0(BGuest, 1);
    g_autofree char *device = device_args(options);
    g_autofree char *machine = NULL;
    g_autofree char *args = NULL;
    static int n;
    int saved = -1;

    g->options = *options;
    if (!g->options.ram_size) {
        g->options.ram_size = RAM_SIZE_DEFAULT;
    }
    machine = machine_args(&g->options);
    args = g_strdup_printf("%s -nodefaults %s %s", machine, device,
                           options->args ?: "");
    if (options->keep_log) {
        g->log = g_strdup_printf("%s/bg-%d-%d.log", g_get_tmp_dir(), getpid(),
                                 n++);
        saved = bg_divert_stderr(g->log);
    }
    /* qtest_init_with_env() connects in any case. */
    g->qts = qtest_init_with_env_and_capabilities(
        options->stock ? BG_STOCK_ENV : NULL, args, NULL,
        !options->connect_later);
    if (options->keep_log) {
        bg_restore_stderr(saved);
    }
    if (!options->connect_later) {
        find_ram(g);
    }
    return g;
}

BGuest *bg_start_driven(const BGOptions *options)
{
    BGuest *g = bg_start(options);

    bg_driver_start(g, BG_MUST_TELL_HOST | BG_REPORTING);
    return g;
}

void bg_connect(BGuest *g)
{
    qtest_connect(g->qts);
    qtest_qmp_handshake(g->qts, NULL);
    find_ram(g);
}

void bg_set_capabilities(BGuest *g)
{
    const char *const *name = g->options.capabilities;

    if (g->options.multifd) {
        bg_set_capability(g, "multifd", true);
    }
    for (; name && *name; name++) {
        bg_set_capability(g, *name, true);
    }
}

BGuest *bg_start_dest(const BGOptions *options)
{
    static int n;
    g_autofree char *args = g_strdup_printf("-incoming defer %s",
                                            options->args ?: "");
    g_autofree char *uri = NULL;
    BGOptions deferred = *options;
    BGuest *g;

    /* The capabilities have to be set before anybody connects. */
    deferred.args = args;
    g = bg_start(&deferred);
    g->options.args = options->args;
    bg_set_capabilities(g);
    g->socket = g_strdup_printf("%s/skip-balloon-%d-%d.sock", g_get_tmp_dir(),
                                getpid(), n++);
    uri = g_strdup_printf("unix:%s", g->socket);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    return g;
}

BGuest *bg_start_incoming(const BGuest *source)
{
    return bg_start_dest(&source->options);
}

BGuest *bg_start_failing_dest(const BGOptions *options)
{
    BGOptions logged = *options;
    BGuest *g;

    logged.keep_log = true;
    g = bg_start_dest(&logged);
    qtest_set_expected_status(g->qts, EXIT_FAILURE);
    return g;
}

char *bg_log(BGuest *g)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(g->log, &text, NULL, NULL));
    return text;
}

/*
 * End QEMU, and wait until it is a zombie: libqtest would look only every
 * 100 ms, which is longer than many a test takes.  It has still to reap it,
 * and to deal with one that does not end.
 */
static void end_qemu(BGuest *g)
{
    pid_t pid = qtest_pid(g->qts);
    int fd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1;
    struct pollfd ended = { .fd = fd, .events = POLLIN };

    if (fd >= 0) {
        kill(pid, SIGTERM);
        poll(&ended, 1, WAIT_SECONDS * 1000);
        close(fd);
    }
}

void bg_quit(BGuest *g)
{
    end_qemu(g);
    qtest_quit(g->qts);
    close(g->mem_fd);
    if (g->log) {
        unlink(g->log);
        g_free(g->log);
    }
    if (g->socket) {
        unlink(g->socket);
        g_free(g->socket);
    }
    g_free(g);
}

int bg_reap(BGuest *g)
{
    pid_t pid = qtest_pid(g->qts);
    int status;

    BG_WAIT(waitpid(pid, &status, WNOHANG) == pid);
    /* This finds that there is no such child, and is content. */
    qtest_probe_child(g->qts);
    qtest_set_expected_status(g->qts, 0);
    bg_quit(g);
    return status;
}

void bg_kill(BGuest *g)
{
    kill(qtest_pid(g->qts), SIGKILL);
    g_assert_true(WIFSIGNALED(bg_reap(g)));
}

void bg_quit_failed(BGuest *g, const char *part)
{
    g_autofree char *text = NULL;

    qtest_wait_qemu(g->qts);
    text = bg_log(g);
    if (!strstr(text, part)) {
        g_error("no '%s' in: %s", part, text);
    }
    bg_quit(g);
}

uint32_t bg_driver_start(BGuest *g, uint32_t features)
{
    int i;

    pci_config_write(g, PCI_BAR0_REG, DEVICE_IO);
    pci_config_write(g, PCI_COMMAND_REG, 7);
    reg_write(g, REG_STATUS, 1, 0);
    reg_write(g, REG_STATUS, 1, 3);
    features &= reg_readl(g, REG_FEATURES);
    reg_write(g, REG_DRIVER_FEATURES, 4, features);
    for (i = 0; i < BG_QUEUES; i++) {
        BGQueue *q = &g->queue[i];

        q->ring = RING_BASE + i * RING_STRIDE;
        q->added = 0;
        reg_write(g, REG_QUEUE_SELECT, 2, i);
        q->size = reg_readw(g, REG_QUEUE_SIZE);
        if (!q->size) {
            continue;
        }
        q->avail = q->ring + q->size * 16;
        q->used = QEMU_ALIGN_UP(q->avail + 6 + q->size * 2, RING_ALIGN);
        g_assert_cmphex(q->used + 6 + q->size * 8, <=,
                        q->ring + RING_STRIDE);
        qtest_memset(g->qts, q->ring, 0, RING_STRIDE);
        reg_write(g, REG_QUEUE_PFN, 4, q->ring / 4096);
    }
    reg_write(g, REG_STATUS, 1, 7);
    return features;
}

void bg_driver_reset(BGuest *g)
{
    reg_write(g, REG_STATUS, 1, 0);
}

void bg_kick(BGuest *g, int queue)
{
    BGQueue *q = &g->queue[queue];
    gint64 end = bg_deadline();

    reg_write(g, REG_QUEUE_NOTIFY, 2, queue);
    while (qtest_readw(g->qts, q->used + 2) != q->added) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Have the device serve a request, @length bytes at @addr. */
static void send_request(BGuest *g, int queue, uint64_t addr, uint32_t length,
                         uint16_t flags)
{
    BGQueue *q = &g->queue[queue];

    g_assert_cmpuint(q->size, >, 0);
    qtest_writeq(g->qts, q->ring, addr);
    qtest_writel(g->qts, q->ring + 8, length);
    qtest_writel(g->qts, q->ring + 12, flags);
    qtest_writew(g->qts, q->avail + 4 + q->added % q->size * 2, 0);
    q->added++;
    qtest_writew(g->qts, q->avail + 2, q->added);
    bg_kick(g, queue);
}

/*
 * Before a migration nobody keeps track of what is written: then much of it
 * need not go through QEMU, which takes its time.
 */
static bool may_write_directly(BGuest *g, uint64_t start, uint64_t length)
{
    return length >= DIRECT_MIN && start + length <= DIRECT_MAX &&
           start + length <= g->options.ram_size &&
           !g->options.machine_args && !g->options.machine_props &&
           bg_has_status(g, "none");
}

static void write_directly(BGuest *g, uint64_t addr, const void *buf,
                           size_t size)
{
    g_assert_cmpint(pwrite(g->mem_fd, buf, size, g->hva + addr), ==, size);
}

void bg_request(BGuest *g, int queue, const uint32_t *pfns, size_t n)
{
    g_autofree uint32_t *le_pfns = g_new(uint32_t, n);
    size_t i;

    g_assert_cmpuint(n, <=, REQUEST_MAX);
    for (i = 0; i < n; i++) {
        le_pfns[i] = cpu_to_le32(pfns[i]);
    }
    if (may_write_directly(g, BG_REQUEST_BASE, n * sizeof(*le_pfns))) {
        write_directly(g, BG_REQUEST_BASE, le_pfns, n * sizeof(*le_pfns));
    } else {
        qtest_bufwrite(g->qts, BG_REQUEST_BASE, le_pfns, n * sizeof(*le_pfns));
    }
    send_request(g, queue, BG_REQUEST_BASE, n * sizeof(*le_pfns), 0);
}

void bg_request_every(BGuest *g, int queue, uint64_t start, uint64_t step,
                      uint64_t n)
{
    g_autofree uint32_t *pfns = g_new(uint32_t, n);
    uint64_t i;

    for (i = 0; i < n; i++) {
        pfns[i] = BG_PFN(start + i * step);
    }
    bg_request(g, queue, pfns, n);
}

void bg_request_range(BGuest *g, int queue, uint64_t start, uint64_t length)
{
    bg_request_every(g, queue, start, BALLOON_PAGE, length / BALLOON_PAGE);
}

void bg_report(BGuest *g, uint64_t start, uint64_t length)
{
    send_request(g, BG_REPORT, start, length, VRING_DESC_F_WRITE);
}

void bg_plug_balloon(BGuest *g)
{
    qtest_qmp_device_add(g->qts, "virtio-balloon-pci", "balloon0",
                         "{ 'addr': '5', 'must-tell-host': true }");
}

void bg_unplug_balloon(BGuest *g)
{
    qtest_qmp_device_del_send(g->qts, "balloon0");
    qtest_outl(g->qts, 0xae08, 1U << DEVICE_SLOT);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
}

void bg_plug_dimm(BGuest *g)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'memory-backend-ram', 'id': 'dimm-ram',"
        " 'size': 134217728 } }");
    qtest_qmp_device_add(g->qts, "pc-dimm", "dimm0",
                         "{ 'memdev': 'dimm-ram' }");
}

static bool has_dimm(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-ramblock' }");
    bool found = strstr(qdict_get_str(rsp, "human-readable-text"), "dimm-ram");

    qobject_unref(rsp);
    return found;
}

void bg_eject_dimm(BGuest *g, bool remove)
{
    qtest_outl(g->qts, 0xa00, 0);
    qtest_outb(g->qts, 0xa14, 1 << 3);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    if (!remove) {
        return;
    }
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'dimm-ram' } }");
    /* The RAM block goes when the last reader of the memory map is done. */
    BG_WAIT(!has_dimm(g));
}

void bg_unplug_dimm(BGuest *g)
{
    qtest_qmp_device_del_send(g->qts, "dimm0");
    bg_eject_dimm(g, true);
}

/* ---- Memory ---- */

uint8_t bg_fill_value(uint64_t addr, uint8_t seed)
{
    return 1 + (addr / BALLOON_PAGE * 7 + seed) % 255;
}

void bg_fill(BGuest *g, uint64_t start, uint64_t length, uint8_t seed)
{
    uint8_t buf[DIRECT_MIN];
    bool direct = may_write_directly(g, start, length);
    uint64_t at, i, n;

    for (at = start; at < start + length; at += n) {
        n = MIN(direct ? sizeof(buf) : BALLOON_PAGE, start + length - at);
        for (i = 0; direct && i < n; i += BALLOON_PAGE) {
            memset(buf + i, bg_fill_value(at + i, seed), BALLOON_PAGE);
        }
        if (direct) {
            write_directly(g, at, buf, n);
        } else {
            qtest_memset(g->qts, at, bg_fill_value(at, seed), n);
        }
    }
}

char *bg_proc(BGuest *g, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s",
                                            (int)qtest_pid(g->qts), name);
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

unsigned int bg_count_mappings(BGuest *g)
{
    g_autofree char *text = bg_proc(g, "maps");
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    return g_strv_length(lines);
}

char *bg_find_fd(BGuest *g, const char *what)
{
    g_autofree char *dir = g_strdup_printf("/proc/%d/fd",
                                           (int)qtest_pid(g->qts));
    GDir *d = g_dir_open(dir, 0, NULL);
    char *found = NULL;
    const char *name;

    g_assert_nonnull(d);
    while (!found && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *target = g_file_read_link(path, NULL);

        if (target && strstr(target, what)) {
            found = g_steal_pointer(&path);
        }
    }
    g_dir_close(d);
    return found;
}

/* The file of the main memory, opened anew so that seeking is harmless */
static int open_memfd(BGuest *g)
{
    const char *file = g->options.ram_file ?: "memfd:memory-backend-memfd";
    /* What may follow are properties. */
    g_autofree char *name = g_strndup(file, strcspn(file, ","));
    g_autofree char *path = bg_find_fd(g, name);
    int fd;

    g_assert_nonnull(path);
    fd = open(path, O_RDONLY);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* The kernel's PAGEMAP_SCAN (Linux 6.7), whatever the headers know of it */
#define PAGE_PRESENT (1 << 3)
#define PAGE_SWAPPED (1 << 4)
#define PAGE_ZERO (1 << 5)

typedef struct PageRegion {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
} PageRegion;

typedef struct PagemapScan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
} PagemapScan;

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, PagemapScan)

/* Make a system call fail, if its argument @arg has a value. */
static void forbid(int call, int arg, uint32_t value, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[arg])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==,
                    0);
}

void bg_forbid_pagemap_scan(int error)
{
    forbid(SYS_ioctl, 1, PAGEMAP_SCAN_IOCTL, error);
}

/* Of /dev/userfaultfd; Linux 6.1 */
#define UFFD_NEW_IOCTL _IO(0xaa, 0)

void bg_forbid_userfaultfd(int error)
{
    forbid(SYS_ioctl, 1, UFFD_NEW_IOCTL, error);
    forbid(SYS_userfaultfd, 0, O_CLOEXEC, error);
}

/* The same on older kernels, which do not tell zeroes apart */
static void read_page_tables(int fd, uint64_t hva, uint64_t npages,
                             bool *populated)
{
    g_autofree uint64_t *entry = g_new(uint64_t, npages);
    uint64_t i;

    g_assert_cmpint(pread(fd, entry, npages * sizeof(*entry),
                          hva / BALLOON_PAGE * sizeof(*entry)),
                    ==, npages * sizeof(*entry));
    for (i = 0; i < npages; i++) {
        populated[i] = entry[i] >> 62 != 0;
    }
}

/*
 * Set @populated[i] for the pages that QEMU's page tables know, but for the
 * kernel's page of zeroes, which is mapped where untouched memory is read.
 */
static void look_at_page_tables(BGuest *g, uint64_t start, uint64_t npages,
                                bool *populated)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/pagemap",
                                            (int)qtest_pid(g->qts));
    PageRegion regions[256];
    PagemapScan scan = {
        .size = sizeof(scan),
        .start = g->hva + start,
        .end = g->hva + start + npages * BALLOON_PAGE,
        .vec = (uintptr_t)regions,
        .vec_len = ARRAY_SIZE(regions),
        .category_inverted = PAGE_ZERO,
        .category_mask = PAGE_ZERO,
        .category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
        .return_mask = PAGE_ZERO,
    };
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(fd, >=, 0);
    while (scan.start < scan.end) {
        int n = ioctl(fd, PAGEMAP_SCAN_IOCTL, &scan);
        int i;

        if (n < 0) {
            g_assert_cmpint(errno, ==, ENOTTY);
            read_page_tables(fd, g->hva + start, npages, populated);
            break;
        }
        for (i = 0; i < n; i++) {
            uint64_t first = (regions[i].start - g->hva - start)
                             / BALLOON_PAGE;

            memset(populated + first, 1,
                   (regions[i].end - regions[i].start) / BALLOON_PAGE);
        }
        scan.start = scan.walk_end;
    }
    close(fd);
}

/* Set @populated[i] for the pages that the memfd has */
static void look_at_file(BGuest *g, uint64_t start, uint64_t npages,
                         bool *populated)
{
    uint64_t end = start + npages * BALLOON_PAGE;
    int fd = open_memfd(g);
    off_t data = start;

    while ((data = lseek(fd, data, SEEK_DATA)) >= 0 && data < end) {
        off_t hole = MIN(lseek(fd, data, SEEK_HOLE), end);

        memset(populated + (data - start) / BALLOON_PAGE, 1,
               (hole - data) / BALLOON_PAGE);
        data = hole;
    }
    close(fd);
}

bool *bg_populated(BGuest *g, uint64_t start, uint64_t length)
{
    uint64_t npages = length / BALLOON_PAGE;
    bool *populated = g_new0(bool, npages);

    if (g->options.backend == BG_MEMFD ||
        g->options.backend == BG_PRIVATE_MEMFD) {
        look_at_file(g, start, npages, populated);
    }
    if (g->options.backend != BG_MEMFD) {
        look_at_page_tables(g, start, npages, populated);
    }
    return populated;
}

uint64_t bg_count_populated(BGuest *g, uint64_t start, uint64_t length)
{
    g_autofree bool *populated = bg_populated(g, start, length);
    uint64_t i, n = 0;

    for (i = 0; i < length / BALLOON_PAGE; i++) {
        n += populated[i];
    }
    return n;
}

void bg_read(BGuest *g, uint64_t addr, void *buf, size_t size)
{
    g_assert_cmpint(pread(g->mem_fd, buf, size, g->hva + addr), ==, size);
}

uint8_t bg_byte(BGuest *g, uint64_t addr)
{
    uint8_t value;

    bg_read(g, addr, &value, 1);
    return value;
}

bool bg_is_zero(BGuest *g, uint64_t addr)
{
    static const uint8_t zero[BALLOON_PAGE];
    uint8_t page[BALLOON_PAGE];

    bg_read(g, addr, page, sizeof(page));
    return !memcmp(page, zero, sizeof(page));
}

void bg_assert_same_memory(BGuest *a, BGuest *b)
{
    uint64_t size = a->options.ram_size;
    g_autofree bool *populated_a = bg_populated(a, 0, size);
    g_autofree bool *populated_b = bg_populated(b, 0, size);
    uint64_t addr;

    for (addr = 0; addr < size; addr += BALLOON_PAGE) {
        uint8_t page_a[BALLOON_PAGE], page_b[BALLOON_PAGE];

        if (!populated_a[addr / BALLOON_PAGE] &&
            !populated_b[addr / BALLOON_PAGE]) {
            continue;
        }
        bg_read(a, addr, page_a, sizeof(page_a));
        bg_read(b, addr, page_b, sizeof(page_b));
        if (memcmp(page_a, page_b, sizeof(page_a))) {
            bg_fail(addr, "%02x... on the source, %02x... on the destination",
                    page_a[0], page_b[0]);
        }
    }
}

QDict *bg_map_info(BGuest *g, const char *id, int max_runs, bool audit)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'id': %s, 'max-runs': %d,"
                           " 'audit': %i } }", id, max_runs, audit);
    QDict *info;

    g_assert(qdict_haskey(rsp, "return"));
    info = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    qobject_ref(info);
    qobject_unref(rsp);
    return info;
}

static GArray *map_runs(BGuest *g, const char *id)
{
    GArray *runs = g_array_new(false, false, sizeof(BGRun));
    QDict *info = bg_map_info(g, id, BG_MAX_RUNS, false);
    QListEntry *entry;

    g_assert_false(qdict_haskey(info, "next-offset"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "runs"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));
        BGRun run = {
            .start = qdict_get_int(value, "offset"),
            .length = qdict_get_int(value, "length"),
        };

        g_array_append_val(runs, run);
    }
    qobject_unref(info);
    return runs;
}

GArray *bg_map_runs(BGuest *g)
{
    return map_runs(g, g->ram_id);
}

uint64_t bg_in_map(BGuest *g, uint64_t start, uint64_t length)
{
    g_autoptr(GArray) runs = bg_map_runs(g);
    uint64_t bytes = 0;
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);
        uint64_t s = MAX(run->start, start);
        uint64_t e = MIN(run->start + run->length, start + length);

        bytes += s < e ? e - s : 0;
    }
    return bytes;
}

bool *bg_map_bits(BGuest *g, const char *id, uint64_t size)
{
    bool *in_map = g_new0(bool, size / BALLOON_PAGE);
    g_autoptr(GArray) runs = map_runs(g, id);
    unsigned int i;

    for (i = 0; i < runs->len; i++) {
        BGRun *run = &g_array_index(runs, BGRun, i);

        memset(in_map + run->start / BALLOON_PAGE, true,
               run->length / BALLOON_PAGE);
    }
    return in_map;
}

void bg_assert_same_map(BGuest *a, BGuest *b)
{
    g_autoptr(GArray) runs_a = bg_map_runs(a);
    g_autoptr(GArray) runs_b = bg_map_runs(b);

    g_assert_cmpmem(runs_a->data, runs_a->len * sizeof(BGRun),
                    runs_b->data, runs_b->len * sizeof(BGRun));
}

void bg_assert_map_let_go(BGuest *g, BGuest *dest)
{
    uint64_t size = g->options.ram_size;
    g_autofree bool *before = bg_populated(g, 0, size);
    g_autofree bool *populated = bg_populated(dest, 0, size);
    g_autofree bool *in_map = bg_map_bits(dest, dest->ram_id, size);
    uint64_t i;

    for (i = 0; i < size / BALLOON_PAGE; i++) {
        if (in_map[i] && populated[i] && !before[i]) {
            bg_fail(i * BALLOON_PAGE, "in the balloon, and populated");
        }
    }
}

uint64_t bg_map_pages(BGuest *g, uint64_t *runs)
{
    QDict *rsp = qtest_qmp(g->qts, "{ 'execute': 'query-balloon-map',"
                           " 'arguments': { 'max-runs': %d } }",
                           runs ? BG_MAX_RUNS : 0);
    QListEntry *entry;
    uint64_t pages = 0, n = 0;

    g_assert(qdict_haskey(rsp, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        pages += qdict_get_int(info, "pages");
        n += qlist_size(qdict_get_qlist(info, "runs"));
        g_assert(!runs || !qdict_haskey(info, "next-offset"));
    }
    qobject_unref(rsp);
    if (runs) {
        *runs = n;
    }
    return pages;
}

void bg_set_capability(BGuest *g, const char *name, bool on)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': %i } ] } }",
        name, on);
}

char *bg_qmp_error(QDict *answer)
{
    QDict *error = qdict_get_qdict(answer, "error");
    char *desc;

    g_assert_nonnull(error);
    desc = g_strdup(qdict_get_str(error, "desc"));
    qobject_unref(answer);
    return desc;
}

char *bg_try_capability(BGuest *g, const char *name)
{
    QDict *rsp = qtest_qmp(
        g->qts, "{ 'execute': 'migrate-set-capabilities', 'arguments': {"
        " 'capabilities': [ { 'capability': %s, 'state': true } ] } }", name);

    if (qdict_haskey(rsp, "error")) {
        return bg_qmp_error(rsp);
    }
    qobject_unref(rsp);
    return NULL;
}

bool bg_set_background_snapshot(BGuest *g)
{
    g_autofree char *why = bg_try_capability(g, "background-snapshot");

    if (why) {
        g_test_skip(why);
    }
    return !why;
}

QDict *bg_json(const char *json)
{
    return qobject_to(QDict, qobject_from_json(json, &error_abort));
}

void bg_set_parameters(BGuest *g, const char *json)
{
    qtest_qmp_assert_success(
        g->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': %p }",
        bg_json(json));
}

void bg_migrate_uri(BGuest *source, const char *uri)
{
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }",
        uri);
}

void bg_migrate_start(BGuest *source, BGuest *dest)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", dest->socket);

    bg_set_capabilities(source);
    bg_migrate_uri(source, uri);
}

QDict *bg_query_migrate(BGuest *g)
{
    return qtest_qmp_assert_success_ref(g->qts,
                                        "{ 'execute': 'query-migrate' }");
}

int64_t bg_migrate_stat(BGuest *g, const char *member, const char *name)
{
    QDict *info = bg_query_migrate(g);
    QDict *dict = qdict_get_qdict(info, member);
    int64_t value;

    g_assert_nonnull(dict);
    value = qdict_get_int(dict, name);
    qobject_unref(info);
    return value;
}

void bg_migrate_wait(BGuest *source, BGuest *dest)
{
    bg_wait_status(source, "completed", WAIT_SECONDS);
    if (dest) {
        bg_wait_status(dest, "completed", WAIT_SECONDS);
        memcpy(dest->queue, source->queue, sizeof(dest->queue));
    }
}

void bg_migrate_begin(BGuest *source, BGuest *dest, uint64_t bytes)
{
    bg_migrate_limit(source, bytes);
    bg_migrate_start(source, dest);
}

void bg_migrate_end(BGuest *source, BGuest *dest)
{
    bg_migrate_limit(source, 0);
    bg_migrate_wait(source, dest);
}

void bg_migrate(BGuest *source, BGuest *dest)
{
    bg_migrate_begin(source, dest, 0);
    bg_migrate_wait(source, dest);
}

void bg_migrate_pause(BGuest *source, BGuest *dest)
{
    bg_set_capability(source, "pause-before-switchover", true);
    bg_migrate_begin(source, dest, 0);
    bg_wait_status(source, "pre-switchover", WAIT_SECONDS);
}

void bg_migrate_continue(BGuest *source, BGuest *dest)
{
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate-continue',"
        " 'arguments': { 'state': 'pre-switchover' } }");
    bg_migrate_wait(source, dest);
}

void bg_postcopy_begin(BGuest *source, BGuest *dest)
{
    qtest_qmp_assert_success(source->qts,
                             "{ 'execute': 'migrate-start-postcopy' }");
    bg_wait_status(source, "postcopy-active", WAIT_SECONDS);
    qtest_qmp_eventwait(dest->qts, "RESUME");
    memcpy(dest->queue, source->queue, sizeof(dest->queue));
}

void bg_postcopy_end(BGuest *source, BGuest *dest)
{
    bg_set_parameters(source, "{ 'max-postcopy-bandwidth': 0 }");
    bg_migrate_wait(source, NULL);
    bg_wait_status(dest, "completed", WAIT_SECONDS);
}

void bg_migrate_cancel(BGuest *source, BGuest *dest)
{
    qtest_set_expected_status(dest->qts, EXIT_FAILURE);
    qtest_qmp_assert_success(source->qts, "{ 'execute': 'migrate_cancel' }");
    bg_wait_status(source, "cancelled", WAIT_SECONDS);
    bg_quit(dest);
}

/*
 * Is there, at @bytes, the end of a part of the section of RAM, its footer, and
 * the beginning of the next part, or of the last one, before which the
 * destination is told that the guest has been stopped?  Returns how long that
 * is, or 0.
 */
static gsize is_cut(const uint8_t *bytes, gsize size)
{
    static const uint8_t end[] = { 0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e };
    static const uint8_t stopped[] = { 8, 0, 0xb, 0, 0 };
    gsize id = sizeof(end);
    gsize next = id + 4;
    uint8_t part = 2;

    if (size < next + sizeof(stopped) + 5 || memcmp(bytes, end, sizeof(end))) {
        return 0;
    }
    if (!memcmp(bytes + next, stopped, sizeof(stopped))) {
        next += sizeof(stopped);
        part = 3;
    }
    return bytes[next] == part && !memcmp(bytes + id, bytes + next + 1, 4)
           ? next + 5 : 0;
}

GBytes *bg_record_stream(BGuest *g)
{
    g_autofree char *path = g_strdup_printf("%s/bg-stream-%d",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);
    GByteArray *kept = g_byte_array_new();
    g_autofree char *bytes = NULL;
    gsize size, at, cut, from = 0;

    bg_migrate_uri(g, uri);
    bg_migrate_wait(g, NULL);
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    unlink(path);
    for (at = 0; at < size; at += MAX(cut, 1)) {
        cut = is_cut((uint8_t *)bytes + at, size - at);
        if (cut) {
            g_byte_array_append(kept, (uint8_t *)bytes + from, at - from);
            from = at + cut;
        }
    }
    g_byte_array_append(kept, (uint8_t *)bytes + from, size - from);
    return g_byte_array_free_to_bytes(kept);
}

/* Nothing is told of RAM while the migration is being set up. */
static int64_t ram_stat(BGuest *source, const char *name)
{
    QDict *info = bg_query_migrate(source);
    QDict *ram = qdict_get_qdict(info, "ram");
    int64_t value = ram ? qdict_get_int(ram, name) : 0;

    qobject_unref(info);
    return value;
}

bool bg_has_status(BGuest *g, const char *status)
{
    QDict *info = bg_query_migrate(g);
    bool ret = !strcmp(qdict_get_try_str(info, "status") ?: "none", status);

    qobject_unref(info);
    return ret;
}

bool bg_is_running(BGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(g->qts,
                                              "{ 'execute': 'query-status' }");
    bool running = qdict_get_bool(rsp, "running");

    qobject_unref(rsp);
    return running;
}

void bg_assert_vm_status(BGuest *g, const char *status)
{
    QDict *info = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(info, "status"), ==, status);
    qobject_unref(info);
}

char *bg_left_alone(BGuest *g, const char *id, int64_t *size)
{
    QDict *info = bg_query_migrate(g);
    QDict *skip = qdict_get_qdict(info, "skip-unpopulated");
    char *reason = NULL;
    int64_t told = 0;
    QListEntry *entry;

    g_assert_nonnull(skip);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(skip, "left-alone"), entry) {
        QDict *value = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(value, "id"), id)) {
            g_assert_null(reason);
            reason = g_strdup(qdict_get_str(value, "reason"));
            told = qdict_get_int(value, "size");
        }
    }
    qobject_unref(info);
    if (size) {
        *size = told;
    }
    return reason;
}

void bg_migrate_wait_pass(BGuest *source, int64_t n)
{
    BG_WAIT(ram_stat(source, "dirty-sync-count") >= n);
    g_assert_false(bg_has_status(source, "completed"));
}

void bg_migrate_wait_sent(BGuest *source, int64_t bytes)
{
    BG_WAIT(ram_stat(source, "transferred") >= bytes);
}

void bg_migrate_limit(BGuest *source, uint64_t bytes)
{
    qtest_qmp_assert_success(
        source->qts, "{ 'execute': 'migrate-set-parameters', 'arguments': {"
        " 'max-bandwidth': %" PRIu64 ", 'downtime-limit': %d } }",
        bytes, bytes ? 1 : 2000);
}

QDict *bg_skip_info(BGuest *source)
{
    QDict *info = bg_query_migrate(source);
    QDict *skip = qdict_get_qdict(info, "skip-balloon");

    if (skip) {
        qobject_ref(skip);
    }
    qobject_unref(info);
    return skip;
}

void bg_assert_disabled(BGuest *source, const char *reason)
{
    QDict *skip = bg_skip_info(source);

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(skip, "reason"), ==, reason);
    qobject_unref(skip);
}

int64_t bg_skip_stat(BGuest *source, const char *name)
{
    QDict *skip = bg_skip_info(source);
    int64_t value;

    g_assert_nonnull(skip);
    g_assert_cmpstr(qdict_get_str(skip, "status"), ==, "active");
    value = qdict_get_int(skip, name);
    qobject_unref(skip);
    return value;
}

void bg_wait_status(BGuest *g, const char *status, int seconds)
{
    gint64 end = g_get_monotonic_time() + seconds * (gint64)G_USEC_PER_SEC;
    unsigned int times = 0;
    bool reached = false;

    while (!reached) {
        QDict *info = bg_query_migrate(g);
        const char *now = qdict_get_try_str(info, "status") ?: "none";

        reached = !strcmp(now, status);
        if (!reached && (!strcmp(now, "completed") ||
                         !strcmp(now, "failed") ||
                         !strcmp(now, "cancelled"))) {
            g_error("migration %s: %s", now,
                    qdict_get_try_str(info, "error-desc") ?: "");
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        bg_wait_some(&times);
    }
}

int bg_divert_stderr(const char *path)
{
    int saved = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    g_assert_cmpint(fd, >=, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
    return saved;
}

void bg_restore_stderr(int saved)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
}
