/* chat: the whole way. The first `rooms` clients send a message each, a model answers, two clients a task look. Scenario 7. */
#include "load.h"

#include <string.h>

static int sent, answered, ended, failed;

static void start(void)
{
    uint64_t steady = started_at + (uint64_t)((options.ramp + options.warm) * 1e9);
    streams_window(steady, steady + (uint64_t)(options.seconds * 1e9));
}

static void ask(struct client *c)
{
    char json[256];
    int n = snprintf(json, sizeof json, "[\"chat:send\",{\"task_id\":%ld,\"team_id\":%d,\"message\":\"tell me something\"}]",
                     c->task, options.team);
    client_emit(c, true, json, (size_t)n);
}

static void acked(struct client *c, const char *json, size_t length)
{
    (void)c;
    if (json_int(json, length, "subtask_id", -1) < 0) {
        if (!failed++)
            fprintf(stderr, "chat:send refused: %.*s\n", (int)(length < 300 ? length : 300), json);
    } else {
        answered++;
    }
}

static void event(struct client *c, const char *name, size_t name_length, const char *json, size_t length)
{
    if (name_length == 10 && !memcmp(name, "chat:error", 10)) {
        if (!failed++)
            fprintf(stderr, "chat:error: %.*s\n", (int)(length < 300 ? length : 300), json);
    } else if (name_length == 9 && !memcmp(name, "chat:done", 9) && !c->finished) {
        c->finished = true;
        ended++;
    }
}

static bool done(uint64_t now)
{
    double elapsed = (double)(now - started_at) / 1e9;
    int due = options.ramp > 0 ? (int)(elapsed / options.ramp * options.rooms) : options.rooms;
    for (; sent < due && sent < options.rooms; sent++)
        ask(&clients[sent]);
    return ended >= options.connections || elapsed >= options.limit;
}

static void report(FILE *out)
{
    int whole = 0;
    for (int i = 0; i < options.connections; i++)
        whole += clients[i].characters == (uint64_t)options.count * (uint64_t)options.size;
    streams_report(out);
    fprintf(out, ", \"sent\": %d, \"accepted\": %d, \"endings\": %d, \"whole\": %d, \"failed\": %d", sent, answered, ended,
            whole, failed);
}

const struct mode mode_chat = {
    .name = "chat", .start = start, .done = done, .acked = acked, .event = event, .report = report,
};
