#define _GNU_SOURCE
#include "util.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

double cpu_seconds(int pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    if (pid)
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
    else
        snprintf(path, sizeof path, "/proc/self/stat");
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = 0;
    char *after_name = strrchr(line, ')'); /* the name may hold spaces and brackets */
    if (after_name)
        sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int bucket_of(uint64_t ns)
{
    if (ns < 64)
        return (int)ns;
    int exponent = 63 - __builtin_clzll(ns);
    int i = (exponent - 5) * 64 + (int)((ns >> (exponent - 6)) & 63);
    return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

static uint64_t bucket_top(int i)
{
    if (i < 64)
        return (uint64_t)i;
    int exponent = i / 64 + 5;
    return ((uint64_t)(64 + i % 64 + 1) << (exponent - 6)) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->count++;
    h->bucket[bucket_of(ns)]++;
    if (ns > h->max)
        h->max = ns;
}

double hist_ms(const struct hist *h, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)h->count), seen = 0;
    for (int i = 0; i < HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > wanted)
            return (double)(bucket_top(i) < h->max ? bucket_top(i) : h->max) / 1e6;
    }
    return (double)h->max / 1e6;
}

void hist_print(FILE *out, const char *name, const struct hist *h)
{
    if (!h->count)
        fprintf(out, "\"%s\": {\"n\": 0, \"p50\": null, \"p99\": null, \"max\": null}", name);
    else
        fprintf(out, "\"%s\": {\"n\": %llu, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name,
                (unsigned long long)h->count, hist_ms(h, 0.5), hist_ms(h, 0.99), (double)h->max / 1e6);
}

const char *json_value(const char *text, size_t length, const char *key)
{
    char quoted[64];
    int n = snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = memmem(text, length, quoted, (size_t)n);
    if (!p)
        return NULL;
    p += n;
    while (p < text + length && *p == ' ')
        p++;
    return p < text + length ? p : NULL;
}

long long json_int(const char *text, size_t length, const char *key, long long missing)
{
    const char *p = json_value(text, length, key), *end = text + length;
    if (!p || *p < '0' || *p > '9')
        return missing;
    long long value = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (*p - '0');
    return value;
}

long json_string(const char *text, size_t length, const char *key, const char **start)
{
    const char *p = json_value(text, length, key);
    if (!p || *p != '"')
        return -1;
    const char *end = memchr(p + 1, '"', (size_t)(text + length - p - 1));
    if (!end)
        return -1;
    *start = p + 1;
    return end - p - 1;
}
