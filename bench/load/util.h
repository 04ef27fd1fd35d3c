/* Clock, histogram, process times and the few JSON look-ups that the load generator needs. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* CLOCK_MONOTONIC in nanoseconds: the same clock as the servers' time.monotonic_ns and hrtime. */
uint64_t now_ns(void);

/* CPU seconds (user and system) used so far by a process, or by this one if pid is 0. */
double cpu_seconds(int pid);

_Noreturn void die(const char *format, ...);

/* Latencies in log-linear buckets: 64 per power of two, so an error below 1.6 %. */
#define HIST_BUCKETS (64 * 40)
struct hist {
    uint64_t count, max;
    uint64_t bucket[HIST_BUCKETS];
};
void hist_add(struct hist *h, uint64_t ns);
double hist_ms(const struct hist *h, double quantile);
/* Prints `"name": {"n": …, "p50": …, "p99": …, "max": …}`, in milliseconds. */
void hist_print(FILE *out, const char *name, const struct hist *h);

/* Finds `"key":` and returns what follows it (white space skipped), or NULL. Keys are unique in our messages. */
const char *json_value(const char *text, size_t length, const char *key);
/* The integer at key, or `missing`. */
long long json_int(const char *text, size_t length, const char *key, long long missing);
/* The string at key: sets *start, returns its length, or -1. Content is ASCII without escapes. */
long json_string(const char *text, size_t length, const char *key, const char **start);

#endif
