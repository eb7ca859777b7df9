/*
 * The back end of a vhost-user network device, in this process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/atomic.h"
#include "vhost-backend.h"

/* Those of receiving and of sending */
#define RINGS 2

#define REGIONS_MAX 8
#define MAPPING_ALIGN (UINT64_C(2) << 20)
#define WAIT_SECONDS 60

/* Of features, and of features of the protocol */
#define F_LOG_ALL (UINT64_C(1) << 26)
#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define PROTOCOL_F_LOG_SHMFD (UINT64_C(1) << 1)
#define PROTOCOL_F_RARP (UINT64_C(1) << 2)
#define PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)

#define FEATURES (F_LOG_ALL | F_PROTOCOL_FEATURES)
#define PROTOCOL_FEATURES (PROTOCOL_F_LOG_SHMFD | PROTOCOL_F_RARP | \
                           PROTOCOL_F_REPLY_ACK)

/* Of the flags of a message */
#define VERSION 1
#define REPLY (1 << 2)
#define NEED_REPLY (1 << 3)

/* The requests that it does something for; the others it takes as they are */
enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_MEM_TABLE = 5,
    SET_LOG_BASE = 6,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    GET_PROTOCOL_FEATURES = 15,
};

typedef struct Region {
    uint64_t addr;              /* guest physical address */
    uint64_t size;
    uint64_t user_addr;
    uint64_t mmap_offset;
} Region;

typedef struct RingState {
    uint32_t ring;
    uint32_t num;
} RingState;

typedef struct QEMU_PACKED Message {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
    union {
        uint64_t number;
        RingState state;
        struct {
            uint32_t n;
            uint32_t padding;
            Region region[REGIONS_MAX];
        } memory;
        struct {
            uint64_t size;
            uint64_t offset;
        } log;
    };
} Message;

#define HEADER_SIZE offsetof(Message, number)

/* Memory that QEMU shares */
typedef struct Mapping {
    uint64_t addr;              /* guest physical address */
    uint64_t size;
    uint8_t *data;
    void *base;                 /* of mmap() */
    size_t length;              /* the same */
} Mapping;

struct VhostBackend {
    VBStopFunc *at_stop;
    void *opaque;
    char *path;
    int listener;
    int fd;
    GThread *thread;
    GMutex lock;                /* protects all that follows */
    GCond changed;
    unsigned int started;       /* a bit for each ring */
    bool logs;
    Mapping memory[REGIONS_MAX];
    Mapping log;
};

/* ---- Messages ---- */

/* Returns false if QEMU has gone. */
static bool receive(VhostBackend *b, Message *m, int *fds, unsigned int *n_fds)
{
    char control[CMSG_SPACE(REGIONS_MAX * sizeof(int))];
    struct iovec iov = { .iov_base = m, .iov_len = HEADER_SIZE };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *c;

    *n_fds = 0;
    if (recvmsg(b->fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != HEADER_SIZE) {
        return false;
    }
    for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
        }
    }
    g_assert_cmpuint(m->size, <=, sizeof(*m) - HEADER_SIZE);
    return !m->size || recv(b->fd, &m->number, m->size,
                            MSG_WAITALL) == m->size;
}

static void reply(VhostBackend *b, Message *m, uint32_t size)
{
    m->flags = VERSION | REPLY;
    m->size = size;
    g_assert_cmpint(send(b->fd, m, HEADER_SIZE + size, MSG_NOSIGNAL), ==,
                    HEADER_SIZE + size);
}

/* ---- Memory ---- */

static void unmap(Mapping *map)
{
    if (map->base) {
        munmap(map->base, map->length);
    }
    *map = (Mapping) { };
}

static void map(Mapping *map, int fd, uint64_t addr, uint64_t size,
                uint64_t offset)
{
    unmap(map);
    /* As hugetlbfs has it, for munmap() */
    map->length = QEMU_ALIGN_UP(size + offset, MAPPING_ALIGN);
    map->base = mmap(NULL, map->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     0);
    g_assert(map->base != MAP_FAILED);
    map->data = (uint8_t *)map->base + offset;
    map->addr = addr;
    map->size = size;
}

static void set_memory(VhostBackend *b, const Message *m, const int *fds,
                       unsigned int n_fds)
{
    unsigned int i;

    g_assert_cmpuint(m->memory.n, ==, n_fds);
    for (i = 0; i < REGIONS_MAX; i++) {
        unmap(&b->memory[i]);
        if (i < n_fds) {
            Region region = m->memory.region[i];

            map(&b->memory[i], fds[i], region.addr, region.size,
                region.mmap_offset);
        }
    }
}

/* ---- What it does ---- */

/* QEMU may have a ring back only when nothing more is written. */
static void stop_ring(VhostBackend *b, Message *m)
{
    unsigned int ring = m->state.ring;

    if (b->at_stop) {
        g_mutex_unlock(&b->lock);
        b->at_stop(b, ring, b->opaque);
        g_mutex_lock(&b->lock);
    }
    b->started &= ~(1U << ring);
    m->state.num = 0;
    reply(b, m, sizeof(m->state));
}

/* Returns false if it has answered. */
static bool serve(VhostBackend *b, Message *m, const int *fds,
                  unsigned int n_fds)
{
    switch (m->request) {
    case GET_FEATURES:
        m->number = FEATURES;
        reply(b, m, sizeof(m->number));
        return false;
    case GET_PROTOCOL_FEATURES:
        m->number = PROTOCOL_FEATURES;
        reply(b, m, sizeof(m->number));
        return false;
    case SET_FEATURES:
        b->logs = m->number & F_LOG_ALL;
        return true;
    case SET_MEM_TABLE:
        set_memory(b, m, fds, n_fds);
        return true;
    case SET_LOG_BASE:
        g_assert_cmpuint(n_fds, ==, 1);
        map(&b->log, fds[0], 0, m->log.size, m->log.offset);
        reply(b, m, 0);
        return false;
    case SET_VRING_BASE:
        b->started |= 1U << m->state.ring;
        return true;
    case GET_VRING_BASE:
        stop_ring(b, m);
        return false;
    default:
        return true;
    }
}

static void *serve_all(void *opaque)
{
    VhostBackend *b = opaque;
    int fds[REGIONS_MAX];
    unsigned int n_fds, i;
    Message m;

    b->fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
    while (b->fd >= 0 && receive(b, &m, fds, &n_fds)) {
        bool need_reply = m.flags & NEED_REPLY;

        g_mutex_lock(&b->lock);
        if (serve(b, &m, fds, n_fds) && need_reply) {
            m.number = 0;
            reply(b, &m, sizeof(m.number));
        }
        g_cond_broadcast(&b->changed);
        g_mutex_unlock(&b->lock);
        for (i = 0; i < n_fds; i++) {
            close(fds[i]);
        }
    }
    return NULL;
}

VhostBackend *vb_new(VBStopFunc *at_stop, void *opaque)
{
    static int n;
    VhostBackend *b = g_new0(VhostBackend, 1);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    b->at_stop = at_stop;
    b->opaque = opaque;
    b->fd = -1;
    b->path = g_strdup_printf("%s/vhost-backend-%d-%d.sock", g_get_tmp_dir(),
                              getpid(), n++);
    g_assert_cmpuint(strlen(b->path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, b->path);
    unlink(b->path);
    b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(b->listener, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    g_assert_cmpint(listen(b->listener, 1), ==, 0);
    g_mutex_init(&b->lock);
    g_cond_init(&b->changed);
    b->thread = g_thread_new("vhost-backend", serve_all, b);
    return b;
}

void vb_free(VhostBackend *b)
{
    unsigned int i;

    /* If no QEMU came */
    shutdown(b->listener, SHUT_RDWR);
    g_thread_join(b->thread);
    for (i = 0; i < REGIONS_MAX; i++) {
        unmap(&b->memory[i]);
    }
    unmap(&b->log);
    close(b->listener);
    if (b->fd >= 0) {
        close(b->fd);
    }
    unlink(b->path);
    g_free(b->path);
    g_mutex_clear(&b->lock);
    g_cond_clear(&b->changed);
    g_free(b);
}

const char *vb_socket(VhostBackend *b)
{
    return b->path;
}

void vb_wait_started(VhostBackend *b)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;

    g_mutex_lock(&b->lock);
    while (b->started != (1U << RINGS) - 1) {
        g_assert_true(g_cond_wait_until(&b->changed, &b->lock, end));
    }
    g_mutex_unlock(&b->lock);
}

bool vb_logs(VhostBackend *b)
{
    bool logs;

    g_mutex_lock(&b->lock);
    logs = b->logs && b->log.data;
    g_mutex_unlock(&b->lock);
    return logs;
}

void vb_write(VhostBackend *b, uint64_t addr, const void *data)
{
    Mapping *found = NULL;
    unsigned int i;

    g_mutex_lock(&b->lock);
    for (i = 0; i < REGIONS_MAX; i++) {
        Mapping *m = &b->memory[i];

        if (addr >= m->addr && addr - m->addr < m->size) {
            found = m;
        }
    }
    g_assert_nonnull(found);
    memcpy(found->data + (addr - found->addr), data, VB_PAGE);
    g_mutex_unlock(&b->lock);
}

void vb_log(VhostBackend *b, uint64_t addr)
{
    uint64_t page = addr / VB_PAGE;

    g_mutex_lock(&b->lock);
    if (b->logs && b->log.data) {
        g_assert_cmpuint(page / 8, <, b->log.size);
        /* What was written is there before anybody sees the bit. */
        qatomic_or(&b->log.data[page / 8], 1 << page % 8);
    }
    g_mutex_unlock(&b->lock);
}

bool vb_is_logged(VhostBackend *b, uint64_t addr)
{
    uint64_t page = addr / VB_PAGE;
    bool logged;

    g_mutex_lock(&b->lock);
    logged = b->log.data && page / 8 < b->log.size &&
             qatomic_read(&b->log.data[page / 8]) & 1 << page % 8;
    g_mutex_unlock(&b->lock);
    return logged;
}
