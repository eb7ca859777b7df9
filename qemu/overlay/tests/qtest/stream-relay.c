/*
 * A relay between the source and the destination of a migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "stream-relay.h"

/* Bytes looked at in one go */
#define CHUNK 4096

/* What setsockopt() is asked for; the kernel doubles it */
#define SMALL_BUFFER 4096
#define LARGE_BUFFER (200 * 1024)

#define WAIT_SECONDS 60
#define PATTERN_MAX 24

typedef enum RelayState {
    STATE_HELD,
    STATE_RUNNING,
    STATE_ENDED,
} RelayState;

/* Bytes to be found in the stream, but for those whose mask is 0 */
typedef struct Pattern {
    size_t size;
    uint8_t bytes[PATTERN_MAX];
    uint8_t mask[PATTERN_MAX];
} Pattern;

struct StreamRelay {
    GThread *thread;
    GMutex lock;                /* protects state, and what is told the relay */
    GCond cond;
    RelayState state;
    RelayPoint point;
    RelayDeed deed;
    bool reached;
    bool quit;
    int source_fd;
    int dest_fd;                /* -1: record only */
    /* The thread's, until it has ended */
    GByteArray *seen;
    GByteArray *ahead;          /* read, but not let through yet */
    int64_t mark[RELAY_ANCHORS];
    Pattern final;
};

static const char section_name[] = "\4skip";

/* End of state, then the section that describes it, of any length */
static const Pattern eof_pattern = {
    .size = 17,
    .bytes = "\0\6----{\"configura",
    .mask = "\1\1\0\0\0\0\1\1\1\1\1\1\1\1\1\1\1",
};

/*
 * Find the last part of the section as soon as its number is known: number,
 * version 2, some flags, pages of 4096 bytes.
 */
static void learn_final_pattern(StreamRelay *r)
{
    static const uint8_t header[] = "\0\0\0\2\0\0\0-\0\0\x10\0";
    static const uint8_t mask[] = "\1\1\1\1\1\1\1\0\1\1\1\1";
    const uint8_t *name;

    if (r->final.size || !r->seen->len || r->seen->len > 16 * CHUNK) {
        return;
    }
    name = memmem(r->seen->data, r->seen->len, section_name,
                  sizeof(section_name) - 1);
    if (name) {
        r->final.bytes[0] = 3;
        memcpy(r->final.bytes + 1, name - 4, 4);
        memcpy(r->final.bytes + 5, header, 12);
        memset(r->final.mask, 1, 5);
        memcpy(r->final.mask + 5, mask, 12);
        r->final.size = 17;
    }
}

/*
 * Where in @buf does the pattern begin, or may it begin, if more bytes were
 * there?  @size if nowhere.
 */
static size_t find_pattern(const Pattern *p, const uint8_t *buf, size_t size,
                           bool *whole)
{
    size_t i, j;

    for (i = 0; i < size; i++) {
        for (j = 0; j < p->size && i + j < size; j++) {
            if (p->mask[j] && p->bytes[j] != buf[i + j]) {
                break;
            }
        }
        if (j == p->size || i + j == size) {
            *whole = j == p->size;
            return i;
        }
    }
    return size;
}

/* How many of the next @size bytes may be let through at once? */
static size_t look_for_mark(StreamRelay *r, RelayAnchor anchor,
                            const Pattern *p, const uint8_t *buf, size_t size)
{
    bool whole = false;
    size_t at;

    if (!p->size || r->mark[anchor] >= 0) {
        return size;
    }
    at = find_pattern(p, buf, size, &whole);
    if (at < size && whole) {
        r->mark[anchor] = r->seen->len + at;
        return size;
    }
    return at;
}

/* How many bytes are there until the point? */
static uint64_t until_point(StreamRelay *r)
{
    uint64_t position;

    if (r->point.offset == UINT64_MAX || r->mark[r->point.anchor] < 0) {
        return UINT64_MAX;
    }
    position = r->mark[r->point.anchor] + r->point.offset;
    g_assert_cmpuint(position, >=, r->seen->len);
    return position - r->seen->len;
}

static void shut_down(StreamRelay *r)
{
    shutdown(r->source_fd, SHUT_RDWR);
    if (r->dest_fd >= 0) {
        shutdown(r->dest_fd, SHUT_RDWR);
    }
}

static void close_ends(StreamRelay *r)
{
    close(r->source_fd);
    r->source_fd = -1;
    if (r->dest_fd >= 0) {
        close(r->dest_fd);
        r->dest_fd = -1;
    }
}

/* The point is reached.  Returns false if the stream has ended here. */
static bool do_deed(StreamRelay *r)
{
    bool go_on;

    g_mutex_lock(&r->lock);
    r->reached = true;
    switch (r->deed) {
    case RELAY_HOLD:
        r->state = STATE_HELD;
        g_cond_broadcast(&r->cond);
        while (r->state == STATE_HELD) {
            g_cond_wait(&r->cond, &r->lock);
        }
        break;
    case RELAY_CLOSE:
        close_ends(r);
        r->state = STATE_ENDED;
        break;
    case RELAY_SHUTDOWN:
        shut_down(r);
        r->state = STATE_ENDED;
        break;
    }
    go_on = r->state == STATE_RUNNING && !r->quit;
    g_mutex_unlock(&r->lock);
    return go_on;
}

static bool send_all(int fd, const uint8_t *buf, size_t size)
{
    while (size) {
        ssize_t n = send(fd, buf, size, MSG_NOSIGNAL);

        if (n < 0) {
            return false;
        }
        buf += n;
        size -= n;
    }
    return true;
}

/* How many of these bytes, the next ones, are to be let through now? */
static size_t may_pass(StreamRelay *r, const uint8_t *buf, size_t size)
{
    size_t n;

    learn_final_pattern(r);
    n = look_for_mark(r, RELAY_FINAL, &r->final, buf, size);
    return MIN(n, look_for_mark(r, RELAY_EOF, &eof_pattern, buf, size));
}

/*
 * Let bytes through, up to the point.  Returns false at the end.
 *
 * Bytes that may be the beginning of a mark wait in r->ahead for those that
 * follow, since the source may be waiting for its buffer to be empty.
 */
static bool forward(StreamRelay *r)
{
    uint8_t buf[PATTERN_MAX + CHUNK];
    size_t ahead = r->ahead->len;
    ssize_t size;
    size_t n, taken;

    if (ahead) {
        memcpy(buf, r->ahead->data, ahead);
    }
    size = recv(r->source_fd, buf + ahead, CHUNK, MSG_PEEK);
    if (size <= 0 && !ahead) {
        return false;
    }
    n = size > 0 ? may_pass(r, buf, ahead + size) : ahead;
    taken = n > ahead ? n - ahead : 0;
    if (!n) {
        taken = size;
        g_assert_cmpuint(ahead + taken, <, PATTERN_MAX);
    }
    n = MIN(n, until_point(r));
    taken = n ? MIN(taken, n > ahead ? n - ahead : 0) : taken;
    if (taken) {
        g_assert_cmpint(recv(r->source_fd, buf + ahead, taken, 0), ==, taken);
    }
    g_byte_array_set_size(r->ahead, 0);
    g_byte_array_append(r->ahead, buf + n, ahead + taken - n);
    g_byte_array_append(r->seen, buf, n);
    return r->dest_fd < 0 || send_all(r->dest_fd, buf, n);
}

/* What the destination says.  Returns false if it has gone. */
static bool forward_back(StreamRelay *r)
{
    uint8_t buf[CHUNK];
    ssize_t size = recv(r->dest_fd, buf, sizeof(buf), 0);

    if (size <= 0) {
        return false;
    }
    send_all(r->source_fd, buf, size);
    return true;
}

static bool is_to_quit(StreamRelay *r)
{
    bool quit;

    g_mutex_lock(&r->lock);
    quit = r->quit;
    g_mutex_unlock(&r->lock);
    return quit;
}

static bool step(StreamRelay *r)
{
    struct pollfd fds[2] = {
        { .fd = r->source_fd, .events = POLLIN },
        { .fd = r->dest_fd, .events = POLLIN },
    };

    if (!until_point(r)) {
        return do_deed(r);
    }
    if (poll(fds, 2, -1) < 0) {
        return errno == EINTR;
    }
    if (fds[1].revents && !forward_back(r)) {
        return false;
    }
    return !fds[0].revents || forward(r);
}

static void *relay_thread(void *opaque)
{
    StreamRelay *r = opaque;

    while (!is_to_quit(r) && step(r)) {
        continue;
    }
    g_mutex_lock(&r->lock);
    if (r->state != STATE_ENDED) {
        shut_down(r);
        r->state = STATE_ENDED;
    }
    g_cond_broadcast(&r->cond);
    g_mutex_unlock(&r->lock);
    return NULL;
}

int relay_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)),
                     <, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

StreamRelay *relay_new(BGuest *source, const char *dest_socket, bool roomy)
{
    StreamRelay *r = g_new0(StreamRelay, 1);
    int size = roomy ? LARGE_BUFFER : SMALL_BUFFER;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                    ==, 0);
    g_assert_cmpint(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size,
                               sizeof(size)), ==, 0);
    qtest_qmp_fds_assert_success(source->qts, &fds[1], 1,
                                 "{ 'execute': 'getfd', 'arguments': {"
                                 " 'fdname': 'relay' } }");
    close(fds[1]);

    g_mutex_init(&r->lock);
    g_cond_init(&r->cond);
    r->source_fd = fds[0];
    r->dest_fd = dest_socket ? relay_connect(dest_socket) : -1;
    r->seen = g_byte_array_new();
    r->ahead = g_byte_array_new();
    r->mark[RELAY_FINAL] = r->mark[RELAY_EOF] = -1;
    r->state = STATE_RUNNING;
    r->deed = RELAY_HOLD;
    r->thread = g_thread_new("relay", relay_thread, r);
    g_assert_true(relay_wait(r));
    return r;
}

void relay_until(StreamRelay *r, RelayPoint at, RelayDeed deed)
{
    g_mutex_lock(&r->lock);
    g_assert_cmpint(r->state, ==, STATE_HELD);
    r->point = at;
    r->deed = deed;
    r->reached = false;
    r->state = STATE_RUNNING;
    g_cond_broadcast(&r->cond);
    g_mutex_unlock(&r->lock);
}

bool relay_wait(StreamRelay *r)
{
    gint64 end = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    bool held;

    g_mutex_lock(&r->lock);
    while (r->state == STATE_RUNNING) {
        g_assert_true(g_cond_wait_until(&r->cond, &r->lock, end));
    }
    held = r->state == STATE_HELD;
    g_mutex_unlock(&r->lock);
    return held;
}

bool relay_reached(StreamRelay *r)
{
    bool reached;

    g_mutex_lock(&r->lock);
    reached = r->reached;
    g_mutex_unlock(&r->lock);
    return reached;
}

const GByteArray *relay_bytes(StreamRelay *r)
{
    g_assert_cmpint(r->state, ==, STATE_ENDED);
    return r->seen;
}

int64_t relay_mark(StreamRelay *r, RelayAnchor anchor)
{
    g_assert_cmpint(r->state, ==, STATE_ENDED);
    return r->mark[anchor];
}

void relay_free(StreamRelay *r)
{
    g_mutex_lock(&r->lock);
    r->quit = true;
    if (r->state != STATE_ENDED) {
        shut_down(r);
        r->state = STATE_RUNNING;
        g_cond_broadcast(&r->cond);
    }
    g_mutex_unlock(&r->lock);
    g_thread_join(r->thread);
    if (r->source_fd >= 0) {
        close_ends(r);
    }
    g_byte_array_free(r->seen, true);
    g_byte_array_free(r->ahead, true);
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->cond);
    g_free(r);
}
