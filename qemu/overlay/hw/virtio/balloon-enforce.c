/*
 * Enforcement: a guest does not use what it gave back
 *
 * The runs of the balloon map are registered with a userfaultfd, so a thread
 * of ours is told of each access to a page of them that is not populated: by a
 * vCPU, whatever the accelerator, by a device that QEMU emulates, or by vhost
 * in the kernel.
 *
 *      whoever accesses it        the thread              the main loop
 *            | fault ------------> notes the access
 *            | (waits)             places a page of zeroes
 *            | <------------------ wakes it                drain:
 *            | goes on                                     in the map? leaves,
 *            |                                             and is reported
 *            | request ----------------------------------> drain first
 *
 * The thread never takes the BQL, which whoever accesses the page may hold.  So
 * it does not know the map; what it notes is held against the map afterwards,
 * but before the map changes: an access is noted before the guest goes on, and
 * drained before any request that the guest makes then.
 *
 * What is registered may therefore be more than what is in the map, which costs
 * time and does no harm.
 *
 * Nothing is registered unless the guest runs, so whatever QEMU does with the
 * memory of a guest that is stopped is not noticed; nor while somebody else
 * needs a userfaultfd for the same memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/interval-tree.h"
#include "qemu/lockable.h"
#include "qemu/madvise.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/qapi-commands-migration.h"
#include "qapi/qapi-events-skip-balloon.h"
#include "qapi/qapi-types-skip-balloon.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/core/qdev-prop-internal.h"
#include "hw/qdev-core.h"
#include "hw/virtio/balloon-enforce.h"
#include "hw/virtio/balloon-map.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio-balloon.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/skip/control.h"
#include "migration/skip/populated.h"
#include "migration/skip/trace.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "system/runstate.h"

#ifdef CONFIG_LINUX
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "qemu/userfaultfd.h"
#endif

/* Least time between two events, in ms */
#define EVENT_MS 250

/* How often to look whether what it rests for is over */
#define REST_POLL_MS 100

/* With a stop under way, a page is placed each ms: see serve_access(). */
#define STOPPING_US 1000

/*
 * Accesses that the main loop has yet to drain: a second of them, or less.
 * Whoever makes more holds the BQL, as a device does that writes to all of the
 * balloon in one go, and nobody could stop it.
 */
#define UNDRAINED_MAX 16384
#define UNDRAINED_STOPPING_MAX 1000

/*
 * What a migration that skips nothing reads anyway is placed so much at a time.
 */
#define READ_AHEAD (2 * MiB)

/*
 * Each run may take two mappings of the process more, of which the kernel
 * allows vm.max_map_count; a third of them is for runs.  Mappings of huge pages
 * never merge again, so there runs of the past count as well.  And to register
 * a run takes 3 us, for which the guest waits when it is started.
 */
#define MAPPINGS_PATH "/proc/sys/vm/max_map_count"
/* As kernels have it; a QEMU that is confined may not be allowed to look. */
#define MAPPINGS_DEFAULT 65530
#define MAPPINGS_PER_RUN 2
#define MAPPINGS_SHARE 3
#define RUNS_MAX 2048

typedef struct EnforceBlock {
    RAMBlock *rb;
    /*
     * Runs that are registered, in balloon pages of whole pages of the host;
     * none touches another one.  To fill a bitmap for 1 TiB takes 70 ms, for
     * which the guest would wait when it is started.
     */
    IntervalTreeRoot armed;
    /* In huge pages: where a mapping begins, or did.  See reserve_cuts() */
    unsigned long *cuts;
    /* See prepare_memory() */
    bool prepared;
    /* The kernel cannot do it for memory of this kind */
    bool refused;
    /* Pages of the map that have been accessed, so far */
    uint64_t accesses;
} EnforceBlock;

/* An access that the thread noted: bytes of a RAM block, which may have gone */
typedef struct Access {
    RAMBlock *rb;
    uint64_t start;
    uint64_t end;
} Access;

struct BalloonEnforce {
    VirtIODevice *vdev;
    BalloonEnforceMode mode;
    VMChangeStateEntry *vm_state;
    NotifierWithReturn migration_notifier;

    /* With the BQL: between start and stop of the guest, and not at rest */
    bool running;
    bool active;
    QEMUTimer *rest_timer;
    /* EnforceBlock by RAMBlock */
    GHashTable *blocks;
    /* Runs that are registered, of all blocks, and how many there may be */
    uint64_t runs;
    uint64_t runs_max;
    /* The same of mappings in huge pages */
    uint64_t cuts;
    uint64_t cuts_max;

    /* Accesses that are to be told, and the first of them */
    uint64_t count;
    char *first_id;
    uint64_t first_offset;
    bool first_has_address;
    hwaddr first_address;
    QEMUTimer *event_timer;

    /* The thread's */
    int fd;
    bool exact;
    QemuThread thread;
    EventNotifier quit;
    void *zeroes;
    size_t zeroes_size;

    QemuMutex lock;
    /* Of Access, and how many were noted in it; with the lock */
    GArray *accesses;
    unsigned int undrained;
    QEMUBH *drain_bh;
    /* Atomic: an access was noted that may stop the guest */
    bool stopping;
    /* Atomic: the thread has unregistered memory by itself */
    bool lapsed;
    /* Atomic: a migration reads all memory, so it may as well be populated */
    bool read_through;
};

const PropertyInfo qdev_prop_balloon_enforce = {
    .type = "BalloonEnforceMode",
    .description = "off/report/pause",
    .enum_table = &BalloonEnforceMode_lookup,
    .get = qdev_propinfo_get_enum,
    .set = qdev_propinfo_set_enum,
    .set_default_value = qdev_propinfo_set_default_value_enum,
};

static uint64_t to_page(uint64_t bytes)
{
    return bytes >> BALLOON_MAP_PAGE_SHIFT;
}

/* Pages of the balloon in a page of the host */
static uint64_t unit_of(const RAMBlock *rb)
{
    return to_page(rb->page_size);
}

/* ---- What the kernel does ---- */

#ifdef CONFIG_LINUX
static int register_range(int fd, RAMBlock *rb, uint64_t start, uint64_t end)
{
    struct uffdio_register reg = {
        .range.start = (uintptr_t)rb->host + (start << BALLOON_MAP_PAGE_SHIFT),
        .range.len = (end - start) << BALLOON_MAP_PAGE_SHIFT,
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* Wakes whoever waits there.  What is not registered may lie in between. */
static int unregister_range(int fd, RAMBlock *rb, uint64_t start, uint64_t end)
{
    struct uffdio_range range = {
        .start = (uintptr_t)rb->host + (start << BALLOON_MAP_PAGE_SHIFT),
        .len = (end - start) << BALLOON_MAP_PAGE_SHIFT,
    };

    return ioctl(fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

/* Returns NULL, or what is missing. */
static const char *open_userfaultfd(BalloonEnforce *e)
{
    uint64_t features;

    if (uffd_query_features(&features)) {
        return errno == EPERM || errno == EACCES
               ? "userfaultfd is not permitted. Give QEMU access to "
                 "/dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd "
                 "to 1"
               : "the kernel has no userfaultfd";
    }
    if (!(features & UFFD_FEATURE_THREAD_ID)) {
        return "the kernel's userfaultfd does not tell threads";
    }
    e->exact = features & UFFD_FEATURE_EXACT_ADDRESS;
    e->fd = uffd_create_fd(UFFD_FEATURE_THREAD_ID |
                           (features & UFFD_FEATURE_EXACT_ADDRESS), true);
    return e->fd < 0 ? "userfaultfd cannot be opened" : NULL;
}

/* ---- The thread ---- */

/*
 * A pass of the migration may have decided to send a page that the guest gives
 * back in this moment; and "calc-dirty-rate" reads pages here and there.
 */
static bool is_of_migration(uint32_t tid)
{
    MigrationThreadInfoList *list = qmp_query_migrationthreads(NULL), *t;
    bool found = false;

    for (t = list; t && !found; t = t->next) {
        found = t->value->thread_id == tid;
    }
    qapi_free_MigrationThreadInfoList(list);
    return found;
}

/* Returns how many are noted that the main loop has yet to drain. */
static unsigned int note_access(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                                uint64_t end)
{
    Access access = { .rb = rb, .start = start, .end = end };

    QEMU_LOCK_GUARD(&e->lock);
    e->undrained++;
    if (e->accesses->len) {
        Access *last = &g_array_index(e->accesses, Access,
                                      e->accesses->len - 1);

        if (last->rb == rb && last->end == start) {
            last->end = end;
            return e->undrained;
        }
    }
    g_array_append_val(e->accesses, access);
    return e->undrained;
}

/* The kernel has no huge page of zeroes that could be placed on hugetlbfs. */
static const void *get_zeroes(BalloonEnforce *e, size_t size)
{
    if (e->zeroes_size < size) {
        if (e->zeroes) {
            munmap(e->zeroes, e->zeroes_size);
        }
        e->zeroes = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
                         -1, 0);
        if (e->zeroes == MAP_FAILED) {
            e->zeroes = NULL;
        }
        e->zeroes_size = e->zeroes ? size : 0;
        if (e->zeroes) {
            /* The kernel might give a page of its own to who reads it. */
            qemu_madvise(e->zeroes, size, QEMU_MADV_NOHUGEPAGE);
        }
    }
    return e->zeroes;
}

static int place_zeroes(BalloonEnforce *e, uint64_t addr, uint64_t size,
                        uint64_t page_size, bool wakes)
{
    int ret;

    if (page_size == qemu_real_host_page_size()) {
        struct uffdio_zeropage zero = {
            .range = { .start = addr, .len = size },
            .mode = wakes ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE,
        };

        ret = ioctl(e->fd, UFFDIO_ZEROPAGE, &zero);
    } else {
        struct uffdio_copy copy = {
            .dst = addr,
            .src = (uintptr_t)get_zeroes(e, size),
            .len = size,
        };

        if (!copy.src) {
            return -ENOMEM;
        }
        ret = ioctl(e->fd, UFFDIO_COPY, &copy);
    }
    return ret ? -errno : 0;
}

static void wake(BalloonEnforce *e, uint64_t addr, uint64_t size)
{
    struct uffdio_range range = { .start = addr, .len = size };

    ioctl(e->fd, UFFDIO_WAKE, &range);
}

/*
 * Let whoever reads @start go on, and place what is read next.  Who waits for
 * another page of that goes on when its access has been noted.  It fails where
 * it goes beyond what is registered in one piece; then one page is placed.
 */
static bool place_ahead(BalloonEnforce *e, const RAMBlock *rb, uint64_t start)
{
    uint64_t end = MIN(QEMU_ALIGN_DOWN(start, READ_AHEAD) + READ_AHEAD,
                       rb->used_length);
    uint64_t addr = (uintptr_t)rb->host + start;

    if (rb->page_size != qemu_real_host_page_size() || start >= end ||
        place_zeroes(e, addr, end - start, rb->page_size, false)) {
        return false;
    }
    wake(e, addr, rb->page_size);
    return true;
}

/*
 * Let whoever waits for the page of the host at @addr go on.  Returns false if
 * it is not registered any more, for want of memory.
 */
static bool let_go_on(BalloonEnforce *e, uint64_t addr, uint64_t size)
{
    struct uffdio_range range = { .start = addr, .len = size };
    size_t page = qemu_real_host_page_size();
    int ret;

    do {
        ret = place_zeroes(e, addr, size, size, true);
    } while (ret == -EAGAIN);
    if (ret && ret != -ENOENT &&
        (ret != -EEXIST || (size != page && !populated_is_resident(
                                (void *)(uintptr_t)addr, page))) &&
        !ioctl(e->fd, UFFDIO_UNREGISTER, &range)) {
        /*
         * No memory: what comes of that the kernel decides, as without us.  Of
         * huge pages it says EEXIST then as well.
         */
        return false;
    }
    if (ret) {
        /*
         * It is not registered any more, or was populated meanwhile; or who
         * waits has to try again.
         */
        wake(e, addr, size);
    }
    return true;
}

/*
 * Private memory that was never touched gets what the kernel tracks its pages
 * with (anon_vma) when it is, and each mapping of it another one; such mappings
 * never merge again.  So all of the block gets one while it is one mapping.
 *
 * That is so as soon as a page of zeroes is placed, even if something is there,
 * which stays.  The guest may run, and write to that page, so it is not
 * discarded again.  Of anonymous memory it is none that is in the map, if there
 * is one; elsewhere what is not in the map is in the file.
 */
static bool prepare_memory(BalloonEnforce *e, RAMBlock *rb, uint64_t given)
{
    uint64_t size = rb->page_size, pages = to_page(rb->used_length);
    uint64_t page = rb->fd >= 0 ? given :
        find_next_zero_bit(balloon_map_of_block(rb), pages, 0) % pages;

    if (qemu_ram_is_shared(rb) || size != qemu_real_host_page_size()) {
        return true;
    }
    if (register_range(e->fd, rb, 0, pages)) {
        return false;
    }
    place_zeroes(e, (uintptr_t)rb->host +
                 ROUND_DOWN(page << BALLOON_MAP_PAGE_SHIFT, size),
                 size, size, true);
    unregister_range(e->fd, rb, 0, pages);
    return true;
}

/* Something is not registered any more, which the main loop has to mend. */
static void lapse(BalloonEnforce *e)
{
    qatomic_set(&e->lapsed, true);
    qemu_bh_schedule(e->drain_bh);
}

/*
 * Until the main loop mends it nothing of @rb is noticed.  Whoever waits there
 * goes on, unless it returns false.
 */
static bool let_go_of_block(BalloonEnforce *e, RAMBlock *rb)
{
    lapse(e);
    return !unregister_range(e->fd, rb, 0, to_page(ROUND_UP(rb->used_length,
                                                            rb->page_size)));
}

/* Returns true if whoever made the access goes on already. */
static bool serve_access(BalloonEnforce *e, RAMBlock *rb, ram_addr_t offset)
{
    bool pause = e->mode == BALLOON_ENFORCE_MODE_PAUSE;
    bool stopping = pause && qatomic_xchg(&e->stopping, true);
    uint64_t size = e->exact ? BALLOON_MAP_PAGE_SIZE : rb->page_size;
    uint64_t start = ROUND_DOWN(offset, size);
    unsigned int undrained = note_access(e, rb, start, start + size);

    qemu_bh_schedule(e->drain_bh);
    if (stopping) {
        /*
         * Whoever waits may be needed for the guest to be stopped, since it
         * holds the BQL; but a guest that goes through its balloon with all
         * vCPUs does not get far meanwhile.
         */
        g_usleep(STOPPING_US);
    }
    return undrained >= (pause ? UNDRAINED_STOPPING_MAX : UNDRAINED_MAX) &&
           let_go_of_block(e, rb);
}

static void serve(BalloonEnforce *e, const struct uffd_msg *msg)
{
    uint64_t addr = msg->arg.pagefault.address, start;
    ram_addr_t offset;
    bool goes_on;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = qemu_ram_block_from_host((void *)(uintptr_t)addr, false, &offset);
    if (!rb) {
        /* It has been unplugged. */
        wake(e, ROUND_DOWN(addr, qemu_real_host_page_size()),
             qemu_real_host_page_size());
        return;
    }
    start = ROUND_DOWN(offset, rb->page_size);
    if (ram_block_discard_is_disabled()) {
        /*
         * A device is there now that pins all memory.  That is no access, and
         * it would take long page by page.
         */
        goes_on = let_go_of_block(e, rb);
    } else if (!is_of_migration(msg->arg.pagefault.feat.ptid)) {
        goes_on = serve_access(e, rb, offset);
    } else {
        goes_on = qatomic_read(&e->read_through) && place_ahead(e, rb, start);
    }
    if (!goes_on &&
        !let_go_on(e, (uintptr_t)rb->host + start, rb->page_size)) {
        lapse(e);
    }
}

static void *enforce_thread(void *opaque)
{
    BalloonEnforce *e = opaque;
    struct pollfd fds[] = {
        { .fd = e->fd, .events = POLLIN },
        { .fd = event_notifier_get_fd(&e->quit), .events = POLLIN },
    };
    struct uffd_msg msgs[16];
    int i, n;

    rcu_register_thread();
    while (poll(fds, ARRAY_SIZE(fds), -1) < 0 || !fds[1].revents) {
        n = uffd_read_events(e->fd, msgs, ARRAY_SIZE(msgs));
        for (i = 0; i < n; i++) {
            if (msgs[i].event == UFFD_EVENT_PAGEFAULT) {
                serve(e, &msgs[i]);
            }
        }
    }
    rcu_unregister_thread();
    return NULL;
}

static void start_thread(BalloonEnforce *e)
{
    event_notifier_init(&e->quit, false);
    qemu_thread_create(&e->thread, "balloon-enforce", enforce_thread, e,
                       QEMU_THREAD_JOINABLE);
}

static void stop_thread(BalloonEnforce *e)
{
    event_notifier_set(&e->quit);
    qemu_thread_join(&e->thread);
    event_notifier_cleanup(&e->quit);
    uffd_close_fd(e->fd);
    if (e->zeroes) {
        munmap(e->zeroes, e->zeroes_size);
    }
}
#else
static int register_range(int fd, RAMBlock *rb, uint64_t start, uint64_t end)
{
    return -ENOSYS;
}

static int unregister_range(int fd, RAMBlock *rb, uint64_t start, uint64_t end)
{
    return -ENOSYS;
}

static bool prepare_memory(BalloonEnforce *e, RAMBlock *rb, uint64_t given)
{
    return true;
}

static const char *open_userfaultfd(BalloonEnforce *e)
{
    return "this host has no userfaultfd";
}

static void start_thread(BalloonEnforce *e)
{
}

static void stop_thread(BalloonEnforce *e)
{
}
#endif

/* ---- What is registered ---- */

static IntervalTreeNode *first_armed(EnforceBlock *block, uint64_t start,
                                     uint64_t end)
{
    return interval_tree_iter_first(&block->armed, start, end - 1);
}

/* The first run that would be one with [@start, @end) */
static IntervalTreeNode *first_touching(EnforceBlock *block, uint64_t start,
                                        uint64_t end)
{
    return interval_tree_iter_first(&block->armed, start ? start - 1 : 0, end);
}

static bool is_armed(EnforceBlock *block, uint64_t start, uint64_t end)
{
    IntervalTreeNode *run = first_armed(block, start, start + 1);

    return run && run->last >= end - 1;
}

static void insert_run(BalloonEnforce *e, EnforceBlock *block, uint64_t start,
                       uint64_t end)
{
    IntervalTreeNode *run;

    if (start < end) {
        run = g_new0(IntervalTreeNode, 1);
        run->start = start;
        run->last = end - 1;
        interval_tree_insert(run, &block->armed);
        e->runs++;
    }
}

static void remove_run(BalloonEnforce *e, EnforceBlock *block,
                       IntervalTreeNode *run)
{
    interval_tree_remove(run, &block->armed);
    g_free(run);
    e->runs--;
}

static void set_armed(BalloonEnforce *e, EnforceBlock *block, uint64_t start,
                      uint64_t end)
{
    IntervalTreeNode *run;

    while ((run = first_touching(block, start, end))) {
        start = MIN(start, run->start);
        end = MAX(end, run->last + 1);
        remove_run(e, block, run);
    }
    insert_run(e, block, start, end);
}

static void clear_armed(BalloonEnforce *e, EnforceBlock *block, uint64_t start,
                        uint64_t end)
{
    IntervalTreeNode *run;

    while ((run = first_armed(block, start, end))) {
        PageRun before = { run->start, start }, behind = { end, run->last + 1 };

        remove_run(e, block, run);
        insert_run(e, block, before.start, before.end);
        insert_run(e, block, behind.start, behind.end);
    }
}

static uint64_t huge_pages(const RAMBlock *rb)
{
    return rb->max_length / rb->page_size;
}

static EnforceBlock *get_block(BalloonEnforce *e, RAMBlock *rb)
{
    return g_hash_table_lookup(e->blocks, rb);
}

static EnforceBlock *get_or_add_block(BalloonEnforce *e, RAMBlock *rb)
{
    EnforceBlock *block = get_block(e, rb);

    if (!block) {
        block = g_new0(EnforceBlock, 1);
        block->rb = rb;
        if (rb->page_size != qemu_real_host_page_size()) {
            block->cuts = bitmap_new(huge_pages(rb) + 1);
            set_bit(0, block->cuts);
            set_bit(huge_pages(rb), block->cuts);
        }
        g_hash_table_insert(e->blocks, rb, block);
    }
    return block;
}

static void free_block(void *opaque)
{
    EnforceBlock *block = opaque;

    g_free(block->cuts);
    g_free(block);
}

/* Why nothing is enforced now, of any RAM block.  Returns false if it is. */
static bool at_rest(BalloonEnforce *e, BalloonNotEnforcedReason *reason)
{
    if (e->fd < 0) {
        *reason = BALLOON_NOT_ENFORCED_REASON_USERFAULTFD;
    } else if (!e->running) {
        *reason = BALLOON_NOT_ENFORCED_REASON_STOPPED;
    } else if (ram_block_discard_is_disabled()) {
        *reason = BALLOON_NOT_ENFORCED_REASON_DISCARD_INHIBITED;
    } else if (migration_in_incoming_postcopy()) {
        *reason = BALLOON_NOT_ENFORCED_REASON_INCOMING_POSTCOPY;
    } else if (migration_in_bg_snapshot()) {
        *reason = BALLOON_NOT_ENFORCED_REASON_BACKGROUND_SNAPSHOT;
    } else {
        return false;
    }
    return true;
}

/*
 * May [@start, @end) become a mapping of its own?  Those in huge pages never
 * merge again, so what counts is where they ever began and ended.
 */
static bool reserve_cuts(BalloonEnforce *e, EnforceBlock *block,
                         uint64_t start, uint64_t end)
{
    uint64_t unit = unit_of(block->rb), n;

    if (!block->cuts) {
        return true;
    }
    n = !test_bit(start / unit, block->cuts) + !test_bit(end / unit,
                                                         block->cuts);
    if (n && e->cuts + n > e->cuts_max) {
        return false;
    }
    set_bit(start / unit, block->cuts);
    set_bit(end / unit, block->cuts);
    e->cuts += n;
    return true;
}

/* Those of a RAM block, but for where it begins and ends itself */
static uint64_t count_cuts(const EnforceBlock *block)
{
    return block->cuts
           ? bitmap_count_one(block->cuts, huge_pages(block->rb) + 1) - 2 : 0;
}

static void unregister(BalloonEnforce *e, EnforceBlock *block, uint64_t start,
                       uint64_t end)
{
    /* If there are too many mappings, it is registered still. */
    if (unregister_range(e->fd, block->rb, start, end) != -ENOMEM) {
        clear_armed(e, block, start, end);
    }
}

void balloon_enforce_add(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                         uint64_t end)
{
    EnforceBlock *block;
    int ret;

    if (!e || !e->active || !balloon_map_takes_parts(balloon_map_get())) {
        return;
    }
    block = get_or_add_block(e, rb);
    if (is_armed(block, start, end) ||
        (e->runs >= e->runs_max && !first_touching(block, start, end)) ||
        !reserve_cuts(e, block, start, end)) {
        return;
    }
    if (!block->prepared) {
        block->prepared = prepare_memory(e, rb, start);
    }
    ret = register_range(e->fd, rb, start, end);
    set_armed(e, block, start, end);
    if (!ret) {
        return;
    }
    /* It may have been registered in part. */
    unregister(e, block, start, end);
    if (ret == -EBUSY) {
        /* Somebody else is about to use one, or has not quite ended. */
        balloon_enforce_rest(e);
    } else if (ret == -ENOMEM) {
        /* There are more mappings than was thought, until the next start. */
        e->runs_max = e->runs;
    } else {
        block->refused = true;
    }
}

static void remove_range(BalloonEnforce *e, EnforceBlock *block, uint64_t start,
                         uint64_t end)
{
    IntervalTreeNode *first = first_armed(block, start, end), *last = first;
    IntervalTreeNode *run = first;

    while (run) {
        last = run;
        run = interval_tree_iter_next(run, start, end - 1);
    }
    if (!first || (first->start < start && first->last >= end &&
                   e->runs >= e->runs_max)) {
        /* To leave it registered costs time, and a run more costs mappings. */
        return;
    }
    start = MAX(start, first->start);
    end = MIN(end, last->last + 1);
    if (reserve_cuts(e, block, start, end)) {
        unregister(e, block, start, end);
    }
}

void balloon_enforce_remove(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                            uint64_t end)
{
    EnforceBlock *block = e ? get_block(e, rb) : NULL;

    if (block && start < end) {
        remove_range(e, block, ROUND_DOWN(start, unit_of(rb)),
                     ROUND_UP(end, unit_of(rb)));
    }
}

void balloon_enforce_forget(BalloonEnforce *e, RAMBlock *rb)
{
    EnforceBlock *block = e ? get_block(e, rb) : NULL;

    if (block) {
        remove_range(e, block, 0, UINT64_MAX);
        clear_armed(e, block, 0, UINT64_MAX);
        e->cuts -= count_cuts(block);
        g_hash_table_remove(e->blocks, rb);
    }
}

/* ---- When it is ---- */

static void arm_block(BalloonEnforce *e, RAMBlock *rb)
{
    const unsigned long *given = balloon_map_of_block(rb);
    uint64_t size = to_page(rb->used_length);
    uint64_t end = 0;
    PageRun run;

    while (e->active && e->runs < e->runs_max &&
           page_run_next(given, end, size, &run)) {
        end = run.end;
        if (page_run_shrink(&run, unit_of(rb))) {
            balloon_enforce_add(e, rb, run.start, run.end);
        }
    }
}

static void set_limits(BalloonEnforce *e)
{
    g_autofree char *text = NULL;
    uint64_t mappings = MAPPINGS_DEFAULT;

    if (g_file_get_contents(MAPPINGS_PATH, &text, NULL, NULL)) {
        mappings = g_ascii_strtoull(text, NULL, 10);
    }
    e->cuts_max = mappings / MAPPINGS_SHARE;
    e->runs_max = MIN(RUNS_MAX, e->cuts_max / MAPPINGS_PER_RUN);
}

/* Register the whole map, if it is time for that. */
static void arm(BalloonEnforce *e)
{
    BalloonNotEnforcedReason reason;
    int64_t begin = get_clock();
    RAMBlock *rb;

    if (e->active || !e->running) {
        return;
    }
    if (at_rest(e, &reason)) {
        timer_mod(e->rest_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + REST_POLL_MS);
        return;
    }
    e->active = true;
    set_limits(e);
    trace_skip_bql_begin("arm");
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (balloon_map_pages(rb)) {
            arm_block(e, rb);
        }
    }
    trace_skip_bql_end("arm", (get_clock() - begin) / SCALE_US);
}

static void arm_after_rest(void *opaque)
{
    arm(opaque);
}

static void disarm(BalloonEnforce *e)
{
    EnforceBlock *block;
    GHashTableIter iter;

    e->active = false;
    timer_del(e->rest_timer);
    g_hash_table_iter_init(&iter, e->blocks);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&block)) {
        remove_range(e, block, 0, UINT64_MAX);
    }
    qatomic_set(&e->stopping, false);
}

/*
 * Nobody tells when what it rests for is over, nor does a background snapshot
 * when it unregisters the memory, so this looks at times.
 */
void balloon_enforce_rest(BalloonEnforce *e)
{
    if (e && e->active) {
        disarm(e);
        timer_mod(e->rest_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + REST_POLL_MS);
    }
}

static void tell_rest(void *opaque);

static void on_vm_state(void *opaque, bool running, RunState state)
{
    BalloonEnforce *e = opaque;

    e->running = running;
    if (running) {
        arm(e);
    } else {
        disarm(e);
        balloon_enforce_drain(e);
        /* The guest may be about to run elsewhere, and this process to end. */
        tell_rest(e);
    }
}

/* A background snapshot populates memory, and registers it, next. */
static int on_migration(NotifierWithReturn *n, MigrationEvent *event,
                        Error **errp)
{
    BalloonEnforce *e = container_of(n, BalloonEnforce, migration_notifier);
    bool begins = event->type == MIG_EVENT_PRECOPY_SETUP;

    qatomic_set(&e->read_through, begins && !migrate_skip_balloon() &&
                                  !migrate_skip_unpopulated());
    if (begins && migrate_background_snapshot()) {
        balloon_enforce_rest(e);
    }
    return 0;
}

/* ---- What is told ---- */

typedef struct FindAddress {
    const RAMBlock *rb;
    uint64_t offset;
    hwaddr address;
} FindAddress;

static bool is_address(Int128 start, Int128 len, const MemoryRegion *mr,
                       hwaddr offset, void *opaque)
{
    FindAddress *find = opaque;

    if (mr->ram_block != find->rb || find->offset < offset ||
        find->offset - offset >= int128_getlo(len)) {
        return false;
    }
    find->address = int128_getlo(start) + find->offset - offset;
    return true;
}

static void find_address(FindAddress *find, bool *found)
{
    FlatView *view;

    find->address = HWADDR_MAX;
    RCU_READ_LOCK_GUARD();
    view = address_space_to_flatview(&address_space_memory);
    flatview_for_each_range(view, is_address, find);
    *found = find->address != HWADDR_MAX;
}

static void tell(BalloonEnforce *e)
{
    DeviceState *dev = DEVICE(e->vdev);
    g_autofree char *path = NULL;

    /* What the user plugged is the proxy, virtio-balloon-pci or the like. */
    if (dev->parent_bus && dev->parent_bus->parent) {
        dev = dev->parent_bus->parent;
    }
    path = object_get_canonical_path(OBJECT(dev));
    qapi_event_send_balloon_page_access(dev->id, path, e->first_id,
                                        e->first_offset, e->first_has_address,
                                        e->first_address, e->count);
    e->count = 0;
    g_clear_pointer(&e->first_id, g_free);
    timer_mod(e->event_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + EVENT_MS);
}

static void tell_rest(void *opaque)
{
    BalloonEnforce *e = opaque;

    if (e->count) {
        tell(e);
    }
}

/* Pages of the map have been accessed, and left it. */
static void note_pages(BalloonEnforce *e, EnforceBlock *block, uint64_t offset,
                       uint64_t pages)
{
    block->accesses += pages;
    if (!e->count) {
        FindAddress find = { .rb = block->rb, .offset = offset };

        e->first_id = g_strdup(block->rb->idstr);
        e->first_offset = offset;
        find_address(&find, &e->first_has_address);
        e->first_address = find.address;
    }
    e->count += pages;
}

void balloon_enforce_drain(BalloonEnforce *e)
{
    g_autoptr(GArray) accesses = NULL;
    unsigned int i;
    bool any = false;

    if (!e) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&e->lock) {
        if (e->accesses->len) {
            accesses = e->accesses;
            e->accesses = g_array_new(false, false, sizeof(Access));
            e->undrained = 0;
        }
    }
    for (i = 0; accesses && i < accesses->len; i++) {
        Access *access = &g_array_index(accesses, Access, i);
        EnforceBlock *block = get_block(e, access->rb);
        uint64_t first;
        uint64_t pages = !block ? 0
            : balloon_map_take_out(access->rb, to_page(access->start),
                                   to_page(access->end), &first);

        if (pages && unit_of(access->rb) > 1) {
            /* The rest of the huge page is populated now, too. */
            balloon_enforce_remove(e, access->rb, to_page(access->start),
                                   to_page(access->end));
        }
        if (pages) {
            note_pages(e, block, first << BALLOON_MAP_PAGE_SHIFT, pages);
            any = true;
        }
    }
    if (any && e->mode == BALLOON_ENFORCE_MODE_PAUSE) {
        tell(e);
        if (runstate_is_running()) {
            qemu_system_vmstop_request_prepare();
            qemu_system_vmstop_request(RUN_STATE_PAUSED);
        }
    } else if (any && !timer_pending(e->event_timer)) {
        tell(e);
    } else if (accesses && !any && !e->count) {
        /* They were no accesses to what is in the map, and do not stop it. */
        qatomic_set(&e->stopping, false);
    }
    if (qatomic_xchg(&e->lapsed, false) && e->active) {
        disarm(e);
        arm(e);
    }
}

static void drain_bh(void *opaque)
{
    balloon_enforce_drain(opaque);
}

static int is_vhost_user(Object *obj, void *opaque)
{
    VirtIODevice *vdev = (VirtIODevice *)
        object_dynamic_cast(obj, TYPE_VIRTIO_DEVICE);
    VirtioDeviceClass *vdc = vdev ? VIRTIO_DEVICE_GET_CLASS(vdev) : NULL;
    struct vhost_dev *vhost;

    if (!vdev || !vdev->vhost_started) {
        return false;
    }
    /* Those that do not say it are vhost-user, too. */
    vhost = vdc->get_vhost ? vdc->get_vhost(vdev) : NULL;
    return !vhost ||
           vhost->vhost_ops->backend_type == VHOST_BACKEND_TYPE_USER;
}

/* Does another process have it mapped? */
static bool is_shared(RAMBlock *rb)
{
    return rb->fd >= 0 && qemu_ram_is_shared(rb) &&
           object_child_foreach_recursive(object_get_root(), is_vhost_user,
                                          NULL);
}

static void add_not_enforced(BalloonMapInfo *info,
                             BalloonNotEnforcedReason reason, uint64_t pages)
{
    BalloonNotEnforced *value;

    if (pages) {
        value = g_new0(BalloonNotEnforced, 1);
        value->reason = reason;
        value->bytes = pages << BALLOON_MAP_PAGE_SHIFT;
        QAPI_LIST_PREPEND(info->not_enforced, value);
        info->has_not_enforced = true;
    }
}

/* Pages of [@start, @end) in the map, but for parts of pages of the host */
static uint64_t count_whole(RAMBlock *rb, const unsigned long *given,
                            uint64_t start, uint64_t end)
{
    uint64_t unit = unit_of(rb), pages = 0, n;

    if (unit == 1) {
        return page_run_count(given, start, end);
    }
    for (; start < end; start += unit) {
        n = page_run_count(given, start, start + unit);
        pages += n == unit ? n : 0;
    }
    return pages;
}

/*
 * Of those that are registered, more of a huge page may be than what is in the
 * map, see remove_range(): it does not count once a part of it has left that.
 */
void balloon_enforce_count(BalloonEnforce *e, RAMBlock *rb, uint64_t start,
                           uint64_t end, BalloonEnforceCounts *counts)
{
    const unsigned long *given = balloon_map_of_block(rb);
    EnforceBlock *block = get_block(e, rb);
    IntervalTreeNode *run = block ? first_armed(block, start, end) : NULL;

    if (given && unit_of(rb) > 1) {
        counts->whole += count_whole(rb, given, start, end);
    }
    for (; given && run; run = interval_tree_iter_next(run, start, end - 1)) {
        counts->enforced += count_whole(rb, given, MAX(run->start, start),
                                        MIN(run->last + 1, end));
    }
}

void balloon_enforce_fill_info(BalloonEnforce *e, RAMBlock *rb,
                               const BalloonEnforceCounts *counts,
                               BalloonMapInfo *info)
{
    const unsigned long *given = balloon_map_of_block(rb);
    uint64_t pages = balloon_map_pages(rb), enforced = 0, parts;
    EnforceBlock *block = get_block(e, rb);
    /* This if what it rested for is over, and it resumes in a moment */
    BalloonNotEnforcedReason reason = BALLOON_NOT_ENFORCED_REASON_STOPPED;

    info->has_enforced = true;
    info->has_accesses = true;
    info->accesses = block ? block->accesses : 0;
    if (!given) {
        return;
    }
    if (!balloon_map_takes_parts(balloon_map_get())) {
        add_not_enforced(info, BALLOON_NOT_ENFORCED_REASON_MUST_TELL_HOST,
                         pages);
    } else if (at_rest(e, &reason) || !e->active) {
        add_not_enforced(info, reason, pages);
    } else {
        /* While they were counted the map may have changed. */
        enforced = MIN(counts->enforced, pages);
        parts = unit_of(rb) == 1 ? 0 : pages - MIN(counts->whole, pages);
        info->enforced = enforced << BALLOON_MAP_PAGE_SHIFT;
        add_not_enforced(info, BALLOON_NOT_ENFORCED_REASON_PART_OF_PAGE, parts);
        add_not_enforced(info, block && block->refused
                         ? BALLOON_NOT_ENFORCED_REASON_MEMORY
                         : BALLOON_NOT_ENFORCED_REASON_TOO_MANY_RUNS,
                         pages - MIN(pages, parts + enforced));
        if (enforced && is_shared(rb)) {
            add_not_enforced(info, BALLOON_NOT_ENFORCED_REASON_SHARED,
                             enforced);
        }
    }
}

/* ---- Begin and end ---- */

BalloonEnforce *balloon_enforce_new(VirtIODevice *vdev, BalloonEnforceMode mode)
{
    const char *missing;
    BalloonEnforce *e;

    if (mode == BALLOON_ENFORCE_MODE_OFF) {
        return NULL;
    }
    e = g_new0(BalloonEnforce, 1);
    e->vdev = vdev;
    e->mode = mode;
    e->fd = -1;
    e->running = runstate_is_running();
    e->blocks = g_hash_table_new_full(NULL, NULL, NULL, free_block);
    e->accesses = g_array_new(false, false, sizeof(Access));
    qemu_mutex_init(&e->lock);
    e->drain_bh = qemu_bh_new_guarded(drain_bh, e,
                                      &DEVICE(vdev)->mem_reentrancy_guard);
    e->rest_timer = timer_new_ms(QEMU_CLOCK_REALTIME, arm_after_rest, e);
    e->event_timer = timer_new_ms(QEMU_CLOCK_REALTIME, tell_rest, e);
    if (!virtio_has_feature(VIRTIO_BALLOON(vdev)->host_features,
                            VIRTIO_BALLOON_F_MUST_TELL_HOST)) {
        warn_report("virtio-balloon: what the guest gives back is not "
                    "enforced: property 'must-tell-host' is off");
    }
    missing = open_userfaultfd(e);
    if (missing) {
        warn_report("virtio-balloon: what the guest gives back is not "
                    "enforced: %s", missing);
        return e;
    }
    start_thread(e);
    /* Before any device goes on, and after all of them have been stopped */
    e->vm_state = qemu_add_vm_change_state_handler_prio(on_vm_state, e, -1);
    migration_add_notifier(&e->migration_notifier, on_migration);
    arm(e);
    return e;
}

void balloon_enforce_free(BalloonEnforce *e)
{
    if (!e) {
        return;
    }
    if (e->fd >= 0) {
        migration_remove_notifier(&e->migration_notifier);
        qemu_del_vm_change_state_handler(e->vm_state);
        stop_thread(e);
    }
    if (e->count) {
        tell(e);
    }
    timer_free(e->rest_timer);
    timer_free(e->event_timer);
    qemu_bh_delete(e->drain_bh);
    g_hash_table_destroy(e->blocks);
    g_array_unref(e->accesses);
    qemu_mutex_destroy(&e->lock);
    g_free(e);
}
