/* idle: join and stay. Scenario 5; with --seconds 0 it is the storm of scenario 4, whose figures are those of the opening. */
#include "load.h"

static uint64_t closed;

static void start(void)
{
}

static void gone(struct client *c)
{
    (void)c;
    closed++;
}

static bool done(uint64_t now)
{
    return (double)(now - started_at) / 1e9 >= options.seconds;
}

static void report(FILE *out)
{
    fprintf(out, "\"closed\": %llu", (unsigned long long)closed);
}

const struct mode mode_idle = {.name = "idle", .start = start, .done = done, .gone = gone, .report = report};
