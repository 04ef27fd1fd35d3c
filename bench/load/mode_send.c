/* send: the first `rooms` clients each have one chat:send under way; the others see the messages. Scenario 10. */
#include "load.h"

#include <string.h>

static struct hist latency;
static uint64_t measured, all, refused, seen, from, to;

static void ask(struct client *c)
{
    char json[256];
    int n = snprintf(json, sizeof json,
                     "[\"chat:send\",{\"task_id\":%ld,\"team_id\":%d,\"message\":\"message %u of client %d, to be kept\","
                     "\"client_message_id\":\"b%d-%u\"}]",
                     c->task, options.team, c->next_ack, c->index, c->index, c->next_ack);
    client_emit(c, true, json, (size_t)n);
}

static void start(void)
{
    from = started_at + (uint64_t)(options.warm * 1e9);
    to = from + (uint64_t)(options.seconds * 1e9);
    for (int i = 0; i < options.rooms; i++)
        if (clients[i].state == CLIENT_JOINED)
            ask(&clients[i]);
}

static void acked(struct client *c, const char *json, size_t length)
{
    uint64_t now = now_ns();
    if (json_int(json, length, "subtask_id", -1) < 0) {
        if (!refused++)
            fprintf(stderr, "chat:send refused: %.*s\n", (int)(length < 300 ? length : 300), json);
        return;
    }
    if (now >= to)
        return;
    all++;
    if (now >= from) {
        measured++;
        hist_add(&latency, now - c->asked_at);
    }
    ask(c);
}

static void event(struct client *c, const char *name, size_t name_length, const char *json, size_t length)
{
    (void)c, (void)json, (void)length;
    if (name_length == 12 && !memcmp(name, "chat:message", 12))
        seen++;
}

static bool done(uint64_t now)
{
    return now >= to;
}

static void report(FILE *out)
{
    fprintf(out, "\"sends\": %llu, \"with_warming\": %llu, \"per_s\": %.1f, \"refused\": %llu, \"messages_seen\": %llu, ",
            (unsigned long long)measured, (unsigned long long)all,
            (double)measured / options.seconds, (unsigned long long)refused, (unsigned long long)seen);
    hist_print(out, "latency_ms", &latency);
}

const struct mode mode_send = {
    .name = "send", .start = start, .done = done, .acked = acked, .event = event, .report = report,
};
