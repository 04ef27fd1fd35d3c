/* watch: the server streams by itself (event bench:start), the clients look. Scenarios 1, 2, 6, 8 (the others), 9. */
#include "load.h"

static int finished, wanted;
static int edges; /* of the window, that were passed */
static uint64_t tokens_at[2];

void bench_start(struct client *control, long base, int rooms, bool keep)
{
    char json[256];
    int n = snprintf(json, sizeof json,
                     "[\"bench:start\",{\"base\":%ld,\"rooms\":%d,\"count\":%ld,\"rate\":%g,\"size\":%d,\"preload\":%ld,"
                     "\"keep\":%s%s}]",
                     base, rooms, options.count, options.rate, options.size, options.preload, keep ? "true" : "false",
                     options.runs ? ",\"runs\":true" : "");
    client_emit(control, true, json, (size_t)n);
}

static void start(void)
{
    struct client *control = NULL;
    for (int i = 0; i < options.connections; i++) {
        struct client *c = &clients[i];
        if (c->state != CLIENT_JOINED)
            continue;
        if (c->slow)
            ws_stop_reading(&c->ws);
        else
            wanted++;
        if (!c->slow && !control)
            control = c;
    }
    if (!control)
        die("nobody joined");
    streams_window(started_at + (uint64_t)(options.warm * 1e9), UINT64_MAX);
    bench_start(control, options.first_task, options.rooms, false);
}

static void event(struct client *c, const char *name, size_t name_length, const char *json, size_t length)
{
    (void)name, (void)name_length, (void)json, (void)length;
    if (!c->finished && c->characters >= (uint64_t)options.count * (uint64_t)options.size) {
        c->finished = true;
        finished++;
    }
}

static void gone(struct client *c)
{
    if (!c->slow && !c->finished)
        wanted--;
}

static void look_at_window(uint64_t now)
{
    double elapsed = (double)(now - started_at) / 1e9;
    if (!options.window || edges == 2 || elapsed < (edges ? options.warm + options.seconds : options.warm))
        return;
    tokens_at[edges] = streams_tokens();
    phase(edges++ ? "over" : "steady");
}

static bool done(uint64_t now)
{
    look_at_window(now);
    return finished >= wanted;
}

static void report(FILE *out)
{
    long long slow = 0, closed = 0;
    for (int i = 0; i < options.connections; i++) {
        slow += clients[i].slow;
        closed += clients[i].state == CLIENT_GONE;
    }
    streams_report(out);
    fprintf(out, ", \"watchers\": %d, \"finished\": %d, \"slow\": %lld, \"closed\": %lld, \"expected_tokens\": %lld", wanted,
            finished, slow, closed, (long long)wanted * options.count);
    fprintf(out, ", \"window_tokens\": %llu", (unsigned long long)(tokens_at[1] - tokens_at[0]));
}

const struct mode mode_watch = {
    .name = "watch", .start = start, .done = done, .event = event, .gone = gone, .report = report,
};
