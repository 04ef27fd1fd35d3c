/* SHA-1 and Base64, for the WebSocket handshake (RFC 6455 section 4.2.2). */
#ifndef BENCH_SHA1_H
#define BENCH_SHA1_H

#include <stddef.h>

/* Writes the 28 characters of Sec-WebSocket-Accept (and a 0) for a client's key of `length` bytes. */
void websocket_accept(const char *key, size_t length, char accept[29]);

#endif
