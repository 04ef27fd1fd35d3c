/* Engine.IO 4 and Socket.IO 5 over WebSocket, as a client of namespace /chat: connect, join, events, acks, pings. */
#define _GNU_SOURCE
#include "load.h"

#include <stdlib.h>
#include <string.h>

#define NAMESPACE "/chat"
#define PREFIX_EVENT "42" NAMESPACE ","
#define PREFIX_ACK "43" NAMESPACE ","
#define PREFIX_CONNECT "40" NAMESPACE
#define PREFIX_ERROR "44" NAMESPACE

static struct {
    int next, in_flight, joined, failed;
    uint64_t from, to;
    double server_cpu;
    struct hist join, whole; /* task:join to its ack; connect to joined */
} opening;

void client_open(struct client *c)
{
    c->state = CLIENT_CONNECTING;
    c->opened_at = now_ns();
    c->slow = options.slow_every && c->index % options.slow_every == options.slow_every - 1;
    target()->port = c->index == 0 && options.first_port ? options.first_port : options.port;
    target()->receive_buffer = c->slow ? options.receive_buffer : 0;
    ws_connect(&c->ws, target());
}

void client_emit(struct client *c, bool want_ack, const char *json, size_t length)
{
    static char text[1 << 16];
    size_t head;
    if (length + 64 > sizeof text)
        die("an event of %zu bytes", length);
    if (want_ack) {
        head = (size_t)snprintf(text, sizeof text, PREFIX_EVENT "%u", c->next_ack++);
        c->asked_at = now_ns();
    } else {
        head = strlen(PREFIX_EVENT);
        memcpy(text, PREFIX_EVENT, head);
    }
    memcpy(text + head, json, length);
    ws_send(&c->ws, text, head + length);
}

static void fill_window(void)
{
    while (opening.in_flight < options.concurrency && opening.next < options.connections) {
        opening.in_flight++;
        client_open(client_at(opening.next++));
    }
}

void open_all(void)
{
    opening.from = now_ns();
    opening.server_cpu = cpu_seconds(options.pid);
    fill_window();
}

bool open_done(void)
{
    if (opening.joined + opening.failed < options.connections)
        return false;
    if (!opening.to) {
        opening.to = now_ns();
        opening.server_cpu = cpu_seconds(options.pid) - opening.server_cpu;
    }
    return true;
}

static void opened(struct client *c, bool joined)
{
    if (c->index >= options.connections)
        return; /* one that a mode opened later */
    opening.in_flight--;
    if (joined)
        opening.joined++;
    else
        opening.failed++;
    fill_window();
}

void open_report(FILE *out)
{
    double seconds = (double)(opening.to - opening.from) / 1e9;
    fprintf(out, "\"open\": {\"joined\": %d, \"failed\": %d, \"seconds\": %.4f, \"per_s\": %.1f, \"server_cpu\": %.2f, ",
            opening.joined, opening.failed, seconds, opening.joined / (seconds > 0 ? seconds : 1), opening.server_cpu);
    hist_print(out, "join_ms", &opening.join);
    fputs(", ", out);
    hist_print(out, "whole_ms", &opening.whole);
    fputs("}", out);
}

void ws_on_open(struct ws *ws)
{
    (void)ws; /* the server speaks first */
}

static void send_connect(struct client *c)
{
    char text[2048];
    int n = snprintf(text, sizeof text, PREFIX_CONNECT ",{\"token\":\"%s\"}", token_of(c->index));
    ws_send(&c->ws, text, (size_t)n);
}

static void send_join(struct client *c)
{
    char text[128];
    c->state = CLIENT_CONNECTED;
    int n = snprintf(text, sizeof text, "[\"task:join\",{\"task_id\":%ld}]", c->task);
    client_emit(c, true, text, (size_t)n);
}

/* Says what the server said, once. */
static void complain(const char *what, const char *text, size_t length)
{
    static bool said;
    if (!said)
        fprintf(stderr, "%s was refused: %.*s\n", what, (int)(length < 300 ? length : 300), text);
    said = true;
}

static void on_ack(struct client *c, const char *json, size_t length)
{
    if (c->state == CLIENT_JOINED) {
        if (mode->acked)
            mode->acked(c, json, length);
        return;
    }
    if (json_value(json, length, "error")) {
        complain("task:join", json, length);
        ws_close(&c->ws);
        return;
    }
    uint64_t now = now_ns();
    c->state = CLIENT_JOINED;
    streams_begin(c, json, length);
    if (c->index < options.connections) {
        hist_add(&opening.join, now - c->asked_at);
        hist_add(&opening.whole, now - c->opened_at);
    }
    if (mode->joined)
        mode->joined(c, json, length);
    opened(c, true);
}

static void on_event(struct client *c, const char *json, size_t length)
{
    const char *name = memchr(json, '"', length);
    if (!name)
        return;
    name++;
    const char *end = memchr(name, '"', (size_t)(json + length - name));
    if (!end)
        return;
    size_t name_length = (size_t)(end - name);
    if (name_length == 10 && !memcmp(name, "chat:chunk", 10))
        streams_chunk(c, end, (size_t)(json + length - end));
    else if (name_length == 9 && !memcmp(name, "chat:done", 9))
        streams_end(c, end, (size_t)(json + length - end));
    if (mode->event)
        mode->event(c, name, name_length, end, (size_t)(json + length - end));
}

static bool begins(const char *text, size_t length, const char *prefix)
{
    size_t n = strlen(prefix);
    return length >= n && !memcmp(text, prefix, n);
}

void ws_on_text(struct ws *ws, const char *text, size_t length)
{
    struct client *c = (struct client *)ws;
    if (begins(text, length, PREFIX_EVENT)) {
        on_event(c, text + strlen(PREFIX_EVENT), length - strlen(PREFIX_EVENT));
    } else if (begins(text, length, PREFIX_ACK)) {
        const char *json = memchr(text, '[', length);
        if (json)
            on_ack(c, json, (size_t)(text + length - json));
    } else if (length == 1 && text[0] == '2') {
        ws_send(ws, "3", 1);
    } else if (text[0] == '0') {
        send_connect(c);
    } else if (begins(text, length, PREFIX_CONNECT)) {
        send_join(c);
    } else if (begins(text, length, PREFIX_ERROR)) {
        complain("the connection", text, length);
        ws_close(ws);
    }
}

void ws_on_close(struct ws *ws)
{
    struct client *c = (struct client *)ws;
    bool was_joined = c->state == CLIENT_JOINED;
    c->state = CLIENT_GONE;
    if (was_joined) {
        if (mode->gone)
            mode->gone(c);
    } else {
        opened(c, false);
    }
}
