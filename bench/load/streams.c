/* Checks each stream by its offsets while it counts: what is delivered must be whole, in order, and once.

   A server may join several tokens into one chunk; therefore tokens are counted by characters, and each token carries
   its own time of writing, which is looked at wherever it stands in a chunk. */
#define _GNU_SOURCE
#include "load.h"

#include <string.h>

#define STAMP 17 /* '@' and 16 hexadecimal digits */

struct stream_totals totals;
static struct hist latency;
static uint64_t window_from, window_to = UINT64_MAX;

void streams_window(uint64_t from, uint64_t to)
{
    window_from = from;
    window_to = to;
}

static struct stream *stream_of(struct client *c, long long subtask)
{
    int n = c->stream_count < STREAMS_PER_CLIENT ? c->stream_count : STREAMS_PER_CLIENT;
    for (int i = 0; i < n; i++)
        if (c->streams[i].subtask == subtask)
            return &c->streams[i];
    struct stream *s = &c->streams[c->stream_count++ % STREAMS_PER_CLIENT];
    *s = (struct stream){.subtask = subtask};
    return s;
}

void streams_begin(struct client *c, const char *json, size_t length)
{
    const char *streaming = json_value(json, length, "streaming");
    if (!streaming || *streaming != '{')
        return;
    size_t rest = (size_t)(json + length - streaming);
    struct stream *s = stream_of(c, json_int(streaming, rest, "subtask_id", -1));
    s->next = (uint64_t)json_int(streaming, rest, "offset", 0);
}

static uint64_t stamp(const char *hex)
{
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        unsigned char d = (unsigned char)hex[i];
        value = value << 4 | (uint64_t)(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    return value;
}

static void look_at_tokens(uint64_t offset, const char *content, size_t length, uint64_t now)
{
    size_t size = (size_t)options.size;
    for (size_t at = (size - offset % size) % size; at + STAMP <= length; at += size) {
        if (content[at] != '@') {
            totals.malformed++;
            return;
        }
        uint64_t written = stamp(content + at + 1);
        if (written >= window_from && written < window_to)
            hist_add(&latency, now > written ? now - written : 0);
    }
}

void streams_chunk(struct client *c, const char *json, size_t length)
{
    const char *content;
    if (c->unchecked)
        return;
    long n = json_string(json, length, "content", &content);
    long long offset = json_int(json, length, "offset", -1);
    if (n < 0 || offset < 0) {
        totals.malformed++;
        return;
    }
    uint64_t now = now_ns();
    struct stream *s = stream_of(c, json_int(json, length, "subtask_id", -1));
    totals.messages++;
    if (!totals.first_at)
        totals.first_at = now;
    totals.last_at = now;
    if ((uint64_t)offset != s->next) {
        if ((uint64_t)offset > s->next) {
            totals.gaps++;
            totals.lost += (uint64_t)offset - s->next;
        } else {
            totals.repeats++;
        }
    }
    look_at_tokens((uint64_t)offset, content, (size_t)n, now);
    s->next = (uint64_t)offset + (uint64_t)n;
    c->characters += (uint64_t)n;
    totals.characters += (uint64_t)n;
}

void streams_end(struct client *c, const char *json, size_t length)
{
    long long offset = json_int(json, length, "offset", -1);
    struct stream *s = stream_of(c, json_int(json, length, "subtask_id", -1));
    if (offset >= 0 && (uint64_t)offset > s->next) {
        totals.gaps++;
        totals.lost += (uint64_t)offset - s->next;
    }
}

uint64_t streams_tokens(void)
{
    return totals.characters / (unsigned)options.size;
}

void streams_report(FILE *out)
{
    double seconds = (double)(totals.last_at - totals.first_at) / 1e9;
    fprintf(out,
            "\"streams\": {\"messages\": %llu, \"tokens\": %llu, \"gaps\": %llu, \"lost\": %llu, \"repeats\": %llu, "
            "\"malformed\": %llu, \"seconds\": %.4f, ",
            (unsigned long long)totals.messages, (unsigned long long)streams_tokens(),
            (unsigned long long)totals.gaps, (unsigned long long)(totals.lost / (unsigned)options.size),
            (unsigned long long)totals.repeats, (unsigned long long)totals.malformed, seconds);
    hist_print(out, "latency_ms", &latency);
    fputs("}", out);
}
