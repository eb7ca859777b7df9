/*
 * A relay between the source and the destination of a migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "stream-relay.h"

#define LINKS_MAX 9
#define CHUNK (64 * 1024)

/* What setsockopt() is asked for; the kernel doubles it */
#define SMALL_BUFFER 4096
#define LARGE_BUFFER (200 * 1024)

/* As much of each connection each time, if it is to be slow */
#define TRICKLE (32 * 1024)
#define TRICKLE_US (10 * 1000)

#define WAIT_SECONDS 60

/*
 * As long nothing has moved, whoever can go on has done so.  If that is wrong
 * on a machine that is very busy, a test may miss a fault, but never finds one
 * that is not there.
 */
#define SETTLED_US (200 * 1000)
#define LOOK_US (5 * 1000)

/* The first bytes of a channel of multifd, and not of the main one */
#define MULTIFD_MAGIC 0x11223344u

/* A section begins, with its number and its name; goes on; and ends */
#define SECTION_START 1
#define SECTION_PART 2
#define SECTION_END 3
static const char section_name[] = "\4skip";

/* What is looked for in the stream, beside the anchors */
#define WORD RELAY_ANCHORS
#define PATTERNS (RELAY_ANCHORS + 1)
#define PATTERN_SIZE 17

typedef struct Pattern {
    bool known;
    uint8_t bytes[PATTERN_SIZE];
    bool any[PATTERN_SIZE];     /* it does not matter what this byte is */
} Pattern;

/* End of state, then the section that describes it, of any length */
static const Pattern eof_pattern = {
    .known = true,
    .bytes = "\0\6----{\"configura",
    .any = { [2] = true, true, true, true },
};

typedef enum RelayState {
    STATE_HELD,
    STATE_RUNNING,
    STATE_ENDED,
} RelayState;

/* A connection of the source, and its other half */
typedef struct Link {
    int in;
    int out;                    /* -1: record only */
    bool ended;                 /* nothing more comes in */
    GByteArray *bytes;          /* all that came in */
    size_t written;             /* how much of it has been written */
    size_t limit;               /* and may be */
    size_t searched[PATTERNS];  /* up to here there is no such pattern */
    size_t sought;              /* and not what a test waits for */
} Link;

struct StreamRelay {
    GThread *thread;
    GMutex lock;                /* protects all below */
    GCond cond;
    int wake;                   /* has the thread look again */
    bool quit;
    RelayState state;           /* of a single stream; or it is running */
    Link link[LINKS_MAX];
    int links;
    Pattern pattern[PATTERNS];

    /* A single stream */
    bool single;
    RelayPoint point;
    RelayDeed deed;
    bool reached;
    int64_t mark[RELAY_ANCHORS];

    /* Any number of connections */
    int listen_fd;
    char *dest_path;
    RelaySpeed speed;
    int hold;
    int words;
    const void *seek;           /* what a test waits for */
    size_t seek_size;
    bool seek_stop;
};

static bool is_main(const Link *l)
{
    return l->bytes->len < 4 || ldl_be_p(l->bytes->data) != MULTIFD_MAGIC;
}

/* ---- What the stream says ---- */

/* A part of the section: version 2, flags, pages of 4096 bytes */
static Pattern part_pattern(uint8_t type, const uint8_t *number)
{
    static const uint8_t header[12] = { 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x10 };
    Pattern p = { .known = true, .bytes = { type } };

    memcpy(p.bytes + 1, number, 4);
    memcpy(p.bytes + 5, header, sizeof(header));
    p.any[12] = type == SECTION_END;
    return p;
}

/* The number of the section is known once it begins. */
static void learn_patterns(StreamRelay *r, const Link *l)
{
    const uint8_t *name;

    if (r->pattern[WORD].known || !l->bytes->len || l->bytes->len > 2 * CHUNK) {
        return;
    }
    name = memmem(l->bytes->data, l->bytes->len, section_name,
                  strlen(section_name));
    if (name && name - l->bytes->data >= 5 && name[-5] == SECTION_START) {
        r->pattern[WORD] = part_pattern(SECTION_PART, name - 4);
        r->pattern[RELAY_FINAL] = part_pattern(SECTION_END, name - 4);
    }
}

/*
 * Where does the pattern begin, or may it begin, if more bytes were there?
 * Behind all of them if nowhere.
 */
static size_t find_pattern(const Pattern *p, const Link *l, size_t from,
                           bool *whole)
{
    const uint8_t *bytes = l->bytes->data;
    size_t size = l->bytes->len, i, j;

    *whole = false;
    for (i = from; i < size; i++) {
        for (j = 0; j < PATTERN_SIZE && i + j < size; j++) {
            if (!p->any[j] && p->bytes[j] != bytes[i + j]) {
                break;
            }
        }
        if (j == PATTERN_SIZE || i + j == size) {
            *whole = j == PATTERN_SIZE;
            break;
        }
    }
    return i;
}

static bool is_sought(const StreamRelay *r, int i)
{
    return r->pattern[i].known &&
           (r->single ? i != WORD && r->mark[i] < 0 : i == WORD);
}

static void look_for_patterns(StreamRelay *r, Link *l)
{
    bool whole;
    int i;

    learn_patterns(r, l);
    for (i = 0; i < PATTERNS; i++) {
        while (is_sought(r, i)) {
            size_t at = find_pattern(&r->pattern[i], l, l->searched[i],
                                     &whole);

            l->searched[i] = at;
            if (!whole) {
                break;
            }
            l->searched[i] += PATTERN_SIZE;
            if (i != WORD) {
                r->mark[i] = at;
                break;
            }
            r->words++;
            if (r->hold & RELAY_MAIN && l->limit == SIZE_MAX &&
                at >= l->written) {
                /* Behind the record that the channels are synchronized */
                l->limit = at + PATTERN_SIZE + 1;
            }
        }
    }
}

static void look_for_what_is_waited_for(StreamRelay *r, Link *l)
{
    const uint8_t *bytes = l->bytes->data;
    const uint8_t *found;

    if (!r->seek || !l->bytes->len) {
        return;
    }
    found = memmem(bytes + l->sought, l->bytes->len - l->sought, r->seek,
                   r->seek_size);
    l->sought = found ? found - bytes + r->seek_size
                      : MAX(l->sought + r->seek_size, l->bytes->len) -
                        r->seek_size;
    if (found) {
        r->seek = NULL;
        r->speed = r->seek_stop ? RELAY_STOP : r->speed;
    }
}

/* How far may the stream get? */
static size_t limit_of(const StreamRelay *r, const Link *l)
{
    if (!r->single) {
        return l->limit;
    }
    return r->point.offset == UINT64_MAX || r->mark[r->point.anchor] < 0
           ? SIZE_MAX : r->mark[r->point.anchor] + r->point.offset;
}

/* What may turn out to be where the stream is held stays here. */
static size_t may_be_written(const StreamRelay *r, const Link *l)
{
    size_t end = MIN(l->bytes->len, limit_of(r, l));
    int i;

    for (i = 0; !l->ended && is_main(l) && i < PATTERNS; i++) {
        if (is_sought(r, i) && (r->single || r->hold & RELAY_MAIN)) {
            end = MIN(end, l->searched[i]);
        }
    }
    return MAX(end, l->written) - l->written;
}

/* ---- The thread ---- */

static void shut_down(Link *l)
{
    shutdown(l->in, SHUT_RDWR);
    shutdown(l->out, SHUT_RDWR);
}

/* One that is not open is -1, which close() does not mind. */
static void close_ends(Link *l)
{
    close(l->in);
    close(l->out);
    l->in = l->out = -1;
}

/* Nothing more is going to be read from either end. */
static void end_link(StreamRelay *r, Link *l)
{
    shut_down(l);
    l->ended = true;
    l->written = l->bytes->len;
    if (r->single) {
        r->state = STATE_ENDED;
    }
}

static void add_link(StreamRelay *r, int in, int out)
{
    g_assert_cmpint(r->links, <, LINKS_MAX);
    r->link[r->links++] = (Link) {
        .in = in,
        .out = out,
        .bytes = g_byte_array_new(),
        .limit = SIZE_MAX,
    };
}

/* May more of it be read?  A single stream is not read ahead. */
static bool may_be_read(const StreamRelay *r, const Link *l)
{
    return !l->ended && (r->single ? !may_be_written(r, l)
                                   : r->speed != RELAY_STOP);
}

static void take_bytes(StreamRelay *r, Link *l)
{
    size_t size = r->speed == RELAY_SLOW ? TRICKLE : CHUNK;
    size_t before = l->bytes->len;
    ssize_t n;

    g_byte_array_set_size(l->bytes, before + size);
    n = recv(l->in, l->bytes->data + before, size, MSG_PEEK | MSG_DONTWAIT);
    g_byte_array_set_size(l->bytes, before + MAX(n, 0));
    if (n <= 0) {
        l->ended = !n || (errno != EAGAIN && errno != EINTR);
        return;
    }
    if (is_main(l)) {
        look_for_patterns(r, l);
    }
    look_for_what_is_waited_for(r, l);
    /* What is behind the point stays unread. */
    if (r->single && l->bytes->len > limit_of(r, l)) {
        g_byte_array_set_size(l->bytes, MAX(limit_of(r, l), before));
    }
    n = l->bytes->len - before;
    if (n) {
        g_assert_cmpint(recv(l->in, l->bytes->data + before, n, 0), ==, n);
    }
}

static void give_bytes(StreamRelay *r, Link *l)
{
    size_t size = may_be_written(r, l);
    ssize_t n = size && l->out >= 0
                ? send(l->out, l->bytes->data + l->written, size,
                       MSG_DONTWAIT | MSG_NOSIGNAL) : size;

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        end_link(r, l);
        return;
    }
    l->written += MAX(n, 0);
    if (l->ended && l->written == l->bytes->len) {
        r->single ? end_link(r, l) : (void)shutdown(l->out, SHUT_WR);
    }
}

/* What the destination says */
static void take_bytes_back(StreamRelay *r, Link *l)
{
    uint8_t buf[4096];
    ssize_t n = recv(l->out, buf, sizeof(buf), MSG_DONTWAIT);

    if (n > 0) {
        n = send(l->in, buf, n, MSG_NOSIGNAL);
    } else if (!n || (errno != EAGAIN && errno != EINTR)) {
        end_link(r, l);
    }
}

static void do_deed(StreamRelay *r, Link *l)
{
    r->reached = true;
    if (r->deed == RELAY_HOLD) {
        r->state = STATE_HELD;
        return;
    }
    r->deed == RELAY_CLOSE ? close_ends(l) : shut_down(l);
    r->state = STATE_ENDED;
}

static void serve_link(StreamRelay *r, Link *l, bool in, bool back)
{
    if (back) {
        take_bytes_back(r, l);
    }
    if (in && r->state == STATE_RUNNING && may_be_read(r, l)) {
        take_bytes(r, l);
    }
    if (r->state == STATE_RUNNING) {
        give_bytes(r, l);
    }
    if (r->state == STATE_RUNNING && l->written == limit_of(r, l) &&
        r->single) {
        do_deed(r, l);
    }
}

/* Returns how many there are: two, and two of each link. */
static int what_to_wait_for(const StreamRelay *r, struct pollfd *fds)
{
    int n = 0, i;

    fds[n++] = (struct pollfd) { .fd = r->wake, .events = POLLIN };
    fds[n++] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
    for (i = 0; r->state == STATE_RUNNING && i < r->links; i++) {
        const Link *l = &r->link[i];
        bool full = may_be_written(r, l);

        fds[n++] = (struct pollfd) {
            .fd = may_be_read(r, l) ? l->in : -1,
            .events = POLLIN,
        };
        fds[n++] = (struct pollfd) {
            .fd = l->ended && l->written == l->bytes->len ? -1 : l->out,
            .events = full ? POLLIN | POLLOUT : POLLIN,
        };
    }
    return n;
}

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_assert_cmpuint(g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)),
                     <, sizeof(addr.sun_path));
    return addr;
}

static int unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = unix_address(path);
    int fd = unix_socket();

    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

static void *relay_thread(void *opaque)
{
    StreamRelay *r = opaque;
    struct pollfd fds[2 + 2 * LINKS_MAX];
    uint64_t count;

    g_mutex_lock(&r->lock);
    while (!r->quit && r->state != STATE_ENDED) {
        int n = what_to_wait_for(r, fds), i;
        bool slow = r->speed == RELAY_SLOW;

        g_mutex_unlock(&r->lock);
        poll(fds, n, -1);
        if (slow) {
            g_usleep(TRICKLE_US);
        }
        g_mutex_lock(&r->lock);
        if (fds[0].revents) {
            g_assert_cmpint(read(r->wake, &count, sizeof(count)), ==,
                            sizeof(count));
        }
        if (fds[1].revents) {
            add_link(r, accept(r->listen_fd, NULL, NULL),
                     connect_to(r->dest_path));
        }
        for (i = 0; i < r->links && r->state == STATE_RUNNING; i++) {
            const struct pollfd *fd = &fds[2 + 2 * i];
            bool known = 2 + 2 * i < n;

            serve_link(r, &r->link[i], known && fd[0].revents,
                       known && fd[1].revents & ~POLLOUT);
        }
        g_cond_broadcast(&r->cond);
    }
    g_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- What a test does ---- */

void relay_send(const char *path, const uint8_t *bytes, size_t size)
{
    int fd = connect_to(path);
    ssize_t n;

    /* It may have seen enough. */
    while (size && (n = send(fd, bytes, size, MSG_NOSIGNAL)) >= 0) {
        bytes += n;
        size -= n;
    }
    close(fd);
}

static StreamRelay *new_relay(RelayState state)
{
    StreamRelay *r = g_new0(StreamRelay, 1);

    g_mutex_init(&r->lock);
    g_cond_init(&r->cond);
    r->wake = eventfd(0, EFD_CLOEXEC);
    g_assert_cmpint(r->wake, >=, 0);
    r->listen_fd = -1;
    r->mark[RELAY_FINAL] = r->mark[RELAY_EOF] = -1;
    r->pattern[RELAY_EOF] = eof_pattern;
    r->state = state;
    return r;
}

static void lock(StreamRelay *r)
{
    g_mutex_lock(&r->lock);
}

static void unlock(StreamRelay *r)
{
    uint64_t one = 1;

    g_mutex_unlock(&r->lock);
    g_assert_cmpint(write(r->wake, &one, sizeof(one)), ==, sizeof(one));
}

static gint64 deadline(void)
{
    return g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
}

static void wait_for_change(StreamRelay *r, gint64 end)
{
    g_assert_true(g_cond_wait_until(&r->cond, &r->lock, end));
}

StreamRelay *relay_new(BGuest *source, const char *dest_socket, bool roomy)
{
    StreamRelay *r = new_relay(STATE_HELD);
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
    r->single = true;
    add_link(r, fds[0], dest_socket ? connect_to(dest_socket) : -1);
    r->thread = g_thread_new("relay", relay_thread, r);
    return r;
}

StreamRelay *relay_listen(BGuest *dest)
{
    StreamRelay *r = new_relay(STATE_RUNNING);
    struct sockaddr_un addr;

    r->dest_path = dest->socket;
    dest->socket = g_strdup_printf("%s.relay", r->dest_path);
    addr = unix_address(dest->socket);
    r->listen_fd = unix_socket();
    g_assert_cmpint(bind(r->listen_fd, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(r->listen_fd, LINKS_MAX), ==, 0);
    r->thread = g_thread_new("relay", relay_thread, r);
    return r;
}

void relay_free(StreamRelay *r)
{
    int i;

    lock(r);
    r->quit = true;
    unlock(r);
    g_thread_join(r->thread);
    for (i = 0; i < r->links; i++) {
        shut_down(&r->link[i]);
        close_ends(&r->link[i]);
        g_byte_array_free(r->link[i].bytes, true);
    }
    if (r->dest_path) {
        close(r->listen_fd);
        unlink(r->dest_path);
        g_free(r->dest_path);
    }
    close(r->wake);
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->cond);
    g_free(r);
}

void relay_until(StreamRelay *r, RelayPoint at, RelayDeed deed)
{
    lock(r);
    g_assert_cmpint(r->state, ==, STATE_HELD);
    r->point = at;
    r->deed = deed;
    r->reached = false;
    r->state = STATE_RUNNING;
    unlock(r);
}

bool relay_wait(StreamRelay *r)
{
    gint64 end = deadline();
    bool reached;

    lock(r);
    while (r->state == STATE_RUNNING) {
        wait_for_change(r, end);
    }
    reached = r->reached;
    unlock(r);
    return reached;
}

const GByteArray *relay_bytes(StreamRelay *r)
{
    g_assert_cmpint(r->state, ==, STATE_ENDED);
    return r->link[0].bytes;
}

int64_t relay_mark(StreamRelay *r, RelayAnchor anchor)
{
    g_assert_cmpint(r->state, ==, STATE_ENDED);
    return r->mark[anchor];
}

void relay_set_speed(StreamRelay *r, RelaySpeed speed)
{
    lock(r);
    r->speed = speed;
    unlock(r);
}

void relay_hold(StreamRelay *r, int what)
{
    int i;

    lock(r);
    r->hold = what;
    for (i = 0; i < r->links; i++) {
        Link *l = &r->link[i];

        l->limit = what & RELAY_CHANNELS && !is_main(l) ? l->bytes->len
                                                        : SIZE_MAX;
    }
    unlock(r);
}

int relay_words(StreamRelay *r)
{
    int words;

    lock(r);
    words = r->words;
    unlock(r);
    return words;
}

void relay_wait_bytes(StreamRelay *r, const void *bytes, size_t size,
                      bool stop)
{
    gint64 end = deadline();
    int i;

    lock(r);
    r->seek = bytes;
    r->seek_size = size;
    r->seek_stop = stop;
    r->speed = stop ? RELAY_FREE : r->speed;
    for (i = 0; i < r->links; i++) {
        look_for_what_is_waited_for(r, &r->link[i]);
    }
    unlock(r);
    lock(r);
    while (r->seek) {
        wait_for_change(r, end);
    }
    unlock(r);
}

/* What the destination has taken, or with @in what the source has to give */
static uint64_t progress(StreamRelay *r, bool in)
{
    uint64_t sum = 0;
    int i;

    g_mutex_lock(&r->lock);
    for (i = 0; i < r->links; i++) {
        int queued = 0;

        if (in) {
            ioctl(r->link[i].in, FIONREAD, &queued);
            sum += queued;
        } else {
            ioctl(r->link[i].out, SIOCOUTQ, &queued);
            sum += r->link[i].written - queued;
        }
    }
    g_mutex_unlock(&r->lock);
    return sum;
}

void relay_wait_still(StreamRelay *r, bool in)
{
    uint64_t before = progress(r, in);
    gint64 end = deadline();
    int still = 0;

    while (still < SETTLED_US) {
        uint64_t now;

        g_usleep(LOOK_US);
        now = progress(r, in);
        still = now == before ? still + LOOK_US : 0;
        before = now;
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}
