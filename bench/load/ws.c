#define _GNU_SOURCE
#include "ws.h"
#include "util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int epoll_set;
static const char *request_path;
static int request_port;
static char scratch[1 << 18];

static void put(struct bytes *b, const char *data, size_t length)
{
    if (b->length + length > b->room) {
        b->room = (b->length + length) * 2;
        b->data = realloc(b->data, b->room);
        if (!b->data)
            die("out of memory");
    }
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void drop(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

static void watch(struct ws *ws)
{
    struct epoll_event e = {.data.ptr = ws};
    e.events = (ws->reading ? EPOLLIN : 0u) | (ws->want_write ? EPOLLOUT : 0u);
    epoll_ctl(epoll_set, EPOLL_CTL_MOD, ws->fd, &e);
}

/* Small buffers on both sides: with the loopback's segments of 64 KB the server's would take a megabyte, on Ethernet
   some 50 KB. */
static void be_narrow(int fd, int receive_buffer)
{
    int segment = 1448;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
}

void ws_connect(struct ws *ws, const struct ws_target *target)
{
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)target->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll_set = target->epoll;
    request_path = target->path;
    request_port = target->port;
    *ws = (struct ws){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .reading = true, .want_write = true};
    if (ws->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(ws->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (target->receive_buffer)
        be_narrow(ws->fd, target->receive_buffer);
    ws->state = WS_CONNECTING;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = ws};
    epoll_ctl(epoll_set, EPOLL_CTL_ADD, ws->fd, &e);
    if (connect(ws->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        ws_close(ws);
}

void ws_close(struct ws *ws)
{
    if (ws->state == WS_CLOSED || ws->state == WS_NEW)
        return;
    close(ws->fd);
    ws->state = WS_CLOSED;
    drop(&ws->in);
    drop(&ws->out);
    ws_on_close(ws);
}

static void flush(struct ws *ws)
{
    ssize_t n = send(ws->fd, ws->out.data, ws->out.length, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN)
            ws_close(ws);
        return;
    }
    ws->out.length -= (size_t)n;
    memmove(ws->out.data, ws->out.data + n, ws->out.length);
    if (!ws->out.length)
        drop(&ws->out);
}

static void transmit(struct ws *ws, const char *data, size_t length)
{
    bool queued = ws->out.length > 0;
    if (!queued) {
        ssize_t n = send(ws->fd, data, length, MSG_NOSIGNAL);
        if (n == (ssize_t)length)
            return;
        if (n < 0 && errno != EAGAIN) {
            ws_close(ws);
            return;
        }
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
    }
    put(&ws->out, data, length);
    if (!queued) {
        ws->want_write = true;
        watch(ws);
    }
}

static void send_frame(struct ws *ws, unsigned char opcode, const char *data, size_t length)
{
    static char frame[1 << 17];
    size_t head = 2;
    if (ws->state != WS_OPEN)
        return;
    if (length > 65535)
        die("a client frame of %zu bytes is longer than the load generator needs", length);
    frame[0] = (char)(0x80 | opcode);
    if (length < 126) {
        frame[1] = (char)(0x80 | length);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(length >> 8);
        frame[3] = (char)(length & 255);
        head = 4;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, data, length);
    transmit(ws, frame, head + 4 + length);
}

void ws_send(struct ws *ws, const char *text, size_t length)
{
    send_frame(ws, 1, text, length);
}

void ws_stop_reading(struct ws *ws)
{
    ws->reading = false;
    watch(ws);
}

static void send_request(struct ws *ws)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     request_path, request_port);
    ws->state = WS_HANDSHAKE;
    transmit(ws, head, (size_t)n);
}

static void on_frame(struct ws *ws, unsigned char first, const char *payload, size_t length)
{
    if ((first & 0x0f) == 1 && (first & 0x80))
        ws_on_text(ws, payload, length);
    else if ((first & 0x0f) == 9)
        send_frame(ws, 10, payload, length);
    else if ((first & 0x0f) == 8)
        ws_close(ws);
    else if ((first & 0x0f) != 10)
        die("a frame the load generator does not know (first byte %02x)", first);
}

/* Consumes whole frames, returns how many bytes that were. */
static size_t parse(struct ws *ws, const char *data, size_t length)
{
    size_t at = 0;
    while (length - at >= 2 && ws->state == WS_OPEN) {
        const unsigned char *p = (const unsigned char *)data + at;
        size_t head = 2, size = p[1] & 127;
        if (size == 126) {
            if (length - at < 4)
                break;
            size = (size_t)p[2] << 8 | p[3];
            head = 4;
        } else if (size == 127) {
            if (length - at < 10)
                break;
            size = 0;
            for (int i = 2; i < 10; i++)
                size = size << 8 | p[i];
            head = 10;
        }
        if (length - at < head + size)
            break;
        on_frame(ws, p[0], (const char *)p + head, size);
        at += head + size;
    }
    return at;
}

static size_t parse_response(struct ws *ws, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (length < 12 || memcmp(data + 9, "101", 3)) {
        ws_close(ws);
        return length;
    }
    ws->state = WS_OPEN;
    ws_on_open(ws);
    return (size_t)(end + 4 - data);
}

static size_t consume(struct ws *ws, const char *data, size_t length)
{
    size_t used = 0;
    if (ws->state == WS_HANDSHAKE)
        used = parse_response(ws, data, length);
    if (ws->state == WS_OPEN)
        used += parse(ws, data + used, length - used);
    return used;
}

static void receive(struct ws *ws)
{
    ssize_t n = recv(ws->fd, scratch, sizeof scratch, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            ws_close(ws);
        return;
    }
    if (!ws->in.length) {
        size_t used = consume(ws, scratch, (size_t)n);
        if (used < (size_t)n && ws->state != WS_CLOSED)
            put(&ws->in, scratch + used, (size_t)n - used);
        return;
    }
    put(&ws->in, scratch, (size_t)n);
    size_t used = consume(ws, ws->in.data, ws->in.length);
    if (ws->state == WS_CLOSED)
        return;
    ws->in.length -= used;
    if (!ws->in.length)
        drop(&ws->in);
    else if (used)
        memmove(ws->in.data, ws->in.data + used, ws->in.length);
}

void ws_handle(struct ws *ws, uint32_t events)
{
    if (ws->state == WS_CLOSED)
        return;
    if (ws->state == WS_CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            ws_close(ws);
            return;
        }
        ws->want_write = false;
        send_request(ws);
        if (ws->state != WS_CLOSED)
            watch(ws);
        return;
    }
    if (events & EPOLLOUT) {
        flush(ws);
        if (ws->state == WS_CLOSED)
            return;
        ws->want_write = ws->out.length > 0;
        watch(ws);
    }
    if (ws->reading && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(ws);
    else if (events & (EPOLLHUP | EPOLLERR))
        ws_close(ws);
}
