/* A model server: POST …/chat/completions is answered with a stream of chat completion chunks at a steady pace.

   Each token holds the time at which it is written, so that a reader at the far end can tell how long it was under way.
   usage: model PORT TOKENS RATE SIZE */
#define _GNU_SOURCE
#include "../load/util.h"

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

struct reply {
    int fd;
    bool streaming;
    long sent;
    uint64_t start;
    char head[16384];
    size_t head_length;
};

static long tokens;
static double interval;
static int size, epoll_set;
static struct reply *by_fd[200000];
static struct reply *active[200000];
static int active_count;
static long lost; /* replies whose reader did not keep up or went away */

static void end(struct reply *r)
{
    for (int i = 0; i < active_count; i++)
        if (active[i] == r)
            active[i] = active[--active_count];
    by_fd[r->fd] = NULL;
    close(r->fd);
    free(r);
}

/* Writes one HTTP chunk. A reader so slow that the socket is full loses the reply: it shows as a failed run. */
static bool put(struct reply *r, const char *text, int length)
{
    char chunk[4200];
    int n = snprintf(chunk, sizeof chunk, "%x\r\n%.*s\r\n", length, length, text);
    return send(r->fd, chunk, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool put_delta(struct reply *r, const char *delta, const char *finish)
{
    char text[4000];
    int n = snprintf(text, sizeof text,
                     "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","
                     "\"choices\":[{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                     delta, finish);
    return put(r, text, n);
}

static bool finish(struct reply *r)
{
    static const char done[] = "data: [DONE]\n\n";
    bool fine = put_delta(r, "", "\"stop\"") && put(r, done, sizeof done - 1) && send(r->fd, "0\r\n\r\n", 5, MSG_NOSIGNAL) == 5;
    r->streaming = false;
    for (int i = 0; i < active_count; i++)
        if (active[i] == r)
            active[i] = active[--active_count];
    return fine;
}

static bool put_token(struct reply *r)
{
    char delta[2048], padding[1024];
    memset(padding, '.', sizeof padding);
    snprintf(delta, sizeof delta, "\"content\":\"@%016llx%.*s\"", (unsigned long long)now_ns(), size - 17, padding);
    return put_delta(r, delta, "null");
}

static void pace(void)
{
    uint64_t now = now_ns();
    for (int i = active_count - 1; i >= 0; i--) {
        struct reply *r = active[i];
        bool fine = true;
        while (fine && r->streaming && r->start + (uint64_t)((double)r->sent * interval) <= now) {
            fine = put_token(r);
            if (fine && ++r->sent == tokens)
                fine = finish(r);
        }
        if (!fine) {
            lost++;
            end(r);
        }
    }
}

static void tell(void)
{
    static long told;
    if (lost && !told)
        fprintf(stderr, "a reader of the model's did not keep up, or went away\n");
    told = lost;
}

static void begin(struct reply *r)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    send(r->fd, head, sizeof head - 1, MSG_NOSIGNAL);
    put_delta(r, "\"role\":\"assistant\",\"content\":\"\"", "null");
    r->streaming = true;
    r->sent = 0;
    r->start = now_ns() + (uint64_t)interval;
    active[active_count++] = r;
}

static void receive(struct reply *r)
{
    ssize_t n = recv(r->fd, r->head + r->head_length, sizeof r->head - 1 - r->head_length, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end(r);
        return;
    }
    r->head_length += (size_t)n;
    r->head[r->head_length] = 0;
    char *body = strstr(r->head, "\r\n\r\n"), *field = strcasestr(r->head, "\r\ncontent-length:");
    if (!body)
        return;
    size_t whole = (size_t)(body + 4 - r->head) + (field && field < body ? strtoul(field + 17, NULL, 10) : 0);
    if (r->head_length < whole && whole < sizeof r->head)
        return;
    r->head_length = 0;
    if (!r->streaming)
        begin(r);
}

static void accept_all(int listener)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        by_fd[fd] = calloc(1, sizeof **by_fd);
        by_fd[fd]->fd = fd;
        epoll_ctl(epoll_set, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc != 5)
        die("usage: model PORT TOKENS RATE SIZE");
    tokens = atol(argv[2]);
    interval = 1e9 / atof(argv[3]);
    size = atoi(argv[4]);
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
        int n = epoll_wait(epoll_set, events, 512, active_count ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (by_fd[fd])
                receive(by_fd[fd]);
        }
        pace();
        tell();
    }
}
