/* One WebSocket client connection on an epoll set: connecting, framing, buffering. Knows nothing of Socket.IO. */
#ifndef BENCH_WS_H
#define BENCH_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_state { WS_NEW, WS_CONNECTING, WS_HANDSHAKE, WS_OPEN, WS_CLOSED };

struct bytes {
    char *data;
    size_t length, room;
};

struct ws {
    int fd;
    enum ws_state state;
    bool reading, want_write;
    struct bytes in, out; /* a started frame; what the socket did not take */
};

struct ws_target {
    int epoll, port;
    const char *path;
    int receive_buffer; /* SO_RCVBUF, 0 for the system's */
};

/* Supplied by the layer above. `text` is valid during the call only. */
void ws_on_open(struct ws *ws);
void ws_on_text(struct ws *ws, const char *text, size_t length);
void ws_on_close(struct ws *ws);

void ws_connect(struct ws *ws, const struct ws_target *target);
/* Sends one masked text frame (the mask is zero: the bytes are the same, the server's work too). */
void ws_send(struct ws *ws, const char *text, size_t length);
/* Does what the epoll events ask for. */
void ws_handle(struct ws *ws, uint32_t events);
/* From now on leave what arrives in the kernel: a reader that never reads. */
void ws_stop_reading(struct ws *ws);
void ws_close(struct ws *ws);

#endif
