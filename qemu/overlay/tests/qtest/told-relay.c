/*
 * A relay between the source and the destination of a migration, for all of its
 * channels
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "told-relay.h"

#define LINKS_MAX 9
#define CHUNK (64 * 1024)

/* As much of each connection each time, if it is to be slow */
#define TRICKLE (32 * 1024)
#define TRICKLE_US (10 * 1000)
#define HANG_SECONDS 60

/*
 * As long nothing has moved, in milliseconds, whoever can go on has done so.
 * If that is wrong on a machine that is very busy, a test may miss a fault, but
 * never finds one that is not there.
 */
#define SETTLED_MS 200

/* The first bytes of a channel of multifd, and of the main one */
#define MULTIFD_MAGIC 0x11223344u

/* A section begins, with its number and its name; and goes on */
#define SECTION_START 1
#define SECTION_PART 2
static const uint8_t section_name[] = "\x04skip";

/* Version, flags and page size of a part that is neither first nor last */
static const uint8_t part_header[] = "\0\0\0\2\0\0\0\0\0\0\x10";
#define PART_SIZE (1 + 4 + sizeof(part_header))

/* A connection of the source, and its other half */
typedef struct Link {
    int in;
    int out;
    bool ended;
    GByteArray *bytes;
    /* How much of it has been written, and may be */
    size_t written;
    size_t limit;
    /* How far it was searched for parts of the section */
    size_t searched;
    /* How far it was searched for what to stop at */
    size_t passed;
} Link;

struct ToldRelay {
    GThread *thread;
    GMutex lock;                /* protects all below */
    bool quit;
    bool stopped;
    bool slow;
    /* Stop when these are read */
    const void *stop_at;
    size_t stop_size;
    bool hold_main;
    char *dest_path;
    int listen_fd;
    Link link[LINKS_MAX];
    int links;
    /* Of section "skip"; what its parts begin with, once it is known */
    uint8_t part[PART_SIZE];
    bool part_known;
    int words;
};

static bool is_main(const Link *l)
{
    return l->bytes->len < 4 || ldl_be_p(l->bytes->data) != MULTIFD_MAGIC;
}

/* ---- The section ---- */

static void learn_part(ToldRelay *r, const Link *l)
{
    const uint8_t *name = memmem(l->bytes->data, l->bytes->len, section_name,
                                 sizeof(section_name) - 1);

    if (name && name - l->bytes->data >= 5 && name[-5] == SECTION_START) {
        r->part[0] = SECTION_PART;
        memcpy(r->part + 1, name - 4, 4);
        memcpy(r->part + 5, part_header, sizeof(part_header));
        r->part_known = true;
    }
}

static void look_for_parts(ToldRelay *r, Link *l)
{
    const uint8_t *found;

    if (!r->part_known) {
        learn_part(r, l);
    }
    while (r->part_known && l->searched < l->bytes->len &&
           (found = memmem(l->bytes->data + l->searched,
                           l->bytes->len - l->searched, r->part, PART_SIZE))) {
        size_t at = found - l->bytes->data;

        r->words++;
        if (r->hold_main && l->limit == SIZE_MAX && at >= l->written) {
            /* Behind the record that the channels are synchronized */
            l->limit = at + PART_SIZE + 1;
        }
        l->searched = at + PART_SIZE;
    }
    if (l->bytes->len > l->searched + PART_SIZE) {
        l->searched = l->bytes->len - PART_SIZE;
    }
}

/* What may still turn out to be the beginning of a part stays here. */
static size_t may_be_written(const ToldRelay *r, const Link *l)
{
    size_t size = l->bytes->len;

    if (is_main(l) && r->hold_main && !l->ended) {
        size = MAX(l->written, size - MIN(size, PART_SIZE));
    }
    return MIN(size, l->limit) - l->written;
}

static void look_where_to_stop(ToldRelay *r, Link *l)
{
    if (!r->stop_at) {
        return;
    }
    if (memmem(l->bytes->data + l->passed, l->bytes->len - l->passed,
               r->stop_at, r->stop_size)) {
        r->stopped = true;
        r->stop_at = NULL;
    }
    l->passed = l->bytes->len - MIN(l->bytes->len, r->stop_size);
}

/* ---- The thread ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    return fd;
}

static void take_connection(ToldRelay *r)
{
    int fd = accept(r->listen_fd, NULL, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(r->links, <, LINKS_MAX);
    r->link[r->links++] = (Link) {
        .in = fd,
        .out = connect_to(r->dest_path),
        .bytes = g_byte_array_new(),
        .limit = SIZE_MAX,
    };
}

static void take_bytes(ToldRelay *r, Link *l)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    ssize_t n = recv(l->in, buf, r->slow ? TRICKLE : CHUNK, MSG_DONTWAIT);

    if (n > 0) {
        g_byte_array_append(l->bytes, buf, n);
        look_where_to_stop(r, l);
        if (is_main(l)) {
            look_for_parts(r, l);
        }
    } else if (!n || (errno != EAGAIN && errno != EINTR)) {
        l->ended = true;
    }
}

static void give_bytes(ToldRelay *r, Link *l)
{
    size_t size = may_be_written(r, l);
    ssize_t n = size ? send(l->out, l->bytes->data + l->written, size,
                            MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    l->written += MAX(n, 0);
    if (l->ended && l->written == l->bytes->len) {
        shutdown(l->out, SHUT_WR);
    }
}

static void *relay_thread(void *opaque)
{
    ToldRelay *r = opaque;
    struct pollfd fds[1 + LINKS_MAX];
    bool quit = false, slow;
    int i;

    while (!quit) {
        int n = 0;

        g_mutex_lock(&r->lock);
        fds[n++] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
        for (i = 0; i < r->links; i++) {
            Link *l = &r->link[i];

            fds[n++] = (struct pollfd) {
                .fd = l->ended || r->stopped ? -1 : l->in,
                .events = POLLIN,
            };
        }
        g_mutex_unlock(&r->lock);
        poll(fds, n, 1);
        g_mutex_lock(&r->lock);
        if (fds[0].revents) {
            take_connection(r);
        }
        for (i = 0; i < n - 1; i++) {
            if (fds[1 + i].revents && !r->stopped) {
                take_bytes(r, &r->link[i]);
            }
            give_bytes(r, &r->link[i]);
        }
        quit = r->quit;
        slow = r->slow;
        g_mutex_unlock(&r->lock);
        if (slow) {
            g_usleep(TRICKLE_US);
        }
    }
    return NULL;
}

/* ---- What a test does ---- */

static gint64 deadline(void)
{
    return g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;
}

ToldRelay *told_relay_new(BGuest *dest)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    ToldRelay *r = g_new0(ToldRelay, 1);

    r->dest_path = dest->socket;
    dest->socket = g_strdup_printf("%s.relay", r->dest_path);
    g_mutex_init(&r->lock);
    r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(r->listen_fd, >=, 0);
    g_assert_cmpuint(g_strlcpy(addr.sun_path, dest->socket,
                               sizeof(addr.sun_path)), <,
                     sizeof(addr.sun_path));
    g_assert_cmpint(bind(r->listen_fd, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(r->listen_fd, LINKS_MAX), ==, 0);
    r->thread = g_thread_new("relay", relay_thread, r);
    return r;
}

void told_relay_free(ToldRelay *r)
{
    int i;

    g_mutex_lock(&r->lock);
    r->quit = true;
    g_mutex_unlock(&r->lock);
    g_thread_join(r->thread);
    for (i = 0; i < r->links; i++) {
        close(r->link[i].in);
        close(r->link[i].out);
        g_byte_array_free(r->link[i].bytes, true);
    }
    close(r->listen_fd);
    unlink(r->dest_path);
    g_free(r->dest_path);
    g_mutex_clear(&r->lock);
    g_free(r);
}

void told_relay_hold_channels(ToldRelay *r, bool hold)
{
    int i;

    g_mutex_lock(&r->lock);
    for (i = 0; i < r->links; i++) {
        Link *l = &r->link[i];

        if (!is_main(l)) {
            l->limit = hold ? l->bytes->len : SIZE_MAX;
        }
    }
    g_mutex_unlock(&r->lock);
}

void told_relay_hold_main(ToldRelay *r, bool hold)
{
    int i;

    g_mutex_lock(&r->lock);
    r->hold_main = hold;
    for (i = 0; !hold && i < r->links; i++) {
        if (is_main(&r->link[i])) {
            r->link[i].limit = SIZE_MAX;
        }
    }
    g_mutex_unlock(&r->lock);
}

void told_relay_slow(ToldRelay *r, bool slow)
{
    g_mutex_lock(&r->lock);
    r->slow = slow;
    g_mutex_unlock(&r->lock);
}

void told_relay_stop(ToldRelay *r, bool stop)
{
    g_mutex_lock(&r->lock);
    r->stopped = stop;
    g_mutex_unlock(&r->lock);
}

void told_relay_stop_at(ToldRelay *r, const void *bytes, size_t size)
{
    gint64 end = deadline();
    bool stopped = false;

    g_mutex_lock(&r->lock);
    r->stop_at = bytes;
    r->stop_size = size;
    r->stopped = false;
    g_mutex_unlock(&r->lock);
    while (!stopped) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
        g_mutex_lock(&r->lock);
        stopped = r->stopped;
        g_mutex_unlock(&r->lock);
    }
}

int told_relay_words(ToldRelay *r)
{
    int words;

    g_mutex_lock(&r->lock);
    words = r->words;
    g_mutex_unlock(&r->lock);
    return words;
}

void told_relay_wait_words(ToldRelay *r, int n)
{
    gint64 end = deadline();

    while (told_relay_words(r) < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* @from: how far each connection was searched */
static bool has_bytes(ToldRelay *r, const void *bytes, size_t size,
                      size_t *from)
{
    bool found = false;
    int i;

    g_mutex_lock(&r->lock);
    for (i = 0; !found && i < r->links; i++) {
        GByteArray *have = r->link[i].bytes;

        found = memmem(have->data + from[i], have->len - from[i], bytes, size);
        from[i] = have->len - MIN(have->len, size);
    }
    g_mutex_unlock(&r->lock);
    return found;
}

void told_relay_wait_bytes(ToldRelay *r, const void *bytes, size_t size)
{
    size_t from[LINKS_MAX] = { };
    gint64 end = deadline();

    while (!has_bytes(r, bytes, size, from)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* What the destination has taken, or with @in what the source has to give */
static uint64_t progress(ToldRelay *r, bool in)
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

static void wait_without_progress(ToldRelay *r, bool in)
{
    uint64_t before = progress(r, in);
    gint64 end = deadline();
    int still = 0;

    while (still < SETTLED_MS) {
        uint64_t now;

        g_usleep(1000);
        now = progress(r, in);
        still = now == before ? still + 1 : 0;
        before = now;
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

void told_relay_settle(ToldRelay *r)
{
    wait_without_progress(r, false);
}

void told_relay_wait_stuck(ToldRelay *r)
{
    wait_without_progress(r, true);
}
