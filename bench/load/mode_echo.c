/* echo: each client has one bench:echo under way and sends the next when the ack is there. Scenario 3. */
#include "load.h"

static struct hist latency;
static uint64_t measured, all, wrong, from, to;

static void ask(struct client *c)
{
    char json[128];
    int n = snprintf(json, sizeof json, "[\"bench:echo\",{\"n\":%u,\"text\":\"a short message, as one types it\"}]", c->next_ack);
    client_emit(c, true, json, (size_t)n);
}

static void start(void)
{
    from = started_at + (uint64_t)(options.warm * 1e9);
    to = from + (uint64_t)(options.seconds * 1e9);
    for (int i = 0; i < options.connections; i++)
        if (clients[i].state == CLIENT_JOINED)
            ask(&clients[i]);
}

static void acked(struct client *c, const char *json, size_t length)
{
    uint64_t now = now_ns();
    if (now >= to)
        return;
    if (json_int(json, length, "n", -1) != (long long)c->next_ack - 1)
        wrong++;
    all++;
    if (now >= from) {
        measured++;
        hist_add(&latency, now - c->asked_at);
    }
    ask(c);
}

static bool done(uint64_t now)
{
    return now >= to;
}

static void report(FILE *out)
{
    fprintf(out, "\"requests\": %llu, \"with_warming\": %llu, \"per_s\": %.1f, \"wrong\": %llu, ",
            (unsigned long long)measured, (unsigned long long)all, (double)measured / options.seconds, (unsigned long long)wrong);
    hist_print(out, "latency_ms", &latency);
}

const struct mode mode_echo = {.name = "echo", .start = start, .done = done, .acked = acked, .report = report};
