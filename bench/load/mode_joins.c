/* joins: one long stream is under way; new clients join it at a fixed rate, stay a little, and leave. Scenario 8.

   A joining client gets the text so far in its ack, and from then on must see each chunk from exactly that offset. */
#include "load.h"

static struct hist latency;
static int opened, joined, failed, left;
static uint64_t short_acks, smallest = UINT64_MAX;

static void start(void)
{
    struct options wanted = options;
    clients[0].unchecked = true;
    options.rate = 20; /* of the stream itself; that of the joins comes back below */
    bench_start(&clients[0], options.first_task, 1, true);
    options = wanted;
}

static void joined_one(struct client *c, const char *json, size_t length)
{
    const char *text;
    if (c->index < options.connections)
        return;
    long n = json_string(json, length, "cached_content", &text);
    if (n < 0 || (uint64_t)n != c->streams[0].next)
        short_acks++;
    else if ((uint64_t)n < smallest)
        smallest = (uint64_t)n;
    joined++;
    hist_add(&latency, now_ns() - c->asked_at);
}

static void open_due(uint64_t now)
{
    double elapsed = (double)(now - started_at) / 1e9 - options.warm;
    if (elapsed < 0)
        return;
    int due = (int)(elapsed * options.rate);
    int all = (int)(options.rate * options.seconds);
    if (due > all)
        due = all;
    for (; opened < due; opened++)
        client_open(client_at(options.connections + opened));
}

static void leave_due(uint64_t now)
{
    static int next;
    while (next < opened) {
        struct client *c = &clients[options.connections + next];
        if (c->state != CLIENT_GONE) {
            if (now - c->opened_at < (uint64_t)(options.stay * 1e9))
                return;
            if (c->state != CLIENT_JOINED)
                return; /* still waits for its ack: this is what is measured */
        }
        if (c->state == CLIENT_JOINED) {
            left++;
            ws_close(&c->ws);
        } else {
            failed++;
        }
        next++;
    }
}

static bool done(uint64_t now)
{
    open_due(now);
    leave_due(now);
    return left + failed >= (int)(options.rate * options.seconds);
}

static void report(FILE *out)
{
    fprintf(out, "\"joined\": %d, \"failed\": %d, \"short_acks\": %llu, \"smallest_text\": %lld, ", joined, failed,
            (unsigned long long)short_acks, joined ? (long long)smallest : 0);
    hist_print(out, "join_ms", &latency);
    fputs(", ", out);
    streams_report(out);
}

const struct mode mode_joins = {.name = "joins", .start = start, .done = done, .joined = joined_one, .report = report};
