/* The load of benchmarks/relay.py over plain sockets that are connected, logged in and inherited.
 *
 *   load stream IN_FLIGHT SECONDS SIZE SENDER RECEIVER...
 *   load busy   MEMBERS   SECONDS SIZE PEER...            (rooms of MEMBERS, one after another)
 *
 * Numbers are file descriptors. SIZE is the length of one delivered message where all are alike (0: parse
 * the relay's frames). On standard input, for each descriptor that sends: u32 length of its template, u32 messages
 * in it, u32 offset of the first message's 16 bytes that must differ each time (2^32-1: none), u32 distance to those
 * of the next message, u32 length of its own name, template, name.
 * Prints: deliveries, seconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM_FOR = 1 << 20, MOST = 4096 };

struct peer {
    int fd, room, has_template;
    uint64_t heard;
    size_t have, template_len, messages, id_at, id_step, name_len;
    unsigned char *buffer, *template, *name;
};

static struct peer peers[MOST];
static int count, fixed;
static uint64_t serial;
static unsigned char out[ROOM_FOR];

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t be(const unsigned char *p, int bytes) {
    uint32_t n = 0;
    while (bytes--) n = n << 8 | *p++;
    return n;
}

/* Step over one MessagePack value that is no container, or into an array; its length or count in *n. */
static const unsigned char *step(const unsigned char *p, uint32_t *n) {
    unsigned char c = *p++;
    *n = 0;
    if (c < 0x80 || c >= 0xe0) return p;
    if ((c & 0xf0) == 0x90) { *n = c & 15; return p; }
    if ((c & 0xe0) == 0xa0) { *n = c & 31; return p + *n; }
    switch (c) {
    case 0xc4: case 0xd9: *n = p[0]; return p + 1 + *n;
    case 0xc5: case 0xda: *n = be(p, 2); return p + 2 + *n;
    case 0xcc: return p + 1;
    case 0xcd: return p + 2;
    case 0xce: return p + 4;
    case 0xcf: return p + 8;
    case 0xdc: *n = be(p, 2); return p + 2;
    default: return p;
    }
}

/* How many messages of others a frame's body delivers. */
static uint64_t delivered(const struct peer *peer, const unsigned char *p) {
    static const unsigned char kind[] = "\x94\xa8" "Delivery";
    uint32_t items, n, found = 0;
    if (memcmp(p, kind, sizeof kind - 1)) return 0;
    p = step(p + sizeof kind - 1, &n);
    p = step(p, &n);
    p = step(p, &items);
    for (uint32_t i = 0; i < items; i++) {
        p = step(p, &n);
        const unsigned char *after = step(p, &n);
        found += n != peer->name_len || memcmp(after - n, peer->name, n);
        p = step(step(after, &n), &n);
    }
    return found;
}

static void hear(struct peer *peer) {
    ssize_t got = recv(peer->fd, peer->buffer + peer->have, ROOM_FOR - peer->have, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) fail("the server closed a connection");
    peer->have += (size_t)got;
    size_t at = 0;
    if (fixed) {
        /* A sender's own answers come in sizes of their own, and are not counted. */
        at = peer->has_template ? peer->have : peer->have / fixed * fixed;
        if (!peer->has_template) peer->heard += at / fixed;
    } else {
        while (peer->have - at >= 4) {
            uint32_t length = be(peer->buffer + at, 4);
            if (peer->have - at - 4 < length) break;
            peer->heard += delivered(peer, peer->buffer + at + 4);
            at += 4 + length;
        }
    }
    memmove(peer->buffer, peer->buffer + at, peer->have - at);
    peer->have -= at;
}

static void post(struct peer *peer, uint64_t messages) {
    size_t len = 0;
    for (; messages >= peer->messages; messages -= peer->messages) {
        memcpy(out + len, peer->template, peer->template_len);
        for (size_t i = 0; peer->id_at != UINT32_MAX && i < peer->messages; i++) {
            serial++;
            memcpy(out + len + peer->id_at + i * peer->id_step, &serial, sizeof serial);
        }
        len += peer->template_len;
    }
    for (size_t at = 0; at < len;) {
        ssize_t sent = send(peer->fd, out + at, len - at, 0);
        if (sent < 0 && errno != EINTR) fail("send");
        at += sent > 0 ? (size_t)sent : 0;
    }
}

static void read_whole(void *into, size_t size) {
    if (size && fread(into, size, 1, stdin) != 1) fail("standard input");
}

static void read_template(struct peer *peer) {
    uint32_t head[5];
    read_whole(head, sizeof head);
    peer->template_len = head[0];
    peer->messages = head[1];
    peer->id_at = head[2];
    peer->id_step = head[3];
    peer->name_len = head[4];
    peer->template = malloc(peer->template_len);
    peer->name = malloc(peer->name_len + 1);
    read_whole(peer->template, peer->template_len);
    read_whole(peer->name, peer->name_len);
    peer->has_template = 1;
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    int busy = !strcmp(argv[1], "busy");
    uint64_t amount = strtoull(argv[2], 0, 10);
    double seconds = atof(argv[3]);
    fixed = atoi(argv[4]);
    int poll = epoll_create1(0);
    serial = (uint64_t)time(0) << 32;
    for (int i = 5; i < argc && count < MOST; i++, count++) {
        struct peer *peer = &peers[count];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
        peer->fd = atoi(argv[i]);
        peer->room = busy ? count / (int)amount : 0;
        peer->buffer = malloc(ROOM_FOR);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, peer->fd, &event)) fail("epoll_ctl");
        if (busy || !count) read_template(peer);
    }
    double began = now(), ended = began + seconds;
    uint64_t sent = 0, round = 0, deliveries = 0;
    for (;;) {
        if (busy) {
            /* A member speaks again once it has heard everybody else's last word; rooms do not wait for rooms. */
            uint64_t least = UINT64_MAX;
            for (int i = 0; i < count; i++) if (peers[i].heard < least) least = peers[i].heard;
            if (least >= round * (amount - 1)) {
                if (now() >= ended) break;
                for (int i = 0; i < count; i++) post(&peers[i], 1);
                round++;
            }
        } else {
            uint64_t least = UINT64_MAX;
            for (int i = 1; i < count; i++) if (peers[i].heard < least) least = peers[i].heard;
            if (now() >= ended && least == sent) break;
            if (now() < ended && sent - least < amount) {
                uint64_t more = amount - (sent - least);
                more -= more % peers[0].messages;
                post(&peers[0], more);
                sent += more;
            }
        }
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 10000);
        if (ready == 0) { fputs("nothing came for ten seconds\n", stderr); return 1; }
        for (int i = 0; i < ready; i++) hear(events[i].data.ptr);
    }
    for (int i = busy ? 0 : 1; i < count; i++) deliveries += peers[i].heard;
    printf("%llu %.6f\n", (unsigned long long)deliveries, now() - began);
    return 0;
}
