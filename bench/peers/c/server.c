/* The mark of the kernel: a Socket.IO server of the bare minimum, epoll, one send a message, no users and no database.

   usage: server PORT [drop|repeat|swap]; with a fault, one token of a hundred is treated so, to try the load generator. */
#define _GNU_SOURCE
#include "../../load/util.h"
#include "sha1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PING_INTERVAL 25000000000ull

struct connection {
    int fd;
    bool open, waiting; /* handshake done; EPOLLOUT asked for */
    char *in, *out;
    size_t in_length, out_length, out_room;
};

struct room {
    struct connection **members;
    int count, allotted;
};

static struct {
    long base;
    int rooms, size;
    long count, next;
    double interval;
    uint64_t start;
    bool running;
} stream;

static const char *fault = "";
static int epoll_set;
static struct room *rooms;
static long room_count;
static struct connection *all[200000];

static void leave(struct connection *c)
{
    for (long r = 0; r < room_count; r++)
        for (int i = 0; i < rooms[r].count; i++)
            if (rooms[r].members[i] == c)
                rooms[r].members[i--] = rooms[r].members[--rooms[r].count];
}

static void end(struct connection *c)
{
    if (c->fd < 0)
        return;
    all[c->fd] = NULL;
    close(c->fd);
    c->fd = -1;
    leave(c);
    free(c->in);
    free(c->out);
    free(c);
}

static void want(struct connection *c, bool writable)
{
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.fd = c->fd};
    c->waiting = writable;
    epoll_ctl(epoll_set, EPOLL_CTL_MOD, c->fd, &e);
}

static void transmit(struct connection *c, const char *data, size_t length)
{
    if (!c->out_length) {
        ssize_t n = send(c->fd, data, length, MSG_NOSIGNAL);
        if (n == (ssize_t)length)
            return;
        if (n < 0 && errno != EAGAIN)
            return; /* the reading side will see it */
        if (n > 0)
            data += n, length -= (size_t)n;
    }
    if (c->out_length + length > c->out_room) {
        c->out_room = (c->out_length + length) * 2;
        c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_length, data, length);
    c->out_length += length;
    if (!c->waiting)
        want(c, true);
}

static void drain(struct connection *c)
{
    ssize_t n = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (n > 0) {
        c->out_length -= (size_t)n;
        memmove(c->out, c->out + n, c->out_length);
    }
    if (!c->out_length)
        want(c, false);
}

static size_t frame(char *to, const char *text, size_t length)
{
    size_t head = length < 126 ? 2 : 4;
    to[0] = (char)0x81;
    if (length < 126) {
        to[1] = (char)length;
    } else {
        to[1] = 126;
        to[2] = (char)(length >> 8);
        to[3] = (char)length;
    }
    memcpy(to + head, text, length);
    return head + length;
}

static void say(struct connection *c, const char *text, size_t length)
{
    char framed[8192];
    if (length < sizeof framed - 4)
        transmit(c, framed, frame(framed, text, length));
}

static void join(struct connection *c, long task)
{
    if (task < 0 || task > 10000000)
        return;
    if (task >= room_count) {
        rooms = realloc(rooms, sizeof *rooms * (size_t)(task + 1));
        memset(rooms + room_count, 0, sizeof *rooms * (size_t)(task + 1 - room_count));
        room_count = task + 1;
    }
    struct room *r = &rooms[task];
    if (r->count == r->allotted) {
        r->allotted = r->allotted ? r->allotted * 2 : 4;
        r->members = realloc(r->members, sizeof *r->members * (size_t)r->allotted);
    }
    r->members[r->count++] = c;
}

static void emit_token(uint64_t stamp)
{
    char text[20000], framed[20100], padding[16000];
    long room = stream.next % stream.rooms, turn = stream.next / stream.rooms;
    bool struck = turn % 100 == 50;
    memset(padding, '.', sizeof padding);
    if (!strcmp(fault, "swap") && (struck || turn % 100 == 51))
        turn += struck ? 1 : -1;
    int n = snprintf(text, sizeof text,
                     "42/chat,[\"chat:chunk\",{\"task_id\":%ld,\"subtask_id\":%ld,\"attempt\":1,\"content\":\"@%016llx%.*s\","
                     "\"offset\":%ld}]",
                     stream.base + room, 1000001 + room, (unsigned long long)stamp, stream.size - 17, padding,
                     turn * stream.size);
    size_t length = frame(framed, text, (size_t)n);
    if (stream.base + room < room_count) {
        struct room *r = &rooms[stream.base + room];
        int times = struck && !strcmp(fault, "drop") ? 0 : struck && !strcmp(fault, "repeat") ? 2 : 1;
        for (; times > 0; times--)
            for (int i = 0; i < r->count; i++)
                transmit(r->members[i], framed, length);
    }
    if (++stream.next == stream.count * stream.rooms)
        stream.running = false;
}

/* Emits what is due, at most a batch; returns how long epoll may wait, ms. */
static int publish(void)
{
    for (int i = 0; i < 32 && stream.running; i++) {
        uint64_t now = now_ns();
        uint64_t due = stream.interval > 0 ? stream.start + (uint64_t)((double)stream.next * stream.interval) : now;
        if (due > now)
            return 1;
        emit_token(due);
        if (stream.interval <= 0)
            break;
    }
    return stream.running ? 0 : 1000;
}

static void begin_stream(const char *json, size_t length)
{
    const char *rate = json_value(json, length, "rate");
    double per_room = rate ? strtod(rate, NULL) : 0;
    stream.base = (long)json_int(json, length, "base", 1);
    stream.rooms = (int)json_int(json, length, "rooms", 1);
    stream.count = (long)json_int(json, length, "count", 1);
    stream.size = (int)json_int(json, length, "size", 96);
    if (stream.size > 16000)
        stream.size = 16000;
    stream.interval = per_room > 0 ? 1e9 / (per_room * stream.rooms) : 0;
    stream.start = now_ns();
    stream.next = 0;
    stream.running = true;
}

static void on_event(struct connection *c, const char *text, size_t length)
{
    char answer[4096];
    const char *json = memchr(text, '[', length);
    if (!json)
        return;
    size_t rest = (size_t)(text + length - json);
    int id_length = (int)(json - text);
    const char *data = memchr(json, '{', rest);
    size_t data_length = data ? (size_t)(text + length - 1 - data) : 0;
    if (memmem(json, rest, "task:join", 9)) {
        join(c, (long)json_int(json, rest, "task_id", -1));
        int n = snprintf(answer, sizeof answer, "43/chat,%.*s[{\"streaming\":null,\"subtasks\":[]}]", id_length, text);
        say(c, answer, (size_t)n);
    } else if (memmem(json, rest, "bench:echo", 10) && data) {
        int n = snprintf(answer, sizeof answer, "43/chat,%.*s[%.*s]", id_length, text, (int)data_length, data);
        say(c, answer, (size_t)n);
    } else if (memmem(json, rest, "bench:start", 11)) {
        int n = snprintf(answer, sizeof answer, "43/chat,%.*s[{\"success\":true}]", id_length, text);
        say(c, answer, (size_t)n);
        begin_stream(json, rest);
    }
}

static void on_text(struct connection *c, const char *text, size_t length)
{
    static const char connected[] = "40/chat,{\"sid\":\"0123456789abcdefghij\"}";
    if (length > 8 && !memcmp(text, "42/chat,", 8))
        on_event(c, text + 8, length - 8);
    else if (length > 2 && !memcmp(text, "40", 2))
        say(c, connected, sizeof connected - 1);
}

/* Returns the bytes used of the head, or 0. */
static size_t handshake(struct connection *c, char *data, size_t length)
{
    static const char opening[] = "0{\"sid\":\"0123456789abcdefghij\",\"upgrades\":[],\"pingInterval\":25000,"
                                  "\"pingTimeout\":20000,\"maxPayload\":1000000}";
    char accept[29], response[256];
    char *stop = memmem(data, length, "\r\n\r\n", 4), *key = memmem(data, length, "Sec-WebSocket-Key: ", 19);
    if (!stop || !key)
        return 0;
    key += 19;
    websocket_accept(key, strcspn(key, "\r"), accept);
    int n = snprintf(response, sizeof response,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    transmit(c, response, (size_t)n);
    say(c, opening, sizeof opening - 1);
    c->open = true;
    return (size_t)(stop + 4 - data);
}

/* Short masked frames only: the load generator sends no others. Returns the bytes used. */
static size_t parse(struct connection *c, char *data, size_t length)
{
    size_t at = 0;
    while (length - at >= 6) {
        unsigned char *p = (unsigned char *)data + at;
        size_t size = p[1] & 127, head = 2;
        if (size == 126) {
            if (length - at < 8)
                break;
            size = (size_t)p[2] << 8 | p[3];
            head = 4;
        }
        if (length - at < head + 4 + size)
            break;
        for (size_t i = 0; i < size; i++)
            p[head + 4 + i] ^= p[head + i % 4];
        if ((p[0] & 15) == 1)
            on_text(c, (char *)p + head + 4, size);
        at += head + 4 + size;
    }
    return at;
}

static void receive(struct connection *c)
{
    static char buffer[65537];
    size_t kept = c->in_length;
    if (kept)
        memcpy(buffer, c->in, kept);
    ssize_t n = recv(c->fd, buffer + kept, sizeof buffer - 1 - kept, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end(c);
        return;
    }
    size_t length = kept + (size_t)n, used = 0;
    buffer[length] = 0;
    if (!c->open)
        used = handshake(c, buffer, length);
    if (c->open)
        used += parse(c, buffer + used, length - used);
    free(c->in);
    c->in = NULL;
    c->in_length = length - used;
    if (c->in_length) {
        c->in = malloc(c->in_length);
        memcpy(c->in, buffer + used, c->in_length);
    }
}

static void accept_all(int listener)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0 || fd >= (int)(sizeof all / sizeof *all))
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        all[fd] = calloc(1, sizeof **all);
        all[fd]->fd = fd;
        epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &e);
    }
}

static void ping_all(void)
{
    static uint64_t next;
    uint64_t now = now_ns();
    if (!next)
        next = now + PING_INTERVAL;
    if (now < next)
        return;
    next = now + PING_INTERVAL;
    for (size_t fd = 0; fd < sizeof all / sizeof *all; fd++)
        if (all[fd] && all[fd]->open)
            say(all[fd], "2", 1);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc < 2)
        die("usage: server PORT [drop|repeat|swap]");
    if (argc > 2)
        fault = argv[2];
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 4096) < 0)
        die("cannot listen: %s", strerror(errno));
    epoll_set = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_set, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct epoll_event events[512];
        int n = epoll_wait(epoll_set, events, 512, stream.running ? publish() : 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (all[fd] && events[i].events & EPOLLOUT)
                drain(all[fd]);
            if (fd != listener && all[fd] && events[i].events & ~(unsigned)EPOLLOUT)
                receive(all[fd]);
        }
        ping_all();
    }
}
